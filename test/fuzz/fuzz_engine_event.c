/*
 * Batches of engines and their conversion. Properties: what is decoded lies inside its bounds, the
 * events of the index name only blocks that the batch names, and each event says what it says in a
 * batch of its own. The last is asked only where the list of events can be passed over in one
 * piece: weir_mp_skip counts the levels from where it begins, and a value 64 levels deep in its
 * field is deeper than that in its event.
 */
#include "router/engine_events.h"

#include "base/msgpack.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static bool names(const struct weir_engine_event *e, uint64_t hash) {
    for (size_t i = 0; i < e->n_hashes; i++)
        if (e->hashes[i] == hash)
            return true;
    return false;
}

static bool same(const struct weir_engine_event *a, const struct weir_engine_event *b) {
    return a->kind == b->kind && a->n_hashes == b->n_hashes &&
           (a->n_hashes == 0 || memcmp(a->hashes, b->hashes, a->n_hashes * 8) == 0) &&
           a->tier == b->tier && a->remote == b->remote && a->group == b->group &&
           a->attention == b->attention && a->has_parent == b->has_parent &&
           a->parent == b->parent && a->n_tokens == b->n_tokens &&
           (a->n_tokens == 0 || memcmp(a->tokens, b->tokens, a->n_tokens * 4) == 0) &&
           a->eagle == b->eagle && a->block_size == b->block_size &&
           a->has_lora_id == b->has_lora_id && weir_span_eq(a->lora, b->lora) &&
           weir_span_eq(a->salt, b->salt) && a->media == b->media &&
           a->first_media_block == b->first_media_block;
}

/* The events of a batch that is an array, one after the other. */
struct walk {
    struct weir_mp events;
    bool known;
    const struct weir_engine_event *e; /* as it was read in the batch */
    unsigned n_alone;
    struct weir_engine_rank *rank;
};

static void on_alone(void *arg, const struct weir_engine_event *e) {
    struct walk *k = arg;
    must(k->n_alone++ == 0 && same(e, k->e));
}

static void read_alone(struct walk *k, const struct weir_engine_event *e) {
    struct weir_span raw;
    struct weir_buf b;
    struct weir_mpw w;
    struct weir_arena arena;
    struct weir_engine_batch batch;
    if (!k->known)
        return;
    must(weir_mp_skip(&k->events, &raw));
    weir_arena_init(&arena, 4 << 20);
    weir_buf_init(&b, 4 << 20);
    weir_mpw_init(&w, &b);
    weir_mpw_array(&w, 2);
    weir_mpw_f64(&w, 1);
    weir_mpw_array(&w, 1);
    weir_mpw_raw(&w, raw);
    k->e = e;
    k->n_alone = 0;
    if (w.status == WEIR_OK)
        must(weir_engine_batch_decode(weir_buf_span(&b), &arena, on_alone, k, &batch) == WEIR_OK &&
             k->n_alone == 1);
    weir_buf_fini(&b);
    weir_arena_fini(&arena);
}

static void on_event(void *arg, const struct weir_engine_event *e) {
    struct walk *k = arg;
    struct weir_engine_rank *rank = k->rank;
    read_alone(k, e);
    struct weir_kv_event ev;
    struct weir_span lora;
    uint64_t sum = 0;
    must(e->n_hashes <= WEIR_ENGINE_EVENT_BLOCKS && e->tier < 4);
    must(!e->media || e->first_media_block <= 1 << 20 || e->n_hashes > 0);
    for (size_t i = 0; i < e->n_tokens; i++)
        sum += e->tokens[i];
    must(sum <= (uint64_t)UINT32_MAX * (e->n_tokens + 1));
    if (!weir_engine_rank_convert(rank, e, &ev, &lora))
        return;
    for (size_t i = 0; ev.kind == WEIR_KV_STORED && i < ev.n_blocks; i++)
        must(names(e, ev.blocks[i].block_hash));
    for (size_t i = 0; ev.kind == WEIR_KV_REMOVED && i < ev.n_removed; i++)
        must(names(e, ev.removed[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_engine_batch batch;
    struct weir_engine_rank *rank = NULL;
    struct walk k = {.known = false};
    uint32_t n;
    double time;
    weir_mp_init(&k.events, weir_span((const char *)data, size));
    k.known = weir_mp_array(&k.events, &n) && n >= 2 && weir_mp_f64(&k.events, &time);
    struct weir_mp list = k.events;
    k.known = k.known && weir_mp_skip(&list, NULL) && weir_mp_array(&k.events, &n);
    weir_arena_init(&arena, 4 << 20);
    if (weir_engine_rank_create(size > 0 && data[size - 1] % 2 == 0 ? 16 : 1, 1024, &rank) ==
        WEIR_OK) {
        k.rank = rank;
        (void)!weir_engine_batch_decode(weir_span((const char *)data, size), &arena, on_event, &k,
                                        &batch);
    }
    weir_engine_rank_destroy(rank);
    weir_arena_fini(&arena);
    return 0;
}
