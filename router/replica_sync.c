/*
 * Out: a router's event, under its lock → encoded into one queue → the loop turns the queue into
 * messages of at most 256 events, one publisher for each endpoint that workers have. In: a message
 * → its events → the router of the worker. Publishers are opened when their first event waits,
 * because a change of discovery must not lead back into it.
 */
#include "router/replica_sync.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "wire/record.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

enum {
    MAX_SCOPES = 64,
    BATCH = 256,
    QUEUE_BYTES = 32 << 20,
    MESSAGE_BYTES = 48 << 20,
    ARENA_BYTES = 64 << 20,
    MAX_WORKERS = 65536,
};
static const char topic[] = "active_sequences_events";

struct scope {
    char *ns, *component, *name;
    struct weir_event_pub *pub; /* NULL until the first event, or where it failed */
    bool failed;
    struct weir_buf events; /* of the message that is being made */
    uint32_t n;
};

/* An event in the queue; its bytes are in another buffer. */
struct head {
    uint64_t worker_id;
    size_t len;
};

struct stats {
    uint64_t sent, received, dropped; /* events; dropped: more waited than are kept */
};

struct weir_replica_sync {
    struct weir_loop *loop; /* borrowed */
    struct weir_replica_sync_ops ops;
    void *arg;
    uint64_t router_id;
    struct weir_discovery *disc; /* borrowed, NULL when not started */
    struct weir_nats *nats;
    char *ip;
    struct weir_event_sub *sub;
    struct scope scopes[MAX_SCOPES];
    size_t n_scopes;
    struct weir_map scope_of; /* worker id → place in scopes */
    struct weir_buf message;
    struct weir_arena arena;
    struct weir_log_limit unreadable;
    uint64_t publisher; /* of the message that is being read */
    uint64_t now_ms;
    pthread_mutex_t lock; /* of what follows; taken inside a router's lock, never around one */
    struct weir_buf queue, heads;
    bool scheduled, stopped;
    struct stats stats;
};

enum weir_status weir_replica_sync_create(struct weir_loop *loop,
                                          const struct weir_replica_sync_ops *ops, void *arg,
                                          struct weir_replica_sync **ret_sync) {
    struct weir_replica_sync *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    s->loop = loop;
    s->ops = *ops;
    s->arg = arg;
    s->router_id = weir_rng_u64(weir_loop_rng(loop)) >> 11 | 1;
    weir_map_init(&s->scope_of, MAX_WORKERS);
    weir_buf_init(&s->message, MESSAGE_BYTES);
    weir_buf_init(&s->queue, QUEUE_BYTES);
    weir_buf_init(&s->heads, QUEUE_BYTES);
    weir_arena_init(&s->arena, ARENA_BYTES);
    pthread_mutex_init(&s->lock, NULL);
    *ret_sync = s;
    return WEIR_OK;
}

/* ---- out ---------------------------------------------------------------------------------- */

static bool open_publisher(struct weir_replica_sync *s, struct scope *c) {
    struct weir_err err;
    struct weir_event_pub_config pc = {
        .scope = {weir_span_z(c->ns), weir_span_z(c->component), weir_span_z(c->name)},
        .topic = topic,
        .ip = s->ip,
        .nats = s->nats};
    if (c->pub != NULL || c->failed)
        return c->pub != NULL;
    c->failed = weir_event_pub_open(s->loop, s->disc, &pc, &c->pub, &err) != WEIR_OK;
    if (c->failed)
        WEIR_LOG(WEIR_LOG_ERROR, "router", "other routers will not hear of requests to %s.%s: %s",
                 c->ns, c->component, err.text);
    return !c->failed;
}

/* A subscriber takes its time to connect, so publishers open before there is anything to say; not
 * from within a change of discovery, which must not lead back into it. */
