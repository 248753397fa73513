/*
 * The worker's side: against our own calling side for whole conversations, and against plain
 * sockets for every frame that a caller may get wrong.
 */
#include "runtime/plane_server.h"

#include "base/metrics.h"

#include "base/rng.h"
#include "runtime/plane_client.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"
#include "test/unit/wire/vectors.h"
#include "wire/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct weir_loop *loop;

/* ---- a worker that does as its fields say --------------------------------------------------- */

struct worker {
    struct weir_plane_server *server;
    unsigned requests, cancels, dones;
    unsigned n_items; /* sent at once */
    const char *error;
    bool hold, abort_it; /* no end / a broken stream */
    bool raw;
    struct weir_plane_request *last;
    size_t prompt;
    char id[64];
    uint16_t port;
};

static void send_items(struct weir_plane_request *r, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct weir_output o;
        uint32_t id = i;
        weir_output_init(&o);
        o.has_data = o.has_output = true;
        o.token_ids = (struct weir_ids){&id, 1};
        weir_plane_reply_item(r, &o);
    }
}

static void on_request(void *arg, struct weir_plane_request *r, const struct weir_prep_request *q) {
    struct worker *w = arg;
    struct weir_span id = weir_plane_request_id(r);
    w->requests++;
    w->last = r;
    w->prompt = q != NULL ? q->token_ids.n : 0;
    snprintf(w->id, sizeof(w->id), "%.*s", WEIR_SPAN_ARG(id));
    CHECK((q == NULL) == w->raw);
    weir_plane_reply_prologue(r, w->error);
    if (w->error != NULL)
        return;
    if (w->raw)
        weir_plane_reply_raw(
            r, WEIR_SPAN_LIT("{\"data\":{\"Error\":\"x\"},\"complete_final\":false}"));
    else
        send_items(r, w->n_items);
    if (w->abort_it)
        weir_plane_reply_abort(r);
    else if (!w->hold)
        weir_plane_reply_end(r);
}

static void on_cancel(void *arg, struct weir_plane_request *r) {
    struct worker *w = arg;
    w->cancels++;
    send_items(r, 1); /* nothing may come of it */
    weir_plane_reply_end(r);
}

static void on_done(void *arg, struct weir_plane_request *r) {
    struct worker *w = arg;
    w->dones++;
    if (w->last == r)
        w->last = NULL;
}

static const struct weir_plane_handler handler = {on_request, on_cancel, on_done};

static void open_worker(struct worker *w, struct weir_plane_server_config config) {
    struct weir_err err = {.text = ""};
    struct weir_buf address;
    config.ip = "127.0.0.1";
    CHECK_MSG(weir_plane_server_create(loop, &config, &w->server, &err) == WEIR_OK, "%s", err.text);
    CHECK(weir_plane_server_register(w->server, "2a/n/c/e", &handler, w) == WEIR_OK);
    CHECK(weir_plane_server_register(w->server, "odd path ?x=1", &handler, w) == WEIR_OK);
    CHECK(weir_plane_server_register_raw(w->server, "2a/n/c/query", &handler, w) == WEIR_OK);
    weir_buf_init(&address, 256);
    CHECK(weir_plane_server_address(w->server, "2a/n/c/e", &address) == WEIR_OK);
    CHECK(weir_span_starts(weir_buf_span(&address), WEIR_SPAN_LIT("127.0.0.1:")));
    w->port = (uint16_t)strtoul(address.data + 10, NULL, 10);
    weir_buf_fini(&address);
}

static void close_worker(struct worker *w) {
    weir_plane_server_destroy(w->server);
    turns_flush(loop);
    CHECK_EQ_U64(w->dones, w->requests);
}

/* ---- a caller ------------------------------------------------------------------------------- */

struct call {
    struct weir_plane_call *call;
    unsigned items, raws, ends;
    uint32_t next_id;
    bool wrong, pause_at_item;
    enum weir_status status;
    int http;
    char stage[16], message[128];
};

