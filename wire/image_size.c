/*
 * Heads of images. Sources: PNG specification (third edition) 5, 11.2; ITU-T T.81 B.2; GIF89a
 * specification 17 to 20; RFC 9649 (WebP). What is asked of them beyond their numbers is what the
 * reference system's readers were seen to ask for: test/data/image-sizes-1.6.1.jsonl.
 *
 * The bytes stand in base64 and are had three at a time where they are looked at, so an image of
 * megabytes needs no copy. All of its text is checked: the reference takes nothing from one with a
 * foreign character.
 */
#include "wire/image_size.h"

#include <string.h>

enum {
    MAX_PARTS = 4096, /* chunks, segments, blocks before the pixels */
    MAX_CODES = 64    /* tables of codes in a JPEG before them; it needs eight */
};

struct source {
    const unsigned char *text; /* base64, checked: a whole number of fours */
    size_t n;                  /* bytes that it stands for */
};

/* ---- base64 ------------------------------------------------------------------------------- */

/* Without branches, so that it is done for many at once. */
static inline unsigned char is_digit(unsigned char c) {
    unsigned char letter = (unsigned char)((c | 0x20) - 'a') < 26;
    return letter | ((unsigned char)(c - '0') < 10) | (c == '+') | (c == '/');
}

static unsigned value(unsigned char c) {
    return c >= 'a'   ? c - 'a' + 26u
           : c >= 'A' ? (unsigned)(c - 'A')
           : c >= '0' ? c - '0' + 52u
           : c == '+' ? 62
           : c == '/' ? 63
                      : 0; /* '=' */
}

static bool are_digits(const unsigned char *text, size_t n) {
    unsigned char all = 1;
    for (size_t i = 0; i < n; i++)
        all &= is_digit(text[i]);
    return all != 0;
}

static bool open_source(struct weir_span text, struct source *ret) {
    const unsigned char *t = (const unsigned char *)text.data;
    size_t pad = 0;
    if (text.len == 0 || text.len % 4 != 0)
        return false;
    while (pad < 2 && t[text.len - 1 - pad] == '=')
        pad++;
    size_t digits = text.len - pad;
    /* Bits of the last digit that no byte has. */
    unsigned unused = pad == 2 ? 15 : pad == 1 ? 3 : 0;
    if (!are_digits(t, digits) || (value(t[digits - 1]) & unused) != 0)
        return false;
    *ret = (struct source){t, text.len / 4 * 3 - pad};
    return true;
}

static unsigned char byte_at(const struct source *s, size_t at) {
    const unsigned char *four = s->text + at / 3 * 4;
    uint32_t v = value(four[0]) << 18 | value(four[1]) << 12 | value(four[2]) << 6 | value(four[3]);
    return (unsigned char)(v >> (16 - 8 * (at % 3)));
}

static bool has(const struct source *s, size_t at, size_t n) {
    return at <= s->n && n <= s->n - at;
}

/* False: they are not all there. */
static bool take(const struct source *s, size_t at, size_t n, unsigned char *ret) {
    if (!has(s, at, n))
        return false;
    for (size_t i = 0; i < n; i++)
        ret[i] = byte_at(s, at + i);
    return true;
}

static bool is_at(const struct source *s, size_t at, const char *bytes, size_t n) {
    bool same = has(s, at, n);
    for (size_t i = 0; i < n && same; i++)
        same = byte_at(s, at + i) == (unsigned char)bytes[i];
    return same;
}

static uint32_t big(const unsigned char *b, size_t n) {
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | b[i];
    return v;
}

static uint32_t little(const unsigned char *b, size_t n) {
    uint32_t v = 0;
    for (size_t i = n; i > 0; i--)
        v = v << 8 | b[i - 1];
    return v;
}

/* ---- PNG ---------------------------------------------------------------------------------- */

static uint32_t crc32_of(const struct source *s, size_t at, size_t n) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= byte_at(s, at + i);
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static bool crc_holds(const struct source *s, size_t at, size_t n) {
    unsigned char sum[4];
    return take(s, at + n, 4, sum) && big(sum, 4) == crc32_of(s, at, n);
}

static bool png_pixels(unsigned depth, unsigned colour) {
    bool few = depth == 1 || depth == 2 || depth == 4, many = depth == 8 || depth == 16;
    return colour == 0   ? few || many
           : colour == 3 ? few || depth == 8
                         : (colour == 2 || colour == 4 || colour == 6) && many;
}

/* Chunks of other names than these are for nobody here; an unknown one that is critical (its name
 * begins with a capital) is more than readers know. */
