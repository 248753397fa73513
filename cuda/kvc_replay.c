/*
 * Many configurations in waves. On a device two waves take turns, so that the results of one are
 * handed out while the next is simulated; whatever it cannot do, the CPU does.
 */
#include "cuda/kvc_priv.h"
#include "cuda/kvc_replay_priv.h"

#include <stdlib.h>
#include <unistd.h>

/* Results that wait on the host, and configurations of one wave at most. */
#define OUTCOME_BYTES_MAX ((size_t)512 << 20)
enum { WAVE_MAX = 1 << 16 };

size_t kvc_replay_config_bytes(const struct kvc_trace *t, const struct kvc_replay_config *c) {
    struct kvc_sim s;
    return kvc_sim_place(&s, c, &t->course, 0, NULL);
}

static bool holds(double value, double least) {
    return value >= least && value < INFINITY;
}

/* A share or multiple that may be off. */
static bool limit(double value) {
    return isnan(value) || holds(value, 0);
}

static bool sound(const struct kvc_trace *t, const struct kvc_replay_config *c) {
    uint64_t room = (uint64_t)c->n_blocks * t->course.block_size;
    if (room > UINT32_MAX / 2)
        room = UINT32_MAX / 2;
    return c->mode <= KVC_REPLAY_LEAST_LOADED && c->n_workers > 0 &&
           c->n_workers <= KVC_REPLAY_WORKERS_MAX && c->n_blocks > 0 &&
           c->n_blocks <= KVC_NONE / 2 && c->max_num_seqs > 0 && c->max_num_batched_tokens > 0 &&
           c->max_num_batched_tokens <= KVC_NONE / 2 && t->most_tokens <= room &&
           c->trace_speedup > 0 && t->last_ms / c->trace_speedup <= 1e12 &&
           c->prefill_tokens_per_s > 0 && holds(c->decode_base_ms, 0) &&
           holds(c->decode_per_request_ms, 0) && holds(c->temperature, 0) && holds(c->ttl_s, 0) &&
           c->policy.kind <= KVC_REPLAY_FLEET && holds(c->policy.recompute_weight, 0) &&
           holds(c->policy.churn_weight, 0) && holds(c->churn_half_life_s, 0) &&
           holds(c->policy.decode_block_weight, 0) && limit(c->busy_decode_blocks) &&
           limit(c->busy_prefill_tokens_frac) && holds(c->cost.overlap_score_credit, 0) &&
           holds(c->cost.overlap_credit_decay, 0) && holds(c->cost.prefill_load_scale, 0) &&
           holds(c->cost.decode_active_request_weight, 0) && holds(c->cost.host_weight, 0) &&
           holds(c->cost.disk_weight, 0) &&
           (uint64_t)c->n_workers * t->course.n_runs + t->course.n_requests < KVC_NONE / 2;
}

/* ---- waves ---------------------------------------------------------------------------------- */

/* One in flight, and the memory of its arrays. */
struct slot {
    struct kvc_wave wave;
    struct kvc_replay_config *configs;
    uint64_t *places;
    uint32_t *order; /* places of its configurations in the caller's array */
};

struct run {
    struct kvc_trace *t;
    const struct kvc_replay_config *configs;
    const struct kvc_replay_options *options;
    struct kvc_replay_stats *stats;
    size_t n;
    uint32_t *order; /* owned: places of the configurations, in the order of their start */
    size_t next;
    size_t done;
    size_t slot_bytes; /* of device memory for one wave */
    uint32_t slot_room;
    unsigned threads;
    struct slot slots[KVC_REPLAY_SLOTS];
};

static void free_slots(struct run *r) {
    struct kvc *k = r->t->k;
    for (int i = 0; i < KVC_REPLAY_SLOTS; i++) {
        struct slot *s = &r->slots[i];
        free(s->configs);
        free(s->places);
        free(s->order);
        kvc_free(k, KVC_MEMORY_HOST, s->wave.outcomes);
        kvc_free(k, KVC_MEMORY_HOST, s->wave.ends);
    }
}

