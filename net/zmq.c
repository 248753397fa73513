/*
 * ZeroMQ PUB, SUB, DEALER and ROUTER.
 *
 * Publishers at a literal address, which are nearly all, are read by zmtp_sub.c, without a thread
 * of libzmq between them and the loop. What follows is about the others.
 *
 * A socket's descriptor (ZMQ_FD) is edge-triggered and says only that the socket's mailbox has
 * commands: it may be readable without a message, and it is not readable again while messages that
 * were there before wait. The mailbox is emptied by asking for ZMQ_EVENTS, and just as well by a
 * zmq_msg_recv() that finds no message, which saves a poll(2) and a getpid(2) for each wake-up. So
 * after each wake-up, and once after opening, we receive until there is none; when the turn's share
 * is used up, a timer of zero goes on in the next turn.
 *
 * A slow subscriber loses messages at its own high-water mark and the others do not (the publisher
 * would otherwise stop for the slowest); consumers see the gap in the sequence numbers.
 */
#include "net/zmq.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/dead_peer.h"
#include "net/zmtp_sub.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

enum {
    HWM = 100000,
    BACKLOG = 1024,
    MAX_SOCKETS = 16384, /* one per worker rank at most */
    RECONNECT_MS = 100,
    RECONNECT_MAX_MS = 5000,
    PER_TURN = 256,
    MAX_SUBSCRIPTION = 64 * 1024, /* bytes; all that a publisher ever receives */
};
#define MAX_MESSAGE ((int64_t)64 << 20)

static pthread_mutex_t context_lock = PTHREAD_MUTEX_INITIALIZER;
static void *context; /* guarded by context_lock */

#if defined(__SANITIZE_THREAD__)
/* libzmq hands messages between its threads through lock-free pipes that the sanitizer cannot see
 * into, as the library is not built with it. libuv opens and closes descriptors unseen, so a number
 * that another thread gets again looks shared: with a directory that is closed over it, or with the
 * connection that had it before. nats.c and OpenSSL are not built with it
 * either: what the locks of one order in the other goes unseen. The sanitizer's library looks for
 * the name. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) {
    return "called_from_lib:libzmq.so\n"
           "called_from_lib:libnats.so\n"
           "called_from_lib:libssl.so\n"
           "called_from_lib:libcrypto.so\n"
           "called_from_lib:libuv.so\n"
           "race:accept4\n"
           "race:^receive$\n"
           "race:closedir\n";
}
#endif

/* libzmq ends the process when it finds no descriptor for its first threads. */
static bool room_for_context(void) {
    enum { NEEDS = 8 }; /* mailboxes and epoll instances of two threads, and the socket's own */
    int fds[NEEDS], n = 0;
    while (n < NEEDS && (fds[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
        n++;
    int why = errno;
    for (int i = 0; i < n; i++)
        close(fds[i]);
    errno = why;
    return n == NEEDS;
}

static void *open_socket(int type, struct weir_err *err) {
    pthread_mutex_lock(&context_lock);
    if (context == NULL && room_for_context()) {
        context = zmq_ctx_new();
        if (context != NULL) {
            zmq_ctx_set(context, ZMQ_MAX_SOCKETS, MAX_SOCKETS);
            zmq_ctx_set(context, ZMQ_BLOCKY, 0);
            zmq_ctx_set(context, ZMQ_IPV6, 1);
        }
    }
    void *socket = context != NULL ? zmq_socket(context, type) : NULL;
    pthread_mutex_unlock(&context_lock);
    if (socket == NULL)
        weir_err_set(err, errno == EMFILE ? WEIR_LIMIT : WEIR_NOMEM, "cannot make a socket: %s",
                     zmq_strerror(errno));
    return socket;
}

void weir_zmq_shutdown(void) {
    pthread_mutex_lock(&context_lock);
    if (context != NULL)
        zmq_ctx_term(context);
    context = NULL;
    pthread_mutex_unlock(&context_lock);
}

static int set_int(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof(value));
}

/* What weir_dead_peer_watch() does to sockets of our own. */
static void watch_for_death(void *socket, uint64_t dead_ms) {
    if (dead_ms == 0)
        return;
    struct weir_dead_peer_plan plan = weir_dead_peer_plan(dead_ms);
    set_int(socket, ZMQ_TCP_KEEPALIVE, 1);
    set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, (int)plan.idle_s);
    set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, (int)plan.interval_s);
    set_int(socket, ZMQ_TCP_MAXRT, (int)plan.give_up_ms);
}

