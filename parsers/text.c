/*
 * Answer and reasoning text: nearly all bytes pass here untouched. A table of first bytes says
 * where a marker may begin; there every marker of the state is tried, and a possible beginning
 * waits for more.
 */
#include "parsers/engine_priv.h"

enum hit {
    HIT_GUIDED,    /* a list or object of guided decoding */
    HIT_ARGUMENTS, /* the arguments object of guided decoding */
    HIT_HEADER,    /* a message's header */
    HIT_THINK,     /* reasoning begins */
    HIT_DROP,      /* a marker that stands alone */
    HIT_BLOCK,     /* a call block begins */
    HIT_RESUME,    /* another call of a block that was left */
    HIT_CLOSE,     /* its end marker */
    HIT_BARE,      /* a call without marker begins */
};

struct found {
    enum hit hit;
    size_t len;
    enum header header;
    struct weir_span name;
};

/* ---- where markers may begin ----------------------------------------------------------------- */

static const char *behind_blank(const char *pattern) {
    return strncmp(pattern, "%s", 2) == 0 ? pattern + 2 : pattern;
}

static void add_trigger(struct wprs *p, const char *pattern) {
    if (pattern == NULL)
        return;
    pattern = behind_blank(pattern);
    if (*pattern != '%')
        p->trigger[(unsigned char)*pattern] = true;
}

static void add_calls(struct wprs *p) {
    const struct format *f = p->tool;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(f->start); i++)
        add_trigger(p, f->start[i]);
    if (f->bare)
        add_trigger(p, f->family == FAMILY_PYTHON ? "[" : "{");
    if (f->bare_list)
        add_trigger(p, "[");
}

static void add_section(struct wprs *p) {
    const struct format *f = p->tool;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(f->end); i++)
        add_trigger(p, f->end[i]);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(f->call); i++)
        add_trigger(p, f->call[i]);
    add_trigger(p, f->call_end);
}

void wprs_enter(struct wprs *p, enum state state) {
    p->state = state;
    memset(p->trigger, 0, sizeof(p->trigger));
    if (p->envelope != ENVELOPE_NONE)
        p->trigger['<'] = true;
    if (state == STATE_TEXT) {
        if (p->tool != NULL)
            add_calls(p);
        if (p->tool != NULL && p->in_section)
            add_section(p);
        if (p->tool != NULL && p->choice >= WPRS_CHOICE_REQUIRED)
            p->trigger['['] = p->trigger['{'] = true;
        if (p->reasoning != NULL) {
            add_trigger(p, p->reasoning->start);
            add_trigger(p, p->reasoning->prose ? NULL : p->reasoning->end);
        }
    } else if (state == STATE_REASON) {
        p->reason_gap = true;
        if (p->tool != NULL)
            add_calls(p);
        add_trigger(p, p->reasoning->start);
        add_trigger(p, p->reasoning->end);
    } else if (state == STATE_HOLD) {
        add_trigger(p, p->reasoning->end);
    }
}

/* ---- which marker --------------------------------------------------------------------------- */

static enum match after_blank(const char *d, size_t n, size_t at, bool final, char *ret_ch) {
    at += wprs_ws_run(d + at, n - at);
    if (at == n || at > LOOK_MAX)
        return final || at > LOOK_MAX ? MATCH_NO : MATCH_PART;
    *ret_ch = d[at];
    return MATCH_FULL;
}

/* A native call rather than guided arguments: {"name": "<the tool named>", "parameters": … */
static enum match native_object(const struct wprs *p, const char *d, size_t n, bool final) {
    static const char *const shapes[] = {
        "{%s\"name\"%s:%s\"%n\"%s,%s\"parameters\"%s:",
        "{%s\"name\"%s:%s\"%n\"%s,%s\"arguments\"%s:",
    };
    enum match best = MATCH_NO;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(shapes) && best != MATCH_FULL; i++) {
        struct slots s = {0};
        enum match m = wprs_match(shapes[i], d, n, final, &s);
        if (m == MATCH_FULL && !weir_span_eq(s.name, p->choice_name))
            m = MATCH_NO;
        best = m > best ? m : best;
    }
    return best;
}

