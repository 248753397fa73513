/*
 * A worker's events into a JetStream of a real nats-server: in order, once, through a server that
 * goes and returns; and told anew when more had to wait than there is room for.
 */
#include "runtime/kv_stream_pub.h"

#include "base/arena.h"
#include "runtime/js_client.h"
#include "test/check.h"
#include "test/unit/net/nats_server.h"
#include "wire/jetstream.h"

#include <stdatomic.h>

enum { DEADLINE_MS = 30000, ROOM = 8192, FLOOD = 1000 };
static const char stream[] = "namespace-n-component-c-kv-events";

static struct nats_server server;
static char store[] = "/tmp/weir-jetstream-XXXXXX";
static const char *const with_jetstream[] = {"-js", "-sd", store, NULL};
static struct weir_loop *loop;
static struct weir_nats *nats;
static struct weir_kv_stream_pub *pub;
static struct weir_js *js;
static struct weir_arena arena;
static unsigned n_room;

/* Of the loop's thread, out of which no case can be left. */
static void must(bool ok) {
    if (!ok)
        abort();
}

static enum weir_status send(enum weir_kv_kind kind, uint64_t id) {
    const struct weir_kv_block block = {id, id + 1};
    const struct weir_kv_event e = {.worker_id = 7,
                                    .event_id = id,
                                    .kind = kind,
                                    .blocks = &block,
                                    .n_blocks = kind == WEIR_KV_STORED};
    return weir_kv_stream_pub_send(pub, &e);
}

static void on_room(void *arg) {
    (void)arg;
    n_room++;
    must(send(WEIR_KV_CLEARED, 5000) == WEIR_OK && send(WEIR_KV_STORED, 5001) == WEIR_OK);
}

/* ---- on the loop's thread ----------------------------------------------------------------- */

static bool (*question)(void);
static atomic_int outcome;

static void on_question(void *arg) {
    (void)arg;
    atomic_store(&outcome, question());
}

static void pause_ms(void) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool on_loop(bool (*what)(void)) {
    question = what;
    atomic_store(&outcome, -1);
    CHECK(weir_loop_post(loop, on_question, NULL) == WEIR_OK);
    while (atomic_load(&outcome) < 0)
        pause_ms();
    return atomic_load(&outcome) == 1;
}

static bool wait_for(bool (*what)(void)) {
    uint64_t end_ns = weir_now_ns() + (uint64_t)DEADLINE_MS * 1000000;
    while (!on_loop(what)) {
        if (weir_now_ns() > end_ns)
            return false;
        pause_ms();
    }
    return true;
}

/* ---- what the stream holds ---------------------------------------------------------------- */

static struct weir_js_answer answer;
static char data[4096];
static bool answered;

static void on_answer(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    (void)arg;
    answered = true;
    answer = (struct weir_js_answer){.error = 1};
    weir_arena_reset(&arena);
    if (st != WEIR_OK || weir_js_answer_decode(msg->payload, &arena, &answer) != WEIR_OK)
        return;
    snprintf(data, sizeof(data), "%.*s", WEIR_SPAN_ARG(answer.data));
}

static bool is_answered(void) {
    return answered;
}

static char asked[64];

static bool ask_for_message(void) {
    char subject[128];
    struct weir_js_call *call;
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.MSG.GET.%s", stream);
    const struct weir_js_request request = {
        .subject = subject, .payload = weir_span_z(asked), .fn = on_answer};
    answered = false;
    return weir_js_ask(js, &request, &call) == WEIR_OK;
}

static uint64_t want_messages;

/* Whether the answer holds; as long as it does not, it is asked for again and again. */
static bool asked_until(bool holds, const struct weir_js_request *request) {
    struct weir_js_call *call;
    if (!answered || (answer.error == 0 && holds))
        return answered;
    answered = false;
    must(weir_js_ask(js, request, &call) == WEIR_OK);
    return false;
}

static bool has_messages(void) {
    static const struct weir_js_request request = {
        .subject = "$JS.API.STREAM.INFO.namespace-n-component-c-kv-events", .fn = on_answer};
    return asked_until(answer.messages >= want_messages, &request);
}

static void expect_messages(uint64_t n) {
    want_messages = n;
    answered = true;
    answer = (struct weir_js_answer){.error = 1};
    CHECK(wait_for(has_messages));
    CHECK_EQ_U64(answer.messages, n);
}

