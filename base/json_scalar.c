/* Literals and numbers of the pull scanner. */
#include "base/json_priv.h"

static bool literal_here(struct weir_json *j, const char *word) {
    size_t pos = j->pos;
    for (; *word != '\0'; word++, pos++) {
        if (pos >= j->len)
            return weir_json_fail(j, WEIR_JSON_ERR_EOF_VALUE, j->len);
        if (j->buf[pos] != *word)
            return weir_json_fail(j, WEIR_JSON_ERR_EXPECTED_IDENT, pos + 1);
    }
    j->pos = pos;
    return true;
}

bool weir_json_bool(struct weir_json *j, bool *ret_value) {
    enum weir_json_type type = weir_json_peek(j);
    if (type != WEIR_JSON_TRUE && type != WEIR_JSON_FALSE)
        return weir_json_mismatch(j, type);
    if (!literal_here(j, type == WEIR_JSON_TRUE ? "true" : "false"))
        return false;
    *ret_value = type == WEIR_JSON_TRUE;
    return true;
}

bool weir_json_null(struct weir_json *j) {
    enum weir_json_type type = weir_json_peek(j);
    return type == WEIR_JSON_NULL ? literal_here(j, "null") : weir_json_mismatch(j, type);
}

/* ---- numbers ------------------------------------------------------------------------------ */

static bool is_digit(const struct weir_json *j, size_t pos) {
    return pos < j->len && j->buf[pos] >= '0' && j->buf[pos] <= '9';
}

/* One digit or more. */
static bool digits(struct weir_json *j, size_t *pos) {
    if (!is_digit(j, *pos))
        return *pos >= j->len ? weir_json_fail(j, WEIR_JSON_ERR_EOF_VALUE, j->len)
                              : weir_json_fail(j, WEIR_JSON_ERR_INVALID_NUMBER, *pos + 1);
    do
        ++*pos;
    while (is_digit(j, *pos));
    return true;
}

bool weir_json_number_here(struct weir_json *j, struct weir_span *ret_raw) {
    size_t start = j->pos, pos = start;
    if (j->buf[pos] == '-')
        pos++;
    if (pos < j->len && j->buf[pos] == '0') {
        pos++;
        if (is_digit(j, pos))
            return weir_json_fail(j, WEIR_JSON_ERR_INVALID_NUMBER, pos + 1);
    } else if (!digits(j, &pos)) {
        return false;
    }
    if (pos < j->len && j->buf[pos] == '.') {
        pos++;
        if (!digits(j, &pos))
            return false;
    }
    if (pos < j->len && (j->buf[pos] | 32) == 'e') {
        pos++;
        if (pos < j->len && (j->buf[pos] == '+' || j->buf[pos] == '-'))
            pos++;
        if (!digits(j, &pos))
            return false;
    }
    *ret_raw = weir_span(j->buf + start, pos - start);
    j->pos = pos;
    return true;
}

bool weir_json_number(struct weir_json *j, struct weir_span *ret_raw) {
    enum weir_json_type type = weir_json_peek(j);
    return type == WEIR_JSON_NUMBER ? weir_json_number_here(j, ret_raw)
                                    : weir_json_mismatch(j, type);
}

/* Lists of token ids: an integer of up to 19 digits in one pass. False: not that simple, nothing
 * consumed. */
static bool small_u64_here(struct weir_json *j, uint64_t *ret_value) {
    const char *start = j->buf + j->pos, *p = start, *end = j->buf + j->len;
    if (end - p > 20)
        end = p + 20;
    uint64_t v = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    /* A byte behind it must be in sight, and the number must end there. */
    if (p == end || p == start || (*start == '0' && p > start + 1) || *p == '.' || (*p | 32) == 'e')
        return false;
    j->pos += (size_t)(p - start);
    *ret_value = v;
    return true;
}

bool weir_json_u64(struct weir_json *j, uint64_t *ret_value) {
    struct weir_span raw;
    enum weir_json_type type = weir_json_peek(j);
    if (type == WEIR_JSON_NUMBER && small_u64_here(j, ret_value))
        return true;
    if (!weir_json_number(j, &raw))
        return false;
    return weir_span_u64(raw, ret_value) ? true : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
}

bool weir_json_i64(struct weir_json *j, int64_t *ret_value) {
    struct weir_span raw;
    if (!weir_json_number(j, &raw))
        return false;
    /* "-0" is a float to the reference. */
    return !weir_span_eqz(raw, "-0") && weir_span_i64(raw, ret_value)
               ? true
               : weir_json_fail(j, WEIR_JSON_ERR_TYPE, j->pos);
}

bool weir_json_f64(struct weir_json *j, double *ret_value) {
    struct weir_span raw;
    if (!weir_json_number(j, &raw))
        return false;
    return weir_span_f64(raw, ret_value) ? true
                                         : weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, j->pos);
}

/* Only an exponent or some 300 digits can lead out of the range of a double. */
static bool may_be_huge(struct weir_span raw) {
    if (raw.len > 300)
        return true;
    for (size_t i = 0; i < raw.len; i++)
        if ((raw.data[i] | 32) == 'e')
            return true;
    return false;
}

bool weir_json_scalar_here(struct weir_json *j, enum weir_json_type type) {
    struct weir_json_str str;
    struct weir_span raw;
    double value;
    switch (type) {
    case WEIR_JSON_STRING:
        return weir_json_string_here(j, &str);
    case WEIR_JSON_NUMBER:
        if (!weir_json_number_here(j, &raw))
            return false;
        return !may_be_huge(raw) || weir_span_f64(raw, &value)
                   ? true
                   : weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, j->pos);
    case WEIR_JSON_NULL:
        return literal_here(j, "null");
    case WEIR_JSON_TRUE:
        return literal_here(j, "true");
    default:
        return literal_here(j, "false");
    }
}
