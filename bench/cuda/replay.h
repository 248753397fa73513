#ifndef WEIR_BENCH_CUDA_REPLAY_H
#define WEIR_BENCH_CUDA_REPLAY_H

#include "cuda/kvc_replay.h"

/* One line: simulated decisions a second of the device and of all cores, and whether they agree. */
void weir_bench_cuda_replay(struct kvc *k, const char *kind, double scale);

#endif
