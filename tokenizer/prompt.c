/*
 * A rendered prompt with strings that are lent. It is encoded in parts, which end at places over
 * which no word reaches (parts.c): one in the beginning of each lent string and one at its end,
 * both within the edges that the text has as well. So every part lies in the text or in a string,
 * and nothing is copied.
 */
#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/chat_priv.h"
#include "tokenizer/encode_priv.h"
#include "tokenizer/wtok_priv.h"

enum { EDGE = WTOK_LENT_EDGE };

void wtok_prompt_init(struct wtok_prompt *p, size_t max_bytes) {
    weir_buf_init(&p->text, max_bytes);
    weir_arena_init(&p->arena, WTOK_RENDER_ARENA);
    p->n_lent = p->n_middle = 0;
    p->tail = weir_span(NULL, 0);
}

void wtok_prompt_fini(struct wtok_prompt *p) {
    weir_buf_fini(&p->text);
    weir_arena_fini(&p->arena);
}

size_t wtok_prompt_bytes(const struct wtok_prompt *p) {
    return p->text.len + p->n_middle + p->tail.len;
}

bool wtok_prompt_lend(struct wtok_prompt *p, struct weir_span string) {
    const char *end = string.data + string.len;
    size_t middle = string.len - 2 * (size_t)EDGE;
    if (p->n_lent == WTOK_LENT || string.len > p->text.max ||
        wtok_prompt_bytes(p) > p->text.max - string.len ||
        weir_buf_reserve(&p->text, 2 * (size_t)EDGE) != WEIR_OK)
        return false;
    if (weir_buf_append(&p->text, string.data, EDGE) != WEIR_OK)
        return false;
    p->lent[p->n_lent++] = (struct wtok_lent){.at = p->text.len, .string = string};
    p->n_middle += middle;
    return weir_buf_append(&p->text, end - EDGE, EDGE) == WEIR_OK;
}

enum weir_status wtok_prompt_join(struct wtok_prompt *p) {
    struct weir_buf whole;
    size_t done = 0;
    if (p->n_lent == 0)
        return WEIR_OK;
    weir_buf_init(&whole, p->text.max);
    enum weir_status st = weir_buf_reserve(&whole, p->text.len + p->n_middle);
    for (size_t i = 0; st == WEIR_OK && i < p->n_lent; i++) {
        const struct wtok_lent *l = &p->lent[i];
        st = weir_buf_append(&whole, p->text.data + done, l->at - done);
        if (st == WEIR_OK)
            st = weir_buf_append(&whole, l->string.data + EDGE, l->string.len - 2 * (size_t)EDGE);
        done = l->at;
    }
    if (st == WEIR_OK)
        st = weir_buf_append(&whole, p->text.data + done, p->text.len - done);
    if (st == WEIR_OK) {
        weir_buf_move(&p->text, &whole);
        p->n_lent = p->n_middle = 0;
    }
    weir_buf_fini(&whole);
    return st;
}

enum weir_status wtok_render_prompt(const struct wtok *tok, const struct wtok_chat *chat,
                                    struct wtok_prompt *p, struct weir_err *err) {
    return tok->chat == NULL ? wtok_render_chat(tok, chat, &p->text, err)
                             : wtok_template_render_prompt(tok->chat, chat, p, err);
}

/* Where a lent string may be cut: in its first edge, and in its last. */
struct cuts {
    size_t head, tail; /* from the beginning of the edge */
};

/* The last place that is found soon: what is behind it is encoded anew each time. */
static size_t last_cut(const struct wtok_model *m, struct weir_span edge) {
    size_t at = EDGE;
    for (size_t left = EDGE / 16; at == EDGE && left <= EDGE; left *= 4)
        at = wtok_next_cut(m, edge, EDGE - left);
    return at;
}

static bool find_cuts(const struct wtok_model *m, struct weir_span s, struct cuts *ret) {
    ret->head = wtok_next_cut(m, weir_span(s.data, EDGE), 0);
    ret->tail = last_cut(m, weir_span(s.data + s.len - EDGE, EDGE));
    return ret->head < EDGE && ret->tail < EDGE;
}

