/* The endpoints that need no worker. */
#include "base/json.h"
#include "base/mem.h"
#include "frontend/app_priv.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BODY_MAX = 64 << 20, DEPTH = 64 };

static void send_buf(struct weir_http_exchange *x, int status, struct weir_jsonw *w,
                     struct weir_buf *body) {
    if (w->status == WEIR_OK)
        weir_front_json(x, status, weir_buf_span(body));
    else
        weir_front_empty(x, 503, NULL);
    weir_buf_fini(body);
}

static void put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

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
    put_z(w, "tcp", i->address);
    weir_jsonw_object_end(w);
    put_z(w, "request_plane_codec", i->codec == WEIR_CODEC_MSGPACK ? "msgpack" : "json");
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
    put_z(&w, "status", "healthy");
    put_z(&w, "message", "Service is healthy");
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
    send_buf(x, 200, &w, &body);
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

void weir_front_openapi(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    static const struct {
        const char *path, *method, *summary;
    } paths[] = {{"/v1/chat/completions", "post", "Chat completion, streamed or whole"},
                 {"/v1/completions", "post", "Text completion, one prompt or several"},
                 {"/v1/models", "get", "Models that can be asked for"},
                 {"/v1/models/{model}", "get", "One model"},
                 {"/v1/models/{model}/ready", "get", "Whether a model has its workers"},
                 {"/tokenize", "post", "Token ids of a prompt or a conversation"},
                 {"/detokenize", "post", "Text of token ids"},
                 {"/busy_threshold", "get", "Load-shedding thresholds of all models"},
                 {"/health", "get", "State and instances"},
                 {"/live", "get", "Whether the process serves"},
                 {"/metrics", "get", "Prometheus metrics"}};
    (void)fl;
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    put_z(&w, "openapi", "3.1.0");
    weir_jsonw_key(&w, "info");
    weir_jsonw_object_begin(&w);
    put_z(&w, "title", "Weir frontend");
    put_z(&w, "version", WEIR_VERSION);
    weir_jsonw_object_end(&w);
    weir_jsonw_key(&w, "paths");
    weir_jsonw_object_begin(&w);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(paths); i++) {
        weir_jsonw_key(&w, paths[i].path);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, paths[i].method);
        weir_jsonw_object_begin(&w);
        put_z(&w, "summary", paths[i].summary);
        weir_jsonw_key(&w, "responses");
        weir_jsonw_raw(&w, WEIR_SPAN_LIT("{\"200\":{\"description\":\"OK\"}}"));
        weir_jsonw_object_end(&w);
        weir_jsonw_object_end(&w);
    }
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    send_buf(x, 200, &w, &body);
}

/* ---- models ------------------------------------------------------------------------------- */

static void put_model(struct weir_jsonw *w, const struct weir_app *app,
                      const struct weir_model_info *info) {
    int64_t window = app->options.context_window, output = app->options.max_output_tokens;
    weir_jsonw_object_begin(w);
    put_z(w, "id", info->name);
    put_z(w, "object", "model");
    weir_jsonw_key(w, "created");
    weir_jsonw_u64(w, weir_wall_ms() / 1000);
    put_z(w, "owned_by", "nvidia");
    weir_jsonw_key(w, "context_window");
    weir_jsonw_u64(w, window != WEIR_CONFIG_NONE ? (uint64_t)window : info->context_length);
    if (output != WEIR_CONFIG_NONE) {
        weir_jsonw_key(w, "max_output_tokens");
        weir_jsonw_i64(w, output);
    }
    weir_jsonw_object_end(w);
}

struct list {
    struct weir_jsonw *w;
    const struct weir_app *app;
};

static void on_model(void *arg, struct weir_model *model, bool ready) {
    struct list *l = arg;
    if (ready)
        put_model(l->w, l->app, weir_model_info(model));
}

void weir_front_models_list(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct weir_buf body;
    struct weir_jsonw w;
    if (weir_front_draining(fl->app)) {
        weir_front_error(fl, x, 503, "Service is not ready");
        return;
    }
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    struct list l = {&w, fl->app};
    weir_jsonw_object_begin(&w);
    put_z(&w, "object", "list");
    weir_jsonw_key(&w, "data");
    weir_jsonw_array_begin(&w);
    weir_models_each(fl->app->models, on_model, &l);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    send_buf(x, 200, &w, &body);
}

/* Per namespace: whether there are workers of the model, and how many. */
struct ready {
    const char *model;
    struct {
        struct weir_span ns;
        unsigned workers;
    } spaces[32];
    size_t n;
};

