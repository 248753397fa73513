/*
 * What a request's tools say about the type of a value, read from their JSON each time: formats
 * that write values as text need it once a parameter. Nothing is kept; spans point into the tools.
 */
#ifndef WEIR_PARSERS_SCHEMA_PRIV_H
#define WEIR_PARSERS_SCHEMA_PRIV_H

#include "base/buf.h"
#include "base/span.h"

enum {
    TYPE_STRING = 1,
    TYPE_INTEGER = 2,
    TYPE_NUMBER = 4,
    TYPE_BOOLEAN = 8,
    TYPE_OBJECT = 16,
    TYPE_ARRAY = 32,
    TYPE_NULL = 64,
};

/* "parameters" of the tool of that name; NULL data when there is none. */
struct weir_span wprs_schema_tool(struct weir_span tools, struct weir_span name);
/* Schema of a property, of an array's items; NULL data when unknown. `root` resolves "$ref". */
struct weir_span wprs_schema_property(struct weir_span root, struct weir_span schema,
                                      struct weir_span key);
struct weir_span wprs_schema_items(struct weir_span root, struct weir_span schema);
/* Types that it allows; 0 = unknown. */
unsigned wprs_schema_types(struct weir_span root, struct weir_span schema);
/* Appends the JSON value that the text of a value means. `types` 0: a string, or with `guess` JSON
 * where it reads as JSON. */
enum weir_status wprs_schema_value(unsigned types, struct weir_span text, bool guess,
                                   struct weir_buf *out) WEIR_MUST_CHECK;

#endif
