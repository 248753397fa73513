#include "parsers/literal_priv.h"

#include "base/utf8.h"
#include "parsers/jscan_priv.h"

enum { VALUE, IN_STRING, AFTER, FIRST, KEY, COLON };
enum { TOKEN_MAX = 512, AHEAD_MAX = 4096 };

static const char gemma_quote[] = "<|\"|>";
enum { GEMMA_QUOTE = sizeof(gemma_quote) - 1 };

void literal_init(struct literal *l, bool gemma) {
    *l = (struct literal){.gemma = gemma, .state = VALUE};
}

static void put(struct literal *l, struct weir_buf *out, const char *d, size_t n) {
    if (l->status == WEIR_OK)
        l->status = weir_buf_append(out, d, n);
}

static bool open_container(struct literal *l, struct weir_buf *out, char kind) {
    if (l->depth == LITERAL_DEPTH)
        return false;
    put(l, out, kind == '{' ? "{" : "[", 1);
    l->level[l->depth].kind = kind;
    l->level[l->depth].comma = false;
    l->level[l->depth].n = 0;
    l->depth++;
    l->state = FIRST;
    return true;
}

void literal_open_object(struct literal *l, struct weir_buf *out) {
    open_container(l, out, '{');
}

static bool is_blank(char ch) {
    return ch == ' ' || ch == '\n' || ch == '\t' || ch == '\r';
}
static bool is_digit(char ch) {
    return ch >= '0' && ch <= '9';
}
static bool token_char(char ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || is_digit(ch) || ch == '_' ||
           ch == '.' || ch == '+' || ch == '-';
}

/* ---- strings -------------------------------------------------------------------------------- */

enum weir_status wprs_escape(struct weir_buf *out, const char *d, size_t n) {
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    enum weir_status st = WEIR_OK;
    if (n == 0)
        return WEIR_OK;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        unsigned char ch = (unsigned char)d[i];
        if (ch >= 0x20 && ch != '"' && ch != '\\')
            continue;
        const char code[6] = {'\\', 'u', '0', '0', hex[ch >> 4], hex[ch & 15]};
        const char *brief = ch == '"'    ? "\\\""
                            : ch == '\\' ? "\\\\"
                            : ch == '\n' ? "\\n"
                            : ch == '\t' ? "\\t"
                            : ch == '\r' ? "\\r"
                                         : NULL;
        st = weir_buf_append(out, d + from, i - from);
        if (st == WEIR_OK)
            st = weir_buf_append(out, brief != NULL ? brief : code, brief != NULL ? 2 : 6);
        from = i + 1;
    }
    return st == WEIR_OK ? weir_buf_append(out, d + from, n - from) : st;
}

static void put_escaped(struct literal *l, struct weir_buf *out, const char *d, size_t n) {
    if (l->status == WEIR_OK)
        l->status = wprs_escape(out, d, n);
}

static void put_code(struct literal *l, struct weir_buf *out, unsigned code) {
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15], hex[code & 15]};
    if (code >= 0xD800 && code <= 0xDFFF) { /* half of a pair: JSON knows it, UTF-8 does not */
        put(l, out, text, 6);
        return;
    }
    size_t n = weir_utf8_encode(code <= 0x10FFFF ? code : 0xFFFD, text);
    put_escaped(l, out, text, n);
}

