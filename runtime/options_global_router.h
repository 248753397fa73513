/* Options of `weir global-router`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_GLOBAL_ROUTER_H
#define WEIR_RUNTIME_OPTIONS_GLOBAL_ROUTER_H

#include "runtime/config.h"

struct weir_global_router_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_global_router.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_global_router_program;

#endif
