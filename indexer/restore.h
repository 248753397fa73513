/*
 * A dump's text into the groups that it names, in steps: either form that GET /dump gives. What
 * came before text that is no dump was applied. Thread: the loop that owns the groups.
 */
#ifndef WEIR_INDEXER_RESTORE_H
#define WEIR_INDEXER_RESTORE_H

#include "base/status.h"
#include "indexer/groups.h"

struct weir_restore;
/* text: the whole dump, which stays until the end; or NULL data, and weir_restore_feed() gives
 * lines as they come. */
enum weir_status weir_restore_open(struct weir_groups *groups, struct weir_span text,
                                   struct weir_restore **ret_restore) WEIR_MUST_CHECK;
/* Accepts NULL. fn of weir_restore_run() is not called. */
void weir_restore_close(struct weir_restore *restore);
/* About WEIR_RESTORE_BYTES of the text. *ret_more: not at the end yet. WEIR_INVALID: err says where
 * it stops being a dump. */
enum { WEIR_RESTORE_BYTES = 128 << 10 };
enum weir_status weir_restore_step(struct weir_restore *restore, bool *ret_more,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* All steps, a turn of the loop for each; fn once, which may close it. */
typedef void (*weir_restore_fn)(void *arg, enum weir_status status, const struct weir_err *err);
void weir_restore_run(struct weir_restore *restore, struct weir_loop *loop, weir_restore_fn fn,
                      void *arg);
/* The lines that end in these bytes; the rest waits for more. `last`: it is a line as well. */
enum weir_status weir_restore_feed(struct weir_restore *restore, struct weir_span bytes, bool last,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* To the log: it ends before its end, as its client has left or the process is stopped; what was
 * applied stays. NULL: nothing was. */
void weir_restore_tell_left(const struct weir_restore *restore);
/* Events applied so far. */
uint64_t weir_restore_events(const struct weir_restore *restore);
/* How many, and how many not, for the answer. */
enum { WEIR_RESTORE_SAYS = 128 };
void weir_restore_say(const struct weir_restore *restore, char ret_text[WEIR_RESTORE_SAYS]);
/* Whether a text that begins like this is lines. */
enum { WEIR_RESTORE_LINES_BEGIN = 7 };
bool weir_restore_is_lines(struct weir_span text);

#endif
