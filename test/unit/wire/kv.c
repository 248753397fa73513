/* The event plane: envelopes, cache events, loads, queries and answers; malformed input. */
#include "base/msgpack.h"
#include "test/check.h"
#include "wire/kv_query.h"

static struct weir_arena arena;
static struct weir_buf out, text;

static void fresh(void) {
    weir_arena_fini(&arena);
    weir_buf_fini(&out);
    weir_buf_fini(&text);
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
    weir_buf_init(&text, 1 << 20);
}

static struct weir_span packed(const char *json) {
    weir_buf_clear(&text);
    CHECK(weir_mp_from_json(weir_span_z(json), &text) == WEIR_OK);
    return weir_buf_span(&text);
}

/* ---- envelopes ---------------------------------------------------------------------------- */

static void case_envelope_forms(void) {
    static const struct {
        const char *json;
        enum weir_status status;
    } rows[] = {
        {"{\"publisher_id\":1,\"sequence\":2,\"published_at\":3,\"topic\":\"t\",\"payload\":[1,255,"
         "0]}",
         WEIR_OK},
        {"{\"payload\":[],\"topic\":\"t\",\"published_at_ns\":7}", WEIR_OK},
        {"{\"publisher_id\":1,\"sequence\":2,\"published_at\":3,\"topic\":\"t\"}", WEIR_INVALID},
        {"{\"payload\":[256]}", WEIR_INVALID},
        {"{\"payload\":[-1]}", WEIR_INVALID},
        {"{\"payload\":\"text\"}", WEIR_INVALID},
        {"{\"payload\":[1],\"topic\":7}", WEIR_INVALID},
        {"{\"payload\":[1],\"sequence\":-1}", WEIR_INVALID},
        {"[]", WEIR_INVALID},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_envelope env;
        fresh();
        enum weir_status st = weir_envelope_decode(packed(rows[i].json), &arena, &env);
        CHECK_MSG(st == rows[i].status, "%s: %s", rows[i].json, weir_status_name(st));
        if (i == 0)
            CHECK(weir_span_eq(env.payload, WEIR_SPAN_LIT("\1\xff\0")) && env.sequence == 2);
    }
}

static void case_zmq_frame(void) {
    const struct weir_envelope env = {.topic = WEIR_SPAN_LIT("kv-events"),
                                      .publisher_id = UINT64_MAX,
                                      .sequence = 1ull << 40,
                                      .published_at_ms = 1795225413414,
                                      .payload = WEIR_SPAN_LIT("\x90")};
    struct weir_envelope got;
    fresh();
    CHECK(weir_zmq_frame_encode(&env, &out) == WEIR_OK);
    CHECK(out.data[0] == 1);
    for (size_t n = 0; n < out.len; n++)
        CHECK(weir_zmq_frame_decode(weir_span(out.data, n), &arena, &got) == WEIR_INVALID);
    CHECK(weir_zmq_frame_decode(weir_buf_span(&out), &arena, &got) == WEIR_OK);
    CHECK(got.publisher_id == UINT64_MAX && got.sequence == 1ull << 40 &&
          weir_span_eq(got.payload, env.payload) && weir_span_eq(got.topic, env.topic));
    CHECK(weir_buf_append_c(&out, 0) == WEIR_OK);
    CHECK(weir_zmq_frame_decode(weir_buf_span(&out), &arena, &got) == WEIR_INVALID);
    out.len--;
    out.data[0] = 2;
    CHECK(weir_zmq_frame_decode(weir_buf_span(&out), &arena, &got) == WEIR_INVALID);
}

/* ---- cache events ------------------------------------------------------------------------- */

struct seen {
    unsigned n;
    struct weir_kv_event last;
    uint64_t first_removed;
    struct weir_kv_block first;
};

static void on_event(void *arg, const struct weir_kv_event *e) {
    struct seen *s = arg;
    s->n++;
    s->last = *e;
    if (e->n_blocks > 0)
        s->first = e->blocks[0];
    if (e->n_removed > 0)
        s->first_removed = e->removed[0];
}

