/* Where the load goes: an URL as flags give it, its address looked up once. */
#ifndef WEIR_BENCH_ORIGIN_H
#define WEIR_BENCH_ORIGIN_H

#include "base/status.h"

#include <stdint.h>

enum { WEIR_ORIGIN_TEXT = 256 };

struct weir_origin {
    bool tls;
    char host[WEIR_ORIGIN_TEXT];      /* name or literal without brackets */
    char authority[WEIR_ORIGIN_TEXT]; /* for the Host header: with the port unless it is usual */
    char ip[64];                      /* literal; after weir_origin_resolve */
    uint16_t port;
    char path[WEIR_ORIGIN_TEXT]; /* before /v1/…; "" or "/prefix" without a slash at its end */
};

/* Pure. A path that ends in /v1 may be given or left out. */
enum weir_status weir_origin_parse(const char *url, struct weir_origin *ret_origin,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* Blocks for the look-up. */
enum weir_status weir_origin_resolve(struct weir_origin *origin,
                                     struct weir_err *err) WEIR_MUST_CHECK;

#endif
