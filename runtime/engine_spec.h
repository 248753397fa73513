/* What an operator says of an HTTP engine: a flag's text or a table of a TOML file. Pure but for
 * reading the file. */
#ifndef WEIR_RUNTIME_ENGINE_SPEC_H
#define WEIR_RUNTIME_ENGINE_SPEC_H

#include "base/arena.h"
#include "base/status.h"

/* The part that an engine plays in a split deployment. */
enum weir_engine_role { WEIR_ENGINE_ALL, WEIR_ENGINE_PREFILL, WEIR_ENGINE_DECODE };

struct weir_engine_spec {
    bool tls;
    struct weir_span host; /* literal address without brackets, or a name */
    bool literal;
    uint16_t port;
    struct weir_span model; /* the only model to serve from it, or empty: all it names */
    struct weir_span events,
        replay;             /* "tcp://host:port" of rank 0, or empty: asked of the engine */
    struct weir_span topic; /* beginning of the topics to take; empty: every one */
    uint32_t block_size;    /* 0: asked of the engine */
    uint32_t n_ranks;       /* 0: asked of the engine, else 1 */
    enum weir_engine_role role;
    uint16_t bootstrap_port; /* where decode engines meet a prefill engine of SGLang; 0: 8998 */
};

/* "http[s]://host[:port][,key=value…]". Strings lie in the arena. */
enum weir_status weir_engine_spec_parse(struct weir_span text, struct weir_arena *arena,
                                        struct weir_engine_spec *ret_spec,
                                        struct weir_err *err) WEIR_MUST_CHECK;
/* All [[worker]] tables of a file. WEIR_LIMIT: more than `max`. */
enum weir_status weir_engine_specs_read(const char *path, size_t max, struct weir_arena *arena,
                                        struct weir_engine_spec **ret_specs, size_t *ret_n,
                                        struct weir_err *err) WEIR_MUST_CHECK;
bool weir_engine_spec_eq(const struct weir_engine_spec *a, const struct weir_engine_spec *b);

#endif
