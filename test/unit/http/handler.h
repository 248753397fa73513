/* The application of the HTTP tests and fuzz drivers (see wire_rows.h), and a naive reader of what
 * the server sent. */
#ifndef WEIR_TEST_HTTP_HANDLER_H
#define WEIR_TEST_HTTP_HANDLER_H

#include "net/http_server.h"

#include <stdio.h>

struct app {
    unsigned heads, requests, errors, sent, aborted, writable;
    struct weir_http_exchange *held; /* of /later and /hold, until it is answered */
    size_t body_limit;               /* of other paths; 0 = 1 MiB */
};

extern const struct weir_http_handler app_handler;

/* Reads the answers in `sent` (to requests of the methods given as "GET HEAD …", all GET when
 * shorter): statuses into text like "100 200", with `skip_100` only final ones. False when it is
 * no sequence of whole HTTP answers. */
bool read_answers(struct weir_span sent, bool eof, bool skip_100, char *statuses, size_t size,
                  const bool *head_only, size_t n_head_only);

#endif
