#include "wire/jetstream.h"

#include "base/base64.h"
#include "base/hash.h"
#include "base/json.h"

#include <stdio.h>
#include <time.h>

enum { DEPTH = 32, NAME_MAX_LEN = WEIR_JS_NAME_BYTES - 1, PAGE = 1024 /* of a list */ };
#define SECOND 1000000000ull

/* ---- names -------------------------------------------------------------------------------- */

struct name {
    char *text;
    size_t len;
    bool full;
};

static void put_c(struct name *n, char c) {
    if (n->len < NAME_MAX_LEN)
        n->text[n->len++] = c;
    else
        n->full = true;
}

/* A character of several bytes becomes one hyphen. */
static void put_slug(struct name *n, struct weir_span s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c >= 'A' && c <= 'Z')
            put_c(n, (char)(c - 'A' + 'a'));
        else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            put_c(n, (char)c);
        else if (c < 0x80 || c >= 0xc0)
            put_c(n, '-');
    }
}

enum weir_status weir_js_name(struct weir_span ns, struct weir_span component, const char *suffix,
                              char ret_name[WEIR_JS_NAME_BYTES]) {
    char text[WEIR_JS_NAME_BYTES];
    struct name n = {.text = text};
    put_slug(&n, WEIR_SPAN_LIT("namespace."));
    put_slug(&n, ns);
    put_slug(&n, WEIR_SPAN_LIT(".component."));
    put_slug(&n, component);
    put_slug(&n, WEIR_SPAN_LIT("-"));
    put_slug(&n, weir_span_z(suffix));
    if (n.full)
        return WEIR_TOO_LARGE;
    text[n.len] = '\0';
    memcpy(ret_name, text, n.len + 1);
    return WEIR_OK;
}

/* ---- requests ----------------------------------------------------------------------------- */

static void put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

static void put_u(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

static void put_subjects(struct weir_jsonw *w, const char *const *subjects, size_t n) {
    weir_jsonw_key(w, "subjects");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++)
        weir_jsonw_string_z(w, subjects[i]);
    weir_jsonw_array_end(w);
}

/* What every stream of ours has: no bound but age and the server's own. */
static void put_limits(struct weir_jsonw *w, const char *discard) {
    static const char *const unbounded[] = {"max_consumers", "max_msgs", "max_bytes",
                                            "max_msg_size"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(unbounded); i++) {
        weir_jsonw_key(w, unbounded[i]);
        weir_jsonw_i64(w, -1);
    }
    put_z(w, "retention", "limits");
    put_z(w, "storage", "file");
    put_z(w, "discard", discard);
    put_u(w, "num_replicas", 1);
}

