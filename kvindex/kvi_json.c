/* Events in the reference's JSON form. Reads what its dumps, peers and older versions send: keys in
 * any order, unknown ones skipped, absent ones at their defaults; a known one given twice is
 * refused, as the reference does. Depth and size are bounded. */
#include "kvindex/kvi_persist.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 32 };
static const char *const tier_names[KVI_TIERS] = {"device", "host_pinned", "disk", "external"};

/* ---- writing ------------------------------------------------------------------------------ */

struct out {
    char *text;
    size_t room, n;
};

__attribute__((format(printf, 2, 3))) static void put(struct out *o, const char *format, ...) {
    char piece[160];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(piece, sizeof(piece), format, args);
    va_end(args);
    if (o->n + (size_t)len <= o->room)
        memcpy(o->text + o->n, piece, (size_t)len);
    o->n += (size_t)len;
}

static void put_stored(struct out *o, const struct kvi_event *e) {
    put(o, "{\"stored\":{\"parent_hash\":");
    if (e->has_parent)
        put(o, "%" PRIu64, e->parent_hash);
    else
        put(o, "null");
    if (e->start_position > 0)
        put(o, ",\"start_position\":%" PRIu32 ",\"blocks\":[", e->start_position);
    else
        put(o, ",\"start_position\":null,\"blocks\":[");
    for (size_t i = 0; i < e->n; i++)
        put(o, "%s{\"block_hash\":%" PRIu64 ",\"tokens_hash\":%" PRIu64 ",\"mm_extra_info\":null}",
            i > 0 ? "," : "", e->blocks[i].block_hash, e->blocks[i].tokens_hash);
    put(o, "]}}");
}

size_t kvi_event_to_json(const struct kvi_event *e, uint64_t event_id, char *ret_text,
                         size_t room) {
    struct out o = {ret_text, room, 0};
    put(&o,
        "{\"worker_id\":%" PRIu64 ",\"storage_tier\":\"%s\",\"event\":{\"event_id\":%" PRIu64
        ",\"data\":",
        e->worker.worker_id, tier_names[e->tier], event_id);
    if (e->kind == KVI_STORED) {
        put_stored(&o, e);
    } else if (e->kind == KVI_REMOVED) {
        put(&o, "{\"removed\":{\"block_hashes\":[");
        for (size_t i = 0; i < e->n; i++)
            put(&o, "%s%" PRIu64, i > 0 ? "," : "", e->removed[i]);
        put(&o, "]}}");
    } else {
        put(&o, "\"cleared\"");
    }
    put(&o, ",\"dp_rank\":%" PRIu32 "}}", e->worker.dp_rank);
    return o.n;
}

/* ---- reading ------------------------------------------------------------------------------ */

struct in {
    const char *at, *end;
    enum kvi_json_result error; /* OK so far */
    uint64_t *scratch;
    size_t room, used;
};

static bool fail(struct in *in, enum kvi_json_result why) {
    if (in->error == KVI_JSON_OK)
        in->error = why;
    in->at = in->end;
    return false;
}

static char peek(struct in *in) {
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\t' || *in->at == '\r' || *in->at == '\n'))
        in->at++;
    return in->at < in->end ? *in->at : '\0';
}

static bool take(struct in *in, char c) {
    if (peek(in) != c)
        return false;
    in->at++;
    return true;
}

static bool word(struct in *in, const char *w) {
    size_t n = strlen(w);
    (void)peek(in);
    if ((size_t)(in->end - in->at) < n || memcmp(in->at, w, n) != 0)
        return false;
    in->at += n;
    return true;
}

