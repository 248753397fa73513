/* From the bytes of a request to its pool: figures in both key places and both codecs, packed ids,
 * defaults; and the look at items that are passed on. Vectors: shared spec "deploy" 1.6, 1.13. */
#include "router/pool_select.h"
#include "base/msgpack.h"
#include "test/check.h"

#include <math.h>

static struct weir_arena arena;

static struct weir_pool_config load(const char *json) {
    struct weir_pool_config c;
    struct weir_err err = {.text = ""};
    CHECK_MSG(weir_pool_config_parse(weir_span_z(json), &arena, NULL, NULL, &c, &err) == WEIR_OK,
              "%s", err.text);
    return c;
}

/* The same request in JSON and MessagePack must say the same. */
static struct weir_pool_query query_of(const char *json) {
    struct weir_pool_query a, b;
    struct weir_buf packed;
    weir_buf_init(&packed, 1 << 20);
    CHECK(weir_pool_query_decode(weir_span_z(json), WEIR_CODEC_JSON, &a) == WEIR_OK);
    CHECK(weir_mp_from_json(weir_span_z(json), &packed) == WEIR_OK);
    CHECK(weir_pool_query_decode(weir_buf_span(&packed), WEIR_CODEC_MSGPACK, &b) == WEIR_OK);
    weir_buf_fini(&packed);
    CHECK_EQ_U64(a.n_tokens, b.n_tokens);
    CHECK(a.has_priority == b.has_priority && (!a.has_priority || a.priority == b.priority));
    CHECK(isnan(a.ttft_ms) ? isnan(b.ttft_ms) : a.ttft_ms == b.ttft_ms);
    CHECK(isnan(a.itl_ms) ? isnan(b.itl_ms) : a.itl_ms == b.itl_ms);
    return a;
}

static void case_figures(void) {
    struct weir_pool_query q = query_of(
        "{\"model\":\"m\",\"token_ids\":[1,2,3],\"router\":{\"ttft_target\":50,\"itl_target\":7.5},"
        "\"routing\":{\"dp_rank\":0,\"priority\":-3}}");
    CHECK_EQ_U64(q.n_tokens, 3);
    CHECK(q.ttft_ms == 50 && q.itl_ms == 7.5 && q.has_priority && q.priority == -3 && !q.packed);
    q = query_of("{\"token_ids\":[],\"extra_args\":{\"ttft_target\":100,\"itl_target\":20,"
                 "\"nvext\":{\"ttft_target\":9}}}");
    CHECK(q.n_tokens == 0 && q.ttft_ms == 100 && q.itl_ms == 20 && !q.has_priority);
    q = query_of("{\"token_ids\":null}");
    CHECK(q.n_tokens == 0 && isnan(q.ttft_ms) && isnan(q.itl_ms));
    q = query_of("{}");
    CHECK_EQ_U64(q.n_tokens, 0);
    q = query_of("{\"token\\u005fids\":[1,2],\"\\u0072outer\":{\"ttft_targe\\u0074\":50}}");
    CHECK(q.n_tokens == 2 && q.ttft_ms == 50);
}

/* 0 is the tightest target in the newer place and none in the older; the newer place wins. */
static void case_zero_and_both_places(void) {
    CHECK(query_of("{\"router\":{\"ttft_target\":0}}").ttft_ms == 0);
    CHECK(isnan(query_of("{\"extra_args\":{\"ttft_target\":0}}").ttft_ms));
    CHECK(query_of("{\"extra_args\":{\"ttft_target\":5},\"router\":{\"ttft_target\":0}}").ttft_ms ==
          0);
    CHECK(query_of("{\"router\":{\"itl_target\":null},\"extra_args\":{\"itl_target\":5}}").itl_ms ==
          5);
    CHECK(isnan(query_of("{\"router\":{\"ttft_target\":\"fast\"}}").ttft_ms));
    CHECK(!query_of("{\"routing\":{\"priority\":null}}").has_priority);
}

