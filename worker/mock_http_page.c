/* Pages of both engines: event sources, tokens, resets; the table of all pages. */
#include "base/json.h"
#include "kvindex/kvi.h"
#include "worker/mock_http_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_endpoint(struct weir_jsonw *w, const char *key, const char *ip, uint16_t port) {
    char text[128];
    /* Two colons: the form in which vLLM binds, and not connects, on one address. */
    snprintf(text, sizeof(text), strchr(ip, ':') != NULL ? "tcp://[%s]:%u" : "tcp://[::ffff:%s]:%u",
             ip, port);
    weir_mock_put_z(w, key, text);
}

/* Always bound, so a plain address does. */
static void put_replay(struct weir_jsonw *w, const char *ip, uint16_t port) {
    char text[128];
    snprintf(text, sizeof(text), strchr(ip, ':') != NULL ? "tcp://[%s]:%u" : "tcp://%s:%u", ip,
             port);
    weir_mock_put_z(w, "replay_endpoint", text);
}

static void page_sources(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    for (uint32_t r = 0; r < h->n_ranks && h->ranks[r].feed != NULL; r++) {
        char key[16];
        snprintf(key, sizeof(key), "%u", r);
        weir_jsonw_key(&w, key);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "enable_kv_cache_events");
        weir_jsonw_bool(&w, true);
        weir_mock_put_z(&w, "publisher", "zmq");
        if (h->config.events_connect != NULL)
            weir_mock_put_z(&w, "endpoint", h->config.events_connect);
        else
            put_endpoint(&w, "endpoint", h->config.ip, weir_mock_feed_port(h->ranks[r].feed));
        put_replay(&w, h->config.ip, weir_mock_feed_replay_port(h->ranks[r].feed));
        weir_mock_put_u64(&w, "buffer_steps", 10000);
        weir_mock_put_u64(&w, "hwm", 100000);
        weir_mock_put_u64(&w, "max_queue_size", 100000);
        weir_mock_put_z(&w, "topic", h->topic);
        weir_jsonw_object_end(&w);
    }
    weir_jsonw_object_end(&w);
    weir_mock_send(x, &w, &out);
}

/* Of SGLang: a base port, to which a rank is added. Ports that were not asked for lie anywhere. */
static bool in_a_row(const struct weir_mock_http *h,
                     uint16_t (*port)(const struct weir_mock_feed *)) {
    for (uint32_t r = 0; r < h->n_ranks; r++)
        if (h->ranks[r].feed == NULL || port(h->ranks[r].feed) != port(h->ranks[0].feed) + r)
            return false;
    return true;
}

static void put_publisher(struct weir_jsonw *w, const struct weir_mock_http *h) {
    const char *out = h->config.events_connect, *ip = h->config.ip;
    const char *colon = out != NULL ? strrchr(out, ':') : NULL;
    char host[128];
    if (colon != NULL && strncmp(out, "tcp://", 6) == 0)
        snprintf(host, sizeof(host), "%.*s", (int)(colon - out - 6), out + 6);
    else
        snprintf(host, sizeof(host), strchr(ip, ':') != NULL ? "[%s]" : "[::ffff:%s]", ip);
    weir_jsonw_object_begin(w);
    weir_mock_put_z(w, "publisher", "zmq");
    weir_mock_put_z(w, "endpoint_host", host);
    weir_mock_put_u64(w, "endpoint_port_base",
                      colon != NULL ? strtoul(colon + 1, NULL, 10)
                                    : weir_mock_feed_port(h->ranks[0].feed));
    weir_mock_put_z(w, "topic", h->topic);
    weir_mock_put_u64(w, "block_size", h->config.engine.block_size);
    weir_mock_put_u64(w, "dp_size", h->n_ranks);
    weir_mock_put_u64(w, "replay_endpoint_port_base", weir_mock_feed_replay_port(h->ranks[0].feed));
    weir_jsonw_object_end(w);
}

static void page_server_info(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_buf out;
    struct weir_jsonw w;
    bool told = (h->config.events_connect != NULL || in_a_row(h, weir_mock_feed_port)) &&
                in_a_row(h, weir_mock_feed_replay_port);
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_mock_put_z(&w, "model_path", h->config.model);
    weir_mock_put_z(&w, "served_model_name", h->config.model);
    weir_mock_put_u64(&w, "page_size", h->config.engine.block_size);
    weir_mock_put_u64(&w, "dp_size", h->n_ranks);
    weir_jsonw_key(&w, "kv_events");
    if (told)
        put_publisher(&w, h);
    else
        weir_jsonw_null(&w);
    weir_jsonw_object_end(&w);
    weir_mock_send(x, &w, &out);
}

/* ---- tokens ------------------------------------------------------------------------------- */

static void put_ids(struct weir_jsonw *w, struct weir_ids ids) {
    weir_jsonw_key(w, "tokens");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < ids.n; i++)
        weir_jsonw_u64(w, ids.ids[i]);
    weir_jsonw_array_end(w);
}

