/*
 * The endpoints of a server: where each is registered, and the address or subject under which
 * others find it.
 */
#include "runtime/plane_server_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_PATHS = 4096 };

/* `shown`: under whose names its figures are; NULL: it has none. */
static enum weir_status add_path(struct weir_plane_server *s, const char *path,
                                 const struct weir_plane_handler *handler, void *arg, bool raw,
                                 const struct weir_record *shown,
                                 struct weir_plane_path **ret_path) {
    if (s->n_paths == MAX_PATHS)
        return WEIR_LIMIT;
    struct weir_plane_path *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    *p = (struct weir_plane_path){
        .path = weir_strdup(path), .handler = handler, .arg = arg, .raw = raw, .server = s};
    enum weir_status st = p->path == NULL ? WEIR_NOMEM : WEIR_OK;
    if (st == WEIR_OK)
        st = weir_path_figures_init(&p->figures, s->figures.metrics,
                                    shown != NULL ? &shown->endpoint : NULL,
                                    shown != NULL ? shown->instance_id : 0);
    if (st != WEIR_OK) {
        weir_free(p->path);
        weir_free(p);
        return st;
    }
    weir_list_push_back(&s->paths, &p->node);
    s->n_paths++;
    *ret_path = p;
    return WEIR_OK;
}

enum weir_status weir_plane_server_register(struct weir_plane_server *server, const char *path,
                                            const struct weir_plane_handler *handler, void *arg) {
    struct weir_plane_path *p;
    return add_path(server, path, handler, arg, false, NULL, &p);
}

enum weir_status weir_plane_server_register_raw(struct weir_plane_server *server, const char *path,
                                                const struct weir_plane_handler *handler,
                                                void *arg) {
    struct weir_plane_path *p;
    return add_path(server, path, handler, arg, true, NULL, &p);
}

static struct weir_span keep(struct weir_arena *arena, const struct weir_buf *text) {
    return weir_arena_copy(arena, weir_buf_span(text));
}

enum weir_status weir_plane_server_serve(struct weir_plane_server *server,
                                         const struct weir_plane_handler *handler, void *arg,
                                         bool raw, struct weir_arena *arena,
                                         struct weir_record *record) {
    const struct weir_endpoint_id *e = &record->endpoint;
    struct weir_plane_path *p = NULL;
    struct weir_span at = {NULL, 0};
    struct weir_buf text;
    weir_buf_init(&text, 4096);
    enum weir_status st =
        weir_buf_printf(&text, "%" PRIx64 "/%.*s/%.*s/%.*s", record->instance_id,
                        WEIR_SPAN_ARG(e->ns), WEIR_SPAN_ARG(e->component), WEIR_SPAN_ARG(e->name));
    if (st == WEIR_OK)
        st = weir_buf_append_c(&text, '\0');
    if (st == WEIR_OK)
        st = add_path(server, text.data, handler, arg, raw, record, &p);
    weir_buf_clear(&text);
    if (st == WEIR_OK && server->config.nats != NULL)
        st = weir_request_subject(e, record->instance_id, &text);
    else if (st == WEIR_OK)
        st = weir_plane_server_address(server, p->path, &text);
    if (st == WEIR_OK) {
        at = keep(arena, &text);
        st = at.data == NULL ? WEIR_NOMEM : WEIR_OK;
    }
    weir_buf_fini(&text);
    if (st == WEIR_OK && server->config.nats != NULL)
        st = weir_plane_nats_listen(p, at.data);
    if (st == WEIR_OK)
        *(server->config.nats != NULL ? &record->nats_subject : &record->tcp_address) = at;
    return st;
}

enum weir_status weir_plane_server_address(const struct weir_plane_server *server, const char *path,
                                           struct weir_buf *out) {
    bool v6 = strchr(server->advertised, ':') != NULL;
    return weir_buf_printf(out, "%s%s%s:%u/%s", v6 ? "[" : "", server->advertised, v6 ? "]" : "",
                           weir_listener_port(server->listener), path);
}
