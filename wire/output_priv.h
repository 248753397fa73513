/* What the readers of response items share: output.c, output_like.c. */
#ifndef WEIR_WIRE_OUTPUT_PRIV_H
#define WEIR_WIRE_OUTPUT_PRIV_H

#include "wire/output.h"

/* Bytes of an item where a token id stands: from, and behind its last. */
struct weir_output_place {
    size_t from, to;
};
/* weir_output_decode, and where the last token id stood. */
enum weir_status weir_output_decode_where(struct weir_span bytes, enum weir_codec codec,
                                          uint32_t *ids_room, size_t n_ids_room,
                                          struct weir_arena *arena, struct weir_output *ret_out,
                                          struct weir_output_place *ret_id) WEIR_MUST_CHECK;

#endif
