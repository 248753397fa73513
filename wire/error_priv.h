/* The error object of workers (shared spec "transport" 3.4), read from either codec. */
#ifndef WEIR_WIRE_ERROR_PRIV_H
#define WEIR_WIRE_ERROR_PRIV_H

#include "wire/codec_priv.h"

/* Reads one object; unknown words become WEIR_INTERNAL. */
bool weir_wire_error_read(struct weir_dec *d, struct weir_wire_error *ret_error);
/* Sets http_status, migratable and, where the text is itself {"message","code"}, status and texts.
 */
void weir_wire_error_settle(struct weir_wire_error *error, struct weir_arena *arena);
/* error_type as written for a status. */
const char *weir_wire_error_type(enum weir_status status);

#endif
