/*
 * From the parsed request to its legs: render the chat or take the prompts → tokenize → hash the
 * blocks → one leg a prompt, with its choices. Each step that fails has failed the request.
 */
#include "frontend/relay_priv.h"
#include "kvindex/kvi.h"
#include "parsers/wprs.h"
#include "tokenizer/request.h"

#include <stdio.h>
#include <string.h>

static bool has_nul(struct weir_span text) {
    return text.len > 0 && memchr(text.data, '\0', text.len) != NULL;
}

size_t weir_request_drop_nul(struct weir_span text, char *to) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != '\0')
            to[n++] = text.data[i];
    return n;
}

static bool without_nul(struct weir_request *r, struct weir_span *text) {
    if (!has_nul(*text))
        return true;
    char *copy = weir_arena_alloc(&r->arena, text->len);
    if (copy == NULL)
        return weir_request_fail_memory(r);
    *text = weir_span(copy, weir_request_drop_nul(*text, copy));
    return true;
}

/* A text, or the pieces of a prompt. There is an id a byte at most, but for texts whose normal form
 * is longer than they are: room for those as well, several times as much, is taken only where it is
 * wanted. (Four long prompts at once were so much more of the heap that it was given back to the
 * system after each burst, and came again page by page.) */
static bool encode_any(struct weir_request *r, struct weir_span text, struct wtok_prompt *p,
                       unsigned flags, struct weir_ids *ret) {
    enum { BESIDE = 16 }; /* what is added in front and behind */
    const struct wtok *tok = weir_model_info(r->model)->tok;
    size_t bytes = p != NULL ? wtok_prompt_bytes(p) : text.len, n = 0;
    size_t bound = wtok_encode_bound(tok, bytes);
    size_t room = bytes + BESIDE < bound ? bytes + BESIDE : bound;
    uint64_t begin = weir_now_ns();
    for (;;) {
        uint32_t *ids = weir_arena_alloc(&r->arena, (room + 1) * sizeof(*ids));
        enum weir_status st = ids == NULL ? WEIR_NOMEM
                              : p != NULL ? wtok_encode_prompt(tok, p, flags, ids, room, &n)
                                          : wtok_encode(tok, text, flags, ids, room, &n);
        *ret = (struct weir_ids){ids, n};
        if (st == WEIR_OK)
            break;
        if (st != WEIR_TOO_LARGE || room == bound)
            return weir_request_fail_memory(r);
        room = bound;
    }
    weir_front_observe_tokenize(r->fl->app->metrics, (double)(weir_now_ns() - begin) / 1e9);
    return true;
}

bool weir_request_encode(struct weir_request *r, struct weir_span text, unsigned flags,
                         struct weir_ids *ret) {
    return encode_any(r, text, NULL, flags, ret);
}

/* HTTP engines encode NUL bytes like all others. */
static bool encode(struct weir_request *r, struct weir_span text, unsigned flags,
                   struct weir_ids *ret) {
    return (weir_model_info(r->model)->engines || without_nul(r, &text)) &&
           weir_request_encode(r, text, flags, ret);
}

/* JSON writes a NUL as an escape, so a string that is borrowed from it has none. */
static bool is_json(const struct weir_request *r, struct weir_span s) {
    const char *json = r->q.messages.data;
    return s.data >= json && s.data < json + r->q.messages.len;
}

static bool drops_nul(const struct weir_request *r, const struct wtok_prompt *p) {
    bool drops = !weir_model_info(r->model)->engines;
    bool found = drops && has_nul(weir_buf_span(&p->text));
    for (size_t i = 0; i < p->n_lent && drops && !found; i++)
        found = !is_json(r, p->lent[i].string) && has_nul(p->lent[i].string);
    return found;
}

/* Like encode(); a NUL is rare enough for the prompt to be copied first. */
static bool encode_prompt(struct weir_request *r, struct wtok_prompt *p, unsigned flags,
                          struct weir_ids *ret) {
    if (p->tail.len == 0 &&
        (p->n_lent == 0 || (flags & WTOK_ADD_SPECIAL) != 0 || drops_nul(r, p))) {
        if (wtok_prompt_join(p) != WEIR_OK)
            return weir_request_fail_memory(r);
        return encode(r, weir_buf_span(&p->text), flags, ret);
    }
    return encode_any(r, weir_span(NULL, 0), p, flags, ret);
}

