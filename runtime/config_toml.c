/*
 * runtime.toml as a source: etc/ wins over defaults/, both lose to the environment. Top-level keys
 * are those of the reference system (shared spec "transport" 6.1); a table named like the program
 * holds any of its options, which is Weir's addition. Missing files are fine.
 */
#include "runtime/config_priv.h"
#include "runtime/toml.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAX_FILE_BYTES = 1 << 20 };

static const char *const program_tables[] = {"frontend", "mocker", "bench"};

struct toml_file {
    struct config_load *load;
    const char *path;
    enum weir_config_source source;
};

/* The text that the option's parser reads; data NULL when the type fits no option. */
static struct weir_span text_of(const struct weir_toml *v, struct weir_arena *arena) {
    char text[64];
    int n = 0;
    switch (v->type) {
    case WEIR_TOML_STRING:
        return v->text;
    case WEIR_TOML_INTEGER:
        n = snprintf(text, sizeof(text), "%" PRId64, v->integer);
        break;
    case WEIR_TOML_FLOAT:
        n = snprintf(text, sizeof(text), "%.17g", v->number);
        break;
    case WEIR_TOML_BOOL:
        n = snprintf(text, sizeof(text), "%s", v->boolean ? "true" : "false");
        break;
    default:
        return weir_span(NULL, 0);
    }
    return weir_arena_copy(arena, weir_span(text, (size_t)n));
}

static void set_one(const struct toml_file *f, const struct weir_option *o, const char *spelling,
                    const struct weir_toml *v) {
    struct config_setting s = {.source = f->source,
                               .place = f->path,
                               .spelling = spelling,
                               .value = text_of(v, f->load->arena)};
    if (s.value.data != NULL)
        config_set(f->load, o, &s);
    else
        config_error(f->load, "%s:%u: %s: a %s does not fit", f->path, v->line, spelling,
                     weir_toml_type_name(v->type));
}

static void set_value(const struct toml_file *f, const struct weir_option *o, const char *spelling,
                      const struct weir_toml *v) {
    if (config_is_set(f->load, o))
        return;
    if (o->type != WEIR_OPT_LIST || v->type != WEIR_TOML_ARRAY) {
        set_one(f, o, spelling, v);
        return;
    }
    for (const struct weir_toml *item = v->first; item != NULL; item = item->next)
        set_one(f, o, spelling, item);
}

static const struct weir_option *by_toml_key(const struct weir_program *p, struct weir_span key) {
    for (size_t i = 0; i < p->n_options; i++)
        if (p->options[i].toml_key != NULL && weir_span_eqz(key, p->options[i].toml_key))
            return &p->options[i];
    return NULL;
}

static const struct weir_option *by_name(const struct weir_program *p, struct weir_span key) {
    for (size_t i = 0; i < p->n_options; i++)
        if (weir_span_eqz(key, p->options[i].name))
            return &p->options[i];
    return NULL;
}

static void read_program_table(const struct toml_file *f, const struct weir_toml *table) {
    char nearest[128];
    const struct weir_program *p = f->load->program;
    for (const struct weir_toml *v = table->first; v != NULL; v = v->next) {
        const struct weir_option *o = by_name(p, v->key);
        if (o != NULL)
            set_value(f, o, o->name, v);
        else if (config_nearest(p, CONFIG_NAME_MEMBER, v->key, nearest, sizeof(nearest)))
            config_error(f->load, "%s:%u: unknown key %.*s in [%s]; did you mean %s?", f->path,
                         v->line, WEIR_SPAN_ARG(v->key), p->name, nearest);
        else
            config_error(f->load, "%s:%u: unknown key %.*s in [%s]", f->path, v->line,
                         WEIR_SPAN_ARG(v->key), p->name);
    }
}

static bool is_program_table(struct weir_span key) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(program_tables); i++)
        if (weir_span_eqz(key, program_tables[i]))
            return true;
    return false;
}

/* The reference system skips keys that it does not know; so do we, but not without a word. */
static void read_root(const struct toml_file *f, const struct weir_toml *root) {
    for (const struct weir_toml *v = root->first; v != NULL; v = v->next) {
        const struct weir_option *o = by_toml_key(f->load->program, v->key);
        if (o != NULL)
            set_value(f, o, o->toml_key, v);
        else if (weir_span_eqz(v->key, f->load->program->name) && v->type == WEIR_TOML_TABLE)
            read_program_table(f, v);
        else if (!is_program_table(v->key))
            config_warn(f->load, "%s:%u: unknown key %.*s has no effect", f->path, v->line,
                        WEIR_SPAN_ARG(v->key));
    }
}

static void read_file(struct config_load *load, const char *root, const char *name,
                      enum weir_config_source source) {
    char path[4096];
    struct weir_err err;
    const struct weir_toml *doc = NULL;
    int n = snprintf(path, sizeof(path), "%s%s", root, name);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        config_error(load, "WEIR_CONFIG_ROOT is too long");
        return;
    }
    struct toml_file f = {load, weir_arena_copy(load->arena, weir_span_z(path)).data, source};
    enum weir_status st = WEIR_NOMEM;
    if (f.path != NULL)
        st = weir_toml_read(path, MAX_FILE_BYTES, load->arena, &doc, &err);
    else
        load->out_of_memory = true;
    if (st == WEIR_OK)
        read_root(&f, doc);
    else if (f.path != NULL && st != WEIR_NOT_FOUND)
        config_error(load, "%s", err.text);
}

void config_read_toml(struct config_load *load) {
    const char *root = config_env_get(load->environ_like, WEIR_SPAN_LIT("WEIR_CONFIG_ROOT"));
    if (root == NULL)
        root = "";
    read_file(load, root, "/opt/dynamo/etc/runtime.toml", WEIR_CONFIG_FROM_ETC_TOML);
    read_file(load, root, "/opt/dynamo/defaults/runtime.toml", WEIR_CONFIG_FROM_DEFAULTS_TOML);
}
