/* The hash of a text with vectors of 32 bytes; this file alone is compiled for AVX2. */
#define XXH_INLINE_ALL
#include "tokenizer/segments_priv.h"

#include <xxhash.h>

#if defined(__x86_64__)
uint64_t wtok_text_hash_avx2(struct weir_span text, uint64_t seed) {
    return XXH3_64bits_withSeed(text.data, text.len, seed);
}
#endif