static bool png_size(const struct source *s, struct weir_image_size *ret) {
    enum { WIDEST = 1 << 24 /* wider ones have lines that readers find too long */ };
    unsigned char h[25], c[8];
    if (!take(s, 8, 25, h) || big(h, 4) != 13 || memcmp(h + 4, "IHDR", 4) != 0 ||
        !crc_holds(s, 12, 17) || !png_pixels(h[16], h[17]) || h[18] != 0 || h[19] != 0 || h[20] > 1)
        return false;
    *ret = (struct weir_image_size){big(h + 8, 4), big(h + 12, 4)};
    size_t at = 33;
    for (unsigned i = 0; i < MAX_PARTS && take(s, at, 8, c); i++) {
        size_t n = big(c, 4);
        if (memcmp(c + 4, "IDAT", 4) == 0)
            return ret->width <= WIDEST && ret->height <= INT32_MAX;
        bool palette = memcmp(c + 4, "PLTE", 4) == 0;
        if (!(c[4] & 0x20) && !(palette && n <= 768 && n % 3 == 0))
            return false;
        if (!has(s, at + 8, n + 4) || (palette && !crc_holds(s, at + 4, n + 4)))
            return false;
        at += n + 12;
    }
    return false;
}

/* ---- JPEG --------------------------------------------------------------------------------- */

enum { SOF0 = 0xc0, SOF2 = 0xc2, DHT = 0xc4, SOS = 0xda, DQT = 0xdb, DRI = 0xdd, APP0 = 0xe0 };
enum { COM = 0xfe, MAX_COMPONENTS = 4 };

struct jpeg {
    const struct source *s;
    struct weir_image_size size; /* 0: no frame yet */
    unsigned n;                  /* its components */
    unsigned n_codes;
};

static bool jpeg_frame(struct jpeg *j, size_t at, size_t n) {
    unsigned char f[6 + 3 * MAX_COMPONENTS];
    if (j->size.height != 0 || n < 9 || n > sizeof(f) || !take(j->s, at, n, f))
        return false;
    j->size = (struct weir_image_size){big(f + 3, 2), big(f + 1, 2)};
    j->n = f[5];
    for (unsigned i = 0; i < j->n && n == 6 + 3 * (size_t)j->n; i++) {
        unsigned across = f[7 + 3 * i] >> 4, down = f[7 + 3 * i] & 15;
        if ((across != 1 && across != 2 && across != 4) || (down != 1 && down != 2 && down != 4) ||
            f[8 + 3 * i] > 3)
            return false;
    }
    return f[0] == 8 && n == 6 + 3 * (size_t)j->n && (j->n == 1 || j->n == 3 || j->n == 4);
}

static bool jpeg_codes(struct jpeg *j, size_t at, size_t n) {
    unsigned char t[17];
    while (n > 0) {
        unsigned sum = 0;
        if (++j->n_codes > MAX_CODES || n < sizeof(t) || !take(j->s, at, sizeof(t), t) ||
            t[0] >> 4 > 1 || (t[0] & 15) > 3)
            return false;
        for (unsigned i = 1; i < sizeof(t); i++)
            sum += t[i];
        if (sum > 256 || n < sizeof(t) + sum)
            return false;
        at += sizeof(t) + sum;
        n -= sizeof(t) + sum;
    }
    return true;
}

static bool jpeg_quants(const struct jpeg *j, size_t at, size_t n) {
    while (n > 0) {
        unsigned kind = byte_at(j->s, at);
        size_t bytes = kind >> 4 != 0 ? 129 : 65;
        if (kind >> 4 > 1 || (kind & 15) > 3 || n < bytes)
            return false;
        at += bytes;
        n -= bytes;
    }
    return true;
}

static bool jpeg_scan(const struct jpeg *j, size_t at, size_t n) {
    unsigned components = n > 0 ? byte_at(j->s, at) : 0;
    return components >= 1 && components <= j->n && n == 4 + 2 * (size_t)components;
}

/* From the first byte behind the length of a segment. */
static bool jpeg_segment(struct jpeg *j, unsigned marker, size_t at, size_t n) {
    return marker >= SOF0 && marker <= SOF2 ? jpeg_frame(j, at, n)
           : marker == DHT                  ? jpeg_codes(j, at, n)
           : marker == DQT                  ? jpeg_quants(j, at, n)
           : marker == SOS                  ? jpeg_scan(j, at, n)
           : marker == DRI                  ? n == 2
                           : (marker >= APP0 && marker < APP0 + 16) || marker == COM;
}

static bool jpeg_size(const struct source *s, struct weir_image_size *ret) {
    struct jpeg j = {.s = s};
    unsigned char m[4];
    size_t at = 2;
    for (unsigned i = 0; i < MAX_PARTS && take(s, at, 4, m); i++) {
        if (m[0] == 0xff && m[1] == 0xff) { /* may be filled up */
            at++;
            continue;
        }
        size_t n = big(m + 2, 2);
        if (m[0] != 0xff || n < 2 || !has(s, at + 2, n) || !jpeg_segment(&j, m[1], at + 4, n - 2))
            return false;
        *ret = j.size;
        if (m[1] == SOS)
            return true;
        at += 2 + n;
    }
    return false;
}

