/*
 * Events in the form that all workers send, read by comparing what stands between their values.
 * Most are of one block, a few hundred bytes of names around three numbers, and a busy router reads
 * tens of thousands of them a second.
 */
#include "wire/kv_event_priv.h"

#include "base/big_endian.h"

#include <string.h>

struct walk {
    const unsigned char *at, *end;
};

static inline uint64_t word(const void *p) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Of n bytes, which is a constant: words that overlap, and no call. */
static inline bool same(const unsigned char *p, const char *literal, size_t n) {
    if (n < sizeof(uint64_t))
        return memcmp(p, literal, n) == 0;
    uint64_t differ = word(p + n - 8) ^ word(literal + n - 8);
    for (size_t i = 0; i + 8 < n; i += 8)
        differ |= word(p + i) ^ word(literal + i);
    return differ == 0;
}

/* The literal, and `more` bytes behind it, which are not looked at. */
static inline bool pass(struct walk *w, const char *literal, size_t n, size_t more) {
    if ((size_t)(w->end - w->at) < n + more || !same(w->at, literal, n))
        return false;
    w->at += n;
    return true;
}
#define PASS(w, literal) pass(w, literal, sizeof(literal) - 1, 0)
/* Where a number follows that is not the last thing: whatever its width, so many bytes are left. */
enum { NUMBER_BYTES = 9 };
#define PASS_TO_NUMBER(w, literal) pass(w, literal, sizeof(literal) - 1, NUMBER_BYTES)

/* There are NUMBER_BYTES. */
static inline bool number(struct walk *w, uint64_t *ret) {
    const unsigned char *p = w->at;
    if (p[0] == 0xcf) {
        *ret = weir_be64(p + 1);
        w->at += 9;
    } else if (p[0] <= 0x7f) {
        *ret = p[0];
        w->at += 1;
    } else if (p[0] == 0xce) {
        *ret = weir_be32(p + 1);
        w->at += 5;
    } else if (p[0] == 0xcd) {
        *ret = weir_be16(p + 1);
        w->at += 3;
    } else if (p[0] == 0xcc) {
        *ret = p[1];
        w->at += 2;
    } else {
        return false;
    }
    return true;
}

/* The last thing, which may be shorter than NUMBER_BYTES. */
static inline bool last_number(struct walk *w, uint64_t *ret) {
    size_t left = (size_t)(w->end - w->at);
    if (left > 0 && w->at[0] <= 0x7f) {
        *ret = *w->at++;
        return true;
    }
    if (left >= NUMBER_BYTES)
        return number(w, ret);
    unsigned char copy[NUMBER_BYTES] = {0};
    struct walk c = {copy, copy + left};
    memcpy(copy, w->at, left);
    if (left == 0 || !number(&c, ret) || (size_t)(c.at - copy) > left)
        return false;
    w->at += c.at - copy;
    return true;
}

/* There are NUMBER_BYTES. */
static inline bool number_or_nil(struct walk *w, bool *ret_set, uint64_t *ret) {
    *ret_set = w->at[0] != 0xc0;
    w->at += !*ret_set;
    return !*ret_set || number(w, ret);
}

/* Number of elements, of `each` bytes, that follow. */
static inline bool count(struct walk *w, size_t each, size_t *ret) {
    size_t left = (size_t)(w->end - w->at), head, n;
    if (left >= 1 && (w->at[0] & 0xf0) == 0x90) {
        n = w->at[0] & 15;
        head = 1;
    } else if (left >= 3 && w->at[0] == 0xdc) {
        n = weir_be16(w->at + 1);
        head = 3;
    } else if (left >= 5 && w->at[0] == 0xdd) {
        n = weir_be32(w->at + 1);
        head = 5;
    } else {
        return false;
    }
    w->at += head;
    *ret = n;
    return n * each <= left - head;
}

/* ---- envelope ----------------------------------------------------------------------------- */

bool weir_envelope_usual(struct weir_span bytes, struct weir_envelope *ret_env) {
    const unsigned char *p = (const unsigned char *)bytes.data;
    struct walk w = {p, p + bytes.len};
    struct weir_envelope env;
    if (!PASS_TO_NUMBER(&w, "\x85\xacpublisher_id") || !number(&w, &env.publisher_id) ||
        !PASS_TO_NUMBER(&w, "\xa8sequence") || !number(&w, &env.sequence) ||
        !PASS_TO_NUMBER(&w, "\xacpublished_at") || !number(&w, &env.published_at_ms) ||
        !PASS(&w, "\xa5topic"))
        return false;
    if (w.at == w.end || (w.at[0] & 0xe0) != 0xa0)
        return false;
    size_t n = w.at[0] & 31;
    if ((size_t)(w.end - w.at) < 1 + n)
        return false;
    env.topic = weir_span((const char *)w.at + 1, n);
    w.at += 1 + n;
    if (!PASS(&w, "\xa7payload"))
        return false;
    /* bin 8, bin 16 or bin 32, which takes the rest. */
    size_t left = (size_t)(w.end - w.at), head;
    uint64_t len;
    if (left >= 2 && w.at[0] == 0xc4) {
        head = 2;
        len = w.at[1];
    } else if (left >= 3 && w.at[0] == 0xc5) {
        head = 3;
        len = weir_be16(w.at + 1);
    } else if (left >= 5 && w.at[0] == 0xc6) {
        head = 5;
        len = weir_be32(w.at + 1);
    } else {
        return false;
    }
    if (len != left - head)
        return false;
    env.payload = weir_span((const char *)w.at + head, left - head);
    *ret_env = env;
    return true;
}

