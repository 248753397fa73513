/* Table of `weir router`, its rules across options and its presets. */
#include "runtime/options_local_router.h"

#include "base/utf8.h"
#include "runtime/options_frontend.h"
#include "runtime/options_router_rules.h"
#include "runtime/options_service.h"

#define OPTIONS_STRUCT struct weir_local_router_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_local_router.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

static bool is_endpoint(const char *text) {
    struct weir_span rest = weir_span_z(text);
    for (unsigned i = 0; i < 3; i++)
        if (weir_span_split(rest, '.', &rest).len == 0)
            return false;
    return rest.data == NULL;
}

static enum weir_status check(const void *config, struct weir_err *err) {
    const struct weir_local_router_options *o = config;
    struct weir_service_rules rules = WEIR_SERVICE_RULES(o);
    if (o->endpoint == NULL || !is_endpoint(o->endpoint))
        return weir_err_set(
            err, WEIR_INVALID,
            "Invalid endpoint format: '%.*s'. Expected format: "
            "namespace.component.endpoint (--endpoint or DYN_ROUTER_ENDPOINT)",
            WEIR_SPAN_ARG(weir_utf8_cut_z(o->endpoint != NULL ? o->endpoint : "", 100)));
    if (WEIR_ROUTER_RULES_FAULT(o) != NULL)
        return weir_err_set(err, WEIR_INVALID, "%s", WEIR_ROUTER_RULES_FAULT(o));
    return weir_service_rules_check(&rules, err);
}

/* Presets and legacy names, as of the frontend. */
static void resolve(void *config) {
    struct weir_local_router_options *o = config;
    WEIR_ROUTER_RULES_RESOLVE(o);
}

const struct weir_program weir_local_router_program = {
    .name = "router",
    .title = "stand-alone KV-cache-aware router for one endpoint of workers",
    .description =
        "Serves <namespace>.router.generate: chooses the worker whose KV cache holds most of the "
        "prompt and passes the request on; best_worker_id and get_overlap_scores answer without "
        "routing. Several routers of one endpoint may run side by side; each learns the caches "
        "from the workers' events.",
    .version_text = "Dynamo Router 1.6.1 (weir " WEIR_VERSION ")",
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_local_router_options),
    .check = check,
    .resolve = resolve,
};
