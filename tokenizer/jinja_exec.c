/*
 * Statements: loops with their `loop` variable, assignments, macros and the blocks that catch their
 * own output.
 */
#include "tokenizer/jinja_attr_priv.h"
#include "tokenizer/jinja_priv.h"

enum signal { GO_ON, BREAK, CONTINUE };

struct wj_loop {
    struct wj_iter it;
    const struct wj_node *node;
    struct wj_frame *frame; /* of the body and the test */
    struct wj_frame *outer; /* in which a recursive loop was written */
    int64_t index0, length; /* length: -1 = not asked for yet */
    struct wj_val after, current, before, changed;
    bool has_after, has_changed, test_entered, tested; /* tested: `it` holds what passed */
    int64_t depth0;
};
struct wj_macro {
    const struct wj_node *node;
    struct wj_frame *frame; /* around the definition */
    struct weir_span name;  /* data NULL: a call block */
};

static enum signal exec(struct wj_run *x, struct wj_nodes nodes);

static void enter_scope(struct wj_run *x, const struct wj_scope *s) {
    struct wj_frame *f = x->frame;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct wj_load *l = &s->loads[i];
        if (l->action == WJ_LOAD_RESOLVE) {
            f->slots[l->slot] = x->context[l->from];
        } else if (l->action == WJ_LOAD_ALIAS) {
            const struct wj_frame *from = f;
            for (unsigned up = l->up; up > 0; up--)
                from = from->up;
            f->slots[l->slot] = from->slots[l->from];
        } else {
            f->slots[l->slot].kind = WJ_MISSING;
        }
    }
}

static struct wj_frame *new_frame(struct wj_run *x, const struct wj_func *func,
                                  struct wj_frame *up) {
    size_t bytes = sizeof(struct wj_frame) + func->n_slots * sizeof(struct wj_val);
    struct wj_frame *f = wj_alloc(x, bytes);
    memset(f, 0, bytes);
    f->up = up;
    return f;
}

/* Output goes into a string from here on. */
static size_t begin_capture(struct wj_run *x) {
    if (x->captures++ == 0)
        x->top = x->out->len;
    return x->out->len;
}
static struct wj_val end_capture(struct wj_run *x, size_t mark) {
    x->captures--;
    return wj_cut(x, mark);
}
static void drop_capture(struct wj_run *x, size_t mark) {
    x->captures--;
    x->out->len = mark;
}

/* ---- assignment --------------------------------------------------------------------------- */

static void assign(struct wj_run *x, const struct wj_node *target, struct wj_val v);

static struct wj_frame *frame_of(const struct wj_run *x, const struct wj_node *name) {
    struct wj_frame *f = x->frame;
    for (unsigned up = name->up; up > 0; up--)
        f = f->up;
    return f;
}

static void unpack(struct wj_run *x, const struct wj_node *target, struct wj_val v) {
    if (!wj_is_iterable(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "cannot unpack non-iterable %s object", wj_type_name(v));
    struct wj_iter it = wj_iterate(x, v);
    struct wj_val *items = wj_alloc(x, (target->n + 1) * sizeof(*items));
    uint32_t n = 0;
    while (n <= target->n && wj_next(x, &it, &items[n]))
        n++;
    if (n < target->n)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "not enough values to unpack (expected %u, got %u)",
                target->n, n);
    if (n > target->n)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "too many values to unpack (expected %u)", target->n);
    for (uint32_t i = 0; i < n; i++)
        assign(x, target->list[i], items[i]);
}

static void assign(struct wj_run *x, const struct wj_node *target, struct wj_val v) {
    if (target->kind == WJ_N_NAME) {
        frame_of(x, target)->slots[target->slot] = v;
    } else if (target->kind == WJ_N_TUPLE) {
        unpack(x, target, v);
    } else {
        struct wj_val ns = frame_of(x, target->a)->slots[target->a->slot];
        struct wj_val key = target->value;
        wj_dict_set(x, ns.u.dict, key, v);
    }
}

/* ns.a = … is only for namespaces; checked before the value is made, as in Jinja2. */
static void check_namespaces(struct wj_run *x, const struct wj_node *target) {
    if (target->kind == WJ_N_TUPLE)
        for (uint32_t i = 0; i < target->n; i++)
            check_namespaces(x, target->list[i]);
    else if (target->kind == WJ_N_NSREF &&
             frame_of(x, target->a)->slots[target->a->slot].kind != WJ_NS)
        wj_fail(x, WTOK_JINJA_ERR_RUNTIME, "cannot assign attribute on non-namespace object");
}

