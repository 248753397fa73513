/*
 * Tokens to a tree, by the grammar of jinja2.parser (same precedence, same refusals). Depth is
 * bounded by the run's max_depth.
 */
#include "tokenizer/jinja_priv.h"

#include <stdio.h>

struct parser {
    struct wj_run *x;
    struct wj_token *t; /* current */
    const struct wj_token *last;
    unsigned loops; /* enclosing loops of this function */
};

/* ---- small helpers ------------------------------------------------------------------------ */

static void describe(const struct wj_token *t, char out[64]) {
    static const char *const types[] = {
        [WJ_T_EOF] = "end of template",
        [WJ_T_DATA] = "template data / text",
        [WJ_T_VAR_BEGIN] = "begin of print statement",
        [WJ_T_VAR_END] = "end of print statement",
        [WJ_T_BLOCK_BEGIN] = "begin of statement block",
        [WJ_T_BLOCK_END] = "end of statement block",
        [WJ_T_STRING] = "string",
        [WJ_T_INTEGER] = "integer",
        [WJ_T_FLOAT] = "float",
    };
    if (t->type == WJ_T_NAME)
        snprintf(out, 64, "%.*s", (int)(t->text.len > 60 ? 60 : t->text.len), t->text.data);
    else
        snprintf(out, 64, "%s", t->type == WJ_T_OPERATOR ? t->op : types[t->type]);
}

static _Noreturn void unexpected(struct parser *p, const char *wanted) {
    char got[64];
    describe(p->t, got);
    p->x->line = p->t->line;
    if (p->t->type == WJ_T_EOF)
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "unexpected end of template, expected '%s'.", wanted);
    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "expected token '%s', got '%s'", wanted, got);
}

static void advance(struct parser *p) {
    if (p->t < p->last)
        p->t++;
}
static const struct wj_token *look(const struct parser *p) {
    return p->t < p->last ? p->t + 1 : p->t;
}
static bool is_op(const struct wj_token *t, const char *op) {
    return t->type == WJ_T_OPERATOR && strcmp(t->op, op) == 0;
}
static bool is_name(const struct wj_token *t, const char *name) {
    return t->type == WJ_T_NAME && weir_span_eqz(t->text, name);
}
static bool skip_op(struct parser *p, const char *op) {
    if (!is_op(p->t, op))
        return false;
    advance(p);
    return true;
}
static bool skip_name(struct parser *p, const char *name) {
    if (!is_name(p->t, name))
        return false;
    advance(p);
    return true;
}
static void expect_op(struct parser *p, const char *op) {
    if (!skip_op(p, op))
        unexpected(p, op);
}
static void expect_name(struct parser *p, const char *name) {
    if (!skip_name(p, name))
        unexpected(p, name);
}
static struct weir_span expect_any_name(struct parser *p) {
    if (p->t->type != WJ_T_NAME)
        unexpected(p, "name");
    struct weir_span name = p->t->text;
    advance(p);
    return name;
}
static void expect_type(struct parser *p, enum wj_token_type type, const char *what) {
    if (p->t->type != type)
        unexpected(p, what);
    advance(p);
}

static struct wj_node *node(struct parser *p, enum wj_node_kind kind, uint32_t line) {
    struct wj_node *n = wj_alloc(p->x, sizeof(*n));
    memset(n, 0, sizeof(*n));
    n->kind = (uint8_t)kind;
    n->line = line;
    return n;
}

struct node_list {
    struct wj_node **at;
    uint32_t n, cap;
};
static void add(struct parser *p, struct node_list *l, struct wj_node *n) {
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 4 : l->cap * 2;
        struct wj_node **more = wj_alloc(p->x, cap * sizeof(struct wj_node *));
        if (l->n > 0)
            memcpy(more, l->at, l->n * sizeof(struct wj_node *));
        l->at = more;
        l->cap = cap;
    }
    l->at[l->n++] = n;
}
static void set_list(struct wj_node *n, const struct node_list *l) {
    n->list = l->at;
    n->n = l->n;
}

/* ---- expressions -------------------------------------------------------------------------- */

static struct wj_node *expression(struct parser *p);
static struct wj_node *unary(struct parser *p, bool with_filter);
static struct wj_node *primary(struct parser *p, bool with_namespace);
static struct wj_node *postfix(struct parser *p, struct wj_node *n);
static struct wj_node *filter(struct parser *p, struct wj_node *n, bool start_inline);

