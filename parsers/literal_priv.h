/*
 * Values in other notations than JSON, rewritten as JSON while they come: Python literals, and
 * Gemma's notation with bare keys and its own string quotes.
 */
#ifndef WEIR_PARSERS_LITERAL_PRIV_H
#define WEIR_PARSERS_LITERAL_PRIV_H

#include "base/buf.h"
#include "base/span.h"

enum { LITERAL_DEPTH = 64 };
enum literal_result { LITERAL_MORE, LITERAL_DONE, LITERAL_BAD };

struct literal {
    bool gemma;
    unsigned char state;
    char quote; /* of the current string: ' " or G (Gemma's) */
    bool triple, raw, key, after_colon;
    unsigned depth;
    struct {
        char kind; /* '[' '(' '{' */
        bool comma;
        unsigned char n; /* members, saturating at 2 */
    } level[LITERAL_DEPTH];
    enum weir_status status; /* of writing to the buffer: sticks */
};

void literal_init(struct literal *l, bool gemma);
/* As if '{' had been read; writes it. */
void literal_open_object(struct literal *l, struct weir_buf *out);
/* Reads what is decided of one value. *ret_used bytes are done with, the rest must come again with
 * more behind it. LITERAL_DONE: the value has ended there. */
enum literal_result literal_feed(struct literal *l, const char *d, size_t n, bool final,
                                 struct weir_buf *out, size_t *ret_used);
/* One whole Python literal, white space around it allowed; INVALID leaves `out` as it was. */
enum weir_status wprs_literal_value(struct weir_span text, struct weir_buf *out) WEIR_MUST_CHECK;
/* Appends text as the inside of a JSON string. */
enum weir_status wprs_escape(struct weir_buf *out, const char *d, size_t n) WEIR_MUST_CHECK;

#endif
