/*
 * Distributions of lengths and times, from a text:
 *     512                        always so
 *     uniform:100-900            whole numbers, both ends included
 *     normal:512,64              mean and standard deviation
 *     lognormal:512,0.8          median, and deviation of the logarithm
 *     exponential:200            mean
 *     file:PATH                  one number a line, drawn with equal chance
 * Samples are whole and never below the floor that the caller gives: what a normal distribution
 * would put under it is drawn again, so that the floor does not become a peak. Pure but for the
 * loading of a file. Threads: sampling any, each with its own generator.
 */
#ifndef WEIR_BENCH_DIST_H
#define WEIR_BENCH_DIST_H

#include "base/rng.h"
#include "base/span.h"
#include "base/status.h"

enum weir_dist_kind {
    WEIR_DIST_FIXED,
    WEIR_DIST_UNIFORM,
    WEIR_DIST_NORMAL,
    WEIR_DIST_LOGNORMAL,
    WEIR_DIST_EXPONENTIAL,
    WEIR_DIST_VALUES,
};

struct weir_dist {
    enum weir_dist_kind kind;
    double a, b;
    uint64_t floor;
    uint32_t *values; /* owned; of WEIR_DIST_VALUES */
    size_t n_values;
};

enum { WEIR_DIST_MAX = 16777216, WEIR_DIST_MAX_VALUES = 16777216 };

/* Samples lie in [floor, WEIR_DIST_MAX]. Reads the file of "file:". On failure nothing is owned. */
enum weir_status weir_dist_parse(const char *text, uint64_t floor, struct weir_dist *ret_dist,
                                 struct weir_err *err) WEIR_MUST_CHECK;
/* The numbers of a file's text; empty lines and lines that begin with # are skipped. */
enum weir_status weir_dist_from_lines(struct weir_span lines, uint64_t floor,
                                      struct weir_dist *ret_dist,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_dist_fini(struct weir_dist *dist);
uint64_t weir_dist_sample(const struct weir_dist *dist, struct weir_rng *rng);
double weir_dist_mean(const struct weir_dist *dist);

#endif
