/* Key order and nulls as the reference system writes them (shared spec "frontend" 2.4). */
#include "wire/openai_answer.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

/* ---- parts -------------------------------------------------------------------------------- */

static void put_detail(struct weir_jsonw *w, const char *key, bool known, uint64_t n, bool nulls) {
    if (!known && !nulls)
        return;
    weir_jsonw_key(w, key);
    if (known)
        weir_jsonw_u64(w, n);
    else
        weir_jsonw_null(w);
}

static void put_usage(struct weir_jsonw *w, enum weir_openai_kind kind,
                      const struct weir_usage *u) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "prompt_tokens");
    weir_jsonw_u64(w, u->prompt_tokens);
    weir_jsonw_key(w, "completion_tokens");
    weir_jsonw_u64(w, u->completion_tokens);
    weir_jsonw_key(w, "total_tokens");
    weir_jsonw_u64(w, u->prompt_tokens + u->completion_tokens);
    if (u->cached_tokens >= 0 || u->has_audio_tokens) {
        bool nulls = kind == WEIR_OPENAI_COMPLETION;
        weir_jsonw_key(w, "prompt_tokens_details");
        weir_jsonw_object_begin(w);
        put_detail(w, "audio_tokens", u->has_audio_tokens, u->audio_tokens, nulls);
        put_detail(w, "cached_tokens", u->cached_tokens >= 0, (uint64_t)u->cached_tokens, nulls);
        weir_jsonw_object_end(w);
    }
    if (u->completion_details.data != NULL) {
        weir_jsonw_key(w, "completion_tokens_details");
        weir_jsonw_raw(w, u->completion_details);
    } else if (u->has_reasoning_tokens) {
        weir_jsonw_key(w, "completion_tokens_details");
        weir_jsonw_object_begin(w);
        weir_jsonw_key(w, "reasoning_tokens");
        weir_jsonw_u64(w, u->reasoning_tokens);
        weir_jsonw_object_end(w);
    }
    weir_jsonw_object_end(w);
}

static void put_raw_or_null(struct weir_jsonw *w, const char *key, struct weir_span json) {
    weir_jsonw_key(w, key);
    if (json.data != NULL)
        weir_jsonw_raw(w, json);
    else
        weir_jsonw_null(w);
}

static void put_finish(struct weir_jsonw *w, const char *finish) {
    weir_jsonw_key(w, "finish_reason");
    if (finish != NULL)
        weir_jsonw_string_z(w, finish);
    else
        weir_jsonw_null(w);
}

static void put_head(struct weir_jsonw *w, const struct weir_answer_head *head) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "id");
    weir_jsonw_string(w, head->id);
    weir_jsonw_key(w, "choices");
    weir_jsonw_array_begin(w);
}

/* Everything behind the choices. */
static void put_tail(struct weir_jsonw *w, const struct weir_answer_head *head, bool chunk,
                     const struct weir_usage *usage, struct weir_span nvext) {
    bool chat = head->kind == WEIR_OPENAI_CHAT;
    weir_jsonw_array_end(w);
    weir_jsonw_key(w, "created");
    weir_jsonw_u64(w, head->created_s);
    weir_jsonw_key(w, "model");
    weir_jsonw_string(w, head->model);
    if (!chat) {
        weir_jsonw_key(w, "system_fingerprint");
        weir_jsonw_null(w);
    }
    weir_jsonw_key(w, "object");
    weir_jsonw_string_z(w, !chat   ? "text_completion"
                           : chunk ? "chat.completion.chunk"
                                   : "chat.completion");
    if (usage != NULL) {
        weir_jsonw_key(w, "usage");
        put_usage(w, head->kind, usage);
    } else if (!chat) {
        weir_jsonw_key(w, "usage");
        weir_jsonw_null(w);
    }
    if (nvext.data != NULL) {
        weir_jsonw_key(w, "nvext");
        weir_jsonw_raw(w, nvext);
    }
    weir_jsonw_object_end(w);
}

