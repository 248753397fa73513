/*
 * The inside of the Kubernetes backend: discovery_kube.c has the session (address, token, calls,
 * what to do when one fails), discovery_kube_read.c list and watch of the two kinds of objects,
 * discovery_kube_own.c the CR of this process, discovery_kube_config.c where all of that is,
 * discovery_kube_view.c what the objects come to.
 *
 * As in the etcd backend each part has a pump, which starts the one call that is due, or none.
 */
#ifndef WEIR_RUNTIME_DISCOVERY_KUBE_PRIV_H
#define WEIR_RUNTIME_DISCOVERY_KUBE_PRIV_H

#include "net/http_client.h"
#include "runtime/discovery_kube_view.h"
#include "runtime/discovery_priv.h"
#include "runtime/resolve.h"

#define KUBE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define KUBE_PODINFO "/etc/podinfo"

enum {
    KUBE_PAGE = 500,           /* objects in one answer of a list, as Dynamo's client asks for */
    KUBE_BODY_MAX = 128 << 20, /* one page of a list; etcd holds no object above 1.5 MiB */
    KUBE_LINE_MAX = 8 << 20,   /* of a watch */
    KUBE_CALL_MS = 30000,
    KUBE_LEAVE_MS = 1000, /* for the own records to be removed at the end */
    KUBE_MAX_BACKOFF_MS = 10000,
    KUBE_MAX_RETRY_AFTER_S = 60,
    KUBE_TOKEN_MAX = 64 << 10,
};

/* What the configuration comes to; all in its arena. */
struct kube_target {
    struct weir_arena arena;
    char *host, *prefix; /* without brackets; "" or "/path" before all paths */
    uint16_t port;
    bool tls, insecure;
    char *ca, *cert, *key, *server_name; /* paths or PEM text, or NULL */
    char *token, *token_path;            /* either may be NULL; the file goes first */
    char *ns;
    char *pod, *pod_uid, *cr_name; /* NULL: not known, so nothing can be published */
    bool by_container;
};

struct kube;
struct kube_call;
/* The whole answer, or the end of a watch: call->status and call->body. Exactly once, unless
 * cancelled or the session is lost. */
typedef void (*kube_done_fn)(struct kube_call *call);
typedef void (*kube_line_fn)(struct kube_call *call, struct weir_span line);

/* A place for one call at a time. */
struct kube_call {
    struct kube *kube;
    void *arg;                   /* of who uses the place */
    struct weir_http_call *http; /* NULL: idle */
    unsigned serial;             /* tells calls in this place apart */
    const char *verb, *resource; /* static: "list", "endpointslices" */
    const char *group;           /* static: "discovery.k8s.io" */
    unsigned proved;             /* bit of each verb that has worked */
    unsigned verb_bit;
    struct weir_buf body; /* of the answer; of a watch: a line that is not whole yet */
    kube_line_fn line;    /* a watch; NULL otherwise */
    kube_done_fn done;
    int status;
    uint64_t retry_after_ms, started_ms;
    bool token_again;        /* refused with the token that was read anew for it */
    unsigned n_refused;      /* in a row */
    unsigned failures;       /* in a row; of a read: since a watch last gave something */
    struct weir_timer again; /* while it runs nothing is started here */
};

/* A kind of objects that is listed and watched. */
struct kube_read {
    struct kube_call call;
    enum weir_kube_side side;
    bool beta; /* discovery.k8s.io/v1beta1, where nothing else is served */
    bool need_list, listed;
    unsigned page;
    char version[128];    /* of what was seen last */
    struct weir_buf next; /* token of the next page; empty: the first one is due */
    bool watched;         /* a line has come in this watch */
};

enum kube_state {
    KUBE_WAITING,   /* for the timer, then a new session begins */
    KUBE_RESOLVING, /* the server's name */
    KUBE_UP,
    KUBE_CLOSED, /* nothing is started any more */
};

/* Rows of discovery_kube_metrics.c. */
enum kube_figure {
    KUBE_CONNECTED, /* a gauge, as are the next two; the others count */
    KUBE_WORKERS,
    KUBE_READY,
    KUBE_FAILURES,
    KUBE_LISTS,
    KUBE_WATCHES,
    KUBE_APPLIES,
    KUBE_N_FIGURES,
};

