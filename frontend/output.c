/*
 * From worker items to the client's bytes: decode, look for stops, write chunks or gather the text.
 * Chunks of one item leave in one write; the HTTP server joins the writes of one loop turn.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "frontend/request_priv.h"

#include <stdio.h>
#include <string.h>

static const char *finish_word(enum weir_finish f) {
    switch (f) {
    case WEIR_FINISH_LENGTH:
        return "length";
    case WEIR_FINISH_CONTENT_FILTER:
        return "content_filter";
    default:
        return "stop";
    }
}

void weir_output_destroy_choice(struct weir_choice *c) {
    wtok_stop_destroy(c->stop);
    weir_parsed_destroy(c->parsed);
    weir_buf_fini(&c->text);
    weir_buf_fini(&c->logprobs);
    weir_buf_fini(&c->frame_bytes);
}

static struct weir_usage usage_of(const struct weir_request *r) {
    struct weir_usage u = {.prompt_tokens = r->prompt_tokens, .cached_tokens = 0};
    for (size_t i = 0; i < r->n_legs; i++) {
        u.completion_tokens += r->legs[i].n_tokens;
        if (r->legs[i].cached_tokens > 0)
            u.cached_tokens += r->legs[i].cached_tokens;
    }
    return u;
}

/* ---- the stream's frame of the client ------------------------------------------------------- */

static void flush(struct weir_request *r) {
    if (r->out.len == 0)
        return;
    enum weir_status st = weir_http_stream_write(r->x, weir_buf_span(&r->out));
    weir_buf_clear(&r->out);
    if (st != WEIR_OK) {
        weir_http_abort(r->x, "the client reads too slowly");
        return;
    }
    if (!r->paused && !weir_http_stream_writable(r->x)) {
        r->paused = true;
        for (size_t i = 0; i < r->n_legs; i++)
            if (r->legs[i].call != NULL)
                weir_plane_call_pause(r->legs[i].call);
    }
}

static enum weir_status put_annotations(struct weir_request *r) {
    struct weir_buf json;
    struct weir_jsonw w;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&json, WEIR_OUT_MAX);
    if ((r->q.extras & WEIR_ANNOTATE_REQUEST_ID) != 0) {
        weir_jsonw_init(&w, &json);
        weir_jsonw_string_z(&w, r->uuid);
        st = weir_answer_annotation("request_id", weir_buf_span(&json), &r->out);
    }
    if (st == WEIR_OK && r->formatted_prompt.data != NULL) {
        weir_buf_clear(&json);
        weir_jsonw_init(&w, &json);
        weir_jsonw_string(&w, r->formatted_prompt);
        st = weir_answer_annotation("formatted_prompt", weir_buf_span(&json), &r->out);
    }
    if (st == WEIR_OK && (r->q.extras & WEIR_ANNOTATE_TOKEN_IDS) != 0) {
        struct weir_buf list;
        weir_buf_init(&list, WEIR_OUT_MAX);
        weir_jsonw_init(&w, &list);
        weir_jsonw_array_begin(&w);
        for (size_t i = 0; i < r->legs[0].prompt.n; i++)
            weir_jsonw_u64(&w, r->legs[0].prompt.ids[i]);
        weir_jsonw_array_end(&w);
        weir_buf_clear(&json);
        weir_jsonw_init(&w, &json);
        weir_jsonw_string(&w, weir_buf_span(&list));
        weir_buf_fini(&list);
        st = weir_answer_annotation("token_ids", weir_buf_span(&json), &r->out);
    }
    weir_buf_fini(&json);
    return st;
}

enum weir_status weir_output_commit(struct weir_request *r) {
    if (r->committed)
        return WEIR_OK;
    r->committed = true;
    weir_front_sse_begin(r->x);
    enum weir_status st = put_annotations(r);
    flush(r);
    return st;
}

/* ---- nvext of the answer --------------------------------------------------------------------- */

