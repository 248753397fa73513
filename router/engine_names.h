/*
 * What is known of an engine's names of blocks, for engine_events.c. The facts lie in the order in
 * which names came, which is mostly the one in which they go, so that they are read as a stream; a
 * hash table of four bytes a slot leads to them: one random cache line a name, and that of a table
 * small enough to stay near. Threads: one at a time.
 */
#ifndef WEIR_ROUTER_ENGINE_NAMES_H
#define WEIR_ROUTER_ENGINE_NAMES_H

#include "base/status.h"

#include <stdint.h>

enum { WEIR_ENGINE_TIERS = 4, WEIR_ENGINE_NAMES_MAX = (1 << 23) - 2 };

struct weir_engine_name {
    uint64_t hash;
    uint64_t seed; /* of the blocks' hashes */
    uint32_t lora; /* hash of the adapter's name */
    uint16_t copies[WEIR_ENGINE_TIERS];
    bool used;
    bool unusable; /* media or of no certain namespace: nothing of it is in the index */
};

struct weir_engine_line;

struct weir_engine_names {
    struct weir_engine_name *names; /* owned: `room` of them, the first `top` were used */
    struct weir_engine_line *lines; /* within block */
    void *block;                    /* owned */
    size_t n_lines;                 /* a power of two, or none */
    size_t room, top, len, max;
    uint32_t spare; /* place of the name that left last, where the next one goes; 0 = none */
};

/* At most `max` names, and never more than WEIR_ENGINE_NAMES_MAX. */
void weir_engine_names_init(struct weir_engine_names *t, size_t max);
/* Empties it. */
void weir_engine_names_fini(struct weir_engine_names *t);
/* NULL when absent; holds until the next name comes or goes. */
struct weir_engine_name *weir_engine_names_find(const struct weir_engine_names *t, uint64_t hash);
/* Many at once, whose waits for memory pass together: where each name's facts are in t->names, + 1;
 * 0 = absent. A place stays until its name leaves. */
enum { WEIR_ENGINE_NAMES_AT_ONCE = 128 };
void weir_engine_names_look(const struct weir_engine_names *t, const uint64_t *hashes, size_t n,
                            uint32_t ret_places[WEIR_ENGINE_NAMES_AT_ONCE]);
/* One that is absent; its facts are all zero but for its name. NULL: the table is full, or memory
 * is out. */
struct weir_engine_name *weir_engine_names_add(struct weir_engine_names *t, uint64_t hash);
/* One of this table. */
void weir_engine_names_remove(struct weir_engine_names *t, struct weir_engine_name *name);

#endif
