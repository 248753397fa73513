/*
 * A trace by runs. Of the requests that have a block, all have its parent, so where both are had by
 * equally many, they are had by the same ones: such a block goes on its parent's run, another one
 * begins a run. Blocks that one request alone has are its own, and stand behind the shared ones.
 */
#include "cuda/kvc_priv.h"
#include "cuda/kvc_replay_priv.h"

#include <stdlib.h>

enum { REQUESTS_MAX = 1 << 24 };

/* Distinct blocks by number. */
struct blocks {
    struct kvc_map numbers;           /* sequence hash → number */
    uint32_t *users, *parents, *runs; /* owned; runs: KVC_NONE = not the first of one */
    uint32_t *of; /* owned: the number of each block of each prompt, one behind the other */
    uint32_t n, cap;
};

static void blocks_fini(struct blocks *b) {
    kvc_map_fini(&b->numbers);
    free(b->users);
    free(b->parents);
    free(b->runs);
    free(b->of);
}

static bool grow(uint32_t **array, uint32_t cap) {
    uint32_t *more = realloc(*array, (size_t)cap * sizeof(*more));
    if (more != NULL)
        *array = more;
    return more != NULL;
}

static enum kvc_status add_block(struct blocks *b, uint64_t hash, uint32_t parent,
                                 uint32_t *ret_number) {
    const uint32_t *known = kvc_map_at(&b->numbers, hash);
    if (known != NULL) {
        if (b->parents[*known] != parent)
            return KVC_COLLISION;
        b->users[*known]++;
        *ret_number = *known;
        return KVC_OK;
    }
    if (b->n == b->cap) {
        uint32_t cap = b->cap == 0 ? 4096 : b->cap * 2;
        if (cap > KVC_NONE / 2 || !grow(&b->users, cap) || !grow(&b->parents, cap))
            return KVC_NOMEM;
        b->cap = cap;
    }
    if (!kvc_map_put(&b->numbers, hash, b->n))
        return KVC_NOMEM;
    b->users[b->n] = 1;
    b->parents[b->n] = parent;
    *ret_number = b->n++;
    return KVC_OK;
}

static enum kvc_status number_blocks(struct blocks *b, const struct kvc_replay_prompts *p) {
    enum kvc_status st = KVC_OK;
    for (size_t i = 0; i < p->n && st == KVC_OK; i++)
        for (uint64_t at = p->offsets[i]; at < p->offsets[i + 1] && st == KVC_OK; at++)
            st = add_block(b, p->sequence[at], at > p->offsets[i] ? b->of[at - 1] : KVC_NONE,
                           &b->of[at]);
    return st;
}

/* Makes the path of request i; with `out` false it only counts. */
static void walk(struct kvc_trace *t, struct blocks *b, const struct kvc_replay_prompts *p,
                 size_t i, bool out) {
    struct kvc_sim_request *q = &t->requests[i];
    uint32_t n_blocks = (uint32_t)(p->offsets[i + 1] - p->offsets[i]), before = 0, run = KVC_NONE;
    const uint32_t *of = b->of + p->offsets[i];
    q->path = (uint32_t)t->n_paths;
    q->n_path = q->own_depth = 0;
    for (uint32_t d = 0; d < n_blocks && b->users[of[d]] > 1; d++) {
        if (b->users[of[d]] != before) {
            before = b->users[of[d]];
            run = b->runs[of[d]];
            if (run == KVC_NONE) {
                run = b->runs[of[d]] = t->course.n_runs++;
            } else if (out && t->runs[run].n == 0) {
                t->runs[run].depth = d;
                t->runs[run].level = q->n_path;
            }
            if (out)
                t->paths[t->n_paths] = run;
            t->n_paths++;
            q->n_path++;
        }
        if (out && t->runs[run].depth + t->runs[run].n == d)
            t->runs[run].n++;
        q->own_depth++;
    }
}

static enum kvc_status find_runs(struct kvc_trace *t, struct blocks *b,
                                 const struct kvc_replay_prompts *p) {
    b->runs = malloc(((size_t)b->n + 1) * sizeof(*b->runs));
    if (b->runs == NULL)
        return KVC_NOMEM;
    for (uint32_t i = 0; i < b->n; i++)
        b->runs[i] = KVC_NONE;
    for (size_t i = 0; i < p->n; i++)
        walk(t, b, p, i, false);
    t->runs = calloc((size_t)t->course.n_runs + 1, sizeof(*t->runs));
    t->paths = malloc((t->n_paths + 1) * sizeof(*t->paths));
    if (t->runs == NULL || t->paths == NULL || t->n_paths > KVC_NONE / 2)
        return KVC_NOMEM;
    t->n_paths = 0;
    for (size_t i = 0; i < p->n; i++)
        walk(t, b, p, i, true);
    return KVC_OK;
}

static bool in_order(const struct kvc_replay_prompts *p) {
    double before = 0;
    if (p->n == 0 || p->n > REQUESTS_MAX || p->block_size < 2)
        return false;
    for (size_t i = 0; i < p->n; i++) {
        const struct kvc_replay_request *q = &p->requests[i];
        if (!(q->at_ms >= before) || q->n_prompt == 0 || q->n_output == 0 ||
            (uint64_t)q->n_prompt + q->n_output > UINT32_MAX / 2 ||
            p->offsets[i] > p->offsets[i + 1] ||
            p->offsets[i + 1] - p->offsets[i] != q->n_prompt / p->block_size)
            return false;
        before = q->at_ms;
    }
    return true;
}

enum kvc_status kvc_trace_create(struct kvc *k, const struct kvc_replay_prompts *p,
                                 struct kvc_trace **ret) {
    struct blocks b = {.n = 0};
    if (!in_order(p))
        return KVC_INVALID;
    struct kvc_trace *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return KVC_NOMEM;
    t->k = k;
    t->n_blocks = p->offsets[p->n] - p->offsets[0];
    t->requests = calloc(p->n, sizeof(*t->requests));
    b.of = malloc((size_t)(p->offsets[p->n] + 1) * sizeof(*b.of));
    enum kvc_status st = t->requests == NULL || b.of == NULL ? KVC_NOMEM : number_blocks(&b, p);
    for (size_t i = 0; i < p->n && st == KVC_OK; i++) {
        const struct kvc_replay_request *q = &p->requests[i];
        uint64_t tokens = (uint64_t)q->n_prompt + q->n_output;
        t->requests[i].at_ms = t->last_ms = q->at_ms;
        t->requests[i].n_prompt = q->n_prompt;
        t->requests[i].n_output = q->n_output;
        t->most_tokens = tokens > t->most_tokens ? tokens : t->most_tokens;
    }
    if (st == KVC_OK)
        st = find_runs(t, &b, p);
    blocks_fini(&b);
    if (st != KVC_OK) {
        kvc_trace_destroy(t);
        return st;
    }
    t->course.requests = t->requests;
    t->course.runs = t->runs;
    t->course.paths = t->paths;
    t->course.n_requests = (uint32_t)p->n;
    t->course.block_size = p->block_size;
    *ret = t;
    return KVC_OK;
}

void kvc_trace_destroy(struct kvc_trace *t) {
    if (t == NULL)
        return;
    t->k->ops->trace_free(t->k->dev, t);
    free(t->requests);
    free(t->runs);
    free(t->paths);
    free(t);
}

void kvc_trace_get_stats(const struct kvc_trace *t, struct kvc_trace_stats *ret) {
    *ret = (struct kvc_trace_stats){.requests = t->course.n_requests,
                                    .blocks = t->n_blocks,
                                    .shared_runs = t->course.n_runs,
                                    .path_runs = t->n_paths};
}
