/*
 * Formatting: the operator %, str.format() and its specifications.
 */
#include "base/utf8.h"
#include "tokenizer/jinja_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- fields ------------------------------------------------------------------------------- */

struct spec {
    uint32_t fill;
    char align, sign, type; /* '\0': not given */
    bool alternate, zero;
    char group;
    int64_t width, precision; /* -1: not given */
};

static void pad(struct wj_run *x, int64_t n, uint32_t fill) {
    if (n > 0 && (uint64_t)n > x->out->max)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a formatted field is too large");
    for (; n > 0; n--)
        wj_put_code(x, fill);
}

/* `sign` and digits with the padding of the spec around or between them. */
static void put_field(struct wj_run *x, const struct spec *s, struct weir_span sign,
                      struct weir_span body, char default_align) {
    char align = s->align != '\0' ? s->align : default_align;
    int64_t n = s->width - (int64_t)(wj_points(sign) + wj_points(body)), left = 0;
    n = n < 0 ? 0 : n;
    if (align == '>')
        left = n;
    else if (align == '^')
        left = n / 2;
    pad(x, left, s->fill);
    wj_puts(x, sign);
    if (align == '=') {
        pad(x, n, s->fill);
        left = n;
    }
    wj_puts(x, body);
    pad(x, n - left, s->fill);
}

