#include "bench/kvindex/gen.h"

#include "kvindex/kvi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE_TOKENS = 512, IDS_PER_COPY = 182790, MAX_EVENT = 128, NONE = -1 };

/* ---- the trace ---------------------------------------------------------------------------- */

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    fseek(f, 0, SEEK_END);
    long len = ftell(f);
    rewind(f);
    char *text = len >= 0 ? malloc((size_t)len + 1) : NULL;
    if (text != NULL && fread(text, 1, (size_t)len, f) == (size_t)len)
        text[len] = '\0';
    fclose(f);
    return text;
}

bool gen_trace_read(const char *path, uint32_t max_lines, struct gen_trace *ret) {
    static const char key[] = "\"hash_ids\"";
    char *text = read_file(path);
    if (text == NULL)
        return false;
    size_t cap_ids = strlen(text) / 3 + 1, cap_lines = 2, n = 0;
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        cap_lines++;
    *ret = (struct gen_trace){malloc(cap_ids * sizeof(uint32_t)),
                              malloc((cap_lines + 1) * sizeof(uint32_t)), 0};
    const char *p = text;
    while ((p = strstr(p, key)) != NULL && (max_lines == 0 || ret->n_lines < max_lines)) {
        ret->first[ret->n_lines++] = (uint32_t)n;
        p = strchr(p, '[');
        while (p != NULL && *p != ']') {
            char *end;
            ret->ids[n++] = (uint32_t)strtoul(p + 1, &end, 10);
            p = end;
        }
    }
    ret->first[ret->n_lines] = (uint32_t)n;
    free(text);
    return ret->n_lines > 0;
}

void gen_trace_free(struct gen_trace *trace) {
    free(trace->ids);
    free(trace->first);
}

/* ---- one worker's cache: a hash table of block numbers threaded on an LRU list ------------- */

struct entry {
    uint32_t block; /* + 1; 0 = free */
    int32_t older, newer;
};
struct cache {
    struct entry *at;
    uint32_t mask, n;
    int32_t oldest, newest;
};

static uint32_t spread(uint32_t block) {
    uint32_t x = block * 0x9E3779B1u;
    return x ^ x >> 15;
}

static int32_t find(const struct cache *c, uint32_t block) {
    if (c->at == NULL)
        return NONE;
    for (uint32_t i = spread(block) & c->mask; c->at[i].block != 0; i = (i + 1) & c->mask)
        if (c->at[i].block == block + 1)
            return (int32_t)i;
    return NONE;
}

static void unlink_entry(struct cache *c, int32_t i) {
    struct entry *e = &c->at[i];
    *(e->older != NONE ? &c->at[e->older].newer : &c->oldest) = e->newer;
    *(e->newer != NONE ? &c->at[e->newer].older : &c->newest) = e->older;
}

static void link_newest(struct cache *c, int32_t i) {
    c->at[i].older = c->newest;
    c->at[i].newer = NONE;
    *(c->newest != NONE ? &c->at[c->newest].newer : &c->oldest) = i;
    c->newest = i;
}

static bool grow(struct cache *c) {
    uint32_t cap = c->at == NULL ? 64 : (c->mask + 1) * 2;
    struct cache old = *c;
    *c = (struct cache){calloc(cap, sizeof(*c->at)), cap - 1, 0, NONE, NONE};
    if (c->at == NULL)
        return false;
    for (int32_t i = old.at != NULL ? old.oldest : NONE; i != NONE; i = old.at[i].newer) {
        uint32_t k = spread(old.at[i].block - 1) & c->mask;
        while (c->at[k].block != 0)
            k = (k + 1) & c->mask;
        c->at[k].block = old.at[i].block;
        link_newest(c, (int32_t)k);
        c->n++;
    }
    free(old.at);
    return true;
}

static bool insert(struct cache *c, uint32_t block) {
    if ((c->at == NULL || (c->n + 1) * 2 > c->mask) && !grow(c))
        return false;
    uint32_t i = spread(block) & c->mask;
    while (c->at[i].block != 0)
        i = (i + 1) & c->mask;
    c->at[i].block = block + 1;
    link_newest(c, (int32_t)i);
    c->n++;
    return true;
}

static void move_entry(struct cache *c, uint32_t from, uint32_t to) {
    c->at[to] = c->at[from];
    const struct entry *e = &c->at[to];
    *(e->older != NONE ? &c->at[e->older].newer : &c->oldest) = (int32_t)to;
    *(e->newer != NONE ? &c->at[e->newer].older : &c->newest) = (int32_t)to;
}

