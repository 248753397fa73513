/*
 * The option tables themselves: every row is complete and consistent, they know every flag of the
 * reference system's frontend and mocker with its variable and default, and docs/OPTIONS.md shows
 * what they say. flags-1.6.1.tsv is a copy of the rows of the shared data's file; where that file
 * is present it is checked too.
 */
#include "runtime/config_priv.h"
#include "runtime/options_bench.h"
#include "runtime/options_frontend.h"
#include "runtime/options_global_router.h"
#include "runtime/options_indexer.h"
#include "runtime/options_local_router.h"
#include "runtime/options_mocker.h"
#include "runtime/options_parse.h"
#include "runtime/options_render.h"
#include "runtime/options_replay.h"
#include "runtime/options_tokenize.h"
#include "test/check.h"

static const struct weir_program *const programs[] = {
    &weir_frontend_program, &weir_local_router_program, &weir_global_router_program,
    &weir_mocker_program,   &weir_indexer_program,      &weir_bench_program,
    &weir_replay_program,   &weir_parse_program,        &weir_tokenize_program,
    &weir_render_program};

/* The first of them, which the file of the reference's flags covers. */
enum { N_REFERENCE = 5 };

/* Deliberate differences from the reference system; docs/OPTIONS.md gives them too. */
static const struct {
    const char *flag, *field, *reason;
} differences[] = {
    {"--discovery-backend", "default", "file instead of etcd: nothing else has to run"},
    {"--router-block-size", "default", "what the workers' cards say instead of 128"},
    {"--peers", "type", "repeatable besides"},
};

static bool differs_on_purpose(const char *flag, const char *field) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(differences); i++)
        if (strcmp(differences[i].flag, flag) == 0 && strcmp(differences[i].field, field) == 0)
            return true;
    return false;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void check_names(const struct weir_option *o) {
    char want[128];
    size_t n = (size_t)snprintf(want, sizeof(want), "--%s", o->name);
    for (size_t i = 2; i < n; i++)
        want[i] = want[i] == '_' ? '-' : want[i];
    CHECK_MSG(o->flag != NULL || o->env != NULL, "%s can be set by nothing", o->name);
    if (o->flag != NULL) {
        CHECK_MSG(strcmp(o->flag, want) == 0, "%s is no member for %s", o->name, o->flag);
        return;
    }
    /* DYN_HTTP_X → http_x; other prefixes stay. */
    const char *env = strncmp(o->env, "DYN_", 4) == 0 ? o->env + 4 : o->env;
    for (size_t i = 0; o->name[i] != '\0'; i++)
        CHECK_MSG(o->name[i] == (env[i] >= 'A' && env[i] <= 'Z' ? env[i] + 32 : env[i]),
                  "%s is no member for %s", o->name, o->env);
}

static void check_row(const struct weir_program *p, const struct weir_option *o) {
    struct weir_arena arena;
    struct weir_err err;
    union {
        bool b;
        int64_t i;
        double f;
        int c;
        const char *s;
        struct weir_config_list l;
    } member;
    weir_arena_init(&arena, 65536);
    check_names(o);
    CHECK_MSG(o->help != NULL && strlen(o->help) > 3, "%s has no help", o->name);
    CHECK_MSG(o->help[strlen(o->help) - 1] == '.', "help of %s is no sentence", o->name);
    CHECK_MSG(o->group != NULL && o->offset < p->struct_bytes, "%s", o->name);
    CHECK_MSG(o->type != WEIR_OPT_BOOL || o->def != NULL, "%s has no default", o->name);
    CHECK_MSG((o->choices != NULL) == (o->type == WEIR_OPT_CHOICE), "%s", o->name);
    CHECK_MSG(o->min <= o->max, "range of %s", o->name);
    if (o->def != NULL)
        CHECK_MSG(config_parse(o, weir_span_z(o->def), &arena, &member, &err) == WEIR_OK,
                  "default of %s: %s", o->name, err.text);
    CHECK(config_parse_default(o, &arena, &member) == WEIR_OK);
    CHECK_MSG(config_is_default(o, &member), "%s is not its default", o->name);
    weir_arena_fini(&arena);
}

