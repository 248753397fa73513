/*
 * What the metrics page says of each worker rank: its load and what its last request met. Ranks
 * come with the routers that are asked at a scrape, and go when no router has them any more.
 * Threads: any, for every function. Bounded: MAX_RANKS ranks in the table; more are not shown.
 */
#ifndef WEIR_FRONTEND_WORKER_FIGURES_H
#define WEIR_FRONTEND_WORKER_FIGURES_H

#include "frontend/metrics.h"
#include "router/router.h"

struct weir_worker_figures;

/* The metrics are borrowed: they outlive the object. */
enum weir_status weir_worker_figures_create(struct weir_front_metrics *metrics,
                                            struct weir_worker_figures **ret) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_worker_figures_destroy(struct weir_worker_figures *f);

struct weir_worker_seen {
    uint64_t worker_id;
    uint32_t dp_rank;
    bool prefill;     /* it computed the prompt, for a decode worker */
    uint64_t n_input; /* tokens */
    double ttft_s;    /* from sending it there to its first token */
    double itl_s;     /* between tokens, on average; below 0: there was none */
};
/* A request of that rank is over. */
void weir_worker_figures_note(struct weir_worker_figures *f, const struct weir_worker_seen *seen);

/* One scrape: begin, each router, end. One at a time: begin waits for the end of another. */
void weir_worker_figures_begin(struct weir_worker_figures *f);
void weir_worker_figures_router(struct weir_worker_figures *f, struct weir_router *router,
                                bool prefill);
void weir_worker_figures_end(struct weir_worker_figures *f);

#endif
