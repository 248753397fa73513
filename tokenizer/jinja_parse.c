/*
 * Tokens to a tree, by the grammar of jinja2.parser (same precedence, same refusals): the tools of
 * both halves, statements, and walking over a tree. Depth is bounded by the run's max_depth.
 */
#include "tokenizer/jinja_parse_priv.h"

#include <stdio.h>

/* ---- tokens and nodes --------------------------------------------------------------------- */

void wj_describe_token(const struct wj_token *t, char out[64]) {
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

void wj_unexpected(struct wj_parser *p, const char *wanted) {
    char got[64];
    wj_describe_token(p->t, got);
    p->x->line = p->t->line;
    if (p->t->type == WJ_T_EOF)
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "unexpected end of template, expected '%s'.", wanted);
    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "expected token '%s', got '%s'", wanted, got);
}

void wj_expect_op(struct wj_parser *p, const char *op) {
    if (!wj_skip_op(p, op))
        wj_unexpected(p, op);
}
static void expect_name(struct wj_parser *p, const char *name) {
    if (!wj_skip_name(p, name))
        wj_unexpected(p, name);
}
struct weir_span wj_expect_any_name(struct wj_parser *p) {
    if (p->t->type != WJ_T_NAME)
        wj_unexpected(p, "name");
    struct weir_span name = p->t->text;
    wj_advance(p);
    return name;
}
static void expect_type(struct wj_parser *p, enum wj_token_type type, const char *what) {
    if (p->t->type != type)
        wj_unexpected(p, what);
    wj_advance(p);
}

struct wj_node *wj_new_node(struct wj_parser *p, enum wj_node_kind kind, uint32_t line) {
    struct wj_node *n = wj_alloc(p->x, sizeof(*n));
    memset(n, 0, sizeof(*n));
    n->kind = (uint8_t)kind;
    n->line = line;
    return n;
}

