/* `nvext` of an answer: what the client's extra_fields asked to be told of it (shared spec
 * "frontend" 2.5). */
#include "base/json.h"
#include "frontend/request_priv.h"

static void put_worker_ids(struct weir_jsonw *w, const struct weir_leg *leg) {
    uint64_t prefill_id = leg->worker_id;
    uint32_t prefill_rank = leg->dp_rank;
    weir_disagg_worker(leg, &prefill_id, &prefill_rank);
    weir_jsonw_key(w, "worker_id");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "prefill_worker_id");
    weir_jsonw_u64(w, prefill_id);
    weir_jsonw_key(w, "prefill_dp_rank");
    weir_jsonw_u64(w, prefill_rank);
    weir_jsonw_key(w, "decode_worker_id");
    weir_jsonw_u64(w, leg->worker_id);
    weir_jsonw_key(w, "decode_dp_rank");
    weir_jsonw_u64(w, leg->dp_rank);
    weir_jsonw_object_end(w);
}

static void put_timing(struct weir_jsonw *w, const struct weir_request *r,
                       const struct weir_leg *leg) {
    uint64_t now = weir_now_ns();
    double received = (double)weir_wall_ms() - (double)(now - r->start_ns) / 1e6;
    weir_jsonw_key(w, "timing");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "request_received_ms");
    weir_jsonw_u64(w, (uint64_t)received);
    /* Without a queue of its own the wait is the way to the worker; prefill ends with the first
     * token. */
    weir_jsonw_key(w, "prefill_wait_time_ms");
    weir_jsonw_f64(w, (double)(leg->sent_ns - r->start_ns) / 1e6);
    weir_jsonw_key(w, "prefill_time_ms");
    weir_jsonw_f64(
        w, r->first_token_ns > leg->sent_ns ? (double)(r->first_token_ns - leg->sent_ns) / 1e6 : 0);
    weir_jsonw_key(w, "ttft_ms");
    weir_jsonw_f64(w, r->first_token_ns > 0 ? (double)(r->first_token_ns - r->start_ns) / 1e6 : 0);
    weir_jsonw_key(w, "total_time_ms");
    weir_jsonw_f64(w, (double)(now - r->start_ns) / 1e6);
    weir_jsonw_key(w, "kv_hit_rate");
    weir_jsonw_f64(w, weir_leg_hit_rate(leg, leg->overlap_blocks));
    weir_jsonw_key(w, "router_queue_depth");
    weir_jsonw_u64(w, leg->wait.ahead);
    weir_jsonw_object_end(w);
}

static void put_stop_reason(struct weir_jsonw *w, const struct weir_request *r,
                            const struct weir_choice *c) {
    weir_jsonw_key(w, "stop_reason");
    if (c->stop_index >= 0)
        weir_jsonw_string(w, r->q.prep.stop.stop.items[c->stop_index]);
    else if (c->stop_id >= 0)
        weir_jsonw_i64(w, c->stop_id);
    else
        weir_jsonw_raw(w, c->worker_reason);
}

static void put_ids(struct weir_jsonw *w, const char *key, const uint32_t *ids, size_t n) {
    weir_jsonw_key(w, key);
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++)
        weir_jsonw_u64(w, ids[i]);
    weir_jsonw_array_end(w);
}

/* Ids that no chunk has told of yet; all of a whole answer. */
static void put_token_ids(struct weir_jsonw *w, struct weir_leg *leg) {
    const uint32_t *ids = (const uint32_t *)(const void *)leg->emitted.data;
    size_t from = leg->n_ids_given, n = leg->emitted.len / sizeof(*ids);
    leg->n_ids_given = n;
    put_ids(w, "completion_token_ids", n > 0 ? ids + from : ids, n - from);
}

