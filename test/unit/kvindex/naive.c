#include "test/unit/kvindex/naive.h"

#include <stdlib.h>
#include <string.h>

uint32_t naive_rank(uint32_t holder) {
    return holder < NAIVE_RANKS ? holder : holder % 2;
}

enum kvi_tier naive_tier(uint32_t holder) {
    return holder < NAIVE_RANKS ? KVI_DEVICE : holder < 6 ? KVI_HOST : KVI_DISK;
}

static struct naive_block *find(struct naive *n, uint32_t rank, uint64_t hash) {
    for (int i = 0; i < NAIVE_BLOCKS; i++)
        if (n->blocks[rank][i].used && n->blocks[rank][i].hash == hash)
            return &n->blocks[rank][i];
    return NULL;
}

const struct naive_block *naive_find(const struct naive *n, uint32_t holder, uint64_t hash) {
    return find((struct naive *)n, holder, hash);
}

const struct naive_block *naive_parent(const struct naive *n, uint32_t holder, uint64_t hash) {
    const struct naive_block *p = naive_find(n, holder, hash);
    for (uint32_t h = 0; p == NULL && naive_tier(holder) != KVI_DEVICE && h < NAIVE_HOLDERS; h++)
        if (naive_rank(h) == naive_rank(holder))
            p = naive_find(n, h, hash);
    return p;
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
        const struct naive_block *p = naive_parent(n, rank, parent);
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
    for (uint32_t h = 0; h < NAIVE_HOLDERS; h++)
        if (naive_rank(h) == rank)
            memset(n->blocks[h], 0, sizeof(n->blocks[h]));
}

/* Blocks from `from` on that the holder has without a gap. */
static uint32_t run(const struct naive *n, uint32_t holder, const uint64_t *hashes, size_t from,
                    size_t count) {
    size_t at = from;
    for (; at < count; at++) {
        bool held = false;
        for (int i = 0; i < NAIVE_BLOCKS && !held; i++) {
            const struct naive_block *b = &n->blocks[holder][i];
            held = b->used && b->depth == at + 1 &&
                   memcmp(b->path, hashes, (at + 1) * sizeof(*hashes)) == 0;
        }
        if (!held)
            break;
    }
    return (uint32_t)(at - from);
}

void naive_score(const struct naive *n, uint32_t rank, const uint64_t *hashes, size_t count,
                 uint32_t ret[KVI_TIERS]) {
    uint32_t at = 0;
    for (uint32_t t = 0; t < KVI_TIERS; t++) {
        ret[t] = 0;
        for (uint32_t h = 0; h < NAIVE_HOLDERS; h++)
            if (naive_rank(h) == rank && naive_tier(h) == t)
                ret[t] = run(n, h, hashes, at, count);
        at += ret[t];
    }
}

uint64_t naive_entries(const struct naive *n) {
    uint64_t count = 0;
    for (int r = 0; r < NAIVE_HOLDERS; r++)
        for (int i = 0; i < NAIVE_BLOCKS; i++)
            count += n->blocks[r][i].used;
    return count;
}
