#include "runtime/nats_metrics.h"

#include "base/mem.h"

#include <stddef.h>

struct row {
    struct weir_metric_desc desc;
    size_t offset; /* of a uint64_t in struct weir_nats_stats */
};
#define ROW(name_, member, help_)                                                                  \
    {                                                                                              \
        {.name = (name_), .type = WEIR_COUNTER, .help = (help_)},                                  \
            offsetof(struct weir_nats_stats, member)                                               \
    }
static const struct row rows[] = {
    ROW("weir_nats_connects_total", connects, "Connections to NATS that were made."),
    ROW("weir_nats_disconnects_total", disconnects, "Of these, lost."),
    ROW("weir_nats_failed_connects_total", failed_connects,
        "Rounds over all addresses of NATS without a connection."),
    ROW("weir_nats_sent_total", sent, "Messages published."),
    ROW("weir_nats_received_total", received, "Messages received."),
    ROW("weir_nats_dropped_out_total", dropped_out,
        "Messages that were not published: the queue was full, or they waited too long."),
    ROW("weir_nats_dropped_in_total", dropped_in,
        "Messages received that were lost in a full queue; events among them are asked for."),
    ROW("dynamo_transport_nats_errors_total", errors, "Errors that the NATS server reported."),
};
#undef ROW
static const struct weir_metric_desc connected = {.name = "weir_nats_connected",
                                                  .type = WEIR_GAUGE,
                                                  .help = "1 while there is a connection to NATS."};

struct weir_nats_metrics {
    struct weir_nats *nats; /* borrowed */
    struct weir_metric *connected, *figures[WEIR_ARRAY_LEN(rows)];
};

static void on_scrape(void *arg) {
    struct weir_nats_metrics *m = arg;
    struct weir_nats_stats stats;
    weir_nats_stats(m->nats, &stats);
    weir_metric_set(m->connected, stats.connected);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        weir_metric_set(
            m->figures[i],
            (double)*(const uint64_t *)(const void *)((const char *)&stats + rows[i].offset));
}

enum weir_status weir_nats_metrics_open(struct weir_metrics *metrics, struct weir_nats *nats,
                                        struct weir_nats_metrics **ret, struct weir_err *err) {
    if (nats == NULL) {
        *ret = NULL;
        return WEIR_OK;
    }
    struct weir_nats_metrics *m = weir_calloc(1, sizeof(*m));
    if (m == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    m->nats = nats;
    m->connected = weir_metric_get(weir_metrics_family(metrics, &connected, 1), NULL);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        m->figures[i] = weir_metric_get(weir_metrics_family(metrics, &rows[i].desc, 1), NULL);
    enum weir_status st = weir_metrics_on_scrape(metrics, on_scrape, m);
    if (st != WEIR_OK) {
        weir_free(m);
        return weir_err_set(err, st, "out of memory");
    }
    *ret = m;
    return WEIR_OK;
}

void weir_nats_metrics_close(struct weir_nats_metrics *metrics) {
    weir_free(metrics);
}
