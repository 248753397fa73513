/* Markers: literal text with a few slots (formats_priv.h), matched at the start of undecided input.
 */
#ifndef WEIR_PARSERS_PATTERN_PRIV_H
#define WEIR_PARSERS_PATTERN_PRIV_H

#include "base/span.h"

enum match { MATCH_NO, MATCH_PART, MATCH_FULL };

struct slots {
    size_t len;            /* bytes matched */
    struct weir_span name; /* %n, %w */
    struct weir_span attr; /* the last %a */
};

/* MATCH_PART: may become one with more bytes; never when `final`. */
enum match wprs_match(const char *pattern, const char *d, size_t n, bool final,
                      struct slots *slots);

#endif
