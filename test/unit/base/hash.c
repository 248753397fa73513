#include "base/hash.h"

#include "test/check.h"

/* The vectors of its authors. */
static void case_vectors(void) {
    CHECK_EQ_U64(weir_hash_span(WEIR_SPAN_LIT("")), 0xcbf29ce484222325u);
    CHECK_EQ_U64(weir_hash_span(WEIR_SPAN_LIT("a")), 0xaf63dc4c8601ec8cu);
    CHECK_EQ_U64(weir_hash_span(WEIR_SPAN_LIT("foobar")), 0x85944171f73967e8u);
    CHECK_EQ_U64(weir_hash_bytes(weir_hash_word(WEIR_HASH_BEGIN, 'f'), "oobar", 5),
                 0x85944171f73967e8u);
}

int main(void) {
    CHECK_RUN(case_vectors);
    return check_finish();
}
