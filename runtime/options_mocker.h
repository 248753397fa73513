/* Options of `weir mocker`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_MOCKER_H
#define WEIR_RUNTIME_OPTIONS_MOCKER_H

#include "runtime/config.h"

enum weir_opt_mocker_tokenizer {
    WEIR_OPT_MOCKER_TOKENIZER_UNSET = -1,
    WEIR_OPT_MOCKER_TOKENIZER_BYTES,
    WEIR_OPT_MOCKER_TOKENIZER_MODEL,
};

enum weir_opt_mocker_engine {
    WEIR_OPT_MOCKER_ENGINE_UNSET = -1,
    WEIR_OPT_MOCKER_ENGINE_VLLM,
    WEIR_OPT_MOCKER_ENGINE_SGLANG,
};
enum weir_opt_mocker_form { WEIR_OPT_MOCKER_FORM_MAP, WEIR_OPT_MOCKER_FORM_ARRAY };

enum weir_opt_mocker_part {
    WEIR_OPT_MOCKER_PART_UNSET = -1,
    WEIR_OPT_MOCKER_AGG,
    WEIR_OPT_MOCKER_PREFILL,
    WEIR_OPT_MOCKER_DECODE,
};

struct weir_mocker_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_mocker.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_mocker_program;

#endif
