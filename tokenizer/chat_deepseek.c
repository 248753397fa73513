/*
 * The prompt formats of DeepSeek V3.2 and V4, whose models have no chat template: engines and
 * Dynamo render their chats by code, each a little otherwise (`ways`). Text of the formats: the
 * models' encoding_dsv32.py and encoding_dsv4.py; what is made of a request: a live Dynamo 1.6.1,
 * vLLM 0.32 and SGLang 0.5.23, to which test/e2e/interop_deepseek.py and engine_diff.py hold it.
 */
#include "base/json.h"
#include "tokenizer/chat_shape_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BOS "<｜begin▁of▁sentence｜>"
#define EOS "<｜end▁of▁sentence｜>"
#define DSML "｜DSML｜"
#define THINK "<think>"
#define THOUGHT "</think>"

/* Where the request's tools stand. */
enum place {
    FIRST_SYSTEM, /* with the first system message, wherever that is; else one in front */
    OWN_SYSTEM,   /* always with one of their own in front */
    FRONT_SYSTEM, /* with the first message, which is a system message in any case */
};
/* In front of the last question thoughts are not shown, and what else is left out there. */
enum drops { DROPS_NONE, DROPS_BEFORE_USER, DROPS_ALWAYS };

enum whose { DYNAMO, VLLM, SGLANG };

static const struct ways {
    enum whose whose;
    bool v4;     /* else V3.2 */
    bool thinks; /* where the request does not say */
    bool strict; /* results want their calls, answers to the last question a thought or call */
    bool ends_thoughts; /* also those that are empty, behind the last question */
    bool system_asks;   /* the model answers a system message that nobody else stands behind */
    enum place tools;
    enum drops drops; /* when developers are left out; only where the model thinks */
    const char *paragraph;
} dynamo = {.thinks = true, .tools = FIRST_SYSTEM, .paragraph = "\n\n"},
  vllm = {.whose = VLLM,
          .strict = true,
          .ends_thoughts = true,
          .tools = OWN_SYSTEM,
          .drops = DROPS_BEFORE_USER,
          .paragraph = "\n"},
  sglang = {.whose = SGLANG,
            .strict = true,
            .ends_thoughts = true,
            .tools = FRONT_SYSTEM,
            .drops = DROPS_ALWAYS,
            .paragraph = "\n"},
  dynamo4 = {.v4 = true,
             .thinks = true,
             .ends_thoughts = true,
             .tools = FIRST_SYSTEM,
             .drops = DROPS_ALWAYS,
             .paragraph = "\n\n"},
  vllm4 = {.whose = VLLM,
           .v4 = true,
           .thinks = true,
           .ends_thoughts = true,
           .system_asks = true,
           .tools = FIRST_SYSTEM,
           .drops = DROPS_ALWAYS,
           .paragraph = "\n\n"};

enum role { SYSTEM, DEVELOPER, USER, ASSISTANT, TOOL, OTHER };
struct turn {
    enum role role;
    bool joins;                     /* V4: a message with the turn before it */
    struct wj_val content, thought; /* STR or NONE */
    struct wj_val calls, tools;     /* LIST or NONE; tools that stand in the message */
    struct wj_val format;           /* that the answer must have, or NONE */
    struct wj_val call;             /* whose result it is */
    uint32_t order;                 /* V4: of that call among those of its answer */
};
struct deepseek {
    struct wj_run *x;
    const struct ways *ways;
    bool thinks, keeps; /* all thoughts are shown */
    struct turn *turns;
    uint32_t n;
    int64_t last_question; /* -1: none */
    int64_t answer;        /* V3.2: whose results may stand here; -1: nobody's */
    uint32_t results;      /* of it so far */
};

/* ---- what the request says ------------------------------------------------------------------ */

static struct wj_val list_or_none(struct wj_val v) {
    return v.kind == WJ_LIST && v.len > 0 ? v : wj_none();
}

