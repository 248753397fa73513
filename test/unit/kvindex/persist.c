/* Snapshot and JSON: what was written comes back equal, and nothing else is accepted. */
#include "kvindex/kvi_persist.h"

#include "base/rng.h"
#include "test/check.h"

#include <sys/stat.h>
#include <unistd.h>

enum { WORKERS = 6, DEPTH = 12 };
static char path[64];
static struct weir_rng rng;

/* A fleet as engines make it: a name stands for a prefix, salted per worker in half of the fleet;
 * lower tiers hold what follows. */
static uint64_t name_of(uint64_t worker, uint64_t parent, uint64_t content) {
    uint64_t pair[2] = {parent + 1, content + 1};
    kvi_chain(pair, 2, pair);
    return pair[1] ^ (worker % 2 == 0 ? 0 : worker << 40);
}

static void grow(struct kvi_index *x, unsigned chains, uint64_t first_worker) {
    for (unsigned i = 0; i < chains; i++) {
        uint64_t worker = first_worker + weir_rng_below(&rng, WORKERS - first_worker), parent = 0;
        unsigned n = 1 + (unsigned)weir_rng_below(&rng, DEPTH);
        unsigned device = (unsigned)weir_rng_below(&rng, n + 1);
        unsigned host = device + (unsigned)weir_rng_below(&rng, n - device + 1);
        for (unsigned k = 0; k < n; k++) {
            uint64_t content = weir_rng_below(&rng, 2), name = name_of(worker, parent, content);
            struct kvi_block b = {name, content};
            kvi_store(x, (struct kvi_worker){worker, (uint32_t)worker % 2},
                      k < device ? KVI_DEVICE
                      : k < host ? KVI_HOST
                                 : KVI_DISK,
                      k > 0, parent, &b, 1, NULL);
            parent = name;
        }
    }
}

static struct kvi_index *make_fleet(unsigned chains) {
    struct kvi_index *x = kvi_create(NULL);
    CHECK(x != NULL);
    grow(x, chains, 0);
    return x;
}

static void check_equal(struct kvi_index *a, struct kvi_index *b) {
    struct kvi_reader *ra = kvi_reader_open(a), *rb = kvi_reader_open(b);
    CHECK(ra != NULL && rb != NULL);
    for (uint64_t q = 0; q < 1u << DEPTH; q++) {
        uint64_t query[DEPTH];
        struct kvi_score sa[WORKERS], sb[WORKERS];
        for (int i = 0; i < DEPTH; i++)
            query[i] = q >> i & 1;
        size_t na = kvi_find(ra, query, DEPTH, false, sa, WORKERS);
        size_t nb = kvi_find(rb, query, DEPTH, false, sb, WORKERS);
        CHECK_EQ_U64(na, nb);
        for (size_t i = 0; i < na; i++)
            for (size_t k = 0; k < nb; k++)
                if (sa[i].worker.worker_id == sb[k].worker.worker_id)
                    CHECK(memcmp(sa[i].blocks, sb[k].blocks, sizeof(sa[i].blocks)) == 0);
    }
    kvi_reader_close(ra);
    kvi_reader_close(rb);
}

static void on_mark(void *arg, const struct kvi_mark *m) {
    uint64_t *sum = arg;
    *sum += m->last_event_id * 1000 + m->publisher_id * 100 + m->worker.worker_id * 10 +
            m->worker.dp_rank;
}

static void case_snapshot_comes_back(void) {
    struct kvi_index *x = make_fleet(4000), *y = kvi_create(NULL);
    struct kvi_mark marks[] = {{{1, 2}, 3, 4}, {{5, 6}, 7, UINT64_C(8)}};
    uint64_t sum = 0;
    CHECK(kvi_snapshot_write(x, path, marks, 2) == KVI_FILE_OK);
    CHECK(kvi_snapshot_read(y, path, on_mark, &sum) == KVI_FILE_OK);
    CHECK_EQ_U64(sum, 4000 + 300 + 10 + 2 + 8000 + 700 + 50 + 6);
    struct kvi_stats sx, sy;
    kvi_get_stats(x, &sx);
    kvi_get_stats(y, &sy);
    CHECK_EQ_U64(sy.events[KVI_STORED][KVI_OK] > 0, 1);
    CHECK_EQ_U64(sy.tier[KVI_DEVICE], sx.tier[KVI_DEVICE]);
    CHECK(sx.aliases > 0 && sx.tier[KVI_HOST] > 0 && sx.tier[KVI_DISK] > 0);
    check_equal(x, y);
    kvi_destroy(x);
    kvi_destroy(y);
}

