/*
 * Hashing on the device.
 *
 * Blocks are independent: a warp takes 32 of them, brings their tokens into shared memory with
 * whole-sector loads (a lane that read its own block would touch a sector a word), and each lane
 * hashes one from there: short blocks whole, long ones stripe by stripe. Rows are an odd number of
 * words apart, so that lanes meet no bank twice. All loads of a step are on their way before the
 * first is put down; the secret is an argument, so its words are constants of the instructions.
 *
 * The chain is serial inside a prompt. With many prompts each thread follows one. With few, a warp
 * follows one: its lanes fetch 32 hashes at once and all compute the same steps, so that the chain
 * waits for arithmetic only; blocks of the next batch are hashed beside it on the other stream.
 */
#include "cuda/kvc_device_priv.h"

enum {
    WARPS = 4,
    STRIPE = 16, /* words; a row of a long block in shared memory */
    FETCH = 16,  /* loads of a lane on their way at once */
    CHAIN_THREADS = 128,
    MANY_PROMPTS = 4096,
    BATCH_TOKENS = 4 << 20, /* of one transfer: 16 MiB hide a launch and fit many times */
};

/* ---- local hashes --------------------------------------------------------------------------- */

struct hash_args {
    const uint32_t *tokens; /* of the batch: token `first_token` of the call is tokens[0] */
    const uint64_t *offsets, *block_offsets, *seeds; /* of the prompts of the batch */
    uint64_t first_token, first_block, n_blocks;
    uint32_t n_prompts, block_size, words;
    uint64_t *local;
};