static enum weir_status bound_port(void *socket, uint16_t *ret_port, struct weir_err *err) {
    char bound[128] = "";
    size_t len = sizeof(bound);
    uint64_t value = 0;
    const char *colon = NULL;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &len) == 0)
        colon = strrchr(bound, ':');
    if (colon == NULL || !weir_span_u64(weir_span_z(colon + 1), &value) || value > UINT16_MAX)
        return weir_err_set(err, WEIR_INTERNAL, "no port in '%s'", bound);
    *ret_port = (uint16_t)value;
    return WEIR_OK;
}

static enum weir_status send_frames(void *socket, const struct weir_span *frames, size_t n_frames) {
    if (n_frames == 0 || n_frames > WEIR_ZMQ_MAX_FRAMES)
        return WEIR_INVALID;
    for (size_t i = 0; i < n_frames; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < n_frames ? ZMQ_SNDMORE : 0);
        while (zmq_send(socket, frames[i].data, frames[i].len, flags) < 0) {
            if (errno == EINTR)
                continue;
            return errno == EAGAIN || errno == EHOSTUNREACH ? WEIR_LIMIT : WEIR_IO;
        }
    }
    return WEIR_OK;
}

/* ---- publisher ---------------------------------------------------------------------------- */

struct weir_zmq_pub {
    void *socket; /* owned */
    uint16_t port;
};

static enum weir_status bind_pub(struct weir_zmq_pub *pub, const char *ip, uint16_t port,
                                 uint64_t dead_ms, struct weir_err *err) {
    char endpoint[96];
    snprintf(endpoint, sizeof(endpoint), strchr(ip, ':') != NULL ? "tcp://[%s]:%u" : "tcp://%s:%u",
             ip, port);
    int64_t max_message = MAX_SUBSCRIPTION;
    set_int(pub->socket, ZMQ_SNDHWM, HWM);
    set_int(pub->socket, ZMQ_LINGER, 0);
    set_int(pub->socket, ZMQ_BACKLOG, BACKLOG);
    watch_for_death(pub->socket, dead_ms);
    zmq_setsockopt(pub->socket, ZMQ_MAXMSGSIZE, &max_message, sizeof(max_message));
    if (zmq_bind(pub->socket, endpoint) != 0)
        return weir_err_set(err, errno == EADDRINUSE ? WEIR_EXISTS : WEIR_IO,
                            "cannot publish on %s: %s", endpoint, zmq_strerror(errno));
    return bound_port(pub->socket, &pub->port, err);
}

