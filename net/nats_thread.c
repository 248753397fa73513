/*
 * Happy path of the thread: connect to one of the servers → subscribe to all that is wanted → tell
 * the loops → carry out orders until the connection closes → tell the loops → again.
 *
 * Failure modes: no server can be reached: tried again after a pause that grows to PAUSE_MAX_MS,
 * half of it by chance, so that the clients of a server do not come back all at once. Files and
 * logins that fail later than at the first attempt are tried again too: somebody will mend them.
 *
 * nats.c calls us on its own threads: on_message and the others below only take the lock and hand
 * on. It does not reconnect by itself, so that a message is either sent, or still in our queue, or
 * counted as lost, and each server's name is held to its own certificate.
 */
#include "net/nats_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>
#include <time.h>

enum {
    PAUSE_MS = 100,
    PAUSE_MAX_MS = 2000,
    FLUSH_MS = 2000,
    DRAIN_MS = 2000,
    PURGE_MS = 1000, /* while not connected: how often overdue messages are looked for */
    SIGNED_LOGINS = 5,
};

/* ---- called by nats.c on its threads ------------------------------------------------------ */

static void unref_want(struct weir_nats_want *w) {
    struct weir_nats *n = w->nats;
    pthread_mutex_lock(&n->lock);
    bool last = --w->refs == 0;
    pthread_mutex_unlock(&n->lock);
    if (!last)
        return;
    weir_free(w->subject);
    weir_free(w->group);
    weir_free(w);
}

/* nats.c's own locks order what was written to a want before its callbacks, but a thread sanitizer
 * does not see them. */
static struct weir_nats_want *want_of(void *closure) {
    struct weir_nats_want *w = closure;
    WEIR_ASSERT(atomic_load_explicit(&w->made, memory_order_acquire));
    return w;
}

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    struct weir_nats_want *w = want_of(closure);
    (void)nc;
    (void)sub;
    weir_nats_incoming(w->nats, w->id, msg);
}

static void on_complete(void *closure) {
    struct weir_nats_want *w = want_of(closure);
    pthread_mutex_lock(&w->nats->lock);
    bool drained = w->draining;
    pthread_mutex_unlock(&w->nats->lock);
    if (drained)
        weir_nats_tell_drained(w->nats, w->id);
    unref_want(w);
}

static void on_closed(natsConnection *nc, void *closure) {
    struct weir_nats *n = closure;
    (void)nc; /* perhaps an older one: the thread looks for itself */
    pthread_mutex_lock(&n->lock);
    n->look = true;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus s, void *closure) {
    static struct weir_log_limit limit;
    struct weir_nats *n = closure;
    const char *text = NULL;
    uint32_t dropped;
    (void)sub;
    pthread_mutex_lock(&n->lock);
    n->stats.errors++;
    pthread_mutex_unlock(&n->lock);
    if (!weir_log_limit_ok(&limit, 1, &dropped))
        return;
    if (natsConnection_GetLastError(nc, &text) == NATS_OK || text == NULL)
        text = "";
    WEIR_LOG(WEIR_LOG_WARN, "nats", "%s%s%s; %u more were not reported", natsStatus_GetText(s),
             *text != '\0' ? ": " : "", text, dropped);
}

/* ---- subscriptions ------------------------------------------------------------------------ */

static void subscribe(struct weir_nats_want *w) {
    struct weir_nats *n = w->nats;
    pthread_mutex_lock(&n->lock);
    w->refs++;
    pthread_mutex_unlock(&n->lock);
    natsStatus s =
        w->group != NULL
            ? natsConnection_QueueSubscribe(&w->sub, n->nc, w->subject, w->group, on_message, w)
            : natsConnection_Subscribe(&w->sub, n->nc, w->subject, on_message, w);
    if (s != NATS_OK) {
        w->sub = NULL;
        unref_want(w);
        return; /* a connection that closes: all are made again */
    }
    if (natsSubscription_SetOnCompleteCB(w->sub, on_complete, w) != NATS_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "nats", "the subscription of %s ended as it began", w->subject);
}

/* What nats.c dropped of it because we did not take it fast enough. */
static void count_dropped(struct weir_nats_want *w) {
    int64_t n = 0;
    if (natsSubscription_GetDropped(w->sub, &n) == NATS_OK && n > 0)
        weir_nats_tell_dropped(w->nats, w->id, (uint64_t)n);
}

static void unsubscribe(struct weir_nats_want *w) {
    if (w->sub == NULL)
        return;
    count_dropped(w);
    natsSubscription_Destroy(w->sub);
    w->sub = NULL;
}

