/*
 * The snapshot as it is read. Happy path: it is looked at whole (which form has it, is it whole?) →
 * a moment later it is read once more → still the same: applied as it comes, no more of it than an
 * event is kept. Failure modes: not readable, or too large: passed over, with a warning; broken off
 * while it was applied: what is known of the workers is void, and all is read again.
 */
#include "base/log.h"
#include "runtime/kv_stream_priv.h"

#include <inttypes.h>
#include <stdio.h>

static void on_snapshot_begin(void *arg, const char *digest, uint64_t size) {
    struct weir_kv_stream *s = arg;
    s->applies = weir_kvs_applies(&s->core, strcmp(digest, s->digest) == 0);
    s->snapshot_bytes = size;
    if (s->applies)
        weir_radix_reader_init(
            &s->reader, s->form, &s->arena,
            weir_map_len(&s->late) > 0 ? weir_kv_stream_late_event : weir_kv_stream_event, s);
    else
        weir_radix_look_init(&s->look);
}

/* What fails is told at the end. */
static void on_snapshot_bytes(void *arg, struct weir_span bytes) {
    struct weir_kv_stream *s = arg;
    if (!s->applies)
        weir_radix_look_feed(&s->look, bytes);
    else if (weir_radix_feed(&s->reader, bytes) == WEIR_OK)
        weir_kv_stream_end_events(s);
}

static enum weir_status end_of_snapshot(struct weir_kv_stream *s) {
    return s->applies ? weir_radix_read_end(&s->reader) : weir_radix_look_end(&s->look, &s->form);
}

void weir_kv_stream_forget_snapshot(struct weir_kv_stream *s) {
    weir_radix_reader_fini(&s->reader);
    weir_radix_look_fini(&s->look);
}

/* Part of it is in the index, and is not right for sure. */
static void void_snapshot(struct weir_kv_stream *s, enum weir_status st) {
    weir_kv_stream_void(s);
    weir_kvs_void(&s->core);
    weir_kv_stream_failed(s, "reading the snapshot", st);
}

static void log_unusable(struct weir_kv_stream *s, enum weir_status st) {
    const uint64_t max = s->all->config.snapshot_max_bytes;
    if (st == WEIR_TOO_LARGE)
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: the snapshot in bucket %s is too large: more than %" PRIu64
                 " MiB (--router-snapshot-max-mib), or an event of more than %d MiB; it is passed "
                 "over",
                 s->name, s->bucket, max >> 20, WEIR_RADIX_EVENT_MAX >> 20);
    else
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: the snapshot cannot be read (%s) and is passed over", s->name,
                 weir_status_text(st));
}

static void on_snapshot(void *arg, enum weir_status st, const char *digest) {
    struct weir_kv_stream *s = arg;
    bool applied = s->applies, whole = st == WEIR_OK;
    s->reading = NULL;
    if (whole)
        st = end_of_snapshot(s);
    weir_kv_stream_forget_snapshot(s);
    s->applies = false;
    if (applied && st != WEIR_OK) {
        void_snapshot(s, st);
        return;
    }
    if (st == WEIR_TIMEOUT || st == WEIR_DISCONNECTED || st == WEIR_UNAVAILABLE ||
        st == WEIR_LIMIT || st == WEIR_NOMEM) {
        weir_kv_stream_failed(s, "reading the snapshot", st);
        return;
    }
    if (st == WEIR_OK)
        snprintf(s->digest, sizeof(s->digest), "%s", digest);
    if (applied) {
        s->all->stats.snapshots_read++;
        WEIR_LOG(WEIR_LOG_INFO, "events",
                 "stream %s: a snapshot of %" PRIu64 " events was read (%" PRIu64 " bytes)",
                 s->name, s->reader.done, s->snapshot_bytes);
    } else if (st == WEIR_TOO_LARGE || st == WEIR_PROTOCOL) {
        log_unusable(s, st);
    }
    weir_kvs_snapshot(&s->core, st, applied);
    if (s->core.state == WEIR_KVS_SETTLE)
        weir_kv_stream_later(s, &s->retry, WEIR_KVS_SETTLE_MS);
    else
        weir_kv_stream_proceed(s);
}

enum weir_status weir_kv_stream_read_snapshot(struct weir_kv_stream *s) {
    static const struct weir_js_object_sink sink = {on_snapshot_begin, on_snapshot_bytes};
    const struct weir_js_object_config oc = {.js = s->all->js,
                                             .bucket = s->bucket,
                                             .name = "radix-state",
                                             .sink = &sink,
                                             .max_bytes = s->all->config.snapshot_max_bytes,
                                             .fn = on_snapshot,
                                             .arg = s};
    if (s->core.state == WEIR_KVS_SNAPSHOT)
        s->digest[0] = '\0';
    return weir_js_object_get(&oc, &s->reading);
}
