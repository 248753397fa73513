/* Figures that are taken when somebody asks for /metrics. On whichever loop serves it. */
#include "frontend/app_priv.h"

#include <stdio.h>

struct scrape {
    struct weir_front_metrics *metrics;
    const char *model;
};

static void put_event_count(void *arg, const char *type, const char *result, uint64_t n) {
    const struct scrape *s = arg;
    weir_front_set_kv_events(s->metrics, s->model, type, result, n);
}

/* The reference's reasons always; those of our own bounds once they have refused somebody. */
static void put_refusals(const struct scrape *s, const char *klass, bool prefill,
                         const struct weir_admission_class_stats *stats) {
    weir_front_set_late(s->metrics, s->model, klass, prefill, stats->late);
    for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
        if (i >= WEIR_QUEUE_REQUEST_LIMIT || stats->refused[i] > 0)
            weir_front_set_backpressure(s->metrics, s->model, klass, prefill,
                                        weir_queue_reason_word((enum weir_queue_reason)i),
                                        stats->refused[i]);
}

static void scrape_class(const struct scrape *s, bool prefill, const struct weir_rooms *rooms,
                         size_t klass, struct weir_span name, bool has_tokens) {
    struct weir_admission_class_stats all = {.received = 0}, one;
    struct weir_class_queue_totals *sum = &all.waiting;
    char z[128];
    for (uint32_t at = 0; at < weir_rooms_n(rooms); at++) {
        weir_admission_class_stats(weir_rooms_at(rooms, at), klass, &one);
        sum->requests += one.waiting.requests;
        sum->raw_tokens += one.waiting.raw_tokens;
        sum->cached_tokens += one.waiting.cached_tokens;
        all.received += one.received;
        all.late += one.late;
        for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
            all.refused[i] += one.refused[i];
    }
    snprintf(z, sizeof(z), "%.*s", WEIR_SPAN_ARG(name));
    weir_front_set_pending(s->metrics, s->model, z, prefill, (double)sum->requests,
                           has_tokens ? (double)sum->raw_tokens : -1, (double)sum->cached_tokens);
    weir_metric_set(weir_front_received(s->metrics, s->model, z, prefill), (double)all.received);
    put_refusals(s, z, prefill, &all);
}

/* Nobody waits, and nothing refuses. */
static void scrape_no_rooms(const struct scrape *s, bool prefill) {
    const struct weir_admission_class_stats none = {.received = 0};
    weir_front_set_pending(s->metrics, s->model, "default", prefill, 0, 0, 0);
    put_refusals(s, "default", prefill, &none);
}

/* Classes of the file, where there is one, else those of the flags, which count requests only. */
static void scrape_classes(const struct scrape *s, bool prefill, const struct weir_rooms *rooms,
                           const struct weir_queue_classes *c) {
    const struct weir_policy_profile *p = weir_admission_profile(weir_rooms_at(rooms, 0));
    size_t n = p != NULL ? p->n_classes : c->n;
    for (size_t i = 0; i < n; i++)
        scrape_class(s, prefill, rooms, i, p != NULL ? p->classes[i].name : c->names[i],
                     p != NULL || n == 1);
}

static void scrape_queue(const struct scrape *s, const char *phase,
                         const struct weir_rooms *rooms) {
    struct weir_admission_stats q;
    uint64_t requests = 0, tokens = 0, refused[WEIR_QUEUE_N_REASONS] = {0};
    for (uint32_t at = 0; at < weir_rooms_n(rooms); at++) {
        weir_admission_stats(weir_rooms_at(rooms, at), &q);
        requests += q.queue.requests;
        tokens += q.queue.tokens;
        for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
            refused[i] += q.refused[i];
    }
    weir_front_set_queue(s->metrics, s->model, phase, (double)requests, (double)tokens);
    for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
        if (refused[i] > 0)
            weir_front_set_queue_refused(s->metrics, s->model, phase,
                                         weir_queue_reason_word((enum weir_queue_reason)i),
                                         refused[i]);
}

static void scrape_prefill(void *arg, const char *model, struct weir_router *router,
                           struct weir_rooms *rooms) {
    struct weir_app *app = arg;
    struct scrape s = {app->metrics, model};
    weir_worker_figures_router(app->workers, router, true);
    if (rooms == NULL) {
        scrape_no_rooms(&s, true);
        return;
    }
    scrape_queue(&s, "prefill", rooms);
    scrape_classes(&s, true, rooms, &app->queue_classes);
}

static void scrape_tokenizer(const struct scrape *s, const struct wtok *tok) {
    struct wtok_stats t;
    wtok_stats(tok, &t);
    weir_front_set_segments(s->metrics, s->model, t.segment_hits, t.segment_misses,
                            t.segment_evictions, t.segment_bytes);
    weir_front_set_words(s->metrics, s->model, t.words - t.words_new, t.words_new);
}

static void scrape_model(void *arg, struct weir_model *model, bool ready) {
    struct weir_app *app = arg;
    struct weir_router_index_stats stats;
    struct scrape s = {app->metrics, weir_model_info(model)->name};
    (void)ready;
    weir_worker_figures_router(app->workers, weir_model_info(model)->router, false);
    weir_router_index_stats(weir_model_info(model)->router, &stats);
    weir_front_set_index(s.metrics, s.model, stats.entries, stats.bytes);
    weir_router_event_counts(weir_model_info(model)->router, put_event_count, &s);
    const struct weir_rooms *rooms = weir_model_info(model)->rooms;
    if (rooms != NULL) {
        scrape_queue(&s, "serve", rooms);
        scrape_classes(&s, false, rooms, &app->queue_classes);
    } else {
        scrape_no_rooms(&s, false);
    }
    if (weir_model_info(model)->tok != NULL)
        scrape_tokenizer(&s, weir_model_info(model)->tok);
}

void weir_front_scrape(void *arg) {
    struct weir_app *app = arg;
    weir_front_set_uptime(app->metrics, (double)(weir_now_ns() - app->start_ns) / 1e9);
    weir_worker_figures_begin(app->workers);
    weir_models_each_router(app->models, scrape_model, app);
    weir_prefill_each(app->prefill, false, scrape_prefill, app);
    weir_worker_figures_end(app->workers);
    if (app->explain != NULL)
        weir_front_set_decisions_dropped(app->metrics, weir_explain_dropped(app->explain));
}
