#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex_priv.h"

#include "base/mem.h"

#include <pcre2.h>

/* \s of the reference: White_Space. PCRE2's own also holds U+180E. */
#define BLANKS                                                                                     \
    "\\t-\\r\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"   \
    "\\x{3000}"

struct wtok_regex {
    pcre2_code *code;
};
struct wtok_match {
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

static enum weir_status refuse(struct weir_err *err, const char *what) {
    return weir_err_set(err, WEIR_UNSUPPORTED, "pre_tokenizer.pattern.Regex: %s is not understood",
                        what);
}

/* The escape at p (behind the backslash) in PCRE2's terms. */
static enum weir_status escape(char c, bool in_class, struct weir_buf *out, struct weir_err *err) {
    char same[3] = {'\\', c, '\0'};
    if (c == 's')
        return weir_buf_append_z(out, in_class ? BLANKS : "[" BLANKS "]");
    if (c == 'S')
        return in_class ? refuse(err, "\\S in brackets") : weir_buf_append_z(out, "[^" BLANKS "]");
    if (c == '\0' || strchr("hHRXKGCQEogky", c) != NULL)
        return refuse(err, same);
    return weir_buf_append_z(out, same);
}

static enum weir_status translate(struct weir_span p, struct weir_buf *out, struct weir_err *err) {
    bool in_class = false;
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < p.len && st == WEIR_OK; i++) {
        char c = p.data[i], next = i + 1 < p.len ? p.data[i + 1] : '\0';
        if (c == '\\') {
            st = escape(next, in_class, out, err);
            i++;
            continue;
        }
        if (in_class && c == '[')
            return refuse(err, "[ inside brackets");
        if (in_class && c == '&' && next == '&')
            return refuse(err, "&& in brackets");
        if (c == '[' && !in_class) {
            in_class = true;
            st = weir_buf_append_c(out, c);
            if (next == '^') {
                i++;
                st = st == WEIR_OK ? weir_buf_append_c(out, '^') : st;
            }
            continue;
        }
        if (c == ']')
            in_class = false;
        st = weir_buf_append_c(out, c);
    }
    return st;
}

enum weir_status wtok_regex_create(struct weir_span pattern, struct wtok_regex **ret_regex,
                                   struct weir_err *err) {
    struct weir_buf text;
    int code;
    PCRE2_SIZE at;
    weir_buf_init(&text, 1 << 16);
    enum weir_status st = translate(pattern, &text, err);
    struct wtok_regex *r = st == WEIR_OK ? weir_calloc(1, sizeof(*r)) : NULL;
    if (st == WEIR_OK && r == NULL)
        st = weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st == WEIR_OK) {
        r->code = pcre2_compile(
            (PCRE2_SPTR)text.data, text.len,
            PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
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
    weir_free(m);
}

enum weir_status wtok_regex_find(const struct wtok_regex *r, struct wtok_match *m,
                                 struct weir_span text, size_t from, size_t *ret_start,
                                 size_t *ret_end) {
    int rc = pcre2_match(r->code, (PCRE2_SPTR)text.data, text.len, from, PCRE2_NO_UTF_CHECK,
                         m->data, m->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return WEIR_NOT_FOUND;
    if (rc < 0)
        return rc == PCRE2_ERROR_NOMEMORY ? WEIR_NOMEM : WEIR_LIMIT;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
    *ret_start = at[0];
    *ret_end = at[1];
    return WEIR_OK;
}
