#include "frontend/parity.h"

#include "base/json.h"

#include <string.h>

/* ---- conversations ------------------------------------------------------------------------ */

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define SYSTEM(text) "{\"role\":\"system\",\"content\":\"" text "\"}"
#define ASSISTANT(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define WEATHER                                                                                    \
    "{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"Weather of a "    \
    "town: \\u00b0C & \\\"wind\\\"\",\"parameters\":{\"type\":\"object\",\"properties\":{"         \
    "\"town\":{\"type\":\"string\",\"description\":\"Its name\"},\"days\":{\"type\":\"integer\","  \
    "\"minimum\":1,\"default\":3},\"unit\":{\"type\":\"string\",\"enum\":[\"C\",\"F\"]}},"         \
    "\"required\":[\"town\"]}}}"
#define CALLS(content)                                                                             \
    "{\"role\":\"assistant\",\"content\":" content                                                 \
    ",\"tool_calls\":[{\"id\":\"call00001\",\"type\":\"function\",\"function\":{\"name\":"         \
    "\"weather\",\"arguments\":\"{\\\"town\\\": \\\"Ulm\\\", \\\"days\\\": 2}\"}}]}"
#define RESULT                                                                                     \
    "{\"role\":\"tool\",\"tool_call_id\":\"call00001\",\"content\":\"{\\\"sky\\\": \\\"clear\\\"}" \
    "\"}"

const struct weir_parity_canned weir_parity_canned[] = {
    {.name = "text",
     .shape = WEIR_PARITY_TEXT,
     .prompt = "The weir holds 12345.67 litres, isn't it?"},
    {.name = "text of many scripts",
     .shape = WEIR_PARITY_TEXT,
     .prompt =
         "na\xc3\xafve \xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd \xd0\x9c\xd0\xb8\xd1\x80 "
         "\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80 e\xcc\x81"},
    {.name = "text with blanks and code",
     .shape = WEIR_PARITY_TEXT,
     .prompt = "  if (a<=b) {\n\n\t\treturn x_1 ?? \"y\";   // ok...\r\n    }\n"},
    {.name = "prompt", .shape = WEIR_PARITY_PROMPT, .prompt = "Once upon a time"},
    {.name = "one question",
     .shape = WEIR_PARITY_CHAT,
     .messages = "[" USER("Hello, who are you?") "]"},
    {.name = "system and user",
     .shape = WEIR_PARITY_CHAT,
     .messages = "[" SYSTEM("You are terse.") "," USER("What is a weir?") "]"},
    {.name = "several turns",
     .shape = WEIR_PARITY_CHAT,
     .messages = "[" SYSTEM("Be kind.") "," USER("2+2?") "," ASSISTANT("4") "," USER(
         "And 3+3?") "," ASSISTANT("6, of course.") "," USER("Thanks!") "]"},
    {.name = "blanks at the edges",
     .shape = WEIR_PARITY_CHAT,
     .messages = "[" USER(" \\n two  blanks \\n ") "," ASSISTANT(" yes \\n") "," USER("\\tgo") "]"},
    {.name = "many scripts",
     .shape = WEIR_PARITY_CHAT,
     .messages = "[" USER(
         "Gr\\u00fc\\u00dfe \\u6771\\u4eac \\ud83d\\ude80 \\u0645\\u0631\\u062d\\u0628\\u0627 "
         "<b>&amp;</b> \\\"q\\\" \\\\n {{ x }} {% y %}") "]"},
    {.name = "without a generation prompt",
     .shape = WEIR_PARITY_CHAT,
     .messages = "[" USER("Say hi.") "," ASSISTANT("Hi.") "]",
     .no_generation_prompt = true},
    {.name = "empty content", .shape = WEIR_PARITY_CONTENT, .messages = "[" USER("") "]"},
    {.name = "content in parts",
     .shape = WEIR_PARITY_CONTENT,
     .messages = "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"First part.\"},"
                 "{\"type\":\"text\",\"text\":\"Second part.\"}]}]"},
    {.name = "system in parts",
     .shape = WEIR_PARITY_CONTENT,
     .messages =
         "[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"Be brief.\"}]}," USER(
             "Why?") "]"},
    {.name = "reasoning in the history",
     .shape = WEIR_PARITY_CONTENT,
     .messages = "[" USER("7*6?") "," ASSISTANT("<think>\\n7*6 is 42\\n</think>\\n\\n42") "," USER(
         "+1?") "]"},
    {.name = "a tool",
     .shape = WEIR_PARITY_TOOLS,
     .messages = "[" USER("Is it warm in Ulm?") "]",
     .tools = "[" WEATHER "]"},
    {.name = "a tool and a system prompt",
     .shape = WEIR_PARITY_TOOLS,
     .messages = "[" SYSTEM("You look things up.") "," USER("Is it warm in Ulm?") "]",
     .tools = "[" WEATHER "]"},
    {.name = "a tool without description",
     .shape = WEIR_PARITY_TOOLS,
     .messages = "[" USER("What time is it?") "]",
     .tools = "[{\"type\":\"function\",\"function\":{\"name\":\"now\",\"parameters\":{\"type\":"
              "\"object\","
              "\"properties\":{}}}}," WEATHER "]"},
    {.name = "a call and its result",
     .shape = WEIR_PARITY_TOOLS,
     .messages = "[" USER("Is it warm in Ulm?") "," CALLS("\"\"") "," RESULT "]",
     .tools = "[" WEATHER "]"},
    {.name = "a call without content",
     .shape = WEIR_PARITY_TOOLS,
     .messages = "[" USER("Is it warm in Ulm?") "," CALLS("null") "," RESULT "," ASSISTANT(
         "It is.") "," USER("And tomorrow?") "]",
     .tools = "[" WEATHER "]"},
};
const size_t weir_parity_n_canned = WEIR_ARRAY_LEN(weir_parity_canned);

