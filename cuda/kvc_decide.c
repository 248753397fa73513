/* Recorded decisions on the host, and what both back ends check. */
#include "cuda/kvc_decide.h"

#include "cuda/kvc_decide_priv.h"
#include "cuda/kvc_priv.h"
#include "cuda/kvc_replay_priv.h"

#define BLOCKS_MAX 9007199254740992.0

static bool is_number(double v) {
    return v > -INFINITY && v < INFINITY;
}

static bool sound_candidate(const struct kvc_decision_candidate *x) {
    return x->device_blocks >= 0 && x->device_blocks <= BLOCKS_MAX && is_number(x->host_blocks) &&
           is_number(x->disk_blocks) && is_number(x->prefill_tokens) &&
           is_number(x->decode_blocks) && is_number(x->additional_blocks) &&
           is_number(x->requests) && is_number(x->churn);
}

static bool sound(const struct kvc_decision_log *log, const struct kvc_decision_config *configs,
                  size_t n) {
    for (size_t i = 0; i < log->n_candidates; i++)
        if (!sound_candidate(&log->candidates[i]))
            return false;
    for (size_t i = 0; i < log->n; i++) {
        const struct kvc_decision *d = &log->decisions[i];
        if (d->n == 0 || d->block_size == 0 || d->first > log->n_candidates ||
            d->n > log->n_candidates - d->first || !is_number(d->isl_tokens) ||
            !is_number(d->least_prefill_tokens))
            return false;
    }
    for (size_t i = 0; i < n; i++)
        if (configs[i].mode > KVC_REPLAY_LEAST_LOADED ||
            configs[i].policy.kind > KVC_REPLAY_FLEET || !(configs[i].temperature >= 0) ||
            !is_number(configs[i].temperature))
            return false;
    return n <= KVC_NONE / 2;
}

struct work {
    const struct kvc_decision_log *log;
    const struct kvc_decision_config *configs;
    struct kvc_decision_result *results;
};

static void redecide_one(void *arg, size_t i) {
    const struct work *w = arg;
    kvc_redecide_all(w->log, &w->configs[i], &w->results[i]);
}

enum kvc_status kvc_redecide(struct kvc *k, const struct kvc_decision_log *log,
                             const struct kvc_decision_config *configs, size_t n, unsigned threads,
                             struct kvc_decision_result *ret) {
    struct work work = {.log = log, .configs = configs, .results = ret};
    if (!sound(log, configs, n))
        return KVC_INVALID;
    if (n == 0)
        return KVC_OK;
    bool cpu = k->ops == &kvc_cpu_ops;
    enum kvc_status st = cpu       ? KVC_OK
                         : k->lost ? KVC_LOST
                                   : k->ops->redecide(k->dev, log, configs, n, ret);
    if (cpu || kvc_falls_back(k, st)) {
        kvc_run_each(kvc_crew_size(threads, n), n, redecide_one, &work);
        st = KVC_OK;
    }
    return st;
}
