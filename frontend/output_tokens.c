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
    return !r->q.stream || (c->frame_bytes.len > 0 && !r->q.continuous_usage && r->out.len == 0 &&
                            !weir_output_nvext_due(leg, c));
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

/* Texts of tokens that came together, as they stand between the quotes. */
struct texts {
    size_t n, bytes; /* bytes: of the texts */
    struct place {
        size_t at, len;
    } of[WEIR_PLANE_TOKENS]; /* in the choice's text */
};

/* Appends text[from, to) as JSON has it behind the text. */
static enum weir_status escape(struct weir_buf *text, size_t from, size_t to, struct place *ret) {
    enum { LONGEST = 6 }; /* \u0000: what is read must not move while this is written */
    enum weir_status st = weir_buf_reserve(text, LONGEST * (to - from) + 2);
    if (st != WEIR_OK)
        return st;
    size_t at = text->len;
    struct weir_jsonw w;
    weir_jsonw_init(&w, text);
    weir_jsonw_string(&w, weir_span(text->data + from, to - from));
    *ret = (struct place){at + 1, text->len - at - 2};
    return w.status;
}

static bool begins_inside_character(const char *text) {
    return ((unsigned char)*text & 0xC0) == 0x80;
}

/* The texts that end at `ends`. All are looked at in one go, from one that has something to escape
 * to the next; nearly none has. */
static enum weir_status find_texts(struct weir_buf *text, const size_t *ends, size_t n,
                                   struct texts *t) {
    size_t all = text->len, from = 0;
    size_t verbatim = weir_json_verbatim(weir_buf_span(text));
    enum weir_status st = WEIR_OK;
    t->n = t->bytes = 0;
    for (size_t i = 0; i < n && st == WEIR_OK; from = ends[i++]) {
        struct place *p = &t->of[t->n];
        if (ends[i] == from)
            continue;
        *p = (struct place){from, ends[i] - from};
        if (ends[i] > verbatim || begins_inside_character(text->data + from)) {
            st = escape(text, from, ends[i], p);
            verbatim = ends[i] + weir_json_verbatim(weir_span(text->data + ends[i], all - ends[i]));
        }
        if (st == WEIR_OK) {
            t->n++;
            t->bytes += p->len;
        }
    }
    return st;
}

static char *put(char *p, struct weir_span s) {
    memcpy(p, s.data, s.len);
    return p + s.len;
}

/* Most texts are a word: that many bytes may be read and written in any case. */
enum { WORD = 16 };
static char *put_word(char *p, struct weir_span s) {
    if (s.len > WORD)
        return put(p, s);
    memcpy(p, s.data, WORD);
    return p + s.len;
}

/* A frame for each text; what stands between two texts is copied in one piece. */
static void put_frames(const struct texts *t, const struct weir_choice *c, char *p) {
    const struct weir_answer_frame *f = &c->frame;
    const char *text = c->text.data;
    size_t last = t->n - 1;
    p = put(p, f->before);
    *p++ = '"';
    for (size_t i = 0; i < last; i++) {
        p = put_word(p, weir_span(text + t->of[i].at, t->of[i].len));
        p = put(p, f->between);
    }
    p = put(p, weir_span(text + t->of[last].at, t->of[last].len));
    *p++ = '"';
    put(p, f->after);
}

/* Into the answer's queue at once, or, where that does not go, by way of a buffer. */
static enum weir_status put_texts(const struct texts *t, struct weir_request *r,
                                  struct weir_choice *c) {
    size_t bytes = t->bytes + t->n * c->frame.between.len;
    if (t->n == 0)
        return WEIR_OK;
    enum weir_status st = weir_buf_reserve(&c->text, WORD);
    char *p = st == WEIR_OK ? weir_http_stream_room(r->x, bytes) : NULL;
    if (p != NULL) {
        put_frames(t, c, p);
        return WEIR_OK;
    }
    if (st == WEIR_OK)
        st = weir_buf_reserve(&r->out, bytes);
    if (st != WEIR_OK)
        return st;
    put_frames(t, c, r->out.data);
    r->out.len = bytes;
    weir_output_flush(r);
    return WEIR_OK;
}

/* Each id's text behind the others'. */
static enum weir_status push(struct weir_leg *leg, struct weir_choice *c, const uint32_t *ids,
                             size_t n, size_t *ret_ends, size_t *ret_n) {
    uint64_t begin = weir_output_decode_begins(c, n);
    /* Engines pad their vocabulary: an id that the tokenizer does not know has no text. */
    enum weir_status st = wtok_stream_push_many(&c->decoder, ids, n, &c->text, ret_ends, ret_n);
    c->n_tokens += n;
    if (begin != 0)
        weir_output_decode_ended(leg, begin, *ret_n);
    return st;
}

static enum weir_status put_chunks(struct weir_request *r, struct weir_choice *c,
                                   const size_t *ends, size_t n) {
    struct texts t;
    enum weir_status st = find_texts(&c->text, ends, n, &t);
    enum weir_status sent = put_texts(&t, r, c); /* what is good of a run that is not */
    return st != WEIR_OK ? st : sent;
}

size_t weir_output_tokens(struct weir_leg *leg, const uint32_t *ids, size_t n,
                          enum weir_status *ret_status) {
    struct weir_request *r = leg->request;
    struct weir_choice *c = leg->choices;
    size_t ends[WEIR_PLANE_TOKENS], good = 0;
    if (!is_plain(leg, c))
        return 0;
    n = n_unwatched(&r->q.prep.stop, ids, n);
    if (n == 0)
        return 0;
    /* The gap before them is that of the first. */
    weir_output_observe(leg, 1);
    weir_output_observe(leg, n - 1);
    enum weir_status st = push(leg, c, ids, n, ends, &good);
    if (r->q.stream) {
        enum weir_status sent = put_chunks(r, c, ends, good);
        st = st != WEIR_OK ? st : sent;
        weir_buf_clear(&c->text);
    }
    *ret_status = st;
    return n;
}
