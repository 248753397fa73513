/*
 * Each object becomes a list of members whose values stay raw text; typed readers then ask for one
 * key at a time, in the order in which the reference system checks them. Of a key that stands twice
 * the last counts, as in Python.
 */
#include "router/pool_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEPTH = 16, FILE_MAX = 16 << 20, NAME_BYTES = 96, MAX_CELLS = 1 << 24 };

struct member {
    struct weir_span key, raw;
};
struct object {
    struct member *members;
    size_t n;
};

struct parser {
    struct weir_arena *arena;
    struct weir_err *err;
    weir_pool_warn_fn warn;
    void *warn_arg;
    struct weir_span text; /* the whole file, for positions */
};

static enum weir_status no_memory(struct parser *p) {
    return weir_err_set(p->err, WEIR_NOMEM, "out of memory");
}

#define BAD(p, ...) weir_err_set((p)->err, WEIR_INVALID, __VA_ARGS__)

static const char *kind_of(struct weir_span raw) {
    struct weir_json j;
    weir_json_init(&j, raw, DEPTH);
    switch (weir_json_peek(&j)) {
    case WEIR_JSON_NULL:
        return "null";
    case WEIR_JSON_FALSE:
    case WEIR_JSON_TRUE:
        return "a boolean";
    case WEIR_JSON_NUMBER:
        return "a number";
    case WEIR_JSON_STRING:
        return "a string";
    case WEIR_JSON_ARRAY:
        return "an array";
    case WEIR_JSON_OBJECT:
        return "an object";
    default:
        return "nothing readable";
    }
}

static size_t count_elements(struct weir_span raw, bool object) {
    struct weir_json j;
    struct weir_json_str key;
    size_t n = 0;
    weir_json_init(&j, raw, DEPTH);
    if (object ? weir_json_object_enter(&j) : weir_json_array_enter(&j))
        while (object ? weir_json_object_next(&j, &key) : weir_json_array_next(&j)) {
            weir_json_skip(&j, NULL);
            n++;
        }
    return n;
}

static enum weir_status read_object(struct parser *p, struct weir_span raw, struct object *ret) {
    struct weir_json j;
    struct weir_json_str key;
    struct object o = {0};
    o.members = weir_arena_alloc(p->arena, (count_elements(raw, true) + 1) * sizeof(*o.members));
    if (o.members == NULL)
        return no_memory(p);
    weir_json_init(&j, raw, DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key)) {
        struct member *m = &o.members[o.n];
        m->key = weir_json_text(key, p->arena);
        if (m->key.data == NULL)
            return no_memory(p);
        if (weir_json_skip(&j, &m->raw))
            o.n++;
    }
    *ret = o;
    return WEIR_OK;
}

static const struct weir_span *find(const struct object *o, const char *key) {
    for (size_t i = o->n; i-- > 0;)
        if (weir_span_eqz(o->members[i].key, key))
            return &o->members[i].raw;
    return NULL;
}

static enum weir_status need(struct parser *p, const struct object *o, const char *key,
                             const struct weir_span **ret) {
    *ret = find(o, key);
    return *ret != NULL ? WEIR_OK : BAD(p, "%s required", key);
}

/* ---- scalars ----------------------------------------------------------------------------------
 */

static bool as_int(struct weir_span raw, int64_t *ret) {
    struct weir_json j;
    weir_json_init(&j, raw, DEPTH);
    return weir_json_peek(&j) == WEIR_JSON_NUMBER && weir_json_i64(&j, ret);
}

static enum weir_status read_int(struct parser *p, const struct object *o, const char *key,
                                 int64_t *ret) {
    const struct weir_span *raw;
    enum weir_status st = need(p, o, key, &raw);
    if (st != WEIR_OK)
        return st;
    return as_int(*raw, ret) ? WEIR_OK
                             : BAD(p, "%s must be an integer, got %s", key, kind_of(*raw));
}

