/*
 * Shape: priorities (a short sorted array) → classes (ring) → tenants (ring) → items (heap). Parts
 * exist only while something waits in them, so memory follows the number of items.
 *
 * Deficit round robin, at both rings: the first member of the ring is granted a quantum once a
 * visit; while its deficit pays for its next item it stays first, else it goes to the end. A round
 * that serves nobody is followed by as many granted rounds at once as the nearest one lacks, so the
 * number of steps does not depend on how small the quantum is.
 */
#include "router/queue.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { RATE_WINDOW_MS = 10000, RETRY_MOST_S = 60 };

/* A member of a ring. */
struct turn {
    struct weir_list node;
    double deficit, grant; /* tokens; the grant is quantum times weight */
    bool granted;          /* in this visit */
};

struct weir_queue_flow {
    struct turn turn;               /* first */
    uint64_t key;                   /* of tenant and lane */
    struct klass *klass;            /* borrowed: outlives its flows */
    struct weir_queue_item **items; /* owned array, a heap */
    size_t n, cap;
};

struct klass {
    struct turn turn; /* first */
    struct tier *tier;
    struct weir_list flows; /* ring of those that wait */
    struct weir_map by_flow;
    size_t n_flows; /* in the ring */
};

struct tier {
    uint32_t priority;
    size_t n;                 /* items */
    size_t n_active;          /* classes in the ring */
    struct weir_list classes; /* ring of those that wait */
    struct klass all[];       /* n_classes of the queue */
};

struct totals {
    size_t requests;
    uint64_t tokens;
};

struct weir_queue {
    struct weir_queue_config config;
    struct weir_queue_class *classes; /* owned copy */
    struct totals *of_class;          /* owned, one a class */
    struct totals total;
    struct tier **tiers; /* owned, highest priority first */
    size_t n_tiers;
    struct weir_map tenants; /* tenant -> waiting requests */
    struct weir_list passed; /* flows that are passed over, the last one first */
    uint64_t next_seq;
    double drained;      /* tokens, fading over the window */
    uint64_t drained_ms; /* when that was true */
};

static double price(const struct weir_queue_item *x) {
    return x->uncached_tokens > 0 ? (double)x->uncached_tokens : 1;
}

/* ---- heap of one tenant ---------------------------------------------------------------------- */

static double score_of(const struct weir_queue *q, const struct weir_queue_item *x) {
    double jump = x->priority_jump > 0 ? x->priority_jump : 0; /* also NaN */
    double arrival_s = (double)x->arrival_ms / 1000;
    switch (q->config.policy) {
    case WEIR_QUEUE_WSPT:
        return (1 + jump) / price(x);
    case WEIR_QUEUE_LCFS:
        return jump + arrival_s;
    case WEIR_QUEUE_FCFS:
        break;
    }
    return jump - arrival_s;
}

static bool before(const struct weir_queue *q, const struct weir_queue_item *a,
                   const struct weir_queue_item *b) {
    if (a->deadline_ms != b->deadline_ms) /* none is the latest */
        return a->deadline_ms - 1 < b->deadline_ms - 1;
    if (a->score > b->score || b->score > a->score)
        return a->score > b->score;
    return q->config.policy == WEIR_QUEUE_LCFS ? a->seq > b->seq : a->seq < b->seq;
}

static void put_at(struct weir_queue_flow *f, size_t at, struct weir_queue_item *x) {
    f->items[at] = x;
    x->at = at;
}

static void sift(const struct weir_queue *q, struct weir_queue_flow *f, size_t at) {
    struct weir_queue_item *x = f->items[at];
    while (at > 0 && before(q, x, f->items[(at - 1) / 2])) {
        put_at(f, at, f->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= f->n)
            break;
        if (child + 1 < f->n && before(q, f->items[child + 1], f->items[child]))
            child++;
        if (!before(q, f->items[child], x))
            break;
        put_at(f, at, f->items[child]);
        at = child;
    }
    put_at(f, at, x);
}

