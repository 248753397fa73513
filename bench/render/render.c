/*
 * Cost of rendering a chat request: JSON in, prompt out, nothing kept between two renderings.
 *
 *     bench/render TEMPLATE [RUNS] < request.json     a JSON line a flavour: median CPU time of the
 * runs
 *
 * bench/render/run.py makes the request and runs the peers on the same bytes.
 */
#include "base/json.h"
#include "tokenizer/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_RUNS = 5, RUN_NS = 200 * 1000 * 1000, MAX_BYTES = 16 << 20 };

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static bool read_all(FILE *f, struct weir_buf *out) {
    size_t n;
    weir_buf_init(out, MAX_BYTES);
    do {
        if (weir_buf_reserve(out, 65536) != WEIR_OK)
            return false;
        n = fread(out->data + out->len, 1, 65536, f);
        out->len += n;
    } while (n > 0);
    return !ferror(f);
}

static struct wtok_chat chat_of(struct weir_span request) {
    struct wtok_chat chat = {.add_generation_prompt = true, .now_us = 1732633445000000};
    struct weir_json j;
    struct weir_json_str key;
    weir_json_init(&j, request, 128);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            struct weir_span ignored;
            weir_json_skip(&j, weir_json_str_eqz(key, "messages") ? &chat.messages
                               : weir_json_str_eqz(key, "tools")  ? &chat.tools
                                                                  : &ignored);
        }
    return chat;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(const struct wtok_template *t, const struct wtok_chat *chat, int runs) {
    static const char *const flavours[] = {"vllm", "sglang", "plain"};
    struct weir_buf out;
    struct weir_err err = {.text = ""};
    weir_buf_init(&out, MAX_BYTES);
    for (int f = 0; f < 3; f++) {
        struct wtok_chat c = *chat;
        double ns[MAX_RUNS];
        c.flavour = (enum wtok_flavour)f;
        for (int run = 0; run < runs; run++) {
            uint64_t begin = cpu_ns(), now = begin, n = 0;
            for (; now - begin < RUN_NS; now = cpu_ns())
                for (int i = 0; i < 64; i++, n++) {
                    weir_buf_clear(&out);
                    if (wtok_template_render(t, &c, &out, &err) != WEIR_OK) {
                        fprintf(stderr, "render: %s\n", err.text);
                        weir_buf_fini(&out);
                        return 1;
                    }
                }
            ns[run] = (double)(now - begin) / (double)n;
        }
        qsort(ns, (size_t)runs, sizeof(ns[0]), by_value);
        printf("{\"bench\":\"render\",\"peer\":\"weir\",\"flavour\":\"%s\",\"request_bytes\":%zu,"
               "\"prompt_bytes\":%zu,\"us\":%.2f,\"us_min\":%.2f,\"us_max\":%.2f}\n",
               flavours[f], chat->messages.len + chat->tools.len, out.len, ns[runs / 2] / 1e3,
               ns[0] / 1e3, ns[runs - 1] / 1e3);
    }
    weir_buf_fini(&out);
    return 0;
}

int main(int argc, char **argv) {
    struct weir_buf text, request;
    struct wtok_template *t = NULL;
    struct weir_err err = {.text = ""};
    int runs = argc == 3 ? (int)strtol(argv[2], NULL, 10) : MAX_RUNS;
    FILE *f = argc >= 2 ? fopen(argv[1], "rb") : NULL;
    if (runs < 1 || runs > MAX_RUNS || f == NULL || !read_all(f, &text) ||
        !read_all(stdin, &request)) {
        fprintf(stderr, "usage: render TEMPLATE [RUNS] < request.json\n");
        return 1;
    }
    fclose(f);
    struct wtok_template_sources s = {.chat_template_jinja = weir_buf_span(&text)};
    if (wtok_template_create(&s, &t, &err) != WEIR_OK) {
        fprintf(stderr, "render: %s\n", err.text);
        return 1;
    }
    struct wtok_chat chat = chat_of(weir_buf_span(&request));
    int rc = measure(t, &chat, runs);
    wtok_template_destroy(t);
    weir_buf_fini(&text);
    weir_buf_fini(&request);
    return rc;
}
