/* What the mock engine says: deterministic token ids. Pure. */
#ifndef WEIR_WORKER_MOCK_TEXT_H
#define WEIR_WORKER_MOCK_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_mock_text {
    uint32_t vocab; /* ids are drawn below it when the tokenizer is not "bytes" */
    bool bytes;     /* readable English bytes */
    uint64_t seed;  /* of the request: choice index and request seed */
};

uint32_t weir_mock_text_token(const struct weir_mock_text *text, uint32_t position);
/* A made-up but repeatable log probability for that token, in (-5, 0). */
double weir_mock_text_logprob(const struct weir_mock_text *text, uint32_t position, uint32_t rank);

#endif
