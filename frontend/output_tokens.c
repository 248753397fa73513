/*
 * Tokens of a stream, which are nearly all items: one id of the only choice, and text that nobody
 * looks at before the client does. Those that came together are counted and written together; each
 * still has a frame of its own.
 */
#include "base/json.h"
#include "frontend/request_priv.h"

#include <string.h>

/* Its text is looked at by nobody before the client, and its chunks differ in nothing else. */
static bool is_plain(const struct weir_leg *leg, const struct weir_choice *c) {
    const struct weir_request *r = leg->request;
    if (leg->n_choices != 1 || c->finish != NULL || c->stop != NULL || c->parsed != NULL ||
        r->q.logprobs || r->warms || r->x == NULL)
        return false;
    return !r->q.stream || (c->frame_bytes.len > 0 && !r->q.continuous_usage && r->out.len == 0);
}

/* Ids that end the choice, or are to be counted against min_tokens, go the long way. */
static size_t n_unwatched(const struct weir_stop_conditions *stop, const uint32_t *ids, size_t n) {
    size_t i = 0;
    if (stop->stop_token_ids_hidden.n == 0 && stop->stop_token_ids.n == 0)
        return n;
    while (i < n && !weir_output_listed(stop->stop_token_ids_hidden, ids[i]) &&
           !weir_output_listed(stop->stop_token_ids, ids[i]))
        i++;
    return i;
}

/* Without a copy where that is possible. */
static enum weir_status put_one(struct weir_leg *leg, struct weir_choice *c,
                                struct weir_span text) {
    char *p = weir_json_plain(text)
                  ? weir_http_stream_room(leg->request->x, weir_answer_plain_bytes(&c->frame, text))
                  : NULL;
    if (p != NULL) {
        weir_answer_plain_chunk(&c->frame, text, p);
        return WEIR_OK;
    }
    enum weir_status st = weir_output_piece(leg, c, text);
    if (st == WEIR_OK)
        weir_output_flush(leg->request);
    return st;
}

/* Texts of tokens that came together, as they stand between the quotes: plain ones in the choice's
 * text, the others in the request's `out`. */
struct texts {
    size_t n, bytes; /* bytes: of the texts */
    struct {
        bool plain;
        size_t at, len;
    } of[WEIR_PLANE_TOKENS];
};

static enum weir_status add_text(struct texts *t, struct weir_request *r,
                                 const struct weir_choice *c, size_t from) {
    struct weir_span text = weir_span(c->text.data + from, c->text.len - from);
    bool plain = weir_json_plain(text);
    if (!plain) {
        size_t at = r->out.len;
        struct weir_jsonw w;
        weir_jsonw_init(&w, &r->out);
        weir_jsonw_string(&w, text);
        if (w.status != WEIR_OK) {
            r->out.len = at;
            return w.status;
        }
        from = at + 1;
        text.len = r->out.len - at - 2;
    }
    t->of[t->n].plain = plain;
    t->of[t->n].at = from;
    t->of[t->n].len = text.len;
    t->n++;
    t->bytes += text.len;
    return WEIR_OK;
}

static char *put(char *p, struct weir_span s) {
    memcpy(p, s.data, s.len);
    return p + s.len;
}

/* A frame for each text; what stands between two texts is copied in one piece. */
static void put_frames(const struct texts *t, const struct weir_request *r,
                       const struct weir_choice *c, char *p) {
    const struct weir_answer_frame *f = &c->frame;
    p = put(p, f->before);
    *p++ = '"';
    for (size_t i = 0; i < t->n; i++) {
        const char *from = t->of[i].plain ? c->text.data : r->out.data;
        p = put(p, weir_span(from + t->of[i].at, t->of[i].len));
        if (i + 1 < t->n)
            p = put(p, f->between);
    }
    *p++ = '"';
    put(p, f->after);
}

/* Into the answer's queue at once, or, where that does not go, by way of a buffer. */
static enum weir_status put_texts(const struct texts *t, struct weir_request *r,
                                  struct weir_choice *c) {
    const struct weir_answer_frame *f = &c->frame;
    if (t->n == 0)
        return WEIR_OK;
    size_t bytes = t->bytes + t->n * f->between.len;
    char *p = weir_http_stream_room(r->x, bytes);
    if (p != NULL) {
        put_frames(t, r, c, p);
        weir_buf_clear(&r->out);
        return WEIR_OK;
    }
    size_t json = r->out.len;
    enum weir_status st = weir_buf_reserve(&r->out, bytes);
    if (st != WEIR_OK)
        return st;
    put_frames(t, r, c, r->out.data + json);
    r->out.len += bytes;
    weir_buf_consume(&r->out, json);
    weir_output_flush(r);
    return WEIR_OK;
}

static enum weir_status push(struct weir_leg *leg, struct weir_choice *c, uint32_t id) {
    uint64_t begin = weir_output_decode_begins(c);
    c->n_tokens++;
    /* Engines pad their vocabulary: an id that the tokenizer does not know has no text. */
    enum weir_status st = id < wtok_vocab_size(c->decoder.tok)
                              ? wtok_stream_push(&c->decoder, id, &c->text)
                              : WEIR_OK;
    if (begin != 0)
        weir_output_decode_ended(leg, begin, 1);
    return st;
}

static enum weir_status put_many(struct weir_leg *leg, struct weir_choice *c, const uint32_t *ids,
                                 size_t n) {
    struct weir_request *r = leg->request;
    struct texts t;
    enum weir_status st = WEIR_OK;
    t.n = t.bytes = 0;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        size_t from = c->text.len;
        st = push(leg, c, ids[i]);
        if (st == WEIR_OK && c->text.len > from)
            st = add_text(&t, r, c, from);
    }
    enum weir_status sent = put_texts(&t, r, c); /* what is good of a run that is not */
    weir_buf_clear(&c->text);
    return st != WEIR_OK ? st : sent;
}

size_t weir_output_tokens(struct weir_leg *leg, const uint32_t *ids, size_t n,
                          enum weir_status *ret_status) {
    struct weir_request *r = leg->request;
    struct weir_choice *c = leg->choices;
    enum weir_status st = WEIR_OK;
    if (!is_plain(leg, c))
        return 0;
    n = n_unwatched(&r->q.prep.stop, ids, n);
    if (n == 0)
        return 0;
    /* The gap before them is that of the first. */
    weir_output_observe(leg, 1);
    weir_output_observe(leg, n - 1);
    /* What `nvext` says may differ from frame to frame. */
    if (r->q.stream && n > 1 && (r->q.extras & (WEIR_EXTRAS | WEIR_ANNOTATE_QUERY_INSTANCE)) == 0) {
        *ret_status = put_many(leg, c, ids, n);
        return n;
    }
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        st = push(leg, c, ids[i]);
        if (r->q.stream && st == WEIR_OK && c->text.len > 0)
            st = put_one(leg, c, weir_buf_span(&c->text));
        if (r->q.stream)
            weir_buf_clear(&c->text);
    }
    *ret_status = st;
    return n;
}
