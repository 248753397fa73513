#include "base/rng.h"
#include "test/check.h"

/* RFC 9562: version 4, variant 10, and every other bit takes both values. */
static void case_uuid(void) {
    struct weir_rng rng;
    unsigned char ones[16] = {0}, zeros[16] = {0};
    weir_rng_seed(&rng, check_seed());
    for (int i = 0; i < 200; i++) {
        char text[37];
        weir_rng_uuid(&rng, text);
        CHECK(strlen(text) == 36);
        int n = 0;
        for (const char *p = text; *p != '\0';) {
            if (p - text == 8 || p - text == 13 || p - text == 18 || p - text == 23) {
                CHECK(*p++ == '-');
                continue;
            }
            unsigned byte;
            CHECK(sscanf(p, "%2x", &byte) == 1);
            ones[n] |= (unsigned char)byte;
            zeros[n++] |= (unsigned char)~byte;
            p += 2;
        }
        CHECK(n == 16 && text[14] == '4' && strchr("89ab", text[19]) != NULL);
    }
    for (int i = 0; i < 16; i++) {
        unsigned char fixed = i == 6 ? 0xF0 : i == 8 ? 0xC0 : 0;
        CHECK((unsigned char)(ones[i] | fixed) == 0xFF &&
              (unsigned char)(zeros[i] | fixed) == 0xFF);
    }
}

/* The digits are those of the numbers that were drawn, version and variant in their places. */
static void case_uuid_spells_its_numbers(void) {
    struct weir_rng rng, twin;
    weir_rng_seed(&rng, check_seed());
    twin = rng;
    for (int i = 0; i < 1000; i++) {
        char text[37], want[37];
        weir_rng_uuid(&rng, text);
        uint64_t hi = weir_rng_u64(&twin), lo = weir_rng_u64(&twin);
        snprintf(want, sizeof(want), "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(hi >> 32),
                 (unsigned)(hi >> 16) & 0xffff, (unsigned)hi & 0xfff,
                 (unsigned)(lo >> 48 & 0x3fff) | 0x8000, (unsigned long long)(lo & 0xffffffffffff));
        CHECK_EQ_STR(text, strlen(text), want);
    }
}

static void case_below_is_uniform(void) {
    struct weir_rng rng;
    unsigned counts[7] = {0};
    weir_rng_seed(&rng, check_seed());
    for (int i = 0; i < 70000; i++)
        counts[weir_rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++)
        CHECK_MSG(counts[i] > 9000 && counts[i] < 11000, "bucket %d has %u", i, counts[i]);
}

int main(void) {
    CHECK_RUN(case_uuid);
    CHECK_RUN(case_uuid_spells_its_numbers);
    CHECK_RUN(case_below_is_uniform);
    return check_finish();
}
