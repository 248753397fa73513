/*
 * The value model: Python's equality, order, truth, containers and iteration.
 */
#include "tokenizer/jinja_priv.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

struct wj_val wj_nothing[1];

/* ---- leaving, memory ---------------------------------------------------------------------- */

void wj_fail(struct wj_run *x, enum wtok_jinja_error error, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(x->failure.text, sizeof(x->failure.text), fmt, args);
    va_end(args);
    x->failure.error = error;
    x->failure.line = x->line;
    longjmp(x->leave, 1);
}

void wj_out_of_fuel(struct wj_run *x) {
    wj_fail(x, WTOK_JINJA_ERR_LIMIT, "the template takes too many steps");
}

void wj_too_deep(struct wj_run *x) {
    wj_fail(x, WTOK_JINJA_ERR_LIMIT, "maximum recursion depth exceeded");
}

void *wj_alloc_slow(struct wj_run *x, size_t bytes) {
    enum { PIECE = 16384 };
    if (bytes > PIECE / 4) {
        void *p = weir_arena_alloc(x->arena, bytes);
        if (p == NULL)
            wj_fail(x, WTOK_JINJA_ERR_MEMORY, "out of memory");
        return p;
    }
    char *p = weir_arena_alloc(x->arena, PIECE);
    if (p == NULL)
        wj_fail(x, WTOK_JINJA_ERR_MEMORY, "out of memory");
    x->at = p + bytes;
    x->end = p + PIECE;
    return p;
}

void wj_grow(struct wj_run *x, struct wj_vec *vec) {
    uint32_t cap = vec->cap == 0 ? 8 : vec->cap * 2;
    struct wj_val *more = wj_alloc(x, (size_t)cap * sizeof(*more));
    if (vec->n > 0)
        memcpy(more, vec->at, vec->n * sizeof(*more));
    wj_charge(x, cap / 8);
    vec->at = more;
    vec->cap = cap;
}

struct wj_val wj_pair_tuple(struct wj_run *x, struct wj_val a, struct wj_val b) {
    struct wj_val *items = wj_alloc(x, 2 * sizeof(*items));
    items[0] = a;
    items[1] = b;
    return wj_tuple(items, 2);
}

struct wj_val wj_gen(struct wj_run *x, const struct wj_val *items, size_t n, const char *type) {
    struct wj_gen *g = wj_alloc(x, sizeof(*g));
    *g = (struct wj_gen){.items = items, .n = (uint32_t)n, .type = type};
    return (struct wj_val){.kind = WJ_GEN, .u.gen = g};
}

struct wj_val wj_lazy(struct wj_run *x, struct wj_val source, const struct wj_args *a,
                      wj_filter_fn fill) {
    struct wj_val v = wj_gen(x, NULL, 0, "generator");
    v.u.gen->fill = fill;
    v.u.gen->source = source;
    v.u.gen->args = *a;
    return v;
}

static void fill(struct wj_run *x, struct wj_gen *g) {
    wj_filter_fn fn = g->fill;
    g->fill = NULL;
    wj_enter(x);
    struct wj_val filled = fn(x, g->source, &g->args);
    wj_leave(x);
    g->items = filled.u.gen->items;
    g->n = filled.u.gen->n;
}

/* ---- undefined ---------------------------------------------------------------------------- */

struct wj_val wj_hint(struct wj_run *x, const char *hint) {
    struct wj_undef *u = wj_alloc(x, sizeof(*u));
    *u = (struct wj_undef){.type = WJ_UNDEF_HINT, .text = weir_span_z(hint)};
    return (struct wj_val){.kind = WJ_UNDEF, .u.undef = u};
}

