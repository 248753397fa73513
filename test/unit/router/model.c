/*
 * The router against a naive model: random workers, cache events on all tiers, bookings and
 * overrides. Cost, choice and load must equal what plain loops over plain tables give (shared spec
 * "kvrouter" 4.1 to 4.3; router/README.md for the fleet policy).
 */
#include "kvindex/kvi.h"
#include "router/decide.h"
#include "test/check.h"

#include <math.h>

enum { BLOCK = 4, FAMILIES = 6, DEPTH = 8, WORKERS = 6, RANKS = 3, BOOKINGS = 40, STEPS = 4000 };

static struct weir_rng rng;
static bool lower_tiers; /* the index keeps them */

static bool keeps_lower_tiers(void) {
    struct kvi_options o = {0};
    struct kvi_index *x = kvi_create(&o);
    const struct kvi_block block = {1, 1};
    CHECK(x != NULL);
    struct kvi_stats stats;
    CHECK(kvi_store(x, (struct kvi_worker){1, 0}, KVI_HOST, false, 0, &block, 1, NULL) == KVI_OK);
    kvi_get_stats(x, &stats);
    kvi_destroy(x);
    return stats.tier[KVI_HOST] > 0;
}

/* Prompts: families that share the beginning of the first one. */
static uint64_t local[FAMILIES][DEPTH], seq[FAMILIES][DEPTH];

static void make_prompts(void) {
    for (unsigned f = 0; f < FAMILIES; f++) {
        uint32_t tokens[DEPTH * BLOCK];
        unsigned shared = f == 0 ? DEPTH : (f % 4) * BLOCK;
        for (unsigned i = 0; i < DEPTH * BLOCK; i++)
            tokens[i] = i < shared ? i : 1000 * f + i;
        CHECK(kvi_hash_blocks(tokens, DEPTH * BLOCK, BLOCK, KVI_SEED, false, local[f], DEPTH) ==
              DEPTH);
        kvi_chain(local[f], DEPTH, seq[f]);
    }
}

struct naive_booking {
    bool used;
    uint64_t handle;
    unsigned w, rank, n;
    uint64_t hashes[DEPTH];
    uint64_t prefill;
};

static struct {
    bool there;
    uint32_t size;
    bool held[RANKS][4][FAMILIES * DEPTH]; /* by the place of the first equal hash */
    double placed[RANKS];                  /* blocks, in all: the clock stands still here */
} workers[WORKERS];
static struct naive_booking bookings[BOOKINGS];

static unsigned place(uint64_t hash) {
    for (unsigned i = 0; i < FAMILIES * DEPTH; i++)
        if (seq[i / DEPTH][i % DEPTH] == hash)
            return i;
    CHECK(false);
    return 0;
}

static uint64_t id_of(unsigned w) {
    return 0xf000000000000000u + w;
}

/* ---- naive figures ------------------------------------------------------------------------ */

static bool active(unsigned w, unsigned rank, uint64_t hash) {
    for (unsigned b = 0; b < BOOKINGS; b++)
        for (unsigned i = 0; bookings[b].used && i < bookings[b].n; i++)
            if (bookings[b].w == w && bookings[b].rank == rank && bookings[b].hashes[i] == hash)
                return true;
    return false;
}

static unsigned active_blocks(unsigned w, unsigned rank) {
    uint64_t seen[BOOKINGS * DEPTH];
    unsigned n = 0;
    for (unsigned b = 0; b < BOOKINGS; b++)
        for (unsigned i = 0; bookings[b].used && i < bookings[b].n; i++) {
            unsigned k = 0;
            if (bookings[b].w != w || bookings[b].rank != rank)
                break;
            while (k < n && seen[k] != bookings[b].hashes[i])
                k++;
            if (k == n)
                seen[n++] = bookings[b].hashes[i];
        }
    return n;
}

