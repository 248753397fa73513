/* Memory of an exchange and of its body, of both versions of HTTP: whose it is, http_server_conn.c
 * and http2_conn.c tell. */
#include "net/http_server_priv.h"

#include <string.h>

void weir_http_exchange_take(struct weir_http_server *s, struct weir_http_exchange *x) {
    memset(x, 0, sizeof(*x));
    if (s->n_spare > 0)
        x->arena = s->spare[--s->n_spare];
    else
        weir_arena_init(&x->arena, ARENA_BYTES + 2 * s->limits.header_bytes);
}

void weir_http_exchange_release(struct weir_http_server *s, struct weir_http_exchange *x) {
    weir_buf_fini(&x->body);
    weir_arena_reset(&x->arena);
    if (s->n_spare < SPARE_ARENAS && !s->destroyed && x->arena.blocks != NULL)
        s->spare[s->n_spare++] = x->arena;
    else
        weir_arena_fini(&x->arena);
    memset(x, 0, sizeof(*x));
}

int weir_http_body_prepare(struct weir_http_exchange *x) {
    int64_t n = x->framing.content_length;
    if (n >= 0 && (uint64_t)n > x->body_limit)
        return 413;
    if (n >= 0 && n <= BODY_IN_ARENA) {
        x->small_body = weir_arena_alloc(&x->arena, (size_t)n);
        return x->small_body != NULL ? 0 : 503;
    }
    weir_buf_init(&x->body, x->body_limit);
    size_t room = n < 0 ? 0 : n < BODY_TRUST ? (size_t)n : BODY_TRUST;
    return weir_buf_reserve(&x->body, room) == WEIR_OK ? 0 : 503;
}

enum weir_status weir_http_body_put(struct weir_http_exchange *x, uint64_t before,
                                    struct weir_span data) {
    if (x->small_body != NULL) {
        memcpy(x->small_body + before, data.data, data.len);
        return WEIR_OK;
    }
    if (x->body.data != NULL && data.data == x->body.data + x->body.len) {
        x->body.len += data.len; /* it was read there */
        return WEIR_OK;
    }
    return weir_buf_append_span(&x->body, data);
}