static void put_worker_ids(struct weir_jsonw *w, const struct weir_leg *leg) {
    uint64_t prefill_id = leg->worker_id;
    uint32_t prefill_rank = leg->dp_rank;
    weir_disagg_worker(leg, &prefill_id, &prefill_rank);
    weir_jsonw_key(w, "worker_id");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "prefill_worker_id");
    weir_jsonw_u64(w, prefill_id);
    weir_jsonw_key(w, "prefill_dp_rank");
    weir_jsonw_u64(w, prefill_rank);
    weir_jsonw_key(w, "decode_worker_id");
    weir_jsonw_u64(w, leg->worker_id);
    weir_jsonw_key(w, "decode_dp_rank");
    weir_jsonw_u64(w, leg->dp_rank);
    weir_jsonw_object_end(w);
}

static void put_timing(struct weir_jsonw *w, const struct weir_request *r,
                       const struct weir_leg *leg) {
    uint64_t now = weir_now_ns();
    double received = (double)weir_wall_ms() - (double)(now - r->start_ns) / 1e6;
    weir_jsonw_key(w, "timing");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "request_received_ms");
    weir_jsonw_u64(w, (uint64_t)received);
    /* Without a queue of its own the wait is the way to the worker; prefill ends with the first
     * token. */
    weir_jsonw_key(w, "prefill_wait_time_ms");
    weir_jsonw_f64(w, (double)(leg->sent_ns - r->start_ns) / 1e6);
    weir_jsonw_key(w, "prefill_time_ms");
    weir_jsonw_f64(
        w, r->first_token_ns > leg->sent_ns ? (double)(r->first_token_ns - leg->sent_ns) / 1e6 : 0);
    weir_jsonw_key(w, "ttft_ms");
    weir_jsonw_f64(w, r->first_token_ns > 0 ? (double)(r->first_token_ns - r->start_ns) / 1e6 : 0);
    weir_jsonw_key(w, "total_time_ms");
    weir_jsonw_f64(w, (double)(now - r->start_ns) / 1e6);
    weir_jsonw_key(w, "kv_hit_rate");
    weir_jsonw_f64(w, weir_leg_hit_rate(leg, leg->overlap_blocks));
    weir_jsonw_key(w, "router_queue_depth");
    weir_jsonw_u64(w, leg->wait.ahead);
    weir_jsonw_object_end(w);
}

/* What extra_fields asked for; NULL data when nothing is to be said. */
static struct weir_span nvext_of(struct weir_request *r, const struct weir_leg *leg,
                                 const struct weir_choice *c) {
    const uint32_t wanted =
        WEIR_EXTRA_WORKER_ID | WEIR_EXTRA_TIMING | WEIR_EXTRA_STOP_REASON | WEIR_EXTRA_TOKEN_IDS;
    bool stopped = c != NULL && (c->stop_index >= 0 || c->stop_id >= 0);
    uint32_t extras = r->q.extras & wanted;
    if (!stopped)
        extras &= ~(uint32_t)WEIR_EXTRA_STOP_REASON;
    if (extras == 0)
        return weir_span(NULL, 0);
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_OUT_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    if ((extras & WEIR_EXTRA_WORKER_ID) != 0)
        put_worker_ids(&w, leg);
    if ((extras & WEIR_EXTRA_TIMING) != 0)
        put_timing(&w, r, leg);
    if ((extras & WEIR_EXTRA_STOP_REASON) != 0) {
        weir_jsonw_key(&w, "stop_reason");
        if (c->stop_index >= 0)
            weir_jsonw_string(&w, r->q.prep.stop.stop.items[c->stop_index]);
        else
            weir_jsonw_i64(&w, c->stop_id);
    }
    if ((extras & WEIR_EXTRA_TOKEN_IDS) != 0) {
        const uint32_t *ids = (const uint32_t *)(const void *)leg->emitted.data;
        weir_jsonw_key(&w, "completion_token_ids");
        weir_jsonw_array_begin(&w);
        for (size_t i = 0; i < leg->emitted.len / sizeof(*ids); i++)
            weir_jsonw_u64(&w, ids[i]);
        weir_jsonw_array_end(&w);
    }
    weir_jsonw_object_end(&w);
    struct weir_span json =
        w.status == WEIR_OK ? weir_arena_copy(&r->arena, weir_buf_span(&out)) : weir_span(NULL, 0);
    weir_buf_fini(&out);
    return json;
}

