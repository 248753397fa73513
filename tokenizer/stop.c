/*
 * Stop strings: an Aho-Corasick automaton. The depth of its state is the length of the longest
 * suffix of the text that is a prefix of some stop string: exactly what must be withheld.
 */
#include "base/mem.h"
#include "tokenizer/blocks_priv.h"
#include "tokenizer/wtok.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MAX_STOP_BYTES = 64 * 1024, NONE = -1, FEW = 4, MOVE = 16 };
#define EACH_BYTE 0x0101010101010101u

/* Children of a node are a sibling list; stop strings are few and short. */
struct node {
    int32_t first_child, next_sibling, fail;
    uint32_t depth;
    uint32_t text;  /* where in `texts` the bytes on the way to it begin */
    int32_t match;  /* index of the stop string that ends here, or NONE */
    int32_t suffix; /* nearest node on the fail chain that ends a stop string, or NONE */
    unsigned char c;
};

struct wtok_stop {
    struct node *nodes; /* owned; nodes[0] is the root */
    size_t n_nodes;
    int32_t state;
    bool include;
    /* The state behind this byte at the root: 0 where no stop string begins with it. */
    int32_t start[256];
    /* How stop strings begin, when there are few ways: the first byte in all places of `a`, the
     * second in those of `b`; where there is no second, those of `care` are zero. */
    bool few, avx512;
    struct {
        uint64_t a[2], b[2], care[2];
    } ways[FEW];
    char *texts;   /* owned: all stop strings, one after the other, and MOVE bytes */
    size_t n_text; /* The withheld bytes are those on the way to `state`, so they stand here. */
};

static int32_t child_of(const struct wtok_stop *s, int32_t at, unsigned char c) {
    for (int32_t k = s->nodes[at].first_child; k != NONE; k = s->nodes[k].next_sibling)
        if (s->nodes[k].c == c)
            return k;
    return NONE;
}

static void insert(struct wtok_stop *s, struct weir_span text, int32_t index) {
    int32_t at = 0;
    uint32_t from = (uint32_t)s->n_text;
    memcpy(s->texts + from, text.data, text.len);
    s->n_text += text.len;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        int32_t next = child_of(s, at, c);
        if (next == NONE) {
            next = (int32_t)s->n_nodes++;
            s->nodes[next] = (struct node){.first_child = NONE,
                                           .next_sibling = s->nodes[at].first_child,
                                           .depth = s->nodes[at].depth + 1,
                                           .text = from,
                                           .match = NONE,
                                           .suffix = NONE,
                                           .c = c};
            s->nodes[at].first_child = next;
        }
        at = next;
    }
    if (s->nodes[at].match == NONE)
        s->nodes[at].match = index;
}

static int32_t step(const struct wtok_stop *s, int32_t state, unsigned char c) {
    for (;;) {
        int32_t next = child_of(s, state, c);
        if (next != NONE)
            return next;
        if (state == 0)
            return 0;
        state = s->nodes[state].fail;
    }
}

/* Fail links in breadth-first order, so that a shorter suffix is ready before a longer one asks. */
static enum weir_status link_failures(struct wtok_stop *s) {
    int32_t *queue = weir_malloc(s->n_nodes * sizeof(*queue));
    if (queue == NULL)
        return WEIR_NOMEM;
    size_t head = 0, tail = 0;
    queue[tail++] = 0;
    while (head < tail) {
        int32_t at = queue[head++];
        for (int32_t k = s->nodes[at].first_child; k != NONE; k = s->nodes[k].next_sibling) {
            s->nodes[k].fail = at == 0 ? 0 : step(s, s->nodes[at].fail, s->nodes[k].c);
            const struct node *f = &s->nodes[s->nodes[k].fail];
            s->nodes[k].suffix = f->match != NONE ? s->nodes[k].fail : f->suffix;
            queue[tail++] = k;
        }
    }
    weir_free(queue);
    return WEIR_OK;
}

/* Of a stop string of one byte the others that begin so need not be listed. */
static void list_ways(struct wtok_stop *s) {
    size_t n = 0;
    for (int32_t k = s->nodes[0].first_child; k != NONE; k = s->nodes[k].next_sibling) {
        const struct node *first = &s->nodes[k];
        s->start[first->c] = k;
        for (int32_t l = first->first_child; l != NONE || first->match != NONE;
             l = s->nodes[l].next_sibling) {
            if (n < FEW) {
                uint64_t a = first->c * EACH_BYTE;
                uint64_t b = first->match != NONE ? 0 : s->nodes[l].c * EACH_BYTE;
                uint64_t care = first->match != NONE ? 0 : UINT64_MAX;
                s->ways[n].a[0] = s->ways[n].a[1] = a;
                s->ways[n].b[0] = s->ways[n].b[1] = b;
                s->ways[n].care[0] = s->ways[n].care[1] = care;
            }
            n++;
            if (first->match != NONE)
                break;
        }
    }
    s->few = n > 0 && n <= FEW;
    s->avx512 = wtok_isa_has_avx512((int)wtok_isa_best());
    for (; n > 0 && n < FEW; n++)
        s->ways[n] = s->ways[0];
}

