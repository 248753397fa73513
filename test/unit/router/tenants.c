/* Shares of prefill among tenants: the figures of the rules by table, and a random life whose
 * figures are computed plainly from all that happened. */
#include "router/tenants.h"

#include "base/rng.h"
#include "test/check.h"

enum { QUICK = 2048, LONG = 100000, SHORT = 256, WINDOW = 1000 };

static struct weir_tenants *make(size_t max) {
    struct weir_tenants *t = NULL;
    const struct weir_tenants_config c = {
        .window_ms = WINDOW, .quick_tokens = QUICK, .max_tenants = max};
    CHECK(weir_tenants_create(&c, &t) == WEIR_OK);
    return t;
}

static struct weir_tenant_share share_of(struct weir_tenants *t, uint64_t tenant, unsigned n,
                                         unsigned held, uint64_t now) {
    struct weir_tenant_share s;
    weir_tenants_share(t, tenant, n, held, now, &s);
    return s;
}

static const struct weir_tenant_place *place(const struct weir_tenant_share *s, uint64_t worker) {
    for (size_t i = 0; i < s->n_places; i++)
        if (s->places[i].worker_id == worker)
            return &s->places[i];
    return NULL;
}

static void hold(struct weir_tenants *t, uint64_t tenant, uint64_t first, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        CHECK(weir_tenants_begin(t, tenant, first + i, 0, LONG + i));
}

static void case_alone(void) {
    struct weir_tenants *t = make(0);
    weir_tenants_seen(t, 1, 10);
    hold(t, 1, 0, 8);
    CHECK(!share_of(t, 1, 8, 8, 10).limited);
    CHECK(!share_of(t, 2, 8, 8, 10).limited); /* not seen: nothing is known of it */
    weir_tenants_destroy(t);
}

static void case_one_flood(void) {
    struct weir_tenants *t = make(0);
    weir_tenants_seen(t, 1, 10);
    weir_tenants_seen(t, 2, 10);
    hold(t, 1, 0, 7);
    CHECK(weir_tenants_begin(t, 2, 7, 0, SHORT));
    struct weir_tenant_share s = share_of(t, 1, 8, 7, 10);
    CHECK(s.limited && s.active == 2 && s.reserve == 1 && s.held == 7 && s.limit == 7 &&
          s.most_held == 7);
    CHECK(weir_tenant_may(&s, QUICK, place(&s, 3), LONG, LONG)); /* where it is already */
    CHECK(!weir_tenant_may(&s, QUICK, NULL, SHORT, LONG));       /* not on the last one */
    CHECK(weir_tenant_may(&s, QUICK, NULL, SHORT, QUICK));       /* but a short prompt */
    s = share_of(t, 2, 8, 7, 10);
    CHECK(s.reserve == 0 && s.held == 0 && s.limit == 4 && s.most_held == 8);
    CHECK(weir_tenant_may(&s, QUICK, place(&s, 7), SHORT, LONG));
    CHECK(weir_tenant_may(&s, QUICK, NULL, LONG, LONG));
    /* Its reserve lasts for the window, and as long as it is active. */
    weir_tenants_end(t, 2, 7, 0, SHORT);
    CHECK(share_of(t, 1, 8, 7, 10 + WINDOW).reserve == 1);
    CHECK(!share_of(t, 1, 8, 7, 10 + 3 * WINDOW).limited);
    weir_tenants_destroy(t);
}

static void case_two_floods_and_a_chat(void) {
    struct weir_tenants *t = make(0);
    for (uint64_t id = 1; id <= 3; id++)
        weir_tenants_seen(t, id, 10);
    hold(t, 1, 0, 4);
    hold(t, 2, 4, 3);
    CHECK(weir_tenants_begin(t, 3, 7, 0, SHORT));
    struct weir_tenant_share a = share_of(t, 1, 8, 7, 10), b = share_of(t, 2, 8, 7, 10);
    CHECK(a.reserve == 1 && a.limit == 4 && a.most_held == 7);
    CHECK(b.reserve == 1 && b.limit == 4 && b.held == 3);
    CHECK(!weir_tenant_may(&b, QUICK, NULL, SHORT, LONG)); /* the eighth is the chat's */
    CHECK(weir_tenant_may(&b, QUICK, NULL, LONG, LONG));   /* behind the other flood */
    weir_tenants_destroy(t);
}

