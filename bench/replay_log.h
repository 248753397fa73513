/*
 * A frontend's decision log (--decision-log) decided again, from the inputs that it recorded: are
 * the choices the same, and what would other modes and options have chosen in the same state? One
 * step each time: how the caches would have come to differ afterwards, only a trace can say.
 */
#ifndef WEIR_BENCH_REPLAY_LOG_H
#define WEIR_BENCH_REPLAY_LOG_H

#include "base/buf.h"
#include "base/json.h"
#include "bench/replay_ways.h"
#include "router/decide.h"

struct weir_replay_log_row {
    const char *name;
    enum weir_router_mode mode;
    enum weir_selection_policy policy;
    uint64_t hit_blocks;  /* on the device of the chosen worker, as the router knew it */
    uint64_t same_worker; /* decisions that chose as recorded */
    uint64_t digest;      /* of its choices: equal digests, equal choices (FNV-1a) */
};
struct weir_replay_log {
    uint64_t decisions;
    uint64_t equal, different,
        incomplete;    /* made again as recorded; incomplete: too many workers */
    uint64_t compared; /* complete decisions of kv mode: only they know what each worker holds */
    uint64_t prompt_blocks, best_blocks, recorded_blocks; /* of these; best: any worker's most */
    struct weir_replay_log_row rows[WEIR_REPLAY_WAYS];
    size_t n_rows;
    /* Told of each that is compared; may be NULL. */
    void (*on_compared)(void *arg, const struct weir_decision *decision);
    void *arg;
    uint64_t n_candidates; /* of those compared before */
};

/* `config` holds the weights of the rows, which the caller names. Errors name the line. */
enum weir_status weir_replay_log_read(struct weir_span text,
                                      const struct weir_router_config *config, uint64_t seed,
                                      struct weir_replay_log *log,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* A part, rounded as the reports have it; members that tell of the log, inside an open object. */
double weir_replay_log_share(uint64_t part, uint64_t of);
void weir_replay_log_head_json(struct weir_jsonw *w, const struct weir_replay_log *log);
enum weir_status weir_replay_log_json(const struct weir_replay_log *log,
                                      struct weir_buf *out) WEIR_MUST_CHECK;
enum weir_status weir_replay_log_text(const struct weir_replay_log *log,
                                      struct weir_buf *out) WEIR_MUST_CHECK;

#endif
