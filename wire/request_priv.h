/* The two parts of an encoded request; for request.c and request_like.c. */
#ifndef WEIR_WIRE_REQUEST_PRIV_H
#define WEIR_WIRE_REQUEST_PRIV_H

#include "wire/codec_priv.h"
#include "wire/request.h"

/* Opens the map: model and token ids. */
void weir_prep_put_head(struct weir_enc *e, struct weir_enc_box *box,
                        const struct weir_prep_request *req, enum weir_codec codec,
                        struct weir_buf *out);
/* multi_modal_data and multi_modal_uuids; nothing of no media. */
void weir_prep_put_media(struct weir_enc *e, struct weir_enc_box *box, const struct weir_media *m);
bool weir_prep_read_media(struct weir_dec *d, struct weir_media *ret);
/* The uuids of media that have been read; false: they are no map of lists, or belong to none, or
 * d->nomem. */
bool weir_prep_name_media(struct weir_dec *d, struct weir_media *m, struct weir_span uuids);
/* `routing_token_ids` of mm_routing_info up to `expanded_prompt_len`; at most max of them. NULL:
 * there are none, or `block_mm_infos` says more of some block. False: not readable, or d->nomem. */
bool weir_prep_read_routing_ids(struct weir_dec *d, struct weir_span json, size_t max,
                                struct weir_ids *ret);
/* All members behind these; the map stays open. */
void weir_prep_put_tail(struct weir_enc *e, struct weir_enc_box *box,
                        const struct weir_prep_request *req);

#endif
