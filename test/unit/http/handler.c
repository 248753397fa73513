#include "test/unit/http/handler.h"

#include <stdlib.h>

static bool path_is(struct weir_http_exchange *x, const char *path) {
    return weir_span_eqz(weir_http_exchange_request(x)->path, path);
}

static size_t on_head(void *arg, struct weir_http_exchange *x) {
    struct app *app = arg;
    app->heads++;
    weir_http_exchange_set_user(x, app);
    if (path_is(x, "/early")) {
        weir_http_respond(x, 404, "text/plain", NULL, 0, WEIR_SPAN_LIT("early"));
        return 0;
    }
    if (path_is(x, "/head-stream")) {
        weir_http_stream_begin(x, 200, "text/plain", NULL, 0);
        if (weir_http_stream_write(x, WEIR_SPAN_LIT("streamed early")) == WEIR_OK)
            weir_http_stream_end(x);
        else
            weir_http_abort(x, "no memory for a piece");
        return 0;
    }
    if (path_is(x, "/small"))
        return 10;
    return app->body_limit != 0 ? app->body_limit : 1 << 20;
}

static void answer_stream(struct weir_http_exchange *x) {
    static const char *const pieces[] = {"some ", "pieces", "", " of one answer\n"};
    weir_http_stream_begin(x, 200, "text/event-stream", NULL, 0);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(pieces); i++) {
        if (weir_http_stream_write(x, weir_span_z(pieces[i])) != WEIR_OK) {
            weir_http_abort(x, "no memory for a piece");
            return;
        }
    }
    weir_http_stream_end(x);
}

static void on_request(void *arg, struct weir_http_exchange *x) {
    struct app *app = arg;
    app->requests++;
    const struct weir_http_request *q = weir_http_exchange_request(x);
    if (path_is(x, "/later")) {
        app->held = x;
        return;
    }
    if (path_is(x, "/stream")) {
        answer_stream(x);
        return;
    }
    if (path_is(x, "/none")) {
        weir_http_respond(x, 204, NULL, NULL, 0, weir_span("", 0));
        return;
    }
    /* "METHOD path query [body]" */
    size_t n = q->method.len + q->path.len + q->query.len + q->body.len + 5;
    char *text = malloc(n + 1);
    if (text == NULL)
        abort();
    int len = snprintf(text, n + 1, "%.*s %.*s %.*s [", WEIR_SPAN_ARG(q->method),
                       WEIR_SPAN_ARG(q->path), WEIR_SPAN_ARG(q->query));
    if (q->body.len > 0)
        memcpy(text + len, q->body.data, q->body.len);
    text[(size_t)len + q->body.len] = ']';
    weir_http_respond(x, 200, "text/plain", NULL, 0,
                      weir_span(text, (size_t)len + q->body.len + 1));
    free(text);
}

static void on_body_error(void *arg, struct weir_http_exchange *x, int status) {
    struct app *app = arg;
    app->errors++;
    weir_http_respond(x, status, "text/plain", NULL, 0, WEIR_SPAN_LIT("body error"));
}

static void on_writable(void *arg, struct weir_http_exchange *x) {
    (void)x;
    ((struct app *)arg)->writable++;
}

static void on_done(void *arg, struct weir_http_exchange *x, enum weir_http_done how) {
    struct app *app = arg;
    if (weir_http_exchange_user(x) != app)
        abort();
    if (app->held == x)
        app->held = NULL;
    if (how == WEIR_HTTP_DONE_SENT)
        app->sent++;
    else
        app->aborted++;
}

const struct weir_http_handler app_handler = {.on_head = on_head,
                                              .on_request = on_request,
                                              .on_body_error = on_body_error,
                                              .on_writable = on_writable,
                                              .on_done = on_done};

/* ---- reading answers ------------------------------------------------------------------------ */

static const char *find(const char *p, const char *end, const char *needle) {
    return memmem(p, (size_t)(end - p), needle, strlen(needle));
}

static const char *skip_chunks(const char *p, const char *end) {
    for (;;) {
        char *after;
        if (end - p < 3)
            return NULL;
        size_t n = strtoul(p, &after, 16);
        if (after == p || after + 2 > end || memcmp(after, "\r\n", 2) != 0)
            return NULL;
        p = after + 2;
        if ((size_t)(end - p) < n + 2 || memcmp(p + n, "\r\n", 2) != 0)
            return NULL;
        p += n + 2;
        if (n == 0)
            return p;
    }
}

bool read_answers(struct weir_span sent, bool eof, bool skip_100, char *statuses, size_t size,
                  const bool *head_only, size_t n_head_only) {
    const char *p = sent.data, *end = sent.data + sent.len;
    size_t n = 0, at = 0;
    statuses[0] = '\0';
    while (sent.len > 0 && p < end) {
        const char *head_end = find(p, end, "\r\n\r\n");
        if (head_end == NULL || end - p < 13 || memcmp(p, "HTTP/1.", 7) != 0)
            return false;
        int status = (int)strtol(p + 9, NULL, 10);
        const char *length = find(p, head_end, "\r\ncontent-length: ");
        bool chunked = find(p, head_end, "\r\ntransfer-encoding: chunked") != NULL;
        if (status != 100 && find(p, head_end, "\r\ndate: ") == NULL)
            return false;
        p = head_end + 4;
        if (status != 100 || !skip_100)
            at += (size_t)snprintf(statuses + at, size - at, at == 0 ? "%d" : " %d", status);
        if (status < 200 || status == 204)
            continue;
        if (n++ < n_head_only && head_only[n - 1])
            continue;
        if (chunked)
            p = skip_chunks(p, end);
        else if (length != NULL && (size_t)(end - p) >= strtoul(length + 18, NULL, 10))
            p += strtoul(length + 18, NULL, 10);
        else if (length == NULL && eof)
            p = end;
        else
            return false;
        if (p == NULL)
            return false;
    }
    return true;
}
