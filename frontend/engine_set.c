#include "frontend/engine_set.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "frontend/engine_parity.h"
#include "router/engine_events.h"
#include "router/kv_batch.h"
#include "runtime/engine_feed.h"
#include "wire/record.h"

#include <stdio.h>
#include <string.h>

/* A worker of a model. */
struct seat {
    struct member *member; /* borrowed: its owner */
    uint64_t worker_id;
    char *name;                 /* owned: of the model */
    struct weir_model *model;   /* a reference; NULL: the worker was left out, or only prefills */
    struct weir_router *router; /* borrowed: of the model, or of a prefill pool, which stays; NULL:
                                   left out */
    const char *lora;           /* an adapter: as KV events name it, in `name`; else NULL */
    bool waits;                 /* left out beside other workers of the model */
    bool compared;              /* its tokens with ours, or that cannot be done */
};

/* The cache of one rank. */
enum { N_COUNTS = 5 };

struct cache {
    struct member *member; /* borrowed: its owner */
    uint32_t rank;
    struct weir_engine_rank *names; /* owned */
    struct weir_engine_feed *feed;  /* owned */
    uint64_t n_events;
    struct weir_metric *next, *resets; /* of the registry */
    struct weir_metric *left_out[5];   /* reasons[] */
    struct weir_metric *counts[N_COUNTS];
    struct weir_engine_feed_stats counted; /* what they have of the feed */
};

struct member {
    struct weir_list node;
    struct weir_engine_set *set; /* borrowed */
    uint64_t id;
    bool prefill;       /* its role */
    struct seat *seats; /* owned */
    size_t n_seats;
    struct cache *caches; /* owned */
    size_t n_caches;
    struct weir_metric *up, *downs; /* of the registry */
    char *address;                  /* owned */
    bool tokenizes;
    struct weir_engine_parity *parity; /* under way, of one seat; NULL otherwise */
};

struct weir_engine_set {
    struct weir_loop *loop; /* borrowed */
    struct weir_engine_set_config config;
    struct weir_engines *engines;
    struct weir_engine_binds *binds;
    struct weir_relay_pools *pools; /* for comparisons; NULL: there are none */
    struct weir_list members;
    struct weir_kv_batch batch; /* of one message of an engine */
};

#define MEMBER(n) WEIR_CONTAINER_OF(n, struct member, node)

static struct member *find(struct weir_engine_set *s, uint64_t id) {
    WEIR_LIST_FOREACH(it, &s->members) {
        if (MEMBER(it)->id == id)
            return MEMBER(it);
    }
    return NULL;
}

/* Another entry of the same server is up: the figures are of both. */
static bool other_at(const struct weir_engine_set *s, uint64_t id, const char *address) {
    WEIR_LIST_FOREACH(it, &s->members) {
        const struct member *m = MEMBER(it);
        if (m->id != id && m->address != NULL && strcmp(m->address, address) == 0)
            return true;
    }
    return false;
}

/* Of those that follow a rank, the first counts what it does. */
static bool counts_here(const struct cache *c) {
    const struct member *m = c->member;
    WEIR_LIST_FOREACH(it, &m->set->members) {
        const struct member *first = MEMBER(it);
        if (first == m)
            return true;
        if (first->address == NULL || m->address == NULL || strcmp(first->address, m->address) != 0)
            continue;
        for (size_t i = 0; i < first->n_caches; i++)
            if (first->caches[i].rank == c->rank && first->caches[i].feed != NULL)
                return false;
    }
    return true;
}

static void drop_seats(struct member *m) {
    weir_engine_parity_cancel(m->parity);
    m->parity = NULL;
    for (size_t i = 0; i < m->n_seats; i++) {
        weir_model_unref(m->seats[i].model);
        weir_free(m->seats[i].name);
    }
    weir_free(m->seats);
    m->seats = NULL;
    m->n_seats = 0;
}

