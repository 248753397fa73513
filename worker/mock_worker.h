/*
 * One mock worker: its ranks, its place in discovery, and its requests. Several may share a
 * process, a loop and a request-plane listener. Thread: its loop.
 */
#ifndef WEIR_WORKER_MOCK_WORKER_H
#define WEIR_WORKER_MOCK_WORKER_H

#include "base/metrics.h"
#include "base/rng.h"
#include "runtime/discovery.h"
#include "runtime/plane_server.h"
#include "worker/engine.h"
#include "worker/mock_embed.h"

struct weir_mock_worker;

/* Process-wide fault switches, shared by its workers. */
struct weir_mock_faults {
    double fail_rate;   /* share of requests that end with an error */
    double hang_rate;   /* share of requests that are taken and never answered */
    int64_t exit_after; /* requests until the process exits at once; -1 = never */
    uint64_t n_requests;
    struct weir_rng rng; /* of its own, so that --seed repeats the faults but no id */
};

enum weir_mock_fault { WEIR_MOCK_FAULT_NONE, WEIR_MOCK_FAULT_HANG, WEIR_MOCK_FAULT_FAIL };
/* What becomes of the next request; exits where that is due. */
enum weir_mock_fault weir_mock_fault(struct weir_mock_faults *faults);
/* mock_worker_embed.c: of raw requests; its argument is the worker. */
extern const struct weir_plane_handler weir_mock_embed_handler;

struct weir_mock_worker_config {
    uint64_t worker_id; /* < 2^53 */
    struct weir_endpoint_id endpoint;
    struct weir_card card; /* of the model; runtime_config members included */
    struct weir_engine_config engine;
    uint32_t n_ranks;
    bool bytes_text;
    uint32_t vocab;
    enum weir_mock_embed embed;   /* else it generates */
    uint32_t n_values;            /* of its embeddings */
    bool kv_events;               /* false for decode workers */
    const char *event_ip;         /* NULL = first local address */
    struct weir_nats *event_nats; /* events go there instead, or NULL; borrowed */
    struct weir_nats *durable;    /* KV events go into a JetStream there, or NULL; borrowed */
    uint64_t stream_max_age_s;    /* of that stream */
    int64_t default_max_tokens;   /* for requests without; -1 = refuse them as the reference mocker
                                     does */
    struct weir_mock_faults *faults; /* borrowed */
    enum weir_codec codec;           /* advertised */
    double transfer_ms_per_token;    /* decode workers: wait for a prompt's blocks */
    struct weir_metrics *metrics;    /* or NULL; outlives the worker */
};

enum weir_status weir_mock_worker_open(struct weir_loop *loop, struct weir_plane_server *plane,
                                       struct weir_discovery *disc,
                                       const struct weir_mock_worker_config *config,
                                       struct weir_mock_worker **ret_worker,
                                       struct weir_err *err) WEIR_MUST_CHECK;
/* Leaves discovery; running requests go on. */
void weir_mock_worker_unpublish(struct weir_mock_worker *worker);
void weir_mock_worker_close(struct weir_mock_worker *worker);
uint64_t weir_mock_worker_id(const struct weir_mock_worker *worker);
const struct weir_mock_worker_config *
weir_mock_worker_config(const struct weir_mock_worker *worker);
double weir_mock_worker_uptime_s(const struct weir_mock_worker *worker);
/* Sums over the ranks. */
void weir_mock_worker_get_stats(const struct weir_mock_worker *worker,
                                struct weir_engine_stats *ret);
/* Of the rank with this index, from 0. */
void weir_mock_worker_rank_stats(const struct weir_mock_worker *worker, uint32_t rank,
                                 struct weir_engine_stats *ret);

#endif
