/* The server (mock_http.c), inference (mock_http_gen.c, mock_http_embed.c), what an engine says of
 * itself (mock_http_page.c, mock_http_about.c, mock_http_metrics.c). */
#ifndef WEIR_WORKER_MOCK_HTTP_PRIV_H
#define WEIR_WORKER_MOCK_HTTP_PRIV_H

#include "base/json.h"
#include "base/list.h"
#include "net/http_server.h"
#include "wire/openai.h"
#include "worker/mock_http.h"
#include "worker/mock_rank.h"

enum { WEIR_MOCK_PAGE_MAX = 64 << 20 };

struct weir_mock_http_rank {
    struct weir_mock_http *http;
    struct weir_mock_rank *rank;
    struct weir_mock_feed *feed; /* NULL: no events */
    bool clear;                  /* told with the next batch, as vLLM does */
};

struct weir_mock_http {
    struct weir_loop *loop; /* borrowed */
    struct weir_mock_http_config config;
    struct weir_http_server *server;
    struct weir_list requests;
    unsigned n_requests;
    uint32_t next_rank;
    char topic[128];
    uint32_t n_ranks;
    struct weir_mock_http_rank ranks[];
};

static inline bool weir_mock_http_vllm(const struct weir_mock_http *h) {
    return h->config.form != WEIR_MOCK_SGLANG;
}

/* mock_http_gen.c: exchanges of inference have a user pointer. */
struct weir_mock_gen;
void weir_mock_gen_start(struct weir_mock_http *h, struct weir_http_exchange *x,
                         enum weir_openai_kind kind);
void weir_mock_gen_done(struct weir_mock_gen *gen);
/* Ends what runs under this id, or (vLLM) under the caller's own in it, or everything: with what
 * there is and the reason "abort". */
void weir_mock_gen_abort(struct weir_mock_http *h, struct weir_span id, bool all);
/* The server closes: its requests end, and their exchanges know nothing of it any more. */
void weir_mock_gen_leave(struct weir_mock_http *h);
void weir_mock_gen_token(void *arg, void *user, uint32_t token, uint32_t cached_tokens,
                         enum weir_engine_finish finish);
uint32_t weir_mock_gen_next(void *arg, void *user, uint32_t position);
struct weir_span weir_mock_gen_salt(void *user);
/* Error body as the engine writes it. param: the field that is meant, or NULL. */
void weir_mock_http_error(struct weir_mock_http *h, struct weir_http_exchange *x, int status,
                          const char *type, const char *param, const char *message);
/* Prompt of a chat's body, or this one of a completion, as ids in the arena; `page`: for /tokenize;
 * `special`: with what is put around a plain one. */
enum weir_status weir_mock_http_tokens(struct weir_mock_http *h, struct weir_span body,
                                       const struct weir_prompt *prompt, bool page, bool special,
                                       struct weir_arena *arena,
                                       struct weir_ids *ret_ids) WEIR_MUST_CHECK;

/* mock_http_embed.c */
void weir_mock_embed_start(struct weir_mock_http *h, struct weir_http_exchange *x);

/* mock_http_page.c; false: not a page of it. */
bool weir_mock_http_page(struct weir_mock_http *h, struct weir_http_exchange *x);

/* Parts of an answer. */
void weir_mock_put_z(struct weir_jsonw *w, const char *key, const char *value);
void weir_mock_put_u64(struct weir_jsonw *w, const char *key, uint64_t value);
void weir_mock_put_null(struct weir_jsonw *w, const char *key);
/* 200 with what was written, or 500; frees `out`. */
void weir_mock_send(struct weir_http_exchange *x, struct weir_jsonw *w, struct weir_buf *out);
uint32_t weir_mock_http_model_len(const struct weir_mock_http *h);

/* mock_http_about.c */
void weir_mock_page_models(struct weir_mock_http *h, struct weir_http_exchange *x);
void weir_mock_page_version(struct weir_mock_http *h, struct weir_http_exchange *x);
void weir_mock_page_load(struct weir_mock_http *h, struct weir_http_exchange *x);
void weir_mock_page_loads(struct weir_mock_http *h, struct weir_http_exchange *x);
void weir_mock_page_model_info(struct weir_mock_http *h, struct weir_http_exchange *x);
/* mock_http_metrics.c */
void weir_mock_page_metrics(struct weir_mock_http *h, struct weir_http_exchange *x);

#endif
