/* Shared by the files that read OpenAI requests. */
#ifndef WEIR_WIRE_OPENAI_PRIV_H
#define WEIR_WIRE_OPENAI_PRIV_H

#include "base/json.h"
#include "wire/openai.h"

enum {
    WEIR_OPENAI_MAX_MEMBERS = 256,
    WEIR_OPENAI_MAX_FIELDS = 96,
    WEIR_OPENAI_DEPTH = 128,
    WEIR_OPENAI_MAX_STOPS = 32,
    WEIR_OPENAI_MAX_TOOLS = 1536,
    WEIR_OPENAI_ADAPTIVE = 2
};

/* One member of the body: its value as raw JSON. */
struct weir_member {
    struct weir_json_str key;
    struct weir_span raw;
    int field;      /* row of the table in openai_fields.c; -1: nobody knows it */
    bool fits;      /* it has the shape of that row: found while it was read */
    unsigned notes; /* of its shape, if it fits */
};

/*
 * What the readers of one request share. A refusal is recorded once: the first `*_fail` wins and
 * returns false, which travels up.
 */
struct weir_openai_reading {
    enum weir_openai_kind kind;
    struct weir_span body;
    size_t end; /* offset behind the object's closing brace: where the reference system sees most
                   type errors, because it buffers the members first */
    struct weir_arena *arena;
    struct weir_openai_request *req;
    struct weir_openai_error *error;
    bool failed, nomem;
    bool syntax; /* the refusal: not JSON */
    bool unread; /* the same, or not of the shape */
    bool own_seen[WEIR_OPENAI_MAX_FIELDS];
    /* Members that need others to be judged. */
    struct weir_span response_format, stream_options, thinking, reasoning_effort, logit_bias;
    struct weir_span function_call, functions, prompt_embeds;
    struct weir_span guided[4]; /* json, regex, choice, grammar */
    struct weir_span guided_backend, guided_whitespace;
    int64_t max_tokens, max_completion_tokens; /* -1 unset */
    bool has_model, has_messages, has_prompt, stop_is_ids, stop_is_text, user_empty, prompt_is_list;
    bool chat_only; /* a member that only chat requests have a use for */
    bool greedy;    /* nvext.greed_sampling */
    bool any_strict_tool;
    bool drop_nvext;  /* only its cache salt counts */
    bool blank_model; /* passes */
    unsigned notes;   /* of the messages (openai_shapes.h) */
    int thinking_on;  /* of `thinking`: 0, 1, WEIR_OPENAI_ADAPTIVE; -1 not said */
    struct weir_span cache_salt;
};

/* Plain values, before they find their place in the request. */
struct weir_openai_values {
    double temperature, top_p, min_p, frequency_penalty, presence_penalty, repetition_penalty;
    int64_t n, best_of, max_tokens, max_completion_tokens, min_tokens, top_k, seed, top_logprobs,
        comp_logprobs, prompt_logprobs, thinking_budget;
    bool stream, ignore_eos, has_ignore_eos, skip_special_tokens, has_skip_special_tokens,
        include_stop, has_include_stop, logprobs, parallel_tool_calls, add_generation_prompt,
        continue_final_message, echo, has_seed, has_top_k, ignored_bool;
};

/* One body while it is read: what its readers share, and its plain values. */
struct weir_openai_body {
    struct weir_openai_reading r;
    struct weir_openai_values v;
};

/* Refusals. `fmt` as printf. deser: adds "Failed to deserialize…" in front and the position behind.
 */