static void case_every_cut_and_every_damage_is_seen(void) {
    struct kvi_index *x = make_fleet(20), *y = kvi_create(NULL);
    CHECK(kvi_snapshot_write(x, path, NULL, 0) == KVI_FILE_OK);
    static uint8_t bytes[1 << 16];
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    size_t n = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    CHECK(n > 200 && n < sizeof(bytes));
    for (size_t cut = 0; cut < n; cut++) {
        CHECK(truncate(path, (off_t)(n - 1 - cut)) == 0);
        CHECK(kvi_snapshot_read(y, path, NULL, NULL) == KVI_FILE_CORRUPT);
    }
    for (size_t i = 0; i <= n; i++) { /* i == n: one byte too many */
        f = fopen(path, "wb");
        CHECK(f != NULL);
        bytes[i] ^= 0x10;
        CHECK(fwrite(bytes, 1, i == n ? n + 1 : n, f) == (i == n ? n + 1 : n));
        bytes[i] ^= 0x10;
        fclose(f);
        CHECK(kvi_snapshot_read(y, path, NULL, NULL) == KVI_FILE_CORRUPT);
    }
    struct kvi_stats s;
    kvi_get_stats(y, &s);
    CHECK_EQ_U64(s.entries, 0);
    CHECK(kvi_snapshot_read(y, "/nonexistent/snapshot", NULL, NULL) == KVI_FILE_ERROR);
    CHECK(kvi_snapshot_write(x, "/nonexistent/snapshot", NULL, 0) == KVI_FILE_ERROR);
    kvi_destroy(x);
    kvi_destroy(y);
}

/* Payload words, checked: a block's hash is the checksum of its tokens. */
static void write_words(uint64_t *w, size_t n, uint64_t version) {
    FILE *f = fopen(path, "wb");
    w[1] = version;
    w[2] = n - 4;
    w[3] = kvi_block_hash((const uint32_t *)(const void *)(w + 4), (n - 4) * 2, version);
    CHECK(f != NULL && fwrite(w, sizeof(*w), n, f) == n && fclose(f) == 0);
}

static enum kvi_file_result read_equal(struct kvi_index *x) {
    struct kvi_index *y = kvi_create(NULL);
    enum kvi_file_result r = kvi_snapshot_read(y, path, NULL, NULL);
    if (r == KVI_FILE_OK)
        check_equal(x, y);
    kvi_destroy(y);
    return r;
}

/* Version 1 had no record of the size, which comes first now. */
static void case_versions_and_sizes(void) {
    enum { HEAD = 4, SIZE = 6 };
    static uint64_t w[1 << 16];
    struct kvi_index *x = make_fleet(400);
    CHECK(kvi_snapshot_write(x, path, NULL, 0) == KVI_FILE_OK);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    size_t n = fread(w, sizeof(*w), sizeof(w) / sizeof(*w), f);
    fclose(f);
    CHECK(n < sizeof(w) / sizeof(*w) && w[1] == 2 && w[HEAD] >> 56 == 3);
    CHECK_EQ_U64(w[HEAD] & 0xFFFFFFFF, 1);
    uint64_t size[3] = {w[HEAD + 1], w[HEAD + 2], w[HEAD + 3]};
    CHECK(size[0] > 0 && size[1] > 0 && size[2] > 0);
    for (size_t k = 0; k < 3; k++) { /* a size that cannot be, and one that is not so */
        w[HEAD + 1 + k] = UINT64_MAX;
        write_words(w, n, 2);
        CHECK(read_equal(x) == KVI_FILE_OK);
        w[HEAD + 1 + k] = n;
        write_words(w, n, 2);
        CHECK(read_equal(x) == KVI_FILE_OK);
        w[HEAD + 1 + k] = size[k];
    }
    write_words(w, n, 3);
    CHECK(read_equal(x) == KVI_FILE_CORRUPT);
    memmove(w + HEAD, w + HEAD + SIZE, (n - HEAD - SIZE) * sizeof(*w));
    write_words(w, n - SIZE, 2);
    CHECK(read_equal(x) == KVI_FILE_OK);
    write_words(w, n - SIZE, 1);
    CHECK(read_equal(x) == KVI_FILE_OK);
    kvi_destroy(x);
}