static struct wj_node *name_node(struct parser *p, struct weir_span name, uint32_t line) {
    struct wj_node *n = node(p, WJ_N_NAME, line);
    n->value = wj_str(name);
    return n;
}

static struct wj_node *logical_or(struct parser *p);

static struct wj_node *cond(struct parser *p) {
    wj_enter(p->x);
    uint32_t line = p->t->line;
    struct wj_node *first = logical_or(p);
    while (skip_name(p, "if")) {
        struct wj_node *n = node(p, WJ_N_COND, line);
        n->b = first;
        n->a = logical_or(p);
        if (skip_name(p, "else"))
            n->c = cond(p);
        first = n;
        line = p->t->line;
    }
    wj_leave(p->x);
    return first;
}

static struct wj_node *expression(struct parser *p) {
    return cond(p);
}

static struct wj_node *compare(struct parser *p);

static struct wj_node *logical_not(struct parser *p) {
    if (!is_name(p->t, "not"))
        return compare(p);
    wj_enter(p->x);
    struct wj_node *n = node(p, WJ_N_NOT, p->t->line);
    advance(p);
    n->a = logical_not(p);
    wj_leave(p->x);
    return n;
}

static struct wj_node *logical_and(struct parser *p) {
    struct wj_node *left = logical_not(p);
    while (is_name(p->t, "and")) {
        struct wj_node *n = node(p, WJ_N_AND, p->t->line);
        advance(p);
        n->a = left;
        n->b = logical_not(p);
        left = n;
        wj_enter(p->x); /* left-deep trees count as deep */
    }
    return left;
}

static struct wj_node *logical_or(struct parser *p) {
    unsigned depth = p->x->depth;
    struct wj_node *left = logical_and(p);
    while (is_name(p->t, "or")) {
        struct wj_node *n = node(p, WJ_N_OR, p->t->line);
        advance(p);
        n->a = left;
        n->b = logical_and(p);
        left = n;
        wj_enter(p->x);
    }
    p->x->depth = depth;
    return left;
}

static int compare_op(struct parser *p) {
    static const struct {
        const char *text;
        enum wj_op op;
    } ops[] = {{"==", WJ_OP_EQ}, {"!=", WJ_OP_NE}, {"<", WJ_OP_LT},
               {"<=", WJ_OP_LE}, {">", WJ_OP_GT},  {">=", WJ_OP_GE}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(ops); i++)
        if (skip_op(p, ops[i].text))
            return ops[i].op;
    if (skip_name(p, "in"))
        return WJ_OP_IN;
    if (is_name(p->t, "not") && is_name(look(p), "in")) {
        advance(p);
        advance(p);
        return WJ_OP_NOTIN;
    }
    return -1;
}

static struct wj_node *sum(struct parser *p);

static struct wj_node *compare(struct parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *first = sum(p);
    struct node_list operands = {0};
    uint8_t ops[64];
    int op;
    while ((op = compare_op(p)) >= 0) {
        if (operands.n == sizeof(ops))
            wj_fail(p->x, WTOK_JINJA_ERR_LIMIT, "too many comparisons in a chain");
        ops[operands.n] = (uint8_t)op;
        add(p, &operands, sum(p));
    }
    if (operands.n == 0)
        return first;
    struct wj_node *n = node(p, WJ_N_COMPARE, line);
    n->a = first;
    set_list(n, &operands);
    n->ops = wj_alloc(p->x, operands.n);
    memcpy(n->ops, ops, operands.n);
    n->op = ops[0];
    return n;
}

static struct wj_node *binary(struct parser *p, enum wj_op op, struct wj_node *a, struct wj_node *b,
                              uint32_t line) {
    struct wj_node *n = node(p, WJ_N_BINARY, line);
    n->op = (uint8_t)op;
    n->a = a;
    n->b = b;
    wj_enter(p->x);
    return n;
}

static struct wj_node *power(struct parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *left = unary(p, true);
    while (skip_op(p, "**"))
        left = binary(p, WJ_OP_POW, left, unary(p, true), line);
    return left;
}

static struct wj_node *product(struct parser *p) {
    static const struct {
        const char *text;
        enum wj_op op;
    } ops[] = {{"*", WJ_OP_MUL}, {"/", WJ_OP_DIV}, {"//", WJ_OP_FLOORDIV}, {"%", WJ_OP_MOD}};
    uint32_t line = p->t->line;
    struct wj_node *left = power(p);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(ops); i++)
        if (skip_op(p, ops[i].text)) {
            left = binary(p, ops[i].op, left, power(p), line);
            i = (size_t)-1;
        }
    return left;
}