#define EVENT(more, data)                                                                          \
    "{\"worker_id\":7,\"storage_tier\":\"device\"," more                                           \
    "\"event\":{\"event_id\":3,\"data\":" data ",\"dp_rank\":1}}"
#define STORED(blocks) "{\"stored\":{\"parent_hash\":null,\"blocks\":" blocks "}}"
#define BLOCK "{\"block_hash\":18446744073709551615,\"tokens_hash\":5}"

static void case_events_accepted_and_refused(void) {
    static const struct {
        const char *json;
        enum weir_status status;
        unsigned delivered;
    } rows[] = {
        {"[]", WEIR_OK, 0},
        {"[" EVENT("", "\"cleared\"") "]", WEIR_OK, 1},
        {"[" EVENT("", STORED("[" BLOCK "]")) "," EVENT("",
                                                        "{\"removed\":{\"block_hashes\":[9]}}") "]",
         WEIR_OK, 2},
        {"[" EVENT("\"residency_domain\":\"worker\",\"state_source\":{},", "\"cleared\"") "]",
         WEIR_OK, 1},
        {"[{\"worker_id\":7,\"event\":{\"event_id\":1,\"data\":\"cleared\"}}]", WEIR_OK, 1},
        {"[" EVENT("", STORED("[]")) "]", WEIR_OK, 1},
        {"[" EVENT("", "{\"removed\":{\"block_hashes\":[]}}") "]", WEIR_OK, 1},
        /* A bare event, as the reference refuses it. */
        {EVENT("", "\"cleared\""), WEIR_INVALID, 0},
        {"[" EVENT("", "\"cleared\"") ",7]", WEIR_INVALID, 1},
        /* Twice: a store and a removal in one. */
        {"[" EVENT("", STORED("[" BLOCK "]") ",\"data\":\"cleared\"") "]", WEIR_INVALID, 0},
        {"[" EVENT("", "{\"stored\":{\"parent_hash\":null,\"parent_hash\":5,\"blocks\":[" BLOCK
                       "]}}") "]",
         WEIR_INVALID, 0},
        {"[" EVENT("", "{\"stored\":{\"start_position\":5,\"start_position\":null,"
                       "\"blocks\":[" BLOCK "]}}") "]",
         WEIR_INVALID, 0},
        {"[" EVENT("\"worker_id\":7,", "\"cleared\"") "]", WEIR_INVALID, 0},
        {"[" EVENT("", "\"vanished\"") "]", WEIR_INVALID, 0},
        {"[" EVENT("", "{\"stored\":{},\"removed\":{}}") "]", WEIR_INVALID, 0},
        {"[" EVENT("", "{\"moved\":{}}") "]", WEIR_INVALID, 0},
        {"[" EVENT("", "{\"stored\":{\"parent_hash\":null}}") "]", WEIR_INVALID, 0},
        {"[" EVENT("", STORED("[{\"block_hash\":1}]")) "]", WEIR_INVALID, 0},
        {"[" EVENT("", STORED("[{\"block_hash\":\"x\",\"tokens_hash\":1}]")) "]", WEIR_INVALID, 0},
        {"[" EVENT("", "{\"removed\":{}}") "]", WEIR_INVALID, 0},
        {"[{\"worker_id\":7,\"storage_tier\":\"tape\",\"event\":{\"event_id\":1,\"data\":"
         "\"cleared\"}}]",
         WEIR_INVALID, 0},
        {"[{\"event\":{\"event_id\":1,\"data\":\"cleared\"}}]", WEIR_INVALID, 0},
        {"[{\"worker_id\":7}]", WEIR_INVALID, 0},
        {"[{\"worker_id\":7,\"event\":{\"event_id\":1}}]", WEIR_INVALID, 0},
        {"[{\"worker_id\":7,\"event\":{\"data\":\"cleared\",\"dp_rank\":4294967296}}]",
         WEIR_INVALID, 0},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct seen s = {0};
        fresh();
        enum weir_status st = weir_kv_events_decode(packed(rows[i].json), &arena, on_event, &s);
        CHECK_MSG(st == rows[i].status && s.n == rows[i].delivered, "%s: %s after %u", rows[i].json,
                  weir_status_name(st), s.n);
    }
}