static uint32_t evict_oldest(struct cache *c) {
    uint32_t hole = (uint32_t)c->oldest, block = c->at[hole].block - 1;
    unlink_entry(c, (int32_t)hole);
    for (uint32_t i = (hole + 1) & c->mask; c->at[i].block != 0; i = (i + 1) & c->mask) {
        uint32_t home = spread(c->at[i].block - 1) & c->mask;
        if (((i - home) & c->mask) >= ((i - hole) & c->mask)) {
            move_entry(c, i, hole);
            hole = i;
        }
    }
    c->at[hole].block = 0;
    c->n--;
    return block;
}

/* ---- making the records --------------------------------------------------------------------- */

struct maker {
    struct gen_work *w;
    struct cache *caches;
    uint64_t **local; /* by shifted id, made on demand */
    struct {          /* sequence hash -> block number */
        uint64_t *key;
        uint32_t *value, mask, n;
    } numbers;
    uint64_t *sequence_of; /* by block number */
    uint32_t cap_blocks;
    uint64_t *L, *S; /* of the request */
    uint32_t *number;
};

static void word(struct maker *m, uint64_t value) {
    struct gen_work *w = m->w;
    if (w->n_words == w->cap_words) {
        size_t cap = w->cap_words == 0 ? 1 << 20 : w->cap_words + w->cap_words / 2;
        uint64_t *more = realloc(w->words, cap * sizeof(*more));
        if (more == NULL)
            abort(); /* a bench on a machine that is too small */
        w->words = more;
        w->cap_words = cap;
    }
    w->words[w->n_words++] = value;
    w->checksum = w->checksum * 0x9E3779B97F4A7C15u + value;
}

static void head(struct maker *m, unsigned type, uint32_t worker, size_t count) {
    word(m, type | (uint64_t)worker << 8 | (uint64_t)count << 32);
    m->w->n_records++;
}

static const uint64_t *local_hashes(struct maker *m, uint32_t id) {
    uint32_t bs = m->w->cell.bs, per = TRACE_TOKENS / bs;
    if (m->local[id] == NULL) {
        uint32_t tokens[TRACE_TOKENS];
        for (uint32_t j = 0; j < TRACE_TOKENS; j++)
            tokens[j] = id * TRACE_TOKENS + j;
        m->local[id] = malloc(per * sizeof(uint64_t));
        if (m->local[id] == NULL)
            abort();
        kvi_hash_blocks(tokens, TRACE_TOKENS, bs, KVI_SEED, false, m->local[id], per);
    }
    return m->local[id];
}

static void grow_numbers(struct maker *m) {
    uint32_t cap = (m->numbers.mask + 1) * 2;
    uint64_t *key = calloc(cap, sizeof(*key));
    uint32_t *value = malloc(cap * sizeof(*value));
    if (key == NULL || value == NULL)
        abort();
    for (uint32_t i = 0; i <= m->numbers.mask && m->numbers.key != NULL; i++) {
        if (m->numbers.key[i] == 0)
            continue;
        uint32_t k = (uint32_t)(m->numbers.key[i] >> 20) & (cap - 1);
        while (key[k] != 0)
            k = (k + 1) & (cap - 1);
        key[k] = m->numbers.key[i];
        value[k] = m->numbers.value[i];
    }
    free(m->numbers.key);
    free(m->numbers.value);
    m->numbers.key = key;
    m->numbers.value = value;
    m->numbers.mask = cap - 1;
}

/* Numbers blocks by their sequence hash, which is never 0 here (the checksums would tell). */
static uint32_t number_of(struct maker *m, uint64_t sequence) {
    if (m->numbers.n * 2 >= m->numbers.mask)
        grow_numbers(m);
    uint32_t i = (uint32_t)(sequence >> 20) & m->numbers.mask;
    while (m->numbers.key[i] != 0 && m->numbers.key[i] != sequence)
        i = (i + 1) & m->numbers.mask;
    if (m->numbers.key[i] == 0) {
        if (m->numbers.n == m->cap_blocks) {
            m->cap_blocks = m->cap_blocks == 0 ? 1 << 20 : m->cap_blocks * 2;
            m->sequence_of = realloc(m->sequence_of, m->cap_blocks * sizeof(uint64_t));
            if (m->sequence_of == NULL)
                abort();
        }
        m->numbers.key[i] = sequence;
        m->numbers.value[i] = m->numbers.n;
        m->sequence_of[m->numbers.n++] = sequence;
    }
    return m->numbers.value[i];
}

