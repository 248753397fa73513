/*
 * Loading a program's configuration. Happy path: sources from the strongest to the weakest record
 * what they set → each option takes its winner or its default → rules across options → presets.
 * Every problem is reported, not only the first; then the outcome is EXIT_USAGE.
 */
#include "base/utf8.h"
#include "runtime/config_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

extern char **environ;

enum { SHOWN_VALUE_BYTES = 120 };

static void report(struct config_load *load, const char *kind, const char *fmt, va_list args) {
    char text[1024];
    vsnprintf(text, sizeof(text), fmt, args);
    /* Values of others end up here: no control bytes to a terminal. */
    for (char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    fprintf(stderr, "weir %s: %s: %s\n", load->program->name, kind, text);
}

void config_error(struct config_load *load, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    report(load, "error", fmt, args);
    va_end(args);
    load->errors++;
}

void config_warn(struct config_load *load, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    report(load, "warning", fmt, args);
    va_end(args);
}

static size_t index_of(const struct config_load *load, const struct weir_option *option) {
    return (size_t)(option - load->program->options);
}

bool config_is_set(const struct config_load *load, const struct weir_option *option) {
    return load->settings[index_of(load, option)] != NULL;
}

void config_set(struct config_load *load, const struct weir_option *option,
                const struct config_setting *setting) {
    struct config_setting **slot = &load->settings[index_of(load, option)];
    if (*slot != NULL && (*slot)->source != setting->source)
        return;
    struct config_setting *s = weir_arena_alloc(load->arena, sizeof(*s));
    if (s == NULL || setting->spelling == NULL) {
        load->out_of_memory = true;
        return;
    }
    *s = *setting;
    s->prev = option->type == WEIR_OPT_LIST ? *slot : NULL;
    *slot = s;
}

/* What a person wrote, for messages: "--http-port 70000", "DYN_X=1", "FILE: key = 1". */
static const char *describe(const struct weir_option *o, const struct config_setting *s, char *out,
                            size_t room) {
    struct weir_span v = (o->flags & WEIR_OPT_SECRET) != 0 ? WEIR_SPAN_LIT("<REDACTED>") : s->value;
    const char *dots = v.len > SHOWN_VALUE_BYTES ? "…" : "";
    v = weir_utf8_cut(v, SHOWN_VALUE_BYTES);
    if (s->value.data == NULL)
        snprintf(out, room, "%s", s->spelling);
    else if (s->source == WEIR_CONFIG_FROM_FLAG)
        snprintf(out, room, "%s %.*s%s", s->spelling, WEIR_SPAN_ARG(v), dots);
    else if (s->source == WEIR_CONFIG_FROM_ENV)
        snprintf(out, room, "%s=%.*s%s", s->spelling, WEIR_SPAN_ARG(v), dots);
    else
        snprintf(out, room, "%s: %s = %.*s%s", s->place, s->spelling, WEIR_SPAN_ARG(v), dots);
    return out;
}

static bool apply_list(struct config_load *load, const struct config_setting *last,
                       struct weir_config_list *list) {
    size_t n = 0;
    for (const struct config_setting *s = last; s != NULL; s = s->prev)
        n++;
    list->items = weir_arena_zalloc(load->arena, n * sizeof(*list->items));
    list->n = list->items != NULL ? n : 0;
    for (const struct config_setting *s = last; s != NULL && list->items != NULL; s = s->prev) {
        list->items[--n] = weir_arena_copy(load->arena, s->value).data;
        if (list->items[n] == NULL)
            list->items = NULL;
    }
    if (list->items == NULL)
        list->n = 0;
    return list->items != NULL;
}

/* A flag without a value is a boolean: --x or --no-x. */
static enum weir_status apply_value(struct config_load *load, const struct weir_option *o,
                                    const struct config_setting *s, void *member,
                                    struct weir_err *err) {
    if (o->type == WEIR_OPT_LIST)
        return apply_list(load, s, member) ? WEIR_OK
                                           : weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (s->value.data == NULL) {
        *(bool *)member = !s->negated;
        return WEIR_OK;
    }
    return config_parse(o, s->value, load->arena, member, err);
}

static const char *better_name(const struct weir_option *o, const struct config_setting *s) {
    return s->source == WEIR_CONFIG_FROM_FLAG ? o->flag : o->env;
}

/* Length of the first name of a space-separated list. */
static int first_len(const char *names) {
    return (int)strcspn(names, " ");
}

static void warn_about(struct config_load *load, const struct weir_option *o,
                       const struct config_setting *s, const void *member) {
    char text[512];
    if (s->deprecated_name) {
        const char *names = better_name(o, s);
        config_warn(load, "%s is a deprecated name of %.*s", s->spelling, first_len(names), names);
    }
    if ((o->flags & WEIR_OPT_REMOVED) != 0) {
        config_warn(load, "%s has been removed and has no effect. %s", s->spelling, o->help);
        return;
    }
    bool is_default = config_is_default(o, member);
    describe(o, s, text, sizeof(text));
    if ((o->flags & WEIR_OPT_UNSUPPORTED) != 0 && !is_default) {
        config_error(load, "%s: known in Dynamo, not supported by this build of Weir; leave it out",
                     text);
        return;
    }
    if ((o->flags & WEIR_OPT_IGNORED) != 0) {
        if (!is_default || (o->flags & WEIR_OPT_DEPRECATED) != 0)
            config_warn(load, "%s has no effect here. %s", s->spelling, o->help);
    } else if ((o->flags & WEIR_OPT_DEPRECATED) != 0) {
        config_warn(load, "%s is deprecated in Dynamo; Weir still honours it", s->spelling);
    }
}

static void apply_setting(struct config_load *load, const struct weir_option *o,
                          const struct config_setting *s, void *member) {
    struct weir_err err;
    char text[512];
    if (apply_value(load, o, s, member, &err) == WEIR_OK) {
        load->sources[index_of(load, o)] = (unsigned char)s->source;
        warn_about(load, o, s, member);
    } else if ((o->flags & (WEIR_OPT_LENIENT | WEIR_OPT_REMOVED | WEIR_OPT_IGNORED)) != 0) {
        bool effect = (o->flags & WEIR_OPT_LENIENT) != 0;
        config_warn(load, "%s: %s; %s", describe(o, s, text, sizeof(text)), err.text,
                    effect ? "the default stays" : "it has no effect anyway");
    } else {
        config_error(load, "%s: %s", describe(o, s, text, sizeof(text)), err.text);
    }
}

static void apply_all(struct config_load *load) {
    for (size_t i = 0; i < load->program->n_options; i++) {
        const struct weir_option *o = &load->program->options[i];
        void *member = load->config + o->offset;
        if (config_parse_default(o, load->arena, member) != WEIR_OK)
            load->out_of_memory = true;
        else if (load->settings[i] != NULL)
            apply_setting(load, o, load->settings[i], member);
    }
}

static void check_all(struct config_load *load) {
    struct weir_err err;
    const struct weir_program *p = load->program;
    if (load->out_of_memory)
        config_error(load, "out of memory while reading the configuration");
    if (load->errors == 0 && p->check != NULL && p->check(load->config, &err) != WEIR_OK)
        config_error(load, "%s", err.text);
    if (load->errors == 0 && p->resolve != NULL)
        p->resolve(load->config);
}

static bool prepare(struct config_load *load, int argc, char **argv) {
    size_t n = load->program->n_options;
    struct weir_config_meta *meta = weir_arena_zalloc(load->arena, sizeof(*meta));
    load->settings = weir_arena_zalloc(load->arena, n * sizeof(*load->settings) + 1);
    load->sources = weir_arena_zalloc(load->arena, n + 1);
    if (meta == NULL || load->settings == NULL || load->sources == NULL)
        return false;
    memset(load->config, 0, load->program->struct_bytes);
    *meta = (struct weir_config_meta){load->sources, load->environ_like, argc, argv};
    memcpy(load->config, &meta, sizeof(meta));
    return true;
}

static unsigned terminal_columns(void) {
    struct winsize w;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40)
        return w.ws_col < 120 ? w.ws_col : 120;
    return 80;
}

