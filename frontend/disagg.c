/*
 * Prefill, then decode. Happy path: a prefill worker is routed to and booked → the request goes
 * there for one token → its first item brings the engine's transfer parameters → its stream ends →
 * the leg starts at a decode worker with those parameters. With a worker that names a meeting point
 * (bootstrap), both get the request at once and find each other by a room number.
 *
 * Failure modes: no prefill worker, or all busy: the decode worker does the whole request, unless
 * --enforce-disagg refuses that. A prefill worker that fails gives way to another one, at most
 * WEIR_DISAGG_TRIES that may have got the prompt, then as above; a request that it refuses is
 * refused. A client that leaves frees both legs (weir_leg_stop). A pooled connection that the
 * worker had closed costs nothing: it is asked again over a new one. Source: shared spec
 * "transport" 3.2, "kvrouter" 4.5.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/msgpack.h"
#include "frontend/request_priv.h"
#include "router/decide.h"
#include "wire/record.h"

#include <math.h>
#include <string.h>

static void on_item(void *arg, const struct weir_output *item);
static void on_end(void *arg, const struct weir_plane_end *end);
static const struct weir_plane_call_ops call_ops = {.on_item = on_item, .on_end = on_end};

void weir_disagg_release(struct weir_leg *leg) {
    if (leg->disagg.booking != 0)
        weir_router_free(weir_prefill_pool_router(leg->disagg.pool), leg->disagg.booking);
    leg->disagg.booking = 0;
}

void weir_disagg_stop(struct weir_leg *leg) {
    if (leg->disagg.call != NULL)
        weir_plane_call_cancel(leg->disagg.call, false);
    leg->disagg.call = NULL;
    weir_relay_disagg_stop(leg);
    weir_disagg_release(leg);
}

void weir_disagg_again(struct weir_leg *leg, bool untouched) {
    struct weir_disagg *d = &leg->disagg;
    if (d->state == WEIR_DISAGG_OFF || (untouched && d->state == WEIR_DISAGG_DONE))
        return; /* a result that no decode worker has taken stays good */
    weir_disagg_stop(leg);
    d->state = WEIR_DISAGG_NEW;
}

/* ---- what the decode worker gets ---------------------------------------------------------- */

static bool splits(const struct weir_leg *leg) {
    return leg->disagg.state == WEIR_DISAGG_DONE || leg->disagg.state == WEIR_DISAGG_BOTH;
}

const struct weir_route_override *weir_disagg_override(const struct weir_leg *leg) {
    static const struct weir_route_override decode = {0, NAN, NAN, 0, 0};
    return splits(leg) ? &decode : NULL;
}

void weir_disagg_fill(const struct weir_leg *leg, struct weir_prep_request *p) {
    const struct weir_disagg *d = &leg->disagg;
    if (!splits(leg))
        return;
    p->routing.set = p->routing.has_prefill_worker_id = true;
    p->routing.prefill_worker_id = d->worker_id;
    p->router_config_override = WEIR_SPAN_LIT(
        "{\"overlap_score_credit\":0.0,\"prefill_load_scale\":null,\"router_temperature\":null,"
        "\"assume_kv_reuse\":false,\"track_prefill_tokens\":false,\"shared_cache_multiplier\":"
        "null}");
    if (d->state == WEIR_DISAGG_BOTH) {
        p->routing.prefill_dp_rank = d->dp_rank;
        p->bootstrap = d->meeting;
    } else {
        p->prefill_result = d->result;
    }
}

bool weir_disagg_worker(const struct weir_leg *leg, uint64_t *ret_id, uint32_t *ret_rank) {
    if (splits(leg)) {
        *ret_id = leg->disagg.worker_id;
        *ret_rank = leg->disagg.dp_rank;
    }
    return splits(leg);
}

bool weir_disagg_exhausted(const struct weir_disagg *d) {
    return d->n_failed >= WEIR_DISAGG_TRIES || d->n_tried >= WEIR_MAX_TRIED;
}

bool weir_disagg_failed(struct weir_leg *leg, bool untouched) {
    struct weir_disagg *d = &leg->disagg;
    d->state = WEIR_DISAGG_NEW;
    if (d->n_tried < WEIR_MAX_TRIED)
        d->tried[d->n_tried++] = d->worker_id;
    d->n_failed += !(untouched && weir_leg_may_pass_over(leg, d->sent_ns));
    return weir_disagg_exhausted(d);
}

/* ---- without a prefill worker ------------------------------------------------------------- */

bool weir_disagg_is_must(const struct weir_leg *leg) {
    return leg->request->fl->app->options.enforce_disagg ||
           weir_model_info(leg->request->model)->needs_prefill;
}

