/* Our client against a server of plain sockets on this thread, so that the server's deeds fall
 * between two loop turns: a pooled connection that it closes just when a request is put on it. */
#include "net/http_client.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"

#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

enum { MUCH = 6 << 20 }; /* more than a socket takes at once */

struct seen {
    unsigned done;
    int code;
    enum weir_status status;
    bool sent_any;
};

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    (void)headers;
    (void)n;
    ((struct seen *)arg)->code = status;
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct seen *s = arg;
    s->done++;
    s->status = status;
    s->sent_any = sent_any;
}

static bool is_done(void *arg) {
    return ((struct seen *)arg)->done > 0;
}

static bool readable(void *arg) {
    struct pollfd p = {.fd = *(int *)arg, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

struct rig {
    struct weir_loop *loop;
    struct weir_http_client *client;
    int listener;
};

static void post_body(struct rig *r, struct seen *s, struct weir_span body, bool stays) {
    static const struct weir_http_call_ops ops = {.on_head = on_head, .on_done = on_done};
    const struct weir_http_call_config c = {
        .method = "POST", .target = "/v1/completions", .body = body, .body_stays = stays};
    struct weir_http_call *call;
    *s = (struct seen){.done = 0};
    CHECK(weir_http_call_start(r->client, &c, &ops, s, &call) == WEIR_OK);
}

static void post(struct rig *r, struct seen *s) {
    post_body(r, s, WEIR_SPAN_LIT("{\"n\":1}"), false);
}

/* The next connection, with a request on it. */
static int take(struct rig *r) {
    char request[4096];
    CHECK(turns_until(r->loop, readable, &r->listener));
    int fd = accept(r->listener, NULL, NULL);
    CHECK(turns_until(r->loop, readable, &fd));
    CHECK(recv(fd, request, sizeof(request), 0) > 0);
    return fd;
}

static void answer(struct rig *r, int fd, struct seen *s) {
    CHECK(send(fd, ANSWER, sizeof(ANSWER) - 1, 0) == (ssize_t)sizeof(ANSWER) - 1);
    CHECK(turns_until(r->loop, is_done, s));
    CHECK(s->status == WEIR_OK && s->code == 200);
}

static void rig_up(struct rig *r) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    r->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(r->listener, (struct sockaddr *)&at, sizeof(at)) == 0 &&
          listen(r->listener, 8) == 0 &&
          getsockname(r->listener, (struct sockaddr *)&at, &size) == 0);
    const struct weir_http_client_config c = {.ip = "127.0.0.1", .port = ntohs(at.sin_port)};
    CHECK(weir_loop_create(0, &r->loop) == WEIR_OK);
    CHECK(weir_http_client_create(r->loop, &c, &r->client) == WEIR_OK);
}

static void rig_down(struct rig *r) {
    weir_http_client_destroy(r->client);
    turns_flush(r->loop);
    weir_loop_destroy(r->loop);
    close(r->listener);
}

/* The server has closed; the request leaves all the same and is answered by a reset. Nobody can
 * have read it, so it goes out again, POST or not. */
static void case_closed_before_it_comes(void) {
    struct rig r;
    struct seen s;
    rig_up(&r);
    post(&r, &s);
    int fd = take(&r);
    answer(&r, fd, &s);
    close(fd);
    post(&r, &s);
    fd = take(&r);
    CHECK_EQ_U64(s.done, 0);
    answer(&r, fd, &s);
    rig_down(&r);
    close(fd);
}

/* It was read: whether the server has acted on it, the caller must judge. */
static void case_closed_after_it_was_read(void) {
    struct rig r;
    struct seen s;
    char request[4096];
    rig_up(&r);
    post(&r, &s);
    int fd = take(&r);
    answer(&r, fd, &s);
    post(&r, &s);
    CHECK(turns_until(r.loop, readable, &fd));
    CHECK(recv(fd, request, sizeof(request), 0) > 0);
    close(fd);
    CHECK(turns_until(r.loop, is_done, &s));
    CHECK(s.status == WEIR_DISCONNECTED && s.sent_any);
    CHECK(!readable(&r.listener));
    rig_down(&r);
}

/* Reads a request up to its end and compares its body. */
static void expect_body(struct rig *r, int fd, struct weir_span body) {
    static char text[MUCH + 4096];
    size_t n = 0, head = 0;
    while (head == 0 || n < head + body.len) {
        CHECK(turns_until(r->loop, readable, &fd));
        ssize_t got = recv(fd, text + n, sizeof(text) - 1 - n, 0);
        CHECK(got > 0);
        if (got <= 0)
            return;
        n += (size_t)got;
        text[n] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        head = end != NULL ? (size_t)(end + 4 - text) : 0;
    }
    CHECK(n == head + body.len && memcmp(text + head, body.data, body.len) == 0);
}

/* It is sent once more from where it lies, whether the socket took it at once or not. */
static void case_the_body_is_needed_again(void) {
    static char bytes[MUCH];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)('a' + i * 2654435761u % 26);
    for (int way = 0; way < 6; way++) {
        struct weir_span body = weir_span(bytes, way / 2 == 0 ? 7 : way / 2 == 1 ? 3000 : MUCH);
        struct rig r;
        struct seen s;
        rig_up(&r);
        post_body(&r, &s, body, way % 2 == 0);
        CHECK(turns_until(r.loop, readable, &r.listener));
        int fd = accept(r.listener, NULL, NULL), next;
        expect_body(&r, fd, body);
        answer(&r, fd, &s);
        close(fd);
        post_body(&r, &s, body, way % 2 == 0);
        CHECK(turns_until(r.loop, readable, &r.listener));
        next = accept(r.listener, NULL, NULL);
        expect_body(&r, next, body);
        answer(&r, next, &s);
        rig_down(&r);
        close(next);
    }
}

int main(void) {
    CHECK_RUN(case_closed_before_it_comes);
    CHECK_RUN(case_closed_after_it_was_read);
    CHECK_RUN(case_the_body_is_needed_again);
    return check_finish();
}
