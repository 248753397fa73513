/*
 * The models that discovery shows: cards and instances joined to worker sets, each with its router
 * and tokenizer. Changes come from one thread (the control loop); any thread looks models up. A
 * model found is held by a reference and stays usable after it has left discovery. Tokenizer files
 * are read on a thread of their own (models_load.c); until then the model is there but not ready.
 */
#ifndef WEIR_FRONTEND_MODELS_H
#define WEIR_FRONTEND_MODELS_H

#include "frontend/image_rules.h"
#include "frontend/metrics.h"
#include "frontend/parity.h"
#include "frontend/rooms.h"
#include "router/pool_config.h"
#include "router/replica_sync.h"
#include "router/router.h"
#include "runtime/discovery.h"
#include "runtime/model_files.h"
#include "tokenizer/wtok.h"

struct weir_models;
struct weir_model;

enum { WEIR_ADDRESS_MAX = 512 };

enum weir_parity_mode { /* same order as the choices of --parity-check */
                        WEIR_PARITY_ON,
                        WEIR_PARITY_REPORT,
                        WEIR_PARITY_OFF
};

struct weir_models_config {
    struct weir_router_config router;        /* block_size is the card's */
    struct weir_queue_config queue;          /* in force when the router has a threshold */
    const struct weir_policy_config *policy; /* its classes come before that; borrowed, or NULL */
    struct weir_busy_thresholds thresholds;  /* at start */
    uint32_t block_size;                     /* 0 = the card's */
    const char *ns, *ns_prefix;              /* filters or NULL */
    bool ns_strict;                          /* the prefix stands before generations only */
    const struct weir_pool_config *pools;    /* borrowed; whose namespaces are served; or NULL */
    const char *model_name;                  /* serve only this one, or NULL */
    const char *model_path;                  /* directory with tokenizer files, or NULL */
    struct weir_hub_config hub;              /* for files that cards name by hf:// addresses */
    size_t tokenizer_cache_bytes;            /* of a model; 0: none */
    enum weir_parity_mode parity;            /* what is done about tokens that differ */
    bool has_nats;                           /* workers that are called over NATS can be */
    bool bytes_tokenizer;                    /* --tokenizer bytes: for every model */
    const char *tool_parser;                 /* for every model, or NULL: what the card names */
    const char *reasoning_parser;            /* likewise */
    unsigned min_workers;                    /* a model is ready when it has had so many at once */
    /* A worker's instance record is gone, and there is no other at its address (an engine has a
     * worker a model); address is borrowed for the call. On the control loop, with the registry's
     * lock held. May be NULL. */
    void (*on_worker_left)(void *arg, const char *address);
    void *arg;
    struct weir_front_metrics *metrics; /* borrowed */
    struct weir_loop *loop;             /* borrowed: where changes come from; loads end there */
    struct weir_replica_sync *sync;     /* borrowed: hears of every booking; or NULL */
};

/* What does not change while the model lives. */
struct weir_model_info {
    const char *name;
    uint32_t context_length, block_size, migration_limit;
    uint64_t total_kv_blocks, max_num_seqs, max_num_batched_tokens;
    bool chat, completions, embeddings, eagle;
    bool text_input;    /* its workers make the tokens; tok is NULL */
    bool engines;       /* its workers are HTTP engines: requests are relayed (relay.h) */
    bool needs_prefill; /* of such that cannot compute a prompt: decode engines of SGLang */
    bool engine_tokens; /* of such: no tokenizer here (tok is NULL), the engines are asked */
    bool tokenizes;     /* of such: they have /tokenize */
    struct weir_span tool_parser, reasoning_parser; /* known names (parsers/wprs.h), or empty */
    struct weir_span card_sum; /* of the card that made it, which workers are told; or NULL */
    struct wtok *tok;
    struct weir_image_rules images; /* of workers of the request plane */
    enum wtok_flavour flavour;      /* how its engines shape a chat for the template */
    /* Of a LoRA adapter: a number of its own, which the router knows; its name, which is in the
     * hashes of its blocks. Its workers are those of another model, of which it has the router and
     * the rooms. Else 0, empty, and the model's own name. */
    uint64_t adapter;
    struct weir_span lora;
    const char *workers_of;
    struct weir_router *router;
    struct weir_rooms *rooms; /* where requests wait for its workers; NULL: they do not */
    struct weir_front_model_metrics metrics;
};

enum weir_status weir_models_create(const struct weir_models_config *config,
                                    struct weir_models **ret_models) WEIR_MUST_CHECK;
/* After the loop has stopped and before it is destroyed, which their threads touch: gives up all
 * loads and waits for their threads. Accepts NULL. */
void weir_models_end_loads(struct weir_models *models);
/* Behind that, when the loop takes no more turns. Accepts NULL. */
void weir_models_destroy(struct weir_models *models);
/* The rooms before a router of such a model, prefill workers' or the others'; *ret stays when the
 * configuration has no queue for it. */
enum weir_status weir_models_rooms(const struct weir_models_config *config, struct weir_span model,
                                   bool prefill, struct weir_router *router,
                                   struct weir_rooms **ret) WEIR_MUST_CHECK;
