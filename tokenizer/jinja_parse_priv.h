/*
 * Between the lexer (jinja_lex.c) and the two halves of the parser, statements (jinja_parse.c) and
 * expressions (jinja_parse_expr.c). A refusal leaves by wj_fail with the line of the token
 * it stumbled over.
 */
#ifndef WEIR_TOKENIZER_JINJA_PARSE_PRIV_H
#define WEIR_TOKENIZER_JINJA_PARSE_PRIV_H

#include "tokenizer/jinja_priv.h"

enum wj_token_type {
    WJ_T_EOF,
    WJ_T_DATA,
    WJ_T_VAR_BEGIN,
    WJ_T_VAR_END,
    WJ_T_BLOCK_BEGIN,
    WJ_T_BLOCK_END,
    WJ_T_NAME,
    WJ_T_STRING,
    WJ_T_INTEGER,
    WJ_T_FLOAT,
    WJ_T_OPERATOR, /* text says which */
};
struct wj_token {
    uint8_t type;
    char op[3]; /* OPERATOR: one or two characters */
    uint32_t line;
    struct weir_span text;
    struct wj_val value;
};
/* Of jinja_lex.c: tokens up to and including EOF, in the arena. */
struct wj_token *wj_lex(struct wj_run *x, struct weir_span source, size_t *ret_n);

struct wj_parser {
    struct wj_run *x;
    struct wj_token *t; /* current */
    const struct wj_token *last;
    unsigned loops; /* enclosing loops of this function */
};

/* ---- tokens (jinja_parse.c) --------------------------------------------------------------- */

/* A token as Jinja2's messages call it. */
void wj_describe_token(const struct wj_token *t, char out[64]);
/* Refuses the current token. */
void wj_unexpected(struct wj_parser *p, const char *wanted);
/* To the next token; stays at the last one. */
static inline void wj_advance(struct wj_parser *p) {
    if (p->t < p->last)
        p->t++;
}
/* The token behind the current one. */
static inline const struct wj_token *wj_look(const struct wj_parser *p) {
    return p->t < p->last ? p->t + 1 : p->t;
}
static inline bool wj_is_op(const struct wj_token *t, const char *op) {
    return t->type == WJ_T_OPERATOR && strcmp(t->op, op) == 0;
}
static inline bool wj_is_name(const struct wj_token *t, const char *name) {
    return t->type == WJ_T_NAME && weir_span_eqz(t->text, name);
}
/* Passes the current token if it is this one. */
static inline bool wj_skip_op(struct wj_parser *p, const char *op) {
    if (!wj_is_op(p->t, op))
        return false;
    wj_advance(p);
    return true;
}
static inline bool wj_skip_name(struct wj_parser *p, const char *name) {
    if (!wj_is_name(p->t, name))
        return false;
    wj_advance(p);
    return true;
}
/* Passes this token, or refuses. */
void wj_expect_op(struct wj_parser *p, const char *op);
struct weir_span wj_expect_any_name(struct wj_parser *p);

/* ---- nodes (jinja_parse.c) ---------------------------------------------------------------- */

/* All in the run's arena. */
struct wj_node *wj_new_node(struct wj_parser *p, enum wj_node_kind kind, uint32_t line);
struct wj_node_list {
    struct wj_node **at;
    uint32_t n, cap;
};
void wj_add_node(struct wj_parser *p, struct wj_node_list *l, struct wj_node *n);
/* Gives the nodes to `n` as its operands. */
void wj_set_list(struct wj_node *n, const struct wj_node_list *l);
struct wj_arg_list {
    struct wj_arg *at;
    uint32_t n, cap;
};
/* `name` with data NULL: by position. */
void wj_add_arg(struct wj_parser *p, struct wj_arg_list *l, struct weir_span name,
                struct wj_node *value);

/* ---- expressions (jinja_parse_expr.c) ----------------------------------------------------- */

struct wj_node *wj_parse_expression(struct wj_parser *p);
/* What a comma may separate: whole expressions, those without "if", names to assign to, and those
 * or attributes of a namespace. */
enum wj_tuple_kind { WJ_TUPLE_FULL, WJ_TUPLE_NO_COND, WJ_TUPLE_TARGET, WJ_TUPLE_NS_TARGET };
/* One item alone is no tuple; nothing at all is one between parentheses only. */
struct wj_node *wj_parse_tuple(struct wj_parser *p, enum wj_tuple_kind kind, bool parentheses);
/* "| name(args) | ..." on `n`; with start_inline the first "|" is not there. */
struct wj_node *wj_parse_filter(struct wj_parser *p, struct wj_node *n, bool start_inline);

#endif
