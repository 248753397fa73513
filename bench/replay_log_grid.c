#include "bench/replay_log_grid.h"

#include "base/json.h"
#include "base/mem.h"
#include "bench/put.h"
#include "bench/replay_device.h"
#include "bench/replay_fleet.h"
#include "bench/replay_grid.h"
#include "bench/replay_setup.h"
#include "bench/replay_ways.h"
#include "cuda/kvc_decide.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The complete decisions of kv mode, one behind the other. */
struct collected {
    struct kvc_decision *decisions; /* owned, as the candidates */
    struct kvc_decision_candidate *candidates;
    size_t n, cap, n_candidates, cap_candidates;
    bool out_of_memory;
};

/* The array with room for as many as are wanted; NULL: it is as it was. */
static void *grown(void *array, size_t *cap, size_t want, size_t bytes) {
    if (want <= *cap)
        return array;
    size_t more = *cap * 2 > want ? *cap * 2 : want;
    void *p = weir_realloc(array, more * bytes);
    *cap = p != NULL ? more : *cap;
    return p;
}

static bool make_room(struct collected *c, size_t n_candidates) {
    struct kvc_decision *decisions = grown(c->decisions, &c->cap, c->n + 1, sizeof(*c->decisions));
    if (decisions == NULL)
        return false;
    c->decisions = decisions;
    struct kvc_decision_candidate *candidates = grown(
        c->candidates, &c->cap_candidates, c->n_candidates + n_candidates, sizeof(*c->candidates));
    if (candidates == NULL)
        return false;
    c->candidates = candidates;
    return true;
}

static void on_compared(void *arg, const struct weir_decision *d) {
    struct collected *c = arg;
    size_t first = 0, last = d->n;
    double least = INFINITY;
    if (!make_room(c, d->n)) {
        c->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < d->n; i++) {
        const struct weir_candidate *x = &d->candidates[i];
        least = x->active_prefill_tokens < least ? x->active_prefill_tokens : least;
        c->candidates[c->n_candidates + i] =
            (struct kvc_decision_candidate){.device_blocks = x->device_blocks,
                                            .host_blocks = x->host_blocks,
                                            .disk_blocks = x->disk_blocks,
                                            .prefill_tokens = x->active_prefill_tokens,
                                            .decode_blocks = x->active_decode_blocks,
                                            .additional_blocks = x->additional_active_blocks,
                                            .requests = x->active_requests,
                                            .churn = x->churn};
    }
    weir_decide_range(&d->in, d->candidates, d->n, &first, &last);
    c->decisions[c->n++] =
        (struct kvc_decision){.isl_tokens = d->in.params.isl_tokens,
                              .least_prefill_tokens = least,
                              .first = c->n_candidates + first,
                              .winner = c->n_candidates + d->winner,
                              .n = (uint32_t)(last - first),
                              .block_size = d->in.params.block_size,
                              .track_prefill_tokens = d->in.params.track_prefill_tokens};
    c->n_candidates += d->n;
}

/* ---- configurations ---------------------------------------------------------------------------
 */

/* What a choice in a recorded state depends on. */
static const char *refuses(const struct weir_option *o) {
    static const char *const vary[] = {"modes",
                                       "seed",
                                       "load_aware",
                                       "router_kv_overlap_score_credit",
                                       "router_kv_overlap_score_credit_decay",
                                       "router_kv_overlap_score_weight",
                                       "router_prefill_load_scale",
                                       "router_decode_active_request_weight",
                                       "router_selection_policy",
                                       "router_recompute_weight",
                                       "router_churn_weight",
                                       "router_decode_block_weight",
                                       "router_host_cache_hit_weight",
                                       "router_disk_cache_hit_weight",
                                       "router_temperature"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(vary); i++)
        if (strcmp(o->name, vary[i]) == 0)
            return NULL;
    return "changes no decision in a recorded state: give a --trace";
}

struct run {
    struct weir_grid grid;
    struct weir_replay_log log;
    struct collected collected;
    struct kvc_decision_config *configs; /* owned, as all below */
    struct kvc_decision_result *results;
    uint32_t *ranking;
    const struct weir_replay_options *options;
};

static enum weir_status make_config(struct run *r, size_t at, struct weir_err *err) {
    struct weir_replay_options o;
    struct weir_replay_setup s;
    struct weir_replay_way way;
    size_t n;
    enum weir_status st = weir_grid_config(&r->grid, at, &o, err);
    if (st == WEIR_OK)
        st = weir_replay_ways_read(o.modes, &way, 1, &n, err);
    if (st == WEIR_OK && way.queues)
        st = weir_err_set(err, WEIR_INVALID, "--modes: %s: a log of decisions has nobody who waits",
                          way.name);
    if (st != WEIR_OK)
        return st;
    weir_replay_fill_router(&o, &s);
    if (way.has_policy)
        s.router.policy = way.policy;
    r->configs[at] = (struct kvc_decision_config){.mode = weir_replay_fleet_mode(way.mode),
                                                  .policy = weir_replay_fleet_policy(&s.router),
                                                  .cost = weir_replay_fleet_cost(&s.router),
                                                  .temperature = s.router.temperature,
                                                  .seed = (uint64_t)o.seed};
    return WEIR_OK;
}

