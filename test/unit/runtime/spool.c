#include "runtime/spool.h"

#include "test/check.h"

#include <stdlib.h>
#include <string.h>

enum { PIECES = 300, PIECE = 4096 };

static void fill(char *piece, unsigned i) {
    memset(piece, (int)('a' + i % 26), PIECE);
    piece[0] = (char)i;
}

static void check_there_and_back(void) {
    struct weir_spool *spool = NULL;
    char piece[PIECE], want[PIECE], two[2];
    CHECK(weir_spool_create(&spool) == WEIR_OK);
    for (unsigned i = 0; i < PIECES; i++) {
        fill(piece, i);
        CHECK(weir_spool_append(spool, weir_span(piece, PIECE)) == WEIR_OK);
        CHECK_EQ_U64(weir_spool_size(spool), (uint64_t)(i + 1) * PIECE);
    }
    CHECK(weir_spool_replace(spool, PIECE - 1, WEIR_SPAN_LIT("xy")) == WEIR_OK);
    CHECK_EQ_U64(weir_spool_size(spool), (uint64_t)PIECES * PIECE);
    CHECK(weir_spool_read(spool, PIECE - 1, two, 2) == WEIR_OK && memcmp(two, "xy", 2) == 0);
    for (unsigned i = PIECES - 1; i >= 2; i--) {
        fill(want, i);
        CHECK(weir_spool_read(spool, (uint64_t)i * PIECE, piece, PIECE) == WEIR_OK);
        CHECK(memcmp(piece, want, PIECE) == 0);
    }
    /* Beyond what is there: told, not made up. */
    CHECK(weir_spool_read(spool, (uint64_t)PIECES * PIECE - 1, two, 2) == WEIR_IO);
    weir_spool_destroy(spool);
}

static void case_in_a_folder(void) {
    check_there_and_back();
}

static void case_without_a_folder(void) {
    const char *tmp = getenv("TMPDIR");
    char *kept = tmp != NULL ? strdup(tmp) : NULL;
    setenv("TMPDIR", "/nowhere/at/all", 1);
    check_there_and_back();
    if (kept != NULL)
        setenv("TMPDIR", kept, 1);
    else
        unsetenv("TMPDIR");
    free(kept);
}

static void case_nothing(void) {
    struct weir_spool *spool = NULL;
    CHECK(weir_spool_create(&spool) == WEIR_OK);
    CHECK(weir_spool_append(spool, weir_span(NULL, 0)) == WEIR_OK);
    CHECK_EQ_U64(weir_spool_size(spool), 0);
    weir_spool_destroy(spool);
    weir_spool_destroy(NULL);
}

int main(void) {
    CHECK_RUN(case_in_a_folder);
    CHECK_RUN(case_without_a_folder);
    CHECK_RUN(case_nothing);
    return check_finish();
}
