/*
 * Calls whose parameters are elements named after them, and whose values may be elements again:
 * <item> for lists, names for objects. A mark before every tag makes tags unmistakable, so a value
 * ends where the end tag of its own name fits.
 */
#include "parsers/engine_priv.h"
#include "parsers/schema_priv.h"

enum {
    TOP,      /* a call, or the block's end */
    CHILDREN, /* an element, or the end tag of the one around */
    BODY,     /* behind an element's start tag: text or elements? */
    IN_TEXT,
};

static struct weir_span name_of(const struct wprs *p, unsigned level) {
    size_t from = p->levels[level].name;
    size_t end = level + 1 < p->depth ? p->levels[level + 1].name : p->names.len;
    return weir_span(p->names.data + from, end - from);
}

/* The end tag of the innermost element at d. */
static enum match end_tag(const struct wprs *p, const char *d, size_t n, bool final,
                          size_t *ret_len) {
    struct slots s = {0};
    enum match m = wprs_match(p->fmt->param_end, d, n, final, &s);
    if (m != MATCH_FULL)
        return m;
    struct weir_span name = name_of(p, p->depth - 1);
    size_t have = n - s.len < name.len ? n - s.len : name.len;
    if (memcmp(d + s.len, name.data, have) != 0)
        return MATCH_NO;
    if (have < name.len || n == s.len + name.len)
        return final ? MATCH_NO : MATCH_PART;
    *ret_len = s.len + name.len + 1;
    return d[s.len + name.len] == '>' ? MATCH_FULL : MATCH_NO;
}

/* … and a tag, or the end of all text, behind it. */
static enum match end_fits(const struct wprs *p, const char *d, size_t n, bool final,
                           size_t *ret_len) {
    enum match m = end_tag(p, d, n, final, ret_len);
    if (m != MATCH_FULL)
        return m == MATCH_PART && n > LOOK_MAX ? MATCH_NO : m;
    const char *mark = p->fmt->param; /* up to its '<' */
    size_t mark_len = strcspn(mark, "%");
    size_t at = *ret_len + wprs_ws_run(d + *ret_len, n - *ret_len);
    size_t have = n - at < mark_len ? n - at : mark_len;
    if (memcmp(d + at, mark, have) != 0 || at > LOOK_MAX)
        return MATCH_NO;
    return have == mark_len || final ? MATCH_FULL : MATCH_PART;
}

/* ---- elements ------------------------------------------------------------------------------- */

static void comma(struct wprs *p, struct level *l) {
    if (l->filled)
        wprs_put_z(p, &p->args, ",");
    l->filled = true;
}

/* The element around turns out to hold elements: an object or a list? */
static void decide(struct wprs *p, struct level *l, struct weir_span child) {
    if (l->kind != 0)
        return;
    unsigned types = wprs_schema_types(p->schema, l->schema);
    bool item = weir_span_eqz(child, "item");
    bool object = (types & TYPE_OBJECT) != 0 && (types & TYPE_ARRAY) == 0 &&
                  wprs_schema_property(p->schema, l->schema, child).data != NULL;
    l->kind = item && !object ? '[' : '{';
    wprs_put_z(p, &p->args, l->kind == '[' ? "[" : "{");
}

static enum step open_element(struct wprs *p, struct cursor *c, const struct slots *s) {
    struct weir_span name = s->name;
    if (p->depth == DEPTH_MAX || name.data[0] == '/')
        return STEP_BREAK;
    struct weir_span schema;
    if (p->depth == 0) {
        wprs_put_z(p, &p->args, p->filled ? "," : "{");
        p->filled = true;
        schema = wprs_schema_property(p->schema, p->schema, name);
    } else {
        struct level *l = &p->levels[p->depth - 1];
        decide(p, l, name);
        comma(p, l);
        schema = l->kind == '[' ? wprs_schema_items(p->schema, l->schema)
                                : wprs_schema_property(p->schema, l->schema, name);
    }
    if (p->depth == 0 || p->levels[p->depth - 1].kind == '{') {
        wprs_put_z(p, &p->args, "\"");
        wprs_put_escaped(p, &p->args, name.data, name.len);
        wprs_put_z(p, &p->args, "\":");
    }
    p->levels[p->depth++] = (struct level){.name = p->names.len, .schema = schema};
    wprs_put(p, &p->names, name.data, name.len);
    wprs_take_given(p, c, s->len);
    weir_buf_clear(&p->value);
    p->sub = BODY;
    return STEP_GO;
}

