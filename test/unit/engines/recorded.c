/*
 * What real engines answered (test/data/engines/answers*.txt, metrics.txt), through every reader
 * that we have: each finds what is there, and nothing in answers that are not meant for it.
 */
#include "base/json.h"
#include "frontend/relay_scan.h"
#include "runtime/engine_answers.h"
#include "test/said.h"

static struct weir_arena arena;

/* ---- readers ------------------------------------------------------------------------------ */

static void add_models(struct weir_span body) {
    struct weir_engine_model m[4];
    size_t n;
    if (weir_engine_read_models(body, &arena, m, 4, &n) != WEIR_OK)
        return;
    for (size_t i = 0; i < n; i++)
        add("model %.*s %u %s %s\n", WEIR_SPAN_ARG(m[i].id), m[i].max_model_len,
            m[i].adapter ? "adapter" : "-", m[i].sglang ? "sglang" : "vllm");
}

static void add_sources(const struct weir_engine_source *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        add("source %u %.*s %.*s %.*s\n", s[i].rank, WEIR_SPAN_ARG(s[i].events),
            WEIR_SPAN_ARG(s[i].replay), WEIR_SPAN_ARG(s[i].topic));
}

static void add_tokens(struct weir_span body) {
    const uint32_t *ids;
    size_t n;
    if (weir_engine_read_tokens(body, &arena, &ids, &n) != WEIR_OK)
        return;
    for (size_t i = 0; i < n; i++)
        add("%s%u", i > 0 ? "," : "tokens ", ids[i]);
    add("\n");
}

static void add_counts(const char *what, const struct weir_relay_scan *s) {
    add("%s%" PRIi64 " %" PRIi64 " %" PRIi64 "\n", what, s->prompt_tokens, s->completion_tokens,
        s->cached_tokens);
}

static void add_usage(struct weir_span body) {
    struct weir_relay_scan s;
    weir_relay_scan_init(&s, 1 << 20);
    weir_relay_scan_body(&s, body);
    if (s.prompt_tokens >= 0)
        add_counts("usage ", &s);
    weir_relay_scan_fini(&s);
}

static void add_stream(struct weir_span body) {
    struct weir_relay_scan s;
    struct weir_span pass;
    char what[64];
    weir_relay_scan_init(&s, 1 << 20);
    CHECK(weir_relay_scan_push(&s, body, &pass) == WEIR_OK);
    snprintf(what, sizeof(what), "stream %" PRIu64 " ", s.n_data);
    if (s.done && !s.failed && pass.len == body.len)
        add_counts(what, &s);
    weir_relay_scan_fini(&s);
}

static void read_all(struct weir_span body) {
    struct weir_engine_source s[4];
    uint32_t block_size;
    size_t n;
    len = 0;
    add_models(body);
    if (weir_engine_read_sources(body, "127.0.0.1", &arena, s, 4, &n) == WEIR_OK)
        add_sources(s, n);
    if (weir_engine_read_server_info(body, "127.0.0.1", &arena, s, 4, &n, &block_size) == WEIR_OK) {
        add_sources(s, n);
        if (block_size > 0)
            add("page %u\n", block_size);
    }
    add_tokens(body);
    add_usage(body);
    add_stream(body);
    text[len] = '\0';
}

/* Cut short anywhere it is refused, or says less; nothing is read outside. */
static void cut_short(struct weir_span body) {
    for (size_t cut = 0; cut < body.len; cut += 1 + body.len / 40) {
        char *copy = malloc(cut + 1); /* by itself, so that reading outside is seen */
        CHECK(copy != NULL);
        memcpy(copy, body.data, cut);
        read_all(weir_span(copy, cut));
        CHECK(strstr(text, "model") == NULL && strstr(text, "source") == NULL &&
              strstr(text, "tokens") == NULL && strstr(text, "page") == NULL);
        free(copy);
    }
}

/* ---- the files ---------------------------------------------------------------------------- */

