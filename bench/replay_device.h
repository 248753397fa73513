/* The back end that --device names. */
#ifndef WEIR_BENCH_REPLAY_DEVICE_H
#define WEIR_BENCH_REPLAY_DEVICE_H

#include "cuda/kvc.h"
#include "runtime/options_replay.h"

/* Without a usable device a warning goes to the log and the CPU takes its place. */
enum weir_status weir_replay_device_open(const struct weir_replay_options *options,
                                         struct kvc **ret, struct weir_err *err) WEIR_MUST_CHECK;

#endif
