/*
 * Figures on the status page of `weir mocker`: what each worker's engine counted (weir_mocker_*),
 * and what the reference's mocker shows of it: uptime and lost KV events of a worker
 * (dynamo_component_*), its engine by rank under vLLM's names. Source: the worker's page of a live
 * 1.6.1 (test/data/metrics-worker-1.6.1.tsv). Requests are counted in runtime/plane_metrics.h.
 * Thread: the loop of the workers.
 */
#ifndef WEIR_WORKER_MOCK_FIGURES_H
#define WEIR_WORKER_MOCK_FIGURES_H

#include "base/metrics.h"

#include <stdint.h>

struct weir_mock_worker;

/* What requests of a rank took; the pointers are not NULL. vLLM's labels tell no worker from
 * another: those of a process that serve one model share the series. */
struct weir_mock_times {
    struct weir_metric *first_s, *gap_s, *whole_s;
};
/* `metrics` may be NULL. */
void weir_mock_times_init(struct weir_mock_times *times, struct weir_metrics *metrics,
                          const char *model, uint32_t rank);

/* For each scrape: refreshes what is read from the workers. */
void weir_mock_figures_scrape(struct weir_metrics *metrics, struct weir_mock_worker *const *workers,
                              unsigned n_workers);

#endif
