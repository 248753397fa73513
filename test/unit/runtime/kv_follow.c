/*
 * Following the caches of workers over real sockets: workers that lose messages, answer late,
 * wrongly or not at all, restart, come and go. In the end what was followed equals what each worker
 * holds.
 */
#include "runtime/kv_follow.h"

#include "base/rng.h"
#include "net/zmq.h"
#include "runtime/kv_cursor.h"
#include "runtime/plane_server.h"
#include "test/check.h"
#include "test/unit/runtime/turns.h"
#include "wire/kv_query.h"

#include <inttypes.h>

enum { BLOCKS = 64, LOG = 4096, RING = 40, WORKERS = 3 };

static struct weir_loop *loop;
static struct weir_discovery *disc;
static struct weir_plane_server *server;
static struct weir_plane_client *client;
static struct weir_rng rng;

/* ---- a worker: the truth ------------------------------------------------------------------- */

/* stored: one block; removed: one; cleared */
struct past {
    enum weir_kv_kind kind;
    uint64_t block;
};

struct worker {
    uint64_t id;
    struct weir_event_pub *pub;
    char path[128], endpoint[64], address[256];
    struct past log[LOG];
    uint64_t next_id; /* from 1 */
    bool held[BLOCKS];
    unsigned trouble; /* percent of questions that go wrong */
    unsigned questions;
    uint64_t least_start; /* of the questions that named one, since the test set it */
};

static struct worker workers[WORKERS];

static void fill(const struct worker *w, uint64_t id, struct weir_kv_block *block,
                 struct weir_kv_event *e) {
    const struct past *p = &w->log[id % LOG];
    *block = (struct weir_kv_block){p->block + 1, p->block + 1};
    *e = (struct weir_kv_event){.worker_id = w->id, .event_id = id, .kind = p->kind};
    if (p->kind == WEIR_KV_STORED) {
        e->blocks = block;
        e->n_blocks = 1;
    } else if (p->kind == WEIR_KV_REMOVED) {
        e->removed = &block->block_hash;
        e->n_removed = 1;
    }
}

/* Something happens in the cache; `lose`: the message never arrives. */
static void happen(struct worker *w, enum weir_kv_kind kind, uint64_t block, bool lose) {
    struct weir_kv_block b;
    struct weir_kv_event e;
    struct weir_buf out;
    uint64_t id = w->next_id++;
    w->log[id % LOG] = (struct past){kind, block};
    if (kind == WEIR_KV_CLEARED)
        memset(w->held, 0, sizeof(w->held));
    else
        w->held[block] = kind == WEIR_KV_STORED;
    if (lose)
        return;
    fill(w, id, &b, &e);
    weir_buf_init(&out, 1 << 16);
    CHECK(weir_kv_events_encode(&e, 1, &out) == WEIR_OK);
    CHECK(weir_event_pub_send(w->pub, weir_buf_span(&out)) == WEIR_OK);
    weir_buf_fini(&out);
}

static void random_event(struct worker *w, bool lose) {
    uint64_t dice = weir_rng_below(&rng, 100);
    happen(w,
           dice < 60   ? WEIR_KV_STORED
           : dice < 98 ? WEIR_KV_REMOVED
                       : WEIR_KV_CLEARED,
           weir_rng_below(&rng, BLOCKS), lose);
}

