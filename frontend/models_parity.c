/*
 * What is known of the tokens of a model's workers, and whether it is routed by load alone because
 * of that. Two witnesses: the canned conversations (engine_parity.c), believed at once, and the
 * counts of answers, believed after several in a row, as one odd request must not cost all others
 * their hits. What counts have shown only a new registration of the worker takes back.
 */
#include "frontend/models_priv.h"

#include "base/log.h"
#include "wire/record.h"

#include <inttypes.h>

enum { DOUBTS = 5 };

bool weir_model_blind(const struct weir_model *model) {
    const struct weir_model *x = model->base != NULL ? model->base : model;
    return atomic_load_explicit(&x->blind, memory_order_relaxed);
}

static bool differs(const struct weir_models_worker *w) {
    return w->differs_found || w->differs_counted;
}

/* Only what workers tell of their caches is bound to their tokens; what we predict is ours. */
static bool may_fall_back(const struct weir_model *x) {
    const struct weir_models_config *c = &x->models->config;
    return c->parity == WEIR_PARITY_ON && c->router.mode == WEIR_ROUTE_KV &&
           c->router.use_kv_events;
}

static void update(struct weir_model *x) {
    bool blind = x->n_differ > 0 && may_fall_back(x);
    bool was = atomic_exchange_explicit(&x->blind, blind, memory_order_relaxed);
    weir_metric_set(x->info.metrics.blind, blind);
    if (was && !blind)
        WEIR_LOG(
            WEIR_LOG_INFO, "parity",
            "model %s: no worker is left whose tokens differ from ours; requests are routed by "
            "KV cache again",
            x->name);
}

static void set_differs(struct weir_models_worker *w, bool found, bool counted) {
    bool before = differs(w);
    w->differs_found = found;
    w->differs_counted = counted;
    w->model->n_differ = w->model->n_differ + differs(w) - before;
    update(w->model);
}

static void set_doubts(struct weir_models_worker *w, unsigned n) {
    if (w->n_doubts == 0 && n > 0)
        atomic_fetch_add_explicit(&w->model->n_doubted, 1, memory_order_relaxed);
    if (w->n_doubts > 0 && n == 0)
        atomic_fetch_sub_explicit(&w->model->n_doubted, 1, memory_order_relaxed);
    w->n_doubts = n;
}

void weir_models_parity_forget(struct weir_models_worker *w) {
    set_doubts(w, 0);
    if (differs(w))
        set_differs(w, false, false);
}

static const char *outcome(const struct weir_model *x) {
    return may_fall_back(x)
               ? "Requests of this model are routed by load alone until no such worker "
                 "is left (--parity-check report leaves routing as it is)"
               : "Routing stays as it is";
}

/* ---- conversations ------------------------------------------------------------------------ */

static void log_finding(const struct weir_model *x, const struct weir_parity_finding *f) {
    WEIR_LOG(
        WEIR_LOG_WARN, "parity",
        "model %s: engine %s makes other tokens of the canned conversation \"%s\" than we do: "
        "%zu there, %zu here, different from token %zu on; %u others were equal. Likely cause: "
        "%s. %s",
        x->name, f->address, f->canned->name, f->n_theirs, f->n_ours, f->at, f->n_same,
        weir_parity_cause_text(f->cause), outcome(x));
}

void weir_models_parity_found(struct weir_models *models, uint64_t worker_id,
                              const struct weir_parity_finding *f) {
    pthread_mutex_lock(&models->lock);
    struct weir_models_worker *w = weir_models_with_card(models, worker_id, NULL);
    if (w != NULL) {
        struct weir_front_metrics *m = models->config.metrics;
        bool news = !f->again && f->canned != NULL && !w->differs_found;
        if (!f->again)
            weir_front_count_parity(m, w->model->name, f->n_same, f->canned != NULL);
        if (news)
            weir_front_count_parity_cause(m, w->model->name, weir_parity_cause_name(f->cause));
        set_differs(w, f->canned != NULL, w->differs_counted);
        if (news) /* what is logged is so by then */
            log_finding(w->model, f);
    }
    pthread_mutex_unlock(&models->lock);
}

/* ---- counts ------------------------------------------------------------------------------- */

static void believe(struct weir_models_worker *w, const struct weir_parity_count *c) {
    enum weir_parity_cause cause = weir_parity_count_cause(c);
    struct weir_model *x = w->model;
    weir_front_count_parity_cause(x->models->config.metrics, x->name,
                                  weir_parity_cause_name(cause));
    set_differs(w, w->differs_found, true);
    WEIR_LOG(WEIR_LOG_WARN, "parity",
             "model %s: worker %s (%s) has counted other prompt tokens than we in %d "
             "answers in a row, the last one %" PRIu64 " where we make %" PRIu64
             ". Likely cause: %s. %s",
             x->name, weir_worker_text(w->records.id).s,
             w->records.address != NULL ? w->records.address : "gone", DOUBTS, c->theirs, c->ours,
             weir_parity_cause_text(cause), outcome(x));
}

/* `c` NULL: an answer that agreed. */
static void count(struct weir_model *x, uint64_t worker_id, const struct weir_parity_count *c) {
    pthread_mutex_lock(&x->models->lock);
    struct weir_models_worker *w = weir_models_with_card(x->models, worker_id, x);
    if (w != NULL && !w->differs_counted) {
        set_doubts(w, c != NULL ? w->n_doubts + 1 : 0);
        if (w->n_doubts == DOUBTS)
            believe(w, c);
    }
    pthread_mutex_unlock(&x->models->lock);
}

void weir_model_parity_count(struct weir_model *x, uint64_t worker_id,
                             const struct weir_parity_count *c, struct weir_span body) {
    struct weir_model *of = x->base != NULL ? x->base : x; /* whose worker it is */
    if (x->models->config.parity == WEIR_PARITY_OFF)
        return;
    if (c->ours == c->theirs) {
        weir_metric_inc(x->info.metrics.counts_same);
        if (atomic_load_explicit(&of->n_doubted, memory_order_relaxed) > 0)
            count(of, worker_id, NULL);
    } else if (body.len == 0 || !weir_parity_excused(body)) {
        weir_metric_inc(x->info.metrics.counts_differ);
        count(of, worker_id, c);
    }
}
