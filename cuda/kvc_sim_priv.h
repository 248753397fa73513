/*
 * The replay of kvc_replay.h as host and device both run it, one text for both: a configuration's
 * state in flat memory, and the functions that move it from one arrival to the next.
 *
 * Between two arrivals workers know nothing of each other, so each may be advanced by a lane of its
 * own; what a router does at an arrival follows in three steps (weigh, price, choose), the last of
 * them by one lane. That is the only order there is, so the number of lanes changes nothing.
 *
 * A cache, by run. Its blocks are held by running sequences, or idle and named (least recently used
 * first, of one sequence its tail first), or idle without a name (taken first, all alike: a count).
 * Named blocks of a run are a leading part of it, for whoever holds a block holds all before it,
 * and so are the held ones among them; what is named and not held is the run's idle part. Order of
 * eviction is kept by parts, from their deep end. A run never has two of them: a sequence that ends
 * holds its runs to their end, and one is preempted only where nothing is idle at all.
 * worker/kv_cache.h is the same cache by block.
 */
#ifndef WEIR_CUDA_KVC_SIM_PRIV_H
#define WEIR_CUDA_KVC_SIM_PRIV_H

#include "cuda/kvc_numbers_priv.h"
#include "cuda/kvc_replay.h"

/* ---- what all configurations read ----------------------------------------------------------- */

struct kvc_run {
    uint32_t depth, n; /* blocks before it; its blocks */
    uint32_t level;    /* runs before it */
};
struct kvc_sim_request {
    double at_ms;
    uint32_t n_prompt, n_output;
    uint32_t path, n_path; /* shared runs of its prompt: paths[path .. path + n_path) */
    uint32_t own_depth;    /* blocks in them; what follows, answer included, is its own run */
    uint32_t unused;
};
struct kvc_course {
    const struct kvc_sim_request *requests;
    const struct kvc_run *runs;
    const uint32_t *paths;
    uint32_t n_requests, n_runs, block_size;
};

/* ---- the state of one configuration --------------------------------------------------------- */

struct kvc_sim_head {
    uint64_t rng[4];
    uint64_t turn;
    uint64_t churn_due_ms; /* when the churn of all workers falls next; 0 = not begun */
    uint32_t lapsed;       /* requests whose predictions have lapsed, or that made none */
    uint32_t failed;       /* an invariant was broken */
};
struct kvc_sim_worker {
    uint64_t step_ends_us; /* KVC_NEVER = idle */
    uint64_t step_us;
    uint64_t prefill_tokens, active_blocks; /* as the router books them */
    double churn_blocks;                    /* placed here of late; fleet policy */
    uint32_t requests;
    uint32_t quiet;         /* further steps in which nothing but decoding happens */
    uint32_t lag;           /* of those, steps that its sequences have yet to be told of */
    uint32_t unnamed, idle; /* blocks without a user: nameless, named */
    uint32_t oldest, newest;
    uint32_t running, last_running, waiting, last_waiting; /* requests */
    uint32_t n_running, n_waiting;
    uint32_t preemptions;
};
/* A worker as a candidate of the arrival at hand. */
struct kvc_sim_candidate {
    double cost;
    uint32_t device_blocks, additional_blocks;
    uint32_t busy, unused;
};
/* What a worker has of a run. */
struct kvc_sim_hold {
    uint32_t named, held;  /* leading blocks: in its cache; with a user */
    uint32_t users, full;  /* sequences that hold some of it; all of it */
    uint32_t booked;       /* requests on their way or running that have it in their prompt */
    uint32_t predicted;    /* without events: 1 + the last request for which the router believed it
                              there; 0 = it does not */
    uint32_t older, newer; /* in the order of eviction, while it has an idle part */
};
struct kvc_sim_job {
    uint32_t before, behind; /* in its worker's list */
    uint32_t n_computed, n_tokens, n_table, step_tokens;
    uint32_t prefill_tokens; /* booked */
};

struct kvc_sim {
    const struct kvc_replay_config *config;
    struct kvc_course course;
    struct kvc_sim_head *head;
    struct kvc_sim_worker *workers;
    struct kvc_sim_candidate *candidates;
    struct kvc_sim_hold *holds; /* [worker][shared run], then the requests' own */
    struct kvc_sim_job *jobs;
    struct kvc_replay_outcome *outcomes;
    uint32_t n_holds;
};

