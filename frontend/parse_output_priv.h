/*
 * Between the text of a choice and its frames or message: the model's parsers of tool calls and
 * reasoning (parsers/wprs.h). Chat only; a choice without parsers never comes here.
 */
#ifndef WEIR_FRONTEND_PARSE_OUTPUT_PRIV_H
#define WEIR_FRONTEND_PARSE_OUTPUT_PRIV_H

#include "base/status.h"
#include "wire/openai_answer.h"

struct weir_choice;
struct weir_leg;
struct weir_request;
struct weir_parsed;

/* *ret becomes NULL when the model names no parser or the request is no chat. */
enum weir_status weir_parsed_create(struct weir_request *r,
                                    struct weir_parsed **ret) WEIR_MUST_CHECK;
/* Accepts NULL. */
void weir_parsed_destroy(struct weir_parsed *p);
/* More text of the choice, which is emptied; `over`: nothing follows, the choice's finish is what
 * the worker said and may become "tool_calls". Streams: writes frames. */
enum weir_status weir_parsed_give(struct weir_leg *leg, struct weir_choice *c,
                                  bool over) WEIR_MUST_CHECK;
/* Gathered answers: text, reasoning and calls; they live as long as the request. */
void weir_parsed_fill(const struct weir_parsed *p, struct weir_answer_choice *choice);
/* tool_choice "required" or a name: asks the worker for JSON in that shape, unless the client set a
 * constraint of its own. */
enum weir_status weir_parsed_guide(struct weir_request *r) WEIR_MUST_CHECK;

#endif
