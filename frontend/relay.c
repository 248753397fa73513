/*
 * A request to an HTTP engine. Happy path: tokens (from our tokenizer, or asked of an engine) →
 * hashes → route (books the load) → the client's body to the engine, same path → a stream passes
 * frame by frame, any other answer is gathered and given with its length → end.
 *
 * Failure modes, before the first byte has gone to the client: an engine that cannot be reached, or
 * breaks off, or says 503, is left for another one, as often as relay_retry.h says; when none is
 * left its 503 or our own answers. Afterwards: an error event and [DONE]. What an engine answers
 * else, errors too, is the answer. An engine that has left may be cut off or hang: a call that gets
 * nothing from it any more ends too. The client's leaving closes the connection to the engine,
 * which ends the request there at once.
 * A request of another API goes as the chat that it stands for: relay_translated.c.
 */
#include "base/json.h"
#include "base/log.h"
#include "frontend/relay_body.h"
#include "frontend/relay_priv.h"
#include "frontend/relay_scan.h"
#include "kvindex/kvi.h"
#include "wire/record.h"

#include <stdio.h>
#include <string.h>

enum { FRAME_MAX = 4 << 20, ANSWER_MAX = 256 << 20, END_MS = 1000 };

/* Of WEIR_RELAY_BREAKS engines. */
#define BREAKS "broke off while they had this request; it is not sent to a third"

static void start_call(struct weir_leg *leg);
static void on_silence(void *arg);

static struct weir_request *request_of(const struct weir_relay *y) {
    return y->leg->request;
}

void weir_relay_drop_call(struct weir_relay *y) {
    if (y->call != NULL)
        weir_http_call_cancel(y->call);
    y->call = NULL;
    weir_timer_stop(&y->silence);
    weir_relay_pool_release(&y->user);
}

void weir_relay_stop(struct weir_relay *y) {
    weir_relay_drop_call(y);
    weir_relay_scan_fini(&y->scan);
    weir_buf_fini(&y->answer);
    weir_arena_fini(&y->scratch);
}

void weir_relay_pause(struct weir_relay *y, bool pause) {
    if (y->call == NULL)
        return;
    if (pause)
        weir_http_call_pause(y->call);
    else
        weir_http_call_resume(y->call);
}

void weir_relay_fail(struct weir_leg *leg, int status, const char *text) {
    leg->state = WEIR_LEG_DONE;
    /* What an engine has broken over, or answered wrongly, would break the next one. A 502 that an
     * engine answers, or what stands before it, is not of this kind. */
    if (status == 502)
        leg->request->retry_after_s = WEIR_RETRY_NEVER;
    weir_request_fail(leg->request, status, weir_span_z(text), weir_request_error_type(status));
}

void weir_relay_release(struct weir_leg *leg) {
    weir_router_free(weir_model_info(leg->request->model)->router, leg->booking);
    leg->booking = 0;
}

/* ---- counting ----------------------------------------------------------------------------- */

static void first_data(struct weir_relay *y) {
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    uint64_t now = weir_now_ns();
    leg->first_item = true;
    r->first_token_ns = now;
    leg->ttft_s = (double)(now - leg->sent_ns) / 1e9;
    weir_front_observe_stage(r->fl->app->metrics, WEIR_FRONT_ROUNDTRIP, leg->ttft_s);
    if (!weir_embeddings_observe(r, now))
        weir_metric_observe(m->ttft, (double)(now - r->start_ns) / 1e9);
    if (r->queued)
        weir_metric_dec(m->queued);
    r->queued = false;
    weir_router_prefill_done(weir_model_info(r->model)->router, leg->booking);
}

/* Gaps between events: engines write one for each step. */
static void count_frames(struct weir_relay *y, uint64_t n) {
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    uint64_t now = weir_now_ns();
    if (n == 0)
        return;
    if (!leg->first_item) {
        first_data(y);
    } else if (leg->last_token_ns > 0) {
        double gap = (double)(now - leg->last_token_ns) / 1e9 / (double)n;
        r->itl_sum += gap * (double)n;
        r->itl_n += n;
        weir_metric_observe_n(weir_model_info(r->model)->metrics.itl, gap, n);
    }
    leg->last_token_ns = now;
}