/* The texts of a content that is a list, for Dynamo one behind the other. */
static struct wj_val joined(struct wj_run *x, struct wj_val content, const char *sep) {
    struct wj_vec texts = {0};
    if (content.kind != WJ_LIST)
        return content;
    for (uint32_t i = 0; i < content.len; i++) {
        struct wj_val part = content.u.items[i], text;
        const char *media = NULL;
        text = part.kind == WJ_DICT ? wtok_part_text(x, part, true, &media) : part;
        if (media != NULL && !is_text(wtok_member(x, part, "type"), "refusal"))
            wtok_refuse_part(x, part, media);
        if (text.kind == WJ_STR)
            wj_push(x, &texts, text);
    }
    return wtok_join_texts(x, &texts, sep);
}

/* Dynamo: thoughts that come as a list are one text of V3.2, none of V4. */
static struct wj_val thought_of(struct deepseek *d, struct wj_val m) {
    struct wj_run *x = d->x;
    struct wj_val v = wtok_member(x, m, "reasoning_content");
    if (!has(v))
        v = wtok_member(x, m, "reasoning");
    return v.kind == WJ_LIST && !d->ways->v4 ? wtok_joined_texts(x, v, "\n") : v;
}

static double power_of_ten(unsigned n) {
    char text[16];
    double f = 0;
    snprintf(text, sizeof(text), "1e%u", n);
    return weir_span_f64(weir_span_z(text), &f) ? f : 0;
}

/* A number's text as Rust's serde_json reads it, which is not always the nearest fraction: digits
 * while 64 bits hold them, then one multiplication or division. */
static double rust_f64(struct weir_span s) {
    uint64_t digits = 0;
    int64_t exponent = 0, said = 0;
    bool full = false, fraction = false;
    size_t i = s.len > 0 && s.data[0] == '-';
    for (; i < s.len && s.data[i] != 'e'; i++) {
        unsigned d = (unsigned)(s.data[i] - '0');
        if (s.data[i] == '.') {
            fraction = true;
            continue;
        }
        full |= digits > (UINT64_MAX - d) / 10;
        if (!full)
            digits = digits * 10 + d;
        exponent += full ? !fraction : -(int64_t)fraction;
    }
    if (i < s.len) {
        i += s.data[i + 1] == '+' ? 2 : 1;
        weir_span_i64(weir_span(s.data + i, s.len - i), &said);
    }
    exponent += said;
    double f = (double)digits;
    for (; exponent < -308 && f != 0; exponent += 308)
        f /= power_of_ten(308);
    if (exponent >= -308 && exponent <= 308)
        f = exponent < 0 ? f / power_of_ten((unsigned)-exponent)
                         : f * power_of_ten((unsigned)exponent);
    return s.data[0] == '-' ? -f : f;
}

/* Numbers as Rust's serde_json has them: -0 and integers beyond 64 bits are fractions, and those
 * are read in its way from their shortest text, which clients send. */
static struct wj_val rust_number(struct wj_val v) {
    uint64_t u;
    char text[40];
    if (v.kind == WJ_INT && (v.flags & WJ_MINUS) != 0)
        return wj_float(-0.0);
    if (v.kind == WJ_FLOAT && isfinite(v.u.f))
        return wj_float(rust_f64(weir_span(text, wj_float_text(v.u.f, text))));
    if (v.kind != WJ_BIG || weir_span_u64(weir_span(v.u.s, v.len), &u))
        return v;
    return wj_float(rust_f64(weir_span(v.u.s, v.len)));
}