static struct wj_node *concat(struct parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *first = product(p);
    if (!is_op(p->t, "~"))
        return first;
    struct node_list operands = {0};
    add(p, &operands, first);
    while (skip_op(p, "~"))
        add(p, &operands, product(p));
    struct wj_node *n = node(p, WJ_N_CONCAT, line);
    set_list(n, &operands);
    return n;
}

static struct wj_node *sum(struct parser *p) {
    unsigned depth = p->x->depth;
    uint32_t line = p->t->line;
    struct wj_node *left = concat(p);
    struct node_list operands = {0};
    for (;;) {
        if (is_op(p->t, "+")) {
            advance(p);
            if (operands.n == 0)
                add(p, &operands, left);
            add(p, &operands, concat(p));
            continue;
        }
        if (operands.n > 0) {
            left = node(p, WJ_N_ADD, line);
            set_list(left, &operands);
            operands = (struct node_list){0};
        }
        if (!skip_op(p, "-"))
            break;
        left = binary(p, WJ_OP_SUB, left, concat(p), line);
    }
    p->x->depth = depth;
    return left;
}

static struct wj_node *list_literal(struct parser *p) {
    struct wj_node *n = node(p, WJ_N_LIST, p->t->line);
    struct node_list items = {0};
    expect_op(p, "[");
    while (!is_op(p->t, "]")) {
        if (items.n > 0)
            expect_op(p, ",");
        if (is_op(p->t, "]"))
            break;
        add(p, &items, expression(p));
    }
    expect_op(p, "]");
    set_list(n, &items);
    return n;
}

static struct wj_node *dict_literal(struct parser *p) {
    struct wj_node *n = node(p, WJ_N_DICT, p->t->line);
    struct node_list items = {0};
    expect_op(p, "{");
    while (!is_op(p->t, "}")) {
        if (items.n > 0)
            expect_op(p, ",");
        if (is_op(p->t, "}"))
            break;
        add(p, &items, expression(p));
        expect_op(p, ":");
        add(p, &items, expression(p));
    }
    expect_op(p, "}");
    set_list(n, &items);
    return n;
}

enum tuple_kind { TUPLE_FULL, TUPLE_NO_COND, TUPLE_TARGET, TUPLE_NS_TARGET };

/* Jinja2 means to end at "in" and "recursive", too, but its check never matches. */
static bool tuple_ends(const struct parser *p) {
    return p->t->type == WJ_T_VAR_END || p->t->type == WJ_T_BLOCK_END || is_op(p->t, ")");
}

static struct wj_node *tuple_item(struct parser *p, enum tuple_kind kind) {
    switch (kind) {
    case TUPLE_FULL:
        return expression(p);
    case TUPLE_NO_COND: {
        wj_enter(p->x);
        struct wj_node *n = logical_or(p);
        wj_leave(p->x);
        return n;
    }
    default:
        return primary(p, kind == TUPLE_NS_TARGET);
    }
}

static struct wj_node *tuple(struct parser *p, enum tuple_kind kind, bool parentheses) {
    uint32_t line = p->t->line;
    struct node_list items = {0};
    bool is_tuple = false;
    for (;;) {
        if (items.n > 0)
            expect_op(p, ",");
        if (tuple_ends(p))
            break;
        add(p, &items, tuple_item(p, kind));
        if (!is_op(p->t, ","))
            break;
        is_tuple = true;
    }
    if (!is_tuple && items.n > 0)
        return items.at[0];
    if (!is_tuple && !parentheses) {
        char got[64];
        describe(p->t, got);
        p->x->line = p->t->line;
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "Expected an expression, got '%s'", got);
    }
    struct wj_node *n = node(p, WJ_N_TUPLE, line);
    set_list(n, &items);
    return n;
}

static struct wj_node *name_or_constant(struct parser *p, bool with_namespace) {
    struct weir_span name = p->t->text;
    uint32_t line = p->t->line;
    advance(p);
    bool yes = weir_span_eqz(name, "true") || weir_span_eqz(name, "True");
    struct wj_node *n = node(p, WJ_N_CONST, line);
    if (yes || weir_span_eqz(name, "false") || weir_span_eqz(name, "False")) {
        n->value = wj_bool(yes);
    } else if (weir_span_eqz(name, "none") || weir_span_eqz(name, "None")) {
        n->value = wj_none();
    } else if (with_namespace && skip_op(p, ".")) {
        n->kind = WJ_N_NSREF;
        n->a = name_node(p, name, line);
        n->value = wj_str(expect_any_name(p));
    } else {
        n->kind = WJ_N_NAME;
        n->value = wj_str(name);
    }
    return n;
}

