/* Each allocation fails once: the parser says so or does without, and nothing leaks or is given out
 * twice. */
#include "base/mem.h"
#include "test/check.h"
#include "test/unit/parsers/collect.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"string\"},\"n\":{\"type\":\"object\"}}}}}]";

static void ignore(void *arg, const struct wprs_delta *d) {
    *(size_t *)arg += d->text.len;
}

static enum weir_status run(const struct wprs_options *o, const char *text, size_t step) {
    struct wprs *p = NULL;
    size_t bytes = 0, n = strlen(text);
    enum weir_status st = wprs_create(o, &p, NULL);
    for (size_t at = 0; st == WEIR_OK && at < n; at += step)
        st = wprs_feed(p, weir_span(text + at, n - at < step ? n - at : step), ignore, &bytes);
    if (st == WEIR_OK)
        st = wprs_finish(p, WPRS_FINISH_STOP, ignore, &bytes, NULL);
    wprs_destroy(p);
    CHECK(bytes <= 2 * n + 64);
    return st;
}

static void torture(const char *parser, const char *reasoning, const char *text) {
    struct wprs_options o = WPRS_OPTIONS_INIT;
    o.tool_parser = weir_span_z(parser);
    o.reasoning_parser = weir_span_z(reasoning);
    o.tools = WEIR_SPAN_LIT(tools);
    for (int calls = WPRS_CALLS_CHECKED; calls <= WPRS_CALLS_PIECES; calls++) {
        o.calls = (enum wprs_calls)calls;
        bool failed = true;
        for (uint64_t k = 1; failed; k++) {
            CHECK_MSG(k < 1000, "%s never succeeds", parser);
            weir_mem_fail_at(k);
            enum weir_status st = run(&o, text, 3);
            failed = weir_mem_count() >= k;
            weir_mem_fail_at(0);
            CHECK_MSG(failed ? st == WEIR_NOMEM : st == WEIR_OK, "%s: allocation %d: %s", parser,
                      (int)k, weir_status_text(st));
        }
    }
}

static void case_json(void) {
    torture("hermes", "qwen3",
            "<think>x <tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"b\"}}</tool_call>");
}
static void case_tags(void) {
    torture(
        "qwen3_coder", NULL,
        "<tool_call>\n<function=f>\n<parameter=a>\nx<y\n</parameter>\n<parameter=n>\n{\"a\": 1}\n"
        "</parameter>\n</function>\n</tool_call> then <tool_call>no");
}
static void case_tree(void) {
    torture(
        "minimax_m3", NULL,
        "]<]minimax[>[<tool_call>]<]minimax[>[<invoke name=\"f\">]<]minimax[>[<n>]<]minimax[>[<b>1"
        "]<]minimax[>[</b>]<]minimax[>[</n>]<]minimax[>[</invoke>]<]minimax[>[</tool_call>");
}
static void case_literal(void) {
    torture("pythonic", NULL, "Well: [f(a='x', n={'k': [1, 'y']})] done");
    torture("gemma4", NULL, "<|tool_call>call:f{a:<|\"|>x<|\"|>,n:{k:1}}<tool_call|>");
}

int main(void) {
    CHECK_RUN(case_json);
    CHECK_RUN(case_tags);
    CHECK_RUN(case_tree);
    CHECK_RUN(case_literal);
    return check_finish();
}
