/*
 * What can be called: the global functions, bound methods of containers and numbers, and the
 * binding of arguments to parameters. Attributes that Python objects have are known by name, so
 * that `message.items` is the method even where the message has a key "items", as in Jinja2.
 */
#include "tokenizer/jinja_attr_priv.h"
#include "tokenizer/jinja_priv.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

/* ---- attributes --------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned types;
} attrs[] = {{NULL, 0},
#define X(name, types) {#name, types},
             WJ_ATTR_MAP(X)
#undef X
};

unsigned wj_attr_number(struct weir_span name) {
    size_t low = 1, high = WEIR_ARRAY_LEN(attrs);
    if (name.len == 0 || name.len > 20)
        return 0;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strncmp(name.data, attrs[mid].name, name.len);
        if (c == 0)
            c = attrs[mid].name[name.len] == '\0' ? 0 : -1;
        if (c == 0)
            return (unsigned)mid;
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return 0;
}

const char *wj_attr_name(unsigned attr) {
    return attrs[attr].name;
}

bool wj_has_attr(struct wj_val v, unsigned attr) {
    static const uint16_t types[] = {
        [WJ_STR] = WJ_TS,     [WJ_DICT] = WJ_TD,    [WJ_LIST] = WJ_TL,   [WJ_TUPLE] = WJ_TT,
        [WJ_BOOL] = WJ_TI,    [WJ_INT] = WJ_TI,     [WJ_BIG] = WJ_TI,    [WJ_FLOAT] = WJ_TF,
        [WJ_RANGE] = WJ_TR,   [WJ_VIEW] = WJ_TV,    [WJ_GEN] = WJ_TG,    [WJ_CYCLER] = WJ_TC,
        [WJ_JOINER] = WJ_TJ,  [WJ_LOOP] = WJ_TP,    [WJ_NONE] = 1 << 14, [WJ_FUNC] = 1 << 14,
        [WJ_MACRO] = 1 << 14, [WJ_METHOD] = 1 << 14};
    if (v.kind == WJ_TUPLE && (v.flags & WJ_GROUP) != 0 && (attrs[attr].types & WJ_TQ) != 0)
        return true;
    return v.kind < WEIR_ARRAY_LEN(types) && (attrs[attr].types & types[v.kind]) != 0;
}

static struct wj_val unsafe(struct wj_run *x, struct wj_val v, unsigned attr) {
    struct wj_undef *u = wj_alloc(x, sizeof(*u));
    *u = (struct wj_undef){WJ_UNDEF_UNSAFE, v, weir_span_z(attrs[attr].name), wj_none()};
    return (struct wj_val){.kind = WJ_UNDEF, .u.undef = u};
}

static bool is_unsafe(struct wj_val v, unsigned attr) {
    if (attrs[attr].name[0] == '_')
        return true;
    switch (attr) {
    case WJ_A_append:
    case WJ_A_insert:
    case WJ_A_sort:
    case WJ_A_extend:
    case WJ_A_remove:
    case WJ_A_reverse:
    case WJ_A_popitem:
    case WJ_A_setdefault:
    case WJ_A_update:
    case WJ_A_gi_code:
    case WJ_A_gi_frame:
        return true;
    case WJ_A_clear:
    case WJ_A_pop:
        return v.kind == WJ_DICT || v.kind == WJ_LIST;
    default:
        return false;
    }
}

static struct wj_val method(struct wj_run *x, struct wj_val self, unsigned attr) {
    struct wj_method *m = wj_alloc(x, sizeof(*m));
    m->self = self;
    return (struct wj_val){.kind = WJ_METHOD, .sub = (uint16_t)attr, .u.method = m};
}

struct wj_val wj_get_attr(struct wj_run *x, struct wj_val v, unsigned attr) {
    if (is_unsafe(v, attr))
        return unsafe(x, v, attr);
    if (v.kind == WJ_RANGE && (attr == WJ_A_start || attr == WJ_A_stop || attr == WJ_A_step))
        return wj_int(attr == WJ_A_start  ? v.u.range->start
                      : attr == WJ_A_stop ? v.u.range->stop
                                          : v.u.range->step);
    if (wj_is_int(v) && (attr == WJ_A_real || attr == WJ_A_numerator))
        return wj_int(v.u.i);
    if (v.kind == WJ_FLOAT && attr == WJ_A_real)
        return v;
    if (attr == WJ_A_imag)
        return v.kind == WJ_FLOAT ? wj_float(0) : wj_int(0);
    if (attr == WJ_A_denominator)
        return wj_int(1);
    if (v.kind == WJ_CYCLER && attr == WJ_A_current)
        return v.u.cycler->items[v.u.cycler->pos];
    if (v.kind == WJ_CYCLER && attr == WJ_A_pos)
        return wj_int(v.u.cycler->pos);
    if (v.kind == WJ_CYCLER && attr == WJ_A_items)
        return wj_tuple(v.u.cycler->items, v.u.cycler->n);
    if (v.kind == WJ_TUPLE && (attr == WJ_A_grouper || attr == WJ_A_list))
        return v.u.items[attr == WJ_A_list];
    if (v.kind == WJ_JOINER)
        return attr == WJ_A_sep ? v.u.joiner->sep : wj_bool(v.u.joiner->used);
    return method(x, v, attr);
}

/* ---- arguments ---------------------------------------------------------------------------- */

