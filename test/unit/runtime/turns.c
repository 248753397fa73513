#include "test/unit/runtime/turns.h"

#include <stdlib.h>

enum { GUARD_MS = 60000 };

struct turns {
    struct weir_loop *loop;
    struct weir_timer timer;
    turns_fn done;
    void *arg;
    uint64_t end_ns;
    bool came;
};

static void on_tick(void *arg) {
    struct turns *t = arg;
    t->came = t->done != NULL && t->done(t->arg);
    if (t->came || weir_now_ns() >= t->end_ns)
        weir_loop_stop(t->loop);
    else if (weir_timer_start(&t->timer, 1) != WEIR_OK)
        abort();
}

static bool run(struct weir_loop *loop, turns_fn done, void *arg, uint64_t ms) {
    struct turns t = {
        .loop = loop, .done = done, .arg = arg, .end_ns = weir_now_ns() + ms * 1000000u};
    weir_timer_init(&t.timer, loop, on_tick, &t);
    if (weir_timer_start(&t.timer, 0) != WEIR_OK)
        abort();
    weir_loop_run(loop);
    weir_timer_stop(&t.timer);
    return t.came;
}

bool turns_until(struct weir_loop *loop, turns_fn done, void *arg) {
    return run(loop, done, arg, GUARD_MS);
}

void turns_for(struct weir_loop *loop, uint64_t ms) {
    run(loop, NULL, NULL, ms);
}

void turns_flush(struct weir_loop *loop) {
    run(loop, NULL, NULL, 3);
}