static void case_rows(void) {
    for (size_t p = 0; p < WEIR_ARRAY_LEN(programs); p++)
        for (size_t i = 0; i < programs[p]->n_options; i++)
            check_row(programs[p], &programs[p]->options[i]);
}

static unsigned times_named(const struct weir_program *p, struct weir_span name) {
    unsigned n = 0;
    for (size_t i = 0; i < p->n_options; i++) {
        const struct weir_option *o = &p->options[i];
        const char *const lists[] = {o->flag, o->aliases, o->env};
        for (size_t k = 0; k < WEIR_ARRAY_LEN(lists); k++) {
            struct weir_span rest = weir_span_z(lists[k]), word;
            bool deprecated;
            while (config_next_name(&rest, &word, &deprecated))
                n += weir_span_eq(word, name);
        }
    }
    return n;
}

static void case_names_are_unique(void) {
    for (size_t p = 0; p < WEIR_ARRAY_LEN(programs); p++) {
        for (size_t i = 0; i < programs[p]->n_options; i++) {
            const struct weir_option *o = &programs[p]->options[i];
            const char *const lists[] = {o->flag, o->aliases, o->env};
            for (size_t k = 0; k < WEIR_ARRAY_LEN(lists); k++) {
                struct weir_span rest = weir_span_z(lists[k]), word;
                bool deprecated;
                while (config_next_name(&rest, &word, &deprecated))
                    CHECK_MSG(times_named(programs[p], word) == 1, "%s names %.*s twice",
                              programs[p]->name, WEIR_SPAN_ARG(word));
            }
        }
    }
}

static void check_choice(const char *option, int index, const char *word) {
    const struct weir_option *o = weir_config_find(&weir_frontend_program, option);
    CHECK(o != NULL && o->type == WEIR_OPT_CHOICE);
    struct weir_span got = config_choice(o->choices, (unsigned)index, NULL);
    CHECK_EQ_STR(got.data, got.len, word);
}

static void case_enums_follow_choices(void) {
    check_choice("--error-format", WEIR_OPT_ERROR_FORMAT_DYNAMO, "dynamo");
    check_choice("--error-format", WEIR_OPT_ERROR_FORMAT_OPENAI, "openai");
    check_choice("--error-format", WEIR_OPT_ERROR_FORMAT_BOTH, "both");
    check_choice("--discovery-backend", WEIR_OPT_DISCOVERY_KUBERNETES, "kubernetes");
    check_choice("--discovery-backend", WEIR_OPT_DISCOVERY_ETCD, "etcd");
    check_choice("--discovery-backend", WEIR_OPT_DISCOVERY_FILE, "file");
    check_choice("--discovery-backend", WEIR_OPT_DISCOVERY_MEM, "mem");
    check_choice("--discovery-backend", WEIR_OPT_DISCOVERY_STATIC, "static");
    check_choice("--tokenizer", WEIR_OPT_TOKENIZER_DEFAULT, "default");
    check_choice("--tokenizer", WEIR_OPT_TOKENIZER_FASTOKENS, "fastokens");
    check_choice("--tokenizer", WEIR_OPT_TOKENIZER_BASETENKENIZER, "basetenkenizer");
    check_choice("--tokenizer", WEIR_OPT_TOKENIZER_BYTES, "bytes");
    check_choice("--reasoning-field-name", WEIR_OPT_REASONING_FIELD_REASONING, "reasoning");
    check_choice("DYN_REQUEST_PLANE_CODEC", WEIR_OPT_CODEC_JSON, "json");
    check_choice("DYN_REQUEST_PLANE_CODEC", WEIR_OPT_CODEC_MSGPACK, "msgpack");
    check_choice("--router-mode", WEIR_OPT_ROUTER_MODE_ROUND_ROBIN, "round-robin");
    check_choice("--router-mode", WEIR_OPT_ROUTER_MODE_RANDOM, "random");
    check_choice("--router-mode", WEIR_OPT_ROUTER_MODE_POWER_OF_TWO, "power-of-two");
    check_choice("--router-mode", WEIR_OPT_ROUTER_MODE_KV, "kv");
    check_choice("--router-mode", WEIR_OPT_ROUTER_MODE_DIRECT, "direct");
    check_choice("--router-mode", WEIR_OPT_ROUTER_MODE_LEAST_LOADED, "least-loaded");
    check_choice("--router-mode", WEIR_OPT_ROUTER_MODE_DEVICE_AWARE_WEIGHTED,
                 "device-aware-weighted");
}

