/*
 * Jinja2's filters on sequences and mappings. What is a generator in Python is an iterator here,
 * too: always true, without length, used up by one walk. It is filled when it is first asked for an
 * item, and then as a whole.
 */
#include "tokenizer/jinja_priv.h"

#define FILTER(name)                                                                               \
    static struct wj_val name(struct wj_run *x, struct wj_val v, const struct wj_args *a)

static void no_args(struct wj_run *x, const char *what, const struct wj_args *a) {
    if (a->n > 0 || a->n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s() takes 1 positional argument but %u were given", what,
                a->n + a->n_named + 1);
}

static struct wj_val generator(struct wj_run *x, struct wj_vec v) {
    return wj_gen(x, v.at, v.n, "generator");
}

/* ---- attribute getters -------------------------------------------------------------------- */

/* "a.b.0": parts joined by dots, digits are numbers. */
struct getter {
    struct wj_val parts[16];
    unsigned n;
    bool fold;              /* strings in lower case */
    struct wj_val fallback; /* NONE: none */
};

static bool all_digits(struct weir_span s) {
    for (const char *p = s.data, *end = p + s.len; p < end;)
        if ((wj_props(wj_decode(&p, end)) & WJ_U_DIGIT) == 0)
            return false;
    return s.len > 0;
}

static void add_path(struct wj_run *x, struct getter *g, struct weir_span path) {
    while (path.data != NULL) {
        struct weir_span part = weir_span_split(path, '.', &path);
        struct wj_val v = wj_str(part);
        if (all_digits(part) && !wj_parse_int(x, part, 10, &v))
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "invalid literal for int() with base 10: '%.*s'",
                    WEIR_SPAN_ARG(part));
        if (g->n == WEIR_ARRAY_LEN(g->parts))
            wj_fail(x, WTOK_JINJA_ERR_LIMIT, "an attribute path of more than 16 parts");
        g->parts[g->n++] = v;
    }
}

static struct getter make_getter(struct wj_run *x, struct wj_val attribute, bool fold) {
    struct getter g = {.fold = fold, .fallback = wj_none()};
    if (attribute.kind == WJ_STR)
        add_path(x, &g, wj_text(x, attribute));
    else if (attribute.kind != WJ_NONE)
        g.parts[g.n++] = attribute;
    return g;
}

static struct wj_val folded(struct wj_run *x, struct wj_val v, bool fold) {
    return fold && v.kind == WJ_STR ? wj_case_map(x, v, WJ_CASE_LOWER) : v;
}

static struct wj_val get(struct wj_run *x, const struct getter *g, struct wj_val v) {
    for (unsigned i = 0; i < g->n; i++) {
        v = wj_getitem(x, v, g->parts[i]);
        if (v.kind == WJ_UNDEF && g->fallback.kind != WJ_NONE)
            v = g->fallback;
    }
    return folded(x, v, g->fold);
}

/* The keys of a sort: lists, one item for each attribute path. */
static struct wj_val sort_key(struct wj_run *x, const struct getter *g, unsigned n,
                              struct wj_val v) {
    struct wj_val *items = wj_alloc(x, n * sizeof(*items));
    for (unsigned i = 0; i < n; i++)
        items[i] = get(x, &g[i], v);
    return wj_list(items, n);
}

/* ---- order -------------------------------------------------------------------------------- */

static struct wj_val *copy_items(struct wj_run *x, struct wj_vec v) {
    struct wj_val *at = wj_alloc(x, v.n * sizeof(*at) + 1);
    if (v.n > 0)
        memcpy(at, v.at, v.n * sizeof(*at));
    wj_charge(x, v.n / 8);
    return at;
}

