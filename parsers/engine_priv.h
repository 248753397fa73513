/*
 * Inside of a parser. One engine for all formats:
 *
 *   text.c    scans answer and reasoning text for markers (the only thing most bytes meet)
 *   json.c, tags.c, tree.c, literal.c   one file per family of call grammars, each a step function
 *   sink.c    what is given out and what is held back
 *   parser.c  drives the steps and keeps undecided input
 *
 * A step looks at the bytes under the cursor and takes what it understands; STEP_MORE leaves the
 * rest for the next piece, STEP_BREAK says that the block is no call: then `raw`, the bytes taken
 * and not yet given out, goes to the user as text.
 */
#ifndef WEIR_PARSERS_ENGINE_PRIV_H
#define WEIR_PARSERS_ENGINE_PRIV_H

#include "parsers/formats_priv.h"
#include "parsers/jscan_priv.h"
#include "parsers/literal_priv.h"
#include "parsers/pattern_priv.h"
#include "parsers/wprs.h"

enum {
    NAME_MAX = 1024, /* bytes of a name or key in the text */
    LOOK_MAX = 4096, /* bytes looked at ahead of a decision */
    DEPTH_MAX = 64,  /* nesting of values that are rewritten */
    GAP_MAX = 64,    /* white space held back at the start of text */
};

enum step { STEP_GO, STEP_MORE, STEP_BREAK };

enum state {
    STATE_TEXT,
    STATE_REASON,
    STATE_HOLD,    /* in reasoning, behind what looks like a call: which of both is it? */
    STATE_BLOCK,   /* in a call block: the family's step */
    STATE_MESSAGE, /* a call's message while no calls are looked for: text up to its end */
};

/* White space is held at the start of the answer, behind a call and behind reasoning. */
enum gap { GAP_NONE, GAP_START, GAP_CALL, GAP_REASON };

struct cursor {
    const char *d;
    size_t n;
    bool final;
};

/* One open container of a value that is being rewritten. */
struct level {
    char kind;               /* '[' '{' '(' or 0 while unknown */
    bool filled;             /* has a member */
    size_t name;             /* TREE: offset of the element's name in `names` */
    struct weir_span schema; /* TREE: borrowed from the tools, NULL data = unknown */
};

/* TAGS: an end of a value behind which text follows (tags.c). */
struct doubt {
    bool set;
    bool settled;            /* it is known to be the end: the cursor stands there again */
    size_t raw, args, value; /* lengths of these buffers in front of it */
};

struct wprs {
    /* fixed at create */
    const struct format *tool;         /* NULL: no calls are looked for */
    const struct format *tool_any;     /* the format named, even then */
    const struct reasoning *reasoning; /* NULL: reasoning is not separated */
    enum envelope envelope;
    struct weir_span tools, choice_name; /* borrowed */
    enum wprs_choice choice;
    enum wprs_calls calls;
    bool single_call;
    uint64_t id_state;
    const char *prefix; /* goes before the first text; NULL once done */

    /* of the current feed */
    wprs_delta_fn fn;
    void *arg;
    enum weir_status status;
    bool over;   /* a bound was met: the block breaks */
    bool dry;    /* count calls, give nothing out */
    bool replay; /* reading again what was held back in reasoning */

    /* text */
    enum state state;
    bool in_section;  /* calls were given out and the block's end marker has not come */
    bool start_seen;  /* in reasoning: its start tag */
    bool no_hold;     /* in reasoning: more was held back than allowed */
    unsigned nested;  /* STATE_HOLD, envelopes: messages that began inside */
    bool reason_gap;  /* only white space in this reasoning block so far */
    bool reasoned;    /* reasoning was given out */
    bool reason_line; /* a line feed parts it from more */
    enum gap gap;
    unsigned char ws_len;
    char ws[GAP_MAX];
    bool trigger[256];

    /* block */
    const struct format *fmt; /* grammar of the current block */
    enum step (*step)(struct wprs *p, struct cursor *c);
    unsigned sub;         /* state of the family's step */
    unsigned block_calls; /* complete calls in this block */
    bool list;            /* JSON: inside [ ] */
    bool bare;            /* the block began without a marker */
    bool have_name, have_args, args_rewritten;
    unsigned key_kind;
    bool started;              /* WPRS_CALLS_PIECES: the call was given out */
    size_t args_off, args_len; /* arguments as a range of raw */
    struct jscan scan;
    struct weir_span schema; /* of the current call's parameters; borrowed from `tools` */
    unsigned types;          /* of the current value */
    bool guess;              /* … by how it reads, too */
    bool filled;             /* the arguments have a member */
    bool strip_start;        /* TAGS: a line feed here is layout */
    struct doubt doubt;
    struct literal literal;
    unsigned depth;
    struct level levels[DEPTH_MAX];

