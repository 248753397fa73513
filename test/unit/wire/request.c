/* PreprocessedRequest in both codecs: malformed members, limits, every member there and back. */
#include "wire/request.h"

#include "base/msgpack.h"
#include "base/rng.h"
#include "test/check.h"

#include <math.h>

static struct weir_arena arena;
static struct weir_buf out, text;

static void fresh(void) {
    weir_arena_fini(&arena);
    weir_buf_fini(&out);
    weir_buf_fini(&text);
    weir_arena_init(&arena, 8 << 20);
    weir_buf_init(&out, 8 << 20);
    weir_buf_init(&text, 8 << 20);
}

static enum weir_status decode(const char *json, enum weir_codec codec, size_t max_ids,
                               struct weir_prep_request *q, struct weir_err *err) {
    weir_buf_clear(&text);
    CHECK((codec == WEIR_CODEC_MSGPACK ? weir_mp_from_json(weir_span_z(json), &text)
                                       : weir_buf_append_z(&text, json)) == WEIR_OK);
    return weir_prep_request_decode(weir_buf_span(&text), codec, max_ids, &arena, q, err);
}

static void case_accepted_and_refused(void) {
    static const struct {
        const char *json;
        enum weir_status status;
        const char *error;
    } rows[] = {
        {"{\"token_ids\":[1,2,3],\"stop_conditions\":{\"max_tokens\":2}}", WEIR_OK, ""},
        {"{\"token_ids\":[]}", WEIR_OK, ""},
        {"{\"token_ids\":[1],\"future\":{\"x\":[1]},\"routing\":null,\"sampling_options\":{}}",
         WEIR_OK, ""},
        {"{\"token_ids\":[4294967295,1,2,3]}", WEIR_OK, ""},
        {"{\"token_ids\":[1,2,3,4,5]}", WEIR_TOO_LARGE, "more than 4 token ids"},
        {"{\"model\":\"m\"}", WEIR_INVALID, "token_ids is missing"},
        {"{}", WEIR_INVALID, "token_ids is missing"},
        {"{\"token_ids\":null}", WEIR_INVALID, "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[4294967296]}", WEIR_INVALID,
         "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[-1]}", WEIR_INVALID, "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[\"1\"]}", WEIR_INVALID, "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":{}}", WEIR_INVALID, "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[1],\"model\":7}", WEIR_INVALID, "unreadable request at member \"model\""},
        {"{\"token_ids\":[1],\"stop_conditions\":[]}", WEIR_INVALID,
         "unreadable request at member \"stop_conditions\""},
        {"{\"token_ids\":[1],\"stop_conditions\":{\"max_tokens\":\"9\"}}", WEIR_INVALID,
         "unreadable request at member \"stop_conditions\""},
        {"{\"token_ids\":[1],\"stop_conditions\":{\"stop\":[7]}}", WEIR_INVALID,
         "unreadable request at member \"stop_conditions\""},
        {"{\"token_ids\":[1],\"sampling_options\":{\"temperature\":\"hot\"}}", WEIR_INVALID,
         "unreadable request at member \"sampling_options\""},
        {"{\"token_ids\":[1],\"sampling_options\":{\"top_k\":2147483648}}", WEIR_INVALID,
         "unreadable request at member \"sampling_options\""},
        {"{\"token_ids\":[1],\"routing\":{\"dp_rank\":\"0\"}}", WEIR_INVALID,
         "unreadable request at member \"routing\""},
        {"{\"token_ids\":[1],\"bootstrap_info\":{\"bootstrap_port\":1}}", WEIR_INVALID,
         "unreadable request at member \"bootstrap_info\""},
        {"{\"token_ids\":[1],\"bootstrap_info\":{\"bootstrap_host\":\"h\",\"bootstrap_port\":65536}"
         "}",
         WEIR_INVALID, "unreadable request at member \"bootstrap_info\""},
        {"{\"token_ids\":[1],\"bootstrap_info\":{\"bootstrap_host\":\"h\",\"handoff_id\":"
         "\"eeace711\"}}",
         WEIR_INVALID, "unreadable request at member \"bootstrap_info\""},
        {"[]", WEIR_INVALID, "unreadable request at member \"\""},
        /* Twice: a router and the worker behind it might take one each. */
        {"{\"token_ids\":[1],\"token_ids\":null}", WEIR_INVALID,
         "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[1],\"token_ids\":[1,2]}", WEIR_INVALID,
         "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[1],\"routing\":{\"dp_rank\":0,\"dp_rank\":1}}", WEIR_INVALID,
         "unreadable request at member \"routing\""},
        {"{\"token_ids\":[1],\"routing\":{\"dp_rank\":0},\"routing\":null}", WEIR_INVALID,
         "unreadable request at member \"routing\""},
        {"{\"token_ids\":[1],\"sampling_options\":{\"top_p\":1,\"top_p\":0.5}}", WEIR_INVALID,
         "unreadable request at member \"sampling_options\""},
        {"{\"token_ids\":[1],\"later\":1,\"later\":2}", WEIR_OK, ""},
        /* A name is what it reads as, however it is spelled. */
        {"{\"token\\u005fids\":[1,2],\"\\u0072outing\":{\"dp_r\\u0061nk\":0}}", WEIR_OK, ""},
        {"{\"token\\u005fids\":null}", WEIR_INVALID, "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[1],\"token\\u005fids\":[2]}", WEIR_INVALID,
         "unreadable request at member \"token_ids\""},
        {"{\"token_ids\":[1],\"routing\":{\"dp_rank\":0,\"\\u0064p_rank\":1}}", WEIR_INVALID,
         "unreadable request at member \"routing\""},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        for (int codec = 0; codec < 2; codec++) {
            struct weir_prep_request q;
            struct weir_err err = {.text = ""};
            fresh();
            enum weir_status st = decode(rows[i].json, (enum weir_codec)codec, 4, &q, &err);
            CHECK_MSG(st == rows[i].status, "%s: %s", rows[i].json, weir_status_name(st));
            CHECK_EQ_STR(err.text, strlen(err.text), rows[i].error);
        }
    struct weir_prep_request q;
    struct weir_err err;
    CHECK(decode("{\"token_ids\":[1]} x", WEIR_CODEC_JSON, 4, &q, &err) == WEIR_INVALID);
    CHECK_EQ_STR(err.text, strlen(err.text), "the request is broken or has bytes behind it");
}

