#include "wire/control.h"

#include "base/json.h"
#include "wire/error_priv.h"

#include <string.h>

enum { DEPTH = 32 };

/* One a request, and nearly always of ids that need no escapes: put together from its parts. */
static enum weir_status encode_plain(const struct weir_control *c, struct weir_buf *out) {
    const struct weir_span parts[] = {
        WEIR_SPAN_LIT("{\"id\":\""),
        c->id,
        WEIR_SPAN_LIT("\",\"request_type\":\""),
        c->many_in ? WEIR_SPAN_LIT("many_in") : WEIR_SPAN_LIT("single_in"),
        WEIR_SPAN_LIT("\",\"response_type\":\"many_out\",\"payload_codec\":\""),
        c->codec == WEIR_CODEC_JSON ? WEIR_SPAN_LIT("json") : WEIR_SPAN_LIT("msgpack"),
        WEIR_SPAN_LIT("\",\"connection_info\":{\"transport\":\"tcp_server\",\"info\":\""
                      "{\\\"address\\\":\\\""),
        c->address,
        WEIR_SPAN_LIT("\\\",\\\"subject\\\":\\\""),
        c->subject,
        WEIR_SPAN_LIT("\\\",\\\"context\\\":\\\""),
        c->context,
        WEIR_SPAN_LIT("\\\",\\\"stream_type\\\":\\\"response\\\"}\"}}")};
    size_t total = 0;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(parts); i++)
        total += parts[i].len;
    enum weir_status st = weir_buf_reserve(out, total);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(parts) && st == WEIR_OK; i++)
        st = weir_buf_append_span(out, parts[i]);
    return st;
}

enum weir_status weir_control_encode(const struct weir_control *control, struct weir_buf *out) {
    if (control->metadata.data == NULL && weir_json_plain(control->id) &&
        weir_json_plain(control->address) && weir_json_plain(control->subject) &&
        weir_json_plain(control->context))
        return encode_plain(control, out);
    /* `info` is a string that holds JSON. */
    char room[512];
    struct weir_buf info = {.data = room, .cap = sizeof(room), .max = sizeof(room)};
    struct weir_jsonw w;
    weir_jsonw_init(&w, &info);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "address");
    weir_jsonw_string(&w, control->address);
    weir_jsonw_key(&w, "subject");
    weir_jsonw_string(&w, control->subject);
    weir_jsonw_key(&w, "context");
    weir_jsonw_string(&w, control->context);
    weir_jsonw_key(&w, "stream_type");
    weir_jsonw_string_z(&w, "response");
    weir_jsonw_object_end(&w);
    if (w.status != WEIR_OK)
        return w.status;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "id");
    weir_jsonw_string(&w, control->id);
    weir_jsonw_key(&w, "request_type");
    weir_jsonw_string_z(&w, control->many_in ? "many_in" : "single_in");
    weir_jsonw_key(&w, "response_type");
    weir_jsonw_string_z(&w, "many_out");
    weir_jsonw_key(&w, "payload_codec");
    weir_jsonw_string_z(&w, control->codec == WEIR_CODEC_JSON ? "json" : "msgpack");
    weir_jsonw_key(&w, "connection_info");
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "transport");
    weir_jsonw_string_z(&w, "tcp_server");
    weir_jsonw_key(&w, "info");
    weir_jsonw_string(&w, weir_buf_span(&info));
    weir_jsonw_object_end(&w);
    if (control->metadata.data != NULL) {
        weir_jsonw_key(&w, "metadata");
        weir_jsonw_raw(&w, control->metadata);
    }
    weir_jsonw_object_end(&w);
    return w.status;
}

/* The JSON inside the string `info`. */
static bool read_info(struct weir_span text, struct weir_arena *arena, struct weir_control *c) {
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key;
    weir_dec_init(&d, WEIR_CODEC_JSON, text, arena);
    if (!weir_dec_map(&d, &box))
        return false;
    while (weir_dec_map_next(&d, &box, &key)) {
        struct weir_span *to = weir_dec_is(&d, &box, key, "address")   ? &c->address
                               : weir_dec_is(&d, &box, key, "subject") ? &c->subject
                               : weir_dec_is(&d, &box, key, "context") ? &c->context
                                                                       : NULL;
        if (to != NULL ? !weir_dec_str(&d, to) : !weir_dec_skip(&d, NULL))
            return false;
    }
    return weir_dec_finish(&d);
}

static bool read_connection(struct weir_dec *d, struct weir_control *c, bool *ret_supported) {
    struct weir_dec_box box;
    struct weir_span key, transport = {NULL, 0}, info = {NULL, 0};
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        struct weir_span *to = weir_dec_is(d, &box, key, "transport") ? &transport
                               : weir_dec_is(d, &box, key, "info")    ? &info
                                                                      : NULL;
        if (to != NULL ? !weir_dec_str(d, to) : !weir_dec_skip(d, NULL))
            return false;
    }
    if (weir_dec_failed(d))
        return false;
    *ret_supported = weir_span_eqz(transport, "tcp_server");
    return !*ret_supported || (info.data != NULL && read_info(info, d->arena, c));
}

