/* UTF-8 runs for the JSON scanner and writer. */
#ifndef WEIR_BASE_UTF8_PRIV_H
#define WEIR_BASE_UTF8_PRIV_H

#include <stddef.h>

/* Leading bytes that are printable ASCII other than quote and backslash. */
size_t weir_utf8_plain_run(const char *p, size_t len);
/* Leading bytes that form whole, well-formed multi-byte characters; 0 when p does not begin with
 * one. */
size_t weir_utf8_multibyte_run(const char *p, size_t len);
/* Writes a code point; returns its bytes. */
size_t weir_utf8_encode(unsigned code, char out[4]);

#endif