static void case_unset(void) {
    struct weir_prep_request q;
    struct weir_err err;
    fresh();
    CHECK(decode("{\"token_ids\":[1]}", WEIR_CODEC_JSON, 4, &q, &err) == WEIR_OK);
    CHECK(q.stop.max_tokens == -1 && q.stop.ignore_eos == -1 && !q.stop.stop.set);
    CHECK(isnan(q.sampling.temperature) && q.sampling.n == -1 && !q.sampling.has_seed);
    CHECK(q.output.logprobs == -1 && !q.routing.set && !q.bootstrap.set);
    CHECK(q.mdc_sum.data == NULL && q.extra_args.data == NULL && isnan(q.request_timestamp_ms));
    /* All null members of an untouched request, as the reference writes them. */
    weir_prep_request_init(&q);
    q.model = WEIR_SPAN_LIT("m");
    CHECK(weir_prep_request_encode(&q, WEIR_CODEC_JSON, &out) == WEIR_OK);
    CHECK_EQ_STR(
        out.data, out.len,
        "{\"model\":\"m\",\"token_ids\":[],\"stop_conditions\":{\"max_tokens\":null,\"stop\":null,"
        "\"stop_token_ids\":null,\"stop_token_ids_visible\":null,\"stop_token_ids_hidden\":null,"
        "\"min_tokens\":null,\"ignore_eos\":null,\"max_thinking_tokens\":null},\"sampling_"
        "options\":{"
        "\"n\":null,\"best_of\":null,\"presence_penalty\":null,\"frequency_penalty\":null,"
        "\"repetition_penalty\":null,\"temperature\":null,\"top_p\":null,\"top_k\":null,\"min_p\":"
        "null,"
        "\"use_beam_search\":null,\"length_penalty\":null,\"seed\":null,"
        "\"include_stop_str_in_output\":null,\"guided_decoding\":null},\"output_options\":{"
        "\"logprobs\":null,\"prompt_logprobs\":null,\"skip_special_tokens\":null,"
        "\"formatted_prompt\":null,\"return_tokens_as_token_ids\":null},\"eos_token_ids\":[],"
        "\"mdc_sum\":null,\"annotations\":[],\"router_config_override\":null}");
}