/* jinja2.utils.object_type_repr */
static const char *object_type(struct wj_val v, char room[64]) {
    if (v.kind == WJ_NONE)
        return "None";
    const char *module = "";
    switch (v.kind) {
    case WJ_NS:
    case WJ_CYCLER:
    case WJ_JOINER:
        module = "jinja2.utils.";
        break;
    case WJ_LOOP:
    case WJ_MACRO:
    case WJ_UNDEF:
        module = "jinja2.runtime.";
        break;
    case WJ_STR:
        module = (v.flags & WJ_MARKUP) != 0 ? "markupsafe." : "";
        break;
    case WJ_TUPLE:
        module = (v.flags & WJ_GROUP) != 0 ? "jinja2.filters." : "";
        break;
    default:
        break;
    }
    snprintf(room, 64, "%s%s object", module, wj_type_name(v));
    return room;
}

void wj_fail_undefined(struct wj_run *x, struct wj_val v) {
    const struct wj_undef *u = v.u.undef;
    char room[64];
    size_t mark = x->out->len;
    struct wj_val what;
    switch (u->type) {
    case WJ_UNDEF_HINT:
        wj_fail(x, WTOK_JINJA_ERR_UNDEFINED, "%.*s", WEIR_SPAN_ARG(u->text));
    case WJ_UNDEF_UNSAFE:
        wj_fail(x, WTOK_JINJA_ERR_SECURITY, "access to attribute '%.*s' of '%s' object is unsafe.",
                WEIR_SPAN_ARG(u->text), wj_type_name(u->obj));
    case WJ_UNDEF_NAME:
        wj_fail(x, WTOK_JINJA_ERR_UNDEFINED, "'%.*s' is undefined", WEIR_SPAN_ARG(u->text));
    case WJ_UNDEF_ATTR:
        wj_put_repr_text(x, u->text);
        what = wj_cut(x, mark);
        wj_fail(x, WTOK_JINJA_ERR_UNDEFINED, "'%s' has no attribute %.*s",
                object_type(u->obj, room), (int)what.len, what.u.s);
    case WJ_UNDEF_ITEM:
    default:
        wj_put_repr(x, u->item);
        what = wj_cut(x, mark);
        wj_fail(x, WTOK_JINJA_ERR_UNDEFINED, "%s has no element %.*s", object_type(u->obj, room),
                (int)what.len, what.u.s);
    }
}

const char *wj_type_name(struct wj_val v) {
    static const char *const names[] = {[WJ_MISSING] = "Undefined",
                                        [WJ_UNDEF] = "Undefined",
                                        [WJ_NONE] = "NoneType",
                                        [WJ_BOOL] = "bool",
                                        [WJ_INT] = "int",
                                        [WJ_BIG] = "int",
                                        [WJ_FLOAT] = "float",
                                        [WJ_STR] = "str",
                                        [WJ_LIST] = "list",
                                        [WJ_TUPLE] = "tuple",
                                        [WJ_DICT] = "dict",
                                        [WJ_RANGE] = "range",
                                        [WJ_GEN] = "generator",
                                        [WJ_VIEW] = "dict_items",
                                        [WJ_NS] = "Namespace",
                                        [WJ_LOOP] = "LoopContext",
                                        [WJ_MACRO] = "Macro",
                                        [WJ_FUNC] = "function",
                                        [WJ_METHOD] = "builtin_function_or_method",
                                        [WJ_CYCLER] = "Cycler",
                                        [WJ_JOINER] = "Joiner"};
    static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
    if (v.kind == WJ_VIEW)
        return views[v.sub % 3];
    if (v.kind == WJ_GEN && v.u.gen != NULL)
        return v.u.gen->type;
    if (v.kind == WJ_STR && (v.flags & WJ_MARKUP) != 0)
        return "Markup";
    if (v.kind == WJ_TUPLE && (v.flags & WJ_GROUP) != 0)
        return "_GroupTuple";
    return names[v.kind];
}

/* ---- truth, equality, order --------------------------------------------------------------- */