/* Blocks in the usual form, and each that differs from it in one byte, have the meaning that the
 * general reader gives them: that is asked with the members in another order. */
static void case_usual_blocks(void) {
    const char *const usual =
        "{\"block_hash\":18446744073709551614,\"tokens_hash\":9223372036854775808,"
        "\"mm_extra_info\":null}";
    const char *const other = "{\"mm_extra_info\":null,\"block_hash\":18446744073709551614,"
                              "\"tokens_hash\":9223372036854775808}";
    char json[1024], bytes[1024];
    for (int i = 0; i < 2; i++) {
        struct seen s = {0};
        fresh();
        snprintf(json, sizeof(json), "[" EVENT("", STORED("[%s,%s]")) "]", i == 0 ? usual : other,
                 i == 0 ? other : usual);
        CHECK(weir_kv_events_decode(packed(json), &arena, on_event, &s) == WEIR_OK);
        CHECK(s.last.n_blocks == 2);
        CHECK(s.first.block_hash == UINT64_MAX - 1 && s.first.tokens_hash == 1ull << 63);
        CHECK(s.last.blocks[1].block_hash == UINT64_MAX - 1);
    }
    fresh();
    snprintf(json, sizeof(json), "[" EVENT("", STORED("[%s]")) "]", usual);
    struct weir_span whole = packed(json);
    for (size_t n = 0; n < whole.len; n++) {
        struct seen s = {0};
        CHECK(weir_kv_events_decode(weir_span(whole.data, n), &arena, on_event, &s) ==
              WEIR_INVALID);
    }
    for (size_t at = 0; at < whole.len; at++) {
        struct seen s = {0};
        memcpy(bytes, whole.data, whole.len);
        bytes[at] ^= 0x20; /* letters change case: a name that is not known */
        if (weir_kv_events_decode(weir_span(bytes, whole.len), &arena, on_event, &s) == WEIR_OK &&
            s.last.n_blocks > 0)
            CHECK(memcmp(&s.first, &s.last.blocks[0], sizeof(s.first)) == 0);
    }
}

static void case_event_members(void) {
    struct seen s = {0};
    fresh();
    CHECK(weir_kv_events_decode(
              packed("[{\"worker_id\":16947390507990658758,\"storage_tier\":\"disk\",\"event\":{"
                     "\"event_id\":9,\"data\":{\"stored\":{\"parent_hash\":18446744073709551614,"
                     "\"start_position\":12,\"blocks\":[" BLOCK "]}},\"dp_rank\":4294967295}}]"),
              &arena, on_event, &s) == WEIR_OK);
    CHECK(s.last.worker_id == 16947390507990658758ull && s.last.tier == WEIR_TIER_DISK);
    CHECK(s.last.dp_rank == UINT32_MAX && s.last.event_id == 9 && s.last.kind == WEIR_KV_STORED);
    CHECK(s.last.has_parent && s.last.parent_hash == UINT64_MAX - 1);
    CHECK(s.last.has_start_position && s.last.start_position == 12);
    CHECK(s.last.n_blocks == 1 && s.first.block_hash == UINT64_MAX && s.first.tokens_hash == 5);
    /* Engines write hashes as signed numbers too. */
    CHECK(weir_kv_events_decode(packed("[" EVENT("", "{\"removed\":{\"block_hashes\":[-2]}}") "]"),
                                &arena, on_event, &s) == WEIR_OK);
    CHECK(s.first_removed == UINT64_MAX - 1);
}