/* The parts one behind the other; returns the bytes. `base` may be 0: for the bytes alone. */
KVC_SIM size_t kvc_sim_place(struct kvc_sim *s, const struct kvc_replay_config *c,
                             const struct kvc_course *course, uintptr_t base,
                             struct kvc_replay_outcome *outcomes) {
    size_t w = c->n_workers, r = course->n_requests;
    size_t holds = w * course->n_runs + r, at = 0;
    s->config = c;
    s->course = *course;
    s->outcomes = outcomes;
    s->n_holds = (uint32_t)holds;
    s->head = (struct kvc_sim_head *)(base + at);
    at += sizeof(*s->head);
    s->workers = (struct kvc_sim_worker *)(base + at);
    at += w * sizeof(*s->workers);
    s->candidates = (struct kvc_sim_candidate *)(base + at);
    at += w * sizeof(*s->candidates);
    s->holds = (struct kvc_sim_hold *)(base + at);
    at += holds * sizeof(*s->holds);
    s->jobs = (struct kvc_sim_job *)(base + at);
    at += r * sizeof(*s->jobs);
    return (at + 127) / 128 * 128;
}

/* ---- pieces of a sequence's chain of blocks -------------------------------------------------- */

/* Piece k: a shared run of the prompt, or at last the request's own run, which has no end. */
struct kvc_piece {
    uint32_t depth, n, hold;
};

KVC_SIM struct kvc_piece kvc_piece_at(const struct kvc_sim *s, uint32_t worker, uint32_t request,
                                      uint32_t k) {
    const struct kvc_sim_request *q = &s->course.requests[request];
    struct kvc_piece p;
    if (k < q->n_path) {
        uint32_t run = s->course.paths[q->path + k];
        p.depth = s->course.runs[run].depth;
        p.n = s->course.runs[run].n;
        p.hold = worker * s->course.n_runs + run;
    } else {
        p.depth = q->own_depth;
        p.n = KVC_NONE;
        p.hold = s->config->n_workers * s->course.n_runs + request;
    }
    return p;
}

/* How many of a piece's blocks are among the first n of the chain. */
KVC_SIM uint32_t kvc_part(const struct kvc_piece *p, uint32_t n) {
    uint32_t in = n > p->depth ? n - p->depth : 0;
    return in < p->n ? in : p->n;
}

/* ---- idle parts: blocks [held, named) of a run ------------------------------------------------
 */

KVC_SIM void kvc_unlink_idle(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t hold) {
    struct kvc_sim_hold *h = &s->holds[hold];
    *(h->older != KVC_NONE ? &s->holds[h->older].newer : &w->oldest) = h->newer;
    *(h->newer != KVC_NONE ? &s->holds[h->newer].older : &w->newest) = h->older;
}

/* Blocks from `left` on have no user any more; they go behind all others that are idle. */
KVC_SIM void kvc_let_go(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t hold, uint32_t left) {
    struct kvc_sim_hold *h = &s->holds[hold];
    if (h->named > h->held)
        s->head->failed = 1; /* an idle part behind them: see above */
    w->idle += h->named - left;
    h->held = left;
    h->older = w->newest;
    h->newer = KVC_NONE;
    *(w->newest != KVC_NONE ? &s->holds[w->newest].newer : &w->oldest) = hold;
    w->newest = hold;
}

/* The first n named blocks of a run have a user from now on. */
KVC_SIM void kvc_hold_part(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t hold, uint32_t n) {
    struct kvc_sim_hold *h = &s->holds[hold];
    if (n <= h->held)
        return;
    w->idle -= n - h->held;
    h->held = n;
    if (n == h->named)
        kvc_unlink_idle(s, w, hold);
}

/* Takes n blocks for new contents; there are as many. */
KVC_SIM void kvc_take_fresh(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t n) {
    uint32_t free_ones = n < w->unnamed ? n : w->unnamed;
    w->unnamed -= free_ones;
    for (n -= free_ones; n > 0;) {
        uint32_t hold = w->oldest;
        struct kvc_sim_hold *h = &s->holds[hold];
        uint32_t k = h->named - h->held < n ? h->named - h->held : n;
        h->named -= k;
        w->idle -= k;
        n -= k;
        if (h->named == h->held)
            kvc_unlink_idle(s, w, hold);
    }
}

/* ---- a sequence's blocks --------------------------------------------------------------------- */

