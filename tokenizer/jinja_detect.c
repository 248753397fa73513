/*
 * Does a template walk over the parts of message.content? The rule by which vLLM chooses its
 * content format "openai" instead of "string": a loop over messages, and in any loop the content of
 * its variable, each possibly through assignments.
 */
#include "tokenizer/jinja_priv.h"

enum { MAX_NAMES = 64 };

struct names {
    struct weir_span at[MAX_NAMES];
    unsigned n;
};

struct finder {
    struct names *from, *to;
    const char *key; /* NULL: the variable itself, else its member */
    enum wj_node_kind kind;
};

static bool is_variable(const struct wj_node *n, const struct names *names) {
    if (n->kind != WJ_N_NAME)
        return false;
    for (unsigned i = 0; i < names->n; i++)
        if (weir_span_eq(names->at[i], weir_span(n->value.u.s, n->value.len)))
            return true;
    return false;
}

/* A variable (or its member) or what filters, tests and slices leave of it. */
static bool is_access(const struct wj_node *n, const struct names *names, const char *key) {
    while (n->kind == WJ_N_FILTER || n->kind == WJ_N_TEST ||
           (n->kind == WJ_N_GETITEM && n->b->kind == WJ_N_SLICE))
        n = n->a;
    if (key == NULL)
        return is_variable(n, names);
    const struct wj_node *name = n->kind == WJ_N_GETATTR                               ? n
                                 : n->kind == WJ_N_GETITEM && n->b->kind == WJ_N_CONST ? n->b
                                                                                       : NULL;
    return name != NULL && name->value.kind == WJ_STR &&
           weir_span_eqz(weir_span(name->value.u.s, name->value.len), key) &&
           is_variable(n->a, names);
}

static void add(struct names *names, const struct wj_node *target) {
    if (target->kind == WJ_N_NAME && !is_variable(target, names) && names->n < MAX_NAMES)
        names->at[names->n++] = weir_span(target->value.u.s, target->value.len);
}

/* Collects the targets of assignments or loops whose source is such an access. */
static void look(struct wj_node *n, void *arg) {
    struct finder *f = arg;
    if (n->kind == f->kind && is_access(n->b, f->from, f->key))
        add(f->to, n->a);
    wj_children(n, look, arg);
}

static void collect(const struct wtok_jinja *tpl, struct finder f) {
    for (unsigned before = MAX_NAMES + 1; before != f.to->n;) {
        before = f.to->n;
        for (uint32_t i = 0; i < tpl->body.n; i++)
            look(tpl->body.at[i], &f);
    }
}

bool wj_detect_parts(const struct wtok_jinja *tpl) {
    struct names messages = {.at = {WEIR_SPAN_LIT("messages")}, .n = 1}, message = {.n = 0};
    struct names parts = {.n = 0};
    collect(tpl, (struct finder){&messages, &messages, NULL, WJ_N_SET});
    collect(tpl, (struct finder){&messages, &message, NULL, WJ_N_FOR});
    collect(tpl, (struct finder){&message, &parts, "content", WJ_N_FOR});
    return parts.n > 0;
}

bool wtok_jinja_wants_parts_sglang(const struct wtok_jinja *tpl) {
    static const char *const media[] = {"image", "audio", "video", "vision"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(media); i++)
        if (wj_find(tpl->source, weir_span_z(media[i]), 0) >= 0)
            return true;
    struct names message = {
        .at = {WEIR_SPAN_LIT("message"), WEIR_SPAN_LIT("msg"), WEIR_SPAN_LIT("m")}, .n = 3};
    struct names parts = {.n = 0};
    collect(tpl, (struct finder){&message, &parts, "content", WJ_N_FOR});
    return parts.n > 0;
}