static int hex_digit(char c) {
    int low = c | 0x20;
    return c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* The number of an escape \uXXXX that begins at `at`; -1: it is none. */
static int code_at(const char *at, const char *end) {
    int code = 0;
    if (end - at < 6 || at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

/* A string; its bytes as they stand, escapes and all. */
static bool string(struct in *in, const char **ret, size_t *ret_len) {
    if (!take(in, '"'))
        return fail(in, KVI_JSON_INVALID);
    *ret = in->at;
    while (in->at < in->end && *in->at != '"') {
        if ((unsigned char)*in->at < 0x20)
            return fail(in, KVI_JSON_INVALID);
        if (*in->at != '\\')
            in->at++;
        else if (code_at(in->at, in->end) >= 0)
            in->at += 6;
        else if (in->end - in->at > 1 && memchr("\"\\/bfnrt", in->at[1], 8) != NULL)
            in->at += 2;
        else
            return fail(in, KVI_JSON_INVALID);
    }
    if (in->at >= in->end)
        return fail(in, KVI_JSON_INVALID);
    *ret_len = (size_t)(in->at++ - *ret);
    return true;
}

/* An integer; negative ones are reinterpreted, as engines send them. */
static bool number(struct in *in, uint64_t *ret) {
    bool negative = take(in, '-');
    uint64_t v = 0;
    const char *first = in->at;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++) {
        uint64_t digit = (uint64_t)(*in->at - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return fail(in, KVI_JSON_INVALID);
        v = v * 10 + digit;
    }
    if (in->at == first || (in->at < in->end && strchr(".eE", *in->at) != NULL) ||
        (negative && v > (uint64_t)1 << 63))
        return fail(in, KVI_JSON_INVALID);
    *ret = negative ? 0 - v : v;
    return true;
}

static bool number32(struct in *in, uint32_t *ret) {
    uint64_t v;
    if (!number(in, &v))
        return false;
    if (v > UINT32_MAX)
        return fail(in, KVI_JSON_INVALID);
    *ret = (uint32_t)v;
    return true;
}

static bool skip_scalar(struct in *in) {
    const char *s;
    size_t n;
    if (peek(in) == '"')
        return string(in, &s, &n);
    const char *first = in->at;
    while (in->at < in->end && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", *in->at) != NULL)
        in->at++;
    return in->at > first ? true : fail(in, KVI_JSON_INVALID);
}

/* Any value, without recursion: only brackets are counted. */
static bool skip(struct in *in) {
    int depth = 0;
    do {
        char c = peek(in);
        if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return fail(in, KVI_JSON_INVALID);
            in->at++;
        } else if (c == '}' || c == ']') {
            depth--;
            in->at++;
        } else if (c == ',' || c == ':') {
            in->at++;
            continue;
        } else if (!skip_scalar(in)) {
            return false;
        }
    } while (depth > 0);
    return depth == 0 ? true : fail(in, KVI_JSON_INVALID);
}

typedef bool (*field_fn)(struct in *in, const char *key, size_t len, void *arg);

/* The same where a letter may stand as its escape. Names have letters and underscores only. */
static bool is_escaped(const char *key, size_t len, const char *name) {
    const char *end = key + len;
    for (; key < end && *name != '\0'; name++) {
        int c = *key == '\\' ? code_at(key, end) : *key;
        if (c != *name)
            return false;
        key += *key == '\\' ? 6 : 1;
    }
    return key == end && *name == '\0';
}

static bool is(const char *key, size_t len, const char *name) {
    size_t n = strlen(name);
    return len == n ? memcmp(key, name, n) == 0
                    : len > n && memchr(key, '\\', len) != NULL && is_escaped(key, len, name);
}

static bool object(struct in *in, field_fn fn, void *arg) {
    if (!take(in, '{'))
        return fail(in, KVI_JSON_INVALID);
    if (take(in, '}'))
        return true;
    do {
        const char *key;
        size_t len;
        if (!string(in, &key, &len) || (!take(in, ':') && !fail(in, KVI_JSON_INVALID)) ||
            !fn(in, key, len, arg))
            return false;
    } while (take(in, ','));
    return take(in, '}') ? true : fail(in, KVI_JSON_INVALID);
}

static bool keep(struct in *in, uint64_t v) {
    if (in->used == in->room)
        return fail(in, KVI_JSON_ROOM);
    in->scratch[in->used++] = v;
    return true;
}

/* The keys that an event may have once, and a block. */
enum key {
    K_WORKER = 1 << 0,
    K_TIER = 1 << 1,
    K_RESIDENCY = 1 << 2,
    K_EVENT = 1 << 3,
    K_EVENT_ID = 1 << 4,
    K_RANK = 1 << 5,
    K_DATA = 1 << 6,
    K_KIND = 1 << 7, /* "stored" or "removed" */
    K_PARENT = 1 << 8,
    K_START = 1 << 9,
    K_BLOCKS = 1 << 10,
    K_RECORD = 1 << 11,
    K_BLOCK_HASH = 1 << 12,
    K_TOKENS_HASH = 1 << 13,
    K_WHOLE_BLOCK = K_BLOCK_HASH | K_TOKENS_HASH
};

struct parsed {
    struct kvi_event e;
    uint64_t id;
    uint64_t block[2]; /* block hash, tokens hash */
    unsigned seen;     /* of enum key */
};

static bool once(struct in *in, struct parsed *p, enum key key) {
    if ((p->seen & key) != 0)
        return fail(in, KVI_JSON_INVALID);
    p->seen |= key;
    return true;
}

static bool block_field(struct in *in, const char *key, size_t len, void *arg) {
    struct parsed *p = arg;
    if (is(key, len, "block_hash"))
        return once(in, p, K_BLOCK_HASH) && number(in, &p->block[0]);
    if (is(key, len, "tokens_hash"))
        return once(in, p, K_TOKENS_HASH) && number(in, &p->block[1]);
    return skip(in);
}

static bool blocks(struct in *in, struct parsed *p) {
    if (!take(in, '['))
        return fail(in, KVI_JSON_INVALID);
    if (take(in, ']'))
        return true;
    do {
        p->seen &= ~(unsigned)K_WHOLE_BLOCK;
        if (!object(in, block_field, p))
            return false;
        if ((p->seen & K_WHOLE_BLOCK) != K_WHOLE_BLOCK)
            return fail(in, KVI_JSON_INVALID);
        if (!keep(in, p->block[0]) || !keep(in, p->block[1]))
            return false;
        p->e.n++;
    } while (take(in, ','));
    return take(in, ']') ? true : fail(in, KVI_JSON_INVALID);
}

static bool stored_field(struct in *in, const char *key, size_t len, void *arg) {
    struct parsed *p = arg;
    if (is(key, len, "parent_hash")) {
        if (!once(in, p, K_PARENT))
            return false;
        if (word(in, "null"))
            return true;
        p->e.has_parent = true;
        return number(in, &p->e.parent_hash);
    }
    if (is(key, len, "start_position"))
        return once(in, p, K_START) && (word(in, "null") || number32(in, &p->e.start_position));
    if (is(key, len, "blocks"))
        return once(in, p, K_BLOCKS) && blocks(in, p);
    return skip(in);
}

static bool removed_field(struct in *in, const char *key, size_t len, void *arg) {
    struct parsed *p = arg;
    uint64_t v;
    if (!is(key, len, "block_hashes"))
        return skip(in);
    if (!once(in, p, K_BLOCKS))
        return false;
    if (!take(in, '['))
        return fail(in, KVI_JSON_INVALID);
    if (take(in, ']'))
        return true;
    do {
        if (!number(in, &v) || !keep(in, v))
            return false;
        p->e.n++;
    } while (take(in, ','));
    return take(in, ']') ? true : fail(in, KVI_JSON_INVALID);
}

static bool data_field(struct in *in, const char *key, size_t len, void *arg) {
    struct parsed *p = arg;
    if (!once(in, p, K_KIND))
        return false;
    if (is(key, len, "stored")) {
        p->e.kind = KVI_STORED;
        return object(in, stored_field, p);
    }
    if (is(key, len, "removed")) {
        p->e.kind = KVI_REMOVED;
        return object(in, removed_field, p);
    }
    return fail(in, KVI_JSON_INVALID);
}

static bool event_field(struct in *in, const char *key, size_t len, void *arg) {
    struct parsed *p = arg;
    if (is(key, len, "event_id"))
        return once(in, p, K_EVENT_ID) && number(in, &p->id);
    if (is(key, len, "dp_rank"))
        return once(in, p, K_RANK) && number32(in, &p->e.worker.dp_rank);
    if (!is(key, len, "data"))
        return skip(in);
    if (!once(in, p, K_DATA))
        return false;
    if (peek(in) != '"')
        return object(in, data_field, p);
    p->e.kind = KVI_CLEARED;
    return string(in, &key, &len) && (is(key, len, "cleared") || fail(in, KVI_JSON_INVALID)) &&
           once(in, p, K_KIND);
}

static bool residency(struct in *in) {
    const char *s;
    size_t n;
    if (!string(in, &s, &n))
        return false;
    return is(s, n, "worker") ? true : fail(in, KVI_JSON_UNSUPPORTED);
}

static bool tier(struct in *in, struct parsed *p) {
    const char *s;
    size_t n;
    if (!string(in, &s, &n))
        return false;
    for (int t = 0; t < KVI_TIERS; t++)
        if (is(s, n, tier_names[t])) {
            p->e.tier = (enum kvi_tier)t;
            return true;
        }
    return fail(in, KVI_JSON_INVALID);
}

/* The fields of a RouterEvent; a stream record's `event` holds those of its own. */
static bool router_field(struct in *in, const char *key, size_t len, void *arg) {
    struct parsed *p = arg;
    if (is(key, len, "worker_id"))
        return once(in, p, K_WORKER) && number(in, &p->e.worker.worker_id);
    if (is(key, len, "storage_tier"))
        return once(in, p, K_TIER) && tier(in, p);
    if (is(key, len, "residency_domain"))
        return once(in, p, K_RESIDENCY) && residency(in);
    if (is(key, len, "event"))
        return once(in, p, K_EVENT) && object(in, event_field, p);
    return skip(in);
}

static bool record_field(struct in *in, const char *key, size_t len, void *arg) {
    if (is(key, len, "event"))
        return once(in, arg, K_RECORD) && object(in, router_field, arg);
    return skip(in);
}

static bool parse(struct in *in, field_fn fn, struct parsed *p) {
    *p = (struct parsed){0};
    unsigned needed = K_WORKER | K_KIND;
    return object(in, fn, p) && peek(in) == '\0' && in->at == in->end &&
           (p->seen & needed) == needed;
}

enum kvi_json_result kvi_event_from_json(const char *text, size_t len, uint64_t *scratch,
                                         size_t room, struct kvi_event *ret_event,
                                         uint64_t *ret_event_id) {
    struct in in = {text, text + len, KVI_JSON_OK, scratch, room, 0};
    struct parsed p;
    if (!parse(&in, router_field, &p)) {
        enum kvi_json_result first = in.error;
        in = (struct in){text, text + len, KVI_JSON_OK, scratch, room, 0};
        if (!parse(&in, record_field, &p)) {
            if (first == KVI_JSON_ROOM || first == KVI_JSON_UNSUPPORTED)
                return first;
            return in.error == KVI_JSON_OK ? KVI_JSON_INVALID : in.error;
        }
    }
    p.e.blocks = (const struct kvi_block *)(const void *)scratch;
    p.e.removed = scratch;
    *ret_event = p.e;
    *ret_event_id = p.id;
    return KVI_JSON_OK;
}
