/* Table of `weir indexer`. */
#include "runtime/options_indexer.h"

#define OPTIONS_STRUCT struct weir_indexer_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_indexer.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

const struct weir_program weir_indexer_program = {
    .name = "indexer",
    .title = "KV index as a service: which worker holds how much of a prompt",
    .description =
        "Follows the KV events of engines that are registered with it and answers over HTTP which "
        "of them hold how many tokens of a prompt. The paths and bodies are those of Dynamo's "
        "indexer and Mooncake's Conductor.",
    .version_text = "weir indexer " WEIR_VERSION,
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_indexer_options),
};
