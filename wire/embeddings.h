/*
 * Embeddings on the request plane, in JSON or MessagePack. A worker that takes ids gets a request
 * of its own (the reference's PreprocessedEmbeddingRequest); one that reads text gets the client's
 * (wire/openai_embeddings.h). What they answer comes in two forms too, and in older ones: vectors
 * as base64 of little-endian floats, or as lists of numbers. Source: shared spec "transport" 3,
 * probes of the reference system 1.6.1. Pure.
 */
#ifndef WEIR_WIRE_EMBEDDINGS_H
#define WEIR_WIRE_EMBEDDINGS_H

#include "wire/output.h"

struct weir_embeddings_request {
    struct weir_span model;
    const struct weir_ids *inputs;
    size_t n_inputs;
    struct weir_span encoding_format; /* "float", "base64" or NULL: left out */
    bool has_truncate, has_dimensions;
    int64_t truncate; /* for the worker to know; the ids are cut already */
    uint32_t n_dimensions;
    struct weir_span mdc_sum; /* NULL: null */
    struct weir_strings annotations;
};
enum weir_status weir_embeddings_request_encode(const struct weir_embeddings_request *req,
                                                enum weir_codec codec,
                                                struct weir_buf *out) WEIR_MUST_CHECK;
/* Inputs lie in the arena. WEIR_INVALID: unreadable, or without token_ids. WEIR_LIMIT: more than
 * max_ids in all. */
enum weir_status
weir_embeddings_request_decode(struct weir_span bytes, enum weir_codec codec, size_t max_ids,
                               struct weir_arena *arena,
                               struct weir_embeddings_request *ret_req) WEIR_MUST_CHECK;

/* The client's answer while it is put together. */
struct weir_embeddings_answer {
    struct weir_buf data; /* owned: items of the member `data`, as JSON with commas between them */
    bool base64;          /* what the client wants, whatever the worker sends */
    size_t n;             /* items so far, each with an index of its own */
    uint64_t last;        /* the greatest of these */
    struct weir_buf seen; /* owned: a bit for each index up to that */
    uint64_t prompt_tokens, total_tokens; /* sums */
    uint64_t n_values;                    /* numbers in them */
};
/* max_bytes bounds the answer. */
void weir_embeddings_answer_init(struct weir_embeddings_answer *a, bool base64, size_t max_bytes);
void weir_embeddings_answer_fini(struct weir_embeddings_answer *a);
/* Takes the item of a wrapper that is no error and holds one (wire/relay.h). Numbers become the
 * nearest floats, written with the shortest digits that read back; null is what is no number, as in
 * the reference. WEIR_PROTOCOL: neither form, a vector that is none, an index that came before or
 * is beyond all inputs that a request can have. WEIR_LIMIT, WEIR_NOMEM. */
enum weir_status weir_embeddings_answer_take(struct weir_embeddings_answer *a,
                                             struct weir_span wrapper, enum weir_codec codec,
                                             struct weir_arena *arena) WEIR_MUST_CHECK;
/* Appends the whole answer. */
enum weir_status weir_embeddings_answer_put(const struct weir_embeddings_answer *a,
                                            struct weir_span model,
                                            struct weir_buf *out) WEIR_MUST_CHECK;

/* What a worker sends: n vectors of n_values each, one after the other. model NULL: in the form for
 * requests of ids, else in that for requests of text. */
struct weir_embeddings_item {
    const float *values;
    size_t n, n_values;
    struct weir_span model;
    uint64_t n_tokens;
};
enum weir_status weir_embeddings_item_encode(const struct weir_embeddings_item *item,
                                             enum weir_codec codec,
                                             struct weir_buf *out) WEIR_MUST_CHECK;
/* One vector as JSON: a list, or a string of base64. */
enum weir_status weir_embeddings_put_vector(const float *values, size_t n, bool base64,
                                            struct weir_buf *out) WEIR_MUST_CHECK;

#endif