/* Its blocks [from, to) are computed: each gets its name, or is given back for one that has it. */
KVC_SIM void kvc_complete(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number,
                          uint32_t request, uint32_t from, uint32_t to) {
    for (uint32_t k = 0; from < to; k++) {
        struct kvc_piece p = kvc_piece_at(s, number, request, k);
        uint32_t had = kvc_part(&p, from), has = kvc_part(&p, to);
        if (had == has)
            continue;
        struct kvc_sim_hold *h = &s->holds[p.hold];
        uint32_t known = h->named < has ? h->named : has;
        if (known > had) {
            w->unnamed += known - had;
            kvc_hold_part(s, w, p.hold, known);
        }
        if (h->named < has)
            h->named = h->held = has;
        h->users += had == 0;
        h->full += has == p.n;
        from = p.depth + has;
    }
}

/* The most that running sequences but `but` hold of a shared run. */
KVC_SIM uint32_t kvc_most_held(const struct kvc_sim *s, const struct kvc_sim_worker *w,
                               const struct kvc_piece *p, uint32_t run, uint32_t but) {
    uint32_t most = 0, level = s->course.runs[run].level;
    for (uint32_t r = w->running; r != KVC_NONE; r = s->jobs[r].behind) {
        const struct kvc_sim_request *q = &s->course.requests[r];
        if (r == but || level >= q->n_path || s->course.paths[q->path + level] != run)
            continue;
        uint32_t n = kvc_part(p, s->jobs[r].n_computed / s->course.block_size);
        most = n > most ? n : most;
    }
    return most;
}

/* Gives all blocks back, the last one first. */
KVC_SIM void kvc_release(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number,
                         uint32_t request) {
    struct kvc_sim_job *j = &s->jobs[request];
    uint32_t named = j->n_computed / s->course.block_size;
    w->unnamed += j->n_table - named;
    j->n_table = 0;
    for (uint32_t k = s->course.requests[request].n_path + 1; k-- > 0;) {
        struct kvc_piece p = kvc_piece_at(s, number, request, k);
        struct kvc_sim_hold *h = &s->holds[p.hold];
        uint32_t had = kvc_part(&p, named), left = h->held;
        if (had == 0)
            continue;
        h->users--;
        h->full -= had == p.n;
        if (h->users == 0)
            left = 0;
        else if (h->full == 0 && had == h->held)
            left = kvc_most_held(s, w, &p, p.hold - number * s->course.n_runs, request);
        if (left < h->held)
            kvc_let_go(s, w, p.hold, left);
    }
}

/* ---- lists of requests ------------------------------------------------------------------------
 */

KVC_SIM void kvc_list_remove(struct kvc_sim *s, uint32_t *first, uint32_t *last, uint32_t r) {
    struct kvc_sim_job *j = &s->jobs[r];
    *(j->before != KVC_NONE ? &s->jobs[j->before].behind : first) = j->behind;
    *(j->behind != KVC_NONE ? &s->jobs[j->behind].before : last) = j->before;
}

KVC_SIM void kvc_list_push_back(struct kvc_sim *s, uint32_t *first, uint32_t *last, uint32_t r) {
    s->jobs[r].before = *last;
    s->jobs[r].behind = KVC_NONE;
    *(*last != KVC_NONE ? &s->jobs[*last].behind : first) = r;
    *last = r;
}

KVC_SIM void kvc_list_push_front(struct kvc_sim *s, uint32_t *first, uint32_t *last, uint32_t r) {
    s->jobs[r].behind = *first;
    s->jobs[r].before = KVC_NONE;
    *(*first != KVC_NONE ? &s->jobs[*first].before : last) = r;
    *first = r;
}

/* ---- the engine: worker/engine.c ---------------------------------------------------------------
 */

KVC_SIM uint32_t kvc_blocks_for(const struct kvc_sim *s, uint32_t n_tokens) {
    return (uint32_t)(((uint64_t)n_tokens + s->course.block_size - 1) / s->course.block_size);
}

