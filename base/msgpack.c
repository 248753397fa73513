/* Source of the format: the MessagePack specification. */
#include "base/msgpack.h"

#include "base/big_endian.h"

#include <string.h>

void weir_mp_init(struct weir_mp *m, struct weir_span bytes) {
    *m = (struct weir_mp){.buf = (const unsigned char *)bytes.data, .len = bytes.len};
}

bool weir_mp_fail(struct weir_mp *m) {
    m->failed = true;
    return false;
}

#define FOUR(x) x, x, x, x
#define SIXTEEN(x) FOUR(x), FOUR(x), FOUR(x), FOUR(x)
const unsigned char weir_mp_kinds[256] = {
    SIXTEEN(WEIR_MP_UINT), SIXTEEN(WEIR_MP_UINT), SIXTEEN(WEIR_MP_UINT), SIXTEEN(WEIR_MP_UINT),
    SIXTEEN(WEIR_MP_UINT), SIXTEEN(WEIR_MP_UINT), SIXTEEN(WEIR_MP_UINT), SIXTEEN(WEIR_MP_UINT),
    SIXTEEN(WEIR_MP_MAP), SIXTEEN(WEIR_MP_ARRAY), SIXTEEN(WEIR_MP_STR), SIXTEEN(WEIR_MP_STR),
    /* 0xc0 to 0xdf */
    WEIR_MP_NIL, WEIR_MP_ERROR, WEIR_MP_BOOL, WEIR_MP_BOOL, WEIR_MP_BIN, WEIR_MP_BIN, WEIR_MP_BIN,
    WEIR_MP_EXT, WEIR_MP_EXT, WEIR_MP_EXT, WEIR_MP_FLOAT, WEIR_MP_FLOAT, FOUR(WEIR_MP_UINT),
    FOUR(WEIR_MP_INT), FOUR(WEIR_MP_EXT), WEIR_MP_EXT, WEIR_MP_STR, WEIR_MP_STR, WEIR_MP_STR,
    WEIR_MP_ARRAY, WEIR_MP_ARRAY, WEIR_MP_MAP, WEIR_MP_MAP, SIXTEEN(WEIR_MP_INT),
    SIXTEEN(WEIR_MP_INT)};

static uint64_t load_be(const unsigned char *p, unsigned n) {
    switch (n) {
    case 1:
        return p[0];
    case 2:
        return weir_be16(p);
    case 4:
        return weir_be32(p);
    default:
        return weir_be64(p);
    }
}

/* n (1, 2, 4 or 8) big-endian bytes behind the type byte at pos. */
static inline bool be(struct weir_mp *m, unsigned n, uint64_t *ret_value) {
    if (m->len - m->pos < 1 + (size_t)n)
        return weir_mp_fail(m);
    *ret_value = load_be(m->buf + m->pos + 1, n);
    m->pos += 1 + n;
    return true;
}

bool weir_mp_nil(struct weir_mp *m) {
    if (weir_mp_peek(m) != WEIR_MP_NIL)
        return weir_mp_fail(m);
    m->pos++;
    return true;
}

bool weir_mp_bool(struct weir_mp *m, bool *ret_value) {
    if (weir_mp_peek(m) != WEIR_MP_BOOL)
        return weir_mp_fail(m);
    *ret_value = m->buf[m->pos++] == 0xc3;
    return true;
}

/* Any integer as 64 bits and whether they are to be read as signed. */
static bool integer(struct weir_mp *m, uint64_t *ret_bits, bool *ret_negative) {
    enum weir_mp_type type = weir_mp_peek(m);
    if (type != WEIR_MP_UINT && type != WEIR_MP_INT)
        return weir_mp_fail(m);
    unsigned char c = m->buf[m->pos];
    if (c <= 0x7f || c >= 0xe0) {
        m->pos++;
        *ret_bits = (uint64_t)(int64_t)(signed char)c;
        *ret_negative = c >= 0xe0;
        return true;
    }
    unsigned bytes = 1u << (c & 3);
    uint64_t v = 0;
    if (!be(m, bytes, &v))
        return false;
    bool is_signed = c >= 0xd0;
    unsigned shift = 64 - 8 * bytes;
    if (is_signed)
        v = (uint64_t)((int64_t)(v << shift) >> shift);
    *ret_bits = v;
    *ret_negative = is_signed && (int64_t)v < 0;
    return true;
}