static void drop_caches(struct member *m) {
    for (size_t i = 0; i < m->n_caches; i++) {
        weir_engine_feed_close(m->caches[i].feed);
        weir_engine_rank_destroy(m->caches[i].names);
    }
    weir_free(m->caches);
    m->caches = NULL;
    m->n_caches = 0;
}

static void drop_member(struct member *m) {
    drop_caches(m);
    drop_seats(m);
    if (m->set->pools != NULL && m->address != NULL)
        weir_relay_pool_left(m->set->pools, weir_span_z(m->address), 0); /* its calls are bounded */
    weir_free(m->address);
    weir_list_remove(&m->node);
    weir_free(m);
}

/* The engine's own id serves its first model; the others get one of both. */
static uint64_t seat_id(uint64_t engine, struct weir_span model, bool first) {
    uint64_t h = weir_hash_word(WEIR_HASH_BEGIN, engine);
    return first ? engine : weir_hash_bytes(h, model.data, model.len) & ((1ull << 53) - 1);
}

/* The engine still has the model, and at the place that gives it this id. */
static bool keeps(const struct weir_engine_info *e, const struct seat *seat) {
    for (size_t i = 0; i < e->n_models; i++)
        if (weir_span_eqz(e->models[i].id, seat->name) &&
            seat_id(e->id, e->models[i].id, i == 0) == seat->worker_id)
            return true;
    return false;
}

static bool fill_seats(struct member *m, const struct weir_engine_info *e) {
    m->seats = weir_calloc(e->n_models, sizeof(*m->seats));
    for (size_t i = 0; m->seats != NULL && i < e->n_models; i++) {
        struct weir_span id = e->models[i].id;
        char *name = weir_strndup(id.data, id.len);
        if (name == NULL)
            return false;
        m->seats[m->n_seats++] = (struct seat){
            .member = m,
            .worker_id = seat_id(e->id, id, i == 0),
            .name = name,
            .lora = e->models[i].adapter ? name + id.len - e->models[i].lora.len : NULL};
    }
    weir_free(m->address);
    m->address = weir_strdup(e->address);
    m->tokenizes = e->tokenizes;
    return m->seats != NULL && m->address != NULL;
}

static uint32_t block_size(const struct weir_engine_set *s, const struct weir_engine_info *e) {
    return e->block_size > 0 ? e->block_size : s->config.default_block_size;
}

/* ---- caches ------------------------------------------------------------------------------- */

static void clear(struct member *m, uint32_t rank) {
    weir_kv_batch_flush(&m->set->batch);
    for (size_t i = 0; i < m->n_seats; i++)
        if (m->seats[i].router != NULL)
            weir_router_clear_rank(m->seats[i].router, m->seats[i].worker_id, rank);
}

/* A stored block is of the adapter that it names, or of every name of the model itself; what is
 * removed was stored for one of them. */
static bool concerns(const struct seat *seat, const struct weir_kv_event *e,
                     struct weir_span lora) {
    if (e->kind != WEIR_KV_STORED)
        return true;
    return lora.len > 0 ? seat->lora != NULL && weir_span_eqz(lora, seat->lora)
                        : seat->lora == NULL;
}

static void on_event(void *arg, const struct weir_engine_event *event) {
    struct cache *c = arg;
    struct member *m = c->member;
    struct weir_kv_event e;
    struct weir_span lora;
    if (!weir_engine_rank_convert(c->names, event, &e, &lora))
        return;
    e.dp_rank = c->rank;
    e.event_id = ++c->n_events;
    for (size_t i = 0; i < m->n_seats; i++) {
        const struct seat *seat = &m->seats[i];
        if (seat->router == NULL || !concerns(seat, &e, lora))
            continue;
        e.worker_id = seat->worker_id;
        weir_kv_batch_add(&m->set->batch, weir_router_kv_events, seat->router, &e);
    }
}

static const char *const reasons[] = {"ambiguous", "media", "block_size", "group", "other"};