void wj_bind(struct wj_run *x, const char *what, const struct wj_args *a, const char *const *params,
             size_t n, size_t required, struct wj_val *values) {
    if (a->n > n)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s() takes at most %zu arguments (%u given)", what, n,
                a->n);
    for (uint32_t i = 0; i < a->n; i++)
        values[i] = a->at[i];
    uint64_t given = ((uint64_t)1 << a->n) - 1;
    for (uint32_t k = 0; k < a->n_named; k++) {
        size_t i = 0;
        while (i < n && !weir_span_eqz(a->names[k], params[i]))
            i++;
        if (i == n)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s() got an unexpected keyword argument '%.*s'", what,
                    WEIR_SPAN_ARG(a->names[k]));
        if (given >> i & 1)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s() got multiple values for argument '%s'", what,
                    params[i]);
        values[i] = a->named[k];
        given |= (uint64_t)1 << i;
    }
    for (size_t i = 0; i < required; i++)
        if (!(given >> i & 1))
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s() missing 1 required positional argument: '%s'",
                    what, params[i]);
}

void wj_positional(struct wj_run *x, const char *what, const struct wj_args *a, uint32_t min,
                   uint32_t max) {
    if (a->n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s() takes no keyword arguments", what);
    if (a->n < min || a->n > max)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "%s expected %s %u argument%s, got %u", what,
                a->n < min ? "at least" : "at most", a->n < min ? min : max,
                (a->n < min ? min : max) == 1 ? "" : "s", a->n);
}

/* ---- global functions --------------------------------------------------------------------- */

#define GLOBALS(X)                                                                                 \
    X(RANGE, "range")                                                                              \
    X(DICT, "dict")                                                                                \
    X(LIPSUM, "lipsum")                                                                            \
    X(CYCLER, "cycler")                                                                            \
    X(JOINER, "joiner")                                                                            \
    X(NAMESPACE, "namespace")                                                                      \
    X(RAISE, "raise_exception")                                                                    \
    X(STRFTIME, "strftime_now")

enum {
    G_NONE,
#define X(id, text) G_##id,
    GLOBALS(X)
#undef X
};

static const char *const globals[] = {
#define X(id, text) [G_##id] = (text),
    GLOBALS(X)
#undef X
};

/* Asked at each rendering for every name that is not among the variables. */
unsigned wj_global(struct weir_span name) {
#define X(id, text)                                                                                \
    if (weir_span_eq(name, WEIR_SPAN_LIT(text)))                                                   \
        return G_##id;
    GLOBALS(X)
#undef X
    return G_NONE;
}

