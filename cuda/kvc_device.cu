/*
 * The device: memory within a budget, transfers, and the copies of tables.
 *
 * One stream orders a table's updates and the queries on it, so a query sees a commit whole or not
 * at all, without a second copy of the table; the host gathers the next changes meanwhile.
 */
#include "cuda/kvc_device_priv.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

enum { THREADS = 256, STAGE_BYTES = 1 << 20, SLOT_BYTES = sizeof(struct kvc_slot) + 8 };

/* ---- errors and memory ---------------------------------------------------------------------- */

enum kvc_status kvc_device_check(struct kvc_device *d, cudaError_t e) {
    if (e == cudaSuccess)
        return d->lost ? KVC_LOST : KVC_OK;
    cudaGetLastError();
    if (e == cudaErrorMemoryAllocation)
        return KVC_NOMEM;
    d->lost = true;
    return KVC_LOST;
}

struct kvc_device *kvc_device_enter(void *dev) {
    struct kvc_device *d = static_cast<struct kvc_device *>(dev);
    (void)kvc_device_check(d, cudaSetDevice(d->number));
    return d;
}

enum kvc_status kvc_device_settle(struct kvc_device *d, enum kvc_status st) {
    if (st == KVC_OK)
        return st;
    for (struct kvc_lane &l : d->lanes)
        if (cudaStreamSynchronize(l.stream) != cudaSuccess)
            cudaGetLastError();
    return st;
}

void kvc_device_give_back(struct kvc_device *d, struct kvc_buffer *b) {
    if (b->p != NULL && cudaFree(b->p) != cudaSuccess)
        cudaGetLastError();
    d->bytes -= b->cap;
    b->p = NULL;
    b->cap = 0;
}

enum kvc_status kvc_device_room(struct kvc_device *d, struct kvc_buffer *b, size_t bytes) {
    if (d->lost)
        return KVC_LOST;
    if (bytes <= b->cap)
        return KVC_OK;
    size_t cap = b->cap * 2 > bytes ? b->cap * 2 : bytes;
    if (d->bytes - b->cap + cap > d->max_bytes)
        cap = bytes; /* exactly, where doubling is too much */
    if (d->bytes - b->cap + cap > d->max_bytes)
        return KVC_NOMEM;
    kvc_device_give_back(d, b); /* waits for what still uses it */
    KVC_TRY(kvc_device_check(d, cudaMalloc(&b->p, cap)));
    b->cap = cap;
    d->bytes += cap;
    return KVC_OK;
}

enum kvc_status kvc_device_upload(struct kvc_device *d, cudaStream_t stream, void *to,
                                  const void *from, size_t bytes) {
    d->uploaded += bytes;
    return kvc_device_check(d, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream));
}

enum kvc_status kvc_device_put(struct kvc_device *d, struct kvc_buffer *b, const void *from,
                               size_t bytes) {
    KVC_TRY(kvc_device_room(d, b, bytes > 0 ? bytes : 1));
    return bytes > 0 ? kvc_device_upload(d, d->lanes[0].stream, b->p, from, bytes) : KVC_OK;
}

enum kvc_status kvc_device_staging(struct kvc_device *d, size_t bytes) {
    if (bytes <= d->cap_staging)
        return KVC_OK;
    if (d->staging != NULL)
        cudaFreeHost(d->staging);
    d->staging = NULL;
    d->cap_staging = 0;
    KVC_TRY(kvc_device_check(d, cudaMallocHost(&d->staging, bytes)));
    d->cap_staging = bytes;
    return KVC_OK;
}

static void *device_alloc(void *dev, enum kvc_memory memory, size_t bytes) {
    struct kvc_device *d = kvc_device_enter(dev);
    void *p = NULL;
    cudaError_t e = memory == KVC_MEMORY_HOST ? cudaMallocHost(&p, bytes) : cudaMalloc(&p, bytes);
    return kvc_device_check(d, e) == KVC_OK ? p : NULL;
}

static void device_release(void *dev, enum kvc_memory memory, void *p) {
    struct kvc_device *d = kvc_device_enter(dev);
    (void)kvc_device_check(d, memory == KVC_MEMORY_HOST ? cudaFreeHost(p) : cudaFree(p));
}

