/*
 * Figures of the tokenizer, one JSON line each. Times are CPU time of the process.
 * usage: bench_tokenizer MODEL-DIR [--cache-dir DIR] [--segment-cache BYTES] CORPUS.bin …
 * A corpus is a row of prompts: u32 length, bytes (corpora.py makes them).
 */
#include "tokenizer/wtok.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PROMPTS = 4096, STREAM_ROUNDS = 5 };

struct corpus {
    char *data;
    struct weir_span prompts[MAX_PROMPTS];
    size_t n, bytes;
};

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool read_corpus(const char *path, struct corpus *c) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    c->data = malloc((size_t)size + 1);
    bool ok = c->data != NULL && fread(c->data, 1, (size_t)size, f) == (size_t)size;
    fclose(f);
    c->n = c->bytes = 0;
    for (size_t at = 0; ok && at + 4 <= (size_t)size && c->n < MAX_PROMPTS;) {
        uint32_t len;
        memcpy(&len, c->data + at, 4);
        c->prompts[c->n++] = weir_span(c->data + at + 4, len);
        c->bytes += len;
        at += 4 + (size_t)len;
    }
    return ok;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof(*values), by_value);
    return values[n / 2];
}

struct pass {
    double mb_s, p50_ms;
    size_t tokens;
    uint64_t hash;
};

static struct pass encode_all(const struct wtok *tok, const struct weir_span *prompts, size_t n,
                              unsigned flags, uint32_t *ids, size_t room) {
    static double times[MAX_PROMPTS];
    struct pass r = {.hash = 0xcbf29ce484222325u};
    double total = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        double begin = cpu_s();
        if (wtok_encode(tok, prompts[i], flags, ids, room, &k) != WEIR_OK)
            exit(1);
        times[i] = cpu_s() - begin;
        total += times[i];
        bytes += prompts[i].len;
        r.tokens += k;
        for (size_t t = 0; t < k; t++)
            r.hash = (r.hash ^ ids[t]) * 0x100000001b3u;
    }
    r.mb_s = (double)bytes / total / 1e6;
    r.p50_ms = median(times, n) * 1e3;
    return r;
}

static const char *stem(const char *path, char *out, size_t room) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    size_t n = strcspn(name, ".");
    snprintf(out, room, "%.*s", (int)n, name);
    return out;
}

/* Five fresh tokenizers for the first pass, which is only once the first. */
static void bench_corpus(const char *dir, const struct wtok_config *config, const char *path) {
    enum { ROUNDS = 5 };
    static struct corpus c;
    struct weir_span same[200];
    double first[ROUNDS], p50[ROUNDS], again[ROUNDS], repeat[ROUNDS];
    struct pass p = {0};
    char name[64];
    if (!read_corpus(path, &c) || c.n == 0) {
        fprintf(stderr, "bench_tokenizer: cannot read %s\n", path);
        exit(1);
    }
    size_t room = 1 << 20;
    uint32_t *ids = malloc(room * sizeof(*ids));
    memset(ids, 1, room * sizeof(*ids));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(same); i++)
        same[i] = c.prompts[0];
    for (int r = 0; r < ROUNDS; r++) {
        struct wtok *tok = NULL;
        struct weir_err err = {.text = ""};
        struct weir_span warm = WEIR_SPAN_LIT("warm up");
        if (wtok_load(dir, config, &tok, &err) != WEIR_OK) {
            fprintf(stderr, "bench_tokenizer: %s\n", err.text);
            exit(1);
        }
        (void)encode_all(tok, &warm, 1, 1, ids, room);
        p = encode_all(tok, c.prompts, c.n, WTOK_SPECIAL, ids, room);
        first[r] = p.mb_s;
        p50[r] = p.p50_ms;
        (void)encode_all(tok, c.prompts, c.n, WTOK_SPECIAL, ids, room);
        again[r] = encode_all(tok, c.prompts, c.n, WTOK_SPECIAL, ids, room).mb_s;
        repeat[r] = encode_all(tok, same, WEIR_ARRAY_LEN(same), WTOK_SPECIAL, ids, room).mb_s;
        wtok_destroy(tok);
    }
    printf(
        "{\"engine\": \"weir\", \"corpus\": \"%s\", \"first_mb_s\": %.1f, \"first_p50_ms\": %.4f, "
        "\"again_mb_s\": %.1f, \"same_mb_s\": %.1f, \"tokens\": %zu, \"ids\": \"%016" PRIx64
        "\"}\n",
        stem(path, name, sizeof(name)), median(first, ROUNDS), median(p50, ROUNDS),
        median(again, ROUNDS), median(repeat, ROUNDS), p.tokens, p.hash);
    fflush(stdout);
    free(ids);
    free(c.data);
}

static void bench_load(const char *dir, const struct wtok_config *config) {
    double times[9];
    struct wtok *tok = NULL;
    for (int i = -1; i < 9; i++) { /* the first makes the cache file */
        double begin = cpu_s();
        if (wtok_load(dir, config, &tok, NULL) != WEIR_OK)
            exit(1);
        if (i >= 0)
            times[i] = (cpu_s() - begin) * 1e3;
        wtok_destroy(tok);
    }
    printf("{\"figure\": \"load\", \"cpu_ms\": %.2f}\n", median(times, 9));
}

int main(int argc, char **argv) {
    struct wtok_config config = {.cache_dir = ""};
    int i = 2;
    if (argc < 3) {
        fputs(
            "usage: bench_tokenizer MODEL-DIR [--cache-dir DIR] [--segment-cache BYTES] CORPUS…\n",
            stderr);
        return 1;
    }
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2)
        if (strcmp(argv[i], "--cache-dir") == 0)
            config.cache_dir = argv[i + 1];
        else if (strcmp(argv[i], "--segment-cache") == 0)
            config.segment_cache_bytes = strtoull(argv[i + 1], NULL, 10);
    bench_load(argv[1], &config);
    for (; i < argc; i++)
        bench_corpus(argv[1], &config, argv[i]);
    return 0;
}
