/* What the files of the relay share: the leg that a client sees (relay.c) and the prompt's way to
 * another engine before it (relay_disagg.c). Thread: the loop of the request. */
#ifndef WEIR_FRONTEND_RELAY_PRIV_H
#define WEIR_FRONTEND_RELAY_PRIV_H

#include "frontend/relay_pool.h"
#include "frontend/request_priv.h"

enum { WEIR_RELAY_HEADERS = 6 };

/* ---- relay.c ------------------------------------------------------------------------------- */

/* Headers of a call to an engine, up to WEIR_RELAY_HEADERS; `rank`: room for the number that one of
 * them holds. */
size_t weir_relay_headers(struct weir_request *r, bool many_ranks, uint32_t dp_rank,
                          struct weir_http_header *headers, char rank[24]);
const char *weir_relay_target(const struct weir_request *r);
/* The client's body, with what routing put into it; and what the engine that decodes gets. */
struct weir_span weir_relay_original(const struct weir_relay *relay);
void weir_relay_set_body(struct weir_relay *relay, struct weir_span body);
/* Gives up the attempt at a decode engine, if there is one, and begins anew. */
void weir_relay_restart(struct weir_leg *leg);
/* An engine's refusal becomes the client's answer. */
void weir_relay_refused(struct weir_leg *leg, int status, const char *content_type,
                        struct weir_span body);

/* ---- relay_disagg.c ------------------------------------------------------------------------ */

/* True when the leg waits for a prefill engine, or has ended; weir_relay_go is called again. */
bool weir_relay_disagg_begin(struct weir_leg *leg);

#endif
