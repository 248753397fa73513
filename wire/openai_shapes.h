/* What values of chat and completion requests must look like. Source: shared spec "frontend" 2.4 to
 * 2.6 and probes of the reference system 1.6.1. */
#ifndef WEIR_WIRE_OPENAI_SHAPES_H
#define WEIR_WIRE_OPENAI_SHAPES_H

#include "wire/shape.h"

/* Of messages: some content is a list of parts; an assistant message has tool calls. */
enum { WEIR_OPENAI_NOTE_PARTS = 1, WEIR_OPENAI_NOTE_CALLS = 2 };

/* Of a string (raw): an absolute URL. */
bool weir_openai_is_url(struct weir_span raw);

extern const struct weir_shape weir_openai_messages, weir_openai_tools, weir_openai_tool_choice,
    weir_openai_response_format, weir_openai_stop, weir_openai_echo, weir_openai_prompt,
    weir_openai_stream_options, weir_openai_reasoning_effort, weir_openai_service_tier,
    weir_openai_modalities, weir_openai_prediction, weir_openai_audio, weir_openai_web_search,
    weir_openai_function_call, weir_openai_functions, weir_openai_any_map, weir_openai_nvext;

#endif
