/*
 * YAML documents as a tree in the caller's arena, for configuration files: cold, small, ours.
 *
 * libyaml splits the text into events; this is what is made of them, and what is refused: aliases
 * and anchors (a small file could stand for an endless tree), tags, keys that are not scalars or
 * come twice, more than one document. Bounded: 32 levels, 1,024 members of a mapping, 16,384 nodes.
 * A scalar stays text; what it means is up to whoever reads it, by the functions below (YAML 1.2
 * core schema). Threads: none of its own; a finished tree is read-only.
 */
#ifndef WEIR_RUNTIME_YAML_H
#define WEIR_RUNTIME_YAML_H

#include "base/arena.h"
#include "base/status.h"

enum weir_yaml_type { WEIR_YAML_SCALAR, WEIR_YAML_SEQUENCE, WEIR_YAML_MAPPING };

struct weir_yaml {
    enum weir_yaml_type type;
    unsigned line;          /* from 1 */
    struct weir_span key;   /* of a mapping's member; data NULL otherwise */
    struct weir_yaml *next; /* sibling, in written order; NULL at the end */
    struct weir_span text;  /* of a scalar; a NUL stands behind it */
    bool plain;             /* a scalar without quotes: may be a number or null */
    struct weir_yaml *first, *last;
    size_t n; /* members */
};

/* The root; an empty document is a null scalar. Everything lives in the arena; `text` may go
 * afterwards. The message of an error begins with "line N: ". WEIR_INVALID: not YAML, or of the
 * kinds that are refused; WEIR_LIMIT, WEIR_NOMEM. */
enum weir_status weir_yaml_parse(struct weir_span text, struct weir_arena *arena,
                                 const struct weir_yaml **ret_root,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* Reads and parses a file of at most `max_bytes`. WEIR_NOT_FOUND: there is none;
 * WEIR_TOO_LARGE. The message begins with the path. */
enum weir_status weir_yaml_read(const char *path, size_t max_bytes, struct weir_arena *arena,
                                const struct weir_yaml **ret_root,
                                struct weir_err *err) WEIR_MUST_CHECK;
/* Member of a mapping; NULL when there is none or `mapping` is NULL or no mapping. */
const struct weir_yaml *weir_yaml_get(const struct weir_yaml *mapping, const char *key);
/* NULL counts as null. */
bool weir_yaml_is_null(const struct weir_yaml *node);
/* A plain decimal, 0o octal or 0x hexadecimal number from 0 to 2^64-1. */
bool weir_yaml_u64(const struct weir_yaml *node, uint64_t *ret);
/* A plain number, .inf and .nan included. */
bool weir_yaml_f64(const struct weir_yaml *node, double *ret);
bool weir_yaml_bool(const struct weir_yaml *node, bool *ret);
/* "a mapping", "the number 5", "the text \"x\"", … for messages; cut to fit. */
void weir_yaml_describe(const struct weir_yaml *node, char *ret, size_t cap);

#endif
