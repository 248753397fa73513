/*
 * The other half of the parser: expressions, from the loosest operator (x if y else z) to names,
 * literals, subscripts, calls, filters and tests.
 */
#include "tokenizer/jinja_parse_priv.h"

/* ---- operators ---------------------------------------------------------------------------- */

static struct wj_node *unary(struct wj_parser *p, bool with_filter);
static struct wj_node *primary(struct wj_parser *p, bool with_namespace);
static struct wj_node *postfix(struct wj_parser *p, struct wj_node *n);

static struct wj_node *name_node(struct wj_parser *p, struct weir_span name, uint32_t line) {
    struct wj_node *n = wj_new_node(p, WJ_N_NAME, line);
    n->value = wj_str(name);
    return n;
}

static struct wj_node *logical_or(struct wj_parser *p);

static struct wj_node *cond(struct wj_parser *p) {
    wj_enter(p->x);
    uint32_t line = p->t->line;
    struct wj_node *first = logical_or(p);
    while (wj_skip_name(p, "if")) {
        struct wj_node *n = wj_new_node(p, WJ_N_COND, line);
        n->b = first;
        n->a = logical_or(p);
        if (wj_skip_name(p, "else"))
            n->c = cond(p);
        first = n;
        line = p->t->line;
    }
    wj_leave(p->x);
    return first;
}

struct wj_node *wj_parse_expression(struct wj_parser *p) {
    return cond(p);
}

static struct wj_node *compare(struct wj_parser *p);

static struct wj_node *logical_not(struct wj_parser *p) {
    if (!wj_is_name(p->t, "not"))
        return compare(p);
    wj_enter(p->x);
    struct wj_node *n = wj_new_node(p, WJ_N_NOT, p->t->line);
    wj_advance(p);
    n->a = logical_not(p);
    wj_leave(p->x);
    return n;
}

static struct wj_node *logical_and(struct wj_parser *p) {
    struct wj_node *left = logical_not(p);
    while (wj_is_name(p->t, "and")) {
        struct wj_node *n = wj_new_node(p, WJ_N_AND, p->t->line);
        wj_advance(p);
        n->a = left;
        n->b = logical_not(p);
        left = n;
        wj_enter(p->x); /* left-deep trees count as deep */
    }
    return left;
}

static struct wj_node *logical_or(struct wj_parser *p) {
    unsigned depth = p->x->depth;
    struct wj_node *left = logical_and(p);
    while (wj_is_name(p->t, "or")) {
        struct wj_node *n = wj_new_node(p, WJ_N_OR, p->t->line);
        wj_advance(p);
        n->a = left;
        n->b = logical_and(p);
        left = n;
        wj_enter(p->x);
    }
    p->x->depth = depth;
    return left;
}

static int compare_op(struct wj_parser *p) {
    static const struct {
        const char *text;
        enum wj_op op;
    } ops[] = {{"==", WJ_OP_EQ}, {"!=", WJ_OP_NE}, {"<", WJ_OP_LT},
               {"<=", WJ_OP_LE}, {">", WJ_OP_GT},  {">=", WJ_OP_GE}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(ops); i++)
        if (wj_skip_op(p, ops[i].text))
            return ops[i].op;
    if (wj_skip_name(p, "in"))
        return WJ_OP_IN;
    if (wj_is_name(p->t, "not") && wj_is_name(wj_look(p), "in")) {
        wj_advance(p);
        wj_advance(p);
        return WJ_OP_NOTIN;
    }
    return -1;
}

static struct wj_node *sum(struct wj_parser *p);

static struct wj_node *compare(struct wj_parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *first = sum(p);
    struct wj_node_list operands = {0};
    uint8_t ops[64];
    int op;
    while ((op = compare_op(p)) >= 0) {
        if (operands.n == sizeof(ops))
            wj_fail(p->x, WTOK_JINJA_ERR_LIMIT, "too many comparisons in a chain");
        ops[operands.n] = (uint8_t)op;
        wj_add_node(p, &operands, sum(p));
    }
    if (operands.n == 0)
        return first;
    struct wj_node *n = wj_new_node(p, WJ_N_COMPARE, line);
    n->a = first;
    wj_set_list(n, &operands);
    n->ops = wj_alloc(p->x, operands.n);
    memcpy(n->ops, ops, operands.n);
    n->op = ops[0];
    return n;
}

