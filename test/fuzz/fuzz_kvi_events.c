/* Event streams against a tiny budget: whatever comes, sums stay consistent and nothing is left
 * when every rank has gone. A byte decides each step; names and contents come from few values. */
#include "kvindex/kvi.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kvi_options o = {.max_bytes = 1 << 20, .max_ranks = 8, .max_readers = 1};
    struct kvi_index *x = kvi_create(&o);
    struct kvi_reader *r = x != NULL ? kvi_reader_open(x) : NULL;
    if (r == NULL)
        abort();
    for (size_t i = 0; i + 6 < size; i += 6) {
        const uint8_t *d = data + i;
        struct kvi_worker w = {d[0] >> 4 & 7, 0};
        enum kvi_tier tier = (enum kvi_tier)(d[0] >> 7 ? d[1] >> 6 : 0);
        struct kvi_block b[3] = {
            {d[2] & 31, d[3] & 3}, {d[3] >> 3, d[4] & 3}, {d[4] >> 3, d[5] & 3}};
        uint64_t names[3] = {d[2] & 31, d[3] >> 3, d[4] >> 3},
                 query[3] = {d[2] & 3, d[3] & 3, d[4] & 3};
        struct kvi_score s[8];
        switch (d[0] & 7) {
        case 0:
        case 1:
        case 2:
            kvi_store(x, w, tier, (d[1] & 1) != 0, d[1] >> 1 & 31, b, d[5] >> 2 & 3, NULL);
            break;
        case 3:
        case 4:
            kvi_remove(x, w, tier, names, d[5] >> 2 & 3);
            break;
        case 5:
            if (kvi_find(r, query, 3, (d[5] & 1) != 0, s, 8) > 8)
                abort();
            break;
        case 6:
            kvi_clear(x, w);
            break;
        default:
            kvi_rank_remove(x, w);
        }
    }
    struct kvi_stats st;
    for (uint64_t w = 0; w < 8; w++)
        kvi_remove_worker(x, w);
    kvi_get_stats(x, &st);
    if (st.entries != 0 || st.aliases != 0 || st.blocks != 0 || st.nodes != 0 || st.ranks != 0)
        abort();
    kvi_reader_close(r);
    kvi_destroy(x);
    return 0;
}
