/*
 * Calls whose arguments are JSON in the text: objects {"name": N, "arguments": {…}}, alone, in a
 * row or in a list, and names between markers with the arguments object behind. The arguments pass
 * through as they stand; they are only checked.
 */
#include "base/json.h"
#include "parsers/engine_priv.h"

/* JSON_TOP and JSON_ARGUMENTS come first: engine_priv.h. */
enum {
    TOP = JSON_TOP,             /* a call, a list, or the block's end */
    ARGUMENTS = JSON_ARGUMENTS, /* the arguments object of a name that stood before */
    IN_ARGUMENTS,
    ITEM,      /* an object of the list */
    FIRST_KEY, /* behind { */
    KEY,       /* behind , */
    COLON,
    VALUE,
    IN_VALUE,  /* a member that does not matter */
    IN_OBJECT, /* the arguments */
    IN_STRING, /* … written as a string that holds JSON */
    COMMA,     /* behind a member */
    NEXT,      /* behind a call */
    SEPARATED, /* behind a call and a separator */
    LIST_END,  /* behind ] */
};
enum { KEY_OTHER, KEY_NAME, KEY_ARGUMENTS };

/* ---- does a bare object look like a call? --------------------------------------------------- */

enum match wprs_bare_json(const struct format *fmt, const char *d, size_t n, bool final) {
    static const char *const shapes[] = {"{%s\"name\"", "{%s\"parameters\"", "{%s\"arguments\"",
                                         "[%s{%s\"name\""};
    enum match best = MATCH_NO;
    size_t n_shapes = WEIR_ARRAY_LEN(shapes) - (fmt->bare_list ? 0 : 1);
    for (size_t i = 0; i < n_shapes && best != MATCH_FULL; i++) {
        struct slots s = {0};
        enum match m = wprs_match(shapes[i], d, n < LOOK_MAX ? n : LOOK_MAX, final, &s);
        best = m > best ? m : best;
    }
    return best == MATCH_PART && n >= LOOK_MAX ? MATCH_NO : best;
}

/* ---- members of a call object --------------------------------------------------------------- */

/* The string token at the cursor: its length with quotes, or 0 when it goes on (or never ends). */
static size_t string_token(const struct cursor *c) {
    for (size_t i = 1; i < c->n && i <= NAME_MAX; i++) {
        if (c->d[i] == '\\')
            i++;
        else if (c->d[i] == '"')
            return i + 1;
    }
    return 0;
}

static enum step read_key(struct wprs *p, struct cursor *c) {
    size_t len = string_token(c);
    if (len == 0)
        return c->n > NAME_MAX ? STEP_BREAK : STEP_MORE;
    struct weir_span key = weir_span(c->d + 1, len - 2);
    p->key_kind = weir_span_eqz(key, "name") ? KEY_NAME
                  : weir_span_eqz(key, "arguments") || weir_span_eqz(key, "parameters") ||
                          weir_span_eqz(key, "args")
                      ? KEY_ARGUMENTS
                      : KEY_OTHER;
    wprs_take(p, c, len);
    p->sub = COLON;
    return STEP_GO;
}

static enum step read_name(struct wprs *p, struct cursor *c) {
    if (c->d[0] != '"')
        return STEP_BREAK;
    size_t len = string_token(c);
    if (len == 0)
        return c->n > NAME_MAX ? STEP_BREAK : STEP_MORE;
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, weir_span(c->d, len), 1);
    if (!weir_json_string(&j, &s) || s.raw.len == 0)
        return STEP_BREAK;
    weir_buf_clear(&p->value);
    enum weir_status st = weir_json_unescape(s, &p->value);
    if (st == WEIR_TOO_LARGE)
        return STEP_BREAK;
    if (st != WEIR_OK) {
        p->status = st;
        return STEP_GO;
    }
    if (!wprs_call_name(p, weir_buf_span(&p->value)))
        return STEP_BREAK;
    wprs_take(p, c, len);
    p->sub = COMMA;
    if (p->have_args && !p->args_rewritten)
        wprs_call_start(p);
    return STEP_GO;
}

