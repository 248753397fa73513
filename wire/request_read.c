/* A PreprocessedRequest out of JSON or MessagePack, as workers and routers get it. */
#include "wire/request_priv.h"

#include <string.h>

/* What the readers of one request share. */
struct reading {
    struct weir_dec d;
    size_t max_ids;
    bool too_many;
    struct weir_span uuids; /* multi_modal_uuids as JSON: they may stand before what they name */
};

static bool read_int(struct weir_dec *d, int64_t *ret) {
    return weir_dec_is_null(d) ? weir_dec_skip(d, NULL) : weir_dec_i64(d, ret);
}

static bool read_small(struct weir_dec *d, int *ret) {
    int64_t v = -1;
    if (!read_int(d, &v) || v < -1 || v > INT32_MAX)
        return weir_dec_fail(d);
    *ret = (int)v;
    return true;
}

static bool read_flag(struct weir_dec *d, int *ret) {
    bool v = false;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (!weir_dec_bool(d, &v))
        return false;
    *ret = v;
    return true;
}

static bool read_f64(struct weir_dec *d, double *ret) {
    return weir_dec_is_null(d) ? weir_dec_skip(d, NULL) : weir_dec_f64(d, ret);
}

static bool read_str(struct weir_dec *d, struct weir_span *ret) {
    return weir_dec_is_null(d) ? weir_dec_skip(d, NULL) : weir_dec_str(d, ret);
}

/* Little-endian 32-bit ids as bytes, a newer form of the reference system. */
static bool read_packed_ids(struct reading *r, struct weir_ids *ret) {
    struct weir_dec *d = &r->d;
    struct weir_span raw;
    if (!weir_mp_bin(&d->m, &raw) || raw.len % 4 != 0 || raw.len / 4 > r->max_ids) {
        r->too_many = !d->m.failed && raw.len / 4 > r->max_ids;
        return weir_dec_fail(d);
    }
    uint32_t *ids = weir_arena_alloc(d->arena, raw.len + sizeof(*ids));
    if (ids == NULL) {
        d->nomem = true;
        return weir_dec_fail(d);
    }
    for (size_t i = 0; i < raw.len / 4; i++) {
        const unsigned char *p = (const unsigned char *)raw.data + i * 4;
        ids[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    *ret = (struct weir_ids){ids, raw.len / 4};
    return true;
}

/* The list is counted first, so that its room is exact. */
static bool read_ids(struct reading *r, struct weir_ids *ret) {
    struct weir_dec *d = &r->d, count = *d;
    struct weir_dec_box box;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (d->codec == WEIR_CODEC_MSGPACK && weir_mp_peek(&d->m) == WEIR_MP_BIN)
        return read_packed_ids(r, ret);
    size_t n = 0;
    uint64_t v = 0;
    if (!weir_dec_array(&count, &box))
        return weir_dec_fail(d);
    if (d->codec == WEIR_CODEC_MSGPACK)
        n = box.left;
    else
        while (weir_dec_array_next(&count, &box) && weir_dec_u64(&count, &v))
            n++;
    if (weir_dec_failed(&count) || n > r->max_ids) {
        r->too_many = n > r->max_ids;
        return weir_dec_fail(d);
    }
    uint32_t *ids = weir_arena_alloc(d->arena, (n + 1) * sizeof(*ids));
    if (ids == NULL) {
        d->nomem = true;
        return weir_dec_fail(d);
    }
    if (!weir_dec_array(d, &box))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!weir_dec_array_next(d, &box) || !weir_dec_u64(d, &v) || v > UINT32_MAX)
            return weir_dec_fail(d);
        ids[i] = (uint32_t)v;
    }
    if (weir_dec_array_next(d, &box))
        return weir_dec_fail(d);
    *ret = (struct weir_ids){ids, n};
    return !weir_dec_failed(d);
}

static bool read_strings(struct weir_dec *d, struct weir_strings *ret) {
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    ret->set = weir_dec_strings(d, &ret->items, &ret->n);
    return ret->set;
}

