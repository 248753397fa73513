/* The HTTP client over fake streams: a table of answers, whole and cut at every byte; the pool, its
 * queue, stale connections, deadlines, pauses, cancelling from everywhere. */
#include "net/http_client.h"
#include "test/check.h"
#include "test/unit/http/fake_net.h"

#include "base/buf.h"

struct seen {
    char text[2048]; /* "200 a=1 [body] OK" */
    size_t len;
    unsigned done;
    enum weir_status status;
    bool sent_any, body_open;
    struct weir_http_client *destroy_in_body, *destroy_in_done;
    struct weir_http_call **cancel_in_head, **cancel_in_body, **pause_in_body;
};

static void say(struct seen *s, const char *data, size_t len) {
    if (s->len + len + 1 < sizeof(s->text)) {
        memcpy(s->text + s->len, data, len);
        s->text[s->len += len] = '\0';
    }
}

static void on_head(void *arg, int status, const struct weir_http_header *h, size_t n) {
    struct seen *s = arg;
    char number[16];
    snprintf(number, sizeof(number), "%d ", status);
    say(s, number, strlen(number));
    for (size_t i = 0; i < n; i++)
        if (weir_span_ieq(h[i].name, WEIR_SPAN_LIT("x"))) {
            say(s, "x=", 2);
            say(s, h[i].value.data, h[i].value.len);
            say(s, " ", 1);
        }
    say(s, "[", 1);
    s->body_open = true;
    if (s->cancel_in_head != NULL)
        weir_http_call_cancel(*s->cancel_in_head);
}

static void on_body(void *arg, struct weir_span bytes) {
    struct seen *s = arg;
    say(s, bytes.data, bytes.len);
    if (s->cancel_in_body != NULL)
        weir_http_call_cancel(*s->cancel_in_body);
    if (s->pause_in_body != NULL)
        weir_http_call_pause(*s->pause_in_body);
    if (s->destroy_in_body != NULL)
        weir_http_client_destroy(s->destroy_in_body);
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct seen *s = arg;
    if (s->body_open)
        say(s, "] ", 2);
    const char *name = weir_status_name(status);
    say(s, name, strlen(name));
    s->done++;
    s->status = status;
    s->sent_any = sent_any;
    if (s->destroy_in_done != NULL)
        weir_http_client_destroy(s->destroy_in_done);
}

static const struct weir_http_call_ops ops = {on_head, on_body, on_done};

struct rig {
    struct weir_loop *loop;
    struct weir_http_client *client;
    struct fake_end end;
    struct weir_http_call *call;
    struct seen seen;
};

static void rig_up(struct rig *r, const struct weir_http_client_config *config) {
    memset(r, 0, sizeof(*r));
    r->loop = fake_loop_create();
    struct weir_http_client_config c = {.ip = "192.0.2.7", .port = 80};
    if (config != NULL) {
        c = *config;
        c.ip = "192.0.2.7";
        c.port = 80;
    }
    CHECK(weir_http_client_create(r->loop, &c, &r->client) == WEIR_OK);
}

static void rig_down(struct rig *r) {
    weir_http_client_destroy(r->client);
    fake_loop_turn(r->loop);
    CHECK(r->end.stream == NULL);
    fake_end_fini(&r->end);
    fake_loop_destroy(r->loop);
}

static void start(struct rig *r, const char *method, const char *body, struct seen *seen) {
    struct weir_http_call_config config = {
        .method = method, .target = "/t?q", .body = weir_span_z(body)};
    CHECK(weir_http_call_start(r->client, &config, &ops, seen, &r->call) == WEIR_OK);
}

/* Starts a call on a new connection and opens it. */
static void start_open(struct rig *r, const char *method) {
    fake_expect_connect(r->loop, &r->end);
    start(r, method, NULL, &r->seen);
    fake_open(&r->end);
    fake_loop_turn(r->loop);
}

static void feed(struct rig *r, const char *text) {
    fake_feed(r->loop, &r->end, text, strlen(text));
}

#define CHECK_SEEN(s, want)                                                                        \
    CHECK_MSG(strcmp((s)->text, want) == 0, "got \"%s\", want \"%s\"", (s)->text, want)