/* ---- loops -------------------------------------------------------------------------------- */

/* What the test of a loop hands on: a tuple target is packed again. */
static struct wj_val repack(struct wj_run *x, const struct wj_node *target, struct wj_val v) {
    if (target->kind != WJ_N_TUPLE)
        return v;
    struct wj_val *items = wj_alloc(x, target->n * sizeof(*items) + 1);
    for (uint32_t i = 0; i < target->n; i++) {
        const struct wj_node *t = target->list[i];
        items[i] = t->kind == WJ_N_NAME ? x->frame->slots[t->slot] : repack(x, t, v);
    }
    return wj_tuple(items, target->n);
}

static bool pull(struct wj_run *x, struct wj_loop *l, struct wj_val *ret) {
    const struct wj_node *node = l->node;
    if (node->c == NULL || l->tested)
        return wj_next(x, &l->it, ret);
    struct wj_frame *before = x->frame;
    x->frame = l->frame;
    if (!l->test_entered)
        enter_scope(x, node->scope2);
    l->test_entered = true;
    bool found = false;
    while (!found && wj_next(x, &l->it, ret)) {
        assign(x, node->d, *ret);
        found = wj_eval_test(x, node->c);
        if (found)
            *ret = repack(x, node->d, *ret);
    }
    x->frame = before;
    return found;
}

static bool peek(struct wj_run *x, struct wj_loop *l) {
    if (!l->has_after)
        l->has_after = pull(x, l, &l->after);
    return l->has_after;
}

static bool advance(struct wj_run *x, struct wj_loop *l) {
    struct wj_val v;
    if (l->has_after)
        v = l->after;
    else if (!pull(x, l, &v))
        return false;
    l->has_after = false;
    l->index0++;
    l->before = l->current;
    l->current = v;
    return true;
}

int64_t wj_loop_index(struct wj_val loop) {
    return loop.u.loop->index0;
}

int64_t wj_loop_length(struct wj_run *x, struct wj_val loop) {
    struct wj_loop *l = loop.u.loop;
    if (l->length >= 0)
        return l->length;
    if (l->node->c == NULL && wj_has_len(l->it.source))
        return l->length = wj_len(x, l->it.source);
    struct wj_vec rest = {0};
    struct wj_val v;
    while (pull(x, l, &v))
        wj_push(x, &rest, v);
    l->length = (int64_t)rest.n + l->index0 + 1 + l->has_after;
    l->it = wj_iterate(x, wj_gen(x, rest.at, rest.n, "list_iterator"));
    l->tested = true;
    return l->length;
}

struct wj_val wj_loop_attr(struct wj_run *x, struct wj_val loop, unsigned attr) {
    struct wj_loop *l = loop.u.loop;
    switch (attr) {
    case WJ_A_index0:
        return wj_int(l->index0);
    case WJ_A_index:
        return wj_int(l->index0 + 1);
    case WJ_A_revindex0:
        return wj_int(wj_loop_length(x, loop) - l->index0 - 1);
    case WJ_A_revindex:
        return wj_int(wj_loop_length(x, loop) - l->index0);
    case WJ_A_first:
        return wj_bool(l->index0 == 0);
    case WJ_A_last:
        return wj_bool(!peek(x, l));
    case WJ_A_length:
        return wj_int(wj_loop_length(x, loop));
    case WJ_A_previtem:
        return l->index0 == 0 ? wj_hint(x, "there is no previous item") : l->before;
    case WJ_A_nextitem:
        return peek(x, l) ? l->after : wj_hint(x, "there is no next item");
    case WJ_A_depth:
        return wj_int(l->depth0 + 1);
    case WJ_A_depth0:
        return wj_int(l->depth0);
    case WJ_A_cycle:
    case WJ_A_changed: {
        struct wj_method *m = wj_alloc(x, sizeof(*m));
        m->self = loop;
        return (struct wj_val){.kind = WJ_METHOD, .sub = (uint16_t)attr, .u.method = m};
    }
    default:
        return (struct wj_val){.kind = WJ_MISSING};
    }
}

struct wj_val wj_loop_method(struct wj_run *x, struct wj_val loop, bool changed,
                             const struct wj_args *a) {
    struct wj_loop *l = loop.u.loop;
    if (a->n_named > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "got an unexpected keyword argument '%.*s'",
                WEIR_SPAN_ARG(a->names[0]));
    if (!changed) {
        if (a->n == 0)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "no items for cycling given");
        return a->at[l->index0 % a->n];
    }
    struct wj_val v = wj_tuple(a->at, a->n);
    bool differs = !l->has_changed || !wj_equal(x, l->changed, v);
    l->changed = v;
    l->has_changed = true;
    return wj_bool(differs);
}