static uint64_t prefill_tokens(unsigned w, unsigned rank) {
    uint64_t n = 0;
    for (unsigned b = 0; b < BOOKINGS; b++)
        if (bookings[b].used && bookings[b].w == w && bookings[b].rank == rank)
            n += bookings[b].prefill;
    return n;
}

static void overlaps(unsigned w, unsigned rank, unsigned f, unsigned n, double ret[4]) {
    unsigned at = 0;
    for (unsigned tier = 0; tier < 4; tier++) {
        ret[tier] = 0;
        while (at < n && workers[w].held[rank][tier][place(seq[f][at])]) {
            at++;
            ret[tier]++;
        }
    }
}

struct options {
    double credit, scale, decode_weight;
    bool reuse, track;
    enum weir_selection_policy policy;
};

/* Running prompts count as held under the fleet policy. */
static void held(unsigned w, unsigned rank, unsigned f, unsigned n, const struct options *o,
                 double ret[4]) {
    unsigned running = 0;
    overlaps(w, rank, f, n, ret);
    while (o->policy == WEIR_SELECT_FLEET && o->reuse && running < n &&
           active(w, rank, seq[f][running]))
        running++;
    ret[0] = fmax(ret[0], running);
}

static double naive_cost(unsigned w, unsigned rank, unsigned f, unsigned n, size_t isl,
                         const struct options *o) {
    double tiers[4], raw = 0, additional = n;
    unsigned requests = 0;
    held(w, rank, f, n, o, tiers);
    double host = 0.75 * tiers[1], disk = 0.25 * (tiers[2] + tiers[3]);
    double cached = round(BLOCK * (tiers[0] + host + disk));
    if (o->track)
        raw = (double)prefill_tokens(w, rank) + fmax((double)isl - cached, 0) + cached;
    if (o->reuse)
        for (unsigned i = 0; i < n && active(w, rank, seq[f][i]); i++)
            additional--;
    for (unsigned b = 0; b < BOOKINGS; b++)
        requests += bookings[b].used && bookings[b].w == w && bookings[b].rank == rank;
    if (o->policy == WEIR_SELECT_FLEET) {
        double missing = fmax((double)isl / BLOCK - (o->credit * tiers[0] + host + disk), 0);
        double price = 8 + 2 * workers[w].placed[rank] / 16384;
        double work = (double)prefill_tokens(w, rank) / BLOCK + missing * price;
        return o->scale * (o->track ? work : 0) + 0.02 * (active_blocks(w, rank) + additional) +
               o->decode_weight * requests;
    }
    double prefill = fmax(raw / BLOCK - (o->credit * tiers[0] + host + disk), 0);
    if (o->policy == WEIR_SELECT_LMETRIC)
        return prefill * (active_blocks(w, rank) + additional + 1);
    return o->scale * prefill + active_blocks(w, rank) + additional + o->decode_weight * requests;
}

/* ---- steps -------------------------------------------------------------------------------- */

static void put_worker(struct weir_router *r, unsigned w) {
    uint32_t size = 1 + (uint32_t)weir_rng_below(&rng, RANKS);
    struct weir_router_worker worker = {
        .worker_id = id_of(w), .dp_size = size, .max_num_batched_tokens = 64, .pool = w % 2};
    if (workers[w].there)
        return;
    if (w % 2 == 1)
        CHECK(weir_router_adapter_put(r, 1, id_of(w)) == WEIR_OK);
    if (w % 3 == 0)
        CHECK(weir_router_adapter_put(r, 2, id_of(w)) == WEIR_OK);
    CHECK(weir_router_worker_put(r, &worker) == WEIR_OK);
    workers[w].there = true;
    workers[w].size = size;
}

/* Its bookings stay with the router; freeing them later must do no harm. */
static void remove_worker(struct weir_router *r, unsigned w) {
    weir_router_worker_remove(r, id_of(w));
    memset(&workers[w], 0, sizeof(workers[w]));
    for (unsigned b = 0; b < BOOKINGS; b++)
        if (bookings[b].used && bookings[b].w == w) {
            weir_router_free(r, bookings[b].handle);
            bookings[b].used = false;
        }
}

