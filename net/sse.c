#include "net/sse.h"

void weir_sse_init(struct weir_sse *sse, size_t max_event_bytes) {
    *sse = (struct weir_sse){.bom = 0};
    weir_buf_init(&sse->line, max_event_bytes);
    weir_buf_init(&sse->data, max_event_bytes);
    weir_buf_init(&sse->event, max_event_bytes);
}

void weir_sse_fini(struct weir_sse *sse) {
    if (sse == NULL)
        return;
    weir_buf_fini(&sse->line);
    weir_buf_fini(&sse->data);
    weir_buf_fini(&sse->event);
}

static void dispatch(struct weir_sse *sse, weir_sse_fn fn, void *arg) {
    if (sse->has_data)
        fn(arg, weir_buf_span(&sse->event), weir_buf_span(&sse->data));
    sse->has_data = false;
    weir_buf_clear(&sse->data);
    weir_buf_clear(&sse->event);
}

/* `event` and `data` are the fields that mean something here; id and retry serve reconnection. */
static enum weir_status take_line(struct weir_sse *sse, struct weir_span line, weir_sse_fn fn,
                                  void *arg) {
    if (line.len == 0) {
        dispatch(sse, fn, arg);
        return WEIR_OK;
    }
    struct weir_span value;
    struct weir_span name = weir_span_split(line, ':', &value);
    if (value.len > 0 && value.data[0] == ' ')
        value = weir_span(value.data + 1, value.len - 1);
    if (weir_span_eqz(name, "event")) {
        weir_buf_clear(&sse->event);
        return weir_buf_append_span(&sse->event, value);
    }
    if (!weir_span_eqz(name, "data"))
        return WEIR_OK; /* a comment has an empty name */
    enum weir_status st = sse->has_data ? weir_buf_append_c(&sse->data, '\n') : WEIR_OK;
    sse->has_data = true;
    return st == WEIR_OK ? weir_buf_append_span(&sse->data, value) : st;
}

/* Drops a byte order mark at the very start; what only looked like one belongs to the first line.
 */
static enum weir_status skip_bom(struct weir_sse *sse, struct weir_span *bytes) {
    static const char bom[3] = {'\xef', '\xbb', '\xbf'};
    while (sse->bom < 3 && bytes->len > 0) {
        if (bytes->data[0] != bom[sse->bom]) {
            size_t matched = sse->bom;
            sse->bom = 4;
            return weir_buf_append(&sse->line, bom, matched);
        }
        sse->bom++;
        bytes->data++;
        bytes->len--;
    }
    return WEIR_OK;
}

static size_t line_length(struct weir_span bytes) {
    const char *lf = memchr(bytes.data, '\n', bytes.len);
    size_t n = lf != NULL ? (size_t)(lf - bytes.data) : bytes.len;
    const char *cr = n > 0 ? memchr(bytes.data, '\r', n) : NULL;
    return cr != NULL ? (size_t)(cr - bytes.data) : n;
}

enum weir_status weir_sse_feed(struct weir_sse *sse, struct weir_span bytes, weir_sse_fn fn,
                               void *arg) {
    enum weir_status st = skip_bom(sse, &bytes);
    while (st == WEIR_OK && bytes.len > 0) {
        if (sse->skip_lf && bytes.data[0] == '\n') {
            sse->skip_lf = false;
            bytes = weir_span(bytes.data + 1, bytes.len - 1);
            continue;
        }
        sse->skip_lf = false;
        size_t n = line_length(bytes);
        struct weir_span line = weir_span(bytes.data, n);
        bool whole = n < bytes.len;
        if (whole)
            sse->skip_lf = bytes.data[n] == '\r';
        bytes = weir_span(bytes.data + n + whole, bytes.len - n - whole);
        if (!whole || sse->line.len > 0) {
            st = weir_buf_append_span(&sse->line, line);
            line = weir_buf_span(&sse->line);
        }
        if (st == WEIR_OK && whole) {
            st = line.len > sse->line.max ? WEIR_TOO_LARGE : take_line(sse, line, fn, arg);
            weir_buf_clear(&sse->line);
        }
    }
    return st;
}
