/* The pool of one leg and phase, with --pools. Included by request_priv.h; the functions are
 * declared there. */
#ifndef WEIR_FRONTEND_LEG_POOL_PRIV_H
#define WEIR_FRONTEND_LEG_POOL_PRIV_H

#include "router/pool_config.h"

struct weir_leg_pool {
    const struct weir_pool_set *set; /* NULL: none is chosen (yet) */
    struct weir_pool_choice choice;
    uint32_t *order; /* in the request's arena: the chosen one, then those to try next */
    size_t n, at;
};

#endif
