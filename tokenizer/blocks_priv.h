/* Splitting in blocks of up to 64 characters with bit masks: many words at a time. */
#ifndef WEIR_TOKENIZER_BLOCKS_PRIV_H
#define WEIR_TOKENIZER_BLOCKS_PRIV_H

#include "tokenizer/model_priv.h"

enum wtok_isa {
    WTOK_ISA_SCALAR,
    WTOK_ISA_AVX2,
    WTOK_ISA_AVX512,
    WTOK_ISA_VBMI2, /* AVX-512 as of Ice Lake and Zen 4: vectors of bytes are compressed, too */
    WTOK_ISA_NEON,
    WTOK_N_ISAS
};
static inline bool wtok_isa_has_avx512(int isa) {
    return isa == WTOK_ISA_AVX512 || isa == WTOK_ISA_VBMI2;
}
/* True when this machine has it. */
bool wtok_isa_usable(enum wtok_isa isa);
/* The best one; WEIR_TOKENIZER_ISA in the environment (scalar, avx2, avx512, avx512vbmi2, neon) may
 * lower it. */
enum wtok_isa wtok_isa_best(void);

/* A text under way. Ends of words, in order, as offsets from where it began. */
struct wtok_scan {
    const unsigned char *p;    /* where the next word begins */
    const unsigned char *stop; /* words that begin here or behind are not wanted */
    const unsigned char *e;    /* end of the text */
    uint32_t at;               /* p's offset */
    uint32_t *ends;            /* borrowed */
    size_t n, room;            /* ends that are there, and for how many there is room */
};
/* What must be free for a block's ends, of which not all count. */
enum { WTOK_BLOCK_ROOM = 80 };
/*
 * Takes the words of both texts until each has come to its `stop` or has no room for another block
 * (at least one block each, given room). The last word may lie behind `stop` but not behind e. 64
 * bytes from any p < stop on must be readable. Families that are scanned by hand only.
 */
void wtok_scan_two(enum wtok_isa isa, enum wtok_family family, struct wtok_scan *a,
                   struct wtok_scan *b);

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
