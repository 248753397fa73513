/*
 * Happy path: open registers the generate path and one query path a rank, opens the event
 * publishers and publishes the records (card, instance, query instances); a request becomes one
 * sequence a choice on a rank; tokens go out as response items; the last choice's last token ends
 * the stream. Failure modes: a request that does not fit is answered with a typed error item; the
 * caller's stop, kill or loss cancels its sequences at once (on_cancel), on_done frees the request.
 * Closing: unpublish first, then close when no request is left, or close to cut.
 */
#include "worker/mock_worker.h"

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/msgpack.h"
#include "kvindex/kvi.h"
#include "worker/mock_figures.h"
#include "worker/mock_rank.h"
#include "worker/mock_text.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAX_CHOICES = 128, MAX_TOP = 20 };

struct choice {
    struct request *request;   /* borrowed: its owner */
    struct weir_sequence *seq; /* NULL once it ended */
    struct weir_mock_text text;
    uint32_t resume; /* tokens of the text that the prompt holds already: a moved request */
    uint32_t index, position;
    uint64_t last_ns; /* when the request came, or its last token */
};

struct request {
    struct weir_list node;
    struct weir_mock_worker *worker;
    struct weir_plane_request *plane; /* borrowed: lives until on_done */
    struct weir_mock_rank *rank;
    const struct weir_mock_times *times; /* of the rank */
    uint64_t begun_ns;
    uint32_t n_choices, n_running, n_prompt;
    int logprobs;
    bool indexed;                         /* n > 1: items carry the choice index */
    bool kv_received;                     /* a prefill worker has the prompt's blocks */
    const struct weir_prep_request *prep; /* borrowed, as `plane` */
    uint32_t max_tokens;
    struct weir_timer transfer; /* until the blocks are here */
    struct choice choices[];
};

struct rank_slot {
    struct weir_mock_worker *worker;
    struct weir_mock_rank *rank;
    struct weir_event_pub *kv_pub;
    struct weir_mock_times times;
    struct weir_record query_record;
    char query_name[64];
};

struct weir_mock_worker {
    struct weir_loop *loop;
    struct weir_plane_server *plane; /* borrowed */
    struct weir_discovery *disc;     /* borrowed */
    struct weir_mock_worker_config config;
    struct weir_event_pub *load_pub;
    struct weir_kv_stream_pub *stream; /* durable KV events of all ranks, or NULL */
    struct weir_record instance, model;
    struct weir_arena arena; /* strings of the records */
    uint64_t opened_ns;
    struct weir_list requests;
    uint32_t next_rank;
    bool published, unpublished;
    uint32_t n_ranks;
    struct rank_slot ranks[];
};

/* ---- requests ----------------------------------------------------------------------------- */

static void cancel_choices(struct request *q) {
    weir_timer_stop(&q->transfer);
    for (uint32_t i = 0; i < q->n_choices; i++)
        if (q->choices[i].seq != NULL) {
            weir_mock_rank_cancel(q->rank, q->choices[i].seq);
            q->choices[i].seq = NULL;
        }
    q->n_running = 0;
}

static void fill_logprobs(const struct choice *c, int n_top, struct weir_top_logprob *top,
                          struct weir_token_logprob *ret) {
    uint32_t at = c->resume + c->position;
    ret->logprob = weir_mock_text_logprob(&c->text, at, 0);
    ret->top = top;
    ret->n_top = (size_t)n_top;
    for (int k = 0; k < n_top; k++) {
        uint32_t token = weir_mock_text_token(&c->text, at + (uint32_t)k);
        top[k] =
            (struct weir_top_logprob){.rank = (uint32_t)k + 1,
                                      .token_id = token,
                                      .logprob = weir_mock_text_logprob(&c->text, at, (uint32_t)k)};
    }
}

static void put_usage(const struct choice *c, uint32_t cached_tokens, struct weir_output *item) {
    item->has_usage = true;
    item->prompt_tokens = c->request->n_prompt;
    item->completion_tokens = c->position;
    item->cached_tokens = cached_tokens;
}

