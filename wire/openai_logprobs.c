/* Log probabilities of an answer (shared spec "frontend" 3.6): lists that grow item by item, so
 * that a whole answer costs no more than its pieces. */
#include "base/json.h"
#include "wire/openai_answer.h"

#include <stdio.h>

enum { CONTENT = 0, TOKENS = 0, LOGPROBS, TOPS, OFFSETS };

void weir_logprob_lists_init(struct weir_logprob_lists *lists, size_t max) {
    lists->text_offset = 0;
    for (size_t i = 0; i < WEIR_LOGPROB_LISTS; i++)
        weir_buf_init(&lists->list[i], max);
}

void weir_logprob_lists_fini(struct weir_logprob_lists *lists) {
    for (size_t i = 0; i < WEIR_LOGPROB_LISTS; i++)
        weir_buf_fini(&lists->list[i]);
}

void weir_logprob_lists_clear(struct weir_logprob_lists *lists) {
    for (size_t i = 0; i < WEIR_LOGPROB_LISTS; i++)
        weir_buf_clear(&lists->list[i]);
}

/* A writer that goes on behind what the list holds. */
static void begin(struct weir_jsonw *w, struct weir_buf *list) {
    enum weir_status st = list->len > 0 ? weir_buf_append_c(list, ',') : WEIR_OK;
    weir_jsonw_init(w, list);
    w->status = st;
}

static struct weir_span name_of(uint32_t id, struct weir_span text, bool as_ids, char room[32]) {
    if (!as_ids)
        return text;
    int n = snprintf(room, 32, "token_id:%u", id);
    return weir_span(room, (size_t)n);
}

static void put_entry(struct weir_jsonw *w, uint32_t id, struct weir_span text, double logprob,
                      bool as_ids, bool with_id) {
    char room[32];
    weir_jsonw_key(w, "token");
    weir_jsonw_string(w, name_of(id, text, as_ids, room));
    weir_jsonw_key(w, "logprob");
    weir_jsonw_f64(w, logprob);
    if (with_id) {
        weir_jsonw_key(w, "token_id");
        weir_jsonw_u64(w, id);
    }
    weir_jsonw_key(w, "bytes");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < text.len; i++)
        weir_jsonw_u64(w, (unsigned char)text.data[i]);
    weir_jsonw_array_end(w);
}

/* The text of an alternative; `room` is empty. */
static enum weir_status text_of(const struct weir_top_logprob *t,
                                const struct weir_logprob_names *names, struct weir_buf *room,
                                struct weir_span *ret) {
    *ret = t->token;
    if (t->token.data != NULL)
        return WEIR_OK;
    enum weir_status st = names->bytes_of(names->arg, t->token_id, room);
    *ret = weir_buf_span(room);
    return st;
}

/* Alternatives; the sampled token is one of them, whatever the worker lists. */
static enum weir_status put_tops(struct weir_jsonw *w, const struct weir_token_logprob *t,
                                 uint32_t sampled, struct weir_span text,
                                 const struct weir_logprob_names *names) {
    struct weir_buf room;
    enum weir_status st = WEIR_OK;
    bool there = false;
    weir_buf_init(&room, 1 << 20);
    for (size_t k = 0; k < t->n_top && st == WEIR_OK; k++) {
        struct weir_span name;
        weir_buf_clear(&room);
        st = text_of(&t->top[k], names, &room, &name);
        there |= t->top[k].token_id == sampled;
        weir_jsonw_object_begin(w);
        put_entry(w, t->top[k].token_id, name, t->top[k].logprob, names->as_ids, false);
        weir_jsonw_object_end(w);
    }
    weir_buf_fini(&room);
    if (!there && st == WEIR_OK) {
        weir_jsonw_object_begin(w);
        put_entry(w, sampled, text, t->logprob, names->as_ids, false);
        weir_jsonw_object_end(w);
    }
    return st;
}

static enum weir_status add_chat(struct weir_logprob_lists *lists,
                                 const struct weir_token_logprob *t, uint32_t id,
                                 struct weir_span text, int top,
                                 const struct weir_logprob_names *names) {
    struct weir_jsonw w;
    enum weir_status st = WEIR_OK;
    begin(&w, &lists->list[CONTENT]);
    weir_jsonw_object_begin(&w);
    put_entry(&w, id, text, t->logprob, names->as_ids, true);
    weir_jsonw_key(&w, "top_logprobs");
    weir_jsonw_array_begin(&w);
    if (top != 0)
        st = put_tops(&w, t, id, text, names);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return st == WEIR_OK ? w.status : st;
}

static size_t n_characters(struct weir_span text) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return n;
}

/* Of one token's alternatives. */
struct map_keys {
    struct weir_buf text, ends; /* the keys, one behind the other; size_t: where each ends */
};

static enum weir_status add_key(struct map_keys *m, struct weir_span name) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, &m->text);
    weir_jsonw_string(&w, name);
    return w.status == WEIR_OK ? weir_buf_append(&m->ends, &m->text.len, sizeof(m->text.len))
                               : w.status;
}

static struct weir_span key_at(const struct map_keys *m, size_t k) {
    const size_t *ends = (const size_t *)(const void *)m->ends.data;
    size_t begin = k > 0 ? ends[k - 1] : 0;
    return weir_span(m->text.data + begin, ends[k] - begin);
}

