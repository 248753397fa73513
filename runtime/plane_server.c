/*
 * Happy path: a frontend connects and sends request frames → each is acknowledged at once and
 * decoded → we dial the caller's listener, hand over the handshake → the application replies with a
 * prologue, items and the end → the caller closes (close_ms after it has all, we do) → on_done.
 *
 * Failure modes: unknown path, overload and draining are refused in the reply; a frame too large is
 * refused and the connection closed; an unreadable request is acknowledged and dropped with a log
 * line, as the reference system does; a caller that cannot be reached, sends stop or kill, or goes
 * away leads to on_cancel and on_done.
 *
 * Who may close when: a request ends by reply_end, reply_abort, an error prologue or the caller.
 * Nothing fires for it after on_done.
 */
#include "runtime/plane_server_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "wire/frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CLOSE_MS = 10000, STALL_MS = 60000, REQUEST_ARENA = 256 << 20 };

struct weir_plane_request {
    struct weir_list node; /* in server.requests */
    struct weir_plane_server *server;
    struct weir_plane_path *path; /* borrowed: lives as long as the server */
    uint64_t begun_ns;
    const struct weir_plane_handler *handler;
    void *arg, *user;
    void (*on_writable)(void *user); /* or NULL */
    void *writable_user;
    struct weir_arena arena;
    struct weir_buf payload; /* the two-part message: spans of `control` and `body` point into it */
    struct weir_control control;
    struct weir_span body;
    struct weir_prep_request prep;
    struct weir_stream *stream; /* to the caller; NULL when it is gone */
    struct weir_timer timer;    /* the caller must close after the end */
    bool open;                  /* the caller has been reached */
    bool begun;                 /* the prologue has been sent */
    bool ended;                 /* nothing more may be replied */
    bool cut;                   /* we have ended the stream; its on_close follows */
    bool cancelled;
};

struct conn {
    struct weir_list node;
    struct weir_plane_server *server;
    struct weir_stream *stream;
    struct weir_buf in;
    bool closing;
};

static void on_accept(void *arg, struct weir_stream *s);

enum weir_status weir_plane_server_create(struct weir_loop *loop,
                                          const struct weir_plane_server_config *config,
                                          struct weir_plane_server **ret_server,
                                          struct weir_err *err) {
    struct weir_plane_server *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    s->loop = loop;
    s->config = *config;
    if (s->config.max_active == 0)
        s->config.max_active = 10000;
    if (s->config.max_message == 0)
        s->config.max_message = (size_t)32 << 20;
    if (s->config.max_prompt_ids == 0)
        s->config.max_prompt_ids = (size_t)4 << 20;
    if (s->config.close_ms == 0)
        s->config.close_ms = CLOSE_MS;
    weir_plane_figures_init(&s->figures, s->config.metrics, s->config.max_active);
    weir_list_init(&s->paths);
    weir_list_init(&s->conns);
    weir_list_init(&s->requests);
    weir_buf_init(&s->scratch, s->config.max_message);
    char ip[WEIR_IP_BYTES];
    enum weir_status st = weir_address_bind(config->ip, config->advertise, ip, s->advertised, err);
    struct weir_listen_config lc = {.ip = ip,
                                    .port = config->port,
                                    .tls = config->server_tls,
                                    .limits = {.write_max = 1 << 20}};
    if (st == WEIR_OK)
        st = weir_listen(loop, &lc, on_accept, s, &s->listener, err);
    if (st != WEIR_OK) {
        weir_err_prefix(err, "request plane listener");
        weir_buf_fini(&s->scratch);
        weir_free(s);
        return st;
    }
    *ret_server = s;
    return WEIR_OK;
}

static void maybe_free(struct weir_plane_server *s) {
    if (!s->destroyed || s->n_streams > 0)
        return;
    WEIR_LIST_FOREACH(it, &s->paths) {
        struct weir_plane_path *p = WEIR_CONTAINER_OF(it, struct weir_plane_path, node);
        weir_free(p->path);
        weir_path_figures_fini(&p->figures);
        weir_free(p->subject_text);
        weir_free(p);
    }
    weir_buf_fini(&s->scratch);
    weir_free(s);
}

/* ---- requests ----------------------------------------------------------------------------- */

static void free_request(struct weir_plane_request *r) {
    weir_timer_stop(&r->timer);
    weir_buf_fini(&r->payload);
    weir_arena_fini(&r->arena);
    weir_free(r);
}

