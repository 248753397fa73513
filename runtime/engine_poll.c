/*
 * One engine's rounds. Happy path: health → models and sources (first and every tenth round) →
 * can it tokenize (once) → metrics → told if something is new → next round. Failure modes: a
 * question that fails ends the round and counts; the third in a row takes the engine down. Models,
 * sources and metrics may be missing answers (404): then the engine has none.
 */
#include "runtime/engines_priv.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/record.h"

#include <stdio.h>
#include <string.h>

enum {
    BODY_MAX = 16 << 20,
    ARENA_MAX = 16 << 20,
    DEFAULT_BOOTSTRAP = 8998, /* SGLang's --disaggregation-bootstrap-port */
    FAILURES = 3,             /* in a row, until it is down */
    SUCCESSES = 2,            /* in a row, until one that was down is up again */
    SLOW_ROUNDS = 10,
};

static void ask(struct weir_engine_poll *p);

static uint64_t mix_span(uint64_t h, struct weir_span s) {
    h = weir_hash_bytes(h, &s.len, sizeof(s.len));
    return weir_hash_bytes(h, s.data, s.len);
}

static uint64_t print_of(const struct weir_engine_info *e) {
    uint64_t h = WEIR_HASH_BEGIN;
    for (size_t i = 0; i < e->n_models; i++) {
        h = mix_span(h, e->models[i].id);
        h = weir_hash_bytes(h, &e->models[i].max_model_len, sizeof(e->models[i].max_model_len));
        h = weir_hash_bytes(h, &e->models[i].adapter, sizeof(e->models[i].adapter));
        h = weir_hash_bytes(h, &e->models[i].sglang, sizeof(e->models[i].sglang));
    }
    for (size_t i = 0; i < e->n_sources; i++) {
        h = weir_hash_bytes(h, &e->sources[i].rank, sizeof(e->sources[i].rank));
        h = mix_span(mix_span(h, e->sources[i].events), e->sources[i].replay);
        h = mix_span(h, e->sources[i].topic);
    }
    h = weir_hash_bytes(h, &e->block_size, sizeof(e->block_size));
    h = weir_hash_bytes(h, &e->n_kv_blocks, sizeof(e->n_kv_blocks));
    h = weir_hash_bytes(h, &e->n_ranks, sizeof(e->n_ranks));
    return weir_hash_bytes(h, &e->tokenizes, sizeof(e->tokenizes));
}

/* ---- the end of a round ------------------------------------------------------------------- */