FILTER(f_sort) {
    static const char *const params[] = {"reverse", "case_sensitive", "attribute"};
    struct wj_val p[3] = {wj_bool(false), wj_bool(false), wj_none()};
    enum { MAX_KEYS = 8 };
    struct getter g[MAX_KEYS];
    unsigned n_keys = 0;
    wj_bind(x, "do_sort", a, params, 3, 0, p);
    bool fold = !wj_truth(p[1]);
    if (p[2].kind == WJ_STR) {
        for (struct weir_span rest = wj_text(x, p[2]); rest.data != NULL;) {
            if (n_keys == MAX_KEYS)
                wj_fail(x, WTOK_JINJA_ERR_LIMIT, "sorting by more than 8 attributes");
            g[n_keys++] = make_getter(x, wj_str(weir_span_split(rest, ',', &rest)), fold);
        }
    } else {
        g[n_keys++] = make_getter(x, p[2], fold);
    }
    struct wj_vec items = wj_collect(x, v);
    struct wj_val *at = copy_items(x, items), *keys = wj_alloc(x, items.n * sizeof(*keys) + 1);
    for (uint32_t i = 0; i < items.n; i++)
        keys[i] = sort_key(x, g, n_keys, at[i]);
    wj_sort(x, keys, at, items.n, wj_index(x, p[0], "reverse") != 0);
    return wj_list(at, items.n);
}

static const struct wj_dict *need_mapping(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_UNDEF)
        wj_fail_undefined(x, v);
    if (v.kind == WJ_CYCLER) /* its items are no method */
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'tuple' object is not callable");
    if (v.kind != WJ_DICT)
        wj_fail(x, WTOK_JINJA_ERR_ATTRIBUTE, "'%s' object has no attribute 'items'",
                wj_type_name(v));
    return v.u.dict;
}

FILTER(f_dictsort) {
    static const char *const params[] = {"case_sensitive", "by", "reverse"};
    struct wj_val p[3] = {wj_bool(false), wj_strz("key"), wj_bool(false)};
    wj_bind(x, "do_dictsort", a, params, 3, 0, p);
    struct weir_span by = p[1].kind == WJ_STR ? wj_text(x, p[1]) : weir_span("", 0);
    bool by_value = weir_span_eqz(by, "value");
    if (!by_value && !weir_span_eqz(by, "key"))
        wj_fail(x, WTOK_JINJA_ERR_FILTER_ARGUMENT,
                "You can only sort by either \"key\" or \"value\"");
    const struct wj_dict *d = need_mapping(x, v);
    struct wj_val *keys = wj_alloc(x, d->n * sizeof(*keys) + 1);
    struct wj_val *items = wj_alloc(x, d->n * sizeof(*items) + 1);
    for (uint32_t i = 0; i < d->n; i++) {
        keys[i] = folded(x, by_value ? d->pairs[i].value : d->pairs[i].key, !wj_truth(p[0]));
        items[i] = wj_pair_tuple(x, d->pairs[i].key, d->pairs[i].value);
    }
    wj_sort(x, keys, items, d->n, wj_index(x, p[2], "reverse") != 0);
    return wj_list(items, d->n);
}

static struct wj_val extreme(struct wj_run *x, struct wj_val v, const struct wj_args *a,
                             enum wj_op op, const char *what) {
    static const char *const params[] = {"case_sensitive", "attribute"};
    struct wj_val p[2] = {wj_bool(false), wj_none()}, item, best, best_key;
    wj_bind(x, what, a, params, 2, 0, p);
    struct getter g = make_getter(x, p[1], !wj_truth(p[0]));
    struct wj_iter it = wj_iterate(x, v);
    if (!wj_next(x, &it, &best))
        return wj_hint(x, "No aggregated item, sequence was empty.");
    best_key = get(x, &g, best);
    while (wj_next(x, &it, &item)) {
        struct wj_val key = get(x, &g, item);
        if (wj_order(x, op, key, best_key)) {
            best = item;
            best_key = key;
        }
    }
    return best;
}
FILTER(f_min) {
    return extreme(x, v, a, WJ_OP_LT, "do_min");
}
FILTER(f_max) {
    return extreme(x, v, a, WJ_OP_GT, "do_max");
}

