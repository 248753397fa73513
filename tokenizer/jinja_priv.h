/*
 * Inside of the template engine (prefix wj_). An error in a template or its data leaves by longjmp
 * to the entry point: everything built on the way lives in an arena or in the output buffer, so
 * there is nothing to release, and no caller in between has to check.
 */
#ifndef WEIR_TOKENIZER_JINJA_PRIV_H
#define WEIR_TOKENIZER_JINJA_PRIV_H

#include "base/status.h"
#include "tokenizer/jinja_value_priv.h"
#include "tokenizer/wtok.h"

#include <setjmp.h>

/* ---- template ----------------------------------------------------------------------------- */

enum wj_node_kind {
    /* expressions */
    WJ_N_CONST,
    WJ_N_NAME,
    WJ_N_NSREF,
    WJ_N_LIST,
    WJ_N_TUPLE,
    WJ_N_DICT,
    WJ_N_COND,
    WJ_N_OR,
    WJ_N_AND,
    WJ_N_NOT,
    WJ_N_COMPARE,
    WJ_N_ADD, /* n operands, from left to right */
    WJ_N_BINARY,
    WJ_N_NEG,
    WJ_N_POS,
    WJ_N_CONCAT,
    WJ_N_GETATTR,
    WJ_N_GETITEM,
    WJ_N_SLICE,
    WJ_N_CALL,
    WJ_N_FILTER,
    WJ_N_TEST,
    /* statements */
    WJ_N_DATA,
    WJ_N_PRINT,
    WJ_N_FOR,
    WJ_N_IF,
    WJ_N_SET,
    WJ_N_SET_BLOCK,
    WJ_N_MACRO,
    WJ_N_CALL_BLOCK,
    WJ_N_FILTER_BLOCK,
    WJ_N_WITH,
    WJ_N_GENERATION,
    WJ_N_BREAK,
    WJ_N_CONTINUE,
};
enum wj_op {
    WJ_OP_ADD,
    WJ_OP_SUB,
    WJ_OP_MUL,
    WJ_OP_DIV,
    WJ_OP_FLOORDIV,
    WJ_OP_MOD,
    WJ_OP_POW,
    WJ_OP_EQ,
    WJ_OP_NE,
    WJ_OP_LT,
    WJ_OP_LE,
    WJ_OP_GT,
    WJ_OP_GE,
    WJ_OP_IN,
    WJ_OP_NOTIN,
};

struct wj_node;
struct wj_nodes {
    struct wj_node **at;
    uint32_t n;
};
/* A variable that a scope fills when it is entered, as Jinja2's idtracking decides. */
enum wj_load_action { WJ_LOAD_PARAM, WJ_LOAD_RESOLVE, WJ_LOAD_ALIAS, WJ_LOAD_UNDEFINED };
struct wj_load {
    uint8_t action, up;  /* ALIAS: functions outward */
    uint16_t slot, from; /* ALIAS: slot there; RESOLVE: index of a context name */
};
struct wj_scope {
    uint32_t n;
    struct wj_load *loads;
};
/* What Python compiles to a function: the template, macros, call blocks, recursive loops. */
struct wj_func {
    uint16_t n_slots;
    uint16_t caller, kwargs, varargs; /* slot + 1 of the special parameters the body reads, or 0 */
};
struct wj_arg {
    struct wj_node *value;
    struct weir_span name; /* data NULL: by position */
};
struct wj_filter_def;
struct wj_node {
    uint8_t kind, op;
    uint8_t up;   /* NAME, NSREF: functions outward */
    uint8_t flag; /* FOR: recursive; NAME: stored; CONST: the text of the block around it */
    uint32_t line;
    uint16_t slot;                 /* NAME, NSREF */
    uint16_t attr;                 /* GETATTR: number of a Python attribute name, 0 = none has it */
    uint32_t n;                    /* operands, items */
    struct wj_node *a, *b, *c, *d; /* FOR: target, iterable, test, the test's own target */
    struct wj_node **list;         /* operands; COMPARE: operands behind `a` */
    uint8_t *ops;                  /* COMPARE */
    struct wj_arg *args;           /* CALL, FILTER, TEST: by position first, then by name */
    uint32_t n_args, n_positional;
    struct wj_val value;                      /* CONST, NAME and GETATTR: the name; DATA: text */
    struct wj_nodes body, other;              /* other: else branch */
    struct wj_scope *scope, *scope2, *scope3; /* FOR: body, test, else */
    struct wj_func *func;
    const struct wj_filter_def *filter;
};

