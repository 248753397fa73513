/*
 * Evaluation of expressions: attribute and item access of Jinja2's sandbox, calls, filters.
 */
#include "tokenizer/jinja_priv.h"

/* ---- access ------------------------------------------------------------------------------- */

static struct wj_val undefined(struct wj_run *x, enum wj_undef_type type, struct wj_val obj,
                               struct weir_span name, struct wj_val item) {
    struct wj_undef *u = wj_alloc(x, sizeof(*u));
    *u = (struct wj_undef){type, obj, name, item};
    return (struct wj_val){.kind = WJ_UNDEF, .u.undef = u};
}

/* obj[key] where Python would not raise. */
static bool item(struct wj_run *x, struct wj_val v, struct wj_val key, struct wj_val *ret) {
    struct wj_val *hit;
    int64_t i;
    switch (v.kind) {
    case WJ_UNDEF:
        wj_fail_undefined(x, v);
    case WJ_DICT:
        if (key.kind == WJ_LIST || key.kind == WJ_DICT)
            return false; /* unhashable: a TypeError that Jinja2 swallows */
        hit = wj_dict_get(x, v.u.dict, key);
        if (hit != NULL)
            *ret = *hit;
        return hit != NULL;
    case WJ_LIST:
    case WJ_TUPLE:
        if (!wj_is_int(key))
            return false;
        i = key.u.i < 0 ? key.u.i + v.len : key.u.i;
        if (i < 0 || i >= v.len)
            return false;
        *ret = v.u.items[i];
        return true;
    case WJ_STR: {
        if (!wj_is_int(key))
            return false;
        struct weir_span s = wj_text(x, v);
        int64_t n = wj_is_ascii(s) ? (int64_t)s.len : (int64_t)wj_points(s);
        wj_charge(x, s.len / 64);
        i = key.u.i < 0 ? key.u.i + n : key.u.i;
        if (i < 0 || i >= n)
            return false;
        size_t at = (size_t)n == s.len ? (size_t)i : wj_offset(s, (size_t)i);
        s = weir_span(s.data + at, s.len - at);
        s.len = wj_offset(s, 1);
        *ret = wj_str(s);
        ret->flags = v.flags & WJ_MARKUP;
        return true;
    }
    case WJ_RANGE:
        if (!wj_is_int(key))
            return false;
        i = key.u.i < 0 ? key.u.i + v.u.range->n : key.u.i;
        if (i < 0 || i >= v.u.range->n)
            return false;
        *ret = wj_int(v.u.range->start + i * v.u.range->step);
        return true;
    default: /* a namespace has __setitem__ only */
        return false;
    }
}

struct wj_val wj_getattr(struct wj_run *x, struct wj_val v, struct weir_span name, unsigned attr) {
    struct wj_val *hit, ret;
    switch (v.kind) {
    case WJ_UNDEF:
        if (attr != 0 && name.data[0] == '_') /* the class has it */
            return undefined(x, WJ_UNDEF_UNSAFE, v, name, wj_none());
        wj_fail_undefined(x, v);
    case WJ_NS:
        hit = wj_dict_find(x, v.u.dict, name);
        if (hit != NULL && name.len > 0 && name.data[0] == '_')
            return undefined(x, WJ_UNDEF_UNSAFE, v, name, wj_none());
        return hit != NULL ? *hit : undefined(x, WJ_UNDEF_ATTR, v, name, wj_none());
    case WJ_LOOP:
        ret = wj_loop_attr(x, v, attr);
        break;
    case WJ_MACRO:
        ret = wj_macro_attr(x, v, name);
        break;
    case WJ_DICT:
        if (attr != 0 && wj_has_attr(v, attr))
            return wj_get_attr(x, v, attr);
        hit = wj_dict_find(x, v.u.dict, name);
        return hit != NULL ? *hit : undefined(x, WJ_UNDEF_ATTR, v, name, wj_none());
    default:
        if (attr != 0 && wj_has_attr(v, attr))
            return wj_get_attr(x, v, attr);
        if (item(x, v, wj_str(name), &ret))
            return ret;
        ret.kind = WJ_MISSING;
    }
    return ret.kind != WJ_MISSING ? ret : undefined(x, WJ_UNDEF_ATTR, v, name, wj_none());
}

