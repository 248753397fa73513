/* The `nvext` member, whose shape is right: routing hints and what the answer shall tell about
 * itself. */
#include "wire/openai_priv.h"

#include <stdio.h>
#include <string.h>

static bool read_strings(struct weir_openai_reading *r, struct weir_span raw,
                         struct weir_strings *ret) {
    struct weir_json j;
    struct weir_json_str s;
    size_t n = 0, room = 1;
    for (size_t i = 0; i < raw.len; i++)
        room += raw.data[i] == ',';
    struct weir_span *items = weir_arena_alloc(r->arena, room * sizeof(*items));
    if (items == NULL)
        return weir_openai_nomem(r);
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_string(&j, &s)) {
        items[n] = weir_json_text(s, r->arena);
        if (items[n++].data == NULL)
            return weir_openai_nomem(r);
    }
    *ret = (struct weir_strings){items, n, true};
    return true;
}

static bool read_annotations(struct weir_openai_reading *r, struct weir_span raw) {
    static const struct {
        const char *name;
        uint32_t bit;
    } known[] = {{"request_id", WEIR_ANNOTATE_REQUEST_ID},
                 {"formatted_prompt", WEIR_ANNOTATE_FORMATTED_PROMPT},
                 {"token_ids", WEIR_ANNOTATE_TOKEN_IDS}};
    struct weir_strings *list = &r->req->prep.annotations;
    if (!read_strings(r, raw, list))
        return false;
    for (size_t i = 0; i < list->n; i++) {
        for (size_t k = 0; k < WEIR_ARRAY_LEN(known); k++)
            if (weir_span_eqz(list->items[i], known[k].name))
                r->req->extras |= known[k].bit;
        if (weir_span_starts(list->items[i], WEIR_SPAN_LIT("query_instance_id:")))
            r->req->extras |= WEIR_ANNOTATE_QUERY_INSTANCE;
    }
    return true;
}

static bool read_extra_fields(struct weir_openai_reading *r, struct weir_span raw) {
    static const struct {
        const char *name;
        uint32_t bit;
    } known[] = {{"worker_id", WEIR_EXTRA_WORKER_ID},
                 {"timing", WEIR_EXTRA_TIMING},
                 {"stop_reason", WEIR_EXTRA_STOP_REASON},
                 {"completion_token_ids", WEIR_EXTRA_TOKEN_IDS},
                 {"prompt_token_ids", WEIR_EXTRA_PROMPT_IDS},
                 {"engine_data", WEIR_EXTRA_ENGINE_DATA},
                 {"prompt_logprobs", WEIR_EXTRA_PROMPT_LOGPROBS},
                 {"routed_experts", WEIR_EXTRA_ROUTED_EXPERTS}};
    struct weir_strings list;
    r->req->extra_fields = raw;
    if (!read_strings(r, raw, &list))
        return false;
    for (size_t i = 0; i < list.n; i++)
        for (size_t k = 0; k < WEIR_ARRAY_LEN(known); k++)
            if (weir_span_eqz(list.items[i], known[k].name))
                r->req->extras |= known[k].bit;
    return true;
}

static bool read_worker(struct weir_openai_reading *r, struct weir_span raw, bool *has,
                        uint64_t *ret) {
    r->req->prep.routing.set = true;
    return *has = weir_span_u64(raw, ret);
}

static bool read_hint(struct weir_openai_reading *r, struct weir_json_str key,
                      struct weir_span raw) {
    struct weir_routing_hints *h = &r->req->prep.routing;
    int64_t v = 0;
    if (weir_json_str_eqz(key, "priority")) {
        (void)weir_span_i64(raw, &v);
        h->set = h->has_priority = true;
        h->priority = (int32_t)v;
        h->priority_jump = v > 0 ? (double)v : 0;
    } else if (weir_json_str_eqz(key, "strict_priority")) {
        h->set = true;
        return weir_span_i64(raw, &h->strict_priority);
    } else if (weir_json_str_eqz(key, "latency_sensitivity") && !h->has_priority) {
        h->set = true; /* the former name of a priority */
        return weir_span_f64(raw, &h->priority_jump);
    } else if (weir_json_str_eqz(key, "speculative_prefill")) {
        r->req->speculative_prefill = weir_span_eqz(raw, "true");
    } else if (weir_json_str_eqz(key, "osl")) {
        h->set = true;
        return weir_span_i64(raw, &h->expected_output_tokens);
    }
    return true;
}

