/* Messages, whole and as events, and errors. */
#include "wire/anthropic.h"

#include "base/json.h"

#include <string.h>

/* No engine signs thoughts; the word of the reference system for that. */
static const char no_signature[] = "erased";

static void put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

static void put_u64(struct weir_jsonw *w, const char *key, uint64_t value) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, value);
}

static void put_text(struct weir_jsonw *w, const char *key, struct weir_span text) {
    weir_jsonw_key(w, key);
    weir_jsonw_string(w, text);
}

/* Tokens that a cache held are none of input_tokens. */
static void put_usage(struct weir_jsonw *w, const struct weir_usage *u, bool total) {
    uint64_t cached = u->cached_tokens > 0 ? (uint64_t)u->cached_tokens : 0;
    if (cached > u->prompt_tokens)
        cached = u->prompt_tokens;
    weir_jsonw_key(w, "usage");
    weir_jsonw_object_begin(w);
    put_u64(w, "input_tokens", u->prompt_tokens - cached);
    put_u64(w, "output_tokens", u->completion_tokens);
    put_u64(w, "cache_creation_input_tokens", 0);
    if (cached > 0)
        put_u64(w, "cache_read_input_tokens", cached);
    if (total)
        put_u64(w, "total_tokens", u->prompt_tokens + u->completion_tokens);
    weir_jsonw_object_end(w);
}

static const char *stop_reason(const struct weir_messages_end *end) {
    static const struct {
        const char *chat, *ours;
    } table[] = {{"length", "max_tokens"},
                 {"tool_calls", "tool_use"},
                 {"function_call", "tool_use"},
                 {"content_filter", "refusal"}};
    if (end->finish_reason == NULL)
        return NULL;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(table); i++)
        if (strcmp(end->finish_reason, table[i].chat) == 0)
            return table[i].ours;
    return end->stop_sequence.data != NULL ? "stop_sequence" : "end_turn";
}

static void put_reason(struct weir_jsonw *w, const char *reason) {
    weir_jsonw_key(w, "stop_reason");
    if (reason != NULL)
        weir_jsonw_string_z(w, reason);
    else
        weir_jsonw_null(w);
}

static bool is_sequence(const char *reason) {
    return reason != NULL && strcmp(reason, "stop_sequence") == 0;
}

static void put_head(struct weir_jsonw *w, const struct weir_messages_head *head) {
    char id[WEIR_ANSWER_HEX + 8] = "msg_";
    memcpy(id + 4, head->id, sizeof(head->id));
    put_z(w, "id", id);
    put_z(w, "type", "message");
    put_z(w, "role", "assistant");
}

/* ---- whole -------------------------------------------------------------------------------- */

static void put_thinking(struct weir_jsonw *w, struct weir_span text, const char *signature) {
    weir_jsonw_object_begin(w);
    put_z(w, "type", "thinking");
    put_text(w, "thinking", text);
    put_z(w, "signature", signature);
    weir_jsonw_object_end(w);
}

static void put_text_block(struct weir_jsonw *w, struct weir_span text) {
    weir_jsonw_object_begin(w);
    put_z(w, "type", "text");
    put_text(w, "text", text);
    weir_jsonw_object_end(w);
}

static void put_call_block(struct weir_jsonw *w, const struct weir_answer_call *call,
                           struct weir_span input) {
    weir_jsonw_object_begin(w);
    put_z(w, "type", "tool_use");
    put_text(w, "id", call->id);
    put_text(w, "name", call->name);
    weir_jsonw_key(w, "input");
    weir_jsonw_raw(w, input);
    weir_jsonw_object_end(w);
}

/* No arguments are an empty object. */
static bool input_of(const struct weir_answer_call *call, struct weir_span *ret) {
    struct weir_json j;
    *ret = weir_span_trim(call->arguments);
    if (ret->len == 0)
        *ret = WEIR_SPAN_LIT("{}");
    weir_json_init(&j, *ret, 128);
    return weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_skip(&j, NULL) &&
           weir_json_finish(&j);
}

