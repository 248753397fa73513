/*
 * Why a request went where it went: the records of recent decisions (a bounded ring) and a log of
 * all of them. Off unless asked for; then each decision costs one rendering on its own loop, and
 * the log is written by a thread of its own. Threads: any, for every function but open and close.
 */
#ifndef WEIR_FRONTEND_EXPLAIN_H
#define WEIR_FRONTEND_EXPLAIN_H

#include "base/buf.h"
#include "base/status.h"

struct weir_explain;

struct weir_explain_config {
    size_t ring;          /* decisions kept; 0 = none */
    const char *log_path; /* file to append to, or NULL */
};
/* *ret stays NULL when the configuration asks for nothing. */
enum weir_status weir_explain_open(const struct weir_explain_config *config,
                                   struct weir_explain **ret, struct weir_err *err) WEIR_MUST_CHECK;
/* Writes what waits for the log. Accepts NULL. */
void weir_explain_close(struct weir_explain *explain);

/* One decision as a JSON object on one line, without the line's end. Never blocks on the file: a
 * line that the log's bounded buffer cannot take is dropped and counted. */
void weir_explain_put(struct weir_explain *explain, struct weir_span request_id,
                      struct weir_span line);
/* Appends the decisions of a request as a JSON array, oldest first; false when none is kept. */
enum weir_status weir_explain_find(struct weir_explain *explain, struct weir_span request_id,
                                   struct weir_buf *out, bool *ret_found) WEIR_MUST_CHECK;
bool weir_explain_has_ring(const struct weir_explain *explain);
uint64_t weir_explain_dropped(struct weir_explain *explain);

#endif
