/*
 * Tokens that an engine makes (/tokenize): of a prompt that is to be routed where no tokenizer is,
 * and for those who only want to know how many there are. Failure modes: without them a request is
 * routed by load; a count goes to another engine, and fails when none is left.
 */
#include "base/json.h"
#include "frontend/relay_body.h"
#include "frontend/relay_priv.h"
#include "runtime/engine_answers.h"
#include "tokenizer/request.h"

static void count(struct weir_leg *leg);

static void end_count(struct weir_relay *y, enum weir_status status, bool sent_any) {
    struct weir_leg *leg = y->leg;
    const uint32_t *ids;
    size_t n;
    if (status != WEIR_OK || y->status == 503) {
        if (weir_relay_move_on(y, status == WEIR_OK ? WEIR_RELAY_FAILED
                                                    : weir_relay_loss(status, sent_any)))
            count(leg);
        else
            weir_relay_fail(leg, 503, "Service temporarily unavailable");
    } else if (y->status != 200) {
        weir_relay_translated_end(y);
    } else if (weir_engine_read_tokens(weir_buf_span(&y->answer), &leg->request->arena, &ids, &n) ==
               WEIR_OK) {
        weir_request_answer_count(leg->request, n);
    } else {
        weir_relay_fail(leg, 502, "The engine's /tokenize answered something else than tokens");
    }
}

/* Whatever it calls its answer: that is never the client's. */
static void on_head(void *arg, int status, const struct weir_http_header *headers, size_t n) {
    struct weir_relay *y = arg;
    weir_relay_on_head(y, status, headers, n);
    y->streams = false;
}

static void on_tokens(void *arg, enum weir_status status, bool sent_any) {
    struct weir_relay *y = arg;
    struct weir_leg *leg = y->leg;
    struct weir_request *r = leg->request;
    const uint32_t *ids;
    size_t n;
    y->call = NULL;
    weir_relay_drop_call(y);
    if (r->answered)
        return;
    if (r->only_counts) {
        end_count(y, status, sent_any);
        return;
    }
    /* Without tokens the request goes where the load is least. */
    if (status == WEIR_OK && y->status == 200 &&
        weir_engine_read_tokens(weir_buf_span(&y->answer), &r->arena, &ids, &n) == WEIR_OK) {
        leg->prompt = (struct weir_ids){ids, n};
        if (!weir_request_hash_leg(r, leg))
            return;
    }
    y->status = 0;
    weir_buf_clear(&y->answer);
    weir_relay_go(leg);
}

static enum weir_status put_prompt(const struct weir_request *r, bool special,
                                   struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "model");
    weir_jsonw_string(&w, r->q.model);
    weir_jsonw_key(&w, "prompt");
    weir_jsonw_string(&w, r->q.prompts[0].text);
    if (!special) {
        weir_jsonw_key(&w, "add_special_tokens");
        weir_jsonw_bool(&w, false);
    }
    weir_jsonw_object_end(&w);
    return w.status;
}

/* vLLM's page knows less than its chats do: their effort and documents are arguments there. */
static enum weir_status put_args(struct weir_span body, const struct wtok_chat *chat,
                                 struct weir_buf *out) {
    struct weir_span args = chat->template_args;
    struct weir_buf merged;
    bool documents = chat->documents.data != NULL;
    weir_buf_init(&merged, WEIR_REQUEST_ARENA);
    enum weir_status st =
        documents ? weir_buf_printf(&merged, "{\"documents\":%.*s", WEIR_SPAN_ARG(chat->documents))
                  : weir_buf_append_c(&merged, '{');
    /* Behind the brace of the arguments, which were written without blanks. */
    if (st == WEIR_OK && documents && args.len > 2)
        st = weir_buf_append_c(&merged, ',');
    if (st == WEIR_OK)
        st = args.len > 2 ? weir_buf_append(&merged, args.data + 1, args.len - 1)
                          : weir_buf_append_c(&merged, '}');
    if (st == WEIR_OK)
        st = weir_relay_body_template(body, weir_buf_span(&merged), out);
    weir_buf_fini(&merged);
    return st;
}

static enum weir_status put_chat(const struct weir_request *r, const struct wtok_chat *chat,
                                 struct weir_buf *out) {
    struct weir_span body = weir_relay_body(r), raw;
    struct weir_buf whole;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&whole, WEIR_REQUEST_ARENA);
    if (chat->flavour == WTOK_FLAVOUR_VLLM &&
        (chat->documents.data != NULL || weir_json_member(body, "reasoning_effort", &raw))) {
        st = put_args(body, chat, &whole);
        body = weir_buf_span(&whole);
    }
    if (st == WEIR_OK)
        st = r->q.stream ? weir_relay_body_unstreamed(body, out) : weir_buf_append_span(out, body);
    weir_buf_fini(&whole);
    return st;
}

/* What the page is asked. INVALID, UNSUPPORTED with words: what it would say is not what the engine
 * makes of the request. */
