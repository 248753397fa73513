/* Shared by the files of the JSON scanner. "Here": the cursor stands on the first byte of it. */
#ifndef WEIR_BASE_JSON_PRIV_H
#define WEIR_BASE_JSON_PRIV_H

#include "base/json.h"

static inline void weir_json_blank(struct weir_json *j) {
    while (j->pos < j->len) {
        char c = j->buf[j->pos];
        if (c > ' ' || (c != ' ' && c != '\n' && c != '\r' && c != '\t'))
            return;
        j->pos++;
    }
}

bool weir_json_string_here(struct weir_json *j, struct weir_json_str *ret_str);
bool weir_json_number_here(struct weir_json *j, struct weir_span *ret_raw);
/* A whole scalar whose type is known, number range included. */
bool weir_json_scalar_here(struct weir_json *j, enum weir_json_type type);
/* The value at the cursor is of type `got`, which its reader did not ask for: ends in error TYPE
 * behind a scalar or before a container, or in the scalar's own error. */
bool weir_json_mismatch(struct weir_json *j, enum weir_json_type got);

#endif
