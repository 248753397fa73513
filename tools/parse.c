/*
 * weir parse: cases from stdin through the parsers, one JSON line each. Every case is parsed twice:
 * as a gathered answer ("unary") and as a stream ("stream"), whose deltas are shown in order.
 */
#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"
#include "parsers/wprs.h"
#include "runtime/options_parse.h"
#include "tools/tools.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 256 << 20 };

struct one {
    struct wprs_options options;
    struct weir_span chunks; /* JSON array of strings */
    enum wprs_finish finish;
    struct weir_span finish_text;
};

/* ---- a case --------------------------------------------------------------------------------- */

/* Ends of rendered prompts, by the names that recorded cases use; any other is the text itself. */
static struct weir_span template_tail(struct weir_span name) {
    static const char *const rows[][2] = {
        {"think", "<think>\n"},    {"thinkclosed", "<think>\n\n</think>\n\n"},
        {"kimithink", "◁think▷"},  {"mistralthink", "[THINK]"},
        {"mmthink", "<mm:think>"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        if (weir_span_eqz(name, rows[i][0]))
            return weir_span_z(rows[i][1]);
    return name;
}

static struct weir_span text_or_null(struct weir_json *j, struct weir_arena *arena) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_NULL) {
        weir_json_null(j);
        return weir_span(NULL, 0);
    }
    return weir_json_string(j, &s) ? weir_json_text(s, arena) : weir_span(NULL, 0);
}

static void read_request(struct weir_json *j, struct wprs_options *o) {
    struct weir_json_str key;
    struct weir_span value, args = {NULL, 0}, effort = {NULL, 0};
    if (weir_json_peek(j) != WEIR_JSON_OBJECT) {
        weir_json_skip(j, NULL);
        return;
    }
    if (weir_json_object_enter(j))
        while (weir_json_object_next(j, &key) && weir_json_skip(j, &value)) {
            if (weir_json_str_eqz(key, "chat_template_args") ||
                weir_json_str_eqz(key, "chat_template_kwargs"))
                args = value;
            else if (weir_json_str_eqz(key, "reasoning_effort"))
                effort = value;
            else if (weir_json_str_eqz(key, "parallel_tool_calls"))
                o->single_call = weir_span_eqz(value, "false");
        }
    wprs_thinking_of(args, effort, o);
}

static enum weir_status read_case(struct weir_span line, struct weir_span std_tools,
                                  struct weir_arena *arena, struct one *c, struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value, choice = {NULL, 0};
    weir_json_init(&j, line, 128);
    c->finish_text = WEIR_SPAN_LIT("stop");
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            if (weir_json_str_eqz(key, "parser"))
                c->options.tool_parser = text_or_null(&j, arena);
            else if (weir_json_str_eqz(key, "reasoning_parser"))
                c->options.reasoning_parser = text_or_null(&j, arena);
            else if (weir_json_str_eqz(key, "template"))
                c->options.prompt_tail = template_tail(text_or_null(&j, arena));
            else if (weir_json_str_eqz(key, "request"))
                read_request(&j, &c->options);
            else if (weir_json_str_eqz(key, "finish"))
                c->finish_text = text_or_null(&j, arena);
            else if (!weir_json_skip(&j, &value))
                break;
            else if (weir_json_str_eqz(key, "tools"))
                c->options.tools = weir_span_eqz(value, "\"@std\"") ? std_tools : value;
            else if (weir_json_str_eqz(key, "tool_choice"))
                choice = value;
            else if (weir_json_str_eqz(key, "chunks"))
                c->chunks = value;
        }
    if (!weir_json_finish(&j))
        return weir_err_set(err, WEIR_INVALID, "the case is no JSON object: %s at byte %zu",
                            weir_json_error_text(j.error), j.error_pos);
    c->finish = weir_span_eqz(c->finish_text, "stop") || c->finish_text.data == NULL
                    ? WPRS_FINISH_STOP
                : weir_span_eqz(c->finish_text, "length") ? WPRS_FINISH_LENGTH
                                                          : WPRS_FINISH_OTHER;
    return wprs_choice_of(choice, &c->options.choice, &c->options.choice_name, err);
}

