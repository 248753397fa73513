/* BLAKE3 of bytes 0, 1, … 250, 0, 1, …: values of the official implementation (Python package
 * blake3). */
#include "base/blake3.h"

#include "base/rng.h"
#include "base/status.h"
#include "test/check.h"

static const struct {
    size_t n;
    const char *hash;
} rows[] = {
    {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
    {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
    {63, "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b"},
    {64, "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98"},
    {65, "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee"},
    {127, "d81293fda863f008c09e92fc382a81f5a0b4a1251cba1634016a0f86a6bd640d"},
    {128, "f17e570564b26578c33bb7f44643f539624b05df1a76c81f30acd548c44b45ef"},
    {1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"},
    {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
    {1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
    {2047, "58830fbf51a4423c573b164471690570e544cfe793bead46225664796b4b1467"},
    {2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"},
    {2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"},
    {3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"},
    {3073, "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3"},
    {4096, "015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969"},
    {5121, "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff"},
    {8192, "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63"},
    {16384, "f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4"},
    {31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"},
    {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"},
    {1000003, "cd5a3272e01b1a2f47bb4565d8d202db0f95704d32550a2da61a0fd363d4c90d"},
};

static char data[1000003];

static void expect(const struct weir_blake3 *h, const char *want) {
    char text[65];
    weir_blake3_hex(h, text);
    CHECK_EQ_STR(text, strlen(text), want);
}

static void case_official_values(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_blake3 h;
        weir_blake3_init(&h);
        weir_blake3_update(&h, weir_span(data, rows[i].n));
        expect(&h, rows[i].hash);
    }
}

/* Pieces of any size; a hash in between changes nothing. */
static void case_pieces(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_blake3 h;
        weir_blake3_init(&h);
        for (size_t at = 0; at < rows[i].n;) {
            size_t n = (size_t)weir_rng_below(&rng, 3000) >> weir_rng_below(&rng, 12);
            unsigned char ignored[WEIR_BLAKE3_BYTES];
            n = n < rows[i].n - at ? n : rows[i].n - at;
            weir_blake3_update(&h, weir_span(data + at, n));
            at += n;
            if (weir_rng_below(&rng, 50) == 0)
                weir_blake3_final(&h, ignored);
        }
        expect(&h, rows[i].hash);
    }
}

int main(void) {
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i % 251);
    CHECK_RUN(case_official_values);
    CHECK_RUN(case_pieces);
    return check_finish();
}
