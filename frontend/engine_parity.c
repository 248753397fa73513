/*
 * Happy path: conversation → POST /tokenize → our tokens → compare → the next one → fn. The first
 * that differs is asked for once more, because a date may have changed between the two sides; if it
 * still differs it is the finding and the last one. Failure modes: an engine without /tokenize, or
 * one that breaks off: what was compared until then is the finding. A conversation that one side
 * refuses is left out: a template may ask for other roles.
 */
#include "frontend/engine_parity.h"

#include "base/json.h"
#include "base/mem.h"
#include "runtime/engine_answers.h"
#include "tokenizer/chat.h"

#include <stdio.h>
#include <string.h>

enum { ANSWER_MAX = 4 << 20, TEXT_MAX = 16 << 20, TOTAL_MS = 10000, FAILURES = 3 };

struct weir_engine_parity {
    struct weir_engine_parity_config config;
    weir_engine_parity_fn fn;
    void *arg;
    struct weir_relay_user user;
    struct weir_http_call *call;
    struct weir_arena arena; /* of one conversation */
    struct weir_buf answer;
    struct weir_parity_facts facts;
    struct weir_parity_finding finding;
    size_t at; /* in weir_parity_canned */
    bool asked_twice;
    int status;
    unsigned n_failures;
};

static void on_done(void *arg, enum weir_status status, bool sent_any);

void weir_engine_parity_cancel(struct weir_engine_parity *p) {
    if (p == NULL)
        return;
    if (p->call != NULL)
        weir_http_call_cancel(p->call);
    weir_relay_pool_release(&p->user);
    weir_arena_fini(&p->arena);
    weir_buf_fini(&p->answer);
    weir_free(p);
}

static void finish(struct weir_engine_parity *p) {
    struct weir_parity_finding f = p->finding;
    weir_engine_parity_fn fn = p->fn;
    void *arg = p->arg;
    bool any = f.n_same > 0 || f.canned != NULL;
    weir_engine_parity_cancel(p);
    fn(arg, any ? &f : NULL);
}

/* ---- our tokens --------------------------------------------------------------------------- */

static enum weir_status encode(struct weir_engine_parity *p, struct weir_span text, unsigned flags,
                               uint32_t **ret_ids, size_t *ret_n) {
    const struct wtok *tok = p->config.info->tok;
    size_t room = wtok_encode_bound(tok, text.len);
    *ret_ids = weir_arena_alloc(&p->arena, (room + 1) * sizeof(**ret_ids));
    if (*ret_ids == NULL)
        return WEIR_NOMEM;
    return wtok_encode(tok, text, flags | WTOK_NO_CACHE, *ret_ids, room, ret_n);
}

static enum weir_status our_tokens(struct weir_engine_parity *p, const struct weir_parity_canned *c,
                                   uint32_t **ret_ids, size_t *ret_n) {
    if (c->prompt != NULL)
        return encode(p, weir_span_z(c->prompt),
                      WTOK_SPECIAL | (c->shape == WEIR_PARITY_PROMPT ? WTOK_ADD_SPECIAL : 0),
                      ret_ids, ret_n);
    struct wtok_chat chat = {.messages = weir_span_z(c->messages),
                             .tools = c->tools != NULL ? weir_span_z(c->tools) : weir_span(NULL, 0),
                             .add_generation_prompt = !c->no_generation_prompt,
                             .flavour = p->config.info->flavour};
    struct weir_buf text;
    struct weir_err err = {.text = ""};
    weir_buf_init(&text, TEXT_MAX);
    enum weir_status st = wtok_render_chat(p->config.info->tok, &chat, &text, &err);
    if (st == WEIR_OK)
        st = encode(p, weir_buf_span(&text), WTOK_SPECIAL, ret_ids, ret_n);
    weir_buf_fini(&text);
    return st;
}

/* ---- asking ------------------------------------------------------------------------------- */

static void put_raw(struct weir_jsonw *w, const char *key, const char *json) {
    weir_jsonw_key(w, key);
    weir_jsonw_raw(w, weir_span_z(json));
}

static bool put_question(const struct weir_engine_parity *p, const struct weir_parity_canned *c,
                         struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "model");
    weir_jsonw_string_z(&w, p->config.info->name);
    if (c->prompt != NULL) {
        weir_jsonw_key(&w, "prompt");
        weir_jsonw_string_z(&w, c->prompt);
    } else {
        put_raw(&w, "messages", c->messages);
    }
    if (c->tools != NULL)
        put_raw(&w, "tools", c->tools);
    if (c->shape == WEIR_PARITY_TEXT)
        put_raw(&w, "add_special_tokens", "false");
    if (c->no_generation_prompt)
        put_raw(&w, "add_generation_prompt", "false");
    weir_jsonw_object_end(&w);
    return w.status == WEIR_OK;
}

static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct weir_engine_parity *p = arg;
    (void)headers;
    (void)n;
    p->status = status;
}

static void on_body(void *arg, struct weir_span bytes) {
    struct weir_engine_parity *p = arg;
    if (weir_buf_append_span(&p->answer, bytes) != WEIR_OK)
        p->status = 0; /* larger than any such answer */
}

