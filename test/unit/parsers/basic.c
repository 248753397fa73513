/* The contract of wprs.h: names, choice, thinking, kinds of deltas, ids, bounds. */
#include "parsers/wprs.h"

#include "test/check.h"

static void append(struct weir_buf *out, struct weir_span text) {
    CHECK(weir_buf_append_span(out, text) == WEIR_OK);
}

/* Deltas as one line: R(…) C(…) call:NAME A(…) end cut. */
static void on_delta(void *arg, const struct wprs_delta *d) {
    static const char *const open[] = {"C(", "R(", "call:", "A(", "end ", "cut "};
    struct weir_buf *out = arg;
    append(out, weir_span_z(open[d->kind]));
    if (d->kind == WPRS_CALL) {
        append(out, d->name);
        append(out, weir_span_z(d->text.len > 0 ? "=" : ""));
    }
    append(out, d->text);
    if (d->kind < WPRS_CALL || d->kind == WPRS_ARGUMENTS)
        append(out, weir_span_z(")"));
    if (d->kind == WPRS_CALL)
        append(out, weir_span_z(" "));
}

static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";

static struct wprs_options hermes(enum wprs_calls calls) {
    struct wprs_options o = WPRS_OPTIONS_INIT;
    o.tool_parser = WEIR_SPAN_LIT("hermes");
    o.tools = WEIR_SPAN_LIT(tools);
    o.calls = calls;
    return o;
}

static void expect(const struct wprs_options *o, const char *text, enum wprs_finish finish,
                   const char *want, enum wprs_finish want_finish) {
    struct wprs *p = NULL;
    struct weir_buf got;
    enum wprs_finish got_finish = WPRS_FINISH_OTHER;
    weir_buf_init(&got, 65536);
    CHECK(wprs_create(o, &p, NULL) == WEIR_OK);
    CHECK(wprs_feed(p, weir_span_z(text), on_delta, &got) == WEIR_OK);
    CHECK(wprs_finish(p, finish, on_delta, &got, &got_finish) == WEIR_OK);
    CHECK_EQ_STR(got.data, got.len, want);
    CHECK(got_finish == want_finish);
    wprs_destroy(p);
    weir_buf_fini(&got);
}

static void case_names(void) {
    struct weir_err err;
    const struct weir_span none = weir_span(NULL, 0);
    CHECK(wprs_check_names(none, none, &err) == WEIR_OK);
    for (size_t i = 0; wprs_tool_parser_name(i) != NULL; i++)
        CHECK(wprs_check_names(weir_span_z(wprs_tool_parser_name(i)), none, &err) == WEIR_OK);
    for (size_t i = 0; wprs_reasoning_parser_name(i) != NULL; i++)
        CHECK(wprs_check_names(none, weir_span_z(wprs_reasoning_parser_name(i)), &err) == WEIR_OK);
    CHECK(wprs_check_names(WEIR_SPAN_LIT("qwen3_codr"), none, &err) == WEIR_NOT_FOUND);
    CHECK(strstr(err.text, "did you mean \"qwen3_coder\"?") != NULL);
    CHECK(wprs_check_names(none, WEIR_SPAN_LIT("deepseek-r1"), &err) == WEIR_NOT_FOUND);
    CHECK(strstr(err.text, "did you mean \"deepseek_r1\"?") != NULL);
    CHECK(wprs_check_names(none, WEIR_SPAN_LIT("zzzzzzzzzzzzzzz"), &err) == WEIR_NOT_FOUND);
    CHECK(strstr(err.text, "did you mean") == NULL);
}

static void case_choice(void) {
    enum wprs_choice c = WPRS_CHOICE_NONE;
    struct weir_span name = {NULL, 0};
    CHECK(wprs_choice_of(name, &c, &name, NULL) == WEIR_OK && c == WPRS_CHOICE_AUTO);
    CHECK(wprs_choice_of(WEIR_SPAN_LIT("\"none\""), &c, &name, NULL) == WEIR_OK &&
          c == WPRS_CHOICE_NONE);
    CHECK(wprs_choice_of(WEIR_SPAN_LIT("\"required\""), &c, &name, NULL) == WEIR_OK &&
          c == WPRS_CHOICE_REQUIRED);
    CHECK(wprs_choice_of(WEIR_SPAN_LIT("{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"), &c,
                         &name, NULL) == WEIR_OK &&
          c == WPRS_CHOICE_NAMED && weir_span_eqz(name, "f"));
    CHECK(wprs_choice_of(WEIR_SPAN_LIT("\"sometimes\""), &c, &name, NULL) == WEIR_INVALID);
    CHECK(wprs_choice_of(WEIR_SPAN_LIT("{\"type\":\"function\"}"), &c, &name, NULL) ==
          WEIR_INVALID);
}

