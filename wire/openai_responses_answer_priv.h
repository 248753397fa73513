/* Shared by the files that write answers of the Responses API. */
#ifndef WEIR_WIRE_OPENAI_RESPONSES_ANSWER_PRIV_H
#define WEIR_WIRE_OPENAI_RESPONSES_ANSWER_PRIV_H

#include "base/json.h"
#include "wire/openai_responses.h"

enum { WEIR_RESPONSES_ITEM_ID = 48 };

/* One item, as far as it was written. */
struct weir_responses_content {
    enum weir_responses_item kind;
    struct weir_span text;     /* of a call: its arguments */
    struct weir_span logprobs; /* elements of a list, or NULL */
    struct weir_span call_id, call_name;
};

/* How far an answer has come. */
struct weir_responses_state {
    struct weir_span items;               /* elements of `output` */
    const struct weir_responses_end *end; /* NULL: not yet */
    const char *error_code;               /* NULL: none */
    struct weir_span error_message;
};

void weir_responses_item_id(const struct weir_responses_head *head, enum weir_responses_item kind,
                            unsigned index, char room[WEIR_RESPONSES_ITEM_ID]);
void weir_responses_put_z(struct weir_jsonw *w, const char *key, const char *value);
/* The content part of a message or of reasoning. */
void weir_responses_put_part(struct weir_jsonw *w, const struct weir_responses_content *c);
/* status: in_progress (which has no content yet), completed, incomplete. */
void weir_responses_put_item(struct weir_jsonw *w, const char *id,
                             const struct weir_responses_content *c, const char *status);
void weir_responses_put(struct weir_jsonw *w, const struct weir_responses_head *head,
                        const struct weir_responses_state *s);
/* Why an answer with this finish reason is incomplete; NULL: it is not. */
const char *weir_responses_incomplete(const char *finish_reason);
/* openai_responses_stream.c: elements of the list `content` in log probabilities of a chat (JSON or
 * NULL); data NULL: none. */
struct weir_span weir_responses_logprobs(struct weir_span chat);

#endif
