/* Names and aliases of parsers. */
#ifndef WEIR_PARSERS_NAMES_PRIV_H
#define WEIR_PARSERS_NAMES_PRIV_H

#include "base/span.h"

/* Levels of JSON in a member of a request, as in all of it (wire/openai_priv.h). */
enum { WPRS_MEMBER_DEPTH = 128 };

struct name_row {
    const char *name; /* as written in model cards; NULL ends the table */
    const char *row;  /* name of the row that it stands for */
    bool special;     /* its markers are special tokens: see wprs_keeps_special() */
};
extern const struct name_row *const wprs_tool_names, *const wprs_reasoning_names;
/* NULL when unknown. */
const char *wprs_name_row(const struct name_row *table, struct weir_span name);

#endif