struct wj_val wj_getitem(struct wj_run *x, struct wj_val v, struct wj_val key) {
    struct wj_val ret;
    if (item(x, v, key, &ret))
        return ret;
    if (key.kind != WJ_STR)
        return undefined(x, WJ_UNDEF_ITEM, v, weir_span(NULL, 0), key);
    struct weir_span name = wj_text(x, key);
    return wj_getattr(x, v, name, wj_attr_number(name));
}

/* ---- calls -------------------------------------------------------------------------------- */

static struct wj_vec spread_list(struct wj_run *x, const struct wj_node *list) {
    struct wj_val v = wj_eval(x, list);
    if (!wj_is_iterable(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "argument after * must be an iterable, not %s",
                wj_type_name(v));
    return wj_collect(x, v);
}

static void add_named(struct wj_run *x, struct wj_args *a, struct weir_span *names,
                      struct weir_span name, struct wj_val v) {
    for (uint32_t i = 0; i < a->n_named; i++)
        if (weir_span_eq(names[i], name))
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "got multiple values for keyword argument '%.*s'",
                    WEIR_SPAN_ARG(name));
    names[a->n_named] = name;
    a->named[a->n_named++] = v;
}

/* Room for one more by name is left (the caller of a call block). */
void wj_eval_args(struct wj_run *x, const struct wj_node *node, struct wj_args *a) {
    uint32_t n_named = node->n_args - node->n_positional;
    *a = (struct wj_args){.at = wj_nothing};
    if (node->n_args == 0 && node->b == NULL && node->c == NULL)
        return;
    struct wj_val *at = wj_alloc(x, (node->n_positional + 1) * sizeof(*at));
    for (uint32_t i = 0; i < node->n_positional; i++)
        at[i] = wj_eval(x, node->args[i].value);
    a->at = at;
    a->n = node->n_positional;
    if (n_named == 0 && node->b == NULL && node->c == NULL)
        return;
    struct wj_val *named = wj_alloc(x, (n_named + 1) * sizeof(*named));
    struct weir_span *names = wj_alloc(x, (n_named + 1) * sizeof(*names));
    struct wj_vec extra = {0};
    if (node->b != NULL)
        extra = spread_list(x, node->b);
    a->named = named;
    for (uint32_t i = 0; i < n_named; i++)
        add_named(x, a, names, node->args[node->n_positional + i].name,
                  wj_eval(x, node->args[node->n_positional + i].value));
    if (extra.n > 0) {
        struct wj_val *all = wj_alloc(x, (a->n + extra.n) * sizeof(*all));
        memcpy(all, a->at, a->n * sizeof(*all));
        memcpy(all + a->n, extra.at, extra.n * sizeof(*all));
        a->at = all;
        a->n += extra.n;
    }
    if (node->c != NULL) {
        struct wj_val d = wj_eval(x, node->c);
        if (d.kind != WJ_DICT)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "argument after ** must be a mapping, not %s",
                    wj_type_name(d));
        struct wj_val *more = wj_alloc(x, (n_named + d.u.dict->n + 1) * sizeof(*more));
        struct weir_span *more_names =
            wj_alloc(x, (n_named + d.u.dict->n + 1) * sizeof(*more_names));
        if (n_named > 0) {
            memcpy(more, named, n_named * sizeof(*more));
            memcpy(more_names, names, n_named * sizeof(*more_names));
        }
        a->named = more;
        names = more_names;
        for (uint32_t i = 0; i < d.u.dict->n; i++) {
            if (d.u.dict->pairs[i].key.kind != WJ_STR)
                wj_fail(x, WTOK_JINJA_ERR_TYPE, "keywords must be strings");
            add_named(x, a, names, wj_text(x, d.u.dict->pairs[i].key), d.u.dict->pairs[i].value);
        }
    }
    a->names = names;
}

