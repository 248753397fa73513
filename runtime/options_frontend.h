/* Options of `weir frontend`; contract in runtime/config.h. */
#ifndef WEIR_RUNTIME_OPTIONS_FRONTEND_H
#define WEIR_RUNTIME_OPTIONS_FRONTEND_H

#include "runtime/config.h"
#include "runtime/options_service.h"

/* Indices of choices, in the order of the rows. */
enum weir_opt_error_format {
    WEIR_OPT_ERROR_FORMAT_DYNAMO,
    WEIR_OPT_ERROR_FORMAT_OPENAI,
    WEIR_OPT_ERROR_FORMAT_BOTH,
};
enum weir_opt_tokenizer {
    WEIR_OPT_TOKENIZER_DEFAULT,
    WEIR_OPT_TOKENIZER_FASTOKENS,
    WEIR_OPT_TOKENIZER_BASETENKENIZER,
    WEIR_OPT_TOKENIZER_BYTES,
};
enum weir_opt_reasoning_field {
    WEIR_OPT_REASONING_FIELD_REASONING_CONTENT,
    WEIR_OPT_REASONING_FIELD_REASONING,
};
enum weir_opt_deltas {
    WEIR_OPT_DELTAS_PIECES,
    WEIR_OPT_DELTAS_CHECKED,
    WEIR_OPT_DELTAS_WHOLE,
};
enum weir_opt_affinity { WEIR_OPT_AFFINITY_HARD, WEIR_OPT_AFFINITY_SOFT };
enum weir_opt_codec {
    WEIR_OPT_CODEC_UNSET = -1,
    WEIR_OPT_CODEC_JSON,
    WEIR_OPT_CODEC_MSGPACK,
};
/* Same order as enum weir_parity_mode. */
enum weir_opt_parity_check {
    WEIR_OPT_PARITY_CHECK_ON,
    WEIR_OPT_PARITY_CHECK_REPORT,
    WEIR_OPT_PARITY_CHECK_OFF,
};
/* Same order as enum weir_router_mode. */
enum weir_opt_router_mode {
    WEIR_OPT_ROUTER_MODE_ROUND_ROBIN,
    WEIR_OPT_ROUTER_MODE_RANDOM,
    WEIR_OPT_ROUTER_MODE_POWER_OF_TWO,
    WEIR_OPT_ROUTER_MODE_KV,
    WEIR_OPT_ROUTER_MODE_DIRECT,
    WEIR_OPT_ROUTER_MODE_LEAST_LOADED,
    WEIR_OPT_ROUTER_MODE_DEVICE_AWARE_WEIGHTED,
};

struct weir_frontend_options {
    struct weir_config_meta *meta;
/* clang-format off */
#include "runtime/options_struct_begin.def"
#include "runtime/options_frontend.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

extern const struct weir_program weir_frontend_program;

#endif
