/*
 * Response items of a worker: {"data": Annotated<LLMEngineOutput>, "complete_final": bool}, in JSON
 * or MessagePack. Source: shared spec "transport" 3.3, 3.4. Pure; decoding a plain token item takes
 * no allocation. Spans point into the input or the arena.
 */
#ifndef WEIR_WIRE_OUTPUT_H
#define WEIR_WIRE_OUTPUT_H

#include "wire/request.h"

enum weir_finish {
    WEIR_FINISH_NONE,
    WEIR_FINISH_EOS,
    WEIR_FINISH_STOP,
    WEIR_FINISH_LENGTH,
    WEIR_FINISH_CANCELLED,
    WEIR_FINISH_CONTENT_FILTER,
    WEIR_FINISH_ERROR, /* {"error": text} or an unknown word */
};

struct weir_top_logprob {
    uint32_t rank, token_id;
    struct weir_span token; /* may be NULL */
    double logprob;
};
struct weir_token_logprob {
    double logprob;
    const struct weir_top_logprob *top;
    size_t n_top;
};

struct weir_output {
    bool has_data; /* an item was there (false: bare complete_final) */
    bool complete_final;
    struct weir_span event; /* annotation name; NULL for plain data */
    struct weir_strings comment;
    bool is_error;                /* event "error" or an error object */
    struct weir_wire_error error; /* of is_error, or of a finish that is WEIR_FINISH_ERROR */
    /* LLMEngineOutput */
    bool has_output;
    struct weir_ids token_ids;                 /* only the new ones */
    struct weir_span text;                     /* NULL unless the engine detokenized */
    const struct weir_token_logprob *logprobs; /* one per token id, or NULL */
    double cum_log_probs;                      /* NAN unset */
    enum weir_finish finish;
    struct weir_span finish_text; /* of an error */
    struct weir_span stop_reason; /* JSON or NULL */
    int64_t index;                /* -1 unset */
    bool has_usage;
    int64_t prompt_tokens, completion_tokens, cached_tokens, audio_tokens; /* -1 unset */
    struct weir_span completion_details; /* completion_tokens_details of the usage: JSON or NULL */
    struct weir_span disaggregated_params; /* JSON (or MessagePack bytes in that codec) or NULL */
    struct weir_span engine_data;          /* JSON or NULL */
};
/* WEIR_PROTOCOL: undecodable, no `complete_final`, empty wrapper, item without token_ids. Token ids
 * are written to ids_room (room for n_ids_room), or to the arena when there are more. */
enum weir_status weir_output_decode(struct weir_span bytes, enum weir_codec codec,
                                    uint32_t *ids_room, size_t n_ids_room, struct weir_arena *arena,
                                    struct weir_output *ret_out) WEIR_MUST_CHECK;
/* The items of a stream differ in their one token id and in nothing else. A pattern keeps the bytes
 * of the last such item, and of the end, and reads those like them by comparing; it is no part of
 * the meaning: the result is always that of weir_output_decode. One for all streams of a thread.
 * Zeroed at first. */
enum { WEIR_OUTPUT_PATTERN = 320 };
struct weir_output_pattern {
    enum weir_codec codec;
    size_t before, after; /* bytes around the id; both 0: nothing kept */
    char bytes[WEIR_OUTPUT_PATTERN];
    struct weir_output item; /* without its id */
    enum weir_codec final_codec;
    size_t n_final; /* the end of a stream, which is the same for all; 0: nothing kept */
    char final[32];
};
enum weir_status weir_output_decode_like(struct weir_output_pattern *pattern,
                                         struct weir_span bytes, enum weir_codec codec,
                                         uint32_t *ids_room, size_t n_ids_room,
                                         struct weir_arena *arena,
                                         struct weir_output *ret_out) WEIR_MUST_CHECK;
/* True when the item is one that the pattern keeps, but for its id: what it says is that id. */
bool weir_output_like(const struct weir_output_pattern *pattern, struct weir_span bytes,
                      enum weir_codec codec, uint32_t *ret_id);
/* Whole frames in front of `in`, each with such an item and nothing else, at most `room` of them:
 * their ids, and where each frame ends. */
size_t weir_output_frames_like(const struct weir_output_pattern *pattern, struct weir_span in,
                               enum weir_codec codec, uint32_t *ret_ids, size_t *ret_ends,
                               size_t room);
/* Encodes what is set (engine side). */
void weir_output_init(struct weir_output *out);
enum weir_status weir_output_encode(const struct weir_output *item, enum weir_codec codec,
                                    struct weir_buf *out) WEIR_MUST_CHECK;

#endif
