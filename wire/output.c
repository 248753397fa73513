#include "wire/output.h"

#include "wire/error_priv.h"
#include "wire/output_priv.h"

#include <math.h>
#include <string.h>

void weir_output_init(struct weir_output *out) {
    *out = (struct weir_output){.cum_log_probs = NAN,
                                .index = -1,
                                .prompt_tokens = -1,
                                .completion_tokens = -1,
                                .cached_tokens = -1,
                                .audio_tokens = -1};
}

/* ---- reading ------------------------------------------------------------------------------ */

struct reading {
    struct weir_dec d;
    uint32_t *room;
    size_t n_room;
    const double *log_probs;
    size_t n_log_probs;
    struct weir_token_logprob *tops;
    size_t n_tops;
    bool ids;
    struct weir_output_place id; /* of the last token id */
};

static size_t position(const struct weir_dec *d) {
    return d->codec == WEIR_CODEC_MSGPACK ? d->m.pos : d->j.pos;
}

/* Small items, which are nearly all, need no memory of their own. */
static bool read_ids(struct reading *r, struct weir_output *o) {
    struct weir_dec_box box;
    size_t n = 0, room = r->n_room;
    uint32_t *ids = r->room;
    uint64_t v = 0;
    struct weir_dec start = r->d;
    if (!weir_dec_array(&r->d, &box))
        return false;
    while (weir_dec_array_next(&r->d, &box)) {
        if (n == room) {
            room = weir_dec_count(start);
            uint32_t *more = weir_dec_zalloc(&r->d, room * sizeof(*more));
            if (more == NULL || room <= n)
                return weir_dec_fail(&r->d);
            memcpy(more, ids, n * sizeof(*ids));
            ids = more;
        }
        r->id.from = position(&r->d);
        if (!weir_dec_u64(&r->d, &v) || v > UINT32_MAX)
            return weir_dec_fail(&r->d);
        r->id.to = position(&r->d);
        ids[n++] = (uint32_t)v;
    }
    o->token_ids = (struct weir_ids){ids, n};
    return !weir_dec_failed(&r->d);
}

static bool read_log_probs(struct reading *r) {
    struct weir_dec_box box;
    size_t n = weir_dec_count(r->d), i = 0;
    double *p = weir_dec_zalloc(&r->d, n * sizeof(*p));
    if (p == NULL || !weir_dec_array(&r->d, &box))
        return false;
    while (weir_dec_array_next(&r->d, &box))
        if (i == n || !weir_dec_f64(&r->d, &p[i++]))
            return weir_dec_fail(&r->d);
    r->log_probs = p;
    r->n_log_probs = n;
    return !weir_dec_failed(&r->d);
}

static bool read_top(struct reading *r, struct weir_top_logprob *top) {
    struct weir_dec *d = &r->d;
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        uint64_t v = 0;
        bool ok;
        if (weir_dec_is_set(d, &box, key, "rank") || weir_dec_is_set(d, &box, key, "token_id")) {
            ok = weir_dec_u64(d, &v) && v <= UINT32_MAX;
            *(key.data[0] == 'r' ? &top->rank : &top->token_id) = (uint32_t)v;
        } else if (weir_dec_is_set(d, &box, key, "token"))
            ok = weir_dec_str(d, &top->token);
        else if (weir_dec_is_set(d, &box, key, "logprob"))
            ok = weir_dec_f64(d, &top->logprob);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    return !weir_dec_failed(d);
}

static bool read_top_list(struct reading *r, struct weir_token_logprob *t) {
    struct weir_dec_box box;
    size_t n = weir_dec_count(r->d), i = 0;
    struct weir_top_logprob *top = weir_dec_zalloc(&r->d, n * sizeof(*top));
    if (top == NULL || !weir_dec_array(&r->d, &box))
        return false;
    while (weir_dec_array_next(&r->d, &box))
        if (i == n || !read_top(r, &top[i++]))
            return weir_dec_fail(&r->d);
    t->top = top;
    t->n_top = n;
    return !weir_dec_failed(&r->d);
}

