/*
 * The inside of the etcd backend: discovery_etcd.c has the session (endpoints, login, calls, what
 * to do when one fails), discovery_etcd_read.c list and watch, discovery_etcd_own.c the lease and
 * the own records, discovery_etcd_url.c the endpoints as text.
 *
 * Each part has a pump: it looks at the state and starts the one call that is due, or none. So any
 * event may call any pump, and none has to know what the others are doing.
 */
#ifndef WEIR_RUNTIME_DISCOVERY_ETCD_PRIV_H
#define WEIR_RUNTIME_DISCOVERY_ETCD_PRIV_H

#include "net/http_client.h"
#include "runtime/discovery_priv.h"
#include "runtime/resolve.h"
#include "wire/etcd.h"

enum {
    ETCD_MAX_ENDPOINTS = 16,
    ETCD_BATCH = 16,              /* records in one transaction (etcd takes 128 operations) */
    ETCD_BATCH_BYTES = 256 << 10, /* of them; etcd takes 1.5 MiB in a request */
    ETCD_PAGE = 256,              /* records in one answer of a list */
    ETCD_BODY_MAX = 64 << 20,     /* one answer, one line of a watch */
    ETCD_ARENA = 4 << 20,         /* one key and value */
    ETCD_LIST_MS = 30000,
    ETCD_LEAVE_MS = 1000, /* for the lease to be revoked at the end */
};

struct etcd_endpoint {
    char host[WEIR_HOST_BYTES]; /* without brackets */
    uint16_t port;
    bool tls;
};

struct etcd;
struct etcd_call;
/* Exactly once, unless cancelled. `fault` tells about `answer`. */
typedef void (*etcd_done_fn)(struct etcd *e, enum weir_etcd_fault fault,
                             const struct weir_etcd_answer *answer);

/* A place for one call at a time. */
struct etcd_call {
    struct etcd *etcd;
    struct weir_http_call *http; /* NULL: idle */
    unsigned serial;             /* tells calls in this place apart */
    const char *what;            /* static, after "cannot": "list the records" */
    struct weir_buf body;        /* of the answer; of a watch: a line that is not whole yet */
    bool stream;                 /* a document a line, each told by `done` */
    int status;
    weir_etcd_kv_fn kv; /* or NULL; its arg is the etcd */
    etcd_done_fn done;
};

enum etcd_state {
    ETCD_WAITING,   /* for the timer, then the next address is tried */
    ETCD_RESOLVING, /* the name of an endpoint */
    ETCD_LOGIN,     /* connected, or about to be; a password is being exchanged for a token */
    ETCD_UP,        /* calls may be made; `proved` once one has done what this process needs */
    ETCD_CLOSED,    /* nothing is started any more */
};

/* What is known of the store behind the endpoints: it can lose its data and begin anew. */
struct etcd_seen {
    uint64_t cluster_id, raft_term;
    int64_t revision;
};

/* Rows of discovery_etcd_metrics.c. */
enum etcd_figure {
    ETCD_CONNECTED, /* a gauge; the others count */
    ETCD_CONNECTS,
    ETCD_FAILURES,
    ETCD_LISTS,
    ETCD_LEASES,
    ETCD_LEASES_LOST,
    ETCD_REWRITTEN,
    ETCD_N_FIGURES,
};

