/* The place of a leg in a waiting room. The functions are declared in request_priv.h. */
#ifndef WEIR_FRONTEND_WAIT_PRIV_H
#define WEIR_FRONTEND_WAIT_PRIV_H

#include "frontend/rooms.h"

struct weir_leg;

struct weir_wait {
    struct weir_leg *leg;        /* borrowed: its owner */
    bool prefill;                /* for a prefill worker */
    struct weir_admission *room; /* the last one */
    struct weir_router *router;  /* before whose workers that is */
    struct weir_ticket *ticket;  /* while it waits */
    struct weir_timer timer;
    struct weir_route route; /* booked, while `granted` */
    double route_ms;         /* of one that did not wait: what choosing took; else -1 */
    bool granted, over;      /* over: it does not wait (again) */
    size_t ahead;            /* how many waited when it came */
};

#endif
