/*
 * Answers a script, one line a question, about KV events of engines (dialects.py, in this folder):
 *   D HEX              what is read in a batch: one line an event, then "= ok TIME RANK EVENTS" or
 * "= invalid" N BLOCK_SIZE MODE  a new rank with nothing in it; MODE dynamo: hashed as Dynamo's
 * index does B HEX              the batch into that rank and its index: "= ok" or "= invalid" Q
 * LORA SALT ID,…   blocks found on each tier, and blocks asked for; LORA, SALT in hex, "-" = none
 *   L                  what was left out: ambiguous media block_size other_group remote other
 * Each answer is flushed, so that a script may wait for it.
 */
#include "base/mem.h"
#include "kvindex/kvi.h"
#include "router/engine_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ADAPTERS = 8, MAX_QUERY = 1 << 16 };

static struct weir_arena arena;

static size_t from_hex(const char *hex, char *out) {
    size_t n = 0;
    for (uint64_t v; hex[0] > ' ' && weir_span_hex64(weir_span(hex, 2), &v); hex += 2)
        out[n++] = (char)v;
    return n;
}

static void put_hex(const char *name, struct weir_span s) {
    printf(" %s=", name);
    for (size_t i = 0; i < s.len; i++)
        printf("%02x", (unsigned char)s.data[i]);
}

static void on_event(void *arg, const struct weir_engine_event *e) {
    (void)arg;
    if (e->kind == WEIR_ENGINE_OTHER) {
        puts("O");
        return;
    }
    if (e->kind == WEIR_ENGINE_CLEARED) {
        printf("C r=%d\n", e->remote);
        return;
    }
    printf("%c ", e->kind == WEIR_ENGINE_STORED ? 'S' : 'R');
    for (size_t i = 0; i < e->n_hashes; i++)
        printf("%s%" PRIu64, i > 0 ? "," : "", e->hashes[i]);
    printf(" tier=%d r=%d g=%" PRIi64 " a=%d", (int)e->tier, e->remote, e->group, e->attention);
    if (e->kind == WEIR_ENGINE_STORED) {
        printf(" p=");
        if (e->has_parent)
            printf("%" PRIu64, e->parent);
        printf(" t=");
        for (size_t i = 0; i < e->n_tokens; i++)
            printf("%s%u", i > 0 ? "," : "", e->tokens[i]);
        printf(" bs=%u eagle=%d lid=%d", e->block_size, e->eagle, e->has_lora_id);
        put_hex("lora", e->lora);
        put_hex("salt", e->salt);
        printf(" m=");
        if (e->media)
            printf("%zu", e->first_media_block);
    }
    putchar('\n');
}

static void decode(struct weir_span payload) {
    struct weir_engine_batch b, peeked;
    enum weir_status st = weir_engine_batch_decode(payload, &arena, on_event, NULL, &b);
    enum weir_status whole = weir_engine_batch_peek(payload, &peeked);
    double time = 0;
    if (st != WEIR_OK) {
        puts("= invalid");
        return;
    }
    /* The three ways to look at a batch agree. */
    if (whole != WEIR_OK || peeked.rank != b.rank || peeked.n_events != b.n_events ||
        weir_engine_batch_time(payload, &time) != WEIR_OK ||
        memcmp(&time, &b.timestamp, sizeof(time)) != 0)
        puts("peek and decode differ");
    uint64_t bits;
    memcpy(&bits, &b.timestamp, sizeof(bits));
    printf("= ok %016" PRIx64 " %" PRIi64 " %u\n", bits, b.rank, b.n_events);
}

/* ---- one rank and its index --------------------------------------------------------------- */

static struct weir_engine_rank *rank;
static uint32_t block_size;
/* One index an adapter, as the frontend has one router an adapter; in Dynamo's mode all in one. */
static struct adapter {
    char name[256];
    struct kvi_index *index;
    struct kvi_reader *reader;
} adapters[MAX_ADAPTERS];
static size_t n_adapters;
static bool dynamo;

static struct adapter *adapter_of(struct weir_span lora) {
    if (dynamo)
        lora = weir_span("", 0);
    for (size_t i = 0; i < n_adapters; i++)
        if (weir_span_eqz(lora, adapters[i].name))
            return &adapters[i];
    if (n_adapters == MAX_ADAPTERS || lora.len >= sizeof(adapters[0].name))
        exit(2);
    struct adapter *a = &adapters[n_adapters++];
    if (lora.len > 0)
        memcpy(a->name, lora.data, lora.len);
    a->name[lora.len] = '\0';
    a->index = kvi_create(NULL);
    a->reader = a->index != NULL ? kvi_reader_open(a->index) : NULL;
    if (a->reader == NULL)
        exit(2);
    return a;
}

