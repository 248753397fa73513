/*
 * A replay's set-up in the terms of cuda/kvc_replay.h, which simulates many of them side by side
 * with the same outcomes as weir_replay_run().
 */
#ifndef WEIR_BENCH_REPLAY_FLEET_H
#define WEIR_BENCH_REPLAY_FLEET_H

#include "bench/replay_sim.h"
#include "cuda/kvc_replay.h"

/* Hashes the set-up's requests with its block size. The trace belongs to the caller. */
enum weir_status weir_replay_fleet_trace(struct kvc *k, const struct weir_replay_setup *setup,
                                         struct kvc_trace **ret,
                                         struct weir_err *err) WEIR_MUST_CHECK;
/* The router's part, in those terms. */
enum kvc_replay_mode weir_replay_fleet_mode(enum weir_router_mode mode);
struct kvc_policy weir_replay_fleet_policy(const struct weir_router_config *r);
struct kvc_cost_params weir_replay_fleet_cost(const struct weir_router_config *r);
/* WEIR_UNSUPPORTED: an option is in force that this simulation does not know. */
enum weir_status weir_replay_fleet_config(const struct weir_replay_setup *setup,
                                          enum weir_router_mode mode, struct kvc_replay_config *ret,
                                          struct weir_err *err) WEIR_MUST_CHECK;
/* Its n_requests outcomes as weir_replay_run() gives them. */
void weir_replay_fleet_outcomes(const struct weir_replay_setup *setup,
                                const struct kvc_replay_outcome *outcomes,
                                struct weir_replay_outcome *ret);

#endif