/* ---- causes ------------------------------------------------------------------------------- */

/* X(id, name, text) */
#define CAUSES(X)                                                                                  \
    X(SAME, "none", "none")                                                                        \
    X(VOCABULARY, "vocabulary",                                                                    \
      "another vocabulary or another version of the tokenizer: the engine serves other files "     \
      "than "                                                                                      \
      "those that were read here (look at --model-path, the engine's --tokenizer and revision, "   \
      "and "                                                                                       \
      "a tokenizer that transformers 5 has rebuilt)")                                              \
    X(BOS_TWICE_HERE, "bos_twice_here",                                                            \
      "the begin-of-sequence token stands twice in ours: the template writes it and encoding "     \
      "adds "                                                                                      \
      "it again")                                                                                  \
    X(BOS_TWICE_THERE, "bos_twice_there",                                                          \
      "the engine puts the begin-of-sequence token twice: its template writes it and encoding "    \
      "adds "                                                                                      \
      "it again")                                                                                  \
    X(BOS_MISSING_HERE, "bos_missing_here",                                                        \
      "the engine puts a begin-of-sequence token in front and we do not: add_bos_token differs "   \
      "between its tokenizer_config.json and the one here")                                        \
    X(BOS_MISSING_THERE, "bos_missing_there",                                                      \
      "we put a begin-of-sequence token in front and the engine does not: add_bos_token differs "  \
      "between its tokenizer_config.json and the one here")                                        \
    X(AROUND, "special_tokens",                                                                    \
      "other special tokens are put around a prompt: the post-processors of the two tokenizers "   \
      "differ")                                                                                    \
    X(SYSTEM_PROMPT, "system_prompt",                                                              \
      "one side begins with text that the other does not have: another chat template, which adds " \
      "a system prompt of its own (look at the engine's --chat-template)")                         \
    X(GENERATION_PROMPT, "generation_prompt",                                                      \
      "one side ends with text that the other does not have: another generation prompt (look at "  \
      "the engine's --chat-template and its default chat_template_kwargs, thinking on or off)")    \
    X(DATE, "date",                                                                                \
      "the template writes a date, and the clocks or time zones (TZ) of the two sides differ")     \
    X(TEMPLATE, "template",                                                                        \
      "another chat template: the engine was started with --chat-template, or its files are "      \
      "another revision than those here")                                                          \
    X(CONTENT_FORM, "content",                                                                     \
      "a message is made into text in another way before the template sees it: parts of a "        \
      "content "                                                                                   \
      "are joined otherwise, or reasoning is kept (look at the engine's "                          \
      "--chat-template-content-format)")                                                           \
    X(TOOLS_FORM, "tools",                                                                         \
      "tools or tool calls are rendered in another way: another template for tools, or another "   \
      "order of keys, form of numbers or of missing fields")                                       \
    X(ONE_MORE_THERE, "one_more_there",                                                            \
      "the engine counts one token more: a begin-of-sequence token that it adds once more than "   \
      "we "                                                                                        \
      "do")                                                                                        \
    X(ONE_MORE_HERE, "one_more_here",                                                              \
      "the engine counts one token less: a begin-of-sequence token that we add once more than it " \
      "does")                                                                                      \
    X(NOT_AS_SENT, "not_as_sent",                                                                  \
      "the worker does not run the tokens that it was sent: it adds some, cuts the prompt, or "    \
      "tokenizes anew")