static enum kvc_status device_copy(void *dev, void *to, const void *from, size_t bytes) {
    struct kvc_device *d = kvc_device_enter(dev);
    return kvc_device_check(d, cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}

/* ---- life ----------------------------------------------------------------------------------- */

static void device_close(void *dev) {
    struct kvc_device *d = kvc_device_enter(dev);
    for (struct kvc_lane &l : d->lanes) {
        struct kvc_buffer *mine[] = {&l.tokens, &l.offsets, &l.block_offsets,
                                     &l.seeds,  &l.local,   &l.sequence};
        for (struct kvc_buffer *b : mine)
            kvc_device_give_back(d, b);
        if (l.stream != NULL)
            cudaStreamDestroy(l.stream);
    }
    for (struct kvc_stage &g : d->stages) {
        kvc_device_give_back(d, &g.device);
        cudaFreeHost(g.host);
        if (g.done != NULL)
            cudaEventDestroy(g.done);
    }
    struct kvc_buffer *all[] = {&d->queries, &d->query_offsets, &d->sequence, &d->path,
                                &d->sets,    &d->isl,           &d->loads,    &d->scratch,
                                &d->results, &d->counts};
    for (struct kvc_buffer *b : all)
        kvc_device_give_back(d, b);
    kvc_device_replay_close(d);
    cudaFreeHost(d->staging);
    cudaGetLastError();
    free(d);
}

static enum kvc_status set_up(struct kvc_device *d, const struct kvc_options *o,
                              const struct kvc_secret *secret) {
    size_t free_bytes = 0, total = 0;
    KVC_TRY(kvc_device_check(d, cudaSetDevice(o->device)));
    KVC_TRY(kvc_device_check(d, cudaMemGetInfo(&free_bytes, &total)));
    d->max_bytes = o->max_bytes != 0 ? o->max_bytes : free_bytes / 2;
    KVC_TRY(kvc_device_check(
        d, cudaDeviceGetAttribute(&d->multiprocessors, cudaDevAttrMultiProcessorCount, o->device)));
    for (struct kvc_lane &l : d->lanes)
        KVC_TRY(kvc_device_check(d, cudaStreamCreateWithFlags(&l.stream, cudaStreamNonBlocking)));
    for (struct kvc_stage &g : d->stages)
        KVC_TRY(kvc_device_check(d, cudaEventCreateWithFlags(&g.done, cudaEventDisableTiming)));
    d->secret = *secret;
    return KVC_OK;
}

static enum kvc_status device_open(const struct kvc_options *o, const struct kvc_secret *secret,
                                   void **ret, char *why, size_t room) {
    int n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e != cudaSuccess || o->device < 0 || o->device >= n) {
        cudaGetLastError();
        snprintf(why, room, e != cudaSuccess ? "no usable CUDA device: %s" : "no CUDA device %s%d",
                 e != cudaSuccess ? cudaGetErrorString(e) : "", o->device);
        return KVC_NO_DEVICE;
    }
    struct kvc_device *d = static_cast<struct kvc_device *>(calloc(1, sizeof(*d)));
    if (d == NULL) {
        snprintf(why, room, "out of memory");
        return KVC_NOMEM;
    }
    d->number = o->device;
    enum kvc_status st = set_up(d, o, secret);
    if (st != KVC_OK) {
        snprintf(why, room, "CUDA device %d cannot be used: %s", o->device,
                 st == KVC_NOMEM ? "its memory is taken" : "it failed at the first steps");
        device_close(d);
        return st;
    }
    *ret = d;
    return KVC_OK;
}

static void device_info(const void *dev, struct kvc_info *ret) {
    const struct kvc_device *d = static_cast<const struct kvc_device *>(dev);
    cudaDeviceProp prop;
    memset(ret, 0, sizeof(*ret));
    ret->kind = KVC_CUDA;
    ret->bytes = d->bytes;
    ret->max_bytes = d->max_bytes;
    ret->uploaded_bytes = d->uploaded;
    ret->multiprocessors = d->multiprocessors;
    if (cudaGetDeviceProperties(&prop, d->number) == cudaSuccess)
        snprintf(ret->name, sizeof(ret->name), "%.100s", prop.name);
    cudaGetLastError();
}

/* ---- tables --------------------------------------------------------------------------------- */

/* A stage that is not in use, with room for so much. */
static enum kvc_status next_stage(struct kvc_device *d, unsigned turn, size_t bytes,
                                  struct kvc_stage **ret) {
    struct kvc_stage *g = &d->stages[turn % 2];
    if (g->in_flight)
        KVC_TRY(kvc_device_check(d, cudaEventSynchronize(g->done)));
    g->in_flight = false;
    if (bytes > g->cap) {
        if (g->host != NULL)
            cudaFreeHost(g->host);
        g->host = NULL;
        g->cap = 0;
        KVC_TRY(kvc_device_check(d, cudaMallocHost(&g->host, bytes)));
        g->cap = bytes;
    }
    *ret = g;
    return kvc_device_room(d, &g->device, bytes);
}

