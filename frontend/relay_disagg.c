/*
 * Prefill at one HTTP engine, decode at another. Happy path (vLLM): a prefill engine is routed to
 * and booked → it gets the body for one token → its answer has the transfer parameters → they go
 * with the body to the decode engine. SGLang: both engines get the body at once, with the place
 * where they meet and a room number; what the prefill engine answers is not needed.
 *
 * Failure modes: as between workers of the request plane (disagg.c): no prefill engine, or all
 * busy: the decode engine does the whole request, unless that is refused or cannot be; a prefill
 * engine that fails gives way to another, at most WEIR_DISAGG_TRIES that could be reached; a
 * request that it refuses is refused, in its own words. A client that leaves ends both calls
 * (weir_disagg_stop).
 */
#include "frontend/relay_body.h"
#include "frontend/relay_priv.h"

#include "base/log.h"
#include "wire/record.h"

#include <stdio.h>

enum { ANSWER_MAX = 16 << 20, BODY_MAX = 256 << 20 };

/* Owner: the leg; in the request's arena. */
struct weir_relay_prefill {
    struct weir_leg *leg;
    struct weir_relay_user user; /* has a pool while `call` runs */
    struct weir_http_call *call;
    struct weir_buf body, answer; /* body: of the call */
    struct weir_timer silence;
    uint64_t left_ms; /* > 0: the engine has left; what it may be silent then */
    char content_type[128];
    int status;
};

static void drop_call(struct weir_relay_prefill *p) {
    if (p->call != NULL)
        weir_http_call_cancel(p->call);
    p->call = NULL;
    weir_buf_fini(&p->body);
    weir_timer_stop(&p->silence);
    weir_relay_pool_release(&p->user);
}

void weir_relay_disagg_stop(struct weir_leg *leg) {
    struct weir_relay_prefill *p = leg->disagg.http;
    if (p == NULL)
        return;
    drop_call(p);
    weir_buf_fini(&p->answer);
}

/* ---- the prefill engine's answer ----------------------------------------------------------- */

/* Another prefill engine, or none, or the end of the request. */
static void go_on(struct weir_leg *leg, const char *why, enum weir_relay_loss loss) {
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    WEIR_LOG(WEIR_LOG_WARN, "disagg", "%s: prefill engine %s failed: %s", r->uuid,
             weir_worker_text(d->worker_id).s, why);
    weir_disagg_release(leg);
    if (r->answered || leg->state != WEIR_LEG_RUNNING ||
        (d->state == WEIR_DISAGG_BOTH && leg->first_item))
        return; /* decode has what it needs, or tells itself that it has not */
    if ((loss == WEIR_RELAY_BROKE_OFF && weir_relay_breaks(leg, d->worker_id)) ||
        (weir_disagg_failed(leg, loss == WEIR_RELAY_UNTOUCHED) && weir_disagg_alone(leg, why)))
        return;
    weir_relay_restart(leg);
}

/* Others do not choose this engine for a while. */
static void avoid(struct weir_leg *leg) {
    weir_router_worker_failed(weir_prefill_pool_router(leg->disagg.pool), leg->disagg.worker_id,
                              weir_loop_now_ms(leg->request->fl->loop));
}

static bool is_refusal(int status) {
    return status >= 400 && status < 500 && status != 408 && status != 429;
}

static void take_params(struct weir_leg *leg) {
    struct weir_relay_prefill *p = leg->disagg.http;
    struct weir_span params = weir_relay_params(weir_buf_span(&p->answer)), copy = {NULL, 0};
    struct weir_buf body;
    if (params.data == NULL) {
        go_on(leg, "its answer has no kv_transfer_params", WEIR_RELAY_FAILED);
        return;
    }
    weir_buf_init(&body, BODY_MAX);
    if (weir_relay_body_decode(weir_relay_original(leg->relay), params, &body) == WEIR_OK)
        copy = weir_arena_copy(&leg->request->arena, weir_buf_span(&body));
    weir_buf_fini(&body);
    if (copy.data == NULL) {
        weir_request_fail_memory(leg->request);
        return;
    }
    weir_disagg_release(leg);
    weir_relay_set_body(leg->relay, copy);
    leg->disagg.state = WEIR_DISAGG_DONE;
    weir_relay_go(leg);
}

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct weir_relay_prefill *p = arg;
    p->status = status;
    for (size_t i = 0; i < n; i++)
        if (weir_span_ieq(headers[i].name, WEIR_SPAN_LIT("content-type")))
            snprintf(p->content_type, sizeof(p->content_type), "%.*s",
                     WEIR_SPAN_ARG(headers[i].value));
}

