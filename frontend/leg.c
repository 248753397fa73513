/*
 * Happy path: route (books the load) → encode → send → items → end.
 * Failure modes: no worker, all busy, a worker that cannot be reached or breaks off. A failure
 * before the worker took the request costs nothing and goes to another worker, up to WEIR_MAX_TRIED
 * of them and FREE_MS, as workers that died stay listed for a while. One whose connection ends
 * before it says so is passed over too, once a leg. A failure behind that point counts against
 * --migration-limit, and what was generated is sent along: the answer goes on.
 */
#include "base/log.h"
#include "frontend/request_priv.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { FREE_MS = 15000 }; /* three connects that time out */

static void on_item(void *arg, const struct weir_output *item);
static size_t on_tokens(void *arg, const uint32_t *ids, size_t n);
static void on_end(void *arg, const struct weir_plane_end *end);
static const struct weir_plane_call_ops call_ops = {
    .on_item = on_item, .on_tokens = on_tokens, .on_end = on_end};
static const struct weir_plane_call_ops vectors_ops = {.on_wrapper = weir_embeddings_wrapper,
                                                       .on_end = on_end};

static void release(struct weir_leg *leg) {
    weir_router_free(weir_model_info(leg->request->model)->router, leg->booking);
    leg->booking = 0;
}

static void end_migration(struct weir_leg *leg, bool success) {
    struct weir_request *r = leg->request;
    if (leg->moved_ns == 0)
        return;
    weir_front_observe_migration(r->fl->app->metrics, weir_model_info(r->model)->name,
                                 leg->moved_ongoing, success,
                                 (double)(weir_now_ns() - leg->moved_ns) / 1e9);
    leg->moved_ns = 0;
}

void weir_leg_stop(struct weir_leg *leg, bool graceful) {
    weir_deferred_cancel(&leg->finish);
    if (leg->call != NULL)
        weir_plane_call_cancel(leg->call, graceful);
    leg->call = NULL;
    weir_disagg_stop(leg);
    if (leg->relay != NULL)
        weir_relay_stop(leg->relay);
    if (leg->booking != 0)
        release(leg);
    weir_wait_stop(&leg->wait);
    weir_wait_stop(&leg->disagg.wait);
    end_migration(leg, false); /* one that found no worker, or came to nothing else */
    leg->state = WEIR_LEG_DONE;
}

/* ---- sending ------------------------------------------------------------------------------- */

enum weir_status weir_leg_fill(struct weir_leg *leg, struct weir_prep_request *ret) {
    struct weir_request *r = leg->request;
    const struct weir_model_info *info = weir_model_info(r->model);
    struct weir_prep_request p = r->q.prep;
    p.token_ids = leg->prompt;
    if (info->lora.len > 0) {
        p.routing.set = true;
        p.routing.lora_name = info->lora;
    }
    size_t n = leg->emitted.len / sizeof(uint32_t);
    if (n > 0) {
        uint32_t *ids = weir_arena_alloc(&r->arena, (leg->prompt.n + n) * sizeof(*ids));
        if (ids == NULL)
            return WEIR_NOMEM;
        memcpy(ids, leg->prompt.ids, leg->prompt.n * sizeof(*ids));
        memcpy(ids + leg->prompt.n, leg->emitted.data, leg->emitted.len);
        p.token_ids = (struct weir_ids){ids, leg->prompt.n + n};
        if (p.stop.max_tokens > 0) /* a leg with nothing left to generate does not move */
            p.stop.max_tokens -= (int64_t)n;
        if (p.stop.min_tokens > 0)
            p.stop.min_tokens = p.stop.min_tokens > (int64_t)n ? p.stop.min_tokens - (int64_t)n : 0;
    }
    *ret = p;
    return WEIR_OK;
}

