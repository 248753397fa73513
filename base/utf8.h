/* UTF-8 (Unicode 15, table 3-7): validation, encoding, repair. Pure. */
#ifndef WEIR_BASE_UTF8_H
#define WEIR_BASE_UTF8_H

#include "base/buf.h"

/* The whole text is well formed. Many GB/s where the processor has AVX2. */
bool weir_utf8_valid(struct weir_span text);
/* Bytes of the well-formed character (ASCII included) at the start; 0 when there is none. */
size_t weir_utf8_char(struct weir_span text);
/* Bytes to be replaced by one U+FFFD when weir_utf8_char() gives 0: the longest start of a
 * character, at least 1, as the Unicode standard advises and Rust's from_utf8_lossy does. */
size_t weir_utf8_bad(struct weir_span text);
/* At most `max` bytes of the text, for a message: a character that would be cut is left out. */
struct weir_span weir_utf8_cut(struct weir_span text, size_t max);
/* The same of a string, for WEIR_SPAN_ARG and "%.*s"; NULL is empty. */
static inline struct weir_span weir_utf8_cut_z(const char *text, size_t max) {
    return weir_utf8_cut(weir_span_z(text), max);
}
/* Appends the text with U+FFFD in place of what is ill-formed. */
enum weir_status weir_utf8_append_lossy(struct weir_buf *out,
                                        struct weir_span text) WEIR_MUST_CHECK;
/* Writes a code point that is no surrogate and at most 0x10FFFF; returns its bytes. */
size_t weir_utf8_encode(unsigned code, char out[4]);

#endif
