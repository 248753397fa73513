/* Options of `weir indexer`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_INDEXER_H
#define WEIR_RUNTIME_OPTIONS_INDEXER_H

#include "runtime/config.h"

struct weir_indexer_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_indexer.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_indexer_program;

#endif
