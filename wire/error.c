#include "wire/error_priv.h"

/* Words of error_type (old and new), backend sub-types and canonical classes. */
static const struct {
    const char *word;
    enum weir_status status;
    int http;
    bool migratable;
} words[] = {
    {"InvalidArgument", WEIR_INVALID, 400, false},
    {"InvalidRequest", WEIR_INVALID, 400, false},
    {"NotFound", WEIR_NOT_FOUND, 404, false},
    {"ResourceExhausted", WEIR_OVERLOADED, 529, true},
    {"WorkerOverloaded", WEIR_OVERLOADED, 529, true},
    {"CapacityExhausted", WEIR_OVERLOADED, 529, true},
    {"RateLimited", WEIR_OVERLOADED, 429, false},
    {"CannotConnect", WEIR_CANNOT_CONNECT, 503, true},
    {"Disconnected", WEIR_DISCONNECTED, 503, true},
    {"EngineShutdown", WEIR_UNAVAILABLE, 503, true},
    {"StreamIncomplete", WEIR_DISCONNECTED, 503, true},
    {"WorkerUnavailable", WEIR_UNAVAILABLE, 503, true},
    {"Unavailable", WEIR_UNAVAILABLE, 503, true},
    {"ConnectionTimeout", WEIR_TIMEOUT, 504, true},
    {"ResponseTimeout", WEIR_TIMEOUT, 504, true},
    {"DeadlineExceeded", WEIR_TIMEOUT, 504, false},
    {"Cancelled", WEIR_CANCELLED, 499, false},
    {"NotImplemented", WEIR_UNSUPPORTED, 501, false},
    {"Unknown", WEIR_INTERNAL, 500, false},
    {"Internal", WEIR_INTERNAL, 500, false},
};

static void apply_word(struct weir_span word, struct weir_wire_error *e) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(words); i++)
        if (weir_span_eqz(word, words[i].word)) {
            e->status = words[i].status;
            e->http_status = words[i].http;
            e->migratable = words[i].migratable;
            return;
        }
}

const char *weir_wire_error_type(enum weir_status status) {
    switch (status) {
    case WEIR_OVERLOADED:
    case WEIR_LIMIT:
    case WEIR_NOMEM:
        return "ResourceExhausted";
    case WEIR_UNAVAILABLE:
        return "Unavailable";
    case WEIR_INTERNAL:
        return "Unknown";
    default:
        for (size_t i = 0; i < WEIR_ARRAY_LEN(words); i++)
            if (words[i].status == status)
                return words[i].word;
        return "Unknown";
    }
}

/* "Disconnected" or {"Backend": "EngineShutdown"}. */
static bool read_type(struct weir_dec *d, struct weir_wire_error *e) {
    struct weir_span word, key;
    struct weir_dec_box box;
    if (weir_dec_type(d) == WEIR_JSON_STRING) {
        if (!weir_dec_str(d, &word))
            return false;
        apply_word(word, e);
        return true;
    }
    if (weir_dec_type(d) != WEIR_JSON_OBJECT)
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        if (weir_dec_type(d) != WEIR_JSON_STRING) {
            if (!weir_dec_skip(d, NULL))
                return false;
            continue;
        }
        if (!weir_dec_str(d, &word))
            return false;
        apply_word(word, e);
    }
    return !weir_dec_failed(d);
}

/* {"type":"message","message":"…"} */
static bool read_public(struct weir_dec *d, struct weir_wire_error *e) {
    struct weir_dec_box box;
    struct weir_span key;
    if (weir_dec_type(d) == WEIR_JSON_STRING)
        return weir_dec_str(d, &e->public_text);
    if (weir_dec_type(d) != WEIR_JSON_OBJECT)
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool text = weir_dec_is(d, &box, key, "message") && weir_dec_type(d) == WEIR_JSON_STRING;
        if (!(text ? weir_dec_str(d, &e->public_text) : weir_dec_skip(d, NULL)))
            return false;
    }
    return !weir_dec_failed(d);
}

bool weir_wire_error_read(struct weir_dec *d, struct weir_wire_error *ret_error) {
    struct weir_wire_error e = {.status = WEIR_INTERNAL, .http_status = 500};
    struct weir_dec_box box;
    struct weir_span key, word;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        if (weir_dec_is(d, &box, key, "error_type"))
            ok = read_type(d, &e);
        else if (weir_dec_is(d, &box, key, "class") && weir_dec_type(d) == WEIR_JSON_STRING) {
            ok = weir_dec_str(d, &word);
            if (ok && e.status == WEIR_INTERNAL)
                apply_word(word, &e);
        } else if (weir_dec_is(d, &box, key, "message") && weir_dec_type(d) == WEIR_JSON_STRING)
            ok = weir_dec_str(d, &e.message);
        else if (weir_dec_is(d, &box, key, "public"))
            ok = read_public(d, &e);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    if (weir_dec_failed(d))
        return false;
    *ret_error = e;
    return true;
}

void weir_wire_error_settle(struct weir_wire_error *error, struct weir_arena *arena) {
    if (error->message.len == 0 || error->message.data[0] != '{')
        return;
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key, text = {NULL, 0};
    uint64_t code = 0;
    weir_dec_init(&d, WEIR_CODEC_JSON, error->message, arena);
    if (!weir_dec_map(&d, &box))
        return;
    while (weir_dec_map_next(&d, &box, &key)) {
        bool ok = weir_dec_is(&d, &box, key, "message") && weir_dec_type(&d) == WEIR_JSON_STRING
                      ? weir_dec_str(&d, &text)
                  : weir_dec_is(&d, &box, key, "code") && weir_dec_type(&d) == WEIR_JSON_NUMBER
                      ? weir_dec_u64(&d, &code)
                      : weir_dec_skip(&d, NULL);
        if (!ok)
            return;
    }
    if (!weir_dec_finish(&d) || text.data == NULL)
        return;
    if (code >= 400 && code < 500) {
        error->status = WEIR_INVALID;
        error->http_status = (int)code;
        error->public_text = text;
        error->migratable = false;
    } else if (code == 503 || code == 529) {
        error->status = code == 503 ? WEIR_UNAVAILABLE : WEIR_OVERLOADED;
        error->http_status = (int)code;
    } else if (code >= 500 && code < 600) {
        error->backend_status = (int)code;
    }
    error->message = text;
}
