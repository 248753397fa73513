/* Control JSON of the request plane: control header, call-home handshake, prologue, stream control.
 * Source: shared spec "transport" 2.4 to 2.6. Pure. */
#ifndef WEIR_WIRE_CONTROL_H
#define WEIR_WIRE_CONTROL_H

#include "base/arena.h"
#include "base/buf.h"

enum weir_codec { WEIR_CODEC_JSON, WEIR_CODEC_MSGPACK };

struct weir_control {
    struct weir_span id;
    bool many_in;          /* request_type many_in; else single_in */
    enum weir_codec codec; /* absent = json */
    struct weir_span
        address; /* "ip:port" of the caller's response listener; split at the last colon */
    struct weir_span subject;
    struct weir_span context;  /* must equal id */
    struct weir_span metadata; /* JSON object of strings, or NULL → left out */
};
enum weir_status weir_control_encode(const struct weir_control *control,
                                     struct weir_buf *out) WEIR_MUST_CHECK;
/* Strings are unescaped into the arena. WEIR_UNSUPPORTED: unknown transport or codec;
 * WEIR_INVALID: not JSON, a field is missing, context differs from id. */
enum weir_status weir_control_decode(struct weir_span json, struct weir_arena *arena,
                                     struct weir_control *ret_control) WEIR_MUST_CHECK;

/* {"subject":"<uuid>","stream_type":"response"} */
enum weir_status weir_handshake_encode(struct weir_span subject,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_handshake_decode(struct weir_span json,
                                       struct weir_span *ret_subject) WEIR_MUST_CHECK;

/* Error of a worker, from a prologue or an item. `status` is our reading of error_type/class. */
struct weir_wire_error {
    enum weir_status status;
    int http_status;          /* status for an HTTP client: 4xx kept, 5xx as the frontend maps it */
    int backend_status;       /* a 5xx that the worker named and clients do not get; 0: none */
    struct weir_span message; /* as the worker wrote it; may be empty */
    struct weir_span public_text; /* text meant for clients; may be empty */
    bool migratable;              /* connection-like: another worker may succeed */
};
/* Header frames of a response stream after the handshake. */
enum weir_stream_ctl {
    WEIR_CTL_PROLOGUE_OK,
    WEIR_CTL_PROLOGUE_ERROR,
    WEIR_CTL_SENTINEL,
    WEIR_CTL_STOP,
    WEIR_CTL_KILL,
    WEIR_CTL_UNKNOWN,
};
enum weir_stream_ctl weir_stream_ctl_decode(struct weir_span header, struct weir_arena *arena,
                                            struct weir_wire_error *ret_error);
/* error NULL = success prologue. */
enum weir_status weir_prologue_encode(const char *error, struct weir_buf *out) WEIR_MUST_CHECK;
/* "sentinel", "stop", "kill" as whole two-part frames. */
struct weir_span weir_ctl_frame(enum weir_stream_ctl ctl);

#endif
