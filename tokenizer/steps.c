/*
 * A generic list of splitters, for tokenizers whose list is not one that is scanned by hand. Each
 * step runs over every piece that the step before left, also over isolated matches.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/regex_priv.h"
#include "tokenizer/unicode.h"
#include "tokenizer/units_priv.h"

typedef unsigned char u8;

struct piece {
    size_t from, to;
    bool match;
};
struct pieces {
    struct piece *items; /* owned */
    size_t n, cap;
};

static bool add(struct pieces *p, size_t from, size_t to, bool match) {
    if (p->n == p->cap) {
        size_t cap = p->cap == 0 ? 64 : p->cap * 2;
        struct piece *items = weir_realloc(p->items, cap * sizeof(*items));
        if (items == NULL)
            return false;
        p->items = items;
        p->cap = cap;
    }
    p->items[p->n++] = (struct piece){from, to, match};
    return true;
}

/* ---- what a step finds in a piece ------------------------------------------------------------ */

static enum weir_status find_regex(const struct wtok_regex *r, struct weir_span text, size_t from,
                                   size_t to, struct pieces *out) {
    struct weir_span piece = weir_span(text.data + from, to - from);
    struct wtok_match *match = wtok_match_create(r);
    size_t done = 0, at = 0, a, b;
    enum weir_status st = match != NULL ? WEIR_OK : WEIR_NOMEM;
    while (st == WEIR_OK && at <= piece.len) {
        st = wtok_regex_find(r, match, piece, at, &a, &b);
        if (st != WEIR_OK)
            break;
        if (a == b) { /* an empty match splits nothing */
            unsigned n = 1;
            if (a < piece.len)
                (void)wtok_char((const u8 *)piece.data + a, &n);
            at = a + n;
            continue;
        }
        if (a > done && !add(out, from + done, from + a, false))
            st = WEIR_NOMEM;
        if (st == WEIR_OK && !add(out, from + a, from + b, true))
            st = WEIR_NOMEM;
        done = at = b;
    }
    wtok_match_destroy(match);
    if (st == WEIR_NOT_FOUND || st == WEIR_OK)
        st = done == piece.len || add(out, from + done, to, false) ? WEIR_OK : WEIR_NOMEM;
    return st;
}

static bool find_string(struct weir_span needle, struct weir_span text, size_t from, size_t to,
                        struct pieces *out) {
    size_t done = from;
    while (done < to) {
        const char *hit = memmem(text.data + done, to - done, needle.data, needle.len);
        size_t at = hit != NULL ? (size_t)(hit - text.data) : to;
        if (at > done && !add(out, done, at, false))
            return false;
        if (hit != NULL && !add(out, at, at + needle.len, true))
            return false;
        done = hit != NULL ? at + needle.len : to;
    }
    return true;
}

/* Characters of a class; a run of them is one match unless `single`. */
static bool find_class(unsigned mask, bool single, struct weir_span text, size_t from, size_t to,
                       struct pieces *out) {
    for (size_t at = from; at < to;) {
        unsigned n;
        const u8 *p = (const u8 *)text.data;
        bool in = (wtok_class_of(wtok_char(p + at, &n)) & mask) != 0;
        size_t end = at + n;
        while (end < to && !(in && single) &&
               ((wtok_class_of(wtok_char(p + end, &n)) & mask) != 0) == in)
            end += n;
        if (!add(out, at, end, in))
            return false;
        at = end;
    }
    return true;
}

static bool find_words(enum wtok_family family, struct weir_span text, size_t from, size_t to,
                       struct pieces *out) {
    const u8 *p = (const u8 *)text.data + from, *e = (const u8 *)text.data + to, *run = NULL;
    while (p < e) {
        const u8 *q = wtok_scan_next(family, p, e, &run);
        if (!add(out, (size_t)(p - (const u8 *)text.data), (size_t)(q - (const u8 *)text.data),
                 true))
            return false;
        p = q;
    }
    return true;
}

/* ---- what a behaviour makes of it ------------------------------------------------------------ */

static bool merge_matches(const struct pieces *in, enum wtok_behaviour how, bool invert,
                          struct pieces *out) {
    bool before = false, ok = true;
    size_t first = out->n;
    for (size_t k = 0; k < in->n && ok; k++) {
        size_t i = how == WTOK_MERGED_NEXT ? in->n - 1 - k : k;
        const struct piece *p = &in->items[i];
        bool match = p->match != invert, joins = false;
        if (how == WTOK_REMOVED && match)
            continue;
        if (how == WTOK_MERGED_PREVIOUS || how == WTOK_MERGED_NEXT)
            joins = match && !before;
        else if (how == WTOK_CONTIGUOUS)
            joins = match == before;
        before = match;
        if (!joins || out->n == first)
            ok = add(out, p->from, p->to, false);
        else if (how == WTOK_MERGED_NEXT)
            out->items[out->n - 1].from = p->from;
        else
            out->items[out->n - 1].to = p->to;
    }
    if (how == WTOK_MERGED_NEXT)
        for (size_t a = first, b = out->n; a + 1 < b; a++) {
            struct piece t = out->items[a];
            out->items[a] = out->items[--b];
            out->items[b] = t;
        }
    return ok;
}

