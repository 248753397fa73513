/* From the options of `weir replay` to a set-up. */
#ifndef WEIR_BENCH_REPLAY_SETUP_H
#define WEIR_BENCH_REPLAY_SETUP_H

#include "base/span.h"
#include "bench/replay_sim.h"
#include "runtime/options_replay.h"

/* The trace of the options, spread if they ask for it. */
enum weir_status weir_replay_load(const struct weir_replay_options *o, struct weir_trace *ret,
                                  struct weir_err *err) WEIR_MUST_CHECK;
/* The router's part and the busy thresholds. */
void weir_replay_fill_router(const struct weir_replay_options *o, struct weir_replay_setup *setup);
/* All but the progress and what a way of routing says. */
struct weir_replay_setup weir_replay_setup_of(const struct weir_replay_options *o,
                                              const struct weir_trace *trace);

#endif
