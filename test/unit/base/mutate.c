/* The structural mutator of the fuzz drivers: what it makes of a document is a document, another
 * one. */
#include "test/fuzz/mutate.h"
#include "base/json.h"
#include "base/msgpack.h"
#include "test/check.h"

#include <string.h>

enum { ROUNDS = 4000, ROOM = 256 };

static const char json[] =
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\\"i\"}],"
    "\"n\": 1 ,\"stream_options\":{\"include_usage\":true},\"stop\":[]}";

static bool is_json(struct weir_span text) {
    struct weir_json j;
    weir_json_init(&j, text, 64);
    return (weir_json_skip(&j, NULL) && weir_json_finish(&j)) ||
           j.error == WEIR_JSON_ERR_NUMBER_RANGE; /* 1e400 */
}

static bool is_packed(struct weir_span bytes) {
    struct weir_mp m;
    weir_mp_init(&m, bytes);
    return weir_mp_skip(&m, NULL) && m.pos == m.len;
}

/* Members of that name at the root. */
static unsigned count(struct weir_span text, const char *name, bool escaped) {
    struct weir_json j;
    struct weir_json_str key;
    unsigned n = 0;
    weir_json_init(&j, text, 64);
    if (weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, NULL))
            n += weir_json_str_eqz(key, name) && (!escaped || key.escaped);
    return n;
}

static size_t mutate(uint8_t *to, struct weir_span from, size_t room, unsigned seed) {
    memcpy(to, from.data, from.len);
    return mutate_structure(to, from.len, room, seed);
}

static void case_json_stays_json(void) {
    uint8_t a[ROOM], b[ROOM];
    unsigned changed = 0, doubled = 0, escaped = 0, first = 0;
    for (unsigned seed = 0; seed < ROUNDS; seed++) {
        size_t n = mutate(a, WEIR_SPAN_LIT(json), ROOM, seed);
        struct weir_span got = weir_span((const char *)a, n);
        CHECK(mutate(b, WEIR_SPAN_LIT(json), ROOM, seed) == n && memcmp(a, b, n) == 0);
        if (n == 0)
            continue;
        CHECK_MSG(is_json(got), "seed %u: %.*s", seed, WEIR_SPAN_ARG(got));
        changed += !weir_span_eqz(got, json);
        doubled += count(got, "model", false) > 1;
        escaped += count(got, "model", true) > 0;
        first +=
            !weir_span_starts(got, WEIR_SPAN_LIT("{\"model\"")) && count(got, "model", false) == 1;
    }
    CHECK_MSG(changed > ROUNDS / 2 && doubled > 50 && escaped > 10 && first > 50, "%u %u %u %u",
              changed, doubled, escaped, first);
}

static void case_messagepack_stays_so(void) {
    struct weir_buf packed;
    uint8_t a[ROOM];
    unsigned changed = 0;
    weir_buf_init(&packed, ROOM);
    CHECK(weir_mp_from_json(WEIR_SPAN_LIT(json), &packed) == WEIR_OK);
    for (unsigned seed = 0; seed < ROUNDS; seed++) {
        size_t n = mutate(a, weir_buf_span(&packed), ROOM, seed);
        CHECK_MSG(n == 0 || is_packed(weir_span((const char *)a, n)), "seed %u", seed);
        changed += n > 0 && (n != packed.len || memcmp(a, packed.data, n) != 0);
    }
    CHECK_MSG(changed > ROUNDS / 2, "%u", changed);
    weir_buf_fini(&packed);
}

/* No document, and documents that are cut: nothing is read or written outside. */
static void case_bounds(void) {
    uint8_t a[ROOM];
    for (unsigned seed = 0; seed < ROUNDS; seed++)
        for (size_t len = 0; len < sizeof(json); len += 7)
            for (size_t room = len; room < len + 12; room += 5)
                CHECK(mutate(a, weir_span(json, len), room, seed) <= room);
    CHECK(mutate(a, WEIR_SPAN_LIT("no document"), ROOM, 1) == 0);
    CHECK(mutate(a, WEIR_SPAN_LIT("{}"), ROOM, 1) == 0);
}

int main(void) {
    CHECK_RUN(case_json_stays_json);
    CHECK_RUN(case_messagepack_stays_so);
    CHECK_RUN(case_bounds);
    return check_finish();
}
