#include "runtime/tls_watch.h"

#include "base/log.h"

enum { CHECK_MS = 30000 }; /* the reference system looks for a new certificate as often */

void weir_tls_watch_read(struct weir_tls_watch *w) {
    for (unsigned i = 0; i < w->n; i++) {
        bool changed = false;
        struct weir_err err;
        if (weir_tls_reload(w->of[i].tls, &changed, &err) != WEIR_OK)
            WEIR_LOG(WEIR_LOG_ERROR, "tls", "%s: the last good certificate stays in use: %s",
                     w->of[i].what, err.text);
        else if (changed)
            WEIR_LOG(WEIR_LOG_INFO, "tls", "%s: certificate reloaded", w->of[i].what);
    }
}

static void on_timer(void *arg) {
    struct weir_tls_watch *w = arg;
    weir_tls_watch_read(w);
    if (weir_timer_start(&w->timer, CHECK_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "tls",
                 "out of memory: certificates are read again at SIGHUP only from now on");
}

void weir_tls_watch_init(struct weir_tls_watch *w, struct weir_loop *loop) {
    *w = (struct weir_tls_watch){.n = 0};
    weir_timer_init(&w->timer, loop, on_timer, w);
}

enum weir_status weir_tls_watch_add(struct weir_tls_watch *w, struct weir_tls *tls,
                                    const char *what) {
    if (tls == NULL)
        return WEIR_OK;
    WEIR_ASSERT(w->n < WEIR_TLS_WATCHED);
    w->of[w->n].tls = tls;
    w->of[w->n].what = what;
    return w->n++ > 0 ? WEIR_OK : weir_timer_start(&w->timer, CHECK_MS);
}

enum weir_status weir_tls_watch_planes(struct weir_tls_watch *w, struct weir_tls *server,
                                       struct weir_tls *client, struct weir_err *err) {
    enum weir_status st = weir_tls_watch_add(w, server, "connections to this process");
    if (st == WEIR_OK)
        st = weir_tls_watch_add(w, client, "connections to others");
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}

bool weir_tls_watch_any(const struct weir_tls_watch *w) {
    return w->n > 0;
}

void weir_tls_watch_fini(struct weir_tls_watch *w) {
    if (w->n > 0)
        weir_timer_stop(&w->timer);
    w->n = 0;
}