struct wtok_jinja {
    struct weir_arena arena; /* owns everything below */
    struct weir_span source;
    struct wj_nodes body;
    struct wj_scope *scope;
    struct wj_func *func;
    struct weir_span *names; /* that are read from the variables */
    uint32_t n_names;
    bool wants_parts;
};

/* ---- one parse or rendering --------------------------------------------------------------- */

struct wj_frame {
    struct wj_frame *up;
    struct wj_val slots[];
};
struct wj_run {
    const struct wtok_jinja *tpl;
    struct weir_arena *arena;
    char *at, *end;       /* free room of the newest piece of the arena */
    struct weir_buf *out; /* text so far; strings under construction at its end */
    uint64_t fuel;
    unsigned depth, max_depth;
    uintptr_t stack; /* address of a local variable of the entry point */
    uint32_t line;
    struct wj_frame *frame;
    struct wj_val *context; /* values of tpl->names */
    struct wj_val variables;
    struct wtok_jinja_render *render;
    struct wj_val block_text; /* text of the innermost filter or set block that ended */
    unsigned captures;        /* output now goes into a string, not to the result */
    struct wtok_prompt
        *prompt;      /* whose text `out` is, and which long strings may be lent to; or NULL */
    size_t base, top; /* where this rendering begins; where the outermost string does */
    struct wtok_jinja_failure failure;
    jmp_buf leave;
};

struct wj_args {
    struct wj_val *at; /* by position */
    uint32_t n;
    uint32_t n_named;
    const struct weir_span *names;
    struct wj_val *named;
};
typedef struct wj_val (*wj_filter_fn)(struct wj_run *x, struct wj_val v, const struct wj_args *a);
struct wj_filter_def {
    const char *name;
    wj_filter_fn fn;
};
struct wj_gen {
    const struct wj_val *items;
    uint32_t n, pos;
    const char *type;
    wj_filter_fn fill; /* makes the items at the first step; NULL when they are there */
    struct wj_val source;
    struct wj_args args;
};

/* prompt.c: a string that need not be copied into the text; false: it must. It lives as long as the
 * prompt. */
bool wtok_prompt_lend(struct wtok_prompt *p, struct weir_span string);

_Noreturn void wj_fail(struct wj_run *x, enum wtok_jinja_error error, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
void *wj_alloc_slow(struct wj_run *x, size_t bytes);
static inline void *wj_alloc(struct wj_run *x, size_t bytes) {
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > (size_t)(x->end - x->at))
        return wj_alloc_slow(x, bytes);
    void *p = x->at;
    x->at += bytes;
    return p;
}
_Noreturn void wj_out_of_fuel(struct wj_run *x);
/* Work done beyond one step of the evaluator. */
static inline void wj_charge(struct wj_run *x, uint64_t steps) {
    if (x->fuel <= steps)
        wj_out_of_fuel(x);
    x->fuel -= steps;
}
_Noreturn void wj_too_deep(struct wj_run *x);
enum { WJ_STACK = 1 << 20 };
/* Every recursion whose depth the data decides passes here; expressions do not, since the parser
 * has bounded their depth. So the stack stays within WJ_STACK and one deepest expression. */
static inline void wj_enter(struct wj_run *x) {
    char here;
    uintptr_t at = (uintptr_t)&here;
    if (++x->depth > x->max_depth || (at < x->stack ? x->stack - at : at - x->stack) > WJ_STACK)
        wj_too_deep(x);
}
static inline void wj_leave(struct wj_run *x) {
    x->depth--;
}

/* ---- jinja_value.c ------------------------------------------------------------------------ */

