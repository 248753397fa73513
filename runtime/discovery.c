/*
 * Happy path: open a backend → it puts what it finds → watches are told, first all that is known
 * (from a later turn), then each change. publish writes an own record, which the backend keeps
 * alive. Failure modes: an unreadable record is refused alone; the table is bounded. Closing: the
 * owner; own records are removed, no callback follows.
 */
#include "runtime/discovery.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "runtime/discovery_priv.h"

#include <string.h>

enum { FIRST_PAUSE_MS = 100, NEXT_ADDRESS_MS = 20 };

static void on_prime(void *arg);

enum weir_status weir_discovery_open(struct weir_loop *loop,
                                     const struct weir_discovery_config *config,
                                     struct weir_discovery **ret_disc, struct weir_err *err) {
    struct weir_discovery *d = weir_calloc(1, sizeof(*d));
    if (d == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    d->loop = loop;
    d->max_entries = config->max_records > 0 ? config->max_records : 65536;
    weir_list_init(&d->entries);
    weir_list_init(&d->owns);
    weir_map_init(&d->by_key, d->max_entries);
    weir_timer_init(&d->prime, loop, on_prime, d);
    enum weir_status st;
    if (config->backend == WEIR_DISCOVERY_FILE)
        st = weir_discovery_file_open(d, config, err);
    else if (config->backend == WEIR_DISCOVERY_STATIC)
        st = weir_discovery_static_open(d, config, err);
    else if (config->backend == WEIR_DISCOVERY_ETCD)
        st = weir_discovery_etcd_open(d, config, err);
    else if (config->backend == WEIR_DISCOVERY_KUBE)
        st = weir_discovery_kube_open(d, config, err);
    else
        st = weir_discovery_mem_open(d);
    if (st != WEIR_OK) {
        weir_discovery_close(d);
        return st;
    }
    *ret_disc = d;
    return WEIR_OK;
}

enum weir_status weir_discovery_instance_id(const struct weir_discovery *disc, uint64_t *ret_id,
                                            struct weir_err *err) {
    if (disc->ops->instance_id != NULL)
        return disc->ops->instance_id(disc, ret_id, err);
    *ret_id = 0;
    return WEIR_OK;
}

/* ---- the table ---------------------------------------------------------------------------- */

static uint64_t hash_of(enum weir_record_kind kind, struct weir_span key) {
    return weir_hash_bytes(weir_hash_word(WEIR_HASH_BEGIN, (uint64_t)kind), key.data, key.len);
}

static struct weir_discovery_entry *find(struct weir_discovery *d, enum weir_record_kind kind,
                                         struct weir_span key) {
    uint64_t value = 0;
    if (weir_map_get(&d->by_key, hash_of(kind, key), &value)) {
        struct weir_discovery_entry *e = (struct weir_discovery_entry *)(uintptr_t)value;
        if (e->kind == kind && weir_span_eq(e->key, key))
            return e;
    }
    if (d->n_unindexed == 0)
        return NULL;
    WEIR_LIST_FOREACH(it, &d->entries) {
        struct weir_discovery_entry *e = WEIR_CONTAINER_OF(it, struct weir_discovery_entry, node);
        if (e->kind == kind && weir_span_eq(e->key, key))
            return e;
    }
    return NULL;
}

static void tell(struct weir_discovery *d, enum weir_discovery_change change,
                 const struct weir_discovery_entry *e) {
    for (size_t i = 0; i < d->n_watches; i++)
        if (d->watches[i].primed)
            d->watches[i].fn(d->watches[i].arg, change, e->kind, e->key,
                             change == WEIR_DISCOVERY_PUT ? &e->record : NULL);
}

static void add_entry(struct weir_discovery *d, struct weir_discovery_entry *e) {
    uint64_t hash = hash_of(e->kind, e->key), other;
    /* Without memory for the index the record is found by walking. */
    e->indexed = !weir_map_get(&d->by_key, hash, &other) &&
                 weir_map_put(&d->by_key, hash, (uint64_t)(uintptr_t)e) == WEIR_OK;
    d->n_unindexed += !e->indexed;
    e->mark = d->scan;
    weir_list_push_back(&d->entries, &e->node);
    d->n_entries++;
}

static void free_entry(struct weir_discovery *d, struct weir_discovery_entry *e) {
    weir_list_remove(&e->node);
    d->n_entries--;
    if (e->indexed)
        weir_map_remove(&d->by_key, hash_of(e->kind, e->key));
    else
        d->n_unindexed--;
    weir_arena_fini(&e->arena);
    weir_free(e);
}

static struct weir_discovery_entry *make_entry(enum weir_record_kind kind, struct weir_span key,
                                               struct weir_span json, struct weir_err *err) {
    struct weir_discovery_entry *e = weir_calloc(1, sizeof(*e));
    if (e == NULL) {
        weir_err_set(err, WEIR_NOMEM, "out of memory");
        return NULL;
    }
    weir_arena_init(&e->arena, 4 * WEIR_RECORD_MAX_BYTES);
    weir_list_init(&e->node);
    e->kind = kind;
    e->key = weir_arena_copy(&e->arena, key);
    e->json = weir_arena_copy(&e->arena, json);
    enum weir_status st = e->key.data == NULL || e->json.data == NULL
                              ? weir_err_set(err, WEIR_NOMEM, "out of memory")
                              : weir_record_decode(e->json, &e->arena, &e->record, err);
    if (st == WEIR_OK && e->record.kind != kind)
        st = weir_err_set(err, WEIR_INVALID, "its type does not belong into this bucket");
    if (st != WEIR_OK) {
        weir_arena_fini(&e->arena);
        weir_free(e);
        return NULL;
    }
    return e;
}

void weir_discovery_put(struct weir_discovery *d, enum weir_record_kind kind, struct weir_span key,
                        struct weir_span json) {
    static struct weir_log_limit limit;
    uint32_t dropped;
    struct weir_discovery_entry *old = find(d, kind, key);
    if (old != NULL && weir_span_eq(old->json, json)) {
        old->mark = d->scan;
        return;
    }
    struct weir_err err;
    struct weir_discovery_entry *e =
        old == NULL && d->n_entries >= d->max_entries ? NULL : make_entry(kind, key, json, &err);
    if (e == NULL) {
        if (old != NULL)
            old->mark = d->scan; /* what it said before stays, also when all are looked at */
        if (old == NULL && d->n_entries >= d->max_entries)
            weir_err_set(&err, WEIR_LIMIT, "more than %u records", d->max_entries);
        if (weir_log_limit_ok(&limit, 5, &dropped))
            WEIR_LOG(WEIR_LOG_WARN, "discovery", "record %s/%.*s is left out: %s",
                     weir_record_bucket(kind), WEIR_SPAN_ARG(key), err.text);
        return;
    }
    if (old != NULL)
        free_entry(d, old);
    add_entry(d, e);
    tell(d, WEIR_DISCOVERY_PUT, e);
}

static void drop_entry(struct weir_discovery *d, struct weir_discovery_entry *e) {
    tell(d, WEIR_DISCOVERY_DELETE, e);
    free_entry(d, e);
}

void weir_discovery_delete(struct weir_discovery *d, enum weir_record_kind kind,
                           struct weir_span key) {
    struct weir_discovery_entry *e = find(d, kind, key);
    if (e != NULL)
        drop_entry(d, e);
}

void weir_discovery_scan_begin(struct weir_discovery *d) {
    d->scan++;
}

void weir_discovery_scan_keep(struct weir_discovery *d, enum weir_record_kind kind,
                              struct weir_span key) {
    struct weir_discovery_entry *e = find(d, kind, key);
    if (e != NULL)
        e->mark = d->scan;
}

void weir_discovery_scan_end(struct weir_discovery *d, enum weir_record_kind kind) {
    WEIR_LIST_FOREACH(it, &d->entries) {
        struct weir_discovery_entry *e = WEIR_CONTAINER_OF(it, struct weir_discovery_entry, node);
        if (e->kind == kind && e->mark != d->scan)
            drop_entry(d, e);
    }
}

/* ---- watches ------------------------------------------------------------------------------ */

static void on_prime(void *arg) {
    struct weir_discovery *d = arg;
    for (size_t i = 0; i < d->n_watches; i++) {
        if (d->watches[i].primed)
            continue;
        d->watches[i].primed = true;
        WEIR_LIST_FOREACH(it, &d->entries) {
            struct weir_discovery_entry *e =
                WEIR_CONTAINER_OF(it, struct weir_discovery_entry, node);
            d->watches[i].fn(d->watches[i].arg, WEIR_DISCOVERY_PUT, e->kind, e->key, &e->record);
        }
    }
}

enum weir_status weir_discovery_watch(struct weir_discovery *disc, weir_discovery_fn fn,
                                      void *arg) {
    if (disc->n_watches == WEIR_DISCOVERY_MAX_WATCHES)
        return WEIR_LIMIT;
    enum weir_status st = weir_timer_start(&disc->prime, 0);
    if (st != WEIR_OK)
        return st;
    disc->watches[disc->n_watches].fn = fn;
    disc->watches[disc->n_watches].arg = arg;
    disc->watches[disc->n_watches++].primed = false;
    if (disc->ops->watching != NULL)
        disc->ops->watching(disc);
    return WEIR_OK;
}

/* ---- own records -------------------------------------------------------------------------- */

static void free_own(struct weir_discovery_own *own) {
    weir_list_remove(&own->node);
    weir_free(own->key);
    weir_free(own->json);
    weir_free(own);
}

static char *encoded(enum weir_status (*encode)(const struct weir_record *, struct weir_buf *),
                     const struct weir_record *record) {
    struct weir_buf text;
    weir_buf_init(&text, WEIR_RECORD_MAX_BYTES);
    char *copy = NULL;
    if (encode(record, &text) == WEIR_OK)
        copy = weir_strndup(text.data, text.len);
    weir_buf_fini(&text);
    return copy;
}

enum weir_status weir_discovery_publish(struct weir_discovery *disc,
                                        const struct weir_record *record, struct weir_err *err) {
    struct weir_discovery_own *own = weir_calloc(1, sizeof(*own));
    if (own == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    weir_list_init(&own->node);
    own->kind = record->kind;
    own->key = encoded(weir_record_key, record);
    own->json = encoded(weir_record_encode, record);
    enum weir_status st = own->key == NULL || own->json == NULL
                              ? weir_err_set(err, WEIR_NOMEM, "the record does not fit its memory")
                              : disc->ops->publish(disc, own, err);
    if (st != WEIR_OK) {
        free_own(own);
        return st;
    }
    weir_list_push_back(&disc->owns, &own->node);
    return WEIR_OK;
}

void weir_discovery_unpublish(struct weir_discovery *disc, const struct weir_record *record) {
    char *key = encoded(weir_record_key, record);
    WEIR_LIST_FOREACH(it, &disc->owns) {
        struct weir_discovery_own *own = WEIR_CONTAINER_OF(it, struct weir_discovery_own, node);
        if (key != NULL && own->kind == record->kind && strcmp(own->key, key) == 0) {
            disc->ops->unpublish(disc, own);
            free_own(own);
        }
    }
    weir_free(key);
}

void weir_discovery_close(struct weir_discovery *disc) {
    if (disc == NULL)
        return;
    disc->n_watches = 0;
    weir_timer_stop(&disc->prime);
    WEIR_LIST_FOREACH(it, &disc->owns) {
        struct weir_discovery_own *own = WEIR_CONTAINER_OF(it, struct weir_discovery_own, node);
        if (disc->backend != NULL || disc->ops != NULL)
            disc->ops->unpublish(disc, own);
        free_own(own);
    }
    if (disc->ops != NULL)
        disc->ops->close(disc);
    WEIR_LIST_FOREACH(it, &disc->entries) {
        free_entry(disc, WEIR_CONTAINER_OF(it, struct weir_discovery_entry, node));
    }
    weir_map_fini(&disc->by_key);
    weir_free(disc);
}

uint64_t weir_discovery_backoff_ms(unsigned failures, unsigned addresses, uint64_t max_ms,
                                   double unit) {
    if (failures < addresses)
        return (uint64_t)(NEXT_ADDRESS_MS * unit);
    unsigned round = failures - addresses;
    uint64_t ms = round < 16 ? (uint64_t)FIRST_PAUSE_MS << round : max_ms;
    if (ms > max_ms)
        ms = max_ms;
    return ms - (uint64_t)((double)ms / 2 * unit);
}

/* ---- mem ---------------------------------------------------------------------------------- */

static enum weir_status mem_publish(struct weir_discovery *disc, struct weir_discovery_own *own,
                                    struct weir_err *err) {
    if (find(disc, own->kind, weir_span_z(own->key)) != NULL)
        return weir_err_set(err, WEIR_EXISTS, "the record %s is there already", own->key);
    weir_discovery_put(disc, own->kind, weir_span_z(own->key), weir_span_z(own->json));
    return WEIR_OK;
}

static void mem_unpublish(struct weir_discovery *disc, struct weir_discovery_own *own) {
    weir_discovery_delete(disc, own->kind, weir_span_z(own->key));
}

static void mem_close(struct weir_discovery *disc) {
    (void)disc;
}

enum weir_status weir_discovery_mem_open(struct weir_discovery *disc) {
    static const struct weir_discovery_backend_ops ops = {mem_publish, mem_unpublish, mem_close,
                                                          NULL, NULL};
    disc->ops = &ops;
    return WEIR_OK;
}
