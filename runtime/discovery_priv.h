/* The common part of discovery and the interface of its backends. */
#ifndef WEIR_RUNTIME_DISCOVERY_PRIV_H
#define WEIR_RUNTIME_DISCOVERY_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "runtime/discovery.h"

enum { WEIR_DISCOVERY_MAX_WATCHES = 16, WEIR_RECORD_MAX_BYTES = 1 << 20 };

/* A record that is known. Owner: the table of its discovery. */
struct weir_discovery_entry {
    struct weir_list node;
    enum weir_record_kind kind;
    struct weir_span key;  /* in the arena */
    struct weir_span json; /* in the arena: to see whether a new text is a change */
    struct weir_record record;
    struct weir_arena arena;
    unsigned mark; /* of the last full scan that saw it */
    bool indexed;  /* in by_key; false only for the second of two keys with one hash */
};

/* A record of ours that is kept alive. */
struct weir_discovery_own {
    struct weir_list node;
    enum weir_record_kind kind;
    char *key, *json; /* owned */
    /* the backend's */
    unsigned state;
    int64_t seen;
};

struct weir_discovery_backend_ops {
    enum weir_status (*publish)(struct weir_discovery *disc, struct weir_discovery_own *own,
                                struct weir_err *err);
    void (*unpublish)(struct weir_discovery *disc, struct weir_discovery_own *own);
    void (*close)(struct weir_discovery *disc);
    void (*watching)(struct weir_discovery *disc); /* a watch was added; may be NULL */
    /* What weir_discovery_instance_id() says; may be NULL. */
    enum weir_status (*instance_id)(const struct weir_discovery *disc, uint64_t *ret_id,
                                    struct weir_err *err);
};

struct weir_discovery {
    struct weir_loop *loop; /* borrowed */
    const struct weir_discovery_backend_ops *ops;
    void *backend; /* owned by the backend */
    struct {
        weir_discovery_fn fn;
        void *arg;
        bool primed; /* has been told what was known when it began */
    } watches[WEIR_DISCOVERY_MAX_WATCHES];
    size_t n_watches;
    struct weir_timer prime;
    struct weir_list entries, owns;
    struct weir_map by_key; /* hash of kind and key to entry */
    unsigned n_entries, max_entries, n_unindexed;
    unsigned scan; /* number of the current full scan */
};

/* A record's text as the backend found it. A malformed one is refused alone, with a log line. */
void weir_discovery_put(struct weir_discovery *disc, enum weir_record_kind kind,
                        struct weir_span key, struct weir_span json);
void weir_discovery_delete(struct weir_discovery *disc, enum weir_record_kind kind,
                           struct weir_span key);
/* A full scan: begin, put or keep all, end (the others are deleted). */
void weir_discovery_scan_begin(struct weir_discovery *disc);
/* It is there, and what it says is not known now: it stays as it was. */
void weir_discovery_scan_keep(struct weir_discovery *disc, enum weir_record_kind kind,
                              struct weir_span key);
void weir_discovery_scan_end(struct weir_discovery *disc, enum weir_record_kind kind);

/* Pause before attempt number `failures` + 1: each of `addresses` once without a wait worth the
 * name, then 100 ms doubling up to max_ms, of which a random half (`unit` in [0, 1)) is taken off.
 */
uint64_t weir_discovery_backoff_ms(unsigned failures, unsigned addresses, uint64_t max_ms,
                                   double unit);

enum weir_status weir_discovery_file_open(struct weir_discovery *disc,
                                          const struct weir_discovery_config *config,
                                          struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status weir_discovery_etcd_open(struct weir_discovery *disc,
                                          const struct weir_discovery_config *config,
                                          struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status weir_discovery_kube_open(struct weir_discovery *disc,
                                          const struct weir_discovery_config *config,
                                          struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status weir_discovery_mem_open(struct weir_discovery *disc) WEIR_MUST_CHECK;
enum weir_status weir_discovery_static_open(struct weir_discovery *disc,
                                            const struct weir_discovery_config *config,
                                            struct weir_err *err) WEIR_MUST_CHECK;

#endif
