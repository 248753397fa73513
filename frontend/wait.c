/*
 * A leg in the waiting rooms: in that of the prefill workers (with --pools of the pool that the
 * grid has chosen), when its prompt goes to one, then in that of the workers which serve it. Happy
 * path: there is room, or the leg waits → its turn comes with a worker chosen and booked → the leg
 * starts with that. Failure modes: the room is full, or no worker of the pool is left or free: the
 * next pool where the pool file lets it; else, before prefill workers, one worker does all, and
 * otherwise the request is refused (a full room says how long to stay away). All waits together end
 * after --router-queue-timeout-secs, and the request is refused. A client that leaves frees its
 * place at once. A leg waits once in each room: what moves to another worker later has waited
 * already. A leg that names its worker waits for that one alone.
 */
#include "frontend/request_priv.h"
#include "kvindex/kvi.h"
#include "router/decide.h"

#include <stdio.h>

static struct weir_leg_pool *pool_of(const struct weir_wait *w) {
    return w->prefill ? &w->leg->prefill_pool : &w->leg->pool;
}

static struct weir_router *router_of(const struct weir_wait *w) {
    return w->prefill ? weir_prefill_pool_router(w->leg->disagg.pool)
                      : weir_model_info(w->leg->request->model)->router;
}

static struct weir_rooms *rooms_of(const struct weir_wait *w) {
    return w->prefill ? weir_prefill_pool_rooms(w->leg->disagg.pool)
                      : weir_model_info(w->leg->request->model)->rooms;
}

/* ---- refusing -------------------------------------------------------------------------------- */

static void refuse(struct weir_leg *leg, const char *reason, const char *klass, uint64_t limit,
                   uint64_t waiting, unsigned retry_after_s) {
    struct weir_request *r = leg->request;
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, 4096);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "reason", reason);
    if (klass != NULL)
        weir_front_put_z(&w, "policy_class", klass);
    weir_jsonw_key(&w, "limit");
    weir_jsonw_u64(&w, limit);
    weir_jsonw_key(&w, "waiting");
    weir_jsonw_u64(&w, waiting);
    weir_jsonw_key(&w, "retry_after_s");
    weir_jsonw_u64(&w, retry_after_s);
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        r->details = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    r->retry_after_s = retry_after_s;
    weir_leg_fail_route(leg, WEIR_OVERLOADED);
}

/* What is left of the shorter of what the operator and the request allow. */
static uint64_t patience_ms(struct weir_leg *leg) {
    const struct weir_request *r = leg->request;
    uint64_t now = weir_loop_now_ms(r->fl->loop);
    if (leg->wait_until_ms == 0) {
        leg->wait_ms = (uint64_t)(r->fl->app->options.router_queue_timeout_secs * 1000);
        if (r->queue_ms > 0 && r->queue_ms < leg->wait_ms)
            leg->wait_ms = r->queue_ms;
        leg->wait_until_ms = now + leg->wait_ms;
    }
    return leg->wait_until_ms > now ? leg->wait_until_ms - now : 1;
}

