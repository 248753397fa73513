/* Ids of texts between added tokens, shared by all threads. */
#ifndef WEIR_TOKENIZER_SEGMENTS_PRIV_H
#define WEIR_TOKENIZER_SEGMENTS_PRIV_H

#include "tokenizer/encode_priv.h"

/* Texts shorter than this are encoded faster than they are found. */
enum { WTOK_SEGMENT_MIN = 128 };
/* Longer ones are cut at the first place behind so many bytes that allows it. */
enum { WTOK_PIECE = 4096 };

struct wtok_segments;
enum weir_status wtok_segments_create(size_t max_bytes,
                                      struct wtok_segments **ret_segments) WEIR_MUST_CHECK;
void wtok_segments_destroy(struct wtok_segments *s);
/* What a text is found by. `kind` tells apart equal texts that are encoded differently. Hashing
 * several texts before the first is asked for lets the memory be waited for together. */
uint64_t wtok_segments_hash(struct wtok_segments *s, struct weir_span text, unsigned kind);
/* It is asked for soon: has memory fetched that was not long ago hashed for. */
void wtok_segments_fetch(struct wtok_segments *s, struct weir_span text, uint64_t hash);
/* Appends the ids; WEIR_NOT_FOUND, WEIR_TOO_LARGE when there is no room for them. */
enum weir_status wtok_segments_get(struct wtok_segments *s, struct weir_span text, unsigned kind,
                                   uint64_t hash, struct wtok_out *out) WEIR_MUST_CHECK;
/* Remembers; what cannot be remembered is forgotten silently. */
void wtok_segments_put(struct wtok_segments *s, struct weir_span text, unsigned kind, uint64_t hash,
                       const uint32_t *ids, size_t n);
/* The hash that segments are found by, XXH3: the same value whatever the processor. */
uint64_t wtok_text_hash(struct weir_span text, uint64_t seed);
uint64_t wtok_text_hash_avx2(struct weir_span text, uint64_t seed); /* x86-64 with AVX2 only */
void wtok_segments_stats(struct wtok_segments *s, struct wtok_stats *ret_stats);

#endif
