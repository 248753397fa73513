/*
 * Calls whose parameters stand in tags of their own, values as plain text. There is no escape in
 * such text, so an end tag ends a value only where it fits: what follows must be the next
 * parameter, or the end of the call and of the block. Strings are rewritten as they come; a value
 * of another type is judged whole, by the tool's schema or by what the tag says.
 */
#include "parsers/engine_priv.h"
#include "parsers/schema_priv.h"

enum {
    TOP,       /* a call, or the block's end */
    PARAMETER, /* a parameter, or the call's end */
    IN_STRING,
    IN_VALUE,
    IN_NULL, /* a string that may yet be the word null */
};
enum { NULL_MAX = 256 }; /* bytes of such a one, its blanks included */

/* ---- does an end tag fit? ------------------------------------------------------------------- */

enum fit {
    FIT_NO,
    FIT_PART,  /* more bytes are needed */
    FIT_DOUBT, /* text follows the block: the last such end before another block is the one */
    FIT_SURE,
};

static enum fit fit_of(enum match m, bool final) {
    return m == MATCH_FULL || (m == MATCH_PART && final) ? FIT_SURE
           : m == MATCH_PART                             ? FIT_PART
                                                         : FIT_NO;
}

/* Another block, or message, begins at c. */
static enum match block_begins(const struct wprs *p, const struct cursor *c) {
    struct slots s = {0};
    size_t len;
    enum header header;
    struct weir_span name;
    enum match m = wprs_match_any(p->fmt->start, WEIR_ARRAY_LEN(p->fmt->start), c, &s);
    if (m == MATCH_NO && p->envelope != ENVELOPE_NONE)
        m = wprs_envelope(p->envelope, c->d, c->n, c->final, &len, &header, &name);
    return m;
}

static void skip_ws(struct cursor *c) {
    size_t ws = wprs_ws_run(c->d, c->n);
    c->d += ws;
    c->n -= ws;
}

static enum fit fits_behind_block(const struct wprs *p, struct cursor c) {
    skip_ws(&c);
    if (c.n == 0)
        return c.final ? FIT_SURE : FIT_PART;
    enum fit fit = fit_of(block_begins(p, &c), c.final);
    return fit == FIT_NO ? FIT_DOUBT : fit;
}

/* Behind the call's end: the block's end, another call, another block, or the end of all text. */
static enum fit fits_behind_call(const struct wprs *p, struct cursor c) {
    struct slots s = {0};
    if (p->fmt->closes_block)
        return fits_behind_block(p, c);
    skip_ws(&c);
    if (c.n == 0)
        return c.final ? FIT_SURE : FIT_PART;
    struct cursor open = {c.d, c.n, false};
    enum match m = wprs_match_any(p->fmt->end, WEIR_ARRAY_LEN(p->fmt->end), &open, &s);
    if (m == MATCH_FULL)
        return fits_behind_block(p, (struct cursor){c.d + s.len, c.n - s.len, c.final});
    enum match call = wprs_match_any(p->fmt->call, WEIR_ARRAY_LEN(p->fmt->call), &open, &s);
    enum match start = block_begins(p, &open);
    m = call > m ? call : m;
    return fit_of(start > m ? start : m, c.final);
}

static enum fit fits_behind_value(const struct wprs *p, struct cursor c) {
    struct slots s = {0};
    skip_ws(&c);
    if (c.n == 0)
        return c.final ? FIT_SURE : FIT_PART;
    enum match m = wprs_match(p->fmt->param, c.d, c.n, false, &s);
    if (m == MATCH_NO) {
        m = wprs_match(p->fmt->call_end, c.d, c.n, false, &s);
        if (m == MATCH_FULL)
            return fits_behind_call(p, (struct cursor){c.d + s.len, c.n - s.len, c.final});
    }
    return fit_of(m, c.final);
}

/* Does the value end at d, with the line feed that belongs to the layout? */
static enum fit value_ends(const struct wprs *p, const char *d, size_t n, bool final,
                           size_t *ret_len) {
    struct slots s = {0};
    size_t lf = p->fmt->strip && n > 0 && d[0] == '\n';
    enum match m = wprs_match(p->fmt->param_end, d + lf, n - lf, final, &s);
    enum fit fit = m == MATCH_PART ? FIT_PART : FIT_NO;
    if (m == MATCH_FULL) {
        *ret_len = lf + s.len;
        fit = fits_behind_value(p, (struct cursor){d + *ret_len, n - *ret_len, final});
    }
    if (fit == FIT_DOUBT && p->doubt.settled)
        return FIT_SURE;
    return fit == FIT_PART && n > LOOK_MAX ? FIT_NO : fit;
}

