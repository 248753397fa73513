#include "test/fuzz/mutate.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ITEMS = 256, MAX_DEPTH = 40, MAX_STARTS = 16, MAX_PIECE = 4096 };

/* A member of an object or an element of a list. */
struct item {
    size_t from, value, end; /* offsets; from == value: an element */
    size_t box;              /* where its container begins */
};

struct document {
    const uint8_t *data;
    size_t size;
    bool packed; /* MessagePack */
    struct item items[MAX_ITEMS];
    size_t n;
};

static uint64_t draw(uint64_t *seed, uint64_t below) {
    *seed += 0x9E3779B97F4A7C15u;
    uint64_t z = *seed;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (z ^ z >> 31) % below;
}

static void keep(struct document *d, size_t from, size_t value, size_t end, size_t box) {
    if (d->n < MAX_ITEMS)
        d->items[d->n++] = (struct item){from, value, end, box};
}

/* ---- JSON: each reader returns the offset behind, 0: it is none --------------------------------
 */

static size_t blank(const struct document *d, size_t at) {
    while (at < d->size && strchr(" \t\r\n", d->data[at]) != NULL && d->data[at] != 0)
        at++;
    return at;
}

static size_t json_string(const struct document *d, size_t at) {
    if (at >= d->size || d->data[at] != '"')
        return 0;
    for (at++; at < d->size && d->data[at] != '"'; at++)
        at += d->data[at] == '\\';
    return at < d->size ? at + 1 : 0;
}

static size_t json_value(struct document *d, size_t at, unsigned depth);

static size_t json_box(struct document *d, size_t box, unsigned depth) {
    bool object = d->data[box] == '{';
    uint8_t close = object ? '}' : ']';
    size_t at = blank(d, box + 1);
    if (at < d->size && d->data[at] == close)
        return at + 1;
    for (;;) {
        size_t from = blank(d, at), value = from;
        if (object) {
            if ((at = json_string(d, from)) == 0 || (at = blank(d, at)) >= d->size ||
                d->data[at] != ':')
                return 0;
            value = blank(d, at + 1);
        }
        if ((at = json_value(d, value, depth + 1)) == 0)
            return 0;
        keep(d, from, value, at, box);
        if ((at = blank(d, at)) >= d->size || (d->data[at] != ',' && d->data[at] != close))
            return 0;
        if (d->data[at++] == close)
            return at;
    }
}

static size_t json_value(struct document *d, size_t at, unsigned depth) {
    if (at >= d->size || depth > MAX_DEPTH)
        return 0;
    if (d->data[at] == '"')
        return json_string(d, at);
    if (d->data[at] == '{' || d->data[at] == '[')
        return json_box(d, at, depth);
    size_t from = at;
    while (at < d->size && d->data[at] > ' ' && strchr(",]}:{[\"", d->data[at]) == NULL)
        at++;
    return at > from ? at : 0;
}

/* ---- MessagePack -------------------------------------------------------------------------------
 */

static uint64_t big_endian(const struct document *d, size_t at, unsigned bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | (at + i < d->size ? d->data[at + i] : 0xFF);
    return v;
}

/* Bytes of a head, its payload's, and entries; false: no such head. */
static bool packed_head(const struct document *d, size_t at, size_t *head, uint64_t *payload,
                        uint64_t *entries, bool *map) {
    static const uint8_t fixed[] = {0xCC, 1, 0xCD, 2, 0xCE, 4, 0xCF, 8, 0xD0, 1, 0xD1, 2, 0xD2, 4,
                                    0xD3, 8, 0xCA, 4, 0xCB, 8, 0xD4, 2, 0xD5, 3, 0xD6, 5, 0xD7, 9};
    uint8_t c = d->data[at];
    *head = 1;
    *payload = *entries = 0;
    *map = (c & 0xF0) == 0x80 || c == 0xDE || c == 0xDF;
    if (c < 0x80 || c >= 0xE0 || c == 0xC0 || c == 0xC2 || c == 0xC3)
        return true;
    if (c < 0xA0) {
        *entries = c & 15;
    } else if (c < 0xC0) {
        *payload = c & 31;
    } else if (c >= 0xDC) {
        *head = c % 2 == 0 ? 3 : 5;
        *entries = big_endian(d, at + 1, (unsigned)*head - 1);
    } else if ((c >= 0xC4 && c <= 0xC6) || (c >= 0xD9 && c <= 0xDB)) {
        unsigned bytes = 1u << (c < 0xD0 ? c - 0xC4 : c - 0xD9);
        *head = 1 + bytes;
        *payload = big_endian(d, at + 1, bytes);
    } else {
        for (size_t i = 0; i < sizeof(fixed); i += 2)
            if (fixed[i] == c)
                *payload = fixed[i + 1];
        return *payload > 0;
    }
    return true;
}