struct etcd {
    struct weir_discovery *disc; /* borrowed; NULL once it is closed */
    struct weir_loop *loop;
    /* configuration; all owned */
    struct etcd_endpoint endpoints[ETCD_MAX_ENDPOINTS];
    unsigned n_endpoints;
    char *user, *password;
    struct weir_tls *tls; /* NULL: no endpoint wants it */
    uint64_t ttl_ms;      /* asked for; once a lease is granted, what it got */
    void (*on_refused)(void *arg, const struct weir_err *err);
    void *refused_arg;
    struct weir_metric *figures[ETCD_N_FIGURES]; /* borrowed: outlived by the registry */
    /* session */
    enum etcd_state state;
    unsigned at;                     /* endpoint in use */
    struct weir_addresses addresses; /* of it */
    struct weir_http_client *client;
    char *token;    /* owned; NULL without one */
    bool token_new; /* nothing has succeeded with it yet */
    bool proved, ever_proved;
    unsigned n_failures, n_refused; /* in a row */
    char told[256];                 /* the failure that was logged last */
    const char *told_kind;          /* its format */
    uint64_t told_ms;
    bool told_up; /* that it works, since then */
    struct weir_timer retry;
    struct etcd_call login, beat, write, read;
    struct weir_arena arena; /* of one key and value */
    struct weir_buf request; /* scratch */
    /* list and watch */
    bool need_list;
    unsigned page;
    int64_t list_revision;
    struct weir_buf cursor; /* key from which the list goes on */
    size_t n_listed;
    struct etcd_seen seen;
    uint64_t doubt_until_ms; /* missing records are kept until then: the store lost its data */
    struct weir_timer doubt;
    /* lease and own records */
    int64_t lease;         /* 0: none */
    bool lease_checked;    /* in this session */
    struct weir_map found; /* hashes of the keys that hang on it, as the answer names them */
    struct weir_timer beat_timer;
    struct weir_deferred publish; /* records were published in this turn */
    struct weir_discovery_own *batch[ETCD_BATCH];
    size_t n_batch;
    unsigned n_conflicts; /* transactions in a row that found something */
    struct weir_list removals;
    bool told_all; /* that all records are registered */
    bool leaving;  /* the lease is being revoked, in a loop run of our own */
};

/* ---- discovery_etcd_url.c ---- */
/* "http://a:2379,https://[::1],b" to endpoints; port 2379 and, without a scheme, `tls` are what is
 * left out. */
enum weir_status weir_etcd_endpoints_parse(const char *text, bool tls,
                                           struct etcd_endpoint ret[ETCD_MAX_ENDPOINTS],
                                           unsigned *ret_n, struct weir_err *err) WEIR_MUST_CHECK;
/* ---- discovery_etcd_metrics.c ---- */
void weir_etcd_metrics_init(struct etcd *e, struct weir_metrics *metrics);

/* ---- discovery_etcd.c ---- */
/* e->request is the body. An error has been dealt with as a failure of the session. */
void weir_etcd_call(struct etcd *e, struct etcd_call *call, const char *what, const char *target,
                    uint64_t deadline_ms, weir_etcd_kv_fn kv, etcd_done_fn done);
void weir_etcd_cancel(struct etcd_call *call);
/* True when the answer is none to go on with: then the session is lost, or logs in again. */
bool weir_etcd_failed(struct etcd *e, const struct etcd_call *call, enum weir_etcd_fault fault,
                      const struct weir_etcd_answer *answer);
void weir_etcd_lost(struct etcd *e, bool refused, const char *fmt, ...) WEIR_PRINTF(3, 4);
/* Something that this process needs has worked; `beat`: a sign of life. A session that outlives a
 * beat is a good one: the next failure is the first of its row. */
void weir_etcd_prove(struct etcd *e, bool beat);
/* How long an answer may take. */
uint64_t weir_etcd_call_ms(const struct etcd *e);

/* ---- discovery_etcd_read.c ---- */
void weir_etcd_read_reset(struct etcd *e); /* of a session */
void weir_etcd_read_pump(struct etcd *e);

/* ---- discovery_etcd_own.c ---- */
void weir_etcd_own_init(struct etcd *e);
void weir_etcd_own_reset(struct etcd *e);
void weir_etcd_own_fini(struct etcd *e);
void weir_etcd_beat_pump(struct etcd *e);
void weir_etcd_write_pump(struct etcd *e);
enum weir_status weir_etcd_publish(struct weir_discovery *disc, struct weir_discovery_own *own,
                                   struct weir_err *err);
void weir_etcd_unpublish(struct weir_discovery *disc, struct weir_discovery_own *own);
/* Asks etcd to revoke the lease; `done` as for a call. False: there is nothing to revoke. */
bool weir_etcd_revoke(struct etcd *e, etcd_done_fn done);

#endif
