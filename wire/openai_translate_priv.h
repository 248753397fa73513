/* Shared by the readers of APIs whose requests stand for a chat: Responses and Messages. */
#ifndef WEIR_WIRE_OPENAI_TRANSLATE_PRIV_H
#define WEIR_WIRE_OPENAI_TRANSLATE_PRIV_H

#include "wire/openai_priv.h"
#include "wire/shape.h"

/* One member that a body may have. */
struct weir_translate_row {
    const char *name; /* as the client says it; another row may have the same place */
    const struct weir_shape *shape;
    size_t at;       /* of its raw value, a struct weir_span, in what is read into */
    bool early;      /* what it has wrong is told where it is, before the others are looked at */
    bool never_null; /* null is a value like others, not absence */
};

struct weir_translate_table {
    const char *name; /* of the whole, as serde says it: "struct X" */
    const struct weir_translate_row *rows;
    size_t n; /* at most WEIR_TRANSLATE_ROWS */
    /* Every member is `early`, and the place of what is wrong goes before it,
     * "messages[0].role". */
    bool in_place;
};
enum { WEIR_TRANSLATE_ROWS = 64 };

/* r->body into the spans of `to`, which is all NULL: raw values of the members that are there and
 * not null, each of its shape. *ret_json stands behind the object; the caller says what is missing,
 * then calls weir_translate_end(). False after a recorded refusal. */
bool weir_translate_read(struct weir_openai_reading *r, const struct weir_translate_table *table,
                         void *to, struct weir_json *ret_json);
bool weir_translate_end(struct weir_openai_reading *r, struct weir_json *j);

/* A member; nothing when raw is NULL. */
void weir_translate_put(struct weir_jsonw *w, const char *key, struct weir_span raw);
/* The same for a member of `object`, where it is there and not null. */
void weir_translate_put_from(struct weir_jsonw *w, const char *key, struct weir_span object,
                             const char *from);
/* `stream`, raw; of one that is true the usage too, which its last event tells. */
void weir_translate_put_stream(struct weir_jsonw *w, struct weir_span stream);
/* {"role": role, "content": and there the caller goes on, and ends the object. */
void weir_translate_begin_message(struct weir_jsonw *w, const char *role);
/* A whole message of the assistant. The text is there even when it is empty: templates look at it;
 * calls, when there are any, is the list that calls_w has begun, and is ended. Empties the three.
 */
void weir_translate_put_assistant(struct weir_jsonw *w, struct weir_buf *text,
                                  struct weir_buf *reasoning, struct weir_buf *calls,
                                  struct weir_jsonw *calls_w);
/* Parts of a user's message. Raw; detail: or NULL. */
void weir_translate_put_text(struct weir_jsonw *w, struct weir_span text);
void weir_translate_put_image(struct weir_jsonw *w, struct weir_span url, struct weir_span detail);
/* A call of an assistant's message; raw strings. */
void weir_translate_put_call(struct weir_jsonw *w, struct weir_span id, struct weir_span name,
                             struct weir_span arguments);
/* The tool of a chat out of members of a flat one; `schema` names that of the parameters. */
void weir_translate_put_tool(struct weir_jsonw *w, struct weir_span tool, const char *schema);
/* {"type": "function", "function": {"name": name}}; raw string. */
void weir_translate_put_named(struct weir_jsonw *w, struct weir_span name);
/* The text of a raw string; false: no memory (recorded). Nothing of what is no string. */
bool weir_translate_append(struct weir_openai_reading *r, struct weir_span raw,
                           struct weir_buf *out);
/* Runs `put`, which writes the chat, and keeps its text in the arena. */
bool weir_translate_keep(struct weir_openai_reading *r, const void *members,
                         bool (*put)(struct weir_openai_reading *r, const void *members,
                                     struct weir_jsonw *w),
                         struct weir_span *ret_chat);

/* A refusal of the chat without a place in it, which the client has not written. *ret_unread: it
 * was not of its shape. */
struct weir_span weir_translate_reword(struct weir_span message, bool *ret_unread);

#endif
