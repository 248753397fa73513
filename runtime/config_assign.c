/* One option of a loaded configuration set anew, for programs that try many values. */
#include "runtime/config_priv.h"

enum weir_status weir_config_assign(const struct weir_option *option, struct weir_span text,
                                    struct weir_arena *arena, void *config, struct weir_err *err) {
    void *member = (char *)config + option->offset;
    if (option->type == WEIR_OPT_LIST)
        return weir_err_set(err, WEIR_UNSUPPORTED, "%s is a list: it has no single value",
                            option->flag);
    if ((option->flags & (WEIR_OPT_REMOVED | WEIR_OPT_IGNORED)) != 0)
        return weir_err_set(err, WEIR_UNSUPPORTED, "%s has no effect here", option->flag);
    struct weir_err why;
    enum weir_status st = config_parse(option, text, arena, member, &why);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "%s %.*s: %s", option->flag, WEIR_SPAN_ARG(text), why.text);
    if ((option->flags & WEIR_OPT_UNSUPPORTED) != 0 && !config_is_default(option, member))
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "%s %.*s: known in Dynamo, not supported by this build of Weir",
                            option->flag, WEIR_SPAN_ARG(text));
    return WEIR_OK;
}
