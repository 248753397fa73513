/*
 * From what an engine publishes of one rank to events of the index: the tokens of each block are
 * hashed as prompts are, and the engine's own hashes serve as names only. Source: shared spec
 * "kvrouter" 2.2 (conversion, namespaces, filter), "engines" 2. Pure; one thread at a time.
 *
 * What is not certain is left out: a block that is not known costs a hit, a wrong one a detour.
 */
#ifndef WEIR_ROUTER_ENGINE_EVENTS_H
#define WEIR_ROUTER_ENGINE_EVENTS_H

#include "wire/engine_event.h"

struct weir_engine_rank;

/* Counts since creation. */
struct weir_engine_rank_stats {
    uint64_t stored_blocks, removed_blocks, clears;
    uint64_t other_group;   /* events of groups that prefix hits do not follow */
    uint64_t remote, other; /* events of other workers; of no known type */
    uint64_t ambiguous;     /* blocks whose adapter or salt cannot be known */
    uint64_t media;         /* blocks with media, and what follows them */
    uint64_t block_size;    /* blocks of another size */
    uint64_t repeated;      /* blocks stored again, or a name twice in one event */
    uint64_t table_full;    /* blocks that did not fit the table of names */
};

/* `max_blocks`: names that are remembered; 0 = 4,194,304. */
enum weir_status weir_engine_rank_create(uint32_t block_size, size_t max_blocks,
                                         struct weir_engine_rank **ret_rank) WEIR_MUST_CHECK;
/*
 * Hashes as Dynamo's index has them, where the adapter's name is part of a block's hash; and a salt
 * that Dynamo's workers gave to their engine loses what they put in front of it. Before the first
 * event.
 */
void weir_engine_rank_hash_as_dynamo(struct weir_engine_rank *rank);
/* Accepts NULL. */
void weir_engine_rank_destroy(struct weir_engine_rank *rank);
/* Everything is forgotten: the engine has started anew. */
void weir_engine_rank_reset(struct weir_engine_rank *rank);

/*
 * One event of the engine as at most one event of the index; false: nothing changes. *ret_event's
 * arrays live until the next call; worker_id, dp_rank and event_id are the caller's. *ret_lora is
 * the adapter whose blocks they are (empty: the model itself); a removal or a clear is for all.
 *
 * A name that was stored several times (SGLang does so) is removed with its last copy.
 */
bool weir_engine_rank_convert(struct weir_engine_rank *rank, const struct weir_engine_event *event,
                              struct weir_kv_event *ret_event, struct weir_span *ret_lora);
void weir_engine_rank_get_stats(const struct weir_engine_rank *rank,
                                struct weir_engine_rank_stats *ret_stats);

#endif
