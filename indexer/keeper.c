/*
 * Happy path: a tick on the groups' loop → the indexes there are now are listed → the keeper's loop
 * maintains them → the next tick. A tick that comes while it is still at work does nothing. The
 * list belongs to the keeper's thread while `busy` is set, else to the groups' loop.
 *
 * Indexes on the list stay alive: a group goes only when all of them do, after weir_keeper_stop.
 */
#include "indexer/keeper.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdatomic.h>

enum { TICK_MS = 1000 };

struct weir_keeper {
    struct weir_loop *own;
    struct weir_groups *groups; /* borrowed */
    struct weir_timer tick;
    struct kvi_index **indexes; /* owned list of borrowed indexes */
    size_t n, cap;
    atomic_bool busy;
};

static void maintain(void *arg) {
    struct weir_keeper *k = arg;
    for (size_t i = 0; i < k->n; i++)
        kvi_maintain(k->indexes[i]);
    atomic_store_explicit(&k->busy, false, memory_order_release); /* pairs with on_tick */
}

static bool add(struct weir_keeper *k, struct kvi_index *index) {
    if (k->n == k->cap) {
        size_t cap = k->cap == 0 ? 16 : k->cap * 2;
        struct kvi_index **more = weir_realloc(k->indexes, cap * sizeof(struct kvi_index *));
        if (more == NULL)
            return false;
        k->indexes = more;
        k->cap = cap;
    }
    k->indexes[k->n++] = index;
    return true;
}

static void on_tick(void *arg) {
    struct weir_keeper *k = arg;
    if (!atomic_load_explicit(&k->busy, memory_order_acquire)) { /* pairs with maintain */
        k->n = 0;
        WEIR_LIST_FOREACH(it, weir_groups_list(k->groups)) {
            if (!add(k, WEIR_CONTAINER_OF(it, struct weir_group, node)->index))
                break; /* the others wait for memory, as everything does then */
        }
        atomic_store_explicit(&k->busy, true, memory_order_relaxed);
        if (weir_loop_post(k->own, maintain, k) != WEIR_OK)
            atomic_store_explicit(&k->busy, false, memory_order_relaxed);
    }
    if (weir_timer_start(&k->tick, TICK_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "indexer", "out of memory: housekeeping has stopped");
}

enum weir_status weir_keeper_start(struct weir_loop *loop, struct weir_groups *groups,
                                   struct weir_keeper **ret_keeper) {
    struct weir_keeper *k = weir_calloc(1, sizeof(*k));
    if (k == NULL)
        return WEIR_NOMEM;
    k->groups = groups;
    weir_timer_init(&k->tick, loop, on_tick, k);
    enum weir_status st = weir_loop_create(1, &k->own);
    if (st == WEIR_OK)
        st = weir_loop_thread_start(k->own, "keeper");
    if (st == WEIR_OK)
        st = weir_timer_start(&k->tick, 0);
    if (st != WEIR_OK) {
        weir_keeper_stop(k);
        return st;
    }
    *ret_keeper = k;
    return WEIR_OK;
}

void weir_keeper_stop(struct weir_keeper *k) {
    if (k == NULL)
        return;
    weir_timer_stop(&k->tick);
    if (k->own != NULL) {
        weir_loop_stop(k->own);
        weir_loop_thread_join(k->own);
        weir_loop_destroy(k->own);
    }
    weir_free(k->indexes);
    weir_free(k);
}
