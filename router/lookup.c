#include "router/lookup.h"

#include "base/mem.h"

bool weir_lookup_open(struct weir_lookup *lookup, struct kvi_index *index) {
    if (lookup->reader == NULL)
        lookup->reader = kvi_reader_open(index);
    return lookup->reader != NULL;
}

void weir_lookup_close(struct weir_lookup *lookup) {
    kvi_reader_close(lookup->reader);
    weir_free(lookup->scores);
    lookup->reader = NULL;
    lookup->scores = NULL;
    lookup->n = lookup->cap = 0;
}

void weir_lookups_init(struct weir_lookups *pool, struct kvi_index *index) {
    pool->index = index;
    for (int i = 0; i < WEIR_LOOKUPS; i++) {
        pool->all[i] = (struct weir_lookup){.reader = NULL};
        atomic_init(&pool->all[i].taken, false);
    }
}

void weir_lookups_fini(struct weir_lookups *pool) {
    for (int i = 0; i < WEIR_LOOKUPS; i++)
        weir_lookup_close(&pool->all[i]);
}

/* Numbers threads, so that each begins at a place of its own. */
static unsigned place_of_thread(void) {
    static _Atomic unsigned next;
    static _Thread_local unsigned mine; /* + 1 */
    if (mine == 0)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % WEIR_LOOKUPS + 1;
    return mine - 1;
}

struct weir_lookup *weir_lookup_take(struct weir_lookups *pool) {
    unsigned first = place_of_thread();
    for (unsigned i = 0; i < WEIR_LOOKUPS; i++) {
        struct weir_lookup *l = &pool->all[(first + i) % WEIR_LOOKUPS];
        /* Pairs with the release in give_back: reader and scores are as the last one left them. */
        if (atomic_exchange_explicit(&l->taken, true, memory_order_acquire))
            continue;
        if (weir_lookup_open(l, pool->index))
            return l;
        weir_lookup_give_back(l);
        return NULL;
    }
    return NULL;
}

void weir_lookup_give_back(struct weir_lookup *lookup) {
    atomic_store_explicit(&lookup->taken, false, memory_order_release);
}

/* The number of matches may grow between two searches, so this may take more than one step. */
void weir_lookup_run(struct weir_lookup *lookup, const uint64_t *local_hashes, size_t n_blocks) {
    size_t found;
    while ((found = kvi_find(lookup->reader, local_hashes, n_blocks, false, lookup->scores,
                             lookup->cap)) > lookup->cap) {
        struct kvi_score *more = weir_realloc(lookup->scores, found * 2 * sizeof(*more));
        if (more == NULL)
            break;
        lookup->scores = more;
        lookup->cap = found * 2;
    }
    lookup->n = found < lookup->cap ? found : lookup->cap;
}
