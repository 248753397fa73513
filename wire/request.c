#include "wire/request_priv.h"

#include <math.h>
#include <string.h>

void weir_prep_request_init(struct weir_prep_request *req) {
    *req = (struct weir_prep_request){
        .stop = {.max_tokens = -1, .min_tokens = -1, .ignore_eos = -1, .max_thinking_tokens = -1},
        .sampling = {.n = -1,
                     .best_of = -1,
                     .presence_penalty = NAN,
                     .frequency_penalty = NAN,
                     .repetition_penalty = NAN,
                     .temperature = NAN,
                     .top_p = NAN,
                     .min_p = NAN,
                     .length_penalty = NAN,
                     .include_stop_str_in_output = -1,
                     .detokenize = -1},
        .output = {.logprobs = -1,
                   .prompt_logprobs = -1,
                   .skip_special_tokens = -1,
                   .formatted_prompt = -1,
                   .return_tokens_as_token_ids = -1},
        .routing = {.dp_rank = -1,
                    .prefill_dp_rank = -1,
                    .expected_output_tokens = -1,
                    .priority_jump = NAN,
                    .strict_priority = -1},
        .request_timestamp_ms = NAN};
}

/* ---- writing: the order of keys and which of them are null when unset is the reference's ---- */

static void key_int(struct weir_enc *e, struct weir_enc_box *b, const char *key, int64_t v) {
    weir_enc_key(e, b, key);
    if (v < 0)
        weir_enc_null(e);
    else
        weir_enc_i64(e, v);
}

static void key_bool(struct weir_enc *e, struct weir_enc_box *b, const char *key, int v) {
    weir_enc_key(e, b, key);
    if (v < 0)
        weir_enc_null(e);
    else
        weir_enc_bool(e, v != 0);
}

static void key_f64(struct weir_enc *e, struct weir_enc_box *b, const char *key, double v) {
    weir_enc_key(e, b, key);
    weir_enc_f64(e, v);
}

static void key_str(struct weir_enc *e, struct weir_enc_box *b, const char *key,
                    struct weir_span v) {
    weir_enc_key(e, b, key);
    weir_enc_str(e, v);
}

static void key_ids(struct weir_enc *e, struct weir_enc_box *b, const char *key,
                    struct weir_ids ids) {
    weir_enc_key(e, b, key);
    if (ids.ids == NULL)
        weir_enc_null(e);
    else
        weir_enc_ids(e, ids.ids, ids.n);
}

static void put_strings(struct weir_enc *e, struct weir_strings s) {
    weir_enc_array(e, (uint32_t)s.n);
    for (size_t i = 0; i < s.n; i++)
        weir_enc_str(e, s.items[i]);
    weir_enc_array_end(e);
}

static void put_stop(struct weir_enc *e, const struct weir_stop_conditions *s) {
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    key_int(e, &b, "max_tokens", s->max_tokens);
    weir_enc_key(e, &b, "stop");
    if (s->stop.set)
        put_strings(e, s->stop);
    else
        weir_enc_null(e);
    key_ids(e, &b, "stop_token_ids", s->stop_token_ids);
    key_ids(e, &b, "stop_token_ids_visible", s->stop_token_ids_visible);
    key_ids(e, &b, "stop_token_ids_hidden", s->stop_token_ids_hidden);
    key_int(e, &b, "min_tokens", s->min_tokens);
    key_bool(e, &b, "ignore_eos", s->ignore_eos);
    key_int(e, &b, "max_thinking_tokens", s->max_thinking_tokens);
    weir_enc_map_end(e, &b);
}