bool weir_disagg_alone(struct weir_leg *leg, const char *why) {
    struct weir_request *r = leg->request;
    const struct weir_model_info *info = weir_model_info(r->model);
    leg->disagg.state = WEIR_DISAGG_OFF;
    weir_wait_stop(&leg->disagg.wait);
    if (!weir_disagg_is_must(leg)) {
        WEIR_LOG(WEIR_LOG_DEBUG, "disagg", "%s: one worker does all: %s", r->uuid, why);
        return false;
    }
    leg->state = WEIR_LEG_DONE;
    WEIR_LOG(WEIR_LOG_WARN, "disagg", "%s: refused (%s): %s", r->uuid,
             r->fl->app->options.enforce_disagg ? "--enforce-disagg" : "its engines only decode",
             why);
    struct weir_span text = WEIR_SPAN_LIT("Service temporarily unavailable"), missing = {NULL, 0};
    if (leg->disagg.pool != NULL)
        missing = weir_leg_pool_missing(leg, &leg->prefill_pool,
                                        weir_prefill_pool_router(leg->disagg.pool));
    if (missing.data == NULL && weir_prefill_find(r->fl->app->prefill, info->workers_of) == NULL)
        weir_request_fail_not_ready(r); /* as the reference system without prefill workers */
    else
        weir_request_fail(r, 503, missing.data != NULL ? missing : text, "unavailable");
    return true;
}

/* ---- the prefill request ------------------------------------------------------------------ */

void weir_disagg_query(struct weir_leg *leg, struct weir_route_query *ret) {
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    const struct weir_routing_hints *h = &r->q.prep.routing;
    struct weir_route_query q = weir_leg_prompt_query(leg);
    q.has_pinned_worker = h->has_prefill_worker_id;
    q.pinned_worker = h->prefill_worker_id;
    q.pinned_rank = h->has_prefill_worker_id ? h->prefill_dp_rank : -1;
    q.exclude = d->tried;
    q.n_exclude = d->n_tried;
    /* Hashes of another block size match nothing: then load alone decides. */
    if (weir_prefill_pool_block_size(d->pool) != weir_model_info(r->model)->block_size)
        q.n_blocks = q.n_computed = 0;
    weir_leg_pool_apply(&leg->prefill_pool, &q);
    *ret = q;
}

enum weir_status weir_disagg_route(struct weir_leg *leg) {
    struct weir_disagg *d = &leg->disagg;
    struct weir_decision record = {.n = 0};
    struct weir_route_query q;
    struct weir_route chosen;
    enum weir_status st = WEIR_OK;
    if (!weir_wait_take(&d->wait, &chosen)) {
        weir_disagg_query(leg, &q);
        if (weir_leg_explains(leg))
            q.explain = &record;
        if (weir_prefill_pool_rooms(d->pool) == NULL) /* else the rooms count */
            weir_metric_inc(weir_prefill_pool_received(d->pool));
        st = weir_router_route(weir_prefill_pool_router(d->pool), &q, &chosen);
        if (q.explain != NULL)
            weir_leg_explain_prefill(leg, &record);
        weir_decision_fini(&record);
    }
    if (st != WEIR_OK)
        return st;
    d->booking = chosen.booking;
    d->worker_id = chosen.worker_id;
    d->dp_rank = chosen.dp_rank;
    return WEIR_OK;
}

static void arrange_meeting(struct weir_leg *leg, const struct weir_prefill_worker *w) {
    struct weir_rng *rng = weir_loop_rng(leg->request->fl->loop);
    struct weir_bootstrap *m = &leg->disagg.meeting;
    *m = (struct weir_bootstrap){0};
    if (w->bootstrap_host[0] == '\0')
        return;
    m->host = weir_arena_copy(&leg->request->arena, weir_span_z(w->bootstrap_host));
    m->port = w->bootstrap_port;
    m->room = weir_rng_u64(rng) >> 1; /* signed on the other side */
    m->has_handoff_id = true;
    uint64_t id[2] = {weir_rng_u64(rng), weir_rng_u64(rng)};
    memcpy(m->handoff_id, id, sizeof(id));
    m->handoff_id[6] = (unsigned char)((m->handoff_id[6] & 0x0f) | 0x40); /* a random UUID */
    m->handoff_id[8] = (unsigned char)((m->handoff_id[8] & 0x3f) | 0x80);
    m->set = m->host.data != NULL;
}

