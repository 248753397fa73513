/*
 * Decisions of a router that learns KV events from a JetStream: what to ask for next, what to do
 * with a message, when to write a snapshot and how far the stream may be purged. Pure: times,
 * answers and random numbers are arguments. Source: shared spec "kvrouter" 2.4.
 *
 * The way: the stream is made sure of → our consumer is made → the snapshot is read until two reads
 * agree → messages are pulled, applied in order and acknowledged. The consumer comes before the
 * snapshot, so that nobody purges what we have not seen.
 */
#ifndef WEIR_RUNTIME_KV_STREAM_CORE_H
#define WEIR_RUNTIME_KV_STREAM_CORE_H

#include "base/rng.h"
#include "base/status.h"

#include <stdint.h>

enum {
    WEIR_KVS_SETTLE_MS = 100,      /* between two reads of a snapshot */
    WEIR_KVS_READS = 10,           /* of a snapshot that changes all the time, at most */
    WEIR_KVS_FAIL_MS = 100,        /* the first pause after a failure; doubles … */
    WEIR_KVS_FAIL_MAX_MS = 10000,  /* … up to this */
    WEIR_KVS_TICK_MS = 1000,       /* between looks at the length of the stream */
    WEIR_KVS_TICK_JITTER_MS = 100, /* less or more */
    WEIR_KVS_HOLD_MAX_MS = 60000,  /* between snapshots that let nothing be purged */
    WEIR_KVS_HOLES = 3, /* a beginning that is purged under us is begun again so often: then it is
                           the messages' age */
};

enum weir_kvs_state { /* what is asked for */
                      WEIR_KVS_OFF,
                      WEIR_KVS_STREAM,
                      WEIR_KVS_WIPE_STREAM,
                      WEIR_KVS_WIPE_BUCKET,
                      WEIR_KVS_DROP_CONSUMER,
                      WEIR_KVS_CONSUMER,
                      WEIR_KVS_SNAPSHOT,
                      WEIR_KVS_SETTLE, /* the same snapshot once more, after WEIR_KVS_SETTLE_MS */
                      WEIR_KVS_LIVE,
};

struct weir_kvs {
    enum weir_kvs_state state;
    bool wipe;     /* --router-reset-states, until it is done */
    bool snapshot; /* is to be read on the way to live */
    bool had;      /* our consumer may exist */
    bool any;      /* the next message may have any place */
    uint64_t pos;  /* place of the last message seen */
    uint64_t high; /* the highest applied ever; above pos while late workers catch up */
    uint64_t delivery;
    uint64_t created; /* when the stream was; 0 = not seen yet */
    unsigned failures, reads;
    uint64_t first; /* place of the stream's first message before the snapshot was read; 0 = not
                       known */
    unsigned holes; /* times that it was gone when we came to it */
};

void weir_kvs_init(struct weir_kvs *k, bool reset_states);
/* From OFF: there is a worker to know of. */
void weir_kvs_start(struct weir_kvs *k);

enum weir_kvs_effect {
    WEIR_KVS_NONE,
    WEIR_KVS_BEGAN_ANEW, /* the stream is another one than before: ours was lost */
};
/* What the state asked for was answered; first_seq, last_seq and created (a hash): of STREAM. */
enum weir_kvs_effect weir_kvs_done(struct weir_kvs *k, uint64_t first_seq, uint64_t last_seq,
                                   uint64_t created);
/* A snapshot was read: its status as js_object.h tells it; what cannot be used (damaged, too large)
 * is passed over. `applied`: what it holds went into the index as it came. */
void weir_kvs_snapshot(struct weir_kvs *k, enum weir_status st, bool applied);
/* Of the snapshot whose record has come: it is to be applied as its bytes come. `same`: it is the
 * one that was read before. */
