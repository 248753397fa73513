/*
 * The only door to malloc. Every function may return NULL, and tests can make the n-th call fail.
 * Threads: any.
 */
#ifndef WEIR_BASE_MEM_H
#define WEIR_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *weir_malloc(size_t bytes) __attribute__((malloc));
/* n * bytes zeroed; NULL on overflow. */
void *weir_calloc(size_t n, size_t bytes) __attribute__((malloc));
/* As realloc; on failure the old block stays valid. */
void *weir_realloc(void *ptr, size_t bytes);
/* Room for at least `want` items in an array that doubles: `array` is the address of its pointer,
 * *cap counts items. False: no memory, and nothing has changed. */
bool weir_grow(void *array, size_t *cap, size_t want, size_t item_bytes);
/* Accepts NULL. */
void weir_free(void *ptr);
char *weir_strdup(const char *s);
/* Copies n bytes and adds a NUL. */
char *weir_strndup(const char *s, size_t n);

/* For a process that takes and frees megabytes all the time: a thread keeps up to 16 MiB that it
 * freed, instead of giving them back and faulting them in again. Once, before other threads start.
 */
void weir_mem_keep(void);

/* Torture tests: the k-th allocation from now (k >= 1) fails, once; 0 turns it off. */
void weir_mem_fail_at(uint64_t k);
/* Allocations since the last weir_mem_fail_at(). Counted only while armed (k != 0). */
uint64_t weir_mem_count(void);

#endif
