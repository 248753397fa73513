/*
 * Every answer is made at once, from the index in memory, but for bulk queries (bulk.h), dumps and
 * restores (dumps.h); bodies are bounded before they are read.
 */
#include "indexer/service.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "indexer/numbers.h"
#include "indexer/service_priv.h"
#include "indexer/tokens.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_SCORES = 1024 };

/* ---- registrations ----------------------------------------------------------------------------
 */

static void on_register(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_indexer_fields f;
    struct weir_err err;
    if (!weir_indexer_read(x, &f))
        return;
    const char *missing = !f.has_instance          ? "instance_id is required"
                          : f.endpoint.len == 0    ? "endpoint is required"
                          : f.model.len == 0       ? "model_name is required"
                          : !f.has_block_size      ? "block_size is required"
                          : f.dp_rank > UINT32_MAX ? "dp_rank is out of range"
                          : f.block_size == 0 || f.block_size > 65536
                              ? "block_size must be 1 to 65536"
                          : f.group.data == NULL ? "routing_group must be a string"
                                                 : NULL;
    if (missing != NULL) {
        weir_indexer_refuse(x, 400, missing);
        return;
    }
    struct weir_register_request q = {.model = f.model,
                                      .group = f.group,
                                      .endpoint = f.endpoint,
                                      .replay = f.replay,
                                      .instance_id = f.instance,
                                      .dp_rank = (uint32_t)f.dp_rank,
                                      .block_size = (uint32_t)f.block_size};
    enum weir_status st = weir_groups_register(s->groups, &q, &err);
    if (st == WEIR_OK)
        weir_indexer_say(x, 201, "status", "ok");
    else
        weir_indexer_refuse(x,
                            st == WEIR_EXISTS                      ? 409
                            : st == WEIR_NOMEM || st == WEIR_LIMIT ? 503
                                                                   : 400,
                            err.text);
}

static void on_unregister(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_indexer_fields f;
    if (!weir_indexer_read(x, &f))
        return;
    if (!f.has_instance || f.model.len == 0) {
        weir_indexer_refuse(x, 400, "instance_id and model_name are required");
        return;
    }
    if (f.dp_rank > UINT32_MAX) { /* one that nobody can have, not all of them */
        weir_indexer_refuse(x, 400, "dp_rank is out of range");
        return;
    }
    /* A group that was not named means all. */
    bool all = f.group.data == weir_indexer_default_group.data;
    unsigned n = weir_groups_unregister(s->groups, f.model, all ? weir_span(NULL, 0) : f.group,
                                        f.instance, f.has_dp_rank ? (int64_t)f.dp_rank : -1);
    if (n > 0)
        weir_indexer_say(x, 200, "status", "ok");
    else
        weir_indexer_refuse(x, 404, "no such registration");
}

/* {"instance_id", "dp_rank"}: the reference's pages for tests of what follows a gap. */
static void on_pause_or_resume(struct weir_service *s, struct weir_http_exchange *x, bool pause) {
    struct weir_indexer_fields f;
    struct weir_err err;
    if (!weir_indexer_read(x, &f))
        return;
    if (!f.has_instance || f.dp_rank > UINT32_MAX) {
        weir_indexer_refuse(x, 400, "instance_id, and a dp_rank of 32 bits, are required");
        return;
    }
    enum weir_status st = weir_groups_pause(
        s->groups, (struct kvi_worker){f.instance, (uint32_t)f.dp_rank}, pause, &err);
    if (st == WEIR_OK)
        weir_indexer_say(x, 200, "status", "ok");
    else
        weir_indexer_refuse(x,
                            st == WEIR_NOT_FOUND ? 404
                            : st == WEIR_EXISTS  ? 409
                                                 : 503,
                            err.text);
}

static void on_pause(struct weir_service *s, struct weir_http_exchange *x) {
    on_pause_or_resume(s, x, true);
}
static void on_resume(struct weir_service *s, struct weir_http_exchange *x) {
    on_pause_or_resume(s, x, false);
}