static enum weir_status send(struct weir_leg *leg, const struct weir_prefill_worker *w) {
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    struct weir_prep_request p;
    struct weir_buf body;
    weir_buf_init(&body, WEIR_OUT_MAX);
    enum weir_status st = weir_leg_fill(leg, &p);
    p.stop.max_tokens = 1;
    p.stop.min_tokens = -1;
    p.sampling.n = -1;
    p.routing.set = p.routing.has_prefill_worker_id = true;
    p.routing.prefill_worker_id = d->worker_id;
    p.routing.dp_rank = p.routing.prefill_dp_rank = d->dp_rank;
    arrange_meeting(leg, w);
    p.bootstrap = d->meeting;
    if (st == WEIR_OK)
        st = weir_prep_request_encode(&p, w->at.codec, &body);
    struct weir_plane_call_config c = {.address = weir_span_z(w->at.address),
                                       .request_id = weir_leg_id(leg),
                                       .codec = w->at.codec,
                                       .take_body = &body,
                                       .traceparent = r->traceparent,
                                       .metadata = r->metadata,
                                       .fresh = d->resent,
                                       .item_ms = r->fl->app->item_ms};
    d->result = weir_span(NULL, 0);
    d->codec = w->at.codec;
    d->sent_ns = weir_now_ns();
    if (st == WEIR_OK)
        st = weir_plane_call_start(r->fl->plane, &c, &call_ops, leg, &d->call);
    weir_buf_fini(&body);
    return st;
}

/* Workers with another block size have a pool of their own. A turn that was granted before the
 * others came is no booking there: it is given back, and the leg may wait before these. */
bool weir_disagg_find_pool(struct weir_leg *leg) {
    struct weir_disagg *d = &leg->disagg;
    struct weir_prefill_pool *pool = weir_prefill_find(
        leg->request->fl->app->prefill, weir_model_info(leg->request->model)->workers_of);
    if (d->pool != pool) {
        weir_wait_stop(&d->wait);
        d->wait.over = false;
    }
    d->pool = pool;
    return pool != NULL;
}

bool weir_disagg_begin(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    struct weir_prefill_worker w;
    if (d->state != WEIR_DISAGG_NEW)
        return false;
    if (!weir_disagg_find_pool(leg))
        return weir_disagg_alone(leg, "there is no prefill worker");
    const struct weir_pool_config *pools = r->fl->app->pools;
    if (pools != NULL &&
        !weir_leg_pool_choose(leg, &leg->prefill_pool, weir_pool_config_set(pools, true)))
        return weir_disagg_alone(leg, "out of memory");
    if (weir_disagg_goes_local(leg)) {
        d->state = WEIR_DISAGG_OFF;
        return false;
    }
    switch (weir_prefill_waits(leg)) {
    case WEIR_PREFILL_WAITS:
        return true;
    case WEIR_PREFILL_NONE:
        return weir_disagg_alone(leg, "too many wait for a prefill worker");
    case WEIR_PREFILL_GO:
        break;
    }
    while (!weir_disagg_exhausted(d)) {
        enum weir_status st = weir_disagg_route(leg);
        if (weir_leg_pool_next(leg, &leg->prefill_pool, weir_prefill_pool_router(d->pool), st))
            continue;
        if (st != WEIR_OK)
            return weir_disagg_alone(leg, st == WEIR_OVERLOADED
                                              ? "all prefill workers are busy"
                                              : "no prefill worker can be chosen");
        if (weir_prefill_worker_get(r->fl->app->prefill, d->pool, d->worker_id, &w) &&
            send(leg, &w) == WEIR_OK) {
            d->state = d->meeting.set ? WEIR_DISAGG_BOTH : WEIR_DISAGG_PREFILL;
            return d->state == WEIR_DISAGG_PREFILL;
        }
        weir_disagg_release(leg);
        d->tried[d->n_tried++] = d->worker_id;
    }
    return weir_disagg_alone(leg, "the prefill workers that were tried cannot be reached");
}

/* ---- its answer --------------------------------------------------------------------------- */

static void put_count(struct weir_jsonw *w, const char *key, int64_t n) {
    weir_jsonw_key(w, key);
    if (n >= 0)
        weir_jsonw_i64(w, n);
    else
        weir_jsonw_null(w);
}

static bool put_result(struct weir_leg *leg, const struct weir_output *item,
                       struct weir_span params) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_OUT_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "disaggregated_params");
    weir_jsonw_raw(&w, params);
    weir_jsonw_key(&w, "prompt_tokens_details");
    if (item->cached_tokens >= 0 || item->audio_tokens >= 0) {
        weir_jsonw_object_begin(&w);
        put_count(&w, "audio_tokens", item->audio_tokens);
        put_count(&w, "cached_tokens", item->cached_tokens);
        weir_jsonw_object_end(&w);
    } else {
        weir_jsonw_null(&w);
    }
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        leg->disagg.result = weir_arena_copy(&leg->request->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return leg->disagg.result.data != NULL;
}

