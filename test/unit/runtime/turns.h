/* Runs a loop until something has come about: no test sleeps, and none hangs. */
#ifndef WEIR_TEST_UNIT_RUNTIME_TURNS_H
#define WEIR_TEST_UNIT_RUNTIME_TURNS_H

#include "net/loop.h"

typedef bool (*turns_fn)(void *arg);
/* False when it did not come about in a minute. */
bool turns_until(struct weir_loop *loop, turns_fn done, void *arg);
/* So many milliseconds in which something must not come about. */
void turns_for(struct weir_loop *loop, uint64_t ms);
/* Turns until closed things are gone. */
void turns_flush(struct weir_loop *loop);

#endif