/* With an end in doubt behind us: does another block begin, so that it was the end? */
static enum match doubt_ends(const struct wprs *p, const char *d, size_t n, bool final) {
    struct cursor c = {d, n, final};
    return p->doubt.set ? block_begins(p, &c) : MATCH_NO;
}

/* ---- values --------------------------------------------------------------------------------- */

static void begin_parameter(struct wprs *p, struct cursor *c, const struct slots *s) {
    wprs_call_start(p);
    wprs_put_z(p, &p->args, p->filled ? "," : "{");
    p->filled = true;
    wprs_put_z(p, &p->args, "\"");
    wprs_put_escaped(p, &p->args, s->name.data, s->name.len);
    wprs_put_z(p, &p->args, "\":");
    p->guess = p->fmt->guess;
    if (p->fmt->typed) {
        p->types =
            weir_span_eqz(s->attr, "true") || weir_span_eqz(s->attr, "string") ? TYPE_STRING : 0;
        p->guess = true;
    } else {
        struct weir_span schema = wprs_schema_property(p->schema, p->schema, s->name);
        p->types = wprs_schema_types(p->schema, schema);
    }
    bool text = p->types == TYPE_STRING || (p->types == 0 && !p->guess);
    p->strip_start = p->fmt->strip;
    weir_buf_clear(&p->value);
    if (text && !p->fmt->null_word)
        wprs_put_z(p, &p->args, "\"");
    wprs_take_given(p, c, s->len);
    p->sub = !text ? IN_VALUE : p->fmt->null_word ? IN_NULL : IN_STRING;
}

static bool is_null(struct weir_span value) {
    return weir_span_ieq(weir_span_trim(value), WEIR_SPAN_LIT("null"));
}

/* With these bytes, and more behind them? */
static bool may_be_null(const struct wprs *p, const char *d, size_t n) {
    const size_t kept = p->value.len, most = p->value.max < NULL_MAX ? p->value.max : NULL_MAX;
    char text[NULL_MAX];
    if (kept > most || n > most - kept)
        return false;
    if (kept > 0)
        memcpy(text, p->value.data, kept);
    memcpy(text + kept, d, n);
    struct weir_span t = weir_span_trim(weir_span(text, kept + n));
    bool open = t.data + t.len == text + kept + n; /* no blank behind it yet */
    return t.len == 0 || is_null(t) ||
           (t.len < 4 && open && weir_span_ieq(t, weir_span("null", t.len)));
}

/* What was kept of a string goes out. */
static void begin_string(struct wprs *p) {
    wprs_put_z(p, &p->args, "\"");
    wprs_put_escaped(p, &p->args, p->value.data, p->value.len);
    weir_buf_clear(&p->value);
    if (p->started)
        weir_buf_clear(&p->raw); /* as wprs_take_given() */
    p->sub = IN_STRING;
}

static void value_bytes(struct wprs *p, struct cursor *c, size_t n) {
    if (p->sub == IN_NULL && !p->doubt.set && !may_be_null(p, c->d, n))
        begin_string(p);
    if (p->sub == IN_STRING)
        wprs_put_escaped(p, &p->args, c->d, n);
    else
        wprs_put(p, &p->value, c->d, n);
    if (p->sub == IN_STRING && !p->doubt.set)
        wprs_take_given(p, c, n);
    else
        wprs_take(p, c, n);
}

static void end_value(struct wprs *p, struct cursor *c, size_t len) {
    p->doubt = (struct doubt){0};
    bool null = p->fmt->null_word && p->sub != IN_STRING && is_null(weir_buf_span(&p->value));
    if (p->sub == IN_NULL && !null)
        begin_string(p);
    if (null) {
        wprs_put_z(p, &p->args, "null");
    } else if (p->sub == IN_STRING) {
        wprs_put_z(p, &p->args, "\"");
    } else {
        enum weir_status st =
            wprs_schema_value(p->types, weir_buf_span(&p->value), p->guess, &p->args);
        p->over |= st == WEIR_TOO_LARGE;
        if (st != WEIR_OK && st != WEIR_TOO_LARGE)
            p->status = st;
    }
    wprs_take_given(p, c, len);
    p->sub = PARAMETER;
}

/* An end in doubt stands under the cursor: the value goes on, but may have ended here. */
static void doubt(struct wprs *p) {
    p->doubt =
        (struct doubt){.set = true, .raw = p->raw.len, .args = p->args.len, .value = p->value.len};
}

