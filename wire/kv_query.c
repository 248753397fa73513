#include "wire/kv_query.h"

#include "base/msgpack.h"

/* Both codecs go through MessagePack: these messages are rare, and one reader is one place for
 * bugs. */

static enum weir_status put_in_codec(struct weir_span msgpack, enum weir_codec codec,
                                     struct weir_buf *out) {
    return codec == WEIR_CODEC_MSGPACK ? weir_buf_append_span(out, msgpack)
                                       : weir_mp_to_json(msgpack, out);
}

static void put_opt(struct weir_mpw *w, const char *key, bool set, uint64_t value) {
    weir_mpw_str_z(w, key);
    if (set)
        weir_mpw_u64(w, value);
    else
        weir_mpw_nil(w);
}

enum weir_status weir_kv_query_encode(const struct weir_kv_query *query, enum weir_codec codec,
                                      struct weir_buf *out) {
    struct weir_buf bytes;
    weir_buf_init(&bytes, 1024);
    struct weir_mpw w;
    weir_mpw_init(&w, &bytes);
    weir_mpw_map(&w, 6);
    put_opt(&w, "worker_id", true, query->worker_id);
    put_opt(&w, "dp_rank", true, query->dp_rank);
    put_opt(&w, "start_event_id", query->has_start, query->start_event_id);
    put_opt(&w, "end_event_id", query->has_end, query->end_event_id);
    weir_mpw_str_z(&w, "supports_tree_dump_failed");
    weir_mpw_bool(&w, true);
    weir_mpw_str_z(&w, "kind");
    weir_mpw_str_z(&w, "recovery");
    enum weir_status st = w.status;
    if (st == WEIR_OK)
        st = put_in_codec(weir_buf_span(&bytes), codec, out);
    weir_buf_fini(&bytes);
    return st;
}

static bool read_opt(struct weir_mp *m, bool *ret_set, uint64_t *ret_value) {
    *ret_set = weir_mp_peek(m) != WEIR_MP_NIL;
    return *ret_set ? weir_mp_u64(m, ret_value) : weir_mp_nil(m);
}

static bool read_query_field(struct weir_mp *m, struct weir_members *names, struct weir_span key,
                             struct weir_kv_query *q, bool *ret_worker) {
    uint64_t rank = 0;
    bool set = false;
    struct weir_span kind;
    if (weir_mp_is(m, names, key, "worker_id"))
        return *ret_worker = weir_mp_u64(m, &q->worker_id);
    if (weir_mp_is(m, names, key, "dp_rank")) {
        if (!read_opt(m, &set, &rank) || rank > UINT32_MAX)
            return false;
        q->dp_rank = (uint32_t)rank;
        return true;
    }
    if (weir_mp_is(m, names, key, "start_event_id"))
        return read_opt(m, &q->has_start, &q->start_event_id);
    if (weir_mp_is(m, names, key, "end_event_id"))
        return read_opt(m, &q->has_end, &q->end_event_id);
    if (weir_mp_is(m, names, key, "kind") && weir_mp_peek(m) == WEIR_MP_STR) {
        if (!weir_mp_str(m, &kind))
            return false;
        q->recovery = weir_span_eqz(kind, "recovery");
        return true;
    }
    return weir_mp_skip(m, NULL);
}

enum weir_status weir_kv_query_decode(struct weir_span body, enum weir_codec codec,
                                      struct weir_kv_query *ret_query) {
    struct weir_buf bytes;
    weir_buf_init(&bytes, 64 * 1024);
    if (codec == WEIR_CODEC_JSON) {
        enum weir_status st = weir_mp_from_json(body, &bytes);
        if (st != WEIR_OK) {
            weir_buf_fini(&bytes);
            return st == WEIR_NOMEM ? st : WEIR_INVALID;
        }
        body = weir_buf_span(&bytes);
    }
    struct weir_kv_query q = {.recovery = true};
    struct weir_mp m;
    weir_mp_init(&m, body);
    struct weir_members names = {.row = 0};
    uint32_t pairs = 0;
    bool worker = false, ok = weir_mp_map(&m, &pairs);
    for (uint32_t i = 0; ok && i < pairs; i++) {
        struct weir_span key;
        ok = weir_mp_member(&m, &names, &key) && read_query_field(&m, &names, key, &q, &worker);
    }
    ok = ok && m.pos == m.len;
    weir_buf_fini(&bytes);
    if (!ok || !worker)
        return WEIR_INVALID;
    *ret_query = q;
    return WEIR_OK;
}

/* ---- answers ------------------------------------------------------------------------------ */

static void put_u64(struct weir_mpw *w, const char *key, uint64_t value) {
    put_opt(w, key, true, value);
}

static void put_events(struct weir_mpw *w, struct weir_span events) {
    weir_mpw_str_z(w, "events");
    if (events.len > 0)
        weir_mpw_raw(w, events);
    else
        weir_mpw_array(w, 0);
}

