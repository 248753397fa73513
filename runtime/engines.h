/*
 * Inference engines that speak HTTP (vLLM, SGLang and what looks like them): the list of them, and
 * what each says of itself. Facts: shared spec "engines" 2.2, 2.3.
 *
 * An engine is found by its address alone. It is asked in turn: /health, /v1/models,
 * /kv_event_sources (vLLM) or /server_info (SGLang), /tokenize (once, whether it can), /metrics
 * (load, block size). It is up when it is healthy and has named a model, and down after three
 * failures in a row; one that came back from there must answer twice.
 *
 * Thread: the loop it was opened on, for every call and callback.
 */
#ifndef WEIR_RUNTIME_ENGINES_H
#define WEIR_RUNTIME_ENGINES_H

#include "base/span.h"
#include "net/loop.h"
#include "net/tls.h"
#include "runtime/engine_spec.h"

struct weir_engines;

enum { WEIR_ENGINE_MAX_RANKS = 256, WEIR_ENGINE_MAX_MODELS = 256, WEIR_ENGINE_MAX = 4096 };

struct weir_engines_config {
    /* "http[s]://host:port[,key=value…]"; keys: model, kv-events, replay, topic, block-size, ranks,
     * role, bootstrap-port.
     * Borrowed: outlive the list. */
    const char *const *workers;
    size_t n_workers;
    const char *path;     /* TOML file with [[worker]] tables (`url` and the same keys), watched */
    struct weir_tls *tls; /* for https, or NULL: https is refused */
    const char *api_key;  /* sent as a bearer token with each question, blanks around it aside, or
                             NULL */
    uint64_t poll_ms;     /* 0 = 1,000 */
    uint64_t answer_ms;   /* for each answer; 0 = 10,000 */
};

/* Where one rank publishes its KV events. */
struct weir_engine_source {
    uint32_t rank;
    struct weir_span events; /* "tcp://host:port"; '*' as host: it connects to us, we bind */
    struct weir_span replay; /* or empty */
    struct weir_span topic;
};
struct weir_engine_model {
    struct weir_span id;    /* as requests name it */
    struct weir_span lora;  /* adapter: as KV events name it */
    uint32_t max_model_len; /* 0 = not told */
    bool adapter;           /* of another model of this engine (LoRA) */
    bool sglang;            /* SGLang serves it: chat requests are shaped its way */
};
/* What is known of an engine that can serve. Borrowed for the call. */
struct weir_engine_info {
    uint64_t id; /* of its address and its entry's model: the same in every run, below 2^53 */
    const char *address; /* "http://1.2.3.4:8000/host:8000", or https: where, and its name */
    const struct weir_engine_model *models;
    size_t n_models; /* at least 1 */
    const struct weir_engine_source *sources;
    size_t n_sources;
    uint32_t block_size;             /* 0 = not told */
    uint64_t n_kv_blocks;            /* of a rank; 0 = not told */
    uint32_t n_ranks;                /* at least 1 */
    bool tokenizes;                  /* has a /tokenize that works */
    enum weir_engine_role role;      /* as the operator says, as the next two */
    struct weir_span bootstrap_host; /* as decode engines can reach it */
    uint16_t bootstrap_port;
};
struct weir_engine_load {
    uint32_t rank;
    uint64_t running, waiting;
    double kv_usage; /* 0..1 */
};

struct weir_engines_ops {
    /* It can serve, or something of the above has changed. */
    void (*on_up)(void *arg, const struct weir_engine_info *engine);
    /* It answered once more, and nothing of that has changed. */
    void (*on_same)(void *arg, const struct weir_engine_info *engine);
    /* It cannot any more; its address may come back. */
    void (*on_down)(void *arg, uint64_t id, const char *why);
    /* Its address is not listed any more; on_down came before if it was up. */
    void (*on_gone)(void *arg, const struct weir_engine_info *engine);
    /* At each poll, for each rank. */
    void (*on_load)(void *arg, const struct weir_engine_info *engine,
                    const struct weir_engine_load *load);
};

/* A mistake in a flag or in the file is an error now; later mistakes in the file are logged and
 * change nothing. */
enum weir_status weir_engines_open(struct weir_loop *loop, const struct weir_engines_config *config,
                                   const struct weir_engines_ops *ops, void *arg,
                                   struct weir_engines **ret_engines,
                                   struct weir_err *err) WEIR_MUST_CHECK;
/* "Bearer" and the key, or NULL. Lives as long as the list. */
const char *weir_engines_bearer(const struct weir_engines *engines);
/* Nothing fires afterwards. Accepts NULL. */
void weir_engines_close(struct weir_engines *engines);

#endif