/* Members of engine_data that have a name of their own in the answer. */
static void put_engine_member(struct weir_jsonw *w, struct weir_span data, const char *name) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    weir_json_init(&j, data, 128);
    if (data.data == NULL || weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return;
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value))
        if (weir_json_str_eqz(key, name) && weir_json_type_of(value) != WEIR_JSON_NULL) {
            weir_jsonw_key(w, name);
            weir_jsonw_raw(w, value);
            return;
        }
}

/* Of the fields that the client asked for, those that this piece of the answer has; `last`: nothing
 * follows. */
static uint32_t extras_of(const struct weir_request *r, const struct weir_leg *leg,
                          const struct weir_choice *c, bool last) {
    const uint32_t at_end = WEIR_EXTRA_TIMING | WEIR_EXTRA_STOP_REASON |
                            WEIR_EXTRA_PROMPT_LOGPROBS | WEIR_EXTRA_ROUTED_EXPERTS |
                            WEIR_EXTRA_PROMPT_IDS;
    uint32_t extras = r->q.extras;
    bool has_data = leg->engine_data.data != NULL;
    if (!last)
        extras &= ~at_end;
    if (c->stop_index < 0 && c->stop_id < 0 && c->worker_reason.data == NULL)
        extras &= ~(uint32_t)WEIR_EXTRA_STOP_REASON;
    if (!has_data)
        extras &= ~(uint32_t)(WEIR_EXTRA_PROMPT_LOGPROBS | WEIR_EXTRA_ROUTED_EXPERTS);
    if (!has_data || (r->q.stream && !leg->fresh_data))
        extras &= ~(uint32_t)WEIR_EXTRA_ENGINE_DATA;
    return extras & WEIR_EXTRAS;
}

bool weir_output_nvext_due(const struct weir_leg *leg, const struct weir_choice *c) {
    return extras_of(leg->request, leg, c, false) != 0;
}

struct weir_span weir_output_nvext(struct weir_request *r, struct weir_leg *leg,
                                   const struct weir_choice *c, bool last) {
    uint32_t extras = extras_of(r, leg, c, last);
    bool asks = weir_request_only_asks(r);
    struct weir_ids prompt = {NULL, 0};
    if (extras == 0 && !asks)
        return weir_span(NULL, 0);
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_OUT_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    if (asks) {
        extras = WEIR_EXTRA_WORKER_ID;
        prompt = leg->prompt;
    }
    if ((extras & WEIR_EXTRA_WORKER_ID) != 0)
        put_worker_ids(&w, leg);
    if ((extras & WEIR_EXTRA_TIMING) != 0)
        put_timing(&w, r, leg);
    if ((extras & WEIR_EXTRA_STOP_REASON) != 0)
        put_stop_reason(&w, r, c);
    if ((extras & WEIR_EXTRA_TOKEN_IDS) != 0)
        put_token_ids(&w, leg);
    if ((extras & WEIR_EXTRA_PROMPT_IDS) != 0)
        put_ids(&w, "prompt_token_ids", leg->prompt.ids, leg->prompt.n);
    if ((extras & WEIR_EXTRA_ENGINE_DATA) != 0) {
        weir_jsonw_key(&w, "engine_data");
        weir_jsonw_raw(&w, leg->engine_data);
        leg->fresh_data = false;
    }
    if ((extras & WEIR_EXTRA_PROMPT_LOGPROBS) != 0)
        put_engine_member(&w, leg->engine_data, "prompt_logprobs");
    if ((extras & WEIR_EXTRA_ROUTED_EXPERTS) != 0)
        put_engine_member(&w, leg->engine_data, "routed_experts");
    if (prompt.ids != NULL)
        put_ids(&w, "token_ids", prompt.ids, prompt.n);
    weir_jsonw_object_end(&w);
    struct weir_span json = w.status == WEIR_OK && out.len > 2
                                ? weir_arena_copy(&r->arena, weir_buf_span(&out))
                                : weir_span(NULL, 0);
    weir_buf_fini(&out);
    return json;
}