static struct wj_node *strings(struct parser *p) {
    struct wj_node *n = node(p, WJ_N_CONST, p->t->line);
    n->value = p->t->value;
    advance(p);
    while (p->t->type == WJ_T_STRING) {
        n->value = wj_concat(p->x, n->value, p->t->value);
        advance(p);
    }
    n->value = wj_str(wj_text(p->x, n->value)); /* shared by threads: no rope */
    return n;
}

static struct wj_node *primary(struct parser *p, bool with_namespace) {
    struct wj_node *n;
    switch (p->t->type) {
    case WJ_T_NAME:
        return name_or_constant(p, with_namespace);
    case WJ_T_STRING:
        return strings(p);
    case WJ_T_INTEGER:
    case WJ_T_FLOAT:
        n = node(p, WJ_N_CONST, p->t->line);
        n->value = p->t->value;
        advance(p);
        return n;
    default:
        break;
    }
    if (is_op(p->t, "[") || is_op(p->t, "{") || is_op(p->t, "(")) {
        wj_enter(p->x);
        if (is_op(p->t, "[")) {
            n = list_literal(p);
        } else if (is_op(p->t, "{")) {
            n = dict_literal(p);
        } else {
            advance(p);
            n = tuple(p, TUPLE_FULL, true);
            expect_op(p, ")");
        }
        wj_leave(p->x);
        return n;
    }
    char got[64];
    describe(p->t, got);
    p->x->line = p->t->line;
    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "unexpected '%s'", got);
}

static struct wj_node *slice_bound(struct parser *p) {
    if (is_op(p->t, ":") || is_op(p->t, "]") || is_op(p->t, ","))
        return NULL;
    return expression(p);
}

static struct wj_node *subscribed(struct parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *first = NULL;
    if (!is_op(p->t, ":")) {
        first = expression(p);
        if (!is_op(p->t, ":"))
            return first;
    }
    advance(p);
    struct wj_node *n = node(p, WJ_N_SLICE, line);
    n->a = first;
    n->b = slice_bound(p);
    if (skip_op(p, ":"))
        n->c = slice_bound(p);
    return n;
}

static struct wj_node *subscript(struct parser *p, struct wj_node *obj) {
    uint32_t line = p->t->line;
    struct wj_node *n;
    if (skip_op(p, ".")) {
        if (p->t->type == WJ_T_NAME) {
            n = node(p, WJ_N_GETATTR, line);
            n->value = wj_str(p->t->text);
            n->attr = (uint16_t)wj_attr_number(p->t->text);
        } else if (p->t->type == WJ_T_INTEGER) {
            n = node(p, WJ_N_GETITEM, line);
            n->b = node(p, WJ_N_CONST, line);
            n->b->value = p->t->value;
        } else {
            p->x->line = line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "expected name or number");
        }
        n->a = obj;
        advance(p);
        return n;
    }
    advance(p);
    n = node(p, WJ_N_GETITEM, line);
    n->a = obj;
    struct node_list items = {0};
    while (!is_op(p->t, "]")) {
        if (items.n > 0)
            expect_op(p, ",");
        add(p, &items, subscribed(p));
    }
    advance(p);
    if (items.n == 1) {
        n->b = items.at[0];
    } else {
        for (uint32_t i = 0; i < items.n; i++)
            if (items.at[i]->kind == WJ_N_SLICE)
                wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED, "a slice among several subscripts");
        n->b = node(p, WJ_N_TUPLE, line);
        set_list(n->b, &items);
    }
    return n;
}

struct arg_list {
    struct wj_arg *at;
    uint32_t n, cap;
};

static void add_arg(struct parser *p, struct arg_list *l, struct weir_span name,
                    struct wj_node *value) {
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 4 : l->cap * 2;
        struct wj_arg *more = wj_alloc(p->x, cap * sizeof(*more));
        if (l->n > 0)
            memcpy(more, l->at, l->n * sizeof(*more));
        l->at = more;
        l->cap = cap;
    }
    l->at[l->n++] = (struct wj_arg){value, name};
}