static struct wj_node *binary(struct wj_parser *p, enum wj_op op, struct wj_node *a,
                              struct wj_node *b, uint32_t line) {
    struct wj_node *n = wj_new_node(p, WJ_N_BINARY, line);
    n->op = (uint8_t)op;
    n->a = a;
    n->b = b;
    wj_enter(p->x);
    return n;
}

static struct wj_node *power(struct wj_parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *left = unary(p, true);
    while (wj_skip_op(p, "**"))
        left = binary(p, WJ_OP_POW, left, unary(p, true), line);
    return left;
}

static struct wj_node *product(struct wj_parser *p) {
    static const struct {
        const char *text;
        enum wj_op op;
    } ops[] = {{"*", WJ_OP_MUL}, {"/", WJ_OP_DIV}, {"//", WJ_OP_FLOORDIV}, {"%", WJ_OP_MOD}};
    uint32_t line = p->t->line;
    struct wj_node *left = power(p);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(ops); i++)
        if (wj_skip_op(p, ops[i].text)) {
            left = binary(p, ops[i].op, left, power(p), line);
            i = (size_t)-1;
        }
    return left;
}

static struct wj_node *concat(struct wj_parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *first = product(p);
    if (!wj_is_op(p->t, "~"))
        return first;
    struct wj_node_list operands = {0};
    wj_add_node(p, &operands, first);
    while (wj_skip_op(p, "~"))
        wj_add_node(p, &operands, product(p));
    struct wj_node *n = wj_new_node(p, WJ_N_CONCAT, line);
    wj_set_list(n, &operands);
    return n;
}

static struct wj_node *sum(struct wj_parser *p) {
    unsigned depth = p->x->depth;
    uint32_t line = p->t->line;
    struct wj_node *left = concat(p);
    struct wj_node_list operands = {0};
    for (;;) {
        if (wj_is_op(p->t, "+")) {
            wj_advance(p);
            if (operands.n == 0)
                wj_add_node(p, &operands, left);
            wj_add_node(p, &operands, concat(p));
            continue;
        }
        if (operands.n > 0) {
            left = wj_new_node(p, WJ_N_ADD, line);
            wj_set_list(left, &operands);
            operands = (struct wj_node_list){0};
        }
        if (!wj_skip_op(p, "-"))
            break;
        left = binary(p, WJ_OP_SUB, left, concat(p), line);
    }
    p->x->depth = depth;
    return left;
}

/* ---- literals and names ------------------------------------------------------------------- */

static struct wj_node *list_literal(struct wj_parser *p) {
    struct wj_node *n = wj_new_node(p, WJ_N_LIST, p->t->line);
    struct wj_node_list items = {0};
    wj_expect_op(p, "[");
    while (!wj_is_op(p->t, "]")) {
        if (items.n > 0)
            wj_expect_op(p, ",");
        if (wj_is_op(p->t, "]"))
            break;
        wj_add_node(p, &items, wj_parse_expression(p));
    }
    wj_expect_op(p, "]");
    wj_set_list(n, &items);
    return n;
}

static struct wj_node *dict_literal(struct wj_parser *p) {
    struct wj_node *n = wj_new_node(p, WJ_N_DICT, p->t->line);
    struct wj_node_list items = {0};
    wj_expect_op(p, "{");
    while (!wj_is_op(p->t, "}")) {
        if (items.n > 0)
            wj_expect_op(p, ",");
        if (wj_is_op(p->t, "}"))
            break;
        wj_add_node(p, &items, wj_parse_expression(p));
        wj_expect_op(p, ":");
        wj_add_node(p, &items, wj_parse_expression(p));
    }
    wj_expect_op(p, "}");
    wj_set_list(n, &items);
    return n;
}

