/*
 * The segment cache. A conversation repeats all its earlier messages in each turn, and between two
 * added tokens a text always gives the same ids; so each message is encoded once.
 *
 * Shards, each with a lock, a hash table and a log: a ring of memory with the entries in the order
 * of entry, so that nothing is ever asked of malloc, whose heaps requests come and go in. Eviction
 * is CLOCK: an entry that was used since it was written is written again in front, up to MOVES
 * times in a row. The whole text is kept and compared, so no collision can give wrong ids. Lock
 * order: one shard at a time.
 */
#define XXH_INLINE_ALL
#include "tokenizer/segments_priv.h"

#include "base/mem.h"
#include "base/rng.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    SHARDS = 16,
    BUCKETS_MIN = 64,
    PER_ENTRY = 512,
    LINE = 64,
    PAGE = 4096, /* what the processor fetches ahead within */
    MOVES = 32,
    MOVES_BYTES = 256 << 10,
    READY_BYTES = 64 << 10
};

struct entry {
    _Atomic(struct entry *) next; /* in its bucket */
    uint64_t hash;
    size_t text_len;
    uint32_t n_ids, kind;
    uint32_t used; /* since it was written */
    char text[];   /* then the ids, at a multiple of four */
};

struct shard {
    pthread_mutex_t lock;
    _Atomic(struct entry *) *buckets; /* owned; atomic only for those that fetch ahead */
    size_t mask;
    char *log;                   /* borrowed from the mapping */
    size_t max, head, tail, end; /* entries are in tail..head or, when wrapped, */
    bool wrapped;                /* in tail..end and 0..head */
    size_t ready;                /* the system has given the log up to here */
    size_t bytes;                /* of the entries */
    uint64_t hits, misses, evictions;
    char pad[64]; /* shards do not share a cache line */
};

struct wtok_segments {
    uint64_t seed;
    char *map; /* owned: the logs */
    size_t map_bytes;
    struct shard shards[SHARDS];
};

enum weir_status wtok_segments_create(size_t max_bytes, struct wtok_segments **ret_segments) {
    struct wtok_segments *s = weir_calloc(1, sizeof(*s));
    struct weir_rng rng;
    size_t buckets = BUCKETS_MIN, max = max_bytes / SHARDS / LINE * LINE;
    if (s == NULL)
        return WEIR_NOMEM;
    weir_rng_seed_os(&rng);
    s->seed = weir_rng_u64(&rng);
    while (buckets * PER_ENTRY < max)
        buckets *= 2;
    s->map_bytes = max * SHARDS + LINE;
    char *map = mmap(NULL, s->map_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    s->map = map != MAP_FAILED ? map : NULL;
    if (s->map == NULL) {
        weir_free(s);
        return WEIR_NOMEM;
    }
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *d = &s->shards[i];
        pthread_mutex_init(&d->lock, NULL);
        d->log = s->map + i * max;
        d->max = max;
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
        if (d->mask != 0)
            pthread_mutex_destroy(&d->lock);
        weir_free(d->buckets);
    }
    if (s->map != NULL)
        munmap(s->map, s->map_bytes);
    weir_free(s);
}

static size_t ids_at(size_t text_len) {
    return (offsetof(struct entry, text) + text_len + 3) & ~(size_t)3;
}

static const uint32_t *entry_ids(const struct entry *e) {
    return (const uint32_t *)(const void *)((const char *)e + ids_at(e->text_len));
}

static size_t entry_bytes(size_t text_len, size_t n_ids) {
    return (ids_at(text_len) + n_ids * sizeof(uint32_t) + LINE - 1) & ~(size_t)(LINE - 1);
}

static struct shard *shard_of(struct wtok_segments *s, uint64_t hash) {
    return &s->shards[hash >> 60];
}

static _Atomic(struct entry *) *bucket_of(struct shard *d, uint64_t hash) {
    return &d->buckets[hash & d->mask];
}

static struct entry *at(_Atomic(struct entry *) *place) {
    return atomic_load_explicit(place, memory_order_relaxed);
}

static void set(_Atomic(struct entry *) *place, struct entry *e) {
    atomic_store_explicit(place, e, memory_order_relaxed);
}

static struct entry *find(struct shard *d, struct weir_span text, unsigned kind, uint64_t hash) {
    struct entry *e = at(bucket_of(d, hash));
    while (e != NULL && (e->hash != hash || e->kind != kind || e->text_len != text.len ||
                         memcmp(e->text, text.data, text.len) != 0))
        e = at(&e->next);
    return e;
}

uint64_t wtok_text_hash(struct weir_span text, uint64_t seed) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return wtok_text_hash_avx2(text, seed);
#endif
    return XXH3_64bits_withSeed(text.data, text.len, seed);
}

uint64_t wtok_segments_hash(struct wtok_segments *s, struct weir_span text, unsigned kind) {
    uint64_t hash = wtok_text_hash(text, s->seed + kind);
    __builtin_prefetch(bucket_of(shard_of(s, hash), hash));
    return hash;
}