FILTER(fill_unique) {
    static const char *const params[] = {"case_sensitive", "attribute"};
    struct wj_val p[2] = {wj_bool(false), wj_none()}, item, seen = wj_dict_new(x, 0);
    wj_bind(x, "do_unique", a, params, 2, 0, p);
    struct getter g = make_getter(x, p[1], !wj_truth(p[0]));
    struct wj_iter it = wj_iterate(x, v);
    struct wj_vec out = {0};
    while (wj_next(x, &it, &item)) {
        struct wj_val key = get(x, &g, item);
        wj_need_hashable(x, key);
        if (wj_dict_get(x, seen.u.dict, key) == NULL) {
            wj_dict_set(x, seen.u.dict, key, wj_none());
            wj_push(x, &out, item);
        }
    }
    return generator(x, out);
}

FILTER(f_groupby) {
    static const char *const params[] = {"attribute", "default", "case_sensitive"};
    struct wj_val p[3] = {wj_none(), wj_none(), wj_bool(false)};
    wj_bind(x, "do_groupby", a, params, 3, 1, p);
    struct getter g = make_getter(x, p[0], !wj_truth(p[2])), shown = make_getter(x, p[0], false);
    g.fallback = shown.fallback = p[1];
    struct wj_vec items = wj_collect(x, v), out = {0};
    struct wj_val *at = copy_items(x, items), *keys = wj_alloc(x, items.n * sizeof(*keys) + 1);
    for (uint32_t i = 0; i < items.n; i++)
        keys[i] = get(x, &g, at[i]);
    wj_sort(x, keys, at, items.n, false);
    for (uint32_t i = 0, from = 0; i < items.n; i++) {
        if (i + 1 < items.n && wj_equal(x, keys[i], keys[i + 1]))
            continue;
        struct wj_val name = g.fold ? get(x, &shown, at[from]) : keys[from];
        struct wj_val group = wj_pair_tuple(x, name, wj_list(at + from, i + 1 - from));
        group.flags |= WJ_GROUP;
        wj_push(x, &out, group);
        from = i + 1;
    }
    return wj_list(out.at, out.n);
}

FILTER(f_reverse) {
    no_args(x, "do_reverse", a);
    if (v.kind == WJ_STR) {
        struct weir_span s = wj_text(x, v);
        size_t mark = x->out->len;
        wj_charge(x, s.len / 8);
        for (const char *end = s.data + s.len; end > s.data;) {
            const char *stop = end;
            wj_decode_back(s.data, &end);
            wj_put(x, end, (size_t)(stop - end));
        }
        struct wj_val r = wj_cut(x, mark);
        r.flags |= v.flags & WJ_MARKUP;
        return r;
    }
    if (!wj_is_iterable(v))
        wj_fail(x, WTOK_JINJA_ERR_FILTER_ARGUMENT, "argument must be iterable");
    struct wj_vec items = wj_collect(x, v);
    struct wj_val *at = wj_alloc(x, items.n * sizeof(*at) + 1);
    for (uint32_t i = 0; i < items.n; i++)
        at[i] = items.at[items.n - 1 - i];
    wj_charge(x, items.n / 8);
    if (v.kind == WJ_GEN)
        return wj_list(at, items.n);
    return wj_gen(x, at, items.n, "list_reverseiterator");
}

/* ---- parts -------------------------------------------------------------------------------- */

FILTER(f_first) {
    no_args(x, "do_first", a);
    struct wj_iter it = wj_iterate(x, v);
    struct wj_val item;
    return wj_next(x, &it, &item) ? item : wj_hint(x, "No first item, sequence was empty.");
}