/* What a prompt ends with is never lent. */
static void keep_tail(struct weir_request *r, struct weir_span text) {
    size_t n = text.len < sizeof(r->prompt_tail) ? text.len : sizeof(r->prompt_tail);
    if (n > 0)
        memcpy(r->prompt_tail, text.data + text.len - n, n);
    r->prompt_tail_len = n;
}

struct wtok_chat weir_request_chat_of(const struct weir_app *app,
                                      const struct weir_model_info *info,
                                      const struct weir_openai_request *q) {
    /* Tools that may not be called: the operator says whether they are shown. */
    bool hides_tools = q->tool_choice_none && app->options.exclude_tools_when_tool_choice_none;
    return (struct wtok_chat){.messages = q->messages,
                              .tools = hides_tools ? weir_span(NULL, 0) : q->tools,
                              .tool_choice = q->tool_choice,
                              .template_args = q->template_args,
                              .response_format = q->response_format,
                              .model_name = weir_span_z(info->name),
                              .members_first = true,
                              .for_dynamo = true,
                              .add_generation_prompt = q->add_generation_prompt,
                              .continue_final_message = q->continue_final_message,
                              .flavour = info->flavour};
}

/* An HTTP engine renders the body that it gets, so that is read as the engine reads it; for the
 * request plane we render what the request means. */
static enum weir_status read_chat(struct weir_request *r, struct wtok_chat *ret_chat,
                                  unsigned *ret_flags, struct weir_err *err) {
    const struct weir_model_info *info = weir_model_info(r->model);
    if (info->engines) {
        enum weir_status st = wtok_request_chat(weir_relay_body(r), info->flavour, &r->arena,
                                                ret_chat, ret_flags, err);
        ret_chat->text_only = true; /* what an engine makes of others nobody can tell */
        return st;
    }
    *ret_flags = WTOK_SPECIAL;
    enum weir_status st = weir_parsed_think(r);
    *ret_chat = weir_request_chat_of(r->fl->app, info, &r->q);
    return st;
}

/* What media are at the most in a prompt: the words of a template for them. */
static size_t prompt_bytes(const struct weir_request *r, const struct wtok_chat *chat) {
    size_t media = 0;
    for (size_t i = 0; i < r->q.prep.media.n; i++)
        media += r->q.prep.media.items[i].value.len;
    return chat->tools.len + 512 +
           (media < chat->messages.len ? chat->messages.len - media : chat->messages.len);
}

static enum weir_status render(struct weir_request *r, struct wtok_prompt *p, unsigned *ret_flags,
                               struct weir_err *err) {
    struct wtok_chat chat;
    uint64_t begin = weir_now_ns();
    enum weir_status st = read_chat(r, &chat, ret_flags, err);
    /* The prompt is at most about as long as what it is made of: room at once instead of growing
     * there. What is lent does not touch it. */
    if (st == WEIR_OK)
        st = weir_buf_reserve(&p->text, prompt_bytes(r, &chat));
    if (st == WEIR_OK)
        st = wtok_render_prompt(weir_model_info(r->model)->tok, &chat, p, err);
    weir_front_observe_template(r->fl->app->metrics, (double)(weir_now_ns() - begin) / 1e9);
    return st;
}