static void put_call(struct weir_jsonw *w, const struct weir_answer_call *c, bool chunk) {
    weir_jsonw_object_begin(w);
    if (chunk) {
        weir_jsonw_key(w, "index");
        weir_jsonw_u64(w, c->index);
    }
    if (c->id.data != NULL) {
        weir_jsonw_key(w, "id");
        weir_jsonw_string(w, c->id);
        weir_jsonw_key(w, "type");
        weir_jsonw_string_z(w, "function");
    }
    weir_jsonw_key(w, "function");
    weir_jsonw_object_begin(w);
    if (c->id.data != NULL) {
        weir_jsonw_key(w, "name");
        weir_jsonw_string(w, c->name);
    }
    weir_jsonw_key(w, "arguments");
    weir_jsonw_string(w, c->arguments);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

static void put_calls(struct weir_jsonw *w, const struct weir_answer_call *calls, size_t n,
                      bool chunk) {
    weir_jsonw_key(w, "tool_calls");
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++)
        put_call(w, &calls[i], chunk);
    weir_jsonw_array_end(w);
}

static void put_reasoning(struct weir_jsonw *w, const struct weir_answer_head *head,
                          struct weir_span text) {
    weir_jsonw_key_span(w, head->reasoning_field.data != NULL ? head->reasoning_field
                                                              : WEIR_SPAN_LIT("reasoning_content"));
    weir_jsonw_string(w, text);
}

static void put_chat_delta(struct weir_jsonw *w, const struct weir_answer_head *head,
                           const struct weir_answer_piece *p) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "index");
    weir_jsonw_u64(w, p->index);
    weir_jsonw_key(w, "delta");
    weir_jsonw_object_begin(w);
    if (p->has_text) {
        weir_jsonw_key(w, "content");
        weir_jsonw_string(w, p->text);
    }
    if (p->call != NULL)
        put_calls(w, p->call, 1, true);
    if (p->role) {
        weir_jsonw_key(w, "role");
        weir_jsonw_string_z(w, "assistant");
    }
    if (p->reasoning.data != NULL)
        put_reasoning(w, head, p->reasoning);
    weir_jsonw_object_end(w);
    put_finish(w, p->finish_reason);
    put_raw_or_null(w, "logprobs", p->logprobs);
    weir_jsonw_object_end(w);
}

static void put_text_choice(struct weir_jsonw *w, unsigned index, struct weir_span text,
                            const char *finish, struct weir_span logprobs) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "text");
    weir_jsonw_string(w, text);
    weir_jsonw_key(w, "index");
    weir_jsonw_u64(w, index);
    if (logprobs.data != NULL) {
        weir_jsonw_key(w, "logprobs");
        weir_jsonw_raw(w, logprobs);
    }
    if (finish != NULL)
        put_finish(w, finish);
    weir_jsonw_object_end(w);
}

/* ---- frames ------------------------------------------------------------------------------- */

static enum weir_status begin_frame(struct weir_jsonw *w, struct weir_buf *out) {
    weir_jsonw_init(w, out);
    w->status = weir_buf_append(out, "data: ", 6);
    return w->status;
}

static enum weir_status end_frame(struct weir_jsonw *w) {
    return w->status == WEIR_OK ? weir_buf_append(w->buf, "\n\n", 2) : w->status;
}

enum weir_status weir_answer_chunk(const struct weir_answer_head *head,
                                   const struct weir_answer_piece *piece, struct weir_buf *out) {
    struct weir_jsonw w;
    if (begin_frame(&w, out) != WEIR_OK)
        return w.status;
    put_head(&w, head);
    if (head->kind == WEIR_OPENAI_CHAT)
        put_chat_delta(&w, head, piece);
    else
        put_text_choice(&w, piece->index, piece->text, piece->finish_reason, piece->logprobs);
    put_tail(&w, head, true, piece->usage, piece->nvext);
    return end_frame(&w);
}