FILTER(f_last) {
    no_args(x, "do_last", a);
    if (v.kind == WJ_GEN)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object is not reversible", wj_type_name(v));
    if (v.kind == WJ_UNDEF)
        return wj_hint(x, "No last item, sequence was empty.");
    if (!wj_is_iterable(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object is not reversible", wj_type_name(v));
    if (v.kind == WJ_STR)
        return v.len > 0 ? wj_getitem(x, v, wj_int(-1))
                         : wj_hint(x, "No last item, sequence was empty.");
    struct wj_vec items = wj_collect(x, v);
    return items.n > 0 ? items.at[items.n - 1] : wj_hint(x, "No last item, sequence was empty.");
}

FILTER(f_length) {
    no_args(x, "len", a);
    return wj_int(wj_len(x, v));
}

FILTER(f_list) {
    no_args(x, "do_list", a);
    struct wj_vec items = wj_collect(x, v);
    return wj_list(copy_items(x, items), items.n);
}

FILTER(fill_items) {
    no_args(x, "do_items", a);
    struct wj_vec items = {0};
    if (v.kind == WJ_UNDEF)
        return generator(x, items);
    if (v.kind != WJ_DICT)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "Can only get item pairs from a mapping.");
    for (uint32_t i = 0; i < v.u.dict->n; i++)
        wj_push(x, &items, wj_pair_tuple(x, v.u.dict->pairs[i].key, v.u.dict->pairs[i].value));
    return generator(x, items);
}

FILTER(fill_slice) {
    static const char *const params[] = {"slices", "fill_with"};
    struct wj_val p[2] = {wj_none(), wj_none()};
    wj_bind(x, "do_slice", a, params, 2, 1, p);
    struct wj_vec items = wj_collect(x, v), out = {0};
    int64_t slices = wj_index(x, p[0], "a number of slices");
    if (slices == 0)
        wj_fail(x, WTOK_JINJA_ERR_ZERO_DIVISION, "integer division or modulo by zero");
    if (slices > 1000000)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "more than a million slices");
    if (slices < 0)
        return generator(x, out);
    int64_t each = items.n / slices, extra = items.n % slices, at = 0;
    for (int64_t i = 0; i < slices; i++) {
        int64_t n = each + (i < extra);
        struct wj_vec part = {0};
        for (int64_t k = 0; k < n; k++)
            wj_push(x, &part, items.at[at + k]);
        if (p[1].kind != WJ_NONE && i >= extra)
            wj_push(x, &part, p[1]);
        wj_push(x, &out, wj_list(part.at, part.n));
        at += n;
        wj_charge(x, 1);
    }
    return generator(x, out);
}

FILTER(fill_batch) {
    static const char *const params[] = {"linecount", "fill_with"};
    struct wj_val p[2] = {wj_none(), wj_none()}, item;
    wj_bind(x, "do_batch", a, params, 2, 1, p);
    struct wj_iter it = wj_iterate(x, v);
    struct wj_vec out = {0}, part = {0};
    while (wj_next(x, &it, &item)) {
        if (wj_equal(x, wj_int(part.n), p[0])) {
            wj_push(x, &out, wj_list(part.at, part.n));
            part = (struct wj_vec){0};
        }
        wj_push(x, &part, item);
    }
    if (part.n > 0) {
        if (p[1].kind != WJ_NONE) {
            int64_t want = wj_index(x, p[0], "a line count");
            if (want > 1000000)
                wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a batch of more than a million");
            while (part.n < want)
                wj_push(x, &part, p[1]);
        }
        wj_push(x, &out, wj_list(part.at, part.n));
    }
    return generator(x, out);
}

/* ---- mapping and selecting ---------------------------------------------------------------- */

static struct wj_args rest_of(const struct wj_args *a, uint32_t skip) {
    struct wj_args r = *a;
    r.at += skip;
    r.n -= skip;
    return r;
}