static void close_element(struct wprs *p, struct cursor *c, size_t len) {
    wprs_take_given(p, c, len);
    p->names.len = p->levels[--p->depth].name;
    p->sub = CHILDREN;
}

/* Text, or nothing, between the tags. */
static void put_text(struct wprs *p) {
    const struct level *l = &p->levels[p->depth - 1];
    unsigned types = wprs_schema_types(p->schema, l->schema);
    struct weir_span text = weir_buf_span(&p->value);
    if (text.len == 0 && (types & TYPE_STRING) == 0 && (types & (TYPE_ARRAY | TYPE_OBJECT)) != 0) {
        wprs_put_z(p, &p->args, (types & TYPE_ARRAY) != 0 ? "[]" : "{}");
        return;
    }
    enum weir_status st = wprs_schema_value(types, text, false, &p->args);
    p->over |= st == WEIR_TOO_LARGE;
    if (st != WEIR_OK && st != WEIR_TOO_LARGE)
        p->status = st;
}

static enum step text_step(struct wprs *p, struct cursor *c) {
    const char first = p->fmt->param_end[0];
    size_t i = 0, len = 0;
    enum match m = MATCH_NO;
    for (; i < c->n; i++) {
        if (c->d[i] != first)
            continue;
        m = end_fits(p, c->d + i, c->n - i, c->final, &len);
        if (m != MATCH_NO)
            break;
    }
    wprs_put(p, &p->value, c->d, i);
    wprs_take(p, c, i);
    if (m != MATCH_FULL)
        return STEP_MORE;
    put_text(p);
    close_element(p, c, len);
    return STEP_GO;
}

/* A tag that opens an element here makes the value a container; all else is text. */
static enum step body_step(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    size_t ws = wprs_ws_run(c->d, c->n), len = 0;
    if (ws == c->n)
        return c->n > LOOK_MAX ? (p->sub = IN_TEXT, STEP_GO) : STEP_MORE;
    enum match m = wprs_match(p->fmt->param, c->d + ws, c->n - ws, c->final, &s);
    if (m == MATCH_FULL && s.name.data[0] != '/') {
        wprs_take(p, c, ws);
        return open_element(p, c, &s);
    }
    enum match end = end_tag(p, c->d, c->n, c->final, &len);
    if (end == MATCH_PART || m == MATCH_PART)
        return STEP_MORE;
    p->sub = IN_TEXT;
    return STEP_GO;
}

static enum step children_step(struct wprs *p, struct cursor *c) {
    struct slots s = {0};
    size_t len = 0;
    enum match end = p->depth > 0 ? end_tag(p, c->d, c->n, c->final, &len)
                                  : wprs_match(p->fmt->call_end, c->d, c->n, c->final, &s);
    if (end == MATCH_FULL && p->depth > 0) {
        wprs_put_z(p, &p->args, p->levels[p->depth - 1].kind == '[' ? "]" : "}");
        close_element(p, c, len);
        return STEP_GO;
    }
    if (end == MATCH_FULL) {
        wprs_take(p, c, s.len);
        wprs_put_z(p, &p->args, p->filled ? "}" : "{}");
        wprs_call_done(p);
        p->sub = TOP;
        return STEP_GO;
    }
    enum match m = wprs_match(p->fmt->param, c->d, c->n, c->final, &s);
    if (m == MATCH_FULL)
        return open_element(p, c, &s);
    return m == MATCH_PART || end == MATCH_PART ? STEP_MORE : STEP_BREAK;
}

enum step wprs_step_tree(struct wprs *p, struct cursor *c) {
    if (p->sub == IN_TEXT)
        return c->n == 0 ? STEP_MORE : text_step(p, c);
    if (p->sub == BODY)
        return c->n == 0 ? STEP_MORE : body_step(p, c);
    wprs_take_ws(p, c);
    if (p->over)
        return STEP_BREAK;
    if (p->sub == TOP)
        return wprs_step_tags_top(p, c);
    return c->n == 0 ? STEP_MORE : children_step(p, c);
}
