/*
 * Figures of the tokenizer, a slice at a time: each line of standard input is a command (the table
 * at the end), and is answered by one line of JSON. bench/tokenizer/rounds.py asks, this program
 * and the peers in turn. Times are CPU time of the process.
 * usage: tokenizer MODEL-DIR CACHE-DIR
 * A corpus is a row of prompts: u32 length, bytes (corpora.py makes them).
 */
#include "tokenizer/wtok.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PROMPTS = 4096, MAX_REPEATS = 99, LONG_TOKENS = 131072, LINE = 4096 };

static struct bench {
    const char *dir;
    struct wtok_config config;
    struct wtok *tok; /* owned */
    char *data;       /* owned; the corpus */
    struct weir_span prompts[MAX_PROMPTS];
    size_t n, bytes;
    uint32_t *ids; /* owned */
    size_t room;
} b;

static void die(const char *what) {
    fprintf(stderr, "bench_tokenizer: %s\n", what);
    exit(1);
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, c = *(const double *)y;
    return a < c ? -1 : a > c;
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof(*values), by_value);
    return values[n / 2];
}

static size_t number(const char *arg, size_t most) {
    size_t n = strtoull(arg, NULL, 10);
    return n == 0 || n > most ? most : n;
}

static void *need(size_t bytes) {
    void *p = malloc(bytes);
    if (p == NULL)
        die("no memory");
    return p;
}

static struct wtok *load(size_t segment_cache) {
    struct wtok *tok = NULL;
    struct weir_err err = {.text = ""};
    b.config.segment_cache_bytes = segment_cache;
    if (wtok_load(b.dir, &b.config, &tok, &err) != WEIR_OK)
        die(err.text);
    return tok;
}

static double encode_s(const struct wtok *tok, struct weir_span text, unsigned flags,
                       size_t *ret_n) {
    double begin = cpu_s();
    if (wtok_encode(tok, text, flags, b.ids, b.room, ret_n) != WEIR_OK)
        die("a text cannot be encoded");
    return cpu_s() - begin;
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

/* ---- set-up ---------------------------------------------------------------------------------- */

static void run_corpus(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        die("cannot open the corpus");
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f);
    rewind(f);
    free(b.data);
    b.data = need(size + 1);
    if (fread(b.data, 1, size, f) != size)
        die("cannot read the corpus");
    fclose(f);
    b.n = b.bytes = 0;
    for (size_t at = 0; at + 4 <= size && b.n < MAX_PROMPTS;) {
        uint32_t len;
        memcpy(&len, b.data + at, 4);
        b.prompts[b.n++] = weir_span(b.data + at + 4, len);
        b.bytes += len;
        at += 4 + (size_t)len;
    }
    if (b.n == 0)
        die("the corpus is empty");
    printf("{\"prompts\": %zu, \"bytes\": %zu}\n", b.n, b.bytes);
}

/* Another tokenizer, which has seen nothing but two words; the argument is the room of its segment
 * cache. */
static void run_load(const char *arg) {
    size_t n;
    wtok_destroy(b.tok);
    double begin = cpu_s();
    b.tok = load(strtoull(arg, NULL, 10));
    double spent = cpu_s() - begin;
    (void)encode_s(b.tok, WEIR_SPAN_LIT("warm up"), 0, &n);
    printf("{\"s\": %.9f}\n", spent);
}

/* ---- what the peers are asked, too ----------------------------------------------------------- */

static void pass(const struct weir_span *prompts, size_t n, size_t step) {
    uint64_t hash = 0xcbf29ce484222325u;
    double total = 0;
    size_t bytes = 0, tokens = 0, k = 0;
    for (size_t i = 0; i < n; i++) {
        struct weir_span p = prompts[i * step];
        total += encode_s(b.tok, p, WTOK_SPECIAL, &k);
        bytes += p.len;
        tokens += k;
        for (size_t t = 0; t < k; t++)
            hash = (hash ^ b.ids[t]) * 0x100000001b3u;
    }
    printf("{\"s\": %.9f, \"bytes\": %zu, \"tokens\": %zu, \"ids\": \"%016" PRIx64 "\"}\n", total,
           bytes, tokens, hash);
}

/* The first prompts, or all. */
static void run_pass(const char *arg) {
    pass(b.prompts, number(arg, b.n), 1);
}

/* The first prompt so many times. */
static void run_same(const char *arg) {
    pass(b.prompts, number(arg, MAX_PROMPTS), 0);
}

/* About 128 K tokens of the corpus as one prompt, never seen by this tokenizer but for its words.
 */
