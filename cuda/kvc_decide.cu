/*
 * Recorded decisions on the device: a thread is a configuration, and all of them read the same
 * candidate at the same time, so a warp's loads are one address. What they wait for is double
 * arithmetic.
 */
#include "cuda/kvc_decide_priv.h"
#include "cuda/kvc_device_priv.h"

enum { THREADS = 64 };

static __global__ void redecide(const struct kvc_decision_log log,
                                const struct kvc_decision_config *configs, uint32_t n,
                                struct kvc_decision_result *results) {
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    struct kvc_decision_config c = configs[i];
    kvc_redecide_all(&log, &c, &results[i]);
}

static enum kvc_status run(struct kvc_device *d, const struct kvc_decision_log *log,
                           const struct kvc_decision_config *configs, size_t n,
                           struct kvc_decision_result *ret) {
    cudaStream_t stream = d->lanes[0].stream;
    struct kvc_replay_slot *m = &d->replay[0];
    struct kvc_decision_log there = *log;
    KVC_TRY(kvc_device_put(d, &m->states, log->candidates,
                           log->n_candidates * sizeof(*log->candidates)));
    KVC_TRY(kvc_device_put(d, &m->places, log->decisions, log->n * sizeof(*log->decisions)));
    KVC_TRY(kvc_device_put(d, &m->configs, configs, n * sizeof(*configs)));
    KVC_TRY(kvc_device_room(d, &m->ends, n * sizeof(*ret)));
    there.candidates = static_cast<const struct kvc_decision_candidate *>(m->states.p);
    there.decisions = static_cast<const struct kvc_decision *>(m->places.p);
    redecide<<<(uint32_t)((n + THREADS - 1) / THREADS), THREADS, 0, stream>>>(
        there, static_cast<const struct kvc_decision_config *>(m->configs.p), (uint32_t)n,
        static_cast<struct kvc_decision_result *>(m->ends.p));
    KVC_TRY(kvc_device_check(d, cudaGetLastError()));
    KVC_TRY(kvc_device_check(
        d, cudaMemcpyAsync(ret, m->ends.p, n * sizeof(*ret), cudaMemcpyDeviceToHost, stream)));
    return kvc_device_check(d, cudaStreamSynchronize(stream));
}

enum kvc_status kvc_device_redecide(void *dev, const struct kvc_decision_log *log,
                                    const struct kvc_decision_config *configs, size_t n,
                                    struct kvc_decision_result *ret) {
    struct kvc_device *d = kvc_device_enter(dev);
    return kvc_device_settle(d, run(d, log, configs, n, ret));
}
