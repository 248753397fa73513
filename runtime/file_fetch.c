/*
 * Happy path: a loop of this call's own → resolve → connect → head → body into PATH.part → renamed.
 * A redirect starts over with its target; an address that takes no connection gives way to the next
 * one of its host. Whatever goes wrong ends in finish(), which stops the loop.
 */
#include "runtime/file_fetch.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "net/http_client.h"
#include "net/tls.h"
#include "runtime/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { URL_BYTES = 4096, MAX_REDIRECTS = 5, MAX_ADDRESSES = 8, TICK_MS = 100, STALL_MS = 15000 };

struct origin {
    bool tls;
    char host[WEIR_HOST_BYTES]; /* without brackets */
    uint16_t port;
    const char *target; /* in `url`: from the path on */
};

struct fetch {
    const struct weir_file_fetch_config *config;
    struct weir_err *err;
    enum weir_status status;
    struct weir_loop *loop;
    struct weir_timer tick;
    uint64_t last_byte_ms, stall_ms;
    char url[URL_BYTES], next[URL_BYTES]; /* of this hop; a redirect's target */
    struct origin first, at;
    unsigned n_redirects;
    struct weir_resolve *resolve;
    char ips[MAX_ADDRESSES][WEIR_IP_BYTES];
    size_t n_ips, ip;
    struct weir_tls *tls;
    struct weir_http_client *client;
    struct weir_http_call *call;
    int answer; /* HTTP status of this hop; 0: no head yet */
    char part[PATH_MAX];
    int fd;
    uint64_t n_bytes;
    bool over;
};

static void start_hop(struct fetch *f);
static void try_address(struct fetch *f);

static void drop_connection(struct fetch *f) {
    if (f->call != NULL)
        weir_http_call_cancel(f->call);
    f->call = NULL;
    weir_http_client_destroy(f->client);
    f->client = NULL;
}

static void finish(struct fetch *f, enum weir_status status) {
    if (f->over)
        return;
    f->over = true;
    f->status = status;
    weir_timer_stop(&f->tick);
    weir_resolve_cancel(f->resolve);
    f->resolve = NULL;
    drop_connection(f);
    weir_loop_stop(f->loop);
}

static void fail(struct fetch *f, enum weir_status status, const char *why) {
    finish(f,
           weir_err_set(f->err, status, "%.*s: %.*s", WEIR_SPAN_ARG(weir_utf8_cut_z(f->url, 160)),
                        WEIR_SPAN_ARG(weir_utf8_cut_z(why, 80))));
}

/* ---- URLs --------------------------------------------------------------------------------- */

/* scheme://host[:port][/path][?query]; a user name or a fragment is not for files. */
static bool parse_url(const char *url, struct origin *ret) {
    size_t skip = strncasecmp(url, "https://", 8) == 0  ? 8
                  : strncasecmp(url, "http://", 7) == 0 ? 7
                                                        : 0;
    if (skip == 0 || url[strcspn(url, " #\r\n\t\\")] != '\0')
        return false;
    ret->tls = skip == 8;
    ret->port = ret->tls ? 443 : 80;
    const char *host = url + skip;
    size_t n = strcspn(host, "/?");
    ret->target = host + n;
    return weir_host_parse(weir_span(host, n), ret->host, &ret->port);
}

