/* Which handler serves which path, and what is refused before any handler. */
#include "frontend/app_priv.h"

#include <stdio.h>
#include <string.h>

enum methods { GET = 1, POST = 2 };
enum { SMALL_BODY = 2 << 20 };

enum route_id {
    R_CHAT,
    R_COMPLETIONS,
    R_RESPONSES,
    R_INPUT_TOKENS,
    R_MESSAGES,
    R_COUNT_TOKENS,
    R_EMBEDDINGS,
    R_MODELS,
    R_HEALTH,
    R_LIVE,
    R_METRICS,
    R_OPENAPI,
    R_DOCS_REDIRECT,
    R_DOCS,
    R_BUSY,
    R_EXPLAIN,
    R_QUEUE,
    R_TOKENIZE,
    R_DETOKENIZE,
    R_MODEL,
    R_NONE,
};

struct route {
    const char *path;
    enum route_id id;
    unsigned methods;
};

static struct weir_span messages_path(const struct weir_app *app) {
    const char *path = app->options.http_svc_anthropic_path;
    return weir_span_z(path != NULL ? path : "/v1/messages");
}

bool weir_front_speaks_anthropic(const struct weir_app *app, struct weir_http_exchange *x) {
    struct weir_span path = weir_http_exchange_request(x)->path, ours = messages_path(app);
    return app->options.enable_anthropic_api && weir_span_starts(path, ours) &&
           (path.len == ours.len || path.data[ours.len] == '/');
}

/* `path` is `base` with `end` behind it. */
static bool is_below(struct weir_span path, struct weir_span base, const char *end) {
    return weir_span_starts(path, base) &&
           weir_span_eqz(weir_span(path.data + base.len, path.len - base.len), end);
}

/* Byte for byte, as the reference system matches; those of options may be moved by the environment.
 */
static struct route route_of(const struct weir_app *app, struct weir_span path) {
    const struct weir_frontend_options *o = &app->options;
    const char *responses =
        o->http_svc_responses_path != NULL ? o->http_svc_responses_path : "/v1/responses";
    const struct route table[] = {
        {o->http_svc_chat_path != NULL ? o->http_svc_chat_path : "/v1/chat/completions", R_CHAT,
         POST},
        {o->http_svc_cmp_path != NULL ? o->http_svc_cmp_path : "/v1/completions", R_COMPLETIONS,
         POST},
        {responses, R_RESPONSES, POST},
        {o->http_svc_emb_path != NULL ? o->http_svc_emb_path : "/v1/embeddings", R_EMBEDDINGS,
         POST},
        {o->http_svc_models_path != NULL ? o->http_svc_models_path : "/v1/models", R_MODELS, GET},
        {o->http_svc_health_path != NULL ? o->http_svc_health_path : "/health", R_HEALTH, GET},
        {o->http_svc_live_path != NULL ? o->http_svc_live_path : "/live", R_LIVE, GET},
        {o->http_svc_metrics_path != NULL ? o->http_svc_metrics_path : "/metrics", R_METRICS, GET},
        {"/openapi.json", R_OPENAPI, GET},
        {"/docs", R_DOCS_REDIRECT, GET},
        {"/docs/", R_DOCS, GET},
        {"/busy_threshold", R_BUSY, GET | POST},
        {"/v1/router/explain", R_EXPLAIN, GET},
        {"/v1/router/queue", R_QUEUE, GET},
        {"/tokenize", R_TOKENIZE, POST},
        {"/detokenize", R_DETOKENIZE, POST},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(table); i++)
        if (weir_span_eqz(path, table[i].path)) {
            bool admin =
                table[i].id == R_BUSY || table[i].id == R_EXPLAIN || table[i].id == R_QUEUE;
            if (admin && o->disable_frontend_admin_api)
                break;
            return table[i];
        }
    if (is_below(path, weir_span_z(responses), "/input_tokens"))
        return (struct route){NULL, R_INPUT_TOKENS, POST};
    if (o->enable_anthropic_api && is_below(path, messages_path(app), ""))
        return (struct route){NULL, R_MESSAGES, POST};
    if (o->enable_anthropic_api && is_below(path, messages_path(app), "/count_tokens"))
        return (struct route){NULL, R_COUNT_TOKENS, POST};
    struct weir_span models =
        weir_span_z(o->http_svc_models_path != NULL ? o->http_svc_models_path : "/v1/models");
    if (weir_span_starts(path, models) && path.len > models.len + 1 && path.data[models.len] == '/')
        return (struct route){NULL, R_MODEL, GET};
    return (struct route){NULL, R_NONE, 0};
}

