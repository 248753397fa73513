/*
 * Messages of etcd's JSON gateway (POST /v3/…, etcd 3.4 and later): requests, answers, errors.
 * Keys and values travel as base64, 64-bit integers as strings, and what is zero or false is left
 * out. Source: etcd's published API and answers of etcd 3.4.23 and 3.7.3 (test/data/wire). Pure.
 */
#ifndef WEIR_WIRE_ETCD_H
#define WEIR_WIRE_ETCD_H

#include "base/arena.h"
#include "base/buf.h"

enum { WEIR_ETCD_MAX_TEXT = 256 }; /* of an error, as far as it is kept */

/* ---- requests: each is the whole body ----------------------------------------------------- */

/* A key to write in a transaction that writes all of its keys or none. */
struct weir_etcd_put {
    struct weir_span key, value;
    int64_t mod_revision; /* 0: the key must not be there; else it must be as last changed then */
};
/* kv/range of [key, end): `limit` 0 = all; `revision` 0 = newest; keys_only for a mere question. */
enum weir_status weir_etcd_encode_range(struct weir_span key, struct weir_span end, int64_t limit,
                                        int64_t revision, bool keys_only,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
/* kv/txn: puts under the lease in this order; when one condition fails nothing is written and each
 * key is read instead, in the same order. */
enum weir_status weir_etcd_encode_puts(const struct weir_etcd_put *puts, size_t n, int64_t lease,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
/* kv/txn: deletes the key if it hangs on this lease. */
enum weir_status weir_etcd_encode_delete(struct weir_span key, int64_t lease,
                                         struct weir_buf *out) WEIR_MUST_CHECK;
/* watch of [key, end) from a revision on, large answers in fragments. */
enum weir_status weir_etcd_encode_watch(struct weir_span key, struct weir_span end,
                                        int64_t revision, struct weir_buf *out) WEIR_MUST_CHECK;
/* lease/grant (ttl_s > 0; lease 0 = etcd chooses), lease/keepalive and lease/revoke (both only
 * name the lease), lease/timetolive (keys: name what hangs on it too). */
enum weir_status weir_etcd_encode_lease(int64_t lease, int64_t ttl_s, bool keys,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
/* auth/authenticate. */
enum weir_status weir_etcd_encode_login(struct weir_span user, struct weir_span password,
                                        struct weir_buf *out) WEIR_MUST_CHECK;

/* ---- answers ------------------------------------------------------------------------------ */

struct weir_etcd_kv {
    struct weir_span key;
    struct weir_span value; /* data NULL: larger than the arena takes */
    int64_t mod_revision, lease;
    bool deleted; /* an event of a watch; only key and mod_revision count */
    unsigned op;  /* of a transaction: which of its operations read it */
};

/* What any of the answers may say; what is left out is zero. */
struct weir_etcd_answer {
    uint64_t cluster_id, raft_term;
    int64_t revision; /* of the store */
    bool more;        /* range: it was cut by its limit */
    bool succeeded;   /* txn: the conditions held */
    int64_t lease, ttl_s;
    struct weir_span token; /* in the input */
    /* watch */
    bool created, canceled, fragment;
    int64_t compact_revision;
    /* An error object, or the reason of a watch that was canceled. */
    bool is_error;
    int64_t grpc_code;
    char text[WEIR_ETCD_MAX_TEXT];
};

/* Reads one JSON document. fn is called for every key of a range, an event or a transaction, in
 * order, and for each key that hangs on a lease (with an empty value); kv and answer are borrowed
 * for the call, the arena is reset between calls, so nothing else may lie in it. fn may be NULL.
 * WEIR_INVALID: not such a document (fn may have been called for what stood before the fault). */
typedef void (*weir_etcd_kv_fn)(void *arg, const struct weir_etcd_answer *answer,
                                const struct weir_etcd_kv *kv);
enum weir_status weir_etcd_decode(struct weir_span json, struct weir_arena *arena,
                                  weir_etcd_kv_fn fn, void *arg,
                                  struct weir_etcd_answer *ret_answer) WEIR_MUST_CHECK;

/* What an answer that is no success asks for. */
enum weir_etcd_fault {
    WEIR_ETCD_NO_FAULT,
    WEIR_ETCD_AGAIN,      /* no leader, overloaded, stopping: later, or at another member */
    WEIR_ETCD_TOKEN,      /* log in (again) */
    WEIR_ETCD_PASSWORD,   /* wrong user or password */
    WEIR_ETCD_PERMISSION, /* the user may not */
    WEIR_ETCD_NO_AUTH,    /* login is not needed: authentication is off */
    WEIR_ETCD_COMPACTED,  /* the revision is gone: list anew */
    WEIR_ETCD_FUTURE,     /* the revision is not there (yet): list anew */
    WEIR_ETCD_LEASE_GONE,
    WEIR_ETCD_NO_GATEWAY, /* not the JSON gateway of an etcd */
    WEIR_ETCD_OTHER,
};
/* `answer` NULL: the body was no JSON document. */
enum weir_etcd_fault weir_etcd_fault(int http_status, const struct weir_etcd_answer *answer);

#endif
