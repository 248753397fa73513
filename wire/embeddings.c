#include "wire/embeddings.h"

#include "base/base64.h"
#include "base/number.h"
#include "wire/codec_priv.h"
#include "wire/openai_embeddings.h"

#include <math.h>
#include <string.h>

/* ---- request: the order of keys is the reference's ------------------------------------------ */

enum weir_status weir_embeddings_request_encode(const struct weir_embeddings_request *req,
                                                enum weir_codec codec, struct weir_buf *out) {
    struct weir_enc enc, *e = &enc;
    struct weir_enc_box b;
    weir_enc_init(e, codec, out);
    weir_enc_map(e, &b);
    weir_enc_key(e, &b, "token_ids");
    weir_enc_array(e, (uint32_t)req->n_inputs);
    for (size_t i = 0; i < req->n_inputs; i++)
        weir_enc_ids(e, req->inputs[i].ids, req->inputs[i].n);
    weir_enc_array_end(e);
    weir_enc_key(e, &b, "model");
    weir_enc_str(e, req->model);
    if (req->encoding_format.data != NULL) {
        weir_enc_key(e, &b, "encoding_format");
        weir_enc_str(e, req->encoding_format);
    }
    if (req->has_truncate) {
        weir_enc_key(e, &b, "truncate_prompt_tokens");
        weir_enc_i64(e, req->truncate);
    }
    weir_enc_key(e, &b, "dimensions");
    if (req->has_dimensions)
        weir_enc_u64(e, req->n_dimensions);
    else
        weir_enc_null(e);
    weir_enc_key(e, &b, "mdc_sum");
    weir_enc_str(e, req->mdc_sum);
    weir_enc_key(e, &b, "annotations");
    weir_enc_array(e, (uint32_t)req->annotations.n);
    for (size_t i = 0; i < req->annotations.n; i++)
        weir_enc_str(e, req->annotations.items[i]);
    weir_enc_array_end(e);
    weir_enc_map_end(e, &b);
    return weir_enc_status(e);
}

static bool read_list(struct weir_dec *d, size_t *left, struct weir_ids *ret, bool *ret_many) {
    struct weir_dec_box box;
    size_t n = weir_dec_count(*d), i = 0;
    uint64_t v;
    if (n > *left) {
        *ret_many = true;
        return weir_dec_fail(d);
    }
    *left -= n;
    uint32_t *ids = weir_dec_zalloc(d, n * sizeof(*ids));
    if (ids == NULL || !weir_dec_array(d, &box))
        return false;
    while (weir_dec_array_next(d, &box)) {
        if (i == n || !weir_dec_u64(d, &v) || v > UINT32_MAX)
            return weir_dec_fail(d);
        ids[i++] = (uint32_t)v;
    }
    *ret = (struct weir_ids){ids, n};
    return !weir_dec_failed(d);
}

static bool read_lists(struct weir_dec *d, size_t max_ids, struct weir_embeddings_request *q,
                       bool *ret_many) {
    struct weir_dec_box box;
    size_t n = weir_dec_count(*d), i = 0;
    struct weir_ids *inputs = weir_dec_zalloc(d, n * sizeof(*inputs));
    if (inputs == NULL || !weir_dec_array(d, &box))
        return false;
    while (weir_dec_array_next(d, &box))
        if (i == n || !read_list(d, &max_ids, &inputs[i++], ret_many))
            return weir_dec_fail(d);
    q->inputs = inputs;
    q->n_inputs = n;
    return !weir_dec_failed(d);
}

static bool read_annotations(struct weir_dec *d, struct weir_strings *ret) {
    ret->set = weir_dec_strings(d, &ret->items, &ret->n);
    return ret->set;
}

