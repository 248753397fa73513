/*
 * The router's half of kvc_sim_priv.h: what happens at an arrival, and the beginning and end of a
 * configuration.
 */
#ifndef WEIR_CUDA_KVC_SIM_ROUTER_PRIV_H
#define WEIR_CUDA_KVC_SIM_ROUTER_PRIV_H

#include "cuda/kvc_policy_priv.h"
#include "cuda/kvc_sim_priv.h"

/* ---- the router: router/router_route.c, decide.c, cost.c, router_bookings.c ---------------------
 */

KVC_SIM uint64_t kvc_due_us(const struct kvc_sim *s, uint32_t r) {
    return (uint64_t)llround(s->course.requests[r].at_ms * 1000 / s->config->trace_speedup);
}

KVC_SIM bool kvc_is_busy(const struct kvc_replay_config *c, const struct kvc_sim_worker *w) {
    if (!isnan(c->busy_decode_blocks) &&
        (double)w->active_blocks > c->busy_decode_blocks * (double)c->n_blocks)
        return true;
    if (c->busy_prefill_tokens >= 0 && w->prefill_tokens > (uint64_t)c->busy_prefill_tokens)
        return true;
    return !isnan(c->busy_prefill_tokens_frac) &&
           (double)w->prefill_tokens >
               c->busy_prefill_tokens_frac * (double)c->max_num_batched_tokens;
}

/* How often the churn of all workers falls at this time, and when it falls next; see
 * weir_router_age_churn(). */
KVC_SIM uint32_t kvc_churn_steps(const struct kvc_sim *s, uint64_t now_ms, uint64_t *ret_due_ms) {
    const uint32_t steps = 16, most = 64 * steps;
    uint64_t step = (uint64_t)(s->config->churn_half_life_s * 1000 / steps);
    uint64_t due = s->head->churn_due_ms, n = 0;
    step = step > 0 ? step : 1;
    if (due == 0)
        due = now_ms + step;
    if (due <= now_ms) {
        n = (now_ms - due) / step + 1;
        n = n < most ? n : most;
        due += n * step;
    }
    *ret_due_ms = due <= now_ms ? now_ms + step : due;
    return (uint32_t)n;
}

/* What a worker has of request r's prompt, as the router knows it. */
KVC_SIM void kvc_weigh(struct kvc_sim *s, uint32_t number, uint32_t r, uint64_t now_us) {
    const struct kvc_replay_config *c = s->config;
    uint64_t unused;
    uint32_t falls =
        c->policy.kind == KVC_REPLAY_FLEET ? kvc_churn_steps(s, now_us / 1000, &unused) : 0;
    for (uint32_t i = 0; i < falls && s->workers[number].churn_blocks > 0; i++)
        s->workers[number].churn_blocks *= 0.95760328069857365;
    const struct kvc_sim_request *q = &s->course.requests[r];
    struct kvc_sim_candidate *x = &s->candidates[number];
    uint32_t n_blocks = q->n_prompt / s->course.block_size, prefix = 0;
    x->busy = kvc_is_busy(c, &s->workers[number]);
    x->device_blocks = 0;
    for (uint32_t k = 0; c->mode == KVC_REPLAY_KV && k < q->n_path; k++) {
        struct kvc_piece p = kvc_piece_at(s, number, r, k);
        const struct kvc_sim_hold *h = &s->holds[p.hold];
        uint32_t n = c->use_kv_events ? h->named : h->predicted ? p.n : 0;
        x->device_blocks += n;
        if (n < p.n)
            break;
    }
    for (uint32_t k = 0; c->mode == KVC_REPLAY_KV && c->assume_kv_reuse && k < q->n_path; k++) {
        struct kvc_piece p = kvc_piece_at(s, number, r, k);
        if (s->holds[p.hold].booked == 0)
            break;
        prefix += p.n;
    }
    x->additional_blocks = c->track_active_blocks ? n_blocks - prefix : 0;
    /* What running requests hold will be there when the prompt's turn comes. */
    if (c->mode == KVC_REPLAY_KV && c->policy.kind == KVC_REPLAY_FLEET && c->track_active_blocks &&
        prefix > x->device_blocks)
        x->device_blocks = prefix;
}

/* A candidate's cost; all are weighed. */
KVC_SIM void kvc_price(struct kvc_sim *s, uint32_t number, uint32_t r) {
    const struct kvc_replay_config *c = s->config;
    const struct kvc_sim_worker *w = &s->workers[number];
    struct kvc_sim_candidate *x = &s->candidates[number];
    double least = INFINITY;
    for (uint32_t i = 0; c->cost.overlap_credit_decay > 0 && i < c->n_workers; i++)
        if (!s->candidates[i].busy && (double)s->workers[i].prefill_tokens < least)
            least = (double)s->workers[i].prefill_tokens;
    x->cost = w->requests;
    if (c->mode != KVC_REPLAY_KV)
        return;
    struct kvc_cost_params p = c->cost;
    struct kvc_load load;
    p.block_size = s->course.block_size;
    load.device_blocks = x->device_blocks;
    load.host_blocks = load.disk_blocks = 0;
    load.prefill_tokens = (double)w->prefill_tokens;
    load.decode_blocks = c->track_active_blocks ? (double)w->active_blocks : 0;
    load.additional_blocks = x->additional_blocks;
    load.requests = w->requests;
    load.churn = w->churn_blocks / (double)c->n_blocks;
    x->cost = kvc_policy_cost(&c->policy, &p, s->course.requests[r].n_prompt, least, &load);
}

