/*
 * The CR of this process. Happy path: something is published or taken back → at the end of the turn
 * the whole object is applied → now and then it is applied once more, which changes nothing unless
 * somebody has removed it. It belongs to the pod, and goes with it.
 *
 * Failure modes: what fails is repeated after a pause (discovery_kube.c); changes meanwhile go with
 * the next attempt. An object that is deleted is written again, at once the first time; where that
 * goes on, as with an owner that is no pod, less and less often.
 */
#include "base/log.h"
#include "base/mem.h"
#include "runtime/discovery_kube_priv.h"

enum { REFRESH_MS = 120000, CAN_PATCH = 1, MAX_LEAVES = 3 };

#define OWN(n) WEIR_CONTAINER_OF(n, struct weir_discovery_own, node)

static void on_publish(void *arg) {
    weir_kube_own_pump(arg);
}

static void on_refresh(void *arg) {
    struct kube *k = arg;
    k->n_deleted = 0; /* it has lasted */
    k->dirty = true;
    weir_kube_own_pump(k);
}

void weir_kube_own_init(struct kube *k) {
    k->own.verb = "patch";
    k->own.verb_bit = CAN_PATCH;
    k->own.resource = "dynamoworkermetadatas";
    k->own.group = "nvidia.com";
    weir_deferred_init(&k->publish, on_publish, k);
    weir_timer_init(&k->refresh, k->loop, on_refresh, k);
}

/* The records that there are; NULL without memory. The array is the caller's. */
static struct weir_kube_record *collect(const struct kube *k, size_t *ret_n) {
    size_t n = 0;
    if (k->disc != NULL)
        WEIR_LIST_FOREACH(it, &k->disc->owns) {
            n++;
        }
    struct weir_kube_record *records = weir_calloc(n + 1, sizeof(*records));
    *ret_n = records != NULL ? n : 0;
    if (records == NULL || n == 0)
        return records;
    n = 0;
    WEIR_LIST_FOREACH(it, &k->disc->owns) {
        records[n++] = (struct weir_kube_record){OWN(it)->kind, weir_span_z(OWN(it)->key),
                                                 weir_span_z(OWN(it)->json)};
    }
    return records;
}

static void apply(struct kube *k, uint64_t total_ms, kube_done_fn done) {
    const struct kube_target *t = &k->target;
    struct weir_buf target, body;
    size_t n = 0;
    weir_buf_init(&target, 64 << 10);
    weir_buf_init(&body, KUBE_LINE_MAX);
    struct weir_kube_record *records = collect(k, &n);
    enum weir_status st =
        records == NULL ? WEIR_NOMEM
                        : weir_kube_encode_metadata(weir_span_z(t->cr_name), weir_span_z(t->pod),
                                                    weir_span_z(t->pod_uid), records, n, &body);
    weir_free(records);
    if (st == WEIR_OK)
        st = weir_buf_append_z(&target, "/apis/nvidia.com/v1alpha1/namespaces/");
    if (st == WEIR_OK)
        st = weir_kube_encode_query(weir_span_z(t->ns), &target);
    if (st == WEIR_OK)
        st = weir_buf_append_z(&target, "/dynamoworkermetadatas/");
    if (st == WEIR_OK)
        st = weir_kube_encode_query(weir_span_z(t->cr_name), &target);
    if (st == WEIR_OK)
        st = weir_buf_append_z(&target, "?force=true&fieldManager=" WEIR_KUBE_FIELD_MANAGER);
    k->n_sent = (unsigned)n;
    if (st == WEIR_OK)
        weir_kube_call(&k->own,
                       &(struct kube_request){.method = "PATCH",
                                              .content_type = "application/apply-patch+yaml",
                                              .target = weir_buf_span(&target),
                                              .body = weir_buf_span(&body),
                                              .total_ms = total_ms},
                       NULL, done);
    else
        weir_kube_lost(k, false, "cannot write the own records: %s", weir_status_text(st));
    weir_buf_fini(&target);
    weir_buf_fini(&body);
}

