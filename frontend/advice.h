/* What an operator should know of the options at the start, before any request shows it. */
#ifndef WEIR_FRONTEND_ADVICE_H
#define WEIR_FRONTEND_ADVICE_H

#include "runtime/options_frontend.h"

/* Warns in the log of options that were set and have no effect beside the others, and of a model
 * folder without a tokenizer. Owner of `o`: the caller; main thread. */
void weir_front_advise(const struct weir_frontend_options *o);

#endif