static enum weir_status parse(const struct one *c, struct weir_arena *arena, wprs_delta_fn fn,
                              void *arg, enum wprs_finish *ret_finish, struct weir_err *err) {
    struct wprs *p = NULL;
    enum weir_status st = wprs_create(&c->options, &p, err);
    if (st != WEIR_OK)
        return st;
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, c->chunks, 8);
    if (c->chunks.data != NULL && weir_json_array_enter(&j))
        while (st == WEIR_OK && weir_json_array_next(&j) && weir_json_string(&j, &s)) {
            struct weir_span text = weir_json_text(s, arena);
            st = text.data == NULL ? WEIR_NOMEM : wprs_feed(p, text, fn, arg);
        }
    if (st == WEIR_OK && j.error != WEIR_JSON_ERR_NONE)
        st = weir_err_set(err, WEIR_INVALID, "chunks must be a list of strings");
    if (st == WEIR_OK)
        st = wprs_finish(p, c->finish, fn, arg, ret_finish);
    wprs_destroy(p);
    return st;
}

static void put_finish(struct weir_jsonw *w, const struct one *c, enum wprs_finish finish) {
    weir_jsonw_key(w, "finish_reason");
    if (finish == WPRS_FINISH_TOOL_CALLS)
        weir_jsonw_string_z(w, "tool_calls");
    else
        weir_jsonw_string(w, c->finish_text.data != NULL ? c->finish_text : WEIR_SPAN_LIT("stop"));
}

/* ---- gathered ------------------------------------------------------------------------------- */

struct gathered {
    struct weir_buf content, reasoning, calls;
    struct weir_jsonw w; /* over calls */
    enum weir_status status;
};

static void on_gathered(void *arg, const struct wprs_delta *d) {
    struct gathered *g = arg;
    enum weir_status st = WEIR_OK;
    if (d->kind == WPRS_CONTENT) {
        st = weir_buf_append_span(&g->content, d->text);
    } else if (d->kind == WPRS_REASONING) {
        st = weir_buf_append_span(&g->reasoning, d->text);
    } else if (d->kind == WPRS_CALL) {
        weir_jsonw_object_begin(&g->w);
        weir_jsonw_key(&g->w, "name");
        weir_jsonw_string(&g->w, d->name);
        weir_jsonw_key(&g->w, "arguments");
        weir_jsonw_string(&g->w, d->text);
        weir_jsonw_object_end(&g->w);
    }
    g->status = g->status == WEIR_OK ? st : g->status;
}

static void put_text(struct weir_jsonw *w, const char *key, const struct weir_buf *text) {
    weir_jsonw_key(w, key);
    if (text->len > 0)
        weir_jsonw_string(w, weir_buf_span(text));
    else
        weir_jsonw_null(w);
}

static enum weir_status unary(const struct one *c, struct weir_arena *arena, struct weir_jsonw *w,
                              struct weir_err *err) {
    struct gathered g = {.status = WEIR_OK};
    struct one whole = *c;
    enum wprs_finish finish = c->finish;
    weir_buf_init(&g.content, LINE_MAX_BYTES);
    weir_buf_init(&g.reasoning, LINE_MAX_BYTES);
    weir_buf_init(&g.calls, LINE_MAX_BYTES);
    weir_jsonw_init(&g.w, &g.calls);
    whole.options.calls = WPRS_CALLS_WHOLE;
    weir_jsonw_array_begin(&g.w);
    enum weir_status st = parse(&whole, arena, on_gathered, &g, &finish, err);
    weir_jsonw_array_end(&g.w);
    if (st == WEIR_OK)
        st = g.status != WEIR_OK ? g.status : g.w.status;
    weir_jsonw_key(w, "unary");
    weir_jsonw_object_begin(w);
    put_text(w, "content", &g.content);
    put_text(w, "reasoning_content", &g.reasoning);
    weir_jsonw_key(w, "tool_calls");
    weir_jsonw_raw(w, weir_buf_span(&g.calls));
    put_finish(w, c, finish);
    weir_jsonw_object_end(w);
    weir_buf_fini(&g.content);
    weir_buf_fini(&g.reasoning);
    weir_buf_fini(&g.calls);
    return st;
}

