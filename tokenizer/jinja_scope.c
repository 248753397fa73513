/*
 * Which variable a name means: jinja2.idtracking and the frames of jinja2.compiler, so that
 * scoping is Python Jinja's to the letter (a `set` in a loop body is local to the iteration, a name
 * stored in one branch only falls back to the context, macros see the variables around them).
 *
 * Every variable becomes a slot of the function it lives in. A scope lists what its variables hold
 * when it is entered.
 */
#include "tokenizer/jinja_priv.h"

struct symbol {
    struct weir_span name;
    struct wj_load load;
    bool stored;
};
/* Slots of one scope level, shared by the copies made for branches. */
struct slots {
    struct weir_span *names;
    uint16_t *numbers;
    uint32_t n, cap;
};
struct symbols {
    struct symbols *parent;
    struct symbol *at;
    uint32_t n, cap;
    struct slots *slots;
    struct wj_func *func;
    unsigned level; /* of the function */
};
struct resolver {
    struct wj_run *x;
    struct wtok_jinja *tpl;
    struct symbols *symbols;
    uint32_t names_cap;
};

enum { MAX_SLOTS = 60000, MAX_LEVEL = 200 };

static void *grow(struct wj_run *x, const void *old, size_t n, size_t cap, size_t item) {
    void *more = wj_alloc(x, cap * item);
    if (n > 0)
        memcpy(more, old, n * item);
    return more;
}

/* ---- Symbols ------------------------------------------------------------------------------ */

static struct symbols *new_symbols(struct resolver *r, struct symbols *parent,
                                   struct wj_func *func) {
    struct symbols *s = wj_alloc(r->x, sizeof(*s));
    *s = (struct symbols){.parent = parent, .func = func};
    s->slots = wj_alloc(r->x, sizeof(*s->slots));
    *s->slots = (struct slots){0};
    if (parent != NULL) {
        s->level = parent->level + (func != parent->func);
        if (s->level > MAX_LEVEL)
            wj_fail(r->x, WTOK_JINJA_ERR_LIMIT, "macros nested too deep");
    }
    return s;
}

static struct symbols *copy_symbols(struct resolver *r, const struct symbols *s) {
    struct symbols *c = wj_alloc(r->x, sizeof(*c));
    *c = *s;
    c->cap = s->n;
    c->at = grow(r->x, s->at, s->n, s->n + 1, sizeof(*s->at));
    wj_charge(r->x, s->n);
    return c;
}

static struct symbol *own(const struct symbols *s, struct weir_span name) {
    for (uint32_t i = 0; i < s->n; i++)
        if (weir_span_eq(s->at[i].name, name))
            return &s->at[i];
    return NULL;
}

static const struct symbol *find_ref(const struct symbols *s, struct weir_span name,
                                     unsigned *ret_level) {
    for (; s != NULL; s = s->parent) {
        const struct symbol *sym = own(s, name);
        if (sym != NULL) {
            *ret_level = s->level;
            return sym;
        }
    }
    return NULL;
}

static uint16_t slot_of(struct resolver *r, struct symbols *s, struct weir_span name) {
    struct slots *t = s->slots;
    for (uint32_t i = 0; i < t->n; i++)
        if (weir_span_eq(t->names[i], name))
            return t->numbers[i];
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 8 : t->cap * 2;
        t->names = grow(r->x, t->names, t->n, t->cap, sizeof(*t->names));
        t->numbers = grow(r->x, t->numbers, t->n, t->cap, sizeof(*t->numbers));
    }
    if (s->func->n_slots >= MAX_SLOTS)
        wj_fail(r->x, WTOK_JINJA_ERR_LIMIT, "too many variables");
    t->names[t->n] = name;
    return t->numbers[t->n++] = s->func->n_slots++;
}

static uint16_t context_name(struct resolver *r, struct weir_span name) {
    struct wtok_jinja *t = r->tpl;
    for (uint32_t i = 0; i < t->n_names; i++)
        if (weir_span_eq(t->names[i], name))
            return (uint16_t)i;
    if (t->n_names == MAX_SLOTS)
        wj_fail(r->x, WTOK_JINJA_ERR_LIMIT, "too many variables");
    if (t->n_names == r->names_cap) {
        r->names_cap = r->names_cap == 0 ? 16 : r->names_cap * 2;
        t->names = grow(r->x, t->names, t->n_names, r->names_cap, sizeof(*t->names));
    }
    t->names[t->n_names] = name;
    return (uint16_t)t->n_names++;
}

