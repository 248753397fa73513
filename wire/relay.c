#include "wire/relay.h"

#include "wire/codec_priv.h"

#include <math.h>

/* ---- items -------------------------------------------------------------------------------- */

/* Reads a string and compares it; no copy is made. */
static bool is_word(struct weir_dec *d, const char *word) {
    struct weir_json_str s;
    struct weir_span text;
    if (d->codec == WEIR_CODEC_MSGPACK)
        return weir_mp_str(&d->m, &text) && weir_span_eqz(text, word);
    return weir_json_string(&d->j, &s) && weir_json_str_eqz(s, word);
}

/* Annotated: {data?, id?, event?, comment?, error?} */
static void look_at_item(struct weir_dec *d, struct weir_output_look *look) {
    struct weir_dec_box box;
    struct weir_span key;
    bool error_event = false;
    look->has_data = true;
    if (weir_dec_type(d) != WEIR_JSON_OBJECT) {
        weir_dec_skip(d, NULL);
        return;
    }
    weir_dec_map(d, &box);
    while (weir_dec_map_next(d, &box, &key)) {
        if (weir_dec_is(d, &box, key, "event") && weir_dec_type(d) == WEIR_JSON_STRING) {
            error_event = is_word(d, "error");
            continue;
        }
        look->is_error |= weir_dec_is_set(d, &box, key, "error");
        weir_dec_skip(d, NULL);
    }
    look->is_error |= error_event;
}

enum weir_status weir_output_look(struct weir_span wrapper, enum weir_codec codec,
                                  struct weir_output_look *ret_look) {
    struct weir_output_look look = {0};
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key;
    bool final_seen = false;
    weir_dec_init(&d, codec, wrapper, NULL);
    weir_dec_map(&d, &box);
    while (weir_dec_map_next(&d, &box, &key)) {
        if (weir_dec_is(&d, &box, key, "complete_final"))
            final_seen = weir_dec_bool(&d, &look.complete_final);
        else if (weir_dec_is_set(&d, &box, key, "data"))
            look_at_item(&d, &look);
        else
            weir_dec_skip(&d, NULL);
    }
    if (!weir_dec_finish(&d) || !final_seen)
        return WEIR_PROTOCOL;
    *ret_look = look;
    return WEIR_OK;
}

/* ---- requests ----------------------------------------------------------------------------- */

static bool count_ids(struct weir_dec *d, struct weir_pool_query *q) {
    struct weir_dec_box box;
    struct weir_span bytes;
    q->n_tokens = 0;
    q->packed = d->codec == WEIR_CODEC_MSGPACK && weir_mp_peek(&d->m) == WEIR_MP_BIN;
    if (q->packed) {
        if (!weir_mp_bin(&d->m, &bytes) || bytes.len % 4 != 0)
            return weir_dec_fail(d);
        q->n_tokens = bytes.len / 4;
        return true;
    }
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (!weir_dec_array(d, &box))
        return weir_dec_fail(d);
    while (weir_dec_array_next(d, &box) && weir_dec_skip(d, NULL))
        q->n_tokens++;
    return !weir_dec_failed(d);
}

/* Members ttft_target and itl_target of an object; whatever else it holds is not looked at. */
static bool read_targets(struct weir_dec *d, double *ttft_ms, double *itl_ms) {
    struct weir_dec_box box;
    struct weir_span key;
    if (weir_dec_type(d) != WEIR_JSON_OBJECT)
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        double *to = weir_dec_is(d, &box, key, "ttft_target")  ? ttft_ms
                     : weir_dec_is(d, &box, key, "itl_target") ? itl_ms
                                                               : NULL;
        bool number = to != NULL && weir_dec_type(d) == WEIR_JSON_NUMBER;
        if (!(number ? weir_dec_f64(d, to) : weir_dec_skip(d, NULL)))
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_priority(struct weir_dec *d, struct weir_pool_query *q) {
    struct weir_dec_box box;
    struct weir_span key;
    if (weir_dec_type(d) != WEIR_JSON_OBJECT)
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key))
        if (weir_dec_is(d, &box, key, "priority") && weir_dec_type(d) == WEIR_JSON_NUMBER)
            q->has_priority = weir_dec_i64(d, &q->priority);
        else
            weir_dec_skip(d, NULL);
    return !weir_dec_failed(d);
}

