/*
 * Keeping an index over a restart, and telling it to others.
 *
 * Snapshot: a file of stored events with a checksum, for a warm restart of the same program.
 * Events as JSON: the reference's RouterEvent form (shared spec "kvrouter" 2.1, 3.8), for dumps,
 * peers and NDJSON streams.
 */
#ifndef KVI_PERSIST_H
#define KVI_PERSIST_H

#include "kvindex/kvi.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum kvi_file_result {
    KVI_FILE_OK,
    KVI_FILE_ERROR,   /* the system refused: errno says why */
    KVI_FILE_CORRUPT, /* no snapshot, of another version, cut off or damaged: nothing was applied */
    KVI_FILE_CAPACITY, /* the index did not take all of it */
};

/* How far the event stream of a rank had been applied: where a replay goes on after a restart. */
struct kvi_mark {
    struct kvi_worker worker;
    uint64_t publisher_id, last_event_id;
};
/* Writes to a neighbour of `path` and renames it, so `path` is always whole. Writers of the index
 * wait while the events are collected in memory, not while they are written. */
enum kvi_file_result kvi_snapshot_write(struct kvi_index *index, const char *path,
                                        const struct kvi_mark *marks, size_t n_marks);
/* Applies a snapshot to an index, usually an empty one. The whole file is checked first. on_mark
 * may be NULL. Any thread; searches and writers may go on meanwhile. A second thread makes memory
 * ready until it returns. */
enum kvi_file_result kvi_snapshot_read(struct kvi_index *index, const char *path,
                                       void (*on_mark)(void *arg, const struct kvi_mark *mark),
                                       void *arg);

/* The event as one line of JSON without the line end. Returns its length, which may exceed room;
 * then nothing useful was written (as snprintf, but without a NUL). */
size_t kvi_event_to_json(const struct kvi_event *event, uint64_t event_id, char *ret_text,
                         size_t room);
/* Reads a RouterEvent, bare or inside a stream record {"key", "block_size", "event"}. Unknown keys
 * are skipped. Blocks or removed hashes go to `scratch` (2 words a block, 1 a removed hash), which
 * the event then borrows. */
enum kvi_json_result {
    KVI_JSON_OK,
    KVI_JSON_INVALID,     /* not JSON, or not such an event */
    KVI_JSON_UNSUPPORTED, /* residency of a cache owner: to be left out */
    KVI_JSON_ROOM,        /* more than `room` words */
};
enum kvi_json_result kvi_event_from_json(const char *text, size_t len, uint64_t *scratch,
                                         size_t room, struct kvi_event *ret_event,
                                         uint64_t *ret_event_id);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