static struct symbol *define(struct resolver *r, struct symbols *s, struct weir_span name) {
    struct symbol *sym = own(s, name);
    if (sym == NULL) {
        wj_charge(r->x, s->n);
        if (s->n == s->cap) {
            s->cap = s->cap == 0 ? 8 : s->cap * 2;
            s->at = grow(r->x, s->at, s->n, s->cap, sizeof(*s->at));
        }
        sym = &s->at[s->n++];
        *sym = (struct symbol){.name = name, .load.slot = slot_of(r, s, name)};
    }
    return sym;
}

/* The value of an outer variable, or of the context where there is none. */
static void load_from_outside(struct resolver *r, const struct symbols *s, struct symbol *sym,
                              enum wj_load_action otherwise) {
    unsigned level;
    const struct symbol *outer = find_ref(s->parent, sym->name, &level);
    if (outer != NULL) {
        sym->load.action = WJ_LOAD_ALIAS;
        sym->load.up = (uint8_t)(s->level - level);
        sym->load.from = outer->load.slot;
    } else {
        sym->load.action = (uint8_t)otherwise;
        if (otherwise == WJ_LOAD_RESOLVE)
            sym->load.from = context_name(r, sym->name);
    }
}

static void store(struct resolver *r, struct symbols *s, struct weir_span name) {
    struct symbol *sym = own(s, name);
    if (sym == NULL) {
        sym = define(r, s, name);
        load_from_outside(r, s, sym, WJ_LOAD_UNDEFINED);
    }
    sym->stored = true;
}

static void load(struct resolver *r, struct symbols *s, struct weir_span name) {
    unsigned level;
    if (find_ref(s, name, &level) != NULL)
        return;
    struct symbol *sym = define(r, s, name);
    sym->load.action = WJ_LOAD_RESOLVE;
    sym->load.from = context_name(r, name);
}

static uint16_t parameter(struct resolver *r, struct symbols *s, struct weir_span name) {
    struct symbol *sym = define(r, s, name);
    sym->stored = true;
    sym->load.action = WJ_LOAD_PARAM;
    return sym->load.slot;
}

static void branch_update(struct resolver *r, struct symbols *s, struct symbols *const *branches,
                          unsigned n_branches) {
    struct symbols *before = copy_symbols(r, s);
    for (unsigned b = 0; b < n_branches; b++)
        for (uint32_t i = 0; i < branches[b]->n; i++) {
            const struct symbol *from = &branches[b]->at[i];
            struct symbol *to = define(r, s, from->name);
            bool stored = to->stored;
            *to = *from;
            to->stored |= stored;
        }
    for (uint32_t i = 0; i < s->n; i++) {
        const struct symbol *old = own(before, s->at[i].name);
        if (s->at[i].stored && (old == NULL || !old->stored))
            load_from_outside(r, s, &s->at[i], WJ_LOAD_RESOLVE);
    }
}

/* ---- what a frame sees (FrameSymbolVisitor) ----------------------------------------------- */

static struct weir_span node_name(const struct wj_node *n) {
    return weir_span(n->value.u.s, n->value.len);
}

static void see(struct wj_node *n, void *arg);

static void see_all(struct resolver *r, struct wj_nodes nodes) {
    for (uint32_t i = 0; i < nodes.n; i++)
        see(nodes.at[i], r);
}

static void see_if(struct resolver *r, struct wj_node *n) {
    struct symbols *s = r->symbols, *branches[2];
    see(n->a, r);
    branches[0] = r->symbols = copy_symbols(r, s);
    see_all(r, n->body);
    branches[1] = r->symbols = copy_symbols(r, s);
    see_all(r, n->other);
    r->symbols = s;
    branch_update(r, s, branches, 2);
}

static void see(struct wj_node *n, void *arg) {
    struct resolver *r = arg;
    wj_charge(r->x, 1);
    switch (n->kind) {
    case WJ_N_NAME:
        if (n->flag)
            store(r, r->symbols, node_name(n));
        else
            load(r, r->symbols, node_name(n));
        break;
    case WJ_N_IF:
        see_if(r, n);
        break;
    case WJ_N_MACRO:
        store(r, r->symbols, node_name(n));
        break;
    case WJ_N_FOR:
        see(n->b, r);
        break;
    case WJ_N_CALL_BLOCK:
    case WJ_N_FILTER_BLOCK:
    case WJ_N_SET_BLOCK:
        see(n->a, r);
        break;
    case WJ_N_WITH:
        for (uint32_t i = 1; i < n->n; i += 2)
            see(n->list[i], r);
        break;
    case WJ_N_GENERATION:
        break;
    default:
        wj_children(n, see, r);
    }
}

static void declare_target(struct resolver *r, struct symbols *s, const struct wj_node *n) {
    if (n->kind == WJ_N_TUPLE)
        for (uint32_t i = 0; i < n->n; i++)
            declare_target(r, s, n->list[i]);
    else
        parameter(r, s, node_name(n));
}