/* ---- one item ---------------------------------------------------------------------------------
 */

/* Items that came together: counted once for all. */
void weir_output_count_tokens(struct weir_leg *leg) {
    const struct weir_front_model_metrics *m = &weir_model_info(leg->request->model)->metrics;
    if (leg->n_uncounted > 0)
        weir_metric_add(m->output_total, (double)leg->n_uncounted);
    if (leg->n_gapless > 0)
        weir_metric_observe_n(m->itl, 0, leg->n_gapless);
    leg->n_uncounted = leg->n_gapless = 0;
}

static void observe_tokens(struct weir_leg *leg, size_t n) {
    struct weir_request *r = leg->request;
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    if (n == 0)
        return;
    uint64_t now = weir_loop_event_ns(r->fl->loop);
    if (now != leg->last_token_ns)
        weir_output_count_tokens(leg);
    leg->n_uncounted += n;
    if (r->first_token_ns == 0) {
        r->first_token_ns = now;
        weir_metric_observe(m->ttft, (double)(now - r->start_ns) / 1e9);
        weir_metric_dec(m->queued);
        r->queued = false;
    } else if (now == leg->last_token_ns) {
        r->itl_n += n;
        leg->n_gapless += n;
    } else if (leg->last_token_ns > 0) {
        double gap = (double)(now - leg->last_token_ns) / 1e9 / (double)n;
        r->itl_sum += gap * (double)n;
        r->itl_n += n;
        weir_metric_observe_n(m->itl, gap, n);
    }
    leg->last_token_ns = now;
    leg->n_tokens += n;
}

static bool listed(struct weir_ids list, uint32_t id) {
    for (size_t i = 0; i < list.n; i++)
        if (list.ids[i] == id)
            return true;
    return false;
}

/* Decodes the item's tokens into `piece`; *ret_finish is set when a stop of ours ended the choice.
 */
static enum weir_status decode(struct weir_leg *leg, struct weir_choice *c,
                               const struct weir_output *item, struct weir_buf *piece,
                               const char **ret_finish) {
    const struct weir_stop_conditions *stop = &leg->request->q.prep.stop;
    struct weir_buf text;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&text, WEIR_OUT_MAX);
    for (size_t i = 0; i < item->token_ids.n && st == WEIR_OK && *ret_finish == NULL; i++) {
        uint32_t id = item->token_ids.ids[i];
        bool checks = stop->min_tokens < 0 || c->n_tokens + 1 > (uint64_t)stop->min_tokens;
        c->n_tokens++;
        if (checks && listed(stop->stop_token_ids_hidden, id)) {
            *ret_finish = "stop"; /* end of sequence: its own text is not shown */
            break;
        }
        weir_buf_clear(&text);
        /* Without stop strings nothing looks at it before the client does. */
        if (item->text.data == NULL)
            st = wtok_stream_push(&c->decoder, id, c->stop != NULL ? &text : piece);
        if (st == WEIR_OK && c->stop != NULL && checks) {
            int matched = -1;
            st = wtok_stop_push(c->stop, weir_buf_span(&text), piece, &matched);
            if (matched >= 0) {
                c->stop_index = matched;
                *ret_finish = "stop";
            }
        } else if (st == WEIR_OK && text.len > 0) {
            st = weir_buf_append_span(piece, weir_buf_span(&text));
        }
        if (checks && *ret_finish == NULL && listed(stop->stop_token_ids, id)) {
            c->stop_id = id;
            *ret_finish = "stop";
        }
    }
    if (st == WEIR_OK && item->text.data != NULL) {
        int matched = -1;
        st = c->stop != NULL ? wtok_stop_push(c->stop, item->text, piece, &matched)
                             : weir_buf_append_span(piece, item->text);
        if (matched >= 0) {
            c->stop_index = matched;
            *ret_finish = "stop";
        }
    }
    weir_buf_fini(&text);
    return st;
}