static enum weir_status put_body(void *arg, enum weir_codec codec, struct weir_buf *out) {
    struct weir_leg *leg = arg;
    struct weir_request *r = leg->request;
    struct weir_prep_request p;
    if (r->embeddings != NULL)
        return weir_embeddings_put_body(leg, codec, out);
    enum weir_status st = weir_leg_fill(leg, &p);
    if (st != WEIR_OK)
        return st;
    if (weir_model_info(r->model)->router != NULL && leg->booking != 0) {
        p.routing.set = true;
        p.routing.dp_rank = leg->dp_rank;
    }
    weir_disagg_fill(leg, &p);
    return weir_prep_request_encode_like(&r->fl->prep, &p, codec, out);
}

static enum weir_status send(struct weir_leg *leg, const struct weir_model_worker *worker) {
    struct weir_request *r = leg->request;
    struct weir_plane_call_config c = {.address = weir_span_z(worker->address),
                                       .request_id = weir_leg_id(leg),
                                       .codec = worker->codec,
                                       .put_body = put_body,
                                       .body_arg = leg,
                                       .traceparent = r->traceparent,
                                       .metadata = r->metadata,
                                       .fresh = leg->resent,
                                       .item_ms = r->fl->app->item_ms};
    leg->sent_ns = weir_now_ns();
    leg->codec = worker->codec;
    enum weir_status st = weir_plane_call_start(
        r->fl->plane, &c, r->embeddings != NULL ? &vectors_ops : &call_ops, leg, &leg->call);
    /* It moves, or its turn has come, while the client takes nothing of the other legs' answers. */
    if (st == WEIR_OK && r->paused)
        weir_plane_call_pause(leg->call);
    return st;
}

/* The client wants to know the worker and sends the prompt there itself. */
static void answer_choice(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    enum weir_status st = weir_leg_route(leg);
    if (st != WEIR_OK) {
        weir_leg_fail_route(leg, st);
        return;
    }
    leg->state = WEIR_LEG_DONE;
    if (r->q.stream && weir_output_choice_made(leg) != WEIR_OK)
        weir_request_fail_memory(r);
    else
        weir_request_leg_over(r);
}

void weir_leg_start(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    struct weir_model_worker worker;
    leg->state = WEIR_LEG_RUNNING;
    const struct weir_pool_config *pools = r->fl->app->pools;
    if (pools != NULL &&
        !weir_leg_pool_choose(leg, &leg->pool, weir_pool_config_set(pools, false))) {
        weir_leg_fail_route(leg, WEIR_UNAVAILABLE);
        return;
    }
    if (weir_request_only_asks(r)) {
        answer_choice(leg);
        return;
    }
    if ((r->embeddings == NULL && weir_disagg_begin(leg)) || weir_leg_waits(leg))
        return;
    for (;;) {
        enum weir_status st = weir_leg_route(leg);
        if (st != WEIR_OK) {
            weir_leg_fail_route(leg, st);
            return;
        }
        /* The worker may have left between the choice and now. */
        if (weir_model_worker(r->model, leg->worker_id, &worker)) {
            st = send(leg, &worker);
            if (st == WEIR_OK)
                return;
            if (st == WEIR_TOO_LARGE || st == WEIR_NOMEM) {
                release(leg);
                leg->state = WEIR_LEG_DONE;
                weir_request_fail(
                    r, st == WEIR_NOMEM ? 503 : 413,
                    st == WEIR_NOMEM
                        ? WEIR_SPAN_LIT("Service temporarily unavailable")
                        : WEIR_SPAN_LIT("The prompt is larger than the request plane's "
                                        "message limit (DYN_TCP_MAX_MESSAGE_SIZE, or max_payload "
                                        "of the NATS server)"),
                    st == WEIR_NOMEM ? "unavailable" : "validation");
                return;
            }
        }
        release(leg);
        if (leg->n_tried == WEIR_MAX_TRIED) {
            weir_leg_fail_route(leg, WEIR_UNAVAILABLE);
            return;
        }
        leg->tried[leg->n_tried++] = leg->worker_id;
    }
}

void weir_leg_restart(struct weir_leg *leg) {
    if (leg->call != NULL)
        weir_plane_call_cancel(leg->call, false);
    leg->call = NULL;
    if (leg->booking != 0)
        release(leg);
    weir_wait_stop(&leg->wait); /* it comes again, with another query */
    weir_leg_start(leg);
}