/* ---- events ------------------------------------------------------------------------------- */

#define BLOCK_1                                                                                    \
    "\x83\xaa"                                                                                     \
    "block_hash\xcf"
#define BLOCK_2                                                                                    \
    "\xab"                                                                                         \
    "tokens_hash\xcf"
#define BLOCK_3                                                                                    \
    "\xad"                                                                                         \
    "mm_extra_info\xc0"
enum {
    AT_1 = sizeof(BLOCK_1) - 1,
    AT_2 = AT_1 + 8 + sizeof(BLOCK_2) - 1,
    AT_3 = AT_2 + 8,
    BLOCK_BYTES = AT_3 + sizeof(BLOCK_3) - 1,
    HASH_BYTES = 9,
};

/* Three names in this order, hashes of 8 bytes, no multi-modal part: nearly all are so, and there
 * are thousands in an event. p has BLOCK_BYTES. */
static inline bool block(const unsigned char *p, struct weir_kv_block *ret) {
    if (!same(p, BLOCK_1, AT_1) || !same(p + AT_1 + 8, BLOCK_2, AT_2 - AT_1 - 8) ||
        !same(p + AT_3, BLOCK_3, BLOCK_BYTES - AT_3))
        return false;
    *ret = (struct weir_kv_block){weir_be64(p + AT_1), weir_be64(p + AT_2)};
    return true;
}

bool weir_kv_block_usual(struct weir_mp *m, struct weir_kv_block *ret) {
    if (m->failed || m->len - m->pos < BLOCK_BYTES || !block(m->buf + m->pos, ret))
        return false;
    m->pos += BLOCK_BYTES;
    return true;
}

static inline bool blocks(struct walk *w, struct weir_arena *arena, struct weir_kv_event *e) {
    size_t n;
    if (!count(w, BLOCK_BYTES, &n))
        return false;
    struct weir_kv_block *all = weir_arena_alloc(arena, (n + 1) * sizeof(*all));
    if (all == NULL)
        return false;
    for (size_t i = 0; i < n; i++, w->at += BLOCK_BYTES)
        if (!block(w->at, &all[i]))
            return false;
    e->blocks = all;
    e->n_blocks = n;
    return true;
}

/* Behind "parent_hash". */
static inline bool stored(struct walk *w, struct weir_arena *arena, struct weir_kv_event *e) {
    uint64_t start = 0;
    if (!number_or_nil(w, &e->has_parent, &e->parent_hash) ||
        !PASS_TO_NUMBER(w, "\xaestart_position") ||
        !number_or_nil(w, &e->has_start_position, &start) || start > UINT32_MAX ||
        !PASS(w, "\xa6"
                 "blocks"))
        return false;
    e->kind = WEIR_KV_STORED;
    e->start_position = (uint32_t)start;
    return blocks(w, arena, e);
}

/* Behind "block_hashes". */
static inline bool removed(struct walk *w, struct weir_arena *arena, struct weir_kv_event *e) {
    size_t n;
    if (!count(w, HASH_BYTES, &n))
        return false;
    uint64_t *all = weir_arena_alloc(arena, (n + 1) * sizeof(*all));
    if (all == NULL)
        return false;
    for (size_t i = 0; i < n; i++, w->at += HASH_BYTES) {
        if (w->at[0] != 0xcf)
            return false;
        all[i] = weir_be64(w->at + 1);
    }
    e->kind = WEIR_KV_REMOVED;
    e->removed = all;
    e->n_removed = n;
    return true;
}

bool weir_kv_event_usual(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *ret) {
    struct walk w = {m->buf + m->pos, m->buf + m->len};
    struct weir_kv_event e = {.tier = WEIR_TIER_DEVICE};
    uint64_t rank;
    if (m->failed || !PASS_TO_NUMBER(&w, "\x84\xa9worker_id") || !number(&w, &e.worker_id) ||
        !PASS_TO_NUMBER(&w, "\xacstorage_tier\xa6"
                            "device\xb0residency_domain\xa6worker\xa5"
                            "event\x83"
                            "\xa8"
                            "event_id") ||
        !number(&w, &e.event_id))
        return false;
    bool read = PASS_TO_NUMBER(&w, "\xa4"
                                   "data\x81\xa6stored\x83\xabparent_hash")
                    ? stored(&w, arena, &e)
                    : PASS(&w, "\xa4"
                               "data\x81\xa7removed\x81\xac"
                               "block_hashes") &&
                          removed(&w, arena, &e);
    if (!read ||
        !PASS(&w, "\xa7"
                  "dp_rank") ||
        !last_number(&w, &rank) || rank > UINT32_MAX)
        return false;
    e.dp_rank = (uint32_t)rank;
    m->pos = (size_t)(w.at - m->buf);
    *ret = e;
    return true;
}