static void on_item(void *arg, const struct weir_output *item) {
    struct call *c = arg;
    c->items++;
    c->wrong |= item->token_ids.n != 1 || item->token_ids.ids[0] != c->next_id++;
    if (c->pause_at_item) {
        c->pause_at_item = false;
        weir_plane_call_pause(c->call);
    }
}

static void on_raw(void *arg, struct weir_span wrapper) {
    struct call *c = arg;
    c->raws++;
    c->wrong |= !weir_span_starts(wrapper, WEIR_SPAN_LIT("{\"data\":{\"Error\""));
    weir_plane_call_cancel(c->call, false);
    c->ends++;
}

static void on_end(void *arg, const struct weir_plane_end *end) {
    struct call *c = arg;
    c->ends++;
    c->status = end->status;
    c->http = end->error.http_status;
    snprintf(c->stage, sizeof(c->stage), "%s", end->stage);
    snprintf(c->message, sizeof(c->message), "%.*s", WEIR_SPAN_ARG(end->error.message));
}

static const struct weir_plane_call_ops ops = {.on_item = on_item, .on_end = on_end};
static const struct weir_plane_call_ops raw_ops = {.on_raw = on_raw, .on_end = on_end};

static struct weir_plane_client *make_client(void) {
    struct weir_plane_client *client = NULL;
    struct weir_err err;
    const struct weir_plane_client_config config = {.response_ip = "127.0.0.1"};
    CHECK(weir_plane_client_create(loop, &config, &client, &err) == WEIR_OK);
    return client;
}

static void start_at(struct weir_plane_client *client, uint16_t port, const char *path,
                     enum weir_codec codec, struct call *c) {
    char address[128];
    struct weir_buf body;
    struct weir_prep_request q;
    static const uint32_t ids[] = {1, 2, 3};
    *c = (struct call){0};
    snprintf(address, sizeof(address), "127.0.0.1:%u/%s", port, path);
    weir_buf_init(&body, 1 << 20);
    weir_prep_request_init(&q);
    q.token_ids = (struct weir_ids){ids, 3};
    CHECK(weir_prep_request_encode(&q, codec, &body) == WEIR_OK);
    const struct weir_plane_call_config config = {.address = weir_span_z(address),
                                                  .request_id = WEIR_SPAN_LIT("the-id"),
                                                  .codec = codec,
                                                  .take_body = &body};
    CHECK(weir_plane_call_start(client, &config, strstr(path, "query") != NULL ? &raw_ops : &ops, c,
                                &c->call) == WEIR_OK);
}

static void start(struct weir_plane_client *client, uint16_t port, struct call *c) {
    start_at(client, port, "2a/n/c/e", WEIR_CODEC_MSGPACK, c);
}

static bool ended(void *arg) {
    return ((struct call *)arg)->ends > 0;
}

static bool all_done(void *arg) {
    struct worker *w = arg;
    return w->requests > 0 && w->dones == w->requests;
}

static void finish_both(struct weir_plane_client *client, struct worker *w) {
    CHECK_EQ_U64(weir_plane_client_calls(client), 0);
    CHECK(turns_until(loop, all_done, w));
    CHECK_EQ_U64(weir_plane_server_active(w->server), 0);
    weir_plane_client_destroy(client);
    turns_flush(loop);
    close_worker(w);
}

/* ---- conversations -------------------------------------------------------------------------- */

static void case_happy(void) {
    static const char *const paths[] = {"2a/n/c/e", "odd path ?x=1"};
    for (int codec = 0; codec < 2; codec++)
        for (int p = 0; p < 2; p++) {
            struct worker w = {.n_items = 500};
            struct call c;
            open_worker(&w, (struct weir_plane_server_config){0});
            struct weir_plane_client *client = make_client();
            start_at(client, w.port, paths[p], (enum weir_codec)codec, &c);
            CHECK(turns_until(loop, ended, &c));
            CHECK(c.status == WEIR_OK && c.items == 500 && !c.wrong);
            CHECK(w.requests == 1 && w.prompt == 3 && strcmp(w.id, "the-id") == 0 &&
                  w.cancels == 0);
            finish_both(client, &w);
        }
}