/* A whole beginning is stored, or an end removed, on one tier. */
static void cache_event(struct weir_router *r) {
    unsigned w = (unsigned)weir_rng_below(&rng, WORKERS),
             f = (unsigned)weir_rng_below(&rng, FAMILIES);
    if (!workers[w].there)
        return;
    unsigned rank = (unsigned)weir_rng_below(&rng, workers[w].size);
    unsigned tier = (unsigned)weir_rng_below(&rng, 8);
    tier = tier > 3 || !lower_tiers ? 0 : tier;
    unsigned n = 1 + (unsigned)weir_rng_below(&rng, DEPTH),
             kind = (unsigned)weir_rng_below(&rng, 10);
    struct weir_kv_block blocks[DEPTH];
    struct weir_kv_event e = {
        .worker_id = id_of(w), .dp_rank = rank, .tier = (enum weir_kv_tier)tier};
    if (kind < 6) {
        for (unsigned i = 0; i < n; i++) {
            blocks[i] = (struct weir_kv_block){seq[f][i], local[f][i]};
            workers[w].held[rank][tier][place(seq[f][i])] = true;
        }
        e.kind = WEIR_KV_STORED;
        e.blocks = blocks;
        e.n_blocks = n;
    } else if (kind < 9) {
        unsigned from = (unsigned)weir_rng_below(&rng, DEPTH);
        e.kind = WEIR_KV_REMOVED;
        e.removed = &seq[f][from];
        e.n_removed = DEPTH - from;
        for (unsigned i = from; i < DEPTH; i++)
            workers[w].held[rank][tier][place(seq[f][i])] = false;
    } else {
        e.kind = WEIR_KV_CLEARED;
        memset(workers[w].held[rank], 0, sizeof(workers[w].held[rank]));
    }
    weir_router_kv_event(r, &e);
}

static void check_choice(const struct weir_route *route, unsigned f, unsigned n, size_t isl,
                         const struct options *o) {
    double best = INFINITY, of_choice = NAN, most = 0, tiers[4];
    for (unsigned w = 0; w < WORKERS; w++)
        for (unsigned k = 0; workers[w].there && k < workers[w].size; k++) {
            double cost = naive_cost(w, k, f, n, isl, o);
            best = fmin(best, cost);
            held(w, k, f, n, o, tiers);
            most = fmax(most, tiers[0]);
            if (id_of(w) == route->worker_id && k == route->dp_rank)
                of_choice = cost;
        }
    CHECK_MSG(fabs(of_choice - route->cost) < 1e-9, "cost %f, naive %f", route->cost, of_choice);
    CHECK_MSG(of_choice <= best + 1e-9, "chose %f, best is %f", of_choice, best);
    CHECK_EQ_U64(route->best_overlap_blocks, (uint64_t)most);
    held((unsigned)(route->worker_id - id_of(0)), route->dp_rank, f, n, o, tiers);
    CHECK_EQ_U64(route->overlap_blocks, (uint64_t)tiers[0]);
}

/* A query that asks for the record of its choice goes by the list of candidates, others mostly do
 * without: the same choice, costs and random draws, to the last bit. */
