#include "base/log.h"

#include "base/json.h"
#include "test/check.h"

#include <unistd.h>

/* Runs the log with stderr on a pipe and returns what was written. */
static size_t capture(void (*emit)(void), char *out, size_t room) {
    int fds[2], saved = dup(STDERR_FILENO);
    CHECK(pipe(fds) == 0);
    dup2(fds[1], STDERR_FILENO);
    emit();
    dup2(saved, STDERR_FILENO);
    close(fds[1]);
    close(saved);
    size_t n = 0;
    ssize_t got;
    while (n < room - 1 && (got = read(fds[0], out + n, room - 1 - n)) > 0)
        n += (size_t)got;
    close(fds[0]);
    out[n] = '\0';
    return n;
}

static void emit_line(void) {
    struct weir_log_field fields[] = {WEIR_LOG_STR("who", WEIR_SPAN_LIT("a\nb")),
                                      WEIR_LOG_NUM("n", 3)};
    WEIR_LOG_FIELDS(WEIR_LOG_INFO, "http", fields, "hello %d", 7);
}

static void case_text_line(void) {
    struct weir_log_config c = {.utc = true};
    CHECK(weir_log_setup(&c, "info", NULL) == WEIR_OK);
    char out[4096];
    capture(emit_line, out, sizeof(out));
    CHECK_MSG(strlen(out) > 28 && strcmp(out + 27, "  INFO http: hello 7 who=a b n=3\n") == 0, "%s",
              out);
}

static void case_json_line(void) {
    struct weir_log_config c = {.utc = true, .format = WEIR_LOG_JSONL};
    CHECK(weir_log_setup(&c, NULL, NULL) == WEIR_OK);
    char out[4096];
    size_t n = capture(emit_line, out, sizeof(out));
    struct weir_json j;
    weir_json_init(&j, weir_span(out, n), 8);
    CHECK(weir_json_skip(&j, NULL) && weir_json_finish(&j));
    CHECK(strstr(out, "\"message\":\"hello 7\",\"who\":\"a\\nb\",\"n\":3.0}") != NULL);
}

/* Nobody reads: the pipe has room for some of it, and nothing waits for more. */
static void emit_much(void) {
    for (int i = 0; i < 3000; i++)
        WEIR_LOG(WEIR_LOG_ERROR, "http", "%0100d", i);
}

static void case_nobody_reads(void) {
    static char out[1 << 20];
    struct weir_log_config c = {.utc = true};
    CHECK(weir_log_setup(&c, "info", NULL) == WEIR_OK);
    size_t n = capture(emit_much, out, sizeof(out));
    CHECK(n > 4096 && n < 3000 * 100 && out[n - 1] == '\n');
}

static void case_filter(void) {
    struct weir_log_config c = {.utc = true};
    CHECK(weir_log_setup(&c, "warn,http=debug", NULL) == WEIR_OK);
    CHECK(weir_log_on(WEIR_LOG_DEBUG, "http") && !weir_log_on(WEIR_LOG_TRACE, "http"));
    CHECK(weir_log_on(WEIR_LOG_WARN, "router") && !weir_log_on(WEIR_LOG_INFO, "router"));
    struct weir_err err = {0};
    CHECK(weir_log_setup(&c, "loud", &err) == WEIR_INVALID && err.text[0] != '\0');
    CHECK(weir_log_setup(&c, "info", NULL) == WEIR_OK);
}

static void case_limit(void) {
    struct weir_log_limit limit = {0};
    uint32_t dropped = 0, ok = 0;
    for (int i = 0; i < 100; i++)
        ok += weir_log_limit_ok(&limit, 3, &dropped);
    CHECK(ok >= 3 && ok <= 6); /* the run may span the turn of a second */
}

int main(void) {
    CHECK_RUN(case_text_line);
    CHECK_RUN(case_json_line);
    CHECK_RUN(case_nobody_reads);
    CHECK_RUN(case_filter);
    CHECK_RUN(case_limit);
    return check_finish();
}