static bool read_stop(struct reading *r, struct weir_stop_conditions *s) {
    struct weir_dec *d = &r->d;
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok = weir_dec_is(d, &box, key, "max_tokens")       ? read_int(d, &s->max_tokens)
                  : weir_dec_is(d, &box, key, "stop")           ? read_strings(d, &s->stop)
                  : weir_dec_is(d, &box, key, "stop_token_ids") ? read_ids(r, &s->stop_token_ids)
                  : weir_dec_is(d, &box, key, "stop_token_ids_visible")
                      ? read_ids(r, &s->stop_token_ids_visible)
                  : weir_dec_is(d, &box, key, "stop_token_ids_hidden")
                      ? read_ids(r, &s->stop_token_ids_hidden)
                  : weir_dec_is(d, &box, key, "min_tokens") ? read_int(d, &s->min_tokens)
                  : weir_dec_is(d, &box, key, "ignore_eos") ? read_flag(d, &s->ignore_eos)
                  : weir_dec_is(d, &box, key, "max_thinking_tokens")
                      ? read_int(d, &s->max_thinking_tokens)
                      : weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_sampling_float(struct weir_dec *d, struct weir_dec_box *box, struct weir_span key,
                                struct weir_sampling *s, bool *ret_known) {
    const struct {
        const char *key;
        double *to;
    } floats[] = {{"presence_penalty", &s->presence_penalty},
                  {"frequency_penalty", &s->frequency_penalty},
                  {"repetition_penalty", &s->repetition_penalty},
                  {"temperature", &s->temperature},
                  {"top_p", &s->top_p},
                  {"min_p", &s->min_p},
                  {"length_penalty", &s->length_penalty}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(floats); i++)
        if (weir_dec_is(d, box, key, floats[i].key)) {
            *ret_known = true;
            return read_f64(d, floats[i].to);
        }
    return true;
}

static bool read_sampling(struct reading *r, struct weir_sampling *s) {
    struct weir_dec *d = &r->d;
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool known = false, ok = read_sampling_float(d, &box, key, s, &known);
        int64_t v = 0;
        if (known) {
            if (!ok)
                return false;
            continue;
        }
        if (weir_dec_is(d, &box, key, "n"))
            ok = read_small(d, &s->n);
        else if (weir_dec_is(d, &box, key, "best_of"))
            ok = read_small(d, &s->best_of);
        else if (weir_dec_is_set(d, &box, key, "top_k")) {
            ok = weir_dec_i64(d, &v) && v >= INT32_MIN && v <= INT32_MAX;
            s->has_top_k = ok;
            s->top_k = (int32_t)v;
        } else if (weir_dec_is_set(d, &box, key, "seed")) {
            ok = s->has_seed = weir_dec_i64(d, &s->seed);
        } else if (weir_dec_is(d, &box, key, "include_stop_str_in_output"))
            ok = read_flag(d, &s->include_stop_str_in_output);
        else if (weir_dec_is(d, &box, key, "guided_decoding"))
            ok = weir_dec_json(d, &s->guided_decoding);
        else if (weir_dec_is(d, &box, key, "detokenize"))
            ok = read_flag(d, &s->detokenize);
        else if (weir_dec_is(d, &box, key, "allowed_token_ids"))
            ok = read_ids(r, &s->allowed_token_ids);
        else if (weir_dec_is(d, &box, key, "bad_words_token_ids"))
            ok = weir_dec_json(d, &s->bad_words_token_ids);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    return !weir_dec_failed(d);
}

static bool read_output_options(struct weir_dec *d, struct weir_output_options *o) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok = weir_dec_is(d, &box, key, "logprobs")          ? read_int(d, &o->logprobs)
                  : weir_dec_is(d, &box, key, "prompt_logprobs") ? read_int(d, &o->prompt_logprobs)
                  : weir_dec_is(d, &box, key, "skip_special_tokens")
                      ? read_flag(d, &o->skip_special_tokens)
                  : weir_dec_is(d, &box, key, "formatted_prompt")
                      ? read_flag(d, &o->formatted_prompt)
                  : weir_dec_is(d, &box, key, "return_tokens_as_token_ids")
                      ? read_flag(d, &o->return_tokens_as_token_ids)
                      : weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_id(struct weir_dec *d, bool *ret_has, uint64_t *ret) {
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    return *ret_has = weir_dec_u64(d, ret);
}

static bool read_routing(struct weir_dec *d, struct weir_routing_hints *r) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    r->set = true;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        int64_t v = 0;
        if (weir_dec_is(d, &box, key, "backend_instance_id"))
            ok = read_id(d, &r->has_backend_instance_id, &r->backend_instance_id);
        else if (weir_dec_is(d, &box, key, "prefill_worker_id"))
            ok = read_id(d, &r->has_prefill_worker_id, &r->prefill_worker_id);
        else if (weir_dec_is(d, &box, key, "decode_worker_id"))
            ok = read_id(d, &r->has_decode_worker_id, &r->decode_worker_id);
        else if (weir_dec_is(d, &box, key, "dp_rank"))
            ok = read_int(d, &r->dp_rank);
        else if (weir_dec_is(d, &box, key, "prefill_dp_rank"))
            ok = read_int(d, &r->prefill_dp_rank);
        else if (weir_dec_is(d, &box, key, "expected_output_tokens"))
            ok = read_int(d, &r->expected_output_tokens);
        else if (weir_dec_is(d, &box, key, "lora_name"))
            ok = read_str(d, &r->lora_name);
        else if (weir_dec_is(d, &box, key, "cache_salt"))
            ok = read_str(d, &r->cache_salt);
        else if (weir_dec_is(d, &box, key, "priority_jump"))
            ok = read_f64(d, &r->priority_jump);
        else if (weir_dec_is(d, &box, key, "strict_priority"))
            ok = read_int(d, &r->strict_priority);
        else if (weir_dec_is_set(d, &box, key, "priority")) {
            ok = r->has_priority = weir_dec_i64(d, &v) && v >= INT32_MIN && v <= INT32_MAX;
            r->priority = (int32_t)v;
        } else if (weir_dec_is(d, &box, key, "routing_constraints"))
            ok = weir_dec_json(d, &r->routing_constraints);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    return !weir_dec_failed(d);
}

