/* weir tokenize: a line of text in, a line of ids out; with --decode the other way. */
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "runtime/options_tokenize.h"
#include "tokenizer/wtok.h"
#include "tools/tools.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 256 << 20, IN_AUTO = 0, IN_RAW, IN_JSON };

struct work {
    const struct weir_tokenize_options *o;
    struct wtok *tok;
    struct weir_buf line, text, out;
    uint32_t *ids; /* owned */
    size_t room;
};

static bool make_room(struct work *w, size_t n) {
    if (n <= w->room)
        return true;
    weir_free(w->ids);
    w->ids = weir_malloc(n * sizeof(*w->ids));
    w->room = w->ids != NULL ? n : 0;
    return w->ids != NULL;
}

/* ---- a line ---------------------------------------------------------------------------------- */

/* The text of a line: what a JSON string says, or the line itself. */
static enum weir_status line_text(struct work *w, struct weir_span line, struct weir_span *ret,
                                  struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str s;
    *ret = line;
    if (w->o->input == IN_RAW)
        return WEIR_OK;
    weir_json_init(&j, line, 2);
    bool json =
        weir_json_peek(&j) == WEIR_JSON_STRING && weir_json_string(&j, &s) && weir_json_finish(&j);
    if (!json && w->o->input == IN_JSON)
        return weir_err_set(err, WEIR_INVALID, "the line is not one JSON string");
    if (!json)
        return WEIR_OK;
    weir_buf_clear(&w->text);
    enum weir_status st = weir_json_unescape(s, &w->text);
    *ret = weir_buf_span(&w->text);
    return st == WEIR_OK ? st : weir_err_set(err, st, "the line is too long");
}

static enum weir_status encode_line(struct work *w, struct weir_span line, struct weir_jsonw *j,
                                    struct weir_err *err) {
    struct weir_span text;
    unsigned flags = (w->o->parse_special ? WTOK_SPECIAL : 0u) |
                     (w->o->add_special_tokens ? WTOK_ADD_SPECIAL : 0u);
    size_t n = 0;
    enum weir_status st = line_text(w, line, &text, err);
    if (st != WEIR_OK)
        return st;
    if (!weir_utf8_valid(text))
        return weir_err_set(err, WEIR_INVALID, "the line is not UTF-8");
    if (!make_room(w, wtok_encode_bound(w->tok, text.len) + 1))
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    st = wtok_encode(w->tok, text, flags, w->ids, w->room, &n);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "%s", weir_status_text(st));
    weir_jsonw_array_begin(j);
    for (size_t i = 0; i < n; i++)
        weir_jsonw_u64(j, w->ids[i]);
    weir_jsonw_array_end(j);
    return WEIR_OK;
}

static enum weir_status decode_line(struct work *w, struct weir_span line, struct weir_jsonw *out,
                                    struct weir_err *err) {
    struct weir_json j;
    uint64_t id;
    size_t n = 0;
    weir_json_init(&j, line, 4);
    if (!make_room(w, line.len / 2 + 1))
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j) && weir_json_u64(&j, &id)) {
            if (id >= wtok_vocab_size(w->tok))
                return weir_err_set(err, WEIR_INVALID, "%llu is no token id (they end at %u)",
                                    (unsigned long long)id, wtok_vocab_size(w->tok) - 1);
            w->ids[n++] = (uint32_t)id;
        }
    if (!weir_json_finish(&j))
        return weir_err_set(err, WEIR_INVALID, "the line is not a JSON array of token ids");
    weir_buf_clear(&w->text);
    enum weir_status st = wtok_decode(w->tok, w->ids, n, w->o->skip_special_tokens, &w->text);
    if (st != WEIR_OK)
        return weir_err_set(err, st, "%s", weir_status_text(st));
    weir_jsonw_string(out, weir_buf_span(&w->text));
    return WEIR_OK;
}