static bool read_member(struct weir_dec *d, struct weir_dec_box *box, struct weir_span key,
                        size_t max_ids, struct weir_embeddings_request *q, bool *ret_many) {
    uint64_t v = 0;
    if (weir_dec_is_set(d, box, key, "token_ids"))
        return read_lists(d, max_ids, q, ret_many);
    if (weir_dec_is_set(d, box, key, "model"))
        return weir_dec_str(d, &q->model);
    if (weir_dec_is_set(d, box, key, "encoding_format"))
        return weir_dec_str(d, &q->encoding_format);
    if (weir_dec_is_set(d, box, key, "truncate_prompt_tokens"))
        return q->has_truncate = weir_dec_i64(d, &q->truncate);
    if (weir_dec_is_set(d, box, key, "dimensions")) {
        q->has_dimensions = weir_dec_u64(d, &v) && v <= UINT32_MAX;
        q->n_dimensions = (uint32_t)v;
        return q->has_dimensions;
    }
    if (weir_dec_is_set(d, box, key, "mdc_sum"))
        return weir_dec_str(d, &q->mdc_sum);
    if (weir_dec_is_set(d, box, key, "annotations"))
        return read_annotations(d, &q->annotations);
    return weir_dec_skip(d, NULL);
}

enum weir_status weir_embeddings_request_decode(struct weir_span bytes, enum weir_codec codec,
                                                size_t max_ids, struct weir_arena *arena,
                                                struct weir_embeddings_request *ret_req) {
    struct weir_embeddings_request q = {.annotations = {.set = true}};
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key;
    bool many = false, ok;
    weir_dec_init(&d, codec, bytes, arena);
    ok = weir_dec_map(&d, &box);
    while (ok && weir_dec_map_next(&d, &box, &key))
        ok = read_member(&d, &box, key, max_ids, &q, &many);
    if (!ok || !weir_dec_finish(&d) || q.inputs == NULL)
        return d.nomem ? WEIR_NOMEM : many ? WEIR_LIMIT : WEIR_INVALID;
    *ret_req = q;
    return WEIR_OK;
}

/* ---- vectors -------------------------------------------------------------------------------- */

static void put_float(struct weir_buf *out, float v, enum weir_status *st) {
    char text[WEIR_SINGLE_TEXT];
    if (*st != WEIR_OK)
        return;
    *st = isfinite(v) ? weir_buf_append(out, text, weir_single_text(v, text))
                      : weir_buf_append(out, "null", 4);
}

/* Little-endian on any machine. */
static float get_float(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    uint32_t bits =
        (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static void store_float(float v, char *p) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    for (int i = 0; i < 4; i++)
        p[i] = (char)(bits >> (8 * i));
}

/* Of n floats as bytes. */
static enum weir_status put_vector(struct weir_span bytes, bool base64, struct weir_buf *out) {
    enum weir_status st = weir_buf_append_c(out, base64 ? '"' : '[');
    if (base64 && st == WEIR_OK)
        st = weir_base64_encode(bytes, out);
    for (size_t i = 0; i < bytes.len && !base64; i += 4) {
        if (i > 0 && st == WEIR_OK)
            st = weir_buf_append_c(out, ',');
        put_float(out, get_float(bytes.data + i), &st);
    }
    return st == WEIR_OK ? weir_buf_append_c(out, base64 ? '"' : ']') : st;
}

/* Bytes of n floats; the caller frees. */
static enum weir_status to_bytes(const float *values, size_t n, struct weir_buf *out) {
    enum weir_status st = weir_buf_reserve(out, n * 4);
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        char b[4];
        store_float(values[i], b);
        st = weir_buf_append(out, b, 4);
    }
    return st;
}

enum weir_status weir_embeddings_put_vector(const float *values, size_t n, bool base64,
                                            struct weir_buf *out) {
    struct weir_buf bytes;
    weir_buf_init(&bytes, n * 4 + 1);
    enum weir_status st = to_bytes(values, n, &bytes);
    if (st == WEIR_OK)
        st = put_vector(weir_buf_span(&bytes), base64, out);
    weir_buf_fini(&bytes);
    return st;
}

/* ---- answer --------------------------------------------------------------------------------- */

void weir_embeddings_answer_init(struct weir_embeddings_answer *a, bool base64, size_t max_bytes) {
    *a = (struct weir_embeddings_answer){.base64 = base64};
    weir_buf_init(&a->data, max_bytes);
    weir_buf_init(&a->seen, WEIR_EMBEDDINGS_MAX_INPUTS / 8);
}

