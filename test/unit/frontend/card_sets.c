/* Which cards are served together: tables of events, and who is served after each. */
#include "frontend/card_sets.h"

#include "test/check.h"

#include <stdio.h>
#include <string.h>

static struct weir_card_sets sets;
static struct weir_arena arena;
static char serving[256];
static char refuses; /* the worker of this letter cannot be served */
static char waits;   /* nor this one, for now */

/* Key "n/c/e/K", model m, with a context length that makes the sum. */
static struct weir_record record(char k, unsigned length, const char *part, const char *model) {
    char text[1024];
    struct weir_record r;
    struct weir_err err;
    int n =
        snprintf(text, sizeof(text),
                 "{\"type\":\"Model\",\"namespace\":\"n\",\"component\":\"c\",\"endpoint\":\"e\","
                 "\"instance_id\":%d,\"card_json\":{\"display_name\":\"%s\",\"slug\":\"m\","
                 "\"kv_cache_block_size\":16,\"migration_limit\":0,\"model_type\":\"Chat\","
                 "\"model_input\":\"Tokens\",\"tokenizer\":{\"weir_builtin\":\"bytes\"},"
                 "\"worker_type\":\"%s\",\"context_length\":%u}}",
                 k, model, part, length);
    struct weir_span kept = weir_arena_copy(&arena, weir_span(text, (size_t)n));
    CHECK_MSG(weir_record_decode(kept, &arena, &r, &err) == WEIR_OK, "%s", err.text);
    return r;
}

static void serve(char k) {
    size_t n = strlen(serving);
    serving[n] = k;
    serving[n + 1] = '\0';
}

static void on_free(void *arg, struct weir_span key, const struct weir_record *r) {
    (void)arg;
    CHECK(key.len == 7 && r->instance_id == (uint64_t)key.data[6]);
    if (key.data[6] == refuses)
        weir_card_sets_forget(&sets, key);
    else if (key.data[6] == waits)
        weir_card_sets_wait(&sets, key, r);
    else
        serve(key.data[6]);
}

static void put_as(char k, unsigned length, const char *part, const char *model) {
    char key[8];
    snprintf(key, sizeof(key), "n/c/e/%c", k);
    struct weir_record r = record(k, length, part, model);
    if (weir_card_sets_put(&sets, weir_span_z(key), &r) && strchr(serving, k) == NULL)
        on_free(NULL, weir_span_z(key), &r);
}
static void put(char k, unsigned length) {
    put_as(k, length, "aggregated", "m");
}

static void gone(char k) {
    char key[8], *at = strchr(serving, k);
    snprintf(key, sizeof(key), "n/c/e/%c", k);
    if (at != NULL)
        memmove(at, at + 1, strlen(at));
    weir_card_sets_gone(&sets, weir_span_z(key), on_free, NULL);
}

static void fresh(void) {
    weir_card_sets_fini(&sets);
    weir_card_sets_init(&sets);
    serving[0] = refuses = waits = '\0';
}

#define SERVES(who) CHECK_MSG(strcmp(serving, who) == 0, "%s", serving)

static void case_the_first_settles_it(void) {
    fresh();
    put('a', 1), put('b', 1), put('x', 2), put('y', 3), put('z', 2), put('c', 1);
    SERVES("abc");
    gone('a'), gone('c');
    SERVES("b");
    gone('b'); /* then the next that came, and those like it */
    SERVES("xz");
    put('d', 1);
    gone('x');
    SERVES("z");
    gone('z');
    SERVES("y");
    gone('y');
    SERVES("d");
    gone('d'), gone('d'), gone('q');
    SERVES("");
    CHECK(weir_list_empty(&sets.cards));
}

static void case_one_that_is_left_out_changes_or_goes(void) {
    fresh();
    put('a', 1), put('x', 2), put('y', 3);
    put('x', 1); /* as it should be, now */
    SERVES("ax");
    gone('y'), gone('a'), gone('x');
    SERVES("");
    put('a', 1), put('x', 2), put('x', 3), put('y', 2);
    put('a', 9); /* served: what it says now is not read */
    SERVES("a");
    gone('a');
    SERVES("x");
    gone('x');
    SERVES("y");
}

static void case_sets_are_apart(void) {
    fresh();
    put('a', 1);
    put_as('b', 2, "decode", "m");
    put_as('c', 3, "prefill", "m");
    put_as('d', 4, "aggregated", "other");
    put_as('e', 5, "decode", "m");
    SERVES("abcd");
    gone('a');
    SERVES("bcd");
    gone('b');
    SERVES("cde");
}

static void case_one_that_cannot_be_served_holds_up_nobody(void) {
    fresh();
    refuses = 'x';
    put('x', 1), put('y', 2);
    SERVES("y");
    put('x', 1), put('z', 3);
    gone('y'); /* x's turn, which it cannot take: z's */
    SERVES("z");
}

/* Beside workers of other sets: when those have gone it is asked again. */
static void case_one_that_cannot_be_served_yet(void) {
    fresh();
    waits = 'x';
    put_as('a', 1, "decode", "m");
    put('x', 2), put('y', 2); /* y is of no other size, but nobody said so: it takes the set */
    SERVES("ay");
    weir_card_sets_again(&sets, on_free, NULL);
    SERVES("ay");
    waits = '\0';
    put_as('z', 3, "decode", "m");
    weir_card_sets_again(&sets, on_free, NULL);
    SERVES("ayx"); /* z is still another one than a */
    gone('a');
    SERVES("yxz");
    /* As long as it waits it holds up nobody, and it may go. */
    waits = 'p';
    put_as('p', 1, "prefill", "m"), put_as('q', 2, "prefill", "m");
    SERVES("yxzq");
    gone('q'); /* p's turn, which it cannot take */
    SERVES("yxz");
    gone('p');
    waits = '\0';
    weir_card_sets_again(&sets, on_free, NULL);
    SERVES("yxz");
}

int main(void) {
    weir_arena_init(&arena, 16 << 20);
    weir_card_sets_init(&sets);
    CHECK_RUN(case_the_first_settles_it);
    CHECK_RUN(case_one_that_is_left_out_changes_or_goes);
    CHECK_RUN(case_sets_are_apart);
    CHECK_RUN(case_one_that_cannot_be_served_holds_up_nobody);
    CHECK_RUN(case_one_that_cannot_be_served_yet);
    weir_card_sets_fini(&sets);
    weir_arena_fini(&arena);
    return check_finish();
}