static enum kvc_status make_slots(struct run *r) {
    struct kvc *k = r->t->k;
    size_t each = r->t->course.n_requests * sizeof(struct kvc_replay_outcome);
    size_t room = OUTCOME_BYTES_MAX / each;
    room = room > 0 ? room : 1;
    room = room < WAVE_MAX ? room : WAVE_MAX;
    r->slot_room = (uint32_t)(room < r->n ? room : r->n);
    for (int i = 0; i < KVC_REPLAY_SLOTS; i++) {
        struct slot *s = &r->slots[i];
        s->configs = malloc(r->slot_room * sizeof(*s->configs));
        s->places = malloc(r->slot_room * sizeof(*s->places));
        s->order = malloc(r->slot_room * sizeof(*s->order));
        s->wave.outcomes = kvc_alloc(k, KVC_MEMORY_HOST, r->slot_room * each);
        s->wave.ends = kvc_alloc(k, KVC_MEMORY_HOST, r->slot_room * sizeof(*s->wave.ends));
        if (s->configs == NULL || s->places == NULL || s->order == NULL ||
            s->wave.outcomes == NULL || s->wave.ends == NULL)
            return KVC_NOMEM;
    }
    return KVC_OK;
}

/* The next configurations that fit; KVC_NOMEM: not one does. */
static enum kvc_status fill(struct run *r, struct slot *s) {
    size_t outcome = r->t->course.n_requests * sizeof(struct kvc_replay_outcome);
    struct kvc_wave *w = &s->wave;
    uint32_t most_workers = 1;
    w->n = 0;
    w->state_bytes = 0;
    while (r->next < r->n && w->n < r->slot_room) {
        uint32_t at = r->order[r->next];
        const struct kvc_replay_config *c = &r->configs[at];
        size_t bytes = kvc_replay_config_bytes(r->t, c);
        if (w->state_bytes + bytes + (w->n + 1) * outcome > r->slot_bytes)
            break;
        s->configs[w->n] = *c;
        s->places[w->n] = w->state_bytes;
        s->order[w->n++] = at;
        w->state_bytes += bytes;
        most_workers = c->n_workers > most_workers ? c->n_workers : most_workers;
        r->next++;
    }
    for (w->lanes = 1; w->lanes < 32 && w->lanes < most_workers;)
        w->lanes *= 2;
    w->configs = s->configs;
    w->places = s->places;
    return w->n > 0 ? KVC_OK : KVC_NOMEM;
}

/* Hands out a wave's results. */
static enum kvc_status take(struct run *r, struct slot *s) {
    for (uint32_t i = 0; i < s->wave.n; i++)
        if (s->wave.ends[i].failed)
            return KVC_INCONSISTENT;
    kvc_replay_deliver(r->options, &s->wave, s->order, r->t->course.n_requests, r->threads);
    r->done += s->wave.n;
    s->wave.n = 0;
    if (r->options->on_progress != NULL)
        r->options->on_progress(r->options->arg, r->done);
    return KVC_OK;
}

/* On failure, what is not handed out is in the slots and in order[next .. n). */
static enum kvc_status run_waves(struct run *r) {
    struct kvc *k = r->t->k;
    enum kvc_status st = KVC_OK;
    for (unsigned turn = 0; st == KVC_OK; turn++) {
        unsigned mine = turn % KVC_REPLAY_SLOTS, before = (turn + 1) % KVC_REPLAY_SLOTS;
        struct slot *s = &r->slots[mine], *other = &r->slots[before];
        if (r->next == r->n && other->wave.n == 0)
            break;
        if (r->next < r->n) {
            st = fill(r, s);
            if (st == KVC_OK)
                st = k->ops->wave_begin(k->dev, r->t, mine, &s->wave);
            r->stats->waves += st == KVC_OK;
        }
        if (st == KVC_OK && other->wave.n > 0) {
            st = k->ops->wave_end(k->dev, before);
            if (st == KVC_OK)
                st = take(r, other);
        }
    }
    for (unsigned i = 0; st != KVC_OK && i < KVC_REPLAY_SLOTS; i++)
        if (r->slots[i].wave.n > 0) /* its arrays must be let go of */
            (void)k->ops->wave_end(k->dev, i);
    return st;
}