/* A truth value of the question; `otherwise` where it says nothing or null. */
static bool says(struct weir_span body, const char *member, bool otherwise) {
    struct weir_json j;
    struct weir_json_str key;
    bool value = otherwise;
    weir_json_init(&j, body, 128);
    if (!weir_json_object_enter(&j))
        return value;
    while (weir_json_object_next(&j, &key)) {
        enum weir_json_type type = weir_json_peek(&j);
        if (weir_json_str_eqz(key, member) && (type == WEIR_JSON_TRUE || type == WEIR_JSON_FALSE))
            value = type == WEIR_JSON_TRUE;
        weir_json_skip(&j, NULL);
    }
    return value;
}

static void put_strings(struct weir_jsonw *w, const struct wtok *tok, struct weir_ids ids) {
    struct weir_buf text;
    weir_buf_init(&text, 1 << 18);
    weir_jsonw_key(w, "token_strs");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < ids.n; i++) {
        weir_buf_clear(&text);
        enum weir_status st = wtok_id_piece(tok, ids.ids[i], &text);
        weir_jsonw_string(w,
                          st == WEIR_OK && text.len > 0 ? weir_buf_span(&text) : weir_span("", 0));
    }
    weir_jsonw_array_end(w);
    weir_buf_fini(&text);
}

/* vLLM's page has no such members as its chats have. */
static struct weir_span without_chat_members(struct weir_span body, struct weir_arena *arena) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw;
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_json_init(&j, body, 128);
    weir_jsonw_object_begin(&w);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &raw)) {
            if (weir_json_str_eqz(key, "reasoning_effort") || weir_json_str_eqz(key, "documents"))
                continue;
            weir_jsonw_key_span(&w, weir_json_text(key, arena));
            weir_jsonw_raw(&w, raw);
        }
    weir_jsonw_object_end(&w);
    raw = w.status == WEIR_OK ? weir_arena_copy(arena, weir_buf_span(&out)) : body;
    weir_buf_fini(&out);
    return raw;
}

static void page_tokenize(struct weir_mock_http *h, struct weir_http_exchange *x) {
    static const struct weir_openai_rules rules = {.ignore_unknown_fields = true,
                                                   .any_strict_tool = true};
    struct weir_arena *arena = weir_http_exchange_arena(x);
    struct weir_span body = weir_http_exchange_request(x)->body;
    struct weir_openai_request q = {0};
    struct weir_openai_error error = {0};
    struct weir_ids ids;
    struct weir_span messages;
    bool chat = weir_json_member(body, "messages", &messages);
    enum weir_openai_kind kind = chat ? WEIR_OPENAI_CHAT : WEIR_OPENAI_COMPLETION;
    enum weir_status st = weir_openai_parse(kind, body, &rules, arena, &q, &error);
    q.kind = kind;
    if (st == WEIR_OK && q.stream && !weir_mock_http_vllm(h)) {
        weir_mock_http_error(h, x, 501, "NotImplementedError", NULL, "no stream of tokens");
        return;
    }
    if (st == WEIR_OK)
        st = weir_mock_http_tokens(
            h, weir_mock_http_vllm(h) ? without_chat_members(body, arena) : body,
            chat ? NULL : &q.prompts[0], true, says(body, "add_special_tokens", true), arena, &ids);
    if (st != WEIR_OK) {
        weir_mock_http_error(h, x, 400, "BadRequestError", NULL, "no prompt that can be tokenized");
        return;
    }
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    if (!weir_mock_http_vllm(h))
        put_ids(&w, ids);
    weir_mock_put_u64(&w, "count", ids.n);
    weir_mock_put_u64(&w, "max_model_len", weir_mock_http_model_len(h));
    if (weir_mock_http_vllm(h)) {
        put_ids(&w, ids);
        if (says(body, "return_token_strs", false))
            put_strings(&w, h->config.tok, ids);
        else
            weir_mock_put_null(&w, "token_strs");
    }
    weir_jsonw_object_end(&w);
    weir_mock_send(x, &w, &out);
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
    weir_buf_init(&text, WEIR_MOCK_PAGE_MAX);
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    if (!read_ids(weir_http_exchange_request(x)->body, weir_http_exchange_arena(x), &ids) ||
        wtok_decode(h->config.tok, ids.ids, ids.n, false, &text) != WEIR_OK) {
        weir_mock_http_error(h, x, 400, "BadRequestError", NULL, "no tokens of this model");
    } else {
        weir_jsonw_init(&w, &out);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, weir_mock_http_vllm(h) ? "prompt" : "text");
        weir_jsonw_string(&w, weir_buf_span(&text));
        weir_jsonw_object_end(&w);
        weir_mock_send(x, &w, &out);
    }
    weir_buf_fini(&text);
}

/* ---- resets ------------------------------------------------------------------------------- */

/* vLLM answers at once and tells with the next batch; SGLang tells at once. Neither forgets blocks
 * that a request holds: nothing is emptied then. */