static struct wj_val make_range(struct wj_run *x, const struct wj_args *a) {
    enum { SANDBOX_MAX = 100000 };
    wj_positional(x, "range", a, 1, 3);
    struct wj_range *r = wj_alloc(x, sizeof(*r));
    *r = (struct wj_range){.step = 1};
    if (a->n == 1) {
        r->stop = wj_index(x, a->at[0], "a range");
    } else {
        r->start = wj_index(x, a->at[0], "a range");
        r->stop = wj_index(x, a->at[1], "a range");
    }
    if (a->n == 3)
        r->step = wj_index(x, a->at[2], "a range");
    if (r->step == 0)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "range() arg 3 must not be zero");
    __int128 span = r->step > 0 ? (__int128)r->stop - r->start : (__int128)r->start - r->stop;
    __int128 step = r->step > 0 ? r->step : -(__int128)r->step;
    __int128 n = span > 0 ? (span - 1) / step + 1 : 0;
    if (n > SANDBOX_MAX)
        wj_fail(x, WTOK_JINJA_ERR_OVERFLOW,
                "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
    r->n = (int64_t)n;
    return (struct wj_val){.kind = WJ_RANGE, .u.range = r};
}

static void add_pairs(struct wj_run *x, struct wj_dict *d, struct wj_val pairs) {
    if (pairs.kind == WJ_DICT) {
        for (uint32_t i = 0; i < pairs.u.dict->n; i++)
            wj_dict_set(x, d, pairs.u.dict->pairs[i].key, pairs.u.dict->pairs[i].value);
        return;
    }
    if (pairs.kind == WJ_UNDEF) /* asked for its keys */
        wj_fail_undefined(x, pairs);
    struct wj_iter it = wj_iterate(x, pairs);
    struct wj_val pair;
    for (unsigned i = 0; wj_next(x, &it, &pair); i++) {
        if (!wj_is_iterable(pair))
            wj_fail(x, WTOK_JINJA_ERR_TYPE,
                    "cannot convert dictionary update sequence element #%u to a sequence", i);
        struct wj_vec two = wj_collect(x, pair);
        if (two.n != 2)
            wj_fail(x, WTOK_JINJA_ERR_VALUE,
                    "dictionary update sequence element #%u has length %u; 2 is required", i,
                    two.n);
        wj_need_hashable(x, two.at[0]);
        wj_dict_set(x, d, two.at[0], two.at[1]);
    }
}

static struct wj_val make_dict(struct wj_run *x, const struct wj_args *a) {
    struct wj_val v = wj_dict_new(x, a->n_named);
    if (a->n > 1)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "dict expected at most 1 argument, got %u", a->n);
    if (a->n == 1)
        add_pairs(x, v.u.dict, a->at[0]);
    for (uint32_t i = 0; i < a->n_named; i++)
        wj_dict_set(x, v.u.dict, wj_str(a->names[i]), a->named[i]);
    return v;
}

static struct wj_val make_cycler(struct wj_run *x, const struct wj_args *a) {
    if (a->n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "cycler() takes no keyword arguments");
    if (a->n == 0)
        wj_fail(x, WTOK_JINJA_ERR_RUNTIME, "at least one item has to be provided");
    struct wj_cycler *c = wj_alloc(x, sizeof(*c));
    *c = (struct wj_cycler){a->at, a->n, 0};
    return (struct wj_val){.kind = WJ_CYCLER, .u.cycler = c};
}

static struct wj_val make_joiner(struct wj_run *x, const struct wj_args *a) {
    static const char *const params[] = {"sep"};
    struct wj_joiner *j = wj_alloc(x, sizeof(*j));
    *j = (struct wj_joiner){wj_strz(", "), false};
    wj_bind(x, "joiner", a, params, 1, 0, &j->sep);
    return (struct wj_val){.kind = WJ_JOINER, .u.joiner = j};
}

