#include "wire/kv_event_priv.h"

#include "base/big_endian.h"

#include <string.h>

enum { ZMQ_HEAD = 5, ZMQ_VERSION = 1 };

/* ---- envelope ----------------------------------------------------------------------------- */

enum weir_status weir_envelope_encode(const struct weir_envelope *env, struct weir_buf *out) {
    struct weir_mpw w;
    weir_mpw_init(&w, out);
    weir_mpw_map(&w, 5);
    weir_mpw_str_z(&w, "publisher_id");
    weir_mpw_u64(&w, env->publisher_id);
    weir_mpw_str_z(&w, "sequence");
    weir_mpw_u64(&w, env->sequence);
    weir_mpw_str_z(&w, "published_at");
    weir_mpw_u64(&w, env->published_at_ms);
    weir_mpw_str_z(&w, "topic");
    weir_mpw_str(&w, env->topic);
    weir_mpw_str_z(&w, "payload");
    weir_mpw_bin(&w, env->payload);
    return w.status;
}

/* bin, or an array of small integers (another serializer of the same type). */
static bool read_payload(struct weir_mp *m, struct weir_arena *arena, struct weir_span *ret) {
    if (weir_mp_peek(m) == WEIR_MP_BIN)
        return weir_mp_bin(m, ret);
    uint32_t n = 0;
    if (!weir_mp_array(m, &n))
        return false;
    char *bytes = weir_arena_alloc(arena, (size_t)n + 1);
    if (bytes == NULL)
        return weir_mp_fail(m);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t v = 0;
        if (!weir_mp_u64(m, &v) || v > 255)
            return weir_mp_fail(m);
        bytes[i] = (char)v;
    }
    *ret = weir_span(bytes, n);
    return true;
}

enum weir_status weir_envelope_read(struct weir_span bytes, struct weir_arena *arena,
                                    struct weir_envelope *ret_env) {
    struct weir_envelope env = {0};
    struct weir_mp m;
    uint32_t pairs = 0;
    struct weir_members names = {.row = 0};
    bool payload = false;
    weir_mp_init(&m, bytes);
    if (!weir_mp_map(&m, &pairs))
        return WEIR_INVALID;
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_span key;
        if (!weir_mp_member(&m, &names, &key))
            return WEIR_INVALID;
        bool ok = weir_mp_is(&m, &names, key, "topic")          ? weir_mp_str(&m, &env.topic)
                  : weir_mp_is(&m, &names, key, "publisher_id") ? weir_mp_u64(&m, &env.publisher_id)
                  : weir_mp_is(&m, &names, key, "sequence")     ? weir_mp_u64(&m, &env.sequence)
                  : weir_mp_is(&m, &names, key, "published_at")
                      ? weir_mp_u64(&m, &env.published_at_ms)
                  : weir_mp_is(&m, &names, key, "payload")
                      ? (payload = read_payload(&m, arena, &env.payload))
                      : weir_mp_skip(&m, NULL);
        if (!ok)
            return WEIR_INVALID;
    }
    if (!payload || m.pos != m.len)
        return WEIR_INVALID;
    *ret_env = env;
    return WEIR_OK;
}

enum weir_status weir_envelope_decode(struct weir_span bytes, struct weir_arena *arena,
                                      struct weir_envelope *ret_env) {
    return weir_envelope_usual(bytes, ret_env) ? WEIR_OK
                                               : weir_envelope_read(bytes, arena, ret_env);
}

enum weir_status weir_zmq_frame_encode(const struct weir_envelope *env, struct weir_buf *out) {
    size_t mark = out->len;
    enum weir_status st = weir_buf_append(out, "\x01\0\0\0\0", ZMQ_HEAD);
    if (st == WEIR_OK)
        st = weir_envelope_encode(env, out);
    if (st != WEIR_OK)
        return st;
    size_t n = out->len - mark - ZMQ_HEAD;
    for (unsigned i = 0; i < 4; i++)
        out->data[mark + 1 + i] = (char)(n >> (24 - 8 * i));
    return WEIR_OK;
}

enum weir_status weir_zmq_frame_decode(struct weir_span bytes, struct weir_arena *arena,
                                       struct weir_envelope *ret_env) {
    if (bytes.len < ZMQ_HEAD || bytes.data[0] != ZMQ_VERSION)
        return WEIR_INVALID;
    size_t n = weir_be32(bytes.data + 1);
    if (n != bytes.len - ZMQ_HEAD)
        return WEIR_INVALID;
    return weir_envelope_decode(weir_span(bytes.data + ZMQ_HEAD, n), arena, ret_env);
}