static struct turn turn_of(struct deepseek *d, struct wj_val m) {
    static const char *const names[] = {"system", "developer", "user", "assistant", "tool"};
    struct wj_run *x = d->x;
    struct wj_val role = wtok_member(x, m, "role"), content = wtok_member(x, m, "content");
    struct turn t = {.role = OTHER, .format = wj_none()};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
        if (is_text(role, names[i]))
            t.role = (enum role)i;
    t.content = joined(x, content, d->ways->whose == DYNAMO ? "" : "\n\n");
    t.thought = thought_of(d, m);
    t.calls = list_or_none(wtok_member(x, m, "tool_calls"));
    t.tools = list_or_none(wtok_member(x, m, "tools"));
    t.call = wtok_member(x, m, "tool_call_id");
    if (d->ways->whose == DYNAMO && has(t.tools))
        bad_message(x, "tools of a system message are not supported for this model");
    if (d->ways == &vllm4 &&
        (wtok_member(x, m, "task").kind == WJ_STR || is_text(role, "latest_reminder") ||
         is_text(role, "direct_search_results")))
        bad_message(x, "tasks and reminders are not supported for this model");
    if (t.content.kind != WJ_STR)
        t.content = wj_strz("");
    if (t.thought.kind != WJ_STR)
        t.thought = wj_strz("");
    return t;
}

static void insert_system(struct deepseek *d) {
    memmove(d->turns + 1, d->turns, d->n++ * sizeof(*d->turns));
    d->turns[0] = (struct turn){.role = SYSTEM,
                                .content = wj_strz(""),
                                .thought = wj_strz(""),
                                .calls = wj_none(),
                                .tools = wj_none(),
                                .format = wj_none(),
                                .call = wj_none()};
}

static void place_tools(struct deepseek *d, struct wj_val tools, struct wj_val format) {
    uint32_t at = 0;
    enum place place = d->ways->tools;
    bool any = has(tools) || has(format);
    if (place == FIRST_SYSTEM)
        while (at < d->n && d->turns[at].role != SYSTEM)
            at++;
    if (place == FIRST_SYSTEM ? any && at == d->n
        : place == OWN_SYSTEM ? any
                              : d->n == 0 || d->turns[0].role != SYSTEM) {
        insert_system(d);
        at = 0;
    }
    if (has(tools))
        d->turns[at].tools = tools;
    if (has(format))
        d->turns[at].format = format;
}

static int64_t last_question(const struct deepseek *d) {
    int64_t i = (int64_t)d->n - 1;
    while (i >= 0 && d->turns[i].role != USER && d->turns[i].role != DEVELOPER &&
           !(d->ways->v4 && d->turns[i].role == TOOL))
        i--;
    while (i >= 0 && d->turns[i].joins)
        i--;
    return i;
}

static void number_calls(struct wj_run *x, struct wj_val orders, struct wj_val calls) {
    for (uint32_t i = 0; i < calls.len; i++) {
        struct wj_val id = wtok_member(x, calls.u.items[i], "id");
        if (id.kind == WJ_STR && id.len > 0) /* an empty one names no call */
            wj_dict_set(x, orders.u.dict, id, wj_int(i));
    }
}

static int by_order(const void *a, const void *b) {
    const struct turn *x = *(const struct turn *const *)a, *y = *(const struct turn *const *)b;
    return x->order != y->order ? (x->order < y->order ? -1 : 1) : (x > y) - (x < y);
}

/* The results among these turns, in the order of their calls. */
static void sort_results(struct deepseek *d, uint32_t begin, uint32_t end) {
    uint32_t n = 0, room = end - begin + 1;
    struct turn **order = wj_alloc(d->x, room * sizeof(*order));
    struct wj_val *contents = wj_alloc(d->x, room * sizeof(*contents));
    for (uint32_t i = begin; i < end; i++)
        if (d->turns[i].role == TOOL)
            order[n++] = &d->turns[i];
    qsort(order, n, sizeof(struct turn *), by_order);
    for (uint32_t i = 0; i < n; i++)
        contents[i] = order[i]->content;
    n = 0;
    for (uint32_t i = begin; i < end; i++)
        if (d->turns[i].role == TOOL)
            d->turns[i].content = contents[n++];
}

