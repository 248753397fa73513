/* Strings, numbers and booleans of TOML. */
#include "runtime/toml_priv.h"

#include "base/utf8.h"
#include <math.h>

/* ---- strings ------------------------------------------------------------------------------- */

/* Strings are never longer than what is left of the document, escapes only shrink: one allocation.
 */
struct text_out {
    char *data;
    size_t len;
};

static void put_utf8(struct text_out *out, uint32_t c) {
    char *d = out->data + out->len;
    if (c < 0x80) {
        d[0] = (char)c;
        out->len += 1;
    } else if (c < 0x800) {
        d[0] = (char)(0xc0 | c >> 6);
        d[1] = (char)(0x80 | (c & 0x3f));
        out->len += 2;
    } else if (c < 0x10000) {
        d[0] = (char)(0xe0 | c >> 12);
        d[1] = (char)(0x80 | (c >> 6 & 0x3f));
        d[2] = (char)(0x80 | (c & 0x3f));
        out->len += 3;
    } else {
        d[0] = (char)(0xf0 | c >> 18);
        d[1] = (char)(0x80 | (c >> 12 & 0x3f));
        d[2] = (char)(0x80 | (c >> 6 & 0x3f));
        d[3] = (char)(0x80 | (c & 0x3f));
        out->len += 4;
    }
}

/* \xHH, \uHHHH, \UHHHHHHHH: n digits. */
static bool hex_escape(struct toml_parser *p, size_t n, struct text_out *out) {
    uint64_t c = 0;
    if ((size_t)(p->end - p->at) < n || !weir_span_hex64(weir_span(p->at, n), &c))
        return toml_fail(p, WEIR_INVALID, "an escape needs %zu hexadecimal digits", n);
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return toml_fail(p, WEIR_INVALID, "an escape is no Unicode character");
    if (c == 0 && p->no_nul)
        return toml_fail(p, WEIR_INVALID, "a text has a NUL inside");
    p->at += n;
    put_utf8(out, (uint32_t)c);
    return true;
}

/* Behind a backslash at the end of a line: the line break and all white space up to the next text
 * go. False when this is no line end. */
static bool skip_line_continuation(struct toml_parser *p) {
    const char *start = p->at;
    while (toml_eat(p, ' ') || toml_eat(p, '\t'))
        ;
    if (!toml_eat_newline(p)) {
        p->at = start;
        return false;
    }
    while (toml_eat(p, ' ') || toml_eat(p, '\t') || toml_eat_newline(p))
        ;
    return true;
}

static bool escape(struct toml_parser *p, bool multi, struct text_out *out) {
    static const char names[] = "btnfre\"\\", codes[] = "\b\t\n\f\r\033\"\\";
    if (multi && skip_line_continuation(p))
        return true;
    char c = toml_peek(p);
    const char *known = c != '\0' ? strchr(names, c) : NULL;
    p->at += p->at < p->end;
    if (known != NULL)
        out->data[out->len++] = codes[known - names];
    else if (c == 'x')
        return hex_escape(p, 2, out);
    else if (c == 'u')
        return hex_escape(p, 4, out);
    else if (c == 'U')
        return hex_escape(p, 8, out);
    else
        return toml_fail(p, WEIR_INVALID, "unknown escape in a string");
    return true;
}

/* Up to five quotes end a multi-line string: the last three close it. */
static bool closes_multi(struct toml_parser *p, char quote, struct text_out *out) {
    size_t n = 0;
    while (n < 5 && p->at + n < p->end && p->at[n] == quote)
        n++;
    for (size_t i = 3; i < n; i++)
        out->data[out->len++] = quote;
    p->at += n < 3 ? 0 : n;
    return n >= 3;
}

