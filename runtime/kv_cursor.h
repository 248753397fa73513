/*
 * Where one rank's stream of cache events stands: what to apply, what to hold back, when to ask the
 * worker for what was missed. Pure. Source: shared spec "kvrouter" 2.5.
 *
 * Ids of a rank rise by one from event to event, from 1. A cursor begins cold; it is restored from
 * a dump of the rank's whole cache, then follows the live events; a gap is closed by asking for the
 * missing ids, and what comes meanwhile waits.
 *
 * A publisher takes a subscription when it gets round to it, so what it sends between the dump and
 * that moment reaches nobody, and until its next event nothing shows it. Hence looks: some time
 * after each connection a live cursor has the worker asked whether it is behind. An event that
 * comes over the connection proves the subscription, and the ids show the rest. The first look is
 * taken all the same: what waits in a queue may be older than the connection.
 */
#ifndef WEIR_RUNTIME_KV_CURSOR_H
#define WEIR_RUNTIME_KV_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

enum weir_kv_cursor_state {
    WEIR_CURSOR_COLD,       /* nothing is known; live events are not used */
    WEIR_CURSOR_RESTORING,  /* the whole cache was asked for */
    WEIR_CURSOR_LIVE,       /* every event up to `last` was applied */
    WEIR_CURSOR_RECOVERING, /* the events behind `last` were asked for */
};
struct weir_kv_cursor {
    enum weir_kv_cursor_state state;
    uint64_t last;     /* LIVE, RECOVERING */
    uint64_t max_seen; /* newest live id; may have been dropped for want of room */
    unsigned failures; /* in a row */
    unsigned looks;    /* still to be taken */
    bool heard;        /* an event came over the connection */
    uint64_t look_ms;  /* when the next look is due */
};

enum weir_kv_step {
    WEIR_STEP_APPLY,
    WEIR_STEP_IGNORE, /* applied already, or a dump will hold it */
    WEIR_STEP_HOLD,   /* to be offered again after the answer */
    /* A barrier: apply it; what is held and what was asked for is void. */
    WEIR_STEP_APPLY_AND_DROP,
};
enum { WEIR_CURSOR_MAX_FAILURES = 8, WEIR_CURSOR_BACKOFF_MS = 200, WEIR_CURSOR_LOOKS = 3 };

/* Cold again, whatever it was. */
void weir_kv_cursor_reset(struct weir_kv_cursor *c);
/* The whole cache is being asked for. */
void weir_kv_cursor_restore(struct weir_kv_cursor *c);
/* An event came, live or from those held. *ret_ask: a gap; ask for the ids from last + 1 on. */
enum weir_kv_step weir_kv_cursor_event(struct weir_kv_cursor *c, uint64_t id, bool cleared,
                                       bool *ret_ask);
/* The answer was applied and holds everything up to `last`. The held events must be offered again,
 * then weir_kv_cursor_gap() be asked. */
void weir_kv_cursor_answered(struct weir_kv_cursor *c, uint64_t last);
/* Live, but a newer event was seen than was applied: RECOVERING, and true: ask from last + 1 on. */
bool weir_kv_cursor_gap(struct weir_kv_cursor *c);
/* The question failed. True: ask again after *ret_delay_ms. False: given up; the rank's blocks are
 * not to be trusted, and the cursor is live behind all that was seen. */
bool weir_kv_cursor_failed(struct weir_kv_cursor *c, uint64_t *ret_delay_ms);

/* A connection was made, or events may be lost without one behind them: looks follow. */
void weir_kv_cursor_joined(struct weir_kv_cursor *c, uint64_t now_ms);
/* An event of this rank came over the present connection. */
void weir_kv_cursor_heard(struct weir_kv_cursor *c);
/* True: ask from `last` on now (for the whole cache when that is 0). False: when *ret_wait_ms have
 * passed; UINT64_MAX: not before something else happens. The cursor stays live meanwhile. */
bool weir_kv_cursor_look(const struct weir_kv_cursor *c, uint64_t now_ms, uint64_t *ret_wait_ms);
/* The answer of a look holds what was missed: RESTORING (a dump) or RECOVERING while it is applied,
 * so that one that fails half-way is treated as theirs. */
void weir_kv_cursor_behind(struct weir_kv_cursor *c, bool dump);
/* A look was answered; weir_kv_cursor_answered() was called. */
void weir_kv_cursor_looked(struct weir_kv_cursor *c, uint64_t now_ms);
/* It failed. False: no more looks are taken; what is known stays, as nothing says that it is wrong,
 * and the next event shows a gap. */
bool weir_kv_cursor_look_failed(struct weir_kv_cursor *c, uint64_t now_ms);

#endif
