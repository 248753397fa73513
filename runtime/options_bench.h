/* Options of `weir bench`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_BENCH_H
#define WEIR_RUNTIME_OPTIONS_BENCH_H

#include "runtime/config.h"

struct weir_bench_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_bench.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_bench_program;

#endif