bool wj_truth(struct wj_val v) {
    switch (v.kind) {
    case WJ_MISSING:
    case WJ_UNDEF:
    case WJ_NONE:
        return false;
    case WJ_BOOL:
        return v.sub != 0;
    case WJ_INT:
        return v.u.i != 0;
    case WJ_FLOAT:
        return v.u.f != 0;
    case WJ_STR:
    case WJ_LIST:
    case WJ_TUPLE:
        return v.len != 0;
    case WJ_DICT:
    case WJ_VIEW:
        return v.u.dict->n != 0;
    case WJ_RANGE:
        return v.u.range->n != 0;
    default:
        return true;
    }
}

static bool is_number(struct wj_val v) {
    return v.kind == WJ_BOOL || v.kind == WJ_INT || v.kind == WJ_BIG || v.kind == WJ_FLOAT;
}

/* -1, 0, 1; 2 for not comparable (NaN). */
static int compare_int_float(int64_t i, double f) {
    if (isnan(f))
        return 2;
    if (f >= 9223372036854775808.0)
        return -1;
    if (f < -9223372036854775808.0)
        return 1;
    int64_t whole = (int64_t)f;
    if (i != whole)
        return i < whole ? -1 : 1;
    double rest = f - (double)whole;
    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

/* Decimal texts of integers. */
static int compare_big(struct weir_span a, struct weir_span b) {
    bool na = a.data[0] == '-', nb = b.data[0] == '-';
    if (na != nb)
        return na ? -1 : 1;
    int sign = na ? -1 : 1, c;
    if (a.len != b.len)
        return a.len < b.len ? -sign : sign;
    c = memcmp(a.data, b.data, a.len);
    return c < 0 ? -sign : c > 0 ? sign : 0;
}

static int compare_numbers(struct wj_run *x, struct wj_val a, struct wj_val b) {
    if (a.kind == WJ_BIG || b.kind == WJ_BIG) {
        if (a.kind == WJ_FLOAT || b.kind == WJ_FLOAT)
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED,
                    "comparing a float with an integer beyond 64 bits");
        if (a.kind != WJ_BIG) /* beyond 64 bits: only the sign matters */
            return b.u.s[0] == '-' ? 1 : -1;
        if (b.kind != WJ_BIG)
            return a.u.s[0] == '-' ? -1 : 1;
        return compare_big(weir_span(a.u.s, a.len), weir_span(b.u.s, b.len));
    }
    if (a.kind == WJ_FLOAT && b.kind == WJ_FLOAT)
        return isnan(a.u.f) || isnan(b.u.f) ? 2 : a.u.f < b.u.f ? -1 : a.u.f > b.u.f;
    if (b.kind == WJ_FLOAT)
        return compare_int_float(a.u.i, b.u.f);
    if (a.kind == WJ_FLOAT) {
        int c = compare_int_float(b.u.i, a.u.f);
        return c == 2 ? 2 : -c;
    }
    return a.u.i < b.u.i ? -1 : a.u.i > b.u.i;
}

static int compare_strings(struct wj_run *x, struct wj_val a, struct wj_val b) {
    struct weir_span s = wj_text(x, a), t = wj_text(x, b);
    size_t n = s.len < t.len ? s.len : t.len;
    /* UTF-8 keeps the order of code points. */
    int c = n > 0 ? memcmp(s.data, t.data, n) : 0;
    return c != 0 ? (c < 0 ? -1 : 1) : s.len < t.len ? -1 : s.len > t.len;
}

static bool equal_dicts(struct wj_run *x, const struct wj_dict *a, const struct wj_dict *b) {
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct wj_val *other = wj_dict_get(x, b, a->pairs[i].key);
        if (other == NULL ||
            !(wj_same(a->pairs[i].value, *other) || wj_equal(x, a->pairs[i].value, *other)))
            return false;
    }
    return true;
}