enum weir_status wtok_stop_create(const struct weir_span *stops, size_t n, bool include_in_output,
                                  struct wtok_stop **ret_stop) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (stops[i].len == 0)
            return WEIR_INVALID;
        if (stops[i].len > MAX_STOP_BYTES - bytes)
            return WEIR_TOO_LARGE;
        bytes += stops[i].len;
    }
    struct wtok_stop *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return WEIR_NOMEM;
    s->include = include_in_output;
    s->nodes = weir_malloc((bytes + 1) * sizeof(*s->nodes));
    s->texts = weir_calloc(1, bytes + MOVE);
    if (s->nodes == NULL || s->texts == NULL) {
        wtok_stop_destroy(s);
        return WEIR_NOMEM;
    }
    s->nodes[0] =
        (struct node){.first_child = NONE, .next_sibling = NONE, .match = NONE, .suffix = NONE};
    s->n_nodes = 1;
    for (size_t i = 0; i < n; i++)
        insert(s, stops[i], (int32_t)i);
    list_ways(s);
    enum weir_status st = link_failures(s);
    if (st != WEIR_OK) {
        wtok_stop_destroy(s);
        return st;
    }
    *ret_stop = s;
    return WEIR_OK;
}

void wtok_stop_destroy(struct wtok_stop *stop) {
    if (stop == NULL)
        return;
    weir_free(stop->nodes);
    weir_free(stop->texts);
    weir_free(stop);
}

/* The longest stop string that ends at the state, or NONE. */
static int32_t ending_at(const struct wtok_stop *s, int32_t state) {
    const struct node *at = &s->nodes[state];
    return at->match != NONE ? state : at->suffix;
}

/* The first n of the bytes on the way to the node and c behind them. */
static char *give_out(const struct wtok_stop *s, const struct node *at, unsigned char c, size_t n,
                      char *to) {
    for (size_t i = 0; i < n && i < at->depth; i++)
        to[i] = s->texts[at->text + i];
    if (n > at->depth)
        to[at->depth] = (char)c;
    return to + n;
}

static __attribute__((noinline)) enum weir_status
push_bytes(struct wtok_stop *s, struct weir_span text, struct weir_buf *out, int *ret_matched) {
    if (text.len == 0)
        return WEIR_OK;
    int32_t state = s->state;
    enum weir_status st = weir_buf_reserve(out, s->nodes[state].depth + text.len);
    if (st != WEIR_OK)
        return st;
    char *to = out->data + out->len;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (state == 0 && s->start[c] == 0) {
            *to++ = (char)c;
            continue;
        }
        const struct node *was = &s->nodes[state];
        state = step(s, state, c);
        int32_t end = ending_at(s, state);
        size_t keep = end == NONE ? s->nodes[state].depth : s->include ? 0 : s->nodes[end].depth;
        to = give_out(s, was, c, was->depth + 1 - keep, to);
        if (end != NONE) {
            *ret_matched = s->nodes[end].match;
            state = 0;
            break;
        }
    }
    out->len = (size_t)(to - out->data);
    s->state = state;
    return WEIR_OK;
}

/* May one of eight bytes begin a stop string? */
static inline bool may_begin(const struct wtok_stop *s, uint64_t eight) {
    uint64_t zero = 0;
    for (int i = 0; i < FEW; i++) {
        uint64_t x = eight ^ s->ways[i].a[0];
        zero |= (x - EACH_BYTE) & ~x;
    }
    return (zero & 0x80 * EACH_BYTE) != 0;
}

/* The usual piece of text: up to 16 bytes of which none begins a stop string, while nothing is
 * withheld. Passes it on, and returns true. Bytes are read twice where that spares a loop. */
static inline bool push_plain(const struct wtok_stop *s, const char *p, size_t n,
                              struct weir_buf *out) {
    if (n - 1 >= MOVE || out->cap - out->len < n)
        return false;
    char *to = out->data + out->len;
    uint64_t a, b;
    uint32_t c, d;
    if (n >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + n - 8, 8);
        if (may_begin(s, a) || may_begin(s, b))
            return false;
        memcpy(to, &a, 8);
        memcpy(to + n - 8, &b, 8);
    } else if (n >= 4) {
        memcpy(&c, p, 4);
        memcpy(&d, p + n - 4, 4);
        if (may_begin(s, (uint64_t)c << 32 | d))
            return false;
        memcpy(to, &c, 4);
        memcpy(to + n - 4, &d, 4);
    } else {
        unsigned char x = (unsigned char)p[0], y = (unsigned char)p[n / 2];
        unsigned char z = (unsigned char)p[n - 1];
        if ((s->start[x] | s->start[y] | s->start[z]) != 0)
            return false;
        to[0] = p[0];
        to[n / 2] = p[n / 2];
        to[n - 1] = p[n - 1];
    }
    out->len += n;
    return true;
}

