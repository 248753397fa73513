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

enum { MAX_PROMPTS = 4096 };

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

/* ---- single figures -------------------------------------------------------------------------- */

enum { REPEATS = 9 };

static double encode_ms(const struct wtok *tok, struct weir_span text, unsigned flags,
                        uint32_t *ids, size_t room, size_t *ret_n) {
    double begin = cpu_s();
    if (wtok_encode(tok, text, flags, ids, room, ret_n) != WEIR_OK)
        exit(1);
    return (cpu_s() - begin) * 1e3;
}

/* About 128 K tokens of the corpus as one prompt, never seen by this tokenizer but for the words.
 */
static void bench_long_prompt(const struct wtok *tok, const struct corpus *c, uint32_t *ids,
                              size_t room) {
    double times[REPEATS];
    size_t n = 0, len = 0, want = 131072;
    char *text = malloc(c->bytes);
    for (size_t i = 0; i < c->n && n < want; i++) {
        size_t k = 0;
        (void)encode_ms(tok, c->prompts[i], WTOK_NO_CACHE, ids, room, &k);
        memcpy(text + len, c->prompts[i].data, c->prompts[i].len);
        len += c->prompts[i].len;
        n += k;
    }
    for (size_t r = 0; r < REPEATS; r++)
        times[r] = encode_ms(tok, weir_span(text, len), WTOK_NO_CACHE, ids, room, &n);
    printf("{\"figure\": \"long_prompt\", \"tokens\": %zu, \"bytes\": %zu, \"cpu_ms\": %.2f}\n", n,
           len, median(times, REPEATS));
    free(text);
}

static void bench_single_word(const struct wtok *tok, uint32_t *ids, size_t room) {
    enum { BYTES = 1 << 20 };
    static const char *const kinds[] = {"a", "random letters"};
    char *text = malloc(BYTES);
    for (size_t kind = 0; kind < 2; kind++) {
        double times[REPEATS];
        size_t n = 0;
        uint64_t x = 1;
        for (size_t i = 0; i < BYTES; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            text[i] = (char)('a' + (kind == 0 ? 0 : (x >> 33) % 26));
        }
        for (size_t r = 0; r < REPEATS; r++)
            times[r] = encode_ms(tok, weir_span(text, BYTES), WTOK_NO_CACHE, ids, room, &n);
        printf(
            "{\"figure\": \"word_of_1_mb\", \"of\": \"%s\", \"tokens\": %zu, \"cpu_ms\": %.1f}\n",
            kinds[kind], n, median(times, REPEATS));
    }
    free(text);
}

/* Token by token through the decoder and a matcher of four stop strings. */
static void bench_decode(const struct wtok *tok, const struct corpus *c, uint32_t *ids,
                         size_t room) {
    static const struct weir_span stops[] = {WEIR_SPAN_LIT("</s>"), WEIR_SPAN_LIT("\n\nUser:"),
                                             WEIR_SPAN_LIT("<|im_end|>"), WEIR_SPAN_LIT("STOP!!")};
    double times[REPEATS], with_stops[REPEATS];
    size_t n = 0;
    struct weir_buf text, shown;
    weir_buf_init(&text, 1 << 26);
    weir_buf_init(&shown, 1 << 26);
    if (wtok_encode(tok, c->prompts[0], 0, ids, room, &n) != WEIR_OK)
        exit(1);
    for (size_t r = 0; r < REPEATS * 2; r++) {
        struct wtok_stream s;
        struct wtok_stop *stop = NULL;
        bool stopping = r % 2 == 1;
        int matched = -1;
        wtok_stream_init(&s, tok, true);
        if (wtok_stop_create(stops, WEIR_ARRAY_LEN(stops), false, &stop) != WEIR_OK)
            exit(1);
        weir_buf_clear(&shown);
        double begin = cpu_s();
        for (size_t i = 0; i < n; i++) {
            weir_buf_clear(&text);
            if (wtok_stream_push(&s, ids[i], &text) != WEIR_OK ||
                (stopping &&
                 wtok_stop_push(stop, weir_buf_span(&text), &shown, &matched) != WEIR_OK))
                exit(1);
            weir_buf_clear(&shown);
        }
        (stopping ? with_stops : times)[r / 2] = (cpu_s() - begin) * 1e9 / (double)n;
        wtok_stop_destroy(stop);
    }
    printf("{\"figure\": \"decode\", \"ns_per_token\": %.1f, \"with_stops_ns_per_token\": %.1f}\n",
           median(times, REPEATS), median(with_stops, REPEATS));
    weir_buf_fini(&text);
    weir_buf_fini(&shown);
}

