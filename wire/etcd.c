#include "wire/etcd.h"

#include "base/base64.h"
#include "base/json.h"

#include <stdio.h>

enum { DEPTH = 16, NO_FIELD = -1 };

/* ---- requests ----------------------------------------------------------------------------- */

static void put_bytes(struct weir_jsonw *w, const char *name, struct weir_span bytes) {
    weir_jsonw_key(w, name);
    if (w->status == WEIR_OK)
        w->status = weir_buf_append_c(w->buf, '"');
    if (w->status == WEIR_OK)
        w->status = weir_base64_encode(bytes, w->buf);
    if (w->status == WEIR_OK)
        w->status = weir_buf_append_c(w->buf, '"');
    w->need_comma = true;
}

static void put_number(struct weir_jsonw *w, const char *name, int64_t n) {
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)n);
    weir_jsonw_key(w, name);
    weir_jsonw_string_z(w, text);
}

static void put_word(struct weir_jsonw *w, const char *name, const char *word) {
    weir_jsonw_key(w, name);
    weir_jsonw_string_z(w, word);
}

static void put_true(struct weir_jsonw *w, const char *name) {
    weir_jsonw_key(w, name);
    weir_jsonw_bool(w, true);
}

static void begin_in(struct weir_jsonw *w, const char *name) {
    weir_jsonw_key(w, name);
    weir_jsonw_object_begin(w);
}

enum weir_status weir_etcd_encode_range(struct weir_span key, struct weir_span end, int64_t limit,
                                        int64_t revision, bool keys_only, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_bytes(&w, "key", key);
    put_bytes(&w, "range_end", end);
    if (limit > 0)
        put_number(&w, "limit", limit);
    if (revision > 0)
        put_number(&w, "revision", revision);
    if (keys_only)
        put_true(&w, "keys_only");
    weir_jsonw_object_end(&w);
    return w.status;
}

static void put_condition(struct weir_jsonw *w, struct weir_span key, const char *target,
                          const char *field, int64_t value) {
    weir_jsonw_object_begin(w);
    put_bytes(w, "key", key);
    put_word(w, "target", target);
    put_word(w, "result", "EQUAL");
    put_number(w, field, value);
    weir_jsonw_object_end(w);
}

enum weir_status weir_etcd_encode_puts(const struct weir_etcd_put *puts, size_t n, int64_t lease,
                                       struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "compare");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < n; i++) {
        if (puts[i].mod_revision == 0)
            put_condition(&w, puts[i].key, "VERSION", "version", 0);
        else
            put_condition(&w, puts[i].key, "MOD", "mod_revision", puts[i].mod_revision);
    }
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "success");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < n; i++) {
        weir_jsonw_object_begin(&w);
        begin_in(&w, "request_put");
        put_bytes(&w, "key", puts[i].key);
        put_bytes(&w, "value", puts[i].value);
        put_number(&w, "lease", lease);
        weir_jsonw_object_end(&w);
        weir_jsonw_object_end(&w);
    }
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "failure");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < n; i++) {
        weir_jsonw_object_begin(&w);
        begin_in(&w, "request_range");
        put_bytes(&w, "key", puts[i].key);
        weir_jsonw_object_end(&w);
        weir_jsonw_object_end(&w);
    }
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_etcd_encode_delete(struct weir_span key, int64_t lease,
                                         struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "compare");
    weir_jsonw_array_begin(&w);
    put_condition(&w, key, "LEASE", "lease", lease);
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "success");
    weir_jsonw_array_begin(&w);
    weir_jsonw_object_begin(&w);
    begin_in(&w, "request_delete_range");
    put_bytes(&w, "key", key);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_etcd_encode_watch(struct weir_span key, struct weir_span end,
                                        int64_t revision, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    begin_in(&w, "create_request");
    put_bytes(&w, "key", key);
    put_bytes(&w, "range_end", end);
    put_number(&w, "start_revision", revision);
    put_true(&w, "fragment");
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_etcd_encode_lease(int64_t lease, int64_t ttl_s, bool keys,
                                        struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_number(&w, "ID", lease);
    if (ttl_s > 0)
        put_number(&w, "TTL", ttl_s);
    if (keys)
        put_true(&w, "keys");
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_etcd_encode_login(struct weir_span user, struct weir_span password,
                                        struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "name");
    weir_jsonw_string(&w, user);
    weir_jsonw_key(&w, "password");
    weir_jsonw_string(&w, password);
    weir_jsonw_object_end(&w);
    return w.status;
}

/* ---- answers ------------------------------------------------------------------------------ */

/* Lists that are read when all else is known. */
struct lists {
    struct weir_span kvs, responses, events, keys;
};

struct reader {
    struct weir_arena *arena;
    weir_etcd_kv_fn fn;
    void *arg;
    struct weir_etcd_answer *answer;
    struct lists lists;
    unsigned op;
};

/* Unsigned and signed integers come as strings, or as numbers from other writers. */
static bool read_i64(struct weir_json *j, int64_t *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_NUMBER)
        return weir_json_i64(j, ret);
    size_t at = j->pos;
    return weir_json_string(j, &s) &&
           (weir_span_i64(s.raw, ret) || weir_json_fail(j, WEIR_JSON_ERR_TYPE, at));
}

