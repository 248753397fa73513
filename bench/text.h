/*
 * Prompt text made from numbers: words of lower-case letters, the same for the same key, so that a
 * run can be repeated and equal trace blocks are equal text. ASCII without quotes or backslashes:
 * it stands in JSON as it is, and the bytes tokenizer makes one token of each character. Pure.
 */
#ifndef WEIR_BENCH_TEXT_H
#define WEIR_BENCH_TEXT_H

#include "base/buf.h"

/* Mixes numbers into one key: kind of text, seed of the run, number of the thing. */
uint64_t weir_text_key(uint64_t seed, uint64_t kind, uint64_t number);
/* Appends `chars` characters. A shorter text of a key is the beginning of a longer one. */
enum weir_status weir_text_append(struct weir_buf *out, uint64_t key, size_t chars) WEIR_MUST_CHECK;

#endif
