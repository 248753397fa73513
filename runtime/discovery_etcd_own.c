/*
 * The lease and the records that hang on it. Happy path: something is published → a lease is
 * granted → records are written, up to ETCD_BATCH in one transaction, in the order of publishing →
 * every third of its time the lease is kept alive, and etcd asked for its keys: what somebody
 * deleted is written again.
 *
 * Failure modes: a lease that did not survive is replaced, and all records are written under the
 * new one. A key that is there already is ours when its value is ours (written under an earlier
 * lease): it is taken over. Otherwise it is another's: logged, and tried again with each
 * keep-alive. A process without records asks a small question instead, to see that etcd lives.
 */
#include "runtime/discovery_etcd_priv.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>

enum own_state {
    OWN_NEW,   /* to be written */
    OWN_ADOPT, /* to be written over our own text, last changed at `seen` */
    OWN_THERE,
    OWN_ASKED, /* there; the answer that is awaited must name it */
    OWN_TAKEN, /* another's; tried again with the next keep-alive */
};

enum { MAX_CONFLICTS = 4, PROBE_MS = 5000, MIN_BEAT_MS = 200, MAX_KEY = 4096 };

struct removal {
    struct weir_list node;
    char key[]; /* whole, with its bucket */
};

#define OWN(n) WEIR_CONTAINER_OF(n, struct weir_discovery_own, node)

static void on_beat_timer(void *arg);
static void on_publish(void *arg);

void weir_etcd_own_init(struct etcd *e) {
    weir_list_init(&e->removals);
    weir_map_init(&e->found, 1 << 20);
    weir_timer_init(&e->beat_timer, e->loop, on_beat_timer, e);
    weir_deferred_init(&e->publish, on_publish, e);
}

void weir_etcd_own_reset(struct etcd *e) {
    e->lease_checked = false;
    e->n_batch = 0;
}

static void drop_removals(struct etcd *e) {
    WEIR_LIST_FOREACH(it, &e->removals) {
        struct removal *r = WEIR_CONTAINER_OF(it, struct removal, node);
        weir_list_remove(&r->node);
        weir_free(r);
    }
}

void weir_etcd_own_fini(struct etcd *e) {
    weir_timer_stop(&e->beat_timer);
    weir_deferred_cancel(&e->publish);
    drop_removals(e);
    weir_map_fini(&e->found);
}

static enum weir_status put_key(const struct weir_discovery_own *own, struct weir_buf *out) {
    return weir_buf_printf(out, "%s/%s", weir_record_bucket(own->kind), own->key);
}

/* ---- the lease ---------------------------------------------------------------------------- */

static void schedule_beat(struct etcd *e) {
    uint64_t ms = e->lease != 0              ? e->ttl_ms / 3
                  : PROBE_MS < e->ttl_ms / 3 ? PROBE_MS
                                             : e->ttl_ms / 3;
    if (weir_timer_start(&e->beat_timer, ms > MIN_BEAT_MS ? ms : MIN_BEAT_MS) != WEIR_OK)
        weir_etcd_lost(e, false, "out of memory");
}

static void on_beat_timer(void *arg) {
    weir_etcd_beat_pump(arg);
}

static void ask(struct etcd *e, enum weir_status encoded, const char *what, const char *target,
                weir_etcd_kv_fn kv, etcd_done_fn done) {
    if (encoded != WEIR_OK)
        weir_etcd_lost(e, false, "out of memory");
    else
        weir_etcd_call(e, &e->beat, what, target, weir_etcd_call_ms(e), kv, done);
}

static void lease_lost(struct etcd *e) {
    WEIR_LOG(WEIR_LOG_WARN, "etcd",
             "the lease %" PRIx64 " has expired; records are registered again under a new one",
             (uint64_t)e->lease);
    weir_metric_inc(e->figures[ETCD_LEASES_LOST]);
    e->lease = 0;
    e->lease_checked = false;
    drop_removals(e); /* gone with it */
    weir_etcd_cancel(&e->write);
    WEIR_LIST_FOREACH(it, &e->disc->owns) {
        OWN(it)->state = OWN_NEW;
        OWN(it)->seen = 0;
    }
    weir_etcd_beat_pump(e);
}

