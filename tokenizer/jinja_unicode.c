/*
 * Character properties and case mappings as CPython's str has them. The workers render with Python
 * 3.11 or newer; their tables differ only in characters added to Unicode after version 14.
 */
#include "tokenizer/jinja_priv.h"

struct props_range {
    uint32_t first, last;
    uint16_t even, odd; /* of code points at even and odd distance from the first */
};
struct case_range {
    uint32_t first, last;
    uint8_t stride;
    int32_t delta;
};
struct case_special {
    uint32_t code, to[3];
};
#include "tokenizer/jinja_unicode_priv.h"

static unsigned ascii_props(uint32_t c) {
    if (c < 0x20 || c == 0x7F)
        return 0;
    if (c >= '0' && c <= '9')
        return WJ_U_DECIMAL | WJ_U_DIGIT | WJ_U_NUMERIC | WJ_U_PRINTABLE;
    if (c >= 'A' && c <= 'Z')
        return WJ_U_ALPHA | WJ_U_UPPER | WJ_U_CASED | WJ_U_PRINTABLE;
    if (c >= 'a' && c <= 'z')
        return WJ_U_ALPHA | WJ_U_LOWER | WJ_U_CASED | WJ_U_PRINTABLE;
    return WJ_U_PRINTABLE | (strchr("'.:^`", (int)c) != NULL ? WJ_U_IGNORABLE : 0u);
}

unsigned wj_props(uint32_t code) {
    if (code < 0x80)
        return ascii_props(code);
    size_t low = 0, high = WEIR_ARRAY_LEN(props_ranges);
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct props_range *r = &props_ranges[mid];
        if (code < r->first)
            high = mid;
        else if (code > r->last)
            low = mid + 1;
        else
            return (code - r->first) % 2 == 0 ? r->even : r->odd;
    }
    return 0;
}

bool wj_is_space(uint32_t c) {
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

struct case_table {
    const struct case_range *ranges;
    size_t n_ranges;
    const struct case_special *special;
    size_t n_special;
};
#define TABLE(name)                                                                                \
    { name##_ranges, WEIR_ARRAY_LEN(name##_ranges), name##_special, WEIR_ARRAY_LEN(name##_special) }
static const struct case_table tables[] = {
    [WJ_CASE_LOWER] = TABLE(lower),
    [WJ_CASE_UPPER] = TABLE(upper),
    [WJ_CASE_TITLE] = TABLE(title),
    [WJ_CASE_FOLD] = TABLE(fold),
};

static unsigned find_special(const struct case_table *t, uint32_t code, uint32_t ret[3]) {
    size_t low = 0, high = t->n_special;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (code == t->special[mid].code) {
            memcpy(ret, t->special[mid].to, sizeof(t->special[mid].to));
            return ret[2] != 0 ? 3 : 2;
        }
        if (code < t->special[mid].code)
            high = mid;
        else
            low = mid + 1;
    }
    return 0;
}

/* Ranges are in order of their first code point and may overlap when their stride is 2. */
static uint32_t find_range(const struct case_table *t, uint32_t code) {
    size_t low = 0, high = t->n_ranges;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (t->ranges[mid].first <= code)
            low = mid + 1;
        else
            high = mid;
    }
    for (size_t i = low; i > 0 && i + 3 > low; i--) {
        const struct case_range *r = &t->ranges[i - 1];
        if (code <= r->last && (code - r->first) % r->stride == 0)
            return (uint32_t)((int64_t)code + r->delta);
    }
    return code;
}

unsigned wj_map_case(uint32_t code, enum wj_case to, uint32_t ret[3]) {
    ret[0] = code;
    if (code < 0x80) {
        bool up = to == WJ_CASE_UPPER || to == WJ_CASE_TITLE;
        if (up && code >= 'a' && code <= 'z')
            ret[0] = code - 32;
        if (!up && code >= 'A' && code <= 'Z')
            ret[0] = code + 32;
        return 1;
    }
    unsigned n = find_special(&tables[to], code, ret);
    if (n > 0)
        return n;
    ret[0] = find_range(&tables[to], code);
    return 1;
}

int wj_decimal_value(uint32_t code) {
    if (code < 0x80)
        return code >= '0' && code <= '9' ? (int)code - '0' : -1;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(zeros); i++)
        if (code >= zeros[i] && code < zeros[i] + 10)
            return (int)(code - zeros[i]);
    return -1;
}
