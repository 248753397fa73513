/* Where words end, from bits to offsets; and the attributes of functions for an instruction set. */
#ifndef WEIR_TOKENIZER_EMIT_PRIV_H
#define WEIR_TOKENIZER_EMIT_PRIV_H

#include "base/buf.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,bmi,bmi2,lzcnt,popcnt")))
#define VBMI2 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,bmi,bmi2,lzcnt,popcnt")))
#define AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#endif
#define INLINE static inline __attribute__((always_inline))

/* Writes at + i for each bit i, with room for 64 whatever their number, and returns that. */
typedef size_t (*emit_fn)(uint64_t bits, uint32_t at, uint32_t *to);

INLINE size_t emit_scalar(uint64_t bits, uint32_t at, uint32_t *to) {
    size_t n = 0;
    for (; bits != 0; bits &= bits - 1)
        to[n++] = at + (unsigned)__builtin_ctzll(bits);
    return n;
}

#if defined(__x86_64__)
/* Eight at a time: how many bits there are cannot be foretold, how many eights often can. */
AVX2 INLINE size_t emit_avx2(uint64_t bits, uint32_t at, uint32_t *to) {
    unsigned n = (unsigned)__builtin_popcountll(bits);
    for (unsigned k = 0; k < n; k += 8)
        for (unsigned i = 0; i < 8; i++, bits &= bits - 1)
            to[k + i] = at + (unsigned)_tzcnt_u64(bits);
    return n;
}

/* Without a branch. */
AVX512 INLINE size_t emit_avx512(uint64_t bits, uint32_t at, uint32_t *to) {
    __m512i places =
        _mm512_add_epi32(_mm512_set1_epi32((int)at),
                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    size_t n = 0;
    for (unsigned i = 0; i < 64; i += 16) {
        unsigned part = (uint16_t)(bits >> i);
        _mm512_storeu_si512(to + n, _mm512_maskz_compress_epi32((__mmask16)part, places));
        places = _mm512_add_epi32(places, _mm512_set1_epi32(16));
        n += (unsigned)__builtin_popcount(part);
    }
    return n;
}

/* All 64 places in one step, as bytes; more than 32 are rare. */
VBMI2 INLINE size_t emit_vbmi2(uint64_t bits, uint32_t at, uint32_t *to) {
    static const uint64_t places[8] = {0x0706050403020100, 0x0F0E0D0C0B0A0908, 0x1716151413121110,
                                       0x1F1E1D1C1B1A1918, 0x2726252423222120, 0x2F2E2D2C2B2A2928,
                                       0x3736353433323130, 0x3F3E3D3C3B3A3938};
    __m512i from = _mm512_set1_epi32((int)at);
    __m512i k = _mm512_maskz_compress_epi8(bits, _mm512_loadu_si512(places));
    size_t n = (unsigned)__builtin_popcountll(bits);
#define PUT(i)                                                                                     \
    _mm512_storeu_si512(to + (i)*16, _mm512_add_epi32(from, _mm512_cvtepu8_epi32(                  \
                                                                _mm512_extracti32x4_epi32(k, i))))
    PUT(0);
    PUT(1);
    if (__builtin_expect(n > 32, 0)) {
        PUT(2);
        PUT(3);
    }
#undef PUT
    return n;
}
#endif

#endif