/* Jinja2 means to end at "in" and "recursive", too, but its check never matches. */
static bool tuple_ends(const struct wj_parser *p) {
    return p->t->type == WJ_T_VAR_END || p->t->type == WJ_T_BLOCK_END || wj_is_op(p->t, ")");
}

static struct wj_node *tuple_item(struct wj_parser *p, enum wj_tuple_kind kind) {
    switch (kind) {
    case WJ_TUPLE_FULL:
        return wj_parse_expression(p);
    case WJ_TUPLE_NO_COND: {
        wj_enter(p->x);
        struct wj_node *n = logical_or(p);
        wj_leave(p->x);
        return n;
    }
    default:
        return primary(p, kind == WJ_TUPLE_NS_TARGET);
    }
}

struct wj_node *wj_parse_tuple(struct wj_parser *p, enum wj_tuple_kind kind, bool parentheses) {
    uint32_t line = p->t->line;
    struct wj_node_list items = {0};
    bool is_tuple = false;
    for (;;) {
        if (items.n > 0)
            wj_expect_op(p, ",");
        if (tuple_ends(p))
            break;
        wj_add_node(p, &items, tuple_item(p, kind));
        if (!wj_is_op(p->t, ","))
            break;
        is_tuple = true;
    }
    if (!is_tuple && items.n > 0)
        return items.at[0];
    if (!is_tuple && !parentheses) {
        char got[64];
        wj_describe_token(p->t, got);
        p->x->line = p->t->line;
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "Expected an expression, got '%s'", got);
    }
    struct wj_node *n = wj_new_node(p, WJ_N_TUPLE, line);
    wj_set_list(n, &items);
    return n;
}

static struct wj_node *name_or_constant(struct wj_parser *p, bool with_namespace) {
    struct weir_span name = p->t->text;
    uint32_t line = p->t->line;
    wj_advance(p);
    bool yes = weir_span_eqz(name, "true") || weir_span_eqz(name, "True");
    struct wj_node *n = wj_new_node(p, WJ_N_CONST, line);
    if (yes || weir_span_eqz(name, "false") || weir_span_eqz(name, "False")) {
        n->value = wj_bool(yes);
    } else if (weir_span_eqz(name, "none") || weir_span_eqz(name, "None")) {
        n->value = wj_none();
    } else if (with_namespace && wj_skip_op(p, ".")) {
        n->kind = WJ_N_NSREF;
        n->a = name_node(p, name, line);
        n->value = wj_str(wj_expect_any_name(p));
    } else {
        n->kind = WJ_N_NAME;
        n->value = wj_str(name);
    }
    return n;
}

static struct wj_node *strings(struct wj_parser *p) {
    struct wj_node *n = wj_new_node(p, WJ_N_CONST, p->t->line);
    n->value = p->t->value;
    wj_advance(p);
    while (p->t->type == WJ_T_STRING) {
        n->value = wj_concat(p->x, n->value, p->t->value);
        wj_advance(p);
    }
    n->value = wj_str(wj_text(p->x, n->value)); /* shared by threads: no rope */
    return n;
}

static struct wj_node *primary(struct wj_parser *p, bool with_namespace) {
    struct wj_node *n;
    switch (p->t->type) {
    case WJ_T_NAME:
        return name_or_constant(p, with_namespace);
    case WJ_T_STRING:
        return strings(p);
    case WJ_T_INTEGER:
    case WJ_T_FLOAT:
        n = wj_new_node(p, WJ_N_CONST, p->t->line);
        n->value = p->t->value;
        wj_advance(p);
        return n;
    default:
        break;
    }
    if (wj_is_op(p->t, "[") || wj_is_op(p->t, "{") || wj_is_op(p->t, "(")) {
        wj_enter(p->x);
        if (wj_is_op(p->t, "[")) {
            n = list_literal(p);
        } else if (wj_is_op(p->t, "{")) {
            n = dict_literal(p);
        } else {
            wj_advance(p);
            n = wj_parse_tuple(p, WJ_TUPLE_FULL, true);
            wj_expect_op(p, ")");
        }
        wj_leave(p->x);
        return n;
    }
    char got[64];
    wj_describe_token(p->t, got);
    p->x->line = p->t->line;
    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "unexpected '%s'", got);
}