/* Digits of |i| in a base, with group separators. */
static size_t int_digits(uint64_t u, unsigned base, bool upper, char group, char out[160]) {
    char rev[160];
    size_t n = 0, count = 0;
    unsigned every = base == 10 ? 3 : 4;
    do {
        if (group != '\0' && count > 0 && count % every == 0)
            rev[n++] = group;
        unsigned d = (unsigned)(u % base);
        rev[n++] = (char)(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
        u /= base;
        count++;
    } while (u > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = rev[n - 1 - i];
    return n;
}

static size_t sign_of(bool negative, char wanted, char out[8]) {
    if (negative)
        out[0] = '-';
    else if (wanted == '+' || wanted == ' ')
        out[0] = wanted;
    else
        return 0;
    return 1;
}

static void put_int_field(struct wj_run *x, const struct spec *s, int64_t i) {
    char digits[160], sign[8];
    char type = s->type == '\0' || s->type == 'i' || s->type == 'u' ? 'd' : s->type;
    unsigned base = type == 'd' || type == 'n' ? 10 : type == 'o' ? 8 : type == 'b' ? 2 : 16;
    uint64_t u = i < 0 ? (uint64_t)0 - (uint64_t)i : (uint64_t)i;
    size_t n = int_digits(u, base, type == 'X', s->group, digits),
           k = sign_of(i < 0, s->sign, sign);
    if (s->alternate && base != 10) {
        sign[k++] = '0';
        sign[k++] = type;
    }
    put_field(x, s, weir_span(sign, k), weir_span(digits, n), '>');
}

static void put_float_field(struct wj_run *x, const struct spec *s, double f, char default_type) {
    char text[400], format[8], sign[8];
    char type = s->type != '\0' ? s->type : default_type;
    int precision = (int)(s->precision < 0 ? 6 : s->precision > 300 ? 300 : s->precision);
    if (s->precision > 300 || fabs(f) > 1e60)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a float format of this size");
    size_t n, k = sign_of(signbit(f) && !isnan(f), s->sign, sign);
    double v = type == '%' ? fabs(f) * 100 : fabs(f);
    if (isnan(f) || isinf(f)) {
        n = (size_t)snprintf(text, sizeof(text), "%s", isnan(f) ? "nan" : "inf");
        if (type == 'F' || type == 'E' || type == 'G')
            for (size_t i = 0; i < n; i++)
                text[i] ^= 0x20;
    } else if (type == 'r') { /* as repr() */
        n = wj_float_text(v, text);
    } else {
        snprintf(format, sizeof(format), "%%%s.*%c", s->alternate ? "#" : "",
                 type == '%'   ? 'f'
                 : type == 'n' ? 'g'
                               : type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        n = (size_t)snprintf(text, sizeof(text) - 2, format, precision, v);
#pragma GCC diagnostic pop
    }
    if (s->group != '\0') {
        size_t whole = strspn(text, "0123456789"), extra = whole > 0 ? (whole - 1) / 3 : 0;
        if (n + extra + 2 > sizeof(text))
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a float format of this size");
        memmove(text + whole + extra, text + whole, n - whole);
        for (size_t i = whole, o = whole + extra, c = 0; i > 0 && extra > 0; c++) {
            if (c > 0 && c % 3 == 0)
                text[--o] = s->group;
            text[--o] = text[--i];
        }
        n += extra;
    }
    if (type == '%')
        text[n++] = '%';
    put_field(x, s, weir_span(sign, k), weir_span(text, n), '>');
}

static struct weir_span cut_points(struct weir_span s, int64_t precision) {
    if (precision >= 0)
        s.len = wj_offset(s, (size_t)precision);
    return s;
}

/* ---- operator % --------------------------------------------------------------------------- */

struct percent {
    struct wj_run *x;
    const char *p, *end;
    struct wj_val args;
    const struct wj_val *items; /* by position */
    uint32_t n, used;
    bool is_tuple;
};

static _Noreturn void percent_fail(struct percent *f, const char *text) {
    wj_fail(f->x, WTOK_JINJA_ERR_TYPE, "%s", text);
}

static struct wj_val next_arg(struct percent *f) {
    if (f->used >= f->n)
        percent_fail(f, "not enough arguments for format string");
    return f->items[f->used++];
}

static char peek(struct percent *f) {
    if (f->p == f->end)
        wj_fail(f->x, WTOK_JINJA_ERR_VALUE, "incomplete format");
    return *f->p;
}

static int64_t percent_number(struct percent *f) {
    if (peek(f) == '*') {
        f->p++;
        struct wj_val v = next_arg(f);
        if (!wj_is_int(v))
            percent_fail(f, "* wants int");
        return v.u.i;
    }
    int64_t n = 0;
    for (; f->p < f->end && *f->p >= '0' && *f->p <= '9'; f->p++)
        n = n > 1000000000 ? n : n * 10 + (*f->p - '0');
    return n;
}

static struct wj_val mapped_arg(struct percent *f) {
    const char *start = ++f->p;
    int depth = 1;
    for (; f->p < f->end; f->p++) {
        depth += *f->p == '(';
        depth -= *f->p == ')';
        if (depth == 0)
            break;
    }
    if (f->p == f->end)
        wj_fail(f->x, WTOK_JINJA_ERR_VALUE, "incomplete format key");
    struct weir_span key = weir_span(start, (size_t)(f->p++ - start));
    if (f->args.kind != WJ_DICT)
        percent_fail(f, "format requires a mapping");
    struct wj_val *v = wj_dict_find(f->x, f->args.u.dict, key);
    if (v == NULL)
        wj_fail(f->x, WTOK_JINJA_ERR_KEY, "'%.*s'", WEIR_SPAN_ARG(key));
    return *v;
}

static void percent_text(struct percent *f, struct spec *s, struct wj_val v) {
    size_t mark = f->x->out->len;
    if (s->type == 's')
        wj_put_str(f->x, v);
    else
        wj_put_repr(f->x, v);
    struct wj_val text = wj_cut(f->x, mark);
    if (s->type == 'a' && !wj_is_ascii(weir_span(text.u.s, text.len)))
        wj_fail(f->x, WTOK_JINJA_ERR_UNSUPPORTED, "%%a of text beyond ASCII");
    s->fill = ' ';
    put_field(f->x, s, weir_span("", 0), cut_points(weir_span(text.u.s, text.len), s->precision),
              '>');
}

static void percent_int(struct percent *f, struct spec *s, struct wj_val v) {
    bool hex = s->type == 'x' || s->type == 'X' || s->type == 'o';
    if (v.kind == WJ_FLOAT && !hex) {
        if (!isfinite(v.u.f) || fabs(v.u.f) > 9e18)
            wj_fail(f->x, WTOK_JINJA_ERR_UNSUPPORTED, "%%%c of this float", s->type);
        v = wj_int((int64_t)v.u.f);
    }
    if (v.kind == WJ_UNDEF && !hex)
        wj_fail_undefined(f->x, v);
    if (v.kind == WJ_BIG)
        wj_fail(f->x, WTOK_JINJA_ERR_UNSUPPORTED, "%%%c beyond 64 bits", s->type);
    if (!wj_is_int(v))
        wj_fail(f->x, WTOK_JINJA_ERR_TYPE, "%%%c format: %s, not %s", s->type,
                hex ? "an integer is required" : "a real number is required", wj_type_name(v));
    if (s->precision > 60)
        wj_fail(f->x, WTOK_JINJA_ERR_UNSUPPORTED, "a precision of this size");
    if (s->precision >= 0) { /* at least so many digits */
        char digits[160], padded[240], sign[8];
        uint64_t u = v.u.i < 0 ? (uint64_t)0 - (uint64_t)v.u.i : (uint64_t)v.u.i;
        size_t n = int_digits(u, s->type == 'o' ? 8 : hex ? 16 : 10, s->type == 'X', '\0', digits);
        size_t zeros = (size_t)s->precision > n ? (size_t)s->precision - n : 0;
        size_t k = sign_of(v.u.i < 0, s->sign, sign);
        memset(padded, '0', zeros);
        memcpy(padded + zeros, digits, n);
        if (s->alternate && hex) {
            sign[k++] = '0';
            sign[k++] = s->type;
        }
        put_field(f->x, s, weir_span(sign, k), weir_span(padded, zeros + n), '>');
        return;
    }
    put_int_field(f->x, s, v.u.i);
}

static void percent_char(struct percent *f, struct spec *s, struct wj_val v) {
    char text[4];
    struct weir_span c;
    if (wj_is_int(v)) {
        if (v.u.i < 0 || v.u.i > 0x10FFFF)
            wj_fail(f->x, WTOK_JINJA_ERR_OVERFLOW, "%%c arg not in range(0x110000)");
        if (v.u.i >= 0xD800 && v.u.i < 0xE000)
            wj_fail(f->x, WTOK_JINJA_ERR_UNSUPPORTED, "a surrogate");
        c = weir_span(text, weir_utf8_encode((unsigned)v.u.i, text));
    } else {
        c = v.kind == WJ_STR ? wj_text(f->x, v) : weir_span("", 0);
        if (wj_points(c) != 1)
            percent_fail(f, "%c requires int or char");
    }
    s->fill = ' ';
    put_field(f->x, s, weir_span("", 0), c, '>');
}

static void conversion(struct percent *f) {
    struct spec s = {.fill = ' ', .width = -1, .precision = -1};
    struct wj_val v = {.kind = WJ_MISSING};
    bool left = false;
    if (peek(f) == '%') {
        wj_put(f->x, "%", 1);
        f->p++;
        return;
    }
    if (peek(f) == '(')
        v = mapped_arg(f);
    for (;; f->p++) {
        char c = peek(f);
        if (c == '-')
            left = true;
        else if (c == '+')
            s.sign = '+';
        else if (c == ' ')
            s.sign = s.sign == '+' ? '+' : ' ';
        else if (c == '#')
            s.alternate = true;
        else if (c == '0')
            s.zero = true;
        else
            break;
    }
    s.width = percent_number(f);
    if (s.width < 0) {
        left = true;
        s.width = -s.width;
    }
    if (peek(f) == '.') {
        f->p++;
        s.precision = percent_number(f);
        s.precision = s.precision < 0 ? 0 : s.precision;
    }
    if (peek(f) == 'l' || peek(f) == 'h' || peek(f) == 'L')
        f->p++;
    s.type = peek(f);
    f->p++;
    if (v.kind == WJ_MISSING)
        v = next_arg(f);
    if (left)
        s.align = '<';
    else if (s.zero) {
        s.align = '=';
        s.fill = '0';
    }
    if (strchr("sra", s.type) != NULL) {
        s.align = left ? '<' : '\0';
        percent_text(f, &s, v);
    } else if (strchr("diuxXo", s.type) != NULL) {
        percent_int(f, &s, v);
    } else if (strchr("eEfFgG", s.type) != NULL) {
        if (v.kind == WJ_UNDEF)
            wj_fail_undefined(f->x, v);
        if (!wj_is_int(v) && v.kind != WJ_FLOAT)
            wj_fail(f->x, WTOK_JINJA_ERR_TYPE, "must be real number, not %s", wj_type_name(v));
        put_float_field(f->x, &s, v.kind == WJ_FLOAT ? v.u.f : (double)v.u.i, 'f');
    } else if (s.type == 'c') {
        s.align = left ? '<' : '\0';
        percent_char(f, &s, v);
    } else {
        wj_fail(f->x, WTOK_JINJA_ERR_VALUE, "unsupported format character '%c' (0x%x)", s.type,
                (unsigned char)s.type);
    }
}

struct wj_val wj_percent(struct wj_run *x, struct wj_val format, struct wj_val args) {
    if ((format.flags & WJ_MARKUP) != 0)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "Markup %% is not supported");
    struct weir_span s = wj_text(x, format);
    struct percent f = {.x = x, .p = s.data, .end = s.data + s.len, .args = args};
    f.is_tuple = args.kind == WJ_TUPLE;
    f.items = f.is_tuple ? args.u.items : &args;
    f.n = f.is_tuple ? args.len : 1;
    size_t mark = x->out->len;
    while (f.p < f.end) {
        const char *stop = memchr(f.p, '%', (size_t)(f.end - f.p));
        if (stop == NULL)
            stop = f.end;
        wj_put(x, f.p, (size_t)(stop - f.p));
        f.p = stop;
        if (f.p < f.end) {
            f.p++;
            wj_charge(x, 1);
            conversion(&f);
        }
    }
    /* A single value that is a mapping (or could be subscripted by keys) need not be used. */
    bool mapping = args.kind == WJ_DICT || args.kind == WJ_LIST || args.kind == WJ_RANGE ||
                   args.kind == WJ_UNDEF;
    if (f.used < f.n && !mapping)
        percent_fail(&f, "not all arguments converted during string formatting");
    return wj_cut(x, mark);
}

/* ---- str.format --------------------------------------------------------------------------- */

static _Noreturn void bad_spec(struct wj_run *x) {
    wj_fail(x, WTOK_JINJA_ERR_VALUE, "Invalid format specifier");
}

static int64_t spec_number(struct weir_span s, size_t *at) {
    int64_t n = -1;
    for (; *at < s.len && s.data[*at] >= '0' && s.data[*at] <= '9'; (*at)++)
        n = n > 1000000000 ? n : (n < 0 ? 0 : n) * 10 + (s.data[*at] - '0');
    return n;
}

static struct spec parse_spec(struct wj_run *x, struct weir_span t) {
    struct spec s = {.fill = ' ', .width = -1, .precision = -1};
    size_t at = 0;
    size_t first = t.len > 0 ? wj_offset(t, 1) : 0;
    if (t.len > first && strchr("<>=^", t.data[first]) != NULL) {
        const char *p = t.data;
        s.fill = wj_decode(&p, t.data + t.len);
        s.align = t.data[first];
        at = first + 1;
    } else if (t.len > 0 && strchr("<>=^", t.data[0]) != NULL) {
        s.align = t.data[at++];
    }
    if (at < t.len && strchr("+- ", t.data[at]) != NULL)
        s.sign = t.data[at++];
    if (at < t.len && t.data[at] == 'z')
        bad_spec(x);
    if (at < t.len && t.data[at] == '#') {
        s.alternate = true;
        at++;
    }
    if (at < t.len && t.data[at] == '0') {
        s.zero = true;
        if (s.align == '\0') {
            s.fill = '0';
            s.align = '=';
        }
        at++;
    }
    s.width = spec_number(t, &at);
    if (at < t.len && (t.data[at] == ',' || t.data[at] == '_'))
        s.group = t.data[at++];
    if (at < t.len && t.data[at] == '.') {
        at++;
        s.precision = spec_number(t, &at);
        if (s.precision < 0)
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "Format specifier missing precision");
    }
    if (at < t.len)
        s.type = t.data[at++];
    if (at < t.len)
        bad_spec(x);
    return s;
}

static _Noreturn void unknown_code(struct wj_run *x, char type, struct wj_val v) {
    wj_fail(x, WTOK_JINJA_ERR_VALUE, "Unknown format code '%c' for object of type '%s'", type,
            wj_type_name(v));
}

static void format_text(struct wj_run *x, struct spec *s, struct wj_val v) {
    if (s->type != '\0' && s->type != 's')
        unknown_code(x, s->type, v);
    if (s->sign != '\0' || s->alternate || s->group != '\0' || (s->align == '=' && !s->zero))
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "this is not allowed in string format specifier");
    if (s->zero && s->align == '=')
        s->align = '<'; /* since Python 3.10 */
    put_field(x, s, weir_span("", 0), cut_points(wj_text(x, v), s->precision), '<');
}

