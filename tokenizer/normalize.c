/* Unicode normal forms (UAX #15): decompose, order the marks, compose. */
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Hangul by arithmetic, The Unicode Standard 3.12. */
enum {
    S_BASE = 0xAC00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11A7,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28,
    N_COUNT = V_COUNT * T_COUNT,
    S_COUNT = L_COUNT * N_COUNT,
};

struct mark {
    uint32_t code;
    uint8_t ccc;
};
/* A growing run of code points. */
struct run {
    struct mark *items; /* owned */
    size_t n, cap;
};

static bool push(struct run *r, uint32_t code, uint8_t ccc) {
    if (r->n == r->cap) {
        size_t cap = r->cap == 0 ? 256 : r->cap * 2;
        struct mark *items = weir_realloc(r->items, cap * sizeof(*items));
        if (items == NULL)
            return false;
        r->items = items;
        r->cap = cap;
    }
    r->items[r->n++] = (struct mark){code, ccc};
    return true;
}

/* Stable, in linear time: a text may be one run of a million marks. */
static bool sort_by_counting(struct mark *m, size_t n) {
    size_t at[257] = {0};
    struct mark *sorted = weir_malloc(n * sizeof(*sorted));
    if (sorted == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        at[m[i].ccc + 1]++;
    for (size_t c = 1; c < 257; c++)
        at[c] += at[c - 1];
    for (size_t i = 0; i < n; i++)
        sorted[at[m[i].ccc]++] = m[i];
    memcpy(m, sorted, n * sizeof(*m));
    weir_free(sorted);
    return true;
}

static bool sort_marks(struct mark *m, size_t n) {
    enum { SMALL = 32 };
    if (n > SMALL)
        return sort_by_counting(m, n);
    for (size_t i = 1; i < n; i++) {
        struct mark x = m[i];
        size_t at = i;
        for (; at > 0 && m[at - 1].ccc > x.ccc; at--)
            m[at] = m[at - 1];
        m[at] = x;
    }
    return true;
}

/* Canonical ordering: each run of marks by class, equal ones in their order. */
static bool order(struct run *r) {
    for (size_t i = 0; i < r->n;) {
        size_t from = i;
        while (i < r->n && r->items[i].ccc != 0)
            i++;
        if (i - from > 1 && !sort_marks(r->items + from, i - from))
            return false;
        i += i == from;
    }
    return true;
}

static uint8_t ccc_of(uint32_t code) {
    size_t lo = 0, hi = wtok_n_ccc;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (wtok_ccc[mid].code < code)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < wtok_n_ccc && wtok_ccc[lo].code == code ? wtok_ccc[lo].ccc : 0;
}

static const struct wtok_decomposition *find_decomposition(const struct wtok_decomposition *table,
                                                           size_t n, uint32_t code) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (table[mid].code < code)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && table[lo].code == code ? &table[lo] : NULL;
}

static bool decompose(struct run *r, uint32_t code, bool compat) {
    const struct wtok_decomposition *d = NULL;
    const uint32_t *pool = wtok_canon_pool;
    if (code >= S_BASE && code < S_BASE + S_COUNT) {
        uint32_t s = code - S_BASE, t = s % T_COUNT;
        return push(r, L_BASE + s / N_COUNT, 0) && push(r, V_BASE + s % N_COUNT / T_COUNT, 0) &&
               (t == 0 || push(r, T_BASE + t, 0));
    }
    unsigned cls = wtok_class_of(code);
    if (compat && (cls & WTOK_COMPAT) != 0) {
        d = find_decomposition(wtok_compat, wtok_n_compat, code);
        pool = wtok_compat_pool;
    } else if ((cls & WTOK_NFD_CARE) != 0) {
        d = find_decomposition(wtok_canon, wtok_n_canon, code);
    }
    if (d == NULL)
        return push(r, code, (cls & WTOK_NFD_CARE) != 0 ? ccc_of(code) : 0);
    for (unsigned i = 0; i < d->len; i++)
        if (!push(r, pool[d->at + i], ccc_of(pool[d->at + i])))
            return false;
    return true;
}

static uint32_t compose_pair(uint32_t a, uint32_t b) {
    if (a >= L_BASE && a < L_BASE + L_COUNT && b >= V_BASE && b < V_BASE + V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a >= S_BASE && a < S_BASE + S_COUNT && (a - S_BASE) % T_COUNT == 0 && b > T_BASE &&
        b < T_BASE + T_COUNT)
        return a + (b - T_BASE);
    size_t lo = 0, hi = wtok_n_comp;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct wtok_composition *c = &wtok_comp[mid];
        if (c->first < a || (c->first == a && c->second < b))
            lo = mid + 1;
        else
            hi = mid;
    }
    const struct wtok_composition *c = &wtok_comp[lo];
    return lo < wtok_n_comp && c->first == a && c->second == b ? c->code : 0;
}

/* In place. A mark composes with the last starter unless one of its class or higher stands between.
 */
static void compose(struct run *r) {
    size_t starter = SIZE_MAX, out = 0;
    uint8_t last_ccc = 0;
    for (size_t i = 0; i < r->n; i++) {
        struct mark m = r->items[i];
        uint32_t both = 0;
        bool blocked =
            starter != SIZE_MAX && out > starter + 1 && (last_ccc == 0 || last_ccc >= m.ccc);
        if (starter != SIZE_MAX && !blocked)
            both = compose_pair(r->items[starter].code, m.code);
        if (both != 0) {
            r->items[starter].code = both;
            continue;
        }
        if (m.ccc == 0)
            starter = out;
        last_ccc = m.ccc;
        r->items[out++] = m;
    }
    r->n = out;
}

