#include "bench/timeline.h"

#include "base/mem.h"

enum weir_status weir_timeline_init(struct weir_timeline *t, uint64_t width_ns) {
    t->width_ns = width_ns;
    t->buckets = weir_calloc(WEIR_TIMELINE_BUCKETS, sizeof(*t->buckets));
    if (t->buckets == NULL)
        return WEIR_NOMEM;
    for (unsigned i = 0; i < WEIR_TIMELINE_BUCKETS; i++) {
        enum weir_status st = weir_hist_init(&t->buckets[i].ttft, WEIR_TIMELINE_BITS);
        if (st != WEIR_OK) {
            weir_timeline_fini(t);
            return st;
        }
    }
    return WEIR_OK;
}

void weir_timeline_fini(struct weir_timeline *t) {
    if (t == NULL || t->buckets == NULL)
        return;
    for (unsigned i = 0; i < WEIR_TIMELINE_BUCKETS; i++)
        weir_hist_fini(&t->buckets[i].ttft);
    weir_free(t->buckets);
    t->buckets = NULL;
}

static void add(struct weir_timeline_bucket *dst, const struct weir_timeline_bucket *src,
                bool same_time) {
    dst->sent += src->sent;
    dst->done += src->done;
    dst->errors += src->errors;
    dst->tokens += src->tokens;
    /* Of one loop at two times the most counts; of two loops at one time the sum. */
    if (same_time)
        dst->in_flight += src->in_flight;
    else if (src->in_flight > dst->in_flight)
        dst->in_flight = src->in_flight;
    weir_hist_merge(&dst->ttft, &src->ttft);
}

static void clear(struct weir_timeline_bucket *b) {
    b->sent = b->done = b->errors = b->tokens = b->in_flight = 0;
    weir_hist_clear(&b->ttft);
}

/* Two neighbours become one. */
static void fold(struct weir_timeline *t) {
    for (unsigned i = 0; i < WEIR_TIMELINE_BUCKETS; i++) {
        struct weir_timeline_bucket *b = &t->buckets[i];
        if (i == 0)
            continue;
        add(&t->buckets[i / 2], b, false);
        clear(b);
    }
    t->width_ns *= 2;
}

struct weir_timeline_bucket *weir_timeline_at(struct weir_timeline *t, uint64_t ns) {
    while (ns / t->width_ns >= WEIR_TIMELINE_BUCKETS)
        fold(t);
    return &t->buckets[ns / t->width_ns];
}

void weir_timeline_merge(struct weir_timeline *dst, struct weir_timeline *src) {
    while (dst->width_ns < src->width_ns)
        fold(dst);
    while (src->width_ns < dst->width_ns)
        fold(src);
    for (unsigned i = 0; i < WEIR_TIMELINE_BUCKETS; i++)
        add(&dst->buckets[i], &src->buckets[i], true);
}

unsigned weir_timeline_used(const struct weir_timeline *t) {
    unsigned n = WEIR_TIMELINE_BUCKETS;
    for (; n > 0; n--) {
        const struct weir_timeline_bucket *b = &t->buckets[n - 1];
        if (b->sent + b->done + b->errors + b->tokens + b->ttft.n > 0)
            break;
    }
    return n;
}
