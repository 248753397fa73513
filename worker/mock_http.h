/*
 * A simulated vLLM or SGLang server: their HTTP API in front of the simulated engine, and KV events
 * in their form. For trying a router without a GPU, and for tests. Thread: its loop.
 */
#ifndef WEIR_WORKER_MOCK_HTTP_H
#define WEIR_WORKER_MOCK_HTTP_H

#include "tokenizer/wtok.h"
#include "worker/engine.h"
#include "worker/mock_feed.h"
#include "worker/mock_worker.h"

struct weir_mock_http;

struct weir_mock_http_config {
    enum weir_mock_form form;
    const char *ip;
    uint16_t port;
    const char *model;
    struct wtok *tok; /* borrowed: outlives the server */
    bool bytes_text;
    struct weir_engine_config engine;
    uint32_t n_ranks;
    bool prefill, decode; /* its part in a split deployment; neither: all */
    bool kv_events;
    uint16_t events_port, replay_port; /* of rank 0, rank r has + r; 0: free ones */
    const char *events_connect;        /* publish there instead of listening; or NULL */
    uint32_t default_max_tokens;
    uint32_t n_values;               /* of its embeddings */
    struct weir_mock_faults *faults; /* borrowed */
    uint64_t name_seed;
};

enum weir_status weir_mock_http_open(struct weir_loop *loop,
                                     const struct weir_mock_http_config *config,
                                     struct weir_mock_http **ret_http,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_mock_http_close(struct weir_mock_http *http);
uint16_t weir_mock_http_port(const struct weir_mock_http *http);
/* No new connections; what runs goes on. */
void weir_mock_http_drain(struct weir_mock_http *http);
unsigned weir_mock_http_active(const struct weir_mock_http *http);
void weir_mock_http_get_stats(const struct weir_mock_http *http, struct weir_engine_stats *ret);

#endif