static enum weir_status number_of(struct parser *p, const char *key, struct weir_span raw,
                                  double *ret) {
    struct weir_json j;
    double v;
    weir_json_init(&j, raw, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_NUMBER)
        return BAD(p, "%s must be a number, got %s", key, kind_of(raw));
    if (!weir_json_f64(&j, &v) || !isfinite(v))
        return BAD(p, "%s must be a finite number", key);
    *ret = v;
    return WEIR_OK;
}

/* `key`, or with a unit `key_ms`, which wins; the bare one is deprecated then. */
static enum weir_status read_number(struct parser *p, const struct object *o, const char *key,
                                    bool has_unit, double *ret) {
    char with_unit[NAME_BYTES], text[2 * NAME_BYTES + 64];
    const struct weir_span *raw;
    snprintf(with_unit, sizeof(with_unit), "%s_ms", key);
    if (has_unit && (raw = find(o, with_unit)) != NULL)
        return number_of(p, with_unit, *raw, ret);
    raw = find(o, key);
    if (raw == NULL)
        return BAD(p, "%s required", has_unit ? with_unit : key);
    if (has_unit && p->warn != NULL) {
        snprintf(text, sizeof(text), "%s is deprecated: write %s", key, with_unit);
        p->warn(p->warn_arg, text);
    }
    return number_of(p, key, *raw, ret);
}

/* ---- pools ------------------------------------------------------------------------------------
 */

static enum weir_status read_namespaces(struct parser *p, const struct object *o,
                                        struct weir_pool_set *set) {
    char count_key[NAME_BYTES], list_key[NAME_BYTES];
    const struct weir_span *raw;
    struct weir_json j;
    int64_t declared;
    snprintf(count_key, sizeof(count_key), "num_%s_pools", set->name);
    snprintf(list_key, sizeof(list_key), "%s_pool_dynamo_namespaces", set->name);
    enum weir_status st = read_int(p, o, count_key, &declared);
    if (st == WEIR_OK)
        st = need(p, o, list_key, &raw);
    if (st != WEIR_OK)
        return st;
    weir_json_init(&j, *raw, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_ARRAY)
        return BAD(p, "%s must be an array of strings, got %s", list_key, kind_of(*raw));
    size_t n = count_elements(*raw, false);
    if (declared < 0 || (uint64_t)declared != n)
        return BAD(p, "%s (%lld) does not match %s length (%zu)", count_key, (long long)declared,
                   list_key, n);
    if (n == 0 || n > WEIR_POOL_MAX)
        return BAD(p, "%s must be 1 to %d, got %zu", count_key, WEIR_POOL_MAX, n);
    set->namespaces = weir_arena_alloc(p->arena, n * sizeof(*set->namespaces));
    if (set->namespaces == NULL)
        return no_memory(p);
    weir_json_array_enter(&j);
    for (; weir_json_array_next(&j); set->n++) {
        struct weir_json_str s;
        if (weir_json_peek(&j) != WEIR_JSON_STRING || !weir_json_string(&j, &s))
            return BAD(p, "%s[%zu] must be a string", list_key, set->n);
        struct weir_span text = weir_json_text(s, p->arena);
        text = text.data != NULL ? weir_arena_copy(p->arena, text) : text;
        if (text.data == NULL)
            return no_memory(p);
        if (text.len == 0 || memchr(text.data, '\0', text.len) != NULL)
            return BAD(p, "%s[%zu] must not be empty", list_key, set->n);
        set->namespaces[set->n] = text.data;
    }
    return WEIR_OK;
}