void weir_embeddings_answer_fini(struct weir_embeddings_answer *a) {
    weir_buf_fini(&a->data);
    weir_buf_fini(&a->seen);
}

/* What the readers of one item share. */
struct taking {
    struct weir_dec d;
    struct weir_embeddings_answer *a;
    enum weir_status st; /* of what is written */
};

/* Numbers of a list as bytes in the arena. */
static bool read_numbers(struct weir_dec *d, struct weir_span *ret) {
    struct weir_dec_box box;
    size_t n = weir_dec_count(*d), i = 0;
    char *bytes = weir_dec_zalloc(d, n * 4);
    double v = 0;
    if (bytes == NULL || !weir_dec_array(d, &box))
        return false;
    while (weir_dec_array_next(d, &box)) {
        if (i == n || !weir_dec_f64(d, &v))
            return weir_dec_fail(d);
        store_float((float)v, bytes + 4 * i++);
    }
    *ret = weir_span(bytes, n * 4);
    return !weir_dec_failed(d);
}

/* Base64, or numbers. */
static bool read_vector(struct weir_dec *d, struct weir_span *ret) {
    struct weir_span text;
    if (weir_dec_type(d) != WEIR_JSON_STRING)
        return read_numbers(d, ret);
    if (!weir_dec_str(d, &text))
        return false;
    enum weir_status st = weir_base64_decode(text, d->arena, ret);
    d->nomem |= st == WEIR_NOMEM;
    return (st == WEIR_OK && ret->len % 4 == 0) || weir_dec_fail(d);
}

/* Marks the index; WEIR_PROTOCOL: it is marked already, or can be no input's. */
static enum weir_status see(struct weir_embeddings_answer *a, uint64_t index) {
    const char bit = (char)(1 << index % 8);
    if (index >= WEIR_EMBEDDINGS_MAX_INPUTS)
        return WEIR_PROTOCOL;
    while (a->seen.len <= index / 8) {
        enum weir_status st = weir_buf_append_c(&a->seen, 0);
        if (st != WEIR_OK)
            return st;
    }
    if ((a->seen.data[index / 8] & bit) != 0)
        return WEIR_PROTOCOL;
    a->seen.data[index / 8] |= bit;
    a->last = index > a->last ? index : a->last;
    return WEIR_OK;
}

static bool add(struct taking *t, uint64_t index, struct weir_span bytes) {
    struct weir_buf *out = &t->a->data;
    t->st = see(t->a, index);
    if (t->st != WEIR_OK)
        return weir_dec_fail(&t->d);
    t->st = weir_buf_printf(out, "%s{\"index\":%llu,\"object\":\"embedding\",\"embedding\":",
                            t->a->n > 0 ? "," : "", (unsigned long long)index);
    if (t->st == WEIR_OK)
        t->st = put_vector(bytes, t->a->base64, out);
    if (t->st == WEIR_OK)
        t->st = weir_buf_append_c(out, '}');
    t->a->n++;
    t->a->n_values += bytes.len / 4;
    return t->st == WEIR_OK || weir_dec_fail(&t->d);
}

static bool take_vectors(struct taking *t) {
    struct weir_dec_box box;
    struct weir_span bytes;
    if (!weir_dec_array(&t->d, &box))
        return false;
    while (weir_dec_array_next(&t->d, &box))
        if (!read_vector(&t->d, &bytes) || !add(t, t->a->n, bytes))
            return false;
    return !weir_dec_failed(&t->d);
}

/* {"object": "embedding", "index": 0, "embedding": …} */
static bool take_object(struct taking *t) {
    struct weir_dec *d = &t->d;
    struct weir_dec_box box;
    struct weir_span key, bytes = {NULL, 0};
    uint64_t index = 0;
    bool indexed = false;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        if (weir_dec_is(d, &box, key, "index"))
            ok = indexed = weir_dec_u64(d, &index) && index <= UINT32_MAX;
        else if (weir_dec_is(d, &box, key, "embedding"))
            ok = read_vector(d, &bytes);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    if (weir_dec_failed(d) || bytes.data == NULL || !indexed)
        return weir_dec_fail(d);
    return add(t, index, bytes);
}

