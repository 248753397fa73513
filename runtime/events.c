/*
 * The subscribing side: follow the channel records of the topic (and, where asked, connect only to
 * those with a source record) → hand over each message, with the number of messages lost before it.
 * Failure modes: a malformed message is counted and dropped; a socket that cannot be opened is
 * tried again when its record changes. Publishing is events_pub.c.
 *
 * Over NATS all publishers of a scope share one subject, so their sources share one subscription,
 * and the publisher's id in a message tells whose it is. A message whose publisher's records are
 * not there (yet) is dropped, as it would be on a socket that is not connected yet.
 */
#include "runtime/events.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "net/zmq.h"

#include <string.h>

enum { MAX_SOURCES = 65536, ARENA_MAX = 64 << 20 };

/* One subscription of NATS, for all publishers of a scope. */
struct subject {
    struct weir_list node; /* in sub.subjects */
    struct weir_event_sub *sub;
    struct weir_nats_sub *nats_sub;
    char *subject;      /* owned */
    unsigned n_sources; /* freed with the last */
};

struct source {
    struct weir_list node;
    struct weir_event_sub *sub;
    char *key;                    /* owned: key of the channel and of the source record */
    bool has_channel, has_source; /* which records are there */
    char *endpoint;               /* owned: of the channel; a subject when over_nats */
    bool over_nats;
    struct weir_arena arena; /* of `scope` */
    struct weir_arena source_arena;
    struct weir_endpoint_id scope;
    struct weir_record record;   /* the source record, when it is there; in source_arena */
    struct weir_zmq_sub *socket; /* or: */
    struct subject *subject;
    bool told;         /* the owner knows of the source */
    bool live;         /* a message has been seen */
    bool joined;       /* a connection has been made */
    bool handed;       /* messages, since the last on_rest */
    uint64_t expected; /* next sequence */
    uint64_t publisher;
};

struct weir_event_sub {
    struct weir_loop *loop;
    struct weir_nats *nats; /* borrowed, or NULL */
    char *topic;            /* owned */
    bool require_source;
    struct weir_event_sub_ops ops;
    void *arg;
    struct weir_list sources, subjects;
    struct weir_map by_publisher; /* sources that have a subject */
    unsigned n_sources, n_connected;
    struct weir_arena arena; /* of the message that is being handed over */
    uint64_t malformed;
    bool closed;
};

static struct source *find_source(struct weir_event_sub *s, struct weir_span key) {
    WEIR_LIST_FOREACH(it, &s->sources) {
        struct source *x = WEIR_CONTAINER_OF(it, struct source, node);
        if (weir_span_eqz(key, x->key))
            return x;
    }
    return NULL;
}

static struct source *source_for(struct weir_event_sub *s, struct weir_span key) {
    struct source *x = find_source(s, key);
    if (x != NULL || s->n_sources == MAX_SOURCES)
        return x;
    x = weir_calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    x->key = weir_strndup(key.data, key.len);
    if (x->key == NULL) {
        weir_free(x);
        return NULL;
    }
    x->sub = s;
    weir_arena_init(&x->arena, 1 << 16);
    weir_arena_init(&x->source_arena, 1 << 16);
    weir_list_push_back(&s->sources, &x->node);
    s->n_sources++;
    return x;
}

static bool is_connected(const struct source *x) {
    return x->socket != NULL || x->subject != NULL;
}

static void leave_subject(struct source *x) {
    struct subject *g = x->subject;
    x->subject = NULL;
    weir_map_remove(&x->sub->by_publisher, x->publisher);
    if (--g->n_sources > 0)
        return;
    weir_nats_sub_close(g->nats_sub);
    weir_list_remove(&g->node);
    weir_free(g->subject);
    weir_free(g);
}

static void on_rest(void *arg) {
    struct source *x = arg;
    struct weir_event_sub *s = x->sub;
    bool handed = x->handed;
    x->handed = false;
    if (handed && s->ops.on_rest != NULL)
        s->ops.on_rest(s->arg);
}

static void disconnect(struct source *x) {
    if (!is_connected(x))
        return;
    on_rest(x); /* it goes in the midst of its messages */
    if (x->subject != NULL)
        leave_subject(x);
    weir_zmq_sub_close(x->socket);
    x->socket = NULL;
    x->live = false;
    x->sub->n_connected--;
}