/* The engine's count of a prompt that both sides have rendered and tokenized, beside ours. Where
 * only one of them can be compared (ids, several prompts or choices, images) nothing is. */
static void check_count(const struct weir_relay *y) {
    const struct weir_leg *leg = y->leg;
    const struct weir_request *r = leg->request;
    const struct weir_openai_request *q = &r->q;
    bool text = q->kind == WEIR_OPENAI_CHAT
                    ? !q->has_token_data
                    : q->n_prompts == 1 && q->prompts[0].kind == WEIR_PROMPT_TEXT;
    if (weir_model_info(r->model)->tok == NULL || r->opaque || q->has_media || q->n != 1 || !text ||
        leg->prompt.ids == NULL || leg->prompt.n == 0 || y->scan.prompt_tokens <= 0 ||
        y->status != 200)
        return;
    struct weir_parity_count count = {.ours = leg->prompt.n,
                                      .theirs = (uint64_t)y->scan.prompt_tokens,
                                      .chat = q->kind == WEIR_OPENAI_CHAT,
                                      .tools = q->tools.data != NULL};
    weir_model_parity_count(r->model, leg->worker_id, &count, weir_relay_body(r));
}

/* What the engine counted; for a stream without usage one token an event. */
static void count_answer(struct weir_relay *y) {
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    const struct weir_relay_scan *s = &y->scan;
    leg->n_tokens = s->completion_tokens >= 0 ? (uint64_t)s->completion_tokens : s->n_data;
    if (leg->n_tokens > 0)
        weir_metric_add(m->output_total, (double)leg->n_tokens);
    if (r->prompt_tokens == 0 && s->prompt_tokens > 0) {
        r->prompt_tokens = (uint64_t)s->prompt_tokens;
        weir_metric_observe(m->input_tokens, (double)r->prompt_tokens);
    }
    check_count(y);
    if (s->cached_tokens >= 0) {
        leg->cached_tokens = s->cached_tokens;
        weir_metric_observe(m->cached_tokens, (double)s->cached_tokens);
    }
}

/* ---- the answer --------------------------------------------------------------------------- */

static bool is_event_stream(struct weir_span type) {
    struct weir_span rest;
    return weir_span_ieq(weir_span_trim(weir_span_split(type, ';', &rest)),
                         WEIR_SPAN_LIT("text/event-stream"));
}

void weir_relay_on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct weir_relay *y = arg;
    y->status = status;
    y->content_type[0] = '\0'; /* of another engine */
    y->metadata = weir_span(NULL, 0);
    for (size_t i = 0; i < n; i++) {
        if (weir_span_ieq(headers[i].name, WEIR_SPAN_LIT("content-type"))) {
            snprintf(y->content_type, sizeof(y->content_type), "%.*s",
                     WEIR_SPAN_ARG(headers[i].value));
            y->streams = status == 200 && is_event_stream(headers[i].value);
        } else if (weir_span_ieq(headers[i].name, WEIR_SPAN_LIT("metadata"))) {
            y->metadata = weir_arena_copy(&request_of(y)->arena, headers[i].value);
        }
    }
}

/* The engine is listed again: what holds for every engine holds for it. */
static void forgive(struct weir_relay *y) {
    if (y->left_ms > 0 && !weir_relay_pool_has_left(&y->user))
        y->left_ms = 0;
}

