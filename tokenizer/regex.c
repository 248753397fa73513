#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex_priv.h"

#include "base/mem.h"

#include <pcre2.h>
#include <stdio.h>

struct wtok_regex {
    pcre2_code *code;
};
struct wtok_match {
    pcre2_match_data *data;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack; /* NULL until a match needs more than the usual one */
};
/* A long word of a pattern that repeats a group takes tens of bytes a character. */
enum { JIT_STACK_BEGIN = 1 << 20, JIT_STACK_MAX = 512 << 20 };

bool wtok_regex_is_script(struct weir_span name) {
    char text[64];
    int code, n = snprintf(text, sizeof(text), "\\p{sc:%.*s}", WEIR_SPAN_ARG(name));
    PCRE2_SIZE at;
    if (n < 0 || (size_t)n >= sizeof(text))
        return false;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)n, PCRE2_UTF, &code, &at, NULL);
    pcre2_code_free(re);
    return re != NULL;
}

enum weir_status wtok_regex_create(struct weir_span pattern, struct wtok_regex **ret_regex,
                                   struct weir_err *err) {
    struct weir_buf text;
    int code;
    PCRE2_SIZE at;
    weir_buf_init(&text, 1 << 16);
    enum weir_status st = wtok_regex_translate(pattern, &text, err);
    struct wtok_regex *r = st == WEIR_OK ? weir_calloc(1, sizeof(*r)) : NULL;
    if (st == WEIR_OK && r == NULL)
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st == WEIR_OK) {
        r->code = pcre2_compile((PCRE2_SPTR)text.data, text.len,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK |
                                    PCRE2_NEVER_BACKSLASH_C,
                                &code, &at, NULL);
        if (r->code == NULL) {
            PCRE2_UCHAR message[128];
            pcre2_get_error_message(code, message, sizeof(message));
            st = weir_err_set(err, WEIR_UNSUPPORTED, "pre_tokenizer.pattern.Regex: %s",
                              (const char *)message);
        } else {
            (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* else it is interpreted */
        }
    }
    weir_buf_fini(&text);
    if (st != WEIR_OK) {
        wtok_regex_destroy(r);
        return st;
    }
    *ret_regex = r;
    return WEIR_OK;
}

void wtok_regex_destroy(struct wtok_regex *r) {
    if (r == NULL)
        return;
    pcre2_code_free(r->code);
    weir_free(r);
}

struct wtok_match *wtok_match_create(const struct wtok_regex *regex) {
    struct wtok_match *m = weir_calloc(1, sizeof(*m));
    if (m == NULL)
        return NULL;
    m->data = pcre2_match_data_create_from_pattern(regex->code, NULL);
    m->limits = pcre2_match_context_create(NULL);
    if (m->data == NULL || m->limits == NULL) {
        wtok_match_destroy(m);
        return NULL;
    }
    return m;
}

void wtok_match_destroy(struct wtok_match *m) {
    if (m == NULL)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    pcre2_jit_stack_free(m->stack);
    weir_free(m);
}

enum weir_status wtok_regex_find(const struct wtok_regex *r, struct wtok_match *m,
                                 struct weir_span text, size_t from, size_t *ret_start,
                                 size_t *ret_end) {
    int rc = pcre2_match(r->code, (PCRE2_SPTR)text.data, text.len, from, PCRE2_NO_UTF_CHECK,
                         m->data, m->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && m->stack == NULL) {
        m->stack = pcre2_jit_stack_create(JIT_STACK_BEGIN, JIT_STACK_MAX, NULL);
        if (m->stack == NULL)
            return WEIR_NOMEM;
        pcre2_jit_stack_assign(m->limits, NULL, m->stack);
        rc = pcre2_match(r->code, (PCRE2_SPTR)text.data, text.len, from, PCRE2_NO_UTF_CHECK,
                         m->data, m->limits);
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return WEIR_NOT_FOUND;
    if (rc < 0)
        return rc == PCRE2_ERROR_NOMEMORY ? WEIR_NOMEM : WEIR_LIMIT;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
    *ret_start = at[0];
    *ret_end = at[1];
    return WEIR_OK;
}
