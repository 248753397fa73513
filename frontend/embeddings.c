/*
 * Requests for embeddings before workers of the request plane. Happy path: inputs → tokens (for
 * workers that take ids) → one leg, which goes where the load is least by the router's mode → the
 * worker's item or items are turned into the client's answer → the stream ends, and it is sent.
 *
 * Failure modes: those of a leg (leg.c); an item that holds no vectors, other than one vector for
 * each input, or an end without any, is an internal error. Nothing is streamed, so a failure always
 * has its own status. Embeddings hold no KV blocks that another request would find: no hashes are
 * made, and what a request weighs is the number of its tokens.
 */
#include "wire/embeddings.h"
#include "base/log.h"
#include "base/mem.h"
#include "frontend/request_priv.h"
#include "wire/openai_embeddings.h"
#include "wire/record.h"

#include <stdio.h>

enum { ANSWER_MAX = 256 << 20, ITEM_MAX = 128 << 20, BYTES_PER_TOKEN = 4 };

struct weir_embeddings {
    struct weir_embeddings_request out;   /* for workers that take ids */
    struct weir_embeddings_answer answer; /* ended by weir_embeddings_stop() */
};

static const struct weir_openai_embeddings *asked(const struct weir_request *r) {
    return r->q.embeddings;
}

static bool fail_text(struct weir_request *r, const char *text) {
    weir_request_fail(r, 400, weir_arena_copy(&r->arena, weir_span_z(text)), "validation");
    return false;
}

/* ---- tokens --------------------------------------------------------------------------------- */

/* *ret_most: tokens that stay of each text. False: it was refused. */
static bool read_limit(struct weir_request *r, size_t *ret_most) {
    const struct weir_openai_embeddings *e = asked(r);
    uint32_t length = weir_model_info(r->model)->context_length;
    char text[160];
    *ret_most = SIZE_MAX;
    if (!e->has_truncate)
        return true;
    if (e->truncate < -1) {
        snprintf(text, sizeof(text), "truncate_prompt_tokens must be -1 or more, got %lld",
                 (long long)e->truncate);
        return fail_text(r, text);
    }
    bool texts = r->q.n_prompts == 0 || r->q.prompts[0].kind == WEIR_PROMPT_TEXT;
    if (!texts)
        return true; /* ids stay as they are */
    if (e->truncate == -1 && length == 0)
        return fail_text(r, "truncate_prompt_tokens is -1, and the model says no context length");
    if (length > 0 && e->truncate > (int64_t)length) {
        snprintf(text, sizeof(text),
                 "truncate_prompt_tokens=%lld is greater than the model's context length of %u",
                 (long long)e->truncate, length);
        return fail_text(r, text);
    }
    *ret_most = e->truncate == -1 ? length : (size_t)e->truncate;
    return true;
}

static bool adds_special(const struct weir_request *r) {
    int said = asked(r)->add_special;
    return said >= 0 ? said != 0 : r->fl->app->options.embedding_tokenization_add_special_tokens;
}

/* Not too long for the model. */
static bool fits(struct weir_request *r, size_t i, size_t n) {
    uint32_t length = weir_model_info(r->model)->context_length;
    char text[200];
    if (length == 0 || n <= length)
        return true;
    snprintf(text, sizeof(text),
             "This model's maximum context length is %u tokens. However, input %zu has %zu tokens. "
             "Please shorten it, or set truncate_prompt_tokens.",
             length, i, n);
    return fail_text(r, text);
}

static bool make_inputs(struct weir_request *r, struct weir_embeddings *e) {
    unsigned flags = WTOK_SPECIAL | (adds_special(r) ? WTOK_ADD_SPECIAL : 0);
    struct weir_ids *inputs = weir_arena_zalloc(&r->arena, (r->q.n_prompts + 1) * sizeof(*inputs));
    size_t most;
    if (inputs == NULL)
        return weir_request_fail_memory(r);
    if (!read_limit(r, &most))
        return false;
    for (size_t i = 0; i < r->q.n_prompts; i++) {
        const struct weir_prompt *p = &r->q.prompts[i];
        bool text = p->kind == WEIR_PROMPT_TEXT;
        inputs[i] = p->ids;
        if (!(text ? weir_request_encode(r, p->text, flags, &inputs[i])
                   : weir_request_check_ids(r, "Input", p->ids)))
            return false;
        if (text && inputs[i].n > most)
            inputs[i].n = most;
        if (!fits(r, i, inputs[i].n))
            return false;
        r->prompt_tokens += inputs[i].n;
    }
    e->out.inputs = inputs;
    e->out.n_inputs = r->q.n_prompts;
    return true;
}

size_t weir_embeddings_weight(const struct weir_request *r) {
    size_t sum = 0;
    for (size_t i = 0; i < r->q.n_prompts; i++) {
        const struct weir_prompt *p = &r->q.prompts[i];
        sum += p->kind == WEIR_PROMPT_TEXT ? p->text.len / BYTES_PER_TOKEN + 1 : p->ids.n;
    }
    return sum;
}

/* ---- sending -------------------------------------------------------------------------------- */

