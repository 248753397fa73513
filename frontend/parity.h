/*
 * Whether the tokens that we make of a prompt are those that its engine makes: canned conversations
 * to compare by, and what a difference tells about its cause. Pure; any thread.
 *
 * Tokens that differ cost every hit: an engine names its cached blocks by its own tokens, and each
 * block's name depends on all tokens before it. Source of the causes: shared spec "tokenizer" 7.2.
 */
#ifndef WEIR_FRONTEND_PARITY_H
#define WEIR_FRONTEND_PARITY_H

#include "base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a comparison can go wrong by. Canned rows are in this order, so that when one of them
 * differs everything that the shapes before it show was the same. */
enum weir_parity_shape {
    WEIR_PARITY_TEXT,    /* bare text, nothing added: the vocabulary and its merges */
    WEIR_PARITY_PROMPT,  /* a prompt as /v1/completions takes it: what is put around it */
    WEIR_PARITY_CHAT,    /* a conversation of plain texts: the template */
    WEIR_PARITY_CONTENT, /* parts, nothing, reasoning: what is made of a message before that */
    WEIR_PARITY_TOOLS,
};

/* A prompt or a conversation. Texts that are not there are NULL. */
struct weir_parity_canned {
    const char *name;
    enum weir_parity_shape shape;
    const char *prompt;   /* of TEXT and PROMPT */
    const char *messages; /* JSON array */
    const char *tools;    /* JSON array */
    bool no_generation_prompt;
};
extern const struct weir_parity_canned weir_parity_canned[];
extern const size_t weir_parity_n_canned;

enum weir_parity_cause {
    WEIR_PARITY_SAME,
    WEIR_PARITY_VOCABULARY,
    WEIR_PARITY_BOS_TWICE_HERE,
    WEIR_PARITY_BOS_TWICE_THERE,
    WEIR_PARITY_BOS_MISSING_HERE,
    WEIR_PARITY_BOS_MISSING_THERE,
    WEIR_PARITY_AROUND,            /* other tokens around a bare prompt */
    WEIR_PARITY_SYSTEM_PROMPT,     /* one side begins with more than the other */
    WEIR_PARITY_GENERATION_PROMPT, /* one side ends with more than the other */
    WEIR_PARITY_DATE,
    WEIR_PARITY_TEMPLATE,
    WEIR_PARITY_CONTENT_FORM,
    WEIR_PARITY_TOOLS_FORM,
    WEIR_PARITY_ONE_MORE_THERE, /* only counts are known */
    WEIR_PARITY_ONE_MORE_HERE,
    WEIR_PARITY_NOT_AS_SENT, /* the worker got the ids and counts others */
    WEIR_PARITY_N_CAUSES
};

struct weir_parity_facts {
    uint32_t vocab_size; /* of ours; 0 = unknown */
    bool prints_time;    /* the template writes a date or a time */
};
/* *ret_at: the first token that differs (the shorter list's length when it is the other's begin);
 * may be NULL. */
enum weir_parity_cause weir_parity_compare(enum weir_parity_shape shape,
                                           const struct weir_parity_facts *facts,
                                           const uint32_t *ours, size_t n_ours,
                                           const uint32_t *theirs, size_t n_theirs, size_t *ret_at);

/* What an answer counts. */
struct weir_parity_count {
    uint64_t ours, theirs; /* prompt tokens */
    bool chat, tools;
    bool sent_ids; /* the worker got our ids and rendered nothing */
};
enum weir_parity_cause weir_parity_count_cause(const struct weir_parity_count *count);
/* A member of the body's root asks the engine for a prompt that we do not make (a template of its
 * own, truncation …): its count proves nothing. Reads the whole body: only for counts that differ.
 */
bool weir_parity_excused(struct weir_span body);

/* For a metric's label. */
const char *weir_parity_cause_name(enum weir_parity_cause cause);
/* What is likely, and what to do about it; for the log. */
const char *weir_parity_cause_text(enum weir_parity_cause cause);

#endif