/* A request with everything set, decoded from one codec and written in the other and back. */
static void case_all_members(void) {
    static const char json[] =
        "{\"model\":\"m \\\"q\\\" "
        "\\u20ac\",\"token_ids\":[0,127,128,255,256,65535,65536,4294967295],"
        "\"stop_conditions\":{\"max_tokens\":9007199254740993,\"stop\":[\"a\",\"\",\"\\n\"],"
        "\"stop_token_ids\":[],\"stop_token_ids_visible\":[7],\"stop_token_ids_hidden\":[1,2],"
        "\"min_tokens\":0,\"ignore_eos\":false,\"max_thinking_tokens\":11},\"sampling_options\":{"
        "\"n\":3,\"best_of\":4,\"presence_penalty\":-2.0,\"frequency_penalty\":0.1,"
        "\"repetition_penalty\":1.1,\"temperature\":0.0,\"top_p\":1.0,\"top_k\":-1,\"min_p\":0.05,"
        "\"use_beam_search\":null,\"length_penalty\":1e-7,\"seed\":-9223372036854775808,"
        "\"include_stop_str_in_output\":true,\"guided_decoding\":{\"json\":{\"a\":[1,2.5,null]}},"
        "\"detokenize\":true,\"allowed_token_ids\":[5],\"bad_words_token_ids\":[[1],[2,3]]},"
        "\"output_options\":{\"logprobs\":0,\"prompt_logprobs\":20,\"skip_special_tokens\":true,"
        "\"formatted_prompt\":false,\"return_tokens_as_token_ids\":true},\"eos_token_ids\":[151645]"
        ","
        "\"mdc_sum\":\"ab\",\"annotations\":[\"x\",\"k:v\"],\"routing\":{"
        "\"backend_instance_id\":18446744073709551615,\"prefill_worker_id\":0,\"decode_worker_id\":"
        "2,"
        "\"dp_rank\":0,\"prefill_dp_rank\":1,\"expected_output_tokens\":10,\"lora_name\":\"l\","
        "\"cache_salt\":\"s\",\"priority_jump\":2.0,\"strict_priority\":1,\"priority\":-2,"
        "\"routing_constraints\":{\"required\":[\"t\"]}},\"router_config_override\":{"
        "\"overlap_score_credit\":0.0},\"prefill_result\":{\"disaggregated_params\":\"d\"},"
        "\"bootstrap_info\":{\"bootstrap_host\":\"h\",\"bootstrap_port\":65535,"
        "\"bootstrap_room\":18446744073709551615,"
        "\"handoff_id\":\"eeace711-e6cd-4b69-bb27-f22196a65ab0\"},\"extra_args\":{\"nvext\":{}},"
        "\"agent_context\":{\"session_id\":\"s\"},\"request_timestamp_ms\":1795225413414.5,"
        "\"require_reasoning\":true}";
    for (int codec = 0; codec < 2; codec++) {
        struct weir_prep_request q;
        struct weir_err err = {.text = ""};
        fresh();
        CHECK_MSG(decode(json, (enum weir_codec)codec, 100, &q, &err) == WEIR_OK, "%s", err.text);
        CHECK(q.sampling.seed == INT64_MIN && q.stop.max_tokens == 9007199254740993);
        CHECK(q.token_ids.n == 8 && q.token_ids.ids[7] == UINT32_MAX);
        CHECK(q.stop.stop_token_ids.ids != NULL && q.stop.stop_token_ids.n == 0);
        CHECK(q.routing.backend_instance_id == UINT64_MAX && q.routing.priority == -2);
        for (int other = 0; other < 2; other++) {
            struct weir_prep_request again;
            struct weir_buf back; /* not `text`: the request still points into that */
            weir_buf_init(&back, 1 << 20);
            weir_buf_clear(&out);
            CHECK(weir_prep_request_encode(&q, (enum weir_codec)other, &out) == WEIR_OK);
            CHECK(weir_prep_request_decode(weir_buf_span(&out), (enum weir_codec)other, 100, &arena,
                                           &again, &err) == WEIR_OK);
            CHECK(weir_prep_request_encode(&again, WEIR_CODEC_JSON, &back) == WEIR_OK);
            struct weir_span want = WEIR_SPAN_LIT(json);
            /* The text has the euro sign as an escape; the encoder writes the character. */
            CHECK(weir_span_starts(weir_buf_span(&back),
                                   WEIR_SPAN_LIT("{\"model\":\"m \\\"q\\\" \xe2\x82\xac\"")));
            struct weir_span got_rest = {back.data + 22, back.len - 22};
            struct weir_span want_rest = {want.data + 25, want.len - 25};
            CHECK_MSG(weir_span_eq(got_rest, want_rest), "\n got %.*s\nwant %.*s",
                      WEIR_SPAN_ARG(got_rest), WEIR_SPAN_ARG(want_rest));
            weir_buf_fini(&back);
        }
    }
}

