/* Table of `weir bench` and its rules across options. */
#include "runtime/options_bench.h"

#define OPTIONS_STRUCT struct weir_bench_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_bench.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

static enum weir_status check(const void *config, struct weir_err *err) {
    const struct weir_bench_options *o = config;
    if (o->trace != NULL && !isnan(o->rate))
        return weir_err_set(err, WEIR_INVALID,
                            "--trace brings its own arrival times: leave --rate out, or change "
                            "them by --trace-speedup");
    if (o->trace != NULL && o->turns > 1)
        return weir_err_set(err, WEIR_INVALID, "--trace brings whole prompts: leave --turns out");
    if (o->requests != WEIR_CONFIG_NONE && o->conversations != WEIR_CONFIG_NONE)
        return weir_err_set(err, WEIR_INVALID, "--requests and --conversations: give one of them");
    if ((o->prefix_groups > 0) != (o->prefix_len > 0))
        return weir_err_set(err, WEIR_INVALID,
                            "--prefix-groups and --prefix-len: give both or neither");
    if (o->insecure && o->tls_ca != NULL)
        return weir_err_set(err, WEIR_INVALID, "--insecure verifies nothing: leave --tls-ca out");
    return WEIR_OK;
}

const struct weir_program weir_bench_program = {
    .name = "bench",
    .title = "open-loop and closed-loop load generator for OpenAI servers",
    .description = "Sends chat or completion requests at a given rate or concurrency, or replays a "
                   "trace, and reports percentiles of the time to the first token, the time "
                   "between tokens and the whole request.",
    .version_text = "weir bench " WEIR_VERSION,
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_bench_options),
    .check = check,
};
