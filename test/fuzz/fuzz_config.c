/*
 * Command lines and environments. Input: the first byte chooses the program; then lines, those that
 * begin with '=' (taken off) are variables, the others arguments. Beyond crashes: what a load
 * accepts is inside its range, and the dump of it is JSON.
 */
#include "base/json.h"
#include "runtime/options_bench.h"
#include "runtime/options_frontend.h"
#include "runtime/options_mocker.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_LINES = 12 };

struct input {
    char *argv[MAX_LINES + 2], *env[MAX_LINES + 1];
    int argc, envc;
};

static char *copy(struct weir_span s) {
    char *z = malloc(s.len + 1);
    if (z == NULL)
        abort();
    memcpy(z, s.data, s.len);
    z[s.len] = '\0';
    return z;
}

static void split(struct input *in, struct weir_span text) {
    in->argv[in->argc++] = copy(WEIR_SPAN_LIT("program"));
    for (int i = 0; i < MAX_LINES && text.data != NULL; i++) {
        struct weir_span line = weir_span_split(text, '\n', &text);
        if (line.len > 0 && line.data[0] == '=')
            in->env[in->envc++] = copy(weir_span(line.data + 1, line.len - 1));
        else
            in->argv[in->argc++] = copy(line);
    }
}

static void check_ranges(const struct weir_program *p, const char *config) {
    for (size_t i = 0; i < p->n_options; i++) {
        const struct weir_option *o = &p->options[i];
        double v = NAN;
        if (o->type == WEIR_OPT_INT) {
            int64_t n = *(const int64_t *)(const void *)(config + o->offset);
            v = n == WEIR_CONFIG_NONE && o->def == NULL ? NAN : (double)n;
        } else if (o->type == WEIR_OPT_FLOAT) {
            v = *(const double *)(const void *)(config + o->offset);
        }
        if (!isnan(v) && (v < o->min || v > o->max))
            abort();
    }
}

static void check_dump(const struct weir_program *p, const void *config) {
    struct weir_buf text;
    struct weir_json j;
    weir_buf_init(&text, (size_t)16 << 20);
    if (weir_config_dump(p, config, &text) != WEIR_OK)
        abort();
    weir_json_init(&j, weir_buf_span(&text), 32);
    if (!weir_json_skip(&j, NULL) || !weir_json_finish(&j))
        abort();
    weir_buf_fini(&text);
}

static void run(const struct weir_program *p, struct input *in) {
    static _Alignas(16) char config[8192];
    struct weir_arena arena;
    weir_arena_init(&arena, WEIR_CONFIG_ARENA_BYTES);
    if (p->struct_bytes > sizeof(config))
        abort();
    if (weir_config_load(p, in->argc, in->argv, in->env, &arena, config) == WEIR_CONFIG_RUN) {
        check_ranges(p, config);
        check_dump(p, config);
    }
    weir_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct weir_program *const programs[] = {
        &weir_frontend_program, &weir_mocker_program, &weir_bench_program};
    static FILE *nowhere;
    struct input in = {.argc = 0};
    if (size == 0)
        return 0;
    if (nowhere == NULL) {
        nowhere = fopen("/dev/null", "w");
        setenv("PATH", "", 1); /* the dump finds no nvidia-smi */
    }
    split(&in, weir_span((const char *)data + 1, size - 1));
    /* Messages go nowhere; glibc's streams are variables. */
    FILE *out = stdout, *err = stderr;
    stdout = stderr = nowhere;
    run(programs[data[0] % WEIR_ARRAY_LEN(programs)], &in);
    stdout = out;
    stderr = err;
    for (int i = 0; i < in.argc; i++)
        free(in.argv[i]);
    for (int i = 0; i < in.envc; i++)
        free(in.env[i]);
    return 0;
}