void wj_add_node(struct wj_parser *p, struct wj_node_list *l, struct wj_node *n) {
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
void wj_set_list(struct wj_node *n, const struct wj_node_list *l) {
    n->list = l->at;
    n->n = l->n;
}

void wj_add_arg(struct wj_parser *p, struct wj_arg_list *l, struct weir_span name,
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

/* ---- statements --------------------------------------------------------------------------- */

static struct wj_nodes subparse(struct wj_parser *p, const char *const *ends);

/* Up to a tag whose name is among `ends`, which becomes the current token. */
static struct wj_nodes statements(struct wj_parser *p, const char *const *ends) {
    wj_skip_op(p, ":");
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

static struct wj_nodes statements_until(struct wj_parser *p, const char *end) {
    const char *const ends[] = {end, NULL};
    struct wj_nodes body = statements(p, ends);
    wj_advance(p);
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

static void check_target(struct wj_parser *p, struct wj_node *n) {
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

static struct wj_node *assign_target(struct wj_parser *p, enum wj_tuple_kind kind) {
    struct wj_node *n = wj_parse_tuple(p, kind, false);
    check_target(p, n);
    return n;
}

static struct wj_node *parse_set(struct wj_parser *p, struct wj_node *n) {
    n->a = assign_target(p, WJ_TUPLE_NS_TARGET);
    if (wj_skip_op(p, "=")) {
        n->b = wj_parse_tuple(p, WJ_TUPLE_FULL, false);
        return n;
    }
    n->kind = WJ_N_SET_BLOCK;
    if (n->a->kind == WJ_N_TUPLE)
        wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED, "a block set of several names");
    struct wj_node *inner = wj_new_node(p, WJ_N_CONST, n->line); /* stands for the body's text */
    inner->flag = 1;
    unsigned depth = p->x->depth;
    if (wj_is_op(p->t, "|"))
        n->b = wj_parse_filter(p, inner, false);
    p->x->depth = depth;
    n->body = statements_until(p, "endset");
    return n;
}

static struct wj_node *parse_for(struct wj_parser *p, struct wj_node *n) {
    static const char *const ends[] = {"endfor", "else", NULL};
    p->loops++;
    n->a = assign_target(p, WJ_TUPLE_TARGET);
    expect_name(p, "in");
    n->b = wj_parse_tuple(p, WJ_TUPLE_NO_COND, false);
    if (wj_skip_name(p, "if"))
        n->c = wj_parse_expression(p);
    n->flag = wj_skip_name(p, "recursive");
    n->body = statements(p, ends);
    p->loops--;
    bool has_else = wj_is_name(p->t, "else");
    wj_advance(p);
    if (has_else)
        n->other = statements_until(p, "endfor");
    return n;
}

static struct wj_node *parse_if(struct wj_parser *p, struct wj_node *n) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct wj_node *result = n;
    unsigned depth = p->x->depth;
    for (;; wj_enter(p->x)) {
        n->a = wj_parse_tuple(p, WJ_TUPLE_NO_COND, false);
        n->body = statements(p, ends);
        bool more = wj_is_name(p->t, "elif"), other = wj_is_name(p->t, "else");
        wj_advance(p);
        if (more) {
            /* A chain: each elif is the only statement of the else branch before it. */
            struct wj_node *next = wj_new_node(p, WJ_N_IF, p->t->line);
            struct wj_node_list one = {0};
            wj_add_node(p, &one, next);
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

static struct wj_node *parse_with(struct wj_parser *p, struct wj_node *n) {
    struct wj_node_list pairs = {0};
    while (p->t->type != WJ_T_BLOCK_END) {
        if (pairs.n > 0)
            wj_expect_op(p, ",");
        wj_add_node(p, &pairs, assign_target(p, WJ_TUPLE_TARGET));
        wj_expect_op(p, "=");
        wj_add_node(p, &pairs, wj_parse_expression(p));
    }
    wj_set_list(n, &pairs);
    n->body = statements_until(p, "endwith");
    return n;
}

/* "(a, b=1)": args hold default values by name; a missing default is NULL. */
static void signature(struct wj_parser *p, struct wj_node *n) {
    struct wj_arg_list args = {0};
    bool defaults = false;
    wj_expect_op(p, "(");
    while (!wj_is_op(p->t, ")")) {
        if (args.n > 0)
            wj_expect_op(p, ",");
        uint32_t line = p->t->line;
        struct weir_span name = wj_expect_any_name(p);
        struct wj_node *value = NULL;
        if (wj_skip_op(p, "=")) {
            value = wj_parse_expression(p);
            defaults = true;
        } else if (defaults) {
            p->x->line = line;
            wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "non-default argument follows default argument");
        }
        for (uint32_t i = 0; i < args.n; i++)
            if (weir_span_eq(args.at[i].name, name))
                wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX,
                        "duplicate argument '%.*s' in function definition", WEIR_SPAN_ARG(name));
        wj_add_arg(p, &args, name, value);
    }
    wj_advance(p);
    n->args = args.at;
    n->n_args = args.n;
}

/* The body of a Python function: break does not see the loops around it. */
static struct wj_nodes function_body(struct wj_parser *p, const char *end) {
    unsigned loops = p->loops;
    p->loops = 0;
    struct wj_nodes body = statements_until(p, end);
    p->loops = loops;
    return body;
}

static struct wj_node *parse_macro(struct wj_parser *p, struct wj_node *n) {
    n->value = wj_str(wj_expect_any_name(p));
    if (weir_span_eqz(wj_text(p->x, n->value), "loop") && p->loops > 0)
        wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED, "a macro named loop inside a loop");
    signature(p, n);
    n->body = function_body(p, "endmacro");
    return n;
}

static struct wj_node *parse_call_block(struct wj_parser *p, struct wj_node *n) {
    if (wj_is_op(p->t, "("))
        signature(p, n);
    n->a = wj_parse_expression(p);
    if (n->a->kind != WJ_N_CALL) {
        p->x->line = n->line;
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "expected call");
    }
    n->body = function_body(p, "endcall");
    return n;
}

static struct wj_node *parse_filter_block(struct wj_parser *p, struct wj_node *n) {
    struct wj_node *inner = wj_new_node(p, WJ_N_CONST, n->line);
    inner->flag = 1;
    unsigned depth = p->x->depth;
    n->a = wj_parse_filter(p, inner, true);
    n->a = wj_parse_filter(p, n->a, false);
    p->x->depth = depth;
    n->body = statements_until(p, "endfilter");
    return n;
}

static struct wj_node *parse_print(struct wj_parser *p, struct wj_node *n) {
    struct wj_node_list items = {0};
    while (p->t->type != WJ_T_BLOCK_END) {
        if (items.n > 0)
            wj_expect_op(p, ",");
        wj_add_node(p, &items, wj_parse_expression(p));
    }
    wj_set_list(n, &items);
    return n;
}

static struct wj_node *parse_jump(struct wj_parser *p, struct wj_node *n) {
    p->x->line = n->line;
    if (p->loops == 0)
        wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "'%s' outside loop",
                n->kind == WJ_N_BREAK ? "break" : "continue");
    return n;
}

static struct wj_node *parse_generation(struct wj_parser *p, struct wj_node *n) {
    n->body = function_body(p, "endgeneration");
    return n;
}

static struct wj_node *statement(struct wj_parser *p) {
    static const struct {
        const char *name;
        enum wj_node_kind kind;
        struct wj_node *(*parse)(struct wj_parser *, struct wj_node *);
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
        if (wj_is_name(p->t, tags[i].name)) {
            struct wj_node *n = wj_new_node(p, tags[i].kind, p->t->line);
            wj_advance(p);
            wj_enter(p->x);
            n = tags[i].parse(p, n);
            wj_leave(p->x);
            return n;
        }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(refused); i++)
        if (wj_is_name(p->t, refused[i]))
            wj_fail(p->x, WTOK_JINJA_ERR_UNSUPPORTED,
                    "{%% %s %%} is not supported: a chat template is one file", refused[i]);
    wj_fail(p->x, WTOK_JINJA_ERR_SYNTAX, "Encountered unknown tag '%.*s'.",
            WEIR_SPAN_ARG(p->t->text));
}

static bool at_end_tag(const struct wj_parser *p, const char *const *ends) {
    for (size_t i = 0; ends != NULL && ends[i] != NULL; i++)
        if (wj_is_name(p->t, ends[i]))
            return true;
    return false;
}

static struct wj_nodes subparse(struct wj_parser *p, const char *const *ends) {
    struct wj_node_list body = {0};
    wj_enter(p->x);
    while (p->t->type != WJ_T_EOF) {
        struct wj_node *n;
        if (p->t->type == WJ_T_DATA) {
            n = wj_new_node(p, WJ_N_DATA, p->t->line);
            n->value = wj_str(p->t->text);
            wj_advance(p);
            wj_add_node(p, &body, n);
        } else if (p->t->type == WJ_T_VAR_BEGIN) {
            n = wj_new_node(p, WJ_N_PRINT, p->t->line);
            wj_advance(p);
            struct wj_node_list one = {0};
            wj_add_node(p, &one, wj_parse_tuple(p, WJ_TUPLE_FULL, false));
            wj_set_list(n, &one);
            expect_type(p, WJ_T_VAR_END, "end of print statement");
            wj_add_node(p, &body, n);
        } else {
            wj_advance(p); /* block begin */
            if (at_end_tag(p, ends))
                break;
            wj_add_node(p, &body, statement(p));
            expect_type(p, WJ_T_BLOCK_END, "end of statement block");
        }
    }
    wj_leave(p->x);
    return (struct wj_nodes){body.at, body.n};
}

void wj_parse(struct wj_run *x, struct wtok_jinja *tpl) {
    size_t n;
    struct wj_token *tokens = wj_lex(x, tpl->source, &n);
    struct wj_parser p = {.x = x, .t = tokens, .last = tokens + n - 1};
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