/* The parameters come as bytes of the worker's codec; the decode worker may speak the other. */
static bool keep_result(struct weir_leg *leg, const struct weir_output *item) {
    struct weir_buf json;
    if (leg->disagg.codec == WEIR_CODEC_JSON)
        return put_result(leg, item, item->disaggregated_params);
    weir_buf_init(&json, WEIR_OUT_MAX);
    bool ok = weir_mp_to_json(item->disaggregated_params, &json) == WEIR_OK &&
              put_result(leg, item, weir_buf_span(&json));
    weir_buf_fini(&json);
    return ok;
}

/* A connection of the pool broke before the worker said that it has the prompt. Whether it has or
 * not: nothing was shown to the client yet, and a prompt may be computed twice. So the worker is
 * asked again, once, over a new connection. */
static bool ask_again(struct weir_leg *leg, const struct weir_plane_end *end) {
    struct weir_disagg *d = &leg->disagg;
    bool broke = strcmp(end->stage, "stale") == 0 || strcmp(end->stage, "unacked") == 0 ||
                 (strcmp(end->stage, "ack") == 0 && end->status == WEIR_DISCONNECTED);
    if (!broke || d->resent || leg->request->answered || leg->state != WEIR_LEG_RUNNING ||
        (d->state == WEIR_DISAGG_BOTH && leg->first_item))
        return false;
    weir_disagg_release(leg);
    d->resent = true;
    d->state = WEIR_DISAGG_NEW;
    weir_leg_restart(leg);
    return true;
}

/* The attempt has failed: another worker, or one worker for all, or the end of the request. */
static void go_on(struct weir_leg *leg, const struct weir_wire_error *error, const char *why,
                  bool untouched) {
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    bool was_both = d->state == WEIR_DISAGG_BOTH;
    WEIR_LOG(WEIR_LOG_DEBUG, "disagg", "%s: prefill worker %s failed: %s", r->uuid,
             weir_worker_text(d->worker_id).s, why);
    weir_disagg_release(leg);
    if (r->answered || leg->state != WEIR_LEG_RUNNING || (was_both && leg->first_item))
        return; /* decode has what it needs, or tells itself that it has not */
    if (error != NULL && !error->migratable && error->http_status < 500) {
        weir_leg_fail_worker(leg, error);
        return;
    }
    if (weir_disagg_failed(leg, untouched) && weir_disagg_alone(leg, why))
        return;
    weir_leg_restart(leg);
}

static void on_item(void *arg, const struct weir_output *item) {
    struct weir_leg *leg = arg;
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    if (item->is_error) {
        struct weir_wire_error e = item->error;
        weir_plane_call_cancel(d->call, false);
        d->call = NULL;
        go_on(leg, &e, "it answered with an error", false);
        return;
    }
    if (!item->has_output)
        return;
    if (item->cached_tokens >= 0 && leg->cached_tokens < 0) {
        leg->cached_tokens = item->cached_tokens;
        leg->cached_by_prefill = true;
        weir_metric_observe(weir_model_info(r->model)->metrics.cached_tokens,
                            (double)item->cached_tokens);
    }
    if (item->audio_tokens >= 0)
        leg->audio_tokens = item->audio_tokens;
    weir_router_prefill_done(weir_prefill_pool_router(d->pool), d->booking);
    if (d->state == WEIR_DISAGG_PREFILL && item->disaggregated_params.data != NULL &&
        !keep_result(leg, item))
        WEIR_LOG(WEIR_LOG_WARN, "disagg",
                 "%s: the transfer parameters of prefill worker %s cannot be read", r->uuid,
                 weir_worker_text(d->worker_id).s);
}

static void on_end(void *arg, const struct weir_plane_end *end) {
    struct weir_leg *leg = arg;
    struct weir_request *r = leg->request;
    struct weir_disagg *d = &leg->disagg;
    struct weir_plane_end e = *end;
    d->call = NULL;
    if (ask_again(leg, &e))
        return;
    if (e.inhibit)
        weir_router_worker_failed(weir_prefill_pool_router(d->pool), d->worker_id,
                                  weir_loop_now_ms(r->fl->loop));
    if (e.status != WEIR_OK) {
        go_on(leg, &e.error, e.stage, strcmp(e.stage, "connect") == 0);
    } else if (d->state == WEIR_DISAGG_PREFILL && d->result.data == NULL) {
        go_on(leg, NULL, "its answer has no transfer parameters", false);
    } else {
        weir_disagg_release(leg);
        if (d->state != WEIR_DISAGG_PREFILL)
            return;
        d->state = WEIR_DISAGG_DONE;
        weir_leg_start(leg);
    }
}
