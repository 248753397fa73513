#include "frontend/relay_retry.h"

enum weir_relay_next weir_relay_next(const struct weir_relay_failure *f) {
    if (f->loss == WEIR_RELAY_BROKE_OFF && f->n_breaks >= WEIR_RELAY_BREAKS)
        return WEIR_RELAY_ENDS_BREAKS;
    if (!f->may_choose)
        return WEIR_RELAY_ENDS;
    if (f->loss == WEIR_RELAY_UNTOUCHED && f->in_time)
        return WEIR_RELAY_GOES_FREE;
    return f->n_moves < WEIR_RELAY_RETRIES ? WEIR_RELAY_GOES_ON : WEIR_RELAY_ENDS;
}