/* The caller is gone or has what it wanted. */
static void on_caller_close(void *arg, enum weir_status status, const char *reason) {
    struct weir_plane_request *r = arg;
    struct weir_plane_server *s = r->server;
    struct weir_plane_path *p = r->path;
    uint64_t took_ns = weir_now_ns() - r->begun_ns;
    (void)reason;
    r->stream = NULL;
    if (!r->ended && !r->cancelled) {
        r->cancelled = true;
        if (!r->open && status != WEIR_OK)
            weir_path_figures_failed(&p->figures, WEIR_PLANE_RESPONSE_STREAM);
        else
            weir_metric_inc(p->figures.cancelled);
        r->handler->on_cancel(r->arg, r);
    }
    r->handler->on_done(r->arg, r);
    p->n_done++;
    p->busy_ns += took_ns;
    weir_metric_dec(p->figures.inflight);
    weir_metric_observe(p->figures.duration_s, (double)took_ns / 1e9);
    weir_list_remove(&r->node);
    s->n_active--;
    weir_plane_figures_active(&s->figures, -1);
    s->n_streams--;
    free_request(r);
    maybe_free(s);
}

static void on_caller_read(void *arg, struct weir_span bytes) {
    struct weir_plane_request *r = arg;
    (void)bytes; /* stop, kill or nonsense: each ends the request */
    if (r->ended || r->cancelled)
        return;
    r->cancelled = true;
    weir_metric_inc(r->path->figures.cancelled);
    r->handler->on_cancel(r->arg, r);
    weir_stream_close(r->stream, WEIR_OK, "cancelled by the caller");
}

static void on_caller_eof(void *arg) {
    struct weir_plane_request *r = arg;
    weir_stream_close(r->stream, WEIR_OK, "caller closed");
}

static void on_caller_drain(void *arg) {
    struct weir_plane_request *r = arg;
    if (r->on_writable != NULL)
        r->on_writable(r->writable_user);
}

static void on_caller_open(void *arg) {
    struct weir_plane_request *r = arg;
    r->open = true;
}

static const struct weir_stream_ops caller_ops = {.on_open = on_caller_open,
                                                  .on_drain = on_caller_drain,
                                                  .on_read = on_caller_read,
                                                  .on_eof = on_caller_eof,
                                                  .on_close = on_caller_close};

/* A caller that reads slowly still gets all: only one that stalls is cut, by the stream itself. */
static void on_close_late(void *arg) {
    struct weir_plane_request *r = arg;
    if (weir_stream_queued(r->stream) > 0 &&
        weir_timer_start(&r->timer, r->server->config.close_ms) == WEIR_OK)
        return;
    weir_stream_close(r->stream, WEIR_OK, "caller did not close");
}

static enum weir_status dial(struct weir_plane_request *r) {
    struct weir_plane_server *s = r->server;
    struct weir_address address;
    enum weir_status st = weir_address_parse(r->control.address, &address, NULL);
    if (st != WEIR_OK)
        return st;
    struct weir_stream_limits limits = {.write_stall_ms = STALL_MS,
                                        .dead_ms = weir_stream_dead_ms(s->loop, STALL_MS)};
    st = weir_stream_connect(s->loop, address.ip, address.port, s->config.client_tls, NULL, &limits,
                             &caller_ops, r, &r->stream);
    if (st != WEIR_OK)
        return st;
    s->n_streams++;
    s->n_active++;
    weir_plane_figures_active(&s->figures, 1);
    weir_metric_inc(r->path->figures.inflight);
    weir_list_push_back(&s->requests, &r->node);
    weir_buf_clear(&s->scratch);
    st = weir_handshake_encode(r->control.subject, &s->scratch);
    if (st == WEIR_OK)
        st = weir_two_part_encode(weir_buf_span(&s->scratch), weir_span(NULL, 0),
                                  weir_stream_out(r->stream));
    if (st != WEIR_OK)
        weir_stream_close(r->stream, st, "no handshake");
    weir_stream_flush_later(r->stream);
    return WEIR_OK;
}

