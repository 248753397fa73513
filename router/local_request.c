/*
 * A request to `generate`. Happy path: hash → route and book → send → first item ends the prefill
 * load → items pass as they came → the end frees the booking. Failure modes: no worker or all busy
 * (refused), a worker that fails before its first item in a way that another may cure (the next
 * best one gets the request), a failure behind it (passed on). The request lives until on_done.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kvindex/kvi.h"
#include "router/local_priv.h"
#include "runtime/relay.h"
#include "wire/record.h"

#include <math.h>
#include <string.h>

enum { MAX_TRIED = 16, BODY_MAX = 1 << 30, DEPTH = 16 };

struct request {
    struct weir_relay relay;
    struct weir_local *local;
    const struct weir_prep_request *prep; /* borrowed: until on_done */
    struct weir_local_hashes hashes;
    struct weir_route_override override;
    uint64_t booking, worker_id;
    uint64_t tried[MAX_TRIED];
    unsigned n_tried;
};

/* ---- what queries share ------------------------------------------------------------------- */

/* Tokens that say all of what their blocks hold. Of a prompt with media only the frontend knows
 * them: those that it names for routing, else none. */
static struct weir_ids known_ids(const struct weir_prep_request *req) {
    if (req->mm_routing_ids.ids != NULL)
        return req->mm_routing_ids;
    bool more = req->media.n > 0 || req->mm_routing_info.data != NULL;
    return more ? (struct weir_ids){NULL, 0} : req->token_ids;
}

size_t weir_local_isl(const struct weir_prep_request *req) {
    return req->mm_routing_ids.ids != NULL ? req->mm_routing_ids.n : req->token_ids.n;
}

bool weir_local_hash(const struct weir_local *l, const struct weir_prep_request *req,
                     struct weir_local_hashes *ret) {
    struct weir_ids ids = known_ids(req);
    struct weir_span lora = req->routing.lora_name, salt = req->routing.cache_salt;
    size_t n = kvi_block_count(ids.n, l->block_size, l->eagle);
    uint64_t seed = kvi_seed(lora.data, lora.len, salt.data, salt.len);
    ret->local = weir_calloc(n + 1, 2 * sizeof(*ret->local));
    if (ret->local == NULL)
        return false;
    ret->sequence = ret->local + n;
    ret->n = kvi_hash_and_chain(ids.ids, ids.n, l->block_size, seed, l->eagle, ret->local,
                                ret->sequence, n);
    return true;
}

static bool read_flag(struct weir_json *j, int *ret) {
    bool v = false;
    if (weir_json_peek(j) == WEIR_JSON_NULL)
        return weir_json_null(j);
    bool ok = weir_json_bool(j, &v);
    *ret = v;
    return ok;
}

static bool read_number(struct weir_json *j, double *ret) {
    return weir_json_peek(j) == WEIR_JSON_NULL ? weir_json_null(j) : weir_json_f64(j, ret);
}

bool weir_local_override(struct weir_span json, struct weir_route_override *ret) {
    struct weir_json j;
    struct weir_json_str key;
    double legacy = NAN;
    *ret = (struct weir_route_override){NAN, NAN, NAN, -1, -1};
    if (json.data == NULL)
        return true;
    weir_json_init(&j, json, DEPTH);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "overlap_score_credit"))
                read_number(&j, &ret->overlap_score_credit);
            else if (weir_json_str_eqz(key, "prefill_load_scale"))
                read_number(&j, &ret->prefill_load_scale);
            else if (weir_json_str_eqz(key, "overlap_score_weight"))
                read_number(&j, &legacy);
            else if (weir_json_str_eqz(key, "router_temperature"))
                read_number(&j, &ret->temperature);
            else if (weir_json_str_eqz(key, "assume_kv_reuse"))
                read_flag(&j, &ret->assume_kv_reuse);
            else if (weir_json_str_eqz(key, "track_prefill_tokens"))
                read_flag(&j, &ret->track_prefill_tokens);
            else
                weir_json_skip(&j, NULL);
        }
    if (!isnan(legacy)) {
        ret->prefill_load_scale = legacy;
        if (legacy == 0)
            ret->overlap_score_credit = 0;
    }
    return weir_json_finish(&j);
}

/* ---- routing ------------------------------------------------------------------------------ */

static enum weir_status route(struct request *q, struct weir_route *ret) {
    struct weir_local *l = q->local;
    const struct weir_routing_hints *h = &q->prep->routing;
    struct weir_route_query query = {.local_hashes = q->hashes.local,
                                     .sequence_hashes = q->hashes.sequence,
                                     .n_blocks = q->hashes.n,
                                     .isl_tokens = weir_local_isl(q->prep),
                                     .pinned_rank = -1,
                                     .adapter = weir_local_adapter(l, h->lora_name),
                                     .exclude = q->tried,
                                     .n_exclude = q->n_tried,
                                     .override = &q->override,
                                     .request_id = weir_plane_request_id(q->relay.caller),
                                     .rng = weir_loop_rng(l->service.loop),
                                     .now_ms = weir_loop_now_ms(l->service.loop)};
    /* A router in front may have filled in an instance of its own, and a rank of that; both mean
     * something here only when the instance is one of ours. */
    if (h->has_backend_instance_id && weir_local_find(l, h->backend_instance_id) != NULL) {
        query.has_pinned_worker = true;
        query.pinned_worker = h->backend_instance_id;
        query.pinned_rank = h->dp_rank;
    }
    return weir_router_route(l->router, &query, ret);
}

