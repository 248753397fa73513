/*
 * A frame ends with an empty line. Engines write whole frames, so nearly always what came ends with
 * one and passes as it lies; only a frame that was cut is copied and waits for its rest. So a
 * client never sees half a frame, and an error event of ours can follow at any time.
 */
#include "frontend/relay_scan.h"

#include "base/json.h"

#include <string.h>

enum { DEPTH = 64, READ_MAX = 16 << 20 };

void weir_relay_scan_init(struct weir_relay_scan *s, size_t max_frame) {
    *s = (struct weir_relay_scan){
        .max_frame = max_frame, .prompt_tokens = -1, .completion_tokens = -1, .cached_tokens = -1};
    weir_buf_init(&s->held, max_frame + READ_MAX);
}

void weir_relay_scan_fini(struct weir_relay_scan *s) {
    weir_buf_fini(&s->held);
}

/* ---- counts ------------------------------------------------------------------------------- */

static bool count_or_skip(struct weir_json *j, int64_t *ret) {
    return weir_json_peek(j) == WEIR_JSON_NUMBER ? weir_json_i64(j, ret) : weir_json_skip(j, NULL);
}

static bool read_details(struct weir_json *j, struct weir_relay_scan *s) {
    struct weir_json_str key;
    if (weir_json_peek(j) != WEIR_JSON_OBJECT)
        return weir_json_skip(j, NULL);
    if (!weir_json_object_enter(j))
        return false;
    while (weir_json_object_next(j, &key))
        if (!(weir_json_str_eqz(key, "cached_tokens") ? count_or_skip(j, &s->cached_tokens)
                                                      : weir_json_skip(j, NULL)))
            return false;
    return j->error == WEIR_JSON_ERR_NONE;
}

static void read_usage(struct weir_relay_scan *s, struct weir_span json) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_relay_scan t = *s;
    weir_json_init(&j, json, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return;
    while (weir_json_object_next(&j, &key)) {
        bool ok = weir_json_str_eqz(key, "prompt_tokens") ? count_or_skip(&j, &t.prompt_tokens)
                  : weir_json_str_eqz(key, "completion_tokens")
                      ? count_or_skip(&j, &t.completion_tokens)
                  : weir_json_str_eqz(key, "prompt_tokens_details") ? read_details(&j, &t)
                                                                    : weir_json_skip(&j, NULL);
        if (!ok)
            return;
    }
    s->prompt_tokens = t.prompt_tokens;
    s->completion_tokens = t.completion_tokens;
    s->cached_tokens = t.cached_tokens;
}

void weir_relay_scan_body(struct weir_relay_scan *s, struct weir_span json) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span usage = {0};
    weir_json_init(&j, json, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return;
    while (weir_json_object_next(&j, &key)) {
        bool wanted = weir_json_str_eqz(key, "usage");
        if (!weir_json_skip(&j, wanted ? &usage : NULL))
            return;
    }
    if (usage.data != NULL)
        read_usage(s, usage);
}

/* ---- frames ------------------------------------------------------------------------------- */

static void see_data(struct weir_relay_scan *s, struct weir_span data) {
    static const char usage[] = "\"usage\":", error[] = "{\"error\":";
    if (weir_span_eqz(data, "[DONE]")) {
        s->done = true;
        return;
    }
    s->n_data++;
    s->failed |= weir_span_starts(data, weir_span(error, sizeof(error) - 1));
    /* Text of an answer has its quotes escaped: this stands only where it is a key. */
    if (memmem(data.data, data.len, usage, sizeof(usage) - 1) != NULL)
        weir_relay_scan_body(s, data);
}

bool weir_relay_scan_next(struct weir_span *frames, struct weir_span *ret_data) {
    while (frames->len > 0) {
        const char *at = frames->data, *nl = memchr(at, '\n', frames->len);
        size_t len = nl != NULL ? (size_t)(nl - at) : frames->len, used = len + (nl != NULL);
        *frames = weir_span(at + used, frames->len - used);
        if (len >= 5 && memcmp(at, "data:", 5) == 0) {
            *ret_data = weir_span_trim(weir_span(at + 5, len - 5));
            return true;
        }
    }
    return false;
}

static void see_frames(struct weir_relay_scan *s, struct weir_span frames) {
    struct weir_span data;
    while (weir_relay_scan_next(&frames, &data))
        see_data(s, data);
}

/* Bytes up to the end of the last empty line of `before` and `bytes` together, counted in `bytes`;
 * 0: none. */
static size_t last_end(struct weir_span before, struct weir_span bytes) {
    const char *at = bytes.data + bytes.len;
    while (at > bytes.data) {
        at = memrchr(bytes.data, '\n', (size_t)(at - bytes.data));
        if (at == NULL)
            return 0;
        size_t n = (size_t)(at - bytes.data);
        bool cr = n > 0 ? at[-1] == '\r' : before.len > 0 && before.data[before.len - 1] == '\r';
        size_t back = n + before.len - cr; /* bytes before this line's end */
        if (back > 0) {
            char c = back > before.len ? bytes.data[back - before.len - 1] : before.data[back - 1];
            if (c == '\n')
                return n + 1;
        }
    }
    return 0;
}

enum weir_status weir_relay_scan_push(struct weir_relay_scan *s, struct weir_span bytes,
                                      struct weir_span *ret_pass) {
    weir_buf_consume(&s->held, s->passed);
    s->passed = 0;
    size_t cut = last_end(weir_buf_span(&s->held), bytes);
    *ret_pass = weir_span(NULL, 0);
    if (cut > 0 && s->held.len == 0) {
        *ret_pass = weir_span(bytes.data, cut);
        see_frames(s, *ret_pass);
        return weir_buf_append(&s->held, bytes.data + cut, bytes.len - cut);
    }
    enum weir_status st = weir_buf_append_span(&s->held, bytes);
    if (st != WEIR_OK)
        return st;
    if (cut > 0) {
        s->passed = s->held.len - (bytes.len - cut);
        see_frames(s, weir_span(s->held.data, s->passed));
    } else if (s->held.len > s->max_frame) {
        s->passed = s->held.len;
        s->cut = true;
    }
    *ret_pass = weir_span(s->held.data, s->passed);
    return WEIR_OK;
}