/* What the device has not done. */
static enum kvc_status rest_on_cpu(struct run *r) {
    uint32_t *rest = malloc((r->n + 1) * sizeof(*rest));
    size_t n = 0, max_bytes = r->options->max_bytes;
    if (rest == NULL)
        return KVC_NOMEM;
    for (int i = 0; i < KVC_REPLAY_SLOTS; i++)
        for (uint32_t k = 0; k < r->slots[i].wave.n; k++)
            rest[n++] = r->slots[i].order[k];
    for (size_t i = r->next; i < r->n; i++)
        rest[n++] = r->order[i];
    long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (max_bytes == 0)
        max_bytes = pages > 0 && page > 0 ? (size_t)pages * (size_t)page / 4 : (size_t)1 << 30;
    const struct kvc_sim_batch b = {.trace = r->t,
                                    .configs = r->configs,
                                    .options = r->options,
                                    .order = rest,
                                    .n = n,
                                    .n_done_before = r->done,
                                    .max_bytes = max_bytes,
                                    .threads = r->threads};
    enum kvc_status st = kvc_replay_on_cpu(&b, r->stats);
    free(rest);
    if (r->t->k->ops != &kvc_cpu_ops)
        r->stats->on_cpu += n;
    return st;
}

static enum kvc_status on_device(struct run *r) {
    struct kvc *k = r->t->k;
    struct kvc_info info;
    kvc_get_info(k, &info);
    size_t budget = info.max_bytes > info.bytes ? info.max_bytes - info.bytes : 0;
    if (r->options->max_bytes > 0 && r->options->max_bytes < budget)
        budget = r->options->max_bytes;
    size_t trace = r->t->device != NULL ? 0
                                        : r->t->course.n_requests * sizeof(*r->t->requests) +
                                              (r->t->course.n_runs + 1) * sizeof(*r->t->runs) +
                                              (r->t->n_paths + 1) * sizeof(*r->t->paths);
    budget = budget > trace ? budget - trace : 0;
    r->slot_bytes = budget / KVC_REPLAY_SLOTS;
    enum kvc_status st = make_slots(r);
    return st == KVC_OK ? run_waves(r) : st;
}

/* The largest fleets first, and equal ones beside each other: they take about as long. */
static void put_in_order(struct run *r) {
    size_t counts[KVC_REPLAY_WORKERS_MAX + 2] = {0};
    for (size_t i = 0; i < r->n; i++)
        counts[KVC_REPLAY_WORKERS_MAX - r->configs[i].n_workers + 1]++;
    for (size_t w = 1; w < KVC_REPLAY_WORKERS_MAX + 2; w++)
        counts[w] += counts[w - 1];
    for (size_t i = 0; i < r->n; i++)
        r->order[counts[KVC_REPLAY_WORKERS_MAX - r->configs[i].n_workers]++] = (uint32_t)i;
}

static enum kvc_status run_all(struct run *r) {
    struct kvc *k = r->t->k;
    put_in_order(r);
    if (k->ops == &kvc_cpu_ops)
        return rest_on_cpu(r);
    enum kvc_status st = k->lost ? KVC_LOST : on_device(r);
    return kvc_falls_back(k, st) ? rest_on_cpu(r) : st;
}

enum kvc_status kvc_replay(struct kvc_trace *t, const struct kvc_replay_config *configs, size_t n,
                           const struct kvc_replay_options *options,
                           struct kvc_replay_stats *ret_stats) {
    struct kvc_replay_stats stats = {.waves = 0};
    struct run r = {.t = t, .configs = configs, .options = options, .stats = &stats, .n = n};
    if (n > KVC_NONE / 8 || options->on_result == NULL)
        return KVC_INVALID;
    for (size_t i = 0; i < n; i++) {
        if (!sound(t, &configs[i]))
            return KVC_INVALID;
        size_t bytes = kvc_replay_config_bytes(t, &configs[i]);
        stats.config_bytes = bytes > stats.config_bytes ? bytes : stats.config_bytes;
    }
    r.threads = kvc_crew_size(options->threads, n);
    r.order = malloc((n + 1) * sizeof(*r.order));
    enum kvc_status st = r.order == NULL ? KVC_NOMEM : KVC_OK;
    if (st == KVC_OK && n > 0)
        st = run_all(&r);
    free_slots(&r);
    free(r.order);
    if (st == KVC_OK && ret_stats != NULL)
        *ret_stats = stats;
    return st;
}