/* ---- RouterEvent -------------------------------------------------------------------------- */

static const char *const tiers[] = {"device", "host_pinned", "disk", "external"};

static bool read_tier(struct weir_mp *m, enum weir_kv_tier *ret) {
    struct weir_span word;
    if (!weir_mp_str(m, &word))
        return false;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(tiers); i++)
        if (weir_span_eqz(word, tiers[i])) {
            *ret = (enum weir_kv_tier)i;
            return true;
        }
    return weir_mp_fail(m);
}

static bool read_block(struct weir_mp *m, struct weir_kv_block *b) {
    uint32_t pairs = 0;
    struct weir_members names = {.row = 0};
    unsigned seen = 0;
    if (!weir_mp_map(m, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_span key;
        if (!weir_mp_member(m, &names, &key))
            return false;
        bool ok;
        if (weir_mp_is(m, &names, key, "block_hash"))
            ok = weir_mp_bits64(m, &b->block_hash), seen |= 1;
        else if (weir_mp_is(m, &names, key, "tokens_hash"))
            ok = weir_mp_bits64(m, &b->tokens_hash), seen |= 2;
        else
            ok = weir_mp_skip(m, NULL);
        if (!ok)
            return false;
    }
    return seen == 3 || weir_mp_fail(m);
}

static bool read_blocks(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *e) {
    uint32_t n = 0;
    if (!weir_mp_array(m, &n))
        return false;
    struct weir_kv_block *blocks = weir_arena_alloc(arena, (size_t)(n + 1) * sizeof(*blocks));
    if (blocks == NULL)
        return weir_mp_fail(m);
    for (uint32_t i = 0; i < n; i++)
        if (!weir_kv_block_usual(m, &blocks[i]) && !read_block(m, &blocks[i]))
            return false;
    e->blocks = blocks;
    e->n_blocks = n;
    return true;
}

static bool read_stored(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *e) {
    uint32_t pairs = 0;
    struct weir_members names = {.row = 0};
    if (!weir_mp_map(m, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_span key;
        uint64_t v = 0;
        if (!weir_mp_member(m, &names, &key))
            return false;
        bool ok, set = weir_mp_peek(m) != WEIR_MP_NIL;
        if (weir_mp_is(m, &names, key, "parent_hash") && set)
            ok = e->has_parent = weir_mp_bits64(m, &e->parent_hash);
        else if (weir_mp_is(m, &names, key, "start_position") && set) {
            ok = e->has_start_position = weir_mp_u64(m, &v) && v <= UINT32_MAX;
            e->start_position = (uint32_t)v;
        } else if (weir_mp_is(m, &names, key, "blocks") && set)
            ok = read_blocks(m, arena, e);
        else
            ok = weir_mp_skip(m, NULL);
        if (!ok)
            return weir_mp_fail(m);
    }
    return e->blocks != NULL || weir_mp_fail(m);
}

static bool read_removed(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *e) {
    uint32_t pairs = 0, n = 0;
    struct weir_members names = {.row = 0};
    if (!weir_mp_map(m, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_span key;
        if (!weir_mp_member(m, &names, &key))
            return false;
        if (!weir_mp_is(m, &names, key, "block_hashes")) {
            if (!weir_mp_skip(m, NULL))
                return false;
            continue;
        }
        if (!weir_mp_array(m, &n))
            return false;
        uint64_t *hashes = weir_arena_alloc(arena, (size_t)(n + 1) * sizeof(*hashes));
        if (hashes == NULL)
            return weir_mp_fail(m);
        for (uint32_t k = 0; k < n; k++) {
            bool usual = m->len - m->pos >= 9 && m->buf[m->pos] == 0xcf;
            if (usual) {
                hashes[k] = weir_be64(m->buf + m->pos + 1);
                m->pos += 9;
            } else if (!weir_mp_bits64(m, &hashes[k])) {
                return false;
            }
        }
        e->removed = hashes;
        e->n_removed = n;
    }
    return e->removed != NULL || weir_mp_fail(m);
}

/* "cleared" | {"stored": {…}} | {"removed": {…}} */
static bool read_data(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *e) {
    struct weir_span word;
    uint32_t pairs = 0;
    if (weir_mp_peek(m) == WEIR_MP_STR) {
        e->kind = WEIR_KV_CLEARED;
        return weir_mp_str(m, &word) && (weir_span_eqz(word, "cleared") || weir_mp_fail(m));
    }
    if (!weir_mp_map(m, &pairs) || pairs != 1 || !weir_mp_str(m, &word))
        return weir_mp_fail(m);
    if (weir_span_eqz(word, "stored")) {
        e->kind = WEIR_KV_STORED;
        return read_stored(m, arena, e);
    }
    e->kind = WEIR_KV_REMOVED;
    return weir_span_eqz(word, "removed") ? read_removed(m, arena, e) : weir_mp_fail(m);
}

static bool read_cache_event(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *e) {
    uint32_t pairs = 0;
    struct weir_members names = {.row = 0};
    bool data = false;
    if (!weir_mp_map(m, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_span key;
        uint64_t v = 0;
        if (!weir_mp_member(m, &names, &key))
            return false;
        bool ok;
        if (weir_mp_is(m, &names, key, "event_id"))
            ok = weir_mp_u64(m, &e->event_id);
        else if (weir_mp_is(m, &names, key, "data"))
            ok = data = read_data(m, arena, e);
        else if (weir_mp_is(m, &names, key, "dp_rank") && weir_mp_peek(m) != WEIR_MP_NIL) {
            ok = weir_mp_u64(m, &v) && v <= UINT32_MAX;
            e->dp_rank = (uint32_t)v;
        } else
            ok = weir_mp_skip(m, NULL);
        if (!ok)
            return weir_mp_fail(m);
    }
    return data || weir_mp_fail(m);
}

/* Caches of another owner than the worker are not for this index. */
static bool read_domain(struct weir_mp *m, bool *ret_foreign) {
    struct weir_span word;
    *ret_foreign = true;
    if (weir_mp_peek(m) == WEIR_MP_NIL)
        return weir_mp_nil(m);
    if (!weir_mp_str(m, &word))
        return false;
    *ret_foreign = !weir_span_eqz(word, "worker");
    return true;
}

/* Its id still counts, or a gap would be seen: it becomes a removal of nothing. */
static void make_empty(struct weir_kv_event *e) {
    static const uint64_t none;
    *e = (struct weir_kv_event){.worker_id = e->worker_id,
                                .dp_rank = e->dp_rank,
                                .event_id = e->event_id,
                                .tier = e->tier,
                                .kind = WEIR_KV_REMOVED,
                                .removed = &none};
}

bool weir_kv_event_read(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *e) {
    uint32_t pairs = 0;
    struct weir_members names = {.row = 0};
    unsigned seen = 0;
    bool foreign = false;
    if (!weir_mp_map(m, &pairs))
        return false;
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_span key;
        if (!weir_mp_member(m, &names, &key))
            return false;
        bool ok;
        if (weir_mp_is(m, &names, key, "worker_id"))
            ok = weir_mp_u64(m, &e->worker_id), seen |= 1;
        else if (weir_mp_is(m, &names, key, "event"))
            ok = read_cache_event(m, arena, e), seen |= 2;
        else if (weir_mp_is(m, &names, key, "storage_tier"))
            ok = read_tier(m, &e->tier);
        else if (weir_mp_is(m, &names, key, "residency_domain"))
            ok = read_domain(m, &foreign);
        else
            ok = weir_mp_skip(m, NULL);
        if (!ok)
            return false;
    }
    if (foreign)
        make_empty(e);
    return seen == 3 || weir_mp_fail(m);
}

enum weir_status weir_kv_events_decode(struct weir_span payload, struct weir_arena *arena,
                                       weir_kv_event_fn fn, void *arg) {
    struct weir_mp m;
    uint32_t n = 0;
    weir_mp_init(&m, payload);
    if (!weir_mp_array(&m, &n))
        return WEIR_INVALID;
    for (uint32_t i = 0; i < n; i++) {
        struct weir_kv_event e;
        weir_arena_reset(arena);
        if (!weir_kv_event_usual(&m, arena, &e)) {
            weir_arena_reset(arena);
            e = (struct weir_kv_event){0};
            if (!weir_kv_event_read(&m, arena, &e))
                return WEIR_INVALID;
        }
        fn(arg, &e);
    }
    return m.pos == m.len ? WEIR_OK : WEIR_INVALID;
}

static void put_opt(struct weir_mpw *w, const char *key, bool has, uint64_t v) {
    weir_mpw_str_z(w, key);
    if (has)
        weir_mpw_u64(w, v);
    else
        weir_mpw_nil(w);
}

static void put_stored(struct weir_mpw *w, const struct weir_kv_event *e) {
    weir_mpw_map(w, 1);
    weir_mpw_str_z(w, "stored");
    weir_mpw_map(w, 3);
    put_opt(w, "parent_hash", e->has_parent, e->parent_hash);
    put_opt(w, "start_position", e->has_start_position, e->start_position);
    weir_mpw_str_z(w, "blocks");
    weir_mpw_array(w, (uint32_t)e->n_blocks);
    for (size_t i = 0; i < e->n_blocks; i++) {
        weir_mpw_map(w, 3);
        put_opt(w, "block_hash", true, e->blocks[i].block_hash);
        put_opt(w, "tokens_hash", true, e->blocks[i].tokens_hash);
        weir_mpw_str_z(w, "mm_extra_info");
        weir_mpw_nil(w);
    }
}

static void put_removed(struct weir_mpw *w, const struct weir_kv_event *e) {
    weir_mpw_map(w, 1);
    weir_mpw_str_z(w, "removed");
    weir_mpw_map(w, 1);
    weir_mpw_str_z(w, "block_hashes");
    weir_mpw_array(w, (uint32_t)e->n_removed);
    for (size_t i = 0; i < e->n_removed; i++)
        weir_mpw_u64(w, e->removed[i]);
}

enum weir_status weir_kv_events_encode(const struct weir_kv_event *events, size_t n,
                                       struct weir_buf *out) {
    struct weir_mpw w;
    weir_mpw_init(&w, out);
    weir_mpw_array(&w, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        const struct weir_kv_event *e = &events[i];
        weir_mpw_map(&w, 4);
        put_opt(&w, "worker_id", true, e->worker_id);
        weir_mpw_str_z(&w, "storage_tier");
        weir_mpw_str_z(&w, tiers[e->tier]);
        weir_mpw_str_z(&w, "residency_domain");
        weir_mpw_str_z(&w, "worker");
        weir_mpw_str_z(&w, "event");
        weir_mpw_map(&w, 3);
        put_opt(&w, "event_id", true, e->event_id);
        weir_mpw_str_z(&w, "data");
        if (e->kind == WEIR_KV_STORED)
            put_stored(&w, e);
        else if (e->kind == WEIR_KV_REMOVED)
            put_removed(&w, e);
        else
            weir_mpw_str_z(&w, "cleared");
        put_opt(&w, "dp_rank", true, e->dp_rank);
    }
    return w.status;
}

/* ---- ActiveLoad --------------------------------------------------------------------------- */

enum weir_status weir_active_load_encode(const struct weir_active_load *load,
                                         struct weir_buf *out) {
    struct weir_mpw w;
    weir_mpw_init(&w, out);
    weir_mpw_map(&w, 5);
    put_opt(&w, "worker_id", true, load->worker_id);
    put_opt(&w, "dp_rank", true, load->dp_rank);
    put_opt(&w, "active_decode_blocks", load->has_decode_blocks, load->active_decode_blocks);
    put_opt(&w, "active_prefill_tokens", load->has_prefill_tokens, load->active_prefill_tokens);
    put_opt(&w, "kv_used_blocks", load->has_kv_used, load->kv_used_blocks);
    return w.status;
}

enum weir_status weir_active_load_decode(struct weir_span payload,
                                         struct weir_active_load *ret_load) {
    struct weir_active_load l = {0};
    struct weir_mp m;
    uint32_t pairs = 0;
    struct weir_members names = {.row = 0};
    uint64_t rank = 0;
    bool worker = false, has_rank = false;
    const struct {
        const char *key;
        bool *has;
        uint64_t *to;
    } members[] = {{"worker_id", &worker, &l.worker_id},
                   {"dp_rank", &has_rank, &rank},
                   {"active_decode_blocks", &l.has_decode_blocks, &l.active_decode_blocks},
                   {"active_prefill_tokens", &l.has_prefill_tokens, &l.active_prefill_tokens},
                   {"kv_used_blocks", &l.has_kv_used, &l.kv_used_blocks}};
    weir_mp_init(&m, payload);
    if (!weir_mp_map(&m, &pairs))
        return WEIR_INVALID;
    for (uint32_t i = 0; i < pairs; i++) {
        struct weir_span key;
        size_t k = 0;
        if (!weir_mp_member(&m, &names, &key))
            return WEIR_INVALID;
        while (k < WEIR_ARRAY_LEN(members) && !weir_mp_is(&m, &names, key, members[k].key))
            k++;
        bool known = k < WEIR_ARRAY_LEN(members) && weir_mp_peek(&m) != WEIR_MP_NIL;
        if (!(known ? (*members[k].has = weir_mp_u64(&m, members[k].to)) : weir_mp_skip(&m, NULL)))
            return WEIR_INVALID;
    }
    if (!worker || rank > UINT32_MAX || m.pos != m.len)
        return WEIR_INVALID;
    l.dp_rank = (uint32_t)rank;
    *ret_load = l;
    return WEIR_OK;
}