/* f(a, b, name=c, *list, **dict): the last two become `b` and `c` of the node. */
static void call_args(struct parser *p, struct wj_node *n) {
    struct arg_list args = {0};
    uint32_t line = p->t->line;
    bool ok = true;
    expect_op(p, "(");
    for (bool comma = false; !is_op(p->t, ")"); comma = true) {
        if (comma) {
            expect_op(p, ",");
            if (is_op(p->t, ")"))
                break;
        }
        if (skip_op(p, "*")) {
            ok = n->b == NULL && n->c == NULL;
            n->b = ok ? expression(p) : NULL;
        } else if (skip_op(p, "**")) {
            ok = n->c == NULL;
            n->c = ok ? expression(p) : NULL;
        } else if (p->t->type == WJ_T_NAME && is_op(look(p), "=")) {
            struct weir_span name = p->t->text;
            ok = n->c == NULL;
            advance(p);
            advance(p);
            for (uint32_t i = n->n_positional; i < args.n; i++)
                if (weir_span_eq(args.at[i].name, name))
                    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "keyword argument repeated: %.*s",
                            WEIR_SPAN_ARG(name));
            add_arg(p, &args, name, expression(p));
        } else {
            ok = n->b == NULL && n->c == NULL && args.n == n->n_positional;
            add_arg(p, &args, weir_span(NULL, 0), expression(p));
            n->n_positional++;
        }
        if (!ok) {
            p->x->line = line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "invalid syntax for function call expression");
        }
    }
    expect_op(p, ")");
    n->args = args.at;
    n->n_args = args.n;
}

static struct wj_node *call(struct parser *p, struct wj_node *callee) {
    struct wj_node *n = node(p, WJ_N_CALL, p->t->line);
    n->a = callee;
    call_args(p, n);
    return n;
}

static struct wj_node *postfix(struct parser *p, struct wj_node *n) {
    unsigned depth = p->x->depth;
    for (;; wj_enter(p->x)) {
        if (is_op(p->t, ".") || is_op(p->t, "["))
            n = subscript(p, n);
        else if (is_op(p->t, "("))
            n = call(p, n);
        else
            break;
    }
    p->x->depth = depth;
    return n;
}

/* "name" or "dotted.name", which no filter or test has. */
static struct weir_span dotted_name(struct parser *p) {
    struct weir_span name = expect_any_name(p);
    while (skip_op(p, ".")) {
        struct weir_span more = expect_any_name(p);
        name.len = (size_t)(more.data + more.len - name.data);
    }
    return name;
}

static struct wj_node *filter(struct parser *p, struct wj_node *n, bool start_inline) {
    while (start_inline || skip_op(p, "|")) {
        struct wj_node *f = node(p, WJ_N_FILTER, p->t->line);
        struct weir_span name = dotted_name(p);
        f->a = n;
        if (is_op(p->t, "("))
            call_args(p, f);
        const struct wj_filter_def *def = wj_find_filter(name);
        f->value = wj_str(name);
        f->filter = def != NULL ? def : wj_find_seq_filter(name);
        n = f;
        start_inline = false;
        wj_enter(p->x);
    }
    return n;
}

static bool starts_test_argument(const struct parser *p) {
    const struct wj_token *t = p->t;
    if (t->type == WJ_T_NAME)
        return !is_name(t, "else") && !is_name(t, "or") && !is_name(t, "and");
    return t->type == WJ_T_STRING || t->type == WJ_T_INTEGER || t->type == WJ_T_FLOAT ||
           is_op(t, "[") || is_op(t, "{");
}

static struct wj_node *test(struct parser *p, struct wj_node *value) {
    struct wj_node *n = node(p, WJ_N_TEST, p->t->line);
    advance(p);
    bool negated = skip_name(p, "not");
    struct weir_span name = dotted_name(p);
    n->a = value;
    if (is_op(p->t, "(")) {
        call_args(p, n);
    } else if (starts_test_argument(p)) {
        if (is_name(p->t, "is")) {
            p->x->line = p->t->line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "You cannot chain multiple tests with is");
        }
        struct arg_list args = {0};
        add_arg(p, &args, weir_span(NULL, 0), postfix(p, primary(p, false)));
        n->args = args.at;
        n->n_args = n->n_positional = 1;
    }
    n->value = wj_str(name);
    n->filter = wj_find_test(name);
    if (!negated)
        return n;
    struct wj_node *not_node = node(p, WJ_N_NOT, n->line);
    not_node->a = n;
    return not_node;
}

