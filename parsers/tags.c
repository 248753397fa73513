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
};

/* ---- does an end tag fit? ------------------------------------------------------------------- */

/* Behind the call's end: the block's end, another call, another block, or the end of all text. */
static enum match fits_behind_call(const struct wprs *p, struct cursor c) {
    struct slots s = {0};
    size_t ws = wprs_ws_run(c.d, c.n);
    if (p->fmt->closes_block)
        return MATCH_FULL;
    c.d += ws, c.n -= ws;
    if (c.n == 0)
        return c.final ? MATCH_FULL : MATCH_PART;
    struct cursor open = {c.d, c.n, false};
    enum match best = wprs_match_any(p->fmt->end, WEIR_ARRAY_LEN(p->fmt->end), &open, &s);
    enum match m = wprs_match_any(p->fmt->call, WEIR_ARRAY_LEN(p->fmt->call), &open, &s);
    best = m > best ? m : best;
    m = wprs_match_any(p->fmt->start, WEIR_ARRAY_LEN(p->fmt->start), &open, &s);
    best = m > best ? m : best;
    return best == MATCH_PART && c.final ? MATCH_FULL : best;
}

static enum match fits_behind_value(const struct wprs *p, struct cursor c) {
    struct slots s = {0};
    size_t ws = wprs_ws_run(c.d, c.n);
    c.d += ws, c.n -= ws;
    if (c.n == 0)
        return c.final ? MATCH_FULL : MATCH_PART;
    enum match m = wprs_match(p->fmt->param, c.d, c.n, false, &s);
    if (m == MATCH_NO) {
        m = wprs_match(p->fmt->call_end, c.d, c.n, false, &s);
        if (m == MATCH_FULL)
            return fits_behind_call(p, (struct cursor){c.d + s.len, c.n - s.len, c.final});
    }
    return m == MATCH_PART && c.final ? MATCH_FULL : m;
}

/* Does the value end at d, with the line feed that belongs to the layout? */
static enum match value_ends(const struct wprs *p, const char *d, size_t n, bool final,
                             size_t *ret_len) {
    struct slots s = {0};
    size_t lf = p->fmt->strip && n > 0 && d[0] == '\n';
    enum match m = wprs_match(p->fmt->param_end, d + lf, n - lf, final, &s);
    if (m == MATCH_FULL) {
        *ret_len = lf + s.len;
        m = fits_behind_value(p, (struct cursor){d + *ret_len, n - *ret_len, final});
    }
    return m == MATCH_PART && n > LOOK_MAX ? MATCH_NO : m;
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
    if (text)
        wprs_put_z(p, &p->args, "\"");
    wprs_take_given(p, c, s->len);
    p->sub = text ? IN_STRING : IN_VALUE;
}

static void value_bytes(struct wprs *p, struct cursor *c, size_t n) {
    if (p->sub == IN_STRING) {
        wprs_put_escaped(p, &p->args, c->d, n);
        wprs_take_given(p, c, n);
    } else {
        wprs_put(p, &p->value, c->d, n);
        wprs_take(p, c, n);
    }
}

static void end_value(struct wprs *p, struct cursor *c, size_t len) {
    if (p->sub == IN_STRING) {
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

static enum step value_step(struct wprs *p, struct cursor *c) {
    if (c->n == 0)
        return STEP_MORE;
    if (p->strip_start) {
        p->strip_start = false;
        if (c->d[0] == '\n') {
            /* "\n" may also be the one before the end tag: an empty value has only one. */
            size_t len = 0;
            enum match m = value_ends(p, c->d, c->n, c->final, &len);
            if (m == MATCH_PART) {
                p->strip_start = true;
                return STEP_MORE;
            }
            wprs_take(p, c, m == MATCH_FULL ? len : 1);
            if (m == MATCH_FULL)
                end_value(p, c, 0);
            return STEP_GO;
        }
    }
    const char first = p->fmt->param_end[0];
    size_t i = 0;
    while (i < c->n) {
        if (c->d[i] != first && !(p->fmt->strip && c->d[i] == '\n')) {
            i++;
            continue;
        }
        size_t len = 0;
        enum match m = value_ends(p, c->d + i, c->n - i, c->final, &len);
        if (m == MATCH_NO) {
            i++;
            continue;
        }
        value_bytes(p, c, i);
        if (m == MATCH_PART)
            return STEP_MORE;
        end_value(p, c, len);
        return STEP_GO;
    }
    value_bytes(p, c, i);
    return STEP_MORE;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static void begin_call(struct wprs *p, struct cursor *c, const struct slots *s) {
    if (p->block_calls > 0)
        weir_buf_clear(&p->raw);
    wprs_call_reset(p);
    wprs_call_name(p, s->name);
    p->args_rewritten = true;
    p->filled = false;
    p->schema = wprs_schema_tool(p->tools, weir_buf_span(&p->name));
    wprs_take(p, c, s->len);
    if (!p->fmt->closes_block) /* a bare word behind the start marker is no name yet */
        wprs_call_start(p);
    p->sub = PARAMETER;
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
    begin_call(p, c, &s);
    return STEP_GO;
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
