#include "base/utf8.h"

#include "base/scan_priv.h"

static bool is_tail(unsigned char c) {
    return (c & 0xC0) == 0x80;
}

/* The second byte of a character decides about overlong forms, surrogates and the last plane. */
static bool second_ok(unsigned char first, unsigned char second) {
    switch (first) {
    case 0xE0:
        return second >= 0xA0 && second <= 0xBF;
    case 0xED:
        return second >= 0x80 && second <= 0x9F;
    case 0xF0:
        return second >= 0x90 && second <= 0xBF;
    case 0xF4:
        return second >= 0x80 && second <= 0x8F;
    default:
        return is_tail(second);
    }
}

/* Bytes that a character with this first byte has; 0 when no character begins with it. */
static size_t promised(unsigned char first) {
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* How many of the promised bytes are there and right; at least 1. */
static size_t good_bytes(struct weir_span text, size_t n) {
    const unsigned char *u = (const unsigned char *)text.data;
    size_t i = 1;
    while (i < n && i < text.len && (i == 1 ? second_ok(u[0], u[1]) : is_tail(u[i])))
        i++;
    return i;
}

size_t weir_utf8_char(struct weir_span text) {
    size_t n = text.len > 0 ? promised((unsigned char)text.data[0]) : 0;
    return n > 0 && good_bytes(text, n) == n ? n : 0;
}

size_t weir_utf8_bad(struct weir_span text) {
    size_t n = promised((unsigned char)text.data[0]);
    return n > 1 ? good_bytes(text, n) : 1;
}

struct weir_span weir_utf8_cut(struct weir_span text, size_t max) {
    size_t from = max;
    if (text.len <= max)
        return text;
    while (from > 0 && max - from < 3 && is_tail((unsigned char)text.data[from]))
        from--;
    return weir_span(
        text.data,
        weir_utf8_char(weir_span(text.data + from, text.len - from)) > max - from ? from : max);
}

bool weir_utf8_valid(struct weir_span text) {
    return weir_scan_best()->utf8_valid(text.data, text.len);
}

enum weir_status weir_utf8_append_lossy(struct weir_buf *out, struct weir_span text) {
    if (weir_utf8_valid(text))
        return weir_buf_append_span(out, text);
    size_t before = out->len, clean = 0; /* clean: start of the run not yet copied */
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < text.len && st == WEIR_OK;) {
        struct weir_span rest = weir_span(text.data + i, text.len - i);
        size_t n = weir_utf8_char(rest);
        i += n;
        if (n > 0 && i < text.len)
            continue;
        st = weir_buf_append(out, text.data + clean, i - clean);
        if (n == 0 && st == WEIR_OK) {
            st = weir_buf_append(out, "\xEF\xBF\xBD", 3);
            i += weir_utf8_bad(rest);
        }
        clean = i;
    }
    if (st != WEIR_OK)
        out->len = before;
    return st;
}

size_t weir_utf8_encode(unsigned code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}
