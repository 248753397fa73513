/*
 * Tables of formats: what a call, a reasoning block, a message looks like in each. Data only; the
 * engine reads them. Source of the formats: shared spec "frontend" 3.5.
 */
#ifndef WEIR_PARSERS_FORMATS_PRIV_H
#define WEIR_PARSERS_FORMATS_PRIV_H

#include "base/span.h"

#include <stdbool.h>

/*
 * Patterns are literal text with
 *   %s  any white space, also none
 *   %n  a name: up to the byte that follows it in the pattern; no line feed, not empty
 *   %a  an attribute, as %n, may be empty
 *   %w  a name made of letters, digits and _.-:/ ; not empty
 */
enum family {
    FAMILY_JSON,   /* objects {"name": N, "arguments": {…}}, alone or in a list */
    FAMILY_ARGS,   /* a name between markers, then the arguments object */
    FAMILY_TAGS,   /* parameters in tags of their own, values as text */
    FAMILY_TREE,   /* parameters as elements named after them, nested */
    FAMILY_PYTHON, /* [N(k=literal, …), …] */
    FAMILY_GEMMA,  /* call:N{k:literal,…} */
};
/* Answers that are messages with headers rather than text with blocks in it. */
enum envelope { ENVELOPE_NONE, ENVELOPE_HARMONY, ENVELOPE_INKLING, ENVELOPE_KIMI3, ENVELOPE_MUSE };
enum call_id { ID_OPENAI, ID_NINE, ID_KIMI };

struct format {
    const char *name;
    enum family family;
    enum envelope envelope;
    const char *start[5]; /* patterns that open a block */
    const char *end[3];   /* … that close it; may be missing */
    const char *call[3];  /* ARGS, TAGS, TREE: opens a call; %n is its name */
    const char *call_end; /* TAGS, TREE: closes it; ARGS: may follow it */
    const char *param;    /* TAGS: opens a parameter; %n key, %a type */
    const char *param_end;
    char separator;    /* JSON: between calls outside a list; 0 = none */
    bool bare;         /* JSON: a call object needs no start marker */
    bool bare_list;    /* JSON: nor does a list of them */
    bool closes_block; /* TAGS: call_end ends the block too */
    bool strip;        /* TAGS: one line feed on each side of a value is none of it */
    bool typed;        /* TAGS: %a says "true" or "string" for text; all else is JSON */
    bool guess;        /* TAGS: a value without schema is JSON where it reads as JSON */
    bool null_word;    /* TAGS: the text null is JSON's null, in any case and for any type */
    enum call_id id;
};

struct reasoning {
    const char *name;
    const char *start, *end; /* literal; NULL for envelopes and for "append" */
    enum envelope envelope;
    bool forced;       /* starts inside, unless the prompt's end closed a block */
    bool prompted;     /* starts inside when the prompt ends with an open tag */
    bool opt_in;       /* off until the request asks for it … */
    bool effort_only;  /* … by an effort only */
    bool switchable;   /* thinking false or effort none switches it off */
    bool prose;        /* tags are sentences: one that stands alone is text */
    bool lines;        /* blocks are joined by a line feed */
    bool append_start; /* separates nothing: the answer begins with the start tag */
};

/* NULL when unknown. */
const struct format *wprs_format_find(struct weir_span name);
const struct reasoning *wprs_reasoning_find(struct weir_span name);
struct wprs_options;
/* What the request says about thinking in all: the switches, then the mode as the parser's models
 * know it, then the effort. */
enum wprs_switch wprs_thinking_wish(const struct wprs_options *o);
/* What guided decoding makes: a list of {"name", "parameters"}. */
extern const struct format wprs_format_guided;

#endif