static void wait_round(struct weir_engine_poll *p) {
    p->step = WEIR_ENGINE_ASKED;
    if (weir_timer_start(&p->timer, p->engines->config.poll_ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "engines", "out of memory: %s is not watched any more",
                 p->address);
}

static void go_down(struct weir_engine_poll *p, const char *why) {
    if (!p->up)
        return;
    p->up = false;
    p->print = 0;
    WEIR_LOG(WEIR_LOG_WARN, "engines", "engine %s is down: %s", p->address, why);
    p->engines->ops.on_down(p->engines->arg, p->id, why);
}

static void fail_round(struct weir_engine_poll *p, const char *why) {
    p->successes = 0;
    if ((p->failures++ == 0 || p->failures == FAILURES + 1) && !p->up && !p->told)
        WEIR_LOG(WEIR_LOG_INFO, "engines", "engine %s does not serve yet: %s", p->address, why);
    p->told = true;
    if (p->failures >= FAILURES)
        go_down(p, why);
    p->rounds = 0; /* what comes back may be another model */
    wait_round(p);
}

static void end_round(struct weir_engine_poll *p) {
    if (p->info.n_models == 0) {
        fail_round(p, p->spec->model.len > 0 ? "it does not name the model of its entry"
                                             : "it names no model");
        return;
    }
    p->failures = 0;
    p->successes++;
    p->rounds++;
    p->told = false;
    if (!p->up && p->was_up && p->successes < SUCCESSES) {
        wait_round(p);
        return;
    }
    uint64_t print = print_of(&p->info);
    if (!p->up || print != p->print) {
        if (!p->up)
            WEIR_LOG(WEIR_LOG_INFO, "engines",
                     "engine %s is up as worker %s"
                     ": model %.*s, %u rank%s, block size %u, %zu event source%s",
                     p->address, weir_worker_text(p->id).s, WEIR_SPAN_ARG(p->info.models[0].id),
                     p->info.n_ranks, p->info.n_ranks == 1 ? "" : "s", p->info.block_size,
                     p->info.n_sources, p->info.n_sources == 1 ? "" : "s");
        else
            WEIR_LOG(WEIR_LOG_INFO, "engines", "engine %s has changed: asked for everything anew",
                     p->address);
        p->up = p->was_up = true;
        p->print = print;
        p->engines->ops.on_up(p->engines->arg, &p->info);
    } else {
        p->engines->ops.on_same(p->engines->arg, &p->info);
    }
    wait_round(p);
}

/* ---- answers ------------------------------------------------------------------------------ */

/* What the operator wrote beats what the engine says. */
static void apply_spec(struct weir_engine_poll *p) {
    const struct weir_engine_spec *s = p->spec;
    struct weir_engine_info *e = &p->info;
    if (s->n_ranks > 0)
        e->n_ranks = s->n_ranks;
    else if (e->n_sources > 0)
        e->n_ranks = p->sources[e->n_sources - 1].rank + 1;
    if (e->n_ranks == 0)
        e->n_ranks = 1;
    if (s->block_size > 0)
        e->block_size = s->block_size;
}

static void spec_sources(struct weir_engine_poll *p, struct weir_arena *arena) {
    const struct weir_engine_spec *s = p->spec;
    uint32_t n = s->n_ranks > 0 ? s->n_ranks : p->info.n_ranks > 0 ? p->info.n_ranks : 1;
    p->info.n_sources = 0;
    for (uint32_t r = 0; r < n; r++) {
        struct weir_engine_source x = {.rank = r, .topic = s->topic};
        x.events = weir_engine_rank_endpoint(s->events, r, arena);
        if (s->replay.len > 0)
            x.replay = weir_engine_rank_endpoint(s->replay, r, arena);
        if (x.events.data != NULL)
            p->sources[p->info.n_sources++] = x;
    }
}

static void keep_only_named(struct weir_engine_poll *p) {
    struct weir_span want = p->spec->model;
    size_t n = 0;
    if (want.len == 0)
        return;
    for (size_t i = 0; i < p->info.n_models; i++)
        if (weir_span_eq(p->models[i].id, want)) {
            p->models[n++] = p->models[i];
            break;
        }
    p->info.n_models = n;
}

static bool sglang(const struct weir_engine_poll *p) {
    return p->info.n_models > 0 && p->models[0].sglang;
}

static void take_sources(struct weir_engine_poll *p, struct weir_span body,
                         struct weir_arena *arena) {
    enum weir_status st;
    uint32_t block_size = 0;
    size_t n;
    if (sglang(p))
        st = weir_engine_read_server_info(body, p->ip, arena, p->sources, WEIR_ENGINE_MAX_RANKS, &n,
                                          &block_size);
    else
        st = weir_engine_read_sources(body, p->ip, arena, p->sources, WEIR_ENGINE_MAX_RANKS, &n);
    if (st != WEIR_OK)
        return;
    if (block_size > 0)
        p->info.block_size = block_size;
    if (p->spec->events.len == 0)
        p->info.n_sources = n;
}

/* False: the round is over. */
static bool take_answer(struct weir_engine_poll *p) {
    struct weir_span body = weir_buf_span(&p->body);
    struct weir_arena *arena = &p->arenas[p->arena];
    struct weir_engine_metrics *m;
    const uint32_t *ids;
    size_t n;
    switch (p->step) {
    case WEIR_ENGINE_ASK_HEALTH:
        if (p->status == 200)
            return true;
        snprintf(p->why, sizeof(p->why), "GET /health gave %d", p->status);
        fail_round(p, p->why);
        return false;
    case WEIR_ENGINE_ASK_MODELS:
        /* Everything that is kept is read anew in such a round. */
        p->arena ^= 1;
        arena = &p->arenas[p->arena];
        weir_arena_reset(arena);
        p->info.n_models = p->info.n_sources = 0;
        if (p->status == 200 && weir_engine_read_models(body, arena, p->models,
                                                        WEIR_ENGINE_MAX_MODELS, &n) == WEIR_OK) {
            p->info.n_models = n;
            keep_only_named(p);
            return true;
        }
        snprintf(p->why, sizeof(p->why),
                 p->status == 401 ? "GET /v1/models gave %d: set WEIR_ENGINE_API_KEY"
                                  : "GET /v1/models gave %d",
                 p->status);
        fail_round(p, p->why);
        return false;
    case WEIR_ENGINE_ASK_SOURCES:
        if (p->status == 200)
            take_sources(p, body, arena);
        return true;
    case WEIR_ENGINE_ASK_TOKENS:
        p->told_tokens = true;
        p->info.tokenizes =
            p->status == 200 && weir_engine_read_tokens(body, arena, &ids, &n) == WEIR_OK && n > 0;
        return true;
    case WEIR_ENGINE_ASK_METRICS:
        m = weir_calloc(1, sizeof(*m));
        if (m == NULL)
            return true;
        if (p->status == 200)
            weir_engine_read_metrics(body, m);
        if (m->block_size > 0)
            p->info.block_size = m->block_size;
        if (m->n_kv_blocks > 0)
            p->info.n_kv_blocks = m->n_kv_blocks;
        p->info.n_ranks = m->n_ranks > 0 ? (uint32_t)m->n_ranks : p->info.n_ranks;
        if (p->spec->events.len > 0 && p->info.n_sources == 0)
            spec_sources(p, arena);
        apply_spec(p);
        for (size_t i = 0; p->up && i < m->n_ranks; i++)
            p->engines->ops.on_load(p->engines->arg, &p->info, &m->ranks[i]);
        weir_free(m);
        return true;
    case WEIR_ENGINE_ASKED:
        break;
    }
    return true;
}

static void next_step(struct weir_engine_poll *p) {
    bool slow = p->rounds % SLOW_ROUNDS == 0;
    p->step++;
    if (p->step == WEIR_ENGINE_ASK_MODELS && !slow)
        p->step = WEIR_ENGINE_ASK_METRICS;
    if (p->step == WEIR_ENGINE_ASK_TOKENS && p->told_tokens)
        p->step++;
    if (p->step == WEIR_ENGINE_ASKED)
        end_round(p);
    else
        ask(p);
}

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct weir_engine_poll *p = arg;
    (void)headers;
    (void)n;
    p->status = status;
}

