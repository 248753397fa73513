/* Trace files and server replies. */
#include "bench/reply.h"
#include "bench/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_span text = weir_span((const char *)data, size);
    struct weir_trace t;
    struct weir_err err;
    if (weir_trace_parse(text, 4, &t, &err) == WEIR_OK) {
        uint64_t sum = 0;
        for (size_t i = 0; i < t.n_lines; i++)
            for (uint32_t k = 0; k < t.lines[i].n_ids; k++)
                sum += weir_trace_ids(&t, &t.lines[i])[k];
        weir_trace_fini(&t);
        (void)sum;
    }
    struct weir_reply r;
    if (weir_reply_read(text, &r) && r.text.len > 0)
        WEIR_ASSERT(r.text.data >= text.data && r.text.data + r.text.len <= text.data + text.len);
    return 0;
}
