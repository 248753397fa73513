/*
 * Types of JSON values as tables, read the way Rust's serde derives them: same order of checks,
 * same words for what does not fit. Source: serde's data model and derive rules (its documentation,
 * "Deserializer" and "Enum representations"), held to recordings of the reference system.
 *
 * Narrower in one thing: serde lets a list stand for a struct and a number for a variant, an
 * accident that no client means. Such a value is told its own faults first, as serde would, and is
 * then refused. Pure.
 */
#ifndef WEIR_WIRE_SHAPE_H
#define WEIR_WIRE_SHAPE_H

#include "base/json.h"
#include "base/span.h"

enum weir_shape_kind {
    WEIR_SHAPE_ANY,
    WEIR_SHAPE_STRING,
    WEIR_SHAPE_BOOL,
    WEIR_SHAPE_INT,      /* within min and max; `name` is Rust's: u8, u32, i32, i64, u64 */
    WEIR_SHAPE_FLOAT,    /* `name`: f32, f64 */
    WEIR_SHAPE_LIST,     /* of `item` */
    WEIR_SHAPE_MAP,      /* any keys, values `item` */
    WEIR_SHAPE_STRUCT,   /* `members`; `name` without "struct " */
    WEIR_SHAPE_WORDS,    /* an enum of `variants` without content */
    WEIR_SHAPE_TAGGED,   /* `variants` told apart by a member named `tag` */
    WEIR_SHAPE_ADJACENT, /* the same with the content in a member of its own */
    WEIR_SHAPE_UNTAGGED, /* the first of `items` that fits */
    WEIR_SHAPE_CHECKED,  /* `check` says */
};

struct weir_shape;
struct weir_shape_fault;
struct weir_shape_entries; /* the members of one object */

struct weir_shape_member {
    const char *name, *alias; /* alias or NULL */
    const struct weir_shape *shape;
    bool optional;  /* Option: null and absence are fine */
    bool defaulted; /* absence is fine; null is not, unless optional too */
};

struct weir_shape_variant {
    const char *word;
    const struct weir_shape *shape; /* a struct; NULL: none */
};

struct weir_shape {
    enum weir_shape_kind kind;
    const char *name;
    const struct weir_shape *item;
    const struct weir_shape *const *items;     /* ends with NULL */
    const struct weir_shape_member *members;   /* ends with a NULL name */
    const struct weir_shape_variant *variants; /* ends with a NULL word */
    const char *tag, *content;
    int64_t min;
    uint64_t max;
    bool (*check)(struct weir_span raw, struct weir_shape_fault *fault);
    /* Of a tagged enum, when all else fits; may be NULL. */
    bool (*after)(const struct weir_shape_entries *entries, struct weir_shape_fault *fault);
    bool closed; /* a struct that refuses other members */
    bool flat;   /* a struct that is part of another one: a list does not stand for it */
};

enum { WEIR_SHAPE_TEXT = 3072 };

struct weir_shape_fault {
    char text[WEIR_SHAPE_TEXT];
    const char *at; /* where a reader in one pass would stand: behind a scalar or a key, at the
                       beginning of a container */
    unsigned notes; /* bits that checks may set; the caller clears them before */
};

/* `raw` is one well-formed value, without space around. False: ret_fault says why. */
bool weir_shape_check(const struct weir_shape *shape, struct weir_span raw,
                      struct weir_shape_fault *ret_fault);
/* The same for the value at the cursor, which is read on the way. False, or an error of the reader:
 * it does not fit or is not well-formed, and the cursor stands anywhere. */
bool weir_shape_check_at(const struct weir_shape *shape, struct weir_json *j,
                         struct weir_shape_fault *ret_fault);
/* The first member of that name; false when there is none. */
bool weir_shape_entry(const struct weir_shape_entries *entries, const char *key,
                      struct weir_span *ret);
/* Records "invalid type: string \"x\", expected …" and returns false. */
bool weir_shape_fail_type(struct weir_shape_fault *fault, struct weir_span raw,
                          const char *expected);
bool weir_shape_fail(struct weir_shape_fault *fault, const char *at, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
/* "null", "integer `3`", "string \"x\"", "map" … as serde names an unexpected value. */
void weir_shape_show(struct weir_span raw, char *out, size_t room);

extern const struct weir_shape weir_shape_any, weir_shape_string, weir_shape_bool, weir_shape_u8,
    weir_shape_u32, weir_shape_u64, weir_shape_i32, weir_shape_i64, weir_shape_f32, weir_shape_f64,
    weir_shape_strings, weir_shape_u32s;

#endif