#if defined(__x86_64__)
/*
 * The same without a branch on the length: only the bytes of the piece are read. Of a piece that
 * could be the beginning of a stop string only by its last byte that byte is withheld, so that line
 * feeds, which many stop strings begin with, do no harm.
 */
__attribute__((target("avx512bw,avx512vl,bmi2"))) static enum weir_status
push_avx512(struct wtok_stop *s, struct weir_span text, struct weir_buf *out, int *ret_matched) {
    _Static_assert(FEW == 4, "ways");
    if (text.len - 1 >= MOVE || out->cap - out->len < MOVE)
        return push_bytes(s, text, out, ret_matched);
    __mmask16 valid = (__mmask16)_bzhi_u32(0xFFFF, (unsigned)text.len);
    __m128i v = _mm_maskz_loadu_epi8(valid, text.data);
    __m128i *to = (__m128i *)(void *)(out->data + out->len);
#define FIRST(i) _mm_cmpeq_epi8_mask(v, _mm_loadu_si128((const void *)s->ways[i].a))
#define SECOND(i)                                                                                  \
    _mm_testn_epi8_mask(_mm_xor_si128(next, _mm_loadu_si128((const void *)s->ways[i].b)),          \
                        _mm_loadu_si128((const void *)s->ways[i].care))
    unsigned hits = FIRST(0) | FIRST(1) | FIRST(2) | FIRST(3);
    if (__builtin_expect((hits & valid) == 0, 1)) {
        _mm_storeu_si128(to, v);
        out->len += text.len;
        return WEIR_OK;
    }
    __m128i next = _mm_bsrli_si128(v, 1);
    unsigned both = (FIRST(0) & SECOND(0)) | (FIRST(1) & SECOND(1)) | (FIRST(2) & SECOND(2)) |
                    (FIRST(3) & SECOND(3));
#undef FIRST
#undef SECOND
    if ((both & valid) != 0)
        return push_bytes(s, text, out, ret_matched);
    s->state = s->start[(unsigned char)text.data[text.len - 1]];
    _mm_storeu_si128(to, v);
    out->len += text.len - (s->state != 0);
    return WEIR_OK;
}
#endif

static __attribute__((noinline)) enum weir_status
push_few(struct wtok_stop *s, struct weir_span text, struct weir_buf *out, int *ret_matched) {
    return push_plain(s, text.data, text.len, out) ? WEIR_OK
                                                   : push_bytes(s, text, out, ret_matched);
}

/* While nothing is withheld. Nothing but tail calls, so that no registers are saved. */
static inline enum weir_status push_at_root(struct wtok_stop *s, struct weir_span text,
                                            struct weir_buf *out, int *ret_matched) {
#if defined(__x86_64__)
    if (s->avx512)
        return push_avx512(s, text, out, ret_matched);
#endif
    return push_few(s, text, out, ret_matched);
}

/* While something is withheld: mostly the next byte cannot continue it. */
static __attribute__((noinline)) enum weir_status
push_behind(struct wtok_stop *s, struct weir_span text, struct weir_buf *out, int *ret_matched) {
    const struct node *at = &s->nodes[s->state];
    bool goes_on = text.len == 0 || at->depth > MOVE || out->cap - out->len < MOVE;
    for (int32_t k = s->state; k != 0 && !goes_on; k = s->nodes[k].fail)
        goes_on = child_of(s, k, (unsigned char)text.data[0]) != NONE;
    if (goes_on)
        return push_bytes(s, text, out, ret_matched);
    memcpy(out->data + out->len, s->texts + at->text, MOVE);
    out->len += at->depth;
    s->state = 0;
    return push_at_root(s, text, out, ret_matched);
}

enum weir_status wtok_stop_push(struct wtok_stop *s, struct weir_span text, struct weir_buf *out,
                                int *ret_matched) {
    *ret_matched = NONE;
    if (!s->few)
        return push_bytes(s, text, out, ret_matched);
    return s->state == 0 ? push_at_root(s, text, out, ret_matched)
                         : push_behind(s, text, out, ret_matched);
}

enum weir_status wtok_stop_finish(struct wtok_stop *stop, struct weir_buf *out) {
    const struct node *at = &stop->nodes[stop->state];
    enum weir_status st = weir_buf_append(out, stop->texts + at->text, at->depth);
    if (st == WEIR_OK)
        stop->state = 0;
    return st;
}