bool weir_mp_u64(struct weir_mp *m, uint64_t *ret_value) {
    uint64_t v = 0;
    bool negative = false;
    /* Token ids: small or unsigned forms, nearly always. */
    if (!m->failed && m->pos < m->len) {
        unsigned char c = m->buf[m->pos];
        if (c <= 0x7f) {
            m->pos++;
            *ret_value = c;
            return true;
        }
        if ((c & 0xfc) == 0xcc)
            return be(m, 1u << (c & 3), ret_value);
    }
    if (!integer(m, &v, &negative) || negative)
        return weir_mp_fail(m);
    *ret_value = v;
    return true;
}

/* A list of token ids is the bulk of a KV event: its common forms are read in place. */
bool weir_mp_u32s(struct weir_mp *m, size_t n, uint32_t *ret_values) {
    const unsigned char *p = m->buf + m->pos, *end = m->buf + m->len;
    for (size_t i = 0; i < n; i++) {
        if (!m->failed && end - p >= 5) {
            if (p[0] == 0xcd) {
                ret_values[i] = (uint32_t)p[1] << 8 | p[2];
                p += 3;
                continue;
            }
            if (p[0] == 0xce) {
                ret_values[i] = (uint32_t)load_be(p + 1, 4);
                p += 5;
                continue;
            }
            if (p[0] <= 0x7f) {
                ret_values[i] = *p++;
                continue;
            }
        }
        uint64_t v;
        m->pos = (size_t)(p - m->buf);
        if (!weir_mp_u64(m, &v) || v > UINT32_MAX)
            return weir_mp_fail(m);
        ret_values[i] = (uint32_t)v;
        p = m->buf + m->pos;
    }
    m->pos = (size_t)(p - m->buf);
    return true;
}

bool weir_mp_i64(struct weir_mp *m, int64_t *ret_value) {
    uint64_t v = 0;
    bool negative = false;
    if (!integer(m, &v, &negative) || (!negative && v > INT64_MAX))
        return weir_mp_fail(m);
    *ret_value = (int64_t)v;
    return true;
}

bool weir_mp_bits64(struct weir_mp *m, uint64_t *ret_value) {
    uint64_t v = 0;
    bool negative = false;
    if (!integer(m, &v, &negative))
        return false;
    *ret_value = v;
    return true;
}

bool weir_mp_f64(struct weir_mp *m, double *ret_value) {
    enum weir_mp_type type = weir_mp_peek(m);
    uint64_t v = 0;
    if (type == WEIR_MP_UINT || type == WEIR_MP_INT) {
        bool negative;
        if (!integer(m, &v, &negative))
            return false;
        *ret_value = negative ? (double)(int64_t)v : (double)v;
        return true;
    }
    if (type != WEIR_MP_FLOAT)
        return weir_mp_fail(m);
    if (m->buf[m->pos] == 0xca) {
        if (!be(m, 4, &v))
            return false;
        uint32_t bits = (uint32_t)v;
        float f;
        memcpy(&f, &bits, sizeof(f));
        *ret_value = (double)f;
        return true;
    }
    if (!be(m, 8, &v))
        return false;
    memcpy(ret_value, &v, sizeof(v));
    return true;
}

static bool take(struct weir_mp *m, uint64_t n, struct weir_span *ret) {
    if (n > m->len - m->pos)
        return weir_mp_fail(m);
    *ret = weir_span((const char *)m->buf + m->pos, (size_t)n);
    m->pos += (size_t)n;
    return true;
}

bool weir_mp_long_str(struct weir_mp *m, struct weir_span *ret_str) {
    if (weir_mp_peek(m) != WEIR_MP_STR)
        return weir_mp_fail(m);
    unsigned char c = m->buf[m->pos];
    uint64_t n = c & 31;
    if (c <= 0xbf)
        m->pos++;
    else if (!be(m, 1u << (c - 0xd9), &n))
        return false;
    return take(m, n, ret_str);
}