enum weir_status weir_messages_unary(const struct weir_messages_head *head,
                                     const struct weir_answer_choice *choice,
                                     const struct weir_messages_end *end, struct weir_buf *out) {
    const char *reason = stop_reason(end);
    struct weir_jsonw w;
    struct weir_span input;
    size_t n_calls = 0;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_head(&w, head);
    weir_jsonw_key(&w, "content");
    weir_jsonw_array_begin(&w);
    if (choice->reasoning.len > 0)
        put_thinking(&w, choice->reasoning, no_signature);
    if (choice->text.len > 0)
        put_text_block(&w, choice->text);
    for (size_t i = 0; i < choice->n_calls; i++) {
        if (!input_of(&choice->calls[i], &input))
            continue;
        put_call_block(&w, &choice->calls[i], input);
        n_calls++;
    }
    if (choice->reasoning.len == 0 && choice->text.len == 0 && n_calls == 0)
        put_text_block(&w, weir_span("", 0));
    weir_jsonw_array_end(&w);
    /* A client that is told to call a tool finds one. */
    if (reason != NULL && strcmp(reason, "tool_use") == 0 && n_calls == 0)
        reason = "end_turn";
    put_text(&w, "model", head->model);
    put_reason(&w, reason);
    weir_jsonw_key(&w, "stop_sequence");
    if (is_sequence(reason))
        weir_jsonw_string(&w, end->stop_sequence);
    else
        weir_jsonw_null(&w);
    put_usage(&w, end->usage, false);
    weir_jsonw_object_end(&w);
    return w.status;
}

/* ---- events ------------------------------------------------------------------------------- */

static void begin_event(struct weir_jsonw *w, struct weir_buf *out, const char *type) {
    weir_jsonw_init(w, out);
    w->status = weir_buf_printf(out, "event: %s\ndata: ", type);
    weir_jsonw_object_begin(w);
    put_z(w, "type", type);
}

static enum weir_status end_event(struct weir_jsonw *w) {
    weir_jsonw_object_end(w);
    return w->status == WEIR_OK ? weir_buf_append(w->buf, "\n\n", 2) : w->status;
}

void weir_messages_stream_init(struct weir_messages_stream *s,
                               const struct weir_messages_head *head) {
    *s = (struct weir_messages_stream){.head = *head};
}

enum weir_status weir_messages_begin(struct weir_messages_stream *s, const struct weir_usage *usage,
                                     struct weir_buf *out) {
    struct weir_jsonw w;
    begin_event(&w, out, "message_start");
    weir_jsonw_key(&w, "message");
    weir_jsonw_object_begin(&w);
    put_head(&w, &s->head);
    weir_jsonw_key(&w, "content");
    weir_jsonw_array_begin(&w);
    weir_jsonw_array_end(&w);
    put_text(&w, "model", s->head.model);
    put_reason(&w, NULL);
    weir_jsonw_key(&w, "stop_sequence");
    weir_jsonw_null(&w);
    put_usage(&w, usage, false);
    weir_jsonw_object_end(&w);
    return end_event(&w);
}

/* call: of a CALL. */
static enum weir_status open_block(struct weir_messages_stream *s, enum weir_messages_block kind,
                                   const struct weir_answer_call *call, struct weir_buf *out) {
    struct weir_jsonw w;
    s->open = kind;
    begin_event(&w, out, "content_block_start");
    put_u64(&w, "index", s->n_blocks++);
    weir_jsonw_key(&w, "content_block");
    if (kind == WEIR_MESSAGES_CALL)
        put_call_block(&w, call, WEIR_SPAN_LIT("{}"));
    else if (kind == WEIR_MESSAGES_TEXT)
        put_text_block(&w, weir_span("", 0));
    else
        put_thinking(&w, weir_span("", 0), "");
    return end_event(&w);
}

/* type, key: of the delta. */
static enum weir_status put_delta(struct weir_messages_stream *s, const char *type, const char *key,
                                  struct weir_span text, const struct weir_usage *usage,
                                  struct weir_buf *out) {
    struct weir_jsonw w;
    begin_event(&w, out, "content_block_delta");
    put_u64(&w, "index", s->n_blocks - 1);
    weir_jsonw_key(&w, "delta");
    weir_jsonw_object_begin(&w);
    put_z(&w, "type", type);
    put_text(&w, key, text);
    weir_jsonw_object_end(&w);
    if (usage != NULL)
        put_usage(&w, usage, true);
    return end_event(&w);
}

static enum weir_status close_block(struct weir_messages_stream *s, const struct weir_usage *usage,
                                    struct weir_buf *out) {
    struct weir_jsonw w;
    enum weir_status st = WEIR_OK;
    if (s->open == WEIR_MESSAGES_NONE)
        return WEIR_OK;
    if (s->open == WEIR_MESSAGES_THINKING)
        st = put_delta(s, "signature_delta", "signature", weir_span_z(no_signature), usage, out);
    s->open = WEIR_MESSAGES_NONE;
    if (st != WEIR_OK)
        return st;
    begin_event(&w, out, "content_block_stop");
    put_u64(&w, "index", s->n_blocks - 1);
    return end_event(&w);
}