    struct weir_buf pend;  /* undecided input */
    struct weir_buf again; /* what is read again behind a settled doubt; the cursor's bytes then */
    struct weir_buf raw;   /* see above */
    struct weir_buf args;  /* rewritten arguments not yet given out */
    struct weir_buf value; /* a value that is judged as a whole */
    struct weir_buf name, id;
    struct weir_buf names; /* TREE: names of open elements */
    struct weir_buf held;  /* STATE_HOLD */

    unsigned n_calls;   /* given out, the next index */
    unsigned n_done;    /* of these complete */
    unsigned dry_calls; /* complete calls of a dry run */
    bool dropped_call;  /* single_call: the current call is not given out */
};

/* ---- sink.c ---- */
void wprs_content(struct wprs *p, const char *d, size_t n);
void wprs_reason(struct wprs *p, const char *d, size_t n);
/* Consumes n bytes under the cursor: they belong to the block. */
void wprs_take(struct wprs *p, struct cursor *c, size_t n);
/* Consumes n bytes that are arguments text as it stands. */
void wprs_take_args(struct wprs *p, struct cursor *c, size_t n);
/* Appends to rewritten arguments, or to another of the parser's buffers. */
void wprs_put(struct wprs *p, struct weir_buf *buf, const char *d, size_t n);
void wprs_put_z(struct wprs *p, struct weir_buf *buf, const char *z);
/* … as the inside of a JSON string. */
void wprs_put_escaped(struct wprs *p, struct weir_buf *buf, const char *d, size_t n);
/* A call begins; its name may come later. */
void wprs_call_reset(struct wprs *p);
/* False: a name of blanks is none. */
bool wprs_call_name(struct wprs *p, struct weir_span name);
/* WPRS_CALLS_PIECES: gives the call out now that its name is known and its arguments begin. */
void wprs_call_start(struct wprs *p);
/* The call is complete. */
void wprs_call_done(struct wprs *p);
/* Gives out what rewritten arguments there are (WPRS_CALLS_PIECES). */
void wprs_flush_args(struct wprs *p);
/* As wprs_take(), of bytes whose meaning is in the arguments now: of a call that was given out
 * they, and what was taken before, never go back. */
void wprs_take_given(struct wprs *p, struct cursor *c, size_t n);
/* `raw` goes to the user as text. */
void wprs_give_back(struct wprs *p);

/* ---- parser.c ---- */
void wprs_run(struct wprs *p, struct cursor *c);
/* The value has ended at the end that was in doubt: goes back there. */
void wprs_settle(struct wprs *p, struct cursor *c);
/* What was held back in reasoning is text with calls when a call is in it, else reasoning; the
 * state is STATE_TEXT afterwards. */
void wprs_replay(struct wprs *p);

/* ---- text.c ---- */
enum step wprs_step_text(struct wprs *p, struct cursor *c);
enum step wprs_step_reason(struct wprs *p, struct cursor *c);
enum step wprs_step_hold(struct wprs *p, struct cursor *c);
enum step wprs_step_message(struct wprs *p, struct cursor *c);
void wprs_enter(struct wprs *p, enum state state);
/* The block has ended at its end marker; breaks when it held no call. */
enum step wprs_close_block(struct wprs *p);
/* The block goes on as text. */
enum step wprs_leave_block(struct wprs *p);
/* Behind a call at the end of all text: part of an end marker and separators are layout. */
enum step wprs_end_of_text(struct wprs *p, struct cursor *c);

/* ---- envelope.c ---- */
enum header { HEADER_CONTENT, HEADER_REASON, HEADER_CALL, HEADER_END };
/* A header of a message at d? Its length, kind and, of a call, the name that it carries. */
enum match wprs_envelope(enum envelope envelope, const char *d, size_t n, bool final,
                         size_t *ret_len, enum header *ret_kind, struct weir_span *ret_name);

/* ---- families ---- */
enum step wprs_step_json(struct wprs *p, struct cursor *c);
enum step wprs_step_tags(struct wprs *p, struct cursor *c);
enum step wprs_step_tree(struct wprs *p, struct cursor *c);
/* TAGS and TREE: between calls. Both go on in sub-state 1. */
enum step wprs_step_tags_top(struct wprs *p, struct cursor *c);
enum step wprs_step_literal(struct wprs *p, struct cursor *c);
/* Does a call without start marker begin at d? */
enum match wprs_bare_json(const struct format *fmt, const char *d, size_t n, bool final);
enum match wprs_bare_python(const char *d, size_t n, bool final);
/* JSON: states in which a block may be entered. */
enum { JSON_TOP, JSON_ARGUMENTS };

/* ---- shared by families ---- */
static inline bool wprs_is_ws(char ch) {
    return ch == ' ' || ch == '\n' || ch == '\t' || ch == '\r';
}
static inline size_t wprs_ws_run(const char *d, size_t n) {
    size_t i = 0;
    while (i < n && wprs_is_ws(d[i]))
        i++;
    return i;
}
void wprs_take_ws(struct wprs *p, struct cursor *c);
/* The first of the patterns that is not refused. */
enum match wprs_match_any(const char *const *patterns, size_t n_patterns, const struct cursor *c,
                          struct slots *slots);

#endif
