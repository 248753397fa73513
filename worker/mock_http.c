#include "worker/mock_http.h"

#include "base/log.h"
#include "base/mem.h"
#include "worker/mock_http_priv.h"

#include <stdio.h>
#include <string.h>

enum { BODY_MAX = 256 << 20 };

/* ---- cache changes ------------------------------------------------------------------------ */

static void tell_clear(struct weir_mock_http_rank *s) {
    if (s->clear)
        weir_mock_feed_cleared(s->feed);
    s->clear = false;
}

static void on_stored(void *arg, bool has_parent, uint64_t parent, uint64_t hash,
                      uint64_t tokens_hash) {
    struct weir_mock_http_rank *s = arg;
    void *user;
    const uint32_t *tokens = weir_engine_stored_tokens(weir_mock_rank_engine(s->rank), &user);
    (void)tokens_hash;
    if (s->feed == NULL)
        return;
    tell_clear(s);
    weir_mock_feed_stored(s->feed, has_parent, parent, hash, tokens, weir_mock_gen_salt(user));
}

static void on_removed(void *arg, uint64_t hash) {
    struct weir_mock_http_rank *s = arg;
    if (s->feed == NULL)
        return;
    tell_clear(s);
    weir_mock_feed_removed(s->feed, hash);
}

static void on_cleared(void *arg) {
    struct weir_mock_http_rank *s = arg;
    if (s->feed == NULL)
        return;
    s->clear = true;
    if (weir_mock_http_vllm(s->http))
        return;
    tell_clear(s);
    weir_mock_feed_flush(s->feed);
}

static void on_batch(void *arg) {
    struct weir_mock_http_rank *s = arg;
    if (s->feed == NULL)
        return;
    tell_clear(s);
    weir_mock_feed_flush(s->feed);
}

/* ---- the server --------------------------------------------------------------------------- */

static size_t on_head(void *arg, struct weir_http_exchange *x) {
    (void)arg;
    (void)x;
    return BODY_MAX;
}

static void on_request(void *arg, struct weir_http_exchange *x) {
    struct weir_mock_http *h = arg;
    const struct weir_http_request *q = weir_http_exchange_request(x);
    bool post = weir_span_eqz(q->method, "POST");
    if (post && weir_span_eqz(q->path, "/v1/chat/completions"))
        weir_mock_gen_start(h, x, WEIR_OPENAI_CHAT);
    else if (post && weir_span_eqz(q->path, "/v1/completions"))
        weir_mock_gen_start(h, x, WEIR_OPENAI_COMPLETION);
    else if (post && weir_span_eqz(q->path, "/v1/embeddings"))
        weir_mock_embed_start(h, x);
    else if (!weir_mock_http_page(h, x))
        weir_http_respond(x, 404, "application/json", NULL, 0,
                          WEIR_SPAN_LIT("{\"detail\":\"Not Found\"}"));
}

static void on_body_error(void *arg, struct weir_http_exchange *x, int http_status) {
    weir_mock_http_error(arg, x, http_status, "BadRequestError", NULL, "the body cannot be read");
}

static void on_done(void *arg, struct weir_http_exchange *x, enum weir_http_done how) {
    struct weir_mock_gen *gen = weir_http_exchange_user(x);
    (void)arg;
    (void)how;
    if (gen != NULL)
        weir_mock_gen_done(gen);
}

static const struct weir_http_handler handler = {on_head, on_request, on_body_error, NULL, on_done};

/* ---- life --------------------------------------------------------------------------------- */

