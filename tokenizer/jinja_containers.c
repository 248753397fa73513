/*
 * Containers: growing arrays, dicts in order of insertion, length, iteration, membership, sorting.
 */
#include "tokenizer/jinja_priv.h"

/* ---- growing arrays ----------------------------------------------------------------------- */

void wj_grow(struct wj_run *x, struct wj_vec *vec) {
    uint32_t cap = vec->cap == 0 ? 8 : vec->cap * 2;
    struct wj_val *more = wj_alloc(x, (size_t)cap * sizeof(*more));
    if (vec->n > 0)
        memcpy(more, vec->at, vec->n * sizeof(*more));
    wj_charge(x, cap / 8);
    vec->at = more;
    vec->cap = cap;
}

/* ---- dicts -------------------------------------------------------------------------------- */

enum { INDEX_FROM = 9 }; /* pairs from which a dict has an index */

void wj_need_hashable(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_LIST || v.kind == WJ_DICT || (v.kind == WJ_VIEW && v.sub != WJ_VIEW_VALUES))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "unhashable type: '%s'", wj_type_name(v));
    if (v.kind == WJ_TUPLE) {
        wj_enter(x);
        for (uint32_t i = 0; i < v.len; i++)
            wj_need_hashable(x, v.u.items[i]);
        wj_leave(x);
    }
}

static uint32_t mix(uint64_t h) {
    h *= 0x9E3779B97F4A7C15ull;
    return (uint32_t)(h >> 32);
}

static uint32_t hash_bytes(struct weir_span s) {
    uint64_t h = s.len * 0xC2B2AE3D27D4EB4Full, w;
    const char *p = s.data;
    size_t n = s.len;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 29;
    }
    w = 0;
    if (n > 0)
        memcpy(&w, p, n);
    return mix(h ^ w);
}

/* Equal values have equal hashes: 1, 1.0 and true are one key. */
static uint32_t hash(struct wj_run *x, struct wj_val v) {
    uint32_t h = v.kind;
    switch (v.kind) {
    case WJ_STR:
        return hash_bytes(wj_text(x, v));
    case WJ_BIG:
        return hash_bytes(weir_span(v.u.s, v.len));
    case WJ_BOOL:
    case WJ_INT:
        return mix((uint64_t)v.u.i);
    case WJ_FLOAT:
        if (v.u.f >= -9e18 && v.u.f <= 9e18 && v.u.f == (double)(int64_t)v.u.f)
            return mix((uint64_t)(int64_t)v.u.f);
        return mix((uint64_t)(v.u.f * 1e3));
    case WJ_TUPLE:
        for (uint32_t i = 0; i < v.len; i++)
            h = mix(h * 31ull + hash(x, v.u.items[i]));
        return h;
    case WJ_UNDEF:
    case WJ_NONE:
    case WJ_RANGE:
        return h;
    default:
        return mix((uint64_t)(uintptr_t)v.u.s);
    }
}

struct wj_val wj_dict_new(struct wj_run *x, size_t room) {
    struct wj_dict *d = wj_alloc(x, sizeof(*d));
    *d = (struct wj_dict){.cap = (uint32_t)room};
    d->pairs = room > 0 ? wj_alloc(x, room * sizeof(*d->pairs)) : NULL;
    return (struct wj_val){.kind = WJ_DICT, .u.dict = d};
}

static bool key_equal(struct wj_run *x, struct wj_val a, struct wj_val b) {
    return wj_same(a, b) || wj_equal(x, a, b);
}

struct wj_val *wj_dict_get(struct wj_run *x, const struct wj_dict *d, struct wj_val key) {
    if (key.kind == WJ_STR && d->index == NULL)
        return wj_dict_find(x, d, wj_text(x, key));
    wj_need_hashable(x, key);
    if (d->index == NULL) {
        for (uint32_t i = 0; i < d->n; i++)
            if (key_equal(x, d->pairs[i].key, key))
                return &d->pairs[i].value;
        return NULL;
    }
    for (uint32_t at = hash(x, key);; at++) {
        uint32_t pos = d->index[at & d->mask];
        if (pos == 0)
            return NULL;
        if (key_equal(x, d->pairs[pos - 1].key, key))
            return &d->pairs[pos - 1].value;
        wj_charge(x, 1);
    }
}

static void index_pair(struct wj_run *x, struct wj_dict *d, uint32_t pos) {
    uint32_t at = hash(x, d->pairs[pos].key);
    while (d->index[at & d->mask] != 0)
        at++;
    d->index[at & d->mask] = pos + 1;
}

static void build_index(struct wj_run *x, struct wj_dict *d) {
    uint32_t size = 32;
    while (size < d->cap * 2)
        size *= 2;
    d->index = wj_alloc(x, size * sizeof(*d->index));
    memset(d->index, 0, size * sizeof(*d->index));
    d->mask = size - 1;
    wj_charge(x, d->n);
    for (uint32_t i = 0; i < d->n; i++)
        index_pair(x, d, i);
}

