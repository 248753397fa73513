/*
 * One writer and one reader over both payload codecs, so that each message is described once.
 * Maps and arrays of MessagePack get 16-bit heads (32-bit for arrays) whose counts are filled in at
 * the end. The first failure sticks; check once.
 */
#ifndef WEIR_WIRE_CODEC_PRIV_H
#define WEIR_WIRE_CODEC_PRIV_H

#include "base/json.h"
#include "base/member.h"
#include "base/msgpack.h"
#include "wire/control.h"

struct weir_enc {
    enum weir_codec codec;
    struct weir_buf *buf;
    struct weir_jsonw j;
    struct weir_mpw m;
};
/* Place and number of entries of an open map or array. */
struct weir_enc_box {
    size_t mark;
    uint32_t n;
};

void weir_enc_init(struct weir_enc *e, enum weir_codec codec, struct weir_buf *out);
enum weir_status weir_enc_status(const struct weir_enc *e);
void weir_enc_map(struct weir_enc *e, struct weir_enc_box *box);
void weir_enc_map_end(struct weir_enc *e, struct weir_enc_box *box);
void weir_enc_key_text(struct weir_enc *e, struct weir_enc_box *box, struct weir_span key);
static inline void weir_enc_key(struct weir_enc *e, struct weir_enc_box *box, const char *key) {
    weir_enc_key_text(e, box, weir_span_z(key));
}
void weir_enc_array(struct weir_enc *e, uint32_t n);
void weir_enc_array_end(struct weir_enc *e);
void weir_enc_str(struct weir_enc *e, struct weir_span s); /* data NULL: null */
void weir_enc_u64(struct weir_enc *e, uint64_t v);
void weir_enc_i64(struct weir_enc *e, int64_t v);
void weir_enc_f64(struct weir_enc *e, double v); /* NAN: null */
void weir_enc_bool(struct weir_enc *e, bool v);
void weir_enc_null(struct weir_enc *e);
void weir_enc_ids(struct weir_enc *e, const uint32_t *ids, size_t n);
/* Shortest MessagePack forms of n ids at p, where 5 * n + WEIR_ID_SLACK bytes may be overwritten;
 * returns their end. */
enum { WEIR_ID_SLACK = 64 };
char *weir_enc_put_ids(char *p, const uint32_t *ids, size_t n);
/* The ways to do it, slowest first; NULL: this processor has no such one. */
typedef char *(*weir_put_ids_fn)(char *p, const uint32_t *ids, size_t n);
weir_put_ids_fn weir_put_ids_kernel(size_t i);
/* A JSON value, converted when the codec is MessagePack. */
void weir_enc_json(struct weir_enc *e, struct weir_span json);

struct weir_dec {
    enum weir_codec codec;
    struct weir_json j;
    struct weir_mp m;
    struct weir_arena *arena; /* borrowed: unescaped strings */
    bool nomem;
    char name[64]; /* a member's that was escaped; none of ours is longer */
};
struct weir_dec_box {
    uint32_t left;
    struct weir_members members; /* of a map */
};
void weir_dec_init(struct weir_dec *d, enum weir_codec codec, struct weir_span bytes,
                   struct weir_arena *arena);
/* No failure, and nothing but the value was there. */
bool weir_dec_finish(struct weir_dec *d);
bool weir_dec_failed(const struct weir_dec *d);
bool weir_dec_fail(struct weir_dec *d);
bool weir_dec_is_null(struct weir_dec *d); /* looks only */
enum weir_json_type weir_dec_type(struct weir_dec *d);
bool weir_dec_map(struct weir_dec *d, struct weir_dec_box *box);
/* The name holds until the next member of any map is read. */
bool weir_dec_map_next(struct weir_dec *d, struct weir_dec_box *box, struct weir_span *ret_key);
/* The member's name is this one; asked in the same order for each member of a map. The reading
 * fails when it stands there twice. */
static inline bool weir_dec_is(struct weir_dec *d, struct weir_dec_box *box, struct weir_span key,
                               const char *name) {
    bool found = weir_member_is(&box->members, key, name);
    if (box->members.twice)
        weir_dec_fail(d);
    return found;
}
/* The same, and the value is not null. */
static inline bool weir_dec_is_set(struct weir_dec *d, struct weir_dec_box *box,
                                   struct weir_span key, const char *name) {
    return weir_dec_is(d, box, key, name) && !weir_dec_is_null(d);
}
bool weir_dec_array(struct weir_dec *d, struct weir_dec_box *box);
bool weir_dec_array_next(struct weir_dec *d, struct weir_dec_box *box);
bool weir_dec_str(struct weir_dec *d, struct weir_span *ret);
bool weir_dec_u64(struct weir_dec *d, uint64_t *ret);
bool weir_dec_i64(struct weir_dec *d, int64_t *ret);
bool weir_dec_f64(struct weir_dec *d, double *ret);
bool weir_dec_bool(struct weir_dec *d, bool *ret);
/* Passes over a value; *ret_raw (may be NULL): its bytes in the codec. */
bool weir_dec_skip(struct weir_dec *d, struct weir_span *ret_raw);
/* How many elements the array has that stands there; 0 where none does. Looks only. */
size_t weir_dec_count(struct weir_dec d);
/* Zeros in the arena, at least one byte. NULL: no memory, and the reading has failed. */
void *weir_dec_zalloc(struct weir_dec *d, size_t bytes);
/* An array of strings, in the arena. */
bool weir_dec_strings(struct weir_dec *d, const struct weir_span **ret_items, size_t *ret_n);
/* Raw value as JSON text (converted into the arena when needed); null gives data NULL. */
bool weir_dec_json(struct weir_dec *d, struct weir_span *ret);

#endif
