/* Calls in Python's notation, [N(k=literal, …), …], and in Gemma's, call:N{k:literal,…}. */
#include "parsers/engine_priv.h"

enum {
    TOP,       /* the list; Gemma: a call, or the block's end */
    ARGUMENTS, /* behind ( or a comma; Gemma: the braces' inside */
    VALUE,     /* of a keyword */
    AFTER,     /* behind a value */
    CALL_END,  /* behind ): a list must go on or end for this to be a call */
    ITEM,      /* the list's next call */
    LIST_END,  /* behind ] */
};

enum match wprs_bare_python(const char *d, size_t n, bool final) {
    struct slots s = {0};
    enum match m = wprs_match("[%s%w%s(", d, n, final, &s);
    return m == MATCH_PART && n > LOOK_MAX ? MATCH_NO : m;
}

static enum step read_value(struct wprs *p, struct cursor *c) {
    size_t used = 0;
    enum literal_result r = literal_feed(&p->literal, c->d, c->n, c->final, &p->args, &used);
    wprs_take_given(p, c, used);
    p->over |= p->literal.status == WEIR_TOO_LARGE;
    if (p->literal.status != WEIR_OK && !p->over)
        p->status = p->literal.status;
    return r == LITERAL_DONE ? STEP_GO : r == LITERAL_MORE ? STEP_MORE : STEP_BREAK;
}

static enum step gemma_step(struct wprs *p, struct cursor *c) {
    if (p->sub == TOP) {
        wprs_take_ws(p, c);
        enum step s = p->over ? STEP_BREAK : wprs_step_tags_top(p, c);
        if (p->state == STATE_BLOCK && p->sub == ARGUMENTS) {
            literal_init(&p->literal, true);
            literal_open_object(&p->literal, &p->args);
        }
        return s;
    }
    enum step s = read_value(p, c);
    if (s == STEP_GO && !p->over) {
        wprs_call_done(p);
        p->sub = TOP;
    }
    return s;
}

static enum step begin_call(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    enum match m = wprs_match("%w%s(", c->d, c->n, c->final, &s);
    if (m != MATCH_FULL)
        return m == MATCH_PART ? STEP_MORE : STEP_BREAK;
    if (p->block_calls > 0)
        weir_buf_clear(&p->raw);
    wprs_call_reset(p);
    if (!wprs_call_name(p, s.name))
        return STEP_BREAK;
    p->args_rewritten = true;
    p->filled = false;
    wprs_take(p, c, s.len);
    p->sub = ARGUMENTS;
    return STEP_GO;
}

static enum step begin_keyword(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    enum match m = wprs_match("%w%s=%s", c->d, c->n, c->final, &s);
    if (m != MATCH_FULL)
        return m == MATCH_PART ? STEP_MORE : STEP_BREAK;
    wprs_put_z(p, &p->args, p->filled ? ",\"" : "{\"");
    p->filled = true;
    wprs_put(p, &p->args, s.name.data, s.name.len);
    wprs_put_z(p, &p->args, "\":");
    wprs_call_start(p); /* not before a keyword: prose knows [these(s)] too */
    wprs_take_given(p, c, s.len);
    literal_init(&p->literal, false);
    p->sub = VALUE;
    return STEP_GO;
}

static enum step end_list(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    struct cursor open = {c->d, c->n, false};
    enum match m =
        p->bare ? MATCH_NO : wprs_match_any(p->fmt->end, WEIR_ARRAY_LEN(p->fmt->end), &open, &s);
    if (m == MATCH_PART)
        return c->final ? wprs_end_of_text(p, c) : STEP_MORE;
    if (m == MATCH_NO)
        return wprs_leave_block(p);
    wprs_take(p, c, s.len);
    return wprs_close_block(p);
}

static enum step take_to(struct wprs *p, struct cursor *c, unsigned sub) {
    wprs_take(p, c, 1);
    p->sub = sub;
    return STEP_GO;
}

static enum step python_step(struct wprs *p, struct cursor *c) {
    const char ch = c->d[0];
    switch (p->sub) {
    case TOP:
        return ch == '[' ? take_to(p, c, ITEM) : STEP_BREAK;
    case ITEM:
        return begin_call(p, c);
    case ARGUMENTS:
    case AFTER:
        if (ch == ')') {
            wprs_put_z(p, &p->args, p->filled ? "}" : "{}");
            return take_to(p, c, CALL_END);
        }
        if (p->sub == ARGUMENTS)
            return begin_keyword(p, c);
        return ch == ',' ? take_to(p, c, ARGUMENTS) : STEP_BREAK;
    case CALL_END:
        if (ch != ',' && ch != ']')
            return STEP_BREAK;
        wprs_call_done(p);
        take_to(p, c, ch == ',' ? ITEM : LIST_END);
        if (ch == ']')
            weir_buf_clear(&p->raw); /* layout, whatever follows */
        return STEP_GO;
    default:
        return end_list(p, c);
    }
}

enum step wprs_step_literal(struct wprs *p, struct cursor *c) {
    if (p->fmt->family == FAMILY_GEMMA)
        return gemma_step(p, c);
    if (p->sub == VALUE) {
        enum step s = c->n == 0 ? STEP_MORE : read_value(p, c);
        if (s == STEP_GO)
            p->sub = AFTER;
        return s;
    }
    wprs_take_ws(p, c);
    if (p->over)
        return STEP_BREAK;
    if (c->n == 0) {
        const bool behind = p->sub == LIST_END && p->block_calls > 0;
        return behind && c->final ? wprs_end_of_text(p, c) : STEP_MORE;
    }
    return python_step(p, c);
}