static enum weir_status heap_push(const struct weir_queue *q, struct weir_queue_flow *f,
                                  struct weir_queue_item *x) {
    if (f->n == f->cap) {
        size_t cap = f->cap == 0 ? 4 : f->cap * 2;
        struct weir_queue_item **more =
            weir_realloc(f->items, cap * sizeof(struct weir_queue_item *));
        if (more == NULL)
            return WEIR_NOMEM;
        f->items = more;
        f->cap = cap;
    }
    put_at(f, f->n++, x);
    x->flow = f;
    sift(q, f, x->at);
    return WEIR_OK;
}

static void heap_remove(const struct weir_queue *q, struct weir_queue_item *x) {
    struct weir_queue_flow *f = x->flow;
    struct weir_queue_item *last = f->items[--f->n];
    size_t at = x->at;
    x->flow = NULL;
    if (last == x)
        return;
    put_at(f, at, last);
    sift(q, f, at);
}

/* ---- rings ----------------------------------------------------------------------------------- */

typedef double (*next_price_fn)(struct turn *t);

static struct turn *first_of(struct weir_list *ring) {
    return WEIR_CONTAINER_OF(ring->next, struct turn, node);
}

/* The member whose turn it is; the ring is not empty and holds n. */
static struct turn *settle(struct weir_list *ring, size_t n, next_price_fn next_price) {
    for (;;) {
        double lacking = INFINITY; /* whole rounds before this one's visit */
        for (size_t i = 0; i < n; i++) {
            struct turn *t = first_of(ring);
            double need = next_price(t);
            if (!t->granted)
                t->deficit += t->grant;
            t->granted = true;
            if (t->deficit >= need)
                return t;
            t->granted = false;
            lacking = fmin(lacking, ceil((need - t->deficit) / t->grant) - 1);
            weir_list_remove(&t->node);
            weir_list_push_back(ring, &t->node);
        }
        if (lacking > 0)
            WEIR_LIST_FOREACH(node, ring) {
                struct turn *t = WEIR_CONTAINER_OF(node, struct turn, node);
                t->deficit += lacking * t->grant;
            }
    }
}

static double flow_price(struct turn *t) {
    return price(((struct weir_queue_flow *)(void *)t)->items[0]);
}

static struct weir_queue_flow *flow_of_class(struct klass *k) {
    return (struct weir_queue_flow *)(void *)settle(&k->flows, k->n_flows, flow_price);
}

static double class_price(struct turn *t) {
    return price(flow_of_class((struct klass *)(void *)t)->items[0]);
}

static void join(struct weir_list *ring, struct turn *t, double grant) {
    *t = (struct turn){.grant = grant};
    weir_list_init(&t->node);
    weir_list_push_back(ring, &t->node);
}

struct weir_queue_item *weir_queue_peek(struct weir_queue *q) {
    for (size_t i = 0; i < q->n_tiers; i++) {
        struct tier *tier = q->tiers[i];
        if (tier->n_active == 0) /* all passed over */
            continue;
        struct klass *k =
            (struct klass *)(void *)settle(&tier->classes, tier->n_active, class_price);
        return flow_of_class(k)->items[0];
    }
    return NULL;
}

void weir_queue_pass(struct weir_queue *q, struct weir_queue_item *x) {
    struct weir_queue_flow *f = x->flow;
    struct klass *k = f->klass;
    weir_list_remove(&f->turn.node);
    weir_list_push_front(&q->passed, &f->turn.node);
    if (--k->n_flows == 0) {
        weir_list_remove(&k->turn.node);
        k->tier->n_active--;
    }
}

void weir_queue_unpass(struct weir_queue *q) {
    WEIR_LIST_FOREACH(node, &q->passed) {
        struct weir_queue_flow *f = WEIR_CONTAINER_OF(node, struct weir_queue_flow, turn.node);
        struct klass *k = f->klass;
        weir_list_remove(node);
        weir_list_push_front(&k->flows, node);
        if (k->n_flows++ == 0) {
            weir_list_push_front(&k->tier->classes, &k->turn.node);
            k->tier->n_active++;
        }
    }
}

/* ---- parts that come and go ------------------------------------------------------------------ */

