/*
 * The client against a server that plays one behaviour a request, in order: every kind of error is
 * told from the others, conversations carry real answers, an open loop counts from the due time.
 */
#include "bench/drive.h"
#include "test/check.h"

#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum play {
    STREAM,      /* two pieces of text, usage, [DONE] */
    UNARY,       /* the same in one body */
    REFUSE,      /* 503 with words */
    ERROR_EVENT, /* an error inside the stream */
    NO_DONE,     /* a proper end without [DONE] */
    CUT,         /* the connection goes inside a chunk */
    GARBAGE,     /* an event that is no JSON */
    BAD_UNARY,   /* 200 with a body that is no answer */
    SILENT,      /* nothing, until the client gives up */
    SLOW,        /* STREAM after 60 ms */
};

struct server {
    int fd;
    uint16_t port;
    const enum play *plays;
    size_t n_plays, at;
    pthread_t thread;
    char bodies[8][4096]; /* of the first requests */
};

static void put(int fd, const char *text) {
    /* A client that left is its own matter. */
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void put_chunk(int fd, const char *text) {
    char head[32];
    snprintf(head, sizeof(head), "%zx\r\n", strlen(text));
    put(fd, head);
    put(fd, text);
    put(fd, "\r\n");
}

#define STREAM_HEAD                                                                                \
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#define PIECE(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define USAGE                                                                                      \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,"               \
    "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n"

static void put_body(int fd, int status, const char *body) {
    char head[128];
    snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\ncontent-length: %zu\r\n\r\n", status,
             strlen(body));
    put(fd, head);
    put(fd, body);
}

/* False: the connection is to be closed. */
static bool play(int fd, enum play p) {
    char byte;
    if (p == SLOW)
        (void)poll(NULL, 0, 60);
    switch (p) {
    case SLOW:
    case STREAM:
    case NO_DONE:
    case ERROR_EVENT:
    case GARBAGE:
        put(fd, STREAM_HEAD);
        put_chunk(fd, ": comment\n\n" PIECE("he\\\"y"));
        put_chunk(fd, p == GARBAGE ? "data: {oops\n\n" : PIECE(" you"));
        if (p == ERROR_EVENT)
            put_chunk(fd, "data: {\"error\":{\"message\":\"worker left\",\"code\":500}}\n\n");
        put_chunk(fd, USAGE);
        if (p != NO_DONE)
            put_chunk(fd, "data: [DONE]\n\n");
        put(fd, "0\r\n\r\n");
        return true;
    case UNARY:
        put_body(fd, 200,
                 "{\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}],"
                 "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2}}");
        return true;
    case REFUSE:
        put_body(fd, 503, "{\"message\":\"all busy\",\"type\":\"x\",\"code\":503}");
        return true;
    case BAD_UNARY:
        put_body(fd, 200, "[]");
        return true;
    case CUT:
        put(fd, STREAM_HEAD "40\r\ndata: {");
        return false;
    case SILENT:
        while (recv(fd, &byte, 1, 0) > 0)
            ;
        return false;
    }
    return false;
}

/* Reads one request whole; false at the end of the connection. */
static bool read_request(int fd, char *body, size_t room) {
    static char buf[1 << 16];
    size_t len = 0, head = 0, want = 0;
    while (head == 0 || len < head + want) {
        ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        buf[len] = '\0';
        const char *end = strstr(buf, "\r\n\r\n"), *cl = strcasestr(buf, "content-length:");
        if (end != NULL && head == 0) {
            head = (size_t)(end + 4 - buf);
            want = cl != NULL ? strtoul(cl + 15, NULL, 10) : 0;
        }
    }
    snprintf(body, room, "%s", buf + head);
    return true;
}

static void *serve(void *arg) {
    struct server *s = arg;
    while (s->at < s->n_plays) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            break;
        char body[4096];
        bool open = true;
        while (open && s->at < s->n_plays && read_request(fd, body, sizeof(body))) {
            if (s->at < WEIR_ARRAY_LEN(s->bodies))
                memcpy(s->bodies[s->at], body, sizeof(body));
            open = play(fd, s->plays[s->at++]);
        }
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *s, const enum play *plays, size_t n) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    memset(s, 0, sizeof(*s));
    s->plays = plays;
    s->n_plays = n;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(listen(s->fd, 16) == 0 && getsockname(s->fd, (struct sockaddr *)&a, &len) == 0);
    s->port = ntohs(a.sin_port);
    CHECK(pthread_create(&s->thread, NULL, serve, s) == 0);
}

