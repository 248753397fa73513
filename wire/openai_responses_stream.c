/*
 * The events of a stream. Happy path: begin → an item is added, with a part of content where it has
 * one → deltas → the item ends when one of another kind begins, or the stream does → the answer.
 */
#include "wire/openai_priv.h"
#include "wire/openai_responses_answer_priv.h"

void weir_responses_stream_init(struct weir_responses_stream *s,
                                const struct weir_responses_head *head, size_t max) {
    *s = (struct weir_responses_stream){.head = *head};
    weir_buf_init(&s->text, max);
    weir_buf_init(&s->logprobs, max);
    weir_buf_init(&s->call_id, max);
    weir_buf_init(&s->call_name, max);
    weir_buf_init(&s->items, max);
}

void weir_responses_stream_fini(struct weir_responses_stream *s) {
    if (s == NULL)
        return;
    weir_buf_fini(&s->text);
    weir_buf_fini(&s->logprobs);
    weir_buf_fini(&s->call_id);
    weir_buf_fini(&s->call_name);
    weir_buf_fini(&s->items);
}

struct weir_span weir_responses_logprobs(struct weir_span chat) {
    struct weir_span list;
    if (chat.data == NULL || !weir_json_member(chat, "content", &list) || list.len < 2 ||
        weir_json_type_of(list) != WEIR_JSON_ARRAY)
        return weir_span(NULL, 0);
    return weir_span(list.data + 1, list.len - 2);
}

/* ---- one event ---------------------------------------------------------------------------- */

static void begin_event(struct weir_responses_stream *s, struct weir_jsonw *w, struct weir_buf *out,
                        const char *type) {
    weir_jsonw_init(w, out);
    w->status = weir_buf_printf(out, "event: %s\ndata: ", type);
    weir_jsonw_object_begin(w);
    weir_responses_put_z(w, "type", type);
    weir_jsonw_key(w, "sequence_number");
    weir_jsonw_u64(w, s->sequence++);
}

static enum weir_status end_event(struct weir_jsonw *w) {
    weir_jsonw_object_end(w);
    return w->status == WEIR_OK ? weir_buf_append(w->buf, "\n\n", 2) : w->status;
}

static enum weir_status put_response(struct weir_responses_stream *s, const char *type,
                                     const struct weir_responses_state *state,
                                     struct weir_buf *out) {
    struct weir_jsonw w;
    begin_event(s, &w, out, type);
    weir_jsonw_key(&w, "response");
    weir_responses_put(&w, &s->head, state);
    return end_event(&w);
}

/* ---- the open item ------------------------------------------------------------------------ */

static struct weir_responses_content content_of(const struct weir_responses_stream *s) {
    return (struct weir_responses_content){.kind = s->open,
                                           .text = weir_buf_span(&s->text),
                                           .logprobs = weir_buf_span(&s->logprobs),
                                           .call_id = weir_buf_span(&s->call_id),
                                           .call_name = weir_buf_span(&s->call_name)};
}

static void item_id(const struct weir_responses_stream *s, char room[WEIR_RESPONSES_ITEM_ID]) {
    weir_responses_item_id(&s->head, s->open, s->n_items - 1, room);
}

/* What all events of an item's content have: which item it is. */
static void begin_content(struct weir_responses_stream *s, struct weir_jsonw *w,
                          struct weir_buf *out, const char *type) {
    char id[WEIR_RESPONSES_ITEM_ID];
    item_id(s, id);
    begin_event(s, w, out, type);
    weir_responses_put_z(w, "item_id", id);
    weir_jsonw_key(w, "output_index");
    weir_jsonw_u64(w, s->n_items - 1);
    if (s->open != WEIR_RESPONSES_CALL) {
        weir_jsonw_key(w, "content_index");
        weir_jsonw_u64(w, 0);
    }
}

static enum weir_status put_item_event(struct weir_responses_stream *s, const char *type,
                                       const char *status, struct weir_buf *out) {
    struct weir_responses_content c = content_of(s);
    char id[WEIR_RESPONSES_ITEM_ID];
    struct weir_jsonw w;
    item_id(s, id);
    begin_event(s, &w, out, type);
    weir_jsonw_key(&w, "output_index");
    weir_jsonw_u64(&w, s->n_items - 1);
    weir_jsonw_key(&w, "item");
    weir_responses_put_item(&w, id, &c, status);
    return end_event(&w);
}