static unsigned care_of(enum wtok_form form) {
    static const unsigned care[] = {
        [WTOK_FORM_NFC] = WTOK_NFC_CARE,
        [WTOK_FORM_NFD] = WTOK_NFD_CARE,
        [WTOK_FORM_NFKC] = WTOK_NFC_CARE | WTOK_COMPAT,
        [WTOK_FORM_NFKD] = WTOK_NFD_CARE | WTOK_COMPAT,
    };
    return care[form];
}

#if defined(__SSE2__)
/* A bit for each of 16 bytes that begins a character which may need care: not ASCII, and not of
 * U+4000 to U+9FFF, ideographs that no form touches. */
static inline unsigned may_care(const unsigned char *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i lead = _mm_cmpeq_epi8(_mm_max_epu8(v, _mm_set1_epi8((char)0xC0)), v);
    __m128i from = _mm_sub_epi8(v, _mm_set1_epi8((char)0xE4));
    __m128i ideograph = _mm_cmpeq_epi8(_mm_min_epu8(from, _mm_set1_epi8(5)), from);
    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(ideograph, lead));
}

/* True when none of 64 bytes is above 0x7F. */
static inline bool is_ascii(const unsigned char *p) {
    const __m128i *v = (const __m128i *)(const void *)p;
    __m128i a = _mm_or_si128(_mm_loadu_si128(v), _mm_loadu_si128(v + 1));
    __m128i b = _mm_or_si128(_mm_loadu_si128(v + 2), _mm_loadu_si128(v + 3));
    return _mm_movemask_epi8(_mm_or_si128(a, b)) == 0;
}
#endif

/* The first character that may be out of the form, or e. */
static const unsigned char *next_care(const unsigned char *p, const unsigned char *e,
                                      unsigned care) {
    unsigned n;
#if defined(__SSE2__)
    for (; e - p >= 64; p += 64) {
        if (is_ascii(p))
            continue;
        for (unsigned i = 0; i < 64; i += 16)
            for (unsigned leads = may_care(p + i); leads != 0; leads &= leads - 1) {
                const unsigned char *at = p + i + __builtin_ctz(leads);
                if ((wtok_class_of(wtok_char(at, &n)) & care) != 0)
                    return at;
            }
    }
    while (p < e && (*p & 0xC0) == 0x80) /* the rest of a character that was looked at */
        p++;
#endif
    while (p < e) {
        uint64_t eight;
        if (e - p >= 8 && (memcpy(&eight, p, 8), (eight & 0x8080808080808080u) == 0)) {
            p += 8;
        } else if (*p < 0x80) {
            p++;
        } else if (*p >= 0xE4 && *p <= 0xE9) {
            p += 3;
        } else {
            if ((wtok_class_of(wtok_char(p, &n)) & care) != 0)
                return p;
            p += n;
        }
    }
    return e;
}

bool wtok_is_normal(struct weir_span text, enum wtok_form form) {
    const unsigned char *p = (const unsigned char *)text.data, *e = p + text.len;
    return next_care(p, e, care_of(form)) == e;
}

/* Appends a stretch in the form; the run is scratch memory. */
static enum weir_status normalize_stretch(struct run *r, const unsigned char *p,
                                          const unsigned char *e, enum wtok_form form,
                                          struct weir_buf *out) {
    bool compat = form == WTOK_FORM_NFKC || form == WTOK_FORM_NFKD;
    enum weir_status st = WEIR_OK;
    r->n = 0;
    while (p < e && st == WEIR_OK) {
        unsigned n;
        st = decompose(r, wtok_char(p, &n), compat) ? WEIR_OK : WEIR_NOMEM;
        p += n;
    }
    if (st == WEIR_OK && !order(r))
        st = WEIR_NOMEM;
    if (st == WEIR_OK && (form == WTOK_FORM_NFC || form == WTOK_FORM_NFKC))
        compose(r);
    for (size_t i = 0; i < r->n && st == WEIR_OK; i++) {
        char c[4];
        st = weir_buf_append(out, c, weir_utf8_encode(r->items[i].code, c));
    }
    return st;
}

/* Only runs of characters that need care are worked on, each with the character before it, to which
 * the first of them may belong; all others are starters that stay as they are. */
enum weir_status wtok_normalize(struct weir_span text, enum wtok_form form, struct weir_buf *out) {
    const unsigned char *p = (const unsigned char *)text.data, *e = p + text.len;
    unsigned care = care_of(form);
    struct run r = {0};
    enum weir_status st = WEIR_OK;
    while (p < e && st == WEIR_OK) {
        const unsigned char *from = next_care(p, e, care), *to = from;
        unsigned n;
        if (from < e && from > p)
            for (from--; from > p && (*from & 0xC0) == 0x80;)
                from--;
        while (to < e && (wtok_class_of(wtok_char(to, &n)) & care) != 0)
            to += n;
        st = weir_buf_append(out, p, (size_t)(from - p));
        if (st == WEIR_OK && from < e)
            st = normalize_stretch(&r, from, to, form, out);
        p = to;
    }
    weir_free(r.items);
    return st;
}