static void run_long(const char *arg) {
    double times[MAX_REPEATS];
    size_t repeats = number(arg, MAX_REPEATS), n = 0, len = 0, k = 0;
    char *text = need(b.bytes);
    for (size_t i = 0; i < b.n && n < LONG_TOKENS; i++, n += k) {
        (void)encode_s(b.tok, b.prompts[i], WTOK_NO_CACHE, &k);
        memcpy(text + len, b.prompts[i].data, b.prompts[i].len);
        len += b.prompts[i].len;
    }
    for (size_t r = 0; r < repeats; r++)
        times[r] = encode_s(b.tok, weir_span(text, len), WTOK_NO_CACHE, &n);
    printf("{\"s\": %.9f, \"tokens\": %zu, \"bytes\": %zu}\n", median(times, repeats), n, len);
    free(text);
}

/* Token by token through the decoder and, with stops, a matcher of four stop strings. */
static void decode(size_t repeats, bool stopping) {
    static const struct weir_span stops[] = {WEIR_SPAN_LIT("</s>"), WEIR_SPAN_LIT("\n\nUser:"),
                                             WEIR_SPAN_LIT("<|im_end|>"), WEIR_SPAN_LIT("STOP!!")};
    double times[MAX_REPEATS];
    size_t n = 0, shown_bytes = 0;
    struct weir_buf text, shown;
    weir_buf_init(&text, 1 << 26);
    weir_buf_init(&shown, 1 << 26);
    (void)encode_s(b.tok, b.prompts[0], 0, &n);
    for (size_t r = 0; r < repeats; r++) {
        struct wtok_stream s;
        struct wtok_stop *stop = NULL;
        int matched = -1;
        wtok_stream_init(&s, b.tok, true);
        if (wtok_stop_create(stops, WEIR_ARRAY_LEN(stops), false, &stop) != WEIR_OK)
            die("no memory");
        shown_bytes = 0;
        double begin = cpu_s();
        for (size_t i = 0; i < n; i++) {
            weir_buf_clear(&text);
            if (wtok_stream_push(&s, b.ids[i], &text) != WEIR_OK ||
                (stopping &&
                 wtok_stop_push(stop, weir_buf_span(&text), &shown, &matched) != WEIR_OK))
                die("a token cannot be decoded");
            shown_bytes += (stopping ? &shown : &text)->len;
            weir_buf_clear(&shown);
        }
        times[r] = (cpu_s() - begin) / (double)n;
        wtok_stop_destroy(stop);
    }
    printf("{\"s\": %.12f, \"tokens\": %zu, \"bytes\": %zu}\n", median(times, repeats), n,
           shown_bytes);
    weir_buf_fini(&text);
    weir_buf_fini(&shown);
}

static void run_decode(const char *arg) {
    decode(number(arg, MAX_REPEATS), false);
}

static void run_stops(const char *arg) {
    decode(number(arg, MAX_REPEATS), true);
}

/* Ids of the first prompt, for a peer that cannot encode. */
static void run_ids(const char *arg) {
    size_t n = 0;
    (void)arg;
    (void)encode_s(b.tok, b.prompts[0], 0, &n);
    printf("{\"list\": \"");
    for (size_t i = 0; i < n; i++)
        printf(i > 0 ? " %" PRIu32 : "%" PRIu32, b.ids[i]);
    printf("\"}\n");
}

/* ---- what only we are asked ------------------------------------------------------------------ */

/* A megabyte without a blank: of one letter, or of random ones. */
static void run_word(const char *arg) {
    enum { BYTES = 1 << 20, REPEATS = 3 };
    double times[REPEATS];
    bool random = strcmp(arg, "random") == 0;
    char *text = need(BYTES);
    size_t n = 0;
    uint64_t x = 1;
    for (size_t i = 0; i < BYTES; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        text[i] = (char)('a' + (random ? (x >> 33) % 26 : 0));
    }
    for (size_t r = 0; r < REPEATS; r++)
        times[r] = encode_s(b.tok, weir_span(text, BYTES), WTOK_NO_CACHE, &n);
    printf("{\"s\": %.9f, \"tokens\": %zu}\n", median(times, REPEATS), n);
    free(text);
}

/* A conversation that grows by a message a turn; each turn encodes all of it again. */
static void run_turns(const char *arg) {
    enum { TURNS = 24, REPEATS = 5 };
    struct wtok *tok = load((size_t)64 << 20);
    char *text = need((size_t)TURNS * 40000);
    double total = 0;
    size_t len = 0, bytes = 0, n = 0;
    (void)arg;
    for (size_t t = 0; t < TURNS && t < b.n; t++) {
        len += (size_t)snprintf(text + len, 64, "<|im_start|>%s\n", t % 2 ? "assistant" : "user");
        size_t part = b.prompts[t].len < 6000 ? b.prompts[t].len : 6000;
        while (part > 0 && ((unsigned char)b.prompts[t].data[part] & 0xC0) == 0x80)
            part--;
        memcpy(text + len, b.prompts[t].data, part);
        len += part;
        len += (size_t)snprintf(text + len, 64, "<|im_end|>\n");
        /* The new message is encoded once; what counts is that the rest is not again. */
        (void)encode_s(tok, weir_span(text, len), WTOK_SPECIAL, &n);
        for (int r = 0; r < REPEATS; r++)
            total += encode_s(tok, weir_span(text, len), WTOK_SPECIAL, &n);
        bytes += REPEATS * len;
    }
    printf("{\"s\": %.9f, \"bytes\": %zu}\n", total, bytes);
    free(text);
    wtok_destroy(tok);
}