static void on_ready_instance(void *arg, const struct weir_model_instance *i) {
    struct ready *r = arg;
    if (i->model == NULL || strcmp(i->model, r->model) != 0)
        return;
    for (size_t k = 0; k < r->n; k++)
        if (weir_span_eq(r->spaces[k].ns, i->endpoint->ns)) {
            r->spaces[k].workers++;
            return;
        }
    if (r->n == WEIR_ARRAY_LEN(r->spaces))
        return;
    r->spaces[r->n].ns = i->endpoint->ns;
    r->spaces[r->n++].workers = 1;
}

static void answer_ready(struct weir_front_loop *fl, struct weir_http_exchange *x,
                         struct weir_model *model) {
    struct weir_buf body;
    struct weir_jsonw w;
    struct ready r = {.model = weir_model_info(model)->name};
    weir_models_instances(fl->app->models, on_ready_instance, &r);
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    put_z(&w, "model", r.model);
    weir_jsonw_key(&w, "ready");
    weir_jsonw_bool(&w, r.n > 0);
    weir_jsonw_key(&w, "namespaces");
    weir_jsonw_object_begin(&w);
    for (size_t i = 0; i < r.n; i++) {
        weir_jsonw_key_span(&w, r.spaces[i].ns);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "ready");
        weir_jsonw_bool(&w, true);
        weir_jsonw_key(&w, "worker_types");
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "aggregated");
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "workers");
        weir_jsonw_u64(&w, r.spaces[i].workers);
        weir_jsonw_key(&w, "needs");
        weir_jsonw_raw(&w, WEIR_SPAN_LIT("[]"));
        weir_jsonw_object_end(&w);
        weir_jsonw_object_end(&w);
        weir_jsonw_key(&w, "present");
        weir_jsonw_raw(&w, WEIR_SPAN_LIT("[\"aggregated\"]"));
        weir_jsonw_key(&w, "missing_worker_types");
        weir_jsonw_raw(&w, WEIR_SPAN_LIT("[]"));
        weir_jsonw_object_end(&w);
    }
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    send_buf(x, 200, &w, &body);
}

/* Only %XX sequences are decoded; a broken one stands for itself. */
static struct weir_span percent_decode(struct weir_http_exchange *x, struct weir_span in) {
    char *out = weir_arena_alloc(weir_http_exchange_arena(x), in.len + 1);
    size_t n = 0;
    if (out == NULL)
        return in;
    for (size_t i = 0; i < in.len; i++) {
        uint64_t v;
        bool code = in.data[i] == '%' && in.len - i > 2 &&
                    weir_span_hex64(weir_span(in.data + i + 1, 2), &v);
        out[n++] = code ? (char)v : in.data[i];
        i += code ? 2 : 0;
    }
    return weir_span(out, n);
}

void weir_front_model_get(struct weir_front_loop *fl, struct weir_http_exchange *x,
                          struct weir_span id) {
    const struct weir_span suffix = WEIR_SPAN_LIT("/ready");
    id = percent_decode(x, id);
    if (weir_front_draining(fl->app)) {
        weir_front_error(fl, x, 503, "Service is not ready");
        return;
    }
    bool ready = false;
    struct weir_model *model = weir_models_find(fl->app->models, id);
    if (model == NULL && id.len > suffix.len &&
        memcmp(id.data + id.len - suffix.len, suffix.data, suffix.len) == 0) {
        ready = true;
        model = weir_models_find(fl->app->models, weir_span(id.data, id.len - suffix.len));
    }
    if (model == NULL) {
        weir_front_error(fl, x, 404, "Model not found");
        return;
    }
    if (ready) {
        answer_ready(fl, x, model);
    } else if (!weir_model_ready(model)) {
        weir_front_error(fl, x, 503, "Service temporarily unavailable");
    } else {
        struct weir_buf body;
        struct weir_jsonw w;
        weir_buf_init(&body, BODY_MAX);
        weir_jsonw_init(&w, &body);
        put_model(&w, fl->app, weir_model_info(model));
        send_buf(x, 200, &w, &body);
    }
    weir_model_unref(model);
}

/* ---- busy thresholds ---------------------------------------------------------------------- */

