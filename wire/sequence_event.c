#include "wire/sequence_event.h"

#include "base/msgpack.h"

/* ---- writing ------------------------------------------------------------------------------ */

static void put_add(struct weir_mpw *w, const struct weir_sequence_event *e) {
    weir_mpw_map(w, 1);
    weir_mpw_str_z(w, "AddRequest");
    weir_mpw_map(w, 4);
    weir_mpw_str_z(w, "token_sequence");
    weir_mpw_array(w, (uint32_t)e->n_hashes);
    for (size_t i = 0; i < e->n_hashes; i++)
        weir_mpw_u64(w, e->hashes[i]);
    weir_mpw_str_z(w, "track_prefill_tokens");
    weir_mpw_bool(w, e->track_prefill);
    weir_mpw_str_z(w, "expected_output_tokens");
    weir_mpw_nil(w);
    weir_mpw_str_z(w, "prefill_load_hint");
    if (!e->track_prefill) {
        weir_mpw_nil(w);
        return;
    }
    weir_mpw_map(w, 2);
    weir_mpw_str_z(w, "initial_effective_prefill_tokens");
    weir_mpw_u64(w, e->prefill_tokens);
    weir_mpw_str_z(w, "expected_prefill_duration");
    weir_mpw_nil(w);
}

enum weir_status weir_sequence_event_encode(const struct weir_sequence_event *e,
                                            struct weir_buf *out) {
    struct weir_mpw w;
    if (e->n_hashes > WEIR_SEQUENCE_HASHES_MAX)
        return WEIR_LIMIT;
    weir_mpw_init(&w, out);
    weir_mpw_map(&w, 5);
    weir_mpw_str_z(&w, "request_id");
    weir_mpw_str(&w, e->request_id);
    weir_mpw_str_z(&w, "worker");
    weir_mpw_map(&w, 2);
    weir_mpw_str_z(&w, "worker_id");
    weir_mpw_u64(&w, e->worker_id);
    weir_mpw_str_z(&w, "dp_rank");
    weir_mpw_u64(&w, e->dp_rank);
    weir_mpw_str_z(&w, "data");
    if (e->kind == WEIR_SEQUENCE_ADD)
        put_add(&w, e);
    else
        weir_mpw_str_z(&w, e->kind == WEIR_SEQUENCE_FREE ? "Free" : "MarkPrefillCompleted");
    weir_mpw_str_z(&w, "router_id");
    weir_mpw_u64(&w, e->router_id);
    weir_mpw_str_z(&w, "lora_name");
    weir_mpw_nil(&w);
    return w.status;
}

enum weir_status weir_sequence_events_wrap(struct weir_span events, uint32_t n,
                                           struct weir_buf *out) {
    struct weir_mpw w;
    weir_mpw_init(&w, out);
    weir_mpw_map(&w, 1);
    weir_mpw_str_z(&w, "events");
    weir_mpw_array(&w, n);
    weir_mpw_raw(&w, events);
    return w.status;
}

/* ---- reading ------------------------------------------------------------------------------ */

struct reading {
    struct weir_arena *arena;
    struct weir_sequence_event e;
    bool has_id, has_worker, has_data;
};

typedef bool (*member_fn)(struct weir_mp *m, struct reading *r, struct weir_members *names,
                          struct weir_span key);