static bool equal_views(struct wj_run *x, struct wj_val a, struct wj_val b) {
    if (a.sub == WJ_VIEW_VALUES || b.sub == WJ_VIEW_VALUES)
        return false;
    if (wj_len(x, a) != wj_len(x, b))
        return false;
    struct wj_iter it = wj_iterate(x, a);
    struct wj_val v;
    while (wj_next(x, &it, &v))
        if (!wj_contains(x, b, v))
            return false;
    return true;
}

static bool equal_ranges(const struct wj_range *a, const struct wj_range *b) {
    return a->n == b->n &&
           (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

bool wj_same(struct wj_val a, struct wj_val b) {
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case WJ_NONE:
        return true;
    case WJ_BOOL:
        return a.sub == b.sub;
    case WJ_INT: /* CPython keeps one object for small integers; for others this is a guess */
        return a.u.i == b.u.i;
    case WJ_FLOAT:
        return false;
    case WJ_METHOD:
        return false;
    case WJ_STR:
    case WJ_BIG:
    case WJ_LIST:
    case WJ_TUPLE:
        return a.len == b.len && a.u.s == b.u.s;
    case WJ_FUNC:
        return a.sub == b.sub;
    default:
        return a.u.s == b.u.s && a.sub == b.sub;
    }
}

/* Keys differ early, mostly: the first and the last byte spare a call. */
static inline bool same_text(const char *s, struct weir_span t) {
    return t.len == 0 || (s[0] == t.data[0] && s[t.len - 1] == t.data[t.len - 1] &&
                          (t.len <= 2 || memcmp(s, t.data, t.len) == 0));
}

bool wj_equal(struct wj_run *x, struct wj_val a, struct wj_val b) {
    if (a.kind == WJ_STR && b.kind == WJ_STR) {
        if (a.len != b.len)
            return false;
        struct weir_span s = wj_text(x, a), t = wj_text(x, b);
        wj_charge(x, a.len / 64);
        return same_text(s.data, t);
    }
    if (is_number(a) && is_number(b)) {
        if (a.kind == WJ_BIG && b.kind != WJ_BIG && b.kind != WJ_FLOAT)
            return false;
        return compare_numbers(x, a, b) == 0;
    }
    if (a.kind != b.kind)
        return false;
    wj_charge(x, 1);
    bool equal = true;
    switch (a.kind) {
    case WJ_UNDEF: /* compared by type */
        return true;
    case WJ_LIST:
    case WJ_TUPLE:
        if (a.len != b.len)
            return false;
        wj_enter(x);
        for (uint32_t i = 0; i < a.len && equal; i++)
            equal = wj_same(a.u.items[i], b.u.items[i]) || wj_equal(x, a.u.items[i], b.u.items[i]);
        wj_leave(x);
        return equal;
    case WJ_DICT:
        wj_enter(x);
        equal = a.u.dict == b.u.dict || equal_dicts(x, a.u.dict, b.u.dict);
        wj_leave(x);
        return equal;
    case WJ_VIEW:
        return equal_views(x, a, b);
    case WJ_RANGE:
        return equal_ranges(a.u.range, b.u.range);
    case WJ_METHOD:
        return a.sub == b.sub && wj_same(a.u.method->self, b.u.method->self);
    default:
        return wj_same(a, b);
    }
}

static _Noreturn void fail_order(struct wj_run *x, enum wj_op op, struct wj_val a,
                                 struct wj_val b) {
    static const char *const texts[] = {"<", "<=", ">", ">="};
    if (a.kind == WJ_UNDEF)
        wj_fail_undefined(x, a);
    if (b.kind == WJ_UNDEF)
        wj_fail_undefined(x, b);
    wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' not supported between instances of '%s' and '%s'",
            texts[op - WJ_OP_LT], wj_type_name(a), wj_type_name(b));
}

static bool in_order(enum wj_op op, int c) {
    switch (op) {
    case WJ_OP_LT:
        return c == -1;
    case WJ_OP_LE:
        return c == -1 || c == 0;
    case WJ_OP_GT:
        return c == 1;
    default:
        return c == 1 || c == 0;
    }
}

