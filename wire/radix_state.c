#include "wire/radix_state.h"

enum { BLOCK_BYTES = 17, HASH_BYTES = 8 };

/* ---- writing ------------------------------------------------------------------------------ */

static void put_le(struct weir_radix_writer *w, uint64_t value, unsigned n) {
    char b[8];
    for (unsigned i = 0; i < n; i++)
        b[i] = (char)(value >> (8 * i));
    if (w->status == WEIR_OK)
        w->status = weir_buf_append(w->out, b, n);
}

static void put_option(struct weir_radix_writer *w, bool set, uint64_t value, unsigned n) {
    put_le(w, set, 1);
    if (set)
        put_le(w, value, n);
}

void weir_radix_begin(struct weir_radix_writer *w, struct weir_buf *out) {
    *w = (struct weir_radix_writer){.out = out};
    weir_buf_clear(out);
    put_le(w, 0, 8); /* the number of events, known at the end */
}

void weir_radix_put(struct weir_radix_writer *w, const struct weir_kv_event *e) {
    put_le(w, e->worker_id, 8);
    put_le(w, e->tier, 4);
    put_le(w, e->event_id, 8);
    put_le(w, e->kind, 4);
    if (e->kind == WEIR_KV_STORED) {
        put_option(w, e->has_parent, e->parent_hash, 8);
        put_option(w, e->has_start_position, e->start_position, 4);
        put_le(w, e->n_blocks, 8);
        for (size_t i = 0; i < e->n_blocks; i++) {
            put_le(w, e->blocks[i].block_hash, 8);
            put_le(w, e->blocks[i].tokens_hash, 8);
            put_le(w, 0, 1); /* no media */
        }
    } else if (e->kind == WEIR_KV_REMOVED) {
        put_le(w, e->n_removed, 8);
        for (size_t i = 0; i < e->n_removed; i++)
            put_le(w, e->removed[i], 8);
    }
    put_le(w, e->dp_rank, 4);
    w->n++;
}

enum weir_status weir_radix_end(struct weir_radix_writer *w) {
    for (unsigned i = 0; w->status == WEIR_OK && i < 8; i++)
        w->out->data[i] = (char)(w->n >> (8 * i));
    return w->status;
}

/* ---- reading ------------------------------------------------------------------------------ */

struct form {
    bool tier, position;
};

struct reader {
    struct weir_span in;
    size_t at;
    bool bad;
    struct form form;
    struct weir_arena *arena; /* NULL: only looks whether it can be read */
    bool no_memory;
};

static uint64_t take(struct reader *r, unsigned n) {
    uint64_t v = 0;
    if (r->in.len - r->at < n) {
        r->bad = true;
        r->at = r->in.len;
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)r->in.data[r->at + i] << (8 * i);
    r->at += n;
    return v;
}

/* One byte, 0 or 1, before a value. */
static bool take_some(struct reader *r) {
    uint64_t tag = take(r, 1);
    r->bad |= tag > 1;
    return tag == 1 && !r->bad;
}

/* The length of a list whose items take at least so many bytes. */
static size_t take_len(struct reader *r, size_t item_bytes) {
    uint64_t n = take(r, 8);
    if (n > (r->in.len - r->at) / item_bytes) {
        r->bad = true;
        return 0;
    }
    return (size_t)n;
}

static void *room(struct reader *r, size_t n, size_t bytes) {
    if (r->arena == NULL || n == 0 || r->bad)
        return NULL;
    void *p = weir_arena_alloc(r->arena, n * bytes);
    if (p == NULL)
        r->no_memory = r->bad = true;
    return p;
}

/* Objects of a block with media: hash, and pairs of offsets. */
static void skip_media(struct reader *r) {
    size_t n = take_len(r, 16);
    for (size_t i = 0; i < n && !r->bad; i++) {
        (void)take(r, 8);
        size_t pairs = take_len(r, 16);
        r->at += r->bad ? 0 : pairs * 16;
    }
}

static void take_stored(struct reader *r, struct weir_kv_event *e) {
    e->has_parent = take_some(r);
    if (e->has_parent)
        e->parent_hash = take(r, 8);
    if (r->form.position)
        e->has_start_position = take_some(r);
    if (e->has_start_position)
        e->start_position = (uint32_t)take(r, 4);
    e->n_blocks = take_len(r, BLOCK_BYTES);
    struct weir_kv_block *blocks = room(r, e->n_blocks, sizeof(*blocks));
    for (size_t i = 0; i < e->n_blocks && !r->bad; i++) {
        struct weir_kv_block b = {take(r, 8), 0};
        b.tokens_hash = take(r, 8);
        if (take_some(r))
            skip_media(r);
        if (blocks != NULL)
            blocks[i] = b;
    }
    e->blocks = blocks;
}

static void take_removed(struct reader *r, struct weir_kv_event *e) {
    e->n_removed = take_len(r, HASH_BYTES);
    uint64_t *hashes = room(r, e->n_removed, sizeof(*hashes));
    for (size_t i = 0; i < e->n_removed && !r->bad; i++) {
        uint64_t h = take(r, HASH_BYTES);
        if (hashes != NULL)
            hashes[i] = h;
    }
    e->removed = hashes;
}

static void take_event(struct reader *r, struct weir_kv_event *e) {
    *e = (struct weir_kv_event){.worker_id = take(r, 8)};
    uint64_t tier = r->form.tier ? take(r, 4) : WEIR_TIER_DEVICE;
    e->event_id = take(r, 8);
    uint64_t kind = take(r, 4);
    r->bad |= tier > WEIR_TIER_EXTERNAL || kind > WEIR_KV_CLEARED;
    if (r->bad)
        return;
    e->tier = (enum weir_kv_tier)tier;
    e->kind = (enum weir_kv_kind)kind;
    if (e->kind == WEIR_KV_STORED)
        take_stored(r, e);
    else if (e->kind == WEIR_KV_REMOVED)
        take_removed(r, e);
    e->dp_rank = (uint32_t)take(r, 4);
}

/* Every event takes 24 bytes at least, which bounds the loop. */
static bool fits(struct weir_span bytes, struct form form) {
    struct reader r = {.in = bytes, .form = form};
    uint64_t n = take_len(&r, 24);
    for (uint64_t i = 0; i < n && !r.bad; i++) {
        struct weir_kv_event e;
        take_event(&r, &e);
    }
    return !r.bad && r.at == bytes.len;
}

enum weir_status weir_radix_read(struct weir_span bytes, struct weir_arena *arena,
                                 weir_kv_event_fn fn, void *arg, uint64_t *ret_n) {
    static const struct form forms[] = {{true, true}, {true, false}, {false, false}};
    size_t k = 0;
    while (k < WEIR_ARRAY_LEN(forms) && !fits(bytes, forms[k]))
        k++;
    if (k == WEIR_ARRAY_LEN(forms))
        return WEIR_PROTOCOL;
    struct reader r = {.in = bytes, .form = forms[k], .arena = arena};
    uint64_t n = take(&r, 8);
    for (uint64_t i = 0; i < n; i++) {
        struct weir_kv_event e;
        weir_arena_reset(arena);
        take_event(&r, &e);
        if (r.bad)
            return WEIR_NOMEM; /* it fits, so nothing else can be wrong */
        fn(arg, &e);
    }
    *ret_n = n;
    return WEIR_OK;
}
