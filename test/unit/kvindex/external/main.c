/* A program of somebody else: it knows the installed headers and library only. */
#include <kvindex/kvi.h>
#include <kvindex/kvi_approx.h>
#include <kvindex/kvi_persist.h>
#include <stdio.h>

static bool count(void *arg, const struct kvi_event *event) {
    *(size_t *)arg += event->n;
    return true;
}

int main(void) {
    uint32_t tokens[64];
    uint64_t local[4], sequence[4];
    struct kvi_block blocks[4];
    for (uint32_t i = 0; i < 64; i++)
        tokens[i] = i;
    size_t n = kvi_hash_and_chain(tokens, 64, 16, KVI_SEED, false, local, sequence, 4);
    for (size_t i = 0; i < n; i++)
        blocks[i] = (struct kvi_block){sequence[i], local[i]};
    struct kvi_index *index = kvi_create(NULL);
    struct kvi_reader *reader = index != NULL ? kvi_reader_open(index) : NULL;
    struct kvi_worker worker = {7, 1};
    struct kvi_score score = {.rank = 0};
    if (reader == NULL || kvi_store(index, worker, KVI_DEVICE, false, 0, blocks, 3, NULL) != KVI_OK)
        return 1;
    size_t found = kvi_find(reader, local, n, false, &score, 1);
    printf("%zu rank, worker %llu/%u holds %u of %zu blocks\n", found,
           (unsigned long long)score.worker.worker_id, score.worker.dp_rank,
           score.blocks[KVI_DEVICE], n);
    /* Another worker is believed to hold all four; a walk tells of both; the belief lapses. */
    struct kvi_approx *approx = kvi_approx_create(index, &(struct kvi_approx_options){.ttl_ms = 9});
    struct kvi_walk *walk = kvi_walk_open(index);
    size_t told = 0;
    bool more = true;
    if (approx == NULL || walk == NULL)
        return 1;
    kvi_approx_routed(approx, (struct kvi_worker){8, 0}, local, sequence, n, 1);
    while (more)
        if (kvi_walk_step(walk, 1, count, &told, &more) != KVI_OK)
            return 1;
    kvi_approx_expire(approx, 10);
    if (told != 3 + 4 || kvi_approx_blocks(approx) != 0 ||
        kvi_rank_entries(index, (struct kvi_worker){8, 0}) != 0)
        return 1;
    kvi_walk_close(walk);
    kvi_approx_destroy(approx);
    kvi_reader_close(reader);
    kvi_destroy(index);
    return found == 1 && score.worker.worker_id == 7 && score.blocks[KVI_DEVICE] == 3 ? 0 : 1;
}