/* V4: results of tools and texts of the user in a row are one message. */
static void join_turns(struct deepseek *d) {
    struct wj_val orders = wj_dict_new(d->x, 1), *order;
    uint32_t begin = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        struct turn *t = &d->turns[i];
        bool joinable = t->role == USER || t->role == TOOL;
        t->joins = joinable && i > 0 && (t[-1].role == USER || t[-1].role == TOOL);
        if (!t->joins) {
            sort_results(d, begin, i);
            begin = i;
        }
        if (t->role == ASSISTANT && has(t->calls)) {
            orders = wj_dict_new(d->x, t->calls.len);
            number_calls(d->x, orders, t->calls);
        }
        order = t->role == TOOL && t->call.kind == WJ_STR
                    ? wj_dict_find(d->x, orders.u.dict, wj_text(d->x, t->call))
                    : NULL;
        t->order = order != NULL ? (uint32_t)order->u.i : 0;
    }
    sort_results(d, begin, d->n);
}

/* What the format's reference leaves out in front of the last question. */
static void drop_former(struct deepseek *d) {
    int64_t last = last_question(d);
    uint32_t n = 0;
    if (!d->thinks || d->keeps || d->ways->drops == DROPS_NONE ||
        (d->ways->drops == DROPS_BEFORE_USER && (d->n == 0 || d->turns[d->n - 1].role != USER)))
        return;
    for (uint32_t i = 0; i < d->n; i++)
        if (i >= last || (d->turns[i].role != DEVELOPER && d->turns[i].role != OTHER))
            d->turns[n++] = d->turns[i];
    d->n = n;
}

/* ---- text ----------------------------------------------------------------------------------- */

/* Paragraphs in front of the tools' schemas, and what stands behind these. */
struct words {
    const char *front[8], *behind;
};

static const struct words words_v32 = {
    {"## Tools",
     "You have access to a set of tools you can use to answer the user's question.\nYou can "
     "invoke functions by writing a \"<" DSML "function_calls>\" block like the following as "
     "part of your reply to the user:\n<" DSML "function_calls>\n<" DSML
     "invoke name=\"$FUNCTION_NAME\">\n<" DSML
     "parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</" DSML
     "parameter>\n...\n</" DSML "invoke>\n<" DSML "invoke name=\"$FUNCTION_NAME2\">\n...\n</" DSML
     "invoke>\n</" DSML "function_calls>",
     "String and scalar parameters should be specified as is without any escaping or quotes, "
     "while lists and objects should use JSON format. The \"string\" attribute should be set to "
     "\"true\" for string type parameters and \"false\" for other types (numbers, booleans, "
     "arrays, objects).",
     "If the thinking_mode is enabled, then after function results you should strongly consider "
     "outputting a thinking block. Here is an example:",
     "<" DSML "function_calls>\n...\n</" DSML "function_calls>",
     "<function_results>\n...\n</function_results>", THINK "...thinking about results" THOUGHT,
     "Here are the functions available in JSONSchema format:\n<functions>\n"},
    "</functions>\n"};

static const struct words words_v4 = {
    {"## Tools",
     "You have access to a set of tools to help answer the user's question. You can invoke tools "
     "by writing a \"<" DSML "tool_calls>\" block like the following:",
     "<" DSML "tool_calls>\n<" DSML "invoke name=\"$TOOL_NAME\">\n<" DSML
     "parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</" DSML
     "parameter>\n...\n</" DSML "invoke>\n<" DSML "invoke name=\"$TOOL_NAME2\">\n...\n</" DSML
     "invoke>\n</" DSML "tool_calls>",
     "String parameters should be specified as is and set `string=\"true\"`. For all other types "
     "(numbers, booleans, arrays, objects), pass the value in JSON format and set "
     "`string=\"false\"`.",
     "If thinking_mode is enabled (triggered by " THINK "), you MUST output your complete "
     "reasoning inside " THINK "..." THOUGHT " BEFORE any tool calls or final response.",
     "Otherwise, output directly after " THOUGHT " with tool calls or final response.",
     "### Available Tool Schemas", ""},
    "\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool "
    "calls.\n"};