static enum weir_status open_rank(struct weir_mock_http *h, uint32_t r, struct weir_err *err) {
    const struct weir_mock_http_config *c = &h->config;
    struct weir_mock_http_rank *s = &h->ranks[r];
    s->http = h;
    h->n_ranks = r + 1;
    struct weir_mock_rank_config rc = {.engine = c->engine,
                                       .dp_rank = r,
                                       .on_token = weir_mock_gen_token,
                                       .next_token = weir_mock_gen_next,
                                       .arg = h,
                                       .cache = {on_stored, on_removed, on_cleared},
                                       .on_batch = on_batch,
                                       .evictions_follow = !weir_mock_http_vllm(h),
                                       .cache_arg = s};
    rc.engine.blocks_by_chunk = true;
    enum weir_status st = weir_mock_rank_open(h->loop, &rc, &s->rank);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot make an engine: %s", weir_status_text(st));
    struct weir_mock_feed_config fc = {
        .form = c->form,
        .ip = c->ip,
        .port = c->events_port > 0 ? (uint16_t)(c->events_port + r) : 0,
        .replay_port = c->replay_port > 0 ? (uint16_t)(c->replay_port + r) : 0,
        .connect = c->events_connect,
        .topic = h->topic,
        .rank = r,
        .block_size = c->engine.block_size,
        .name_seed = c->name_seed + r};
    if (!c->kv_events)
        return WEIR_OK;
    st = weir_mock_feed_open(h->loop, &fc, &s->feed, err);
    if (st == WEIR_OK)
        WEIR_LOG(WEIR_LOG_INFO, "mocker", "rank %u publishes KV events on tcp://%s:%u, replay %u",
                 r, c->ip, weir_mock_feed_port(s->feed), weir_mock_feed_replay_port(s->feed));
    /* The first batch of a SGLang says that it has nothing. */
    if (st == WEIR_OK && !weir_mock_http_vllm(h)) {
        weir_mock_feed_cleared(s->feed);
        weir_mock_feed_flush(s->feed);
    }
    return st;
}

enum weir_status weir_mock_http_open(struct weir_loop *loop,
                                     const struct weir_mock_http_config *config,
                                     struct weir_mock_http **ret_http, struct weir_err *err) {
    struct weir_mock_http *h =
        weir_calloc(1, sizeof(*h) + config->n_ranks * sizeof(struct weir_mock_http_rank));
    if (h == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    h->loop = loop;
    h->config = *config;
    weir_list_init(&h->requests);
    struct weir_http_server_config hc = {
        .listen = {.ip = config->ip, .port = config->port}, .handler = &handler, .arg = h};
    enum weir_status st = weir_http_server_create(loop, &hc, &h->server, err);
    if (st == WEIR_OK)
        snprintf(h->topic, sizeof(h->topic), "kv@%s:%u@%s", config->ip,
                 weir_http_server_port(h->server), config->model);
    for (uint32_t r = 0; r < config->n_ranks && st == WEIR_OK; r++)
        st = open_rank(h, r, err);
    if (st != WEIR_OK) {
        weir_mock_http_close(h);
        return st;
    }
    *ret_http = h;
    return WEIR_OK;
}

void weir_mock_http_close(struct weir_mock_http *http) {
    if (http == NULL)
        return;
    weir_mock_gen_leave(http);
    weir_http_server_destroy(http->server);
    for (uint32_t r = 0; r < http->n_ranks; r++) {
        weir_mock_rank_close(http->ranks[r].rank);
        weir_mock_feed_close(http->ranks[r].feed);
    }
    weir_free(http);
}

uint16_t weir_mock_http_port(const struct weir_mock_http *http) {
    return weir_http_server_port(http->server);
}

void weir_mock_http_drain(struct weir_mock_http *http) {
    weir_http_server_drain(http->server);
}

unsigned weir_mock_http_active(const struct weir_mock_http *http) {
    return http->n_requests;
}

void weir_mock_http_get_stats(const struct weir_mock_http *http, struct weir_engine_stats *ret) {
    *ret = (struct weir_engine_stats){0};
    for (uint32_t r = 0; r < http->n_ranks; r++) {
        struct weir_engine_stats one;
        weir_mock_rank_get_stats(http->ranks[r].rank, &one);
        ret->running += one.running;
        ret->waiting += one.waiting;
        ret->prompt_tokens += one.prompt_tokens;
        ret->cached_tokens += one.cached_tokens;
        ret->output_tokens += one.output_tokens;
        ret->preemptions += one.preemptions;
        ret->finished += one.finished;
    }
}
