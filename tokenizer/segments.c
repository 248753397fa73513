/*
 * The segment cache. A conversation repeats all its earlier messages in each turn, and between two
 * added tokens a text always gives the same ids; so each message is encoded once.
 *
 * Shards, each with a lock, a hash table and a ring in order of entry. Eviction is CLOCK: an entry
 * that was used since the hand last passed gets another round. The whole text is kept and compared,
 * so no collision can give wrong ids. Lock order: one shard at a time.
 */
#define XXH_INLINE_ALL
#include "tokenizer/segments_priv.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdatomic.h>
#include <xxhash.h>

enum { SHARDS = 16, BUCKETS_MIN = 64, PER_ENTRY = 512 };

struct entry {
    struct weir_list ring;
    struct entry *next; /* in its bucket */
    uint64_t hash;
    uint32_t n_ids;
    uint32_t kind;
    size_t text_len;
    bool used;
    uint32_t ids[]; /* then the text */
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets; /* owned; entries are owned by the ring */
    size_t mask;
    struct weir_list ring;
    size_t bytes, max;
    uint64_t hits, misses, evictions;
    char pad[64]; /* shards do not share a cache line */
};

struct wtok_segments {
    uint64_t seed;
    struct shard shards[SHARDS];
};

enum weir_status wtok_segments_create(size_t max_bytes, struct wtok_segments **ret_segments) {
    struct wtok_segments *s = weir_calloc(1, sizeof(*s));
    struct weir_rng rng;
    size_t buckets = BUCKETS_MIN;
    if (s == NULL)
        return WEIR_NOMEM;
    weir_rng_seed_os(&rng);
    s->seed = weir_rng_u64(&rng);
    while (buckets * PER_ENTRY < max_bytes / SHARDS)
        buckets *= 2;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *d = &s->shards[i];
        pthread_mutex_init(&d->lock, NULL);
        weir_list_init(&d->ring);
        d->max = max_bytes / SHARDS;
        d->mask = buckets - 1;
        d->buckets = weir_calloc(buckets, sizeof(struct entry *));
        if (d->buckets == NULL) {
            wtok_segments_destroy(s);
            return WEIR_NOMEM;
        }
    }
    *ret_segments = s;
    return WEIR_OK;
}

void wtok_segments_destroy(struct wtok_segments *s) {
    if (s == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *d = &s->shards[i];
        if (d->buckets != NULL)
            WEIR_LIST_FOREACH(it, &d->ring)
        weir_free(WEIR_CONTAINER_OF(it, struct entry, ring));
        if (d->mask != 0)
            pthread_mutex_destroy(&d->lock);
        weir_free(d->buckets);
    }
    weir_free(s);
}

static const char *entry_text(const struct entry *e) {
    return (const char *)(e->ids + e->n_ids);
}

static size_t entry_bytes(size_t text_len, size_t n_ids) {
    return sizeof(struct entry) + n_ids * sizeof(uint32_t) + text_len;
}

static struct shard *shard_of(struct wtok_segments *s, uint64_t hash) {
    return &s->shards[hash >> 60];
}

static struct entry *find(struct shard *d, struct weir_span text, unsigned kind, uint64_t hash) {
    struct entry *e = d->buckets[hash & d->mask];
    while (e != NULL && (e->hash != hash || e->kind != kind || e->text_len != text.len ||
                         memcmp(entry_text(e), text.data, text.len) != 0))
        e = e->next;
    return e;
}

uint64_t wtok_text_hash(struct weir_span text, uint64_t seed) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return wtok_text_hash_avx2(text, seed);
#endif
    return XXH3_64bits_withSeed(text.data, text.len, seed);
}

enum weir_status wtok_segments_get(struct wtok_segments *s, struct weir_span text, unsigned kind,
                                   struct wtok_out *out, uint64_t *ret_hash) {
    uint64_t hash = wtok_text_hash(text, s->seed + kind);
    struct shard *d = shard_of(s, hash);
    enum weir_status st = WEIR_NOT_FOUND;
    *ret_hash = hash;
    pthread_mutex_lock(&d->lock);
    struct entry *e = find(d, text, kind, hash);
    d->hits += e != NULL;
    d->misses += e == NULL;
    if (e != NULL && e->n_ids > out->room - out->n) {
        st = WEIR_TOO_LARGE;
    } else if (e != NULL) {
        memcpy(out->ids + out->n, e->ids, e->n_ids * sizeof(e->ids[0]));
        out->n += e->n_ids;
        e->used = true;
        st = WEIR_OK;
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}

static void unlink_entry(struct shard *d, struct entry *e) {
    struct entry **at = &d->buckets[e->hash & d->mask];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    weir_list_remove(&e->ring);
    d->bytes -= entry_bytes(e->text_len, e->n_ids);
    weir_free(e);
}

static void make_room(struct shard *d, size_t bytes) {
    while (d->bytes + bytes > d->max) {
        struct entry *e = WEIR_CONTAINER_OF(d->ring.next, struct entry, ring);
        if (e->used) {
            e->used = false;
            weir_list_remove(&e->ring);
            weir_list_push_back(&d->ring, &e->ring);
        } else {
            unlink_entry(d, e);
            d->evictions++;
        }
    }
}

void wtok_segments_put(struct wtok_segments *s, struct weir_span text, unsigned kind, uint64_t hash,
                       const uint32_t *ids, size_t n) {
    struct shard *d = shard_of(s, hash);
    size_t bytes = entry_bytes(text.len, n);
    if (bytes > d->max / 2 || n > UINT32_MAX)
        return;
    struct entry *e = weir_malloc(bytes);
    if (e == NULL)
        return;
    *e = (struct entry){.hash = hash, .n_ids = (uint32_t)n, .kind = kind, .text_len = text.len};
    memcpy(e->ids, ids, n * sizeof(*ids));
    memcpy((char *)(e->ids + n), text.data, text.len);
    weir_list_init(&e->ring);
    pthread_mutex_lock(&d->lock);
    if (find(d, text, kind, hash) == NULL) { /* else another thread was faster */
        make_room(d, bytes);
        e->next = d->buckets[hash & d->mask];
        d->buckets[hash & d->mask] = e;
        weir_list_push_back(&d->ring, &e->ring);
        d->bytes += bytes;
        e = NULL;
    }
    pthread_mutex_unlock(&d->lock);
    weir_free(e);
}

void wtok_segments_stats(struct wtok_segments *s, struct wtok_stats *ret_stats) {
    struct wtok_stats sum = {0};
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *d = &s->shards[i];
        pthread_mutex_lock(&d->lock);
        sum.segment_hits += d->hits;
        sum.segment_misses += d->misses;
        sum.segment_evictions += d->evictions;
        sum.segment_bytes += d->bytes;
        pthread_mutex_unlock(&d->lock);
    }
    *ret_stats = sum;
}
