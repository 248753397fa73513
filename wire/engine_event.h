/*
 * KV events as vLLM, SGLang and TensorRT-LLM publish them over ZeroMQ: the payload frame,
 * MessagePack [timestamp, [event, …], rank], or a map of these ("ts", "events",
 * "data_parallel_rank") and nothing behind it. An event is a map with "type", or an array that
 * begins with it; both may stand in one batch, members may be missing or new, none twice. Sources:
 * shared spec "kvrouter" 2.2, "engines" 2, captures in its data. Pure.
 */
#ifndef WEIR_WIRE_ENGINE_EVENT_H
#define WEIR_WIRE_ENGINE_EVENT_H

#include "base/arena.h"
#include "base/status.h"
#include "wire/kv_event.h"

enum weir_engine_event_kind {
    WEIR_ENGINE_STORED,
    WEIR_ENGINE_REMOVED,
    WEIR_ENGINE_CLEARED,
    WEIR_ENGINE_OTHER, /* "Ignored", or a type of a later engine */
};

/* How the attention of a block group works, where the engine says. */
enum weir_attention {
    WEIR_ATTENTION_UNTOLD,
    WEIR_ATTENTION_MAIN,  /* full, MLA, sink-full: what prefix hits follow */
    WEIR_ATTENTION_OTHER, /* sliding window, Mamba, a kind of a later engine */
};

enum { WEIR_ENGINE_EVENT_BLOCKS = 1 << 16 }; /* of one event at most */

/* Spans and arrays live in the payload or the arena. */
struct weir_engine_event {
    enum weir_engine_event_kind kind;
    /* The engine's names of blocks: integers by their bits, byte strings by their last 8 bytes as
     * big-endian (so both forms of one hash of vLLM are equal). */
    const uint64_t *hashes;
    size_t n_hashes;
    enum weir_kv_tier tier;
    bool remote;   /* kept by another worker */
    int64_t group; /* -1 = not told */
    enum weir_attention attention;
    /* stored */
    bool has_parent;
    uint64_t parent;
    const uint32_t *tokens;
    size_t n_tokens;
    bool eagle;          /* tokens were pairs: one more than the blocks hold */
    uint32_t block_size; /* 0 = not told */
    bool has_lora_id;    /* an adapter, whose name may not be told */
    struct weir_span lora;
    /* Of the sequence; only its first block tells it (vLLM), or every event (SGLang). */
    struct weir_span salt;
    /* Some block holds media, or what is not known here and parts blocks of equal tokens. */
    bool media;
    size_t first_media_block;
    /* Events of the batch that this one stands for, too: see weir_engine_batch_decode_joined. */
    uint32_t joined;
};

/* The tier that an event's `medium` names; what is not known is the device's. */
enum weir_kv_tier weir_engine_tier(struct weir_span medium);

struct weir_engine_batch {
    double timestamp;
    int64_t rank; /* -1 = not told */
    uint32_t n_events;
};

/* Reads a batch in one pass; each event is handed to fn in order, valid for the call; the arena is
 * reset between events, so nothing else may lie in it. WEIR_INVALID after the good events before
 * the fault. *ret_batch is filled as far as was read: the rank stands behind the events. */
typedef void (*weir_engine_event_fn)(void *arg, const struct weir_engine_event *event);
enum weir_status weir_engine_batch_decode(struct weir_span payload, struct weir_arena *arena,
                                          weir_engine_event_fn fn, void *arg,
                                          struct weir_engine_batch *ret_batch) WEIR_MUST_CHECK;
/* The same, but removals that follow each other and differ in their names only come as one, of at
 * most WEIR_ENGINE_JOINED names: an engine may tell each removed block by itself, and names that
 * are known together can be fetched together. */
enum { WEIR_ENGINE_JOINED = 128 };
enum weir_status
weir_engine_batch_decode_joined(struct weir_span payload, struct weir_arena *arena,
                                weir_engine_event_fn fn, void *arg,
                                struct weir_engine_batch *ret_batch) WEIR_MUST_CHECK;
/* What stands around the events, which are passed over. */
enum weir_status weir_engine_batch_peek(struct weir_span payload,
                                        struct weir_engine_batch *ret_batch) WEIR_MUST_CHECK;
/* When the batch was made, from its first bytes alone; what follows is not looked at. */
enum weir_status weir_engine_batch_time(struct weir_span payload,
                                        double *ret_timestamp) WEIR_MUST_CHECK;

#endif