static bool subset(struct wj_run *x, struct wj_val a, struct wj_val b) {
    struct wj_iter it = wj_iterate(x, a);
    struct wj_val v;
    while (wj_next(x, &it, &v))
        if (!wj_contains(x, b, v))
            return false;
    return true;
}

static bool order_views(struct wj_run *x, enum wj_op op, struct wj_val a, struct wj_val b) {
    int64_t na = wj_len(x, a), nb = wj_len(x, b);
    if (op == WJ_OP_LT || op == WJ_OP_LE)
        return (op == WJ_OP_LT ? na < nb : na <= nb) && subset(x, a, b);
    return (op == WJ_OP_GT ? na > nb : na >= nb) && subset(x, b, a);
}

bool wj_order(struct wj_run *x, enum wj_op op, struct wj_val a, struct wj_val b) {
    if (is_number(a) && is_number(b))
        return in_order(op, compare_numbers(x, a, b));
    if (a.kind == WJ_STR && b.kind == WJ_STR)
        return in_order(op, compare_strings(x, a, b));
    if (wj_is_seq(a) && a.kind == b.kind) {
        uint32_t n = a.len < b.len ? a.len : b.len;
        bool result;
        wj_enter(x);
        for (uint32_t i = 0; i < n; i++) {
            wj_charge(x, 1);
            if (!wj_same(a.u.items[i], b.u.items[i]) && !wj_equal(x, a.u.items[i], b.u.items[i])) {
                result = wj_order(x, op, a.u.items[i], b.u.items[i]);
                wj_leave(x);
                return result;
            }
        }
        wj_leave(x);
        return in_order(op, a.len < b.len ? -1 : a.len > b.len);
    }
    if (a.kind == WJ_VIEW && b.kind == WJ_VIEW && a.sub != WJ_VIEW_VALUES &&
        b.sub != WJ_VIEW_VALUES)
        return order_views(x, op, a, b);
    fail_order(x, op, a, b);
}

/* ---- dicts -------------------------------------------------------------------------------- */

enum { INDEX_FROM = 9 }; /* pairs from which a dict has an index */

void wj_need_hashable(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_LIST || v.kind == WJ_DICT || (v.kind == WJ_VIEW && v.sub != WJ_VIEW_VALUES))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "unhashable type: '%s'", wj_type_name(v));
    if (v.kind == WJ_TUPLE) {
        wj_enter(x);
        for (uint32_t i = 0; i < v.len; i++)
            wj_need_hashable(x, v.u.items[i]);
        wj_leave(x);
    }
}

static uint32_t mix(uint64_t h) {
    h *= 0x9E3779B97F4A7C15ull;
    return (uint32_t)(h >> 32);
}

static uint32_t hash_bytes(struct weir_span s) {
    uint64_t h = s.len * 0xC2B2AE3D27D4EB4Full, w;
    const char *p = s.data;
    size_t n = s.len;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 29;
    }
    w = 0;
    if (n > 0)
        memcpy(&w, p, n);
    return mix(h ^ w);
}

/* Equal values have equal hashes: 1, 1.0 and true are one key. */
static uint32_t hash(struct wj_run *x, struct wj_val v) {
    uint32_t h = v.kind;
    switch (v.kind) {
    case WJ_STR:
        return hash_bytes(wj_text(x, v));
    case WJ_BIG:
        return hash_bytes(weir_span(v.u.s, v.len));
    case WJ_BOOL:
    case WJ_INT:
        return mix((uint64_t)v.u.i);
    case WJ_FLOAT:
        if (v.u.f >= -9e18 && v.u.f <= 9e18 && v.u.f == (double)(int64_t)v.u.f)
            return mix((uint64_t)(int64_t)v.u.f);
        return mix((uint64_t)(v.u.f * 1e3));
    case WJ_TUPLE:
        for (uint32_t i = 0; i < v.len; i++)
            h = mix(h * 31ull + hash(x, v.u.items[i]));
        return h;
    case WJ_UNDEF:
    case WJ_NONE:
    case WJ_RANGE:
        return h;
    default:
        return mix((uint64_t)(uintptr_t)v.u.s);
    }
}

