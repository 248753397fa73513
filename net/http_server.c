/* The server: settings, the listener, the set of its connections, the end. */
#include "net/http2_priv.h"

#include "base/mem.h"

void weir_http_server_free(struct weir_http_server *s) {
    for (unsigned i = 0; i < s->n_spare; i++)
        weir_arena_fini(&s->spare[i]);
    weir_http2_teardown(s);
    weir_free(s);
}

static void apply_defaults(struct weir_http_limits *l) {
    static const struct weir_http_limits d = {.header_bytes = 128 * 1024,
                                              .header_count = 100,
                                              .target_bytes = 65534,
                                              .header_ms = 30000,
                                              .body_ms = 30000,
                                              .body_total_ms = 600000,
                                              .idle_ms = 75000,
                                              .write_stall_ms = 60000,
                                              .write_max = 16 << 20,
                                              .h2_bodies = 256 << 20};
#define DEFAULT(field)                                                                             \
    if (l->field == 0)                                                                             \
    l->field = d.field
    DEFAULT(header_bytes);
    DEFAULT(header_count);
    DEFAULT(target_bytes);
    DEFAULT(header_ms);
    DEFAULT(body_ms);
    DEFAULT(body_total_ms);
    DEFAULT(idle_ms);
    DEFAULT(write_stall_ms);
    DEFAULT(write_max);
    DEFAULT(h2_bodies);
#undef DEFAULT
}

enum weir_status weir_http_server_create(struct weir_loop *loop,
                                         const struct weir_http_server_config *config,
                                         struct weir_http_server **ret_server,
                                         struct weir_err *err) {
    struct weir_http_server *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    s->loop = loop;
    s->limits = config->limits;
    apply_defaults(&s->limits);
    s->handler = config->handler;
    s->on_error = config->on_error;
    s->arg = config->arg;
    s->http2 = config->http2;
    weir_list_init(&s->conns);
    weir_list_init(&s->h2_conns);
    if (s->http2 && weir_http2_setup(s) != WEIR_OK) {
        weir_http_server_free(s);
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    }
    struct weir_listen_config listen = config->listen;
    listen.limits.write_max = s->limits.write_max;
    listen.limits.write_stall_ms = s->limits.write_stall_ms;
    listen.limits.dead_ms = weir_stream_dead_ms(loop, s->limits.write_stall_ms);
    enum weir_status st = weir_listen(loop, &listen, weir_http_conn_accept, s, &s->listener, err);
    if (st != WEIR_OK) {
        weir_http_server_free(s);
        return st;
    }
    s->port = weir_listener_port(s->listener);
    *ret_server = s;
    return WEIR_OK;
}

uint16_t weir_http_server_port(const struct weir_http_server *server) {
    return server->port;
}

unsigned weir_http_server_conns(const struct weir_http_server *server) {
    return server->n_conns;
}

unsigned weir_http_server_active(const struct weir_http_server *server) {
    return server->n_open;
}

void weir_http_server_drain(struct weir_http_server *s) {
    s->draining = true;
    weir_listener_close(s->listener);
    s->listener = NULL;
    WEIR_LIST_FOREACH(it, &s->conns) {
        weir_http_conn_drain(WEIR_CONTAINER_OF(it, struct conn, node));
    }
    WEIR_LIST_FOREACH(it, &s->h2_conns) {
        weir_http2_drain(WEIR_CONTAINER_OF(it, struct h2_conn, node));
    }
}

void weir_http_server_destroy(struct weir_http_server *s) {
    if (s == NULL)
        return;
    s->draining = s->destroyed = true;
    weir_listener_close(s->listener);
    s->listener = NULL;
    if (s->n_conns == 0) {
        weir_http_server_free(s);
        return;
    }
    WEIR_LIST_FOREACH(it, &s->conns) {
        weir_http_conn_close(WEIR_CONTAINER_OF(it, struct conn, node), WEIR_OK,
                             "the server is shut down");
    }
    WEIR_LIST_FOREACH(it, &s->h2_conns) {
        weir_http2_close(WEIR_CONTAINER_OF(it, struct h2_conn, node), WEIR_OK,
                         "the server is shut down");
    }
}