static void case_unreadable(void) {
    static const char *const bodies[] = {"",  "[1]", "{\"token_ids\":7}", "{\"token_ids\":[1}",
                                         "{", "{}x"};
    struct weir_pool_query q;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bodies); i++)
        CHECK_MSG(weir_pool_query_decode(weir_span_z(bodies[i]), WEIR_CODEC_JSON, &q) ==
                      WEIR_INVALID,
                  "%s", bodies[i]);
    /* A length that is not a multiple of an id, an array that ends early. */
    CHECK(weir_pool_query_decode(WEIR_SPAN_LIT("\x81\xa9token_ids\xc4\x03"
                                               "abc"),
                                 WEIR_CODEC_MSGPACK, &q) == WEIR_INVALID);
    CHECK(weir_pool_query_decode(WEIR_SPAN_LIT("\x81\xa9token_ids\x92\x01"), WEIR_CODEC_MSGPACK,
                                 &q) == WEIR_INVALID);
}

/* 4096 ids are 16384 bytes and must not be counted as 16384. */
static void case_packed_ids(void) {
    struct weir_buf body, plain;
    struct weir_mpw w;
    struct weir_pool_query q;
    unsigned char raw[4096 * 4];
    for (uint32_t i = 0; i < 4096; i++)
        for (unsigned k = 0; k < 4; k++)
            raw[i * 4 + k] = (unsigned char)((i * 70000u) >> (8 * k));
    weir_buf_init(&body, 1 << 20);
    weir_buf_init(&plain, 1 << 20);
    weir_mpw_init(&w, &body);
    weir_mpw_map(&w, 3);
    weir_mpw_str_z(&w, "model");
    weir_mpw_str_z(&w, "m");
    weir_mpw_str_z(&w, "token_ids");
    weir_mpw_bin(&w, weir_span((const char *)raw, sizeof(raw)));
    weir_mpw_str_z(&w, "later");
    weir_mpw_array(&w, 0);
    CHECK(w.status == WEIR_OK);
    CHECK(weir_pool_query_decode(weir_buf_span(&body), WEIR_CODEC_MSGPACK, &q) == WEIR_OK);
    CHECK(q.packed);
    CHECK_EQ_U64(q.n_tokens, 4096);
    CHECK(weir_pool_query_unpack(weir_buf_span(&body), &plain) == WEIR_OK);
    struct weir_prep_request packed, listed;
    struct weir_err err;
    weir_arena_reset(&arena);
    CHECK(weir_prep_request_decode(weir_buf_span(&plain), WEIR_CODEC_MSGPACK, 4096, &arena, &listed,
                                   &err) == WEIR_OK);
    CHECK(weir_prep_request_decode(weir_buf_span(&body), WEIR_CODEC_MSGPACK, 4096, &arena, &packed,
                                   &err) == WEIR_OK);
    CHECK(listed.token_ids.n == 4096 && packed.token_ids.n == 4096);
    for (uint32_t i = 0; i < 4096; i++)
        CHECK(listed.token_ids.ids[i] == i * 70000u && packed.token_ids.ids[i] == i * 70000u);
    CHECK(weir_prep_request_decode(weir_buf_span(&body), WEIR_CODEC_MSGPACK, 4095, &arena, &packed,
                                   &err) == WEIR_TOO_LARGE);
    weir_buf_fini(&body);
    weir_buf_fini(&plain);
}

static const char agg[] =
    "{\"mode\":\"agg\",\"num_agg_pools\":2,\"agg_pool_dynamo_namespaces\":[\"a\",\"b\"],"
    "\"agg_pool_selection_strategy\":{\"ttft_min\":10,\"ttft_max\":3000,\"ttft_resolution\":2,"
    "\"itl_min\":5,\"itl_max\":200,\"itl_resolution\":2,\"agg_pool_mapping\":[[0,1],[1,1]]}}";