static enum weir_status put_part_event(struct weir_responses_stream *s, const char *type,
                                       struct weir_buf *out) {
    struct weir_responses_content c = content_of(s);
    struct weir_jsonw w;
    begin_content(s, &w, out, type);
    weir_jsonw_key(&w, "part");
    weir_responses_put_part(&w, &c);
    return end_event(&w);
}

static void put_logprobs(struct weir_jsonw *w, struct weir_span elements) {
    weir_jsonw_key(w, "logprobs");
    weir_jsonw_array_begin(w);
    if (elements.len > 0)
        weir_jsonw_raw(w, elements);
    weir_jsonw_array_end(w);
}

static enum weir_status open_item(struct weir_responses_stream *s, enum weir_responses_item kind,
                                  struct weir_buf *out) {
    s->open = kind;
    s->n_items++;
    enum weir_status st = put_item_event(s, "response.output_item.added", "in_progress", out);
    if (st == WEIR_OK && kind != WEIR_RESPONSES_CALL)
        st = put_part_event(s, "response.content_part.added", out);
    return st;
}

/* Text, reasoning or arguments are whole. */
static enum weir_status put_done(struct weir_responses_stream *s, struct weir_buf *out) {
    static const char *const types[] = {"", "response.reasoning_text.done",
                                        "response.output_text.done",
                                        "response.function_call_arguments.done"};
    struct weir_jsonw w;
    begin_content(s, &w, out, types[s->open]);
    if (s->open == WEIR_RESPONSES_CALL) {
        weir_jsonw_key(&w, "name");
        weir_jsonw_string(&w, weir_buf_span(&s->call_name));
    }
    weir_jsonw_key(&w, s->open == WEIR_RESPONSES_CALL ? "arguments" : "text");
    weir_jsonw_string(&w, weir_buf_span(&s->text));
    if (s->open == WEIR_RESPONSES_MESSAGE)
        put_logprobs(&w, weir_buf_span(&s->logprobs));
    return end_event(&w);
}

static enum weir_status keep_item(struct weir_responses_stream *s, const char *status) {
    struct weir_responses_content c = content_of(s);
    char id[WEIR_RESPONSES_ITEM_ID];
    struct weir_jsonw w;
    item_id(s, id);
    weir_jsonw_init(&w, &s->items);
    if (s->items.len > 0)
        w.status = weir_buf_append_c(&s->items, ',');
    weir_responses_put_item(&w, id, &c, status);
    return w.status;
}

static enum weir_status close_item(struct weir_responses_stream *s, const char *status,
                                   struct weir_buf *out) {
    if (s->open == WEIR_RESPONSES_NONE)
        return WEIR_OK;
    enum weir_status st = put_done(s, out);
    if (st == WEIR_OK && s->open != WEIR_RESPONSES_CALL)
        st = put_part_event(s, "response.content_part.done", out);
    if (st == WEIR_OK)
        st = put_item_event(s, "response.output_item.done", status, out);
    if (st == WEIR_OK)
        st = keep_item(s, status);
    s->open = WEIR_RESPONSES_NONE;
    weir_buf_clear(&s->text);
    weir_buf_clear(&s->logprobs);
    weir_buf_clear(&s->call_id);
    weir_buf_clear(&s->call_name);
    return st;
}

/* ---- pieces ------------------------------------------------------------------------------- */

/* An item of that kind is open. */
static enum weir_status go_to(struct weir_responses_stream *s, enum weir_responses_item kind,
                              struct weir_buf *out) {
    if (s->open == kind)
        return WEIR_OK;
    enum weir_status st = close_item(s, "completed", out);
    return st == WEIR_OK ? open_item(s, kind, out) : st;
}

/* Those of the open item, for its end. */
static enum weir_status keep_logprobs(struct weir_responses_stream *s, struct weir_span logprobs) {
    enum weir_status st = WEIR_OK;
    if (logprobs.len == 0)
        return st;
    if (s->logprobs.len > 0)
        st = weir_buf_append_c(&s->logprobs, ',');
    return st == WEIR_OK ? weir_buf_append_span(&s->logprobs, logprobs) : st;
}

