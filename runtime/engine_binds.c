#include "runtime/engine_binds.h"

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/engine_event.h"

#include <string.h>

struct socket {
    struct weir_list node;
    char *endpoint; /* owned */
    struct weir_zmq_sub *sub;
    struct weir_list members;
    struct weir_log_limit unclear;
};

struct weir_engine_bind {
    struct weir_list node;
    struct socket *socket; /* borrowed: lives while it has members */
    char *topic;           /* owned */
    uint32_t rank;
    weir_zmq_fn fn;
    void (*joined)(void *arg);
    void *arg;
};

struct weir_engine_binds {
    struct weir_loop *loop; /* borrowed */
    struct weir_list sockets;
};

#define SOCKET(n) WEIR_CONTAINER_OF(n, struct socket, node)
#define MEMBER(n) WEIR_CONTAINER_OF(n, struct weir_engine_bind, node)

enum weir_status weir_engine_binds_create(struct weir_loop *loop,
                                          struct weir_engine_binds **ret_binds) {
    struct weir_engine_binds *b = weir_calloc(1, sizeof(*b));
    if (b == NULL)
        return WEIR_NOMEM;
    b->loop = loop;
    weir_list_init(&b->sockets);
    *ret_binds = b;
    return WEIR_OK;
}

static void close_socket(struct socket *s) {
    weir_list_remove(&s->node);
    weir_zmq_sub_close(s->sub);
    weir_free(s->endpoint);
    weir_free(s);
}

void weir_engine_binds_destroy(struct weir_engine_binds *binds) {
    if (binds == NULL)
        return;
    WEIR_LIST_FOREACH(it, &binds->sockets) {
        close_socket(SOCKET(it));
    }
    weir_free(binds);
}

static void on_message(void *arg, const struct weir_span *frames, size_t n) {
    struct socket *s = arg;
    struct weir_engine_batch b;
    struct weir_engine_bind *chosen = NULL;
    unsigned fits = 0;
    if (n != 3 || weir_engine_batch_peek(frames[2], &b) != WEIR_OK)
        return;
    WEIR_LIST_FOREACH(it, &s->members) {
        struct weir_engine_bind *m = MEMBER(it);
        if ((m->topic[0] == '\0' || weir_span_eqz(frames[0], m->topic)) &&
            (b.rank < 0 || (uint64_t)b.rank == m->rank)) {
            chosen = m;
            fits++;
        }
    }
    uint32_t more = 0;
    if (fits == 1)
        chosen->fn(chosen->arg, frames, n);
    else if (fits > 1 && weir_log_limit_ok(&s->unclear, 1, &more))
        WEIR_LOG(WEIR_LOG_ERROR, "engines",
                 "%s: %u engines publish under topic '%.*s' and cannot be told apart: give each "
                 "its own; %u more were not reported",
                 s->endpoint, fits, WEIR_SPAN_ARG(frames[0]), more);
}

static void on_joined(void *arg) {
    struct socket *s = arg;
    WEIR_LIST_FOREACH(it, &s->members) {
        MEMBER(it)->joined(MEMBER(it)->arg);
    }
}

static enum weir_status open_socket(struct weir_engine_binds *b, const char *endpoint,
                                    struct socket **ret, struct weir_err *err) {
    struct socket *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    weir_list_init(&s->node);
    weir_list_init(&s->members);
    s->endpoint = weir_strdup(endpoint);
    enum weir_status st =
        s->endpoint != NULL
            ? weir_zmq_sub_bind(b->loop, endpoint, weir_span("", 0), on_message, s, &s->sub, err)
            : weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st != WEIR_OK) {
        close_socket(s);
        return st;
    }
    weir_zmq_sub_on_joined(s->sub, on_joined);
    weir_list_push_back(&b->sockets, &s->node);
    *ret = s;
    return WEIR_OK;
}

enum weir_status weir_engine_bind_join(struct weir_engine_binds *binds, const char *endpoint,
                                       struct weir_span topic, uint32_t rank, weir_zmq_fn fn,
                                       void (*joined)(void *arg), void *arg,
                                       struct weir_engine_bind **ret_bind, struct weir_err *err) {
    struct socket *s = NULL;
    struct weir_engine_bind *m = weir_calloc(1, sizeof(*m));
    char *name = weir_strndup(topic.len > 0 ? topic.data : "", topic.len);
    WEIR_LIST_FOREACH(it, &binds->sockets) {
        if (strcmp(SOCKET(it)->endpoint, endpoint) == 0)
            s = SOCKET(it);
    }
    enum weir_status st = m == NULL || name == NULL ? weir_err_set(err, WEIR_NOMEM, "out of memory")
                          : s == NULL               ? open_socket(binds, endpoint, &s, err)
                                                    : WEIR_OK;
    if (st != WEIR_OK) {
        weir_free(m);
        weir_free(name);
        return st;
    }
    *m = (struct weir_engine_bind){
        .socket = s, .topic = name, .rank = rank, .fn = fn, .joined = joined, .arg = arg};
    weir_list_push_back(&s->members, &m->node);
    *ret_bind = m;
    return WEIR_OK;
}

void weir_engine_bind_leave(struct weir_engine_bind *bind) {
    if (bind == NULL)
        return;
    struct socket *s = bind->socket;
    weir_list_remove(&bind->node);
    weir_free(bind->topic);
    weir_free(bind);
    if (weir_list_empty(&s->members))
        close_socket(s);
}