static void put_answer(struct weir_mpw *w, const struct weir_kv_answer *a) {
    switch (a->kind) {
    case WEIR_KV_TREE_DUMP:
        weir_mpw_str_z(w, "TreeDump");
        weir_mpw_map(w, 3);
        put_events(w, a->events);
        put_u64(w, "last_event_id", a->last_event_id);
        weir_mpw_str_z(w, "reset_scope");
        weir_mpw_str_z(w, "all");
        break;
    case WEIR_KV_EVENTS:
        weir_mpw_str_z(w, "Events");
        weir_mpw_map(w, 2);
        put_events(w, a->events);
        put_u64(w, "last_event_id", a->last_event_id);
        break;
    case WEIR_KV_TOO_NEW:
        weir_mpw_str_z(w, "TooNew");
        weir_mpw_map(w, 3);
        put_u64(w, "requested_start", a->start_id);
        put_u64(w, "requested_end", a->end_id);
        put_u64(w, "newest_available", a->last_event_id);
        break;
    case WEIR_KV_INVALID_RANGE:
        weir_mpw_str_z(w, "InvalidRange");
        weir_mpw_map(w, 2);
        put_u64(w, "start_id", a->start_id);
        put_u64(w, "end_id", a->end_id);
        break;
    case WEIR_KV_ERROR:
        weir_mpw_str_z(w, "Error");
        weir_mpw_str(w, a->error);
        break;
    }
}

enum weir_status weir_kv_answer_encode(const struct weir_kv_answer *answer, enum weir_codec codec,
                                       struct weir_buf *out) {
    struct weir_buf bytes;
    weir_buf_init(&bytes, out->max);
    struct weir_mpw w;
    weir_mpw_init(&w, &bytes);
    weir_mpw_map(&w, 2);
    weir_mpw_str_z(&w, "data");
    weir_mpw_map(&w, 1);
    put_answer(&w, answer);
    weir_mpw_str_z(&w, "complete_final");
    weir_mpw_bool(&w, false);
    enum weir_status st = w.status;
    if (st == WEIR_OK)
        st = put_in_codec(weir_buf_span(&bytes), codec, out);
    weir_buf_fini(&bytes);
    return st;
}

static bool kind_of(struct weir_span name, enum weir_kv_answer_kind *ret_kind) {
    static const struct {
        const char *name;
        enum weir_kv_answer_kind kind;
    } names[] = {{"TreeDump", WEIR_KV_TREE_DUMP},
                 {"Events", WEIR_KV_EVENTS},
                 {"TooNew", WEIR_KV_TOO_NEW},
                 {"InvalidRange", WEIR_KV_INVALID_RANGE},
                 {"Error", WEIR_KV_ERROR}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
        if (weir_span_eqz(name, names[i].name)) {
            *ret_kind = names[i].kind;
            return true;
        }
    return false;
}

static bool read_answer_field(struct weir_mp *m, struct weir_members *names, struct weir_span key,
                              struct weir_kv_answer *a) {
    bool set;
    if (weir_mp_is(m, names, key, "events"))
        return weir_mp_peek(m) == WEIR_MP_ARRAY && weir_mp_skip(m, &a->events);
    if (weir_mp_is(m, names, key, "last_event_id") || weir_mp_is(m, names, key, "newest_available"))
        return read_opt(m, &set, &a->last_event_id);
    if (weir_mp_is(m, names, key, "requested_start") || weir_mp_is(m, names, key, "start_id"))
        return read_opt(m, &set, &a->start_id);
    if (weir_mp_is(m, names, key, "requested_end") || weir_mp_is(m, names, key, "end_id"))
        return read_opt(m, &set, &a->end_id);
    return weir_mp_skip(m, NULL);
}

/* {"TreeDump": {…}} */
static bool read_answer(struct weir_mp *m, struct weir_kv_answer *a) {
    struct weir_members names = {.row = 0};
    uint32_t pairs = 0;
    struct weir_span name, key;
    if (!weir_mp_map(m, &pairs) || pairs != 1 || !weir_mp_str(m, &name) || !kind_of(name, &a->kind))
        return false;
    if (a->kind == WEIR_KV_ERROR)
        return weir_mp_str(m, &a->error);
    if (!weir_mp_map(m, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++)
        if (!weir_mp_member(m, &names, &key) || !read_answer_field(m, &names, key, a))
            return false;
    return true;
}

enum weir_status weir_kv_answer_decode(struct weir_span body, enum weir_codec codec,
                                       struct weir_buf *scratch,
                                       struct weir_kv_answer *ret_answer) {
    if (codec == WEIR_CODEC_JSON) {
        weir_buf_clear(scratch);
        enum weir_status st = weir_mp_from_json(body, scratch);
        if (st != WEIR_OK)
            return st == WEIR_INVALID ? WEIR_PROTOCOL : st;
        body = weir_buf_span(scratch);
    }
    struct weir_kv_answer a = {0};
    struct weir_mp m;
    weir_mp_init(&m, body);
    struct weir_members names = {.row = 0};
    uint32_t pairs = 0;
    bool found = false, ok = weir_mp_map(&m, &pairs);
    for (uint32_t i = 0; ok && i < pairs; i++) {
        struct weir_span key;
        ok = weir_mp_member(&m, &names, &key);
        if (ok && weir_mp_is(&m, &names, key, "data"))
            found = ok = read_answer(&m, &a);
        else if (ok)
            ok = weir_mp_skip(&m, NULL);
    }
    if (!ok || !found || m.pos != m.len)
        return WEIR_PROTOCOL;
    *ret_answer = a;
    return WEIR_OK;
}