static enum weir_status read_priorities(struct parser *p, const struct object *o,
                                        struct weir_pool_set *set) {
    char key[NAME_BYTES];
    struct weir_json j;
    snprintf(key, sizeof(key), "%s_pool_priorities", set->name);
    set->priorities = weir_arena_alloc(p->arena, set->n * sizeof(*set->priorities));
    if (set->priorities == NULL)
        return no_memory(p);
    for (size_t i = 0; i < set->n; i++)
        set->priorities[i] = (int64_t)i;
    const struct weir_span *raw = find(o, key);
    if (raw == NULL)
        return WEIR_OK;
    weir_json_init(&j, *raw, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_ARRAY)
        return BAD(p, "%s must be an array of integers, got %s", key, kind_of(*raw));
    size_t n = count_elements(*raw, false);
    if (n != set->n)
        return BAD(p, "%s length (%zu) does not match num_%s_pools (%zu)", key, n, set->name,
                   set->n);
    weir_json_array_enter(&j);
    for (size_t i = 0; weir_json_array_next(&j); i++) {
        struct weir_span element = {NULL, 0};
        weir_json_skip(&j, &element);
        if (!as_int(element, &set->priorities[i]))
            return BAD(p, "%s[%zu] must be an integer, got %s", key, i, kind_of(element));
    }
    return WEIR_OK;
}

/* ---- strategies -------------------------------------------------------------------------------
 */

struct axis_row {
    const char *name; /* "isl" */
    bool has_unit;    /* milliseconds */
    bool optional;
};

static enum weir_status read_axis(struct parser *p, const struct object *o,
                                  const struct axis_row *row, struct weir_pool_axis *ret) {
    char min[NAME_BYTES], max[NAME_BYTES], resolution[NAME_BYTES];
    int64_t n;
    snprintf(min, sizeof(min), "%s_min", row->name);
    snprintf(max, sizeof(max), "%s_max", row->name);
    snprintf(resolution, sizeof(resolution), "%s_resolution", row->name);
    ret->name = row->name;
    enum weir_status st = read_number(p, o, min, row->has_unit, &ret->min);
    if (st == WEIR_OK)
        st = read_number(p, o, max, row->has_unit, &ret->max);
    if (st == WEIR_OK)
        st = read_int(p, o, resolution, &n);
    if (st != WEIR_OK)
        return st;
    if (n <= 0)
        return BAD(p, "%s must be greater than 0, got %lld", resolution, (long long)n);
    if (n > MAX_CELLS)
        return BAD(p, "%s must be at most %d, got %lld", resolution, MAX_CELLS, (long long)n);
    ret->resolution = (uint32_t)n;
    return WEIR_OK;
}

static enum weir_status check_range(struct parser *p, const struct axis_row *row,
                                    const struct weir_pool_axis *a) {
    const char *unit = row->has_unit ? "_ms" : "";
    return a->min < a->max ? WEIR_OK
                           : BAD(p, "%s_min%s (%g) must be less than %s_max%s (%g)", row->name,
                                 unit, a->min, row->name, unit, a->max);
}

/* One level of the nested mapping; `path` is "agg_pool_mapping" and then "agg_pool_mapping row 0".
 */
static enum weir_status read_level(struct parser *p, const struct weir_pool_set *set,
                                   struct weir_span raw, const char *path, unsigned level,
                                   uint32_t **at) {
    const struct weir_pool_axis *axis = &set->grid.axes[level];
    struct weir_json j;
    char deeper[2 * NAME_BYTES];
    weir_json_init(&j, raw, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_ARRAY)
        return BAD(p, "%s must be an array, got %s", path, kind_of(raw));
    size_t n = count_elements(raw, false);
    if (n != axis->resolution)
        return BAD(p, "%s %s (%zu) does not match %s_resolution (%u)", path,
                   level == 0 ? "rows" : "length", n, axis->name, axis->resolution);
    weir_json_array_enter(&j);
    for (size_t i = 0; weir_json_array_next(&j); i++) {
        struct weir_span element = {NULL, 0};
        int64_t pool;
        weir_json_skip(&j, &element);
        if (level + 1 < set->grid.n_axes) {
            snprintf(deeper, sizeof(deeper), "%s%s %zu", path, level == 0 ? " row" : "", i);
            enum weir_status st = read_level(p, set, element, deeper, level + 1, at);
            if (st != WEIR_OK)
                return st;
            continue;
        }
        if (!as_int(element, &pool))
            return BAD(p, "%s element %zu must be an integer, got %s", path, i, kind_of(element));
        if (pool < 0 || (uint64_t)pool >= set->n)
            return BAD(p, "Invalid %s pool index %lld in mapping (must be 0 to %zu)", set->name,
                       (long long)pool, set->n - 1);
        *(*at)++ = (uint32_t)pool;
    }
    return WEIR_OK;
}

