/* The models page: the list, one model, its readiness; in OpenAI's shape, or in Anthropic's for a
 * client that says it is one (header anthropic-version). */
#include "base/json.h"
#include "frontend/app_priv.h"

#include <time.h>

enum { BODY_MAX = 64 << 20 };

static void put_model(struct weir_jsonw *w, const struct weir_app *app,
                      const struct weir_model_info *info) {
    int64_t window = app->options.context_window, output = app->options.max_output_tokens;
    weir_jsonw_object_begin(w);
    weir_front_put_z(w, "id", info->name);
    weir_front_put_z(w, "object", "model");
    weir_jsonw_key(w, "created");
    weir_jsonw_u64(w, weir_wall_ms() / 1000);
    weir_front_put_z(w, "owned_by", "nvidia");
    weir_jsonw_key(w, "context_window");
    weir_jsonw_u64(w, window != WEIR_CONFIG_NONE ? (uint64_t)window : info->context_length);
    if (output != WEIR_CONFIG_NONE) {
        weir_jsonw_key(w, "max_output_tokens");
        weir_jsonw_i64(w, output);
    }
    weir_jsonw_object_end(w);
}

static void put_anthropic_model(struct weir_jsonw *w, const struct weir_app *app,
                                const struct weir_model_info *info) {
    char when[32];
    struct tm tm;
    time_t now = (time_t)(weir_wall_ms() / 1000);
    int64_t window = app->options.context_window;
    gmtime_r(&now, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    weir_jsonw_object_begin(w);
    weir_front_put_z(w, "id", info->name);
    weir_front_put_z(w, "display_name", info->name);
    weir_front_put_z(w, "type", "model");
    weir_front_put_z(w, "created_at", when);
    weir_jsonw_key(w, "max_input_tokens");
    weir_jsonw_u64(w, window != WEIR_CONFIG_NONE ? (uint64_t)window : info->context_length);
    weir_jsonw_object_end(w);
}

struct list {
    struct weir_jsonw *w;
    const struct weir_app *app;
    void (*put)(struct weir_jsonw *w, const struct weir_app *app,
                const struct weir_model_info *info);
    struct weir_arena *arena;
    struct weir_span first, last; /* names, in the arena */
};

static void on_model(void *arg, struct weir_model *model, bool ready) {
    struct list *l = arg;
    if (!ready)
        return;
    struct weir_span name = weir_span_z(weir_model_info(model)->name);
    l->put(l->w, l->app, weir_model_info(model));
    /* Copied: the model may leave once the registry's lock is given up. */
    l->last = weir_arena_copy(l->arena, name);
    if (l->first.data == NULL)
        l->first = l->last;
}

/* The reference system answers so only where its Anthropic API is on. */
static bool from_anthropic(const struct weir_app *app, struct weir_http_exchange *x) {
    return app->options.enable_anthropic_api &&
           weir_http_header_get(weir_http_exchange_request(x), "anthropic-version").data != NULL;
}

static void put_id(struct weir_jsonw *w, const char *key, struct weir_span id) {
    weir_jsonw_key(w, key);
    if (id.data != NULL)
        weir_jsonw_string(w, id);
    else
        weir_jsonw_null(w);
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
    bool anthropic = from_anthropic(fl->app, x);
    struct list l = {.w = &w,
                     .app = fl->app,
                     .put = anthropic ? put_anthropic_model : put_model,
                     .arena = weir_http_exchange_arena(x)};
    weir_jsonw_object_begin(&w);
    if (!anthropic)
        weir_front_put_z(&w, "object", "list");
    weir_jsonw_key(&w, "data");
    weir_jsonw_array_begin(&w);
    weir_models_each(fl->app->models, on_model, &l);
    weir_jsonw_array_end(&w);
    if (anthropic) {
        weir_jsonw_key(&w, "has_more");
        weir_jsonw_bool(&w, false);
        put_id(&w, "first_id", l.first);
        put_id(&w, "last_id", l.last);
    }
    weir_jsonw_object_end(&w);
    weir_front_send(x, 200, &w, &body);
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

/* By its name, or by one with a slash before it, as the reference system takes it. */
static struct weir_model *find(struct weir_front_loop *fl, struct weir_span *id) {
    struct weir_model *model = weir_models_find(fl->app->models, *id);
    if (model != NULL || id->len < 2 || id->data[0] != '/')
        return model;
    *id = weir_span(id->data + 1, id->len - 1);
    return weir_models_find(fl->app->models, *id);
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
    struct weir_span whole = id;
    struct weir_model *model = find(fl, &whole);
    if (model == NULL && id.len > suffix.len &&
        memcmp(id.data + id.len - suffix.len, suffix.data, suffix.len) == 0) {
        ready = true;
        id.len -= suffix.len;
        model = find(fl, &id);
    }
    if (model == NULL) {
        /* Workers that only prefill are no model yet. */
        if (!ready || !weir_front_ready(fl, x, NULL, id))
            weir_front_error(fl, x, 404, "Model not found");
        return;
    }
    if (ready) {
        (void)weir_front_ready(fl, x, model, weir_span_z(weir_model_info(model)->name));
    } else if (!weir_model_ready(model)) {
        if (weir_model_failed(model))
            weir_front_refuse(fl, x, 503, WEIR_SPAN_LIT("Not served: " WEIR_MODEL_FAILED "."),
                              weir_span(NULL, 0), WEIR_RETRY_NEVER);
        else
            weir_front_error(fl, x, 503, "Service temporarily unavailable");
    } else {
        struct weir_buf body;
        struct weir_jsonw w;
        weir_buf_init(&body, BODY_MAX);
        weir_jsonw_init(&w, &body);
        (from_anthropic(fl->app, x) ? put_anthropic_model : put_model)(&w, fl->app,
                                                                       weir_model_info(model));
        weir_front_send(x, 200, &w, &body);
    }
    weir_model_unref(model);
}
