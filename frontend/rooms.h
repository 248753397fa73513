/*
 * The waiting rooms of one router: one for all its workers, or with --pools one for each pool, so
 * that a full pool holds up nobody who waits for another one. Threads: any. Lock order: the
 * registry of models or of prefill workers, a room, the router.
 */
#ifndef WEIR_FRONTEND_ROOMS_H
#define WEIR_FRONTEND_ROOMS_H

#include "frontend/admission.h"

struct weir_rooms;

/* n_pools 0: one room for all. The router is borrowed: it outlives the object, and its room
 * callback is taken. has_pool and pool of *config are filled in here. */
enum weir_status weir_rooms_create(const struct weir_admission_config *config,
                                   struct weir_router *router, uint32_t n_pools,
                                   struct weir_rooms **ret) WEIR_MUST_CHECK;
/* Nobody may be waiting. Accepts NULL. */
void weir_rooms_destroy(struct weir_rooms *rooms);
uint32_t weir_rooms_n(const struct weir_rooms *rooms);
/* at: number of the pool, 0 without pools. */
struct weir_admission *weir_rooms_at(const struct weir_rooms *rooms, uint32_t at);
/* Admits who can be, in every room: for what makes room without a call. Accepts NULL. */
void weir_rooms_pump(struct weir_rooms *rooms);

#endif