/* Decodes an acknowledged request and hands it over. */
static enum weir_status begin_request(struct weir_plane_server *s, struct weir_plane_path *p,
                                      struct weir_span payload, struct weir_err *err) {
    struct weir_plane_request *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    *r = (struct weir_plane_request){
        .server = s, .path = p, .begun_ns = weir_now_ns(), .handler = p->handler, .arg = p->arg};
    weir_list_init(&r->node);
    weir_arena_init(&r->arena, REQUEST_ARENA);
    weir_buf_init(&r->payload, s->config.max_message);
    weir_timer_init(&r->timer, s->loop, on_close_late, r);
    struct weir_two_part msg;
    size_t used = 0, need = 0;
    enum weir_plane_failure why = WEIR_PLANE_INVALID_MESSAGE;
    enum weir_status st = weir_buf_append_span(&r->payload, payload);
    weir_metric_inc(p->figures.requests);
    weir_metric_add(p->figures.in_bytes, (double)payload.len);
    if (st == WEIR_OK)
        st = weir_two_part_decode(weir_buf_span(&r->payload), s->config.max_message, &msg, &used,
                                  &need);
    if (st == WEIR_OK) {
        why = WEIR_PLANE_DESERIALIZATION;
        st = weir_control_decode(msg.header, &r->arena, &r->control);
    }
    if (st != WEIR_OK)
        weir_err_set(err, st, "control header: %s", weir_status_text(st));
    r->body = st == WEIR_OK ? msg.body : weir_span(NULL, 0);
    if (st == WEIR_OK && !p->raw)
        st = weir_prep_request_decode(r->body, r->control.codec, s->config.max_prompt_ids,
                                      &r->arena, &r->prep, err);
    if (st == WEIR_OK) {
        why = WEIR_PLANE_RESPONSE_STREAM;
        st = dial(r);
        if (st != WEIR_OK)
            weir_err_set(err, st, "cannot dial %.*s", WEIR_SPAN_ARG(r->control.address));
    }
    if (st != WEIR_OK) {
        weir_path_figures_failed(&p->figures, why);
        weir_metric_observe(p->figures.duration_s, (double)(weir_now_ns() - r->begun_ns) / 1e9);
        free_request(r);
        return st;
    }
    r->handler->on_request(r->arg, r, p->raw ? NULL : &r->prep);
    return WEIR_OK;
}

/* ---- request connections ------------------------------------------------------------------ */

static struct weir_plane_path *find_path(const struct weir_plane_server *s, struct weir_span path) {
    WEIR_LIST_FOREACH(it, &s->paths) {
        struct weir_plane_path *p = WEIR_CONTAINER_OF(it, struct weir_plane_path, node);
        if (weir_span_eqz(path, p->path))
            return p;
    }
    return NULL;
}

static void reply(struct conn *k, const char *text) {
    enum weir_status st = weir_reply_frame_encode(weir_span_z(text), weir_stream_out(k->stream));
    if (st != WEIR_OK) {
        k->closing = true;
        weir_stream_close(k->stream, st, "reply queue full");
        return;
    }
    weir_stream_flush_later(k->stream);
}

const char *weir_plane_refusal(const struct weir_plane_server *s, const struct weir_plane_path *p,
                               struct weir_span name, char room[WEIR_PLANE_REFUSAL_BYTES]) {
    if (p == NULL || s->draining) {
        if (p != NULL)
            weir_metric_inc(s->figures.turned_away);
        snprintf(room, WEIR_PLANE_REFUSAL_BYTES, "Server unavailable: %s%.*s",
                 p == NULL ? "unknown endpoint " : "draining ",
                 WEIR_SPAN_ARG(weir_utf8_cut(name, 256)));
        return room;
    }
    if (s->n_active < s->config.max_active)
        return "";
    weir_metric_inc(s->figures.overloaded);
    return "Server overloaded: too many requests are in work";
}

void weir_plane_take(struct weir_plane_server *s, struct weir_plane_path *p,
                     struct weir_span payload) {
    static struct weir_log_limit limit;
    struct weir_err err;
    uint32_t dropped;
    if (begin_request(s, p, payload, &err) == WEIR_OK)
        return;
    p->n_errors++;
    if (weir_log_limit_ok(&limit, 5, &dropped))
        WEIR_LOG(WEIR_LOG_WARN, "plane", "a request to %s was dropped: %s", p->path, err.text);
}

static void on_request_frame(struct conn *k, const struct weir_request_frame *frame) {
    struct weir_plane_server *s = k->server;
    struct weir_plane_path *p = find_path(s, frame->path);
    char room[WEIR_PLANE_REFUSAL_BYTES];
    const char *refusal = weir_plane_refusal(s, p, frame->path, room);
    reply(k, refusal);
    if (*refusal != '\0')
        return;
    weir_plane_figures_sent(&s->figures, frame->headers);
    weir_plane_take(s, p, frame->payload);
}

