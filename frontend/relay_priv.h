/* What the files of the relay share: the leg that a client sees (relay.c) and the prompt's way to
 * another engine before it (relay_disagg.c). Thread: the loop of the request. */
#ifndef WEIR_FRONTEND_RELAY_PRIV_H
#define WEIR_FRONTEND_RELAY_PRIV_H

#include "frontend/relay_pool.h"
#include "frontend/relay_scan.h"
#include "frontend/request_priv.h"

enum { WEIR_RELAY_HEADERS = 6 };

/* Owner: the leg; in the request's arena. */
struct weir_relay {
    struct weir_leg *leg;
    struct weir_relay_user user; /* has a pool while `call` runs */
    struct weir_http_call *call;
    struct weir_span original; /* of the client, with what routing put into it */
    struct weir_span body;     /* as it is sent */
    struct weir_relay_scan scan;
    struct weir_buf answer; /* gathered */
    struct weir_timer silence;
    uint64_t left_ms; /* silence allowed since the engine has left; 0: it has not */
    char content_type[128];
    struct weir_span metadata; /* header of the answer, in the request's arena; data NULL: none */
    int status;                /* of the answer; 0: none yet */
    bool streams;
    /* relay_translated.c */
    struct weir_arena scratch; /* of the event in work */
    bool has_call;             /* a call has begun; the last of them: */
    unsigned call_index;
};

/* What the client asks of an engine: its own body, or the chat that it stands for. */
static inline struct weir_span weir_relay_body(const struct weir_request *r) {
    return r->q.chat.data != NULL ? r->q.chat : weir_http_exchange_request(r->x)->body;
}

/* ---- relay_head.c -------------------------------------------------------------------------- */

/* Headers of a call to an engine, up to WEIR_RELAY_HEADERS; `rank`: room for the number that one of
 * them holds. */
size_t weir_relay_headers(struct weir_request *r, bool many_ranks, uint32_t dp_rank,
                          struct weir_http_header *headers, char rank[24]);
const char *weir_relay_target(const struct weir_request *r);

/* ---- relay.c ------------------------------------------------------------------------------- */

/* The client's body, with what routing put into it; and what the engine that decodes gets. */
struct weir_span weir_relay_original(const struct weir_relay *relay);
void weir_relay_set_body(struct weir_relay *relay, struct weir_span body);
/* Ends the request with an error of ours. */
void weir_relay_fail(struct weir_leg *leg, int status, const char *text);
/* Frees the booking at the decode engine. */
void weir_relay_release(struct weir_leg *leg);
void weir_relay_drop_call(struct weir_relay *y);
/* A call whose head and body are gathered, or passed on, as weir_relay_on_head and _body do. */
enum weir_status weir_relay_call(struct weir_relay *y, const char *address, const char *target,
                                 struct weir_span body,
                                 const struct weir_http_call_ops *ops) WEIR_MUST_CHECK;
void weir_relay_on_head(void *relay, int status, const struct weir_http_header *headers, size_t n);
void weir_relay_on_body(void *relay, struct weir_span bytes);
/* What a call's end without an answer says of its engine; status: not OK. */
enum weir_relay_loss weir_relay_loss(enum weir_status status, bool sent_any);
/* The leg's engine has failed it, before the first byte of an answer. True: it goes on at another
 * one. False: the request is over, and was answered only where engines broke off with it. */
bool weir_relay_move_on(struct weir_relay *y, enum weir_relay_loss loss);
/* Notes an engine that broke off, of either kind. True: too many have, and the request is answered.
 */
bool weir_relay_breaks(struct weir_leg *leg, uint64_t worker_id);
/* Gives up the attempt at a decode engine, if there is one, and begins anew. */
void weir_relay_restart(struct weir_leg *leg);
/* An engine's refusal becomes the client's answer. */
void weir_relay_refused(struct weir_leg *leg, int status, const char *content_type,
                        struct weir_span body);

/* ---- relay_tokens.c ------------------------------------------------------------------------ */

/* Has an engine make the tokens that are needed and cannot be made here, and goes on; of a request
 * that only counts they are the answer. */
void weir_relay_ask_tokens(struct weir_leg *leg);

/* ---- relay_translated.c: answers to requests of other APIs ----------------------------------- */

/* Another engine is asked; nothing of an answer has gone to the client. */
void weir_relay_translated_again(struct weir_relay *y);
/* Whole frames of a stream; the request may have ended then. */
void weir_relay_translated_pass(struct weir_relay *y, struct weir_span frames);
/* The engine's answer is complete: what it says, or its refusal, ends the request. */
void weir_relay_translated_end(struct weir_relay *y);

/* ---- relay_disagg.c ------------------------------------------------------------------------ */

/* True when the leg waits for a prefill engine, or has ended; weir_relay_go is called again. */
bool weir_relay_disagg_begin(struct weir_leg *leg);

#endif