static void case_raw_endpoint(void) {
    struct worker w = {.raw = true};
    struct call c;
    open_worker(&w, (struct weir_plane_server_config){0});
    struct weir_plane_client *client = make_client();
    start_at(client, w.port, "2a/n/c/query", WEIR_CODEC_JSON, &c);
    CHECK(turns_until(loop, ended, &c));
    CHECK(c.raws == 1 && !c.wrong);
    finish_both(client, &w);
}

static bool has_item(void *arg) {
    return ((struct call *)arg)->items > 0;
}

static void case_refusals(void) {
    struct worker w = {.n_items = 1, .hold = true};
    struct call a, b;
    open_worker(&w, (struct weir_plane_server_config){.max_active = 1});
    struct weir_plane_client *client = make_client();
    start_at(client, w.port, "nowhere", WEIR_CODEC_JSON, &b);
    CHECK(turns_until(loop, ended, &b));
    CHECK(b.status == WEIR_UNAVAILABLE && b.http == 503 && strcmp(b.stage, "ack") == 0);
    CHECK_EQ_STR(b.message, strlen(b.message), "Server unavailable: unknown endpoint nowhere");
    start(client, w.port, &a);
    CHECK(turns_until(loop, has_item, &a));
    start(client, w.port, &b);
    CHECK(turns_until(loop, ended, &b));
    CHECK(b.status == WEIR_OVERLOADED && b.http == 529);
    /* What runs goes on while nothing new is taken. */
    weir_plane_server_drain(w.server);
    start(client, w.port, &b);
    CHECK(turns_until(loop, ended, &b));
    CHECK(b.status == WEIR_UNAVAILABLE);
    weir_plane_reply_end(w.last);
    CHECK(turns_until(loop, ended, &a));
    CHECK(a.status == WEIR_OK && a.items == 1);
    finish_both(client, &w);
}

static void case_error_prologue(void) {
    struct worker w = {.error = "it is \"broken\""};
    struct call c;
    open_worker(&w, (struct weir_plane_server_config){0});
    struct weir_plane_client *client = make_client();
    start(client, w.port, &c);
    CHECK(turns_until(loop, ended, &c));
    CHECK(c.status == WEIR_UNAVAILABLE && c.http == 503 && strcmp(c.stage, "prologue") == 0);
    CHECK_EQ_STR(c.message, strlen(c.message), "it is \"broken\"");
    finish_both(client, &w);
    CHECK_EQ_U64(w.cancels, 0);
}

static void case_abort(void) {
    struct worker w = {.n_items = 3, .abort_it = true};
    struct call c;
    open_worker(&w, (struct weir_plane_server_config){0});
    struct weir_plane_client *client = make_client();
    start(client, w.port, &c);
    CHECK(turns_until(loop, ended, &c));
    CHECK(c.status == WEIR_DISCONNECTED && c.http == 503 && c.items == 3);
    finish_both(client, &w);
}

static void case_caller_cancels(void) {
    for (int graceful = 0; graceful < 2; graceful++) {
        struct worker w = {.n_items = 1, .hold = true};
        struct call c;
        open_worker(&w, (struct weir_plane_server_config){0});
        struct weir_plane_client *client = make_client();
        start(client, w.port, &c);
        CHECK(turns_until(loop, has_item, &c));
        weir_plane_call_cancel(c.call, graceful != 0);
        finish_both(client, &w);
        CHECK(w.cancels == 1 && c.ends == 0);
    }
}

/* Cancelled at once: the worker may not even have been asked. */
static void case_caller_cancels_at_once(void) {
    struct worker w = {.n_items = 1, .hold = true};
    struct call c;
    open_worker(&w, (struct weir_plane_server_config){0});
    struct weir_plane_client *client = make_client();
    start(client, w.port, &c);
    weir_plane_call_cancel(c.call, false);
    finish_both(client, &w);
    CHECK_EQ_U64(w.cancels, 1);
}

