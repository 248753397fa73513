/* The two parts of an encoded request; for request.c and request_like.c. */
#ifndef WEIR_WIRE_REQUEST_PRIV_H
#define WEIR_WIRE_REQUEST_PRIV_H

#include "wire/codec_priv.h"
#include "wire/request.h"

/* Opens the map: model and token ids. */
void weir_prep_put_head(struct weir_enc *e, struct weir_enc_box *box,
                        const struct weir_prep_request *req, enum weir_codec codec,
                        struct weir_buf *out);
/* All members behind these; the map stays open. */
void weir_prep_put_tail(struct weir_enc *e, struct weir_enc_box *box,
                        const struct weir_prep_request *req);

#endif
