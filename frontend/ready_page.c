/*
 * GET /v1/models/NAME/ready: the workers of a model by namespace and part (aggregated, decode,
 * prefill), with the members of the reference system. What is "needed" is what the reference's
 * workers of that part declare. A decode worker whose prefill workers are missing does all of a
 * request here, so its namespace is ready all the same unless that is ruled out (disagg.c), and
 * prefill workers serve decode workers of other namespaces too. Source: a live 1.6.1.
 */
#include "base/json.h"
#include "frontend/app_priv.h"

#include <stdio.h>
#include <string.h>

enum { BODY_MAX = 1 << 20, MAX_SPACES = 256 };

/* In the order of their names, which is that of the page. */
enum part { AGGREGATED, DECODE, PREFILL, N_PARTS };
static const char *const names[N_PARTS] = {"aggregated", "decode", "prefill"};
static const char *const needs[N_PARTS] = {"[]", "[[\"prefill\"]]", "[[\"decode\"]]"};

struct space {
    struct weir_span ns; /* in the arena: workers may leave meanwhile */
    unsigned workers[N_PARTS];
};

struct ready {
    struct weir_arena *arena;
    struct weir_span model;
    struct space spaces[MAX_SPACES]; /* sorted; further ones are left out */
    size_t n;
    bool prefills; /* somebody does */
};

static void add(struct ready *r, struct weir_span ns, enum part part) {
    size_t at = 0;
    while (at < r->n && weir_span_compare(r->spaces[at].ns, ns) < 0)
        at++;
    if (at == r->n || weir_span_compare(r->spaces[at].ns, ns) != 0) {
        struct weir_span copy = weir_arena_copy(r->arena, ns);
        if (r->n == MAX_SPACES || copy.data == NULL)
            return;
        memmove(&r->spaces[at + 1], &r->spaces[at], (r->n - at) * sizeof(r->spaces[0]));
        r->spaces[at] = (struct space){.ns = copy};
        r->n++;
    }
    r->spaces[at].workers[part]++;
    r->prefills |= part == PREFILL;
}

static void on_instance(void *arg, const struct weir_model_instance *i) {
    struct ready *r = arg;
    if (i->model != NULL && weir_span_eqz(r->model, i->model))
        add(r, i->endpoint->ns, i->type == WEIR_WORKER_DECODE ? DECODE : AGGREGATED);
}

static void on_prefill(void *arg, struct weir_span ns) {
    add(arg, ns, PREFILL);
}

/* What a namespace lacks by what its workers declare; N_PARTS: nothing. */
static enum part missing(const struct space *s) {
    if (s->workers[DECODE] > 0 && s->workers[PREFILL] == 0)
        return PREFILL;
    if (s->workers[PREFILL] > 0 && s->workers[DECODE] == 0)
        return DECODE;
    return N_PARTS;
}

static bool serves(const struct ready *r, const struct space *s, bool up, bool needs_prefill) {
    bool whole = s->workers[AGGREGATED] > 0;
    bool split = s->workers[DECODE] > 0 && (r->prefills || !needs_prefill);
    return up && (whole || split);
}

static void put_types(struct weir_jsonw *w, const struct space *s) {
    weir_jsonw_key(w, "worker_types");
    weir_jsonw_object_begin(w);
    for (unsigned p = 0; p < N_PARTS; p++) {
        if (s->workers[p] == 0)
            continue;
        weir_jsonw_key(w, names[p]);
        weir_jsonw_object_begin(w);
        weir_jsonw_key(w, "workers");
        weir_jsonw_u64(w, s->workers[p]);
        weir_jsonw_key(w, "needs");
        weir_jsonw_raw(w, weir_span_z(needs[p]));
        weir_jsonw_object_end(w);
    }
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "present");
    weir_jsonw_array_begin(w);
    for (unsigned p = 0; p < N_PARTS; p++)
        if (s->workers[p] > 0)
            weir_jsonw_string(w, weir_span_z(names[p]));
    weir_jsonw_array_end(w);
}

static void put_space(struct weir_jsonw *w, const struct space *s, bool ready, bool failed) {
    enum part lacks = missing(s);
    char text[128];
    const char *reason =
        failed ? WEIR_MODEL_FAILED
               : "the model's tokenizer is not loaded, or too few workers have come yet";
    weir_jsonw_key_span(w, s->ns);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "ready");
    weir_jsonw_bool(w, ready);
    if (lacks != N_PARTS && !failed) {
        snprintf(text, sizeof(text), "missing worker types: %s%s", names[lacks],
                 ready && lacks == PREFILL ? " (prefilled elsewhere or by the decode workers)"
                                           : "");
        reason = text;
    }
    if (!ready || lacks != N_PARTS)
        weir_front_put_z(w, "reason", reason);
    put_types(w, s);
    weir_jsonw_key(w, "missing_worker_types");
    weir_jsonw_array_begin(w);
    if (lacks != N_PARTS)
        weir_jsonw_string(w, weir_span_z(names[lacks]));
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
}

bool weir_front_ready(struct weir_front_loop *fl, struct weir_http_exchange *x,
                      struct weir_model *model, struct weir_span name) {
    struct weir_arena *arena = weir_http_exchange_arena(x);
    struct ready *r = weir_arena_alloc(arena, sizeof(*r));
    struct weir_buf body;
    struct weir_jsonw w;
    bool up = model != NULL && weir_model_ready(model); /* its tokenizer is loaded, too */
    bool failed = !up && model != NULL && weir_model_failed(model);
    bool needs_prefill =
        fl->app->options.enforce_disagg || (model != NULL && weir_model_info(model)->needs_prefill);
    bool any = false;
    if (r == NULL) {
        weir_front_error(fl, x, 503, "Service temporarily unavailable");
        return true;
    }
    *r = (struct ready){.arena = arena, .model = name};
    weir_models_instances(fl->app->models, on_instance, r);
    weir_prefill_namespaces(fl->app->prefill, name, on_prefill, r);
    if (model == NULL && r->n == 0)
        return false;
    for (size_t i = 0; i < r->n; i++)
        any |= serves(r, &r->spaces[i], up, needs_prefill);
    weir_buf_init(&body, BODY_MAX);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "model");
    weir_jsonw_string(&w, name);
    weir_jsonw_key(&w, "ready");
    weir_jsonw_bool(&w, any);
    if (!any)
        weir_front_put_z(&w, "reason",
                         failed ? WEIR_MODEL_FAILED
                                : "no namespace has all required worker types live");
    weir_jsonw_key(&w, "namespaces");
    weir_jsonw_object_begin(&w);
    for (size_t i = 0; i < r->n; i++)
        put_space(&w, &r->spaces[i], serves(r, &r->spaces[i], up, needs_prefill), failed);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    weir_front_send(x, 200, &w, &body);
    return true;
}
