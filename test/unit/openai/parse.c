/* The parser's rules that must hold without the recorded cases at hand. */
#include "wire/openai.h"

#include "base/mem.h"
#include "test/check.h"

#include <math.h>

static struct weir_arena arena;

static enum weir_status parse(enum weir_openai_kind kind, const char *body,
                              struct weir_openai_request *q, struct weir_openai_error *e) {
    const struct weir_openai_rules rules = {0};
    weir_arena_fini(&arena);
    weir_arena_init(&arena, 1 << 24);
    *e = (struct weir_openai_error){0};
    return weir_openai_parse(kind, weir_span_z(body), &rules, &arena, q, e);
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void case_refusals(void) {
    static const struct {
        enum weir_openai_kind kind;
        const char *body;
        int status;
        const char *message;
    } rows[] = {
        {WEIR_OPENAI_CHAT, "", 400,
         "Failed to deserialize the JSON body into the target type: EOF while parsing a value at "
         "line 1 "
         "column 0"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"max_tokens\":1e1}", 400,
         "Failed to deserialize the JSON body into the target type: invalid type: floating point "
         "`10.0`, "
         "expected u32 at line 1 column 74"},
        {WEIR_OPENAI_CHAT,
         "{\"model\":\"m\"," HI ",\"foo\":1,\"bar\":2,\"foo\":3,\"temperature\":9}", 400,
         "Validation: Unsupported parameter(s): `foo`, `bar`"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"temperature\":2.1}", 400,
         "Validation: Temperature must be between 0 and 2, got 2.1"},
        /* As Dynamo 1.6.1 writes them (test/e2e/interop_http.py). */
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"temperature\":1e300}", 400,
         "Validation: Temperature must be between 0 and 2, got inf"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"presence_penalty\":2147483648}", 400,
         "Validation: Presence penalty must be between -2 and 2, got 2147483600"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"repetition_penalty\":-9223372036854775808}",
         400, "Validation: Repetition penalty must be between 0 and 2, got -9223372000000000000"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"temperature\":-1.25e-7}", 400,
         "Validation: Temperature must be between 0 and 2, got -0.000000125"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"temperature\":-1}", 400,
         "Validation: Temperature must be between 0 and 2, got -1"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"functions\":[]}", 501,
         "Validation: `functions` is deprecated. Please migrate to use `tools` instead."},
        {WEIR_OPENAI_CHAT, "{\"model\":\" \"," HI "}", 400, "Validation: Model cannot be empty"},
        {WEIR_OPENAI_CHAT,
         "{\"model\":\"m\"," HI ",\"guided_regex\":\"a\",\"guided_choice\":[\"a\"]}", 400,
         "Only one guided-decoding constraint can be set; received: regex, choice"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"max_tokens\":-0}", 400,
         "Failed to deserialize the JSON body into the target type: invalid type: floating point "
         "`-0.0`, expected u32 at line 1 column 73"},
        {WEIR_OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[[-0]]}", 400,
         "Failed to deserialize the JSON body into the target type: data did not match any variant "
         "of untagged enum Prompt at line 1 column 29"},
        {WEIR_OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":[\"a\",\"\"]}", 400,
         "Validation: Prompt string at index 1 cannot be empty"},
        {WEIR_OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\",\"best_of\":1,\"n\":2}", 400,
         "Validation: Best_of must be greater than or equal to n, got best_of=1 and n=2"},
        {WEIR_OPENAI_CHAT, "{\"model\":\"m\"," HI ",\"stream_options\":{}}", 400,
         "Validation: The 'stream_options' field is only allowed when 'stream' is set to true."},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_openai_request q;
        struct weir_openai_error e;
        CHECK(parse(rows[i].kind, rows[i].body, &q, &e) != WEIR_OK);
        CHECK_EQ_U64(e.http_status, rows[i].status);
        CHECK_EQ_STR(e.message.data, e.message.len, rows[i].message);
    }
}

