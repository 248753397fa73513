/* The command line as a source: --x value, --x=value, --x and --no-x, aliases, repeated lists. */
#include "runtime/config_priv.h"

struct match {
    const struct weir_option *option; /* NULL = unknown */
    bool negated, deprecated;
};

static bool alias_of(const struct weir_option *o, struct weir_span name, bool *ret_deprecated) {
    struct weir_span rest = weir_span_z(o->aliases), alias;
    while (config_next_name(&rest, &alias, ret_deprecated))
        if (weir_span_eq(alias, name))
            return true;
    *ret_deprecated = false;
    return false;
}

static bool find_exact(const struct weir_program *p, struct weir_span name, struct match *m) {
    for (size_t i = 0; i < p->n_options; i++) {
        const struct weir_option *o = &p->options[i];
        if (o->flag == NULL)
            continue;
        if (weir_span_eqz(name, o->flag) || alias_of(o, name, &m->deprecated)) {
            m->option = o;
            return true;
        }
    }
    return false;
}

/* `name` without "=value". */
static struct match find_flag(const struct weir_program *p, struct weir_span name) {
    struct match m = {NULL, false, false};
    if (find_exact(p, name, &m))
        return m;
    const struct weir_span no = WEIR_SPAN_LIT("--no-");
    char positive[128] = "--";
    if (!weir_span_starts(name, no) || name.len - no.len > sizeof(positive) - 3)
        return m;
    memcpy(positive + 2, name.data + no.len, name.len - no.len);
    if (find_exact(p, weir_span(positive, name.len - no.len + 2), &m)) {
        if (m.option->type == WEIR_OPT_BOOL)
            m.negated = true;
        else
            m = (struct match){NULL, false, false};
    }
    return m;
}

static void unknown_flag(struct config_load *load, struct weir_span name) {
    char nearest[128];
    if (config_nearest(load->program, CONFIG_NAME_FLAG, name, nearest, sizeof(nearest)))
        config_error(load, "unknown option %.*s; did you mean %s?", WEIR_SPAN_ARG(name), nearest);
    else
        config_error(load, "unknown option %.*s", WEIR_SPAN_ARG(name));
    load->usage_hint = true;
}

static void stray_word(struct config_load *load, const char *word) {
    config_error(load, "unexpected argument %s; options begin with --", word);
    load->usage_hint = true;
}

/* The name part of an argument; *ret_value.data is NULL without "=". */
static struct weir_span split_argument(const char *arg, struct weir_span *ret_value) {
    struct weir_span whole = weir_span_z(arg);
    *ret_value = weir_span(NULL, 0);
    if (whole.len > 2 && whole.data[1] == '-')
        return weir_span_split(whole, '=', ret_value);
    return whole;
}

/* "-1" may be a value, "--x" only behind "=". */
static bool may_be_value(const struct weir_program *p, const char *arg) {
    return strncmp(arg, "--", 2) != 0 && find_flag(p, weir_span_z(arg)).option == NULL;
}

/* Takes one option with its value; returns the number of arguments used. */
static int take_option(struct config_load *load, int argc, char **argv, int at) {
    struct weir_span value;
    struct weir_span name = split_argument(argv[at], &value);
    struct match m = find_flag(load->program, name);
    if (m.option == NULL) {
        unknown_flag(load, name);
        /* What follows is most likely its value: not one more error. */
        return value.data == NULL && at + 1 < argc && argv[at + 1][0] != '-' ? 2 : 1;
    }
    struct config_setting s = {.source = WEIR_CONFIG_FROM_FLAG,
                               .spelling = weir_arena_copy(load->arena, name).data,
                               .negated = m.negated,
                               .deprecated_name = m.deprecated,
                               .value = value};
    int used = 1;
    bool is_bool = m.option->type == WEIR_OPT_BOOL;
    if (m.negated && value.data != NULL) {
        config_error(load, "%s takes no value", s.spelling);
    } else if (!is_bool && value.data == NULL) {
        if (at + 1 >= argc || !may_be_value(load->program, argv[at + 1])) {
            config_error(load, "%s needs a value; write %s=VALUE or %s VALUE", s.spelling,
                         s.spelling, s.spelling);
            return 1;
        }
        s.value = weir_span_z(argv[at + 1]);
        used = 2;
    }
    config_set(load, m.option, &s);
    return used;
}

static bool is_word(const char *arg, const char *a, const char *b) {
    return strcmp(arg, a) == 0 || (b != NULL && strcmp(arg, b) == 0);
}

enum config_argv_result config_read_argv(struct config_load *load, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (is_word(argv[i], "--help", "-h"))
            return CONFIG_ARGV_HELP;
        if (is_word(argv[i], "--version", NULL))
            return CONFIG_ARGV_VERSION;
    }
    bool options_end = false;
    for (int i = 1; i < argc;) {
        bool is_end = strcmp(argv[i], "--") == 0;
        if (!options_end && !is_end && argv[i][0] == '-' && argv[i][1] != '\0') {
            i += take_option(load, argc, argv, i);
            continue;
        }
        if (options_end || !is_end)
            stray_word(load, argv[i]);
        options_end = options_end || is_end;
        i++;
    }
    return CONFIG_ARGV_VALUES;
}
