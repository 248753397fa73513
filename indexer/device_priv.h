/* Device thread (device.c), and the loop's side of mirrors (mirror.c). */
#ifndef WEIR_INDEXER_DEVICE_PRIV_H
#define WEIR_INDEXER_DEVICE_PRIV_H

#include "indexer/device.h"

#include <pthread.h>
#include <stdatomic.h>

enum weir_device_op_kind {
    WEIR_OP_OPEN,
    WEIR_OP_EVENT, /* event; a cleared one that `forget`s removes the rank */
    WEIR_OP_COPY,  /* of the index */
    WEIR_OP_ASK,   /* task */
    WEIR_OP_HASH,  /* task */
};

/* One thing for the device's thread, in its queue or kept until a copy is made. */
struct weir_device_op {
    struct weir_device_op *next;
    enum weir_device_op_kind kind;
    struct weir_mirror *mirror;
    size_t bytes; /* that count against the bound */
    bool forget;
    struct kvi_event event; /* its arrays lie in words[] */
    struct weir_task *task;
    uint64_t words[];
};
struct weir_device_queue {
    struct weir_device_op *first, **end;
    size_t bytes;
};

/* A question from another thread, which may stop waiting: the last of both frees it. */
struct weir_task {
    atomic_int refs;
    bool done; /* under the device's lock, as the reason */
    const char *reason;
    struct weir_ask *ask;         /* or */
    struct weir_hashing *hashing; /* its own reference */
};

struct weir_hashing_shared {
    struct weir_hashing public;
    atomic_int refs;
};

struct weir_device {
    struct weir_device_config config;
    struct weir_loop *own;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    /* under the lock */
    struct weir_device_queue queue;
    bool posted;   /* the thread has been told that the queue is not empty */
    bool up, down; /* opened; gone for good (neither: being opened) */
    bool stalled;
    /* the device's thread */
    struct kvc *kvc;
    bool told_memory;
    /* any thread */
    struct weir_metric *up_gauge, *bytes_gauge, *events, *copies, *behind;
    /* the loop's */
    struct weir_mirror *mirrors; /* all, through `next` */
};

struct weir_mirror {
    struct weir_mirror *next;
    struct weir_device *device; /* NULL: the index alone */
    struct kvi_index *index;
    char *name; /* owned */
    /* the loop's */
    bool copying;
    struct weir_device_queue waiting; /* while copying */
    uint64_t evicted, copied_ms;      /* evictions seen; when the last copy began, 0: never */
    bool left;                        /* its device's thread was left behind: never freed */
    /* under the device's lock */
    bool following; /* the copy is complete, or will be when the queue is empty */
    /* any thread */
    atomic_bool abandon, copy_ok;
    /* the device's thread */
    struct kvc_table *table;
    size_t max_blocks;
    uint32_t max_ranks, n_ranks;
    struct kvi_worker *workers; /* by rank */
    uint32_t *by_worker;        /* open addressing, rank + 1; 2 * max_ranks, a power of two */
    bool hopeless;              /* two prefixes collide: no copy will ever be exact */
};

/* ---- device_copy.c: the device's thread ---- */

void weir_copy_event(struct weir_mirror *m, const struct kvi_event *e);
/* From the index; tells the loop (weir_mirror_on_copied). */
void weir_copy_make(struct weir_mirror *m);
/* Fills the ask's scores and ends. */
enum kvc_status weir_copy_match(struct weir_mirror *m, struct weir_ask *a);
void weir_copy_drop(struct weir_mirror *m);

/* ---- device.c, mirror.c ---- */

/* Takes the op; false: the queue is full, or there is no device, and it was freed. */
bool weir_device_push(struct weir_device *d, struct weir_device_op *op);
void weir_device_queue_add(struct weir_device_queue *q, struct weir_device_op *op);
struct weir_device_op *weir_device_queue_take(struct weir_device_queue *q); /* NULL: empty */
/* The copy is behind until it is made again. `why` for the log. Any thread. */
void weir_mirror_behind(struct weir_mirror *m, const char *why);
void weir_mirror_apply_waiting(struct weir_mirror *m);
/* On the loop, when the device's thread has made the copy, or not. */
void weir_mirror_on_copied(void *mirror);

#endif
