#include "bench/grid.h"

#include "bench/put.h"

#include <stdio.h>
#include <string.h>

static size_t member_bytes(const struct weir_option *o) {
    switch (o->type) {
    case WEIR_OPT_BOOL:
        return sizeof(bool);
    case WEIR_OPT_INT:
        return sizeof(int64_t);
    case WEIR_OPT_FLOAT:
        return sizeof(double);
    case WEIR_OPT_STR:
        return sizeof(const char *);
    case WEIR_OPT_CHOICE:
        return sizeof(int);
    case WEIR_OPT_LIST:
        break;
    }
    return 0;
}

static size_t count_of(struct weir_span list) {
    size_t n = 0;
    while (list.data != NULL) {
        weir_span_split(list, ',', &list);
        n++;
    }
    return n;
}

/* from:to:count; false: not such a text. */
static bool read_range(struct weir_span text, double *ret_from, double *ret_to, int64_t *ret_n) {
    struct weir_span rest;
    struct weir_span from = weir_span_split(text, ':', &rest);
    if (rest.data == NULL)
        return false;
    struct weir_span to = weir_span_split(rest, ':', &rest);
    return rest.data != NULL && weir_span_f64(from, ret_from) && weir_span_f64(to, ret_to) &&
           weir_span_i64(rest, ret_n);
}

static enum weir_status add_value(struct weir_grid *g, struct weir_grid_axis *a,
                                  struct weir_span text, struct weir_arena *arena, char *scratch,
                                  struct weir_err *err) {
    size_t bytes = member_bytes(a->option);
    for (size_t i = 0; i < a->n; i++)
        if (weir_span_eqz(text, a->texts[i]))
            return weir_err_set(err, WEIR_INVALID, "--grid: %s has the value %.*s twice", a->name,
                                WEIR_SPAN_ARG(text));
    memcpy(scratch, g->base, g->program->struct_bytes);
    enum weir_status st = weir_config_assign(a->option, text, arena, scratch, err);
    if (st != WEIR_OK)
        return st;
    memcpy((char *)a->values + a->n * bytes, scratch + a->option->offset, bytes);
    a->texts[a->n] = weir_arena_copy(arena, text).data;
    return a->texts[a->n++] != NULL ? WEIR_OK
                                    : weir_err_set(err, WEIR_NOMEM, "--grid: out of memory");
}

static enum weir_status add_range(struct weir_grid *g, struct weir_grid_axis *a, double from,
                                  double to, int64_t n, struct weir_arena *arena, char *scratch,
                                  struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    for (int64_t i = 0; i < n && st == WEIR_OK; i++) {
        char text[40];
        int len =
            snprintf(text, sizeof(text), "%.12g", from + (to - from) * (double)i / (double)(n - 1));
        st = add_value(g, a, weir_span(text, (size_t)len), arena, scratch, err);
    }
    return st;
}

enum weir_status weir_grid_add(struct weir_grid *g, const struct weir_option *option,
                               struct weir_span values, struct weir_arena *arena,
                               struct weir_err *err) {
    double from = 0, to = 0;
    int64_t n = 0;
    bool number = option->type == WEIR_OPT_INT || option->type == WEIR_OPT_FLOAT;
    bool is_range = number && read_range(values, &from, &to, &n);
    if (g->n_axes == WEIR_GRID_AXES)
        return weir_err_set(err, WEIR_LIMIT, "--grid: more than %d names", WEIR_GRID_AXES);
    struct weir_grid_axis *a = &g->axes[g->n_axes];
    *a = (struct weir_grid_axis){.option = option, .name = option->flag + 2};
    if (is_range && n < 2)
        return weir_err_set(err, WEIR_INVALID, "--grid: %s: a range has at least 2 values",
                            a->name);
    if (!is_range)
        n = (int64_t)count_of(values);
    if (n > WEIR_GRID_VALUES)
        return weir_err_set(err, WEIR_LIMIT, "--grid: %s has more than %d values", a->name,
                            WEIR_GRID_VALUES);
    a->texts = weir_arena_zalloc(arena, (size_t)n * sizeof(*a->texts));
    a->values = weir_arena_zalloc(arena, (size_t)n * member_bytes(option) + 1);
    char *scratch = weir_arena_zalloc(arena, g->program->struct_bytes);
    if (a->texts == NULL || a->values == NULL || scratch == NULL)
        return weir_err_set(err, WEIR_NOMEM, "--grid: out of memory");
    enum weir_status st = is_range ? add_range(g, a, from, to, n, arena, scratch, err) : WEIR_OK;
    for (struct weir_span rest = values; !is_range && rest.data != NULL && st == WEIR_OK;)
        st =
            add_value(g, a, weir_span_trim(weir_span_split(rest, ',', &rest)), arena, scratch, err);
    if (st != WEIR_OK)
        return st;
    g->n_axes++;
    g->n_configs *= a->n;
    if (g->n_configs > WEIR_GRID_CONFIGS)
        return weir_err_set(err, WEIR_LIMIT, "--grid: more than %d configurations",
                            WEIR_GRID_CONFIGS);
    return WEIR_OK;
}

