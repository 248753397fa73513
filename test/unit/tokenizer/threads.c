/* One tokenizer, many threads, a segment cache that is too small: every answer is that of a thread
 * alone. */
#include "base/rng.h"
#include "test/check.h"
#include "tokenizer/wtok.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 4, TEXTS = 64, TEXT_MAX = 2000, ROUNDS = 400 };

static struct wtok *tok;
static char texts[TEXTS][TEXT_MAX + 1];
static uint32_t *want[TEXTS];
static size_t want_n[TEXTS];
static atomic_uint wrong;

static void make_text(struct weir_rng *rng, char *out) {
    static const char *const atoms[] = {"hello",    " wo",  "l",  "\n", "12", "zz", " e\xCC\x81",
                                        "\xE4\xBD", "\xA0", "ll", " ",  ",",  "x"};
    size_t len = 0, most = weir_rng_below(rng, TEXT_MAX - 8);
    while (len < most) {
        size_t k = weir_rng_below(rng, WEIR_ARRAY_LEN(atoms));
        if (k == 8) /* only behind its first half */
            continue;
        const char *atom = weir_rng_below(rng, 200) == 0 ? "<s>" : atoms[k];
        size_t n = strlen(atom);
        memcpy(out + len, atom, n);
        len += n;
        if (atom == atoms[7])
            out[len++] = '\xA0';
    }
    out[len] = '\0';
}

static void *run(void *arg) {
    struct weir_rng rng;
    uint32_t *ids = malloc(TEXT_MAX * 4 * sizeof(*ids));
    weir_rng_seed(&rng, check_seed() + (uintptr_t)arg);
    for (int i = 0; i < ROUNDS && ids != NULL; i++) {
        size_t k = weir_rng_below(&rng, TEXTS), n = 0;
        unsigned flags = WTOK_SPECIAL | (weir_rng_below(&rng, 4) == 0 ? WTOK_NO_CACHE : 0u);
        enum weir_status st = wtok_encode(tok, weir_span_z(texts[k]), flags, ids, TEXT_MAX * 4, &n);
        if (st != WEIR_OK || n != want_n[k] || memcmp(ids, want[k], n * sizeof(*ids)) != 0)
            atomic_fetch_add(&wrong, 1);
    }
    free(ids);
    return NULL;
}

static void case_many_threads(void) {
    static const char *const corpus = "test/fuzz/corpus/tokenizer_json/byte_level.json";
    struct wtok_config config = {.cache_dir = "", .segment_cache_bytes = 200000};
    struct weir_err err = {.text = ""};
    struct weir_rng rng;
    char dir[64] = "/tmp/weir-threads-XXXXXX", path[128], cwd[1024], from[1200];
    CHECK(mkdtemp(dir) != NULL && getcwd(cwd, sizeof(cwd)) != NULL);
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    snprintf(from, sizeof(from), "%s/%s", cwd, corpus);
    CHECK(symlink(from, path) == 0);
    enum weir_status st = wtok_load(dir, &config, &tok, &err);
    (void)unlink(path);
    (void)rmdir(dir);
    CHECK_MSG(st == WEIR_OK, "%s", err.text);
    weir_rng_seed(&rng, check_seed());
    for (size_t k = 0; k < TEXTS; k++) {
        make_text(&rng, texts[k]);
        want[k] = malloc(TEXT_MAX * 4 * sizeof(uint32_t));
        CHECK(wtok_encode(tok, weir_span_z(texts[k]), WTOK_SPECIAL | WTOK_NO_CACHE, want[k],
                          TEXT_MAX * 4, &want_n[k]) == WEIR_OK);
    }
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ_U64(atomic_load(&wrong), 0);
    struct wtok_stats stats;
    wtok_stats(tok, &stats);
    CHECK_MSG(stats.segment_hits > 0 && stats.segment_evictions > 0,
              "%llu hits, %llu misses, %llu evictions", (unsigned long long)stats.segment_hits,
              (unsigned long long)stats.segment_misses,
              (unsigned long long)stats.segment_evictions);
    CHECK(stats.segment_bytes <= config.segment_cache_bytes);
    wtok_destroy(tok);
    for (size_t k = 0; k < TEXTS; k++)
        free(want[k]);
}

int main(void) {
    CHECK_RUN(case_many_threads);
    return check_finish();
}
