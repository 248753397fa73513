/*
 * Happy path of a rank: its source appears → the owner is ready for its worker → its whole cache is
 * asked for → reset, dump, held events → live events one by one → a gap: the missing ids are asked
 * for, what comes meanwhile is held → … → the source goes: reset. After each connection a live rank
 * is asked whether it is behind (kv_cursor.h: looks); its live events go on meanwhile.
 *
 * Failure modes: no answer, or an unreadable one: asked again with growing pauses, then given up
 * (reset, live from there; after a look nothing is reset). A rank without a query endpoint is live
 * at once and is reset at each gap. Held events without room: the oldest go, the gap is asked for.
 * Who may close when: the owner. A rank and its question live as long as its source record.
 */
#include "runtime/kv_follow.h"

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "runtime/kv_cursor.h"
#include "wire/kv_query.h"

#include <inttypes.h>
#include <string.h>

enum {
    MAX_RANKS = 65536,
    MAX_HELD = 1024,
    MAX_HELD_BYTES = 16 << 20,
    MAX_QUESTIONS = 16, /* at one time */
    READY_MS = 50,
    QUESTION_MS = 30000, /* a large dump takes its time */
    ARENA_MAX = 64 << 20,
    ANSWER_MAX = 512 << 20,
};

/* An event that waits, as an array of one RouterEvent. */
struct held {
    struct weir_list node;
    size_t len;
    char bytes[];
};

struct rank {
    struct weir_list node;     /* in follow.ranks */
    struct weir_list question; /* in follow.waiting while it waits for its turn to ask */
    struct weir_kv_follow *follow;
    uint64_t publisher_id, worker_id;
    uint32_t dp_rank;
    char *address; /* owned: of the query endpoint; NULL: none */
    enum weir_codec codec;
    struct weir_kv_cursor cursor;
    struct weir_plane_call *call; /* the open question, or NULL; a look while the cursor is live */
    struct weir_timer timer;      /* the pause before the next question */
    struct weir_list held;
    unsigned n_held;
    size_t held_bytes;
};

struct weir_kv_follow {
    struct weir_loop *loop;
    struct weir_nats *nats;           /* borrowed, or NULL */
    struct weir_plane_client *client; /* borrowed */
    struct weir_kv_follow_ops ops;
    void *arg;
    struct weir_event_sub *sub;
    struct weir_list ranks, waiting;
    struct weir_map by_publisher;
    unsigned n_ranks, n_questions;
    struct weir_timer ready;
    struct weir_arena arena; /* of the event that is being handed over */
    struct weir_log_limit limit;
    struct weir_kv_follow_stats stats;
};

static void ask(struct rank *r);
static void ask_next(struct weir_kv_follow *f);
static void plan_look(struct rank *r);

/* ---- held events -------------------------------------------------------------------------- */

static void drop_oldest(struct rank *r) {
    struct held *h = WEIR_CONTAINER_OF(r->held.next, struct held, node);
    weir_list_remove(&h->node);
    r->n_held--;
    r->held_bytes -= h->len;
    weir_free(h);
}

static void drop_held(struct rank *r) {
    while (r->n_held > 0)
        drop_oldest(r);
}

static void hold(struct rank *r, const struct weir_kv_event *event) {
    struct weir_buf bytes;
    weir_buf_init(&bytes, MAX_HELD_BYTES);
    struct held *h = NULL;
    if (weir_kv_events_encode(event, 1, &bytes) == WEIR_OK)
        h = weir_malloc(sizeof(*h) + bytes.len);
    if (h != NULL) {
        h->len = bytes.len;
        memcpy(h->bytes, bytes.data, bytes.len);
        weir_list_push_back(&r->held, &h->node);
        r->n_held++;
        r->held_bytes += h->len;
    }
    weir_buf_fini(&bytes);
    r->follow->stats.held_dropped += h == NULL;
    while (r->n_held > MAX_HELD || r->held_bytes > MAX_HELD_BYTES) {
        drop_oldest(r);
        r->follow->stats.held_dropped++;
    }
}