static enum weir_status add_word(struct weir_grid *g, struct weir_span word,
                                 const char *(*refuses)(const struct weir_option *option),
                                 struct weir_arena *arena, struct weir_err *err) {
    char flag[128];
    struct weir_span values;
    struct weir_span name = weir_span_split(word, '=', &values);
    if (weir_span_starts(name, WEIR_SPAN_LIT("--")))
        name = weir_span(name.data + 2, name.len - 2);
    if (name.len == 0 || values.data == NULL || values.len == 0)
        return weir_err_set(err, WEIR_INVALID, "--grid: '%.*s' is not name=value,value",
                            WEIR_SPAN_ARG(word));
    snprintf(flag, sizeof(flag), "--%.*s", (int)(name.len < 120 ? name.len : 120), name.data);
    const struct weir_option *o = weir_config_find(g->program, flag);
    if (o == NULL || o->flag == NULL)
        return weir_err_set(err, WEIR_INVALID,
                            "--grid: '%.*s' is no option of weir %s (see weir %s --help)",
                            WEIR_SPAN_ARG(name), g->program->name, g->program->name);
    const char *why = refuses(o);
    if (why != NULL)
        return weir_err_set(err, WEIR_INVALID, "--grid: %s %s", o->flag + 2, why);
    for (size_t i = 0; i < g->n_axes; i++)
        if (g->axes[i].option == o)
            return weir_err_set(err, WEIR_INVALID, "--grid: %s stands there twice", o->flag + 2);
    if (weir_config_source_of(g->program, g->base, o) == WEIR_CONFIG_FROM_FLAG)
        return weir_err_set(err, WEIR_INVALID, "--grid: %s is also given as a flag: leave one out",
                            o->flag + 2);
    return weir_grid_add(g, o, values, arena, err);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

enum weir_status weir_grid_parse(struct weir_span text, const struct weir_program *program,
                                 const void *base,
                                 const char *(*refuses)(const struct weir_option *option),
                                 struct weir_arena *arena, struct weir_grid *ret,
                                 struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    *ret = (struct weir_grid){.program = program, .base = base, .n_configs = 1};
    for (struct weir_span rest = text; rest.data != NULL && st == WEIR_OK;) {
        struct weir_span line = weir_span_split(rest, '\n', &rest);
        for (size_t i = 0; i < line.len && st == WEIR_OK;) {
            size_t from = i;
            if (line.data[i] == '#')
                break; /* a comment, to the end of its line */
            while (i < line.len && !is_blank(line.data[i]))
                i++;
            if (i > from)
                st = add_word(ret, weir_span(line.data + from, i - from), refuses, arena, err);
            while (i < line.len && is_blank(line.data[i]))
                i++;
        }
    }
    if (st == WEIR_OK && ret->n_axes == 0)
        st = weir_err_set(err, WEIR_INVALID, "--grid names no option");
    return st;
}

size_t weir_grid_stride(const struct weir_grid *g, size_t axis) {
    size_t stride = 1;
    while (++axis < g->n_axes)
        stride *= g->axes[axis].n;
    return stride;
}

size_t weir_grid_place(const struct weir_grid *g, size_t at, size_t axis) {
    return at / weir_grid_stride(g, axis) % g->axes[axis].n;
}

enum weir_status weir_grid_config(const struct weir_grid *g, size_t at, void *ret,
                                  struct weir_err *err) {
    memcpy(ret, g->base, g->program->struct_bytes);
    for (size_t i = 0; i < g->n_axes; i++) {
        const struct weir_grid_axis *a = &g->axes[i];
        size_t bytes = member_bytes(a->option);
        memcpy((char *)ret + a->option->offset,
               (const char *)a->values + weir_grid_place(g, at, i) * bytes, bytes);
    }
    if (g->program->check != NULL) {
        enum weir_status st = g->program->check(ret, err);
        if (st != WEIR_OK)
            return st;
    }
    if (g->program->resolve != NULL)
        g->program->resolve(ret);
    return WEIR_OK;
}

static const char *text_at(const struct weir_grid *g, size_t at, size_t axis) {
    return g->axes[axis].texts[weir_grid_place(g, at, axis)];
}

void weir_grid_describe(const struct weir_grid *g, size_t at, bool varying, char *out,
                        size_t room) {
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < g->n_axes && n < room; i++)
        if (!varying || g->axes[i].n > 1)
            n += (size_t)snprintf(out + n, room - n, "%s%s=%s", n > 0 ? " " : "", g->axes[i].name,
                                  text_at(g, at, i));
}

void weir_grid_json(struct weir_jsonw *w, const struct weir_grid *g, size_t at) {
    weir_jsonw_key(w, "options");
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < g->n_axes; i++)
        weir_put_text(w, g->axes[i].name, text_at(g, at, i));
    weir_jsonw_object_end(w);
}