/* ---- the reference system's flags ----------------------------------------------------------- */

enum column { PROGRAM, FLAG, ALIASES, ENV, TYPE, DEFAULT, DEPRECATED, N_COLUMNS };
struct tsv_row {
    struct weir_span cell[N_COLUMNS];
};

static const struct weir_option *find_flag(const struct weir_program *p, struct weir_span flag) {
    for (size_t i = 0; i < p->n_options; i++)
        if (p->options[i].flag != NULL && weir_span_eqz(flag, p->options[i].flag))
            return &p->options[i];
    return NULL;
}

static bool has_word(const char *list, struct weir_span word) {
    struct weir_span rest = weir_span_z(list), name;
    bool deprecated;
    while (config_next_name(&rest, &name, &deprecated))
        if (weir_span_eq(name, word))
            return true;
    return false;
}

static bool contains(struct weir_span text, const char *part) {
    return text.len > 0 && memmem(text.data, text.len, part, strlen(part)) != NULL;
}

/* "DYN_X", "DYN_X (or DYN_Y)", "DYN_AIS_X (DYN_AIC_… still read)". */
static void check_env(const struct weir_option *o, struct weir_span cell) {
    struct weir_span rest = cell, word = weir_span_split(rest, ' ', &rest);
    if (word.len == 0) {
        bool ours = o->env == NULL || strncmp(o->env, "WEIR_", 5) == 0;
        CHECK_MSG(ours, "%s has a variable there is none of", o->flag);
        return;
    }
    CHECK_MSG(has_word(o->env, word), "%s lacks variable %.*s", o->flag, WEIR_SPAN_ARG(word));
    struct weir_span env = weir_span_z(o->env), first;
    bool deprecated = true;
    CHECK(config_next_name(&env, &first, &deprecated) && !deprecated);
    if (contains(cell, "(or "))
        CHECK_MSG(has_word(o->env, weir_span(cell.data + word.len + 5, cell.len - word.len - 6)),
                  "%s lacks its older variable", o->flag);
    if (contains(cell, "DYN_AIC_"))
        CHECK_MSG(strstr(o->env, " !DYN_AIC_") != NULL, "%s lacks its older variable", o->flag);
}

static void check_aliases(const struct weir_option *o, struct weir_span cell,
                          struct weir_span deprecated) {
    while (cell.data != NULL && cell.len > 0) {
        struct weir_span alias = weir_span_split(cell, ' ', &cell);
        bool negative = o->type == WEIR_OPT_BOOL && weir_span_starts(alias, WEIR_SPAN_LIT("--no-"));
        char positive[128];
        int n = snprintf(positive, sizeof(positive), "--%.*s", negative ? (int)alias.len - 5 : 0,
                         negative ? alias.data + 5 : "");
        struct weir_span name = negative ? weir_span(positive, (size_t)n) : alias;
        bool own = negative && weir_span_eqz(name, o->flag);
        CHECK_MSG(own || has_word(o->aliases, name), "%s lacks alias %.*s", o->flag,
                  WEIR_SPAN_ARG(alias));
    }
    const struct weir_span prefix = WEIR_SPAN_LIT("aliases deprecated: ");
    if (weir_span_starts(deprecated, prefix)) {
        char marked[128];
        snprintf(marked, sizeof(marked), "!%.*s", (int)(deprecated.len - prefix.len),
                 deprecated.data + prefix.len);
        CHECK_MSG(strstr(o->aliases, marked) != NULL, "%s: %s is not deprecated", o->flag, marked);
    }
}