static void case_server_goes(void) {
    struct worker w = {.n_items = 1, .hold = true};
    struct call c;
    open_worker(&w, (struct weir_plane_server_config){0});
    struct weir_plane_client *client = make_client();
    start(client, w.port, &c);
    CHECK(turns_until(loop, has_item, &c));
    weir_plane_server_destroy(w.server);
    CHECK(turns_until(loop, ended, &c));
    CHECK(c.status == WEIR_DISCONNECTED && c.http == 503);
    turns_flush(loop);
    CHECK(w.dones == 1 && w.cancels == 1);
    weir_plane_client_destroy(client);
    turns_flush(loop);
}

/* A caller that pauses gets no more than what one read held, and later everything. */
static bool arg_items(void *arg) {
    return ((struct call *)arg)->items >= 20000;
}

static void case_back_pressure(void) {
    struct worker w = {.n_items = 20000, .hold = true};
    struct call c;
    open_worker(&w, (struct weir_plane_server_config){0});
    struct weir_plane_client *client = make_client();
    start(client, w.port, &c);
    c.pause_at_item = true;
    CHECK(turns_until(loop, has_item, &c));
    turns_for(loop, 30);
    unsigned seen = c.items;
    CHECK_MSG(seen < 20000, "%u items came through a pause", seen);
    turns_for(loop, 30);
    CHECK_EQ_U64(c.items, seen);
    weir_plane_call_resume(c.call);
    CHECK(turns_until(loop, arg_items, &c));
    CHECK(!c.wrong && c.ends == 0);
    weir_plane_reply_end(w.last);
    CHECK(turns_until(loop, ended, &c));
    CHECK(c.status == WEIR_OK && c.items == 20000);
    finish_both(client, &w);
}

/* More in one turn than is queued for a caller. */
static void send_flood(struct weir_plane_request *r) {
    static char mib[1 << 20];
    for (unsigned i = 0; i < 100; i++)
        weir_plane_reply_raw(r, weir_span(mib, sizeof(mib)));
}

/* One stream that is cut is one, however much its worker goes on to say. (Failed before: each item
 * behind the full queue was counted.) */
static void case_cut_counts_once(void) {
    struct worker w = {.n_items = 1, .hold = true};
    struct weir_metrics *metrics;
    struct call c;
    struct weir_buf page;
    CHECK(weir_metrics_create(&metrics) == WEIR_OK);
    open_worker(&w, (struct weir_plane_server_config){.metrics = metrics});
    struct weir_arena arena;
    struct weir_record record = {
        .kind = WEIR_RECORD_ENDPOINT,
        .endpoint = {WEIR_SPAN_LIT("n"), WEIR_SPAN_LIT("c"), WEIR_SPAN_LIT("shown")},
        .instance_id = 0x2a};
    weir_arena_init(&arena, 1 << 16);
    CHECK(weir_plane_server_serve(w.server, &handler, &w, false, &arena, &record) == WEIR_OK);
    struct weir_plane_client *client = make_client();
    start_at(client, w.port, "2a/n/c/shown", WEIR_CODEC_MSGPACK, &c);
    CHECK(turns_until(loop, has_item, &c));
    send_flood(w.last);
    CHECK(turns_until(loop, ended, &c));
    CHECK(c.status != WEIR_OK);
    finish_both(client, &w);
    weir_buf_init(&page, 1 << 20);
    CHECK(weir_metrics_expose(metrics, &page) == WEIR_OK &&
          weir_buf_append_c(&page, '\0') == WEIR_OK);
    const char *at = strstr(page.data, "error_type=\"publish_response\"} ");
    CHECK(at != NULL && strtoul(strchr(at, ' '), NULL, 10) == 1);
    weir_buf_fini(&page);
    weir_metrics_destroy(metrics);
    weir_arena_fini(&arena);
}

/* A caller that takes its time behind the end is not cut off: what waits for it is still its own.
 */
