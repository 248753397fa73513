/*
 * Scoring on the device, in three steps a batch: the queries' chains (kvc_hash.cu), one look-up a
 * block with a thread each (all blocks of all queries at once: their number hides the memory's
 * delay), and then one thread block a query that walks the runs of equal holders along its path.
 *
 * Step two leaves, for each block of a query, its slot, the parent that slot names, and its
 * holders' sets. A block counts when its slot's content is the query's and its parent is the slot
 * of the block before; the first that does not ends the path (kvc_cpu.c: find_path, walk_tier).
 */
#include "cuda/kvc_device_priv.h"

#include <cstring>

enum { THREADS = 128, LOOKUP_THREADS = 256, SCRATCH_BYTES = 256 << 20 };

/* What step two leaves, block by block. */
struct path {
    uint32_t *slot, *parent; /* parent KVC_FREE: the content is another */
    uint32_t *sets[KVC_TIERS];
};

struct query_args {
    struct kvc_view view;
    const uint64_t *local, *offsets, *sequence;
    uint32_t n_queries;
    uint64_t n_blocks;
    struct path path;
    uint32_t *scratch; /* of each thread block: reach, then the tiers, max_ranks of each */
    double *costs;     /* of each thread block, max_ranks */
};

static __global__ void look_up(struct query_args a) {
    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < a.n_blocks;
         i += (uint64_t)gridDim.x * blockDim.x) {
        uint64_t sequence = a.sequence[i], local = a.local[i];
        struct kvc_slot s;
        uint32_t slot = kvc_lookup(a.view.slots, a.view.mask, sequence, &s);
        bool same = slot != KVC_NONE && s.local == local;
        uint32_t external = same && a.view.external != NULL ? a.view.external[slot] : 0;
        a.path.slot[i] = slot;
        a.path.parent[i] = same ? s.parent : (uint32_t)KVC_FREE;
        for (int t = KVC_DEVICE; t < KVC_EXTERNAL; t++)
            a.path.sets[t][i] = s.sets[t];
        if (a.view.external != NULL)
            a.path.sets[KVC_EXTERNAL][i] = external;
    }
}

/* ---- one thread block, one query ------------------------------------------------------------ */

struct walk {
    uint64_t begin; /* of the query's blocks */
    uint32_t n;     /* of them that are known */
    uint32_t *reach, *blocks[KVC_TIERS];
};

/* Leading blocks whose slots form a chain from the root. */
static __device__ uint32_t known(const struct query_args &a, uint64_t begin, uint32_t n) {
    __shared__ uint32_t first;
    if (threadIdx.x == 0)
        first = n;
    for (uint32_t from = 0; from < n; from += THREADS) {
        uint32_t i = from + threadIdx.x;
        bool ends = false;
        if (i < n) {
            uint32_t want = i == 0 ? (uint32_t)KVC_ROOT : a.path.slot[begin + i - 1] + KVC_PARENT;
            ends = a.path.parent[begin + i] != want;
        }
        if (!__syncthreads_or(ends))
            continue;
        if (ends)
            atomicMin(&first, i);
        break; /* all threads do */
    }
    __syncthreads();
    return first;
}

/* Ranks of a set go on over the run [from, to); whether any did. */
static __device__ int go_on(const struct query_args &a, struct walk &w, int tier, uint32_t from,
                            uint32_t to) {
    struct kvc_set set = a.view.sets[a.path.sets[tier][w.begin + from]];
    int moved = 0;
    for (uint32_t k = threadIdx.x; k < set.n; k += THREADS) {
        uint32_t rank = a.view.members[set.at + k], at = w.reach[rank];
        if (at < from || at >= to)
            continue;
        w.blocks[tier][rank] += to - at;
        w.reach[rank] = to;
        moved = 1;
    }
    return moved;
}

