/* SHA-256 of what comes in pieces. Threads: one at a time per object. */
#ifndef WEIR_NET_SHA256_H
#define WEIR_NET_SHA256_H

#include "base/span.h"
#include "base/status.h"

enum { WEIR_SHA256_BYTES = 32 };
struct weir_sha256;

enum weir_status weir_sha256_create(struct weir_sha256 **ret_sha) WEIR_MUST_CHECK;
void weir_sha256_add(struct weir_sha256 *sha, struct weir_span bytes);
/* Once, at the end. */
enum weir_status weir_sha256_end(struct weir_sha256 *sha,
                                 char ret_digest[WEIR_SHA256_BYTES]) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_sha256_destroy(struct weir_sha256 *sha);

#endif