/* The same of the newest message. */
static bool has_5001(void) {
    static const char body[] = "{\"last_by_subj\":\"namespace-n-component-c-kv-events.queue\"}";
    static const struct weir_js_request request = {
        .subject = "$JS.API.STREAM.MSG.GET.namespace-n-component-c-kv-events",
        .payload = {body, sizeof(body) - 1},
        .fn = on_answer};
    return asked_until(strstr(data, "\"event_id\":5001,") != NULL, &request);
}

static void expect_message(uint64_t seq, const char *part) {
    snprintf(asked, sizeof(asked), "{\"seq\":%" PRIu64 "}", seq);
    CHECK(on_loop(ask_for_message) && wait_for(is_answered));
    CHECK_MSG(answer.error == 0 && strstr(data, part) != NULL, "message %" PRIu64 " is %s", seq,
              data);
}

/* ---- cases -------------------------------------------------------------------------------- */

static uint64_t first_id, n_ids, n_refused;

static bool send_ids(void) {
    n_refused = 0;
    for (uint64_t i = 0; i < n_ids; i++)
        n_refused += send(WEIR_KV_STORED, first_id + i) != WEIR_OK;
    return n_refused == 0;
}

static bool send_some(uint64_t first, uint64_t n) {
    first_id = first;
    n_ids = n;
    return on_loop(send_ids);
}

static void case_in_order(void) {
    CHECK(send_some(1, 20));
    expect_messages(20);
    expect_message(1, "\"event_id\":1,");
    expect_message(20, "\"event_id\":20,");
    expect_message(7, "{\"worker_id\":7,");
}

static bool is_down(void) {
    return !weir_js_connected(js);
}

static bool is_up(void) {
    return weir_js_connected(js);
}

static bool has_room(void) {
    return n_room == 1;
}

static void case_server_returns(void) {
    nats_server_kill(&server);
    CHECK(wait_for(is_down));
    CHECK(send_some(21, 5));
    CHECK(nats_server_start(&server, with_jetstream) && wait_for(is_up));
    expect_messages(25);
    expect_message(21, "\"event_id\":21,");
    expect_message(25, "\"event_id\":25,");
}

static void case_told_anew(void) {
    nats_server_kill(&server);
    CHECK(wait_for(is_down));
    CHECK(!send_some(1000, FLOOD) && n_refused > 0 && n_refused < FLOOD && n_room == 0);
    CHECK(nats_server_start(&server, with_jetstream) && wait_for(has_room));
    answered = true;
    answer = (struct weir_js_answer){.error = 1};
    CHECK(wait_for(has_5001));
    /* Of the flood none, or the one that was on its way. */
    uint64_t last = answer.seq;
    CHECK(last == 27 || last == 28);
    expect_message(last - 1, "\"event_id\":5000,\"data\":\"cleared\"");
    if (last == 28)
        expect_message(26, "\"event_id\":1000,");
    CHECK_EQ_U64(n_room, 1);
}

static void remove_store(void) {
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", store);
    CHECK(system(command) == 0);
}

static bool open_all(void) {
    const struct weir_nats_config nc = {.servers = server.url, .name = "test"};
    const struct weir_kv_stream_pub_config pc = {
        .ns = WEIR_SPAN_LIT("n"), .component = WEIR_SPAN_LIT("c"), .max_bytes = ROOM};
    struct weir_kv_stream_pub_config with = pc;
    struct weir_err err;
    bool ok = weir_loop_create(0, &loop) == WEIR_OK && weir_nats_open(&nc, &nats, &err) == WEIR_OK;
    with.nats = nats;
    with.on_room = on_room;
    return ok && weir_kv_stream_pub_open(loop, &with, &pub, &err) == WEIR_OK &&
           weir_js_open(nats, loop, NULL, NULL, &js) == WEIR_OK;
}

int main(void) {
    if (!nats_server_there()) {
        printf("skipped: no nats-server in PATH\n");
        return 77;
    }
    weir_arena_init(&arena, 1 << 20);
    if (mkdtemp(store) == NULL || !nats_server_start(&server, with_jetstream) || !open_all())
        return 1;
    if (weir_loop_thread_start(loop, "test") != WEIR_OK)
        return 1;
    CHECK_RUN(case_in_order);
    CHECK_RUN(case_server_returns);
    CHECK_RUN(case_told_anew);
    weir_loop_stop(loop);
    weir_loop_thread_join(loop);
    weir_kv_stream_pub_close(pub);
    weir_js_close(js);
    weir_loop_destroy(loop);
    weir_nats_close(nats);
    nats_server_fini(&server);
    CHECK_RUN(remove_store);
    weir_arena_fini(&arena);
    return check_finish();
}