static void put_value(struct deepseek *d, struct wj_val v) {
    wj_put_json(d->x, d->ways->whose == DYNAMO ? wtok_map_numbers(d->x, v, rust_number) : v);
}

static void put_tools(struct deepseek *d, struct wj_val tools) {
    struct wj_run *x = d->x;
    const struct words *w = d->ways->v4 ? &words_v4 : &words_v32;
    wj_putz(x, "\n\n");
    for (size_t i = 0; i < WEIR_ARRAY_LEN(w->front); i++) {
        wj_putz(x, i > 0 ? d->ways->paragraph : "");
        wj_putz(x, w->front[i]);
    }
    for (uint32_t i = 0; i < tools.len; i++) {
        struct wj_val f = wtok_member(x, tools.u.items[i], "function");
        if (f.kind != WJ_DICT)
            bad_message(x, "every tool must be an object with a function");
        put_value(d, f);
        wj_put(x, "\n", 1);
    }
    wj_putz(x, w->behind);
}

static void put_demands(struct deepseek *d, const struct turn *t) {
    if (has(t->tools))
        put_tools(d, t->tools);
    if (!has(t->format))
        return;
    wj_putz(d->x, "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to "
                  "reply:\n");
    put_value(d, t->format);
}

static void put_parameter(struct deepseek *d, struct wj_val name, struct wj_val value) {
    struct wj_run *x = d->x;
    bool text = value.kind == WJ_STR;
    wj_putz(x, "<" DSML "parameter name=\"");
    wj_put_str(x, name);
    wj_putz(x, text ? "\" string=\"true\">" : "\" string=\"false\">");
    if (text)
        wj_print_str(x, value);
    else
        put_value(d, value);
    wj_putz(x, "</" DSML "parameter>");
}

static void put_arguments(struct deepseek *d, struct wj_val v) {
    struct wj_run *x = d->x;
    struct wj_val parsed = v;
    if (v.kind == WJ_STR && wj_try_json(x, wj_text(x, v), &parsed) && parsed.kind == WJ_DICT)
        v = parsed;
    if (v.kind == WJ_STR && d->ways->whose == DYNAMO) {
        put_parameter(d, wj_strz("arguments"), v); /* what cannot be read, as it stands */
        return;
    }
    if (v.kind != WJ_DICT)
        bad_message(x, "the arguments of a tool call must be a JSON object");
    for (uint32_t i = 0; i < v.u.dict->n; i++) {
        wj_putz(x, i > 0 ? "\n" : "");
        put_parameter(d, v.u.dict->pairs[i].key, v.u.dict->pairs[i].value);
    }
}

static void put_calls(struct deepseek *d, struct wj_val calls) {
    struct wj_run *x = d->x;
    const char *block = d->ways->v4 ? DSML "tool_calls>" : DSML "function_calls>";
    wj_putz(x, "\n\n<");
    wj_putz(x, block);
    wj_putz(x, "\n");
    for (uint32_t i = 0; i < calls.len; i++) {
        struct wj_val f = wtok_member(x, calls.u.items[i], "function");
        struct wj_val name = wtok_member(x, f, "name");
        if (name.kind != WJ_STR)
            bad_message(x, "a tool call needs a function with a name");
        wj_putz(x, "<" DSML "invoke name=\"");
        wj_put_str(x, name);
        wj_putz(x, "\">\n");
        put_arguments(d, wtok_member(x, f, "arguments"));
        wj_putz(x, "\n</" DSML "invoke>\n");
    }
    wj_putz(x, "</");
    wj_putz(x, block);
}

