/* Shared by the two halves of the check: the schemas (strict_schema.c) and what they refer to
 * (strict_refs.c). */
#ifndef WEIR_WIRE_STRICT_SCHEMA_PRIV_H
#define WEIR_WIRE_STRICT_SCHEMA_PRIV_H

#include "base/json.h"
#include "wire/strict_schema.h"

enum { WEIR_STRICT_JSON_DEPTH = 128 };

struct weir_strict_member {
    struct weir_span name; /* unescaped */
    struct weir_span raw;
};

/* One schema. */
struct weir_strict_node {
    struct weir_span path, raw;
    unsigned depth;
    struct weir_strict_member *members; /* sorted by name; NULL: true or false */
    size_t n_members;
    long target; /* node that its $ref names, or -1 */
    struct weir_span ref;
    signed char closed; /* -1 not known yet */
};

struct weir_strict_walk {
    struct weir_arena *arena;
    struct weir_buf *out;
    struct weir_strict_node *nodes;
    size_t n, room;
    size_t n_properties, n_enums, n_characters;
    struct weir_span nested_id; /* path of the first schema below the root with an id */
    bool failed, nomem;
};

/* The first fault stands; both return false. */
bool weir_strict_fail(struct weir_strict_walk *w, struct weir_span path, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
bool weir_strict_nomem(struct weir_strict_walk *w);
/* path/key, with the key's '~' and '/' escaped. data NULL: no memory. */
struct weir_span weir_strict_below_z(struct weir_strict_walk *w, struct weir_span path,
                                     const char *key);
/* The members of an object, sorted; of several with one name the last. False: no memory. */
bool weir_strict_members(struct weir_strict_walk *w, struct weir_span object,
                         struct weir_strict_member **ret, size_t *ret_n);
bool weir_strict_find(const struct weir_strict_member *m, size_t n, struct weir_span name,
                      struct weir_span *ret);
bool weir_strict_get(const struct weir_strict_node *s, const char *name, struct weir_span *ret);
bool weir_strict_has(const struct weir_strict_node *s, const char *name);
/* The type is, or may be, an object; the same, or it declares properties. */
bool weir_strict_says_object(struct weir_strict_walk *w, const struct weir_strict_node *s);
bool weir_strict_is_object(struct weir_strict_walk *w, const struct weir_strict_node *s);
/* Members besides a type that say what an object holds; that it holds nothing else. */
bool weir_strict_has_constraints(const struct weir_strict_node *s);
bool weir_strict_is_closed(const struct weir_strict_node *s);

/* strict_refs.c: finds what each $ref names, and judges the chains. False with a fault. */
bool weir_strict_check_references(struct weir_strict_walk *w);

#endif
