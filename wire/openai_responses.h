/*
 * Answers of OpenAI's Responses API as bytes: the Response object, whole or as the typed events of
 * a stream, in the reference system's key order. Source: OpenAI's API reference (types of its
 * SDKs), recordings and probes of the reference system 1.6.1. Pure.
 *
 * Items of an answer stand in the order in which the model wrote them: reasoning, messages, calls.
 * One ends before the next begins. Threads: one at a time an object.
 */
#ifndef WEIR_WIRE_OPENAI_RESPONSES_H
#define WEIR_WIRE_OPENAI_RESPONSES_H

#include "wire/openai_answer.h"

/* What an answer repeats of its request: raw JSON, data NULL where the request says nothing. */
struct weir_responses_echo {
    struct weir_span instructions, max_output_tokens, metadata, parallel_tool_calls,
        prompt_cache_key, prompt_cache_retention, reasoning, safety_identifier, service_tier,
        temperature, text, tool_choice, tools, top_logprobs, top_p, truncation;
};

struct weir_responses_head {
    char id[WEIR_ANSWER_HEX + 1]; /* hex digits: "resp_" goes before; items have most of them */
    struct weir_span model;       /* borrowed, as the echo is: outlive the head */
    uint64_t created_s;
    const struct weir_responses_echo *echo;
};

/* uuid: 36 characters, whose digits become the id. */
void weir_responses_head_init(struct weir_responses_head *head, const char *uuid);

/* finish_reason: of the choice, as in a chat. nvext: JSON object or NULL. now_s: the answer is
 * complete then. */
struct weir_responses_end {
    const char *finish_reason;
    const struct weir_usage *usage; /* NULL: null */
    struct weir_span nvext;
    uint64_t now_s;
};

/* A whole answer. */
enum weir_status weir_responses_unary(const struct weir_responses_head *head,
                                      const struct weir_answer_choice *choice,
                                      const struct weir_responses_end *end,
                                      struct weir_buf *out) WEIR_MUST_CHECK;

enum weir_responses_item {
    WEIR_RESPONSES_NONE,
    WEIR_RESPONSES_REASONING,
    WEIR_RESPONSES_MESSAGE,
    WEIR_RESPONSES_CALL
};

/* A stream in the making. All that was said is kept: its last event repeats it. */
struct weir_responses_stream {
    struct weir_responses_head head;
    uint64_t sequence;             /* of the next event */
    unsigned n_items;              /* begun; the open one is the last */
    enum weir_responses_item open; /* what of it is being written: */
    struct weir_buf text, logprobs, call_id, call_name;
    unsigned call_index;
    struct weir_buf items; /* JSON of those that have ended, commas between them */
};

/* `max`: bytes of each buffer; beyond it functions return WEIR_TOO_LARGE. */
void weir_responses_stream_init(struct weir_responses_stream *s,
                                const struct weir_responses_head *head, size_t max);
void weir_responses_stream_fini(struct weir_responses_stream *s);
/* Each appends whole events, "event: …\ndata: {…}\n\n". Once, before the others: */
enum weir_status weir_responses_begin(struct weir_responses_stream *s,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
/* Text, reasoning, a call or a part of one; role, usage, nvext and finish are not looked at. */
enum weir_status weir_responses_piece(struct weir_responses_stream *s,
                                      const struct weir_answer_piece *piece,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
/* Once, as the last: what is open ends, then the whole answer. */
enum weir_status weir_responses_finish(struct weir_responses_stream *s,
                                       const struct weir_responses_end *end,
                                       struct weir_buf *out) WEIR_MUST_CHECK;
/* The same for a stream that fails. */
enum weir_status weir_responses_fail(struct weir_responses_stream *s, int http_status,
                                     struct weir_span message,
                                     struct weir_buf *out) WEIR_MUST_CHECK;

#endif
