#include "bench/fetch.h"

struct fetch {
    struct weir_loop *loop;
    struct weir_buf *out;
    int http_status;
    enum weir_status status;
};

static void on_head(void *arg, int status, const struct weir_http_header *headers,
                    size_t n_headers) {
    struct fetch *f = arg;
    (void)headers;
    (void)n_headers;
    f->http_status = status;
}

static void on_body(void *arg, struct weir_span bytes) {
    struct fetch *f = arg;
    enum weir_status st = weir_buf_append_span(f->out, bytes);
    if (f->status == WEIR_OK)
        f->status = st;
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct fetch *f = arg;
    (void)sent_any;
    if (f->status == WEIR_OK)
        f->status = status;
    weir_loop_stop(f->loop);
}

enum weir_status weir_fetch(const struct weir_http_client_config *server, const char *target,
                            const struct weir_http_header *headers, size_t n_headers,
                            struct weir_span body, uint64_t timeout_ms, int *ret_http_status,
                            struct weir_buf *out) {
    static const struct weir_http_call_ops ops = {
        .on_head = on_head, .on_body = on_body, .on_done = on_done};
    struct fetch f = {.out = out};
    struct weir_http_client *client = NULL;
    struct weir_http_call *call = NULL;
    enum weir_status st = weir_loop_create(0, &f.loop);
    if (st != WEIR_OK)
        return st;
    st = weir_http_client_create(f.loop, server, &client);
    struct weir_http_call_config config = {
        .method = body.data != NULL ? "POST" : "GET",
        .target = target,
        .headers = headers,
        .n_headers = n_headers,
        .body = body,
        .total_ms = timeout_ms,
    };
    if (st == WEIR_OK)
        st = weir_http_call_start(client, &config, &ops, &f, &call);
    if (st == WEIR_OK) {
        weir_loop_run(f.loop);
        st = f.status;
    }
    weir_http_client_destroy(client);
    weir_loop_destroy(f.loop);
    if (st == WEIR_OK)
        *ret_http_status = f.http_status;
    return st;
}