static void free_source(struct source *x) {
    disconnect(x);
    weir_list_remove(&x->node);
    x->sub->n_sources--;
    weir_arena_fini(&x->arena);
    weir_arena_fini(&x->source_arena);
    weir_free(x->key);
    weir_free(x->endpoint);
    weir_free(x);
}

/* A sequence that goes back, or another publisher, is a restart: what came before is not
 * comparable. */
static uint64_t count_lost(struct source *x, const struct weir_envelope *env) {
    uint64_t lost = 0;
    if (x->live && env->publisher_id == x->publisher && env->sequence >= x->expected)
        lost = env->sequence - x->expected;
    else if (x->live)
        lost = 1;
    x->live = true;
    x->publisher = env->publisher_id;
    x->expected = env->sequence + 1;
    return lost;
}

static void hand_over(struct source *x, const struct weir_envelope *env) {
    struct weir_event_sub *s = x->sub;
    struct weir_event_msg msg = {.scope = x->scope,
                                 .publisher_id = env->publisher_id,
                                 .sequence = env->sequence,
                                 .published_at_ms = env->published_at_ms,
                                 .lost = count_lost(x, env),
                                 .payload = env->payload};
    x->handed = true;
    s->ops.on_event(s->arg, &msg);
}

static void on_message(void *arg, const struct weir_span *frames, size_t n_frames) {
    struct source *x = arg;
    struct weir_event_sub *s = x->sub;
    struct weir_envelope env;
    weir_arena_reset(&s->arena);
    if (n_frames != 4 || !weir_span_eqz(frames[0], s->topic) ||
        weir_zmq_frame_decode(frames[3], &s->arena, &env) != WEIR_OK) {
        s->malformed++;
        return;
    }
    hand_over(x, &env);
}

static void doubt(struct source *x, bool first) {
    struct weir_event_sub *s = x->sub;
    if (x->told && s->ops.on_doubt != NULL)
        s->ops.on_doubt(s->arg, &x->record);
    if (!first && s->ops.on_missed != NULL)
        s->ops.on_missed(s->arg, x->publisher);
}

static void on_joined(void *arg) {
    struct source *x = arg;
    bool first = !x->joined;
    x->joined = true;
    doubt(x, first);
}

/* ---- subscriptions of NATS ---------------------------------------------------------------- */

static void on_nats_message(void *arg, const struct weir_nats_msg *msg) {
    struct subject *g = arg;
    struct weir_event_sub *s = g->sub;
    struct weir_envelope env;
    uint64_t value = 0;
    weir_arena_reset(&s->arena);
    if (weir_envelope_decode(msg->payload, &s->arena, &env) != WEIR_OK ||
        !weir_span_eqz(env.topic, s->topic)) {
        s->malformed++;
        return;
    }
    if (!weir_map_get(&s->by_publisher, env.publisher_id, &value))
        return;
    struct source *x = (struct source *)(uintptr_t)value;
    if (x->subject != g)
        return;
    hand_over(x, &env);
    on_rest(x);
}

static void on_nats_change(void *arg, const struct weir_nats_change *change) {
    struct subject *g = arg;
    struct weir_event_sub *s = g->sub;
    if (!change->up && change->dropped == 0)
        return;
    WEIR_LIST_FOREACH(it, &s->sources) {
        struct source *x = WEIR_CONTAINER_OF(it, struct source, node);
        if (x->subject == g)
            doubt(x, false);
    }
}

static struct subject *find_subject(struct weir_event_sub *s, const char *subject) {
    WEIR_LIST_FOREACH(it, &s->subjects) {
        struct subject *g = WEIR_CONTAINER_OF(it, struct subject, node);
        if (strcmp(g->subject, subject) == 0)
            return g;
    }
    return NULL;
}

static enum weir_status new_subject(struct weir_event_sub *s, const char *subject,
                                    struct subject **ret_subject) {
    static const struct weir_nats_sub_ops ops = {on_nats_message, on_nats_change};
    struct subject *g = weir_calloc(1, sizeof(*g));
    if (g == NULL)
        return WEIR_NOMEM;
    *g = (struct subject){.sub = s, .subject = weir_strdup(subject)};
    enum weir_status st = g->subject == NULL ? WEIR_NOMEM
                                             : weir_nats_subscribe(s->nats, s->loop, g->subject,
                                                                   NULL, &ops, g, &g->nats_sub);
    if (st != WEIR_OK) {
        weir_free(g->subject);
        weir_free(g);
        return st;
    }
    weir_list_push_back(&s->subjects, &g->node);
    *ret_subject = g;
    return WEIR_OK;
}