static void count_batches(struct cache *c) {
    struct weir_engine_feed_stats s, *old = &c->counted;
    if (c->feed == NULL)
        return;
    weir_engine_feed_get_stats(c->feed, &s);
    const uint64_t more[N_COUNTS] = {s.batches - old->batches, s.gaps - old->gaps,
                                     s.replays - old->replays, s.broken - old->broken,
                                     s.replayed - old->replayed};
    bool counts = counts_here(c);
    for (size_t i = 0; i < N_COUNTS; i++)
        if (counts && more[i] > 0)
            weir_metric_add(c->counts[i], (double)more[i]);
    *old = s;
}

/* What was not used, and why: an operator who sees no hits looks here. */
static void on_batch(void *arg, uint64_t next) {
    struct cache *c = arg;
    weir_kv_batch_flush(&c->member->set->batch);
    struct weir_engine_rank_stats s;
    weir_engine_rank_get_stats(c->names, &s);
    const uint64_t counts[] = {s.ambiguous, s.media, s.block_size, s.other_group,
                               s.remote + s.other + s.table_full};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(reasons); i++)
        weir_metric_set(c->left_out[i], (double)counts[i]);
    weir_metric_set(c->next, (double)next);
    count_batches(c);
}

static void find_metrics(struct weir_engine_set *s, struct cache *c, const char *address) {
    static const struct weir_metric_desc next = {
        .name = "weir_engine_kv_next_sequence",
        .type = WEIR_GAUGE,
        .help = "Number of the KV event batch that is to come.",
        .labels = {"engine", "dp_rank"}};
    static const struct weir_metric_desc resets = {
        .name = "weir_engine_kv_resets_total",
        .type = WEIR_COUNTER,
        .help = "Times that all blocks of a rank were forgotten: restarts and lost events.",
        .labels = {"engine", "dp_rank"}};
    static const struct weir_metric_desc left_out = {
        .name = "weir_engine_kv_left_out",
        .type = WEIR_GAUGE,
        .help = "Blocks and events of a rank that routing does not use since it was last found: "
                "adapter or salt not certain (ambiguous), images (media), another block size, "
                "groups without full attention, other.",
        .labels = {"engine", "dp_rank", "reason"}};
    static const struct weir_metric_desc counts[N_COUNTS] = {
        {.name = "weir_engine_kv_batches_total",
         .type = WEIR_COUNTER,
         .help = "KV event batches of a rank that came.",
         .labels = {"engine", "dp_rank"}},
        {.name = "weir_engine_kv_gaps_total",
         .type = WEIR_COUNTER,
         .help = "Times that a batch showed that others are missing.",
         .labels = {"engine", "dp_rank"}},
        {.name = "weir_engine_kv_replays_total",
         .type = WEIR_COUNTER,
         .help = "Times that the engine was asked for its batches, at first or behind such a gap.",
         .labels = {"engine", "dp_rank"}},
        {.name = "weir_engine_kv_batches_broken_total",
         .type = WEIR_COUNTER,
         .help = "Batches and events that cannot be read.",
         .labels = {"engine", "dp_rank"}},
        {.name = "weir_engine_kv_batches_replayed_total",
         .type = WEIR_COUNTER,
         .help = "Batches that were missed and came when the engine was asked.",
         .labels = {"engine", "dp_rank"}}};
    char rank[16];
    snprintf(rank, sizeof(rank), "%u", c->rank);
    const char *two[] = {address, rank};
    for (size_t i = 0; i < N_COUNTS; i++)
        c->counts[i] = weir_metric_get(weir_metrics_family(s->config.metrics, &counts[i], 0), two);
    c->next = weir_metric_get(weir_metrics_family(s->config.metrics, &next, 0), two);
    c->resets = weir_metric_get(weir_metrics_family(s->config.metrics, &resets, 0), two);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(reasons); i++) {
        const char *three[] = {address, rank, reasons[i]};
        c->left_out[i] =
            weir_metric_get(weir_metrics_family(s->config.metrics, &left_out, 4096), three);
    }
}