static __device__ void walk_tier(const struct query_args &a, struct walk &w, int tier) {
    __shared__ uint32_t starts[THREADS], counts[THREADS / 32];
    const uint32_t *sets = a.path.sets[tier] + w.begin;
    uint32_t open = 0; /* where the run began that goes on into this window */
    for (uint32_t from = 0; from < w.n; from += THREADS) {
        uint32_t i = from + threadIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        bool begins = i > 0 && i < w.n && sets[i] != sets[i - 1];
        uint32_t mask = __ballot_sync(0xFFFFFFFF, begins);
        if (lane == 0)
            counts[warp] = __popc(mask);
        __syncthreads();
        uint32_t before = __popc(mask & ((1u << lane) - 1)), n_starts = 0;
        for (uint32_t k = 0; k < THREADS / 32; k++) {
            before += k < warp ? counts[k] : 0;
            n_starts += counts[k];
        }
        if (begins)
            starts[before] = i;
        __syncthreads();
        for (uint32_t k = 0; k < n_starts; k++) {
            int moved = __syncthreads_or(go_on(a, w, tier, open, starts[k]));
            open = starts[k];
            if (tier == KVC_DEVICE && !moved)
                return; /* nobody holds everything so far */
        }
        __syncthreads();
    }
    if (w.n > 0)
        go_on(a, w, tier, open, w.n);
    __syncthreads();
}

static __device__ struct walk match_one(const struct query_args &a, uint32_t query) {
    uint32_t ranks = a.view.max_ranks;
    uint32_t *scratch = a.scratch + (size_t)blockIdx.x * ranks * (1 + KVC_TIERS);
    struct walk w;
    w.begin = a.offsets[query];
    w.reach = scratch;
    for (int t = 0; t < KVC_TIERS; t++)
        w.blocks[t] = scratch + (size_t)ranks * (1 + t);
    __syncthreads(); /* the query before is done with */
    for (uint32_t r = threadIdx.x; r < ranks * (1 + KVC_TIERS); r += THREADS)
        scratch[r] = 0;
    w.n = known(a, w.begin, (uint32_t)(a.offsets[query + 1] - w.begin));
    for (int t = 0; t < KVC_TIERS; t++)
        if (t != KVC_EXTERNAL || a.view.external != NULL)
            walk_tier(a, w, t);
    return w;
}

/* ---- results -------------------------------------------------------------------------------- */

static __global__ void match_queries(struct query_args a, uint32_t room, struct kvc_match *ret,
                                     uint32_t *ret_n) {
    __shared__ uint32_t counts[THREADS / 32];
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (uint32_t q = blockIdx.x; q < a.n_queries; q += gridDim.x) {
        struct walk w = match_one(a, q);
        uint32_t total = 0;
        for (uint32_t from = 0; from < a.view.max_ranks; from += THREADS) {
            uint32_t r = from + threadIdx.x;
            bool there = r < a.view.max_ranks && w.reach[r] > 0;
            uint32_t mask = __ballot_sync(0xFFFFFFFF, there);
            if (lane == 0)
                counts[warp] = __popc(mask);
            __syncthreads();
            uint32_t at = total + __popc(mask & ((1u << lane) - 1));
            for (uint32_t k = 0; k < THREADS / 32; k++) {
                at += k < warp ? counts[k] : 0;
                total += counts[k];
            }
            if (there && at < room) {
                struct kvc_match *m = &ret[(size_t)q * room + at];
                m->rank = r;
                for (int t = 0; t < KVC_TIERS; t++)
                    m->blocks[t] = w.blocks[t][r];
            }
            __syncthreads();
        }
        if (threadIdx.x == 0)
            ret_n[q] = total;
    }
}

struct rank_args {
    struct kvc_cost_params params;
    const double *isl_tokens, *prefill, *decode, *requests;
    const unsigned char *candidate;
    double min_prefill;
    uint32_t top;
};

/* Cheaper, or as cheap with a lower number. */
static __device__ bool better(double cost, uint32_t rank, double than, uint32_t other) {
    return rank != KVC_NONE && (other == KVC_NONE || cost < than || (cost == than && rank < other));
}