/* A prefill worker tells with its first token where the blocks are. */
static void put_transfer(const struct request *q, char *room, size_t bytes,
                         struct weir_output *item) {
    enum weir_codec codec;
    struct weir_buf packed;
    if (q->worker->config.card.worker_type != WEIR_WORKER_PREFILL)
        return;
    int n = snprintf(room, bytes, "{\"weir_mock\":{\"worker_id\":%" PRIu64 ",\"n_tokens\":%u}}",
                     q->worker->config.worker_id, q->n_prompt);
    item->disaggregated_params = weir_span(room, (size_t)n);
    weir_plane_request_body(q->plane, &codec);
    if (codec == WEIR_CODEC_JSON)
        return;
    /* The packed form is shorter than the text. */
    weir_buf_init(&packed, bytes);
    if (weir_mp_from_json(item->disaggregated_params, &packed) == WEIR_OK) {
        memcpy(room, packed.data, packed.len);
        item->disaggregated_params.len = packed.len;
    }
    weir_buf_fini(&packed);
}

static void note_token(struct choice *c, bool last) {
    const struct weir_mock_times *t = c->request->times;
    uint64_t now_ns = weir_now_ns();
    weir_metric_observe(c->position == 1 ? t->first_s : t->gap_s,
                        (double)(now_ns - c->last_ns) / 1e9);
    c->last_ns = now_ns;
    if (last)
        weir_metric_observe(t->whole_s, (double)(now_ns - c->request->begun_ns) / 1e9);
}

/* As the reference mocker: usage with the first token, and the end as an item of its own. */
static void on_token(void *arg, void *user, uint32_t token, uint32_t cached_tokens,
                     enum weir_engine_finish finish) {
    (void)arg;
    struct choice *c = user;
    struct request *q = c->request;
    struct weir_output item;
    struct weir_token_logprob logprob;
    struct weir_top_logprob top[MAX_TOP];
    weir_output_init(&item);
    item.has_data = item.has_output = true;
    item.token_ids = (struct weir_ids){&token, 1};
    if (q->logprobs >= 0) {
        fill_logprobs(c, q->logprobs, top, &logprob);
        item.logprobs = &logprob;
    }
    if (q->indexed)
        item.index = c->index;
    char params[128];
    if (++c->position == 1) {
        put_usage(c, cached_tokens, &item);
        put_transfer(q, params, sizeof(params), &item);
    }
    weir_plane_reply_item(q->plane, &item);
    note_token(c, finish != WEIR_ENGINE_RUNNING);
    if (finish == WEIR_ENGINE_RUNNING)
        return;
    c->seq = NULL;
    q->n_running--;
    weir_output_init(&item);
    item.has_data = item.has_output = true;
    item.finish = WEIR_FINISH_LENGTH;
    if (q->indexed)
        item.index = c->index;
    put_usage(c, cached_tokens, &item);
    weir_plane_reply_item(q->plane, &item);
    if (q->n_running == 0)
        weir_plane_reply_end(q->plane);
}

static uint32_t next_token(void *arg, void *user, uint32_t position) {
    (void)arg;
    const struct choice *c = user;
    return weir_mock_text_token(&c->text, c->resume + position);
}

/* Rank: as the router asked, else in turn. NULL: out of range. */
static const struct rank_slot *pick_rank(struct weir_mock_worker *w, int64_t dp_rank) {
    int64_t start = w->config.card.dp_start_rank;
    if (dp_rank < 0)
        return &w->ranks[w->next_rank++ % w->n_ranks];
    if (dp_rank < start || dp_rank >= start + w->n_ranks)
        return NULL;
    return &w->ranks[dp_rank - start];
}

/* With the tokens of its images, as an engine has them in its cache: those that the frontend names
 * for routing. Images that it does not know are a token each. */
static struct weir_ids prompt_of(const struct weir_prep_request *req) {
    return req->mm_routing_ids.ids != NULL ? req->mm_routing_ids : req->token_ids;
}