void wj_dict_set(struct wj_run *x, struct wj_dict *d, struct wj_val key, struct wj_val value) {
    struct wj_val *old = wj_dict_get(x, d, key);
    d->json_len = 0;
    if (old != NULL) {
        *old = value;
        return;
    }
    bool grown = d->n == d->cap;
    if (grown) {
        d->cap = d->cap == 0 ? 8 : d->cap * 2;
        struct wj_pair *more = wj_alloc(x, d->cap * sizeof(*more));
        if (d->n > 0)
            memcpy(more, d->pairs, d->n * sizeof(*more));
        d->pairs = more;
    }
    d->pairs[d->n++] = (struct wj_pair){key, value};
    if (d->n >= INDEX_FROM && (d->index == NULL || grown))
        build_index(x, d);
    else if (d->index != NULL)
        index_pair(x, d, d->n - 1);
}

/* ---- length, iteration, sorting ----------------------------------------------------------- */

bool wj_has_len(struct wj_val v) {
    switch (v.kind) {
    case WJ_UNDEF:
    case WJ_STR:
    case WJ_LIST:
    case WJ_TUPLE:
    case WJ_DICT:
    case WJ_VIEW:
    case WJ_RANGE:
    case WJ_LOOP:
        return true;
    default:
        return false;
    }
}

int64_t wj_len(struct wj_run *x, struct wj_val v) {
    switch (v.kind) {
    case WJ_UNDEF:
        return 0;
    case WJ_STR:
        return (int64_t)wj_points(wj_text(x, v));
    case WJ_LIST:
    case WJ_TUPLE:
        return v.len;
    case WJ_DICT:
    case WJ_VIEW:
        return v.u.dict->n;
    case WJ_RANGE:
        return v.u.range->n;
    case WJ_LOOP:
        return wj_loop_length(x, v);
    default:
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "object of type '%s' has no len()", wj_type_name(v));
    }
}

static void fill(struct wj_run *x, struct wj_gen *g) {
    wj_filter_fn fn = g->fill;
    g->fill = NULL;
    wj_enter(x);
    struct wj_val filled = fn(x, g->source, &g->args);
    wj_leave(x);
    g->items = filled.u.gen->items;
    g->n = filled.u.gen->n;
}

bool wj_is_iterable(struct wj_val v) {
    return (wj_has_len(v) || v.kind == WJ_GEN);
}

struct wj_iter wj_iterate(struct wj_run *x, struct wj_val v) {
    if (v.kind == WJ_LOOP)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "iterating over the loop variable");
    if (v.kind == WJ_CYCLER || v.kind == WJ_NS || !wj_is_iterable(v))
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object is not iterable", wj_type_name(v));
    if (v.kind == WJ_STR) {
        struct weir_span s = wj_text(x, v);
        v = wj_str(s);
    }
    return (struct wj_iter){.source = v};
}

bool wj_next(struct wj_run *x, struct wj_iter *it, struct wj_val *ret) {
    struct wj_val s = it->source;
    uint64_t i = it->pos;
    wj_charge(x, 1);
    switch (s.kind) {
    case WJ_LIST:
    case WJ_TUPLE:
        if (i >= s.len)
            return false;
        *ret = s.u.items[i];
        it->pos++;
        return true;
    case WJ_DICT:
        if (i >= s.u.dict->n)
            return false;
        *ret = s.u.dict->pairs[i].key;
        it->pos++;
        return true;
    case WJ_VIEW:
        if (i >= s.u.dict->n)
            return false;
        const struct wj_pair *p = &s.u.dict->pairs[i];
        *ret = s.sub == WJ_VIEW_ITEMS  ? wj_pair_tuple(x, p->key, p->value)
               : s.sub == WJ_VIEW_KEYS ? p->key
                                       : p->value;
        it->pos++;
        return true;
    case WJ_STR: {
        if (i >= s.len)
            return false;
        const char *p2 = s.u.s + i;
        wj_decode(&p2, s.u.s + s.len);
        *ret = wj_str(weir_span(s.u.s + i, (size_t)(p2 - s.u.s) - i));
        it->pos = (uint64_t)(p2 - s.u.s);
        return true;
    }
    case WJ_RANGE:
        if (i >= (uint64_t)s.u.range->n)
            return false;
        *ret = wj_int(s.u.range->start + (int64_t)i * s.u.range->step);
        it->pos++;
        return true;
    case WJ_GEN:
        if (s.u.gen->fill != NULL)
            fill(x, s.u.gen);
        if (s.u.gen->pos >= s.u.gen->n)
            return false;
        *ret = s.u.gen->items[s.u.gen->pos++];
        return true;
    default:
        return false;
    }
}

