/*
 * Does a template walk over the parts of message.content? The rule by which vLLM (0.32,
 * renderers/hf.py) chooses its content format "openai" instead of "string": a loop over messages,
 * possibly through assignments; and a loop over the content of its variable, over what a macro gets
 * when it is called with that, or outside of macros over anything that is called `content`.
 * Where messages are given to something that is no plain name vLLM gives up: "string".
 */
#include "tokenizer/jinja_priv.h"

enum { MAX_NAMES = 64 };

struct names {
    struct weir_span at[MAX_NAMES];
    unsigned n;
};

struct finder {
    struct names *from, *to;
    const char *key; /* NULL: the variable itself, else its member */
    enum wj_node_kind kind;
    bool *ret_odd; /* a target was no name; NULL: nobody asks */
};

static bool is_variable(const struct wj_node *n, const struct names *names) {
    if (n->kind != WJ_N_NAME)
        return false;
    for (unsigned i = 0; i < names->n; i++)
        if (weir_span_eq(names->at[i], weir_span(n->value.u.s, n->value.len)))
            return true;
    return false;
}

/* A variable (or its member) or what filters, tests and slices leave of it. */
static bool is_access(const struct wj_node *n, const struct names *names, const char *key) {
    while (n->kind == WJ_N_FILTER || n->kind == WJ_N_TEST ||
           (n->kind == WJ_N_GETITEM && n->b->kind == WJ_N_SLICE))
        n = n->a;
    if (key == NULL)
        return is_variable(n, names);
    const struct wj_node *name = n->kind == WJ_N_GETATTR                               ? n
                                 : n->kind == WJ_N_GETITEM && n->b->kind == WJ_N_CONST ? n->b
                                                                                       : NULL;
    return name != NULL && name->value.kind == WJ_STR &&
           weir_span_eqz(weir_span(name->value.u.s, name->value.len), key) &&
           is_variable(n->a, names);
}

static void add_name(struct names *names, struct weir_span name) {
    for (unsigned i = 0; i < names->n; i++)
        if (weir_span_eq(names->at[i], name))
            return;
    if (names->n < MAX_NAMES)
        names->at[names->n++] = name;
}

static struct weir_span name_of(const struct wj_node *n) {
    return weir_span(n->value.u.s, n->value.len);
}

/* Collects the targets of assignments or loops whose source is such an access. */
static void look(struct wj_node *n, void *arg) {
    struct finder *f = arg;
    if (n->kind == f->kind && is_access(n->b, f->from, f->key)) {
        if (n->a->kind == WJ_N_NAME)
            add_name(f->to, name_of(n->a));
        else if (f->ret_odd != NULL)
            *f->ret_odd = true;
    }
    wj_children(n, look, arg);
}

static void collect(const struct wtok_jinja *tpl, struct finder f) {
    for (unsigned before = MAX_NAMES + 1; before != f.to->n;) {
        before = f.to->n;
        for (uint32_t i = 0; i < tpl->body.n; i++)
            look(tpl->body.at[i], &f);
    }
}

/* ---- macros, and what is called content --------------------------------------------------------
 */

struct loops {
    const struct wtok_jinja *tpl;
    const struct names *message;
    const struct wj_node *macro; /* the innermost one, or NULL */
    struct names params;         /* of it that get a content */
    bool found;
};

static void each_node(const struct wtok_jinja *tpl, wj_visit_fn fn, void *arg) {
    for (uint32_t i = 0; i < tpl->body.n; i++)
        fn(tpl->body.at[i], arg);
}

/* The macro's parameter that an argument becomes; data NULL: none. */
static struct weir_span param_of(const struct wj_node *macro, const struct wj_node *call,
                                 uint32_t i) {
    if (i < call->n_positional)
        return i < macro->n_args ? macro->args[i].name : weir_span(NULL, 0);
    for (uint32_t k = 0; k < macro->n_args; k++)
        if (weir_span_eq(macro->args[k].name, call->args[i].name))
            return macro->args[k].name;
    return weir_span(NULL, 0);
}

static void look_at_calls(struct wj_node *n, void *arg) {
    struct loops *l = arg;
    if (n->kind == WJ_N_CALL && n->a->kind == WJ_N_NAME &&
        weir_span_eq(name_of(n->a), name_of(l->macro)))
        for (uint32_t i = 0; i < n->n_args; i++) {
            struct weir_span param = param_of(l->macro, n, i);
            if (param.data != NULL && n->args[i].value != NULL &&
                is_access(n->args[i].value, l->message, "content"))
                add_name(&l->params, param);
        }
    wj_children(n, look_at_calls, arg);
}

static void look_at_loops(struct wj_node *n, void *arg) {
    struct loops *l = arg;
    if (n->kind == WJ_N_FOR && n->a->kind == WJ_N_NAME && n->b->kind == WJ_N_NAME)
        l->found |= l->macro != NULL ? is_variable(n->b, &l->params)
                                     : weir_span_eqz(name_of(n->b), "content");
    if (n->kind != WJ_N_MACRO) {
        wj_children(n, look_at_loops, arg);
        return;
    }
    struct loops inner = {.tpl = l->tpl, .message = l->message, .macro = n};
    each_node(l->tpl, look_at_calls, &inner);
    wj_children(n, look_at_loops, &inner);
    l->found |= inner.found;
}

bool wj_detect_parts(const struct wtok_jinja *tpl) {
    struct names messages = {.at = {WEIR_SPAN_LIT("messages")}, .n = 1}, message = {.n = 0};
    struct names parts = {.n = 0};
    bool odd = false;
    collect(tpl, (struct finder){&messages, &messages, NULL, WJ_N_SET, &odd});
    collect(tpl, (struct finder){&messages, &message, NULL, WJ_N_FOR, &odd});
    if (odd)
        return false;
    collect(tpl, (struct finder){&message, &parts, "content", WJ_N_FOR, NULL});
    struct loops l = {.tpl = tpl, .message = &message};
    each_node(tpl, look_at_loops, &l);
    return parts.n > 0 || l.found;
}

bool wtok_jinja_wants_parts_sglang(const struct wtok_jinja *tpl) {
    static const char *const media[] = {"image", "audio", "video", "vision"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(media); i++)
        if (wj_find(tpl->source, weir_span_z(media[i]), 0) >= 0)
            return true;
    struct names message = {
        .at = {WEIR_SPAN_LIT("message"), WEIR_SPAN_LIT("msg"), WEIR_SPAN_LIT("m")}, .n = 3};
    struct names parts = {.n = 0};
    bool other = false; /* `for a, b in …` is a loop, too */
    collect(tpl, (struct finder){&message, &parts, "content", WJ_N_FOR, &other});
    return parts.n > 0 || other;
}
