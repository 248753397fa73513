/* Arrays of tokens and of block hashes as JSON writes them. Pure. */
#ifndef WEIR_INDEXER_NUMBERS_H
#define WEIR_INDEXER_NUMBERS_H

#include "base/json.h"
#include "base/status.h"

/* A hash: signed in the reference's clients and in engines' events, unsigned elsewhere; the bits
 * count. False: it is no 64-bit integer. */
bool weir_numbers_hash(struct weir_json *j, uint64_t *ret_hash);

/* Appends what the array at the scanner holds, an unsigned 32-bit integer or a hash each, to *array
 * (owned by the caller; *n of *cap). WEIR_INVALID: it is no such array; WEIR_NOMEM. */
enum weir_status weir_numbers_tokens(struct weir_json *j, uint32_t **array, size_t *n,
                                     size_t *cap) WEIR_MUST_CHECK;
enum weir_status weir_numbers_hashes(struct weir_json *j, uint64_t **array, size_t *n,
                                     size_t *cap) WEIR_MUST_CHECK;

#endif
