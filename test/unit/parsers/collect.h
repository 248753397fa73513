/* Runs a parser over a text and gathers what it gives out, joined by kind. */
#ifndef WEIR_TEST_PARSERS_COLLECT_H
#define WEIR_TEST_PARSERS_COLLECT_H

#include "parsers/wprs.h"

enum { COLLECT_CALLS = 64 };

struct collected {
    struct weir_buf content, reasoning;
    struct weir_buf names[COLLECT_CALLS], args[COLLECT_CALLS];
    bool done[COLLECT_CALLS];
    unsigned n_calls, n_deltas;
    bool broken_order; /* arguments before their call, an index out of order, … */
    enum wprs_finish finish;
};

void collected_init(struct collected *c);
void collected_fini(struct collected *c);
void collected_clear(struct collected *c);
bool collected_eq(const struct collected *a, const struct collected *b);
/* For messages of failed checks; one buffer, overwritten by the next call. */
const char *collected_text(const struct collected *c);

/* Feeds the text in pieces that end at the given offsets (ascending), then its rest. step > 0: in
 * pieces of so many bytes instead. Clears `out` first. */
void collect(const struct wprs_options *o, struct weir_span text, const size_t *cuts, size_t n_cuts,
             size_t step, enum wprs_finish finish, struct collected *out);

/* Equal as JSON values; members of objects in the same order, numbers digit for digit. */
bool json_equal(struct weir_span a, struct weir_span b);
bool json_is_object(struct weir_span text);
/* Equal when every run of white space counts as one blank, or as none, and the ends are trimmed. */
bool text_equal(struct weir_span a, struct weir_span b, bool blanks_matter);

#endif