enum weir_status weir_control_decode(struct weir_span json, struct weir_arena *arena,
                                     struct weir_control *ret_control) {
    struct weir_control c = {0};
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key, text;
    bool transport_ok = true, codec_ok = true, connection = false, ok;
    weir_dec_init(&d, WEIR_CODEC_JSON, json, arena);
    if (!weir_dec_map(&d, &box))
        return WEIR_INVALID;
    while (weir_dec_map_next(&d, &box, &key)) {
        if (weir_dec_is(&d, &box, key, "id")) {
            ok = weir_dec_str(&d, &c.id);
        } else if (weir_dec_is(&d, &box, key, "request_type")) {
            ok = weir_dec_str(&d, &text);
            c.many_in = ok && weir_span_eqz(text, "many_in");
        } else if (weir_dec_is_set(&d, &box, key, "payload_codec")) {
            ok = weir_dec_str(&d, &text);
            c.codec = ok && weir_span_eqz(text, "msgpack") ? WEIR_CODEC_MSGPACK : WEIR_CODEC_JSON;
            codec_ok = ok && (c.codec == WEIR_CODEC_MSGPACK || weir_span_eqz(text, "json"));
        } else if (weir_dec_is(&d, &box, key, "connection_info")) {
            ok = connection = read_connection(&d, &c, &transport_ok);
        } else {
            ok = weir_dec_skip(&d, NULL);
        }
        if (!ok)
            return WEIR_INVALID;
    }
    if (!weir_dec_finish(&d) || !connection || c.id.data == NULL)
        return WEIR_INVALID;
    if (!transport_ok || !codec_ok)
        return WEIR_UNSUPPORTED;
    if (c.address.len == 0 || c.subject.len == 0 || !weir_span_eq(c.context, c.id))
        return WEIR_INVALID;
    *ret_control = c;
    return WEIR_OK;
}

enum weir_status weir_handshake_encode(struct weir_span subject, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "subject");
    weir_jsonw_string(&w, subject);
    weir_jsonw_key(&w, "stream_type");
    weir_jsonw_string_z(&w, "response");
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_handshake_decode(struct weir_span json, struct weir_span *ret_subject) {
    struct weir_json j;
    struct weir_json_str key, subject = {{NULL, 0}, false}, type = subject;
    weir_json_init(&j, json, DEPTH);
    if (!weir_json_object_enter(&j))
        return WEIR_PROTOCOL;
    while (weir_json_object_next(&j, &key)) {
        if (weir_json_str_eqz(key, "subject"))
            weir_json_string(&j, &subject);
        else if (weir_json_str_eqz(key, "stream_type"))
            weir_json_string(&j, &type);
        else
            weir_json_skip(&j, NULL);
    }
    /* Subjects are ours: they hold no escapes. */
    if (!weir_json_finish(&j) || subject.raw.len == 0 || subject.escaped ||
        !weir_json_str_eqz(type, "response"))
        return WEIR_PROTOCOL;
    *ret_subject = subject.raw;
    return WEIR_OK;
}

/* ---- stream control ----------------------------------------------------------------------- */

enum weir_stream_ctl weir_stream_ctl_decode(struct weir_span header, struct weir_arena *arena,
                                            struct weir_wire_error *ret_error) {
    if (weir_span_eqz(header, "{\"error\":null}") || weir_span_eqz(header, "{}"))
        return WEIR_CTL_PROLOGUE_OK;
    if (weir_span_eqz(header, "\"sentinel\""))
        return WEIR_CTL_SENTINEL;
    if (weir_span_eqz(header, "\"stop\""))
        return WEIR_CTL_STOP;
    if (weir_span_eqz(header, "\"kill\""))
        return WEIR_CTL_KILL;
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key;
    struct weir_wire_error error = {
        .status = WEIR_UNAVAILABLE, .http_status = 503, .migratable = true};
    bool typed = false, failed = false;
    weir_dec_init(&d, WEIR_CODEC_JSON, header, arena);
    if (weir_dec_type(&d) != WEIR_JSON_OBJECT || !weir_dec_map(&d, &box))
        return WEIR_CTL_UNKNOWN;
    while (weir_dec_map_next(&d, &box, &key)) {
        if (weir_dec_is_set(&d, &box, key, "typed_error")) {
            failed = typed = true;
            weir_wire_error_read(&d, &error);
        } else if (weir_dec_is_set(&d, &box, key, "error")) {
            failed = true;
            struct weir_span text;
            if (weir_dec_str(&d, &text) && !typed)
                error.message = text;
        } else {
            weir_dec_skip(&d, NULL);
        }
    }
    if (!weir_dec_finish(&d))
        return WEIR_CTL_UNKNOWN;
    if (!failed)
        return WEIR_CTL_PROLOGUE_OK;
    *ret_error = error;
    return WEIR_CTL_PROLOGUE_ERROR;
}

enum weir_status weir_prologue_encode(const char *error, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "error");
    if (error == NULL)
        weir_jsonw_null(&w);
    else
        weir_jsonw_string_z(&w, error);
    weir_jsonw_object_end(&w);
    return w.status;
}

struct weir_span weir_ctl_frame(enum weir_stream_ctl ctl) {
#define FRAME(n, text) WEIR_SPAN_LIT("\0\0\0\0\0\0\0" n "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" text)
    switch (ctl) {
    case WEIR_CTL_SENTINEL:
        return FRAME("\x0a", "\"sentinel\"");
    case WEIR_CTL_STOP:
        return FRAME("\x06", "\"stop\"");
    default:
        return FRAME("\x06", "\"kill\"");
    }
#undef FRAME
}
