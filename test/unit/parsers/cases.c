/*
 * Recorded cases: texts that mean one thing ("ideal") come out as that, gathered and streamed, in
 * every way of delivery, and the same for every cut and byte by byte. For texts without a clear
 * meaning the rules hold, and where our result is not the one of Dynamo, or not the one on which
 * all recorded systems agree, a row of deviations.tsv says by which rule.
 *
 * Always: the cases in test/data/parsers. With ../shared (or WEIR_SHARED): all that were recorded.
 */
#include "base/arena.h"
#include "base/json.h"
#include "test/check.h"
#include "test/unit/parsers/collect.h"

#define DATA "test/data/parsers/"

static struct weir_buf std_tools, deviations;
static unsigned n_cases, n_ideal, n_unclear, n_deviating;
static bool recording; /* WEIR_PARSERS_RECORD: print deviations instead of looking them up */

static bool load(const char *path, struct weir_buf *out) {
    FILE *f = fopen(path, "rb");
    weir_buf_init(out, (size_t)64 << 20);
    if (f == NULL)
        return false;
    for (size_t n = 1; n > 0; out->len += n) {
        CHECK(weir_buf_reserve(out, 65536) == WEIR_OK);
        n = fread(out->data + out->len, 1, out->cap - out->len, f);
    }
    fclose(f);
    return true;
}

/* ---- a case --------------------------------------------------------------------------------- */

struct kase {
    struct weir_span id, ideal, reference; /* JSON or NULL data */
    struct wprs_options o;
    struct weir_span text;
    enum wprs_finish finish;
};

static struct weir_span text_of(struct weir_json *j, struct weir_arena *arena) {
    struct weir_json_str s;
    if (weir_json_peek(j) != WEIR_JSON_STRING) {
        weir_json_skip(j, NULL);
        return weir_span(NULL, 0);
    }
    return weir_json_string(j, &s) ? weir_json_text(s, arena) : weir_span(NULL, 0);
}

static struct weir_span member(struct weir_span json, const char *name) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    weir_json_init(&j, json, 512);
    if (json.data != NULL && weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value))
            if (weir_json_str_eqz(key, name))
                return value;
    return weir_span(NULL, 0);
}

static struct weir_span member_text(struct weir_span json, const char *name,
                                    struct weir_arena *arena) {
    struct weir_json j;
    struct weir_span value = member(json, name);
    weir_json_init(&j, value, 8);
    return value.data != NULL ? text_of(&j, arena) : value;
}

static struct weir_span tail_of(struct weir_span name) {
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

static struct weir_span joined(struct weir_span chunks, struct weir_arena *arena) {
    struct weir_json j;
    struct weir_buf all;
    weir_buf_init(&all, (size_t)16 << 20);
    weir_json_init(&j, chunks, 8);
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j))
            CHECK(weir_buf_append_span(&all, text_of(&j, arena)) == WEIR_OK);
    struct weir_span text = weir_arena_copy(arena, weir_buf_span(&all));
    weir_buf_fini(&all);
    return text;
}

static void read_case(struct weir_span line, struct weir_arena *arena, struct kase *k) {
    struct weir_span request = member(line, "request"), tools = member(line, "tools");
    k->id = member_text(line, "id", arena);
    k->ideal = member(line, "ideal");
    k->reference = member(line, "reference");
    k->o = WPRS_OPTIONS_INIT;
    k->o.tool_parser = member_text(line, "parser", arena);
    k->o.reasoning_parser = member_text(line, "reasoning_parser", arena);
    k->o.prompt_tail = tail_of(member_text(line, "template", arena));
    k->o.tools = weir_span_eqz(tools, "\"@std\"") ? weir_buf_span(&std_tools) : tools;
    k->o.single_call = weir_span_eqz(member(request, "parallel_tool_calls"), "false");
    wprs_thinking_of(member(request, "chat_template_args"), member(request, "reasoning_effort"),
                     &k->o);
    CHECK(wprs_choice_of(member(line, "tool_choice"), &k->o.choice, &k->o.choice_name, NULL) ==
          WEIR_OK);
    k->text = joined(member(line, "chunks"), arena);
    k->finish =
        weir_span_eqz(member(line, "finish"), "\"length\"") ? WPRS_FINISH_LENGTH : WPRS_FINISH_STOP;
}

