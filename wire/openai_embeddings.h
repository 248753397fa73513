/*
 * The Embeddings API of OpenAI, with the members that vLLM and the reference system add: its
 * request, and that request as a worker gets it which reads text for itself. Source: OpenAI's API
 * reference, probes and recordings of the reference system 1.6.1. Pure.
 */
#ifndef WEIR_WIRE_OPENAI_EMBEDDINGS_H
#define WEIR_WIRE_OPENAI_EMBEDDINGS_H

#include "wire/openai.h"

/* Items of `input`; more are refused. (OpenAI takes 2048, the reference system has no limit.) */
enum { WEIR_EMBEDDINGS_MAX_INPUTS = 65536 };

/* What a request of the kind WEIR_OPENAI_EMBEDDINGS has beside its model and its inputs, which are
 * the prompts of struct weir_openai_request (of an empty list there are none). Spans are raw JSON
 * values, NULL where the member is absent or null. */
struct weir_openai_embeddings {
    struct weir_span input, encoding_format, user, dimensions, add_special_tokens,
        truncate_prompt_tokens, annotations;
    bool base64;     /* encoding_format; without it numbers are wanted */
    bool has_nvext;  /* the member is there */
    int add_special; /* -1 unset */
    bool has_dimensions, has_truncate;
    uint32_t n_dimensions;
    int64_t truncate;               /* tokens of each text at most; -1: the model's length */
    struct weir_strings annotation; /* of nvext; never unset */
};

/* Appends the request with the members that the reference system passes on, in its order. `model`:
 * the worker's own name. */
enum weir_status weir_openai_embeddings_put(const struct weir_openai_embeddings *e,
                                            struct weir_span model, enum weir_codec codec,
                                            struct weir_buf *out) WEIR_MUST_CHECK;

#endif