/* Two chunks that differ in their text alone show where the text stands. */
enum weir_status weir_answer_prepare(const struct weir_answer_head *head, unsigned index,
                                     struct weir_buf *bytes, struct weir_answer_frame *ret_frame) {
    struct weir_answer_piece piece = {.index = index, .has_text = true, .text = {"", 0}};
    enum weir_status st = weir_answer_chunk(head, &piece, bytes);
    size_t len = bytes->len, at = 0;
    piece.text = WEIR_SPAN_LIT("x");
    if (st == WEIR_OK)
        st = weir_answer_chunk(head, &piece, bytes);
    if (st != WEIR_OK)
        return st;
    while (bytes->data[at] == bytes->data[len + at])
        at++; /* ends at the closing quote of the empty text */
    bytes->len = len + at;
    ret_frame->before = weir_span(bytes->data, at - 1);
    ret_frame->after = weir_span(bytes->data + at + 1, len - at - 1);
    ret_frame->between = weir_span(bytes->data + at, len);
    return WEIR_OK;
}

enum weir_status weir_answer_text_chunk(const struct weir_answer_frame *frame,
                                        struct weir_span text, struct weir_buf *out) {
    struct weir_jsonw w;
    size_t mark = out->len;
    weir_jsonw_init(&w, out);
    enum weir_status st = weir_buf_append_span(out, frame->before);
    if (st == WEIR_OK) {
        weir_jsonw_string(&w, text);
        st = w.status;
    }
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, frame->after);
    if (st != WEIR_OK)
        out->len = mark;
    return st;
}

enum weir_status weir_answer_usage_chunk(const struct weir_answer_head *head,
                                         const struct weir_usage *usage, struct weir_buf *out) {
    struct weir_jsonw w;
    if (begin_frame(&w, out) != WEIR_OK)
        return w.status;
    put_head(&w, head);
    put_tail(&w, head, true, usage, weir_span(NULL, 0));
    return end_frame(&w);
}

/* A field ends at a line break: JSON has none, other text gets blanks for them. */
static enum weir_status put_line(struct weir_span field, struct weir_span text,
                                 struct weir_buf *out) {
    enum weir_status st = weir_buf_append_span(out, field);
    size_t from = out->len;
    if (st == WEIR_OK)
        st = weir_buf_append_span(out, text);
    for (size_t i = from; st == WEIR_OK && i < out->len; i++)
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
    return st == WEIR_OK ? weir_buf_append(out, "\n", 1) : st;
}

enum weir_status weir_answer_annotation(struct weir_span name, const struct weir_span *comments,
                                        size_t n, struct weir_buf *out) {
    enum weir_status st = put_line(WEIR_SPAN_LIT("event: "), name, out);
    for (size_t i = 0; i < n && st == WEIR_OK; i++)
        st = put_line(WEIR_SPAN_LIT(": "), comments[i], out);
    return st == WEIR_OK ? weir_buf_append(out, "\n", 1) : st;
}

static const char *error_word(int http_status) {
    switch (http_status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 408:
    case 504:
        return "timeout_error";
    case 429:
        return "rate_limit_error";
    case 499:
        return "request_cancelled";
    case 501:
        return "not_implemented_error";
    case 503:
    case 529:
        return "service_unavailable";
    default:
        return http_status < 500 ? "invalid_request_error" : "internal_server_error";
    }
}

enum weir_status weir_answer_error_frame(int http_status, struct weir_span message,
                                         struct weir_buf *out) {
    struct weir_jsonw w;
    if (begin_frame(&w, out) != WEIR_OK)
        return w.status;
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "error");
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "message");
    weir_jsonw_string(&w, message);
    weir_jsonw_key(&w, "type");
    weir_jsonw_string_z(&w, error_word(http_status));
    weir_jsonw_key(&w, "code");
    weir_jsonw_i64(&w, http_status);
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    return end_frame(&w);
}

struct weir_span weir_answer_done(void) {
    return WEIR_SPAN_LIT("data: [DONE]\n\n");
}

void weir_answer_hex(const char *uuid, char room[WEIR_ANSWER_HEX + 1]) {
    size_t n = 0;
    for (const char *p = uuid; *p != '\0' && n < WEIR_ANSWER_HEX; p++)
        if (*p != '-')
            room[n++] = *p;
    room[n] = '\0';
}

/* ---- whole bodies ------------------------------------------------------------------------- */

