/* Response items of workers in both codecs: what is accepted, what is refused, what is written. */
#include "wire/output.h"

#include "base/msgpack.h"
#include "test/check.h"
#include "wire/frame.h"

#include <math.h>

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

static struct weir_span in_codec(const char *json, enum weir_codec codec) {
    weir_buf_clear(&text);
    CHECK((codec == WEIR_CODEC_MSGPACK ? weir_mp_from_json(weir_span_z(json), &text)
                                       : weir_buf_append_z(&text, json)) == WEIR_OK);
    return weir_buf_span(&text);
}

static enum weir_status decode(const char *json, enum weir_codec codec, struct weir_output *o) {
    static uint32_t room[4];
    return weir_output_decode(in_codec(json, codec), codec, room, 4, &arena, o);
}

#define ITEM(s) "{\"data\":{\"data\":{" s "}},\"complete_final\":false}"

/* Shared spec "transport" 2.5: each of these streams was shown to a real frontend. */
static void case_accepted_and_refused(void) {
    static const struct {
        const char *json;
        enum weir_status status;
    } rows[] = {
        {ITEM("\"token_ids\":[42]"), WEIR_OK},
        {ITEM("\"token_ids\":[]"), WEIR_OK},
        {ITEM("\"token_ids\":[1],\"unknown\":{\"deep\":[1,{}]}"), WEIR_OK},
        {ITEM("\"token_ids\":[4294967295]"), WEIR_OK},
        {ITEM("\"token_ids\":[1],\"index\":0"), WEIR_OK},
        {ITEM("\"token_ids\":[1],\"index\":null,\"text\":null,\"finish_reason\":null"), WEIR_OK},
        {"{\"complete_final\":true}", WEIR_OK},
        {"{\"data\":null,\"complete_final\":true}", WEIR_OK},
        {"{\"complete_final\":true,\"data\":{\"data\":{\"token_ids\":[9]}}}", WEIR_OK},
        {"{\"data\":{\"event\":\"e\",\"comment\":[\"{}\"]},\"complete_final\":false}", WEIR_OK},
        {"{\"data\":{\"data\":null,\"event\":\"e\"},\"complete_final\":false}", WEIR_OK},
        {ITEM("\"finish_reason\":\"stop\""), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"token_ids\":[2]"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"text\":\"a\",\"text\":null"), WEIR_PROTOCOL},
        {"{\"data\":{\"event\":\"error\",\"event\":null},\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"complete_final\":true,\"complete_final\":true}", WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"completion_usage\":{\"prompt_tokens_details\":null,"
              "\"prompt_tokens_details\":{\"cached_tokens\":3}}"),
         WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"completion_usage\":{\"prompt_tokens\":4294967295}"), WEIR_OK},
        {ITEM("\"token_ids\":[1],\"completion_usage\":{\"prompt_tokens\":4294967296}"),
         WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"completion_usage\":{\"completion_tokens\":-1}"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":null"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[4294967296]"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[-1]"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1.5]"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":\"1\""), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"index\":-1"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"finish_reason\":7"), WEIR_PROTOCOL},
        {ITEM("\"token_ids\":[1],\"text\":7"), WEIR_PROTOCOL},
        {"{\"data\":{\"data\":{\"token_ids\":[1]}}}", WEIR_PROTOCOL},
        {"{\"data\":{\"data\":[]},\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"data\":7,\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"complete_final\":false}", WEIR_PROTOCOL},
        {"{\"complete_final\":null}", WEIR_PROTOCOL},
        {"{}", WEIR_PROTOCOL},
        {"[]", WEIR_PROTOCOL},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (int codec = 0; codec < 2; codec++) {
            struct weir_output o;
            fresh();
            enum weir_status st = decode(rows[i].json, (enum weir_codec)codec, &o);
            CHECK_MSG(st == rows[i].status, "%s (%d): %s", rows[i].json, codec,
                      weir_status_name(st));
        }
    struct weir_output o;
    uint32_t id;
    static const struct weir_span broken[] = {
        {NULL, 0},
        WEIR_SPAN_LIT("\xff\xfe"),
        WEIR_SPAN_LIT("{\"data\":{\"data\":{\"token_ids\":[1]}},\"complete_final\":false} x"),
        WEIR_SPAN_LIT("\x81\xae"
                      "complete_final\xc3\xc0"),
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(broken); i++)
        for (int codec = 0; codec < 2; codec++)
            CHECK(weir_output_decode(broken[i], (enum weir_codec)codec, &id, 1, &arena, &o) ==
                  WEIR_PROTOCOL);
}

