/* Shared by the files that read requests of the Responses API. */
#ifndef WEIR_WIRE_OPENAI_RESPONSES_PRIV_H
#define WEIR_WIRE_OPENAI_RESPONSES_PRIV_H

#include "wire/openai_responses.h"
#include "wire/openai_translate_priv.h"
#include "wire/shape.h"

/* openai_responses_shapes.c */
extern const struct weir_shape weir_responses_input, weir_responses_tools,
    weir_responses_tool_choice, weir_responses_text, weir_responses_reasoning,
    weir_responses_include, weir_responses_metadata, weir_responses_service_tier,
    weir_responses_truncation, weir_responses_retention, weir_responses_prompt,
    weir_responses_stream_options;

/* openai_responses_request.c: reads r->body into the text of a chat request and what the answer
 * repeats, both in the arena. False after a recorded refusal. */
bool weir_responses_to_chat(struct weir_openai_reading *r, const struct weir_openai_rules *rules,
                            struct weir_span *ret_chat,
                            const struct weir_responses_echo **ret_echo);
/* A refusal of that chat request in the words of the Responses API; false: no memory. */
bool weir_responses_reword(struct weir_openai_error *error, struct weir_arena *arena);

/* openai_responses_input.c: the array `messages` of a chat request. `input` has its shape;
 * instructions: raw string or NULL. */
bool weir_responses_put_messages(struct weir_openai_reading *r, struct weir_span instructions,
                                 struct weir_span input, struct weir_jsonw *w);
/* openai_responses_tools.c: the members `tools` and `tool_choice` of a chat request; raw or NULL,
 * of their shapes. */
bool weir_responses_put_tools(struct weir_openai_reading *r, struct weir_span tools,
                              struct weir_span choice, struct weir_jsonw *w);
/* The tools as an answer repeats them. */
void weir_responses_put_echoed_tools(struct weir_jsonw *w, struct weir_span tools);

#endif