static void add_want(struct weir_nats *n, const struct weir_nats_order *o) {
    struct weir_nats_want *w = weir_calloc(1, sizeof(*w));
    if (w != NULL) {
        *w = (struct weir_nats_want){.nats = n, .id = o->sub_id, .refs = 1};
        w->subject = weir_strdup(o->subject);
        w->group = o->group != NULL ? weir_strdup(o->group) : NULL;
    }
    if (w == NULL || w->subject == NULL || (o->group != NULL && w->group == NULL)) {
        WEIR_LOG(WEIR_LOG_ERROR, "nats", "out of memory: %s is not followed", o->subject);
        if (w != NULL)
            unref_want(w);
        return;
    }
    atomic_store_explicit(&w->made, true, memory_order_release);
    weir_list_push_back(&n->wants, &w->node);
    if (n->nc != NULL)
        subscribe(w);
}

static struct weir_nats_want *find_want(struct weir_nats *n, uint64_t id) {
    WEIR_LIST_FOREACH(it, &n->wants) {
        struct weir_nats_want *w = WEIR_CONTAINER_OF(it, struct weir_nats_want, node);
        if (w->id == id)
            return w;
    }
    return NULL;
}

static void drop_want(struct weir_nats *n, uint64_t id) {
    struct weir_nats_want *w = find_want(n, id);
    if (w == NULL)
        return;
    weir_list_remove(&w->node);
    unsubscribe(w);
    unref_want(w);
}

/* It is kept until it is dropped: to destroy it now would lose what is on its way. */
static void drain_want(struct weir_nats *n, uint64_t id) {
    struct weir_nats_want *w = find_want(n, id);
    if (w == NULL)
        return;
    pthread_mutex_lock(&n->lock);
    w->draining = true;
    pthread_mutex_unlock(&n->lock);
    if (w->sub == NULL || natsSubscription_DrainTimeout(w->sub, DRAIN_MS) != NATS_OK)
        weir_nats_tell_drained(n, id);
}

/* ---- orders ------------------------------------------------------------------------------- */

static natsStatus send_message(struct weir_nats *n, const struct weir_nats_order *o) {
    natsMsg *msg = NULL;
    natsStatus s = natsMsg_Create(&msg, o->subject, o->reply, o->payload.data, (int)o->payload.len);
    for (unsigned i = 0; s == NATS_OK && i < o->n_headers; i++)
        s = natsMsgHeader_Set(msg, o->headers[i].name, o->headers[i].value);
    if (s == NATS_OK)
        s = natsConnection_PublishMsg(n->nc, msg);
    natsMsg_Destroy(msg);
    return s;
}

/* False: the connection is gone, and the message is still to be sent. */
static bool publish(struct weir_nats *n, const struct weir_nats_order *o) {
    static struct weir_log_limit limit;
    uint32_t dropped;
    bool late = o->drop_ns != 0 && weir_now_ns() > o->drop_ns;
    natsStatus s = late ? NATS_TIMEOUT : send_message(n, o);
    if (s == NATS_CONNECTION_CLOSED || s == NATS_CONNECTION_DISCONNECTED)
        return false;
    pthread_mutex_lock(&n->lock);
    *(s == NATS_OK ? &n->stats.sent : &n->stats.dropped_out) += 1;
    pthread_mutex_unlock(&n->lock);
    if (s != NATS_OK && weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "nats",
                 "a message of %zu bytes for %s was not sent: %s; %u more were not reported",
                 o->payload.len, o->subject, late ? "it waited too long" : natsStatus_GetText(s),
                 dropped);
    return true;
}

static bool carry_out(struct weir_nats *n, const struct weir_nats_order *o) {
    if (o->verb == WEIR_NATS_PUB)
        return publish(n, o);
    if (o->verb == WEIR_NATS_SUB)
        add_want(n, o);
    else if (o->verb == WEIR_NATS_DRAIN)
        drain_want(n, o->sub_id);
    else
        drop_want(n, o->sub_id);
    return true;
}

/* With the lock held. */
static struct weir_nats_order *take_order(struct weir_nats *n) {
    struct weir_nats_order *o = WEIR_CONTAINER_OF(n->orders.next, struct weir_nats_order, node);
    weir_list_remove(&o->node);
    n->n_orders--;
    n->order_bytes -= o->bytes;
    return o;
}

/* With the lock held. */
static void put_back(struct weir_nats *n, struct weir_nats_order *o) {
    weir_list_push_front(&n->orders, &o->node);
    n->n_orders++;
    n->order_bytes += o->bytes;
}

/* With the lock held: what nobody waits for any more makes room. */
static void purge(struct weir_nats *n) {
    uint64_t now = weir_now_ns();
    WEIR_LIST_FOREACH(it, &n->orders) {
        struct weir_nats_order *o = WEIR_CONTAINER_OF(it, struct weir_nats_order, node);
        if (o->drop_ns == 0 || now <= o->drop_ns)
            continue;
        weir_list_remove(&o->node);
        n->n_orders--;
        n->order_bytes -= o->bytes;
        n->stats.dropped_out++;
        weir_free(o);
    }
}

