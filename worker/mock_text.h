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
/* How much of the text the prompt ends with: the longest suffix of the prompt, at most 65,536
 * tokens, that is a beginning of the text. A request that moved to another worker carries what was
 * generated at the end of its prompt, and the text goes on there. 0 also when out of memory. */
uint32_t weir_mock_text_resume(const struct weir_mock_text *text, const uint32_t *prompt, size_t n);
/* A made-up but repeatable log probability for that token, in (-5, 0). */
double weir_mock_text_logprob(const struct weir_mock_text *text, uint32_t position, uint32_t rank);

#endif
