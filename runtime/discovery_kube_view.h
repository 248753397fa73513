/*
 * Which records are visible: the pure core of the Kubernetes backend. It takes objects as they are
 * listed and watched (EndpointSlices or Pods on one side, CRs on the other, wire/kube.h) and says
 * what changed. A worker is visible while exactly one pod of its name is ready, by its uid, and
 * there is a CR of that name whose owner is this pod; so neither a CR that a dead namesake left nor
 * a pod that has not registered counts.
 */
#ifndef WEIR_RUNTIME_DISCOVERY_KUBE_VIEW_H
#define WEIR_RUNTIME_DISCOVERY_KUBE_VIEW_H

#include "wire/kube.h"

struct weir_kube_view;

enum weir_kube_side {
    WEIR_KUBE_SLICES, /* who is ready, by EndpointSlices */
    WEIR_KUBE_PODS,   /* the same by Pods (container mode); in place of slices */
    WEIR_KUBE_CRS,
};

/* A record that is visible now (`json` NULL: no longer). Must not call the view. */
typedef void (*weir_kube_view_fn)(void *arg, enum weir_record_kind kind, struct weir_span key,
                                  struct weir_span json);

/* At most max_objects of each side. NULL: out of memory. */
struct weir_kube_view *weir_kube_view_create(unsigned max_objects, weir_kube_view_fn fn, void *arg);
/* Tells nothing. Accepts NULL. */
void weir_kube_view_destroy(struct weir_kube_view *view);

/* An object that was listed, added or changed; or deleted. Nothing is told before settle.
 * WEIR_INVALID: the object cannot be read, and
 * what is known of its name stays; WEIR_LIMIT: there are too many; WEIR_NOMEM. */
enum weir_status weir_kube_view_put(struct weir_kube_view *view, enum weir_kube_side side,
                                    struct weir_span json) WEIR_MUST_CHECK;
enum weir_status weir_kube_view_remove(struct weir_kube_view *view, enum weir_kube_side side,
                                       struct weir_span json) WEIR_MUST_CHECK;

/* Around a whole list of one side: what was not put between the two is gone. A list that broke off
 * is begun again. What a list changes is told only when it is whole. */
void weir_kube_view_list_begin(struct weir_kube_view *view, enum weir_kube_side side);
void weir_kube_view_list_end(struct weir_kube_view *view, enum weir_kube_side side);
/* Tells what the changes since the last time come to. */
void weir_kube_view_settle(struct weir_kube_view *view);

/* Workers that are visible; CRs, and names that are ready. */
struct weir_kube_counts {
    unsigned visible, crs, ready;
};
struct weir_kube_counts weir_kube_view_counts(const struct weir_kube_view *view);

#endif
