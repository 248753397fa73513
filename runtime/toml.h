/*
 * TOML 1.1 documents (every 1.0 document is one) as a tree of values in the caller's arena.
 *
 * Used for configuration files: cold, small. Bounded: nesting and dotted keys 64 deep, 4,096
 * members of a table, 65,536 values. Source of the format: toml.io/en/v1.1.0. Threads: none of its
 * own; a finished tree is read-only.
 */
#ifndef WEIR_RUNTIME_TOML_H
#define WEIR_RUNTIME_TOML_H

#include "base/arena.h"
#include "base/status.h"

enum weir_toml_type {
    WEIR_TOML_STRING,
    WEIR_TOML_INTEGER,
    WEIR_TOML_FLOAT,
    WEIR_TOML_BOOL,
    WEIR_TOML_OFFSET_DATETIME, /* text, normalised: 1979-05-27T07:32:00.5Z */
    WEIR_TOML_LOCAL_DATETIME,
    WEIR_TOML_LOCAL_DATE,
    WEIR_TOML_LOCAL_TIME,
    WEIR_TOML_ARRAY,
    WEIR_TOML_TABLE,
};

struct weir_toml {
    enum weir_toml_type type;
    unsigned line;          /* where it was written, from 1 */
    struct weir_span key;   /* of a table's member; data NULL otherwise */
    struct weir_toml *next; /* sibling, in written order; NULL at the end */
    union {
        struct weir_span text; /* strings and times; a NUL stands behind it */
        int64_t integer;
        double number;
        bool boolean;
    };
    /* Arrays and tables. */
    struct weir_toml *first, *last;
    size_t n;
    unsigned char kind; /* how a table or array came to be; the parser's own */
};

/* The root table. Everything lives in the arena; `text` may go afterwards. The message of an error
 * begins with "line N: ". WEIR_INVALID: not TOML; WEIR_LIMIT, WEIR_NOMEM. */
enum weir_status weir_toml_parse(struct weir_span text, struct weir_arena *arena,
                                 const struct weir_toml **ret_root,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* Reads and parses a file of at most `max_bytes`, whose texts are for people who use C's: one with
 * a NUL inside is refused. WEIR_NOT_FOUND: there is none. The message begins with the path. */
enum weir_status weir_toml_read(const char *path, size_t max_bytes, struct weir_arena *arena,
                                const struct weir_toml **ret_root,
                                struct weir_err *err) WEIR_MUST_CHECK;
/* Member of a table; NULL when there is none or `table` is NULL or no table. */
const struct weir_toml *weir_toml_get(const struct weir_toml *table, const char *key);
/* "string", "integer", … for messages. */
const char *weir_toml_type_name(enum weir_toml_type type);

#endif
