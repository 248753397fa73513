#include "test/unit/net/pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_open(void *arg) {
    struct end *e = arg;
    e->opened++;
    e->opened_ms = weir_loop_now_ms(e->pair->loop);
    if (e->on_open != NULL)
        e->on_open(e);
}

static void on_read(void *arg, struct weir_span bytes) {
    struct end *e = arg;
    e->reads++;
    e->got += bytes.len;
    size_t n = bytes.len < sizeof(e->last) ? bytes.len : sizeof(e->last) - 1;
    memcpy(e->last, bytes.data + bytes.len - n, n);
    e->last[n] = '\0';
    if (e->closed > 0)
        abort();
    if (e->on_read != NULL)
        e->on_read(e, bytes);
}

static void on_eof(void *arg) {
    struct end *e = arg;
    e->eofs++;
    if (e->on_eof != NULL)
        e->on_eof(e);
    else
        weir_stream_close(e->stream, WEIR_OK, "end");
}

static void on_drain(void *arg) {
    struct end *e = arg;
    e->drains++;
    if (e->on_drain != NULL)
        e->on_drain(e);
}

static void on_close(void *arg, enum weir_status status, const char *reason) {
    struct end *e = arg;
    struct pair *p = e->pair;
    e->closed++;
    e->closed_ms = weir_loop_now_ms(p->loop);
    e->status = status;
    e->stream = NULL;
    snprintf(e->reason, sizeof(e->reason), "%s", reason);
    if (e->on_close != NULL)
        e->on_close(e);
    bool server_done = p->accepted == 0 || p->server.closed > 0;
    if (!p->keep && p->client.closed > 0 && server_done)
        weir_loop_stop(p->loop);
}

static const struct weir_stream_ops ops = {.on_open = on_open,
                                           .on_read = on_read,
                                           .on_eof = on_eof,
                                           .on_drain = on_drain,
                                           .on_close = on_close};

static void on_accept(void *arg, struct weir_stream *s) {
    struct pair *p = arg;
    p->accepted++;
    p->server.stream = s;
    weir_stream_adopt(s, &ops, &p->server);
    on_open(&p->server);
}

static void on_guard(void *arg) {
    struct pair *p = arg;
    p->timed_out = true;
    weir_loop_stop(p->loop);
}

void pair_open(struct pair *p, const struct weir_listen_config *listen,
               const struct weir_stream_limits *client) {
    struct weir_listen_config config = {0};
    if (listen != NULL)
        config = *listen;
    if (config.ip == NULL)
        config.ip = "127.0.0.1";
    p->server.pair = p->client.pair = p;
    if (weir_loop_create(0, &p->loop) != WEIR_OK ||
        weir_listen(p->loop, &config, on_accept, p, &p->listener, NULL) != WEIR_OK)
        abort();
    weir_timer_init(&p->guard, p->loop, on_guard, p);
    if (weir_timer_start(&p->guard, 60000) != WEIR_OK ||
        weir_stream_connect(p->loop, strchr(config.ip, ':') != NULL ? "::1" : "127.0.0.1",
                            weir_listener_port(p->listener), NULL, NULL, client, &ops, &p->client,
                            &p->client.stream) != WEIR_OK)
        abort();
}

void pair_run(struct pair *p) {
    weir_loop_run(p->loop);
    weir_timer_stop(&p->guard);
    weir_listener_close(p->listener);
    weir_loop_destroy(p->loop);
    if (p->timed_out) {
        fprintf(stderr, "the pair was still open after a minute\n");
        abort();
    }
}
