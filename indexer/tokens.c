/*
 * Two passes: the first reads every record and gathers the tokens of those that have any; they are
 * hashed at once, a block size at a time; the second writes the records.
 */
#include "indexer/tokens.h"

#include "base/json.h"
#include "base/mem.h"
#include "indexer/numbers.h"
#include "kvindex/kvi_persist.h"
#include "wire/engine_event.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

enum { BLOCK_SIZES = 64 };

struct record {
    struct weir_span line; /* passed on as it is, unless `hashed` */
    struct weir_span key;
    uint64_t block_size, seed;
    struct kvi_event event;       /* without its blocks: */
    size_t names, tokens, hashes; /* where they begin; event.n blocks */
    size_t n_tokens;
    bool hashed;
};

struct reading {
    struct record *records; /* all owned */
    size_t n, cap;
    uint64_t *names;
    size_t n_names, cap_names;
    uint32_t *tokens;
    size_t n_tokens, cap_tokens;
    uint64_t *hashes; /* n_names */
    size_t n_hashes;
    const _Atomic bool *gone; /* borrowed */
    struct weir_err *err;
};

/* A member of that name may be there: as it is mostly written, or behind escapes. */
static bool may_have_tokens(struct weir_span json) {
    return memmem(json.data, json.len, "\"token_ids\"", 11) != NULL ||
           weir_span_find(json, '\\') >= 0;
}

bool weir_tokens_in(struct weir_span dump) {
    return weir_span_starts(dump, WEIR_SPAN_LIT("{\"key\":")) && may_have_tokens(dump);
}

static enum weir_status bad(struct reading *r, const char *text) {
    return weir_err_set(r->err, WEIR_INVALID, "event %zu: %s", r->n, text);
}

static enum weir_status no_memory(struct reading *r) {
    return weir_err_set(r->err, WEIR_NOMEM, "out of memory");
}

static bool is_gone(const struct reading *r) {
    return atomic_load_explicit(r->gone, memory_order_relaxed);
}

/* ---- first pass -------------------------------------------------------------------------------
 */

static enum weir_status read_names(struct reading *r, struct weir_json *j, struct record *e) {
    enum weir_status st = weir_numbers_hashes(j, &r->names, &r->n_names, &r->cap_names);
    e->event.n = r->n_names - e->names;
    return st == WEIR_INVALID ? bad(r, "block_hashes must be an array of 64-bit integers")
           : st != WEIR_OK    ? no_memory(r)
                              : WEIR_OK;
}

static enum weir_status read_tokens(struct reading *r, struct weir_json *j, struct record *e) {
    enum weir_status st = weir_numbers_tokens(j, &r->tokens, &r->n_tokens, &r->cap_tokens);
    e->n_tokens = r->n_tokens - e->tokens;
    e->hashed = true;
    return st == WEIR_INVALID ? bad(r, "token_ids must be an array of unsigned 32-bit integers")
           : st != WEIR_OK    ? no_memory(r)
                              : WEIR_OK;
}

/* Null is as if it were not there. Escapes are not for names of the seed and of tiers. */
static enum weir_status read_text(struct reading *r, struct weir_json *j, struct weir_span *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j) ? WEIR_OK : bad(r, "it is no JSON");
    if (weir_json_peek(j) != WEIR_JSON_STRING || !weir_json_string(j, &s) || s.escaped)
        return bad(r, "type, medium, lora_name and cache_salt must be strings without escapes");
    *ret = s.raw;
    return WEIR_OK;
}

static enum weir_status read_number(struct reading *r, struct weir_json *j, uint64_t most,
                                    uint64_t *ret) {
    return weir_json_u64(j, ret) && *ret <= most
               ? WEIR_OK
               : bad(r, "worker_id and dp_rank must be unsigned integers");
}

static enum weir_status read_parent(struct reading *r, struct weir_json *j, struct record *e) {
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j) ? WEIR_OK : bad(r, "it is no JSON");
    e->event.has_parent = true;
    return weir_numbers_hash(j, &e->event.parent_hash)
               ? WEIR_OK
               : bad(r, "parent_block_hash must be a 64-bit integer or null");
}

struct texts {
    struct weir_span type, medium, lora, salt;
    bool has_worker;
    uint64_t dp_rank;
};

static enum weir_status read_member(struct reading *r, struct weir_json *j,
                                    struct weir_json_str key, struct record *e, struct texts *t) {
    if (weir_json_str_eqz(key, "block_hashes"))
        return read_names(r, j, e);
    if (weir_json_str_eqz(key, "token_ids"))
        return read_tokens(r, j, e);
    if (weir_json_str_eqz(key, "parent_block_hash"))
        return read_parent(r, j, e);
    if (weir_json_str_eqz(key, "worker_id")) {
        t->has_worker = true;
        return read_number(r, j, UINT64_MAX, &e->event.worker.worker_id);
    }
    if (weir_json_str_eqz(key, "dp_rank"))
        return read_number(r, j, UINT32_MAX, &t->dp_rank);
    struct weir_span *text = weir_json_str_eqz(key, "type")         ? &t->type
                             : weir_json_str_eqz(key, "medium")     ? &t->medium
                             : weir_json_str_eqz(key, "lora_name")  ? &t->lora
                             : weir_json_str_eqz(key, "cache_salt") ? &t->salt
                                                                    : NULL;
    if (text != NULL)
        return read_text(r, j, text);
    return weir_json_skip(j, NULL) ? WEIR_OK : bad(r, "it is no JSON");
}