static bool same_origin(const struct origin *a, const struct origin *b) {
    return a->tls == b->tls && a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

/* The target of a redirect: a whole URL, or a path at the same origin. */
static bool resolve_location(struct fetch *f, struct weir_span to) {
    int n = -1;
    if (weir_span_starts(to, WEIR_SPAN_LIT("/")) && !weir_span_starts(to, WEIR_SPAN_LIT("//")))
        n = snprintf(f->next, sizeof(f->next), "%.*s%.*s", (int)(f->at.target - f->url), f->url,
                     WEIR_SPAN_ARG(to));
    else
        n = snprintf(f->next, sizeof(f->next), "%.*s", WEIR_SPAN_ARG(to));
    return n > 0 && (size_t)n < sizeof(f->next);
}

/* ---- the answer --------------------------------------------------------------------------- */

static void on_head(void *arg, int status, const struct weir_http_header *headers,
                    size_t n_headers) {
    struct fetch *f = arg;
    f->answer = status;
    f->next[0] = '\0';
    f->last_byte_ms = weir_loop_now_ms(f->loop);
    for (size_t i = 0; i < n_headers && status >= 300 && status < 400; i++) {
        if (headers[i].name.len == 8 && strncasecmp(headers[i].name.data, "location", 8) == 0 &&
            !resolve_location(f, headers[i].value))
            f->next[0] = '\0';
    }
    if (status == 200 && (ftruncate(f->fd, 0) != 0 || lseek(f->fd, 0, SEEK_SET) != 0))
        fail(f, WEIR_IO, strerror(errno));
    f->n_bytes = 0;
}

static void on_body(void *arg, struct weir_span bytes) {
    struct fetch *f = arg;
    f->last_byte_ms = weir_loop_now_ms(f->loop);
    f->n_bytes += bytes.len;
    if (f->n_bytes > f->config->max_bytes) {
        fail(f, WEIR_TOO_LARGE, "larger than a file of a model may be");
        return;
    }
    while (f->answer == 200 && bytes.len > 0) {
        ssize_t n = write(f->fd, bytes.data, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fail(f, WEIR_IO, strerror(errno));
            return;
        }
        bytes = weir_span(bytes.data + n, bytes.len - (size_t)n);
    }
}

static void follow(struct fetch *f) {
    bool was_tls = f->at.tls;
    if (f->next[0] == '\0' || ++f->n_redirects > MAX_REDIRECTS) {
        fail(f, WEIR_INVALID,
             f->next[0] == '\0' ? "a redirect without a target" : "too many redirects");
        return;
    }
    memcpy(f->url, f->next, sizeof(f->url));
    if (!parse_url(f->url, &f->at) || (was_tls && !f->at.tls)) {
        fail(f, WEIR_INVALID, "a redirect to there is not followed");
        return;
    }
    drop_connection(f);
    start_hop(f);
}

static void on_answer(struct fetch *f) {
    char words[64];
    switch (f->answer) {
    case 200:
        finish(f, WEIR_OK);
        return;
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        follow(f);
        return;
    default:
        snprintf(words, sizeof(words), "answered with status %d", f->answer);
        bool may_pass = f->answer >= 500 || f->answer == 408 || f->answer == 429;
        fail(f, may_pass || f->answer < 400 ? WEIR_UNAVAILABLE : WEIR_NOT_FOUND, words);
    }
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct fetch *f = arg;
    f->call = NULL;
    if (f->over)
        return;
    if (status == WEIR_OK) {
        on_answer(f);
    } else if (!sent_any && f->ip + 1 < f->n_ips) {
        drop_connection(f);
        f->ip++;
        try_address(f);
    } else {
        const char *why = weir_http_client_last_failure(f->client);
        fail(f, status, why != NULL ? why : weir_status_text(status));
    }
}

/* ---- the question ------------------------------------------------------------------------- */

static bool need_tls(struct fetch *f) {
    static const struct weir_tls_config config = {.alpn = "http/1.1"};
    if (!f->at.tls || f->tls != NULL)
        return true;
    if (weir_tls_create(&config, &f->tls, f->err) == WEIR_OK)
        return true;
    finish(f, WEIR_TLS);
    return false;
}

static void try_address(struct fetch *f) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    char host[WEIR_HOST_BYTES + 16], bearer[512], target[URL_BYTES + 1];
    bool plain = f->at.port == (f->at.tls ? 443 : 80), v6 = strchr(f->at.host, ':') != NULL;
    snprintf(host, sizeof(host), v6 ? "[%s]" : "%s", f->at.host);
    if (!plain)
        snprintf(host + strlen(host), 8, ":%u", (unsigned)f->at.port);
    snprintf(target, sizeof(target), "%s%s", f->at.target[0] == '/' ? "" : "/", f->at.target);
    /* One that comes from a file ends in a line break, which no header can have. */
    struct weir_span key =
        weir_span_trim(weir_span_z(f->config->token != NULL ? f->config->token : ""));
    bool token = key.len > 0 && same_origin(&f->at, &f->first);
    int n = snprintf(bearer, sizeof(bearer), "Bearer %.*s", WEIR_SPAN_ARG(key));
    if (token && (n < 0 || (size_t)n >= sizeof(bearer))) {
        fail(f, WEIR_INVALID, "the token is too long");
        return;
    }
    struct weir_http_header headers[] = {
        {WEIR_SPAN_LIT("User-Agent"), WEIR_SPAN_LIT("weir")},
        {WEIR_SPAN_LIT("Authorization"), weir_span_z(bearer)},
    };
    struct weir_http_client_config cc = {.ip = f->ips[f->ip],
                                         .port = f->at.port,
                                         .host = host,
                                         .tls = f->at.tls ? f->tls : NULL,
                                         .max_conns = 1,
                                         .max_waiting = 1};
    struct weir_http_call_config call = {
        .method = "GET", .target = target, .headers = headers, .n_headers = token ? 2 : 1};
    f->answer = 0;
    enum weir_status st = weir_http_client_create(f->loop, &cc, &f->client);
    if (st == WEIR_OK)
        st = weir_http_call_start(f->client, &call, &ops, f, &f->call);
    if (st != WEIR_OK)
        fail(f, st, weir_status_text(st));
}

