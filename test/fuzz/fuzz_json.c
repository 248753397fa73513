/* Property: the scanner's two ways over a value agree, and what it accepts survives a round trip.
 */
#include "base/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Recursion is bounded by max_depth. */
static void walk(struct weir_json *j) {
    struct weir_json_str s;
    struct weir_span raw;
    bool b;
    switch (weir_json_peek(j)) {
    case WEIR_JSON_OBJECT:
        if (weir_json_object_enter(j))
            while (weir_json_object_next(j, &s))
                walk(j);
        break;
    case WEIR_JSON_ARRAY:
        if (weir_json_array_enter(j))
            while (weir_json_array_next(j))
                walk(j);
        break;
    case WEIR_JSON_STRING:
        if (weir_json_string(j, &s)) {
            struct weir_buf text, again;
            weir_buf_init(&text, s.raw.len);
            weir_buf_init(&again, s.raw.len * 6 + 8);
            if (weir_json_unescape(s, &text) != WEIR_OK)
                abort();
            struct weir_jsonw w;
            weir_jsonw_init(&w, &again);
            weir_jsonw_string(&w, weir_buf_span(&text));
            struct weir_json back;
            struct weir_json_str t;
            weir_json_init(&back, weir_buf_span(&again), 2);
            if (w.status != WEIR_OK || !weir_json_string(&back, &t))
                abort();
            weir_buf_fini(&text);
            weir_buf_fini(&again);
        }
        break;
    case WEIR_JSON_NUMBER:
        if (weir_json_number(j, &raw)) {
            double d; /* a skip refuses what is out of range, too */
            if (!weir_span_f64(raw, &d))
                weir_json_fail(j, WEIR_JSON_ERR_NUMBER_RANGE, j->pos);
        }
        break;
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        weir_json_bool(j, &b);
        break;
    case WEIR_JSON_NULL:
        weir_json_null(j);
        break;
    case WEIR_JSON_ERROR:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_json a, b;
    struct weir_span text = weir_span((const char *)data, size);
    weir_json_init(&a, text, 64);
    weir_json_init(&b, text, 64);
    weir_json_skip(&a, NULL);
    walk(&b);
    if (weir_json_finish(&a) != weir_json_finish(&b) || a.error_pos != b.error_pos)
        abort();
    return 0;
}
