/* What the files share that shape a request as its engine does: chat_shape.c, chat_vllm.c,
 * chat_sglang.c. */
#ifndef WEIR_TOKENIZER_CHAT_SHAPE_PRIV_H
#define WEIR_TOKENIZER_CHAT_SHAPE_PRIV_H

#include "tokenizer/chat_priv.h"

static inline bool has(struct wj_val v) {
    return v.kind != WJ_MISSING && v.kind != WJ_NONE;
}

static inline bool is_text(struct wj_val v, const char *text) {
    struct weir_span t = weir_span_z(text);
    return v.kind == WJ_STR && v.len == t.len && wj_same_text(v.u.s, t);
}

/* Which of the names a key is, or n. */
static inline size_t name_of(struct wj_run *x, struct wj_val key, const struct weir_span *names,
                             size_t n) {
    for (size_t i = 0; i < n; i++)
        if (key.len == names[i].len && key.kind == WJ_STR &&
            wj_same_text(wj_text(x, key).data, names[i]))
            return i;
    return n;
}

/* Several members of a dict in one walk; absent ones become MISSING. */
static inline void members(struct wj_run *x, struct wj_val dict, const struct weir_span *names,
                           size_t n, struct wj_val *ret) {
    for (size_t i = 0; i < n; i++)
        ret[i] = (struct wj_val){.kind = WJ_MISSING};
    if (dict.kind != WJ_DICT)
        return;
    for (uint32_t i = 0; i < dict.u.dict->n; i++) {
        size_t which = name_of(x, dict.u.dict->pairs[i].key, names, n);
        if (which < n)
            ret[which] = dict.u.dict->pairs[i].value;
    }
}

/* A dict whose first keys are these, in this order. */
static inline bool begins_with(struct wj_run *x, struct wj_val dict, const struct weir_span *names,
                               uint32_t n) {
    if (dict.kind != WJ_DICT || dict.u.dict->n < n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (name_of(x, dict.u.dict->pairs[i].key, names + i, 1) == 1)
            return false;
    return true;
}

/* Those that have none of the names. */
static inline void add_other_members(struct wj_run *x, struct wj_val to, struct wj_val from,
                                     const struct weir_span *names, size_t n) {
    for (uint32_t i = 0; i < from.u.dict->n; i++) {
        const struct wj_pair *p = &from.u.dict->pairs[i];
        if (name_of(x, p->key, names, n) == n)
            wj_dict_set(x, to.u.dict, p->key, p->value);
    }
}

static inline _Noreturn void bad_message(struct wj_run *x, const char *text) {
    wj_fail(x, WTOK_JINJA_ERR_VALUE, "%s", text);
}

static inline struct wj_val or_null(struct wj_val v) {
    return has(v) ? v : wj_none();
}

/* chat_shape.c */
/* Text of a part, or MISSING; *ret_media names what else it is, "" what nobody knows. */
struct wj_val wtok_part_text(struct wj_run *x, struct wj_val part, bool sglang,
                             const char **ret_media);
/* {type, text}; without the text where that is MISSING. */
struct wj_val wtok_typed_part(struct wj_run *x, const char *type, struct wj_val text);
struct wj_val wtok_join_texts(struct wj_run *x, const struct wj_vec *texts, const char *sep);
/* Fails: a part that is no text, where only texts are wanted. */
void wtok_refuse_part(struct wj_run *x, struct wj_val part, const char *media);
/* All parts of the list are texts; these, joined. */
bool wtok_all_text(struct wj_run *x, struct wj_val list);
struct wj_val wtok_joined_texts(struct wj_run *x, struct wj_val list, const char *sep);
/* A value with each number as `number` has it; the same value where none changes, which is nearly
 * always. */
struct wj_val wtok_map_numbers(struct wj_run *x, struct wj_val v,
                               struct wj_val (*number)(struct wj_val));
/* chat_vllm.c, chat_sglang.c: one message, one tool whose function is an object. `normal`: types of
 * its schema get the names of JSON Schema, as of all tools that may be called. */
struct wj_val wtok_vllm_message(struct wj_run *x, struct wj_val m, bool parts, bool for_dynamo);
struct wj_val wtok_vllm_tool(struct wj_run *x, struct wj_val tool);
struct wj_val wtok_dynamo_tool(struct wj_run *x, struct wj_val tool);
struct wj_val wtok_sglang_message(struct wj_run *x, struct wj_val m, bool parts);
struct wj_val wtok_sglang_tool(struct wj_run *x, struct wj_val tool, bool normal);

#endif
