/* Decimal text of floats. */
#include "base/number.h"

#include "base/rng.h"
#include "test/check.h"

#include <math.h>

static float from_bits(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* Written by serde_json 1.0.150, which the reference system writes its answers with. */
static void case_single(void) {
    static const struct {
        uint32_t bits;
        const char *text;
    } rows[] = {
        {0x3f800000, "1.0"},
        {0x3dcccccd, "0.1"},
        {0x33d6bf95, "1e-7"},
        {0x7f7fffff, "3.4028235e+38"},
        {0x00800000, "1.1754944e-38"},
        {0x00000001, "1e-45"},
        {0x00000002, "3e-45"},
        {0x80000001, "-1e-45"},
        {0x007fffff, "1.1754942e-38"},
        {0x4c400000, "50331650.0"},
        {0x4c800001, "67108870.0"},
        {0x4b000000, "8388608.0"},
        {0x4a800001, "4194304.5"},
        {0x35863bdc, "0.0000010001199"},
        {0x358637bd, "0.000001"},
        {0x358637bc, "9.999999e-7"},
        {0x5368d4a5, "1000000000000.0"},
        {0x5511a274, "1.0007932e+13"},
        {0x5a0e1bca, "1e+16"},
        {0x3eaaaaab, "0.33333334"},
        {0xbf000000, "-0.5"},
        {0x42f6e979, "123.456"},
        {0x49742400, "1000000.0"},
        {0x497423f8, "999999.5"},
        {0x30000000, "4.656613e-10"},
        {0x00800001, "1.1754945e-38"},
        {0x7f000000, "1.7014118e+38"},
        {0x4f000000, "2147483600.0"},
        {0x0da24260, "1e-30"},
        {0x3089705f, "1e-9"},
        {0x3089705e, "9.999999e-10"},
        {0x38d1b717, "0.0001"},
        {0x3dd17000, "0.102264404"},
        {0xbe9f5c29, "-0.31125"},
        {0x47f1205e, "123456.734"},
        {0x80000000, "-0.0"},
        {0x15ae43fe, "7.0385313e-26"},
        {0x2edbe6ff, "1e-10"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[WEIR_SINGLE_TEXT];
        size_t n = weir_single_text(from_bits(rows[i].bits), text);
        CHECK_EQ_STR(text, n, rows[i].text);
    }
}

/* Significant digits of a text. */
static int digits(const char *text) {
    int n = 0, zeros = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (n == 0 && *text == '0'))
            continue;
        zeros = *text == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

/* It reads back, and no text with a digit less does. */
static void case_single_is_shortest(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (int i = 0; i < 200000; i++) {
        float v = i % 2 == 0 ? from_bits((uint32_t)weir_rng_u64(&rng))
                             : (float)(weir_rng_normal(&rng) * 0.05);
        char text[WEIR_SINGLE_TEXT + 1], fewer[40];
        if (!isfinite(v) || v == 0)
            continue;
        text[weir_single_text(v, text)] = '\0';
        CHECK(strtof(text, NULL) == v);
        int n = digits(text);
        snprintf(fewer, sizeof(fewer), "%.*e", n > 1 ? n - 2 : 0, (double)v);
        CHECK(n == 1 || strtof(fewer, NULL) != v);
    }
}

int main(void) {
    CHECK_RUN(case_single);
    CHECK_RUN(case_single_is_shortest);
    return check_finish();
}
