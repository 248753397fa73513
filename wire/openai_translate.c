/*
 * What is common to APIs whose requests stand for a chat: members of a body out of a table, the
 * chat's own members, refusals of the chat in words of the request.
 */
#include "wire/openai_translate_priv.h"

#include "wire/openai_shapes.h"

#include <string.h>

/* ---- members ------------------------------------------------------------------------------ */

static const struct weir_translate_row *find(const struct weir_translate_table *table,
                                             struct weir_json_str key) {
    for (size_t i = 0; i < table->n; i++)
        if (weir_json_str_eqz(key, table->rows[i].name))
            return &table->rows[i];
    return NULL;
}

/* The first row with that place: others are names of the same member. */
static const struct weir_translate_row *first_of(const struct weir_translate_table *table,
                                                 const struct weir_translate_row *row) {
    const struct weir_translate_row *first = table->rows;
    while (first->at != row->at)
        first++;
    return first;
}

static bool holds(struct weir_span value, const char *at) {
    return value.data <= at && at <= value.data + value.len;
}

/* The place as a path from the value, "[0].role". */
static enum weir_status put_path(struct weir_span value, const char *at, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (bool deeper = true; deeper && st == WEIR_OK;) {
        struct weir_json j;
        struct weir_json_str key;
        struct weir_span inner;
        size_t i = 0;
        deeper = false;
        weir_json_init(&j, value, WEIR_OPENAI_DEPTH);
        if (at == value.data)
            return WEIR_OK; /* the container itself */
        if (weir_json_type_of(value) == WEIR_JSON_ARRAY) {
            weir_json_array_enter(&j);
            for (; !deeper && weir_json_array_next(&j) && weir_json_skip(&j, &inner); i++)
                if ((deeper = holds(inner, at)))
                    st = weir_buf_printf(out, "[%zu]", i);
        } else if (weir_json_type_of(value) == WEIR_JSON_OBJECT) {
            weir_json_object_enter(&j);
            while (!deeper && weir_json_object_next(&j, &key) && weir_json_skip(&j, &inner))
                if ((deeper = holds(inner, at)))
                    st = weir_buf_printf(out, ".%.*s", WEIR_SPAN_ARG(key.raw));
        }
        if (deeper)
            value = inner;
    }
    return st;
}

static bool fail_fault(struct weir_openai_reading *r, const struct weir_translate_table *table,
                       const struct weir_translate_row *row, struct weir_span raw,
                       const struct weir_shape_fault *fault) {
    size_t at = row->early || table->in_place ? (size_t)(fault->at - r->body.data) : r->end;
    struct weir_buf path;
    if (!table->in_place)
        return weir_openai_fail_at(r, at, "%s", fault->text);
    weir_buf_init(&path, raw.len + 4096);
    bool ok = put_path(raw, fault->at, &path) == WEIR_OK;
    ok = ok ? weir_openai_fail_at(r, at, "%s%.*s: %s", row->name, (int)path.len,
                                  path.len > 0 ? path.data : "", fault->text)
            : weir_openai_nomem(r);
    weir_buf_fini(&path);
    return ok;
}

static bool fits(struct weir_openai_reading *r, const struct weir_translate_table *table,
                 const struct weir_translate_row *row, struct weir_span raw) {
    struct weir_shape_fault fault;
    fault.notes = 0;
    return (weir_json_type_of(raw) == WEIR_JSON_NULL && !row->never_null) ||
           weir_shape_check(row->shape, raw, &fault) ||
           (row->shape == &weir_openai_nvext && weir_raw_is_empty_list(raw)) ||
           fail_fault(r, table, row, raw, &fault);
}

static bool collect(struct weir_openai_reading *r, const struct weir_translate_table *table,
                    struct weir_member *found, size_t *ret_n, struct weir_json *j) {
    size_t n = 0;
    if (!weir_openai_enter(r, table->name, j))
        return false;
    while (weir_json_object_next(j, &found[n].key) && weir_json_skip(j, &found[n].raw)) {
        const struct weir_translate_row *row = find(table, found[n].key);
        if (row == NULL)
            continue;
        if ((row->early || table->in_place) && !fits(r, table, row, found[n].raw))
            return false;
        found[n].field = (int)(row - table->rows);
        if (!weir_openai_may_have(r, ++n))
            return false;
    }
    *ret_n = n;
    return weir_openai_leave(r, j);
}

bool weir_translate_read(struct weir_openai_reading *r, const struct weir_translate_table *table,
                         void *to, struct weir_json *ret_json) {
    struct weir_member found[WEIR_OPENAI_MAX_MEMBERS]; /* 12 KiB */
    bool seen[WEIR_TRANSLATE_ROWS] = {false};
    size_t n = 0;
    if (!collect(r, table, found, &n, ret_json))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct weir_translate_row *row = &table->rows[found[i].field];
        const struct weir_translate_row *first = first_of(table, row);
        if (seen[first - table->rows])
            return weir_openai_fail_at(r,
                                       row->early || table->in_place
                                           ? (size_t)(found[i].key.raw.data - r->body.data) +
                                                 found[i].key.raw.len + 1
                                           : r->end,
                                       "duplicate field `%s`", first->name);
        seen[first - table->rows] = true;
        if (!fits(r, table, row, found[i].raw))
            return false;
        if (weir_json_type_of(found[i].raw) != WEIR_JSON_NULL)
            memcpy((char *)to + row->at, &found[i].raw, sizeof(found[i].raw));
    }
    return true;
}

bool weir_translate_end(struct weir_openai_reading *r, struct weir_json *j) {
    return weir_json_finish(j) || weir_openai_fail_syntax(r, j);
}