static void on_reset(void *arg, const char *why) {
    struct cache *c = arg;
    if (counts_here(c))
        weir_metric_inc(c->resets);
    WEIR_LOG(WEIR_LOG_INFO, "engines", "engine %s rank %u: its blocks are forgotten: %s",
             weir_worker_text(c->member->id).s, c->rank, why);
    weir_engine_rank_reset(c->names);
    clear(c->member, c->rank);
}

static void open_caches(struct weir_engine_set *s, struct member *m,
                        const struct weir_engine_info *e) {
    static const struct weir_engine_feed_ops ops = {on_event, on_reset, on_batch};
    struct weir_err err = {.text = "out of memory"};
    m->caches = weir_calloc(e->n_sources + 1, sizeof(*m->caches));
    for (size_t i = 0; m->caches != NULL && i < e->n_sources; i++) {
        struct cache *c = &m->caches[m->n_caches++];
        c->member = m;
        c->rank = e->sources[i].rank;
        find_metrics(s, c, e->address);
        clear(m, c->rank);
        if (weir_engine_rank_create(block_size(s, e), 0, &c->names) != WEIR_OK ||
            weir_engine_feed_open(s->loop, s->binds, &e->sources[i], &ops, c, &c->feed, &err) !=
                WEIR_OK)
            WEIR_LOG(WEIR_LOG_ERROR, "engines", "engine %s: no KV events of rank %u: %s",
                     e->address, c->rank, err.text);
    }
    if (e->n_sources == 0)
        WEIR_LOG(WEIR_LOG_WARN, "engines",
                 "engine %s names no source of KV events: its cache is not seen. Start it with KV "
                 "events on, or name their address behind --worker with kv-events=tcp://host:port",
                 e->address);
}

/* ---- tokens ------------------------------------------------------------------------------- */

static void compare_next(struct member *m);

/* Adapters have the template and the vocabulary of their model. */
static void on_compared(void *arg, const struct weir_parity_finding *finding) {
    struct seat *seat = arg;
    struct member *m = seat->member;
    m->parity = NULL;
    for (size_t i = 0; finding != NULL && i < m->n_seats; i++) {
        struct weir_parity_finding f = *finding;
        f.again = &m->seats[i] != seat;
        if (!f.again || m->seats[i].lora != NULL)
            weir_models_parity_found(m->set->config.models, m->seats[i].worker_id, &f);
    }
    compare_next(m);
}

/* One model of an engine after the other; those whose tokenizer is still being read come later. */
static void compare_next(struct member *m) {
    struct weir_engine_set *s = m->set;
    for (size_t i = 0; m->parity == NULL && m->tokenizes && i < m->n_seats; i++) {
        struct seat *seat = &m->seats[i];
        if (seat->compared || seat->lora != NULL || seat->model == NULL ||
            weir_model_info(seat->model)->tok == NULL)
            continue;
        struct weir_engine_parity_config c = {.pools = s->pools,
                                              .address = m->address,
                                              .bearer = weir_engines_bearer(s->engines),
                                              .info = weir_model_info(seat->model)};
        seat->compared = true;
        if (weir_engine_parity_start(&c, on_compared, seat, &m->parity) != WEIR_OK) {
            m->parity = NULL;
            WEIR_LOG(WEIR_LOG_WARN, "parity", "engine %s: its tokens cannot be compared with ours",
                     m->address);
        }
    }
}

void weir_engine_set_tick(struct weir_engine_set *set) {
    if (set == NULL || set->pools == NULL)
        return;
    WEIR_LIST_FOREACH(it, &set->members) {
        compare_next(MEMBER(it));
    }
}

/* ---- comings and goings -------------------------------------------------------------------- */