static size_t packed_value(struct document *d, size_t at, unsigned depth) {
    size_t head, box = at;
    uint64_t payload, entries;
    bool map;
    if (at >= d->size || depth > MAX_DEPTH ||
        !packed_head(d, at, &head, &payload, &entries, &map) || d->size - at < head ||
        payload > d->size - at - head || entries > d->size)
        return 0;
    at += head + (size_t)payload;
    for (uint64_t i = 0; i < entries; i++) {
        size_t from = at, value = map ? packed_value(d, at, depth + 1) : at;
        if ((map && value == 0) || (at = packed_value(d, value, depth + 1)) == 0)
            return 0;
        keep(d, from, value, at, box);
    }
    return at;
}

/* ---- changes -----------------------------------------------------------------------------------
 */

/* The input that is changed in place. */
struct bytes {
    uint8_t *data;
    size_t size, room;
};

/* Puts n bytes in the place of [from, end). */
static bool splice(struct bytes *b, size_t from, size_t end, const void *text, size_t n) {
    if (b->size - (end - from) + n > b->room)
        return false;
    memmove(b->data + from + n, b->data + end, b->size - end);
    if (n > 0)
        memcpy(b->data + from, text, n);
    b->size = b->size - (end - from) + n;
    return true;
}

/* A container of MessagePack has one entry more. */
static bool count_up(struct bytes *b, size_t box) {
    uint8_t c = b->data[box];
    size_t last = c < 0xA0 ? box : c % 2 == 0 ? box + 2 : box + 4;
    if ((c < 0xA0 ? c & 15u : b->data[last]) == (c < 0xA0 ? 15u : 255u))
        return false;
    b->data[last]++;
    return true;
}

/* Inserts an item behind another. */
static bool add(struct bytes *b, bool packed, const struct item *behind, const uint8_t *text,
                size_t n) {
    if (b->room - b->size < n + 1 || (packed && !count_up(b, behind->box)))
        return false;
    return (packed || splice(b, behind->end, behind->end, ",", 1)) &&
           splice(b, behind->end + !packed, behind->end + !packed, text, n);
}

struct text {
    const char *bytes;
    size_t n;
};
#define TEXT(s)                                                                                    \
    { s, sizeof(s) - 1 }

