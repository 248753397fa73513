/* weir_kube_*: what became of the connection, the watches and the own CR. */
#include "runtime/discovery_kube_priv.h"

static const struct weir_metric_desc rows[KUBE_N_FIGURES] = {
    [KUBE_CONNECTED] = {.name = "weir_kube_connected",
                        .type = WEIR_GAUGE,
                        .help = "1 while the API server of Kubernetes answers."},
    [KUBE_WORKERS] = {.name = "weir_kube_workers",
                      .type = WEIR_GAUGE,
                      .help = "Pods (or containers) that are ready and have registered."},
    [KUBE_READY] = {.name = "weir_kube_ready",
                    .type = WEIR_GAUGE,
                    .help = "Pods (or containers) that are ready, registered or not."},
    [KUBE_FAILURES] = {.name = "weir_kube_failures_total",
                       .type = WEIR_COUNTER,
                       .help = "Calls of the API server that failed."},
    [KUBE_LISTS] = {.name = "weir_kube_lists_total",
                    .type = WEIR_COUNTER,
                    .help = "Whole lists of slices, pods or CRs; more than one of each: what a "
                            "watch should have gone on from was gone."},
    [KUBE_WATCHES] = {.name = "weir_kube_watches_total",
                      .type = WEIR_COUNTER,
                      .help = "Watches that began; the server ends each after some minutes."},
    [KUBE_APPLIES] = {.name = "weir_kube_applies_total",
                      .type = WEIR_COUNTER,
                      .help = "Times that the own CR was written."},
};

void weir_kube_metrics_init(struct kube *k, struct weir_metrics *metrics) {
    for (int i = 0; i < KUBE_N_FIGURES; i++)
        k->figures[i] = weir_metric_get(
            metrics != NULL ? weir_metrics_family(metrics, &rows[i], 1) : NULL, NULL);
}

void weir_kube_metrics_count(struct kube *k) {
    struct weir_kube_counts n = weir_kube_view_counts(k->view);
    weir_metric_set(k->figures[KUBE_WORKERS], n.visible);
    weir_metric_set(k->figures[KUBE_READY], n.ready);
}
