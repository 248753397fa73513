/*
 * Happy path: the first peer's host → addresses → its dump is asked for at the first of them →
 * each line is applied as it comes → fn → freed. A peer that knows of no lines answers with one
 * object: it is gathered, and applied in steps behind its end.
 *
 * An address that cannot be reached gives way to the next one of its host; a peer whose name is not
 * known in time, that cannot be reached, refuses, is silent for half a minute or breaks off gives
 * way to the next. What came of a broken dump stays: its blocks were held when it told them. When
 * none is left there is a pause, twice as long each time, and all are asked again, a few times:
 * peers that start together find each other.
 */
#include "indexer/peers.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "indexer/restore.h"
#include "net/http_client.h"
#include "runtime/resolve.h"

#include <stdio.h>
#include <string.h>

enum {
    OBJECT_MAX = 1 << 30,
    FETCH_MS = 1800000, /* a dump at most, */
    SILENT_MS = 30000,  /* with no pause so long */
    RESOLVE_MS = 5000,
    MAX_ADDRESSES = 8,
    ROUNDS = 4,
    FIRST_PAUSE_MS = 1000,
};

enum state { RESOLVING, ASKING, ANSWERED, APPLYING, FAILED, PAUSED };

struct weir_peer_fetch {
    struct weir_loop *loop;
    struct weir_groups *groups;
    const char *const *peers;
    size_t n, at;
    unsigned round;
    weir_peer_fn fn;
    void *arg;
    enum state state;
    struct weir_resolve *resolve;
    char host[WEIR_HOST_BYTES + 8]; /* host:port of this peer */
    uint16_t port;
    char ips[MAX_ADDRESSES][WEIR_IP_BYTES];
    size_t n_ips, ip;
    struct weir_http_client *client;
    struct weir_http_call *call;
    struct weir_timer timer;      /* the next step, never made from inside a callback; a deadline */
    struct weir_buf text;         /* of an answer that is not lines, or not known to be */
    struct weir_restore *restore; /* owned; NULL: not known yet what the answer is */
    uint64_t n_applied;           /* events of answers before this one */
    int status;
    char error[256];
};

/* "http://host:port", a slash at the end or not. */
static bool split(const char *url, char ret_host[WEIR_HOST_BYTES], uint16_t *ret_port) {
    struct weir_span rest = weir_span_z(url);
    if (!weir_span_starts(rest, WEIR_SPAN_LIT("http://")))
        return false;
    rest = weir_span(rest.data + 7, rest.len - 7);
    while (rest.len > 0 && rest.data[rest.len - 1] == '/')
        rest.len--;
    *ret_port = 0;
    return weir_host_parse(rest, ret_host, ret_port) && *ret_port != 0;
}

static void drop_answer(struct weir_peer_fetch *f) {
    if (f->restore != NULL)
        f->n_applied += weir_restore_events(f->restore);
    weir_restore_close(f->restore);
    f->restore = NULL;
    weir_buf_clear(&f->text);
    f->status = 0;
}

static void finish(struct weir_peer_fetch *f, const char *error) {
    drop_answer(f);
    f->fn(f->arg, f->peers[f->at], f->n_applied, error);
    weir_peer_fetch_cancel(f);
}

/* From the timer: what comes next. */
static void step(struct weir_peer_fetch *f, enum state state, uint64_t ms) {
    f->state = state;
    if (weir_timer_start(&f->timer, ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "indexer", "out of memory: no peer is asked for its dump");
}

static void fail(struct weir_peer_fetch *f, const char *why) {
    snprintf(f->error, sizeof(f->error), "%s", why);
    step(f, FAILED, 0);
}

/* ---- one address ------------------------------------------------------------------------------
 */

static void on_head(void *arg, int status, const struct weir_http_header *headers,
                    size_t n_headers) {
    struct weir_peer_fetch *f = arg;
    (void)headers;
    (void)n_headers;
    f->status = status;
}

static enum weir_status open_restore(struct weir_peer_fetch *f, struct weir_span text,
                                     struct weir_err *err) {
    enum weir_status st = weir_restore_open(f->groups, text, &f->restore);
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}

/* Lines at once; what may not be lines stays in `text`. */
static enum weir_status take(struct weir_peer_fetch *f, struct weir_span bytes, bool last,
                             struct weir_err *err) {
    if (f->restore != NULL)
        return weir_restore_feed(f->restore, bytes, last, err);
    enum weir_status st = weir_buf_append_span(&f->text, bytes);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "the dump is larger than memory allows");
    if (!weir_restore_is_lines(weir_buf_span(&f->text)))
        return WEIR_OK;
    st = open_restore(f, weir_span(NULL, 0), err);
    if (st == WEIR_OK)
        st = weir_restore_feed(f->restore, weir_buf_span(&f->text), last, err);
    weir_buf_clear(&f->text);
    return st;
}

static void on_body(void *arg, struct weir_span bytes) {
    struct weir_peer_fetch *f = arg;
    struct weir_err err;
    step(f, ASKING, SILENT_MS);
    if (f->status != 200 || take(f, bytes, false, &err) == WEIR_OK)
        return;
    weir_http_call_cancel(f->call);
    f->call = NULL;
    fail(f, err.text);
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct weir_peer_fetch *f = arg;
    struct weir_err err;
    (void)sent_any;
    f->call = NULL;
    char text[64];
    snprintf(text, sizeof(text), "status %d", f->status);
    if (status != WEIR_OK || f->status != 200)
        fail(f, status != WEIR_OK ? weir_status_text(status) : text);
    else if (take(f, weir_span(NULL, 0), true, &err) != WEIR_OK)
        fail(f, err.text);
    else
        step(f, ANSWERED, 0);
}

