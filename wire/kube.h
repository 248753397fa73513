/*
 * Documents of the Kubernetes API as far as discovery needs them: lists, lines of a watch, Status;
 * EndpointSlices, Pods, and Dynamo's DynamoWorkerMetadata ("CR" below: nvidia.com/v1alpha1, one a
 * worker, with all its records). Sources: the published API, shared spec "transport" 1.9, and what
 * Dynamo 1.6.1 reads and writes. Pure. Spans lie in the input, or in the arena where something had
 * to be unescaped.
 */
#ifndef WEIR_WIRE_KUBE_H
#define WEIR_WIRE_KUBE_H

#include "wire/record.h"

/* The label of the slices (container mode: of the pods) that are looked at. */
#define WEIR_KUBE_LABEL "nvidia.com/dynamo-discovery-enabled=true"
#define WEIR_KUBE_FIELD_MANAGER "dynamo-worker"

/* ---- what is read ------------------------------------------------------------------------- */

struct weir_kube_list {
    struct weir_span resource_version;
    struct weir_span next; /* the token with which the list goes on; empty: this was the end */
};
/* `fn` for each item, as it stands there. WEIR_INVALID: no list, or one without a version. */
typedef void (*weir_kube_item_fn)(void *arg, struct weir_span item);
enum weir_status weir_kube_decode_list(struct weir_span json, struct weir_arena *arena,
                                       weir_kube_item_fn fn, void *arg,
                                       struct weir_kube_list *ret_list) WEIR_MUST_CHECK;

enum weir_kube_change {
    WEIR_KUBE_PUT, /* ADDED, MODIFIED */
    WEIR_KUBE_DELETED,
    WEIR_KUBE_BOOKMARK, /* the object has nothing but a newer resourceVersion */
    WEIR_KUBE_ERROR,    /* the object is a Status */
};
/* A line of a watch. WEIR_INVALID: none, or of a type that is not known. */
enum weir_status weir_kube_decode_event(struct weir_span json, enum weir_kube_change *ret_change,
                                        struct weir_span *ret_object) WEIR_MUST_CHECK;

/* What an answer that is no success says; empty when it is no Status. */
struct weir_kube_status {
    int64_t code;
    char reason[48];
    char message[200]; /* cut to fit */
};
void weir_kube_decode_status(struct weir_span json, struct weir_kube_status *ret_status);

struct weir_kube_meta {
    struct weir_span name, uid, resource_version; /* empty where absent; a name is always there */
    struct weir_span owner_pod_uid;               /* of the first owner that is a Pod */
    bool deleted;                                 /* it is on its way out: deletionTimestamp */
};
enum weir_status weir_kube_decode_meta(struct weir_span json, struct weir_arena *arena,
                                       struct weir_kube_meta *ret_meta) WEIR_MUST_CHECK;

/* One that is ready and can be told from its namesakes: of an EndpointSlice (discovery.k8s.io/v1
 * or v1beta1) a pod, of a Pod that is not being deleted a container. (A slice says of such a pod
 * itself that it is not ready; what a Pod says of its containers is the last word of a kubelet that
 * may be dead.) */
typedef void (*weir_kube_ready_fn)(void *arg, struct weir_span cr_name, struct weir_span pod_uid);
enum weir_status weir_kube_decode_slice(struct weir_span json, struct weir_arena *arena,
                                        weir_kube_ready_fn fn, void *arg,
                                        struct weir_kube_meta *ret_meta) WEIR_MUST_CHECK;
enum weir_status weir_kube_decode_pod(struct weir_span json, struct weir_arena *arena,
                                      weir_kube_ready_fn fn, void *arg,
                                      struct weir_kube_meta *ret_meta) WEIR_MUST_CHECK;

struct weir_kube_record {
    enum weir_record_kind kind;
    struct weir_span key, json; /* key: inside the kind's bucket */
};
/* The records of a CR, as they stand there. *ret_has_data false: spec.data is null or missing, as
 * an apply of empty maps may leave it. */
typedef void (*weir_kube_record_fn)(void *arg, const struct weir_kube_record *record);
enum weir_status weir_kube_decode_metadata(struct weir_span json, struct weir_arena *arena,
                                           weir_kube_record_fn fn, void *arg,
                                           struct weir_kube_meta *ret_meta,
                                           bool *ret_has_data) WEIR_MUST_CHECK;

/* ---- who one is, and what is written ------------------------------------------------------ */

/* "pod", or "pod-container" of a container that is not called main. `container` empty: pod mode. */
enum weir_status weir_kube_cr_name(struct weir_span pod, struct weir_span container,
                                   struct weir_buf *out) WEIR_MUST_CHECK;
/* 53 bits: SipHash-1-3 with zero keys of the name and a byte 0xff. */
uint64_t weir_kube_instance_id(struct weir_span cr_name);
/* The body of a server-side apply. Event channels get `namespace` and `component` beside their
 * scope, which readers up to Dynamo 1.3 need. WEIR_INVALID: a record that is no JSON object. */
enum weir_status weir_kube_encode_metadata(struct weir_span cr_name, struct weir_span pod,
                                           struct weir_span pod_uid,
                                           const struct weir_kube_record *records, size_t n,
                                           struct weir_buf *out) WEIR_MUST_CHECK;
/* Appends what stands in a query behind '=': all but letters, digits and "-._~" as %XX. */
enum weir_status weir_kube_encode_query(struct weir_span text,
                                        struct weir_buf *out) WEIR_MUST_CHECK;

#endif
