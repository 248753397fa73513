#include "bench/replay_setup.h"

#include "router/options.h"

enum weir_status weir_replay_load(const struct weir_replay_options *o, struct weir_trace *ret,
                                  struct weir_err *err) {
    enum weir_status st = weir_trace_load(o->trace, (uint32_t)o->trace_block, ret, err);
    if (st == WEIR_OK && o->trace_spread)
        weir_trace_spread(ret);
    return st;
}

void weir_replay_fill_router(const struct weir_replay_options *o, struct weir_replay_setup *s) {
    weir_router_config_init(&s->router);
    WEIR_ROUTER_CONFIG_TAKE(o, &s->router);
    s->router.queue_threshold = o->router_queue_threshold;
    s->router.index_max_bytes = (size_t)16 << 30;
    s->thresholds = (struct weir_busy_thresholds)WEIR_ROUTER_THRESHOLDS(o);
}

struct weir_replay_setup weir_replay_setup_of(const struct weir_replay_options *o,
                                              const struct weir_trace *trace) {
    size_t n = trace->n_lines;
    if (o->limit != WEIR_CONFIG_NONE && (size_t)o->limit < n)
        n = (size_t)o->limit;
    struct weir_replay_setup s = {
        .trace = trace,
        .n_requests = n,
        .trace_block = (uint32_t)o->trace_block,
        .trace_speedup = o->trace_speedup,
        .n_workers = (uint32_t)o->workers,
        .engine = {.block_size = (uint32_t)o->block_size,
                   .n_blocks = (uint32_t)o->kv_blocks,
                   .max_num_seqs = (uint32_t)o->max_num_seqs,
                   .max_num_batched_tokens = (uint32_t)o->max_num_batched_tokens,
                   .max_waiting = UINT32_MAX,
                   .prefix_caching = true,
                   .chunked_prefill = true,
                   .prefill_tokens_per_s = o->prefill_tokens_per_s,
                   .decode_base_ms = o->decode_base_ms,
                   .decode_per_request_ms = o->decode_per_request_ms,
                   .speedup = 1,
                   .decode_speedup = 1},
        .seed = (uint64_t)o->seed};
    weir_replay_fill_router(o, &s);
    return s;
}