struct copying {
    struct kvi_index *to;
    uint64_t id;
};

static bool through_json(void *arg, const struct kvi_event *e) {
    struct copying *c = arg;
    static char text[64 * 1024], record[65 * 1024];
    static uint64_t scratch[1024];
    struct kvi_event back;
    uint64_t id;
    size_t n = kvi_event_to_json(e, c->id, text, sizeof(text));
    CHECK(n < sizeof(text));
    int len = snprintf(record, sizeof(record),
                       "{\"key\":\"m:g\",\"block_size\":16,\"event\":%.*s}\n", (int)n, text);
    CHECK(kvi_event_from_json(record, (size_t)len, scratch, 1024, &back, &id) == KVI_JSON_OK);
    CHECK_EQ_U64(id, c->id++);
    CHECK_EQ_U64(back.n, e->n);
    kvi_apply(c->to, &back, 1, NULL);
    return true;
}

static void case_json_dump_comes_back(void) {
    struct kvi_index *x = make_fleet(2000);
    struct copying c = {kvi_create(NULL), 0};
    CHECK(kvi_dump(x, through_json, &c) == KVI_OK);
    check_equal(x, c.to);
    kvi_destroy(x);
    kvi_destroy(c.to);
}

enum { STILL = 3 }; /* workers below it have no events during a walk */
struct told {
    struct kvi_index *to;
    size_t blocks; /* of this step */
};

static bool restore_still(void *arg, const struct kvi_event *e) {
    struct told *t = arg;
    t->blocks += e->n;
    if (e->worker.worker_id < STILL)
        kvi_apply(t->to, e, 1, NULL);
    return true;
}

/* Others store, leave and come back between its steps, and whole branches go. */
static void case_walk_beside_writers(void) {
    for (size_t step = 1; step <= 1000; step *= 10) {
        struct kvi_index *x = make_fleet(3000);
        struct told want = {kvi_create(NULL), 0}, got = {kvi_create(NULL), 0};
        CHECK(kvi_dump(x, restore_still, &want) == KVI_OK);
        struct kvi_walk *walk = kvi_walk_open(x);
        unsigned steps = 0;
        for (bool more = true; more; steps++) {
            got.blocks = 0;
            CHECK(kvi_walk_step(walk, step, restore_still, &got, &more) == KVI_OK);
            CHECK(got.blocks < step + 128);
            grow(x, 3, STILL);
            kvi_remove_worker(x, STILL + steps % (WORKERS - STILL));
            kvi_maintain(x);
        }
        CHECK(steps > 3);
        kvi_walk_close(walk);
        struct kvi_stats s;
        kvi_get_stats(got.to, &s);
        CHECK(s.entries > 0 && s.events[KVI_STORED][KVI_PARENT_NOT_FOUND] == 0);
        check_equal(want.to, got.to);
        kvi_destroy(x);
        kvi_destroy(want.to);
        kvi_destroy(got.to);
    }
    kvi_walk_close(NULL);
}

static bool refuse(void *arg, const struct kvi_event *e) {
    (void)e;
    return --*(int *)arg > 0;
}

static void case_walk_that_is_stopped(void) {
    struct kvi_index *x = make_fleet(100);
    struct kvi_walk *walk = kvi_walk_open(x);
    int wanted = 5;
    bool more = true;
    CHECK(kvi_walk_step(walk, SIZE_MAX, refuse, &wanted, &more) == KVI_OK);
    CHECK(!more && wanted == 0);
    kvi_walk_close(walk);
    walk = kvi_walk_open(x);
    kvi_destroy(x);
    kvi_walk_close(walk);
}