/* A Python escape at d: bytes used; 0 = needs more; -1 = none. */
static int escape(struct literal *l, const char *d, size_t n, struct weir_buf *out) {
    static const char names[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    if (n < 2)
        return 0;
    if (d[1] == '\n')
        return 2;
    const char *at = memchr(names, d[1], sizeof(names) - 1);
    if (at != NULL) {
        put_escaped(l, out, &values[at - names], 1);
        return 2;
    }
    size_t digits = d[1] == 'x' ? 2 : d[1] == 'u' ? 4 : d[1] == 'U' ? 8 : 0, i = 2;
    unsigned code = 0;
    if (digits > 0) {
        for (; i < 2 + digits; i++) {
            if (i == n)
                return 0;
            int v = is_digit(d[i])               ? d[i] - '0'
                    : d[i] >= 'a' && d[i] <= 'f' ? d[i] - 'a' + 10
                    : d[i] >= 'A' && d[i] <= 'F' ? d[i] - 'A' + 10
                                                 : -1;
            if (v < 0 || code >> 28 != 0)
                return -1;
            code = code * 16 + (unsigned)v;
        }
    } else if (d[1] >= '0' && d[1] <= '7') {
        for (i = 1; i < 4; i++) {
            if (i == n)
                return 0;
            if (d[i] < '0' || d[i] > '7')
                break;
            code = code * 8 + (unsigned)(d[i] - '0');
        }
    } else { /* as Python reads it: no escape */
        put_escaped(l, out, d, 1);
        return 1;
    }
    put_code(l, out, code);
    return (int)i;
}

static void end_string(struct literal *l, struct weir_buf *out) {
    put(l, out, "\"", 1);
    l->state = l->key ? COLON : AFTER;
}

/* Does a closing quote of Gemma's at d stand where a string may end? */
static enum literal_result gemma_end(const char *d, size_t n, bool key, bool final) {
    size_t have = n < GEMMA_QUOTE ? n : GEMMA_QUOTE;
    if (memcmp(d, gemma_quote, have) != 0)
        return LITERAL_BAD;
    size_t i = GEMMA_QUOTE;
    while (i < n && is_blank(d[i]))
        i++;
    if (n < GEMMA_QUOTE || (i >= n && n < AHEAD_MAX))
        return final ? LITERAL_BAD : LITERAL_MORE;
    if (i >= n)
        return LITERAL_BAD;
    bool fits = key ? d[i] == ':' : d[i] == ',' || d[i] == '}' || d[i] == ']';
    return fits ? LITERAL_DONE : LITERAL_BAD;
}

/* At a byte of a string that may end it or be an escape: bytes used; 0 = needs more; -1 = bad. */
static int string_special(struct literal *l, const char *d, size_t n, bool final,
                          struct weir_buf *out) {
    if (l->quote == 'G') {
        enum literal_result r = gemma_end(d, n, l->key, final);
        if (r == LITERAL_MORE)
            return 0;
        if (r == LITERAL_DONE)
            end_string(l, out);
        else
            put_escaped(l, out, d, 1);
        return r == LITERAL_DONE ? GEMMA_QUOTE : 1;
    }
    if (d[0] == '\\') {
        if (!l->raw)
            return escape(l, d, n, out);
        if (n < 2)
            return 0;
        put_escaped(l, out, d, 2);
        return 2;
    }
    if (!l->triple) {
        end_string(l, out);
        return 1;
    }
    size_t have = n < 3 ? n : 3;
    for (size_t i = 0; i < have; i++)
        if (d[i] != l->quote) {
            put_escaped(l, out, d, i);
            return (int)i;
        }
    if (n < 3)
        return 0;
    end_string(l, out);
    return 3;
}

/* Bytes used; sets *more when the string goes on behind them. */
static int string_step(struct literal *l, const char *d, size_t n, bool final, struct weir_buf *out,
                       bool *more) {
    size_t i = 0;
    while (i < n && (l->quote == 'G' ? d[i] != '<' : d[i] != l->quote && d[i] != '\\'))
        i++;
    put_escaped(l, out, d, i);
    *more = i == n;
    if (i == n)
        return (int)n;
    int used = string_special(l, d + i, n - i, final, out);
    *more = used == 0;
    /* What is written is used, also in front of a byte that is refused. */
    return used < 0 && i == 0 ? used : (int)i + (used > 0 ? used : 0);
}

/* A string's opening at d: bytes used; 0 = needs more; -1 = there is none. */
static int open_string(struct literal *l, const char *d, size_t n, bool final,
                       struct weir_buf *out) {
    size_t prefix = 0;
    if (l->gemma && d[0] == '<') {
        size_t have = n < GEMMA_QUOTE ? n : GEMMA_QUOTE;
        if (memcmp(d, gemma_quote, have) != 0)
            return -1;
        if (have < GEMMA_QUOTE)
            return final ? -1 : 0;
        l->quote = 'G';
        l->triple = l->raw = false;
        l->state = IN_STRING;
        put(l, out, "\"", 1);
        return GEMMA_QUOTE;
    }
    if (!l->gemma && (d[0] == 'r' || d[0] == 'R' || d[0] == 'u')) {
        prefix = 1;
        if (n < 2)
            return final ? -1 : 0;
    }
    const char quote = d[prefix];
    if (quote != '"' && (quote != '\'' || l->gemma))
        return -1;
    size_t run = prefix;
    while (run < n && run < prefix + 3 && d[run] == quote)
        run++;
    if (run == n && run < prefix + 3 && !final)
        return 0;
    l->quote = quote;
    l->triple = run - prefix == 3 && !l->gemma;
    l->raw = prefix == 1 && d[0] != 'u';
    l->state = IN_STRING;
    put(l, out, "\"", 1);
    if (run - prefix == 2)
        end_string(l, out);
    return (int)(run - prefix == 2 ? prefix + 2 : l->triple ? prefix + 3 : prefix + 1);
}

/* ---- numbers, words, keys ------------------------------------------------------------------- */

/* A number as Python writes it, as JSON. */
static bool put_number(struct literal *l, const char *d, size_t n, struct weir_buf *out) {
    char text[TOKEN_MAX + 4];
    size_t k = 0, i = d[0] == '+' ? 1 : 0;
    for (; i < n; i++) {
        bool lone = d[i] == '.' && (k == 0 || !is_digit(text[k - 1]));
        if (d[i] == '_' && k > 0 && is_digit(text[k - 1]) && i + 1 < n && is_digit(d[i + 1]))
            continue;
        if (lone)
            text[k++] = '0';
        text[k++] = d[i];
        if (d[i] == '.' && (i + 1 == n || !is_digit(d[i + 1])))
            text[k++] = '0';
        if (k > TOKEN_MAX)
            return false;
    }
    if (k == 0 || !jscan_whole(text, k, '\0') || (text[0] != '-' && !is_digit(text[0])))
        return false;
    put(l, out, text, k);
    return true;
}

static const char *word(const char *d, size_t n, bool gemma) {
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                                           {"true", "true"}, {"false", "false"}, {"null", "null"}};
    for (size_t i = gemma ? 3 : 0; i < WEIR_ARRAY_LEN(words); i++)
        if (weir_span_eqz(weir_span(d, n), words[i][0]))
            return words[i][1];
    return NULL;
}

