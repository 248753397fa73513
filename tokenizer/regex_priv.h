/*
 * Regular expressions of tokenizers whose pattern is not scanned by hand, by way of PCRE2. The
 * reference uses Oniguruma with newer Unicode tables, so characters younger than PCRE2's tables may
 * fall otherwise; the loader says so in the log. What the two engines read differently is refused.
 */
#ifndef WEIR_TOKENIZER_REGEX_PRIV_H
#define WEIR_TOKENIZER_REGEX_PRIV_H

#include "base/buf.h"

struct wtok_regex;
enum weir_status wtok_regex_create(struct weir_span pattern, struct wtok_regex **ret_regex,
                                   struct weir_err *err) WEIR_MUST_CHECK;
void wtok_regex_destroy(struct wtok_regex *regex);
/* What a search under way needs; one per thread. NULL when out of memory. */
struct wtok_match;
struct wtok_match *wtok_match_create(const struct wtok_regex *regex);
void wtok_match_destroy(struct wtok_match *match);
/* The first match at or behind `from` of valid UTF-8; WEIR_NOT_FOUND; WEIR_LIMIT when the engine
 * gave up. */
enum weir_status wtok_regex_find(const struct wtok_regex *regex, struct wtok_match *match,
                                 struct weir_span text, size_t from, size_t *ret_start,
                                 size_t *ret_end) WEIR_MUST_CHECK;

/* The name of a script, or an alias of one. */
bool wtok_regex_is_script(struct weir_span name);
/* regex_translate.c: appends the pattern in PCRE2's terms. WEIR_UNSUPPORTED names what is not
 * understood. */
enum weir_status wtok_regex_translate(struct weir_span pattern, struct weir_buf *out,
                                      struct weir_err *err) WEIR_MUST_CHECK;

#endif
