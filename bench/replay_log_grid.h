/* `weir replay --decisions --grid`: a decision log made again with many configurations, on the CPU
 * or a GPU, each in the states that were recorded. */
#ifndef WEIR_BENCH_REPLAY_LOG_GRID_H
#define WEIR_BENCH_REPLAY_LOG_GRID_H

#include "base/buf.h"
#include "bench/grid.h"
#include "bench/replay_log.h"
#include "runtime/options_replay.h"

/* Writes table and JSON of all configurations into the two buffers (NULL: not wanted), those first
 * that would have hit most blocks. */
enum weir_status weir_replay_log_grid(const struct weir_replay_options *options,
                                      struct weir_span log_text, struct weir_arena *arena,
                                      struct weir_buf *ret_table, struct weir_buf *ret_json,
                                      struct weir_err *err) WEIR_MUST_CHECK;

#endif