static enum weir_status one_line(struct work *w, struct weir_span line, struct weir_err *err) {
    struct weir_jsonw j;
    weir_buf_clear(&w->out);
    weir_jsonw_init(&j, &w->out);
    enum weir_status st =
        w->o->decode ? decode_line(w, line, &j, err) : encode_line(w, line, &j, err);
    if (st == WEIR_OK)
        st = j.status == WEIR_OK ? weir_buf_append_c(&w->out, '\n') : j.status;
    if (st == WEIR_OK && fwrite(w->out.data, 1, w->out.len, stdout) != w->out.len)
        st = weir_err_set(err, WEIR_IO, "stdout: %s", strerror(errno));
    return st;
}

/* ---- all lines ------------------------------------------------------------------------------- */

static enum weir_status all_lines(struct work *w, struct weir_err *err) {
    size_t number = 0;
    bool end = false;
    enum weir_status st = WEIR_OK;
    while (!end && st == WEIR_OK) {
        st = weir_buf_reserve(&w->line, 1 << 16);
        if (st != WEIR_OK)
            return weir_err_set(err, st, "line %zu is longer than %d bytes", number + 1,
                                LINE_MAX_BYTES);
        size_t look = w->line.len, from = 0;
        ssize_t n = read(STDIN_FILENO, w->line.data + look, w->line.cap - look);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return weir_err_set(err, WEIR_IO, "stdin: %s", strerror(errno));
        end = n == 0;
        w->line.len += (size_t)n;
        if (end && w->line.len > 0) /* the last line has no end */
            st = weir_buf_append_c(&w->line, '\n');
        const char *nl;
        while (st == WEIR_OK &&
               (nl = memchr(w->line.data + look, '\n', w->line.len - look)) != NULL) {
            size_t at = (size_t)(nl - w->line.data);
            number++;
            st = one_line(w, weir_span(w->line.data + from, at - from), err);
            from = look = at + 1;
        }
        weir_buf_consume(&w->line, from);
    }
    return st == WEIR_OK ? st : weir_err_prefix(err, "line %zu", number);
}

static enum weir_status open_tokenizer(const struct weir_tokenize_options *o, struct wtok **ret,
                                       struct weir_err *err) {
    struct wtok_config config = {.cache_dir = o->tokenizer_cache_dir,
                                 .tiktoken_pattern = o->tiktoken_pattern};
    if (o->model_path != NULL)
        return wtok_load(o->model_path, &config, ret, err);
    enum weir_status st = wtok_create_bytes(ret);
    return st == WEIR_OK ? st : weir_err_set(err, st, "out of memory");
}

static enum weir_status run(const struct weir_tokenize_options *o, struct weir_err *err) {
    struct work w = {.o = o};
    weir_buf_init(&w.line, LINE_MAX_BYTES);
    weir_buf_init(&w.text, LINE_MAX_BYTES);
    weir_buf_init(&w.out, (size_t)LINE_MAX_BYTES * 8);
    enum weir_status st = open_tokenizer(o, &w.tok, err);
    if (st == WEIR_OK)
        st = all_lines(&w, err);
    if (fflush(stdout) != 0 && st == WEIR_OK)
        st = weir_err_set(err, WEIR_IO, "stdout: %s", strerror(errno));
    weir_buf_fini(&w.line);
    weir_buf_fini(&w.text);
    weir_buf_fini(&w.out);
    weir_free(w.ids);
    wtok_destroy(w.tok);
    return st;
}

int weir_tokenize_main(int argc, char **argv) {
    struct weir_arena arena;
    struct weir_tokenize_options o;
    struct weir_err err = {.text = ""};
    weir_arena_init(&arena, WEIR_CONFIG_ARENA_BYTES);
    enum weir_config_outcome outcome =
        weir_config_load(&weir_tokenize_program, argc, argv, NULL, &arena, &o);
    int rc = outcome == WEIR_CONFIG_EXIT_USAGE;
    if (outcome == WEIR_CONFIG_RUN && run(&o, &err) != WEIR_OK) {
        fprintf(stderr, "weir tokenize: %s\n", err.text);
        rc = 1;
    }
    weir_arena_fini(&arena);
    return rc;
}