static bool take_objects(struct taking *t) {
    struct weir_dec_box box;
    if (!weir_dec_array(&t->d, &box))
        return false;
    while (weir_dec_array_next(&t->d, &box))
        if (!take_object(t))
            return false;
    return !weir_dec_failed(&t->d);
}

static bool read_count(struct weir_dec *d, uint64_t *sum) {
    uint64_t v = 0;
    if (!weir_dec_u64(d, &v) || v > UINT32_MAX)
        return weir_dec_fail(d);
    *sum += v;
    return true;
}

static bool take_counts(struct taking *t) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(&t->d, &box))
        return false;
    while (weir_dec_map_next(&t->d, &box, &key)) {
        uint64_t *to = weir_dec_is(&t->d, &box, key, "prompt_tokens")  ? &t->a->prompt_tokens
                       : weir_dec_is(&t->d, &box, key, "total_tokens") ? &t->a->total_tokens
                                                                       : NULL;
        if (!(to != NULL ? read_count(&t->d, to) : weir_dec_skip(&t->d, NULL)))
            return weir_dec_fail(&t->d);
    }
    return !weir_dec_failed(&t->d);
}

/* {"embeddings", "prompt_tokens", "total_tokens"} or {"object", "data", "model", "usage"}. */
static bool take_output(struct taking *t) {
    struct weir_dec *d = &t->d;
    struct weir_dec_box box;
    struct weir_span key;
    bool vectors = false;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        if (weir_dec_is(d, &box, key, "embeddings"))
            ok = vectors = take_vectors(t);
        else if (weir_dec_is(d, &box, key, "data"))
            ok = vectors = take_objects(t);
        else if (weir_dec_is(d, &box, key, "usage"))
            ok = take_counts(t);
        else if (weir_dec_is(d, &box, key, "prompt_tokens"))
            ok = read_count(d, &t->a->prompt_tokens);
        else if (weir_dec_is(d, &box, key, "total_tokens"))
            ok = read_count(d, &t->a->total_tokens);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    return !weir_dec_failed(d) && (vectors || weir_dec_fail(d));
}

/* Annotated: {data?, id?, event?, comment?, error?}; one without data is an annotation. */
static bool take_annotated(struct taking *t) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(&t->d, &box))
        return false;
    while (weir_dec_map_next(&t->d, &box, &key)) {
        bool output = weir_dec_is_set(&t->d, &box, key, "data");
        if (!(output ? take_output(t) : weir_dec_skip(&t->d, NULL)))
            return weir_dec_fail(&t->d);
    }
    return !weir_dec_failed(&t->d);
}

enum weir_status weir_embeddings_answer_take(struct weir_embeddings_answer *a,
                                             struct weir_span wrapper, enum weir_codec codec,
                                             struct weir_arena *arena) {
    struct taking t = {.a = a, .st = WEIR_OK};
    struct weir_dec_box box;
    struct weir_span key;
    weir_dec_init(&t.d, codec, wrapper, arena);
    bool ok = weir_dec_map(&t.d, &box);
    while (ok && weir_dec_map_next(&t.d, &box, &key)) {
        bool item = weir_dec_is_set(&t.d, &box, key, "data");
        ok = item ? take_annotated(&t) : weir_dec_skip(&t.d, NULL);
    }
    if (ok && weir_dec_finish(&t.d))
        return WEIR_OK;
    return t.st != WEIR_OK ? t.st : t.d.nomem ? WEIR_NOMEM : WEIR_PROTOCOL;
}

enum weir_status weir_embeddings_answer_put(const struct weir_embeddings_answer *a,
                                            struct weir_span model, struct weir_buf *out) {
    struct weir_jsonw w;
    enum weir_status st = weir_buf_reserve(out, a->data.len + 256);
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, WEIR_SPAN_LIT("{\"object\":\"list\",\"model\":"));
    weir_jsonw_init(&w, out);
    weir_jsonw_string(&w, model);
    if (st == WEIR_OK)
        st = w.status;
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, WEIR_SPAN_LIT(",\"data\":["));
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, weir_buf_span(&a->data));
    if (st == WEIR_OK)
        st = weir_buf_printf(out, "],\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}",
                             (unsigned long long)a->prompt_tokens,
                             (unsigned long long)a->total_tokens);
    return st;
}