/* ---- events ------------------------------------------------------------------------------- */

static void end_question(struct rank *r) {
    if (r->call != NULL) {
        weir_plane_call_cancel(r->call, false);
        r->call = NULL;
        r->follow->n_questions--;
    }
    weir_timer_stop(&r->timer);
    weir_list_remove(&r->question);
}

static void wait_for_owner(struct weir_kv_follow *f, uint64_t ms) {
    if (!weir_timer_active(&f->ready) && weir_timer_start(&f->ready, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "out of memory: some caches stay unknown");
}

static void deliver(struct rank *r, const struct weir_kv_event *event) {
    struct weir_kv_follow *f = r->follow;
    if (r->cursor.state == WEIR_CURSOR_COLD || f->ops.on_event(f->arg, event))
        return;
    end_question(r);
    drop_held(r);
    weir_kv_cursor_reset(&r->cursor);
    wait_for_owner(f, READY_MS);
}

/* A rank that cannot be asked is reset at a gap and goes on. */
static enum weir_kv_step without_questions(struct rank *r, const struct weir_kv_event *event) {
    struct weir_kv_cursor *c = &r->cursor;
    bool first = c->max_seen == 0;
    if (!first && event->event_id <= c->last)
        return WEIR_STEP_IGNORE;
    if (!first && event->event_id != c->last + 1 && event->kind != WEIR_KV_CLEARED)
        r->follow->ops.on_reset(r->follow->arg, r->worker_id, r->dp_rank);
    c->last = c->max_seen = event->event_id;
    return WEIR_STEP_APPLY;
}

/* One event, live or held. True when it is done with. */
static bool take_event(struct rank *r, const struct weir_kv_event *event) {
    bool wanted = false;
    enum weir_kv_step step = r->address == NULL && r->cursor.state == WEIR_CURSOR_LIVE
                                 ? without_questions(r, event)
                                 : weir_kv_cursor_event(&r->cursor, event->event_id,
                                                        event->kind == WEIR_KV_CLEARED, &wanted);
    if (step == WEIR_STEP_APPLY_AND_DROP) {
        end_question(r);
        drop_held(r);
    }
    if (step == WEIR_STEP_APPLY || step == WEIR_STEP_APPLY_AND_DROP)
        deliver(r, event);
    if (step == WEIR_STEP_APPLY_AND_DROP) {
        plan_look(r);
        ask_next(r->follow);
    }
    if (wanted)
        ask(r);
    return step != WEIR_STEP_HOLD;
}

static void on_live(void *arg, const struct weir_kv_event *event) {
    struct rank *r = arg;
    if (event->worker_id != r->worker_id || event->dp_rank != r->dp_rank)
        r->follow->stats.misplaced++;
    else {
        weir_kv_cursor_heard(&r->cursor);
        if (!take_event(r, event))
            hold(r, event);
    }
}

struct offered {
    struct rank *rank;
    bool done;
};

static void on_held(void *arg, const struct weir_kv_event *event) {
    struct offered *o = arg;
    o->done = take_event(o->rank, event);
}

/* After an answer. Stops at the first that must go on waiting. */
static void offer_held(struct rank *r) {
    struct weir_arena arena;
    weir_arena_init(&arena, ARENA_MAX);
    while (r->n_held > 0 && r->cursor.state == WEIR_CURSOR_LIVE) {
        struct held *h = WEIR_CONTAINER_OF(r->held.next, struct held, node);
        struct offered o = {r, true};
        /* Out of the list first: a barrier empties it. */
        weir_list_remove(&h->node);
        r->n_held--;
        r->held_bytes -= h->len;
        if (weir_kv_events_decode(weir_span(h->bytes, h->len), &arena, on_held, &o) != WEIR_OK)
            r->follow->stats.held_dropped++;
        if (o.done) {
            weir_free(h);
            continue;
        }
        weir_list_push_front(&r->held, &h->node);
        r->n_held++;
        r->held_bytes += h->len;
    }
    weir_arena_fini(&arena);
}

static void on_message(void *arg, const struct weir_event_msg *msg) {
    struct weir_kv_follow *f = arg;
    uint64_t value = 0;
    uint32_t dropped;
    if (!weir_map_get(&f->by_publisher, msg->publisher_id, &value))
        return; /* its source has gone, or there was no room for it */
    enum weir_status st =
        weir_kv_events_decode(msg->payload, &f->arena, on_live, (struct rank *)(uintptr_t)value);
    f->stats.unreadable += st != WEIR_OK;
    if (st != WEIR_OK && weir_log_limit_ok(&f->limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "kv-events message %" PRIu64
                 " of publisher %s cannot be read; %u more were not reported",
                 msg->sequence, weir_worker_text(msg->publisher_id).s, dropped);
}

static void on_rest(void *arg) {
    struct weir_kv_follow *f = arg;
    f->ops.on_end(f->arg);
}

/* ---- questions ---------------------------------------------------------------------------- */

static void on_apply(void *arg, const struct weir_kv_event *event) {
    struct rank *r = arg;
    if (event->worker_id == r->worker_id && event->dp_rank == r->dp_rank)
        deliver(r, event);
    else
        r->follow->stats.misplaced++;
}

/* Only what is new: the worker's list runs from the id asked for to its newest. */
static void on_missed(void *arg, const struct weir_kv_event *event) {
    struct rank *r = arg;
    if (event->event_id > r->cursor.last)
        on_apply(arg, event);
}

static void look_failed(struct rank *r, const char *why) {
    uint32_t dropped;
    if (!weir_kv_cursor_look_failed(&r->cursor, weir_loop_now_ms(r->follow->loop)) &&
        weir_log_limit_ok(&r->follow->limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "worker %s rank %u does not say whether events of its cache were lost: "
                 "%s; its next event will",
                 weir_worker_text(r->worker_id).s, r->dp_rank, why);
    plan_look(r);
}

static void question_failed(struct rank *r, const char *why) {
    struct weir_kv_follow *f = r->follow;
    uint64_t delay = 0;
    uint32_t dropped;
    f->stats.failures++;
    if (r->cursor.state == WEIR_CURSOR_LIVE) {
        look_failed(r, why);
        return;
    }
    if (weir_kv_cursor_failed(&r->cursor, &delay)) {
        if (weir_timer_start(&r->timer, delay) == WEIR_OK)
            return;
        why = "out of memory";
    }
    f->stats.given_up++;
    drop_held(r);
    f->ops.on_reset(f->arg, r->worker_id, r->dp_rank);
    if (weir_log_limit_ok(&f->limit, 1, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "events",
                 "the cache of worker %s rank %u is unknown: %s; following new events",
                 weir_worker_text(r->worker_id).s, r->dp_rank, why);
    plan_look(r);
}

static enum weir_status apply_answer(struct rank *r, const struct weir_kv_answer *a) {
    struct weir_kv_follow *f = r->follow;
    enum weir_status st;
    bool look = r->cursor.state == WEIR_CURSOR_LIVE, dump = a->kind == WEIR_KV_TREE_DUMP;
    if (look && (dump || a->kind == WEIR_KV_EVENTS)) {
        if (a->last_event_id <= r->cursor.last)
            return WEIR_OK; /* nothing is missing; live events may have passed it */
        weir_kv_cursor_behind(&r->cursor, dump);
    }
    switch (a->kind) {
    case WEIR_KV_TREE_DUMP:
        f->ops.on_reset(f->arg, r->worker_id, r->dp_rank);
        st = weir_kv_events_decode(a->events, &f->arena, on_apply, r);
        f->stats.restores += st == WEIR_OK;
        return st;
    case WEIR_KV_EVENTS:
        st = weir_kv_events_decode(a->events, &f->arena, on_missed, r);
        f->stats.recoveries += st == WEIR_OK;
        return st;
    case WEIR_KV_TOO_NEW:
        /* Its counter went back, or our question came too late: begin anew. */
        weir_kv_cursor_restore(&r->cursor);
        return WEIR_AGAIN;
    default:
        return WEIR_PROTOCOL;
    }
}

static void on_answer(void *arg, struct weir_span wrapper) {
    struct rank *r = arg;
    struct weir_kv_follow *f = r->follow;
    struct weir_kv_answer a;
    struct weir_buf scratch; /* an answer may be large: its memory goes with it */
    bool look = r->cursor.state == WEIR_CURSOR_LIVE;
    weir_buf_init(&scratch, ANSWER_MAX);
    enum weir_status st = weir_kv_answer_decode(wrapper, r->codec, &scratch, &a);
    if (st == WEIR_OK)
        st = apply_answer(r, &a);
    weir_buf_fini(&scratch);
    end_question(r);
    if (r->cursor.state == WEIR_CURSOR_COLD) {
        /* The owner lost the worker meanwhile. */
    } else if (st == WEIR_OK) {
        weir_kv_cursor_answered(&r->cursor, a.last_event_id);
        if (look)
            weir_kv_cursor_looked(&r->cursor, weir_loop_now_ms(f->loop));
        f->stats.looks += look;
        offer_held(r);
        if (weir_kv_cursor_gap(&r->cursor))
            ask(r);
        else
            plan_look(r);
    } else {
        question_failed(r, st == WEIR_AGAIN ? "its ids went back" : "its answer cannot be used");
    }
    f->ops.on_end(f->arg);
    ask_next(f);
}

static void on_question_end(void *arg, const struct weir_plane_end *end) {
    struct rank *r = arg;
    struct weir_kv_follow *f = r->follow;
    r->call = NULL;
    f->n_questions--;
    question_failed(r, end->status == WEIR_OK ? "no answer" : weir_status_text(end->status));
    ask_next(f);
}

static enum weir_status send_question(struct rank *r) {
    static const struct weir_plane_call_ops ops = {.on_raw = on_answer, .on_end = on_question_end};
    struct weir_kv_follow *f = r->follow;
    /* A look asks from the last one known, which its worker has: from the next, it has nothing yet,
     * and says so as it would of ids that went back. */
    bool look = r->cursor.state == WEIR_CURSOR_LIVE;
    uint64_t start = r->cursor.state == WEIR_CURSOR_RECOVERING ? r->cursor.last + 1
                     : look                                    ? r->cursor.last
                                                               : 0;
    const struct weir_kv_query query = {.worker_id = r->worker_id,
                                        .dp_rank = r->dp_rank,
                                        .has_start = start > 0,
                                        .start_event_id = start,
                                        .recovery = true};
    struct weir_buf body;
    char id[37];
    weir_rng_uuid(weir_loop_rng(f->loop), id);
    weir_buf_init(&body, 4096);
    enum weir_status st = weir_kv_query_encode(&query, r->codec, &body);
    const struct weir_plane_call_config config = {.address = weir_span_z(r->address),
                                                  .request_id = weir_span_z(id),
                                                  .codec = r->codec,
                                                  .take_body = &body,
                                                  .item_ms = QUESTION_MS};
    if (st == WEIR_OK)
        st = weir_plane_call_start(f->client, &config, &ops, r, &r->call);
    if (st == WEIR_OK)
        f->n_questions++;
    else
        r->call = NULL;
    weir_buf_fini(&body);
    return st;
}

/* Takes its place in the queue of questions. */
static void ask(struct rank *r) {
    struct weir_kv_follow *f = r->follow;
    end_question(r);
    weir_list_push_back(&f->waiting, &r->question);
    ask_next(f);
}

static void ask_next(struct weir_kv_follow *f) {
    while (f->n_questions < MAX_QUESTIONS && !weir_list_empty(&f->waiting)) {
        struct rank *r = WEIR_CONTAINER_OF(f->waiting.next, struct rank, question);
        weir_list_remove(&r->question);
        enum weir_status st = send_question(r);
        if (st != WEIR_OK)
            question_failed(r, weir_status_text(st));
    }
}

/* Sends the look that is due, or waits for it. Changes nothing while a question is under way: its
 * end comes here again. */
static void plan_look(struct rank *r) {
    uint64_t wait_ms = 0;
    if (r->address == NULL || r->call != NULL || !weir_list_empty(&r->question))
        return;
    if (weir_kv_cursor_look(&r->cursor, weir_loop_now_ms(r->follow->loop), &wait_ms))
        weir_list_push_back(&r->follow->waiting, &r->question);
    else if (wait_ms != UINT64_MAX && weir_timer_start(&r->timer, wait_ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "out of memory: lost events show with the next one");
}

static void on_pause_over(void *arg) {
    struct rank *r = arg;
    if (r->cursor.state == WEIR_CURSOR_LIVE) {
        plan_look(r);
        ask_next(r->follow);
    } else {
        ask(r);
    }
}

/* ---- sources ------------------------------------------------------------------------------ */

static void begin(struct rank *r) {
    if (r->address == NULL) {
        weir_kv_cursor_answered(&r->cursor, 0);
        return;
    }
    weir_kv_cursor_restore(&r->cursor);
    weir_kv_cursor_joined(&r->cursor, weir_loop_now_ms(r->follow->loop));
    ask(r);
}

/* Ranks whose worker the owner did not know when they appeared. */
static void on_ready(void *arg) {
    struct weir_kv_follow *f = arg;
    bool left = false;
    WEIR_LIST_FOREACH(it, &f->ranks) {
        struct rank *r = WEIR_CONTAINER_OF(it, struct rank, node);
        if (r->cursor.state != WEIR_CURSOR_COLD)
            continue;
        if (f->ops.ready == NULL || f->ops.ready(f->arg, r->worker_id))
            begin(r);
        else
            left = true;
    }
    if (left)
        wait_for_owner(f, READY_MS);
}

static void free_rank(struct rank *r) {
    struct weir_kv_follow *f = r->follow;
    end_question(r);
    drop_held(r);
    weir_map_remove(&f->by_publisher, r->publisher_id);
    weir_list_remove(&r->node);
    f->n_ranks--;
    weir_free(r->address);
    weir_free(r);
}

/* Where to ask, when the record says so. False: no memory. */
static bool take_address(struct rank *r, const struct weir_record *source) {
    const struct weir_record target = {.instance_id = source->worker_id,
                                       .tcp_address = source->recovery_address,
                                       .nats_subject = source->recovery_subject};
    char room[WEIR_PLANE_ADDRESS_BYTES];
    struct weir_span at = weir_plane_address(&target, r->follow->nats != NULL, room);
    if (at.data != NULL)
        r->address = weir_strndup(at.data, at.len);
    return at.data == NULL || r->address != NULL;
}

static struct rank *new_rank(struct weir_kv_follow *f, const struct weir_record *source) {
    struct rank *r = f->n_ranks < MAX_RANKS ? weir_calloc(1, sizeof(*r)) : NULL;
    if (r == NULL)
        return NULL;
    r->follow = f;
    r->publisher_id = source->instance_id;
    r->worker_id = source->worker_id;
    r->dp_rank = source->dp_rank;
    r->codec = source->recovery_codec;
    if (!take_address(r, source) ||
        weir_map_put(&f->by_publisher, r->publisher_id, (uint64_t)(uintptr_t)r) != WEIR_OK) {
        weir_free(r->address);
        weir_free(r);
        return NULL;
    }
    weir_list_init(&r->question);
    weir_list_init(&r->held);
    weir_timer_init(&r->timer, f->loop, on_pause_over, r);
    weir_kv_cursor_reset(&r->cursor);
    weir_list_push_back(&f->ranks, &r->node);
    f->n_ranks++;
    return r;
}

static void on_source(void *arg, const struct weir_record *source, bool present) {
    struct weir_kv_follow *f = arg;
    uint64_t value = 0;
    if (weir_map_get(&f->by_publisher, source->instance_id, &value)) {
        struct rank *r = (struct rank *)(uintptr_t)value;
        uint64_t worker_id = r->worker_id;
        uint32_t dp_rank = r->dp_rank;
        bool known = r->cursor.state != WEIR_CURSOR_COLD;
        free_rank(r);
        if (known)
            f->ops.on_reset(f->arg, worker_id, dp_rank);
        ask_next(f);
    }
    if (!present)
        return;
    if (new_rank(f, source) == NULL)
        WEIR_LOG(WEIR_LOG_ERROR, "events",
                 "the cache events of worker %s are not followed: too many ranks or no "
                 "memory",
                 weir_worker_text(source->worker_id).s);
    else
        wait_for_owner(f, 0);
}

/* A rank that cannot be asked shows the gap with its next event. */
static void on_doubt(void *arg, const struct weir_record *source) {
    struct weir_kv_follow *f = arg;
    uint64_t value = 0;
    if (!weir_map_get(&f->by_publisher, source->instance_id, &value))
        return;
    struct rank *r = (struct rank *)(uintptr_t)value;
    weir_kv_cursor_joined(&r->cursor, weir_loop_now_ms(f->loop));
    if (r->cursor.state != WEIR_CURSOR_LIVE)
        return;      /* a question is under way or waits; the looks follow its answer */
    end_question(r); /* a look of before */
    plan_look(r);
    ask_next(f);
}

/* ---- life --------------------------------------------------------------------------------- */

enum weir_status weir_kv_follow_open(struct weir_loop *loop, struct weir_discovery *disc,
                                     struct weir_nats *nats, struct weir_plane_client *client,
                                     const struct weir_kv_follow_ops *ops, void *arg,
                                     struct weir_kv_follow **ret_follow, struct weir_err *err) {
    static const struct weir_event_sub_ops sub_ops = {on_message, on_rest, .on_source = on_source,
                                                      .on_doubt = on_doubt};
    struct weir_kv_follow *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->loop = loop;
    f->nats = nats;
    f->client = client;
    f->ops = *ops;
    f->arg = arg;
    weir_list_init(&f->ranks);
    weir_list_init(&f->waiting);
    weir_map_init(&f->by_publisher, MAX_RANKS);
    weir_arena_init(&f->arena, ARENA_MAX);
    weir_timer_init(&f->ready, loop, on_ready, f);
    enum weir_status st =
        weir_event_sub_open(loop, disc, nats, "kv-events", true, &sub_ops, f, &f->sub, err);
    if (st != WEIR_OK) {
        weir_kv_follow_close(f);
        return st;
    }
    *ret_follow = f;
    return WEIR_OK;
}

void weir_kv_follow_close(struct weir_kv_follow *follow) {
    if (follow == NULL)
        return;
    weir_event_sub_close(follow->sub);
    weir_timer_stop(&follow->ready);
    while (!weir_list_empty(&follow->ranks))
        free_rank(WEIR_CONTAINER_OF(follow->ranks.next, struct rank, node));
    weir_map_fini(&follow->by_publisher);
    weir_arena_fini(&follow->arena);
    weir_free(follow);
}

void weir_kv_follow_stats(const struct weir_kv_follow *follow, struct weir_kv_follow_stats *ret) {
    *ret = follow->stats;
    ret->ranks = follow->n_ranks;
    WEIR_LIST_FOREACH(it, &follow->ranks) {
        const struct rank *r = WEIR_CONTAINER_OF(it, struct rank, node);
        ret->live += r->cursor.state == WEIR_CURSOR_LIVE;
    }
}