static void refuse_method(struct weir_http_exchange *x, unsigned methods) {
    weir_front_empty(x, 405,
                     methods == (GET | POST) ? "POST,GET,HEAD"
                     : methods == POST       ? "POST"
                                             : "GET,HEAD");
}

static bool method_ok(struct weir_span method, unsigned methods) {
    if (weir_span_eqz(method, "POST"))
        return (methods & POST) != 0;
    return (weir_span_eqz(method, "GET") || weir_span_eqz(method, "HEAD")) && (methods & GET) != 0;
}

bool weir_front_is_json(struct weir_span value) {
    struct weir_span rest, type = weir_span_trim(weir_span_split(value, ';', &rest));
    if (weir_span_ieq(type, WEIR_SPAN_LIT("application/json")))
        return true;
    const size_t head = 12, tail = 5;
    return type.len >= head + tail &&
           weir_span_ieq(weir_span(type.data, head), WEIR_SPAN_LIT("application/")) &&
           weir_span_ieq(weir_span(type.data + type.len - tail, tail), WEIR_SPAN_LIT("+json"));
}

static void not_found(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    const struct weir_http_request *q = weir_http_exchange_request(x);
    struct weir_buf text;
    weir_buf_init(&text, 128 << 10);
    enum weir_status st = weir_buf_printf(&text, "Route not found: %.*s %.*s",
                                          WEIR_SPAN_ARG(q->method), WEIR_SPAN_ARG(q->path));
    weir_front_error_span(fl, x, 404,
                          st == WEIR_OK ? weir_buf_span(&text) : WEIR_SPAN_LIT("Route not found"),
                          weir_span(NULL, 0));
    weir_buf_fini(&text);
}

static bool is_inference(enum route_id id) {
    return id == R_CHAT || id == R_COMPLETIONS || id == R_RESPONSES || id == R_INPUT_TOKENS ||
           id == R_MESSAGES || id == R_COUNT_TOKENS || id == R_EMBEDDINGS;
}

/* Answers what can be answered from the head alone; false: the body is wanted. */
static bool answer_early(struct weir_front_loop *fl, struct weir_http_exchange *x,
                         const struct route *r) {
    const struct weir_http_request *q = weir_http_exchange_request(x);
    bool inference = is_inference(r->id);
    /* With no model at all for it, an endpoint does not exist yet (clients of the reference system
     * take the bare 404 for "not up"). Responses is always there. */
    if ((r->id == R_CHAT || r->id == R_COMPLETIONS) &&
        !weir_models_any(fl->app->models, r->id == R_CHAT) && !weir_front_draining(fl->app)) {
        if (fl->app->error_format == WEIR_ERROR_DYNAMO)
            weir_front_empty(x, 404, method_ok(q->method, r->methods) ? NULL : "POST");
        else
            weir_front_error(fl, x, 404, "Model not found: no model is registered yet");
        return true;
    }
    if (r->id == R_NONE) {
        not_found(fl, x);
        return true;
    }
    if (!method_ok(q->method, r->methods)) {
        refuse_method(x, r->methods);
        return true;
    }
    if (inference && !weir_front_is_json(weir_http_header_get(q, "content-type"))) {
        weir_front_count_failure(fl->app->metrics, 415);
        weir_front_error(fl, x, 415, "Expected request with Content-Type application/json");
        return true;
    }
    return false;
}

static size_t on_head(void *arg, struct weir_http_exchange *x) {
    struct weir_front_loop *fl = arg;
    struct route r = route_of(fl->app, weir_http_exchange_request(x)->path);
    if (answer_early(fl, x, &r))
        return 0;
    return r.id == R_BUSY ? SMALL_BODY : fl->app->body_limit;
}

