/*
 * Peaks live in two buckets of one window each, this one and the last; all tenants turn their page
 * together, so sums over tenants are kept and not computed. A decision costs O(places of its
 * tenant).
 */
#include "router/tenants.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_MET = 255 };

struct peak {
    uint64_t now, this_window, last_window;
};

struct tenant {
    struct weir_list node;
    uint64_t id;
    struct weir_tenant_place *places; /* owned */
    size_t n_places, cap_places;
    struct peak held, quick; /* ranks; short prompts in prefill */
    bool seen, seen_before;  /* in this window, in the last one */
};

struct weir_tenants {
    struct weir_tenants_config config;
    struct weir_map by_id;  /* -> struct tenant */
    struct weir_list all;   /* owned */
    uint64_t window_end_ms; /* 0: no time seen yet */
    struct peak held_all;
    /* How many short prompts were in prefill when another one came: this window and the last. */
    uint64_t quick_now, met[2][MOST_MET + 1], n_met, n_met_then;
    unsigned usually_met; /* in 19 of 20 cases no more than that */
    /* Over all tenants, of the higher of their two peaks. */
    uint64_t sum_held, sum_quick, n_holders;
};

static uint64_t highest(const struct peak *p) {
    return p->this_window > p->last_window ? p->this_window : p->last_window;
}

static void peak_set(struct peak *p, uint64_t now) {
    p->now = now;
    if (now > p->this_window)
        p->this_window = now;
}

static void peak_turn(struct peak *p) {
    p->last_window = p->this_window;
    p->this_window = p->now;
}

/* ---- tenants that come and go ---------------------------------------------------------------- */

static struct tenant *find(const struct weir_tenants *t, uint64_t id) {
    uint64_t there = 0;
    return weir_map_get(&t->by_id, id, &there) ? (struct tenant *)(uintptr_t)there : NULL;
}

static struct tenant *get(struct weir_tenants *t, uint64_t id) {
    struct tenant *x = find(t, id);
    if (x != NULL || weir_map_len(&t->by_id) >= t->config.max_tenants)
        return x;
    x = weir_calloc(1, sizeof(*x));
    if (x == NULL || weir_map_put(&t->by_id, id, (uintptr_t)x) != WEIR_OK) {
        weir_free(x);
        return NULL;
    }
    x->id = id;
    weir_list_init(&x->node);
    weir_list_push_back(&t->all, &x->node);
    return x;
}

static void drop(struct weir_tenants *t, struct tenant *x) {
    weir_list_remove(&x->node);
    weir_map_remove(&t->by_id, x->id);
    weir_free(x->places);
    weir_free(x);
}

static void count(struct weir_tenants *t, const struct tenant *x, int sign) {
    uint64_t by = (uint64_t)(int64_t)sign; /* modulo 2^64 */
    t->sum_held += by * highest(&x->held);
    t->sum_quick += by * highest(&x->quick);
    t->n_holders += by * (highest(&x->held) > 0);
}

static void turn_pages(struct weir_tenants *t) {
    t->sum_held = t->sum_quick = t->n_holders = 0;
    peak_turn(&t->held_all);
    memcpy(t->met[1], t->met[0], sizeof(t->met[1]));
    memset(t->met[0], 0, sizeof(t->met[0]));
    t->n_met_then = 0;
    WEIR_LIST_FOREACH(node, &t->all) {
        struct tenant *x = WEIR_CONTAINER_OF(node, struct tenant, node);
        peak_turn(&x->held);
        peak_turn(&x->quick);
        x->seen_before = x->seen;
        x->seen = false;
        if (!x->seen_before && x->n_places == 0)
            drop(t, x);
        else
            count(t, x, 1);
    }
}

static void go_to(struct weir_tenants *t, uint64_t now_ms) {
    uint64_t window = t->config.window_ms;
    if (t->window_end_ms == 0)
        t->window_end_ms = now_ms + window;
    if (now_ms < t->window_end_ms)
        return;
    turn_pages(t);
    if (now_ms - t->window_end_ms >= window) /* a whole one went by unseen */
        turn_pages(t);
    t->window_end_ms = now_ms + window;
}