struct wj_val wj_call(struct wj_run *x, struct wj_val callee, const struct wj_args *a) {
    struct wj_val r;
    wj_charge(x, 4);
    switch (callee.kind) {
    case WJ_UNDEF:
        wj_fail_undefined(x, callee);
    case WJ_FUNC:
        return wj_call_global(x, callee.sub, a);
    case WJ_METHOD:
        return wj_call_method(x, callee.u.method->self, callee.sub, a);
    case WJ_MACRO:
        return wj_call_macro(x, callee, a);
    case WJ_LOOP:
        return wj_call_loop(x, callee, a);
    case WJ_JOINER:
        r = callee.u.joiner->used ? callee.u.joiner->sep : wj_str(weir_span("", 0));
        callee.u.joiner->used = true;
        return r;
    default:
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object is not callable", wj_type_name(callee));
    }
}

static struct wj_val eval_call(struct wj_run *x, const struct wj_node *node) {
    const struct wj_node *f = node->a;
    struct wj_args a;
    if (f->kind == WJ_N_GETATTR && f->attr != 0) {
        struct wj_val self = wj_eval(x, f->a);
        struct weir_span name = weir_span(f->value.u.s, f->value.len);
        /* The usual call of a method needs no bound method. */
        if (self.kind == WJ_STR || self.kind == WJ_DICT || self.kind == WJ_LIST) {
            if (wj_has_attr(self, f->attr)) {
                wj_eval_args(x, node, &a);
                x->line = node->line;
                wj_charge(x, 4);
                return wj_call_method(x, self, f->attr, &a);
            }
        }
        struct wj_val callee = wj_getattr(x, self, name, f->attr);
        wj_eval_args(x, node, &a);
        x->line = node->line;
        return wj_call(x, callee, &a);
    }
    struct wj_val callee = wj_eval(x, f);
    wj_eval_args(x, node, &a);
    x->line = node->line;
    return wj_call(x, callee, &a);
}

static struct wj_val apply_filter(struct wj_run *x, const struct wj_node *node) {
    struct wj_val v = wj_eval(x, node->a);
    struct wj_args a;
    wj_eval_args(x, node, &a);
    x->line = node->line;
    wj_charge(x, 4);
    if (node->filter == NULL && a.n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "got an unexpected keyword argument '%.*s'",
                WEIR_SPAN_ARG(a.names[0]));
    if (node->filter == NULL)
        wj_fail(x, WTOK_JINJA_ERR_RUNTIME, "No %s named '%.*s' found.",
                node->kind == WJ_N_FILTER ? "filter" : "test", (int)node->value.len,
                node->value.u.s);
    return node->filter->fn(x, v, &a);
}

/* ---- evaluation --------------------------------------------------------------------------- */

static struct wj_frame *frame_at(const struct wj_run *x, unsigned up) {
    struct wj_frame *f = x->frame;
    for (; up > 0; up--)
        f = f->up;
    return f;
}

static struct wj_val eval_name(struct wj_run *x, const struct wj_node *node) {
    const struct wj_val *v = &frame_at(x, node->up)->slots[node->slot];
    if (v->kind != WJ_MISSING)
        return *v;
    return undefined(x, WJ_UNDEF_NAME, wj_none(), weir_span(node->value.u.s, node->value.len),
                     wj_none());
}

/* Most are members of a variable that is a dict: no value is handed about for these. */
static struct wj_val eval_getattr(struct wj_run *x, const struct wj_node *node) {
    const struct wj_node *a = node->a;
    struct weir_span name = weir_span(node->value.u.s, node->value.len);
    if (a->kind != WJ_N_NAME) {
        struct wj_val v = wj_eval(x, a);
        x->line = node->line;
        return wj_getattr(x, v, name, node->attr);
    }
    wj_charge(x, 1);
    const struct wj_val *v = &frame_at(x, a->up)->slots[a->slot];
    if (v->kind == WJ_DICT && node->attr == 0) {
        const struct wj_val *hit = wj_dict_find(x, v->u.dict, name);
        if (hit != NULL)
            return *hit;
    }
    struct wj_val held = eval_name(x, a);
    x->line = node->line;
    return wj_getattr(x, held, name, node->attr);
}

/* A sum of strings is put together once, not pairwise. */
struct parts {
    struct wj_val *at;
    uint32_t n;
    uint64_t len;
};