static void refuse_large(struct conn *k, size_t bytes) {
    char text[128];
    k->closing = true;
    snprintf(text, sizeof(text), "Read error: message too large: %zu bytes (max: %zu bytes)", bytes,
             k->server->config.max_message);
    if (weir_reply_frame_encode(weir_span_z(text), weir_stream_out(k->stream)) == WEIR_OK)
        weir_stream_flush_later(k->stream);
    weir_stream_close_flushed(k->stream, 1000, "message too large");
}

static size_t eat_frames(struct conn *k, struct weir_span bytes) {
    size_t used = 0, n = 0, need = 0;
    while (!k->closing) {
        struct weir_request_frame frame;
        enum weir_status st =
            weir_request_frame_decode(weir_span(bytes.data + used, bytes.len - used),
                                      k->server->config.max_message, &frame, &n, &need);
        if (st == WEIR_AGAIN)
            break;
        if (st != WEIR_OK) {
            refuse_large(k, need);
            break;
        }
        used += n;
        on_request_frame(k, &frame);
    }
    return used;
}

static void on_conn_read(void *arg, struct weir_span bytes) {
    struct conn *k = arg;
    if (k->in.len == 0) {
        size_t used = eat_frames(k, bytes);
        bytes = weir_span(bytes.data + used, bytes.len - used);
        if (k->closing || bytes.len == 0)
            return;
    }
    if (weir_buf_append_span(&k->in, bytes) != WEIR_OK) {
        refuse_large(k, k->in.len + bytes.len);
        return;
    }
    weir_buf_consume(&k->in, eat_frames(k, weir_buf_span(&k->in)));
    if (k->in.len == 0)
        weir_buf_fini(&k->in);
}

static void on_conn_close(void *arg, enum weir_status status, const char *reason) {
    struct conn *k = arg;
    struct weir_plane_server *s = k->server;
    (void)status;
    (void)reason;
    weir_list_remove(&k->node);
    weir_buf_fini(&k->in);
    weir_free(k);
    s->n_streams--;
    maybe_free(s);
}

static const struct weir_stream_ops conn_ops = {.on_read = on_conn_read, .on_close = on_conn_close};

static void on_accept(void *arg, struct weir_stream *stream) {
    struct weir_plane_server *s = arg;
    struct conn *k = weir_calloc(1, sizeof(*k));
    if (k == NULL) {
        weir_stream_close(stream, WEIR_NOMEM, "out of memory");
        return;
    }
    k->server = s;
    k->stream = stream;
    /* One frame and the start of the next. */
    weir_buf_init(&k->in, s->config.max_message + (1 << 20));
    weir_list_push_back(&s->conns, &k->node);
    s->n_streams++;
    weir_stream_adopt(stream, &conn_ops, k);
}

/* ---- replying ----------------------------------------------------------------------------- */

static bool can_reply(const struct weir_plane_request *r) {
    return r->stream != NULL && !r->ended && !r->cancelled;
}

/* A queue that is full means a caller that does not read: the stream is cut. */
static void check(struct weir_plane_request *r, enum weir_status st) {
    if (r->cut)
        return;
    if (st == WEIR_OK) {
        weir_stream_flush_later(r->stream);
        return;
    }
    r->cut = true;
    weir_path_figures_failed(&r->path->figures, WEIR_PLANE_PUBLISH);
    weir_stream_close(r->stream, st, "response queue full");
}

static void finish(struct weir_plane_request *r) {
    r->ended = true;
    uint64_t ms = r->server->config.close_ms;
    if (weir_timer_start(&r->timer, ms) != WEIR_OK)
        weir_stream_close_flushed(r->stream, ms, "out of memory");
}

void weir_plane_reply_prologue(struct weir_plane_request *r, const char *error) {
    struct weir_buf *scratch = &r->server->scratch;
    if (!can_reply(r))
        return;
    r->begun = true;
    if (error != NULL)
        weir_path_figures_failed(&r->path->figures, WEIR_PLANE_GENERATE);
    else
        weir_metric_observe(r->server->figures.first_s,
                            (double)(weir_now_ns() - r->begun_ns) / 1e9);
    weir_buf_clear(scratch);
    enum weir_status st = weir_prologue_encode(error, scratch);
    if (st == WEIR_OK)
        st = weir_two_part_encode(weir_buf_span(scratch), weir_span(NULL, 0),
                                  weir_stream_out(r->stream));
    check(r, st);
    if (error != NULL)
        finish(r);
}