static bool string_byte(struct toml_parser *p, char quote, bool multi, struct text_out *out) {
    unsigned char c = (unsigned char)toml_peek(p);
    if (p->at >= p->end)
        return toml_fail(p, WEIR_INVALID, "the document ends inside a string");
    if (c == '\\' && quote == '"') {
        p->at++;
        return escape(p, multi, out);
    }
    if (multi && toml_eat_newline(p)) {
        /* A line break stays as it was written. */
        size_t n = p->at[-1] == '\n' && p->at - 2 >= p->begin && p->at[-2] == '\r' ? 2 : 1;
        memcpy(out->data + out->len, p->at - n, n);
        out->len += n;
        return true;
    }
    if (c == '\n')
        return toml_fail(p, WEIR_INVALID, "a string ends at the end of its line");
    if ((c < ' ' && c != '\t') || c == 127)
        return toml_fail(p, WEIR_INVALID, "control byte 0x%02x in a string", c);
    out->data[out->len++] = (char)c;
    p->at++;
    return true;
}

static bool string_body(struct toml_parser *p, char quote, bool multi, struct text_out *out) {
    for (;;) {
        if (multi ? closes_multi(p, quote, out) : toml_eat(p, quote))
            return true;
        if (!string_byte(p, quote, multi, out))
            return false;
    }
}

/* First byte behind the string's raw text, at most: bounds the copy. */
static size_t raw_bound(const struct toml_parser *p, char quote, bool multi) {
    const char *c = p->at;
    for (; c < p->end; c++) {
        if (*c == '\\' && quote == '"' && c + 1 < p->end)
            c++;
        else if (!multi && (*c == quote || *c == '\n'))
            break;
        else if (multi && *c == quote && p->end - c >= 3 && c[1] == quote && c[2] == quote)
            break;
    }
    return (size_t)(c - p->at) + 8;
}

bool toml_string(struct toml_parser *p, bool multi, struct weir_span *ret_text) {
    char quote = *p->at;
    bool triple = p->end - p->at >= 3 && p->at[1] == quote && p->at[2] == quote;
    if (triple && !multi)
        return toml_fail(p, WEIR_INVALID, "a multi-line string is no key");
    p->at += triple ? 3 : 1;
    if (triple)
        (void)toml_eat_newline(p);
    struct text_out out = {weir_arena_alloc(p->arena, raw_bound(p, quote, triple)), 0};
    if (out.data == NULL)
        return toml_fail(p, WEIR_NOMEM, "out of memory");
    if (!string_body(p, quote, triple, &out))
        return false;
    out.data[out.len] = '\0';
    *ret_text = weir_span(out.data, out.len);
    return true;
}

/* ---- numbers and words --------------------------------------------------------------------- */

static bool is_digit_of(char c, int base) {
    if (base == 16)
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    return c >= '0' && c < '0' + base;
}

/* Copies digits without their underscores, each of which must stand between two digits. Returns how
 * many bytes of `text` it used, 0 when there is no digit. */
static size_t take_digits(struct weir_span text, int base, char *out, size_t room, size_t *len) {
    size_t i = 0;
    while (i < text.len && *len + 1 < room) {
        bool underscore = text.data[i] == '_' && i > 0 && text.data[i - 1] != '_' &&
                          i + 1 < text.len && is_digit_of(text.data[i + 1], base);
        if (!underscore && !is_digit_of(text.data[i], base))
            break;
        if (!underscore)
            out[(*len)++] = text.data[i];
        i++;
    }
    return i;
}

/* 0x, 0o, 0b: no sign. */
static bool prefixed_integer(struct weir_span token, int64_t *ret_value) {
    int base = token.data[1] == 'x' ? 16 : token.data[1] == 'o' ? 8 : 2;
    char text[128];
    size_t len = 0;
    struct weir_span rest = weir_span(token.data + 2, token.len - 2);
    if (rest.len == 0 || take_digits(rest, base, text, sizeof(text), &len) != rest.len)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        unsigned d = c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
        if (v > (uint64_t)INT64_MAX / (unsigned)base)
            return false;
        v = v * (unsigned)base + d;
    }
    if (v > (uint64_t)INT64_MAX)
        return false;
    *ret_value = (int64_t)v;
    return true;
}

struct number {
    struct weir_span rest;
    char text[128];
    size_t len;
    bool is_float;
};

static bool advance(struct number *n, size_t used) {
    n->rest = weir_span(n->rest.data + used, n->rest.len - used);
    return used > 0;
}