/* What comes of a stream next to the decode engine's is thrown away. */
static void on_body(void *arg, struct weir_span bytes) {
    struct weir_relay_prefill *p = arg;
    if (p->status == 200 && p->leg->disagg.state == WEIR_DISAGG_BOTH)
        return;
    if (weir_buf_append_span(&p->answer, bytes) != WEIR_OK) {
        drop_call(p);
        go_on(p->leg, "its answer is larger than 16 MiB", WEIR_RELAY_FAILED);
    }
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct weir_relay_prefill *p = arg;
    struct weir_leg *leg = p->leg;
    struct weir_request *r = leg->request;
    char why[64];
    p->call = NULL;
    drop_call(p);
    if (r->answered)
        return;
    if (status != WEIR_OK) {
        if (status != WEIR_LIMIT && status != WEIR_NOMEM)
            avoid(leg);
        go_on(leg, weir_status_text(status), weir_relay_loss(status, sent_any));
    } else if (is_refusal(p->status) && !leg->first_item) {
        weir_disagg_release(leg);
        weir_relay_refused(leg, p->status, p->content_type, weir_buf_span(&p->answer));
    } else if (p->status != 200) {
        snprintf(why, sizeof(why), "it answered %d", p->status);
        go_on(leg, why, WEIR_RELAY_FAILED);
    } else if (leg->disagg.state == WEIR_DISAGG_PREFILL) {
        take_params(leg);
    } else {
        weir_disagg_release(leg);
    }
}

static void arm_silence(struct weir_relay_prefill *p) {
    uint64_t ms = p->leg->request->fl->app->item_ms;
    if (p->left_ms > 0 && (ms == 0 || p->left_ms < ms))
        ms = p->left_ms;
    if (ms > 0 && weir_timer_start(&p->silence, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "disagg", "%s: out of memory: no deadline", p->leg->request->uuid);
}

static void on_silence(void *arg) {
    struct weir_relay_prefill *p = arg;
    if (p->left_ms > 0 && !weir_relay_pool_has_left(&p->user)) { /* it is listed again */
        p->left_ms = 0;
        arm_silence(p);
        return;
    }
    enum weir_relay_loss loss = p->left_ms > 0 ? WEIR_RELAY_BROKE_OFF : WEIR_RELAY_FAILED;
    drop_call(p);
    avoid(p->leg);
    go_on(p->leg, "it was silent", loss);
}

static void on_left(void *arg, uint64_t silent_ms) {
    struct weir_relay_prefill *p = arg;
    p->left_ms = silent_ms;
    arm_silence(p);
}

/* ---- asking it ------------------------------------------------------------------------------ */

static struct weir_relay_prefill *own(struct weir_leg *leg) {
    struct weir_relay_prefill *p = leg->disagg.http;
    if (p == NULL) {
        p = weir_arena_zalloc(&leg->request->arena, sizeof(*p));
        if (p == NULL)
            return NULL;
        p->leg = leg;
        weir_timer_init(&p->silence, leg->request->fl->loop, on_silence, p);
        p->user.left = on_left;
        p->user.arg = p;
        leg->disagg.http = p;
    }
    weir_buf_fini(&p->answer);
    weir_buf_init(&p->answer, ANSWER_MAX);
    p->status = 0;
    p->left_ms = 0;
    p->content_type[0] = '\0';
    return p;
}

static size_t n_listed_prompts(const struct weir_request *r) {
    return r->q.kind == WEIR_OPENAI_COMPLETION && r->q.n_prompts > 1 ? r->q.n_prompts : 0;
}

/* For SGLang the decode engine gets the same. */
static enum weir_status make_body(struct weir_leg *leg, const struct weir_prefill_worker *w,
                                  struct weir_buf *out) {
    struct weir_request *r = leg->request;
    struct weir_span original = weir_relay_original(leg->relay);
    size_t n = n_listed_prompts(r), n_rooms = n > 0 ? n : 1;
    if (w->bootstrap_host[0] == '\0')
        return weir_relay_body_prefill(original, out);
    uint64_t *rooms = weir_arena_alloc(&r->arena, n_rooms * sizeof(*rooms));
    if (rooms == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; i < n_rooms; i++)
        rooms[i] = weir_rng_u64(weir_loop_rng(r->fl->loop)) >> 1; /* signed on the other side */
    enum weir_status st = weir_relay_body_bootstrap(original, weir_span_z(w->bootstrap_host),
                                                    w->bootstrap_port, rooms, n, out);
    struct weir_span copy =
        st == WEIR_OK ? weir_arena_copy(&r->arena, weir_buf_span(out)) : weir_span(NULL, 0);
    if (st == WEIR_OK && copy.data == NULL)
        st = WEIR_NOMEM;
    if (st == WEIR_OK)
        weir_relay_set_body(leg->relay, copy);
    return st;
}

static enum weir_status send(struct weir_leg *leg, const struct weir_prefill_worker *w) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct weir_request *r = leg->request;
    struct weir_relay_prefill *p = own(leg);
    struct weir_http_header headers[WEIR_RELAY_HEADERS];
    char rank[24];
    if (p == NULL)
        return WEIR_NOMEM;
    weir_buf_init(&p->body, BODY_MAX);
    enum weir_status st = make_body(leg, w, &p->body);
    struct weir_http_call_config c = {.method = "POST",
                                      .target = weir_relay_target(r),
                                      .headers = headers,
                                      .body = weir_buf_span(&p->body),
                                      .body_stays = true};
    c.n_headers = weir_relay_headers(r, w->at.n_ranks > 1, leg->disagg.dp_rank, headers, rank);
    if (st == WEIR_OK)
        st = weir_relay_pool_take(r->fl->pools, weir_span_z(w->at.address), &p->user);
    if (st == WEIR_OK && (st = weir_http_call_start(weir_relay_pool_client(p->user.pool), &c, &ops,
                                                    p, &p->call)) != WEIR_OK) {
        p->call = NULL;
        drop_call(p);
    }
    if (st != WEIR_OK)
        weir_buf_fini(&p->body);
    leg->disagg.sent_ns = weir_now_ns();
    if (st == WEIR_OK)
        arm_silence(p);
    return st;
}

