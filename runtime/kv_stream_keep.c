/*
 * Snapshots. Every second or so: how long is the stream? → too long: everything that its workers
 * hold, as stored events, into a spool (kv_stream_dump.c), and from there into the object store,
 * chunk by chunk → up to where have all consumers acknowledged? → the stream is purged up to there,
 * as far as the snapshot covers it.
 *
 * The snapshot comes before the purge, so that at every moment it and the stream together tell
 * all. A call that fails ends the round; the next tick begins another.
 */
#include "runtime/kv_stream_priv.h"

#include <inttypes.h>
#include <stdio.h>

static void list_consumers(struct weir_kv_stream *s);

static bool busy(const struct weir_kv_stream *s) {
    return s->keep_call != NULL || s->dumping != NULL || s->writing != NULL;
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
    if (a.n_consumers > 0 && (s->listed.seen == 0 || a.least_floor < s->floor))
        s->floor = a.least_floor;
    switch (weir_kvs_list_page(&s->listed, a.n_consumers, a.total, a.names)) {
    case WEIR_KVS_PAGE_NEXT:
    case WEIR_KVS_PAGE_AGAIN:
        list_consumers(s);
        break;
    case WEIR_KVS_PAGE_END:
        purge(s);
        break;
    case WEIR_KVS_PAGE_GIVE_UP:
        break; /* the next look lists them anew */
    }
}

/* The next page. */
static void list_consumers(struct weir_kv_stream *s) {
    char body[64];
    int n = snprintf(body, sizeof(body), "{\"offset\":%" PRIu64 "}", s->listed.seen);
    if (weir_kv_stream_ask(s, "CONSUMER.LIST", false, weir_span(body, (size_t)n), on_listed,
                           &s->keep_call) != WEIR_OK)
        s->keep_call = NULL;
}

static void begin_list(struct weir_kv_stream *s) {
    s->listed = (struct weir_kvs_list){.seen = 0};
    s->floor = 0;
    list_consumers(s);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void on_written(void *arg, enum weir_status st, const char *digest) {
    struct weir_kv_stream *s = arg;
    (void)digest;
    s->writing = NULL;
    if (st != WEIR_OK)
        weir_kvs_keep_failed(&s->keep, weir_loop_now_ms(s->all->loop));
    if (st == WEIR_EXISTS) { /* a later look says whether another one is due */
        WEIR_LOG(WEIR_LOG_INFO, "events",
                 "stream %s: another router has written a snapshot meanwhile; it stands", s->name);
        return;
    }
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

static void log_unwritten(struct weir_kv_stream *s, enum weir_status st) {
    uint32_t dropped;
    if (!weir_log_limit_ok(&s->limit, 60, &dropped))
        return;
    if (st == WEIR_TOO_LARGE)
        WEIR_LOG(
            WEIR_LOG_WARN, "events",
            "stream %s: no snapshot: it takes more than the %" PRIu64
            " MiB of --router-snapshot-max-mib; the stream is not purged and ends with its age",
            s->name, s->all->config.snapshot_max_bytes >> 20);
    else
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: no snapshot: %s%s; the stream is not purged and ends with its age",
                 s->name, weir_status_text(st),
                 st == WEIR_IO ? " (give it room in a folder, and name that as TMPDIR)"
                 : st == WEIR_TIMEOUT
                     ? " (the disk is too slow: name a folder on another as TMPDIR)"
                     : "");
}

static void unwritten(struct weir_kv_stream *s, enum weir_status st) {
    if (st == WEIR_CANCELLED)
        return; /* a worker went; the next look begins anew */
    weir_kvs_keep_failed(&s->keep, weir_loop_now_ms(s->all->loop));
    log_unwritten(s, st);
}

static void give_up(struct weir_kv_stream *s, enum weir_status st) {
    weir_js_object_cancel(s->writing);
    s->writing = NULL;
    unwritten(s, st);
}

void weir_kv_stream_dumped(struct weir_kv_stream *s, enum weir_status st, struct weir_spool *take,
                           uint64_t n_events, uint64_t high) {
    if (st != WEIR_OK) {
        give_up(s, st);
        return;
    }
    s->writing_high = high;
    WEIR_LOG(WEIR_LOG_INFO, "events",
             "stream %s has %" PRIu64 " messages: a snapshot of %" PRIu64 " events, %" PRIu64
             " bytes, is written",
             s->name, s->keep.messages, n_events, weir_spool_size(take));
    weir_js_object_write(s->writing, take);
}

static void on_ready(void *arg) {
    struct weir_kv_stream *s = arg;
    enum weir_status st = weir_kv_stream_dump(s);
    if (st != WEIR_OK)
        give_up(s, st);
}

/* First which one it replaces, then what it says: one that is written meanwhile may be newer, and
 * the stream be purged behind it. */
static void write_snapshot(struct weir_kv_stream *s) {
    const struct weir_js_object_config oc = {.js = s->all->js,
                                             .bucket = s->bucket,
                                             .name = "radix-state",
                                             .on_ready = on_ready,
                                             .fn = on_written,
                                             .arg = s};
    enum weir_status st = weir_js_object_put(&oc, &s->writing);
    if (st != WEIR_OK)
        unwritten(s, st);
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
    if (s->dumping == NULL)
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
    weir_kv_stream_dump_stop(s);
    weir_js_object_cancel(s->writing);
}
