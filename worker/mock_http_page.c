/* What engines say of themselves: models, load, event sources, tokens. */
#include "base/json.h"
#include "kvindex/kvi.h"
#include "worker/mock_http_priv.h"

#include <stdio.h>
#include <string.h>

enum { PAGE_MAX = 64 << 20 };

static void send_json(struct weir_http_exchange *x, struct weir_jsonw *w, struct weir_buf *out) {
    weir_http_respond(x, w->status == WEIR_OK ? 200 : 500, "application/json", NULL, 0,
                      weir_buf_span(out));
    weir_buf_fini(out);
}

static void put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

static uint32_t model_len(const struct weir_mock_http *h) {
    uint64_t all = (uint64_t)h->config.engine.n_blocks * h->config.engine.block_size;
    uint32_t len = h->config.engine.max_model_len;
    return len > 0 ? len : all < INT32_MAX ? (uint32_t)all : INT32_MAX;
}

static void page_models(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    put_z(&w, "object", "list");
    weir_jsonw_key(&w, "data");
    weir_jsonw_array_begin(&w);
    weir_jsonw_object_begin(&w);
    put_z(&w, "id", h->config.model);
    put_z(&w, "object", "model");
    weir_jsonw_key(&w, "created");
    weir_jsonw_u64(&w, weir_wall_ms() / 1000);
    put_z(&w, "owned_by", weir_mock_http_vllm(h) ? "vllm" : "sglang");
    put_z(&w, "root", h->config.model);
    weir_jsonw_key(&w, "parent");
    weir_jsonw_null(&w);
    weir_jsonw_key(&w, "max_model_len");
    weir_jsonw_u64(&w, model_len(h));
    weir_jsonw_object_end(&w);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    send_json(x, &w, &out);
}

static void put_endpoint(struct weir_jsonw *w, const char *key, const char *ip, uint16_t port) {
    char text[128];
    /* Two colons: the form in which vLLM binds, and not connects, on one address. */
    snprintf(text, sizeof(text), strchr(ip, ':') != NULL ? "tcp://[%s]:%u" : "tcp://[::ffff:%s]:%u",
             ip, port);
    put_z(w, key, text);
}

static void page_sources(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    for (uint32_t r = 0; r < h->n_ranks && h->ranks[r].feed != NULL; r++) {
        char key[16];
        snprintf(key, sizeof(key), "%u", r);
        weir_jsonw_key(&w, key);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "enable_kv_cache_events");
        weir_jsonw_bool(&w, true);
        put_z(&w, "publisher", "zmq");
        if (h->config.events_connect != NULL)
            put_z(&w, "endpoint", h->config.events_connect);
        else
            put_endpoint(&w, "endpoint", h->config.ip, weir_mock_feed_port(h->ranks[r].feed));
        put_endpoint(&w, "replay_endpoint", h->config.ip,
                     weir_mock_feed_replay_port(h->ranks[r].feed));
        weir_jsonw_key(&w, "buffer_steps");
        weir_jsonw_u64(&w, 10000);
        put_z(&w, "topic", h->topic);
        weir_jsonw_object_end(&w);
    }
    weir_jsonw_object_end(&w);
    send_json(x, &w, &out);
}

/* ---- metrics ------------------------------------------------------------------------------ */

static enum weir_status put_vllm(const struct weir_mock_http *h, struct weir_buf *out) {
    const struct weir_engine_config *e = &h->config.engine;
    enum weir_status st = WEIR_OK;
    for (uint32_t r = 0; r < h->n_ranks && st == WEIR_OK; r++) {
        struct weir_engine_stats s;
        weir_mock_rank_get_stats(h->ranks[r].rank, &s);
        st = weir_buf_printf(
            out,
            "vllm:num_requests_running{engine=\"%u\",model_name=\"%s\"} %u.0\n"
            "vllm:num_requests_waiting{engine=\"%u\",model_name=\"%s\"} %u.0\n"
            "vllm:kv_cache_usage_perc{engine=\"%u\",model_name=\"%s\"} %.6f\n"
            "vllm:prefix_cache_queries_total{engine=\"%u\",model_name=\"%s\"} %llu.0\n"
            "vllm:prefix_cache_hits_total{engine=\"%u\",model_name=\"%s\"} %llu.0\n"
            "vllm:cache_config_info{block_size=\"%u\",enable_prefix_caching=\"True\","
            "engine=\"%u\",num_gpu_blocks=\"%u\",num_gpu_blocks_override=\"None\"} 1.0\n",
            r, h->config.model, s.running, r, h->config.model, s.waiting, r, h->config.model,
            (double)s.kv_used_blocks / e->n_blocks, r, h->config.model,
            (unsigned long long)s.prompt_tokens, r, h->config.model,
            (unsigned long long)s.cached_tokens, e->block_size, r, e->n_blocks);
    }
    return st;
}

