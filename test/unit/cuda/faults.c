/* A device that fails at any of its calls, for want of memory or for good: with fall_back the
 * answers are the same, without it the status says what happened; nothing leaks or crashes. */
#include "base/status.h"
#include "cuda/kvc.h"
#include "test/unit/cuda/failing.h"

#include <pthread.h>

enum { BLOCKS = 40, RANKS = 8 };

/* What one session gives. */
struct outcome {
    uint64_t local[BLOCKS], sequence[BLOCKS];
    struct kvc_match match[RANKS];
    struct kvc_choice choice[2];
    uint32_t n;
};

#define TRY(call)                                                                                  \
    do {                                                                                           \
        st = (call);                                                                               \
        if (st != KVC_OK)                                                                          \
            goto out;                                                                              \
    } while (0)

static enum kvc_status session(struct kvc *k, struct outcome *o) {
    uint32_t tokens[BLOCKS * 4];
    uint64_t offsets[] = {0, BLOCKS * 4}, blocks[] = {0, BLOCKS}, *pinned = NULL;
    struct kvc_table *t = NULL;
    enum kvc_status st;
    for (uint32_t i = 0; i < BLOCKS * 4; i++)
        tokens[i] = i * 7;
    struct kvc_prompts p = {tokens, offsets, NULL, 1, 4, false, false};
    TRY(kvc_table_create(k, &(struct kvc_table_options){.max_blocks = 500, .max_ranks = RANKS},
                         &t));
    TRY(kvc_hash(k, &p, o->local, o->sequence));
    for (uint32_t r = 0; r < RANKS; r++) {
        struct kvc_block b[BLOCKS];
        for (size_t i = 0; i < BLOCKS; i++)
            b[i] = (struct kvc_block){i + 1, o->local[i]};
        struct kvc_event e = {
            .kind = KVC_STORED, .rank = r, .blocks = b, .n = BLOCKS - 3 * (size_t)r};
        TRY(kvc_table_apply(t, &e));
        if (r % 3 == 0)
            TRY(kvc_table_commit(t));
    }
    TRY(kvc_table_commit(t));
    struct kvc_queries q = {o->local, blocks, 1};
    pinned = kvc_alloc(k, KVC_MEMORY_HOST, sizeof(o->local)); /* read while the call runs */
    if (pinned != NULL)
        q.local = memcpy(pinned, o->local, sizeof(o->local));
    TRY(kvc_match(t, &q, RANKS, o->match, &o->n));
    unsigned char candidate[RANKS];
    double zero[RANKS] = {0}, isl = BLOCKS * 4;
    memset(candidate, 1, sizeof(candidate));
    struct kvc_cost_params params = {
        .block_size = 4, .overlap_score_credit = 1, .prefill_load_scale = 1};
    params.track_prefill_tokens = true;
    struct kvc_loads loads = {candidate, zero, zero, zero};
    TRY(kvc_rank(t, &q, &isl, &params, &loads, 2, o->choice));
out:
    kvc_free(k, KVC_MEMORY_HOST, pinned);
    kvc_table_destroy(t);
    return st;
}

/* But for the padding of choices. */
static bool same(const struct outcome *a, const struct outcome *b) {
    return memcmp(a->local, b->local, sizeof(a->local)) == 0 &&
           memcmp(a->sequence, b->sequence, sizeof(a->sequence)) == 0 &&
           memcmp(a->match, b->match, sizeof(a->match)) == 0 && a->n == b->n &&
           a->choice[0].rank == b->choice[0].rank && a->choice[1].rank == b->choice[1].rank &&
           a->choice[0].cost <= b->choice[0].cost && a->choice[0].cost >= b->choice[0].cost;
}

/* With this call failing; false when the session ended before it. */
static bool one(const void *want, long call, bool lost, bool back) {
    struct kvc_options o = {
        .kind = KVC_CUDA, .plugin = getenv("WEIR_CUDA_PLUGIN"), .fall_back = back};
    struct outcome got = {.n = 0};
    struct kvc *k = NULL;
    struct kvc_info info;
    o.on_fall_back = on_fall_back;
    told[0] = '\0';
    fail_at(call, lost);
    enum kvc_status st = kvc_open(&o, &k, NULL, 0);
    bool opened = st == KVC_OK;
    if (opened) {
        st = session(k, &got);
        kvc_get_info(k, &info);
        kvc_close(k);
    }
    fail_at(-1, false);
    if (st == KVC_OK)
        CHECK_MSG(same(&got, want), "call %ld, lost %d", call, lost);
    else
        CHECK_MSG(!back && (st == KVC_LOST || st == KVC_NOMEM), "call %ld: %s", call,
                  kvc_status_text(st));
    CHECK(!back || !opened || info.fallen_back == 0 || told[0] != '\0');
    return st != KVC_OK || told[0] != '\0';
}

