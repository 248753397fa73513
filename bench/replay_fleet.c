#include "bench/replay_fleet.h"

#include "base/mem.h"

/* Prompts are hashed in batches of about so many tokens. */
enum { BATCH_TOKENS = 8 << 20 };

struct hashes {
    struct kvc_replay_request *requests; /* all owned */
    uint64_t *offsets;                   /* of blocks */
    uint64_t *sequence;
    uint64_t *token_offsets; /* of a batch, as all below */
    uint32_t *tokens;
    uint64_t *local;
};

static void fini(struct hashes *h) {
    weir_free(h->requests);
    weir_free(h->offsets);
    weir_free(h->sequence);
    weir_free(h->token_offsets);
    weir_free(h->tokens);
    weir_free(h->local);
}

/* The request behind the last one of a batch that begins with `from`. */
static size_t batch_end(const struct weir_replay_setup *s, size_t from, size_t *ret_tokens) {
    size_t n = s->trace->lines[from].input_tokens, to = from + 1;
    while (to < s->n_requests && n + s->trace->lines[to].input_tokens <= BATCH_TOKENS)
        n += s->trace->lines[to++].input_tokens;
    *ret_tokens = n;
    return to;
}

static enum weir_status set_up(struct hashes *h, const struct weir_replay_setup *s) {
    size_t most = 0;
    h->requests = weir_calloc(s->n_requests, sizeof(*h->requests));
    h->offsets = weir_calloc(s->n_requests + 1, sizeof(*h->offsets));
    h->token_offsets = weir_calloc(s->n_requests + 1, sizeof(*h->token_offsets));
    if (h->requests == NULL || h->offsets == NULL || h->token_offsets == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; i < s->n_requests; i++) {
        const struct weir_trace_line *line = &s->trace->lines[i];
        h->requests[i] = (struct kvc_replay_request){line->timestamp_ms, line->input_tokens,
                                                     line->output_tokens};
        h->offsets[i + 1] = h->offsets[i] + line->input_tokens / s->engine.block_size;
    }
    for (size_t i = 0, n; i < s->n_requests;) {
        i = batch_end(s, i, &n);
        most = n > most ? n : most;
    }
    h->sequence = weir_calloc(h->offsets[s->n_requests] + 1, sizeof(*h->sequence));
    h->tokens = weir_calloc(most, sizeof(*h->tokens));
    h->local = weir_calloc(most / s->engine.block_size + 1, sizeof(*h->local));
    return h->sequence != NULL && h->tokens != NULL && h->local != NULL ? WEIR_OK : WEIR_NOMEM;
}

static enum kvc_status hash_all(struct hashes *h, struct kvc *k,
                                const struct weir_replay_setup *s) {
    enum kvc_status st = KVC_OK;
    for (size_t from = 0, to, n; from < s->n_requests && st == KVC_OK; from = to) {
        to = batch_end(s, from, &n);
        h->token_offsets[0] = 0;
        for (size_t i = from; i < to; i++) {
            weir_replay_tokens(s, i, h->tokens + h->token_offsets[i - from]);
            h->token_offsets[i - from + 1] =
                h->token_offsets[i - from] + s->trace->lines[i].input_tokens;
        }
        const struct kvc_prompts p = {.tokens = h->tokens,
                                      .offsets = h->token_offsets,
                                      .n = to - from,
                                      .block_size = s->engine.block_size};
        st = kvc_hash(k, &p, h->local, h->sequence + h->offsets[from]);
    }
    return st;
}

enum weir_status weir_replay_fleet_trace(struct kvc *k, const struct weir_replay_setup *s,
                                         struct kvc_trace **ret, struct weir_err *err) {
    struct hashes h = {.requests = NULL};
    enum weir_status st = set_up(&h, s);
    if (st != WEIR_OK) {
        weir_err_set(err, st, "%s", weir_status_text(st));
    } else {
        enum kvc_status status = hash_all(&h, k, s);
        const struct kvc_replay_prompts p = {.requests = h.requests,
                                             .offsets = h.offsets,
                                             .sequence = h.sequence,
                                             .n = s->n_requests,
                                             .block_size = s->engine.block_size};
        if (status == KVC_OK)
            status = kvc_trace_create(k, &p, ret);
        if (status != KVC_OK)
            st = weir_err_set(err, status == KVC_NOMEM ? WEIR_NOMEM : WEIR_INVALID,
                              "the trace cannot be prepared: %s", kvc_status_text(status));
    }
    fini(&h);
    return st;
}

