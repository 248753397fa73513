/* Writes conversations as models of each format do: the inverse of the parsers, for property tests.
 */
#ifndef WEIR_TEST_PARSERS_RENDER_H
#define WEIR_TEST_PARSERS_RENDER_H

#include "base/buf.h"

enum { VALUE_MEMBERS = 4, TURN_PARTS = 8 };
enum value_kind { VALUE_STRING, VALUE_NUMBER, VALUE_WORD, VALUE_OBJECT, VALUE_ARRAY };

struct value {
    enum value_kind kind;
    char text[200]; /* a string's content; a number; true, false or null */
    unsigned n;
    char keys[VALUE_MEMBERS][32];
    struct value *members[VALUE_MEMBERS];
};

enum part_kind { PART_TEXT, PART_CALL };
struct part {
    enum part_kind kind;
    char text[200]; /* a text, or a tool's name */
    struct value *args;
};

struct turn {
    char reasoning[200]; /* "" = none */
    unsigned n;
    struct part parts[TURN_PARTS];
};

struct dialect {
    const char *parser, *reasoning; /* names for wprs; reasoning may be NULL */
    const char *trap; /* a piece of its own markup that strings may hold without ending anything */
    void (*render)(const struct turn *t, struct weir_buf *out);
};
extern const struct dialect dialects[];
extern const unsigned n_dialects;

void put_json(const struct value *v, struct weir_buf *out);

#endif
