/*
 * OpenAI requests: body bytes to a validated struct, with the reference system's texts for every
 * refusal. Source: shared spec "frontend" 2.2 to 2.6. Pure. Spans point into the body or the arena.
 */
#ifndef WEIR_WIRE_OPENAI_H
#define WEIR_WIRE_OPENAI_H

#include "wire/request.h"

/* A request of another API is read as the chat request that it stands for: its kind is CHAT from
 * then on, and `responses` is set in one of the Responses API. Messages of Anthropic's API, and the
 * same to be counted, which need not say how many tokens to generate. */
enum weir_openai_kind {
    WEIR_OPENAI_CHAT,
    WEIR_OPENAI_COMPLETION,
    WEIR_OPENAI_RESPONSES,
    WEIR_OPENAI_MESSAGES,
    WEIR_OPENAI_MESSAGES_COUNT,
    WEIR_OPENAI_EMBEDDINGS /* stays one: openai_embeddings.h */
};

struct weir_responses_echo;    /* openai_responses.h */
struct weir_openai_embeddings; /* openai_embeddings.h */

struct weir_openai_rules {
    bool ignore_unknown_fields; /* DYN_IGNORE_OPENAI_FE_UNSUPPORTED_FIELDS */
    bool any_strict_tool; /* schemas of strict tools are not held to the rules: an engine takes any
                           */
    bool drop_nvext;      /* DYN_DISABLE_FRONTEND_NVEXT: checked, then dropped (cache salt kept) */
    bool strip_preamble;  /* of Messages: without Claude Code's line for the vendor's billing */
    bool blank_model;     /* passes: who looks the model up says that there is none of that name */
};

/* A refusal: status and message as the client sees them. */
struct weir_openai_error {
    int http_status;          /* 400, 501 … */
    struct weir_span message; /* in the arena */
    struct weir_span param;   /* field at fault for the nested form, or NULL */
};

enum weir_prompt_kind { WEIR_PROMPT_TEXT, WEIR_PROMPT_IDS };
struct weir_prompt {
    enum weir_prompt_kind kind;
    struct weir_span text;
    struct weir_ids ids;
};

enum { /* nvext.extra_fields, annotations */
       WEIR_EXTRA_WORKER_ID = 1 << 0,
       WEIR_EXTRA_TIMING = 1 << 1,
       WEIR_EXTRA_STOP_REASON = 1 << 2,
       WEIR_EXTRA_TOKEN_IDS = 1 << 3, /* completion_token_ids */
       WEIR_EXTRA_ENGINE_DATA = 1 << 4,
       WEIR_EXTRA_PROMPT_LOGPROBS = 1 << 5,
       WEIR_EXTRA_ROUTED_EXPERTS = 1 << 6,
       WEIR_EXTRA_PROMPT_IDS = 1 << 7, /* prompt_token_ids */
       WEIR_EXTRAS = (1 << 8) - 1,     /* all of these */
       WEIR_ANNOTATE_REQUEST_ID = 1 << 16,
       WEIR_ANNOTATE_FORMATTED_PROMPT = 1 << 17,
       WEIR_ANNOTATE_TOKEN_IDS = 1 << 18,
       WEIR_ANNOTATE_QUERY_INSTANCE = 1 << 19,
};

struct weir_openai_request {
    enum weir_openai_kind kind;
    struct weir_span model;
    bool stream, include_usage, continuous_usage;
    unsigned n; /* 1 when absent */
    /* chat */
    struct weir_span messages;    /* validated JSON array, NUL bytes and repairs applied */
    struct weir_span tools;       /* JSON array or NULL */
    struct weir_span tool_choice; /* JSON or NULL */
    bool tool_choice_none;
    bool parallel_tool_calls;         /* true when absent */
    struct weir_span template_args;   /* merged chat_template_args object or NULL */
    struct weir_span response_format; /* JSON or NULL */
    bool add_generation_prompt;       /* true when absent */
    bool continue_final_message;
    bool logprobs;    /* chat: logprobs true */
    int top_logprobs; /* chat top_logprobs / completions logprobs; -1 unset */
    /* completions */
    const struct weir_prompt *prompts;
    size_t n_prompts;
    bool echo;
    struct weir_span suffix;
    /* of a Responses request: what its answer repeats; in the arena. Else NULL. */
    const struct weir_responses_echo *responses;
    /* Of a request of another API: the text of the chat that it stands for; in the arena. Else
     * NULL.
     */
    struct weir_span chat;
    /* Of a request for embeddings, whose inputs are the prompts; in the arena. Else NULL. */
    const struct weir_openai_embeddings *embeddings;
    /* both */
    bool max_tokens_set;
    bool return_tokens_as_token_ids;
    bool formatted;        /* response_format asks for JSON … */
    bool guided_by_format; /* … and made prep.sampling.guided_decoding */
    /* Filled as the worker shall see them; model, token_ids, eos ids, mdc_sum are the pipeline's.
     */
    struct weir_prep_request prep;
    /* For engines alone, in extra_args. */
    int detokenize; /* -1 unset */
    struct weir_ids allowed_token_ids;
    struct weir_span bad_words_token_ids; /* JSON or NULL */
    bool passes_template_args;            /* the engine's reader of reasoning gets template_args */
    /* nvext */
    bool use_raw_prompt;
    bool speculative_prefill; /* agent_hints: the next turn's beginning is computed ahead */
    struct weir_ids token_data;
    bool has_token_data;
    struct weir_span extra_fields, metadata_upload; /* raw members of nvext, or NULL */
    bool wants_stop_reason;      /* a Messages request: its answer has a place for it */
    uint32_t extras;             /* bits above */
    struct weir_span cache_salt; /* root field or nvext */
    bool has_media;              /* a message part that is no text */
    /* Of a chat with media, for workers that render it themselves: JSON, and the prompt. NULL: none
     */
    struct weir_span told_messages, told_prompt;
    struct weir_span mm_hashes; /* JSON or NULL: what its images are called, in their order */
    bool has_required_taints;   /* routing_constraints ask for workers of some kind */
    bool repaired;              /* control characters or UTF-8 were mended: log a warning */
};

/* WEIR_OK, or WEIR_INVALID/UNSUPPORTED with *ret_error filled, or WEIR_NOMEM. `body` must stay
 * until the request ends. */
enum weir_status weir_openai_parse(enum weir_openai_kind kind, struct weir_span body,
                                   const struct weir_openai_rules *rules, struct weir_arena *arena,
                                   struct weir_openai_request *ret_req,
                                   struct weir_openai_error *ret_error) WEIR_MUST_CHECK;
/* Puts what only engines read into prep.extra_args: the salt, members of nvext, plain sampling
 * options, arguments of the template, the messages of a chat with media. Again when one of them has
 * changed. */
enum weir_status weir_openai_put_extra_args(struct weir_openai_request *req,
                                            struct weir_arena *arena) WEIR_MUST_CHECK;

#endif