static enum match find_guided(const struct wprs *p, const char *d, size_t n, bool final,
                              struct found *f) {
    if (p->choice < WPRS_CHOICE_REQUIRED || p->gap == GAP_CALL)
        return MATCH_NO;
    f->len = 0;
    f->hit = HIT_GUIDED;
    if (p->gap == GAP_NONE) /* behind text only what looks like calls through and through */
        return p->choice == WPRS_CHOICE_REQUIRED ? wprs_bare_json(&wprs_format_guided, d, n, final)
                                                 : MATCH_NO;
    if (d[0] == '[') {
        char ch = 0;
        enum match m = after_blank(d, n, 1, final, &ch);
        return m == MATCH_FULL && ch != '{' ? MATCH_NO : m;
    }
    if (d[0] != '{' || p->choice == WPRS_CHOICE_REQUIRED)
        return d[0] == '{' ? MATCH_FULL : MATCH_NO;
    enum match native =
        p->tool->bare && p->tool->family == FAMILY_JSON ? native_object(p, d, n, final) : MATCH_NO;
    if (native == MATCH_NO)
        f->hit = HIT_ARGUMENTS;
    return native == MATCH_PART ? MATCH_PART : MATCH_FULL;
}

static enum match find_literal(const char *pattern, enum hit hit, const char *d, size_t n,
                               bool final, struct found *f) {
    struct slots s = {0};
    if (pattern == NULL)
        return MATCH_NO;
    enum match m = wprs_match(behind_blank(pattern), d, n, final, &s);
    if (m == MATCH_FULL) {
        f->hit = hit;
        f->len = s.len;
    }
    return m;
}

static enum match find_call(const struct wprs *p, const char *d, size_t n, bool final,
                            struct found *f) {
    const struct format *t = p->tool;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(t->start); i++) {
        enum match m = find_literal(t->start[i], HIT_BLOCK, d, n, final, f);
        if (m != MATCH_NO)
            return m;
    }
    if (!t->bare)
        return MATCH_NO;
    f->hit = HIT_BARE;
    f->len = 0;
    return t->family == FAMILY_PYTHON ? wprs_bare_python(d, n, final)
                                      : wprs_bare_json(t, d, n, final);
}

static enum match find_section(const struct wprs *p, const char *d, size_t n, bool final,
                               struct found *f) {
    const struct format *t = p->tool;
    enum match m = MATCH_NO;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(t->end) && m == MATCH_NO; i++)
        m = find_literal(t->end[i], HIT_CLOSE, d, n, final, f);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(t->call) && m == MATCH_NO; i++)
        if (t->call[i] != NULL && *behind_blank(t->call[i]) != '%')
            m = find_literal(t->call[i], HIT_RESUME, d, n, final, f);
    if (m == MATCH_NO && t->call_end != NULL)
        m = find_literal(t->call_end, HIT_DROP, d, n, final, f);
    return m;
}

static enum match find_in_text(const struct wprs *p, const char *d, size_t n, bool final,
                               struct found *f) {
    enum match m = MATCH_NO;
    if (p->tool != NULL)
        m = find_guided(p, d, n, final, f);
    if (m == MATCH_NO && p->envelope != ENVELOPE_NONE) {
        f->hit = HIT_HEADER;
        m = wprs_envelope(p->envelope, d, n, final, &f->len, &f->header, &f->name);
    }
    if (m == MATCH_NO && p->reasoning != NULL && !p->replay) {
        m = find_literal(p->reasoning->start, HIT_THINK, d, n, final, f);
        if (m == MATCH_NO && !p->reasoning->prose)
            m = find_literal(p->reasoning->end, HIT_DROP, d, n, final, f);
    }
    if (m == MATCH_NO && p->tool != NULL && p->in_section)
        m = find_section(p, d, n, final, f);
    if (m == MATCH_NO && p->tool != NULL)
        m = find_call(p, d, n, final, f);
    return m;
}

/* ---- what follows --------------------------------------------------------------------------- */

static void drop(struct cursor *c, size_t n) {
    c->d += n;
    c->n -= n;
}

static void begin_block(struct wprs *p, struct cursor *c, size_t len, const struct format *fmt) {
    static enum step (*const steps[])(struct wprs *, struct cursor *) = {
        [FAMILY_JSON] = wprs_step_json,      [FAMILY_ARGS] = wprs_step_json,
        [FAMILY_TAGS] = wprs_step_tags,      [FAMILY_TREE] = wprs_step_tree,
        [FAMILY_PYTHON] = wprs_step_literal, [FAMILY_GEMMA] = wprs_step_literal,
    };
    p->fmt = fmt;
    p->step = steps[fmt->family];
    p->sub = 0;
    p->block_calls = 0;
    p->list = p->in_section = p->bare = false;
    wprs_call_reset(p);
    weir_buf_clear(&p->raw);
    wprs_take(p, c, len);
    p->state = STATE_BLOCK;
}