enum weir_status weir_zmq_pub_open(const char *ip, uint16_t port, uint64_t dead_ms,
                                   struct weir_zmq_pub **ret_pub, struct weir_err *err) {
    struct weir_zmq_pub *pub = weir_calloc(1, sizeof(*pub));
    if (pub == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    struct weir_err local = {0};
    pub->socket = open_socket(ZMQ_PUB, &local);
    enum weir_status st =
        pub->socket != NULL ? bind_pub(pub, ip, port, dead_ms, &local) : local.status;
    if (st != WEIR_OK) {
        weir_zmq_pub_close(pub);
        return weir_err_set(err, st, "%s", local.text);
    }
    *ret_pub = pub;
    return WEIR_OK;
}

enum weir_status weir_zmq_pub_connect(const char *endpoint, uint64_t dead_ms,
                                      struct weir_zmq_pub **ret_pub, struct weir_err *err) {
    struct weir_zmq_pub *pub = weir_calloc(1, sizeof(*pub));
    if (pub == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    struct weir_err local = {0};
    pub->socket = open_socket(ZMQ_PUB, &local);
    enum weir_status st = pub->socket != NULL ? WEIR_OK : local.status;
    if (st == WEIR_OK) {
        set_int(pub->socket, ZMQ_SNDHWM, HWM);
        set_int(pub->socket, ZMQ_LINGER, 0);
        set_int(pub->socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
        set_int(pub->socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
        watch_for_death(pub->socket, dead_ms);
        if (zmq_connect(pub->socket, endpoint) != 0)
            st = weir_err_set(&local, errno == EINVAL ? WEIR_INVALID : WEIR_IO,
                              "cannot publish to '%s': %s", endpoint, zmq_strerror(errno));
    }
    if (st != WEIR_OK) {
        weir_zmq_pub_close(pub);
        return weir_err_set(err, st, "%s", local.text);
    }
    *ret_pub = pub;
    return WEIR_OK;
}

uint16_t weir_zmq_pub_port(const struct weir_zmq_pub *pub) {
    return pub->port;
}

enum weir_status weir_zmq_pub_send(struct weir_zmq_pub *pub, const struct weir_span *frames,
                                   size_t n_frames) {
    return send_frames(pub->socket, frames, n_frames);
}

void weir_zmq_pub_close(struct weir_zmq_pub *pub) {
    if (pub == NULL)
        return;
    if (pub->socket != NULL)
        zmq_close(pub->socket);
    weir_free(pub);
}

/* ---- subscriber --------------------------------------------------------------------------- */

struct weir_zmq_sub {
    struct weir_zmtp_sub *direct; /* owned; the rest is for endpoints that it does not take */
    void *socket;                 /* owned */
    struct weir_loop *loop;       /* borrowed */
    struct weir_poll *poll;       /* owned */
    struct weir_timer again;
    weir_zmq_fn fn;
    void *arg;
    /* Of weir_zmq_sub_on_joined(): libzmq tells of connections through a socket of its own. */
    void *monitor; /* owned */
    struct weir_poll *monitor_poll;
    struct weir_timer monitor_first;
    void (*joined)(void *arg);
    void (*rest)(void *arg); /* of weir_zmq_sub_on_rest() */
    uint16_t port;           /* bound; 0: it connects */
    bool in_call, closed;    /* closed from inside fn: memory goes when fn is back */
};

static void drop_message(const char *why) {
    static struct weir_log_limit limit;
    uint32_t dropped = 0;
    if (weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "zmq", "message dropped: %s (%u like this were not logged)", why,
                 dropped);
}

/* Receives the rest of a message whose first frames are in parts[0 .. n). Returns the number of
 * frames, which is above the limit when the message is to be dropped; 0 for none there. */
static size_t receive(struct weir_zmq_sub *sub, zmq_msg_t *parts) {
    size_t n = 0;
    for (;;) {
        zmq_msg_t *part = &parts[n < WEIR_ZMQ_MAX_FRAMES ? n : WEIR_ZMQ_MAX_FRAMES];
        zmq_msg_init(part);
        int rc;
        do
            rc = zmq_msg_recv(part, sub->socket, ZMQ_DONTWAIT);
        while (rc < 0 && errno == EINTR);
        if (rc < 0) {
            zmq_msg_close(part); /* messages arrive whole, so this is at the first frame */
            return n;
        }
        bool more = zmq_msg_more(part);
        if (n >= WEIR_ZMQ_MAX_FRAMES)
            zmq_msg_close(part);
        n++;
        if (!more)
            return n;
    }
}

static bool hand_over_one(struct weir_zmq_sub *sub) {
    zmq_msg_t parts[WEIR_ZMQ_MAX_FRAMES + 1];
    size_t n = receive(sub, parts);
    if (n == 0)
        return false;
    size_t kept = n < WEIR_ZMQ_MAX_FRAMES ? n : WEIR_ZMQ_MAX_FRAMES;
    struct weir_span frames[WEIR_ZMQ_MAX_FRAMES];
    for (size_t i = 0; i < kept; i++)
        frames[i] = weir_span(zmq_msg_data(&parts[i]), zmq_msg_size(&parts[i]));
    if (n <= WEIR_ZMQ_MAX_FRAMES)
        sub->fn(sub->arg, frames, n);
    else
        drop_message("too many frames");
    for (size_t i = 0; i < kept; i++)
        zmq_msg_close(&parts[i]);
    return true;
}

static void look_at_monitor(struct weir_zmq_sub *sub, bool joined);

static void on_ready(void *arg) {
    struct weir_zmq_sub *sub = arg;
    unsigned n = 0;
    sub->in_call = true;
    /* A connection is told of before what came through it. */
    if (sub->monitor != NULL)
        look_at_monitor(sub, false);
    while (!sub->closed && n < PER_TURN && hand_over_one(sub))
        n++;
    if (!sub->closed && n > 0 && sub->rest != NULL)
        sub->rest(sub->arg);
    sub->in_call = false;
    if (sub->closed) {
        zmq_close(sub->socket);
        weir_free(sub);
    } else if (n == PER_TURN && weir_timer_start(&sub->again, 0) != WEIR_OK) {
        drop_message("out of memory"); /* the next message wakes us again */
    }
}

/* What a kind of socket does with its endpoint. */
struct plan {
    int type;
    bool binds;
    const char *endpoint;
    struct weir_span topic; /* SUB */
};

static enum weir_status watch(struct weir_zmq_sub *sub, const struct plan *plan,
                              struct weir_err *err) {
    int fd = -1;
    size_t len = sizeof(fd);
    if (zmq_getsockopt(sub->socket, ZMQ_FD, &fd, &len) != 0)
        return weir_err_set(err, WEIR_IO, "no descriptor: %s", zmq_strerror(errno));
    enum weir_status st = weir_poll_open(sub->loop, fd, on_ready, sub, &sub->poll);
    if (st == WEIR_OK)
        st = weir_timer_start(&sub->again, 0);
    return st == WEIR_OK ? st : weir_err_set(err, st, "cannot watch '%s'", plan->endpoint);
}

static enum weir_status attach(struct weir_zmq_sub *sub, const struct plan *plan,
                               struct weir_err *err) {
    int64_t max_message = MAX_MESSAGE;
    set_int(sub->socket, ZMQ_RCVHWM, HWM);
    set_int(sub->socket, ZMQ_SNDHWM, HWM);
    set_int(sub->socket, ZMQ_LINGER, 0);
    set_int(sub->socket, ZMQ_BACKLOG, BACKLOG);
    set_int(sub->socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    set_int(sub->socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    watch_for_death(sub->socket, weir_loop_dead_peer_ms(sub->loop));
    zmq_setsockopt(sub->socket, ZMQ_MAXMSGSIZE, &max_message, sizeof(max_message));
    bool ok = plan->type != ZMQ_SUB ||
              zmq_setsockopt(sub->socket, ZMQ_SUBSCRIBE,
                             plan->topic.len > 0 ? plan->topic.data : "", plan->topic.len) == 0;
    if (ok)
        ok = (plan->binds ? zmq_bind(sub->socket, plan->endpoint)
                          : zmq_connect(sub->socket, plan->endpoint)) == 0;
    if (!ok)
        return weir_err_set(err,
                            errno == EINVAL       ? WEIR_INVALID
                            : errno == EADDRINUSE ? WEIR_EXISTS
                                                  : WEIR_IO,
                            "cannot subscribe to '%s': %s", plan->endpoint, zmq_strerror(errno));
    enum weir_status st = plan->binds ? bound_port(sub->socket, &sub->port, err) : WEIR_OK;
    return st == WEIR_OK ? watch(sub, plan, err) : st;
}

static enum weir_status open_plan(struct weir_loop *loop, const struct plan *plan, weir_zmq_fn fn,
                                  void *arg, struct weir_zmq_sub **ret_sub, struct weir_err *err) {
    struct weir_zmq_sub *sub = weir_calloc(1, sizeof(*sub));
    if (sub == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    sub->loop = loop;
    sub->fn = fn;
    sub->arg = arg;
    weir_timer_init(&sub->again, loop, on_ready, sub);
    struct weir_err local = {0};
    if (plan->type == ZMQ_SUB && !plan->binds &&
        weir_zmtp_sub_open(loop, plan->endpoint, plan->topic, fn, arg, &sub->direct) == WEIR_OK) {
        *ret_sub = sub;
        return WEIR_OK;
    }
    sub->socket = open_socket(plan->type, &local);
    enum weir_status st = sub->socket != NULL ? attach(sub, plan, &local) : local.status;
    if (st != WEIR_OK) {
        weir_zmq_sub_close(sub);
        return weir_err_set(err, st, "%s", local.text);
    }
    *ret_sub = sub;
    return WEIR_OK;
}

enum weir_status weir_zmq_sub_open(struct weir_loop *loop, const char *endpoint,
                                   struct weir_span topic, weir_zmq_fn fn, void *arg,
                                   struct weir_zmq_sub **ret_sub, struct weir_err *err) {
    struct plan plan = {ZMQ_SUB, false, endpoint, topic};
    return open_plan(loop, &plan, fn, arg, ret_sub, err);
}

/* Connections that were made, however many: told of once. The owner may close from inside. */
static void look_at_monitor(struct weir_zmq_sub *sub, bool joined) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    for (;;) {
        uint16_t event = 0;
        int rc = zmq_msg_recv(&part, sub->monitor, ZMQ_DONTWAIT);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            break;
        /* The first of its two frames begins with the event; the second is an address. */
        if (zmq_msg_more(&part) && zmq_msg_size(&part) >= sizeof(event))
            memcpy(&event, zmq_msg_data(&part), sizeof(event));
        joined |= event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    }
    zmq_msg_close(&part);
    if (joined)
        sub->joined(sub->arg);
}

static void on_monitor(void *arg) {
    look_at_monitor(arg, false);
}

/* A connection that was made before the monitor was there is not told of: assume one. */
static void on_monitor_first(void *arg) {
    look_at_monitor(arg, true);
}

/* The monitor goes before its other end: without one libzmq's thread would wait for it. */
static void close_monitor(struct weir_zmq_sub *sub) {
    if (sub->monitor == NULL)
        return;
    weir_timer_stop(&sub->monitor_first);
    weir_poll_close(sub->monitor_poll);
    zmq_socket_monitor(sub->socket, NULL, 0);
    zmq_close(sub->monitor);
    sub->monitor = NULL;
    sub->monitor_poll = NULL;
}

static enum weir_status open_monitor(struct weir_zmq_sub *sub) {
    char name[64];
    int fd = -1;
    size_t len = sizeof(fd);
    struct weir_err err;
    snprintf(name, sizeof(name), "inproc://joined-%p", (void *)sub);
    sub->monitor = open_socket(ZMQ_PAIR, &err);
    if (sub->monitor == NULL)
        return err.status;
    set_int(sub->monitor, ZMQ_LINGER, 0);
    weir_timer_init(&sub->monitor_first, sub->loop, on_monitor_first, sub);
    if (zmq_socket_monitor(sub->socket, name, ZMQ_EVENT_HANDSHAKE_SUCCEEDED) != 0 ||
        zmq_connect(sub->monitor, name) != 0 ||
        zmq_getsockopt(sub->monitor, ZMQ_FD, &fd, &len) != 0)
        return WEIR_IO;
    enum weir_status st = weir_poll_open(sub->loop, fd, on_monitor, sub, &sub->monitor_poll);
    return st == WEIR_OK ? weir_timer_start(&sub->monitor_first, 0) : st;
}

void weir_zmq_sub_on_rest(struct weir_zmq_sub *sub, void (*fn)(void *arg)) {
    sub->rest = fn;
    if (sub->direct != NULL)
        weir_zmtp_sub_on_rest(sub->direct, fn);
}

void weir_zmq_sub_on_joined(struct weir_zmq_sub *sub, void (*fn)(void *arg)) {
    if (sub->direct != NULL) {
        weir_zmtp_sub_on_joined(sub->direct, fn);
        return;
    }
    close_monitor(sub);
    sub->joined = fn;
    enum weir_status st = open_monitor(sub);
    if (st == WEIR_OK)
        return;
    close_monitor(sub);
    WEIR_LOG(WEIR_LOG_WARN, "zmq", "connections of a subscriber are not told of: %s",
             weir_status_text(st));
}

enum weir_status weir_zmq_sub_bind(struct weir_loop *loop, const char *endpoint,
                                   struct weir_span topic, weir_zmq_fn fn, void *arg,
                                   struct weir_zmq_sub **ret_sub, struct weir_err *err) {
    struct plan plan = {ZMQ_SUB, true, endpoint, topic};
    return open_plan(loop, &plan, fn, arg, ret_sub, err);
}

enum weir_status weir_zmq_dealer_open(struct weir_loop *loop, const char *endpoint, weir_zmq_fn fn,
                                      void *arg, struct weir_zmq_sub **ret_sub,
                                      struct weir_err *err) {
    struct plan plan = {ZMQ_DEALER, false, endpoint, {NULL, 0}};
    return open_plan(loop, &plan, fn, arg, ret_sub, err);
}

enum weir_status weir_zmq_router_open(struct weir_loop *loop, const char *ip, uint16_t port,
                                      weir_zmq_fn fn, void *arg, struct weir_zmq_sub **ret_sub,
                                      struct weir_err *err) {
    char endpoint[96];
    snprintf(endpoint, sizeof(endpoint), strchr(ip, ':') != NULL ? "tcp://[%s]:%u" : "tcp://%s:%u",
             ip, port);
    struct plan plan = {ZMQ_ROUTER, true, endpoint, {NULL, 0}};
    return open_plan(loop, &plan, fn, arg, ret_sub, err);
}

enum weir_status weir_zmq_sub_send(struct weir_zmq_sub *sub, const struct weir_span *frames,
                                   size_t n_frames) {
    enum weir_status st = send_frames(sub->socket, frames, n_frames);
    /* Sending uses up the descriptor's edge: what came meanwhile is looked for. */
    if (weir_timer_start(&sub->again, 0) != WEIR_OK)
        drop_message("out of memory");
    return st;
}

uint16_t weir_zmq_sub_port(const struct weir_zmq_sub *sub) {
    return sub->port;
}

void weir_zmq_sub_close(struct weir_zmq_sub *sub) {
    if (sub == NULL || sub->closed)
        return;
    sub->closed = true;
    weir_zmtp_sub_close(sub->direct);
    close_monitor(sub);
    weir_timer_stop(&sub->again);
    weir_poll_close(sub->poll);
    if (sub->in_call)
        return;
    if (sub->socket != NULL)
        zmq_close(sub->socket);
    weir_free(sub);
}
