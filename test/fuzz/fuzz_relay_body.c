/* Bodies that go to HTTP engines of a split deployment: what is taken comes out as a JSON object
 * that can be rewritten again, and the parameters of an answer are a JSON value of it. */
#include "frontend/relay_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct weir_buf *out) {
    struct weir_json j;
    struct weir_span raw;
    weir_json_init(&j, weir_buf_span(out), 129);
    WEIR_ASSERT(weir_json_skip(&j, &raw) && weir_json_finish(&j) && raw.data[0] == '{');
    weir_buf_clear(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint64_t rooms[] = {1, 2, INT64_MAX};
    struct weir_span body = weir_span((const char *)data, size), params = weir_relay_params(body);
    struct weir_buf out;
    weir_buf_init(&out, 1 << 20);
    if (weir_relay_body_prefill(body, &out) == WEIR_OK)
        check(&out);
    weir_buf_clear(&out);
    if (params.data != NULL && weir_relay_body_decode(body, params, &out) == WEIR_OK)
        check(&out);
    weir_buf_clear(&out);
    if (weir_relay_body_template(body, WEIR_SPAN_LIT("{}"), &out) == WEIR_OK)
        check(&out);
    weir_buf_clear(&out);
    if (weir_relay_body_bootstrap(body, WEIR_SPAN_LIT("h"), 1, rooms, size % 4, &out) == WEIR_OK)
        check(&out);
    weir_buf_fini(&out);
    return 0;
}