/* The last prompt in [low, high) that begins at or before the block; the first one does. */
static __device__ uint32_t prompt_of(const struct hash_args &a, uint64_t block, uint32_t low,
                                     uint32_t high) {
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (a.block_offsets[mid] <= block)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* What a lane has to do. Its block begins at first[at]: a batch has far fewer than 2^32 tokens, or
 * is one prompt, whose neighbours are near. */
struct work {
    uint64_t block, seed;
    const uint32_t *first; /* token of the warp's first block */
    uint32_t at, n_rows;   /* of the warp */
    bool there;
};

/* The warp's blocks are neighbours: the prompts of the first and of the last are found with all
 * lanes on one address, and the others lie between, mostly in the same one. */
static __device__ struct work work_of(const struct hash_args &a, uint64_t group) {
    uint64_t first = group * 32, left = a.n_blocks - first, at = 0;
    struct work w = {first + threadIdx.x % 32,        KVC_CHAIN_SEED, NULL, 0,
                     left < 32 ? (uint32_t)left : 32, false};
    uint32_t low = prompt_of(a, a.first_block + first, 0, a.n_prompts);
    uint32_t high = prompt_of(a, a.first_block + first + w.n_rows - 1, low, a.n_prompts) + 1;
    w.there = threadIdx.x % 32 < w.n_rows;
    if (w.there) {
        uint32_t p = prompt_of(a, a.first_block + w.block, low, high);
        at = a.offsets[p] - a.first_token +
             (a.first_block + w.block - a.block_offsets[p]) * a.block_size;
        if (a.seeds != NULL)
            w.seed = a.seeds[p];
    }
    uint64_t base = __shfl_sync(0xFFFFFFFF, at, 0);
    w.first = a.tokens + base;
    w.at = (uint32_t)(at - base);
    return w;
}

/* Words [from, from + words) of each row's block into the warp's rows. */
template <uint32_t WORDS>
static __device__ void stage(const struct work &w, uint32_t from, uint32_t words_now,
                             uint32_t *rows) {
    const uint32_t words = WORDS != 0 ? WORDS : words_now, stride = words | 1;
    const uint32_t *__restrict__ tokens = w.first + from;
    uint32_t lane = threadIdx.x % 32;
    for (uint32_t begin = 0; begin < words; begin += FETCH) { /* each is 32 words, one a lane */
        uint32_t got[FETCH];
#pragma unroll
        for (uint32_t k = 0; k < FETCH; k++) {
            uint32_t i = (begin + k) * 32 + lane, row = i / words, word = i - row * words;
            /* Rows that are not there read the last one that is: no load waits for a condition. */
            uint32_t at = __shfl_sync(0xFFFFFFFF, w.at, row < w.n_rows ? row : w.n_rows - 1);
            got[k] = tokens[at + word];
        }
#pragma unroll
        for (uint32_t k = 0; k < FETCH; k++) {
            uint32_t i = (begin + k) * 32 + lane, row = i / words;
            if (row < 32)
                rows[row * stride + i - row * words] = got[k];
        }
    }
}

/* Blocks of at most KVC_SHORT_WORDS. WORDS = 0: as many as the arguments say. */
template <uint32_t WORDS>
static __global__ void hash_short(struct hash_args a,
                                  const __grid_constant__ struct kvc_secret secret) {
    extern __shared__ uint32_t rows[];
    const uint32_t words = WORDS != 0 ? WORDS : a.words, stride = words | 1;
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t *mine = rows + warp * 32 * stride;
    uint64_t groups = (a.n_blocks + 31) / 32;
    for (uint64_t g = blockIdx.x * (uint64_t)WARPS + warp; g < groups;
         g += (uint64_t)gridDim.x * WARPS) {
        struct work w = work_of(a, g);
        stage<WORDS>(w, 0, words, mine);
        __syncwarp();
        if (w.there)
            a.local[w.block] = kvc_xxh3_short(mine + lane * stride, words, &secret, w.seed);
        __syncwarp();
    }
}

static __global__ void __launch_bounds__(32 * WARPS, 5)
    hash_long(struct hash_args a, const __grid_constant__ struct kvc_secret secret) {
    __shared__ uint32_t rows[WARPS * 32 * (STRIPE | 1)];
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t *mine = rows + warp * 32 * (STRIPE | 1), *row = mine + lane * (STRIPE | 1);
    uint64_t groups = (a.n_blocks + 31) / 32;
    uint32_t stripes = kvc_long_stripes((size_t)a.words * 4);
    for (uint64_t g = blockIdx.x * (uint64_t)WARPS + warp; g < groups;
         g += (uint64_t)gridDim.x * WARPS) {
        struct work w = work_of(a, g);
        uint64_t acc[8];
        kvc_long_begin(acc);
        for (uint32_t i = 0; i < stripes; i++) {
            stage<STRIPE>(w, i * STRIPE, STRIPE, mine);
            __syncwarp();
            kvc_long_stripe(acc, row, i, &secret, w.seed);
            __syncwarp();
        }
        stage<STRIPE>(w, a.words - STRIPE, STRIPE, mine);
        __syncwarp();
        uint64_t h = kvc_long_end(acc, row, (size_t)a.words * 4, &secret, w.seed);
        if (w.there)
            a.local[w.block] = h;
        __syncwarp();
    }
}

static void launch_hash(const struct kvc_device *d, cudaStream_t stream,
                        const struct hash_args &a) {
    uint64_t want = (a.n_blocks + 32 * WARPS - 1) / (32 * WARPS);
    uint64_t most = (uint64_t)d->multiprocessors * 32;
    uint32_t grid = (uint32_t)(want < most ? want : most);
    size_t shared = (size_t)WARPS * 32 * (a.words | 1) * sizeof(uint32_t);
    if (a.words > KVC_SHORT_WORDS)
        hash_long<<<grid, 32 * WARPS, 0, stream>>>(a, d->secret);
    else if (a.words == 16)
        hash_short<16><<<grid, 32 * WARPS, shared, stream>>>(a, d->secret);
    else if (a.words == 32)
        hash_short<32><<<grid, 32 * WARPS, shared, stream>>>(a, d->secret);
    else
        hash_short<0><<<grid, 32 * WARPS, shared, stream>>>(a, d->secret);
}

/* ---- chains --------------------------------------------------------------------------------- */

static __global__ void chain_threads(const uint64_t *__restrict__ local,
                                     const uint64_t *__restrict__ offsets, uint32_t n,
                                     uint64_t base, uint64_t *__restrict__ sequence,
                                     const __grid_constant__ struct kvc_secret secret) {
    uint32_t p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= n)
        return;
    uint64_t s = 0, begin = offsets[p] - base, end = offsets[p + 1] - base;
    for (uint64_t i = begin; i < end; i++) {
        s = i == begin ? local[i] : kvc_chain_step(s, local[i], &secret);
        sequence[i] = s;
    }
}

static __global__ void chain_warps(const uint64_t *__restrict__ local,
                                   const uint64_t *__restrict__ offsets, uint32_t n, uint64_t base,
                                   uint64_t *__restrict__ sequence,
                                   const __grid_constant__ struct kvc_secret secret) {
    uint32_t p = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (p >= n)
        return;
    uint64_t s = 0, begin = offsets[p] - base, end = offsets[p + 1] - base;
    uint64_t next = begin + lane < end ? local[begin + lane] : 0;
    for (uint64_t i = begin; i < end; i += 32) {
        uint64_t now = next, mine = 0;
        next = i + 32 + lane < end ? local[i + 32 + lane] : 0; /* arrives while these are chained */
        for (uint32_t k = 0; k < 32; k++) {
            uint64_t l = __shfl_sync(0xFFFFFFFF, now, k);
            s = i == begin && k == 0 ? l : kvc_chain_step(s, l, &secret);
            mine = k == lane ? s : mine;
        }
        if (i + lane < end)
            sequence[i + lane] = mine;
    }
}

void kvc_device_chain(const struct kvc_device *d, cudaStream_t stream, const uint64_t *local,
                      const uint64_t *offsets, size_t n, uint64_t base, uint64_t *ret_sequence) {
    uint32_t count = (uint32_t)n;
    uint64_t threads = n >= MANY_PROMPTS ? n : n * 32;
    uint32_t grid = (uint32_t)((threads + CHAIN_THREADS - 1) / CHAIN_THREADS);
    if (n >= MANY_PROMPTS)
        chain_threads<<<grid, CHAIN_THREADS, 0, stream>>>(local, offsets, count, base, ret_sequence,
                                                          d->secret);
    else
        chain_warps<<<grid, CHAIN_THREADS, 0, stream>>>(local, offsets, count, base, ret_sequence,
                                                        d->secret);
}