static bool read_tops(struct reading *r) {
    struct weir_dec_box box;
    size_t n = weir_dec_count(r->d), i = 0;
    struct weir_token_logprob *t = weir_dec_zalloc(&r->d, n * sizeof(*t));
    if (t == NULL || !weir_dec_array(&r->d, &box))
        return false;
    while (weir_dec_array_next(&r->d, &box))
        if (i == n || !read_top_list(r, &t[i++]))
            return weir_dec_fail(&r->d);
    r->tops = t;
    r->n_tops = n;
    return !weir_dec_failed(&r->d);
}

/* One entry a token: the sampled one's probability and its alternatives. */
static bool join_logprobs(struct reading *r, struct weir_output *o) {
    if (r->log_probs == NULL && r->tops == NULL)
        return true;
    struct weir_token_logprob *t = weir_dec_zalloc(&r->d, (o->token_ids.n + 1) * sizeof(*t));
    if (t == NULL)
        return false;
    for (size_t i = 0; i < o->token_ids.n; i++) {
        if (i < r->n_tops)
            t[i] = r->tops[i];
        if (i < r->n_log_probs)
            t[i].logprob = r->log_probs[i];
    }
    o->logprobs = t;
    return true;
}

static enum weir_finish finish_of(struct weir_span word) {
    static const struct {
        const char *word;
        enum weir_finish finish;
    } words[] = {{"length", WEIR_FINISH_LENGTH},   {"eos", WEIR_FINISH_EOS},
                 {"stop", WEIR_FINISH_STOP},       {"cancelled", WEIR_FINISH_CANCELLED},
                 {"abort", WEIR_FINISH_CANCELLED}, {"content_filter", WEIR_FINISH_CONTENT_FILTER}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(words); i++)
        if (weir_span_eqz(word, words[i].word))
            return words[i].finish;
    return WEIR_FINISH_ERROR;
}

static bool read_finish(struct weir_dec *d, struct weir_output *o) {
    struct weir_dec_box box;
    struct weir_span word, key;
    if (weir_dec_type(d) == WEIR_JSON_STRING) {
        if (!weir_dec_str(d, &word))
            return false;
        o->finish = finish_of(word);
        o->finish_text = word;
        return true;
    }
    if (weir_dec_type(d) != WEIR_JSON_OBJECT || !weir_dec_map(d, &box))
        return weir_dec_fail(d);
    o->finish = WEIR_FINISH_ERROR;
    while (weir_dec_map_next(d, &box, &key))
        if (!(weir_dec_type(d) == WEIR_JSON_STRING ? weir_dec_str(d, &o->finish_text)
                                                   : weir_dec_skip(d, NULL)))
            return false;
    return !weir_dec_failed(d);
}

/* Counts are of 32 bits in the reference, too: sums of them fit. */
static bool read_count(struct weir_dec *d, int64_t *ret) {
    return (weir_dec_i64(d, ret) && *ret >= 0 && *ret <= UINT32_MAX) || weir_dec_fail(d);
}

