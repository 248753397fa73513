/*
 * Streams that workers open to us, one an answer. Happy path: accept → a handshake names the
 * subject of a call → prologue → items → complete_final: the call ends well and closes the stream.
 *
 * Failure modes: no handshake in time, or one that names no call that waits: the stream closes and
 * nobody is told. Later: an error as prologue, a frame that is malformed or too large, the end of
 * the stream before complete_final: the call fails.
 *
 * Who may close when: the call's end, also inside on_item (then h->closing is set and nothing more
 * is read); otherwise the stream itself. on_close frees.
 */
#include "runtime/plane_client_priv.h"

#include "base/hash.h"
#include "base/mem.h"
#include "wire/frame.h"

enum {
    MAX_HANDSHAKE = 4096, /* bytes that a stranger may send */
    ITEM_IDS = 64,
};

void weir_plane_home_close(struct weir_plane_home *h, const char *reason) {
    if (h->closing)
        return;
    h->closing = true;
    h->call = NULL;
    weir_timer_stop(&h->timer);
    weir_stream_close(h->stream, WEIR_OK, reason);
}

static void fail_protocol(struct weir_plane_call *call, int http_status, const char *what) {
    bool broken = http_status == 503;
    weir_plane_call_fail(call, broken ? WEIR_DISCONNECTED : WEIR_PROTOCOL, http_status,
                         call->state == WEIR_PLANE_CALL_STREAMING ? "stream" : "prologue", broken,
                         weir_span_z(what));
}

/* A worker that is well may have more to say than fits, vectors say, and another one would say as
 * much. What gives its length as 4 GiB or more is no frame. */
static void fail_large(struct weir_plane_call *call, struct weir_span frame) {
    uint64_t header, body;
    weir_two_part_lengths(frame.data, &header, &body);
    if (header <= UINT32_MAX && body <= UINT32_MAX)
        fail_protocol(call, 500,
                      "The worker's answer is larger than DYN_TCP_MAX_MESSAGE_SIZE allows in one "
                      "piece");
    else
        fail_protocol(call, 503, "a frame is too large");
}

static void on_handshake(struct weir_plane_home *h, struct weir_two_part msg) {
    struct weir_span subject;
    uint64_t value = 0;
    struct weir_plane_call *call = NULL;
    if (msg.body.len == 0 && weir_handshake_decode(msg.header, &subject) == WEIR_OK &&
        weir_map_get(&h->client->by_subject, weir_hash_span(subject), &value))
        call = (struct weir_plane_call *)(uintptr_t)value;
    if (call == NULL || call->home != NULL || !weir_span_eqz(subject, call->subject)) {
        weir_plane_home_close(h, "unknown subject");
        return;
    }
    weir_timer_stop(&h->timer);
    h->call = call;
    call->home = h;
}

static void on_prologue(struct weir_plane_home *h, struct weir_two_part msg) {
    struct weir_plane_call *call = h->call;
    struct weir_wire_error error;
    if (msg.body.len > 0) {
        fail_protocol(call, 503, "data before the prologue");
        return;
    }
    weir_arena_reset(&h->client->arena);
    switch (weir_stream_ctl_decode(msg.header, &h->client->arena, &error)) {
    case WEIR_CTL_PROLOGUE_OK:
        call->state = WEIR_PLANE_CALL_STREAMING;
        call->last_item_ms = weir_loop_now_ms(h->client->loop);
        if (call->paused)
            weir_stream_read_stop(h->stream);
        if (call->item_ms > 0)
            weir_plane_call_wait(call, call->item_ms);
        else
            weir_timer_stop(&call->timer);
        return;
    case WEIR_CTL_PROLOGUE_ERROR: {
        struct weir_plane_end end = {.status = error.status,
                                     .error = error,
                                     .stage = "prologue",
                                     .inhibit = error.migratable && error.http_status == 503};
        weir_plane_call_end(call, &end);
        return;
    }
    default:
        fail_protocol(call, 503, "no prologue");
    }
}

