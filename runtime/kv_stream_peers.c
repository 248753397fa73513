/*
 * The other routers at a stream, Weir's and the reference system's (until 1.2). Each has a record
 * in discovery beside its workers' endpoint, "router-discovery", with the number that is the name
 * of its consumer. Who begins looks for consumers without a record, and who sees a record go
 * deletes its consumer: so one that died holds no purge up, and one that lives is left alone.
 *
 * Happy path: a stream is there → our record → our consumer → which others are there? → a second
 * later (records of routers that begin together may still be on their way): those that are named
 * like a router's and have no record are deleted. Later: a record goes → its consumer is deleted,
 * by whoever is first.
 *
 * Failure modes: a discovery that takes no record or does not show ours: no consumer is deleted,
 * the server forgets them by itself. One that was deleted all the same: its owner makes it anew at
 * its place (kv_stream.c).
 */
#include "base/log.h"
#include "base/mem.h"
#include "runtime/kv_stream_priv.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAX_ROUTERS = 4096, GRACE_MS = 1000 };

static const char endpoint_name[] = "router-discovery";

struct router {
    struct weir_list node;
    uint64_t id;
    char *ns, *component; /* owned */
};

#define ROUTER(n) WEIR_CONTAINER_OF(n, struct router, node)

static void free_router(struct weir_kv_streams *k, struct router *r) {
    weir_list_remove(&r->node);
    k->n_routers--;
    weir_free(r->ns);
    weir_free(r->component);
    weir_free(r);
}

static struct router *find(struct weir_kv_streams *k, struct weir_span ns,
                           struct weir_span component, uint64_t id) {
    WEIR_LIST_FOREACH(it, &k->routers) {
        struct router *r = ROUTER(it);
        if (r->id == id && weir_span_eqz(ns, r->ns) && weir_span_eqz(component, r->component))
            return r;
    }
    return NULL;
}

static bool is_there(struct weir_kv_stream *s, uint64_t id) {
    return find(s->all, weir_span_z(s->ns), weir_span_z(s->component), id) != NULL;
}

/* Without memory for it nothing is deleted any more: it would be one that lives. */
static void came(struct weir_kv_streams *k, struct weir_span ns, struct weir_span component,
                 uint64_t id) {
    if (find(k, ns, component, id) != NULL)
        return;
    struct router *r = k->n_routers < MAX_ROUTERS ? weir_calloc(1, sizeof(*r)) : NULL;
    if (r == NULL) {
        k->blind = true;
        return;
    }
    weir_list_push_back(&k->routers, &r->node);
    k->n_routers++;
    r->id = id;
    r->ns = weir_strndup(ns.data, ns.len);
    r->component = weir_strndup(component.data, component.len);
    if (r->ns == NULL || r->component == NULL) {
        free_router(k, r);
        k->blind = true;
    }
}

static void delete_consumer(struct weir_kv_stream *s, uint64_t id) {
    char subject[WEIR_KVS_SUBJECT];
    snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.DELETE.%s.%" PRIu64, s->name, id);
    if (weir_js_tell(s->all->js, subject, weir_span(NULL, 0)) != WEIR_OK)
        return;
    s->all->stats.orphans++;
    WEIR_LOG(WEIR_LOG_INFO, "events",
             "stream %s: the router of consumer %" PRIu64 " is gone: it is deleted", s->name, id);
}

void weir_kv_peers_change(struct weir_kv_streams *k, enum weir_discovery_change change,
                          struct weir_span ns, struct weir_span component, uint64_t id) {
    if (change == WEIR_DISCOVERY_PUT) {
        came(k, ns, component, id);
        return;
    }
    struct router *r = find(k, ns, component, id);
    struct weir_kv_stream *s = weir_kv_stream_find(k, ns, component);
    if (r != NULL)
        free_router(k, r);
    if (r != NULL && s != NULL && id != k->id)
        delete_consumer(s, id);
}

bool weir_kv_peers_is_router(struct weir_span endpoint) {
    return weir_span_eqz(endpoint, endpoint_name);
}

/* ---- our record --------------------------------------------------------------------------- */

