/*
 * Inside of the followers of JetStreams. Files: kv_streams.c which components there are;
 * kv_stream.c one stream: asking, pulling, applying; kv_stream_snapshot.c a snapshot that is read;
 * kv_stream_keep.c those that we write; kv_stream_dump.c how one is put together;
 * kv_stream_peers.c the other routers there;
 * kv_stream_core.c all decisions.
 */
#ifndef WEIR_RUNTIME_KV_STREAM_PRIV_H
#define WEIR_RUNTIME_KV_STREAM_PRIV_H

#include "base/list.h"
#include "base/log.h"
#include "runtime/js_object.h"
#include "runtime/kv_stream.h"
#include "runtime/kv_stream_core.h"
#include "wire/jetstream.h"
#include "wire/radix_state.h"

enum {
    WEIR_KVS_SUBJECT = 2 * WEIR_JS_NAME_BYTES + 64,
    WEIR_KVS_PULL_MS = 10000,      /* the server says then that a pull is over, */
    WEIR_KVS_PULL_WAIT_MS = 15000, /* and is waited for so long */
};

struct weir_kv_streams {
    struct weir_loop *loop; /* borrowed */
    struct weir_kv_streams_config config;
    struct weir_js *js;          /* owned */
    struct weir_discovery *disc; /* borrowed */
    struct weir_list streams;
    unsigned n_streams;
    uint64_t id;
    char consumer[24];        /* our name at every stream: the id, as a decimal number */
    struct weir_list routers; /* that discovery shows, ours among them; kv_stream_peers.c */
    unsigned n_routers;
    bool blind; /* some of them are not in the list */
    struct weir_deferred announce;
    struct weir_kv_streams_stats stats;
};

struct weir_kv_stream {
    struct weir_list node;
    struct weir_kv_streams *all;
    struct weir_kvs core;
    struct weir_kvs_keep keep;
    char ns[WEIR_JS_NAME_BYTES], component[WEIR_JS_NAME_BYTES];
    char name[WEIR_JS_NAME_BYTES], bucket[WEIR_JS_NAME_BYTES];
    struct weir_map workers; /* that discovery shows → first rank << 32 | ranks */
    struct weir_map missed;  /* not ready when their events passed → 1 */
    struct weir_map late;    /* of these, which catch up now */
    bool exists;             /* the stream is there with another configuration */
    struct weir_timer retry, ready, tick;
    struct weir_js_call *call; /* what core.state asked for */
    struct weir_js_object_op *reading;
    struct weir_js_call *pull; /* the messages */
    bool pulling;              /* some were asked for, and not all came */
    unsigned n_pulled;
    char ack[WEIR_KVS_SUBJECT]; /* where the newest message is acknowledged; "" = done */
    struct weir_deferred turn_end;
    /* of the snapshot that is read */
    char digest[WEIR_JS_DIGEST_BYTES]; /* of the one looked at last */
    unsigned form;                     /* of it */
    bool applies;                      /* this one is applied as it comes; else looked at */
    uint64_t snapshot_bytes;           /* as its record says */
    struct weir_radix_look look;
    struct weir_radix_reader reader;
    struct weir_buf json;
    struct weir_arena arena, answers;
    struct weir_log_limit limit;
    /* of a snapshot of ours */
    struct weir_js_call *keep_call;
    struct weir_kv_dumping *dumping; /* it is put together */
    struct weir_js_object_op *writing;
    struct weir_kvs_list listed;
    uint64_t writing_high, floor;
    /* of other routers */
    bool announced, looked;
    struct weir_js_call *others_call;
    struct weir_kvs_list others_listed;
    struct weir_buf others; /* uint64_t: consumers that were there before ours */
    struct weir_timer grace;
};

/* ---- kv_streams.c ------------------------------------------------------------------------- */

struct weir_kv_stream *weir_kv_stream_find(struct weir_kv_streams *k, struct weir_span ns,
                                           struct weir_span component);

/* ---- kv_stream_peers.c -------------------------------------------------------------------- */

void weir_kv_peers_init(struct weir_kv_streams *k);
void weir_kv_peers_fini(struct weir_kv_streams *k);
/* Records of an endpoint of this name tell of routers. */
bool weir_kv_peers_is_router(struct weir_span endpoint);
void weir_kv_peers_change(struct weir_kv_streams *k, enum weir_discovery_change change,
                          struct weir_span ns, struct weir_span component, uint64_t id);