static struct wj_node *filter_expr(struct parser *p, struct wj_node *n) {
    unsigned depth = p->x->depth;
    for (;; wj_enter(p->x)) {
        if (is_op(p->t, "|"))
            n = filter(p, n, false);
        else if (is_name(p->t, "is"))
            n = test(p, n);
        else if (is_op(p->t, "("))
            n = call(p, n);
        else
            break;
    }
    p->x->depth = depth;
    return n;
}

static struct wj_node *unary(struct parser *p, bool with_filter) {
    struct wj_node *n;
    wj_enter(p->x);
    if (is_op(p->t, "-") || is_op(p->t, "+")) {
        n = node(p, is_op(p->t, "-") ? WJ_N_NEG : WJ_N_POS, p->t->line);
        advance(p);
        n->a = unary(p, false);
    } else {
        n = primary(p, false);
    }
    n = postfix(p, n);
    if (with_filter)
        n = filter_expr(p, n);
    wj_leave(p->x);
    return n;
}

/* ---- statements --------------------------------------------------------------------------- */

static struct wj_nodes subparse(struct parser *p, const char *const *ends);

/* Up to a tag whose name is among `ends`, which becomes the current token. */
static struct wj_nodes statements(struct parser *p, const char *const *ends) {
    skip_op(p, ":");
    expect_type(p, WJ_T_BLOCK_END, "end of statement block");
    struct wj_nodes body = subparse(p, ends);
    if (p->t->type == WJ_T_EOF) {
        p->x->line = p->t->line;
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX,
                "Unexpected end of template. Jinja was looking for the following tags: '%s'.",
                ends[0]);
    }
    return body;
}

static struct wj_nodes statements_until(struct parser *p, const char *end) {
    const char *const ends[] = {end, NULL};
    struct wj_nodes body = statements(p, ends);
    advance(p);
    return body;
}

static const char *target_kind(const struct wj_node *n) {
    switch (n->kind) {
    case WJ_N_CONST:
        return "const";
    case WJ_N_LIST:
        return "list";
    case WJ_N_DICT:
        return "dict";
    case WJ_N_NAME:
    case WJ_N_NSREF:
        return NULL;
    default:
        return "expression";
    }
}

static void check_target(struct parser *p, struct wj_node *n) {
    p->x->line = n->line;
    if (n->kind == WJ_N_TUPLE) {
        for (uint32_t i = 0; i < n->n; i++)
            check_target(p, n->list[i]);
        return;
    }
    if (target_kind(n) != NULL)
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "can't assign to '%s'", target_kind(n));
    if (n->kind == WJ_N_NAME && weir_span_eqz(wj_text(p->x, n->value), "loop") && p->loops > 0)
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX,
                "Can't assign to special loop variable in for-loop target");
    n->flag = 1; /* NAME: stored, not loaded */
}

static struct wj_node *assign_target(struct parser *p, enum tuple_kind kind) {
    struct wj_node *n = tuple(p, kind, false);
    check_target(p, n);
    return n;
}

static struct wj_node *parse_set(struct parser *p, struct wj_node *n) {
    n->a = assign_target(p, TUPLE_NS_TARGET);
    if (skip_op(p, "=")) {
        n->b = tuple(p, TUPLE_FULL, false);
        return n;
    }
    n->kind = WJ_N_SET_BLOCK;
    if (n->a->kind == WJ_N_TUPLE)
        wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED, "a block set of several names");
    struct wj_node *inner = node(p, WJ_N_CONST, n->line); /* stands for the body's text */
    inner->flag = 1;
    unsigned depth = p->x->depth;
    if (is_op(p->t, "|"))
        n->b = filter(p, inner, false);
    p->x->depth = depth;
    n->body = statements_until(p, "endset");
    return n;
}

static struct wj_node *parse_for(struct parser *p, struct wj_node *n) {
    static const char *const ends[] = {"endfor", "else", NULL};
    p->loops++;
    n->a = assign_target(p, TUPLE_TARGET);
    expect_name(p, "in");
    n->b = tuple(p, TUPLE_NO_COND, false);
    if (skip_name(p, "if"))
        n->c = expression(p);
    n->flag = skip_name(p, "recursive");
    n->body = statements(p, ends);
    p->loops--;
    bool has_else = is_name(p->t, "else");
    advance(p);
    if (has_else)
        n->other = statements_until(p, "endfor");
    return n;
}

