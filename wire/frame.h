/*
 * Frames of Dynamo's TCP request plane, pure codecs. Source: shared spec "transport" 2.1, 2.2, 2.5.
 *
 * Two-part message: header_len u64 BE, body_len u64 BE, checksum u64 BE (0 = none), header, body.
 * Request frame: path_len u16, path, headers_len u16, headers JSON, payload_len u32, two-part
 * payload. Reply frame: len u32, text; len 0 is the acknowledgement.
 */
#ifndef WEIR_WIRE_FRAME_H
#define WEIR_WIRE_FRAME_H

#include "base/big_endian.h"
#include "base/buf.h"

enum { WEIR_TWO_PART_HEAD = 24 };

struct weir_two_part {
    struct weir_span header; /* borrowed from the input */
    struct weir_span body;
};

/* Decodes one message from the front of `in`. WEIR_AGAIN: more bytes are needed (*ret_need = total
 * bytes of the message when known, else 0). WEIR_TOO_LARGE: header + body exceed max_bytes. */
/* What the head of a message at p says: the lengths of its two parts. */
static inline void weir_two_part_lengths(const char *p, uint64_t *ret_header, uint64_t *ret_body) {
    *ret_header = weir_be64(p);
    *ret_body = weir_be64(p + 8);
}
enum weir_status weir_two_part_decode(struct weir_span in, size_t max_bytes,
                                      struct weir_two_part *ret_msg, size_t *ret_consumed,
                                      size_t *ret_need) WEIR_MUST_CHECK;
enum weir_status weir_two_part_encode(struct weir_span header, struct weir_span body,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
/* For bodies that are written in place: begin reserves the head and writes the header, the caller
 * appends the body to `out`, end fills in the length. `mark` is what begin returned in *ret_mark.
 */
enum weir_status weir_two_part_begin(struct weir_span header, struct weir_buf *out,
                                     size_t *ret_mark) WEIR_MUST_CHECK;
void weir_two_part_end(struct weir_buf *out, size_t mark);

struct weir_request_frame {
    struct weir_span path;
    struct weir_span headers; /* JSON object or empty */
    struct weir_span payload; /* a two-part message */
};
/* WEIR_AGAIN and WEIR_TOO_LARGE (the frame exceeds max_bytes): *ret_need = its bytes as far as the
 * lengths that were seen tell; 0 when they tell nothing. */
enum weir_status weir_request_frame_decode(struct weir_span in, size_t max_bytes,
                                           struct weir_request_frame *ret_frame,
                                           size_t *ret_consumed, size_t *ret_need) WEIR_MUST_CHECK;
/* As weir_two_part_begin/end: the payload follows. WEIR_INVALID for a path or headers over 65,535
 * bytes. */
enum weir_status weir_request_frame_begin(struct weir_span path, struct weir_span headers,
                                          struct weir_buf *out, size_t *ret_mark) WEIR_MUST_CHECK;
/* WEIR_TOO_LARGE when the payload exceeds 4 GiB - 1: the frame is not usable. */
enum weir_status weir_request_frame_end(struct weir_buf *out, size_t mark) WEIR_MUST_CHECK;

/* text empty = acknowledgement. */
enum weir_status weir_reply_frame_decode(struct weir_span in, size_t max_bytes,
                                         struct weir_span *ret_text,
                                         size_t *ret_consumed) WEIR_MUST_CHECK;
enum weir_status weir_reply_frame_encode(struct weir_span text,
                                         struct weir_buf *out) WEIR_MUST_CHECK;

#endif
