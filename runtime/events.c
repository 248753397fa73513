/*
 * Publisher: bind → announce the channel (and the source) → send envelopes with rising sequence.
 * Subscriber: follow the channel records of the topic (and, where asked, connect only to those with
 * a source record) → hand over each message, with the number of messages lost before it. Failure
 * modes: a malformed message is counted and dropped; a socket that cannot be opened is tried again
 * when its record changes.
 */
#include "runtime/events.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/zmq.h"
#include "runtime/address.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SOURCES = 65536, ARENA_MAX = 64 << 20, ENVELOPE_MAX = 64 << 20 };

/* ---- publisher ---------------------------------------------------------------------------- */

struct weir_event_pub {
    struct weir_discovery *disc; /* borrowed */
    struct weir_zmq_pub *socket;
    struct weir_arena arena; /* strings of the records */
    struct weir_record channel, source;
    bool has_channel, has_source;
    uint64_t id, sequence;
    struct weir_buf frame;
};

static enum weir_status announce(struct weir_event_pub *p,
                                 const struct weir_event_pub_config *config, const char *ip,
                                 struct weir_err *err) {
    char endpoint[WEIR_HOST_BYTES + 32];
    bool v6 = strchr(ip, ':') != NULL;
    snprintf(endpoint, sizeof(endpoint), "tcp://%s%s%s:%u", v6 ? "[" : "", ip, v6 ? "]" : "",
             weir_zmq_pub_port(p->socket));
    struct weir_endpoint_id scope = {weir_arena_copy(&p->arena, config->scope.ns),
                                     weir_arena_copy(&p->arena, config->scope.component),
                                     weir_arena_copy(&p->arena, config->scope.name)};
    p->channel =
        (struct weir_record){.kind = WEIR_RECORD_EVENT_CHANNEL,
                             .endpoint = scope,
                             .instance_id = p->id,
                             .topic = weir_arena_copy(&p->arena, weir_span_z(config->topic)),
                             .zmq_endpoint = weir_arena_copy(&p->arena, weir_span_z(endpoint))};
    enum weir_status st = weir_discovery_publish(p->disc, &p->channel, err);
    p->has_channel = st == WEIR_OK;
    if (st != WEIR_OK || !config->with_source)
        return st;
    p->source = (struct weir_record){
        .kind = WEIR_RECORD_EVENT_SOURCE,
        .endpoint = scope,
        .instance_id = p->id,
        .topic = p->channel.topic,
        .worker_id = config->worker_id,
        .dp_rank = config->dp_rank,
        .recovery_endpoint = weir_arena_copy(&p->arena, config->recovery_endpoint),
        .recovery_address = config->recovery_address.data != NULL
                                ? weir_arena_copy(&p->arena, config->recovery_address)
                                : weir_span(NULL, 0),
        .recovery_instance_id = config->worker_id,
        .recovery_codec = WEIR_CODEC_MSGPACK};
    st = weir_discovery_publish(p->disc, &p->source, err);
    p->has_source = st == WEIR_OK;
    return st;
}

enum weir_status weir_event_pub_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     const struct weir_event_pub_config *config,
                                     struct weir_event_pub **ret_pub, struct weir_err *err) {
    struct weir_event_pub *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    p->disc = disc;
    p->id = config->publisher_id != 0 ? config->publisher_id
                                      : weir_rng_u64(weir_loop_rng(loop)) & ((1ull << 52) - 1);
    weir_arena_init(&p->arena, 1 << 20);
    weir_buf_init(&p->frame, ENVELOPE_MAX);
    char ip[WEIR_IP_BYTES], shown[WEIR_HOST_BYTES];
    enum weir_status st = weir_address_bind(config->ip, NULL, ip, shown, err);
    if (st == WEIR_OK)
        st = weir_zmq_pub_open(ip, 0, &p->socket, err);
    if (st == WEIR_OK)
        st = announce(p, config, shown, err);
    if (st != WEIR_OK) {
        weir_event_pub_close(p);
        return st;
    }
    *ret_pub = p;
    return WEIR_OK;
}

uint64_t weir_event_pub_id(const struct weir_event_pub *pub) {
    return pub->id;
}

static void put_u64(char out[8], uint64_t v) {
    for (int i = 0; i < 8; i++)
        out[i] = (char)(v >> (56 - 8 * i));
}

