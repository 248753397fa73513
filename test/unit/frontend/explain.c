/* The ring of decisions and the log: bounds, order, what is dropped, several writers at once. */
#include "frontend/explain.h"

#include "test/check.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

static char path[64];

static struct weir_explain *start(size_t ring, bool log) {
    struct weir_explain_config c = {.ring = ring, .log_path = log ? path : NULL};
    struct weir_explain *e = NULL;
    struct weir_err err;
    CHECK(weir_explain_open(&c, &e, &err) == WEIR_OK);
    return e;
}

static void put(struct weir_explain *e, const char *id, const char *line) {
    weir_explain_put(e, weir_span_z(id), weir_span_z(line));
}

/* The decisions of `id`, or "none". */
static const char *find(struct weir_explain *e, const char *id) {
    static char text[256];
    struct weir_buf b;
    bool found = false;
    weir_buf_init(&b, 1 << 20);
    CHECK(weir_explain_find(e, weir_span_z(id), &b, &found) == WEIR_OK);
    snprintf(text, sizeof(text), "%.*s", (int)b.len, b.data);
    weir_buf_fini(&b);
    return found ? text : "none";
}

static void case_off(void) {
    CHECK(start(0, false) == NULL);
    CHECK(!weir_explain_has_ring(NULL));
    weir_explain_close(NULL);
}

static void case_ring(void) {
    struct weir_explain *e = start(3, false);
    CHECK(weir_explain_has_ring(e));
    CHECK_EQ_STR(find(e, "a"), strlen(find(e, "a")), "none");
    put(e, "a", "{\"n\":1}");
    put(e, "b", "{\"n\":2}");
    put(e, "a", "{\"n\":3}");
    CHECK_EQ_STR(find(e, "a"), strlen(find(e, "a")), "[{\"n\":1},{\"n\":3}]");
    put(e, "c", "{\"n\":4}"); /* the oldest leaves */
    CHECK_EQ_STR(find(e, "a"), strlen(find(e, "a")), "[{\"n\":3}]");
    CHECK_EQ_STR(find(e, "c"), strlen(find(e, "c")), "[{\"n\":4}]");
    put(e, "an id that is longer than any that this program makes", "{}");
    CHECK_EQ_STR(find(e, "b"), strlen(find(e, "b")), "[{\"n\":2}]");
    weir_explain_close(e);
}

static void case_ring_is_bounded_in_bytes(void) {
    enum { BIG = 16 << 20 };
    struct weir_explain *e = start(100, false);
    char *line = malloc(BIG);
    CHECK(line != NULL);
    memset(line, 'x', BIG);
    for (int i = 0; i < 6; i++) {
        char id[2] = {(char)('a' + i), '\0'};
        weir_explain_put(e, weir_span_z(id), weir_span(line, BIG));
    }
    struct weir_buf b;
    bool found = true;
    weir_buf_init(&b, (size_t)1 << 30);
    CHECK(weir_explain_find(e, weir_span_z("b"), &b, &found) == WEIR_OK && !found);
    CHECK(weir_explain_find(e, weir_span_z("c"), &b, &found) == WEIR_OK && found);
    weir_buf_fini(&b);
    free(line);
    weir_explain_close(e);
}

static void *write_many(void *arg) {
    struct weir_explain *e = arg;
    for (int i = 0; i < 2000; i++) {
        char line[64];
        snprintf(line, sizeof(line), "{\"i\":%d}", i);
        put(e, "x", line);
    }
    return NULL;
}

static void case_log_has_every_line_whole(void) {
    struct weir_explain *e = start(0, true);
    pthread_t threads[4];
    unsigned seen[2000] = {0}, lines = 0;
    char text[64];
    CHECK(!weir_explain_has_ring(e));
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, write_many, e) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ_U64(weir_explain_dropped(e), 0);
    weir_explain_close(e);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    while (fgets(text, sizeof(text), f) != NULL) {
        int i = -1;
        char end = 0;
        CHECK(sscanf(text, "{\"i\":%d%c", &i, &end) == 2 && end == '}' && i >= 0 && i < 2000);
        seen[i]++;
        lines++;
    }
    fclose(f);
    unlink(path);
    CHECK_EQ_U64(lines, 8000);
    for (int i = 0; i < 2000; i++)
        CHECK_EQ_U64(seen[i], 4);
}

static void case_what_cannot_be_written_is_counted(void) {
    struct weir_explain_config c = {.log_path = "/dev/full"};
    struct weir_explain *e = NULL;
    struct weir_err err;
    if (access("/dev/full", W_OK) != 0) {
        printf("skipped: no /dev/full here\n");
        return;
    }
    CHECK(weir_explain_open(&c, &e, &err) == WEIR_OK);
    put(e, "x", "{}");
    while (weir_explain_dropped(e) == 0)
        sched_yield();
    CHECK_EQ_U64(weir_explain_dropped(e), 1);
    weir_explain_close(e);
    c.log_path = "/no/such/folder/log";
    CHECK(weir_explain_open(&c, &e, &err) == WEIR_IO);
    CHECK(strstr(err.text, "--decision-log /no/such/folder/log: No such file") != NULL);
}

int main(void) {
    snprintf(path, sizeof(path), "/tmp/weir-explain-%ld", (long)getpid());
    CHECK_RUN(case_off);
    CHECK_RUN(case_ring);
    CHECK_RUN(case_ring_is_bounded_in_bytes);
    CHECK_RUN(case_log_has_every_line_whole);
    CHECK_RUN(case_what_cannot_be_written_is_counted);
    return check_finish();
}