static inline struct wj_val wj_none(void) {
    return (struct wj_val){.kind = WJ_NONE};
}
static inline struct wj_val wj_bool(bool b) {
    return (struct wj_val){.kind = WJ_BOOL, .sub = b, .u.i = b};
}
static inline struct wj_val wj_int(int64_t i) {
    return (struct wj_val){.kind = WJ_INT, .u.i = i};
}
static inline struct wj_val wj_float(double f) {
    return (struct wj_val){.kind = WJ_FLOAT, .u.f = f};
}
/* Empty arrays and texts have an address, too, since C does not let one add 0 to NULL. */
extern struct wj_val wj_nothing[1];
static inline struct wj_val wj_str(struct weir_span s) {
    return (struct wj_val){
        .kind = WJ_STR, .len = (uint32_t)s.len, .u.s = s.data != NULL ? s.data : ""};
}
static inline struct wj_val wj_strz(const char *s) {
    return wj_str(weir_span_z(s));
}
static inline struct wj_val wj_list(const struct wj_val *items, size_t n) {
    return (struct wj_val){
        .kind = WJ_LIST, .len = (uint32_t)n, .u.items = items != NULL ? items : wj_nothing};
}
static inline struct wj_val wj_tuple(const struct wj_val *items, size_t n) {
    return (struct wj_val){
        .kind = WJ_TUPLE, .len = (uint32_t)n, .u.items = items != NULL ? items : wj_nothing};
}
static inline bool wj_is_int(struct wj_val v) { /* bool is an int */
    return v.kind == WJ_INT || v.kind == WJ_BOOL;
}
static inline bool wj_is_seq(struct wj_val v) {
    return v.kind == WJ_LIST || v.kind == WJ_TUPLE;
}
struct wj_val wj_pair_tuple(struct wj_run *x, struct wj_val a, struct wj_val b);
struct wj_val wj_gen(struct wj_run *x, const struct wj_val *items, size_t n, const char *type);
/* A generator that runs `fill` when somebody asks for its first item; fill returns a generator. */
struct wj_val wj_lazy(struct wj_run *x, struct wj_val source, const struct wj_args *a,
                      wj_filter_fn fill);
struct wj_val wj_hint(struct wj_run *x, const char *hint);
_Noreturn void wj_fail_undefined(struct wj_run *x, struct wj_val v);
/* Python's type name: "str", "dict", … */
const char *wj_type_name(struct wj_val v);
struct weir_span wj_flatten(struct wj_run *x, struct wj_val v);
static inline struct weir_span wj_text(struct wj_run *x, struct wj_val v) {
    return (v.flags & WJ_ROPE) != 0 ? wj_flatten(x, v) : weir_span(v.u.s, v.len);
}
struct wj_val wj_copy_str(struct wj_run *x, struct weir_span s);
bool wj_truth(struct wj_val v);
bool wj_equal(struct wj_run *x, struct wj_val a, struct wj_val b);
bool wj_same(struct wj_val a, struct wj_val b); /* is */
/* memcmp(s, t) == 0 without a call for short texts, as most keys are. */
static inline bool wj_same_text(const char *s, struct weir_span t) {
    size_t n = t.len;
    if (n >= 8 && n <= 16) {
        uint64_t a, b, c, d;
        memcpy(&a, s, 8);
        memcpy(&b, s + n - 8, 8);
        memcpy(&c, t.data, 8);
        memcpy(&d, t.data + n - 8, 8);
        return ((a ^ c) | (b ^ d)) == 0;
    }
    if (n >= 4 && n < 8) {
        uint32_t a, b, c, d;
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        memcpy(&c, t.data, 4);
        memcpy(&d, t.data + n - 4, 4);
        return ((a ^ c) | (b ^ d)) == 0;
    }
    return n == 0 || (s[0] == t.data[0] && s[n - 1] == t.data[n - 1] &&
                      (n <= 2 || memcmp(s, t.data, n) == 0));
}
/* op is LT, LE, GT or GE; fails as Python where the types have no order. */
bool wj_order(struct wj_run *x, enum wj_op op, struct wj_val a, struct wj_val b);

/* ---- jinja_containers.c ------------------------------------------------------------------- */

bool wj_contains(struct wj_run *x, struct wj_val container, struct wj_val v);
/* len(): fails for what has none. */
int64_t wj_len(struct wj_run *x, struct wj_val v);
bool wj_has_len(struct wj_val v);

