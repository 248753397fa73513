/* The values that templates compute with: Python's, and Jinja2's own. */
#ifndef WEIR_TOKENIZER_JINJA_VALUE_PRIV_H
#define WEIR_TOKENIZER_JINJA_VALUE_PRIV_H

#include "base/status.h"
#include "tokenizer/jinja.h"

enum wj_kind {
    WJ_MISSING, /* a variable without a value; never seen by templates */
    WJ_UNDEF,
    WJ_NONE,
    WJ_BOOL,
    WJ_INT,
    WJ_BIG, /* an integer beyond 64 bits: canonical decimal text */
    WJ_FLOAT,
    WJ_STR,
    WJ_LIST,
    WJ_TUPLE,
    WJ_DICT,
    WJ_RANGE,
    WJ_GEN,  /* an iterator: used up by walking over it */
    WJ_VIEW, /* dict.keys(), .values(), .items() */
    WJ_NS,
    WJ_LOOP,
    WJ_MACRO,
    WJ_FUNC,
    WJ_METHOD,
    WJ_CYCLER,
    WJ_JOINER,
};
/* Flags of WJ_STR. PLAIN: certainly without quotes, backslashes and control characters. */
enum { WJ_MARKUP = 1, WJ_ROPE = 2, WJ_PLAIN = 8 };
enum { WJ_GROUP = 4 };                                /* flag of WJ_TUPLE: of groupby */
enum { WJ_MINUS = 1 };                                /* flag of WJ_INT: -0 stands in the JSON */
enum { WJ_VIEW_KEYS, WJ_VIEW_VALUES, WJ_VIEW_ITEMS }; /* sub of WJ_VIEW */

/* 16 bytes, passed in registers. Values never change, except namespaces, iterators and helpers. */
struct wj_val {
    uint8_t kind, flags;
    uint16_t sub; /* BOOL: the value; VIEW, FUNC, METHOD: which */
    uint32_t len; /* STR, BIG: bytes; LIST, TUPLE: items */
    union {
        int64_t i;
        double f;
        const char *s;
        struct wj_rope *rope;
        const struct wj_val *items;
        struct wj_dict *dict; /* DICT, VIEW, NS */
        struct wj_undef *undef;
        struct wj_range *range;
        struct wj_gen *gen;
        struct wj_loop *loop;
        struct wj_macro *macro;
        struct wj_method *method;
        struct wj_cycler *cycler;
        struct wj_joiner *joiner;
    } u;
};

struct wj_pair {
    struct wj_val key, value;
};
struct wj_dict {
    uint32_t n, cap;
    struct wj_pair *pairs; /* in order of insertion */
    uint32_t *index;       /* open addressing, position + 1; NULL while n is small */
    uint32_t mask;
    bool json_tight;   /* it lacks blanks behind commas or colons that json.dumps writes */
    uint32_t json_len; /* of the text it was read from, if json.dumps writes that again; else 0 */
    const char *json;
};
struct wj_rope {
    struct wj_val left, right;
    uint32_t depth;
    const char *flat; /* set by the first reader */
};
enum wj_undef_type { WJ_UNDEF_NAME, WJ_UNDEF_ATTR, WJ_UNDEF_ITEM, WJ_UNDEF_HINT, WJ_UNDEF_UNSAFE };
struct wj_undef {
    enum wj_undef_type type;
    struct wj_val obj;     /* that lacks it */
    struct weir_span text; /* name, attribute or hint */
    struct wj_val item;
};
struct wj_range {
    int64_t start, stop, step, n;
};
struct wj_method {
    struct wj_val self;
};
struct wj_cycler {
    const struct wj_val *items;
    uint32_t n, pos;
};
struct wj_joiner {
    struct wj_val sep;
    bool used;
};

#endif