static void remove_seat(const struct member *m, const struct seat *seat, bool listed) {
    if (m->prefill)
        weir_prefill_engine_remove(m->set->config.prefill, seat->worker_id);
    else
        weir_models_engine_remove(m->set->config.models, seat->worker_id, m->id, listed);
}

/* What the registry is told of a seat: the i-th model. */
static struct weir_models_engine worker_of(const struct member *m, size_t i,
                                           const struct weir_engine_info *e) {
    const struct weir_engine_model *model = &e->models[i];
    return (struct weir_models_engine){.id = m->seats[i].worker_id,
                                       .address = e->address,
                                       .model = model->id,
                                       .context_length = model->max_model_len,
                                       .block_size = block_size(m->set, e),
                                       .n_ranks = e->n_ranks,
                                       .n_kv_blocks = e->n_kv_blocks,
                                       .tokenizes = e->tokenizes,
                                       .sglang = model->sglang,
                                       .decode = e->role == WEIR_ENGINE_DECODE};
}

static bool seat_fits(const struct member *m, const struct weir_models_engine *x) {
    return m->prefill ? weir_prefill_engine_fits(m->set->config.prefill, x)
                      : weir_models_engine_fits(m->set->config.models, x);
}

static void put_seat(struct member *m, size_t i, const struct weir_engine_info *e) {
    struct weir_engine_set *s = m->set;
    struct seat *seat = &m->seats[i];
    const struct weir_models_engine x = worker_of(m, i, e);
    if (m->prefill) {
        weir_prefill_engine_put(s->config.prefill, &x,
                                x.sglang ? e->bootstrap_host : weir_span("", 0), e->bootstrap_port);
        seat->router = weir_prefill_router_of(s->config.prefill, x.id);
        seat->waits = seat->router == NULL && !seat_fits(m, &x);
        return;
    }
    weir_models_engine_put(s->config.models, &x);
    seat->model = weir_models_of_worker(s->config.models, x.id);
    /* Its place may be taken just now, by a worker that waited for it. */
    seat->waits = seat->model == NULL && !seat_fits(m, &x);
    seat->router = seat->model != NULL ? weir_model_info(seat->model)->router : NULL;
}

static const struct weir_metric_desc up_desc = {
    .name = "weir_engine_up",
    .type = WEIR_GAUGE,
    .help = "1: the engine answers and gets requests; 0: it was up and is down.",
    .labels = {"engine"}};
static const struct weir_metric_desc downs_desc = {.name = "weir_engine_downs_total",
                                                   .type = WEIR_COUNTER,
                                                   .help = "Times that an engine went down.",
                                                   .labels = {"engine"}};

static struct weir_metric_family *engine_family(const struct weir_engine_set *s,
                                                const struct weir_metric_desc *desc) {
    return weir_metrics_family(s->config.metrics, desc, WEIR_ENGINE_MAX);
}

static void on_up(void *arg, const struct weir_engine_info *e) {
    struct weir_engine_set *s = arg;
    struct member *m = find(s, e->id);
    if (m == NULL) {
        m = weir_calloc(1, sizeof(*m));
        if (m == NULL)
            return;
        weir_list_init(&m->node);
        m->set = s;
        m->id = e->id;
        m->prefill = e->role == WEIR_ENGINE_PREFILL;
        m->up = weir_metric_get(engine_family(s, &up_desc), &e->address);
        m->downs = weir_metric_get(engine_family(s, &downs_desc), &e->address);
        weir_list_push_back(&s->members, &m->node);
    }
    weir_metric_set(m->up, 1);
    for (size_t i = 0; i < m->n_seats; i++)
        if (!keeps(e, &m->seats[i]))
            remove_seat(m, &m->seats[i], false);
    weir_models_engine_forget(s->config.models, e->id); /* it names all that it has */
    drop_caches(m);
    drop_seats(m);
    if (!fill_seats(m, e)) {
        WEIR_LOG(WEIR_LOG_ERROR, "engines", "out of memory: %s is left out", e->address);
        return;
    }
    for (size_t i = 0; i < m->n_seats; i++) {
        put_seat(m, i, e);
    }
    if (s->config.kv_events)
        open_caches(s, m, e);
    if (s->pools != NULL)
        compare_next(m);
}