/* With the lock held, which is let go meanwhile. */
static bool is_lost(struct weir_nats *n) {
    if (!n->look)
        return false;
    n->look = false;
    pthread_mutex_unlock(&n->lock);
    bool lost = natsConnection_IsClosed(n->nc);
    pthread_mutex_lock(&n->lock);
    return lost;
}

/* With the lock held, which is let go meanwhile. False: the connection is gone. */
static bool carry_out_next(struct weir_nats *n) {
    struct weir_nats_order *o = take_order(n);
    pthread_mutex_unlock(&n->lock);
    bool done = carry_out(n, o);
    pthread_mutex_lock(&n->lock);
    if (done)
        weir_free(o);
    else
        put_back(n, o);
    return done;
}

/* Until the connection is lost, or we are told to stop and everything is sent. */
static void serve(struct weir_nats *n) {
    uint64_t stop_ns = 0;
    pthread_mutex_lock(&n->lock);
    for (;;) {
        while (weir_list_empty(&n->orders) && !n->stop && !n->look)
            pthread_cond_wait(&n->wake, &n->lock);
        if (n->stop && stop_ns == 0)
            stop_ns = weir_now_ns() + (uint64_t)DRAIN_MS * 1000000;
        if (is_lost(n) || (n->stop && weir_now_ns() > stop_ns))
            break;
        if (!weir_list_empty(&n->orders)) {
            if (!carry_out_next(n))
                break;
        } else if (n->stop) {
            break;
        }
    }
    pthread_mutex_unlock(&n->lock);
}

/* ---- connecting --------------------------------------------------------------------------- */

static natsStatus set_callbacks(struct weir_nats *n, natsOptions *o) {
    natsStatus s = natsOptions_SetClosedCB(o, on_closed, n);
    return s == NATS_OK ? natsOptions_SetErrorHandler(o, on_error, n) : s;
}

/* nats.c 3.4 takes a signature whose first byte is 0 for an empty text and logs in without it. Each
 * login signs other bytes, so one in 256 is refused for no reason of ours, and five in a row are
 * not. */
static bool is_signed(const struct weir_nats_config *c) {
    return c->nkey_seed != NULL || c->credentials_path != NULL;
}

static enum weir_status connect_to(struct weir_nats *n, const char *server, bool *ret_final,
                                   struct weir_err *err) {
    natsOptions *o = NULL;
    *ret_final = true;
    enum weir_status st = weir_nats_options(n, server, &o, err);
    if (st != WEIR_OK)
        return st;
    natsStatus s = set_callbacks(n, o);
    int tries = is_signed(&n->config) ? SIGNED_LOGINS : 1;
    for (int i = 0; s == NATS_OK && n->nc == NULL; i++) {
        s = natsConnection_Connect(&n->nc, o);
        if (s == NATS_CONNECTION_AUTH_FAILED && i + 1 < tries)
            s = NATS_OK;
    }
    natsOptions_Destroy(o);
    if (s == NATS_OK)
        return WEIR_OK;
    n->nc = NULL;
    return weir_nats_explain(server, s, ret_final, err);
}

/* One round over all servers that we know of, from a random one on. */
static enum weir_status connect_any(struct weir_nats *n, bool *ret_final, struct weir_err *err) {
    int all = n->n_servers + n->n_more;
    int first = (int)(weir_rng_u64(&n->rng) % (uint64_t)all);
    enum weir_status st = WEIR_CANNOT_CONNECT;
    bool final = true;
    *ret_final = true;
    for (int i = 0; i < all && st != WEIR_OK; i++) {
        int k = (first + i) % all;
        st = connect_to(n, k < n->n_servers ? n->servers[k] : n->more[k - n->n_servers], &final,
                        err);
        *ret_final = *ret_final && final;
    }
    return st;
}

/* Servers of the cluster that nobody configured. The list is nats.c's, made by malloc(). */
static void learn_servers(struct weir_nats *n) {
    void (*const release)(void *) = free;
    char **found = NULL;
    int n_found = 0;
    if (natsConnection_GetDiscoveredServers(n->nc, &found, &n_found) != NATS_OK)
        return;
    weir_nats_servers_free(n->more, n->n_more);
    n->n_more = 0;
    n->more = n_found > 0 ? weir_calloc((size_t)n_found, sizeof(*n->more)) : NULL;
    for (int i = 0; i < n_found; i++) {
        if (n->more != NULL && (n->more[n->n_more] = weir_strdup(found[i])) != NULL)
            n->n_more++;
        release(found[i]);
    }
    release(found);
}

