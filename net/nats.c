/*
 * Sending: a loop copies its message into an order → the thread takes it out and publishes.
 * Receiving: nats.c hands a message to weir_nats_incoming() → it waits in the subscription's inbox
 * → the loop takes up to PER_TURN of them at a time.
 *
 * Failure modes: a queue or an inbox is full: refused or dropped, and counted; a subscription is
 * closed while a call to its loop is on its way: it is kept until that call, or until the
 * connection closes.
 */
#include "net/nats_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    QUEUE_MESSAGES = 65536,
    QUEUE_BYTES = 64 << 20,
    INBOX_MESSAGES = 65536,
    INBOX_BYTES = 64 << 20,
    PER_TURN = 256,
    MAX_SUBJECT = 4096,
    FIRST_S = 10,
    LIBRARY_MS = 5000,
    INBOX_LETTERS = 22,
};

#if defined(__SANITIZE_ADDRESS__)
/* nats.c hands messages to a thread that frees them; one that comes as it closes may stay. What we
 * hold of a message would be found all the same. The sanitizer's library looks for the name. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:natsMsg_create\n";
}
#endif

struct incoming {
    struct weir_list node;
    natsMsg *msg; /* owned */
};

/* ---- sending ------------------------------------------------------------------------------ */

static bool is_subject(const char *s) {
    size_t n = strlen(s);
    if (n == 0 || n > MAX_SUBJECT || s[0] == '.' || s[n - 1] == '.' || strstr(s, "..") != NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f)
            return false;
    return true;
}

static const char *put(char **at, const char *s) {
    if (s == NULL)
        return NULL;
    char *to = *at;
    size_t n = strlen(s) + 1;
    memcpy(to, s, n);
    *at += n;
    return to;
}

static size_t size_of(const char *s) {
    return s != NULL ? strlen(s) + 1 : 0;
}

static struct weir_nats_order *new_order(enum weir_nats_verb verb, const struct weir_nats_out *out,
                                         const char *group) {
    size_t bytes = sizeof(struct weir_nats_order) + size_of(out->subject) + size_of(out->reply) +
                   size_of(group) + out->payload.len;
    for (unsigned i = 0; i < out->n_headers; i++)
        bytes += size_of(out->headers[i].name) + size_of(out->headers[i].value);
    struct weir_nats_order *o = weir_malloc(bytes);
    if (o == NULL)
        return NULL;
    char *at = (char *)(o + 1);
    *o = (struct weir_nats_order){.verb = verb, .bytes = bytes, .n_headers = out->n_headers};
    weir_list_init(&o->node);
    o->subject = put(&at, out->subject);
    o->reply = put(&at, out->reply);
    o->group = put(&at, group);
    for (unsigned i = 0; i < out->n_headers; i++) {
        o->headers[i].name = put(&at, out->headers[i].name);
        o->headers[i].value = put(&at, out->headers[i].value);
    }
    o->payload = weir_span(at, out->payload.len);
    if (out->payload.len > 0)
        memcpy(at, out->payload.data, out->payload.len);
    return o;
}

/* With the lock held. */
static void enqueue(struct weir_nats *n, struct weir_nats_order *o) {
    weir_list_push_back(&n->orders, &o->node);
    n->n_orders++;
    n->order_bytes += o->bytes;
    pthread_cond_signal(&n->wake);
}

enum weir_status weir_nats_publish(struct weir_nats *nats, const struct weir_nats_out *out) {
    WEIR_ASSERT(out->n_headers <= WEIR_NATS_HEADERS);
    if (!is_subject(out->subject) || (out->reply != NULL && !is_subject(out->reply)))
        return WEIR_INVALID;
    struct weir_nats_order *o = new_order(WEIR_NATS_PUB, out, NULL);
    if (o == NULL)
        return WEIR_NOMEM;
    if (out->keep_ms > 0)
        o->drop_ns = weir_now_ns() + out->keep_ms * 1000000;
    pthread_mutex_lock(&nats->lock);
    enum weir_status st = WEIR_OK;
    if (nats->max_payload > 0 && out->payload.len > (size_t)nats->max_payload)
        st = WEIR_TOO_LARGE;
    else if (nats->n_orders >= nats->config.queue_messages ||
             nats->order_bytes + o->bytes > nats->config.queue_bytes)
        st = WEIR_LIMIT;
    if (st == WEIR_OK)
        enqueue(nats, o);
    else
        nats->stats.dropped_out++;
    pthread_mutex_unlock(&nats->lock);
    if (st != WEIR_OK)
        weir_free(o);
    return st;
}