/* ---- subscripts, calls, filters, tests ---------------------------------------------------- */

static struct wj_node *slice_bound(struct wj_parser *p) {
    if (wj_is_op(p->t, ":") || wj_is_op(p->t, "]") || wj_is_op(p->t, ","))
        return NULL;
    return wj_parse_expression(p);
}

static struct wj_node *subscribed(struct wj_parser *p) {
    uint32_t line = p->t->line;
    struct wj_node *first = NULL;
    if (!wj_is_op(p->t, ":")) {
        first = wj_parse_expression(p);
        if (!wj_is_op(p->t, ":"))
            return first;
    }
    wj_advance(p);
    struct wj_node *n = wj_new_node(p, WJ_N_SLICE, line);
    n->a = first;
    n->b = slice_bound(p);
    if (wj_skip_op(p, ":"))
        n->c = slice_bound(p);
    return n;
}

static struct wj_node *subscript(struct wj_parser *p, struct wj_node *obj) {
    uint32_t line = p->t->line;
    struct wj_node *n;
    if (wj_skip_op(p, ".")) {
        if (p->t->type == WJ_T_NAME) {
            n = wj_new_node(p, WJ_N_GETATTR, line);
            n->value = wj_str(p->t->text);
            n->attr = (uint16_t)wj_attr_number(p->t->text);
        } else if (p->t->type == WJ_T_INTEGER) {
            n = wj_new_node(p, WJ_N_GETITEM, line);
            n->b = wj_new_node(p, WJ_N_CONST, line);
            n->b->value = p->t->value;
        } else {
            p->x->line = line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "expected name or number");
        }
        n->a = obj;
        wj_advance(p);
        return n;
    }
    wj_advance(p);
    n = wj_new_node(p, WJ_N_GETITEM, line);
    n->a = obj;
    struct wj_node_list items = {0};
    while (!wj_is_op(p->t, "]")) {
        if (items.n > 0)
            wj_expect_op(p, ",");
        wj_add_node(p, &items, subscribed(p));
    }
    wj_advance(p);
    if (items.n == 1) {
        n->b = items.at[0];
    } else {
        for (uint32_t i = 0; i < items.n; i++)
            if (items.at[i]->kind == WJ_N_SLICE)
                wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED, "a slice among several subscripts");
        n->b = wj_new_node(p, WJ_N_TUPLE, line);
        wj_set_list(n->b, &items);
    }
    return n;
}

/* f(a, b, name=c, *list, **dict): the last two become `b` and `c` of the node. */
static void call_args(struct wj_parser *p, struct wj_node *n) {
    struct wj_arg_list args = {0};
    uint32_t line = p->t->line;
    bool ok = true;
    wj_expect_op(p, "(");
    for (bool comma = false; !wj_is_op(p->t, ")"); comma = true) {
        if (comma) {
            wj_expect_op(p, ",");
            if (wj_is_op(p->t, ")"))
                break;
        }
        if (wj_skip_op(p, "*")) {
            ok = n->b == NULL && n->c == NULL;
            n->b = ok ? wj_parse_expression(p) : NULL;
        } else if (wj_skip_op(p, "**")) {
            ok = n->c == NULL;
            n->c = ok ? wj_parse_expression(p) : NULL;
        } else if (p->t->type == WJ_T_NAME && wj_is_op(wj_look(p), "=")) {
            struct weir_span name = p->t->text;
            ok = n->c == NULL;
            wj_advance(p);
            wj_advance(p);
            for (uint32_t i = n->n_positional; i < args.n; i++)
                if (weir_span_eq(args.at[i].name, name))
                    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "keyword argument repeated: %.*s",
                            WEIR_SPAN_ARG(name));
            wj_add_arg(p, &args, name, wj_parse_expression(p));
        } else {
            ok = n->b == NULL && n->c == NULL && args.n == n->n_positional;
            wj_add_arg(p, &args, weir_span(NULL, 0), wj_parse_expression(p));
            n->n_positional++;
        }
        if (!ok) {
            p->x->line = line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "invalid syntax for function call expression");
        }
    }
    wj_expect_op(p, ")");
    n->args = args.at;
    n->n_args = args.n;
}