/* Leading blocks in the cache, which always holds whole prefixes. */
static uint32_t depth(const struct cache *c, const uint32_t *number, uint32_t n) {
    uint32_t low = 0, high = n;
    if (find(c, number[0]) == NONE)
        return 0;
    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;
        if (find(c, number[mid - 1]) != NONE)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

static void query(struct maker *m, uint32_t worker, uint32_t n) {
    uint64_t sum = 0, best = 0, scored = 0;
    for (uint32_t v = 0; v < m->w->cell.workers; v++) {
        uint64_t d = depth(&m->caches[v], m->number, n);
        sum += d;
        scored += d > 0;
        best = d > best ? d : best;
    }
    head(m, GEN_QUERY, worker, n);
    for (uint32_t i = 0; i < n; i++)
        word(m, m->L[i]);
    word(m, sum);
    word(m, best);
    word(m, scored);
    m->w->queries++;
    m->w->query_blocks += n;
    m->w->score_sum += sum;
    m->w->best_sum += best;
    m->w->scored += scored;
}

static void evict(struct maker *m, uint32_t worker, uint32_t n_new, uint64_t cap) {
    struct cache *c = &m->caches[worker];
    uint64_t n = cap > 0 && c->n + (uint64_t)n_new > cap ? c->n + (uint64_t)n_new - cap : 0;
    for (uint64_t i = 0; i < n; i += MAX_EVENT) {
        uint64_t k = n - i < MAX_EVENT ? n - i : MAX_EVENT;
        head(m, GEN_REMOVED, worker, k);
        for (uint64_t j = 0; j < k; j++)
            word(m, m->sequence_of[evict_oldest(c)]);
        m->w->removed_events++;
        m->w->removed += k;
    }
}

static void store(struct maker *m, uint32_t worker, uint32_t from, uint32_t n) {
    for (uint32_t i = from; i < n; i += MAX_EVENT) {
        uint32_t to = n - i < MAX_EVENT ? n : i + MAX_EVENT;
        head(m, i == 0 ? GEN_STORED_ROOT : GEN_STORED, worker, to - i);
        if (i > 0)
            word(m, m->S[i - 1]);
        for (uint32_t k = i; k < to; k++) {
            word(m, m->S[k]);
            word(m, m->L[k]);
        }
        m->w->stored_events++;
        m->w->stored += to - i;
    }
}

static void touch(struct cache *c, uint32_t block) {
    int32_t at = find(c, block);
    if (at == NONE) {
        if (!insert(c, block))
            abort();
        return;
    }
    unlink_entry(c, at);
    link_newest(c, at);
}

static void request(struct maker *m, const struct gen_trace *trace, uint32_t line, uint32_t copy,
                    uint64_t cap) {
    uint32_t per = TRACE_TOKENS / m->w->cell.bs, n = 0;
    uint32_t worker = (line * m->w->cell.dup + copy) % m->w->cell.workers;
    struct cache *c = &m->caches[worker];
    for (uint32_t k = trace->first[line]; k < trace->first[line + 1]; k++, n += per)
        memcpy(m->L + n, local_hashes(m, trace->ids[k] + copy * IDS_PER_COPY),
               per * sizeof(uint64_t));
    kvi_chain(m->L, n, m->S);
    for (uint32_t i = 0; i < n; i++)
        m->number[i] = number_of(m, m->S[i]);
    query(m, worker, n);
    uint32_t hit = depth(c, m->number, n);
    for (uint32_t i = hit; i-- > 0;)
        touch(c, m->number[i]);
    evict(m, worker, n - hit, cap);
    for (uint32_t i = n; i-- > 0;)
        touch(c, m->number[i]);
    store(m, worker, hit, n);
}

bool gen_work_make(const struct gen_trace *trace, const struct gen_cell *cell,
                   struct gen_work *ret) {
    if (cell->bs == 0 || TRACE_TOKENS % cell->bs != 0 || cell->workers == 0 || cell->dup == 0 ||
        cell->dup > 45)
        return false;
    *ret = (struct gen_work){.cell = *cell};
    struct maker m = {.w = ret, .numbers.mask = (1 << 19) - 1};
    uint32_t longest = 0, n_ids = IDS_PER_COPY * cell->dup;
    for (uint32_t t = 0; t < trace->n_lines; t++) {
        uint32_t n = trace->first[t + 1] - trace->first[t];
        longest = n > longest ? n : longest;
    }
    size_t most = (size_t)longest * (TRACE_TOKENS / cell->bs);
    m.caches = calloc(cell->workers, sizeof(*m.caches));
    m.local = calloc(n_ids, sizeof(*m.local));
    m.L = malloc(most * sizeof(uint64_t));
    m.S = malloc(most * sizeof(uint64_t));
    m.number = malloc(most * sizeof(uint32_t));
    if (m.caches == NULL || m.local == NULL || m.L == NULL || m.S == NULL || m.number == NULL)
        return false;
    for (uint32_t v = 0; v < cell->workers; v++)
        m.caches[v].oldest = m.caches[v].newest = NONE;
    grow_numbers(&m);
    for (uint32_t t = 0; t < trace->n_lines; t++)
        for (uint32_t d = 0; d < cell->dup; d++)
            request(&m, trace, t, d, cell->cap_tokens / cell->bs);
    for (uint32_t v = 0; v < cell->workers; v++) {
        ret->live += m.caches[v].n;
        free(m.caches[v].at);
    }
    for (uint32_t i = 0; i < n_ids; i++)
        free(m.local[i]);
    free(m.caches);
    free(m.local);
    free(m.numbers.key);
    free(m.numbers.value);
    free(m.sequence_of);
    free(m.L);
    free(m.S);
    free(m.number);
    return true;
}

void gen_work_free(struct gen_work *work) {
    free(work->words);
    work->words = NULL;
}

/* Shared spec "measured" 1.2. */
#define ROW(bs_, w_, dup_, cap_, q, qb, se, s, re, r, sum, best, sc, live_, rec, words_, check)    \
    {                                                                                              \
        .cell = {bs_, w_, dup_, cap_}, .queries = q, .query_blocks = qb, .stored_events = se,      \
        .stored = s, .removed_events = re, .removed = r, .score_sum = sum, .best_sum = best,       \
        .scored = sc, .live = live_, .n_records = rec, .n_words = words_, .checksum = check        \
    }

const struct gen_work *gen_published(const struct gen_cell *cell) {
    static const struct gen_work rows[] = {
        ROW(16, 1, 1, 1048576, 12031, 9232000, 73211, 8724576, 72666, 8659040, 507424, 507424,
            12030, 65536, 157908, 35607403, 0x76a867c69c512364),
        ROW(16, 8, 1, 1048576, 12031, 9232000, 71378, 8489152, 67032, 7964864, 5666240, 2343168,
            96212, 524288, 150441, 34433072, 0x97e55256bc12fa24),
        ROW(16, 64, 1, 1048576, 12031, 9232000, 72833, 8679616, 37800, 4485312, 32618784, 3351104,
            767904, 4194304, 122664, 31308070, 0x22dd1fc777c5ddc1),
        ROW(16, 64, 4, 1048576, 48124, 36928000, 287928, 34273280, 253124, 30078976, 41544448,
            11625728, 769440, 4194304, 589176, 136574948, 0x4bca4cc068ef4ccc),
        ROW(16, 1024, 1, 1048576, 12031, 9232000, 74286, 8870368, 0, 0, 386482432, 3382720,
            11794944, 8870368, 86317, 27168408, 0x78457fc7a45fa624),
        ROW(128, 1, 1, 1048576, 12031, 1154000, 16268, 1090572, 16156, 1082380, 63428, 63428, 12030,
            8192, 44455, 4514339, 0xf3eba1a900758991),
        ROW(128, 64, 1, 1048576, 12031, 1154000, 16231, 1084952, 8662, 560664, 4077348, 418888,
            767904, 524288, 36924, 3973752, 0xa8bdf30de77be4af),
        ROW(128, 64, 20, 1048576, 240620, 23080000, 325868, 21917648, 318712, 21393360, 18004368,
            3331264, 3847200, 524288, 885200, 90241264, 0xbd47bced693ccc32),
        ROW(128, 1024, 20, 1048576, 240620, 23080000, 326700, 22061808, 208900, 13673200, 263191328,
            8321184, 60940800, 8388608, 776220, 82696476, 0x400714819f8b81aa),
        ROW(512, 64, 20, 1048576, 240620, 5770000, 245500, 5479412, 240416, 5348340, 4501092,
            832816, 3847200, 131072, 726536, 23770740, 0x04262e2616f8141f),
        ROW(16, 1, 1, 0, 12031, 9232000, 51248, 5849280, 0, 0, 3382720, 3382720, 12030, 5849280,
            63279, 21081179, 0xd3c89574623822a9),
        ROW(16, 64, 1, 0, 12031, 9232000, 72754, 8669408, 0, 0, 33218240, 3382720, 767904, 8669408,
            84785, 26764384, 0x23f6cc5e61a85623),
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].cell.bs == cell->bs && rows[i].cell.workers == cell->workers &&
            rows[i].cell.dup == cell->dup && rows[i].cell.cap_tokens == cell->cap_tokens)
            return &rows[i];
    return NULL;
}
