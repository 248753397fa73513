/*
 * Request bodies and answers of HTTP engines in a split deployment (vLLM: kv_transfer_params;
 * SGLang: bootstrap fields). Members that are not named here pass byte for byte. Pure.
 */
#ifndef WEIR_FRONTEND_RELAY_BODY_H
#define WEIR_FRONTEND_RELAY_BODY_H

#include "base/json.h"

/* What a vLLM engine gets that only prefills: one token, no stream, its KV blocks held for another
 * engine. WEIR_INVALID: not a JSON object. */
enum weir_status weir_relay_body_prefill(struct weir_span body,
                                         struct weir_buf *out) WEIR_MUST_CHECK;
/* What the engine gets that decodes: `params` are the other one's words, a JSON value. */
enum weir_status weir_relay_body_decode(struct weir_span body, struct weir_span params,
                                        struct weir_buf *out) WEIR_MUST_CHECK;
/* What both engines of an SGLang pair get. n_prompts: of a batch; 0: no list of prompts. `rooms`
 * has max(n_prompts, 1) numbers below 2^63. */
enum weir_status weir_relay_body_bootstrap(struct weir_span body, struct weir_span host,
                                           uint16_t port, const uint64_t *rooms, size_t n_prompts,
                                           struct weir_buf *out) WEIR_MUST_CHECK;
/* A streamed chat for /tokenize: SGLang refuses one that says `stream`. */
enum weir_status weir_relay_body_unstreamed(struct weir_span body,
                                            struct weir_buf *out) WEIR_MUST_CHECK;
/* A chat whose template's arguments are `args`, a JSON object, and whatever it said of them before
 * has gone. */
enum weir_status weir_relay_body_template(struct weir_span body, struct weir_span args,
                                          struct weir_buf *out) WEIR_MUST_CHECK;
/* kv_transfer_params of a prefill engine's answer; data NULL: there are none. Borrowed. */
struct weir_span weir_relay_params(struct weir_span answer);

#endif