static void put_sampling(struct weir_enc *e, const struct weir_sampling *s) {
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    key_int(e, &b, "n", s->n);
    key_int(e, &b, "best_of", s->best_of);
    key_f64(e, &b, "presence_penalty", s->presence_penalty);
    key_f64(e, &b, "frequency_penalty", s->frequency_penalty);
    key_f64(e, &b, "repetition_penalty", s->repetition_penalty);
    key_f64(e, &b, "temperature", s->temperature);
    key_f64(e, &b, "top_p", s->top_p);
    weir_enc_key(e, &b, "top_k");
    if (s->has_top_k)
        weir_enc_i64(e, s->top_k);
    else
        weir_enc_null(e);
    key_f64(e, &b, "min_p", s->min_p);
    key_bool(e, &b, "use_beam_search", -1);
    key_f64(e, &b, "length_penalty", s->length_penalty);
    weir_enc_key(e, &b, "seed");
    if (s->has_seed)
        weir_enc_i64(e, s->seed);
    else
        weir_enc_null(e);
    key_bool(e, &b, "include_stop_str_in_output", s->include_stop_str_in_output);
    weir_enc_key(e, &b, "guided_decoding");
    if (s->guided_decoding.data != NULL)
        weir_enc_json(e, s->guided_decoding);
    else
        weir_enc_null(e);
    if (s->detokenize >= 0)
        key_bool(e, &b, "detokenize", s->detokenize);
    if (s->allowed_token_ids.ids != NULL)
        key_ids(e, &b, "allowed_token_ids", s->allowed_token_ids);
    if (s->bad_words_token_ids.data != NULL) {
        weir_enc_key(e, &b, "bad_words_token_ids");
        weir_enc_json(e, s->bad_words_token_ids);
    }
    weir_enc_map_end(e, &b);
}

static void put_output_options(struct weir_enc *e, const struct weir_output_options *o) {
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    key_int(e, &b, "logprobs", o->logprobs);
    key_int(e, &b, "prompt_logprobs", o->prompt_logprobs);
    key_bool(e, &b, "skip_special_tokens", o->skip_special_tokens);
    key_bool(e, &b, "formatted_prompt", o->formatted_prompt);
    key_bool(e, &b, "return_tokens_as_token_ids", o->return_tokens_as_token_ids);
    weir_enc_map_end(e, &b);
}

static void put_routing_ids(struct weir_enc *e, struct weir_enc_box *b,
                            const struct weir_routing_hints *r) {
    const struct {
        const char *key;
        bool has;
        uint64_t v;
    } ids[] = {{"backend_instance_id", r->has_backend_instance_id, r->backend_instance_id},
               {"prefill_worker_id", r->has_prefill_worker_id, r->prefill_worker_id},
               {"decode_worker_id", r->has_decode_worker_id, r->decode_worker_id}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(ids); i++)
        if (ids[i].has) {
            weir_enc_key(e, b, ids[i].key);
            weir_enc_u64(e, ids[i].v);
        }
}

static void put_routing(struct weir_enc *e, const struct weir_routing_hints *r) {
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    put_routing_ids(e, &b, r);
    if (r->dp_rank >= 0)
        key_int(e, &b, "dp_rank", r->dp_rank);
    if (r->prefill_dp_rank >= 0)
        key_int(e, &b, "prefill_dp_rank", r->prefill_dp_rank);
    if (r->expected_output_tokens >= 0)
        key_int(e, &b, "expected_output_tokens", r->expected_output_tokens);
    if (r->lora_name.data != NULL)
        key_str(e, &b, "lora_name", r->lora_name);
    if (r->cache_salt.data != NULL)
        key_str(e, &b, "cache_salt", r->cache_salt);
    if (!isnan(r->priority_jump))
        key_f64(e, &b, "priority_jump", r->priority_jump);
    if (r->strict_priority >= 0)
        key_int(e, &b, "strict_priority", r->strict_priority);
    if (r->has_priority) {
        weir_enc_key(e, &b, "priority");
        weir_enc_i64(e, r->priority);
    }
    if (r->routing_constraints.data != NULL) {
        weir_enc_key(e, &b, "routing_constraints");
        weir_enc_json(e, r->routing_constraints);
    }
    weir_enc_map_end(e, &b);
}

static void key_json(struct weir_enc *e, struct weir_enc_box *b, const char *key,
                     struct weir_span json) {
    if (json.data == NULL)
        return;
    weir_enc_key(e, b, key);
    weir_enc_json(e, json);
}

static void put_uuid(struct weir_enc *e, const unsigned char id[16]) {
    static const char digits[] = "0123456789abcdef";
    char text[36], *p = text;
    if (e->codec == WEIR_CODEC_MSGPACK) {
        weir_mpw_bin(&e->m, weir_span((const char *)id, 16));
        return;
    }
    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[id[i] >> 4];
        *p++ = digits[id[i] & 15];
    }
    weir_enc_str(e, weir_span(text, sizeof(text)));
}