/* A number or word at d: bytes used; 0 = needs more; -1 = none. */
static int token(struct literal *l, const char *d, size_t n, bool final, struct weir_buf *out) {
    size_t len = 0;
    while (len < n && len <= TOKEN_MAX && token_char(d[len]))
        len++;
    if (len == 0 || len > TOKEN_MAX)
        return -1;
    if (len == n && !final)
        return 0;
    const char *w = word(d, len, l->gemma);
    if (l->key)
        put(l, out, "\"", 1);
    if (w != NULL)
        put(l, out, w, strlen(w));
    else if (!put_number(l, d, len, out))
        return -1;
    if (l->key)
        put(l, out, "\"", 1);
    l->state = l->key ? COLON : AFTER;
    return (int)len;
}

/* Gemma's keys stand bare, up to the colon. */
static int bare_key(struct literal *l, const char *d, size_t n, bool final, struct weir_buf *out) {
    size_t len = 0;
    while (len < n && len <= TOKEN_MAX && d[len] != ':' && d[len] != '<' && d[len] != '\n' &&
           d[len] != ',' && d[len] != '{' && d[len] != '}')
        len++;
    if (len == n && !final && len <= TOKEN_MAX)
        return 0;
    if (len == 0 || len >= n || len > TOKEN_MAX || d[len] != ':')
        return -1;
    struct weir_span name = weir_span_trim(weir_span(d, len));
    put(l, out, "\"", 1);
    put_escaped(l, out, name.data, name.len);
    put(l, out, "\"", 1);
    l->state = COLON;
    return (int)len;
}

/* ---- structure ------------------------------------------------------------------------------ */

static int close_container(struct literal *l, char ch, struct weir_buf *out) {
    char kind = l->level[l->depth - 1].kind;
    if (ch != (kind == '{' ? '}' : kind == '[' ? ']' : ')'))
        return -1;
    if (kind == '(' && l->level[l->depth - 1].n == 1 && !l->level[l->depth - 1].comma)
        return -1; /* (x) is x, not a tuple: too late to know */
    put(l, out, kind == '{' ? "}" : "]", 1);
    l->depth--;
    l->state = AFTER;
    return 1;
}