struct kube {
    struct weir_discovery *disc; /* borrowed; NULL once it is closed */
    struct weir_loop *loop;
    struct kube_target target;
    void (*on_refused)(void *arg, const struct weir_err *err);
    void *refused_arg;
    struct weir_metric *figures[KUBE_N_FIGURES]; /* borrowed: outlived by the registry */
    /* session */
    enum kube_state state;
    struct weir_addresses addresses;
    struct weir_tls *tls;
    struct weir_http_client *client;
    struct weir_timer retry;
    char *token; /* owned; NULL without one */
    uint64_t token_ms;
    bool up_told;      /* the last news was that it answers */
    unsigned failures; /* of sessions, in a row */
    char told[256];    /* the failure that was logged last */
    uint64_t told_ms;
    /* parts */
    struct weir_kube_view *view;
    struct kube_read reads[2]; /* who is ready, CRs */
    struct kube_call own;
    bool dirty, sending; /* the CR is to be written; is being written as it is now */
    bool sent_any;       /* it may be there */
    struct weir_deferred publish;
    struct weir_timer refresh; /* the CR is written again, should somebody have removed it */
    unsigned n_deleted;        /* times in a row that somebody removed it */
    unsigned n_sent;           /* records in the CR that is on its way */
    unsigned n_leaves;         /* tries to remove the records */
    bool leaving;              /* the records are being removed, in a loop run of our own */
};

/* ---- discovery_kube_config.c ---- */
enum weir_status weir_kube_target_read(const struct weir_discovery_kube *config,
                                       struct kube_target *target,
                                       struct weir_err *err) WEIR_MUST_CHECK;

/* ---- discovery_kube_metrics.c ---- */
void weir_kube_metrics_init(struct kube *k, struct weir_metrics *metrics);
void weir_kube_metrics_count(struct kube *k);

/* ---- discovery_kube.c ---- */
struct kube_request {
    const char *method, *content_type; /* NULL without a body */
    struct weir_span target, body;     /* target: below the prefix */
    uint64_t total_ms;
};
void weir_kube_call(struct kube_call *call, const struct kube_request *request, kube_line_fn line,
                    kube_done_fn done);
void weir_kube_cancel(struct kube_call *call);
/* Whether the answer is none to go on with. It then has been dealt with: what is called again is
 * called by the pump, after a pause. `text` may be empty. */
bool weir_kube_failed(struct kube_call *call, int status, const struct weir_kube_status *text);
/* Nothing is called in this place for a while, longer with each time in a row and at least ms; then
 * by the pump. */
void weir_kube_pause(struct kube_call *call, uint64_t ms);
/* It has worked. */
void weir_kube_prove(struct kube_call *call);
/* The server cannot be talked to, or what it says is not understood: a new session, later. */
void weir_kube_lost(struct kube *k, bool refused, const char *fmt, ...) WEIR_PRINTF(3, 4);

/* ---- discovery_kube_read.c ---- */
void weir_kube_read_init(struct kube *k);
void weir_kube_read_fini(struct kube *k);
void weir_kube_read_pump(struct kube *k);
void weir_kube_on_visible(void *arg, enum weir_record_kind kind, struct weir_span key,
                          struct weir_span json);

/* ---- discovery_kube_own.c ---- */
void weir_kube_own_init(struct kube *k);
void weir_kube_own_pump(struct kube *k);
/* Somebody has deleted a CR; if it is the own one, it is written again. */
void weir_kube_own_deleted(struct kube *k, struct weir_span cr_name);
enum weir_status weir_kube_publish(struct weir_discovery *disc, struct weir_discovery_own *own,
                                   struct weir_err *err);
void weir_kube_unpublish(struct weir_discovery *disc, struct weir_discovery_own *own);
/* Writes a CR without records; `done` as for a call. False: there is none to empty. */
bool weir_kube_leave(struct kube *k, kube_done_fn done);

#endif