/* A conversation that grows by a message a turn; each turn encodes all of it again. */
static void bench_turns(const char *dir, const struct wtok_config *base, const struct corpus *c,
                        uint32_t *ids, size_t room) {
    enum { TURNS = 24 };
    struct wtok_config config = *base;
    struct wtok *tok = NULL;
    char *text = malloc((size_t)TURNS * 40000);
    double total = 0;
    size_t len = 0, bytes = 0, n = 0;
    config.segment_cache_bytes = (size_t)64 << 20;
    if (wtok_load(dir, &config, &tok, NULL) != WEIR_OK)
        exit(1);
    for (size_t t = 0; t < TURNS && t < c->n; t++) {
        len += (size_t)snprintf(text + len, 64, "<|im_start|>%s\n", t % 2 ? "assistant" : "user");
        size_t part = c->prompts[t].len < 6000 ? c->prompts[t].len : 6000;
        while (part > 0 && ((unsigned char)c->prompts[t].data[part] & 0xC0) == 0x80)
            part--;
        memcpy(text + len, c->prompts[t].data, part);
        len += part;
        len += (size_t)snprintf(text + len, 64, "<|im_end|>\n");
        /* The new message is encoded once; what counts is that the rest is not again. */
        (void)encode_ms(tok, weir_span(text, len), WTOK_SPECIAL, ids, room, &n);
        for (int r = 0; r < 5; r++)
            total += encode_ms(tok, weir_span(text, len), WTOK_SPECIAL, ids, room, &n);
        bytes += 5 * len;
    }
    printf("{\"figure\": \"turns\", \"gb_s\": %.2f}\n", (double)bytes / total / 1e6);
    free(text);
    wtok_destroy(tok);
}

/* Prompts that begin alike, three quarters of each, without an added token between. */
static void bench_shared(const char *dir, const struct wtok_config *base, const struct corpus *c,
                         uint32_t *ids, size_t room) {
    struct wtok_config config = *base;
    struct wtok *tok = NULL;
    struct weir_span head = c->prompts[0];
    char *text = malloc(head.len * 2);
    double total = 0;
    size_t bytes = 0, n = 0, shared = head.len / 4 * 3;
    config.segment_cache_bytes = (size_t)64 << 20;
    if (text == NULL || wtok_load(dir, &config, &tok, NULL) != WEIR_OK)
        exit(1);
    while (shared > 0 && ((unsigned char)head.data[shared] & 0xC0) == 0x80)
        shared--;
    memcpy(text, head.data, shared);
    for (size_t t = 0; t < c->n; t++) {
        struct weir_span own = c->prompts[t];
        size_t len = own.len < head.len / 4 ? own.len : head.len / 4;
        while (len > 0 && len < own.len && ((unsigned char)own.data[len] & 0xC0) == 0x80)
            len--;
        memcpy(text + shared, own.data, len);
        double ms = encode_ms(tok, weir_span(text, shared + len), WTOK_SPECIAL, ids, room, &n);
        if (t == 0)
            continue;
        total += ms;
        bytes += shared + len;
    }
    printf("{\"figure\": \"shared_beginning\", \"mb_s\": %.1f}\n", (double)bytes / total / 1e3);
    free(text);
    wtok_destroy(tok);
}

static long resident_kb(void) {
    long pages = 0, unused;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%ld %ld", &unused, &pages) != 2)
        pages = 0;
    if (f != NULL)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void bench_figures(const char *dir, const struct wtok_config *config, const char *path) {
    static struct corpus c;
    struct wtok *tok = NULL;
    size_t room = 4 << 20, n = 0;
    if (!read_corpus(path, &c) || c.n == 0)
        return;
    long before = resident_kb();
    if (wtok_load(dir, config, &tok, NULL) != WEIR_OK)
        exit(1);
    uint32_t *ids = malloc(room * sizeof(*ids));
    for (size_t i = 0; i < c.n; i++)
        (void)encode_ms(tok, c.prompts[i], 0, ids, room, &n);
    printf("{\"figure\": \"memory\", \"resident_mb\": %.1f}\n",
           (double)(resident_kb() - before) / 1024);
    bench_long_prompt(tok, &c, ids, room);
    bench_single_word(tok, ids, room);
    bench_decode(tok, &c, ids, room);
    wtok_destroy(tok);
    bench_turns(dir, config, &c, ids, room);
    bench_shared(dir, config, &c, ids, room);
    free(ids);
    free(c.data);
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
    if (i < argc)
        bench_figures(argv[1], &config, argv[i]);
    for (; i < argc; i++)
        bench_corpus(argv[1], &config, argv[i]);
    return 0;
}