static enum weir_status ask(struct weir_engine_parity *p) {
    static const struct weir_http_call_ops ops = {on_head, on_body, on_done};
    struct weir_http_header headers[2] = {
        {WEIR_SPAN_LIT("content-type"), WEIR_SPAN_LIT("application/json")}};
    struct weir_buf body;
    struct weir_http_call_config c = {.method = "POST",
                                      .target = "/tokenize",
                                      .headers = headers,
                                      .n_headers = 1,
                                      .total_ms = TOTAL_MS};
    if (p->config.bearer != NULL)
        headers[c.n_headers++] = (struct weir_http_header){WEIR_SPAN_LIT("authorization"),
                                                           weir_span_z(p->config.bearer)};
    p->status = 0;
    weir_buf_clear(&p->answer);
    weir_buf_init(&body, TEXT_MAX);
    enum weir_status st = put_question(p, &weir_parity_canned[p->at], &body) ? WEIR_OK : WEIR_NOMEM;
    c.body = weir_buf_span(&body);
    if (st == WEIR_OK)
        st = weir_http_call_start(weir_relay_pool_client(p->user.pool), &c, &ops, p, &p->call);
    if (st != WEIR_OK)
        p->call = NULL;
    weir_buf_fini(&body);
    return st;
}

/* Templates of our own are code, and engines may have other code behind /tokenize than behind
 * their chats (gpt-oss): only counts tell there. SGLang's chats always get a generation prompt and
 * turn a last assistant's message round; its /tokenize does neither when the field is there. */
static bool skipped(const struct weir_engine_parity *p) {
    const struct weir_parity_canned *c = &weir_parity_canned[p->at];
    return c->messages != NULL &&
           (wtok_chat_native(p->config.info->tok) ||
            (c->no_generation_prompt && p->config.info->flavour == WTOK_FLAVOUR_SGLANG));
}

static void ask_next(struct weir_engine_parity *p) {
    p->asked_twice = false;
    do
        p->at++;
    while (p->at < weir_parity_n_canned && skipped(p));
    if (p->at >= weir_parity_n_canned || ask(p) != WEIR_OK)
        finish(p);
}

/* ---- comparing ---------------------------------------------------------------------------- */

/* False: asked for once more, or the end. */
static bool compare(struct weir_engine_parity *p) {
    const struct weir_parity_canned *c = &weir_parity_canned[p->at];
    const uint32_t *theirs;
    uint32_t *ours;
    size_t n_theirs, n_ours, at;
    weir_arena_reset(&p->arena);
    if (p->status != 200 || our_tokens(p, c, &ours, &n_ours) != WEIR_OK ||
        weir_engine_read_tokens(weir_buf_span(&p->answer), &p->arena, &theirs, &n_theirs) !=
            WEIR_OK)
        return true;
    enum weir_parity_cause cause =
        weir_parity_compare(c->shape, &p->facts, ours, n_ours, theirs, n_theirs, &at);
    if (cause == WEIR_PARITY_SAME) {
        p->finding.n_same++;
        return true;
    }
    if (!p->asked_twice) {
        p->asked_twice = true;
        if (ask(p) == WEIR_OK)
            return false;
    }
    p->finding.canned = c;
    p->finding.cause = cause;
    p->finding.n_ours = n_ours;
    p->finding.n_theirs = n_theirs;
    p->finding.at = at;
    finish(p);
    return false;
}

static void on_done(void *arg, enum weir_status status, bool sent_any) {
    struct weir_engine_parity *p = arg;
    (void)sent_any;
    p->call = NULL;
    bool missing = p->status == 404 || p->status == 405 || p->status == 501;
    if (status != WEIR_OK && ++p->n_failures < FAILURES) {
        if (ask(p) != WEIR_OK)
            finish(p);
    } else if (status != WEIR_OK || missing) {
        finish(p);
    } else if (compare(p)) {
        ask_next(p);
    }
}

static bool prints_time(struct weir_span file) {
    return file.len > 0 && memmem(file.data, file.len, "strftime_now", 12) != NULL;
}

enum weir_status weir_engine_parity_start(const struct weir_engine_parity_config *config,
                                          weir_engine_parity_fn fn, void *arg,
                                          struct weir_engine_parity **ret_parity) {
    struct weir_engine_parity *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    struct wtok_chat_files files = wtok_chat_files(config->info->tok);
    p->config = *config;
    p->fn = fn;
    p->arg = arg;
    p->finding.address = config->address;
    p->facts.vocab_size = wtok_vocab_size(config->info->tok);
    p->facts.prints_time =
        prints_time(files.chat_template_jinja) || prints_time(files.tokenizer_config);
    weir_arena_init(&p->arena, TEXT_MAX);
    weir_buf_init(&p->answer, ANSWER_MAX);
    enum weir_status st =
        weir_relay_pool_take(config->pools, weir_span_z(config->address), &p->user);
    if (st == WEIR_OK && (st = ask(p)) != WEIR_OK)
        weir_relay_pool_release(&p->user);
    if (st != WEIR_OK) {
        weir_arena_fini(&p->arena);
        weir_buf_fini(&p->answer);
        weir_free(p);
        return st;
    }
    *ret_parity = p;
    return WEIR_OK;
}