/* Text with hyphens, or 16 raw bytes. */
static bool read_uuid(struct weir_dec *d, unsigned char ret_id[16]) {
    struct weir_span s;
    if (d->codec == WEIR_CODEC_MSGPACK && weir_mp_peek(&d->m) == WEIR_MP_BIN) {
        if (!weir_mp_bin(&d->m, &s) || s.len != 16)
            return weir_dec_fail(d);
        memcpy(ret_id, s.data, 16);
        return true;
    }
    if (!weir_dec_str(d, &s))
        return false;
    size_t at = 0;
    for (unsigned i = 0; i < 16; i++, at += 2) {
        uint64_t byte = 0;
        if (at < s.len && s.data[at] == '-')
            at++;
        if (s.len < at + 2 || !weir_span_hex64(weir_span(s.data + at, 2), &byte))
            return weir_dec_fail(d);
        ret_id[i] = (unsigned char)byte;
    }
    return at == s.len || weir_dec_fail(d);
}

static bool read_bootstrap(struct weir_dec *d, struct weir_bootstrap *s) {
    struct weir_dec_box box;
    struct weir_span key;
    uint64_t v = 0;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        if (weir_dec_is(d, &box, key, "bootstrap_host"))
            ok = weir_dec_str(d, &s->host);
        else if (weir_dec_is(d, &box, key, "bootstrap_port")) {
            ok = weir_dec_u64(d, &v) && v <= UINT16_MAX;
            s->port = (uint16_t)v;
        } else if (weir_dec_is(d, &box, key, "bootstrap_room"))
            ok = weir_dec_u64(d, &s->room);
        else if (weir_dec_is_set(d, &box, key, "handoff_id"))
            ok = s->has_handoff_id = read_uuid(d, s->handoff_id);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    s->set = s->host.data != NULL;
    return s->set || weir_dec_fail(d);
}