/* datetime.now().strftime(format): local time, no zone. */
struct wj_val wj_strftime_now(struct wj_run *x, struct weir_span format) {
    int64_t us = x->render->now_us;
    if (us == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        x->render->now_us = us; /* one rendering, one time */
    }
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "a time out of range");
    char *fmt = wj_alloc(x, format.len * 6 + 2), *f = fmt;
    for (size_t i = 0; i < format.len; i++) {
        char c = format.data[i], next = i + 1 < format.len ? format.data[i + 1] : '\0';
        if (c == '\0')
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "embedded null character");
        if (c == '%' && (next == 'f' || next == 'z' || next == 'Z')) {
            if (next == 'f')
                f += snprintf(f, 7, "%06d", (int)(us % 1000000));
            i++;
            continue;
        }
        *f++ = c;
        if (c == '%' && next != '\0') {
            *f++ = next;
            i++;
        }
    }
    *f++ = ' '; /* tells an empty result from one that does not fit */
    *f = '\0';
    size_t room = (size_t)(f - fmt) * 32 + 256;
    char *text = wj_alloc(x, room);
    wj_charge(x, room / 16);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, room, fmt, &tm);
#pragma GCC diagnostic pop
    if (n == 0)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a time format of this size");
    return wj_str(weir_span(text, n - 1));
}

struct wj_val wj_call_global(struct wj_run *x, unsigned which, const struct wj_args *a) {
    static const char *const message[] = {"message"}, *const format[] = {"format"};
    struct wj_val v = wj_none();
    struct weir_span s;
    switch (which) {
    case G_RANGE:
        return make_range(x, a);
    case G_DICT:
        return make_dict(x, a);
    case G_NAMESPACE:
        v = make_dict(x, a);
        v.kind = WJ_NS;
        return v;
    case G_CYCLER:
        return make_cycler(x, a);
    case G_JOINER:
        return make_joiner(x, a);
    case G_RAISE:
        wj_bind(x, "raise_exception", a, message, 1, 1, &v);
        s = wj_text(x, wj_to_str(x, v));
        wj_fail(x, WTOK_JINJA_ERR_TEMPLATE, "%.*s", WEIR_SPAN_ARG(s));
    case G_STRFTIME:
        wj_bind(x, "strftime_now", a, format, 1, 1, &v);
        if (v.kind != WJ_STR)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "strftime() argument 1 must be str, not %s",
                    wj_type_name(v));
        return wj_strftime_now(x, wj_text(x, v));
    default:
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "%s() is not supported: its text is random",
                globals[which]);
    }
}

/* ---- methods of other types than str ------------------------------------------------------ */

static _Noreturn void refuse(struct wj_run *x, struct wj_val self, unsigned attr) {
    wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "%s.%s() is not supported", wj_type_name(self),
            attrs[attr].name);
}

static struct wj_val view(struct wj_val dict, unsigned which) {
    return (struct wj_val){.kind = WJ_VIEW, .sub = (uint16_t)which, .u.dict = dict.u.dict};
}

static struct wj_val dict_method(struct wj_run *x, struct wj_val self, unsigned attr,
                                 const struct wj_args *a) {
    struct wj_val *hit, copy;
    switch (attr) {
    case WJ_A_get:
        wj_positional(x, "get", a, 1, 2);
        hit = wj_dict_get(x, self.u.dict, a->at[0]);
        return hit != NULL ? *hit : a->n == 2 ? a->at[1] : wj_none();
    case WJ_A_items:
        wj_positional(x, "dict.items", a, 0, 0);
        return view(self, WJ_VIEW_ITEMS);
    case WJ_A_keys:
        wj_positional(x, "dict.keys", a, 0, 0);
        return view(self, WJ_VIEW_KEYS);
    case WJ_A_values:
        wj_positional(x, "dict.values", a, 0, 0);
        return view(self, WJ_VIEW_VALUES);
    case WJ_A_copy:
        wj_positional(x, "dict.copy", a, 0, 0);
        copy = wj_dict_new(x, self.u.dict->n);
        add_pairs(x, copy.u.dict, self);
        return copy;
    default:
        refuse(x, self, attr);
    }
}

static struct wj_val count_items(struct wj_run *x, struct wj_val self, struct wj_val v) {
    struct wj_iter it = wj_iterate(x, self);
    struct wj_val item;
    int64_t n = 0;
    while (wj_next(x, &it, &item))
        n += wj_same(item, v) || wj_equal(x, item, v);
    return wj_int(n);
}

