/*
 * How a snapshot is put together. Happy path: a step of the dump → its events into a buffer → a
 * full buffer into the spool, whose thread writes it → the next step → … → the head, which counts
 * the events → told. The loop goes on between steps and while the disk writes; messages that come
 * meanwhile are held, so that all is of one moment, and applied behind the end. No more than one
 * pull of them can come, since the next one is asked for when they were applied.
 *
 * Failure modes: a worker goes, the connection goes, a dump or write fails, it takes too long: what
 * is held is applied, and a later look begins anew.
 *
 * Who may close when: the owner, at any time.
 */
#include "base/mem.h"
#include "runtime/kv_stream_priv.h"

enum {
    BUFFER_BYTES = 128 * 1024, /* go into the spool at once, or more: what a step has told, */
    STEP_BYTES = 8 << 20,      /* and no step tells so much */
    PAUSE_MS = 1,              /* between steps */
    DUMP_MS = 20000,           /* so long messages may wait */
    HELD_MAX = 64 << 20,       /* bytes of them */
};

struct held {
    struct weir_list node;
    unsigned status;
    size_t len;   /* of the payload, */
    char bytes[]; /* which stands behind the reply subject and its NUL */
};

struct weir_kv_dumping {
    struct weir_radix_writer w;
    struct weir_buf bytes;    /* not in the spool yet */
    struct weir_spool *spool; /* owned */
    void *dump;               /* of the ops; NULL: all is told */
    enum { DUMPS, WRITES, WRITES_HEAD } state;
    bool more;
    enum weir_status failed; /* why it is void */
    uint64_t high;           /* the state is that after this message */
    uint64_t deadline_ms;
    struct weir_timer step;
    struct weir_list held;
    size_t held_bytes;
};