bool weir_embeddings_prepare(struct weir_request *r) {
    const struct weir_model_info *info = weir_model_info(r->model);
    const struct weir_openai_embeddings *q = asked(r);
    struct weir_embeddings *e = weir_arena_zalloc(&r->arena, sizeof(*e));
    struct weir_leg *leg = weir_arena_zalloc(&r->arena, sizeof(*leg));
    if (e == NULL || leg == NULL)
        return weir_request_fail_memory(r);
    weir_embeddings_answer_init(&e->answer, q->base64, ANSWER_MAX);
    weir_leg_init(leg, r);
    r->embeddings = e;
    r->legs = leg;
    r->n_legs = r->n_open = 1;
    leg->prompt.n = weir_embeddings_weight(r); /* there are no ids of the whole */
    if (!info->text_input && r->q.n_prompts == 0)
        return fail_text(r, "input must not be an empty list");
    if (!info->text_input && !make_inputs(r, e))
        return false;
    if (!info->text_input)
        leg->prompt.n = r->prompt_tokens;
    e->out.model = weir_span_z(info->name);
    e->out.encoding_format = q->encoding_format.data == NULL ? weir_span(NULL, 0)
                             : q->base64                     ? WEIR_SPAN_LIT("base64")
                                                             : WEIR_SPAN_LIT("float");
    e->out.has_truncate = q->has_truncate;
    e->out.truncate = q->truncate;
    e->out.has_dimensions = q->has_dimensions;
    e->out.n_dimensions = q->n_dimensions;
    e->out.mdc_sum = info->card_sum;
    e->out.annotations = q->annotation;
    return true;
}

enum weir_status weir_embeddings_put_body(struct weir_leg *leg, enum weir_codec codec,
                                          struct weir_buf *out) {
    struct weir_request *r = leg->request;
    const struct weir_model_info *info = weir_model_info(r->model);
    return info->text_input
               ? weir_openai_embeddings_put(asked(r), weir_span_z(info->name), codec, out)
               : weir_embeddings_request_encode(&r->embeddings->out, codec, out);
}

/* ---- the answer ----------------------------------------------------------------------------- */

static void fail_item(struct weir_leg *leg, enum weir_status st) {
    struct weir_request *r = leg->request;
    WEIR_LOG(WEIR_LOG_ERROR, "request", "%s: worker %s sent what is no embedding: %s", r->uuid,
             weir_worker_text(leg->worker_id).s, weir_status_text(st));
    if (st == WEIR_NOMEM)
        weir_request_fail_memory(r);
    else
        weir_request_fail(r, 500,
                          st == WEIR_LIMIT || st == WEIR_TOO_LARGE
                              ? WEIR_SPAN_LIT("The embeddings are larger than 256 MiB: ask for "
                                              "fewer at a time")
                              : WEIR_SPAN_LIT("Internal server error"),
                          "internal");
}

static void fail_worker(struct weir_leg *leg, struct weir_span wrapper, enum weir_codec codec,
                        struct weir_arena *arena) {
    struct weir_output item;
    uint32_t ids[1];
    enum weir_status st = weir_output_decode(wrapper, codec, ids, 1, arena, &item);
    if (st == WEIR_OK && item.is_error)
        weir_leg_fail_worker(leg, &item.error);
    else
        fail_item(leg, st == WEIR_OK ? WEIR_PROTOCOL : st);
}

void weir_embeddings_wrapper(void *arg, struct weir_span wrapper,
                             const struct weir_output_look *look) {
    struct weir_leg *leg = arg;
    struct weir_request *r = leg->request;
    struct weir_arena arena;
    if (r->answered || !look->has_data)
        return;
    weir_arena_init(&arena, ITEM_MAX);
    if (!leg->first_item)
        leg->ttft_s = (double)(weir_loop_event_ns(r->fl->loop) - leg->sent_ns) / 1e9;
    leg->first_item = true;
    if (look->is_error) {
        fail_worker(leg, wrapper, leg->codec, &arena);
    } else {
        enum weir_status st =
            weir_embeddings_answer_take(&r->embeddings->answer, wrapper, leg->codec, &arena);
        if (st != WEIR_OK)
            fail_item(leg, st);
    }
    weir_arena_fini(&arena);
}

void weir_embeddings_finish(struct weir_request *r) {
    struct weir_embeddings_answer *a = &r->embeddings->answer;
    struct weir_buf out;
    weir_buf_init(&out, ANSWER_MAX + 4096);
    if (weir_embeddings_answer_put(a, weir_span_z(weir_model_info(r->model)->name), &out) ==
        WEIR_OK) {
        r->prompt_tokens = a->prompt_tokens;
        (void)weir_embeddings_observe(r, weir_now_ns());
        weir_front_json(r->x, 200, weir_buf_span(&out));
    } else {
        r->error_type = "unavailable";
        r->status = 503;
        weir_front_error(r->fl, r->x, 503, "Service temporarily unavailable");
    }
    weir_buf_fini(&out);
}

bool weir_embeddings_observe(const struct weir_request *r, uint64_t now_ns) {
    bool embeds = r->q.kind == WEIR_OPENAI_EMBEDDINGS;
    if (embeds)
        weir_front_observe_embedding(r->fl->app->metrics, weir_model_info(r->model)->name,
                                     (double)(now_ns - r->start_ns) / 1e9);
    return embeds;
}

bool weir_embeddings_whole(const struct weir_request *r) {
    const struct weir_embeddings_answer *a = &r->embeddings->answer;
    /* Indexes differ: where the greatest is n - 1, each came once. */
    return a->n > 0 && (a->n == r->q.n_prompts || r->q.n_prompts == 0) && a->last == a->n - 1;
}

void weir_embeddings_stop(struct weir_request *r) {
    if (r->embeddings != NULL)
        weir_embeddings_answer_fini(&r->embeddings->answer);
}