enum weir_status weir_answer_unary(const struct weir_answer_head *head,
                                   const struct weir_answer_choice *choices, size_t n_choices,
                                   const struct weir_usage *usage, struct weir_span nvext,
                                   struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    put_head(&w, head);
    for (size_t i = 0; i < n_choices; i++) {
        const struct weir_answer_choice *c = &choices[i];
        if (head->kind == WEIR_OPENAI_COMPLETION) {
            put_text_choice(&w, c->index, c->text, c->finish_reason, c->logprobs);
            continue;
        }
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "index");
        weir_jsonw_u64(&w, c->index);
        weir_jsonw_key(&w, "message");
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "content");
        if (c->text.data != NULL)
            weir_jsonw_string(&w, c->text);
        else
            weir_jsonw_null(&w);
        weir_jsonw_key(&w, "refusal");
        weir_jsonw_null(&w);
        if (c->n_calls > 0)
            put_calls(&w, c->calls, c->n_calls, false);
        weir_jsonw_key(&w, "role");
        weir_jsonw_string_z(&w, "assistant");
        if (c->reasoning.data != NULL)
            put_reasoning(&w, head, c->reasoning);
        weir_jsonw_object_end(&w);
        put_finish(&w, c->finish_reason);
        put_raw_or_null(&w, "logprobs", c->logprobs);
        weir_jsonw_object_end(&w);
    }
    put_tail(&w, head, false, usage, nvext);
    return w.status;
}

/* Reason phrases as the reference system puts them into `type`. */
static const char *reason(int http_status) {
    static const struct {
        int status;
        const char *phrase;
    } table[] = {{400, "Bad Request"},
                 {401, "Unauthorized"},
                 {402, "Payment Required"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {406, "Not Acceptable"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {410, "Gone"},
                 {412, "Precondition Failed"},
                 {413, "Payload Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {418, "I'm a teapot"},
                 {422, "Unprocessable Entity"},
                 {424, "Failed Dependency"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {451, "Unavailable For Legal Reasons"},
                 {499, "Client Closed Request"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {529, "Overloaded"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(table); i++)
        if (table[i].status == http_status)
            return table[i].phrase;
    return http_status < 500 ? "Bad Request" : "Internal Server Error";
}

/* Words of OpenAI's own service, by which its SDKs and their users tell errors apart. */
static const char *openai_type(int http_status) {
    switch (http_status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    case 529:
        return "overloaded_error";
    default:
        return http_status < 500 ? "invalid_request_error" : "server_error";
    }
}

static const char *openai_code(int http_status) {
    switch (http_status) {
    case 404:
        return "not_found";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_exceeded";
    case 503:
        return "service_unavailable";
    case 529:
        return "overloaded";
    default:
        return NULL;
    }
}

static void put_nested(struct weir_jsonw *w, int http_status, struct weir_span message,
                       struct weir_span param) {
    weir_jsonw_key(w, "error");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "message");
    weir_jsonw_string(w, message);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, openai_type(http_status));
    weir_jsonw_key(w, "param");
    if (param.data != NULL)
        weir_jsonw_string(w, param);
    else
        weir_jsonw_null(w);
    weir_jsonw_key(w, "code");
    if (openai_code(http_status) != NULL)
        weir_jsonw_string_z(w, openai_code(http_status));
    else
        weir_jsonw_null(w);
    weir_jsonw_object_end(w);
}

enum weir_status weir_answer_error_body(enum weir_error_format format, int http_status,
                                        struct weir_span message, struct weir_span param,
                                        struct weir_span details, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    if (format != WEIR_ERROR_OPENAI) {
        weir_jsonw_key(&w, "message");
        weir_jsonw_string(&w, message);
        weir_jsonw_key(&w, "type");
        weir_jsonw_string_z(&w, reason(http_status));
        weir_jsonw_key(&w, "code");
        weir_jsonw_i64(&w, http_status);
        if (details.data != NULL) {
            weir_jsonw_key(&w, "details");
            weir_jsonw_raw(&w, details);
        }
    }
    if (format != WEIR_ERROR_DYNAMO)
        put_nested(&w, http_status, message, param);
    weir_jsonw_object_end(&w);
    return w.status;
}
