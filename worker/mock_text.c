#include "worker/mock_text.h"

static const char story[] =
    "A weir is a low wall across a river. It lets the water through, but it decides how much, and "
    "where. Upstream the level stays calm; downstream the mills turn evenly. Nobody who looks at "
    "the "
    "river sees the work it does, and that is how one knows that it is well built. ";

/* splitmix64's mixing step: equal inputs give equal answers on every machine. */
static uint64_t mix(uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint32_t weir_mock_text_token(const struct weir_mock_text *text, uint32_t position) {
    if (text->bytes)
        return (unsigned char)story[(text->seed + position) % (sizeof(story) - 1)];
    /* The lower half of a vocabulary: real tokenizers keep their special ids at the top. */
    uint32_t half = text->vocab / 2 > 0 ? text->vocab / 2 : 1;
    return (uint32_t)(mix(text->seed ^ ((uint64_t)position << 32)) % half);
}

double weir_mock_text_logprob(const struct weir_mock_text *text, uint32_t position, uint32_t rank) {
    uint64_t h = mix(text->seed * 31 + position);
    return -0.01 - (double)(h % 1000) / 1000.0 - 0.75 * rank;
}