static void case_slow_at_the_end(void) {
    enum { ITEMS = 200000 }; /* more than the system keeps for both sides */
    struct worker w = {.n_items = ITEMS};
    struct call c;
    open_worker(&w, (struct weir_plane_server_config){.close_ms = 20});
    struct weir_plane_client *client = make_client();
    start(client, w.port, &c);
    c.pause_at_item = true;
    CHECK(turns_until(loop, has_item, &c));
    turns_for(loop, 100);
    CHECK(c.ends == 0 && w.dones == 0);
    weir_plane_call_resume(c.call);
    CHECK(turns_until(loop, ended, &c));
    CHECK_MSG(c.status == WEIR_OK && c.items == ITEMS && !c.wrong, "%d at %s, %u items",
              (int)c.status, c.stage, c.items);
    finish_both(client, &w);
}

/* Many calls that end in every way there is: nothing is left behind. */
static bool no_calls(void *arg) {
    return weir_plane_client_calls(arg) == 0;
}

static void case_churn(void) {
    enum { CALLS = 400 };
    static struct call calls[CALLS];
    struct worker w = {.n_items = 3};
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    open_worker(&w, (struct weir_plane_server_config){.max_active = 150});
    struct weir_plane_client *client = make_client();
    for (unsigned i = 0; i < CALLS; i++) {
        w.hold = weir_rng_below(&rng, 4) == 0;
        w.abort_it = weir_rng_below(&rng, 4) == 0;
        w.error = weir_rng_below(&rng, 8) == 0 ? "no" : NULL;
        start_at(client, w.port, weir_rng_below(&rng, 16) == 0 ? "nowhere" : "2a/n/c/e",
                 (enum weir_codec)weir_rng_below(&rng, 2), &calls[i]);
        if (weir_rng_below(&rng, 3) == 0)
            turns_flush(loop);
        unsigned other = (unsigned)weir_rng_below(&rng, i + 1);
        if (calls[other].ends == 0 && weir_rng_below(&rng, 3) == 0) {
            weir_plane_call_cancel(calls[other].call, weir_rng_below(&rng, 2) == 0);
            calls[other].ends = 100;
        }
    }
    turns_flush(loop);
    for (unsigned i = 0; i < CALLS; i++)
        if (calls[i].ends == 0 && weir_rng_below(&rng, 2) == 0) {
            weir_plane_call_cancel(calls[i].call, false);
            calls[i].ends = 100;
        }
    weir_plane_server_destroy(w.server);
    CHECK(turns_until(loop, no_calls, client));
    turns_flush(loop);
    for (unsigned i = 0; i < CALLS; i++)
        CHECK_MSG(calls[i].ends == 1 || calls[i].ends == 100, "call %u ended %u times", i,
                  calls[i].ends);
    CHECK_EQ_U64(w.dones, w.requests);
    weir_plane_client_destroy(client);
    turns_flush(loop);
}

/* ---- plain sockets -------------------------------------------------------------------------- */

struct wire_caller {
    int fd, listener, home;
    uint16_t port; /* of the listener */
    char in[65536], home_in[65536];
    size_t n_in, n_home_in;
    bool eof, home_eof;
};

static void set_nonblocking(int fd) {
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
}

static void call_open(struct wire_caller *w, uint16_t port) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(port)};
    socklen_t len = sizeof(a);
    *w = (struct wire_caller){.home = -1};
    w->fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(w->fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    set_nonblocking(w->fd);
    w->listener = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_port = 0;
    CHECK(bind(w->listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(w->listener, 8) == 0);
    CHECK(getsockname(w->listener, (struct sockaddr *)&a, &len) == 0);
    w->port = ntohs(a.sin_port);
    set_nonblocking(w->listener);
}

static void call_close(struct wire_caller *w) {
    close(w->fd);
    close(w->listener);
    if (w->home >= 0)
        close(w->home);
}

static void fill(int fd, char *to, size_t room, size_t *n, bool *eof) {
    ssize_t got = 0;
    while (*n < room && (got = read(fd, to + *n, room - *n)) > 0)
        *n += (size_t)got;
    if (*n < room && (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)))
        *eof = true;
}

