/* Every allocation of a scene fails once: nothing crashes, leaks or is reported twice, and what was
 * answered is a whole HTTP answer. */
#include "net/http_client.h"
#include "test/check.h"
#include "test/unit/http/fake_net.h"
#include "test/unit/http/handler.h"

#include "base/mem.h"

#define HEAD(path) "POST " path " HTTP/1.1\r\nHost: h\r\n"

static uint64_t made; /* allocations of the scene */

static void disarm(void) {
    made = weir_mem_count();
    weir_mem_fail_at(0);
}

static void feed(struct weir_loop *loop, struct fake_end *end, const char *text) {
    fake_feed(loop, end, text, strlen(text));
}

static bool serve(struct weir_loop *loop) {
    struct weir_http_server *server = NULL;
    struct app app = {.heads = 0};
    const struct weir_http_server_config config = {.handler = &app_handler, .arg = &app};
    if (weir_http_server_create(loop, &config, &server, NULL) != WEIR_OK)
        return false;
    struct fake_end end;
    fake_accept(loop, &end);
    feed(loop, &end, HEAD("/a") "Content-Le");
    feed(loop, &end, "ngth: 3\r\n\r\nabc");
    feed(loop, &end, HEAD("/a") "Content-Length: 3000\r\n\r\n");
    static const char zeros[3000];
    fake_feed(loop, &end, zeros, sizeof(zeros));
    feed(loop, &end, HEAD("/a") "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    feed(loop, &end, HEAD("/a") "Content-Length: 80000\r\n\r\nstart");
    for (int i = 0; i < 40; i++)
        fake_feed(loop, &end, zeros, 2000);
    feed(loop, &end, HEAD("/stream") "\r\n" HEAD("/later") "\r\n" HEAD("/a") "\r\n");
    if (app.held != NULL)
        weir_http_respond(app.held, 200, "text/plain", NULL, 0, WEIR_SPAN_LIT("late"));
    fake_loop_turn(loop);
    feed(loop, &end, HEAD("/small") "Content-Length: 11\r\n\r\n");
    feed(loop, &end, "no http\r\n\r\n");
    char statuses[256];
    disarm();
    bool whole =
        read_answers(weir_buf_span(&end.sent), end.fin, true, statuses, sizeof(statuses), NULL, 0);
    weir_http_server_destroy(server);
    fake_loop_turn(loop);
    fake_end_fini(&end);
    CHECK_MSG(whole, "no whole answers after \"%s\"", statuses);
    CHECK_EQ_U64(app.heads, app.sent + app.aborted);
    return true;
}

struct ends {
    unsigned n;
};

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    (void)status;
    (void)sent_any;
    ((struct ends *)arg)->n++;
}

static bool ask(struct weir_loop *loop) {
    static const struct weir_http_call_ops ops = {.on_done = on_done};
    const struct weir_http_client_config config = {
        .ip = "192.0.2.1", .port = 80, .host = "h", .max_conns = 1};
    const struct weir_http_call_config request = {
        .method = "POST", .target = "/", .body = WEIR_SPAN_LIT("body"), .total_ms = 1000};
    struct weir_http_client *client = NULL;
    struct weir_http_call *call;
    struct fake_end end = {.stream = NULL};
    struct ends ends = {.n = 0};
    unsigned started = 0;
    if (weir_http_client_create(loop, &config, &client) != WEIR_OK)
        return false;
    fake_expect_connect(loop, &end);
    for (int i = 0; i < 3; i++)
        started += weir_http_call_start(client, &request, &ops, &ends, &call) == WEIR_OK;
    if (end.stream != NULL) {
        fake_open(&end);
        fake_loop_turn(loop);
        feed(loop, &end, "HTTP/1.1 200 OK\r\nContent-Le");
        feed(loop, &end, "ngth: 3\r\n\r\nabc");
        feed(loop, &end, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
    disarm();
    weir_http_client_destroy(client);
    fake_loop_turn(loop);
    fake_end_fini(&end);
    CHECK_EQ_U64(ends.n, started);
    return true;
}

static void torture(bool (*scene)(struct weir_loop *)) {
    uint64_t failures = 0, k = 1;
    for (bool hit = true; hit; k++) {
        struct weir_loop *loop = fake_loop_create();
        weir_mem_fail_at(k);
        if (!scene(loop))
            disarm();
        hit = made >= k;
        failures += hit;
        fake_loop_destroy(loop);
        CHECK(k < 1000);
    }
    CHECK(failures > 5);
    fprintf(stderr, "%u allocations failed, each once\n", (unsigned)failures);
}

static void case_server(void) {
    torture(serve);
}
static void case_client(void) {
    torture(ask);
}

int main(void) {
    CHECK_RUN(case_server);
    CHECK_RUN(case_client);
    return check_finish();
}