static void check_list_and_scan(struct weir_router *r, struct weir_route_query q) {
    struct weir_decision record = {.n = 0};
    struct weir_rng drawn = rng, draws = rng;
    struct weir_route scan = {.cost = NAN}, list = scan;
    q.query_only = true;
    q.rng = &drawn;
    enum weir_status a = weir_router_route(r, &q, &scan);
    q.explain = &record;
    q.rng = &draws;
    enum weir_status b = weir_router_route(r, &q, &list);
    CHECK(a == b);
    CHECK(memcmp(&drawn, &draws, sizeof(drawn)) == 0);
    if (a == WEIR_OK) {
        uint64_t w = scan.worker_id - id_of(0);
        CHECK(q.adapter == 0 || (q.adapter == 1 ? w % 2 == 1 : w % 3 == 0));
        CHECK(scan.worker_id == list.worker_id && scan.dp_rank == list.dp_rank);
        CHECK(memcmp(&scan.cost, &list.cost, sizeof(double)) == 0);
        CHECK(scan.overlap_blocks == list.overlap_blocks &&
              scan.best_overlap_blocks == list.best_overlap_blocks);
        const double *x = &scan.load.cached_tokens, *y = &list.load.cached_tokens;
        CHECK(memcmp(x, y, sizeof(double)) == 0);
        CHECK(scan.load.prefill_tokens == list.load.prefill_tokens &&
              scan.load.decode_blocks == list.load.decode_blocks &&
              scan.load.additional_blocks == list.load.additional_blocks);
    }
    weir_decision_fini(&record);
}

static void route_one(struct weir_router *r, const struct options *defaults) {
    unsigned f = (unsigned)weir_rng_below(&rng, FAMILIES),
             n = (unsigned)weir_rng_below(&rng, DEPTH + 1);
    size_t isl = n * BLOCK + (size_t)weir_rng_below(&rng, BLOCK), slot = 0;
    struct weir_route_override over = {NAN, NAN, NAN, -1, -1};
    struct options o = *defaults;
    bool overrides = weir_rng_below(&rng, 3) == 0;
    if (overrides) {
        over.overlap_score_credit = o.credit = (double)weir_rng_below(&rng, 3) / 2;
        over.prefill_load_scale = o.scale = (double)weir_rng_below(&rng, 3);
        over.track_prefill_tokens = o.track = weir_rng_below(&rng, 2) == 0;
        over.assume_kv_reuse = o.reuse = weir_rng_below(&rng, 2) == 0;
    }
    while (slot < BOOKINGS && bookings[slot].used)
        slot++;
    struct weir_route_query q = {.local_hashes = local[f],
                                 .sequence_hashes = seq[f],
                                 .n_blocks = n,
                                 .isl_tokens = isl,
                                 .pinned_rank = -1,
                                 .override = overrides ? &over : NULL,
                                 .query_only = slot == BOOKINGS || !o.reuse,
                                 .rng = &rng};
    struct weir_route route;
    struct weir_route_query odd = q;
    check_list_and_scan(r, q);
    odd.has_pool = weir_rng_below(&rng, 2) == 0;
    odd.pool = (uint32_t)weir_rng_below(&rng, 2);
    odd.adapter = weir_rng_below(&rng, 3); /* 1: odd workers have it, 2: every third */
    odd.blind = weir_rng_below(&rng, 4) == 0;
    odd.may_wait = weir_rng_below(&rng, 2) == 0;
    odd.now_ms = weir_rng_below(&rng, 2000); /* some were said to have failed until 1,000 */
    check_list_and_scan(r, odd);
    enum weir_status st = weir_router_route(r, &q, &route);
    unsigned there = 0;
    for (unsigned w = 0; w < WORKERS; w++)
        there += workers[w].there;
    CHECK(st == (there > 0 ? WEIR_OK : WEIR_UNAVAILABLE));
    if (st != WEIR_OK)
        return;
    check_choice(&route, f, n, isl, &o);
    CHECK((route.booking == 0) == q.query_only);
    if (q.query_only)
        return;
    struct naive_booking *b = &bookings[slot];
    double tiers[4];
    *b = (struct naive_booking){.used = true,
                                .handle = route.booking,
                                .w = (unsigned)(route.worker_id - id_of(0)),
                                .rank = route.dp_rank,
                                .n = n};
    b->used = false; /* what ran before */
    held(b->w, b->rank, f, n, &o, tiers);
    b->used = true;
    double cached = round(BLOCK * (tiers[0] + 0.75 * tiers[1] + 0.25 * (tiers[2] + tiers[3])));
    if (o.track && (double)isl > cached)
        b->prefill = isl - (uint64_t)cached;
    workers[b->w].placed[b->rank] += (double)b->prefill / BLOCK;
    memcpy(b->hashes, seq[f], n * sizeof(b->hashes[0]));
}

