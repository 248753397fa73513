#include "test/unit/http/sse_naive.h"

#include <stdlib.h>

static void add(struct weir_buf *out, struct weir_span s) {
    if (weir_buf_append_span(out, s) != WEIR_OK)
        abort();
}

static void add_event(void *arg, struct weir_span event, struct weir_span data) {
    struct weir_buf *out = arg;
    add(out, event);
    add(out, WEIR_SPAN_LIT("|"));
    add(out, data);
    add(out, WEIR_SPAN_LIT("\x1e"));
}

/* Line ends become LF; a byte order mark at the start goes. */
static void normalize(struct weir_span text, struct weir_buf *out) {
    size_t i = weir_span_starts(text, WEIR_SPAN_LIT("\xef\xbb\xbf")) ? 3 : 0;
    for (; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\n' && i > 0 && text.data[i - 1] == '\r')
            continue;
        add(out, c == '\r' ? WEIR_SPAN_LIT("\n") : weir_span(&c, 1));
    }
}

void sse_naive(struct weir_span text, struct weir_buf *out) {
    struct weir_buf lines, data, event;
    weir_buf_init(&lines, (size_t)1 << 30);
    weir_buf_init(&data, (size_t)1 << 30);
    weir_buf_init(&event, (size_t)1 << 30);
    normalize(text, &lines);
    struct weir_span rest = weir_buf_span(&lines);
    for (;;) {
        struct weir_span after, line = weir_span_split(rest, '\n', &after);
        if (after.data == NULL)
            break; /* not ended: dropped */
        rest = after;
        if (line.len == 0) {
            if (data.len > 0)
                add_event(out, weir_buf_span(&event), weir_span(data.data, data.len - 1));
            weir_buf_clear(&data);
            weir_buf_clear(&event);
            continue;
        }
        ptrdiff_t colon = weir_span_find(line, ':');
        size_t name_len = colon < 0 ? line.len : (size_t)colon;
        struct weir_span name = weir_span(line.data, name_len);
        struct weir_span value = colon < 0
                                     ? weir_span("", 0)
                                     : weir_span(line.data + name_len + 1, line.len - name_len - 1);
        if (value.len > 0 && value.data[0] == ' ')
            value = weir_span(value.data + 1, value.len - 1);
        if (weir_span_eqz(name, "event")) {
            weir_buf_clear(&event);
            add(&event, value);
        } else if (weir_span_eqz(name, "data")) {
            add(&data, value);
            add(&data, WEIR_SPAN_LIT("\n"));
        }
    }
    weir_buf_fini(&lines);
    weir_buf_fini(&data);
    weir_buf_fini(&event);
}

enum weir_status sse_pieces(struct weir_span text, size_t max_bytes, size_t (*step)(void *arg),
                            void *arg, struct weir_buf *out) {
    struct weir_sse sse;
    weir_sse_init(&sse, max_bytes);
    enum weir_status st = WEIR_OK;
    while (text.len > 0 && st == WEIR_OK) {
        size_t n = step(arg);
        if (n > text.len)
            n = text.len;
        char *copy = malloc(n > 0 ? n : 1); /* exactly, so that reading beyond it is found */
        if (copy == NULL)
            abort();
        memcpy(copy, text.data, n);
        st = weir_sse_feed(&sse, weir_span(copy, n), add_event, out);
        free(copy);
        text = weir_span(text.data + n, text.len - n);
    }
    weir_sse_fini(&sse);
    return st;
}