static void member(struct literal *l, struct weir_buf *out) {
    if (l->depth == 0 || l->state == COLON)
        return;
    if (l->level[l->depth - 1].n > 0)
        put(l, out, ",", 1);
    l->level[l->depth - 1].n += l->level[l->depth - 1].n < 2;
    l->level[l->depth - 1].comma = false;
}

static bool begins(const struct literal *l, const char *d, size_t n, bool final, bool *more) {
    char ch = d[0];
    if (token_char(ch) || ch == '"' || ch == '[' || ch == '{')
        return true;
    if (l->gemma)
        return ch == '<' ? (*more = n < GEMMA_QUOTE && !final, true) : l->key;
    return ch == '\'' || ch == '(';
}

/* A value or key; the comma before it is written once it is certain that one begins. */
static int value_step(struct literal *l, const char *d, size_t n, bool final,
                      struct weir_buf *out) {
    bool more = false;
    if (!begins(l, d, n, final, &more))
        return -1;
    if (more)
        return 0;
    const size_t before = out->len;
    const unsigned char state = l->state;
    const bool in_value = l->after_colon;
    unsigned char count = l->depth > 0 ? l->level[l->depth - 1].n : 0;
    const unsigned depth = l->depth;
    if (!in_value)
        member(l, out);
    int used;
    if (!l->key && (d[0] == '[' || d[0] == '{' || (d[0] == '(' && !l->gemma)))
        used = open_container(l, out, d[0]) ? 1 : -1;
    else if ((used = open_string(l, d, n, final, out)) < 0)
        used = l->key && l->gemma ? bare_key(l, d, n, final, out) : token(l, d, n, final, out);
    if (used == 0) { /* comes again */
        out->len = before;
        l->state = state;
        if (depth > 0)
            l->level[depth - 1].n = count;
    } else {
        l->after_colon = false;
    }
    return used;
}

static int structure_step(struct literal *l, const char *d, size_t n, bool final,
                          struct weir_buf *out) {
    const char ch = d[0];
    const bool object = l->depth > 0 && l->level[l->depth - 1].kind == '{';
    l->key = false;
    switch (l->state) {
    case FIRST:
        if (ch == ']' || ch == '}' || ch == ')')
            return close_container(l, ch, out);
        l->key = object;
        return value_step(l, d, n, final, out);
    case COLON:
        if (ch != ':')
            return -1;
        put(l, out, ":", 1);
        l->after_colon = true;
        l->state = VALUE;
        return 1;
    case AFTER:
        if (ch != ',')
            return close_container(l, ch, out);
        l->level[l->depth - 1].comma = true;
        l->state = FIRST; /* a comma may stand before the end */
        return 1;
    default:
        return value_step(l, d, n, final, out);
    }
}

enum literal_result literal_feed(struct literal *l, const char *d, size_t n, bool final,
                                 struct weir_buf *out, size_t *ret_used) {
    size_t i = 0;
    while (i < n) {
        int used;
        bool more = false;
        if (l->state == IN_STRING) {
            used = string_step(l, d + i, n - i, final, out, &more);
        } else if (is_blank(d[i])) {
            used = 1;
        } else {
            used = structure_step(l, d + i, n - i, final, out);
            more = used == 0;
        }
        if (used < 0) {
            *ret_used = i;
            return LITERAL_BAD;
        }
        i += (size_t)used;
        if (more)
            break;
        if (l->state == AFTER && l->depth == 0) {
            *ret_used = i;
            return LITERAL_DONE;
        }
    }
    *ret_used = i;
    return LITERAL_MORE;
}

enum weir_status wprs_literal_value(struct weir_span text, struct weir_buf *out) {
    struct literal l;
    size_t used = 0, before = out->len;
    literal_init(&l, false);
    text = weir_span_trim(text);
    enum literal_result r = literal_feed(&l, text.data, text.len, true, out, &used);
    if (l.status == WEIR_OK && r == LITERAL_DONE && used == text.len)
        return WEIR_OK;
    out->len = before;
    return l.status != WEIR_OK ? l.status : WEIR_INVALID;
}
