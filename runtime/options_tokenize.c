/* Table of `weir tokenize`. */
#include "runtime/options_tokenize.h"

#define OPTIONS_STRUCT struct weir_tokenize_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_tokenize.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

const struct weir_program weir_tokenize_program = {
    .name = "tokenize",
    .title = "text from stdin to token ids, and back",
    .description =
        "Reads a text per line (a JSON string, or raw) and prints a JSON array of token ids "
        "per line, exactly as the model's own tokenizer gives them; with --decode the "
        "other way.",
    .version_text = "weir tokenize " WEIR_VERSION,
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_tokenize_options),
};
