/*
 * OpenAI answers as bytes: chunks, unary bodies, errors, in the reference system's key order. Hot:
 * the constant parts of a chunk are made once per choice. Source: shared spec "frontend" 2.4, 2.6.
 */
#ifndef WEIR_WIRE_OPENAI_ANSWER_H
#define WEIR_WIRE_OPENAI_ANSWER_H

#include "wire/openai.h"
#include "wire/output.h"

struct weir_usage {
    uint64_t prompt_tokens, completion_tokens;
    int64_t cached_tokens; /* -1 unknown */
    bool has_audio_tokens; /* a worker told how many of the prompt are audio */
    uint64_t audio_tokens;
    struct weir_span completion_details; /* JSON of completion_tokens_details, or NULL */
    bool has_reasoning_tokens;           /* looked at where that is NULL */
    uint64_t reasoning_tokens;
};

/* uuid: 36 characters; its digits alone, as ids of some answers have them. */
enum { WEIR_ANSWER_HEX = 32 };
void weir_answer_hex(const char *uuid, char room[WEIR_ANSWER_HEX + 1]);

struct weir_answer_head {
    enum weir_openai_kind kind;
    struct weir_span id; /* "chatcmpl-…" */
    struct weir_span model;
    uint64_t created_s;
    struct weir_span reasoning_field; /* key of reasoning text; NULL data = reasoning_content */
};

/* A tool call or, in a stream, a part of one: the first has id and name, later ones (id.data NULL)
 * only more of the arguments. */
struct weir_answer_call {
    unsigned index;
    struct weir_span id, name;
    struct weir_span arguments;
};

/* One piece of one choice. */
struct weir_answer_piece {
    unsigned index;
    bool role; /* chat: first delta of this choice */
    bool has_text;
    struct weir_span text;
    struct weir_span reasoning;          /* chat; NULL data = none */
    const struct weir_answer_call *call; /* chat; NULL = none */
    const char *finish_reason;           /* NULL = null / absent */
    struct weir_span logprobs;           /* JSON or NULL */
    struct weir_span nvext;              /* JSON object or NULL */
    const struct weir_usage *usage;      /* continuous usage or NULL */
};

/* Each appends one whole SSE frame "data: {…}\n\n". */
enum weir_status weir_answer_chunk(const struct weir_answer_head *head,
                                   const struct weir_answer_piece *piece,
                                   struct weir_buf *out) WEIR_MUST_CHECK;
/* What surrounds the text in a chunk of one choice that carries text and nothing else. */
struct weir_answer_frame {
    struct weir_span before, after; /* in `bytes` of weir_answer_prepare */
    struct weir_span between;       /* of two texts: a quote, after, before and a quote */
};
/* Both parts go to `bytes`, which is empty at first and must outlive the frame unchanged. */
enum weir_status weir_answer_prepare(const struct weir_answer_head *head, unsigned index,
                                     struct weir_buf *bytes,
                                     struct weir_answer_frame *ret_frame) WEIR_MUST_CHECK;
/* The same bytes as weir_answer_chunk of a piece with this text and no other member. */
enum weir_status weir_answer_text_chunk(const struct weir_answer_frame *frame,
                                        struct weir_span text,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_answer_usage_chunk(const struct weir_answer_head *head,
                                         const struct weir_usage *usage,
                                         struct weir_buf *out) WEIR_MUST_CHECK;
/* "event: name\n: comment\n…\n\n"; line ends within one of them become blanks. */
enum weir_status weir_answer_annotation(struct weir_span name, const struct weir_span *comments,
                                        size_t n, struct weir_buf *out) WEIR_MUST_CHECK;
/* Mid-stream error frame; type as the status says (internal_server_error, service_unavailable, …).
 */
enum weir_status weir_answer_error_frame(int http_status, struct weir_span message,
                                         struct weir_buf *out) WEIR_MUST_CHECK;
struct weir_span weir_answer_done(void); /* "data: [DONE]\n\n" */

struct weir_answer_choice {
    unsigned index;
    struct weir_span text;                /* chat: NULL data = null */
    struct weir_span reasoning;           /* chat; NULL data = none */
    const struct weir_answer_call *calls; /* chat */
    size_t n_calls;
    const char *finish_reason;
    struct weir_span logprobs; /* JSON or NULL */
};
enum weir_status weir_answer_unary(const struct weir_answer_head *head,
                                   const struct weir_answer_choice *choices, size_t n_choices,
                                   const struct weir_usage *usage, struct weir_span nvext,
                                   struct weir_buf *out) WEIR_MUST_CHECK;

enum weir_error_format { WEIR_ERROR_DYNAMO, WEIR_ERROR_OPENAI, WEIR_ERROR_BOTH };
/* {"message","type","code"} flat, nested {"error":{message,type,param,code}}, or both in one
 * object. `details` (JSON or NULL) goes to the flat form. */
enum weir_status weir_answer_error_body(enum weir_error_format format, int http_status,
                                        struct weir_span message, struct weir_span param,
                                        struct weir_span details,
                                        struct weir_buf *out) WEIR_MUST_CHECK;

/* Log probabilities of tokens, gathered item by item: the entries of each list of the JSON, with
 * commas between them. Chat has one list, completions have tokens, token_logprobs, top_logprobs and
 * text_offset. */
enum { WEIR_LOGPROB_LISTS = 4 };
struct weir_logprob_lists {
    struct weir_buf list[WEIR_LOGPROB_LISTS];
    size_t text_offset; /* characters that stand before the next token, over all pieces */
};
/* `max`: bytes of one list. */
void weir_logprob_lists_init(struct weir_logprob_lists *lists, size_t max);
void weir_logprob_lists_fini(struct weir_logprob_lists *lists);
/* Empties the lists; the offset stays. */
void weir_logprob_lists_clear(struct weir_logprob_lists *lists);
static inline bool weir_logprob_lists_any(const struct weir_logprob_lists *lists) {
    return lists->list[0].len > 0;
}
/* How tokens are named. `bytes_of` appends the bytes of an id: of sampled tokens, and of others
 * that come without a text. */
struct weir_logprob_names {
    enum weir_status (*bytes_of)(void *arg, uint32_t id, struct weir_buf *out);
    void *arg;
    bool as_ids; /* "token_id:N" */
};
/* The first n_tokens of the item, which has log probabilities. top: chat and completions; 0 leaves
 * the alternatives out, anything else shows what the worker gave, in chat with the sampled token.
 */
enum weir_status weir_logprob_lists_add(struct weir_logprob_lists *lists,
                                        enum weir_openai_kind kind, const struct weir_output *item,
                                        size_t n_tokens, int top,
                                        const struct weir_logprob_names *names) WEIR_MUST_CHECK;
/* The value of `logprobs`. */
enum weir_status weir_logprob_lists_json(const struct weir_logprob_lists *lists,
                                         enum weir_openai_kind kind,
                                         struct weir_buf *out) WEIR_MUST_CHECK;

#endif