/* Moves the oldest waiting request into the batch if the cache has room for it. */
KVC_SIM bool kvc_admit(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number, uint32_t r) {
    struct kvc_sim_job *j = &s->jobs[r];
    uint32_t n_pieces = s->course.requests[r].n_path + 1, bs = s->course.block_size;
    uint32_t usable = (j->n_tokens - 1) / bs, hits = 0, idle_hits = 0,
             n_idle = w->unnamed + w->idle;
    for (uint32_t k = 0; k < n_pieces; k++) {
        struct kvc_piece p = kvc_piece_at(s, number, r, k);
        const struct kvc_sim_hold *h = &s->holds[p.hold];
        uint32_t want = kvc_part(&p, usable), n = h->named < want ? h->named : want;
        hits += n;
        idle_hits += n > h->held ? n - h->held : 0;
        if (n < p.n)
            break;
    }
    uint32_t fresh = kvc_blocks_for(s, j->n_tokens) - hits;
    if (n_idle < idle_hits || n_idle - idle_hits < fresh)
        return false;
    for (uint32_t k = 0; k < n_pieces; k++) {
        struct kvc_piece p = kvc_piece_at(s, number, r, k);
        struct kvc_sim_hold *h = &s->holds[p.hold];
        uint32_t n = kvc_part(&p, hits);
        if (n == 0)
            break;
        kvc_hold_part(s, w, p.hold, n);
        h->users++;
        h->full += n == p.n;
    }
    kvc_take_fresh(s, w, fresh);
    j->n_table = hits + fresh;
    j->n_computed = hits * bs;
    if (s->outcomes[r].cached_tokens == KVC_NONE)
        s->outcomes[r].cached_tokens = hits * bs;
    kvc_list_remove(s, &w->waiting, &w->last_waiting, r);
    kvc_list_push_back(s, &w->running, &w->last_running, r);
    w->n_waiting--;
    w->n_running++;
    return true;
}

KVC_SIM void kvc_preempt(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number, uint32_t r) {
    kvc_release(s, w, number, r);
    s->jobs[r].n_computed = 0;
    s->jobs[r].step_tokens = 0;
    kvc_list_remove(s, &w->running, &w->last_running, r);
    kvc_list_push_front(s, &w->waiting, &w->last_waiting, r);
    w->n_running--;
    w->n_waiting++;
    w->preemptions++;
}

/* Room for all tokens so far; the youngest give way. False: it gave way itself. */
KVC_SIM bool kvc_make_room(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number,
                           uint32_t r) {
    while (s->jobs[r].n_table < kvc_blocks_for(s, s->jobs[r].n_tokens)) {
        if (w->unnamed + w->idle > 0) {
            kvc_take_fresh(s, w, 1);
            s->jobs[r].n_table++;
            continue;
        }
        uint32_t youngest = w->last_running;
        kvc_preempt(s, w, number, youngest);
        if (youngest == r)
            return false;
    }
    return true;
}

/* Steps after the one at hand in which every sequence decodes one token and nothing else happens:
 * no block is filled, none is taken, none ends, nobody can join. */
KVC_SIM uint32_t kvc_quiet_steps(const struct kvc_sim *s, const struct kvc_sim_worker *w) {
    uint32_t least = KVC_NONE, bs = s->course.block_size;
    for (uint32_t r = w->running; r != KVC_NONE; r = s->jobs[r].behind) {
        const struct kvc_sim_job *j = &s->jobs[r];
        const struct kvc_sim_request *q = &s->course.requests[r];
        uint32_t fills = bs - 1 - j->n_computed % bs; /* a block; the next one is taken then */
        uint32_t ends = q->n_output - (j->n_tokens - q->n_prompt) - 1;
        least = fills < least ? fills : least;
        least = ends < least ? ends : least;
    }
    return least;
}

/* Composes the next pass. */
KVC_SIM void kvc_begin_step(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number,
                            uint64_t now_us) {
    const struct kvc_replay_config *c = s->config;
    uint32_t budget = c->max_num_batched_tokens, prefill = 0, decodes = 0;
    for (uint32_t r = w->running; r != KVC_NONE; r = s->jobs[r].behind)
        s->jobs[r].step_tokens = 0;
    for (uint32_t r = w->running; r != KVC_NONE && budget > 0; r = s->jobs[r].behind) {
        if (!kvc_make_room(s, w, number, r))
            break;
        struct kvc_sim_job *j = &s->jobs[r];
        uint32_t todo = j->n_tokens - j->n_computed;
        bool decode = todo == 1 && j->n_tokens > s->course.requests[r].n_prompt;
        j->step_tokens = todo < budget ? todo : budget;
        budget -= j->step_tokens;
        if (decode)
            decodes++;
        else
            prefill += j->step_tokens;
    }
    while (budget > 0 && w->n_waiting > 0 && w->n_running < c->max_num_seqs) {
        uint32_t r = w->waiting;
        if (!kvc_admit(s, w, number, r))
            break;
        struct kvc_sim_job *j = &s->jobs[r];
        uint32_t todo = j->n_tokens - j->n_computed;
        j->step_tokens = todo < budget ? todo : budget;
        budget -= j->step_tokens;
        prefill += j->step_tokens;
    }
    w->quiet = 0;
    w->step_ends_us = KVC_NEVER;
    if (w->n_running == 0)
        return;
    double us = prefill * 1e6 / c->prefill_tokens_per_s;
    us += (c->decode_base_ms + c->decode_per_request_ms * decodes) * 1000;
    w->step_us = (uint64_t)llround(us);
    w->step_ends_us = now_us + w->step_us;
    if (decodes == w->n_running) /* who waits cannot join: nothing makes room meanwhile */
        w->quiet = kvc_quiet_steps(s, w);
}