static void on_granted(struct etcd *e, enum weir_etcd_fault fault,
                       const struct weir_etcd_answer *answer) {
    if (weir_etcd_failed(e, &e->beat, fault, answer))
        return;
    if (answer->lease == 0 || answer->ttl_s <= 0 || answer->ttl_s > 1 << 24) {
        weir_etcd_lost(e, false, "it granted a lease without id or time");
        return;
    }
    weir_metric_inc(e->figures[ETCD_LEASES]);
    e->lease = answer->lease;
    e->ttl_ms = (uint64_t)answer->ttl_s * 1000;
    e->lease_checked = true;
    e->told_all = false;
    schedule_beat(e);
    weir_etcd_write_pump(e);
}

static void on_key(void *arg, const struct weir_etcd_answer *answer,
                   const struct weir_etcd_kv *kv) {
    struct etcd *e = arg;
    (void)answer;
    if (weir_map_put(&e->found, weir_hash_span(kv->key), 1) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_DEBUG, "etcd", "no room for the keys of the lease");
}

static void check_own(struct etcd *e, struct weir_discovery_own *own) {
    struct weir_buf key;
    uint64_t one;
    if (own->state == OWN_TAKEN)
        own->state = OWN_NEW;
    if (own->state != OWN_ASKED)
        return;
    own->state = OWN_THERE;
    weir_buf_init(&key, MAX_KEY);
    if (put_key(own, &key) == WEIR_OK &&
        !weir_map_get(&e->found, weir_hash_span(weir_buf_span(&key)), &one)) {
        WEIR_LOG(WEIR_LOG_WARN, "etcd", "own record %s was removed; it is written again", own->key);
        weir_metric_inc(e->figures[ETCD_REWRITTEN]);
        own->state = OWN_NEW;
        own->seen = 0;
        e->told_all = false;
    }
    weir_buf_fini(&key);
}

static void on_keys(struct etcd *e, enum weir_etcd_fault fault,
                    const struct weir_etcd_answer *answer) {
    if (weir_etcd_failed(e, &e->beat, fault, answer))
        return;
    if (answer->ttl_s <= 0) {
        lease_lost(e);
        return;
    }
    WEIR_LIST_FOREACH(it, &e->disc->owns) {
        check_own(e, OWN(it));
    }
    e->n_conflicts = 0;
    schedule_beat(e);
    weir_etcd_write_pump(e);
}

static void on_kept(struct etcd *e, enum weir_etcd_fault fault,
                    const struct weir_etcd_answer *answer) {
    if (weir_etcd_failed(e, &e->beat, fault, answer))
        return;
    if (answer->ttl_s <= 0) {
        lease_lost(e);
        return;
    }
    if (e->ever_proved) /* a lease alone shows nothing about rights */
        weir_etcd_prove(e, true);
    e->lease_checked = true;
    WEIR_LIST_FOREACH(it, &e->disc->owns) {
        if (OWN(it)->state == OWN_THERE)
            OWN(it)->state = OWN_ASKED;
    }
    weir_map_fini(&e->found);
    weir_map_init(&e->found, 1 << 20);
    weir_buf_clear(&e->request);
    ask(e, weir_etcd_encode_lease(e->lease, 0, true, &e->request), "read the lease",
        "/v3/lease/timetolive", on_key, on_keys);
}

static void on_probed(struct etcd *e, enum weir_etcd_fault fault,
                      const struct weir_etcd_answer *answer) {
    if (weir_etcd_failed(e, &e->beat, fault, answer))
        return;
    weir_etcd_prove(e, true);
    schedule_beat(e);
    weir_etcd_beat_pump(e); /* what was published meanwhile waits for no beat */
}