/* ---- items and the end --------------------------------------------------------------------- */

static size_t n_emitted(const struct weir_leg *leg) {
    return leg->emitted.len / sizeof(uint32_t);
}

/* What another worker would need is kept: one choice (the ids of several would mix), no grammar
 * (its state cannot be moved), and attempts left. */
static bool may_migrate(const struct weir_leg *leg) {
    return leg->moves < leg->request->fl->app->migration_limit && leg->n_tried < WEIR_MAX_TRIED &&
           leg->n_choices == 1 && leg->request->q.prep.sampling.guided_decoding.data == NULL;
}

/* Out of memory ends the chance to move, not the stream. */
void weir_leg_keep_ids(struct weir_leg *leg, struct weir_ids ids) {
    bool asked = (leg->request->q.extras & WEIR_EXTRA_TOKEN_IDS) != 0;
    if (!asked && !may_migrate(leg))
        return;
    if (weir_buf_append(&leg->emitted, ids.ids, ids.n * sizeof(uint32_t)) != WEIR_OK)
        leg->moves = UINT_MAX;
}

static void first_item(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    leg->first_item = true;
    leg->ttft_s = (double)(weir_loop_event_ns(r->fl->loop) - leg->sent_ns) / 1e9;
    weir_front_observe_first_item(r->fl->app->metrics, leg->ttft_s, weir_leg_is_kv(leg));
    end_migration(leg, true);
    weir_router_prefill_done(weir_model_info(r->model)->router, leg->booking);
}

/* The status of a worker's own failure, where no other says it better. */
static struct weir_span backend_status(struct weir_request *r, int status) {
    char text[48];
    int n = snprintf(text, sizeof(text), "{\"backend_status\":%d}", status);
    return weir_arena_copy(&r->arena, weir_span(text, (size_t)n));
}

void weir_leg_fail_worker(struct weir_leg *leg, const struct weir_wire_error *e) {
    struct weir_request *r = leg->request;
    int status = e->http_status == 529   ? r->fl->app->overload_status
                 : e->http_status == 422 ? 400 /* as everywhere in the reference system */
                                         : e->http_status;
    bool own = e->http_status >= 500 && e->http_status <= 502;
    if (own && leg->n_tokens == 0 && !r->committed && r->embeddings == NULL) {
        status = 500;
        r->details = backend_status(r, e->backend_status > 0 ? e->backend_status : e->http_status);
    }
    struct weir_span text = e->public_text;
    if (text.len == 0)
        text = e->http_status == 529   ? WEIR_SPAN_LIT("Service temporarily overloaded")
               : e->http_status == 503 ? WEIR_SPAN_LIT("Service temporarily unavailable")
               : e->http_status == 504 ? WEIR_SPAN_LIT("Request deadline exceeded")
               : e->http_status >= 500 ? WEIR_SPAN_LIT("Internal server error")
               : e->message.len > 0    ? e->message
                                       : WEIR_SPAN_LIT("Invalid request");
    weir_request_fail(r, status, weir_arena_copy(&r->arena, text),
                      weir_request_error_type(e->http_status));
}

/* What the worker counts of a prompt that it was sent as ids. */
static void check_count(struct weir_leg *leg, const struct weir_output *item) {
    struct weir_request *r = leg->request;
    if (leg->counted || !item->has_usage || item->prompt_tokens <= 0)
        return;
    leg->counted = true;
    if (leg->moves > 0 || r->q.n > 1 || r->q.prep.media.n > 0) /* media become tokens there */
        return;
    struct weir_parity_count count = {
        .ours = leg->prompt.n, .theirs = (uint64_t)item->prompt_tokens, .sent_ids = true};
    weir_model_parity_count(r->model, leg->worker_id, &count, weir_span(NULL, 0));
}

