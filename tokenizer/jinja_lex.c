/*
 * Template source to tokens, as jinja2.lexer does with trim_blocks and lstrip_blocks: what a sign
 * in a tag ("{%-", "+%}") takes away from the text around it is decided here.
 */
#include "base/utf8.h"
#include "tokenizer/jinja_parse_priv.h"

#include <stdio.h>

struct lexer {
    struct wj_run *x;
    struct weir_span src;
    size_t pos;
    uint32_t line;
    bool line_starting; /* the last match ended with a newline */
    char closers[256];  /* brackets open inside the current tag */
    unsigned n_closers;
    struct wj_token *tokens; /* grows by doubling */
    size_t n, cap;
};

static _Noreturn void syntax(struct lexer *l, const char *text) {
    l->x->line = l->line;
    wj_fail(l->x, WTOK_JINJA_ERR_SYNTAX, "%s", text);
}

static struct wj_token *emit(struct lexer *l, enum wj_token_type type, struct weir_span text) {
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 256 : l->cap * 2;
        struct wj_token *more = wj_alloc(l->x, cap * sizeof(*more));
        if (l->n > 0)
            memcpy(more, l->tokens, l->n * sizeof(*more));
        l->tokens = more;
        l->cap = cap;
    }
    l->tokens[l->n] = (struct wj_token){.type = (uint8_t)type, .line = l->line, .text = text};
    return &l->tokens[l->n++];
}

static void count_lines(struct lexer *l, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        l->line += l->src.data[i] == '\n';
}

static char at(const struct lexer *l, size_t pos) {
    return pos < l->src.len ? l->src.data[pos] : '\0';
}

static bool is(const struct lexer *l, size_t pos, const char *what) {
    size_t n = strlen(what);
    return l->src.len - pos >= n && pos <= l->src.len && memcmp(l->src.data + pos, what, n) == 0;
}

/* Behind the white space at pos. */
static size_t skip_space(const struct lexer *l, size_t pos) {
    const char *p = l->src.data + pos, *end = l->src.data + l->src.len;
    while (p < end) {
        const char *next = p;
        if (!wj_is_space(wj_decode(&next, end)))
            break;
        p = next;
    }
    return (size_t)(p - l->src.data);
}

static struct weir_span strip_end(struct weir_span s) {
    const char *end = s.data + s.len;
    while (end > s.data) {
        const char *before = end;
        if (!wj_is_space(wj_decode_back(s.data, &before)))
            break;
        end = before;
    }
    return weir_span(s.data, (size_t)(end - s.data));
}

static bool all_space(struct weir_span s) {
    return s.len > 0 && strip_end(s).len == 0;
}

/* The text in front of a tag; sign is the one of the tag. */
static struct weir_span before_tag(const struct lexer *l, struct weir_span text, char sign,
                                   bool variable) {
    if (sign == '-')
        return strip_end(text);
    if (sign == '+' || variable)
        return text;
    size_t start = text.len;
    while (start > 0 && text.data[start - 1] != '\n')
        start--;
    if ((start > 0 || l->line_starting) &&
        all_space(weir_span(text.data + start, text.len - start)))
        text.len = start;
    return text;
}

/* The end of a tag at pos, for blocks and comments: "+%}", "-%}" with white space behind, or "%}"
 * with one newline behind. 0 when there is none. */
static size_t tag_end(const struct lexer *l, size_t pos, const char *close, bool trim) {
    if (trim && at(l, pos) == '+' && is(l, pos + 1, close))
        return pos + 3;
    if (at(l, pos) == '-' && is(l, pos + 1, close))
        return skip_space(l, pos + 3);
    if (!is(l, pos, close))
        return 0;
    pos += 2;
    return trim && at(l, pos) == '\n' ? pos + 1 : pos;
}

static char sign_at(const struct lexer *l, size_t pos) {
    char c = at(l, pos);
    return c == '-' || c == '+' ? c : '\0';
}

static void comment(struct lexer *l, size_t body) {
    if (body >= l->src.len) { /* Jinja2 overlooks a tag that only begins */
        l->pos = body;
        return;
    }
    for (size_t p = body; p < l->src.len; p++) {
        size_t end = tag_end(l, p, "#}", true);
        if (end > 0) {
            count_lines(l, body, end);
            l->line_starting = l->src.data[end - 1] == '\n';
            l->pos = end;
            return;
        }
    }
    syntax(l, "Missing end of comment tag");
}

