/* Property: what turns into JSON turns back, and then gives the same JSON again. */
#include "base/msgpack.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_span bytes = weir_span((const char *)data, size);
    struct weir_mp m;
    weir_mp_init(&m, bytes);
    weir_mp_skip(&m, NULL);
    struct weir_buf json, packed, again;
    weir_buf_init(&json, 1 << 24);
    weir_buf_init(&packed, 1 << 24);
    weir_buf_init(&again, 1 << 24);
    if (weir_mp_to_json(bytes, &json) == WEIR_OK &&
        weir_mp_from_json(weir_buf_span(&json), &packed) == WEIR_OK) {
        if (weir_mp_to_json(weir_buf_span(&packed), &again) != WEIR_OK || again.len != json.len ||
            memcmp(again.data, json.data, json.len) != 0)
            abort();
    }
    weir_buf_fini(&json);
    weir_buf_fini(&packed);
    weir_buf_fini(&again);
    return 0;
}