static void put_bootstrap(struct weir_enc *e, const struct weir_bootstrap *s) {
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    key_str(e, &b, "bootstrap_host", s->host);
    key_int(e, &b, "bootstrap_port", s->port);
    weir_enc_key(e, &b, "bootstrap_room");
    weir_enc_u64(e, s->room);
    if (s->has_handoff_id) {
        weir_enc_key(e, &b, "handoff_id");
        put_uuid(e, s->handoff_id);
    }
    weir_enc_map_end(e, &b);
}

void weir_prep_put_head(struct weir_enc *e, struct weir_enc_box *b,
                        const struct weir_prep_request *req, enum weir_codec codec,
                        struct weir_buf *out) {
    weir_enc_init(e, codec, out);
    weir_enc_map(e, b);
    key_str(e, b, "model", req->model);
    weir_enc_key(e, b, "token_ids");
    weir_enc_ids(e, req->token_ids.ids, req->token_ids.n);
}

void weir_prep_put_tail(struct weir_enc *e, struct weir_enc_box *b,
                        const struct weir_prep_request *req) {
    weir_enc_key(e, b, "stop_conditions");
    put_stop(e, &req->stop);
    weir_enc_key(e, b, "sampling_options");
    put_sampling(e, &req->sampling);
    weir_enc_key(e, b, "output_options");
    put_output_options(e, &req->output);
    weir_enc_key(e, b, "eos_token_ids");
    weir_enc_ids(e, req->eos_token_ids.ids, req->eos_token_ids.n);
    key_str(e, b, "mdc_sum", req->mdc_sum);
    weir_enc_key(e, b, "annotations");
    put_strings(e, req->annotations);
    if (req->routing.set) {
        weir_enc_key(e, b, "routing");
        put_routing(e, &req->routing);
    }
    weir_enc_key(e, b, "router_config_override");
    if (req->router_config_override.data != NULL)
        weir_enc_json(e, req->router_config_override);
    else
        weir_enc_null(e);
    key_json(e, b, "prefill_result", req->prefill_result);
    if (req->bootstrap.set) {
        weir_enc_key(e, b, "bootstrap_info");
        put_bootstrap(e, &req->bootstrap);
    }
    key_json(e, b, "extra_args", req->extra_args);
    key_json(e, b, "router", req->router);
    key_json(e, b, "mm_processor_kwargs", req->mm_processor_kwargs);
    key_json(e, b, "media_io_kwargs", req->media_io_kwargs);
    key_json(e, b, "agent_context", req->agent_context);
    if (req->image_cache_scope.data != NULL)
        key_str(e, b, "image_cache_scope", req->image_cache_scope);
    if (!isnan(req->request_timestamp_ms))
        key_f64(e, b, "request_timestamp_ms", req->request_timestamp_ms);
}

