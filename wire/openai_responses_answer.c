/* The Response object, and the items in it. */
#include "wire/openai_priv.h"
#include "wire/openai_responses_answer_priv.h"

#include <stdio.h>
#include <string.h>

void weir_responses_head_init(struct weir_responses_head *head, const char *uuid) {
    weir_answer_hex(uuid, head->id);
}

/* ---- items -------------------------------------------------------------------------------- */

/* Ids differ within an answer by their end, between answers by their beginning. */
void weir_responses_item_id(const struct weir_responses_head *head, enum weir_responses_item kind,
                            unsigned index, char room[WEIR_RESPONSES_ITEM_ID]) {
    static const char *const prefix[] = {"", "rs", "msg", "fc"};
    snprintf(room, WEIR_RESPONSES_ITEM_ID, "%s_%.*s%08x", prefix[kind], 24, head->id, index);
}

void weir_responses_put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

static void put_raw(struct weir_jsonw *w, const char *key, struct weir_span raw,
                    const char *otherwise) {
    weir_jsonw_key(w, key);
    weir_jsonw_raw(w, raw.data != NULL ? raw : weir_span_z(otherwise));
}

static void put_list(struct weir_jsonw *w, const char *key, struct weir_span elements) {
    weir_jsonw_key(w, key);
    weir_jsonw_array_begin(w);
    if (elements.len > 0)
        weir_jsonw_raw(w, elements);
    weir_jsonw_array_end(w);
}

void weir_responses_put_part(struct weir_jsonw *w, const struct weir_responses_content *c) {
    bool text = c->kind == WEIR_RESPONSES_MESSAGE;
    weir_jsonw_object_begin(w);
    weir_responses_put_z(w, "type", text ? "output_text" : "reasoning_text");
    if (text) {
        put_list(w, "annotations", weir_span(NULL, 0));
        put_list(w, "logprobs", c->logprobs);
    }
    weir_jsonw_key(w, "text");
    weir_jsonw_string(w, c->text);
    weir_jsonw_object_end(w);
}

void weir_responses_put_item(struct weir_jsonw *w, const char *id,
                             const struct weir_responses_content *c, const char *status) {
    static const char *const types[] = {"", "reasoning", "message", "function_call"};
    bool begun = strcmp(status, "in_progress") != 0;
    weir_jsonw_object_begin(w);
    weir_responses_put_z(w, "type", types[c->kind]);
    if (c->kind == WEIR_RESPONSES_CALL) {
        weir_jsonw_key(w, "arguments");
        weir_jsonw_string(w, c->text);
        weir_jsonw_key(w, "call_id");
        weir_jsonw_string(w, c->call_id);
        weir_jsonw_key(w, "name");
        weir_jsonw_string(w, c->call_name);
    } else {
        if (c->kind == WEIR_RESPONSES_REASONING)
            put_list(w, "summary", weir_span(NULL, 0));
        weir_jsonw_key(w, "content");
        weir_jsonw_array_begin(w);
        if (begun)
            weir_responses_put_part(w, c);
        weir_jsonw_array_end(w);
    }
    weir_responses_put_z(w, "id", id);
    if (c->kind == WEIR_RESPONSES_MESSAGE)
        weir_responses_put_z(w, "role", "assistant");
    weir_responses_put_z(w, "status", status);
    weir_jsonw_object_end(w);
}

/* ---- the object --------------------------------------------------------------------------- */

/* Words of the API for why an answer ends early; NULL: it is complete. */
const char *weir_responses_incomplete(const char *finish_reason) {
    if (finish_reason == NULL)
        return NULL;
    if (strcmp(finish_reason, "length") == 0)
        return "max_output_tokens";
    return strcmp(finish_reason, "content_filter") == 0 ? "content_filter" : NULL;
}

static void put_usage(struct weir_jsonw *w, const struct weir_usage *u) {
    struct weir_span raw;
    uint64_t reasoning = u->reasoning_tokens;
    weir_jsonw_key(w, "usage");
    if (u->completion_details.data != NULL &&
        weir_json_member(u->completion_details, "reasoning_tokens", &raw))
        (void)weir_span_u64(raw, &reasoning);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "input_tokens");
    weir_jsonw_u64(w, u->prompt_tokens);
    weir_jsonw_key(w, "input_tokens_details");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "cached_tokens");
    weir_jsonw_i64(w, u->cached_tokens > 0 ? u->cached_tokens : 0);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "output_tokens");
    weir_jsonw_u64(w, u->completion_tokens);
    weir_jsonw_key(w, "output_tokens_details");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "reasoning_tokens");
    weir_jsonw_u64(w, reasoning);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "total_tokens");
    weir_jsonw_u64(w, u->prompt_tokens + u->completion_tokens);
    weir_jsonw_object_end(w);
}

static void put_state(struct weir_jsonw *w, const struct weir_responses_state *s) {
    const char *reason = s->end != NULL ? weir_responses_incomplete(s->end->finish_reason) : NULL;
    weir_jsonw_key(w, "completed_at");
    if (s->end != NULL && reason == NULL)
        weir_jsonw_u64(w, s->end->now_s);
    else
        weir_jsonw_null(w);
    weir_jsonw_key(w, "error");
    if (s->error_code != NULL) {
        weir_jsonw_object_begin(w);
        weir_responses_put_z(w, "code", s->error_code);
        weir_jsonw_key(w, "message");
        weir_jsonw_string(w, s->error_message);
        weir_jsonw_object_end(w);
    } else {
        weir_jsonw_null(w);
    }
    weir_jsonw_key(w, "incomplete_details");
    if (reason != NULL) {
        weir_jsonw_object_begin(w);
        weir_responses_put_z(w, "reason", reason);
        weir_jsonw_object_end(w);
    } else {
        weir_jsonw_null(w);
    }
    weir_responses_put_z(w, "status",
                         s->error_code != NULL ? "failed"
                         : s->end == NULL      ? "in_progress"
                         : reason != NULL      ? "incomplete"
                                               : "completed");
}

