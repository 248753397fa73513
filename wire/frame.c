#include "wire/frame.h"

#include <string.h>

enum { REQUEST_LENGTHS = 2 + 2 + 4 };

static uint64_t get_be(const char *p, unsigned n) {
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static void put_be(char *p, uint64_t v, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        p[i] = (char)(v >> (8 * (n - 1 - i)));
}

enum weir_status weir_two_part_decode(struct weir_span in, size_t max_bytes,
                                      struct weir_two_part *ret_msg, size_t *ret_consumed,
                                      size_t *ret_need) {
    *ret_need = 0;
    if (in.len < WEIR_TWO_PART_HEAD)
        return WEIR_AGAIN;
    uint64_t header, body;
    weir_two_part_lengths(in.data, &header, &body);
    if (header > max_bytes || body > max_bytes - header)
        return WEIR_TOO_LARGE;
    size_t total = WEIR_TWO_PART_HEAD + (size_t)header + (size_t)body;
    if (in.len < total) {
        *ret_need = total;
        return WEIR_AGAIN;
    }
    ret_msg->header = weir_span(in.data + WEIR_TWO_PART_HEAD, (size_t)header);
    ret_msg->body = weir_span(in.data + WEIR_TWO_PART_HEAD + header, (size_t)body);
    *ret_consumed = total;
    return WEIR_OK;
}

enum weir_status weir_two_part_begin(struct weir_span header, struct weir_buf *out,
                                     size_t *ret_mark) {
    enum weir_status st = weir_buf_reserve(out, WEIR_TWO_PART_HEAD + header.len);
    if (st != WEIR_OK)
        return st;
    size_t mark = out->len;
    memset(out->data + mark, 0, WEIR_TWO_PART_HEAD);
    put_be(out->data + mark, header.len, 8);
    out->len += WEIR_TWO_PART_HEAD;
    if (header.len > 0)
        memcpy(out->data + out->len, header.data, header.len);
    out->len += header.len;
    *ret_mark = mark;
    return WEIR_OK;
}

void weir_two_part_end(struct weir_buf *out, size_t mark) {
    size_t header = (size_t)weir_be64(out->data + mark);
    put_be(out->data + mark + 8, out->len - mark - WEIR_TWO_PART_HEAD - header, 8);
}

enum weir_status weir_two_part_encode(struct weir_span header, struct weir_span body,
                                      struct weir_buf *out) {
    size_t mark = 0;
    enum weir_status st = weir_buf_reserve(out, WEIR_TWO_PART_HEAD + header.len + body.len);
    if (st == WEIR_OK)
        st = weir_two_part_begin(header, out, &mark);
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, body);
    if (st == WEIR_OK)
        weir_two_part_end(out, mark);
    return st;
}

enum weir_status weir_request_frame_decode(struct weir_span in, size_t max_bytes,
                                           struct weir_request_frame *ret_frame,
                                           size_t *ret_consumed, size_t *ret_need) {
    *ret_need = 0;
    size_t at = 0, len[3];
    const unsigned width[3] = {2, 2, 4};
    const char *part[3];
    for (int i = 0; i < 3; i++) {
        if (in.len < at + width[i])
            return WEIR_AGAIN;
        len[i] = (size_t)get_be(in.data + at, width[i]);
        at += width[i];
        if (at + len[i] > max_bytes) {
            *ret_need = at + len[i];
            return WEIR_TOO_LARGE;
        }
        part[i] = in.data + at;
        at += len[i];
        if (in.len < at) {
            *ret_need = at;
            return WEIR_AGAIN;
        }
    }
    *ret_frame = (struct weir_request_frame){.path = weir_span(part[0], len[0]),
                                             .headers = weir_span(part[1], len[1]),
                                             .payload = weir_span(part[2], len[2])};
    *ret_consumed = at;
    return WEIR_OK;
}

enum weir_status weir_request_frame_begin(struct weir_span path, struct weir_span headers,
                                          struct weir_buf *out, size_t *ret_mark) {
    if (path.len > UINT16_MAX || headers.len > UINT16_MAX)
        return WEIR_INVALID;
    enum weir_status st = weir_buf_reserve(out, REQUEST_LENGTHS + path.len + headers.len);
    if (st != WEIR_OK)
        return st;
    char *p = out->data + out->len;
    put_be(p, path.len, 2);
    if (path.len > 0)
        memcpy(p + 2, path.data, path.len);
    p += 2 + path.len;
    put_be(p, headers.len, 2);
    if (headers.len > 0)
        memcpy(p + 2, headers.data, headers.len);
    p += 2 + headers.len;
    memset(p, 0, 4);
    *ret_mark = (size_t)(p - out->data);
    out->len = *ret_mark + 4;
    return WEIR_OK;
}

enum weir_status weir_request_frame_end(struct weir_buf *out, size_t mark) {
    size_t payload = out->len - mark - 4;
    if (payload > UINT32_MAX)
        return WEIR_TOO_LARGE;
    put_be(out->data + mark, payload, 4);
    return WEIR_OK;
}

enum weir_status weir_reply_frame_decode(struct weir_span in, size_t max_bytes,
                                         struct weir_span *ret_text, size_t *ret_consumed) {
    if (in.len < 4)
        return WEIR_AGAIN;
    size_t len = (size_t)get_be(in.data, 4);
    if (len > max_bytes)
        return WEIR_TOO_LARGE;
    if (in.len < 4 + len)
        return WEIR_AGAIN;
    *ret_text = weir_span(in.data + 4, len);
    *ret_consumed = 4 + len;
    return WEIR_OK;
}

enum weir_status weir_reply_frame_encode(struct weir_span text, struct weir_buf *out) {
    char head[4];
    if (text.len > UINT32_MAX)
        return WEIR_TOO_LARGE;
    put_be(head, text.len, 4);
    enum weir_status st = weir_buf_reserve(out, 4 + text.len);
    if (st == WEIR_OK)
        st = weir_buf_append(out, head, 4);
    return st == WEIR_OK ? weir_buf_append_span(out, text) : st;
}