static bool read_usage_details(struct weir_dec *d, struct weir_output *o) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        int64_t *to = weir_dec_is_set(d, &box, key, "cached_tokens")  ? &o->cached_tokens
                      : weir_dec_is_set(d, &box, key, "audio_tokens") ? &o->audio_tokens
                                                                      : NULL;
        if (!(to != NULL ? read_count(d, to) : weir_dec_skip(d, NULL)))
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_usage(struct weir_dec *d, struct weir_output *o) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    o->has_usage = true;
    while (weir_dec_map_next(d, &box, &key)) {
        int64_t *to = weir_dec_is(d, &box, key, "prompt_tokens")       ? &o->prompt_tokens
                      : weir_dec_is(d, &box, key, "completion_tokens") ? &o->completion_tokens
                                                                       : NULL;
        bool ok;
        if (to != NULL)
            ok = weir_dec_is_null(d) ? weir_dec_skip(d, NULL) : read_count(d, to);
        else if (weir_dec_is(d, &box, key, "completion_tokens_details"))
            ok = weir_dec_json(d, &o->completion_details);
        else if (weir_dec_is_set(d, &box, key, "prompt_tokens_details"))
            ok = read_usage_details(d, o);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_raw(struct weir_dec *d, struct weir_span *ret) {
    return weir_dec_skip(d, ret);
}

static bool read_engine_member(struct reading *r, struct weir_dec_box *box, struct weir_span key,
                               struct weir_output *o) {
    struct weir_dec *d = &r->d;
    if (weir_dec_is(d, box, key, "token_ids"))
        return r->ids = read_ids(r, o);
    if (weir_dec_is_set(d, box, key, "text"))
        return weir_dec_str(d, &o->text);
    if (weir_dec_is_set(d, box, key, "finish_reason"))
        return read_finish(d, o);
    if (weir_dec_is_set(d, box, key, "index"))
        return weir_dec_i64(d, &o->index) && o->index >= 0;
    if (weir_dec_is_set(d, box, key, "log_probs"))
        return read_log_probs(r);
    if (weir_dec_is_set(d, box, key, "top_logprobs"))
        return read_tops(r);
    if (weir_dec_is_set(d, box, key, "cum_log_probs"))
        return weir_dec_f64(d, &o->cum_log_probs);
    if (weir_dec_is_set(d, box, key, "completion_usage"))
        return read_usage(d, o);
    if (weir_dec_is_set(d, box, key, "stop_reason"))
        return weir_dec_json(d, &o->stop_reason);
    if (weir_dec_is_set(d, box, key, "disaggregated_params"))
        return read_raw(d, &o->disaggregated_params);
    if (weir_dec_is_set(d, box, key, "engine_data"))
        return weir_dec_json(d, &o->engine_data);
    return weir_dec_skip(d, NULL);
}

static bool read_engine_output(struct reading *r, struct weir_output *o) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(&r->d, &box))
        return false;
    o->has_output = true;
    while (weir_dec_map_next(&r->d, &box, &key))
        if (!read_engine_member(r, &box, key, o))
            return weir_dec_fail(&r->d);
    return !weir_dec_failed(&r->d) && r->ids && join_logprobs(r, o);
}

static bool read_comment(struct weir_dec *d, struct weir_strings *ret) {
    ret->set = weir_dec_strings(d, &ret->items, &ret->n);
    return ret->set;
}

/* Annotated: {data?, id?, event?, comment?, error?} */
static bool read_item(struct reading *r, struct weir_output *o) {
    struct weir_dec *d = &r->d;
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    o->has_data = true;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        if (weir_dec_is_set(d, &box, key, "data"))
            ok = read_engine_output(r, o);
        else if (weir_dec_is_set(d, &box, key, "event"))
            ok = weir_dec_str(d, &o->event);
        else if (weir_dec_is_set(d, &box, key, "comment"))
            ok = read_comment(d, &o->comment);
        else if (weir_dec_is_set(d, &box, key, "error"))
            ok = o->is_error = weir_wire_error_read(d, &o->error);
        else
            ok = weir_dec_skip(d, NULL);
        if (!ok)
            return weir_dec_fail(d);
    }
    return !weir_dec_failed(d);
}

/* An error event of the older form has its text in the comment. */
static void settle_error(struct weir_output *o, struct weir_arena *arena) {
    if (!o->is_error && weir_span_eqz(o->event, "error")) {
        o->is_error = true;
        o->error = (struct weir_wire_error){.status = WEIR_INTERNAL, .http_status = 500};
        if (o->comment.n > 0)
            o->error.message = o->comment.items[0];
    }
    bool ended_so = !o->is_error && o->finish == WEIR_FINISH_ERROR;
    if (ended_so)
        o->error = (struct weir_wire_error){
            .status = WEIR_INTERNAL, .http_status = 500, .message = o->finish_text};
    if (o->is_error || ended_so)
        weir_wire_error_settle(&o->error, arena);
}

