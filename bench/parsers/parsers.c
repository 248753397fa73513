/*
 * bench/parsers: cost of the tool-call and reasoning parsers, one JSON line per figure.
 *
 * For every format a text of reasoning, prose and one call whose argument is a piece of source
 * text: ns_per_byte    fed in pieces of 4096 bytes ns_per_piece   fed in pieces of 4 bytes, as
 * tokens come big            a call with 1 MB of arguments in pieces of 4 bytes: ns per piece, and
 * its ratio to 64 kB of arguments (1 = linear) Times are CPU times, the least of several rounds.
 * Arguments: [rounds] [format]
 */
#include "base/buf.h"
#include "parsers/wprs.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TEXT_BYTES = 1 << 15, SMALL_BYTES = 1 << 16, BIG_BYTES = 1 << 20 };

static const struct format {
    const char *name, *reasoning;
    const char *head, *tail; /* around the value of `code` */
    char value;              /* j: inside a JSON string, r: as it is */
} formats[] = {
    {"hermes", "qwen3",
     "<think>%s</think>%s<tool_call>\n{\"name\": \"run\", \"arguments\": {\"code\": \"",
     "\"}}\n</tool_call>", 'j'},
    {"llama3_json", "basic", "<think>%s</think>%s{\"name\": \"run\", \"parameters\": {\"code\": \"",
     "\"}}", 'j'},
    {"mistral", "mistral", "[THINK]%s[/THINK]%s[TOOL_CALLS]run[ARGS]{\"code\": \"", "\"}", 'j'},
    {"phi4", "basic",
     "<think>%s</think>%sfunctools[{\"name\": \"run\", \"arguments\": {\"code\": \"", "\"}}]", 'j'},
    {"nemotron_deci", "nemotron_deci",
     "<think>%s</think>%s<TOOLCALL>[{\"name\": \"run\", \"arguments\": {\"code\": \"",
     "\"}}]</TOOLCALL>", 'j'},
    {"deepseek_v3_1", "deepseek_v3_1",
     "<think>%s</think>%s<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>run<｜tool▁sep｜>{\"code\": \"",
     "\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", 'j'},
    {"kimi_k2", "kimi_k25",
     "<think>%s</think>%s<|tool_calls_section_begin|><|tool_call_begin|>functions.run:0"
     "<|tool_call_argument_begin|>{\"code\": \"",
     "\"}<|tool_call_end|><|tool_calls_section_end|>", 'j'},
    {"harmony", "gpt_oss",
     "<|channel|>analysis<|message|>%s<|end|><|start|>assistant<|channel|>commentary<|message|>%s"
     "<|end|><|start|>assistant<|channel|>commentary to=functions.run <|constrain|>json<|message|>"
     "{\"code\": \"",
     "\"}<|call|>", 'j'},
    {"inkling", "inkling",
     "<|message_model|><|content_thinking|>%s<|end_message|><|message_model|><|content_text|>%s"
     "<|end_message|><|message_model|><|content_invoke_tool_json|>{\"name\": \"run\", \"args\": "
     "{\"code\": \"",
     "\"}}<|end_message|>", 'j'},
    {"qwen3_coder", "qwen3", "<think>%s</think>%s<tool_call>\n<function=run>\n<parameter=code>\n",
     "\n</parameter>\n</function>\n</tool_call>", 'r'},
    {"deepseek_v4", "deepseek_v4",
     "<think>%s</think>%s<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"run\">\n<｜DSML｜parameter "
     "name=\"code\" string=\"true\">",
     "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>", 'r'},
    {"kimi_k3", "kimi_k3",
     "<|open|>think<|sep|>%s<|close|>think<|sep|><|open|>response<|sep|>%s<|close|>response<|sep|>"
     "<|open|>tools<|sep|><|open|>call tool=\"run\" index=\"1\"<|sep|><|open|>argument "
     "key=\"code\" type=\"string\"<|sep|>",
     "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>", 'r'},
    {"glm47", "glm45", "<think>%s</think>%s<tool_call>run<arg_key>code</arg_key><arg_value>",
     "</arg_value></tool_call>", 'r'},
    {"minimax_m2", "minimax_m2",
     "<think>%s</think>%s<minimax:tool_call>\n<invoke name=\"run\">\n<parameter name=\"code\">",
     "</parameter>\n</invoke>\n</minimax:tool_call>", 'r'},
    {"minimax_m3", "minimax_m3",
     "<mm:think>%s</mm:think>%s]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"run\">\n"
     "]<]minimax[>[<code>",
     "]<]minimax[>[</code>\n]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>", 'r'},
    {"muse_glimmer", "muse_glimmer",
     "<|start|>assistant to=self<|message|>%s<|eom|><|start|>assistant to=user<|message|>%s<|eom|>"
     "<|start|>assistant to=run<|message|><atem:function_calls>\n<atem:invoke name=\"run\">\n"
     "<atem:parameter name=\"code\">",
     "</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eom|>", 'r'},
    {"pythonic", "basic", "<think>%s</think>%s[run(code=\"", "\")]", 'j'},
    {"gemma4", "gemma4", "<|channel>thought\n%s<channel|>%s<|tool_call>call:run{code:<|\"|>",
     "<|\"|>}<tool_call|>", 'r'},
};

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"run\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"code\":{\"type\":\"string\"}}}}}]";

