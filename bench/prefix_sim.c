#include "bench/prefix_sim.h"

#include "base/mem.h"

#define NONE UINT32_MAX

struct weir_sim_slot {
    uint64_t id;
    uint32_t older, newer;
};

enum weir_status weir_prefix_sim_init(struct weir_prefix_sim *sim, uint32_t capacity) {
    *sim = (struct weir_prefix_sim){.n_slots = capacity, .oldest = NONE, .newest = NONE};
    weir_map_init(&sim->where, (size_t)capacity + 1);
    sim->slots = weir_calloc(capacity, sizeof(*sim->slots));
    return sim->slots != NULL ? WEIR_OK : WEIR_NOMEM;
}

void weir_prefix_sim_fini(struct weir_prefix_sim *sim) {
    if (sim == NULL)
        return;
    weir_map_fini(&sim->where);
    weir_free(sim->slots);
    sim->slots = NULL;
}

static void unlink_slot(struct weir_prefix_sim *sim, uint32_t at) {
    struct weir_sim_slot *s = &sim->slots[at];
    *(s->older != NONE ? &sim->slots[s->older].newer : &sim->oldest) = s->newer;
    *(s->newer != NONE ? &sim->slots[s->newer].older : &sim->newest) = s->older;
}

static void link_newest(struct weir_prefix_sim *sim, uint32_t at) {
    struct weir_sim_slot *s = &sim->slots[at];
    s->older = sim->newest;
    s->newer = NONE;
    *(sim->newest != NONE ? &sim->slots[sim->newest].newer : &sim->oldest) = at;
    sim->newest = at;
}

static enum weir_status use(struct weir_prefix_sim *sim, uint64_t id) {
    uint64_t at;
    if (weir_map_get(&sim->where, id, &at)) {
        unlink_slot(sim, (uint32_t)at);
    } else {
        if (sim->n_used < sim->n_slots) {
            at = sim->n_used++;
        } else {
            at = sim->oldest;
            unlink_slot(sim, sim->oldest);
            weir_map_remove(&sim->where, sim->slots[at].id);
        }
        sim->slots[at].id = id;
        enum weir_status st = weir_map_put(&sim->where, id, at);
        if (st != WEIR_OK)
            return st;
    }
    link_newest(sim, (uint32_t)at);
    return WEIR_OK;
}

enum weir_status weir_prefix_sim_request(struct weir_prefix_sim *sim, const uint64_t *ids,
                                         uint32_t n_prompt, uint32_t n, uint32_t *ret_hits) {
    uint32_t hits = 0;
    uint64_t at;
    while (hits < n_prompt && weir_map_get(&sim->where, ids[hits], &at))
        hits++;
    /* The engine first holds what it found, then fills the rest; at the end it lets go of the
     * tail first. What does not fit would push out the request's own beginning. */
    if (n > sim->n_slots)
        n = sim->n_slots;
    enum weir_status st = WEIR_OK;
    for (uint32_t i = 0; i < hits && i < n && st == WEIR_OK; i++)
        st = use(sim, ids[i]);
    for (uint32_t i = n; i-- > 0 && st == WEIR_OK;)
        st = use(sim, ids[i]);
    if (st == WEIR_OK)
        *ret_hits = hits;
    return st;
}