/* Value of a query parameter, percent-decoded in the arena; data NULL when absent. */
static struct weir_span parameter(struct weir_http_exchange *x, const char *name) {
    struct weir_span rest = weir_http_exchange_request(x)->query, value;
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span pair = weir_span_split(rest, '&', &rest);
        struct weir_span key = weir_span_split(pair, '=', &value);
        if (!weir_span_eqz(key, name) || value.data == NULL)
            continue;
        char *out = weir_arena_alloc(weir_http_exchange_arena(x), value.len + 1);
        size_t n = 0;
        for (size_t i = 0; out != NULL && i < value.len; i++) {
            uint64_t code;
            bool hex = value.data[i] == '%' && value.len - i > 2 &&
                       weir_span_hex64(weir_span(value.data + i + 1, 2), &code);
            out[n++] = hex ? (char)code : value.data[i] == '+' ? ' ' : value.data[i];
            i += hex ? 2 : 0;
        }
        return weir_span(out, n);
    }
    return weir_span(NULL, 0);
}

/* The reference's members: it has one object an instance, ours is one a rank. */
static void put_listener(struct weir_jsonw *w, const struct weir_registration *r) {
    char rank[16];
    const char *status = weir_follower_is_paused(r->follower) ? "paused" : "active";
    snprintf(rank, sizeof(rank), "%u", r->worker.dp_rank);
    weir_jsonw_key(w, "source");
    weir_jsonw_string_z(w, "zmq");
    weir_jsonw_key(w, "status");
    weir_jsonw_string_z(w, status);
    weir_jsonw_key(w, "endpoints");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, rank);
    weir_jsonw_string_z(w, r->endpoint);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "listeners");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, rank);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "endpoint");
    weir_jsonw_string_z(w, r->endpoint);
    weir_jsonw_key(w, "status");
    weir_jsonw_string_z(w, status);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

static void put_registration(struct weir_jsonw *w, const struct weir_group *g,
                             const struct weir_registration *r) {
    struct weir_follower_stats stats;
    weir_follower_get_stats(r->follower, &stats);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "model_name");
    weir_jsonw_string_z(w, g->model);
    weir_jsonw_key(w, "routing_group");
    weir_jsonw_string_z(w, g->name);
    weir_jsonw_key(w, "block_size");
    weir_jsonw_u64(w, g->block_size);
    weir_jsonw_key(w, "instance_id");
    weir_jsonw_u64(w, r->worker.worker_id);
    weir_jsonw_key(w, "dp_rank");
    weir_jsonw_u64(w, r->worker.dp_rank);
    weir_jsonw_key(w, "endpoint");
    weir_jsonw_string_z(w, r->endpoint);
    weir_jsonw_key(w, "replay_endpoint");
    if (r->replay != NULL)
        weir_jsonw_string_z(w, r->replay);
    else
        weir_jsonw_null(w);
    put_listener(w, r);
    weir_jsonw_key(w, "blocks");
    weir_jsonw_u64(w, kvi_rank_entries(g->index, r->worker));
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {{"batches", stats.batches},
                  {"events", stats.events},
                  {"lost", stats.lost},
                  {"unreadable", stats.unreadable}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(counts); i++) {
        weir_jsonw_key(w, counts[i].key);
        weir_jsonw_u64(w, counts[i].value);
    }
    weir_jsonw_object_end(w);
}

static void on_workers(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_span model = parameter(x, "model_name"), name = parameter(x, "routing_group");
    struct weir_buf body;
    struct weir_jsonw w;
    weir_indexer_begin(&w, &body);
    weir_jsonw_array_begin(&w);
    WEIR_LIST_FOREACH(it, weir_groups_list(s->groups)) {
        const struct weir_group *g = WEIR_CONTAINER_OF(it, struct weir_group, node);
        if ((model.data != NULL && !weir_span_eqz(model, g->model)) ||
            (name.data != NULL && !weir_span_eqz(name, g->name)))
            continue;
        WEIR_LIST_FOREACH(jt, &g->followers) {
            put_registration(&w, g, WEIR_CONTAINER_OF(jt, struct weir_registration, node));
        }
    }
    weir_jsonw_array_end(&w);
    weir_indexer_send(x, 200, &w);
}

/* ---- queries ----------------------------------------------------------------------------------
 */

static size_t count_commas(struct weir_span raw) {
    size_t n = 1;
    for (const char *p = raw.data, *end = raw.data + raw.len;
         (p = memchr(p, ',', (size_t)(end - p))) != NULL; p++)
        n++;
    return n;
}

/* Scores of all ranks; the scratch grows to what there is. */
static bool find(struct weir_service *s, struct weir_group *g, const uint64_t *hashes, size_t n,
                 size_t *ret_n) {
    for (;;) {
        size_t found = kvi_find(g->reader, hashes, n, false, s->scores, s->n_scores);
        if (found <= s->n_scores) {
            *ret_n = found;
            return true;
        }
        struct kvi_score *more = weir_realloc(s->scores, found * sizeof(*more));
        if (more == NULL)
            return false;
        s->scores = more;
        s->n_scores = found;
    }
}

