/*
 * Events of the event plane: envelope, RouterEvent (KV cache changes), ActiveLoad. Sources: shared
 * spec "kvrouter" 2.1, 2.4 and "transport" 4, 5. Pure.
 */
#ifndef WEIR_WIRE_KV_EVENT_H
#define WEIR_WIRE_KV_EVENT_H

#include "base/arena.h"
#include "base/buf.h"

/* MessagePack map of the event plane; ZMQ adds topic, publisher id, sequence and a 5-byte header.
 */
struct weir_envelope {
    struct weir_span topic;
    uint64_t publisher_id, sequence, published_at_ms;
    struct weir_span payload; /* MessagePack of the event */
};
enum weir_status weir_envelope_encode(const struct weir_envelope *env,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_envelope_decode(struct weir_span bytes, struct weir_arena *arena,
                                      struct weir_envelope *ret_env) WEIR_MUST_CHECK;
/* ZMQ frame 3: version 1, u32 BE length, envelope. */
enum weir_status weir_zmq_frame_encode(const struct weir_envelope *env,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_zmq_frame_decode(struct weir_span bytes, struct weir_arena *arena,
                                       struct weir_envelope *ret_env) WEIR_MUST_CHECK;

enum weir_kv_tier { WEIR_TIER_DEVICE, WEIR_TIER_HOST, WEIR_TIER_DISK, WEIR_TIER_EXTERNAL };
enum weir_kv_kind { WEIR_KV_STORED, WEIR_KV_REMOVED, WEIR_KV_CLEARED };

struct weir_kv_block {
    uint64_t block_hash;  /* engine's id of the prefix */
    uint64_t tokens_hash; /* content hash (kvi_block_hash) */
};
struct weir_kv_event {
    uint64_t worker_id;
    uint32_t dp_rank;
    uint64_t event_id;
    enum weir_kv_tier tier;
    enum weir_kv_kind kind;
    /* stored */
    bool has_parent, has_start_position;
    uint64_t parent_hash;
    uint32_t start_position;
    const struct weir_kv_block *blocks;
    size_t n_blocks;
    /* removed */
    const uint64_t *removed;
    size_t n_removed;
};
/* The payload of topic kv-events: an array of RouterEvents. Each is handed to fn; a malformed one
 * ends the decode with WEIR_INVALID after the good ones before it were delivered. One of another
 * residency domain than "worker" comes as a removal of nothing. Blocks live in the arena, which is
 * reset between events: `payload` must not lie in it. */
typedef void (*weir_kv_event_fn)(void *arg, const struct weir_kv_event *event);
enum weir_status weir_kv_events_decode(struct weir_span payload, struct weir_arena *arena,
                                       weir_kv_event_fn fn, void *arg) WEIR_MUST_CHECK;
enum weir_status weir_kv_events_encode(const struct weir_kv_event *events, size_t n,
                                       struct weir_buf *out) WEIR_MUST_CHECK;

struct weir_active_load {
    uint64_t worker_id;
    uint32_t dp_rank;
    bool has_decode_blocks, has_prefill_tokens, has_kv_used;
    uint64_t active_decode_blocks, active_prefill_tokens, kv_used_blocks;
};
enum weir_status weir_active_load_encode(const struct weir_active_load *load,
                                         struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_active_load_decode(struct weir_span payload,
                                         struct weir_active_load *ret_load) WEIR_MUST_CHECK;

#endif