static bool comes_again(const struct map_keys *m, size_t k) {
    for (size_t i = k + 1; i < m->ends.len / sizeof(size_t); i++)
        if (weir_span_eq(key_at(m, i), key_at(m, k)))
            return true;
    return false;
}

/* All alternatives that the worker lists, whatever number was asked for, and the sampled token. Of
 * names that are written alike (bytes that are no character by themselves all are) the last counts,
 * as it does to whoever reads such an object. */
static enum weir_status put_map(struct weir_jsonw *w, const struct weir_token_logprob *t,
                                uint32_t sampled, struct weir_span sampled_text,
                                const struct weir_logprob_names *names) {
    struct weir_buf room;
    struct map_keys keys;
    struct weir_span text;
    enum weir_status st = WEIR_OK;
    bool there = false;
    char id[32];
    weir_buf_init(&room, 1 << 20);
    weir_buf_init(&keys.text, 16 << 20);
    weir_buf_init(&keys.ends, 16 << 20);
    for (size_t k = 0; k < t->n_top && st == WEIR_OK; k++) {
        weir_buf_clear(&room);
        st = text_of(&t->top[k], names, &room, &text);
        there |= t->top[k].token_id == sampled;
        if (st == WEIR_OK)
            st = add_key(&keys, name_of(t->top[k].token_id, text, names->as_ids, id));
    }
    if (st == WEIR_OK && !there)
        st = add_key(&keys, name_of(sampled, sampled_text, names->as_ids, id));
    weir_jsonw_object_begin(w);
    for (size_t k = 0; k < t->n_top + !there && st == WEIR_OK; k++) {
        if (comes_again(&keys, k))
            continue;
        text = key_at(&keys, k);
        weir_jsonw_key_text(w, weir_span(text.data + 1, text.len - 2)); /* escaped already */
        weir_jsonw_f64(w, k < t->n_top ? t->top[k].logprob : t->logprob);
    }
    weir_jsonw_object_end(w);
    weir_buf_fini(&room);
    weir_buf_fini(&keys.text);
    weir_buf_fini(&keys.ends);
    return st == WEIR_OK ? w->status : st;
}

static enum weir_status add_completion(struct weir_logprob_lists *lists,
                                       const struct weir_token_logprob *t, uint32_t id,
                                       struct weir_span text, int top,
                                       const struct weir_logprob_names *names) {
    struct weir_jsonw w;
    char room[32];
    (void)top;
    begin(&w, &lists->list[TOKENS]);
    weir_jsonw_string(&w, name_of(id, text, names->as_ids, room));
    enum weir_status st = w.status;
    if (st == WEIR_OK) {
        begin(&w, &lists->list[LOGPROBS]);
        weir_jsonw_f64(&w, t->logprob);
        st = w.status;
    }
    /* A worker that gives no lists leaves them out of the answer. */
    if (st == WEIR_OK && t->top != NULL) {
        begin(&w, &lists->list[TOPS]);
        st = put_map(&w, t, id, text, names);
    }
    if (st == WEIR_OK) {
        begin(&w, &lists->list[OFFSETS]);
        weir_jsonw_u64(&w, lists->text_offset);
        st = w.status;
    }
    lists->text_offset += n_characters(text);
    return st;
}

enum weir_status weir_logprob_lists_add(struct weir_logprob_lists *lists,
                                        enum weir_openai_kind kind, const struct weir_output *item,
                                        size_t n_tokens, int top,
                                        const struct weir_logprob_names *names) {
    struct weir_buf bytes;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&bytes, 1 << 20);
    for (size_t i = 0; i < n_tokens && st == WEIR_OK; i++) {
        uint32_t id = item->token_ids.ids[i];
        weir_buf_clear(&bytes);
        st = names->bytes_of(names->arg, id, &bytes);
        struct weir_span text = weir_buf_span(&bytes);
        if (st == WEIR_OK)
            st = (kind == WEIR_OPENAI_CHAT ? add_chat : add_completion)(lists, &item->logprobs[i],
                                                                        id, text, top, names);
    }
    weir_buf_fini(&bytes);
    return st;
}

enum weir_status weir_logprob_lists_json(const struct weir_logprob_lists *lists,
                                         enum weir_openai_kind kind, struct weir_buf *out) {
    static const char *const completion[] = {"{\"tokens\":[", "],\"token_logprobs\":[",
                                             "],\"top_logprobs\":[", "],\"text_offset\":["};
    enum weir_status st = WEIR_OK;
    if (kind == WEIR_OPENAI_CHAT) {
        st = weir_buf_append_z(out, "{\"content\":[");
        if (st == WEIR_OK)
            st = weir_buf_append_span(out, weir_buf_span(&lists->list[CONTENT]));
        return st == WEIR_OK ? weir_buf_append_z(out, "],\"refusal\":null}") : st;
    }
    for (size_t i = 0; i < WEIR_LOGPROB_LISTS && st == WEIR_OK; i++) {
        st = weir_buf_append_z(out, completion[i]);
        if (st == WEIR_OK)
            st = weir_buf_append_span(out, weir_buf_span(&lists->list[i]));
    }
    return st == WEIR_OK ? weir_buf_append_z(out, "]}") : st;
}
