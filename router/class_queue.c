#include "router/class_queue.h"

#include "base/mem.h"

struct klass {
    struct weir_queue *queue;               /* owned */
    const struct weir_policy_class *policy; /* borrowed; NULL without a profile */
    uint64_t deficit;                       /* tokens */
    struct weir_class_queue_totals totals;
};

struct weir_class_queue {
    const struct weir_policy_profile *profile; /* borrowed, or NULL */
    struct weir_queue_config config;
    size_t n, cursor;
    struct klass classes[]; /* one without a profile */
};

static struct klass *class_of(struct weir_class_queue *q, const struct weir_queue_item *x) {
    return &q->classes[q->profile != NULL ? x->klass : 0];
}

static uint64_t price(const struct weir_queue_item *x) {
    return x->uncached_tokens > 0 ? x->uncached_tokens : 1;
}

/* ---- whose turn it is ------------------------------------------------------------------------ */

struct turn {
    struct weir_queue_item *head; /* NULL: nobody of the class can go */
};

static void look(struct weir_class_queue *q, weir_class_queue_can_fn can, void *arg,
                 struct turn *turns) {
    for (size_t i = 0; i < q->n; i++) {
        struct klass *k = &q->classes[i];
        if (k->totals.requests == 0)
            k->deficit = 0;
        struct weir_queue_item *head = weir_queue_peek(k->queue);
        turns[i].head = head != NULL && (can == NULL || can(arg, head)) ? head : NULL;
    }
}

/* The first from the cursor on that its credit pays for; `grant`: a quantum where it does not. */
static struct weir_queue_item *scan(struct weir_class_queue *q, const struct turn *turns,
                                    bool grant) {
    for (size_t i = 0; i < q->n; i++) {
        size_t at = (q->cursor + i) % q->n;
        struct klass *k = &q->classes[at];
        struct weir_queue_item *x = turns[at].head;
        if (x == NULL)
            continue;
        if (k->deficit < price(x) && grant)
            k->deficit += k->policy->quantum < UINT64_MAX / 2 - k->deficit ? k->policy->quantum
                                                                           : UINT64_MAX / 2;
        if (k->deficit >= price(x)) {
            q->cursor = at;
            return x;
        }
    }
    return NULL;
}

/* Rounds that nobody could have used, at once. */
static bool fast_forward(struct weir_class_queue *q, const struct turn *turns) {
    uint64_t rounds = UINT64_MAX;
    for (size_t i = 0; i < q->n; i++) {
        const struct klass *k = &q->classes[i];
        if (turns[i].head == NULL)
            continue;
        uint64_t lack = price(turns[i].head) - k->deficit, quantum = k->policy->quantum;
        uint64_t need = lack / quantum + (lack % quantum > 0);
        rounds = need < rounds ? need : rounds;
    }
    for (size_t i = 0; i < q->n && rounds < UINT64_MAX; i++)
        if (turns[i].head != NULL) /* stays below its price: cannot overflow */
            q->classes[i].deficit += rounds * q->classes[i].policy->quantum;
    return rounds < UINT64_MAX;
}

struct weir_queue_item *weir_class_queue_next(struct weir_class_queue *q,
                                              weir_class_queue_can_fn can, void *arg) {
    struct turn turns[WEIR_POLICY_CLASSES] = {{NULL}};
    if (q->profile == NULL)
        return weir_queue_peek(q->classes[0].queue);
    look(q, can, arg, turns);
    struct weir_queue_item *x = scan(q, turns, true);
    if (x == NULL && fast_forward(q, turns))
        x = scan(q, turns, false);
    return x;
}

/* ---- coming and going ------------------------------------------------------------------------ */

static void count(struct klass *k, const struct weir_queue_item *x, uint64_t sign) {
    k->totals.requests += (size_t)sign;
    k->totals.raw_tokens += sign * x->raw_tokens;
    k->totals.cached_tokens += sign * x->cached_tokens;
    k->totals.uncached_tokens += sign * (x->raw_tokens - x->cached_tokens);
}

