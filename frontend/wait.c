/*
 * A leg in the waiting room of its model. Happy path: there is room, or the leg waits → its turn
 * comes with a worker chosen and booked → the leg starts with that. Failure modes: the room is full
 * (refused at once, with how long to stay away), the wait grows longer than --router-queue-timeout-
 * secs (likewise), no worker is left (as without a queue), the client leaves (its place is freed at
 * once). A leg waits once: what moves to another worker later has waited already. A leg that names
 * its worker waits for that one alone; one whose prefill has run elsewhere does not wait.
 */
#include "frontend/request_priv.h"
#include "kvindex/kvi.h"
#include "router/decide.h"

#include <stdio.h>

static struct weir_admission *room_of(const struct weir_leg *leg) {
    return weir_model_info(leg->request->model)->admission;
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

/* The shorter of what the operator and the request allow. */
static uint64_t patience_ms(const struct weir_request *r) {
    uint64_t most = (uint64_t)(r->fl->app->options.router_queue_timeout_secs * 1000);
    return r->queue_ms > 0 && r->queue_ms < most ? r->queue_ms : most;
}

static void on_timeout(void *arg) {
    struct weir_leg *leg = arg;
    struct weir_admission_stats s;
    weir_admission_stats(room_of(leg), &s);
    weir_admission_leave(leg->wait.ticket);
    leg->wait.ticket = NULL;
    refuse(leg, "queue_timeout_ms", NULL, patience_ms(leg->request), s.queue.requests,
           s.queue.retry_after_s);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void on_turn(void *arg, enum weir_status st, const struct weir_route *route,
                    const struct weir_decision *record) {
    struct weir_leg *leg = arg;
    leg->wait.ticket = NULL;
    weir_timer_stop(&leg->wait.timer);
    if (record != NULL)
        weir_leg_explain(leg, record);
    if (st != WEIR_OK) {
        weir_leg_fail_route(leg, st);
        return;
    }
    leg->wait.granted = true;
    leg->wait.route = *route;
    if (leg->relay != NULL)
        weir_relay_go(leg);
    else
        weir_leg_start(leg);
}

uint64_t weir_request_tenant(const struct weir_request *r) {
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    const char *header = r->fl->app->options.router_queue_tenant_header;
    struct weir_span name = weir_http_header_get(h, header);
    if (name.len == 0)
        name = weir_http_header_get(h, "authorization");
    if (name.len == 0)
        name = weir_http_header_get(h, "x-api-key");
    return name.len > 0 ? kvi_seed(NULL, 0, name.data, name.len) : 0;
}

static bool goes_ahead(const struct weir_leg *leg) {
    uint64_t id;
    uint32_t rank;
    return room_of(leg) == NULL || leg->wait.over || weir_disagg_worker(leg, &id, &rank);
}

bool weir_leg_waits(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    const struct weir_routing_hints *h = &r->q.prep.routing;
    struct weir_admission_ask ask = {.loop = r->fl->loop, .fn = on_turn, .arg = leg};
    struct weir_decision record = {.n = 0};
    struct weir_queue_refusal f;
    weir_leg_query(leg, &ask.query);
    if (goes_ahead(leg))
        return false;
    leg->wait.over = true;
    ask.strict_priority = h->strict_priority > 0 ? (uint32_t)h->strict_priority : 0;
    ask.priority_jump = h->priority_jump > 0 ? h->priority_jump : 0; /* also NaN */
    ask.tenant = ask.query.tenant;
    ask.klass = r->queue_class;
    ask.policy_class = r->policy_class;
    ask.patience_ms = r->queue_ms;
    ask.explain = weir_leg_explains(leg);
    enum weir_status st =
        weir_admission_enter(room_of(leg), &ask, &leg->wait.route, ask.explain ? &record : NULL,
                             &leg->wait.ticket, &leg->wait.ahead, &f);
    leg->wait.granted = st == WEIR_OK;
    if (record.n > 0)
        weir_leg_explain(leg, &record);
    weir_decision_fini(&record);
    if (st == WEIR_OK)
        return false;
    if (st == WEIR_LIMIT)
        refuse(leg, weir_queue_reason_word(f.reason), f.klass, f.limit, f.waiting, f.retry_after_s);
    else if (st != WEIR_AGAIN)
        weir_leg_fail_route(leg, st == WEIR_NOMEM ? WEIR_UNAVAILABLE : st);
    else if (weir_timer_start(&leg->wait.timer, patience_ms(r)) != WEIR_OK)
        weir_leg_fail_route(leg, WEIR_UNAVAILABLE); /* nobody waits without an end */
    return true;
}

bool weir_leg_take_grant(struct weir_leg *leg, struct weir_route *ret) {
    if (!leg->wait.granted)
        return false;
    leg->wait.granted = false;
    *ret = leg->wait.route;
    weir_front_observe_hit_rate(leg->request->fl->app->metrics,
                                weir_leg_hit_rate(leg, ret->overlap_blocks));
    return true;
}

void weir_leg_wait_init(struct weir_leg *leg) {
    weir_timer_init(&leg->wait.timer, leg->request->fl->loop, on_timeout, leg);
}

void weir_leg_wait_stop(struct weir_leg *leg) {
    weir_timer_stop(&leg->wait.timer);
    if (leg->wait.ticket != NULL)
        weir_admission_leave(leg->wait.ticket);
    leg->wait.ticket = NULL;
    if (leg->wait.granted)
        weir_router_free(weir_model_info(leg->request->model)->router, leg->wait.route.booking);
    leg->wait.granted = false;
}
