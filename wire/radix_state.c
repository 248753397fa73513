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
    put_le(w, 0, WEIR_RADIX_HEAD); /* the number of events, known at the end */
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

enum weir_status weir_radix_end(const struct weir_radix_writer *w, char ret_head[WEIR_RADIX_HEAD]) {
    for (unsigned i = 0; w->status == WEIR_OK && i < WEIR_RADIX_HEAD; i++)
        ret_head[i] = (char)(w->n >> (8 * i));
    return w->status;
}

/* ---- reading ------------------------------------------------------------------------------ */

struct form {
    bool tier, position;
};

static const struct form forms[WEIR_RADIX_FORMS] = {{true, true}, {true, false}, {false, false}};

struct reader {
    struct weir_span in;
    size_t at;
    bool bad;        /* it cannot be read any further: */
    bool needs_more; /* more bytes may help */
    struct form form;
    struct weir_arena *arena; /* NULL: only looks whether it can be read */
    bool no_memory;
};

static uint64_t take(struct reader *r, unsigned n) {
    uint64_t v = 0;
    if (r->in.len - r->at < n) {
        r->needs_more |= !r->bad;
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

/* The length of a list whose items take at least so many bytes, of which not all may be here. */
static size_t take_len(struct reader *r, size_t item_bytes) {
    uint64_t n = take(r, 8);
    if (n > WEIR_RADIX_EVENT_MAX / item_bytes) {
        r->bad = true;
        return 0;
    }
    return (size_t)n;
}

/* For the items of a list that is here whole. */
static void *room(struct reader *r, size_t n, size_t item_bytes, size_t bytes) {
    if (r->arena == NULL || n == 0 || r->bad || n > (r->in.len - r->at) / item_bytes)
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
        for (size_t left = take_len(r, 16); left > 0 && !r->bad; left--) {
            (void)take(r, 8);
            (void)take(r, 8);
        }
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
    struct weir_kv_block *blocks = room(r, e->n_blocks, BLOCK_BYTES, sizeof(*blocks));
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
    uint64_t *hashes = room(r, e->n_removed, HASH_BYTES, sizeof(*hashes));
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

void weir_radix_reader_init(struct weir_radix_reader *r, unsigned form, struct weir_arena *arena,
                            weir_kv_event_fn fn, void *arg) {
    *r = (struct weir_radix_reader){.form = form, .arena = arena, .fn = fn, .arg = arg};
    weir_buf_init(&r->rest, WEIR_RADIX_EVENT_MAX);
}

void weir_radix_reader_fini(struct weir_radix_reader *r) {
    weir_buf_fini(&r->rest);
}

/* The number of events, then each; false: what is left is not whole, or cannot be read. */
static bool read_one(struct weir_radix_reader *r, struct reader *in) {
    size_t from = in->at;
    struct weir_kv_event e;
    if (r->begun && r->done == r->n) {
        r->status = in->at < in->in.len ? WEIR_PROTOCOL : WEIR_OK;
        return false;
    }
    if (r->begun) {
        if (r->arena != NULL)
            weir_arena_reset(r->arena);
        take_event(in, &e);
    } else {
        r->n = take(in, 8);
    }
    if (in->bad) {
        in->at = from;
        r->status = in->no_memory ? WEIR_NOMEM : in->needs_more ? WEIR_OK : WEIR_PROTOCOL;
        return false;
    }
    r->done += r->begun;
    if (r->begun && r->fn != NULL)
        r->fn(r->arg, &e);
    r->begun = true;
    return true;
}

enum weir_status weir_radix_feed(struct weir_radix_reader *r, struct weir_span bytes) {
    bool kept = r->rest.len > 0;
    if (r->status == WEIR_OK && kept)
        r->status = weir_buf_append_span(&r->rest, bytes);
    if (r->status != WEIR_OK)
        return r->status;
    struct reader in = {
        .in = kept ? weir_buf_span(&r->rest) : bytes, .form = forms[r->form], .arena = r->arena};
    while (read_one(r, &in))
        ;
    if (kept)
        weir_buf_consume(&r->rest, in.at);
    else if (r->status == WEIR_OK)
        r->status = weir_buf_append(&r->rest, bytes.data + in.at, bytes.len - in.at);
    return r->status;
}

enum weir_status weir_radix_read_end(struct weir_radix_reader *r) {
    if (r->status == WEIR_OK && (!r->begun || r->done < r->n || r->rest.len > 0))
        r->status = WEIR_PROTOCOL;
    return r->status;
}

void weir_radix_look_init(struct weir_radix_look *look) {
    for (unsigned i = 0; i < WEIR_RADIX_FORMS; i++)
        weir_radix_reader_init(&look->forms[i], i, NULL, NULL, NULL);
}

void weir_radix_look_fini(struct weir_radix_look *look) {
    for (unsigned i = 0; i < WEIR_RADIX_FORMS; i++)
        weir_radix_reader_fini(&look->forms[i]);
}

/* Bytes of a wrong form mostly stop to make sense within a few events. */
void weir_radix_look_feed(struct weir_radix_look *look, struct weir_span bytes) {
    for (unsigned i = 0; i < WEIR_RADIX_FORMS; i++)
        if (weir_radix_feed(&look->forms[i], bytes) != WEIR_OK)
            weir_radix_reader_fini(&look->forms[i]);
}

enum weir_status weir_radix_look_end(struct weir_radix_look *look, unsigned *ret_form) {
    enum weir_status st = WEIR_PROTOCOL;
    for (unsigned i = 0; i < WEIR_RADIX_FORMS; i++) {
        enum weir_status one = weir_radix_read_end(&look->forms[i]);
        if (one == WEIR_OK) {
            *ret_form = i;
            return WEIR_OK;
        }
        st = one != WEIR_PROTOCOL ? one : st;
    }
    return st;
}