static bool read_u64(struct weir_json *j, uint64_t *ret) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_NUMBER)
        return weir_json_u64(j, ret);
    size_t at = j->pos;
    return weir_json_string(j, &s) &&
           (weir_span_u64(s.raw, ret) || weir_json_fail(j, WEIR_JSON_ERR_TYPE, at));
}

/* What does not fit is cut: it is for people. */
static bool read_text(struct reader *r, struct weir_json *j) {
    struct weir_json_str s;
    char *out = r->answer->text;
    size_t n = 0;
    if (!weir_json_string(j, &s))
        return false;
    for (size_t i = 0; i < s.raw.len && n < WEIR_ETCD_MAX_TEXT - 1; i++)
        if (s.raw.data[i] != '\\')
            out[n++] = s.raw.data[i];
    out[n] = '\0';
    return true;
}

static bool read_header(struct reader *r, struct weir_json *j) {
    struct weir_json_str key;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        bool ok = weir_json_str_eqz(key, "cluster_id")  ? read_u64(j, &r->answer->cluster_id)
                  : weir_json_str_eqz(key, "raft_term") ? read_u64(j, &r->answer->raft_term)
                  : weir_json_str_eqz(key, "revision")  ? read_i64(j, &r->answer->revision)
                                                        : weir_json_skip(j, NULL);
        if (!ok)
            return false;
    }
    return j->error == WEIR_JSON_ERR_NONE;
}

static bool read_members(struct reader *r, struct weir_json *j, unsigned depth);

static bool read_error(struct reader *r, struct weir_json *j, unsigned depth) {
    r->answer->is_error = true;
    if (weir_json_peek(j) == WEIR_JSON_OBJECT)
        return depth < 2 ? read_members(r, j, depth + 1) : weir_json_skip(j, NULL);
    return read_text(r, j);
}

static bool read_token(struct reader *r, struct weir_json *j) {
    struct weir_json_str s;
    size_t at = j->pos;
    if (!weir_json_string(j, &s))
        return false;
    r->answer->token = s.raw;
    return !s.escaped || weir_json_fail(j, WEIR_JSON_ERR_TYPE, at); /* no token needs escapes */
}

/* A member by its type; NO_FIELD when it is none of these. */
static int read_plain(struct reader *r, struct weir_json *j, struct weir_json_str key) {
    struct weir_etcd_answer *a = r->answer;
    const struct {
        const char *name;
        bool *flag;
        int64_t *number;
        struct weir_span *raw;
    } fields[] = {
        {"more", &a->more, NULL, NULL},
        {"succeeded", &a->succeeded, NULL, NULL},
        {"created", &a->created, NULL, NULL},
        {"canceled", &a->canceled, NULL, NULL},
        {"fragment", &a->fragment, NULL, NULL},
        {"ID", NULL, &a->lease, NULL},
        {"TTL", NULL, &a->ttl_s, NULL},
        {"compact_revision", NULL, &a->compact_revision, NULL},
        {"kvs", NULL, NULL, &r->lists.kvs},
        {"responses", NULL, NULL, &r->lists.responses},
        {"events", NULL, NULL, &r->lists.events},
        {"keys", NULL, NULL, &r->lists.keys},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(fields); i++) {
        if (!weir_json_str_eqz(key, fields[i].name))
            continue;
        if (fields[i].flag != NULL)
            return weir_json_bool(j, fields[i].flag);
        return fields[i].number != NULL ? read_i64(j, fields[i].number)
                                        : weir_json_skip(j, fields[i].raw);
    }
    return NO_FIELD;
}