static void check_choices(const struct weir_option *o, struct weir_span words) {
    CHECK_MSG(o->type == WEIR_OPT_CHOICE, "%s takes choices", o->flag);
    while (words.data != NULL) {
        struct weir_span word = weir_span_split(words, '|', &words), ours;
        bool found = false;
        for (unsigned i = 0; (ours = config_choice(o->choices, i, NULL)).data != NULL; i++)
            found |= weir_span_eq(ours, word);
        CHECK_MSG(found, "%s lacks choice %.*s", o->flag, WEIR_SPAN_ARG(word));
    }
}

static void check_type(const struct weir_option *o, struct weir_span type) {
    struct weir_span rest, word = weir_span_split(type, ' ', &rest);
    if (contains(type, "hidden"))
        CHECK_MSG((o->flags & WEIR_OPT_HIDDEN) != 0, "%s is hidden", o->flag);
    if (contains(type, "|"))
        check_choices(o, word);
    else if (weir_span_eqz(word, "bool") || weir_span_eqz(word, "switch"))
        CHECK_MSG(o->type == WEIR_OPT_BOOL, "%s is a boolean", o->flag);
    else if (weir_span_eqz(word, "int"))
        CHECK_MSG(o->type == WEIR_OPT_INT, "%s is an integer", o->flag);
    else if (weir_span_eqz(word, "float"))
        CHECK_MSG(o->type == WEIR_OPT_FLOAT, "%s is a float", o->flag);
    else if (contains(type, "repeatable"))
        CHECK_MSG(o->type == WEIR_OPT_LIST, "%s is a list", o->flag);
    else if (!differs_on_purpose(o->flag, "type"))
        CHECK_MSG(o->type == WEIR_OPT_STR || o->type == WEIR_OPT_CHOICE, "%s is text", o->flag);
}

static void check_default(const struct weir_option *o, struct weir_span def) {
    bool none = def.len == 0 || weir_span_eqz(def, "none") || weir_span_eqz(def, "[]");
    if (differs_on_purpose(o->flag, "default"))
        return;
    if (o->type == WEIR_OPT_BOOL) {
        CHECK_MSG(weir_span_ieq(def, weir_span_z(o->def)), "default of %s", o->flag);
        return;
    }
    bool word_none = o->def != NULL && strcmp(o->def, "none") == 0;
    CHECK_MSG(none ? o->def == NULL || word_none : weir_span_eqz(def, o->def),
              "default of %s is %s", o->flag, o->def != NULL ? o->def : "none");
}

static void check_tsv_row(const struct weir_program *p, const struct tsv_row *row) {
    struct weir_span flag = row->cell[FLAG];
    /* The loader's own two. */
    if (weir_span_eqz(flag, "--help") || weir_span_eqz(flag, "--version"))
        return;
    const struct weir_option *o = find_flag(p, flag);
    /* The mocker's switches come as two rows; ours are one. */
    if (o == NULL && weir_span_starts(flag, WEIR_SPAN_LIT("--no-"))) {
        char positive[128];
        int n = snprintf(positive, sizeof(positive), "--%.*s", (int)flag.len - 5, flag.data + 5);
        o = find_flag(p, weir_span(positive, (size_t)n));
        CHECK_MSG(o != NULL && o->type == WEIR_OPT_BOOL, "no %.*s", WEIR_SPAN_ARG(flag));
        return;
    }
    CHECK_MSG(o != NULL, "%s does not know %.*s", p->name, WEIR_SPAN_ARG(flag));
    check_env(o, row->cell[ENV]);
    check_aliases(o, row->cell[ALIASES], row->cell[DEPRECATED]);
    check_type(o, row->cell[TYPE]);
    check_default(o, row->cell[DEFAULT]);
    if (weir_span_starts(row->cell[DEPRECATED], WEIR_SPAN_LIT("yes")))
        CHECK_MSG((o->flags & (WEIR_OPT_DEPRECATED | WEIR_OPT_REMOVED)) != 0, "%s is deprecated",
                  o->flag);
}

