/*
 * Tool calls and reasoning out of generated text, incrementally: bytes in, typed deltas out. Pure:
 * no clock, no randomness, no I/O. One object per choice of a streamed or gathered answer.
 *
 *     struct wprs_options o = WPRS_OPTIONS_INIT;
 *     o.tool_parser = WEIR_SPAN_LIT("hermes");
 *     o.tools = request_tools;                     // JSON array, borrowed
 *     wprs_create(&o, &p, &err);
 *     while (text comes) wprs_feed(p, text, on_delta, self);
 *     wprs_finish(p, WPRS_FINISH_STOP, on_delta, self, &finish);
 *     wprs_destroy(p);
 *
 * What holds for every format (the rules and their reasons: parsers/README.md):
 *  - How the text is cut into pieces changes nothing: the deltas of one kind, joined, are the same.
 *  - No byte is lost. What looks like a call and proves to be none comes back as content, markers
 *    included; white space that only separates calls or follows a reasoning block is dropped.
 *  - In WPRS_CALLS_CHECKED and WPRS_CALLS_WHOLE a call is reported when its end was seen, and its
 *    arguments are always one valid JSON object. WPRS_CALLS_PIECES reports earlier; see there.
 *  - Pieces that are valid UTF-8 give deltas that are valid UTF-8.
 *
 * Formats: shared spec "frontend" 3.5. Threads: one at a time per object; objects are independent.
 * Memory: some kilobytes, plus what is held back (bounded by wprs_options.max_held_bytes).
 */
#ifndef WEIR_PARSERS_WPRS_H
#define WEIR_PARSERS_WPRS_H

#include "base/buf.h"
#include "base/span.h"
#include "base/status.h"

enum wprs_kind {
    WPRS_CONTENT,   /* text: more of the answer */
    WPRS_REASONING, /* text: more of the reasoning */
    WPRS_CALL,      /* a call begins: index, id, name; text: all arguments in WPRS_CALLS_WHOLE, else
                       empty */
    WPRS_ARGUMENTS, /* text: more of the arguments (JSON text) of call `index` */
    WPRS_CALL_END,  /* call `index` is complete */
    WPRS_CALL_CUT,  /* WPRS_CALLS_PIECES only: call `index` broke off; its arguments stay open, and
                       what the model wrote further follows as content */
};

/* All spans are borrowed: valid during the callback only. */
struct wprs_delta {
    enum wprs_kind kind;
    unsigned index; /* of the call among those reported, from 0 */
    struct weir_span id, name;
    struct weir_span text;
};
/* Called from wprs_feed() and wprs_finish() only; must not call back into the same parser. */
typedef void (*wprs_delta_fn)(void *arg, const struct wprs_delta *delta);

enum wprs_calls {
    /* WPRS_CALL, one WPRS_ARGUMENTS or more, WPRS_CALL_END, all when the call is complete. */
    WPRS_CALLS_CHECKED,
    /* One WPRS_CALL that carries the arguments, then WPRS_CALL_END, when the call is complete. */
    WPRS_CALLS_WHOLE,
    /* As the text comes: WPRS_CALL as soon as the name is known, arguments in pieces that point
     * into the bytes just fed wherever the format writes JSON. A call that breaks after its start
     * was reported cannot be taken back: it ends with WPRS_CALL_CUT, its arguments are then no
     * valid JSON, and it does not count for WPRS_FINISH_TOOL_CALLS. */
    WPRS_CALLS_PIECES,
};

enum wprs_choice { WPRS_CHOICE_AUTO, WPRS_CHOICE_NONE, WPRS_CHOICE_REQUIRED, WPRS_CHOICE_NAMED };
enum wprs_finish {
    WPRS_FINISH_STOP,
    WPRS_FINISH_LENGTH,
    WPRS_FINISH_OTHER,      /* cancelled, content filter, … : handed through */
    WPRS_FINISH_TOOL_CALLS, /* result only */
};
/* What the request says about thinking; see wprs_thinking_of(). */
enum wprs_switch { WPRS_UNSET, WPRS_OFF, WPRS_ON };
/* Words of thinking_mode that mean something to some parsers. */
enum wprs_mode { WPRS_MODE_UNSET, WPRS_MODE_CHAT, WPRS_MODE_THINKING, WPRS_MODE_OTHER };

