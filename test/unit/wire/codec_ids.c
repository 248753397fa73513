/* Lists of token ids against the writer of single integers: every width at every place. */
#include "wire/codec_priv.h"

#include "base/rng.h"
#include "test/check.h"

enum { IDS = 700, CANARY = 64 };

static void same_by(weir_put_ids_fn put, const uint32_t *ids, size_t n, struct weir_span want) {
    static char got[IDS * 5 + WEIR_ID_SLACK + CANARY];
    memset(got, 0x5a, sizeof(got));
    char *end = put(got, ids, n);
    CHECK(weir_span_eq(weir_span(got, (size_t)(end - got)), want));
    for (size_t i = n * 5 + WEIR_ID_SLACK; i < sizeof(got); i++)
        CHECK(got[i] == 0x5a);
}

/* The bytes of the plain writer, and nothing beyond the slack. */
static void same(const uint32_t *ids, size_t n) {
    struct weir_buf want;
    struct weir_mpw w;
    weir_buf_init(&want, IDS * 5);
    weir_mpw_init(&w, &want);
    for (size_t i = 0; i < n; i++)
        weir_mpw_u64(&w, ids[i]);
    same_by(weir_enc_put_ids, ids, n, weir_buf_span(&want));
    for (size_t i = 0; weir_put_ids_kernel(i) != NULL; i++)
        same_by(weir_put_ids_kernel(i), ids, n, weir_buf_span(&want));
    weir_buf_fini(&want);
}

/* Both sides of each border between widths, in every order of four. */
static void case_borders(void) {
    static const uint32_t edges[] = {0,      0x7f,    0x80,        0xff,      0x100,
                                     0xffff, 0x10000, 0x80000000u, UINT32_MAX};
    enum { N = WEIR_ARRAY_LEN(edges) };
    for (size_t k = 0; k < (size_t)N * N * N * N; k++) {
        const uint32_t ids[4] = {edges[k % N], edges[k / N % N], edges[k / N / N % N],
                                 edges[k / N / N / N]};
        same(ids, 4);
    }
}

/* Runs of one width and mixtures, at every length up to a few hundred. */
static void case_mixtures(void) {
    static const unsigned char bits[][4] = {{7, 7, 7, 7},     {16, 17, 16, 17}, {7, 8, 9, 16},
                                            {17, 18, 31, 32}, {7, 7, 7, 18},    {4, 12, 16, 32}};
    static uint32_t ids[IDS];
    struct weir_rng rng;
    weir_rng_seed(&rng, 11);
    for (size_t mix = 0; mix < WEIR_ARRAY_LEN(bits); mix++)
        for (size_t n = 0; n < IDS; n += n < 150 ? 1 : 37) {
            for (size_t i = 0; i < n; i++) {
                uint64_t x = weir_rng_u64(&rng);
                ids[i] = (uint32_t)(x >> (64 - bits[mix][x & 3]));
            }
            same(ids, n);
        }
}

int main(void) {
    CHECK_RUN(case_borders);
    CHECK_RUN(case_mixtures);
    return check_finish();
}
