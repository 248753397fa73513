/*
 * The calling side against a worker of plain bytes (peer.c): streams that a real frontend was
 * shown, with the status it gave; every place where a worker can fail; deadlines, pools, limits.
 */
#include "runtime/plane_client.h"

#include "test/check.h"
#include "test/other_end.h"
#include "test/unit/runtime/peer.h"
#include "test/unit/runtime/turns.h"
#include "test/unit/wire/vectors.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct weir_loop *loop;

/* ---- a call and what became of it --------------------------------------------------------- */

struct call {
    struct weir_plane_call *call;
    unsigned items, ends;
    uint32_t ids[64];
    size_t n_ids;
    int http; /* what a frontend would answer */
    enum weir_status status;
    int end_http;
    char stage[16], message[256];
    bool inhibit, cancel_at_item;
};

static void on_item(void *arg, const struct weir_output *item) {
    struct call *c = arg;
    c->items++;
    for (size_t i = 0; i < item->token_ids.n && c->n_ids < 64; i++)
        c->ids[c->n_ids++] = item->token_ids.ids[i];
    if (item->is_error && c->http == 200)
        c->http = item->error.http_status;
    if ((item->finish == WEIR_FINISH_ERROR || item->index > 0) && c->http == 200)
        c->http = 500;
    if (c->cancel_at_item) {
        weir_plane_call_cancel(c->call, false);
        c->ends++;
    }
}

static void on_end(void *arg, const struct weir_plane_end *end) {
    struct call *c = arg;
    c->ends++;
    c->status = end->status;
    c->end_http = end->error.http_status;
    c->inhibit = end->inhibit;
    snprintf(c->stage, sizeof(c->stage), "%s", end->stage);
    snprintf(c->message, sizeof(c->message), "%.*s", WEIR_SPAN_ARG(end->error.message));
    if (end->status != WEIR_OK)
        c->http = end->error.http_status;
}

static const struct weir_plane_call_ops ops = {.on_item = on_item, .on_end = on_end};

static struct weir_plane_client *make_client(struct weir_plane_client_config config) {
    struct weir_plane_client *client = NULL;
    struct weir_err err = {.text = ""};
    config.response_ip = "127.0.0.1";
    CHECK_MSG(weir_plane_client_create(loop, &config, &client, &err) == WEIR_OK, "%s", err.text);
    return client;
}

static enum weir_status start(struct weir_plane_client *client, unsigned port, struct call *c,
                              uint64_t item_ms) {
    char address[64];
    struct weir_buf body;
    *c = (struct call){.http = 200};
    snprintf(address, sizeof(address), "127.0.0.1:%u/2a/n/c/e", port);
    weir_buf_init(&body, 1 << 20);
    CHECK(weir_buf_append_z(&body, "{\"token_ids\":[1]}") == WEIR_OK);
    const struct weir_plane_call_config config = {
        .address = weir_span_z(address),
        .request_id = WEIR_SPAN_LIT("11111111-2222-4333-8444-555555555555"),
        .codec = WEIR_CODEC_JSON,
        .take_body = &body,
        .item_ms = item_ms};
    enum weir_status st = weir_plane_call_start(client, &config, &ops, c, &c->call);
    weir_buf_fini(&body);
    return st;
}

static bool ended(void *arg) {
    return ((struct call *)arg)->ends > 0;
}

static void wait_end(struct call *c) {
    CHECK_MSG(turns_until(loop, ended, c), "no end");
    CHECK_EQ_U64(c->ends, 1);
}

static void end_client(struct weir_plane_client *client) {
    CHECK_EQ_U64(weir_plane_client_calls(client), 0);
    weir_plane_client_destroy(client);
    turns_flush(loop);
}

/* One call under one script. */
static void run_script(const struct peer_script *script,
                       const struct weir_plane_client_config *config, uint64_t item_ms,
                       struct call *c) {
    struct weir_plane_client *client = make_client(*config);
    struct peer *peer = peer_start(script);
    CHECK(start(client, peer_port(peer), c, item_ms) == WEIR_OK);
    wait_end(c);
    turns_flush(loop);
    CHECK_EQ_U64(c->ends, 1);
    end_client(client);
    peer_stop(peer);
}