static enum kvi_json_result read_text(const char *text, struct kvi_event *e, uint64_t *id) {
    static uint64_t scratch[8];
    return kvi_event_from_json(text, strlen(text), scratch, 8, e, id);
}

static void case_json_forms(void) {
    struct kvi_event e;
    uint64_t id;
    char text[512];
    struct kvi_block b[2] = {{UINT64_MAX, 1}, {2, UINT64_MAX - 1}};
    e = (struct kvi_event){
        .worker = {9, 3}, .kind = KVI_STORED, .tier = KVI_HOST, .blocks = b, .n = 2};
    size_t n = kvi_event_to_json(&e, 7, text, sizeof(text));
    CHECK_EQ_STR(text, n,
                 "{\"worker_id\":9,\"storage_tier\":\"host_pinned\",\"event\":{\"event_id\":7,"
                 "\"data\":{\"stored\":{\"parent_hash\":null,\"start_position\":null,\"blocks\":["
                 "{\"block_hash\":18446744073709551615,\"tokens_hash\":1,\"mm_extra_info\":null},"
                 "{\"block_hash\":2,\"tokens_hash\":18446744073709551614,\"mm_extra_info\":null}"
                 "]}},\"dp_rank\":3}}");
    CHECK_EQ_U64(kvi_event_to_json(&e, 7, text, 10), n);
    CHECK(read_text("{\"event\":{\"data\":\"cleared\",\"event_id\":5},\"worker_id\":8,\"new\":[1,{"
                    "\"a\":\"]\"}]}",
                    &e, &id) == KVI_JSON_OK);
    CHECK(e.kind == KVI_CLEARED && e.worker.worker_id == 8 && e.worker.dp_rank == 0 && id == 5);
    CHECK(read_text("{\"worker_id\":1,\"residency_domain\":\"worker\",\"event\":{\"event_id\":1,"
                    "\"data\":{\"removed\":{\"block_hashes\":[ -1 , 2]}},\"dp_rank\":4}}",
                    &e, &id) == KVI_JSON_OK);
    CHECK(e.kind == KVI_REMOVED && e.n == 2 && e.removed[0] == UINT64_MAX && e.removed[1] == 2);
    CHECK(read_text("{\"worker_id\":1,\"event\":{\"event_id\":1,\"data\":{\"stored\":{\"blocks\":[{"
                    "\"tokens_hash\":3,\"block_hash\":4,\"mm_extra_info\":{\"mm_objects\":[]}}],"
                    "\"parent_hash\":6,\"start_position\":2}}}}",
                    &e, &id) == KVI_JSON_OK);
    CHECK(e.has_parent && e.parent_hash == 6 && e.start_position == 2 && e.n == 1 &&
          e.blocks[0].block_hash == 4 && e.blocks[0].tokens_hash == 3 && e.tier == KVI_DEVICE);
    CHECK(read_text("{\"worker\\u005fid\":1,\"storage_tier\":\"\\u0064isk\",\"ev\\u0065nt\":{"
                    "\"data\":\"cl\\u0065ared\"},\"a\\n\\u00e9\":\"\\u0000\"}",
                    &e, &id) == KVI_JSON_OK);
    CHECK(e.kind == KVI_CLEARED && e.worker.worker_id == 1 && e.tier == KVI_DISK);
    static const struct {
        const char *text;
        enum kvi_json_result want;
    } bad[] = {
        {"", KVI_JSON_INVALID},
        {"{}", KVI_JSON_INVALID},
        {"{\"worker_id\":1}", KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":\"cleared\"}} x", KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":\"cleared\"}", KVI_JSON_INVALID},
        {"{\"worker_id\":1.5,\"event\":{\"data\":\"cleared\"}}", KVI_JSON_INVALID},
        {"{\"worker_id\":18446744073709551616,\"event\":{\"data\":\"cleared\"}}", KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"storage_tier\":\"tape\",\"event\":{\"data\":\"cleared\"}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":{\"moved\":{}}}}", KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":{\"stored\":{\"blocks\":[{\"block_hash\":1}]}}}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"residency_domain\":\"cache_owner\",\"event\":{\"data\":\"cleared\"}}",
         KVI_JSON_UNSUPPORTED},
        {"{\"worker_id\":1,\"event\":{\"data\":{\"removed\":{\"block_hashes\":[1,2,3,4,5,6,7,8,9]}}"
         "}}",
         KVI_JSON_ROOM},
        /* A known key twice: serde's "duplicate field", wherever it stands. */
        {"{\"worker_id\":1,\"worker_id\":1,\"event\":{\"data\":\"cleared\"}}", KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":{\"removed\":{\"block_hashes\":[2]}},\"data\":"
         "\"cleared\"}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":\"cleared\"},\"event\":{\"data\":\"cleared\"}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":{\"removed\":{\"block_hashes\":[2],"
         "\"block_hashes\":[3]}}}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":{\"stored\":{\"blocks\":[{\"block_hash\":1,"
         "\"tokens_hash\":2,\"tokens_hash\":3}]}}}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":{\"stored\":{\"parent_hash\":1,\"parent_hash\":"
         "null,\"blocks\":[]}}}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"worker\\u005fid\":1,\"event\":{\"data\":\"cleared\"}}",
         KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"event\":{\"data\":\"cleare\"}}", KVI_JSON_INVALID},
        /* No escapes. */
        {"{\"worker_id\":1,\"\\q\":1,\"event\":{\"data\":\"cleared\"}}", KVI_JSON_INVALID},
        {"{\"worker_id\":1,\"\\u00g0\":1,\"event\":{\"data\":\"cleared\"}}", KVI_JSON_INVALID},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_MSG(read_text(bad[i].text, &e, &id) == bad[i].want, "%s", bad[i].text);
}

/* Idle work on an index that fills its budget: what was there is still there. (The last chunk of
 * the nodes, not a whole one, was given back to the system while it was in use.) */
static void case_idle_work_keeps_all(void) {
    for (size_t kib = 1024; kib <= 2048; kib += 512) {
        struct kvi_options o = {.max_bytes = kib << 10};
        struct kvi_index *x = kvi_create(&o);
        struct kvi_reader *r = kvi_reader_open(x);
        struct kvi_stats s = {0};
        struct kvi_score score;
        uint64_t n = 0, before = 0, after = 0;
        CHECK(r != NULL);
        for (; s.evicted == 0; n++) {
            struct kvi_block b = {n + 1, n + 1};
            CHECK(kvi_store(x, (struct kvi_worker){1, 0}, KVI_DEVICE, false, 0, &b, 1, NULL) ==
                  KVI_OK);
            kvi_get_stats(x, &s);
        }
        for (uint64_t i = 1; i <= n; i++)
            before += kvi_find(r, &i, 1, false, &score, 1);
        for (int i = 0; i < 3; i++)
            kvi_maintain(x);
        for (uint64_t i = 1; i <= n; i++)
            after += kvi_find(r, &i, 1, false, &score, 1);
        CHECK(before > 0 && before == s.entries);
        CHECK_MSG(after == before, "%zu KiB: %llu of %llu blocks are left", kib,
                  (unsigned long long)after, (unsigned long long)before);
        kvi_reader_close(r);
        kvi_destroy(x);
    }
}

int main(void) {
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%.40s/kvi-XXXXXX", dir != NULL ? dir : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    weir_rng_seed(&rng, check_seed());
    CHECK_RUN(case_snapshot_comes_back);
    CHECK_RUN(case_every_cut_and_every_damage_is_seen);
    CHECK_RUN(case_versions_and_sizes);
    CHECK_RUN(case_json_dump_comes_back);
    CHECK_RUN(case_walk_beside_writers);
    CHECK_RUN(case_walk_that_is_stopped);
    CHECK_RUN(case_json_forms);
    CHECK_RUN(case_idle_work_keeps_all);
    unlink(path);
    return check_finish();
}
