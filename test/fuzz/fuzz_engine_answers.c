/*
 * What an engine answers about itself: the first byte chooses the answer. Properties: no more than
 * there is room for, each thing within the bounds that those who use it count on (a figure times
 * another is a number of blocks), and what points somewhere points into the answer or the arena.
 */
#include "runtime/engine_answers.h"

#include <math.h>
#include <stdlib.h>

enum { ROOM = 8, ARENA = 4 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
    if (!ok)
        abort();
}

static size_t sum;

static void touch(struct weir_span s) {
    for (size_t i = 0; i < s.len; i++)
        sum += (unsigned char)s.data[i];
}

static void check_sources(const struct weir_engine_source *s, size_t n) {
    must(n <= ROOM);
    for (size_t i = 0; i < n; i++) {
        must(weir_span_starts(s[i].events, WEIR_SPAN_LIT("tcp://")));
        must(s[i].replay.len == 0 || weir_span_starts(s[i].replay, WEIR_SPAN_LIT("tcp://")));
        touch(s[i].events);
        touch(s[i].replay);
        touch(s[i].topic);
    }
}

static void read_metrics(struct weir_span page) {
    static struct weir_engine_metrics m;
    weir_engine_read_metrics(page, &m);
    must(m.n_ranks <= WEIR_ENGINE_MAX_RANKS && m.block_size <= 1 << 20);
    for (size_t i = 0; i < m.n_ranks; i++) {
        double used = m.ranks[i].kv_usage * (double)m.n_kv_blocks;
        must(isfinite(used) && used >= 0 && used < 9e18);
        must(m.ranks[i].running <= UINT64_MAX / 2 && m.ranks[i].waiting <= UINT64_MAX / 2);
    }
}

static void read_tokens(struct weir_span body, struct weir_arena *arena) {
    const uint32_t *ids;
    size_t n;
    if (weir_engine_read_tokens(body, arena, &ids, &n) == WEIR_OK)
        for (size_t i = 0; i < n; i++)
            sum += ids[i];
}

static void read_models(struct weir_span body, struct weir_arena *arena) {
    static struct weir_engine_model models[ROOM];
    size_t n = 0;
    if (weir_engine_read_models(body, arena, models, ROOM, &n) != WEIR_OK)
        return;
    must(n <= ROOM);
    for (size_t i = 0; i < n; i++) {
        touch(models[i].id);
        touch(models[i].lora);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct weir_engine_source sources[ROOM];
    struct weir_arena arena;
    uint32_t block_size = 0;
    size_t n = 0;
    if (size == 0)
        return 0;
    struct weir_span body = weir_span((const char *)data + 1, size - 1);
    weir_arena_init(&arena, ARENA);
    switch (data[0] % 5) {
    case 0:
        read_models(body, &arena);
        break;
    case 1:
        if (weir_engine_read_sources(body, "10.0.0.1", &arena, sources, ROOM, &n) == WEIR_OK)
            check_sources(sources, n);
        break;
    case 2:
        if (weir_engine_read_server_info(body, "::1", &arena, sources, ROOM, &n, &block_size) ==
            WEIR_OK)
            check_sources(sources, n);
        must(block_size <= 1 << 20);
        break;
    case 3:
        read_metrics(body);
        break;
    default:
        read_tokens(body, &arena);
    }
    weir_arena_fini(&arena);
    return 0;
}