/* Behind "{%- raw %}", or 0 when the tag at pos is another. */
static size_t raw_begin(const struct lexer *l, size_t pos) {
    pos += 2;
    pos += sign_at(l, pos) != '\0';
    pos = skip_space(l, pos);
    if (!is(l, pos, "raw"))
        return 0;
    pos = skip_space(l, pos + 3);
    if (at(l, pos) == '-' && is(l, pos + 1, "%}"))
        return skip_space(l, pos + 3);
    return is(l, pos, "%}") ? pos + 2 : 0;
}

static void raw(struct lexer *l, size_t body) {
    l->line_starting = l->src.data[body - 1] == '\n';
    if (body >= l->src.len) {
        l->pos = body;
        return;
    }
    for (size_t p = body; p < l->src.len; p++) {
        if (!is(l, p, "{%"))
            continue;
        char sign = sign_at(l, p + 2);
        size_t q = skip_space(l, p + 2 + (sign != '\0'));
        if (!is(l, q, "endraw"))
            continue;
        size_t end = tag_end(l, skip_space(l, q + 6), "%}", true);
        if (end == 0)
            continue;
        struct weir_span text = weir_span(l->src.data + body, p - body);
        text = before_tag(l, text, sign, false);
        if (text.len > 0)
            emit(l, WJ_T_DATA, text);
        count_lines(l, body, end);
        l->line_starting = l->src.data[end - 1] == '\n';
        l->pos = end;
        return;
    }
    syntax(l, "Missing end of raw directive");
}

/* ---- inside a tag ------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static unsigned digit_of(char c) {
    if (is_digit(c))
        return (unsigned)(c - '0');
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 99;
}

/* "1_000": digits of a base, single underscores between them. Returns the position behind. */
static size_t digits(const struct lexer *l, size_t pos, unsigned base, bool lead) {
    for (;;) {
        size_t p = pos + (lead && at(l, pos) == '_');
        if (digit_of(at(l, p)) >= base)
            return pos;
        pos = p + 1;
        lead = true;
    }
}

static size_t exponent(const struct lexer *l, size_t pos) {
    if ((at(l, pos) | 0x20) != 'e')
        return pos;
    size_t p = pos + 1;
    p += at(l, p) == '+' || at(l, p) == '-';
    size_t end = digits(l, p, 10, false);
    return end > p ? end : pos;
}

static struct weir_span without_underscores(struct lexer *l, struct weir_span s) {
    char *p = wj_alloc(l->x, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] != '_')
            p[n++] = s.data[i];
    return weir_span(p, n);
}

static struct wj_val radix_value(struct lexer *l, struct weir_span s, unsigned base) {
    uint64_t v = 0;
    for (size_t i = 2; i < s.len; i++) {
        if (v > (uint64_t)INT64_MAX / base)
            wj_fail(l->x, WTOK_JINJA_ERR_UNSUPPORTED, "an integer beyond 64 bits");
        v = v * base + digit_of(s.data[i]);
    }
    if (v > INT64_MAX)
        wj_fail(l->x, WTOK_JINJA_ERR_UNSUPPORTED, "an integer beyond 64 bits");
    return wj_int((int64_t)v);
}

static bool number(struct lexer *l) {
    size_t start = l->pos, end = digits(l, start, 10, false);
    if (end == start)
        return false;
    struct wj_val v;
    enum wj_token_type type = WJ_T_INTEGER;
    bool after_dot = start > 0 && l->src.data[start - 1] == '.';
    size_t fraction = at(l, end) == '.' ? digits(l, end + 1, 10, false) : end + 1;
    size_t stop = exponent(l, fraction > end + 1 ? fraction : end);
    if (!after_dot && (fraction > end + 1 || stop > end)) {
        end = stop;
        struct weir_span s = without_underscores(l, weir_span(l->src.data + start, end - start));
        double f;
        type = WJ_T_FLOAT;
        if (!weir_span_f64(s, &f))
            wj_fail(l->x, WTOK_JINJA_ERR_UNSUPPORTED, "a float out of range");
        v = wj_float(f);
    } else {
        char c = at(l, start + 1) | 0x20;
        unsigned base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
        if (l->src.data[start] == '0' && base != 10) {
            size_t q = digits(l, start + 2, base, true);
            if (q > start + 2)
                end = q;
            else
                base = 10;
        } else {
            base = 10;
        }
        if (base == 10 && l->src.data[start] == '0') { /* only zeros may follow */
            end = start + 1;
            while (at(l, end) == '0' || (at(l, end) == '_' && at(l, end + 1) == '0'))
                end++;
        }
        struct weir_span s = without_underscores(l, weir_span(l->src.data + start, end - start));
        if (base != 10)
            v = radix_value(l, s, base);
        else if (l->src.data[start] == '0')
            v = wj_int(0);
        else if (!wj_parse_int(l->x, s, 10, &v))
            syntax(l, "invalid integer");
    }
    emit(l, type, weir_span(l->src.data + start, end - start))->value = v;
    l->pos = end;
    return true;
}