static struct wj_node *parse_if(struct parser *p, struct wj_node *n) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct wj_node *result = n;
    unsigned depth = p->x->depth;
    for (;; wj_enter(p->x)) {
        n->a = tuple(p, TUPLE_NO_COND, false);
        n->body = statements(p, ends);
        bool more = is_name(p->t, "elif"), other = is_name(p->t, "else");
        advance(p);
        if (more) {
            /* A chain: each elif is the only statement of the else branch before it. */
            struct wj_node *next = node(p, WJ_N_IF, p->t->line);
            struct node_list one = {0};
            add(p, &one, next);
            n->other = (struct wj_nodes){one.at, 1};
            n->op = 1;
            n = next;
            continue;
        }
        if (other)
            n->other = statements_until(p, "endif");
        break;
    }
    p->x->depth = depth;
    return result;
}

static struct wj_node *parse_with(struct parser *p, struct wj_node *n) {
    struct node_list pairs = {0};
    while (p->t->type != WJ_T_BLOCK_END) {
        if (pairs.n > 0)
            expect_op(p, ",");
        add(p, &pairs, assign_target(p, TUPLE_TARGET));
        expect_op(p, "=");
        add(p, &pairs, expression(p));
    }
    set_list(n, &pairs);
    n->body = statements_until(p, "endwith");
    return n;
}

/* "(a, b=1)": args hold default values by name; a missing default is NULL. */
static void signature(struct parser *p, struct wj_node *n) {
    struct arg_list args = {0};
    bool defaults = false;
    expect_op(p, "(");
    while (!is_op(p->t, ")")) {
        if (args.n > 0)
            expect_op(p, ",");
        uint32_t line = p->t->line;
        struct weir_span name = expect_any_name(p);
        struct wj_node *value = NULL;
        if (skip_op(p, "=")) {
            value = expression(p);
            defaults = true;
        } else if (defaults) {
            p->x->line = line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "non-default argument follows default argument");
        }
        for (uint32_t i = 0; i < args.n; i++)
            if (weir_span_eq(args.at[i].name, name))
                wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX,
                        "duplicate argument '%.*s' in function definition", WEIR_SPAN_ARG(name));
        add_arg(p, &args, name, value);
    }
    advance(p);
    n->args = args.at;
    n->n_args = args.n;
}

/* The body of a Python function: break does not see the loops around it. */
static struct wj_nodes function_body(struct parser *p, const char *end) {
    unsigned loops = p->loops;
    p->loops = 0;
    struct wj_nodes body = statements_until(p, end);
    p->loops = loops;
    return body;
}

static struct wj_node *parse_macro(struct parser *p, struct wj_node *n) {
    n->value = wj_str(expect_any_name(p));
    if (weir_span_eqz(wj_text(p->x, n->value), "loop") && p->loops > 0)
        wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED, "a macro named loop inside a loop");
    signature(p, n);
    n->body = function_body(p, "endmacro");
    return n;
}

static struct wj_node *parse_call_block(struct parser *p, struct wj_node *n) {
    if (is_op(p->t, "("))
        signature(p, n);
    n->a = expression(p);
    if (n->a->kind != WJ_N_CALL) {
        p->x->line = n->line;
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "expected call");
    }
    n->body = function_body(p, "endcall");
    return n;
}

static struct wj_node *parse_filter_block(struct parser *p, struct wj_node *n) {
    struct wj_node *inner = node(p, WJ_N_CONST, n->line);
    inner->flag = 1;
    unsigned depth = p->x->depth;
    n->a = filter(p, inner, true);
    n->a = filter(p, n->a, false);
    p->x->depth = depth;
    n->body = statements_until(p, "endfilter");
    return n;
}

static struct wj_node *parse_print(struct parser *p, struct wj_node *n) {
    struct node_list items = {0};
    while (p->t->type != WJ_T_BLOCK_END) {
        if (items.n > 0)
            expect_op(p, ",");
        add(p, &items, expression(p));
    }
    set_list(n, &items);
    return n;
}

static struct wj_node *parse_jump(struct parser *p, struct wj_node *n) {
    p->x->line = n->line;
    if (p->loops == 0)
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "'%s' outside loop",
                n->kind == WJ_N_BREAK ? "break" : "continue");
    return n;
}

static struct wj_node *parse_generation(struct parser *p, struct wj_node *n) {
    n->body = function_body(p, "endgeneration");
    return n;
}