static void arm_silence(struct weir_relay *y) {
    uint64_t ms = request_of(y)->fl->app->item_ms;
    if (y->left_ms > 0 && (ms == 0 || y->left_ms < ms))
        ms = y->left_ms;
    if (ms > 0 && weir_timer_start(&y->silence, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "request", "%s: out of memory: no deadline", request_of(y)->uuid);
}

static void on_left(void *arg, uint64_t silent_ms) {
    struct weir_relay *y = arg;
    y->left_ms = silent_ms;
    if (!y->scan.done) /* await_end() has set a shorter time */
        arm_silence(y);
}

/* [DONE] ends an answer, but its client sees the end only when the engine has ended its own; one
 * that does not is not waited for long. */
static void await_end(struct weir_relay *y) {
    if (y->scan.done && !request_of(y)->answered &&
        weir_timer_start(&y->silence, END_MS) != WEIR_OK)
        on_silence(y);
}

static void pass_stream(struct weir_relay *y, struct weir_span bytes) {
    struct weir_request *r = request_of(y);
    struct weir_span pass;
    uint64_t before = y->scan.n_data;
    bool was_done = y->scan.done;
    if (was_done && weir_request_is_translated(r))
        return; /* nothing belongs to the answer behind [DONE] */
    if (weir_relay_scan_push(&y->scan, bytes, &pass) != WEIR_OK) {
        weir_relay_fail(y->leg, 503, "Service temporarily unavailable");
        return;
    }
    if (pass.len == 0)
        return;
    count_frames(y, y->scan.n_data - before);
    if (weir_request_is_translated(r)) {
        weir_relay_translated_pass(y, pass);
        await_end(y);
        return;
    }
    enum weir_status st = weir_output_commit(r);
    if (st == WEIR_OK)
        st = weir_http_stream_write(r->x, pass);
    if (st != WEIR_OK) {
        weir_http_abort(r->x, "the client reads too slowly");
        return;
    }
    if (!r->paused && !weir_http_stream_writable(r->x)) {
        r->paused = true;
        weir_http_call_pause(y->call);
    }
    if (!was_done) /* what comes behind it is no reason to wait longer */
        await_end(y);
}

void weir_relay_on_body(void *arg, struct weir_span bytes) {
    struct weir_relay *y = arg;
    if (request_of(y)->answered)
        return;
    if (!y->scan.done)
        arm_silence(y);
    if (y->streams)
        pass_stream(y, bytes);
    else if (weir_buf_append_span(&y->answer, bytes) != WEIR_OK)
        weir_relay_fail(y->leg, 502, "The engine's answer is larger than 256 MiB");
}

/* A whole answer of the engine becomes ours, whatever it says. */
static void give_answer(struct weir_relay *y) {
    struct weir_request *r = request_of(y);
    if (weir_request_is_translated(r)) {
        weir_relay_translated_end(y);
        return;
    }
    y->leg->state = WEIR_LEG_DONE;
    r->answered = true;
    weir_timer_stop(&r->keep_alive);
    r->status = y->status;
    r->error_type = y->status < 400 ? "" : weir_request_error_type(y->status);
    if (r->committed) { /* a keep-alive comment went out before this answer came */
        r->answered = false;
        if (y->status < 400) {
            weir_relay_fail(y->leg, 502, "The engine answered a stream with a whole answer");
            return;
        }
        struct weir_span words = weir_arena_copy(&r->arena, weir_buf_span(&y->answer));
        if (words.data == NULL)
            (void)weir_request_fail_memory(r);
        else
            weir_request_fail(r, y->status, words, r->error_type);
        return;
    }
    weir_front_relayed(r->x, y->status, y->content_type[0] != '\0' ? y->content_type : NULL,
                       y->metadata, weir_buf_span(&y->answer));
}

/* ---- other engines ------------------------------------------------------------------------ */

enum weir_relay_loss weir_relay_loss(enum weir_status status, bool sent_any) {
    return !sent_any                     ? WEIR_RELAY_UNTOUCHED
           : status == WEIR_DISCONNECTED ? WEIR_RELAY_BROKE_OFF
                                         : WEIR_RELAY_FAILED;
}

bool weir_relay_breaks(struct weir_leg *leg, uint64_t worker_id) {
    if (leg->n_breaks < WEIR_RELAY_BREAKS)
        leg->breaks[leg->n_breaks++] = worker_id;
    const struct weir_relay_failure f = {.loss = WEIR_RELAY_BROKE_OFF, .n_breaks = leg->n_breaks};
    if (weir_relay_next(&f) != WEIR_RELAY_ENDS_BREAKS)
        return false;
    WEIR_LOG(WEIR_LOG_WARN, "request", "%s: engines %s and %s " BREAKS, leg->request->uuid,
             weir_worker_text(leg->breaks[0]).s, weir_worker_text(leg->breaks[1]).s);
    weir_relay_fail(leg, 502, "2 engines " BREAKS);
    return true;
}

bool weir_relay_move_on(struct weir_relay *y, enum weir_relay_loss loss) {
    struct weir_leg *leg = y->leg;
    const struct weir_routing_hints *h = &leg->request->q.prep.routing;
    bool pinned = h->has_backend_instance_id || h->has_decode_worker_id;
    if (loss == WEIR_RELAY_BROKE_OFF && weir_relay_breaks(leg, leg->worker_id))
        return false;
    const struct weir_relay_failure f = {.loss = loss,
                                         .may_choose = !pinned && leg->n_tried < WEIR_MAX_TRIED,
                                         .in_time = loss == WEIR_RELAY_UNTOUCHED &&
                                                    weir_leg_may_pass_over(leg, leg->sent_ns),
                                         .n_moves = leg->moves,
                                         .n_breaks = leg->n_breaks};
    enum weir_relay_next next = weir_relay_next(&f);
    if (next != WEIR_RELAY_GOES_ON && next != WEIR_RELAY_GOES_FREE)
        return false;
    leg->moves += next == WEIR_RELAY_GOES_ON;
    leg->tried[leg->n_tried++] = leg->worker_id;
    return true;
}

static void on_failed(struct weir_relay *y, enum weir_status status, enum weir_relay_loss loss,
                      const char *what) {
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    const struct weir_model_info *info = weir_model_info(r->model);
    WEIR_LOG(WEIR_LOG_WARN, "request", "%s: engine %s %s: %s", r->uuid,
             weir_worker_text(leg->worker_id).s, what, weir_status_text(status));
    if (status != WEIR_LIMIT && status != WEIR_NOMEM)
        weir_router_worker_failed(info->router, leg->worker_id, weir_loop_now_ms(r->fl->loop));
    bool begun = r->committed && leg->first_item;
    if (!begun && weir_relay_move_on(y, loss)) {
        weir_disagg_again(leg, loss == WEIR_RELAY_UNTOUCHED);
        start_call(leg);
        return;
    }
    int http = status == WEIR_TIMEOUT ? 504 : begun ? 500 : 503;
    weir_relay_fail(leg, http,
                    http == 504 ? "Request deadline exceeded"
                    : begun     ? "The engine broke off in the middle of its answer"
                                : "Service temporarily unavailable");
}

static void end_answer(struct weir_relay *y) {
    count_answer(y);
    weir_relay_release(y->leg);
    give_answer(y);
}

/* All of a stream that is passed on as it comes has been. */
static void end_stream(struct weir_relay *y) {
    struct weir_request *r = request_of(y);
    count_answer(y);
    weir_relay_release(y->leg);
    y->leg->state = WEIR_LEG_DONE;
    r->answered = true;
    r->status = 200;
    r->error_type = "";
    weir_timer_stop(&r->keep_alive);
    weir_http_stream_end(r->x);
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct weir_relay *y = arg;
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    y->call = NULL;
    weir_relay_drop_call(y);
    if (r->answered)
        return;
    if (status == WEIR_OK && y->streams && !y->scan.done && !y->scan.failed)
        status = WEIR_DISCONNECTED; /* it ended without [DONE] */
    if (y->streams && y->scan.done)
        status = WEIR_OK; /* all is there, however the connection ended */
    if (status != WEIR_OK) {
        weir_relay_release(leg);
        on_failed(y, status, weir_relay_loss(status, sent_any),
                  leg->first_item ? "broke off" : "did not answer");
        return;
    }
    if (y->status == 503 && weir_relay_move_on(y, WEIR_RELAY_FAILED)) {
        weir_relay_release(leg);
        weir_disagg_again(leg, true);
        start_call(leg);
        return;
    }
    if (!y->streams) {
        weir_relay_scan_body(&y->scan, weir_buf_span(&y->answer));
        if (y->status < 400)
            first_data(y);
    }
    if (!y->streams || weir_request_is_translated(r)) {
        end_answer(y);
        return;
    }
    end_stream(y);
}

static void on_silence(void *arg) {
    struct weir_relay *y = arg;
    struct weir_leg *leg = y->leg;
    bool had_left = y->left_ms > 0;
    if (y->scan.done) { /* await_end() */
        weir_relay_drop_call(y);
        if (weir_request_is_translated(request_of(y)))
            end_answer(y);
        else
            end_stream(y);
        return;
    }
    forgive(y);
    /* It is we who do not read, or the engine has come back meanwhile. */
    if (request_of(y)->paused || (had_left && y->left_ms == 0)) {
        arm_silence(y);
        return;
    }
    weir_relay_drop_call(y);
    if (request_of(y)->only_counts) {
        weir_relay_fail(leg, 504, "Request deadline exceeded");
        return;
    }
    weir_relay_release(leg);
    /* Of one that has left it may be the end; so it counts as one. */
    on_failed(y, WEIR_TIMEOUT, had_left ? WEIR_RELAY_BROKE_OFF : WEIR_RELAY_FAILED, "was silent");
}

/* ---- sending ------------------------------------------------------------------------------ */

enum weir_status weir_relay_call(struct weir_relay *y, const char *address, const char *target,
                                 struct weir_span body, const struct weir_http_call_ops *ops) {
    struct weir_request *r = request_of(y);
    struct weir_http_header headers[WEIR_RELAY_HEADERS];
    char rank[24];
    struct weir_http_call_config c = {
        .method = "POST",
        .target = target,
        .headers = headers,
        .n_headers = weir_relay_headers(r, y->leg->many_ranks, y->leg->dp_rank, headers, rank),
        .body = body,
        .body_stays = true}; /* with the request */
    enum weir_status st = weir_relay_pool_take(r->fl->pools, weir_span_z(address), &y->user);
    if (st != WEIR_OK)
        return st;
    y->left_ms = 0;
    st = weir_http_call_start(weir_relay_pool_client(y->user.pool), &c, ops, y, &y->call);
    if (st != WEIR_OK) {
        y->call = NULL;
        weir_relay_drop_call(y);
        return st;
    }
    arm_silence(y);
    return WEIR_OK;
}

static void start_call(struct weir_leg *leg) {
    static const struct weir_http_call_ops ops = {weir_relay_on_head, weir_relay_on_body, on_done};
    struct weir_request *r = leg->request;
    struct weir_relay *y = leg->relay;
    struct weir_model_worker worker;
    leg->state = WEIR_LEG_RUNNING;
    bool embeds = r->q.kind == WEIR_OPENAI_EMBEDDINGS; /* no prompt is computed ahead */
    if ((!embeds && weir_relay_disagg_begin(leg)) || weir_leg_waits(leg))
        return;
    for (;;) {
        enum weir_status st = weir_leg_route(leg);
        if (st != WEIR_OK && y->status == 503 && y->answer.len > 0) {
            give_answer(y); /* no other engine: the first one's own words */
            return;
        }
        if (st != WEIR_OK) {
            weir_leg_fail_route(leg, st);
            return;
        }
        y->status = 0;
        y->streams = false;
        weir_buf_clear(&y->answer);
        /* What a first engine began to say is not the beginning of the second one's answer. */
        weir_relay_scan_fini(&y->scan);
        weir_relay_scan_init(&y->scan, FRAME_MAX);
        weir_relay_translated_again(y);
        leg->first_item = false;
        leg->last_token_ns = 0;
        leg->sent_ns = weir_now_ns();
        if (weir_model_worker(r->model, leg->worker_id, &worker)) {
            leg->many_ranks = worker.n_ranks > 1;
            st = weir_relay_call(y, worker.address, weir_relay_target(r), y->body, &ops);
            if (st == WEIR_OK)
                return;
        }
        weir_relay_release(leg);
        if (!weir_relay_move_on(y, WEIR_RELAY_UNTOUCHED)) {
            weir_relay_fail(leg, 503, "Service temporarily unavailable");
            return;
        }
    }
}

void weir_relay_go(struct weir_leg *leg) {
    start_call(leg);
}

/* ---- a prefill engine before it ------------------------------------------------------------ */

struct weir_span weir_relay_original(const struct weir_relay *y) {
    return y->original;
}

void weir_relay_set_body(struct weir_relay *y, struct weir_span body) {
    y->body = body;
}

void weir_relay_restart(struct weir_leg *leg) {
    weir_relay_drop_call(leg->relay);
    if (leg->booking != 0)
        weir_relay_release(leg);
    weir_wait_stop(&leg->wait); /* it comes again, with another query */
    start_call(leg);
}

void weir_relay_refused(struct weir_leg *leg, int status, const char *content_type,
                        struct weir_span body) {
    struct weir_relay *y = leg->relay;
    weir_relay_drop_call(y);
    if (leg->booking != 0)
        weir_relay_release(leg);
    weir_wait_stop(&leg->wait);
    y->status = status;
    snprintf(y->content_type, sizeof(y->content_type), "%s", content_type);
    weir_buf_clear(&y->answer);
    if (weir_buf_append_span(&y->answer, body) == WEIR_OK)
        give_answer(y);
    else
        weir_relay_fail(leg, 503, "Service temporarily unavailable");
}

/* ---- start -------------------------------------------------------------------------------- */

static bool has_root_salt(struct weir_span body) {
    struct weir_json j;
    struct weir_json_str key;
    bool found = false;
    weir_json_init(&j, body, 128);
    if (!weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, NULL))
        found |= weir_json_str_eqz(key, "cache_salt");
    return found;
}