static const char disagg[] =
    "{\"num_prefill_pools\":2,\"num_decode_pools\":2,"
    "\"prefill_pool_dynamo_namespaces\":[\"a\",\"b\"],"
    "\"decode_pool_dynamo_namespaces\":[\"c\",\"d\"],"
    "\"prefill_pool_selection_strategy\":{\"ttft_min\":10,\"ttft_max\":3000,\"ttft_resolution\":2,"
    "\"isl_min\":0,\"isl_max\":32000,\"isl_resolution\":2,\"prefill_pool_mapping\":[[0,1],[0,1]],"
    "\"priority_overrides\":[{\"min_priority\":10,\"max_priority\":100,\"target_pool\":1}]},"
    "\"decode_pool_selection_strategy\":{\"itl_min\":10,\"itl_max\":500,\"itl_resolution\":2,"
    "\"context_length_min\":0,\"context_length_max\":32000,\"context_length_resolution\":2,"
    "\"decode_pool_mapping\":[[0,1],[0,1]]}}";

static void case_selection(void) {
    static const struct weir_pool_targets none = {NAN, NAN};
    static const struct {
        double ttft, itl;
        uint32_t pool;
    } rows[] = {{100, 10, 0},  {100, 150, 1}, {2000, 10, 1}, {2000, 150, 1},  {NAN, 10, 1},
                {100, NAN, 1}, {NAN, NAN, 1}, {0, 0, 0},     {10000, 1000, 1}};
    weir_arena_reset(&arena);
    struct weir_pool_config c = load(agg);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_pool_query q = {.n_tokens = 5, .ttft_ms = rows[i].ttft, .itl_ms = rows[i].itl};
        CHECK_EQ_U64(weir_pool_select(&c.agg, &q, &none).pool, rows[i].pool);
    }
    /* Defaults stand in for what is missing, for nothing else. */
    struct weir_pool_targets tight = {20, 6};
    struct weir_pool_query q = {.n_tokens = 5, .ttft_ms = NAN, .itl_ms = NAN};
    CHECK_EQ_U64(weir_pool_select(&c.agg, &q, &tight).pool, 0);
    q.ttft_ms = 2000;
    CHECK_EQ_U64(weir_pool_select(&c.agg, &q, &tight).pool, 1);
}

static void case_phases_and_priorities(void) {
    static const struct weir_pool_targets none = {NAN, NAN};
    weir_arena_reset(&arena);
    struct weir_pool_config c = load(disagg);
    struct weir_pool_query q = {.n_tokens = 100, .ttft_ms = 50, .itl_ms = 20};
    CHECK_EQ_U64(weir_pool_select(&c.prefill, &q, &none).pool, 0);
    CHECK_EQ_U64(weir_pool_select(&c.decode, &q, &none).pool, 0);
    q.has_priority = true;
    static const int64_t priorities[] = {9, 10, 50, 100, 101};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(priorities); i++) {
        q.priority = priorities[i];
        bool inside = priorities[i] >= 10 && priorities[i] <= 100;
        CHECK_EQ_U64(weir_pool_select(&c.prefill, &q, &none).pool, inside ? 1 : 0);
        CHECK_EQ_U64(weir_pool_select(&c.decode, &q, &none).pool, 0);
    }
    /* A boundary belongs to the upper bucket. */
    q = (struct weir_pool_query){.n_tokens = 16000, .ttft_ms = NAN, .itl_ms = NAN};
    CHECK_EQ_U64(weir_pool_select(&c.prefill, &q, &none).index[0], 1);
    CHECK_EQ_U64(weir_pool_select(&c.decode, &q, &none).index[0], 1);
}

