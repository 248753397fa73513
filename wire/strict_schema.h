/*
 * What a tool's parameters must be when the tool is strict: the part of JSON Schema that engines
 * can hold a model to. Source: probes of the reference system 1.6.1 (its words), and OpenAI's guide
 * to structured outputs (its rules). Pure.
 */
#ifndef WEIR_WIRE_STRICT_SCHEMA_H
#define WEIR_WIRE_STRICT_SCHEMA_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/span.h"

/* `schema`: one well-formed JSON value. WEIR_INVALID: out holds "In context=#/path, what is wrong".
 * Work is bounded: at most some 20,000 schemas in one. */
enum weir_status weir_strict_schema_check(struct weir_span schema, struct weir_arena *arena,
                                          struct weir_buf *out) WEIR_MUST_CHECK;

#endif
