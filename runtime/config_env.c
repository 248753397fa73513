/* The environment as a source. An empty value counts as unset. */
#include "runtime/config_priv.h"

const char *config_env_get(char **environ_like, struct weir_span name) {
    for (char **e = environ_like; e != NULL && *e != NULL; e++) {
        const char *text = *e;
        if (strncmp(text, name.data, name.len) == 0 && text[name.len] == '=')
            return text[name.len + 1] != '\0' ? text + name.len + 1 : NULL;
    }
    return NULL;
}

/* Blank-separated items of a list variable, first to last. */
static void set_list(struct config_load *load, const struct weir_option *o,
                     const struct config_setting *whole) {
    struct weir_span rest = whole->value;
    while (rest.data != NULL) {
        struct config_setting item = *whole;
        item.value = weir_span_trim(weir_span_split(rest, ' ', &rest));
        if (item.value.len > 0)
            config_set(load, o, &item);
    }
}

static void read_option(struct config_load *load, const struct weir_option *o) {
    struct weir_span rest = weir_span_z(o->env), name;
    bool deprecated = false;
    while (config_next_name(&rest, &name, &deprecated)) {
        const char *text = config_env_get(load->environ_like, name);
        if (text == NULL)
            continue;
        struct config_setting s = {.source = WEIR_CONFIG_FROM_ENV,
                                   .spelling = weir_arena_copy(load->arena, name).data,
                                   .value = weir_span_z(text),
                                   .deprecated_name = deprecated};
        if (o->type == WEIR_OPT_LIST)
            set_list(load, o, &s);
        else
            config_set(load, o, &s);
        return;
    }
}

/* Weir's own variables are few and have one reader: an unknown one that looks like a known one is a
 * slip. Many of Dynamo's belong to other programs, so there only one letter's difference is. */
static void warn_misspelt(struct config_load *load) {
    char nearest[128];
    for (char **e = load->environ_like; e != NULL && *e != NULL; e++) {
        struct weir_span rest;
        struct weir_span name = weir_span_split(weir_span_z(*e), '=', &rest);
        bool own = weir_span_starts(name, WEIR_SPAN_LIT("WEIR_"));
        if (!own && !weir_span_starts(name, WEIR_SPAN_LIT("DYN_")))
            continue;
        if (config_nearest(load->program, CONFIG_NAME_ENV, name, nearest, sizeof(nearest)) &&
            !weir_span_eqz(name, nearest) &&
            (own || weir_config_distance(name, weir_span_z(nearest), 2) < 2))
            config_warn(load, "unknown variable %.*s; did you mean %s?", WEIR_SPAN_ARG(name),
                        nearest);
    }
}

void config_read_environ(struct config_load *load) {
    for (size_t i = 0; i < load->program->n_options; i++) {
        const struct weir_option *o = &load->program->options[i];
        if (o->env != NULL && !config_is_set(load, o))
            read_option(load, o);
    }
    warn_misspelt(load);
}