static void begin_arguments(struct wprs *p, struct cursor *c, size_t len, const struct format *fmt,
                            struct weir_span name) {
    begin_block(p, c, len, fmt);
    p->step = wprs_step_json;
    p->sub = JSON_ARGUMENTS;
    (void)wprs_call_name(p, name); /* neither a header nor tool_choice has an empty one */
}

static void begin_reasoning(struct wprs *p) {
    p->ws_len = 0;
    p->start_seen = true;
    p->no_hold = false;
    p->reason_line = p->reasoned && p->reasoning->lines;
    wprs_enter(p, STATE_REASON);
}

static void end_reasoning(struct wprs *p) {
    p->gap = GAP_REASON;
    p->ws_len = 0;
    wprs_enter(p, STATE_TEXT);
}

static void on_header(struct wprs *p, struct cursor *c, const struct found *f) {
    switch (f->header) {
    case HEADER_REASON:
        drop(c, f->len);
        if (p->reasoning != NULL)
            begin_reasoning(p);
        break;
    case HEADER_CALL:
        if (p->tool == NULL) {
            wprs_content(p, c->d, f->len);
            drop(c, f->len);
            wprs_enter(p, STATE_MESSAGE);
        } else if (f->name.len > 0) {
            begin_arguments(p, c, f->len, p->tool, f->name);
        } else {
            begin_block(p, c, f->len, p->tool);
        }
        break;
    default:
        drop(c, f->len);
    }
}

static void on_found(struct wprs *p, struct cursor *c, const struct found *f) {
    switch (f->hit) {
    case HIT_GUIDED:
        begin_block(p, c, 0, &wprs_format_guided);
        break;
    case HIT_ARGUMENTS:
        begin_arguments(p, c, 0, &wprs_format_guided, p->choice_name);
        break;
    case HIT_HEADER:
        on_header(p, c, f);
        break;
    case HIT_THINK:
        drop(c, f->len);
        begin_reasoning(p);
        break;
    case HIT_CLOSE:
        p->in_section = false;
        wprs_enter(p, STATE_TEXT);
        drop(c, f->len);
        break;
    case HIT_DROP:
        drop(c, f->len);
        break;
    case HIT_BLOCK:
        begin_block(p, c, f->len, p->tool);
        break;
    case HIT_RESUME:
        begin_block(p, c, 0, p->tool);
        p->block_calls = 1;
        break;
    case HIT_BARE:
        begin_block(p, c, 0, p->tool);
        p->bare = true;
        break;
    }
}

enum step wprs_close_block(struct wprs *p) {
    if (p->block_calls == 0)
        return STEP_BREAK;
    weir_buf_clear(&p->raw);
    p->in_section = false;
    wprs_enter(p, STATE_TEXT);
    return STEP_GO;
}

enum step wprs_leave_block(struct wprs *p) {
    if (p->block_calls == 0)
        return STEP_BREAK;
    wprs_give_back(p);
    p->in_section = p->fmt == p->tool && p->tool->end[0] != NULL;
    wprs_enter(p, STATE_TEXT);
    return STEP_GO;
}