void weir_tenants_seen(struct weir_tenants *t, uint64_t tenant, uint64_t now_ms) {
    go_to(t, now_ms);
    struct tenant *x = get(t, tenant);
    if (x != NULL)
        x->seen = true;
}

/* ---- prompts in prefill ---------------------------------------------------------------------- */

static struct weir_tenant_place *place_of(struct tenant *x, uint64_t worker_id, uint32_t dp_rank) {
    for (size_t i = 0; i < x->n_places; i++)
        if (x->places[i].worker_id == worker_id && x->places[i].dp_rank == dp_rank)
            return &x->places[i];
    return NULL;
}

static struct weir_tenant_place *get_place(struct tenant *x, uint64_t worker_id, uint32_t dp_rank) {
    struct weir_tenant_place *p = place_of(x, worker_id, dp_rank);
    if (p != NULL)
        return p;
    if (x->n_places == x->cap_places) {
        size_t cap = x->cap_places == 0 ? 4 : x->cap_places * 2;
        struct weir_tenant_place *more = weir_realloc(x->places, cap * sizeof(*more));
        if (more == NULL)
            return NULL;
        x->places = more;
        x->cap_places = cap;
    }
    p = &x->places[x->n_places++];
    *p = (struct weir_tenant_place){.worker_id = worker_id, .dp_rank = dp_rank};
    return p;
}

static void change(struct weir_tenants *t, struct tenant *x, int held, int quick) {
    count(t, x, -1);
    peak_set(&x->held, x->held.now + (uint64_t)(int64_t)held);
    peak_set(&x->quick, x->quick.now + (uint64_t)(int64_t)quick);
    count(t, x, 1);
}

/* Summed up anew whenever the cases have grown by a sixteenth, or a page was turned. */
static void count_met(struct weir_tenants *t) {
    uint64_t total = 0, below = 0;
    t->met[0][t->quick_now < MOST_MET ? t->quick_now : MOST_MET]++;
    t->n_met++;
    if ((t->n_met - t->n_met_then) * 16 < t->n_met)
        return;
    for (unsigned i = 0; i <= MOST_MET; i++)
        total += t->met[0][i] + t->met[1][i];
    t->n_met = t->n_met_then = total;
    for (t->usually_met = 0; t->usually_met < MOST_MET; t->usually_met++) {
        below += t->met[0][t->usually_met] + t->met[1][t->usually_met];
        if (below * 20 >= total * 19)
            return;
    }
}

bool weir_tenants_begin(struct weir_tenants *t, uint64_t tenant, uint64_t worker_id,
                        uint32_t dp_rank, uint64_t tokens) {
    uint64_t quick = t->config.quick_tokens;
    struct tenant *x = get(t, tenant);
    struct weir_tenant_place *p = x != NULL ? get_place(x, worker_id, dp_rank) : NULL;
    if (p == NULL)
        return false;
    bool held = p->tokens > quick;
    p->tokens += tokens;
    p->prompts++;
    change(t, x, !held && p->tokens > quick, tokens <= quick);
    if (tokens <= quick) {
        count_met(t);
        t->quick_now++;
    }
    return true;
}

void weir_tenants_end(struct weir_tenants *t, uint64_t tenant, uint64_t worker_id, uint32_t dp_rank,
                      uint64_t tokens) {
    uint64_t quick = t->config.quick_tokens;
    struct tenant *x = find(t, tenant);
    struct weir_tenant_place *p = x != NULL ? place_of(x, worker_id, dp_rank) : NULL;
    if (p == NULL)
        return;
    bool held = p->tokens > quick;
    p->tokens -= tokens;
    t->quick_now -= tokens <= quick;
    change(t, x, -(held && p->tokens <= quick), -(tokens <= quick));
    if (--p->prompts == 0)
        *p = x->places[--x->n_places];
}