static void end_well(struct weir_plane_call *call) {
    struct weir_plane_end end = {.status = WEIR_OK, .stage = "stream"};
    weir_plane_call_end(call, &end);
}

/* An item that is passed on: only its outside is looked at. */
static void on_wrapper_frame(struct weir_plane_home *h, struct weir_span body) {
    struct weir_plane_call *call = h->call;
    struct weir_output_look look;
    if (call->complete || weir_output_look(body, call->codec, &look) != WEIR_OK) {
        fail_protocol(call, 500, "the worker sent an item that cannot be read");
        return;
    }
    call->complete = look.complete_final;
    call->ops->on_wrapper(call->arg, body, &look);
    /* The callee may have cancelled. */
    if (h->call == call && look.complete_final)
        end_well(call);
}

static void on_item_frame(struct weir_plane_home *h, struct weir_span body) {
    struct weir_plane_call *call = h->call;
    uint32_t ids[ITEM_IDS];
    struct weir_output item;
    call->last_item_ms = weir_loop_now_ms(h->client->loop);
    if (call->ops->on_raw != NULL) {
        call->ops->on_raw(call->arg, body);
        return;
    }
    if (call->ops->on_wrapper != NULL) {
        on_wrapper_frame(h, body);
        return;
    }
    weir_arena_reset(&h->client->arena);
    enum weir_status st = call->complete
                              ? WEIR_PROTOCOL
                              : weir_output_decode_like(&h->client->pattern, body, call->codec, ids,
                                                        ITEM_IDS, &h->client->arena, &item);
    if (st != WEIR_OK) {
        fail_protocol(call, 500, "the worker sent an item that cannot be read");
        return;
    }
    call->complete = item.complete_final;
    if (item.has_data)
        call->ops->on_item(call->arg, &item);
    /* The callee may have cancelled. */
    if (h->call != NULL && item.complete_final)
        end_well(h->call);
}

static void on_stream_frame(struct weir_plane_home *h, struct weir_two_part msg) {
    if (msg.header.len == 0 && msg.body.len == 0)
        return;
    if (msg.header.len == 0)
        on_item_frame(h, msg.body);
    else if (msg.body.len == 0 && weir_span_eqz(msg.header, "\"sentinel\""))
        fail_protocol(h->call, 503, "Stream ended before generation completed");
    else
        fail_protocol(h->call, 503, "unknown control frame");
}

static void on_frame(struct weir_plane_home *h, struct weir_two_part msg) {
    if (h->call == NULL)
        on_handshake(h, msg);
    else if (h->call->state != WEIR_PLANE_CALL_STREAMING)
        on_prologue(h, msg);
    else
        on_stream_frame(h, msg);
}

/* Tokens that came together are handed over together. Where the last one was refused, only the next
 * is looked at: such streams mostly refuse them all. */
static size_t eat_tokens(struct weir_plane_home *h, struct weir_span bytes) {
    struct weir_plane_call *call = h->call;
    const struct weir_plane_client *c = h->client;
    uint32_t ids[WEIR_PLANE_TOKENS];
    size_t ends[WEIR_PLANE_TOKENS];
    if (call == NULL || call->state != WEIR_PLANE_CALL_STREAMING || call->complete ||
        call->ops->on_tokens == NULL || c->pattern.item.index > 0)
        return 0;
    size_t n = weir_output_frames_like(&c->pattern, bytes, call->codec, ids, ends,
                                       h->refused ? 1 : WEIR_PLANE_TOKENS);
    if (n == 0)
        return 0;
    call->last_item_ms = weir_loop_now_ms(c->loop);
    size_t taken = call->ops->on_tokens(call->arg, ids, n);
    h->refused = taken == 0; /* the call may be gone, its stream is not */
    return taken > 0 ? ends[taken - 1] : 0;
}

