/*
 * Both forms fill the same fields through the same readers: a map names them, an array has them in
 * fixed slots and, behind those, in a tail whose members are told apart by their type. A member of
 * an unexpected type is passed over where the event makes sense without it, and spoils the event
 * where it does not (hashes, tokens, parent): better no block than a wrong one.
 */
#include "wire/engine_event.h"

#include "base/msgpack.h"

/* One event while it is read. */
struct reading {
    struct weir_arena *arena;
    struct weir_engine_event e;
    struct weir_span extra_keys; /* raw: read when the LoRA name is known */
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
    for (uint32_t i = 0; i < n; i++)
        if (!read_hash(m, &hashes[i]))
            return false;
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

enum weir_kv_tier weir_engine_tier(struct weir_span medium) {
    static const struct {
        const char *name;
        enum weir_kv_tier tier;
    } rows[] = {{"CPU", WEIR_TIER_HOST},         {"CPU_PINNED", WEIR_TIER_HOST},
                {"CPU_TIER1", WEIR_TIER_HOST},   {"CPU_TIER2", WEIR_TIER_DISK},
                {"DISK", WEIR_TIER_DISK},        {"NVME", WEIR_TIER_DISK},
                {"STORAGE", WEIR_TIER_DISK},     {"EXTERNAL", WEIR_TIER_EXTERNAL},
                {"NETWORK", WEIR_TIER_EXTERNAL}, {"REMOTE", WEIR_TIER_EXTERNAL},
                {"SHARED", WEIR_TIER_EXTERNAL}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        if (weir_span_ieq(medium, weir_span_z(rows[i].name)))
            return rows[i].tier;
    return WEIR_TIER_DEVICE;
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

/* Slot 7 of an array holds the LoRA name (vLLM) or a map with the salt (SGLang). */
static bool read_lora_slot(struct weir_mp *m, struct reading *r) {
    uint32_t n;
    if (weir_mp_peek(m) != WEIR_MP_MAP)
        return read_text(m, &r->e.lora);
    if (!weir_mp_map(m, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct weir_span key = {0};
        if (!read_text(m, &key) ||
            !(weir_span_eqz(key, "cache_salt") ? read_text(m, &r->e.salt) : weir_mp_skip(m, NULL)))
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

static void see_media(struct weir_engine_event *e, size_t block) {
    if (!e->media)
        e->first_media_block = block;
    e->media = true;
}

/*
 * One key of a block: the LoRA name, "[id, offset]" of media, an id of media by itself (64 hex
 * digits, older engines), or the salt, which only the first block of a sequence has. What is none
 * of these makes blocks that look equal and are not: they are as media to us.
 */
static bool read_key(struct weir_mp *m, struct reading *r, size_t block) {
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
    if (e->lora.len > 0 && weir_span_eq(text, e->lora))
        return true;
    if (is_hex64(text) || block > 0 || e->has_parent || e->salt.len > 0)
        see_media(e, block);
    else
        e->salt = text;
    return true;
}

static bool read_extra_keys(struct reading *r) {
    struct weir_mp m;
    uint32_t n_blocks, n;
    if (r->extra_keys.len == 0)
        return true;
    weir_mp_init(&m, r->extra_keys);
    if (weir_mp_peek(&m) != WEIR_MP_ARRAY)
        return true;
    if (!weir_mp_array(&m, &n_blocks))
        return false;
    for (uint32_t i = 0; i < n_blocks; i++) {
        if (weir_mp_peek(&m) != WEIR_MP_ARRAY) {
            if (!read_key(&m, r, i))
                return false;
            continue;
        }
        if (!weir_mp_array(&m, &n))
            return false;
        for (uint32_t k = 0; k < n; k++)
            if (!read_key(&m, r, i))
                return false;
    }
    return true;
}

/* One entry a block, nil or what is in it. */
static bool read_mm_infos(struct weir_mp *m, struct reading *r) {
    uint32_t n;
    if (weir_mp_peek(m) != WEIR_MP_ARRAY)
        return weir_mp_skip(m, NULL);
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
    r->e.block_size = n <= 1 << 20 ? (uint32_t)n : 0;
    return true;
}

static bool read_group(struct weir_mp *m, struct reading *r) {
    uint64_t n;
    if (weir_mp_peek(m) != WEIR_MP_UINT)
        return weir_mp_skip(m, NULL);
    if (!weir_mp_u64(m, &n))
        return false;
    r->e.group = n <= INT32_MAX ? (int64_t)n : INT32_MAX;
    return true;
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
        r->e.has_lora_id = weir_mp_peek(m) != WEIR_MP_NIL;
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
        if (!read_text(m, &text))
            return false;
        if (text.len > 0)
            r->e.attention = attention_of(text);
        return true;
    case F_SALT:
        return read_text(m, &r->e.salt);
    case F_LOCALITY:
        if (!read_text(m, &text))
            return false;
        r->e.remote = text.len > 0 && !weir_span_eqz(text, "LOCAL");
        return true;
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
 * group, the second the window. */
static enum field tail_field(const struct weir_mp *m, const struct reading *r) {
    switch (weir_mp_peek(m)) {
    case WEIR_MP_ARRAY:
        return F_MM_INFOS;
    case WEIR_MP_STR:
        return F_SPEC_KIND;
    case WEIR_MP_UINT:
        return r->e.group < 0 ? F_GROUP : F_SKIP;
    default:
        return F_SKIP;
    }
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

static enum field field_of(struct weir_span key) {
    static const struct {
        const char *name;
        enum field field;
    } rows[] = {{"block_hashes", F_HASHES},    {"parent_block_hash", F_PARENT},
                {"token_ids", F_TOKENS},       {"block_size", F_BLOCK_SIZE},
                {"lora_id", F_LORA_ID},        {"medium", F_MEDIUM},
                {"lora_name", F_LORA_NAME},    {"extra_keys", F_EXTRA_KEYS},
                {"group_idx", F_GROUP},        {"kv_cache_spec_kind", F_SPEC_KIND},
                {"cache_salt", F_SALT},        {"locality", F_LOCALITY},
                {"block_mm_infos", F_MM_INFOS}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        if (weir_span_eqz(key, rows[i].name))
            return rows[i].field;
    return F_SKIP;
}

static bool read_map(struct weir_mp *m, struct reading *r) {
    uint32_t n;
    if (!weir_mp_map(m, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct weir_span key = {0}, tag = {0};
        if (!read_text(m, &key))
            return false;
        if (weir_span_eqz(key, "type")) {
            if (!read_text(m, &tag))
                return false;
            r->e.kind = kind_of(tag);
        } else if (!read_field(m, r, field_of(key))) {
            return false;
        }
    }
    return true;
}

static bool read_event(struct weir_mp *m, struct reading *r) {
    r->e = (struct weir_engine_event){.kind = WEIR_ENGINE_OTHER, .group = -1};
    r->extra_keys = weir_span(NULL, 0);
    enum weir_mp_type type = weir_mp_peek(m);
    bool ok = type == WEIR_MP_MAP     ? read_map(m, r)
              : type == WEIR_MP_ARRAY ? read_array(m, r)
                                      : weir_mp_skip(m, NULL);
    return ok && read_extra_keys(r);
}

/* ---- batches ------------------------------------------------------------------------------ */

/* Leaves the reader at the list of events. */
static bool read_head(struct weir_mp *m, struct weir_span payload, uint32_t *ret_members,
                      struct weir_engine_batch *b) {
    *b = (struct weir_engine_batch){.rank = -1};
    weir_mp_init(m, payload);
    return weir_mp_array(m, ret_members) && *ret_members >= 2 && weir_mp_f64(m, &b->timestamp) &&
           weir_mp_peek(m) == WEIR_MP_ARRAY;
}

/* The rank stands behind the events. */
static bool read_rank(struct weir_mp *m, uint32_t n_members, int64_t *ret_rank) {
    uint64_t rank;
    if (n_members < 3)
        return true;
    if (weir_mp_peek(m) != WEIR_MP_UINT)
        return weir_mp_skip(m, NULL);
    if (!weir_mp_u64(m, &rank) || rank > INT32_MAX)
        return false;
    *ret_rank = (int64_t)rank;
    return true;
}

enum weir_status weir_engine_batch_time(struct weir_span payload, double *ret_timestamp) {
    struct weir_mp m;
    struct weir_engine_batch b;
    uint32_t n;
    if (!read_head(&m, payload, &n, &b))
        return WEIR_INVALID;
    *ret_timestamp = b.timestamp;
    return WEIR_OK;
}

enum weir_status weir_engine_batch_peek(struct weir_span payload,
                                        struct weir_engine_batch *ret_batch) {
    struct weir_mp m;
    struct weir_engine_batch b;
    uint32_t n;
    if (!read_head(&m, payload, &n, &b))
        return WEIR_INVALID;
    struct weir_mp events = m;
    if (!weir_mp_array(&events, &b.n_events) || !weir_mp_skip(&m, NULL) ||
        !read_rank(&m, n, &b.rank))
        return WEIR_INVALID;
    *ret_batch = b;
    return WEIR_OK;
}

enum weir_status weir_engine_batch_decode(struct weir_span payload, struct weir_arena *arena,
                                          weir_engine_event_fn fn, void *arg,
                                          struct weir_engine_batch *ret_batch) {
    struct weir_mp m;
    uint32_t n;
    if (!read_head(&m, payload, &n, ret_batch) || !weir_mp_array(&m, &ret_batch->n_events))
        return WEIR_INVALID;
    struct reading r = {.arena = arena};
    for (uint32_t i = 0; i < ret_batch->n_events; i++) {
        weir_arena_reset(arena);
        if (!read_event(&m, &r))
            return WEIR_INVALID;
        fn(arg, &r.e);
    }
    return read_rank(&m, n, &ret_batch->rank) ? WEIR_OK : WEIR_INVALID;
}