static void on_request(void *arg, struct weir_http_exchange *x) {
    struct weir_front_loop *fl = arg;
    const struct weir_http_request *q = weir_http_exchange_request(x);
    struct route r = route_of(fl->app, q->path);
    switch (r.id) {
    case R_CHAT:
    case R_COMPLETIONS:
        weir_request_start(fl, x, r.id == R_CHAT ? WEIR_OPENAI_CHAT : WEIR_OPENAI_COMPLETION);
        break;
    case R_RESPONSES:
        weir_request_start(fl, x, WEIR_OPENAI_RESPONSES);
        break;
    case R_INPUT_TOKENS:
        weir_request_count_tokens(fl, x, WEIR_OPENAI_RESPONSES);
        break;
    case R_MESSAGES:
        weir_request_start(fl, x, WEIR_OPENAI_MESSAGES);
        break;
    case R_COUNT_TOKENS:
        weir_request_count_tokens(fl, x, WEIR_OPENAI_MESSAGES_COUNT);
        break;
    case R_EMBEDDINGS:
        weir_request_start(fl, x, WEIR_OPENAI_EMBEDDINGS);
        break;
    case R_MODELS:
        weir_front_models_list(fl, x);
        break;
    case R_MODEL: {
        size_t skip = strlen(fl->app->options.http_svc_models_path != NULL
                                 ? fl->app->options.http_svc_models_path
                                 : "/v1/models") +
                      1;
        weir_front_model_get(fl, x, weir_span(q->path.data + skip, q->path.len - skip));
        break;
    }
    case R_HEALTH:
        weir_front_health(fl, x);
        break;
    case R_LIVE:
        weir_front_live(fl, x);
        break;
    case R_METRICS:
        weir_front_metrics_page(fl, x);
        break;
    case R_OPENAPI:
        weir_front_openapi(fl, x);
        break;
    case R_DOCS_REDIRECT:
        weir_front_docs_redirect(x);
        break;
    case R_DOCS:
        weir_front_docs(x);
        break;
    case R_BUSY:
        if (weir_span_eqz(q->method, "POST"))
            weir_front_busy_post(fl, x);
        else
            weir_front_busy_get(fl, x);
        break;
    case R_QUEUE:
        weir_front_queue(fl, x);
        break;
    case R_EXPLAIN:
        weir_front_explain(fl, x);
        break;
    case R_TOKENIZE:
        weir_front_tokenize(fl, x);
        break;
    case R_DETOKENIZE:
        weir_front_detokenize(fl, x);
        break;
    case R_NONE:
        not_found(fl, x);
        break;
    }
}

static void on_body_error(void *arg, struct weir_http_exchange *x, int http_status) {
    struct weir_front_loop *fl = arg;
    char text[128];
    struct route r = route_of(fl->app, weir_http_exchange_request(x)->path);
    if (r.id == R_BUSY) {
        weir_front_text(
            x, http_status, "text/plain; charset=utf-8",
            http_status == 413
                ? WEIR_SPAN_LIT("Failed to buffer the request body: length limit exceeded")
                : WEIR_SPAN_LIT("Failed to buffer the request body"));
        return;
    }
    if (http_status == 413)
        snprintf(text, sizeof(text),
                 "Request body exceeds the limit of %zu MB set by DYN_HTTP_BODY_LIMIT_MB",
                 fl->app->body_limit >> 20);
    else
        snprintf(text, sizeof(text), "%s",
                 http_status == 408 ? "The request body came too slowly"
                 : http_status == 503
                     ? "There is no room for the request body; please retry shortly"
                     : "Failed to read request body");
    weir_front_error(fl, x, http_status, text);
    if (is_inference(r.id))
        weir_front_count_failure(fl->app->metrics, http_status);
}

static void on_writable(void *arg, struct weir_http_exchange *x) {
    (void)arg;
    struct weir_request *r = weir_http_exchange_user(x);
    if (r != NULL)
        weir_request_writable(r);
}

static void on_done(void *arg, struct weir_http_exchange *x, enum weir_http_done how) {
    (void)arg;
    struct weir_request *r = weir_http_exchange_user(x);
    if (r == NULL)
        return;
    if (how == WEIR_HTTP_DONE_ABORTED)
        weir_request_abort(r);
    weir_request_done(r);
}

const struct weir_http_handler weir_front_handler = {on_head, on_request, on_body_error,
                                                     on_writable, on_done};
