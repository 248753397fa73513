/* Distributions, arrivals, texts, traces, plans, bodies and replies. */
#include "bench/arrival.h"
#include "bench/dialog.h"
#include "bench/reply.h"
#include "bench/text.h"
#include "test/check.h"

#include <math.h>

static struct weir_dist dist(const char *text, uint64_t floor_at) {
    struct weir_dist d;
    struct weir_err err;
    CHECK_MSG(weir_dist_parse(text, floor_at, &d, &err) == WEIR_OK, "%s: %s", text, err.text);
    return d;
}

static void case_distributions_have_their_moments(void) {
    const struct {
        const char *text;
        double mean, stdev;
    } rows[] = {
        {"512", 512, 0},
        {"uniform:100-300", 200, 201 / sqrt(12)},
        {"normal:1000,100", 1000, 100},
        {"lognormal:1000,0.5", 1000 * exp(0.125), 1000 * exp(0.125) * sqrt(expm1(0.25))},
        {"exponential:1000", 1000, 1000},
    };
    enum { N = 200000 };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_dist d = dist(rows[i].text, 0);
        struct weir_rng rng;
        weir_rng_seed(&rng, 7);
        double sum = 0, squares = 0;
        for (int k = 0; k < N; k++) {
            double v = (double)weir_dist_sample(&d, &rng);
            sum += v;
            squares += v * v;
        }
        double mean = sum / N, stdev = sqrt(fmax(0, squares / N - mean * mean));
        CHECK_MSG(fabs(mean - rows[i].mean) <= 0.01 * rows[i].mean, "%s: mean %g", rows[i].text,
                  mean);
        CHECK_MSG(fabs(stdev - rows[i].stdev) <= 0.02 * rows[i].stdev + 0.01, "%s: deviation %g",
                  rows[i].text, stdev);
        CHECK(fabs(weir_dist_mean(&d) - rows[i].mean) <= 1e-6 * rows[i].mean);
        weir_dist_fini(&d);
    }
}

static void case_distributions_keep_the_floor(void) {
    struct weir_dist d = dist("normal:3,50", 1);
    struct weir_rng rng;
    weir_rng_seed(&rng, check_seed());
    unsigned ones = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t v = weir_dist_sample(&d, &rng);
        CHECK(v >= 1 && v < 1000);
        ones += v == 1;
    }
    CHECK(ones < 400); /* drawn again, not piled up */
}

static void case_distributions_refuse(void) {
    const char *const bad[] = {"",
                               "abc",
                               "-1",
                               "uniform:5",
                               "uniform:9-5",
                               "uniform:1.5-3",
                               "normal:5",
                               "normal:1,2,3",
                               "lognormal:0,1",
                               "exponential:",
                               "nothing:3",
                               "1e9",
                               "nan",
                               "file:",
                               "0"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        struct weir_dist d;
        struct weir_err err = {.text = ""};
        CHECK_MSG(weir_dist_parse(bad[i], 1, &d, &err) != WEIR_OK, "'%s' was taken", bad[i]);
        CHECK(err.text[0] != '\0');
    }
}

static void case_distribution_of_a_file(void) {
    struct weir_dist d;
    struct weir_err err;
    CHECK(weir_dist_from_lines(WEIR_SPAN_LIT("# lengths\n10\n\n 20 \r\n30"), 1, &d, &err) ==
          WEIR_OK);
    CHECK_EQ_U64(d.n_values, 3);
    CHECK(weir_dist_mean(&d) == 20);
    struct weir_rng rng;
    weir_rng_seed(&rng, 1);
    unsigned seen = 0;
    for (int i = 0; i < 100; i++)
        seen |= 1u << (weir_dist_sample(&d, &rng) / 10);
    CHECK_EQ_U64(seen, 14);
    weir_dist_fini(&d);
    CHECK(weir_dist_from_lines(WEIR_SPAN_LIT("10\nx\n"), 1, &d, &err) == WEIR_INVALID);
    CHECK(strstr(err.text, "line 2") != NULL);
    CHECK(weir_dist_from_lines(WEIR_SPAN_LIT("\n"), 1, &d, &err) == WEIR_INVALID);
}

