/* Slices of texts, sequences and ranges, as Python takes them. */
#include "tokenizer/jinja_priv.h"

static bool slice_bound(struct wj_run *x, const struct wj_node *n, int64_t *ret) {
    if (n == NULL)
        return false;
    struct wj_val v = wj_eval(x, n);
    if (v.kind == WJ_NONE)
        return false;
    if (!wj_is_int(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE,
                "slice indices must be integers or None or have an __index__ method");
    *ret = v.u.i;
    return true;
}

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high) {
    if (i < 0)
        i = i < -n - 1 ? -1 : i + n;
    return i < low ? low : i > high ? high : i;
}

struct slice {
    int64_t start, step, n;
};

/* PySlice_AdjustIndices for a sequence of `len`. */
static struct slice adjust(struct wj_run *x, const struct wj_node *node, int64_t len) {
    int64_t start = 0, stop = 0, step = 1;
    bool has_start = slice_bound(x, node->a, &start), has_stop = slice_bound(x, node->b, &stop);
    if (slice_bound(x, node->c, &step) && step == 0)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "slice step cannot be zero");
    if (step < -INT64_MAX)
        step = -INT64_MAX;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? len - 1 : len;
    start = has_start ? clamp(start, len, low, high) : step < 0 ? high : low;
    stop = has_stop ? clamp(stop, len, low, high) : step < 0 ? low : high;
    int64_t n = step > 0 ? (stop > start ? (stop - start - 1) / step + 1 : 0)
                         : (start > stop ? (start - stop - 1) / -step + 1 : 0);
    return (struct slice){start, step, n};
}

static struct wj_val slice_text(struct wj_run *x, struct wj_val v, const struct wj_node *node) {
    struct weir_span s = wj_text(x, v);
    bool ascii = wj_is_ascii(s);
    wj_charge(x, s.len / 64);
    struct slice c = adjust(x, node, ascii ? (int64_t)s.len : (int64_t)wj_points(s));
    struct wj_val r;
    if (c.step == 1) {
        size_t from = ascii ? (size_t)c.start : wj_offset(s, (size_t)c.start);
        s = weir_span(s.data + from, s.len - from);
        s.len = ascii ? (size_t)c.n : wj_offset(s, (size_t)c.n);
        r = wj_str(s);
    } else {
        size_t mark = x->out->len;
        wj_charge(x, (uint64_t)c.n);
        if (ascii) {
            for (int64_t i = 0; i < c.n; i++)
                wj_put(x, s.data + c.start + i * c.step, 1);
        } else {
            uint32_t *codes = wj_alloc(x, s.len * sizeof(*codes) + 1);
            size_t n = 0;
            for (const char *p = s.data; p < s.data + s.len;)
                codes[n++] = wj_decode(&p, s.data + s.len);
            for (int64_t i = 0; i < c.n; i++)
                wj_put_code(x, codes[c.start + i * c.step]);
        }
        r = wj_cut(x, mark);
    }
    r.flags = v.flags & WJ_MARKUP;
    return r;
}

static struct wj_val slice_items(struct wj_run *x, struct wj_val v, const struct wj_node *node) {
    struct slice c = adjust(x, node, v.len);
    const struct wj_val *items = v.u.items + c.start;
    if (c.step != 1 || c.n == v.len) { /* a whole copy is another object */
        struct wj_val *copy = wj_alloc(x, (size_t)c.n * sizeof(*copy) + 1);
        wj_charge(x, (uint64_t)c.n / 8);
        for (int64_t i = 0; i < c.n; i++)
            copy[i] = v.u.items[c.start + i * c.step];
        items = copy;
    }
    return v.kind == WJ_LIST ? wj_list(items, (size_t)c.n) : wj_tuple(items, (size_t)c.n);
}

struct wj_val wj_slice(struct wj_run *x, struct wj_val v, const struct wj_node *node) {
    struct wj_range *r;
    switch (v.kind) {
    case WJ_UNDEF:
        wj_fail_undefined(x, v);
    case WJ_STR:
        return slice_text(x, v, node);
    case WJ_LIST:
    case WJ_TUPLE:
        return slice_items(x, v, node);
    case WJ_RANGE: {
        struct slice c = adjust(x, node, v.u.range->n);
        r = wj_alloc(x, sizeof(*r));
        *r = (struct wj_range){.start = v.u.range->start + c.start * v.u.range->step,
                               .step = v.u.range->step * c.step,
                               .n = c.n};
        r->stop = r->start + r->n * r->step;
        return (struct wj_val){.kind = WJ_RANGE, .u.range = r};
    }
    case WJ_DICT:
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "unhashable type: 'slice'");
    default:
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object is not subscriptable", wj_type_name(v));
    }
}