static void announce(void *arg) {
    struct weir_replica_sync *s = arg;
    for (size_t i = 0; s->disc != NULL && i < s->n_scopes; i++)
        (void)open_publisher(s, &s->scopes[i]);
}

static void send_scope(struct weir_replica_sync *s, struct scope *c) {
    weir_buf_clear(&s->message);
    if (c->n > 0 && s->disc != NULL && open_publisher(s, c) &&
        weir_sequence_events_wrap(weir_buf_span(&c->events), c->n, &s->message) == WEIR_OK &&
        weir_event_pub_send(c->pub, weir_buf_span(&s->message)) == WEIR_OK) {
        pthread_mutex_lock(&s->lock);
        s->stats.sent += c->n;
        pthread_mutex_unlock(&s->lock);
    }
    weir_buf_clear(&c->events);
    c->n = 0;
}

/* Over NATS the reference system sends one event a message, as it is. */
static void send_one(struct weir_replica_sync *s, struct scope *c, struct weir_span event) {
    if (s->disc != NULL && open_publisher(s, c) && weir_event_pub_send(c->pub, event) == WEIR_OK) {
        pthread_mutex_lock(&s->lock);
        s->stats.sent++;
        pthread_mutex_unlock(&s->lock);
    }
}

static void put_event(struct weir_replica_sync *s, uint64_t worker_id, struct weir_span event) {
    uint64_t at;
    if (!weir_map_get(&s->scope_of, worker_id, &at))
        return; /* a worker that discovery does not know has no other routers */
    struct scope *c = &s->scopes[at];
    if (s->nats != NULL) {
        send_one(s, c, event);
    } else if (weir_buf_append(&c->events, event.data, event.len) == WEIR_OK && ++c->n == BATCH) {
        send_scope(s, c);
    }
}

static void flush(void *arg) {
    struct weir_replica_sync *s = arg;
    struct weir_buf events, heads;
    pthread_mutex_lock(&s->lock);
    events = s->queue;
    heads = s->heads;
    weir_buf_init(&s->queue, QUEUE_BYTES);
    weir_buf_init(&s->heads, QUEUE_BYTES);
    s->scheduled = false;
    pthread_mutex_unlock(&s->lock);
    size_t at = 0;
    for (size_t i = 0; i + sizeof(struct head) <= heads.len; i += sizeof(struct head)) {
        struct head h;
        memcpy(&h, heads.data + i, sizeof(h));
        put_event(s, h.worker_id, weir_span(events.data + at, h.len));
        at += h.len;
    }
    for (size_t i = 0; i < s->n_scopes; i++)
        send_scope(s, &s->scopes[i]);
    weir_buf_fini(&events);
    weir_buf_fini(&heads);
}

/* Of a router, with its lock held. */
static void on_sequence(void *arg, const struct weir_sequence_event *event) {
    struct weir_replica_sync *s = arg;
    struct weir_sequence_event e = *event;
    e.router_id = s->router_id;
    pthread_mutex_lock(&s->lock);
    size_t before = s->queue.len;
    struct head h = {.worker_id = e.worker_id};
    bool ok = !s->stopped && weir_sequence_event_encode(&e, &s->queue) == WEIR_OK;
    h.len = s->queue.len - before;
    ok = ok && weir_buf_append(&s->heads, (const char *)&h, sizeof(h)) == WEIR_OK;
    if (!ok)
        s->queue.len = before;
    s->stats.dropped += !ok && !s->stopped;
    bool post = ok && !s->scheduled;
    s->scheduled |= post;
    if (post && weir_loop_post(s->loop, flush, s) != WEIR_OK)
        s->scheduled = false; /* the next event tries again */
    pthread_mutex_unlock(&s->lock);
}

void weir_replica_sync_attach(struct weir_replica_sync *sync, struct weir_router *router) {
    weir_router_on_sequence(router, on_sequence, sync);
}

/* ---- in ----------------------------------------------------------------------------------- */

