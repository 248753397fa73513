#include "test/unit/parsers/collect.h"

#include "base/json.h"
#include "test/check.h"

enum { TEXT_MAX = 64 << 20 };

void collected_init(struct collected *c) {
    memset(c, 0, sizeof(*c));
    weir_buf_init(&c->content, TEXT_MAX);
    weir_buf_init(&c->reasoning, TEXT_MAX);
    for (int i = 0; i < COLLECT_CALLS; i++) {
        weir_buf_init(&c->names[i], TEXT_MAX);
        weir_buf_init(&c->args[i], TEXT_MAX);
    }
}

void collected_fini(struct collected *c) {
    weir_buf_fini(&c->content);
    weir_buf_fini(&c->reasoning);
    for (int i = 0; i < COLLECT_CALLS; i++) {
        weir_buf_fini(&c->names[i]);
        weir_buf_fini(&c->args[i]);
    }
}

void collected_clear(struct collected *c) {
    weir_buf_clear(&c->content);
    weir_buf_clear(&c->reasoning);
    for (unsigned i = 0; i < c->n_calls; i++) {
        weir_buf_clear(&c->names[i]);
        weir_buf_clear(&c->args[i]);
        c->done[i] = false;
    }
    c->n_calls = c->n_deltas = 0;
    c->broken_order = false;
}

static bool buf_eq(const struct weir_buf *a, const struct weir_buf *b) {
    return weir_span_eq(weir_buf_span(a), weir_buf_span(b));
}

bool collected_eq(const struct collected *a, const struct collected *b) {
    if (!buf_eq(&a->content, &b->content) || !buf_eq(&a->reasoning, &b->reasoning) ||
        a->n_calls != b->n_calls || a->finish != b->finish)
        return false;
    for (unsigned i = 0; i < a->n_calls; i++)
        if (!buf_eq(&a->names[i], &b->names[i]) || !buf_eq(&a->args[i], &b->args[i]) ||
            a->done[i] != b->done[i])
            return false;
    return true;
}

const char *collected_text(const struct collected *c) {
    static char text[2][4096];
    static int turn;
    char *out = text[turn ^= 1];
    int n = snprintf(out, sizeof(text[0]), "content [%.*s] reasoning [%.*s]", (int)c->content.len,
                     c->content.data, (int)c->reasoning.len, c->reasoning.data);
    for (unsigned i = 0; i < c->n_calls && n >= 0 && (size_t)n < sizeof(text[0]); i++)
        n += snprintf(out + n, sizeof(text[0]) - (size_t)n, " call %.*s(%.*s)%s",
                      (int)c->names[i].len, c->names[i].data, (int)c->args[i].len, c->args[i].data,
                      c->done[i] ? "" : " open");
    return out;
}

static void on_delta(void *arg, const struct wprs_delta *d) {
    struct collected *c = arg;
    enum weir_status st = WEIR_OK;
    c->n_deltas++;
    bool open = c->n_calls > 0 && !c->done[c->n_calls - 1] && d->index == c->n_calls - 1;
    switch (d->kind) {
    case WPRS_CONTENT:
        c->broken_order |= d->text.len == 0;
        st = weir_buf_append_span(&c->content, d->text);
        break;
    case WPRS_REASONING:
        c->broken_order |= d->text.len == 0;
        st = weir_buf_append_span(&c->reasoning, d->text);
        break;
    case WPRS_CALL:
        c->broken_order |= d->index != c->n_calls || d->id.len == 0 || d->name.len == 0 ||
                           d->index >= COLLECT_CALLS;
        if (d->index >= COLLECT_CALLS)
            return;
        c->n_calls = d->index + 1;
        st = weir_buf_append_span(&c->names[d->index], d->name);
        if (st == WEIR_OK)
            st = weir_buf_append_span(&c->args[d->index], d->text);
        break;
    case WPRS_ARGUMENTS:
        c->broken_order |= !open || d->text.len == 0;
        if (open)
            st = weir_buf_append_span(&c->args[d->index], d->text);
        break;
    case WPRS_CALL_END:
        c->broken_order |= !open;
        if (open)
            c->done[d->index] = true;
        break;
    case WPRS_CALL_CUT:
        c->broken_order |= !open;
        break;
    }
    c->broken_order |= st != WEIR_OK;
}