static enum weir_status put_sglang(const struct weir_mock_http *h, struct weir_buf *out) {
    const struct weir_engine_config *e = &h->config.engine;
    enum weir_status st = WEIR_OK;
    for (uint32_t r = 0; r < h->n_ranks && st == WEIR_OK; r++) {
        struct weir_engine_stats s;
        char rank[32] = "";
        weir_mock_rank_get_stats(h->ranks[r].rank, &s);
        if (h->n_ranks > 1)
            snprintf(rank, sizeof(rank), "dp_rank=\"%u\",", r);
        st = weir_buf_printf(out,
                             "sglang:num_running_reqs{%smodel_name=\"%s\"} %u.0\n"
                             "sglang:num_queue_reqs{%smodel_name=\"%s\"} %u.0\n"
                             "sglang:token_usage{%smodel_name=\"%s\"} %.6f\n"
                             "sglang:page_size{%smodel_name=\"%s\"} %u.0\n"
                             "sglang:num_pages{%smodel_name=\"%s\"} %u.0\n",
                             rank, h->config.model, s.running, rank, h->config.model, s.waiting,
                             rank, h->config.model, (double)s.kv_used_blocks / e->n_blocks, rank,
                             h->config.model, e->block_size, rank, h->config.model, e->n_blocks);
    }
    return st;
}

static void page_metrics(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    weir_buf_init(&out, PAGE_MAX);
    enum weir_status st = weir_mock_http_vllm(h) ? put_vllm(h, &out) : put_sglang(h, &out);
    /* No real engine tells these two; tests wait for them. */
    for (uint32_t r = 0; r < h->n_ranks && st == WEIR_OK; r++) {
        struct weir_engine_stats s;
        weir_mock_rank_get_stats(h->ranks[r].rank, &s);
        st = weir_buf_printf(&out,
                             "weir_mocker_kv_next_sequence{rank=\"%u\"} "
                             "%llu\nweir_mocker_cached_tokens{rank=\"%u\"} "
                             "%llu\n",
                             r,
                             (unsigned long long)(h->ranks[r].feed != NULL
                                                      ? weir_mock_feed_next(h->ranks[r].feed)
                                                      : 0),
                             r, (unsigned long long)s.cached_tokens);
    }
    weir_http_respond(x, st == WEIR_OK ? 200 : 500, "text/plain; version=0.0.4; charset=utf-8",
                      NULL, 0, weir_buf_span(&out));
    weir_buf_fini(&out);
}

/* ---- tokens ------------------------------------------------------------------------------- */

static void put_ids(struct weir_jsonw *w, struct weir_ids ids) {
    weir_jsonw_key(w, "tokens");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < ids.n; i++)
        weir_jsonw_u64(w, ids.ids[i]);
    weir_jsonw_array_end(w);
}

/* False only where the question says so: for plain prompts. */
static bool adds_special(struct weir_span body) {
    struct weir_json j;
    struct weir_json_str key;
    bool adds = true;
    weir_json_init(&j, body, 128);
    if (!weir_json_object_enter(&j))
        return adds;
    while (weir_json_object_next(&j, &key)) {
        if (weir_json_str_eqz(key, "add_special_tokens"))
            adds = weir_json_peek(&j) != WEIR_JSON_FALSE;
        weir_json_skip(&j, NULL);
    }
    return adds;
}

static void page_tokenize(struct weir_mock_http *h, struct weir_http_exchange *x) {
    static const struct weir_openai_rules rules = {.ignore_unknown_fields = true};
    struct weir_arena *arena = weir_http_exchange_arena(x);
    struct weir_span body = weir_http_exchange_request(x)->body;
    struct weir_openai_request q = {0};
    struct weir_openai_error error = {0};
    struct weir_ids ids;
    bool chat = memmem(body.data, body.len, "\"messages\"", 10) != NULL;
    enum weir_openai_kind kind = chat ? WEIR_OPENAI_CHAT : WEIR_OPENAI_COMPLETION;
    enum weir_status st = weir_openai_parse(kind, body, &rules, arena, &q, &error);
    q.kind = kind;
    if (st == WEIR_OK && q.stream && !weir_mock_http_vllm(h)) {
        weir_mock_http_error(h, x, 501, "NotImplementedError", "no stream of tokens");
        return;
    }
    if (st == WEIR_OK)
        st = weir_mock_http_tokens(h, &q, chat ? NULL : &q.prompts[0], true, adds_special(body),
                                   arena, &ids);
    if (st != WEIR_OK) {
        weir_mock_http_error(h, x, 400, "BadRequestError", "no prompt that can be tokenized");
        return;
    }
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "count");
    weir_jsonw_u64(&w, ids.n);
    weir_jsonw_key(&w, "max_model_len");
    weir_jsonw_u64(&w, model_len(h));
    put_ids(&w, ids);
    weir_jsonw_object_end(&w);
    send_json(x, &w, &out);
}

