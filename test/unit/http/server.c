/* The HTTP server over fake streams: the wire table, whole and cut at every byte; limits, waits,
 * pipelining, slow readers, ends. */
#include "test/check.h"
#include "test/unit/http/fake_net.h"
#include "test/unit/http/handler.h"
#include "test/unit/http/wire_rows.h"

struct rig {
    struct weir_loop *loop;
    struct weir_http_server *server;
    struct app app;
    struct fake_end end;
};

static void rig_up(struct rig *r, const struct weir_http_limits *limits) {
    memset(r, 0, sizeof(*r));
    r->loop = fake_loop_create();
    struct weir_http_server_config config = {.handler = &app_handler, .arg = &r->app};
    if (limits != NULL)
        config.limits = *limits;
    CHECK(weir_http_server_create(r->loop, &config, &r->server, NULL) == WEIR_OK);
    fake_accept(r->loop, &r->end);
}

static void rig_down(struct rig *r) {
    weir_http_server_destroy(r->server);
    fake_loop_turn(r->loop);
    CHECK(r->end.stream == NULL);
    CHECK_EQ_U64(r->app.heads, r->app.sent + r->app.aborted);
    fake_end_fini(&r->end);
    fake_loop_destroy(r->loop);
}

static void feed(struct rig *r, const char *text) {
    fake_feed(r->loop, &r->end, text, strlen(text));
}

/* Enough of it for a message. */
static struct weir_span start_of(const struct weir_buf *buf) {
    return weir_span(buf->data, buf->len < 500 ? buf->len : 500);
}

static const char *answers(struct rig *r) {
    static char statuses[32768];
    bool whole = read_answers(weir_buf_span(&r->end.sent), r->end.fin, false, statuses,
                              sizeof(statuses), NULL, 0);
    return whole ? statuses : "broken";
}

#define CHECK_ANSWERS(r, want)                                                                     \
    do {                                                                                           \
        const char *got = answers(r);                                                              \
        CHECK_MSG(strcmp(got, want) == 0, "answers \"%s\", want \"%s\": %.*s", got, want,          \
                  WEIR_SPAN_ARG(start_of(&(r)->end.sent)));                                        \
    } while (0)

static bool contains(const struct weir_buf *buf, const char *text) {
    return buf->len > 0 && memmem(buf->data, buf->len, text, strlen(text)) != NULL;
}

/* ---- the table ------------------------------------------------------------------------------ */

static void check_row(const struct wire_row *row, struct rig *r, const char *how, size_t cut) {
    char got[256];
    bool heads[2] = {strncmp(row->input, "HEAD", 4) == 0, false};
    bool want_100 = strncmp(row->want, "100", 3) == 0;
    bool whole = read_answers(weir_buf_span(&r->end.sent), r->end.fin, !want_100, got, sizeof(got),
                              heads, 2);
    CHECK_MSG(whole, "%s, %s %zu: broken answer: %.*s", row->name, how, cut,
              WEIR_SPAN_ARG(start_of(&r->end.sent)));
    CHECK_MSG(strcmp(got, row->want) == 0, "%s, %s %zu: got \"%s\", want \"%s\"", row->name, how,
              cut, got, row->want);
    CHECK_MSG(r->end.fin != row->open, "%s, %s %zu: the connection is %s", row->name, how, cut,
              row->open ? "closed" : "open");
    if (row->contains != NULL)
        CHECK_MSG(contains(&r->end.sent, row->contains), "%s: no \"%s\" in %.*s", row->name,
                  row->contains, WEIR_SPAN_ARG(start_of(&r->end.sent)));
}

static void case_rows_whole(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(wire_rows); i++) {
        const struct wire_row *row = &wire_rows[i];
        struct rig r;
        rig_up(&r, NULL);
        fake_feed(r.loop, &r.end, row->input, row->len);
        check_row(row, &r, "whole", 0);
        rig_down(&r);
    }
    fprintf(stderr, "%zu rows\n", WEIR_ARRAY_LEN(wire_rows));
}

static void case_rows_cut(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(wire_rows); i++) {
        const struct wire_row *row = &wire_rows[i];
        for (size_t cut = 1; cut < row->len; cut++) {
            struct rig r;
            rig_up(&r, NULL);
            fake_feed(r.loop, &r.end, row->input, cut);
            fake_feed(r.loop, &r.end, row->input + cut, row->len - cut);
            check_row(row, &r, "cut at", cut);
            rig_down(&r);
        }
    }
}

