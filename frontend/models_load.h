/*
 * Loading a model's tokenizer away from the loops: files are found by the model card, read on a
 * thread of their own, and the result comes back to the control loop.
 */
#ifndef WEIR_FRONTEND_MODELS_LOAD_H
#define WEIR_FRONTEND_MODELS_LOAD_H

#include "net/loop.h"
#include "tokenizer/wtok.h"
#include "wire/record.h"

struct weir_tok_load;
/* On the loop, exactly once unless cancelled: tok is the callee's, or NULL with err saying why. */
typedef void (*weir_tok_loaded_fn)(void *arg, struct wtok *tok, const struct weir_err *err);

/* The directory of the card's tokenizer file where it exists on this machine, else model_path (may
 * be NULL). cache_bytes: of ids kept between requests, 0 = none. */
enum weir_status weir_tok_load_start(struct weir_loop *loop, const struct weir_card *card,
                                     const char *model_path, size_t cache_bytes,
                                     weir_tok_loaded_fn fn, void *arg,
                                     struct weir_tok_load **ret_load) WEIR_MUST_CHECK;
/* After the loop has stopped: waits for the thread, drops its result; fn is not called. Accepts
 * NULL. True when there was a load. */
bool weir_tok_load_cancel(struct weir_tok_load *load);

#endif