/* Formats whose texts sit in messages of their own: a blank more between them is as good. */
static bool in_messages(const struct kase *k) {
    static const char *const names[] = {"gpt_oss", "inkling", "muse_glimmer", "kimi_k3"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
        if (weir_span_eqz(k->o.reasoning_parser, names[i]))
            return true;
    return false;
}

/* {"content", "reasoning_content", "tool_calls": [{"name", "arguments"}]}; arguments are JSON
 * values in ideals and strings in references. */
static bool matches(const struct kase *k, const struct collected *got, struct weir_span message,
                    struct weir_arena *arena) {
    const bool blanks = !in_messages(k);
    if (!text_equal(weir_buf_span(&got->content), member_text(message, "content", arena), blanks) ||
        !text_equal(weir_buf_span(&got->reasoning),
                    member_text(message, "reasoning_content", arena), blanks))
        return false;
    struct weir_json j;
    struct weir_span call, calls = member(message, "tool_calls");
    unsigned n = 0;
    weir_json_init(&j, calls, 512);
    if (calls.data != NULL && weir_json_array_enter(&j))
        for (; weir_json_array_next(&j) && weir_json_skip(&j, &call); n++) {
            struct weir_span args = member(call, "arguments");
            if (args.len > 0 && args.data[0] == '"')
                args = member_text(call, "arguments", arena);
            if (n >= got->n_calls ||
                !weir_span_eq(weir_buf_span(&got->names[n]), member_text(call, "name", arena)) ||
                !json_equal(weir_buf_span(&got->args[n]), args))
                return false;
        }
    return n == got->n_calls;
}

/* ---- what is checked ------------------------------------------------------------------------ */

static void check_cuts(const struct kase *k, const struct collected *whole) {
    struct collected got;
    collected_init(&got);
    for (size_t cut = 0; cut <= k->text.len; cut++) {
        collect(&k->o, k->text, &cut, 1, 0, k->finish, &got);
        CHECK_MSG(collected_eq(whole, &got), "%.*s cut at %zu: %s; whole: %s", WEIR_SPAN_ARG(k->id),
                  cut, collected_text(&got), collected_text(whole));
    }
    for (size_t step = 1; step <= 5; step += 2) {
        collect(&k->o, k->text, NULL, 0, step, k->finish, &got);
        CHECK_MSG(collected_eq(whole, &got), "%.*s in steps of %zu: %s; whole: %s",
                  WEIR_SPAN_ARG(k->id), step, collected_text(&got), collected_text(whole));
    }
    collected_fini(&got);
}

static size_t without_ws(struct weir_span text) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] != ' ' && text.data[i] != '\n' && text.data[i] != '\t';
    return n;
}

/* What holds whatever the text: arguments are objects, a text without calls is there whole. */
static void check_rules(const struct kase *k, const struct collected *got) {
    CHECK_MSG(!got->broken_order, "%.*s: deltas out of order", WEIR_SPAN_ARG(k->id));
    for (unsigned i = 0; i < got->n_calls; i++)
        CHECK_MSG(got->done[i] && json_is_object(weir_buf_span(&got->args[i])),
                  "%.*s: call %u is not whole: %s", WEIR_SPAN_ARG(k->id), i, collected_text(got));
    CHECK_MSG(got->finish == (got->n_calls > 0 && k->finish == WPRS_FINISH_STOP
                                  ? WPRS_FINISH_TOOL_CALLS
                                  : k->finish),
              "%.*s: finish reason", WEIR_SPAN_ARG(k->id));
    if (got->n_calls == 0 && k->o.reasoning_parser.len == 0)
        CHECK_MSG(without_ws(weir_buf_span(&got->content)) == without_ws(k->text),
                  "%.*s: bytes are lost: %s", WEIR_SPAN_ARG(k->id), collected_text(got));
}

/* Pieces as they come join to the same, unless a call broke after it was given out. */
static void check_deliveries(const struct kase *k, const struct collected *checked) {
    struct collected got;
    struct kase other = *k;
    collected_init(&got);
    other.o.calls = WPRS_CALLS_WHOLE;
    collect(&other.o, k->text, NULL, 0, 3, k->finish, &got);
    CHECK_MSG(collected_eq(checked, &got), "%.*s whole calls: %s", WEIR_SPAN_ARG(k->id),
              collected_text(&got));
    other.o.calls = WPRS_CALLS_PIECES;
    collect(&other.o, k->text, NULL, 0, 0, k->finish, &got);
    bool all_done = true;
    for (unsigned i = 0; i < got.n_calls; i++)
        all_done &= got.done[i];
    CHECK_MSG(!all_done || collected_eq(checked, &got), "%.*s pieces: %s", WEIR_SPAN_ARG(k->id),
              collected_text(&got));
    CHECK_MSG(!got.broken_order, "%.*s pieces: deltas out of order", WEIR_SPAN_ARG(k->id));
    check_cuts(&other, &got);
    collected_fini(&got);
}

