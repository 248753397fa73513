/*
 * Decimal text of numbers, as JSON and metrics need it: independent of the locale, without loss.
 * Pure.
 */
#ifndef WEIR_BASE_NUMBER_H
#define WEIR_BASE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

enum { WEIR_U64_TEXT = 20, WEIR_F64_TEXT = 32, WEIR_SINGLE_TEXT = 24 };

/* All return the number of characters written and add no NUL. */
size_t weir_u64_text(uint64_t value, char out[WEIR_U64_TEXT]);
/*
 * The shortest digits that read back equal, laid out as serde_json does since 2025: "1.0",
 * "0.00001", "1.5e-7", "1e+16" (plain for 1e-5 <= |value| < 1e16). `value` must be finite.
 */
size_t weir_f64_text(double value, char out[WEIR_F64_TEXT]);
/* The same for single precision, where plain is 1e-6 <= |value| < 1e13. */
size_t weir_single_text(float value, char out[WEIR_SINGLE_TEXT]);

#endif