static void case_too_much_runs_dry(void) {
    struct weir_tenants *t = make(0);
    weir_tenants_seen(t, 1, 10);
    hold(t, 1, 0, 8); /* the one at 0 has the fewest tokens */
    weir_tenants_seen(t, 2, 20);
    CHECK(weir_tenants_begin(t, 2, 5, 0, SHORT));
    struct weir_tenant_share s = share_of(t, 1, 8, 8, 20);
    CHECK(s.held == 8 && s.limit == 7 && s.n_places == 8);
    for (uint64_t w = 0; w < 8; w++)
        CHECK(place(&s, w)->over == (w == 0));
    CHECK(!weir_tenant_may(&s, QUICK, place(&s, 0), LONG, LONG));
    weir_tenants_destroy(t);
}

static void case_small_pools(void) {
    struct weir_tenants *t = make(0);
    weir_tenants_seen(t, 1, 10);
    weir_tenants_seen(t, 2, 10);
    CHECK(weir_tenants_begin(t, 2, 0, 0, SHORT));
    CHECK(!share_of(t, 1, 0, 0, 10).limited);
    struct weir_tenant_share s = share_of(t, 1, 1, 0, 10);
    CHECK(s.limit == 1 && s.reserve == 0 && weir_tenant_may(&s, QUICK, NULL, 0, LONG));
    s = share_of(t, 1, 2, 0, 10);
    CHECK(s.limit == 1 && s.reserve == 1 && weir_tenant_may(&s, QUICK, NULL, 0, LONG));
    s = share_of(t, 1, 2, 1, 10);
    CHECK(!weir_tenant_may(&s, QUICK, NULL, 0, LONG));
    weir_tenants_destroy(t);
}

static void case_too_many(void) {
    struct weir_tenants *t = make(3);
    for (uint64_t id = 1; id <= 5; id++)
        weir_tenants_seen(t, id, 10);
    CHECK(!weir_tenants_begin(t, 5, 0, 0, SHORT));
    weir_tenants_end(t, 5, 0, 0, SHORT);
    CHECK(!share_of(t, 5, 8, 0, 10).limited && share_of(t, 1, 8, 0, 10).active == 3);
    /* Those that are idle make room. */
    weir_tenants_seen(t, 5, 10 + 2 * WINDOW);
    CHECK(weir_tenants_begin(t, 5, 0, 0, SHORT));
    weir_tenants_destroy(t);
}

/* ---- a random life --------------------------------------------------------------------------- */

enum { TENANTS = 12, RANKS = 6, PROMPTS = 200, MET = 256 };

struct prompt {
    bool there;
    unsigned tenant, rank;
    uint64_t tokens;
};

struct model {
    struct prompt prompts[PROMPTS];
    bool known[TENANTS], seen[TENANTS], seen_before[TENANTS];
    unsigned held[2][TENANTS], quick[2][TENANTS], held_all[2];
    unsigned met[2][MET], n_met, n_then, usual;
    uint64_t end;
};

static uint64_t tokens_at(const struct model *m, unsigned tenant, unsigned rank) {
    uint64_t n = 0;
    for (int i = 0; i < PROMPTS; i++)
        if (m->prompts[i].there && m->prompts[i].rank == rank &&
            (tenant == TENANTS || m->prompts[i].tenant == tenant))
            n += m->prompts[i].tokens;
    return n;
}

static unsigned held_now(const struct model *m, unsigned tenant) {
    unsigned n = 0;
    for (unsigned r = 0; r < RANKS; r++)
        n += tokens_at(m, tenant, r) > QUICK;
    return n;
}

static unsigned quick_now(const struct model *m, unsigned tenant) {
    unsigned n = 0;
    for (int i = 0; i < PROMPTS; i++)
        n += m->prompts[i].there && m->prompts[i].tokens <= QUICK &&
             (tenant == TENANTS || m->prompts[i].tenant == tenant);
    return n;
}

static unsigned higher(unsigned a, unsigned b) {
    return a > b ? a : b;
}
static unsigned lower(unsigned a, unsigned b) {
    return a < b ? a : b;
}

static void note(struct model *m) {
    for (unsigned k = 0; k < TENANTS; k++) {
        m->held[0][k] = higher(m->held[0][k], held_now(m, k));
        m->quick[0][k] = higher(m->quick[0][k], quick_now(m, k));
    }
}

static void turn(struct model *m) {
    for (unsigned k = 0; k < TENANTS; k++) {
        m->held[1][k] = m->held[0][k];
        m->quick[1][k] = m->quick[0][k];
        m->held[0][k] = m->quick[0][k] = 0;
        m->seen_before[k] = m->seen[k];
        m->seen[k] = false;
        bool busy = false;
        for (unsigned r = 0; r < RANKS; r++)
            busy = busy || tokens_at(m, k, r) > 0;
        if (!m->seen_before[k] && !busy) {
            m->known[k] = false;
            m->held[1][k] = m->quick[1][k] = 0;
        }
    }
    m->held_all[1] = m->held_all[0];
    m->held_all[0] = held_now(m, TENANTS);
    memcpy(m->met[1], m->met[0], sizeof(m->met[1]));
    memset(m->met[0], 0, sizeof(m->met[0]));
    m->n_then = 0;
    note(m);
}