static void on_timeout(void *arg) {
    struct weir_wait *w = arg;
    struct weir_admission_stats s;
    weir_admission_stats(w->room, &s);
    weir_admission_give_up(w->ticket);
    w->ticket = NULL;
    refuse(w->leg, "queue_timeout_ms", NULL, w->leg->wait_ms, s.queue.requests,
           s.queue.retry_after_s);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void go(struct weir_leg *leg) {
    if (leg->relay != NULL)
        weir_relay_go(leg);
    else
        weir_leg_start(leg);
}

/* The pool that the leg waited before is a former one: its workers went, and others with blocks of
 * another size have its place. */
static bool has_another_pool(const struct weir_leg *leg) {
    struct weir_prefill_pool *now = weir_prefill_find(
        leg->request->fl->app->prefill, weir_model_info(leg->request->model)->workers_of);
    return now != NULL && now != leg->disagg.pool;
}

/* Its turn has come, and no worker can be had. */
static void on_nobody(struct weir_wait *w, enum weir_status st) {
    struct weir_leg *leg = w->leg;
    if (weir_leg_pool_next(leg, pool_of(w), router_of(w), st))
        w->over = false; /* it may wait there */
    else if (!w->prefill) {
        weir_leg_fail_route(leg, st);
        return;
    } else if (has_another_pool(leg)) {
        w->over = false; /* there, too */
    } else if (weir_disagg_alone(leg, st == WEIR_OVERLOADED ? "all prefill workers are busy"
                                                            : "no prefill worker can be chosen"))
        return;
    go(leg);
}

static void explain(struct weir_wait *w, const struct weir_decision *record) {
    if (w->prefill)
        weir_leg_explain_prefill(w->leg, record);
    else
        weir_leg_explain(w->leg, record);
}

static void on_turn(void *arg, enum weir_status st, const struct weir_route *route,
                    const struct weir_decision *record) {
    struct weir_wait *w = arg;
    w->ticket = NULL;
    weir_timer_stop(&w->timer);
    if (record != NULL)
        explain(w, record);
    if (st != WEIR_OK) {
        on_nobody(w, st);
        return;
    }
    w->granted = true;
    w->route = *route;
    go(w->leg);
}

uint64_t weir_request_tenant(const struct weir_request *r) {
    if (r->x == NULL)
        return 0;
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    const char *header = r->fl->app->options.router_queue_tenant_header;
    struct weir_span name = weir_http_header_get(h, header);
    if (name.len == 0)
        name = weir_http_header_get(h, "authorization");
    if (name.len == 0)
        name = weir_http_header_get(h, "x-api-key");
    return name.len > 0 ? kvi_seed(NULL, 0, name.data, name.len) : 0;
}

/* WEIR_OK: granted. WEIR_AGAIN: waits. WEIR_LIMIT: *f says why not. */
static enum weir_status enter(struct weir_wait *w, struct weir_queue_refusal *f) {
    struct weir_leg *leg = w->leg;
    struct weir_request *r = leg->request;
    const struct weir_routing_hints *h = &r->q.prep.routing;
    struct weir_admission_ask ask = {.loop = r->fl->loop, .fn = on_turn, .arg = w};
    struct weir_decision record = {.n = 0};
    if (w->prefill)
        weir_disagg_query(leg, &ask.query);
    else
        weir_leg_query(leg, &ask.query);
    uint64_t left = patience_ms(leg);
    ask.strict_priority = h->strict_priority > 0 ? (uint32_t)h->strict_priority : 0;
    ask.priority_jump = h->priority_jump > 0 ? h->priority_jump : 0; /* also NaN */
    ask.tenant = ask.query.tenant;
    ask.klass = r->queue_class;
    ask.policy_class = r->policy_class;
    ask.patience_ms = r->queue_ms > 0 ? left : 0;
    ask.explain = weir_leg_explains(leg);
    w->room = weir_rooms_at(rooms_of(w), weir_leg_pool_at(pool_of(w)));
    w->router = router_of(w);
    uint64_t begin = weir_now_ns();
    enum weir_status st = weir_admission_enter(
        w->room, &ask, &w->route, ask.explain ? &record : NULL, &w->ticket, &w->ahead, f);
    w->route_ms = st == WEIR_OK ? (double)(weir_now_ns() - begin) / 1e6 : -1;
    w->granted = st == WEIR_OK;
    if (record.n > 0)
        explain(w, &record);
    weir_decision_fini(&record);
    if (st == WEIR_AGAIN && weir_timer_start(&w->timer, left) != WEIR_OK) {
        weir_admission_leave(w->ticket); /* nobody waits without an end */
        w->ticket = NULL;
        st = WEIR_NOMEM;
    }
    return st;
}

/* Into the room of the leg's pool, or the next one's that takes it. */
static enum weir_status enter_any(struct weir_wait *w, struct weir_queue_refusal *f) {
    enum weir_status st;
    w->over = true;
    do
        st = enter(w, f);
    while (
        weir_leg_pool_next(w->leg, pool_of(w), w->router, st == WEIR_LIMIT ? WEIR_OVERLOADED : st));
    return st;
}

static void refuse_full(struct weir_leg *leg, const struct weir_queue_refusal *f) {
    refuse(leg, weir_queue_reason_word(f->reason), f->klass, f->limit, f->waiting,
           f->retry_after_s);
}

bool weir_leg_waits(struct weir_leg *leg) {
    struct weir_queue_refusal f;
    if (rooms_of(&leg->wait) == NULL || leg->wait.over)
        return false;
    enum weir_status st = enter_any(&leg->wait, &f);
    if (st == WEIR_OK)
        return false;
    if (st == WEIR_LIMIT)
        refuse_full(leg, &f);
    else if (st != WEIR_AGAIN)
        weir_leg_fail_route(leg, st == WEIR_NOMEM ? WEIR_UNAVAILABLE : st);
    return true;
}

enum weir_prefill_turn weir_prefill_waits(struct weir_leg *leg) {
    struct weir_wait *w = &leg->disagg.wait;
    struct weir_queue_refusal f;
    if (rooms_of(w) == NULL || w->over)
        return WEIR_PREFILL_GO;
    enum weir_status st = enter_any(w, &f);
    if (st == WEIR_LIMIT && !weir_disagg_is_must(leg))
        return WEIR_PREFILL_NONE;
    if (st == WEIR_LIMIT)
        refuse_full(leg, &f);
    return st == WEIR_AGAIN || st == WEIR_LIMIT ? WEIR_PREFILL_WAITS : WEIR_PREFILL_GO;
}

bool weir_wait_take(struct weir_wait *w, struct weir_route *ret) {
    if (!w->granted)
        return false;
    w->granted = false;
    *ret = w->route;
    return true;
}

void weir_wait_init(struct weir_wait *w, struct weir_leg *leg, bool prefill) {
    w->leg = leg;
    w->prefill = prefill;
    weir_timer_init(&w->timer, leg->request->fl->loop, on_timeout, w);
}

void weir_wait_stop(struct weir_wait *w) {
    weir_timer_stop(&w->timer);
    if (w->ticket != NULL) {
        weir_admission_leave(w->ticket);
        w->over = false;
    }
    w->ticket = NULL;
    if (w->granted)
        weir_router_free(w->router, w->route.booking);
    w->granted = false;
}
