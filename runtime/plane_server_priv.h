/*
 * Inside of the plane server: plane_server.c has requests, their streams and the TCP listener,
 * plane_server_paths.c the endpoints that they are for, plane_server_nats.c the subjects on which
 * requests come over NATS, plane_service_nats.c what they say of themselves. One thread, that of
 * the loop.
 */
#ifndef WEIR_RUNTIME_PLANE_SERVER_PRIV_H
#define WEIR_RUNTIME_PLANE_SERVER_PRIV_H

#include "base/list.h"
#include "runtime/address.h"
#include "runtime/plane_metrics.h"
#include "runtime/plane_server.h"

enum { WEIR_PLANE_REFUSAL_BYTES = 512 };

struct weir_plane_service;

struct weir_plane_path {
    struct weir_list node;
    char *path; /* owned */
    const struct weir_plane_handler *handler;
    void *arg;
    bool raw;
    struct weir_plane_server *server;
    struct weir_nats_sub *subject; /* or NULL */
    char *subject_text;            /* owned, or NULL */
    bool drained;
    uint64_t n_requests, n_errors, n_done, busy_ns; /* came; of these refused or unreadable; ended,
                                                       and their time together */
    struct weir_path_figures figures;
};

struct weir_plane_server {
    struct weir_loop *loop;
    struct weir_plane_server_config config;
    struct weir_listener *listener;
    char advertised[WEIR_HOST_BYTES];
    struct weir_list paths, conns, requests;
    unsigned n_paths, n_active, n_streams;
    struct weir_plane_figures figures;
    unsigned n_draining; /* subjects on which requests may still come */
    bool draining, destroyed;
    struct weir_plane_service *service; /* owned; NULL without a subject */
    struct weir_buf scratch;
};

/* ---- plane_server.c ----------------------------------------------------------------------- */

/* The text that refuses a request for `p` (NULL: for an unknown path, whose name is given) now, or
 * "" when it can be taken. */
const char *weir_plane_refusal(const struct weir_plane_server *s, const struct weir_plane_path *p,
                               struct weir_span name, char room[WEIR_PLANE_REFUSAL_BYTES]);
/* Begins with the request, which has been acknowledged; one that cannot be read is logged. */
void weir_plane_take(struct weir_plane_server *s, struct weir_plane_path *p,
                     struct weir_span payload);

/* ---- plane_server_nats.c ------------------------------------------------------------------ */

enum weir_status weir_plane_nats_listen(struct weir_plane_path *p,
                                        const char *subject) WEIR_MUST_CHECK;
/* No new requests; those on their way are still taken, and n_draining falls to 0. */
void weir_plane_nats_drain(struct weir_plane_server *s);

/* ---- plane_service_nats.c ----------------------------------------------------------------- */

#define WEIR_PLANE_NATS_GROUP "q" /* the reference's name of the queue group */
/* Answers as the service that is named before the dot of `subject`. Once a server. */
enum weir_status weir_plane_service_open(struct weir_plane_server *s,
                                         const char *subject) WEIR_MUST_CHECK;
void weir_plane_service_close(struct weir_plane_server *s);

#endif
