/* Descriptors and signals that other libraries or the system bring. */
#include "net/loop_priv.h"

#include "base/mem.h"

/* ---- descriptors -------------------------------------------------------------------------- */

struct weir_poll {
    uv_poll_t uv;
    struct weir_loop *loop;
    weir_poll_fn fn;
    void *arg;
};

static void on_poll(uv_poll_t *uv, int status, int events) {
    struct weir_poll *p = uv->data;
    (void)events;
    (void)status; /* on an error the owner finds out when it reads */
    p->fn(p->arg);
}

static void on_poll_closed(uv_handle_t *h) {
    struct weir_poll *p = h->data;
    p->loop->n_closing--;
    weir_free(p);
}

enum weir_status weir_poll_open(struct weir_loop *loop, int fd, weir_poll_fn on_readable, void *arg,
                                struct weir_poll **ret_poll) {
    struct weir_poll *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    p->loop = loop;
    p->fn = on_readable;
    p->arg = arg;
    int rc = uv_poll_init(&loop->uv, &p->uv, fd);
    if (rc != 0) {
        weir_free(p);
        return rc == UV_ENOMEM ? WEIR_NOMEM : WEIR_IO;
    }
    p->uv.data = p;
    rc = uv_poll_start(&p->uv, UV_READABLE, on_poll);
    if (rc != 0) {
        weir_poll_close(p);
        return rc == UV_ENOMEM ? WEIR_NOMEM : WEIR_IO;
    }
    *ret_poll = p;
    return WEIR_OK;
}

void weir_poll_close(struct weir_poll *poll) {
    if (poll == NULL)
        return;
    poll->loop->n_closing++;
    uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
}

/* ---- signals ------------------------------------------------------------------------------ */

struct loop_signal {
    struct weir_list node; /* in loop.signals */
    uv_signal_t uv;
    struct weir_loop *loop;
    weir_signal_fn fn;
    void *arg;
};

static void on_signal(uv_signal_t *uv, int signum) {
    struct loop_signal *s = uv->data;
    s->fn(s->arg, signum);
}

static void on_signal_closed(uv_handle_t *h) {
    struct loop_signal *s = h->data;
    s->loop->n_closing--;
    weir_free(s);
}

static void close_signal(struct loop_signal *s) {
    weir_list_remove(&s->node);
    s->loop->n_closing++;
    uv_close((uv_handle_t *)&s->uv, on_signal_closed);
}

enum weir_status weir_loop_on_signal(struct weir_loop *loop, int signum, weir_signal_fn fn,
                                     void *arg) {
    struct loop_signal *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    s->loop = loop;
    s->fn = fn;
    s->arg = arg;
    if (uv_signal_init(&loop->uv, &s->uv) != 0) {
        weir_free(s);
        return WEIR_LIMIT;
    }
    s->uv.data = s;
    weir_list_push_back(&loop->signals, &s->node);
    if (uv_signal_start(&s->uv, on_signal, signum) != 0) {
        close_signal(s);
        return WEIR_INVALID;
    }
    return WEIR_OK;
}

enum weir_status weir_loop_on_end(struct weir_loop *loop, weir_signal_fn fn, void *arg) {
    struct sigaction hangup;
    bool ignored = sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
    enum weir_status st = weir_loop_on_signal(loop, SIGTERM, fn, arg);
    if (st == WEIR_OK)
        st = weir_loop_on_signal(loop, SIGINT, fn, arg);
    return st == WEIR_OK && !ignored ? weir_loop_on_signal(loop, SIGHUP, fn, arg) : st;
}

void weir_signals_close_all(struct weir_loop *loop) {
    WEIR_LIST_FOREACH(it, &loop->signals) {
        close_signal(WEIR_CONTAINER_OF(it, struct loop_signal, node));
    }
}