enum weir_status weir_output_decode_where(struct weir_span bytes, enum weir_codec codec,
                                          uint32_t *ids_room, size_t n_ids_room,
                                          struct weir_arena *arena, struct weir_output *ret_out,
                                          struct weir_output_place *ret_id) {
    struct reading r = {.room = ids_room, .n_room = n_ids_room};
    struct weir_output o;
    struct weir_dec_box box;
    struct weir_span key;
    bool complete = false;
    weir_output_init(&o);
    weir_dec_init(&r.d, codec, bytes, arena);
    if (!weir_dec_map(&r.d, &box))
        return WEIR_PROTOCOL;
    while (weir_dec_map_next(&r.d, &box, &key)) {
        bool ok;
        if (weir_dec_is(&r.d, &box, key, "complete_final"))
            ok = complete = weir_dec_bool(&r.d, &o.complete_final);
        else if (weir_dec_is_set(&r.d, &box, key, "data"))
            ok = read_item(&r, &o);
        else
            ok = weir_dec_skip(&r.d, NULL);
        if (!ok)
            return r.d.nomem ? WEIR_NOMEM : WEIR_PROTOCOL;
    }
    if (!weir_dec_finish(&r.d) || !complete || (!o.has_data && !o.complete_final))
        return r.d.nomem ? WEIR_NOMEM : WEIR_PROTOCOL;
    settle_error(&o, arena);
    *ret_out = o;
    *ret_id = r.id;
    return WEIR_OK;
}

