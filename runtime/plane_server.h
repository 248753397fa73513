/*
 * Request plane, worker side: one listener for all endpoints of a process, or a NATS subject for
 * each; call-home response streams. Source: shared spec "transport" 2. Thread: its loop.
 */
#ifndef WEIR_RUNTIME_PLANE_SERVER_H
#define WEIR_RUNTIME_PLANE_SERVER_H

#include "net/nats.h"
#include "net/stream.h"
#include "wire/output.h"
#include "wire/record.h"

struct weir_plane_server;
struct weir_plane_request; /* one request in work and its response stream */

struct weir_plane_server_config {
    const char *ip, *advertise; /* as weir_address_bind() reads them */
    uint16_t port;              /* 0 = any */
    struct weir_tls *server_tls, *client_tls;
    unsigned max_active;    /* requests in work; above: "Server overloaded: …"; 0 = 10,000 */
    size_t max_message;     /* 0 = 32 MiB */
    size_t max_prompt_ids;  /* 0 = 4 Mi */
    uint64_t close_ms;      /* for a caller that has everything to close; 0 = 10,000 */
    struct weir_nats *nats; /* requests come over it, or NULL; outlives the server */
    struct weir_metrics *metrics; /* or NULL; outlives the server: plane_metrics.h */
};

struct weir_plane_handler {
    /* A decoded request; `req` and its spans live until on_done of r. Must lead to prologue + items
     * + end, or an error prologue, now or later. */
    void (*on_request)(void *arg, struct weir_plane_request *r,
                       const struct weir_prep_request *req);
    /* The caller sent stop / kill or went away: produce nothing more. on_done follows. */
    void (*on_cancel)(void *arg, struct weir_plane_request *r);
    /* Exactly once, last. */
    void (*on_done)(void *arg, struct weir_plane_request *r);
};

enum weir_status weir_plane_server_create(struct weir_loop *loop,
                                          const struct weir_plane_server_config *config,
                                          struct weir_plane_server **ret_server,
                                          struct weir_err *err) WEIR_MUST_CHECK;
/* "ip:port/path" for the discovery record. The path is registered verbatim. */
enum weir_status weir_plane_server_register(struct weir_plane_server *server, const char *path,
                                            const struct weir_plane_handler *handler,
                                            void *arg) WEIR_MUST_CHECK;
/* Registers the endpoint of record (its endpoint and instance_id are read) under the usual path or
 * subject, and writes its transport into the record, in the arena, for publishing. */
enum weir_status weir_plane_server_serve(struct weir_plane_server *server,
                                         const struct weir_plane_handler *handler, void *arg,
                                         bool raw, struct weir_arena *arena,
                                         struct weir_record *record) WEIR_MUST_CHECK;
/* Appends the advertised address of a path. */
enum weir_status weir_plane_server_address(const struct weir_plane_server *server, const char *path,
                                           struct weir_buf *out) WEIR_MUST_CHECK;
/* Stops accepting requests ("Server unavailable: …"); running ones go on, and so do those that are
 * on their way over NATS: weir_plane_server_active() is not 0 before they are here. */
void weir_plane_server_drain(struct weir_plane_server *server);
unsigned weir_plane_server_active(const struct weir_plane_server *server);
/* Cuts everything. Asynchronous. Accepts NULL. */
void weir_plane_server_destroy(struct weir_plane_server *server);

struct weir_span weir_plane_request_id(const struct weir_plane_request *r);
void weir_plane_request_set_user(struct weir_plane_request *r, void *user);
void *weir_plane_request_user(const struct weir_plane_request *r);
/* error NULL = success. After an error prologue nothing else may be sent. */
void weir_plane_reply_prologue(struct weir_plane_request *r, const char *error);
void weir_plane_reply_item(struct weir_plane_request *r, const struct weir_output *item);
/* A raw, already encoded wrapper (answers of query endpoints). */
void weir_plane_reply_raw(struct weir_plane_request *r, struct weir_span body);
/* The same for the last wrapper of another stream, complete_final set: the end follows it. */
void weir_plane_reply_raw_last(struct weir_plane_request *r, struct weir_span body);
/* Back-pressure: false while the caller reads slower than is replied; then fn(user) is called once
 * it has caught up. Replies go on being queued meanwhile, up to a bound that ends the request. */
bool weir_plane_reply_writable(const struct weir_plane_request *r);
void weir_plane_reply_on_writable(struct weir_plane_request *r, void (*fn)(void *user), void *user);
/* An error item and the end, behind a success prologue where none was sent yet. */
void weir_plane_reply_refuse(struct weir_plane_request *r, const struct weir_wire_error *error);
/* The same, with the HTTP status that belongs to st. */
void weir_plane_reply_refuse_text(struct weir_plane_request *r, enum weir_status st,
                                  const char *text);
/* complete_final and sentinel; on_done follows when the caller has closed, or close_ms after it has
 * taken all, or when it has stalled for a minute. */
void weir_plane_reply_end(struct weir_plane_request *r);
/* Breaks the stream without an end (fault tests). */
void weir_plane_reply_abort(struct weir_plane_request *r);
/* The raw request body, for endpoints whose request is not a PreprocessedRequest: register with
 * weir_plane_server_register_raw; on_request then gets req == NULL. */
enum weir_status weir_plane_server_register_raw(struct weir_plane_server *server, const char *path,
                                                const struct weir_plane_handler *handler,
                                                void *arg) WEIR_MUST_CHECK;
struct weir_span weir_plane_request_body(const struct weir_plane_request *r,
                                         enum weir_codec *ret_codec);

#endif
