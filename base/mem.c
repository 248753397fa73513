#include "base/mem.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Relaxed throughout: only tests write fail_at, before the threads that they observe start. */
static _Atomic uint64_t fail_at;
static _Atomic uint64_t count;

static bool should_fail(void) {
    uint64_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (at == 0)
        return false;
    return atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) + 1 == at;
}

void *weir_malloc(size_t bytes) {
    return should_fail() ? NULL : malloc(bytes > 0 ? bytes : 1);
}

enum { SMALL = 1024 };

void *weir_calloc(size_t n, size_t bytes) {
    /* glibc's calloc passes by the cache of its thread (until 2.41), in which small pieces are. */
    if (n == 1 && bytes > 0 && bytes <= SMALL) {
        void *p = weir_malloc(bytes);
        return p != NULL ? memset(p, 0, bytes) : NULL;
    }
    return should_fail() ? NULL : calloc(n > 0 ? n : 1, bytes > 0 ? bytes : 1);
}

void *weir_realloc(void *ptr, size_t bytes) {
    return should_fail() ? NULL : realloc(ptr, bytes > 0 ? bytes : 1);
}

bool weir_grow(void *array, size_t *cap, size_t want, size_t item_bytes) {
    void *items;
    if (want <= *cap)
        return true;
    size_t more = *cap * 2 > want ? *cap * 2 : want + 64;
    memcpy(&items, array, sizeof(items)); /* a pointer of any type */
    items = weir_realloc(items, more * item_bytes);
    if (items == NULL)
        return false;
    memcpy(array, &items, sizeof(items));
    *cap = more;
    return true;
}

void weir_free(void *ptr) {
    free(ptr);
}

char *weir_strndup(const char *s, size_t n) {
    char *copy = weir_malloc(n + 1);
    if (copy != NULL) {
        memcpy(copy, s, n);
        copy[n] = '\0';
    }
    return copy;
}

char *weir_strdup(const char *s) {
    return weir_strndup(s, strlen(s));
}

void weir_mem_keep(void) {
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
}

void weir_mem_fail_at(uint64_t k) {
    atomic_store_explicit(&count, 0, memory_order_relaxed);
    atomic_store_explicit(&fail_at, k, memory_order_relaxed);
}

uint64_t weir_mem_count(void) {
    return atomic_load_explicit(&count, memory_order_relaxed);
}
