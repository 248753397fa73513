/* Shared by the files that read requests of the Messages API. */
#ifndef WEIR_WIRE_ANTHROPIC_PRIV_H
#define WEIR_WIRE_ANTHROPIC_PRIV_H

#include "wire/openai_translate_priv.h"

/* anthropic_shapes.c */
extern const struct weir_shape weir_messages_list, weir_messages_system, weir_messages_tools,
    weir_messages_tool_choice, weir_messages_thinking, weir_messages_output_config;

/* anthropic_request.c: reads r->body into the text of a chat request, in the arena. False after a
 * recorded refusal. counts: for its number of tokens only. */
bool weir_messages_to_chat(struct weir_openai_reading *r, const struct weir_openai_rules *rules,
                           bool counts, struct weir_span *ret_chat);
/* A refusal of that chat request in the words of the Messages API. */
void weir_messages_reword(struct weir_openai_error *error);

/* anthropic_messages.c: the array `messages` of a chat request. system: raw or NULL; both have
 * their shapes. strip: what Claude Code tells the vendor's billing is left out of `system`. */
bool weir_messages_put(struct weir_openai_reading *r, struct weir_span system, bool strip,
                       struct weir_span messages, struct weir_jsonw *w);

#endif