enum weir_status weir_js_put_stream(const char *name, uint64_t max_age_s, struct weir_buf *out) {
    char subject[WEIR_JS_NAME_BYTES + 2];
    const char *const subjects[] = {subject};
    struct weir_jsonw w;
    snprintf(subject, sizeof(subject), "%s.*", name);
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_z(&w, "name", name);
    put_subjects(&w, subjects, 1);
    put_limits(&w, "old");
    put_u(&w, "max_age", max_age_s * SECOND);
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_js_put_bucket(const char *bucket, struct weir_buf *out) {
    char name[WEIR_JS_NAME_BYTES + 8], chunks[WEIR_JS_NAME_BYTES + 8], meta[sizeof(chunks)];
    const char *const subjects[] = {chunks, meta};
    struct weir_jsonw w;
    snprintf(name, sizeof(name), "OBJ_%s", bucket);
    snprintf(chunks, sizeof(chunks), "$O.%s.C.>", bucket);
    snprintf(meta, sizeof(meta), "$O.%s.M.>", bucket);
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_z(&w, "name", name);
    put_subjects(&w, subjects, WEIR_ARRAY_LEN(subjects));
    put_limits(&w, "new");
    weir_jsonw_key(&w, "allow_rollup_hdrs");
    weir_jsonw_bool(&w, true);
    weir_jsonw_key(&w, "allow_direct");
    weir_jsonw_bool(&w, true);
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_js_put_consumer(const char *stream, const char *name, uint64_t start,
                                      unsigned max_pending, uint64_t idle_s, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_z(&w, "stream_name", stream);
    weir_jsonw_key(&w, "config");
    weir_jsonw_object_begin(&w);
    put_z(&w, "durable_name", name);
    put_z(&w, "ack_policy", "all");
    put_z(&w, "replay_policy", "instant");
    put_u(&w, "ack_wait", 30 * SECOND);
    put_u(&w, "max_ack_pending", max_pending);
    put_u(&w, "inactive_threshold", idle_s * SECOND);
    put_z(&w, "deliver_policy", start > 0 ? "by_start_sequence" : "all");
    if (start > 0)
        put_u(&w, "opt_start_seq", start);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    return w.status;
}

/* ---- answers ------------------------------------------------------------------------------ */

struct reader {
    struct weir_json j;
    struct weir_arena *arena;
    struct weir_js_answer a;
    enum weir_status status;
};

/* A number, or anything else, which counts as 0. */
static uint64_t read_u(struct weir_json *j) {
    uint64_t v = 0;
    if (weir_json_peek(j) == WEIR_JSON_NUMBER)
        (void)weir_json_u64(j, &v);
    else
        (void)weir_json_skip(j, NULL);
    return v;
}

static struct weir_span read_text(struct weir_json *j, struct weir_arena *arena,
                                  enum weir_status *st) {
    struct weir_json_str s;
    struct weir_span out = weir_span(NULL, 0);
    if (weir_json_peek(j) != WEIR_JSON_STRING) {
        (void)weir_json_skip(j, NULL);
        return out;
    }
    if (!weir_json_string(j, &s))
        return out;
    out = weir_json_text(s, arena);
    if (out.data == NULL)
        *st = WEIR_NOMEM;
    return out;
}

/* Enters an object, or passes over something else. */
static bool enter(struct weir_json *j) {
    if (weir_json_peek(j) == WEIR_JSON_OBJECT)
        return weir_json_object_enter(j);
    (void)weir_json_skip(j, NULL);
    return false;
}

static void read_error(struct reader *r) {
    struct weir_json_str key;
    uint64_t code = 0, err_code = 0;
    if (!enter(&r->j))
        return;
    while (weir_json_object_next(&r->j, &key)) {
        if (weir_json_str_eqz(key, "code"))
            code = read_u(&r->j);
        else if (weir_json_str_eqz(key, "err_code"))
            err_code = read_u(&r->j);
        else if (weir_json_str_eqz(key, "description"))
            r->a.text = read_text(&r->j, r->arena, &r->status);
        else
            (void)weir_json_skip(&r->j, NULL);
    }
    uint64_t best = err_code != 0 ? err_code : code;
    r->a.error = best == 0 || best > UINT32_MAX ? UINT32_MAX : (uint32_t)best;
}

static void read_state(struct reader *r) {
    struct weir_json_str key;
    if (!enter(&r->j))
        return;
    while (weir_json_object_next(&r->j, &key)) {
        if (weir_json_str_eqz(key, "messages"))
            r->a.messages = read_u(&r->j);
        else if (weir_json_str_eqz(key, "first_seq"))
            r->a.first_seq = read_u(&r->j);
        else if (weir_json_str_eqz(key, "last_seq"))
            r->a.last_seq = read_u(&r->j);
        else
            (void)weir_json_skip(&r->j, NULL);
    }
}

static void read_data(struct reader *r) {
    struct weir_span text = read_text(&r->j, r->arena, &r->status);
    if (text.data == NULL || r->status != WEIR_OK)
        return;
    r->status = weir_base64_decode(text, r->arena, &r->a.data);
    if (r->status == WEIR_INVALID)
        r->status = WEIR_PROTOCOL;
}

static void read_message(struct reader *r) {
    struct weir_json_str key;
    if (!enter(&r->j))
        return;
    while (weir_json_object_next(&r->j, &key)) {
        if (weir_json_str_eqz(key, "seq"))
            r->a.seq = read_u(&r->j);
        else if (weir_json_str_eqz(key, "data"))
            read_data(r);
        else
            (void)weir_json_skip(&r->j, NULL);
    }
}

/* {"ack_floor": {"stream_seq": n}} */
static uint64_t read_floor(struct weir_json *j) {
    struct weir_json_str key;
    uint64_t floor = 0;
    if (!enter(j))
        return 0;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "stream_seq"))
            floor = read_u(j);
        else
            (void)weir_json_skip(j, NULL);
    }
    return floor;
}