static void format_number(struct wj_run *x, struct spec *s, struct wj_val v) {
    bool is_float = v.kind == WJ_FLOAT;
    if (s->type != '\0' && strchr(is_float ? "eEfFgGn%" : "bcdoxXneEfFgG%", s->type) == NULL)
        unknown_code(x, s->type, v);
    if (is_float || (s->type != '\0' && strchr("eEfFgG%", s->type) != NULL)) {
        if (is_float && s->type == '\0' && s->precision >= 0)
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a precision without a type");
        put_float_field(x, s, is_float ? v.u.f : (double)v.u.i, 'r');
        return;
    }
    if (s->precision >= 0)
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "Precision not allowed in integer format specifier");
    if (s->type == 'c' || s->type == 'n' || (s->group != '\0' && s->zero))
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "this integer format");
    if (s->group == ',' && s->type != '\0' && s->type != 'd')
        wj_fail(x, WTOK_JINJA_ERR_VALUE, "Cannot specify ',' with '%c'.", s->type);
    put_int_field(x, s, v.u.i);
}

static void format_value(struct wj_run *x, struct wj_val v, struct weir_span spec) {
    if (spec.len == 0) {
        wj_put_str(x, v);
        return;
    }
    if (v.kind == WJ_STR || wj_is_int(v) || v.kind == WJ_FLOAT) {
        struct spec s = parse_spec(x, spec);
        if (v.kind == WJ_STR)
            format_text(x, &s, v);
        else
            format_number(x, &s, v);
        return;
    }
    if (v.kind == WJ_BIG)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "formatting an integer beyond 64 bits");
    wj_fail(x, WTOK_JINJA_ERR_TYPE, "unsupported format string passed to %s.__format__",
            wj_type_name(v));
}

