/* Table of `weir render`. */
#include "runtime/options_render.h"

#define OPTIONS_STRUCT struct weir_render_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_render.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

static enum weir_status check(const void *config, struct weir_err *err) {
    const struct weir_render_options *o = config;
    if (o->model_path == NULL && o->template == NULL)
        return weir_err_set(err, WEIR_INVALID, "give --model-path or --template");
    return WEIR_OK;
}

const struct weir_program weir_render_program = {
    .name = "render",
    .title = "prompts of chat requests by a model's chat template",
    .description = "Reads a chat request (messages, tools, documents, chat_template_kwargs, "
                   "add_generation_prompt, continue_final_message, reasoning_effort) as JSON from "
                   "stdin and prints the prompt that the engine's model would read.",
    .version_text = "weir render " WEIR_VERSION,
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_render_options),
    .check = check,
};
