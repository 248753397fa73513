#include "bench/replay_log.h"

#include "base/hash.h"

#include "bench/put.h"

#include <inttypes.h>
#include <math.h>

enum { ARENA_BYTES = 1 << 20 };

/* The same state, another mode and other weights. */
static struct weir_decide inputs_of(const struct weir_decision *d,
                                    const struct weir_router_config *c,
                                    const struct weir_replay_log_row *row, uint64_t turn) {
    struct weir_decide in = d->in;
    in.mode = row->mode;
    in.turn = turn;
    in.temperature = c->temperature;
    in.params.overlap_score_credit = c->overlap_score_credit;
    in.params.overlap_credit_decay = c->overlap_credit_decay;
    in.params.prefill_load_scale = c->prefill_load_scale;
    in.params.decode_active_request_weight = c->decode_active_request_weight;
    in.params.policy = row->policy;
    in.params.recompute_weight = c->recompute_weight;
    in.params.churn_weight = c->churn_weight;
    in.params.decode_block_weight = c->decode_block_weight;
    in.params.host_weight = c->host_cache_hit_weight;
    in.params.disk_weight = c->disk_cache_hit_weight;
    return in;
}

static void compare(struct weir_replay_log *log, struct weir_decision *d,
                    const struct weir_router_config *config, struct weir_rng *rng) {
    double best = 0;
    for (size_t i = 0; i < d->n; i++)
        best = fmax(best, d->candidates[i].device_blocks);
    log->prompt_blocks += d->n_blocks;
    log->best_blocks += (uint64_t)best;
    log->recorded_blocks += (uint64_t)d->candidates[d->winner].device_blocks;
    for (size_t i = 0; i < log->n_rows; i++) {
        struct weir_replay_log_row *row = &log->rows[i];
        const struct weir_decide in = inputs_of(d, config, row, log->compared);
        size_t at = weir_decide(&in, d->candidates, d->n, rng);
        row->hit_blocks += (uint64_t)d->candidates[at].device_blocks;
        row->same_worker += at == d->winner;
        if (log->compared == 0)
            row->digest = WEIR_HASH_BEGIN;
        row->digest = weir_hash_word(row->digest, log->n_candidates + at);
    }
    if (log->on_compared != NULL)
        log->on_compared(log->arg, d);
    log->n_candidates += d->n;
    log->compared++;
}

static enum weir_status read_line(struct weir_replay_log *log, struct weir_span line, size_t number,
                                  struct weir_arena *arena, const struct weir_router_config *config,
                                  struct weir_rng *rng, struct weir_err *err) {
    struct weir_decision d;
    size_t again;
    enum weir_status st = weir_decision_parse(line, arena, &d);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "decisions, line %zu: %s", number,
                            st == WEIR_INVALID ? "no record of a decision (weir frontend "
                                                 "--decision-log writes them)"
                                               : weir_status_text(st));
    log->decisions++;
    if (weir_decision_replay(&d, &again) != WEIR_OK) {
        log->incomplete++;
        return WEIR_OK;
    }
    *(again == d.winner ? &log->equal : &log->different) += 1;
    if (d.in.mode == WEIR_ROUTE_KV)
        compare(log, &d, config, rng);
    return WEIR_OK;
}

enum weir_status weir_replay_log_read(struct weir_span text,
                                      const struct weir_router_config *config, uint64_t seed,
                                      struct weir_replay_log *log, struct weir_err *err) {
    struct weir_arena arena;
    struct weir_rng rng;
    enum weir_status st = WEIR_OK;
    size_t number = 0;
    weir_arena_init(&arena, ARENA_BYTES);
    weir_rng_seed(&rng, seed);
    for (struct weir_span rest = text; st == WEIR_OK && rest.data != NULL;) {
        struct weir_span line = weir_span_trim(weir_span_split(rest, '\n', &rest));
        number++;
        weir_arena_reset(&arena);
        if (line.len > 0)
            st = read_line(log, line, number, &arena, config, &rng, err);
    }
    if (st == WEIR_OK && log->decisions == 0)
        st = weir_err_set(err, WEIR_INVALID, "the decision log is empty");
    weir_arena_fini(&arena);
    return st;
}

double weir_replay_log_share(uint64_t part, uint64_t of) {
    return of > 0 ? round((double)part / (double)of * 1e6) / 1e6 : 0;
}

static void put_row(struct weir_jsonw *w, const struct weir_replay_log *log, const char *name,
                    uint64_t hit_blocks, uint64_t same_worker, const uint64_t *digest) {
    weir_jsonw_object_begin(w);
    weir_put_text(w, "mode", name);
    weir_put_whole(w, "hit_blocks", hit_blocks);
    weir_jsonw_key(w, "block_hit_rate");
    weir_jsonw_f64(w, weir_replay_log_share(hit_blocks, log->prompt_blocks));
    weir_put_whole(w, "same_worker", same_worker);
    if (digest != NULL)
        weir_put_digest(w, *digest);
    weir_jsonw_object_end(w);
}

void weir_replay_log_head_json(struct weir_jsonw *w, const struct weir_replay_log *log) {
    weir_put_whole(w, "decisions", log->decisions);
    weir_put_whole(w, "equal", log->equal);
    weir_put_whole(w, "different", log->different);
    weir_put_whole(w, "incomplete", log->incomplete);
    weir_put_whole(w, "compared", log->compared);
    weir_put_whole(w, "prompt_blocks", log->prompt_blocks);
    weir_put_whole(w, "best_blocks", log->best_blocks);
}

enum weir_status weir_replay_log_json(const struct weir_replay_log *log, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_replay_log_head_json(&w, log);
    weir_jsonw_key(&w, "modes");
    weir_jsonw_array_begin(&w);
    put_row(&w, log, "recorded", log->recorded_blocks, log->compared, NULL);
    for (size_t i = 0; i < log->n_rows; i++)
        put_row(&w, log, log->rows[i].name, log->rows[i].hit_blocks, log->rows[i].same_worker,
                &log->rows[i].digest);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status != WEIR_OK ? w.status : weir_buf_append_z(out, "\n");
}

static enum weir_status text_row(const struct weir_replay_log *log, const char *name,
                                 uint64_t hit_blocks, uint64_t same_worker, struct weir_buf *out) {
    return weir_buf_printf(out, "%-16s %6.2f  %6.2f\n", name,
                           100 * weir_replay_log_share(hit_blocks, log->prompt_blocks),
                           100 * weir_replay_log_share(same_worker, log->compared));
}

enum weir_status weir_replay_log_text(const struct weir_replay_log *log, struct weir_buf *out) {
    enum weir_status st =
        weir_buf_printf(out,
                        "%" PRIu64 " decisions: %" PRIu64 " made again as recorded, %" PRIu64
                        " differently, %" PRIu64 " incomplete\n\n"
                        "                 blocks    same\n"
                        "                 hit, %%  worker, %%\n"
                        "%-16s %6.2f\n",
                        log->decisions, log->equal, log->different, log->incomplete, "best worker",
                        100 * weir_replay_log_share(log->best_blocks, log->prompt_blocks));
    if (st == WEIR_OK)
        st = text_row(log, "recorded", log->recorded_blocks, log->compared, out);
    for (size_t i = 0; i < log->n_rows && st == WEIR_OK; i++)
        st = text_row(log, log->rows[i].name, log->rows[i].hit_blocks, log->rows[i].same_worker,
                      out);
    return st;
}