static void case_thinking(void) {
    struct wprs_options o = WPRS_OPTIONS_INIT;
    wprs_thinking_of(weir_span(NULL, 0), weir_span(NULL, 0), &o);
    CHECK(o.thinking == WPRS_UNSET && o.effort == WPRS_UNSET);
    wprs_thinking_of(WEIR_SPAN_LIT("{\"enable_thinking\":false,\"reasoning_effort\":\"low\"}"),
                     weir_span(NULL, 0), &o);
    CHECK(o.thinking == WPRS_OFF && o.effort == WPRS_ON);
    wprs_thinking_of(WEIR_SPAN_LIT("{\"thinking\":true,\"enable_thinking\":false}"),
                     WEIR_SPAN_LIT("\"none\""), &o);
    CHECK(o.thinking == WPRS_ON && o.effort == WPRS_OFF);
    /* As many levels as a request may have. (Failed before: 64, and what stood behind was not
     * seen.) */
    char deep[512];
    int n = snprintf(deep, sizeof(deep), "{\"a\":%0*d,\"enable_thinking\":false}", 200, 0);
    memset(deep + 5, '[', 100);
    memset(deep + 105, ']', 100);
    wprs_thinking_of(weir_span(deep, (size_t)n), weir_span(NULL, 0), &o);
    CHECK(o.thinking == WPRS_OFF);
    /* What a live Dynamo 1.6.1 tells workers, by parser: nothing said, both switches, an effort,
     * "none", and words of thinking_mode. */
    static const char *const said[] = {
        "{}",
        "{\"thinking\":false}",
        "{\"enable_thinking\":true}",
        "{\"reasoning_effort\":\"low\"}",
        "{\"reasoning_effort\":\"none\"}",
        "{\"thinking_mode\":\"chat\"}",
        "{\"thinking_mode\":\"thinking\"}",
        "{\"thinking_mode\":\"adaptive\",\"reasoning_effort\":\"none\"}",
    };
    static const struct {
        const char *parser, *thinks;
    } rows[] = {
        {"basic", "00000000"},         {"glm47", "00000000"},       {"gpt_oss", "00000000"},
        {"step3", "11111111"},         {"deepseek_r1", "11111111"}, {"qwen3", "10110111"},
        {"deepseek_v3_2", "10110011"}, {"minimax_m2", "10110011"},  {"deepseek_v3", "00110010"},
        {"minimax_m3", "00110111"},    {"gemma4", "00110000"},      {"mistral", "00010000"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < WEIR_ARRAY_LEN(said); k++) {
            o.reasoning_parser = weir_span_z(rows[i].parser);
            wprs_thinking_of(weir_span_z(said[k]), weir_span(NULL, 0), &o);
            CHECK_MSG(wprs_thinks_first(&o) == (rows[i].thinks[k] == '1'), "%s %s", rows[i].parser,
                      said[k]);
        }
}

/* skip_special_tokens false in what a live Dynamo 1.6.1 sent for each name, the parser of the other
 * kind unset: chats, completions, Responses and Messages, tools and thinking or not. */
static void case_keeps_special(void) {
    static const char *const calling[] = {
        "harmony",        "deepseek_v41", "minimax_m3",   "minimax-m3", "minimax_m3_nom",
        "minimax-m3-nom", "kimi_k2",      "kimi_k3",      "kimi-k3",    "gemma4",
        "gemma-4",        "inkling",      "muse_glimmer", "muse",       NULL};
    static const char *const thinking[] = {
        "deepseek_v41", "gpt_oss", "mistral", "kimi_k25", "kimi_k3",      "kimi-k3", "minimax_m3",
        "minimax-m3",   "gemma4",  "gemma-4", "inkling",  "muse_glimmer", "muse",    NULL};
    const struct weir_span none = {NULL, 0};
    const char *name;
    size_t n = 0, listed = 0;
    for (size_t i = 0; wprs_tool_parser_name(i) != NULL; i++)
        n += wprs_keeps_special(weir_span_z(wprs_tool_parser_name(i)), none);
    for (size_t i = 0; wprs_reasoning_parser_name(i) != NULL; i++)
        n += wprs_keeps_special(none, weir_span_z(wprs_reasoning_parser_name(i)));
    for (; calling[listed] != NULL; listed++)
        CHECK_MSG(wprs_keeps_special(weir_span_z(calling[listed]), none), "%s", calling[listed]);
    n -= listed;
    for (listed = 0; thinking[listed] != NULL; listed++)
        CHECK_MSG(wprs_keeps_special(none, weir_span_z(thinking[listed])), "%s", thinking[listed]);
    CHECK(n == listed);
    CHECK(wprs_keeps_special(WEIR_SPAN_LIT("hermes"), WEIR_SPAN_LIT("mistral")));
    CHECK(wprs_keeps_special(WEIR_SPAN_LIT("gemma4"), WEIR_SPAN_LIT("qwen3")));
    CHECK(!wprs_keeps_special(none, none));
    for (size_t i = 0; (name = wprs_reasoning_parser_name(i)) != NULL; i++)
        CHECK_MSG(wprs_tells_thinking(weir_span_z(name)) ==
                      (strcmp(name, "kimi_k25") == 0 || strcmp(name, "kimi_k3") == 0 ||
                       strcmp(name, "kimi-k3") == 0),
                  "%s", name);
}

#define CALL "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>"

static void case_kinds(void) {
    struct wprs_options o = hermes(WPRS_CALLS_CHECKED);
    expect(&o, "Hi " CALL " bye", WPRS_FINISH_STOP, "C(Hi )call:f A({\"a\": 1})end C( bye)",
           WPRS_FINISH_TOOL_CALLS);
    expect(&o, "Hi", WPRS_FINISH_STOP, "C(Hi)", WPRS_FINISH_STOP);
    expect(&o, CALL, WPRS_FINISH_LENGTH, "call:f A({\"a\": 1})end ", WPRS_FINISH_LENGTH);
    o = hermes(WPRS_CALLS_WHOLE);
    expect(&o, CALL "\n" CALL, WPRS_FINISH_STOP, "call:f={\"a\": 1} end call:f={\"a\": 1} end ",
           WPRS_FINISH_TOOL_CALLS);
    o.single_call = true;
    expect(&o, CALL CALL, WPRS_FINISH_STOP, "call:f={\"a\": 1} end ", WPRS_FINISH_TOOL_CALLS);
}

static void case_cut(void) {
    static const char cut[] = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a";
    struct wprs_options o = hermes(WPRS_CALLS_CHECKED);
    expect(&o, cut, WPRS_FINISH_LENGTH, "C(<tool_call>{\"name\": \"f\", \"arguments\": {\"a)",
           WPRS_FINISH_LENGTH);
    o = hermes(WPRS_CALLS_PIECES);
    expect(&o, cut, WPRS_FINISH_LENGTH, "call:f A({\"a)cut ", WPRS_FINISH_LENGTH);
    expect(&o, CALL, WPRS_FINISH_STOP, "call:f A({\"a\": 1})end ", WPRS_FINISH_TOOL_CALLS);
}

/* Of arguments that are there twice the last count; those that were given out cannot be taken back.
 * (Failed before: both were given out, one behind the other.) */
static void case_twice(void) {
    static const char twice[] =
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"arguments\": {}}</tool_call>";
    struct wprs_options o = hermes(WPRS_CALLS_CHECKED);
    expect(&o, twice, WPRS_FINISH_STOP, "call:f A({})end ", WPRS_FINISH_TOOL_CALLS);
    o = hermes(WPRS_CALLS_PIECES);
    expect(&o, twice, WPRS_FINISH_STOP,
           "call:f A({\"a\": 1})cut C(, \"arguments\": )C({}}</tool_call>)", WPRS_FINISH_STOP);
    expect(&o, "<tool_call>{\"name\": \"f\", \"arguments\": {}, \"arguments\": null}</tool_call>",
           WPRS_FINISH_STOP, "call:f A({})end ", WPRS_FINISH_TOOL_CALLS);
}

static void case_no_tools(void) {
    struct wprs_options o = hermes(WPRS_CALLS_CHECKED);
    o.choice = WPRS_CHOICE_NONE;
    expect(&o, CALL, WPRS_FINISH_STOP, "C(" CALL ")", WPRS_FINISH_STOP);
    o = hermes(WPRS_CALLS_CHECKED);
    o.tools = WEIR_SPAN_LIT("[]");
    expect(&o, CALL, WPRS_FINISH_STOP, "C(" CALL ")", WPRS_FINISH_STOP);
}

/* A call that needs more than may be held back is text. */
static void case_bound(void) {
    struct wprs_options o = hermes(WPRS_CALLS_CHECKED);
    o.max_held_bytes = 40;
    expect(&o, CALL, WPRS_FINISH_STOP,
           "C(<tool_call>{\"name\": \"f\", \"arguments\": {\")C(a\": 1}}</tool_call>)",
           WPRS_FINISH_STOP);
}

int main(void) {
    CHECK_RUN(case_names);
    CHECK_RUN(case_choice);
    CHECK_RUN(case_thinking);
    CHECK_RUN(case_keeps_special);
    CHECK_RUN(case_kinds);
    CHECK_RUN(case_cut);
    CHECK_RUN(case_twice);
    CHECK_RUN(case_no_tools);
    CHECK_RUN(case_bound);
    return check_finish();
}