/* Number of rows seen of our programs; -1 when there is no such file. */
static int check_tsv(const char *path) {
    char line[4096];
    int n = 0;
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return -1;
    while (fgets(line, sizeof(line), f) != NULL) {
        struct tsv_row row;
        struct weir_span rest = weir_span(line, strcspn(line, "\n"));
        for (size_t i = 0; i < N_COLUMNS; i++)
            row.cell[i] = weir_span_split(rest, '\t', &rest);
        for (size_t p = 0; p < N_REFERENCE; p++) {
            char name[64];
            int len = snprintf(name, sizeof(name), "dynamo.%s", programs[p]->name);
            for (int i = 0; i < len; i++)
                name[i] = name[i] == '-' ? '_' : name[i];
            if (weir_span_eqz(row.cell[PROGRAM], name)) {
                check_tsv_row(programs[p], &row);
                n++;
            }
        }
    }
    fclose(f);
    return n;
}

static void case_reference_flags(void) {
    CHECK_EQ_U64(check_tsv("test/unit/config/flags-1.6.1.tsv"), 276);
}

static void case_reference_flags_shared(void) {
    char path[2048];
    const char *shared = getenv("WEIR_SHARED");
    snprintf(path, sizeof(path), "%s/data/dynamo/flags-1.6.1.tsv",
             shared != NULL ? shared : "../shared");
    int n = check_tsv(path);
    if (n < 0)
        fprintf(stderr, "skipped: %s is not here (WEIR_SHARED names the shared folder)\n", path);
    else
        CHECK_EQ_U64(n, 276);
}

/* ---- documents ------------------------------------------------------------------------------ */

static void case_options_md_is_current(void) {
    struct weir_buf want;
    static char have[1 << 20];
    weir_buf_init(&want, sizeof(have));
    CHECK(weir_buf_append_z(&want, WEIR_CONFIG_MARKDOWN_HEAD) == WEIR_OK);
    for (size_t p = 0; p < WEIR_ARRAY_LEN(programs); p++)
        CHECK(weir_config_markdown(programs[p], &want) == WEIR_OK);
    FILE *f = fopen("docs/OPTIONS.md", "r");
    CHECK_MSG(f != NULL, "docs/OPTIONS.md is missing: weir manual --markdown > docs/OPTIONS.md");
    size_t n = fread(have, 1, sizeof(have), f);
    fclose(f);
    CHECK_MSG(weir_span_eq(weir_span(have, n), weir_buf_span(&want)),
              "docs/OPTIONS.md is old: weir manual --markdown > docs/OPTIONS.md");
    weir_buf_fini(&want);
}

static void check_lines(const struct weir_program *p, unsigned columns) {
    struct weir_buf text;
    weir_buf_init(&text, 1 << 20);
    CHECK(weir_config_help(p, columns, &text) == WEIR_OK);
    struct weir_span rest = weir_buf_span(&text);
    while (rest.data != NULL) {
        struct weir_span line = weir_span_split(rest, '\n', &rest);
        size_t width = 0;
        for (size_t i = 0; i < line.len; i++)
            width += ((unsigned char)line.data[i] & 0xc0) != 0x80;
        /* One long word (a variable's name) may stand over. */
        bool one_word = memchr(weir_span_trim(line).data, ' ', weir_span_trim(line).len) == NULL;
        CHECK_MSG(width <= columns || one_word, "%zu columns: %.*s", width, WEIR_SPAN_ARG(line));
    }
    weir_buf_fini(&text);
}