/* A line feed right behind the start tag is layout; it may also be the one before the end tag. */
static enum step skip_line(struct wprs *p, struct cursor *c) {
    size_t len = 0;
    enum fit fit = c->d[0] == '\n' ? value_ends(p, c->d, c->n, c->final, &len) : FIT_NO;
    if (fit == FIT_PART)
        return STEP_MORE;
    p->strip_start = false;
    if (fit == FIT_SURE)
        end_value(p, c, len);
    else if (c->d[0] == '\n')
        wprs_take(p, c, 1);
    return STEP_GO;
}

static enum step value_step(struct wprs *p, struct cursor *c) {
    if (c->n == 0)
        return STEP_MORE;
    if (p->strip_start)
        return skip_line(p, c);
    const char first = p->fmt->param_end[0];
    size_t i = 0;
    while (i < c->n) {
        if (c->d[i] != first && !(p->fmt->strip && c->d[i] == '\n')) {
            i++;
            continue;
        }
        size_t len = 0;
        enum fit fit = value_ends(p, c->d + i, c->n - i, c->final, &len);
        enum match over = doubt_ends(p, c->d + i, c->n - i, c->final);
        if (fit == FIT_NO && over == MATCH_NO) {
            i++;
            continue;
        }
        value_bytes(p, c, i);
        if (p->over)
            return STEP_GO; /* not all of them: what was found stands further on */
        if (fit == FIT_SURE) {
            end_value(p, c, len);
        } else if (over == MATCH_FULL) {
            wprs_settle(p, c);
        } else if (fit == FIT_PART || over == MATCH_PART) {
            return STEP_MORE;
        } else {
            doubt(p);
            value_bytes(p, c, c->d[0] == '\n' ? 2 : 1); /* past the tag's first byte */
        }
        return STEP_GO;
    }
    value_bytes(p, c, i);
    return STEP_MORE;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static enum step begin_call(struct wprs *p, struct cursor *c, const struct slots *s) {
    if (p->block_calls > 0)
        weir_buf_clear(&p->raw);
    wprs_call_reset(p);
    if (!wprs_call_name(p, s->name))
        return STEP_BREAK;
    p->args_rewritten = true;
    p->filled = false;
    p->schema = wprs_schema_tool(p->tools, weir_buf_span(&p->name));
    wprs_take(p, c, s->len);
    if (!p->fmt->closes_block) /* a bare word behind the start marker is no name yet */
        wprs_call_start(p);
    p->sub = PARAMETER;
    return STEP_GO;
}

enum step wprs_step_tags_top(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    const bool behind = p->block_calls > 0;
    if (c->n == 0 && !(behind && c->final))
        return STEP_MORE;
    struct cursor open = {c->d, c->n, false};
    enum match m = wprs_match_any(p->fmt->end, WEIR_ARRAY_LEN(p->fmt->end), &open, &s);
    if (m == MATCH_FULL) {
        wprs_take(p, c, s.len);
        return wprs_close_block(p);
    }
    if (m == MATCH_PART && !c->final)
        return STEP_MORE;
    if (behind && c->final && (m == MATCH_PART || c->n == 0))
        return wprs_end_of_text(p, c);
    m = wprs_match_any(p->fmt->call, WEIR_ARRAY_LEN(p->fmt->call), c, &s);
    if (m == MATCH_PART)
        return STEP_MORE;
    if (m == MATCH_NO)
        return wprs_leave_block(p);
    return begin_call(p, c, &s);
}

static enum step parameter_step(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    enum match m = wprs_match(p->fmt->param, c->d, c->n, c->final, &s);
    if (m == MATCH_FULL) {
        begin_parameter(p, c, &s);
        return STEP_GO;
    }
    enum match end = wprs_match(p->fmt->call_end, c->d, c->n, c->final, &s);
    if (end != MATCH_FULL)
        return m == MATCH_PART || end == MATCH_PART ? STEP_MORE : STEP_BREAK;
    wprs_take(p, c, s.len);
    wprs_put_z(p, &p->args, p->filled ? "}" : "{}");
    wprs_call_done(p);
    p->sub = TOP;
    return p->fmt->closes_block && !p->over ? wprs_close_block(p) : STEP_GO;
}

enum step wprs_step_tags(struct wprs *p, struct cursor *c) {
    if (p->sub >= IN_STRING)
        return value_step(p, c);
    wprs_take_ws(p, c);
    if (p->over)
        return STEP_BREAK;
    return p->sub == TOP ? wprs_step_tags_top(p, c) : c->n == 0 ? STEP_MORE : parameter_step(p, c);
}