static enum weir_status set_up(struct run *r, struct weir_span text, struct weir_arena *arena,
                               struct weir_err *err) {
    const struct weir_replay_options *o = r->options;
    struct weir_replay_setup s;
    weir_replay_fill_router(o, &s);
    r->log.on_compared = on_compared;
    r->log.arg = &r->collected;
    enum weir_status st = weir_replay_grid_read(o, refuses, arena, &r->grid, err);
    if (st == WEIR_OK)
        st = weir_replay_log_read(text, &s.router, (uint64_t)o->seed, &r->log, err);
    if (st != WEIR_OK)
        return st;
    size_t n = r->grid.n_configs;
    r->configs = weir_calloc(n, sizeof(*r->configs));
    r->results = weir_calloc(n, sizeof(*r->results));
    r->ranking = weir_calloc(n, sizeof(*r->ranking));
    if (r->configs == NULL || r->results == NULL || r->ranking == NULL ||
        r->collected.out_of_memory)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        st = make_config(r, i, err);
    return st;
}

static int by_hits(const void *a, const void *b, void *arg) {
    const struct run *r = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    uint64_t p = r->results[x].hit_blocks, q = r->results[y].hit_blocks;
    return p != q ? (p < q) - (p > q) : (x > y) - (x < y);
}

/* ---- report -----------------------------------------------------------------------------------
 */

static void put_result(struct weir_jsonw *w, const struct run *r, size_t rank) {
    size_t at = r->ranking[rank];
    const struct kvc_decision_result *x = &r->results[at];
    weir_jsonw_object_begin(w);
    weir_put_whole(w, "rank", rank + 1);
    weir_put_whole(w, "configuration", at);
    weir_grid_json(w, &r->grid, at);
    weir_put_whole(w, "hit_blocks", x->hit_blocks);
    weir_jsonw_key(w, "block_hit_rate");
    weir_jsonw_f64(w, weir_replay_log_share(x->hit_blocks, r->log.prompt_blocks));
    weir_put_whole(w, "same_worker", x->same_worker);
    weir_put_digest(w, x->digest);
    weir_jsonw_object_end(w);
}

static enum weir_status write_json(const struct run *r, const char *device, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_replay_log_head_json(&w, &r->log);
    weir_put_whole(&w, "recorded_blocks", r->log.recorded_blocks);
    weir_put_whole(&w, "n_configurations", r->grid.n_configs);
    weir_put_text(&w, "device", device);
    weir_jsonw_key(&w, "configurations");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < r->grid.n_configs; i++)
        put_result(&w, r, i);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status != WEIR_OK ? w.status : weir_buf_append_z(out, "\n");
}

static enum weir_status write_table(const struct run *r, const char *device, struct weir_buf *out) {
    const struct weir_replay_log *l = &r->log;
    size_t top = (size_t)r->options->top;
    enum weir_status st =
        weir_buf_printf(out,
                        "%zu configurations of %" PRIu64 " decisions by %s\n\n"
                        "          blocks    same\n"
                        " rank     hit, %%  worker, %%   options\n"
                        " best     %6.2f\n recorded %6.2f\n",
                        r->grid.n_configs, l->compared, device,
                        100 * weir_replay_log_share(l->best_blocks, l->prompt_blocks),
                        100 * weir_replay_log_share(l->recorded_blocks, l->prompt_blocks));
    for (size_t i = 0; i < r->grid.n_configs && i < top && st == WEIR_OK; i++) {
        char config[512];
        const struct kvc_decision_result *x = &r->results[r->ranking[i]];
        weir_grid_describe(&r->grid, r->ranking[i], false, config, sizeof(config));
        st = weir_buf_printf(out, "%5zu     %6.2f  %6.2f      %s\n", i + 1,
                             100 * weir_replay_log_share(x->hit_blocks, l->prompt_blocks),
                             100 * weir_replay_log_share(x->same_worker, l->compared), config);
    }
    return st;
}

static enum weir_status decide(struct run *r, struct kvc *k, struct weir_err *err) {
    const struct kvc_decision_log log = {.decisions = r->collected.decisions,
                                         .candidates = r->collected.candidates,
                                         .n = r->collected.n,
                                         .n_candidates = r->collected.n_candidates};
    int64_t threads = r->options->threads;
    enum kvc_status st =
        kvc_redecide(k, &log, r->configs, r->grid.n_configs,
                     threads != WEIR_CONFIG_NONE ? (unsigned)threads : 0, r->results);
    for (size_t i = 0; i < r->grid.n_configs; i++)
        r->ranking[i] = (uint32_t)i;
    qsort_r(r->ranking, r->grid.n_configs, sizeof(*r->ranking), by_hits, r);
    return st == KVC_OK ? WEIR_OK
                        : weir_err_set(err, WEIR_INVALID, "--decisions: %s", kvc_status_text(st));
}

enum weir_status weir_replay_log_grid(const struct weir_replay_options *options,
                                      struct weir_span log_text, struct weir_arena *arena,
                                      struct weir_buf *ret_table, struct weir_buf *ret_json,
                                      struct weir_err *err) {
    struct run r = {.options = options};
    struct kvc *k = NULL;
    struct kvc_info info;
    enum weir_status st = set_up(&r, log_text, arena, err);
    if (st == WEIR_OK)
        st = weir_replay_device_open(options, &k, err);
    if (st == WEIR_OK)
        st = decide(&r, k, err);
    if (st == WEIR_OK) {
        kvc_get_info(k, &info);
        if (ret_table != NULL)
            st = write_table(&r, info.name, ret_table);
        if (st == WEIR_OK && ret_json != NULL)
            st = write_json(&r, info.name, ret_json);
        if (st != WEIR_OK)
            weir_err_set(err, st, "report: %s", weir_status_text(st));
    }
    kvc_close(k);
    weir_free(r.collected.decisions);
    weir_free(r.collected.candidates);
    weir_free(r.configs);
    weir_free(r.results);
    weir_free(r.ranking);
    return st;
}