struct wprs_options {
    struct weir_span tool_parser;      /* name or alias; empty = none */
    struct weir_span reasoning_parser; /* name or alias; empty = none */
    struct weir_span tools; /* the request's JSON array, borrowed: outlives the parser; NULL
                               data, [] or null = no tools: no call is looked for */
    enum wprs_choice choice;
    struct weir_span choice_name; /* WPRS_CHOICE_NAMED: borrowed: outlives the parser */
    enum wprs_calls calls;
    bool single_call;             /* parallel_tool_calls false: calls after the first are dropped */
    enum wprs_switch thinking;    /* chat_template_args.thinking / .enable_thinking */
    enum wprs_switch effort;      /* reasoning_effort: OFF = "none", ON = any other */
    enum wprs_mode mode;          /* chat_template_args.thinking_mode, where it is no switch */
    struct weir_span prompt_tail; /* last bytes of the rendered prompt (64 suffice), read at create
                                     only: an open reasoning tag there = start inside */
    uint64_t id_seed;             /* ids of calls come from here; give random bits */
    size_t max_held_bytes; /* bound of what is held back; a call that needs more comes as text */
};
#define WPRS_MAX_HELD_DEFAULT ((size_t)16 << 20)
#define WPRS_OPTIONS_INIT ((struct wprs_options){.max_held_bytes = WPRS_MAX_HELD_DEFAULT})

struct wprs;

/* NOT_FOUND with a text that names the nearest known name when a parser's name is unknown; NOMEM.
 * Other strings than those marked "borrowed: outlives the parser" are not kept. */
enum weir_status wprs_create(const struct wprs_options *options, struct wprs **ret,
                             struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts NULL. */
void wprs_destroy(struct wprs *p);
/* Any number of bytes, cut anywhere. NOMEM: deltas may be missing, the parser may only be
 * destroyed. */
enum weir_status wprs_feed(struct wprs *p, struct weir_span text, wprs_delta_fn fn,
                           void *arg) WEIR_MUST_CHECK;
/* No more text comes: gives out what is held back. *ret_finish (may be NULL) becomes TOOL_CALLS
 * when `finish` is STOP and at least one call was complete, else `finish`. Call once. */
enum weir_status wprs_finish(struct wprs *p, enum wprs_finish finish, wprs_delta_fn fn, void *arg,
                             enum wprs_finish *ret_finish) WEIR_MUST_CHECK;
/* Whether reasoning is separated at all: a parser is named, and thinking is not off. */
bool wprs_separates(const struct wprs *p);
/* Whether the text that comes next is read as reasoning: its block has begun and not ended. */
bool wprs_in_reasoning(const struct wprs *p);

/* ---- at start and per request ---------------------------------------------------------------- */

/* For start-up: both names known? Either may be empty. Error text as of wprs_create(). */
enum weir_status wprs_check_names(struct weir_span tool_parser, struct weir_span reasoning_parser,
                                  struct weir_err *err) WEIR_MUST_CHECK;
/* Known names, aliases included, in a fixed order; NULL behind the last. */
const char *wprs_tool_parser_name(size_t i);
const char *wprs_reasoning_parser_name(size_t i);

/* Whether a request that says nothing of skip_special_tokens is sent to a worker with false, as
 * Dynamo 1.6.1 does for some names of either kind: what these read is marked by special tokens. */
bool wprs_keeps_special(struct weir_span tool_parser, struct weir_span reasoning_parser);

/* Reads the request's "tool_choice": absent or null is auto ("none" without tools does not matter:
 * no tools, no calls). INVALID for anything the API does not know. The name is borrowed from `json`
 * and must be free of escapes (function names are). */
enum weir_status wprs_choice_of(struct weir_span json, enum wprs_choice *ret_choice,
                                struct weir_span *ret_name, struct weir_err *err) WEIR_MUST_CHECK;
/* Reads a request's `chat_template_args` object (NULL data: none) and top-level `reasoning_effort`
 * JSON value (NULL data: none) into `thinking`, `effort` and `mode`; malformed JSON counts as
 * absent. */
void wprs_thinking_of(struct weir_span chat_template_args, struct weir_span reasoning_effort,
                      struct wprs_options *o);
/* Whether a model whose answers `reasoning_parser` reads will think first, as Dynamo tells workers
 * of it: a grammar holds for what comes behind the thoughts. Reads the parser's name and what was
 * said of thinking. */
bool wprs_thinks_first(const struct wprs_options *o);
/* Whether the template of such a model is told that it thinks, where the request says nothing. */
bool wprs_tells_thinking(struct weir_span reasoning_parser);

#endif
