/* --check and --build-grid: files in, text out. */
#include "base/json.h"
#include "base/mem.h"
#include "global_router/phase_priv.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

enum { ARENA = 64 << 20, FILE_MAX = 16 << 20, DEPTH = 16, MAX_POINTS = 65536, MAX_CELLS = 1 << 22 };

static int print(enum weir_status st, struct weir_buf *text, const struct weir_err *err) {
    if (st == WEIR_OK &&
        (fwrite(text->data, 1, text->len, stdout) != text->len || fflush(stdout) != 0))
        st = WEIR_IO;
    else if (st != WEIR_OK)
        fprintf(stderr, "weir global-router: %s\n", err->text);
    weir_buf_fini(text);
    return st == WEIR_OK ? 0 : 1;
}

/* ---- --check ------------------------------------------------------------------------------ */

static void on_warning(void *arg, const char *text) {
    (void)arg;
    fprintf(stderr, "warning: %s\n", text);
}

int weir_global_check(const char *path) {
    struct weir_arena arena;
    struct weir_pool_config c;
    struct weir_buf text;
    struct weir_err err = {.text = ""};
    weir_arena_init(&arena, ARENA);
    weir_buf_init(&text, ARENA);
    enum weir_status st = weir_pool_config_load(path, &arena, on_warning, NULL, &c, &err);
    if (st == WEIR_OK) {
        const struct weir_pool_set *sets[] = {&c.prefill, &c.decode, &c.agg};
        for (unsigned i = 0; i < WEIR_ARRAY_LEN(sets) && st == WEIR_OK; i++)
            if ((i == 2) == (c.mode == WEIR_POOL_AGG))
                st = weir_pool_set_draw(sets[i], &text);
        if (st == WEIR_OK)
            st = weir_buf_printf(&text, "priority retry: %s\n",
                                 c.enable_priority_retry ? "on" : "off");
        if (st != WEIR_OK)
            weir_err_set(&err, st, "%s", weir_status_text(st));
    }
    int exit_code = print(st, &text, &err);
    weir_arena_fini(&arena);
    return exit_code;
}

/* ---- --build-grid ------------------------------------------------------------------------- */

struct point {
    double size, ms;
};
struct curve {
    struct weir_span name;
    double cost;
    struct point *points;
    size_t n;
};
struct plan {
    struct weir_arena *arena;
    struct weir_err *err;
    struct weir_pool_axis size, latency;
    bool has_size, has_latency;
    struct curve *curves;
    size_t n;
};

#define BAD(p, ...) (weir_err_set((p)->err, WEIR_INVALID, __VA_ARGS__), false)

static bool read_axis(struct plan *p, struct weir_json *j, const char *name,
                      struct weir_pool_axis *axis) {
    struct weir_json_str key;
    uint64_t resolution = 0;
    *axis = (struct weir_pool_axis){.name = name, .min = NAN, .max = NAN};
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "min"))
            weir_json_f64(j, &axis->min);
        else if (weir_json_str_eqz(key, "max"))
            weir_json_f64(j, &axis->max);
        else if (weir_json_str_eqz(key, "resolution"))
            weir_json_u64(j, &resolution);
        else
            return BAD(p, "%s: unknown member %.*s", name, WEIR_SPAN_ARG(key.raw));
    }
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    if (!(axis->min < axis->max))
        return BAD(p, "%s: min must be less than max, and both be given", name);
    if (resolution == 0 || resolution > MAX_CELLS)
        return BAD(p, "%s: resolution must be 1 to %d", name, MAX_CELLS);
    axis->resolution = (uint32_t)resolution;
    return true;
}

static bool read_points(struct plan *p, struct weir_json *j, struct curve *c) {
    struct weir_json count = *j;
    size_t n = 0;
    if (!weir_json_array_enter(&count))
        return weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
    while (weir_json_array_next(&count) && weir_json_skip(&count, NULL))
        n++;
    if (n == 0 || n > MAX_POINTS)
        return BAD(p, "pool %zu: a curve has 1 to %d points", p->n, MAX_POINTS);
    c->points = weir_arena_alloc(p->arena, n * sizeof(*c->points));
    if (c->points == NULL)
        return BAD(p, "out of memory");
    weir_json_array_enter(j);
    while (weir_json_array_next(j)) {
        struct point *at = &c->points[c->n];
        if (!weir_json_array_enter(j) || !weir_json_array_next(j) || !weir_json_f64(j, &at->size) ||
            !weir_json_array_next(j) || !weir_json_f64(j, &at->ms) || weir_json_array_next(j))
            return j->error != WEIR_JSON_ERR_NONE
                       ? false
                       : BAD(p, "pool %zu: a point of a curve is [size, ms]", p->n);
        if (c->n > 0 && !(at->size > at[-1].size))
            return BAD(p, "pool %zu: sizes of a curve must rise; %g follows %g", p->n, at->size,
                       at[-1].size);
        c->n++;
    }
    return j->error == WEIR_JSON_ERR_NONE;
}

static bool read_pool(struct plan *p, struct weir_json *j, struct curve *c) {
    struct weir_json_str key, name;
    *c = (struct curve){.cost = NAN};
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "name")) {
            if (weir_json_string(j, &name))
                c->name = weir_json_text(name, p->arena);
        } else if (weir_json_str_eqz(key, "cost"))
            weir_json_f64(j, &c->cost);
        else if (weir_json_str_eqz(key, "curve")) {
            if (!read_points(p, j, c))
                return false;
        } else
            return BAD(p, "pool %zu: unknown member %.*s", p->n, WEIR_SPAN_ARG(key.raw));
    }
    if (j->error != WEIR_JSON_ERR_NONE)
        return false;
    if (isnan(c->cost) || c->n == 0 || c->name.data == NULL)
        return BAD(p, "pool %zu needs name, cost and curve", p->n);
    return true;
}

