/* weir_etcd_*: what became of the connection, the lists and the lease. */
#include "runtime/discovery_etcd_priv.h"

static const struct weir_metric_desc rows[ETCD_N_FIGURES] = {
    [ETCD_CONNECTED] = {.name = "weir_etcd_connected",
                        .type = WEIR_GAUGE,
                        .help = "1 while etcd answers."},
    [ETCD_CONNECTS] = {.name = "weir_etcd_connects_total",
                       .type = WEIR_COUNTER,
                       .help = "Times that etcd began to answer."},
    [ETCD_FAILURES] = {.name = "weir_etcd_failures_total",
                       .type = WEIR_COUNTER,
                       .help =
                           "Failures that ended a session with etcd, or kept it from beginning."},
    [ETCD_LISTS] = {.name = "weir_etcd_lists_total",
                    .type = WEIR_COUNTER,
                    .help = "Whole lists of all records; more than one a session: its history was "
                            "compacted away."},
    [ETCD_LEASES] = {.name = "weir_etcd_leases_total",
                     .type = WEIR_COUNTER,
                     .help = "Leases granted to this process."},
    [ETCD_LEASES_LOST] = {.name = "weir_etcd_leases_lost_total",
                          .type = WEIR_COUNTER,
                          .help = "Of these, expired or revoked by somebody else."},
    [ETCD_REWRITTEN] = {.name = "weir_etcd_records_rewritten_total",
                        .type = WEIR_COUNTER,
                        .help =
                            "Own records that somebody had removed and that were written again."},
};

void weir_etcd_metrics_init(struct etcd *e, struct weir_metrics *metrics) {
    for (int i = 0; i < ETCD_N_FIGURES; i++)
        e->figures[i] = weir_metric_get(
            metrics != NULL ? weir_metrics_family(metrics, &rows[i], 1) : NULL, NULL);
}
