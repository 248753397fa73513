/*
 * Between the text of a choice and its frames or message: the model's parsers of tool calls and
 * reasoning (parsers/wprs.h). Chat only; a choice without parsers never comes here.
 */
#ifndef WEIR_FRONTEND_PARSE_OUTPUT_PRIV_H
#define WEIR_FRONTEND_PARSE_OUTPUT_PRIV_H

#include "base/status.h"
#include "parsers/wprs.h"
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
/* Tokens of the choice that were reasoning; false: the model names no parser that would tell. */
bool weir_parsed_reasoning_tokens(const struct weir_parsed *p, uint64_t *ret_n);
/* What the request says of tools, and the name that a named choice gives. */
enum wprs_choice weir_parsed_choice(const struct weir_request *r, struct weir_span *ret_name);
/* A tool has to be called: the worker is given a grammar for that, with or without a parser. */
bool weir_parsed_must_call(const struct weir_request *r);
/* A model that thinks does so for the Messages API, unless the request says no, and sees all its
 * former thoughts: in template_args, before the prompt is rendered. With some parsers they say in
 * other chats, too, that it thinks. As Dynamo 1.6.1. NOMEM. */
enum weir_status weir_parsed_think(struct weir_request *r) WEIR_MUST_CHECK;
/* Tells the worker of a model that thinks, in prep: whether a grammar of the API's (a format, a
 * call that must come) holds behind thoughts only, and by what its template was asked to think.
 * NOMEM. */
enum weir_status weir_parsed_tell_worker(struct weir_request *r) WEIR_MUST_CHECK;

/* guide.c */
/* tool_choice "required" or a name: asks the worker for JSON in that shape, in the place of what
 * response_format says of a text. False: the request has failed: a constraint of the client's own,
 * tools whose definitions contradict, memory. */
bool weir_guide_forced_call(struct weir_request *r);

#endif