/* A discovery callback. */
void weir_models_on_change(void *models, enum weir_discovery_change change,
                           enum weir_record_kind kind, struct weir_span key,
                           const struct weir_record *record);

/* An HTTP engine as a worker of one model. Thread: that of the changes. */
struct weir_models_engine {
    uint64_t id;         /* worker id: of the engine and the model together */
    const char *address; /* as in struct weir_engine_info */
    struct weir_span model;
    uint32_t context_length, block_size, n_ranks;
    uint64_t n_kv_blocks;
    bool tokenizes, sglang; /* as in struct weir_engine_info, _model */
    bool decode;            /* its role */
};
/* Adds it, or replaces what was known. One that cannot be served beside the model's other workers
 * (another block size, or they are no engines) is left out, with a log line. */
void weir_models_engine_put(struct weir_models *models, const struct weir_models_engine *engine);
/* Of one that was left out: nothing stands against it now. */
bool weir_models_engine_fits(struct weir_models *models, const struct weir_models_engine *engine);
/* `listed`: it is only down, and with it the engine whose model it is (the id that `engines` gave
 * it). Its model is then missed until it is back (weir_models_missed). */
void weir_models_engine_remove(struct weir_models *models, uint64_t id, uint64_t engine,
                               bool listed);
/* The engine is not listed any more, or names all that it has: nobody misses others of it. */
void weir_models_engine_forget(struct weir_models *models, uint64_t engine);
/* Every engine that served this name is down. */
bool weir_models_missed(struct weir_models *models, struct weir_span name);

/* By name or alias; NULL when unknown. The caller unrefs. */
struct weir_model *weir_models_find(struct weir_models *models, struct weir_span name);
struct weir_model *weir_model_ref(struct weir_model *model);
void weir_model_unref(struct weir_model *model);
const struct weir_model_info *weir_model_info(const struct weir_model *model);
/* At least one worker has both its card and its instance. */
bool weir_model_ready(struct weir_model *model);
/* Its files cannot be used, as the log has said: it will not be ready while they are as they are.
 */
bool weir_model_failed(struct weir_model *model);
/* True when a model for that endpoint kind is registered, or one is missed. */
bool weir_models_any(struct weir_models *models, bool chat);
/* Records of this namespace are looked at. */
bool weir_models_wants(const struct weir_models_config *config, struct weir_span ns);
/* The pool that a worker of this namespace belongs to; 0 without pools. False, with a log line: its
 * pools are for workers of the other kind. */
bool weir_models_place(const struct weir_models_config *config, struct weir_span ns, bool prefill,
                       uint32_t *ret_pool);
/* fn is called with the registry's lock held: it must not call back into it. */
typedef void (*weir_model_fn)(void *arg, struct weir_model *model, bool ready);
void weir_models_each(struct weir_models *models, weir_model_fn fn, void *arg);
/* The same for those that have a router of their own: all but adapters. */
void weir_models_each_router(struct weir_models *models, weir_model_fn fn, void *arg);

/* A worker of a model, as the request plane needs it. */
struct weir_model_worker {
    char address[WEIR_ADDRESS_MAX];
    enum weir_codec codec;
    uint32_t n_ranks;
};
bool weir_model_worker(struct weir_model *model, uint64_t worker_id, struct weir_model_worker *ret);
/* fn(instance record fields) for every instance with a card, for /health and /ready. */
struct weir_model_instance {
    const struct weir_endpoint_id *endpoint;
    uint64_t id;
    const char *address;
    enum weir_codec codec;
    const char *model;
    enum weir_worker_type type; /* of its card */
    bool adapter;               /* told of already, as an instance of the adapter's base */
};
typedef void (*weir_model_instance_fn)(void *arg, const struct weir_model_instance *instance);
void weir_models_instances(struct weir_models *models, weir_model_instance_fn fn, void *arg);

/* ---- parity of tokens (parity.h, models_parity.c) ---------------------------------------------
 */

/* What the canned conversations of an engine showed. */
struct weir_parity_finding {
    const char *address;                     /* of the engine */
    unsigned n_same;                         /* conversations whose tokens were equal */
    const struct weir_parity_canned *canned; /* the one whose tokens were not; NULL: none */
    enum weir_parity_cause cause;
    size_t n_ours, n_theirs, at; /* tokens, and the first that differs */
    bool again; /* of another model of the same engine: neither logged nor counted */
};
/* Thread: that of the changes. A finding without a difference takes an earlier one back. */
void weir_models_parity_found(struct weir_models *models, uint64_t worker_id,
                              const struct weir_parity_finding *finding);
/* A worker's own count of a prompt, beside ours. Several differences in a row are believed. `body`:
 * the client's, where the worker got that, else empty. Any thread. */
void weir_model_parity_count(struct weir_model *model, uint64_t worker_id,
                             const struct weir_parity_count *count, struct weir_span body);
/* A worker of this model makes other tokens than we do: what it holds cannot be matched, and its
 * requests go by load until no such worker is left. Any thread. */
bool weir_model_blind(const struct weir_model *model);

/* The router that the events of a worker belong to: the model whose worker it is. Held by a
 * reference. */
struct weir_model *weir_models_of_worker(struct weir_models *models, uint64_t worker_id);

#endif
