/* The reference: what the device does, one query after the other. */
#include "cuda/kvc_priv.h"

#include <stdlib.h>
#include <string.h>

/* Its state is the secret alone. */
static enum kvc_status cpu_open(const struct kvc_options *o, const struct kvc_secret *secret,
                                void **ret, char *why, size_t room) {
    (void)o, (void)why, (void)room;
    *ret = (void *)secret;
    return KVC_OK;
}

static void cpu_close(void *dev) {
    (void)dev;
}

static void cpu_info(const void *dev, struct kvc_info *ret) {
    (void)dev;
    *ret = (struct kvc_info){.kind = KVC_CPU, .name = "CPU reference"};
}

static void *cpu_alloc(void *dev, enum kvc_memory memory, size_t bytes) {
    (void)dev, (void)memory;
    return malloc(bytes);
}

static void cpu_release(void *dev, enum kvc_memory memory, void *p) {
    (void)dev, (void)memory;
    free(p);
}

static enum kvc_status cpu_copy(void *dev, void *to, const void *from, size_t bytes) {
    (void)dev;
    memcpy(to, from, bytes);
    return KVC_OK;
}

static enum kvc_status cpu_hash(void *dev, const struct kvc_prompts *p,
                                const uint64_t *block_offsets, uint64_t *ret_local,
                                uint64_t *ret_sequence) {
    const struct kvc_secret *secret = dev;
    for (size_t i = 0; i < p->n; i++) {
        const uint32_t *tokens = p->tokens + p->offsets[i];
        uint64_t seed = p->seeds == NULL ? KVC_CHAIN_SEED : p->seeds[i], seq = 0;
        for (uint64_t b = block_offsets[i]; b < block_offsets[i + 1]; b++) {
            uint64_t at = b - block_offsets[i];
            uint64_t local =
                kvc_xxh3(tokens + at * p->block_size, p->block_size + p->eagle, secret, seed);
            seq = at == 0 ? local : kvc_chain_step(seq, local, secret);
            ret_local[b] = local;
            if (ret_sequence != NULL)
                ret_sequence[b] = seq;
        }
    }
    return KVC_OK;
}

/* The tables of the host are the tables. */
static enum kvc_status cpu_commit(void *dev, struct kvc_table *t) {
    (void)dev, (void)t;
    return KVC_OK;
}

static void cpu_trace_free(void *dev, struct kvc_trace *t) {
    (void)dev, (void)t;
}

static void cpu_table_free(void *dev, struct kvc_table *t) {
    (void)dev, (void)t;
}

/* ---- matching ------------------------------------------------------------------------------- */

/* Room for one query at a time. */
struct scratch {
    uint32_t *path;  /* slots of the matched blocks */
    uint32_t *reach; /* by rank: blocks on any tier so far */
    struct kvc_match *got;
    size_t n_ranks;
};

static void scratch_free(struct scratch *s) {
    free(s->path);
    free(s->reach);
    free(s->got);
}

static bool scratch_make(struct scratch *s, const struct kvc_table *t,
                         const struct kvc_queries *q) {
    uint64_t longest = 1;
    for (size_t i = 0; i < q->n; i++)
        if (q->offsets[i + 1] - q->offsets[i] > longest)
            longest = q->offsets[i + 1] - q->offsets[i];
    *s = (struct scratch){.n_ranks = t->options.max_ranks};
    s->path = malloc(longest * sizeof(*s->path));
    s->reach = malloc(s->n_ranks * sizeof(*s->reach));
    s->got = malloc(s->n_ranks * sizeof(*s->got));
    if (s->path != NULL && s->reach != NULL && s->got != NULL)
        return true;
    scratch_free(s);
    return false;
}

/* Blocks of the query that the table knows, whoever holds them. */
static size_t find_path(const struct kvc_secret *secret, const struct kvc_view *v,
                        const uint64_t *local, size_t n, uint32_t *path) {
    uint64_t seq = 0;
    uint32_t parent = KVC_ROOT;
    for (size_t i = 0; i < n; i++) {
        seq = i == 0 ? local[0] : kvc_chain_step(seq, local[i], secret);
        struct kvc_slot s;
        uint32_t slot = kvc_lookup(v->slots, v->mask, seq, &s);
        if (slot == KVC_NONE || s.parent != parent || s.local != local[i])
            return i;
        path[i] = slot;
        parent = slot + KVC_PARENT;
    }
    return n;
}