bool weir_openai_fail(struct weir_openai_reading *r, int http_status, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
bool weir_openai_fail_at(struct weir_openai_reading *r, size_t pos, const char *fmt, ...)
    WEIR_PRINTF(3, 4);
bool weir_openai_nomem(struct weir_openai_reading *r);
/* "invalid type: string \"x\", expected u32" with `raw` at fault; pos as for fail_at. */
bool weir_openai_fail_type(struct weir_openai_reading *r, size_t pos, struct weir_span raw,
                           const char *expected);

/* What the scanner says of the body. */
bool weir_openai_fail_syntax(struct weir_openai_reading *r, const struct weir_json *j);

/* Into the body, which must be an object (`name` in the words of the refusal); may it have so many
 * members; behind the last one: r->end. */
bool weir_openai_enter(struct weir_openai_reading *r, const char *name, struct weir_json *j);
bool weir_openai_may_have(struct weir_openai_reading *r, size_t n_members);
bool weir_openai_leave(struct weir_openai_reading *r, const struct weir_json *j);

/* The text of a string; false when it is none, or there is no memory (recorded). Numbers and
 * booleans, whose shape is known to be right, are read by weir_span_u64() and the like. */
bool weir_raw_string(struct weir_openai_reading *r, struct weir_span raw, struct weir_span *ret);
/* Ids of an array of u32; false without a refusal when it is none. */
bool weir_raw_ids(struct weir_openai_reading *r, struct weir_span raw, struct weir_ids *ret);
bool weir_raw_is_empty_list(struct weir_span raw);
/* A number as the single-precision one that the reference system reads: that one's shortest digits.
 * What is too large for one stays what it is. False: no number. */
bool weir_raw_single(struct weir_span raw, double *ret);
/* A number as the reference system prints an f32: the shortest digits that read back equal, and no
 * exponent; "inf" for what is none. Not for NaN. */
enum { WEIR_F32_TEXT = 64 };
const char *weir_f32_text(double value, char room[WEIR_F32_TEXT]);

/* openai_fields.c. All: false after a recorded refusal. Finds the member in the table, and reads it
 * when it is one that the reference system reads where it stands. Before the others: */
bool weir_openai_read_own(struct weir_openai_body *x, struct weir_member *member);
/* The cursor is on the value of member->key, whose field is found here. A list that is to have a
 * shape and has it is read in one pass with that. False: the cursor stays, and the value is still
 * to be read; whatever is wrong with it is found again. */
bool weir_openai_read_fitting(const struct weir_openai_body *x, struct weir_member *member,
                              struct weir_json *j);
/* The others. x->r.end is set, and x->v holds what absent members mean. `members`: at most
 * WEIR_OPENAI_MAX_MEMBERS - 1. */
bool weir_openai_read_members(struct weir_openai_body *x, const struct weir_member *members,
                              size_t n);
/* Those that nobody knows, and those that are passed through. */
bool weir_openai_read_extras(struct weir_openai_body *x, const struct weir_openai_rules *rules,
                             const struct weir_member *members, size_t n);
/* openai_chat.c, openai_completion.c, openai_nvext.c */
bool weir_openai_check_messages(struct weir_openai_reading *r);
bool weir_openai_check_tools(struct weir_openai_reading *r);
bool weir_openai_check_response_format(struct weir_openai_reading *r);
/* What response_format says of JSON, as a schema into guided[0]. */
void weir_openai_guide_by_format(struct weir_openai_reading *r);
bool weir_openai_read_prompt(struct weir_openai_reading *r, struct weir_span raw);
bool weir_openai_check_prompts(struct weir_openai_reading *r);
bool weir_openai_read_nvext(struct weir_openai_reading *r, struct weir_span raw);
/* Settles what several members decide together, and the bounds. The first part comes before the
 * members that are left over, the second behind them. */
bool weir_openai_validate_first(struct weir_openai_reading *r);
bool weir_openai_validate(struct weir_openai_reading *r);
/* A value that is there (no NaN) lies between; open_min: and is not the least. */
bool weir_openai_in_range(struct weir_openai_reading *r, const char *name, double v, double min,
                          double max, bool open_min);
/* A greatest number of tokens; -1: not said. `name` goes before "tokens" in the text. */
bool weir_openai_check_length(struct weir_openai_reading *r, const char *name, int64_t n);

#endif