static enum weir_status read_event(struct reading *r, struct weir_span text, struct record *e) {
    struct weir_json j;
    struct weir_json_str key;
    struct texts t = {.has_worker = false};
    e->names = r->n_names;
    e->tokens = r->n_tokens;
    weir_json_init(&j, text, 32);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return bad(r, "event must be an object");
    while (weir_json_object_next(&j, &key)) {
        enum weir_status st = read_member(r, &j, key, e, &t);
        if (st != WEIR_OK)
            return st;
    }
    if (!e->hashed)
        return WEIR_OK; /* what was found stood somewhere else */
    if (t.type.data == NULL || !weir_span_eqz(t.type, "BlockStored") || !t.has_worker)
        return bad(r, "an event with token_ids must have the type BlockStored and a worker_id");
    if (e->block_size == 0 || e->block_size > 65536 || e->n_tokens != e->event.n * e->block_size)
        return bad(r, "token_ids must be block_size tokens for each of block_hashes");
    e->event.kind = KVI_STORED;
    e->event.tier = (enum kvi_tier)weir_engine_tier(t.medium); /* same order: router/kv_batch.c */
    e->event.worker.dp_rank = (uint32_t)t.dp_rank;
    e->seed = kvi_seed(t.lora.data, t.lora.len, t.salt.data, t.salt.len);
    return WEIR_OK;
}

/* {"key", "block_size", "event"}; what is wrong with other lines is found when they are applied. */
static enum weir_status read_line(struct reading *r, struct weir_span line) {
    struct weir_json j;
    struct weir_json_str k, s = {{NULL, 0}, false};
    struct weir_span event = {NULL, 0};
    struct record e = {.line = line};
    if (!weir_grow(&r->records, &r->cap, r->n + 1, sizeof(*r->records)))
        return no_memory(r);
    if (may_have_tokens(line)) {
        weir_json_init(&j, line, 32);
        if (weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j))
            while (weir_json_object_next(&j, &k)) {
                if (weir_json_str_eqz(k, "key") && weir_json_peek(&j) == WEIR_JSON_STRING)
                    weir_json_string(&j, &s);
                else if (weir_json_str_eqz(k, "block_size") &&
                         weir_json_peek(&j) == WEIR_JSON_NUMBER)
                    weir_json_u64(&j, &e.block_size);
                else
                    weir_json_skip(&j, weir_json_str_eqz(k, "event") ? &event : NULL);
            }
        if (!weir_json_finish(&j) || event.data == NULL)
            return bad(r, "it is no {\"key\", \"block_size\", \"event\"}");
        e.key = s.raw;
        enum weir_status st = read_event(r, event, &e);
        if (st != WEIR_OK)
            return st;
    }
    r->records[r->n++] = e;
    return WEIR_OK;
}

/* ---- hashing ----------------------------------------------------------------------------------
 */

static bool is_of(const struct record *e, uint64_t block_size) {
    return e->hashed && e->block_size == block_size;
}

/* The tokens of all events of one block size, one behind the other. */
static struct weir_hashing *gather(struct reading *r, uint64_t bs) {
    size_t n = 0, n_tokens = 0, k = 0;
    for (size_t i = 0; i < r->n; i++)
        if (is_of(&r->records[i], bs)) {
            n++;
            n_tokens += r->records[i].n_tokens;
        }
    struct weir_hashing *h = weir_hashing_create(n, n_tokens, (uint32_t)bs);
    for (size_t i = 0; h != NULL && i < r->n; i++) {
        struct record *e = &r->records[i];
        if (!is_of(e, bs))
            continue;
        if (e->n_tokens > 0)
            memcpy(h->tokens + h->offsets[k], r->tokens + e->tokens,
                   e->n_tokens * sizeof(*h->tokens));
        h->offsets[k + 1] = h->offsets[k] + e->n_tokens;
        h->seeds[k++] = e->seed;
        e->hashes = r->n_hashes;
        r->n_hashes += e->event.n;
    }
    return h;
}

