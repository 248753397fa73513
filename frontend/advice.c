/* One line for all options of a kind: who sets the weights of a mode that is off set several. */
#include "frontend/advice.h"

#include "base/buf.h"
#include "base/log.h"
#include "router/router.h"
#include "tokenizer/wtok.h"

static bool is_set(const struct weir_frontend_options *o, const char *flag) {
    const struct weir_option *row = weir_config_find(&weir_frontend_program, flag);
    return row != NULL &&
           weir_config_source_of(&weir_frontend_program, o, row) != WEIR_CONFIG_FROM_DEFAULT;
}

static void warn_of(const struct weir_frontend_options *o, const char *const *flags, size_t n,
                    const char *wanted) {
    struct weir_buf names;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&names, 4096);
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        if (is_set(o, flags[i]))
            st = weir_buf_printf(&names, "%s%s", names.len > 0 ? ", " : "", flags[i]);
    if (st == WEIR_OK && names.len > 0)
        WEIR_LOG(WEIR_LOG_WARN, "router", "no effect without %s: %.*s", wanted, (int)names.len,
                 (const char *)names.data);
    weir_buf_fini(&names);
}

void weir_front_advise(const struct weir_frontend_options *o) {
    /* Only what the cost of kv mode reads: load counts in other modes too. */
    static const char *const kv[] = {"--router-selection-policy",
                                     "--router-kv-overlap-score-credit",
                                     "--router-kv-overlap-score-credit-decay",
                                     "--router-prefill-load-scale",
                                     "--router-decode-active-request-weight",
                                     "--router-host-cache-hit-weight",
                                     "--router-disk-cache-hit-weight",
                                     "--router-temperature"};
    static const char *const fleet[] = {"--router-recompute-weight", "--router-churn-weight",
                                        "--router-churn-half-life-secs",
                                        "--router-decode-block-weight"};
    if (o->router_mode != WEIR_OPT_ROUTER_MODE_KV)
        warn_of(o, kv, WEIR_ARRAY_LEN(kv), "--router-mode kv");
    if (o->router_mode != WEIR_OPT_ROUTER_MODE_KV ||
        (int)o->router_selection_policy != (int)WEIR_SELECT_FLEET)
        warn_of(o, fleet, WEIR_ARRAY_LEN(fleet),
                "--router-mode kv --router-selection-policy fleet");
    /* A worker's card may come minutes later, and only then would the missing file show. */
    if (o->model_path != NULL && o->tokenizer != WEIR_OPT_TOKENIZER_BYTES &&
        !wtok_is_there(o->model_path))
        WEIR_LOG(WEIR_LOG_WARN, "models",
                 "--model-path %s: there is neither a tokenizer.json nor a tiktoken file; a model "
                 "that needs it will not be served",
                 o->model_path);
}