/* The best of all threads' candidates, in every thread. */
static __device__ void best_of_all(double *cost, uint32_t *rank) {
    __shared__ double costs[THREADS / 32];
    __shared__ uint32_t ranks[THREADS / 32];
    for (int step = 16; step > 0; step /= 2) {
        double other = __shfl_xor_sync(0xFFFFFFFF, *cost, step);
        uint32_t other_rank = __shfl_xor_sync(0xFFFFFFFF, *rank, step);
        if (better(other, other_rank, *cost, *rank)) {
            *cost = other;
            *rank = other_rank;
        }
    }
    if (threadIdx.x % 32 == 0) {
        costs[threadIdx.x / 32] = *cost;
        ranks[threadIdx.x / 32] = *rank;
    }
    __syncthreads();
    for (int k = 0; k < THREADS / 32; k++)
        if (better(costs[k], ranks[k], *cost, *rank)) {
            *cost = costs[k];
            *rank = ranks[k];
        }
    __syncthreads();
}

static __global__ void __launch_bounds__(THREADS, 8)
    rank_queries(struct query_args a, struct rank_args p, struct kvc_choice *ret) {
    uint32_t ranks = a.view.max_ranks;
    double *costs = a.costs + (size_t)blockIdx.x * ranks;
    for (uint32_t q = blockIdx.x; q < a.n_queries; q += gridDim.x) {
        struct walk w = match_one(a, q);
        double prompt_blocks = (double)(a.offsets[q + 1] - a.offsets[q]);
        for (uint32_t r = threadIdx.x; r < ranks; r += THREADS) {
            uint32_t blocks[KVC_TIERS];
            for (int t = 0; t < KVC_TIERS; t++)
                blocks[t] = w.blocks[t][r];
            costs[r] = kvc_cost(&p.params, p.isl_tokens[q], prompt_blocks, p.min_prefill, blocks,
                                p.prefill[r], p.decode[r], p.requests[r]);
        }
        double last = 0;
        uint32_t last_rank = KVC_NONE;
        for (uint32_t k = 0; k < p.top; k++) { /* the best of those behind the last one */
            double cost = 0;
            uint32_t rank = KVC_NONE;
            for (uint32_t r = threadIdx.x; r < ranks; r += THREADS)
                if (p.candidate[r] && (k == 0 || better(last, last_rank, costs[r], r)) &&
                    better(costs[r], r, cost, rank)) {
                    cost = costs[r];
                    rank = r;
                }
            best_of_all(&cost, &rank);
            if (threadIdx.x == 0) {
                ret[(size_t)q * p.top + k].rank = rank;
                ret[(size_t)q * p.top + k].cost = rank == KVC_NONE ? 0 : cost;
            }
            if (rank == KVC_NONE) {
                for (uint32_t rest = k + 1 + threadIdx.x; rest < p.top; rest += THREADS) {
                    ret[(size_t)q * p.top + rest].rank = KVC_NONE;
                    ret[(size_t)q * p.top + rest].cost = 0;
                }
                break;
            }
            last = cost;
            last_rank = rank;
        }
    }
}

/* ---- the host's side ------------------------------------------------------------------------ */

static uint32_t grid_of(const struct kvc_device *d, const struct query_args &a) {
    size_t each = (size_t)a.view.max_ranks * ((1 + KVC_TIERS) * sizeof(uint32_t) + sizeof(double));
    size_t most = SCRATCH_BYTES / each, resident = (size_t)d->multiprocessors * 8;
    most = most < resident ? most : resident;
    most = most < a.n_queries ? most : a.n_queries;
    return (uint32_t)(most > 0 ? most : 1);
}