static bool listed(struct weir_span id) {
    const char *at = deviations.data, *end = at + deviations.len;
    while (at != NULL && at < end) {
        if ((size_t)(end - at) > id.len && memcmp(at, id.data, id.len) == 0 && at[id.len] == '\t')
            return true;
        at = memchr(at, '\n', (size_t)(end - at));
        at = at != NULL ? at + 1 : NULL;
    }
    return false;
}

/* Against the recorded answers: Dynamo's, and what all agree on. */
static void check_references(const struct kase *k, const struct collected *got,
                             struct weir_arena *arena) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    bool dynamo = true;
    weir_json_init(&j, k->reference, 512);
    if (k->reference.data != NULL && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value)) {
            struct weir_span unary = member(value, "unary");
            if (weir_json_str_eqz(key, "dynamo-1.6.1"))
                dynamo = matches(k, got, unary, arena);
        }
    n_deviating += !dynamo;
    if (!dynamo && recording)
        printf("%.*s\n", WEIR_SPAN_ARG(k->id));
    else if (!dynamo)
        CHECK_MSG(listed(k->id), "%.*s: not as Dynamo answers, and no rule in deviations.tsv: %s",
                  WEIR_SPAN_ARG(k->id), collected_text(got));
}

static void check_case(const struct kase *k, struct weir_arena *arena) {
    struct collected whole;
    collected_init(&whole);
    collect(&k->o, k->text, NULL, 0, 0, k->finish, &whole);
    check_rules(k, &whole);
    if (k->ideal.data != NULL && !weir_span_eqz(k->ideal, "null")) {
        n_ideal++;
        CHECK_MSG(matches(k, &whole, k->ideal, arena), "%.*s: %s; ideal: %.*s",
                  WEIR_SPAN_ARG(k->id), collected_text(&whole), WEIR_SPAN_ARG(k->ideal));
    } else {
        n_unclear++;
    }
    check_references(k, &whole, arena);
    check_cuts(k, &whole);
    check_deliveries(k, &whole);
    collected_fini(&whole);
    n_cases++;
}

static bool check_file(const char *path) {
    struct weir_buf file;
    if (!load(path, &file))
        return false;
    struct weir_span line, rest = weir_buf_span(&file);
    while (rest.data != NULL) {
        line = weir_span_trim(weir_span_split(rest, '\n', &rest));
        if (line.len == 0)
            continue;
        struct weir_arena arena;
        struct kase k;
        weir_arena_init(&arena, (size_t)64 << 20);
        read_case(line, &arena, &k);
        check_case(&k, &arena);
        weir_arena_fini(&arena);
    }
    weir_buf_fini(&file);
    return true;
}

static void case_committed(void) {
    CHECK(check_file(DATA "cases.jsonl"));
}
/* Written by hand: what the recordings do not touch. */
static void case_own(void) {
    CHECK(check_file(DATA "own.jsonl"));
}

static const char *shared_file(const char *name) {
    static char path[2048];
    const char *shared = getenv("WEIR_SHARED");
    snprintf(path, sizeof(path), "%s/data/parsers/%s", shared != NULL ? shared : "../shared", name);
    return path;
}

static void case_recorded_tools(void) {
    if (!check_file(shared_file("tool-cases.jsonl")))
        fprintf(stderr, "skipped: %s is not here\n", shared_file("tool-cases.jsonl"));
}
static void case_recorded_reasoning(void) {
    if (!check_file(shared_file("reasoning-cases.jsonl")))
        fprintf(stderr, "skipped: %s is not here\n", shared_file("reasoning-cases.jsonl"));
}

int main(void) {
    recording = getenv("WEIR_PARSERS_RECORD") != NULL;
    if (!load(DATA "tools.json", &std_tools) || !load(DATA "deviations.tsv", &deviations)) {
        fprintf(stderr, "run in the repository's root: " DATA " is missing\n");
        return 1;
    }
    CHECK_RUN(case_committed);
    CHECK_RUN(case_own);
    CHECK_RUN(case_recorded_tools);
    CHECK_RUN(case_recorded_reasoning);
    fprintf(stderr, "%u cases: %u with an ideal, %u without; %u differ from Dynamo\n", n_cases,
            n_ideal, n_unclear, n_deviating);
    weir_buf_fini(&std_tools);
    weir_buf_fini(&deviations);
    return check_finish();
}
