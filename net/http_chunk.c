/*
 * Chunked bodies (RFC 9112 7.1), byte by byte outside the payload. A size has at most 15
 * hexadecimal digits, no sign, no prefix, no blank before it; blanks after it only before an
 * extension.
 */
#include "net/http_parse_priv.h"

enum state {
    SIZE,      /* digits */
    BLANK,     /* after the digits, before ';' */
    EXTENSION, /* until CR; checked for control characters, else ignored */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE, /* start of a trailer line or of the last empty line */
    NAME,
    VALUE,
    VALUE_LF,
    LAST_LF,
    END,
    BAD,
};

enum { MAX_DIGITS = 15 };

static int hex(unsigned char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum state size_byte(struct weir_http_chunks *c, unsigned char byte) {
    int digit = hex(byte);
    if (digit >= 0) {
        if (c->digits == MAX_DIGITS)
            return BAD;
        c->digits++;
        c->left = c->left << 4 | (unsigned)digit;
        return SIZE;
    }
    if (c->digits == 0)
        return BAD;
    if (byte == '\r')
        return SIZE_LF;
    if (byte == ';')
        return EXTENSION;
    return byte == ' ' || byte == '\t' ? BLANK : BAD;
}

static enum state extension_byte(struct weir_http_chunks *c, unsigned char byte) {
    if (++c->extension_bytes > WEIR_HTTP_EXTENSION_BYTES)
        return BAD;
    if (c->state == BLANK)
        return byte == ';' ? EXTENSION : byte == ' ' || byte == '\t' ? BLANK : BAD;
    if (byte == '\r')
        return SIZE_LF;
    char ch = (char)byte;
    return weir_http_value_ok(weir_span(&ch, 1)) ? EXTENSION : BAD;
}

static enum state trailer_byte(struct weir_http_chunks *c, unsigned char byte) {
    char ch = (char)byte;
    if (++c->trailer_bytes > WEIR_HTTP_TRAILER_BYTES)
        return BAD;
    switch (c->state) {
    case LINE:
        if (byte == '\r')
            return LAST_LF;
        return weir_http_token_ok(weir_span(&ch, 1)) ? NAME : BAD;
    case NAME:
        if (byte == ':')
            return VALUE;
        return weir_http_token_ok(weir_span(&ch, 1)) ? NAME : BAD;
    case VALUE:
        if (byte == '\r')
            return VALUE_LF;
        return weir_http_value_ok(weir_span(&ch, 1)) ? VALUE : BAD;
    default: /* VALUE_LF */
        return byte == '\n' ? LINE : BAD;
    }
}

static enum state next(struct weir_http_chunks *c, unsigned char byte) {
    switch ((enum state)c->state) {
    case SIZE:
        return size_byte(c, byte);
    case BLANK:
    case EXTENSION:
        return extension_byte(c, byte);
    case SIZE_LF:
        return byte != '\n' ? BAD : c->left > 0 ? DATA : LINE;
    case DATA_CR:
        return byte == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        c->digits = 0;
        return byte == '\n' ? SIZE : BAD;
    case LINE:
    case NAME:
    case VALUE:
    case VALUE_LF:
        return trailer_byte(c, byte);
    case LAST_LF:
        return byte == '\n' ? END : BAD;
    case DATA:
    case END:
    case BAD:
        break;
    }
    return BAD;
}

enum weir_http_chunk_step weir_http_chunk_step(struct weir_http_chunks *c, struct weir_span bytes,
                                               size_t *ret_used, struct weir_span *ret_data) {
    size_t at = 0;
    while (at < bytes.len && c->state != DATA && c->state != END && c->state != BAD)
        c->state = (uint8_t)next(c, (unsigned char)bytes.data[at++]);
    *ret_used = at;
    if (c->state == BAD)
        return WEIR_HTTP_CHUNK_BAD;
    if (c->state == END)
        return WEIR_HTTP_CHUNK_END;
    if (c->state != DATA || at == bytes.len)
        return WEIR_HTTP_CHUNK_MORE;
    size_t n = bytes.len - at;
    if (n > c->left)
        n = (size_t)c->left;
    *ret_data = weir_span(bytes.data + at, n);
    *ret_used = at + n;
    c->left -= n;
    if (c->left == 0)
        c->state = DATA_CR;
    return WEIR_HTTP_CHUNK_DATA;
}