static void end(void) {
    for (size_t i = 0; i < n_adapters; i++) {
        kvi_reader_close(adapters[i].reader);
        kvi_destroy(adapters[i].index);
    }
    n_adapters = 0;
    weir_engine_rank_destroy(rank);
    rank = NULL;
}

static void begin(uint32_t size, bool as_dynamo) {
    end();
    block_size = size;
    dynamo = as_dynamo;
    if (weir_engine_rank_create(size, 0, &rank) != WEIR_OK)
        exit(2);
    if (as_dynamo)
        weir_engine_rank_hash_as_dynamo(rank);
}

static void apply(void *arg, const struct weir_engine_event *e) {
    struct weir_kv_event ev;
    struct weir_span lora;
    struct kvi_worker w = {1, 0};
    (void)arg;
    if (!weir_engine_rank_convert(rank, e, &ev, &lora))
        return;
    if (ev.kind == WEIR_KV_STORED) {
        (void)kvi_store(adapter_of(lora)->index, w, (enum kvi_tier)ev.tier, ev.has_parent,
                        ev.parent_hash, (const struct kvi_block *)(const void *)ev.blocks,
                        ev.n_blocks, NULL);
        return;
    }
    for (size_t i = 0; i < n_adapters; i++) {
        if (ev.kind == WEIR_KV_REMOVED)
            (void)kvi_remove(adapters[i].index, w, (enum kvi_tier)ev.tier, ev.removed,
                             ev.n_removed);
        else
            kvi_clear(adapters[i].index, w);
    }
}

static void query(char *line) {
    static uint32_t ids[MAX_QUERY];
    static uint64_t locals[MAX_QUERY];
    char lora[256], salt[256], *save = NULL;
    size_t n = 0;
    const char *l = strtok_r(line, " \n", &save), *s = strtok_r(NULL, " \n", &save);
    size_t l_len = l != NULL && l[0] != '-' ? from_hex(l, lora) : 0;
    size_t s_len = s != NULL && s[0] != '-' ? from_hex(s, salt) : 0;
    for (const char *t; n < MAX_QUERY && (t = strtok_r(NULL, ", \n", &save)) != NULL;)
        ids[n++] = (uint32_t)strtoul(t, NULL, 10);
    struct kvi_score score = {0};
    uint64_t seed = kvi_seed(lora, dynamo ? l_len : 0, salt, s_len);
    size_t blocks = kvi_hash_blocks(ids, n, block_size, seed, false, locals, MAX_QUERY);
    if (kvi_find(adapter_of(weir_span(lora, l_len))->reader, locals, blocks, false, &score, 1) == 0)
        memset(&score, 0, sizeof(score));
    printf("= %u %u %u %u %zu\n", score.blocks[0], score.blocks[1], score.blocks[2],
           score.blocks[3], blocks);
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    weir_arena_init(&arena, 64 << 20);
    while ((n = getline(&line, &room, stdin)) > 2 || (n > 0 && line[0] == 'L')) {
        char *payload = weir_malloc((size_t)n); /* of its own, so that a sanitizer sees its end */
        size_t len =
            payload != NULL && (line[0] == 'D' || line[0] == 'B') ? from_hex(line + 2, payload) : 0;
        char *exact = weir_malloc(len + 1);
        struct weir_engine_batch b;
        struct weir_engine_rank_stats st;
        if (payload == NULL || exact == NULL)
            return 2;
        memcpy(exact, payload, len);
        weir_free(payload);
        exact = weir_realloc(exact, len > 0 ? len : 1);
        switch (line[0]) {
        case 'D':
            decode(weir_span(exact, len));
            break;
        case 'N':
            begin((uint32_t)strtoul(line + 2, NULL, 10), strstr(line, "dynamo") != NULL);
            break;
        case 'B':
            puts(weir_engine_batch_decode_joined(weir_span(exact, len), &arena, apply, NULL, &b) ==
                         WEIR_OK
                     ? "= ok"
                     : "= invalid");
            break;
        case 'Q':
            query(line + 2);
            break;
        case 'L':
            weir_engine_rank_get_stats(rank, &st);
            printf("= %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                   st.ambiguous, st.media, st.block_size, st.other_group, st.remote, st.other);
            break;
        default:
            return 2;
        }
        weir_free(exact);
        fflush(stdout);
    }
    end();
    weir_arena_fini(&arena);
    free(line);
    return 0;
}