struct incoming {
    struct weir_replica_sync *sync;
    const struct weir_sequence_event *event;
};

static void apply(void *arg, struct weir_router *router) {
    const struct incoming *in = arg;
    weir_router_apply_sequence(router, in->event, in->sync->publisher, in->sync->now_ms);
}

static void on_event(void *arg, const struct weir_sequence_event *event) {
    struct weir_replica_sync *s = arg;
    struct incoming in = {s, event};
    if (event->router_id == s->router_id)
        return; /* our own, come home */
    s->stats.received++;
    s->ops.with_router(s->arg, event->worker_id, apply, &in);
}

static void forget(void *arg, struct weir_router *router) {
    const uint64_t *publisher = arg;
    unsigned n = weir_router_drop_publisher(router, *publisher);
    if (n > 0)
        WEIR_LOG(WEIR_LOG_INFO, "router",
                 "another router went away, or what it told was lost: %u requests are its no more",
                 n);
}

/* Ends of requests may be among what was lost, and who does not hear of one books it for an hour.
 * To count those that go on too low until they end is the smaller fault. */
static void on_missed(void *arg, uint64_t publisher) {
    struct weir_replica_sync *s = arg;
    s->ops.each_router(s->arg, forget, &publisher);
}

static void on_message(void *arg, const struct weir_event_msg *msg) {
    struct weir_replica_sync *s = arg;
    uint32_t more = 0;
    if (msg->lost > 0)
        on_missed(s, msg->publisher_id);
    s->publisher = msg->publisher_id;
    s->now_ms = weir_loop_now_ms(s->loop);
    if (weir_sequence_events_decode(msg->payload, &s->arena, on_event, s) != WEIR_OK &&
        weir_log_limit_ok(&s->unreadable, 1, &more))
        WEIR_LOG(WEIR_LOG_WARN, "router",
                 "message %" PRIu64 " of router or worker %s"
                 " about requests cannot be read; %u more were not reported",
                 msg->sequence, weir_worker_text(msg->publisher_id).s, more);
}

/* The scope of this endpoint, made if there is room; MAX_SCOPES if not. */
static size_t scope_at(struct weir_replica_sync *s, const struct weir_endpoint_id *e) {
    size_t i = 0;
    while (i < s->n_scopes && !(weir_span_eqz(e->ns, s->scopes[i].ns) &&
                                weir_span_eqz(e->component, s->scopes[i].component) &&
                                weir_span_eqz(e->name, s->scopes[i].name)))
        i++;
    if (i < s->n_scopes || i == MAX_SCOPES)
        return i;
    struct scope *c = &s->scopes[i];
    c->ns = weir_strndup(e->ns.data, e->ns.len);
    c->component = weir_strndup(e->component.data, e->component.len);
    c->name = weir_strndup(e->name.data, e->name.len);
    weir_buf_init(&c->events, MESSAGE_BYTES);
    s->n_scopes++; /* closed with the others even when a name is missing */
    return c->ns != NULL && c->component != NULL && c->name != NULL ? i : MAX_SCOPES;
}

/* The publisher of a channel, from its record's key: …/TOPIC/HEX. Zero: it is another topic's. */
static uint64_t publisher_of(struct weir_span key) {
    size_t at = key.len, n = strlen(topic);
    uint64_t id = 0;
    while (at > 0 && key.data[at - 1] != '/')
        at--;
    if (at < n + 2 || key.data[at - n - 2] != '/' ||
        !weir_span_eqz(weir_span(key.data + at - n - 1, n), topic))
        return 0;
    return weir_span_hex64(weir_span(key.data + at, key.len - at), &id) ? id : 0;
}

