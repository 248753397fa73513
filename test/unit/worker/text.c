/* The mock text goes on where a moved request's prompt leaves off; held to a plain search. */
#include "base/rng.h"
#include "test/check.h"
#include "worker/mock_text.h"

static uint32_t plain(const struct weir_mock_text *t, const uint32_t *prompt, size_t n) {
    for (size_t k = n; k > 0; k--) {
        size_t i = 0;
        while (i < k && prompt[n - k + i] == weir_mock_text_token(t, (uint32_t)i))
            i++;
        if (i == k)
            return (uint32_t)k;
    }
    return 0;
}

static void case_resume(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (int round = 0; round < 2000; round++) {
        struct weir_mock_text t = {.vocab = round % 3 == 0 ? 4 : 50000,
                                   .bytes = round % 2 == 0,
                                   .seed = weir_rng_below(&rng, 400)};
        uint32_t prompt[700];
        size_t n = weir_rng_below(&rng, 300), generated = weir_rng_below(&rng, 400);
        for (size_t i = 0; i < n; i++)
            prompt[i] = round % 3 == 0
                            ? (uint32_t)weir_rng_below(&rng, 2)
                            : weir_mock_text_token(&t, (uint32_t)weir_rng_below(&rng, 90));
        for (size_t i = 0; i < generated; i++)
            prompt[n + i] = weir_mock_text_token(&t, (uint32_t)i);
        uint32_t got = weir_mock_text_resume(&t, prompt, n + generated);
        CHECK_EQ_U64(got, plain(&t, prompt, n + generated));
        CHECK(got >= generated);
    }
    struct weir_mock_text t = {.bytes = true};
    CHECK(weir_mock_text_resume(&t, NULL, 0) == 0);
}

int main(void) {
    CHECK_RUN(case_resume);
    return check_finish();
}
