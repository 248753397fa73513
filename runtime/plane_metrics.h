/*
 * Figures of a worker's request plane under the reference's names: requests of each endpoint
 * (dynamo_component_*), the room for them and their timing (dynamo_work_handler_* and the like).
 * Source: the worker's page of a live 1.6.1 (test/data/metrics-worker-1.6.1.tsv). There is no
 * queue before the handlers here: what does not fit is refused at once, and the queue's figures
 * say 0. Threads: any.
 */
#ifndef WEIR_RUNTIME_PLANE_METRICS_H
#define WEIR_RUNTIME_PLANE_METRICS_H

#include "base/metrics.h"
#include "wire/record.h"

/* Why a request failed, in the reference's words. */
enum weir_plane_failure {
    WEIR_PLANE_INVALID_MESSAGE, /* not a two-part message */
    WEIR_PLANE_DESERIALIZATION, /* its parts cannot be read */
    WEIR_PLANE_RESPONSE_STREAM, /* the caller cannot be reached */
    WEIR_PLANE_GENERATE,        /* the handler refused it before its first item */
    WEIR_PLANE_PUBLISH          /* the caller does not take the answer */
};

/* Of a whole server; none of the pointers is NULL. */
struct weir_plane_figures {
    struct weir_metrics *metrics; /* borrowed: outlives the server; NULL: nothing is shown */
    struct weir_metric *active, *engine_active, *overloaded, *turned_away, *transit_s, *first_s;
};
void weir_plane_figures_init(struct weir_plane_figures *f, struct weir_metrics *metrics,
                             unsigned max_active);
/* A request began to be worked on (+1), or it ended (-1). */
void weir_plane_figures_active(const struct weir_plane_figures *f, int by);
/* When the caller sent it, as decimal nanoseconds of its clock in the headers of the frame. */
void weir_plane_figures_sent(const struct weir_plane_figures *f, struct weir_span headers);

/* Of one endpoint; none of the pointers to series is NULL. */
struct weir_path_figures {
    struct weir_metric *requests, *duration_s, *inflight, *in_bytes, *out_bytes, *cancelled;
    struct weir_metric_family *errors;
    char *labels[4]; /* owned: component, endpoint, namespace, worker id */
};
/* `endpoint` NULL: nothing is shown. */
enum weir_status weir_path_figures_init(struct weir_path_figures *f, struct weir_metrics *metrics,
                                        const struct weir_endpoint_id *endpoint,
                                        uint64_t worker_id) WEIR_MUST_CHECK;
void weir_path_figures_fini(struct weir_path_figures *f);
void weir_path_figures_failed(const struct weir_path_figures *f, enum weir_plane_failure why);

#endif