/* Older requests: a target of 0 is none. */
static double settle(double newer, double older) {
    return !isnan(newer) ? newer : older == 0 ? NAN : older;
}

void weir_pool_query_targets(struct weir_span router, struct weir_span extra_args,
                             double *ret_ttft_ms, double *ret_itl_ms) {
    double newer[2] = {NAN, NAN}, older[2] = {NAN, NAN};
    struct weir_dec d;
    if (router.data != NULL) {
        weir_dec_init(&d, WEIR_CODEC_JSON, router, NULL);
        if (!read_targets(&d, &newer[0], &newer[1]))
            newer[0] = newer[1] = NAN;
    }
    if (extra_args.data != NULL) {
        weir_dec_init(&d, WEIR_CODEC_JSON, extra_args, NULL);
        if (!read_targets(&d, &older[0], &older[1]))
            older[0] = older[1] = NAN;
    }
    *ret_ttft_ms = settle(newer[0], older[0]);
    *ret_itl_ms = settle(newer[1], older[1]);
}

enum weir_status weir_pool_query_decode(struct weir_span body, enum weir_codec codec,
                                        struct weir_pool_query *ret_query) {
    struct weir_pool_query q = {.ttft_ms = NAN, .itl_ms = NAN};
    double old_ttft_ms = NAN, old_itl_ms = NAN;
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key;
    weir_dec_init(&d, codec, body, NULL);
    weir_dec_map(&d, &box);
    while (weir_dec_map_next(&d, &box, &key)) {
        if (weir_dec_is(&d, &box, key, "token_ids"))
            count_ids(&d, &q);
        else if (weir_dec_is(&d, &box, key, "router"))
            read_targets(&d, &q.ttft_ms, &q.itl_ms);
        else if (weir_dec_is(&d, &box, key, "extra_args"))
            read_targets(&d, &old_ttft_ms, &old_itl_ms);
        else if (weir_dec_is(&d, &box, key, "routing"))
            read_priority(&d, &q);
        else
            weir_dec_skip(&d, NULL);
    }
    if (!weir_dec_finish(&d))
        return WEIR_INVALID;
    q.ttft_ms = settle(q.ttft_ms, old_ttft_ms);
    q.itl_ms = settle(q.itl_ms, old_itl_ms);
    *ret_query = q;
    return WEIR_OK;
}

static void put_ids(struct weir_mpw *w, struct weir_span bytes) {
    const unsigned char *p = (const unsigned char *)bytes.data;
    weir_mpw_array(w, (uint32_t)(bytes.len / 4));
    for (size_t i = 0; i + 4 <= bytes.len; i += 4)
        weir_mpw_u64(w, (uint32_t)p[i] | (uint32_t)p[i + 1] << 8 | (uint32_t)p[i + 2] << 16 |
                            (uint32_t)p[i + 3] << 24);
}

enum weir_status weir_pool_query_unpack(struct weir_span body, struct weir_buf *out) {
    struct weir_mp m;
    struct weir_mpw w;
    struct weir_span key, raw;
    uint32_t pairs = 0;
    weir_mp_init(&m, body);
    weir_mpw_init(&w, out);
    if (weir_mp_map(&m, &pairs))
        weir_mpw_map(&w, pairs);
    for (uint32_t i = 0; i < pairs && !m.failed; i++) {
        if (!weir_mp_str(&m, &key))
            break;
        weir_mpw_str(&w, key);
        if (weir_span_eqz(key, "token_ids") && weir_mp_peek(&m) == WEIR_MP_BIN) {
            if (weir_mp_bin(&m, &raw))
                put_ids(&w, raw);
        } else if (weir_mp_skip(&m, &raw)) {
            weir_mpw_raw(&w, raw);
        }
    }
    return m.failed || m.pos != m.len ? WEIR_INVALID : w.status;
}
