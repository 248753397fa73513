#include "base/base64.h"

enum weir_status weir_base64_encode(struct weir_span bytes, struct weir_buf *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)bytes.data;
    enum weir_status st = weir_buf_reserve(out, (bytes.len + 2) / 3 * 4);
    if (st != WEIR_OK)
        return st;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v = (uint32_t)p[i] << 16;
        if (n > 1)
            v |= (uint32_t)p[i + 1] << 8;
        if (n > 2)
            v |= p[i + 2];
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                        n > 2 ? digits[v & 63] : '='};
        memcpy(out->data + out->len, four, 4);
        out->len += 4;
    }
    return WEIR_OK;
}

static int digit(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum weir_status weir_base64_decode(struct weir_span text, struct weir_arena *arena,
                                    struct weir_span *ret_bytes) {
    size_t pad = 0;
    while (pad < 2 && pad < text.len && text.data[text.len - 1 - pad] == '=')
        pad++;
    if (text.len % 4 != 0)
        return WEIR_INVALID;
    size_t digits = text.len - pad, len = text.len / 4 * 3 - pad, at = 0;
    char *out = weir_arena_alloc(arena, len + 1);
    if (out == NULL)
        return WEIR_NOMEM;
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = digit(text.data[i]);
        if (d < 0)
            return WEIR_INVALID;
        v = (v << 6 | (uint32_t)d) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[at++] = (char)(v >> bits & 0xff);
        }
    }
    if ((v & ((1u << bits) - 1)) != 0)
        return WEIR_INVALID;
    out[at] = '\0';
    *ret_bytes = weir_span(out, at);
    return WEIR_OK;
}