/* ---- receiving ---------------------------------------------------------------------------- */

static void on_posted(void *arg);

/* With the lock held. A full list of the loop's calls is tried again with the next message. */
static void post(struct weir_nats_sub *s) {
    if (!s->posted && weir_loop_post(s->loop, on_posted, s) == WEIR_OK)
        s->posted = true;
}

static struct weir_nats_sub *find(struct weir_nats *n, uint64_t id) {
    uint64_t value = 0;
    return weir_map_get(&n->by_id, id, &value) ? (struct weir_nats_sub *)(uintptr_t)value : NULL;
}

static void drop_one(struct weir_nats_sub *s, uint64_t n) {
    s->change.dropped += n;
    s->nats->stats.dropped_in += n;
    post(s);
}

void weir_nats_incoming(struct weir_nats *nats, uint64_t sub_id, natsMsg *msg) {
    struct incoming *in = weir_malloc(sizeof(*in));
    size_t bytes = (size_t)natsMsg_GetDataLength(msg);
    pthread_mutex_lock(&nats->lock);
    nats->stats.received++;
    struct weir_nats_sub *s = find(nats, sub_id);
    bool room = s != NULL && in != NULL && s->n_inbox < INBOX_MESSAGES &&
                s->inbox_bytes + bytes <= INBOX_BYTES;
    if (room) {
        in->msg = msg;
        weir_list_push_back(&s->inbox, &in->node);
        s->n_inbox++;
        s->inbox_bytes += bytes;
        post(s);
    } else if (s != NULL) {
        drop_one(s, 1);
    }
    pthread_mutex_unlock(&nats->lock);
    if (!room) {
        weir_free(in);
        natsMsg_Destroy(msg);
    }
}

void weir_nats_tell_dropped(struct weir_nats *nats, uint64_t sub_id, uint64_t n) {
    pthread_mutex_lock(&nats->lock);
    struct weir_nats_sub *s = find(nats, sub_id);
    if (s != NULL)
        drop_one(s, n);
    else
        nats->stats.dropped_in += n;
    pthread_mutex_unlock(&nats->lock);
}

void weir_nats_tell_drained(struct weir_nats *nats, uint64_t sub_id) {
    pthread_mutex_lock(&nats->lock);
    struct weir_nats_sub *s = find(nats, sub_id);
    if (s != NULL) {
        s->drained = true;
        post(s);
    }
    pthread_mutex_unlock(&nats->lock);
}

void weir_nats_tell(struct weir_nats *nats, bool up) {
    size_t cursor = 0;
    uint64_t id, value;
    pthread_mutex_lock(&nats->lock);
    nats->stats.connected = up;
    while (weir_map_next(&nats->by_id, &cursor, &id, &value)) {
        struct weir_nats_sub *s = (struct weir_nats_sub *)(uintptr_t)value;
        s->change.up = s->change.up || up;
        s->change.down = s->change.down || !up;
        s->drained = s->drained || (s->draining && !up);
        post(s);
    }
    pthread_mutex_unlock(&nats->lock);
}

static void drop_inbox(struct weir_list *inbox) {
    WEIR_LIST_FOREACH(it, inbox) {
        struct incoming *in = WEIR_CONTAINER_OF(it, struct incoming, node);
        weir_list_remove(&in->node);
        natsMsg_Destroy(in->msg);
        weir_free(in);
    }
}