static void put_assistant(struct deepseek *d, uint32_t at) {
    struct wj_run *x = d->x;
    const struct turn *t = &d->turns[at];
    if (d->thinks && (d->keeps || at > d->last_question)) {
        if (d->ways->strict && t->thought.len == 0 && !has(t->calls))
            bad_message(x, "an answer to the last question needs reasoning_content or tool_calls "
                           "where the model thinks");
        wj_print_str(x, t->thought);
        if (d->ways->ends_thoughts || t->thought.len > 0)
            wj_putz(x, THOUGHT);
    }
    wj_print_str(x, t->content);
    if (has(t->calls))
        put_calls(d, t->calls);
    wj_putz(x, EOS);
}

static void put_result(struct deepseek *d, uint32_t at) {
    struct wj_run *x = d->x;
    uint32_t order = ++d->results;
    /* The reference's index runs around. */
    int64_t answer = d->ways->strict && at == 0 ? (int64_t)d->n - 1 : d->answer;
    uint32_t n = answer >= 0 && has(d->turns[answer].calls) ? d->turns[answer].calls.len : 0;
    if (d->ways->strict && n < order)
        bad_message(x, "a tool message needs a call of the assistant before it");
    wj_putz(x, order == 1 ? "\n\n<function_results>" : "");
    wj_putz(x, "\n<result>");
    wj_print_str(x, d->turns[at].content);
    wj_putz(x, "</result>");
    if (order != n)
        return;
    wj_putz(x, "\n</function_results>\n\n");
    wj_putz(x, d->thinks && at >= d->last_question ? THINK : THOUGHT);
}

/* A question of V4 whose answer is next. */
static void put_asks(struct deepseek *d, uint32_t at) {
    bool last = at + 1 == d->n;
    if (!last && d->turns[at + 1].role != ASSISTANT)
        return;
    wj_putz(d->x, "<｜Assistant｜>");
    wj_putz(d->x, d->thinks && (d->keeps || at >= d->last_question) ? THINK : THOUGHT);
}

static void put_turn_v4(struct deepseek *d, uint32_t at) {
    struct wj_run *x = d->x;
    const struct turn *t = &d->turns[at];
    if (t->role == ASSISTANT) {
        put_assistant(d, at);
        return;
    }
    if (t->role == OTHER)
        bad_message(x, "this model knows no such role");
    if (t->role == DEVELOPER && t->content.len == 0)
        bad_message(x, "a developer's message needs a content");
    if (t->role != SYSTEM)
        wj_putz(x, t->joins ? "\n\n" : "<｜User｜>");
    wj_putz(x, t->role == TOOL ? "<tool_result>" : "");
    wj_print_str(x, t->content);
    wj_putz(x, t->role == TOOL ? "</tool_result>" : "");
    if (t->role == SYSTEM || t->role == DEVELOPER)
        put_demands(d, t);
    if (t->role != SYSTEM || d->ways->system_asks)
        put_asks(d, at);
}

static void put_turn(struct deepseek *d, uint32_t at) {
    struct wj_run *x = d->x;
    const struct turn *t = &d->turns[at];
    switch (t->role) {
    case SYSTEM:
        wj_print_str(x, t->content);
        put_demands(d, t);
        return;
    case DEVELOPER:
    case USER:
        if (t->role == DEVELOPER && d->ways->strict && t->content.len == 0)
            bad_message(x, "a developer's message needs a content");
        wj_putz(x, "<｜User｜>");
        if (t->role == DEVELOPER) {
            put_demands(d, t);
            wj_putz(x, "\n\n# The user's message is: ");
        }
        wj_print_str(x, t->content);
        wj_putz(x, "<｜Assistant｜>");
        wj_putz(x, d->thinks && at == d->last_question ? THINK : THOUGHT);
        return;
    case ASSISTANT:
        put_assistant(d, at);
        return;
    case TOOL:
        put_result(d, at);
        return;
    default:
        bad_message(x, "this model knows no such role");
    }
}