static void assign_item(struct wj_run *x, const struct wj_node *target, struct wj_val v) {
    if (target->kind == WJ_N_NAME)
        x->frame->slots[target->slot] = v;
    else
        unpack(x, target, v);
}

/* Runs in x->frame. Else runs when no body came to its end: after a break in the first one, too. */
static enum signal run_loop(struct wj_run *x, const struct wj_node *node, struct wj_val iterable,
                            struct wj_frame *outer, int64_t depth0) {
    struct wj_loop plain, *l = node->slot != 0 ? wj_alloc(x, sizeof(*l)) : &plain;
    *l = (struct wj_loop){.it = wj_iterate(x, iterable),
                          .node = node,
                          .frame = x->frame,
                          .outer = outer,
                          .index0 = -1,
                          .length = -1,
                          .depth0 = depth0};
    bool finished_one = false;
    while (advance(x, l)) {
        assign_item(x, node->a, l->current);
        if (node->slot != 0)
            x->frame->slots[node->slot - 1] = (struct wj_val){.kind = WJ_LOOP, .u.loop = l};
        enter_scope(x, node->scope);
        enum signal s = exec(x, node->body);
        if (s == BREAK)
            break;
        finished_one |= s == GO_ON;
    }
    if (finished_one || node->other.n == 0)
        return GO_ON;
    enter_scope(x, node->scope3);
    return exec(x, node->other);
}

static struct wj_val run_recursive(struct wj_run *x, const struct wj_node *node,
                                   struct wj_val iterable, struct wj_frame *outer, int64_t depth0) {
    struct wj_frame *before = x->frame;
    wj_enter(x);
    x->frame = new_frame(x, node->func, outer);
    size_t mark = begin_capture(x);
    run_loop(x, node, iterable, outer, depth0);
    struct wj_val text = end_capture(x, mark);
    x->frame = before;
    wj_leave(x);
    return text;
}

struct wj_val wj_call_loop(struct wj_run *x, struct wj_val loop, const struct wj_args *a) {
    static const char *const params[] = {"iterable"};
    struct wj_loop *l = loop.u.loop;
    struct wj_val iterable = wj_none();
    wj_bind(x, "loop", a, params, 1, 1, &iterable);
    if (!l->node->flag)
        wj_fail(x, WTOK_JINJA_ERR_TYPE,
                "The loop must have the 'recursive' marker to be called recursively.");
    return run_recursive(x, l->node, iterable, l->outer, l->depth0 + 1);
}

static enum signal exec_for(struct wj_run *x, const struct wj_node *node) {
    struct wj_val iterable = wj_eval(x, node->b);
    x->line = node->line;
    if (!node->flag)
        return run_loop(x, node, iterable, x->frame, 0);
    wj_put_str(x, run_recursive(x, node, iterable, x->frame, 0));
    return GO_ON;
}

/* ---- macros ------------------------------------------------------------------------------- */

static struct wj_val make_macro(struct wj_run *x, const struct wj_node *node,
                                struct weir_span name) {
    struct wj_macro *m = wj_alloc(x, sizeof(*m));
    *m = (struct wj_macro){node, x->frame, name};
    return (struct wj_val){.kind = WJ_MACRO, .u.macro = m};
}

struct weir_span wj_macro_name(struct wj_val macro) {
    return macro.u.macro->name;
}

struct wj_val wj_macro_attr(struct wj_run *x, struct wj_val macro, struct weir_span name) {
    const struct wj_node *n = macro.u.macro->node;
    if (weir_span_eqz(name, "name"))
        return macro.u.macro->name.data != NULL ? wj_str(macro.u.macro->name) : wj_none();
    if (weir_span_eqz(name, "arguments")) {
        struct wj_val *items = wj_alloc(x, (n->n_args + 1) * sizeof(*items));
        for (uint32_t i = 0; i < n->n_args; i++)
            items[i] = wj_str(n->args[i].name);
        return wj_tuple(items, n->n_args);
    }
    if (weir_span_eqz(name, "catch_kwargs"))
        return wj_bool(n->func->kwargs != 0);
    if (weir_span_eqz(name, "catch_varargs"))
        return wj_bool(n->func->varargs != 0);
    if (weir_span_eqz(name, "caller"))
        return wj_bool(n->func->caller != 0);
    return (struct wj_val){.kind = WJ_MISSING};
}