/* An event of a cache that is not the worker's counts, but changes nothing. */
static void case_foreign_domain(void) {
    static const char *const domains[] = {"\"cache_owner\"", "\"something\"", "null"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(domains); i++) {
        struct seen s = {0};
        char json[512];
        fresh();
        snprintf(json, sizeof(json),
                 "[{\"worker_id\":7,\"event\":{\"event_id\":3,\"data\":" STORED(
                     "[" BLOCK "]") ",\"dp_rank\":1},\"residency_domain\":%s},%s]",
                 domains[i], EVENT("", "\"cleared\""));
        CHECK(weir_kv_events_decode(packed(json), &arena, on_event, &s) == WEIR_OK);
        CHECK_EQ_U64(s.n, 2);
        CHECK(s.last.kind == WEIR_KV_CLEARED);
        json[strlen(json) - strlen(EVENT("", "\"cleared\"")) - 2] = ']';
        json[strlen(json) - strlen(EVENT("", "\"cleared\"")) - 1] = '\0';
        CHECK(weir_kv_events_decode(packed(json), &arena, on_event, &s) == WEIR_OK);
        CHECK(s.last.kind == WEIR_KV_REMOVED && s.last.n_removed == 0 && s.last.n_blocks == 0);
        CHECK(s.last.event_id == 3 && s.last.dp_rank == 1 && s.last.worker_id == 7);
    }
}

/* Counts that promise more than the input holds cost nothing. */
static void case_counts_that_lie(void) {
    static const struct weir_span rows[] = {
        WEIR_SPAN_LIT("\xdd\xff\xff\xff\xff"),
        WEIR_SPAN_LIT("\x91\xdf\xff\xff\xff\xff"),
        WEIR_SPAN_LIT("\x91\x82\xa9worker_id\x01\xa5"
                      "event\x81\xa4"
                      "data\x81\xa6"
                      "stored\x81\xa6"
                      "blocks\xdd\x7f\xff\xff\xff"),
        WEIR_SPAN_LIT("\x91\x82\xa9worker_id\x01\xa5"
                      "event\x81\xa4"
                      "data\x81\xa7removed\x81\xac"
                      "block_hashes\xdd\x7f\xff\xff\xff"),
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct seen s = {0};
        fresh();
        CHECK(weir_kv_events_decode(rows[i], &arena, on_event, &s) == WEIR_INVALID);
        CHECK(arena.total == 0);
    }
}

/* ---- loads -------------------------------------------------------------------------------- */

static void case_loads(void) {
    static const struct {
        const char *json;
        enum weir_status status;
    } rows[] = {
        {"{\"worker_id\":1}", WEIR_OK},
        {"{\"worker_id\":18446744073709551615,\"dp_rank\":4294967295,\"kv_used_blocks\":9}",
         WEIR_OK},
        {"{\"worker_id\":1,\"dp_rank\":null,\"scheduler_load_scope\":\"x\"}", WEIR_OK},
        {"{\"dp_rank\":0}", WEIR_INVALID},
        {"{\"worker_id\":null}", WEIR_INVALID},
        {"{\"worker_id\":1,\"dp_rank\":4294967296}", WEIR_INVALID},
        {"{\"worker_id\":1,\"kv_used_blocks\":-1}", WEIR_INVALID},
        {"{\"worker_id\":1,\"kv_used_blocks\":1.5}", WEIR_INVALID},
        {"[1]", WEIR_INVALID},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_active_load load;
        fresh();
        enum weir_status st = weir_active_load_decode(packed(rows[i].json), &load);
        CHECK_MSG(st == rows[i].status, "%s: %s", rows[i].json, weir_status_name(st));
    }
    struct weir_active_load load = {.worker_id = 3, .has_kv_used = true, .kv_used_blocks = 0}, got;
    fresh();
    CHECK(weir_active_load_encode(&load, &out) == WEIR_OK);
    CHECK(weir_active_load_decode(weir_buf_span(&out), &got) == WEIR_OK);
    CHECK(got.has_kv_used && !got.has_decode_blocks && !got.has_prefill_tokens);
}

