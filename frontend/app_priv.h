/* What the files of the frontend share: the process, one loop of it, and answering helpers. */
#ifndef WEIR_FRONTEND_APP_PRIV_H
#define WEIR_FRONTEND_APP_PRIV_H

#include "base/json.h"
#include "base/list.h"
#include "frontend/explain.h"
#include "frontend/metrics.h"
#include "frontend/models.h"
#include "frontend/prefill.h"
#include "frontend/queue_classes.h"
#include "frontend/relay_pool.h"
#include "frontend/warm.h"
#include "frontend/worker_figures.h"
#include "net/http_server.h"
#include "runtime/options_frontend.h"
#include "runtime/plane_client.h"
#include "wire/openai_answer.h"

#include <stdatomic.h>

enum weir_stage { WEIR_STAGE_READY, WEIR_STAGE_DRAINING };

struct weir_app {
    struct weir_frontend_options options; /* read-only after start */
    struct weir_front_metrics *metrics;
    struct weir_worker_figures *workers;
    uint64_t start_ns;
    struct weir_models *models;
    struct weir_replica_sync
        *sync; /* NULL without --router-replica-sync; frontend.c starts and ends it */
    struct weir_prefill *prefill;
    struct weir_queue_classes queue_classes;
    struct weir_policy_config policy; /* of --router-policy-config; else zeros */
    struct weir_explain *explain;     /* NULL: no decision is recorded */
    struct weir_arena pools_arena, policy_arena;
    struct weir_pool_config *pools; /* in its arena; NULL: without --pools */
    struct weir_split_rules split;  /* in force with --router-conditional-disagg */
    enum weir_error_format error_format;
    struct weir_openai_rules rules;
    int overload_status;
    size_t body_limit;
    uint64_t item_ms, keep_alive_ms; /* 0 = off */
    unsigned migration_limit;
    bool engine_mode;           /* there is a list of HTTP engines */
    _Atomic int stage;          /* enum weir_stage; relaxed: a turn late does no harm */
    _Atomic unsigned n_running; /* requests in work, over all loops; counts of tokens too */
};

/* app.c */
struct weir_app_hooks {
    void (*on_worker_left)(void *arg, const char *address); /* as of struct weir_models_config */
    void *arg;
    struct weir_loop *loop; /* where changes come from */
};
/* Everything but `options`, which are there, and what counts running requests. Close it also when
 * it failed. */
enum weir_status weir_app_open(struct weir_app *app, const struct weir_app_hooks *hooks,
                               struct weir_err *err) WEIR_MUST_CHECK;
/* After the loops. */
void weir_app_close(struct weir_app *app);

/* One loop: its server, its way to the workers. */
struct weir_front_loop {
    struct weir_app *app; /* borrowed: outlives the loop */
    struct weir_loop *loop;
    struct weir_http_server *server;
    struct weir_plane_client *plane;
    struct weir_relay_pools *pools; /* connections to HTTP engines */
    struct weir_plane_traffic traffic;
    struct weir_timer lag; /* how late it fires tells how busy the loop is */
    uint64_t lag_due_ns;
    struct weir_prep_pattern prep; /* of the last request that was sent */
    struct weir_request *spares;   /* request.c: owned; those that are over */
    unsigned n_spares;
    struct weir_list warm; /* warm.c: requests of our own */
    unsigned n_warm;
};

/* ---- respond.c ---------------------------------------------------------------------------- */

/* Whole answers; every one echoes x-request-id. `allow` and `retry_after_s` (0 = none) add headers.
 */
void weir_front_json(struct weir_http_exchange *x, int status, struct weir_span body);
/* A content type: application/json, or application/ANYTHING+json, whatever the case and parameters.
 */
bool weir_front_is_json(struct weir_span value);
void weir_front_text(struct weir_http_exchange *x, int status, const char *content_type,
                     struct weir_span body);
/* An engine's answer. `metadata` (data NULL: none): its header of that name, in which vLLM says
 * where in a body of bytes (`encoding_format` bytes) each vector stands. */
void weir_front_relayed(struct weir_http_exchange *x, int status, const char *content_type,
                        struct weir_span metadata, struct weir_span body);