static void bind_special(struct wj_run *x, const struct wj_macro *m, struct wj_frame *f,
                         const struct wj_args *a, const bool *used) {
    const struct wj_node *n = m->node;
    const struct wj_func *func = n->func;
    struct wj_val kwargs = wj_dict_new(x, 0);
    for (uint32_t i = 0; i < a->n_named; i++) {
        if (used[i])
            continue;
        if (func->caller != 0 && weir_span_eqz(a->names[i], "caller")) {
            if (a->named[i].kind != WJ_NONE)
                f->slots[func->caller - 1] = a->named[i];
            continue;
        }
        if (func->kwargs == 0)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "macro '%.*s' takes no keyword argument '%.*s'",
                    WEIR_SPAN_ARG(m->name), WEIR_SPAN_ARG(a->names[i]));
        wj_dict_set(x, kwargs.u.dict, wj_str(a->names[i]), a->named[i]);
    }
    if (func->caller != 0 && f->slots[func->caller - 1].kind == WJ_MISSING)
        f->slots[func->caller - 1] = wj_hint(x, "No caller defined");
    if (func->kwargs != 0)
        f->slots[func->kwargs - 1] = kwargs;
    uint32_t n_rest = a->n > n->n_args ? a->n - n->n_args : 0;
    if (func->varargs != 0)
        f->slots[func->varargs - 1] = wj_tuple(a->at + (a->n - n_rest), n_rest);
    else if (n_rest > 0)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "macro '%.*s' takes not more than %u argument(s)",
                WEIR_SPAN_ARG(m->name), n->n_args);
}

static void bind_parameters(struct wj_run *x, const struct wj_macro *m, struct wj_frame *f,
                            const struct wj_args *a) {
    const struct wj_node *n = m->node;
    bool *used = a->n_named > 0 ? wj_alloc(x, a->n_named) : NULL;
    if (used != NULL)
        memset(used, 0, a->n_named);
    for (uint32_t i = 0; i < n->n_args; i++) {
        if (i < a->n) {
            f->slots[i] = a->at[i];
            continue;
        }
        for (uint32_t k = 0; k < a->n_named; k++)
            if (!used[k] && weir_span_eq(a->names[k], n->args[i].name)) {
                f->slots[i] = a->named[k];
                used[k] = true;
            }
    }
    bind_special(x, m, f, a, used);
}

static struct wj_val not_provided(struct wj_run *x, struct weir_span name) {
    size_t mark = x->out->len;
    wj_putz(x, "parameter ");
    wj_put_repr_text(x, name);
    wj_putz(x, " was not provided");
    struct wj_val text = wj_cut(x, mark), v = wj_hint(x, "");
    v.u.undef->text = weir_span(text.u.s, text.len);
    return v;
}

static void fill_defaults(struct wj_run *x, const struct wj_node *n) {
    for (uint32_t i = 0; i < n->n_args; i++)
        if (x->frame->slots[i].kind == WJ_MISSING)
            x->frame->slots[i] = n->args[i].value != NULL ? wj_eval(x, n->args[i].value)
                                                          : not_provided(x, n->args[i].name);
}

/* Runs a macro, its text staying in the output. */
static void run_macro(struct wj_run *x, struct wj_val macro, const struct wj_args *a) {
    const struct wj_macro *m = macro.u.macro;
    struct wj_frame *before = x->frame, *f = new_frame(x, m->node->func, m->frame);
    wj_enter(x);
    bind_parameters(x, m, f, a);
    x->frame = f;
    enter_scope(x, m->node->scope);
    fill_defaults(x, m->node);
    exec(x, m->node->body);
    x->frame = before;
    wj_leave(x);
}

struct wj_val wj_call_macro(struct wj_run *x, struct wj_val macro, const struct wj_args *a) {
    size_t mark = begin_capture(x);
    run_macro(x, macro, a);
    return end_capture(x, mark);
}

static void exec_call_block(struct wj_run *x, const struct wj_node *node) {
    struct wj_val caller = make_macro(x, node, weir_span(NULL, 0));
    struct wj_args a;
    struct wj_val callee = wj_eval(x, node->a->a);
    wj_eval_args(x, node->a, &a);
    struct wj_val *named = wj_alloc(x, (a.n_named + 1) * sizeof(*named));
    struct weir_span *names = wj_alloc(x, (a.n_named + 1) * sizeof(*names));
    for (uint32_t i = 0; i < a.n_named; i++) {
        if (weir_span_eqz(a.names[i], "caller"))
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "got multiple values for keyword argument 'caller'");
        named[i] = a.named[i];
        names[i] = a.names[i];
    }
    named[a.n_named] = caller;
    names[a.n_named++] = WEIR_SPAN_LIT("caller");
    a.named = named;
    a.names = names;
    x->line = node->line;
    wj_put_str(x, wj_call(x, callee, &a));
}