static enum weir_status read_mapping(struct parser *p, const struct object *o,
                                     struct weir_pool_set *set) {
    char key[NAME_BYTES];
    const struct weir_span *raw;
    uint64_t cells = 1;
    for (unsigned i = 0; i < set->grid.n_axes && cells <= FILE_MAX; i++)
        cells *= set->grid.axes[i].resolution; /* of at most 2^24 each */
    snprintf(key, sizeof(key), "%s_pool_mapping", set->name);
    enum weir_status st = need(p, o, key, &raw);
    if (st != WEIR_OK)
        return st;
    /* The text has at least two bytes a cell, so a grid that its text cannot hold is no grid. */
    size_t room = cells <= raw->len / 2 ? (size_t)cells : raw->len / 2;
    uint32_t *mapping = weir_arena_alloc(p->arena, (room + 1) * sizeof(*mapping)), *at = mapping;
    if (mapping == NULL)
        return no_memory(p);
    set->grid.mapping = mapping;
    return read_level(p, set, *raw, key, 0, &at);
}

static enum weir_status read_rule(struct parser *p, const struct weir_pool_set *set,
                                  struct weir_span raw, size_t index,
                                  struct weir_pool_override *ret) {
    static const char *const known[] = {"min_priority", "max_priority", "target_pool"};
    struct object o;
    struct weir_json j;
    int64_t target = 0;
    weir_json_init(&j, raw, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT)
        return BAD(p, "priority_overrides[%zu] must be an object, got %s", index, kind_of(raw));
    enum weir_status st = read_object(p, raw, &o);
    for (size_t i = 0; st == WEIR_OK && i < o.n; i++) {
        bool ok = false;
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
            ok |= weir_span_eqz(o.members[i].key, known[k]);
        if (!ok)
            st = BAD(p, "priority_overrides[%zu] has an unknown key '%.*s'", index,
                     WEIR_SPAN_ARG(weir_utf8_cut(o.members[i].key, NAME_BYTES)));
    }
    if (st == WEIR_OK)
        st = read_int(p, &o, "min_priority", &ret->min_priority);
    if (st == WEIR_OK)
        st = read_int(p, &o, "max_priority", &ret->max_priority);
    if (st == WEIR_OK)
        st = read_int(p, &o, "target_pool", &target);
    if (st != WEIR_OK)
        return weir_err_prefix(p->err, "%s priority_overrides[%zu]", set->name, index);
    if (ret->min_priority > ret->max_priority)
        return BAD(p, "priority_overrides[%zu]: min_priority (%lld) must be <= max_priority (%lld)",
                   index, (long long)ret->min_priority, (long long)ret->max_priority);
    if (target < 0 || (uint64_t)target >= set->n)
        return BAD(p, "priority_overrides[%zu]: invalid target_pool %lld (must be 0 to %zu)", index,
                   (long long)target, set->n - 1);
    ret->target = (uint32_t)target;
    return WEIR_OK;
}

