#include "base/map.h"

#include "base/mem.h"

struct weir_map_slot {
    uint64_t key, value;
    bool used;
};

void weir_map_init(struct weir_map *map, size_t max_entries) {
    *map = (struct weir_map){.max = max_entries};
}

void weir_map_fini(struct weir_map *map) {
    weir_free(map->slots);
    *map = (struct weir_map){.max = map->max};
}

static size_t home(const struct weir_map *map, uint64_t key) {
    key ^= key >> 32;
    key *= 0x9E3779B97F4A7C15u;
    return (size_t)(key >> 29) & (map->cap - 1);
}

/* The slot of the key, or the free one where it would go. */
static size_t find(const struct weir_map *map, uint64_t key) {
    size_t i = home(map, key);
    while (map->slots[i].used && map->slots[i].key != key)
        i = (i + 1) & (map->cap - 1);
    return i;
}

static enum weir_status grow(struct weir_map *map) {
    struct weir_map bigger = {.cap = map->cap == 0 ? 16 : map->cap * 2, .max = map->max};
    bigger.slots = weir_calloc(bigger.cap, sizeof(*bigger.slots));
    if (bigger.slots == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; i < map->cap; i++)
        if (map->slots[i].used)
            bigger.slots[find(&bigger, map->slots[i].key)] = map->slots[i];
    bigger.len = map->len;
    weir_free(map->slots);
    *map = bigger;
    return WEIR_OK;
}

enum weir_status weir_map_put(struct weir_map *map, uint64_t key, uint64_t value) {
    uint64_t *at = weir_map_at(map, key);
    if (at != NULL) {
        *at = value;
        return WEIR_OK;
    }
    if (map->len >= map->max)
        return WEIR_LIMIT;
    if ((map->len + 1) * 4 > map->cap * 3) {
        enum weir_status st = grow(map);
        if (st != WEIR_OK)
            return st;
    }
    map->slots[find(map, key)] = (struct weir_map_slot){key, value, true};
    map->len++;
    return WEIR_OK;
}

uint64_t *weir_map_at(struct weir_map *map, uint64_t key) {
    if (map->len == 0)
        return NULL;
    size_t i = find(map, key);
    return map->slots[i].used ? &map->slots[i].value : NULL;
}

bool weir_map_get(const struct weir_map *map, uint64_t key, uint64_t *ret_value) {
    if (map->len == 0)
        return false;
    size_t i = find(map, key);
    if (!map->slots[i].used)
        return false;
    *ret_value = map->slots[i].value;
    return true;
}

bool weir_map_remove(struct weir_map *map, uint64_t key) {
    if (map->len == 0)
        return false;
    size_t hole = find(map, key), mask = map->cap - 1;
    if (!map->slots[hole].used)
        return false;
    /* Moves back every later entry of the run whose home does not lie behind the hole. */
    for (size_t i = (hole + 1) & mask; map->slots[i].used; i = (i + 1) & mask) {
        size_t want = home(map, map->slots[i].key);
        if (((i - want) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole].used = false;
    map->len--;
    return true;
}

size_t weir_map_len(const struct weir_map *map) {
    return map->len;
}

bool weir_map_next(const struct weir_map *map, size_t *cursor, uint64_t *ret_key,
                   uint64_t *ret_value) {
    for (; *cursor < map->cap; (*cursor)++)
        if (map->slots[*cursor].used) {
            *ret_key = map->slots[*cursor].key;
            *ret_value = map->slots[*cursor].value;
            (*cursor)++;
            return true;
        }
    return false;
}
