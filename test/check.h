/*
 * A small test runner: each test program lists its cases and prints "N passed, N failed".
 *
 *     static void case_append(void) { CHECK(1 + 1 == 2); CHECK_EQ_U64(x, 7); }
 *     int main(void) { CHECK_RUN(case_append); return check_finish(); }
 *
 * A failed check ends its case, not the program. Every run prints its seed (WEIR_TEST_SEED sets
 * it).
 */
#ifndef WEIR_TEST_CHECK_H
#define WEIR_TEST_CHECK_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static jmp_buf check_jump;
static unsigned check_passed, check_failed;

static inline uint64_t check_seed(void) {
    static uint64_t seed;
    if (seed == 0) {
        const char *s = getenv("WEIR_TEST_SEED");
        seed = s != NULL ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);
        fprintf(stderr, "seed %" PRIu64 " (repeat with WEIR_TEST_SEED)\n", seed);
    }
    return seed;
}

#define CHECK(cond) CHECK_MSG(cond, "%s", #cond)
#define CHECK_MSG(cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: failed: ", __FILE__, __LINE__);                                \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            longjmp(check_jump, 1);                                                                \
        }                                                                                          \
    } while (0)
#define CHECK_EQ_U64(a, b)                                                                         \
    do {                                                                                           \
        uint64_t check_a = (uint64_t)(a), check_b = (uint64_t)(b);                                 \
        CHECK_MSG(check_a == check_b, "%s is %" PRIu64 ", %s is %" PRIu64, #a, check_a, #b,        \
                  check_b);                                                                        \
    } while (0)
/* a: data and length; z: C string. */
#define CHECK_EQ_STR(data, len, z)                                                                 \
    CHECK_MSG((len) == strlen(z) && ((len) == 0 || memcmp((data), (z), (len)) == 0),               \
              "got \"%.*s\", want \"%s\"", (int)(len), (const char *)(data), (z))

#define CHECK_RUN(fn) check_run(#fn, fn)
static inline void check_run(const char *name, void (*fn)(void)) {
    if (setjmp(check_jump) == 0) {
        fn();
        check_passed++;
    } else {
        fprintf(stderr, "FAIL %s\n", name);
        check_failed++;
    }
}
static inline int check_finish(void) {
    printf("%u passed, %u failed\n", check_passed, check_failed);
    return check_failed == 0 ? 0 : 1;
}

#endif