static enum step begin_value(struct wprs *p, struct cursor *c) {
    if (p->key_kind == KEY_NAME)
        return read_name(p, c);
    if (p->key_kind == KEY_ARGUMENTS && p->have_args && p->started && c->d[0] != 'n')
        return STEP_BREAK; /* the last would count, and the first have been given out */
    jscan_init(&p->scan);
    p->sub = IN_VALUE;
    if (p->key_kind == KEY_ARGUMENTS && c->d[0] == '{') {
        p->sub = IN_OBJECT;
        p->args_len = 0;
        p->args_rewritten = false;
        if (p->have_name)
            wprs_call_start(p);
    } else if (p->key_kind == KEY_ARGUMENTS && c->d[0] == '"') {
        p->sub = IN_STRING;
        p->args_len = 0;
    } else if (p->key_kind == KEY_ARGUMENTS && c->d[0] != 'n') {
        return STEP_BREAK; /* null stands for none */
    }
    return STEP_GO;
}

/* The arguments were a string: what it holds must be an object. */
static bool unwrap_arguments(struct wprs *p) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, weir_span(p->raw.data + p->args_off, p->args_len), 1);
    if (!weir_json_string(&j, &s))
        return false;
    weir_buf_clear(&p->args);
    enum weir_status st = weir_json_unescape(s, &p->args);
    if (st != WEIR_OK && st != WEIR_TOO_LARGE)
        p->status = st;
    p->args_rewritten = true;
    return st == WEIR_OK && jscan_whole(p->args.data, p->args.len, '{');
}

static enum step scan_value(struct wprs *p, struct cursor *c) {
    size_t used = 0;
    enum jscan_result r = jscan_feed(&p->scan, c->d, c->n, &used);
    const unsigned sub = p->sub;
    if (sub == IN_VALUE)
        wprs_take(p, c, used);
    else
        wprs_take_args(p, c, used);
    if (r == JSCAN_BAD)
        return STEP_BREAK;
    if (r == JSCAN_MORE)
        return STEP_MORE;
    if (sub == IN_STRING && !p->over && !unwrap_arguments(p))
        return STEP_BREAK;
    if (sub != IN_VALUE)
        p->have_args = true;
    p->sub = COMMA;
    if (sub == IN_ARGUMENTS) {
        wprs_call_done(p);
        p->sub = NEXT;
    }
    return STEP_GO;
}

static enum step end_object(struct wprs *p, struct cursor *c) {
    wprs_take(p, c, 1);
    if (!p->have_name || (p->bare && !p->have_args))
        return STEP_BREAK;
    wprs_call_done(p);
    p->sub = NEXT;
    return STEP_GO;
}

static void begin_object(struct wprs *p, struct cursor *c) {
    if (p->block_calls > 0)
        weir_buf_clear(&p->raw); /* what separates calls is none of theirs */
    wprs_call_reset(p);
    wprs_take(p, c, 1);
    p->sub = FIRST_KEY;
}

static enum step object_step(struct wprs *p, struct cursor *c) {
    const char ch = c->d[0];
    switch (p->sub) {
    case FIRST_KEY:
        return ch == '"' ? read_key(p, c) : ch == '}' ? end_object(p, c) : STEP_BREAK;
    case KEY:
        return ch == '"' ? read_key(p, c) : STEP_BREAK;
    case COLON:
        if (ch != ':')
            return STEP_BREAK;
        wprs_take(p, c, 1);
        p->sub = VALUE;
        return STEP_GO;
    case VALUE:
        return begin_value(p, c);
    default: /* COMMA */
        if (ch == '}')
            return end_object(p, c);
        if (ch != ',')
            return STEP_BREAK;
        wprs_take(p, c, 1);
        p->sub = KEY;
        return STEP_GO;
    }
}

/* ---- around the objects --------------------------------------------------------------------- */

/* A name between markers; its arguments follow. */
static enum step named_call(struct wprs *p, struct cursor *c, const struct slots *s) {
    struct weir_span name = s->name;
    if (p->block_calls > 0)
        weir_buf_clear(&p->raw);
    wprs_call_reset(p);
    if (!wprs_call_name(p, name))
        return STEP_BREAK;
    wprs_take(p, c, s->len);
    p->sub = ARGUMENTS;
    return STEP_GO;
}