/* Takes in what came; with `until` bytes of the reply. */
struct want {
    struct wire_caller *w;
    size_t in, home_in;
    bool eof, home_eof;
};

static bool came(void *arg) {
    struct want *t = arg;
    struct wire_caller *w = t->w;
    fill(w->fd, w->in, sizeof(w->in), &w->n_in, &w->eof);
    if (w->home < 0) {
        w->home = accept(w->listener, NULL, NULL);
        if (w->home >= 0)
            set_nonblocking(w->home);
    }
    if (w->home >= 0)
        fill(w->home, w->home_in, sizeof(w->home_in), &w->n_home_in, &w->home_eof);
    return w->n_in >= t->in && w->n_home_in >= t->home_in && w->eof >= t->eof &&
           w->home_eof >= t->home_eof;
}

static void put(struct wire_caller *w, struct weir_span bytes, size_t chunk) {
    for (size_t at = 0; at < bytes.len; at += chunk) {
        size_t n = chunk < bytes.len - at ? chunk : bytes.len - at;
        CHECK(send(w->fd, bytes.data + at, n, MSG_NOSIGNAL) == (ssize_t)n);
        if (chunk < bytes.len)
            turns_for(loop, 0);
    }
}

/* A request frame with our own address in its control header. */
static void make_frame(struct weir_buf *out, const char *path, const char *id, const char *context,
                       const char *transport, const char *codec, uint16_t port, const char *body) {
    char control[1024];
    size_t mark = 0;
    snprintf(control, sizeof(control),
             "{\"id\":\"%s\",\"payload_codec\":\"%s\",\"connection_info\":{\"transport\":\"%s\","
             "\"info\":\"{\\\"address\\\":\\\"127.0.0.1:%u\\\",\\\"subject\\\":\\\"sub\\\","
             "\\\"context\\\":\\\"%s\\\"}\"}}",
             id, codec, transport, port, context);
    CHECK(weir_request_frame_begin(weir_span_z(path), weir_span(NULL, 0), out, &mark) == WEIR_OK);
    CHECK(weir_two_part_encode(weir_span_z(control), weir_span_z(body), out) == WEIR_OK);
    CHECK(weir_request_frame_end(out, mark) == WEIR_OK);
}

#define HANDSHAKE "{\"subject\":\"sub\",\"stream_type\":\"response\"}"
#define HANDSHAKE_FRAME "\0\0\0\0\0\0\0\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" HANDSHAKE
#define PROLOGUE "\0\0\0\0\0\0\0\x0e\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{\"error\":null}"
#define FINAL "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x17\0\0\0\0\0\0\0\0{\"complete_final\":true}"
#define SENTINEL "\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\"sentinel\""

/* The bytes of a whole conversation, sent in pieces of every size. */
static void case_bytes(void) {
    static const size_t chunks[] = {1 << 20, 1, 3};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(chunks); i++) {
        struct worker w = {0};
        static struct wire_caller k;
        struct weir_buf frame;
        open_worker(&w, (struct weir_plane_server_config){0});
        call_open(&k, w.port);
        weir_buf_init(&frame, 1 << 16);
        make_frame(&frame, "2a/n/c/e", "r", "r", "tcp_server", "json", k.port,
                   "{\"token_ids\":[1,2],\"stop_conditions\":{\"max_tokens\":2}}");
        put(&k, weir_buf_span(&frame), chunks[i]);
        const struct weir_span all = WEIR_SPAN_LIT(HANDSHAKE_FRAME PROLOGUE FINAL SENTINEL);
        CHECK(turns_until(loop, came, &(struct want){.w = &k, .in = 4, .home_in = all.len}));
        CHECK(k.n_in == 4 && memcmp(k.in, "\0\0\0\0", 4) == 0);
        CHECK(weir_span_eq(weir_span(k.home_in, k.n_home_in), all));
        CHECK(w.prompt == 2 && w.dones == 0 && !k.home_eof);
        close(k.home);
        k.home = -1;
        CHECK(turns_until(loop, all_done, &w));
        CHECK_EQ_U64(w.cancels, 0);
        call_close(&k);
        weir_buf_fini(&frame);
        close_worker(&w);
    }
}