static void on_body(void *arg, struct weir_span bytes) {
    struct weir_engine_poll *p = arg;
    if (weir_buf_append_span(&p->body, bytes) != WEIR_OK)
        p->status = 0; /* larger than any such answer */
}

/* The status alone hides a port that is wrong from a certificate that is. */
static const char *reason_of(const struct weir_engine_poll *p, enum weir_status status, char *text,
                             size_t room) {
    const char *why = weir_http_client_last_failure(p->client);
    bool known = why != NULL && (status == WEIR_CANNOT_CONNECT || status == WEIR_TLS);
    if (!known)
        return weir_status_text(status);
    snprintf(text, room, "%s: %s%s", weir_status_text(status), why,
             status == WEIR_TLS ? " (WEIR_ENGINE_CA_PATH names who is trusted)" : "");
    return text;
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct weir_engine_poll *p = arg;
    char text[160];
    (void)sent_any;
    p->call = NULL;
    if (status != WEIR_OK) {
        /* Nobody listens there any more: the process is gone, and its cache with it. */
        if (status == WEIR_CANNOT_CONNECT)
            p->failures = FAILURES;
        fail_round(p, reason_of(p, status, text, sizeof(text)));
        return;
    }
    if (take_answer(p))
        next_step(p);
}

/* ---- questions ---------------------------------------------------------------------------- */

static bool token_question(const struct weir_engine_poll *p, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "model");
    weir_jsonw_string(&w, p->info.n_models > 0 ? p->models[0].id : WEIR_SPAN_LIT(""));
    weir_jsonw_key(&w, "prompt");
    weir_jsonw_string_z(&w, "weir");
    weir_jsonw_object_end(&w);
    return w.status == WEIR_OK;
}

static void ask(struct weir_engine_poll *p) {
    static const char *const targets[] = {"/health", "/v1/models", "/kv_event_sources", "/tokenize",
                                          "/metrics"};
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct weir_http_header headers[2];
    struct weir_buf body;
    size_t n = 0;
    weir_buf_init(&body, 64 << 10);
    weir_buf_clear(&p->body);
    p->status = 0;
    if (p->engines->bearer != NULL)
        headers[n++] = (struct weir_http_header){WEIR_SPAN_LIT("authorization"),
                                                 weir_span_z(p->engines->bearer)};
    bool post = p->step == WEIR_ENGINE_ASK_TOKENS, sources = p->step == WEIR_ENGINE_ASK_SOURCES;
    bool ready = !post || token_question(p, &body);
    if (post)
        headers[n++] = (struct weir_http_header){WEIR_SPAN_LIT("content-type"),
                                                 WEIR_SPAN_LIT("application/json")};
    struct weir_http_call_config c = {.method = post ? "POST" : "GET",
                                      .target =
                                          sources && sglang(p) ? "/server_info" : targets[p->step],
                                      .headers = headers,
                                      .n_headers = n,
                                      .body = weir_buf_span(&body),
                                      .total_ms = p->engines->config.answer_ms};
    enum weir_status st =
        ready ? weir_http_call_start(p->client, &c, &ops, p, &p->call) : WEIR_NOMEM;
    weir_buf_fini(&body);
    if (st != WEIR_OK) {
        p->call = NULL;
        fail_round(p, weir_status_text(st));
    }
}