/* What was withheld comes out when nothing follows. */
static enum weir_status drain(struct weir_choice *c, struct weir_buf *piece) {
    struct weir_buf rest;
    weir_buf_init(&rest, 64);
    enum weir_status st = wtok_stream_finish(&c->decoder, &rest);
    if (st == WEIR_OK && c->stop != NULL) {
        int ignored;
        st = wtok_stop_push(c->stop, weir_buf_span(&rest), piece, &ignored);
        if (st == WEIR_OK)
            st = wtok_stop_finish(c->stop, piece);
    } else if (st == WEIR_OK) {
        st = weir_buf_append_span(piece, weir_buf_span(&rest));
    }
    weir_buf_fini(&rest);
    return st;
}

static enum weir_status logprobs_of(struct weir_request *r, struct weir_choice *c,
                                    const struct weir_output *item, struct weir_buf *out) {
    enum { MAX_TEXTS = 256 };
    struct weir_span texts[MAX_TEXTS];
    struct weir_buf bytes;
    size_t at[MAX_TEXTS + 1] = {0};
    if (item->token_ids.n > MAX_TEXTS)
        return WEIR_PROTOCOL;
    weir_buf_init(&bytes, WEIR_OUT_MAX);
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < item->token_ids.n && st == WEIR_OK; i++) {
        st = wtok_id_bytes(c->decoder.tok, item->token_ids.ids[i], &bytes);
        at[i + 1] = bytes.len;
    }
    for (size_t i = 0; i < item->token_ids.n; i++)
        texts[i] = weir_span(bytes.data + at[i], at[i + 1] - at[i]);
    if (st == WEIR_OK)
        st = weir_answer_logprobs(r->q.kind, item, texts, r->q.top_logprobs,
                                  r->q.return_tokens_as_token_ids, c->text_offset, out);
    c->text_offset += bytes.len;
    weir_buf_fini(&bytes);
    return st;
}

static bool is_text_only(const struct weir_answer_piece *p) {
    return p->has_text && !p->role && p->reasoning.data == NULL && p->call == NULL &&
           p->finish_reason == NULL && p->logprobs.data == NULL && p->nvext.data == NULL &&
           p->usage == NULL;
}

/* Nearly all chunks of a stream are text between the same bytes. */
static enum weir_status put_chunk(struct weir_request *r, const struct weir_answer_head *head,
                                  struct weir_choice *c, const struct weir_answer_piece *p) {
    if (!is_text_only(p))
        return weir_answer_chunk(head, p, &r->out);
    enum weir_status st = WEIR_OK;
    if (c->frame_bytes.len == 0)
        st = weir_answer_prepare(head, c->index, &c->frame_bytes, &c->frame);
    return st == WEIR_OK ? weir_answer_text_chunk(&c->frame, p->text, &r->out) : st;
}

enum weir_status weir_output_put(struct weir_leg *leg, struct weir_choice *c,
                                 struct weir_answer_piece *p) {
    struct weir_request *r = leg->request;
    struct weir_usage usage = usage_of(r);
    char id[80];
    struct weir_answer_head head = r->head;
    p->index = c->index;
    p->role = !c->role_sent && (p->has_text || p->reasoning.data != NULL || p->call != NULL);
    p->nvext = p->finish_reason != NULL ? nvext_of(r, leg, c) : weir_span(NULL, 0);
    p->usage = r->q.include_usage && r->q.continuous_usage ? &usage : NULL;
    if (c->logprobs.len > 0)
        p->logprobs = weir_buf_span(&c->logprobs);
    c->role_sent |= p->role;
    if (r->n_legs > 1) { /* a streamed batch: each prompt has an id of its own */
        int n = snprintf(id, sizeof(id), "%s-%zu", r->id, (size_t)(leg - r->legs));
        head.id = weir_span(id, (size_t)n);
    }
    enum weir_status st = weir_output_commit(r);
    if (st == WEIR_OK)
        st = put_chunk(r, &head, c, p);
    weir_buf_clear(&c->logprobs);
    return st;
}

static enum weir_status put_piece(struct weir_leg *leg, struct weir_choice *c,
                                  struct weir_span text, struct weir_span logprobs) {
    struct weir_answer_piece p = {
        .has_text = text.len > 0, .text = text, .finish_reason = c->finish, .logprobs = logprobs};
    /* Nothing to say: a character that is still assembling, or text that may become a stop. */
    if (text.len == 0 && c->finish == NULL)
        return WEIR_OK;
    return weir_output_put(leg, c, &p);
}