/* WEIR_EXISTS: another source has the same publisher. */
static enum weir_status join_subject(struct source *x) {
    struct weir_event_sub *s = x->sub;
    uint64_t other;
    if (weir_map_get(&s->by_publisher, x->publisher, &other))
        return WEIR_EXISTS;
    enum weir_status st = weir_map_put(&s->by_publisher, x->publisher, (uint64_t)(uintptr_t)x);
    struct subject *g = find_subject(s, x->endpoint);
    if (st == WEIR_OK && g == NULL) {
        st = new_subject(s, x->endpoint, &g);
        if (st != WEIR_OK)
            weir_map_remove(&s->by_publisher, x->publisher);
    }
    if (st != WEIR_OK)
        return st;
    g->n_sources++;
    x->subject = g;
    return WEIR_OK;
}

/* ---- connecting ---------------------------------------------------------------------------- */

static enum weir_status open_zmq(struct source *x, struct weir_err *err) {
    struct weir_event_sub *s = x->sub;
    enum weir_status st = weir_zmq_sub_open(s->loop, x->endpoint, weir_span_z(s->topic), on_message,
                                            x, &x->socket, err);
    if (st == WEIR_OK)
        weir_zmq_sub_on_joined(x->socket, on_joined);
    if (st == WEIR_OK)
        weir_zmq_sub_on_rest(x->socket, on_rest);
    return st;
}

static enum weir_status open_nats(struct source *x, struct weir_err *err) {
    if (x->sub->nats == NULL)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "it publishes over NATS: start this process with --event-plane nats");
    enum weir_status st = join_subject(x);
    return st == WEIR_OK ? st : weir_err_set(err, st, "%s", weir_status_text(st));
}

static void connect_if_ready(struct source *x) {
    struct weir_event_sub *s = x->sub;
    struct weir_err err;
    if (is_connected(x) || !x->has_channel || (s->require_source && !x->has_source))
        return;
    if ((x->over_nats ? open_nats(x, &err) : open_zmq(x, &err)) != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_WARN, "events", "cannot follow %s at %s: %s", x->key, x->endpoint,
                 err.text);
        return;
    }
    s->n_connected++;
    x->told = x->has_source;
    if (x->told && s->ops.on_source != NULL)
        s->ops.on_source(s->arg, &x->record, true);
}

static bool keep_scope(struct source *x, const struct weir_endpoint_id *scope) {
    x->scope = (struct weir_endpoint_id){weir_arena_copy(&x->arena, scope->ns),
                                         weir_arena_copy(&x->arena, scope->component),
                                         weir_arena_copy(&x->arena, scope->name)};
    return x->scope.ns.data != NULL && x->scope.component.data != NULL &&
           x->scope.name.data != NULL;
}

/* Closes the socket and tells the owner, when it was told of the source. */
static void lose(struct source *x) {
    struct weir_event_sub *s = x->sub;
    bool was_connected = is_connected(x);
    disconnect(x);
    if (was_connected && x->told && s->ops.on_source != NULL)
        s->ops.on_source(s->arg, &x->record, false);
    x->told = false;
}

/* The socket's address, or the subject, of a channel record. NULL: neither, or no memory. */
static char *place_of(const struct weir_record *r) {
    struct weir_buf text;
    char *place = NULL;
    if (r->subject_prefix.data == NULL)
        return r->zmq_endpoint.data != NULL
                   ? weir_strndup(r->zmq_endpoint.data, r->zmq_endpoint.len)
                   : NULL;
    weir_buf_init(&text, 4096);
    if (weir_event_subject(r->subject_prefix, r->topic, &text) == WEIR_OK)
        place = weir_strndup(text.data, text.len);
    weir_buf_fini(&text);
    return place;
}

static void on_channel(struct source *x, const struct weir_record *record) {
    bool over_nats = record->subject_prefix.data != NULL;
    char *endpoint = place_of(record);
    if (endpoint == NULL ||
        (x->has_channel && over_nats == x->over_nats && strcmp(endpoint, x->endpoint) == 0)) {
        weir_free(endpoint);
        return;
    }
    lose(x);
    weir_free(x->endpoint);
    x->endpoint = endpoint;
    x->over_nats = over_nats;
    x->publisher = record->instance_id;
    if (x->scope.ns.data == NULL && !keep_scope(x, &record->endpoint))
        return;
    x->has_channel = true;
    connect_if_ready(x);
}