enum weir_status weir_output_decode(struct weir_span bytes, enum weir_codec codec,
                                    uint32_t *ids_room, size_t n_ids_room, struct weir_arena *arena,
                                    struct weir_output *ret_out) {
    struct weir_output_place id;
    return weir_output_decode_where(bytes, codec, ids_room, n_ids_room, arena, ret_out, &id);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void put_error(struct weir_enc *e, const struct weir_wire_error *error) {
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    weir_enc_key(e, &b, "error_type");
    weir_enc_str(e, weir_span_z(weir_wire_error_type(error->status)));
    weir_enc_key(e, &b, "message");
    weir_enc_str(e, error->message.data != NULL ? error->message : WEIR_SPAN_LIT(""));
    if (error->public_text.data != NULL) {
        struct weir_enc_box p;
        weir_enc_key(e, &b, "public");
        weir_enc_map(e, &p);
        weir_enc_key(e, &p, "type");
        weir_enc_str(e, WEIR_SPAN_LIT("message"));
        weir_enc_key(e, &p, "message");
        weir_enc_str(e, error->public_text);
        weir_enc_map_end(e, &p);
    }
    weir_enc_map_end(e, &b);
}

static void put_logprobs(struct weir_enc *e, struct weir_enc_box *b, const struct weir_output *o) {
    weir_enc_key(e, b, "log_probs");
    weir_enc_array(e, (uint32_t)o->token_ids.n);
    for (size_t i = 0; i < o->token_ids.n; i++)
        weir_enc_f64(e, o->logprobs[i].logprob);
    weir_enc_array_end(e);
    weir_enc_key(e, b, "top_logprobs");
    weir_enc_array(e, (uint32_t)o->token_ids.n);
    for (size_t i = 0; i < o->token_ids.n; i++) {
        weir_enc_array(e, (uint32_t)o->logprobs[i].n_top);
        for (size_t k = 0; k < o->logprobs[i].n_top; k++) {
            const struct weir_top_logprob *t = &o->logprobs[i].top[k];
            struct weir_enc_box m;
            weir_enc_map(e, &m);
            weir_enc_key(e, &m, "rank");
            weir_enc_u64(e, t->rank);
            weir_enc_key(e, &m, "token_id");
            weir_enc_u64(e, t->token_id);
            weir_enc_key(e, &m, "token");
            weir_enc_str(e, t->token);
            weir_enc_key(e, &m, "logprob");
            weir_enc_f64(e, t->logprob);
            weir_enc_map_end(e, &m);
        }
        weir_enc_array_end(e);
    }
    weir_enc_array_end(e);
}

static void put_usage(struct weir_enc *e, const struct weir_output *o) {
    struct weir_enc_box b, d;
    int64_t prompt = o->prompt_tokens > 0 ? o->prompt_tokens : 0;
    int64_t completion = o->completion_tokens > 0 ? o->completion_tokens : 0;
    weir_enc_map(e, &b);
    weir_enc_key(e, &b, "prompt_tokens");
    weir_enc_i64(e, prompt);
    weir_enc_key(e, &b, "completion_tokens");
    weir_enc_i64(e, completion);
    weir_enc_key(e, &b, "total_tokens");
    weir_enc_i64(e, prompt + completion);
    if (o->cached_tokens >= 0) {
        weir_enc_key(e, &b, "prompt_tokens_details");
        weir_enc_map(e, &d);
        weir_enc_key(e, &d, "cached_tokens");
        weir_enc_i64(e, o->cached_tokens);
        weir_enc_map_end(e, &d);
    }
    weir_enc_map_end(e, &b);
}

/* A value that is in the codec already. */
static void put_raw(struct weir_enc *e, struct weir_enc_box *b, const char *key,
                    struct weir_span raw) {
    if (raw.data == NULL)
        return;
    weir_enc_key(e, b, key);
    if (e->codec == WEIR_CODEC_MSGPACK)
        weir_mpw_raw(&e->m, raw);
    else
        weir_jsonw_raw(&e->j, raw);
}

static void put_engine_output(struct weir_enc *e, const struct weir_output *o) {
    static const char *const finishes[] = {NULL,     "eos",       "stop",
                                           "length", "cancelled", "content_filter"};
    struct weir_enc_box b;
    weir_enc_map(e, &b);
    weir_enc_key(e, &b, "token_ids");
    weir_enc_ids(e, o->token_ids.ids, o->token_ids.n);
    if (o->text.data != NULL) {
        weir_enc_key(e, &b, "text");
        weir_enc_str(e, o->text);
    }
    if (!isnan(o->cum_log_probs)) {
        weir_enc_key(e, &b, "cum_log_probs");
        weir_enc_f64(e, o->cum_log_probs);
    }
    if (o->logprobs != NULL)
        put_logprobs(e, &b, o);
    if (o->finish == WEIR_FINISH_ERROR) {
        struct weir_enc_box f;
        weir_enc_key(e, &b, "finish_reason");
        weir_enc_map(e, &f);
        weir_enc_key(e, &f, "error");
        weir_enc_str(e, o->finish_text.data != NULL ? o->finish_text : WEIR_SPAN_LIT(""));
        weir_enc_map_end(e, &f);
    } else if (o->finish != WEIR_FINISH_NONE) {
        weir_enc_key(e, &b, "finish_reason");
        weir_enc_str(e, weir_span_z(finishes[o->finish]));
    }
    if (o->index >= 0) {
        weir_enc_key(e, &b, "index");
        weir_enc_i64(e, o->index);
    }
    if (o->stop_reason.data != NULL) {
        weir_enc_key(e, &b, "stop_reason");
        weir_enc_json(e, o->stop_reason);
    }
    put_raw(e, &b, "disaggregated_params", o->disaggregated_params);
    if (o->has_usage) {
        weir_enc_key(e, &b, "completion_usage");
        put_usage(e, o);
    }
    if (o->engine_data.data != NULL) {
        weir_enc_key(e, &b, "engine_data");
        weir_enc_json(e, o->engine_data);
    }
    weir_enc_map_end(e, &b);
}

enum weir_status weir_output_encode(const struct weir_output *item, enum weir_codec codec,
                                    struct weir_buf *out) {
    struct weir_enc enc, *e = &enc;
    struct weir_enc_box b, a;
    weir_enc_init(e, codec, out);
    weir_enc_map(e, &b);
    if (item->has_data) {
        weir_enc_key(e, &b, "data");
        weir_enc_map(e, &a);
        if (item->has_output) {
            weir_enc_key(e, &a, "data");
            put_engine_output(e, item);
        }
        if (item->is_error || item->event.data != NULL) {
            weir_enc_key(e, &a, "event");
            weir_enc_str(e, item->event.data != NULL ? item->event : WEIR_SPAN_LIT("error"));
        }
        if (item->comment.set) {
            weir_enc_key(e, &a, "comment");
            weir_enc_array(e, (uint32_t)item->comment.n);
            for (size_t i = 0; i < item->comment.n; i++)
                weir_enc_str(e, item->comment.items[i]);
            weir_enc_array_end(e);
        }
        if (item->is_error) {
            weir_enc_key(e, &a, "error");
            put_error(e, &item->error);
        }
        weir_enc_map_end(e, &a);
    }
    weir_enc_key(e, &b, "complete_final");
    weir_enc_bool(e, item->complete_final);
    weir_enc_map_end(e, &b);
    return weir_enc_status(e);
}