bool weir_mp_bin(struct weir_mp *m, struct weir_span *ret_bytes) {
    if (weir_mp_peek(m) != WEIR_MP_BIN)
        return weir_mp_fail(m);
    uint64_t n = 0;
    return be(m, 1u << (m->buf[m->pos] - 0xc4), &n) && take(m, n, ret_bytes);
}

/* Each element takes at least one byte, so a count beyond the rest is a lie. */
static bool count(struct weir_mp *m, unsigned char fix, unsigned char first, unsigned per,
                  uint32_t *ret) {
    unsigned char c = m->buf[m->pos];
    uint64_t n = c & 15;
    if ((c & 0xf0) == fix)
        m->pos++;
    else if (!be(m, c == first ? 2 : 4, &n))
        return false;
    if (n * per > m->len - m->pos)
        return weir_mp_fail(m);
    *ret = (uint32_t)n;
    return true;
}

bool weir_mp_array(struct weir_mp *m, uint32_t *ret_count) {
    return weir_mp_peek(m) == WEIR_MP_ARRAY ? count(m, 0x90, 0xdc, 1, ret_count) : weir_mp_fail(m);
}

bool weir_mp_map(struct weir_mp *m, uint32_t *ret_pairs) {
    return weir_mp_peek(m) == WEIR_MP_MAP ? count(m, 0x80, 0xde, 2, ret_pairs) : weir_mp_fail(m);
}

static bool skip_ext(struct weir_mp *m) {
    unsigned char c = m->buf[m->pos];
    uint64_t n = 0;
    struct weir_span ignored;
    if (c <= 0xc9)
        return be(m, 1u << (c - 0xc7), &n) && take(m, n + 1, &ignored);
    m->pos++;
    return take(m, 1 + (1u << (c - 0xd4)), &ignored);
}

/* One value that holds no others. */
static bool skip_leaf(struct weir_mp *m, enum weir_mp_type type) {
    uint64_t ignored;
    struct weir_span bytes;
    bool negative = false;
    switch (type) {
    case WEIR_MP_UINT:
    case WEIR_MP_INT:
        return integer(m, &ignored, &negative);
    case WEIR_MP_FLOAT:
        return be(m, m->buf[m->pos] == 0xca ? 4 : 8, &ignored);
    case WEIR_MP_STR:
        return weir_mp_str(m, &bytes);
    case WEIR_MP_BIN:
        return weir_mp_bin(m, &bytes);
    case WEIR_MP_EXT:
        return skip_ext(m);
    case WEIR_MP_NIL:
    case WEIR_MP_BOOL:
        m->pos++;
        return true;
    default:
        return weir_mp_fail(m);
    }
}

bool weir_mp_skip(struct weir_mp *m, struct weir_span *ret_raw) {
    size_t start = m->pos;
    uint64_t left[WEIR_MP_MAX_DEPTH]; /* values still to pass over on each level */
    int depth = 0;
    left[0] = 1;
    while (depth >= 0) {
        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        enum weir_mp_type type = weir_mp_peek(m);
        uint32_t n = 0;
        if (type != WEIR_MP_ARRAY && type != WEIR_MP_MAP) {
            if (!skip_leaf(m, type))
                return false;
            continue;
        }
        if (!(type == WEIR_MP_ARRAY ? weir_mp_array(m, &n) : weir_mp_map(m, &n)))
            return false;
        if (depth + 1 == WEIR_MP_MAX_DEPTH)
            return weir_mp_fail(m);
        left[++depth] = type == WEIR_MP_MAP ? 2 * (uint64_t)n : n;
    }
    if (ret_raw != NULL)
        *ret_raw = weir_span((const char *)m->buf + start, m->pos - start);
    return true;
}

/* ---- writer ------------------------------------------------------------------------------- */

void weir_mpw_init(struct weir_mpw *w, struct weir_buf *buf) {
    *w = (struct weir_mpw){.buf = buf};
}

static void put(struct weir_mpw *w, const void *data, size_t len) {
    if (w->status == WEIR_OK && w->buf->cap - w->buf->len < len)
        w->status = weir_buf_reserve(w->buf, len);
    if (w->status != WEIR_OK || len == 0)
        return;
    memcpy(w->buf->data + w->buf->len, data, len);
    w->buf->len += len;
}

