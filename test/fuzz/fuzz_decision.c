/* Lines of the decision log: what is taken can be decided again and written again. */
#include "router/decide.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weir_arena arena;
    struct weir_decision d;
    size_t at = SIZE_MAX;
    weir_arena_init(&arena, 1 << 20);
    if (weir_decision_parse(weir_span((const char *)data, size), &arena, &d) == WEIR_OK) {
        struct weir_buf out;
        struct weir_jsonw w;
        if (weir_decision_replay(&d, &at) == WEIR_OK)
            WEIR_ASSERT(at < d.n || (d.has_split && at == SIZE_MAX));
        weir_buf_init(&out, 4 << 20);
        weir_jsonw_init(&w, &out);
        weir_jsonw_object_begin(&w);
        weir_decision_write(&d, data[0] % 2 == 0 ? SIZE_MAX : 3, &w);
        weir_jsonw_object_end(&w);
        weir_buf_fini(&out);
    }
    weir_arena_fini(&arena);
    return 0;
}