static void case_rows_bytes(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(wire_rows); i++) {
        const struct wire_row *row = &wire_rows[i];
        struct rig r;
        rig_up(&r, NULL);
        for (size_t k = 0; k < row->len; k++)
            fake_feed(r.loop, &r.end, row->input + k, 1);
        check_row(row, &r, "bytes", 1);
        rig_down(&r);
    }
}

/* ---- limits --------------------------------------------------------------------------------- */

static void feed_repeat(struct rig *r, const char *head, const char *piece, unsigned times,
                        const char *tail) {
    struct weir_buf b;
    weir_buf_init(&b, 8 << 20);
    CHECK(weir_buf_append_z(&b, head) == WEIR_OK);
    for (unsigned i = 0; i < times; i++)
        CHECK(weir_buf_append_z(&b, piece) == WEIR_OK);
    CHECK(weir_buf_append_z(&b, tail) == WEIR_OK);
    fake_feed(r->loop, &r->end, b.data, b.len);
    weir_buf_fini(&b);
}

static void limit(const char *head, const char *piece, unsigned times, const char *tail,
                  const char *want) {
    struct rig r;
    rig_up(&r, NULL);
    feed_repeat(&r, head, piece, times, tail);
    CHECK_ANSWERS(&r, want);
    CHECK(r.end.fin == (strcmp(want, "200") != 0));
    rig_down(&r);
}

static void case_limits(void) {
    limit("GET /a HTTP/1.1\r\nHost: h\r\n", "X: y\r\n", 99, "\r\n", "200");
    limit("GET /a HTTP/1.1\r\nHost: h\r\n", "X: y\r\n", 100, "\r\n", "431");
    limit("GET /a HTTP/1.1\r\nHost: h\r\n", "X: y\r\n", 100, "", "431");
    limit("GET /a HTTP/1.1\r\nHost: h\r\nX: ", "y", 130000, "\r\n\r\n", "200");
    limit("GET /a HTTP/1.1\r\nHost: h\r\nX: ", "y", 140000, "\r\n\r\n", "431");
    limit("GET /a HTTP/1.1\r\nHost: h\r\nX: ", "y", 140000, "", "431");
    limit("GET /", "a", 65533, " HTTP/1.1\r\nHost: h\r\n\r\n", "200");
    limit("GET /", "a", 65534, " HTTP/1.1\r\nHost: h\r\n\r\n", "414");
    limit("GET /", "a", 70000, "", "414");
    limit("GET /", "a", 200000, "", "414");
    limit("", "G", 65, "", "400");
    limit("", "\r\n", 20, "", "400");
    limit("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;", "e", 16000,
          "\r\nx\r\n0\r\n\r\n", "200");
    limit("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;", "e", 17000,
          "\r\nx\r\n0\r\n\r\n", "400");
    limit("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "1;eeeeeee\r\nx\r\n",
          3000, "0\r\n\r\n", "400");
    limit("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "T: 1\r\n",
          3000, "\r\n", "400");
}

