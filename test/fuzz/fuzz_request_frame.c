/* Request and reply frames: a limit byte, then the bytes of a connection. Cuts change nothing, and
 * what was decoded encodes to the same bytes. */
#include "wire/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static void requests(struct weir_span rest, size_t max) {
    struct weir_request_frame f, cut;
    size_t used = 0, need = 0, cut_used, cut_need, mark = 0;
    enum weir_status st;
    while ((st = weir_request_frame_decode(rest, max, &f, &used, &need)) == WEIR_OK) {
        struct weir_buf out;
        must(used == 8 + f.path.len + f.headers.len + f.payload.len && used <= rest.len);
        must(weir_request_frame_decode(weir_span(rest.data, used - 1), max, &cut, &cut_used,
                                       &cut_need) == WEIR_AGAIN);
        weir_buf_init(&out, 1 << 20);
        must(weir_request_frame_begin(f.path, f.headers, &out, &mark) == WEIR_OK);
        must(weir_buf_append_span(&out, f.payload) == WEIR_OK);
        must(weir_request_frame_end(&out, mark) == WEIR_OK);
        must(weir_span_eq(weir_buf_span(&out), weir_span(rest.data, used)));
        weir_buf_fini(&out);
        rest = weir_span(rest.data + used, rest.len - used);
    }
    must(st == WEIR_TOO_LARGE ? need > max : st == WEIR_AGAIN && (need == 0 || need > rest.len));
}

static void replies(struct weir_span rest, size_t max) {
    struct weir_span text;
    size_t used = 0;
    while (weir_reply_frame_decode(rest, max, &text, &used) == WEIR_OK) {
        must(used == 4 + text.len && used <= rest.len);
        rest = weir_span(rest.data + used, rest.len - used);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    struct weir_span rest = weir_span((const char *)data + 1, size - 1);
    requests(rest, (size_t)data[0] * 16 + 8);
    replies(rest, (size_t)data[0] * 16);
    return 0;
}