void weir_plane_reply_item(struct weir_plane_request *r, const struct weir_output *item) {
    size_t mark = 0;
    if (!can_reply(r))
        return;
    struct weir_buf *out = weir_stream_out(r->stream);
    enum weir_status st = weir_two_part_begin(weir_span(NULL, 0), out, &mark);
    if (st == WEIR_OK)
        st = weir_output_encode(item, r->control.codec, out);
    if (st == WEIR_OK) {
        weir_two_part_end(out, mark);
        weir_metric_add(r->path->figures.out_bytes, (double)(out->len - mark - WEIR_TWO_PART_HEAD));
    }
    check(r, st);
}

void weir_plane_reply_raw(struct weir_plane_request *r, struct weir_span body) {
    if (!can_reply(r))
        return;
    weir_metric_add(r->path->figures.out_bytes, (double)body.len);
    check(r, weir_two_part_encode(weir_span(NULL, 0), body, weir_stream_out(r->stream)));
}

bool weir_plane_reply_writable(const struct weir_plane_request *r) {
    return r->stream == NULL || weir_stream_writable(r->stream);
}

void weir_plane_reply_on_writable(struct weir_plane_request *r, void (*fn)(void *user),
                                  void *user) {
    r->on_writable = fn;
    r->writable_user = user;
}

static void put_sentinel(struct weir_plane_request *r) {
    struct weir_span sentinel = weir_ctl_frame(WEIR_CTL_SENTINEL);
    check(r, weir_buf_append_span(weir_stream_out(r->stream), sentinel));
    finish(r);
}

void weir_plane_reply_end(struct weir_plane_request *r) {
    struct weir_output final;
    if (!can_reply(r))
        return;
    weir_output_init(&final);
    final.complete_final = true;
    weir_plane_reply_item(r, &final);
    put_sentinel(r);
}

void weir_plane_reply_raw_last(struct weir_plane_request *r, struct weir_span body) {
    if (!can_reply(r))
        return;
    weir_plane_reply_raw(r, body);
    put_sentinel(r);
}

void weir_plane_reply_refuse(struct weir_plane_request *r, const struct weir_wire_error *error) {
    struct weir_output item;
    weir_output_init(&item);
    item.has_data = true;
    item.is_error = true;
    item.error = *error;
    if (!r->begun)
        weir_plane_reply_prologue(r, NULL);
    weir_plane_reply_item(r, &item);
    weir_plane_reply_end(r);
}

void weir_plane_reply_refuse_text(struct weir_plane_request *r, enum weir_status st,
                                  const char *text) {
    const struct weir_wire_error error = {
        .status = st, .http_status = weir_status_http(st), .message = weir_span_z(text)};
    weir_plane_reply_refuse(r, &error);
}

void weir_plane_reply_abort(struct weir_plane_request *r) {
    if (!can_reply(r))
        return;
    r->ended = true;
    weir_stream_close_flushed(r->stream, 1000, "aborted");
}

struct weir_span weir_plane_request_id(const struct weir_plane_request *r) {
    return r->control.id;
}
void weir_plane_request_set_user(struct weir_plane_request *r, void *user) {
    r->user = user;
}
void *weir_plane_request_user(const struct weir_plane_request *r) {
    return r->user;
}
struct weir_span weir_plane_request_body(const struct weir_plane_request *r,
                                         enum weir_codec *ret_codec) {
    *ret_codec = r->control.codec;
    return r->body;
}

/* ---- ending ------------------------------------------------------------------------------- */

void weir_plane_server_drain(struct weir_plane_server *server) {
    server->draining = true;
    weir_plane_nats_drain(server);
}

unsigned weir_plane_server_active(const struct weir_plane_server *server) {
    return server->n_active + server->n_draining;
}

void weir_plane_server_destroy(struct weir_plane_server *server) {
    if (server == NULL || server->destroyed)
        return;
    server->destroyed = true;
    weir_listener_close(server->listener);
    weir_plane_service_close(server);
    WEIR_LIST_FOREACH(pt, &server->paths) {
        weir_nats_sub_close(WEIR_CONTAINER_OF(pt, struct weir_plane_path, node)->subject);
    }
    WEIR_LIST_FOREACH(it, &server->requests) {
        struct weir_plane_request *r = WEIR_CONTAINER_OF(it, struct weir_plane_request, node);
        weir_stream_close(r->stream, WEIR_OK, "shutdown");
    }
    WEIR_LIST_FOREACH(it, &server->conns) {
        weir_stream_close(WEIR_CONTAINER_OF(it, struct conn, node)->stream, WEIR_OK, "shutdown");
    }
    maybe_free(server);
}
