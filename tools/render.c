/*
 * weir render: chat requests from stdin, prompts to stdout. The templates are read from the model
 * directory; no tokenizer is loaded.
 */
#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"
#include "runtime/options_render.h"
#include "tokenizer/chat.h"
#include "tokenizer/request.h"
#include "tools/tools.h"

#include <stdio.h>
#include <string.h>

enum { FILE_MAX_BYTES = 64 << 20, INPUT_MAX_BYTES = 256 << 20 };

/* ---- the model's files ---------------------------------------------------------------------- */

static enum weir_status read_all(FILE *f, struct weir_buf *out) {
    for (;;) {
        enum weir_status st = weir_buf_reserve(out, out->len == 0 ? 65536 : 1);
        if (st != WEIR_OK)
            return st;
        size_t n = fread(out->data + out->len, 1, out->cap - out->len, f);
        out->len += n;
        if (n == 0)
            return ferror(f) ? WEIR_IO : WEIR_OK;
    }
}

/* Into the arena; *ret_text stays untouched where the file is missing. */
static enum weir_status read_file(const char *dir, const char *name, struct weir_arena *arena,
                                  struct weir_span *ret_text, struct weir_err *err) {
    char path[4096];
    struct weir_buf buf;
    int n = dir != NULL ? snprintf(path, sizeof(path), "%s/%s", dir, name)
                        : snprintf(path, sizeof(path), "%s", name);
    if (n >= (int)sizeof(path))
        return weir_err_set(err, WEIR_TOO_LARGE, "a path is too long");
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return weir_err_set(err, WEIR_NOT_FOUND, "%.*s cannot be opened",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(path, 200)));
    weir_buf_init(&buf, FILE_MAX_BYTES);
    enum weir_status st = read_all(f, &buf);
    fclose(f);
    if (st == WEIR_OK) {
        *ret_text = weir_arena_copy(arena, weir_buf_span(&buf));
        st = ret_text->data != NULL ? WEIR_OK : WEIR_NOMEM;
    }
    weir_buf_fini(&buf);
    return st == WEIR_OK
               ? st
               : weir_err_set(err, st, "%.*s: %s", WEIR_SPAN_ARG(weir_utf8_cut_z(path, 180)),
                              weir_status_text(st));
}

static enum weir_status may_lack(enum weir_status st) {
    return st == WEIR_NOT_FOUND ? WEIR_OK : st;
}

static enum weir_status load(const struct weir_render_options *o, struct wtok_template **ret,
                             struct weir_err *err) {
    struct weir_arena arena;
    struct wtok_template_file additional[WTOK_MAX_ADDITIONAL];
    struct wtok_template_sources s = {.additional = additional};
    enum weir_status st = WEIR_OK;
    weir_arena_init(&arena, (size_t)4 * FILE_MAX_BYTES);
    if (o->template != NULL)
        st = read_file(NULL, o->template, &arena, &s.chat_template_jinja, err);
    else
        st = may_lack(
            read_file(o->model_path, "chat_template.jinja", &arena, &s.chat_template_jinja, err));
    if (st == WEIR_OK && o->model_path != NULL)
        st = may_lack(
            read_file(o->model_path, "tokenizer_config.json", &arena, &s.tokenizer_config, err));
    if (st == WEIR_OK && o->template == NULL)
        st = may_lack(read_file(o->model_path, "config.json", &arena, &s.config, err));
    if (st == WEIR_OK && o->template == NULL)
        st = wtok_template_files(o->model_path, &arena, additional, &s.n_additional, err);
    if (st == WEIR_OK)
        st = wtok_template_create(&s, ret, err);
    if (st == WEIR_NOT_FOUND && o->template == NULL)
        weir_err_set(err, st,
                     "%.*s: there is no chat template, neither chat_template.jinja nor in "
                     "tokenizer_config.json; --template FILE names one",
                     WEIR_SPAN_ARG(weir_utf8_cut_z(o->model_path, 200)));
    weir_arena_fini(&arena);
    return st;
}

/* ---- one request ---------------------------------------------------------------------------- */