/* Place of the priority, or where it would stand. */
static size_t tier_place(const struct weir_queue *q, uint32_t priority) {
    size_t low = 0, high = q->n_tiers;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (q->tiers[mid]->priority > priority)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct tier *get_tier(struct weir_queue *q, uint32_t priority) {
    size_t at = tier_place(q, priority), n = q->config.n_classes;
    if (at < q->n_tiers && q->tiers[at]->priority == priority)
        return q->tiers[at];
    struct tier *t = weir_calloc(1, sizeof(*t) + n * sizeof(t->all[0]));
    if (t == NULL)
        return NULL;
    t->priority = priority;
    weir_list_init(&t->classes);
    for (size_t i = 0; i < n; i++) {
        t->all[i].tier = t;
        weir_list_init(&t->all[i].flows);
        weir_map_init(&t->all[i].by_flow, SIZE_MAX);
    }
    memmove(&q->tiers[at + 1], &q->tiers[at], (q->n_tiers - at) * sizeof(q->tiers[0]));
    q->tiers[at] = t;
    q->n_tiers++;
    return t;
}

static void free_tier(struct weir_queue *q, struct tier *t) {
    for (size_t i = 0; i < q->config.n_classes; i++)
        weir_map_fini(&t->all[i].by_flow);
    weir_free(t);
}

static void drop_tier_if_empty(struct weir_queue *q, struct tier *t) {
    if (t->n > 0)
        return;
    size_t at = tier_place(q, t->priority);
    q->n_tiers--;
    memmove(&q->tiers[at], &q->tiers[at + 1], (q->n_tiers - at) * sizeof(q->tiers[0]));
    free_tier(q, t);
}

/* Two with one key, of 2^64, stand in one line. */
static uint64_t flow_key(const struct weir_queue_item *x) {
    return x->lane == 0 ? x->tenant : (x->tenant ^ x->lane * 0x9E3779B97F4A7C15u) + 1;
}

static struct weir_queue_flow *get_flow(struct weir_queue *q, struct tier *t, uint32_t klass,
                                        uint64_t key) {
    struct klass *k = &t->all[klass];
    uint64_t there = 0;
    if (weir_map_get(&k->by_flow, key, &there))
        return (struct weir_queue_flow *)(uintptr_t)there;
    struct weir_queue_flow *f = weir_calloc(1, sizeof(*f));
    if (f == NULL || weir_map_put(&k->by_flow, key, (uintptr_t)f) != WEIR_OK) {
        weir_free(f);
        return NULL;
    }
    f->key = key;
    f->klass = k;
    if (k->n_flows++ == 0) {
        join(&t->classes, &k->turn, (double)q->config.quantum * q->classes[klass].weight);
        t->n_active++;
    }
    join(&k->flows, &f->turn, (double)q->config.quantum);
    return f;
}

static void drop_flow_if_empty(struct weir_queue_flow *f) {
    struct klass *k = f->klass;
    if (f->n > 0)
        return;
    weir_list_remove(&f->turn.node);
    weir_map_remove(&k->by_flow, f->key);
    if (--k->n_flows == 0) {
        weir_list_remove(&k->turn.node);
        k->tier->n_active--;
    }
    weir_free(f->items);
    weir_free(f);
}

/* ---- coming and going of items --------------------------------------------------------------- */

static void count_in(struct weir_queue *q, const struct weir_queue_item *x) {
    q->total.requests++;
    q->total.tokens += x->uncached_tokens;
    q->of_class[x->klass].requests++;
    q->of_class[x->klass].tokens += x->uncached_tokens;
}

static void leave(struct weir_queue *q, struct weir_queue_item *x) {
    struct weir_queue_flow *f = x->flow;
    struct tier *t = f->klass->tier;
    uint64_t *of_tenant = weir_map_at(&q->tenants, x->tenant);
    heap_remove(q, x);
    q->total.requests--;
    q->total.tokens -= x->uncached_tokens;
    q->of_class[x->klass].requests--;
    q->of_class[x->klass].tokens -= x->uncached_tokens;
    if (of_tenant != NULL && --*of_tenant == 0)
        weir_map_remove(&q->tenants, x->tenant);
    t->n--;
    drop_flow_if_empty(f);
    drop_tier_if_empty(q, t);
}

static double faded(const struct weir_queue *q, uint64_t now_ms) {
    double dt = now_ms > q->drained_ms ? (double)(now_ms - q->drained_ms) : 0;
    return q->drained * exp(-dt / RATE_WINDOW_MS);
}

static unsigned retry_after(const struct weir_queue *q, uint64_t now_ms) {
    double per_s = faded(q, now_ms) * 1000 / RATE_WINDOW_MS;
    double s = per_s > 0 ? ceil((double)q->total.tokens / per_s) : 1;
    return s < 1 ? 1 : s > RETRY_MOST_S ? RETRY_MOST_S : (unsigned)s;
}

static bool over(uint64_t limit, uint64_t waiting, uint64_t more, enum weir_queue_reason reason,
                 struct weir_queue_refusal *ret) {
    if (limit == 0 || waiting == 0 || waiting + more <= limit)
        return false;
    *ret = (struct weir_queue_refusal){.reason = reason, .limit = limit, .waiting = waiting};
    return true;
}

static bool refuses(const struct weir_queue *q, const struct weir_queue_item *x,
                    struct weir_queue_refusal *ret) {
    const struct weir_queue_config *c = &q->config;
    const struct weir_queue_class *k = &q->classes[x->klass];
    const struct totals *t = &q->of_class[x->klass];
    uint64_t tokens = x->uncached_tokens, of_tenant = 0;
    size_t at = tier_place(q, x->strict_priority);
    bool new_tier = at == q->n_tiers || q->tiers[at]->priority != x->strict_priority;
    weir_map_get(&q->tenants, x->tenant, &of_tenant);
    return over(c->max_requests, q->total.requests, 1, WEIR_QUEUE_REQUESTS, ret) ||
           over(c->max_tokens, q->total.tokens, tokens, WEIR_QUEUE_TOKENS, ret) ||
           over(k->max_requests, t->requests, 1, WEIR_QUEUE_CLASS_REQUESTS, ret) ||
           over(k->max_tokens, t->tokens, tokens, WEIR_QUEUE_CLASS_TOKENS, ret) ||
           over(c->max_tenant_requests, of_tenant, 1, WEIR_QUEUE_TENANT_REQUESTS, ret) ||
           over(c->max_priorities, q->n_tiers, new_tier, WEIR_QUEUE_PRIORITIES, ret);
}

enum weir_status weir_queue_push(struct weir_queue *q, struct weir_queue_item *x, uint64_t now_ms,
                                 struct weir_queue_refusal *ret) {
    x->flow = NULL;
    if (x->klass >= q->config.n_classes)
        x->klass = 0;
    if (refuses(q, x, ret)) {
        ret->retry_after_s = retry_after(q, now_ms);
        return WEIR_LIMIT;
    }
    x->arrival_ms = x->priced_ms = now_ms;
    x->seq = q->next_seq++;
    x->score = score_of(q, x);
    struct tier *t = get_tier(q, x->strict_priority);
    if (t == NULL)
        return WEIR_NOMEM;
    uint64_t of_tenant = 0;
    struct weir_queue_flow *f = get_flow(q, t, x->klass, flow_key(x));
    weir_map_get(&q->tenants, x->tenant, &of_tenant);
    if (f == NULL || heap_push(q, f, x) != WEIR_OK) {
        if (f != NULL)
            drop_flow_if_empty(f);
        drop_tier_if_empty(q, t);
        return WEIR_NOMEM;
    }
    t->n++;
    count_in(q, x);
    if (weir_map_put(&q->tenants, x->tenant, of_tenant + 1) != WEIR_OK) {
        leave(q, x);
        return WEIR_NOMEM;
    }
    return WEIR_OK;
}

bool weir_queue_stale(const struct weir_queue *q, const struct weir_queue_item *x,
                      uint64_t now_ms) {
    return q->config.refresh_ms > 0 && now_ms > x->priced_ms &&
           now_ms - x->priced_ms >= q->config.refresh_ms;
}

void weir_queue_reprice(struct weir_queue *q, struct weir_queue_item *x, uint64_t tokens,
                        uint64_t now_ms) {
    q->total.tokens += tokens - x->uncached_tokens; /* modulo 2^64: exact either way */
    q->of_class[x->klass].tokens += tokens - x->uncached_tokens;
    x->uncached_tokens = tokens;
    x->priced_ms = now_ms;
    x->score = score_of(q, x);
    sift(q, x->flow, x->at);
}

void weir_queue_pop(struct weir_queue *q, struct weir_queue_item *x, uint64_t now_ms) {
    double paid = price(x);
    q->drained = faded(q, now_ms) + paid;
    q->drained_ms = now_ms;
    x->flow->turn.deficit -= paid;
    x->flow->klass->turn.deficit -= paid;
    leave(q, x);
}

void weir_queue_remove(struct weir_queue *q, struct weir_queue_item *x) {
    if (x->flow != NULL)
        leave(q, x);
}

/* ---- figures, begin and end ------------------------------------------------------------------ */

void weir_queue_stats(const struct weir_queue *q, uint64_t now_ms, struct weir_queue_stats *ret) {
    *ret = (struct weir_queue_stats){.requests = q->total.requests,
                                     .tenants = weir_map_len(&q->tenants),
                                     .priorities = q->n_tiers,
                                     .tokens = q->total.tokens,
                                     .tokens_per_s = faded(q, now_ms) * 1000 / RATE_WINDOW_MS,
                                     .retry_after_s = retry_after(q, now_ms)};
}

void weir_queue_class_stats(const struct weir_queue *q, size_t klass, size_t *ret_requests,
                            uint64_t *ret_tokens) {
    *ret_requests = q->of_class[klass].requests;
    *ret_tokens = q->of_class[klass].tokens;
}

const char *weir_queue_reason_word(enum weir_queue_reason reason) {
    static const char *const words[] = {
#define X(name, word) word,
        WEIR_QUEUE_REFUSALS(X)
#undef X
    };
    return words[reason];
}

enum weir_status weir_queue_create(const struct weir_queue_config *config,
                                   struct weir_queue **ret) {
    static const struct weir_queue_class one = {.weight = 1};
    struct weir_queue *q = weir_calloc(1, sizeof(*q));
    if (q == NULL)
        return WEIR_NOMEM;
    q->config = *config;
    if (config->n_classes == 0) {
        q->config.classes = &one;
        q->config.n_classes = 1;
    }
    if (q->config.max_requests == 0)
        q->config.max_requests = 100000;
    if (q->config.quantum == 0)
        q->config.quantum = 8192;
    if (q->config.max_priorities == 0)
        q->config.max_priorities = 256;
    size_t n = q->config.n_classes;
    q->classes = weir_calloc(n, sizeof(*q->classes));
    q->of_class = weir_calloc(n, sizeof(*q->of_class));
    q->tiers = weir_calloc(q->config.max_priorities + 1, sizeof(q->tiers[0]));
    weir_map_init(&q->tenants, SIZE_MAX);
    weir_list_init(&q->passed);
    if (q->classes == NULL || q->of_class == NULL || q->tiers == NULL) {
        weir_queue_destroy(q);
        return WEIR_NOMEM;
    }
    memcpy(q->classes, q->config.classes, n * sizeof(*q->classes));
    for (size_t i = 0; i < n; i++)
        if (q->classes[i].weight == 0)
            q->classes[i].weight = 1;
    q->config.classes = NULL;
    *ret = q;
    return WEIR_OK;
}

void weir_queue_destroy(struct weir_queue *q) {
    if (q == NULL)
        return;
    for (size_t i = 0; i < q->n_tiers; i++) {
        struct tier *t = q->tiers[i];
        for (size_t k = 0; k < q->config.n_classes; k++)
            WEIR_LIST_FOREACH(node, &t->all[k].flows) {
                struct weir_queue_flow *f =
                    WEIR_CONTAINER_OF(node, struct weir_queue_flow, turn.node);
                weir_free(f->items);
                weir_free(f);
            }
        free_tier(q, t);
    }
    weir_map_fini(&q->tenants);
    weir_free(q->tiers);
    weir_free(q->of_class);
    weir_free(q->classes);
    weir_free(q);
}
