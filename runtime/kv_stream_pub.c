/*
 * Happy path: the stream is made → an event is queued → the oldest is published under a number of
 * its own → acknowledged → the next.
 *
 * One at a time, because a second one that arrives while the first is lost would change their
 * order in the stream. One that was stored although its acknowledgement was lost is sent again with
 * its number, by which the server knows it.
 *
 * Failure modes: no acknowledgement, no stream, no connection: after growing pauses the stream is
 * made sure of and the same event is sent again; too much waits: all of it is dropped, and the
 * owner tells everything anew when the server answers again.
 */
#include "runtime/kv_stream_pub.h"

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/msgpack.h"
#include "runtime/js_client.h"
#include "wire/jetstream.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MAX_BYTES = 64 << 20,
    EVENT_MAX = 16 << 20,
    ACK_MS = 2000,
    PAUSE_MS = 100,
    PAUSE_MAX_MS = 5000,
    AGE_S = 3600,
};

struct waiting {
    struct weir_list node;
    uint64_t number;
    size_t len;
    char json[];
};

struct weir_kv_stream_pub {
    struct weir_loop *loop; /* borrowed */
    struct weir_kv_stream_pub_config config;
    struct weir_js *js; /* owned */
    char name[WEIR_JS_NAME_BYTES];
    char id[WEIR_NATS_INBOX_BYTES]; /* before the numbers of events */
    bool made;                      /* the stream is there, as far as we know */
    bool dropped;                   /* events, and nobody was told to begin anew yet */
    struct weir_js_call *call;
    struct weir_timer retry;
    uint64_t pause_ms, last_number;
    struct weir_list queue;
    size_t bytes;
    struct weir_buf msgpack, json;
    struct weir_log_limit limit;
};

static void proceed(struct weir_kv_stream_pub *p);

static struct waiting *oldest(struct weir_kv_stream_pub *p) {
    return WEIR_CONTAINER_OF(p->queue.next, struct waiting, node);
}

static void drop_oldest(struct weir_kv_stream_pub *p) {
    struct waiting *w = oldest(p);
    weir_list_remove(&w->node);
    p->bytes -= w->len;
    weir_free(w);
}

static void drop_all(struct weir_kv_stream_pub *p) {
    while (!weir_list_empty(&p->queue))
        drop_oldest(p);
}