/* Queries to the device, and the first two steps. */
static enum kvc_status prepare(struct kvc_device *d, struct kvc_table *t,
                               const struct kvc_queries *q, struct query_args *a) {
    cudaStream_t stream = d->lanes[0].stream;
    const struct kvc_device_table *dt = static_cast<const struct kvc_device_table *>(t->device);
    uint64_t first = q->offsets[0], n = q->offsets[q->n] - first;
    if (dt == NULL)
        return KVC_INVALID; /* nothing was committed */
    if (q->n > UINT32_MAX / 2)
        return KVC_INVALID;
    a->view.slots = static_cast<const struct kvc_slot *>(dt->slots.p);
    a->view.external = static_cast<const uint32_t *>(dt->external.p);
    a->view.sets = static_cast<const struct kvc_set *>(dt->sets.p);
    a->view.members = static_cast<const uint16_t *>(dt->members.p);
    a->view.mask = t->mask;
    a->view.max_ranks = t->options.max_ranks;
    a->n_queries = (uint32_t)q->n;
    a->n_blocks = n;
    uint32_t grid = grid_of(d, *a);
    size_t ranks = t->options.max_ranks, reach = grid * ranks * (1 + KVC_TIERS) * sizeof(uint32_t);
    reach = (reach + 7) / 8 * 8; /* doubles follow */
    KVC_TRY(kvc_device_room(d, &d->queries, n * sizeof(uint64_t)));
    KVC_TRY(kvc_device_room(d, &d->query_offsets, (q->n + 1) * sizeof(uint64_t)));
    KVC_TRY(kvc_device_room(d, &d->sequence, n * sizeof(uint64_t)));
    KVC_TRY(kvc_device_room(d, &d->path, n * 2 * sizeof(uint32_t)));
    KVC_TRY(kvc_device_room(d, &d->sets, n * KVC_TIERS * sizeof(uint32_t)));
    KVC_TRY(kvc_device_room(d, &d->scratch, reach + grid * ranks * sizeof(double)));
    KVC_TRY(kvc_device_staging(d, (q->n + 1) * sizeof(uint64_t)));
    uint64_t *offsets = static_cast<uint64_t *>(d->staging); /* from 0, as the copy begins there */
    for (size_t i = 0; i <= q->n; i++)
        offsets[i] = q->offsets[i] - first;
    KVC_TRY(
        kvc_device_upload(d, stream, d->query_offsets.p, offsets, (q->n + 1) * sizeof(uint64_t)));
    KVC_TRY(kvc_device_upload(d, stream, d->queries.p, q->local + first, n * sizeof(uint64_t)));
    a->local = static_cast<const uint64_t *>(d->queries.p);
    a->offsets = static_cast<const uint64_t *>(d->query_offsets.p);
    a->sequence = static_cast<const uint64_t *>(d->sequence.p);
    a->path.slot = static_cast<uint32_t *>(d->path.p);
    a->path.parent = a->path.slot + n;
    for (int tier = 0; tier < KVC_TIERS; tier++)
        a->path.sets[tier] = static_cast<uint32_t *>(d->sets.p) + n * tier;
    a->scratch = static_cast<uint32_t *>(d->scratch.p);
    a->costs = reinterpret_cast<double *>(static_cast<char *>(d->scratch.p) + reach);
    if (n == 0)
        return KVC_OK;
    kvc_device_chain(d, stream, a->local, a->offsets, q->n, 0,
                     static_cast<uint64_t *>(d->sequence.p));
    KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    uint64_t want = (n + LOOKUP_THREADS - 1) / LOOKUP_THREADS,
             most = (uint64_t)d->multiprocessors * 32;
    look_up<<<(uint32_t)(want < most ? want : most), LOOKUP_THREADS, 0, stream>>>(*a);
    return kvc_device_check(d, cudaGetLastError());
}

static enum kvc_status download(struct kvc_device *d, void *to, const void *from, size_t bytes) {
    return bytes == 0 ? KVC_OK
                      : kvc_device_check(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost,
                                                            d->lanes[0].stream));
}