static enum weir_status run_step(const struct wtok_model *m, size_t index, struct weir_span text,
                                 struct piece p, struct pieces *found, struct pieces *out) {
    const struct wtok_step *s = &m->splitters[index];
    enum wtok_behaviour how = WTOK_ISOLATED;
    enum weir_status st = WEIR_OK;
    bool ok = true;
    found->n = 0;
    switch (s->kind) {
    case WTOK_STEP_REGEX:
        st = find_regex(m->regexes[index], text, p.from, p.to, found);
        how = (enum wtok_behaviour)s->arg;
        break;
    case WTOK_STEP_STRING:
        ok = find_string(wtok_image_text(m, s->a), text, p.from, p.to, found);
        how = (enum wtok_behaviour)s->arg;
        break;
    case WTOK_STEP_DIGITS:
        ok = find_class(WTOK_N, s->flags != 0, text, p.from, p.to, found);
        break;
    case WTOK_STEP_WHITESPACE_SPLIT:
        ok = find_class(WTOK_WS, false, text, p.from, p.to, found);
        how = WTOK_REMOVED;
        break;
    default:
        ok = find_words((enum wtok_family)s->arg, text, p.from, p.to, found);
        break;
    }
    if (st != WEIR_OK)
        return st;
    return ok && merge_matches(found, how, (s->flags & 1) != 0 && how != WTOK_ISOLATED, out)
               ? WEIR_OK
               : WEIR_NOMEM;
}

/* add_prefix_space: each piece that does not begin with a space gets one; the text is rebuilt. */
static enum weir_status prefix_spaces(struct pieces *in, struct weir_buf *text) {
    struct weir_buf out;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&out, text->max);
    for (size_t i = 0; i < in->n && st == WEIR_OK; i++) {
        struct piece *p = &in->items[i];
        size_t from = out.len;
        if (text->data[p->from] != ' ')
            st = weir_buf_append_c(&out, ' ');
        if (st == WEIR_OK)
            st = weir_buf_append(&out, text->data + p->from, p->to - p->from);
        *p = (struct piece){from, out.len, false};
    }
    if (st == WEIR_OK)
        weir_buf_move(text, &out);
    weir_buf_fini(&out);
    return st;
}

/* ---- a text --------------------------------------------------------------------------------- */

static enum weir_status split(const struct wtok_model *m, struct weir_buf *text,
                              struct pieces *now) {
    struct pieces next = {0}, found = {0};
    enum weir_status st = add(now, 0, text->len, false) ? WEIR_OK : WEIR_NOMEM;
    for (size_t s = 0; s < m->n_splitters && st == WEIR_OK; s++) {
        if (m->splitters[s].kind == WTOK_STEP_PREFIX_SPACE) {
            st = prefix_spaces(now, text);
            continue;
        }
        next.n = 0;
        for (size_t i = 0; i < now->n && st == WEIR_OK; i++)
            st = run_step(m, s, weir_buf_span(text), now->items[i], &found, &next);
        struct pieces swap = *now;
        *now = next;
        next = swap;
    }
    weir_free(next.items);
    weir_free(found.items);
    return st;
}

enum weir_status wtok_encode_steps(const struct wtok_model *m, struct wtok_context *ctx,
                                   struct weir_span text, struct wtok_out *out) {
    static const char pad[WTOK_PAD];
    struct pieces pieces = {0};
    weir_buf_clear(&ctx->steps);
    enum weir_status st = weir_buf_append_span(&ctx->steps, text);
    if (st == WEIR_OK)
        st = split(m, &ctx->steps, &pieces);
    if (st == WEIR_OK)
        st = weir_buf_append(&ctx->steps, pad, sizeof(pad)); /* words are read in whole vectors */
    for (size_t i = 0; i < pieces.n && st == WEIR_OK; i++)
        st = wtok_encode_word(m, ctx, (const u8 *)ctx->steps.data + pieces.items[i].from,
                              pieces.items[i].to - pieces.items[i].from, out);
    weir_free(pieces.items);
    if (st == WEIR_OK)
        st = wtok_units_flush(m, ctx, out);
    if (st != WEIR_OK)
        wtok_units_drop(ctx);
    return st;
}

enum weir_status wtok_steps_open(struct wtok_model *m, struct weir_err *err) {
    if (m->image->family != WTOK_GENERIC)
        return WEIR_OK;
    m->regexes = weir_calloc(m->n_splitters + 1, sizeof(struct wtok_regex *));
    if (m->regexes == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory while loading the tokenizer");
    for (size_t i = 0; i < m->n_splitters; i++) {
        if (m->splitters[i].kind != WTOK_STEP_REGEX)
            continue;
        struct weir_span pattern = wtok_image_text(m, m->splitters[i].a);
        enum weir_status st = wtok_regex_create(pattern, &m->regexes[i], err);
        if (st != WEIR_OK)
            return st;
        WEIR_LOG(WEIR_LOG_WARN, "tokenizer",
                 "the splitting pattern is none of the known ones and runs on PCRE2: slower, and "
                 "characters that are new in Unicode may be split otherwise than by the engine: "
                 "%.*s",
                 WEIR_SPAN_ARG(weir_utf8_cut(pattern, 200)));
    }
    return WEIR_OK;
}

void wtok_steps_close(struct wtok_model *m) {
    for (size_t i = 0; m->regexes != NULL && i < m->n_splitters; i++)
        wtok_regex_destroy(m->regexes[i]);
    weir_free(m->regexes);
}