/* What the router and the report hear of a token. */
KVC_SIM void kvc_on_token(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number, uint32_t r,
                          uint64_t now_us, bool last) {
    struct kvc_replay_outcome *o = &s->outcomes[r];
    if (o->first_us == KVC_NEVER) {
        o->first_us = now_us;
        w->prefill_tokens -= s->jobs[r].prefill_tokens;
    }
    if (!last)
        return;
    o->end_us = now_us;
    w->requests--;
    if (!s->config->track_active_blocks)
        return;
    const struct kvc_sim_request *q = &s->course.requests[r];
    uint32_t n_blocks = q->n_prompt / s->course.block_size;
    if (!s->config->assume_kv_reuse) {
        w->active_blocks -= n_blocks;
        return;
    }
    for (uint32_t k = 0; k < q->n_path; k++) {
        struct kvc_piece p = kvc_piece_at(s, number, r, k);
        if (--s->holds[p.hold].booked == 0)
            w->active_blocks -= p.n;
    }
    w->active_blocks -= n_blocks - q->own_depth;
}

/* The pass is over. */
KVC_SIM void kvc_end_step(struct kvc_sim *s, struct kvc_sim_worker *w, uint32_t number,
                          uint64_t now_us) {
    uint32_t bs = s->course.block_size, next;
    for (uint32_t r = w->running; r != KVC_NONE; r = next) {
        struct kvc_sim_job *j = &s->jobs[r];
        next = j->behind;
        if (j->step_tokens == 0)
            continue;
        uint32_t before = j->n_computed / bs;
        j->n_computed += j->step_tokens;
        j->step_tokens = 0;
        kvc_complete(s, w, number, r, before, j->n_computed / bs);
        if (j->n_computed < j->n_tokens)
            continue; /* the prompt goes on in the next pass */
        const struct kvc_sim_request *q = &s->course.requests[r];
        bool last = j->n_tokens - q->n_prompt + 1 >= q->n_output;
        if (last) {
            kvc_list_remove(s, &w->running, &w->last_running, r);
            w->n_running--;
            kvc_release(s, w, number, r);
        } else {
            j->n_tokens++;
        }
        kvc_on_token(s, w, number, r, now_us, last);
    }
}

/* Tells the sequences of the quiet steps that are behind them. */
KVC_SIM void kvc_catch_up(struct kvc_sim *s, struct kvc_sim_worker *w) {
    for (uint32_t r = w->running; w->lag > 0 && r != KVC_NONE; r = s->jobs[r].behind) {
        s->jobs[r].n_computed += w->lag;
        s->jobs[r].n_tokens += w->lag;
    }
    w->lag = 0;
}

/* All passes of a worker that end at this time or before. */
KVC_SIM void kvc_advance(struct kvc_sim *s, uint32_t number, uint64_t until_us) {
    struct kvc_sim_worker *w = &s->workers[number];
    while (w->step_ends_us != KVC_NEVER && w->step_ends_us <= until_us && !s->head->failed) {
        if (w->quiet > 0) {
            uint64_t n = w->quiet;
            if (w->step_us > 0 && (until_us - w->step_ends_us) / w->step_us + 1 < n)
                n = (until_us - w->step_ends_us) / w->step_us + 1;
            w->quiet -= (uint32_t)n;
            w->lag += (uint32_t)n;
            w->step_ends_us += n * w->step_us;
            continue;
        }
        kvc_catch_up(s, w);
        uint64_t now_us = w->step_ends_us;
        kvc_end_step(s, w, number, now_us);
        kvc_begin_step(s, w, number, now_us);
    }
}

#endif