static bool read_pools(struct plan *p, struct weir_json *j) {
    p->curves = weir_arena_alloc(p->arena, WEIR_POOL_MAX * sizeof(*p->curves));
    if (p->curves == NULL)
        return BAD(p, "out of memory");
    if (!weir_json_array_enter(j))
        return false;
    while (weir_json_array_next(j)) {
        if (p->n == WEIR_POOL_MAX)
            return BAD(p, "more than %d pools", WEIR_POOL_MAX);
        if (!read_pool(p, j, &p->curves[p->n]))
            return false;
        p->n++;
    }
    return j->error == WEIR_JSON_ERR_NONE;
}

static bool read_plan(struct plan *p, struct weir_span text) {
    struct weir_json j;
    struct weir_json_str key;
    bool ok = true;
    weir_json_init(&j, text, DEPTH);
    if (weir_json_object_enter(&j))
        while (ok && weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "size"))
                ok = p->has_size = read_axis(p, &j, "size", &p->size);
            else if (weir_json_str_eqz(key, "latency"))
                ok = p->has_latency = read_axis(p, &j, "latency", &p->latency);
            else if (weir_json_str_eqz(key, "pools"))
                ok = read_pools(p, &j);
            else
                ok = BAD(p, "unknown member %.*s", WEIR_SPAN_ARG(key.raw));
        }
    if (j.error != WEIR_JSON_ERR_NONE || (ok && !weir_json_finish(&j))) {
        unsigned line, column;
        weir_json_line_column(text, j.error_pos, &line, &column);
        return BAD(p, "%s at line %u column %u", weir_json_error_text(j.error), line, column);
    }
    if (ok && (!p->has_size || !p->has_latency || p->n == 0))
        return BAD(p, "size, latency and at least one pool are needed");
    if (ok && (uint64_t)p->size.resolution * p->latency.resolution > MAX_CELLS)
        return BAD(p, "the grid has more than %d cells", MAX_CELLS);
    return ok;
}

/* On the line between two points; beyond the ends that of the nearest one. */
static double latency_of(void *arg, size_t pool, double size) {
    const struct curve *c = &((struct plan *)arg)->curves[pool];
    size_t i = 0;
    while (i < c->n && c->points[i].size < size)
        i++;
    if (i == 0)
        return c->points[0].ms;
    if (i == c->n)
        return c->points[c->n - 1].ms;
    const struct point *a = &c->points[i - 1], *b = &c->points[i];
    return a->ms + (b->ms - a->ms) * ((size - a->size) / (b->size - a->size));
}

static enum weir_status write_grid(struct plan *p, struct weir_buf *out) {
    size_t n = (size_t)p->size.resolution * p->latency.resolution;
    double *costs = weir_arena_alloc(p->arena, p->n * sizeof(*costs));
    uint32_t *cells = weir_arena_alloc(p->arena, n * sizeof(*cells));
    struct weir_jsonw w;
    if (costs == NULL || cells == NULL)
        return weir_err_set(p->err, WEIR_NOMEM, "out of memory");
    for (size_t i = 0; i < p->n; i++)
        costs[i] = p->curves[i].cost;
    weir_pool_grid_build(&p->size, &p->latency, costs, p->n, latency_of, p, cells);
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "mapping");
    weir_jsonw_array_begin(&w);
    for (uint32_t i = 0; i < p->size.resolution; i++) {
        weir_jsonw_array_begin(&w);
        for (uint32_t k = 0; k < p->latency.resolution; k++)
            weir_jsonw_u64(&w, cells[(size_t)i * p->latency.resolution + k]);
        weir_jsonw_array_end(&w);
    }
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "pools");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < p->n; i++)
        weir_jsonw_string(&w, p->curves[i].name);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    enum weir_status st = w.status == WEIR_OK ? weir_buf_append_c(out, '\n') : w.status;
    return st == WEIR_OK ? st : weir_err_set(p->err, st, "%s", weir_status_text(st));
}

static enum weir_status read_file(const char *path, struct weir_arena *arena,
                                  struct weir_span *ret_text, struct weir_err *err) {
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return weir_err_set(err, WEIR_IO, "cannot read %s: %s", path, strerror(errno));
    char *text = weir_arena_alloc(arena, FILE_MAX + 1);
    size_t n = text != NULL ? fread(text, 1, FILE_MAX + 1, f) : 0;
    bool failed = ferror(f) != 0;
    fclose(f);
    if (text == NULL || failed || n > FILE_MAX)
        return weir_err_set(err, WEIR_IO, "cannot read %s, or it is larger than %d MiB", path,
                            FILE_MAX >> 20);
    *ret_text = weir_span(text, n);
    return WEIR_OK;
}

int weir_global_build_grid(const char *path) {
    struct weir_arena arena;
    struct weir_buf out;
    struct weir_span text;
    struct weir_err err = {.text = ""};
    struct plan p = {.arena = &arena, .err = &err};
    weir_arena_init(&arena, ARENA);
    weir_buf_init(&out, ARENA);
    enum weir_status st = read_file(path, &arena, &text, &err);
    if (st == WEIR_OK && !read_plan(&p, text)) {
        weir_err_prefix(&err, "%s", path);
        st = WEIR_INVALID;
    }
    if (st == WEIR_OK)
        st = write_grid(&p, &out);
    int exit_code = print(st, &out, &err);
    weir_arena_fini(&arena);
    return exit_code;
}
