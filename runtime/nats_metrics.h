/* Figures of the connection to NATS for /metrics: weir_nats_*, dynamo_transport_nats_errors_total.
 */
#ifndef WEIR_RUNTIME_NATS_METRICS_H
#define WEIR_RUNTIME_NATS_METRICS_H

#include "base/metrics.h"
#include "net/nats.h"

struct weir_nats_metrics;

/* Registers them and refreshes them at each scrape. `nats` NULL: there are none, and *ret is NULL.
 */
enum weir_status weir_nats_metrics_open(struct weir_metrics *metrics, struct weir_nats *nats,
                                        struct weir_nats_metrics **ret,
                                        struct weir_err *err) WEIR_MUST_CHECK;
/* When nothing is scraped any more, before the connection closes. Accepts NULL. */
void weir_nats_metrics_close(struct weir_nats_metrics *metrics);

#endif