static bool read_ids(struct weir_span body, struct weir_arena *arena, struct weir_ids *ret) {
    struct weir_json j;
    struct weir_json_str key;
    uint32_t *ids = weir_arena_alloc(arena, (body.len / 2 + 1) * sizeof(*ids));
    size_t n = 0;
    weir_json_init(&j, body, 16);
    if (ids == NULL || !weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        if (!weir_json_str_eqz(key, "tokens")) {
            weir_json_skip(&j, NULL);
            continue;
        }
        uint64_t v;
        if (!weir_json_array_enter(&j))
            return false;
        while (weir_json_array_next(&j) && weir_json_u64(&j, &v))
            ids[n++] = (uint32_t)v;
    }
    *ret = (struct weir_ids){ids, n};
    return weir_json_finish(&j);
}

static void page_detokenize(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_ids ids;
    struct weir_buf text, out;
    struct weir_jsonw w;
    weir_buf_init(&text, PAGE_MAX);
    weir_buf_init(&out, PAGE_MAX);
    if (!read_ids(weir_http_exchange_request(x)->body, weir_http_exchange_arena(x), &ids) ||
        wtok_decode(h->config.tok, ids.ids, ids.n, false, &text) != WEIR_OK) {
        weir_mock_http_error(h, x, 400, "BadRequestError", "no tokens of this model");
    } else {
        weir_jsonw_init(&w, &out);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, weir_mock_http_vllm(h) ? "prompt" : "text");
        weir_jsonw_string(&w, weir_buf_span(&text));
        weir_jsonw_object_end(&w);
        send_json(x, &w, &out);
    }
    weir_buf_fini(&text);
}

/* ---- resets ------------------------------------------------------------------------------- */

/* vLLM answers at once and tells with the next batch; SGLang tells at once. */
static void page_reset(struct weir_mock_http *h, struct weir_http_exchange *x) {
    for (uint32_t r = 0; r < h->n_ranks; r++)
        weir_kv_cache_clear(weir_engine_cache(weir_mock_rank_engine(h->ranks[r].rank)));
    if (weir_mock_http_vllm(h))
        weir_http_respond(x, 200, "application/json", NULL, 0, WEIR_SPAN_LIT("{\"success\":true}"));
    else
        weir_http_respond(x, 200, "text/plain", NULL, 0, WEIR_SPAN_LIT("Cache flushed.\n"));
}

static void page_health(struct weir_mock_http *h, struct weir_http_exchange *x) {
    (void)h;
    weir_http_respond(x, 200, NULL, NULL, 0, weir_span("", 0));
}

bool weir_mock_http_page(struct weir_mock_http *h, struct weir_http_exchange *x) {
    enum { BOTH, VLLM, SGLANG };
    static const struct {
        const char *method, *path;
        int whose;
        void (*fn)(struct weir_mock_http *h, struct weir_http_exchange *x);
    } rows[] = {{"GET", "/health", BOTH, page_health},
                {"GET", "/v1/models", BOTH, page_models},
                {"GET", "/metrics", BOTH, page_metrics},
                {"GET", "/kv_event_sources", VLLM, page_sources},
                {"POST", "/tokenize", BOTH, page_tokenize},
                {"POST", "/detokenize", BOTH, page_detokenize},
                {"POST", "/reset_prefix_cache", VLLM, page_reset},
                {"POST", "/flush_cache", SGLANG, page_reset}};
    const struct weir_http_request *q = weir_http_exchange_request(x);
    int own = h->config.form == WEIR_MOCK_SGLANG ? SGLANG : VLLM;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        bool old = h->config.form == WEIR_MOCK_VLLM_ARRAY && rows[i].fn == page_sources;
        if (!weir_span_eqz(q->path, rows[i].path) || !weir_span_eqz(q->method, rows[i].method) ||
            (rows[i].whose != BOTH && rows[i].whose != own) || old)
            continue;
        rows[i].fn(h, x);
        return true;
    }
    return false;
}