static bool reached(uint64_t per_worker, unsigned n_workers, uint64_t waiting,
                    enum weir_queue_reason reason, struct weir_queue_refusal *ret) {
    if (per_worker == UINT64_MAX)
        return false;
    uint64_t limit = n_workers > 0 && per_worker > (UINT64_MAX - 1) / n_workers
                         ? UINT64_MAX - 1
                         : per_worker * n_workers;
    if (waiting < limit)
        return false;
    *ret = (struct weir_queue_refusal){.reason = reason, .limit = limit, .waiting = waiting};
    return true;
}

/* Bounds of all classes together, as queue.h has them. */
static bool over_all(const struct weir_class_queue *q, const struct weir_queue_item *x,
                     uint64_t now_ms, struct weir_queue_refusal *ret) {
    struct weir_queue_stats s;
    weir_class_queue_stats(q, now_ms, &s);
    if (q->config.max_requests > 0 && s.requests >= q->config.max_requests)
        *ret = (struct weir_queue_refusal){WEIR_QUEUE_REQUESTS, q->config.max_requests, s.requests,
                                           s.retry_after_s, NULL};
    else if (q->config.max_tokens > 0 && s.requests > 0 &&
             s.tokens + x->uncached_tokens > q->config.max_tokens)
        *ret = (struct weir_queue_refusal){WEIR_QUEUE_TOKENS, q->config.max_tokens, s.tokens,
                                           s.retry_after_s, NULL};
    else
        return false;
    return true;
}

static enum weir_status push_to_class(struct weir_class_queue *q, struct klass *k,
                                      struct weir_queue_item *x, unsigned n_workers,
                                      uint64_t now_ms, struct weir_queue_refusal *ret) {
    const struct weir_policy_class *c = k->policy;
    const struct weir_class_queue_totals *t = &k->totals;
    uint32_t klass = x->klass;
    struct weir_queue_stats s;
    x->flow = NULL;
    if (reached(c->requests_per_worker, n_workers, t->requests, WEIR_QUEUE_REQUEST_LIMIT, ret) ||
        reached(c->raw_tokens_per_worker, n_workers, t->raw_tokens, WEIR_QUEUE_RAW_TOKEN_LIMIT,
                ret) ||
        reached(c->cached_tokens_per_worker, n_workers, t->cached_tokens,
                WEIR_QUEUE_CACHED_TOKEN_LIMIT, ret)) {
        weir_queue_stats(k->queue, now_ms, &s);
        ret->retry_after_s = s.retry_after_s;
        ret->klass = c->name.data;
        return WEIR_LIMIT;
    }
    if (over_all(q, x, now_ms, ret))
        return WEIR_LIMIT;
    x->klass = 0; /* inside, there is one class */
    enum weir_status st = weir_queue_push(k->queue, x, now_ms, ret);
    x->klass = klass;
    if (st == WEIR_OK)
        count(k, x, 1);
    return st;
}

enum weir_status weir_class_queue_push(struct weir_class_queue *q, struct weir_queue_item *x,
                                       unsigned n_workers, uint64_t now_ms,
                                       struct weir_queue_refusal *ret) {
    x->cached_tokens = x->raw_tokens > x->uncached_tokens ? x->raw_tokens - x->uncached_tokens : 0;
    if (q->profile != NULL) {
        if (x->klass >= q->n)
            x->klass = 0;
        return push_to_class(q, class_of(q, x), x, n_workers, now_ms, ret);
    }
    enum weir_status st = weir_queue_push(q->classes[0].queue, x, now_ms, ret);
    if (st == WEIR_OK)
        count(&q->classes[0], x, 1);
    return st;
}

/* queue.c finds a class's figures by item->klass, which inside is 0. */
static uint32_t enter(const struct weir_class_queue *q, struct weir_queue_item *x) {
    uint32_t klass = x->klass;
    if (q->profile != NULL)
        x->klass = 0;
    return klass;
}

bool weir_class_queue_stale(const struct weir_class_queue *q, const struct weir_queue_item *x,
                            uint64_t now_ms) {
    return q->profile == NULL && weir_queue_stale(q->classes[0].queue, x, now_ms);
}

void weir_class_queue_reprice(struct weir_class_queue *q, struct weir_queue_item *x,
                              uint64_t tokens, uint64_t now_ms) {
    struct klass *k = class_of(q, x);
    uint32_t klass = enter(q, x);
    weir_queue_reprice(k->queue, x, tokens, now_ms);
    x->klass = klass;
}

