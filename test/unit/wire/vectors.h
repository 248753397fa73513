/* Reads test/data/wire/vectors.tsv: what a running reference system sent (extract.py tells the
 * columns). */
#ifndef WEIR_TEST_UNIT_WIRE_VECTORS_H
#define WEIR_TEST_UNIT_WIRE_VECTORS_H

#include "base/buf.h"
#include "test/check.h"
#include "wire/control.h"

struct vector {
    const char *name;
    enum weir_codec codec;
    struct weir_span bytes;    /* as on the wire */
    struct weir_span expected; /* the capture's decoded form */
};
/* Calls fn for every vector of the kind; returns how many there were. */
typedef void (*vector_fn)(const struct vector *v);
unsigned vectors_run(const char *kind, vector_fn fn);
/* Text of one member of a JSON object; data NULL when it is not there. */
struct weir_span vector_member(struct weir_span object, const char *name);
/* Bytes of a text in hexadecimal, appended. */
void vector_unhex(struct weir_span hex, struct weir_buf *out);
#define VECTOR_EQ(v, got, want)                                                                    \
    CHECK_MSG(weir_span_eq(got, want), "%s:\n got %.*s\nwant %.*s", (v)->name, WEIR_SPAN_ARG(got), \
              WEIR_SPAN_ARG(want))

#endif
