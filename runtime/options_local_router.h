/* Options of `weir router`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_LOCAL_ROUTER_H
#define WEIR_RUNTIME_OPTIONS_LOCAL_ROUTER_H

#include "runtime/config.h"

struct weir_local_router_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_local_router.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_local_router_program;

#endif
