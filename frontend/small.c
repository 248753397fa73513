/* Liveness, health, metrics and the documents that describe the API. */
#include "frontend/app_priv.h"

#include <stdio.h>

enum { BODY_MAX = 64 << 20 };

/* ---- live, health, metrics ---------------------------------------------------------------- */

void weir_front_live(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    if (weir_front_draining(fl->app))
        weir_front_json(
            x, 503,
            WEIR_SPAN_LIT(
                "{\"status\":\"shutting_down\",\"message\":\"Service is shutting down\"}"));
    else
        weir_front_json(x, 200,
                        WEIR_SPAN_LIT("{\"status\":\"live\",\"message\":\"Service is live\"}"));
}

/* "dyn://ns.component.endpoint", each once. */
struct health {
    struct weir_jsonw *w;
    bool names; /* first pass: endpoint names; second: instances */
    struct weir_endpoint_id seen[64];
    size_t n_seen;
};

static bool seen_before(struct health *h, const struct weir_endpoint_id *e) {
    for (size_t i = 0; i < h->n_seen; i++)
        if (weir_span_eq(h->seen[i].ns, e->ns) &&
            weir_span_eq(h->seen[i].component, e->component) &&
            weir_span_eq(h->seen[i].name, e->name))
            return true;
    if (h->n_seen < WEIR_ARRAY_LEN(h->seen))
        h->seen[h->n_seen++] = *e;
    return false;
}

static void on_instance(void *arg, const struct weir_model_instance *i) {
    struct health *h = arg;
    struct weir_jsonw *w = h->w;
    if (i->adapter)
        return;
    if (h->names) {
        char name[512];
        if (i->model == NULL || seen_before(h, i->endpoint))
            return;
        snprintf(name, sizeof(name), "dyn://%.*s.%.*s.%.*s", WEIR_SPAN_ARG(i->endpoint->ns),
                 WEIR_SPAN_ARG(i->endpoint->component), WEIR_SPAN_ARG(i->endpoint->name));
        weir_jsonw_string_z(w, name);
        return;
    }
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "component");
    weir_jsonw_string(w, i->endpoint->component);
    weir_jsonw_key(w, "endpoint");
    weir_jsonw_string(w, i->endpoint->name);
    weir_jsonw_key(w, "namespace");
    weir_jsonw_string(w, i->endpoint->ns);
    weir_jsonw_key(w, "instance_id");
    weir_jsonw_u64(w, i->id);
    weir_jsonw_key(w, "transport");
    weir_jsonw_object_begin(w);
    size_t n = sizeof(WEIR_PLANE_NATS) - 1;
    bool over_nats = strncmp(i->address, WEIR_PLANE_NATS, n) == 0;
    weir_front_put_z(w, over_nats ? "nats_tcp" : "tcp", i->address + (over_nats ? n : 0));
    weir_jsonw_object_end(w);
    weir_front_put_z(w, "request_plane_codec", i->codec == WEIR_CODEC_MSGPACK ? "msgpack" : "json");
    weir_jsonw_object_end(w);
}

void weir_front_health(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct weir_buf body;
    struct weir_jsonw w;
    if (weir_front_draining(fl->app)) {
        weir_front_json(
            x, 503,
            WEIR_SPAN_LIT("{\"status\":\"not_ready\",\"stage\":\"draining\",\"message\":"
                          "\"Service is not ready\"}"));
        return;
    }
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    struct health h = {.w = &w, .names = true};
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "status", "healthy");
    weir_jsonw_key(&w, "endpoints");
    weir_jsonw_array_begin(&w);
    weir_models_instances(fl->app->models, on_instance, &h);
    weir_jsonw_array_end(&w);
    h.names = false;
    weir_jsonw_key(&w, "instances");
    weir_jsonw_array_begin(&w);
    weir_models_instances(fl->app->models, on_instance, &h);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    weir_front_send(x, 200, &w, &body);
}

void weir_front_metrics_page(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct weir_buf body;
    weir_buf_init(&body, BODY_MAX);
    if (weir_metrics_expose(weir_front_metrics_registry(fl->app->metrics), &body) == WEIR_OK)
        weir_front_text(x, 200, "text/plain; charset=utf-8", weir_buf_span(&body));
    else
        weir_front_empty(x, 503, NULL);
    weir_buf_fini(&body);
}