static void put_thresholds(struct weir_jsonw *w, struct weir_span model,
                           const struct weir_busy_thresholds *t) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "model");
    weir_jsonw_string(w, model);
    weir_jsonw_key(w, "active_decode_blocks_threshold");
    weir_jsonw_f64(w, t->decode_blocks);
    weir_jsonw_key(w, "active_prefill_tokens_threshold");
    if (t->prefill_tokens >= 0)
        weir_jsonw_i64(w, t->prefill_tokens);
    else
        weir_jsonw_null(w);
    weir_jsonw_key(w, "active_prefill_tokens_threshold_frac");
    weir_jsonw_f64(w, t->prefill_tokens_frac);
    weir_jsonw_object_end(w);
}

static void on_busy_model(void *arg, struct weir_model *model, bool ready) {
    struct weir_jsonw *w = arg;
    struct weir_busy_thresholds t;
    (void)ready;
    weir_router_get_thresholds(weir_model_info(model)->router, &t);
    put_thresholds(w, weir_span_z(weir_model_info(model)->name), &t);
}

void weir_front_busy_get(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "thresholds");
    weir_jsonw_array_begin(&w);
    weir_models_each(fl->app->models, on_busy_model, &w);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    send_buf(x, 200, &w, &body);
}

static void busy_refuse(struct weir_http_exchange *x, int status, const char *text) {
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    put_z(&w, "error", text);
    weir_jsonw_object_end(&w);
    send_buf(x, status, &w, &body);
}

struct busy_request {
    struct weir_span model;
    struct weir_busy_thresholds t;
    const char *wrong; /* static text of a refusal with 422 */
};

static void read_busy_member(struct weir_json *j, struct weir_json_str key, struct busy_request *b,
                             struct weir_arena *arena) {
    struct weir_json_str s;
    enum weir_json_type type = weir_json_peek(j);
    uint64_t u = 0;
    if (weir_json_str_eqz(key, "model")) {
        if (type == WEIR_JSON_STRING && weir_json_string(j, &s))
            b->model = weir_json_text(s, arena);
        else
            b->wrong = "model: expected a string";
    } else if (type == WEIR_JSON_NULL) {
        weir_json_skip(j, NULL);
    } else if (weir_json_str_eqz(key, "active_decode_blocks_threshold")) {
        if (type != WEIR_JSON_NUMBER || !weir_json_f64(j, &b->t.decode_blocks))
            b->wrong = "active_decode_blocks_threshold: expected f64";
    } else if (weir_json_str_eqz(key, "active_prefill_tokens_threshold_frac")) {
        if (type != WEIR_JSON_NUMBER || !weir_json_f64(j, &b->t.prefill_tokens_frac))
            b->wrong = "active_prefill_tokens_threshold_frac: expected f64";
    } else if (weir_json_str_eqz(key, "active_prefill_tokens_threshold")) {
        if (type == WEIR_JSON_NUMBER && weir_json_u64(j, &u))
            b->t.prefill_tokens = u > INT64_MAX ? INT64_MAX : (int64_t)u;
        else
            b->wrong = "active_prefill_tokens_threshold: expected u64";
    } else {
        weir_json_skip(j, NULL);
    }
}

static const char *busy_range(const struct weir_busy_thresholds *t) {
    if (!isnan(t->decode_blocks) && (t->decode_blocks < 0 || t->decode_blocks > 1))
        return "active_decode_blocks_threshold must be between 0.0 and 1.0";
    if (!isnan(t->prefill_tokens_frac) && t->prefill_tokens_frac < 0)
        return "active_prefill_tokens_threshold_frac must be >= 0.0";
    return NULL;
}

static void busy_apply(struct weir_front_loop *fl, struct weir_http_exchange *x,
                       const struct busy_request *b) {
    bool set =
        !isnan(b->t.decode_blocks) || b->t.prefill_tokens >= 0 || !isnan(b->t.prefill_tokens_frac);
    struct weir_model *model = weir_models_find(fl->app->models, b->model);
    struct weir_busy_thresholds now = {NAN, -1, NAN};
    if (model == NULL && set) {
        char text[512];
        snprintf(text, sizeof(text),
                 "Model '%.*s' not found. Thresholds can only be set for discovered models.",
                 WEIR_SPAN_ARG(b->model));
        busy_refuse(x, 404, text);
        return;
    }
    if (model != NULL) {
        struct weir_router *router = weir_model_info(model)->router;
        weir_router_get_thresholds(router, &now);
        /* Null means unchanged. */
        now.decode_blocks = isnan(b->t.decode_blocks) ? now.decode_blocks : b->t.decode_blocks;
        now.prefill_tokens = b->t.prefill_tokens < 0 ? now.prefill_tokens : b->t.prefill_tokens;
        now.prefill_tokens_frac =
            isnan(b->t.prefill_tokens_frac) ? now.prefill_tokens_frac : b->t.prefill_tokens_frac;
        if (set)
            weir_router_set_thresholds(router, &now);
        weir_model_unref(model);
    }
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    put_thresholds(&w, b->model, &now);
    send_buf(x, 200, &w, &body);
}