struct wj_val wj_dict_new(struct wj_run *x, size_t room) {
    struct wj_dict *d = wj_alloc(x, sizeof(*d));
    *d = (struct wj_dict){.cap = (uint32_t)room};
    d->pairs = room > 0 ? wj_alloc(x, room * sizeof(*d->pairs)) : NULL;
    return (struct wj_val){.kind = WJ_DICT, .u.dict = d};
}

static bool key_equal(struct wj_run *x, struct wj_val a, struct wj_val b) {
    return wj_same(a, b) || wj_equal(x, a, b);
}

struct wj_val *wj_dict_get(struct wj_run *x, const struct wj_dict *d, struct wj_val key) {
    if (key.kind == WJ_STR && d->index == NULL)
        return wj_dict_find(x, d, wj_text(x, key));
    wj_need_hashable(x, key);
    if (d->index == NULL) {
        for (uint32_t i = 0; i < d->n; i++)
            if (key_equal(x, d->pairs[i].key, key))
                return &d->pairs[i].value;
        return NULL;
    }
    for (uint32_t at = hash(x, key);; at++) {
        uint32_t pos = d->index[at & d->mask];
        if (pos == 0)
            return NULL;
        if (key_equal(x, d->pairs[pos - 1].key, key))
            return &d->pairs[pos - 1].value;
        wj_charge(x, 1);
    }
}

struct wj_val *wj_dict_find(struct wj_run *x, const struct wj_dict *d, struct weir_span key) {
    if (d->index != NULL)
        return wj_dict_get(x, d, wj_str(key));
    for (uint32_t i = 0; i < d->n; i++) {
        const struct wj_val *k = &d->pairs[i].key;
        if (k->len == key.len && k->kind == WJ_STR && same_text(wj_text(x, *k).data, key))
            return &d->pairs[i].value;
    }
    return NULL;
}

static void index_pair(struct wj_run *x, struct wj_dict *d, uint32_t pos) {
    uint32_t at = hash(x, d->pairs[pos].key);
    while (d->index[at & d->mask] != 0)
        at++;
    d->index[at & d->mask] = pos + 1;
}

static void build_index(struct wj_run *x, struct wj_dict *d) {
    uint32_t size = 32;
    while (size < d->cap * 2)
        size *= 2;
    d->index = wj_alloc(x, size * sizeof(*d->index));
    memset(d->index, 0, size * sizeof(*d->index));
    d->mask = size - 1;
    wj_charge(x, d->n);
    for (uint32_t i = 0; i < d->n; i++)
        index_pair(x, d, i);
}

void wj_dict_set(struct wj_run *x, struct wj_dict *d, struct wj_val key, struct wj_val value) {
    struct wj_val *old = wj_dict_get(x, d, key);
    if (old != NULL) {
        *old = value;
        return;
    }
    bool grown = d->n == d->cap;
    if (grown) {
        d->cap = d->cap == 0 ? 8 : d->cap * 2;
        struct wj_pair *more = wj_alloc(x, d->cap * sizeof(*more));
        if (d->n > 0)
            memcpy(more, d->pairs, d->n * sizeof(*more));
        d->pairs = more;
    }
    d->pairs[d->n++] = (struct wj_pair){key, value};
    if (d->n >= INDEX_FROM && (d->index == NULL || grown))
        build_index(x, d);
    else if (d->index != NULL)
        index_pair(x, d, d->n - 1);
}

/* ---- containers and iteration ------------------------------------------------------------- */

