/*
 * Entry points of the template engine: parsing once, rendering often, what a template tells about
 * itself.
 */
#include "tokenizer/jinja.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/jinja_priv.h"

enum {
    PARSE_STEPS = 50 * 1000 * 1000,
    RENDER_STEPS = 20 * 1000 * 1000,
    MAX_DEPTH = 1000,
    PARSE_DEPTH = 300, /* nesting of the source; its tree is walked by recursion */
};

const char *wtok_jinja_error_name(enum wtok_jinja_error error) {
    static const char *const names[] = {
#define X(name, text) text,
        WTOK_JINJA_ERROR_MAP(X)
#undef X
    };
    return names[error];
}

static enum weir_status status_of(enum wtok_jinja_error error) {
    switch (error) {
    case WTOK_JINJA_ERR_NONE:
        return WEIR_OK;
    case WTOK_JINJA_ERR_LIMIT:
        return WEIR_TOO_LARGE;
    case WTOK_JINJA_ERR_MEMORY:
        return WEIR_NOMEM;
    case WTOK_JINJA_ERR_UNSUPPORTED:
        return WEIR_UNSUPPORTED;
    default:
        return WEIR_INVALID;
    }
}

enum weir_status wj_guard(struct wj_run *x, void (*body)(struct wj_run *x)) {
    if (setjmp(x->leave) != 0)
        return status_of(x->failure.error);
    char here;
    x->stack = (uintptr_t)&here;
    if (x->out->data == NULL) { /* strings are built in it: there must be one */
        enum weir_status st = weir_buf_reserve(x->out, x->out->max < 1024 ? 1 : 1024);
        if (st != WEIR_OK)
            wj_fail(x, st == WEIR_NOMEM ? WTOK_JINJA_ERR_MEMORY : WTOK_JINJA_ERR_LIMIT,
                    "no room for the text");
    }
    body(x);
    return WEIR_OK;
}

/* ---- parsing ------------------------------------------------------------------------------ */

struct parsing {
    struct wj_run x;
    struct wtok_jinja *tpl;
};

static void parse(struct wj_run *x) {
    struct wtok_jinja *tpl = WEIR_CONTAINER_OF(x, struct parsing, x)->tpl;
    wj_parse(x, tpl);
    wj_resolve(x, tpl);
    tpl->wants_parts = wj_detect_parts(tpl);
}

static enum weir_status begin(struct weir_span source, struct wtok_jinja **ret_tpl,
                              struct wtok_jinja_failure *failure) {
    *failure = (struct wtok_jinja_failure){.error = WTOK_JINJA_ERR_LIMIT,
                                           .text = "the template is larger than 1 MiB"};
    if (source.len > WTOK_JINJA_MAX_SOURCE)
        return WEIR_TOO_LARGE;
    *failure = (struct wtok_jinja_failure){.error = WTOK_JINJA_ERR_SYNTAX,
                                           .text = "the template is not UTF-8"};
    if (!weir_utf8_valid(source))
        return WEIR_INVALID;
    *failure = (struct wtok_jinja_failure){.error = WTOK_JINJA_ERR_MEMORY, .text = "out of memory"};
    struct wtok_jinja *tpl = weir_calloc(1, sizeof(*tpl));
    if (tpl == NULL)
        return WEIR_NOMEM;
    weir_arena_init(&tpl->arena, ((size_t)64 << 20) + source.len * 64);
    tpl->source = weir_arena_copy(&tpl->arena, source);
    *ret_tpl = tpl;
    return tpl->source.data != NULL ? WEIR_OK : WEIR_NOMEM;
}

