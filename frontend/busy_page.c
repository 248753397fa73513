/* The busy thresholds: what a worker may carry before new requests go elsewhere or are refused. */
#include "frontend/app_priv.h"
#include "wire/busy.h"

#include <math.h>
#include <stdio.h>

enum { BODY_MAX = 64 << 20 };

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
    weir_front_send(x, 200, &w, &body);
}

static void busy_refuse(struct weir_http_exchange *x, int status, struct weir_span text) {
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "error");
    weir_jsonw_string(&w, text);
    weir_jsonw_object_end(&w);
    weir_front_send(x, status, &w, &body);
}

static void busy_apply(struct weir_front_loop *fl, struct weir_http_exchange *x,
                       const struct weir_busy_request *b) {
    bool set = !isnan(b->decode_blocks) || b->prefill_tokens >= 0 || !isnan(b->prefill_tokens_frac);
    struct weir_model *model = weir_models_find(fl->app->models, b->model);
    struct weir_busy_thresholds now = {NAN, -1, NAN};
    if (model == NULL && set) {
        struct weir_buf text;
        weir_buf_init(&text, BODY_MAX);
        if (weir_buf_printf(&text,
                            "Model '%.*s' not found. Thresholds can only be set for discovered "
                            "models.",
                            WEIR_SPAN_ARG(b->model)) == WEIR_OK)
            busy_refuse(x, 404, weir_buf_span(&text));
        else
            weir_front_empty(x, 503, NULL);
        weir_buf_fini(&text);
        return;
    }
    if (model != NULL) {
        struct weir_router *router = weir_model_info(model)->router;
        weir_router_get_thresholds(router, &now);
        /* Null means unchanged. */
        now.decode_blocks = isnan(b->decode_blocks) ? now.decode_blocks : b->decode_blocks;
        now.prefill_tokens = b->prefill_tokens < 0 ? now.prefill_tokens : b->prefill_tokens;
        now.prefill_tokens_frac =
            isnan(b->prefill_tokens_frac) ? now.prefill_tokens_frac : b->prefill_tokens_frac;
        struct weir_prefill_pool *pool =
            weir_prefill_find(fl->app->prefill, weir_model_info(model)->workers_of);
        if (set)
            weir_router_set_thresholds(router, &now);
        if (set && pool != NULL)
            weir_router_set_thresholds(weir_prefill_pool_router(pool), &now);
        weir_model_unref(model);
    }
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    put_thresholds(&w, b->model, &now);
    weir_front_send(x, 200, &w, &body);
}

void weir_front_busy_post(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    const struct weir_http_request *q = weir_http_exchange_request(x);
    struct weir_busy_request b;
    struct weir_openai_error error = {0};
    if (!weir_front_is_json(weir_http_header_get(q, "content-type"))) {
        weir_front_text(x, 415, "text/plain; charset=utf-8",
                        WEIR_SPAN_LIT("Expected request with `Content-Type: application/json`"));
        return;
    }
    enum weir_status st = weir_busy_parse(q->body, weir_http_exchange_arena(x), &b, &error);
    if (st == WEIR_OK)
        busy_apply(fl, x, &b);
    else if (st == WEIR_NOMEM)
        weir_front_empty(x, 503, NULL);
    else if (weir_span_starts(error.message, WEIR_SPAN_LIT("Failed to parse")))
        weir_front_text(x, error.http_status, "text/plain; charset=utf-8", error.message);
    else
        busy_refuse(x, error.http_status, error.message);
}
