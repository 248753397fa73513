/* What engines answer about themselves, read into structs. Pure. Strings lie in the arena. Facts:
 * shared spec "engines" 2.2 to 2.4; captures in its data. */
#ifndef WEIR_RUNTIME_ENGINE_ANSWERS_H
#define WEIR_RUNTIME_ENGINE_ANSWERS_H

#include "base/arena.h"
#include "runtime/engines.h"

/* GET /v1/models. WEIR_INVALID: no list of models. At most `room` are kept. */
enum weir_status weir_engine_read_models(struct weir_span body, struct weir_arena *arena,
                                         struct weir_engine_model *ret_models, size_t room,
                                         size_t *ret_n) WEIR_MUST_CHECK;
/* GET /kv_event_sources of vLLM: those that publish over ZeroMQ. A host that stands for all
 * addresses of the engine's machine becomes `host`; an endpoint that the engine connects out to is
 * marked with the host '*'. Sorted by rank. */
enum weir_status weir_engine_read_sources(struct weir_span body, const char *host,
                                          struct weir_arena *arena,
                                          struct weir_engine_source *ret_sources, size_t room,
                                          size_t *ret_n) WEIR_MUST_CHECK;
/* GET /server_info of SGLang: the same, from its member kv_events (a base port, to which a rank is
 * added), and the size of its pages (0 = not told). An older SGLang has no such member: no source.
 */
enum weir_status weir_engine_read_server_info(struct weir_span body, const char *host,
                                              struct weir_arena *arena,
                                              struct weir_engine_source *ret_sources, size_t room,
                                              size_t *ret_n,
                                              uint32_t *ret_block_size) WEIR_MUST_CHECK;
/* The same for an endpoint that an operator wrote: a consumer's address, with the port of `rank`
 * added. data NULL: no "tcp://host:port", or out of memory. */
struct weir_span weir_engine_rank_endpoint(struct weir_span endpoint, uint32_t rank,
                                           struct weir_arena *arena);

/* GET /metrics. */
struct weir_engine_metrics {
    struct weir_engine_load ranks[WEIR_ENGINE_MAX_RANKS];
    size_t n_ranks;       /* those that were seen: 0 to n_ranks - 1 */
    uint32_t block_size;  /* 0 = not told */
    uint64_t n_kv_blocks; /* of a rank; 0 = not told */
};
void weir_engine_read_metrics(struct weir_span page, struct weir_engine_metrics *ret_metrics);

/* POST /tokenize: the ids. */
enum weir_status weir_engine_read_tokens(struct weir_span body, struct weir_arena *arena,
                                         const uint32_t **ret_ids, size_t *ret_n) WEIR_MUST_CHECK;

#endif
