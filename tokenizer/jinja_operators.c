/*
 * Operators of Python: arithmetic on numbers, "+" and "*" on sequences, signs.
 */
#include "tokenizer/jinja_priv.h"

#include <math.h>

/* ---- arithmetic --------------------------------------------------------------------------- */

static const char *op_text(enum wj_op op) {
    static const char *const texts[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    return texts[op];
}

static _Noreturn void fail_operands(struct wj_run *x, enum wj_op op, struct wj_val a,
                                    struct wj_val b) {
    if (a.kind == WJ_UNDEF)
        wj_fail_undefined(x, a);
    if (b.kind == WJ_UNDEF)
        wj_fail_undefined(x, b);
    if (op == WJ_OP_ADD && a.kind == WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "can only concatenate str (not \"%s\") to str",
                wj_type_name(b));
    if (op == WJ_OP_ADD && wj_is_seq(a))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "can only concatenate %s (not \"%s\") to %s",
                wj_type_name(a), wj_type_name(b), wj_type_name(a));
    if (op == WJ_OP_MUL && (a.kind == WJ_STR || wj_is_seq(a) || b.kind == WJ_STR || wj_is_seq(b)))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "can't multiply sequence by non-int of type '%s'",
                wj_type_name(a.kind == WJ_STR || wj_is_seq(a) ? b : a));
    wj_fail(x, WTOK_JINJA_ERR_TYPE, "unsupported operand type(s) for %s: '%s' and '%s'",
            op_text(op), wj_type_name(a), wj_type_name(b));
}

static _Noreturn void fail_big(struct wj_run *x) {
    wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "arithmetic beyond 64-bit integers");
}

static struct wj_val floor_divide(struct wj_run *x, enum wj_op op, int64_t a, int64_t b) {
    if (b == 0)
        wj_fail(x, WTOK_JINJA_ERR_ZERO_DIVISION, "integer division or modulo by zero");
    if (b == -1) {
        if (op == WJ_OP_MOD)
            return wj_int(0);
        if (a == INT64_MIN)
            fail_big(x);
        return wj_int(-a);
    }
    int64_t q = a / b, r = a % b;
    if (r != 0 && (r < 0) != (b < 0)) {
        r += b;
        q--;
    }
    return wj_int(op == WJ_OP_MOD ? r : q);
}

static struct wj_val int_power(struct wj_run *x, int64_t base, int64_t exp) {
    int64_t result = 1;
    if (exp < 0) {
        if (base == 0)
            wj_fail(x, WTOK_JINJA_ERR_ZERO_DIVISION, "0.0 cannot be raised to a negative power");
        return wj_float(pow((double)base, (double)exp));
    }
    while (exp > 0) {
        if ((exp & 1) != 0 && __builtin_mul_overflow(result, base, &result))
            fail_big(x);
        exp >>= 1;
        if (exp > 0 && __builtin_mul_overflow(base, base, &base))
            fail_big(x);
    }
    return wj_int(result);
}

static struct wj_val int_binary(struct wj_run *x, enum wj_op op, int64_t a, int64_t b) {
    const int64_t exact = (int64_t)1 << 53;
    int64_t r;
    bool over = false;
    switch (op) {
    case WJ_OP_ADD:
        over = __builtin_add_overflow(a, b, &r);
        break;
    case WJ_OP_SUB:
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case WJ_OP_MUL:
        over = __builtin_mul_overflow(a, b, &r);
        break;
    case WJ_OP_DIV:
        if (b == 0)
            wj_fail(x, WTOK_JINJA_ERR_ZERO_DIVISION, "division by zero");
        if (a > exact || a < -exact || b > exact || b < -exact)
            fail_big(x);
        return wj_float((double)a / (double)b);
    case WJ_OP_POW:
        return int_power(x, a, b);
    default:
        return floor_divide(x, op, a, b);
    }
    if (over)
        fail_big(x);
    return wj_int(r);
}

static double float_mod(double a, double b) {
    double m = fmod(a, b);
    if (m == 0)
        return copysign(0.0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

static double float_floordiv(double a, double b) {
    double m = fmod(a, b), d = (a - m) / b;
    if (m != 0 && (m < 0) != (b < 0))
        d -= 1;
    if (d == 0)
        return copysign(0.0, a / b);
    double f = floor(d);
    return d - f > 0.5 ? f + 1 : f;
}

static struct wj_val float_power(struct wj_run *x, double a, double b) {
    if (a == 0 && b < 0)
        wj_fail(x, WTOK_JINJA_ERR_ZERO_DIVISION, "0.0 cannot be raised to a negative power");
    if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b))
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "a complex number");
    double r = pow(a, b);
    if (isinf(r) && isfinite(a) && isfinite(b))
        wj_fail(x, WTOK_JINJA_ERR_OVERFLOW, "(34, 'Numerical result out of range')");
    return wj_float(r);
}

static struct wj_val float_binary(struct wj_run *x, enum wj_op op, double a, double b) {
    switch (op) {
    case WJ_OP_ADD:
        return wj_float(a + b);
    case WJ_OP_SUB:
        return wj_float(a - b);
    case WJ_OP_MUL:
        return wj_float(a * b);
    case WJ_OP_POW:
        return float_power(x, a, b);
    default:
        break;
    }
    if (b == 0)
        wj_fail(x, WTOK_JINJA_ERR_ZERO_DIVISION,
                op == WJ_OP_DIV   ? "float division by zero"
                : op == WJ_OP_MOD ? "float modulo"
                                  : "float floor division by zero");
    return wj_float(op == WJ_OP_DIV   ? a / b
                    : op == WJ_OP_MOD ? float_mod(a, b)
                                      : float_floordiv(a, b));
}

