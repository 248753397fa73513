/* Dumps that carry tokens in the place of content hashes, as engines send them. */
#ifndef WEIR_INDEXER_TOKENS_H
#define WEIR_INDEXER_TOKENS_H

#include "base/buf.h"
#include "base/status.h"
#include "indexer/device.h"

/* Whether an NDJSON dump may hold such records. */
bool weir_tokens_in(struct weir_span dump);
enum weir_hashed_by {
    WEIR_HASHED_NOTHING, /* no record has tokens after all */
    WEIR_HASHED_BY_CPU,  /* some at least */
    WEIR_HASHED_BY_DEVICE
};
/*
 * The dump with router events in the place of records whose event is an engine's BlockStored (its
 * map form, shared spec "kvrouter" 2.2, and whose it is): {"key", "block_size", "event": {"type":
 * "BlockStored", "worker_id", "dp_rank", "block_hashes", "parent_block_hash", "token_ids",
 * "medium", "lora_name", "cache_salt"}}. Other lines stay. The hashing is the device's where it has
 * time (NULL: none); *ret_by: what did it. WEIR_INVALID, WEIR_NOMEM: err says what is wrong;
 * WEIR_CANCELLED: *gone has become true. Thread: one that may wait.
 */
enum weir_status weir_tokens_hash(struct weir_device *device, struct weir_span dump,
                                  const _Atomic bool *gone, struct weir_buf *out,
                                  enum weir_hashed_by *ret_by,
                                  struct weir_err *err) WEIR_MUST_CHECK;

#endif