/* A rank goes on from where it has got to, as far as blocks of the tier reach without a gap.
 * Neighbours with the same holders are taken together. */
static void walk_tier(const struct kvc_view *v, struct scratch *s, size_t n, int tier) {
    for (size_t i = 0, end; i < n; i = end) {
        uint32_t set = kvc_set_of(v, s->path[i], tier);
        for (end = i + 1; end < n && kvc_set_of(v, s->path[end], tier) == set;)
            end++;
        for (uint32_t k = 0; k < v->sets[set].n; k++) {
            uint32_t rank = v->members[v->sets[set].at + k];
            if (s->reach[rank] < i || s->reach[rank] >= end)
                continue;
            s->got[rank].blocks[tier] += (uint32_t)end - s->reach[rank];
            s->reach[rank] = (uint32_t)end;
        }
    }
}

static void match_one(const struct kvc_secret *secret, const struct kvc_view *v,
                      const uint64_t *local, size_t n, struct scratch *s) {
    size_t known = find_path(secret, v, local, n, s->path);
    memset(s->reach, 0, s->n_ranks * sizeof(*s->reach));
    memset(s->got, 0, s->n_ranks * sizeof(*s->got));
    for (int tier = 0; tier < KVC_TIERS; tier++)
        walk_tier(v, s, known, tier);
}

static struct kvc_view view_of(const struct kvc_table *t) {
    return (struct kvc_view){t->slots,        t->external, t->sets.sets,
                             t->sets.members, t->mask,     t->options.max_ranks};
}

static enum kvc_status cpu_match(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                                 size_t room, struct kvc_match *ret, uint32_t *ret_n) {
    struct kvc_view v = view_of(t);
    struct scratch s;
    if (!scratch_make(&s, t, q))
        return KVC_NOMEM;
    for (size_t i = 0; i < q->n; i++) {
        ret_n[i] = 0;
        match_one(dev, &v, q->local + q->offsets[i], q->offsets[i + 1] - q->offsets[i], &s);
        for (uint32_t r = 0; r < s.n_ranks; r++) {
            if (s.reach[r] == 0)
                continue;
            if (ret_n[i] < room) {
                s.got[r].rank = r;
                ret[i * room + ret_n[i]] = s.got[r];
            }
            ret_n[i]++;
        }
    }
    scratch_free(&s);
    return KVC_OK;
}

/* ---- choosing ------------------------------------------------------------------------------- */

/* Into the list of the cheapest: ranks come in their order, so an equal cost goes behind. */
static void insert(struct kvc_choice *top, uint32_t room, uint32_t rank, double cost) {
    uint32_t i = room;
    while (i > 0 && (top[i - 1].rank == KVC_NONE || cost < top[i - 1].cost))
        i--;
    if (i == room)
        return;
    memmove(top + i + 1, top + i, (room - i - 1) * sizeof(*top));
    top[i] = (struct kvc_choice){rank, cost};
}

static enum kvc_status cpu_rank(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                                const double *isl_tokens, const struct kvc_cost_params *params,
                                const struct kvc_loads *loads, double min_prefill, uint32_t top,
                                struct kvc_choice *ret) {
    struct kvc_view v = view_of(t);
    struct scratch s;
    if (!scratch_make(&s, t, q))
        return KVC_NOMEM;
    for (size_t i = 0; i < q->n; i++) {
        size_t n = q->offsets[i + 1] - q->offsets[i];
        struct kvc_choice *mine = ret + i * top;
        match_one(dev, &v, q->local + q->offsets[i], n, &s);
        for (uint32_t k = 0; k < top; k++)
            mine[k] = (struct kvc_choice){KVC_NONE, 0};
        for (uint32_t r = 0; r < s.n_ranks; r++)
            if (loads->candidate[r])
                insert(mine, top, r,
                       kvc_cost(params, isl_tokens[i], (double)n, min_prefill, s.got[r].blocks,
                                loads->active_prefill_tokens[r], loads->active_decode_blocks[r],
                                loads->active_requests[r]));
    }
    scratch_free(&s);
    return KVC_OK;
}

const struct kvc_ops kvc_cpu_ops = {
    .abi = KVC_ABI,
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .copy = cpu_copy,
    .hash = cpu_hash,
    .table_commit = cpu_commit,
    .table_free = cpu_table_free,
    .match = cpu_match,
    .rank = cpu_rank,
    .trace_free = cpu_trace_free,
};
