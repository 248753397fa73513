/*
 * Encoder contexts: word cache and scratch memory of one encoding at a time. A thread comes back to
 * its slot, so its cache stays warm in its core. Threads beyond the number of slots share them: who
 * finds the slot empty makes a context, and one that finds its slot taken at the end is freed.
 */
#include "base/mem.h"
#include "tokenizer/encode_priv.h"

#include <stdatomic.h>
#include <sys/mman.h>

enum {
    SLOTS = 64,
    SCRATCH_KEPT = 1 << 20,
    HUGE_PAGE = 2 << 20,
    MEMO_BYTES = sizeof(struct wtok_memo_line) << WTOK_MEMO_BITS,
    LONGS_BYTES = sizeof(struct wtok_long) << WTOK_LONG_BITS,
    MEMORY_BYTES = MEMO_BYTES + LONGS_BYTES + WTOK_SLOTS * sizeof(struct wtok_job),
};
_Static_assert(MEMO_BYTES % 64 == 0 && LONGS_BYTES % 64 == 0 && sizeof(struct wtok_job) % 64 == 0,
               "lines");

struct wtok_pool {
    struct {
        _Atomic(struct wtok_context *) idle; /* owned while here */
        _Atomic uint64_t words, words_new;   /* of contexts that were given back */
        char pad[40];                        /* threads do not share a cache line */
    } slots[SLOTS];
};

enum weir_status wtok_pool_create(struct wtok_pool **ret_pool) {
    struct wtok_pool *pool = weir_calloc(1, sizeof(*pool));
    if (pool == NULL)
        return WEIR_NOMEM;
    *ret_pool = pool;
    return WEIR_OK;
}

static void context_destroy(struct wtok_context *ctx) {
    if (ctx == NULL)
        return;
    if (ctx->memory != NULL)
        munmap(ctx->memory, MEMORY_BYTES + HUGE_PAGE);
    while (ctx->spill != NULL) {
        struct wtok_spill *next = ctx->spill->next;
        weir_free(ctx->spill);
        ctx->spill = next;
    }
    wtok_heap_fini(&ctx->heap);
    weir_buf_fini(&ctx->normal);
    weir_buf_fini(&ctx->marked);
    weir_buf_fini(&ctx->tail);
    weir_buf_fini(&ctx->steps);
    weir_free(ctx);
}

void wtok_pool_destroy(struct wtok_pool *pool) {
    if (pool == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        context_destroy(atomic_load_explicit(&pool->slots[i].idle, memory_order_acquire));
    weir_free(pool);
}

/* The memory of words is read all over for each word: in huge pages, where the system has them,
 * that costs few address translations. */
static bool map_memory(struct wtok_context *ctx) {
    void *block = mmap(NULL, MEMORY_BYTES + HUGE_PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return false;
    uintptr_t at = ((uintptr_t)block + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    ctx->memory = block;
    ctx->memos = (struct wtok_memo_line *)at;
    ctx->longs = (struct wtok_long *)(at + MEMO_BYTES);
    ctx->slots = (struct wtok_job *)(at + MEMO_BYTES + LONGS_BYTES);
    (void)madvise(ctx->memos, MEMORY_BYTES, MADV_HUGEPAGE);
    /* All of it is there from the start, so that no prompt waits for pages. */
    for (size_t page = 0; page < MEMORY_BYTES; page += 4096)
        *(volatile char *)((char *)ctx->memos + page) = 0;
    return true;
}

/* What is a word of the vocabulary is known from the start, as far as lines have room; low ids come
 * first, which are the more frequent. */
static void learn_vocabulary(const struct wtok_model *m, struct wtok_context *ctx) {
    for (unsigned k = 0; k < WTOK_WORD_WAYS; k++)
        for (size_t i = 0; i < m->n_words; i++) {
            uint64_t k0 = m->words[i].k0[k], k1 = m->words[i].k1[k];
            struct wtok_memo_line *line = wtok_memo_line(ctx->memos, wtok_key_hash(k0, k1));
            struct wtok_memo *memo = line->way[0].k1 == 0 ? &line->way[0] : &line->way[1];
            if (k1 != 0 && memo->k1 == 0)
                *memo = (struct wtok_memo){k0, k1, 1, {m->words[i].ids[k], 0, 0}};
        }
}

static struct wtok_context *context_create(const struct wtok_model *m) {
    struct wtok_context *ctx = weir_calloc(1, sizeof(*ctx));
    if (ctx == NULL)
        return NULL;
    if (!map_memory(ctx)) {
        context_destroy(ctx);
        return NULL;
    }
    weir_buf_init(&ctx->normal, SIZE_MAX / 4);
    weir_buf_init(&ctx->marked, SIZE_MAX / 4);
    weir_buf_init(&ctx->tail, SIZE_MAX / 4);
    weir_buf_init(&ctx->steps, SIZE_MAX / 4);
    learn_vocabulary(m, ctx);
    return ctx;
}

/* A number per thread, handed out in order. */
static unsigned home_slot(void) {
    static atomic_uint next;
    static _Thread_local unsigned mine; /* + 1 */
    if (mine == 0)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % SLOTS + 1;
    return mine - 1;
}

struct wtok_context *wtok_context_take(const struct wtok_model *m) {
    unsigned home = home_slot();
    /* Pairs with the release in give. */
    struct wtok_context *ctx =
        atomic_exchange_explicit(&m->pool->slots[home].idle, NULL, memory_order_acquire);
    return ctx != NULL ? ctx : context_create(m);
}

static void trim(struct weir_buf *buf) {
    if (buf->cap > SCRATCH_KEPT)
        weir_buf_fini(buf);
}

void wtok_context_give(const struct wtok_model *m, struct wtok_context *ctx) {
    trim(&ctx->normal);
    trim(&ctx->marked);
    trim(&ctx->tail);
    trim(&ctx->steps);
    struct wtok_context *none = NULL;
    unsigned home = home_slot();
    atomic_fetch_add_explicit(&m->pool->slots[home].words, ctx->words, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->pool->slots[home].words_new, ctx->words_new,
                              memory_order_relaxed);
    ctx->words = ctx->words_new = 0;
    if (!atomic_compare_exchange_strong_explicit(&m->pool->slots[home].idle, &none, ctx,
                                                 memory_order_release, memory_order_relaxed))
        context_destroy(ctx);
}

void wtok_pool_stats(const struct wtok_pool *pool, struct wtok_stats *stats) {
    for (size_t i = 0; i < SLOTS; i++) {
        stats->words += atomic_load_explicit(&pool->slots[i].words, memory_order_relaxed);
        stats->words_new += atomic_load_explicit(&pool->slots[i].words_new, memory_order_relaxed);
    }
}
