/* Table of `weir global-router` and its rules across options. */
#include "runtime/options_global_router.h"

#include "runtime/options_frontend.h"
#include "runtime/options_service.h"

#define OPTIONS_STRUCT struct weir_global_router_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_global_router.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

static bool is_blank(const char *text) {
    return text == NULL || weir_span_trim(weir_span_z(text)).len == 0;
}

static enum weir_status check(const void *config, struct weir_err *err) {
    const struct weir_global_router_options *o = config;
    struct weir_service_rules rules = WEIR_SERVICE_RULES(o);
    if (o->check != NULL && o->build_grid != NULL)
        return weir_err_set(err, WEIR_INVALID, "--check and --build-grid: give one of them");
    if (o->check != NULL || o->build_grid != NULL)
        return WEIR_OK;
    if (is_blank(o->config))
        return weir_err_set(err, WEIR_INVALID,
                            "config_path must be set via --config or DYN_GLOBAL_ROUTER_CONFIG");
    if (is_blank(o->model_name))
        return weir_err_set(
            err, WEIR_INVALID,
            "model_name must be set via --model-name or DYN_GLOBAL_ROUTER_MODEL_NAME");
    return weir_service_rules_check(&rules, err);
}

const struct weir_program weir_global_router_program = {
    .name = "global-router",
    .title = "chooses a pool of workers by prompt size and latency target",
    .description =
        "Registers as the worker of a model and passes each request on to one of several pools, "
        "each behind a router of its own (<namespace>.router.generate). Grids over prompt size and "
        "the request's latency targets choose the pool; a pool that fails before its first item "
        "may be followed by faster ones.\n\n"
        "--build-grid FILE reads {\"size\": AXIS, \"latency\": AXIS, \"pools\": [{\"name\": text, "
        "\"cost\": number, \"curve\": [[size, ms], …]}, …]} where AXIS is {\"min\": number, "
        "\"max\": number, \"resolution\": count}. Curves have rising sizes; between two points a "
        "latency lies on the line between them, outside of all it is that of the nearest point. "
        "The answer is {\"mapping\": [[pool, …], …], \"pools\": [names]}: a row for each bucket of "
        "size, a column for each of latency; the cheapest pool whose latency in the middle of the "
        "size bucket stays within the upper edge of the latency bucket, else the fastest.",
    .version_text = "Dynamo Global Router 1.6.1 (weir " WEIR_VERSION ")",
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_global_router_options),
    .check = check,
};
