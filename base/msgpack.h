/*
 * MessagePack: a pull reader over bytes in memory and a writer. Pure.
 * Reading never recurses beyond WEIR_MP_MAX_DEPTH and never trusts a length beyond the input.
 */
#ifndef WEIR_BASE_MSGPACK_H
#define WEIR_BASE_MSGPACK_H

#include "base/buf.h"
#include "base/member.h"
#include "base/span.h"

enum { WEIR_MP_MAX_DEPTH = 64 };

enum weir_mp_type {
    WEIR_MP_ERROR,
    WEIR_MP_NIL,
    WEIR_MP_BOOL,
    WEIR_MP_UINT,  /* value >= 0 */
    WEIR_MP_INT,   /* value < 0 */
    WEIR_MP_FLOAT, /* 32 or 64 bit */
    WEIR_MP_STR,
    WEIR_MP_BIN,
    WEIR_MP_ARRAY,
    WEIR_MP_MAP,
    WEIR_MP_EXT,
};

struct weir_mp {
    const unsigned char *buf; /* borrowed */
    size_t len, pos;
    bool failed; /* sticky: all later reads return false */
};

void weir_mp_init(struct weir_mp *m, struct weir_span bytes);
extern const unsigned char weir_mp_kinds[256]; /* enum weir_mp_type by the first byte */
static inline enum weir_mp_type weir_mp_peek(const struct weir_mp *m) {
    if (m->failed || m->pos >= m->len)
        return WEIR_MP_ERROR;
    return (enum weir_mp_type)weir_mp_kinds[m->buf[m->pos]];
}
bool weir_mp_nil(struct weir_mp *m);
bool weir_mp_bool(struct weir_mp *m, bool *ret_value);
/* Integers of any width; u64 refuses negatives, i64 refuses above INT64_MAX. */
bool weir_mp_u64(struct weir_mp *m, uint64_t *ret_value);
bool weir_mp_i64(struct weir_mp *m, int64_t *ret_value);
/* Any integer, negative ones bit-reinterpreted (engine block hashes). */
bool weir_mp_bits64(struct weir_mp *m, uint64_t *ret_value);
/* The next n values, which have to be integers of 0 to UINT32_MAX, into ret_values: token ids. */
bool weir_mp_u32s(struct weir_mp *m, size_t n, uint32_t *ret_values);
/* Floats and integers. */
bool weir_mp_f64(struct weir_mp *m, double *ret_value);
bool weir_mp_long_str(struct weir_mp *m, struct weir_span *ret_str);
static inline bool weir_mp_str(struct weir_mp *m, struct weir_span *ret_str) {
    /* Keys and words: up to 31 bytes. */
    size_t left = m->len - m->pos;
    if (!m->failed && left > 0 && (m->buf[m->pos] & 0xe0) == 0xa0) {
        size_t n = m->buf[m->pos] & 31;
        if (n < left) {
            *ret_str = (struct weir_span){(const char *)m->buf + m->pos + 1, n};
            m->pos += 1 + n;
            return true;
        }
    }
    return weir_mp_long_str(m, ret_str);
}
bool weir_mp_bin(struct weir_mp *m, struct weir_span *ret_bytes);
/* Number of elements / pairs; a count that cannot fit in the rest of the input is refused. */
bool weir_mp_array(struct weir_mp *m, uint32_t *ret_count);
bool weir_mp_map(struct weir_mp *m, uint32_t *ret_pairs);
/* Passes over any one value (nested WEIR_MP_MAX_DEPTH deep at most); *ret_raw (may be NULL) becomes
 * its bytes. */
bool weir_mp_skip(struct weir_mp *m, struct weir_span *ret_raw);
bool weir_mp_fail(struct weir_mp *m);
/* The name of the next member of a map; and whether it is this one, asked in the same order for
 * each member: the reading fails when a name stands there twice. */
static inline bool weir_mp_member(struct weir_mp *m, struct weir_members *members,
                                  struct weir_span *ret_key) {
    weir_members_next(members);
    return weir_mp_str(m, ret_key);
}
static inline bool weir_mp_is(struct weir_mp *m, struct weir_members *members, struct weir_span key,
                              const char *name) {
    bool found = weir_member_is(members, key, name);
    if (members->twice)
        weir_mp_fail(m);
    return found;
}

/* Writer: the first failure sticks in `status`. Integers take their shortest form. */
struct weir_mpw {
    struct weir_buf *buf; /* borrowed */
    enum weir_status status;
};
void weir_mpw_init(struct weir_mpw *w, struct weir_buf *buf);
void weir_mpw_nil(struct weir_mpw *w);
void weir_mpw_bool(struct weir_mpw *w, bool value);
void weir_mpw_u64(struct weir_mpw *w, uint64_t value);
void weir_mpw_i64(struct weir_mpw *w, int64_t value);
void weir_mpw_f64(struct weir_mpw *w, double value);
void weir_mpw_str(struct weir_mpw *w, struct weir_span text);
static inline void weir_mpw_str_z(struct weir_mpw *w, const char *text) {
    weir_mpw_str(w, weir_span_z(text));
}
void weir_mpw_bin(struct weir_mpw *w, struct weir_span bytes);
void weir_mpw_array(struct weir_mpw *w, uint32_t count);
void weir_mpw_map(struct weir_mpw *w, uint32_t pairs);
void weir_mpw_raw(struct weir_mpw *w, struct weir_span msgpack);
/* One JSON value as MessagePack (objects as maps, numbers as integers where they are integers).
 * WEIR_INVALID for text that is not JSON or is nested deeper than 64. */
enum weir_status weir_mp_from_json(struct weir_span json, struct weir_buf *out) WEIR_MUST_CHECK;
/* One MessagePack value as JSON text; bin becomes an array of integers; ext is refused. */
enum weir_status weir_mp_to_json(struct weir_span msgpack, struct weir_buf *out) WEIR_MUST_CHECK;

#endif
