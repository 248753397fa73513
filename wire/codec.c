#include "wire/codec_priv.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

#define MP(e) ((e)->codec == WEIR_CODEC_MSGPACK)

void weir_enc_init(struct weir_enc *e, enum weir_codec codec, struct weir_buf *out) {
    e->codec = codec;
    e->buf = out;
    weir_jsonw_init(&e->j, out);
    weir_mpw_init(&e->m, out);
}

enum weir_status weir_enc_status(const struct weir_enc *e) {
    return MP(e) ? e->m.status : e->j.status;
}

void weir_enc_map(struct weir_enc *e, struct weir_enc_box *box) {
    box->n = 0;
    box->mark = e->buf->len;
    if (MP(e))
        weir_mpw_raw(&e->m, WEIR_SPAN_LIT("\xde\0\0"));
    else
        weir_jsonw_object_begin(&e->j);
}

void weir_enc_map_end(struct weir_enc *e, struct weir_enc_box *box) {
    if (!MP(e)) {
        weir_jsonw_object_end(&e->j);
    } else if (e->m.status == WEIR_OK) {
        e->buf->data[box->mark + 1] = (char)(box->n >> 8);
        e->buf->data[box->mark + 2] = (char)box->n;
    }
}

void weir_enc_key_text(struct weir_enc *e, struct weir_enc_box *box, struct weir_span key) {
    box->n++;
    if (MP(e))
        weir_mpw_str(&e->m, key);
    else
        weir_jsonw_key_text(&e->j, key);
}

void weir_enc_array(struct weir_enc *e, uint32_t n) {
    if (MP(e))
        weir_mpw_array(&e->m, n);
    else
        weir_jsonw_array_begin(&e->j);
}

void weir_enc_array_end(struct weir_enc *e) {
    if (!MP(e))
        weir_jsonw_array_end(&e->j);
}

void weir_enc_str(struct weir_enc *e, struct weir_span s) {
    if (s.data == NULL)
        weir_enc_null(e);
    else if (MP(e))
        weir_mpw_str(&e->m, s);
    else
        weir_jsonw_string(&e->j, s);
}

void weir_enc_u64(struct weir_enc *e, uint64_t v) {
    if (MP(e))
        weir_mpw_u64(&e->m, v);
    else
        weir_jsonw_u64(&e->j, v);
}

void weir_enc_i64(struct weir_enc *e, int64_t v) {
    if (MP(e))
        weir_mpw_i64(&e->m, v);
    else
        weir_jsonw_i64(&e->j, v);
}

void weir_enc_f64(struct weir_enc *e, double v) {
    if (isnan(v))
        weir_enc_null(e);
    else if (MP(e))
        weir_mpw_f64(&e->m, v);
    else
        weir_jsonw_f64(&e->j, v);
}

void weir_enc_bool(struct weir_enc *e, bool v) {
    if (MP(e))
        weir_mpw_bool(&e->m, v);
    else
        weir_jsonw_bool(&e->j, v);
}

void weir_enc_null(struct weir_enc *e) {
    if (MP(e))
        weir_mpw_nil(&e->m);
    else
        weir_jsonw_null(&e->j);
}

static char *put_decimal(char *p, uint32_t v) {
    char digits[10];
    int at = 10;
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    memcpy(p, digits + at, (size_t)(10 - at));
    return p + 10 - at;
}

/* Bytes that n ids take, and a little more, if all are as wide as the first ones. */
static size_t likely_bytes(const struct weir_enc *e, const uint32_t *ids, size_t n) {
    enum { SAMPLE = 256 };
    size_t total = 0, seen = n < SAMPLE ? n : SAMPLE;
    for (size_t i = 0; i < seen; i++)
        total +=
            MP(e) ? 1 + (ids[i] > 0x7f) + (ids[i] > 0xff) + 2 * (size_t)(ids[i] > 0xffff)
                  : 2 + (ids[i] > 9) + (ids[i] > 99) + (ids[i] > 999) + 2 * (size_t)(ids[i] > 9999);
    return seen > 0 ? n * total / seen * 17 / 16 : 0;
}

/* Prompts of 100,000 ids pass here: numbers are written straight into the reserved room, which is
 * asked for as if all to come were as wide as the first ones: growing copies what is there. */
