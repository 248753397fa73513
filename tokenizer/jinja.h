/*
 * Jinja templates as chat templates use them, with the semantics of Python's Jinja2 3.1.6 in the
 * environment of Hugging Face transformers: ImmutableSandboxedEnvironment, trim_blocks,
 * lstrip_blocks, loop controls, {% generation %}, the filter `tojson` and the globals
 * `raise_exception` and `strftime_now`. TEMPLATES.md says what is refused.
 *
 * A template is parsed once and immutable then: any number of threads may render it at once. A
 * rendering lives in an arena and a buffer of its caller; there is no global state.
 */
#ifndef WEIR_TOKENIZER_JINJA_H
#define WEIR_TOKENIZER_JINJA_H

#include "base/arena.h"
#include "base/buf.h"

struct wtok_jinja;

/* Kinds of errors, named as the Python exception of the same event. X(constant, name) */
#define WTOK_JINJA_ERROR_MAP(X)                                                                    \
    X(NONE, "none")                                                                                \
    X(SYNTAX, "TemplateSyntaxError")                                                               \
    X(ASSERTION_COMPILE, "TemplateAssertionError") /* unknown filter or test */                    \
    X(TEMPLATE, "TemplateError")                   /* raise_exception() */                         \
    X(RUNTIME, "TemplateRuntimeError")                                                             \
    X(UNDEFINED, "UndefinedError")                                                                 \
    X(SECURITY, "SecurityError")                                                                   \
    X(FILTER_ARGUMENT, "FilterArgumentError")                                                      \
    X(TYPE, "TypeError")                                                                           \
    X(VALUE, "ValueError")                                                                         \
    X(KEY, "KeyError")                                                                             \
    X(INDEX, "IndexError")                                                                         \
    X(ATTRIBUTE, "AttributeError")                                                                 \
    X(ZERO_DIVISION, "ZeroDivisionError")                                                          \
    X(OVERFLOW, "OverflowError")                                                                   \
    X(ASSERT, "AssertionError")                                                                    \
    X(LIMIT, "limit")             /* steps, depth or output of this rendering */                   \
    X(MEMORY, "out of memory")    /* or over the maximum of the arena */                           \
    X(UNSUPPORTED, "unsupported") /* Jinja2 could, this engine refuses */

enum wtok_jinja_error {
#define X(name, text) WTOK_JINJA_ERR_##name,
    WTOK_JINJA_ERROR_MAP(X)
#undef X
};
const char *wtok_jinja_error_name(enum wtok_jinja_error error);

/* What went wrong. `text` carries no position. */
struct wtok_jinja_failure {
    enum wtok_jinja_error error;
    unsigned line; /* of the template, from 1; 0 when unknown */
    char text[512];
};

enum { WTOK_JINJA_MAX_SOURCE = 1 << 20 };

/* Parses UTF-8 source. WEIR_INVALID (the template is wrong), WEIR_UNSUPPORTED, WEIR_TOO_LARGE,
 * WEIR_NOMEM. */
enum weir_status wtok_jinja_parse(struct weir_span source, struct wtok_jinja **ret_template,
                                  struct wtok_jinja_failure *failure) WEIR_MUST_CHECK;
/* Accepts NULL. */
void wtok_jinja_destroy(struct wtok_jinja *tpl);
/* The template reads this name from its variables (jinja2.meta.find_undeclared_variables). */
bool wtok_jinja_wants(const struct wtok_jinja *tpl, struct weir_span name);
/* The i-th of these names; data is NULL behind the last. Borrowed: outlived by the template. */
struct weir_span wtok_jinja_variable(const struct wtok_jinja *tpl, size_t i);
/* The template walks over the parts of message.content itself, so it wants them as a list: what
 * vLLM and SGLang decide about their content format "openai". */
bool wtok_jinja_wants_parts(const struct wtok_jinja *tpl);
bool wtok_jinja_wants_parts_sglang(const struct wtok_jinja *tpl);

/* A {% generation %} block, in bytes of the output. */
struct wtok_jinja_range {
    size_t begin, end;
};

/* One rendering. Zero means the default for every limit. */
struct wtok_jinja_render {
    struct weir_arena *arena;        /* borrowed; values live there */
    struct weir_span variables;      /* JSON object; data NULL = none */
    int64_t now_us;                  /* for strftime_now: microseconds since 1970, 0 = the clock */
    uint64_t max_steps;              /* default 20 million */
    unsigned max_depth;              /* of nested evaluation; default and maximum 1000 */
    struct wtok_jinja_range *ranges; /* room for generation blocks or NULL */
    size_t max_ranges, n_ranges;     /* n_ranges is filled: how many there were, also beyond max */
};
/* Appends the text to `out`, whose maximum bounds all strings built on the way. On failure `out`
 * keeps its former length. Errors: WEIR_INVALID (the template refuses the data), WEIR_TOO_LARGE
 * (LIMIT), WEIR_NOMEM, WEIR_UNSUPPORTED. */
enum weir_status wtok_jinja_render(const struct wtok_jinja *tpl, struct wtok_jinja_render *render,
                                   struct weir_buf *out,
                                   struct wtok_jinja_failure *failure) WEIR_MUST_CHECK;

#endif