/* The place-th candidate. */
KVC_SIM uint32_t kvc_candidate_at(const struct kvc_sim *s, uint64_t place) {
    for (uint32_t i = 0;; i++)
        if (!s->candidates[i].busy && place-- == 0)
            return i;
}

/* The lowest cost, equal ones with the same probability. */
KVC_SIM uint32_t kvc_lowest(struct kvc_sim *s) {
    uint32_t best = KVC_NONE;
    uint64_t ties = 1;
    for (uint32_t i = 0; i < s->config->n_workers; i++) {
        const struct kvc_sim_candidate *x = &s->candidates[i];
        if (x->busy)
            continue;
        if (best == KVC_NONE || x->cost < s->candidates[best].cost) {
            best = i;
            ties = 1;
        } else if (x->cost <= s->candidates[best].cost &&
                   kvc_rng_below(s->head->rng, ++ties) == 0) {
            best = i;
        }
    }
    return best;
}

KVC_SIM uint32_t kvc_softmax(struct kvc_sim *s, uint32_t n) {
    double min = INFINITY, max = -INFINITY, sum = 0, seen = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < s->config->n_workers; i++) {
        if (s->candidates[i].busy)
            continue;
        min = s->candidates[i].cost < min ? s->candidates[i].cost : min;
        max = s->candidates[i].cost > max ? s->candidates[i].cost : max;
        last = i;
    }
    if (max <= min)
        return kvc_candidate_at(s, kvc_rng_below(s->head->rng, n));
    for (uint32_t i = 0; i < s->config->n_workers; i++) {
        struct kvc_sim_candidate *x = &s->candidates[i];
        if (x->busy)
            continue;
        x->cost = kvc_exp(-(x->cost - min) / ((max - min) * s->config->temperature));
        sum += x->cost;
    }
    double u = kvc_rng_unit(s->head->rng) * sum;
    for (uint32_t i = 0; i < s->config->n_workers; i++) {
        if (s->candidates[i].busy)
            continue;
        seen += s->candidates[i].cost;
        if (seen >= u)
            return i;
    }
    return last;
}

KVC_SIM uint32_t kvc_pick(struct kvc_sim *s, uint32_t n) {
    uint64_t *rng = s->head->rng;
    switch (s->config->mode) {
    case KVC_REPLAY_KV:
        return s->config->temperature > 0 ? kvc_softmax(s, n) : kvc_lowest(s);
    case KVC_REPLAY_LEAST_LOADED:
        return kvc_lowest(s);
    case KVC_REPLAY_RANDOM:
        return kvc_candidate_at(s, kvc_rng_below(rng, n));
    case KVC_REPLAY_POWER_OF_TWO: {
        uint32_t a = kvc_candidate_at(s, kvc_rng_below(rng, n));
        uint32_t b = kvc_candidate_at(s, kvc_rng_below(rng, n));
        return s->workers[a].requests <= s->workers[b].requests ? a : b;
    }
    case KVC_REPLAY_ROUND_ROBIN:
        break;
    }
    return kvc_candidate_at(s, s->head->turn++ % n);
}

/* Books request r on a worker, as the router will remember it until its end. */
KVC_SIM void kvc_book(struct kvc_sim *s, uint32_t number, uint32_t r) {
    const struct kvc_replay_config *c = s->config;
    const struct kvc_sim_request *q = &s->course.requests[r];
    struct kvc_sim_worker *w = &s->workers[number];
    uint32_t n_blocks = q->n_prompt / s->course.block_size;
    uint64_t cached = (uint64_t)s->candidates[number].device_blocks * s->course.block_size;
    s->jobs[r].prefill_tokens = 0;
    if (c->cost.track_prefill_tokens && q->n_prompt > cached)
        s->jobs[r].prefill_tokens = q->n_prompt - (uint32_t)cached;
    w->prefill_tokens += s->jobs[r].prefill_tokens;
    w->churn_blocks += (double)s->jobs[r].prefill_tokens / s->course.block_size;
    w->requests++;
    for (uint32_t k = 0; c->track_active_blocks && c->assume_kv_reuse && k < q->n_path; k++) {
        struct kvc_piece p = kvc_piece_at(s, number, r, k);
        if (s->holds[p.hold].booked++ == 0)
            w->active_blocks += p.n;
    }
    if (c->track_active_blocks)
        w->active_blocks += c->assume_kv_reuse ? n_blocks - q->own_depth : n_blocks;
    /* The router draws names for blocks that nobody shares. */
    for (uint32_t i = 0; c->track_active_blocks && !c->assume_kv_reuse && i < n_blocks; i++)
        (void)kvc_rng_u64(s->head->rng);
}