/* After its last use has been queued. */
static enum kvc_status stage_used(struct kvc_device *d, struct kvc_stage *g) {
    KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    g->in_flight = true;
    return kvc_device_check(d, cudaEventRecord(g->done, d->lanes[0].stream));
}

static __global__ void put_slots(const struct kvc_slot *__restrict__ from,
                                 const uint32_t *__restrict__ at,
                                 const uint32_t *__restrict__ from_external, uint32_t n,
                                 struct kvc_slot *__restrict__ slots,
                                 uint32_t *__restrict__ external) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    slots[at[i]] = from[i];
    if (external != NULL)
        external[at[i]] = from_external[i];
}

/* A changed set: its members lie at `from` of the members that travel with it. */
struct set_change {
    struct kvc_set set;
    uint32_t number, from;
};

static __global__ void put_sets(const struct set_change *__restrict__ changes, uint32_t n,
                                const uint16_t *__restrict__ from,
                                struct kvc_set *__restrict__ sets, uint16_t *__restrict__ members) {
    uint32_t i = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (i >= n)
        return;
    struct set_change c = changes[i];
    if (lane == 0)
        sets[c.number] = c.set;
    for (uint32_t k = lane; k < c.set.n; k += 32)
        members[c.set.at + k] = from[c.from + k];
}

static enum kvc_status upload_all_slots(struct kvc_device *d, struct kvc_device_table *dt,
                                        const struct kvc_table *t) {
    size_t cap = (size_t)t->mask + 1;
    cudaStream_t stream = d->lanes[0].stream;
    KVC_TRY(kvc_device_room(d, &dt->slots, cap * sizeof(*t->slots)));
    KVC_TRY(kvc_device_upload(d, stream, dt->slots.p, t->slots, cap * sizeof(*t->slots)));
    if (t->external == NULL)
        return KVC_OK;
    KVC_TRY(kvc_device_room(d, &dt->external, cap * sizeof(*t->external)));
    return kvc_device_upload(d, stream, dt->external.p, t->external, cap * sizeof(*t->external));
}

/* Changed slots [from, from + n) of the list: the slots, their places, their external sets. */
static enum kvc_status upload_some_slots(struct kvc_device *d, struct kvc_device_table *dt,
                                         const struct kvc_table *t, size_t from, uint32_t n,
                                         struct kvc_stage *g) {
    cudaStream_t stream = d->lanes[0].stream;
    struct kvc_slot *slots = static_cast<struct kvc_slot *>(g->host);
    uint32_t *at = reinterpret_cast<uint32_t *>(slots + n), *external = at + n;
    for (uint32_t i = 0; i < n; i++) {
        at[i] = t->dirty[from + i];
        slots[i] = t->slots[at[i]];
        external[i] = t->external != NULL ? t->external[at[i]] : 0;
    }
    KVC_TRY(kvc_device_upload(d, stream, g->device.p, g->host, n * SLOT_BYTES));
    const struct kvc_slot *there = static_cast<const struct kvc_slot *>(g->device.p);
    const uint32_t *there_at = reinterpret_cast<const uint32_t *>(there + n);
    put_slots<<<(n + THREADS - 1) / THREADS, THREADS, 0, stream>>>(
        there, there_at, there_at + n, n, static_cast<struct kvc_slot *>(dt->slots.p),
        t->external != NULL ? static_cast<uint32_t *>(dt->external.p) : NULL);
    return stage_used(d, g);
}

static enum kvc_status upload_slots(struct kvc_device *d, struct kvc_device_table *dt,
                                    const struct kvc_table *t) {
    struct kvc_stage *g;
    for (size_t from = 0, turn = 0; from < t->n_dirty; turn++) {
        size_t n = t->n_dirty - from, most = STAGE_BYTES / SLOT_BYTES;
        n = n < most ? n : most;
        KVC_TRY(next_stage(d, (unsigned)turn, n * SLOT_BYTES, &g));
        KVC_TRY(upload_some_slots(d, dt, t, from, (uint32_t)n, g));
        from += n;
    }
    return KVC_OK;
}

static enum kvc_status upload_all_sets(struct kvc_device *d, struct kvc_device_table *dt,
                                       const struct kvc_sets *s) {
    cudaStream_t stream = d->lanes[0].stream;
    KVC_TRY(kvc_device_room(d, &dt->sets, s->cap * sizeof(*s->sets)));
    KVC_TRY(kvc_device_room(d, &dt->members, s->cap_members * sizeof(*s->members)));
    KVC_TRY(kvc_device_upload(d, stream, dt->sets.p, s->sets, s->n * sizeof(*s->sets)));
    return kvc_device_upload(d, stream, dt->members.p, s->members,
                             s->n_members * sizeof(*s->members));
}

