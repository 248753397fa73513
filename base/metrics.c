#include "base/metrics.h"

#include "base/mem.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_MAX_SERIES = 1024, MAX_SCRAPES = 16 };

/*
 * Updates are relaxed atomics on one series; the lists are guarded by the registry's mutex and only
 * grow, so a series pointer stays valid. Doubles are added with a compare-and-swap loop.
 */
struct weir_metric {
    struct weir_metric *next;
    const struct weir_metric_desc *desc;
    char *labels;           /* owned: {a="b",c="d"} without braces; "" when there are none */
    _Atomic uint64_t value; /* bits of a double: counter, gauge, sum of a histogram */
    _Atomic bool retired;
    /* histogram: n_buckets and what is above them, each alone (summed at exposition) */
    _Atomic uint64_t buckets[];
};

struct weir_metric_family {
    struct weir_metric_family *next;
    struct weir_metrics *metrics;
    const struct weir_metric_desc *desc;
    struct weir_metric *first, *last;
    unsigned n_series, max_series;
};

struct weir_metrics {
    pthread_mutex_t lock;
    struct weir_metric_family *first, *last;
    struct {
        weir_metrics_scrape_fn fn;
        void *arg;
    } scrapes[MAX_SCRAPES];
    size_t n_scrapes;
};

static const struct weir_metric_desc sink_desc = {.name = "sink", .type = WEIR_COUNTER};
/* Takes updates that have no series of their own; never exported. */
static struct weir_metric sink = {.desc = &sink_desc};

static double two_digits(double v) {
    char text[32];
    snprintf(text, sizeof(text), "%.1e", v);
    return strtod(text, NULL);
}

unsigned weir_metric_log_buckets(double min, double max, unsigned count, double *ret_bounds) {
    unsigned n = 0;
    ret_bounds[n++] = 0;
    for (unsigned i = 1; i < count; i++) {
        double bound = two_digits(min * pow(max / min, (double)i / (count - 1)));
        if (bound > ret_bounds[n - 1])
            ret_bounds[n++] = bound;
    }
    return n;
}

enum weir_status weir_metrics_create(struct weir_metrics **ret_metrics) {
    struct weir_metrics *m = weir_calloc(1, sizeof(*m));
    if (m == NULL)
        return WEIR_NOMEM;
    pthread_mutex_init(&m->lock, NULL);
    *ret_metrics = m;
    return WEIR_OK;
}

void weir_metrics_destroy(struct weir_metrics *metrics) {
    if (metrics == NULL)
        return;
    for (struct weir_metric_family *f = metrics->first; f != NULL;) {
        for (struct weir_metric *s = f->first; s != NULL;) {
            struct weir_metric *next = s->next;
            weir_free(s->labels);
            weir_free(s);
            s = next;
        }
        struct weir_metric_family *next = f->next;
        weir_free(f);
        f = next;
    }
    pthread_mutex_destroy(&metrics->lock);
    weir_free(metrics);
}

static bool has_labels(const struct weir_metric_desc *d) {
    return d->labels[0] != NULL;
}

struct weir_metric_family *weir_metrics_family(struct weir_metrics *metrics,
                                               const struct weir_metric_desc *desc,
                                               unsigned max_series) {
    pthread_mutex_lock(&metrics->lock);
    struct weir_metric_family *f = metrics->first;
    while (f != NULL && f->desc != desc)
        f = f->next;
    if (f == NULL && (f = weir_calloc(1, sizeof(*f))) != NULL) {
        f->metrics = metrics;
        f->desc = desc;
        f->max_series = max_series > 0 ? max_series : DEFAULT_MAX_SERIES;
        if (metrics->last != NULL)
            metrics->last->next = f;
        else
            metrics->first = f;
        metrics->last = f;
    }
    pthread_mutex_unlock(&metrics->lock);
    if (f != NULL && !has_labels(desc))
        weir_metric_get(f, NULL);
    return f;
}

static enum weir_status put_label_value(struct weir_buf *out, const char *value) {
    enum weir_status st = WEIR_OK;
    for (; *value != '\0' && st == WEIR_OK; value++) {
        if (*value == '\n')
            st = weir_buf_append_z(out, "\\n");
        else if (*value == '"' || *value == '\\')
            st = weir_buf_printf(out, "\\%c", *value);
        else
            st = weir_buf_append_c(out, *value);
    }
    return st;
}

/* Appends a="x",b="y" and a NUL. */
static enum weir_status format_labels(const struct weir_metric_desc *d, const char *const *values,
                                      struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (int i = 0; i < WEIR_METRIC_MAX_LABELS && d->labels[i] != NULL && st == WEIR_OK; i++) {
        st = weir_buf_printf(out, "%s%s=\"", i > 0 ? "," : "", d->labels[i]);
        if (st == WEIR_OK)
            st = put_label_value(out, values != NULL ? values[i] : "other");
        if (st == WEIR_OK)
            st = weir_buf_append_c(out, '"');
    }
    return st == WEIR_OK ? weir_buf_append_c(out, '\0') : st;
}