static struct wj_node *call(struct wj_parser *p, struct wj_node *callee) {
    struct wj_node *n = wj_new_node(p, WJ_N_CALL, p->t->line);
    n->a = callee;
    call_args(p, n);
    return n;
}

static struct wj_node *postfix(struct wj_parser *p, struct wj_node *n) {
    unsigned depth = p->x->depth;
    for (;; wj_enter(p->x)) {
        if (wj_is_op(p->t, ".") || wj_is_op(p->t, "["))
            n = subscript(p, n);
        else if (wj_is_op(p->t, "("))
            n = call(p, n);
        else
            break;
    }
    p->x->depth = depth;
    return n;
}

/* "name" or "dotted.name", which no filter or test has. */
static struct weir_span dotted_name(struct wj_parser *p) {
    struct weir_span name = wj_expect_any_name(p);
    while (wj_skip_op(p, ".")) {
        struct weir_span more = wj_expect_any_name(p);
        name.len = (size_t)(more.data + more.len - name.data);
    }
    return name;
}

struct wj_node *wj_parse_filter(struct wj_parser *p, struct wj_node *n, bool start_inline) {
    while (start_inline || wj_skip_op(p, "|")) {
        struct wj_node *f = wj_new_node(p, WJ_N_FILTER, p->t->line);
        struct weir_span name = dotted_name(p);
        f->a = n;
        if (wj_is_op(p->t, "("))
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

static bool starts_test_argument(const struct wj_parser *p) {
    const struct wj_token *t = p->t;
    if (t->type == WJ_T_NAME)
        return !wj_is_name(t, "else") && !wj_is_name(t, "or") && !wj_is_name(t, "and");
    return t->type == WJ_T_STRING || t->type == WJ_T_INTEGER || t->type == WJ_T_FLOAT ||
           wj_is_op(t, "[") || wj_is_op(t, "{");
}

static struct wj_node *test(struct wj_parser *p, struct wj_node *value) {
    struct wj_node *n = wj_new_node(p, WJ_N_TEST, p->t->line);
    wj_advance(p);
    bool negated = wj_skip_name(p, "not");
    struct weir_span name = dotted_name(p);
    n->a = value;
    if (wj_is_op(p->t, "(")) {
        call_args(p, n);
    } else if (starts_test_argument(p)) {
        if (wj_is_name(p->t, "is")) {
            p->x->line = p->t->line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "You cannot chain multiple tests with is");
        }
        struct wj_arg_list args = {0};
        wj_add_arg(p, &args, weir_span(NULL, 0), postfix(p, primary(p, false)));
        n->args = args.at;
        n->n_args = n->n_positional = 1;
    }
    n->value = wj_str(name);
    n->filter = wj_find_test(name);
    if (!negated)
        return n;
    struct wj_node *not_node = wj_new_node(p, WJ_N_NOT, n->line);
    not_node->a = n;
    return not_node;
}

static struct wj_node *filter_expr(struct wj_parser *p, struct wj_node *n) {
    unsigned depth = p->x->depth;
    for (;; wj_enter(p->x)) {
        if (wj_is_op(p->t, "|"))
            n = wj_parse_filter(p, n, false);
        else if (wj_is_name(p->t, "is"))
            n = test(p, n);
        else if (wj_is_op(p->t, "("))
            n = call(p, n);
        else
            break;
    }
    p->x->depth = depth;
    return n;
}

static struct wj_node *unary(struct wj_parser *p, bool with_filter) {
    struct wj_node *n;
    wj_enter(p->x);
    if (wj_is_op(p->t, "-") || wj_is_op(p->t, "+")) {
        n = wj_new_node(p, wj_is_op(p->t, "-") ? WJ_N_NEG : WJ_N_POS, p->t->line);
        wj_advance(p);
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
