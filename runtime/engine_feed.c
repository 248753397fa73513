/*
 * Happy path: SUB and replay sockets open → replay from 0, live batches wait → end mark → those
 * that wait and are new → live. A live batch is the next (applied), an old one (dropped: replay and
 * live overlap), ahead (replay from the last one known), or of a new process: its number went back
 * on the live socket, or it is old by number and new by its time.
 *
 * A replay from number n - 1 answers first with the batch that we had last. Another time in it, or
 * its absence, tells of a new process whose numbers have passed ours. It is asked for after each
 * gap, of a quiet engine, and on each new connection before its first batch: that may carry the
 * very number that the old process would have given.
 *
 * An answer speaks for the batches that had come when its question was asked ("covered"): what it
 * does not close of the gap before such a batch cannot be closed, and what it overtook is old. One
 * that came later is a batch like any other, so at most one question is asked for each.
 */
#include "runtime/engine_feed.h"

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/zmq.h"

#include <inttypes.h>
#include <string.h>

enum {
    ARENA_MAX = 64 << 20,
    WAITING_MAX = 16384, /* batches */
    VERIFY_MS = 1000,
    ANSWER_MS = 5000,
    TIMES = 1024,
};
#define WAITING_BYTES_MAX ((size_t)64 << 20)

enum state { LIVE, ASKING };

struct batch {
    struct weir_list node;
    uint64_t seq;
    uint64_t covered_by; /* the first question that was asked after it came */
    size_t len;
    char payload[];
};

struct weir_engine_feed {
    struct weir_loop *loop;          /* borrowed */
    struct weir_engine_binds *binds; /* borrowed */
    struct weir_engine_feed_ops ops;
    void *arg;
    struct weir_arena names; /* strings of the source */
    struct weir_engine_source source;
    struct weir_zmq_sub *sub, *replay; /* sub: NULL when bound */
    struct weir_engine_bind *bind;     /* of an engine that connects to us */
    bool stale;                        /* the replay socket may hold answers to an older question */
    struct weir_arena arena;
    enum state state;
    bool known;    /* something was applied: `next` means something */
    uint64_t next; /* number of the batch that is to come */
    double last_time;
    /* Times of the last `n_times` batches that were applied, that of number n at n % TIMES. */
    double times[TIMES];
    uint64_t n_times;
    bool any_live;
    uint64_t last_live;
    /* Of the question under way. */
    uint64_t question; /* 1, 2, … */
    uint64_t asked;
    bool confirmed; /* our last batch was among the answers */
    bool for_gap;   /* not just to make sure */
    bool rejoined;  /* connected anew since it was asked */
    bool answered;  /* some question was, so the socket is the right one */
    struct weir_list waiting;
    unsigned n_waiting;
    size_t waiting_bytes;
    bool quiet; /* no live batch since the timer was started */
    struct weir_timer timer;
    struct weir_engine_feed_stats stats;
};

#define BATCH(n) WEIR_CONTAINER_OF(n, struct batch, node)

static void ask(struct weir_engine_feed *f, uint64_t from, bool for_gap);

static void reset(struct weir_engine_feed *f, const char *why) {
    if (f->known) {
        f->stats.resets++;
        f->ops.on_reset(f->arg, why);
    }
    f->known = false;
    f->next = 0;
    f->last_time = 0;
    f->n_times = 0;
}

static uint64_t last_known(const struct weir_engine_feed *f) {
    return f->next > 0 ? f->next - 1 : 0;
}

/* ---- batches that wait -------------------------------------------------------------------- */

static void drop_batch(struct weir_engine_feed *f, struct batch *b) {
    weir_list_remove(&b->node);
    f->n_waiting--;
    f->waiting_bytes -= b->len;
    weir_free(b);
}

static void drop_waiting(struct weir_engine_feed *f) {
    WEIR_LIST_FOREACH(it, &f->waiting) {
        drop_batch(f, BATCH(it));
    }
}

