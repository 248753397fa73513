#include "test/unit/kvindex/naive.h"

#include <stdlib.h>
#include <string.h>

static struct naive_block *find(struct naive *n, uint32_t rank, uint64_t hash) {
    for (int i = 0; i < NAIVE_BLOCKS; i++)
        if (n->blocks[rank][i].used && n->blocks[rank][i].hash == hash)
            return &n->blocks[rank][i];
    return NULL;
}

enum kvi_result naive_store(struct naive *n, uint32_t rank, bool has_parent, uint64_t parent,
                            const struct kvi_block *blocks, size_t count) {
    if (count == 0)
        return KVI_INVALID;
    struct naive_block path = {0};
    for (size_t i = 0; has_parent && i < count; i++)
        if (blocks[i].block_hash == parent)
            return KVI_INVALID;
    if (has_parent) {
        const struct naive_block *p = find(n, rank, parent);
        if (p == NULL)
            return KVI_PARENT_NOT_FOUND;
        path = *p;
    }
    for (size_t i = 0; i < count; i++) {
        path.path[path.depth++] = blocks[i].tokens_hash;
        struct naive_block *slot = find(n, rank, blocks[i].block_hash);
        for (int k = 0; slot == NULL && k < NAIVE_BLOCKS; k++)
            if (!n->blocks[rank][k].used)
                slot = &n->blocks[rank][k];
        if (slot == NULL)
            abort();
        *slot = path;
        slot->used = true;
        slot->hash = blocks[i].block_hash;
    }
    return KVI_OK;
}

enum kvi_result naive_remove(struct naive *n, uint32_t rank, const uint64_t *hashes, size_t count) {
    enum kvi_result r = KVI_OK;
    for (size_t i = 0; i < count; i++) {
        struct naive_block *b = find(n, rank, hashes[i]);
        if (b == NULL)
            r = KVI_BLOCK_NOT_FOUND;
        else
            b->used = false;
    }
    return r;
}

void naive_clear(struct naive *n, uint32_t rank) {
    memset(n->blocks[rank], 0, sizeof(n->blocks[rank]));
}

uint32_t naive_score(const struct naive *n, uint32_t rank, const uint64_t *hashes, size_t count) {
    uint32_t score = 0;
    for (; score < count; score++) {
        bool held = false;
        for (int i = 0; i < NAIVE_BLOCKS && !held; i++) {
            const struct naive_block *b = &n->blocks[rank][i];
            held = b->used && b->depth == score + 1 &&
                   memcmp(b->path, hashes, (score + 1) * sizeof(*hashes)) == 0;
        }
        if (!held)
            break;
    }
    return score;
}

uint64_t naive_entries(const struct naive *n) {
    uint64_t count = 0;
    for (int r = 0; r < NAIVE_RANKS; r++)
        for (int i = 0; i < NAIVE_BLOCKS; i++)
            count += n->blocks[r][i].used;
    return count;
}
