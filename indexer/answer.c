#include "indexer/answer.h"

enum { PIECE_BYTES = 256 << 10 };

void weir_answer_init(struct weir_answer *a, struct weir_http_exchange *x, size_t max_bytes,
                      void (*on_done)(struct weir_answer *a)) {
    *a = (struct weir_answer){.x = x, .on_done = on_done};
    weir_buf_init(&a->out, max_bytes);
    weir_http_exchange_set_user(x, a);
}

void weir_answer_fini(struct weir_answer *a) {
    weir_buf_fini(&a->out);
}

/* What the send queue takes; the exchange ends with the last piece of the last part. */
static void send_some(struct weir_answer *a) {
    while (a->sent < a->out.len) {
        size_t n = a->out.len - a->sent < PIECE_BYTES ? a->out.len - a->sent : PIECE_BYTES;
        if (!weir_http_stream_writable(a->x))
            return;
        if (weir_http_stream_write(a->x, weir_span(a->out.data + a->sent, n)) != WEIR_OK) {
            a->sending = false;
            weir_http_abort(a->x, "no room for the answer");
            return;
        }
        a->sent += n;
    }
    a->sending = false;
    if (a->on_sent == NULL) {
        weir_http_stream_end(a->x);
        return;
    }
    weir_buf_clear(&a->out);
    a->sent = 0;
    a->on_sent(a);
}

void weir_answer_send(struct weir_answer *a, int status, const char *type) {
    struct weir_http_exchange *x = a->x;
    bool head = weir_span_eqz(weir_http_exchange_request(x)->method, "HEAD");
    if (head || a->out.len <= PIECE_BYTES) {
        weir_http_respond(x, status, type, NULL, 0, weir_buf_span(&a->out));
        return;
    }
    a->sending = true;
    weir_http_stream_begin(x, status, type, NULL, 0);
    if (weir_http_exchange_user(x) == a)
        send_some(a);
}

bool weir_answer_begin(struct weir_answer *a, int status, const char *type) {
    struct weir_http_exchange *x = a->x;
    bool head = weir_span_eqz(weir_http_exchange_request(x)->method, "HEAD");
    weir_http_stream_begin(x, status, type, NULL, 0);
    if (weir_http_exchange_user(x) != a)
        return false;
    if (head)
        weir_http_stream_end(x);
    return !head;
}

void weir_answer_part(struct weir_answer *a, bool last) {
    if (last)
        a->on_sent = NULL;
    a->sending = true;
    send_some(a);
}

void weir_answer_on_writable(struct weir_http_exchange *x) {
    struct weir_answer *a = weir_http_exchange_user(x);
    if (a != NULL && a->sending)
        send_some(a);
}

void weir_answer_drop(struct weir_answer *a) {
    if (a->x != NULL)
        weir_http_exchange_set_user(a->x, NULL);
    a->x = NULL;
    a->on_done(a);
}

void weir_answer_on_done(struct weir_http_exchange *x) {
    struct weir_answer *a = weir_http_exchange_user(x);
    if (a != NULL)
        weir_answer_drop(a);
}
