/*
 * Answers of Anthropic's Messages API as bytes: a message, whole or as the typed events of a
 * stream, and errors, in the reference system's key order. Source: Anthropic's API reference (types
 * of its SDKs), recordings of the reference system 1.6.1. Pure.
 *
 * Blocks of an answer stand in the order in which the model wrote them: thinking, text, calls. One
 * ends before the next begins. Threads: one at a time an object.
 */
#ifndef WEIR_WIRE_ANTHROPIC_H
#define WEIR_WIRE_ANTHROPIC_H

#include "wire/openai_answer.h"

struct weir_messages_head {
    char id[WEIR_ANSWER_HEX + 1]; /* hex digits: "msg_" goes before */
    struct weir_span model;       /* borrowed: outlives the head */
};

/* finish_reason: of the choice, as in a chat; NULL: none. stop_sequence: what ended it, or NULL. */
struct weir_messages_end {
    const char *finish_reason;
    struct weir_span stop_sequence;
    const struct weir_usage *usage;
};

/* A whole answer. Calls whose arguments are no JSON object, which has no place in it, are left out.
 */
enum weir_status weir_messages_unary(const struct weir_messages_head *head,
                                     const struct weir_answer_choice *choice,
                                     const struct weir_messages_end *end,
                                     struct weir_buf *out) WEIR_MUST_CHECK;

enum weir_messages_block {
    WEIR_MESSAGES_NONE,
    WEIR_MESSAGES_THINKING,
    WEIR_MESSAGES_TEXT,
    WEIR_MESSAGES_CALL
};

/* A stream in the making. */
struct weir_messages_stream {
    struct weir_messages_head head;
    unsigned n_blocks;             /* begun; the open one is the last */
    enum weir_messages_block open; /* what of it is being written */
    unsigned call_index;
};

void weir_messages_stream_init(struct weir_messages_stream *s,
                               const struct weir_messages_head *head);
/* Each appends whole events, "event: …\ndata: {…}\n\n"; usage: so far. Once, before the others: */
enum weir_status weir_messages_begin(struct weir_messages_stream *s, const struct weir_usage *usage,
                                     struct weir_buf *out) WEIR_MUST_CHECK;
/* Text, reasoning, a call or a part of one; piece->usage goes with each part of the answer. */
enum weir_status weir_messages_piece(struct weir_messages_stream *s,
                                     const struct weir_answer_piece *piece,
                                     struct weir_buf *out) WEIR_MUST_CHECK;
/* Once, as the last: what is open ends, then the message. */
enum weir_status weir_messages_finish(struct weir_messages_stream *s,
                                      const struct weir_messages_end *end,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
/* The same for a stream that fails: what is open stays so. */
enum weir_status weir_messages_fail(int http_status, struct weir_span message,
                                    struct weir_buf *out) WEIR_MUST_CHECK;

/* {"type": "error", "error": {…}} */
enum weir_status weir_messages_error_body(int http_status, struct weir_span message,
                                          struct weir_buf *out) WEIR_MUST_CHECK;

#endif