static bool is_number(struct wj_val v) {
    return wj_is_int(v) || v.kind == WJ_FLOAT || v.kind == WJ_BIG;
}

static double as_double(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_BIG)
        fail_big(x);
    return v.kind == WJ_FLOAT ? v.u.f : (double)v.u.i;
}

/* ---- sequences ---------------------------------------------------------------------------- */

/* "+" with markup on either side escapes the other side. */
static struct wj_val add_strings(struct wj_run *x, struct wj_val a, struct wj_val b) {
    if (((a.flags | b.flags) & WJ_MARKUP) == 0)
        return wj_concat(x, a, b);
    struct wj_val v = wj_concat(x, wj_escape(x, a), wj_escape(x, b));
    v.flags |= WJ_MARKUP;
    return v;
}

static struct wj_val join_lists(struct wj_run *x, struct wj_val a, struct wj_val b) {
    size_t n = (size_t)a.len + b.len;
    if (n > UINT32_MAX / 2)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a list is too long");
    wj_charge(x, n / 8);
    struct wj_val *items = wj_alloc(x, (n + 1) * sizeof(*items));
    if (a.len > 0)
        memcpy(items, a.u.items, a.len * sizeof(*items));
    if (b.len > 0)
        memcpy(items + a.len, b.u.items, b.len * sizeof(*items));
    return a.kind == WJ_LIST ? wj_list(items, n) : wj_tuple(items, n);
}

static struct wj_val repeat(struct wj_run *x, struct wj_val v, int64_t times) {
    uint64_t n = times > 0 ? (uint64_t)times : 0;
    if (v.len == 0)
        n = 0;
    if (n > 0 && v.len > x->out->max / n)
        wj_fail(x, WTOK_JINJA_ERR_LIMIT, "a repeated value is too large");
    if (v.kind == WJ_STR) {
        struct weir_span s = wj_text(x, v);
        char *p = wj_alloc(x, s.len * n + 1);
        wj_charge(x, s.len * n / 64);
        for (uint64_t i = 0; i < n; i++)
            memcpy(p + i * s.len, s.data, s.len);
        struct wj_val r = wj_str(weir_span(p, s.len * n));
        r.flags = v.flags & WJ_MARKUP;
        return r;
    }
    wj_charge(x, v.len * n / 8);
    struct wj_val *items = wj_alloc(x, v.len * n * sizeof(*items) + 1);
    for (uint64_t i = 0; i < n; i++)
        memcpy(items + i * v.len, v.u.items, v.len * sizeof(*items));
    return v.kind == WJ_LIST ? wj_list(items, v.len * n) : wj_tuple(items, v.len * n);
}

struct wj_val wj_binary(struct wj_run *x, enum wj_op op, struct wj_val a, struct wj_val b) {
    if (wj_is_int(a) && wj_is_int(b))
        return int_binary(x, op, a.u.i, b.u.i);
    if (is_number(a) && is_number(b)) {
        if (a.kind == WJ_BIG && b.kind == WJ_BIG)
            fail_big(x);
        return float_binary(x, op, as_double(x, a), as_double(x, b));
    }
    if (op == WJ_OP_ADD) {
        if (a.kind == WJ_STR && b.kind == WJ_STR)
            return add_strings(x, a, b);
        if (wj_is_seq(a) && a.kind == b.kind)
            return join_lists(x, a, b);
    } else if (op == WJ_OP_MUL) {
        if ((a.kind == WJ_STR || wj_is_seq(a)) && wj_is_int(b))
            return repeat(x, a, b.u.i);
        if ((b.kind == WJ_STR || wj_is_seq(b)) && wj_is_int(a))
            return repeat(x, b, a.u.i);
        if ((a.kind == WJ_STR || wj_is_seq(a) || b.kind == WJ_STR || wj_is_seq(b)) &&
            (a.kind == WJ_BIG || b.kind == WJ_BIG))
            wj_fail(x, WTOK_JINJA_ERR_OVERFLOW, "cannot fit 'int' into an index-sized integer");
        /* Markup asks for an index before the undefined value is asked. */
        if (a.kind == WJ_STR && (a.flags & WJ_MARKUP) != 0 && b.kind == WJ_UNDEF)
            wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object cannot be interpreted as an integer",
                    wj_type_name(b));
    } else if (op == WJ_OP_MOD && a.kind == WJ_STR) {
        return wj_percent(x, a, b);
    } else if (op == WJ_OP_SUB && a.kind == WJ_VIEW && a.sub != WJ_VIEW_VALUES) {
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "set arithmetic on dict views");
    }
    fail_operands(x, op, a, b);
}

struct wj_val wj_negate(struct wj_run *x, struct wj_val v, bool minus) {
    if (v.kind == WJ_UNDEF)
        wj_fail_undefined(x, v);
    if (v.kind == WJ_FLOAT)
        return wj_float(minus ? -v.u.f : v.u.f);
    if (v.kind == WJ_BIG && !minus)
        return v;
    if (v.kind == WJ_BIG || (wj_is_int(v) && v.u.i == INT64_MIN))
        fail_big(x);
    if (!wj_is_int(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "bad operand type for unary %s: '%s'", minus ? "-" : "+",
                wj_type_name(v));
    return wj_int(minus ? -v.u.i : v.u.i);
}
