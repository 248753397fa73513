/*
 * PreprocessedRequest: what a frontend sends to a worker, in JSON or MessagePack. Source: shared
 * spec "transport" 3.2, "frontend" 3.2. Pure. Unset: has_* false, numbers -1 or NAN as said, spans
 * with data NULL. Arrays and spans are borrowed (encode) or live in the arena (decode).
 */
#ifndef WEIR_WIRE_REQUEST_H
#define WEIR_WIRE_REQUEST_H

#include "wire/control.h"
#include "wire/media.h"

struct weir_ids {
    const uint32_t *ids;
    size_t n;
};
struct weir_strings {
    const struct weir_span *items;
    size_t n;
    bool set; /* an empty list differs from none */
};

struct weir_stop_conditions {
    int64_t max_tokens; /* -1 unset */
    struct weir_strings stop;
    struct weir_ids stop_token_ids;         /* what the request named */
    struct weir_ids stop_token_ids_visible; /* stop and show; frontends send null */
    struct weir_ids stop_token_ids_hidden;  /* the model's end-of-sequence ids */
    int64_t min_tokens;                     /* -1 unset */
    int ignore_eos;                         /* -1 unset, 0, 1 */
    int64_t max_thinking_tokens;            /* -1 unset */
};

struct weir_sampling {
    int n, best_of; /* -1 unset */
    double presence_penalty, frequency_penalty, repetition_penalty, temperature, top_p, min_p,
        length_penalty; /* NAN unset */
    bool has_top_k;
    int32_t top_k;
    bool has_seed;
    int64_t seed;
    int include_stop_str_in_output;   /* -1 unset */
    int detokenize;                   /* -1 unset */
    struct weir_span guided_decoding; /* JSON object {json,regex,choice,grammar,…} or NULL */
    struct weir_ids allowed_token_ids;
    struct weir_span bad_words_token_ids; /* JSON or NULL */
};

struct weir_output_options {
    int64_t logprobs, prompt_logprobs; /* -1 unset */
    int skip_special_tokens;           /* -1 unset */
    int formatted_prompt;              /* -1 unset */
    int return_tokens_as_token_ids;    /* -1 unset */
};

struct weir_routing_hints {
    bool set;
    bool has_backend_instance_id, has_prefill_worker_id, has_decode_worker_id;
    uint64_t backend_instance_id, prefill_worker_id, decode_worker_id;
    int64_t dp_rank, prefill_dp_rank; /* -1 unset */
    int64_t expected_output_tokens;   /* -1 unset */
    struct weir_span lora_name, cache_salt;
    double priority_jump;    /* NAN unset */
    int64_t strict_priority; /* -1 unset */
    bool has_priority;
    int32_t priority;
    struct weir_span routing_constraints; /* JSON or NULL */
};

/* How a decode worker meets its prefill worker. */
struct weir_bootstrap {
    bool set;
    struct weir_span host;
    uint16_t port;
    uint64_t room;
    bool has_handoff_id;
    unsigned char handoff_id[16]; /* a UUID: text in JSON, 16 raw bytes in MessagePack */
};

struct weir_prep_request {
    struct weir_span model;
    struct weir_ids token_ids;
    struct weir_media media;          /* none → left out */
    struct weir_span mm_routing_info; /* JSON or NULL → left out */
    struct weir_ids mm_routing_ids;   /* its ids of the prompt with its media, or NULL; only read */
    struct weir_stop_conditions stop;
    struct weir_sampling sampling;
    struct weir_output_options output;
    struct weir_ids eos_token_ids;
    struct weir_span mdc_sum; /* NULL → null */
    struct weir_strings annotations;
    struct weir_routing_hints routing;
    struct weir_span router_config_override; /* JSON or NULL → null */
    struct weir_span prefill_result;         /* JSON or NULL → left out */
    struct weir_bootstrap bootstrap;         /* not set → left out */
    struct weir_span extra_args;             /* JSON or NULL → left out */
    struct weir_span router;                 /* JSON (latency targets) or NULL → left out */
    struct weir_span agent_context;          /* JSON or NULL → left out */
    struct weir_span image_cache_scope;      /* text (the session) or NULL → left out */
    struct weir_span mm_processor_kwargs;    /* JSON or NULL → left out */
    struct weir_span media_io_kwargs;        /* the same */
    double request_timestamp_ms;             /* NAN → left out */
    bool require_reasoning; /* the grammar holds behind the thoughts; false → left out */
};
/* Everything unset. */
void weir_prep_request_init(struct weir_prep_request *req);
enum weir_status weir_prep_request_encode(const struct weir_prep_request *req,
                                          enum weir_codec codec,
                                          struct weir_buf *out) WEIR_MUST_CHECK;
/* Requests that differ in model and token ids only have the rest of their bytes in common. A
 * pattern keeps those of the last one and is no part of the meaning: what is written is always what
 * weir_prep_request_encode writes. One for all requests of a thread. Zeroed at first. */
enum { WEIR_PREP_IDS = 8, WEIR_PREP_PATTERN = 1024 };
struct weir_prep_pattern {
    struct weir_prep_key {
        struct weir_prep_request req; /* without what points elsewhere */
        uint32_t eos[WEIR_PREP_IDS], hidden[WEIR_PREP_IDS];
        char mdc_sum[128];
    } key;
    uint32_t n_entries;
    size_t len; /* 0: nothing kept */
    char bytes[WEIR_PREP_PATTERN];
};
enum weir_status weir_prep_request_encode_like(struct weir_prep_pattern *pattern,
                                               const struct weir_prep_request *req,
                                               enum weir_codec codec,
                                               struct weir_buf *out) WEIR_MUST_CHECK;
/* Unknown keys are ignored; token_ids is required. max_tokens_in bounds the number of prompt ids.
 */
enum weir_status weir_prep_request_decode(struct weir_span bytes, enum weir_codec codec,
                                          size_t max_tokens_in, struct weir_arena *arena,
                                          struct weir_prep_request *ret_req,
                                          struct weir_err *err) WEIR_MUST_CHECK;

#endif
