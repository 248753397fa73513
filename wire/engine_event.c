/*
 * Both forms fill the same fields through the same readers: a map names them, an array has them in
 * fixed slots and, behind those, in a tail whose members are told apart by their type. A member of
 * an unexpected type is passed over where the event makes sense without it, and spoils the event
 * where it does not (hashes, tokens, parent): better no block than a wrong one. A member that parts
 * blocks of equal tokens (adapter, salt, media) and cannot be read makes them unusable.
 */
#include "wire/engine_event_priv.h"

#include <math.h>

/* One event while it is read. */
struct reading {
    struct weir_arena *arena;
    struct weir_engine_event e;
    struct weir_span extra_keys; /* raw: read when the LoRA name is known */
    uint32_t told;               /* bits by enum field: members of a map, kinds of a tail */
    unsigned hint;               /* row of the member that usually comes next */
    size_t name_at;              /* the last name of a block */
};

enum field {
    F_HASHES,
    F_PARENT,
    F_TOKENS,
    F_BLOCK_SIZE,
    F_LORA_ID,
    F_MEDIUM,
    F_LORA_NAME,
    F_EXTRA_KEYS,
    F_MM_INFOS,
    F_GROUP,
    F_SPEC_KIND,
    F_SALT,
    F_LOCALITY,
    F_TAIL_TEXT,
    F_SKIP,
};

/* ---- values ------------------------------------------------------------------------------- */

static bool read_hash(struct weir_mp *m, uint64_t *ret) {
    struct weir_span bytes;
    uint64_t h = 0;
    if (weir_mp_peek(m) != WEIR_MP_BIN)
        return weir_mp_bits64(m, ret);
    if (!weir_mp_bin(m, &bytes) || bytes.len < 8)
        return weir_mp_fail(m);
    for (size_t i = bytes.len - 8; i < bytes.len; i++)
        h = h << 8 | (unsigned char)bytes.data[i];
    *ret = h;
    return true;
}

static bool read_hashes(struct weir_mp *m, struct reading *r) {
    uint32_t n;
    if (!weir_mp_array(m, &n) || n > WEIR_ENGINE_EVENT_BLOCKS)
        return weir_mp_fail(m);
    uint64_t *hashes = weir_arena_alloc(r->arena, (n + 1) * sizeof(*hashes));
    if (hashes == NULL)
        return weir_mp_fail(m);
    for (uint32_t i = 0; i < n; i++) {
        r->name_at = m->pos;
        if (!read_hash(m, &hashes[i]))
            return false;
    }
    r->e.hashes = hashes;
    r->e.n_hashes = n;
    return true;
}

/* A list of ids, or of pairs of neighbours (speculative decoding of the EAGLE kind). */
static bool read_tokens(struct weir_mp *m, struct reading *r) {
    uint32_t n, pair;
    if (!weir_mp_array(m, &n))
        return false;
    uint32_t *ids = weir_arena_alloc(r->arena, ((size_t)n + 1) * sizeof(*ids));
    if (ids == NULL)
        return weir_mp_fail(m);
    r->e.eagle = n > 0 && weir_mp_peek(m) == WEIR_MP_ARRAY;
    if (!r->e.eagle && !weir_mp_u32s(m, n, ids))
        return false;
    for (uint32_t i = 0; r->e.eagle && i < n; i++)
        if (!weir_mp_array(m, &pair) || pair != 2 || !weir_mp_u32s(m, 2, &ids[i]))
            return weir_mp_fail(m);
    r->e.tokens = ids;
    r->e.n_tokens = n + r->e.eagle;
    return true;
}

static enum weir_attention attention_of(struct weir_span kind) {
    bool main_kind = weir_span_eqz(kind, "full_attention") ||
                     weir_span_eqz(kind, "mla_attention") ||
                     weir_span_eqz(kind, "sink_full_attention");
    return main_kind ? WEIR_ATTENTION_MAIN : WEIR_ATTENTION_OTHER;
}

