#include "indexer/batch.h"

#include "base/json.h"
#include "base/mem.h"
#include "indexer/numbers.h"

#include <string.h>

enum { NAMES_MAX = 1 << 20 };

/* Names of one object; data NULL: not given, or null. */
struct names {
    struct weir_span lora, salt;
};

/* A string, unescaped where it must be; null is as if it were not there. */
static enum weir_status text_of(struct weir_batch *b, struct weir_json *j, struct weir_span *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j) ? WEIR_OK : WEIR_INVALID;
    if (weir_json_peek(j) != WEIR_JSON_STRING || !weir_json_string(j, &s))
        return WEIR_INVALID;
    *ret = s.raw;
    if (!s.escaped)
        return WEIR_OK;
    /* Spans into the buffer must stay: it is made as large as it may become at once. */
    size_t from = b->names.len;
    enum weir_status st = b->names.cap == 0 ? weir_buf_reserve(&b->names, NAMES_MAX) : WEIR_OK;
    if (st != WEIR_OK || s.raw.len > b->names.cap - b->names.len)
        return WEIR_NOMEM;
    st = weir_json_unescape(s, &b->names);
    *ret = weir_span(b->names.data + from, b->names.len - from);
    return st;
}

static enum weir_status wrong(struct weir_err *err, enum weir_status st, size_t query,
                              const char *text) {
    if (st == WEIR_NOMEM)
        return weir_err_set(err, st, "out of memory");
    return weir_err_set(err, WEIR_INVALID, "queries[%zu]: %s", query, text);
}

/* ---- one query --------------------------------------------------------------------------------
 */

struct query {
    struct weir_batch_query q;
    struct names names;
    bool has_tokens, has_hashes;
    const char *text; /* what is wrong */
};

static enum weir_status query_member(struct weir_batch *b, struct weir_json *j,
                                     struct weir_json_str key, struct query *q) {
    enum weir_status st;
    if (weir_json_str_eqz(key, "token_ids")) {
        q->text = "token_ids must be an array of unsigned 32-bit integers";
        q->has_tokens = true;
        q->q.from = b->n_tokens;
        st = weir_numbers_tokens(j, &b->tokens, &b->n_tokens, &b->cap_tokens);
        q->q.n = b->n_tokens - q->q.from;
        return st;
    }
    if (weir_json_str_eqz(key, "block_hashes")) {
        q->text = "block_hashes must be an array of 64-bit integers";
        q->has_hashes = q->q.by_hash = true;
        q->q.from = b->n_hashes;
        st = weir_numbers_hashes(j, &b->hashes, &b->n_hashes, &b->cap_hashes);
        q->q.n = b->n_hashes - q->q.from;
        return st;
    }
    if (weir_json_str_eqz(key, "lora_name")) {
        q->text = "lora_name must be a string";
        return text_of(b, j, &q->names.lora);
    }
    if (weir_json_str_eqz(key, "cache_salt")) {
        q->text = "cache_salt must be a string";
        return text_of(b, j, &q->names.salt);
    }
    return weir_json_skip(j, NULL) ? WEIR_OK : WEIR_INVALID;
}

static enum weir_status one_query(struct weir_batch *b, struct weir_json *j,
                                  const struct names *all, struct weir_err *err) {
    struct query q = {.names = *all, .text = "it must be an object"};
    struct weir_json_str key;
    if (b->n == WEIR_BATCH_MAX)
        return weir_err_set(err, WEIR_INVALID, "over %d queries: send them in several batches",
                            WEIR_BATCH_MAX);
    if (weir_json_peek(j) != WEIR_JSON_OBJECT || !weir_json_object_enter(j))
        return wrong(err, WEIR_INVALID, b->n, q.text);
    while (weir_json_object_next(j, &key)) {
        enum weir_status st = query_member(b, j, key, &q);
        if (st != WEIR_OK)
            return wrong(err, st, b->n, q.text);
    }
    if (q.has_tokens == q.has_hashes)
        return wrong(err, WEIR_INVALID, b->n,
                     "token_ids or block_hashes is required, and not both");
    if (q.has_hashes && q.names.salt.data != NULL)
        return wrong(err, WEIR_INVALID, b->n,
                     "cache_salt is part of the hashes: it cannot be given beside them");
    if (!weir_grow(&b->queries, &b->cap, b->n + 1, sizeof(*b->queries)))
        return wrong(err, WEIR_NOMEM, 0, "");
    q.q.seed = kvi_seed(q.names.lora.data, q.names.lora.len, q.names.salt.data, q.names.salt.len);
    b->queries[b->n++] = q.q;
    return WEIR_OK;
}

/* ---- the batch --------------------------------------------------------------------------------
 */