static void case_arrivals(void) {
    struct weir_arrival a, b;
    weir_arrival_init(&a, 3, false, 250);
    for (uint64_t i = 0; i < 1000; i++)
        CHECK_EQ_U64(weir_arrival_next(&a), i * 4000000);
    weir_arrival_init(&a, 3, true, 1000);
    weir_arrival_init(&b, 3, true, 1000);
    enum { N = 100000 };
    uint64_t last = 0, over_2ms = 0;
    for (int i = 0; i < N; i++) {
        uint64_t at = weir_arrival_next(&a);
        CHECK_EQ_U64(at, weir_arrival_next(&b));
        CHECK(at >= last);
        over_2ms += at - last > 2000000;
        last = at;
    }
    CHECK(fabs((double)last / 1e9 - N / 1000.0) < 2); /* deviation 0.32 s */
    CHECK(fabs((double)over_2ms / N - exp(-2)) < 0.01);
}

static void case_texts(void) {
    struct weir_buf a, b;
    weir_buf_init(&a, 1 << 20);
    weir_buf_init(&b, 1 << 20);
    CHECK(weir_text_append(&a, 5, 1000) == WEIR_OK);
    CHECK(weir_text_append(&b, 5, 77) == WEIR_OK);
    CHECK_EQ_U64(a.len, 1000);
    CHECK_EQ_U64(b.len, 77);
    CHECK(memcmp(a.data, b.data, 77) == 0);
    for (size_t i = 0; i < a.len; i++)
        CHECK(a.data[i] == ' ' || (a.data[i] >= 'a' && a.data[i] <= 'z'));
    weir_buf_clear(&b);
    CHECK(weir_text_append(&b, 6, 1000) == WEIR_OK);
    CHECK(memcmp(a.data, b.data, 64) != 0);
    CHECK(weir_text_key(1, 2, 3) != weir_text_key(1, 3, 2));
    weir_buf_fini(&a);
    weir_buf_fini(&b);
}

static const char good_trace[] =
    "{\"timestamp\": 100, \"input_length\": 10, \"output_length\": 5, \"hash_ids\": [1, 2, 3]}\n"
    "\n"
    "{\"hash_ids\":[1,2],\"extra\":{\"a\":[]},\"output_length\":7,\"input_length\":8,"
    "\"timestamp\":600.5}\n";

static void case_trace_is_read(void) {
    struct weir_trace t;
    struct weir_err err;
    CHECK(weir_trace_parse(weir_span_z(good_trace), 4, &t, &err) == WEIR_OK);
    CHECK_EQ_U64(t.n_lines, 2);
    CHECK_EQ_U64(t.n_ids, 5);
    CHECK_EQ_U64(t.lines[1].n_ids, 2);
    CHECK_EQ_U64(weir_trace_ids(&t, &t.lines[0])[2], 3);
    CHECK(t.lines[1].timestamp_ms == 600.5);
    struct weir_plan plan = {.trace = &t, .trace_block = 4, .chars_per_token = 1, .turns = 1};
    CHECK_EQ_U64(weir_plan_trace_due(&plan, 1, 10), 50050000);
    CHECK_EQ_U64(weir_plan_trace_due(&plan, 0, 10), 0);
    struct weir_turn a = weir_plan_turn(&plan, 0, 0), b = weir_plan_turn(&plan, 1, 0);
    CHECK_EQ_U64(a.max_tokens, 5);
    struct weir_buf x, y;
    weir_buf_init(&x, 1 << 20);
    weir_buf_init(&y, 1 << 20);
    CHECK(weir_plan_text(&plan, &a, &x) == WEIR_OK && weir_plan_text(&plan, &b, &y) == WEIR_OK);
    CHECK_EQ_U64(x.len, 10);
    CHECK_EQ_U64(y.len, 8);
    CHECK(memcmp(x.data, y.data, 8) == 0); /* equal ids, equal blocks */
    CHECK(memcmp(x.data, x.data + 4, 4) != 0);
    weir_buf_fini(&x);
    weir_buf_fini(&y);
    weir_trace_fini(&t);
}

static void case_trace_is_spread(void) {
    struct weir_trace t;
    struct weir_err err;
    struct weir_buf text;
    const double at[] = {0, 0, 0, 3000, 6000, 6000}, want[] = {0, 1000, 2000, 3000, 6000, 7500};
    weir_buf_init(&text, 1 << 16);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(at); i++)
        CHECK(weir_buf_printf(&text,
                              "{\"timestamp\":%g,\"input_length\":4,\"output_length\":1,"
                              "\"hash_ids\":[1]}\n",
                              at[i]) == WEIR_OK);
    CHECK(weir_trace_parse(weir_buf_span(&text), 4, &t, &err) == WEIR_OK);
    weir_trace_spread(&t);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(at); i++)
        CHECK(t.lines[i].timestamp_ms == want[i]);
    weir_trace_fini(&t);
    weir_buf_fini(&text);
}