static void exec_generation(struct wj_run *x, const struct wj_node *node) {
    struct wj_args none = {.at = wj_nothing};
    size_t mark = x->out->len;
    run_macro(x, make_macro(x, node, weir_span(NULL, 0)), &none);
    struct wtok_jinja_render *r = x->render;
    size_t begin = (x->captures > 0 ? x->top : mark) - x->base, len = x->out->len - mark;
    if (r->n_ranges < r->max_ranges)
        r->ranges[r->n_ranges] = (struct wtok_jinja_range){begin, begin + len};
    r->n_ranges++;
}

/* ---- the other statements ----------------------------------------------------------------- */

/* Jinja2 does not look at what a block set writes to; Python then finds no item assignment. */
static void check_block_target(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_DICT || v.kind == WJ_LIST)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a block set into a %s", wj_type_name(v));
    if (v.kind != WJ_NS)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object does not support item assignment",
                v.kind == WJ_MISSING ? "_MissingType" : wj_type_name(v));
}

static enum signal exec_block(struct wj_run *x, const struct wj_node *node) {
    enter_scope(x, node->scope);
    size_t mark = begin_capture(x);
    enum signal s = exec(x, node->body);
    if (s != GO_ON) {
        drop_capture(x, mark);
        return s;
    }
    struct wj_val text = x->block_text = end_capture(x, mark);
    x->line = node->line;
    if (node->kind == WJ_N_FILTER_BLOCK) {
        wj_put_str(x, wj_eval(x, node->a));
        return GO_ON;
    }
    if (node->b != NULL)
        text = wj_eval(x, node->b);
    if (node->a->kind == WJ_N_NSREF)
        check_block_target(x, frame_of(x, node->a->a)->slots[node->a->a->slot]);
    assign(x, node->a, text);
    return GO_ON;
}

static enum signal exec_with(struct wj_run *x, const struct wj_node *node) {
    enter_scope(x, node->scope);
    for (uint32_t i = 0; i < node->n; i += 2)
        assign(x, node->list[i], wj_eval(x, node->list[i + 1]));
    return exec(x, node->body);
}

static enum signal exec_if(struct wj_run *x, const struct wj_node *node) {
    while (!wj_eval_test(x, node->a)) {
        if (node->op == 0)
            return node->other.n > 0 ? exec(x, node->other) : GO_ON;
        node = node->other.at[0];
    }
    return exec(x, node->body);
}

static enum signal exec_one(struct wj_run *x, const struct wj_node *node) {
    switch (node->kind) {
    case WJ_N_DATA:
        wj_put(x, node->value.u.s, node->value.len);
        return GO_ON;
    case WJ_N_PRINT:
        x->line = node->line;
        for (uint32_t i = 0; i < node->n; i++)
            wj_print(x, node->list[i]);
        return GO_ON;
    case WJ_N_IF:
        x->line = node->line;
        return exec_if(x, node);
    case WJ_N_FOR:
        return exec_for(x, node);
    case WJ_N_SET:
        x->line = node->line;
        check_namespaces(x, node->a);
        assign(x, node->a, wj_eval(x, node->b));
        return GO_ON;
    case WJ_N_SET_BLOCK:
    case WJ_N_FILTER_BLOCK:
        return exec_block(x, node);
    case WJ_N_MACRO:
        frame_of(x, node)->slots[node->slot] =
            make_macro(x, node, weir_span(node->value.u.s, node->value.len));
        return GO_ON;
    case WJ_N_CALL_BLOCK:
        exec_call_block(x, node);
        return GO_ON;
    case WJ_N_WITH:
        return exec_with(x, node);
    case WJ_N_GENERATION:
        exec_generation(x, node);
        return GO_ON;
    default:
        return node->kind == WJ_N_BREAK ? BREAK : CONTINUE;
    }
}

static enum signal exec(struct wj_run *x, struct wj_nodes nodes) {
    enum signal s = GO_ON;
    wj_enter(x);
    for (uint32_t i = 0; i < nodes.n && s == GO_ON; i++) {
        wj_charge(x, 1);
        s = exec_one(x, nodes.at[i]);
    }
    wj_leave(x);
    return s;
}

void wj_exec_template(struct wj_run *x) {
    x->frame = new_frame(x, x->tpl->func, NULL);
    enter_scope(x, x->tpl->scope);
    exec(x, x->tpl->body);
}