/* A salt that the body does not hold at its root, where engines look for it: put in front. */
static struct weir_span body_of(struct weir_request *r) {
    struct weir_span body = weir_relay_body(r);
    struct weir_buf out;
    struct weir_jsonw w;
    ptrdiff_t open = weir_span_find(body, '{');
    if (r->q.cache_salt.len == 0 || has_root_salt(body) || open < 0)
        return body;
    size_t skip = (size_t)open + 1;
    weir_buf_init(&out, body.len + r->q.cache_salt.len * 6 + 64);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "cache_salt");
    weir_jsonw_string(&w, r->q.cache_salt);
    enum weir_status st = w.status;
    if (st == WEIR_OK)
        st = weir_buf_append_c(&out, ','); /* the body has a model at least */
    if (st == WEIR_OK)
        st = weir_buf_append(&out, body.data + skip, body.len - skip);
    struct weir_span spliced =
        st == WEIR_OK ? weir_arena_copy(&r->arena, weir_buf_span(&out)) : weir_span(NULL, 0);
    weir_buf_fini(&out);
    return spliced;
}

void weir_relay_start(struct weir_leg *leg) {
    struct weir_request *r = leg->request;
    struct weir_relay *y = weir_arena_zalloc(&r->arena, sizeof(*y));
    struct weir_span body = y != NULL ? body_of(r) : weir_span(NULL, 0);
    if (body.data == NULL) {
        weir_relay_fail(leg, 503, "Service temporarily unavailable");
        return;
    }
    y->leg = leg;
    y->original = y->body = body;
    weir_relay_scan_init(&y->scan, FRAME_MAX);
    weir_buf_init(&y->answer, ANSWER_MAX);
    weir_arena_init(&y->scratch, FRAME_MAX * 4);
    weir_timer_init(&y->silence, r->fl->loop, on_silence, y);
    y->user.left = on_left;
    y->user.arg = y;
    leg->relay = y;
    weir_relay_ask_tokens(leg);
}