/* ---- queries ------------------------------------------------------------------------------ */

static void case_queries(void) {
    static const struct {
        const char *json;
        enum weir_status status;
        bool recovery;
    } rows[] = {
        {"{\"worker_id\":1,\"dp_rank\":0}", WEIR_OK, true},
        {"{\"worker_id\":1,\"dp_rank\":0,\"kind\":\"recovery\"}", WEIR_OK, true},
        {"{\"worker_id\":1,\"dp_rank\":0,\"kind\":\"status\"}", WEIR_OK, false},
        {"{\"worker_id\":1,\"kind\":null}", WEIR_OK, true},
        {"{\"worker_id\":1,\"worker_id\":2}", WEIR_INVALID, false},
        {"{\"dp_rank\":0}", WEIR_INVALID, false},
        {"{\"worker_id\":1,\"dp_rank\":4294967296}", WEIR_INVALID, false},
        {"{\"worker_id\":1,\"start_event_id\":\"x\"}", WEIR_INVALID, false},
        {"{\"worker_id\":-1}", WEIR_INVALID, false},
        {"7", WEIR_INVALID, false},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (int codec = 0; codec < 2; codec++) {
            struct weir_kv_query q;
            fresh();
            struct weir_span body =
                codec == WEIR_CODEC_JSON ? weir_span_z(rows[i].json) : packed(rows[i].json);
            enum weir_status st = weir_kv_query_decode(body, (enum weir_codec)codec, &q);
            CHECK_MSG(st == rows[i].status && (st != WEIR_OK || q.recovery == rows[i].recovery),
                      "%s: %s", rows[i].json, weir_status_name(st));
        }
    struct weir_kv_query q;
    CHECK(weir_kv_query_decode(WEIR_SPAN_LIT("{\"worker_id\":1} x"), WEIR_CODEC_JSON, &q) ==
          WEIR_INVALID);
    CHECK(weir_kv_query_decode(weir_span(NULL, 0), WEIR_CODEC_MSGPACK, &q) == WEIR_INVALID);
}

/* ---- answers ------------------------------------------------------------------------------ */

static void case_answers(void) {
    static const struct {
        const char *json;
        enum weir_status status;
    } rows[] = {
        {"{\"data\":{\"TooNew\":{\"requested_start\":9,\"requested_end\":null,\"newest_available\":"
         "2}},"
         "\"complete_final\":false}",
         WEIR_OK},
        {"{\"data\":{\"Error\":\"wrong\"},\"complete_final\":false}", WEIR_OK},
        {"{\"data\":{\"Error\":{}},\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"data\":{\"Unknown\":{}},\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"data\":{\"TreeDump\":{\"events\":{}}},\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"data\":{},\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"data\":{\"Error\":\"a\"},\"data\":{\"Error\":\"b\"}}", WEIR_PROTOCOL},
        {"{\"complete_final\":true}", WEIR_PROTOCOL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (int codec = 0; codec < 2; codec++) {
            struct weir_kv_answer a;
            fresh();
            struct weir_span body =
                codec == WEIR_CODEC_JSON ? weir_span_z(rows[i].json) : packed(rows[i].json);
            enum weir_status st = weir_kv_answer_decode(body, (enum weir_codec)codec, &out, &a);
            CHECK_MSG(st == rows[i].status, "%s: %s", rows[i].json, weir_status_name(st));
        }
}

int main(void) {
    CHECK_RUN(case_envelope_forms);
    CHECK_RUN(case_zmq_frame);
    CHECK_RUN(case_events_accepted_and_refused);
    CHECK_RUN(case_usual_blocks);
    CHECK_RUN(case_event_members);
    CHECK_RUN(case_foreign_domain);
    CHECK_RUN(case_counts_that_lie);
    CHECK_RUN(case_loads);
    CHECK_RUN(case_queries);
    CHECK_RUN(case_answers);
    fresh();
    return check_finish();
}