struct wj_val wj_dict_new(struct wj_run *x, size_t room);
/* Fails for keys that Python cannot hash. */
void wj_dict_set(struct wj_run *x, struct wj_dict *d, struct wj_val key, struct wj_val value);
/* For a key that the dict does not have yet, while it is small. */
static inline void wj_dict_add(struct wj_run *x, struct wj_dict *d, struct wj_val key,
                               struct wj_val value) {
    if (d->n < d->cap && d->n < 8 && d->json_len == 0)
        d->pairs[d->n++] = (struct wj_pair){key, value};
    else
        wj_dict_set(x, d, key, value);
}
struct wj_val *wj_dict_get(struct wj_run *x, const struct wj_dict *d, struct wj_val key);
static inline struct wj_val *wj_dict_find(struct wj_run *x, const struct wj_dict *d,
                                          struct weir_span key) {
    if (d->index != NULL)
        return wj_dict_get(x, d, wj_str(key));
    for (uint32_t i = 0; i < d->n; i++) {
        struct wj_pair *p = &d->pairs[i];
        if (p->key.len == key.len && p->key.kind == WJ_STR &&
            wj_same_text(wj_text(x, p->key).data, key))
            return &p->value;
    }
    return NULL;
}
void wj_need_hashable(struct wj_run *x, struct wj_val v);

/* A growing array of values in the arena. */
struct wj_vec {
    struct wj_val *at;
    uint32_t n, cap;
};
void wj_grow(struct wj_run *x, struct wj_vec *vec);
static inline void wj_push(struct wj_run *x, struct wj_vec *vec, struct wj_val v) {
    if (vec->n == vec->cap)
        wj_grow(x, vec);
    vec->at[vec->n++] = v;
}

/* Walks over anything iterable; fails with TypeError for the rest. */
struct wj_iter {
    struct wj_val source;
    uint64_t pos;
};
struct wj_iter wj_iterate(struct wj_run *x, struct wj_val v);
bool wj_next(struct wj_run *x, struct wj_iter *it, struct wj_val *ret);
bool wj_is_iterable(struct wj_val v);
/* All that is left of an iterable as an array. */
struct wj_vec wj_collect(struct wj_run *x, struct wj_val v);
void wj_sort(struct wj_run *x, struct wj_val *keys, struct wj_val *values, size_t n, bool reverse);
/* An index as Python's sequences take it, or a TypeError. */
int64_t wj_index(struct wj_run *x, struct wj_val v, const char *what);

/* ---- jinja_text.c ------------------------------------------------------------------------- */

