/*
 * Snapshots. Every second or so: how long is the stream? → too long: everything that its workers
 * hold, as stored events, into the object store → up to where have all consumers acknowledged? →
 * the stream is purged up to there, as far as the snapshot covers it.
 *
 * The snapshot comes before the purge, so that at every moment it and the stream together tell
 * all. A call that fails ends the round; the next tick begins another.
 */
#include "base/log.h"
#include "runtime/kv_stream_priv.h"

#include <inttypes.h>
#include <stdio.h>

static void list_consumers(struct weir_kv_stream *s);

static bool busy(const struct weir_kv_stream *s) {
    return s->keep_call != NULL || s->writing != NULL;
}

static void plan(struct weir_kv_stream *s) {
    if (weir_timer_start(&s->tick, weir_kvs_keep_pause(weir_loop_rng(s->all->loop))) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "out of memory: no more snapshots of stream %s",
                 s->name);
}

static bool decode(struct weir_kv_stream *s, enum weir_status st, const struct weir_nats_msg *msg,
                   struct weir_js_answer *ret) {
    weir_arena_reset(&s->answers);
    if (st == WEIR_OK)
        st = weir_js_answer_decode(msg->payload, &s->answers, ret);
    if (st == WEIR_OK && ret->error == 0)
        return true;
    WEIR_LOG(WEIR_LOG_DEBUG, "events", "stream %s: a look at its length failed: %s", s->name,
             weir_status_text(st));
    return false;
}

/* ---- purging ------------------------------------------------------------------------------ */

static void on_purged(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_kv_stream *s = arg;
    struct weir_js_answer a = {0};
    s->keep_call = NULL;
    s->all->stats.purges += decode(s, st, msg, &a);
}

static void purge(struct weir_kv_stream *s) {
    char body[64];
    uint64_t to = weir_kvs_keep_purge(&s->keep, s->floor, weir_loop_now_ms(s->all->loop));
    if (to == 0)
        return;
    int n = snprintf(body, sizeof(body), "{\"seq\":%" PRIu64 "}", to);
    if (weir_kv_stream_ask(s, "STREAM.PURGE", false, weir_span(body, (size_t)n), on_purged,
                           &s->keep_call) != WEIR_OK)
        s->keep_call = NULL;
}

static void on_listed(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_kv_stream *s = arg;
    struct weir_js_answer a = {0};
    s->keep_call = NULL;
    if (!decode(s, st, msg, &a))
        return;
    if (a.n_consumers > 0 && (s->listed == 0 || a.least_floor < s->floor))
        s->floor = a.least_floor;
    s->listed += a.n_consumers;
    if (s->listed >= a.total)
        purge(s);
    else if (a.n_consumers > 0)
        list_consumers(s);
}

/* The next page. */
static void list_consumers(struct weir_kv_stream *s) {
    char body[64];
    int n = snprintf(body, sizeof(body), "{\"offset\":%" PRIu64 "}", s->listed);
    if (weir_kv_stream_ask(s, "CONSUMER.LIST", false, weir_span(body, (size_t)n), on_listed,
                           &s->keep_call) != WEIR_OK)
        s->keep_call = NULL;
}

static void begin_list(struct weir_kv_stream *s) {
    s->listed = 0;
    s->floor = 0;
    list_consumers(s);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void on_written(void *arg, enum weir_status st, const char *digest) {
    struct weir_kv_stream *s = arg;
    (void)digest;
    s->writing = NULL;
    if (st != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: the snapshot was not written to bucket %s: %s", s->name, s->bucket,
                 weir_status_text(st));
        return;
    }
    s->all->stats.snapshots_written++;
    weir_kvs_keep_wrote(&s->keep, s->writing_high);
    begin_list(s);
}

static void on_dumped(void *arg, const struct weir_kv_event *event) {
    weir_radix_put(arg, event);
}

static void write_snapshot(struct weir_kv_stream *s) {
    const struct weir_kv_streams_config *c = &s->all->config;
    struct weir_buf bytes;
    struct weir_radix_writer w;
    uint32_t dropped;
    weir_buf_init(&bytes, (size_t)c->snapshot_max_bytes);
    c->ops.on_end(c->arg); /* what was applied is in the index */
    weir_radix_begin(&w, &bytes);
    c->dump(c->arg, &s->workers, on_dumped, &w);
    enum weir_status st = weir_radix_end(&w);
    size_t n_bytes = bytes.len;
    const struct weir_js_object_config oc = {.js = s->all->js,
                                             .bucket = s->bucket,
                                             .name = "radix-state",
                                             .take = &bytes,
                                             .fn = on_written,
                                             .arg = s};
    s->writing_high = s->core.high;
    if (st == WEIR_OK)
        st = weir_js_object_put(&oc, &s->writing);
    if (st == WEIR_OK)
        WEIR_LOG(WEIR_LOG_INFO, "events",
                 "stream %s has %" PRIu64 " messages: a snapshot of %" PRIu64
                 " events, %zu bytes, is written",
                 s->name, s->keep.messages, w.n, n_bytes);
    else if (weir_log_limit_ok(&s->limit, 60, &dropped) && st == WEIR_TOO_LARGE)
        WEIR_LOG(
            WEIR_LOG_WARN, "events",
            "stream %s: no snapshot: it takes more than the %" PRIu64
            " MiB of --router-snapshot-max-mib; the stream is not purged and ends with its age",
            s->name, c->snapshot_max_bytes >> 20);
    else if (st != WEIR_TOO_LARGE)
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: no snapshot: %s; the stream is not purged and ends with its age",
                 s->name, weir_status_text(st));
    weir_buf_fini(&bytes);
}

static void on_info(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_kv_stream *s = arg;
    struct weir_js_answer a = {0};
    s->keep_call = NULL;
    if (!decode(s, st, msg, &a) || s->core.state != WEIR_KVS_LIVE || weir_kvs_catching_up(&s->core))
        return;
    switch (weir_kvs_keep_look(&s->keep, a.messages, a.first_seq, s->core.high,
                               weir_loop_now_ms(s->all->loop))) {
    case WEIR_KVS_WRITE:
        write_snapshot(s);
        break;
    case WEIR_KVS_LIST:
        begin_list(s);
        break;
    case WEIR_KVS_REST:
        break;
    }
}

/* ---- ticks -------------------------------------------------------------------------------- */

void weir_kv_stream_tick(void *arg) {
    struct weir_kv_stream *s = arg;
    plan(s);
    weir_kv_stream_look_for_late(s);
    /* A snapshot without what a known worker holds would let its events be purged. */
    if (busy(s) || s->core.state != WEIR_KVS_LIVE || weir_kvs_catching_up(&s->core) ||
        weir_kv_stream_owes(s))
        return;
    if (weir_kv_stream_ask(s, "STREAM.INFO", false, weir_span(NULL, 0), on_info, &s->keep_call) !=
        WEIR_OK)
        s->keep_call = NULL;
}

void weir_kv_stream_keep_start(struct weir_kv_stream *s) {
    plan(s);
}

void weir_kv_stream_keep_stop(struct weir_kv_stream *s) {
    weir_timer_stop(&s->tick);
    weir_js_cancel(s->keep_call);
    weir_js_object_cancel(s->writing);
}