/* J: as it stands; T: a JSON string that holds it. */
static struct weir_span body_of(char *line) {
    struct weir_json j;
    struct weir_json_str s;
    struct weir_span rest = weir_span_z(line + 2);
    if (line[0] == 'J')
        return weir_arena_copy(&arena, rest);
    weir_json_init(&j, rest, 2);
    CHECK(weir_json_string(&j, &s));
    return weir_arena_copy(&arena, weir_json_text(s, &arena));
}

static void read_answers(const char *path, unsigned least, unsigned least_found) {
    static char line[1 << 16], name[1 << 12], want[1 << 14];
    struct weir_span body = {0};
    size_t n_want = 0;
    unsigned n = 0, n_found = 0;
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    for (bool more = true; more;) {
        more = fgets(line, sizeof(line), f) != NULL;
        line[more ? strcspn(line, "\n") : 0] = '\0';
        if ((!more || line[0] == 'Q') && body.data != NULL) {
            cut_short(body);
            read_all(body);
            want[n_want] = '\0';
            CHECK_MSG(strcmp(text, want) == 0, "%s: found\n%swant\n%s", name, text, want);
            n++;
            n_found += n_want > 0;
            n_want = 0;
        }
        if (!more || line[0] == 'S' || line[0] == '#')
            continue;
        if (line[0] == 'Q')
            snprintf(name, sizeof(name), "%.200s", line);
        else if (line[0] == 'J' || line[0] == 'T') {
            weir_arena_reset(&arena);
            body = body_of(line);
            CHECK(body.data != NULL);
        } else
            n_want += (size_t)snprintf(want + n_want, sizeof(want) - n_want, "%s\n", line);
    }
    fclose(f);
    CHECK_MSG(n >= least && n_found >= least_found, "%s: %u answers, in %u something", path, n,
              n_found);
}

static void case_answers(void) {
    read_answers("test/data/engines/answers.txt", 42, 23);
    read_answers("test/data/engines/answers-own.txt", 11, 5);
}

static void case_metrics(void) {
    static char line[1 << 14], page[1 << 17], want[1 << 12];
    static struct weir_engine_metrics m;
    size_t n_page = 0, n_want = 0;
    unsigned n = 0;
    FILE *f = fopen("test/data/engines/metrics.txt", "r");
    CHECK(f != NULL);
    for (bool more = true; more;) {
        more = fgets(line, sizeof(line), f) != NULL;
        if ((!more || line[0] == 'P') && n_page > 0) {
            weir_engine_read_metrics(weir_span(page, n_page), &m);
            len = 0;
            for (size_t r = 0; r < m.n_ranks; r++)
                add("rank %u %" PRIu64 " %" PRIu64 " %.0f\n", m.ranks[r].rank, m.ranks[r].running,
                    m.ranks[r].waiting, m.ranks[r].kv_usage);
            add("blocks %u %" PRIu64 "\n", m.block_size, m.n_kv_blocks);
            CHECK_MSG(len == n_want && memcmp(text, want, len) == 0, "found\n%.*swant\n%.*s",
                      (int)len, text, (int)n_want, want);
            n++;
            n_page = n_want = 0;
        }
        if (!more || line[0] == 'P' || line[0] == '#')
            continue;
        char *to = line[0] == '|' ? page + n_page : want + n_want;
        size_t bytes = strlen(line) - (line[0] == '|');
        CHECK(n_page + bytes < sizeof(page) && n_want + bytes < sizeof(want));
        memcpy(to, line + (line[0] == '|'), bytes);
        *(line[0] == '|' ? &n_page : &n_want) += bytes;
    }
    fclose(f);
    CHECK_EQ_U64(n, 3); /* the last one is made: extract.py */
}

int main(void) {
    weir_arena_init(&arena, 16 << 20);
    CHECK_RUN(case_answers);
    CHECK_RUN(case_metrics);
    weir_arena_fini(&arena);
    return check_finish();
}
