/*
 * The two records by which discovery shows a worker: its instance (where it is) and its card (how
 * large it is). They come in any order; a worker joins a router once both are there. No lock: the
 * caller's thread or lock.
 */
#ifndef WEIR_ROUTER_WORKER_RECORDS_H
#define WEIR_ROUTER_WORKER_RECORDS_H

#include "router/router.h"
#include "wire/record.h"

struct weir_worker_records {
    uint64_t id;
    char *address; /* owned; NULL without an instance */
    enum weir_codec codec;
    bool has_card;
    struct weir_router_worker figures; /* of the card; without one: one rank, sizes unknown */
    struct weir_router *router; /* borrowed: the one that it has joined, which outlives it; NULL:
                                   none */
};

void weir_worker_records_init(struct weir_worker_records *w, uint64_t worker_id);
/* Leaves no router: that is weir_worker_records_part. */
void weir_worker_records_fini(struct weir_worker_records *w);
/* Takes an instance record; `at`: as weir_plane_address() gives it. False: it has no address for
 * us, or out of memory; nothing changed. */
bool weir_worker_records_instance(struct weir_worker_records *w, const struct weir_record *record,
                                  struct weir_span at);
void weir_worker_records_card(struct weir_worker_records *w, const struct weir_card *card);
/* Adds it to the router, or updates it there. False, with a log line: its table is full. */
bool weir_worker_records_join(struct weir_worker_records *w, struct weir_router *router);
/* False: it was in none. */
bool weir_worker_records_part(struct weir_worker_records *w);
/* One of the records has gone, after the worker has parted. True: nothing is left of it. */
bool weir_worker_records_gone(struct weir_worker_records *w, enum weir_record_kind kind);

/* What a card says to a router. */
struct weir_router_worker weir_router_worker_of_card(uint64_t worker_id,
                                                     const struct weir_card *card);

#endif
