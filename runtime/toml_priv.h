/* Inside of the TOML parser: cursor, and the scalars (toml_scalar.c) apart from tables (toml.c). */
#ifndef WEIR_RUNTIME_TOML_PRIV_H
#define WEIR_RUNTIME_TOML_PRIV_H

#include "runtime/toml.h"

struct toml_parser {
    const char *at, *end; /* cursor and end of the document */
    const char *begin;
    const char *counted; /* line breaks before it are in `line` */
    unsigned line;
    struct weir_arena *arena;
    struct weir_err *err; /* may be NULL */
    enum weir_status status;
    bool no_nul; /* a text must not have one, though TOML lets it */
    unsigned depth;
    size_t n_values;
};

/* Records the first failure with the line of the cursor; always false. */
bool toml_fail(struct toml_parser *p, enum weir_status status, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
unsigned toml_line(struct toml_parser *p);
/* Current byte, 0 at the end. A NUL byte in the document is refused elsewhere. */
static inline char toml_peek(const struct toml_parser *p) {
    return p->at < p->end ? *p->at : '\0';
}
static inline bool toml_eat(struct toml_parser *p, char c) {
    if (p->at >= p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}
/* True at "\n" or "\r\n", which it passes over. */
bool toml_eat_newline(struct toml_parser *p);

/* At a quote. Multi-line forms only where `multi`. */
bool toml_string(struct toml_parser *p, bool multi, struct weir_span *ret_text);
/* Numbers, booleans and times: fills type and value. */
bool toml_bare_value(struct toml_parser *p, struct weir_toml *value);
/* A whole time, date or both; false when it is none. The text is normalised in the arena. */
bool toml_time(struct toml_parser *p, struct weir_span token, struct weir_toml *value);

#endif