static void server_stop(struct server *s) {
    pthread_join(s->thread, NULL);
    close(s->fd);
}

static struct weir_plan plan_of(uint64_t turns) {
    return (struct weir_plan){.seed = 1,
                              .isl = {.kind = WEIR_DIST_FIXED, .a = 20, .floor = 1},
                              .osl = {.kind = WEIR_DIST_FIXED, .a = 5, .floor = 1},
                              .think_ms = {.kind = WEIR_DIST_FIXED, .a = 0},
                              .turns = turns,
                              .chars_per_token = 1};
}

static struct weir_load_run run_of(const struct weir_plan *plan, uint16_t port, uint64_t n,
                                   bool stream) {
    return (struct weir_load_run){
        .plan = plan,
        .form = {.model = "m", .chat = true, .stream = stream},
        .http = {.ip = "127.0.0.1", .port = port, .max_conns = 4},
        .target = "/v1/chat/completions",
        .timeout_ms = 60000,
        .slo = {NAN, NAN, NAN},
        .max_active = 1,
        .n_total = n,
        .duration_ns = UINT64_MAX,
    };
}

static struct weir_tally drive(struct weir_load_run *run) {
    struct weir_tally t;
    struct weir_err err;
    CHECK_MSG(weir_drive(run, &t, &err) == WEIR_OK, "%s", err.text);
    return t;
}

static void expect(const struct weir_tally *t, enum weir_bench_fault fault, uint64_t n,
                   const char *words) {
    CHECK_MSG(t->faults[fault] == n, "%s: %" PRIu64 ", not %" PRIu64, weir_bench_fault_key(fault),
              t->faults[fault], n);
    CHECK_MSG(strstr(t->samples[fault], words) != NULL, "%s: '%s' lacks '%s'",
              weir_bench_fault_key(fault), t->samples[fault], words);
}

static void case_streams_and_their_faults(void) {
    static const enum play plays[] = {STREAM, REFUSE,  ERROR_EVENT, NO_DONE,
                                      CUT,    GARBAGE, STREAM,      REFUSE};
    static struct server s;
    server_start(&s, plays, WEIR_ARRAY_LEN(plays));
    struct weir_plan plan = plan_of(1);
    struct weir_load_run run = run_of(&plan, s.port, WEIR_ARRAY_LEN(plays), true);
    struct weir_tally t = drive(&run);
    server_stop(&s);
    CHECK_EQ_U64(t.ok, 2);
    CHECK_EQ_U64(t.completion_tokens, 10);
    CHECK_EQ_U64(t.prompt_tokens, 20);
    CHECK_EQ_U64(t.cached_tokens, 8);
    CHECK_EQ_U64(t.chunks, 4);
    CHECK_EQ_U64(t.ttft.n, 2);
    CHECK_EQ_U64(t.statuses[503], 2);
    expect(&t, WEIR_BENCH_FAULT_HTTP, 2, "all busy");
    expect(&t, WEIR_BENCH_FAULT_EVENT, 1, "worker left");
    expect(&t, WEIR_BENCH_FAULT_NO_DONE, 1, "");
    expect(&t, WEIR_BENCH_FAULT_BROKEN, 1, "");
    expect(&t, WEIR_BENCH_FAULT_PROTOCOL, 1, "oops");
    CHECK_EQ_U64(weir_tally_errors(&t), 6);
    weir_tally_fini(&t);
}

static void case_unary_and_its_faults(void) {
    static const enum play plays[] = {UNARY, BAD_UNARY, UNARY}, none[] = {SILENT};
    static struct server s;
    server_start(&s, plays, WEIR_ARRAY_LEN(plays));
    struct weir_plan plan = plan_of(1);
    struct weir_load_run run = run_of(&plan, s.port, WEIR_ARRAY_LEN(plays), false);
    struct weir_tally t = drive(&run);
    server_stop(&s);
    CHECK_EQ_U64(t.ok, 2);
    CHECK_EQ_U64(t.completion_tokens, 4);
    CHECK_EQ_U64(t.ttft.n, 0); /* a whole answer has no first token */
    expect(&t, WEIR_BENCH_FAULT_PROTOCOL, 1, "[]");
    weir_tally_fini(&t);
    /* Alone, so that a busy machine makes nothing else late. */
    server_start(&s, none, WEIR_ARRAY_LEN(none));
    run = run_of(&plan, s.port, WEIR_ARRAY_LEN(none), false);
    run.timeout_ms = 50;
    t = drive(&run);
    server_stop(&s);
    expect(&t, WEIR_BENCH_FAULT_TIMEOUT, 1, "");
    CHECK_EQ_U64(weir_tally_errors(&t), 1);
    weir_tally_fini(&t);
}