static bool read_code(struct reader *r, struct weir_json *j) {
    return read_i64(j, &r->answer->grpc_code);
}

static bool read_members(struct reader *r, struct weir_json *j, unsigned depth) {
    struct weir_json_str key;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        int plain = read_plain(r, j, key);
        bool ok;
        if (plain != NO_FIELD)
            ok = plain != 0;
        else if (weir_json_str_eqz(key, "header"))
            ok = read_header(r, j);
        else if (weir_json_str_eqz(key, "result") && depth == 0)
            ok = read_members(r, j, depth + 1); /* streams wrap their answers */
        else if (weir_json_str_eqz(key, "error"))
            ok = read_error(r, j, depth);
        else if (weir_json_str_eqz(key, "token"))
            ok = read_token(r, j);
        else if (weir_json_str_eqz(key, "code") || weir_json_str_eqz(key, "grpc_code"))
            ok = read_code(r, j);
        else if (weir_json_str_eqz(key, "message") || weir_json_str_eqz(key, "cancel_reason"))
            ok = read_text(r, j);
        else
            ok = weir_json_skip(j, NULL);
        if (!ok)
            return false;
        /* grpc-gateway 2 has no member "error": code and message alone. */
        r->answer->is_error |= weir_json_str_eqz(key, "code");
    }
    return j->error == WEIR_JSON_ERR_NONE;
}

/* Bytes that are too large for the arena are left out, by data NULL. */
static bool read_bytes(struct reader *r, struct weir_json *j, struct weir_span *ret) {
    struct weir_json_str s;
    size_t at = j->pos;
    if (!weir_json_string(j, &s))
        return false;
    struct weir_span text = weir_json_text(s, r->arena);
    enum weir_status st = text.data == NULL ? WEIR_NOMEM : weir_base64_decode(text, r->arena, ret);
    if (st == WEIR_NOMEM)
        *ret = weir_span(NULL, 0);
    return st != WEIR_INVALID || weir_json_fail(j, WEIR_JSON_ERR_TYPE, at);
}

static bool read_kv(struct reader *r, struct weir_json *j, struct weir_etcd_kv *kv) {
    struct weir_json_str key;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        bool ok = weir_json_str_eqz(key, "key")            ? read_bytes(r, j, &kv->key)
                  : weir_json_str_eqz(key, "value")        ? read_bytes(r, j, &kv->value)
                  : weir_json_str_eqz(key, "mod_revision") ? read_i64(j, &kv->mod_revision)
                  : weir_json_str_eqz(key, "lease")        ? read_i64(j, &kv->lease)
                                                           : weir_json_skip(j, NULL);
        if (!ok)
            return false;
    }
    return j->error == WEIR_JSON_ERR_NONE;
}

static void tell(struct reader *r, struct weir_etcd_kv *kv) {
    kv->op = r->op;
    if (r->fn != NULL && kv->key.len > 0)
        r->fn(r->arg, r->answer, kv);
}

static struct weir_etcd_kv fresh(struct reader *r) {
    weir_arena_reset(r->arena);
    return (struct weir_etcd_kv){.key = weir_span("", 0), .value = weir_span("", 0)};
}

/* ---- the lists ---------------------------------------------------------------------------- */

static bool each(struct reader *r, struct weir_span list,
                 bool (*item)(struct reader *, struct weir_json *)) {
    struct weir_json j;
    if (list.data == NULL)
        return true;
    weir_json_init(&j, list, DEPTH);
    if (weir_json_peek(&j) == WEIR_JSON_NULL)
        return weir_json_null(&j);
    if (!weir_json_array_enter(&j))
        return false;
    while (weir_json_array_next(&j))
        if (!item(r, &j))
            return false;
    return weir_json_finish(&j);
}

static bool read_kv_item(struct reader *r, struct weir_json *j) {
    struct weir_etcd_kv kv = fresh(r);
    if (!read_kv(r, j, &kv))
        return false;
    tell(r, &kv);
    return true;
}

static bool read_key_item(struct reader *r, struct weir_json *j) {
    struct weir_etcd_kv kv = fresh(r);
    if (!read_bytes(r, j, &kv.key))
        return false;
    tell(r, &kv);
    return true;
}