struct batch_members {
    struct names names;
    struct weir_span queries;
    const char *text;
};

static enum weir_status batch_member(struct weir_batch *b, struct weir_json *j,
                                     struct weir_json_str key, struct batch_members *m) {
    if (weir_json_str_eqz(key, "model_name")) {
        m->text = "model_name must be a string";
        return text_of(b, j, &b->model);
    }
    if (weir_json_str_eqz(key, "routing_group") || weir_json_str_eqz(key, "tenant_id")) {
        m->text = "routing_group must be a string";
        return text_of(b, j, &b->group);
    }
    if (weir_json_str_eqz(key, "lora_name")) {
        m->text = "lora_name must be a string";
        return text_of(b, j, &m->names.lora);
    }
    if (weir_json_str_eqz(key, "cache_salt")) {
        m->text = "cache_salt must be a string";
        return text_of(b, j, &m->names.salt);
    }
    m->text = NULL;
    return weir_json_skip(j, weir_json_str_eqz(key, "queries") ? &m->queries : NULL) ? WEIR_OK
                                                                                     : WEIR_INVALID;
}

static enum weir_status not_json(const struct weir_json *j, struct weir_span text,
                                 struct weir_err *err) {
    unsigned line, column;
    weir_json_line_column(text, j->error_pos, &line, &column);
    return weir_err_set(err, WEIR_INVALID, "the body is no JSON: %s at line %u column %u",
                        weir_json_error_text(j->error), line, column);
}

static enum weir_status parse(struct weir_batch *b, struct weir_span text, struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str key;
    struct batch_members m = {.text = NULL};
    weir_json_init(&j, text, 32);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return j.error != WEIR_JSON_ERR_NONE
                   ? not_json(&j, text, err)
                   : weir_err_set(err, WEIR_INVALID, "the body must be a JSON object");
    while (weir_json_object_next(&j, &key)) {
        enum weir_status st = batch_member(b, &j, key, &m);
        if (st != WEIR_OK && j.error != WEIR_JSON_ERR_NONE)
            return not_json(&j, text, err);
        if (st != WEIR_OK)
            return weir_err_set(err, st, "%s", st == WEIR_NOMEM ? "out of memory" : m.text);
    }
    if (!weir_json_finish(&j))
        return not_json(&j, text, err);
    if (b->model.len == 0)
        return weir_err_set(err, WEIR_INVALID, "model_name is required");
    weir_json_init(&j, m.queries, 32); /* it is JSON already */
    if (m.queries.data == NULL || weir_json_peek(&j) != WEIR_JSON_ARRAY ||
        !weir_json_array_enter(&j))
        return weir_err_set(err, WEIR_INVALID, "queries must be an array of objects");
    while (weir_json_array_next(&j)) {
        enum weir_status st = one_query(b, &j, &m.names, err);
        if (st != WEIR_OK)
            return st;
    }
    return WEIR_OK;
}

enum weir_status weir_batch_parse(struct weir_batch *b, struct weir_span text,
                                  struct weir_err *err) {
    *b = (struct weir_batch){.group = WEIR_SPAN_LIT("default")};
    weir_buf_init(&b->names, NAMES_MAX);
    return parse(b, text, err);
}

void weir_batch_fini(struct weir_batch *b) {
    weir_buf_fini(&b->names);
    weir_free(b->queries);
    weir_free(b->tokens);
    weir_free(b->hashes);
}

enum weir_status weir_batch_hash(const struct weir_batch *b, uint32_t block_size,
                                 uint64_t **ret_local, uint64_t **ret_offsets) {
    uint64_t *offsets = weir_calloc(b->n + 1, sizeof(*offsets));
    for (size_t i = 0; offsets != NULL && i < b->n; i++) {
        const struct weir_batch_query *q = &b->queries[i];
        offsets[i + 1] =
            offsets[i] + (q->by_hash ? q->n : kvi_block_count(q->n, block_size, false));
    }
    uint64_t *local = offsets != NULL ? weir_calloc(offsets[b->n] + 1, sizeof(*local)) : NULL;
    if (local == NULL) {
        weir_free(offsets);
        return WEIR_NOMEM;
    }
    for (size_t i = 0; i < b->n; i++) {
        const struct weir_batch_query *q = &b->queries[i];
        size_t n = offsets[i + 1] - offsets[i];
        if (n > 0 && q->by_hash)
            memcpy(local + offsets[i], b->hashes + q->from, n * sizeof(*local));
        else if (n > 0)
            kvi_hash_blocks(b->tokens + q->from, q->n, block_size, q->seed, false,
                            local + offsets[i], n);
    }
    *ret_local = local;
    *ret_offsets = offsets;
    return WEIR_OK;
}