static void wake(struct weir_kv_dumping *d, uint64_t ms) {
    if (weir_timer_start(&d->step, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "out of memory: a snapshot stands still");
}

static void close_dump(struct weir_kv_stream *s, struct weir_kv_dumping *d) {
    if (d->dump != NULL)
        s->all->config.dump.close(d->dump);
    d->dump = NULL;
}

/* ---- messages that wait ------------------------------------------------------------------- */

static void drop_held(struct weir_kv_dumping *d) {
    WEIR_LIST_FOREACH(it, &d->held) {
        struct held *h = WEIR_CONTAINER_OF(it, struct held, node);
        weir_list_remove(&h->node);
        weir_free(h);
    }
}

static bool keep(struct weir_kv_dumping *d, const struct weir_nats_msg *msg) {
    size_t n_reply = msg->reply != NULL ? strlen(msg->reply) + 1 : 0;
    size_t bytes = n_reply + msg->payload.len;
    struct held *h = d->held_bytes + bytes <= HELD_MAX ? weir_malloc(sizeof(*h) + bytes + 1) : NULL;
    if (h == NULL)
        return false;
    h->status = msg->status;
    h->len = msg->payload.len;
    h->bytes[0] = '\0';
    if (n_reply > 0)
        memcpy(h->bytes, msg->reply, n_reply);
    if (h->len > 0)
        memcpy(h->bytes + strlen(h->bytes) + 1, msg->payload.data, h->len);
    d->held_bytes += bytes;
    weir_list_push_back(&d->held, &h->node);
    return true;
}

/* Those behind one that ends the pull are asked for again: then false. */
static bool apply_held(struct weir_kv_stream *s, struct weir_kv_dumping *d) {
    const struct weir_js_call *pull = s->pull;
    WEIR_LIST_FOREACH(it, &d->held) {
        const struct held *h = WEIR_CONTAINER_OF(it, struct held, node);
        const struct weir_nats_msg msg = {.reply = h->bytes[0] != '\0' ? h->bytes : NULL,
                                          .payload =
                                              weir_span(h->bytes + strlen(h->bytes) + 1, h->len),
                                          .status = h->status};
        if (s->pull == pull && pull != NULL)
            weir_kv_stream_pulled(s, WEIR_OK, &msg);
    }
    drop_held(d);
    return s->pull == pull;
}

bool weir_kv_stream_holds(struct weir_kv_stream *s, enum weir_status st,
                          const struct weir_nats_msg *msg) {
    struct weir_kv_dumping *d = s->dumping;
    if (d == NULL)
        return false;
    if (st == WEIR_OK && keep(d, msg))
        return true;
    d->failed = st == WEIR_OK ? WEIR_LIMIT : WEIR_CANCELLED;
    wake(d, 0);
    if (st != WEIR_OK) {
        drop_held(d); /* unacknowledged: they come again */
        return false;
    }
    close_dump(s, d);
    return !apply_held(s, d);
}

/* ---- steps -------------------------------------------------------------------------------- */

static void destroy(struct weir_kv_stream *s, struct weir_kv_dumping *d) {
    close_dump(s, d);
    weir_timer_stop(&d->step);
    weir_spool_destroy(d->spool);
    weir_buf_fini(&d->bytes);
    drop_held(d);
    weir_free(d);
}

/* The pull stands still while messages are held, and its time with it. */
static void wait_for_pull(struct weir_kv_stream *s, uint64_t ms) {
    if (s->pull != NULL && weir_js_wait(s->pull, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "events", "out of memory: a pull has no time limit");
}

static void end(struct weir_kv_stream *s, enum weir_status st) {
    struct weir_kv_dumping *d = s->dumping;
    struct weir_spool *spool = st == WEIR_OK ? d->spool : NULL;
    if (st == WEIR_OK)
        d->spool = NULL;
    close_dump(s, d);
    s->dumping = NULL;
    weir_kv_stream_dumped(s, st, spool, d->w.n, d->high);
    wait_for_pull(s, WEIR_KVS_PULL_WAIT_MS);
    (void)apply_held(s, d);
    destroy(s, d);
}

/* A snapshot without what a known worker holds would let its events be purged. */
static bool is_void(const struct weir_kv_stream *s) {
    return s->core.state != WEIR_KVS_LIVE || weir_kvs_catching_up(&s->core) ||
           weir_kv_stream_owes(s);
}

static void on_spooled(void *arg, enum weir_status st, struct weir_span none) {
    struct weir_kv_stream *s = arg;
    struct weir_kv_dumping *d = s->dumping;
    (void)none;
    if (d->failed == WEIR_OK)
        d->failed = st;
    if (d->failed == WEIR_OK && d->state == WRITES_HEAD) {
        end(s, is_void(s) ? WEIR_CANCELLED : WEIR_OK);
        return;
    }
    d->state = DUMPS;
    wake(d, 0);
}

static void on_dumped(void *arg, const struct weir_kv_event *event) {
    struct weir_kv_dumping *d = arg;
    weir_radix_put(&d->w, event);
}

static enum weir_status write_head(struct weir_kv_stream *s, struct weir_kv_dumping *d) {
    char head[WEIR_RADIX_HEAD];
    enum weir_status st = weir_radix_end(&d->w, head);
    if (st == WEIR_OK)
        st = weir_buf_append(&d->bytes, head, sizeof(head));
    if (st != WEIR_OK)
        return st;
    d->state = WRITES_HEAD;
    weir_spool_replace(d->spool, 0, &d->bytes, on_spooled, s);
    return WEIR_OK;
}

static enum weir_status step(struct weir_kv_stream *s, struct weir_kv_dumping *d) {
    if (!d->more)
        return write_head(s, d);
    enum weir_status st = s->all->config.dump.step(d->dump, on_dumped, d, &d->more);
    if (st == WEIR_OK)
        st = d->w.status;
    if (st != WEIR_OK)
        return st;
    if (weir_spool_size(d->spool) + d->bytes.len > s->all->config.snapshot_max_bytes)
        return WEIR_TOO_LARGE;
    if (d->more && d->bytes.len < BUFFER_BYTES)
        return WEIR_OK;
    d->state = WRITES;
    weir_spool_append(d->spool, &d->bytes, on_spooled, s);
    return WEIR_OK;
}

static void on_step(void *arg) {
    struct weir_kv_stream *s = arg;
    struct weir_kv_dumping *d = s->dumping;
    uint64_t now = weir_loop_now_ms(s->all->loop);
    if (d->failed == WEIR_OK && is_void(s))
        d->failed = WEIR_CANCELLED;
    if (d->failed == WEIR_OK && now >= d->deadline_ms)
        d->failed = WEIR_TIMEOUT;
    if (d->failed == WEIR_OK && d->state == DUMPS)
        d->failed = step(s, d);
    if (d->failed != WEIR_OK)
        end(s, d->failed);
    else
        wake(d, d->state == DUMPS ? PAUSE_MS : d->deadline_ms - now);
}

/* ---- life --------------------------------------------------------------------------------- */

enum weir_status weir_kv_stream_dump(struct weir_kv_stream *s) {
    const struct weir_kv_streams_config *c = &s->all->config;
    struct weir_kv_dumping *d = weir_calloc(1, sizeof(*d));
    if (d == NULL)
        return WEIR_NOMEM;
    c->ops.on_end(c->arg); /* what was applied is in the index */
    weir_buf_init(&d->bytes, STEP_BYTES);
    weir_radix_begin(&d->w, &d->bytes);
    weir_list_init(&d->held);
    weir_timer_init(&d->step, s->all->loop, on_step, s);
    d->more = true;
    d->high = s->core.high;
    d->deadline_ms = weir_loop_now_ms(s->all->loop) + DUMP_MS;
    enum weir_status st = weir_spool_create(s->all->loop, &d->spool);
    if (st == WEIR_OK)
        st = c->dump.open(c->arg, &s->workers, &d->dump);
    if (st == WEIR_OK)
        st = weir_timer_start(&d->step, 0);
    if (st != WEIR_OK) {
        destroy(s, d);
        return st;
    }
    s->dumping = d;
    wait_for_pull(s, DUMP_MS + WEIR_KVS_PULL_WAIT_MS);
    return WEIR_OK;
}

void weir_kv_stream_dump_void(struct weir_kv_stream *s) {
    if (s->dumping == NULL)
        return;
    s->dumping->failed = WEIR_CANCELLED;
    wake(s->dumping, 0);
}

void weir_kv_stream_dump_stop(struct weir_kv_stream *s) {
    if (s->dumping == NULL)
        return;
    destroy(s, s->dumping);
    s->dumping = NULL;
}
