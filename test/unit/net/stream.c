/* Streams over TCP: echo with random sizes and closes, marks, bounds, shutdown, lingering close. */
#include "net/stream.h"
#include "test/check.h"
#include "test/unit/net/echo.h"

static void case_echo_comes_back_whole(void) {
    struct echo_result r = echo_run(check_seed(), 300, 1 << 20, NULL, NULL, NULL);
    CHECK(!r.timed_out);
    CHECK_MSG(r.wrong == 0, "%u wrong, first: %s", r.wrong, r.first);
    CHECK_EQ_U64(r.open, 0);
    CHECK_EQ_U64(r.whole + r.cut, 300);
    CHECK(r.whole > 100 && r.cut > 50 && r.bytes > 1 << 20);
}

int main(void) {
    CHECK_RUN(case_echo_comes_back_whole);
    return check_finish();
}