void weir_front_busy_post(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    const struct weir_http_request *q = weir_http_exchange_request(x);
    struct weir_span type = weir_http_header_get(q, "content-type");
    struct busy_request b = {.t = {NAN, -1, NAN}};
    struct weir_json j;
    struct weir_json_str key;
    if (!weir_span_starts(type, WEIR_SPAN_LIT("application/json"))) {
        weir_front_text(x, 415, "text/plain; charset=utf-8",
                        WEIR_SPAN_LIT("Expected request with `Content-Type: application/json`"));
        return;
    }
    weir_json_init(&j, q->body, DEPTH);
    bool object = weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j);
    while (object && b.wrong == NULL && weir_json_object_next(&j, &key))
        read_busy_member(&j, key, &b, weir_http_exchange_arena(x));
    if (j.error != WEIR_JSON_ERR_NONE && b.wrong == NULL) {
        char text[256];
        unsigned line, column;
        weir_json_line_column(q->body, j.error_pos, &line, &column);
        int n = snprintf(text, sizeof(text),
                         "Failed to parse the request body as JSON: %s at line %u column %u",
                         weir_json_error_text(j.error), line, column);
        weir_front_text(x, 400, "text/plain; charset=utf-8", weir_span(text, (size_t)n));
    } else if (!object || b.wrong != NULL || b.model.data == NULL) {
        busy_refuse(x, 422,
                    b.wrong != NULL ? b.wrong
                    : object        ? "missing field `model`"
                                    : "expected an object");
    } else if (busy_range(&b.t) != NULL) {
        busy_refuse(x, 400, busy_range(&b.t));
    } else {
        busy_apply(fl, x, &b);
    }
}

/* ---- tokenize, detokenize (the shape of vLLM) --------------------------------------------- */

struct tokenize_request {
    struct weir_span model, prompt, messages, tools;
    struct weir_span tokens; /* raw array */
    bool has_prompt, strings, no_generation_prompt;
};

static bool read_tokenize(struct weir_http_exchange *x, struct tokenize_request *t) {
    struct weir_json j;
    struct weir_json_str key, s;
    struct weir_arena *arena = weir_http_exchange_arena(x);
    weir_json_init(&j, weir_http_exchange_request(x)->body, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        enum weir_json_type type = weir_json_peek(&j);
        bool flag = false;
        if (weir_json_str_eqz(key, "model") && type == WEIR_JSON_STRING) {
            weir_json_string(&j, &s);
            t->model = weir_json_text(s, arena);
        } else if (weir_json_str_eqz(key, "prompt") && type == WEIR_JSON_STRING) {
            t->has_prompt = weir_json_string(&j, &s);
            t->prompt = weir_json_text(s, arena);
        } else if (weir_json_str_eqz(key, "messages") && type == WEIR_JSON_ARRAY) {
            weir_json_skip(&j, &t->messages);
        } else if (weir_json_str_eqz(key, "tools") && type == WEIR_JSON_ARRAY) {
            weir_json_skip(&j, &t->tools);
        } else if (weir_json_str_eqz(key, "tokens") && type == WEIR_JSON_ARRAY) {
            weir_json_skip(&j, &t->tokens);
        } else if (weir_json_str_eqz(key, "return_token_strs") && type == WEIR_JSON_TRUE) {
            t->strings = weir_json_bool(&j, &flag);
        } else if (weir_json_str_eqz(key, "add_generation_prompt") && type == WEIR_JSON_FALSE) {
            t->no_generation_prompt = weir_json_bool(&j, &flag);
        } else {
            weir_json_skip(&j, NULL);
        }
    }
    return weir_json_finish(&j);
}

/* The named model, or the only one. */
struct only {
    struct weir_span name;
    unsigned n;
};

static void on_only(void *arg, struct weir_model *model, bool ready) {
    struct only *o = arg;
    (void)ready;
    o->n++;
    o->name = weir_span_z(weir_model_info(model)->name);
}

static struct weir_model *pick_model(struct weir_front_loop *fl, struct weir_span name) {
    struct only o = {0};
    if (name.data != NULL)
        return weir_models_find(fl->app->models, name);
    weir_models_each(fl->app->models, on_only, &o);
    return o.n == 1 ? weir_models_find(fl->app->models, o.name) : NULL;
}

