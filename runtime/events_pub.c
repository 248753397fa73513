/*
 * The publishing side: bind (or have NATS) → announce the channel (and the source) → send envelopes
 * with rising sequence. What cannot be sent leaves a gap in the sequence, which subscribers see.
 */
#include "runtime/events.h"

#include "base/mem.h"
#include "net/zmq.h"
#include "runtime/address.h"

#include <stdio.h>
#include <string.h>

enum {
    ENVELOPE_MAX = 64 << 20,
    KEEP_MS = 30000, /* events wait so long for a NATS server to come back */
};

struct weir_event_pub {
    struct weir_discovery *disc; /* borrowed */
    struct weir_zmq_pub *socket; /* or: */
    struct weir_nats *nats;      /* borrowed */
    char *subject;               /* owned */
    struct weir_arena arena;     /* strings of the records */
    struct weir_record channel, source;
    bool has_channel, has_source;
    uint64_t id, sequence;
    struct weir_buf frame;
};

static struct weir_span copy_if(struct weir_arena *a, struct weir_span s) {
    return s.data != NULL ? weir_arena_copy(a, s) : weir_span(NULL, 0);
}

/* The channel's place: an address or a subject. */
static enum weir_status set_place(struct weir_event_pub *p, const char *ip) {
    struct weir_buf text;
    bool v6 = ip != NULL && strchr(ip, ':') != NULL;
    weir_buf_init(&text, 4096);
    enum weir_status st = p->nats != NULL
                              ? weir_event_subject_prefix(&p->channel.endpoint, &text)
                              : weir_buf_printf(&text, "tcp://%s%s%s:%u", v6 ? "[" : "", ip,
                                                v6 ? "]" : "", weir_zmq_pub_port(p->socket));
    struct weir_span place = weir_span(NULL, 0);
    if (st == WEIR_OK)
        place = weir_arena_copy(&p->arena, weir_buf_span(&text));
    weir_buf_clear(&text);
    if (p->nats != NULL) {
        p->channel.subject_prefix = place;
        if (st == WEIR_OK)
            st = weir_event_subject(place, p->channel.topic, &text);
        p->subject = st == WEIR_OK ? weir_strndup(text.data, text.len) : NULL;
    } else {
        p->channel.zmq_endpoint = place;
    }
    weir_buf_fini(&text);
    return st != WEIR_OK                                                   ? st
           : place.data == NULL || (p->nats != NULL && p->subject == NULL) ? WEIR_NOMEM
                                                                           : WEIR_OK;
}

static enum weir_status announce(struct weir_event_pub *p,
                                 const struct weir_event_pub_config *config, const char *ip,
                                 struct weir_err *err) {
    struct weir_endpoint_id scope = {weir_arena_copy(&p->arena, config->scope.ns),
                                     weir_arena_copy(&p->arena, config->scope.component),
                                     weir_arena_copy(&p->arena, config->scope.name)};
    p->channel =
        (struct weir_record){.kind = WEIR_RECORD_EVENT_CHANNEL,
                             .endpoint = scope,
                             .instance_id = p->id,
                             .topic = weir_arena_copy(&p->arena, weir_span_z(config->topic))};
    enum weir_status st = set_place(p, ip);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "cannot announce topic %s: %s", config->topic,
                            weir_status_text(st));
    st = weir_discovery_publish(p->disc, &p->channel, err);
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
        .recovery_address = copy_if(&p->arena, config->recovery_address),
        .recovery_subject = copy_if(&p->arena, config->recovery_subject),
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
    p->nats = config->nats;
    p->id = config->publisher_id != 0 ? config->publisher_id
                                      : weir_rng_u64(weir_loop_rng(loop)) & ((1ull << 52) - 1);
    weir_arena_init(&p->arena, 1 << 20);
    weir_buf_init(&p->frame, ENVELOPE_MAX);
    char ip[WEIR_IP_BYTES], shown[WEIR_HOST_BYTES];
    enum weir_status st = WEIR_OK;
    if (p->nats == NULL) {
        st = weir_address_bind(config->ip, NULL, ip, shown, err);
        if (st == WEIR_OK)
            st = weir_zmq_pub_open(ip, 0, weir_loop_dead_peer_ms(loop), &p->socket, err);
    }
    if (st == WEIR_OK)
        st = announce(p, config, p->nats == NULL ? shown : NULL, err);
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
    enum weir_status st = pub->nats != NULL ? weir_envelope_encode(&env, &pub->frame)
                                            : weir_zmq_frame_encode(&env, &pub->frame);
    if (st != WEIR_OK)
        return st;
    if (pub->nats != NULL) {
        const struct weir_nats_out out = {
            .subject = pub->subject, .payload = weir_buf_span(&pub->frame), .keep_ms = KEEP_MS};
        /* A number that is not sent shows the subscribers a gap. */
        pub->sequence++;
        return weir_nats_publish(pub->nats, &out);
    }
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
    weir_free(pub->subject);
    weir_buf_fini(&pub->frame);
    weir_arena_fini(&pub->arena);
    weir_free(pub);
}
