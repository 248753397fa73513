/*
 * Open-addressing map from u64 to u64 (or a pointer in it), linear probing, tombstone-free
 * deletion. Threads: one at a time. Bounded by max_entries.
 */
#ifndef WEIR_BASE_MAP_H
#define WEIR_BASE_MAP_H

#include "base/status.h"

#include <stdint.h>

struct weir_map {
    struct weir_map_slot *slots; /* owned */
    size_t cap, len, max;
};

void weir_map_init(struct weir_map *map, size_t max_entries);
void weir_map_fini(struct weir_map *map);
/* Inserts or overwrites. WEIR_LIMIT at max_entries. */
enum weir_status weir_map_put(struct weir_map *map, uint64_t key, uint64_t value) WEIR_MUST_CHECK;
bool weir_map_get(const struct weir_map *map, uint64_t key, uint64_t *ret_value);
/* NULL when absent; the pointer holds until the next put or remove. */
uint64_t *weir_map_at(struct weir_map *map, uint64_t key);
bool weir_map_remove(struct weir_map *map, uint64_t key);
size_t weir_map_len(const struct weir_map *map);
/* Iterates in no fixed order: start with *cursor = 0; false at the end. Do not change the map
 * meanwhile. */
bool weir_map_next(const struct weir_map *map, size_t *cursor, uint64_t *ret_key,
                   uint64_t *ret_value);

#endif