static void go_to(struct model *m, uint64_t now) {
    if (m->end == 0)
        m->end = now + WINDOW;
    if (now < m->end)
        return;
    turn(m);
    if (now - m->end >= WINDOW)
        turn(m);
    m->end = now + WINDOW;
}

static void met(struct model *m) {
    unsigned total = 0, below = 0;
    m->met[0][quick_now(m, TENANTS)]++;
    m->n_met++;
    if ((m->n_met - m->n_then) * 16 < m->n_met)
        return;
    for (int i = 0; i < MET; i++)
        total += m->met[0][i] + m->met[1][i];
    m->n_met = m->n_then = total;
    for (m->usual = 0;; m->usual++) {
        below += m->met[0][m->usual] + m->met[1][m->usual];
        if (below >= 0.95 * total)
            return;
    }
}

static void check_share(struct weir_tenants *t, struct model *m, unsigned tenant, uint64_t now) {
    unsigned held_all = held_now(m, TENANTS), active = 0, others = 0, quick = 0, held = 0;
    go_to(m, now);
    m->held_all[0] = higher(m->held_all[0], held_all);
    struct weir_tenant_share s = share_of(t, tenant, RANKS, held_all, now);
    for (unsigned k = 0; k < TENANTS; k++) {
        unsigned h = higher(m->held[0][k], m->held[1][k]);
        active += m->known[k];
        if (k == tenant)
            continue;
        quick += higher(m->quick[0][k], m->quick[1][k]);
        others += h > 0;
        held += h;
    }
    CHECK_EQ_U64(s.limited, m->known[tenant] && active > 1);
    if (!s.limited)
        return;
    unsigned reserve = lower(lower(quick, m->usual + 1), RANKS - higher(1, RANKS / active));
    unsigned equal = (RANKS - reserve) / (others + 1);
    unsigned lent = lower(held, others * higher(1, equal));
    lent = lower(lower(lent, higher(m->held_all[0], m->held_all[1])), RANKS - reserve);
    CHECK_EQ_U64(s.active, active);
    CHECK_EQ_U64(s.reserve, reserve);
    CHECK_EQ_U64(s.held, held_now(m, tenant));
    CHECK_EQ_U64(s.limit, higher(higher(1, equal), RANKS - reserve - lent));
    unsigned over = 0;
    for (unsigned r = 0; r < RANKS; r++) {
        const struct weir_tenant_place *p = place(&s, r);
        CHECK_EQ_U64(p != NULL ? p->tokens : 0, tokens_at(m, tenant, r));
        over += p != NULL && p->over && p->tokens > QUICK;
    }
    CHECK_EQ_U64(over, s.held > s.limit ? s.held - s.limit : 0);
}

static void case_model(void) {
    static struct model m;
    struct weir_rng rng;
    struct weir_tenants *t = make(0);
    uint64_t now = 1;
    memset(&m, 0, sizeof(m));
    weir_rng_seed(&rng, check_seed());
    for (int step = 0; step < 20000; step++) {
        unsigned tenant = (unsigned)weir_rng_below(&rng, TENANTS);
        struct prompt *p = &m.prompts[weir_rng_below(&rng, PROMPTS)];
        now += weir_rng_below(&rng, step % 4000 < 3000 ? 20 : 1500);
        if (p->there) {
            p->there = false;
            weir_tenants_end(t, p->tenant, p->rank, 0, p->tokens);
        } else if (weir_rng_below(&rng, 3) == 0) {
            go_to(&m, now);
            weir_tenants_seen(t, tenant, now);
            m.known[tenant] = m.seen[tenant] = true;
            *p = (struct prompt){.tenant = tenant, .rank = (unsigned)weir_rng_below(&rng, RANKS)};
            p->tokens = 1 + weir_rng_below(&rng, weir_rng_below(&rng, 2) == 0 ? 3000 : 300);
            if (p->tokens <= QUICK)
                met(&m);
            CHECK(weir_tenants_begin(t, tenant, p->rank, 0, p->tokens));
            p->there = true;
            note(&m);
        }
        check_share(t, &m, tenant, now);
    }
    weir_tenants_destroy(t);
}

int main(void) {
    CHECK_RUN(case_alone);
    CHECK_RUN(case_one_flood);
    CHECK_RUN(case_two_floods_and_a_chat);
    CHECK_RUN(case_too_much_runs_dry);
    CHECK_RUN(case_small_pools);
    CHECK_RUN(case_too_many);
    CHECK_RUN(case_model);
    return check_finish();
}