/* Whole or with a word about it: a full disk must not look like an empty help. */
static enum weir_config_outcome print_text(const char *text, size_t len) {
    if (fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0)
        return WEIR_CONFIG_EXIT_OK;
    fprintf(stderr, "weir: cannot write to standard output: %s\n", strerror(errno));
    return WEIR_CONFIG_EXIT_USAGE;
}

static enum weir_config_outcome print_help(const struct weir_program *program) {
    struct weir_buf text;
    weir_buf_init(&text, (size_t)1 << 20);
    enum weir_status st = weir_config_help(program, terminal_columns(), &text);
    enum weir_config_outcome outcome =
        st == WEIR_OK ? print_text(text.data, text.len) : WEIR_CONFIG_EXIT_USAGE;
    weir_buf_fini(&text);
    return outcome;
}

enum weir_config_outcome weir_config_load(const struct weir_program *program, int argc, char **argv,
                                          char **environ_like, struct weir_arena *arena,
                                          void *config) {
    struct config_load load = {.program = program,
                               .arena = arena,
                               .environ_like = environ_like != NULL ? environ_like : environ,
                               .config = config};
    if (!prepare(&load, argc, argv)) {
        config_error(&load, "out of memory while reading the configuration");
        return WEIR_CONFIG_EXIT_USAGE;
    }
    switch (config_read_argv(&load, argc, argv)) {
    case CONFIG_ARGV_HELP:
        return print_help(program);
    case CONFIG_ARGV_VERSION:
        return puts(program->version_text) >= 0 ? print_text("", 0) : WEIR_CONFIG_EXIT_USAGE;
    case CONFIG_ARGV_VALUES:
        break;
    }
    config_read_environ(&load);
    config_read_toml(&load);
    apply_all(&load);
    check_all(&load);
    if (load.usage_hint)
        fprintf(stderr, "Try 'weir %s --help'.\n", program->name);
    return load.errors == 0 ? WEIR_CONFIG_RUN : WEIR_CONFIG_EXIT_USAGE;
}

static bool names_option(const struct weir_option *o, struct weir_span name) {
    const char *const lists[] = {o->flag, o->aliases, o->env, o->name};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(lists); i++) {
        struct weir_span rest = weir_span_z(lists[i]), word;
        bool deprecated = false;
        while (config_next_name(&rest, &word, &deprecated))
            if (weir_span_eq(word, name))
                return true;
    }
    return false;
}

const struct weir_option *weir_config_find(const struct weir_program *program, const char *name) {
    for (size_t i = 0; i < program->n_options; i++)
        if (names_option(&program->options[i], weir_span_z(name)))
            return &program->options[i];
    return NULL;
}

enum weir_config_source weir_config_source_of(const struct weir_program *program,
                                              const void *config,
                                              const struct weir_option *option) {
    const struct weir_config_meta *meta = NULL;
    memcpy(&meta, config, sizeof(meta));
    return meta != NULL ? (enum weir_config_source)meta->sources[option - program->options]
                        : WEIR_CONFIG_FROM_DEFAULT;
}
