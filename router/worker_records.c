#include "router/worker_records.h"

#include "base/log.h"
#include "base/mem.h"
#include "wire/record.h"

void weir_worker_records_init(struct weir_worker_records *w, uint64_t worker_id) {
    *w = (struct weir_worker_records){.id = worker_id,
                                      .figures = {.worker_id = worker_id, .dp_size = 1}};
}

void weir_worker_records_fini(struct weir_worker_records *w) {
    weir_free(w->address);
    w->address = NULL;
}

bool weir_worker_records_instance(struct weir_worker_records *w, const struct weir_record *r,
                                  struct weir_span at) {
    char *address = at.data != NULL ? weir_strndup(at.data, at.len) : NULL;
    if (address == NULL)
        return false;
    weir_free(w->address);
    w->address = address;
    w->codec = r->codec;
    return true;
}

void weir_worker_records_card(struct weir_worker_records *w, const struct weir_card *card) {
    w->has_card = true;
    w->figures = weir_router_worker_of_card(w->id, card);
}

bool weir_worker_records_join(struct weir_worker_records *w, struct weir_router *router) {
    if (weir_router_worker_put(router, &w->figures) != WEIR_OK) {
        WEIR_LOG(WEIR_LOG_WARN, "router", "worker %s does not fit the table",
                 weir_worker_text(w->id).s);
        return false;
    }
    w->router = router;
    return true;
}

bool weir_worker_records_part(struct weir_worker_records *w) {
    if (w->router == NULL)
        return false;
    weir_router_worker_remove(w->router, w->id);
    w->router = NULL;
    return true;
}

bool weir_worker_records_gone(struct weir_worker_records *w, enum weir_record_kind kind) {
    if (kind == WEIR_RECORD_ENDPOINT)
        weir_worker_records_fini(w);
    else
        w->has_card = false;
    return w->address == NULL && !w->has_card;
}

struct weir_router_worker weir_router_worker_of_card(uint64_t worker_id,
                                                     const struct weir_card *card) {
    return (struct weir_router_worker){.worker_id = worker_id,
                                       .dp_start = card->dp_start_rank,
                                       .dp_size = card->dp_size,
                                       .total_kv_blocks = card->total_kv_blocks,
                                       .max_num_batched_tokens = card->max_num_batched_tokens};
}
