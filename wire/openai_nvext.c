/*
 * The `nvext` member: routing hints and what the answer shall tell about itself. It is read where
 * it stands, so errors carry their true position.
 */
#include "wire/openai_priv.h"

#include <stdio.h>
#include <string.h>

#define NVEXT_NAMES                                                                                \
    "`greed_sampling`, `use_raw_prompt`, `annotations`, `backend_instance_id`, `token_data`, "     \
    "`max_thinking_tokens`, `cache_salt`, `extra_fields`, `metadata_upload`, "                     \
    "`prefill_worker_id`, `decode_worker_id`, `dp_rank`, `prefill_dp_rank`, `agent_hints`, "       \
    "`request_timestamp_ms`, `routing_constraints`, `router`"
#define HINT_NAMES                                                                                 \
    "`priority`, `strict_priority`, `osl`, `speculative_prefill`, `latency_sensitivity`"

/* Offset of the byte behind a value, in the whole body. */
static size_t behind(const struct weir_openai_reading *r, struct weir_span raw) {
    return (size_t)(raw.data + raw.len - r->body.data);
}

static bool read_strings(struct weir_openai_reading *r, struct weir_span raw,
                         struct weir_strings *ret) {
    struct weir_json j;
    size_t n = 0, room = 1;
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, behind(r, raw), raw, "a sequence");
    for (size_t i = 0; i < raw.len; i++)
        room += raw.data[i] == ',';
    struct weir_span *items = weir_arena_alloc(r->arena, room * sizeof(*items));
    if (items == NULL)
        return weir_openai_nomem(r);
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        struct weir_span item;
        if (!weir_json_skip(&j, &item) || !weir_raw_string(r, behind(r, item), item, &items[n++]))
            return false;
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
                 {"engine_data", WEIR_EXTRA_ENGINE_DATA},
                 {"prompt_logprobs", WEIR_EXTRA_PROMPT_LOGPROBS},
                 {"routed_experts", WEIR_EXTRA_ROUTED_EXPERTS}};
    struct weir_strings list;
    if (!read_strings(r, raw, &list))
        return false;
    for (size_t i = 0; i < list.n; i++)
        for (size_t k = 0; k < WEIR_ARRAY_LEN(known); k++)
            if (weir_span_eqz(list.items[i], known[k].name))
                r->req->extras |= known[k].bit;
    return true;
}

static bool read_token_data(struct weir_openai_reading *r, struct weir_span raw) {
    struct weir_json j;
    if (weir_raw_type(raw) != WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, behind(r, raw), raw, "a sequence");
    if (weir_raw_ids(r, raw, &r->req->token_data)) {
        r->req->has_token_data = true;
        return true;
    }
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (!r->failed && weir_json_array_next(&j)) {
        struct weir_span item;
        int64_t ignored;
        if (!weir_json_skip(&j, &item) ||
            !weir_raw_int(r, behind(r, item), item, "u32", 0, UINT32_MAX, &ignored))
            return false;
    }
    return false;
}

static bool read_worker(struct weir_openai_reading *r, struct weir_span raw, bool *has,
                        uint64_t *ret) {
    r->req->prep.routing.set = true;
    return *has = weir_raw_u64(r, behind(r, raw), raw, ret);
}

static bool read_u32(struct weir_openai_reading *r, struct weir_span raw, int64_t *ret) {
    return weir_raw_int(r, behind(r, raw), raw, "u32", 0, UINT32_MAX, ret);
}

static bool read_hint(struct weir_openai_reading *r, struct weir_json_str key,
                      struct weir_span raw) {
    struct weir_routing_hints *h = &r->req->prep.routing;
    int64_t v = 0;
    bool flag;
    double number;
    if (weir_raw_type(raw) == WEIR_JSON_NULL)
        return true;
    if (weir_json_str_eqz(key, "priority")) {
        if (!weir_raw_int(r, behind(r, raw), raw, "i32", INT32_MIN, INT32_MAX, &v))
            return false;
        h->set = h->has_priority = true;
        h->priority = (int32_t)v;
        h->priority_jump = v > 0 ? (double)v : 0;
        return true;
    }
    if (weir_json_str_eqz(key, "strict_priority")) {
        h->set = true;
        return read_u32(r, raw, &h->strict_priority);
    }
    if (weir_json_str_eqz(key, "osl")) {
        h->set = true;
        return read_u32(r, raw, &h->expected_output_tokens);
    }
    if (weir_json_str_eqz(key, "speculative_prefill"))
        return weir_raw_bool(r, behind(r, raw), raw, &flag);
    return weir_raw_f64(r, behind(r, raw), raw, "f64", &number);
}