static const struct {
    const char *name, *text;
} causes[] = {
#define X(id, name, text) [WEIR_PARITY_##id] = {name, text},
    CAUSES(X)
#undef X
};

const char *weir_parity_cause_name(enum weir_parity_cause cause) {
    return causes[cause].name;
}

const char *weir_parity_cause_text(enum weir_parity_cause cause) {
    return causes[cause].text;
}

/* ---- comparing ---------------------------------------------------------------------------- */

/* Tokens of a date: what may differ when only the clock does. */
enum { DATE_TOKENS = 24 };

struct lists {
    const uint32_t *a, *b; /* the shorter one, the longer one */
    size_t na, nb;
    bool more_there; /* b is the engine's */
    size_t begin;    /* equal tokens in front */
    size_t end;      /* equal tokens behind, none counted in front too */
};

static bool foreign(const struct weir_parity_facts *facts, const uint32_t *ids, size_t n) {
    for (size_t i = 0; facts->vocab_size > 0 && i < n; i++)
        if (ids[i] >= facts->vocab_size)
            return true;
    return false;
}

/* The longer list is the shorter one with something in front. */
static enum weir_parity_cause more_in_front(const struct lists *l) {
    size_t more = l->nb - l->na;
    if (more > 1)
        return WEIR_PARITY_SYSTEM_PROMPT;
    bool twice = l->na > 0 && l->b[0] == l->a[0];
    if (l->more_there)
        return twice ? WEIR_PARITY_BOS_TWICE_THERE : WEIR_PARITY_BOS_MISSING_HERE;
    return twice ? WEIR_PARITY_BOS_TWICE_HERE : WEIR_PARITY_BOS_MISSING_THERE;
}

static bool ends_with(const struct lists *l, size_t from) {
    size_t n = l->na - from;
    return n > 0 && memcmp(l->b + (l->nb - n), l->a + from, n * sizeof(*l->a)) == 0;
}

/* The longer list is the shorter one with something behind a first token that both have. */
static bool behind_begin(const struct lists *l) {
    return l->na > 1 && l->a[0] == l->b[0] && ends_with(l, 1);
}

