#include "test/unit/http/http2_rig.h"

#include <stdlib.h>

/* ---- the client ----------------------------------------------------------------------------- */

static int on_field(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
                    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                    void *arg) {
    (void)s;
    (void)flags;
    struct rig *r = arg;
    if (!weir_span_eqz(weir_span((const char *)name, name_len), ":status"))
        return 0;
    uint64_t status = 0;
    CHECK(weir_span_u64(weir_span((const char *)value, value_len), &status));
    struct seen *seen = &r->seen[frame->hd.stream_id];
    if (status < 200)
        seen->interim = (int)status;
    else
        seen->status = (int)status;
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *arg) {
    (void)s;
    (void)flags;
    struct rig *r = arg;
    CHECK(weir_buf_append(&r->seen[id].body, data, len) == WEIR_OK);
    return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg) {
    (void)s;
    struct rig *r = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        r->goaway = true;
        r->goaway_code = frame->goaway.error_code;
    }
    if (frame->hd.stream_id > 0 && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
        r->seen[frame->hd.stream_id].ended = true;
    return 0;
}

static int on_stream_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg) {
    (void)s;
    struct rig *r = arg;
    r->seen[id].closed = true;
    r->seen[id].code = code;
    return 0;
}

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *arg) {
    (void)s;
    (void)id;
    (void)arg;
    struct body *b = source->ptr;
    size_t n = b->left.len < room ? b->left.len : room;
    if (n > 0)
        memcpy(to, b->left.data, n);
    b->left = weir_span(b->left.data + n, b->left.len - n);
    if (b->left.len == 0 && !b->held)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return n == 0 && b->held ? NGHTTP2_ERR_DEFERRED : (ssize_t)n;
}

/* ---- both ----------------------------------------------------------------------------------- */

void rig_up(struct rig *r, const struct weir_http_limits *limits, uint32_t window) {
    memset(r, 0, sizeof(*r));
    r->loop = fake_loop_create();
    struct weir_http_server_config config = {
        .handler = &app_handler, .http2 = true, .arg = &r->app};
    if (limits != NULL)
        config.limits = *limits;
    CHECK(weir_http_server_create(r->loop, &config, &r->server, NULL) == WEIR_OK);
    fake_accept(r->loop, &r->end);
    r->seen = calloc(STREAMS, sizeof(*r->seen));
    for (size_t i = 0; i < STREAMS; i++)
        weir_buf_init(&r->seen[i].body, 64 << 20);
    nghttp2_session_callbacks *k;
    CHECK(nghttp2_session_callbacks_new(&k) == 0);
    nghttp2_session_callbacks_set_on_header_callback(k, on_field);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(k, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(k, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(k, on_stream_close);
    CHECK(nghttp2_session_client_new(&r->client, k, r) == 0);
    nghttp2_session_callbacks_del(k);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
    CHECK(nghttp2_submit_settings(r->client, NGHTTP2_FLAG_NONE, settings, 1) == 0);
}

void rig_down(struct rig *r) {
    if (r->end.fin && !r->end.closed)
        fake_eof(r->loop, &r->end); /* the server waits for it */
    weir_http_server_destroy(r->server);
    fake_loop_turn(r->loop);
    CHECK(r->end.stream == NULL);
    CHECK_EQ_U64(r->app.heads, r->app.sent + r->app.aborted);
    fake_end_fini(&r->end);
    fake_loop_destroy(r->loop);
    nghttp2_session_del(r->client);
    for (size_t i = 0; i < STREAMS; i++)
        weir_buf_fini(&r->seen[i].body);
    free(r->seen);
}

void to_server(struct rig *r, const void *data, size_t len) {
    const char *p = data;
    while (len > 0) {
        size_t n = r->cut != 0 && r->cut < len ? r->cut : len;
        fake_feed(r->loop, &r->end, p, n);
        p += n;
        len -= n;
    }
}

void talk(struct rig *r) {
    for (bool more = true; more;) {
        more = false;
        const uint8_t *data;
        for (ssize_t n; (n = nghttp2_session_mem_send(r->client, &data)) > 0; more = true)
            to_server(r, data, (size_t)n);
        fake_loop_turn(r->loop);
        size_t n = r->end.sent.len - r->read;
        if (n > 0) {
            CHECK(nghttp2_session_mem_recv(r->client, (uint8_t *)r->end.sent.data + r->read, n) ==
                  (ssize_t)n);
            r->read += n;
            more = true;
        }
    }
}

static nghttp2_nv pair(const char *name, const char *value) {
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = strlen(name),
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = strlen(value)};
}

int32_t ask(struct rig *r, const char *method, const char *path, const char *const *more,
            struct body *body) {
    nghttp2_nv nv[160] = {pair(":method", method), pair(":scheme", "http"),
                          pair(":authority", "host:1"), pair(":path", path)};
    size_t n = 4;
    for (; more != NULL && more[0] != NULL; more += 2)
        nv[n++] = pair(more[0], more[1]);
    const nghttp2_data_provider source = {.source = {.ptr = body}, .read_callback = read_body};
    int32_t id =
        nghttp2_submit_request(r->client, NULL, nv, n, body != NULL ? &source : NULL, NULL);
    CHECK(id > 0 && id < STREAMS);
    return id;
}