/* ---- the share ------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static int by_tokens(const void *a, const void *b) {
    const struct weir_tenant_place *x = a, *y = b;
    if (x->tokens != y->tokens)
        return x->tokens > y->tokens ? -1 : 1;
    if (x->worker_id != y->worker_id)
        return x->worker_id < y->worker_id ? -1 : 1;
    return (x->dp_rank > y->dp_rank) - (x->dp_rank < y->dp_rank);
}

/* Beyond its limit the tenant goes on where it has most and lets the others run dry. */
static void mark_over(struct tenant *x, unsigned limit) {
    if (x->held.now > limit)
        qsort(x->places, x->n_places, sizeof(x->places[0]), by_tokens); /* those held come first */
    for (size_t i = 0; i < x->n_places; i++)
        x->places[i].over = x->held.now > limit && i >= limit;
}

void weir_tenants_share(struct weir_tenants *t, uint64_t tenant, unsigned n_ranks, unsigned n_held,
                        uint64_t now_ms, struct weir_tenant_share *ret) {
    go_to(t, now_ms);
    peak_set(&t->held_all, n_held);
    struct tenant *x = find(t, tenant);
    uint64_t n = n_ranks, active = weir_map_len(&t->by_id);
    *ret = (struct weir_tenant_share){.active = (unsigned)active, .held_all = n_held};
    if (x == NULL || active < 2 || n == 0)
        return;
    uint64_t my_held = highest(&x->held), others = t->n_holders - (my_held > 0);
    uint64_t reserve = least(t->sum_quick - highest(&x->quick), t->usually_met + 1);
    reserve = least(reserve, n - most(1, n / active));
    uint64_t equal = (n - reserve) / (others + 1);
    uint64_t lent = least(t->sum_held - my_held, others * most(1, equal));
    lent = least(least(lent, highest(&t->held_all)), n - reserve);
    ret->limited = true;
    ret->reserve = (unsigned)reserve;
    ret->held = (unsigned)x->held.now;
    ret->limit = (unsigned)most(most(1, equal), n - reserve - lent);
    ret->most_held = (unsigned)(n - reserve);
    mark_over(x, ret->limit);
    ret->places = x->places;
    ret->n_places = x->n_places;
}

bool weir_tenant_may(const struct weir_tenant_share *s, uint64_t quick_tokens,
                     const struct weir_tenant_place *own, uint64_t rank_tokens, uint64_t uncached) {
    uint64_t mine = own != NULL ? own->tokens : 0;
    if (mine + uncached <= quick_tokens)
        return true;
    if (mine > quick_tokens)
        return !own->over;
    return s->held < s->limit && (rank_tokens > quick_tokens || s->held_all < s->most_held);
}

/* ---- figures, begin and end ------------------------------------------------------------------ */

size_t weir_tenants_list(struct weir_tenants *t, uint64_t now_ms, struct weir_tenant_state *ret,
                         size_t room) {
    size_t n = 0;
    go_to(t, now_ms);
    WEIR_LIST_FOREACH(node, &t->all) {
        const struct tenant *x = WEIR_CONTAINER_OF(node, struct tenant, node);
        uint64_t tokens = 0;
        for (size_t i = 0; i < x->n_places; i++)
            tokens += x->places[i].tokens;
        if (n < room)
            ret[n] = (struct weir_tenant_state){x->id, (unsigned)x->held.now,
                                                (unsigned)x->quick.now, tokens};
        n++;
    }
    return n;
}

enum weir_status weir_tenants_create(const struct weir_tenants_config *config,
                                     struct weir_tenants **ret) {
    struct weir_tenants *t = weir_calloc(1, sizeof(*t));
    if (t == NULL)
        return WEIR_NOMEM;
    t->config = *config;
    if (t->config.max_tenants == 0)
        t->config.max_tenants = 4096;
    weir_map_init(&t->by_id, t->config.max_tenants);
    weir_list_init(&t->all);
    *ret = t;
    return WEIR_OK;
}

void weir_tenants_destroy(struct weir_tenants *t) {
    if (t == NULL)
        return;
    WEIR_LIST_FOREACH(node, &t->all) {
        drop(t, WEIR_CONTAINER_OF(node, struct tenant, node));
    }
    weir_map_fini(&t->by_id);
    weir_free(t);
}