static struct text plain(bool packed, uint64_t *seed) {
    static const struct text json[] = {TEXT("null"),
                                       TEXT("true"),
                                       TEXT("0"),
                                       TEXT("-0"),
                                       TEXT("-1"),
                                       TEXT("1.5"),
                                       TEXT("1e400"),
                                       TEXT("4294967296"),
                                       TEXT("9223372036854775808"),
                                       TEXT("18446744073709551615"),
                                       TEXT("18446744073709551616"),
                                       TEXT("\"\""),
                                       TEXT("\"\\u0000\""),
                                       TEXT("\"\\ud83d\\ude00\""),
                                       TEXT("\"1\""),
                                       TEXT("{}"),
                                       TEXT("[]"),
                                       TEXT("[null]"),
                                       TEXT("[{}]"),
                                       TEXT("[1,1]"),
                                       TEXT("{\"a\":1,\"a\":2}")};
    static const struct text mp[] = {TEXT("\xC0"),
                                     TEXT("\xC3"),
                                     TEXT("\0"),
                                     TEXT("\xFF"),
                                     TEXT("\xCE\xFF\xFF\xFF\xFF"),
                                     TEXT("\xCF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
                                     TEXT("\xD3\x80\0\0\0\0\0\0\0"),
                                     TEXT("\xCB\x7F\xF8\0\0\0\0\0\0"),
                                     TEXT("\xCB\x3F\xF8\0\0\0\0\0\0"),
                                     TEXT("\xCA\x3F\x80\0\0"),
                                     TEXT("\xA0"),
                                     TEXT("\xA1\0"),
                                     TEXT("\xA1\xFF"),
                                     TEXT("\xC4\0"),
                                     TEXT("\xC4\4\1\2\3\4"),
                                     TEXT("\x80"),
                                     TEXT("\x90"),
                                     TEXT("\x91\xC0"),
                                     TEXT("\x93\1\2\3"),
                                     TEXT("\x81\1\2"),
                                     TEXT("\x82\xA1"
                                          "a\1\xA1"
                                          "a\2"),
                                     TEXT("\xD4\1\2"),
                                     TEXT("\xCC\1"),
                                     TEXT("\xD9\1a")};
    return packed ? mp[draw(seed, sizeof(mp) / sizeof(mp[0]))]
                  : json[draw(seed, sizeof(json) / sizeof(json[0]))];
}

/* One letter of a string, at [from, end) with its quotes, as an escape. */
static bool escape(struct bytes *b, size_t from, size_t end, uint64_t *seed) {
    char text[8];
    if (end - from < 3 || memchr(b->data + from, '\\', end - from) != NULL)
        return false;
    size_t at = from + 1 + draw(seed, end - from - 2);
    if (b->data[at] >= 0x80)
        return false;
    snprintf(text, sizeof(text), "\\u%04x", b->data[at]);
    return splice(b, at, at + 1, text, 6);
}

/* Two items that do not hold each other. */
static bool swap(struct bytes *b, struct item x, struct item y) {
    uint8_t first[MAX_PIECE], second[MAX_PIECE];
    if (x.from > y.from) {
        struct item t = x;
        x = y;
        y = t;
    }
    size_t n = x.end - x.from, m = y.end - y.from;
    if (x.end > y.from || n > MAX_PIECE || m > MAX_PIECE)
        return false;
    memcpy(first, b->data + x.from, n);
    memcpy(second, b->data + y.from, m);
    return splice(b, y.from, y.end, first, n) && splice(b, x.from, x.end, second, m);
}

/* The item with a plain value behind itself, or behind another of its kind. */
static bool add_copy(struct bytes *b, bool packed, struct item it, struct item behind, bool whole,
                     uint64_t *seed) {
    uint8_t piece[MAX_PIECE];
    struct text t = plain(packed, seed);
    size_t n = (whole ? it.end : it.value) - it.from;
    if (n + t.n > MAX_PIECE)
        return false;
    memcpy(piece, b->data + it.from, n);
    if (!whole)
        memcpy(piece + n, t.bytes, t.n);
    return add(b, packed, &behind, piece, n + (whole ? 0 : t.n));
}

static bool change(struct bytes *b, const struct document *d, uint64_t *seed) {
    struct item x = d->items[draw(seed, d->n)], y = d->items[draw(seed, d->n)];
    bool alike = (x.from == x.value) == (y.from == y.value);
    struct text t;
    switch (draw(seed, 8)) {
    case 0:
    case 1:
        return add_copy(b, d->packed, x, x, true, seed);
    case 2:
        return add_copy(b, d->packed, x, x, false, seed);
    case 3:
        return alike && add_copy(b, d->packed, x, y, draw(seed, 2) == 0, seed);
    case 4:
        return alike && swap(b, x, y); /* in one container: another order */
    case 5:
        x.from = x.value;
        y.from = y.value;
        return swap(b, x, y);
    case 6:
        if (!d->packed && x.from < x.value)
            return escape(b, x.from, json_string(d, x.from), seed);
        return !d->packed && d->data[x.value] == '"' && escape(b, x.value, x.end, seed);
    default:
        t = plain(d->packed, seed);
        return splice(b, x.value, x.end, t.bytes, t.n);
    }
}

/* The document that begins there and has items. */
static bool read_at(struct document *d, size_t at, bool packed) {
    d->packed = packed;
    d->n = 0;
    if (packed) {
        size_t end = packed_value(d, at, 0);
        return end > 0 && d->n > 0 && end + 2 >= d->size;
    }
    return json_value(d, at, 0) > 0 && d->n > 0;
}

/* Drivers put a few bytes of their own, or lines, before the document. */
static bool find(struct document *d) {
    static const uint8_t heads[] = {0, 1, 2, 14, 25};
    size_t starts = 0;
    for (size_t i = 0; i < sizeof(heads); i++)
        if (heads[i] < d->size && d->data[heads[i]] >= 0x81 && read_at(d, heads[i], true))
            return true;
    for (size_t at = 0; at < d->size && starts < MAX_STARTS; at++)
        if (d->data[at] == '{' || d->data[at] == '[') {
            starts++;
            if (read_at(d, at, false))
                return true;
        }
    return false;
}

size_t mutate_structure(uint8_t *data, size_t size, size_t room, unsigned seed) {
    struct bytes b = {data, size, room};
    uint64_t state = seed, times = 1 + draw(&state, 3);
    bool changed = false;
    if (size > room)
        return 0;
    for (uint64_t i = 0; i < times; i++) {
        struct document d = {.data = b.data, .size = b.size};
        if (!find(&d))
            break;
        changed |= change(&b, &d, &state);
    }
    return changed ? b.size : 0;
}
