/*
 * Renders templates for the differential tests: each input line is a JSON object with "t" (template
 * text) and "d" (variables); each output line is {"out":…} or {"err":kind,"text":…}. With "now" (a
 * number of seconds) that is the clock; with "g":true the generation ranges follow.
 */
#include "base/json.h"
#include "tokenizer/jinja.h"

#include <stdio.h>
#include <stdlib.h>

static void render_line(struct weir_span line, struct weir_buf *out) {
    struct weir_json j;
    struct weir_json_str key, str;
    struct weir_arena arena;
    struct weir_span text = {"", 0}, data = {NULL, 0};
    int64_t now = 0;
    bool ranges = false;
    weir_arena_init(&arena, (size_t)1 << 30);
    weir_json_init(&j, line, 128);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "t") && weir_json_string(&j, &str))
                text = weir_json_text(str, &arena);
            else if (weir_json_str_eqz(key, "now"))
                weir_json_i64(&j, &now);
            else if (weir_json_str_eqz(key, "g"))
                weir_json_bool(&j, &ranges);
            else
                weir_json_skip(&j, weir_json_str_eqz(key, "d") ? &data : NULL);
        }
    struct wtok_jinja *tpl = NULL;
    struct wtok_jinja_failure failure = {0};
    struct wtok_jinja_range room[64];
    struct wtok_jinja_render r = {.arena = &arena,
                                  .variables = data,
                                  .now_us = now * 1000000,
                                  .ranges = room,
                                  .max_ranges = 64};
    struct weir_buf rendered;
    weir_buf_init(&rendered, (size_t)64 << 20);
    enum weir_status st = wtok_jinja_parse(text, &tpl, &failure);
    if (st == WEIR_OK)
        st = wtok_jinja_render(tpl, &r, &rendered, &failure);
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    if (st == WEIR_OK) {
        weir_jsonw_key(&w, "out");
        weir_jsonw_string(&w, weir_buf_span(&rendered));
        if (ranges) {
            weir_jsonw_key(&w, "ranges");
            weir_jsonw_array_begin(&w);
            for (size_t i = 0; i < r.n_ranges; i++) {
                weir_jsonw_u64(&w, room[i].begin);
                weir_jsonw_u64(&w, room[i].end);
            }
            weir_jsonw_array_end(&w);
        }
    } else {
        weir_jsonw_key(&w, "err");
        weir_jsonw_string_z(&w, wtok_jinja_error_name(failure.error));
        weir_jsonw_key(&w, "text");
        weir_jsonw_string_z(&w, failure.text);
    }
    weir_jsonw_object_end(&w);
    wtok_jinja_destroy(tpl);
    weir_buf_fini(&rendered);
    weir_arena_fini(&arena);
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    struct weir_buf out;
    weir_buf_init(&out, (size_t)256 << 20);
    while ((n = getline(&line, &cap, stdin)) > 0) {
        render_line(weir_span(line, (size_t)n), &out);
        fwrite(out.data, 1, out.len, stdout);
        putchar('\n');
        fflush(stdout);
        weir_buf_clear(&out);
    }
    weir_buf_fini(&out);
    free(line);
    return 0;
}