static bool find_all(const struct wtok_model *m, const struct wtok_prompt *p, struct cuts *cuts) {
    bool all = m != NULL && m->may_be_cut && p->n_lent > 0;
    for (size_t i = 0; all && i < p->n_lent; i++)
        all = find_cuts(m, p->lent[i].string, &cuts[i]);
    return all;
}

/* The next part of a prompt. */
static enum weir_status encode_part(const struct wtok_model *m, const char *begin, const char *end,
                                    unsigned *flags, struct wtok_out *out) {
    size_t n = 0;
    enum weir_status st = wtok_model_encode(m, weir_span(begin, (size_t)(end - begin)), *flags,
                                            out->ids + out->n, out->room - out->n, &n);
    out->n += n;
    *flags |= WTOK_CONTINUES;
    return st;
}

static enum weir_status encode_text(const struct wtok *tok, struct wtok_prompt *p, unsigned flags,
                                    struct wtok_out *out) {
    struct cuts cuts[WTOK_LENT];
    if (!find_all(tok->model, p, cuts)) {
        enum weir_status st = wtok_prompt_join(p);
        return st != WEIR_OK
                   ? st
                   : wtok_encode(tok, weir_buf_span(&p->text), flags, out->ids, out->room, &out->n);
    }
    const char *done = p->text.data;
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; st == WEIR_OK && i < p->n_lent; i++) {
        const char *at = p->text.data + p->lent[i].at;
        struct weir_span s = p->lent[i].string;
        st = encode_part(tok->model, done, at - EDGE + cuts[i].head, &flags, out);
        if (st == WEIR_OK)
            st = encode_part(tok->model, s.data + cuts[i].head,
                             s.data + s.len - EDGE + cuts[i].tail, &flags, out);
        done = at + cuts[i].tail;
    }
    if (st == WEIR_OK)
        st = encode_part(tok->model, done, p->text.data + p->text.len, &flags, out);
    return st;
}

/* The id of the configuration's bos_token; *ret_n is 0 when it is not one id. */
static enum weir_status begin_of_text(const struct wtok *tok, uint32_t *ret_id, size_t *ret_n) {
    struct weir_span raw;
    struct weir_json j;
    struct weir_json_str s;
    struct weir_arena arena;
    enum weir_status st = WEIR_OK;
    *ret_n = 0;
    if (tok->chat == NULL || !weir_json_member(tok->chat->tokens, "bos_token", &raw))
        return WEIR_OK;
    weir_arena_init(&arena, (size_t)1 << 20);
    weir_json_init(&j, raw, 1);
    if (weir_json_string(&j, &s)) {
        struct weir_span text = weir_json_text(s, &arena);
        st = text.data == NULL
                 ? WEIR_NOMEM
                 : wtok_encode(tok, text, WTOK_SPECIAL | WTOK_NO_CACHE, ret_id, 1, ret_n);
    }
    weir_arena_fini(&arena);
    return st == WEIR_TOO_LARGE ? WEIR_OK : st;
}

/* As a text of its own is encoded, without the begin of text that it then has. */
static enum weir_status encode_tail(const struct wtok *tok, struct weir_span tail,
                                    struct wtok_out *out) {
    size_t n = 0, n_bos = 0;
    uint32_t *ids = out->ids + out->n, bos = 0;
    enum weir_status st =
        wtok_encode(tok, tail, WTOK_SPECIAL | WTOK_ADD_SPECIAL, ids, out->room - out->n, &n);
    if (st == WEIR_OK && n > 0)
        st = begin_of_text(tok, &bos, &n_bos);
    if (st == WEIR_OK && n_bos == 1 && ids[0] == bos)
        memmove(ids, ids + 1, --n * sizeof(*ids));
    out->n += n;
    return st;
}

enum weir_status wtok_encode_prompt(const struct wtok *tok, struct wtok_prompt *p, unsigned flags,
                                    uint32_t *ids, size_t room, size_t *ret_n) {
    struct wtok_out out = {.ids = ids, .room = room};
    enum weir_status st = encode_text(tok, p, flags, &out);
    if (st == WEIR_OK && p->tail.len > 0)
        st = encode_tail(tok, p->tail, &out);
    if (st == WEIR_OK)
        *ret_n = out.n;
    return st;
}