static void on_timer(void *arg) {
    struct weir_engine_poll *p = arg;
    p->step = WEIR_ENGINE_ASK_HEALTH;
    ask(p);
}

/* ---- life --------------------------------------------------------------------------------- */

/* Two entries of one server have a model each, and are two workers. */
static uint64_t make_id(struct weir_span at, struct weir_span model) {
    uint64_t h = weir_hash_span(at);
    if (model.len > 0)
        h = weir_hash_bytes(h, model.data, model.len);
    return h & ((1ull << 53) - 1);
}

static bool make_address(struct weir_engine_poll *p) {
    const struct weir_engine_spec *s = p->spec;
    bool v6 = strchr(p->ip, ':') != NULL, v6_host = weir_span_find(s->host, ':') >= 0;
    char at[2 * WEIR_IP_BYTES];
    int n = snprintf(at, sizeof(at), v6 ? "[%s]:%u" : "%s:%u", p->ip, s->port);
    p->id = make_id(weir_span(at, (size_t)n), s->model);
    n = snprintf(p->address, sizeof(p->address), v6_host ? "%s://%s/[%.*s]:%u" : "%s://%s/%.*s:%u",
                 s->tls ? "https" : "http", at, WEIR_SPAN_ARG(s->host), s->port);
    return n > 0 && (size_t)n < sizeof(p->address);
}

enum weir_status weir_engine_poll_start(struct weir_engines *engines,
                                        const struct weir_engine_spec *spec, const char *ip,
                                        struct weir_list *list) {
    if (engines->n_polls == WEIR_ENGINE_MAX)
        return WEIR_LIMIT;
    struct weir_engine_poll *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    p->engines = engines;
    p->spec = spec;
    snprintf(p->ip, sizeof(p->ip), "%s", ip);
    weir_buf_init(&p->body, BODY_MAX);
    weir_arena_init(&p->arenas[0], ARENA_MAX);
    weir_arena_init(&p->arenas[1], ARENA_MAX);
    weir_timer_init(&p->timer, engines->loop, on_timer, p);
    enum weir_status st = make_address(p) ? WEIR_OK : WEIR_TOO_LARGE;
    p->info = (struct weir_engine_info){
        .id = p->id,
        .address = p->address,
        .models = p->models,
        .sources = p->sources,
        .role = spec->role,
        .bootstrap_host = spec->host,
        .bootstrap_port = spec->bootstrap_port > 0 ? spec->bootstrap_port : DEFAULT_BOOTSTRAP};
    const char *name = strrchr(p->address, '/') + 1;
    struct weir_http_client_config hc = {.ip = p->ip,
                                         .port = spec->port,
                                         .host = name,
                                         .tls = spec->tls ? engines->config.tls : NULL,
                                         .max_conns = 1,
                                         .idle_ms = 4000};
    if (st == WEIR_OK)
        st = weir_http_client_create(engines->loop, &hc, &p->client);
    if (st == WEIR_OK)
        st = weir_timer_start(&p->timer, 0);
    if (st != WEIR_OK) {
        weir_http_client_destroy(p->client);
        weir_free(p);
        return st;
    }
    weir_list_push_back(list, &p->node);
    engines->n_polls++;
    return WEIR_OK;
}

void weir_engine_poll_stop(struct weir_engine_poll *p, const char *why) {
    if (why != NULL) {
        go_down(p, why);
        p->engines->ops.on_gone(p->engines->arg, &p->info);
    }
    if (p->call != NULL)
        weir_http_call_cancel(p->call);
    weir_timer_stop(&p->timer);
    weir_http_client_destroy(p->client);
    weir_list_remove(&p->node);
    p->engines->n_polls--;
    weir_buf_fini(&p->body);
    weir_arena_fini(&p->arenas[0]);
    weir_arena_fini(&p->arenas[1]);
    weir_free(p);
}
