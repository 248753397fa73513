/*
 * Loading a model's tokenizer, and the rules for its images, away from the loops: files are found
 * or fetched by the model card and read on a thread of their own, and the result comes back to the
 * control loop.
 */
#ifndef WEIR_FRONTEND_MODELS_LOAD_H
#define WEIR_FRONTEND_MODELS_LOAD_H

#include "frontend/image_rules.h"
#include "net/loop.h"
#include "runtime/model_files.h"
#include "tokenizer/wtok.h"

struct weir_tok_load;
/* On the loop, exactly once unless cancelled: tok is the callee's, or NULL with err saying why. */
typedef void (*weir_tok_loaded_fn)(void *arg, struct wtok *tok,
                                   const struct weir_image_rules *images,
                                   const struct weir_err *err);

struct weir_tok_load_config {
    const char *model;          /* its name, for the log; outlives the load */
    const char *model_path;     /* directory that an operator named, or NULL */
    struct weir_hub_config hub; /* borrowed strings outlive the load */
    size_t cache_bytes;         /* of ids kept between requests, 0 = none */
};

/* Files that a worker serves by URL are asked for again and again, first after half a second and in
 * the end every half minute, until they are had or the load is given up. */
enum weir_status weir_tok_load_start(struct weir_loop *loop, const struct weir_card *card,
                                     const struct weir_tok_load_config *config,
                                     weir_tok_loaded_fn fn, void *arg,
                                     struct weir_tok_load **ret_load) WEIR_MUST_CHECK;
/* Another worker of the model: its URLs take turns with those before. On the loop. */
void weir_tok_load_also(struct weir_tok_load *load, const struct weir_card *card);
/* Nobody needs it any more: fn comes soon. On the loop. */
void weir_tok_load_give_up(struct weir_tok_load *load);
/* Given up, and its thread is waited for, which touches the loop no more: before the loop is
 * destroyed. fn comes with the loop's last turns, or not at all. On the loop. */
void weir_tok_load_end(struct weir_tok_load *load);
/* The same when the loop takes no more turns; the result is dropped and fn not called. */
void weir_tok_load_cancel(struct weir_tok_load *load);

#endif
