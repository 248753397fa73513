#include "cuda/kvc_priv.h"

#include <stdlib.h>

void kvc_map_fini(struct kvc_map *m) {
    free(m->entries);
    *m = (struct kvc_map){0};
}

static size_t home(const struct kvc_map *m, uint64_t key) {
    key ^= key >> 32;
    return (size_t)(key * KVC_PRIME64_1 >> 29) & (m->cap - 1);
}

static size_t find(const struct kvc_map *m, uint64_t key) {
    size_t i = home(m, key);
    while (m->entries[i].used && m->entries[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return i;
}

static bool grow(struct kvc_map *m) {
    struct kvc_map bigger = {.cap = m->cap == 0 ? 16 : m->cap * 2, .len = m->len};
    bigger.entries = calloc(bigger.cap, sizeof(*bigger.entries));
    if (bigger.entries == NULL)
        return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->entries[i].used)
            bigger.entries[find(&bigger, m->entries[i].key)] = m->entries[i];
    free(m->entries);
    *m = bigger;
    return true;
}

bool kvc_map_put(struct kvc_map *m, uint64_t key, uint32_t value) {
    if ((m->len + 1) * 4 > m->cap * 3 && !grow(m))
        return false;
    struct kvc_entry *e = &m->entries[find(m, key)];
    m->len += !e->used;
    *e = (struct kvc_entry){key, value, 1};
    return true;
}

uint32_t *kvc_map_at(const struct kvc_map *m, uint64_t key) {
    if (m->len == 0)
        return NULL;
    struct kvc_entry *e = &m->entries[find(m, key)];
    return e->used ? &e->value : NULL;
}

void kvc_map_remove(struct kvc_map *m, uint64_t key) {
    if (m->len == 0)
        return;
    size_t hole = find(m, key), mask = m->cap - 1;
    if (!m->entries[hole].used)
        return;
    /* Moves back every later entry of the run whose home does not lie behind the hole. */
    for (size_t i = (hole + 1) & mask; m->entries[i].used; i = (i + 1) & mask)
        if (((i - home(m, m->entries[i].key)) & mask) >= ((i - hole) & mask)) {
            m->entries[hole] = m->entries[i];
            hole = i;
        }
    m->entries[hole].used = 0;
    m->len--;
}