static void on_down(void *arg, uint64_t id, const char *why) {
    struct weir_engine_set *s = arg;
    struct member *m = find(s, id);
    (void)why;
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n_seats; i++)
        remove_seat(m, &m->seats[i], true);
    if (m->address == NULL || !other_at(s, id, m->address)) {
        weir_metric_set(m->up, 0);
        weir_metric_inc(m->downs);
    }
    drop_member(m);
}

static void on_gone(void *arg, const struct weir_engine_info *e) {
    struct weir_engine_set *s = arg;
    weir_models_engine_forget(s->config.models, e->id);
    if (other_at(s, e->id, e->address))
        return;
    weir_metric_retire(engine_family(s, &up_desc), &e->address);
    weir_metric_retire(engine_family(s, &downs_desc), &e->address);
}

/* One that was left out is looked at again with each poll: what it could not be served beside may
 * have gone. So is one for which there was no memory. */
static bool can_come_in(const struct member *m, const struct weir_engine_info *e) {
    if (m == NULL || m->n_seats < e->n_models || m->address == NULL)
        return true;
    for (size_t i = 0; i < m->n_seats && i < e->n_models; i++) {
        const struct weir_models_engine x = worker_of(m, i, e);
        if (m->seats[i].waits && seat_fits(m, &x))
            return true;
    }
    return false;
}

static void on_same(void *arg, const struct weir_engine_info *e) {
    struct weir_engine_set *s = arg;
    if (can_come_in(find(s, e->id), e))
        on_up(s, e);
}

/* The engine counts all its models together, so each of them sees the whole load. */
static void on_load(void *arg, const struct weir_engine_info *e,
                    const struct weir_engine_load *load) {
    struct weir_engine_set *s = arg;
    struct member *m = find(s, e->id);
    for (size_t i = 0; m != NULL && i < m->n_seats; i++) {
        const struct seat *seat = &m->seats[i];
        struct weir_active_load a = {.worker_id = seat->worker_id,
                                     .dp_rank = load->rank,
                                     .has_kv_used = e->n_kv_blocks > 0,
                                     .kv_used_blocks =
                                         (uint64_t)(load->kv_usage * (double)e->n_kv_blocks)};
        if (seat->router != NULL)
            weir_router_load_event(seat->router, &a);
    }
}

enum weir_status weir_engine_set_open(struct weir_loop *loop,
                                      const struct weir_engine_set_config *config,
                                      struct weir_engine_set **ret_set, struct weir_err *err) {
    static const struct weir_engines_ops ops = {on_up, on_same, on_down, on_gone, on_load};
    struct weir_engine_set *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    s->loop = loop;
    s->config = *config;
    weir_list_init(&s->members);
    enum weir_status st = weir_engine_binds_create(loop, &s->binds);
    if (st == WEIR_OK && config->parity)
        st = weir_relay_pools_create(loop, config->engines.tls, 0, WEIR_ENGINE_MAX, &s->pools);
    if (st != WEIR_OK)
        weir_err_set(err, st, "out of memory");
    else
        st = weir_engines_open(loop, &config->engines, &ops, s, &s->engines, err);
    if (st != WEIR_OK) {
        weir_engine_set_close(s);
        return st;
    }
    *ret_set = s;
    return WEIR_OK;
}

void weir_engine_set_close(struct weir_engine_set *set) {
    if (set == NULL)
        return;
    weir_engines_close(set->engines);
    WEIR_LIST_FOREACH(it, &set->members) {
        drop_member(MEMBER(it));
    }
    weir_engine_binds_destroy(set->binds);
    weir_relay_pools_destroy(set->pools);
    weir_free(set);
}
