#include "bench/trace.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

enum { MAX_LINES = 1 << 24, MAX_IDS = 1 << 28, MAX_TOKENS = 1 << 24, JSON_DEPTH = 32 };

struct reader {
    struct weir_trace trace;
    size_t lines_cap, ids_cap;
    uint32_t block_tokens;
    struct weir_err *err;
    size_t number; /* of the line, from 1 */
};

static enum weir_status bad(struct reader *r, const char *what) {
    return weir_err_set(r->err, WEIR_INVALID, "trace, line %zu: %s", r->number, what);
}

static enum weir_status nomem(struct reader *r) {
    return weir_err_set(r->err, WEIR_NOMEM, "trace, line %zu: out of memory", r->number);
}

/* Room for one more of `n` in a doubling array; false when out of memory. */
static bool grow(void **array, size_t *cap, size_t n, size_t item_bytes) {
    if (n < *cap)
        return true;
    size_t want = *cap > 0 ? 2 * *cap : 4096;
    void *more = weir_realloc(*array, want * item_bytes);
    if (more == NULL)
        return false;
    *array = more;
    *cap = want;
    return true;
}

static enum weir_status read_ids(struct reader *r, struct weir_json *j) {
    struct weir_trace *t = &r->trace;
    if (!weir_json_array_enter(j))
        return WEIR_OK; /* the caller looks at j->error */
    while (weir_json_array_next(j)) {
        uint64_t id;
        if (!weir_json_u64(j, &id))
            break;
        if (t->n_ids == MAX_IDS)
            return bad(r, "more than 268435456 hash ids in the file");
        if (!grow((void **)&t->ids, &r->ids_cap, t->n_ids, sizeof(*t->ids)))
            return nomem(r);
        t->ids[t->n_ids++] = id;
    }
    return WEIR_OK;
}

/* What a line brought; each member once. */
struct seen {
    bool timestamp, input, output, ids;
};

static enum weir_status read_member(struct reader *r, struct weir_json *j, struct weir_json_str key,
                                    struct weir_trace_line *line, struct seen *seen) {
    uint64_t tokens = 0;
    bool input = weir_json_str_eqz(key, "input_length");
    if (input || weir_json_str_eqz(key, "output_length")) {
        bool *had = input ? &seen->input : &seen->output;
        if (*had)
            return bad(r, "a length stands there twice");
        *had = true;
        if (weir_json_u64(j, &tokens) && tokens > MAX_TOKENS)
            return bad(r, "a length is above 16777216");
        *(input ? &line->input_tokens : &line->output_tokens) = (uint32_t)tokens;
    } else if (weir_json_str_eqz(key, "timestamp")) {
        if (seen->timestamp)
            return bad(r, "timestamp stands there twice");
        seen->timestamp = true;
        (void)weir_json_f64(j, &line->timestamp_ms);
    } else if (weir_json_str_eqz(key, "hash_ids")) {
        if (seen->ids)
            return bad(r, "hash_ids stands there twice");
        seen->ids = true;
        return read_ids(r, j);
    } else {
        (void)weir_json_skip(j, NULL);
    }
    return WEIR_OK;
}

static enum weir_status check_line(struct reader *r, struct weir_trace_line *line,
                                   const struct seen *seen) {
    const struct weir_trace *t = &r->trace;
    if (!seen->timestamp || !seen->input || !seen->output || !seen->ids)
        return bad(r, "needs timestamp, input_length, output_length and hash_ids");
    if (line->input_tokens == 0 || line->output_tokens == 0)
        return bad(r, "a length is 0");
    double before = t->n_lines > 0 ? t->lines[t->n_lines - 1].timestamp_ms : 0;
    if (!(line->timestamp_ms >= before && line->timestamp_ms < 1e15))
        return bad(r, "its timestamp is before that of the line above (sort the trace), or absurd");
    uint64_t blocks = ((uint64_t)line->input_tokens + r->block_tokens - 1) / r->block_tokens;
    if (t->n_ids - line->first_id != blocks)
        return weir_err_set(r->err, WEIR_INVALID,
                            "trace, line %zu: %u tokens are %llu blocks of %u, but there are %zu "
                            "hash ids; is --trace-block right?",
                            r->number, line->input_tokens, (unsigned long long)blocks,
                            r->block_tokens, t->n_ids - line->first_id);
    line->n_ids = (uint32_t)blocks;
    return WEIR_OK;
}