static enum weir_status add_choices(struct request *q, const struct weir_prep_request *req,
                                    uint32_t max_tokens) {
    uint64_t seed = kvi_seed(req->routing.lora_name.data, req->routing.lora_name.len,
                             req->routing.cache_salt.data, req->routing.cache_salt.len);
    for (uint32_t i = 0; i < q->n_choices; i++) {
        struct choice *c = &q->choices[i];
        *c = (struct choice){
            .request = q,
            .index = i,
            .last_ns = q->begun_ns,
            .text = {.vocab = q->worker->config.vocab,
                     .bytes = q->worker->config.bytes_text,
                     .seed = (req->sampling.has_seed ? (uint64_t)req->sampling.seed : 0) +
                             (uint64_t)i * 37}};
        c->resume = weir_mock_text_resume(&c->text, req->token_ids.ids, req->token_ids.n);
        struct weir_sequence_config sc = {.prompt = prompt_of(req).ids,
                                          .n_prompt = (uint32_t)prompt_of(req).n,
                                          .max_tokens = max_tokens,
                                          .hash_seed = seed,
                                          .kv_received = q->kv_received,
                                          .user = c};
        enum weir_status st = weir_mock_rank_add(q->rank, &sc, &c->seq);
        if (st != WEIR_OK)
            return st;
        q->n_running++;
    }
    return WEIR_OK;
}

static const char *why_not(enum weir_status st) {
    return st == WEIR_TOO_LARGE ? "the prompt is longer than the model or the KV cache allows"
           : st == WEIR_INVALID ? "the prompt is empty"
           : st == WEIR_NOMEM   ? "the worker is out of memory"
                                : "too many requests are waiting";
}

static enum weir_status refusal_of(enum weir_status st) {
    return st == WEIR_TOO_LARGE                   ? WEIR_INVALID
           : st == WEIR_LIMIT || st == WEIR_NOMEM ? WEIR_OVERLOADED
                                                  : st;
}

/* The blocks have arrived. */
static void on_transfer(void *arg) {
    struct request *q = arg;
    enum weir_status st = add_choices(q, q->prep, q->max_tokens);
    if (st == WEIR_OK)
        return;
    cancel_choices(q);
    weir_plane_reply_refuse_text(q->plane, refusal_of(st), why_not(st));
}

static struct request *new_request(struct weir_mock_worker *w, struct weir_plane_request *r,
                                   const struct weir_prep_request *req, uint32_t n_choices) {
    struct request *q = weir_calloc(1, sizeof(*q) + n_choices * sizeof(q->choices[0]));
    if (q == NULL)
        return NULL;
    weir_timer_init(&q->transfer, w->loop, on_transfer, q);
    q->worker = w;
    q->plane = r;
    q->prep = req;
    q->n_choices = n_choices;
    q->n_prompt = (uint32_t)prompt_of(req).n;
    q->logprobs = req->output.logprobs > MAX_TOP ? MAX_TOP : (int)req->output.logprobs;
    q->indexed = n_choices > 1;
    q->kv_received = w->config.card.worker_type == WEIR_WORKER_DECODE &&
                     (req->prefill_result.data != NULL || req->bootstrap.set);
    return q;
}

static enum weir_status start_request(struct weir_mock_worker *w, struct weir_plane_request *r,
                                      const struct weir_prep_request *req, const char **ret_why) {
    int64_t max_tokens =
        req->stop.max_tokens >= 0 ? req->stop.max_tokens : w->config.default_max_tokens;
    const struct rank_slot *slot = pick_rank(w, req->routing.dp_rank);
    uint32_t n = req->sampling.n > 1 ? (uint32_t)req->sampling.n : 1;
    if (max_tokens <= 0 || slot == NULL || n > MAX_CHOICES || req->token_ids.n > UINT32_MAX / 2) {
        *ret_why = slot == NULL      ? "dp_rank is outside of this worker's ranks"
                   : max_tokens <= 0 ? "`max_output_tokens` (or `max_tokens`) is required by the "
                                       "mocker worker"
                                     : "too many choices or prompt tokens";
        return WEIR_INVALID;
    }
    struct request *q = new_request(w, r, req, n);
    if (q == NULL) {
        *ret_why = why_not(WEIR_NOMEM);
        return WEIR_NOMEM;
    }
    q->rank = slot->rank;
    q->times = &slot->times;
    q->begun_ns = weir_now_ns();
    q->max_tokens = max_tokens > UINT32_MAX / 4 ? UINT32_MAX / 4 : (uint32_t)max_tokens;
    double transfer_ms = q->kv_received ? q->n_prompt * w->config.transfer_ms_per_token : 0;
    enum weir_status st = transfer_ms >= 1 ? weir_timer_start(&q->transfer, (uint64_t)transfer_ms)
                                           : add_choices(q, req, q->max_tokens);
    if (st != WEIR_OK) {
        *ret_why = why_not(st);
        cancel_choices(q);
        weir_free(q);
        return st;
    }
    weir_list_push_back(&w->requests, &q->node);
    weir_plane_request_set_user(r, q);
    weir_plane_reply_prologue(r, NULL);
    return WEIR_OK;
}

