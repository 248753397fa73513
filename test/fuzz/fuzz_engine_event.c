/*
 * Batches of engines and their conversion. Property: what is decoded lies inside its bounds, and
 * the events of the index name only blocks that the batch names.
 */
#include "router/engine_events.h"

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

static void on_event(void *arg, const struct weir_engine_event *e) {
    struct weir_engine_rank *rank = arg;
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
    weir_arena_init(&arena, 4 << 20);
    if (weir_engine_rank_create(size > 0 && data[size - 1] % 2 == 0 ? 16 : 1, 1024, &rank) ==
        WEIR_OK)
        (void)!weir_engine_batch_decode(weir_span((const char *)data, size), &arena, on_event, rank,
                                        &batch);
    weir_engine_rank_destroy(rank);
    weir_arena_fini(&arena);
    return 0;
}