#define ACK WEIR_SPAN_LIT("\0\0\0\0")
/* Two-part frames by hand: lengths below 256. */
#define HEADER(n, text) "\0\0\0\0\0\0\0" n "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" text
#define BODY(n, text) "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" n "\0\0\0\0\0\0\0\0" text
#define PROLOGUE HEADER("\x0e", "{\"error\":null}")
#define TOKEN(id)                                                                                  \
    BODY("\x3b", "{\"data\":{\"data\":{\"token_ids\":[" id "]}},\"complete_final\":false}")
#define FINAL BODY("\x17", "{\"complete_final\":true}")
#define SENTINEL HEADER("\x0a", "\"sentinel\"")

/* ---- streams that a real frontend was shown ------------------------------------------------ */

static void check_stream(const struct vector *v) {
    static const size_t chunks[] = {0, 1, 7};
    int want = (int)strtol(v->expected.data, NULL, 10);
    /* We end with complete_final, and what comes behind it is not looked at. */
    if (strstr(v->name, "data_after_final") != NULL)
        want = 200;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(chunks); i++) {
        struct call c;
        const struct peer_script script = {
            .ack = ACK, .dials = true, .stream = v->bytes, .chunk = chunks[i], .end = PEER_CLOSES};
        run_script(&script, &(struct weir_plane_client_config){0}, 0, &c);
        CHECK_MSG(c.http == want, "%s: %d at %s (%s), want %d", v->name, c.http, c.stage, c.message,
                  want);
    }
}

static void case_captured_streams(void) {
    CHECK_EQ_U64(vectors_run("stream", check_stream), 33);
}

/* ---- the happy path ------------------------------------------------------------------------ */

static void case_happy(void) {
    for (unsigned first = 0; first < 2; first++) {
        struct call c;
        const struct peer_script script = {
            .ack = ACK,
            .dials = first == 0,
            .dials_first = first == 1, /* the whole answer before the acknowledgement */
            .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11") TOKEN("22") TOKEN("33") FINAL SENTINEL),
            .end = PEER_CLOSES};
        run_script(&script, &(struct weir_plane_client_config){0}, 1000, &c);
        CHECK(c.status == WEIR_OK && c.items == 3 && c.n_ids == 3 && c.ids[2] == 33);
    }
}

static enum weir_status put_some(void *arg, enum weir_codec codec, struct weir_buf *out) {
    size_t n = *(const size_t *)arg;
    CHECK(codec == WEIR_CODEC_JSON);
    for (size_t i = 0; i < n; i++)
        CHECK(weir_buf_append_c(out, 'x') == WEIR_OK);
    return n == 7 ? WEIR_NOMEM : weir_buf_append_z(out, "{\"token_ids\":[1]}");
}

/* A body that is written in place: what fails leaves nothing behind, so that the next call on the
 * same connection is understood. */
static void case_body_in_place(void) {
    const struct peer_script script = {.ack = ACK,
                                       .dials = true,
                                       .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11") FINAL SENTINEL),
                                       .end = PEER_CLOSES};
    const struct {
        size_t bytes;
        enum weir_status status;
    } rows[] = {{0, WEIR_OK}, {7, WEIR_NOMEM}, {20000, WEIR_TOO_LARGE}, {1, WEIR_OK}};
    struct weir_plane_client *client =
        make_client((struct weir_plane_client_config){.max_message = 16384});
    struct peer *peer = peer_start(&script);
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%u/2a/n/c/e", peer_port(peer));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct call c = {.http = 200};
        size_t bytes = rows[i].bytes;
        const struct weir_plane_call_config config = {
            .address = weir_span_z(address),
            .request_id = WEIR_SPAN_LIT("11111111-2222-4333-8444-555555555555"),
            .codec = WEIR_CODEC_JSON,
            .put_body = put_some,
            .body_arg = &bytes};
        CHECK(weir_plane_call_start(client, &config, &ops, &c, &c.call) == rows[i].status);
        CHECK_EQ_U64(weir_plane_client_calls(client), rows[i].status == WEIR_OK);
        if (rows[i].status != WEIR_OK)
            continue;
        wait_end(&c);
        CHECK(c.status == WEIR_OK && c.items == 1);
    }
    CHECK_EQ_U64(peer_requests(peer), 2);
    CHECK_EQ_U64(peer_conns(peer), 1);
    end_client(client);
    peer_stop(peer);
}