static struct weir_metric *find_series(const struct weir_metric_family *f, const char *labels) {
    struct weir_metric *s = f->first;
    while (s != NULL && strcmp(s->labels, labels) != 0)
        s = s->next;
    return s;
}

/* A retired one becomes another's; NULL: none is retired. */
static struct weir_metric *reuse_series(struct weir_metric_family *f, const char *labels) {
    struct weir_metric *s = f->first;
    while (s != NULL && !atomic_load_explicit(&s->retired, memory_order_relaxed))
        s = s->next;
    char *copy = s != NULL ? weir_strdup(labels) : NULL;
    if (copy == NULL)
        return NULL;
    weir_free(s->labels);
    s->labels = copy;
    atomic_store_explicit(&s->value, 0, memory_order_relaxed);
    for (unsigned i = 0; f->desc->type == WEIR_HISTOGRAM && i <= f->desc->n_buckets; i++)
        atomic_store_explicit(&s->buckets[i], 0, memory_order_relaxed);
    return s;
}

static struct weir_metric *add_series(struct weir_metric_family *f, const char *labels) {
    size_t buckets = f->desc->type == WEIR_HISTOGRAM ? f->desc->n_buckets + 1 : 0;
    struct weir_metric *s = weir_calloc(1, sizeof(*s) + buckets * sizeof(s->buckets[0]));
    char *copy = weir_strdup(labels);
    if (s == NULL || copy == NULL) {
        weir_free(s);
        weir_free(copy);
        return &sink;
    }
    s->desc = f->desc;
    s->labels = copy;
    if (f->last != NULL)
        f->last->next = s;
    else
        f->first = s;
    f->last = s;
    f->n_series++;
    return s;
}

struct weir_metric *weir_metric_get(struct weir_metric_family *family, const char *const *values) {
    if (family == NULL)
        return &sink;
    struct weir_buf labels;
    weir_buf_init(&labels, 4096);
    struct weir_metric *s = &sink;
    if (format_labels(family->desc, values, &labels) == WEIR_OK) {
        pthread_mutex_lock(&family->metrics->lock);
        s = find_series(family, labels.data);
        if (s == NULL && family->n_series >= family->max_series)
            s = reuse_series(family, labels.data);
        if (s == NULL && family->n_series >= family->max_series) {
            weir_buf_clear(&labels);
            s = format_labels(family->desc, NULL, &labels) == WEIR_OK
                    ? find_series(family, labels.data)
                    : &sink;
        }
        if (s == NULL)
            s = add_series(family, labels.data);
        if (s != &sink)
            atomic_store_explicit(&s->retired, false, memory_order_relaxed);
        pthread_mutex_unlock(&family->metrics->lock);
    }
    weir_buf_fini(&labels);
    return s;
}

void weir_metric_retire(struct weir_metric_family *family, const char *const *values) {
    struct weir_metric *s = weir_metric_get(family, values);
    if (s != &sink)
        atomic_store_explicit(&s->retired, true, memory_order_relaxed);
}

static double load(const _Atomic uint64_t *bits) {
    uint64_t u = atomic_load_explicit(bits, memory_order_relaxed);
    double d;
    memcpy(&d, &u, sizeof(d));
    return d;
}

static void store(_Atomic uint64_t *bits, double value) {
    uint64_t u;
    memcpy(&u, &value, sizeof(u));
    atomic_store_explicit(bits, u, memory_order_relaxed);
}

