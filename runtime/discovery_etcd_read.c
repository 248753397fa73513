/*
 * List and watch. Happy path: list all keys below v1/ page by page at one revision → what was not
 * among them is gone → watch from the revision behind it, for as long as the session lives.
 *
 * A new session lists anew: etcd may have lost data or have been replaced, and then a watch that
 * goes on from an old revision would be silent. The table tells watchers the differences only.
 * A store whose history does not go on from what was seen (another cluster, an older term, an older
 * revision) has lost its data: its workers are most likely alive and about to register again, so
 * what is missing is kept for the time of a lease, and then listed once more.
 */
#include "runtime/discovery_etcd_priv.h"

#include "base/log.h"

enum { KINDS = 4 };

static const struct weir_span root = {"v1/", 3}, root_end = {"v10", 3};

static void on_listed(struct etcd *e, enum weir_etcd_fault fault,
                      const struct weir_etcd_answer *answer);

/* Splits "v1/instances/rest". False: a bucket that Weir does not read. */
static bool split_key(struct weir_span key, enum weir_record_kind *ret_kind,
                      struct weir_span *ret_rest) {
    for (int k = 0; k < KINDS; k++) {
        struct weir_span bucket = weir_span_z(weir_record_bucket((enum weir_record_kind)k));
        if (key.len > bucket.len + 1 && weir_span_starts(key, bucket) &&
            key.data[bucket.len] == '/') {
            *ret_kind = (enum weir_record_kind)k;
            *ret_rest = weir_span(key.data + bucket.len + 1, key.len - bucket.len - 1);
            return true;
        }
    }
    return false;
}