/* A block of that kind is open. */
static enum weir_status go_to(struct weir_messages_stream *s, enum weir_messages_block kind,
                              const struct weir_usage *usage, struct weir_buf *out) {
    if (s->open == kind)
        return WEIR_OK;
    enum weir_status st = close_block(s, usage, out);
    return st == WEIR_OK ? open_block(s, kind, NULL, out) : st;
}

static enum weir_status put_call(struct weir_messages_stream *s, const struct weir_answer_piece *p,
                                 struct weir_buf *out) {
    const struct weir_answer_call *call = p->call;
    enum weir_status st = WEIR_OK;
    if (call->id.data != NULL) { /* the next one begins */
        st = close_block(s, p->usage, out);
        if (st == WEIR_OK)
            st = open_block(s, WEIR_MESSAGES_CALL, call, out);
        s->call_index = call->index;
    }
    if (st != WEIR_OK || call->arguments.len == 0)
        return st;
    if (s->open != WEIR_MESSAGES_CALL || s->call_index != call->index)
        return WEIR_PROTOCOL; /* a part of a call that is not open */
    return put_delta(s, "input_json_delta", "partial_json", call->arguments, p->usage, out);
}

enum weir_status weir_messages_piece(struct weir_messages_stream *s,
                                     const struct weir_answer_piece *p, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    if (p->reasoning.len > 0) {
        st = go_to(s, WEIR_MESSAGES_THINKING, p->usage, out);
        if (st == WEIR_OK)
            st = put_delta(s, "thinking_delta", "thinking", p->reasoning, p->usage, out);
    }
    if (st == WEIR_OK && p->has_text && p->text.len > 0) {
        st = go_to(s, WEIR_MESSAGES_TEXT, p->usage, out);
        if (st == WEIR_OK)
            st = put_delta(s, "text_delta", "text", p->text, p->usage, out);
    }
    if (st == WEIR_OK && p->call != NULL)
        st = put_call(s, p, out);
    return st;
}

enum weir_status weir_messages_finish(struct weir_messages_stream *s,
                                      const struct weir_messages_end *end, struct weir_buf *out) {
    const char *reason = stop_reason(end);
    struct weir_jsonw w;
    enum weir_status st = close_block(s, end->usage, out);
    if (st != WEIR_OK)
        return st;
    begin_event(&w, out, "message_delta");
    weir_jsonw_key(&w, "delta");
    weir_jsonw_object_begin(&w);
    put_reason(&w, reason);
    if (is_sequence(reason))
        put_text(&w, "stop_sequence", end->stop_sequence);
    weir_jsonw_object_end(&w);
    put_usage(&w, end->usage, false);
    st = end_event(&w);
    if (st != WEIR_OK)
        return st;
    begin_event(&w, out, "message_stop");
    return end_event(&w);
}

/* ---- errors ------------------------------------------------------------------------------- */

static const char *error_type(int http_status) {
    static const struct {
        int status;
        const char *type;
    } table[] = {{401, "authentication_error"}, {403, "permission_error"},
                 {404, "not_found_error"},      {413, "request_too_large"},
                 {429, "rate_limit_error"},     {503, "overloaded_error"},
                 {504, "timeout_error"},        {529, "overloaded_error"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(table); i++)
        if (table[i].status == http_status)
            return table[i].type;
    return http_status < 500 ? "invalid_request_error" : "api_error";
}

static void put_error(struct weir_jsonw *w, int http_status, struct weir_span message) {
    weir_jsonw_key(w, "error");
    weir_jsonw_object_begin(w);
    put_z(w, "type", error_type(http_status));
    put_text(w, "message", message);
    weir_jsonw_object_end(w);
}

enum weir_status weir_messages_fail(int http_status, struct weir_span message,
                                    struct weir_buf *out) {
    struct weir_jsonw w;
    begin_event(&w, out, "error");
    put_error(&w, http_status, message);
    return end_event(&w);
}

enum weir_status weir_messages_error_body(int http_status, struct weir_span message,
                                          struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    put_z(&w, "type", "error");
    put_error(&w, http_status, message);
    weir_jsonw_object_end(&w);
    return w.status;
}