static void add(_Atomic uint64_t *bits, double delta) {
    uint64_t old = atomic_load_explicit(bits, memory_order_relaxed), new;
    do {
        double d;
        memcpy(&d, &old, sizeof(d));
        d += delta;
        memcpy(&new, &d, sizeof(new));
    } while (!atomic_compare_exchange_weak_explicit(bits, &old, new, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void weir_metric_add(struct weir_metric *m, double delta) {
    add(&m->value, delta);
}
void weir_metric_inc(struct weir_metric *m) {
    add(&m->value, 1);
}
void weir_metric_dec(struct weir_metric *m) {
    add(&m->value, -1);
}
void weir_metric_set(struct weir_metric *m, double value) {
    store(&m->value, value);
}

void weir_metric_observe(struct weir_metric *m, double value) {
    weir_metric_observe_n(m, value, 1);
}

void weir_metric_observe_n(struct weir_metric *m, double value, uint64_t n) {
    if (m->desc->type == WEIR_HISTOGRAM) {
        unsigned i = 0;
        while (i < m->desc->n_buckets && value > m->desc->buckets[i])
            i++;
        atomic_fetch_add_explicit(&m->buckets[i], n, memory_order_relaxed);
    }
    if (value != 0)
        add(&m->value, value * (double)n);
}

static uint64_t observations(const struct weir_metric *m) {
    uint64_t n = 0;
    for (unsigned i = 0; i <= m->desc->n_buckets; i++)
        n += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
    return n;
}

double weir_metric_value(const struct weir_metric *m) {
    if (m->desc->type == WEIR_HISTOGRAM)
        return (double)observations(m);
    return load(&m->value);
}

enum weir_status weir_metrics_on_scrape(struct weir_metrics *metrics, weir_metrics_scrape_fn fn,
                                        void *arg) {
    pthread_mutex_lock(&metrics->lock);
    bool room = metrics->n_scrapes < MAX_SCRAPES;
    if (room) {
        metrics->scrapes[metrics->n_scrapes].fn = fn;
        metrics->scrapes[metrics->n_scrapes++].arg = arg;
    }
    pthread_mutex_unlock(&metrics->lock);
    return room ? WEIR_OK : WEIR_LIMIT;
}

/* ---- exposition --------------------------------------------------------------------------- */

static enum weir_status put_number(struct weir_buf *out, double v) {
    if (isnan(v))
        return weir_buf_append_z(out, "NaN");
    if (isinf(v))
        return weir_buf_append_z(out, v > 0 ? "+Inf" : "-Inf");
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        double back;
        if (weir_span_f64(weir_span_z(text), &back) && back == v)
            break;
    }
    return weir_buf_append_z(out, text);
}

static enum weir_status put_sample(struct weir_buf *out, const struct weir_metric *s,
                                   const char *suffix, const char *le, double value) {
    bool any = s->labels[0] != '\0' || le != NULL;
    enum weir_status st = weir_buf_printf(
        out, "%s%s%s%s%s%s%s%s%s ", s->desc->name, suffix, any ? "{" : "", s->labels,
        s->labels[0] != '\0' && le != NULL ? "," : "", le != NULL ? "le=\"" : "",
        le != NULL ? le : "", le != NULL ? "\"" : "", any ? "}" : "");
    if (st == WEIR_OK)
        st = put_number(out, value);
    return st == WEIR_OK ? weir_buf_append_c(out, '\n') : st;
}

static enum weir_status put_histogram(struct weir_buf *out, const struct weir_metric *s) {
    uint64_t n = 0;
    enum weir_status st = WEIR_OK;
    for (unsigned i = 0; i < s->desc->n_buckets && st == WEIR_OK; i++) {
        n += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        char room[40];
        struct weir_buf le = {.data = room, .cap = sizeof(room), .max = sizeof(room) - 1};
        st = put_number(&le, s->desc->buckets[i]);
        room[le.len] = '\0';
        if (st == WEIR_OK)
            st = put_sample(out, s, "_bucket", room, (double)n);
    }
    uint64_t total =
        n + atomic_load_explicit(&s->buckets[s->desc->n_buckets], memory_order_relaxed);
    if (st == WEIR_OK)
        st = put_sample(out, s, "_bucket", "+Inf", (double)total);
    if (st == WEIR_OK)
        st = put_sample(out, s, "_sum", NULL, load(&s->value));
    return st == WEIR_OK ? put_sample(out, s, "_count", NULL, (double)total) : st;
}

static enum weir_status put_family(struct weir_buf *out, const struct weir_metric_family *f) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    if (f->first == NULL)
        return WEIR_OK;
    enum weir_status st = weir_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->desc->name,
                                          f->desc->help, f->desc->name, types[f->desc->type]);
    for (const struct weir_metric *s = f->first; s != NULL && st == WEIR_OK; s = s->next) {
        if (atomic_load_explicit(&s->retired, memory_order_relaxed))
            continue;
        st = f->desc->type == WEIR_HISTOGRAM ? put_histogram(out, s)
                                             : put_sample(out, s, "", NULL, load(&s->value));
    }
    return st;
}

enum weir_status weir_metrics_expose(struct weir_metrics *metrics, struct weir_buf *out) {
    /* Outside the lock: a scrape function sets series and may create some. */
    for (size_t i = 0; i < metrics->n_scrapes; i++)
        metrics->scrapes[i].fn(metrics->scrapes[i].arg);
    pthread_mutex_lock(&metrics->lock);
    enum weir_status st = WEIR_OK;
    for (const struct weir_metric_family *f = metrics->first; f != NULL && st == WEIR_OK;
         f = f->next)
        st = put_family(out, f);
    pthread_mutex_unlock(&metrics->lock);
    return st;
}