struct wj_vec wj_collect(struct wj_run *x, struct wj_val v) {
    struct wj_vec vec = {.at = wj_nothing};
    if (wj_is_seq(v))
        return (struct wj_vec){(struct wj_val *)(uintptr_t)v.u.items, v.len, v.len};
    struct wj_iter it = wj_iterate(x, v);
    struct wj_val item;
    while (wj_next(x, &it, &item))
        wj_push(x, &vec, item);
    return vec;
}

static bool contains_text(struct wj_run *x, struct wj_val container, struct wj_val v) {
    if (v.kind != WJ_STR)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "'in <string>' requires string as left operand, not %s",
                wj_type_name(v));
    wj_charge(x, container.len / 64);
    return wj_find(wj_text(x, container), wj_text(x, v), 0) >= 0;
}

static bool contains_range(const struct wj_range *r, int64_t i) {
    if (r->n == 0)
        return false;
    int64_t last = r->start + (r->n - 1) * r->step;
    int64_t low = r->step > 0 ? r->start : last, high = r->step > 0 ? last : r->start;
    return i >= low && i <= high && (i - r->start) % r->step == 0;
}

bool wj_contains(struct wj_run *x, struct wj_val container, struct wj_val v) {
    switch (container.kind) {
    case WJ_STR:
        return contains_text(x, container, v);
    case WJ_DICT:
        return wj_dict_get(x, container.u.dict, v) != NULL;
    case WJ_VIEW:
        if (container.sub == WJ_VIEW_KEYS)
            return wj_dict_get(x, container.u.dict, v) != NULL;
        break;
    case WJ_RANGE:
        if (wj_is_int(v))
            return contains_range(container.u.range, v.u.i);
        break;
    default:
        break;
    }
    if (!wj_is_iterable(container) || container.kind == WJ_LOOP)
        wj_fail(x, WTOK_JINJA_ERR_TYPE, "argument of type '%s' is not iterable",
                wj_type_name(container));
    struct wj_iter it = wj_iterate(x, container);
    struct wj_val item;
    while (wj_next(x, &it, &item))
        if (wj_same(item, v) || wj_equal(x, item, v))
            return true;
    return false;
}

int64_t wj_index(struct wj_run *x, struct wj_val v, const char *what) {
    if (wj_is_int(v))
        return v.u.i;
    if (v.kind == WJ_BIG)
        wj_fail(x, WTOK_JINJA_ERR_UNSUPPORTED, "an integer beyond 64 bits as %s", what);
    wj_fail(x, WTOK_JINJA_ERR_TYPE, "'%s' object cannot be interpreted as an integer",
            wj_type_name(v));
}

/* Stable merge sort with "<" only, as Python's. `values` follow their keys. */
static void merge_sort(struct wj_run *x, struct wj_val *k, struct wj_val *v, struct wj_val *tk,
                       struct wj_val *tv, size_t n) {
    if (n < 2)
        return;
    size_t half = n / 2, i = 0, j = half, o = 0;
    merge_sort(x, k, v, tk, tv, half);
    merge_sort(x, k + half, v + half, tk, tv, n - half);
    while (i < half && j < n) {
        wj_charge(x, 1);
        size_t take = wj_order(x, WJ_OP_LT, k[j], k[i]) ? j++ : i++;
        tk[o] = k[take];
        tv[o++] = v[take];
    }
    for (; i < half; i++, o++) {
        tk[o] = k[i];
        tv[o] = v[i];
    }
    memcpy(k, tk, o * sizeof(*k));
    memcpy(v, tv, o * sizeof(*v));
}

/* Looked at first, so that values without an order fail at the same pair as in Python. */
static bool in_one_run(struct wj_run *x, const struct wj_val *keys, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (wj_order(x, WJ_OP_LT, keys[i], keys[i - 1]))
            return false;
    return true;
}

void wj_sort(struct wj_run *x, struct wj_val *keys, struct wj_val *values, size_t n, bool reverse) {
    struct wj_val *tk = wj_alloc(x, n * sizeof(*tk) + 1), *tv = wj_alloc(x, n * sizeof(*tv) + 1);
    for (int pass = 0; pass < 2; pass++) {
        if (reverse) /* Python reverses, sorts and reverses, which keeps equal ones in order */
            for (size_t i = 0; i < n / 2; i++) {
                struct wj_val a = keys[i], b = values[i];
                keys[i] = keys[n - 1 - i];
                values[i] = values[n - 1 - i];
                keys[n - 1 - i] = a;
                values[n - 1 - i] = b;
            }
        if (pass == 0 && !in_one_run(x, keys, n))
            merge_sort(x, keys, values, tk, tv, n);
    }
}