/* A string, or anything else passed over: *ret stays. */
static bool read_text(struct weir_mp *m, struct weir_span *ret) {
    return weir_mp_peek(m) == WEIR_MP_STR ? weir_mp_str(m, ret) : weir_mp_skip(m, NULL);
}

static void see_media(struct weir_engine_event *e, size_t block) {
    if (!e->media || block < e->first_media_block)
        e->first_media_block = block;
    e->media = true;
}

/* A salt that is no text parts blocks and cannot be compared. */
static bool read_salt(struct weir_mp *m, struct reading *r) {
    enum weir_mp_type type = weir_mp_peek(m);
    if (type != WEIR_MP_STR && type != WEIR_MP_NIL)
        see_media(&r->e, 0);
    return read_text(m, &r->e.salt);
}

/* Slot 7 of an array holds the LoRA name (vLLM) or a map with the salt (SGLang). */
static bool read_lora_slot(struct weir_mp *m, struct reading *r) {
    uint32_t n;
    enum weir_mp_type type = weir_mp_peek(m);
    if (type != WEIR_MP_MAP) {
        r->e.has_lora_id |= type != WEIR_MP_STR && type != WEIR_MP_NIL;
        return read_text(m, &r->e.lora);
    }
    if (!weir_mp_map(m, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct weir_span key = {0};
        if (!read_text(m, &key) ||
            !(weir_span_eqz(key, "cache_salt") ? read_salt(m, r) : weir_mp_skip(m, NULL)))
            return false;
    }
    return true;
}

/* ---- what more than tokens names a block -------------------------------------------------- */

static bool is_hex64(struct weir_span s) {
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')))
            return false;
    }
    return s.len == 64;
}

/*
 * One key of a block: the LoRA name (once a block: a salt may be spelled like it), "[id, offset]"
 * of media, an id of media by itself (64 hex digits, older engines), or the salt, which only the
 * first block of a sequence has, unless a member of the event tells it too. What is none of these
 * makes blocks that look equal and are not: they are as media to us.
 */
static bool read_key(struct weir_mp *m, struct reading *r, size_t block, bool *named) {
    struct weir_engine_event *e = &r->e;
    struct weir_span text;
    if (weir_mp_peek(m) == WEIR_MP_NIL)
        return weir_mp_nil(m);
    if (weir_mp_peek(m) != WEIR_MP_STR) {
        see_media(e, block);
        return weir_mp_skip(m, NULL);
    }
    if (!weir_mp_str(m, &text))
        return false;
    if (!*named && e->lora.len > 0 && weir_span_eq(text, e->lora))
        *named = true;
    else if (is_hex64(text))
        see_media(e, block);
    else if (e->salt.len == 0 && block == 0 && !e->has_parent)
        e->salt = text;
    else if (!weir_span_eq(text, e->salt))
        see_media(e, block);
    return true;
}

static bool read_extra_keys(struct reading *r) {
    struct weir_mp m;
    uint32_t n_blocks, n;
    if (r->extra_keys.len == 0)
        return true;
    weir_mp_init(&m, r->extra_keys);
    if (weir_mp_peek(&m) == WEIR_MP_NIL)
        return true;
    if (weir_mp_peek(&m) != WEIR_MP_ARRAY) {
        see_media(&r->e, 0);
        return true;
    }
    if (!weir_mp_array(&m, &n_blocks))
        return false;
    for (uint32_t i = 0; i < n_blocks; i++) {
        bool named = false;
        n = 1;
        if (weir_mp_peek(&m) == WEIR_MP_ARRAY && !weir_mp_array(&m, &n))
            return false;
        for (uint32_t k = 0; k < n; k++)
            if (!read_key(&m, r, i, &named))
                return false;
    }
    return true;
}