/* Too many: all are dropped, and the gap that this leaves is closed by another replay. */
static void wait(struct weir_engine_feed *f, uint64_t seq, uint64_t covered_by,
                 struct weir_span payload) {
    struct batch *b = NULL;
    if (f->n_waiting < WAITING_MAX && f->waiting_bytes + payload.len <= WAITING_BYTES_MAX)
        b = weir_malloc(sizeof(*b) + payload.len);
    if (b == NULL) {
        drop_waiting(f);
        return;
    }
    b->seq = seq;
    b->covered_by = covered_by;
    b->len = payload.len;
    memcpy(b->payload, payload.data, payload.len);
    weir_list_push_back(&f->waiting, &b->node);
    f->n_waiting++;
    f->waiting_bytes += b->len;
}

/* ---- applying ----------------------------------------------------------------------------- */

static void on_event(void *arg, const struct weir_engine_event *event) {
    struct weir_engine_feed *f = arg;
    f->ops.on_event(f->arg, event);
}

static void log_broken(const struct weir_engine_feed *f, uint64_t seq) {
    static struct weir_log_limit limit;
    uint32_t more = 0;
    if (weir_log_limit_ok(&limit, 1, &more))
        WEIR_LOG(WEIR_LOG_WARN, "engines",
                 "batch %" PRIu64 " of %.*s cannot be read: the rank's blocks are forgotten; %u "
                 "more were not reported",
                 seq, WEIR_SPAN_ARG(f->source.events), more);
}

/* The same bytes give the same number; 0 for what cannot be read, which apply() tells. */
static double time_of(struct weir_span payload) {
    double time = 0;
    return weir_engine_batch_time(payload, &time) == WEIR_OK ? time : 0;
}

static void apply(struct weir_engine_feed *f, uint64_t seq, struct weir_span payload) {
    struct weir_engine_batch b;
    enum weir_status st = weir_engine_batch_decode_joined(payload, &f->arena, on_event, f, &b);
    f->stats.batches++;
    f->known = true;
    if (st != WEIR_OK) {
        f->stats.broken++;
        log_broken(f, seq);
        reset(f, "a batch cannot be read");
    }
    f->known = true;
    f->n_times = seq == f->next && f->n_times < TIMES ? f->n_times + 1 : 1;
    f->next = seq + 1;
    f->last_time = f->times[seq % TIMES] = time_of(payload);
    f->ops.on_batch(f->arg, f->next);
}

/* Whether a batch whose number was applied already is one of another process. */
static bool differs(const struct weir_engine_feed *f, uint64_t seq, double time) {
    if (f->next - seq <= f->n_times)
        return time != f->times[seq % TIMES];
    return time > f->last_time;
}

/* False: it has to wait for a replay, which has begun. */
static bool take(struct weir_engine_feed *f, uint64_t seq, struct weir_span payload, bool covered) {
    bool back = f->any_live && seq <= f->last_live;
    bool anew = !covered && seq < f->next && differs(f, seq, time_of(payload));
    if (f->known && (back || anew)) {
        reset(f, "its events begin anew");
        f->any_live = false;
        if (f->replay != NULL) {
            ask(f, 0, true);
            return false;
        }
    }
    if (f->known && seq > f->next) {
        f->stats.gaps++;
        if (f->replay != NULL && !covered) {
            ask(f, last_known(f), true);
            return false;
        }
        reset(f, "events are lost");
    }
    f->any_live = true;
    f->last_live = seq;
    if (f->known && seq < f->next)
        f->stats.repeated++;
    else
        apply(f, seq, payload);
    return true;
}

static bool read_seq(struct weir_span frame, uint64_t *ret) {
    uint64_t seq = 0;
    if (frame.len != 8)
        return false;
    for (int i = 0; i < 8; i++)
        seq = seq << 8 | (unsigned char)frame.data[i];
    *ret = seq;
    return true;
}

static void on_live(void *arg, const struct weir_span *frames, size_t n) {
    struct weir_engine_feed *f = arg;
    uint64_t seq;
    if (n != 3 || !read_seq(frames[1], &seq)) {
        f->stats.broken++;
        return;
    }
    f->quiet = false;
    if (f->state == ASKING)
        wait(f, seq, f->question + 1, frames[2]);
    else if (!take(f, seq, frames[2], false))
        wait(f, seq, f->question, frames[2]);
}