enum weir_status wtok_jinja_parse(struct weir_span source, struct wtok_jinja **ret_template,
                                  struct wtok_jinja_failure *failure) {
    struct wtok_jinja *tpl = NULL;
    struct wtok_jinja_failure room, *f = failure != NULL ? failure : &room;
    enum weir_status st = begin(source, &tpl, f);
    if (st == WEIR_OK) {
        struct weir_buf scratch;
        weir_buf_init(&scratch, WTOK_JINJA_MAX_SOURCE * 4);
        struct parsing p = {.x = {.arena = &tpl->arena,
                                  .out = &scratch,
                                  .fuel = PARSE_STEPS,
                                  .max_depth = PARSE_DEPTH},
                            .tpl = tpl};
        st = wj_guard(&p.x, parse);
        *f = p.x.failure;
        weir_buf_fini(&scratch);
    }
    if (st != WEIR_OK) {
        wtok_jinja_destroy(tpl);
        return st;
    }
    *ret_template = tpl;
    return WEIR_OK;
}

void wtok_jinja_destroy(struct wtok_jinja *tpl) {
    if (tpl == NULL)
        return;
    weir_arena_fini(&tpl->arena);
    weir_free(tpl);
}

/* ---- what a template tells about itself --------------------------------------------------- */

struct weir_span wtok_jinja_variable(const struct wtok_jinja *tpl, size_t i) {
    for (uint32_t k = 0; k < tpl->n_names; k++)
        if (wj_global(tpl->names[k]) == 0 && i-- == 0)
            return tpl->names[k];
    return weir_span(NULL, 0);
}

bool wtok_jinja_wants(const struct wtok_jinja *tpl, struct weir_span name) {
    for (uint32_t i = 0; i < tpl->n_names; i++)
        if (weir_span_eq(tpl->names[i], name))
            return wj_global(name) == 0;
    return false;
}

bool wtok_jinja_wants_parts(const struct wtok_jinja *tpl) {
    return tpl->wants_parts;
}

/* ---- rendering ---------------------------------------------------------------------------- */

static void resolve_context(struct wj_run *x) {
    const struct wtok_jinja *tpl = x->tpl;
    x->context = wj_alloc(x, tpl->n_names * sizeof(*x->context) + 1);
    for (uint32_t i = 0; i < tpl->n_names; i++) {
        struct wj_val *v = x->variables.kind == WJ_DICT
                               ? wj_dict_find(x, x->variables.u.dict, tpl->names[i])
                               : NULL;
        unsigned global = v == NULL ? wj_global(tpl->names[i]) : 0;
        x->context[i] = v != NULL ? *v
                                  : (struct wj_val){.kind = global != 0 ? WJ_FUNC : WJ_MISSING,
                                                    .sub = (uint16_t)global};
    }
}

void wj_begin(struct wj_run *x, struct wtok_jinja_render *render, struct weir_buf *out) {
    *x = (struct wj_run){
        .arena = render->arena,
        .out = out,
        .fuel = render->max_steps != 0 ? render->max_steps : RENDER_STEPS,
        .max_depth =
            render->max_depth != 0 && render->max_depth < MAX_DEPTH ? render->max_depth : MAX_DEPTH,
        .base = out->len,
        .render = render,
    };
    render->n_ranges = 0;
}

void wj_run_template(struct wj_run *x) {
    resolve_context(x);
    wj_exec_template(x);
}

static void render_json(struct wj_run *x) {
    if (x->render->variables.data != NULL) {
        x->variables = wj_from_json(x, x->render->variables);
        if (x->variables.kind != WJ_DICT)
            wj_fail(x, WTOK_JINJA_ERR_VALUE, "the variables are not a JSON object");
    }
    wj_run_template(x);
}

enum weir_status wtok_jinja_render(const struct wtok_jinja *tpl, struct wtok_jinja_render *render,
                                   struct weir_buf *out, struct wtok_jinja_failure *failure) {
    struct wj_run x;
    size_t before = out->len;
    wj_begin(&x, render, out);
    x.tpl = tpl;
    enum weir_status st = wj_guard(&x, render_json);
    if (st != WEIR_OK)
        out->len = before;
    if (failure != NULL)
        *failure = x.failure;
    return st;
}
