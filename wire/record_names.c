/* Names of discovery records: buckets, keys, file names, slugs, subjects. */
#include "wire/record.h"

#include <inttypes.h>
#include <string.h>

const char *weir_record_bucket(enum weir_record_kind kind) {
    static const char *const buckets[] = {"v1/instances", "v1/mdc", "v1/event_channels",
                                          "v1/event_sources"};
    return buckets[kind];
}

static bool alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Percent-encodes all but letters, digits and the bytes of `also`. */
static enum weir_status put_percent(struct weir_span text, const char *also, struct weir_buf *out) {
    static const char hex[] = "0123456789ABCDEF";
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < text.len && st == WEIR_OK; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (alnum((char)c) || (c != 0 && strchr(also, c) != NULL)) {
            st = weir_buf_append_c(out, (char)c);
        } else {
            char e[3] = {'%', hex[c >> 4], hex[c & 15]};
            st = weir_buf_append(out, e, 3);
        }
    }
    return st;
}

enum weir_status weir_file_name_encode(struct weir_span key, struct weir_buf *out) {
    return put_percent(key, "", out);
}

/* Other writers may leave more bytes as they are than we do: only a broken escape is refused. */
enum weir_status weir_file_name_decode(struct weir_span name, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < name.len && st == WEIR_OK; i++) {
        uint64_t v = (unsigned char)name.data[i];
        if (v == '%') {
            if (name.len - i < 3 || !weir_span_hex64(weir_span(name.data + i + 1, 2), &v))
                return WEIR_INVALID;
            i += 2;
        }
        st = weir_buf_append_c(out, (char)v);
    }
    return st;
}

enum weir_status weir_slug(struct weir_span display_name, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < display_name.len && st == WEIR_OK; i++) {
        char c = display_name.data[i];
        if (((unsigned char)c & 0xc0) == 0x80)
            continue; /* one '_' a character, not a byte */
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        st = weir_buf_append_c(out, alnum(c) || c == '-' || c == '_' ? c : '_');
    }
    return st;
}

/* "namespace/n/component/c/endpoint/e", as far as there are names. */
static enum weir_status put_scope(const struct weir_endpoint_id *e, char separator,
                                  struct weir_buf *out) {
    const struct {
        const char *label;
        struct weir_span name;
    } parts[] = {{"namespace", e->ns}, {"component", e->component}, {"endpoint", e->name}};
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(parts) && st == WEIR_OK && parts[i].name.len > 0; i++) {
        if (i > 0)
            st = weir_buf_append_c(out, separator);
        if (st == WEIR_OK)
            st = weir_buf_printf(out, "%s%c", parts[i].label, separator);
        if (st == WEIR_OK)
            st = put_percent(parts[i].name, "-_", out);
    }
    return st;
}

enum weir_status weir_event_subject_prefix(const struct weir_endpoint_id *scope,
                                           struct weir_buf *out) {
    return put_scope(scope, '.', out);
}

enum weir_status weir_event_subject(struct weir_span prefix, struct weir_span topic,
                                    struct weir_buf *out) {
    enum weir_status st = weir_buf_append_span(out, prefix);
    if (st == WEIR_OK)
        st = weir_buf_append_c(out, '.');
    return st == WEIR_OK ? put_percent(topic, "-_", out) : st;
}

enum weir_status weir_request_subject(const struct weir_endpoint_id *e, uint64_t instance_id,
                                      struct weir_buf *out) {
    return weir_buf_printf(out, "%.*s_%.*s.%.*s-%" PRIx64, WEIR_SPAN_ARG(e->ns),
                           WEIR_SPAN_ARG(e->component), WEIR_SPAN_ARG(e->name), instance_id);
}

enum weir_status weir_record_key(const struct weir_record *record, struct weir_buf *out) {
    const struct weir_endpoint_id *e = &record->endpoint;
    enum weir_status st;
    if (record->kind == WEIR_RECORD_ENDPOINT || record->kind == WEIR_RECORD_MODEL) {
        st = weir_buf_printf(out, "%.*s/%.*s/%.*s/%" PRIx64, WEIR_SPAN_ARG(e->ns),
                             WEIR_SPAN_ARG(e->component), WEIR_SPAN_ARG(e->name),
                             record->instance_id);
        if (st == WEIR_OK && record->suffix.len > 0)
            st = weir_buf_printf(out, "/%.*s", WEIR_SPAN_ARG(record->suffix));
        return st;
    }
    st = put_scope(e, '/', out);
    if (st == WEIR_OK)
        st = weir_buf_append_z(out, "/topic/");
    if (st == WEIR_OK)
        st = put_percent(record->topic, "-_", out);
    return st == WEIR_OK ? weir_buf_printf(out, "/%" PRIx64, record->instance_id) : st;
}