/* Routers name theirs by their instance id, without zeros before it. */
static void read_consumer_name(struct reader *r) {
    struct weir_span name = read_text(&r->j, r->arena, &r->status);
    uint64_t id, hash = weir_hash_span(name);
    r->a.names += hash ^ hash >> 29; /* sums of names that are much alike would often be equal */
    if (name.len == 0 || name.data[0] == '0' || r->a.n_routers == PAGE || !weir_span_u64(name, &id))
        return;
    uint64_t *ids = (uint64_t *)(uintptr_t)r->a.routers;
    if (ids == NULL)
        r->a.routers = ids = weir_arena_alloc(r->arena, PAGE * sizeof(*ids));
    if (ids != NULL)
        ids[r->a.n_routers++] = id;
    else
        r->status = WEIR_NOMEM;
}

static void read_consumer(struct reader *r) {
    struct weir_json_str key;
    uint64_t floor = 0;
    if (!enter(&r->j))
        return;
    while (weir_json_object_next(&r->j, &key)) {
        if (weir_json_str_eqz(key, "ack_floor"))
            floor = read_floor(&r->j);
        else if (weir_json_str_eqz(key, "name"))
            read_consumer_name(r);
        else
            (void)weir_json_skip(&r->j, NULL);
    }
    if (r->a.n_consumers++ == 0 || floor < r->a.least_floor)
        r->a.least_floor = floor;
}

static void read_consumers(struct reader *r) {
    if (weir_json_peek(&r->j) != WEIR_JSON_ARRAY) {
        (void)weir_json_skip(&r->j, NULL);
        return;
    }
    if (weir_json_array_enter(&r->j))
        while (weir_json_array_next(&r->j))
            read_consumer(r);
}

/* 0 stands for none. */
static uint64_t hash_of(struct weir_span s) {
    return s.len == 0 ? 0 : weir_hash_span(s) | 1;
}

static void read_member(struct reader *r, struct weir_json_str key) {
    if (weir_json_str_eqz(key, "error"))
        read_error(r);
    else if (weir_json_str_eqz(key, "state"))
        read_state(r);
    else if (weir_json_str_eqz(key, "message"))
        read_message(r);
    else if (weir_json_str_eqz(key, "consumers"))
        read_consumers(r);
    else if (weir_json_str_eqz(key, "seq"))
        r->a.seq = read_u(&r->j);
    else if (weir_json_str_eqz(key, "created"))
        r->a.created = hash_of(read_text(&r->j, r->arena, &r->status));
    else if (weir_json_str_eqz(key, "total"))
        r->a.total = read_u(&r->j);
    else if (weir_json_str_eqz(key, "offset"))
        r->a.offset = read_u(&r->j);
    else
        (void)weir_json_skip(&r->j, NULL);
}

enum weir_status weir_js_answer_decode(struct weir_span json, struct weir_arena *arena,
                                       struct weir_js_answer *ret_answer) {
    struct reader r = {.arena = arena, .status = WEIR_OK};
    struct weir_json_str key;
    weir_json_init(&r.j, json, DEPTH);
    if (weir_json_object_enter(&r.j))
        while (weir_json_object_next(&r.j, &key))
            read_member(&r, key);
    if (!weir_json_finish(&r.j))
        return WEIR_PROTOCOL;
    if (r.status == WEIR_OK)
        *ret_answer = r.a;
    return r.status;
}

