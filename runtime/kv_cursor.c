#include "runtime/kv_cursor.h"

/* From the connection to the first look, and from each to the next. The subscription is on its way
 * when the connection is told of, so a publisher that is not starved has it by the first. */
static const uint64_t look_pauses_ms[WEIR_CURSOR_LOOKS] = {50, 1000, 5000};

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

void weir_kv_cursor_joined(struct weir_kv_cursor *c, uint64_t now_ms) {
    if (c->state == WEIR_CURSOR_COLD)
        return;
    c->looks = WEIR_CURSOR_LOOKS;
    c->heard = false;
    c->look_ms = now_ms + look_pauses_ms[0];
}

void weir_kv_cursor_heard(struct weir_kv_cursor *c) {
    c->heard = true;
    if (c->looks < WEIR_CURSOR_LOOKS)
        c->looks = 0;
}

bool weir_kv_cursor_look(const struct weir_kv_cursor *c, uint64_t now_ms, uint64_t *ret_wait_ms) {
    *ret_wait_ms = UINT64_MAX;
    if (c->state != WEIR_CURSOR_LIVE || c->looks == 0)
        return false;
    *ret_wait_ms = c->look_ms > now_ms ? c->look_ms - now_ms : 0;
    return *ret_wait_ms == 0;
}

void weir_kv_cursor_behind(struct weir_kv_cursor *c, bool dump) {
    if (dump)
        weir_kv_cursor_restore(c);
    else
        c->state = WEIR_CURSOR_RECOVERING;
}

void weir_kv_cursor_looked(struct weir_kv_cursor *c, uint64_t now_ms) {
    if (c->looks > 0)
        c->looks--;
    if (c->heard)
        c->looks = 0;
    if (c->looks > 0)
        c->look_ms = now_ms + look_pauses_ms[WEIR_CURSOR_LOOKS - c->looks];
}

bool weir_kv_cursor_look_failed(struct weir_kv_cursor *c, uint64_t now_ms) {
    if (++c->failures < WEIR_CURSOR_MAX_FAILURES) {
        c->look_ms = now_ms + ((uint64_t)WEIR_CURSOR_BACKOFF_MS << (c->failures - 1));
        return true;
    }
    c->failures = 0;
    c->looks = 0;
    return false;
}
