/* Base64 of RFC 4648 section 4: standard alphabet, padded, nothing else in it. Pure. */
#ifndef WEIR_BASE_BASE64_H
#define WEIR_BASE_BASE64_H

#include "base/arena.h"
#include "base/buf.h"

/* Appends the text. */
enum weir_status weir_base64_encode(struct weir_span bytes, struct weir_buf *out) WEIR_MUST_CHECK;
/* Bytes in the arena. WEIR_INVALID: a foreign character, wrong padding or length, bits that no
 * encoder sets. WEIR_NOMEM: over the arena's maximum. */
enum weir_status weir_base64_decode(struct weir_span text, struct weir_arena *arena,
                                    struct weir_span *ret_bytes) WEIR_MUST_CHECK;

#endif
