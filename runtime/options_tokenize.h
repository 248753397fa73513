/* Options of `weir tokenize`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_TOKENIZE_H
#define WEIR_RUNTIME_OPTIONS_TOKENIZE_H

#include "runtime/config.h"

struct weir_tokenize_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_tokenize.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_tokenize_program;

#endif