static bool take_sign(struct number *n) {
    bool any = n->rest.len > 0 && (n->rest.data[0] == '+' || n->rest.data[0] == '-');
    if (any && n->rest.data[0] == '-')
        n->text[n->len++] = '-';
    return advance(n, any);
}

static bool take_part(struct number *n) {
    return advance(n, take_digits(n->rest, 10, n->text, sizeof(n->text), &n->len));
}

static bool take_mark(struct number *n, char a, char b) {
    bool any = n->rest.len > 0 && (n->rest.data[0] == a || n->rest.data[0] == b);
    if (any && n->len + 2 < sizeof(n->text)) {
        n->text[n->len++] = a;
        n->is_float = true;
    }
    return advance(n, any);
}

/* [+-] digits [. digits] [e [+-] digits], no leading zero before another digit. */
static bool decimal(struct weir_span token, struct number *n) {
    n->rest = token;
    take_sign(n);
    size_t start = n->len;
    if (!take_part(n) || (n->text[start] == '0' && n->len - start > 1))
        return false;
    if (take_mark(n, '.', '.') && !take_part(n))
        return false;
    if (take_mark(n, 'e', 'E')) {
        take_sign(n);
        if (!take_part(n))
            return false;
    }
    return n->rest.len == 0;
}

static bool special_float(struct weir_span token, double *ret_value) {
    bool sign = token.len > 0 && (token.data[0] == '+' || token.data[0] == '-');
    bool negative = sign && token.data[0] == '-';
    struct weir_span word = weir_span(token.data + sign, token.len - sign);
    if (weir_span_eqz(word, "inf"))
        *ret_value = negative ? -(double)INFINITY : (double)INFINITY;
    else if (weir_span_eqz(word, "nan"))
        *ret_value = (double)NAN;
    else
        return false;
    return true;
}

static bool number(struct weir_span token, struct weir_toml *value) {
    struct number n = {.len = 0};
    value->type = WEIR_TOML_INTEGER;
    if (token.len > 2 && token.data[0] == '0' && strchr("xob", token.data[1]) != NULL)
        return prefixed_integer(token, &value->integer);
    if (!decimal(token, &n))
        return false;
    struct weir_span text = weir_span(n.text, n.len);
    if (!n.is_float)
        return weir_span_i64(text, &value->integer);
    value->type = WEIR_TOML_FLOAT;
    return weir_span_f64(text, &value->number);
}

static bool is_delimiter(char c) {
    return strchr(" \t\r\n,]}#", c) != NULL; /* the NUL too */
}

/* Up to the next delimiter; a date keeps the time behind one blank. */
static struct weir_span take_token(struct toml_parser *p) {
    const char *start = p->at;
    while (p->at < p->end && !is_delimiter(*p->at))
        p->at++;
    bool date = p->at - start == 10 && start[4] == '-';
    bool time = p->end - p->at >= 4 && p->at[0] == ' ' && p->at[1] >= '0' && p->at[1] <= '9' &&
                p->at[3] == ':';
    if (date && time)
        for (p->at++; p->at < p->end && !is_delimiter(*p->at);)
            p->at++;
    return weir_span(start, (size_t)(p->at - start));
}

bool toml_bare_value(struct toml_parser *p, struct weir_toml *value) {
    struct weir_span token = take_token(p);
    bool yes = weir_span_eqz(token, "true");
    if (yes || weir_span_eqz(token, "false")) {
        value->type = WEIR_TOML_BOOL;
        value->boolean = yes;
        return true;
    }
    if (special_float(token, &value->number)) {
        value->type = WEIR_TOML_FLOAT;
        return true;
    }
    if (number(token, value) || toml_time(p, token, value))
        return p->status == WEIR_OK;
    if (token.len == 0)
        return toml_fail(p, WEIR_INVALID, "a value is missing");
    return toml_fail(p, WEIR_INVALID, "%.*s%s is no value", WEIR_SPAN_ARG(weir_utf8_cut(token, 40)),
                     token.len > 40 ? "…" : "");
}
