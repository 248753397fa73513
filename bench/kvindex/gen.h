/* The KV index workload W(bs, workers, dup) of the shared spec "measured" 1.1, generated from a
 * trace of 512-token block ids. */
#ifndef WEIR_BENCH_KVINDEX_GEN_H
#define WEIR_BENCH_KVINDEX_GEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gen_trace {
    uint32_t *ids;   /* owned */
    uint32_t *first; /* owned: line t has ids first[t] .. first[t + 1] */
    uint32_t n_lines;
};
bool gen_trace_read(const char *path, uint32_t max_lines, struct gen_trace *ret);
void gen_trace_free(struct gen_trace *trace);

enum { GEN_STORED_ROOT = 1, GEN_STORED, GEN_REMOVED, GEN_QUERY };

struct gen_cell {
    uint32_t bs, workers, dup;
    uint64_t cap_tokens; /* 0 = never evict */
};
/* Records as in the spec: word 0 = type | worker << 8 | count << 32. */
struct gen_work {
    struct gen_cell cell;
    uint64_t *words; /* owned */
    size_t n_words, cap_words, n_records;
    uint64_t queries, query_blocks, stored_events, stored, removed_events, removed;
    uint64_t score_sum, best_sum, scored, live, checksum;
};
/* False: out of memory or a bad cell. */
bool gen_work_make(const struct gen_trace *trace, const struct gen_cell *cell,
                   struct gen_work *ret);
void gen_work_free(struct gen_work *work);
/* The published figures of this cell and the whole trace, or NULL. Only these fields are set:
 * queries to checksum without best_sum. */
const struct gen_work *gen_published(const struct gen_cell *cell);

#endif