static void on_source_record(struct source *x, const struct weir_record *record) {
    lose(x); /* a changed record: another rank, or another place to ask */
    struct weir_arena *a = &x->source_arena;
    weir_arena_reset(a);
    x->record = *record;
    struct weir_endpoint_id *e = &x->record.endpoint;
    struct weir_span *const spans[] = {&e->ns,
                                       &e->component,
                                       &e->name,
                                       &x->record.topic,
                                       &x->record.recovery_endpoint,
                                       &x->record.recovery_address,
                                       &x->record.recovery_subject,
                                       &x->record.recovery_device};
    x->has_source = true;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(spans); i++)
        if (spans[i]->data != NULL) {
            *spans[i] = weir_arena_copy(a, *spans[i]);
            x->has_source = x->has_source && spans[i]->data != NULL;
        }
    if (!x->has_source)
        return; /* out of memory: as if the record had not come */
    connect_if_ready(x);
}

static void on_gone(struct weir_event_sub *s, enum weir_record_kind kind, struct weir_span key) {
    struct source *x = find_source(s, key);
    if (x == NULL)
        return;
    if (kind == WEIR_RECORD_EVENT_CHANNEL)
        x->has_channel = false;
    else
        x->has_source = false;
    if (!x->has_channel || s->require_source)
        lose(x);
    if (!x->has_channel && !x->has_source)
        free_source(x);
}

static void on_change(void *arg, enum weir_discovery_change change, enum weir_record_kind kind,
                      struct weir_span key, const struct weir_record *record) {
    static struct weir_log_limit limit;
    uint32_t dropped;
    struct weir_event_sub *s = arg;
    if (s->closed || (kind != WEIR_RECORD_EVENT_CHANNEL && kind != WEIR_RECORD_EVENT_SOURCE))
        return;
    if (change == WEIR_DISCOVERY_DELETE) {
        on_gone(s, kind, key);
        return;
    }
    if (!weir_span_eqz(record->topic, s->topic) ||
        (kind == WEIR_RECORD_EVENT_CHANNEL && record->zmq_endpoint.data == NULL &&
         record->subject_prefix.data == NULL))
        return;
    struct source *x = source_for(s, key);
    if (x == NULL) {
        if (weir_log_limit_ok(&limit, 1, &dropped))
            WEIR_LOG(WEIR_LOG_WARN, "events", "%.*s is left out: too many sources or no memory",
                     WEIR_SPAN_ARG(key));
        return;
    }
    if (kind == WEIR_RECORD_EVENT_CHANNEL)
        on_channel(x, record);
    else
        on_source_record(x, record);
}

enum weir_status weir_event_sub_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     struct weir_nats *nats, const char *topic, bool require_source,
                                     const struct weir_event_sub_ops *ops, void *arg,
                                     struct weir_event_sub **ret_sub, struct weir_err *err) {
    struct weir_event_sub *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    s->loop = loop;
    s->nats = nats;
    s->require_source = require_source;
    s->ops = *ops;
    s->arg = arg;
    s->topic = weir_strdup(topic);
    weir_list_init(&s->sources);
    weir_list_init(&s->subjects);
    weir_map_init(&s->by_publisher, MAX_SOURCES);
    weir_arena_init(&s->arena, ARENA_MAX);
    enum weir_status st = s->topic == NULL ? WEIR_NOMEM : weir_discovery_watch(disc, on_change, s);
    if (st != WEIR_OK) {
        weir_event_sub_close(s);
        return weir_err_set(err, st, "cannot follow topic %s: %s", topic, weir_status_text(st));
    }
    *ret_sub = s;
    return WEIR_OK;
}

unsigned weir_event_sub_sources(const struct weir_event_sub *sub) {
    return sub->n_connected;
}

/* The discovery it watches must be closed first. */
void weir_event_sub_close(struct weir_event_sub *sub) {
    if (sub == NULL)
        return;
    WEIR_LIST_FOREACH(it, &sub->sources) {
        free_source(WEIR_CONTAINER_OF(it, struct source, node));
    }
    weir_map_fini(&sub->by_publisher);
    weir_arena_fini(&sub->arena);
    weir_free(sub->topic);
    weir_free(sub);
}
