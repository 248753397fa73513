/* Scores as JSON (shared spec "kvrouter" 6.1). */
#include "indexer/service_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- scores -----------------------------------------------------------------------------------
 */

static int by_worker(const void *a, const void *b) {
    const struct kvi_worker *p = &((const struct kvi_score *)a)->worker,
                            *q = &((const struct kvi_score *)b)->worker;
    if (p->worker_id != q->worker_id)
        return p->worker_id < q->worker_id ? -1 : 1;
    return p->dp_rank < q->dp_rank ? -1 : p->dp_rank > q->dp_rank;
}

static void put_number_key(struct weir_jsonw *w, uint64_t number) {
    char text[24];
    int n = snprintf(text, sizeof(text), "%" PRIu64, number);
    weir_jsonw_key_span(w, weir_span(text, (size_t)n));
}

static size_t same_worker(const struct kvi_score *s, size_t n) {
    size_t i = 1;
    while (i < n && s[i].worker.worker_id == s[0].worker.worker_id)
        i++;
    return i;
}

static void put_ranks(struct weir_jsonw *w, const struct kvi_score *s, size_t n, uint64_t bs) {
    weir_jsonw_object_begin(w);
    for (size_t i = 0; i < n; i++) {
        put_number_key(w, s[i].worker.dp_rank);
        weir_jsonw_u64(w, s[i].blocks[KVI_DEVICE] * bs);
    }
    weir_jsonw_object_end(w);
}

static void put_field(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

/* Each figure includes the tiers above it; the best rank counts. */
static void put_instance(struct weir_jsonw *w, const struct kvi_score *s, size_t n, uint64_t bs) {
    uint64_t gpu = 0, cpu = 0, disk = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t g = s[i].blocks[KVI_DEVICE], c = g + s[i].blocks[KVI_HOST];
        uint64_t d = c + s[i].blocks[KVI_DISK] + s[i].blocks[KVI_EXTERNAL];
        gpu = g > gpu ? g : gpu;
        cpu = c > cpu ? c : cpu;
        disk = d > disk ? d : disk;
    }
    weir_jsonw_object_begin(w);
    put_field(w, "longest_matched", disk * bs);
    put_field(w, "gpu", gpu * bs);
    weir_jsonw_key(w, "dp");
    put_ranks(w, s, n, bs);
    put_field(w, "cpu", cpu * bs);
    put_field(w, "disk", disk * bs);
    weir_jsonw_object_end(w);
}

void weir_indexer_put_scores(struct weir_jsonw *w, struct kvi_score *scores, size_t n,
                             uint32_t block_size) {
    qsort(scores, n, sizeof(*scores), by_worker);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "scores");
    weir_jsonw_object_begin(w);
    for (size_t i = 0, k; i < n; i += k) {
        k = same_worker(scores + i, n - i);
        put_number_key(w, scores[i].worker.worker_id);
        put_ranks(w, scores + i, k, block_size);
    }
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "frequencies");
    weir_jsonw_raw(w, WEIR_SPAN_LIT("[]"));
    weir_jsonw_key(w, "instances");
    weir_jsonw_object_begin(w);
    for (size_t i = 0, k; i < n; i += k) {
        k = same_worker(scores + i, n - i);
        put_number_key(w, scores[i].worker.worker_id);
        put_instance(w, scores + i, k, block_size);
    }
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}
