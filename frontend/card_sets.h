/*
 * Which cards of discovery are served together: workers of one model, endpoint, kind of answers
 * and part must have equal cards, by the checksum of wire/card_sum.h without the model's source
 * (so workers of different versions of the reference, and our own, stand side by side). The first
 * card settles it; others are left out, with a log line, until the last equal one has gone: then
 * the next that came takes its place, as in the reference system (its "WorkerSet"). A card that the
 * caller cannot serve beside what it serves of other sets waits with them. Decisions only; no lock:
 * the caller's.
 */
#ifndef WEIR_FRONTEND_CARD_SETS_H
#define WEIR_FRONTEND_CARD_SETS_H

#include "base/list.h"
#include "wire/record.h"

struct weir_card_sets {
    struct weir_list cards; /* in the order in which they came */
};
void weir_card_sets_init(struct weir_card_sets *sets);
void weir_card_sets_fini(struct weir_card_sets *sets);

/* A card came under a key of discovery, perhaps anew. True: it is to be served. False: it is left
 * out (and kept), or out of memory. */
bool weir_card_sets_put(struct weir_card_sets *sets, struct weir_span key,
                        const struct weir_record *record);
/* The card of the key is gone: its set is free for others. fn is called for each that is to be
 * served from now on; it must not call weir_card_sets_put for it. */
typedef void (*weir_card_sets_fn)(void *arg, struct weir_span key,
                                  const struct weir_record *record);
void weir_card_sets_gone(struct weir_card_sets *sets, struct weir_span key, weir_card_sets_fn fn,
                         void *arg);
/* It could not be served, and will not be: its set is free, for what comes next. */
void weir_card_sets_forget(struct weir_card_sets *sets, struct weir_span key);
/* It cannot be served beside what there is: it waits, and its set is free for others that come. */
void weir_card_sets_wait(struct weir_card_sets *sets, struct weir_span key,
                         const struct weir_record *record);
/* What was served of other sets is gone: as weir_card_sets_gone, for all that wait. */
void weir_card_sets_again(struct weir_card_sets *sets, weir_card_sets_fn fn, void *arg);

#endif