/* ---- GIF ---------------------------------------------------------------------------------- */

static size_t gif_table(unsigned flags) {
    return flags & 0x80 ? (size_t)3 << ((flags & 7) + 1) : 0;
}

/* The size is the screen's, not that of the first picture on it; but a file has one. */
static bool gif_size(const struct source *s, struct weir_image_size *ret) {
    unsigned char h[7];
    if (!take(s, 6, 7, h))
        return false;
    *ret = (struct weir_image_size){little(h, 2), little(h + 2, 2)};
    size_t at = 13 + gif_table(h[4]);
    bool in_extension = false;
    for (unsigned i = 0; i < MAX_PARTS && has(s, at, 1); i++) {
        unsigned first = byte_at(s, at);
        if (in_extension) { /* a block of it: its length, then that; one of none is the end */
            in_extension = first != 0;
            at += 1 + first;
        } else if (first == 0x21) {
            in_extension = true;
            at += 2;
        } else {
            return first == 0x2c && has(s, at, 10); /* the picture's place */
        }
    }
    return false;
}

/* ---- WebP --------------------------------------------------------------------------------- */

static bool webp_lossy(const struct source *s, size_t at, struct weir_image_size *ret) {
    unsigned char f[10];
    if (!take(s, at, sizeof(f), f) || (f[0] & 1) != 0 || memcmp(f + 3, "\x9d\x01\x2a", 3) != 0)
        return false;
    *ret = (struct weir_image_size){little(f + 6, 2) & 0x3fff, little(f + 8, 2) & 0x3fff};
    return true;
}

static bool webp_lossless(const struct source *s, size_t at, struct weir_image_size *ret) {
    unsigned char f[5];
    if (!take(s, at, sizeof(f), f) || f[0] != 0x2f)
        return false;
    uint32_t v = little(f + 1, 4);
    *ret = (struct weir_image_size){(v & 0x3fff) + 1, (v >> 14 & 0x3fff) + 1};
    return v >> 29 == 0;
}

/* Every chunk has to be there, and a picture among them. */
static bool webp_extended(const struct source *s, struct weir_image_size *ret) {
    unsigned char f[10], c[8];
    bool picture = false;
    if (!take(s, 20, sizeof(f), f) || !is_at(s, 16, "\x0a\0\0\0", 4))
        return false;
    *ret = (struct weir_image_size){little(f + 4, 3) + 1, little(f + 7, 3) + 1};
    if ((uint64_t)ret->width * ret->height > UINT32_MAX)
        return false;
    size_t at = 30;
    for (unsigned i = 0; i < MAX_PARTS && at < s->n; i++) {
        if (!take(s, at, 8, c))
            return false;
        size_t n = little(c + 4, 4);
        picture |=
            memcmp(c, "VP8 ", 4) == 0 || memcmp(c, "VP8L", 4) == 0 || memcmp(c, "ANMF", 4) == 0;
        if (!has(s, at + 8, n))
            return false;
        at += 8 + n + (n & 1);
    }
    return picture && at >= s->n;
}

static bool webp_size(const struct source *s, struct weir_image_size *ret) {
    return is_at(s, 12, "VP8 ", 4)   ? webp_lossy(s, 20, ret)
           : is_at(s, 12, "VP8L", 4) ? webp_lossless(s, 20, ret)
                                     : is_at(s, 12, "VP8X", 4) && webp_extended(s, ret);
}

/* ---- any ---------------------------------------------------------------------------------- */

static bool size_of(const struct source *s, struct weir_image_size *ret) {
    bool ok = is_at(s, 0, "\x89PNG\r\n\x1a\n", 8) ? png_size(s, ret)
              : is_at(s, 0, "\xff\xd8\xff", 3)    ? jpeg_size(s, ret)
              : is_at(s, 0, "GIF87a", 6) || is_at(s, 0, "GIF89a", 6)
                  ? gif_size(s, ret)
                  : is_at(s, 0, "RIFF", 4) && is_at(s, 8, "WEBP", 4) && webp_size(s, ret);
    return ok && ret->width > 0 && ret->height > 0;
}

bool weir_image_size_of_url(struct weir_span url, struct weir_image_size *ret) {
    static const char mark[] = ";base64";
    struct source s;
    const char *comma = url.len > 5 ? memchr(url.data, ',', url.len) : NULL;
    if (comma == NULL || !weir_span_starts(url, WEIR_SPAN_LIT("data:")))
        return false;
    size_t head = (size_t)(comma - url.data);
    /* Anywhere before the comma, as the reference looks for it. */
    if (memmem(url.data, head, mark, sizeof(mark) - 1) == NULL)
        return false;
    return open_source(weir_span(comma + 1, url.len - head - 1), &s) && size_of(&s, ret);
}
