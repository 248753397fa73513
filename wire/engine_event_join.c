#include "wire/engine_event.h"

#include <string.h>

/* Removals that wait for one that cannot be joined to them. */
struct join {
    weir_engine_event_fn fn;
    void *arg;
    struct weir_engine_event e; /* n_hashes 0: none waits */
    uint64_t hashes[WEIR_ENGINE_JOINED];
};

static void hand_over(struct join *j) {
    if (j->e.n_hashes > 0)
        j->fn(j->arg, &j->e);
    j->e.n_hashes = 0;
}

static void join_or_hand_over(void *arg, const struct weir_engine_event *e) {
    struct join *j = arg;
    bool joins = e->kind == WEIR_ENGINE_REMOVED && e->n_hashes <= WEIR_ENGINE_JOINED;
    if (j->e.n_hashes > 0 &&
        !(joins && e->n_hashes <= WEIR_ENGINE_JOINED - j->e.n_hashes && e->tier == j->e.tier &&
          e->remote == j->e.remote && e->group == j->e.group && e->attention == j->e.attention))
        hand_over(j);
    if (!joins || e->n_hashes == 0) {
        j->fn(j->arg, e);
        return;
    }
    memcpy(j->hashes + j->e.n_hashes, e->hashes, e->n_hashes * sizeof(j->hashes[0]));
    if (j->e.n_hashes > 0) {
        j->e.n_hashes += e->n_hashes;
        j->e.joined++;
    } else {
        j->e = *e;
        j->e.hashes = j->hashes;
    }
}

enum weir_status weir_engine_batch_decode_joined(struct weir_span payload, struct weir_arena *arena,
                                                 weir_engine_event_fn fn, void *arg,
                                                 struct weir_engine_batch *ret_batch) {
    struct join j;
    j.fn = fn;
    j.arg = arg;
    j.e.n_hashes = 0;
    enum weir_status st =
        weir_engine_batch_decode(payload, arena, join_or_hand_over, &j, ret_batch);
    hand_over(&j);
    return st;
}