static void on_resolved(void *arg, const char (*ips)[WEIR_IP_BYTES], size_t n,
                        const struct weir_err *err) {
    struct fetch *f = arg;
    f->resolve = NULL;
    if (n == 0) {
        fail(f, WEIR_CANNOT_CONNECT, err->text);
        return;
    }
    f->n_ips = n < MAX_ADDRESSES ? n : MAX_ADDRESSES;
    memcpy(f->ips, ips, f->n_ips * sizeof(f->ips[0]));
    f->ip = 0;
    try_address(f);
}

static void start_hop(struct fetch *f) {
    f->last_byte_ms = weir_loop_now_ms(f->loop);
    if (!need_tls(f))
        return;
    enum weir_status st = weir_resolve_start(f->loop, f->at.host, on_resolved, f, &f->resolve);
    if (st != WEIR_OK)
        fail(f, st, weir_status_text(st));
}

static void on_tick(void *arg) {
    struct fetch *f = arg;
    if (f->config->stop != NULL && atomic_load(f->config->stop))
        fail(f, WEIR_CANCELLED, "given up");
    else if (weir_loop_now_ms(f->loop) - f->last_byte_ms > f->stall_ms)
        fail(f, WEIR_TIMEOUT, "nothing came for too long");
    else if (weir_timer_start(&f->tick, TICK_MS) != WEIR_OK)
        fail(f, WEIR_NOMEM, "out of memory");
}

static void begin(void *arg) {
    struct fetch *f = arg;
    f->last_byte_ms = weir_loop_now_ms(f->loop);
    on_tick(f);
    if (!f->over)
        start_hop(f);
}

/* ---- the file ----------------------------------------------------------------------------- */

static enum weir_status run(struct fetch *f) {
    enum weir_status st = weir_loop_create(0, &f->loop);
    if (st != WEIR_OK)
        return weir_err_set(f->err, st, "no loop for a fetch: %s", weir_status_text(st));
    weir_timer_init(&f->tick, f->loop, on_tick, f);
    st = weir_loop_post(f->loop, begin, f);
    if (st == WEIR_OK) {
        weir_loop_run(f->loop);
        st = f->status;
    }
    weir_loop_destroy(f->loop);
    weir_tls_destroy(f->tls);
    return st;
}

/* Two fetches of one file may run at once, in two processes: each has a part of its own. */
static enum weir_status open_part(struct fetch *f) {
    int n = snprintf(f->part, sizeof(f->part), "%s.XXXXXX", f->config->into);
    if (n < 0 || (size_t)n >= sizeof(f->part))
        return weir_err_set(f->err, WEIR_INVALID, "%.*s: too long a path",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(f->config->into, 200)));
    f->fd = mkostemp(f->part, O_CLOEXEC);
    return f->fd >= 0 ? WEIR_OK
                      : weir_err_set(f->err, WEIR_IO, "%.*s: %s",
                                     WEIR_SPAN_ARG(weir_utf8_cut_z(f->part, 160)), strerror(errno));
}

enum weir_status weir_file_fetch(const struct weir_file_fetch_config *config,
                                 struct weir_err *err) {
    struct fetch *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->config = config;
    f->err = err;
    f->fd = -1;
    f->stall_ms = config->stall_ms > 0 ? config->stall_ms : STALL_MS;
    enum weir_status st = WEIR_INVALID;
    int n = snprintf(f->url, sizeof(f->url), "%s", config->url);
    if (n < 0 || (size_t)n >= sizeof(f->url) || !parse_url(f->url, &f->at))
        weir_err_set(err, st, "%.*s is not an http or https URL of a file",
                     WEIR_SPAN_ARG(weir_utf8_cut_z(config->url, 200)));
    else
        st = open_part(f);
    f->first = f->at;
    if (st == WEIR_OK)
        st = run(f);
    if (f->fd >= 0 && close(f->fd) != 0 && st == WEIR_OK)
        st = weir_err_set(err, WEIR_IO, "%.*s: %s", WEIR_SPAN_ARG(weir_utf8_cut_z(f->part, 160)),
                          strerror(errno));
    if (st == WEIR_OK && rename(f->part, config->into) != 0)
        st = weir_err_set(err, WEIR_IO, "%.*s: %s",
                          WEIR_SPAN_ARG(weir_utf8_cut_z(config->into, 160)), strerror(errno));
    if (st != WEIR_OK && f->fd >= 0)
        (void)unlink(f->part);
    weir_free(f);
    return st;
}