static void on_change(void *arg, enum weir_discovery_change change, enum weir_record_kind kind,
                      struct weir_span key, const struct weir_record *record) {
    struct weir_replica_sync *s = arg;
    if (change == WEIR_DISCOVERY_DELETE) {
        uint64_t publisher = kind == WEIR_RECORD_EVENT_CHANNEL ? publisher_of(key) : 0;
        if (publisher != 0)
            s->ops.each_router(s->arg, forget, &publisher);
        return;
    }
    if (kind != WEIR_RECORD_ENDPOINT ||
        weir_span_starts(record->endpoint.name, WEIR_SPAN_LIT("worker_kv_query")))
        return;
    size_t known = s->n_scopes, at = scope_at(s, &record->endpoint);
    if (s->n_scopes > known && weir_loop_post(s->loop, announce, s) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "router", "other routers hear of the first request only");
    if (at < MAX_SCOPES && weir_map_put(&s->scope_of, record->instance_id, at) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "router", "too many workers: other routers do not hear of all");
}

/* ---- life --------------------------------------------------------------------------------- */

enum weir_status weir_replica_sync_start(struct weir_replica_sync *sync,
                                         struct weir_discovery *disc, struct weir_nats *nats,
                                         bool over_nats, const char *ip, struct weir_err *err) {
    static const struct weir_event_sub_ops ops = {.on_event = on_message, .on_missed = on_missed};
    sync->nats = over_nats ? nats : NULL;
    sync->ip = ip == NULL ? NULL : weir_strndup(ip, strlen(ip));
    enum weir_status st = weir_discovery_watch(disc, on_change, sync);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot follow other routers: %s", weir_status_text(st));
    st = weir_event_sub_open(sync->loop, disc, nats, topic, false, &ops, sync, &sync->sub, err);
    if (st == WEIR_OK)
        sync->disc = disc;
    return st;
}

static const struct weir_metric_desc figures[] = {
    {.name = "weir_router_replica_events_sent_total",
     .type = WEIR_COUNTER,
     .help = "Bookings, first tokens and ends that other routers were told of."},
    {.name = "weir_router_replica_events_received_total",
     .type = WEIR_COUNTER,
     .help = "Those that other routers told of."},
    {.name = "weir_router_replica_events_dropped_total",
     .type = WEIR_COUNTER,
     .help = "Own ones that found no room among those to be sent."}};

void weir_replica_sync_show(struct weir_replica_sync *sync, struct weir_metrics *metrics) {
    if (sync == NULL)
        return;
    pthread_mutex_lock(&sync->lock);
    const struct stats s = sync->stats;
    pthread_mutex_unlock(&sync->lock);
    const uint64_t n[] = {s.sent, s.received, s.dropped};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(figures); i++)
        weir_metric_set(weir_metric_get(weir_metrics_family(metrics, &figures[i], 0), NULL),
                        (double)n[i]);
}

void weir_replica_sync_stop(struct weir_replica_sync *sync) {
    if (sync == NULL)
        return;
    flush(sync);
    for (size_t i = 0; i < sync->n_scopes; i++) {
        weir_event_pub_close(sync->scopes[i].pub);
        sync->scopes[i].pub = NULL;
    }
    sync->disc = NULL;
    pthread_mutex_lock(&sync->lock);
    sync->stopped = true;
    pthread_mutex_unlock(&sync->lock);
}

void weir_replica_sync_destroy(struct weir_replica_sync *sync) {
    if (sync == NULL)
        return;
    weir_event_sub_close(sync->sub);
    for (size_t i = 0; i < sync->n_scopes; i++) {
        weir_free(sync->scopes[i].ns);
        weir_free(sync->scopes[i].component);
        weir_free(sync->scopes[i].name);
        weir_buf_fini(&sync->scopes[i].events);
    }
    weir_map_fini(&sync->scope_of);
    weir_buf_fini(&sync->message);
    weir_buf_fini(&sync->queue);
    weir_buf_fini(&sync->heads);
    weir_arena_fini(&sync->arena);
    pthread_mutex_destroy(&sync->lock);
    weir_free(sync->ip);
    weir_free(sync);
}
