/*
 * What a client reads in an OpenAI server's answers: one event of a stream, or a whole unary body.
 * Chat and completions alike; unknown members are passed over. Pure.
 */
#ifndef WEIR_BENCH_REPLY_H
#define WEIR_BENCH_REPLY_H

#include "base/json.h"

struct weir_reply {
    bool has_text;            /* of choice 0: content, reasoning, a completion's text, or tools */
    struct weir_span text;    /* still escaped; of content or a completion's text only */
    bool finished;            /* a finish_reason stands there */
    bool is_error;            /* an error instead of an answer */
    struct weir_span message; /* of the error, still escaped; may be empty */
    bool has_usage;
    uint64_t prompt_tokens, completion_tokens, cached_tokens;
};

/* False: not JSON, or not of the form of an answer. Spans lie in `json`. */
bool weir_reply_read(struct weir_span json, struct weir_reply *ret_reply);

#endif
