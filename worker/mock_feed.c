/*
 * Happy path: changes are gathered into events, events into a batch, and at the end of a pass the
 * batch leaves on the PUB socket and stays in a ring for replay. A batch that does not fit in
 * memory is lost as one at a full high-water mark would be: its number stays empty.
 */
#include "worker/mock_feed.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/msgpack.h"
#include "net/zmq.h"

#include <string.h>

enum { BLOCKS_MAX = 1024, BATCH_MAX = 64 << 20, RING = 10000 };
#define RING_BYTES_MAX ((size_t)64 << 20)

enum kind { NOTHING, STORED, REMOVED };

struct kept {
    char *data; /* owned; NULL: lost, or pushed out */
    size_t len;
    uint64_t seq;
};

struct weir_mock_feed {
    struct weir_mock_feed_config config;
    struct weir_zmq_pub *pub;
    struct weir_zmq_sub *replay;
    /* The event that grows. */
    enum kind kind;
    uint64_t hashes[BLOCKS_MAX]; /* as they are told */
    size_t n_hashes;
    struct weir_buf tokens; /* uint32_t */
    struct weir_buf salt;
    bool has_parent;
    uint64_t parent, last; /* as they are told */
    /* The batch. */
    struct weir_buf events, batch;
    uint32_t n_events;
    uint64_t next_seq, oldest; /* kept: from oldest on */
    size_t kept_bytes;
    struct kept ring[RING];
};

/* An engine's name says nothing about the tokens. */
static uint64_t name_of(const struct weir_mock_feed *f, uint64_t hash) {
    uint64_t x = hash ^ f->config.name_seed;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    return (x ^ (x >> 27)) * 0x94D049BB133111EBu;
}

static void put_hash(const struct weir_mock_feed *f, struct weir_mpw *w, uint64_t name) {
    if (f->config.form == WEIR_MOCK_SGLANG)
        weir_mpw_i64(w, (int64_t)name);
    else
        weir_mpw_u64(w, name);
}