/* "$JS.ACK." and then, in older servers, stream.consumer, in newer ones domain.account before
 * that; then times.stream_seq.delivery.time.pending, and in newer ones a random word. */
bool weir_js_delivery(struct weir_span reply, uint64_t *ret_stream_seq, uint64_t *ret_delivery) {
    struct weir_span words[13];
    size_t n = 0;
    struct weir_span rest = reply;
    while (rest.data != NULL && n < WEIR_ARRAY_LEN(words))
        words[n++] = weir_span_split(rest, '.', &rest);
    if (rest.data != NULL || !weir_span_starts(reply, WEIR_SPAN_LIT("$JS.ACK.")) || n < 9 ||
        n == 10)
        return false;
    size_t at = n == 9 ? 5 : 7;
    uint64_t seq = 0, delivery = 0;
    if (!weir_span_u64(words[at], &seq) || !weir_span_u64(words[at + 1], &delivery))
        return false;
    *ret_stream_seq = seq;
    *ret_delivery = delivery;
    return seq > 0 && delivery > 0;
}

/* ---- object store ------------------------------------------------------------------------- */

static void put_s(struct weir_jsonw *w, const char *key, struct weir_span value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string(w, value);
}

enum weir_status weir_js_object_encode(const struct weir_js_object *object, struct weir_buf *out) {
    char when[40];
    struct tm tm;
    struct weir_jsonw w;
    time_t s = (time_t)(object->mtime_ms / 1000);
    gmtime_r(&s, &tm);
    size_t n = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + n, sizeof(when) - n, ".%03uZ", (unsigned)(object->mtime_ms % 1000));
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_s(&w, "name", object->name);
    put_s(&w, "bucket", object->bucket);
    put_s(&w, "nuid", object->nuid);
    put_u(&w, "size", object->size);
    put_z(&w, "mtime", when);
    put_u(&w, "chunks", object->chunks);
    put_s(&w, "digest", object->digest);
    weir_jsonw_object_end(&w);
    return w.status;
}

static void read_object_member(struct weir_json *j, struct weir_json_str key,
                               struct weir_arena *arena, enum weir_status *st,
                               struct weir_js_object *o) {
    const struct {
        const char *key;
        struct weir_span *to;
    } texts[] = {
        {"name", &o->name}, {"bucket", &o->bucket}, {"nuid", &o->nuid}, {"digest", &o->digest}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(texts); i++)
        if (weir_json_str_eqz(key, texts[i].key)) {
            *texts[i].to = read_text(j, arena, st);
            return;
        }
    if (weir_json_str_eqz(key, "size"))
        o->size = read_u(j);
    else if (weir_json_str_eqz(key, "chunks"))
        o->chunks = read_u(j);
    else if (weir_json_str_eqz(key, "deleted") && weir_json_peek(j) == WEIR_JSON_TRUE)
        (void)weir_json_bool(j, &o->deleted);
    else
        (void)weir_json_skip(j, NULL);
}

enum weir_status weir_js_object_decode(struct weir_span json, struct weir_arena *arena,
                                       struct weir_js_object *ret_object) {
    struct weir_js_object o = {0};
    struct weir_json j;
    struct weir_json_str key;
    enum weir_status st = WEIR_OK;
    weir_json_init(&j, json, DEPTH);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key))
            read_object_member(&j, key, arena, &st, &o);
    if (!weir_json_finish(&j) || (st == WEIR_OK && (o.name.len == 0 || o.nuid.len == 0 ||
                                                    (o.digest.len == 0 && !o.deleted))))
        return WEIR_PROTOCOL;
    if (st == WEIR_OK)
        *ret_object = o;
    return st;
}

enum weir_status weir_js_base64url(struct weir_span bytes, struct weir_buf *out) {
    size_t from = out->len;
    enum weir_status st = weir_base64_encode(bytes, out);
    if (st != WEIR_OK)
        return st;
    for (size_t i = from; i < out->len; i++)
        out->data[i] = out->data[i] == '+' ? '-' : out->data[i] == '/' ? '_' : out->data[i];
    return WEIR_OK;
}
