#include "base/arena.h"

#include "base/mem.h"

#include <stdalign.h>

/* Each block is twice the last, so that what is kept soon holds a usual request whole. */
enum { BLOCK_BYTES = 4096, BLOCK_MAX = 64 << 10, KEEP_MAX = 16 << 10 };

struct weir_arena_block {
    struct weir_arena_block *next;
    size_t bytes;
    alignas(16) char data[];
};

void weir_arena_init(struct weir_arena *arena, size_t max_bytes) {
    *arena = (struct weir_arena){.max = max_bytes};
}

void weir_arena_fini(struct weir_arena *arena) {
    if (arena == NULL)
        return;
    for (struct weir_arena_block *b = arena->blocks; b != NULL;) {
        struct weir_arena_block *next = b->next;
        weir_free(b);
        b = next;
    }
    *arena = (struct weir_arena){.max = arena->max};
}

void weir_arena_reset(struct weir_arena *arena) {
    struct weir_arena_block *only = arena->blocks;
    if (only != NULL && only->next == NULL && only->bytes <= KEEP_MAX) { /* nearly always */
        arena->at = only->data;
        return;
    }
    struct weir_arena_block *keep = NULL;
    for (struct weir_arena_block *b = arena->blocks; b != NULL;) {
        struct weir_arena_block *next = b->next;
        struct weir_arena_block *drop = b;
        if (b->bytes <= KEEP_MAX && (keep == NULL || b->bytes > keep->bytes)) {
            drop = keep;
            keep = b;
        }
        weir_free(drop);
        b = next;
    }
    *arena = (struct weir_arena){.max = arena->max};
    if (keep != NULL) {
        keep->next = NULL;
        arena->blocks = keep;
        arena->at = keep->data;
        arena->end = (char *)keep + keep->bytes;
        arena->total = keep->bytes;
    }
}

void *weir_arena_alloc(struct weir_arena *arena, size_t bytes) {
    if (bytes > arena->max)
        return NULL;
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > (size_t)(arena->end - arena->at)) {
        size_t need = sizeof(struct weir_arena_block) + bytes;
        size_t last = arena->blocks != NULL ? arena->blocks->bytes : BLOCK_BYTES / 2;
        size_t usual = last < BLOCK_MAX / 2 ? last * 2 : BLOCK_MAX;
        size_t take = need > usual ? need : usual;
        if (take > arena->max || arena->total > arena->max - take)
            take = need;
        if (take > arena->max || arena->total > arena->max - take)
            return NULL;
        struct weir_arena_block *b = weir_malloc(take);
        if (b == NULL)
            return NULL;
        b->bytes = take;
        arena->total += take;
        if (arena->blocks != NULL && need > usual) {
            /* A large piece gets a block of its own behind the current one, whose room stays
             * usable. */
            b->next = arena->blocks->next;
            arena->blocks->next = b;
            return b->data;
        }
        b->next = arena->blocks;
        arena->blocks = b;
        arena->at = b->data;
        arena->end = (char *)b + take;
    }
    void *p = arena->at;
    arena->at += bytes;
    return p;
}

void *weir_arena_zalloc(struct weir_arena *arena, size_t bytes) {
    void *p = weir_arena_alloc(arena, bytes);
    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

struct weir_span weir_arena_copy(struct weir_arena *arena, struct weir_span span) {
    char *p = weir_arena_alloc(arena, span.len + 1);
    if (p == NULL)
        return weir_span(NULL, 0);
    if (span.len > 0)
        memcpy(p, span.data, span.len);
    p[span.len] = '\0';
    return weir_span(p, span.len);
}