/* Most blocks of a prompt that a router predicts. */
#define KVC_PREDICTED_MAX (1u << 20)

/* Believes the prompt of request r to be there, or no longer what no later one has renewed. */
KVC_SIM void kvc_predict(struct kvc_sim *s, uint32_t number, uint32_t r, bool there) {
    const struct kvc_sim_request *q = &s->course.requests[r];
    if (q->n_prompt / s->course.block_size > KVC_PREDICTED_MAX)
        return;
    for (uint32_t k = 0; k < q->n_path; k++) {
        uint32_t *p = &s->holds[kvc_piece_at(s, number, r, k).hold].predicted;
        *p = there ? r + 1 : *p == r + 1 ? 0 : *p;
    }
}

/* Forgets predictions that are too old at the arrival of request r. */
KVC_SIM void kvc_lapse(struct kvc_sim *s, uint32_t r) {
    uint64_t now_ms = kvc_due_us(s, r) / 1000;
    for (; s->head->lapsed < r; s->head->lapsed++) {
        uint32_t i = s->head->lapsed, worker = s->outcomes[i].worker;
        if (worker == KVC_NONE)
            continue;
        if (kvc_due_us(s, i) / 1000 + (uint64_t)(s->config->ttl_s * 1000) > now_ms)
            break;
        kvc_predict(s, worker, i, false);
    }
}

/* The choice for request r, and its consequences. By one lane. */
KVC_SIM void kvc_choose(struct kvc_sim *s, uint32_t r, uint64_t now_us) {
    const struct kvc_replay_config *c = s->config;
    bool predicts = c->mode == KVC_REPLAY_KV && !c->use_kv_events;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_workers; i++)
        n += !s->candidates[i].busy;
    if (n > 0) {
        uint32_t number = kvc_pick(s, n);
        struct kvc_sim_worker *w = &s->workers[number];
        s->outcomes[r].worker = number;
        kvc_book(s, number, r);
        if (predicts)
            kvc_predict(s, number, r, true);
        s->jobs[r].n_tokens = s->course.requests[r].n_prompt;
        kvc_list_push_back(s, &w->waiting, &w->last_waiting, r);
        w->n_waiting++;
        w->quiet = 0;
        if (w->step_ends_us == KVC_NEVER)
            kvc_begin_step(s, w, number, now_us);
    }
    if (c->policy.kind == KVC_REPLAY_FLEET)
        (void)kvc_churn_steps(s, now_us / 1000, &s->head->churn_due_ms);
    if (predicts && r + 1 < s->course.n_requests)
        kvc_lapse(s, r + 1);
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

/* Lane `lane` of `lanes`; a barrier must follow. */
KVC_SIM void kvc_sim_begin(struct kvc_sim *s, uint32_t lane, uint32_t lanes) {
    uint32_t n_workers = s->config->n_workers;
    if (lane == 0) {
        kvc_rng_seed(s->head->rng, s->config->seed);
        s->head->turn = 0;
        s->head->churn_due_ms = 0;
        s->head->lapsed = 0;
        s->head->failed = 0;
    }
    for (uint32_t i = lane; i < n_workers; i += lanes) {
        struct kvc_sim_worker *w = &s->workers[i];
        w->step_ends_us = KVC_NEVER;
        w->step_us = w->prefill_tokens = w->active_blocks = 0;
        w->requests = w->quiet = w->lag = w->idle = w->n_running = w->n_waiting = 0;
        w->preemptions = 0;
        w->churn_blocks = 0;
        w->unnamed = s->config->n_blocks;
        w->oldest = w->newest = w->running = w->last_running = w->waiting = w->last_waiting =
            KVC_NONE;
    }
    for (uint32_t i = lane; i < s->n_holds; i += lanes) {
        struct kvc_sim_hold *h = &s->holds[i];
        h->named = h->held = h->users = h->full = h->booked = h->predicted = 0;
    }
    for (uint32_t i = lane; i < s->course.n_requests; i += lanes) {
        struct kvc_replay_outcome *o = &s->outcomes[i];
        o->first_us = o->end_us = KVC_NEVER;
        o->worker = o->cached_tokens = KVC_NONE;
    }
}

/* After all: refused requests found nothing. */
KVC_SIM void kvc_sim_finish(struct kvc_sim *s, uint32_t lane, uint32_t lanes) {
    for (uint32_t i = lane; i < s->course.n_requests; i += lanes)
        if (s->outcomes[i].cached_tokens == KVC_NONE)
            s->outcomes[i].cached_tokens = 0;
}

#endif
