/* Figures that are taken when somebody asks for /metrics. On whichever loop serves it. */
#include "frontend/app_priv.h"

struct scrape {
    struct weir_front_metrics *metrics;
    const char *model;
};

static void put_event_count(void *arg, const char *type, const char *result, uint64_t n) {
    const struct scrape *s = arg;
    weir_front_set_kv_events(s->metrics, s->model, type, result, n);
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
    struct scrape s = {arg, model};
    (void)router;
    if (rooms != NULL)
        scrape_queue(&s, "prefill", rooms);
}

static void scrape_tokenizer(const struct scrape *s, const struct wtok *tok) {
    struct wtok_stats t;
    wtok_stats(tok, &t);
    weir_front_set_segments(s->metrics, s->model, t.segment_hits, t.segment_misses,
                            t.segment_evictions, t.segment_bytes);
    weir_front_set_words(s->metrics, s->model, t.words - t.words_new, t.words_new);
}

static void scrape_model(void *arg, struct weir_model *model, bool ready) {
    struct weir_router_index_stats stats;
    struct scrape s = {arg, weir_model_info(model)->name};
    (void)ready;
    weir_router_index_stats(weir_model_info(model)->router, &stats);
    weir_front_set_index(s.metrics, s.model, stats.entries, stats.bytes);
    weir_router_event_counts(weir_model_info(model)->router, put_event_count, &s);
    if (weir_model_info(model)->rooms != NULL)
        scrape_queue(&s, "serve", weir_model_info(model)->rooms);
    if (weir_model_info(model)->tok != NULL)
        scrape_tokenizer(&s, weir_model_info(model)->tok);
}

void weir_front_scrape(void *arg) {
    struct weir_app *app = arg;
    weir_models_each(app->models, scrape_model, app->metrics);
    weir_prefill_each(app->prefill, scrape_prefill, app->metrics);
    if (app->explain != NULL)
        weir_front_set_decisions_dropped(app->metrics, weir_explain_dropped(app->explain));
}