/* ---- batches -------------------------------------------------------------------------------- */

/* Prompts [from, to) of the call. */
struct batch {
    size_t from, to;
};

static struct batch next_batch(const struct kvc_prompts *p, size_t from) {
    struct batch b = {from, from + 1};
    while (b.to < p->n && p->offsets[b.to + 1] - p->offsets[from] <= BATCH_TOKENS &&
           b.to - from < (1u << 24))
        b.to++;
    return b;
}

static enum kvc_status run_batch(struct kvc_device *d, struct kvc_lane *l,
                                 const struct kvc_prompts *p, const uint64_t *block_offsets,
                                 struct batch b, uint64_t *ret_local, uint64_t *ret_sequence) {
    size_t n = b.to - b.from;
    uint64_t n_tokens = p->offsets[b.to] - p->offsets[b.from];
    uint64_t first = block_offsets[b.from], n_blocks = block_offsets[b.to] - first;
    if (n_blocks == 0)
        return KVC_OK;
    size_t words = (n + 1) * sizeof(uint64_t), hashes = n_blocks * sizeof(uint64_t);
    KVC_TRY(kvc_device_room(d, &l->offsets, words));
    KVC_TRY(kvc_device_room(d, &l->block_offsets, words));
    KVC_TRY(kvc_device_upload(d, l->stream, l->offsets.p, p->offsets + b.from, words));
    KVC_TRY(kvc_device_upload(d, l->stream, l->block_offsets.p, block_offsets + b.from, words));
    if (p->seeds != NULL) {
        KVC_TRY(kvc_device_room(d, &l->seeds, words));
        KVC_TRY(
            kvc_device_upload(d, l->stream, l->seeds.p, p->seeds + b.from, n * sizeof(uint64_t)));
    }
    struct hash_args a = {};
    a.tokens = p->tokens + p->offsets[b.from];
    a.local = ret_local + first;
    uint64_t *sequence = ret_sequence != NULL ? ret_sequence + first : NULL;
    if (!p->resident) {
        KVC_TRY(kvc_device_room(d, &l->tokens, n_tokens * sizeof(uint32_t)));
        KVC_TRY(kvc_device_room(d, &l->local, hashes));
        KVC_TRY(
            kvc_device_upload(d, l->stream, l->tokens.p, a.tokens, n_tokens * sizeof(uint32_t)));
        a.tokens = static_cast<const uint32_t *>(l->tokens.p);
        a.local = static_cast<uint64_t *>(l->local.p);
        if (ret_sequence != NULL) {
            KVC_TRY(kvc_device_room(d, &l->sequence, hashes));
            sequence = static_cast<uint64_t *>(l->sequence.p);
        }
    }
    a.offsets = static_cast<const uint64_t *>(l->offsets.p);
    a.block_offsets = static_cast<const uint64_t *>(l->block_offsets.p);
    a.seeds = p->seeds != NULL ? static_cast<const uint64_t *>(l->seeds.p) : NULL;
    a.first_token = p->offsets[b.from];
    a.first_block = first;
    a.n_blocks = n_blocks;
    a.n_prompts = (uint32_t)n;
    a.block_size = p->block_size;
    a.words = p->block_size + p->eagle;
    launch_hash(d, l->stream, a);
    KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    if (sequence != NULL) {
        kvc_device_chain(d, l->stream, a.local, a.block_offsets, n, first, sequence);
        KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    }
    if (p->resident)
        return KVC_OK;
    KVC_TRY(kvc_device_check(
        d, cudaMemcpyAsync(ret_local + first, a.local, hashes, cudaMemcpyDeviceToHost, l->stream)));
    return sequence == NULL
               ? KVC_OK
               : kvc_device_check(d, cudaMemcpyAsync(ret_sequence + first, sequence, hashes,
                                                     cudaMemcpyDeviceToHost, l->stream));
}

enum kvc_status kvc_device_hash(void *dev, const struct kvc_prompts *p,
                                const uint64_t *block_offsets, uint64_t *ret_local,
                                uint64_t *ret_sequence) {
    struct kvc_device *d = kvc_device_enter(dev);
    enum kvc_status st = KVC_OK;
    struct batch b = {0, 0};
    for (unsigned i = 0; b.to < p->n && st == KVC_OK; i++) {
        b = next_batch(p, b.to);
        st = run_batch(d, &d->lanes[i % 2], p, block_offsets, b, ret_local, ret_sequence);
    }
    for (struct kvc_lane &l : d->lanes) { /* even after a failure: the caller's memory is in use */
        enum kvc_status end = kvc_device_check(d, cudaStreamSynchronize(l.stream));
        st = st == KVC_OK ? end : st;
    }
    return st;
}
