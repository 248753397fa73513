/* A PreprocessedRequest as bytes: the order of keys and which of them are null when unset is the
 * reference's. */
#include "wire/request_priv.h"

#include <math.h>

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

static void put_media(struct weir_enc *e, struct weir_enc_box *b,
                      const struct weir_prep_request *req) {
    weir_prep_put_media(e, b, &req->media);
    key_json(e, b, "mm_routing_info", req->mm_routing_info);
}

void weir_prep_put_tail(struct weir_enc *e, struct weir_enc_box *b,
                        const struct weir_prep_request *req) {
    put_media(e, b, req);
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
    if (req->require_reasoning) {
        weir_enc_key(e, b, "require_reasoning");
        weir_enc_bool(e, true);
    }
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