/* ---- replay ------------------------------------------------------------------------------- */

static void arm(struct weir_engine_feed *f, uint64_t ms) {
    if (weir_timer_start(&f->timer, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "engines", "out of memory: %.*s is not watched",
                 WEIR_SPAN_ARG(f->source.events));
}

/* What waits, in order, until one of them calls for another replay. */
static void go_live(struct weir_engine_feed *f) {
    f->state = LIVE;
    f->stats.live = true;
    f->quiet = true;
    if (f->replay != NULL)
        arm(f, VERIFY_MS);
    WEIR_LIST_FOREACH(it, &f->waiting) {
        struct batch *b = BATCH(it);
        if (!take(f, b->seq, weir_span(b->payload, b->len), b->covered_by <= f->question))
            return;
        drop_batch(f, b);
    }
}

static void on_joined(void *arg) {
    struct weir_engine_feed *f = arg;
    f->rejoined = true;
    if (f->state == LIVE && f->replay != NULL && f->known)
        ask(f, last_known(f), false);
}

static void restarted(struct weir_engine_feed *f) {
    reset(f, "another process answers in its place");
    f->any_live = false;
    f->stale = true;
    drop_waiting(f); /* the replay has them too */
    ask(f, 0, true);
}

static void end_answer(struct weir_engine_feed *f) {
    f->known |= f->asked == 0; /* also when it has published nothing yet */
    if (f->known && !f->confirmed && f->asked + 1 == f->next)
        restarted(f);
    else if (f->rejoined) /* the answers may be the old process's */
        ask(f, last_known(f), false);
    else
        go_live(f);
}

static void on_answer(void *arg, const struct weir_span *frames, size_t n) {
    struct weir_engine_feed *f = arg;
    uint64_t seq;
    if (f->state != ASKING || n < 3 || n > 4 || !read_seq(frames[n - 2], &seq))
        return;
    struct weir_span payload = frames[n - 1];
    f->answered = true;
    if (seq == UINT64_MAX || payload.len == 0) {
        end_answer(f);
        return;
    }
    if (f->known && seq + 1 == f->next) {
        f->confirmed = time_of(payload) == f->last_time;
        if (!f->confirmed)
            restarted(f);
        return;
    }
    if (f->known && seq < f->next)
        return;
    if (f->known && (seq > f->next || !f->confirmed)) {
        /* Its buffer no longer holds what we lack. */
        if (seq > f->next)
            reset(f, "events are lost");
        else if (f->asked + 1 == f->next) {
            restarted(f);
            return;
        }
    }
    f->stats.replayed += f->known;
    apply(f, seq, payload);
    f->confirmed = true;
}

static enum weir_status open_replay(struct weir_engine_feed *f, struct weir_err *err) {
    weir_zmq_sub_close(f->replay);
    f->replay = NULL;
    f->stale = false;
    return weir_zmq_dealer_open(f->loop, f->source.replay.data, on_answer, f, &f->replay, err);
}

static void ask(struct weir_engine_feed *f, uint64_t from, bool for_gap) {
    char room[8];
    struct weir_err err = {.text = ""};
    enum weir_status st = f->stale ? open_replay(f, &err) : WEIR_OK;
    for (int i = 0; i < 8; i++)
        room[i] = (char)(from >> (56 - 8 * i));
    struct weir_span frames[] = {weir_span("", 0), weir_span(room, 8)};
    if (st == WEIR_OK)
        st = weir_zmq_sub_send(f->replay, frames, 2);
    f->state = ASKING;
    f->question++;
    f->asked = from;
    f->confirmed = f->rejoined = false;
    f->for_gap = for_gap;
    f->stats.replays += for_gap;
    f->stale |= st != WEIR_OK;
    arm(f, ANSWER_MS);
}

static void on_timer(void *arg) {
    struct weir_engine_feed *f = arg;
    if (f->state == LIVE) {
        if (!f->quiet || !f->known)
            f->quiet = true;
        else {
            ask(f, last_known(f), false);
            return;
        }
        arm(f, VERIFY_MS);
        return;
    }
    f->stale = true; /* it may answer yet */
    if (f->answered) {
        /* It has stopped, or has gone and come back elsewhere. */
        reset(f, "its replay socket does not answer");
        drop_waiting(f);
        ask(f, 0, true);
        return;
    }
    WEIR_LOG(WEIR_LOG_WARN, "engines",
             "%.*s does not answer: lost events of its engine cannot be made good",
             WEIR_SPAN_ARG(f->source.replay));
    weir_zmq_sub_close(f->replay);
    f->replay = NULL;
    go_live(f);
}

/* ---- life --------------------------------------------------------------------------------- */

static bool copy_source(struct weir_engine_feed *f, const struct weir_engine_source *s) {
    f->source = (struct weir_engine_source){.rank = s->rank,
                                            .events = weir_arena_copy(&f->names, s->events),
                                            .replay = weir_arena_copy(&f->names, s->replay),
                                            .topic = weir_arena_copy(&f->names, s->topic)};
    return f->source.events.data != NULL && f->source.replay.data != NULL &&
           f->source.topic.data != NULL;
}

static void disconnect(struct weir_engine_feed *f) {
    weir_zmq_sub_close(f->sub);
    weir_engine_bind_leave(f->bind);
    weir_zmq_sub_close(f->replay);
    f->sub = f->replay = NULL;
    f->bind = NULL;
    weir_timer_stop(&f->timer);
    drop_waiting(f);
}

static enum weir_status connect_all(struct weir_engine_feed *f, struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    if (weir_span_starts(f->source.events, WEIR_SPAN_LIT("tcp://*:")))
        st = weir_engine_bind_join(f->binds, f->source.events.data, f->source.topic, f->source.rank,
                                   on_live, on_joined, f, &f->bind, err);
    else
        st = weir_zmq_sub_open(f->loop, f->source.events.data, f->source.topic, on_live, f, &f->sub,
                               err);
    if (st == WEIR_OK && f->sub != NULL)
        weir_zmq_sub_on_joined(f->sub, on_joined);
    if (st == WEIR_OK && f->source.replay.len > 0)
        st = open_replay(f, err);
    if (st != WEIR_OK)
        disconnect(f);
    else if (f->replay != NULL)
        ask(f, last_known(f), true);
    return st;
}

enum weir_status weir_engine_feed_open(struct weir_loop *loop, struct weir_engine_binds *binds,
                                       const struct weir_engine_source *source,
                                       const struct weir_engine_feed_ops *ops, void *arg,
                                       struct weir_engine_feed **ret_feed, struct weir_err *err) {
    struct weir_engine_feed *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->loop = loop;
    f->binds = binds;
    f->ops = *ops;
    f->arg = arg;
    weir_list_init(&f->waiting);
    weir_arena_init(&f->names, 64 << 10);
    weir_arena_init(&f->arena, ARENA_MAX);
    weir_timer_init(&f->timer, loop, on_timer, f);
    enum weir_status st =
        copy_source(f, source) ? WEIR_OK : weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (st == WEIR_OK)
        st = connect_all(f, err);
    if (st != WEIR_OK) {
        weir_engine_feed_close(f);
        return st;
    }
    *ret_feed = f;
    return WEIR_OK;
}

void weir_engine_feed_pause(struct weir_engine_feed *feed) {
    disconnect(feed);
    feed->state = LIVE;
}

enum weir_status weir_engine_feed_resume(struct weir_engine_feed *feed, struct weir_err *err) {
    return connect_all(feed, err);
}

void weir_engine_feed_close(struct weir_engine_feed *feed) {
    if (feed == NULL)
        return;
    disconnect(feed);
    weir_arena_fini(&feed->names);
    weir_arena_fini(&feed->arena);
    weir_free(feed);
}

void weir_engine_feed_get_stats(const struct weir_engine_feed *feed,
                                struct weir_engine_feed_stats *ret_stats) {
    *ret_stats = feed->stats;
}