static void on_item(void *arg, const struct weir_output *item) {
    struct weir_leg *leg = arg;
    struct weir_request *r = leg->request;
    /* The answer is whole: it ends at the end of this turn (below), and once. */
    if (leg->n_open == 0 &&
        (item->is_error || !item->has_output || item->finish == WEIR_FINISH_ERROR))
        return;
    if (item->is_error) {
        struct weir_wire_error e = item->error;
        weir_leg_fail_worker(leg, &e);
        return;
    }
    if (!item->has_output) {
        if (weir_output_annotation(leg, item) != WEIR_OK && !r->answered)
            weir_request_fail(r, 500, WEIR_SPAN_LIT("Internal server error"), "internal");
        return;
    }
    if (item->finish == WEIR_FINISH_ERROR) {
        /* What it says of itself counts as long as nothing of the answer is there. */
        struct weir_wire_error e = {.status = WEIR_INTERNAL, .http_status = 500};
        if (leg->n_tokens == 0)
            e = item->error;
        weir_leg_fail_worker(leg, &e);
        return;
    }
    if (!leg->first_item && item->token_ids.n > 0)
        first_item(leg);
    check_count(leg, item);
    enum weir_status st = weir_output_item(leg, item);
    if (st != WEIR_OK && !r->answered) {
        weir_request_fail(r, 500, WEIR_SPAN_LIT("Internal server error"), "internal");
        return;
    }
    /* All choices have ended. The worker's own end is mostly in the same read: it is waited for
     * until the end of this turn, so that a worker that has finished is not told to stop. */
    if (leg->n_open == 0 && leg->state == WEIR_LEG_RUNNING)
        weir_loop_defer(r->fl->loop, &leg->finish);
}

/* Nearly all items of a stream: what is left of on_item() for them. */
static size_t on_tokens(void *arg, const uint32_t *ids, size_t n) {
    struct weir_leg *leg = arg;
    struct weir_request *r = leg->request;
    enum weir_status st = WEIR_OK;
    size_t taken = leg->first_item ? weir_output_tokens(leg, ids, n, &st) : 0;
    if (taken > 0)
        weir_leg_keep_ids(leg, (struct weir_ids){ids, taken});
    if (st != WEIR_OK && !r->answered)
        weir_request_fail(r, 500, WEIR_SPAN_LIT("Internal server error"), "internal");
    return taken;
}

static void on_finish(void *arg) {
    struct weir_leg *leg = arg;
    end_migration(leg, true);
    weir_leg_stop(leg, true);
    weir_request_leg_over(leg->request);
}

void weir_leg_init(struct weir_leg *leg, struct weir_request *r) {
    leg->request = r;
    leg->cached_tokens = leg->audio_tokens = leg->counted_prompt = -1;
    weir_buf_init(&leg->emitted, WEIR_OUT_MAX);
    weir_deferred_init(&leg->finish, on_finish, leg);
    weir_wait_init(&leg->wait, leg, false);
    weir_wait_init(&leg->disagg.wait, leg, true);
}

static bool too_long_to_move(const struct weir_leg *leg) {
    const struct weir_request *r = leg->request;
    int64_t most = r->fl->app->options.migration_max_seq_len;
    if (most == WEIR_CONFIG_NONE || (int64_t)(leg->prompt.n + n_emitted(leg)) <= most)
        return false;
    weir_front_count_migration_too_long(r->fl->app->metrics, weir_model_info(r->model)->name);
    return true;
}

bool weir_leg_may_pass_over(struct weir_leg *leg, uint64_t sent_ns) {
    leg->lost_ns += weir_now_ns() - sent_ns;
    return leg->lost_ns < (uint64_t)FREE_MS * 1000000;
}

