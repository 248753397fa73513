/* The executable: a command table only. */
#include "bench/bench.h"
#include "bench/replay.h"
#include "frontend/frontend.h"
#include "global_router/global_router.h"
#include "indexer/indexer.h"
#include "router/local_router.h"
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
#include "tools/tools.h"
#include "worker/mocker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct command {
    const struct weir_program *program;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    bool serves;                       /* many connections at once, until it is told to end */
} commands[] = {
    {&weir_frontend_program, weir_frontend_main, true},
    {&weir_local_router_program, weir_local_router_main, true},
    {&weir_global_router_program, weir_global_router_main, true},
    {&weir_mocker_program, weir_mocker_main, true},
    {&weir_indexer_program, weir_indexer_main, true},
    {&weir_bench_program, weir_bench_main, false},
    {&weir_replay_program, weir_replay_main, false},
    {&weir_parse_program, weir_parse_main, false},
    {&weir_tokenize_program, weir_tokenize_main, false},
    {&weir_render_program, weir_render_main, false},
};

static const struct command *find(const char *name) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].program->name, name) == 0)
            return &commands[i];
    unsigned best = 3; /* edits; more are no slip of the finger */
    const char *nearest = NULL;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(commands); i++) {
        const char *known = commands[i].program->name;
        unsigned d = weir_config_distance(weir_span_z(name), weir_span_z(known), best);
        if (d < best) {
            best = d;
            nearest = known;
        }
    }
    if (nearest != NULL)
        fprintf(stderr, "weir: unknown command %s; did you mean %s?\n", name, nearest);
    else
        fprintf(stderr, "weir: unknown command %s; see 'weir --help'\n", name);
    return NULL;
}

static void usage(FILE *out) {
    fputs("Usage: weir COMMAND [options]\n\n"
          "KV-cache-aware inference router and OpenAI frontend.\n\nCommands:\n",
          out);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(commands); i++)
        fprintf(out, "  %-13s %s\n", commands[i].program->name, commands[i].program->title);
    fputs("  help C        options of command C\n"
          "  manual C      manual page of command C in roff (| man -l -); without C that of weir;\n"
          "                --markdown: all options as Markdown\n\n"
          "  --version     print the version\n"
          "  --help        print this text\n",
          out);
}

static enum weir_status manual_of_weir(struct weir_buf *out) {
    enum weir_status st = weir_buf_append_z(
        out, ".TH WEIR 1 \"\" \"weir " WEIR_VERSION "\"\n.SH NAME\nweir \\- KV\\-cache\\-aware "
             "inference router and OpenAI frontend\n.SH SYNOPSIS\n.B weir\n\\fICOMMAND\\fR "
             "[\\fIoptions\\fR]\n.SH COMMANDS\n");
    for (size_t i = 0; i < WEIR_ARRAY_LEN(commands) && st == WEIR_OK; i++) {
        const struct weir_program *p = commands[i].program;
        st = weir_buf_printf(out, ".TP\n.BR weir\\-%s (1)\n%s\n", p->name, p->title);
    }
    return st;
}

static enum weir_status all_markdown(struct weir_buf *out) {
    enum weir_status st = weir_buf_append_z(out, WEIR_CONFIG_MARKDOWN_HEAD);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(commands) && st == WEIR_OK; i++)
        st = weir_config_markdown(commands[i].program, out);
    return st;
}

static int unwritable(void) {
    fprintf(stderr, "weir: cannot write to standard output: %s\n", strerror(errno));
    return 1;
}

static int print(enum weir_status st, struct weir_buf *text) {
    bool wrote = st != WEIR_OK ||
                 (fwrite(text->data, 1, text->len, stdout) == text->len && fflush(stdout) == 0);
    int why = errno;
    weir_buf_fini(text);
    errno = why;
    if (!wrote)
        return unwritable();
    if (st != WEIR_OK)
        fprintf(stderr, "weir: %s\n", weir_status_text(st));
    return st == WEIR_OK ? 0 : 1;
}

static int manual(const char *name) {
    struct weir_buf text;
    weir_buf_init(&text, (size_t)4 << 20);
    if (name == NULL)
        return print(manual_of_weir(&text), &text);
    if (strcmp(name, "--markdown") == 0)
        return print(all_markdown(&text), &text);
    const struct command *c = find(name);
    return c != NULL ? print(weir_config_manual(c->program, &text), &text) : 1;
}

static int help(const char *name) {
    if (name == NULL) {
        usage(stdout);
        return fflush(stdout) == 0 ? 0 : unwritable();
    }
    struct weir_buf text;
    weir_buf_init(&text, (size_t)1 << 20);
    const struct command *c = find(name);
    return c != NULL ? print(weir_config_help(c->program, 80, &text), &text) : 1;
}

/* Descriptors 0 to 2 that the caller closed would become sockets, into which errors are printed. */
static void open_standard_streams(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* A connection is a descriptor: the soft limit, 1,024 as a rule, is for programs with select(). */
static bool raise_open_files(const struct command *c) {
    enum { SERVES_WITH = 64, SERVES_WELL_WITH = 1024 }; /* listeners, loops, planes, connections */
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return true;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (before != limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) != 0)
        limit.rlim_cur = before;
    if (!c->serves || limit.rlim_cur >= SERVES_WELL_WITH)
        return true;
    if (limit.rlim_cur >= SERVES_WITH) {
        fprintf(stderr,
                "weir %s: warning: only %llu files may be open at once, one for each connection; "
                "raise the limit (ulimit -n, LimitNOFILE=)\n",
                c->program->name, (unsigned long long)limit.rlim_cur);
        return true;
    }
    fprintf(stderr,
            "weir %s: error: only %llu files may be open at once, it needs %d and one for each "
            "connection; raise the limit (ulimit -n, LimitNOFILE=)\n",
            c->program->name, (unsigned long long)limit.rlim_cur, SERVES_WITH);
    return false;
}

int main(int argc, char **argv) {
    open_standard_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a write that fails, like a full disk */
    const char *name = argc > 1 ? argv[1] : NULL;
    const char *operand = argc > 2 ? argv[2] : NULL;
    if (name == NULL) {
        usage(stderr);
        return 1;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        return puts("weir " WEIR_VERSION) >= 0 && fflush(stdout) == 0 ? 0 : unwritable();
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(operand);
    if (strcmp(name, "manual") == 0)
        return manual(operand);
    const struct command *c = find(name);
    if (c == NULL || !raise_open_files(c))
        return 1;
    return c->run(argc - 1, argv + 1);
}