static struct wj_val find_item(struct wj_run *x, struct wj_val self, const struct wj_args *a) {
    struct wj_vec items = wj_collect(x, self);
    int64_t start = a->n > 1 ? wj_index(x, a->at[1], "an index") : 0;
    int64_t stop = a->n > 2 ? wj_index(x, a->at[2], "an index") : INT64_MAX;
    start = start < 0 ? start + items.n : start;
    stop = stop < 0 ? stop + items.n : stop;
    for (int64_t i = start < 0 ? 0 : start; i < stop && i < items.n; i++) {
        wj_charge(x, 1);
        if (wj_same(items.at[i], a->at[0]) || wj_equal(x, items.at[i], a->at[0]))
            return wj_int(i);
    }
    wj_fail(x, WTOK_JINJA_ERR_VALUE, "the value is not in the %s", wj_type_name(self));
}

static struct wj_val sequence_method(struct wj_run *x, struct wj_val self, unsigned attr,
                                     const struct wj_args *a) {
    switch (attr) {
    case WJ_A_count:
        wj_positional(x, "count", a, 1, 1);
        return count_items(x, self, a->at[0]);
    case WJ_A_index:
        wj_positional(x, "index", a, 1, self.kind == WJ_RANGE ? 1 : 3);
        return find_item(x, self, a);
    case WJ_A_copy:
        wj_positional(x, "list.copy", a, 0, 0);
        struct wj_val *items = wj_alloc(x, self.len * sizeof(*items) + 1);
        if (self.len > 0)
            memcpy(items, self.u.items, self.len * sizeof(*items));
        return wj_list(items, self.len);
    default:
        refuse(x, self, attr);
    }
}

static struct wj_val number_method(struct wj_run *x, struct wj_val self, unsigned attr,
                                   const struct wj_args *a) {
    uint64_t u =
        wj_is_int(self) && self.u.i < 0 ? (uint64_t)0 - (uint64_t)self.u.i : (uint64_t)self.u.i;
    wj_positional(x, attrs[attr].name, a, 0, 0);
    if (self.kind == WJ_FLOAT && attr == WJ_A_is_integer)
        return wj_bool(isfinite(self.u.f) && floor(self.u.f) == self.u.f);
    if (self.kind == WJ_FLOAT && attr == WJ_A_conjugate)
        return self;
    if (!wj_is_int(self))
        refuse(x, self, attr);
    switch (attr) {
    case WJ_A_conjugate:
        return wj_int(self.u.i);
    case WJ_A_bit_length:
        return wj_int(u == 0 ? 0 : 64 - __builtin_clzll(u));
    case WJ_A_bit_count:
        return wj_int(__builtin_popcountll(u));
    default:
        refuse(x, self, attr);
    }
}

static struct wj_val cycler_method(struct wj_run *x, struct wj_val self, unsigned attr,
                                   const struct wj_args *a) {
    struct wj_cycler *c = self.u.cycler;
    wj_positional(x, attrs[attr].name, a, 0, 0);
    if (attr == WJ_A_reset) {
        c->pos = 0;
        return wj_none();
    }
    struct wj_val v = c->items[c->pos];
    c->pos = (c->pos + 1) % c->n;
    return v;
}

struct wj_val wj_call_method(struct wj_run *x, struct wj_val self, unsigned attr,
                             const struct wj_args *a) {
    if (is_unsafe(self, attr))
        wj_fail_undefined(x, unsafe(x, self, attr));
    switch (self.kind) {
    case WJ_STR:
        return wj_str_method(x, self, attr, a);
    case WJ_DICT:
        return dict_method(x, self, attr, a);
    case WJ_LIST:
    case WJ_TUPLE:
    case WJ_RANGE:
        return sequence_method(x, self, attr, a);
    case WJ_LOOP:
        return wj_loop_method(x, self, attr == WJ_A_changed, a);
    case WJ_CYCLER:
        return cycler_method(x, self, attr, a);
    case WJ_BOOL:
    case WJ_INT:
    case WJ_FLOAT:
        return number_method(x, self, attr, a);
    default:
        refuse(x, self, attr);
    }
}