static bool name_char(uint32_t c, bool first) {
    if (c < 0x80)
        return c == '_' || (c | 0x20) - 'a' < 26 || (!first && c - '0' < 10);
    return (wj_props(c) & (first ? WJ_U_ALPHA : WJ_U_ALPHA | WJ_U_NUMERIC)) != 0;
}

static bool name(struct lexer *l) {
    const char *p = l->src.data + l->pos, *end = l->src.data + l->src.len, *start = p;
    while (p < end) {
        const char *next = p;
        uint32_t c = wj_decode(&next, end);
        if (!name_char(c, p == start))
            break;
        p = next;
    }
    if (p == start)
        return false;
    emit(l, WJ_T_NAME, weir_span(start, (size_t)(p - start)));
    l->pos = (size_t)(p - l->src.data);
    return true;
}

/* One escape of a string, as Python's "unicode-escape" reads it; p stands behind the backslash. */
static const char *unescape(struct lexer *l, const char *p, const char *end) {
    struct wj_run *x = l->x;
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = *p++;
    const char *hit = c != '\0' ? strchr(from, c) : NULL;
    if (c == '\n')
        return p;
    if (hit != NULL) {
        wj_put(x, &to[hit - from], 1);
        return p;
    }
    uint32_t code = 0;
    if (c >= '0' && c <= '7') {
        p--;
        for (int i = 0; i < 3 && p < end && *p >= '0' && *p <= '7'; i++)
            code = code * 8 + (uint32_t)(*p++ - '0');
    } else if (c == 'x' || c == 'u' || c == 'U') {
        int n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        for (int i = 0; i < n; i++, p++) {
            if (p == end || digit_of(*p) > 15)
                syntax(l, "truncated escape in a string");
            code = code * 16 + digit_of(*p);
        }
        if (code > 0x10FFFF)
            syntax(l, "illegal Unicode character");
        if (code >= 0xD800 && code < 0xE000)
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a surrogate in a string literal");
    } else if (c == 'N') {
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "\\N{...} in a string literal");
    } else {
        wj_put(x, p - 2, 2); /* unknown escapes stay */
        return p;
    }
    wj_put_code(x, code);
    return p;
}

static bool string(struct lexer *l) {
    char quote = at(l, l->pos);
    if (quote != '\'' && quote != '"')
        return false;
    const char *start = l->src.data + l->pos + 1, *end = l->src.data + l->src.len, *p = start;
    bool escaped = false;
    while (p < end && *p != quote) {
        escaped |= *p == '\\';
        p += *p == '\\' ? 2 : 1;
    }
    if (p >= end)
        return false; /* the quote is an unexpected character then */
    struct wj_val v = wj_str(weir_span(start, (size_t)(p - start)));
    if (escaped) {
        size_t mark = l->x->out->len;
        for (const char *q = start; q < p;) {
            if (*q == '\\')
                q = unescape(l, q + 1, p);
            else
                wj_put(l->x, q++, 1);
        }
        v = wj_cut(l->x, mark);
    }
    emit(l, WJ_T_STRING, weir_span(start - 1, (size_t)(p - start) + 2))->value = v;
    size_t old = l->pos;
    l->pos = (size_t)(p + 1 - l->src.data);
    count_lines(l, old, l->pos);
    return true;
}

static void bracket(struct lexer *l, char c) {
    static const char open[] = "{([", close[] = "})]";
    const char *p = strchr(open, c);
    if (p != NULL) {
        if (l->n_closers == sizeof(l->closers))
            wj_fail(l->x, WTOK_JINJA_ERR_LIMIT, "brackets nested too deep");
        l->closers[l->n_closers++] = close[p - open];
        return;
    }
    if (strchr(close, c) == NULL)
        return;
    char text[64];
    snprintf(text, sizeof(text), "unexpected '%c'", c);
    if (l->n_closers == 0)
        syntax(l, text);
    char want = l->closers[--l->n_closers];
    if (want != c) {
        snprintf(text, sizeof(text), "unexpected '%c', expected '%c'", c, want);
        syntax(l, text);
    }
}

