#include "bench/text.h"

/* 256 words of three letters would need a table; instead each byte picks consonant, vowel and
 * consonant by arithmetic, which reads like "gol bam tir" and costs a nanosecond. */
static const char consonants[] = "bdfgklmnprstvwhz";
static const char vowels[] = "aeio";

/* Bijective finaliser of splitmix64. */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t weir_text_key(uint64_t seed, uint64_t kind, uint64_t number) {
    return mix(mix(mix(seed + 0x9E3779B97F4A7C15u) ^ kind) + number);
}

static void word(char out[4], unsigned bits) {
    out[0] = consonants[bits & 15];
    out[1] = vowels[(bits >> 4) & 3];
    out[2] = consonants[(bits >> 6) & 15];
    out[3] = ' ';
}

enum weir_status weir_text_append(struct weir_buf *out, uint64_t key, size_t chars) {
    enum { WORDS = 6 }; /* of ten bits each from one 64-bit draw */
    if (chars == 0)
        return WEIR_OK;
    enum weir_status st = weir_buf_reserve(out, chars + (size_t)4 * WORDS);
    if (st != WEIR_OK)
        return st;
    char *p = out->data + out->len;
    uint64_t counter = key;
    for (size_t done = 0; done < chars; done += (size_t)4 * WORDS) {
        uint64_t bits = mix(counter += 0x9E3779B97F4A7C15u);
        for (int i = 0; i < WORDS; i++, bits >>= 10)
            word(p + done + (size_t)4 * i, (unsigned)bits);
    }
    out->len += chars;
    return WEIR_OK;
}