static bool read_event(struct reader *r, struct weir_json *j) {
    struct weir_etcd_kv kv = fresh(r);
    struct weir_json_str key, type;
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        bool ok;
        if (weir_json_str_eqz(key, "type") && weir_json_peek(j) == WEIR_JSON_STRING) {
            ok = weir_json_string(j, &type);
            kv.deleted = ok && weir_json_str_eqz(type, "DELETE");
        } else if (weir_json_str_eqz(key, "kv")) {
            ok = read_kv(r, j, &kv);
        } else {
            ok = weir_json_skip(j, NULL);
        }
        if (!ok)
            return false;
    }
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    tell(r, &kv);
    return true;
}

/* One operation of a transaction: {"response_range":{"kvs":[…]}}, or another kind without keys. */
static bool read_response(struct reader *r, struct weir_json *j) {
    struct weir_json_str key;
    struct weir_span kvs = {NULL, 0};
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        if (!weir_json_str_eqz(key, "response_range")) {
            if (!weir_json_skip(j, NULL))
                return false;
            continue;
        }
        if (!weir_json_object_enter(j))
            return false;
        while (weir_json_object_next(j, &key))
            if (!weir_json_skip(j, weir_json_str_eqz(key, "kvs") ? &kvs : NULL))
                return false;
    }
    bool ok = j->error == WEIR_JSON_ERR_NONE && each(r, kvs, read_kv_item);
    r->op++;
    return ok;
}

enum weir_status weir_etcd_decode(struct weir_span json, struct weir_arena *arena,
                                  weir_etcd_kv_fn fn, void *arg,
                                  struct weir_etcd_answer *ret_answer) {
    struct weir_json j;
    struct reader r = {.arena = arena, .fn = fn, .arg = arg, .answer = ret_answer};
    *ret_answer = (struct weir_etcd_answer){0};
    weir_json_init(&j, json, DEPTH);
    if (!read_members(&r, &j, 0) || !weir_json_finish(&j))
        return WEIR_INVALID;
    return each(&r, r.lists.kvs, read_kv_item) && each(&r, r.lists.keys, read_key_item) &&
                   each(&r, r.lists.events, read_event) &&
                   each(&r, r.lists.responses, read_response)
               ? WEIR_OK
               : WEIR_INVALID;
}

/* ---- errors ------------------------------------------------------------------------------- */

enum weir_etcd_fault weir_etcd_fault(int http_status, const struct weir_etcd_answer *answer) {
    /* Words decide, as several errors share a code; they are the same from 3.4 to 3.7. */
    static const struct {
        const char *words;
        enum weir_etcd_fault fault;
    } known[] = {
        {"invalid auth token", WEIR_ETCD_TOKEN},
        {"revision of auth store is old", WEIR_ETCD_TOKEN},
        {"revision in header is old", WEIR_ETCD_TOKEN},
        {"user name is empty", WEIR_ETCD_TOKEN},
        {"invalid user ID or password", WEIR_ETCD_PASSWORD},
        {"user name not found", WEIR_ETCD_PASSWORD},
        {"authentication is not enabled", WEIR_ETCD_NO_AUTH},
        {"permission denied", WEIR_ETCD_PERMISSION},
        {"has been compacted", WEIR_ETCD_COMPACTED},
        {"future revision", WEIR_ETCD_FUTURE},
        {"lease not found", WEIR_ETCD_LEASE_GONE},
    };
    enum { DEADLINE_EXCEEDED = 4, EXHAUSTED = 8, UNAVAILABLE = 14, UNAUTHENTICATED = 16 };
    if (answer == NULL)
        return http_status >= 500 || http_status == 429 || http_status == 408
                   ? WEIR_ETCD_AGAIN
                   : WEIR_ETCD_NO_GATEWAY;
    if (http_status == 200 && !answer->is_error && !answer->canceled)
        return WEIR_ETCD_NO_FAULT;
    if (answer->compact_revision > 0)
        return WEIR_ETCD_COMPACTED;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(known); i++)
        if (strstr(answer->text, known[i].words) != NULL)
            return known[i].fault;
    if (answer->grpc_code == UNAUTHENTICATED)
        return WEIR_ETCD_TOKEN;
    if (answer->grpc_code == DEADLINE_EXCEEDED || answer->grpc_code == EXHAUSTED ||
        answer->grpc_code == UNAVAILABLE || http_status >= 500)
        return WEIR_ETCD_AGAIN;
    return WEIR_ETCD_OTHER;
}
