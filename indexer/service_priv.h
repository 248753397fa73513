#ifndef WEIR_INDEXER_SERVICE_PRIV_H
#define WEIR_INDEXER_SERVICE_PRIV_H

#include "base/json.h"
#include "indexer/groups.h"
#include "net/http_server.h"

/* The score response: tokens by worker and rank, and by instance over all tiers. Sorts `scores`. */
void weir_indexer_put_scores(struct weir_jsonw *w, struct kvi_score *scores, size_t n,
                             uint32_t block_size);

/* ---- service_body.c ---- */

enum { WEIR_INDEXER_OUT_MAX = 1 << 30 };
extern const struct weir_span weir_indexer_default_group;

/* Everything that any body may hold; which are needed is the page's matter. */
struct weir_indexer_fields {
    struct weir_span model, group, endpoint, replay, lora, salt, url, hashes, tokens;
    uint64_t instance, dp_rank, block_size;
    bool has_instance, has_dp_rank, has_block_size, has_group;
    const char *wrong;
};

/* False after it has answered 400. */
bool weir_indexer_read(struct weir_http_exchange *x, struct weir_indexer_fields *f);
/* A writer on a new buffer, and the answer of what was written; 503 where memory ran out. */
void weir_indexer_begin(struct weir_jsonw *w, struct weir_buf *body);
void weir_indexer_send(struct weir_http_exchange *x, int status, struct weir_jsonw *w);
/* {key: text}; {"error": text} */
void weir_indexer_say(struct weir_http_exchange *x, int status, const char *key, const char *text);
void weir_indexer_refuse(struct weir_http_exchange *x, int status, const char *text);
/* 503 with Retry-After. */
void weir_indexer_refuse_for_now(struct weir_http_exchange *x, const char *text);

#endif