/* A cut at any byte is an error. */
static void case_every_prefix_is_refused(void) {
    const char *json = "{\"model\":\"m\",\"stop_conditions\":{\"max_tokens\":2,\"stop\":[\"a\"]},"
                       "\"routing\":{\"dp_rank\":0},\"extra_args\":{\"nvext\":{\"a\":[1]}},"
                       "\"token_ids\":[1,70000]}";
    for (int codec = 0; codec < 2; codec++) {
        struct weir_prep_request q;
        struct weir_err err;
        fresh();
        CHECK(decode(json, (enum weir_codec)codec, 4, &q, &err) == WEIR_OK);
        for (size_t n = 0; n < text.len; n++) {
            weir_arena_reset(&arena);
            CHECK(weir_prep_request_decode(weir_span(text.data, n), (enum weir_codec)codec, 4,
                                           &arena, &q, &err) == WEIR_INVALID);
        }
    }
}

/* Prompts of any size and any ids. */
static void case_ids(void) {
    static uint32_t ids[9000];
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    for (unsigned round = 0; round < 50; round++) {
        size_t n = (size_t)weir_rng_below(&rng, 9000);
        /* Runs of ids of one size, which are written many at once, and ids that change. */
        uint64_t run = round % 2 == 0 ? 1 : 60;
        for (size_t i = 0; i < n;) {
            unsigned shift = 32 + (unsigned)weir_rng_below(&rng, 32);
            for (size_t end = i + 1 + weir_rng_below(&rng, run); i < end && i < n; i++)
                ids[i] = (uint32_t)(weir_rng_u64(&rng) >> shift);
        }
        for (int codec = 0; codec < 2; codec++) {
            struct weir_prep_request q, got;
            struct weir_err err;
            fresh();
            weir_prep_request_init(&q);
            q.token_ids = (struct weir_ids){ids, n};
            CHECK(weir_prep_request_encode(&q, (enum weir_codec)codec, &out) == WEIR_OK);
            /* Each id as one alone is written. */
            struct weir_mpw w;
            weir_mpw_init(&w, &text);
            for (size_t i = 0; i < n; i++)
                weir_mpw_u64(&w, ids[i]);
            CHECK(codec != WEIR_CODEC_MSGPACK || n == 0 ||
                  memmem(out.data, out.len, text.data, text.len) != NULL);
            CHECK(weir_prep_request_decode(weir_buf_span(&out), (enum weir_codec)codec, n, &arena,
                                           &got, &err) == WEIR_OK);
            CHECK(got.token_ids.n == n && (n == 0 || memcmp(got.token_ids.ids, ids, 4 * n) == 0));
            if (n > 0)
                CHECK(weir_prep_request_decode(weir_buf_span(&out), (enum weir_codec)codec, n - 1,
                                               &arena, &got, &err) == WEIR_TOO_LARGE);
        }
    }
}