static const struct wj_filter_def *need_filter(struct wj_run *x, struct wj_val name, bool test) {
    const char *what = test ? "test" : "filter";
    if (name.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_RUNTIME, "No %s named a %s.", what, wj_type_name(name));
    struct weir_span s = wj_text(x, name);
    const struct wj_filter_def *f = test ? wj_find_test(s) : wj_find_filter(s);
    if (f == NULL && !test)
        f = wj_find_seq_filter(s);
    if (f == NULL)
        wj_fail(x, WTOK_JINJA_ERR_RUNTIME, "No %s named '%.*s'.", what, WEIR_SPAN_ARG(s));
    return f;
}

static struct wj_vec map_attribute(struct wj_run *x, struct wj_val v, const struct wj_args *a) {
    struct wj_val attribute = wj_none(), fallback = wj_none(), item;
    for (uint32_t i = 0; i < a->n_named; i++) {
        if (weir_span_eqz(a->names[i], "attribute"))
            attribute = a->named[i];
        else if (weir_span_eqz(a->names[i], "default"))
            fallback = a->named[i];
        else
            wj_fail(x, WTOK_JINJA_ERR_FILTER_ARGUMENT, "Unexpected keyword argument '%.*s'",
                    WEIR_SPAN_ARG(a->names[i]));
    }
    struct getter g = make_getter(x, attribute, false);
    g.fallback = fallback;
    struct wj_vec out = {0};
    struct wj_iter it = wj_iterate(x, v);
    while (wj_next(x, &it, &item))
        wj_push(x, &out, get(x, &g, item));
    return out;
}

static bool has_name(const struct wj_args *a, const char *name) {
    for (uint32_t i = 0; i < a->n_named; i++)
        if (weir_span_eqz(a->names[i], name))
            return true;
    return false;
}

FILTER(fill_map) {
    struct wj_vec out = {0};
    struct wj_val item;
    if (!wj_truth(v))
        return generator(x, out);
    if (a->n == 0 && has_name(a, "attribute"))
        return generator(x, map_attribute(x, v, a));
    if (a->n == 0)
        wj_fail(x, WTOK_JINJA_ERR_FILTER_ARGUMENT, "map requires a filter argument");
    struct wj_args rest = rest_of(a, 1);
    struct wj_iter it = wj_iterate(x, v);
    const struct wj_filter_def *f = NULL;
    while (wj_next(x, &it, &item)) {
        if (f == NULL)
            f = need_filter(x, a->at[0], false);
        wj_charge(x, 4);
        wj_push(x, &out, f->fn(x, item, &rest));
    }
    return generator(x, out);
}

static struct wj_val select_or_reject(struct wj_run *x, struct wj_val v, const struct wj_args *a,
                                      bool keep, bool by_attribute) {
    struct wj_vec out = {0};
    struct wj_val item;
    struct getter g = {.n = 0};
    uint32_t skip = by_attribute;
    if (!wj_truth(v))
        return generator(x, out);
    if (by_attribute) {
        if (a->n == 0)
            wj_fail(x, WTOK_JINJA_ERR_FILTER_ARGUMENT, "Missing parameter for attribute name");
        g = make_getter(x, a->at[0], false);
    }
    g.fallback = wj_none();
    bool has_test = a->n > skip;
    const struct wj_filter_def *f = NULL;
    struct wj_args rest = rest_of(a, has_test ? skip + 1 : a->n);
    struct wj_iter it = wj_iterate(x, v);
    while (wj_next(x, &it, &item)) {
        if (has_test && f == NULL)
            f = need_filter(x, a->at[skip], true);
        struct wj_val r = get(x, &g, item);
        wj_charge(x, 4);
        if (f != NULL)
            r = f->fn(x, r, &rest);
        if (wj_truth(r) == keep)
            wj_push(x, &out, item);
    }
    return generator(x, out);
}
FILTER(fill_select) {
    return select_or_reject(x, v, a, true, false);
}
FILTER(fill_reject) {
    return select_or_reject(x, v, a, false, false);
}
FILTER(fill_selectattr) {
    return select_or_reject(x, v, a, true, true);
}
FILTER(fill_rejectattr) {
    return select_or_reject(x, v, a, false, true);
}