bool weir_kvs_applies(const struct weir_kvs *k, bool same);
/* All that is known is void; from the start, the snapshot too. */
void weir_kvs_void(struct weir_kvs *k);
/* What the state asked for was not answered: milliseconds until it asks again. */
uint64_t weir_kvs_failed(struct weir_kvs *k, struct weir_rng *rng);
/* Where a consumer begins; 0 = at the beginning. */
uint64_t weir_kvs_from(const struct weir_kvs *k);
/* Nothing of what was made at the server is sure any more: from the start, at our place. */
void weir_kvs_doubt(struct weir_kvs *k);

enum weir_kvs_verdict {
    WEIR_KVS_APPLY,
    WEIR_KVS_APPLY_LATE, /* only if it is of a worker that catches up */
    WEIR_KVS_OLD,        /* acknowledged again, nothing else */
    WEIR_KVS_LOST,       /* deliveries were lost on the way: they are asked for again */
    WEIR_KVS_GAP,        /* messages are gone from the stream: all that is known is void */
};
/* A message, live. */
enum weir_kvs_verdict weir_kvs_message(struct weir_kvs *k, uint64_t seq, uint64_t delivery);
/* The stream has nothing beyond what we have seen. */
void weir_kvs_dry(struct weir_kvs *k);
/* Workers became known after their events had passed: the snapshot and the whole stream once more,
 * for them. Only when live and not already under way. */
void weir_kvs_catch_up(struct weir_kvs *k);
bool weir_kvs_catching_up(const struct weir_kvs *k);

/* ---- a list that comes in pages ------------------------------------------------------------ */

/* The server counts from the front of its list as it is then: when one goes between two pages, the
 * next begins one further on and hides one. So a list that does not come in one piece is read again
 * when its length has changed, and until two times in a row it has the same names: one that hid
 * something has the name that went, which the next has not. */
struct weir_kvs_list {
    uint64_t seen; /* where the next page begins */
    uint64_t total;
    uint64_t names, before; /* of this time and of the last whole one: sums of hashes */
    unsigned again;
    bool had; /* `before` is there */
};
enum { WEIR_KVS_LIST_AGAIN = 8 }; /* times */
enum weir_kvs_page {
    WEIR_KVS_PAGE_NEXT,
    WEIR_KVS_PAGE_AGAIN,  /* from the beginning: what was seen is to be forgotten */
    WEIR_KVS_PAGE_END,    /* all were seen */
    WEIR_KVS_PAGE_GIVE_UP /* it changes all the time, or is no such list */
};
/* A page with n of `total` came, `names` the sum of the hashes of their names; a list of zeros
 * begins. */
enum weir_kvs_page weir_kvs_list_page(struct weir_kvs_list *list, uint64_t n, uint64_t total,
                                      uint64_t names);

/* ---- snapshots ---------------------------------------------------------------------------- */

struct weir_kvs_keep {
    uint64_t threshold; /* messages */
    uint64_t covered;   /* the newest message in the snapshot that we wrote */
    uint64_t next_ms, hold_ms;
    uint64_t messages, first_seq; /* as the stream was seen last */
};
enum weir_kvs_duty { WEIR_KVS_REST, WEIR_KVS_WRITE, WEIR_KVS_LIST };
/* The stream was looked at: a snapshot is due, or only the purge behind one (for which the
 * consumers have to be listed), or nothing. high: applied by us, all of it. */
enum weir_kvs_duty weir_kvs_keep_look(struct weir_kvs_keep *k, uint64_t messages,
                                      uint64_t first_seq, uint64_t high, uint64_t now_ms);
void weir_kvs_keep_wrote(struct weir_kvs_keep *k, uint64_t covered);
/* It could not be put together: the next try comes later, ever later. */
void weir_kvs_keep_failed(struct weir_kvs_keep *k, uint64_t now_ms);
/* The consumers are listed; least_floor: up to where all have acknowledged. Everything before the
 * returned place may go; 0: nothing. */
uint64_t weir_kvs_keep_purge(struct weir_kvs_keep *k, uint64_t least_floor, uint64_t now_ms);
/* Milliseconds until the next look. */
uint64_t weir_kvs_keep_pause(struct weir_rng *rng);

#endif
