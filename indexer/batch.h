/* A bulk query (POST /query_batch) as text and as arrays. Pure. */
#ifndef WEIR_INDEXER_BATCH_H
#define WEIR_INDEXER_BATCH_H

#include "base/buf.h"
#include "base/span.h"
#include "base/status.h"
#include "kvindex/kvi.h"

enum { WEIR_BATCH_MAX = 65536 }; /* queries of one */

/* Query i by tokens: tokens[from .. from + n) with that seed; by hashes: hashes[from …). */
struct weir_batch_query {
    size_t from, n;
    uint64_t seed;
    bool by_hash;
};
struct weir_batch {
    struct weir_span model, group; /* in the text, or in `names`; group defaults to "default" */
    struct weir_buf names;
    struct weir_batch_query *queries; /* all owned */
    size_t n, cap;
    uint32_t *tokens;
    size_t n_tokens, cap_tokens;
    uint64_t *hashes;
    size_t n_hashes, cap_hashes;
};
/* {"model_name", "routing_group" or "tenant_id", "lora_name", "cache_salt", "queries":
 * [{"token_ids" or "block_hashes", "lora_name", "cache_salt"}, …]}; a query's names come before the
 * batch's. `text` outlives the batch. WEIR_INVALID, WEIR_NOMEM: err says what is wrong. */
enum weir_status weir_batch_parse(struct weir_batch *b, struct weir_span text,
                                  struct weir_err *err) WEIR_MUST_CHECK;
void weir_batch_fini(struct weir_batch *b);
/* All queries as local hashes one behind the other: *ret_offsets n + 1 long; both the caller's. */
enum weir_status weir_batch_hash(const struct weir_batch *b, uint32_t block_size,
                                 uint64_t **ret_local, uint64_t **ret_offsets) WEIR_MUST_CHECK;

#endif