/* ---- streamed ------------------------------------------------------------------------------- */

static void on_streamed(void *arg, const struct wprs_delta *d) {
    struct weir_jsonw *w = arg;
    if (d->kind == WPRS_CALL_END || d->kind == WPRS_CALL_CUT)
        return;
    weir_jsonw_object_begin(w);
    if (d->kind == WPRS_CONTENT || d->kind == WPRS_REASONING) {
        weir_jsonw_key(w, d->kind == WPRS_CONTENT ? "content" : "reasoning_content");
        weir_jsonw_string(w, d->text);
    } else {
        weir_jsonw_key(w, "tool_calls");
        weir_jsonw_array_begin(w);
        weir_jsonw_object_begin(w);
        weir_jsonw_key(w, "index");
        weir_jsonw_u64(w, d->index);
        if (d->kind == WPRS_CALL) {
            weir_jsonw_key(w, "id");
            weir_jsonw_string_z(w, "<id>");
            weir_jsonw_key(w, "name");
            weir_jsonw_string(w, d->name);
        }
        if (d->kind == WPRS_ARGUMENTS || d->text.len > 0) {
            weir_jsonw_key(w, "arguments");
            weir_jsonw_string(w, d->text);
        }
        weir_jsonw_object_end(w);
        weir_jsonw_array_end(w);
    }
    weir_jsonw_object_end(w);
}

static enum weir_status streamed(const struct one *c, struct weir_arena *arena,
                                 struct weir_jsonw *w, struct weir_err *err) {
    enum wprs_finish finish = c->finish;
    weir_jsonw_key(w, "stream");
    weir_jsonw_array_begin(w);
    enum weir_status st = parse(c, arena, on_streamed, w, &finish, err);
    weir_jsonw_object_begin(w);
    put_finish(w, c, finish);
    weir_jsonw_object_end(w);
    weir_jsonw_array_end(w);
    return st;
}

/* ---- the command ---------------------------------------------------------------------------- */

static enum weir_status run_line(const struct weir_parse_options *o, struct weir_span line,
                                 struct weir_span std_tools, struct weir_buf *out,
                                 struct weir_err *err) {
    struct weir_arena arena;
    struct weir_jsonw w;
    struct one c = {.options = WPRS_OPTIONS_INIT};
    weir_arena_init(&arena, (size_t)4 * LINE_MAX_BYTES);
    c.options.calls = o->tool_call_deltas == 0   ? WPRS_CALLS_PIECES
                      : o->tool_call_deltas == 1 ? WPRS_CALLS_CHECKED
                                                 : WPRS_CALLS_WHOLE;
    c.options.max_held_bytes = (size_t)o->max_held_bytes;
    weir_buf_clear(out);
    weir_jsonw_init(&w, out);
    enum weir_status st = read_case(line, std_tools, &arena, &c, err);
    weir_jsonw_object_begin(&w);
    if (st == WEIR_OK)
        st = unary(&c, &arena, &w, err);
    if (st == WEIR_OK)
        st = streamed(&c, &arena, &w, err);
    weir_jsonw_object_end(&w);
    weir_arena_fini(&arena);
    return st != WEIR_OK ? st : w.status;
}

/* A case that cannot be run answers {"error": …}; the others go on. */
static bool answer(const struct weir_parse_options *o, struct weir_span line,
                   struct weir_span std_tools, struct weir_buf *out) {
    struct weir_err err = {.text = ""};
    enum weir_status st = run_line(o, line, std_tools, out, &err);
    if (st != WEIR_OK) {
        struct weir_jsonw w;
        weir_buf_clear(out);
        weir_jsonw_init(&w, out);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "error");
        weir_jsonw_string_z(&w, err.text[0] != '\0' ? err.text : weir_status_text(st));
        weir_jsonw_object_end(&w);
    }
    fwrite(out->data, 1, out->len, stdout);
    fputc('\n', stdout);
    return st == WEIR_OK;
}

static enum weir_status read_file(FILE *f, struct weir_buf *out) {
    for (;;) {
        enum weir_status st = weir_buf_reserve(out, 65536);
        if (st != WEIR_OK)
            return st;
        size_t n = fread(out->data + out->len, 1, out->cap - out->len, f);
        out->len += n;
        if (n == 0)
            return ferror(f) ? WEIR_IO : WEIR_OK;
    }
}