bool weir_request_chat_prompt(struct weir_request *r, struct weir_ids *ret) {
    struct wtok_prompt prompt;
    struct weir_err err = {.text = ""};
    /* HTTP engines render what they are sent, whatever tokens come with it. */
    bool given = r->q.has_token_data && !weir_model_info(r->model)->engines;
    if (given) {
        *ret = r->q.token_data;
        if (!weir_request_check_ids(r, "nvext.token_data:", *ret) || r->q.prep.media.n == 0)
            return !r->answered;
    }
    unsigned flags;
    wtok_prompt_init(&prompt, WEIR_REQUEST_ARENA);
    enum weir_status st = render(r, &prompt, &flags, &err);
    bool ok = st == WEIR_OK && (given || encode_prompt(r, &prompt, flags, ret));
    ok = ok && (prompt.tail.len == 0 ||
                (wtok_prompt_join(&prompt) == WEIR_OK &&
                 weir_buf_append_span(&prompt.text, prompt.tail) == WEIR_OK) ||
                weir_request_fail_memory(r));
    keep_tail(r, weir_buf_span(&prompt.text));
    if (ok && r->q.prep.media.n > 0)
        ok = weir_request_tell_media(r, &prompt, *ret);
    if (ok && (r->q.extras & WEIR_ANNOTATE_FORMATTED_PROMPT) != 0) {
        ok = wtok_prompt_join(&prompt) == WEIR_OK || weir_request_fail_memory(r);
        r->formatted_prompt = weir_arena_copy(&r->arena, weir_buf_span(&prompt.text));
    }
    wtok_prompt_fini(&prompt);
    if (st == WEIR_INVALID)
        weir_request_fail(r, 400, weir_span_z(err.text), "validation");
    else if (st == WEIR_UNSUPPORTED)
        weir_request_fail(r, 501, weir_span_z(err.text), "not_implemented");
    else if (st != WEIR_OK)
        weir_request_fail_memory(r);
    return ok;
}

bool weir_request_check_ids(struct weir_request *r, const char *what, struct weir_ids ids) {
    uint32_t vocab = wtok_model_vocab_size(weir_model_info(r->model)->tok);
    for (size_t i = 0; i < ids.n; i++)
        if (ids.ids[i] >= vocab) {
            char text[128];
            int n = snprintf(text, sizeof(text),
                             "%s token id %u is outside of the model's vocabulary of %u", what,
                             ids.ids[i], vocab);
            weir_request_fail(r, 400, weir_arena_copy(&r->arena, weir_span(text, (size_t)n)),
                              "validation");
            return false;
        }
    return true;
}

static bool prepare_prompt(struct weir_request *r, const struct weir_prompt *p,
                           struct weir_ids *ret) {
    /* Tokens stand for every text, and for no tokens, as in the reference system. */
    if (r->q.has_token_data && p->kind == WEIR_PROMPT_TEXT) {
        *ret = r->q.token_data;
        return weir_request_check_ids(r, "nvext.token_data:", *ret);
    }
    if (p->kind == WEIR_PROMPT_TEXT)
        return encode(r, p->text, WTOK_SPECIAL, ret);
    *ret = p->ids;
    return weir_request_check_ids(r, "Prompt", p->ids);
}

/* Blocks from the first medium on, of n: no other request has them, and they are load all the same;
 * under names drawn for them. */
static void name_rest(struct weir_request *r, struct weir_leg *leg, size_t n) {
    struct weir_rng *rng = weir_loop_rng(r->fl->loop);
    for (size_t i = leg->n_blocks; i < n; i++)
        leg->local[i] = leg->sequence[i] = weir_rng_u64(rng);
    leg->n_blocks = n;
}

bool weir_request_hash_leg(struct weir_request *r, struct weir_leg *leg) {
    const struct weir_model_info *info = weir_model_info(r->model);
    struct weir_ids ids = weir_leg_engine_prompt(leg);
    size_t known = ids.n; /* tokens that say all of what their blocks hold */
    if (r->q.prep.media.n > 0 && r->expanded.ids == NULL && r->before_media < known)
        known = r->before_media;
    size_t n = kvi_block_count(ids.n, info->block_size, info->eagle);
    struct weir_span salt = r->q.cache_salt;
    uint64_t seed = kvi_seed(info->lora.data, info->lora.len, salt.data, salt.len);
    leg->local = weir_arena_alloc(&r->arena, (n + 1) * sizeof(*leg->local));
    leg->sequence = weir_arena_alloc(&r->arena, (n + 1) * sizeof(*leg->sequence));
    if (leg->local == NULL || leg->sequence == NULL)
        return weir_request_fail_memory(r);
    uint64_t begin = weir_now_ns();
    leg->n_blocks = kvi_hash_and_chain(ids.ids, known, info->block_size, seed, info->eagle,
                                       leg->local, leg->sequence, n);
    name_rest(r, leg, n);
    leg->hash_ms = (double)(weir_now_ns() - begin) / 1e6;
    weir_front_observe_hashing(r->fl->app->metrics, leg->hash_ms);
    return true;
}