struct formatter {
    struct wj_run *x;
    const struct wj_args *a;
    uint32_t automatic;
    bool numbered;
};

static struct wj_val field_value(struct formatter *f, struct weir_span name) {
    struct wj_run *x = f->x;
    size_t at = 0;
    int64_t i = spec_number(name, &at);
    for (size_t k = 0; k < name.len; k++)
        if (name.data[k] == '.' || name.data[k] == '[')
            wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "attributes in format fields");
    if (name.len == 0) {
        if (f->numbered)
            wj_fail(x, WTOK_JINJA_ERR_VALUE,
                    "cannot switch from manual field specification to "
                    "automatic field numbering");
        i = f->automatic++;
    } else if (at == name.len) {
        if (f->automatic > 0)
            wj_fail(x, WTOK_JINJA_ERR_VALUE,
                    "cannot switch from manual field specification to "
                    "automatic field numbering");
        f->numbered = true;
    } else {
        for (uint32_t k = 0; k < f->a->n_named; k++)
            if (weir_span_eq(f->a->names[k], name))
                return f->a->named[k];
        wj_fail(x, WTOK_JINJA_ERR_KEY, "'%.*s'", WEIR_SPAN_ARG(name));
    }
    if (i >= f->a->n)
        wj_fail(x, WTOK_JINJA_ERR_INDEX,
                "Replacement index %lld out of range for positional args tuple", (long long)i);
    return f->a->at[i];
}