/* One entry a block, nil or what is in it. */
static bool read_mm_infos(struct weir_mp *m, struct reading *r) {
    uint32_t n;
    if (weir_mp_peek(m) == WEIR_MP_NIL)
        return weir_mp_nil(m);
    if (weir_mp_peek(m) != WEIR_MP_ARRAY) {
        see_media(&r->e, 0);
        return weir_mp_skip(m, NULL);
    }
    if (!weir_mp_array(m, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (weir_mp_peek(m) != WEIR_MP_NIL)
            see_media(&r->e, i);
        if (!weir_mp_skip(m, NULL))
            return false;
    }
    return true;
}

/* ---- events ------------------------------------------------------------------------------- */

static bool read_parent(struct weir_mp *m, struct reading *r) {
    if (weir_mp_peek(m) == WEIR_MP_NIL)
        return weir_mp_nil(m);
    r->e.has_parent = true;
    return read_hash(m, &r->e.parent);
}

static bool read_block_size(struct weir_mp *m, struct reading *r) {
    uint64_t n;
    if (!weir_mp_u64(m, &n))
        return false;
    r->e.block_size = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    return true;
}

/* An integer in any form, as some encoders keep the width of its type; at most INT32_MAX + 1; -1
 * for what is negative. */
static bool read_count(struct weir_mp *m, int64_t *ret) {
    uint64_t bits;
    bool is_signed = weir_mp_peek(m) == WEIR_MP_INT;
    if (!weir_mp_bits64(m, &bits))
        return false;
    *ret = is_signed && (int64_t)bits < 0 ? -1
           : bits > INT32_MAX             ? (int64_t)INT32_MAX + 1
                                          : (int64_t)bits;
    return true;
}

static bool is_integer(enum weir_mp_type type) {
    return type == WEIR_MP_UINT || type == WEIR_MP_INT;
}

static bool read_group(struct weir_mp *m, struct reading *r) {
    int64_t n;
    if (!is_integer(weir_mp_peek(m)))
        return weir_mp_skip(m, NULL);
    if (!read_count(m, &n))
        return false;
    r->e.group = n <= INT32_MAX ? n : INT32_MAX;
    return true;
}

static bool read_locality(struct weir_mp *m, struct reading *r) {
    struct weir_span text = {0};
    if (weir_mp_peek(m) == WEIR_MP_NIL)
        return weir_mp_nil(m);
    if (!read_text(m, &text))
        return false;
    r->e.remote = !weir_span_eqz(text, "LOCAL");
    return true;
}

static bool read_spec_kind(struct weir_mp *m, struct reading *r) {
    struct weir_span text = {0};
    if (!read_text(m, &text))
        return false;
    if (text.len > 0)
        r->e.attention = attention_of(text);
    return true;
}

/* A text of an array's tail: where the blocks are shows by its two words, of others the first is
 * the kind of attention. */
static bool read_tail_text(struct weir_mp *m, struct reading *r) {
    struct weir_mp again = *m;
    struct weir_span text = {0};
    if (!weir_mp_str(m, &text))
        return false;
    if (weir_span_eqz(text, "LOCAL") || weir_span_eqz(text, "REMOTE"))
        return read_locality(&again, r);
    if (r->told & 1u << F_SPEC_KIND)
        return true;
    r->told |= 1u << F_SPEC_KIND;
    return read_spec_kind(&again, r);
}

static bool read_field(struct weir_mp *m, struct reading *r, enum field field) {
    struct weir_span text = {0};
    switch (field) {
    case F_HASHES:
        return read_hashes(m, r);
    case F_PARENT:
        return read_parent(m, r);
    case F_TOKENS:
        return read_tokens(m, r);
    case F_BLOCK_SIZE:
        return read_block_size(m, r);
    case F_LORA_ID:
        r->e.has_lora_id |= weir_mp_peek(m) != WEIR_MP_NIL;
        return weir_mp_skip(m, NULL);
    case F_MEDIUM:
        if (!read_text(m, &text))
            return false;
        r->e.tier = weir_engine_tier(text);
        return true;
    case F_LORA_NAME:
        return read_lora_slot(m, r);
    case F_EXTRA_KEYS:
        return weir_mp_skip(m, &r->extra_keys);
    case F_MM_INFOS:
        return read_mm_infos(m, r);
    case F_GROUP:
        return read_group(m, r);
    case F_SPEC_KIND:
        return read_spec_kind(m, r);
    case F_SALT:
        return read_salt(m, r);
    case F_LOCALITY:
        return read_locality(m, r);
    case F_TAIL_TEXT:
        return read_tail_text(m, r);
    case F_SKIP:
        break;
    }
    return weir_mp_skip(m, NULL);
}

static enum weir_engine_event_kind kind_of(struct weir_span tag) {
    if (weir_span_eqz(tag, "BlockStored"))
        return WEIR_ENGINE_STORED;
    if (weir_span_eqz(tag, "BlockRemoved"))
        return WEIR_ENGINE_REMOVED;
    return weir_span_eqz(tag, "AllBlocksCleared") ? WEIR_ENGINE_CLEARED : WEIR_ENGINE_OTHER;
}

/* Behind the fixed slots: what a member is shows by its type; of two numbers the first is the
 * group, the second the window, and so on: each is told once, the rest is of a later engine. */
static enum field tail_field(struct weir_mp *m, struct reading *r) {
    enum weir_mp_type type = weir_mp_peek(m);
    if (type == WEIR_MP_STR)
        return F_TAIL_TEXT;
    if (is_integer(type))
        return r->e.group < 0 ? F_GROUP : F_SKIP;
    if (type != WEIR_MP_ARRAY || r->told & 1u << F_MM_INFOS)
        return F_SKIP;
    r->told |= 1u << F_MM_INFOS;
    return F_MM_INFOS;
}

static bool read_array(struct weir_mp *m, struct reading *r) {
    static const enum field stored[] = {F_HASHES,  F_PARENT, F_TOKENS,    F_BLOCK_SIZE,
                                        F_LORA_ID, F_MEDIUM, F_LORA_NAME, F_EXTRA_KEYS};
    static const enum field removed[] = {F_HASHES, F_MEDIUM};
    struct weir_span tag = {0};
    uint32_t n;
    if (!weir_mp_array(m, &n) || n == 0 || !read_text(m, &tag))
        return weir_mp_fail(m);
    r->e.kind = kind_of(tag);
    bool is_stored = r->e.kind == WEIR_ENGINE_STORED, is_removed = r->e.kind == WEIR_ENGINE_REMOVED;
    const enum field *slots = is_stored ? stored : removed;
    size_t n_slots = is_stored ? WEIR_ARRAY_LEN(stored) : is_removed ? WEIR_ARRAY_LEN(removed) : 0;
    for (uint32_t i = 0; i + 1 < n; i++) {
        enum field f = i < n_slots ? slots[i] : is_stored || is_removed ? tail_field(m, r) : F_SKIP;
        if (!read_field(m, r, f))
            return false;
    }
    return true;
}

/* Engines write members in one order, that of the rows: so the search begins behind the last. */
static enum field field_of(struct weir_span key, unsigned *hint) {
    static const struct {
        struct weir_span name;
        enum field field;
    } rows[] = {
#define ROW(text, field) {{text, sizeof(text) - 1}, field}
        ROW("block_hashes", F_HASHES),    ROW("parent_block_hash", F_PARENT),
        ROW("token_ids", F_TOKENS),       ROW("block_size", F_BLOCK_SIZE),
        ROW("lora_id", F_LORA_ID),        ROW("medium", F_MEDIUM),
        ROW("lora_name", F_LORA_NAME),    ROW("extra_keys", F_EXTRA_KEYS),
        ROW("group_idx", F_GROUP),        ROW("kv_cache_spec_kind", F_SPEC_KIND),
        ROW("cache_salt", F_SALT),        ROW("locality", F_LOCALITY),
        ROW("block_mm_infos", F_MM_INFOS)};
#undef ROW
    for (unsigned n = 0, i = *hint; n < WEIR_ARRAY_LEN(rows); n++) {
        enum field field = rows[i].field;
        bool found = weir_span_eq(key, rows[i].name);
        i = (i + 1) % WEIR_ARRAY_LEN(rows);
        if (found) {
            *hint = i;
            return field;
        }
    }
    return F_SKIP;
}

/* The members of a type that are looked at, as bits; a later engine's type may give a name that
 * is known here to something else. */
static uint32_t fields_of(enum weir_engine_event_kind kind) {
    switch (kind) {
    case WEIR_ENGINE_STORED:
        return UINT32_MAX;
    case WEIR_ENGINE_REMOVED:
        return 1u << F_HASHES | 1u << F_MEDIUM | 1u << F_GROUP | 1u << F_SPEC_KIND |
               1u << F_LOCALITY;
    case WEIR_ENGINE_CLEARED:
        return 1u << F_LOCALITY;
    case WEIR_ENGINE_OTHER:
        break;
    }
    return 0;
}

/* The type stands in front, where engines write it, or has to be looked for. */
static bool find_type(struct weir_mp m, uint32_t n_pairs, struct reading *r) {
    struct weir_span tag = {0};
    for (uint32_t i = 0; i < n_pairs; i++) {
        struct weir_span key = {0};
        bool is_type = read_text(&m, &key) && weir_span_eqz(key, "type");
        if (!(is_type ? read_text(&m, &tag) : weir_mp_skip(&m, NULL)))
            return false;
        if (is_type)
            break;
    }
    r->e.kind = kind_of(tag);
    return true;
}

/* A name that stands twice cannot be read in one way. */
static bool read_map(struct weir_mp *m, struct reading *r) {
    uint32_t n, types = 0;
    if (!weir_mp_map(m, &n) || !find_type(*m, n, r))
        return weir_mp_fail(m);
    uint32_t looked_at = fields_of(r->e.kind);
    for (uint32_t i = 0; i < n; i++) {
        struct weir_span key = {0};
        if (!read_text(m, &key))
            return false;
        bool is_type = weir_span_eqz(key, "type");
        enum field f = is_type ? F_SKIP : field_of(key, &r->hint);
        types += is_type;
        if (f != F_SKIP && !(looked_at & 1u << f))
            f = F_SKIP;
        if (types > 1 || (f != F_SKIP && r->told & 1u << f))
            return weir_mp_fail(m);
        r->told |= 1u << f;
        if (!read_field(m, r, f))
            return false;
    }
    return true;
}

static bool read_event(struct weir_mp *m, struct reading *r) {
    r->e = (struct weir_engine_event){.kind = WEIR_ENGINE_OTHER, .group = -1};
    r->extra_keys = weir_span(NULL, 0);
    r->told = 0;
    r->hint = 0;
    enum weir_mp_type type = weir_mp_peek(m);
    bool ok = type == WEIR_MP_MAP     ? read_map(m, r)
              : type == WEIR_MP_ARRAY ? read_array(m, r)
                                      : weir_mp_skip(m, NULL);
    return ok && read_extra_keys(r);
}

/* ---- batches ------------------------------------------------------------------------------ */

/* What a batch consists of; the events are still to be read. */
struct head {
    struct weir_engine_batch b;
    struct weir_mp events; /* at their list */
    uint32_t left;         /* members behind the list, when that is not passed over yet */
    bool passed;           /* the whole batch was gone through */
};

static bool read_rank(struct weir_mp *m, int64_t *ret_rank) {
    int64_t rank;
    if (!is_integer(weir_mp_peek(m)))
        return weir_mp_skip(m, NULL);
    if (!read_count(m, &rank) || rank > INT32_MAX)
        return false;
    *ret_rank = rank;
    return true;
}

static bool read_time(struct weir_mp *m, double *ret) {
    return weir_mp_f64(m, ret) && isfinite(*ret);
}

/* Members behind the list of events, and nothing behind those. */
static bool read_rest(struct weir_mp *m, uint32_t n, int64_t *ret_rank) {
    for (uint32_t i = 0; i < n; i++)
        if (!(i == 0 ? read_rank(m, ret_rank) : weir_mp_skip(m, NULL)))
            return false;
    return m->pos == m->len;
}

/* A batch whose members have names. */
static bool read_named(struct weir_mp *m, struct head *h) {
    uint32_t n;
    bool timed = false, listed = false, ranked = false;
    if (!weir_mp_map(m, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct weir_span key = {0};
        if (!read_text(m, &key))
            return false;
        bool *twice = weir_span_eqz(key, "ts")                   ? &timed
                      : weir_span_eqz(key, "events")             ? &listed
                      : weir_span_eqz(key, "data_parallel_rank") ? &ranked
                                                                 : NULL;
        if (twice != NULL && *twice)
            return false;
        if (twice != NULL)
            *twice = true;
        if (twice == &listed)
            h->events = *m;
        if (!(twice == &timed    ? read_time(m, &h->b.timestamp)
              : twice == &ranked ? read_rank(m, &h->b.rank)
                                 : weir_mp_skip(m, NULL)))
            return false;
    }
    h->passed = true;
    return timed && listed && m->pos == m->len && weir_mp_peek(&h->events) == WEIR_MP_ARRAY;
}

static bool read_head(struct weir_span payload, struct head *h) {
    struct weir_mp m;
    uint32_t n;
    *h = (struct head){.b = {.rank = -1}};
    weir_mp_init(&m, payload);
    if (weir_mp_peek(&m) == WEIR_MP_MAP)
        return read_named(&m, h);
    if (!weir_mp_array(&m, &n) || n < 2 || !read_time(&m, &h->b.timestamp) ||
        weir_mp_peek(&m) != WEIR_MP_ARRAY)
        return false;
    h->events = m;
    h->left = n - 2;
    return true;
}

enum weir_status weir_engine_batch_time(struct weir_span payload, double *ret_timestamp) {
    struct head h;
    if (!read_head(payload, &h))
        return WEIR_INVALID;
    *ret_timestamp = h.b.timestamp;
    return WEIR_OK;
}

enum weir_status weir_engine_batch_peek(struct weir_span payload,
                                        struct weir_engine_batch *ret_batch) {
    struct head h;
    if (!read_head(payload, &h))
        return WEIR_INVALID;
    struct weir_mp list = h.events;
    if (!weir_mp_array(&list, &h.b.n_events) ||
        (!h.passed && !(weir_mp_skip(&h.events, NULL) && read_rest(&h.events, h.left, &h.b.rank))))
        return WEIR_INVALID;
    *ret_batch = h.b;
    return WEIR_OK;
}

enum weir_status weir_engine_batch_decode(struct weir_span payload, struct weir_arena *arena,
                                          weir_engine_event_fn fn, void *arg,
                                          struct weir_engine_batch *ret_batch) {
    struct head h;
    bool ok = read_head(payload, &h) && weir_mp_array(&h.events, &h.b.n_events);
    *ret_batch = h.b;
    if (!ok)
        return WEIR_INVALID;
    struct reading r = {.arena = arena};
    struct weir_engine_like like = {.bytes = NULL};
    for (uint32_t i = 0; i < h.b.n_events; i++) {
        if (weir_engine_like_next(&like, &h.events)) {
            fn(arg, &like.event);
            continue;
        }
        size_t start = h.events.pos;
        weir_arena_reset(arena);
        if (!read_event(&h.events, &r))
            return WEIR_INVALID;
        weir_engine_like_keep(&like, &h.events, start, r.name_at, &r.e);
        fn(arg, &r.e);
    }
    return h.passed || read_rest(&h.events, h.left, &ret_batch->rank) ? WEIR_OK : WEIR_INVALID;
}