static enum weir_status token_body(struct weir_request *r, struct weir_span *ret_body,
                                   struct weir_err *err) {
    const struct weir_model_info *info = weir_model_info(r->model);
    struct weir_span body = weir_relay_body(r), raw;
    struct wtok_chat chat;
    struct weir_buf out;
    unsigned flags;
    bool is_chat = r->q.kind == WEIR_OPENAI_CHAT;
    enum weir_status st =
        is_chat ? wtok_request_chat(body, info->flavour, &r->arena, &chat, &flags, err)
                : wtok_request_completion(body, info->flavour, &flags, err);
    if (st != WEIR_OK)
        return st;
    if (is_chat && chat.flavour == WTOK_FLAVOUR_SGLANG &&
        weir_json_member(body, "add_generation_prompt", &raw) &&
        weir_json_type_of(raw) != WEIR_JSON_NULL)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "`add_generation_prompt` is followed by SGLang's /tokenize, not by "
                            "its chats");
    weir_buf_init(&out, WEIR_REQUEST_ARENA);
    st = is_chat ? put_chat(r, &chat, &out) : put_prompt(r, (flags & WTOK_ADD_SPECIAL) != 0, &out);
    *ret_body =
        st == WEIR_OK ? weir_arena_copy(&r->arena, weir_buf_span(&out)) : weir_span(NULL, 0);
    weir_buf_fini(&out);
    return ret_body->data != NULL ? WEIR_OK : WEIR_NOMEM;
}

/* *ret_chosen: there is an engine that was asked. */
static enum weir_status ask(struct weir_leg *leg, struct weir_span body, bool *ret_chosen) {
    static const struct weir_http_call_ops ops = {on_head, weir_relay_on_body, on_tokens};
    struct weir_request *r = leg->request;
    struct weir_relay *y = leg->relay;
    struct weir_model_worker worker;
    *ret_chosen = false;
    y->status = 0;
    y->streams = false;
    weir_buf_clear(&y->answer);
    leg->asks_tokens = true;
    enum weir_status st = weir_leg_route(leg);
    leg->asks_tokens = false;
    if (st != WEIR_OK)
        return st;
    *ret_chosen = true;
    weir_relay_release(leg); /* any engine will do: the least loaded one */
    leg->sent_ns = weir_now_ns();
    return weir_model_worker(r->model, leg->worker_id, &worker)
               ? weir_relay_call(y, worker.address, "/tokenize", body, &ops)
               : WEIR_UNAVAILABLE;
}

static void count(struct weir_leg *leg) {
    struct weir_span body;
    struct weir_err err = {.text = ""};
    enum weir_status st = token_body(leg->request, &body, &err);
    if (st != WEIR_OK) {
        weir_relay_fail(leg,
                        st == WEIR_INVALID       ? 400
                        : st == WEIR_UNSUPPORTED ? 501
                                                 : 503,
                        st == WEIR_NOMEM ? "Service temporarily unavailable" : err.text);
        return;
    }
    for (;;) {
        bool chosen;
        st = ask(leg, body, &chosen);
        if (st == WEIR_OK)
            return;
        if (!chosen) {
            weir_leg_fail_route(leg, st);
            return;
        }
        if (!weir_relay_move_on(leg->relay, WEIR_RELAY_UNTOUCHED)) {
            weir_relay_fail(leg, 503, "Service temporarily unavailable");
            return;
        }
    }
}

void weir_relay_ask_tokens(struct weir_leg *leg) {
    const struct weir_request *r = leg->request;
    bool text = r->q.kind == WEIR_OPENAI_CHAT ||
                (r->q.n_prompts > 0 && r->q.prompts[0].kind == WEIR_PROMPT_TEXT);
    bool wanted = weir_model_info(r->model)->engine_tokens && leg->prompt.n == 0 && text &&
                  r->q.kind != WEIR_OPENAI_EMBEDDINGS && !r->opaque && !r->q.has_media;
    bool chosen;
    struct weir_span body;
    struct weir_err err;
    if (r->only_counts)
        count(leg);
    else if (!wanted || token_body(leg->request, &body, &err) != WEIR_OK ||
             ask(leg, body, &chosen) != WEIR_OK)
        weir_relay_go(leg);
}

/* ---- counts ------------------------------------------------------------------------------- */

bool weir_relay_counts(struct weir_request *r) {
    const struct weir_model_info *info = weir_model_info(r->model);
    bool ours = info->tok != NULL && !weir_model_blind(r->model);
    if (r->q.has_media)
        weir_request_fail(r, 501, WEIR_SPAN_LIT(WEIR_REQUEST_MEDIA_NOT_COUNTED), "not_implemented");
    else if (!ours && !info->tokenizes)
        weir_request_fail(r, 501,
                          WEIR_SPAN_LIT("The tokens of this model's prompts cannot be counted: its "
                                        "engines have no /tokenize, and there is no tokenizer here "
                                        "that makes the same tokens as they (--model-path)"),
                          "not_implemented");
    return !ours && !r->answered;
}

void weir_relay_count(struct weir_request *r) {
    struct weir_leg *leg = weir_request_one_leg(r);
    if (leg != NULL && weir_relay_translated_prepare(r))
        weir_relay_start(leg);
}
