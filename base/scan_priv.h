/*
 * The inner loops of the JSON scanner and writer and of UTF-8 validation, one set per instruction
 * set. Pure; never read beyond the text.
 */
#ifndef WEIR_BASE_SCAN_PRIV_H
#define WEIR_BASE_SCAN_PRIV_H

#include <stdbool.h>
#include <stddef.h>

struct weir_scan {
    const char *name;
    /* Leading bytes that are neither quote nor backslash nor below 0x20; sets *high (never clears
     * it) when one of them, or of the few behind them, is above 0x7f. */
    size_t (*run)(const char *p, size_t len, bool *high);
    bool (*utf8_valid)(const char *p, size_t len);
};

/* The best one for this processor. */
const struct weir_scan *weir_scan_best(void);
/* For tests and measurements: the i-th one that this processor can run, NULL behind the last. */
const struct weir_scan *weir_scan_kernel(size_t i);

#endif
