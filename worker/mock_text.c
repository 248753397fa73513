#include "worker/mock_text.h"

#include "base/mem.h"

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

uint32_t weir_mock_text_resume(const struct weir_mock_text *text, const uint32_t *prompt,
                               size_t n) {
    enum { MAX_RESUME = 65536 };
    uint32_t len = n < MAX_RESUME ? (uint32_t)n : MAX_RESUME, matched = 0;
    const uint32_t *tail = prompt + (n - len);
    /* Knuth, Morris, Pratt: fail[i] is the longest border of the first i tokens of the text. */
    uint32_t *fail = len > 0 ? weir_calloc((size_t)len + 1, sizeof(*fail)) : NULL;
    uint32_t known = 0; /* fail[] is filled up to here, and only as far as it is needed */
    if (fail == NULL)
        return 0;
    for (uint32_t i = 0; i < len; i++) {
        while (matched > 0 && weir_mock_text_token(text, matched) != tail[i])
            matched = fail[matched];
        if (weir_mock_text_token(text, matched) == tail[i])
            matched++;
        for (; known < matched; known++) {
            uint32_t b = known > 0 ? fail[known] : 0, t = weir_mock_text_token(text, known);
            while (b > 0 && weir_mock_text_token(text, b) != t)
                b = fail[b];
            fail[known + 1] = known > 0 && weir_mock_text_token(text, b) == t ? b + 1 : 0;
        }
    }
    weir_free(fail);
    return matched;
}

double weir_mock_text_logprob(const struct weir_mock_text *text, uint32_t position, uint32_t rank) {
    uint64_t h = mix(text->seed * 31 + position);
    return -0.01 - (double)(h % 1000) / 1000.0 - 0.75 * rank;
}
