/* For openai_parse.c. */
#ifndef WEIR_WIRE_OPENAI_EMBEDDINGS_PRIV_H
#define WEIR_WIRE_OPENAI_EMBEDDINGS_PRIV_H

#include "wire/openai_priv.h"

/* Reads r->body into r->req. False after a recorded refusal. */
bool weir_openai_read_embeddings(struct weir_openai_reading *r,
                                 const struct weir_openai_rules *rules);

#endif
