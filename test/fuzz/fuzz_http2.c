/*
 * HTTP/2 of the HTTP server: frames of a client, after its preface, whole and cut into pieces.
 * Properties: every exchange ends, answers that come later included, and so does the connection.
 */
#include "test/unit/http/fake_net.h"
#include "test/unit/http/handler.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void answer_held(struct weir_loop *loop, struct app *app) {
    while (app->held != NULL) {
        weir_http_respond(app->held, 200, NULL, NULL, 0, WEIR_SPAN_LIT("later"));
        fake_loop_turn(loop);
        if (app->held != NULL)
            return; /* its client takes nothing */
    }
}

static void serve(struct weir_span bytes, uint32_t cuts) {
    struct weir_loop *loop = fake_loop_create();
    struct weir_http_server *server = NULL;
    struct app app = {.body_limit = 300};
    const struct weir_http_server_config config = {
        .limits = {.header_bytes = 2000, .header_count = 10, .target_bytes = 200},
        .handler = &app_handler,
        .http2 = true,
        .arg = &app};
    struct fake_end end;
    if (weir_http_server_create(loop, &config, &server, NULL) != WEIR_OK)
        abort();
    fake_accept(loop, &end);
    fake_feed(loop, &end, preface, sizeof(preface) - 1);
    while (bytes.len > 0) {
        size_t n = cuts == 0 ? bytes.len : 1 + (cuts = cuts * 1664525 + 1013904223) % 17;
        if (n > bytes.len)
            n = bytes.len;
        fake_feed(loop, &end, bytes.data, n);
        bytes = weir_span(bytes.data + n, bytes.len - n);
    }
    answer_held(loop, &app);
    fake_loop_advance(loop, 200000);
    fake_eof(loop, &end);
    weir_http_server_destroy(server);
    fake_loop_turn(loop);
    if (app.heads != app.sent + app.aborted || end.stream != NULL)
        abort();
    fake_end_fini(&end);
    fake_loop_destroy(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 8000)
        return 0;
    struct weir_span bytes = weir_span((const char *)data, size);
    uint32_t seed = 1 + (uint32_t)size;
    for (size_t i = 0; i < size; i++)
        seed = seed * 31 + data[i];
    serve(bytes, 0);
    serve(bytes, seed | 1);
    return 0;
}