/* True when a fault took the request. */
static bool inject_fault(struct weir_mock_worker *w, struct weir_plane_request *r) {
    enum weir_mock_fault fault = weir_mock_fault(w->config.faults);
    if (fault == WEIR_MOCK_FAULT_FAIL)
        weir_plane_reply_refuse_text(r, WEIR_INTERNAL, "injected failure (--fail-rate)");
    return fault != WEIR_MOCK_FAULT_NONE;
}

static void on_request(void *arg, struct weir_plane_request *r,
                       const struct weir_prep_request *req) {
    struct weir_mock_worker *w = arg;
    if (inject_fault(w, r))
        return;
    const char *why;
    enum weir_status st = start_request(w, r, req, &why);
    if (st == WEIR_OK)
        return;
    weir_plane_reply_refuse_text(r, refusal_of(st), why);
}

static void on_cancel(void *arg, struct weir_plane_request *r) {
    (void)arg;
    struct request *q = weir_plane_request_user(r);
    if (q != NULL)
        cancel_choices(q);
}

static void on_done(void *arg, struct weir_plane_request *r) {
    (void)arg;
    struct request *q = weir_plane_request_user(r);
    if (q == NULL)
        return;
    cancel_choices(q);
    weir_list_remove(&q->node);
    weir_free(q);
}

static const struct weir_plane_handler generate_handler = {on_request, on_cancel, on_done};

/* ---- KV query endpoint -------------------------------------------------------------------- */

static void on_query(void *arg, struct weir_plane_request *r, const struct weir_prep_request *req) {
    (void)req;
    struct rank_slot *slot = arg;
    enum weir_codec codec;
    struct weir_span body = weir_plane_request_body(r, &codec);
    struct weir_buf out;
    weir_buf_init(&out, 256 * 1024 * 1024);
    enum weir_status st = weir_mock_rank_query(slot->rank, body, codec, &out);
    weir_plane_reply_prologue(r, st == WEIR_OK ? NULL : weir_status_text(st));
    if (st == WEIR_OK) {
        weir_plane_reply_raw(r, weir_buf_span(&out));
        weir_plane_reply_end(r);
    }
    weir_buf_fini(&out);
}

static void on_query_over(void *arg, struct weir_plane_request *r) {
    (void)arg;
    (void)r;
}

static const struct weir_plane_handler query_handler = {on_query, on_query_over, on_query_over};

/* ---- opening and closing ------------------------------------------------------------------ */

static struct weir_record endpoint_record(const struct weir_mock_worker *w) {
    return (struct weir_record){.kind = WEIR_RECORD_ENDPOINT,
                                .endpoint = w->config.endpoint,
                                .instance_id = w->config.worker_id,
                                .codec = w->config.codec};
}