static void on_applied(void *arg, enum weir_status status, const struct weir_err *err) {
    struct weir_peer_fetch *f = arg;
    if (status == WEIR_OK)
        step(f, ANSWERED, 0);
    else
        fail(f, err->text);
}

/* The whole answer is there. */
static void on_answered(struct weir_peer_fetch *f) {
    struct weir_err err;
    if (f->restore != NULL || f->text.len == 0) {
        finish(f, NULL);
        return;
    }
    f->state = APPLYING;
    if (open_restore(f, weir_buf_span(&f->text), &err) == WEIR_OK)
        weir_restore_run(f->restore, f->loop, on_applied, f);
    else
        fail(f, err.text);
}

static void ask(struct weir_peer_fetch *f) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct weir_http_client_config cc = {
        .ip = f->ips[f->ip], .port = f->port, .host = f->host, .max_conns = 1};
    struct weir_http_call_config call = {
        .method = "GET", .target = "/dump?format=ndjson", .total_ms = FETCH_MS};
    weir_http_client_destroy(f->client);
    f->client = NULL;
    drop_answer(f);
    step(f, ASKING, SILENT_MS);
    enum weir_status st = weir_http_client_create(f->loop, &cc, &f->client);
    if (st == WEIR_OK)
        st = weir_http_call_start(f->client, &call, &ops, f, &f->call);
    if (st != WEIR_OK)
        fail(f, weir_status_text(st));
}

/* ---- one peer ---------------------------------------------------------------------------------
 */

static void on_resolved(void *arg, const char (*ips)[WEIR_IP_BYTES], size_t n,
                        const struct weir_err *err) {
    struct weir_peer_fetch *f = arg;
    f->resolve = NULL;
    weir_timer_stop(&f->timer);
    f->n_ips = n < MAX_ADDRESSES ? n : MAX_ADDRESSES;
    f->ip = 0;
    if (n == 0) {
        fail(f, err->text);
        return;
    }
    memcpy(f->ips, ips, f->n_ips * sizeof(f->ips[0]));
    ask(f);
}

static void begin(struct weir_peer_fetch *f) {
    char host[WEIR_HOST_BYTES];
    f->n_ips = f->ip = 0;
    if (!split(f->peers[f->at], host, &f->port)) {
        fail(f, "no address"); /* it was looked at before */
        return;
    }
    snprintf(f->host, sizeof(f->host), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
             f->port);
    enum weir_status st = weir_resolve_start(f->loop, host, on_resolved, f, &f->resolve);
    if (st != WEIR_OK)
        fail(f, weir_status_text(st));
    else
        step(f, RESOLVING, RESOLVE_MS);
}

static void on_failed(struct weir_peer_fetch *f) {
    if (f->ip + 1 < f->n_ips) {
        f->ip++;
        ask(f);
    } else if (f->at + 1 < f->n) {
        f->at++;
        begin(f);
    } else if (f->round + 1 < ROUNDS) {
        step(f, PAUSED, (uint64_t)FIRST_PAUSE_MS << f->round);
    } else {
        finish(f, f->error);
    }
}

static void on_timer(void *arg) {
    struct weir_peer_fetch *f = arg;
    switch (f->state) {
    case RESOLVING:
        weir_resolve_cancel(f->resolve);
        f->resolve = NULL;
        snprintf(f->error, sizeof(f->error), "its name was not resolved within %d s",
                 RESOLVE_MS / 1000);
        on_failed(f);
        break;
    case ANSWERED:
        on_answered(f);
        break;
    case PAUSED:
        f->round++;
        f->at = 0;
        begin(f);
        break;
    case ASKING:
        if (f->call != NULL)
            weir_http_call_cancel(f->call);
        f->call = NULL;
        snprintf(f->error, sizeof(f->error), "it was silent for %d s", SILENT_MS / 1000);
        on_failed(f);
        break;
    case APPLYING: /* no timer runs */
        break;
    case FAILED:
        on_failed(f);
        break;
    }
}

/* ---- interface --------------------------------------------------------------------------------
 */

enum weir_status weir_peer_fetch_start(struct weir_loop *loop, struct weir_groups *groups,
                                       const char *const *peers, size_t n, weir_peer_fn fn,
                                       void *arg, struct weir_peer_fetch **ret_fetch,
                                       struct weir_err *err) {
    char host[WEIR_HOST_BYTES];
    uint16_t port;
    for (size_t i = 0; i < n; i++)
        if (!split(peers[i], host, &port))
            return weir_err_set(err, WEIR_INVALID, "--peers %.*s: write it as http://host:port",
                                WEIR_SPAN_ARG(weir_utf8_cut_z(peers[i], 100)));
    struct weir_peer_fetch *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->loop = loop;
    f->groups = groups;
    f->peers = peers;
    f->n = n;
    f->fn = fn;
    f->arg = arg;
    weir_buf_init(&f->text, OBJECT_MAX);
    weir_timer_init(&f->timer, loop, on_timer, f);
    begin(f);
    *ret_fetch = f;
    return WEIR_OK;
}

void weir_peer_fetch_cancel(struct weir_peer_fetch *fetch) {
    if (fetch == NULL)
        return;
    weir_timer_stop(&fetch->timer);
    weir_resolve_cancel(fetch->resolve);
    if (fetch->call != NULL)
        weir_http_call_cancel(fetch->call);
    weir_http_client_destroy(fetch->client);
    weir_restore_close(fetch->restore);
    weir_buf_fini(&fetch->text);
    weir_free(fetch);
}
