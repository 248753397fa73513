#include "base/number.h"

#include "base/span.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Powers of ten that a double holds exactly. */
static const double exact_pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* ---- to text ------------------------------------------------------------------------------ */

size_t weir_u64_text(uint64_t value, char out[WEIR_U64_TEXT]) {
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    char text[WEIR_U64_TEXT];
    size_t at = sizeof(text);
    while (value >= 100) {
        at -= 2;
        memcpy(text + at, pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(text + at, pairs + 2 * value, 2);
    } else {
        text[--at] = (char)('0' + value);
    }
    memcpy(out, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

/* A decimal d.ddd x 10^exponent: at least one digit, no zero at the end unless it is the only one.
 */
struct decimal {
    char digits[WEIR_U64_TEXT];
    size_t n;
    int exponent;
};

static void trim_zeros(struct decimal *d) {
    while (d->n > 1 && d->digits[d->n - 1] == '0')
        d->n--;
}

/* Decimals of up to 15 digits, which is most of what people and configuration write: m / 10^k is
 * rounded correctly when both are exact, so equality proves that the digits of m read back. No
 * other text of at most 15 digits can read back as the same double. */
static bool short_decimal(double v, struct decimal *ret) {
    for (int k = 0; k <= 15; k++) {
        double scaled = v * exact_pow10[k];
        if (scaled >= 1e15)
            return false;
        double m = nearbyint(scaled);
        if (m > 0 && m / exact_pow10[k] == v) {
            ret->n = weir_u64_text((uint64_t)m, ret->digits);
            ret->exponent = (int)ret->n - 1 - k;
            trim_zeros(ret);
            return true;
        }
    }
    return false;
}

/* Any finite v > 0. 17 digits always read back. */
static void shortest_decimal(double v, struct decimal *ret) {
    char text[32];
    for (int n = 15; n <= 17; n++) {
        snprintf(text, sizeof(text), "%.*e", n - 1, v);
        if (n == 17 || strtod(text, NULL) == v) {
            ret->digits[0] = text[0];
            memcpy(ret->digits + 1, text + 2, (size_t)n - 1);
            ret->n = (size_t)n;
            break;
        }
    }
    ret->exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    trim_zeros(ret);
}

static char *put(char *p, const char *data, size_t n) {
    memcpy(p, data, n);
    return p + n;
}

static char *zeros(char *p, int n) {
    memset(p, '0', (size_t)n);
    return p + n;
}

/* Without an exponent where that of the number is within `least` and `most`. */
static char *lay_out(char *p, const struct decimal *d, int least, int most) {
    int point = d->exponent + 1; /* digits before the point */
    if (d->exponent < least || d->exponent > most) {
        *p++ = d->digits[0];
        if (d->n > 1) {
            *p++ = '.';
            p = put(p, d->digits + 1, d->n - 1);
        }
        p = put(p, d->exponent < 0 ? "e-" : "e+", 2);
        return p + weir_u64_text((uint64_t)abs(d->exponent), p);
    }
    if (point <= 0) {
        p = put(p, "0.", 2);
        p = zeros(p, -point);
        return put(p, d->digits, d->n);
    }
    if ((size_t)point >= d->n) {
        p = put(p, d->digits, d->n);
        p = zeros(p, point - (int)d->n);
        return put(p, ".0", 2);
    }
    p = put(p, d->digits, (size_t)point);
    *p++ = '.';
    return put(p, d->digits + point, d->n - (size_t)point);
}

/* The sign and what the digits become, 0 where d is NULL: `room` bytes at most. */
static size_t spell(bool negative, const struct decimal *d, int low, int high, char *out,
                    size_t room) {
    char text[WEIR_U64_TEXT + WEIR_F64_TEXT], *p = text;
    if (negative)
        *p++ = '-';
    p = d != NULL ? lay_out(p, d, low, high) : put(p, "0.0", 3);
    WEIR_ASSERT((size_t)(p - text) <= room);
    memcpy(out, text, (size_t)(p - text));
    return (size_t)(p - text);
}

size_t weir_f64_text(double value, char out[WEIR_F64_TEXT]) {
    struct decimal d;
    double v = fabs(value);
    if (v != 0 && !short_decimal(v, &d))
        shortest_decimal(v, &d);
    /* The longest: sign, 17 digits, point, "e-308"; or sign, "0.00001" and 17 digits. */
    return spell(signbit(value) != 0, v != 0 ? &d : NULL, -5, 15, out, WEIR_F64_TEXT);
}

/* A float v > 0 with this many digits, nearest to it, as digits x 10^ret_exponent; up: one more.
 * False: they do not read back. Slow and right. */
static bool try_single(float v, int n, int up, struct decimal *ret) {
    char text[32], again[32];
    snprintf(text, sizeof(text), "%.*e", n - 1, (double)v);
    ret->digits[0] = text[0];
    memcpy(ret->digits + 1, text + 2, (size_t)n - 1);
    ret->n = (size_t)n;
    ret->exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    if (up > 0 && ret->digits[n - 1]++ == '9')
        return false;
    snprintf(again, sizeof(again), "%.*se%d", n, ret->digits, ret->exponent - n + 1);
    return strtof(again, NULL) == v;
}

/* Below a power of two floats lie twice as close: a decimal above it may read back where the
 * nearest, below it, does not. */
static void shortest_single(float v, struct decimal *ret) {
    for (int n = 1; n < 9; n++)
        if (try_single(v, n, 0, ret) || try_single(v, n, 1, ret)) {
            trim_zeros(ret);
            return;
        }
    (void)try_single(v, 9, 0, ret);
    trim_zeros(ret);
}

/* The same for most floats, in double arithmetic, which has 29 bits to spare; false: it may be
 * wrong, being too close to where a decimal or a float is rounded up instead of down. */
static bool quick_single(float v, struct decimal *ret) {
    int binary;
    double last = 0;
    if (v < 1e-9f || v > 1e6f || frexpf(v, &binary) == 0.5f)
        return false;
    /* So many digits behind the point make nine in all, or ten. */
    int places = 9 - (int)floor((binary - 1) * 0.30102999566398120);
    for (; places >= 0; places--) {
        double scaled = (double)v * exact_pow10[places], m = nearbyint(scaled);
        double back = m / exact_pow10[places], rest = scaled - floor(scaled);
        double half = (double)nextafterf(v, INFINITY) - (double)v, off = fabs(back - (double)v);
        if (fabs(rest - 0.5) < 1e-5 || fabs(off - half / 2) < half * 1e-6)
            return false;
        if (off > half / 2)
            break;
        last = m;
    }
    ret->n = weir_u64_text((uint64_t)last, ret->digits);
    ret->exponent = (int)ret->n - 2 - places;
    trim_zeros(ret);
    return true;
}

size_t weir_single_text(float value, char out[WEIR_SINGLE_TEXT]) {
    struct decimal d;
    float v = fabsf(value);
    if (v != 0 && !quick_single(v, &d))
        shortest_single(v, &d);
    /* The longest: sign, "0.000001" and 8 digits more. */
    return spell(signbit(value) != 0, v != 0 ? &d : NULL, -6, 12, out, WEIR_SINGLE_TEXT);
}

/* ---- from text ---------------------------------------------------------------------------- */

/* The value of halfway points between doubles has at most 767 significant digits; what lies behind
 * them can only say "a little more". */
enum { MAX_DIGITS = 780, MAX_EXPONENT = 100000000 };

struct parsed {
    bool negative;
    uint64_t mantissa; /* the first 19 significant digits */
    int n_digits;      /* significant digits in all, capped at MAX_DIGITS */
    int64_t exponent;  /* of the last digit that is in `mantissa` */
    const char *first; /* first significant digit */
};

/* One run of digits; after_point: each of them lowers the exponent. */
static const char *read_digits(const char *p, const char *end, bool after_point,
                               struct parsed *out) {
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (*p != '0' || out->n_digits > 0) {
            if (out->n_digits == 0)
                out->first = p;
            if (out->n_digits < MAX_DIGITS)
                out->n_digits++;
        }
        if (out->n_digits <= 19) {
            out->mantissa = out->mantissa * 10 + (uint64_t)(*p - '0');
            out->exponent -= after_point;
        } else {
            out->exponent += !after_point;
        }
    }
    return p;
}

static bool read_exponent(const char *p, const char *end, struct parsed *out) {
    bool negative = p < end && *p == '-';
    int64_t e = 0;
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return false;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (e < MAX_EXPONENT)
            e = e * 10 + (*p - '0');
    out->exponent += negative ? -e : e;
    return p == end;
}

static bool parse(struct weir_span a, struct parsed *out) {
    const char *p = a.data, *end = p + a.len;
    *out = (struct parsed){.negative = a.len > 0 && *p == '-'};
    if (a.len > 0 && (*p == '-' || *p == '+'))
        p++;
    const char *start = p;
    p = read_digits(p, end, false, out);
    size_t n = (size_t)(p - start);
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = read_digits(p, end, true, out);
        n += (size_t)(p - fraction);
    }
    if (n == 0)
        return false;
    if (p < end && (*p == 'e' || *p == 'E'))
        return read_exponent(p + 1, end, out);
    return p == end;
}

/* For what the exact product or quotient of two doubles cannot give. The C library reads a copy
 * that is no longer than it must be, with the point behind all digits. */
static double read_slowly(const struct parsed *in, struct weir_span a) {
    char text[MAX_DIGITS + 40];
    size_t n = 0;
    const char *p = in->first, *end = a.data + a.len;
    int64_t exponent = in->exponent - (in->n_digits > 19 ? in->n_digits - 19 : 0);
    for (; p < end && n < MAX_DIGITS && *p != 'e' && *p != 'E'; p++)
        if (*p != '.')
            text[n++] = *p;
    for (; p < end && *p != 'e' && *p != 'E'; p++)
        if (*p != '.' && *p != '0') {
            text[n++] = '1'; /* stands for the whole rest */
            exponent--;
            break;
        }
    /* Far beyond what a double holds; strtod need not see more. */
    exponent = exponent > 9999 ? 9999 : exponent < -9999 ? -9999 : exponent;
    snprintf(text + n, sizeof(text) - n, "e%d", (int)exponent);
    /* The program never calls setlocale(); there is no point in the text anyway. */
    return strtod(text, NULL);
}

bool weir_span_f64(struct weir_span a, double *ret_value) {
    struct parsed in;
    if (!parse(a, &in))
        return false;
    double v;
    if (in.n_digits == 0)
        v = 0;
    else if (in.n_digits <= 19 && in.mantissa <= 1ull << 53 && in.exponent >= -22 &&
             in.exponent <= 22)
        v = in.exponent < 0 ? (double)in.mantissa / exact_pow10[-in.exponent]
                            : (double)in.mantissa * exact_pow10[in.exponent];
    else
        v = read_slowly(&in, a);
    if (!isfinite(v))
        return false;
    *ret_value = in.negative ? -v : v;
    return true;
}