static void end_one(struct weir_router *r) {
    struct naive_booking *b = &bookings[weir_rng_below(&rng, BOOKINGS)];
    if (!b->used)
        return;
    if (weir_rng_below(&rng, 2) == 0) {
        weir_router_prefill_done(r, b->handle);
        b->prefill = 0;
    } else {
        weir_router_free(r, b->handle);
        b->used = false;
    }
}

static void check_loads(struct weir_router *r) {
    struct weir_worker_load l[WORKERS * RANKS];
    size_t n = weir_router_loads(r, 0, l, WORKERS * RANKS), want = 0;
    for (unsigned w = 0; w < WORKERS; w++)
        want += workers[w].there ? workers[w].size : 0;
    CHECK_EQ_U64(n, want);
    for (size_t i = 0; i < n; i++) {
        unsigned w = (unsigned)(l[i].worker_id - id_of(0));
        CHECK_EQ_U64(l[i].active_decode_blocks, active_blocks(w, l[i].dp_rank));
        CHECK_EQ_U64(l[i].active_prefill_tokens, prefill_tokens(w, l[i].dp_rank));
    }
}

static void case_equals_naive_model(void) {
    static const struct options sets[] = {
        {1, 1, 0, true, true, WEIR_SELECT_LINEAR},  {0.5, 2, 0.25, true, true, WEIR_SELECT_LINEAR},
        {1, 1, 0, true, false, WEIR_SELECT_LINEAR}, {0, 1, 1, true, true, WEIR_SELECT_LINEAR},
        {1, 1, 0, true, true, WEIR_SELECT_LMETRIC}, {1, 1, 0.25, true, true, WEIR_SELECT_FLEET}};
    make_prompts();
    weir_rng_seed(&rng, check_seed());
    for (size_t s = 0; s < WEIR_ARRAY_LEN(sets); s++) {
        struct weir_router_config c;
        struct weir_router *r = NULL;
        memset(workers, 0, sizeof(workers));
        memset(bookings, 0, sizeof(bookings));
        weir_router_config_init(&c);
        c.mode = WEIR_ROUTE_KV;
        c.block_size = BLOCK;
        c.policy = sets[s].policy;
        c.overlap_score_credit = sets[s].credit;
        c.prefill_load_scale = sets[s].scale;
        c.decode_active_request_weight = sets[s].decode_weight;
        c.track_prefill_tokens = sets[s].track;
        CHECK(weir_router_create(&c, &r) == WEIR_OK);
        for (unsigned step = 0; step < STEPS; step++) {
            uint64_t dice = weir_rng_below(&rng, 100);
            if (dice < 4)
                put_worker(r, (unsigned)weir_rng_below(&rng, WORKERS));
            else if (dice < 5)
                remove_worker(r, (unsigned)weir_rng_below(&rng, WORKERS));
            else if (dice < 45)
                cache_event(r);
            else if (dice < 75)
                route_one(r, &sets[s]);
            else
                end_one(r);
            if (step % 64 == 0)
                check_loads(r);
        }
        weir_router_destroy(r);
    }
}

/* Tenants over their shares, most of them with long prompts; the choices themselves are the matter
 * of tenants.c. */