static struct wj_val join_parts(struct wj_run *x, const struct parts *p) {
    if (p->n == 1)
        return p->at[0];
    if (p->len >= 512 || p->len > x->out->max) {
        struct wj_val v = p->at[0];
        for (uint32_t i = 1; i < p->n; i++)
            v = wj_concat(x, v, p->at[i]);
        return v;
    }
    char *text = wj_alloc(x, p->len + 1), *end = text;
    for (uint32_t i = 0; i < p->n; i++) {
        struct weir_span s = wj_text(x, p->at[i]);
        if (s.len > 0)
            memcpy(end, s.data, s.len);
        end += s.len;
    }
    return wj_str(weir_span(text, p->len));
}

static bool is_plain(struct wj_val v) {
    return v.kind == WJ_STR && (v.flags & WJ_MARKUP) == 0;
}

/* The operands of a sum as strings whose concatenation is the sum, or the sum itself as one. */
static struct parts sum_parts(struct wj_run *x, const struct wj_node *node) {
    struct parts p = {wj_alloc(x, node->n * sizeof(struct wj_val)), 1, 0};
    p.at[0] = wj_eval(x, node->list[0]);
    if (p.at[0].kind == WJ_STR)
        p.len = p.at[0].len;
    for (uint32_t i = 1; i < node->n; i++) {
        struct wj_val v = wj_eval(x, node->list[i]);
        if (is_plain(v) && is_plain(p.at[0])) {
            p.at[p.n++] = v;
            p.len += v.len;
            continue;
        }
        x->line = node->line;
        v = wj_binary(x, WJ_OP_ADD, join_parts(x, &p), v);
        p.at[0] = v;
        p.n = 1;
        p.len = v.kind == WJ_STR ? v.len : 0;
    }
    return p;
}

static struct wj_val eval_concat(struct wj_run *x, const struct wj_node *node) {
    struct parts p = {wj_alloc(x, node->n * sizeof(struct wj_val)), node->n, 0};
    for (uint32_t i = 0; i < node->n; i++)
        p.at[i] = wj_eval(x, node->list[i]);
    for (uint32_t i = 0; i < node->n; i++) {
        p.at[i] = wj_to_str(x, p.at[i]);
        p.at[i].flags &= WJ_ROPE;
        p.len += p.at[i].len;
    }
    return join_parts(x, &p);
}

static struct wj_val eval_items(struct wj_run *x, const struct wj_node *node) {
    struct wj_val *items = node->n > 0 ? wj_alloc(x, node->n * sizeof(*items)) : NULL;
    for (uint32_t i = 0; i < node->n; i++)
        items[i] = wj_eval(x, node->list[i]);
    return node->kind == WJ_N_LIST ? wj_list(items, node->n) : wj_tuple(items, node->n);
}

static struct wj_val eval_dict(struct wj_run *x, const struct wj_node *node) {
    struct wj_val v = wj_dict_new(x, node->n / 2);
    for (uint32_t i = 0; i < node->n; i += 2) {
        struct wj_val key = wj_eval(x, node->list[i]);
        struct wj_val value = wj_eval(x, node->list[i + 1]);
        wj_need_hashable(x, key);
        wj_dict_set(x, v.u.dict, key, value);
    }
    return v;
}

static bool apply_compare(struct wj_run *x, enum wj_op op, struct wj_val a, struct wj_val b) {
    switch (op) {
    case WJ_OP_EQ:
        return wj_equal(x, a, b);
    case WJ_OP_NE:
        return !wj_equal(x, a, b);
    case WJ_OP_IN:
        return wj_contains(x, b, a);
    case WJ_OP_NOTIN:
        return !wj_contains(x, b, a);
    default:
        return wj_order(x, op, a, b);
    }
}

static bool eval_compare(struct wj_run *x, const struct wj_node *node) {
    struct wj_val left = wj_eval(x, node->a);
    for (uint32_t i = 0; i < node->n; i++) {
        struct wj_val right = wj_eval(x, node->list[i]);
        x->line = node->line;
        if (!apply_compare(x, (enum wj_op)node->ops[i], left, right))
            return false;
        left = right;
    }
    return true;
}

static struct wj_val eval_getitem(struct wj_run *x, const struct wj_node *node) {
    struct wj_val v = wj_eval(x, node->a);
    x->line = node->line;
    if (node->b->kind == WJ_N_SLICE)
        return wj_slice(x, v, node->b);
    return wj_getitem(x, v, wj_eval(x, node->b));
}

