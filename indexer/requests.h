/*
 * What each request to the indexer leaves: the reference's request metrics (dynamo_kvindexer_…),
 * and a line of the access log where one is asked for. Thread: the loop.
 */
#ifndef WEIR_INDEXER_REQUESTS_H
#define WEIR_INDEXER_REQUESTS_H

#include "base/metrics.h"
#include "net/http_server.h"

struct weir_requests;

struct weir_requests_config {
    struct weir_metrics *metrics; /* borrowed, outlives it */
    const char *access_log;       /* path, borrowed; NULL: none */
    const char *trace_header;     /* whose value becomes trace_id */
    bool local_time;
};
/* WEIR_IO: the log cannot be opened; WEIR_INVALID: trace_header is no name of a header. */
enum weir_status weir_requests_create(const struct weir_requests_config *config,
                                      struct weir_requests **ret_requests,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_requests_destroy(struct weir_requests *requests);
/* The exchange is done. endpoint: the page's path, static, or "unknown". NULL `requests`: nothing.
 */
void weir_requests_note(struct weir_requests *requests, struct weir_http_exchange *x,
                        const char *endpoint);
/* The log under its name anew, after it was moved away. WEIR_OK without one; on failure the old one
 * goes on. */
enum weir_status weir_requests_reopen(struct weir_requests *requests,
                                      struct weir_err *err) WEIR_MUST_CHECK;

#endif