static void put_echo(struct weir_jsonw *w, const struct weir_responses_echo *e) {
    put_raw(w, "instructions", e->instructions, "null");
    put_raw(w, "max_output_tokens", e->max_output_tokens, "null");
    put_raw(w, "metadata", e->metadata, "{}");
    put_raw(w, "parallel_tool_calls", e->parallel_tool_calls, "true");
    put_raw(w, "prompt_cache_key", e->prompt_cache_key, "null");
    put_raw(w, "prompt_cache_retention", e->prompt_cache_retention, "null");
    put_raw(w, "reasoning", e->reasoning, "null");
    put_raw(w, "safety_identifier", e->safety_identifier, "null");
    put_raw(w, "service_tier", e->service_tier, "\"auto\"");
    put_raw(w, "temperature", e->temperature, "1.0");
    put_raw(w, "text", e->text, "{\"format\":{\"type\":\"text\"}}");
    put_raw(w, "tool_choice", e->tool_choice, "\"auto\"");
    put_raw(w, "tools", e->tools, "[]");
    put_raw(w, "top_logprobs", e->top_logprobs, "0");
    put_raw(w, "top_p", e->top_p, "1.0");
    put_raw(w, "truncation", e->truncation, "\"disabled\"");
}

void weir_responses_put(struct weir_jsonw *w, const struct weir_responses_head *head,
                        const struct weir_responses_state *s) {
    static const char *const nothing[] = {"billing", "conversation", "max_tool_calls",
                                          "previous_response_id", "prompt"};
    char id[sizeof("resp_") + WEIR_ANSWER_HEX];
    snprintf(id, sizeof(id), "resp_%s", head->id);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "background");
    weir_jsonw_bool(w, false);
    weir_jsonw_key(w, "created_at");
    weir_jsonw_u64(w, head->created_s);
    weir_responses_put_z(w, "id", id);
    weir_jsonw_key(w, "model");
    weir_jsonw_string(w, head->model);
    weir_responses_put_z(w, "object", "response");
    put_state(w, s);
    put_list(w, "output", s->items);
    put_echo(w, head->echo);
    if (s->end != NULL && s->end->usage != NULL)
        put_usage(w, s->end->usage);
    else
        put_raw(w, "usage", weir_span(NULL, 0), "null");
    for (size_t i = 0; i < WEIR_ARRAY_LEN(nothing); i++)
        put_raw(w, nothing[i], weir_span(NULL, 0), "null");
    put_raw(w, "presence_penalty", weir_span(NULL, 0), "0.0");
    put_raw(w, "frequency_penalty", weir_span(NULL, 0), "0.0");
    put_raw(w, "store", weir_span(NULL, 0), "false"); /* whatever was asked: nothing is */
    if (s->end != NULL && s->end->nvext.data != NULL)
        put_raw(w, "nvext", s->end->nvext, "null");
    weir_jsonw_object_end(w);
}

/* ---- a whole answer ------------------------------------------------------------------------- */

enum weir_status weir_responses_unary(const struct weir_responses_head *head,
                                      const struct weir_answer_choice *choice,
                                      const struct weir_responses_end *end, struct weir_buf *out) {
    const char *status =
        weir_responses_incomplete(end->finish_reason) != NULL ? "incomplete" : "completed";
    struct weir_responses_state state = {.end = end};
    struct weir_responses_content c = {0};
    char id[WEIR_RESPONSES_ITEM_ID];
    unsigned n = 0;
    struct weir_buf items;
    struct weir_jsonw w;
    weir_buf_init(&items, out->max);
    weir_jsonw_init(&w, &items);
    if (choice->reasoning.len > 0) {
        c = (struct weir_responses_content){.kind = WEIR_RESPONSES_REASONING,
                                            .text = choice->reasoning};
        weir_responses_item_id(head, c.kind, n++, id);
        weir_responses_put_item(
            &w, id, &c, choice->text.len == 0 && choice->n_calls == 0 ? status : "completed");
    }
    if (choice->text.len > 0 || (n == 0 && choice->n_calls == 0)) {
        c = (struct weir_responses_content){.kind = WEIR_RESPONSES_MESSAGE,
                                            .text = choice->text,
                                            .logprobs = weir_responses_logprobs(choice->logprobs)};
        weir_responses_item_id(head, c.kind, n++, id);
        weir_responses_put_item(&w, id, &c, choice->n_calls == 0 ? status : "completed");
    }
    for (size_t i = 0; i < choice->n_calls; i++) {
        c = (struct weir_responses_content){.kind = WEIR_RESPONSES_CALL,
                                            .text = choice->calls[i].arguments,
                                            .call_id = choice->calls[i].id,
                                            .call_name = choice->calls[i].name};
        weir_responses_item_id(head, c.kind, n++, id);
        weir_responses_put_item(&w, id, &c, i + 1 == choice->n_calls ? status : "completed");
    }
    enum weir_status st = w.status;
    if (st == WEIR_OK) {
        state.items = weir_buf_span(&items);
        weir_jsonw_init(&w, out);
        weir_responses_put(&w, head, &state);
        st = w.status;
    }
    weir_buf_fini(&items);
    return st;
}
