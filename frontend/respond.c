#include "base/mem.h"
#include "frontend/app_priv.h"
#include "wire/anthropic.h"

#include <stdio.h>
#include <string.h>

enum { BODY_MAX = 64 << 20, MAX_EXTRA = 4 };

static size_t echo_id(struct weir_http_exchange *x, struct weir_http_header *headers, size_t n) {
    struct weir_span id = weir_http_header_get(weir_http_exchange_request(x), "x-request-id");
    if (id.data != NULL)
        headers[n++] = (struct weir_http_header){WEIR_SPAN_LIT("x-request-id"), id};
    return weir_request_explain_header(x, headers, n);
}

void weir_front_text(struct weir_http_exchange *x, int status, const char *content_type,
                     struct weir_span body) {
    weir_front_relayed(x, status, content_type, weir_span(NULL, 0), body);
}

void weir_front_relayed(struct weir_http_exchange *x, int status, const char *content_type,
                        struct weir_span metadata, struct weir_span body) {
    struct weir_http_header headers[MAX_EXTRA];
    size_t n = echo_id(x, headers, 0);
    if (metadata.data != NULL)
        headers[n++] = (struct weir_http_header){WEIR_SPAN_LIT("metadata"), metadata};
    weir_http_respond(x, status, content_type, headers, n, body);
}

void weir_front_json(struct weir_http_exchange *x, int status, struct weir_span body) {
    weir_front_text(x, status, "application/json", body);
}

void weir_front_empty(struct weir_http_exchange *x, int status, const char *allow) {
    struct weir_http_header headers[MAX_EXTRA];
    size_t n = echo_id(x, headers, 0);
    if (allow != NULL)
        headers[n++] = (struct weir_http_header){WEIR_SPAN_LIT("allow"), weir_span_z(allow)};
    weir_http_respond(x, status, NULL, headers, n, weir_span("", 0));
}

void weir_front_send(struct weir_http_exchange *x, int status, struct weir_jsonw *w,
                     struct weir_buf *body) {
    if (w->status == WEIR_OK)
        weir_front_json(x, status, weir_buf_span(body));
    else
        weir_front_empty(x, 503, NULL);
    weir_buf_fini(body);
}

void weir_front_put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

static void send_error(struct weir_front_loop *fl, struct weir_http_exchange *x, int status,
                       struct weir_span message, struct weir_span param, struct weir_span details,
                       unsigned retry_after_s) {
    struct weir_http_header headers[MAX_EXTRA];
    char seconds[16];
    int n_seconds = snprintf(seconds, sizeof(seconds), "%u", retry_after_s > 0 ? retry_after_s : 1);
    struct weir_buf body;
    weir_buf_init(&body, BODY_MAX);
    size_t n = echo_id(x, headers, 0);
    /* Who was turned away for load may come again soon; SDKs honour the hint. They come again by
     * themselves, too, unless they are told not to. */
    if (retry_after_s == WEIR_RETRY_NEVER)
        headers[n++] =
            (struct weir_http_header){WEIR_SPAN_LIT("x-should-retry"), WEIR_SPAN_LIT("false")};
    else if (status == fl->app->overload_status || status == 503)
        headers[n++] = (struct weir_http_header){WEIR_SPAN_LIT("retry-after"),
                                                 weir_span(seconds, (size_t)n_seconds)};
    enum weir_status st =
        weir_front_speaks_anthropic(fl->app, x)
            ? weir_messages_error_body(status, message, &body)
            : weir_answer_error_body(fl->app->error_format, status, message, param, details, &body);
    if (st != WEIR_OK)
        weir_buf_clear(&body);
    weir_http_respond(x, status, "application/json", headers, n, weir_buf_span(&body));
    weir_buf_fini(&body);
}

void weir_front_error_span(struct weir_front_loop *fl, struct weir_http_exchange *x, int status,
                           struct weir_span message, struct weir_span param) {
    send_error(fl, x, status, message, param, weir_span(NULL, 0), 0);
}

void weir_front_refuse(struct weir_front_loop *fl, struct weir_http_exchange *x, int status,
                       struct weir_span message, struct weir_span details, unsigned retry_after_s) {
    send_error(fl, x, status, message, weir_span(NULL, 0), details, retry_after_s);
}

void weir_front_error(struct weir_front_loop *fl, struct weir_http_exchange *x, int status,
                      const char *message) {
    weir_front_error_span(fl, x, status, weir_span_z(message), weir_span(NULL, 0));
}

/* Dynamo sends these without a body; every other client is told what was wrong with its request. */
const char *weir_front_protocol_error(void *arg, int status, const char *text,
                                      struct weir_buf *body) {
    const struct weir_front_loop *fl = arg;
    if (fl->app->error_format == WEIR_ERROR_DYNAMO ||
        weir_answer_error_body(fl->app->error_format, status, weir_span_z(text), weir_span(NULL, 0),
                               weir_span(NULL, 0), body) != WEIR_OK)
        return NULL;
    return "application/json";
}

void weir_front_sse_begin(struct weir_http_exchange *x) {
    struct weir_http_header headers[MAX_EXTRA];
    size_t n = echo_id(x, headers, 0);
    headers[n++] =
        (struct weir_http_header){WEIR_SPAN_LIT("cache-control"), WEIR_SPAN_LIT("no-cache")};
    weir_http_stream_begin(x, 200, "text/event-stream", headers, n);
}

bool weir_front_draining(const struct weir_app *app) {
    return atomic_load_explicit(&app->stage, memory_order_relaxed) == WEIR_STAGE_DRAINING;
}
