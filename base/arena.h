/*
 * A bump allocator for one request: many small allocations, one free. Stream bytes never enter it.
 * Threads: one at a time.
 */
#ifndef WEIR_BASE_ARENA_H
#define WEIR_BASE_ARENA_H

#include "base/span.h"

struct weir_arena_block;
struct weir_arena {
    struct weir_arena_block *blocks; /* owned, newest first */
    char *at, *end;                  /* free room of the newest block */
    size_t total;                    /* bytes held from the system */
    size_t max;
};

/* `max_bytes` bounds what the arena takes from the system. */
void weir_arena_init(struct weir_arena *arena, size_t max_bytes);
/* Frees everything. Accepts NULL. */
void weir_arena_fini(struct weir_arena *arena);
/* Forgets all allocations but keeps one block of at most 16 KiB for the next use. */
void weir_arena_reset(struct weir_arena *arena);
/* 16-byte aligned, not zeroed; NULL when out of memory or over the maximum. */
void *weir_arena_alloc(struct weir_arena *arena, size_t bytes);
void *weir_arena_zalloc(struct weir_arena *arena, size_t bytes);
/* Copies with a NUL behind it; data is NULL on failure. */
struct weir_span weir_arena_copy(struct weir_arena *arena, struct weir_span span);

#endif