static void on_applied(struct kube_call *call) {
    struct kube *k = call->kube;
    struct weir_kube_status status;
    weir_kube_decode_status(weir_buf_span(&call->body), &status);
    weir_buf_fini(&call->body);
    k->sending = false;
    if (call->status < 200 || call->status > 299) {
        k->dirty = true;
        if (!weir_kube_failed(call, call->status, &status))
            weir_kube_lost(k, false, "cannot write the own records: HTTP %d", call->status);
        return;
    }
    weir_kube_prove(call);
    call->failures = 0;
    weir_metric_inc(k->figures[KUBE_APPLIES]);
    if (!k->dirty && !weir_timer_active(&k->refresh))
        WEIR_LOG(WEIR_LOG_INFO, "kube", "%u records are registered in %s of the namespace %s",
                 k->n_sent, k->target.cr_name, k->target.ns);
    uint64_t ms = REFRESH_MS + weir_rng_below(weir_loop_rng(k->loop), REFRESH_MS);
    if (weir_timer_start(&k->refresh, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "kube", "out of memory: the own records are not looked after");
    weir_kube_own_pump(k);
}

void weir_kube_own_pump(struct kube *k) {
    if (k->state != KUBE_UP || k->disc == NULL || !k->dirty || k->own.http != NULL ||
        weir_timer_active(&k->own.again))
        return;
    k->dirty = false;
    k->sending = k->sent_any = true;
    apply(k, KUBE_CALL_MS, on_applied);
}

void weir_kube_own_deleted(struct kube *k, struct weir_span cr_name) {
    if (!k->sent_any || k->disc == NULL || weir_list_empty(&k->disc->owns) ||
        !weir_span_eqz(cr_name, k->target.cr_name))
        return;
    WEIR_LOG(WEIR_LOG_WARN, "kube", "the own object %s was deleted; it is written again%s",
             k->target.cr_name,
             k->n_deleted > 0 ? " (Kubernetes deletes what belongs to no pod that it has: is "
                                "POD_UID that of this pod?)"
                              : "");
    k->dirty = true;
    if (k->n_deleted++ > 0)
        weir_kube_pause(&k->own, weir_discovery_backoff_ms(k->n_deleted - 1, 1, KUBE_MAX_BACKOFF_MS,
                                                           weir_rng_unit(weir_loop_rng(k->loop))));
    weir_kube_own_pump(k);
}

enum weir_status weir_kube_publish(struct weir_discovery *disc, struct weir_discovery_own *own,
                                   struct weir_err *err) {
    struct kube *k = disc->backend;
    uint64_t id;
    if (k == NULL)
        return weir_err_set(err, WEIR_CANCELLED, "discovery is closed");
    enum weir_status st = disc->ops->instance_id(disc, &id, err);
    if (st == WEIR_OK && k->target.pod_uid == NULL)
        st =
            weir_err_set(err, WEIR_INVALID,
                         "--discovery-backend kubernetes: set POD_UID (the Downward API gives it): "
                         "what this process registers belongs to its pod");
    if (st != WEIR_OK)
        return st;
    WEIR_LIST_FOREACH(it, &disc->owns) {
        if (OWN(it)->kind == own->kind && strcmp(OWN(it)->key, own->key) == 0)
            return weir_err_set(err, WEIR_EXISTS, "the record %s is there already", own->key);
    }
    k->dirty = true;
    weir_timer_stop(&k->refresh);
    weir_loop_defer(disc->loop, &k->publish); /* it is in the list by then, with its siblings */
    return WEIR_OK;
}

void weir_kube_unpublish(struct weir_discovery *disc, struct weir_discovery_own *own) {
    struct kube *k = disc->backend;
    (void)own;
    if (k == NULL)
        return;
    k->dirty = true;
    weir_loop_defer(disc->loop, &k->publish);
}

bool weir_kube_leave(struct kube *k, kube_done_fn done) {
    if (k->client == NULL || !k->sent_any || k->n_leaves++ == MAX_LEAVES)
        return false;
    k->token_ms = 0; /* there is no second try with a newer one */
    apply(k, KUBE_LEAVE_MS, done);
    return k->own.http != NULL;
}