/* Changed sets [from, from + n) of the list, and behind them their members, `bytes` together. */
static enum kvc_status upload_some_sets(struct kvc_device *d, struct kvc_device_table *dt,
                                        const struct kvc_sets *s, uint32_t from, uint32_t n,
                                        size_t bytes, struct kvc_stage *g) {
    cudaStream_t stream = d->lanes[0].stream;
    struct set_change *changes = static_cast<struct set_change *>(g->host);
    uint16_t *members = reinterpret_cast<uint16_t *>(changes + n);
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct kvc_set set = s->sets[s->dirty[from + i]]; /* of a freed number: n = 0, of no use */
        changes[i].set = set;
        changes[i].number = s->dirty[from + i];
        changes[i].from = at;
        memcpy(members + at, s->members + (set.n > 0 ? set.at : 0), set.n * sizeof(*members));
        at += set.n;
    }
    KVC_TRY(kvc_device_upload(d, stream, g->device.p, g->host, bytes));
    const struct set_change *there = static_cast<const struct set_change *>(g->device.p);
    put_sets<<<(n * 32 + THREADS - 1) / THREADS, THREADS, 0, stream>>>(
        there, n, reinterpret_cast<const uint16_t *>(there + n),
        static_cast<struct kvc_set *>(dt->sets.p), static_cast<uint16_t *>(dt->members.p));
    return stage_used(d, g);
}

static enum kvc_status upload_sets(struct kvc_device *d, struct kvc_device_table *dt,
                                   const struct kvc_sets *s) {
    struct kvc_stage *g;
    for (uint32_t from = 0, n, turn = 0; from < s->n_dirty; from += n, turn++) {
        size_t bytes = 0; /* of one set at least: the largest is far below a stage */
        for (n = 0; from + n < s->n_dirty; n++) {
            size_t more =
                sizeof(struct set_change) + s->sets[s->dirty[from + n]].n * sizeof(*s->members);
            if (n > 0 && bytes + more > STAGE_BYTES)
                break;
            bytes += more;
        }
        KVC_TRY(next_stage(d, turn, bytes, &g));
        KVC_TRY(upload_some_sets(d, dt, s, from, n, bytes, g));
    }
    return KVC_OK;
}

static enum kvc_status upload_changes(struct kvc_device *d, struct kvc_device_table *dt,
                                      const struct kvc_table *t) {
    const struct kvc_sets *s = &t->sets;
    bool grown = dt->sets.cap < s->cap * sizeof(*s->sets) ||
                 dt->members.cap < s->cap_members * sizeof(*s->members);
    KVC_TRY(grown || t->all_dirty ? upload_all_sets(d, dt, s) : upload_sets(d, dt, s));
    KVC_TRY(t->all_dirty ? upload_all_slots(d, dt, t) : upload_slots(d, dt, t));
    return kvc_device_check(d, cudaStreamSynchronize(d->lanes[0].stream));
}

static enum kvc_status device_commit(void *dev, struct kvc_table *t) {
    struct kvc_device *d = kvc_device_enter(dev);
    struct kvc_device_table *dt = static_cast<struct kvc_device_table *>(t->device);
    if (d->lost)
        return KVC_LOST;
    if (dt == NULL) {
        dt = static_cast<struct kvc_device_table *>(calloc(1, sizeof(*dt)));
        if (dt == NULL)
            return KVC_NOMEM;
        t->device = dt;
    }
    return kvc_device_settle(d, upload_changes(d, dt, t));
}

static void device_table_free(void *dev, struct kvc_table *t) {
    struct kvc_device *d = kvc_device_enter(dev);
    struct kvc_device_table *dt = static_cast<struct kvc_device_table *>(t->device);
    if (dt == NULL)
        return;
    kvc_device_give_back(d, &dt->slots);
    kvc_device_give_back(d, &dt->external);
    kvc_device_give_back(d, &dt->sets);
    kvc_device_give_back(d, &dt->members);
    free(dt);
    t->device = NULL;
}

/* ---- the plug-in's door --------------------------------------------------------------------- */

extern "C" __attribute__((visibility("default"))) const struct kvc_ops *kvc_cuda_plugin(void);

const struct kvc_ops *kvc_cuda_plugin(void) {
    static const struct kvc_ops ops = {
        KVC_ABI,
        device_open,
        device_close,
        device_info,
        device_alloc,
        device_release,
        device_copy,
        kvc_device_hash,
        device_commit,
        device_table_free,
        kvc_device_match,
        kvc_device_rank,
        kvc_device_trace_free,
        kvc_device_wave_begin,
        kvc_device_wave_end,
        kvc_device_redecide,
    };
    return &ops;
}
