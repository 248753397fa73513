#include "bench/put.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

void weir_put_whole(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

void weir_put_rounded(struct weir_jsonw *w, const char *key, double value) {
    weir_jsonw_key(w, key);
    if (isnan(value))
        weir_jsonw_null(w);
    else
        weir_jsonw_f64(w, round(value * 1e6) / 1e6);
}

void weir_put_text(struct weir_jsonw *w, const char *key, const char *text) {
    weir_jsonw_key(w, key);
    if (text == NULL)
        weir_jsonw_null(w);
    else
        weir_jsonw_string_z(w, text);
}

void weir_put_digest(struct weir_jsonw *w, uint64_t digest) {
    char text[20];
    snprintf(text, sizeof(text), "%016" PRIx64, digest);
    weir_put_text(w, "digest", text);
}
