#include "bench/reply.h"

enum { MAX_DEPTH = 64 };

/* The string at the cursor, or nothing when it is null or something else. */
static bool string_or_skip(struct weir_json *j, struct weir_span *ret_raw) {
    struct weir_json_str s;
    if (weir_json_peek(j) != WEIR_JSON_STRING) {
        (void)weir_json_skip(j, NULL);
        return false;
    }
    if (!weir_json_string(j, &s))
        return false;
    *ret_raw = s.raw;
    return true;
}

static void u64_or_skip(struct weir_json *j, uint64_t *ret) {
    if (weir_json_peek(j) == WEIR_JSON_NUMBER)
        (void)weir_json_u64(j, ret);
    else
        (void)weir_json_skip(j, NULL);
}

/* `delta` or `message`. */
static void read_message(struct weir_json *j, struct weir_reply *r) {
    struct weir_json_str key;
    struct weir_span raw;
    if (weir_json_peek(j) != WEIR_JSON_OBJECT) {
        (void)weir_json_skip(j, NULL);
        return;
    }
    if (!weir_json_object_enter(j))
        return;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "content")) {
            if (string_or_skip(j, &raw) && raw.len > 0) {
                r->text = raw;
                r->has_text = true;
            }
        } else if (weir_json_str_eqz(key, "reasoning_content") ||
                   weir_json_str_eqz(key, "reasoning")) {
            r->has_text |= string_or_skip(j, &raw) && raw.len > 0;
        } else if (weir_json_str_eqz(key, "tool_calls")) {
            r->has_text |= weir_json_peek(j) == WEIR_JSON_ARRAY;
            (void)weir_json_skip(j, NULL);
        } else {
            (void)weir_json_skip(j, NULL);
        }
    }
}

static void read_choice(struct weir_json *j, struct weir_reply *r) {
    struct weir_json_str key;
    struct weir_span raw;
    if (!weir_json_object_enter(j))
        return;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "delta") || weir_json_str_eqz(key, "message")) {
            read_message(j, r);
        } else if (weir_json_str_eqz(key, "text")) {
            if (string_or_skip(j, &raw) && raw.len > 0) {
                r->text = raw;
                r->has_text = true;
            }
        } else if (weir_json_str_eqz(key, "finish_reason")) {
            r->finished |= string_or_skip(j, &raw);
        } else {
            (void)weir_json_skip(j, NULL);
        }
    }
}

static void read_choices(struct weir_json *j, struct weir_reply *r) {
    if (!weir_json_array_enter(j))
        return;
    for (bool first = true; weir_json_array_next(j); first = false) {
        if (first)
            read_choice(j, r);
        else
            (void)weir_json_skip(j, NULL);
    }
}

static void read_usage(struct weir_json *j, struct weir_reply *r) {
    struct weir_json_str key;
    if (weir_json_peek(j) != WEIR_JSON_OBJECT) {
        (void)weir_json_skip(j, NULL);
        return;
    }
    if (!weir_json_object_enter(j))
        return;
    r->has_usage = true;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "prompt_tokens")) {
            u64_or_skip(j, &r->prompt_tokens);
        } else if (weir_json_str_eqz(key, "completion_tokens")) {
            u64_or_skip(j, &r->completion_tokens);
        } else if (weir_json_str_eqz(key, "prompt_tokens_details") &&
                   weir_json_peek(j) == WEIR_JSON_OBJECT) {
            if (!weir_json_object_enter(j))
                return;
            while (weir_json_object_next(j, &key)) {
                if (weir_json_str_eqz(key, "cached_tokens"))
                    u64_or_skip(j, &r->cached_tokens);
                else
                    (void)weir_json_skip(j, NULL);
            }
        } else {
            (void)weir_json_skip(j, NULL);
        }
    }
}

/* {"message": …} or a bare string. */
static void read_error(struct weir_json *j, struct weir_reply *r) {
    struct weir_json_str key;
    if (weir_json_peek(j) == WEIR_JSON_NULL) {
        (void)weir_json_null(j);
        return;
    }
    r->is_error = true;
    if (weir_json_peek(j) != WEIR_JSON_OBJECT) {
        (void)string_or_skip(j, &r->message);
        return;
    }
    if (!weir_json_object_enter(j))
        return;
    while (weir_json_object_next(j, &key)) {
        if (weir_json_str_eqz(key, "message"))
            (void)string_or_skip(j, &r->message);
        else
            (void)weir_json_skip(j, NULL);
    }
}

bool weir_reply_read(struct weir_span json, struct weir_reply *ret_reply) {
    struct weir_reply r = {.has_text = false};
    bool has_choices = false, has_message = false;
    struct weir_json_str key;
    struct weir_json j;
    weir_json_init(&j, json, MAX_DEPTH);
    if (weir_json_object_enter(&j)) {
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "choices")) {
                has_choices = true;
                read_choices(&j, &r);
            } else if (weir_json_str_eqz(key, "usage")) {
                read_usage(&j, &r);
            } else if (weir_json_str_eqz(key, "error")) {
                read_error(&j, &r);
            } else if (weir_json_str_eqz(key, "message")) {
                has_message |= string_or_skip(&j, &r.message);
            } else {
                (void)weir_json_skip(&j, NULL);
            }
        }
    }
    if (!weir_json_finish(&j))
        return false;
    /* The flat form of an error has its message at the top. */
    r.is_error |= has_message && !has_choices;
    if (!has_choices && !r.is_error)
        return false;
    *ret_reply = r;
    return true;
}