static bool init_choices(struct weir_request *r, struct weir_leg *leg, size_t leg_index) {
    const struct weir_stop_conditions *stop = &r->q.prep.stop;
    leg->n_choices = leg->n_open = r->q.n;
    leg->choices = weir_arena_zalloc(&r->arena, leg->n_choices * sizeof(*leg->choices));
    if (leg->choices == NULL) {
        leg->n_choices = 0;
        return weir_request_fail_memory(r);
    }
    for (unsigned k = 0; k < leg->n_choices; k++) {
        struct weir_choice *c = &leg->choices[k];
        weir_output_init_choice(c, (unsigned)leg_index * r->q.n + k);
        if (stop->stop.n > 0 && wtok_stop_create(stop->stop.items, stop->stop.n,
                                                 r->q.prep.sampling.include_stop_str_in_output == 1,
                                                 &c->stop) != WEIR_OK)
            return weir_request_fail_memory(r);
        if (weir_parsed_create(r, &c->parsed) != WEIR_OK)
            return weir_request_fail_memory(r);
        /* Markers of parsers may be special tokens. */
        int skip = r->q.prep.output.skip_special_tokens;
        wtok_stream_init(&c->decoder, weir_model_info(r->model)->tok,
                         skip >= 0 ? skip != 0 : c->parsed == NULL);
    }
    return true;
}

bool weir_request_prepare_legs(struct weir_request *r) {
    size_t n = r->q.kind == WEIR_OPENAI_CHAT ? 1 : r->q.n_prompts;
    const struct weir_model_info *info = weir_model_info(r->model);
    if (r->q.prep.output.skip_special_tokens < 0 &&
        wprs_keeps_special(info->tool_parser, info->reasoning_parser))
        r->q.prep.output.skip_special_tokens = 0;
    r->legs = weir_arena_zalloc(&r->arena, n * sizeof(*r->legs));
    if (r->legs == NULL)
        return weir_request_fail_memory(r);
    for (size_t i = 0; i < n; i++) {
        struct weir_leg *leg = &r->legs[i];
        weir_leg_init(leg, r);
        r->n_legs = i + 1;
        if (!(r->q.kind == WEIR_OPENAI_CHAT ? weir_request_chat_prompt(r, &leg->prompt)
                                            : prepare_prompt(r, &r->q.prompts[i], &leg->prompt)))
            return false;
        if (!weir_request_hash_leg(r, leg) || !init_choices(r, leg, i))
            return false;
        r->prompt_tokens += leg->prompt.n;
        if (info->context_length > 0 && leg->prompt.n >= info->context_length) {
            char text[256];
            int len = snprintf(text, sizeof(text),
                               "This model's maximum context length is %u tokens. However, your %s "
                               "resulted in %zu tokens. Please reduce the length of the %s.",
                               info->context_length,
                               r->q.kind == WEIR_OPENAI_CHAT ? "messages" : "prompt", leg->prompt.n,
                               r->q.kind == WEIR_OPENAI_CHAT ? "messages" : "prompt");
            weir_request_fail(r, 400, weir_arena_copy(&r->arena, weir_span(text, (size_t)len)),
                              "validation");
            return false;
        }
    }
    return true;
}

struct weir_leg *weir_request_one_leg(struct weir_request *r) {
    struct weir_leg *leg = weir_arena_zalloc(&r->arena, sizeof(*leg));
    if (leg == NULL) {
        weir_request_fail_memory(r);
        return NULL;
    }
    weir_leg_init(leg, r);
    r->legs = leg;
    r->n_legs = r->n_open = 1;
    return leg;
}

