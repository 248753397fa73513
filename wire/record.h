/*
 * Discovery records and the model card. Source: shared spec "transport" 1 and 8. Pure: JSON text
 * in, structs out, and back. Strings live in the record's arena.
 */
#ifndef WEIR_WIRE_RECORD_H
#define WEIR_WIRE_RECORD_H

#include "base/arena.h"
#include "base/buf.h"
#include "wire/control.h"

enum weir_record_kind {
    WEIR_RECORD_ENDPOINT,
    WEIR_RECORD_MODEL,
    WEIR_RECORD_EVENT_CHANNEL,
    WEIR_RECORD_EVENT_SOURCE,
};
enum weir_worker_type {
    WEIR_WORKER_UNSET,
    WEIR_WORKER_AGGREGATED,
    WEIR_WORKER_PREFILL,
    WEIR_WORKER_DECODE,
    WEIR_WORKER_ENCODE
};

struct weir_endpoint_id {
    struct weir_span ns, component, name;
};

struct weir_file_ref { /* FILE of the spec; path NULL = absent */
    struct weir_span path, checksum;
    int64_t size; /* -1 unknown */
};

/* What the frontend uses of a card. `json` keeps the whole text, unknown fields included. */
struct weir_card {
    struct weir_span json;
    struct weir_span display_name, slug, source_path;
    struct weir_file_ref model_info, tokenizer, prompt_formatter, chat_template, gen_config;
    bool builtin_bytes_tokenizer; /* "tokenizer":{"weir_builtin":"bytes"} (Weir's own demo workers)
                                   */
    uint32_t context_length;      /* 0 = no limit */
    uint32_t kv_cache_block_size;
    uint32_t migration_limit;
    bool chat, completions, embeddings; /* flags of model_type that matter here */
    struct weir_span model_type;
    bool input_tokens; /* model_input "Tokens" */
    enum weir_worker_type worker_type;
    struct weir_span lora_name;
    struct weir_strings_list {
        const struct weir_span *items;
        size_t n;
    } aliases;
    /* runtime_config */
    uint64_t total_kv_blocks, max_num_seqs, max_num_batched_tokens; /* 0 = unknown */
    uint32_t dp_start_rank, dp_size;                                /* default 0, 1 */
    bool enable_local_indexer, kv_event_publishing, enable_eagle;
    struct weir_span tool_call_parser, reasoning_parser;
    struct weir_span bootstrap_host; /* of a prefill worker that decode workers meet, or NULL */
    uint16_t bootstrap_port;
};
/* Its workers answer requests for embeddings and no others. Text is passed on to such only, and
 * they need have neither blocks nor, then, files. */
static inline bool weir_card_only_embeds(const struct weir_card *card) {
    return card->embeddings && !card->chat && !card->completions;
}

struct weir_record {
    enum weir_record_kind kind;
    struct weir_endpoint_id
        endpoint;            /* of channels and sources: the scope (empty parts when wider) */
    uint64_t instance_id;    /* channels, sources: the publisher id */
    struct weir_span suffix; /* Model: LoRA slug or empty */
    /* Endpoint */
    struct weir_span tcp_address; /* "ip:port/path" or NULL */
    struct weir_span nats_subject;
    enum weir_codec codec; /* absent = json */
    struct weir_span device_type;
    /* Model */
    struct weir_card card;
    /* EventChannel, EventSource */
    struct weir_span topic;
    struct weir_span zmq_endpoint;   /* "tcp://…" or NULL */
    struct weir_span subject_prefix; /* of a channel over NATS, or NULL */
    /* EventSource */
    uint64_t worker_id;
    uint32_t dp_rank;
    struct weir_span recovery_endpoint; /* name of the query endpoint */
    struct weir_span recovery_address;  /* its tcp transport, or NULL */
    struct weir_span recovery_subject;  /* its NATS subject, or NULL */
    struct weir_span recovery_device;   /* its device_type, or NULL */
    enum weir_codec recovery_codec;
    uint64_t recovery_instance_id;
};
/* Refuses, with words in *err, what would otherwise poison other records (bad slug, unknown type).
 */
enum weir_status weir_record_decode(struct weir_span json, struct weir_arena *arena,
                                    struct weir_record *ret_record,
                                    struct weir_err *err) WEIR_MUST_CHECK;
enum weir_status weir_record_encode(const struct weir_record *record,
                                    struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_card_encode(const struct weir_card *card,
                                  struct weir_buf *out) WEIR_MUST_CHECK;

/* Bucket ("v1/instances", …) of a kind, and the key inside it. */
const char *weir_record_bucket(enum weir_record_kind kind);
enum weir_status weir_record_key(const struct weir_record *record,
                                 struct weir_buf *out) WEIR_MUST_CHECK;
/* NATS subjects. Of events: the channel record's prefix, "namespace.n.component.c.endpoint.e", and
 * the topic behind it. Of requests: "n_c.e-" and the id in hex. */
enum weir_status weir_event_subject_prefix(const struct weir_endpoint_id *scope,
                                           struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_event_subject(struct weir_span prefix, struct weir_span topic,
                                    struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_request_subject(const struct weir_endpoint_id *endpoint, uint64_t instance_id,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
/* The id of a worker, or of who publishes, as people read it: decimal, as in the access line, in
 * answers and in what pins a request, and as the reference system logs it. (Keys, subjects and file
 * names have it in hex.) For a log line: weir_worker_text(id).s */
struct weir_worker_text {
    char s[21];
};
struct weir_worker_text weir_worker_text(uint64_t id);
/* File-store name of a key: every byte but ASCII letters and digits becomes %XX. */
enum weir_status weir_file_name_encode(struct weir_span key, struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_file_name_decode(struct weir_span name, struct weir_buf *out) WEIR_MUST_CHECK;
/* Slug of a display name as the reference system makes it. */
enum weir_status weir_slug(struct weir_span display_name, struct weir_buf *out) WEIR_MUST_CHECK;

#endif