static enum weir_status put_many(struct weir_enc *e, const uint32_t *ids, size_t n) {
    enum { CHUNK = 1024 };
    size_t likely = n > CHUNK ? likely_bytes(e, ids, n) : 0;
    if (likely > 0 && weir_buf_reserve(e->buf, likely) == WEIR_NOMEM)
        return WEIR_NOMEM; /* too large for the buffer: they may yet be smaller */
    for (size_t i = 0; i < n;) {
        size_t now = n - i < CHUNK ? n - i : CHUNK;
        enum weir_status st =
            weir_buf_reserve(e->buf, MP(e) ? now * 5 + WEIR_ID_SLACK : now * 11 + 1);
        if (st != WEIR_OK)
            return st;
        char *p = e->buf->data + e->buf->len;
        if (MP(e))
            p = weir_enc_put_ids(p, ids + i, now);
        for (size_t k = 0; !MP(e) && k < now; k++) {
            if (i + k > 0)
                *p++ = ',';
            p = put_decimal(p, ids[i + k]);
        }
        e->buf->len = (size_t)(p - e->buf->data);
        i += now;
    }
    return WEIR_OK;
}

void weir_enc_ids(struct weir_enc *e, const uint32_t *ids, size_t n) {
    weir_enc_array(e, (uint32_t)n);
    enum weir_status st = weir_enc_status(e);
    if (st == WEIR_OK)
        st = put_many(e, ids, n);
    if (st != WEIR_OK) {
        e->m.status = e->j.status = st;
        return;
    }
    weir_enc_array_end(e);
}

void weir_enc_json(struct weir_enc *e, struct weir_span json) {
    if (!MP(e)) {
        weir_jsonw_raw(&e->j, json);
    } else if (e->m.status == WEIR_OK) {
        e->m.status = weir_mp_from_json(json, e->buf);
    }
}

/* ---- reading ------------------------------------------------------------------------------ */

enum { DEPTH = 64 };

void weir_dec_init(struct weir_dec *d, enum weir_codec codec, struct weir_span bytes,
                   struct weir_arena *arena) {
    d->codec = codec;
    d->arena = arena;
    d->nomem = false;
    if (MP(d))
        weir_mp_init(&d->m, bytes);
    else
        weir_json_init(&d->j, bytes, DEPTH);
}

bool weir_dec_failed(const struct weir_dec *d) {
    return d->nomem || (MP(d) ? d->m.failed : d->j.error != WEIR_JSON_ERR_NONE);
}

bool weir_dec_finish(struct weir_dec *d) {
    if (weir_dec_failed(d))
        return false;
    return MP(d) ? d->m.pos == d->m.len : weir_json_finish(&d->j);
}

bool weir_dec_fail(struct weir_dec *d) {
    return MP(d) ? weir_mp_fail(&d->m) : weir_json_fail(&d->j, WEIR_JSON_ERR_TYPE, d->j.pos);
}

enum weir_json_type weir_dec_type(struct weir_dec *d) {
    if (!MP(d))
        return weir_json_peek(&d->j);
    switch (weir_mp_peek(&d->m)) {
    case WEIR_MP_NIL:
        return WEIR_JSON_NULL;
    case WEIR_MP_BOOL:
        return d->m.buf[d->m.pos] == 0xc3 ? WEIR_JSON_TRUE : WEIR_JSON_FALSE;
    case WEIR_MP_UINT:
    case WEIR_MP_INT:
    case WEIR_MP_FLOAT:
        return WEIR_JSON_NUMBER;
    case WEIR_MP_STR:
        return WEIR_JSON_STRING;
    case WEIR_MP_ARRAY:
    case WEIR_MP_BIN:
        return WEIR_JSON_ARRAY;
    case WEIR_MP_MAP:
        return WEIR_JSON_OBJECT;
    default:
        return WEIR_JSON_ERROR;
    }
}

bool weir_dec_is_null(struct weir_dec *d) {
    return weir_dec_type(d) == WEIR_JSON_NULL;
}

bool weir_dec_map(struct weir_dec *d, struct weir_dec_box *box) {
    box->members = (struct weir_members){.row = 0};
    return MP(d) ? weir_mp_map(&d->m, &box->left) : weir_json_object_enter(&d->j);
}