/* A stream is new: our record for it, at the end of the turn. */
void weir_kv_peers_announce(struct weir_kv_streams *k);
/* Our consumer is made. Once for a stream. */
void weir_kv_stream_look_for_orphans(struct weir_kv_stream *s);
void weir_kv_stream_peers_stop(struct weir_kv_stream *s);

/* ---- kv_stream.c -------------------------------------------------------------------------- */

struct weir_kv_stream *weir_kv_stream_create(struct weir_kv_streams *all, struct weir_span ns,
                                             struct weir_span component);
void weir_kv_stream_destroy(struct weir_kv_stream *s);
void weir_kv_stream_worker_put(struct weir_kv_stream *s, uint64_t id, uint32_t dp_start,
                               uint32_t dp_size);
void weir_kv_stream_worker_gone(struct weir_kv_stream *s, uint64_t id);
/* One of its endpoints is not there any more, and it is not forgotten: the router may have dropped
 * what it holds. It is read again when it is ready. */
void weir_kv_stream_worker_away(struct weir_kv_stream *s, uint64_t id);
/* The connection is there, again. */
void weir_kv_stream_up(struct weir_kv_stream *s);
/* A call about this stream: "$JS.API.VERB.NAME", and ".CONSUMER" where `consumer` is set. */
enum weir_status weir_kv_stream_ask(struct weir_kv_stream *s, const char *verb, bool consumer,
                                    struct weir_span payload, weir_js_fn fn,
                                    struct weir_js_call **ret_call) WEIR_MUST_CHECK;

/* What came over the pull. */
void weir_kv_stream_pulled(struct weir_kv_stream *s, enum weir_status st,
                           const struct weir_nats_msg *msg);

/* Asks for what the state needs, unless that is under way. */
void weir_kv_stream_proceed(struct weir_kv_stream *s);
/* Starts a timer of the stream's. */
void weir_kv_stream_later(struct weir_kv_stream *s, struct weir_timer *timer, uint64_t ms);
/* What was asked for did not come: it is asked for again, ever later. `what`: in the log. */
void weir_kv_stream_failed(struct weir_kv_stream *s, const char *what, enum weir_status st);
/* All that is known of the workers is void. */
void weir_kv_stream_void(struct weir_kv_stream *s);
/* Callbacks of readers (arg: the stream): events of any worker, and of those that came late only.
 */
void weir_kv_stream_event(void *arg, const struct weir_kv_event *event);
void weir_kv_stream_late_event(void *arg, const struct weir_kv_event *event);
/* What was told goes into the index. */
void weir_kv_stream_end_events(struct weir_kv_stream *s);

/* ---- kv_stream_snapshot.c ----------------------------------------------------------------- */

enum weir_status weir_kv_stream_read_snapshot(struct weir_kv_stream *s) WEIR_MUST_CHECK;
/* What is half read. */
void weir_kv_stream_forget_snapshot(struct weir_kv_stream *s);

/* ---- kv_stream_dump.c --------------------------------------------------------------------- */

/* Puts everything that the workers hold into a spool, in steps. What is pulled meanwhile waits. At
 * the end, and not before this has returned, weir_kv_stream_dumped() is called. */
enum weir_status weir_kv_stream_dump(struct weir_kv_stream *s) WEIR_MUST_CHECK;
/* A dump is under way, and this is kept until it is over. msg: where st is WEIR_OK. */
bool weir_kv_stream_holds(struct weir_kv_stream *s, enum weir_status st,
                          const struct weir_nats_msg *msg);
/* One of the workers goes: what is dumped is not true any more. */
void weir_kv_stream_dump_void(struct weir_kv_stream *s);
/* Nothing is called. */
void weir_kv_stream_dump_stop(struct weir_kv_stream *s);

/* ---- kv_stream_keep.c --------------------------------------------------------------------- */

/* Starts and stops the looks at the stream's length. */
void weir_kv_stream_keep_start(struct weir_kv_stream *s);
void weir_kv_stream_keep_stop(struct weir_kv_stream *s);
void weir_kv_stream_tick(void *arg); /* of timer `tick` */
/* The dump is over; take: of n_events, the state after message `high`; ours. WEIR_CANCELLED: it was
 * void. */
void weir_kv_stream_dumped(struct weir_kv_stream *s, enum weir_status st, struct weir_spool *take,
                           uint64_t n_events, uint64_t high);
/* From the tick of kv_stream_keep.c: workers whose events passed them may be ready now. */
void weir_kv_stream_look_for_late(struct weir_kv_stream *s);
/* A worker that discovery shows has not seen its events yet. */
bool weir_kv_stream_owes(const struct weir_kv_stream *s);

#endif
