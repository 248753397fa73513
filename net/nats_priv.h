/*
 * Inside of the NATS connection. Files:
 *
 *   nats.c          what loops call: the queue of messages to send, subscriptions and their queues
 *   nats_thread.c   the thread that connects, sends and subscribes; callbacks of nats.c
 *   nats_options.c  addresses, login, TLS as options of nats.c
 *   nats_nkey.c     public key of a seed
 *
 * `lock` guards everything that is not said to be the thread's own. It is held while posting to a
 * loop, and never while nats.c is called. Lock order: lock, then that of a loop.
 */
#ifndef WEIR_NET_NATS_PRIV_H
#define WEIR_NET_NATS_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "net/nats.h"

#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>

enum { WEIR_NATS_NKEY_BYTES = 57, WEIR_NATS_MAX_SUBS = 65536 };

enum weir_nats_verb { WEIR_NATS_PUB, WEIR_NATS_SUB, WEIR_NATS_DRAIN, WEIR_NATS_UNSUB };

/* One order to the thread. Strings stand behind the struct. */
struct weir_nats_order {
    struct weir_list node;
    enum weir_nats_verb verb;
    uint64_t sub_id;
    uint64_t drop_ns; /* 0 = never */
    const char *subject, *reply, *group;
    struct weir_nats_header headers[WEIR_NATS_HEADERS];
    unsigned n_headers;
    struct weir_span payload;
    size_t bytes;
};

struct weir_nats_sub {
    struct weir_nats *nats;
    uint64_t id; /* in nats.by_id while open */
    struct weir_loop *loop;
    struct weir_nats_sub_ops ops;
    void *arg;
    struct weir_list inbox; /* struct incoming, in nats.c */
    unsigned n_inbox;
    size_t inbox_bytes;
    struct weir_nats_change change; /* not told yet */
    bool draining, drained;         /* told to; it has, and nobody was told yet */
    bool posted;                    /* on_posted is on its way to the loop */
    bool closed, delivering;        /* of the loop's thread */
    struct weir_list late;          /* in nats.late: closed while posted */
};

/* What one subscription of nats.c is about: `id` finds ours, if it is still there. */
struct weir_nats_want {
    struct weir_list node; /* in nats.wants; of the thread */
    struct weir_nats *nats;
    uint64_t id;
    char *subject, *group; /* owned; group may be NULL */
    _Atomic bool made;     /* release in add_want pairs with acquire in on_message, on_complete */
    natsSubscription *sub; /* of the thread; NULL while not connected */
    bool draining;
    unsigned refs; /* guarded by nats.lock: the thread's list, and each natsSubscription */
};

struct weir_nats {
    struct weir_nats_config config; /* strings owned */
    char **servers;                 /* owned; as configured */
    int n_servers;
    char **more; /* servers that the cluster named; of the thread */
    int n_more;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the thread's */
    pthread_cond_t told; /* the opener's: the first outcome is known */
    pthread_t thread;
    bool started, stop, tried;
    bool look;             /* a connection of ours was closed */
    struct weir_err first; /* status != OK: the first attempt failed for good */
    struct weir_list orders;
    unsigned n_orders;
    size_t order_bytes;
    struct weir_map by_id;
    struct weir_list late;
    struct weir_list dead; /* in nats.c: closed, but the library may call us yet */
    uint64_t last_id;
    int64_t max_payload; /* 0 = not known yet */
    struct weir_nats_stats stats;
    /* of the thread */
    natsConnection *nc;
    struct weir_list wants;
    struct weir_rng rng;
};

/* ---- nats.c ------------------------------------------------------------------------------- */

/* Thread: any. Takes msg. */
void weir_nats_incoming(struct weir_nats *nats, uint64_t sub_id, natsMsg *msg);
/* Tells all subscriptions that the connection came or went. */
void weir_nats_tell(struct weir_nats *nats, bool up);
void weir_nats_tell_drained(struct weir_nats *nats, uint64_t sub_id);
/* For the subscription of nats.c that lost them. */
void weir_nats_tell_dropped(struct weir_nats *nats, uint64_t sub_id, uint64_t n);

/* ---- nats_thread.c ------------------------------------------------------------------------ */

void *weir_nats_thread(void *arg);

/* ---- nats_options.c ----------------------------------------------------------------------- */

/* Options of one attempt at one server; the caller destroys them. On failure *err has words for the
 * operator. */
enum weir_status weir_nats_options(struct weir_nats *nats, const char *server,
                                   natsOptions **ret_options, struct weir_err *err) WEIR_MUST_CHECK;
/* Words for a failed connect; *ret_final: trying again will not help. Never WEIR_OK. */
enum weir_status weir_nats_explain(const char *server, natsStatus s, bool *ret_final,
                                   struct weir_err *err);
/* An address without user and password, for people. */
const char *weir_nats_shown(const char *server);
/* Splits the list of addresses. */
enum weir_status weir_nats_servers(const char *list, char ***ret_servers, int *ret_n,
                                   struct weir_err *err) WEIR_MUST_CHECK;
void weir_nats_servers_free(char **servers, int n);

/* ---- nats_nkey.c -------------------------------------------------------------------------- */

/* The public key ("U…") of a user's seed ("SU…"). Source: the NKEYS format, base32 of prefix bytes,
 * key and CRC-16/XMODEM. WEIR_INVALID: not such a seed. */
enum weir_status weir_nats_nkey_public(const char *seed,
                                       char ret_public[WEIR_NATS_NKEY_BYTES]) WEIR_MUST_CHECK;

#endif