/* With the lock held: the messages of this turn. */
static void take_batch(struct weir_nats_sub *s, struct weir_list *batch) {
    for (unsigned i = 0; i < PER_TURN && s->n_inbox > 0; i++) {
        struct incoming *in = WEIR_CONTAINER_OF(s->inbox.next, struct incoming, node);
        weir_list_remove(&in->node);
        weir_list_push_back(batch, &in->node);
        s->n_inbox--;
        s->inbox_bytes -= (size_t)natsMsg_GetDataLength(in->msg);
    }
    if (s->n_inbox > 0)
        post(s);
}

static void tell(struct weir_nats_sub *s, const struct weir_nats_change *change) {
    if (!s->closed && s->ops.on_change != NULL)
        s->ops.on_change(s->arg, change);
}

/* Headers are read only where they are all there is. */
static unsigned status_of(natsMsg *m) {
    const char *text = NULL;
    uint64_t n = 0;
    if (natsMsg_GetDataLength(m) > 0 || natsMsgHeader_Get(m, "Status", &text) != NATS_OK ||
        text == NULL || !weir_span_u64(weir_span_z(text), &n) || n > 999)
        return 0;
    return (unsigned)n;
}

static void deliver(struct weir_nats_sub *s, natsMsg *m) {
    struct weir_nats_msg msg = {.subject = natsMsg_GetSubject(m),
                                .reply = natsMsg_GetReply(m),
                                .payload =
                                    weir_span(natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)),
                                .no_responders = natsMsg_IsNoResponders(m),
                                .status = status_of(m)};
    s->ops.on_message(s->arg, &msg);
}

/* On the loop. */
static void on_posted(void *arg) {
    struct weir_nats_sub *s = arg;
    struct weir_list batch;
    weir_list_init(&batch);
    pthread_mutex_lock(&s->nats->lock);
    s->posted = false;
    struct weir_nats_change change = s->change;
    s->change = (struct weir_nats_change){0};
    if (s->closed)
        weir_list_remove(&s->late);
    else
        take_batch(s, &batch);
    bool last = s->drained && s->n_inbox == 0;
    if (last)
        s->drained = false;
    pthread_mutex_unlock(&s->nats->lock);
    s->delivering = true;
    if (change.up || change.down || change.dropped > 0)
        tell(s, &change);
    WEIR_LIST_FOREACH(it, &batch) {
        if (!s->closed)
            deliver(s, WEIR_CONTAINER_OF(it, struct incoming, node)->msg);
    }
    if (last)
        tell(s, &(struct weir_nats_change){.drained = true});
    drop_inbox(&batch);
    s->delivering = false;
    if (!s->closed)
        return;
    pthread_mutex_lock(&s->nats->lock);
    bool again = s->posted;
    pthread_mutex_unlock(&s->nats->lock);
    if (!again)
        weir_free(s);
}

enum weir_status weir_nats_subscribe(struct weir_nats *nats, struct weir_loop *loop,
                                     const char *subject, const char *queue_group,
                                     const struct weir_nats_sub_ops *ops, void *arg,
                                     struct weir_nats_sub **ret_sub) {
    if (!is_subject(subject))
        return WEIR_INVALID;
    struct weir_nats_sub *s = weir_calloc(1, sizeof(*s));
    const struct weir_nats_out out = {.subject = subject};
    struct weir_nats_order *o = new_order(WEIR_NATS_SUB, &out, queue_group);
    if (s == NULL || o == NULL) {
        weir_free(s);
        weir_free(o);
        return WEIR_NOMEM;
    }
    *s = (struct weir_nats_sub){.nats = nats, .loop = loop, .ops = *ops, .arg = arg};
    weir_list_init(&s->inbox);
    weir_list_init(&s->late);
    pthread_mutex_lock(&nats->lock);
    s->id = o->sub_id = ++nats->last_id;
    enum weir_status st = weir_map_put(&nats->by_id, s->id, (uint64_t)(uintptr_t)s);
    if (st == WEIR_OK)
        enqueue(nats, o);
    pthread_mutex_unlock(&nats->lock);
    if (st != WEIR_OK) {
        weir_free(s);
        weir_free(o);
        return st;
    }
    *ret_sub = s;
    return WEIR_OK;
}