static void case_help_fits(void) {
    for (size_t p = 0; p < WEIR_ARRAY_LEN(programs); p++) {
        check_lines(programs[p], 80);
        check_lines(programs[p], 50);
    }
}

static void case_manual(void) {
    for (size_t p = 0; p < WEIR_ARRAY_LEN(programs); p++) {
        struct weir_buf text;
        weir_buf_init(&text, 1 << 20);
        CHECK(weir_config_manual(programs[p], &text) == WEIR_OK);
        CHECK(weir_span_starts(weir_buf_span(&text), WEIR_SPAN_LIT(".TH WEIR\\-")));
        for (size_t i = 0; i < programs[p]->n_options; i++) {
            struct weir_span env = weir_span_z(programs[p]->options[i].env), name;
            bool deprecated;
            while (config_next_name(&env, &name, &deprecated)) {
                char z[128];
                snprintf(z, sizeof(z), "%.*s", WEIR_SPAN_ARG(name));
                CHECK_MSG(contains(weir_buf_span(&text), z), "%s is not in the manual", z);
            }
        }
        weir_buf_fini(&text);
    }
    /* A buffer that is too small: a status, nothing else. */
    struct weir_buf small;
    weir_buf_init(&small, 4096);
    CHECK(weir_config_manual(&weir_frontend_program, &small) == WEIR_TOO_LARGE);
    weir_buf_fini(&small);
}

/* ---- nearest names -------------------------------------------------------------------------- */

static void case_distance(void) {
    static const struct {
        const char *a, *b;
        unsigned d;
    } rows[] = {{"", "", 0},         {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1},
                {"abc", "xabc", 1},  {"abc", "axc", 1}, {"ca", "abc", 3},  {"kitten", "sitting", 3},
                {"abcd", "badc", 2}, {"", "abc", 3}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_span a = weir_span_z(rows[i].a), b = weir_span_z(rows[i].b);
        CHECK_EQ_U64(weir_config_distance(a, b, 99), rows[i].d);
        CHECK_EQ_U64(weir_config_distance(b, a, 99), rows[i].d);
    }
}

static void case_nearest(void) {
    static const struct {
        const char *wrong, *nearest;
    } rows[] = {
        {"--http-prot", "--http-port"},
        {"--router-temp", "--router-temperature"},
        {"--router_mode", "--router-mode"},
        {"--no-router-kv-event", "--no-router-kv-events"},
        {"--htp-host", "--http-host"},
        {"--tls-cert", "--tls-cert-path"},
        {"--versoin", "--version"},
        {"--discovery-backed", "--discovery-backend"},
        {"--qqqqqqqqqqqqqqqqqqqqqqqqqq", NULL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        char got[128];
        bool found = config_nearest(&weir_frontend_program, CONFIG_NAME_FLAG,
                                    weir_span_z(rows[i].wrong), got, sizeof(got));
        CHECK_MSG(found == (rows[i].nearest != NULL), "%s", rows[i].wrong);
        if (found)
            CHECK_EQ_STR(got, strlen(got), rows[i].nearest);
    }
}

int main(void) {
    CHECK_RUN(case_rows);
    CHECK_RUN(case_names_are_unique);
    CHECK_RUN(case_enums_follow_choices);
    CHECK_RUN(case_reference_flags);
    CHECK_RUN(case_reference_flags_shared);
    CHECK_RUN(case_options_md_is_current);
    CHECK_RUN(case_help_fits);
    CHECK_RUN(case_manual);
    CHECK_RUN(case_distance);
    CHECK_RUN(case_nearest);
    return check_finish();
}