struct api_path {
    const char *path, *method, *summary;
};
static const struct api_path api_paths[] = {
    {"/v1/chat/completions", "post", "Chat completion, streamed or whole"},
    {"/v1/completions", "post", "Text completion, one prompt or several"},
    {"/v1/embeddings", "post", "Embeddings of texts or token ids"},
    {"/v1/responses", "post", "Responses, stateless"},
    {"/v1/responses/input_tokens", "post", "How many tokens the input of a response has"},
    {"/v1/models", "get", "Models that can be asked for"},
    {"/v1/models/{*model_id}", "get", "One model, or with /ready behind it its workers"},
    {"/tokenize", "post", "Token ids of a prompt or a conversation"},
    {"/detokenize", "post", "Text of token ids"},
    {"/busy_threshold", "get", "Load-shedding thresholds of all models"},
    {"/busy_threshold", "post", "Sets or reads the thresholds of one model"},
    {"/v1/router/explain", "get", "Why a request went to its worker"},
    {"/v1/router/queue", "get", "Who waits for a worker, model by model"},
    {"/health", "get", "State and instances"},
    {"/live", "get", "Whether the process serves"},
    {"/metrics", "get", "Prometheus metrics"},
};

void weir_front_openapi(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    (void)fl;
    struct weir_buf body;
    struct weir_jsonw w;
    const char *open = NULL; /* the path whose object is being written */
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "openapi", "3.1.0");
    weir_jsonw_key(&w, "info");
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "title", "Weir OpenAI frontend");
    weir_front_put_z(&w, "version", WEIR_VERSION);
    weir_jsonw_object_end(&w);
    weir_jsonw_key(&w, "paths");
    weir_jsonw_object_begin(&w);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(api_paths); i++) {
        const struct api_path *p = &api_paths[i];
        if (open == NULL || strcmp(open, p->path) != 0) {
            if (open != NULL)
                weir_jsonw_object_end(&w);
            open = p->path;
            weir_jsonw_key(&w, open);
            weir_jsonw_object_begin(&w);
        }
        weir_jsonw_key(&w, p->method);
        weir_jsonw_object_begin(&w);
        weir_front_put_z(&w, "summary", p->summary);
        weir_jsonw_key(&w, "responses");
        weir_jsonw_raw(&w, WEIR_SPAN_LIT("{\"200\":{\"description\":\"OK\"}}"));
        weir_jsonw_object_end(&w);
    }
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    weir_front_send(x, 200, &w, &body);
}

void weir_front_docs_redirect(struct weir_http_exchange *x) {
    const struct weir_http_header to = {WEIR_SPAN_LIT("location"), WEIR_SPAN_LIT("/docs/")};
    weir_http_respond(x, 303, NULL, &to, 1, weir_span("", 0));
}

/* One page without anything from elsewhere: it must work where there is no other network. */
void weir_front_docs(struct weir_http_exchange *x) {
    struct weir_buf page;
    weir_buf_init(&page, BODY_MAX);
    enum weir_status st = weir_buf_append_z(
        &page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width\"><title>Weir API</title><style>"
        ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;"
        "margin:3rem auto;padding:0 1rem}code{font-size:.95em}td{padding:.3rem .8rem .3rem 0;"
        "vertical-align:top}td:first-child{text-transform:uppercase;opacity:.7}</style></head>"
        "<body><h1>Weir API</h1><p>OpenAPI (swagger) document: <a href=\"/openapi.json\">"
        "/openapi.json</a></p><table>\n");
    for (size_t i = 0; i < WEIR_ARRAY_LEN(api_paths) && st == WEIR_OK; i++)
        st = weir_buf_printf(&page, "<tr><td>%s</td><td><code>%s</code></td><td>%s</td></tr>\n",
                             api_paths[i].method, api_paths[i].path, api_paths[i].summary);
    if (st == WEIR_OK)
        st = weir_buf_append_z(&page, "</table></body></html>\n");
    if (st == WEIR_OK)
        weir_front_text(x, 200, "text/html", weir_buf_span(&page));
    else
        weir_front_empty(x, 503, NULL);
    weir_buf_fini(&page);
}
