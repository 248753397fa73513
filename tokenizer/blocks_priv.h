/* Splitting in blocks of up to 64 characters with bit masks: many words at a time. */
#ifndef WEIR_TOKENIZER_BLOCKS_PRIV_H
#define WEIR_TOKENIZER_BLOCKS_PRIV_H

#include "tokenizer/model_priv.h"

enum wtok_isa { WTOK_ISA_SCALAR, WTOK_ISA_AVX2, WTOK_ISA_AVX512, WTOK_ISA_NEON, WTOK_N_ISAS };
/* True when this machine has it. */
bool wtok_isa_usable(enum wtok_isa isa);
/* The best one; WEIR_TOKENIZER_ISA in the environment (scalar, avx2, avx512, neon) may lower it. */
enum wtok_isa wtok_isa_best(void);

/* No more than this many words come from one call. */
enum { WTOK_BLOCK_WORDS = 128 };
/*
 * Ends of the words from p on, in order, as offsets from p; the last may lie behind `stop` but not
 * behind e. Stops early when a word begins at or behind `stop` or the room for a block's words is
 * used up; at least one word. 64 bytes from any p < stop on must be readable. Families that are
 * scanned by hand only.
 */
size_t wtok_scan_block(enum wtok_isa isa, enum wtok_family family, const unsigned char *p,
                       const unsigned char *stop, const unsigned char *e,
                       uint32_t ends[WTOK_BLOCK_WORDS]);

#endif