static void case_trace_refuses(void) {
    const struct {
        const char *line, *words;
    } rows[] = {
        {"", "empty"},
        {"{", "line 1: EOF"},
        {"[]", "line 1"},
        {"{\"timestamp\":1}", "needs timestamp"},
        {"{\"timestamp\":1,\"timestamp\":1}", "twice"},
        {"{\"timestamp\":1,\"input_length\":4,\"output_length\":0,\"hash_ids\":[1]}", "is 0"},
        {"{\"timestamp\":1,\"input_length\":5,\"output_length\":1,\"hash_ids\":[1]}", "2 blocks"},
        {"{\"timestamp\":1,\"input_length\":99999999,\"output_length\":1,\"hash_ids\":[1]}",
         "above"},
        {"{\"timestamp\":1,\"input_length\":4,\"output_length\":1,\"hash_ids\":[-1]}", "line 1"},
        {"{\"timestamp\":-1,\"input_length\":4,\"output_length\":1,\"hash_ids\":[1]}", "timestamp"},
        {"{\"timestamp\":9,\"input_length\":4,\"output_length\":1,\"hash_ids\":[1]}\n"
         "{\"timestamp\":8,\"input_length\":4,\"output_length\":1,\"hash_ids\":[1]}",
         "line 2"},
        {"{\"timestamp\":9,\"input_length\":4,\"output_length\":1,\"hash_ids\":[1]} x", "trailing"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_trace t;
        struct weir_err err = {.text = ""};
        CHECK_MSG(weir_trace_parse(weir_span_z(rows[i].line), 4, &t, &err) == WEIR_INVALID,
                  "taken: %s", rows[i].line);
        CHECK_MSG(strstr(err.text, rows[i].words) != NULL, "%s: %s", rows[i].line, err.text);
    }
}

static void case_plan_is_a_function_of_its_seed(void) {
    struct weir_plan plan = {.seed = 9,
                             .isl = dist("uniform:10-500", 1),
                             .osl = dist("uniform:1-50", 1),
                             .think_ms = dist("exponential:100", 0),
                             .prefix_groups = 3,
                             .prefix_tokens = 40,
                             .turns = 4,
                             .chars_per_token = 4};
    unsigned groups = 0;
    for (uint64_t c = 0; c < 200; c++) {
        struct weir_turn a = weir_plan_turn(&plan, c, 0), b = weir_plan_turn(&plan, c, 0);
        CHECK_EQ_U64(a.user_tokens, b.user_tokens);
        CHECK_EQ_U64(a.max_tokens, b.max_tokens);
        CHECK_EQ_U64(a.think_ns, 0);
        CHECK_EQ_U64(a.group, weir_plan_turn(&plan, c, 3).group);
        groups |= 1u << a.group;
    }
    CHECK_EQ_U64(groups, 7);
    struct weir_buf x;
    weir_buf_init(&x, 1 << 20);
    struct weir_turn t = weir_plan_turn(&plan, 5, 1);
    CHECK(weir_plan_text(&plan, &t, &x) == WEIR_OK);
    CHECK_EQ_U64(x.len, 4 * t.user_tokens);
    weir_buf_fini(&x);
}

static void case_dialog_grows_by_answers(void) {
    struct weir_plan plan = {.isl = dist("3", 1),
                             .osl = dist("2", 1),
                             .think_ms = dist("0", 0),
                             .turns = 2,
                             .chars_per_token = 1};
    struct weir_dialog_form form = {.model = "m\"", .chat = true, .stream = true};
    struct weir_dialog d;
    struct weir_span body;
    weir_dialog_init(&d, 1 << 20);
    struct weir_buf one, two;
    weir_buf_init(&one, 100);
    weir_buf_init(&two, 100);
    struct weir_turn t0 = weir_plan_turn(&plan, 0, 0), t1 = weir_plan_turn(&plan, 0, 1);
    CHECK(weir_plan_text(&plan, &t0, &one) == WEIR_OK &&
          weir_plan_text(&plan, &t1, &two) == WEIR_OK);
    CHECK(weir_dialog_begin(&d, &form) == WEIR_OK);
    CHECK(weir_dialog_user(&d, &plan, &t0) == WEIR_OK);
    CHECK(weir_dialog_body(&d, 9, &body) == WEIR_OK);
    char want[512];
    snprintf(want, sizeof(want),
             "{\"model\":\"m\\\"\",\"messages\":[{\"role\":\"user\",\"content\":\"%.3s\"}],"
             "\"max_tokens\":9,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
             one.data);
    CHECK_EQ_STR(body.data, body.len, want);
    CHECK(weir_dialog_answer(&d, WEIR_SPAN_LIT("a\\n")) == WEIR_OK);
    CHECK(weir_dialog_user(&d, &plan, &t1) == WEIR_OK);
    CHECK(weir_dialog_body(&d, 8, &body) == WEIR_OK);
    snprintf(
        want, sizeof(want),
        "{\"model\":\"m\\\"\",\"messages\":[{\"role\":\"user\",\"content\":\"%.3s\"},"
        "{\"role\":\"assistant\",\"content\":\"a\\n\"},{\"role\":\"user\",\"content\":\"%.3s\"}"
        "],\"max_tokens\":8,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
        one.data, two.data);
    CHECK_EQ_STR(body.data, body.len, want);
    form = (struct weir_dialog_form){.model = "m", .ignore_eos = true};
    CHECK(weir_dialog_begin(&d, &form) == WEIR_OK);
    CHECK(weir_dialog_user(&d, &plan, &t0) == WEIR_OK);
    CHECK(weir_dialog_answer(&d, WEIR_SPAN_LIT("xyz")) == WEIR_OK);
    CHECK(weir_dialog_user(&d, &plan, &t1) == WEIR_OK);
    CHECK(weir_dialog_body(&d, 8, &body) == WEIR_OK);
    snprintf(want, sizeof(want),
             "{\"model\":\"m\",\"prompt\":\"%.3sxyz%.3s\",\"max_tokens\":8,\"ignore_eos\":true}",
             one.data, two.data);
    CHECK_EQ_STR(body.data, body.len, want);
    weir_dialog_fini(&d);
    weir_buf_fini(&one);
    weir_buf_fini(&two);
}

static struct weir_reply reply(const char *json) {
    struct weir_reply r;
    CHECK_MSG(weir_reply_read(weir_span_z(json), &r), "refused: %s", json);
    return r;
}

static void case_replies_are_read(void) {
    struct weir_reply r =
        reply("{\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
              "\"content\":\"a\\\"b\"},\"finish_reason\":null}],\"usage\":null}");
    CHECK(r.has_text && !r.finished && !r.has_usage && !r.is_error);
    CHECK_EQ_STR(r.text.data, r.text.len, "a\\\"b");
    r = reply("{\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"length\"}]}");
    CHECK(!r.has_text && r.finished);
    r = reply(
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,"
        "\"total_tokens\":10,\"prompt_tokens_details\":{\"audio\":null,\"cached_tokens\":4}}}");
    CHECK(r.has_usage && r.prompt_tokens == 7 && r.completion_tokens == 3 && r.cached_tokens == 4);
    r = reply("{\"choices\":[{\"text\":\"hi\",\"finish_reason\":\"stop\"},{\"text\":\"no\"}],"
              "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,"
              "\"prompt_tokens_details\":null}}");
    CHECK_EQ_STR(r.text.data, r.text.len, "hi");
    CHECK(r.has_usage && r.cached_tokens == 0);
    r = reply("{\"choices\":[{\"message\":{\"content\":null,\"reasoning_content\":\"hm\"}}]}");
    CHECK(r.has_text && r.text.len == 0);
    r = reply("{\"error\":{\"message\":\"no\",\"code\":503}}");
    CHECK(r.is_error);
    CHECK_EQ_STR(r.message.data, r.message.len, "no");
    CHECK(reply("{\"message\":\"flat\",\"type\":\"t\",\"code\":500}").is_error);
    CHECK(!reply("{\"error\":null,\"choices\":[]}").is_error);
    const char *const bad[] = {
        "", "{", "[]", "{}", "{\"choices\":1}", "{\"choices\":[1]}", "null", "{\"choices\":[]} x"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++)
        CHECK_MSG(!weir_reply_read(weir_span_z(bad[i]), &r), "taken: %s", bad[i]);
}

int main(void) {
    CHECK_RUN(case_distributions_have_their_moments);
    CHECK_RUN(case_distributions_keep_the_floor);
    CHECK_RUN(case_distributions_refuse);
    CHECK_RUN(case_distribution_of_a_file);
    CHECK_RUN(case_arrivals);
    CHECK_RUN(case_texts);
    CHECK_RUN(case_trace_is_read);
    CHECK_RUN(case_trace_is_spread);
    CHECK_RUN(case_trace_refuses);
    CHECK_RUN(case_plan_is_a_function_of_its_seed);
    CHECK_RUN(case_dialog_grows_by_answers);
    CHECK_RUN(case_replies_are_read);
    return check_finish();
}