/* Entries of several items become one list: the outer object of all but the first is cut away. */
static enum weir_status gather_logprobs(struct weir_choice *c, struct weir_span json) {
    const struct weir_span open = WEIR_SPAN_LIT("{\"content\":["),
                           shut = WEIR_SPAN_LIT("],\"refusal\":null}");
    if (c->logprobs.len == 0 || !weir_span_starts(json, open))
        return c->logprobs.len == 0 ? weir_buf_append_span(&c->logprobs, json) : WEIR_OK;
    c->logprobs.len -= shut.len;
    enum weir_status st = weir_buf_append_c(&c->logprobs, ',');
    return st == WEIR_OK ? weir_buf_append(&c->logprobs, json.data + open.len, json.len - open.len)
                         : st;
}

/* `over`: nothing follows, with or without a finish reason. */
static enum weir_status give_out(struct weir_leg *leg, struct weir_choice *c,
                                 struct weir_span logprobs, bool over) {
    enum weir_status st = WEIR_OK;
    if (logprobs.data != NULL && (c->parsed != NULL || !leg->request->q.stream))
        st = gather_logprobs(c, logprobs);
    if (st == WEIR_OK && c->parsed != NULL)
        return weir_parsed_give(leg, c, over);
    if (st == WEIR_OK && leg->request->q.stream) {
        st = put_piece(leg, c, weir_buf_span(&c->text), logprobs);
        weir_buf_clear(&c->text);
    }
    return st;
}

static struct weir_choice *choice_of(struct weir_leg *leg, const struct weir_output *item) {
    int64_t index = item->index < 0 ? 0 : item->index;
    return index < (int64_t)leg->n_choices ? &leg->choices[index] : NULL;
}

enum weir_status weir_output_item(struct weir_leg *leg, const struct weir_output *item) {
    struct weir_request *r = leg->request;
    struct weir_choice *c = choice_of(leg, item);
    const char *finish = NULL;
    if (c == NULL)
        return WEIR_PROTOCOL;
    if (item->cached_tokens >= 0 && leg->cached_tokens < 0) {
        leg->cached_tokens = item->cached_tokens;
        weir_metric_observe(weir_model_info(r->model)->metrics.cached_tokens,
                            (double)item->cached_tokens);
    }
    observe_tokens(leg, item->token_ids.n);
    if (c->finish != NULL)
        return WEIR_OK; /* the worker has not heard of our stop yet */
    enum weir_status st = decode(leg, c, item, &c->text, &finish);
    if (st == WEIR_OK && item->finish == WEIR_FINISH_ERROR)
        return WEIR_PROTOCOL;
    if (finish == NULL && item->finish != WEIR_FINISH_NONE)
        finish = finish_word(item->finish);
    if (st == WEIR_OK && finish != NULL && c->stop_index < 0)
        st = drain(c, &c->text);
    if (st != WEIR_OK)
        return st;
    c->finish = finish;
    leg->n_open -= finish != NULL;
    struct weir_buf logprobs;
    weir_buf_init(&logprobs, WEIR_OUT_MAX);
    if (r->q.logprobs && item->logprobs != NULL)
        st = logprobs_of(r, c, item, &logprobs);
    if (st == WEIR_OK)
        st = give_out(leg, c, weir_buf_span(&logprobs), finish != NULL);
    weir_buf_fini(&logprobs);
    if (r->q.stream && st == WEIR_OK)
        flush(r);
    return st;
}

/* Its text is looked at by nobody before the client, and its chunks differ in nothing else. */
static bool is_plain(const struct weir_leg *leg, const struct weir_choice *c) {
    const struct weir_request *r = leg->request;
    if (leg->n_choices != 1 || c->finish != NULL || c->stop != NULL || c->parsed != NULL ||
        r->q.logprobs)
        return false;
    return !r->q.stream || (c->frame_bytes.len > 0 && c->logprobs.len == 0 &&
                            !r->q.continuous_usage && r->out.len == 0);
}

/* Ids that end the choice, or are to be counted against min_tokens, go the long way. */
static bool is_watched(const struct weir_stop_conditions *stop, uint32_t id) {
    return listed(stop->stop_token_ids_hidden, id) || listed(stop->stop_token_ids, id);
}

