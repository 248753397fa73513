/* The client's side of HTTP: a server that answers anything. Properties: how its bytes are cut
 * makes no difference to what the caller hears; a call ends exactly once. */
#include "net/http_client.h"
#include "test/unit/http/fake_net.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
    struct weir_buf text;
    unsigned done;
};

static void add(struct heard *h, struct weir_span s) {
    if (weir_buf_append_span(&h->text, s) != WEIR_OK)
        abort();
}

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct heard *h = arg;
    char number[16];
    snprintf(number, sizeof(number), "%d\n", status);
    add(h, weir_span_z(number));
    for (size_t i = 0; i < n; i++) {
        add(h, headers[i].name);
        add(h, WEIR_SPAN_LIT("="));
        add(h, headers[i].value);
        add(h, WEIR_SPAN_LIT("\n"));
    }
}
static void on_body(void *arg, struct weir_span bytes) {
    add(arg, bytes);
}
static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct heard *h = arg;
    add(h, weir_span_z(weir_status_name(status)));
    if (!sent_any)
        abort();
    h->done++;
}

static void call(struct weir_span bytes, bool head, bool eof, uint32_t cuts, struct heard *h) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct weir_loop *loop = fake_loop_create();
    struct weir_http_client *client = NULL;
    struct weir_http_call *c = NULL;
    struct fake_end end;
    const struct weir_http_client_config config = {
        .ip = "192.0.2.1", .port = 80, .max_head_bytes = 1000};
    const struct weir_http_call_config request = {.method = head ? "HEAD" : "GET", .target = "/"};
    weir_buf_init(&h->text, (size_t)1 << 30);
    fake_expect_connect(loop, &end);
    if (weir_http_client_create(loop, &config, &client) != WEIR_OK ||
        weir_http_call_start(client, &request, &ops, h, &c) != WEIR_OK)
        abort();
    fake_open(&end);
    fake_loop_turn(loop);
    while (bytes.len > 0) {
        size_t n = cuts == 0 ? bytes.len : 1 + ((cuts = cuts * 1664525 + 1013904223) >> 16) % 9;
        if (n > bytes.len)
            n = bytes.len;
        fake_feed(loop, &end, bytes.data, n);
        bytes = weir_span(bytes.data + n, bytes.len - n);
    }
    if (eof)
        fake_eof(loop, &end);
    weir_http_client_destroy(client);
    fake_loop_turn(loop);
    if (h->done != 1)
        abort();
    fake_end_fini(&end);
    fake_loop_destroy(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct heard whole = {.done = 0}, cut = {.done = 0};
    struct weir_span bytes = weir_span((const char *)data + 1, size - 1);
    bool head = data[0] & 1, eof = data[0] & 2;
    call(bytes, head, eof, 0, &whole);
    call(bytes, head, eof, (uint32_t)size * 2654435761u | 1, &cut);
    if (!weir_span_eq(weir_buf_span(&whole.text), weir_buf_span(&cut.text)))
        abort();
    weir_buf_fini(&whole.text);
    weir_buf_fini(&cut.text);
    return 0;
}
