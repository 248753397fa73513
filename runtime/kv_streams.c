/*
 * Which streams there are: the card of a worker without an index of its own shows itself → the
 * stream of its component is followed until the end, which also removes our consumer there. (A
 * component whose workers are gone costs a question every second.)
 */
#include "base/log.h"
#include "base/mem.h"
#include "runtime/kv_stream_priv.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAX_STREAMS = 1024 };

#define STREAM(n) WEIR_CONTAINER_OF(n, struct weir_kv_stream, node)

struct weir_kv_stream *weir_kv_stream_find(struct weir_kv_streams *k, struct weir_span ns,
                                           struct weir_span component) {
    WEIR_LIST_FOREACH(it, &k->streams) {
        struct weir_kv_stream *s = STREAM(it);
        if (weir_span_eqz(ns, s->ns) && weir_span_eqz(component, s->component))
            return s;
    }
    return NULL;
}

static struct weir_kv_stream *find_or_create(struct weir_kv_streams *k, struct weir_span ns,
                                             struct weir_span component) {
    struct weir_kv_stream *s = weir_kv_stream_find(k, ns, component);
    if (s != NULL)
        return s;
    s = k->n_streams < MAX_STREAMS ? weir_kv_stream_create(k, ns, component) : NULL;
    if (s == NULL)
        WEIR_LOG(WEIR_LOG_ERROR, "events",
                 "the KV events of %.*s.%.*s are not followed: a long name, too many components, "
                 "or no memory",
                 WEIR_SPAN_ARG(ns), WEIR_SPAN_ARG(component));
    k->n_streams += s != NULL;
    if (s != NULL)
        weir_kv_peers_announce(k);
    return s;
}

/* A worker that answers for its cache itself is followed by kv_follow.c; its card says so.
 * Keys: "namespace/component/endpoint/id". Cards of adapters have one more part in their key; the
 * base model's is there too. */
static void on_change(void *arg, enum weir_discovery_change change, enum weir_record_kind kind,
                      struct weir_span key, const struct weir_record *record) {
    struct weir_kv_streams *k = arg;
    uint64_t id = 0;
    if (kind != WEIR_RECORD_MODEL && kind != WEIR_RECORD_ENDPOINT)
        return;
    struct weir_span ns = weir_span_split(key, '/', &key);
    struct weir_span component = weir_span_split(key, '/', &key);
    struct weir_span endpoint = weir_span_split(key, '/', &key);
    if (key.data == NULL || !weir_span_hex64(weir_span_split(key, '/', &key), &id) ||
        key.data != NULL)
        return;
    struct weir_kv_stream *known = weir_kv_stream_find(k, ns, component);
    if (kind == WEIR_RECORD_ENDPOINT) {
        if (weir_kv_peers_is_router(endpoint))
            weir_kv_peers_change(k, change, ns, component, id);
        else if (change != WEIR_DISCOVERY_PUT && known != NULL)
            weir_kv_stream_worker_away(known, id);
        return;
    }
    if (change == WEIR_DISCOVERY_PUT && !record->card.enable_local_indexer) {
        struct weir_kv_stream *s = find_or_create(k, ns, component);
        if (s != NULL)
            weir_kv_stream_worker_put(s, id, record->card.dp_start_rank, record->card.dp_size);
        return;
    }
    if (known != NULL)
        weir_kv_stream_worker_gone(known, id);
}

static void on_up(void *arg) {
    struct weir_kv_streams *k = arg;
    WEIR_LIST_FOREACH(it, &k->streams) {
        weir_kv_stream_up(STREAM(it));
    }
}

enum weir_status weir_kv_streams_open(struct weir_loop *loop, struct weir_discovery *disc,
                                      struct weir_nats *nats,
                                      const struct weir_kv_streams_config *config,
                                      struct weir_kv_streams **ret_streams, struct weir_err *err) {
    struct weir_kv_streams *k = weir_calloc(1, sizeof(*k));
    if (k == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    k->loop = loop;
    k->config = *config;
    k->disc = disc;
    weir_list_init(&k->streams);
    weir_kv_peers_init(k);
    k->id = weir_rng_u64(weir_loop_rng(loop)) >> 11 | 1;
    snprintf(k->consumer, sizeof(k->consumer), "%" PRIu64, k->id);
    enum weir_status st = weir_js_open(nats, loop, on_up, k, &k->js);
    if (st == WEIR_OK)
        st = weir_discovery_watch(disc, on_change, k);
    if (st != WEIR_OK) {
        weir_kv_streams_close(k);
        return weir_err_set(err, st, "cannot follow durable KV events: %s", weir_status_text(st));
    }
    *ret_streams = k;
    return WEIR_OK;
}

void weir_kv_streams_close(struct weir_kv_streams *streams) {
    if (streams == NULL)
        return;
    while (!weir_list_empty(&streams->streams))
        weir_kv_stream_destroy(STREAM(streams->streams.next));
    weir_kv_peers_fini(streams);
    weir_js_close(streams->js);
    weir_free(streams);
}

void weir_kv_streams_stats(const struct weir_kv_streams *streams,
                           struct weir_kv_streams_stats *ret) {
    *ret = streams->stats;
    ret->streams = streams->n_streams;
    WEIR_LIST_FOREACH(it, &streams->streams) {
        const struct weir_kv_stream *s = WEIR_CONTAINER_OF(it, struct weir_kv_stream, node);
        ret->live += s->core.state == WEIR_KVS_LIVE && !weir_kvs_catching_up(&s->core);
    }
}