/* ---- answers -------------------------------------------------------------------------------- */

struct answer {
    const char *name, *method, *bytes;
    size_t len;
    bool eof;   /* the server closes behind it */
    bool reuse; /* the connection stays in the pool */
    const char *want;
};
#define ROW(name, method, bytes, eof, reuse, want)                                                 \
    { name, method, bytes, sizeof(bytes) - 1, eof, reuse, want }
#define OK "HTTP/1.1 200 OK\r\n"
static const struct answer answers[] = {
    ROW("length", "GET", OK "Content-Length: 5\r\n\r\nhello", false, true, "200 [hello] OK"),
    ROW("length-0", "GET", OK "Content-Length: 0\r\n\r\n", false, true, "200 [] OK"),
    ROW("header", "GET", OK "X: a b\r\nContent-Length: 0\r\n\r\n", false, true, "200 x=a b [] OK"),
    ROW("no-reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, true, "200 [] OK"),
    ROW("empty-reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", false, true,
        "200 [] OK"),
    ROW("odd-status", "GET", "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", false, true,
        "999 [] OK"),
    ROW("chunked", "GET",
        OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n0\r\n\r\n", false, true,
        "200 [hello!] OK"),
    ROW("chunked-trailer", "GET", OK "Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n", false,
        true, "200 [] OK"),
    ROW("until-eof", "GET", OK "\r\nall of it", true, false, "200 [all of it] OK"),
    ROW("until-eof-10", "GET", "HTTP/1.0 200 OK\r\n\r\nall", true, false, "200 [all] OK"),
    ROW("close", "GET", OK "Connection: close\r\nContent-Length: 2\r\n\r\nhi", false, false,
        "200 [hi] OK"),
    ROW("http10", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, false,
        "200 [hi] OK"),
    ROW("http10-keep", "GET",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", false, true,
        "200 [hi] OK"),
    ROW("head", "HEAD", OK "Content-Length: 500\r\n\r\n", false, true, "200 [] OK"),
    ROW("head-chunked", "HEAD", OK "Transfer-Encoding: chunked\r\n\r\n", false, true, "200 [] OK"),
    ROW("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, true, "204 [] OK"),
    ROW("304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, true,
        "304 [] OK"),
    ROW("continue", "POST",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: no\r\n\r\n" OK
        "Content-Length: 2\r\n\r\nhi",
        false, true, "200 [hi] OK"),
    ROW("more-than-asked", "GET",
        OK "Content-Length: 2\r\n\r\nhi" OK "Content-Length: 4\r\n\r\nevil", false, false,
        "200 [hi] OK"),
    ROW("short", "GET", OK "Content-Length: 5\r\n\r\nhel", true, false, "200 [hel] DISCONNECTED"),
    ROW("short-chunked", "GET", OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, false,
        "200 [hello] DISCONNECTED"),
    ROW("short-head", "GET", OK "X: y\r\n", true, false, "DISCONNECTED"),
    ROW("nothing", "GET", "", true, false, "DISCONNECTED"),
    ROW("101", "GET", "HTTP/1.1 101 Switching Protocols\r\n\r\n", false, false, "PROTOCOL"),
    ROW("no-http", "GET", "SSH-2.0-x\r\n\r\n", false, false, "PROTOCOL"),
    ROW("http2", "GET", "HTTP/2.0 200 OK\r\n\r\n", false, false, "PROTOCOL"),
    ROW("status-short", "GET", "HTTP/1.1 20 OK\r\n\r\n", false, false, "PROTOCOL"),
    ROW("status-long", "GET", "HTTP/1.1 2000 OK\r\n\r\n", false, false, "PROTOCOL"),
    ROW("status-low", "GET", "HTTP/1.1 099 OK\r\n\r\n", false, false, "PROTOCOL"),
    ROW("leading-line", "GET", "\r\n" OK "Content-Length: 0\r\n\r\n", false, false, "PROTOCOL"),
    ROW("bare-lf", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", false, false, "PROTOCOL"),
    ROW("fold", "GET", OK "X: a\r\n b\r\n\r\n", false, false, "PROTOCOL"),
    ROW("blank-colon", "GET", OK "Content-Length : 0\r\n\r\n", false, false, "PROTOCOL"),
    ROW("nul", "GET", OK "X: \0\r\n\r\n", false, false, "PROTOCOL"),
    ROW("cl-cl", "GET", OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false, false,
        "PROTOCOL"),
    ROW("cl-te", "GET", OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        false, false, "PROTOCOL"),
    ROW("te-gzip", "GET", OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, false,
        "PROTOCOL"),
    ROW("cl-minus", "GET", OK "Content-Length: -1\r\n\r\n", false, false, "PROTOCOL"),
    ROW("chunk-bad", "GET", OK "Transfer-Encoding: chunked\r\n\r\nx\r\n", false, false,
        "200 [] PROTOCOL"),
    ROW("chunk-lf", "GET", OK "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n", false, false,
        "200 [] PROTOCOL"),
};

static void check_answer(const struct answer *a, size_t cut) {
    struct rig r;
    rig_up(&r, NULL);
    start_open(&r, a->method);
    fake_feed(r.loop, &r.end, a->bytes, cut);
    fake_feed(r.loop, &r.end, a->bytes + cut, a->len - cut);
    if (a->eof)
        fake_eof(r.loop, &r.end);
    bool reuse = weir_http_client_conns(r.client) == 1;
    /* A surplus that comes in a later read reaches an idle connection, and closes it. */
    CHECK_MSG(strcmp(r.seen.text, a->want) == 0, "%s, cut %zu: got \"%s\", want \"%s\"", a->name,
              cut, r.seen.text, a->want);
    CHECK_MSG(reuse == a->reuse, "%s, cut %zu: the connection is %s", a->name, cut,
              reuse ? "kept" : "closed");
    CHECK_EQ_U64(r.seen.done, 1);
    CHECK(r.seen.sent_any);
    rig_down(&r);
}

static void case_answers(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(answers); i++)
        for (size_t cut = 0; cut <= answers[i].len; cut++)
            check_answer(&answers[i], cut);
}

static void case_answers_by_bytes(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(answers); i++) {
        const struct answer *a = &answers[i];
        struct rig r;
        rig_up(&r, NULL);
        start_open(&r, a->method);
        for (size_t k = 0; k < a->len; k++)
            fake_feed(r.loop, &r.end, a->bytes + k, 1);
        if (a->eof)
            fake_eof(r.loop, &r.end);
        CHECK_MSG(strcmp(r.seen.text, a->want) == 0, "%s: got \"%s\", want \"%s\"", a->name,
                  r.seen.text, a->want);
        rig_down(&r);
    }
}

static void case_head_limits(void) {
    struct weir_http_client_config config = {.max_head_bytes = 200};
    struct rig r;
    rig_up(&r, &config);
    start_open(&r, "GET");
    feed(&r, OK);
    for (int i = 0; i < 40; i++)
        feed(&r, "X: yyyy\r\n");
    CHECK_SEEN(&r.seen, "TOO_LARGE");
    rig_down(&r);
    rig_up(&r, NULL);
    start_open(&r, "GET");
    for (int i = 0; i < 17; i++)
        feed(&r, "HTTP/1.1 100 Continue\r\n\r\n");
    CHECK_SEEN(&r.seen, "PROTOCOL");
    rig_down(&r);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void case_request_bytes(void) {
    struct rig r;
    rig_up(&r, NULL);
    start_open(&r, "GET");
    CHECK_EQ_STR(r.end.sent.data, r.end.sent.len,
                 "GET /t?q HTTP/1.1\r\nhost: 192.0.2.7:80\r\n\r\n");
    feed(&r, OK "Content-Length: 0\r\n\r\n");
    weir_buf_clear(&r.end.sent);
    struct weir_http_header headers[] = {{WEIR_SPAN_LIT("Host"), WEIR_SPAN_LIT("other")},
                                         {WEIR_SPAN_LIT("x"), WEIR_SPAN_LIT("y")}};
    struct weir_http_call_config config = {.method = "POST",
                                           .target = "/p",
                                           .headers = headers,
                                           .n_headers = 2,
                                           .body = WEIR_SPAN_LIT("body")};
    CHECK(weir_http_call_start(r.client, &config, &ops, &r.seen, &r.call) == WEIR_OK);
    fake_loop_turn(r.loop);
    CHECK_EQ_STR(r.end.sent.data, r.end.sent.len,
                 "POST /p HTTP/1.1\r\nHost: other\r\nx: y\r\ncontent-length: 4\r\n\r\nbody");
    rig_down(&r);
}

static void refuse(struct rig *r, const char *method, const char *target, const char *name,
                   const char *value) {
    struct weir_http_header h = {weir_span_z(name), weir_span_z(value)};
    struct weir_http_call_config config = {
        .method = method, .target = target, .headers = &h, .n_headers = 1};
    CHECK(weir_http_call_start(r->client, &config, &ops, &r->seen, &r->call) == WEIR_INVALID);
}

static void case_requests_that_would_split(void) {
    struct rig r;
    rig_up(&r, NULL);
    refuse(&r, "GET\r\n", "/", "x", "y");
    refuse(&r, "", "/", "x", "y");
    refuse(&r, "CONNECT", "h:80", "x", "y");
    refuse(&r, "GET", "", "x", "y");
    refuse(&r, "GET", "/ HTTP/1.1\r\nx: y", "x", "y");
    refuse(&r, "GET", "/a b", "x", "y");
    refuse(&r, "GET", "/", "x", "y\r\nz: 1");
    refuse(&r, "GET", "/", "x\r\n", "y");
    refuse(&r, "GET", "/", "x:", "y");
    refuse(&r, "GET", "/", "", "y");
    refuse(&r, "GET", "/", "Content-Length", "4");
    refuse(&r, "GET", "/", "transfer-encoding", "chunked");
    CHECK_EQ_U64(r.seen.done, 0);
    CHECK_EQ_U64(weir_http_client_conns(r.client), 0);
    rig_down(&r);
}

/* ---- the pool ------------------------------------------------------------------------------- */

static void case_pool_and_queue(void) {
    struct weir_http_client_config config = {.max_conns = 1, .max_waiting = 2};
    struct rig r;
    rig_up(&r, &config);
    start_open(&r, "GET");
    struct seen more[3] = {{.len = 0}};
    start(&r, "GET", NULL, &more[0]);
    start(&r, "GET", NULL, &more[1]);
    struct weir_http_call_config call = {.method = "GET", .target = "/"};
    CHECK(weir_http_call_start(r.client, &call, &ops, &more[2], &r.call) == WEIR_LIMIT);
    for (int i = 0; i < 3; i++)
        feed(&r, OK "Content-Length: 2\r\n\r\nhi");
    CHECK_SEEN(&r.seen, "200 [hi] OK");
    CHECK_SEEN(&more[0], "200 [hi] OK");
    CHECK_SEEN(&more[1], "200 [hi] OK");
    CHECK_EQ_U64(more[2].done, 0);
    CHECK_EQ_U64(weir_http_client_conns(r.client), 1);
    rig_down(&r);
}

static void case_idle_connections_close(void) {
    struct weir_http_client_config config = {.idle_ms = 1000};
    struct rig r;
    rig_up(&r, &config);
    start_open(&r, "GET");
    feed(&r, OK "Content-Length: 0\r\n\r\n");
    fake_loop_advance(r.loop, 900);
    struct seen again = {.len = 0};
    start(&r, "GET", NULL, &again);
    fake_loop_turn(r.loop);
    feed(&r, OK "Content-Length: 0\r\n\r\n");
    CHECK_SEEN(&again, "200 [] OK");
    fake_loop_advance(r.loop, 900);
    CHECK_EQ_U64(weir_http_client_conns(r.client), 1);
    fake_loop_advance(r.loop, 200);
    CHECK_EQ_U64(weir_http_client_conns(r.client), 0);
    rig_down(&r);
}

static void case_idle_surplus_closes(void) {
    struct rig r;
    rig_up(&r, NULL);
    start_open(&r, "GET");
    feed(&r, OK "Content-Length: 0\r\n\r\n");
    feed(&r, OK "Content-Length: 0\r\n\r\n");
    CHECK_EQ_U64(weir_http_client_conns(r.client), 0);
    CHECK_EQ_U64(r.seen.done, 1);
    rig_down(&r);
}

/* The server closes an idle connection just as a request is put on it. */
static void stale(const char *method, bool flushed, const char *want, bool sent_any) {
    struct rig r;
    struct fake_end second = {.stream = NULL};
    struct seen s = {.len = 0};
    rig_up(&r, NULL);
    start_open(&r, "GET");
    feed(&r, OK "Content-Length: 0\r\n\r\n");
    fake_expect_connect(r.loop, &second);
    start(&r, method, "b", &s);
    if (flushed)
        fake_loop_turn(r.loop);
    fake_eof(r.loop, &r.end);
    if (second.stream != NULL) {
        fake_open(&second);
        fake_loop_turn(r.loop);
        static const char answer[] = OK "Content-Length: 3\r\n\r\nnew";
        fake_feed(r.loop, &second, answer, sizeof(answer) - 1);
    }
    CHECK_SEEN(&s, want);
    CHECK(s.sent_any == sent_any);
    rig_down(&r);
    CHECK(second.stream == NULL);
    fake_end_fini(&second);
}

static void case_stale_connections(void) {
    stale("POST", false, "200 [new] OK", true);
    stale("POST", true, "DISCONNECTED", true);
    stale("GET", true, "200 [new] OK", true);
}

static void case_cannot_connect(void) {
    struct rig r;
    rig_up(&r, NULL);
    struct weir_http_call_config config = {.method = "GET", .target = "/"};
    CHECK(weir_http_call_start(r.client, &config, &ops, &r.seen, &r.call) == WEIR_CANNOT_CONNECT);
    CHECK_EQ_U64(r.seen.done, 0);
    fake_expect_connect(r.loop, &r.end);
    start(&r, "GET", NULL, &r.seen);
    weir_stream_close(r.end.stream, WEIR_CANNOT_CONNECT, "refused");
    CHECK_EQ_U64(r.seen.done, 0);
    fake_loop_turn(r.loop);
    CHECK_SEEN(&r.seen, "CANNOT_CONNECT");
    CHECK(!r.seen.sent_any);
    rig_down(&r);
}

/* ---- waits ---------------------------------------------------------------------------------- */

static void case_deadlines(void) {
    struct rig r;
    struct weir_http_call_config config = {
        .method = "GET", .target = "/", .first_byte_ms = 100, .total_ms = 1000};
    rig_up(&r, NULL);
    fake_expect_connect(r.loop, &r.end);
    CHECK(weir_http_call_start(r.client, &config, &ops, &r.seen, &r.call) == WEIR_OK);
    fake_open(&r.end);
    fake_loop_advance(r.loop, 99);
    CHECK_EQ_U64(r.seen.done, 0);
    fake_loop_advance(r.loop, 2);
    CHECK_SEEN(&r.seen, "TIMEOUT");
    rig_down(&r);
    rig_up(&r, NULL);
    fake_expect_connect(r.loop, &r.end);
    CHECK(weir_http_call_start(r.client, &config, &ops, &r.seen, &r.call) == WEIR_OK);
    fake_open(&r.end);
    fake_loop_turn(r.loop);
    feed(&r, OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    fake_loop_advance(r.loop, 999);
    CHECK_EQ_U64(r.seen.done, 0);
    fake_loop_advance(r.loop, 2);
    CHECK_SEEN(&r.seen, "200 [a] TIMEOUT");
    rig_down(&r);
    /* In the queue as well. */
    struct weir_http_client_config one = {.max_conns = 1};
    struct seen waiting = {.len = 0};
    rig_up(&r, &one);
    start_open(&r, "GET");
    CHECK(weir_http_call_start(r.client, &config, &ops, &waiting, &r.call) == WEIR_OK);
    fake_loop_advance(r.loop, 101);
    CHECK_SEEN(&waiting, "TIMEOUT");
    CHECK(!waiting.sent_any);
    rig_down(&r);
    CHECK_SEEN(&r.seen, "CANCELLED");
}

static void case_pause(void) {
    struct rig r;
    rig_up(&r, NULL);
    start_open(&r, "GET");
    r.seen.pause_in_body = &r.call;
    feed(&r, OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
    CHECK_SEEN(&r.seen, "200 [a");
    CHECK(!r.end.reading);
    weir_http_call_resume(r.call);
    CHECK_SEEN(&r.seen, "200 [a");
    fake_loop_turn(r.loop);
    CHECK_SEEN(&r.seen, "200 [ab");
    fake_eof(r.loop, &r.end);
    r.seen.pause_in_body = NULL;
    weir_http_call_resume(r.call);
    fake_loop_turn(r.loop);
    CHECK_SEEN(&r.seen, "200 [abc] OK");
    CHECK_EQ_U64(weir_http_client_conns(r.client), 0);
    rig_down(&r);
}

/* ---- cancelling ----------------------------------------------------------------------------- */

static void case_cancel(void) {
    struct rig r;
    for (int where = 0; where < 4; where++) {
        struct weir_http_client_config one = {.max_conns = 1};
        struct fake_end second = {.stream = NULL};
        struct seen waiting = {.len = 0};
        rig_up(&r, &one);
        if (where == 0) {
            fake_expect_connect(r.loop, &r.end);
            start(&r, "GET", NULL, &r.seen);
            weir_http_call_cancel(r.call);
        } else {
            start_open(&r, "GET");
            if (where == 1)
                weir_http_call_cancel(r.call);
            r.seen.cancel_in_head = where == 2 ? &r.call : NULL;
            r.seen.cancel_in_body = where == 3 ? &r.call : NULL;
            if (where > 1)
                feed(&r, OK "Content-Length: 4\r\n\r\nab");
        }
        CHECK_EQ_U64(r.seen.done, 0);
        /* The place is free again for the next. */
        fake_expect_connect(r.loop, &second);
        start(&r, "GET", NULL, &waiting);
        fake_loop_turn(r.loop);
        CHECK(second.stream != NULL);
        rig_down(&r);
        CHECK_SEEN(&waiting, "CANCELLED");
        CHECK_EQ_U64(r.seen.done, 0);
        fake_end_fini(&second);
    }
}

static void case_destroy_from_inside(void) {
    struct rig r;
    rig_up(&r, NULL);
    start_open(&r, "GET");
    r.seen.destroy_in_body = r.client;
    feed(&r, OK "Content-Length: 4\r\n\r\nabcd");
    CHECK_SEEN(&r.seen, "200 [abcd] CANCELLED");
    r.client = NULL;
    rig_down(&r);
    rig_up(&r, NULL);
    start_open(&r, "GET");
    r.seen.destroy_in_done = r.client;
    feed(&r, OK "Content-Length: 4\r\n\r\nabcd");
    CHECK_SEEN(&r.seen, "200 [abcd] OK");
    r.client = NULL;
    rig_down(&r);
    rig_up(&r, NULL);
    start_open(&r, "GET");
    r.seen.destroy_in_done = r.client;
    weir_stream_close(r.end.stream, WEIR_DISCONNECTED, "reset");
    fake_loop_turn(r.loop);
    CHECK_SEEN(&r.seen, "DISCONNECTED");
    r.client = NULL;
    rig_down(&r);
}

int main(void) {
    CHECK_RUN(case_answers);
    CHECK_RUN(case_answers_by_bytes);
    CHECK_RUN(case_head_limits);
    CHECK_RUN(case_request_bytes);
    CHECK_RUN(case_requests_that_would_split);
    CHECK_RUN(case_pool_and_queue);
    CHECK_RUN(case_idle_connections_close);
    CHECK_RUN(case_idle_surplus_closes);
    CHECK_RUN(case_stale_connections);
    CHECK_RUN(case_cannot_connect);
    CHECK_RUN(case_deadlines);
    CHECK_RUN(case_pause);
    CHECK_RUN(case_cancel);
    CHECK_RUN(case_destroy_from_inside);
    return check_finish();
}