static void case_large_body(void) {
    struct rig r;
    rig_up(&r, NULL);
    r.app.body_limit = 4 << 20;
    feed(&r, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n");
    feed_repeat(&r, "", "0123456789", 100000, "");
    CHECK_ANSWERS(&r, "");
    feed_repeat(&r, "", "0123456789", 200000, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK_ANSWERS(&r, "200 200");
    CHECK(r.end.sent.len > 3000000 && r.end.sent.len < 3001000);
    rig_down(&r);
}

/* However long a body is and however it comes: what the application gets is what was sent, and the
 * request behind it is whole. Long ones are read into their place. */
static void long_body(size_t len, size_t piece) {
    static const char behind[] = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    struct rig r;
    struct weir_buf all;
    weir_buf_init(&all, len + 4096);
    CHECK(weir_buf_printf(&all, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                          len) == WEIR_OK);
    size_t from = all.len;
    for (size_t i = 0; i < len; i++)
        CHECK(weir_buf_append_c(&all, (char)(i ^ i >> 8 ^ i >> 16)) == WEIR_OK);
    CHECK(weir_buf_append_z(&all, behind) == WEIR_OK);
    rig_up(&r, NULL);
    r.app.body_limit = 4 << 20;
    for (size_t at = 0; at < all.len; at += piece)
        fake_feed(r.loop, &r.end, all.data + at, all.len - at < piece ? all.len - at : piece);
    const char *got = memchr(r.end.sent.data, '[', r.end.sent.len);
    CHECK(got != NULL && (size_t)(r.end.sent.data + r.end.sent.len - got) > len + 2);
    CHECK(memcmp(got + 1, all.data + from, len) == 0 && got[len + 1] == ']');
    struct weir_span rest =
        weir_span(got + len + 2, (size_t)(r.end.sent.data + r.end.sent.len - got) - len - 2);
    CHECK(weir_span_starts(rest, WEIR_SPAN_LIT("HTTP/1.1 200 OK\r\n")));
    weir_buf_fini(&all);
    rig_down(&r);
}

static void case_long_bodies(void) {
    static const size_t lengths[] = {2048, 2049, 4096, 5000, 70000, (1 << 20) + 4097, 2500000};
    static const size_t pieces[] = {4 << 20, 100000, 4096, 333};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(lengths); i++)
        for (size_t k = 0; k < WEIR_ARRAY_LEN(pieces); k++)
            long_body(lengths[i], pieces[k]);
}

/* ---- waits ---------------------------------------------------------------------------------- */

static const struct weir_http_limits waits = {
    .header_ms = 1000, .body_ms = 1000, .body_total_ms = 3000, .idle_ms = 5000};

static void case_wait_head(void) {
    struct rig r;
    rig_up(&r, &waits);
    for (int i = 0; i < 9; i++) {
        feed(&r, i == 0 ? "GET /a HTTP/1.1\r\nHost: h\r\n" : "X: y\r\n");
        fake_loop_advance(r.loop, 100);
    }
    CHECK_ANSWERS(&r, "");
    fake_loop_advance(r.loop, 101);
    CHECK_ANSWERS(&r, "408");
    CHECK(r.end.fin && !r.end.closed);
    fake_loop_advance(r.loop, 2100);
    CHECK(r.end.closed);
    rig_down(&r);
}

static void case_wait_body(void) {
    struct rig r;
    rig_up(&r, &waits);
    feed(&r, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    fake_loop_advance(r.loop, 900);
    feed(&r, "x");
    fake_loop_advance(r.loop, 900);
    CHECK_ANSWERS(&r, "");
    fake_loop_advance(r.loop, 101);
    CHECK_ANSWERS(&r, "408");
    CHECK(r.end.fin);
    rig_down(&r);
    /* A byte now and then does not keep a request open for ever. */
    rig_up(&r, &waits);
    feed(&r, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    for (int i = 0; i < 6; i++) {
        fake_loop_advance(r.loop, 490);
        feed(&r, "x");
    }
    CHECK_ANSWERS(&r, "");
    fake_loop_advance(r.loop, 100);
    CHECK_ANSWERS(&r, "408");
    rig_down(&r);
}

static void case_wait_idle(void) {
    struct rig r;
    rig_up(&r, &waits);
    fake_loop_advance(r.loop, 4900);
    feed(&r, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_loop_advance(r.loop, 4900);
    CHECK_ANSWERS(&r, "200");
    CHECK(!r.end.closed);
    fake_loop_advance(r.loop, 200);
    CHECK_ANSWERS(&r, "200");
    CHECK(r.end.closed);
    rig_down(&r);
    /* Empty lines make no request. */
    rig_up(&r, &waits);
    feed(&r, "\r\n");
    fake_loop_advance(r.loop, 5100);
    CHECK_ANSWERS(&r, "");
    CHECK(r.end.closed);
    rig_down(&r);
    /* A request in work may take as long as it likes. */
    rig_up(&r, &waits);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_loop_advance(r.loop, 100000);
    CHECK(!r.end.closed && r.app.held != NULL);
    weir_http_respond(r.app.held, 200, NULL, NULL, 0, weir_span("", 0));
    fake_loop_turn(r.loop);
    CHECK_ANSWERS(&r, "200");
    CHECK_EQ_U64(r.app.sent, 1);
    rig_down(&r);
}

/* ---- answers later -------------------------------------------------------------------------- */

static void case_pipeline_waits(void) {
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n"
             "GET /later HTTP/1.1\r\nHost: h\r\n\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-");
    CHECK_EQ_U64(r.app.requests, 1);
    CHECK_ANSWERS(&r, "");
    weir_http_respond(r.app.held, 201, NULL, NULL, 0, weir_span("", 0));
    CHECK_EQ_U64(r.app.sent, 0); /* never from inside */
    fake_loop_turn(r.loop);
    CHECK_ANSWERS(&r, "201 200");
    CHECK_EQ_U64(r.app.requests, 3);
    feed(&r, "Length: 2\r\n\r\nhi");
    weir_http_respond(r.app.held, 202, NULL, NULL, 0, weir_span("", 0));
    fake_loop_turn(r.loop);
    CHECK_ANSWERS(&r, "201 200 202 200");
    CHECK(contains(&r.end.sent, "[hi]"));
    rig_down(&r);
}

static void case_read_ahead_is_bounded(void) {
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK(r.end.reading);
    feed_repeat(&r, "", "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 4000, "");
    CHECK(!r.end.reading);
    weir_http_respond(r.app.held, 200, NULL, NULL, 0, weir_span("", 0));
    fake_loop_turn(r.loop);
    CHECK(r.end.reading);
    CHECK_EQ_U64(r.app.requests, 4001);
    rig_down(&r);
}

static void case_client_leaves(void) {
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_eof(r.loop, &r.end);
    CHECK_EQ_U64(r.app.aborted, 1);
    CHECK(r.app.held == NULL && r.end.stream == NULL);
    rig_down(&r);
    /* With half a body: 400, in case somebody still listens. */
    rig_up(&r, NULL);
    feed(&r, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
    fake_eof(r.loop, &r.end);
    CHECK_ANSWERS(&r, "400");
    CHECK_EQ_U64(r.app.errors, 1);
    rig_down(&r);
    /* With half a head: nothing. */
    rig_up(&r, NULL);
    feed(&r, "GET /a HT");
    fake_eof(r.loop, &r.end);
    CHECK_ANSWERS(&r, "");
    CHECK(r.end.stream == NULL);
    rig_down(&r);
    /* After its last answer. */
    rig_up(&r, NULL);
    feed(&r, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    fake_eof(r.loop, &r.end);
    CHECK_ANSWERS(&r, "200");
    CHECK(r.end.stream == NULL);
    rig_down(&r);
}

static void case_calls_after_the_end(void) {
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    struct weir_http_exchange *x = r.app.held;
    weir_stream_close(r.end.stream, WEIR_DISCONNECTED, "reset");
    weir_http_abort(x, "first");
    weir_http_respond(x, 200, NULL, NULL, 0, weir_span("", 0));
    weir_http_stream_begin(x, 200, NULL, NULL, 0);
    CHECK(weir_http_stream_write(x, WEIR_SPAN_LIT("x")) == WEIR_DISCONNECTED);
    weir_http_stream_end(x);
    fake_loop_turn(r.loop);
    CHECK_EQ_U64(r.app.aborted, 1);
    rig_down(&r);
}

/* A look-up by name, also of names that have the length of another, modulo 64 as well. */
static void case_header_names(void) {
    static const char long_name[] =
        "x-0123456789-0123456789-0123456789-0123456789-0123456789-012345-abc";
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nAccept: 2\r\n\r\n");
    const struct weir_http_request *q = weir_http_exchange_request(r.app.held);
    CHECK(weir_span_eqz(weir_http_header_get(q, "x-a"), "1"));
    CHECK(weir_span_eqz(weir_http_header_get(q, "accept"), "2"));
    CHECK(weir_span_eqz(weir_http_header_get(q, "HOST"), "h"));
    CHECK(weir_http_header_get(q, "x-b").data == NULL);
    CHECK(weir_http_header_get(q, "x-abc").data == NULL);
    CHECK_EQ_U64(sizeof(long_name) - 1, 64 + 3);
    CHECK(weir_http_header_get(q, long_name).data == NULL);
    weir_http_respond(r.app.held, 200, NULL, NULL, 0, weir_span("", 0));
    fake_loop_turn(r.loop);
    CHECK_ANSWERS(&r, "200");
    rig_down(&r);
}

static void case_chunks_share(void) {
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    struct weir_http_exchange *x = r.app.held;
    weir_http_stream_begin(x, 200, "text/event-stream", NULL, 0);
    CHECK(weir_http_stream_write(x, WEIR_SPAN_LIT("data: a\n\n")) == WEIR_OK);
    CHECK(weir_http_stream_write(x, WEIR_SPAN_LIT("bcd")) == WEIR_OK);
    CHECK(weir_http_stream_write(x, WEIR_SPAN_LIT("e")) == WEIR_OK);
    fake_loop_turn(r.loop);
    CHECK(contains(&r.end.sent, "\r\n\r\nd\r\ndata: a\n\nbcde\r\n"));
    CHECK(weir_http_stream_write(x, WEIR_SPAN_LIT("next turn")) == WEIR_OK);
    fake_loop_turn(r.loop);
    CHECK(contains(&r.end.sent, "bcde\r\n9\r\nnext turn\r\n"));
    weir_http_stream_end(x);
    fake_loop_turn(r.loop);
    CHECK_ANSWERS(&r, "200");
    CHECK(!r.end.fin);
    rig_down(&r);
}

/* Any pieces in any turns come out as the same text. */
static void case_chunks_random(void) {
    struct weir_rng rng;
    unsigned in_place = 0;
    weir_rng_seed(&rng, check_seed());
    for (int round = 0; round < 200; round++) {
        struct rig r;
        rig_up(&r, NULL);
        struct weir_buf want;
        weir_buf_init(&want, 1 << 20);
        feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
        struct weir_http_exchange *x = r.app.held;
        weir_http_stream_begin(x, 200, NULL, NULL, 0);
        for (int i = 0; i < 60; i++) {
            static const unsigned lengths[] = {20, 20, 600, 5000};
            char piece[5000];
            size_t n = weir_rng_below(&rng, lengths[weir_rng_below(&rng, 4)]);
            for (size_t k = 0; k < n; k++)
                piece[k] = (char)('a' + weir_rng_below(&rng, 26));
            char *p = n > 0 && weir_rng_below(&rng, 2) == 0 ? weir_http_stream_room(x, n) : NULL;
            if (p != NULL)
                memcpy(p, piece, n);
            else
                CHECK(weir_http_stream_write(x, weir_span(piece, n)) == WEIR_OK);
            in_place += p != NULL;
            CHECK(weir_buf_append(&want, piece, n) == WEIR_OK);
            if (weir_rng_below(&rng, 1 + (uint64_t)round % 40) == 0)
                fake_loop_turn(r.loop);
        }
        weir_http_stream_end(x);
        fake_loop_turn(r.loop);
        CHECK_ANSWERS(&r, "200");
        char *p = memmem(r.end.sent.data, r.end.sent.len, "\r\n\r\n", 4);
        CHECK(p != NULL);
        p += 4;
        size_t at = 0;
        for (size_t n; (n = strtoul(p, &p, 16)) > 0; p += n + 4, at += n)
            CHECK(at + n <= want.len && memcmp(p + 2, want.data + at, n) == 0);
        CHECK_EQ_U64(at, want.len);
        weir_buf_fini(&want);
        rig_down(&r);
    }
    CHECK(in_place > 1000);
}

static void case_slow_reader(void) {
    struct weir_http_limits limits = {.write_max = 1 << 20};
    struct rig r;
    rig_up(&r, &limits);
    static char piece[100000];
    memset(piece, 'x', sizeof(piece));
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    struct weir_http_exchange *x = r.app.held;
    weir_http_stream_begin(x, 200, NULL, NULL, 0);
    fake_block(&r.end, true);
    unsigned n = 0;
    for (; weir_http_stream_writable(x); n++)
        CHECK(weir_http_stream_write(x, weir_span(piece, sizeof(piece))) == WEIR_OK);
    fake_loop_turn(r.loop);
    while (weir_http_stream_write(x, weir_span(piece, sizeof(piece))) == WEIR_OK)
        n++;
    CHECK_EQ_U64(n, 10);
    CHECK_EQ_U64(r.app.writable, 0);
    fake_block(&r.end, false);
    fake_loop_turn(r.loop);
    CHECK_EQ_U64(r.app.writable, 1);
    /* An answer that ends while the queue is full is done when the queue has gone down. */
    fake_block(&r.end, true);
    while (weir_http_stream_writable(x))
        CHECK(weir_http_stream_write(x, weir_span(piece, sizeof(piece))) == WEIR_OK);
    weir_http_stream_end(x);
    fake_loop_turn(r.loop);
    CHECK_EQ_U64(r.app.sent, 0);
    feed(&r, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    fake_block(&r.end, false);
    fake_loop_turn(r.loop);
    CHECK_EQ_U64(r.app.sent, 2);
    CHECK_ANSWERS(&r, "200 200");
    rig_down(&r);
}

static void case_injected_header(void) {
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    const struct weir_http_header headers[] = {
        {WEIR_SPAN_LIT("x-good"), WEIR_SPAN_LIT("1")},
        {WEIR_SPAN_LIT("x-bad"), WEIR_SPAN_LIT("1\r\ncontent-length: 99")},
        {WEIR_SPAN_LIT("x bad"), WEIR_SPAN_LIT("1")},
        {WEIR_SPAN_LIT(""), WEIR_SPAN_LIT("1")}};
    weir_http_respond(r.app.held, 299, "text/plain", headers, 4, WEIR_SPAN_LIT("ok"));
    fake_loop_turn(r.loop);
    CHECK_EQ_STR(r.end.sent.data, r.end.sent.len,
                 "HTTP/1.1 299 Unknown\r\ncontent-type: text/plain\r\nx-good: 1\r\ncontent-length: "
                 "2\r\ndate: Thu, 01 Jan 1970 00:00:01 GMT\r\n\r\nok");
    rig_down(&r);
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void case_drain(void) {
    struct rig r;
    struct fake_end idle, late;
    rig_up(&r, NULL);
    fake_accept(r.loop, &idle);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    CHECK_EQ_U64(weir_http_server_conns(r.server), 2);
    CHECK_EQ_U64(weir_http_server_active(r.server), 1);
    weir_http_server_drain(r.server);
    fake_loop_turn(r.loop);
    CHECK(idle.stream == NULL && !r.end.fin);
    weir_http_respond(r.app.held, 200, NULL, NULL, 0, weir_span("", 0));
    fake_loop_turn(r.loop);
    CHECK_ANSWERS(&r, "200");
    CHECK(r.end.fin && contains(&r.end.sent, "connection: close"));
    CHECK_EQ_U64(weir_http_server_active(r.server), 0);
    (void)late;
    fake_end_fini(&idle);
    rig_down(&r);
}

static void case_destroy_open(void) {
    struct rig r;
    rig_up(&r, NULL);
    feed(&r, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    struct fake_end body;
    fake_accept(r.loop, &body);
    static const char half[] = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\nhalf";
    fake_feed(r.loop, &body, half, sizeof(half) - 1);
    rig_down(&r);
    CHECK_EQ_U64(r.app.aborted, 2);
    CHECK(body.stream == NULL);
    fake_end_fini(&body);
}

static const char *json_error(void *arg, int status, const char *text, struct weir_buf *body) {
    (void)arg;
    CHECK(weir_buf_printf(body, "{\"code\":%d,\"message\":\"%s\"}", status, text) == WEIR_OK);
    return status == 414 ? NULL : "application/json";
}

static void case_error_hook(void) {
    struct rig r = {0};
    r.loop = fake_loop_create();
    const struct weir_http_server_config config = {
        .handler = &app_handler, .arg = &r.app, .on_error = json_error};
    CHECK(weir_http_server_create(r.loop, &config, &r.server, NULL) == WEIR_OK);
    fake_accept(r.loop, &r.end);
    feed(&r, "GET /a HTTP/1.1\r\n\r\n");
    CHECK_ANSWERS(&r, "400");
    CHECK(contains(&r.end.sent, "content-type: application/json\r\n"));
    CHECK(contains(&r.end.sent, "\r\n\r\n{\"code\":400,\"message\":\"Host is missing\"}"));
    rig_down(&r);
}

int main(void) {
    CHECK_RUN(case_rows_whole);
    CHECK_RUN(case_rows_cut);
    CHECK_RUN(case_rows_bytes);
    CHECK_RUN(case_limits);
    CHECK_RUN(case_large_body);
    CHECK_RUN(case_long_bodies);
    CHECK_RUN(case_wait_head);
    CHECK_RUN(case_wait_body);
    CHECK_RUN(case_wait_idle);
    CHECK_RUN(case_pipeline_waits);
    CHECK_RUN(case_read_ahead_is_bounded);
    CHECK_RUN(case_client_leaves);
    CHECK_RUN(case_calls_after_the_end);
    CHECK_RUN(case_header_names);
    CHECK_RUN(case_chunks_share);
    CHECK_RUN(case_chunks_random);
    CHECK_RUN(case_slow_reader);
    CHECK_RUN(case_injected_header);
    CHECK_RUN(case_drain);
    CHECK_RUN(case_destroy_open);
    CHECK_RUN(case_error_hook);
    return check_finish();
}