static void answer_query(struct weir_service *s, struct weir_http_exchange *x, struct weir_group *g,
                         const uint64_t *hashes, size_t n_hashes) {
    struct weir_buf body;
    struct weir_jsonw w;
    size_t n = 0;
    uint64_t begin_ns = weir_now_ns();
    if (!find(s, g, hashes, n_hashes, &n)) {
        weir_indexer_refuse(x, 503, "out of memory");
        return;
    }
    weir_metric_inc(s->queries);
    weir_metric_observe(s->query_us, (double)(weir_now_ns() - begin_ns) / 1e3);
    weir_indexer_begin(&w, &body);
    weir_indexer_put_scores(&w, s->scores, n, g->block_size);
    weir_indexer_send(x, 200, &w);
}

static struct weir_group *group_of(struct weir_service *s, struct weir_http_exchange *x,
                                   const struct weir_indexer_fields *f) {
    struct weir_group *g = f->model.data != NULL && f->group.data != NULL
                               ? weir_groups_find(s->groups, f->model, f->group)
                               : NULL;
    if (g != NULL)
        return g;
    char text[256];
    snprintf(text, sizeof(text), "no indexer for model=%.*s routing_group=%.*s",
             WEIR_SPAN_ARG(weir_utf8_cut(f->model, 100)),
             WEIR_SPAN_ARG(weir_utf8_cut(f->group, 100)));
    weir_indexer_refuse(x, f->model.len == 0 ? 400 : 404,
                        f->model.len == 0 ? "model_name is required" : text);
    return NULL;
}

static void on_query(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_indexer_fields f;
    struct weir_json j;
    if (!weir_indexer_read(x, &f))
        return;
    if (f.tokens.data == NULL) {
        weir_indexer_refuse(x, 400, "token_ids is required");
        return;
    }
    struct weir_group *g = group_of(s, x, &f);
    if (g == NULL)
        return;
    struct weir_arena *arena = weir_http_exchange_arena(x);
    uint32_t *tokens = weir_arena_alloc(arena, count_commas(f.tokens) * sizeof(*tokens));
    size_t n = 0;
    weir_json_init(&j, f.tokens, 4);
    bool ok = tokens != NULL && weir_json_peek(&j) == WEIR_JSON_ARRAY && weir_json_array_enter(&j);
    while (ok && weir_json_array_next(&j)) {
        uint64_t v = 0;
        ok = weir_json_u64(&j, &v) && v <= UINT32_MAX;
        tokens[n++] = (uint32_t)v;
    }
    size_t room = kvi_block_count(n, g->block_size, false);
    uint64_t *hashes = ok ? weir_arena_alloc(arena, (room + 1) * sizeof(*hashes)) : NULL;
    if (hashes == NULL) {
        weir_indexer_refuse(x, ok || tokens == NULL ? 503 : 400,
                            ok || tokens == NULL
                                ? "out of memory"
                                : "token_ids must be an array of unsigned 32-bit integers");
        return;
    }
    uint64_t seed = kvi_seed(f.lora.data, f.lora.len, f.salt.data, f.salt.len);
    room = kvi_hash_blocks(tokens, n, g->block_size, seed, false, hashes, room);
    answer_query(s, x, g, hashes, room);
}

static void on_query_by_hash(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_indexer_fields f;
    struct weir_json j;
    if (!weir_indexer_read(x, &f))
        return;
    if (f.salt.data != NULL) {
        weir_indexer_refuse(x, 400,
                            "cache_salt is part of the hashes: it cannot be given beside them");
        return;
    }
    if (f.hashes.data == NULL) {
        weir_indexer_refuse(x, 400, "block_hashes is required");
        return;
    }
    struct weir_group *g = group_of(s, x, &f);
    if (g == NULL)
        return;
    uint64_t *hashes =
        weir_arena_alloc(weir_http_exchange_arena(x), count_commas(f.hashes) * sizeof(*hashes));
    size_t n = 0;
    weir_json_init(&j, f.hashes, 4);
    bool ok = hashes != NULL && weir_json_peek(&j) == WEIR_JSON_ARRAY && weir_json_array_enter(&j);
    while (ok && weir_json_array_next(&j)) {
        ok = weir_numbers_hash(&j, &hashes[n]);
        n += ok;
    }
    if (!ok)
        weir_indexer_refuse(x, hashes == NULL ? 503 : 400,
                            hashes == NULL ? "out of memory"
                                           : "block_hashes must be an array of 64-bit integers");
    else
        answer_query(s, x, g, hashes, n);
}