void weir_etcd_beat_pump(struct etcd *e) {
    if (e->state != ETCD_UP || e->beat.http != NULL || e->disc == NULL)
        return;
    if (weir_timer_active(&e->beat_timer) && (e->lease != 0 || weir_list_empty(&e->disc->owns)))
        return;
    weir_timer_stop(&e->beat_timer);
    weir_buf_clear(&e->request);
    if (e->lease != 0)
        ask(e, weir_etcd_encode_lease(e->lease, 0, false, &e->request), "keep the lease alive",
            "/v3/lease/keepalive", NULL, on_kept);
    else if (!weir_list_empty(&e->disc->owns))
        ask(e, weir_etcd_encode_lease(0, (int64_t)((e->ttl_ms + 999) / 1000), false, &e->request),
            "get a lease", "/v3/lease/grant", NULL, on_granted);
    else
        ask(e,
            weir_etcd_encode_range(WEIR_SPAN_LIT("v1/"), WEIR_SPAN_LIT("v10"), 1, 0, true,
                                   &e->request),
            "read the records", "/v3/kv/range", NULL, on_probed);
}

bool weir_etcd_revoke(struct etcd *e, etcd_done_fn done) {
    if (e->state != ETCD_UP || !e->proved || e->lease == 0)
        return false;
    weir_etcd_cancel(&e->beat);
    weir_buf_clear(&e->request);
    if (weir_etcd_encode_lease(e->lease, 0, false, &e->request) != WEIR_OK)
        return false;
    weir_etcd_call(e, &e->beat, "revoke the lease", "/v3/lease/revoke", ETCD_LEAVE_MS, NULL, done);
    return e->beat.http != NULL;
}

/* ---- records ------------------------------------------------------------------------------ */

static void on_removed(struct etcd *e, enum weir_etcd_fault fault,
                       const struct weir_etcd_answer *answer) {
    if (weir_etcd_failed(e, &e->write, fault, answer))
        return;
    if (!weir_list_empty(&e->removals)) {
        struct removal *r = WEIR_CONTAINER_OF(e->removals.next, struct removal, node);
        weir_list_remove(&r->node);
        weir_free(r);
    }
    weir_etcd_write_pump(e);
}

/* The transaction found a key: `op` tells which of the batch. */
static void on_conflict(void *arg, const struct weir_etcd_answer *answer,
                        const struct weir_etcd_kv *kv) {
    struct etcd *e = arg;
    struct weir_discovery_own *own = kv->op < e->n_batch ? e->batch[kv->op] : NULL;
    if (answer->succeeded || own == NULL)
        return;
    if (!weir_span_eq(kv->value, weir_span_z(own->json))) {
        own->state = OWN_TAKEN;
        WEIR_LOG(WEIR_LOG_WARN, "etcd",
                 "the record %s is there already, and is another process's; tried again later",
                 own->key);
    } else if (kv->lease == e->lease) {
        own->state = OWN_THERE; /* written, and the answer was lost */
    } else {
        own->state = OWN_ADOPT;
        own->seen = kv->mod_revision;
    }
}

static void on_written(struct etcd *e, enum weir_etcd_fault fault,
                       const struct weir_etcd_answer *answer) {
    if (fault == WEIR_ETCD_LEASE_GONE) {
        lease_lost(e);
        return;
    }
    if (weir_etcd_failed(e, &e->write, fault, answer))
        return;
    weir_etcd_prove(e, false);
    for (size_t i = 0; i < e->n_batch && answer->succeeded; i++)
        if (e->batch[i] != NULL)
            e->batch[i]->state = OWN_THERE;
    e->n_batch = 0;
    e->n_conflicts = answer->succeeded ? 0 : e->n_conflicts + 1;
    weir_etcd_write_pump(e);
}

static void write_batch(struct etcd *e) {
    struct weir_etcd_put puts[ETCD_BATCH];
    struct weir_buf keys[ETCD_BATCH];
    size_t n = 0, bytes = 0;
    enum weir_status st = WEIR_OK;
    WEIR_LIST_FOREACH(it, &e->disc->owns) {
        struct weir_discovery_own *own = OWN(it);
        size_t len = strlen(own->json);
        if (own->state != OWN_NEW && own->state != OWN_ADOPT)
            continue;
        if (st != WEIR_OK || n == ETCD_BATCH || (n > 0 && bytes + len > ETCD_BATCH_BYTES))
            break;
        weir_buf_init(&keys[n], MAX_KEY);
        st = put_key(own, &keys[n]);
        puts[n] = (struct weir_etcd_put){weir_buf_span(&keys[n]), weir_span(own->json, len),
                                         own->state == OWN_ADOPT ? own->seen : 0};
        /* Should it be gone by the time, it is written as a new one in the next attempt. */
        own->state = OWN_NEW;
        e->batch[n++] = own;
        bytes += len;
    }
    e->n_batch = n;
    weir_buf_clear(&e->request);
    if (st == WEIR_OK && n > 0)
        st = weir_etcd_encode_puts(puts, n, e->lease, &e->request);
    for (size_t i = 0; i < n; i++)
        weir_buf_fini(&keys[i]);
    if (st != WEIR_OK)
        weir_etcd_lost(e, false, "out of memory");
    else if (n > 0)
        weir_etcd_call(e, &e->write, "write records", "/v3/kv/txn", weir_etcd_call_ms(e),
                       on_conflict, on_written);
}