static enum weir_parity_cause of_lists(enum weir_parity_shape shape,
                                       const struct weir_parity_facts *facts,
                                       const struct lists *l) {
    if (shape == WEIR_PARITY_TEXT)
        return WEIR_PARITY_VOCABULARY;
    if (l->nb > l->na && ends_with(l, 0)) {
        enum weir_parity_cause front = more_in_front(l);
        return shape == WEIR_PARITY_PROMPT && front == WEIR_PARITY_SYSTEM_PROMPT
                   ? WEIR_PARITY_AROUND
                   : front;
    }
    if (shape == WEIR_PARITY_PROMPT)
        return WEIR_PARITY_AROUND;
    if (l->begin == l->na)
        return WEIR_PARITY_GENERATION_PROMPT;
    if (l->nb > l->na + 1 && behind_begin(l))
        return WEIR_PARITY_SYSTEM_PROMPT;
    if (facts->prints_time && l->nb - l->begin - l->end <= DATE_TOKENS)
        return WEIR_PARITY_DATE;
    return shape == WEIR_PARITY_TOOLS     ? WEIR_PARITY_TOOLS_FORM
           : shape == WEIR_PARITY_CONTENT ? WEIR_PARITY_CONTENT_FORM
                                          : WEIR_PARITY_TEMPLATE;
}

enum weir_parity_cause weir_parity_compare(enum weir_parity_shape shape,
                                           const struct weir_parity_facts *facts,
                                           const uint32_t *ours, size_t n_ours,
                                           const uint32_t *theirs, size_t n_theirs,
                                           size_t *ret_at) {
    bool more_there = n_theirs >= n_ours;
    struct lists l = {.a = more_there ? ours : theirs,
                      .b = more_there ? theirs : ours,
                      .na = more_there ? n_ours : n_theirs,
                      .nb = more_there ? n_theirs : n_ours,
                      .more_there = more_there};
    while (l.begin < l.na && l.a[l.begin] == l.b[l.begin])
        l.begin++;
    while (l.begin + l.end < l.na && l.a[l.na - 1 - l.end] == l.b[l.nb - 1 - l.end])
        l.end++;
    if (ret_at != NULL)
        *ret_at = l.begin;
    if (l.begin == l.nb)
        return WEIR_PARITY_SAME;
    if (foreign(facts, theirs, n_theirs))
        return WEIR_PARITY_VOCABULARY;
    return of_lists(shape, facts, &l);
}

enum weir_parity_cause weir_parity_count_cause(const struct weir_parity_count *c) {
    if (c->ours == c->theirs)
        return WEIR_PARITY_SAME;
    if (c->sent_ids)
        return WEIR_PARITY_NOT_AS_SENT;
    if (c->theirs == c->ours + 1)
        return WEIR_PARITY_ONE_MORE_THERE;
    if (c->ours == c->theirs + 1)
        return WEIR_PARITY_ONE_MORE_HERE;
    return !c->chat   ? WEIR_PARITY_VOCABULARY
           : c->tools ? WEIR_PARITY_TOOLS_FORM
                      : WEIR_PARITY_TEMPLATE;
}

/* A tool that must be called, or none: an engine may render only that one, or nothing. */
static bool narrows_tools(struct weir_json *j) {
    struct weir_json_str choice;
    if (weir_json_peek(j) != WEIR_JSON_STRING) {
        bool named = weir_json_peek(j) == WEIR_JSON_OBJECT;
        weir_json_skip(j, NULL);
        return named;
    }
    return weir_json_string(j, &choice) && weir_json_str_eqz(choice, "none");
}

bool weir_parity_excused(struct weir_span body) {
    static const char *const names[] = {
        "add_special_tokens", "chat_template",    "documents", "mm_processor_kwargs",
        "prompt_embeds",      "reasoning_effort", "reasoning", "truncate_prompt_tokens",
        "input_ids",          "prompt_token_ids", "suffix",    "kv_transfer_params"};
    struct weir_json j;
    struct weir_json_str key;
    bool found = false;
    weir_json_init(&j, body, 128);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return true;
    while (!found && weir_json_object_next(&j, &key)) {
        for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
            found |= weir_json_str_eqz(key, names[i]);
        if (weir_json_str_eqz(key, "tool_choice"))
            found |= narrows_tools(&j);
        else
            weir_json_skip(&j, NULL);
    }
    return found || j.error != WEIR_JSON_ERR_NONE;
}
