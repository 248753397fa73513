/* Options of `weir parse`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_PARSE_H
#define WEIR_RUNTIME_OPTIONS_PARSE_H

#include "runtime/config.h"

struct weir_parse_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_parse.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_parse_program;

#endif
