/* What an engine says of itself: models, version, load. */
#include "worker/mock_http_priv.h"

#include <stdio.h>
#include <time.h>

void weir_mock_put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

void weir_mock_put_u64(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

void weir_mock_put_null(struct weir_jsonw *w, const char *key) {
    weir_jsonw_key(w, key);
    weir_jsonw_null(w);
}

static void put_f64(struct weir_jsonw *w, const char *key, double value) {
    weir_jsonw_key(w, key);
    weir_jsonw_f64(w, value);
}

static void put_bool(struct weir_jsonw *w, const char *key, bool value) {
    weir_jsonw_key(w, key);
    weir_jsonw_bool(w, value);
}

static void open_object(struct weir_jsonw *w, const char *key) {
    weir_jsonw_key(w, key);
    weir_jsonw_object_begin(w);
}

void weir_mock_send(struct weir_http_exchange *x, struct weir_jsonw *w, struct weir_buf *out) {
    weir_http_respond(x, w->status == WEIR_OK ? 200 : 500, "application/json", NULL, 0,
                      weir_buf_span(out));
    weir_buf_fini(out);
}

uint32_t weir_mock_http_model_len(const struct weir_mock_http *h) {
    uint64_t all = (uint64_t)h->config.engine.n_blocks * h->config.engine.block_size;
    uint32_t len = h->config.engine.max_model_len;
    return len > 0 ? len : all < INT32_MAX ? (uint32_t)all : INT32_MAX;
}

/* ---- both --------------------------------------------------------------------------------- */

static void put_permission(struct weir_jsonw *w) {
    static const char *const may[] = {"allow_sampling", "allow_logprobs", "allow_view"};
    static const char *const may_not[] = {"allow_create_engine", "allow_search_indices",
                                          "allow_fine_tuning", "is_blocking"};
    weir_jsonw_key(w, "permission");
    weir_jsonw_array_begin(w);
    weir_jsonw_object_begin(w);
    weir_mock_put_z(w, "id", "modelperm-mock");
    weir_mock_put_z(w, "object", "model_permission");
    weir_mock_put_u64(w, "created", weir_wall_ms() / 1000);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(may); i++)
        put_bool(w, may[i], true);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(may_not); i++)
        put_bool(w, may_not[i], false);
    weir_mock_put_z(w, "organization", "*");
    weir_mock_put_null(w, "group");
    weir_jsonw_object_end(w);
    weir_jsonw_array_end(w);
}

void weir_mock_page_models(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_mock_put_z(&w, "object", "list");
    weir_jsonw_key(&w, "data");
    weir_jsonw_array_begin(&w);
    weir_jsonw_object_begin(&w);
    weir_mock_put_z(&w, "id", h->config.model);
    weir_mock_put_z(&w, "object", "model");
    weir_mock_put_u64(&w, "created", weir_wall_ms() / 1000);
    weir_mock_put_z(&w, "owned_by", weir_mock_http_vllm(h) ? "vllm" : "sglang");
    weir_mock_put_z(&w, "root", h->config.model);
    weir_mock_put_null(&w, "parent");
    weir_mock_put_u64(&w, "max_model_len", weir_mock_http_model_len(h));
    if (weir_mock_http_vllm(h))
        put_permission(&w);
    weir_jsonw_object_end(&w);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    weir_mock_send(x, &w, &out);
}

/* ---- vLLM --------------------------------------------------------------------------------- */

void weir_mock_page_version(struct weir_mock_http *h, struct weir_http_exchange *x) {
    weir_http_respond(x, 200, "application/json", NULL, 0,
                      h->config.form == WEIR_MOCK_VLLM_ARRAY
                          ? WEIR_SPAN_LIT("{\"version\":\"0.16.0\"}")
                          : WEIR_SPAN_LIT("{\"version\":\"0.32.0\"}"));
}

/* A server whose load tracking is off, as it is unless asked for, tells 0. */
void weir_mock_page_load(struct weir_mock_http *h, struct weir_http_exchange *x) {
    (void)h;
    weir_http_respond(x, 200, "application/json", NULL, 0, WEIR_SPAN_LIT("{\"server_load\":0}"));
}

/* ---- SGLang ------------------------------------------------------------------------------- */

static const char *mode_of(const struct weir_mock_http *h) {
    return h->config.prefill ? "prefill" : h->config.decode ? "decode" : "null";
}

static void put_queues(struct weir_jsonw *w, const struct weir_mock_http *h, uint32_t waiting) {
    static const char *const split[] = {
        "prefill_bootstrap_queue_reqs", "prefill_inflight_queue_reqs", "decode_prealloc_queue_reqs",
        "decode_transfer_queue_reqs",   "decode_retracted_queue_reqs",
    };
    static const char *const others[] = {"grammar", "paused", "retracted", "prealloc_ready"};
    open_object(w, "disaggregation");
    weir_mock_put_z(w, "mode", mode_of(h));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(split); i++)
        weir_mock_put_u64(w, split[i], 0);
    put_f64(w, "kv_transfer_speed_gb_s", 0);
    put_f64(w, "kv_transfer_latency_ms", 0);
    weir_jsonw_object_end(w);
    open_object(w, "queues");
    weir_mock_put_u64(w, "waiting", waiting);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(others); i++)
        weir_mock_put_u64(w, others[i], 0);
    weir_jsonw_object_end(w);
}