void collect(const struct wprs_options *o, struct weir_span text, const size_t *cuts, size_t n_cuts,
             size_t step, enum wprs_finish finish, struct collected *out) {
    struct wprs *p = NULL;
    struct weir_err err;
    collected_clear(out);
    CHECK_MSG(wprs_create(o, &p, &err) == WEIR_OK, "create: %s", err.text);
    bool ok = true;
    size_t at = 0;
    for (size_t i = 0; ok && step == 0 && i < n_cuts; i++) {
        ok = wprs_feed(p, weir_span(text.data + at, cuts[i] - at), on_delta, out) == WEIR_OK;
        at = cuts[i];
    }
    for (; ok && step > 0 && at + step < text.len; at += step)
        ok = wprs_feed(p, weir_span(text.data + at, step), on_delta, out) == WEIR_OK;
    ok = ok && wprs_feed(p, weir_span(text.data + at, text.len - at), on_delta, out) == WEIR_OK &&
         wprs_finish(p, finish, on_delta, out, &out->finish) == WEIR_OK;
    wprs_destroy(p);
    CHECK(ok);
}

static bool equal_value(struct weir_json *a, struct weir_json *b) {
    struct weir_json_str s, t;
    struct weir_span x, y;
    enum weir_json_type type = weir_json_peek(a);
    if (type != weir_json_peek(b))
        return false;
    if (type == WEIR_JSON_OBJECT) {
        if (!weir_json_object_enter(a) || !weir_json_object_enter(b))
            return false;
        for (;;) {
            bool more = weir_json_object_next(a, &s);
            if (more != weir_json_object_next(b, &t))
                return false;
            if (!more)
                return true;
            if (!weir_span_eq(s.raw, t.raw) || !equal_value(a, b))
                return false;
        }
    }
    if (type == WEIR_JSON_ARRAY) {
        if (!weir_json_array_enter(a) || !weir_json_array_enter(b))
            return false;
        for (;;) {
            bool more = weir_json_array_next(a);
            if (more != weir_json_array_next(b))
                return false;
            if (!more)
                return true;
            if (!equal_value(a, b))
                return false;
        }
    }
    if (type != WEIR_JSON_STRING)
        return weir_json_skip(a, &x) && weir_json_skip(b, &y) && weir_span_eq(x, y);
    struct weir_buf one, two;
    weir_buf_init(&one, TEXT_MAX);
    weir_buf_init(&two, TEXT_MAX);
    bool same = weir_json_string(a, &s) && weir_json_string(b, &t) &&
                weir_json_unescape(s, &one) == WEIR_OK && weir_json_unescape(t, &two) == WEIR_OK &&
                buf_eq(&one, &two);
    weir_buf_fini(&one);
    weir_buf_fini(&two);
    return same;
}

bool json_equal(struct weir_span a, struct weir_span b) {
    struct weir_json x, y;
    weir_json_init(&x, a, 512);
    weir_json_init(&y, b, 512);
    return equal_value(&x, &y) && weir_json_finish(&x) && weir_json_finish(&y);
}

bool json_is_object(struct weir_span text) {
    struct weir_json j;
    weir_json_init(&j, text, 512);
    return weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_skip(&j, NULL) &&
           weir_json_finish(&j);
}

static bool is_ws(char ch) {
    return ch == ' ' || ch == '\n' || ch == '\t' || ch == '\r';
}

bool text_equal(struct weir_span a, struct weir_span b, bool blanks_matter) {
    a = weir_span_trim(a);
    b = weir_span_trim(b);
    size_t i = 0, k = 0;
    while (i < a.len || k < b.len) {
        size_t i0 = i, k0 = k;
        while (i < a.len && is_ws(a.data[i]))
            i++;
        while (k < b.len && is_ws(b.data[k]))
            k++;
        if (blanks_matter && (i > i0) != (k > k0))
            return false;
        if (i == a.len || k == b.len)
            return i == a.len && k == b.len;
        if (a.data[i++] != b.data[k++])
            return false;
    }
    return true;
}