/* The query endpoint is named after the publisher, so the publisher's id is drawn first. */
static enum weir_status open_rank_events(struct weir_mock_worker *w, struct rank_slot *slot,
                                         uint32_t dp_rank, struct weir_err *err) {
    uint64_t publisher = weir_rng_u64(weir_loop_rng(w->loop)) & ((1ull << 52) - 1);
    snprintf(slot->query_name, sizeof(slot->query_name), "worker_kv_query_source_%" PRIx64,
             publisher);
    slot->query_record = endpoint_record(w);
    slot->query_record.endpoint.name = weir_span_z(slot->query_name);
    enum weir_status st = weir_plane_server_serve(w->plane, &query_handler, slot, true, &w->arena,
                                                  &slot->query_record);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot register the KV query endpoint");
    struct weir_event_pub_config pc = {.scope = w->config.endpoint,
                                       .topic = "kv-events",
                                       .ip = w->config.event_ip,
                                       .nats = w->config.event_nats,
                                       .with_source = true,
                                       .publisher_id = publisher,
                                       .worker_id = w->config.worker_id,
                                       .dp_rank = dp_rank,
                                       .recovery_endpoint = weir_span_z(slot->query_name),
                                       .recovery_address = slot->query_record.tcp_address,
                                       .recovery_subject = slot->query_record.nats_subject};
    st = weir_discovery_publish(w->disc, &slot->query_record, err);
    if (st == WEIR_OK)
        st = weir_event_pub_open(w->loop, w->disc, &pc, &slot->kv_pub, err);
    return st;
}

/* Events were dropped while the server could not take them. */
static void on_stream_room(void *arg) {
    struct weir_mock_worker *w = arg;
    for (uint32_t i = 0; i < w->n_ranks; i++)
        weir_mock_rank_tell_again(w->ranks[i].rank);
}

static enum weir_status open_stream(struct weir_mock_worker *w, struct weir_err *err) {
    const struct weir_kv_stream_pub_config pc = {.nats = w->config.durable,
                                                 .ns = w->config.endpoint.ns,
                                                 .component = w->config.endpoint.component,
                                                 .max_age_s = w->config.stream_max_age_s,
                                                 .on_room = on_stream_room,
                                                 .arg = w};
    bool wanted = w->config.durable != NULL && w->config.kv_events;
    return wanted ? weir_kv_stream_pub_open(w->loop, &pc, &w->stream, err) : WEIR_OK;
}

static enum weir_status open_ranks(struct weir_mock_worker *w, struct weir_err *err) {
    const char *model = weir_arena_copy(&w->arena, w->config.card.display_name).data;
    if (model == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < w->config.n_ranks; i++) {
        struct rank_slot *slot = &w->ranks[i];
        slot->worker = w;
        struct weir_mock_rank_config rc = {.engine = w->config.engine,
                                           .worker_id = w->config.worker_id,
                                           .dp_rank = w->config.card.dp_start_rank + i,
                                           .on_token = on_token,
                                           .next_token = next_token,
                                           .arg = w};
        enum weir_status st = weir_mock_rank_open(w->loop, &rc, &slot->rank);
        if (st != WEIR_OK)
            return weir_err_set(err, st, "cannot create the engine of rank %u: %s", i,
                                weir_status_text(st));
        w->n_ranks++;
        weir_mock_times_init(&slot->times, w->config.metrics, model, rc.dp_rank);
        if (w->config.kv_events && w->stream == NULL) {
            st = open_rank_events(w, slot, rc.dp_rank, err);
            if (st != WEIR_OK)
                return st;
        }
        weir_mock_rank_set_publishers(slot->rank, slot->kv_pub, w->load_pub);
        weir_mock_rank_set_stream(slot->rank, w->stream);
    }
    return WEIR_OK;
}

/* The order in which the reference worker writes its records: card, then instance. */
static enum weir_status publish(struct weir_mock_worker *w, struct weir_err *err) {
    bool embeds = w->config.embed != WEIR_MOCK_EMBED_OFF;
    w->instance = endpoint_record(w);
    enum weir_status st =
        weir_plane_server_serve(w->plane, embeds ? &weir_mock_embed_handler : &generate_handler, w,
                                embeds, &w->arena, &w->instance);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot register the endpoint: %s", weir_status_text(st));
    w->model = (struct weir_record){.kind = WEIR_RECORD_MODEL,
                                    .endpoint = w->config.endpoint,
                                    .instance_id = w->config.worker_id,
                                    .card = w->config.card};
    st = weir_discovery_publish(w->disc, &w->model, err);
    if (st == WEIR_OK)
        st = weir_discovery_publish(w->disc, &w->instance, err);
    w->published = st == WEIR_OK;
    return st;
}