static void vary(struct weir_rng *rng, struct weir_prep_request *q) {
    static const uint32_t few[] = {2, 300, 70000, 1, 2, 3, 4, 5, 6, 7};
    static const struct weir_span words[] = {{"a", 1}, {"bc", 2}};
    static char changing[8]; /* the same address, other content */
    snprintf(changing, sizeof(changing), "%u", (unsigned)weir_rng_below(rng, 3));
    weir_prep_request_init(q);
    q->model = WEIR_SPAN_LIT("m");
    q->token_ids = (struct weir_ids){few, (size_t)weir_rng_below(rng, 4)};
    q->eos_token_ids = q->stop.stop_token_ids_hidden =
        (struct weir_ids){few, (size_t)weir_rng_below(rng, 11)};
    q->routing.set = true;
    q->routing.dp_rank = (int64_t)weir_rng_below(rng, 2);
    q->mdc_sum = weir_span(changing, 1);
    switch (weir_rng_below(rng, 24)) {
    case 0:
        q->stop.max_tokens = 7;
        break;
    case 1:
        q->stop.stop = (struct weir_strings){words, 2, true};
        break;
    case 2:
        q->stop.stop_token_ids = (struct weir_ids){few, 3};
        break;
    case 3:
        q->sampling.temperature = 0.5;
        break;
    case 4:
        q->sampling.guided_decoding = WEIR_SPAN_LIT("{\"regex\":\"x\"}");
        break;
    case 5:
        q->output.logprobs = 3;
        break;
    case 6:
        q->annotations = (struct weir_strings){words, 1, true};
        break;
    case 7:
        q->routing.cache_salt = weir_span(changing, 1);
        break;
    case 8:
        q->extra_args = WEIR_SPAN_LIT("{\"a\":1}");
        break;
    case 9:
        q->bootstrap = (struct weir_bootstrap){.set = true, .host = words[0], .room = 9};
        break;
    case 10:
        q->request_timestamp_ms = 1.5;
        break;
    case 11:
        q->mdc_sum = weir_span(NULL, 0);
        break;
    case 12:
        q->routing.has_priority = true;
        q->routing.priority = -3;
        break;
    case 13:
        q->sampling.allowed_token_ids = (struct weir_ids){few, 0};
        break;
    case 15:
        q->require_reasoning = true;
        break;
    case 14:
        q->stop.stop_token_ids_hidden = (struct weir_ids){NULL, 0};
        break;
    }
}

/* Whatever came before: the bytes are those of the plain way. */
static void case_like_the_last(void) {
    static struct weir_prep_pattern p;
    struct weir_rng rng;
    unsigned kept = 0;
    weir_rng_seed(&rng, check_seed());
    fresh();
    for (unsigned i = 0; i < 20000; i++) {
        struct weir_prep_request q;
        enum weir_codec codec = i % 8 == 0 ? WEIR_CODEC_JSON : WEIR_CODEC_MSGPACK;
        vary(&rng, &q);
        weir_buf_clear(&out);
        weir_buf_clear(&text);
        CHECK(weir_buf_append_z(&out, "before") == WEIR_OK);
        CHECK(weir_prep_request_encode_like(&p, &q, codec, &out) == WEIR_OK);
        CHECK(weir_prep_request_encode(&q, codec, &text) == WEIR_OK);
        CHECK(out.len == 6 + text.len && memcmp(out.data + 6, text.data, text.len) == 0);
        kept += p.len > 0;
    }
    CHECK(kept > 0);
    weir_buf_fini(&out);
    weir_buf_init(&out, 300);
    struct weir_prep_request q;
    weir_prep_request_init(&q);
    CHECK(weir_prep_request_encode_like(&p, &q, WEIR_CODEC_MSGPACK, &out) == WEIR_TOO_LARGE);
}

/* No memory: an error with its own name, nothing lost. */
static void case_no_memory(void) {
    struct weir_prep_request q;
    struct weir_err err;
    struct weir_arena small;
    fresh();
    weir_arena_init(&small, 16);
    CHECK(weir_prep_request_decode(WEIR_SPAN_LIT("{\"token_ids\":[1]}"), WEIR_CODEC_JSON, 4, &small,
                                   &q, &err) == WEIR_NOMEM);
    CHECK_EQ_STR(err.text, strlen(err.text), "the request does not fit the memory for it");
    weir_arena_fini(&small);
    weir_buf_fini(&out);
    weir_buf_init(&out, 64);
    weir_prep_request_init(&q);
    CHECK(weir_prep_request_encode(&q, WEIR_CODEC_JSON, &out) == WEIR_TOO_LARGE);
    weir_buf_clear(&out);
    CHECK(weir_prep_request_encode(&q, WEIR_CODEC_MSGPACK, &out) == WEIR_TOO_LARGE);
}

int main(void) {
    CHECK_RUN(case_accepted_and_refused);
    CHECK_RUN(case_unset);
    CHECK_RUN(case_all_members);
    CHECK_RUN(case_every_prefix_is_refused);
    CHECK_RUN(case_ids);
    CHECK_RUN(case_like_the_last);
    CHECK_RUN(case_no_memory);
    fresh();
    return check_finish();
}
