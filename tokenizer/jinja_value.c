/*
 * The value model: leaving and memory, what an undefined says, Python's truth, equality and order.
 */
#include "tokenizer/jinja_attr_priv.h"
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
    /* The sandbox puts a function of its own around these two. */
    if (v.kind == WJ_METHOD && (v.sub == WJ_A_format || v.sub == WJ_A_format_map))
        return names[WJ_FUNC];
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

bool wj_equal(struct wj_run *x, struct wj_val a, struct wj_val b) {
    if (a.kind == WJ_STR && b.kind == WJ_STR) {
        if (a.len != b.len)
            return false;
        struct weir_span s = wj_text(x, a), t = wj_text(x, b);
        wj_charge(x, a.len / 64);
        return wj_same_text(s.data, t);
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
