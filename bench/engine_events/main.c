/*
 * KV events of an engine, from the payload frame to the index: decoded, hashed again, stored. One
 * JSON line a shape: blocks of a batch, which are stored by one event and removed by one each; CPU
 * nanoseconds a batch and a block, events a second.
 */
#include "base/mem.h"
#include "base/msgpack.h"
#include "kvindex/kvi.h"
#include "router/engine_events.h"

#include <stdio.h>
#include <time.h>

enum { BLOCK = 32, EVENTS = 20000, HELD = 1 << 18 }; /* HELD: blocks of a full cache */

static struct kvi_index *kv;
static struct weir_engine_rank *rank;

static void on_event(void *arg, const struct weir_engine_event *e) {
    struct weir_kv_event ev;
    struct weir_span lora;
    struct kvi_worker w = {1, 0};
    (void)arg;
    if (!weir_engine_rank_convert(rank, e, &ev, &lora))
        return;
    if (ev.kind == WEIR_KV_STORED)
        kvi_store(kv, w, KVI_DEVICE, ev.has_parent, ev.parent_hash,
                  (const struct kvi_block *)(const void *)ev.blocks, ev.n_blocks, NULL);
    else
        kvi_remove(kv, w, KVI_DEVICE, ev.removed, ev.n_removed);
}

/* Spread as hashes are. */
static uint64_t name_of(uint64_t block) {
    uint64_t x = (block + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    return x ^ x >> 27;
}

static void put_hashes(struct weir_mpw *w, uint64_t first, uint32_t n) {
    weir_mpw_str_z(w, "block_hashes");
    weir_mpw_array(w, n);
    for (uint32_t i = 0; i < n; i++)
        weir_mpw_u64(w, name_of(first + i));
}

/* As vLLM 0.32 sends it. */
static void put_stored(struct weir_mpw *w, uint64_t at, uint32_t n) {
    weir_mpw_map(w, 6);
    weir_mpw_str_z(w, "type");
    weir_mpw_str_z(w, "BlockStored");
    put_hashes(w, at * n, n);
    weir_mpw_str_z(w, "token_ids");
    weir_mpw_array(w, n * BLOCK);
    for (uint32_t i = 0; i < n * BLOCK; i++)
        weir_mpw_u64(w, (at * 7919 + i) % 150000);
    weir_mpw_str_z(w, "block_size");
    weir_mpw_u64(w, BLOCK);
    weir_mpw_str_z(w, "medium");
    weir_mpw_str_z(w, "GPU");
    weir_mpw_str_z(w, "group_idx");
    weir_mpw_u64(w, 0);
}

/* One event a block, as it does, too. */
static void put_removed(struct weir_mpw *w, uint64_t block) {
    weir_mpw_map(w, 2);
    weir_mpw_str_z(w, "type");
    weir_mpw_str_z(w, "BlockRemoved");
    put_hashes(w, block, 1);
}

/* Each batch stores one chain and, when the cache is full, removes the blocks of the oldest. */
static void make(struct weir_buf *out, uint64_t at, uint32_t n) {
    struct weir_mpw w;
    weir_buf_clear(out);
    weir_mpw_init(&w, out);
    weir_mpw_array(&w, 3);
    weir_mpw_f64(&w, (double)at);
    bool full = at >= HELD / n;
    weir_mpw_array(&w, full ? n + 1 : 1);
    for (uint32_t i = 0; full && i < n; i++)
        put_removed(&w, (at - HELD / n) * n + i);
    put_stored(&w, at, n);
    weir_mpw_u64(&w, 0);
}

static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int measure(uint32_t n) {
    struct weir_arena arena;
    struct weir_buf out;
    struct weir_engine_batch batch;
    unsigned rounds = EVENTS / (n > 8 ? n / 8 : 1), fill = HELD / n;
    double spent = 0, bytes = 0;
    weir_arena_init(&arena, 16 << 20);
    weir_buf_init(&out, 16 << 20);
    kv = kvi_create(NULL);
    if (kv == NULL || weir_engine_rank_create(BLOCK, 0, &rank) != WEIR_OK)
        return 1;
    for (uint64_t at = 0; at < fill + rounds; at++) {
        make(&out, at, n);
        double begin = cpu_ns();
        if (weir_engine_batch_decode_joined(weir_buf_span(&out), &arena, on_event, NULL, &batch) !=
            WEIR_OK)
            return 1;
        if (at < fill)
            continue;
        spent += cpu_ns() - begin;
        bytes += (double)out.len;
    }
    printf("{\"bench\":\"engine_events\",\"blocks\":%u,\"block_size\":%d,\"batch_bytes\":%.0f,"
           "\"ns_batch\":%.0f,\"ns_block\":%.1f,\"events_s\":%.0f}\n",
           n, BLOCK, bytes / rounds, spent / rounds, spent / rounds / n,
           (n + 1) * 1e9 * rounds / spent);
    weir_engine_rank_destroy(rank);
    kvi_destroy(kv);
    weir_buf_fini(&out);
    weir_arena_fini(&arena);
    return 0;
}

int main(void) {
    return measure(1) | measure(8) | measure(64);
}