enum weir_status weir_prep_request_encode(const struct weir_prep_request *req,
                                          enum weir_codec codec, struct weir_buf *out) {
    struct weir_enc e;
    struct weir_enc_box b;
    weir_prep_put_head(&e, &b, req, codec, out);
    weir_prep_put_tail(&e, &b, req);
    weir_enc_map_end(&e, &b);
    return weir_enc_status(&e);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* What the readers of one request share. */
struct reading {
    struct weir_dec d;
    size_t max_ids;
    bool too_many;
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
    struct weir_dec count = *d;
    struct weir_dec_box box;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    size_t n = 0;
    if (!weir_dec_array(&count, &box))
        return weir_dec_fail(d);
    while (weir_dec_array_next(&count, &box) && weir_dec_skip(&count, NULL))
        n++;
    struct weir_span *items = weir_arena_alloc(d->arena, (n + 1) * sizeof(*items));
    if (items == NULL || weir_dec_failed(&count)) {
        d->nomem = items == NULL;
        return weir_dec_fail(d);
    }
    size_t i = 0;
    if (!weir_dec_array(d, &box))
        return false;
    while (weir_dec_array_next(d, &box))
        if (i == n || !weir_dec_str(d, &items[i++]))
            return weir_dec_fail(d);
    *ret = (struct weir_strings){items, n, true};
    return !weir_dec_failed(d);
}

static bool read_stop(struct reading *r, struct weir_stop_conditions *s) {
    struct weir_dec *d = &r->d;
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok =
            weir_span_eqz(key, "max_tokens")               ? read_int(d, &s->max_tokens)
            : weir_span_eqz(key, "stop")                   ? read_strings(d, &s->stop)
            : weir_span_eqz(key, "stop_token_ids")         ? read_ids(r, &s->stop_token_ids)
            : weir_span_eqz(key, "stop_token_ids_visible") ? read_ids(r, &s->stop_token_ids_visible)
            : weir_span_eqz(key, "stop_token_ids_hidden")  ? read_ids(r, &s->stop_token_ids_hidden)
            : weir_span_eqz(key, "min_tokens")             ? read_int(d, &s->min_tokens)
            : weir_span_eqz(key, "ignore_eos")             ? read_flag(d, &s->ignore_eos)
            : weir_span_eqz(key, "max_thinking_tokens")    ? read_int(d, &s->max_thinking_tokens)
                                                           : weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_sampling_float(struct weir_dec *d, struct weir_span key, struct weir_sampling *s,
                                bool *ret_known) {
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
        if (weir_span_eqz(key, floats[i].key)) {
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
        bool known = false, ok = read_sampling_float(d, key, s, &known);
        int64_t v = 0;
        if (known) {
            if (!ok)
                return false;
            continue;
        }
        if (weir_span_eqz(key, "n"))
            ok = read_small(d, &s->n);
        else if (weir_span_eqz(key, "best_of"))
            ok = read_small(d, &s->best_of);
        else if (weir_span_eqz(key, "top_k") && !weir_dec_is_null(d)) {
            ok = weir_dec_i64(d, &v) && v >= INT32_MIN && v <= INT32_MAX;
            s->has_top_k = ok;
            s->top_k = (int32_t)v;
        } else if (weir_span_eqz(key, "seed") && !weir_dec_is_null(d)) {
            ok = s->has_seed = weir_dec_i64(d, &s->seed);
        } else if (weir_span_eqz(key, "include_stop_str_in_output"))
            ok = read_flag(d, &s->include_stop_str_in_output);
        else if (weir_span_eqz(key, "guided_decoding"))
            ok = weir_dec_json(d, &s->guided_decoding);
        else if (weir_span_eqz(key, "detokenize"))
            ok = read_flag(d, &s->detokenize);
        else if (weir_span_eqz(key, "allowed_token_ids"))
            ok = read_ids(r, &s->allowed_token_ids);
        else if (weir_span_eqz(key, "bad_words_token_ids"))
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
        bool ok = weir_span_eqz(key, "logprobs")          ? read_small(d, &o->logprobs)
                  : weir_span_eqz(key, "prompt_logprobs") ? read_small(d, &o->prompt_logprobs)
                  : weir_span_eqz(key, "skip_special_tokens")
                      ? read_flag(d, &o->skip_special_tokens)
                  : weir_span_eqz(key, "formatted_prompt") ? read_flag(d, &o->formatted_prompt)
                  : weir_span_eqz(key, "return_tokens_as_token_ids")
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
        if (weir_span_eqz(key, "backend_instance_id"))
            ok = read_id(d, &r->has_backend_instance_id, &r->backend_instance_id);
        else if (weir_span_eqz(key, "prefill_worker_id"))
            ok = read_id(d, &r->has_prefill_worker_id, &r->prefill_worker_id);
        else if (weir_span_eqz(key, "decode_worker_id"))
            ok = read_id(d, &r->has_decode_worker_id, &r->decode_worker_id);
        else if (weir_span_eqz(key, "dp_rank"))
            ok = read_int(d, &r->dp_rank);
        else if (weir_span_eqz(key, "prefill_dp_rank"))
            ok = read_int(d, &r->prefill_dp_rank);
        else if (weir_span_eqz(key, "expected_output_tokens"))
            ok = read_int(d, &r->expected_output_tokens);
        else if (weir_span_eqz(key, "lora_name"))
            ok = read_str(d, &r->lora_name);
        else if (weir_span_eqz(key, "cache_salt"))
            ok = read_str(d, &r->cache_salt);
        else if (weir_span_eqz(key, "priority_jump"))
            ok = read_f64(d, &r->priority_jump);
        else if (weir_span_eqz(key, "strict_priority"))
            ok = read_int(d, &r->strict_priority);
        else if (weir_span_eqz(key, "priority") && !weir_dec_is_null(d)) {
            ok = r->has_priority = weir_dec_i64(d, &v) && v >= INT32_MIN && v <= INT32_MAX;
            r->priority = (int32_t)v;
        } else if (weir_span_eqz(key, "routing_constraints"))
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
        if (weir_span_eqz(key, "bootstrap_host"))
            ok = weir_dec_str(d, &s->host);
        else if (weir_span_eqz(key, "bootstrap_port")) {
            ok = weir_dec_u64(d, &v) && v <= UINT16_MAX;
            s->port = (uint16_t)v;
        } else if (weir_span_eqz(key, "bootstrap_room"))
            ok = weir_dec_u64(d, &s->room);
        else if (weir_span_eqz(key, "handoff_id") && !weir_dec_is_null(d))
            ok = s->has_handoff_id = read_uuid(d, s->handoff_id);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    s->set = s->host.data != NULL;
    return s->set || weir_dec_fail(d);
}

static bool read_member(struct reading *r, struct weir_span key, struct weir_prep_request *q,
                        bool *ret_ids) {
    struct weir_dec *d = &r->d;
    if (weir_span_eqz(key, "token_ids"))
        return *ret_ids = read_ids(r, &q->token_ids) && q->token_ids.ids != NULL;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (weir_span_eqz(key, "model"))
        return weir_dec_str(d, &q->model);
    if (weir_span_eqz(key, "stop_conditions"))
        return read_stop(r, &q->stop);
    if (weir_span_eqz(key, "sampling_options"))
        return read_sampling(r, &q->sampling);
    if (weir_span_eqz(key, "output_options"))
        return read_output_options(d, &q->output);
    if (weir_span_eqz(key, "eos_token_ids"))
        return read_ids(r, &q->eos_token_ids);
    if (weir_span_eqz(key, "mdc_sum"))
        return weir_dec_str(d, &q->mdc_sum);
    if (weir_span_eqz(key, "annotations"))
        return read_strings(d, &q->annotations);
    if (weir_span_eqz(key, "routing"))
        return read_routing(d, &q->routing);
    if (weir_span_eqz(key, "router_config_override"))
        return weir_dec_json(d, &q->router_config_override);
    if (weir_span_eqz(key, "extra_args"))
        return weir_dec_json(d, &q->extra_args);
    if (weir_span_eqz(key, "router"))
        return weir_dec_json(d, &q->router);
    if (weir_span_eqz(key, "agent_context"))
        return weir_dec_json(d, &q->agent_context);
    if (weir_span_eqz(key, "image_cache_scope"))
        return read_str(d, &q->image_cache_scope);
    if (weir_span_eqz(key, "mm_processor_kwargs"))
        return weir_dec_json(d, &q->mm_processor_kwargs);
    if (weir_span_eqz(key, "media_io_kwargs"))
        return weir_dec_json(d, &q->media_io_kwargs);
    if (weir_span_eqz(key, "prefill_result"))
        return weir_dec_json(d, &q->prefill_result);
    if (weir_span_eqz(key, "bootstrap_info"))
        return read_bootstrap(d, &q->bootstrap);
    if (weir_span_eqz(key, "request_timestamp_ms"))
        return weir_dec_f64(d, &q->request_timestamp_ms);
    return weir_dec_skip(d, NULL);
}

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
        ok = read_member(&r, key, &q, &ids);
    if (r.too_many)
        return weir_err_set(err, WEIR_TOO_LARGE, "more than %zu token ids", max_tokens_in);
    if (r.d.nomem)
        return weir_err_set(err, WEIR_NOMEM, "the request does not fit the memory for it");
    if (!ok)
        return weir_err_set(err, WEIR_INVALID, "unreadable request at member \"%.*s\"",
                            WEIR_SPAN_ARG(key));
    if (!weir_dec_finish(&r.d))
        return weir_err_set(err, WEIR_INVALID, "the request is broken or has bytes behind it");
    if (!ids)
        return weir_err_set(err, WEIR_INVALID, "token_ids is missing");
    *ret_req = q;
    return WEIR_OK;
}