/* ---- the chat ----------------------------------------------------------------------------- */

void weir_translate_put(struct weir_jsonw *w, const char *key, struct weir_span raw) {
    if (raw.data == NULL)
        return;
    weir_jsonw_key(w, key);
    weir_jsonw_raw(w, raw);
}

void weir_translate_put_from(struct weir_jsonw *w, const char *key, struct weir_span object,
                             const char *from) {
    struct weir_span raw;
    if (weir_json_member(object, from, &raw) && weir_json_type_of(raw) != WEIR_JSON_NULL)
        weir_translate_put(w, key, raw);
}

void weir_translate_put_stream(struct weir_jsonw *w, struct weir_span stream) {
    weir_translate_put(w, "stream", stream);
    if (weir_span_eqz(stream, "true"))
        weir_translate_put(w, "stream_options", WEIR_SPAN_LIT("{\"include_usage\":true}"));
}

static void put_z(struct weir_jsonw *w, const char *key, const char *value) {
    weir_jsonw_key(w, key);
    weir_jsonw_string_z(w, value);
}

void weir_translate_begin_message(struct weir_jsonw *w, const char *role) {
    weir_jsonw_object_begin(w);
    put_z(w, "role", role);
    weir_jsonw_key(w, "content");
}

void weir_translate_put_text(struct weir_jsonw *w, struct weir_span text) {
    weir_jsonw_object_begin(w);
    put_z(w, "type", "text");
    weir_translate_put(w, "text", text);
    weir_jsonw_object_end(w);
}

void weir_translate_put_image(struct weir_jsonw *w, struct weir_span url, struct weir_span detail) {
    weir_jsonw_object_begin(w);
    put_z(w, "type", "image_url");
    weir_jsonw_key(w, "image_url");
    weir_jsonw_object_begin(w);
    weir_translate_put(w, "url", url);
    weir_translate_put(w, "detail", detail);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

/* {"type": "function", "function": { */
static void begin_function(struct weir_jsonw *w) {
    put_z(w, "type", "function");
    weir_jsonw_key(w, "function");
    weir_jsonw_object_begin(w);
}

void weir_translate_put_call(struct weir_jsonw *w, struct weir_span id, struct weir_span name,
                             struct weir_span arguments) {
    weir_jsonw_object_begin(w);
    weir_translate_put(w, "id", id);
    begin_function(w);
    weir_translate_put(w, "name", name);
    weir_translate_put(w, "arguments", arguments);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

void weir_translate_put_tool(struct weir_jsonw *w, struct weir_span tool, const char *schema) {
    weir_jsonw_object_begin(w);
    begin_function(w);
    weir_translate_put_from(w, "name", tool, "name");
    weir_translate_put_from(w, "description", tool, "description");
    weir_translate_put_from(w, "parameters", tool, schema);
    weir_translate_put_from(w, "strict", tool, "strict");
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

void weir_translate_put_named(struct weir_jsonw *w, struct weir_span name) {
    weir_jsonw_object_begin(w);
    begin_function(w);
    weir_translate_put(w, "name", name);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
}

bool weir_translate_append(struct weir_openai_reading *r, struct weir_span raw,
                           struct weir_buf *out) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 2);
    return !weir_json_string(&j, &s) || weir_json_unescape(s, out) == WEIR_OK ||
           weir_openai_nomem(r);
}

bool weir_translate_keep(struct weir_openai_reading *r, const void *members,
                         bool (*put)(struct weir_openai_reading *r, const void *members,
                                     struct weir_jsonw *w),
                         struct weir_span *ret_chat) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, 6 * r->body.len + 65536);
    weir_jsonw_init(&w, &out);
    bool ok = put(r, members, &w);
    if (ok) {
        *ret_chat = weir_arena_copy(r->arena, weir_buf_span(&out));
        ok = ret_chat->data != NULL || weir_openai_nomem(r);
    }
    weir_buf_fini(&out);
    return ok;
}

void weir_translate_put_assistant(struct weir_jsonw *w, struct weir_buf *text,
                                  struct weir_buf *reasoning, struct weir_buf *calls,
                                  struct weir_jsonw *calls_w) {
    weir_translate_begin_message(w, "assistant");
    weir_jsonw_string(w, weir_buf_span(text));
    if (reasoning->len > 0) {
        weir_jsonw_key(w, "reasoning_content");
        weir_jsonw_string(w, weir_buf_span(reasoning));
    }
    if (calls->len > 0) {
        weir_jsonw_array_end(calls_w);
        weir_translate_put(w, "tool_calls", weir_buf_span(calls));
        if (w->status == WEIR_OK)
            w->status = calls_w->status;
    }
    weir_jsonw_object_end(w);
    weir_buf_clear(text);
    weir_buf_clear(reasoning);
    weir_buf_clear(calls);
}

/* ---- refusals of the chat ------------------------------------------------------------------- */

struct weir_span weir_translate_reword(struct weir_span text, bool *ret_unread) {
    const struct weir_span valid = WEIR_SPAN_LIT("Validation: "),
                           unread = WEIR_SPAN_LIT(
                               "Failed to deserialize the JSON body into the target type: ");
    *ret_unread = weir_span_starts(text, unread);
    if (weir_span_starts(text, valid))
        return weir_span(text.data + valid.len, text.len - valid.len);
    if (!*ret_unread)
        return text;
    text = weir_span(text.data + unread.len, text.len - unread.len);
    for (size_t i = text.len; i > 0; i--)
        if (weir_span_starts(weir_span(text.data + i - 1, text.len - i + 1),
                             WEIR_SPAN_LIT(" at line ")))
            return weir_span(text.data, i - 1);
    return text;
}
