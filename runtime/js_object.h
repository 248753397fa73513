/*
 * Objects in an object store of NATS, as its own clients keep them (ADR-20): a stream "OBJ_BUCKET"
 * with chunks under a name drawn for each upload, and one record that names the newest. Thread:
 * that of the loop.
 */
#ifndef WEIR_RUNTIME_JS_OBJECT_H
#define WEIR_RUNTIME_JS_OBJECT_H

#include "runtime/js_client.h"
#include "runtime/spool.h"

enum { WEIR_JS_DIGEST_BYTES = 64, WEIR_JS_BUCKET_BYTES = 256 };

struct weir_js_object_op;

/* Of a download: WEIR_OK: all of its bytes were handed over, and the digest is theirs;
 * WEIR_NOT_FOUND: no bucket, or no object in it; WEIR_TOO_LARGE; WEIR_AGAIN: it was replaced
 * meanwhile; WEIR_PROTOCOL: it is damaged; or a failure of a call. The last thing that the
 * operation does. */
typedef void (*weir_js_object_fn)(void *arg, enum weir_status st, const char *digest);

/* A download as it goes on: what the record says before the first byte (not called for an object
 * that is too large); then the bytes, piece by piece, borrowed for the call. They may be wrong
 * until fn has said that they are not. Neither may cancel the operation. */
struct weir_js_object_sink {
    void (*on_begin)(void *arg, const char *digest, uint64_t size);
    void (*on_bytes)(void *arg, struct weir_span bytes);
};

struct weir_js_object_config {
    struct weir_js *js;                     /* outlives the operation */
    const char *bucket, *name;              /* copied */
    const struct weir_js_object_sink *sink; /* download; outlives the operation */
    uint64_t max_bytes;                     /* download */
    /* Upload: it is known which object is to be replaced. May cancel the operation. */
    void (*on_ready)(void *arg);
    weir_js_object_fn fn;
    void *arg;
};
/* fn is not called when these fail. */
enum weir_status weir_js_object_get(const struct weir_js_object_config *config,
                                    struct weir_js_object_op **ret_op) WEIR_MUST_CHECK;
/* Makes the bucket if it is not there, looks which object is, says on_ready and waits for what is
 * to replace that one. fn may come before. */
enum weir_status weir_js_object_put(const struct weir_js_object_config *config,
                                    struct weir_js_object_op **ret_op) WEIR_MUST_CHECK;
/* What it is, behind on_ready; `take` is of the same loop and becomes ours. One chunk is in memory
 * at a time. The object before stands until the last one is there; its chunks are removed at the
 * end. To fn WEIR_EXISTS: somebody else has replaced the object since on_ready, and theirs
 * stands. */
void weir_js_object_write(struct weir_js_object_op *op, struct weir_spool *take);
/* No fn after it. Accepts NULL. */
void weir_js_object_cancel(struct weir_js_object_op *op);

#endif
