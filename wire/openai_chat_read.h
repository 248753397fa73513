/*
 * Chat answers as HTTP engines write them: whole, as chunks of a stream, and errors in the forms of
 * vLLM, SGLang and their HTTP layer. Source: recordings of vLLM 0.32.0 and SGLang 0.5.23 (shared
 * spec "engines" 2.2, 2.3). Members that are not named here are not looked at. Pure.
 */
#ifndef WEIR_WIRE_OPENAI_CHAT_READ_H
#define WEIR_WIRE_OPENAI_CHAT_READ_H

#include "wire/openai_answer.h"

enum { WEIR_CHAT_READ_CALLS = 1024 }; /* of one answer or chunk */

/* What its first choice says, and the tokens that it counts. Spans point into the JSON or the
 * arena; data NULL: the member is absent or null. */
struct weir_chat_read {
    struct weir_span text, reasoning;
    struct weir_answer_call *calls; /* in a chunk: parts of calls, as of weir_answer_piece */
    size_t n_calls;
    struct weir_span finish_reason;
    struct weir_span stop_reason;        /* JSON: the stop sequence or the id that was met */
    struct weir_span logprobs;           /* elements of the list `content`, commas between them */
    struct weir_span completion_details; /* JSON of usage.completion_tokens_details */
    bool has_reasoning_tokens;           /* SGLang counts them beside the others */
    uint64_t reasoning_tokens;
    bool is_error;
};

/* `json`: a whole answer, or the data of one event. WEIR_PROTOCOL: it is not one. */
enum weir_status weir_chat_read(struct weir_span json, struct weir_arena *arena,
                                struct weir_chat_read *ret) WEIR_MUST_CHECK;
/* The words of an error, and its status where the body names one (else *ret_status stays). data
 * NULL: there are none. */
struct weir_span weir_chat_read_error(struct weir_span body, struct weir_arena *arena,
                                      int *ret_status);

#endif
