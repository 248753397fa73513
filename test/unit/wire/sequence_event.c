/* What routers tell each other: captures read and written back byte for byte, both kinds of
 * message, damage. */
#include "wire/sequence_event.h"

#include "base/msgpack.h"
#include "test/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX = 8 };
static struct weir_arena arena;
static struct weir_buf one, all;
static char seen[2048];
static uint32_t n_seen;

/* Keeps a line of words and the event as we would write it. */
static void on_event(void *arg, const struct weir_sequence_event *e) {
    static const char *const kinds[] = {"add", "first", "free"};
    size_t at = strlen(seen);
    (void)arg;
    n_seen++;
    snprintf(seen + at, sizeof(seen) - at, "%s %.8s %" PRIu64 ":%u by %" PRIu64, kinds[e->kind],
             e->request_id.data, e->worker_id, e->dp_rank, e->router_id);
    at = strlen(seen);
    if (e->kind == WEIR_SEQUENCE_ADD)
        snprintf(seen + at, sizeof(seen) - at, " %zu blocks %" PRIu64, e->n_hashes,
                 e->track_prefill ? e->prefill_tokens : 0);
    at = strlen(seen);
    snprintf(seen + at, sizeof(seen) - at, "; ");
    CHECK(weir_sequence_event_encode(e, &one) == WEIR_OK);
}

static enum weir_status decode(struct weir_span message) {
    seen[0] = '\0';
    n_seen = 0;
    weir_buf_clear(&one);
    return weir_sequence_events_decode(message, &arena, on_event, NULL);
}

static size_t from_hex(const char *hex, char *out) {
    size_t n = 0;
    unsigned byte;
    while (sscanf(hex + 2 * n, "%2x", &byte) == 1)
        out[n++] = (char)byte;
    return n;
}

static void case_captures(void) {
    static const char *const want[] = {
        "add 819d7d47 1635829192592975368:1 by 1635829192592975365 2 blocks 35; ",
        "first 819d7d47 1635829192592975368:1 by 1635829192592975368; ",
        "first 819d7d47 1635829192592975368:1 by 1635829192592975365; "};
    FILE *f = fopen("test/data/wire/active-sequences-1.6.1.txt", "r");
    char line[2048], bytes[1024], cut[1024];
    size_t n_lines = 0;
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (line[0] == '#')
            continue;
        size_t n = from_hex(line, bytes);
        CHECK(decode(weir_span(bytes, n)) == WEIR_OK);
        if (n_lines < WEIR_ARRAY_LEN(want))
            CHECK_MSG(strcmp(seen, want[n_lines]) == 0, "%s", seen);
        /* Written again, it is the same message. */
        weir_buf_clear(&all);
        CHECK(weir_sequence_events_wrap(weir_buf_span(&one), n_seen, &all) == WEIR_OK);
        CHECK(all.len == n && memcmp(all.data, bytes, n) == 0);
        for (size_t k = 0; k < n; k++) {
            memcpy(cut, bytes, k);
            CHECK(decode(weir_span(cut, k)) == WEIR_INVALID);
        }
        n_lines++;
    }
    fclose(f);
    CHECK(n_lines == 7);
}

/* Over NATS each event is a message of its own. */
static void case_bare_event(void) {
    uint64_t hashes[] = {UINT64_MAX, 1};
    struct weir_sequence_event e = {.kind = WEIR_SEQUENCE_ADD,
                                    .request_id = WEIR_SPAN_LIT("12345678-"),
                                    .worker_id = 7,
                                    .dp_rank = 3,
                                    .router_id = 9,
                                    .hashes = hashes,
                                    .n_hashes = 2,
                                    .track_prefill = true,
                                    .prefill_tokens = 5};
    weir_buf_clear(&all);
    CHECK(weir_sequence_event_encode(&e, &all) == WEIR_OK);
    CHECK(decode(weir_buf_span(&all)) == WEIR_OK);
    CHECK(strcmp(seen, "add 12345678 7:3 by 9 2 blocks 5; ") == 0);
    e.track_prefill = false;
    weir_buf_clear(&all);
    CHECK(weir_sequence_event_encode(&e, &all) == WEIR_OK);
    CHECK(decode(weir_buf_span(&all)) == WEIR_OK);
    CHECK(strcmp(seen, "add 12345678 7:3 by 9 2 blocks 0; ") == 0);
}

static void case_forms(void) {
    static const struct {
        const char *json;
        enum weir_status status;
        uint32_t n;
    } rows[] = {
        {"{\"events\":[]}", WEIR_OK, 0},
        {"{\"request_id\":\"r\",\"worker\":{\"worker_id\":1},\"data\":\"Free\",\"new\":[1]}",
         WEIR_OK, 1},
        {"{\"request_id\":\"r\",\"worker\":{\"worker_id\":1},\"data\":\"Later\"}", WEIR_OK, 0},
        {"{\"request_id\":\"r\",\"worker\":{\"worker_id\":1},\"data\":{\"Later\":{}}}", WEIR_OK, 0},
        {"{\"request_id\":\"r\",\"worker\":{\"worker_id\":1},\"data\":{\"AddRequest\":{"
         "\"token_sequence\":null,\"track_prefill_tokens\":null,\"prefill_load_hint\":null}}}",
         WEIR_OK, 1},
        {"{\"worker\":{\"worker_id\":1},\"data\":\"Free\"}", WEIR_INVALID, 0},
        {"{\"request_id\":\"r\",\"data\":\"Free\"}", WEIR_INVALID, 0},
        {"{\"request_id\":\"r\",\"worker\":{\"worker_id\":1,\"dp_rank\":4294967296},\"data\":"
         "\"Free\"}",
         WEIR_INVALID, 0},
        {"{\"request_id\":\"r\",\"worker\":{\"worker_id\":1},\"data\":7}", WEIR_INVALID, 0},
        {"{\"events\":[{\"request_id\":\"r\",\"worker\":{\"worker_id\":1},\"data\":\"Free\"},7]}",
         WEIR_INVALID, 1},
        {"{\"request_id\":\"r\",\"worker\":{\"worker_id\":1,\"worker_id\":2},\"data\":\"Free\"}",
         WEIR_INVALID, 0},
        {"[1]", WEIR_INVALID, 0}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        weir_buf_clear(&all);
        CHECK(weir_mp_from_json(weir_span_z(rows[i].json), &all) == WEIR_OK);
        enum weir_status st = decode(weir_buf_span(&all));
        CHECK_MSG(st == rows[i].status && n_seen == rows[i].n, "%s: %s, %u events", rows[i].json,
                  weir_status_text(st), n_seen);
    }
}

int main(void) {
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&one, 1 << 20);
    weir_buf_init(&all, 1 << 20);
    CHECK_RUN(case_captures);
    CHECK_RUN(case_bare_event);
    CHECK_RUN(case_forms);
    weir_arena_fini(&arena);
    weir_buf_fini(&one);
    weir_buf_fini(&all);
    return check_finish();
}