static struct wj_node *statement(struct parser *p) {
    static const struct {
        const char *name;
        enum wj_node_kind kind;
        struct wj_node *(*parse)(struct parser *, struct wj_node *);
    } tags[] = {
        {"for", WJ_N_FOR, parse_for},
        {"if", WJ_N_IF, parse_if},
        {"set", WJ_N_SET, parse_set},
        {"macro", WJ_N_MACRO, parse_macro},
        {"call", WJ_N_CALL_BLOCK, parse_call_block},
        {"filter", WJ_N_FILTER_BLOCK, parse_filter_block},
        {"with", WJ_N_WITH, parse_with},
        {"print", WJ_N_PRINT, parse_print},
        {"break", WJ_N_BREAK, parse_jump},
        {"continue", WJ_N_CONTINUE, parse_jump},
        {"generation", WJ_N_GENERATION, parse_generation},
    };
    static const char *const refused[] = {"block",  "extends", "include",
                                          "import", "from",    "autoescape"};
    p->x->line = p->t->line;
    if (p->t->type != WJ_T_NAME)
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "tag name expected");
    for (size_t i = 0; i < WEIR_ARRAY_LEN(tags); i++)
        if (is_name(p->t, tags[i].name)) {
            struct wj_node *n = node(p, tags[i].kind, p->t->line);
            advance(p);
            wj_enter(p->x);
            n = tags[i].parse(p, n);
            wj_leave(p->x);
            return n;
        }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(refused); i++)
        if (is_name(p->t, refused[i]))
            wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED,
                    "{%% %s %%} is not supported: a chat template is one file", refused[i]);
    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "Encountered unknown tag '%.*s'.",
            WEIR_SPAN_ARG(p->t->text));
}

static bool at_end_tag(const struct parser *p, const char *const *ends) {
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++)
        if (is_name(p->t, ends[i]))
            return true;
    return false;
}

static struct wj_nodes subparse(struct parser *p, const char *const *ends) {
    struct node_list body = {0};
    wj_enter(p->x);
    while (p->t->type != WJ_T_EOF) {
        struct wj_node *n;
        if (p->t->type == WJ_T_DATA) {
            n = node(p, WJ_N_DATA, p->t->line);
            n->value = wj_str(p->t->text);
            advance(p);
            add(p, &body, n);
        } else if (p->t->type == WJ_T_VAR_BEGIN) {
            n = node(p, WJ_N_PRINT, p->t->line);
            advance(p);
            struct node_list one = {0};
            add(p, &one, tuple(p, TUPLE_FULL, false));
            set_list(n, &one);
            expect_type(p, WJ_T_VAR_END, "end of print statement");
            add(p, &body, n);
        } else {
            advance(p); /* block begin */
            if (at_end_tag(p, ends))
                break;
            add(p, &body, statement(p));
            expect_type(p, WJ_T_BLOCK_END, "end of statement block");
        }
    }
    wj_leave(p->x);
    return (struct wj_nodes){body.at, body.n};
}

void wj_parse(struct wj_run *x, struct wtok_jinja *tpl) {
    size_t n;
    struct wj_token *tokens = wj_lex(x, tpl->source, &n);
    struct parser p = {.x = x, .t = tokens, .last = tokens + n - 1};
    tpl->body = subparse(&p, NULL);
}

/* ---- walking ------------------------------------------------------------------------------ */

static void each(struct wj_node *n, wj_visit_fn fn, void *arg) {
    if (n != NULL)
        fn(n, arg);
}

void wj_children(struct wj_node *n, wj_visit_fn fn, void *arg) {
    if (n->kind == WJ_N_SET) { /* the value is seen before the target */
        each(n->b, fn, arg);
        each(n->a, fn, arg);
        return;
    }
    each(n->a, fn, arg);
    if (n->kind != WJ_N_CALL && n->kind != WJ_N_FILTER && n->kind != WJ_N_TEST)
        each(n->b, fn, arg);
    for (uint32_t i = 0; i < n->n; i++)
        each(n->list[i], fn, arg);
    for (uint32_t i = 0; i < n->n_args; i++)
        each(n->args[i].value, fn, arg);
    if (n->kind == WJ_N_CALL || n->kind == WJ_N_FILTER || n->kind == WJ_N_TEST)
        each(n->b, fn, arg);
    each(n->c, fn, arg);
    for (uint32_t i = 0; i < n->body.n; i++)
        each(n->body.at[i], fn, arg);
    for (uint32_t i = 0; i < n->other.n; i++)
        each(n->other.at[i], fn, arg);
}
