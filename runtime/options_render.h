/* Options of `weir render`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_RENDER_H
#define WEIR_RUNTIME_OPTIONS_RENDER_H

#include "runtime/config.h"

struct weir_render_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_render.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_render_program;

#endif
