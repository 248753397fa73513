/* Our client against our server on one loop, over TCP and TLS: random bodies both ways, whole and
 * streamed answers, slow readers on both sides, answers that break off, calls that are cancelled.
 */
#include "net/http_client.h"
#include "test/check.h"
#include "test/unit/net/certs.h"

#include "base/mem.h"

enum { CALLS = 400, AT_ONCE = 24, MAX_BODY = 400000 };

struct run {
    struct weir_loop *loop;
    struct weir_http_server *server;
    struct weir_http_client *client;
    struct weir_tls *server_tls, *client_tls;
    struct weir_rng rng;
    unsigned started, ended, whole, cut, cancelled, wrong, jobs;
    char pattern[MAX_BODY]; /* every body is a start of it */
    struct weir_timer limit;
    bool timed_out;
};

/* ---- the server: sends every body back ------------------------------------------------------ */

struct job {
    struct run *run;
    struct weir_http_exchange *x;
    struct weir_timer timer;
    size_t at;
    bool abort;
};

static size_t on_head(void *arg, struct weir_http_exchange *x) {
    (void)arg;
    (void)x;
    return MAX_BODY;
}

static void job_step(void *arg) {
    struct job *j = arg;
    struct weir_span body = weir_http_exchange_request(j->x)->body;
    for (int i = 0; i < 5 && j->at < body.len && weir_http_stream_writable(j->x); i++) {
        size_t n = 1 + weir_rng_below(&j->run->rng, 30000);
        if (n > body.len - j->at)
            n = body.len - j->at;
        if (weir_http_stream_write(j->x, weir_span(body.data + j->at, n)) != WEIR_OK)
            return;
        j->at += n;
    }
    if (j->abort && j->at >= body.len / 2) {
        weir_http_abort(j->x, "the test breaks it off");
    } else if (j->at == body.len) {
        weir_http_stream_end(j->x);
    } else if (weir_timer_start(&j->timer, weir_rng_below(&j->run->rng, 2)) != WEIR_OK) {
        weir_http_abort(j->x, "out of memory");
    }
}

static void on_request(void *arg, struct weir_http_exchange *x) {
    struct run *r = arg;
    const struct weir_http_request *q = weir_http_exchange_request(x);
    if (weir_span_eqz(q->path, "/whole")) {
        weir_http_respond(x, 200, "application/octet-stream", NULL, 0, q->body);
        return;
    }
    struct job *j = weir_arena_zalloc(weir_http_exchange_arena(x), sizeof(*j));
    CHECK(j != NULL);
    *j = (struct job){.run = r, .x = x, .abort = weir_span_eqz(q->path, "/abort")};
    weir_timer_init(&j->timer, r->loop, job_step, j);
    weir_http_exchange_set_user(x, j);
    r->jobs++;
    weir_http_stream_begin(x, 200, "application/octet-stream", NULL, 0);
    job_step(j);
}

static void on_body_error(void *arg, struct weir_http_exchange *x, int status) {
    (void)arg;
    weir_http_respond(x, status, NULL, NULL, 0, weir_span("", 0));
}

static void on_done_server(void *arg, struct weir_http_exchange *x, enum weir_http_done how) {
    struct run *r = arg;
    struct job *j = weir_http_exchange_user(x);
    (void)how;
    if (j != NULL) {
        weir_timer_stop(&j->timer);
        r->jobs--;
    }
}

static const struct weir_http_handler handler = {.on_head = on_head,
                                                 .on_request = on_request,
                                                 .on_body_error = on_body_error,
                                                 .on_done = on_done_server};

/* ---- the client ----------------------------------------------------------------------------- */

struct call {
    struct run *run;
    struct weir_http_call *call;
    struct weir_timer timer; /* resume, or cancel */
    size_t want, got, cancel_at;
    bool abort, wrong, may_pause;
    int status;
};

static void refill(struct run *r);

static void call_gone(struct call *c) {
    struct run *r = c->run;
    weir_timer_stop(&c->timer);
    free(c);
    r->ended++;
    refill(r);
}

static void on_answer(void *arg, int status, const struct weir_http_header *h, size_t n) {
    struct call *c = arg;
    (void)h;
    (void)n;
    c->status = status;
}

static void on_resume(void *arg) {
    struct call *c = arg;
    weir_http_call_resume(c->call);
}

static void on_body(void *arg, struct weir_span bytes) {
    struct call *c = arg;
    if (c->got + bytes.len > c->want ||
        memcmp(bytes.data, c->run->pattern + c->got, bytes.len) != 0)
        c->wrong = true;
    c->got += bytes.len;
    if (c->cancel_at > 0 && c->got >= c->cancel_at) {
        weir_http_call_cancel(c->call);
        c->run->cancelled++;
        call_gone(c);
        return;
    }
    if (c->may_pause && weir_rng_below(&c->run->rng, 4) == 0 &&
        weir_timer_start(&c->timer, weir_rng_below(&c->run->rng, 3)) == WEIR_OK)
        weir_http_call_pause(c->call);
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct call *c = arg;
    struct run *r = c->run;
    if (c->wrong || !sent_any)
        r->wrong++;
    else if (status == WEIR_OK && !c->abort && c->status == 200 && c->got == c->want)
        r->whole++;
    else if (status == WEIR_DISCONNECTED && c->abort)
        r->cut++;
    else
        r->wrong++;
    call_gone(c);
}