/* Walks an object whose members are closed; `names` lists them for the refusal. */
static bool read_closed(struct weir_openai_reading *r, struct weir_span raw, const char *type,
                        const char *names,
                        bool (*member)(struct weir_openai_reading *r, struct weir_json_str key,
                                       struct weir_span raw)) {
    struct weir_json j;
    struct weir_json_str key;
    if (weir_raw_type(raw) == WEIR_JSON_ARRAY)
        return true; /* serde reads a sequence into a struct whose members are all optional */
    if (weir_raw_type(raw) != WEIR_JSON_OBJECT)
        return weir_openai_fail_type(r, behind(r, raw), raw, type);
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key)) {
        struct weir_span value;
        char quoted[128];
        struct weir_span name = weir_json_text(key, r->arena);
        int n = snprintf(quoted, sizeof(quoted), "`%.*s`", (int)(name.len < 100 ? name.len : 100),
                         name.data != NULL ? name.data : "");
        if (n < 0 || strstr(names, quoted) == NULL)
            return weir_openai_fail_at(r, behind(r, key.raw) + 1,
                                       "unknown field %s, expected one of %s", quoted, names);
        if (!weir_json_skip(&j, &value) || !member(r, key, value))
            return false;
    }
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
        return read_u32(r, raw, &h->dp_rank);
    if (weir_json_str_eqz(key, "prefill_dp_rank"))
        return read_u32(r, raw, &h->prefill_dp_rank);
    h->routing_constraints = raw;
    struct weir_span taints;
    struct weir_json j;
    if (weir_raw_get(raw, "required_taints", &taints) && weir_raw_type(taints) == WEIR_JSON_ARRAY) {
        weir_json_init(&j, taints, WEIR_OPENAI_DEPTH);
        weir_json_array_enter(&j);
        r->req->has_required_taints = weir_json_array_next(&j);
    }
    return true;
}

static bool read_member(struct weir_openai_reading *r, struct weir_json_str key,
                        struct weir_span raw) {
    double number;
    bool flag;
    if (weir_raw_type(raw) == WEIR_JSON_NULL)
        return true;
    if (weir_json_str_eqz(key, "annotations"))
        return read_annotations(r, raw);
    if (weir_json_str_eqz(key, "extra_fields"))
        return read_extra_fields(r, raw);
    if (weir_json_str_eqz(key, "token_data"))
        return read_token_data(r, raw);
    if (weir_json_str_eqz(key, "cache_salt"))
        return weir_raw_string(r, behind(r, raw), raw, &r->cache_salt);
    if (weir_json_str_eqz(key, "use_raw_prompt"))
        return weir_raw_bool(r, behind(r, raw), raw, &r->req->use_raw_prompt);
    if (weir_json_str_eqz(key, "greed_sampling")) {
        if (!weir_raw_bool(r, behind(r, raw), raw, &flag))
            return false;
        if (flag)
            r->temperature_text = WEIR_SPAN_LIT("greedy");
        return true;
    }
    if (weir_json_str_eqz(key, "max_thinking_tokens"))
        return read_u32(r, raw, &r->req->prep.stop.max_thinking_tokens);
    if (weir_json_str_eqz(key, "agent_hints"))
        return read_closed(r, raw, "struct AgentHints", HINT_NAMES, read_hint);
    if (weir_json_str_eqz(key, "request_timestamp_ms")) {
        if (!weir_raw_f64(r, behind(r, raw), raw, "f64", &number))
            return false;
        r->req->prep.request_timestamp_ms = number;
        return true;
    }
    if (weir_json_str_eqz(key, "router")) {
        r->req->prep.router = raw;
        return true;
    }
    if (weir_json_str_eqz(key, "metadata_upload"))
        return true;
    return read_routed(r, key, raw);
}

bool weir_openai_read_nvext(struct weir_openai_reading *r, struct weir_span raw) {
    r->nvext = raw;
    return read_closed(r, raw, "struct NvExt", NVEXT_NAMES, read_member);
}