void wtok_segments_fetch(struct wtok_segments *s, struct weir_span text, uint64_t hash) {
    const char *e = (const char *)at(bucket_of(shard_of(s, hash), hash));
    if (e == NULL)
        return;
    /* A line of each page, of its text and of some of its ids: the processor sees to the rest. */
    size_t n = ids_at(text.len) + text.len, left = (size_t)(s->map + s->map_bytes - e);
    n = n < left ? n : left;
    for (size_t i = 0; i < n; i += PAGE)
        __builtin_prefetch(e + i);
    if (ids_at(text.len) < n)
        __builtin_prefetch(e + ids_at(text.len));
}

enum weir_status wtok_segments_get(struct wtok_segments *s, struct weir_span text, unsigned kind,
                                   uint64_t hash, struct wtok_out *out) {
    struct shard *d = shard_of(s, hash);
    enum weir_status st = WEIR_NOT_FOUND;
    pthread_mutex_lock(&d->lock);
    struct entry *e = find(d, text, kind, hash);
    d->hits += e != NULL;
    d->misses += e == NULL;
    if (e != NULL && e->n_ids > out->room - out->n) {
        st = WEIR_TOO_LARGE;
    } else if (e != NULL) {
        memcpy(out->ids + out->n, entry_ids(e), e->n_ids * sizeof(uint32_t));
        out->n += e->n_ids;
        e->used = 1;
        st = WEIR_OK;
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}

/* ---- the log ------------------------------------------------------------------------------ */

/* What one put may bring to the front, as others wait for the shard meanwhile. */
struct moves {
    unsigned n;
    size_t bytes;
};

/* The oldest entry goes, or comes to the front: what is free lies before it, and then behind it. */
static void pass_oldest(struct shard *d, struct moves *moves) {
    struct entry *e = (struct entry *)(void *)(d->log + d->tail);
    size_t bytes = entry_bytes(e->text_len, e->n_ids);
    _Atomic(struct entry *) *place = bucket_of(d, e->hash);
    while (at(place) != e)
        place = &at(place)->next;
    d->tail += bytes;
    if (e->used != 0 && moves->n > 0 && moves->bytes >= bytes) {
        struct entry *to = (struct entry *)(void *)(d->log + d->head);
        moves->n--;
        moves->bytes -= bytes;
        e->used = 0;
        set(place, to);
        memmove(to, e, bytes);
        d->head += bytes;
    } else {
        set(place, at(&e->next));
        d->bytes -= bytes;
        d->evictions++;
    }
    if (d->tail == d->end) {
        d->tail = 0;
        d->wrapped = false;
    }
}

/* The system gives memory page by page when it is first written; together it costs less. */
static void make_ready(struct shard *d, size_t end) {
    if (end <= d->ready)
        return;
    size_t upto = (end + READY_BYTES) & ~(size_t)(READY_BYTES - 1);
    upto = upto < d->max ? upto : d->max;
#ifdef MADV_POPULATE_WRITE
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)d->log + d->ready) & ~(page - 1);
    (void)madvise((void *)from, (uintptr_t)d->log + upto - from, MADV_POPULATE_WRITE);
#endif
    d->ready = upto;
}

/* Room in front for an entry, which is at most half of the log. */
static struct entry *make_room(struct shard *d, size_t bytes) {
    struct moves moves = {MOVES, MOVES_BYTES};
    for (;;) {
        if ((d->wrapped ? d->tail : d->max) - d->head >= bytes) {
            make_ready(d, d->head + bytes);
            return (struct entry *)(void *)(d->log + d->head);
        }
        if (d->wrapped) {
            pass_oldest(d, &moves);
        } else {
            d->end = d->head;
            d->head = 0;
            d->wrapped = true;
        }
    }
}

void wtok_segments_put(struct wtok_segments *s, struct weir_span text, unsigned kind, uint64_t hash,
                       const uint32_t *ids, size_t n) {
    struct shard *d = shard_of(s, hash);
    size_t bytes = entry_bytes(text.len, n);
    if (bytes > d->max / 2 || n > UINT32_MAX)
        return;
    pthread_mutex_lock(&d->lock);
    if (find(d, text, kind, hash) == NULL) { /* else another thread was faster */
        struct entry *e = make_room(d, bytes);
        _Atomic(struct entry *) *place = bucket_of(d, hash);
        e->hash = hash;
        e->text_len = text.len;
        e->n_ids = (uint32_t)n;
        e->kind = kind;
        e->used = 0;
        memcpy(e->text, text.data, text.len);
        memcpy((char *)e + ids_at(text.len), ids, n * sizeof(*ids));
        set(&e->next, at(place));
        set(place, e);
        d->head += bytes;
        d->bytes += bytes;
    }
    pthread_mutex_unlock(&d->lock);
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