static struct weir_nats_order *order_about(const struct weir_nats_sub *s,
                                           enum weir_nats_verb verb) {
    const struct weir_nats_out none = {0};
    struct weir_nats_order *o = new_order(verb, &none, NULL);
    if (o != NULL)
        o->sub_id = s->id;
    return o;
}

void weir_nats_sub_drain(struct weir_nats_sub *sub) {
    struct weir_nats *n = sub->nats;
    struct weir_nats_order *o = order_about(sub, WEIR_NATS_DRAIN);
    pthread_mutex_lock(&n->lock);
    sub->draining = true;
    if (o != NULL)
        enqueue(n, o);
    /* Nothing is on its way without a connection; and without memory nobody has to wait. */
    if (o == NULL || !n->stats.connected) {
        sub->drained = true;
        post(sub);
    }
    pthread_mutex_unlock(&n->lock);
}

void weir_nats_sub_close(struct weir_nats_sub *sub) {
    if (sub == NULL)
        return;
    struct weir_nats *n = sub->nats;
    struct weir_list dropped;
    weir_list_init(&dropped);
    /* Without memory for it nats.c goes on receiving for nobody. */
    struct weir_nats_order *o = order_about(sub, WEIR_NATS_UNSUB);
    pthread_mutex_lock(&n->lock);
    weir_map_remove(&n->by_id, sub->id);
    sub->closed = true;
    bool later = sub->posted || sub->delivering;
    if (sub->posted)
        weir_list_push_back(&n->late, &sub->late);
    if (o != NULL)
        enqueue(n, o);
    WEIR_LIST_FOREACH(it, &sub->inbox) {
        weir_list_remove(it);
        weir_list_push_back(&dropped, it);
    }
    pthread_mutex_unlock(&n->lock);
    drop_inbox(&dropped);
    if (!later)
        weir_free(sub);
}

/* ---- life --------------------------------------------------------------------------------- */

static bool copy_strings(struct weir_nats_config *to) {
    const char **const all[] = {&to->servers,          &to->name,    &to->user,
                                &to->password,         &to->token,   &to->nkey_seed,
                                &to->credentials_path, &to->ca_path, &to->cert_path,
                                &to->key_path};
    bool ok = true;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(all); i++)
        if (*all[i] != NULL) {
            *all[i] = weir_strdup(*all[i]);
            ok = ok && *all[i] != NULL;
        }
    return ok;
}

static void free_strings(struct weir_nats_config *c) {
    const char *const all[] = {
        c->servers,          c->name,    c->user,      c->password, c->token, c->nkey_seed,
        c->credentials_path, c->ca_path, c->cert_path, c->key_path};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(all); i++)
        weir_free((void *)(uintptr_t)all[i]);
}

/* nats.c calls back a little longer than its connections live, so closed ones are kept until the
 * library is closed with the last of them. */
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static struct weir_list dead = {&dead, &dead}; /* both guarded by library_lock */
static unsigned n_open;

static void wait_for_first(struct weir_nats *n) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FIRST_S;
    pthread_mutex_lock(&n->lock);
    while (!n->tried && pthread_cond_timedwait(&n->told, &n->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&n->lock);
}

static enum weir_status start(struct weir_nats *n, struct weir_err *err) {
    sigset_t all, old;
    sigfillset(&all);
    /* Also for the threads of nats.c, which ours starts. */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&n->thread, NULL, weir_nats_thread, n);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    n->started = rc == 0;
    pthread_mutex_lock(&library_lock);
    n_open += n->started;
    pthread_mutex_unlock(&library_lock);
    if (!n->started)
        return weir_err_set(err, WEIR_LIMIT, "NATS: no thread can be started");
    wait_for_first(n);
    pthread_mutex_lock(&n->lock);
    enum weir_status st = n->first.status;
    if (st != WEIR_OK)
        weir_err_set(err, st, "%s", n->first.text);
    pthread_mutex_unlock(&n->lock);
    return st;
}