static enum weir_status put_delta(struct weir_responses_stream *s, const char *type,
                                  struct weir_span text, struct weir_span logprobs,
                                  struct weir_buf *out) {
    struct weir_jsonw w;
    enum weir_status st = weir_buf_append_span(&s->text, text);
    if (st == WEIR_OK)
        st = keep_logprobs(s, logprobs);
    if (st != WEIR_OK)
        return st;
    begin_content(s, &w, out, type);
    weir_jsonw_key(&w, "delta");
    weir_jsonw_string(&w, text);
    if (s->open == WEIR_RESPONSES_MESSAGE)
        put_logprobs(&w, logprobs);
    return end_event(&w);
}

static enum weir_status put_call(struct weir_responses_stream *s,
                                 const struct weir_answer_call *call, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    if (call->id.data != NULL) { /* the next one begins */
        st = close_item(s, "completed", out);
        if (st == WEIR_OK)
            st = weir_buf_append_span(&s->call_id, call->id);
        if (st == WEIR_OK)
            st = weir_buf_append_span(&s->call_name, call->name);
        if (st == WEIR_OK)
            st = open_item(s, WEIR_RESPONSES_CALL, out);
        s->call_index = call->index;
    }
    if (st != WEIR_OK || call->arguments.len == 0)
        return st;
    if (s->open != WEIR_RESPONSES_CALL || s->call_index != call->index)
        return WEIR_PROTOCOL; /* a part of a call that is not open */
    return put_delta(s, "response.function_call_arguments.delta", call->arguments,
                     weir_span(NULL, 0), out);
}

enum weir_status weir_responses_begin(struct weir_responses_stream *s, struct weir_buf *out) {
    const struct weir_responses_state state = {.end = NULL};
    enum weir_status st = put_response(s, "response.created", &state, out);
    return st == WEIR_OK ? put_response(s, "response.in_progress", &state, out) : st;
}

enum weir_status weir_responses_piece(struct weir_responses_stream *s,
                                      const struct weir_answer_piece *p, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    if (p->reasoning.len > 0) {
        st = go_to(s, WEIR_RESPONSES_REASONING, out);
        if (st == WEIR_OK)
            st = put_delta(s, "response.reasoning_text.delta", p->reasoning, weir_span(NULL, 0),
                           out);
    }
    if (st == WEIR_OK && p->has_text && p->text.len > 0) {
        st = go_to(s, WEIR_RESPONSES_MESSAGE, out);
        if (st == WEIR_OK)
            st = put_delta(s, "response.output_text.delta", p->text,
                           weir_responses_logprobs(p->logprobs), out);
    }
    if (st == WEIR_OK && p->call != NULL)
        st = put_call(s, p->call, out);
    else if (st == WEIR_OK && p->text.len == 0 && p->reasoning.len == 0 &&
             s->open == WEIR_RESPONSES_MESSAGE) /* of tokens without a text, at its end */
        st = keep_logprobs(s, weir_responses_logprobs(p->logprobs));
    return st;
}

/* ---- the end ------------------------------------------------------------------------------ */

enum weir_status weir_responses_finish(struct weir_responses_stream *s,
                                       const struct weir_responses_end *end, struct weir_buf *out) {
    bool cut = weir_responses_incomplete(end->finish_reason) != NULL;
    enum weir_status st = close_item(s, cut ? "incomplete" : "completed", out);
    struct weir_responses_state state = {.items = weir_buf_span(&s->items), .end = end};
    return st == WEIR_OK
               ? put_response(s, cut ? "response.incomplete" : "response.completed", &state, out)
               : st;
}

static const char *code_of(int http_status) {
    if (http_status == 429)
        return "rate_limit_exceeded";
    return http_status >= 400 && http_status < 500 ? "invalid_prompt" : "server_error";
}

enum weir_status weir_responses_fail(struct weir_responses_stream *s, int http_status,
                                     struct weir_span message, struct weir_buf *out) {
    enum weir_status st = close_item(s, "incomplete", out);
    struct weir_responses_state state = {.items = weir_buf_span(&s->items),
                                         .error_code = code_of(http_status),
                                         .error_message = message};
    return st == WEIR_OK ? put_response(s, "response.failed", &state, out) : st;
}