static bool operator_token(struct lexer *l) {
    static const char two[][3] = {"//", "**", "==", "!=", ">=", "<="};
    static const char one[] = "+-/*%~[](){}><=.:|,;";
    char op[3] = {at(l, l->pos), '\0', '\0'};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(two); i++)
        if (is(l, l->pos, two[i]))
            op[1] = two[i][1];
    if (op[1] == '\0' && (op[0] == '\0' || strchr(one, op[0]) == NULL))
        return false;
    if (op[1] == '\0')
        bracket(l, op[0]);
    struct wj_token *t = emit(l, WJ_T_OPERATOR, weir_span(l->src.data + l->pos, strlen(op)));
    memcpy(t->op, op, sizeof(op));
    l->pos += strlen(op);
    return true;
}

/* From behind "{{" or "{%" to behind the end of the tag. */
static void inside(struct lexer *l, bool variable) {
    for (;;) {
        size_t end = l->n_closers == 0 ? tag_end(l, l->pos, variable ? "}}" : "%}", !variable) : 0;
        if (end > 0) {
            emit(l, variable ? WJ_T_VAR_END : WJ_T_BLOCK_END, weir_span(l->src.data + l->pos, 2));
            count_lines(l, l->pos, end);
            l->line_starting = l->src.data[end - 1] == '\n';
            l->pos = end;
            return;
        }
        size_t p = skip_space(l, l->pos);
        if (p > l->pos) {
            count_lines(l, l->pos, p);
            l->pos = p;
            continue;
        }
        if (l->pos >= l->src.len)
            return; /* the parser sees the end too early */
        if (number(l) || name(l) || string(l) || operator_token(l))
            continue;
        char text[48];
        snprintf(text, sizeof(text), "unexpected char '%c' at %zu", at(l, l->pos), l->pos);
        syntax(l, text);
    }
}

/* Newlines become \n, and one at the end of the template goes. */
static struct weir_span normalize(struct wj_run *x, struct weir_span s) {
    if (s.len > 0 && memchr(s.data, '\r', s.len) != NULL) {
        char *p = wj_alloc(x, s.len);
        size_t n = 0;
        for (size_t i = 0; i < s.len; i++) {
            if (s.data[i] == '\n' && i > 0 && s.data[i - 1] == '\r')
                continue;
            p[n++] = s.data[i] == '\r' ? '\n' : s.data[i];
        }
        s = weir_span(p, n);
    }
    if (s.len > 0 && s.data[s.len - 1] == '\n')
        s.len--;
    return s;
}

static void tag(struct lexer *l, size_t begin, size_t text_begin) {
    char which = l->src.data[begin + 1], sign = sign_at(l, begin + 2);
    size_t after_raw = which == '%' ? raw_begin(l, begin) : 0;
    struct weir_span text = weir_span(l->src.data + text_begin, begin - text_begin);
    text = before_tag(l, text, sign, which == '{');
    if (text.len > 0)
        emit(l, WJ_T_DATA, text);
    count_lines(l, text_begin, begin);
    l->pos = begin + 2 + (sign != '\0');
    l->line_starting = false;
    if (after_raw > 0) {
        count_lines(l, begin, after_raw);
        raw(l, after_raw);
    } else if (which == '#') {
        comment(l, l->pos);
    } else {
        emit(l, which == '{' ? WJ_T_VAR_BEGIN : WJ_T_BLOCK_BEGIN,
             weir_span(l->src.data + begin, 2));
        inside(l, which == '{');
    }
}

struct wj_token *wj_lex(struct wj_run *x, struct weir_span source, size_t *ret_n) {
    struct lexer l = {.x = x, .src = normalize(x, source), .line = 1, .line_starting = true};
    while (l.pos < l.src.len) {
        size_t begin = l.pos;
        for (;; begin++) {
            const char *p =
                begin < l.src.len ? memchr(l.src.data + begin, '{', l.src.len - begin) : NULL;
            begin = p != NULL ? (size_t)(p - l.src.data) : l.src.len;
            if (p == NULL || (begin + 1 < l.src.len && strchr("{%#", p[1]) != NULL && p[1] != '\0'))
                break;
        }
        if (begin == l.src.len) {
            emit(&l, WJ_T_DATA, weir_span(l.src.data + l.pos, begin - l.pos));
            count_lines(&l, l.pos, begin);
            break;
        }
        tag(&l, begin, l.pos);
    }
    emit(&l, WJ_T_EOF, weir_span("", 0));
    *ret_n = l.n;
    return l.tokens;
}
