/* The connection to NATS against a real nats-server: order, requests that nobody hears, a server
 * that goes and comes back, bounds, refusals. */
#include "net/nats.h"
#include "base/mem.h"
#include "net/nats_priv.h"
#include "test/check.h"
#include "test/unit/net/nats_server.h"

#include <stdatomic.h>

enum { BURST = 10000, WAIT_MS = 60000, FLOOD = 70000 };

static struct nats_server server;
static struct weir_loop *loop;

/* What a subscription saw; written on the loop's thread. */
struct seen {
    atomic_uint n, wrong, no_responders, up, down;
    atomic_ullong dropped;
    struct weir_nats_sub *sub;
    unsigned close_after;
    atomic_bool closed, drained;
    unsigned at_drained;
    char reply[128];
};

static bool wait_for(bool (*done)(void *arg), void *arg) {
    uint64_t end = weir_now_ns() + (uint64_t)WAIT_MS * 1000000;
    while (!done(arg)) {
        if (weir_now_ns() > end)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return true;
}

static void on_message(void *arg, const struct weir_nats_msg *msg) {
    struct seen *s = arg;
    uint32_t i = 0;
    unsigned n = atomic_load(&s->n);
    if (msg->no_responders)
        atomic_fetch_add(&s->no_responders, 1);
    if (msg->payload.len == sizeof(i)) {
        memcpy(&i, msg->payload.data, sizeof(i));
        atomic_fetch_add(&s->wrong, i != n);
    }
    snprintf(s->reply, sizeof(s->reply), "%s", msg->reply != NULL ? msg->reply : "");
    atomic_store(&s->n, n + 1);
    if (s->close_after != 0 && n + 1 == s->close_after) {
        weir_nats_sub_close(s->sub);
        atomic_store(&s->closed, true);
    }
}

static void on_change(void *arg, const struct weir_nats_change *change) {
    struct seen *s = arg;
    atomic_fetch_add(&s->up, change->up);
    atomic_fetch_add(&s->down, change->down);
    atomic_fetch_add(&s->dropped, change->dropped);
    if (change->drained) {
        s->at_drained = atomic_load(&s->n);
        atomic_store(&s->drained, true);
    }
}

static const struct weir_nats_sub_ops ops = {on_message, on_change};

static struct weir_nats *open_nats(const char *url) {
    const struct weir_nats_config config = {.servers = url, .name = "test"};
    struct weir_nats *n = NULL;
    struct weir_err err = {0};
    CHECK_MSG(weir_nats_open(&config, &n, &err) == WEIR_OK, "%s", err.text);
    return n;
}

/* Subscriptions are opened and closed where they live. */
struct opening {
    struct weir_nats *nats;
    const char *subject;
    struct seen *seen;
    enum weir_status st;
    atomic_bool done;
};

static void on_loop_open(void *arg) {
    struct opening *o = arg;
    o->st = weir_nats_subscribe(o->nats, loop, o->subject, NULL, &ops, o->seen, &o->seen->sub);
    atomic_store(&o->done, true);
}

static void on_loop_close(void *arg) {
    struct opening *o = arg;
    weir_nats_sub_close(o->seen->sub);
    atomic_store(&o->done, true);
}

static bool opening_done(void *arg) {
    return atomic_load(&((struct opening *)arg)->done);
}

static void subscribe(struct weir_nats *n, const char *subject, struct seen *s) {
    struct opening o = {.nats = n, .subject = subject, .seen = s};
    CHECK(weir_loop_post(loop, on_loop_open, &o) == WEIR_OK && wait_for(opening_done, &o));
    CHECK(o.st == WEIR_OK);
}

static void unsubscribe(struct seen *s) {
    struct opening o = {.seen = s};
    CHECK(weir_loop_post(loop, on_loop_close, &o) == WEIR_OK && wait_for(opening_done, &o));
}

static enum weir_status publish(struct weir_nats *n, const char *subject, uint32_t i) {
    const struct weir_nats_out out = {.subject = subject,
                                      .payload = weir_span((const char *)&i, sizeof(i))};
    return weir_nats_publish(n, &out);
}

static bool saw_burst(void *arg) {
    return atomic_load(&((struct seen *)arg)->n) >= BURST;
}

static bool saw_one(void *arg) {
    return atomic_load(&((struct seen *)arg)->n) >= 1;
}

/* Another connection's messages come once this subscription's own first one has. */
static void join(struct weir_nats *n, const char *subject, struct seen *s) {
    const struct weir_nats_out out = {.subject = subject, .payload = WEIR_SPAN_LIT("hello")};
    CHECK(weir_nats_publish(n, &out) == WEIR_OK && wait_for(saw_one, s));
    atomic_store(&s->n, 0);
}

static void case_in_order(void) {
    struct weir_nats *a = open_nats(server.url), *b = open_nats(server.url);
    struct seen s = {0};
    struct weir_nats_stats stats;
    subscribe(a, "t.>", &s);
    join(a, "t.x", &s);
    for (uint32_t i = 0; i < BURST; i++)
        CHECK(publish(b, "t.y", i) == WEIR_OK);
    CHECK(wait_for(saw_burst, &s));
    CHECK_EQ_U64(atomic_load(&s.n), BURST);
    CHECK_EQ_U64(atomic_load(&s.wrong), 0);
    weir_nats_stats(b, &stats);
    CHECK(stats.connected && stats.connects == 1);
    CHECK_EQ_U64(stats.sent, BURST);
    CHECK_EQ_U64(stats.dropped_out + stats.dropped_in, 0);
    unsubscribe(&s);
    weir_nats_close(a);
    weir_nats_close(b);
}

/* What is queued is sent before the connection goes. */
static void case_drain(void) {
    struct weir_nats *a = open_nats(server.url), *b = open_nats(server.url);
    struct seen s = {0};
    subscribe(a, "drain", &s);
    join(a, "drain", &s);
    for (uint32_t i = 0; i < BURST; i++)
        CHECK(publish(b, "drain", i) == WEIR_OK);
    weir_nats_close(b);
    CHECK(wait_for(saw_burst, &s));
    CHECK_EQ_U64(atomic_load(&s.wrong), 0);
    unsubscribe(&s);
    weir_nats_close(a);
}

static void case_request_without_responder(void) {
    struct weir_nats *a = open_nats(server.url);
    struct seen s = {0}, worker = {0};
    struct weir_rng rng;
    char inbox[WEIR_NATS_INBOX_BYTES], all[64], mine[64];
    weir_rng_seed(&rng, check_seed());
    weir_nats_inbox(&rng, inbox);
    CHECK(strlen(inbox) == WEIR_NATS_INBOX_BYTES - 1);
    snprintf(all, sizeof(all), "%s.*", inbox);
    snprintf(mine, sizeof(mine), "%s.17", inbox);
    subscribe(a, all, &s);
    const struct weir_nats_out out = {.subject = "nobody",
                                      .reply = mine,
                                      .headers = {{"request-id", "1"}},
                                      .n_headers = 1,
                                      .payload = WEIR_SPAN_LIT("x")};
    CHECK(weir_nats_publish(a, &out) == WEIR_OK && wait_for(saw_one, &s));
    CHECK_EQ_U64(atomic_load(&s.no_responders), 1);
    subscribe(a, "nobody", &worker);
    CHECK(weir_nats_publish(a, &out) == WEIR_OK && wait_for(saw_one, &worker));
    CHECK(strcmp(worker.reply, mine) == 0);
    CHECK_EQ_U64(atomic_load(&worker.no_responders), 0);
    CHECK_EQ_U64(atomic_load(&s.no_responders), 1);
    unsubscribe(&s);
    unsubscribe(&worker);
    weir_nats_close(a);
}

static bool went_down(void *arg) {
    return atomic_load(&((struct seen *)arg)->down) > 0;
}

static bool came_up(void *arg) {
    return atomic_load(&((struct seen *)arg)->up) > 1;
}

static void case_server_comes_back(void) {
    struct weir_nats *a = open_nats(server.url);
    struct seen s = {0};
    struct weir_nats_stats stats;
    subscribe(a, "back", &s);
    join(a, "back", &s);
    nats_server_kill(&server);
    CHECK(wait_for(went_down, &s));
    /* Waits for the server, as nobody says for how long at most. */
    CHECK(publish(a, "back", 0) == WEIR_OK);
    atomic_store(&s.up, 1);
    CHECK(nats_server_start(&server, NULL));
    CHECK(wait_for(came_up, &s) && wait_for(saw_one, &s));
    CHECK_EQ_U64(atomic_load(&s.n), 1);
    CHECK_EQ_U64(atomic_load(&s.wrong), 0);
    weir_nats_stats(a, &stats);
    CHECK(stats.connects == 2 && stats.disconnects == 1);
    unsubscribe(&s);
    weir_nats_close(a);
}

static bool all_dropped(void *arg) {
    struct weir_nats_stats stats;
    weir_nats_stats(arg, &stats);
    return stats.dropped_out == 3;
}

/* No server at all: waiting is bounded in number and in time. */
static void case_unreachable(void) {
    struct weir_nats *n = NULL;
    struct weir_err err = {0};
    struct weir_nats_stats stats;
    const struct weir_nats_config config = {.servers = "nats://127.0.0.1:1", .queue_messages = 3};
    const struct weir_nats_out out = {.subject = "x", .keep_ms = 1};
    CHECK_MSG(weir_nats_open(&config, &n, &err) == WEIR_OK, "%s", err.text);
    for (int i = 0; i < 3; i++)
        CHECK(weir_nats_publish(n, &out) == WEIR_OK);
    CHECK(weir_nats_publish(n, &out) == WEIR_LIMIT);
    weir_nats_stats(n, &stats);
    CHECK(!stats.connected && stats.failed_connects > 0 && stats.dropped_out == 1);
    weir_nats_close(n);
    CHECK(weir_nats_open(&config, &n, &err) == WEIR_OK);
    for (int i = 0; i < 3; i++)
        CHECK(weir_nats_publish(n, &out) == WEIR_OK);
    CHECK(wait_for(all_dropped, n));
    CHECK(weir_nats_publish(n, &out) == WEIR_OK);
    weir_nats_close(n);
}

static bool is_closed(void *arg) {
    return atomic_load(&((struct seen *)arg)->closed);
}

static void case_closed_in_its_callback(void) {
    struct weir_nats *a = open_nats(server.url);
    struct seen s = {.close_after = 5}, other = {0};
    subscribe(a, "c", &s);
    subscribe(a, "c", &other);
    for (uint32_t i = 0; i < 20; i++)
        CHECK(publish(a, "c", i) == WEIR_OK);
    CHECK(wait_for(is_closed, &s));
    CHECK_EQ_U64(atomic_load(&s.n), 5);
    unsubscribe(&other);
    weir_nats_close(a);
}

static void on_loop_drain(void *arg) {
    struct opening *o = arg;
    weir_nats_sub_drain(o->seen->sub);
    atomic_store(&o->done, true);
}

static bool is_drained(void *arg) {
    return atomic_load(&((struct seen *)arg)->drained);
}

/* All that was sent before comes before the end is told; what is sent after finds nobody. */
static void case_drained_subscription(void) {
    struct weir_nats *a = open_nats(server.url);
    struct seen s = {0}, replies = {0};
    struct opening o = {.seen = &s};
    subscribe(a, "d", &s);
    subscribe(a, "r", &replies);
    for (uint32_t i = 0; i < BURST; i++)
        CHECK(publish(a, "d", i) == WEIR_OK);
    CHECK(weir_loop_post(loop, on_loop_drain, &o) == WEIR_OK && wait_for(is_drained, &s));
    CHECK_EQ_U64(s.at_drained, BURST);
    CHECK_EQ_U64(atomic_load(&s.wrong), 0);
    const struct weir_nats_out out = {.subject = "d", .reply = "r"};
    CHECK(weir_nats_publish(a, &out) == WEIR_OK && wait_for(saw_one, &replies));
    CHECK_EQ_U64(atomic_load(&replies.no_responders), 1);
    CHECK_EQ_U64(atomic_load(&s.n), BURST);
    unsubscribe(&s);
    unsubscribe(&replies);
    weir_nats_close(a);
}

static atomic_bool hold;

static void on_hold(void *arg) {
    (void)arg;
    while (atomic_load(&hold))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool has_dropped(void *arg) {
    struct weir_nats_stats stats;
    weir_nats_stats(arg, &stats);
    return stats.received >= FLOOD;
}

static bool told_dropped(void *arg) {
    struct seen *s = arg;
    return atomic_load(&s->n) + atomic_load(&s->dropped) >= FLOOD;
}

/* A loop that does not run for a while: what finds no room is counted, the rest is in order. */
static void case_slow_consumer(void) {
    struct weir_nats *a = open_nats(server.url), *b = open_nats(server.url);
    struct seen s = {0};
    subscribe(a, "slow", &s);
    join(a, "slow", &s);
    atomic_store(&hold, true);
    CHECK(weir_loop_post(loop, on_hold, NULL) == WEIR_OK);
    for (uint32_t i = 0; i < FLOOD; i++)
        while (publish(b, "slow", i) == WEIR_LIMIT)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    bool flooded = wait_for(has_dropped, a);
    atomic_store(&hold, false);
    CHECK(flooded && wait_for(told_dropped, &s));
    CHECK_EQ_U64(atomic_load(&s.n) + atomic_load(&s.dropped), FLOOD);
    CHECK(atomic_load(&s.dropped) > 0);
    CHECK_EQ_U64(atomic_load(&s.wrong), 0);
    unsubscribe(&s);
    weir_nats_close(a);
    weir_nats_close(b);
}

static void refused(const struct weir_nats_config *config, const char *text) {
    struct weir_nats *n = NULL;
    struct weir_err err = {0};
    CHECK_MSG(weir_nats_open(config, &n, &err) != WEIR_OK, "opened, want: %s", text);
    CHECK_MSG(strstr(err.text, text) != NULL, "got \"%s\", want \"%s\"", err.text, text);
}

static void case_refused(void) {
    refused(&(struct weir_nats_config){.servers = ""}, "no address");
    refused(&(struct weir_nats_config){.servers = "http://x:1"}, "http://x:1");
    refused(&(struct weir_nats_config){.servers = "nats://a:1,b"}, "\"b\" is no address");
    refused(&(struct weir_nats_config){.servers = server.url, .nkey_seed = "SUX"}, "nkey");
    refused(&(struct weir_nats_config){.servers = server.url, .credentials_path = "/none"},
            "/none cannot be read");
    refused(&(struct weir_nats_config){.servers = server.url, .insecure = true},
            "the server has no TLS");
    struct weir_nats *n = open_nats(server.url);
    static const char *const bad[] = {"", "a b", ".a", "a.", "a..b", "a\r\nPUB b 0"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++)
        CHECK(publish(n, bad[i], 0) == WEIR_INVALID);
    static char large[2 << 20];
    const struct weir_nats_out out = {.subject = "x", .payload = weir_span(large, sizeof(large))};
    CHECK(weir_nats_publish(n, &out) == WEIR_TOO_LARGE);
    weir_nats_close(n);
}

static void case_login(void) {
    struct nats_server s = {0};
    static const char *const args[] = {"--user", "ada", "--pass", "secret", NULL};
    CHECK(nats_server_start(&s, args));
    struct weir_nats_config config = {.servers = s.url, .user = "ada", .password = "secret"};
    struct weir_nats *n = NULL;
    struct weir_err err = {0};
    enum weir_status st = weir_nats_open(&config, &n, &err);
    weir_nats_close(n);
    config.password = "wrong";
    n = NULL;
    enum weir_status bad = weir_nats_open(&config, &n, &err);
    nats_server_fini(&s);
    CHECK(st == WEIR_OK);
    CHECK(bad == WEIR_INVALID);
    CHECK_MSG(strstr(err.text, "check NATS_AUTH_*") != NULL, "%s", err.text);
    CHECK(strstr(err.text, "wrong") == NULL);
}

/* Keys of nobody, made for this test with `openssl genpkey -algorithm ed25519`, and written as
 * nkeys by a script; nats-server takes such pairs (test_nats.py). */
static void case_nkey(void) {
    char public[WEIR_NATS_NKEY_BYTES];
    static const char *const bad[] = {"", "SU",
                                      "UAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                      "suaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++)
        CHECK(weir_nats_nkey_public(bad[i], public) == WEIR_INVALID);
    static const char *const pairs[][2] = {
        {"SUAAWTCKR55VY4IEI63CMYUI2STOOIKTC5EXTVEMB2TQJOVH7AUMUQEXD4",
         "UCMY6TASKWKMI3CTTK3XGBG3DHK24H54SLK23MZUC5ZI7A5LI3GMLF2Y"},
        {"SUACEICGYENML6NAPRYAKBLAYQNXMMKG3RHBCC7GJFLOV72ECTLXCESTQM",
         "UCBRT6RPVJRP5ATVJQ6J36EEOCDDYVINLCQMMPJIBSY344QIIRKXM754"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(pairs); i++) {
        char spoilt[64];
        CHECK(weir_nats_nkey_public(pairs[i][0], public) == WEIR_OK);
        CHECK_EQ_STR(public, strlen(public), pairs[i][1]);
        snprintf(spoilt, sizeof(spoilt), "%s", pairs[i][0]);
        spoilt[20] = spoilt[20] == 'A' ? 'B' : 'A';
        CHECK(weir_nats_nkey_public(spoilt, public) == WEIR_INVALID);
    }
}

int main(void) {
    if (!nats_server_there()) {
        printf("skipped: nats-server is not in PATH (scripts/setup ci installs it)\n");
        return 77;
    }
    CHECK_RUN(case_nkey);
    if (!nats_server_start(&server, NULL) || weir_loop_create(0, &loop) != WEIR_OK ||
        weir_loop_thread_start(loop, "loop") != WEIR_OK) {
        fprintf(stderr, "nats-server does not start\n");
        return 1;
    }
    CHECK_RUN(case_in_order);
    CHECK_RUN(case_drain);
    CHECK_RUN(case_request_without_responder);
    CHECK_RUN(case_server_comes_back);
    CHECK_RUN(case_unreachable);
    CHECK_RUN(case_closed_in_its_callback);
    CHECK_RUN(case_drained_subscription);
    CHECK_RUN(case_slow_consumer);
    CHECK_RUN(case_refused);
    CHECK_RUN(case_login);
    weir_loop_stop(loop);
    weir_loop_thread_join(loop);
    weir_loop_destroy(loop);
    nats_server_fini(&server);
    return check_finish();
}