static void release(struct request *q) {
    if (q->booking != 0)
        weir_router_free(q->local->router, q->booking);
    q->booking = 0;
}

static enum weir_status send(struct request *q, const struct weir_local_worker *w,
                             uint32_t dp_rank) {
    struct weir_prep_request p = *q->prep;
    struct weir_buf body;
    p.routing.set = true;
    p.routing.dp_rank = dp_rank;
    weir_buf_init(&body, BODY_MAX);
    enum weir_status st = weir_prep_request_encode(&p, q->relay.codec, &body);
    if (st == WEIR_OK)
        st = weir_relay_send(&q->relay, weir_span_z(w->records.address), &body);
    weir_buf_fini(&body);
    return st;
}

/* Until a worker has the request: WEIR_OK. */
static enum weir_status dispatch(struct request *q) {
    for (;;) {
        struct weir_route chosen;
        enum weir_status st = route(q, &chosen);
        if (st != WEIR_OK)
            return st;
        q->booking = chosen.booking;
        q->worker_id = chosen.worker_id;
        const struct weir_local_worker *w = weir_local_find(q->local, chosen.worker_id);
        st = w != NULL ? send(q, w, chosen.dp_rank) : WEIR_UNAVAILABLE;
        if (st == WEIR_OK || st == WEIR_TOO_LARGE || st == WEIR_NOMEM) {
            if (st != WEIR_OK)
                release(q);
            return st;
        }
        release(q);
        if (q->n_tried == MAX_TRIED)
            return WEIR_UNAVAILABLE;
        q->tried[q->n_tried++] = chosen.worker_id;
    }
}

static void refuse(struct request *q, enum weir_status st) {
    struct weir_wire_error error = {
        .status = st,
        .http_status = weir_status_http(st),
        .message = weir_span_z(st == WEIR_OVERLOADED    ? "all workers are busy"
                               : st == WEIR_UNAVAILABLE ? "no worker can take the request"
                                                        : weir_status_text(st))};
    weir_metric_inc(q->local->metrics.rejected);
    weir_relay_refuse(&q->relay, &error);
}

/* ---- the answer --------------------------------------------------------------------------- */

static void on_first_item(void *arg) {
    struct request *q = arg;
    weir_router_prefill_done(q->local->router, q->booking);
}

static bool on_failed(void *arg, const struct weir_wire_error *error, const char *stage) {
    struct request *q = arg;
    struct weir_local *l = q->local;
    release(q);
    WEIR_LOG(WEIR_LOG_DEBUG, "router", "worker %s failed at %s: %.*s",
             weir_worker_text(q->worker_id).s, stage, WEIR_SPAN_ARG(error->message));
    if (weir_relay_again(&q->relay, stage))
        return dispatch(q) == WEIR_OK;
    if (!error->migratable || q->n_tried == MAX_TRIED)
        return false;
    if (error->http_status == 503 || error->http_status == 504)
        weir_router_worker_failed(l->router, q->worker_id, weir_loop_now_ms(l->service.loop));
    q->tried[q->n_tried++] = q->worker_id;
    if (dispatch(q) != WEIR_OK)
        return false;
    weir_metric_inc(l->metrics.moved);
    return true;
}

static void on_over(void *arg, enum weir_status status) {
    struct request *q = arg;
    release(q);
    if (status != WEIR_OK && status != WEIR_CANCELLED)
        weir_metric_inc(q->local->metrics.failed);
}

static const struct weir_relay_ops relay_ops = {on_first_item, on_failed, on_over};

/* ---- beginning and end -------------------------------------------------------------------- */

static void on_request(void *arg, struct weir_plane_request *r,
                       const struct weir_prep_request *req) {
    struct weir_local *l = arg;
    weir_metric_inc(l->metrics.requests);
    if (l->router == NULL) {
        weir_metric_inc(l->metrics.rejected);
        weir_plane_reply_refuse_text(r, WEIR_UNAVAILABLE, "no worker has joined this router yet");
        return;
    }
    struct request *q = weir_calloc(1, sizeof(*q));
    if (q == NULL || !weir_local_hash(l, req, &q->hashes)) {
        weir_free(q);
        weir_plane_reply_refuse_text(r, WEIR_NOMEM, "the router is out of memory");
        return;
    }
    q->local = l;
    q->prep = req;
    weir_plane_request_set_user(r, q);
    weir_relay_init(&q->relay, l->service.client, r, &relay_ops, q);
    enum weir_status st =
        weir_local_override(req->router_config_override, &q->override) ? dispatch(q) : WEIR_INVALID;
    if (st != WEIR_OK)
        refuse(q, st);
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
    weir_free(q->hashes.local);
    weir_free(q);
}

const struct weir_plane_handler weir_local_generate = {on_request, on_cancel, on_done};