static enum weir_status hash_size(struct reading *r, struct weir_device *device, uint64_t bs,
                                  enum weir_hashed_by *ret_by) {
    size_t first = r->n_hashes, at = 0;
    struct weir_hashing *h = gather(r, bs);
    const char *reason;
    if (h == NULL)
        return no_memory(r);
    if (r->n_hashes == first) {
        weir_hashing_release(h);
        return WEIR_OK; /* events without blocks */
    }
    bool by_device = weir_device_hash(device, h, &reason);
    *ret_by =
        !by_device || *ret_by == WEIR_HASHED_BY_CPU ? WEIR_HASHED_BY_CPU : WEIR_HASHED_BY_DEVICE;
    if (!by_device)
        for (size_t i = 0; i < h->n && !is_gone(r); i++)
            at += kvi_hash_blocks(h->tokens + h->offsets[i], h->offsets[i + 1] - h->offsets[i],
                                  (uint32_t)bs, h->seeds[i], false, r->hashes + first + at,
                                  r->n_hashes - first - at);
    else
        memcpy(r->hashes + first, h->local, (r->n_hashes - first) * sizeof(*h->local));
    weir_hashing_release(h);
    return WEIR_OK;
}

static enum weir_status hash_all(struct reading *r, struct weir_device *device,
                                 enum weir_hashed_by *ret_by) {
    uint64_t sizes[BLOCK_SIZES];
    size_t n_sizes = 0;
    *ret_by = WEIR_HASHED_NOTHING;
    r->hashes = weir_calloc(r->n_names + 1, sizeof(*r->hashes));
    if (r->hashes == NULL)
        return no_memory(r);
    for (size_t i = 0; i < r->n; i++) {
        bool done = !r->records[i].hashed;
        for (size_t k = 0; k < n_sizes; k++)
            done |= sizes[k] == r->records[i].block_size;
        if (done)
            continue;
        if (n_sizes == BLOCK_SIZES)
            return weir_err_set(r->err, WEIR_INVALID, "over %d block sizes in one dump",
                                BLOCK_SIZES);
        sizes[n_sizes++] = r->records[i].block_size;
        enum weir_status st = hash_size(r, device, r->records[i].block_size, ret_by);
        if (st == WEIR_OK && is_gone(r))
            st = WEIR_CANCELLED;
        if (st != WEIR_OK)
            return st;
    }
    return is_gone(r) ? WEIR_CANCELLED : WEIR_OK;
}

/* ---- second pass ------------------------------------------------------------------------------
 */

static enum weir_status put_event(struct reading *r, struct record *e, struct kvi_block *blocks,
                                  struct weir_buf *out) {
    for (size_t i = 0; i < e->event.n; i++)
        blocks[i] = (struct kvi_block){r->names[e->names + i], r->hashes[e->hashes + i]};
    e->event.blocks = blocks;
    enum weir_status st = weir_buf_printf(
        out, "{\"key\":\"%.*s\",\"block_size\":%" PRIu64 ",\"event\":", (int)e->key.len,
        e->key.data, e->block_size);
    size_t room = 256 + e->event.n * 96; /* two numbers of 20 digits and their names */
    if (st == WEIR_OK)
        st = weir_buf_reserve(out, room);
    size_t n =
        st == WEIR_OK ? kvi_event_to_json(&e->event, 0, out->data + out->len, room) : room + 1;
    if (n > room)
        return WEIR_NOMEM;
    out->len += n;
    return weir_buf_append_z(out, "}\n");
}

static enum weir_status put_all(struct reading *r, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    struct kvi_block *blocks = weir_calloc(r->n_names + 1, sizeof(*blocks));
    if (blocks == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; st == WEIR_OK && i < r->n; i++) {
        struct record *e = &r->records[i];
        if (is_gone(r)) {
            st = WEIR_CANCELLED;
        } else if (e->hashed) {
            st = put_event(r, e, blocks, out);
        } else {
            st = weir_buf_append_span(out, e->line);
            if (st == WEIR_OK)
                st = weir_buf_append_c(out, '\n');
        }
    }
    weir_free(blocks);
    return st;
}

enum weir_status weir_tokens_hash(struct weir_device *device, struct weir_span dump,
                                  const _Atomic bool *gone, struct weir_buf *out,
                                  enum weir_hashed_by *ret_by, struct weir_err *err) {
    struct reading r = {.gone = gone, .err = err};
    enum weir_status st = WEIR_OK;
    for (struct weir_span rest = dump, line; st == WEIR_OK && rest.data != NULL && rest.len > 0;) {
        line = weir_span_trim(weir_span_split(rest, '\n', &rest));
        if (line.len > 0)
            st = is_gone(&r) ? WEIR_CANCELLED : read_line(&r, line);
    }
    if (st == WEIR_OK)
        st = hash_all(&r, device, ret_by);
    if (st == WEIR_OK && (st = put_all(&r, out)) == WEIR_NOMEM)
        weir_err_set(err, st, "out of memory");
    if (st == WEIR_CANCELLED)
        weir_err_set(err, st, "nobody waits for it any more");
    weir_free(r.records);
    weir_free(r.names);
    weir_free(r.tokens);
    weir_free(r.hashes);
    return st;
}