bool wj_has_len(struct wj_val v) {
    switch (v.kind) {
    case WJ_UNDEF:
    case WJ_STR:
    case WJ_LIST:
    case WJ_TUPLE:
    case WJ_DICT:
    case WJ_VIEW:
    case WJ_RANGE:
    case WJ_LOOP:
        return true;
    default:
        return false;
    }
}

int64_t wj_len(struct wj_run *x, struct wj_val v) {
    switch (v.kind) {
    case WJ_UNDEF:
        return 0;
    case WJ_STR:
        return (int64_t)wj_points(wj_text(x, v));
    case WJ_LIST:
    case WJ_TUPLE:
        return v.len;
    case WJ_DICT:
    case WJ_VIEW:
        return v.u.dict->n;
    case WJ_RANGE:
        return v.u.range->n;
    case WJ_LOOP:
        return wj_loop_length(x, v);
    default:
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "object of type '%s' has no len()", wj_type_name(v));
    }
}

bool wj_is_iterable(struct wj_val v) {
    return (wj_has_len(v) || v.kind == WJ_GEN);
}

struct wj_iter wj_iterate(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_LOOP)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "iterating over the loop variable");
    if (v.kind == WJ_CYCLER || v.kind == WJ_NS || !wj_is_iterable(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object is not iterable", wj_type_name(v));
    if (v.kind == WJ_STR) {
        struct weir_span s = wj_text(x, v);
        v = wj_str(s);
    }
    return (struct wj_iter){.source = v};
}

bool wj_next(struct wj_run *x, struct wj_iter *it, struct wj_val *ret) {
    struct wj_val s = it->source;
    uint64_t i = it->pos;
    wj_charge(x, 1);
    switch (s.kind) {
    case WJ_LIST:
    case WJ_TUPLE:
        if (i >= s.len)
            return false;
        *ret = s.u.items[i];
        it->pos++;
        return true;
    case WJ_DICT:
        if (i >= s.u.dict->n)
            return false;
        *ret = s.u.dict->pairs[i].key;
        it->pos++;
        return true;
    case WJ_VIEW:
        if (i >= s.u.dict->n)
            return false;
        const struct wj_pair *p = &s.u.dict->pairs[i];
        *ret = s.sub == WJ_VIEW_ITEMS  ? wj_pair_tuple(x, p->key, p->value)
               : s.sub == WJ_VIEW_KEYS ? p->key
                                       : p->value;
        it->pos++;
        return true;
    case WJ_STR: {
        if (i >= s.len)
            return false;
        const char *p2 = s.u.s + i;
        wj_decode(&p2, s.u.s + s.len);
        *ret = wj_str(weir_span(s.u.s + i, (size_t)(p2 - s.u.s) - i));
        it->pos = (uint64_t)(p2 - s.u.s);
        return true;
    }
    case WJ_RANGE:
        if (i >= (uint64_t)s.u.range->n)
            return false;
        *ret = wj_int(s.u.range->start + (int64_t)i * s.u.range->step);
        it->pos++;
        return true;
    case WJ_GEN:
        if (s.u.gen->fill != NULL)
            fill(x, s.u.gen);
        if (s.u.gen->pos >= s.u.gen->n)
            return false;
        *ret = s.u.gen->items[s.u.gen->pos++];
        return true;
    default:
        return false;
    }
}

struct wj_vec wj_collect(struct wj_run *x, struct wj_val v) {
    struct wj_vec vec = {.at = wj_nothing};
    if (wj_is_seq(v))
        return (struct wj_vec){(struct wj_val *)(uintptr_t)v.u.items, v.len, v.len};
    struct wj_iter it = wj_iterate(x, v);
    struct wj_val item;
    while (wj_next(x, &it, &item))
        wj_push(x, &vec, item);
    return vec;
}

static bool contains_text(struct wj_run *x, struct wj_val container, struct wj_val v) {
    if (v.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'in <string>' requires string as left operand, not %s",
                wj_type_name(v));
    wj_charge(x, container.len / 64);
    return wj_find(wj_text(x, container), wj_text(x, v), 0) >= 0;
}

static bool contains_range(const struct wj_range *r, int64_t i) {
    if (r->n == 0)
        return false;
    int64_t last = r->start + (r->n - 1) * r->step;
    int64_t low = r->step > 0 ? r->start : last, high = r->step > 0 ? last : r->start;
    return i >= low && i <= high && (i - r->start) % r->step == 0;
}

bool wj_contains(struct wj_run *x, struct wj_val container, struct wj_val v) {
    switch (container.kind) {
    case WJ_STR:
        return contains_text(x, container, v);
    case WJ_DICT:
        return wj_dict_get(x, container.u.dict, v) != NULL;
    case WJ_VIEW:
        if (container.sub == WJ_VIEW_KEYS)
            return wj_dict_get(x, container.u.dict, v) != NULL;
        break;
    case WJ_RANGE:
        if (wj_is_int(v))
            return contains_range(container.u.range, v.u.i);
        break;
    default:
        break;
    }
    if (!wj_is_iterable(container) || container.kind == WJ_LOOP)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "argument of type '%s' is not iterable",
                wj_type_name(container));
    struct wj_iter it = wj_iterate(x, container);
    struct wj_val item;
    while (wj_next(x, &it, &item))
        if (wj_same(item, v) || wj_equal(x, item, v))
            return true;
    return false;
}