bool weir_dec_map_next(struct weir_dec *d, struct weir_dec_box *box, struct weir_span *ret_key) {
    weir_members_next(&box->members);
    if (MP(d)) {
        if (d->m.failed || box->left == 0)
            return false;
        box->left--;
        return weir_mp_str(&d->m, ret_key);
    }
    struct weir_json_str key;
    if (!weir_json_object_next(&d->j, &key))
        return false;
    *ret_key = weir_json_short_text(key, d->name, sizeof(d->name));
    return true;
}

bool weir_dec_array(struct weir_dec *d, struct weir_dec_box *box) {
    return MP(d) ? weir_mp_array(&d->m, &box->left) : weir_json_array_enter(&d->j);
}

bool weir_dec_array_next(struct weir_dec *d, struct weir_dec_box *box) {
    if (!MP(d))
        return weir_json_array_next(&d->j);
    return !d->m.failed && box->left > 0 && box->left-- > 0;
}

bool weir_dec_str(struct weir_dec *d, struct weir_span *ret) {
    if (MP(d))
        return weir_mp_str(&d->m, ret);
    struct weir_json_str s;
    if (!weir_json_string(&d->j, &s))
        return false;
    struct weir_span text = weir_json_text(s, d->arena);
    if (text.data == NULL) {
        d->nomem = true;
        return weir_dec_fail(d);
    }
    *ret = text;
    return true;
}

bool weir_dec_u64(struct weir_dec *d, uint64_t *ret) {
    return MP(d) ? weir_mp_u64(&d->m, ret) : weir_json_u64(&d->j, ret);
}

bool weir_dec_i64(struct weir_dec *d, int64_t *ret) {
    return MP(d) ? weir_mp_i64(&d->m, ret) : weir_json_i64(&d->j, ret);
}

bool weir_dec_f64(struct weir_dec *d, double *ret) {
    return MP(d) ? weir_mp_f64(&d->m, ret) : weir_json_f64(&d->j, ret);
}

bool weir_dec_bool(struct weir_dec *d, bool *ret) {
    return MP(d) ? weir_mp_bool(&d->m, ret) : weir_json_bool(&d->j, ret);
}

bool weir_dec_skip(struct weir_dec *d, struct weir_span *ret_raw) {
    return MP(d) ? weir_mp_skip(&d->m, ret_raw) : weir_json_skip(&d->j, ret_raw);
}

bool weir_dec_json(struct weir_dec *d, struct weir_span *ret) {
    bool null = weir_dec_is_null(d);
    struct weir_span raw;
    if (!weir_dec_skip(d, &raw))
        return false;
    if (null) {
        *ret = weir_span(NULL, 0);
        return true;
    }
    if (!MP(d)) {
        *ret = raw;
        return true;
    }
    struct weir_buf text;
    weir_buf_init(&text, raw.len * 24 + 64);
    bool ok = weir_mp_to_json(raw, &text) == WEIR_OK;
    struct weir_span copy = ok ? weir_arena_copy(d->arena, weir_buf_span(&text)) : raw;
    weir_buf_fini(&text);
    if (!ok || copy.data == NULL)
        return weir_dec_fail(d);
    *ret = copy;
    return true;
}

size_t weir_dec_count(struct weir_dec d) {
    struct weir_dec_box box;
    size_t n = 0;
    if (!weir_dec_array(&d, &box))
        return 0;
    while (weir_dec_array_next(&d, &box) && weir_dec_skip(&d, NULL))
        n++;
    return n;
}

void *weir_dec_zalloc(struct weir_dec *d, size_t bytes) {
    void *p = weir_arena_zalloc(d->arena, bytes > 0 ? bytes : 1);
    if (p == NULL) {
        d->nomem = true;
        weir_dec_fail(d);
    }
    return p;
}

bool weir_dec_strings(struct weir_dec *d, const struct weir_span **ret_items, size_t *ret_n) {
    struct weir_dec_box box;
    size_t n = weir_dec_count(*d), i = 0;
    struct weir_span *items = weir_dec_zalloc(d, n * sizeof(*items));
    if (items == NULL || !weir_dec_array(d, &box))
        return false;
    while (weir_dec_array_next(d, &box))
        if (i == n || !weir_dec_str(d, &items[i++]))
            return weir_dec_fail(d);
    *ret_items = items;
    *ret_n = n;
    return !weir_dec_failed(d);
}
