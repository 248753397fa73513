/*
 * Embeddings of simulated engines: unit vectors that follow from token ids alone, so that equal
 * inputs have equal ones on every machine, and inputs that share tokens lie near each other. Pure
 * but for the answers to exchanges.
 */
#ifndef WEIR_WORKER_MOCK_EMBED_H
#define WEIR_WORKER_MOCK_EMBED_H

#include "wire/openai.h"
#include "wire/record.h"

enum weir_mock_embed { /* same order as the choices of --embedding */
                       WEIR_MOCK_EMBED_OFF,
                       WEIR_MOCK_EMBED_TOKENS,
                       WEIR_MOCK_EMBED_TEXT
};

/* The vector of an input, cut to n_values and of length 1; all zeros for an empty input. */
void weir_mock_embed(struct weir_ids ids, size_t n_values, float *ret_values);

/* What a worker of the request plane answers. */
struct weir_mock_embed_config {
    enum weir_mock_embed form;
    uint32_t n_values; /* of the model; a request may ask for fewer */
    size_t max_input;  /* tokens of one input; 0 = any number */
    size_t max_ids;    /* of a request */
};
/* `body`: the request as it came. Appends the wrapper with the vectors. WEIR_INVALID: *ret_why says
 * what is wrong with the request (static text). */
enum weir_status weir_mock_embed_answer(const struct weir_mock_embed_config *config,
                                        struct weir_span body, enum weir_codec codec,
                                        struct weir_buf *out, const char **ret_why) WEIR_MUST_CHECK;

/* Vectors of n inputs, one after the other; WEIR_INVALID: as above. Owned by the arena. */
enum weir_status weir_mock_embed_all(const struct weir_mock_embed_config *config,
                                     const struct weir_ids *inputs, size_t n, bool has_dimensions,
                                     uint32_t n_dimensions, struct weir_arena *arena,
                                     float **ret_values, size_t *ret_n_values, uint64_t *ret_tokens,
                                     const char **ret_why) WEIR_MUST_CHECK;

#endif