bool weir_relay_disagg_begin(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    struct weir_prefill_worker w;
    if (d->state != WEIR_DISAGG_NEW)
        return false;
    weir_relay_set_body(leg->relay, weir_relay_original(leg->relay));
    if (!weir_disagg_find_pool(leg))
        return weir_disagg_alone(leg, "there is no prefill engine");
    if (weir_disagg_goes_local(leg)) {
        d->state = WEIR_DISAGG_OFF;
        return false;
    }
    switch (weir_prefill_waits(leg)) {
    case WEIR_PREFILL_WAITS:
        return true;
    case WEIR_PREFILL_NONE:
        return weir_disagg_alone(leg, "too many wait for a prefill engine");
    case WEIR_PREFILL_GO:
        break;
    }
    while (!weir_disagg_exhausted(d)) {
        enum weir_status st = weir_disagg_route(leg);
        if (st != WEIR_OK)
            return weir_disagg_alone(leg, st == WEIR_OVERLOADED
                                              ? "all prefill engines are busy"
                                              : "no prefill engine can be chosen");
        bool known = weir_prefill_worker_get(r->fl->app->prefill, d->pool, d->worker_id, &w);
        bool meets = known && w.bootstrap_host[0] != '\0';
        /* vLLM's parameters are of one prompt. */
        if (known && !meets && n_listed_prompts(r) > 0) {
            weir_disagg_release(leg);
            return weir_disagg_alone(leg, "the request has several prompts");
        }
        st = known ? send(leg, &w) : WEIR_UNAVAILABLE;
        if (st == WEIR_OK) {
            d->state = meets ? WEIR_DISAGG_BOTH : WEIR_DISAGG_PREFILL;
            return !meets;
        }
        weir_disagg_release(leg);
        if (st == WEIR_INVALID)
            return weir_disagg_alone(leg, "the body is no JSON object");
        d->tried[d->n_tried++] = d->worker_id;
    }
    return weir_disagg_alone(leg, "the prefill engines that were tried cannot be reached");
}
