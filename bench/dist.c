#include "bench/dist.h"

#include "base/file.h"
#include "base/mem.h"

#include <math.h>

/* "A<sep>B" */
static bool two_numbers(struct weir_span text, char sep, double *ret_a, double *ret_b) {
    struct weir_span rest, first = weir_span_split(text, sep, &rest);
    double a, b;
    if (rest.data == NULL || !weir_span_f64(first, &a) || !weir_span_f64(rest, &b))
        return false;
    *ret_a = a;
    *ret_b = b;
    return true;
}

static bool in_range(double value) {
    return value >= 0 && value <= WEIR_DIST_MAX;
}

static bool parse_named(struct weir_span kind, struct weir_span args, struct weir_dist *d) {
    if (weir_span_eqz(kind, "uniform")) {
        d->kind = WEIR_DIST_UNIFORM;
        return two_numbers(args, '-', &d->a, &d->b) && in_range(d->a) && in_range(d->b) &&
               d->a <= d->b && floor(d->a) == d->a && floor(d->b) == d->b;
    }
    if (weir_span_eqz(kind, "normal")) {
        d->kind = WEIR_DIST_NORMAL;
        return two_numbers(args, ',', &d->a, &d->b) && in_range(d->a) && in_range(d->b);
    }
    if (weir_span_eqz(kind, "lognormal")) {
        d->kind = WEIR_DIST_LOGNORMAL;
        return two_numbers(args, ',', &d->a, &d->b) && in_range(d->a) && d->a > 0 && d->b >= 0 &&
               d->b <= 10;
    }
    d->kind = WEIR_DIST_EXPONENTIAL;
    return weir_span_eqz(kind, "exponential") && weir_span_f64(args, &d->a) && in_range(d->a);
}

static enum weir_status from_file(const char *path, uint64_t floor_at, struct weir_dist *ret_dist,
                                  struct weir_err *err) {
    struct weir_buf text;
    weir_buf_init(&text, (size_t)256 << 20);
    enum weir_status st = weir_file_read(path, WEIR_FILE_ANY, &text, err);
    if (st == WEIR_OK) {
        st = weir_dist_from_lines(weir_buf_span(&text), floor_at, ret_dist, err);
        if (st != WEIR_OK)
            weir_err_prefix(err, "%s", path);
    }
    weir_buf_fini(&text);
    return st;
}

enum weir_status weir_dist_parse(const char *text, uint64_t floor_at, struct weir_dist *ret_dist,
                                 struct weir_err *err) {
    struct weir_span args, kind = weir_span_split(weir_span_z(text), ':', &args);
    struct weir_dist d = {.kind = WEIR_DIST_FIXED, .floor = floor_at};
    if (weir_span_eqz(kind, "file") && args.data != NULL)
        return from_file(args.data, floor_at, ret_dist, err);
    bool good = args.data != NULL ? parse_named(kind, args, &d)
                                  : weir_span_f64(kind, &d.a) && in_range(d.a);
    if (!good)
        return weir_err_set(err, WEIR_INVALID,
                            "'%s' is no distribution: write NUMBER, uniform:LOW-HIGH, "
                            "normal:MEAN,DEVIATION, lognormal:MEDIAN,SIGMA, exponential:MEAN or "
                            "file:PATH, with numbers up to %d",
                            text, WEIR_DIST_MAX);
    double top = d.kind == WEIR_DIST_UNIFORM ? d.b : d.a;
    if (top < (double)floor_at)
        return weir_err_set(err, WEIR_INVALID, "'%s' lies below the smallest value allowed, %d",
                            text, (int)floor_at);
    *ret_dist = d;
    return WEIR_OK;
}

enum weir_status weir_dist_from_lines(struct weir_span lines, uint64_t floor_at,
                                      struct weir_dist *ret_dist, struct weir_err *err) {
    struct weir_dist d = {.kind = WEIR_DIST_VALUES, .floor = floor_at};
    size_t cap = 0, number = 0;
    for (struct weir_span rest = lines; rest.data != NULL;) {
        struct weir_span line = weir_span_trim(weir_span_split(rest, '\n', &rest));
        number++;
        if (line.len == 0 || line.data[0] == '#')
            continue;
        uint64_t value;
        if (!weir_span_u64(line, &value) || value < floor_at || value > WEIR_DIST_MAX ||
            d.n_values == WEIR_DIST_MAX_VALUES) {
            weir_free(d.values);
            return weir_err_set(err, WEIR_INVALID,
                                "line %zu: a whole number from %d to %d is needed", number,
                                (int)floor_at, WEIR_DIST_MAX);
        }
        if (d.n_values == cap) {
            cap = cap > 0 ? 2 * cap : 1024;
            uint32_t *more = weir_realloc(d.values, cap * sizeof(*more));
            if (more == NULL) {
                weir_free(d.values);
                return weir_err_set(err, WEIR_NOMEM, "out of memory");
            }
            d.values = more;
        }
        d.values[d.n_values++] = (uint32_t)value;
    }
    if (d.n_values == 0)
        return weir_err_set(err, WEIR_INVALID, "no number in it");
    *ret_dist = d;
    return WEIR_OK;
}

void weir_dist_fini(struct weir_dist *dist) {
    if (dist == NULL)
        return;
    weir_free(dist->values);
    dist->values = NULL;
}

static double draw(const struct weir_dist *d, struct weir_rng *rng) {
    switch (d->kind) {
    case WEIR_DIST_FIXED:
        return d->a;
    case WEIR_DIST_UNIFORM:
        return d->a + (double)weir_rng_below(rng, (uint64_t)(d->b - d->a) + 1);
    case WEIR_DIST_NORMAL:
        return d->a + d->b * weir_rng_normal(rng);
    case WEIR_DIST_LOGNORMAL:
        return d->a * exp(d->b * weir_rng_normal(rng));
    case WEIR_DIST_EXPONENTIAL:
        return weir_rng_exp(rng, d->a);
    case WEIR_DIST_VALUES:
        return d->values[weir_rng_below(rng, d->n_values)];
    }
    return d->a;
}

uint64_t weir_dist_sample(const struct weir_dist *dist, struct weir_rng *rng) {
    /* The mean is above the floor, so half of a normal's draws fit: a hundred misses are no case.
     */
    for (int tries = 0; tries < 100; tries++) {
        double value = rint(draw(dist, rng));
        if (value >= (double)dist->floor && value <= WEIR_DIST_MAX)
            return (uint64_t)value;
    }
    return dist->floor;
}

double weir_dist_mean(const struct weir_dist *dist) {
    double sum = 0;
    switch (dist->kind) {
    case WEIR_DIST_UNIFORM:
        return (dist->a + dist->b) / 2;
    case WEIR_DIST_LOGNORMAL:
        return dist->a * exp(dist->b * dist->b / 2);
    case WEIR_DIST_VALUES:
        for (size_t i = 0; i < dist->n_values; i++)
            sum += dist->values[i];
        return sum / (double)dist->n_values;
    default:
        return dist->a;
    }
}