static void case_everything_reaches_the_worker_request(void) {
    struct weir_openai_request q;
    struct weir_openai_error e;
    CHECK(
        parse(WEIR_OPENAI_CHAT,
              "{\"model\":\"m\"," HI
              ",\"max_tokens\":5,\"max_completion_tokens\":7,\"temperature\":0.5,"
              "\"top_k\":-1,\"seed\":-3,\"stop\":[\"a\",\"b\\n\"],\"stream\":true,"
              "\"stream_options\":{\"include_usage\":true},\"cache_salt\":\"s\",\"n\":2,"
              "\"logprobs\":true,\"top_logprobs\":3,\"response_format\":{\"type\":\"json_object\"},"
              "\"nvext\":{\"agent_hints\":{\"priority\":2,\"osl\":9},\"annotations\":[\"request_"
              "id\"],"
              "\"backend_instance_id\":18446744073709551615}}",
              &q, &e) == WEIR_OK);
    CHECK_EQ_U64(q.prep.stop.max_tokens, 7);
    CHECK(q.stream && q.include_usage && q.n == 2 && q.logprobs);
    CHECK_EQ_U64(q.prep.output.logprobs, 3);
    CHECK(q.prep.sampling.temperature == 0.5 && q.prep.sampling.has_top_k &&
          q.prep.sampling.top_k == -1);
    CHECK(q.prep.sampling.has_seed && q.prep.sampling.seed == -3);
    CHECK_EQ_U64(q.prep.stop.stop.n, 2);
    CHECK_EQ_STR(q.prep.stop.stop.items[1].data, q.prep.stop.stop.items[1].len, "b\n");
    CHECK_EQ_STR(q.prep.routing.cache_salt.data, q.prep.routing.cache_salt.len, "s");
    CHECK_EQ_STR(q.prep.extra_args.data, q.prep.extra_args.len,
                 "{\"nvext\":{\"cache_salt\":\"s\"}}");
    CHECK_EQ_STR(q.prep.sampling.guided_decoding.data, q.prep.sampling.guided_decoding.len,
                 "{\"json\":{\"type\":\"object\"}}");
    CHECK(q.prep.routing.priority == 2 && q.prep.routing.expected_output_tokens == 9);
    CHECK_EQ_U64(q.prep.routing.backend_instance_id, UINT64_MAX);
    CHECK((q.extras & WEIR_ANNOTATE_REQUEST_ID) != 0);
}

static void case_repairs(void) {
    struct weir_openai_request q;
    struct weir_openai_error e;
    CHECK(parse(WEIR_OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"a\nb\\\"\xff\"}", &q, &e) ==
          WEIR_OK);
    CHECK(q.repaired);
    CHECK_EQ_STR(q.prompts[0].text.data, q.prompts[0].text.len, "a\nb\"\xEF\xBF\xBD");
    CHECK(parse(WEIR_OPENAI_COMPLETION, "{\"model\":\"m\",\"prompt\":\"\xF0\x9F\x98\x80\"}", &q,
                &e) == WEIR_OK);
    CHECK(!q.repaired);
}

/* Each allocation fails once: no crash, no leak, and a clear status. */
static void case_out_of_memory(void) {
    for (uint64_t k = 1; k < 60; k++) {
        struct weir_openai_request q;
        struct weir_openai_error e = {0};
        const struct weir_openai_rules rules = {0};
        struct weir_arena own;
        weir_arena_init(&own, 1 << 24);
        weir_mem_fail_at(k);
        enum weir_status st = weir_openai_parse(
            WEIR_OPENAI_CHAT,
            WEIR_SPAN_LIT(
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\nb\"}],"
                "\"stop\":[\"x\"],\"cache_salt\":\"s\",\"guided_regex\":\"a\"}"),
            &rules, &own, &q, &e);
        weir_mem_fail_at(0);
        CHECK(st == WEIR_OK || st == WEIR_NOMEM || st == WEIR_INVALID);
        weir_arena_fini(&own);
    }
}

int main(void) {
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_everything_reaches_the_worker_request);
    CHECK_RUN(case_repairs);
    CHECK_RUN(case_out_of_memory);
    weir_arena_fini(&arena);
    return check_finish();
}