enum step wprs_end_of_text(struct wprs *p, struct cursor *c) {
    weir_buf_clear(&p->raw);
    c->n = 0;
    wprs_enter(p, STATE_TEXT);
    return STEP_GO;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static size_t to_trigger(const struct wprs *p, const char *d, size_t i, size_t n) {
    while (i < n && !p->trigger[(unsigned char)d[i]])
        i++;
    return i;
}

enum step wprs_step_text(struct wprs *p, struct cursor *c) {
    size_t i = 0;
    for (;;) {
        i = to_trigger(p, c->d, i, c->n);
        struct found f;
        enum match m = MATCH_NO;
        if (i < c->n) {
            /* What stands before decides whether guided decoding is looked for. */
            if (i > 0 && p->choice >= WPRS_CHOICE_REQUIRED && p->gap != GAP_NONE) {
                wprs_content(p, c->d, i);
                drop(c, i);
                i = 0;
            }
            m = find_in_text(p, c->d + i, c->n - i, c->final, &f);
            if (m == MATCH_NO) {
                i++;
                continue;
            }
        }
        wprs_content(p, c->d, i);
        drop(c, i);
        if (m != MATCH_FULL)
            return STEP_MORE;
        on_found(p, c, &f);
        return STEP_GO;
    }
}

static enum match find_in_reasoning(const struct wprs *p, const char *d, size_t n, bool final,
                                    struct found *f) {
    enum match m = find_literal(p->reasoning->end, HIT_CLOSE, d, n, final, f);
    if (m == MATCH_NO && !p->start_seen)
        m = find_literal(p->reasoning->start, HIT_DROP, d, n, final, f);
    if (m == MATCH_NO && p->envelope != ENVELOPE_NONE) {
        m = wprs_envelope(p->envelope, d, n, final, &f->len, &f->header, &f->name);
        f->hit = f->header == HEADER_CALL ? HIT_BLOCK : HIT_HEADER;
        /* Thinking about thinking is text; so is a call where none is looked for. */
        if (m == MATCH_FULL && (f->header == HEADER_REASON ||
                                (f->hit == HIT_BLOCK && (p->tool == NULL || p->no_hold))))
            m = MATCH_NO;
    }
    if (m == MATCH_NO && p->tool != NULL && !p->no_hold)
        m = find_call(p, d, n, final, f);
    return m;
}

/* Holds what follows a call's start back, and says false when too much is held already. */
static bool hold(struct wprs *p, struct cursor *c, size_t n) {
    if (n > p->held.max - p->held.len) {
        wprs_reason(p, p->held.data, p->held.len);
        weir_buf_clear(&p->held);
        p->no_hold = true;
        bool gap = p->reason_gap;
        wprs_enter(p, STATE_REASON);
        p->reason_gap = gap;
        return false;
    }
    wprs_put(p, &p->held, c->d, n);
    drop(c, n);
    return true;
}

enum step wprs_step_reason(struct wprs *p, struct cursor *c) {
    size_t i = 0;
    for (;;) {
        i = to_trigger(p, c->d, i, c->n);
        struct found f;
        enum match m = MATCH_NO;
        if (i < c->n) {
            m = find_in_reasoning(p, c->d + i, c->n - i, c->final, &f);
            if (m == MATCH_NO) {
                i++;
                continue;
            }
        }
        wprs_reason(p, c->d, i);
        drop(c, i);
        if (m != MATCH_FULL)
            return STEP_MORE;
        if (f.hit == HIT_BLOCK || f.hit == HIT_BARE) {
            p->nested = p->envelope != ENVELOPE_NONE;
            p->start_seen = true;
            wprs_enter(p, STATE_HOLD);
            size_t first = f.len > 0 ? f.len : 1;
            hold(p, c, first);
            return STEP_GO;
        }
        if (f.hit == HIT_DROP) {
            p->start_seen = true;
            drop(c, f.len);
            return STEP_GO;
        }
        drop(c, f.len);
        end_reasoning(p);
        return STEP_GO;
    }
}

/* The end tag shows that all of it was reasoning. */
static void held_is_reasoning(struct wprs *p) {
    wprs_reason(p, p->held.data, p->held.len);
    weir_buf_clear(&p->held);
    end_reasoning(p);
}

enum step wprs_step_hold(struct wprs *p, struct cursor *c) {
    size_t i = 0;
    for (;;) {
        i = to_trigger(p, c->d, i, c->n);
        struct found f = {0};
        enum match m = MATCH_NO;
        if (i < c->n) {
            m = p->envelope != ENVELOPE_NONE
                    ? wprs_envelope(p->envelope, c->d + i, c->n - i, c->final, &f.len, &f.header,
                                    &f.name)
                    : find_literal(p->reasoning->end, HIT_CLOSE, c->d + i, c->n - i, c->final, &f);
            if (m == MATCH_NO) {
                i++;
                continue;
            }
        }
        if (!hold(p, c, i))
            return STEP_GO;
        if (m != MATCH_FULL)
            return STEP_MORE;
        if (p->envelope == ENVELOPE_NONE || (f.header == HEADER_END && p->nested == 0)) {
            drop(c, f.len);
            held_is_reasoning(p);
        } else if (p->nested == 0 && f.header != HEADER_CALL) {
            wprs_replay(p); /* the next message has begun: the end tag was forgotten */
        } else {
            p->nested += f.header == HEADER_END ? -1u : 1u;
            hold(p, c, f.len);
        }
        return STEP_GO;
    }
}

enum step wprs_step_message(struct wprs *p, struct cursor *c) {
    size_t i = 0;
    for (;;) {
        i = to_trigger(p, c->d, i, c->n);
        struct found f = {0};
        enum match m = MATCH_NO;
        if (i < c->n) {
            m = wprs_envelope(p->envelope, c->d + i, c->n - i, c->final, &f.len, &f.header,
                              &f.name);
            if (m == MATCH_NO || (m == MATCH_FULL && f.header != HEADER_END)) {
                i++;
                continue;
            }
        }
        size_t end = i + (m == MATCH_FULL ? f.len : 0);
        wprs_content(p, c->d, end);
        drop(c, end);
        if (m != MATCH_FULL)
            return STEP_MORE;
        wprs_enter(p, STATE_TEXT);
        return STEP_GO;
    }
}
