/* The metrics of an engine, with the labels of the real ones. */
#include "worker/mock_http_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum what {
    NOTHING, /* what never happens here */
    RUNNING,
    WAITING,
    USAGE,
    PROMPT,
    CACHED,
    OUTPUT,
    PREEMPTIONS,
    HIT_RATE,
    BLOCK_SIZE,
    BLOCKS,
    CAPACITY,
    USED,
};

struct row {
    const char *name, *type;
    const char *label; /* besides those of every sample; or "" */
    enum what what;
};

static const struct row vllm[] = {
    {"num_requests_running", "gauge", "", RUNNING},
    {"num_requests_waiting", "gauge", "", WAITING},
    {"kv_cache_usage_perc", "gauge", "", USAGE},
    {"prefix_cache_queries_total", "counter", "", PROMPT},
    {"prefix_cache_hits_total", "counter", "", CACHED},
    {"num_preemptions_total", "counter", "", PREEMPTIONS},
    {"prompt_tokens_total", "counter", "", PROMPT},
    {"prompt_tokens_cached_total", "counter", "", CACHED},
    {"generation_tokens_total", "counter", "", OUTPUT},
    /* Not in 0.16, from here on. */
    {"num_requests_waiting_by_reason", "gauge", ",reason=\"capacity\"", WAITING},
    {"num_requests_waiting_by_reason", "gauge", ",reason=\"deferred\"", NOTHING},
};
enum { NOT_IN_0_16 = 2 };
static const struct row sglang[] = {
    {"max_total_num_tokens", "gauge", "", CAPACITY},
    {"page_size", "gauge", "", BLOCK_SIZE},
    {"num_pages", "gauge", "", BLOCKS},
    {"num_running_reqs", "gauge", "", RUNNING},
    {"num_queue_reqs", "gauge", "", WAITING},
    {"cache_hit_rate", "gauge", "", HIT_RATE},
    {"token_usage", "gauge", "", USAGE},
    {"num_used_tokens", "gauge", "", USED},
};

static double value_of(const struct weir_mock_http *h, uint32_t rank, enum what what) {
    const struct weir_engine_config *e = &h->config.engine;
    struct weir_engine_stats s;
    weir_mock_rank_get_stats(h->ranks[rank].rank, &s);
    switch (what) {
    case NOTHING:
        return 0;
    case RUNNING:
        return s.running;
    case WAITING:
        return s.waiting;
    case USAGE:
        return (double)s.kv_used_blocks / e->n_blocks;
    case PROMPT:
        return (double)s.prompt_tokens;
    case CACHED:
        return (double)s.cached_tokens;
    case OUTPUT:
        return (double)s.output_tokens;
    case PREEMPTIONS:
        return (double)s.preemptions;
    case HIT_RATE:
        return s.prompt_tokens > 0 ? (double)s.cached_tokens / (double)s.prompt_tokens : 0;
    case BLOCK_SIZE:
        return e->block_size;
    case BLOCKS:
        return e->n_blocks;
    case CAPACITY:
        return (double)e->n_blocks * e->block_size;
    case USED:
        return (double)s.kv_used_blocks * e->block_size;
    }
    return 0;
}

/* Labels of every sample of a rank; SGLang names the rank only where there are several. */
static void labels_of(const struct weir_mock_http *h, uint32_t rank, char *room, size_t bytes) {
    char dp[32] = "";
    if (weir_mock_http_vllm(h)) {
        snprintf(room, bytes, "engine=\"%u\",model_name=\"%s\"", rank, h->config.model);
        return;
    }
    if (h->n_ranks > 1)
        snprintf(dp, sizeof(dp), "dp_rank=\"%u\",", rank);
    snprintf(room, bytes,
             "%sengine_type=\"%s\",model_name=\"%s\",moe_ep_rank=\"0\",pp_rank=\"0\","
             "tp_rank=\"0\"",
             dp,
             h->config.prefill  ? "prefill"
             : h->config.decode ? "decode"
                                : "unified",
             h->config.model);
}

static enum weir_status put_rows(const struct weir_mock_http *h, const struct row *rows, size_t n,
                                 struct weir_buf *out) {
    const char *engine = weir_mock_http_vllm(h) ? "vllm" : "sglang", *last = "";
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        if (strcmp(rows[i].name, last) != 0)
            st = weir_buf_printf(out, "# TYPE %s:%s %s\n", engine, rows[i].name, rows[i].type);
        last = rows[i].name;
        for (uint32_t r = 0; r < h->n_ranks && st == WEIR_OK; r++) {
            char labels[1024];
            double v = value_of(h, r, rows[i].what);
            labels_of(h, r, labels, sizeof(labels));
            st = weir_buf_printf(out, v == floor(v) ? "%s:%s{%s%s} %.1f\n" : "%s:%s{%s%s} %.6f\n",
                                 engine, rows[i].name, labels, rows[i].label, v);
        }
    }
    return st;
}

static enum weir_status put_config(const struct weir_mock_http *h, struct weir_buf *out) {
    const struct weir_engine_config *e = &h->config.engine;
    enum weir_status st = weir_buf_printf(out, "# TYPE vllm:cache_config_info gauge\n");
    for (uint32_t r = 0; r < h->n_ranks && st == WEIR_OK; r++)
        st = weir_buf_printf(
            out,
            "vllm:cache_config_info{block_size=\"%u\",enable_prefix_caching=\"%s\",engine=\"%u\","
            "num_gpu_blocks=\"%u\",num_gpu_blocks_override=\"None\"} 1.0\n",
            e->block_size, e->prefix_caching ? "True" : "False", r, e->n_blocks);
    return st;
}

/* No real engine tells these two; tests wait for them. */
static enum weir_status put_own(const struct weir_mock_http *h, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (uint32_t r = 0; r < h->n_ranks && st == WEIR_OK; r++) {
        const struct weir_mock_feed *feed = h->ranks[r].feed;
        struct weir_engine_stats s;
        weir_mock_rank_get_stats(h->ranks[r].rank, &s);
        st = weir_buf_printf(out,
                             "weir_mocker_kv_next_sequence{rank=\"%u\"} %" PRIu64
                             "\nweir_mocker_cached_tokens{rank=\"%u\"} %" PRIu64 "\n",
                             r, feed != NULL ? weir_mock_feed_next(feed) : 0, r, s.cached_tokens);
    }
    return st;
}

void weir_mock_page_metrics(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    enum weir_status st;
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    if (weir_mock_http_vllm(h)) {
        bool old = h->config.form == WEIR_MOCK_VLLM_ARRAY;
        st = put_rows(h, vllm, WEIR_ARRAY_LEN(vllm) - (old ? NOT_IN_0_16 : 0), &out);
        if (st == WEIR_OK)
            st = put_config(h, &out);
    } else {
        st = put_rows(h, sglang, WEIR_ARRAY_LEN(sglang), &out);
    }
    if (st == WEIR_OK)
        st = put_own(h, &out);
    weir_http_respond(x, st == WEIR_OK ? 200 : 500, "text/plain; version=0.0.4; charset=utf-8",
                      NULL, 0, weir_buf_span(&out));
    weir_buf_fini(&out);
}