/* One connection serves call after call. */
static void case_reuse(void) {
    const struct peer_script script = {.ack = ACK,
                                       .dials = true,
                                       .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11") FINAL SENTINEL),
                                       .end = PEER_CLOSES};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    struct peer *peer = peer_start(&script);
    struct weir_plane_stats stats;
    for (unsigned i = 0; i < 20; i++) {
        struct call c;
        CHECK(start(client, peer_port(peer), &c, 0) == WEIR_OK);
        weir_plane_client_stats(client, &stats);
        CHECK(stats.conns_active == 1 && stats.calls == 1);
        wait_end(&c);
        CHECK(c.status == WEIR_OK && c.n_ids == 1);
    }
    CHECK_EQ_U64(peer_conns(peer), 1);
    CHECK_EQ_U64(peer_requests(peer), 20);
    weir_plane_client_stats(client, &stats);
    CHECK(stats.errors == 0 && stats.calls == 0 && stats.bytes_sent > 20 * 300);
    end_client(client);
    peer_stop(peer);
}

/* ---- where a worker may fail --------------------------------------------------------------- */

static void case_failures(void) {
    static const struct {
        const char *name;
        struct peer_script script;
        enum weir_status status;
        int http;
        const char *stage;
        bool inhibit;
    } rows[] = {
        {"closes before the reply",
         {.close_request = true},
         WEIR_DISCONNECTED,
         503,
         "unacked",
         true},
        {"overloaded",
         {.ack = WEIR_SPAN_LIT("\0\0\0\x17Server overloaded: full")},
         WEIR_OVERLOADED,
         529,
         "ack",
         false},
        {"unavailable",
         {.ack = WEIR_SPAN_LIT("\0\0\0\x19Server unavailable: later")},
         WEIR_UNAVAILABLE,
         503,
         "ack",
         true},
        {"an older worker's refusal",
         {.ack = WEIR_SPAN_LIT("\0\0\0\x13Unknown endpoint: x")},
         WEIR_UNAVAILABLE,
         503,
         "ack",
         true},
        {"a reply too long",
         {.ack = WEIR_SPAN_LIT("\x7f\0\0\0x")},
         WEIR_DISCONNECTED,
         503,
         "unacked",
         true},
        {"never acknowledges", {.ack = {NULL, 0}}, WEIR_TIMEOUT, 504, "ack", true},
        {"never dials", {.ack = ACK}, WEIR_TIMEOUT, 504, "prologue", true},
        {"another's subject",
         {.ack = ACK, .dials = true, .subject = "someone else", .stream = WEIR_SPAN_LIT(PROLOGUE)},
         WEIR_TIMEOUT,
         504,
         "prologue",
         true},
        {"no handshake at all",
         {.ack = ACK, .dials = true, .opening = WEIR_SPAN_LIT(PROLOGUE)},
         WEIR_TIMEOUT,
         504,
         "prologue",
         true},
        {"a handshake that is too long",
         {.ack = ACK,
          .dials = true,
          .opening = WEIR_SPAN_LIT("\0\0\0\0\0\0\x10\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")},
         WEIR_TIMEOUT,
         504,
         "prologue",
         true},
        {"handshake, then FIN",
         {.ack = ACK, .dials = true, .end = PEER_CLOSES},
         WEIR_DISCONNECTED,
         503,
         "prologue",
         true},
        {"handshake, then RST",
         {.ack = ACK, .dials = true, .end = PEER_RESETS},
         WEIR_DISCONNECTED,
         503,
         "prologue",
         true},
        {"handshake, then nothing",
         {.ack = ACK, .dials = true},
         WEIR_TIMEOUT,
         504,
         "prologue",
         true},
        {"handshake, then nothing for the time of an item",
         {.ack = ACK, .dials = true},
         WEIR_TIMEOUT,
         504,
         "deadline",
         false},
        {"prologue, then FIN",
         {.ack = ACK, .dials = true, .stream = WEIR_SPAN_LIT(PROLOGUE), .end = PEER_CLOSES},
         WEIR_DISCONNECTED,
         503,
         "stream",
         true},
        {"half a frame, then FIN",
         {.ack = ACK,
          .dials = true,
          .stream = WEIR_SPAN_LIT(PROLOGUE "\0\0\0\0"),
          .end = PEER_CLOSES},
         WEIR_DISCONNECTED,
         503,
         "stream",
         true},
        {"a token, then RST",
         {.ack = ACK,
          .dials = true,
          .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11")),
          .end = PEER_RESETS},
         WEIR_DISCONNECTED,
         503,
         "stream",
         true},
        {"a token, then nothing",
         {.ack = ACK, .dials = true, .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11"))},
         WEIR_TIMEOUT,
         504,
         "deadline",
         false},
        {"a frame too large",
         {.ack = ACK,
          .dials = true,
          .stream = WEIR_SPAN_LIT(PROLOGUE "\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")},
         WEIR_DISCONNECTED,
         503,
         "stream",
         true},
        {"more than is taken at once, of a worker that is well",
         {.ack = ACK,
          .dials = true,
          .stream = WEIR_SPAN_LIT(PROLOGUE "\0\0\0\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\0\0\0\0")},
         WEIR_PROTOCOL,
         500,
         "stream",
         false},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct call c;
        /* Only the deadline that the row is about is near: this machine may be slow. */
        bool late = rows[i].status == WEIR_TIMEOUT;
        struct weir_plane_client_config config = {
            .ack_ms = late && strcmp(rows[i].stage, "ack") == 0 ? 150 : 0,
            .prologue_ms = late && strcmp(rows[i].stage, "prologue") == 0 ? 150 : 0};
        run_script(&rows[i].script, &config,
                   late && strcmp(rows[i].stage, "deadline") == 0 ? 150 : 0, &c);
        CHECK_MSG(c.status == rows[i].status && c.http == rows[i].http &&
                      strcmp(c.stage, rows[i].stage) == 0 && c.inhibit == rows[i].inhibit,
                  "%s: %s %d at %s, inhibit %d (%s)", rows[i].name, weir_status_name(c.status),
                  c.http, c.stage, c.inhibit, c.message);
    }
}

static void case_nobody_listens(void) {
    const struct peer_script script = {.ack = ACK};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    struct peer *peer = peer_start(&script);
    unsigned port = peer_port(peer);
    peer_stop(peer);
    struct call c;
    CHECK(start(client, port, &c, 0) == WEIR_OK);
    CHECK_EQ_U64(c.ends, 0); /* never from inside start */
    wait_end(&c);
    CHECK(c.status == WEIR_CANNOT_CONNECT && c.http == 503 && c.inhibit);
    CHECK(strcmp(c.stage, "connect") == 0);
    end_client(client);
}

static void case_bad_addresses(void) {
    static const char *const addresses[] = {
        "",           "127.0.0.1:80", "host:80/p",        "127.0.0.1:0/p", ":80/p", "127.0.0.1/p",
        "1.2.3:80/p", "[::1:80/p",    "127.0.0.1:65536/p"};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    for (size_t i = 0; i < WEIR_ARRAY_LEN(addresses); i++) {
        struct weir_buf body;
        struct weir_plane_call *call;
        weir_buf_init(&body, 16);
        const struct weir_plane_call_config config = {.address = weir_span_z(addresses[i]),
                                                      .request_id = WEIR_SPAN_LIT("r"),
                                                      .take_body = &body};
        CHECK_MSG(weir_plane_call_start(client, &config, &ops, NULL, &call) == WEIR_INVALID, "%s",
                  addresses[i]);
    }
    end_client(client);
}

/* ---- cancelling ---------------------------------------------------------------------------- */

static bool stream_ended(void *arg) {
    return peer_streams_ended(arg) > 0;
}

static bool has_item(void *arg) {
    return ((struct call *)arg)->items > 0;
}

static void case_cancel(void) {
    static const struct {
        bool graceful;
        const char *heard;
    } rows[] = {{false, "\"kill\""}, {true, "\"stop\""}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        const struct peer_script script = {
            .ack = ACK, .dials = true, .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11"))};
        struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
        struct peer *peer = peer_start(&script);
        struct call c;
        CHECK(start(client, peer_port(peer), &c, 0) == WEIR_OK);
        CHECK(turns_until(loop, has_item, &c));
        weir_plane_call_cancel(c.call, rows[i].graceful);
        CHECK_EQ_U64(weir_plane_client_calls(client), 0);
        CHECK(turns_until(loop, stream_ended, peer));
        char heard[256];
        size_t n = peer_heard(peer, heard, sizeof(heard));
        CHECK_EQ_U64(n, 30);
        CHECK(memcmp(heard, "\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24) == 0);
        CHECK_EQ_STR(heard + 24, n - 24, rows[i].heard);
        CHECK_EQ_U64(c.ends, 0);
        end_client(client);
        peer_stop(peer);
    }
}

/* Cancelled before the worker dialled: it finds a closed door and nothing is left here. */
static void case_cancel_early(void) {
    const struct peer_script script = {
        .ack = ACK, .dials = true, .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11") FINAL)};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    struct peer *peer = peer_start(&script);
    struct call c, after;
    CHECK(start(client, peer_port(peer), &c, 0) == WEIR_OK);
    weir_plane_call_cancel(c.call, false);
    CHECK_EQ_U64(weir_plane_client_calls(client), 0);
    /* The place in the order of replies stays taken: the next call gets its own reply. */
    CHECK(start(client, peer_port(peer), &after, 0) == WEIR_OK);
    wait_end(&after);
    CHECK(after.status == WEIR_OK && after.n_ids == 1);
    CHECK_EQ_U64(c.ends, 0);
    end_client(client);
    peer_stop(peer);
}

static void case_cancel_inside_item(void) {
    const struct peer_script script = {
        .ack = ACK,
        .dials = true,
        .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11") TOKEN("22") TOKEN("33") FINAL SENTINEL)};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    struct peer *peer = peer_start(&script);
    struct call c;
    CHECK(start(client, peer_port(peer), &c, 0) == WEIR_OK);
    c.cancel_at_item = true;
    wait_end(&c);
    CHECK(turns_until(loop, stream_ended, peer));
    CHECK_EQ_U64(c.items, 1);
    end_client(client);
    peer_stop(peer);
}

static void case_destroy(void) {
    const struct peer_script script = {
        .ack = ACK, .dials = true, .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11"))};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    struct peer *peer = peer_start(&script);
    struct call c, d;
    CHECK(start(client, peer_port(peer), &c, 0) == WEIR_OK);
    CHECK(turns_until(loop, has_item, &c));
    CHECK(start(client, peer_port(peer), &d, 0) == WEIR_OK);
    weir_plane_client_destroy(client);
    CHECK(c.ends == 1 && c.status == WEIR_CANCELLED && d.ends == 1 && d.status == WEIR_CANCELLED);
    turns_flush(loop);
    peer_stop(peer);
}

/* ---- pools and overdue replies -------------------------------------------------------------- */

static void case_pool(void) {
    const struct peer_script script = {.ack = {NULL, 0}};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){
        .pool_conns = 2, .in_flight = 2, .max_calls = 5, .ack_ms = 300});
    struct peer *peer = peer_start(&script);
    struct call c[6];
    for (unsigned i = 0; i < 4; i++)
        CHECK(start(client, peer_port(peer), &c[i], 0) == WEIR_OK);
    CHECK(start(client, peer_port(peer), &c[4], 0) == WEIR_OVERLOADED);
    struct weir_plane_stats stats;
    weir_plane_client_stats(client, &stats);
    CHECK(stats.conns_active == 2 && stats.conns_idle == 0);
    for (unsigned i = 0; i < 4; i++) {
        wait_end(&c[i]);
        CHECK(c[i].status == WEIR_TIMEOUT);
    }
    /* Connections whose replies are overdue are given up, and new ones opened. */
    turns_flush(loop);
    weir_plane_client_stats(client, &stats);
    CHECK(stats.conns_active == 0 && stats.conns_idle == 0);
    CHECK(start(client, peer_port(peer), &c[4], 0) == WEIR_OK);
    wait_end(&c[4]);
    CHECK_EQ_U64(peer_conns(peer), 3);
    end_client(client);
    peer_stop(peer);
}

static void case_limits(void) {
    const struct peer_script script = {.ack = {NULL, 0}};
    struct weir_plane_client *client =
        make_client((struct weir_plane_client_config){.max_calls = 1, .max_message = 8192});
    struct peer *peer = peer_start(&script);
    struct call c, d;
    CHECK(start(client, peer_port(peer), &c, 0) == WEIR_OK);
    CHECK(start(client, peer_port(peer), &d, 0) == WEIR_LIMIT);
    weir_plane_call_cancel(c.call, false);
    struct weir_buf body;
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%u/p", peer_port(peer));
    weir_buf_init(&body, 1 << 20);
    for (unsigned i = 0; i < 5000; i++)
        CHECK(weir_buf_append_c(&body, 'x') == WEIR_OK);
    const struct weir_plane_call_config config = {
        .address = weir_span_z(address), .request_id = WEIR_SPAN_LIT("r"), .take_body = &body};
    CHECK(weir_plane_call_start(client, &config, &ops, &d, &d.call) == WEIR_TOO_LARGE);
    CHECK_EQ_U64(body.len, 5000); /* still the caller's */
    weir_buf_fini(&body);
    end_client(client);
    peer_stop(peer);
}

/* Ends of calls start and end other calls. */
struct pair {
    struct call a, b;
    struct weir_plane_client *client;
    unsigned port;
};

static void on_end_cancels_other(void *arg, const struct weir_plane_end *end) {
    struct pair *p = arg;
    on_end(&p->a, end);
    weir_plane_call_cancel(p->b.call, false);
    CHECK(start(p->client, p->port, &p->b, 0) == WEIR_OK);
}

static void case_ends_start_and_end_calls(void) {
    static const struct weir_plane_call_ops pair_ops = {.on_end = on_end_cancels_other};
    const struct peer_script script = {.ack = WEIR_SPAN_LIT("\0\0\0\x02no")};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    struct peer *peer = peer_start(&script);
    struct pair p = {.client = client, .port = peer_port(peer)};
    struct weir_buf body;
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%u/2a/n/c/e", p.port);
    weir_buf_init(&body, 64);
    const struct weir_plane_call_config config = {
        .address = weir_span_z(address), .request_id = WEIR_SPAN_LIT("r"), .take_body = &body};
    CHECK(weir_plane_call_start(client, &config, &pair_ops, &p, &p.a.call) == WEIR_OK);
    CHECK(start(client, p.port, &p.b, 0) == WEIR_OK);
    wait_end(&p.a);
    CHECK(p.a.status == WEIR_UNAVAILABLE && p.a.inhibit);
    wait_end(&p.b); /* the one that was begun afterwards */
    CHECK(p.b.status == WEIR_UNAVAILABLE && strcmp(p.b.message, "no") == 0);
    end_client(client);
    peer_stop(peer);
}

/* The worker's record goes while its prologue is still to come; what it gives afterwards is waited
 * for no longer than of one that had begun. (Failed before: for ever.) */
static void case_left_before_it_began(void) {
    const struct peer_script script = {.ack = ACK,
                                       .dials = true,
                                       .stream = WEIR_SPAN_LIT(PROLOGUE TOKEN("11")),
                                       .end = PEER_WAITS};
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    struct peer *peer = peer_start(&script);
    struct call c;
    char address[64];
    CHECK(start(client, peer_port(peer), &c, 0) == WEIR_OK);
    snprintf(address, sizeof(address), "127.0.0.1:%u/2a/n/c/e", peer_port(peer));
    weir_plane_client_worker_left(client, weir_span_z(address), 1000);
    wait_end(&c);
    CHECK_MSG(c.items == 1 && c.status == WEIR_TIMEOUT && strcmp(c.stage, "deadline") == 0,
              "%u items, %s", c.items, c.stage);
    end_client(client);
    peer_stop(peer);
}

/* A body that is no item is the worker's mistake, not its absence. */
static void case_unreadable_item(void) {
    struct call c;
    const struct peer_script script = {.ack = ACK,
                                       .dials = true,
                                       .stream = WEIR_SPAN_LIT(PROLOGUE BODY("\x03", "abc")),
                                       .end = PEER_CLOSES};
    run_script(&script, &(struct weir_plane_client_config){0}, 0, &c);
    CHECK(c.status == WEIR_PROTOCOL && c.http == 500 && !c.inhibit);
}

/* ---- connections that the worker closes between requests ------------------------------------ */

/* A worker of plain sockets on this thread, so that its deeds fall between two loop turns. */
static int listen_here(unsigned *ret_port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 8) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&at, &size) == 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static bool readable(void *arg) {
    struct pollfd p = {.fd = *(int *)arg, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static bool is_idle(void *arg) {
    struct weir_plane_stats stats;
    weir_plane_client_stats(arg, &stats);
    return stats.conns_active == 0 && stats.conns_idle == 1;
}

static bool has_none(void *arg) {
    struct weir_plane_stats stats;
    weir_plane_client_stats(arg, &stats);
    return stats.conns_active + stats.conns_idle == 0;
}

/* The client has read what was sent on this connection of ours. */
static bool is_read(void *arg) {
    int unread, fd = other_end(*(int *)arg);
    return fd >= 0 && ioctl(fd, FIONREAD, &unread) == 0 && unread == 0;
}

/* The connection of a first call, which is over: it is idle in the pool now. */
static int idle_connection(struct weir_plane_client *client, int listener, unsigned port) {
    struct call c;
    char frame[4096];
    CHECK(start(client, port, &c, 0) == WEIR_OK);
    CHECK(turns_until(loop, readable, &listener));
    int fd = accept(listener, NULL, NULL);
    CHECK(turns_until(loop, readable, &fd));
    CHECK(recv(fd, frame, sizeof(frame), 0) > 0 && send(fd, "\0\0\0\0", 4, 0) == 4);
    weir_plane_call_cancel(c.call, false);
    CHECK(turns_until(loop, is_read, &fd)); /* the reply is taken, and the request has left: */
    CHECK(turns_until(loop, is_idle, client));
    while (recv(fd, frame, sizeof(frame), MSG_DONTWAIT) > 0)
        ;
    CHECK_EQ_U64(c.ends, 0);
    return fd;
}

/* An end before or after the request has left: "stale" only where the worker cannot have it. */
static void case_stale_connection(void) {
    enum { BEFORE_IT_LEAVES, BEFORE_IT_COMES, READ_FIRST, UNREAD, N };
    static const char *const want[N] = {"stale", "stale", "unacked", "unacked"};
    for (int k = 0; k < N; k++) {
        unsigned port;
        struct call c;
        char frame[4096];
        int listener = listen_here(&port);
        struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
        int fd = idle_connection(client, listener, port);
        if (k == BEFORE_IT_COMES)
            close(fd); /* our end has not been looked at yet when the request is written */
        CHECK(start(client, port, &c, 0) == WEIR_OK);
        if (k == BEFORE_IT_LEAVES)
            shutdown(fd, SHUT_WR); /* half an end, and nothing left: read by nobody */
        if (k == READ_FIRST || k == UNREAD)
            CHECK(turns_until(loop, readable, &fd));
        if (k == READ_FIRST)
            CHECK(recv(fd, frame, sizeof(frame), 0) > 0);
        if (k != BEFORE_IT_COMES)
            close(fd);
        wait_end(&c);
        CHECK_MSG(strcmp(c.stage, want[k]) == 0, "%d: %s, not %s", k, c.stage, want[k]);
        CHECK(c.status == WEIR_DISCONNECTED && c.end_http == 503);
        CHECK(c.inhibit == (strcmp(want[k], "unacked") == 0)); /* the worker itself may be well */
        end_client(client);
        close(listener);
    }
}

/* The value behind \"name\":\" in the control header of a request frame. */
static void find_text(const char *frame, size_t n, const char *name, char *ret, size_t room) {
    char key[64];
    int len = snprintf(key, sizeof(key), "\\\"%s\\\":\\\"", name);
    const char *at = memmem(frame, n, key, (size_t)len);
    CHECK(at != NULL);
    at += len;
    snprintf(ret, room, "%.*s", (int)strcspn(at, "\\"), at);
}

/* The response stream of a request, opened and named. */
static int dial_back(const char *frame, size_t n) {
    char address[128], subject[128], hello[256] = {0};
    find_text(frame, n, "address", address, sizeof(address));
    find_text(frame, n, "subject", subject, sizeof(subject));
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port =
                                 htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    int len = snprintf(hello + 24, sizeof(hello) - 24,
                       "{\"subject\":\"%s\",\"stream_type\":\"response\"}", subject);
    hello[7] = (char)len;
    CHECK(send(fd, hello, (size_t)len + 24, 0) == len + 24);
    return fd;
}

/* A worker that dials back has the request, whatever becomes of the connection that it came on.
 * (Failed before: "unacked", and the worker was avoided.) */
static void case_dialled_back_is_acknowledged(void) {
    static const struct weir_span answer = WEIR_SPAN_LIT(PROLOGUE TOKEN("11") FINAL);
    unsigned port;
    struct call c;
    char frame[4096];
    int listener = listen_here(&port);
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    CHECK(start(client, port, &c, 0) == WEIR_OK);
    CHECK(turns_until(loop, readable, &listener));
    int fd = accept(listener, NULL, NULL);
    CHECK(turns_until(loop, readable, &fd));
    ssize_t n = recv(fd, frame, sizeof(frame), 0);
    CHECK(n > 0);
    int home = dial_back(frame, (size_t)n);
    CHECK(turns_until(loop, is_read, &home));
    close(fd);
    CHECK(turns_until(loop, has_none, client));
    CHECK_EQ_U64(c.ends, 0);
    CHECK(send(home, answer.data, answer.len, MSG_NOSIGNAL) == (ssize_t)answer.len);
    wait_end(&c);
    CHECK_MSG(c.status == WEIR_OK && c.items == 1, "%s: %s", c.stage, c.message);
    end_client(client);
    close(home);
    close(listener);
}

/* A caller that takes nothing for a while: a worker that begins meanwhile is not late, and held. */
static void case_paused_before_it_began(void) {
    static const struct weir_span begins = WEIR_SPAN_LIT(PROLOGUE);
    static const struct weir_span rest = WEIR_SPAN_LIT(TOKEN("11") FINAL);
    unsigned port;
    struct call c;
    char frame[4096];
    int listener = listen_here(&port);
    struct weir_plane_client *client =
        make_client((struct weir_plane_client_config){.prologue_ms = 100});
    CHECK(start(client, port, &c, 0) == WEIR_OK);
    weir_plane_call_pause(c.call);
    CHECK(turns_until(loop, readable, &listener));
    int fd = accept(listener, NULL, NULL);
    CHECK(turns_until(loop, readable, &fd));
    ssize_t n = recv(fd, frame, sizeof(frame), 0);
    CHECK(n > 0);
    int home = dial_back(frame, (size_t)n);
    CHECK(turns_until(loop, is_read, &home));
    CHECK(send(fd, "\0\0\0\0", 4, 0) == 4);
    CHECK(send(home, begins.data, begins.len, MSG_NOSIGNAL) == (ssize_t)begins.len);
    turns_for(loop, 200);
    CHECK_MSG(c.ends == 0, "%s: %s", c.stage, c.message);
    if (c.ends == 0) {
        CHECK(send(home, rest.data, rest.len, MSG_NOSIGNAL) == (ssize_t)rest.len);
        turns_for(loop, 50);
        CHECK(c.items == 0 && c.ends == 0);
        weir_plane_call_resume(c.call);
    }
    wait_end(&c);
    CHECK_MSG(c.status == WEIR_OK && c.items == 1, "%s: %s", c.stage, c.message);
    end_client(client);
    close(fd);
    close(home);
    close(listener);
}

/* After a stale connection the others of the pool are not trusted either. */
static void case_fresh_connection(void) {
    unsigned port;
    int listener = listen_here(&port);
    struct weir_plane_client *client = make_client((struct weir_plane_client_config){0});
    int old = idle_connection(client, listener, port);
    struct call c = {.http = 200};
    char address[64];
    struct weir_buf body;
    snprintf(address, sizeof(address), "127.0.0.1:%u/2a/n/c/e", port);
    weir_buf_init(&body, 1 << 20);
    CHECK(weir_buf_append_z(&body, "{}") == WEIR_OK);
    const struct weir_plane_call_config config = {
        .address = weir_span_z(address),
        .request_id = WEIR_SPAN_LIT("11111111-2222-4333-8444-555555555555"),
        .take_body = &body,
        .fresh = true};
    CHECK(weir_plane_call_start(client, &config, &ops, &c, &c.call) == WEIR_OK);
    CHECK(turns_until(loop, readable, &listener));
    int fd = accept(listener, NULL, NULL);
    CHECK(turns_until(loop, readable, &fd));
    CHECK(!readable(&old));
    weir_plane_call_cancel(c.call, false);
    end_client(client);
    close(fd);
    close(old);
    close(listener);
}

int main(void) {
    if (weir_loop_create(0, &loop) != WEIR_OK)
        return 1;
    CHECK_RUN(case_captured_streams);
    CHECK_RUN(case_happy);
    CHECK_RUN(case_body_in_place);
    CHECK_RUN(case_reuse);
    CHECK_RUN(case_failures);
    CHECK_RUN(case_nobody_listens);
    CHECK_RUN(case_bad_addresses);
    CHECK_RUN(case_cancel);
    CHECK_RUN(case_cancel_early);
    CHECK_RUN(case_cancel_inside_item);
    CHECK_RUN(case_destroy);
    CHECK_RUN(case_pool);
    CHECK_RUN(case_limits);
    CHECK_RUN(case_ends_start_and_end_calls);
    CHECK_RUN(case_left_before_it_began);
    CHECK_RUN(case_unreadable_item);
    CHECK_RUN(case_stale_connection);
    CHECK_RUN(case_paused_before_it_began);
    CHECK_RUN(case_fresh_connection);
    CHECK_RUN(case_dialled_back_is_acknowledged);
    if (check_failed == 0)
        weir_loop_destroy(loop);
    return check_finish();
}
