/* Any template source: parsed and rendered on a fixed conversation, within its bounds; twice the
 * same text. */
#include "tokenizer/jinja.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char variables[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"Be "
                                "\\u00e9.\"},{\"role\":\"user\",\"content\":\"hi <b>\"},"
                                "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":"
                                "\"c\",\"function\":{\"name\":\"f\",\"arguments\":"
                                "{\"x\":[1,2.5,null]}}}]}],\"tools\":[{\"type\":\"function\","
                                "\"function\":{\"name\":\"f\"}}],\"bos_token\":\"<s>\","
                                "\"x\":1,\"y\":-7,\"s\":\"abc\",\"l\":[3,1,2],\"d\":{\"k\":\"v\"},"
                                "\"big\":123456789012345678901234567890}";

static enum weir_status render(const struct wtok_jinja *tpl, struct weir_buf *out) {
    struct weir_arena arena;
    struct wtok_jinja_render r = {.variables = weir_span_z(variables),
                                  .now_us = 1732633445000000,
                                  .max_steps = 200000,
                                  .max_depth = 200};
    weir_arena_init(&arena, (size_t)64 << 20);
    weir_buf_init(out, 1 << 20);
    r.arena = &arena;
    enum weir_status st = wtok_jinja_render(tpl, &r, out, NULL);
    weir_arena_fini(&arena);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wtok_jinja *tpl = NULL;
    struct wtok_jinja_failure failure;
    if (wtok_jinja_parse(weir_span((const char *)data, size), &tpl, &failure) != WEIR_OK) {
        if (failure.error == WTOK_JINJA_ERR_NONE || tpl != NULL)
            abort();
        return 0;
    }
    struct weir_buf a, b;
    enum weir_status first = render(tpl, &a), second = render(tpl, &b);
    if (first != second || !weir_span_eq(weir_buf_span(&a), weir_buf_span(&b)))
        abort();
    weir_buf_fini(&a);
    weir_buf_fini(&b);
    wtok_jinja_destroy(tpl);
    return 0;
}