/* Does the code read the name before it gives it a value? (find_undeclared) */
struct undeclared {
    struct weir_span name;
    bool found, given;
};

static void look_for(struct wj_node *n, void *arg) {
    struct undeclared *u = arg;
    if (u->found || u->given)
        return;
    if (n->kind == WJ_N_NAME && weir_span_eq(node_name(n), u->name)) {
        *(n->flag ? &u->given : &u->found) = true;
        return;
    }
    if (n->kind == WJ_N_CALL_BLOCK)
        look_for(n->a, arg);
    if (n->kind == WJ_N_MACRO || n->kind == WJ_N_CALL_BLOCK)
        for (uint32_t i = 0; i < n->n_args; i++)
            u->given |= weir_span_eq(n->args[i].name, u->name);
    if (!u->given)
        wj_children(n, look_for, arg);
}

static bool reads(struct wj_nodes body, const char *name) {
    struct undeclared u = {.name = weir_span_z(name)};
    for (uint32_t i = 0; i < body.n; i++)
        look_for(body.at[i], &u);
    return u.found;
}

/* ---- binding (the compiler's frames) ------------------------------------------------------ */

struct binder {
    struct resolver *r;
    struct symbols *symbols;
    bool soft; /* unknown filters fail only when they run */
};

static void bind(struct wj_node *n, void *arg);

static void bind_in(struct resolver *r, struct symbols *s, struct wj_node *n) {
    struct binder b = {r, s, false};
    if (n != NULL)
        bind(n, &b);
}
static void bind_body(struct resolver *r, struct symbols *s, struct wj_nodes body) {
    struct binder b = {r, s, false};
    for (uint32_t i = 0; i < body.n; i++)
        bind(body.at[i], &b);
}

static struct wj_scope *finish(struct resolver *r, const struct symbols *s) {
    struct wj_scope *scope = wj_alloc(r->x, sizeof(*scope));
    scope->n = 0;
    scope->loads = wj_alloc(r->x, (s->n + 1) * sizeof(*scope->loads));
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].load.action != WJ_LOAD_PARAM)
            scope->loads[scope->n++] = s->at[i].load;
    return scope;
}

static void bind_ref(struct binder *b, struct wj_node *n) {
    unsigned level = 0;
    const struct symbol *sym = find_ref(b->symbols, node_name(n), &level);
    WEIR_ASSERT(sym != NULL);
    n->slot = sym->load.slot;
    n->up = (uint8_t)(b->symbols->level - level);
}

static void analyze(struct resolver *r, struct symbols *s, struct wj_nodes body) {
    struct symbols *before = r->symbols;
    r->symbols = s;
    see_all(r, body);
    r->symbols = before;
}

static void analyze_one(struct resolver *r, struct symbols *s, struct wj_node *n) {
    struct wj_nodes one = {&n, n != NULL};
    analyze(r, s, one);
}

static struct wj_func *new_func(struct resolver *r) {
    struct wj_func *f = wj_alloc(r->x, sizeof(*f));
    *f = (struct wj_func){0};
    return f;
}

static struct wj_node *clone_target(struct resolver *r, const struct wj_node *n) {
    struct wj_node *c = wj_alloc(r->x, sizeof(*c));
    *c = *n;
    if (n->kind == WJ_N_TUPLE) {
        c->list = wj_alloc(r->x, (n->n + 1) * sizeof(*c->list));
        for (uint32_t i = 0; i < n->n; i++)
            c->list[i] = clone_target(r, n->list[i]);
    }
    return c;
}

static void bind_for(struct binder *b, struct wj_node *n) {
    struct resolver *r = b->r;
    struct wj_func *func = b->symbols->func;
    bind(n->b, b);
    if (n->flag)
        func = n->func = new_func(r);
    struct symbols *body = new_symbols(r, b->symbols, func);
    if (n->flag || reads(n->body, "loop"))
        n->slot = (uint16_t)(parameter(r, body, WEIR_SPAN_LIT("loop")) + 1);
    declare_target(r, body, n->a);
    analyze(r, body, n->body);
    bind_in(r, body, n->a);
    bind_body(r, body, n->body);
    n->scope = finish(r, body);
    if (n->c != NULL) {
        struct symbols *test = new_symbols(r, b->symbols, func);
        n->d = clone_target(r, n->a);
        declare_target(r, test, n->d);
        analyze_one(r, test, n->c);
        bind_in(r, test, n->d);
        bind_in(r, test, n->c);
        n->scope2 = finish(r, test);
    }
    if (n->other.n > 0) {
        struct symbols *other = new_symbols(r, b->symbols, func);
        analyze(r, other, n->other);
        bind_body(r, other, n->other);
        n->scope3 = finish(r, other);
    }
}