/* Handles all whole frames of `bytes`; returns what was used. */
static size_t eat_frames(struct weir_plane_home *h, struct weir_span bytes) {
    size_t used = 0, n = 0, need = 0, max = h->client->config.max_message;
    while (!h->closing) {
        struct weir_two_part msg;
        size_t tokens = eat_tokens(h, weir_span(bytes.data + used, bytes.len - used));
        used += tokens;
        if (tokens > 0)
            continue;
        enum weir_status st =
            weir_two_part_decode(weir_span(bytes.data + used, bytes.len - used),
                                 h->call != NULL ? max : MAX_HANDSHAKE, &msg, &n, &need);
        if (st == WEIR_AGAIN)
            break;
        if (st != WEIR_OK) {
            if (h->call != NULL)
                fail_large(h->call, weir_span(bytes.data + used, bytes.len - used));
            weir_plane_home_close(h, "frame too large");
            break;
        }
        used += n;
        on_frame(h, msg);
    }
    return used;
}

static void on_home_read(void *arg, struct weir_span bytes) {
    struct weir_plane_home *h = arg;
    weir_plane_add(&h->client->traffic->bytes_received, bytes.len);
    /* Nearly always whole frames arrive, and nothing is copied. */
    if (h->in.len == 0) {
        size_t used = eat_frames(h, bytes);
        bytes = weir_span(bytes.data + used, bytes.len - used);
        if (h->closing || bytes.len == 0)
            return;
    }
    if (weir_buf_append_span(&h->in, bytes) != WEIR_OK) {
        if (h->call != NULL)
            fail_protocol(h->call, 503, "no room for a frame");
        weir_plane_home_close(h, "frame too large");
        return;
    }
    size_t used = eat_frames(h, weir_buf_span(&h->in));
    weir_buf_consume(&h->in, used);
    if (h->in.len == 0)
        weir_buf_fini(&h->in);
}

static void on_home_eof(void *arg) {
    struct weir_plane_home *h = arg;
    if (h->call != NULL)
        fail_protocol(h->call, 503, "Stream ended before generation completed");
    weir_plane_home_close(h, "worker closed the stream");
}

static void on_home_close(void *arg, enum weir_status status, const char *reason) {
    struct weir_plane_home *h = arg;
    struct weir_plane_client *c = h->client;
    (void)status;
    (void)reason;
    h->closing = true;
    weir_timer_stop(&h->timer);
    if (h->call != NULL) {
        h->call->home = NULL;
        fail_protocol(h->call, 503, "Stream ended before generation completed");
    }
    weir_list_remove(&h->node);
    weir_buf_fini(&h->in);
    weir_free(h);
    c->n_streams--;
    weir_plane_client_free_if_done(c);
}

static void on_handshake_late(void *arg) {
    weir_plane_home_close(arg, "no handshake");
}

static const struct weir_stream_ops home_ops = {
    .on_read = on_home_read, .on_eof = on_home_eof, .on_close = on_home_close};

void weir_plane_on_accept(void *arg, struct weir_stream *s) {
    struct weir_plane_client *c = arg;
    struct weir_plane_home *h = weir_calloc(1, sizeof(*h));
    if (h == NULL) {
        weir_stream_close(s, WEIR_NOMEM, "out of memory");
        return;
    }
    h->client = c;
    h->stream = s;
    h->refused = true; /* the first item has more than its token */
    weir_buf_init(&h->in, c->config.max_message + WEIR_TWO_PART_HEAD);
    weir_list_push_back(&c->homes, &h->node);
    c->n_streams++;
    weir_stream_adopt(s, &home_ops, h);
    weir_timer_init(&h->timer, c->loop, on_handshake_late, h);
    if (weir_timer_start(&h->timer, c->config.handshake_ms) != WEIR_OK)
        weir_plane_home_close(h, "out of memory");
}