enum weir_status weir_nats_open(const struct weir_nats_config *config, struct weir_nats **ret_nats,
                                struct weir_err *err) {
    struct weir_nats *n = weir_calloc(1, sizeof(*n));
    if (n == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    n->config = *config;
    bool ok = copy_strings(&n->config);
    if (n->config.queue_messages == 0)
        n->config.queue_messages = QUEUE_MESSAGES;
    if (n->config.queue_bytes == 0)
        n->config.queue_bytes = QUEUE_BYTES;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->wake, NULL);
    pthread_cond_init(&n->told, NULL);
    weir_list_init(&n->orders);
    weir_list_init(&n->late);
    weir_list_init(&n->wants);
    weir_map_init(&n->by_id, WEIR_NATS_MAX_SUBS);
    weir_rng_seed_os(&n->rng);
    enum weir_status st = ok ? weir_nats_servers(n->config.servers != NULL ? n->config.servers : "",
                                                 &n->servers, &n->n_servers, err)
                             : weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st == WEIR_OK)
        st = start(n, err);
    if (st != WEIR_OK) {
        weir_nats_close(n);
        return st;
    }
    *ret_nats = n;
    return WEIR_OK;
}

/* The threads of nats.c must be gone before OpenSSL ends with the process, as their own ends use
 * it. At the end of the process nats.c frees OpenSSL's table of compressions, and then OpenSSL
 * does: so the table is taken away from both. TLS that begins later just has no compression. */
static bool close_library(void) {
    static STACK_OF(SSL_COMP) * hidden; /* guarded by library_lock */
    if (hidden == NULL && SSL_COMP_get_compression_methods() != NULL)
        hidden = SSL_COMP_set0_compression_methods(NULL);
    return nats_CloseAndWait(LIBRARY_MS) == NATS_OK;
}

static void free_dead(struct weir_nats *n) {
    weir_map_fini(&n->by_id);
    weir_nats_servers_free(n->servers, n->n_servers);
    weir_nats_servers_free(n->more, n->n_more);
    free_strings(&n->config);
    pthread_cond_destroy(&n->wake);
    pthread_cond_destroy(&n->told);
    pthread_mutex_destroy(&n->lock);
    weir_free(n);
}

static void bury(struct weir_nats *n) {
    pthread_mutex_lock(&library_lock);
    weir_list_push_back(&dead, &n->dead);
    if (--n_open == 0 && close_library())
        WEIR_LIST_FOREACH(it, &dead) {
            weir_list_remove(it);
            free_dead(WEIR_CONTAINER_OF(it, struct weir_nats, dead));
        }
    pthread_mutex_unlock(&library_lock);
}

void weir_nats_close(struct weir_nats *nats) {
    if (nats == NULL)
        return;
    if (nats->started) {
        pthread_mutex_lock(&nats->lock);
        nats->stop = true;
        pthread_cond_signal(&nats->wake);
        pthread_mutex_unlock(&nats->lock);
        pthread_join(nats->thread, NULL);
    }
    WEIR_LIST_FOREACH(it, &nats->orders) {
        weir_free(WEIR_CONTAINER_OF(it, struct weir_nats_order, node));
    }
    WEIR_LIST_FOREACH(jt, &nats->late) {
        weir_free(WEIR_CONTAINER_OF(jt, struct weir_nats_sub, late));
    }
    if (nats->started)
        bury(nats);
    else
        free_dead(nats);
}

void weir_nats_stats(struct weir_nats *nats, struct weir_nats_stats *ret) {
    pthread_mutex_lock(&nats->lock);
    *ret = nats->stats;
    pthread_mutex_unlock(&nats->lock);
}

void weir_nats_inbox(struct weir_rng *rng, char ret_inbox[WEIR_NATS_INBOX_BYTES]) {
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    memcpy(ret_inbox, "_INBOX.", 7);
    for (unsigned i = 0; i < INBOX_LETTERS; i++)
        ret_inbox[7 + i] = letters[weir_rng_u64(rng) % (sizeof(letters) - 1)];
    ret_inbox[7 + INBOX_LETTERS] = '\0';
}