enum kvc_replay_mode weir_replay_fleet_mode(enum weir_router_mode mode) {
    switch (mode) {
    case WEIR_ROUTE_KV:
        return KVC_REPLAY_KV;
    case WEIR_ROUTE_RANDOM:
        return KVC_REPLAY_RANDOM;
    case WEIR_ROUTE_POWER_OF_TWO:
        return KVC_REPLAY_POWER_OF_TWO;
    case WEIR_ROUTE_LEAST_LOADED:
    case WEIR_ROUTE_DEVICE_AWARE:
        return KVC_REPLAY_LEAST_LOADED;
    case WEIR_ROUTE_ROUND_ROBIN:
    case WEIR_ROUTE_DIRECT:
        break;
    }
    return KVC_REPLAY_ROUND_ROBIN;
}

struct kvc_policy weir_replay_fleet_policy(const struct weir_router_config *r) {
    return (struct kvc_policy){.kind = r->policy == WEIR_SELECT_LMETRIC ? KVC_REPLAY_LMETRIC
                                       : r->policy == WEIR_SELECT_FLEET ? KVC_REPLAY_FLEET
                                                                        : KVC_REPLAY_LINEAR,
                               .recompute_weight = r->recompute_weight,
                               .churn_weight = r->churn_weight,
                               .decode_block_weight = r->decode_block_weight};
}

struct kvc_cost_params weir_replay_fleet_cost(const struct weir_router_config *r) {
    return (struct kvc_cost_params){.block_size = r->block_size,
                                    .track_prefill_tokens = r->track_prefill_tokens,
                                    .overlap_score_credit = r->overlap_score_credit,
                                    .overlap_credit_decay = r->overlap_credit_decay,
                                    .prefill_load_scale = r->prefill_load_scale,
                                    .decode_active_request_weight = r->decode_active_request_weight,
                                    .host_weight = r->host_cache_hit_weight,
                                    .disk_weight = r->disk_cache_hit_weight};
}

enum weir_status weir_replay_fleet_config(const struct weir_replay_setup *s,
                                          enum weir_router_mode mode, struct kvc_replay_config *ret,
                                          struct weir_err *err) {
    const struct weir_router_config *r = &s->router;
    const struct weir_engine_config *e = &s->engine;
    if (s->queues || r->affinity_ttl_ms > 0 || r->tenant_window_ms > 0 || e->max_model_len > 0 ||
        !e->prefix_caching || !e->chunked_prefill || e->speedup < 1 || e->speedup > 1 ||
        e->decode_speedup < 1 || e->decode_speedup > 1)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "a grid knows no queue, sessions or tenants: replay such a "
                            "configuration alone");
    *ret = (struct kvc_replay_config){.mode = weir_replay_fleet_mode(mode),
                                      .n_workers = s->n_workers,
                                      .n_blocks = e->n_blocks,
                                      .max_num_seqs = e->max_num_seqs,
                                      .max_num_batched_tokens = e->max_num_batched_tokens,
                                      .trace_speedup = s->trace_speedup,
                                      .prefill_tokens_per_s = e->prefill_tokens_per_s,
                                      .decode_base_ms = e->decode_base_ms,
                                      .decode_per_request_ms = e->decode_per_request_ms,
                                      .cost = weir_replay_fleet_cost(r),
                                      .policy = weir_replay_fleet_policy(r),
                                      .churn_half_life_s = r->churn_half_life_s,
                                      .temperature = r->temperature,
                                      .use_kv_events = r->use_kv_events,
                                      .track_active_blocks = r->track_active_blocks,
                                      .assume_kv_reuse = r->assume_kv_reuse,
                                      .ttl_s = r->ttl_s,
                                      .busy_decode_blocks = s->thresholds.decode_blocks,
                                      .busy_prefill_tokens_frac = s->thresholds.prefill_tokens_frac,
                                      .busy_prefill_tokens = s->thresholds.prefill_tokens,
                                      .seed = s->seed};
    return WEIR_OK;
}

void weir_replay_fleet_outcomes(const struct weir_replay_setup *s,
                                const struct kvc_replay_outcome *outcomes,
                                struct weir_replay_outcome *ret) {
    for (size_t i = 0; i < s->n_requests; i++) {
        const struct kvc_replay_outcome *o = &outcomes[i];
        ret[i] = (struct weir_replay_outcome){.due_us = weir_replay_due_us(s, i),
                                              .refused = o->worker == UINT32_MAX};
        if (ret[i].refused)
            continue;
        ret[i].first_us = o->first_us;
        ret[i].end_us = o->end_us;
        ret[i].worker = o->worker;
        ret[i].cached_tokens = o->cached_tokens;
    }
}