/* The first prompt of a completion, as its engine makes it; none where that is not known. */
static bool relay_completion(struct weir_request *r, struct weir_ids *ret) {
    const struct weir_model_info *info = weir_model_info(r->model);
    struct weir_err err = {.text = ""};
    unsigned flags;
    if (r->q.n_prompts == 0 ||
        wtok_request_completion(weir_relay_body(r), info->flavour, &flags, &err) != WEIR_OK)
        return true;
    if (r->q.prompts[0].kind == WEIR_PROMPT_IDS)
        *ret = r->q.prompts[0].ids;
    else if (info->tok != NULL)
        return encode(r, r->q.prompts[0].text, flags, ret);
    return true;
}

static bool relay_chat(struct weir_request *r, struct weir_ids *ret) {
    struct weir_err err = {.text = ""};
    struct wtok_prompt prompt;
    unsigned flags;
    if (weir_model_info(r->model)->tok == NULL)
        return true;
    wtok_prompt_init(&prompt, WEIR_REQUEST_ARENA);
    bool ok = render(r, &prompt, &flags, &err) != WEIR_OK || encode_prompt(r, &prompt, flags, ret);
    wtok_prompt_fini(&prompt);
    return ok;
}

/* SGLang 0.5.23 ends at an id outside of its vocabulary, vLLM 0.32 refuses it: so do we, unless the
 * tokenizer here was seen to be another one than the engine's. */
static bool check_relay_ids(struct weir_request *r) {
    if (weir_model_info(r->model)->tok == NULL || weir_model_blind(r->model))
        return true;
    const char *what = r->q.kind == WEIR_OPENAI_EMBEDDINGS ? "Input" : "Prompt";
    for (size_t i = 0; i < r->q.n_prompts; i++)
        if (r->q.prompts[i].kind == WEIR_PROMPT_IDS &&
            !weir_request_check_ids(r, what, r->q.prompts[i].ids))
            return false;
    return !r->opaque || weir_request_check_ids(r, what, (struct weir_ids){&r->opaque_id, 1});
}

/* What routing wants to know of a request that an engine will read for itself. A prompt that cannot
 * be made here goes without: the engine says what is wrong with it. */
bool weir_request_prepare_relay(struct weir_request *r) {
    struct weir_leg *leg = weir_request_one_leg(r);
    if (leg == NULL || !check_relay_ids(r))
        return false;
    int mode = r->fl->app->options.router_mode;
    bool blind = mode == WEIR_OPT_ROUTER_MODE_ROUND_ROBIN || mode == WEIR_OPT_ROUTER_MODE_RANDOM;
    bool unread = r->opaque && r->q.kind != WEIR_OPENAI_CHAT;
    if (unread || r->q.has_media || blind)
        return true;
    if (r->q.kind == WEIR_OPENAI_EMBEDDINGS) {
        leg->prompt.n = weir_embeddings_weight(r);
        return true;
    }
    if (!(r->q.kind == WEIR_OPENAI_CHAT ? relay_chat(r, &leg->prompt)
                                        : relay_completion(r, &leg->prompt)))
        return false;
    r->prompt_tokens = leg->prompt.n;
    if (leg->prompt.n > 0)
        weir_metric_observe(weir_model_info(r->model)->metrics.input_tokens, (double)leg->prompt.n);
    return leg->prompt.n == 0 || weir_request_hash_leg(r, leg);
}

/* What only the model knows. End-of-sequence ids go to the worker, unless the client wants to read
 * on behind them. */
void weir_request_fill_prep(struct weir_request *r) {
    size_t n = 0;
    struct weir_prep_request *p = &r->q.prep;
    p->model = weir_span_z(weir_model_info(r->model)->name);
    p->mdc_sum = weir_model_info(r->model)->card_sum;
    /* The probabilities of a prompt that is repeated, as the reference system asks for them. */
    if (r->q.echo && p->output.prompt_logprobs < 0)
        p->output.prompt_logprobs = 1;
    const uint32_t *eos = wtok_eos_ids(weir_model_info(r->model)->tok, &n);
    if (p->stop.ignore_eos != 1) {
        p->eos_token_ids = (struct weir_ids){eos, n};
        p->stop.stop_token_ids_hidden = p->eos_token_ids;
    } else {
        p->eos_token_ids = (struct weir_ids){eos, 0};
    }
}