static enum kvc_status match_all(struct kvc_device *d, struct kvc_table *t,
                                 const struct kvc_queries *q, size_t room, struct kvc_match *ret,
                                 uint32_t *ret_n) {
    cudaStream_t stream = d->lanes[0].stream;
    struct query_args a = {};
    size_t bytes = q->n * room * sizeof(*ret);
    KVC_TRY(prepare(d, t, q, &a));
    KVC_TRY(kvc_device_room(d, &d->results, bytes));
    KVC_TRY(kvc_device_room(d, &d->counts, q->n * sizeof(*ret_n)));
    match_queries<<<grid_of(d, a), THREADS, 0, stream>>>(
        a, (uint32_t)room, static_cast<struct kvc_match *>(d->results.p),
        static_cast<uint32_t *>(d->counts.p));
    KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    KVC_TRY(download(d, ret_n, d->counts.p, q->n * sizeof(*ret_n)));
    KVC_TRY(download(d, ret, d->results.p, bytes));
    return kvc_device_check(d, cudaStreamSynchronize(stream));
}

enum kvc_status kvc_device_match(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                                 size_t room, struct kvc_match *ret, uint32_t *ret_n) {
    struct kvc_device *d = kvc_device_enter(dev);
    if (room > UINT32_MAX)
        return KVC_INVALID;
    return kvc_device_settle(d, match_all(d, t, q, room, ret, ret_n));
}

/* The loads as one array in device memory: three of doubles, then the flags. */
static enum kvc_status upload_loads(struct kvc_device *d, const struct kvc_loads *loads,
                                    size_t ranks, struct rank_args *p) {
    cudaStream_t stream = d->lanes[0].stream;
    size_t each = ranks * sizeof(double);
    KVC_TRY(kvc_device_room(d, &d->loads, 3 * each + ranks));
    char *base = static_cast<char *>(d->loads.p);
    const void *arrays[] = {loads->active_prefill_tokens, loads->active_decode_blocks,
                            loads->active_requests};
    for (int i = 0; i < 3; i++)
        KVC_TRY(kvc_device_upload(d, stream, base + i * each, arrays[i], each));
    KVC_TRY(kvc_device_upload(d, stream, base + 3 * each, loads->candidate, ranks));
    p->prefill = reinterpret_cast<const double *>(base);
    p->decode = p->prefill + ranks;
    p->requests = p->decode + ranks;
    p->candidate = reinterpret_cast<const unsigned char *>(base + 3 * each);
    return KVC_OK;
}

static enum kvc_status rank_all(struct kvc_device *d, struct kvc_table *t,
                                const struct kvc_queries *q, const double *isl_tokens,
                                const struct kvc_cost_params *params, const struct kvc_loads *loads,
                                double min_prefill, uint32_t top, struct kvc_choice *ret) {
    cudaStream_t stream = d->lanes[0].stream;
    struct query_args a = {};
    struct rank_args p = {};
    KVC_TRY(prepare(d, t, q, &a));
    KVC_TRY(upload_loads(d, loads, t->options.max_ranks, &p));
    KVC_TRY(kvc_device_room(d, &d->isl, q->n * sizeof(double)));
    KVC_TRY(kvc_device_upload(d, stream, d->isl.p, isl_tokens, q->n * sizeof(double)));
    KVC_TRY(kvc_device_room(d, &d->results, q->n * top * sizeof(*ret)));
    p.params = *params;
    p.isl_tokens = static_cast<const double *>(d->isl.p);
    p.min_prefill = min_prefill;
    p.top = top;
    rank_queries<<<grid_of(d, a), THREADS, 0, stream>>>(
        a, p, static_cast<struct kvc_choice *>(d->results.p));
    KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    KVC_TRY(download(d, ret, d->results.p, q->n * top * sizeof(*ret)));
    return kvc_device_check(d, cudaStreamSynchronize(stream));
}

enum kvc_status kvc_device_rank(void *dev, struct kvc_table *t, const struct kvc_queries *q,
                                const double *isl_tokens, const struct kvc_cost_params *params,
                                const struct kvc_loads *loads, double min_prefill, uint32_t top,
                                struct kvc_choice *ret) {
    struct kvc_device *d = kvc_device_enter(dev);
    return kvc_device_settle(d,
                             rank_all(d, t, q, isl_tokens, params, loads, min_prefill, top, ret));
}
