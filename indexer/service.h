/* The HTTP pages of the indexer (shared spec "kvrouter" 6.1). Thread: its loop. */
#ifndef WEIR_INDEXER_SERVICE_H
#define WEIR_INDEXER_SERVICE_H

#include "base/metrics.h"
#include "indexer/bulk.h"
#include "indexer/dumps.h"
#include "indexer/groups.h"
#include "indexer/requests.h"
#include "net/http_server.h"

enum { WEIR_INDEXER_MAX_PEERS = 64 };

struct weir_service {
    struct weir_groups *groups;     /* borrowed */
    struct weir_bulk *bulk;         /* borrowed; set before it serves */
    struct weir_dumps *dumps;       /* borrowed; set before it serves */
    struct weir_requests *requests; /* borrowed; set before it serves */
    size_t query_limit, restore_limit;
    bool test_pages;                     /* the pages that stop and resume listeners are served */
    char *peers[WEIR_INDEXER_MAX_PEERS]; /* owned */
    size_t n_peers;
    struct weir_metrics *metrics; /* borrowed */
    struct weir_metric *queries, *query_us;
    struct kvi_score *scores; /* scratch, owned; n_scores long */
    size_t n_scores;
};
enum weir_status weir_service_init(struct weir_service *service, struct weir_groups *groups,
                                   struct weir_metrics *metrics, size_t body_limit) WEIR_MUST_CHECK;
void weir_service_fini(struct weir_service *service);
/* arg is a struct weir_service. */
extern const struct weir_http_handler weir_service_handler;

#endif