enum weir_status weir_mock_worker_open(struct weir_loop *loop, struct weir_plane_server *plane,
                                       struct weir_discovery *disc,
                                       const struct weir_mock_worker_config *config,
                                       struct weir_mock_worker **ret_worker, struct weir_err *err) {
    struct weir_mock_worker *w = weir_calloc(1, sizeof(*w) + config->n_ranks * sizeof(w->ranks[0]));
    if (w == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    w->loop = loop;
    w->plane = plane;
    w->disc = disc;
    w->config = *config;
    w->opened_ns = weir_now_ns();
    weir_list_init(&w->requests);
    weir_arena_init(&w->arena, 1 << 20);
    struct weir_event_pub_config load = {.scope = config->endpoint,
                                         .topic = "kv_metrics",
                                         .ip = config->event_ip,
                                         .nats = config->event_nats};
    enum weir_status st = weir_event_pub_open(loop, disc, &load, &w->load_pub, err);
    if (st == WEIR_OK)
        st = open_stream(w, err);
    if (st == WEIR_OK)
        st = open_ranks(w, err);
    if (st == WEIR_OK)
        st = publish(w, err);
    if (st != WEIR_OK) {
        weir_mock_worker_close(w);
        return st;
    }
    *ret_worker = w;
    return WEIR_OK;
}

void weir_mock_worker_unpublish(struct weir_mock_worker *worker) {
    if (worker->unpublished || !worker->published)
        return;
    worker->unpublished = true;
    weir_discovery_unpublish(worker->disc, &worker->instance);
    weir_discovery_unpublish(worker->disc, &worker->model);
}

void weir_mock_worker_close(struct weir_mock_worker *worker) {
    if (worker == NULL)
        return;
    weir_mock_worker_unpublish(worker);
    WEIR_LIST_FOREACH(it, &worker->requests) {
        struct request *q = WEIR_CONTAINER_OF(it, struct request, node);
        cancel_choices(q);
        weir_plane_request_set_user(q->plane, NULL);
        weir_list_remove(&q->node);
        weir_free(q);
    }
    for (uint32_t i = 0; i < worker->n_ranks; i++) {
        weir_event_pub_close(worker->ranks[i].kv_pub);
        if (worker->ranks[i].query_record.endpoint.name.data != NULL)
            weir_discovery_unpublish(worker->disc, &worker->ranks[i].query_record);
        weir_mock_rank_close(worker->ranks[i].rank);
    }
    weir_event_pub_close(worker->load_pub);
    weir_kv_stream_pub_close(worker->stream);
    weir_arena_fini(&worker->arena);
    weir_free(worker);
}

uint64_t weir_mock_worker_id(const struct weir_mock_worker *worker) {
    return worker->config.worker_id;
}

const struct weir_mock_worker_config *
weir_mock_worker_config(const struct weir_mock_worker *worker) {
    return &worker->config;
}

double weir_mock_worker_uptime_s(const struct weir_mock_worker *worker) {
    return (double)(weir_now_ns() - worker->opened_ns) / 1e9;
}

void weir_mock_worker_get_stats(const struct weir_mock_worker *worker,
                                struct weir_engine_stats *ret) {
    struct weir_engine_stats sum = {0};
    for (uint32_t i = 0; i < worker->n_ranks; i++) {
        struct weir_engine_stats one;
        weir_mock_rank_get_stats(worker->ranks[i].rank, &one);
        sum.running += one.running;
        sum.waiting += one.waiting;
        sum.kv_used_blocks += one.kv_used_blocks;
        sum.kv_cached_blocks += one.kv_cached_blocks;
        sum.prompt_tokens += one.prompt_tokens;
        sum.cached_tokens += one.cached_tokens;
        sum.received_tokens += one.received_tokens;
        sum.output_tokens += one.output_tokens;
        sum.preemptions += one.preemptions;
        sum.steps += one.steps;
        sum.finished += one.finished;
    }
    *ret = sum;
}

void weir_mock_worker_rank_stats(const struct weir_mock_worker *worker, uint32_t rank,
                                 struct weir_engine_stats *ret) {
    weir_mock_rank_get_stats(worker->ranks[rank].rank, ret);
}