static void case_every_call(void) {
    struct kvc *cpu = NULL;
    static struct outcome want;
    CHECK(kvc_open(&(struct kvc_options){.kind = KVC_CPU}, &cpu, NULL, 0) == KVC_OK);
    CHECK(session(cpu, &want) == KVC_OK);
    CHECK(want.n == RANKS && want.match[1].blocks[KVC_DEVICE] == BLOCKS - 3 &&
          want.choice[0].rank == 0 && want.choice[1].rank == 1);
    kvc_close(cpu);
    fail_every_call(one, &want, 40, 1000);
}

static void hold(struct kvc_table *t, uint32_t rank, uint64_t first, size_t n) {
    struct kvc_block b[BLOCKS];
    for (size_t i = 0; i < n; i++)
        b[i] = (struct kvc_block){first + i, first + i};
    struct kvc_event e = {.kind = KVC_STORED, .rank = rank, .blocks = b, .n = n};
    CHECK(kvc_table_apply(t, &e) == KVC_OK);
}

/* Without fall_back a commit that failed half-way must not show: numbers of sets are used again. */
static void case_a_commit_that_fails(void) {
    struct kvc_options o = {.kind = KVC_CUDA, .plugin = getenv("WEIR_CUDA_PLUGIN")};
    struct kvc_table_options to = {.max_blocks = 4000, .max_ranks = 500};
    unsigned n_failed = 0;
    for (long call = 0; call < 30; call++) {
        struct kvc *k = NULL;
        struct kvc_table *t = NULL;
        struct kvc_match got[2];
        uint64_t local[] = {1, 2, 3}, offsets[] = {0, 3};
        struct kvc_queries q = {local, offsets, 1};
        uint32_t n = 0;
        CHECK(kvc_open(&o, &k, NULL, 0) == KVC_OK && kvc_table_create(k, &to, &t) == KVC_OK);
        hold(t, 0, 1, 3);
        CHECK(kvc_table_commit(t) == KVC_OK);
        CHECK(kvc_match(t, &q, 2, got, &n) == KVC_OK && n == 1 && got[0].blocks[0] == 3);
        struct kvc_event gone = {.kind = KVC_CLEARED, .rank = 0};
        CHECK(kvc_table_apply(t, &gone) == KVC_OK);
        for (uint32_t r = 1; r < 400; r++) /* so many sets that the device's arrays must grow */
            hold(t, r, 1000 + 3 * r, 2 + r % 5);
        for (uint32_t r = 100; r < 300; r++)
            hold(t, r, 1, 2 + r % 2);
        fail_at(call, false);
        enum kvc_status st = kvc_table_commit(t);
        fail_at(-1, false);
        n_failed += st != KVC_OK;
        CHECK(st == KVC_OK || st == KVC_NOMEM);
        CHECK(kvc_match(t, &q, 2, got, &n) == st); /* refused, or new */
        CHECK(kvc_table_commit(t) == KVC_OK);
        CHECK(kvc_match(t, &q, 2, got, &n) == KVC_OK && n == 200);
        CHECK(got[0].rank == 100 && got[0].blocks[0] == 2 && got[1].blocks[0] == 3);
        kvc_table_destroy(t);
        kvc_close(k);
    }
    CHECK_MSG(n_failed > 1, "%u commits failed", n_failed);
}

static void *other_thread(void *arg) {
    static struct outcome got;
    CHECK(session(arg, &got) == KVC_OK && got.n == RANKS);
    return NULL;
}

/* The runtime knows a current device by thread; what was opened here works there. */
static void case_another_thread(void) {
    struct kvc_options o = {.kind = KVC_CUDA, .plugin = getenv("WEIR_CUDA_PLUGIN"), .device = 1};
    struct kvc *k = NULL;
    pthread_t thread;
    CHECK(kvc_open(&o, &k, NULL, 0) == KVC_OK);
    CHECK(pthread_create(&thread, NULL, other_thread, k) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    kvc_close(k);
}

static void case_budget(void) {
    struct kvc_options o = {.kind = KVC_CUDA,
                            .plugin = getenv("WEIR_CUDA_PLUGIN"),
                            .max_bytes = 4096,
                            .fall_back = true,
                            .on_fall_back = on_fall_back};
    static struct outcome got;
    struct kvc *k = NULL;
    struct kvc_info info;
    CHECK(kvc_open(&o, &k, NULL, 0) == KVC_OK);
    CHECK(session(k, &got) == KVC_OK && got.n == RANKS);
    kvc_get_info(k, &info);
    CHECK(info.fallen_back > 0 && info.bytes <= 4096 && strstr(told, "full") != NULL);
    kvc_close(k);
    o.plugin = "/nowhere.so";
    CHECK(kvc_open(&o, &k, NULL, 0) == KVC_OK && strstr(told, "/nowhere.so") != NULL);
    CHECK(session(k, &got) == KVC_OK && got.n == RANKS);
    kvc_close(k);
}

int main(void) {
    find_fail_at();
    CHECK_RUN(case_every_call);
    CHECK_RUN(case_a_commit_that_fails);
    CHECK_RUN(case_another_thread);
    CHECK_RUN(case_budget);
    return check_finish();
}