static void tell_all(struct etcd *e) {
    size_t n = 0;
    if (e->told_all)
        return;
    WEIR_LIST_FOREACH(it, &e->disc->owns) {
        if (OWN(it)->state != OWN_THERE && OWN(it)->state != OWN_ASKED)
            return;
        n++;
    }
    e->told_all = n > 0;
    if (n > 0)
        WEIR_LOG(WEIR_LOG_INFO, "etcd", "%zu records are registered under the lease %" PRIx64, n,
                 (uint64_t)e->lease);
}

void weir_etcd_write_pump(struct etcd *e) {
    if (e->state != ETCD_UP || e->write.http != NULL || e->disc == NULL || e->lease == 0 ||
        !e->lease_checked)
        return;
    if (!weir_list_empty(&e->removals)) {
        struct removal *r = WEIR_CONTAINER_OF(e->removals.next, struct removal, node);
        weir_buf_clear(&e->request);
        if (weir_etcd_encode_delete(weir_span_z(r->key), e->lease, &e->request) != WEIR_OK)
            weir_etcd_lost(e, false, "out of memory");
        else
            weir_etcd_call(e, &e->write, "remove a record", "/v3/kv/txn", weir_etcd_call_ms(e),
                           NULL, on_removed);
        return;
    }
    if (e->n_conflicts < MAX_CONFLICTS)
        write_batch(e);
    if (e->state == ETCD_UP && e->write.http == NULL)
        tell_all(e);
}

static void on_publish(void *arg) {
    struct etcd *e = arg;
    weir_etcd_beat_pump(e);
    weir_etcd_write_pump(e);
}

enum weir_status weir_etcd_publish(struct weir_discovery *disc, struct weir_discovery_own *own,
                                   struct weir_err *err) {
    struct etcd *e = disc->backend;
    if (e == NULL)
        return weir_err_set(err, WEIR_CANCELLED, "discovery is closed");
    if (strlen(own->key) + 32 > MAX_KEY)
        return weir_err_set(err, WEIR_TOO_LARGE, "the key of the record is too long");
    own->state = OWN_NEW;
    e->told_all = false;
    weir_loop_defer(disc->loop, &e->publish); /* it is in the list by then, with its siblings */
    return WEIR_OK;
}

void weir_etcd_unpublish(struct weir_discovery *disc, struct weir_discovery_own *own) {
    struct etcd *e = disc->backend;
    if (e == NULL)
        return;
    bool in_flight = false;
    for (size_t i = 0; i < e->n_batch; i++)
        if (e->batch[i] == own) {
            e->batch[i] = NULL;
            in_flight = true;
        }
    if (!in_flight && (own->state == OWN_NEW || own->state == OWN_TAKEN) && own->seen == 0 &&
        e->lease == 0)
        return; /* never written */
    size_t bytes = strlen(own->key) + 64;
    struct removal *r = weir_malloc(sizeof(*r) + bytes);
    if (r == NULL)
        return; /* it goes with the lease */
    struct weir_buf key = {.data = r->key, .cap = bytes, .max = bytes};
    if (put_key(own, &key) != WEIR_OK || weir_buf_append_c(&key, '\0') != WEIR_OK) {
        weir_free(r);
        return;
    }
    weir_list_init(&r->node);
    weir_list_push_back(&e->removals, &r->node);
    weir_loop_defer(disc->loop, &e->publish);
}
