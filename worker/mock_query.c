/* The rank's KV query endpoint: missed events from the ring, or a dump of the whole cache. */
#include "worker/mock_rank_priv.h"

#include "base/mem.h"
#include "base/msgpack.h"
#include "wire/kv_query.h"

enum { ANSWER_MAX = 256 * 1024 * 1024 };

/* RouterEvents encoded one by one behind a room for the array head (5 bytes: array 32). */
struct event_list {
    struct weir_buf buf;
    uint32_t n;
    enum weir_status status;
    uint64_t worker_id;
    uint32_t dp_rank;
};

static void list_add(struct event_list *l, const struct weir_kv_event *event) {
    struct weir_buf one;
    weir_buf_init(&one, ANSWER_MAX);
    if (l->status == WEIR_OK)
        l->status = weir_kv_events_encode(event, 1, &one);
    /* An array of one is its element behind a single byte. */
    if (l->status == WEIR_OK)
        l->status = weir_buf_append(&l->buf, one.data + 1, one.len - 1);
    if (l->status == WEIR_OK)
        l->n++;
    weir_buf_fini(&one);
}

static void add_block(void *arg, bool has_parent, uint64_t parent_hash, uint64_t block_hash,
                      uint64_t tokens_hash) {
    struct event_list *l = arg;
    struct weir_kv_block block = {block_hash, tokens_hash};
    struct weir_kv_event e = {.worker_id = l->worker_id,
                              .dp_rank = l->dp_rank,
                              .event_id = l->n,
                              .kind = WEIR_KV_STORED,
                              .has_parent = has_parent,
                              .parent_hash = parent_hash,
                              .blocks = &block,
                              .n_blocks = 1};
    list_add(l, &e);
}

/* True when every event from `start` on is still in the ring. */
static bool ring_holds(const struct weir_mock_rank *r, uint64_t start) {
    uint64_t newest = r->next_id - 1;
    if (start == 0 || newest - start >= WEIR_MOCK_RING)
        return false;
    for (uint64_t id = start; id <= newest; id++)
        if (r->ring[id % WEIR_MOCK_RING].event.event_id != id)
            return false;
    return true;
}

static enum weir_status answer_with_events(struct weir_mock_rank *r, struct weir_kv_answer *a,
                                           const struct weir_kv_query *q, enum weir_codec codec,
                                           struct weir_buf *out) {
    struct event_list l = {.worker_id = r->config.worker_id, .dp_rank = r->config.dp_rank};
    weir_buf_init(&l.buf, ANSWER_MAX);
    l.status = weir_buf_append(&l.buf, "\xdd\0\0\0\0", 5);
    if (q->has_start && ring_holds(r, q->start_event_id)) {
        a->kind = WEIR_KV_EVENTS;
        for (uint64_t id = q->start_event_id; id < r->next_id; id++)
            list_add(&l, &r->ring[id % WEIR_MOCK_RING].event);
    } else {
        a->kind = WEIR_KV_TREE_DUMP;
        weir_kv_cache_each(weir_engine_cache(r->engine), add_block, &l);
    }
    enum weir_status st = l.status;
    if (st == WEIR_OK) {
        for (int i = 0; i < 4; i++)
            l.buf.data[1 + i] = (char)(l.n >> (24 - 8 * i));
        a->events = weir_buf_span(&l.buf);
        st = weir_kv_answer_encode(a, codec, out);
    }
    weir_buf_fini(&l.buf);
    return st;
}

enum weir_status weir_mock_rank_query(struct weir_mock_rank *rank, struct weir_span body,
                                      enum weir_codec codec, struct weir_buf *out) {
    struct weir_kv_query q;
    enum weir_status st = weir_kv_query_decode(body, codec, &q);
    if (st != WEIR_OK)
        return st;
    if (!q.recovery)
        return WEIR_UNSUPPORTED;
    uint64_t newest = rank->next_id - 1;
    struct weir_kv_answer a = {.last_event_id = newest,
                               .start_id = q.start_event_id,
                               .end_id = q.has_end ? q.end_event_id : newest};
    if (q.worker_id != rank->config.worker_id || q.dp_rank != rank->config.dp_rank) {
        a.kind = WEIR_KV_ERROR;
        a.error = WEIR_SPAN_LIT("this endpoint serves another worker or rank");
    } else if (q.has_start && q.has_end && q.end_event_id < q.start_event_id) {
        a.kind = WEIR_KV_INVALID_RANGE;
    } else if (q.has_start && q.start_event_id > newest && newest > 0) {
        a.kind = WEIR_KV_TOO_NEW;
    } else {
        return answer_with_events(rank, &a, &q, codec, out);
    }
    return weir_kv_answer_encode(&a, codec, out);
}