/* Without a copy where that is possible. */
static enum weir_status put_token(struct weir_leg *leg, struct weir_choice *c,
                                  struct weir_span text) {
    char *p = weir_json_plain(text)
                  ? weir_http_stream_room(leg->request->x, weir_answer_plain_bytes(&c->frame, text))
                  : NULL;
    if (p != NULL) {
        weir_answer_plain_chunk(&c->frame, text, p);
        return WEIR_OK;
    }
    enum weir_status st = put_piece(leg, c, text, weir_span(NULL, 0));
    if (st == WEIR_OK)
        flush(leg->request);
    return st;
}

bool weir_output_token(struct weir_leg *leg, uint32_t id, enum weir_status *ret_status) {
    struct weir_request *r = leg->request;
    struct weir_choice *c = leg->choices;
    if (!is_plain(leg, c) || is_watched(&r->q.prep.stop, id))
        return false;
    observe_tokens(leg, 1);
    c->n_tokens++;
    enum weir_status st = wtok_stream_push(&c->decoder, id, &c->text);
    if (r->q.stream && st == WEIR_OK && c->text.len > 0)
        st = put_token(leg, c, weir_buf_span(&c->text));
    if (r->q.stream)
        weir_buf_clear(&c->text);
    *ret_status = st;
    return true;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void finish_stream(struct weir_request *r) {
    enum weir_status st = weir_output_commit(r);
    struct weir_usage usage = usage_of(r);
    if (st == WEIR_OK && r->q.include_usage)
        st = weir_answer_usage_chunk(&r->head, &usage, &r->out);
    if (st == WEIR_OK)
        st = weir_buf_append_span(&r->out, weir_answer_done());
    if (st != WEIR_OK) {
        weir_http_abort(r->x, "out of memory");
        return;
    }
    flush(r);
    weir_http_stream_end(r->x);
}

static void finish_unary(struct weir_request *r) {
    size_t n = 0;
    struct weir_usage usage = usage_of(r);
    struct weir_answer_choice *choices =
        weir_arena_alloc(&r->arena, (r->n_legs * r->q.n + 1) * sizeof(*choices));
    for (size_t i = 0; choices != NULL && i < r->n_legs; i++)
        for (unsigned k = 0; k < r->legs[i].n_choices; k++) {
            const struct weir_choice *c = &r->legs[i].choices[k];
            if (c->finish == NULL) /* the worker gave fewer */
                continue;
            choices[n] = (struct weir_answer_choice){
                .index = c->index,
                .text = c->text.len > 0 ? weir_buf_span(&c->text) : weir_span("", 0),
                .finish_reason = c->finish,
                .logprobs = c->logprobs.len > 0 ? weir_buf_span(&c->logprobs) : weir_span(NULL, 0)};
            if (c->parsed != NULL)
                weir_parsed_fill(c->parsed, &choices[n]);
            n++;
        }
    struct weir_span nvext = nvext_of(r, &r->legs[0], &r->legs[0].choices[0]);
    weir_buf_clear(&r->out);
    if (choices == NULL ||
        weir_answer_unary(&r->head, choices, n, &usage, nvext, &r->out) != WEIR_OK)
        weir_front_error(r->fl, r->x, 503, "Service temporarily unavailable");
    else
        weir_front_json(r->x, 200, weir_buf_span(&r->out));
}

void weir_output_finish(struct weir_request *r) {
    if (r->q.stream)
        finish_stream(r);
    else
        finish_unary(r);
}

void weir_output_error(struct weir_request *r, int http_status, struct weir_span message) {
    weir_buf_clear(&r->out);
    enum weir_status st = weir_answer_error_frame(http_status, message, &r->out);
    if (st == WEIR_OK)
        st = weir_buf_append_span(&r->out, weir_answer_done());
    if (st == WEIR_OK)
        st = weir_http_stream_write(r->x, weir_buf_span(&r->out));
    weir_buf_clear(&r->out);
    if (st == WEIR_OK)
        weir_http_stream_end(r->x);
    else
        weir_http_abort(r->x, "the error event did not fit");
}
