/* Memory or the end, and the clock. */
#ifndef WEIR_BENCH_CUDA_COMMON_H
#define WEIR_BENCH_CUDA_COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void *must(void *p) {
    if (p == NULL) {
        fprintf(stderr, "bench/cuda: out of memory\n");
        exit(1);
    }
    return p;
}

static inline double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