static void case_list_and_scan_with_tenants(void) {
    enum { LIVES = 6 };
    make_prompts();
    weir_rng_seed(&rng, check_seed());
    for (unsigned life = 0; life < LIVES; life++) {
        struct weir_router_config c;
        struct weir_router *r = NULL;
        uint64_t running[BOOKINGS] = {0};
        memset(workers, 0, sizeof(workers));
        memset(bookings, 0, sizeof(bookings));
        weir_router_config_init(&c);
        c.mode = WEIR_ROUTE_KV;
        c.block_size = BLOCK;
        c.tenant_window_ms = 1000;
        c.tenant_quick_tokens = 8;
        c.overlap_credit_decay = life % 3 == 2;
        c.policy = (enum weir_selection_policy)(life % 3);
        CHECK(weir_router_create(&c, &r) == WEIR_OK);
        for (unsigned step = 0; step < STEPS; step++) {
            unsigned f = (unsigned)weir_rng_below(&rng, FAMILIES);
            size_t n = (size_t)weir_rng_below(&rng, DEPTH + 1);
            struct weir_route route;
            struct weir_route_query q = {.local_hashes = local[f],
                                         .sequence_hashes = seq[f],
                                         .n_blocks = n,
                                         .isl_tokens = n * BLOCK + weir_rng_below(&rng, BLOCK),
                                         .pinned_rank = -1,
                                         .tenant = weir_rng_below(&rng, 3),
                                         .rng = &rng,
                                         .now_ms = step / 4};
            if (weir_rng_below(&rng, 20) == 0)
                put_worker(r, (unsigned)weir_rng_below(&rng, WORKERS));
            if (weir_rng_below(&rng, 100) == 0)
                remove_worker(r, (unsigned)weir_rng_below(&rng, WORKERS));
            cache_event(r);
            check_list_and_scan(r, q);
            q.has_pool = weir_rng_below(&rng, 3) == 0;
            q.pool = (uint32_t)weir_rng_below(&rng, 2);
            q.adapter = weir_rng_below(&rng, 3);
            check_list_and_scan(r, q);
            uint64_t *b = &running[weir_rng_below(&rng, BOOKINGS)];
            if (weir_rng_below(&rng, 3) == 0)
                weir_router_prefill_done(r, *b);
            weir_router_free(r, *b);
            *b = weir_router_route(r, &q, &route) == WEIR_OK ? route.booking : 0;
        }
        weir_router_destroy(r);
    }
}

/* One host block earns three quarters of a device block. */
static void case_lower_tiers(void) {
    static const struct {
        enum weir_kv_tier tier;
        double cost;
    } rows[] = {
        {WEIR_TIER_DEVICE, 4}, {WEIR_TIER_HOST, 5}, {WEIR_TIER_DISK, 7}, {WEIR_TIER_EXTERNAL, 7}};
    make_prompts();
    if (!lower_tiers)
        printf("skipped: the index keeps no lower tiers\n");
    for (size_t i = 0; i < (lower_tiers ? WEIR_ARRAY_LEN(rows) : 1); i++) {
        struct weir_router_config c;
        struct weir_router *r = NULL;
        struct weir_kv_block blocks[4];
        weir_router_config_init(&c);
        c.mode = WEIR_ROUTE_KV;
        c.block_size = BLOCK;
        c.track_active_blocks = false;
        CHECK(weir_router_create(&c, &r) == WEIR_OK);
        struct weir_router_worker worker = {.worker_id = 1, .dp_size = 1};
        CHECK(weir_router_worker_put(r, &worker) == WEIR_OK);
        for (unsigned k = 0; k < 4; k++)
            blocks[k] = (struct weir_kv_block){seq[0][k], local[0][k]};
        struct weir_kv_event e = {
            .worker_id = 1, .tier = rows[i].tier, .blocks = blocks, .n_blocks = 4};
        weir_router_kv_event(r, &e);
        struct weir_route_query q = {.local_hashes = local[0],
                                     .sequence_hashes = seq[0],
                                     .n_blocks = DEPTH,
                                     .isl_tokens = DEPTH * BLOCK,
                                     .pinned_rank = -1,
                                     .rng = &rng};
        struct weir_route route;
        CHECK(weir_router_route(r, &q, &route) == WEIR_OK);
        CHECK_MSG(route.cost == rows[i].cost, "tier %d: %f", (int)rows[i].tier, route.cost);
        CHECK_EQ_U64(route.overlap_blocks, rows[i].tier == WEIR_TIER_DEVICE ? 4 : 0);
        weir_router_destroy(r);
    }
}