static void came_up(struct weir_nats *n) {
    char url[256] = "";
    if (natsConnection_GetConnectedUrl(n->nc, url, sizeof(url)) != NATS_OK)
        url[0] = '\0';
    WEIR_LIST_FOREACH(it, &n->wants) {
        struct weir_nats_want *w = WEIR_CONTAINER_OF(it, struct weir_nats_want, node);
        if (!w->draining)
            subscribe(w);
    }
    /* The server knows of our subscriptions before anybody is told to rely on them. */
    if (natsConnection_FlushTimeout(n->nc, FLUSH_MS) != NATS_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "nats", "%s went as it came", weir_nats_shown(url));
    pthread_mutex_lock(&n->lock);
    n->max_payload = natsConnection_GetMaxPayload(n->nc);
    n->stats.connects++;
    pthread_mutex_unlock(&n->lock);
    WEIR_LOG(WEIR_LOG_INFO, "nats", "connected to %s", weir_nats_shown(url));
    weir_nats_tell(n, true);
}

static void went_down(struct weir_nats *n) {
    const char *why = NULL;
    natsStatus s = natsConnection_GetLastError(n->nc, &why);
    pthread_mutex_lock(&n->lock);
    bool stop = n->stop;
    n->stats.disconnects += !stop;
    pthread_mutex_unlock(&n->lock);
    weir_nats_tell(n, false);
    if (stop && natsConnection_FlushTimeout(n->nc, FLUSH_MS) != NATS_OK)
        WEIR_LOG(WEIR_LOG_WARN, "nats", "the server did not take all that was to be sent");
    if (!stop)
        WEIR_LOG(WEIR_LOG_WARN, "nats", "connection lost: %s; connecting again",
                 why != NULL && *why != '\0' ? why : natsStatus_GetText(s));
    learn_servers(n);
    WEIR_LIST_FOREACH(it, &n->wants) {
        unsubscribe(WEIR_CONTAINER_OF(it, struct weir_nats_want, node));
    }
    natsConnection_Close(n->nc);
    natsConnection_Destroy(n->nc);
    n->nc = NULL;
}

/* The opener learns how the first attempt went. */
static void tell_first(struct weir_nats *n, enum weir_status st, bool final,
                       const struct weir_err *err) {
    pthread_mutex_lock(&n->lock);
    if (!n->tried && st != WEIR_OK && final)
        n->first = *err;
    n->tried = true;
    n->stats.failed_connects += st != WEIR_OK;
    pthread_cond_signal(&n->told);
    pthread_mutex_unlock(&n->lock);
}

/* False: told to stop. */
static bool pause_for(struct weir_nats *n, uint64_t ms) {
    uint64_t end_ns = weir_now_ns() + ms * 1000000, now;
    pthread_mutex_lock(&n->lock);
    while (!n->stop && (now = weir_now_ns()) < end_ns) {
        uint64_t left = end_ns - now, most = (uint64_t)PURGE_MS * 1000000;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        uint64_t ns = (uint64_t)until.tv_nsec + (left < most ? left : most);
        until.tv_sec += (time_t)(ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        (void)pthread_cond_timedwait(&n->wake, &n->lock, &until);
        purge(n);
    }
    bool stop = n->stop;
    pthread_mutex_unlock(&n->lock);
    return !stop;
}

static void report(const struct weir_err *err) {
    static struct weir_log_limit limit;
    uint32_t dropped;
    if (weir_log_limit_ok(&limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "nats", "%s; trying again", err->text);
}

static void live(struct weir_nats *n) {
    uint64_t pause = 0;
    struct weir_err err = {0};
    bool final = false, first = true;
    while (pause_for(n, pause)) {
        enum weir_status st = connect_any(n, &final, &err);
        if (st == WEIR_OK)
            came_up(n);
        tell_first(n, st, final, &err);
        if (st != WEIR_OK && first && final)
            return; /* the opener reports it */
        if (st == WEIR_OK) {
            serve(n);
            went_down(n);
            pause = PAUSE_MS;
        } else {
            report(&err);
            pause = pause == 0 ? PAUSE_MS : pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
        }
        pause = pause / 2 + weir_rng_u64(&n->rng) % (pause + 1);
        first = false;
    }
}

void *weir_nats_thread(void *arg) {
    struct weir_nats *n = arg;
    pthread_setname_np(pthread_self(), "nats");
    live(n);
    WEIR_LIST_FOREACH(it, &n->wants) {
        struct weir_nats_want *w = WEIR_CONTAINER_OF(it, struct weir_nats_want, node);
        weir_list_remove(&w->node);
        unref_want(w);
    }
    nats_ReleaseThreadMemory();
    return NULL;
}