/* Prompts that begin alike, three quarters of each, without an added token between. */
static void run_shared(const char *arg) {
    struct wtok *tok = load((size_t)64 << 20);
    struct weir_span head = b.prompts[0];
    char *text = need(head.len * 2);
    double total = 0;
    size_t bytes = 0, n = 0, shared = head.len / 4 * 3;
    (void)arg;
    while (shared > 0 && ((unsigned char)head.data[shared] & 0xC0) == 0x80)
        shared--;
    memcpy(text, head.data, shared);
    for (size_t t = 0; t < b.n; t++) {
        struct weir_span own = b.prompts[t];
        size_t len = own.len < head.len / 4 ? own.len : head.len / 4;
        while (len > 0 && len < own.len && ((unsigned char)own.data[len] & 0xC0) == 0x80)
            len--;
        memcpy(text + shared, own.data, len);
        double s = encode_s(tok, weir_span(text, shared + len), WTOK_SPECIAL, &n);
        if (t == 0)
            continue;
        total += s;
        bytes += shared + len;
    }
    printf("{\"s\": %.9f, \"bytes\": %zu}\n", total, bytes);
    free(text);
    wtok_destroy(tok);
}

/* What one more tokenizer and its encoder context take, the corpus seen. */
static void run_memory(const char *arg) {
    size_t n;
    (void)arg;
    wtok_destroy(b.tok);
    b.tok = NULL;
    long before = resident_kb();
    b.tok = load(0);
    for (size_t i = 0; i < b.n; i++)
        (void)encode_s(b.tok, b.prompts[i], 0, &n);
    printf("{\"mb\": %.1f}\n", (double)(resident_kb() - before) / 1024);
}

/* Always the same work, so that its time tells how fast the machine is now: arithmetic in eight
 * chains beside each other, each of which reads a table of half a megabyte. */
static void run_yard(const char *arg) {
    enum { WORDS = 1 << 16, STEPS = 40000, CHAINS = 8 };
    static uint64_t table[WORDS];
    uint64_t x[CHAINS];
    (void)arg;
    for (size_t i = 0; i < WORDS; i++)
        table[i] = i * 0x9E3779B97F4A7C15u;
    for (size_t c = 0; c < CHAINS; c++)
        x[c] = c;
    double begin = cpu_s();
    for (size_t i = 0; i < STEPS; i++)
        for (size_t c = 0; c < CHAINS; c++)
            x[c] = (x[c] ^ table[x[c] >> 48]) * 0xD6E8FEB86659FD93u + i;
    double spent = cpu_s() - begin;
    for (size_t c = 1; c < CHAINS; c++)
        x[0] ^= x[c];
    printf("{\"s\": %.9f, \"sum\": %u}\n", spent, (unsigned)x[0]);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(const char *arg);
    } commands[] = {{"corpus", run_corpus}, {"load", run_load},     {"pass", run_pass},
                    {"same", run_same},     {"long", run_long},     {"decode", run_decode},
                    {"stops", run_stops},   {"word", run_word},     {"turns", run_turns},
                    {"shared", run_shared}, {"memory", run_memory}, {"yard", run_yard},
                    {"ids", run_ids}};
    static char line[LINE];
    if (argc != 3) {
        fputs("usage: tokenizer MODEL-DIR CACHE-DIR   (commands on standard input)\n", stderr);
        return 1;
    }
    b.dir = argv[1];
    b.config.cache_dir = argv[2];
    b.room = 4 << 20;
    b.ids = need(b.room * sizeof(*b.ids));
    memset(b.ids, 1, b.room * sizeof(*b.ids));
    while (fgets(line, sizeof(line), stdin) != NULL) {
        size_t i = 0;
        line[strcspn(line, "\n")] = 0;
        char *arg = line + strcspn(line, " ");
        if (*arg != 0)
            *arg++ = 0;
        while (i < WEIR_ARRAY_LEN(commands) && strcmp(commands[i].name, line) != 0)
            i++;
        if (i == WEIR_ARRAY_LEN(commands))
            die("unknown command");
        commands[i].run(arg);
        fflush(stdout);
    }
    wtok_destroy(b.tok);
    free(b.data);
    free(b.ids);
    return 0;
}