/* ---- what a worker sends -------------------------------------------------------------------- */

static enum weir_status put_base64(struct weir_enc *e, const float *values, size_t n) {
    struct weir_buf bytes, text;
    weir_buf_init(&bytes, n * 4 + 1);
    weir_buf_init(&text, n * 6 + 8);
    enum weir_status st = to_bytes(values, n, &bytes);
    if (st == WEIR_OK)
        st = weir_base64_encode(weir_buf_span(&bytes), &text);
    if (st == WEIR_OK)
        weir_enc_str(e, text.len > 0 ? weir_buf_span(&text) : WEIR_SPAN_LIT(""));
    weir_buf_fini(&bytes);
    weir_buf_fini(&text);
    return st;
}

static void put_counts(struct weir_enc *e, struct weir_enc_box *b, uint64_t n) {
    weir_enc_key(e, b, "prompt_tokens");
    weir_enc_u64(e, n);
    weir_enc_key(e, b, "total_tokens");
    weir_enc_u64(e, n);
}

static enum weir_status put_objects(struct weir_enc *e, const struct weir_embeddings_item *item) {
    enum weir_status st = WEIR_OK;
    weir_enc_array(e, (uint32_t)item->n);
    for (size_t i = 0; i < item->n && st == WEIR_OK; i++) {
        struct weir_enc_box b;
        weir_enc_map(e, &b);
        weir_enc_key(e, &b, "object");
        weir_enc_str(e, WEIR_SPAN_LIT("embedding"));
        weir_enc_key(e, &b, "embedding");
        st = put_base64(e, item->values + i * item->n_values, item->n_values);
        weir_enc_key(e, &b, "index");
        weir_enc_u64(e, i);
        weir_enc_map_end(e, &b);
    }
    weir_enc_array_end(e);
    return st;
}

static enum weir_status put_output(struct weir_enc *e, const struct weir_embeddings_item *item) {
    struct weir_enc_box b, u;
    enum weir_status st = WEIR_OK;
    weir_enc_map(e, &b);
    if (item->model.data == NULL) {
        weir_enc_key(e, &b, "embeddings");
        weir_enc_array(e, (uint32_t)item->n);
        for (size_t i = 0; i < item->n && st == WEIR_OK; i++)
            st = put_base64(e, item->values + i * item->n_values, item->n_values);
        weir_enc_array_end(e);
        put_counts(e, &b, item->n_tokens);
    } else {
        weir_enc_key(e, &b, "object");
        weir_enc_str(e, WEIR_SPAN_LIT("list"));
        weir_enc_key(e, &b, "data");
        st = put_objects(e, item);
        weir_enc_key(e, &b, "model");
        weir_enc_str(e, item->model);
        weir_enc_key(e, &b, "usage");
        weir_enc_map(e, &u);
        put_counts(e, &u, item->n_tokens);
        weir_enc_map_end(e, &u);
    }
    weir_enc_map_end(e, &b);
    return st;
}

enum weir_status weir_embeddings_item_encode(const struct weir_embeddings_item *item,
                                             enum weir_codec codec, struct weir_buf *out) {
    struct weir_enc enc, *e = &enc;
    struct weir_enc_box b, a;
    weir_enc_init(e, codec, out);
    weir_enc_map(e, &b);
    weir_enc_key(e, &b, "data");
    weir_enc_map(e, &a);
    weir_enc_key(e, &a, "data");
    enum weir_status st = put_output(e, item);
    weir_enc_map_end(e, &a);
    weir_enc_key(e, &b, "complete_final");
    weir_enc_bool(e, false);
    weir_enc_map_end(e, &b);
    return st != WEIR_OK ? st : weir_enc_status(e);
}
