/*
 * Shares of a pool's prefill among tenants: how many ranks one tenant's long prompts may occupy, so
 * that another tenant's short prompt finds a rank that is quick. Pure: no clock, no locks.
 *
 * Why ranks: an engine reads the prompts of a batch one after the other, in chunks of its token
 * budget, so whoever comes behind a long prompt on the same rank waits for all of it. Only ranks
 * that stay free of long prompts are quick.
 *
 * A tenant *holds* a rank while it has more than quick_tokens in prefill there. Rules, for N ranks,
 * while two tenants or more have been active in the window (a tenant alone is not limited):
 *   reserve = short prompts that the others had in prefill at once of late, at most; no more than
 *             19 of 20 short prompts found there, plus one; cut to N - max(1, N / tenants)
 *   equal   = (N - reserve) / tenants that held a rank of late
 *   limit   = max(1, equal, N - reserve - ranks that the others held of late, each up to `equal`)
 * The tenant may hold `limit` ranks, and take a rank that nobody holds only while fewer than
 * N - reserve are held. Of late: now and in the window, at its peak. So the reserve follows what
 * the others need and not how many they are, and what they do not need is lent.
 */
#ifndef WEIR_ROUTER_TENANTS_H
#define WEIR_ROUTER_TENANTS_H

#include "base/status.h"

#include <stdint.h>

struct weir_tenants;

struct weir_tenants_config {
    uint64_t window_ms;    /* a tenant is active so long after a request, and up to twice that */
    uint64_t quick_tokens; /* prefill that another tenant may wait behind */
    size_t max_tenants;    /* 0 = 4,096; requests of tenants beyond that are not limited */
};

enum weir_status weir_tenants_create(const struct weir_tenants_config *config,
                                     struct weir_tenants **ret) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_tenants_destroy(struct weir_tenants *tenants);

/* A request of the tenant is there. */
void weir_tenants_seen(struct weir_tenants *tenants, uint64_t tenant, uint64_t now_ms);
/* A prompt with so many tokens to compute went to the rank: one begin, one end with the same
 * arguments. False: not counted (out of memory, too many tenants), and no end may follow. */
bool weir_tenants_begin(struct weir_tenants *tenants, uint64_t tenant, uint64_t worker_id,
                        uint32_t dp_rank, uint64_t tokens);
void weir_tenants_end(struct weir_tenants *tenants, uint64_t tenant, uint64_t worker_id,
                      uint32_t dp_rank, uint64_t tokens);

/* Where one tenant has prompts in prefill. */
struct weir_tenant_place {
    uint64_t worker_id;
    uint32_t dp_rank;
    uint64_t tokens;
    uint32_t prompts;
    bool over; /* it holds the rank beyond its limit: no more long prompts there */
};
struct weir_tenant_share {
    bool limited;       /* false: nothing below counts */
    unsigned active;    /* tenants */
    unsigned reserve;   /* ranks that stay without long prompts */
    unsigned held;      /* ranks that this tenant holds */
    unsigned limit;     /* ranks that it may hold */
    unsigned held_all;  /* ranks with more than quick_tokens in prefill, whoever's */
    unsigned most_held; /* of those, at most */
    const struct weir_tenant_place *places; /* until the next call */
    size_t n_places;
};
/* n_ranks: that serve; n_held: of those, with more than quick_tokens in prefill. */
void weir_tenants_share(struct weir_tenants *tenants, uint64_t tenant, unsigned n_ranks,
                        unsigned n_held, uint64_t now_ms, struct weir_tenant_share *ret);
/* May a prompt with so many uncached tokens go to a rank with so many tokens in prefill? `own`: the
 * tenant's place there, or NULL. */
bool weir_tenant_may(const struct weir_tenant_share *share, uint64_t quick_tokens,
                     const struct weir_tenant_place *own, uint64_t rank_tokens, uint64_t uncached);

/* For people. */
struct weir_tenant_state {
    uint64_t tenant;
    unsigned held, short_prompts; /* now */
    uint64_t tokens;              /* in prefill */
};
/* The active ones in no fixed order; returns how many there are (may exceed room). */
size_t weir_tenants_list(struct weir_tenants *tenants, uint64_t now_ms,
                         struct weir_tenant_state *ret, size_t room);

#endif