/* Prompts that are not to share blocks are counted each for itself. */
static void case_without_reuse(void) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    make_prompts();
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.block_size = BLOCK;
    c.assume_kv_reuse = false;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    struct weir_router_worker worker = {.worker_id = 1, .dp_size = 1};
    CHECK(weir_router_worker_put(r, &worker) == WEIR_OK);
    struct weir_route_query q = {.local_hashes = local[0],
                                 .sequence_hashes = seq[0],
                                 .n_blocks = 3,
                                 .isl_tokens = 3 * BLOCK,
                                 .pinned_rank = -1,
                                 .rng = &rng};
    struct weir_route a, b;
    struct weir_worker_load l;
    CHECK(weir_router_route(r, &q, &a) == WEIR_OK && weir_router_route(r, &q, &b) == WEIR_OK);
    CHECK(weir_router_loads(r, 0, &l, 1) == 1);
    CHECK_EQ_U64(l.active_decode_blocks, 6);
    CHECK(a.cost == 6 && b.cost == 12); /* 3 + 3; then 6 of prefill, 3 active, 3 more */
    weir_router_free(r, a.booking);
    weir_router_free(r, b.booking);
    CHECK(weir_router_loads(r, 0, &l, 1) == 1);
    CHECK_EQ_U64(l.active_decode_blocks + l.active_prefill_tokens + l.active_requests, 0);
    weir_router_destroy(r);
}

/* The number of a removed worker goes to another: nothing of it is laid to the wrong one. */
static void case_numbers_are_used_again(void) {
    struct weir_router_config c;
    struct weir_router *r = NULL;
    make_prompts();
    weir_router_config_init(&c);
    c.mode = WEIR_ROUTE_KV;
    c.block_size = BLOCK;
    c.max_workers = 2;
    CHECK(weir_router_create(&c, &r) == WEIR_OK);
    struct weir_kv_block blocks[DEPTH];
    for (unsigned k = 0; k < DEPTH; k++)
        blocks[k] = (struct weir_kv_block){seq[0][k], local[0][k]};
    struct weir_route_query q = {.local_hashes = local[0],
                                 .sequence_hashes = seq[0],
                                 .n_blocks = DEPTH,
                                 .isl_tokens = DEPTH * BLOCK,
                                 .pinned_rank = -1,
                                 .query_only = true,
                                 .rng = &rng};
    struct weir_route route;
    for (uint64_t id = 1; id <= 20; id++) {
        struct weir_router_worker worker = {.worker_id = id, .dp_size = 1};
        struct weir_kv_event e = {.worker_id = 1000 + id, .blocks = blocks, .n_blocks = DEPTH};
        CHECK(weir_router_worker_put(r, &worker) == WEIR_OK);
        CHECK(weir_router_route(r, &q, &route) == WEIR_OK && route.worker_id == id);
        weir_router_worker_remove(r, id);
        weir_router_kv_event(r, &e); /* of a worker that was never announced */
        worker.worker_id = 2000 + id;
        CHECK(weir_router_worker_put(r, &worker) == WEIR_OK);
        CHECK(weir_router_route(r, &q, &route) == WEIR_OK && route.overlap_blocks == 0);
        weir_router_worker_remove(r, 1000 + id);
        weir_router_worker_remove(r, 2000 + id);
    }
    weir_router_destroy(r);
}

static void case_probe(void) {
    lower_tiers = keeps_lower_tiers();
}

int main(void) {
    CHECK_RUN(case_probe);
    CHECK_RUN(case_equals_naive_model);
    CHECK_RUN(case_list_and_scan_with_tenants);
    CHECK_RUN(case_lower_tiers);
    CHECK_RUN(case_without_reuse);
    CHECK_RUN(case_numbers_are_used_again);
    return check_finish();
}