/* The members of an object that are not null. */
static bool each(struct weir_openai_reading *r, struct weir_span raw,
                 bool (*member)(struct weir_openai_reading *r, struct weir_json_str key,
                                struct weir_span raw)) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT)
        return true;
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value))
        if (weir_json_type_of(value) != WEIR_JSON_NULL && !member(r, key, value))
            return false;
    return true;
}

static bool read_routed(struct weir_openai_reading *r, struct weir_json_str key,
                        struct weir_span raw) {
    struct weir_routing_hints *h = &r->req->prep.routing;
    if (weir_json_str_eqz(key, "backend_instance_id"))
        return read_worker(r, raw, &h->has_backend_instance_id, &h->backend_instance_id);
    if (weir_json_str_eqz(key, "prefill_worker_id"))
        return read_worker(r, raw, &h->has_prefill_worker_id, &h->prefill_worker_id);
    if (weir_json_str_eqz(key, "decode_worker_id"))
        return read_worker(r, raw, &h->has_decode_worker_id, &h->decode_worker_id);
    h->set = true;
    if (weir_json_str_eqz(key, "dp_rank"))
        return weir_span_i64(raw, &h->dp_rank);
    if (weir_json_str_eqz(key, "prefill_dp_rank"))
        return weir_span_i64(raw, &h->prefill_dp_rank);
    h->routing_constraints = raw;
    struct weir_span taints;
    if (weir_json_member(raw, "required_taints", &taints))
        r->req->has_required_taints = !weir_raw_is_empty_list(taints);
    return true;
}

static bool read_bool(struct weir_span raw, bool *ret) {
    *ret = weir_span_eqz(raw, "true");
    return true;
}

static bool read_member(struct weir_openai_reading *r, struct weir_json_str key,
                        struct weir_span raw) {
    if (weir_json_str_eqz(key, "cache_salt"))
        return weir_raw_string(r, raw, &r->cache_salt);
    if (r->drop_nvext)
        return true;
    if (weir_json_str_eqz(key, "annotations"))
        return read_annotations(r, raw);
    if (weir_json_str_eqz(key, "extra_fields"))
        return read_extra_fields(r, raw);
    if (weir_json_str_eqz(key, "token_data"))
        return r->req->has_token_data = weir_raw_ids(r, raw, &r->req->token_data);
    if (weir_json_str_eqz(key, "metadata_upload")) {
        r->req->metadata_upload = raw;
        return true;
    }
    if (weir_json_str_eqz(key, "use_raw_prompt"))
        return read_bool(raw, &r->req->use_raw_prompt);
    if (weir_json_str_eqz(key, "greed_sampling"))
        return read_bool(raw, &r->greedy);
    if (weir_json_str_eqz(key, "max_thinking_tokens"))
        return weir_span_i64(raw, &r->req->prep.stop.max_thinking_tokens);
    if (weir_json_str_eqz(key, "agent_hints"))
        return each(r, raw, read_hint);
    if (weir_json_str_eqz(key, "request_timestamp_ms"))
        return weir_span_f64(raw, &r->req->prep.request_timestamp_ms);
    if (weir_json_str_eqz(key, "router")) {
        r->req->prep.router = raw;
        return true;
    }
    return read_routed(r, key, raw);
}

bool weir_openai_read_nvext(struct weir_openai_reading *r, struct weir_span raw) {
    return each(r, raw, read_member);
}