enum weir_status weir_event_pub_send(struct weir_event_pub *pub, struct weir_span payload) {
    char id[8], sequence[8];
    struct weir_envelope env = {.topic = pub->channel.topic,
                                .publisher_id = pub->id,
                                .sequence = pub->sequence,
                                .published_at_ms = weir_wall_ms(),
                                .payload = payload};
    weir_buf_clear(&pub->frame);
    enum weir_status st = weir_zmq_frame_encode(&env, &pub->frame);
    if (st != WEIR_OK)
        return st;
    put_u64(id, pub->id);
    put_u64(sequence, pub->sequence++);
    struct weir_span frames[] = {pub->channel.topic, weir_span(id, 8), weir_span(sequence, 8),
                                 weir_buf_span(&pub->frame)};
    return weir_zmq_pub_send(pub->socket, frames, WEIR_ARRAY_LEN(frames));
}

void weir_event_pub_close(struct weir_event_pub *pub) {
    if (pub == NULL)
        return;
    if (pub->has_source)
        weir_discovery_unpublish(pub->disc, &pub->source);
    if (pub->has_channel)
        weir_discovery_unpublish(pub->disc, &pub->channel);
    if (pub->socket != NULL)
        weir_zmq_pub_close(pub->socket);
    weir_buf_fini(&pub->frame);
    weir_arena_fini(&pub->arena);
    weir_free(pub);
}

/* ---- subscriber --------------------------------------------------------------------------- */

struct source {
    struct weir_list node;
    struct weir_event_sub *sub;
    char *key;                    /* owned: key of the channel and of the source record */
    bool has_channel, has_source; /* which records are there */
    char *endpoint;               /* owned: of the channel */
    struct weir_arena arena;      /* of `scope` */
    struct weir_arena source_arena;
    struct weir_endpoint_id scope;
    struct weir_record record; /* the source record, when it is there; in source_arena */
    struct weir_zmq_sub *socket;
    bool told;         /* the owner knows of the source */
    bool live;         /* a message has been seen */
    uint64_t expected; /* next sequence */
    uint64_t publisher;
};

struct weir_event_sub {
    struct weir_loop *loop;
    char *topic; /* owned */
    bool require_source;
    struct weir_event_sub_ops ops;
    void *arg;
    struct weir_list sources;
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

static void disconnect(struct source *x) {
    if (x->socket == NULL)
        return;
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
    struct weir_event_msg msg = {.scope = x->scope,
                                 .publisher_id = env.publisher_id,
                                 .sequence = env.sequence,
                                 .published_at_ms = env.published_at_ms,
                                 .lost = count_lost(x, &env),
                                 .payload = env.payload};
    s->ops.on_event(s->arg, &msg);
}

static void connect_if_ready(struct source *x) {
    struct weir_event_sub *s = x->sub;
    struct weir_err err;
    if (x->socket != NULL || !x->has_channel || (s->require_source && !x->has_source))
        return;
    enum weir_status st = weir_zmq_sub_open(s->loop, x->endpoint, weir_span_z(s->topic), on_message,
                                            x, &x->socket, &err);
    if (st != WEIR_OK) {
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
    bool was_connected = x->socket != NULL;
    disconnect(x);
    if (was_connected && x->told && s->ops.on_source != NULL)
        s->ops.on_source(s->arg, &x->record, false);
    x->told = false;
}

static void on_channel(struct source *x, const struct weir_record *record) {
    if (x->has_channel && weir_span_eqz(record->zmq_endpoint, x->endpoint))
        return;
    char *endpoint = weir_strndup(record->zmq_endpoint.data, record->zmq_endpoint.len);
    if (endpoint == NULL)
        return;
    lose(x);
    weir_free(x->endpoint);
    x->endpoint = endpoint;
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
        (kind == WEIR_RECORD_EVENT_CHANNEL && record->zmq_endpoint.data == NULL))
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
                                     const char *topic, bool require_source,
                                     const struct weir_event_sub_ops *ops, void *arg,
                                     struct weir_event_sub **ret_sub, struct weir_err *err) {
    struct weir_event_sub *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    s->loop = loop;
    s->require_source = require_source;
    s->ops = *ops;
    s->arg = arg;
    s->topic = weir_strdup(topic);
    weir_list_init(&s->sources);
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
    weir_arena_fini(&sub->arena);
    weir_free(sub->topic);
    weir_free(sub);
}
