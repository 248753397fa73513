/* What the files of the chat renderer share. */
#ifndef WEIR_TOKENIZER_CHAT_PRIV_H
#define WEIR_TOKENIZER_CHAT_PRIV_H

#include "tokenizer/chat.h"
#include "tokenizer/jinja_priv.h"
#include "tokenizer/wtok_priv.h"

enum { WTOK_MAX_TEMPLATES = 16 };

struct wtok_named_template {
    struct weir_span name;  /* in the arena */
    struct wtok_jinja *tpl; /* owned */
    bool sglang_parts;
    unsigned sglang_efforts; /* WTOK_EFFORT_… */
    bool knows_developer;    /* the role stands in it as a text */
    unsigned refused_turns;  /* WTOK_NO_… */
};
/* Who renders chats of a model by code, whatever template it has. */
enum wtok_code { WTOK_CODE_NONE, WTOK_CODE_V32, WTOK_CODE_V4, WTOK_CODE_UNKNOWN };
struct wtok_coded {
    enum wtok_code dynamo, vllm, sglang;
};
/* Immutable after creation. */
struct wtok_template {
    struct weir_arena arena;
    struct wtok_named_template list[WTOK_MAX_TEMPLATES];
    size_t n;
    const struct wtok_named_template *sglang; /* in the list, or NULL */
    struct weir_span tokens;                  /* JSON object: bos_token and its kin, in the arena */
    bool harmony;
    struct wtok_coded coded;
    struct weir_span begin; /* what the tokenizer puts in front of a plain prompt, in the arena */
};

/* What a rendering may take from the system besides its text. */
#define WTOK_RENDER_ARENA ((size_t)1 << 30)
/* chat.c: wtok_template_render() into an empty prompt. */
enum weir_status wtok_template_render_prompt(const struct wtok_template *t,
                                             const struct wtok_chat *chat, struct wtok_prompt *p,
                                             struct weir_err *err) WEIR_MUST_CHECK;

/* chat_builtin.c */
enum weir_status wtok_chat_builtin(const struct wtok_chat *chat, struct weir_buf *out,
                                   struct weir_err *err) WEIR_MUST_CHECK;

/* chat_shape.c: what an engine makes of the request. All fail through wj_fail. `parts`: the
 * template wants content as a list. `for_dynamo`: messages and tools of the flavour vLLM stand as
 * Dynamo writes them. */
void wtok_refuse_media(struct wj_run *x, struct wj_val messages);
struct wj_val wtok_shape_messages(struct wj_run *x, enum wtok_flavour flavour, bool for_dynamo,
                                  struct wj_val messages, bool parts);
/* vLLM: system messages without the line of one client's bill. */
struct wj_val wtok_shape_bills(struct wj_run *x, struct wj_val messages);
/* vLLM, for a template that does not name the role: developers become the system, and all of that
 * one message in front. */
struct wj_val wtok_shape_developers(struct wj_run *x, struct wj_val messages);
struct wj_val wtok_shape_tools(struct wj_run *x, enum wtok_flavour flavour, bool for_dynamo,
                               struct wj_val tools);
/* Those that a request's tool_choice lets SGLang show; none when none is left. */
struct wj_val wtok_choose_tools(struct wj_run *x, struct wj_val tools, struct wj_val choice);
/* chat_sglang.c: words of a template by which SGLang changes the effort that is asked for. */
enum { WTOK_EFFORT_LOW = 1, WTOK_EFFORT_HUNYUAN = 2 };
unsigned wtok_sglang_reads_efforts(struct weir_span source);
/* Fails where it does so in a way that is not followed. */
void wtok_sglang_efforts(struct wj_run *x, unsigned efforts, struct wj_val args);
/* chat_sglang.c: SGLang takes the last message of the assistant away and puts its text behind the
 * prompt, or makes it one of the user. Returns the text or a null span. */
struct weir_span wtok_shape_last(struct wj_run *x, struct wj_val *messages, bool continues);
/* chat_turns.c: what a template refuses in the order of messages. */
enum { WTOK_NO_LATE_SYSTEM = 1, WTOK_NO_USER_RUNS = 2 };
/* Of the template for conversations with or without tools, by trying. NOMEM. */
enum weir_status wtok_learn_turns(const struct wtok_template *t, bool with_tools,
                                  unsigned *ret_refused) WEIR_MUST_CHECK;
/* System messages at the front become one and later ones those of the user; messages of the user in
 * a row become one: as far as the template refuses them. */
struct wj_val wtok_order_turns(struct wj_run *x, struct wj_val messages, unsigned refused);
/* chat_harmony.c: the whole prompt of gpt-oss as vLLM makes it. */
void wtok_harmony_render(struct wj_run *x, struct wj_val messages, struct wj_val tools,
                         struct wj_val args);
/* chat_deepseek.c: which code that is for a model of this config.json (data may be NULL). */
struct wtok_coded wtok_deepseek_coded(struct weir_span config, bool with_template);
/* The whole prompt of DeepSeek V3.2 or V4 but for what continues it. `tools`: all that the request
 * has, or none where they are not shown. */
void wtok_deepseek_render(struct wj_run *x, const struct wtok_chat *chat, enum wtok_code code,
                          struct wj_val messages, struct wj_val tools, struct wj_val args,
                          struct wj_val format);
/* Small helpers on dicts. */
static inline struct wj_val wtok_member(struct wj_run *x, struct wj_val dict, const char *name) {
    struct wj_val *v =
        dict.kind == WJ_DICT ? wj_dict_find(x, dict.u.dict, weir_span_z(name)) : NULL;
    return v != NULL ? *v : (struct wj_val){.kind = WJ_MISSING};
}
static inline void wtok_set(struct wj_run *x, struct wj_val dict, const char *name,
                            struct wj_val v) {
    wj_dict_set(x, dict.u.dict, wj_strz(name), v);
}
/* A new member. */
static inline void wtok_add(struct wj_run *x, struct wj_val dict, const char *name,
                            struct wj_val v) {
    wj_dict_add(x, dict.u.dict, wj_strz(name), v);
}

/* A copy with one member set. */
static inline struct wj_val wtok_with(struct wj_run *x, struct wj_val dict, const char *name,
                                      struct wj_val v) {
    struct wj_val copy = wj_dict_new(x, dict.u.dict->n + 1);
    for (uint32_t i = 0; i < dict.u.dict->n; i++)
        wj_dict_add(x, copy.u.dict, dict.u.dict->pairs[i].key, dict.u.dict->pairs[i].value);
    wtok_set(x, copy, name, v);
    return copy;
}

#endif
