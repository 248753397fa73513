#include "base/buf.h"
#include "base/arena.h"
#include "base/mem.h"
#include "test/check.h"

static void case_append_respects_maximum(void) {
    struct weir_buf b;
    weir_buf_init(&b, 10);
    CHECK(weir_buf_append_z(&b, "12345") == WEIR_OK);
    CHECK(weir_buf_append_z(&b, "123456") == WEIR_TOO_LARGE);
    CHECK_EQ_STR(b.data, b.len, "12345");
    CHECK(weir_buf_append_z(&b, "67890") == WEIR_OK);
    weir_buf_consume(&b, 7);
    CHECK_EQ_STR(b.data, b.len, "890");
    weir_buf_fini(&b);
}

static void case_append_out_of_memory_changes_nothing(void) {
    struct weir_buf b;
    weir_buf_init(&b, 1 << 20);
    CHECK(weir_buf_append_z(&b, "x") == WEIR_OK);
    weir_mem_fail_at(1);
    enum weir_status st = weir_buf_reserve(&b, 1000);
    weir_mem_fail_at(0);
    CHECK(st == WEIR_NOMEM);
    CHECK_EQ_STR(b.data, b.len, "x");
    weir_buf_fini(&b);
}

static void case_arena_is_bounded(void) {
    struct weir_arena a;
    weir_arena_init(&a, 16384);
    CHECK(weir_arena_alloc(&a, 100) != NULL);
    CHECK(weir_arena_alloc(&a, 9000) != NULL);
    CHECK(weir_arena_alloc(&a, 9000) == NULL);
    weir_arena_reset(&a);
    CHECK(weir_arena_alloc(&a, 9000) != NULL);
    weir_arena_fini(&a);
}

/* What is kept by a reset holds a usual request whole; what is large goes. */
static void case_arena_keeps_a_block(void) {
    struct weir_arena a;
    weir_arena_init(&a, 1 << 20);
    for (int round = 0; round < 4; round++) {
        char *pieces[200];
        for (int i = 0; i < 200; i++) {
            pieces[i] = weir_arena_alloc(&a, 70);
            CHECK(pieces[i] != NULL);
            memset(pieces[i], i, 70);
        }
        CHECK(round % 2 == 0 || weir_arena_zalloc(&a, 100000) != NULL);
        for (int i = 0; i < 200; i++)
            CHECK(pieces[i][0] == (char)i && pieces[i][69] == (char)i);
        weir_arena_reset(&a);
        CHECK(a.total > 0 && a.total <= 16384);
    }
    uint64_t before = weir_mem_count();
    weir_mem_fail_at(UINT64_MAX); /* counts from here on */
    before = weir_mem_count();
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 150; i++)
            CHECK(weir_arena_alloc(&a, 70) != NULL);
        weir_arena_reset(&a);
    }
    CHECK_EQ_U64(weir_mem_count(), before);
    weir_mem_fail_at(0);
    weir_arena_fini(&a);
}

static void case_numbers(void) {
    uint64_t u = 7;
    int64_t i = 7;
    CHECK(weir_span_u64(WEIR_SPAN_LIT("18446744073709551615"), &u) && u == UINT64_MAX);
    CHECK(!weir_span_u64(WEIR_SPAN_LIT("18446744073709551616"), &u) && u == UINT64_MAX);
    CHECK(weir_span_i64(WEIR_SPAN_LIT("-9223372036854775808"), &i) && i == INT64_MIN);
    CHECK(!weir_span_i64(WEIR_SPAN_LIT("9223372036854775808"), &i));
    double d = 0;
    CHECK(weir_span_f64(WEIR_SPAN_LIT("-1.5e3"), &d) && d == -1500);
    CHECK(!weir_span_f64(WEIR_SPAN_LIT("nan"), &d));
    CHECK(!weir_span_f64(WEIR_SPAN_LIT("0x10"), &d));
}

int main(void) {
    CHECK_RUN(case_append_respects_maximum);
    CHECK_RUN(case_append_out_of_memory_changes_nothing);
    CHECK_RUN(case_arena_is_bounded);
    CHECK_RUN(case_arena_keeps_a_block);
    CHECK_RUN(case_numbers);
    return check_finish();
}