static enum weir_status load_tools(const char *path, struct weir_buf *out, struct weir_err *err) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return weir_err_set(err, WEIR_NOT_FOUND, "--tools %.*s: cannot be opened",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(path, 180)));
    enum weir_status st = read_file(f, out);
    fclose(f);
    struct weir_json j;
    weir_json_init(&j, weir_buf_span(out), 128);
    if (st == WEIR_OK && (!weir_json_skip(&j, NULL) || !weir_json_finish(&j)))
        return weir_err_set(err, WEIR_INVALID, "--tools %.*s: no JSON: %s",
                            WEIR_SPAN_ARG(weir_utf8_cut_z(path, 150)),
                            weir_json_error_text(j.error));
    return st;
}

/* Answers the whole lines of the input, of which the last `fresh` bytes are new, and drops them. */
static bool answer_lines(const struct weir_parse_options *o, struct weir_buf *input, size_t fresh,
                         struct weir_span std_tools, struct weir_buf *out) {
    bool all = true;
    size_t from = 0, look = input->len - (fresh < input->len ? fresh : input->len);
    const char *end;
    while ((end = memchr(input->data + look, '\n', input->len - look)) != NULL) {
        size_t at = (size_t)(end - input->data);
        struct weir_span line = weir_span_trim(weir_span(input->data + from, at - from));
        if (line.len > 0)
            all &= answer(o, line, std_tools, out);
        from = look = at + 1;
    }
    weir_buf_consume(input, from);
    return all;
}

static enum weir_status run(const struct weir_parse_options *o, bool *ret_all,
                            struct weir_err *err) {
    struct weir_buf tools, input, out;
    weir_buf_init(&tools, (size_t)64 << 20);
    weir_buf_init(&input, LINE_MAX_BYTES);
    weir_buf_init(&out, (size_t)4 * LINE_MAX_BYTES - 1);
    enum weir_status st = o->tools != NULL ? load_tools(o->tools, &tools, err) : WEIR_OK;
    bool all = true, more = true;
    while (st == WEIR_OK && more) {
        st = weir_buf_reserve(&input, 65536);
        if (st != WEIR_OK)
            break;
        ssize_t n = read(STDIN_FILENO, input.data + input.len, input.cap - input.len);
        if (n < 0)
            st = weir_err_set(err, WEIR_IO, "stdin: %s", strerror(errno));
        more = n > 0;
        input.len += more ? (size_t)n : 0;
        if (!more && input.len > 0 && weir_buf_append_c(&input, '\n') != WEIR_OK)
            st = WEIR_NOMEM;
        all &= answer_lines(o, &input, more ? (size_t)n : 1, weir_buf_span(&tools), &out);
    }
    *ret_all = all && fflush(stdout) == 0;
    weir_buf_fini(&tools);
    weir_buf_fini(&input);
    weir_buf_fini(&out);
    return st;
}

static void list(void) {
    for (size_t i = 0; wprs_tool_parser_name(i) != NULL; i++)
        printf("tool-call %s\n", wprs_tool_parser_name(i));
    for (size_t i = 0; wprs_reasoning_parser_name(i) != NULL; i++)
        printf("reasoning %s\n", wprs_reasoning_parser_name(i));
}

int weir_parse_main(int argc, char **argv) {
    struct weir_arena arena;
    struct weir_parse_options o;
    struct weir_err err = {.text = ""};
    weir_arena_init(&arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_parse_program, argc, argv, NULL, &arena, &o);
    int rc = outcome == WEIR_CONFIG_EXIT_USAGE;
    if (outcome == WEIR_CONFIG_RUN && o.list) {
        list();
    } else if (outcome == WEIR_CONFIG_RUN) {
        bool all = true;
        enum weir_status st = run(&o, &all, &err);
        if (st != WEIR_OK)
            fprintf(stderr, "weir parse: %s\n",
                    err.text[0] != '\0' ? err.text : weir_status_text(st));
        rc = st != WEIR_OK || !all;
    }
    weir_arena_fini(&arena);
    return rc;
}