/* A cut at any byte is an error, never an item. */
static void case_every_prefix_is_refused(void) {
    const char *json = ITEM("\"token_ids\":[1,70000],\"log_probs\":[-0.5,-1.0],\"top_logprobs\":[[{"
                            "\"rank\":1,\"token_id\":1,\"token\":\"a\",\"logprob\":-0.5}],[]],"
                            "\"finish_reason\":{\"error\":\"x\"},\"completion_usage\":{"
                            "\"prompt_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":0}}");
    for (int codec = 0; codec < 2; codec++) {
        struct weir_output o;
        uint32_t room[4];
        fresh();
        struct weir_span whole = in_codec(json, (enum weir_codec)codec);
        for (size_t n = 0; n < whole.len; n++) {
            weir_arena_reset(&arena);
            CHECK(weir_output_decode(weir_span(whole.data, n), (enum weir_codec)codec, room, 4,
                                     &arena, &o) == WEIR_PROTOCOL);
        }
        CHECK(weir_output_decode(whole, (enum weir_codec)codec, room, 4, &arena, &o) == WEIR_OK);
        CHECK(o.token_ids.n == 2 && o.token_ids.ids[1] == 70000);
        CHECK(o.logprobs[1].logprob == -1.0 && o.logprobs[0].n_top == 1);
        CHECK_EQ_STR(o.logprobs[0].top[0].token.data, o.logprobs[0].top[0].token.len, "a");
        CHECK(o.finish == WEIR_FINISH_ERROR && weir_span_eqz(o.finish_text, "x"));
        CHECK(o.prompt_tokens == 1 && o.completion_tokens == -1 && o.cached_tokens == 0);
    }
}