static enum weir_status read_line(struct reader *r, struct weir_span text) {
    struct weir_trace *t = &r->trace;
    struct weir_trace_line line = {.first_id = t->n_ids};
    struct seen seen = {false, false, false, false};
    struct weir_json j;
    weir_json_init(&j, text, JSON_DEPTH);
    enum weir_status st = WEIR_OK;
    if (weir_json_object_enter(&j)) {
        struct weir_json_str key;
        while (st == WEIR_OK && weir_json_object_next(&j, &key))
            st = read_member(r, &j, key, &line, &seen);
    }
    if (st != WEIR_OK)
        return st;
    if (!weir_json_finish(&j))
        return bad(r, weir_json_error_text(j.error));
    st = check_line(r, &line, &seen);
    if (st != WEIR_OK)
        return st;
    if (t->n_lines == MAX_LINES)
        return bad(r, "more than 16777216 requests");
    if (!grow((void **)&t->lines, &r->lines_cap, t->n_lines, sizeof(*t->lines)))
        return nomem(r);
    t->lines[t->n_lines++] = line;
    return WEIR_OK;
}

enum weir_status weir_trace_parse(struct weir_span text, uint32_t block_tokens,
                                  struct weir_trace *ret_trace, struct weir_err *err) {
    struct reader r = {.block_tokens = block_tokens, .err = err};
    enum weir_status st = WEIR_OK;
    for (struct weir_span rest = text; st == WEIR_OK && rest.data != NULL;) {
        struct weir_span line = weir_span_trim(weir_span_split(rest, '\n', &rest));
        r.number++;
        if (line.len > 0)
            st = read_line(&r, line);
    }
    if (st == WEIR_OK && r.trace.n_lines == 0)
        st = weir_err_set(err, WEIR_INVALID, "the trace is empty");
    if (st != WEIR_OK) {
        weir_trace_fini(&r.trace);
        return st;
    }
    *ret_trace = r.trace;
    return WEIR_OK;
}

enum weir_status weir_trace_load(const char *path, uint32_t block_tokens,
                                 struct weir_trace *ret_trace, struct weir_err *err) {
    struct weir_buf text;
    weir_buf_init(&text, (size_t)4 << 30);
    enum weir_status st = weir_file_read(path, WEIR_FILE_ANY, &text, err);
    if (st == WEIR_OK)
        st = weir_trace_parse(weir_buf_span(&text), block_tokens, ret_trace, err);
    weir_buf_fini(&text);
    return st;
}

void weir_trace_spread(struct weir_trace *trace) {
    double step = 0;
    for (size_t from = 0, to; from < trace->n_lines; from = to) {
        double at = trace->lines[from].timestamp_ms;
        for (to = from; to < trace->n_lines && trace->lines[to].timestamp_ms == at;)
            to++;
        if (to < trace->n_lines)
            step = trace->lines[to].timestamp_ms - at;
        for (size_t i = from; i < to; i++)
            trace->lines[i].timestamp_ms = at + step * (double)(i - from) / (double)(to - from);
    }
}

void weir_trace_fini(struct weir_trace *trace) {
    if (trace == NULL)
        return;
    weir_free(trace->lines);
    weir_free(trace->ids);
    *trace = (struct weir_trace){0};
}

const uint64_t *weir_trace_ids(const struct weir_trace *trace, const struct weir_trace_line *line) {
    return trace->ids + line->first_id;
}
