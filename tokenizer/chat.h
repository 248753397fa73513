/*
 * Chat templates of a model: which there are, and a conversation rendered with the right one, as
 * the engine behind would. wtok_render_chat() in wtok.h does this for a loaded tokenizer; here is
 * the same without one (`weir render`, tests).
 */
#ifndef WEIR_TOKENIZER_CHAT_H
#define WEIR_TOKENIZER_CHAT_H

#include "tokenizer/wtok.h"

struct wtok_template;

struct wtok_template_file {
    struct weir_span name; /* "tool_use": additional_chat_templates/tool_use.jinja */
    struct weir_span text;
};
enum { WTOK_MAX_ADDITIONAL = 15 };
/* The templates of DIR/additional_chat_templates, into the arena; none where there is no such
 * directory. `ret_files` has room for WTOK_MAX_ADDITIONAL; more are WEIR_LIMIT. WEIR_IO,
 * WEIR_NOMEM.
 */
enum weir_status wtok_template_files(const char *dir, struct weir_arena *arena,
                                     struct wtok_template_file *ret_files, size_t *ret_n,
                                     struct weir_err *err) WEIR_MUST_CHECK;
/* DIR/config.json, into the arena; *ret_text stays untouched where there is none. WEIR_IO,
 * WEIR_NOMEM. */
enum weir_status wtok_template_config(const char *dir, struct weir_arena *arena,
                                      struct weir_span *ret_text,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Files as they are; data is NULL where one is missing. Read during creation only. Templates in
 * files take the place of all that tokenizer_config.json holds. */
struct wtok_template_sources {
    struct weir_span chat_template_jinja; /* the one named "default" */
    struct weir_span tokenizer_config;    /* chat_template, bos_token, … */
    struct weir_span config;              /* config.json: model_type, architectures */
    const struct wtok_template_file *additional;
    size_t n_additional;
};
/* WEIR_NOT_FOUND when no source holds a template; WEIR_INVALID, WEIR_UNSUPPORTED with the
 * template's name and line; WEIR_NOMEM. */
enum weir_status wtok_template_create(const struct wtok_template_sources *sources,
                                      struct wtok_template **ret_template,
                                      struct weir_err *err) WEIR_MUST_CHECK;
/* Accepts NULL. */
void wtok_template_destroy(struct wtok_template *t);
/* Threads: any, many at once. Errors as wtok_render_chat(). */
enum weir_status wtok_template_render(const struct wtok_template *t, const struct wtok_chat *chat,
                                      struct weir_buf *out, struct weir_err *err) WEIR_MUST_CHECK;
/* The template that a conversation with or without tools gets; for logs: "default", "tool_use". */
struct weir_span wtok_template_name(const struct wtok_template *t, bool with_tools);
/* Chats for engines are rendered by code of ours instead of a template, as they do themselves
 * (gpt-oss, DeepSeek V3.2 and V4). */
bool wtok_chat_native(const struct wtok *tok);

#endif
