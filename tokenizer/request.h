/*
 * What of a request's body makes its prompt, as the engine reads it that gets the body: members
 * that another API or another engine knows mean nothing here. Sources: vLLM 0.32, protocol.py of
 * chat_completion and completion (build_chat_params, build_tok_params) and renderers/hf.py; SGLang
 * 0.5.23, protocol.py and serving_chat.py; held to both by test/e2e/engine_diff.py. Pure.
 */
#ifndef WEIR_TOKENIZER_REQUEST_H
#define WEIR_TOKENIZER_REQUEST_H

#include "tokenizer/wtok.h"

/* A chat's body. *ret_flags are those for wtok_encode() of the rendered prompt. Spans point into
 * the body or the arena.
 *
 * WEIR_INVALID: the engine refuses it. WEIR_UNSUPPORTED: the engine takes it, but what it makes of
 * a member is not followed here. Both with words. WEIR_NOMEM. */
enum weir_status wtok_request_chat(struct weir_span body, enum wtok_flavour flavour,
                                   struct weir_arena *arena, struct wtok_chat *ret_chat,
                                   unsigned *ret_flags, struct weir_err *err) WEIR_MUST_CHECK;
/* A completion's body, whose prompts are read elsewhere. As above. */
enum weir_status wtok_request_completion(struct weir_span body, enum wtok_flavour flavour,
                                         unsigned *ret_flags, struct weir_err *err) WEIR_MUST_CHECK;

#endif
