/* Events as JSON: whatever is read is written and read again equal. */
#include "kvindex/kvi_persist.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint64_t first[512], second[512];
    static char text[65536];
    struct kvi_event a, b;
    uint64_t id_a, id_b;
    if (kvi_event_from_json((const char *)data, size, first, 512, &a, &id_a) != KVI_JSON_OK)
        return 0;
    size_t n = kvi_event_to_json(&a, id_a, text, sizeof(text));
    if (n > sizeof(text) || kvi_event_from_json(text, n, second, 512, &b, &id_b) != KVI_JSON_OK ||
        id_a != id_b || a.kind != b.kind || a.tier != b.tier || a.n != b.n ||
        a.has_parent != b.has_parent || a.parent_hash != b.parent_hash ||
        a.start_position != b.start_position || a.worker.worker_id != b.worker.worker_id ||
        a.worker.dp_rank != b.worker.dp_rank ||
        memcmp(first, second, a.n * (a.kind == KVI_STORED ? 16 : 8)) != 0)
        abort();
    return 0;
}
