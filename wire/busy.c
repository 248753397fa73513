#include "wire/busy.h"

#include "base/utf8.h"
#include "wire/openai_priv.h"
#include "wire/shape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 64, N_FIELDS = 4 };

static const char *const names[N_FIELDS] = {"model", "active_decode_blocks_threshold",
                                            "active_prefill_tokens_threshold",
                                            "active_prefill_tokens_threshold_frac"};
static const struct weir_shape *const types[N_FIELDS] = {NULL, &weir_shape_f64, &weir_shape_u64,
                                                         &weir_shape_f64};

struct busy_reading {
    struct weir_openai_reading base;
    struct weir_busy_request *request;
    bool seen[N_FIELDS];
    const char *at; /* field whose value is no JSON, or NULL */
};

/* A value that does not fit: "field: invalid type: …, expected …", seen behind the value. */
static bool wrong_type(struct busy_reading *b, int field, struct weir_span raw) {
    struct weir_openai_error inner = {0};
    struct weir_openai_reading probe = {
        .body = b->base.body, .arena = b->base.arena, .error = &inner};
    struct weir_shape_fault fault = {.notes = 0};
    size_t pos = (size_t)(raw.data - b->base.body.data) + raw.len;
    const struct weir_span head =
        WEIR_SPAN_LIT("Failed to deserialize the JSON body into the target type: ");
    if (types[field] != NULL && !weir_shape_check(types[field], raw, &fault))
        weir_openai_fail_at(&probe, pos, "%s", fault.text);
    else
        weir_openai_fail_type(&probe, pos, raw, "a string");
    if (probe.nomem || inner.message.len < head.len)
        return weir_openai_nomem(&b->base);
    return weir_openai_fail(&b->base, 422, "%.*s%s: %.*s", WEIR_SPAN_ARG(head), names[field],
                            (int)(inner.message.len - head.len), inner.message.data + head.len);
}

static bool read_field(struct busy_reading *b, int field, struct weir_span raw) {
    enum weir_json_type type = weir_json_type_of(raw);
    uint64_t u = 0;
    if (field == 0)
        return type == WEIR_JSON_STRING ? weir_raw_string(&b->base, raw, &b->request->model)
                                        : wrong_type(b, field, raw);
    if (type == WEIR_JSON_NULL)
        return true;
    if (type != WEIR_JSON_NUMBER)
        return wrong_type(b, field, raw);
    if (field == 2) {
        if (!weir_span_u64(raw, &u))
            return wrong_type(b, field, raw);
        b->request->prefill_tokens = u > INT64_MAX ? INT64_MAX : (int64_t)u;
        return true;
    }
    return weir_span_f64(raw, field == 1 ? &b->request->decode_blocks
                                         : &b->request->prefill_tokens_frac) ||
           wrong_type(b, field, raw);
}

static bool fail_shape(struct busy_reading *b, size_t pos, const char *what) {
    unsigned line, column;
    weir_json_line_column(b->base.body, pos, &line, &column);
    return weir_openai_fail(
        &b->base, 422,
        "Failed to deserialize the JSON body into the target type: %s at line %u column %u", what,
        line, column);
}

static bool read_members(struct busy_reading *b, struct weir_json *j) {
    struct weir_json_str key;
    struct weir_span raw;
    char text[128];
    while (weir_json_object_next(j, &key)) {
        size_t behind_key = j->pos;
        if (!weir_json_skip(j, &raw)) {
            for (int f = 0; f < N_FIELDS; f++)
                if (weir_json_str_eqz(key, names[f]))
                    b->at = names[f];
            return true; /* the scanner's own error is reported by the caller */
        }
        for (int f = 0; f < N_FIELDS; f++) {
            if (!weir_json_str_eqz(key, names[f]))
                continue;
            if (b->seen[f]) {
                /* Seen behind the key, before its colon. */
                size_t quote = (size_t)(key.raw.data - b->base.body.data) + key.raw.len + 1;
                snprintf(text, sizeof(text), "duplicate field `%s`", names[f]);
                return fail_shape(b, quote < behind_key ? quote : behind_key, text);
            }
            b->seen[f] = true;
            if (!read_field(b, f, raw))
                return false;
        }
    }
    return true;
}

/* A number as Rust prints an f64: the shortest digits that read back equal, and no exponent. */
enum { SHOWN = 1200 };
static const char *shown(double v, char room[SHOWN]) {
    int n = 0;
    for (int digits = 1; digits <= 17; digits++) {
        double back;
        n = snprintf(room, SHOWN, "%.*e", digits - 1, v);
        if (n > 0 && weir_span_f64(weir_span(room, (size_t)n), &back) && back == v)
            break;
    }
    const char *e = n > 0 ? strchr(room, 'e') : NULL;
    if (e == NULL)
        return room;
    /* As many places behind the point as the digits need. */
    const char *point = strchr(room, '.');
    long digits = point != NULL ? e - point - 1 : 0, exponent = strtol(e + 1, NULL, 10);
    snprintf(room, SHOWN, "%.*f", (int)(digits > exponent ? digits - exponent : 0), v);
    return room;
}