/* The same figures from the two members alone. */
static void case_targets(void) {
    static const struct {
        const char *router, *extra;
        double ttft, itl;
    } rows[] = {{"{\"ttft_target\":50,\"itl_target\":7.5}", NULL, 50, 7.5},
                {"{\"ttft_target\":0}", "{\"ttft_target\":9,\"itl_target\":4}", 0, 4},
                {NULL, "{\"ttft_target\":0,\"itl_target\":4}", NAN, 4},
                {"{\"ttft_target\":\"fast\"}", "7", NAN, NAN},
                {"{\"ttft_target\":1,\"ttft_target\":2,\"itl_target\":3}", NULL, NAN, NAN},
                {"null", "null", NAN, NAN},
                {NULL, NULL, NAN, NAN}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        double ttft, itl;
        struct weir_span none = weir_span(NULL, 0);
        weir_pool_query_targets(rows[i].router != NULL ? weir_span_z(rows[i].router) : none,
                                rows[i].extra != NULL ? weir_span_z(rows[i].extra) : none, &ttft,
                                &itl);
        CHECK_MSG((ttft == rows[i].ttft || (isnan(ttft) && isnan(rows[i].ttft))) &&
                      (itl == rows[i].itl || (isnan(itl) && isnan(rows[i].itl))),
                  "row %zu: %g %g", i, ttft, itl);
    }
}

static void case_look(void) {
    static const struct {
        const char *json;
        bool data, error, final;
    } rows[] = {
        {"{\"data\":{\"data\":{\"token_ids\":[1]}},\"complete_final\":false}", true, false, false},
        {"{\"complete_final\":true}", false, false, true},
        {"{\"data\":null,\"complete_final\":true}", false, false, true},
        {"{\"complete_final\":true,\"data\":{\"data\":{}}}", true, false, true},
        {"{\"data\":{\"event\":\"error\",\"comment\":[\"x\"]},\"complete_final\":false}", true,
         true, false},
        {"{\"data\":{\"event\":\"err\\u006fr\"},\"complete_final\":false}", true, true, false},
        {"{\"data\":{\"event\":\"note\",\"error\":null},\"complete_final\":false}", true, false,
         false},
        {"{\"data\":{\"error\":{\"message\":\"x\"}},\"complete_final\":false}", true, true, false},
        {"{\"data\":7,\"complete_final\":false}", true, false, false},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_buf packed;
        struct weir_output_look a, b;
        weir_buf_init(&packed, 4096);
        CHECK(weir_mp_from_json(weir_span_z(rows[i].json), &packed) == WEIR_OK);
        CHECK_MSG(weir_output_look(weir_span_z(rows[i].json), WEIR_CODEC_JSON, &a) == WEIR_OK, "%s",
                  rows[i].json);
        CHECK(weir_output_look(weir_buf_span(&packed), WEIR_CODEC_MSGPACK, &b) == WEIR_OK);
        CHECK_MSG(a.has_data == rows[i].data && a.is_error == rows[i].error &&
                      a.complete_final == rows[i].final,
                  "%s", rows[i].json);
        CHECK(a.has_data == b.has_data && a.is_error == b.is_error &&
              a.complete_final == b.complete_final);
        /* Cut anywhere it is refused. */
        for (size_t n = 0; n < packed.len; n++)
            CHECK(weir_output_look(weir_span(packed.data, n), WEIR_CODEC_MSGPACK, &b) ==
                  WEIR_PROTOCOL);
        weir_buf_fini(&packed);
    }
    struct weir_output_look look;
    CHECK(weir_output_look(WEIR_SPAN_LIT("{\"data\":{}}"), WEIR_CODEC_JSON, &look) ==
          WEIR_PROTOCOL);
}

int main(void) {
    weir_arena_init(&arena, 64 << 20);
    CHECK_RUN(case_figures);
    CHECK_RUN(case_zero_and_both_places);
    CHECK_RUN(case_unreadable);
    CHECK_RUN(case_packed_ids);
    CHECK_RUN(case_selection);
    CHECK_RUN(case_phases_and_priorities);
    CHECK_RUN(case_targets);
    CHECK_RUN(case_look);
    weir_arena_fini(&arena);
    return check_finish();
}
