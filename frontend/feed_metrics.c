/* What the metrics page says of the cache events of the event plane. Once a second, from the
 * control loop. */
#include "frontend/feed_priv.h"

#include <stddef.h>

#define ROWS(X)                                                                                    \
    X(restores, "restores_total", "Caches of worker ranks that were asked for and told.")          \
    X(recoveries, "gaps_replayed_total", "Lost events that were asked for and told.")              \
    X(looks, "looks_total", "Questions whether events were lost that nothing else would show.")    \
    X(failures, "questions_failed_total", "Questions to workers that were not answered.")          \
    X(given_up, "ranks_given_up_total", "Ranks whose blocks were forgotten for that.")             \
    X(unreadable, "messages_unreadable_total", "Event messages that cannot be read.")              \
    X(misplaced, "events_misplaced_total", "Events of another rank than their source says.")       \
    X(held_dropped, "events_held_dropped_total",                                                   \
      "Events that came while their rank's cache was asked for, and found no room.")

static const struct {
    struct weir_metric_desc desc;
    size_t at; /* in struct weir_kv_follow_stats */
} rows[] = {
#define X(field, name_, help_)                                                                     \
    {{.name = "weir_router_kv_" name_, .type = WEIR_COUNTER, .help = (help_)},                     \
     offsetof(struct weir_kv_follow_stats, field)},
    ROWS(X)
#undef X
};

/* Of the reference system, which calls those that are not followed yet so. */
static const struct weir_metric_desc sources = {
    .name = "dynamo_component_router_kv_zmq_ingress_sources",
    .type = WEIR_GAUGE,
    .help = "Worker ranks whose cache events are followed, and those that wait for that.",
    .labels = {"state"}};

#define STREAM_ROWS(X)                                                                             \
    X(messages, "messages_total", "Durable KV events read from JetStreams.")                       \
    X(unreadable, "unreadable_total", "Of these, such as cannot be read.")                         \
    X(restarts, "restarts_total", "Consumers made again after a doubt, a loss or a gap.")          \
    X(snapshots_read, "snapshots_read_total", "Snapshots of the index that were read.")            \
    X(snapshots_written, "snapshots_written_total", "Snapshots of the index that were written.")   \
    X(purges, "purges_total", "Purges of a stream behind a snapshot.")                             \
    X(orphans, "orphans_total", "Consumers of routers that are gone, deleted.")

static const struct {
    struct weir_metric_desc desc;
    size_t at; /* in struct weir_kv_streams_stats */
} stream_rows[] = {
#define X(field, name_, help_)                                                                     \
    {{.name = "weir_router_kv_stream_" name_, .type = WEIR_COUNTER, .help = (help_)},              \
     offsetof(struct weir_kv_streams_stats, field)},
    STREAM_ROWS(X)
#undef X
};

static const struct weir_metric_desc streams = {
    .name = "weir_router_kv_streams",
    .type = WEIR_GAUGE,
    .help = "JetStreams of durable KV events that are followed, and those on the way to it.",
    .labels = {"state"}};

static void show_streams(const struct weir_feed *feed, struct weir_metrics *metrics) {
    struct weir_kv_streams_stats s;
    if (feed->streams == NULL)
        return;
    weir_kv_streams_stats(feed->streams, &s);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(stream_rows); i++) {
        const uint64_t *n = (const void *)((const char *)&s + stream_rows[i].at);
        weir_metric_set(
            weir_metric_get(weir_metrics_family(metrics, &stream_rows[i].desc, 0), NULL),
            (double)*n);
    }
    struct weir_metric_family *f = weir_metrics_family(metrics, &streams, 0);
    weir_metric_set(weir_metric_get(f, (const char *[]){"live"}), s.live);
    weir_metric_set(weir_metric_get(f, (const char *[]){"waiting"}), s.streams - s.live);
}

void weir_feed_show(const struct weir_feed *feed, struct weir_metrics *metrics) {
    struct weir_kv_follow_stats s;
    show_streams(feed, metrics);
    if (feed->kv == NULL)
        return;
    weir_kv_follow_stats(feed->kv, &s);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        const uint64_t *n = (const void *)((const char *)&s + rows[i].at);
        weir_metric_set(weir_metric_get(weir_metrics_family(metrics, &rows[i].desc, 0), NULL),
                        (double)*n);
    }
    struct weir_metric_family *f = weir_metrics_family(metrics, &sources, 0);
    weir_metric_set(weir_metric_get(f, (const char *[]){"active"}), s.live);
    weir_metric_set(weir_metric_get(f, (const char *[]){"preconnected"}), s.ranks - s.live);
}
