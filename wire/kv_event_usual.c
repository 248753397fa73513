/*
 * Events in the form that all workers send, read by comparing what stands between their values.
 * Most are of one block, a few hundred bytes of names around three numbers, and a busy router reads
 * tens of thousands of them a second.
 */
#include "wire/kv_event_priv.h"

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

static inline bool pass(struct walk *w, const char *literal, size_t n) {
    if ((size_t)(w->end - w->at) < n || !same(w->at, literal, n))
        return false;
    w->at += n;
    return true;
}
#define PASS(w, literal) pass(w, literal, sizeof(literal) - 1)

/* n bytes, most significant first; compilers make one load and one swap of each width. */
static inline uint64_t load(const unsigned char *p, unsigned n) {
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static inline bool number(struct walk *w, uint64_t *ret) {
    size_t left = (size_t)(w->end - w->at);
    if (left >= 9 && w->at[0] == 0xcf) {
        *ret = load(w->at + 1, 8);
        w->at += 9;
    } else if (left >= 1 && w->at[0] <= 0x7f) {
        *ret = *w->at++;
    } else if (left >= 5 && w->at[0] == 0xce) {
        *ret = load(w->at + 1, 4);
        w->at += 5;
    } else if (left >= 3 && w->at[0] == 0xcd) {
        *ret = load(w->at + 1, 2);
        w->at += 3;
    } else if (left >= 2 && w->at[0] == 0xcc) {
        *ret = w->at[1];
        w->at += 2;
    } else {
        return false;
    }
    return true;
}

static inline bool number_or_nil(struct walk *w, bool *ret_set, uint64_t *ret) {
    *ret_set = !PASS(w, "\xc0");
    return !*ret_set || number(w, ret);
}

/* Number of elements, of at least `least` bytes each, that follow. */
static inline bool count(struct walk *w, size_t least, size_t *ret) {
    size_t left = (size_t)(w->end - w->at), head;
    if (left >= 1 && (w->at[0] & 0xf0) == 0x90) {
        *ret = w->at[0] & 15;
        head = 1;
    } else if (left >= 3 && w->at[0] == 0xdc) {
        *ret = (size_t)load(w->at + 1, 2);
        head = 3;
    } else if (left >= 5 && w->at[0] == 0xdd) {
        *ret = (size_t)load(w->at + 1, 4);
        head = 5;
    } else {
        return false;
    }
    w->at += head;
    return *ret <= (left - head) / least;
}

/* ---- envelope ----------------------------------------------------------------------------- */

bool weir_envelope_usual(struct weir_span bytes, struct weir_envelope *ret_env) {
    const unsigned char *p = (const unsigned char *)bytes.data;
    struct walk w = {p, p + bytes.len};
    struct weir_envelope env;
    if (!PASS(&w, "\x85\xacpublisher_id") || !number(&w, &env.publisher_id) ||
        !PASS(&w, "\xa8sequence") || !number(&w, &env.sequence) || !PASS(&w, "\xacpublished_at") ||
        !number(&w, &env.published_at_ms) || !PASS(&w, "\xa5topic"))
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
    size_t left = (size_t)(w.end - w.at);
    unsigned width = left > 0 && w.at[0] >= 0xc4 && w.at[0] <= 0xc6 ? 1u << (w.at[0] - 0xc4) : 0;
    if (width == 0 || left < 1 + width || load(w.at + 1, width) != left - 1 - width)
        return false;
    env.payload = weir_span((const char *)w.at + 1 + width, left - 1 - width);
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
    *ret = (struct weir_kv_block){load(p + AT_1, 8), load(p + AT_2, 8)};
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

static inline bool stored(struct walk *w, struct weir_arena *arena, struct weir_kv_event *e) {
    uint64_t start = 0;
    if (!PASS(w, "\x83\xabparent_hash") || !number_or_nil(w, &e->has_parent, &e->parent_hash) ||
        !PASS(w, "\xaestart_position") || !number_or_nil(w, &e->has_start_position, &start) ||
        start > UINT32_MAX ||
        !PASS(w, "\xa6"
                 "blocks"))
        return false;
    e->start_position = (uint32_t)start;
    return blocks(w, arena, e);
}

static inline bool removed(struct walk *w, struct weir_arena *arena, struct weir_kv_event *e) {
    size_t n;
    if (!PASS(w, "\x81\xac"
                 "block_hashes") ||
        !count(w, HASH_BYTES, &n))
        return false;
    uint64_t *all = weir_arena_alloc(arena, (n + 1) * sizeof(*all));
    if (all == NULL)
        return false;
    for (size_t i = 0; i < n; i++, w->at += HASH_BYTES) {
        if (w->at[0] != 0xcf)
            return false;
        all[i] = load(w->at + 1, 8);
    }
    e->removed = all;
    e->n_removed = n;
    return true;
}

bool weir_kv_event_usual(struct weir_mp *m, struct weir_arena *arena, struct weir_kv_event *ret) {
    struct walk w = {m->buf + m->pos, m->buf + m->len};
    struct weir_kv_event e = {.tier = WEIR_TIER_DEVICE};
    uint64_t rank;
    if (m->failed || !PASS(&w, "\x84\xa9worker_id") || !number(&w, &e.worker_id) ||
        !PASS(&w, "\xacstorage_tier\xa6"
                  "device\xb0residency_domain\xa6worker\xa5"
                  "event\x83"
                  "\xa8"
                  "event_id") ||
        !number(&w, &e.event_id) ||
        !PASS(&w, "\xa4"
                  "data\x81"))
        return false;
    if (PASS(&w, "\xa6stored")) {
        e.kind = WEIR_KV_STORED;
        if (!stored(&w, arena, &e))
            return false;
    } else {
        e.kind = WEIR_KV_REMOVED;
        if (!PASS(&w, "\xa7removed") || !removed(&w, arena, &e))
            return false;
    }
    if (!PASS(&w, "\xa7"
                  "dp_rank") ||
        !number(&w, &rank) || rank > UINT32_MAX)
        return false;
    e.dp_rank = (uint32_t)rank;
    m->pos = (size_t)(w.at - m->buf);
    *ret = e;
    return true;
}
