/* An answer that may be too large for one queue of bytes: it is sent as the client takes it.
 * Thread: the loop's. While it is open it is the exchange's user pointer. */
#ifndef WEIR_INDEXER_ANSWER_H
#define WEIR_INDEXER_ANSWER_H

#include "base/buf.h"
#include "net/http_server.h"

struct weir_answer {
    struct weir_http_exchange *x; /* NULL: the exchange is over */
    struct weir_buf out;          /* owned */
    size_t sent;
    bool sending;
    /* The exchange is over, and x is NULL: frees it, now or when it is done with. */
    void (*on_done)(struct weir_answer *a);
};
/* Opens it for the exchange. */
void weir_answer_init(struct weir_answer *a, struct weir_http_exchange *x, size_t max_bytes,
                      void (*on_done)(struct weir_answer *a));
void weir_answer_fini(struct weir_answer *a);
/* Sends what is in `out`; `type` is static. It may be gone afterwards. */
void weir_answer_send(struct weir_answer *a, int status, const char *type);
/* The handler's on_writable and on_done, for every exchange. */
void weir_answer_on_writable(struct weir_http_exchange *x);
void weir_answer_on_done(struct weir_http_exchange *x);

#endif