/* The inside of one pair of braces. */
static void format_field(struct formatter *f, struct weir_span field) {
    struct wj_run *x = f->x;
    struct weir_span spec, name = field;
    char convert = '\0';
    if (memchr(field.data, '{', field.len) != NULL)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "fields inside of format specifications");
    name = weir_span_split(field, ':', &spec);
    if (spec.data == NULL)
        spec = weir_span("", 0);
    if (name.len >= 2 && name.data[name.len - 2] == '!') {
        convert = name.data[name.len - 1];
        name.len -= 2;
    }
    struct wj_val v = field_value(f, name);
    if (convert == 'r') {
        size_t mark = x->out->len;
        wj_put_repr(x, v);
        v = wj_cut(x, mark);
    } else if (convert == 's') {
        v = wj_to_str(x, v);
    } else if (convert != '\0') {
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "the conversion !%c", convert);
    }
    format_value(x, v, spec);
}

struct wj_val wj_str_format(struct wj_run *x, struct wj_val format, const struct wj_args *a) {
    struct weir_span s = wj_text(x, format);
    struct formatter f = {.x = x, .a = a};
    size_t mark = x->out->len;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c != '{' && c != '}') {
            wj_put(x, &c, 1);
            continue;
        }
        if (i + 1 < s.len && s.data[i + 1] == c) {
            wj_put(x, &c, 1);
            i++;
            continue;
        }
        if (c == '}')
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "Single '}' encountered in format string");
        size_t start = i + 1;
        int depth = 1;
        for (i++; i < s.len; i++) {
            depth += s.data[i] == '{';
            depth -= s.data[i] == '}';
            if (depth == 0)
                break;
        }
        if (i >= s.len)
            wj_fail(x, WTOK_JINJA_ERR_VALUE,
                    start >= s.len ? "Single '{' encountered in format string"
                                   : "expected '}' before end of string");
        wj_charge(x, 1);
        format_field(&f, weir_span(s.data + start, i - start));
    }
    return wj_cut(x, mark);
}