/* memcpy that spares the call for short texts, which most are. */
static inline void wj_copy(char *to, const char *from, size_t len) {
    if (len > 16) {
        memcpy(to, from, len);
    } else if (len >= 8) {
        uint64_t a, b;
        memcpy(&a, from, 8);
        memcpy(&b, from + len - 8, 8);
        memcpy(to, &a, 8);
        memcpy(to + len - 8, &b, 8);
    } else if (len >= 4) {
        uint32_t a, b;
        memcpy(&a, from, 4);
        memcpy(&b, from + len - 4, 4);
        memcpy(to, &a, 4);
        memcpy(to + len - 4, &b, 4);
    } else if (len > 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
}
void wj_put_slow(struct wj_run *x, const char *data, size_t len);
static inline void wj_put(struct wj_run *x, const char *data, size_t len) {
    struct weir_buf *b = x->out;
    if (len > b->cap - b->len) {
        wj_put_slow(x, data, len);
    } else {
        wj_copy(b->data + b->len, data, len);
        b->len += len;
    }
}
static inline void wj_puts(struct wj_run *x, struct weir_span s) {
    wj_put(x, s.data, s.len);
}
void wj_putz(struct wj_run *x, const char *s);
void wj_put_code(struct wj_run *x, uint32_t code);
/* str() and repr() into the output. */
void wj_put_str(struct wj_run *x, struct wj_val v);
/* wj_put_str() of what a template prints: the prompt may lend a long string. */
void wj_print_str(struct wj_run *x, struct wj_val v);
void wj_put_repr(struct wj_run *x, struct wj_val v);
void wj_put_repr_text(struct wj_run *x, struct weir_span s);
size_t wj_float_text(double f, char out[40]);
/* str(v) as a string; a string is returned as it is (soft_str). */
struct wj_val wj_to_str(struct wj_run *x, struct wj_val v);
/* Takes what was put behind `mark` out of the output again. */
struct wj_val wj_cut(struct wj_run *x, size_t mark);
void wj_put_escaped(struct wj_run *x, struct weir_span s); /* markupsafe.escape */
struct wj_val wj_escape(struct wj_run *x, struct wj_val v);
/* Code points. */
bool wj_is_ascii(struct weir_span s);
size_t wj_points(struct weir_span s);
size_t wj_offset(struct weir_span s, size_t points); /* bytes of the first `points` code points */
uint32_t wj_decode(const char **at, const char *end);
uint32_t wj_decode_back(const char *begin, const char **end);
/* First occurrence at or behind `from` bytes, or -1. */
ptrdiff_t wj_find(struct weir_span s, struct weir_span sub, size_t from);
struct weir_span wj_strip(struct wj_run *x, struct weir_span s, struct wj_val chars, int sides);
struct wj_val wj_concat(struct wj_run *x, struct wj_val a, struct wj_val b);

/* ---- jinja_unicode.c ---------------------------------------------------------------------- */

enum { /* properties as str.isX() of CPython */
       WJ_U_ALPHA = 1,
       WJ_U_DECIMAL = 2,
       WJ_U_DIGIT = 4,
       WJ_U_NUMERIC = 8,
       WJ_U_LOWER = 16,
       WJ_U_UPPER = 32,
       WJ_U_TITLE = 64,
       WJ_U_PRINTABLE = 128,
       WJ_U_CASED = 256,
       WJ_U_IGNORABLE = 512,
};
unsigned wj_props(uint32_t code);
bool wj_is_space(uint32_t code);
enum wj_case { WJ_CASE_LOWER, WJ_CASE_UPPER, WJ_CASE_TITLE, WJ_CASE_FOLD };
/* Full case mapping of one code point: 1 to 3 code points. */
unsigned wj_map_case(uint32_t code, enum wj_case to, uint32_t ret[3]);
int wj_decimal_value(uint32_t code); /* -1: none */

/* ---- jinja_json.c ------------------------------------------------------------------------- */

/* Valid UTF-8 is a precondition. */
struct wj_val wj_from_json(struct wj_run *x, struct weir_span json);
/* False when the text is no JSON. */
bool wj_try_json(struct wj_run *x, struct weir_span json, struct wj_val *ret);
void wj_put_json(struct wj_run *x, struct wj_val v); /* HF tojson without options */
struct wj_val wj_filter_tojson(struct wj_run *x, struct wj_val v, const struct wj_args *a);

/* ---- jinja_lex.c, jinja_parse.c (its inside: jinja_parse_priv.h), jinja_scope.c ------------ */

void wj_parse(struct wj_run *x, struct wtok_jinja *tpl);
void wj_resolve(struct wj_run *x, struct wtok_jinja *tpl);
bool wj_detect_parts(const struct wtok_jinja *tpl);
typedef void (*wj_visit_fn)(struct wj_node *node, void *arg);
/* All children of a node, statements and expressions, in Jinja2's order. */
void wj_children(struct wj_node *node, wj_visit_fn fn, void *arg);

/* ---- jinja_operators.c -------------------------------------------------------------------- */

/* a op b of arithmetic and sequences; comparisons are wj_equal, wj_order and wj_contains. */
struct wj_val wj_binary(struct wj_run *x, enum wj_op op, struct wj_val a, struct wj_val b);
/* -v or +v; fails as Python for what is no number. */
struct wj_val wj_negate(struct wj_run *x, struct wj_val v, bool minus);

/* ---- jinja_slice.c, jinja_eval.c, jinja_exec.c ---------------------------------------------- */

/* v[a:b:c]; the bounds are the node's. */
struct wj_val wj_slice(struct wj_run *x, struct wj_val v, const struct wj_node *node);
struct wj_val wj_eval(struct wj_run *x, const struct wj_node *node);
bool wj_eval_test(struct wj_run *x, const struct wj_node *node);
void wj_print(struct wj_run *x, const struct wj_node *node);
void wj_eval_args(struct wj_run *x, const struct wj_node *node, struct wj_args *ret);
struct wj_val wj_getattr(struct wj_run *x, struct wj_val v, struct weir_span name, unsigned attr);
struct wj_val wj_getitem(struct wj_run *x, struct wj_val v, struct wj_val key);
struct wj_val wj_call(struct wj_run *x, struct wj_val callee, const struct wj_args *a);
void wj_exec_template(struct wj_run *x);
struct wj_val wj_call_macro(struct wj_run *x, struct wj_val macro, const struct wj_args *a);
struct wj_val wj_call_loop(struct wj_run *x, struct wj_val loop, const struct wj_args *a);
struct wj_val wj_loop_attr(struct wj_run *x, struct wj_val loop, unsigned attr);
struct wj_val wj_loop_method(struct wj_run *x, struct wj_val loop, bool changed,
                             const struct wj_args *a);
struct wj_val wj_macro_attr(struct wj_run *x, struct wj_val macro, struct weir_span name);
struct weir_span wj_macro_name(struct wj_val macro);
int64_t wj_loop_length(struct wj_run *x, struct wj_val loop);
int64_t wj_loop_index(struct wj_val loop);

/* ---- jinja_call.c, jinja_methods.c, jinja_case.c, jinja_format.c, jinja_number.c ---------- */

/* Number of a global function, or 0. */
unsigned wj_global(struct weir_span name);
struct wj_val wj_call_global(struct wj_run *x, unsigned which, const struct wj_args *a);
/* Number of a name that some Python type of templates has as attribute, or 0. */
unsigned wj_attr_number(struct weir_span name);
/* The value has this attribute in Python. */
bool wj_has_attr(struct wj_val v, unsigned attr);
/* Reading such an attribute: a bound method, a number's part, or an unsafe undefined. */
struct wj_val wj_get_attr(struct wj_run *x, struct wj_val v, unsigned attr);
const char *wj_attr_name(unsigned attr);
struct wj_val wj_call_method(struct wj_run *x, struct wj_val self, unsigned attr,
                             const struct wj_args *a);
struct wj_val wj_str_method(struct wj_run *x, struct wj_val self, unsigned attr,
                            const struct wj_args *a);
struct wj_val wj_case_map(struct wj_run *x, struct wj_val v, enum wj_case to);
struct wj_val wj_capitalize(struct wj_run *x, struct wj_val v);
struct wj_val wj_swapcase(struct wj_run *x, struct weir_span s);
/* str.isalpha() and the like; `attr` is one of their numbers. */
bool wj_has_class(struct weir_span s, unsigned attr);
struct wj_val wj_splitlines(struct wj_run *x, struct weir_span s, bool keepends);
struct wj_val wj_replace(struct wj_run *x, struct weir_span s, struct weir_span from,
                         struct weir_span to, int64_t count);
struct wj_val wj_pad(struct wj_run *x, struct wj_val v, int64_t width, struct wj_val fill, int how);
struct wj_val wj_strftime_now(struct wj_run *x, struct weir_span format);
struct wj_val wj_percent(struct wj_run *x, struct wj_val format, struct wj_val args);
struct wj_val wj_str_format(struct wj_run *x, struct wj_val format, const struct wj_args *a);
bool wj_parse_int(struct wj_run *x, struct weir_span s, int64_t base, struct wj_val *ret);
bool wj_parse_float(struct weir_span s, double *ret);

/* By position only, between min and max of them. */
void wj_positional(struct wj_run *x, const char *what, const struct wj_args *a, uint32_t min,
                   uint32_t max);
/* Binds arguments to `n` (at most 60) parameter names; values of those not given stay as they are.
 */
void wj_bind(struct wj_run *x, const char *what, const struct wj_args *a, const char *const *params,
             size_t n, size_t required, struct wj_val *values);

/* ---- jinja.c ------------------------------------------------------------------------------ */

void wj_begin(struct wj_run *x, struct wtok_jinja_render *render, struct weir_buf *out);
/* Runs `body`, catching failures. */
enum weir_status wj_guard(struct wj_run *x, void (*body)(struct wj_run *x)) WEIR_MUST_CHECK;
/* With x->tpl and x->variables set. */
void wj_run_template(struct wj_run *x);

/* ---- jinja_filters.c, jinja_filters_seq.c, jinja_tests.c ---------------------------------- */

const struct wj_filter_def *wj_find_filter(struct weir_span name);
const struct wj_filter_def *wj_find_seq_filter(struct weir_span name);
const struct wj_filter_def *wj_find_test(struct weir_span name);

#endif
