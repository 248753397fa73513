/*
 * The replay on the device: `lanes` threads of one warp are a configuration, each advances some of
 * its workers; the text they run is kvc_sim_priv.h. All configurations of a warp go through the
 * trace together, request by request, so what they read of it comes from the cache but once.
 */
#include "cuda/kvc_device_priv.h"
#include "cuda/kvc_replay_priv.h"

#include <cstdlib>

enum { THREADS = 64 }; /* small blocks: a few hundred configurations reach every multiprocessor */

struct replay_args {
    struct kvc_course course;
    const struct kvc_replay_config *configs;
    const uint64_t *places;
    char *states;
    struct kvc_replay_outcome *outcomes;
    struct kvc_sim_end *ends;
    uint32_t n, lanes;
};

static __global__ void replay_configs(const struct replay_args a) {
    uint32_t at = (blockIdx.x * blockDim.x + threadIdx.x) / a.lanes, lane = threadIdx.x % a.lanes;
    struct kvc_sim s;
    if (at >= a.n)
        return;
    kvc_sim_place(&s, &a.configs[at], &a.course,
                  reinterpret_cast<uintptr_t>(a.states + a.places[at]),
                  a.outcomes + (size_t)at * a.course.n_requests);
    kvc_sim_begin(&s, lane, a.lanes);
    __syncwarp();
    for (uint32_t r = 0; r < a.course.n_requests; r++) {
        uint64_t now_us = kvc_due_us(&s, r);
        for (uint32_t w = lane; w < s.config->n_workers; w += a.lanes) {
            kvc_advance(&s, w, now_us);
            kvc_weigh(&s, w, r, now_us);
        }
        __syncwarp();
        for (uint32_t w = lane; w < s.config->n_workers; w += a.lanes)
            kvc_price(&s, w, r);
        __syncwarp();
        if (lane == 0)
            kvc_choose(&s, r, now_us);
        __syncwarp();
    }
    for (uint32_t w = lane; w < s.config->n_workers; w += a.lanes)
        kvc_advance(&s, w, KVC_NEVER - 1);
    __syncwarp();
    kvc_sim_finish(&s, lane, a.lanes);
    if (lane != 0)
        return;
    struct kvc_sim_end end = {};
    for (uint32_t w = 0; w < s.config->n_workers; w++)
        end.preemptions += s.workers[w].preemptions;
    end.failed = s.head->failed;
    a.ends[at] = end;
}

/* ---- the trace's copy -------------------------------------------------------------------------
 */

struct device_trace {
    struct kvc_buffer requests, runs, paths;
    bool complete;
};

static enum kvc_status put_trace(struct kvc_device *d, struct kvc_trace *t) {
    struct device_trace *dt = static_cast<struct device_trace *>(t->device);
    if (dt == NULL) {
        dt = static_cast<struct device_trace *>(calloc(1, sizeof(*dt)));
        if (dt == NULL)
            return KVC_NOMEM;
        t->device = dt;
    }
    if (dt->complete)
        return KVC_OK;
    KVC_TRY(
        kvc_device_put(d, &dt->requests, t->requests, t->course.n_requests * sizeof(*t->requests)));
    KVC_TRY(kvc_device_put(d, &dt->runs, t->runs, t->course.n_runs * sizeof(*t->runs)));
    KVC_TRY(kvc_device_put(d, &dt->paths, t->paths, t->n_paths * sizeof(*t->paths)));
    KVC_TRY(kvc_device_check(d, cudaStreamSynchronize(d->lanes[0].stream)));
    dt->complete = true;
    return KVC_OK;
}

void kvc_device_trace_free(void *dev, struct kvc_trace *t) {
    struct kvc_device *d = kvc_device_enter(dev);
    struct device_trace *dt = static_cast<struct device_trace *>(t->device);
    if (dt == NULL)
        return;
    kvc_device_give_back(d, &dt->requests);
    kvc_device_give_back(d, &dt->runs);
    kvc_device_give_back(d, &dt->paths);
    free(dt);
    t->device = NULL;
}

/* ---- waves ------------------------------------------------------------------------------------
 */

enum kvc_status kvc_device_wave_begin(void *dev, struct kvc_trace *t, unsigned slot,
                                      const struct kvc_wave *w) {
    struct kvc_device *d = kvc_device_enter(dev);
    struct kvc_replay_slot *m = &d->replay[slot];
    cudaStream_t stream = d->lanes[slot].stream;
    size_t outcomes = (size_t)w->n * t->course.n_requests * sizeof(*w->outcomes);
    KVC_TRY(put_trace(d, t));
    const struct device_trace *dt = static_cast<const struct device_trace *>(t->device);
    KVC_TRY(kvc_device_room(d, &m->configs, w->n * sizeof(*w->configs)));
    KVC_TRY(kvc_device_room(d, &m->places, w->n * sizeof(*w->places)));
    KVC_TRY(kvc_device_room(d, &m->ends, w->n * sizeof(*w->ends)));
    KVC_TRY(kvc_device_room(d, &m->outcomes, outcomes));
    KVC_TRY(kvc_device_room(d, &m->states, w->state_bytes));
    KVC_TRY(kvc_device_upload(d, stream, m->configs.p, w->configs, w->n * sizeof(*w->configs)));
    KVC_TRY(kvc_device_upload(d, stream, m->places.p, w->places, w->n * sizeof(*w->places)));
    struct replay_args a = {};
    a.course = t->course;
    a.course.requests = static_cast<const struct kvc_sim_request *>(dt->requests.p);
    a.course.runs = static_cast<const struct kvc_run *>(dt->runs.p);
    a.course.paths = static_cast<const uint32_t *>(dt->paths.p);
    a.configs = static_cast<const struct kvc_replay_config *>(m->configs.p);
    a.places = static_cast<const uint64_t *>(m->places.p);
    a.states = static_cast<char *>(m->states.p);
    a.outcomes = static_cast<struct kvc_replay_outcome *>(m->outcomes.p);
    a.ends = static_cast<struct kvc_sim_end *>(m->ends.p);
    a.n = w->n;
    a.lanes = w->lanes;
    uint32_t grid = (uint32_t)(((uint64_t)w->n * w->lanes + THREADS - 1) / THREADS);
    replay_configs<<<grid, THREADS, 0, stream>>>(a);
    KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    KVC_TRY(kvc_device_check(
        d, cudaMemcpyAsync(w->outcomes, a.outcomes, outcomes, cudaMemcpyDeviceToHost, stream)));
    return kvc_device_check(d, cudaMemcpyAsync(w->ends, a.ends, w->n * sizeof(*w->ends),
                                               cudaMemcpyDeviceToHost, stream));
}

enum kvc_status kvc_device_wave_end(void *dev, unsigned slot) {
    struct kvc_device *d = kvc_device_enter(dev);
    return kvc_device_check(d, cudaStreamSynchronize(d->lanes[slot].stream));
}

void kvc_device_replay_close(struct kvc_device *d) {
    for (struct kvc_replay_slot &m : d->replay) {
        struct kvc_buffer *mine[] = {&m.configs, &m.places, &m.ends, &m.outcomes, &m.states};
        for (struct kvc_buffer *b : mine)
            kvc_device_give_back(d, b);
    }
}
