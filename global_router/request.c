/*
 * Happy path: figures of the request → pool and order of retries → next router of that pool → the
 * body goes there as it came → items come back as they came. Failure modes: an attempt that fails
 * before its first item goes on to another router of the pool when that one could not be reached,
 * else to the next pool of the order; the last failure is passed on. Behind the first item a
 * failure ends the answer. The request lives until on_done.
 */
#include "base/log.h"
#include "base/mem.h"
#include "global_router/phase_priv.h"
#include "runtime/relay.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BODY_MAX = 1 << 30, ORDER_TEXT = 160 };

struct request {
    struct weir_relay relay;
    struct weir_global_phase *phase;
    struct weir_span body; /* of the caller's frame, or of `unpacked` */
    struct weir_buf unpacked;
    uint32_t at;    /* position in `order` */
    unsigned tries; /* routers of this pool that could not be reached */
    size_t n_order;
    uint32_t order[]; /* room for all pools of the phase */
};

static const char *ns_of(const struct request *q) {
    return weir_pools_set(q->phase->pools)->namespaces[q->order[q->at]];
}

/* ---- attempts ----------------------------------------------------------------------------- */

/* One router of the pool; WEIR_NOT_FOUND when it has none. */
static enum weir_status send_to_pool(struct request *q) {
    struct weir_span address = weir_pools_pick(q->phase->pools, q->order[q->at]);
    struct weir_buf body;
    if (address.data == NULL)
        return WEIR_NOT_FOUND;
    weir_buf_init(&body, BODY_MAX);
    enum weir_status st = weir_buf_append_span(&body, q->body);
    if (st == WEIR_OK)
        st = weir_relay_send(&q->relay, address, &body);
    weir_buf_fini(&body);
    return st;
}

static void describe(const struct request *q, enum weir_status st, char *text, size_t room,
                     struct weir_wire_error *ret) {
    *ret = (struct weir_wire_error){.status = st, .http_status = weir_status_http(st)};
    if (st == WEIR_NOT_FOUND) {
        ret->status = WEIR_UNAVAILABLE;
        ret->http_status = 503;
        snprintf(text, room, "no router in %s pool %" PRIu32 ": %s.router.generate has no instance",
                 q->phase->name, q->order[q->at], ns_of(q));
        ret->public_text = weir_span_z(text);
    } else {
        snprintf(text, room, "cannot send to %s pool %" PRIu32 " (%s): %s", q->phase->name,
                 q->order[q->at], ns_of(q), weir_status_text(st));
    }
    ret->message = weir_span_z(text);
}