static void put_token_strings(struct weir_jsonw *w, const struct wtok *tok, const uint32_t *ids,
                              size_t n) {
    weir_jsonw_key(w, "token_strs");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++) {
        struct weir_buf text;
        weir_buf_init(&text, 4096);
        enum weir_status st = wtok_id_bytes(tok, ids[i], &text);
        weir_jsonw_string(w, st == WEIR_OK ? weir_buf_span(&text) : weir_span("", 0));
        weir_buf_fini(&text);
    }
    weir_jsonw_array_end(w);
}

static void answer_tokens(struct weir_http_exchange *x, const struct weir_model_info *info,
                          const struct tokenize_request *t, const uint32_t *ids, size_t n) {
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, (size_t)1 << 30);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "count");
    weir_jsonw_u64(&w, n);
    weir_jsonw_key(&w, "max_model_len");
    weir_jsonw_u64(&w, info->context_length);
    weir_jsonw_key(&w, "tokens");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < n; i++)
        weir_jsonw_u64(&w, ids[i]);
    weir_jsonw_array_end(&w);
    if (t->strings)
        put_token_strings(&w, info->tok, ids, n);
    weir_jsonw_object_end(&w);
    send_buf(x, 200, &w, &body);
}

void weir_front_tokenize(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct tokenize_request t = {0};
    struct weir_err err = {.text = "out of memory"};
    if (!read_tokenize(x, &t) || t.has_prompt == (t.messages.data != NULL)) {
        weir_front_error(fl, x, 400,
                         "a JSON object with either `prompt` or `messages` is expected");
        return;
    }
    struct weir_model *model = pick_model(fl, t.model);
    if (model == NULL) {
        weir_front_error(fl, x, 404, "Model not found");
        return;
    }
    const struct weir_model_info *info = weir_model_info(model);
    struct weir_buf text;
    weir_buf_init(&text, (size_t)256 << 20);
    enum weir_status st;
    if (t.has_prompt) {
        st = weir_buf_append_span(&text, t.prompt);
    } else {
        struct wtok_chat chat = {.messages = t.messages,
                                 .tools = t.tools,
                                 .add_generation_prompt = !t.no_generation_prompt};
        st = wtok_render_chat(info->tok, &chat, &text, &err);
    }
    size_t n = 0, room = wtok_encode_bound(info->tok, text.len);
    uint32_t *ids = st == WEIR_OK ? weir_malloc((room + 1) * sizeof(*ids)) : NULL;
    if (ids != NULL)
        st = wtok_encode(info->tok, weir_buf_span(&text), !t.has_prompt, ids, room, &n);
    if (ids != NULL && st == WEIR_OK)
        answer_tokens(x, info, &t, ids, n);
    else
        weir_front_error(fl, x, st == WEIR_INVALID ? 400 : 503, err.text);
    weir_free(ids);
    weir_buf_fini(&text);
    weir_model_unref(model);
}

void weir_front_detokenize(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct tokenize_request t = {0};
    if (!read_tokenize(x, &t) || t.tokens.data == NULL) {
        weir_front_error(fl, x, 400, "a JSON object with `tokens` is expected");
        return;
    }
    struct weir_model *model = pick_model(fl, t.model);
    if (model == NULL) {
        weir_front_error(fl, x, 404, "Model not found");
        return;
    }
    struct weir_buf text, body;
    struct weir_json j;
    struct wtok_stream s;
    uint64_t id = 0;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&text, (size_t)256 << 20);
    wtok_stream_init(&s, weir_model_info(model)->tok, false);
    weir_json_init(&j, t.tokens, DEPTH);
    weir_json_array_enter(&j);
    while (st == WEIR_OK && weir_json_array_next(&j))
        st = weir_json_u64(&j, &id) && id <= UINT32_MAX ? wtok_stream_push(&s, (uint32_t)id, &text)
                                                        : WEIR_INVALID;
    if (st == WEIR_OK)
        st = wtok_stream_finish(&s, &text);
    if (st == WEIR_OK) {
        struct weir_jsonw w;
        weir_buf_init(&body, (size_t)1 << 30);
        weir_jsonw_init(&w, &body);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "prompt");
        weir_jsonw_string(&w, weir_buf_span(&text));
        weir_jsonw_object_end(&w);
        send_buf(x, 200, &w, &body);
    } else {
        weir_front_error(fl, x, 400, "`tokens` must be an array of ids of this model's vocabulary");
    }
    weir_buf_fini(&text);
    weir_model_unref(model);
}
