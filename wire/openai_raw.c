/* Refusals as the client sees them, and values out of raw JSON. */
#include "base/number.h"
#include "wire/openai_priv.h"
#include "wire/shape.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_MAX = 4096, SHOWN_MAX = 1024 };

static bool record(struct weir_openai_reading *r, int http_status, const char *text, size_t len) {
    if (r->failed)
        return false;
    r->failed = true;
    r->error->http_status = http_status;
    r->error->message = weir_arena_copy(r->arena, weir_span(text, len));
    r->nomem = r->error->message.data == NULL;
    return false;
}

bool weir_openai_nomem(struct weir_openai_reading *r) {
    r->failed = r->nomem = true;
    return false;
}

bool weir_openai_fail(struct weir_openai_reading *r, int http_status, const char *fmt, ...) {
    char text[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return record(r, http_status, text,
                  n < 0                      ? 0
                  : (size_t)n < sizeof(text) ? (size_t)n
                                             : sizeof(text) - 1);
}

bool weir_openai_fail_at(struct weir_openai_reading *r, size_t pos, const char *fmt, ...) {
    char what[MESSAGE_MAX - 256];
    unsigned line, column;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    weir_json_line_column(r->body, pos, &line, &column);
    r->unread |= !r->failed;
    return weir_openai_fail(
        r, 400, "Failed to deserialize the JSON body into the target type: %s at line %u column %u",
        what, line, column);
}

bool weir_openai_fail_type(struct weir_openai_reading *r, size_t pos, struct weir_span raw,
                           const char *expected) {
    char shown[SHOWN_MAX + 64];
    weir_shape_show(raw, shown, sizeof(shown));
    return weir_openai_fail_at(r, pos, "invalid type: %s, expected %s", shown, expected);
}

bool weir_openai_fail_syntax(struct weir_openai_reading *r, const struct weir_json *j) {
    r->syntax = true;
    return weir_openai_fail_at(r, j->error_pos, "%s", weir_json_error_text(j->error));
}

bool weir_openai_enter(struct weir_openai_reading *r, const char *name, struct weir_json *j) {
    struct weir_span raw;
    weir_json_init(j, r->body, WEIR_OPENAI_DEPTH);
    enum weir_json_type type = weir_json_peek(j);
    size_t start = j->pos;
    if (type == WEIR_JSON_ARRAY)
        return weir_openai_fail_type(r, start, WEIR_SPAN_LIT("[]"), name);
    if (type == WEIR_JSON_OBJECT)
        return weir_json_object_enter(j);
    return type != WEIR_JSON_ERROR && weir_json_skip(j, &raw)
               ? weir_openai_fail_type(r, j->pos, raw, name)
               : weir_openai_fail_syntax(r, j);
}

bool weir_openai_may_have(struct weir_openai_reading *r, size_t n_members) {
    return n_members < WEIR_OPENAI_MAX_MEMBERS ||
           weir_openai_fail(r, 400, "Validation: more than %d members",
                            WEIR_OPENAI_MAX_MEMBERS - 1);
}

bool weir_openai_leave(struct weir_openai_reading *r, const struct weir_json *j) {
    r->end = j->pos;
    return j->error == WEIR_JSON_ERR_NONE || weir_openai_fail_syntax(r, j);
}

bool weir_raw_string(struct weir_openai_reading *r, struct weir_span raw, struct weir_span *ret) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 2);
    if (!weir_json_string(&j, &s))
        return false;
    struct weir_span text = weir_json_text(s, r->arena);
    if (text.data == NULL)
        return weir_openai_nomem(r);
    *ret = text;
    return true;
}

bool weir_raw_ids(struct weir_openai_reading *r, struct weir_span raw, struct weir_ids *ret) {
    struct weir_json j;
    size_t n = 0, room = 1;
    if (weir_json_type_of(raw) != WEIR_JSON_ARRAY)
        return false;
    for (size_t i = 0; i < raw.len; i++)
        room += raw.data[i] == ',';
    uint32_t *ids = weir_arena_alloc(r->arena, room * sizeof(*ids));
    if (ids == NULL)
        return weir_openai_nomem(r);
    weir_json_init(&j, raw, 2 + 1);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j)) {
        uint64_t v = 0;
        if (!weir_json_u64(&j, &v) || v > UINT32_MAX)
            return false;
        ids[n++] = (uint32_t)v;
    }
    *ret = (struct weir_ids){ids, n};
    return true;
}

bool weir_raw_is_empty_list(struct weir_span raw) {
    struct weir_json j;
    weir_json_init(&j, raw, 2);
    return weir_json_peek(&j) == WEIR_JSON_ARRAY && weir_json_array_enter(&j) &&
           !weir_json_array_next(&j);
}

bool weir_raw_single(struct weir_span raw, double *ret) {
    char text[WEIR_SINGLE_TEXT];
    if (!weir_span_f64(raw, ret))
        return false;
    float single = (float)*ret;
    return isinf(single) || weir_span_f64(weir_span(text, weir_single_text(single, text)), ret);
}

static const char zeros[] = "000000000000000000000000000000000000000000000";

const char *weir_f32_text(double value, char room[WEIR_F32_TEXT]) {
    const char *sign = signbit(value) ? "-" : "";
    float f = strtof((snprintf(room, WEIR_F32_TEXT, "%.17g", fabs(value)), room), NULL);
    char short_text[24], digits[16];
    int n = 0;
    if (isinf(f)) {
        snprintf(room, WEIR_F32_TEXT, "%sinf", sign);
        return room;
    }
    for (int i = 0; i < 9; i++) {
        snprintf(short_text, sizeof(short_text), "%.*e", i, (double)f);
        if (strtof(short_text, NULL) == f)
            break;
    }
    int exponent = (int)strtol(strchr(short_text, 'e') + 1, NULL, 10);
    for (const char *p = short_text; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    /* Never with an exponent: zeros behind the digits, or before them, or a point between them. */
    int before = exponent + 1;
    if (before >= n)
        snprintf(room, WEIR_F32_TEXT, "%s%.*s%.*s", sign, n, digits, before - n, zeros);
    else if (before > 0)
        snprintf(room, WEIR_F32_TEXT, "%s%.*s.%.*s", sign, before, digits, n - before,
                 digits + before);
    else
        snprintf(room, WEIR_F32_TEXT, "%s0.%.*s%.*s", sign, -before, zeros, n, digits);
    return room;
}