static void on_query_batch(struct weir_service *s, struct weir_http_exchange *x) {
    weir_bulk_query(s->bulk, x);
}

/* ---- peers, health, metrics -------------------------------------------------------------------
 */

static void on_peer(struct weir_service *s, struct weir_http_exchange *x, bool add) {
    struct weir_indexer_fields f;
    if (!weir_indexer_read(x, &f))
        return;
    if (f.url.len == 0) {
        weir_indexer_refuse(x, 400, "url is required");
        return;
    }
    for (size_t i = 0; i < s->n_peers; i++) {
        if (!weir_span_eqz(f.url, s->peers[i]))
            continue;
        if (!add) {
            weir_free(s->peers[i]);
            s->peers[i] = s->peers[--s->n_peers];
        }
        weir_indexer_say(x, add ? 201 : 200, "status", "ok");
        return;
    }
    char *copy =
        add && s->n_peers < WEIR_INDEXER_MAX_PEERS ? weir_strndup(f.url.data, f.url.len) : NULL;
    if (!add) {
        weir_indexer_refuse(x, 404, "no such peer");
    } else if (copy == NULL) {
        weir_indexer_refuse(x, 503, "too many peers");
    } else {
        s->peers[s->n_peers++] = copy;
        weir_indexer_say(x, 201, "status", "ok");
    }
}

static void on_peers(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_buf body;
    struct weir_jsonw w;
    weir_indexer_begin(&w, &body);
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < s->n_peers; i++)
        weir_jsonw_string_z(&w, s->peers[i]);
    weir_jsonw_array_end(&w);
    weir_indexer_send(x, 200, &w);
}

static void on_metrics(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_buf body;
    weir_buf_init(&body, WEIR_INDEXER_OUT_MAX);
    bool ok = weir_metrics_expose(s->metrics, &body) == WEIR_OK;
    weir_http_respond(x, ok ? 200 : 503, "text/plain; version=0.0.4; charset=utf-8", NULL, 0,
                      ok ? weir_buf_span(&body) : weir_span("", 0));
    weir_buf_fini(&body);
}

static void on_dump(struct weir_service *s, struct weir_http_exchange *x) {
    weir_dumps_answer(s->dumps, x, weir_span_eqz(parameter(x, "format"), "ndjson"));
}

static void on_restore(struct weir_service *s, struct weir_http_exchange *x) {
    if (weir_tokens_in(weir_http_exchange_request(x)->body))
        weir_bulk_restore(s->bulk, x);
    else
        weir_dumps_restore(s->dumps, x);
}

/* ---- routes -----------------------------------------------------------------------------------
 */

static const struct route {
    const char *path;
    bool post;
    void (*fn)(struct weir_service *s, struct weir_http_exchange *x);
    bool test; /* with --test-endpoints alone */
} routes[];

static void on_health(struct weir_service *s, struct weir_http_exchange *x) {
    (void)s;
    weir_indexer_say(x, 200, "status", "ok");
}
static void on_register_peer(struct weir_service *s, struct weir_http_exchange *x) {
    on_peer(s, x, true);
}
static void on_deregister_peer(struct weir_service *s, struct weir_http_exchange *x) {
    on_peer(s, x, false);
}
static void on_reopen_logs(struct weir_service *s, struct weir_http_exchange *x) {
    struct weir_err err;
    if (weir_requests_reopen(s->requests, &err) == WEIR_OK)
        on_health(s, x);
    else
        weir_indexer_refuse(x, 500, err.text);
}

static const struct route routes[] = {
    {"/register", true, on_register, false},
    {"/unregister", true, on_unregister, false},
    {"/workers", false, on_workers, false},
    {"/query", true, on_query, false},
    {"/query_by_hash", true, on_query_by_hash, false},
    {"/query_batch", true, on_query_batch, false},
    {"/dump", false, on_dump, false},
    {"/restore", true, on_restore, false},
    {"/register_peer", true, on_register_peer, false},
    {"/deregister_peer", true, on_deregister_peer, false},
    {"/peers", false, on_peers, false},
    {"/health", false, on_health, false},
    {"/metrics", false, on_metrics, false},
    {"/reopen_logs", true, on_reopen_logs, false},
    {"/test/pause_listener", true, on_pause, true},
    {"/test/resume_listener", true, on_resume, true},
};