static void failed(struct weir_kv_stream_pub *p, const char *why) {
    uint32_t dropped;
    p->made = false;
    p->pause_ms = p->pause_ms == 0 ? PAUSE_MS : p->pause_ms * 2;
    if (p->pause_ms > PAUSE_MAX_MS)
        p->pause_ms = PAUSE_MAX_MS;
    if (weir_js_connected(p->js) && weir_log_limit_ok(&p->limit, 5, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "KV events wait for stream %s: %s; trying again (is there a NATS server with "
                 "JetStream on?)",
                 p->name, why);
    uint64_t ms = p->pause_ms / 2 + weir_rng_below(weir_loop_rng(p->loop), p->pause_ms / 2 + 1);
    if (weir_timer_start(&p->retry, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "out of memory: KV events are not published");
}

/* False: a refusal, or not an answer. */
static bool is_good(struct weir_span json, bool making) {
    struct weir_arena arena;
    struct weir_js_answer a;
    weir_arena_init(&arena, 1 << 20);
    bool ok = weir_js_answer_decode(json, &arena, &a) == WEIR_OK &&
              (a.error == 0 || (making && a.error == WEIR_JS_STREAM_EXISTS));
    weir_arena_fini(&arena);
    return ok;
}

static void on_made(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_kv_stream_pub *p = arg;
    p->call = NULL;
    if (st != WEIR_OK || !is_good(msg->payload, true)) {
        failed(p, st != WEIR_OK ? weir_status_text(st) : "the server refuses to make it");
        return;
    }
    p->made = true;
    proceed(p);
}

static void on_stored(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_kv_stream_pub *p = arg;
    p->call = NULL;
    if (st != WEIR_OK || !is_good(msg->payload, false)) {
        failed(p, st != WEIR_OK ? weir_status_text(st) : "the server refuses an event");
        return;
    }
    p->pause_ms = 0;
    if (!p->dropped)
        drop_oldest(p);
    proceed(p);
}

static enum weir_status make_stream(struct weir_kv_stream_pub *p) {
    char subject[WEIR_JS_NAME_BYTES + 32];
    struct weir_buf body;
    weir_buf_init(&body, 16384);
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.CREATE.%s", p->name);
    enum weir_status st =
        weir_js_put_stream(p->name, p->config.max_age_s > 0 ? p->config.max_age_s : AGE_S, &body);
    const struct weir_js_request request = {
        .subject = subject, .payload = weir_buf_span(&body), .fn = on_made, .arg = p};
    if (st == WEIR_OK)
        st = weir_js_ask(p->js, &request, &p->call);
    weir_buf_fini(&body);
    return st;
}

static enum weir_status publish(struct weir_kv_stream_pub *p, const struct waiting *w) {
    char subject[WEIR_JS_NAME_BYTES + 8], number[WEIR_NATS_INBOX_BYTES + 24];
    snprintf(subject, sizeof(subject), "%s.queue", p->name);
    snprintf(number, sizeof(number), "%s-%" PRIu64, p->id, w->number);
    const struct weir_js_request request = {.subject = subject,
                                            .payload = weir_span(w->json, w->len),
                                            .headers = {{"Nats-Msg-Id", number}},
                                            .n_headers = 1,
                                            .timeout_ms = ACK_MS,
                                            .fn = on_stored,
                                            .arg = p};
    return weir_js_ask(p->js, &request, &p->call);
}

/* The server answers again: everything once more. */
static void tell_room(struct weir_kv_stream_pub *p) {
    p->dropped = false;
    WEIR_LOG(WEIR_LOG_WARN, "events",
             "stream %s takes KV events again; the whole cache is told anew", p->name);
    p->config.on_room(p->config.arg);
}

static void proceed(struct weir_kv_stream_pub *p) {
    enum weir_status st = WEIR_OK;
    if (p->call != NULL)
        return;
    weir_timer_stop(&p->retry);
    if (p->made && p->dropped)
        tell_room(p);
    if (p->call != NULL || weir_timer_active(&p->retry))
        return;
    if (!p->made)
        st = make_stream(p);
    else if (!weir_list_empty(&p->queue))
        st = publish(p, oldest(p));
    if (st == WEIR_TOO_LARGE) {
        WEIR_LOG(WEIR_LOG_ERROR, "events",
                 "a KV event of %zu bytes is over the server's max_payload and is left out",
                 oldest(p)->len);
        drop_oldest(p);
        failed(p, "an event is too large");
    } else if (st != WEIR_OK) {
        failed(p, weir_status_text(st));
    }
}

static void on_retry(void *arg) {
    proceed(arg);
}

static void on_up(void *arg) {
    struct weir_kv_stream_pub *p = arg;
    if (weir_timer_active(&p->retry))
        proceed(p);
}

/* A RouterEvent as JSON: the only element of an array, which is its head of one byte before it. */
static struct waiting *encode(struct weir_kv_stream_pub *p, const struct weir_kv_event *event) {
    struct waiting *w = NULL;
    weir_buf_clear(&p->msgpack);
    weir_buf_clear(&p->json);
    enum weir_status st = weir_kv_events_encode(event, 1, &p->msgpack);
    if (st == WEIR_OK)
        st = weir_mp_to_json(weir_span(p->msgpack.data + 1, p->msgpack.len - 1), &p->json);
    if (st == WEIR_OK)
        w = weir_malloc(sizeof(*w) + p->json.len);
    if (w == NULL)
        return NULL;
    *w = (struct waiting){.number = ++p->last_number, .len = p->json.len};
    memcpy(w->json, p->json.data, p->json.len);
    return w;
}

enum weir_status weir_kv_stream_pub_send(struct weir_kv_stream_pub *pub,
                                         const struct weir_kv_event *event) {
    if (pub->dropped)
        return WEIR_LIMIT;
    struct waiting *w = encode(pub, event);
    if (w == NULL || pub->bytes + w->len > pub->config.max_bytes) {
        weir_free(w);
        drop_all(pub);
        pub->dropped = true;
        return WEIR_LIMIT;
    }
    weir_list_push_back(&pub->queue, &w->node);
    pub->bytes += w->len;
    if (pub->call == NULL && !weir_timer_active(&pub->retry))
        proceed(pub);
    return WEIR_OK;
}

enum weir_status weir_kv_stream_pub_open(struct weir_loop *loop,
                                         const struct weir_kv_stream_pub_config *config,
                                         struct weir_kv_stream_pub **ret_pub,
                                         struct weir_err *err) {
    struct weir_kv_stream_pub *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    p->loop = loop;
    p->config = *config;
    if (p->config.max_bytes == 0)
        p->config.max_bytes = MAX_BYTES;
    weir_list_init(&p->queue);
    weir_buf_init(&p->msgpack, EVENT_MAX);
    weir_buf_init(&p->json, EVENT_MAX);
    weir_timer_init(&p->retry, loop, on_retry, p);
    weir_nats_inbox(weir_loop_rng(loop), p->id);
    enum weir_status st = weir_js_name(config->ns, config->component, "kv-events", p->name);
    if (st == WEIR_OK)
        st = weir_js_open(config->nats, loop, on_up, p, &p->js);
    if (st != WEIR_OK) {
        weir_kv_stream_pub_close(p);
        return weir_err_set(err, st, "cannot publish durable KV events: %s", weir_status_text(st));
    }
    proceed(p);
    *ret_pub = p;
    return WEIR_OK;
}

void weir_kv_stream_pub_close(struct weir_kv_stream_pub *pub) {
    if (pub == NULL)
        return;
    weir_timer_stop(&pub->retry);
    weir_js_close(pub->js);
    drop_all(pub);
    weir_buf_fini(&pub->msgpack);
    weir_buf_fini(&pub->json);
    weir_free(pub);
}