void weir_front_empty(struct weir_http_exchange *x, int status, const char *allow);
/* Sends what a writer wrote (503 when it ran out of memory) and frees the buffer. */
void weir_front_send(struct weir_http_exchange *x, int status, struct weir_jsonw *w,
                     struct weir_buf *body);
void weir_front_put_z(struct weir_jsonw *w, const char *key, const char *value);
/* An error in the configured format. */
void weir_front_error(struct weir_front_loop *fl, struct weir_http_exchange *x, int status,
                      const char *message);
void weir_front_error_span(struct weir_front_loop *fl, struct weir_http_exchange *x, int status,
                           struct weir_span message, struct weir_span param);
/* A weir_http_error_fn: answers to requests that never became one. arg is a struct weir_front_loop.
 */
const char *weir_front_protocol_error(void *arg, int status, const char *text,
                                      struct weir_buf *body);
/* explain_page.c: adds x-weir-explain where the request asked for it; returns the new n. */
size_t weir_request_explain_header(struct weir_http_exchange *x, struct weir_http_header *headers,
                                   size_t n);
/* What clients are told of a model with weir_model_failed(). */
#define WEIR_MODEL_FAILED                                                                          \
    "the frontend cannot use the model's files. Its log says why (`is not served`); coming again " \
    "does not help until they are mended"
/* Of retry_after_s: what failed will fail again. */
enum { WEIR_RETRY_NEVER = 0x7fffffff };
/* An error with what a program may want to know of it (JSON or NULL) and when to come again; 0 =
 * as for every refusal. */
void weir_front_refuse(struct weir_front_loop *fl, struct weir_http_exchange *x, int status,
                       struct weir_span message, struct weir_span details, unsigned retry_after_s);
/* Begins an event stream. */
void weir_front_sse_begin(struct weir_http_exchange *x);
bool weir_front_draining(const struct weir_app *app);

/* ---- scrape.c: a weir_metrics_scrape_fn; arg is a struct weir_app ------------------------------
 */
void weir_front_scrape(void *app);

/* ---- routes.c: the handler table of the HTTP server; arg is a struct weir_front_loop ----------
 */
extern const struct weir_http_handler weir_front_handler;

/* ---- small.c, models_page.c, busy_page.c, tokenize_page.c, explain_page.c, queue_page.c: what
 * needs no worker
 * ---------------
 */
void weir_front_docs_redirect(struct weir_http_exchange *x);
void weir_front_docs(struct weir_http_exchange *x);
void weir_front_live(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_health(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_metrics_page(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_openapi(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_models_list(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_model_get(struct weir_front_loop *fl, struct weir_http_exchange *x,
                          struct weir_span id);
/* `model` NULL: no card of it that answers clients. False: nobody works for the name;
 * nothing was answered. */
bool weir_front_ready(struct weir_front_loop *fl, struct weir_http_exchange *x,
                      struct weir_model *model, struct weir_span name);
void weir_front_busy_get(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_busy_post(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_queue(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_explain(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_tokenize(struct weir_front_loop *fl, struct weir_http_exchange *x);
void weir_front_detokenize(struct weir_front_loop *fl, struct weir_http_exchange *x);

/* routes.c: the exchange is one of the Messages API, whose errors have a form of their own. */
bool weir_front_speaks_anthropic(const struct weir_app *app, struct weir_http_exchange *x);

/* ---- request.c: chat, completions, responses, messages ------------------------------------- */
struct weir_request;
void weir_request_start(struct weir_front_loop *fl, struct weir_http_exchange *x,
                        enum weir_openai_kind kind);
/* How many tokens the prompt of a request has; nothing is generated. kind: RESPONSES,
 * MESSAGES_COUNT. */
void weir_request_count_tokens(struct weir_front_loop *fl, struct weir_http_exchange *x,
                               enum weir_openai_kind kind);
/* The client went away. */
void weir_request_abort(struct weir_request *request);
void weir_request_writable(struct weir_request *request);
/* The exchange is over; frees the request. */
void weir_request_done(struct weir_request *request);
/* At the end of the loop, when its requests are over. */
void weir_request_free_spares(struct weir_front_loop *fl);

#endif