/* Results are those of the answer right before them, for Dynamo of the last one. */
static void note_answer(struct deepseek *d, uint32_t at) {
    enum role role = d->turns[at].role;
    if (role != ASSISTANT && (role == TOOL || !d->ways->strict))
        return;
    d->answer = role == ASSISTANT ? (int64_t)at : -1;
    d->results = 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Dynamo has made one word of all that a request may say, where it says something. */
static bool thinks(struct deepseek *d, struct wj_val args) {
    struct wj_run *x = d->x;
    struct wj_val thinking = wtok_member(x, args, "thinking"),
                  enabled = wtok_member(x, args, "enable_thinking"),
                  mode = wtok_member(x, args, "thinking_mode");
    if (d->ways->v4 && is_text(wtok_member(x, args, "reasoning_effort"), "none"))
        return false;
    if (d->ways == &vllm4 && thinking.kind == WJ_MISSING && enabled.kind == WJ_MISSING)
        return d->ways->thinks;
    if (d->ways->whose == VLLM)
        return (has(thinking) && wj_truth(thinking)) || (has(enabled) && wj_truth(enabled));
    if (d->ways->whose == SGLANG)
        return has(thinking) && wj_truth(thinking);
    if (thinking.kind == WJ_BOOL || enabled.kind == WJ_BOOL)
        return wj_truth(thinking.kind == WJ_BOOL ? thinking : enabled);
    if (is_text(mode, "chat") || is_text(mode, "thinking"))
        return is_text(mode, "thinking");
    return d->ways->thinks;
}

/* Thoughts in front of the last question stay: where somebody says so, or tools are shown. */
static bool keeps(struct deepseek *d, struct wj_val args) {
    struct wj_val drop = wtok_member(d->x, args, "drop_thinking");
    if (drop.kind == WJ_BOOL || (d->ways->whose == VLLM && drop.kind != WJ_MISSING))
        if (!wj_truth(drop))
            return true;
    for (uint32_t i = 0; i < d->n; i++)
        if (has(d->turns[i].tools))
            return true;
    return false;
}

/* V4: how hard it shall think, in front of all. */
static void put_effort(struct deepseek *d, struct wj_val args) {
    static const char high[] =
        "Reasoning Effort: Absolute maximum with no shortcuts permitted.\nYou MUST be very "
        "thorough in your thinking and comprehensively decompose the problem to resolve the root "
        "cause, rigorously stress-testing your logic against all potential paths, edge cases, and "
        "adversarial scenarios.\nExplicitly write out your entire deliberation process, "
        "documenting every intermediate step, considered alternative, and rejected hypothesis to "
        "ensure absolutely no assumption is left unchecked.\n\n";
    static const char max[] =
        "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\nYou MUST "
        "reason with the utmost depth and rigor, leaving absolutely nothing to chance: "
        "exhaustively decompose the problem into its most fundamental components, trace every "
        "causal chain to its root, and resolve the underlying cause rather than any surface "
        "symptom.\nDo not stop reasoning until you have independently verified the solution from "
        "multiple angles and are certain that no assumption remains unchecked and no error remains "
        "undiscovered.\n\n";
    struct wj_val effort = wtok_member(d->x, args, "reasoning_effort");
    if (!d->ways->v4 || !d->thinks || d->n == 0 || is_text(effort, "low") ||
        is_text(effort, "minimal") || (d->ways->whose == VLLM && is_text(effort, "medium")))
        return;
    wj_putz(d->x, is_text(effort, "max") ? max : high);
}

static struct wj_val dynamo_format(struct wj_run *x, struct wj_val format) {
    static const char *const names[] = {"description", "name", "schema", "strict"};
    struct wj_val inner = wtok_member(x, format, "json_schema");
    if (format.kind != WJ_DICT)
        return wj_none();
    struct wj_val out = wj_dict_new(x, 2), schema = wj_dict_new(x, WEIR_ARRAY_LEN(names));
    wtok_add(x, out, "type", wtok_member(x, format, "type"));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
        if (has(wtok_member(x, inner, names[i])))
            wtok_add(x, schema, names[i], wtok_member(x, inner, names[i]));
    if (is_text(wtok_member(x, format, "type"), "json_schema"))
        wtok_add(x, out, "json_schema", schema);
    return out;
}

void wtok_deepseek_render(struct wj_run *x, const struct wtok_chat *chat, enum wtok_code code,
                          struct wj_val messages, struct wj_val tools, struct wj_val args,
                          struct wj_val format) {
    bool v4 = code == WTOK_CODE_V4;
    struct deepseek d = {.x = x, .answer = -1};
    d.ways = chat->for_dynamo                       ? (v4 ? &dynamo4 : &dynamo)
             : chat->flavour == WTOK_FLAVOUR_SGLANG ? &sglang
                                                    : (v4 ? &vllm4 : &vllm);
    d.turns = wj_alloc(x, (messages.len + (size_t)1) * sizeof(*d.turns));
    d.thinks = thinks(&d, args);
    for (uint32_t i = 0; i < messages.len; i++)
        d.turns[d.n++] = turn_of(&d, messages.u.items[i]);
    place_tools(&d, list_or_none(tools), dynamo_format(x, format));
    if (v4) {
        join_turns(&d);
        d.keeps = keeps(&d, args);
    }
    drop_former(&d);
    d.last_question = last_question(&d);
    if (d.ways == &dynamo && d.last_question < 0)
        d.thinks = false; /* V3.2 where nobody asks */
    wj_putz(x, BOS);
    put_effort(&d, args);
    for (uint32_t i = 0; i < d.n; i++) {
        (v4 ? put_turn_v4 : put_turn)(&d, i);
        note_answer(&d, i);
    }
}

/* ---- which models --------------------------------------------------------------------------- */

/* The first of config.json's architectures, as text of the JSON; or a null span. */
static struct weir_span architecture(struct weir_span config) {
    struct weir_span list, raw = {NULL, 0};
    struct weir_json j;
    if (!weir_json_member(config, "architectures", &list))
        return raw;
    weir_json_init(&j, list, 8);
    if (weir_json_peek(&j) == WEIR_JSON_ARRAY && weir_json_array_enter(&j) &&
        weir_json_array_next(&j))
        weir_json_skip(&j, &raw);
    return raw;
}

struct wtok_coded wtok_deepseek_coded(struct weir_span config, bool with_template) {
    struct wtok_coded c = {WTOK_CODE_NONE, WTOK_CODE_NONE, WTOK_CODE_NONE};
    struct weir_span type, arch;
    if (config.data == NULL)
        return c;
    if (!weir_json_member(config, "model_type", &type))
        type = weir_span("", 0);
    arch = architecture(config);
    bool v4 = arch.len > 0 && wj_find(arch, WEIR_SPAN_LIT("DeepseekV4"), 0) >= 0;
    bool v41 = weir_json_is(type, "deepseek_v41");
    if (weir_json_is(type, "deepseek_v32"))
        c.dynamo = WTOK_CODE_V32;
    if (weir_json_is(type, "deepseek_v4"))
        c.dynamo = WTOK_CODE_V4;
    if (v41)
        c.dynamo = WTOK_CODE_UNKNOWN;
    if (weir_json_is(arch, "DeepseekV32ForCausalLM"))
        c.vllm = WTOK_CODE_V32;
    else if (weir_json_is(arch, "DeepseekV4ForCausalLM") ||
             weir_json_is(arch, "DeepseekV4ForConditionalGeneration"))
        c.vllm = WTOK_CODE_V4;
    else if (v4)
        c.vllm = WTOK_CODE_UNKNOWN;
    if (v4 || v41)
        c.sglang = WTOK_CODE_UNKNOWN;
    else if (!with_template && arch.len > 0 && wj_find(arch, WEIR_SPAN_LIT("DeepseekV3"), 0) >= 0)
        c.sglang = WTOK_CODE_V32;
    return c;
}