static void page_reset(struct weir_mock_http *h, struct weir_http_exchange *x) {
    bool vllm = weir_mock_http_vllm(h), idle = true;
    for (uint32_t r = 0; r < h->n_ranks; r++) {
        struct weir_kv_cache *cache = weir_engine_cache(weir_mock_rank_engine(h->ranks[r].rank));
        bool used = weir_kv_cache_used(cache) > 0;
        idle &= !used;
        if (!used)
            weir_kv_cache_clear(cache);
    }
    if (vllm)
        weir_http_respond(x, 200, "application/json", NULL, 0,
                          idle ? WEIR_SPAN_LIT("{\"success\":true}")
                               : WEIR_SPAN_LIT("{\"success\":false}"));
    else
        weir_http_respond(
            x, idle ? 200 : 400, "text/plain", NULL, 0,
            WEIR_SPAN_LIT("Cache flushed.\nPlease check backend logs for more details. "
                          "(When there are running or waiting requests, the operation "
                          "will not be performed.)\n"));
}

/* vLLM counts every id that it is given, whether or not it has the request. */
static void page_abort(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_json j;
    struct weir_json_str key, id;
    uint64_t n = 0;
    struct weir_span body = weir_http_exchange_request(x)->body;
    weir_json_init(&j, body, 16);
    bool ok = weir_json_object_enter(&j);
    while (ok && weir_json_object_next(&j, &key)) {
        if (!weir_json_str_eqz(key, "request_ids")) {
            weir_json_skip(&j, NULL);
            continue;
        }
        ok = weir_json_array_enter(&j);
        for (; ok && weir_json_array_next(&j); n++) {
            ok = weir_json_string(&j, &id);
            if (ok)
                weir_mock_gen_abort(h, weir_json_text(id, weir_http_exchange_arena(x)), false);
        }
    }
    if (!ok || !weir_json_finish(&j)) {
        weir_mock_http_error(h, x, 400, "BadRequestError", NULL, "request_ids are required");
        return;
    }
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_MOCK_PAGE_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_mock_put_z(&w, "status", "aborted");
    weir_mock_put_u64(&w, "aborted", n);
    weir_jsonw_object_end(&w);
    weir_mock_send(x, &w, &out);
}

/* SGLang's: one id or all; it says nothing of what there was. */
static void page_abort_one(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_json j;
    struct weir_json_str key, text;
    struct weir_span rid = {NULL, 0};
    bool all = false;
    weir_json_init(&j, weir_http_exchange_request(x)->body, 16);
    bool ok = weir_json_object_enter(&j);
    while (ok && weir_json_object_next(&j, &key)) {
        if (weir_json_str_eqz(key, "abort_all"))
            ok = weir_json_bool(&j, &all);
        else if (!weir_json_str_eqz(key, "rid") || weir_json_peek(&j) == WEIR_JSON_NULL)
            ok = weir_json_skip(&j, NULL);
        else if ((ok = weir_json_string(&j, &text)))
            rid = weir_json_text(text, weir_http_exchange_arena(x));
    }
    if (!ok || !weir_json_finish(&j)) {
        weir_mock_http_error(h, x, 400, "BadRequestError", NULL,
                             "rid is a string, abort_all true or false");
        return;
    }
    if (all || rid.len > 0)
        weir_mock_gen_abort(h, rid, all);
    weir_http_respond(x, 200, NULL, NULL, 0, weir_span("", 0));
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
                {"GET", "/v1/models", BOTH, weir_mock_page_models},
                {"GET", "/metrics", BOTH, weir_mock_page_metrics},
                {"GET", "/kv_event_sources", VLLM, page_sources},
                {"GET", "/server_info", SGLANG, page_server_info},
                {"GET", "/version", VLLM, weir_mock_page_version},
                {"GET", "/load", VLLM, weir_mock_page_load},
                {"GET", "/v1/loads", SGLANG, weir_mock_page_loads},
                {"GET", "/model_info", SGLANG, weir_mock_page_model_info},
                {"POST", "/tokenize", BOTH, page_tokenize},
                {"POST", "/detokenize", BOTH, page_detokenize},
                {"POST", "/abort_requests", VLLM, page_abort},
                {"POST", "/abort_request", SGLANG, page_abort_one},
                {"POST", "/reset_prefix_cache", VLLM, page_reset},
                {"POST", "/flush_cache", SGLANG, page_reset}};
    const struct weir_http_request *q = weir_http_exchange_request(x);
    int own = h->config.form == WEIR_MOCK_SGLANG ? SGLANG : VLLM;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        bool old = h->config.form == WEIR_MOCK_VLLM_ARRAY &&
                   (rows[i].fn == page_sources || rows[i].fn == page_abort);
        if (!weir_span_eqz(q->path, rows[i].path) || !weir_span_eqz(q->method, rows[i].method) ||
            (rows[i].whose != BOTH && rows[i].whose != own) || old)
            continue;
        rows[i].fn(h, x);
        return true;
    }
    return false;
}