static enum step top_step(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    if (p->fmt->family == FAMILY_JSON && c->d[0] == '{') {
        begin_object(p, c);
        return STEP_GO;
    }
    if (p->fmt->family == FAMILY_JSON && c->d[0] == '[') {
        wprs_take(p, c, 1);
        p->list = true;
        p->sub = ITEM;
        return STEP_GO;
    }
    enum match m = wprs_match_any(p->fmt->call, WEIR_ARRAY_LEN(p->fmt->call), c, &s);
    return m == MATCH_FULL ? named_call(p, c, &s) : m == MATCH_PART ? STEP_MORE : STEP_BREAK;
}

static enum step take_to(struct wprs *p, struct cursor *c, size_t n, unsigned sub) {
    wprs_take(p, c, n);
    p->sub = sub;
    return STEP_GO;
}

static enum step next_step(struct wprs *p, struct cursor *c) {
    const struct format *f = p->fmt;
    const char ch = c->d[0];
    struct slots s = {0};
    /* Markers may be cut off by the end of the text: ask as if more came. */
    struct cursor open = {c->d, c->n, false};
    if (p->list && p->sub == NEXT && (ch == ',' || ch == ']')) {
        p->list = ch == ',';
        take_to(p, c, 1, ch == ',' ? ITEM : LIST_END);
        if (ch == ']')
            weir_buf_clear(&p->raw); /* layout, whatever follows */
        return STEP_GO;
    }
    enum match m = wprs_match_any(f->end, WEIR_ARRAY_LEN(f->end), &open, &s);
    if (m == MATCH_FULL) {
        wprs_take(p, c, s.len);
        return wprs_close_block(p);
    }
    if (m == MATCH_PART)
        return c->final ? wprs_end_of_text(p, c) : STEP_MORE;
    if (p->list)
        return wprs_leave_block(p);
    if (p->sub == NEXT && f->separator != '\0' && ch == f->separator)
        return take_to(p, c, 1, SEPARATED);
    if (p->sub == SEPARATED && ch == '{') {
        begin_object(p, c);
        return STEP_GO;
    }
    if (f->call_end != NULL) {
        m = wprs_match(f->call_end, open.d, open.n, false, &s);
        if (m == MATCH_FULL)
            return take_to(p, c, s.len, NEXT);
        if (m == MATCH_PART)
            return c->final ? wprs_end_of_text(p, c) : STEP_MORE;
    }
    if (f->family == FAMILY_ARGS) {
        m = wprs_match_any(f->call, WEIR_ARRAY_LEN(f->call), c, &s);
        if (m == MATCH_FULL)
            return named_call(p, c, &s);
        if (m == MATCH_PART)
            return STEP_MORE;
    }
    return wprs_leave_block(p);
}

enum step wprs_step_json(struct wprs *p, struct cursor *c) {
    if (p->sub == IN_ARGUMENTS || (p->sub >= IN_VALUE && p->sub <= IN_STRING))
        return c->n == 0 ? STEP_MORE : scan_value(p, c);
    wprs_take_ws(p, c);
    if (p->over)
        return STEP_BREAK;
    const bool behind = p->sub >= NEXT && p->block_calls > 0;
    if (c->n == 0)
        return behind && c->final ? wprs_end_of_text(p, c) : STEP_MORE;
    if (p->sub >= NEXT)
        return next_step(p, c);
    switch (p->sub) {
    case TOP:
        return top_step(p, c);
    case ARGUMENTS:
        if (c->d[0] != '{')
            return STEP_BREAK;
        jscan_init(&p->scan);
        wprs_call_start(p);
        p->sub = IN_ARGUMENTS;
        return STEP_GO;
    case ITEM:
        if (c->d[0] != '{')
            return STEP_BREAK;
        begin_object(p, c);
        return STEP_GO;
    default:
        return object_step(p, c);
    }
}
