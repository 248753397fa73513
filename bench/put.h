/* Members of the JSON reports, inside an open object. Pure. */
#ifndef WEIR_BENCH_PUT_H
#define WEIR_BENCH_PUT_H

#include "base/json.h"

void weir_put_whole(struct weir_jsonw *w, const char *key, uint64_t value);
/* Six places: more would only say how the machine rounds. NAN is null. */
void weir_put_rounded(struct weir_jsonw *w, const char *key, double value);
/* NULL is null. */
void weir_put_text(struct weir_jsonw *w, const char *key, const char *text);
void weir_put_digest(struct weir_jsonw *w, uint64_t digest);

#endif