static void case_finish_words(void) {
    static const struct {
        const char *json;
        enum weir_finish finish;
    } rows[] = {{"\"eos\"", WEIR_FINISH_EOS},
                {"\"stop\"", WEIR_FINISH_STOP},
                {"\"length\"", WEIR_FINISH_LENGTH},
                {"\"cancelled\"", WEIR_FINISH_CANCELLED},
                {"\"abort\"", WEIR_FINISH_CANCELLED},
                {"\"content_filter\"", WEIR_FINISH_CONTENT_FILTER},
                {"\"weird\"", WEIR_FINISH_ERROR},
                {"{\"error\":\"text\"}", WEIR_FINISH_ERROR},
                {"null", WEIR_FINISH_NONE}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (int codec = 0; codec < 2; codec++) {
            struct weir_output o;
            char json[256];
            fresh();
            snprintf(json, sizeof(json), ITEM("\"token_ids\":[],\"finish_reason\":%s"),
                     rows[i].json);
            CHECK(decode(json, (enum weir_codec)codec, &o) == WEIR_OK);
            CHECK(o.finish == rows[i].finish);
        }
}

/* An error in an item: both forms, with the status that a real frontend gives its client. */
static void case_item_errors(void) {
    static const struct {
        const char *json;
        enum weir_status status;
        int http;
        const char *message;
    } rows[] = {
        {"\"event\":\"error\",\"comment\":[\"old style text\"]", WEIR_INTERNAL, 500,
         "old style text"},
        {"\"event\":\"error\"", WEIR_INTERNAL, 500, ""},
        {"\"event\":\"error\",\"error\":{\"error_type\":\"InvalidArgument\",\"message\":\"m\"}",
         WEIR_INVALID, 400, "m"},
        {"\"event\":\"error\",\"error\":{\"error_type\":\"ResourceExhausted\",\"message\":\"m\"}",
         WEIR_OVERLOADED, 529, "m"},
        {"\"error\":{\"error_type\":{\"Backend\":\"EngineShutdown\"},\"message\":\"m\"}",
         WEIR_UNAVAILABLE, 503, "m"},
        {"\"error\":{\"error_type\":\"Unknown\",\"message\":\"m\"}", WEIR_INTERNAL, 500, "m"},
        {"\"error\":{}", WEIR_INTERNAL, 500, ""},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (int codec = 0; codec < 2; codec++) {
            struct weir_output o;
            char json[512];
            fresh();
            snprintf(json, sizeof(json), "{\"data\":{%s},\"complete_final\":false}", rows[i].json);
            CHECK(decode(json, (enum weir_codec)codec, &o) == WEIR_OK);
            CHECK(o.is_error && !o.has_output);
            CHECK_MSG(o.error.status == rows[i].status && o.error.http_status == rows[i].http,
                      "%s: %s %d", json, weir_status_name(o.error.status), o.error.http_status);
            CHECK_EQ_STR(o.error.message.data, o.error.message.len, rows[i].message);
        }
}

/* More ids than the caller's room go to the arena; an arena that is too small is no protocol error.
 */
static void case_many_ids(void) {
    for (int codec = 0; codec < 2; codec++) {
        struct weir_output o;
        struct weir_buf json;
        uint32_t room[8];
        fresh();
        weir_buf_init(&json, 1 << 20);
        CHECK(weir_buf_append_z(&json, "{\"data\":{\"data\":{\"token_ids\":[") == WEIR_OK);
        for (unsigned i = 0; i < 3000; i++)
            CHECK(weir_buf_printf(&json, "%s%u", i > 0 ? "," : "", i * 7) == WEIR_OK);
        CHECK(weir_buf_append(&json, "]}},\"complete_final\":false}\0", 28) == WEIR_OK);
        struct weir_span bytes = in_codec(json.data, (enum weir_codec)codec);
        CHECK(weir_output_decode(bytes, (enum weir_codec)codec, room, 8, &arena, &o) == WEIR_OK);
        CHECK_EQ_U64(o.token_ids.n, 3000);
        for (unsigned i = 0; i < 3000; i++)
            CHECK_EQ_U64(o.token_ids.ids[i], i * 7);
        struct weir_arena small;
        weir_arena_init(&small, 4096);
        CHECK(weir_output_decode(bytes, (enum weir_codec)codec, room, 8, &small, &o) == WEIR_NOMEM);
        weir_arena_fini(&small);
        weir_buf_fini(&json);
    }
}

/* What is written comes back whole. */
static void case_all_members(void) {
    static const uint32_t ids[] = {1, 128, 70000};
    static const struct weir_top_logprob top[] = {{1, 1, {"a\"", 2}, -0.25}, {2, 9, {NULL, 0}, -3}};
    static const struct weir_token_logprob logprobs[] = {
        {-0.25, top, 2}, {-1.5, NULL, 0}, {-2, top, 1}};
    static const struct weir_span comments[] = {WEIR_SPAN_LIT("one"), WEIR_SPAN_LIT("")};
    for (int codec = 0; codec < 2; codec++) {
        struct weir_output o, got;
        uint32_t room[4];
        fresh();
        weir_output_init(&o);
        o.has_data = o.has_output = o.complete_final = true;
        o.event = WEIR_SPAN_LIT("note");
        o.comment = (struct weir_strings){comments, 2, true};
        o.token_ids = (struct weir_ids){ids, 3};
        o.text = WEIR_SPAN_LIT("text \xe2\x82\xac");
        o.logprobs = logprobs;
        o.cum_log_probs = -3.75;
        o.finish = WEIR_FINISH_STOP;
        o.stop_reason = WEIR_SPAN_LIT("\"zzz\"");
        o.index = 0;
        o.has_usage = true;
        o.prompt_tokens = 5;
        o.completion_tokens = 3;
        o.cached_tokens = 2;
        o.disaggregated_params = codec == WEIR_CODEC_JSON ? WEIR_SPAN_LIT("{\"a\":1}")
                                                          : WEIR_SPAN_LIT("\x81\xa1\x61\x01");
        o.engine_data = WEIR_SPAN_LIT("[]");
        CHECK(weir_output_encode(&o, (enum weir_codec)codec, &out) == WEIR_OK);
        CHECK(weir_output_decode(weir_buf_span(&out), (enum weir_codec)codec, room, 4, &arena,
                                 &got) == WEIR_OK);
        CHECK(got.complete_final && got.has_output && !got.is_error);
        CHECK(weir_span_eqz(got.event, "note") && got.comment.n == 2 &&
              weir_span_eqz(got.comment.items[0], "one"));
        CHECK(got.token_ids.n == 3 && memcmp(got.token_ids.ids, ids, sizeof(ids)) == 0);
        CHECK(weir_span_eq(got.text, o.text) && got.cum_log_probs == -3.75);
        CHECK(got.logprobs[0].n_top == 2 && got.logprobs[0].top[1].token.data == NULL &&
              got.logprobs[2].logprob == -2 && got.logprobs[1].n_top == 0);
        CHECK(got.finish == WEIR_FINISH_STOP && weir_span_eq(got.stop_reason, o.stop_reason));
        CHECK(got.index == 0 && got.prompt_tokens == 5 && got.completion_tokens == 3 &&
              got.cached_tokens == 2);
        CHECK(weir_span_eq(got.disaggregated_params, o.disaggregated_params));
        CHECK(weir_span_eq(got.engine_data, o.engine_data));
        weir_buf_clear(&text);
        CHECK(weir_output_encode(&got, (enum weir_codec)codec, &text) == WEIR_OK);
        CHECK(weir_span_eq(weir_buf_span(&text), weir_buf_span(&out)));
    }
}

/* The least that a worker sends, as a real frontend was seen to take it. */
static void case_exact_text(void) {
    static const uint32_t id[] = {42};
    struct weir_output o;
    fresh();
    weir_output_init(&o);
    o.has_data = o.has_output = true;
    o.token_ids = (struct weir_ids){id, 1};
    CHECK(weir_output_encode(&o, WEIR_CODEC_JSON, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, ITEM("\"token_ids\":[42]"));
    weir_buf_clear(&out);
    weir_output_init(&o);
    o.complete_final = true;
    CHECK(weir_output_encode(&o, WEIR_CODEC_JSON, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "{\"complete_final\":true}");
    weir_buf_clear(&out);
    weir_output_init(&o);
    o.has_data = o.is_error = true;
    o.error.status = WEIR_OVERLOADED;
    o.error.message = WEIR_SPAN_LIT("busy");
    CHECK(weir_output_encode(&o, WEIR_CODEC_JSON, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len,
                 "{\"data\":{\"event\":\"error\",\"error\":{\"error_type\":\"ResourceExhausted\","
                 "\"message\":\"busy\"}},\"complete_final\":false}");
}

/* Nesting of any depth costs no stack. */
static void case_deep(void) {
    struct weir_buf deep;
    struct weir_output o;
    uint32_t id;
    fresh();
    weir_buf_init(&deep, 64 << 20);
    CHECK(weir_buf_append_z(&deep, "\x82\xae"
                                   "complete_final\xc2\xa4"
                                   "data\x81\xa4"
                                   "data\x82\xa9token_ids\x90\xb0"
                                   "completion_usage") == WEIR_OK);
    for (unsigned i = 0; i < 1000000; i++)
        CHECK(weir_buf_append(&deep, "\x81\xb5prompt_tokens_details", 23) == WEIR_OK);
    CHECK(weir_buf_append_c(&deep, (char)0xc0) == WEIR_OK);
    CHECK(weir_output_decode(weir_buf_span(&deep), WEIR_CODEC_MSGPACK, &id, 1, &arena, &o) ==
          WEIR_PROTOCOL);
    weir_buf_fini(&deep);
}

/* ---- patterns ------------------------------------------------------------------------------- */

static bool same_span(struct weir_span a, struct weir_span b) {
    return (a.data == NULL) == (b.data == NULL) && weir_span_eq(a, b);
}

static bool same_output(const struct weir_output *a, const struct weir_output *b) {
    return a->has_data == b->has_data && a->complete_final == b->complete_final &&
           same_span(a->event, b->event) && a->comment.n == b->comment.n &&
           a->is_error == b->is_error && a->has_output == b->has_output &&
           a->token_ids.n == b->token_ids.n &&
           (a->token_ids.n == 0 || memcmp(a->token_ids.ids, b->token_ids.ids,
                                          a->token_ids.n * sizeof(*a->token_ids.ids)) == 0) &&
           same_span(a->text, b->text) && (a->logprobs == NULL) == (b->logprobs == NULL) &&
           isnan(a->cum_log_probs) == isnan(b->cum_log_probs) && a->finish == b->finish &&
           same_span(a->stop_reason, b->stop_reason) && a->index == b->index &&
           a->has_usage == b->has_usage && a->prompt_tokens == b->prompt_tokens &&
           a->completion_tokens == b->completion_tokens && a->cached_tokens == b->cached_tokens &&
           same_span(a->engine_data, b->engine_data);
}

static void expect_alike(struct weir_output_pattern *p, struct weir_span bytes,
                         enum weir_codec codec) {
    uint32_t room[4], other[4];
    struct weir_output want, got;
    weir_arena_reset(&arena);
    enum weir_status st = weir_output_decode(bytes, codec, room, 4, &arena, &want);
    CHECK(weir_output_decode_like(p, bytes, codec, other, 4, &arena, &got) == st);
    CHECK(st != WEIR_OK || same_output(&want, &got));
}

/* As Dynamo's workers and ours write their items. */
static const char *const items[] = {
    ITEM("\"token_ids\":[1666],\"tokens\":null,\"text\":null,\"output_type\":\"text\","
         "\"cum_log_probs\":null,\"log_probs\":null,\"top_logprobs\":null,"
         "\"finish_reason\":null,\"index\":null"),
    ITEM("\"token_ids\":[7],\"index\":3"),
    ITEM("\"token_ids\":[7],\"text\":\"x\""),
    ITEM("\"token_ids\":[7],\"finish_reason\":\"stop\""),
    ITEM("\"token_ids\":[7],\"completion_usage\":{\"prompt_tokens\":9}"),
    ITEM("\"token_ids\":[7,8]"),
    ITEM("\"token_ids\":[9],\"token_ids\":[7]"),
    "{\"complete_final\":true}"};

/* The pattern changes nothing: every id, and items with any byte changed, inserted or left out. */
static void case_patterns(void) {
    static const char *const ids[] = {"0",     "127",    "128",        "255",        "256", "65535",
                                      "65536", "151935", "4294967295", "4294967296", "-1",  "007",
                                      "1.0",   "1e3",    "\"7\"",      "null",       "7,8", "07"};
    struct weir_output_pattern p = {0};
    for (int c = 0; c < 2; c++)
        for (size_t i = 0; i < WEIR_ARRAY_LEN(ids); i++) {
            enum weir_codec codec = (enum weir_codec)c;
            char json[256];
            fresh();
            expect_alike(&p, in_codec(ITEM("\"token_ids\":[5],\"index\":null"), codec), codec);
            snprintf(json, sizeof(json), ITEM("\"token_ids\":[%s],\"index\":null"), ids[i]);
            weir_buf_clear(&text);
            if (codec == WEIR_CODEC_JSON)
                CHECK(weir_buf_append_z(&text, json) == WEIR_OK);
            else if (weir_mp_from_json(weir_span_z(json), &text) != WEIR_OK)
                continue; /* no JSON */
            expect_alike(&p, weir_buf_span(&text), codec);
        }
}

static void case_patterns_of_changed_items(void) {
    for (int c = 0; c < 2; c++)
        for (size_t i = 0; i < WEIR_ARRAY_LEN(items); i++) {
            enum weir_codec codec = (enum weir_codec)c;
            struct weir_output_pattern p = {0};
            char changed[512];
            fresh();
            struct weir_span whole = in_codec(items[i], codec);
            for (size_t at = 0; at < whole.len; at++)
                for (unsigned v = 0; v < 256; v += 5) {
                    memcpy(changed, whole.data, whole.len);
                    expect_alike(&p, whole, codec);
                    changed[at] = (char)(changed[at] + v);
                    expect_alike(&p, weir_span(changed, whole.len), codec);
                    memmove(changed + at + 1, whole.data + at, whole.len - at);
                    expect_alike(&p, whole, codec);
                    expect_alike(&p, weir_span(changed, whole.len + 1), codec);
                    memcpy(changed + at, whole.data + at + 1, whole.len - at - 1);
                    expect_alike(&p, whole, codec);
                    expect_alike(&p, weir_span(changed, whole.len - 1), codec);
                }
        }
}

/* It is used at all: a second item like the first touches no arena and keeps nothing. */
static void case_a_pattern_is_kept(void) {
    for (int c = 0; c < 2; c++) {
        enum weir_codec codec = (enum weir_codec)c;
        struct weir_output_pattern p = {0};
        fresh();
        expect_alike(&p, in_codec(items[0], codec), codec);
        CHECK(p.before > 0 && p.after > 0 && p.codec == codec);
        size_t before = p.before;
        expect_alike(&p, in_codec(items[3], codec), codec); /* its finish reason is not kept */
        CHECK(p.before == before);
    }
}

/* Frames read together say what each says alone, and those behind them are left. */
static void case_frames_together(void) {
    for (int c = 0; c < 2; c++) {
        enum weir_codec codec = (enum weir_codec)c;
        struct weir_output_pattern p = {0};
        uint32_t ids[600];
        size_t ends[600], starts[600];
        struct weir_buf in;
        fresh();
        weir_buf_init(&in, 1 << 20);
        CHECK(weir_output_frames_like(&p, weir_span("", 0), codec, ids, ends, 600) == 0);
        expect_alike(&p, in_codec(ITEM("\"token_ids\":[5],\"index\":null"), codec), codec);
        for (uint32_t i = 0; i < 500; i++) {
            char json[256];
            snprintf(json, sizeof(json), ITEM("\"token_ids\":[%u],\"index\":null"), i * i * 17);
            starts[i] = in.len;
            CHECK(weir_two_part_encode(weir_span("", 0), in_codec(json, codec), &in) == WEIR_OK);
        }
        for (size_t len = 0; len <= in.len; len++) { /* wherever the bytes end */
            size_t n = weir_output_frames_like(&p, weir_span(in.data, len), codec, ids, ends, 600);
            size_t next = n + 1 < 500 ? starts[n + 1] : in.len; /* where the one that is cut ends */
            CHECK((n == 0 || ends[n - 1] <= len) && (n == 500 || len < next));
            if (len != in.len)
                continue;
            CHECK(n == 500);
            for (uint32_t i = 0; i < n; i++)
                CHECK(ids[i] == i * i * 17 && ends[i] == (i + 1 < n ? starts[i + 1] : in.len));
        }
        CHECK(weir_output_frames_like(&p, weir_buf_span(&in), codec, ids, ends, 7) == 7);
        in.data[starts[300] + 7] = 1; /* a header of one byte */
        CHECK(weir_output_frames_like(&p, weir_buf_span(&in), codec, ids, ends, 600) == 300);
        in.data[starts[200] + 24]++; /* another item */
        CHECK(weir_output_frames_like(&p, weir_buf_span(&in), codec, ids, ends, 600) == 200);
        memset(in.data + starts[100], 0xff, 16); /* lengths that nothing has */
        CHECK(weir_output_frames_like(&p, weir_buf_span(&in), codec, ids, ends, 600) == 100);
        CHECK(ends[99] == starts[100]);
        weir_buf_fini(&in);
    }
}

int main(void) {
    CHECK_RUN(case_frames_together);
    CHECK_RUN(case_patterns);
    CHECK_RUN(case_patterns_of_changed_items);
    CHECK_RUN(case_a_pattern_is_kept);
    CHECK_RUN(case_accepted_and_refused);
    CHECK_RUN(case_every_prefix_is_refused);
    CHECK_RUN(case_finish_words);
    CHECK_RUN(case_item_errors);
    CHECK_RUN(case_many_ids);
    CHECK_RUN(case_all_members);
    CHECK_RUN(case_exact_text);
    CHECK_RUN(case_deep);
    fresh();
    weir_arena_fini(&arena);
    return check_finish();
}