static enum weir_status read_overrides(struct parser *p, const struct object *o,
                                       struct weir_pool_set *set) {
    struct weir_json j;
    const struct weir_span *raw = find(o, "priority_overrides");
    if (raw == NULL || strcmp(kind_of(*raw), "null") == 0)
        return WEIR_OK;
    weir_json_init(&j, *raw, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_ARRAY)
        return BAD(p, "priority_overrides must be an array, got %s", kind_of(*raw));
    size_t n = count_elements(*raw, false);
    struct weir_pool_override *rules = weir_arena_alloc(p->arena, (n + 1) * sizeof(*rules));
    if (rules == NULL)
        return no_memory(p);
    weir_json_array_enter(&j);
    for (size_t i = 0; weir_json_array_next(&j); i++) {
        struct weir_span element = {NULL, 0};
        weir_json_skip(&j, &element);
        enum weir_status st = read_rule(p, set, element, i, &rules[i]);
        if (st != WEIR_OK)
            return st;
    }
    set->grid.overrides = rules;
    set->grid.n_overrides = n;
    return WEIR_OK;
}

static enum weir_status read_strategy(struct parser *p, const struct object *top,
                                      struct weir_pool_set *set, const struct axis_row *rows,
                                      size_t n_rows) {
    char key[NAME_BYTES], probe[NAME_BYTES];
    const struct weir_span *raw;
    struct object o;
    const struct axis_row *used[WEIR_POOL_MAX_AXES];
    snprintf(key, sizeof(key), "%s_pool_selection_strategy", set->name);
    enum weir_status st = need(p, top, key, &raw);
    if (st != WEIR_OK)
        return st;
    if (strcmp(kind_of(*raw), "an object") != 0)
        return BAD(p, "%s must be an object, got %s", key, kind_of(*raw));
    st = read_object(p, *raw, &o);
    for (size_t i = 0; i < n_rows && st == WEIR_OK; i++) {
        snprintf(probe, sizeof(probe), "%s_resolution", rows[i].name);
        if (rows[i].optional && find(&o, probe) == NULL)
            continue;
        used[set->grid.n_axes] = &rows[i];
        st = read_axis(p, &o, &rows[i], &set->grid.axes[set->grid.n_axes]);
        set->grid.n_axes++;
    }
    for (unsigned i = 0; i < set->grid.n_axes && st == WEIR_OK; i++)
        st = check_range(p, used[i], &set->grid.axes[i]);
    if (st == WEIR_OK)
        st = read_mapping(p, &o, set);
    return st == WEIR_OK ? read_overrides(p, &o, set) : st;
}

/* ---- the whole file ---------------------------------------------------------------------------
 */

static const struct axis_row prefill_axes[] = {{.name = "isl"}, {.name = "ttft", .has_unit = true}};
static const struct axis_row decode_axes[] = {{.name = "context_length"},
                                              {.name = "itl", .has_unit = true}};
static const struct axis_row agg_axes[] = {{.name = "isl", .optional = true},
                                           {.name = "ttft", .has_unit = true},
                                           {.name = "itl", .has_unit = true}};

static enum weir_status read_head(struct parser *p, const struct object *o,
                                  struct weir_pool_config *c) {
    struct weir_json j;
    struct weir_json_str mode;
    const struct weir_span *raw = find(o, "enable_priority_retry");
    if (raw != NULL) {
        weir_json_init(&j, *raw, DEPTH);
        enum weir_json_type type = weir_json_peek(&j);
        if (type != WEIR_JSON_TRUE && type != WEIR_JSON_FALSE)
            return BAD(p, "enable_priority_retry must be a boolean, got %s", kind_of(*raw));
        c->enable_priority_retry = type == WEIR_JSON_TRUE;
    }
    raw = find(o, "mode");
    if (raw == NULL)
        return WEIR_OK;
    weir_json_init(&j, *raw, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_STRING || !weir_json_string(&j, &mode))
        return BAD(p, "Unknown mode: it must be \"disagg\" or \"agg\", got %s", kind_of(*raw));
    if (weir_json_str_eqz(mode, "agg"))
        c->mode = WEIR_POOL_AGG;
    else if (!weir_json_str_eqz(mode, "disagg"))
        return BAD(p, "Unknown mode '%.*s': it must be \"disagg\" or \"agg\"",
                   WEIR_SPAN_ARG(weir_utf8_cut(mode.raw, NAME_BYTES)));
    return WEIR_OK;
}

