/* GET /v1/router/queue: who waits, room by room; how tenants share the ranks, model by model. */
#include "frontend/app_priv.h"

#include <math.h>
#include <stdio.h>

enum { PAGE_MAX = 16 << 20, MOST_TENANTS = 256 };

static void put_u64(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

struct page {
    struct weir_jsonw w;
    const struct weir_frontend_options *options;
    const struct weir_queue_classes *classes;
    const struct weir_pool_config *pools; /* or NULL */
};

/* Classes of the file, where there is one, else those of the flags. */
static void put_classes(struct weir_jsonw *w, struct weir_admission *a,
                        const struct weir_queue_classes *c) {
    const struct weir_policy_profile *p = weir_admission_profile(a);
    size_t n = p != NULL ? p->n_classes : c->n;
    weir_jsonw_key(w, "classes");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++) {
        struct weir_admission_class_stats s;
        weir_admission_class_stats(a, i, &s);
        const struct weir_class_queue_totals *t = &s.waiting;
        weir_jsonw_object_begin(w);
        weir_jsonw_key(w, "class");
        weir_jsonw_string(w, p != NULL ? p->classes[i].name : c->names[i]);
        if (p != NULL)
            put_u64(w, "quantum", p->classes[i].quantum);
        else
            put_u64(w, "weight", c->classes[i].weight);
        put_u64(w, "waiting_requests", t->requests);
        put_u64(w, "waiting_uncached_tokens", t->uncached_tokens);
        if (p != NULL) {
            put_u64(w, "waiting_isl_tokens", t->raw_tokens);
            put_u64(w, "waiting_cached_tokens", t->cached_tokens);
        }
        weir_jsonw_object_end(w);
    }
    weir_jsonw_array_end(w);
}

static void put_threshold(struct weir_jsonw *w, const char *key, double value) {
    weir_jsonw_key(w, key);
    if (isnan(value))
        weir_jsonw_null(w);
    else
        weir_jsonw_f64(w, value);
}

static void put_room(struct page *p, const char *model, bool prefill, uint32_t at,
                     struct weir_admission *room) {
    static const char *const policies[] = {"fcfs", "wspt", "lcfs"};
    struct weir_jsonw *w = &p->w;
    const struct weir_pool_set *set =
        p->pools != NULL ? weir_pool_config_set(p->pools, prefill) : NULL;
    struct weir_admission_stats s;
    weir_admission_stats(room, &s);
    weir_jsonw_object_begin(w);
    weir_front_put_z(w, "model", model);
    weir_front_put_z(w, "phase", prefill ? "prefill" : "serve");
    if (set != NULL) {
        put_u64(w, "pool", at);
        weir_front_put_z(w, "namespace", set->namespaces[at]);
    }
    bool of_file = weir_admission_profile(room) != NULL;
    weir_front_put_z(w, "policy", of_file ? "classes" : policies[p->options->router_queue_policy]);
    put_threshold(w, "threshold", p->options->router_queue_threshold);
    if (!prefill)
        put_threshold(w, "decode_threshold", p->options->router_queue_decode_threshold);
    put_u64(w, "waiting_requests", s.queue.requests);
    put_u64(w, "waiting_uncached_tokens", s.queue.tokens);
    put_u64(w, "waiting_tenants", s.queue.tenants);
    put_u64(w, "waiting_priorities", s.queue.priorities);
    weir_jsonw_key(w, "drained_tokens_per_s");
    weir_jsonw_f64(w, s.queue.tokens_per_s);
    put_u64(w, "retry_after_s", s.queue.retry_after_s);
    put_u64(w, "admitted_at_once", s.admitted_at_once);
    put_u64(w, "admitted_after_waiting", s.admitted_after_waiting);
    put_u64(w, "left", s.left);
    put_classes(w, room, p->classes);
    weir_jsonw_key(w, "refused");
    weir_jsonw_object_begin(w);
    for (int i = 0; i < WEIR_QUEUE_N_REASONS; i++)
        put_u64(w, weir_queue_reason_word((enum weir_queue_reason)i), s.refused[i]);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

static void put_rooms(struct page *p, const char *model, bool prefill,
                      const struct weir_rooms *rooms) {
    for (uint32_t i = 0; rooms != NULL && i < weir_rooms_n(rooms); i++)
        put_room(p, model, prefill, i, weir_rooms_at(rooms, i));
}

static void put_model(void *arg, struct weir_model *model, bool ready) {
    (void)ready;
    put_rooms(arg, weir_model_info(model)->name, false, weir_model_info(model)->rooms);
}

static void put_prefill(void *arg, const char *model, struct weir_router *router,
                        struct weir_rooms *rooms) {
    (void)router;
    put_rooms(arg, model, true, rooms);
}

/* Tenants are named by a hash: their names may be keys. */
static void put_tenant(struct weir_jsonw *w, const struct weir_router_tenant *t) {
    char name[17];
    snprintf(name, sizeof(name), "%016llx", (unsigned long long)t->tenant);
    weir_jsonw_object_begin(w);
    weir_front_put_z(w, "tenant", name);
    put_u64(w, "held_ranks", t->held);
    if (t->limited) {
        put_u64(w, "limit_ranks", t->limit);
        put_u64(w, "reserved_ranks", t->reserve);
    }
    put_u64(w, "short_prompts", t->short_prompts);
    put_u64(w, "prefill_tokens", t->prefill_tokens);
    weir_jsonw_object_end(w);
}

static void put_shares(void *arg, struct weir_model *model, bool ready) {
    struct page *p = arg;
    struct weir_jsonw *w = &p->w;
    const struct weir_model_info *info = weir_model_info(model);
    struct weir_router_tenants all;
    struct weir_router_tenant each[MOST_TENANTS];
    size_t n;
    (void)ready;
    if (!weir_router_tenants(info->router, weir_now_ns() / 1000000, &all, each, MOST_TENANTS, &n))
        return;
    weir_jsonw_object_begin(w);
    weir_front_put_z(w, "model", info->name);
    put_u64(w, "ranks", all.ranks);
    put_u64(w, "held_ranks", all.held);
    put_u64(w, "active_tenants", all.active);
    weir_jsonw_key(w, "tenants");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++)
        put_tenant(w, &each[i]);
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
}

void weir_front_queue(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct weir_buf body;
    struct page p = {
        .options = &fl->app->options, .classes = &fl->app->queue_classes, .pools = fl->app->pools};
    weir_buf_init(&body, PAGE_MAX);
    weir_jsonw_init(&p.w, &body);
    weir_jsonw_object_begin(&p.w);
    weir_jsonw_key(&p.w, "queues");
    weir_jsonw_array_begin(&p.w);
    weir_models_each_router(fl->app->models, put_model, &p);
    weir_prefill_each(fl->app->prefill, false, put_prefill, &p);
    weir_jsonw_array_end(&p.w);
    weir_jsonw_key(&p.w, "shares");
    weir_jsonw_array_begin(&p.w);
    weir_models_each_router(fl->app->models, put_shares, &p);
    weir_jsonw_array_end(&p.w);
    weir_jsonw_object_end(&p.w);
    weir_front_send(x, 200, &p.w, &body);
}