/* Requests that are acknowledged and dropped, as a real worker does; the connection lives on. */
static void case_dropped(void) {
    static const struct {
        const char *id, *context, *transport, *codec, *body;
    } rows[] = {
        {"r", "r", "tcp_server", "json", "{\"token_ids\":"},
        {"r", "r", "tcp_server", "json", "{\"model\":\"m\"}"},
        {"r", "r", "tcp_server", "cbor", "{\"token_ids\":[1]}"},
        {"r", "other", "tcp_server", "json", "{\"token_ids\":[1]}"},
        {"r", "r", "quic", "json", "{\"token_ids\":[1]}"},
        {"r", "r", "tcp_server", "msgpack", "{\"token_ids\":[1]}"},
    };
    struct worker w = {0};
    static struct wire_caller k;
    struct weir_buf frames;
    open_worker(&w, (struct weir_plane_server_config){0});
    call_open(&k, w.port);
    weir_buf_init(&frames, 1 << 16);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        make_frame(&frames, "2a/n/c/e", rows[i].id, rows[i].context, rows[i].transport,
                   rows[i].codec, k.port, rows[i].body);
    /* A payload that is no two-part message at all. */
    CHECK(weir_buf_append(&frames,
                          "\0\x08"
                          "2a/n/c/e\0\0\0\0\0\3abc",
                          17 + 2) == WEIR_OK);
    make_frame(&frames, "2a/n/c/e", "r", "r", "tcp_server", "json", k.port, "{\"token_ids\":[1]}");
    put(&k, weir_buf_span(&frames), 1 << 20);
    CHECK(turns_until(loop, came, &(struct want){.w = &k, .in = 8 * 4, .home_in = 24 + 42}));
    for (unsigned i = 0; i < 32; i++)
        CHECK(k.in[i] == 0);
    CHECK(k.n_in == 32 && w.requests == 1);
    call_close(&k);
    CHECK(turns_until(loop, all_done, &w));
    weir_buf_fini(&frames);
    close_worker(&w);
}

static void case_refused_frames(void) {
    static const struct {
        struct weir_span frame;
        const char *reply;
        bool closes;
    } rows[] = {
        /* Eight zero bytes: a request for a path without a name. */
        {WEIR_SPAN_LIT("\0\0\0\0\0\0\0\0"), "Server unavailable: unknown endpoint ", false},
        {WEIR_SPAN_LIT("\0\7nowhere\0\2{}\0\0\0\0"), "Server unavailable: unknown endpoint nowhere",
         false},
        {WEIR_SPAN_LIT("\0\1p\0\0\x02\0\0\1"),
         "Read error: message too large: 33554442 bytes (max: 33554432 bytes)", true},
        {WEIR_SPAN_LIT("\0\1p\0\0\xff\xff\xff\xff"),
         "Read error: message too large: 4294967304 bytes (max: 33554432 bytes)", true},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct worker w = {0};
        static struct wire_caller k;
        size_t n = strlen(rows[i].reply);
        open_worker(&w, (struct weir_plane_server_config){0});
        call_open(&k, w.port);
        put(&k, rows[i].frame, 1 << 20);
        CHECK(turns_until(loop, came, &(struct want){.w = &k, .in = 4 + n, .eof = rows[i].closes}));
        CHECK(k.in[3] == (char)n && k.in[0] == 0);
        CHECK_EQ_STR(k.in + 4, k.n_in - 4, rows[i].reply);
        CHECK(k.eof == rows[i].closes);
        call_close(&k);
        turns_flush(loop);
        close_worker(&w);
    }
}