int64_t wj_index(struct wj_run *x, struct wj_val v, const char *what) {
    if (wj_is_int(v))
        return v.u.i;
    if (v.kind == WJ_BIG)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "an integer beyond 64 bits as %s", what);
    wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object cannot be interpreted as an integer",
            wj_type_name(v));
}

/* Stable merge sort with "<" only, as Python's. `values` follow their keys. */
static void merge_sort(struct wj_run *x, struct wj_val *k, struct wj_val *v, struct wj_val *tk,
                       struct wj_val *tv, size_t n) {
    if (n < 2)
        return;
    size_t half = n / 2, i = 0, j = half, o = 0;
    merge_sort(x, k, v, tk, tv, half);
    merge_sort(x, k + half, v + half, tk, tv, n - half);
    while (i < half && j < n) {
        wj_charge(x, 1);
        size_t take = wj_order(x, WJ_OP_LT, k[j], k[i]) ? j++ : i++;
        tk[o] = k[take];
        tv[o++] = v[take];
    }
    for (; i < half; i++, o++) {
        tk[o] = k[i];
        tv[o] = v[i];
    }
    memcpy(k, tk, o * sizeof(*k));
    memcpy(v, tv, o * sizeof(*v));
}

/* Looked at first, so that values without an order fail at the same pair as in Python. */
static bool in_one_run(struct wj_run *x, const struct wj_val *keys, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (wj_order(x, WJ_OP_LT, keys[i], keys[i - 1]))
            return false;
    return true;
}

void wj_sort(struct wj_run *x, struct wj_val *keys, struct wj_val *values, size_t n, bool reverse) {
    struct wj_val *tk = wj_alloc(x, n * sizeof(*tk) + 1), *tv = wj_alloc(x, n * sizeof(*tv) + 1);
    for (int pass = 0; pass < 2; pass++) {
        if (reverse) /* Python reverses, sorts and reverses, which keeps equal ones in order */
            for (size_t i = 0; i < n / 2; i++) {
                struct wj_val a = keys[i], b = values[i];
                keys[i] = keys[n - 1 - i];
                values[i] = values[n - 1 - i];
                keys[n - 1 - i] = a;
                values[n - 1 - i] = b;
            }
        if (pass == 0 && !in_one_run(x, keys, n))
            merge_sort(x, keys, values, tk, tv, n);
    }
}