static void put_hashes(const struct weir_mock_feed *f, struct weir_mpw *w, const uint64_t *names,
                       size_t n) {
    weir_mpw_array(w, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_hash(f, w, names[i]);
}

static void put_parent(const struct weir_mock_feed *f, struct weir_mpw *w) {
    if (f->has_parent)
        put_hash(f, w, f->parent);
    else
        weir_mpw_nil(w);
}

static void put_tokens(const struct weir_mock_feed *f, struct weir_mpw *w) {
    const uint32_t *ids = (const uint32_t *)(const void *)f->tokens.data;
    size_t n = f->tokens.len / sizeof(*ids);
    weir_mpw_array(w, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        weir_mpw_u64(w, ids[i]);
}

/* One entry a block; the salt stands with the first block of a sequence only. */
static void put_extra_keys(const struct weir_mock_feed *f, struct weir_mpw *w) {
    weir_mpw_array(w, (uint32_t)f->n_hashes);
    for (size_t i = 0; i < f->n_hashes; i++) {
        if (i > 0 || f->has_parent || f->salt.len == 0) {
            weir_mpw_nil(w);
            continue;
        }
        weir_mpw_array(w, 1);
        weir_mpw_str(w, weir_buf_span(&f->salt));
    }
}

static void put_stored_array(const struct weir_mock_feed *f, struct weir_mpw *w) {
    weir_mpw_array(w, 8);
    weir_mpw_str_z(w, "BlockStored");
    put_hashes(f, w, f->hashes, f->n_hashes);
    put_parent(f, w);
    put_tokens(f, w);
    weir_mpw_u64(w, f->config.block_size);
    weir_mpw_nil(w);
    weir_mpw_str_z(w, "GPU");
    weir_mpw_nil(w);
}

static void put_stored_map(const struct weir_mock_feed *f, struct weir_mpw *w) {
    bool vllm = f->config.form == WEIR_MOCK_VLLM, salted = !vllm && f->salt.len > 0;
    weir_mpw_map(w, vllm ? 11 : 7 + salted);
    weir_mpw_str_z(w, "type");
    weir_mpw_str_z(w, "BlockStored");
    weir_mpw_str_z(w, "block_hashes");
    put_hashes(f, w, f->hashes, f->n_hashes);
    weir_mpw_str_z(w, "parent_block_hash");
    put_parent(f, w);
    weir_mpw_str_z(w, "token_ids");
    put_tokens(f, w);
    weir_mpw_str_z(w, "block_size");
    weir_mpw_u64(w, f->config.block_size);
    weir_mpw_str_z(w, "lora_id");
    weir_mpw_nil(w);
    weir_mpw_str_z(w, "medium");
    weir_mpw_str_z(w, "GPU");
    if (salted) {
        weir_mpw_str_z(w, "cache_salt");
        weir_mpw_str(w, weir_buf_span(&f->salt));
    }
    if (!vllm)
        return;
    weir_mpw_str_z(w, "lora_name");
    weir_mpw_nil(w);
    weir_mpw_str_z(w, "extra_keys");
    put_extra_keys(f, w);
    weir_mpw_str_z(w, "group_idx");
    weir_mpw_u64(w, 0);
    weir_mpw_str_z(w, "kv_cache_spec_kind");
    weir_mpw_str_z(w, "full_attention");
}

static void put_removed(const struct weir_mock_feed *f, struct weir_mpw *w, const uint64_t *names,
                        size_t n) {
    bool vllm = f->config.form == WEIR_MOCK_VLLM;
    if (f->config.form == WEIR_MOCK_VLLM_ARRAY) {
        weir_mpw_array(w, 3);
        weir_mpw_str_z(w, "BlockRemoved");
        put_hashes(f, w, names, n);
        weir_mpw_str_z(w, "GPU");
        return;
    }
    weir_mpw_map(w, vllm ? 4 : 3);
    weir_mpw_str_z(w, "type");
    weir_mpw_str_z(w, "BlockRemoved");
    weir_mpw_str_z(w, "block_hashes");
    put_hashes(f, w, names, n);
    weir_mpw_str_z(w, "medium");
    weir_mpw_str_z(w, "GPU");
    if (vllm) {
        weir_mpw_str_z(w, "group_idx");
        weir_mpw_u64(w, 0);
    }
}

/* Ends the event that grows. vLLM tells each removed block by itself. */
static void close_event(struct weir_mock_feed *f) {
    struct weir_mpw w;
    weir_mpw_init(&w, &f->events);
    if (f->kind == STORED) {
        if (f->config.form == WEIR_MOCK_VLLM_ARRAY)
            put_stored_array(f, &w);
        else
            put_stored_map(f, &w);
        f->n_events++;
    } else if (f->kind == REMOVED && f->config.form == WEIR_MOCK_SGLANG) {
        put_removed(f, &w, f->hashes, f->n_hashes);
        f->n_events++;
    } else if (f->kind == REMOVED) {
        for (size_t i = 0; i < f->n_hashes; i++)
            put_removed(f, &w, &f->hashes[i], 1);
        f->n_events += (uint32_t)f->n_hashes;
    }
    if (w.status != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "mocker", "a KV event was lost: %s", weir_status_text(w.status));
    f->kind = NOTHING;
    f->n_hashes = 0;
    weir_buf_clear(&f->tokens);
}

void weir_mock_feed_stored(struct weir_mock_feed *f, bool has_parent, uint64_t parent,
                           uint64_t hash, const uint32_t *tokens, struct weir_span salt) {
    uint64_t parent_name = has_parent ? name_of(f, parent) : 0;
    bool joins = f->kind == STORED && has_parent && parent_name == f->last &&
                 f->n_hashes < BLOCKS_MAX && weir_span_eq(salt, weir_buf_span(&f->salt));
    if (!joins) {
        close_event(f);
        f->kind = STORED;
        f->has_parent = has_parent;
        f->parent = parent_name;
        weir_buf_clear(&f->salt);
        if (weir_buf_append_span(&f->salt, salt) != WEIR_OK)
            weir_buf_clear(&f->salt);
    }
    if (weir_buf_append(&f->tokens, tokens, f->config.block_size * sizeof(*tokens)) != WEIR_OK)
        return;
    f->last = f->hashes[f->n_hashes++] = name_of(f, hash);
}

void weir_mock_feed_removed(struct weir_mock_feed *f, uint64_t hash) {
    if (f->kind != REMOVED || f->n_hashes == BLOCKS_MAX)
        close_event(f);
    f->kind = REMOVED;
    f->hashes[f->n_hashes++] = name_of(f, hash);
}

void weir_mock_feed_cleared(struct weir_mock_feed *f) {
    struct weir_mpw w;
    close_event(f);
    weir_mpw_init(&w, &f->events);
    if (f->config.form == WEIR_MOCK_VLLM_ARRAY) {
        weir_mpw_array(&w, 1);
    } else {
        weir_mpw_map(&w, 1);
        weir_mpw_str_z(&w, "type");
    }
    weir_mpw_str_z(&w, "AllBlocksCleared");
    f->n_events++;
}

/* ---- batches ------------------------------------------------------------------------------ */

static void forget_oldest(struct weir_mock_feed *f) {
    struct kept *k = &f->ring[f->oldest++ % RING];
    f->kept_bytes -= k->len;
    weir_free(k->data);
    *k = (struct kept){0};
}

static void keep(struct weir_mock_feed *f) {
    while (f->oldest < f->next_seq &&
           (f->next_seq - f->oldest == RING || f->kept_bytes + f->batch.len > RING_BYTES_MAX))
        forget_oldest(f);
    struct kept *k = &f->ring[f->next_seq % RING];
    k->seq = f->next_seq;
    k->data = weir_strndup(f->batch.data, f->batch.len);
    k->len = k->data != NULL ? f->batch.len : 0;
    f->kept_bytes += k->len;
}

static struct weir_span seq_frame(uint64_t seq, char room[8]) {
    for (int i = 0; i < 8; i++)
        room[i] = (char)(seq >> (56 - 8 * i));
    return weir_span(room, 8);
}

void weir_mock_feed_flush(struct weir_mock_feed *f) {
    char room[8];
    close_event(f);
    if (f->n_events == 0)
        return;
    struct weir_mpw w;
    weir_buf_clear(&f->batch);
    weir_mpw_init(&w, &f->batch);
    weir_mpw_array(&w, 3);
    weir_mpw_f64(&w, (double)weir_wall_ns() / 1e9);
    weir_mpw_array(&w, f->n_events);
    weir_mpw_raw(&w, weir_buf_span(&f->events));
    weir_mpw_u64(&w, f->config.rank);
    weir_buf_clear(&f->events);
    f->n_events = 0;
    keep(f);
    struct weir_span frames[] = {weir_span_z(f->config.topic), seq_frame(f->next_seq++, room),
                                 weir_buf_span(&f->batch)};
    enum weir_status st = w.status == WEIR_OK ? weir_zmq_pub_send(f->pub, frames, 3) : w.status;
    if (st != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "mocker", "a batch was not published: %s", weir_status_text(st));
}

/* ---- replay ------------------------------------------------------------------------------- */

/* [identity, "", start] is answered with the batches from start on and an end mark; vLLM 0.16 sends
 * them without the topic. */
static void on_replay(void *arg, const struct weir_span *frames, size_t n) {
    struct weir_mock_feed *f = arg;
    uint64_t start = 0;
    char room[8];
    if (n != 3 || frames[1].len != 0 || frames[2].len != 8)
        return;
    for (int i = 0; i < 8; i++)
        start = start << 8 | (unsigned char)frames[2].data[i];
    bool topic = f->config.form != WEIR_MOCK_VLLM_ARRAY;
    size_t at = topic ? 3 : 2;
    struct weir_span out[5] = {frames[0], weir_span("", 0), weir_span_z(f->config.topic)};
    enum weir_status st = WEIR_OK;
    for (uint64_t s = start > f->oldest ? start : f->oldest; s < f->next_seq && st == WEIR_OK;
         s++) {
        const struct kept *k = &f->ring[s % RING];
        if (k->data == NULL)
            continue;
        out[at] = seq_frame(s, room);
        out[at + 1] = weir_span(k->data, k->len);
        st = weir_zmq_sub_send(f->replay, out, at + 2);
    }
    out[2] = weir_span("", 0);
    out[at] = seq_frame(UINT64_MAX, room);
    out[at + 1] = weir_span("", 0);
    if (st == WEIR_OK)
        st = weir_zmq_sub_send(f->replay, out, at + 2);
    if (st != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "mocker", "a replay was cut: %s", weir_status_text(st));
}

/* ---- life --------------------------------------------------------------------------------- */

enum weir_status weir_mock_feed_open(struct weir_loop *loop,
                                     const struct weir_mock_feed_config *config,
                                     struct weir_mock_feed **ret_feed, struct weir_err *err) {
    struct weir_mock_feed *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->config = *config;
    weir_buf_init(&f->tokens, BATCH_MAX);
    weir_buf_init(&f->salt, 64 << 10);
    weir_buf_init(&f->events, BATCH_MAX);
    weir_buf_init(&f->batch, BATCH_MAX);
    uint64_t dead_ms = weir_loop_dead_peer_ms(loop);
    enum weir_status st = config->connect != NULL
                              ? weir_zmq_pub_connect(config->connect, dead_ms, &f->pub, err)
                              : weir_zmq_pub_open(config->ip, config->port, dead_ms, &f->pub, err);
    if (st == WEIR_OK)
        st = weir_zmq_router_open(loop, config->ip, config->replay_port, on_replay, f, &f->replay,
                                  err);
    if (st != WEIR_OK) {
        weir_mock_feed_close(f);
        return st;
    }
    *ret_feed = f;
    return WEIR_OK;
}

void weir_mock_feed_close(struct weir_mock_feed *feed) {
    if (feed == NULL)
        return;
    weir_zmq_pub_close(feed->pub);
    weir_zmq_sub_close(feed->replay);
    while (feed->oldest < feed->next_seq)
        forget_oldest(feed);
    weir_buf_fini(&feed->tokens);
    weir_buf_fini(&feed->salt);
    weir_buf_fini(&feed->events);
    weir_buf_fini(&feed->batch);
    weir_free(feed);
}

uint16_t weir_mock_feed_port(const struct weir_mock_feed *feed) {
    return weir_zmq_pub_port(feed->pub);
}

uint16_t weir_mock_feed_replay_port(const struct weir_mock_feed *feed) {
    return weir_zmq_sub_port(feed->replay);
}

uint64_t weir_mock_feed_next(const struct weir_mock_feed *feed) {
    return feed->next_seq;
}