/* A caller that cannot be reached: the request ends, quietly. */
static void case_unreachable(void) {
    struct worker w = {.n_items = 5};
    static struct wire_caller k;
    struct weir_buf frame;
    open_worker(&w, (struct weir_plane_server_config){0});
    call_open(&k, w.port);
    close(k.listener);
    k.listener = socket(AF_INET, SOCK_STREAM, 0);
    weir_buf_init(&frame, 1 << 16);
    make_frame(&frame, "2a/n/c/e", "r", "r", "tcp_server", "json", k.port, "{\"token_ids\":[1]}");
    put(&k, weir_buf_span(&frame), 1 << 20);
    CHECK(turns_until(loop, all_done, &w));
    CHECK(w.requests == 1);
    call_close(&k);
    weir_buf_fini(&frame);
    close_worker(&w);
}

/* Frames of a real frontend, with our address put in: each is understood. */
static struct worker captured_worker;
static struct wire_caller captured_caller;
static unsigned n_captured;

static void send_captured(const struct vector *v) {
    struct weir_request_frame f;
    struct weir_two_part msg;
    struct weir_control c;
    struct weir_arena arena;
    struct weir_buf out, control;
    char address[64];
    size_t used, need, mark = 0;
    if (strstr(v->name, "edge-cases") != NULL)
        return;
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    weir_buf_init(&control, 1 << 16);
    CHECK(weir_request_frame_decode(v->bytes, 1 << 20, &f, &used, &need) == WEIR_OK);
    CHECK(weir_two_part_decode(f.payload, 1 << 20, &msg, &used, &need) == WEIR_OK);
    CHECK(weir_control_decode(msg.header, &arena, &c) == WEIR_OK);
    snprintf(address, sizeof(address), "127.0.0.1:%u", captured_caller.port);
    c.address = weir_span_z(address);
    CHECK(weir_control_encode(&c, &control) == WEIR_OK);
    CHECK(weir_request_frame_begin(WEIR_SPAN_LIT("2a/n/c/e"), f.headers, &out, &mark) == WEIR_OK);
    CHECK(weir_two_part_encode(weir_buf_span(&control), msg.body, &out) == WEIR_OK);
    CHECK(weir_request_frame_end(&out, mark) == WEIR_OK);
    put(&captured_caller, weir_buf_span(&out), 1 << 20);
    n_captured++;
    CHECK(turns_until(
        loop, came,
        &(struct want){.w = &captured_caller, .in = 4 * n_captured, .home_in = 24 + 75 + 24 + 14}));
    CHECK_EQ_U64(captured_worker.requests, n_captured);
    CHECK(strncmp(captured_worker.id, c.id.data, c.id.len) == 0);
    close(captured_caller.home);
    captured_caller.home = -1;
    captured_caller.n_home_in = 0;
    captured_caller.home_eof = false;
    weir_buf_fini(&out);
    weir_buf_fini(&control);
    weir_arena_fini(&arena);
}

static void case_captured_requests(void) {
    captured_worker = (struct worker){.hold = true};
    n_captured = 0;
    open_worker(&captured_worker, (struct weir_plane_server_config){0});
    call_open(&captured_caller, captured_worker.port);
    vectors_run("request", send_captured);
    CHECK(n_captured >= 25);
    CHECK(turns_until(loop, all_done, &captured_worker));
    CHECK_EQ_U64(captured_worker.cancels, n_captured);
    call_close(&captured_caller);
    close_worker(&captured_worker);
}

int main(void) {
    if (weir_loop_create(0, &loop) != WEIR_OK)
        return 1;
    CHECK_RUN(case_happy);
    CHECK_RUN(case_raw_endpoint);
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_error_prologue);
    CHECK_RUN(case_abort);
    CHECK_RUN(case_caller_cancels);
    CHECK_RUN(case_caller_cancels_at_once);
    CHECK_RUN(case_server_goes);
    CHECK_RUN(case_back_pressure);
    CHECK_RUN(case_cut_counts_once);
    CHECK_RUN(case_slow_at_the_end);
    CHECK_RUN(case_churn);
    CHECK_RUN(case_bytes);
    CHECK_RUN(case_dropped);
    CHECK_RUN(case_refused_frames);
    CHECK_RUN(case_unreachable);
    CHECK_RUN(case_captured_requests);
    if (check_failed == 0)
        weir_loop_destroy(loop);
    return check_finish();
}
