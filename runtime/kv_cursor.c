#include "runtime/kv_cursor.h"

void weir_kv_cursor_reset(struct weir_kv_cursor *c) {
    *c = (struct weir_kv_cursor){.state = WEIR_CURSOR_COLD};
}

void weir_kv_cursor_restore(struct weir_kv_cursor *c) {
    c->state = WEIR_CURSOR_RESTORING;
    c->last = 0;
}

static enum weir_kv_step barrier(struct weir_kv_cursor *c, uint64_t id) {
    c->state = WEIR_CURSOR_LIVE;
    c->last = c->max_seen = id;
    c->failures = 0;
    return WEIR_STEP_APPLY_AND_DROP;
}

enum weir_kv_step weir_kv_cursor_event(struct weir_kv_cursor *c, uint64_t id, bool cleared,
                                       bool *ret_ask) {
    *ret_ask = false;
    if (c->state == WEIR_CURSOR_COLD)
        return WEIR_STEP_IGNORE;
    if (c->state != WEIR_CURSOR_RESTORING && id <= c->last)
        return WEIR_STEP_IGNORE;
    if (cleared)
        return barrier(c, id);
    if (id > c->max_seen)
        c->max_seen = id;
    if (c->state != WEIR_CURSOR_LIVE)
        return WEIR_STEP_HOLD;
    if (id == c->last + 1) {
        c->last = id;
        return WEIR_STEP_APPLY;
    }
    c->state = WEIR_CURSOR_RECOVERING;
    *ret_ask = true;
    return WEIR_STEP_HOLD;
}

void weir_kv_cursor_answered(struct weir_kv_cursor *c, uint64_t last) {
    if (c->state == WEIR_CURSOR_RESTORING || last > c->last)
        c->last = last;
    c->state = WEIR_CURSOR_LIVE;
    c->failures = 0;
}

bool weir_kv_cursor_gap(struct weir_kv_cursor *c) {
    if (c->state != WEIR_CURSOR_LIVE || c->max_seen <= c->last)
        return false;
    c->state = WEIR_CURSOR_RECOVERING;
    return true;
}

bool weir_kv_cursor_doubt(struct weir_kv_cursor *c) {
    if (c->state == WEIR_CURSOR_COLD)
        return false;
    if (c->state == WEIR_CURSOR_LIVE && c->last == 0)
        weir_kv_cursor_restore(c);
    else if (c->state == WEIR_CURSOR_LIVE)
        c->state = WEIR_CURSOR_RECOVERING;
    return true;
}

bool weir_kv_cursor_failed(struct weir_kv_cursor *c, uint64_t *ret_delay_ms) {
    if (++c->failures < WEIR_CURSOR_MAX_FAILURES) {
        *ret_delay_ms = (uint64_t)WEIR_CURSOR_BACKOFF_MS << (c->failures - 1);
        return true;
    }
    c->state = WEIR_CURSOR_LIVE;
    if (c->max_seen > c->last)
        c->last = c->max_seen;
    c->failures = 0;
    return false;
}