/* Answers as a real worker: missed events from the ring, or the whole cache. */
static void answer(struct worker *w, struct weir_plane_request *r, const struct weir_kv_query *q,
                   enum weir_codec codec) {
    static struct weir_kv_event events[LOG];
    static struct weir_kv_block blocks[LOG];
    struct weir_buf list, out;
    uint64_t newest = w->next_id - 1;
    struct weir_kv_answer a = {
        .last_event_id = newest, .start_id = q->start_event_id, .end_id = newest};
    size_t n = 0;
    weir_buf_init(&list, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    if (q->has_start && q->start_event_id > newest) {
        a.kind = WEIR_KV_TOO_NEW;
    } else if (q->has_start && newest - q->start_event_id < RING) {
        a.kind = WEIR_KV_EVENTS;
        for (uint64_t id = q->start_event_id; id <= newest; id++, n++)
            fill(w, id, &blocks[n], &events[n]);
    } else {
        a.kind = WEIR_KV_TREE_DUMP;
        for (unsigned b = 0; b < BLOCKS; b++)
            if (w->held[b]) {
                blocks[n] = (struct weir_kv_block){b + 1, b + 1};
                events[n] = (struct weir_kv_event){.worker_id = w->id,
                                                   .event_id = n,
                                                   .kind = WEIR_KV_STORED,
                                                   .blocks = &blocks[n],
                                                   .n_blocks = 1};
                n++;
            }
    }
    CHECK(weir_kv_events_encode(events, n, &list) == WEIR_OK);
    a.events = weir_buf_span(&list);
    CHECK(weir_kv_answer_encode(&a, codec, &out) == WEIR_OK);
    weir_plane_reply_raw(r, weir_buf_span(&out));
    weir_plane_reply_end(r);
    weir_buf_fini(&list);
    weir_buf_fini(&out);
}

static void on_request(void *arg, struct weir_plane_request *r,
                       const struct weir_prep_request *req) {
    struct worker *w = arg;
    enum weir_codec codec;
    struct weir_kv_query q;
    struct weir_span body = weir_plane_request_body(r, &codec);
    (void)req;
    CHECK(weir_kv_query_decode(body, codec, &q) == WEIR_OK);
    CHECK(q.worker_id == w->id && q.dp_rank == 0);
    w->questions++;
    if (q.has_start && q.start_event_id < w->least_start)
        w->least_start = q.start_event_id;
    uint64_t dice = weir_rng_below(&rng, 100);
    if (dice >= w->trouble) {
        weir_plane_reply_prologue(r, NULL);
        answer(w, r, &q, codec);
    } else if (dice % 4 == 0) {
        weir_plane_reply_prologue(r, "no");
    } else if (dice % 4 == 1) {
        weir_plane_reply_prologue(r, NULL);
        weir_plane_reply_abort(r);
    } else if (dice % 4 == 2) {
        weir_plane_reply_prologue(r, NULL);
        weir_plane_reply_raw(r, WEIR_SPAN_LIT("nonsense"));
        weir_plane_reply_end(r);
    } else {
        weir_plane_reply_prologue(r, NULL);
        weir_plane_reply_end(r);
    }
}

static void on_nothing(void *arg, struct weir_plane_request *r) {
    (void)arg;
    (void)r;
}

static const struct weir_plane_handler handler = {on_request, on_nothing, on_nothing};

static void open_worker(struct worker *w, uint64_t id, bool with_endpoint) {
    struct weir_buf address;
    struct weir_err err = {.text = ""};
    memset(w, 0, sizeof(*w));
    w->id = id;
    w->next_id = 1;
    snprintf(w->endpoint, sizeof(w->endpoint), "worker_kv_query_source_%" PRIx64, id);
    snprintf(w->path, sizeof(w->path), "%" PRIx64 "/n/c/%s", id, w->endpoint);
    CHECK(weir_plane_server_register_raw(server, w->path, &handler, w) == WEIR_OK);
    weir_buf_init(&address, 256);
    CHECK(weir_plane_server_address(server, w->path, &address) == WEIR_OK);
    snprintf(w->address, sizeof(w->address), "%.*s", (int)address.len, address.data);
    weir_buf_fini(&address);
    struct weir_event_pub_config config = {
        .scope = {WEIR_SPAN_LIT("n"), WEIR_SPAN_LIT("c"), WEIR_SPAN_LIT("e")},
        .topic = "kv-events",
        .ip = "127.0.0.1",
        .with_source = true,
        .worker_id = id,
        .recovery_endpoint = weir_span_z(w->endpoint),
        .recovery_address = with_endpoint ? weir_span_z(w->address) : weir_span(NULL, 0)};
    CHECK_MSG(weir_event_pub_open(loop, disc, &config, &w->pub, &err) == WEIR_OK, "%s", err.text);
}

/* ---- what is followed ----------------------------------------------------------------------- */

static struct {
    bool ready;
    uint64_t id;
    bool held[BLOCKS];
    unsigned resets, events;
} seen[WORKERS];
static bool refuse_events;
static unsigned gathered; /* events told since the last on_end */

static int seen_of(uint64_t id) {
    for (int i = 0; i < WORKERS; i++)
        if (seen[i].id == id)
            return i;
    return -1;
}

static bool ready(void *arg, uint64_t worker_id) {
    int i = seen_of(worker_id);
    (void)arg;
    return i >= 0 && seen[i].ready;
}

static bool on_event(void *arg, const struct weir_kv_event *e) {
    int i = seen_of(e->worker_id);
    (void)arg;
    CHECK(i >= 0);
    if (refuse_events) {
        seen[i].ready = false;
        memset(seen[i].held, 0, sizeof(seen[i].held));
        return false;
    }
    seen[i].events++;
    gathered++;
    if (e->kind == WEIR_KV_CLEARED)
        memset(seen[i].held, 0, sizeof(seen[i].held));
    for (size_t k = 0; k < e->n_blocks; k++)
        seen[i].held[e->blocks[k].block_hash - 1] = true;
    for (size_t k = 0; k < e->n_removed; k++)
        seen[i].held[e->removed[k] - 1] = false;
    return true;
}

static void on_end(void *arg) {
    (void)arg;
    gathered = 0;
}

static void on_reset(void *arg, uint64_t worker_id, uint32_t dp_rank) {
    int i = seen_of(worker_id);
    (void)arg;
    CHECK(i >= 0 && dp_rank == 0);
    seen[i].resets++;
    memset(seen[i].held, 0, sizeof(seen[i].held));
}

static const struct weir_kv_follow_ops ops = {ready, on_event, on_end, on_reset};

static struct weir_kv_follow *open_all(void) {
    const struct weir_discovery_config dc = {.backend = WEIR_DISCOVERY_MEM};
    const struct weir_plane_server_config sc = {.ip = "127.0.0.1"};
    const struct weir_plane_client_config cc = {.response_ip = "127.0.0.1"};
    struct weir_kv_follow *f = NULL;
    struct weir_err err;
    memset(seen, 0, sizeof(seen));
    refuse_events = false;
    CHECK(weir_discovery_open(loop, &dc, &disc, &err) == WEIR_OK);
    CHECK(weir_plane_server_create(loop, &sc, &server, &err) == WEIR_OK);
    CHECK(weir_plane_client_create(loop, &cc, &client, &err) == WEIR_OK);
    CHECK(weir_kv_follow_open(loop, disc, NULL, client, &ops, NULL, &f, &err) == WEIR_OK);
    for (int i = 0; i < WORKERS; i++)
        seen[i].id = 100 + (uint64_t)i;
    return f;
}

static void close_all(struct weir_kv_follow *f) {
    weir_discovery_close(disc);
    weir_kv_follow_close(f);
    weir_plane_client_destroy(client);
    weir_plane_server_destroy(server);
    turns_flush(loop);
}

static bool equal(void *arg) {
    unsigned n = *(unsigned *)arg;
    for (unsigned i = 0; i < n; i++)
        if (memcmp(seen[i].held, workers[i].held, sizeof(seen[i].held)) != 0)
            return false;
    return true;
}

/* A lost tail is seen with the next message only: one that changes nothing is sent now and then. */
static unsigned n_nudged;
static bool equal_with_nudges(void *arg) {
    static unsigned turn;
    if (equal(arg))
        return true;
    if (turn++ % 16 == 0)
        for (unsigned i = 0; i < n_nudged; i++)
            happen(&workers[i], WEIR_KV_REMOVED, 0, false);
    return false;
}

static void wait_equal(unsigned n) {
    n_nudged = n;
    CHECK_MSG(turns_until(loop, equal_with_nudges, &n), "what is followed is not what is held");
    CHECK(gathered == 0);
}

/* ---- cases ---------------------------------------------------------------------------------- */

static bool live(void *arg) {
    struct weir_kv_follow_stats stats;
    weir_kv_follow_stats(arg, &stats);
    return stats.live == 1;
}

/* A cache that was there before us, then live events. */
static void case_dump_then_live(void) {
    struct weir_kv_follow *f = open_all();
    struct weir_kv_follow_stats stats;
    seen[0].ready = true;
    open_worker(&workers[0], 100, true);
    for (unsigned i = 0; i < 50; i++)
        random_event(&workers[0], true);
    happen(&workers[0], WEIR_KV_STORED, 3, true);
    wait_equal(1);
    /* A dump; messages sent before the socket had joined may have been asked for besides. */
    CHECK(workers[0].questions >= 1 && seen[0].resets >= 1);
    for (unsigned i = 0; i < 200; i++)
        random_event(&workers[0], false);
    wait_equal(1);
    CHECK(turns_until(loop, live, f));
    weir_kv_follow_stats(f, &stats);
    CHECK(stats.ranks == 1 && stats.restores == seen[0].resets && stats.given_up == 0);
    weir_event_pub_close(workers[0].pub);
    CHECK(seen[0].resets == stats.restores + 1);
    weir_kv_follow_stats(f, &stats);
    CHECK(stats.ranks == 0);
    close_all(f);
}

/* Live, with the socket joined: an event has come through it. */
static bool joined(void *arg) {
    if (seen[0].events > 0)
        return true;
    happen(arg, WEIR_KV_STORED, 1, false);
    return false;
}

static void case_gap(void) {
    struct weir_kv_follow *f = open_all();
    struct worker *w = &workers[0];
    struct weir_kv_follow_stats stats;
    seen[0].ready = true;
    open_worker(w, 100, true);
    CHECK(turns_until(loop, live, f));
    CHECK(turns_until(loop, joined, w));
    turns_for(loop, 10);
    unsigned before = w->questions;
    uint64_t first_lost = w->next_id;
    w->least_start = UINT64_MAX; /* a look behind the gap may be asked for as well, and later */
    happen(w, WEIR_KV_STORED, 5, true);
    happen(w, WEIR_KV_STORED, 6, true);
    happen(w, WEIR_KV_STORED, 7, false);
    wait_equal(1);
    CHECK(w->questions > before);
    CHECK(w->least_start <= first_lost);
    weir_kv_follow_stats(f, &stats);
    CHECK(stats.recoveries + stats.restores >= 2 && stats.restores == seen[0].resets);
    weir_event_pub_close(w->pub);
    close_all(f);
}

/* Nothing is applied, asked or held for a worker that the owner does not know; then all of it. */
static void case_ready_later(void) {
    struct weir_kv_follow *f = open_all();
    struct worker *w = &workers[0];
    open_worker(w, 100, true);
    for (unsigned i = 0; i < 20; i++)
        random_event(w, false);
    turns_for(loop, 120);
    CHECK(w->questions == 0 && seen[0].events == 0);
    happen(w, WEIR_KV_STORED, 3, false);
    seen[0].ready = true;
    wait_equal(1);
    CHECK(w->questions >= 1);
    /* Lost again, and found again. */
    refuse_events = true;
    for (unsigned i = 0; i < 5; i++)
        random_event(w, false);
    turns_for(loop, 30);
    refuse_events = false;
    turns_for(loop, 60);
    unsigned before = w->questions;
    seen[0].ready = true;
    wait_equal(1);
    CHECK(w->questions >= before);
    weir_event_pub_close(w->pub);
    close_all(f);
}

/* A worker without a query endpoint: live at once, reset at each gap. */
static void case_without_endpoint(void) {
    struct weir_kv_follow *f = open_all();
    struct worker *w = &workers[0];
    seen[0].ready = true;
    open_worker(w, 100, false);
    CHECK(turns_until(loop, live, f));
    CHECK(turns_until(loop, joined, w));
    turns_for(loop, 10);
    CHECK(w->questions == 0);
    unsigned before = seen[0].resets;
    happen(w, WEIR_KV_STORED, 9, true);
    happen(w, WEIR_KV_STORED, 10, false);
    happen(w, WEIR_KV_CLEARED, 0, false);
    happen(w, WEIR_KV_STORED, 11, false);
    wait_equal(1);
    CHECK_EQ_U64(seen[0].resets, before + 1);
    weir_event_pub_close(w->pub);
    close_all(f);
}

/* Everything at once, from three workers. */
static void case_random(void) {
    struct weir_kv_follow *f = open_all();
    struct weir_kv_follow_stats stats;
    weir_rng_seed(&rng, check_seed());
    for (unsigned i = 0; i < WORKERS; i++) {
        seen[i].ready = true;
        open_worker(&workers[i], 100 + i, true);
        workers[i].trouble = 30;
    }
    for (unsigned step = 0; step < 3000; step++) {
        struct worker *w = &workers[weir_rng_below(&rng, WORKERS)];
        random_event(w, weir_rng_below(&rng, 20) == 0);
        if (weir_rng_below(&rng, 200) == 0)
            for (unsigned k = 0; k < RING + 10; k++) /* more than the worker remembers */
                random_event(w, true);
        if (weir_rng_below(&rng, 8) == 0)
            turns_flush(loop);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        workers[i].trouble = 0;
    wait_equal(WORKERS);
    weir_kv_follow_stats(f, &stats);
    CHECK(stats.recoveries > 0 && stats.failures > 0 && stats.misplaced == 0 &&
          stats.unreadable == 0);
    for (unsigned i = 0; i < WORKERS; i++)
        weir_event_pub_close(workers[i].pub);
    close_all(f);
}

/* ---- the cursor alone ------------------------------------------------------------------------ */

static void case_cursor(void) {
    struct weir_kv_cursor c;
    bool want;
    uint64_t delay = 0;
    weir_kv_cursor_reset(&c);
    CHECK(weir_kv_cursor_event(&c, 5, false, &want) == WEIR_STEP_IGNORE && !want);
    weir_kv_cursor_restore(&c);
    CHECK(weir_kv_cursor_event(&c, 5, false, &want) == WEIR_STEP_HOLD && !want);
    CHECK(weir_kv_cursor_event(&c, 6, false, &want) == WEIR_STEP_HOLD);
    weir_kv_cursor_answered(&c, 5);
    CHECK(weir_kv_cursor_event(&c, 5, false, &want) == WEIR_STEP_IGNORE);
    CHECK(weir_kv_cursor_event(&c, 6, false, &want) == WEIR_STEP_APPLY);
    CHECK(!weir_kv_cursor_gap(&c));
    CHECK(weir_kv_cursor_event(&c, 8, false, &want) == WEIR_STEP_HOLD && want);
    CHECK(c.state == WEIR_CURSOR_RECOVERING && c.last == 6);
    CHECK(weir_kv_cursor_event(&c, 9, false, &want) == WEIR_STEP_HOLD && !want);
    /* The answer holds only 7; 8 was dropped for want of room. */
    weir_kv_cursor_answered(&c, 7);
    CHECK(weir_kv_cursor_gap(&c) && c.state == WEIR_CURSOR_RECOVERING && c.last == 7);
    /* A barrier needs no answer. */
    CHECK(weir_kv_cursor_event(&c, 20, true, &want) == WEIR_STEP_APPLY_AND_DROP && !want);
    CHECK(c.state == WEIR_CURSOR_LIVE && c.last == 20 && !weir_kv_cursor_gap(&c));
    CHECK(weir_kv_cursor_event(&c, 20, true, &want) == WEIR_STEP_IGNORE);
    /* An answer that holds less than was applied takes nothing back. */
    weir_kv_cursor_answered(&c, 3);
    CHECK(c.last == 20);
    /* Questions that fail: pauses that double, then it is given up. */
    CHECK(weir_kv_cursor_event(&c, 30, false, &want) == WEIR_STEP_HOLD && want);
    for (uint64_t i = 0; i < 7; i++) {
        CHECK(weir_kv_cursor_failed(&c, &delay));
        CHECK_EQ_U64(delay, 200u << i);
    }
    CHECK(!weir_kv_cursor_failed(&c, &delay));
    CHECK(c.state == WEIR_CURSOR_LIVE && c.last == 30);
    CHECK(weir_kv_cursor_event(&c, 31, false, &want) == WEIR_STEP_APPLY);
}

int main(void) {
    if (weir_loop_create(0, &loop) != WEIR_OK)
        return 1;
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_cursor);
    CHECK_RUN(case_dump_then_live);
    CHECK_RUN(case_gap);
    CHECK_RUN(case_ready_later);
    CHECK_RUN(case_without_endpoint);
    CHECK_RUN(case_random);
    if (check_failed == 0) {
        weir_loop_destroy(loop);
        weir_zmq_shutdown();
    }
    return check_finish();
}
