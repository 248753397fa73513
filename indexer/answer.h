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
    /* Of an answer in parts: the client took `out`, which is empty again; may be where the part was
     * given. */
    void (*on_sent)(struct weir_answer *a);
    /* The exchange is over, and x is NULL: frees it, now or when it is done with. */
    void (*on_done)(struct weir_answer *a);
};
/* Opens it for the exchange. */
void weir_answer_init(struct weir_answer *a, struct weir_http_exchange *x, size_t max_bytes,
                      void (*on_done)(struct weir_answer *a));
void weir_answer_fini(struct weir_answer *a);
/* Sends what is in `out`; `type` is static. It may be gone afterwards. */
void weir_answer_send(struct weir_answer *a, int status, const char *type);
/* An answer in parts: its head. False: no part is wanted (a question for the head alone, or the
 * client has gone), and it may be gone. */
bool weir_answer_begin(struct weir_answer *a, int status, const char *type);
/* Sends what is in `out`, and on_sent asks for the next part; `last`: the answer ends with it. It
 * may be gone afterwards. */
void weir_answer_part(struct weir_answer *a, bool last);
/* Its exchange is over, or will be without it: on_done follows at once. */
void weir_answer_drop(struct weir_answer *a);
/* The handler's on_writable and on_done, for every exchange. */
void weir_answer_on_writable(struct weir_http_exchange *x);
void weir_answer_on_done(struct weir_http_exchange *x);

#endif