static void special_parameter(struct resolver *r, struct symbols *s, struct wj_node *n,
                              const char *name, uint16_t *ret_slot) {
    if (!reads(n->body, name))
        return;
    for (uint32_t i = 0; i < n->n_args; i++)
        if (weir_span_eqz(n->args[i].name, name)) {
            if (strcmp(name, "caller") == 0 && n->args[i].value == NULL) {
                r->x->line = n->line;
                wj_fail(r->x, WTOK_JINJA_ERR_ASSERTION_COMPILE,
                        "When defining macros or call blocks the special \"caller\" argument must "
                        "be omitted or be given a default.");
            }
            return;
        }
    *ret_slot = (uint16_t)(parameter(r, s, weir_span_z(name)) + 1);
}

/* Parameters take the first slots, in order. */
static void bind_macro(struct binder *b, struct wj_node *n) {
    struct resolver *r = b->r;
    n->func = new_func(r);
    struct symbols *s = new_symbols(r, b->symbols, n->func);
    for (uint32_t i = 0; i < n->n_args; i++)
        parameter(r, s, n->args[i].name);
    for (uint32_t i = 0; i < n->n_args; i++)
        analyze_one(r, s, n->args[i].value);
    analyze(r, s, n->body);
    special_parameter(r, s, n, "caller", &n->func->caller);
    special_parameter(r, s, n, "kwargs", &n->func->kwargs);
    special_parameter(r, s, n, "varargs", &n->func->varargs);
    for (uint32_t i = 0; i < n->n_args; i++)
        bind_in(r, s, n->args[i].value);
    bind_body(r, s, n->body);
    n->scope = finish(r, s);
}

static void bind_with(struct binder *b, struct wj_node *n) {
    struct symbols *s = new_symbols(b->r, b->symbols, b->symbols->func);
    for (uint32_t i = 0; i < n->n; i += 2)
        declare_target(b->r, s, n->list[i]);
    analyze(b->r, s, n->body);
    for (uint32_t i = 0; i < n->n; i += 2) {
        bind_in(b->r, s, n->list[i]);
        bind(n->list[i + 1], b);
    }
    bind_body(b->r, s, n->body);
    n->scope = finish(b->r, s);
}

/* Filter and set blocks: the filter runs inside. */
static void bind_block(struct binder *b, struct wj_node *n, struct wj_node *filter) {
    struct symbols *s = new_symbols(b->r, b->symbols, b->symbols->func);
    analyze(b->r, s, n->body);
    analyze_one(b->r, s, filter);
    bind_body(b->r, s, n->body);
    bind_in(b->r, s, filter);
    n->scope = finish(b->r, s);
}

static void bind_softly(struct binder *b, struct wj_node *n) {
    struct binder soft = {b->r, b->symbols, true};
    wj_children(n, bind, &soft);
}

static void bind(struct wj_node *n, void *arg) {
    struct binder *b = arg;
    switch (n->kind) {
    case WJ_N_NAME:
        bind_ref(b, n);
        break;
    case WJ_N_FOR:
        bind_for(b, n);
        break;
    case WJ_N_MACRO:
        bind_ref(b, n);
        bind_macro(b, n);
        break;
    case WJ_N_CALL_BLOCK:
        bind(n->a, b);
        bind_macro(b, n);
        break;
    case WJ_N_GENERATION:
        bind_macro(b, n);
        break;
    case WJ_N_SET_BLOCK:
        bind(n->a, b);
        bind_block(b, n, n->b);
        break;
    case WJ_N_FILTER_BLOCK:
        bind_block(b, n, n->a);
        break;
    case WJ_N_WITH:
        bind_with(b, n);
        break;
    case WJ_N_IF:
    case WJ_N_COND:
        bind_softly(b, n);
        break;
    case WJ_N_FILTER:
    case WJ_N_TEST:
        if (n->filter == NULL && !b->soft) {
            b->r->x->line = n->line;
            wj_fail(b->r->x, WTOK_JINJA_ERR_ASSERTION_COMPILE, "No %s named '%.*s'.",
                    n->kind == WJ_N_FILTER ? "filter" : "test", WEIR_SPAN_ARG(node_name(n)));
        }
        wj_children(n, bind, b);
        break;
    default:
        wj_children(n, bind, b);
    }
}

void wj_resolve(struct wj_run *x, struct wtok_jinja *tpl) {
    struct resolver r = {.x = x, .tpl = tpl};
    tpl->func = new_func(&r);
    struct symbols *root = new_symbols(&r, NULL, tpl->func);
    analyze(&r, root, tpl->body);
    bind_body(&r, root, tpl->body);
    tpl->scope = finish(&r, root);
}