/* Type byte and n big-endian bytes. */
static void put_be(struct weir_mpw *w, unsigned char type, uint64_t value, unsigned n) {
    if (w->status == WEIR_OK && w->buf->cap - w->buf->len < 1 + n)
        w->status = weir_buf_reserve(w->buf, 1 + n);
    if (w->status != WEIR_OK)
        return;
    char *p = w->buf->data + w->buf->len;
    *p++ = (char)type;
    for (unsigned i = n; i-- > 0;)
        *p++ = (char)(value >> (8 * i));
    w->buf->len += 1 + n;
}

void weir_mpw_nil(struct weir_mpw *w) {
    put_be(w, 0xc0, 0, 0);
}

void weir_mpw_bool(struct weir_mpw *w, bool value) {
    put_be(w, value ? 0xc3 : 0xc2, 0, 0);
}

void weir_mpw_u64(struct weir_mpw *w, uint64_t value) {
    if (value <= 0x7f)
        put_be(w, (unsigned char)value, 0, 0);
    else if (value <= UINT8_MAX)
        put_be(w, 0xcc, value, 1);
    else if (value <= UINT16_MAX)
        put_be(w, 0xcd, value, 2);
    else if (value <= UINT32_MAX)
        put_be(w, 0xce, value, 4);
    else
        put_be(w, 0xcf, value, 8);
}

void weir_mpw_i64(struct weir_mpw *w, int64_t value) {
    if (value >= 0)
        weir_mpw_u64(w, (uint64_t)value);
    else if (value >= -32)
        put_be(w, (unsigned char)value, 0, 0);
    else if (value >= INT8_MIN)
        put_be(w, 0xd0, (uint64_t)value, 1);
    else if (value >= INT16_MIN)
        put_be(w, 0xd1, (uint64_t)value, 2);
    else if (value >= INT32_MIN)
        put_be(w, 0xd2, (uint64_t)value, 4);
    else
        put_be(w, 0xd3, (uint64_t)value, 8);
}

void weir_mpw_f64(struct weir_mpw *w, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_be(w, 0xcb, bits, 8);
}

void weir_mpw_str(struct weir_mpw *w, struct weir_span text) {
    /* Keys, mostly: head and text in one step. */
    if (text.len <= 31) {
        if (w->status == WEIR_OK && w->buf->cap - w->buf->len < 1 + text.len)
            w->status = weir_buf_reserve(w->buf, 1 + text.len);
        if (w->status != WEIR_OK)
            return;
        char *p = w->buf->data + w->buf->len;
        *p = (char)(0xa0 | text.len);
        if (text.len > 0)
            memcpy(p + 1, text.data, text.len);
        w->buf->len += 1 + text.len;
        return;
    }
    if (text.len <= UINT8_MAX)
        put_be(w, 0xd9, text.len, 1);
    else if (text.len <= UINT16_MAX)
        put_be(w, 0xda, text.len, 2);
    else
        put_be(w, 0xdb, text.len, 4);
    put(w, text.data, text.len);
}

void weir_mpw_bin(struct weir_mpw *w, struct weir_span bytes) {
    if (bytes.len <= UINT8_MAX)
        put_be(w, 0xc4, bytes.len, 1);
    else if (bytes.len <= UINT16_MAX)
        put_be(w, 0xc5, bytes.len, 2);
    else
        put_be(w, 0xc6, bytes.len, 4);
    put(w, bytes.data, bytes.len);
}

static void put_count(struct weir_mpw *w, unsigned char fix, unsigned char first, uint32_t n) {
    if (n <= 15)
        put_be(w, (unsigned char)(fix | n), 0, 0);
    else if (n <= UINT16_MAX)
        put_be(w, first, n, 2);
    else
        put_be(w, (unsigned char)(first + 1), n, 4);
}

void weir_mpw_array(struct weir_mpw *w, uint32_t n) {
    put_count(w, 0x90, 0xdc, n);
}

void weir_mpw_map(struct weir_mpw *w, uint32_t pairs) {
    put_count(w, 0x80, 0xde, pairs);
}

void weir_mpw_raw(struct weir_mpw *w, struct weir_span msgpack) {
    put(w, msgpack.data, msgpack.len);
}