static enum weir_status render(const struct weir_render_options *o, const struct wtok_template *t,
                               struct weir_span text, struct weir_buf *out, struct weir_err *err) {
    struct weir_arena arena;
    struct wtok_chat chat;
    unsigned flags;
    weir_arena_init(&arena, INPUT_MAX_BYTES);
    enum weir_status st =
        wtok_request_chat(text, (enum wtok_flavour)o->flavour, &arena, &chat, &flags, err);
    chat.now_us = o->now * 1000000;
    if (st == WEIR_OK)
        st = wtok_template_render(t, &chat, out, err);
    weir_arena_fini(&arena);
    return st;
}

/* ---- the command ---------------------------------------------------------------------------- */

static bool answer_line(const struct weir_render_options *o, const struct wtok_template *t,
                        struct weir_span line) {
    struct weir_buf prompt, out;
    struct weir_jsonw w;
    struct weir_err err = {.text = ""};
    weir_buf_init(&prompt, INPUT_MAX_BYTES);
    weir_buf_init(&out, (size_t)INPUT_MAX_BYTES * 6);
    weir_jsonw_init(&w, &out);
    enum weir_status st = render(o, t, line, &prompt, &err);
    if (st == WEIR_OK) {
        weir_jsonw_string(&w, weir_buf_span(&prompt));
    } else {
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "error");
        weir_jsonw_string_z(&w, err.text[0] != '\0' ? err.text : weir_status_text(st));
        weir_jsonw_object_end(&w);
    }
    fwrite(out.data, 1, out.len, stdout);
    fputc('\n', stdout);
    weir_buf_fini(&prompt);
    weir_buf_fini(&out);
    return st == WEIR_OK && w.status == WEIR_OK;
}

/* Answers each line at once, so that a program may ask and wait. */
static bool answer_lines(const struct weir_render_options *o, const struct wtok_template *t) {
    struct weir_buf line;
    bool all = true;
    weir_buf_init(&line, INPUT_MAX_BYTES);
    for (int c = 0; c != EOF;) {
        c = getc_unlocked(stdin);
        if (c != '\n' && c != EOF) {
            if (weir_buf_append_c(&line, (char)c) != WEIR_OK)
                return false;
            continue;
        }
        struct weir_span text = weir_span_trim(weir_buf_span(&line));
        if (text.len > 0)
            all &= answer_line(o, t, text);
        fflush(stdout);
        weir_buf_clear(&line);
    }
    weir_buf_fini(&line);
    return all;
}

static enum weir_status answer_one(const struct weir_render_options *o,
                                   const struct wtok_template *t, struct weir_err *err) {
    struct weir_buf input, prompt;
    weir_buf_init(&input, INPUT_MAX_BYTES);
    weir_buf_init(&prompt, INPUT_MAX_BYTES);
    enum weir_status st = read_all(stdin, &input);
    if (st == WEIR_OK)
        st = render(o, t, weir_buf_span(&input), &prompt, err);
    if (st == WEIR_OK && fwrite(prompt.data, 1, prompt.len, stdout) != prompt.len)
        st = WEIR_IO;
    weir_buf_fini(&input);
    weir_buf_fini(&prompt);
    return st;
}

int weir_render_main(int argc, char **argv) {
    struct weir_arena arena;
    struct weir_render_options o;
    struct wtok_template *t = NULL;
    struct weir_err err = {.text = ""};
    weir_arena_init(&arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_render_program, argc, argv, NULL, &arena, &o);
    int rc = outcome == WEIR_CONFIG_EXIT_USAGE;
    if (outcome == WEIR_CONFIG_RUN) {
        bool all = true;
        enum weir_status st = load(&o, &t, &err);
        if (st == WEIR_OK && o.lines)
            all = answer_lines(&o, t);
        else if (st == WEIR_OK)
            st = answer_one(&o, t, &err);
        if (st == WEIR_OK && fflush(stdout) != 0)
            st = WEIR_IO;
        if (st != WEIR_OK)
            fprintf(stderr, "weir render: %s\n",
                    err.text[0] != '\0' ? err.text : weir_status_text(st));
        rc = st != WEIR_OK || !all;
    }
    wtok_template_destroy(t);
    weir_arena_fini(&arena);
    return rc;
}
