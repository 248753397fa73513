/*
 * Happy path: ask the first peer for its dump → gather → fn → freed. A peer that cannot be reached,
 * refuses, or takes over a minute passes the turn to the next.
 */
#include "indexer/peers.h"

#include "base/mem.h"
#include "net/http_client.h"

#include <stdio.h>
#include <string.h>

enum { IP_BYTES = 64, DUMP_MAX = 1 << 30, FETCH_MS = 60000 };

struct weir_peer_fetch {
    struct weir_loop *loop;
    const char *const *peers;
    size_t n, at;
    weir_peer_fn fn;
    void *arg;
    struct weir_http_client *client;
    struct weir_http_call *call;
    struct weir_timer next; /* the next peer is asked from here, never from inside a callback */
    struct weir_buf dump;
    int status;
    char error[128];
};

static bool split(const char *url, char ip[IP_BYTES], uint16_t *ret_port) {
    struct weir_span rest = weir_span_z(url);
    uint64_t port;
    if (!weir_span_starts(rest, WEIR_SPAN_LIT("http://")))
        return false;
    rest = weir_span(rest.data + 7, rest.len - 7);
    while (rest.len > 0 && rest.data[rest.len - 1] == '/')
        rest.len--;
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.data[i] == ':')
            colon = (ptrdiff_t)i;
    if (colon <= 0 || (size_t)colon >= IP_BYTES ||
        !weir_span_u64(weir_span(rest.data + colon + 1, rest.len - (size_t)colon - 1), &port) ||
        port == 0 || port > 65535)
        return false;
    struct weir_span host = weir_span(rest.data, (size_t)colon);
    if (host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = weir_span(host.data + 1, host.len - 2);
    memcpy(ip, host.data, host.len);
    ip[host.len] = '\0';
    *ret_port = (uint16_t)port;
    return true;
}

static void finish(struct weir_peer_fetch *f, const char *error) {
    f->fn(f->arg, f->peers[f->at], weir_buf_span(&f->dump), error);
    weir_peer_fetch_cancel(f);
}

static void on_head(void *arg, int status, const struct weir_http_header *headers,
                    size_t n_headers) {
    struct weir_peer_fetch *f = arg;
    (void)headers;
    (void)n_headers;
    f->status = status;
}

static void on_body(void *arg, struct weir_span bytes) {
    struct weir_peer_fetch *f = arg;
    if (f->status == 200 && weir_buf_append_span(&f->dump, bytes) != WEIR_OK)
        f->status = 0;
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct weir_peer_fetch *f = arg;
    (void)sent_any;
    f->call = NULL;
    if (status == WEIR_OK && f->status == 200)
        f->error[0] = '\0';
    else if (status != WEIR_OK)
        snprintf(f->error, sizeof(f->error), "%s", weir_status_text(status));
    else if (f->status == 0)
        snprintf(f->error, sizeof(f->error), "the dump is larger than memory allows");
    else
        snprintf(f->error, sizeof(f->error), "status %d", f->status);
    if (weir_timer_start(&f->next, 0) != WEIR_OK)
        f->error[0] = '\0'; /* out of memory: nothing more is done */
}

static enum weir_status ask(struct weir_peer_fetch *f) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    char ip[IP_BYTES];
    struct weir_http_client_config cc = {.ip = ip, .max_conns = 1};
    if (!split(f->peers[f->at], ip, &cc.port))
        return WEIR_INVALID;
    weir_http_client_destroy(f->client);
    f->client = NULL;
    weir_buf_clear(&f->dump);
    enum weir_status st = weir_http_client_create(f->loop, &cc, &f->client);
    struct weir_http_call_config call = {
        .method = "GET", .target = "/dump?format=ndjson", .total_ms = FETCH_MS};
    return st == WEIR_OK ? weir_http_call_start(f->client, &call, &ops, f, &f->call) : st;
}

static void on_next(void *arg) {
    struct weir_peer_fetch *f = arg;
    if (f->error[0] == '\0') {
        finish(f, NULL);
        return;
    }
    while (f->at + 1 < f->n) {
        f->at++;
        if (ask(f) == WEIR_OK)
            return;
    }
    finish(f, f->error);
}

enum weir_status weir_peer_fetch_start(struct weir_loop *loop, const char *const *peers, size_t n,
                                       weir_peer_fn fn, void *arg,
                                       struct weir_peer_fetch **ret_fetch, struct weir_err *err) {
    char ip[IP_BYTES];
    uint16_t port;
    for (size_t i = 0; i < n; i++)
        if (!split(peers[i], ip, &port))
            return weir_err_set(err, WEIR_INVALID,
                                "--peers %.100s: write it as http://ip:port (no host name)",
                                peers[i]);
    struct weir_peer_fetch *f = weir_calloc(1, sizeof(*f));
    if (f == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    f->loop = loop;
    f->peers = peers;
    f->n = n;
    f->fn = fn;
    f->arg = arg;
    weir_buf_init(&f->dump, DUMP_MAX);
    weir_timer_init(&f->next, loop, on_next, f);
    enum weir_status st = ask(f);
    if (st != WEIR_OK) {
        weir_peer_fetch_cancel(f);
        return weir_err_set(err, st, "--peers %.100s: %s", peers[0], weir_status_text(st));
    }
    *ret_fetch = f;
    return WEIR_OK;
}

void weir_peer_fetch_cancel(struct weir_peer_fetch *fetch) {
    if (fetch == NULL)
        return;
    weir_timer_stop(&fetch->next);
    if (fetch->call != NULL)
        weir_http_call_cancel(fetch->call);
    weir_http_client_destroy(fetch->client);
    weir_buf_fini(&fetch->dump);
    weir_free(fetch);
}