static struct wj_val eval_cond(struct wj_run *x, const struct wj_node *node) {
    if (wj_eval_test(x, node->a))
        return wj_eval(x, node->b);
    if (node->c != NULL)
        return wj_eval(x, node->c);
    size_t mark = x->out->len;
    wj_putz(x, "the inline if-expression on line ");
    wj_put_repr(x, wj_int(node->line));
    wj_putz(x, " evaluated to false and no else section was defined.");
    struct wj_val text = wj_cut(x, mark), v = wj_hint(x, "");
    v.u.undef->text = weir_span(text.u.s, text.len);
    return v;
}

static struct wj_val eval_inner(struct wj_run *x, const struct wj_node *node) {
    struct wj_val v;
    switch (node->kind) {
    case WJ_N_LIST:
    case WJ_N_TUPLE:
        return eval_items(x, node);
    case WJ_N_DICT:
        return eval_dict(x, node);
    case WJ_N_COND:
        return eval_cond(x, node);
    case WJ_N_OR:
        v = wj_eval(x, node->a);
        return wj_truth(v) ? v : wj_eval(x, node->b);
    case WJ_N_AND:
        v = wj_eval(x, node->a);
        return wj_truth(v) ? wj_eval(x, node->b) : v;
    case WJ_N_NOT:
        return wj_bool(!wj_eval_test(x, node->a));
    case WJ_N_COMPARE:
        return wj_bool(eval_compare(x, node));
    case WJ_N_ADD: {
        struct parts p = sum_parts(x, node);
        return join_parts(x, &p);
    }
    case WJ_N_BINARY: {
        struct wj_val a = wj_eval(x, node->a), b = wj_eval(x, node->b);
        x->line = node->line;
        return wj_binary(x, (enum wj_op)node->op, a, b);
    }
    case WJ_N_NEG:
    case WJ_N_POS:
        return wj_negate(x, wj_eval(x, node->a), node->kind == WJ_N_NEG);
    case WJ_N_CONCAT:
        return eval_concat(x, node);
    case WJ_N_GETITEM:
        return eval_getitem(x, node);
    case WJ_N_CALL:
        return eval_call(x, node);
    case WJ_N_FILTER:
    case WJ_N_TEST:
        return apply_filter(x, node);
    default:
        wj_fail(x, WTOK_JINJA_ERR_RUNTIME, "unexpected expression");
    }
}

struct wj_val wj_eval(struct wj_run *x, const struct wj_node *node) {
    wj_charge(x, 1);
    if (node->kind == WJ_N_CONST)
        return node->flag ? x->block_text : node->value;
    if (node->kind == WJ_N_NAME)
        return eval_name(x, node);
    if (node->kind == WJ_N_GETATTR)
        return eval_getattr(x, node);
    return eval_inner(x, node);
}

bool wj_eval_test(struct wj_run *x, const struct wj_node *node) {
    switch (node->kind) {
    case WJ_N_NOT:
        wj_charge(x, 1);
        return !wj_eval_test(x, node->a);
    case WJ_N_AND:
        wj_charge(x, 1);
        return wj_eval_test(x, node->a) && wj_eval_test(x, node->b);
    case WJ_N_OR:
        wj_charge(x, 1);
        return wj_eval_test(x, node->a) || wj_eval_test(x, node->b);
    case WJ_N_COMPARE:
        wj_charge(x, 1);
        return eval_compare(x, node);
    default:
        return wj_truth(wj_eval(x, node));
    }
}

/* {{ a + b }}: the parts go out without being put together first. */
void wj_print(struct wj_run *x, const struct wj_node *node) {
    if (node->kind == WJ_N_ADD) {
        wj_charge(x, 1);
        struct parts p = sum_parts(x, node);
        for (uint32_t i = 0; i < p.n; i++)
            wj_print_str(x, p.at[i]);
        return;
    }
    if (node->kind == WJ_N_CONST && node->flag == 0 && node->value.kind == WJ_STR) {
        wj_charge(x, 1);
        wj_put(x, node->value.u.s, node->value.len);
        return;
    }
    wj_print_str(x, wj_eval(x, node));
}
