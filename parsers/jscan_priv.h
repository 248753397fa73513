/*
 * One JSON value (RFC 8259 grammar), checked byte by byte as it comes: where does it end, is it
 * well formed? Nothing is kept but the state, so pieces may be cut anywhere. Bytes from 0x80 pass
 * inside strings; their UTF-8 is the caller's.
 */
#ifndef WEIR_PARSERS_JSCAN_PRIV_H
#define WEIR_PARSERS_JSCAN_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSCAN_DEPTH = 256 };
enum jscan_result { JSCAN_MORE, JSCAN_DONE, JSCAN_BAD };

struct jscan {
    uint8_t state;
    bool key;         /* the string being read is a member's name */
    const char *rest; /* of true, false, null */
    unsigned depth;
    uint64_t object[JSCAN_DEPTH / 64]; /* bit per open container: an object */
};

void jscan_init(struct jscan *s);
/* Reads up to the value's end. *ret_used: bytes that belong to it; JSCAN_BAD: up to the wrong byte.
 * A number on its own ends at the byte behind it, which is not used. */
enum jscan_result jscan_feed(struct jscan *s, const char *d, size_t n, size_t *ret_used);
/* The whole text, white space around it allowed, is one value whose first byte is `first` (0: any).
 */
bool jscan_whole(const char *d, size_t n, char first);

#endif