/* Each member of a map by its name. */
static bool members(struct weir_mp *m, struct reading *r, member_fn fn) {
    struct weir_members names = {.row = 0};
    uint32_t n;
    if (!weir_mp_map(m, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct weir_span key;
        if (!weir_mp_member(m, &names, &key) || !fn(m, r, &names, key))
            return false;
    }
    return true;
}

static bool read_worker(struct weir_mp *m, struct reading *r, struct weir_members *names,
                        struct weir_span key) {
    uint64_t v;
    if (weir_mp_is(m, names, key, "worker_id"))
        return r->has_worker = weir_mp_u64(m, &r->e.worker_id);
    if (!weir_mp_is(m, names, key, "dp_rank"))
        return weir_mp_skip(m, NULL);
    if (!weir_mp_u64(m, &v) || v > UINT32_MAX)
        return false;
    r->e.dp_rank = (uint32_t)v;
    return true;
}

static bool read_hint(struct weir_mp *m, struct reading *r, struct weir_members *names,
                      struct weir_span key) {
    return weir_mp_is(m, names, key, "initial_effective_prefill_tokens")
               ? weir_mp_u64(m, &r->e.prefill_tokens)
               : weir_mp_skip(m, NULL);
}

static bool read_hashes(struct weir_mp *m, struct reading *r) {
    uint32_t n;
    if (!weir_mp_array(m, &n) || n > WEIR_SEQUENCE_HASHES_MAX)
        return false;
    uint64_t *hashes = weir_arena_alloc(r->arena, ((size_t)n + 1) * sizeof(*hashes));
    if (hashes == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!weir_mp_bits64(m, &hashes[i]))
            return false;
    r->e.hashes = hashes;
    r->e.n_hashes = n;
    return true;
}

static bool read_add(struct weir_mp *m, struct reading *r, struct weir_members *names,
                     struct weir_span key) {
    bool nil = weir_mp_peek(m) == WEIR_MP_NIL;
    if (weir_mp_is(m, names, key, "token_sequence") && !nil)
        return read_hashes(m, r);
    if (weir_mp_is(m, names, key, "track_prefill_tokens") && !nil)
        return weir_mp_bool(m, &r->e.track_prefill);
    if (weir_mp_is(m, names, key, "prefill_load_hint") && !nil)
        return members(m, r, read_hint);
    return weir_mp_skip(m, NULL);
}

static bool read_kind(struct weir_mp *m, struct reading *r, struct weir_members *names,
                      struct weir_span key) {
    if (!weir_mp_is(m, names, key, "AddRequest"))
        return weir_mp_skip(m, NULL);
    r->has_data = true;
    r->e.kind = WEIR_SEQUENCE_ADD;
    return members(m, r, read_add);
}

static bool read_data(struct weir_mp *m, struct reading *r) {
    struct weir_span word;
    if (weir_mp_peek(m) == WEIR_MP_MAP)
        return members(m, r, read_kind);
    if (!weir_mp_str(m, &word))
        return false;
    r->e.kind = weir_span_eqz(word, "Free") ? WEIR_SEQUENCE_FREE : WEIR_SEQUENCE_PREFILL_DONE;
    r->has_data = weir_span_eqz(word, "Free") || weir_span_eqz(word, "MarkPrefillCompleted");
    return true;
}

static bool read_member(struct weir_mp *m, struct reading *r, struct weir_members *names,
                        struct weir_span key) {
    if (weir_mp_is(m, names, key, "request_id"))
        return r->has_id = weir_mp_str(m, &r->e.request_id);
    if (weir_mp_is(m, names, key, "worker"))
        return members(m, r, read_worker);
    if (weir_mp_is(m, names, key, "data"))
        return read_data(m, r);
    if (weir_mp_is(m, names, key, "router_id"))
        return weir_mp_u64(m, &r->e.router_id);
    return weir_mp_skip(m, NULL);
}

static bool read_event(struct weir_mp *m, struct weir_arena *arena, weir_sequence_fn fn,
                       void *arg) {
    struct reading r = {.arena = arena};
    weir_arena_reset(arena);
    if (!members(m, &r, read_member) || !r.has_id || !r.has_worker)
        return false;
    if (r.has_data)
        fn(arg, &r.e);
    return true;
}

/* The list, when the message is a map with nothing but "events". */
static bool read_list(struct weir_mp *m, uint32_t *ret_n) {
    struct weir_span key;
    uint32_t n;
    return weir_mp_map(m, &n) && n == 1 && weir_mp_str(m, &key) && weir_span_eqz(key, "events") &&
           weir_mp_array(m, ret_n);
}

enum weir_status weir_sequence_events_decode(struct weir_span message, struct weir_arena *arena,
                                             weir_sequence_fn fn, void *arg) {
    struct weir_mp m;
    uint32_t n = 1;
    weir_mp_init(&m, message);
    if (!read_list(&m, &n)) {
        weir_mp_init(&m, message);
        n = 1;
    }
    if (n > WEIR_SEQUENCE_EVENTS_MAX)
        return WEIR_LIMIT;
    for (uint32_t i = 0; i < n; i++)
        if (!read_event(&m, arena, fn, arg))
            return WEIR_INVALID;
    return m.pos == message.len ? WEIR_OK : WEIR_INVALID;
}