static void start_one(struct run *r) {
    static const char *const paths[] = {"/whole", "/pieces", "/pieces", "/abort"};
    static const struct weir_http_call_ops ops = {on_answer, on_body, on_done};
    struct call *c = calloc(1, sizeof(*c));
    if (c == NULL)
        abort();
    size_t way = weir_rng_below(&r->rng, 4);
    c->run = r;
    c->abort = way == 3;
    c->want = weir_rng_below(&r->rng, weir_rng_below(&r->rng, 3) == 0 ? MAX_BODY : 3000);
    c->may_pause = weir_rng_below(&r->rng, 3) == 0;
    if (weir_rng_below(&r->rng, 6) == 0)
        c->cancel_at = 1 + c->want / 3;
    weir_timer_init(&c->timer, r->loop, on_resume, c);
    struct weir_http_call_config config = {.method = "POST",
                                           .target = paths[way],
                                           .body = weir_span(r->pattern, c->want),
                                           .body_stays = weir_rng_below(&r->rng, 2) == 0};
    r->started++;
    if (weir_http_call_start(r->client, &config, &ops, c, &c->call) != WEIR_OK)
        abort();
}

static void refill(struct run *r) {
    while (r->started < CALLS && r->started - r->ended < AT_ONCE)
        start_one(r);
    if (r->ended == CALLS) {
        weir_timer_stop(&r->limit);
        weir_http_client_destroy(r->client);
        weir_http_server_destroy(r->server);
        weir_loop_stop(r->loop);
    }
}

static void on_limit(void *arg) {
    struct run *r = arg;
    r->timed_out = true;
    weir_loop_stop(r->loop);
}

static void go(struct weir_tls *server_tls, struct weir_tls *client_tls) {
    static struct run r;
    memset(&r, 0, sizeof(r));
    weir_rng_seed(&r.rng, check_seed());
    for (size_t i = 0; i < MAX_BODY; i++)
        r.pattern[i] = (char)weir_rng_u64(&r.rng);
    CHECK(weir_loop_create(0, &r.loop) == WEIR_OK);
    struct weir_http_server_config server = {
        .listen = {.ip = "127.0.0.1", .tls = server_tls}, .handler = &handler, .arg = &r};
    CHECK(weir_http_server_create(r.loop, &server, &r.server, NULL) == WEIR_OK);
    struct weir_http_client_config client = {.ip = "127.0.0.1",
                                             .port = weir_http_server_port(r.server),
                                             .host = "localhost",
                                             .tls = client_tls,
                                             .max_conns = 8};
    CHECK(weir_http_client_create(r.loop, &client, &r.client) == WEIR_OK);
    weir_timer_init(&r.limit, r.loop, on_limit, &r);
    CHECK(weir_timer_start(&r.limit, 100000) == WEIR_OK);
    refill(&r);
    weir_loop_run(r.loop);
    CHECK(!r.timed_out);
    weir_loop_destroy(r.loop);
    fprintf(stderr, "%u whole, %u broken off, %u cancelled\n", r.whole, r.cut, r.cancelled);
    CHECK_EQ_U64(r.wrong, 0);
    CHECK_EQ_U64(r.jobs, 0);
    CHECK_EQ_U64(r.whole + r.cut + r.cancelled, CALLS);
    CHECK(r.whole > 100 && r.cut > 20 && r.cancelled > 10);
}

static void case_over_tcp(void) {
    go(NULL, NULL);
}

static void case_over_tls(void) {
    struct certs certs;
    certs_make(&certs);
    struct weir_tls *server = NULL, *client = NULL;
    struct weir_err err;
    const struct weir_tls_config server_config = {.server = true,
                                                  .cert_path = certs.server,
                                                  .key_path = certs.server_key,
                                                  .alpn = "http/1.1"};
    const struct weir_tls_config client_config = {.ca_path = certs.ca, .alpn = "http/1.1"};
    CHECK_MSG(weir_tls_create(&server_config, &server, &err) == WEIR_OK, "%s", err.text);
    CHECK_MSG(weir_tls_create(&client_config, &client, &err) == WEIR_OK, "%s", err.text);
    go(server, client);
    weir_tls_destroy(server);
    weir_tls_destroy(client);
    certs_remove(&certs);
}

int main(void) {
    CHECK_RUN(case_over_tcp);
    CHECK_RUN(case_over_tls);
    return check_finish();
}