static void announce(struct weir_kv_streams *k, struct weir_kv_stream *s) {
    struct weir_record r = {.kind = WEIR_RECORD_ENDPOINT,
                            .endpoint = {.ns = weir_span_z(s->ns),
                                         .component = weir_span_z(s->component),
                                         .name = weir_span_z(endpoint_name)},
                            .instance_id = k->id};
    struct weir_err err = {.text = ""};
    struct weir_buf subject;
    weir_buf_init(&subject, 4096);
    /* Nobody asks there: a record says where it is, and NATS is what we surely have. */
    enum weir_status st = weir_request_subject(&r.endpoint, k->id, &subject);
    r.nats_subject = weir_buf_span(&subject);
    if (st == WEIR_OK)
        st = weir_discovery_publish(k->disc, &r, &err);
    weir_buf_fini(&subject);
    if (st != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "stream %s: other routers do not know of this one and may delete its consumer, "
                 "which is then made anew: %s",
                 s->name, err.text[0] != '\0' ? err.text : weir_status_text(st));
}

/* Not from the callback of discovery that has shown the component. */
static void on_announce(void *arg) {
    struct weir_kv_streams *k = arg;
    WEIR_LIST_FOREACH(it, &k->streams) {
        struct weir_kv_stream *s = WEIR_CONTAINER_OF(it, struct weir_kv_stream, node);
        if (!s->announced)
            announce(k, s);
        s->announced = true;
    }
}

void weir_kv_peers_announce(struct weir_kv_streams *k) {
    weir_loop_defer(k->loop, &k->announce);
}

void weir_kv_peers_init(struct weir_kv_streams *k) {
    weir_list_init(&k->routers);
    weir_deferred_init(&k->announce, on_announce, k);
}

void weir_kv_peers_fini(struct weir_kv_streams *k) {
    weir_deferred_cancel(&k->announce);
    WEIR_LIST_FOREACH(it, &k->routers) {
        free_router(k, ROUTER(it));
    }
}

/* ---- consumers that nobody has ------------------------------------------------------------ */

static void list(struct weir_kv_stream *s);

static void on_grace(void *arg) {
    struct weir_kv_stream *s = arg;
    const uint64_t *ids = (const uint64_t *)(const void *)s->others.data;
    if (is_there(s, s->all->id) && !s->all->blind)
        for (size_t i = 0; i < s->others.len / sizeof(*ids); i++)
            if (ids[i] != s->all->id && !is_there(s, ids[i]))
                delete_consumer(s, ids[i]);
    weir_buf_fini(&s->others);
}

static void on_listed(void *arg, enum weir_status st, const struct weir_nats_msg *msg) {
    struct weir_kv_stream *s = arg;
    struct weir_js_answer a = {0};
    s->others_call = NULL;
    weir_arena_reset(&s->answers);
    if (st == WEIR_OK)
        st = weir_js_answer_decode(msg->payload, &s->answers, &a);
    if (st == WEIR_OK && a.error != 0)
        st = WEIR_UNAVAILABLE;
    if (st == WEIR_OK)
        st = weir_buf_append(&s->others, a.routers, a.n_routers * sizeof(*a.routers));
    enum weir_kvs_page page = WEIR_KVS_PAGE_GIVE_UP;
    if (st == WEIR_OK)
        page = weir_kvs_list_page(&s->others_listed, a.n_consumers, a.total, a.names);
    if (page == WEIR_KVS_PAGE_AGAIN)
        weir_buf_clear(&s->others);
    if (page == WEIR_KVS_PAGE_NEXT || page == WEIR_KVS_PAGE_AGAIN)
        list(s);
    else if (page == WEIR_KVS_PAGE_GIVE_UP || weir_timer_start(&s->grace, GRACE_MS) != WEIR_OK)
        weir_buf_fini(&s->others);
}

static void list(struct weir_kv_stream *s) {
    char body[64];
    int n = snprintf(body, sizeof(body), "{\"offset\":%" PRIu64 "}", s->others_listed.seen);
    if (weir_kv_stream_ask(s, "CONSUMER.LIST", false, weir_span(body, (size_t)n), on_listed,
                           &s->others_call) != WEIR_OK)
        s->others_call = NULL;
}

void weir_kv_stream_look_for_orphans(struct weir_kv_stream *s) {
    if (s->looked)
        return;
    s->looked = true;
    weir_timer_init(&s->grace, s->all->loop, on_grace, s);
    weir_buf_init(&s->others, MAX_ROUTERS * sizeof(uint64_t));
    list(s);
}

void weir_kv_stream_peers_stop(struct weir_kv_stream *s) {
    if (!s->looked)
        return;
    weir_js_cancel(s->others_call);
    weir_timer_stop(&s->grace);
    weir_buf_fini(&s->others);
}