static bool check_ranges(struct busy_reading *b) {
    const struct weir_busy_request *q = b->request;
    char room[SHOWN];
    if (!isnan(q->decode_blocks) && (q->decode_blocks < 0 || q->decode_blocks > 1))
        return weir_openai_fail(
            &b->base, 400, "active_decode_blocks_threshold must be between 0.0 and 1.0, got %s",
            shown(q->decode_blocks, room));
    if (!isnan(q->prefill_tokens_frac) && q->prefill_tokens_frac < 0)
        return weir_openai_fail(&b->base, 400,
                                "active_prefill_tokens_threshold_frac must be a finite value "
                                "greater than or equal to 0.0, got %s",
                                shown(q->prefill_tokens_frac, room));
    return true;
}

/* Words for a body that is no object: a list is read as the fields in order. */
static bool fail_top(struct busy_reading *b, struct weir_span raw, enum weir_json_type type) {
    struct weir_json j;
    struct weir_span first;
    char text[256];
    struct weir_openai_error inner = {0};
    struct weir_openai_reading probe = {
        .body = b->base.body, .arena = b->base.arena, .error = &inner};
    const struct weir_span head =
        WEIR_SPAN_LIT("Failed to deserialize the JSON body into the target type: ");
    size_t pos = (size_t)(raw.data - b->base.body.data) + raw.len;
    const char *path = "", *expected = "struct BusyThresholdRequest";
    if (type == WEIR_JSON_ARRAY) {
        weir_json_init(&j, raw, DEPTH);
        weir_json_array_enter(&j);
        if (!weir_json_array_next(&j) || !weir_json_skip(&j, &first))
            return fail_shape(b, pos,
                              "invalid length 0, expected struct BusyThresholdRequest with "
                              "4 elements");
        if (weir_json_type_of(first) == WEIR_JSON_STRING) /* no list stands for an object here */
            return fail_shape(b, pos,
                              "invalid type: sequence, expected struct BusyThresholdRequest");
        pos = (size_t)(first.data - b->base.body.data) + first.len;
        raw = first;
        path = "[0]: ";
        expected = "a string";
    }
    weir_openai_fail_type(&probe, pos, raw, expected);
    if (probe.nomem || inner.message.len < head.len)
        return weir_openai_nomem(&b->base);
    struct weir_span words = weir_span(inner.message.data + head.len, inner.message.len - head.len);
    snprintf(text, sizeof(text), "%s%.*s", path, WEIR_SPAN_ARG(weir_utf8_cut(words, 200)));
    return weir_openai_fail(&b->base, 422, "%.*s%s", WEIR_SPAN_ARG(head), text);
}

static bool parse(struct busy_reading *b) {
    struct weir_json j;
    struct weir_span raw;
    weir_json_init(&j, b->base.body, DEPTH);
    enum weir_json_type type = weir_json_peek(&j);
    bool ok = true;
    if (type != WEIR_JSON_OBJECT) {
        if (weir_json_skip(&j, &raw))
            return fail_top(b, raw, type);
    } else {
        ok = weir_json_object_enter(&j) && read_members(b, &j);
    }
    if (j.error != WEIR_JSON_ERR_NONE && !b->base.failed) {
        unsigned line, column;
        weir_json_line_column(b->base.body, j.error_pos, &line, &column);
        return weir_openai_fail(
            &b->base, 400, "Failed to parse the request body as JSON: %s%s%s at line %u column %u",
            b->at != NULL ? b->at : "", b->at != NULL ? ": " : "", weir_json_error_text(j.error),
            line, column);
    }
    if (!ok || b->base.failed)
        return false;
    if (!b->seen[0])
        return fail_shape(b, j.pos, "missing field `model`");
    return check_ranges(b);
}

enum weir_status weir_busy_parse(struct weir_span body, struct weir_arena *arena,
                                 struct weir_busy_request *ret_request,
                                 struct weir_openai_error *ret_error) {
    struct weir_busy_request request = {
        .decode_blocks = NAN, .prefill_tokens_frac = NAN, .prefill_tokens = -1};
    struct busy_reading b = {.base = {.body = body, .arena = arena, .error = ret_error},
                             .request = &request};
    if (!parse(&b))
        return b.base.nomem ? WEIR_NOMEM : WEIR_INVALID;
    *ret_request = request;
    return WEIR_OK;
}
