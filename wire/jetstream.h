/*
 * JetStream of NATS as plain requests: the JSON bodies of its API, names of the streams of durable
 * KV events, and the records of its object store. Sources: shared spec "kvrouter" 2.4; the
 * documented JetStream wire API and ADR-20 (object store), compared with a nats-server 2.9. Pure.
 */
#ifndef WEIR_WIRE_JETSTREAM_H
#define WEIR_WIRE_JETSTREAM_H

#include "base/arena.h"
#include "base/buf.h"

enum { WEIR_JS_NAME_BYTES = 256, WEIR_JS_NUID_BYTES = 23 };

/* "namespace-NS-component-COMPONENT-SUFFIX": lower case, and what is not a letter, a digit or a
 * hyphen becomes one. WEIR_TOO_LARGE: does not fit. */
enum weir_status weir_js_name(struct weir_span ns, struct weir_span component, const char *suffix,
                              char ret_name[WEIR_JS_NAME_BYTES]) WEIR_MUST_CHECK;

/* ---- requests ----------------------------------------------------------------------------- */

/* A stream of events, kept for max_age_s: takes every subject "NAME.*". */
enum weir_status weir_js_put_stream(const char *name, uint64_t max_age_s,
                                    struct weir_buf *out) WEIR_MUST_CHECK;
/* The stream behind an object store. */
enum weir_status weir_js_put_bucket(const char *bucket, struct weir_buf *out) WEIR_MUST_CHECK;
/* A durable pull consumer whose acknowledgements count for all before them; it goes when nobody
 * has used it for idle_s. start: the first sequence it gets; 0 = from the beginning. */
enum weir_status weir_js_put_consumer(const char *stream, const char *name, uint64_t start,
                                      unsigned max_pending, uint64_t idle_s,
                                      struct weir_buf *out) WEIR_MUST_CHECK;

/* ---- answers ------------------------------------------------------------------------------ */

enum weir_js_code { /* of errors that are acted upon */
                    WEIR_JS_CONSUMER_GONE = 10014,
                    WEIR_JS_NO_MESSAGE = 10037,
                    WEIR_JS_STREAM_EXISTS = 10058, /* with another configuration */
                    WEIR_JS_NO_STREAM = 10059,
                    WEIR_JS_OTHER_LAST = 10071,   /* message of the subject than was expected; */
                    WEIR_JS_OTHER_LAST_2 = 10164, /* the same of clusters, from 2.11 on */
};
/* Any answer of the API; members that it lacks are 0. Spans lie in the arena or in the text read.
 */
struct weir_js_answer {
    uint32_t error;               /* err_code, or the code where there is none; 0 = none */
    struct weir_span text;        /* its description */
    uint64_t messages;            /* of a stream */
    uint64_t first_seq, last_seq; /* of a stream */
    uint64_t created;             /* of a stream: a hash of when, so another one's differs */
    uint64_t seq;                 /* of a message got, or published */
    struct weir_span data;        /* of a message got */
    uint64_t total, offset;       /* of a list */
    uint64_t n_consumers;         /* on this page of the list */
    uint64_t names;               /* of these: the sum of hashes, in whatever order they come */
    const uint64_t *routers;      /* of these, such as are named by a decimal number: of routers */
    size_t n_routers;
    uint64_t least_floor; /* the lowest sequence up to which one has acknowledged */
};
/* WEIR_PROTOCOL: not such an answer. */
enum weir_status weir_js_answer_decode(struct weir_span json, struct weir_arena *arena,
                                       struct weir_js_answer *ret_answer) WEIR_MUST_CHECK;
/* Where a message of a consumer is to be acknowledged says its place in the stream, and its number
 * among the deliveries of the consumer. False: no such subject. */
bool weir_js_delivery(struct weir_span reply, uint64_t *ret_stream_seq, uint64_t *ret_delivery);

/* ---- object store ------------------------------------------------------------------------- */

struct weir_js_object {
    struct weir_span name, bucket, nuid, digest; /* digest: "SHA-256=" and base64url */
    uint64_t size, chunks;
    uint64_t mtime_ms; /* written, not read */
    bool deleted;
};
enum weir_status weir_js_object_encode(const struct weir_js_object *object,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
/* Spans lie in the arena or in the text. WEIR_PROTOCOL: not a record, or one without name, nuid or
 * digest. */
enum weir_status weir_js_object_decode(struct weir_span json, struct weir_arena *arena,
                                       struct weir_js_object *ret_object) WEIR_MUST_CHECK;
/* base64 in its alphabet for URLs, padded. */
enum weir_status weir_js_base64url(struct weir_span bytes, struct weir_buf *out) WEIR_MUST_CHECK;

#endif