static const char prose[] =
    "The tide tables of a < b show that f(x) = [1, 2] holds: {see} the note, or ask again.\n"
    "Nothing else is to be said here, but the text goes on for a while, as answers do. ";
static const char source[] =
    "for (size_t i = 0; i < n && a[i] != '<'; i++) {\n    if (row[i] > 3 || b << 2 == x->y)\n"
    "        sum += row[i] * w; /* the rest is left */\n}\nreturn {sum, n};\n";

static void must(enum weir_status st) {
    if (st != WEIR_OK) {
        fprintf(stderr, "bench/parsers: %s\n", weir_status_text(st));
        exit(1);
    }
}

static void repeat(struct weir_buf *out, const char *piece, size_t bytes, bool escaped) {
    for (size_t n = 0; n < bytes; n += strlen(piece))
        for (const char *c = piece; *c != '\0'; c++) {
            if (escaped && (*c == '"' || *c == '\\' || *c == '\n'))
                must(weir_buf_append(out, *c == '\n' ? "\\n" : *c == '"' ? "\\\"" : "\\\\", 2));
            else
                must(weir_buf_append_c(out, *c));
        }
}

/* `head` with its two %s filled by prose. */
static void make_text(const struct format *f, size_t prose_bytes, size_t args_bytes,
                      struct weir_buf *out) {
    weir_buf_clear(out);
    for (const char *c = f->head; *c != '\0'; c++) {
        if (c[0] == '%' && c[1] == 's') {
            repeat(out, prose, prose_bytes, false);
            c++;
        } else {
            must(weir_buf_append_c(out, *c));
        }
    }
    repeat(out, source, args_bytes, f->value == 'j');
    must(weir_buf_append_z(out, f->tail));
}

struct counts {
    unsigned calls;
    size_t bytes;
};

static void on_delta(void *arg, const struct wprs_delta *d) {
    struct counts *n = arg;
    n->calls += d->kind == WPRS_CALL_END;
    n->bytes += d->text.len;
}

static double cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double once(const struct format *f, struct weir_span text, size_t step,
                   enum wprs_calls calls) {
    struct wprs_options o = WPRS_OPTIONS_INIT;
    struct wprs *p = NULL;
    struct counts n = {0, 0};
    o.tool_parser = weir_span_z(f->name);
    o.reasoning_parser = weir_span_z(f->reasoning);
    o.tools = WEIR_SPAN_LIT(tools);
    o.thinking = o.effort = WPRS_ON;
    o.calls = calls;
    must(wprs_create(&o, &p, NULL));
    double from = cpu_ns();
    for (size_t at = 0; at < text.len; at += step)
        must(wprs_feed(p, weir_span(text.data + at, text.len - at < step ? text.len - at : step),
                       on_delta, &n));
    must(wprs_finish(p, WPRS_FINISH_STOP, on_delta, &n, NULL));
    double ns = cpu_ns() - from;
    wprs_destroy(p);
    if (n.calls != 1 || n.bytes < text.len / 2) {
        fprintf(stderr, "bench/parsers: %s: %u calls, %zu bytes\n", f->name, n.calls, n.bytes);
        exit(1);
    }
    return ns;
}

static double best(const struct format *f, struct weir_span text, size_t step,
                   enum wprs_calls calls, int rounds) {
    double least = once(f, text, step, calls);
    for (int i = 1; i < rounds; i++) {
        double ns = once(f, text, step, calls);
        least = ns < least ? ns : least;
    }
    return least;
}

int main(int argc, char **argv) {
    static const char *const names[] = {"checked", "whole", "pieces"};
    const int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 20;
    struct weir_buf text;
    weir_buf_init(&text, (size_t)64 << 20);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(formats); i++) {
        const struct format *f = &formats[i];
        if (argc > 2 && strcmp(argv[2], f->name) != 0)
            continue;
        for (int calls = WPRS_CALLS_CHECKED; calls <= WPRS_CALLS_PIECES; calls += 2) {
            make_text(f, TEXT_BYTES / 4, TEXT_BYTES / 2, &text);
            struct weir_span all = weir_buf_span(&text);
            double ns = best(f, all, 4096, (enum wprs_calls)calls, rounds);
            printf("{\"bench\":\"parsers\",\"format\":\"%s\",\"calls\":\"%s\",\"bytes\":%zu,"
                   "\"ns_per_byte\":%.2f",
                   f->name, names[calls], all.len, ns / (double)all.len);
            ns = best(f, all, 4, (enum wprs_calls)calls, rounds);
            printf(",\"ns_per_piece\":%.1f", ns / ((double)all.len / 4));
            make_text(f, 64, SMALL_BYTES, &text);
            double small =
                best(f, weir_buf_span(&text), 4, (enum wprs_calls)calls, rounds / 4 + 1) /
                ((double)text.len / 4);
            make_text(f, 64, BIG_BYTES, &text);
            double big = best(f, weir_buf_span(&text), 4, (enum wprs_calls)calls, rounds / 4 + 1) /
                         ((double)text.len / 4);
            printf(",\"big_ns_per_piece\":%.1f,\"big_over_small\":%.2f}\n", big, big / small);
            fflush(stdout);
        }
    }
    weir_buf_fini(&text);
    return 0;
}
