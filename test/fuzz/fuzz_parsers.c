/*
 * Property: however the text is cut, the same comes out; calls that are given out whole have one
 * JSON object as arguments; without calls and reasoning all bytes but white space come back. Input:
 * parser, reasoning parser, settings, then the text.
 */
#include "base/json.h"
#include "base/utf8.h"
#include "parsers/wprs.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS_MAX = 64, TEXT_MAX = 1 << 22 };

struct got {
    struct weir_buf content, reasoning, calls;
    struct weir_buf args; /* of the last call */
    unsigned n_calls, n_deltas;
    bool utf8, whole;
};

static void add(struct weir_buf *out, struct weir_span text) {
    if (weir_buf_append_span(out, text) != WEIR_OK)
        abort();
}

static void on_delta(void *arg, const struct wprs_delta *d) {
    struct got *g = arg;
    struct weir_json j;
    g->n_deltas++;
    switch (d->kind) {
    case WPRS_CONTENT:
        add(&g->content, d->text);
        break;
    case WPRS_REASONING:
        add(&g->reasoning, d->text);
        break;
    case WPRS_CALL:
        if (d->index != g->n_calls++ || d->name.len == 0)
            abort();
        weir_buf_clear(&g->args);
        add(&g->calls, d->id);
        add(&g->calls, d->name);
        add(&g->calls, d->text);
        add(&g->args, d->text);
        break;
    case WPRS_ARGUMENTS:
        add(&g->calls, d->text);
        add(&g->args, d->text);
        break;
    case WPRS_CALL_END:
        weir_json_init(&j, weir_buf_span(&g->args), 512);
        if (g->utf8 &&
            (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_skip(&j, NULL) ||
             !weir_json_finish(&j)) &&
            j.error != WEIR_JSON_ERR_LONE_SURROGATE && j.error != WEIR_JSON_ERR_UNEXPECTED_END_HEX)
            abort();
        add(&g->calls, WEIR_SPAN_LIT("!"));
        break;
    case WPRS_CALL_CUT:
        if (g->whole)
            abort();
        add(&g->calls, WEIR_SPAN_LIT("?"));
        break;
    }
}

static void run(const struct wprs_options *o, struct weir_span text, size_t step,
                enum wprs_finish finish, struct got *g) {
    struct wprs *p = NULL;
    weir_buf_init(&g->content, TEXT_MAX);
    weir_buf_init(&g->reasoning, TEXT_MAX);
    weir_buf_init(&g->calls, TEXT_MAX);
    weir_buf_init(&g->args, TEXT_MAX);
    g->utf8 = weir_utf8_valid(text);
    g->whole = o->calls != WPRS_CALLS_PIECES;
    g->n_calls = g->n_deltas = 0;
    if (wprs_create(o, &p, NULL) != WEIR_OK)
        abort();
    for (size_t at = 0; at < text.len; at += step) {
        size_t n = text.len - at < step ? text.len - at : step;
        if (wprs_feed(p, weir_span(text.data + at, n), on_delta, g) != WEIR_OK)
            abort();
    }
    if (wprs_finish(p, finish, on_delta, g, NULL) != WEIR_OK)
        abort();
    wprs_destroy(p);
}

static void show(const char *what, const struct got *g) {
    const struct weir_buf *bufs[] = {&g->content, &g->reasoning, &g->calls};
    for (int i = 0; i < 3; i++) {
        fprintf(stderr, "%s %d [", what, i);
        fwrite(bufs[i]->data, 1, bufs[i]->len, stderr);
        fputs("]\n", stderr);
    }
}

static bool same(const struct weir_buf *a, const struct weir_buf *b) {
    return weir_span_eq(weir_buf_span(a), weir_buf_span(b));
}

static void fini(struct got *g) {
    weir_buf_fini(&g->content);
    weir_buf_fini(&g->reasoning);
    weir_buf_fini(&g->calls);
    weir_buf_fini(&g->args);
}

static size_t solid(struct weir_span text) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] != ' ' && text.data[i] != '\n' && text.data[i] != '\t' &&
             text.data[i] != '\r';
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char tools[] =
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
        "\"properties\":{\"a\":{\"type\":\"string\"},\"n\":{\"type\":\"number\"},\"o\":{\"type\":"
        "\"object\"},\"l\":{\"anyOf\":[{\"type\":\"array\"},{\"type\":\"null\"}]}}}}}]";
    if (size < 3)
        return 0;
    size_t n_tool = 0, n_reason = 0;
    while (wprs_tool_parser_name(n_tool) != NULL)
        n_tool++;
    while (wprs_reasoning_parser_name(n_reason) != NULL)
        n_reason++;
    struct wprs_options o = WPRS_OPTIONS_INIT;
    o.tool_parser = weir_span_z(wprs_tool_parser_name(data[0] % n_tool));
    size_t reason = data[1] % (n_reason + 1);
    o.reasoning_parser = weir_span_z(reason > 0 ? wprs_reasoning_parser_name(reason - 1) : NULL);
    o.tools = WEIR_SPAN_LIT(tools);
    o.calls = (enum wprs_calls)(data[2] % 3);
    o.choice = (data[2] >> 2 & 3) == 1    ? WPRS_CHOICE_REQUIRED
               : (data[2] >> 2 & 3) == 2  ? WPRS_CHOICE_NAMED
               : (data[2] >> 2 & 15) == 3 ? WPRS_CHOICE_NONE
                                          : WPRS_CHOICE_AUTO;
    o.choice_name = WEIR_SPAN_LIT("f");
    o.effort = o.thinking = (data[2] >> 6 & 1) != 0 ? WPRS_ON : WPRS_UNSET;
    if ((data[2] >> 7) != 0)
        o.max_held_bytes = 48;
    enum wprs_finish finish = data[0] >= 128 ? WPRS_FINISH_LENGTH : WPRS_FINISH_STOP;
    struct weir_span text = weir_span((const char *)data + 3, size - 3);
    struct got a, b, c;
    run(&o, text, text.len + 1, finish, &a);
    run(&o, text, 1, finish, &b);
    run(&o, text, 3, finish, &c);
    bool bad = !same(&a.content, &b.content) || !same(&a.reasoning, &b.reasoning) ||
               !same(&a.calls, &b.calls) || !same(&a.content, &c.content) ||
               !same(&a.reasoning, &c.reasoning) || !same(&a.calls, &c.calls);
    bool messages = memmem(text.data, text.len, "<|", 2) != NULL; /* their headers go */
    bad |= a.n_calls == 0 && reason == 0 && !messages &&
           solid(weir_buf_span(&a.content)) != solid(text);
    if (bad) {
        show("whole", &a);
        show("bytes", &b);
        show("threes", &c);
        abort();
    }
    fini(&a);
    fini(&b);
    fini(&c);
    return 0;
}