static void take(struct etcd *e, const struct weir_etcd_kv *kv) {
    static struct weir_log_limit limit;
    enum weir_record_kind kind;
    struct weir_span rest;
    uint32_t dropped;
    if (!split_key(kv->key, &kind, &rest))
        return;
    if (kv->deleted)
        weir_discovery_delete(e->disc, kind, rest);
    else if (kv->value.data != NULL && kv->value.len <= WEIR_RECORD_MAX_BYTES)
        weir_discovery_put(e->disc, kind, rest, kv->value);
    else if (weir_log_limit_ok(&limit, 5, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "etcd", "record %.*s is left out: more than %d bytes",
                 WEIR_SPAN_ARG(kv->key), WEIR_RECORD_MAX_BYTES);
}

/* ---- watch -------------------------------------------------------------------------------- */

static void on_event(void *arg, const struct weir_etcd_answer *answer,
                     const struct weir_etcd_kv *kv) {
    struct etcd *e = arg;
    (void)answer;
    if (kv->mod_revision > e->seen.revision)
        e->seen.revision = kv->mod_revision;
    take(e, kv);
}

static void list_again(struct etcd *e) {
    weir_etcd_cancel(&e->read);
    e->need_list = true;
    weir_etcd_read_pump(e);
}

static void on_line(struct etcd *e, enum weir_etcd_fault fault,
                    const struct weir_etcd_answer *answer) {
    if (fault == WEIR_ETCD_COMPACTED || fault == WEIR_ETCD_FUTURE) {
        WEIR_LOG(WEIR_LOG_INFO, "etcd", "the watched revisions are gone: records are listed again");
        list_again(e);
    } else if (fault == WEIR_ETCD_TOKEN && e->user != NULL) {
        weir_etcd_cancel(&e->read);
        weir_etcd_failed(e, &e->read, fault, answer);
    } else {
        weir_etcd_failed(e, &e->read, fault, answer);
    }
}

static void start_watch(struct etcd *e) {
    weir_buf_clear(&e->request);
    e->read.stream = true;
    if (weir_etcd_encode_watch(root, root_end, e->list_revision + 1, &e->request) != WEIR_OK)
        weir_etcd_lost(e, false, "out of memory");
    else
        weir_etcd_call(e, &e->read, "watch the records", "/v3/watch", weir_etcd_call_ms(e),
                       on_event, on_line);
}

/* ---- list --------------------------------------------------------------------------------- */

static void on_listed_key(void *arg, const struct weir_etcd_answer *answer,
                          const struct weir_etcd_kv *kv) {
    struct etcd *e = arg;
    (void)answer;
    weir_buf_clear(&e->cursor);
    /* The first key behind this one. A key without memory for it ends the list below. */
    if (weir_buf_append_span(&e->cursor, kv->key) != WEIR_OK ||
        weir_buf_append_c(&e->cursor, '\0') != WEIR_OK)
        weir_buf_clear(&e->cursor);
    e->n_listed++;
    take(e, kv);
}

static void list_page(struct etcd *e, struct weir_span from) {
    weir_buf_clear(&e->request);
    e->read.stream = false;
    if (weir_etcd_encode_range(from, root_end, e->page, e->list_revision, false, &e->request) !=
        WEIR_OK)
        weir_etcd_lost(e, false, "out of memory");
    else
        weir_etcd_call(e, &e->read, "list the records", "/v3/kv/range", ETCD_LIST_MS, on_listed_key,
                       on_listed);
}

static void start_list(struct etcd *e) {
    e->list_revision = 0;
    e->n_listed = 0;
    weir_buf_clear(&e->cursor);
    weir_discovery_scan_begin(e->disc);
    list_page(e, root);
}

/* Whether the store goes on from what was seen of it. */
static bool lost_data(const struct etcd_seen *seen, const struct weir_etcd_answer *a,
                      int64_t revision) {
    return seen->cluster_id != 0 && (a->cluster_id != seen->cluster_id ||
                                     a->raft_term < seen->raft_term || revision < seen->revision);
}

static void finish_list(struct etcd *e, const struct weir_etcd_answer *answer) {
    uint64_t now = weir_loop_now_ms(e->loop);
    if (lost_data(&e->seen, answer, e->list_revision)) {
        WEIR_LOG(WEIR_LOG_WARN, "etcd",
                 "etcd has lost its data or is another one: records that it does not name are kept "
                 "for %llu s, in which their owners can register again",
                 (unsigned long long)(e->ttl_ms / 1000));
        e->doubt_until_ms = now + e->ttl_ms;
        if (weir_timer_start(&e->doubt, e->ttl_ms) != WEIR_OK)
            e->doubt_until_ms = now;
    }
    weir_metric_inc(e->figures[ETCD_LISTS]);
    e->seen = (struct etcd_seen){answer->cluster_id, answer->raft_term, e->list_revision};
    e->need_list = false;
    if (now >= e->doubt_until_ms)
        for (int k = 0; k < KINDS; k++)
            weir_discovery_scan_end(e->disc, (enum weir_record_kind)k);
    WEIR_LOG(WEIR_LOG_DEBUG, "etcd", "%zu records at revision %lld", e->n_listed,
             (long long)e->list_revision);
    weir_etcd_read_pump(e);
}

static void on_listed(struct etcd *e, enum weir_etcd_fault fault,
                      const struct weir_etcd_answer *answer) {
    if (fault == WEIR_ETCD_COMPACTED || fault == WEIR_ETCD_FUTURE) {
        weir_etcd_read_pump(e); /* between two pages: from the start */
        return;
    }
    if (weir_etcd_failed(e, &e->read, fault, answer))
        return;
    weir_etcd_prove(e, false);
    if (e->list_revision == 0)
        e->list_revision = answer->revision;
    if (!answer->more)
        finish_list(e, answer);
    else if (e->cursor.len == 0)
        weir_etcd_lost(e, false, "cannot list the records: a page has no key to go on from");
    else
        list_page(e, weir_buf_span(&e->cursor));
}

/* ---- both --------------------------------------------------------------------------------- */

void weir_etcd_read_reset(struct etcd *e) {
    e->need_list = true;
}

void weir_etcd_read_pump(struct etcd *e) {
    if (e->state != ETCD_UP || e->read.http != NULL || e->disc == NULL || e->disc->n_watches == 0)
        return;
    if (e->need_list)
        start_list(e);
    else
        start_watch(e);
}