static const struct route *route_of(const struct weir_service *s, struct weir_span path) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(routes); i++)
        if (weir_span_eqz(path, routes[i].path) && (s->test_pages || !routes[i].test))
            return &routes[i];
    return NULL;
}

static size_t on_head(void *arg, struct weir_http_exchange *x) {
    const struct weir_service *s = arg;
    const struct weir_http_request *q = weir_http_exchange_request(x);
    const struct route *r = route_of(s, q->path);
    bool reads = weir_span_eqz(q->method, "GET") || weir_span_eqz(q->method, "HEAD");
    if (r == NULL) {
        weir_indexer_refuse(x, 404, "no such page");
    } else if (r->post ? !weir_span_eqz(q->method, "POST") : !reads) {
        const struct weir_http_header allow = {
            WEIR_SPAN_LIT("allow"), r->post ? WEIR_SPAN_LIT("POST") : WEIR_SPAN_LIT("GET,HEAD")};
        weir_http_respond(x, 405, NULL, &allow, 1, weir_span("", 0));
    }
    return r != NULL && r->fn == on_restore ? s->restore_limit : s->query_limit;
}

static void on_request(void *arg, struct weir_http_exchange *x) {
    struct weir_service *s = arg;
    const struct route *r = route_of(s, weir_http_exchange_request(x)->path);
    if (r != NULL)
        r->fn(s, x);
}

static void on_body_error(void *arg, struct weir_http_exchange *x, int http_status) {
    const struct weir_service *s = arg;
    char text[128];
    if (http_status == 413)
        snprintf(text, sizeof(text), "the body is over the limit of %zu MiB (--body-limit-mb)",
                 s->query_limit >> 20);
    else
        snprintf(text, sizeof(text), "the body could not be read: %s",
                 weir_http_reason(http_status));
    weir_indexer_refuse(x, http_status, text);
}

static void on_done(void *arg, struct weir_http_exchange *x, enum weir_http_done how) {
    const struct weir_service *s = arg;
    const struct route *r = route_of(s, weir_http_exchange_request(x)->path);
    (void)how;
    if (r == NULL || r->fn != on_metrics) /* the page does not count its own readers */
        weir_requests_note(s->requests, x, r != NULL ? r->path : "unknown");
    weir_answer_on_done(x);
}

static void on_writable(void *arg, struct weir_http_exchange *x) {
    (void)arg;
    weir_answer_on_writable(x);
}

const struct weir_http_handler weir_service_handler = {.on_head = on_head,
                                                       .on_request = on_request,
                                                       .on_body_error = on_body_error,
                                                       .on_writable = on_writable,
                                                       .on_done = on_done};

/* ---- life -------------------------------------------------------------------------------------
 */

enum weir_status weir_service_init(struct weir_service *service, struct weir_groups *groups,
                                   struct weir_metrics *metrics, size_t body_limit) {
    static const double buckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};
    static const struct weir_metric_desc queries = {
        .name = "weir_indexer_queries_total", .type = WEIR_COUNTER, .help = "Queries answered."};
    static const struct weir_metric_desc query_us = {.name = "weir_indexer_query_us",
                                                     .type = WEIR_HISTOGRAM,
                                                     .help = "Search of the index, microseconds.",
                                                     .buckets = buckets,
                                                     .n_buckets = WEIR_ARRAY_LEN(buckets)};
    *service = (struct weir_service){.groups = groups,
                                     .query_limit = body_limit,
                                     .restore_limit = body_limit * 64,
                                     .metrics = metrics,
                                     .n_scores = FIRST_SCORES};
    service->queries = weir_metric_get(weir_metrics_family(metrics, &queries, 0), NULL);
    service->query_us = weir_metric_get(weir_metrics_family(metrics, &query_us, 0), NULL);
    service->scores = weir_calloc(FIRST_SCORES, sizeof(*service->scores));
    return service->scores != NULL ? WEIR_OK : WEIR_NOMEM;
}

void weir_service_fini(struct weir_service *service) {
    for (size_t i = 0; i < service->n_peers; i++)
        weir_free(service->peers[i]);
    weir_free(service->scores);
}
