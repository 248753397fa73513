/* Table of `weir parse`. */
#include "runtime/options_parse.h"

#define OPTIONS_STRUCT struct weir_parse_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_parse.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

const struct weir_program weir_parse_program = {
    .name = "parse",
    .title = "tool-call and reasoning parsers on texts from stdin",
    .description = "Reads cases as JSON lines (parser, reasoning_parser, template, request, tools, "
                   "tool_choice, chunks, finish) and prints for each what a client would get, "
                   "{\"unary\": …, \"stream\": […]}, one line a case.",
    .version_text = "weir parse " WEIR_VERSION,
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_parse_options),
};
