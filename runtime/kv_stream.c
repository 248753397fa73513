/*
 * One stream. Happy path: a worker is ready → what core.state asks for is asked → live: a pull of
 * some hundred messages → each is applied → at the end of the loop's turn the newest is
 * acknowledged, and with it all before → the pull is used up: the next one → …
 *
 * Failure modes: a call fails: asked again after growing pauses, from the beginning (is the stream
 * there?), at our place; deliveries lost between server and us: a new consumer at our place;
 * messages that left the stream unseen: what is known is void, snapshot and stream once more;
 * events of a worker that is not known yet: the same for that worker when it is.
 *
 * Who may close when: the owner; no call is open then.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/msgpack.h"
#include "runtime/kv_stream_priv.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MAX_WORKERS = 65536,
    PULL = 256,
    PULL_BYTES = 16 << 20,
    MAX_PENDING = 8 * PULL,
    IDLE_S = 300, /* the server forgets a consumer that nobody used so long */
    AGE_S = 3600,
    READY_MS = 50,
    MESSAGE_MAX = 64 << 20,
    ARENA_MAX = 64 << 20,
};

void weir_kv_stream_later(struct weir_kv_stream *s, struct weir_timer *t, uint64_t ms) {
    if (weir_timer_start(t, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "out of memory: stream %s is not followed", s->name);
}

void weir_kv_stream_failed(struct weir_kv_stream *s, const char *what, enum weir_status st) {
    uint32_t dropped;
    uint64_t ms = weir_kvs_failed(&s->core, weir_loop_rng(s->all->loop));
    /* That there is no connection is told where it is kept. */
    if (st != WEIR_DISCONNECTED && weir_js_connected(s->all->js) &&
        weir_log_limit_ok(&s->limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events", "stream %s: %s: %s%s; trying again", s->name, what,
                 weir_status_text(st),
                 st == WEIR_UNAVAILABLE ? " (does the NATS server have JetStream on?)" : "");
    weir_kvs_doubt(&s->core);
    weir_kv_stream_later(s, &s->retry, ms);
}

/* ---- events ------------------------------------------------------------------------------- */

static bool is_ready(const struct weir_kv_stream *s, uint64_t worker_id) {
    return s->all->config.ops.ready(s->all->config.arg, worker_id);
}

/* All but the workers that are known: of the others most left long ago, and none comes back under
 * its id but by a fault of discovery. */
static void forget_strangers(struct weir_kv_stream *s) {
    struct weir_map kept;
    size_t cursor = 0;
    uint64_t id, ranks, one;
    weir_map_init(&kept, MAX_WORKERS);
    while (weir_map_next(&s->workers, &cursor, &id, &ranks))
        if (weir_map_get(&s->missed, id, &one) && weir_map_put(&kept, id, 1) != WEIR_OK)
            break; /* without memory: what they hold comes with their next events */
    weir_map_fini(&s->missed);
    s->missed = kept;
}

static void miss(struct weir_kv_stream *s, uint64_t worker_id) {
    uint32_t dropped;
    if (weir_map_put(&s->missed, worker_id, 1) == WEIR_OK)
        return;
    forget_strangers(s);
    if (weir_map_put(&s->missed, worker_id, 1) != WEIR_OK &&
        weir_log_limit_ok(&s->limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: too many unknown workers; some may stay unknown when they come",
                 s->name);
}

void weir_kv_stream_event(void *arg, const struct weir_kv_event *event) {
    struct weir_kv_stream *s = arg;
    const struct weir_kv_streams_config *c = &s->all->config;
    uint64_t ranks;
    if (!weir_map_get(&s->workers, event->worker_id, &ranks) || !c->ops.on_event(c->arg, event))
        miss(s, event->worker_id);
}

void weir_kv_stream_late_event(void *arg, const struct weir_kv_event *event) {
    struct weir_kv_stream *s = arg;
    uint64_t one;
    if (weir_map_get(&s->late, event->worker_id, &one))
        weir_kv_stream_event(arg, event);
}

/* One RouterEvent as JSON. */
static void apply(struct weir_kv_stream *s, struct weir_span json, weir_kv_event_fn fn) {
    uint32_t dropped;
    weir_buf_clear(&s->json);
    /* An array of one: the reader's form. */
    enum weir_status st = weir_buf_append_c(&s->json, (char)0x91);
    if (st == WEIR_OK)
        st = weir_mp_from_json(json, &s->json);
    if (st == WEIR_OK)
        st = weir_kv_events_decode(weir_buf_span(&s->json), &s->arena, fn, s);
    if (st == WEIR_OK)
        return;
    s->all->stats.unreadable++;
    if (weir_log_limit_ok(&s->limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: message %" PRIu64
                 " cannot be read and is passed over; %u more were not reported",
                 s->name, s->core.pos, dropped);
}

void weir_kv_stream_end_events(struct weir_kv_stream *s) {
    s->all->config.ops.on_end(s->all->config.arg);
}

static void on_turn_end(void *arg) {
    struct weir_kv_stream *s = arg;
    weir_kv_stream_end_events(s);
    if (s->ack[0] != '\0' && weir_js_tell(s->all->js, s->ack, WEIR_SPAN_LIT("+ACK")) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "events", "stream %s: an acknowledgement was not sent", s->name);
    s->ack[0] = '\0';
}

static void reset_all(struct weir_kv_stream *s) {
    size_t cursor = 0;
    uint64_t id, ranks;
    while (weir_map_next(&s->workers, &cursor, &id, &ranks))
        for (uint32_t i = 0; i < (uint32_t)ranks; i++)
            s->all->config.ops.on_reset(s->all->config.arg, id, (uint32_t)(ranks >> 32) + i);
}

void weir_kv_stream_void(struct weir_kv_stream *s) {
    weir_kv_stream_end_events(s);
    reset_all(s);
    weir_map_fini(&s->late);
    weir_map_init(&s->late, MAX_WORKERS);
}

/* ---- late workers ------------------------------------------------------------------------- */

bool weir_kv_stream_owes(const struct weir_kv_stream *s) {
    size_t cursor = 0;
    uint64_t id, ranks, one;
    while (weir_map_next(&s->workers, &cursor, &id, &ranks))
        if (weir_map_get(&s->missed, id, &one))
            return true;
    return false;
}

void weir_kv_stream_look_for_late(struct weir_kv_stream *s) {
    size_t cursor = 0;
    uint64_t id, ranks, one;
    if (s->core.state != WEIR_KVS_LIVE || weir_kvs_catching_up(&s->core))
        return;
    while (weir_map_next(&s->workers, &cursor, &id, &ranks))
        if (weir_map_get(&s->missed, id, &one) && is_ready(s, id) &&
            weir_map_put(&s->late, id, 1) == WEIR_OK)
            weir_map_remove(&s->missed, id);
    if (weir_map_len(&s->late) == 0)
        return;
    WEIR_LOG(WEIR_LOG_INFO, "events", "stream %s is read again for %zu workers that came late",
             s->name, weir_map_len(&s->late));
    weir_kvs_catch_up(&s->core);
    weir_js_cancel(s->pull);
    s->pull = NULL;
    weir_kv_stream_proceed(s);
}

static void caught_up(struct weir_kv_stream *s) {
    if (weir_map_len(&s->late) == 0 || weir_kvs_catching_up(&s->core))
        return;
    weir_map_fini(&s->late);
    weir_map_init(&s->late, MAX_WORKERS);
}

/* ---- pulling ------------------------------------------------------------------------------ */

static void restart(struct weir_kv_stream *s) {
    weir_js_cancel(s->pull);
    s->pull = NULL;
    s->all->stats.restarts++;
    weir_kv_stream_proceed(s);
}

static void gap(struct weir_kv_stream *s) {
    WEIR_LOG(WEIR_LOG_WARN, "events",
             "stream %s: messages are gone that were not read; the snapshot and the stream are "
             "read again",
             s->name);
    weir_kv_stream_void(s);
    restart(s);
}

/* The server's word on a pull: it is over, or was refused. */
static void pull_over(struct weir_kv_stream *s, unsigned status) {
    bool refused = status == 409 && s->n_pulled == 0; /* without our consumer, for example */
    s->pulling = false;
    if (refused) {
        weir_js_cancel(s->pull);
        s->pull = NULL;
        s->all->stats.restarts++;
        weir_kv_stream_failed(s, "pulling", WEIR_NOT_FOUND);
        return;
    }
    if (s->n_pulled == 0)
        weir_kvs_dry(&s->core);
    caught_up(s);
    weir_kv_stream_proceed(s);
}

static void take(struct weir_kv_stream *s, const struct weir_nats_msg *msg) {
    uint64_t seq = 0, delivery = 0;
    if (msg->reply == NULL || !weir_js_delivery(weir_span_z(msg->reply), &seq, &delivery))
        return;
    s->n_pulled++;
    switch (weir_kvs_message(&s->core, seq, delivery)) {
    case WEIR_KVS_APPLY:
        apply(s, msg->payload, weir_kv_stream_event);
        break;
    case WEIR_KVS_APPLY_LATE:
        apply(s, msg->payload, weir_kv_stream_late_event);
        break;
    case WEIR_KVS_OLD:
        break;
    case WEIR_KVS_LOST:
        restart(s);
        return;
    case WEIR_KVS_GAP:
        gap(s);
        return;
    }
    s->all->stats.messages++;
    snprintf(s->ack, sizeof(s->ack), "%s", msg->reply);
    weir_loop_defer(s->all->loop, &s->turn_end);
    caught_up(s);
    if (s->n_pulled < PULL)
        return;
    s->pulling = false;
    weir_kv_stream_proceed(s);
}

void weir_kv_stream_pulled(struct weir_kv_stream *s, enum weir_status st,
                           const struct weir_nats_msg *msg) {
    if (st != WEIR_OK) {
        s->pull = NULL;
        s->all->stats.restarts++;
        weir_kv_stream_failed(s, "pulling", st);
    } else if (msg->status != 0) {
        if (msg->status >= 400)
            pull_over(s, msg->status);
    } else {
        take(s, msg);
    }
}

static void on_pulled(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    if (!weir_kv_stream_holds(arg, st, msg))
        weir_kv_stream_pulled(arg, st, msg);
}

static enum weir_status pull(struct weir_kv_stream *s) {
    char subject[WEIR_KVS_SUBJECT], body[128];
    int n = snprintf(body, sizeof(body), "{\"batch\":%d,\"max_bytes\":%d,\"expires\":%" PRIu64 "}",
                     PULL, PULL_BYTES, (uint64_t)WEIR_KVS_PULL_MS * 1000000);
    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.MSG.NEXT.%s.%s", s->name,
             s->all->consumer);
    const struct weir_js_request request = {.subject = subject,
                                            .payload = weir_span(body, (size_t)n),
                                            .timeout_ms = WEIR_KVS_PULL_WAIT_MS,
                                            .stream = true,
                                            .fn = on_pulled,
                                            .arg = s};
    s->n_pulled = 0;
    s->pulling = true;
    return s->pull != NULL ? weir_js_again(s->pull, &request)
                           : weir_js_ask(s->all->js, &request, &s->pull);
}

/* ---- asking ------------------------------------------------------------------------------- */

enum weir_status weir_kv_stream_ask(struct weir_kv_stream *s, const char *verb, bool consumer,
                                    struct weir_span payload, weir_js_fn fn,
                                    struct weir_js_call **ret_call) {
    char subject[WEIR_KVS_SUBJECT];
    snprintf(subject, sizeof(subject), "$JS.API.%s.%s%s%s", verb, s->name, consumer ? "." : "",
             consumer ? s->all->consumer : "");
    const struct weir_js_request request = {
        .subject = subject, .payload = payload, .fn = fn, .arg = s};
    return weir_js_ask(s->all->js, &request, ret_call);
}

/* An error of the API that is as good as an answer. */
static bool is_fine(struct weir_kv_stream *s, uint32_t error) {
    switch (s->core.state) {
    case WEIR_KVS_WIPE_BUCKET:
        return error == WEIR_JS_NO_STREAM || error == 404;
    case WEIR_KVS_DROP_CONSUMER:
        return error == WEIR_JS_CONSUMER_GONE || error == 404;
    default:
        return false;
    }
}

static void on_answer(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_kv_stream *s = arg;
    struct weir_js_answer a = {0};
    uint32_t dropped;
    s->call = NULL;
    weir_arena_reset(&s->answers);
    if (st == WEIR_OK)
        st = weir_js_answer_decode(msg->payload, &s->answers, &a);
    if (st == WEIR_OK && s->core.state == WEIR_KVS_STREAM && a.error == WEIR_JS_STREAM_EXISTS) {
        s->exists = true; /* somebody else's settings: its state is asked for instead */
        weir_kv_stream_proceed(s);
        return;
    }
    if (st == WEIR_OK && a.error != 0 && !is_fine(s, a.error)) {
        s->exists = false;
        if (weir_log_limit_ok(&s->limit, 1, &dropped))
            WEIR_LOG(WEIR_LOG_WARN, "events", "stream %s: the server refuses: %.*s (%u)", s->name,
                     WEIR_SPAN_ARG(a.text), a.error);
        st = WEIR_INVALID;
    }
    if (st != WEIR_OK) {
        weir_kv_stream_failed(s, "asking for it", st);
        return;
    }
    bool made = s->core.state == WEIR_KVS_CONSUMER;
    if (weir_kvs_done(&s->core, a.first_seq, a.last_seq, a.created) == WEIR_KVS_BEGAN_ANEW) {
        s->keep.covered = 0;
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s was made anew; events that only the old one had are missing", s->name);
    }
    if (made)
        weir_kv_stream_look_for_orphans(s);
    weir_kv_stream_proceed(s);
}

static enum weir_status ask_with(struct weir_kv_stream *s) {
    struct weir_buf body;
    enum weir_status st = WEIR_OK;
    const char *verb = "STREAM.CREATE";
    bool consumer = false;
    weir_buf_init(&body, 16384);
    uint64_t age = s->all->config.max_age_s;
    switch (s->core.state) {
    case WEIR_KVS_STREAM:
        if (s->exists)
            verb = "STREAM.INFO";
        else
            st = weir_js_put_stream(s->name, age > 0 ? age : AGE_S, &body);
        break;
    case WEIR_KVS_WIPE_STREAM:
        verb = "STREAM.PURGE";
        break;
    case WEIR_KVS_DROP_CONSUMER:
        verb = "CONSUMER.DELETE";
        consumer = true;
        break;
    default:
        verb = "CONSUMER.DURABLE.CREATE";
        consumer = true;
        st = weir_js_put_consumer(s->name, s->all->consumer, weir_kvs_from(&s->core), MAX_PENDING,
                                  IDLE_S, &body);
    }
    if (st == WEIR_OK)
        st = weir_kv_stream_ask(s, verb, consumer, weir_buf_span(&body), on_answer, &s->call);
    weir_buf_fini(&body);
    return st;
}

static enum weir_status wipe_bucket(struct weir_kv_stream *s) {
    char subject[WEIR_KVS_SUBJECT];
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.DELETE.OBJ_%s", s->bucket);
    const struct weir_js_request request = {.subject = subject, .fn = on_answer, .arg = s};
    return weir_js_ask(s->all->js, &request, &s->call);
}

/* Asks for what the state needs, unless that is under way. */
void weir_kv_stream_proceed(struct weir_kv_stream *s) {
    enum weir_status st = WEIR_OK;
    if (s->core.state == WEIR_KVS_OFF || s->call != NULL || s->reading != NULL)
        return;
    weir_timer_stop(&s->retry);
    if (s->core.state != WEIR_KVS_LIVE) {
        weir_js_cancel(s->pull);
        s->pull = NULL;
    }
    switch (s->core.state) {
    case WEIR_KVS_SNAPSHOT:
    case WEIR_KVS_SETTLE:
        st = weir_kv_stream_read_snapshot(s);
        break;
    case WEIR_KVS_WIPE_BUCKET:
        st = wipe_bucket(s);
        break;
    case WEIR_KVS_LIVE:
        st = s->pull == NULL || !s->pulling ? pull(s) : WEIR_OK;
        break;
    default:
        st = ask_with(s);
    }
    if (st == WEIR_OK)
        return;
    weir_js_cancel(s->pull);
    s->pull = NULL;
    weir_kv_stream_failed(s, "asking", st);
}

static void on_retry(void *arg) {
    weir_kv_stream_proceed(arg);
}

/* ---- life --------------------------------------------------------------------------------- */

/* Its stream is of no use before a worker is: events of an unknown one go nowhere. */
static void on_ready(void *arg) {
    struct weir_kv_stream *s = arg;
    size_t cursor = 0;
    uint64_t id, ranks;
    if (s->core.state != WEIR_KVS_OFF)
        return;
    while (weir_map_next(&s->workers, &cursor, &id, &ranks))
        if (is_ready(s, id)) {
            weir_kvs_start(&s->core);
            weir_kv_stream_keep_start(s);
            weir_kv_stream_proceed(s);
            return;
        }
    if (weir_map_len(&s->workers) > 0)
        weir_kv_stream_later(s, &s->ready, READY_MS);
}

void weir_kv_stream_worker_put(struct weir_kv_stream *s, uint64_t id, uint32_t dp_start,
                               uint32_t dp_size) {
    uint64_t ranks = (uint64_t)dp_start << 32 | (dp_size > 0 ? dp_size : 1);
    if (weir_map_put(&s->workers, id, ranks) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "stream %s: too many workers", s->name);
    if (s->core.state == WEIR_KVS_OFF && !weir_timer_active(&s->ready))
        weir_kv_stream_later(s, &s->ready, 0);
}

/* Its blocks left the index; should it come back, they are read again. */
void weir_kv_stream_worker_gone(struct weir_kv_stream *s, uint64_t id) {
    if (!weir_map_remove(&s->workers, id))
        return;
    weir_kv_stream_dump_void(s);
    miss(s, id);
}

void weir_kv_stream_worker_away(struct weir_kv_stream *s, uint64_t id) {
    uint64_t ranks;
    if (!weir_map_get(&s->workers, id, &ranks))
        return;
    weir_kv_stream_dump_void(s);
    miss(s, id);
}

void weir_kv_stream_up(struct weir_kv_stream *s) {
    if (weir_timer_active(&s->retry))
        weir_kv_stream_later(s, &s->retry, 0);
}

struct weir_kv_stream *weir_kv_stream_create(struct weir_kv_streams *all, struct weir_span ns,
                                             struct weir_span component) {
    struct weir_kv_stream *s = weir_calloc(1, sizeof(*s));
    if (s == NULL || ns.len >= sizeof(s->ns) || component.len >= sizeof(s->component) ||
        weir_js_name(ns, component, "kv-events", s->name) != WEIR_OK ||
        weir_js_name(ns, component, "radix-bucket", s->bucket) != WEIR_OK) {
        weir_free(s);
        return NULL;
    }
    s->all = all;
    memcpy(s->ns, ns.data, ns.len);
    memcpy(s->component, component.data, component.len);
    weir_kvs_init(&s->core, all->config.reset_states);
    s->keep.threshold = all->config.snapshot_threshold;
    weir_map_init(&s->workers, MAX_WORKERS);
    weir_map_init(&s->missed, MAX_WORKERS);
    weir_map_init(&s->late, MAX_WORKERS);
    weir_timer_init(&s->retry, all->loop, on_retry, s);
    weir_timer_init(&s->ready, all->loop, on_ready, s);
    weir_deferred_init(&s->turn_end, on_turn_end, s);
    weir_buf_init(&s->json, MESSAGE_MAX);
    weir_arena_init(&s->arena, ARENA_MAX);
    weir_arena_init(&s->answers, ARENA_MAX);
    weir_timer_init(&s->tick, all->loop, weir_kv_stream_tick, s);
    weir_list_push_back(&all->streams, &s->node);
    return s;
}

void weir_kv_stream_destroy(struct weir_kv_stream *s) {
    char subject[WEIR_KVS_SUBJECT];
    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.DELETE.%s.%s", s->name, s->all->consumer);
    if (s->core.had && weir_js_tell(s->all->js, subject, weir_span(NULL, 0)) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "events", "stream %s: our consumer stays until it is idle long",
                 s->name);
    weir_kv_stream_keep_stop(s);
    weir_kv_stream_peers_stop(s);
    weir_timer_stop(&s->retry);
    weir_timer_stop(&s->ready);
    weir_deferred_cancel(&s->turn_end);
    weir_js_cancel(s->call);
    weir_js_cancel(s->pull);
    weir_js_object_cancel(s->reading);
    weir_map_fini(&s->workers);
    weir_map_fini(&s->missed);
    weir_map_fini(&s->late);
    weir_kv_stream_forget_snapshot(s);
    weir_buf_fini(&s->json);
    weir_arena_fini(&s->arena);
    weir_arena_fini(&s->answers);
    weir_list_remove(&s->node);
    weir_free(s);
}