static void log_failure(const struct request *q, struct weir_span message, const char *stage,
                        bool last) {
    static struct weir_log_limit limit;
    uint32_t dropped;
    if (weir_log_limit_ok(&limit, 20, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "global", "%.*s: %s pool %" PRIu32 " (%s) failed at %s: %.*s%s",
                 WEIR_SPAN_ARG(weir_plane_request_id(q->relay.caller)), q->phase->name,
                 q->order[q->at], ns_of(q), stage, WEIR_SPAN_ARG(message),
                 last ? "" : "; trying the next pool");
}

/* The pool at q->at has failed. False: it was the last of the order. True: another one has the
 * request now, or all others failed at once and the request was refused with the last failure. */
static bool try_next(struct request *q, struct weir_span message, const char *stage) {
    struct weir_global_phase *p = q->phase;
    char text[256];
    struct weir_wire_error error;
    struct weir_span why = message;
    bool moved = false;
    for (;;) {
        weir_metric_inc(p->metrics[q->order[q->at]].failures);
        log_failure(q, why, stage, q->at + 1 >= q->n_order);
        if (q->at + 1 >= q->n_order && !moved)
            return false;
        if (q->at + 1 >= q->n_order) {
            weir_relay_refuse(&q->relay, &error);
            return true;
        }
        q->at++;
        q->tries = 0;
        moved = true;
        weir_metric_inc(p->retries);
        weir_metric_inc(p->metrics[q->order[q->at]].requests);
        enum weir_status st = send_to_pool(q);
        if (st == WEIR_OK)
            return true;
        describe(q, st, text, sizeof(text), &error);
        why = error.message;
        stage = "send";
    }
}

static bool on_failed(void *arg, const struct weir_wire_error *error, const char *stage) {
    struct request *q = arg;
    if (weir_relay_again(&q->relay, stage) && send_to_pool(q) == WEIR_OK)
        return true;
    /* A router that was not reached has not seen the request: its neighbour may take it. */
    if (strcmp(stage, "connect") == 0 &&
        ++q->tries < weir_pools_instances(q->phase->pools, q->order[q->at]) &&
        send_to_pool(q) == WEIR_OK)
        return true;
    return try_next(q, error->message, stage);
}

static void on_over(void *arg, enum weir_status status) {
    struct request *q = arg;
    if (status != WEIR_OK && status != WEIR_CANCELLED && q->relay.passed)
        weir_metric_inc(q->phase->metrics[q->order[q->at]].failures);
}

static const struct weir_relay_ops relay_ops = {.on_failed = on_failed, .on_over = on_over};

/* ---- beginning and end -------------------------------------------------------------------- */

static void log_choice(const struct request *q, const struct weir_pool_query *query) {
    char order[ORDER_TEXT];
    int n = 0;
    if (!weir_log_on(WEIR_LOG_DEBUG, "global"))
        return;
    for (size_t i = 0; i < q->n_order && n >= 0 && n < ORDER_TEXT - 16; i++)
        n += snprintf(order + n, (size_t)(ORDER_TEXT - n), i > 0 ? ", %" PRIu32 : "%" PRIu32,
                      q->order[i]);
    WEIR_LOG(WEIR_LOG_DEBUG, "global",
             "Routing %s request: ISL=%zu, TTFT_target=%gms, ITL_target=%gms, priority=%s%" PRId64
             " -> pool %" PRIu32 " (%s); retry_order=[%s]",
             q->phase->name, query->n_tokens, query->ttft_ms, query->itl_ms,
             query->has_priority ? "" : "none/", query->priority, q->order[0], ns_of(q), order);
}

static struct request *new_request(struct weir_global_phase *p) {
    size_t n = weir_pools_set(p->pools)->n;
    struct request *q = weir_calloc(1, sizeof(*q) + n * sizeof(q->order[0]));
    if (q != NULL) {
        q->phase = p;
        weir_buf_init(&q->unpacked, BODY_MAX);
    }
    return q;
}

static void choose(struct request *q, const struct weir_pool_query *query) {
    const struct weir_pool_set *set = weir_pools_set(q->phase->pools);
    struct weir_pool_choice c = weir_pool_select(set, query, &q->phase->targets);
    q->n_order = weir_pool_retry_order(c.pool, set->priorities, set->n, q->phase->retry, q->order);
    WEIR_ASSERT(q->n_order > 0); /* the pool file was checked */
    log_choice(q, query);
}

static void start(struct request *q) {
    char text[256];
    struct weir_wire_error error;
    weir_metric_inc(q->phase->metrics[q->order[0]].requests);
    enum weir_status st = send_to_pool(q);
    if (st == WEIR_OK)
        return;
    describe(q, st, text, sizeof(text), &error);
    if (!try_next(q, error.message, "send"))
        weir_relay_refuse(&q->relay, &error);
}

static void on_request(void *arg, struct weir_plane_request *r,
                       const struct weir_prep_request *req) {
    struct weir_global_phase *p = arg;
    struct weir_pool_query query;
    enum weir_codec codec;
    (void)req;
    struct weir_span body = weir_plane_request_body(r, &codec);
    if (weir_pool_query_decode(body, codec, &query) != WEIR_OK) {
        weir_plane_reply_refuse_text(r, WEIR_INVALID, "the request cannot be read");
        return;
    }
    struct request *q = new_request(p);
    if (q == NULL) {
        weir_plane_reply_refuse_text(r, WEIR_NOMEM, "out of memory");
        return;
    }
    q->body = body;
    if (query.packed && weir_pool_query_unpack(body, &q->unpacked) == WEIR_OK)
        q->body = weir_buf_span(&q->unpacked);
    choose(q, &query);
    weir_plane_request_set_user(r, q);
    weir_relay_init(&q->relay, p->service->client, r, &relay_ops, q);
    start(q);
}

static void on_cancel(void *arg, struct weir_plane_request *r) {
    (void)arg;
    struct request *q = weir_plane_request_user(r);
    if (q != NULL)
        weir_relay_cancel(&q->relay);
}

static void on_done(void *arg, struct weir_plane_request *r) {
    (void)arg;
    struct request *q = weir_plane_request_user(r);
    if (q == NULL)
        return;
    weir_relay_cancel(&q->relay);
    weir_buf_fini(&q->unpacked);
    weir_free(q);
}

const struct weir_plane_handler weir_global_handler = {on_request, on_cancel, on_done};