static void case_nobody_listens(void) {
    static struct server s;
    server_start(&s, NULL, 0); /* ends at once */
    server_stop(&s);
    struct weir_plan plan = plan_of(1);
    struct weir_load_run run = run_of(&plan, s.port, 2, true);
    struct weir_tally t = drive(&run);
    expect(&t, WEIR_BENCH_FAULT_CONNECT, 2, "");
    weir_tally_fini(&t);
}

static void case_turns_carry_real_answers(void) {
    static const enum play plays[] = {STREAM, STREAM, STREAM, STREAM, REFUSE};
    static struct server s;
    server_start(&s, plays, WEIR_ARRAY_LEN(plays));
    struct weir_plan plan = plan_of(3);
    struct weir_load_run run = run_of(&plan, s.port, 6, true);
    run.n_warmup = 1;
    struct weir_tally t = drive(&run);
    server_stop(&s);
    const char *answer = "{\"role\":\"assistant\",\"content\":\"he\\\"y you\"},{\"role\":\"user\"";
    CHECK(strstr(s.bodies[0], "assistant") == NULL);
    CHECK(strstr(s.bodies[1], answer) != NULL);
    const char *first = strstr(s.bodies[2], answer);
    CHECK(first != NULL && strstr(first + 1, answer) != NULL);
    CHECK(strstr(s.bodies[3], "assistant") == NULL); /* the next conversation */
    CHECK_EQ_U64(t.warmup, 1);
    CHECK_EQ_U64(t.ok, 3);
    CHECK_EQ_U64(t.faults[WEIR_BENCH_FAULT_HTTP], 1);
    CHECK_EQ_U64(t.turns_dropped, 1);
    weir_tally_fini(&t);
}

/* One slow answer in front of a queue: who was due meanwhile has waited. */
static void case_open_loop_counts_from_the_due_time(void) {
    static const enum play plays[] = {SLOW, STREAM, STREAM, STREAM, STREAM, STREAM};
    static struct server s;
    server_start(&s, plays, WEIR_ARRAY_LEN(plays));
    struct weir_plan plan = plan_of(1);
    struct weir_load_run run = run_of(&plan, s.port, WEIR_ARRAY_LEN(plays), true);
    run.open_loop = true;
    run.rate = 500; /* due at 0, 2, 4, 6, 8, 10 ms */
    struct weir_tally t = drive(&run);
    server_stop(&s);
    CHECK_EQ_U64(t.ok, WEIR_ARRAY_LEN(plays));
    CHECK(t.lateness.max >= 50000000);
    CHECK(t.e2e.min >= 50000000);
    CHECK(t.e2e_sent.min < t.e2e.min);
    weir_tally_fini(&t);
}

/* A run by time ends, and says what it could not send. */
static void case_duration_ends(void) {
    static const enum play plays[] = {SLOW};
    static struct server s;
    server_start(&s, plays, WEIR_ARRAY_LEN(plays));
    struct weir_plan plan = plan_of(1);
    struct weir_load_run run = run_of(&plan, s.port, UINT64_MAX, true);
    run.open_loop = true;
    run.rate = 1000;
    run.duration_ns = 30000000;
    struct weir_tally t = drive(&run);
    server_stop(&s);
    CHECK_EQ_U64(t.ok, 1);
    CHECK_EQ_U64(t.unsent, 29); /* due within 30 ms, behind a bound of one */
    weir_tally_fini(&t);
}

int main(void) {
    CHECK_RUN(case_streams_and_their_faults);
    CHECK_RUN(case_unary_and_its_faults);
    CHECK_RUN(case_nobody_listens);
    CHECK_RUN(case_turns_carry_real_answers);
    CHECK_RUN(case_open_loop_counts_from_the_due_time);
    CHECK_RUN(case_duration_ends);
    return check_finish();
}
