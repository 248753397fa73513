/*
 * The checksum of a model card by which the reference system tells whether workers are of one kind
 * (its "mdcsum"), and which its frontends send along with a request (mdc_sum): BLAKE3 over the
 * name, the files' checksums, sizes, the worker's part and what it needs, aliases, and two
 * abilities of vLLM. Source: shared spec "transport" 8.4 and the crate dynamo-llm 1.6.1; vectors in
 * the spec's data. Not in it: the contract of a video processor, which is of media only. Pure.
 */
#ifndef WEIR_WIRE_CARD_SUM_H
#define WEIR_WIRE_CARD_SUM_H

#include "base/buf.h"
#include "wire/record.h"

enum { WEIR_CARD_SUM_BYTES = 65 };

/* What is hashed, of the card's JSON text. `source`: with where the model came from (source_path),
 * as the reference has it; workers of 1.4 do not say it, those of 1.6 do. WEIR_INVALID: it cannot
 * be read. */
enum weir_status weir_card_sum_input(struct weir_span card, bool source,
                                     struct weir_buf *out) WEIR_MUST_CHECK;
/* 64 hexadecimal digits. */
enum weir_status weir_card_sum(struct weir_span card, bool source,
                               char ret_hex[WEIR_CARD_SUM_BYTES]) WEIR_MUST_CHECK;
/* Of its JSON text, or of what it would be written as when it has none. */
enum weir_status weir_card_sum_of(const struct weir_card *card, bool source,
                                  char ret_hex[WEIR_CARD_SUM_BYTES]) WEIR_MUST_CHECK;

#endif