static enum weir_status read_sets(struct parser *p, const struct object *o,
                                  struct weir_pool_set **sets, size_t n_sets,
                                  const struct axis_row *const *axes, const size_t *n_axes) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < n_sets && st == WEIR_OK; i++)
        st = read_namespaces(p, o, sets[i]);
    for (size_t i = 0; i < n_sets && st == WEIR_OK; i++)
        st = read_priorities(p, o, sets[i]);
    for (size_t i = 0; i < n_sets && st == WEIR_OK; i++)
        st = read_strategy(p, o, sets[i], axes[i], n_axes[i]);
    return st;
}

static enum weir_status check_syntax(struct parser *p) {
    struct weir_json j;
    unsigned line, column;
    weir_json_init(&j, p->text, DEPTH);
    weir_json_skip(&j, NULL);
    if (!weir_json_finish(&j)) {
        weir_json_line_column(p->text, j.error_pos, &line, &column);
        return BAD(p, "not JSON: %s at line %u column %u", weir_json_error_text(j.error), line,
                   column);
    }
    return strcmp(kind_of(p->text), "an object") == 0
               ? WEIR_OK
               : BAD(p, "the file must hold a JSON object, got %s", kind_of(p->text));
}

enum weir_status weir_pool_config_parse(struct weir_span json, struct weir_arena *arena,
                                        weir_pool_warn_fn warn, void *arg,
                                        struct weir_pool_config *ret_config, struct weir_err *err) {
    struct parser p = {arena, err, warn, arg, json};
    struct weir_pool_config c = {
        .prefill.name = "prefill", .decode.name = "decode", .agg.name = "agg"};
    struct object o;
    enum weir_status st = check_syntax(&p);
    if (st == WEIR_OK)
        st = read_object(&p, json, &o);
    if (st == WEIR_OK)
        st = read_head(&p, &o, &c);
    if (st != WEIR_OK)
        return st;
    if (c.mode == WEIR_POOL_AGG) {
        struct weir_pool_set *sets[] = {&c.agg};
        st = read_sets(&p, &o, sets, 1, (const struct axis_row *const[]){agg_axes},
                       (const size_t[]){sizeof(agg_axes) / sizeof(agg_axes[0])});
    } else {
        struct weir_pool_set *sets[] = {&c.prefill, &c.decode};
        st = read_sets(&p, &o, sets, 2, (const struct axis_row *const[]){prefill_axes, decode_axes},
                       (const size_t[]){sizeof(prefill_axes) / sizeof(prefill_axes[0]),
                                        sizeof(decode_axes) / sizeof(decode_axes[0])});
    }
    if (st == WEIR_OK)
        *ret_config = c;
    return st;
}

enum weir_status weir_pool_config_load(const char *path, struct weir_arena *arena,
                                       weir_pool_warn_fn warn, void *arg,
                                       struct weir_pool_config *ret_config, struct weir_err *err) {
    struct weir_err why;
    struct weir_buf file;
    weir_buf_init(&file, FILE_MAX);
    enum weir_status st = weir_file_read(path, WEIR_FILE_PLAIN, &file, &why);
    /* What is read from it points into it. */
    struct weir_span text =
        st == WEIR_OK ? weir_arena_copy(arena, weir_buf_span(&file)) : weir_span(NULL, 0);
    weir_buf_fini(&file);
    if (st == WEIR_TOO_LARGE)
        return weir_err_set(err, st, "the pool file %s is larger than %d MiB", path,
                            FILE_MAX >> 20);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot read the pool file %s", why.text);
    if (text.data == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    st = weir_pool_config_parse(text, arena, warn, arg, ret_config, err);
    return st == WEIR_OK ? st : weir_err_prefix(err, "%s", path);
}
