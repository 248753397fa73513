/* What stands before the body of a call to an engine: its target and headers. */
#include "frontend/relay_priv.h"

#include <stdio.h>
#include <string.h>

const char *weir_relay_target(const struct weir_request *r) {
    return r->q.kind == WEIR_OPENAI_CHAT         ? "/v1/chat/completions"
           : r->q.kind == WEIR_OPENAI_EMBEDDINGS ? "/v1/embeddings"
                                                 : "/v1/completions";
}

/* Clients of the Messages API name their key in a header of their own, where engines that ask for
 * one look at `authorization`. NULL: there is none. */
static struct weir_span bearer(struct weir_request *r, const struct weir_http_request *q) {
    static const char scheme[] = "Bearer ";
    enum { SCHEME = sizeof(scheme) - 1 };
    struct weir_span key = weir_http_header_get(q, "x-api-key");
    if (r->endpoint != WEIR_FRONT_MESSAGES || key.len == 0)
        return weir_span(NULL, 0);
    char *text = weir_arena_alloc(&r->arena, SCHEME + key.len);
    if (text == NULL)
        return weir_span(NULL, 0);
    memcpy(text, scheme, SCHEME);
    memcpy(text + SCHEME, key.data, key.len);
    return weir_span(text, SCHEME + key.len);
}

size_t weir_relay_headers(struct weir_request *r, bool many_ranks, uint32_t dp_rank,
                          struct weir_http_header *h, char rank[24]) {
    static const char *const passed[] = {"authorization", "x-request-id", "traceparent",
                                         "tracestate"};
    const struct weir_http_request *q = weir_http_exchange_request(r->x);
    size_t n = 0;
    h[n++] =
        (struct weir_http_header){WEIR_SPAN_LIT("content-type"), WEIR_SPAN_LIT("application/json")};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(passed); i++) {
        struct weir_span v = weir_http_header_get(q, passed[i]);
        if (v.data == NULL && i == 0)
            v = bearer(r, q);
        if (v.data == NULL && i == 1)
            v = weir_span_z(r->uuid);
        if (v.data != NULL)
            h[n++] = (struct weir_http_header){weir_span_z(passed[i]), v};
    }
    if (many_ranks) {
        int len = snprintf(rank, 24, "%u", dp_rank);
        h[n++] = (struct weir_http_header){WEIR_SPAN_LIT("x-data-parallel-rank"),
                                           weir_span(rank, (size_t)len)};
    }
    return n;
}