/* A failure that another worker may cure: true when the leg goes on there. */
static bool move_on(struct weir_leg *leg, const struct weir_plane_end *end) {
    struct weir_request *r = leg->request;
    int64_t max_tokens = r->q.prep.stop.max_tokens;
    bool pinned =
        r->q.prep.routing.has_backend_instance_id || r->q.prep.routing.has_decode_worker_id;
    bool stale = !leg->first_item && strcmp(end->stage, "stale") == 0;
    bool untouched =
        !leg->first_item && (strcmp(end->stage, "connect") == 0 || stale ||
                             (strcmp(end->stage, "ack") == 0 && end->status != WEIR_TIMEOUT &&
                              end->status != WEIR_DISCONNECTED));
    /* Gone before it said that it has the request: mostly one that leaves just now. It may also
     * have died of the request, so one more worker is asked at no cost, not all of them. */
    bool gone = !leg->first_item && !leg->passed_on && strcmp(end->stage, "unacked") == 0;
    /* The worker had closed a connection of the pool: it is asked again, over a new one. */
    if (stale && !leg->resent) {
        leg->resent = true;
        weir_disagg_again(leg, true);
        return true;
    }
    if (!end->error.migratable || pinned || leg->n_tried == WEIR_MAX_TRIED)
        return false;
    if ((untouched || gone) && weir_leg_may_pass_over(leg, leg->sent_ns)) {
        leg->passed_on = leg->passed_on || gone;
        leg->tried[leg->n_tried++] = leg->worker_id;
        weir_disagg_again(leg, true);
    } else if (may_migrate(leg) && !too_long_to_move(leg) &&
               (max_tokens <= 0 || (int64_t)n_emitted(leg) < max_tokens)) {
        leg->tried[leg->n_tried++] = leg->worker_id;
        leg->moves++;
        weir_disagg_again(leg, false);
        end_migration(leg, false); /* of the one before */
        leg->moved_ns = weir_now_ns();
        leg->moved_ongoing = n_emitted(leg) > 0;
        weir_front_count_migration(r->fl->app->metrics, weir_model_info(r->model)->name,
                                   leg->moved_ongoing);
    } else {
        return false;
    }
    leg->first_item = false; /* the next worker's is still to come */
    leg->refused_full = end->status == WEIR_OVERLOADED;
    return true;
}

/* The worker has given fewer choices than were asked for, each of them whole: some engines know
 * nothing of n, and the client gets what there is. */
static bool fewer_given(const struct weir_leg *leg) {
    for (unsigned k = 0; k < leg->n_choices; k++) {
        if (leg->choices[k].finish == NULL && leg->choices[k].n_tokens > 0)
            return false;
    }
    return leg->n_open < leg->n_choices;
}

static void on_end(void *arg, const struct weir_plane_end *end) {
    struct weir_leg *leg = arg;
    struct weir_request *r = leg->request;
    struct weir_plane_end e = *end;
    leg->call = NULL;
    release(leg);
    /* A stream that breaks off behind the last finish reason has ended well for the client. */
    bool finished =
        leg->n_choices > 0 && (leg->n_open == 0 || (e.status == WEIR_OK && fewer_given(leg)));
    if (r->embeddings != NULL)
        finished = e.status == WEIR_OK && weir_embeddings_whole(r);
    weir_deferred_cancel(&leg->finish);
    if (finished) {
        end_migration(leg, true);
        leg->state = WEIR_LEG_DONE;
        weir_request_leg_over(r);
        return;
    }
    /* An end without a finish reason is an answer cut short, whatever the worker says. */
    if (e.status == WEIR_OK)
        e = (struct weir_plane_end){
            .status = WEIR_PROTOCOL,
            .error = {.status = WEIR_PROTOCOL, .http_status = 500, .migratable = true},
            .stage = "stream"};
    if (e.inhibit)
        weir_router_worker_failed(weir_model_info(r->model)->router, leg->worker_id,
                                  weir_loop_now_ms(r->fl->loop));
    WEIR_LOG(WEIR_LOG_DEBUG, "request", "%s: worker %llu failed at %s: %s", r->uuid,
             (unsigned long long)leg->worker_id, e.stage, weir_status_text(e.status));
    if (r->answered)
        return;
    if (move_on(leg, &e)) {
        weir_leg_start(leg);
        return;
    }
    leg->state = WEIR_LEG_DONE;
    weir_leg_fail_worker(leg, &e.error); /* and a migration with it */
}