void weir_class_queue_pass(struct weir_class_queue *q, struct weir_queue_item *x) {
    weir_queue_pass(class_of(q, x)->queue, x);
}

void weir_class_queue_unpass(struct weir_class_queue *q) {
    for (size_t i = 0; i < q->n; i++)
        weir_queue_unpass(q->classes[i].queue);
}

/* The cursor is at the class of `x`. */
static void charge(struct weir_class_queue *q, struct klass *k, uint64_t paid) {
    k->deficit -= paid < k->deficit ? paid : k->deficit;
    if (k->totals.requests == 0)
        k->deficit = 0;
    const struct weir_queue_item *next = weir_queue_peek(k->queue);
    if (next == NULL || k->deficit < price(next))
        q->cursor = (q->cursor + 1) % q->n;
}

void weir_class_queue_pop(struct weir_class_queue *q, struct weir_queue_item *x, uint64_t now_ms) {
    struct klass *k = class_of(q, x);
    uint64_t paid = price(x);
    uint32_t klass = enter(q, x);
    weir_queue_pop(k->queue, x, now_ms);
    x->klass = klass;
    count(k, x, UINT64_MAX);
    if (q->profile != NULL)
        charge(q, k, paid);
}

void weir_class_queue_remove(struct weir_class_queue *q, struct weir_queue_item *x) {
    struct klass *k = class_of(q, x);
    if (x->flow == NULL)
        return;
    uint32_t klass = enter(q, x);
    weir_queue_remove(k->queue, x);
    x->klass = klass;
    count(k, x, UINT64_MAX);
}

/* ---- figures, begin and end ------------------------------------------------------------------ */

void weir_class_queue_stats(const struct weir_class_queue *q, uint64_t now_ms,
                            struct weir_queue_stats *ret) {
    *ret = (struct weir_queue_stats){.retry_after_s = 1};
    for (size_t i = 0; i < q->n; i++) {
        struct weir_queue_stats s;
        weir_queue_stats(q->classes[i].queue, now_ms, &s);
        ret->requests += s.requests;
        ret->tokens += s.tokens;
        ret->tokens_per_s += s.tokens_per_s;
        /* A tenant or a priority of two classes counts in both. */
        ret->tenants += s.tenants;
        ret->priorities += s.priorities;
        ret->retry_after_s =
            s.retry_after_s > ret->retry_after_s ? s.retry_after_s : ret->retry_after_s;
    }
}

void weir_class_queue_totals(const struct weir_class_queue *q, size_t klass,
                             struct weir_class_queue_totals *ret) {
    if (q->profile != NULL || klass == 0)
        *ret = q->classes[klass].totals;
    if (q->profile == NULL)
        weir_queue_class_stats(q->classes[0].queue, klass, &ret->requests, &ret->uncached_tokens);
}

enum weir_status weir_class_queue_create(const struct weir_queue_config *config,
                                         const struct weir_policy_profile *profile,
                                         struct weir_class_queue **ret) {
    size_t n = profile != NULL ? profile->n_classes : 1;
    struct weir_class_queue *q = weir_calloc(1, sizeof(*q) + n * sizeof(q->classes[0]));
    if (q == NULL)
        return WEIR_NOMEM;
    q->profile = profile;
    q->config = *config;
    q->n = n;
    for (size_t i = 0; i < n; i++) {
        struct weir_queue_config c = *config;
        if (profile != NULL) {
            q->classes[i].policy = &profile->classes[i];
            c.policy = profile->classes[i].queue_policy;
            c.classes = NULL;
            c.n_classes = 0;
            c.refresh_ms = 0;
        }
        if (weir_queue_create(&c, &q->classes[i].queue) != WEIR_OK) {
            weir_class_queue_destroy(q);
            return WEIR_NOMEM;
        }
    }
    *ret = q;
    return WEIR_OK;
}

void weir_class_queue_destroy(struct weir_class_queue *q) {
    for (size_t i = 0; q != NULL && i < q->n; i++)
        weir_queue_destroy(q->classes[i].queue);
    weir_free(q);
}