static void put_load(struct weir_jsonw *w, const struct weir_mock_http *h, uint32_t rank) {
    const struct weir_engine_config *e = &h->config.engine;
    struct weir_engine_stats s;
    weir_mock_rank_get_stats(h->ranks[rank].rank, &s);
    uint64_t capacity = (uint64_t)e->n_blocks * e->block_size;
    uint64_t used = (uint64_t)s.kv_used_blocks * e->block_size;
    double usage = (double)s.kv_used_blocks / e->n_blocks;
    weir_jsonw_object_begin(w);
    put_f64(w, "timestamp", (double)weir_wall_ns() / 1e9);
    weir_mock_put_u64(w, "dp_rank", rank);
    weir_mock_put_u64(w, "num_running_reqs", s.running);
    weir_mock_put_u64(w, "num_waiting_reqs", s.waiting);
    weir_mock_put_u64(w, "num_waiting_uncached_tokens", 0); /* not counted */
    weir_mock_put_u64(w, "num_used_tokens", used);
    weir_mock_put_u64(w, "num_total_tokens", used);
    weir_mock_put_u64(w, "num_active_tokens", used);
    weir_mock_put_u64(w, "num_prealloc_ready_tokens", 0);
    weir_mock_put_u64(w, "max_total_num_tokens", capacity);
    weir_mock_put_u64(w, "max_running_requests", e->max_num_seqs);
    put_f64(w, "token_usage", usage);
    put_f64(w, "gen_throughput", 0);
    put_f64(w, "cache_hit_rate",
            s.prompt_tokens > 0 ? (double)s.cached_tokens / (double)s.prompt_tokens : 0);
    put_f64(w, "utilization", (double)s.running / e->max_num_seqs);
    weir_mock_put_u64(w, "total_prefill_uncached_tokens", s.prompt_tokens - s.cached_tokens);
    weir_mock_put_u64(w, "total_prefill_busy_us", 0);
    weir_jsonw_key(w, "decode_moments");
    weir_jsonw_array_begin(w);
    for (int i = 0; i < 6; i++)
        weir_jsonw_f64(w, 0);
    weir_jsonw_array_end(w);
    open_object(w, "memory");
    put_f64(w, "weight_gb", 0);
    put_f64(w, "kv_cache_gb", 0);
    put_f64(w, "graph_gb", 0);
    weir_mock_put_u64(w, "token_capacity", capacity);
    weir_jsonw_object_end(w);
    put_queues(w, h, s.waiting);
    weir_jsonw_object_end(w);
}

void weir_mock_page_loads(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    struct weir_jsonw w;
    struct tm tm = {0};
    char day[40], now[64];
    uint64_t us = weir_wall_ns() / 1000;
    time_t s = (time_t)(us / 1000000);
    gmtime_r(&s, &tm);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(now, sizeof(now), "%s.%06u+00:00", day, (unsigned)(us % 1000000));
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_mock_put_z(&w, "timestamp", now);
    weir_mock_put_z(&w, "version", "0.5.23");
    weir_mock_put_null(&w, "accelerator");
    weir_mock_put_u64(&w, "num_accelerators", h->n_ranks);
    weir_jsonw_key(&w, "loads");
    weir_jsonw_array_begin(&w);
    for (uint32_t r = 0; r < h->n_ranks; r++)
        put_load(&w, h, r);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    weir_mock_send(x, &w, &out);
}

void weir_mock_page_model_info(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_mock_put_z(&w, "model_path", h->config.model);
    weir_mock_put_z(&w, "served_model_name", h->config.model);
    weir_mock_put_z(&w, "tokenizer_path", h->config.model);
    put_bool(&w, "is_generation", true);
    weir_mock_put_null(&w, "preferred_sampling_params");
    weir_mock_put_z(&w, "weight_version", "default");
    weir_mock_put_z(&w, "load_format", "auto");
    weir_mock_put_null(&w, "reasoning_parser");
    weir_mock_put_null(&w, "tool_call_parser");
    weir_mock_put_z(&w, "disaggregation_mode", mode_of(h));
    put_bool(&w, "has_image_understanding", false);
    put_bool(&w, "has_audio_understanding", false);
    weir_mock_put_z(&w, "model_type", "mock");
    weir_jsonw_key(&w, "architectures");
    weir_jsonw_array_begin(&w);
    weir_jsonw_string_z(&w, "MockForCausalLM");
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    weir_mock_send(x, &w, &out);
}