static bool read_member(struct reading *r, struct weir_dec_box *box, struct weir_span key,
                        struct weir_prep_request *q, bool *ret_ids) {
    struct weir_dec *d = &r->d;
    if (weir_dec_is(d, box, key, "token_ids"))
        return *ret_ids = read_ids(r, &q->token_ids) && q->token_ids.ids != NULL;
    if (weir_dec_is_set(d, box, key, "model"))
        return weir_dec_str(d, &q->model);
    if (weir_dec_is_set(d, box, key, "multi_modal_data"))
        return weir_prep_read_media(d, &q->media);
    if (weir_dec_is_set(d, box, key, "multi_modal_uuids"))
        return weir_dec_json(d, &r->uuids);
    if (weir_dec_is_set(d, box, key, "mm_routing_info"))
        return weir_dec_json(d, &q->mm_routing_info) &&
               (weir_prep_read_routing_ids(d, q->mm_routing_info, r->max_ids, &q->mm_routing_ids) ||
                weir_dec_fail(d));
    if (weir_dec_is_set(d, box, key, "stop_conditions"))
        return read_stop(r, &q->stop);
    if (weir_dec_is_set(d, box, key, "sampling_options"))
        return read_sampling(r, &q->sampling);
    if (weir_dec_is_set(d, box, key, "output_options"))
        return read_output_options(d, &q->output);
    if (weir_dec_is_set(d, box, key, "eos_token_ids"))
        return read_ids(r, &q->eos_token_ids);
    if (weir_dec_is_set(d, box, key, "mdc_sum"))
        return weir_dec_str(d, &q->mdc_sum);
    if (weir_dec_is_set(d, box, key, "annotations"))
        return read_strings(d, &q->annotations);
    if (weir_dec_is_set(d, box, key, "routing"))
        return read_routing(d, &q->routing);
    if (weir_dec_is_set(d, box, key, "router_config_override"))
        return weir_dec_json(d, &q->router_config_override);
    if (weir_dec_is_set(d, box, key, "extra_args"))
        return weir_dec_json(d, &q->extra_args);
    if (weir_dec_is_set(d, box, key, "router"))
        return weir_dec_json(d, &q->router);
    if (weir_dec_is_set(d, box, key, "agent_context"))
        return weir_dec_json(d, &q->agent_context);
    if (weir_dec_is_set(d, box, key, "image_cache_scope"))
        return read_str(d, &q->image_cache_scope);
    if (weir_dec_is_set(d, box, key, "mm_processor_kwargs"))
        return weir_dec_json(d, &q->mm_processor_kwargs);
    if (weir_dec_is_set(d, box, key, "media_io_kwargs"))
        return weir_dec_json(d, &q->media_io_kwargs);
    if (weir_dec_is_set(d, box, key, "prefill_result"))
        return weir_dec_json(d, &q->prefill_result);
    if (weir_dec_is_set(d, box, key, "bootstrap_info"))
        return read_bootstrap(d, &q->bootstrap);
    if (weir_dec_is_set(d, box, key, "request_timestamp_ms"))
        return weir_dec_f64(d, &q->request_timestamp_ms);
    if (weir_dec_is_set(d, box, key, "require_reasoning"))
        return weir_dec_bool(d, &q->require_reasoning);
    return weir_dec_skip(d, NULL);
}

#define NO_ROOM "the request does not fit the memory for it"

enum weir_status weir_prep_request_decode(struct weir_span bytes, enum weir_codec codec,
                                          size_t max_tokens_in, struct weir_arena *arena,
                                          struct weir_prep_request *ret_req, struct weir_err *err) {
    struct weir_prep_request q;
    struct reading r = {.max_ids = max_tokens_in};
    struct weir_dec_box box;
    struct weir_span key = {"", 0};
    bool ids = false;
    weir_prep_request_init(&q);
    weir_dec_init(&r.d, codec, bytes, arena);
    bool ok = weir_dec_map(&r.d, &box);
    while (ok && weir_dec_map_next(&r.d, &box, &key))
        ok = read_member(&r, &box, key, &q, &ids);
    if (r.too_many)
        return weir_err_set(err, WEIR_TOO_LARGE, "more than %zu token ids", max_tokens_in);
    if (r.d.nomem)
        return weir_err_set(err, WEIR_NOMEM, NO_ROOM);
    if (!ok)
        return weir_err_set(err, WEIR_INVALID, "unreadable request at member \"%.*s\"",
                            WEIR_SPAN_ARG(key));
    if (!weir_dec_finish(&r.d))
        return weir_err_set(err, WEIR_INVALID, "the request is broken or has bytes behind it");
    if (!ids)
        return weir_err_set(err, WEIR_INVALID, "token_ids is missing");
    if (r.uuids.data != NULL && !weir_prep_name_media(&r.d, &q.media, r.uuids))
        return r.d.nomem ? weir_err_set(err, WEIR_NOMEM, NO_ROOM)
                         : weir_err_set(err, WEIR_INVALID,
                                        "multi_modal_uuids do not belong to the media");
    *ret_req = q;
    return WEIR_OK;
}
