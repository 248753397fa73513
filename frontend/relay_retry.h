/*
 * What becomes of a request whose engine has failed it before the first byte of its answer. Pure.
 *
 * An engine that breaks off with the whole request in its hands may have died of it: SGLang 0.5.23
 * on the CPU does so of a token id outside of its vocabulary. Mostly it was the engine's own end,
 * so one other is asked; two that end so are no chance, and a third is not put at risk.
 */
#ifndef WEIR_FRONTEND_RELAY_RETRY_H
#define WEIR_FRONTEND_RELAY_RETRY_H

#include <stdbool.h>

enum { WEIR_RELAY_RETRIES = 3, WEIR_RELAY_BREAKS = 2 };

enum weir_relay_loss {
    WEIR_RELAY_UNTOUCHED, /* the engine has not got the request */
    WEIR_RELAY_FAILED,    /* it said 503, or what is no answer, or was silent: it lives on */
    WEIR_RELAY_BROKE_OFF  /* its connection ended, and it may have had all of the request */
};

struct weir_relay_failure {
    enum weir_relay_loss loss;
    bool may_choose;   /* the request is bound to no engine, and there is room to note this one */
    bool in_time;      /* engines that have not got it cost nothing yet */
    unsigned n_moves;  /* retries that counted, before this one */
    unsigned n_breaks; /* engines that broke off with it, this one included */
};

enum weir_relay_next {
    WEIR_RELAY_ENDS,        /* no other engine is asked */
    WEIR_RELAY_ENDS_BREAKS, /* … because too many have broken off with it */
    WEIR_RELAY_GOES_ON,     /* to another engine; a retry that counts */
    WEIR_RELAY_GOES_FREE    /* … one that does not */
};
enum weir_relay_next weir_relay_next(const struct weir_relay_failure *failure);

#endif
