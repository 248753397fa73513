/* JSON to MessagePack and back, value by value. */
#include "base/json.h"
#include "base/msgpack.h"

#include <string.h>

static void number_from_json(struct weir_mpw *w, struct weir_span raw) {
    uint64_t u;
    int64_t i;
    double d;
    if (weir_span_u64(raw, &u))
        weir_mpw_u64(w, u);
    else if (weir_span_i64(raw, &i))
        weir_mpw_i64(w, i);
    else if (weir_span_f64(raw, &d))
        weir_mpw_f64(w, d);
    else if (w->status == WEIR_OK)
        w->status = WEIR_INVALID;
}

static void string_from_json(struct weir_mpw *w, struct weir_json_str s) {
    if (!s.escaped) {
        weir_mpw_str(w, s.raw);
        return;
    }
    struct weir_buf text;
    weir_buf_init(&text, s.raw.len);
    enum weir_status st = weir_json_unescape(s, &text);
    if (st == WEIR_OK)
        weir_mpw_str(w, weir_buf_span(&text));
    else if (w->status == WEIR_OK)
        w->status = st;
    weir_buf_fini(&text);
}

static void value_from_json(struct weir_json *j, struct weir_mpw *w);

/* The number of elements stands before them: a 32-bit count is filled in afterwards. */
static void container_from_json(struct weir_json *j, struct weir_mpw *w, bool object) {
    size_t mark = w->buf->len;
    weir_mpw_raw(w, object ? WEIR_SPAN_LIT("\xdf\0\0\0\0") : WEIR_SPAN_LIT("\xdd\0\0\0\0"));
    uint32_t n = 0;
    struct weir_json_str key;
    bool ok = object ? weir_json_object_enter(j) : weir_json_array_enter(j);
    while (ok && w->status == WEIR_OK &&
           (object ? weir_json_object_next(j, &key) : weir_json_array_next(j))) {
        if (object)
            string_from_json(w, key);
        value_from_json(j, w);
        n++;
    }
    for (int i = 0; i < 4 && w->status == WEIR_OK; i++)
        w->buf->data[mark + 1 + (size_t)i] = (char)(n >> (24 - 8 * i));
}

/* Recursion is bounded by the scanner's depth limit. */
static void value_from_json(struct weir_json *j, struct weir_mpw *w) {
    struct weir_json_str s;
    struct weir_span raw;
    bool b;
    switch (weir_json_peek(j)) {
    case WEIR_JSON_NULL:
        if (weir_json_null(j))
            weir_mpw_nil(w);
        break;
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        if (weir_json_bool(j, &b))
            weir_mpw_bool(w, b);
        break;
    case WEIR_JSON_NUMBER:
        if (weir_json_number(j, &raw))
            number_from_json(w, raw);
        break;
    case WEIR_JSON_STRING:
        if (weir_json_string(j, &s))
            string_from_json(w, s);
        break;
    case WEIR_JSON_ARRAY:
        container_from_json(j, w, false);
        break;
    case WEIR_JSON_OBJECT:
        container_from_json(j, w, true);
        break;
    case WEIR_JSON_ERROR:
        break;
    }
    if (j->error != WEIR_JSON_ERR_NONE && w->status == WEIR_OK)
        w->status = WEIR_INVALID;
}

enum weir_status weir_mp_from_json(struct weir_span json, struct weir_buf *out) {
    struct weir_json j;
    struct weir_mpw w;
    weir_json_init(&j, json, WEIR_MP_MAX_DEPTH);
    weir_mpw_init(&w, out);
    value_from_json(&j, &w);
    if (w.status == WEIR_OK && !weir_json_finish(&j))
        w.status = WEIR_INVALID;
    return w.status;
}

static void value_to_json(struct weir_mp *m, struct weir_jsonw *w, unsigned depth);

static void map_to_json(struct weir_mp *m, struct weir_jsonw *w, unsigned depth) {
    uint32_t n;
    if (!weir_mp_map(m, &n))
        return;
    weir_jsonw_object_begin(w);
    for (uint32_t i = 0; i < n && !m->failed && w->status == WEIR_OK; i++) {
        struct weir_span key;
        if (!weir_mp_str(m, &key))
            return;
        weir_jsonw_key_span(w, key);
        value_to_json(m, w, depth + 1);
    }
    weir_jsonw_object_end(w);
}

static void array_to_json(struct weir_mp *m, struct weir_jsonw *w, unsigned depth) {
    uint32_t n;
    if (!weir_mp_array(m, &n))
        return;
    weir_jsonw_array_begin(w);
    for (uint32_t i = 0; i < n && !m->failed && w->status == WEIR_OK; i++)
        value_to_json(m, w, depth + 1);
    weir_jsonw_array_end(w);
}

static void bin_to_json(struct weir_mp *m, struct weir_jsonw *w) {
    struct weir_span bytes;
    if (!weir_mp_bin(m, &bytes))
        return;
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < bytes.len; i++)
        weir_jsonw_u64(w, (unsigned char)bytes.data[i]);
    weir_jsonw_array_end(w);
}

/* Recursion is bounded by WEIR_MP_MAX_DEPTH. */
static void value_to_json(struct weir_mp *m, struct weir_jsonw *w, unsigned depth) {
    uint64_t u;
    int64_t i;
    double d;
    bool b;
    struct weir_span s;
    if (depth > WEIR_MP_MAX_DEPTH) {
        weir_mp_fail(m);
        return;
    }
    switch (weir_mp_peek(m)) {
    case WEIR_MP_NIL:
        if (weir_mp_nil(m))
            weir_jsonw_null(w);
        break;
    case WEIR_MP_BOOL:
        if (weir_mp_bool(m, &b))
            weir_jsonw_bool(w, b);
        break;
    case WEIR_MP_UINT:
        if (weir_mp_u64(m, &u))
            weir_jsonw_u64(w, u);
        break;
    case WEIR_MP_INT:
        /* A signed form may hold a positive value. */
        if (weir_mp_i64(m, &i))
            weir_jsonw_i64(w, i);
        break;
    case WEIR_MP_FLOAT:
        if (weir_mp_f64(m, &d))
            weir_jsonw_f64(w, d);
        break;
    case WEIR_MP_STR:
        if (weir_mp_str(m, &s))
            weir_jsonw_string(w, s);
        break;
    case WEIR_MP_BIN:
        bin_to_json(m, w);
        break;
    case WEIR_MP_ARRAY:
        array_to_json(m, w, depth);
        break;
    case WEIR_MP_MAP:
        map_to_json(m, w, depth);
        break;
    default:
        weir_mp_fail(m);
    }
}

enum weir_status weir_mp_to_json(struct weir_span msgpack, struct weir_buf *out) {
    struct weir_mp m;
    struct weir_jsonw w;
    weir_mp_init(&m, msgpack);
    weir_jsonw_init(&w, out);
    value_to_json(&m, &w, 0);
    if (w.status == WEIR_OK && (m.failed || m.pos != m.len))
        return WEIR_INVALID;
    return w.status;
}