#define LAZY_FILTER(name)                                                                          \
    FILTER(f_##name) {                                                                             \
        return wj_lazy(x, v, a, fill_##name);                                                      \
    }
LAZY_FILTER(map)
LAZY_FILTER(select)
LAZY_FILTER(reject)
LAZY_FILTER(selectattr)
LAZY_FILTER(rejectattr)

/* Python checks the arguments of a generator at once, its body runs later. */
static struct wj_val checked_lazy(struct wj_run *x, struct wj_val v, const struct wj_args *a,
                                  wj_filter_fn fill, const char *const *params, size_t n,
                                  size_t required) {
    struct wj_val ignored[2];
    wj_bind(x, "the filter", a, params, n, required, ignored);
    return wj_lazy(x, v, a, fill);
}
FILTER(f_unique) {
    static const char *const params[] = {"case_sensitive", "attribute"};
    return checked_lazy(x, v, a, fill_unique, params, 2, 0);
}
FILTER(f_slice) {
    static const char *const params[] = {"slices", "fill_with"};
    return checked_lazy(x, v, a, fill_slice, params, 2, 1);
}
FILTER(f_batch) {
    static const char *const params[] = {"linecount", "fill_with"};
    return checked_lazy(x, v, a, fill_batch, params, 2, 1);
}
FILTER(f_items) {
    return checked_lazy(x, v, a, fill_items, NULL, 0, 0);
}

/* ---- folding ------------------------------------------------------------------------------ */

FILTER(f_join) {
    static const char *const params[] = {"d", "attribute"};
    struct wj_val p[2] = {wj_strz(""), wj_none()}, item;
    wj_bind(x, "do_join", a, params, 2, 0, p);
    struct getter g = make_getter(x, p[1], false);
    struct weir_span sep = wj_text(x, wj_to_str(x, p[0]));
    struct wj_iter it = wj_iterate(x, v);
    size_t mark = x->out->len;
    for (bool first = true; wj_next(x, &it, &item); first = false) {
        if (!first)
            wj_puts(x, sep);
        /* The getter may use the end of the output for strings of its own. */
        wj_put_str(x, p[1].kind != WJ_NONE ? get(x, &g, item) : item);
    }
    return wj_cut(x, mark);
}

FILTER(f_sum) {
    static const char *const params[] = {"attribute", "start"};
    struct wj_val p[2] = {wj_none(), wj_int(0)}, item;
    wj_bind(x, "do_sum", a, params, 2, 0, p);
    struct getter g = make_getter(x, p[0], false);
    struct wj_iter it = wj_iterate(x, v);
    struct wj_val total = p[1];
    if (total.kind == WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "sum() can't sum strings [use ''.join(seq) instead]");
    while (wj_next(x, &it, &item))
        total = wj_binary(x, WJ_OP_ADD, total, p[0].kind != WJ_NONE ? get(x, &g, item) : item);
    return total;
}

const struct wj_filter_def *wj_find_seq_filter(struct weir_span name) {
    static const struct wj_filter_def filters[] = {
        {"batch", f_batch},     {"count", f_length},    {"dictsort", f_dictsort},
        {"first", f_first},     {"groupby", f_groupby}, {"items", f_items},
        {"join", f_join},       {"last", f_last},       {"length", f_length},
        {"list", f_list},       {"map", f_map},         {"max", f_max},
        {"min", f_min},         {"reject", f_reject},   {"rejectattr", f_rejectattr},
        {"reverse", f_reverse}, {"select", f_select},   {"selectattr", f_selectattr},
        {"slice", f_slice},     {"sort", f_sort},       {"sum", f_sum},
        {"unique", f_unique},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(filters); i++)
        if (weir_span_eqz(name, filters[i].name))
            return &filters[i];
    return NULL;
}
