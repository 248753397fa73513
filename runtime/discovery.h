/*
 * Discovery: who is there. One interface; backends mem (this process), file (Dynamo's layout,
 * shared spec "transport" 1.5), static (workers named by flag or in a watched TOML file), etcd
 * (Dynamo's keys, shared spec "transport" 1.4) and kubernetes (Dynamo's objects, 1.9).
 *
 * Thread: the loop it was opened on, for every call and callback.
 */
#ifndef WEIR_RUNTIME_DISCOVERY_H
#define WEIR_RUNTIME_DISCOVERY_H

#include "base/metrics.h"
#include "net/loop.h"
#include "wire/record.h"

struct weir_discovery;

enum weir_discovery_backend {
    WEIR_DISCOVERY_MEM,
    WEIR_DISCOVERY_FILE,
    WEIR_DISCOVERY_STATIC,
    WEIR_DISCOVERY_ETCD,
    WEIR_DISCOVERY_KUBE
};

/* Borrowed for the opening only. */
struct weir_discovery_etcd {
    const char *endpoints; /* "http://a:2379,https://b"; NULL = http://localhost:2379 */
    const char *username, *password;
    const char *ca, *cert, *key; /* paths, or PEM text; NULL = the system's authorities, none */
    uint64_t lease_ttl_s;        /* 0 = 30 */
};

/* Borrowed for the opening only; each may be NULL. */
struct weir_discovery_kube {
    const char *kubeconfig;     /* goes before the service account; without both: ~/.kube/config */
    const char *service_host;   /* of the API server, for the service account; NULL: no pod */
    const char *service_port;   /* NULL: 443 */
    const char *account_folder; /* NULL: where Kubernetes puts it */
    const char *podinfo;        /* folder of the Downward API; NULL: /etc/podinfo */
    const char *pod_name, *pod_uid; /* needed to publish */
    const char *pod_namespace;      /* NULL: that of the account or context, or "default" */
    const char *container_name;     /* needed to publish by_container */
    bool by_container;              /* containers of pods are ready and registered, not pods */
};

struct weir_discovery_config {
    enum weir_discovery_backend backend;
    const char *file_root;   /* file: NULL = $DYN_FILE_KV, else $TMPDIR/dynamo_store_kv */
    uint64_t ttl_ms;         /* file: 0 = 10,000; stale records of anybody are removed after it */
    const char *static_path; /* static: TOML file with [[worker]] tables, watched */
    /* static: "ip:port/path[,model=…][,block_size=…]"; borrowed: outlive the discovery */
    const char *const *static_workers;
    size_t n_static_workers;
    struct weir_discovery_etcd etcd;
    struct weir_discovery_kube kube;
    /* etcd: every endpoint has refused this process before anything ever worked (wrong password,
     * no JSON gateway, a certificate that does not verify). kubernetes: the same of the API server,
     * or it forbids what this process needs and was never allowed (a verb, a kind). Once, from a
     * loop turn; nothing is tried any more. NULL: it is tried for ever. Must not close the
     * discovery. */
    void (*on_refused)(void *arg, const struct weir_err *err);
    void *refused_arg;
    struct weir_metrics
        *metrics;         /* gets weir_etcd_*, weir_kube_*; outlives the discovery; or NULL */
    unsigned max_records; /* 0 = 65,536 */
};

enum weir_discovery_change { WEIR_DISCOVERY_PUT, WEIR_DISCOVERY_DELETE };
/* PUT: record is borrowed for the call (a changed record is PUT again). DELETE: kind and key only.
 */
typedef void (*weir_discovery_fn)(void *arg, enum weir_discovery_change change,
                                  enum weir_record_kind kind, struct weir_span key,
                                  const struct weir_record *record);

enum weir_status weir_discovery_open(struct weir_loop *loop,
                                     const struct weir_discovery_config *config,
                                     struct weir_discovery **ret_disc,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* The instance id that this process has to take for all it publishes (kubernetes: that of its pod,
 * 53 bits); 0: it may choose. WEIR_INVALID: it is not known who it is. */
enum weir_status weir_discovery_instance_id(const struct weir_discovery *disc, uint64_t *ret_id,
                                            struct weir_err *err) WEIR_MUST_CHECK;
/* Delivers what is known (from a later loop turn), then every change. At most 16 watches. fn must
 * not call back into discovery. */
enum weir_status weir_discovery_watch(struct weir_discovery *disc, weir_discovery_fn fn,
                                      void *arg) WEIR_MUST_CHECK;
/* Publishes and keeps alive until unpublished or closed. An own record that somebody deleted is
 * written again. WEIR_EXISTS: the key is taken by another owner. etcd, kubernetes: written as soon
 * as the server can be reached, records of one turn in their order or at once; a key that is taken
 * at etcd is logged and tried again. */
enum weir_status weir_discovery_publish(struct weir_discovery *disc,
                                        const struct weir_record *record,
                                        struct weir_err *err) WEIR_MUST_CHECK;
void weir_discovery_unpublish(struct weir_discovery *disc, const struct weir_record *record);
/* Removes the own records and stops the watches. Accepts NULL. etcd, kubernetes: outside of
 * the loop's run it runs the loop until the records are gone there, at most a second. */
void weir_discovery_close(struct weir_discovery *disc);

#endif
