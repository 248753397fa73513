/* Pool grids and the pool file: the vectors of shared spec "deploy" 1.5, 1.10, 1.12 and 1.13, a
 * plain-arithmetic oracle, and every refusal with its text. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "router/pool_config.h"
#include "test/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISAGG                                                                                     \
    "{\"num_prefill_pools\":2,\"num_decode_pools\":2,"                                             \
    "\"prefill_pool_dynamo_namespaces\":[\"p0\",\"p1\"],"                                          \
    "\"decode_pool_dynamo_namespaces\":[\"d0\",\"d1\"],"                                           \
    "\"prefill_pool_selection_strategy\":{\"ttft_min_ms\":10,\"ttft_max_ms\":3000,"                \
    "\"ttft_resolution\":2,\"isl_min\":0,\"isl_max\":32000,\"isl_resolution\":2,"                  \
    "\"prefill_pool_mapping\":[[0,1],[0,1]]},"                                                     \
    "\"decode_pool_selection_strategy\":{\"itl_min_ms\":10,\"itl_max_ms\":500,"                    \
    "\"itl_resolution\":2,\"context_length_min\":0,\"context_length_max\":32000,"                  \
    "\"context_length_resolution\":2,\"decode_pool_mapping\":[[0,1],[0,1]]}}"

#define AGG                                                                                        \
    "{\"mode\":\"agg\",\"num_agg_pools\":2,\"agg_pool_dynamo_namespaces\":[\"a\",\"b\"],"          \
    "\"agg_pool_selection_strategy\":{\"ttft_min_ms\":10,\"ttft_max_ms\":3000,"                    \
    "\"ttft_resolution\":2,\"itl_min_ms\":5,\"itl_max_ms\":200,\"itl_resolution\":2,"              \
    "\"agg_pool_mapping\":[[0,1],[1,1]]}}"

static struct weir_arena arena;
static int n_warnings;

static void on_warn(void *arg, const char *text) {
    (void)arg;
    (void)text;
    n_warnings++;
}

/* `base` with the first `find` replaced. */
static enum weir_status parse_with(const char *base, const char *find, const char *replace,
                                   struct weir_pool_config *ret, struct weir_err *err) {
    char text[4096];
    const char *at = find != NULL ? strstr(base, find) : NULL;
    if (find != NULL && at == NULL) {
        fprintf(stderr, "the row's text %s is not there\n", find);
        abort();
    }
    if (at == NULL)
        snprintf(text, sizeof(text), "%s", base);
    else
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - base), base, replace,
                 at + strlen(find));
    n_warnings = 0;
    return weir_pool_config_parse(weir_arena_copy(&arena, weir_span_z(text)), &arena, on_warn, NULL,
                                  ret, err);
}

static uint32_t pick(const struct weir_pool_set *set, double a, double b, int64_t priority) {
    return weir_pool_grid_select(&set->grid, (const double[]){a, b}, priority >= 0, priority).pool;
}

static void case_disagg_vectors(void) {
    struct weir_pool_config c;
    struct weir_err err;
    CHECK(parse_with(DISAGG, NULL, NULL, &c, &err) == WEIR_OK);
    CHECK(c.mode == WEIR_POOL_DISAGG && !c.enable_priority_retry);
    CHECK(c.prefill.priorities[0] == 0 && c.prefill.priorities[1] == 1);
    CHECK(strcmp(c.decode.namespaces[1], "d1") == 0);
    CHECK(pick(&c.prefill, 100, 50, -1) == 0);
    CHECK(pick(&c.prefill, 100, 50, 50) == 0);
    CHECK(pick(&c.decode, 100, 20, -1) == 0);
    CHECK(parse_with(DISAGG, "\"prefill_pool_mapping\"",
                     "\"priority_overrides\":[{\"min_priority\":10,\"max_priority\":100,"
                     "\"target_pool\":1}],\"prefill_pool_mapping\"",
                     &c, &err) == WEIR_OK);
    CHECK(pick(&c.prefill, 100, 50, 50) == 1 && pick(&c.prefill, 100, 50, 5) == 0);
    CHECK(pick(&c.prefill, 100, 50, -1) == 0);
    CHECK(pick(&c.prefill, 100, 50, 10) == 1 && pick(&c.prefill, 100, 50, 100) == 1);
    CHECK(pick(&c.prefill, 100, 50, 9) == 0 && pick(&c.prefill, 100, 50, 101) == 0);
}

static void case_agg_vectors(void) {
    static const struct {
        double ttft, itl;
        uint32_t pool;
    } rows[] = {{100, 10, 0},     {100, 150, 1}, {2000, 10, 1},    {2000, 150, 1},
                {NAN, 10, 1},     {100, NAN, 1}, {NAN, NAN, 1},    {0, 0, 0},
                {10000, 1000, 1}, {-1, -1, 0},   {INFINITY, 0, 1}, {-INFINITY, -INFINITY, 0}};
    struct weir_pool_config c;
    struct weir_err err;
    CHECK(parse_with(AGG, NULL, NULL, &c, &err) == WEIR_OK && c.mode == WEIR_POOL_AGG);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CHECK(pick(&c.agg, rows[i].ttft, rows[i].itl, -1) == rows[i].pool);
}

static void case_agg_three_by_three(void) {
    static const uint32_t mapping[] = {0, 1, 2, 1, 2, 0, 2, 0, 1};
    const struct weir_pool_grid g = {
        .axes = {{"ttft", 10, 3010, 3}, {"itl", 10, 100, 3}}, .n_axes = 2, .mapping = mapping};
    static const struct {
        double ttft, itl;
        uint32_t pool;
    } rows[] = {{100, 15, 0}, {100, 90, 2}, {1500, 55, 2}, {2500, 15, 2}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CHECK(
            weir_pool_grid_select(&g, (const double[]){rows[i].ttft, rows[i].itl}, false, 0).pool ==
            rows[i].pool);
}

static void case_agg_with_isl_axis(void) {
    struct weir_pool_config c;
    struct weir_err err;
    CHECK(parse_with("{\"mode\":\"agg\",\"num_agg_pools\":2,\"agg_pool_dynamo_namespaces\":[\"a\","
                     "\"b\"],\"agg_pool_selection_strategy\":{\"isl_min\":0,\"isl_max\":24576,"
                     "\"isl_resolution\":2,\"ttft_min\":10,\"ttft_max\":3000,\"ttft_resolution\":1,"
                     "\"itl_min\":5,\"itl_max\":200,\"itl_resolution\":1,"
                     "\"agg_pool_mapping\":[[[0]],[[1]]]}}",
                     NULL, NULL, &c, &err) == WEIR_OK);
    CHECK(n_warnings == 4); /* the bare names of four keys */
    CHECK(weir_pool_grid_select(&c.agg.grid, (const double[]){4096, 50, 50}, false, 0).pool == 0);
    CHECK(weir_pool_grid_select(&c.agg.grid, (const double[]){16384, 50, 50}, false, 0).pool == 1);
}

static void case_unit_names_win(void) {
    struct weir_pool_config c;
    struct weir_err err;
    CHECK(parse_with(AGG, "\"ttft_min_ms\":10", "\"ttft_min\":1,\"ttft_min_ms\":10", &c, &err) ==
          WEIR_OK);
    CHECK(c.agg.grid.axes[0].min == 10 && n_warnings == 0);
    CHECK(parse_with(AGG, "\"ttft_min_ms\":10", "\"ttft_min\":1", &c, &err) == WEIR_OK);
    CHECK(c.agg.grid.axes[0].min == 1 && n_warnings == 1);
}

/* The formula with no care for limits, on values where none is needed. */
static void case_grid_equals_plain_arithmetic(void) {
    struct weir_rng rng;
    weir_rng_seed(&rng, 20261126);
    for (int i = 0; i < 200000; i++) {
        struct weir_pool_axis a = {"x", weir_rng_unit(&rng) * 2000 - 1000, 0,
                                   (uint32_t)weir_rng_below(&rng, 12) + 1};
        a.max = a.min + 1e-3 + weir_rng_unit(&rng) * 5000;
        double v = a.min + (weir_rng_unit(&rng) * 3 - 1) * (a.max - a.min);
        if (i % 5 == 0) /* exactly on a boundary */
            v = a.min +
                (double)weir_rng_below(&rng, a.resolution + 1) * ((a.max - a.min) / a.resolution);
        long long plain = (long long)((v - a.min) / ((a.max - a.min) / a.resolution));
        if (plain < 0)
            plain = 0;
        if (plain > a.resolution - 1)
            plain = a.resolution - 1;
        CHECK(weir_pool_axis_index(&a, v) == (uint32_t)plain);
    }
    const struct weir_pool_axis isl = {"isl", 0, 32000, 2}, wide = {"x", -1e308, 1e308, 7};
    CHECK(weir_pool_axis_index(&isl, 16000) == 1 && weir_pool_axis_index(&isl, 15999) == 0);
    CHECK(weir_pool_axis_index(&isl, 1e300) == 1 && weir_pool_axis_index(&isl, -1e300) == 0);
    CHECK(weir_pool_axis_index(&isl, INFINITY) == 1 && weir_pool_axis_index(&isl, NAN) == 1);
    CHECK(weir_pool_axis_index(&wide, 0) < 7);
}

static bool order_is(uint32_t selected, const int64_t *priorities, size_t n, bool retry,
                     const uint32_t *want, size_t n_want) {
    uint32_t got[8];
    return weir_pool_retry_order(selected, priorities, n, retry, got) == n_want &&
           memcmp(got, want, n_want * sizeof(*want)) == 0;
}

static void case_retry_order(void) {
    const int64_t plain[] = {0, 1, 2}, mixed[] = {10, 0, 5}, tied[] = {0, 1, 1, 2},
                  five[] = {5, 0, 10};
    CHECK(order_is(2, plain, 3, true, (const uint32_t[]){2, 1, 0}, 3));
    CHECK(order_is(0, plain, 3, true, (const uint32_t[]){0}, 1));
    CHECK(order_is(0, mixed, 3, true, (const uint32_t[]){0, 2, 1}, 3));
    CHECK(order_is(3, tied, 4, true, (const uint32_t[]){3, 1, 2, 0}, 4));
    CHECK(order_is(2, plain, 3, false, (const uint32_t[]){2}, 1));
    CHECK(order_is(2, five, 3, true, (const uint32_t[]){2, 0, 1}, 3));
    uint32_t got[3];
    CHECK(weir_pool_retry_order(3, plain, 3, true, got) == 0);
}

static double latency(void *arg, size_t pool, double size) {
    (void)arg;
    return pool == 0 ? size / 100 : pool == 1 ? size / 10 : size < 1000 ? 1 : (double)NAN;
}

static void case_grid_builder(void) {
    const struct weir_pool_axis size = {"isl", 0, 4000, 2}, target = {"ttft", 0, 200, 2};
    const double costs[] = {8, 1, 1};
    uint32_t mapping[4];
    weir_pool_grid_build(&size, &target, costs, 2, latency, NULL, mapping);
    /* middle 1000: 10 ms (cost 8) or 100 ms (cost 1); middle 3000: 30 or 300 ms */
    CHECK(mapping[0] == 1 && mapping[1] == 1 && mapping[2] == 0 && mapping[3] == 0);
    weir_pool_grid_build(&size, &target, costs, 3, latency, NULL, mapping);
    CHECK(mapping[0] == 1); /* first of two equally cheap pools; pool 2 has no figure there */
}

static const struct bad {
    const char *base, *find, *replace, *text;
} bads[] = {
    {"", NULL, NULL, "not JSON: EOF while parsing a value at line 1 column 0"},
    {"[]", NULL, NULL, "the file must hold a JSON object, got an array"},
    {"null", NULL, NULL, "the file must hold a JSON object, got null"},
    {"{\"mode\":}", NULL, NULL, "not JSON: expected value at line 1 column 9"},
    {"{} x", NULL, NULL, "not JSON: trailing characters at line 1 column 4"},
    {"{}", NULL, NULL, "num_prefill_pools required"},
    {AGG, "\"agg\"", "\"both\"", "Unknown mode 'both': it must be \"disagg\" or \"agg\""},
    {AGG, "\"agg\"", "3", "Unknown mode: it must be \"disagg\" or \"agg\", got a number"},
    {AGG, "\"agg\"", "null", "Unknown mode: it must be \"disagg\" or \"agg\", got null"},
    {AGG, "\"mode\"", "\"enable_priority_retry\":1,\"mode\"",
     "enable_priority_retry must be a boolean, got a number"},
    {AGG, "\"mode\"", "\"enable_priority_retry\":\"true\",\"mode\"",
     "enable_priority_retry must be a boolean, got a string"},
    {AGG, "\"mode\":\"agg\"", "\"enable_priority_retry\":null,\"mode\":\"both\"",
     "enable_priority_retry must be a boolean, got null"},
    {AGG, "\"num_agg_pools\":2,", "", "num_agg_pools required"},
    {AGG, "\"num_agg_pools\":2", "\"num_agg_pools\":\"2\"",
     "num_agg_pools must be an integer, got a string"},
    {AGG, "\"num_agg_pools\":2", "\"num_agg_pools\":2.0",
     "num_agg_pools must be an integer, got a number"},
    {AGG, "\"num_agg_pools\":2", "\"num_agg_pools\":true",
     "num_agg_pools must be an integer, got a boolean"},
    {AGG, "\"num_agg_pools\":2", "\"num_agg_pools\":3",
     "num_agg_pools (3) does not match agg_pool_dynamo_namespaces length (2)"},
    {AGG, "\"num_agg_pools\":2", "\"num_agg_pools\":-2",
     "num_agg_pools (-2) does not match agg_pool_dynamo_namespaces length (2)"},
    {AGG, "\"num_agg_pools\":2,\"agg_pool_dynamo_namespaces\":[\"a\",\"b\"]",
     "\"num_agg_pools\":0,\"agg_pool_dynamo_namespaces\":[]",
     "num_agg_pools must be 1 to 4096, got 0"},
    {AGG, "\"agg_pool_dynamo_namespaces\":[\"a\",\"b\"],", "",
     "agg_pool_dynamo_namespaces required"},
    {AGG, "[\"a\",\"b\"]", "\"ab\"",
     "agg_pool_dynamo_namespaces must be an array of strings, got a string"},
    {AGG, "[\"a\",\"b\"]", "[\"a\",7]", "agg_pool_dynamo_namespaces[1] must be a string"},
    {AGG, "[\"a\",\"b\"]", "[\"\",\"b\"]", "agg_pool_dynamo_namespaces[0] must not be empty"},
    {AGG, "\"agg_pool_sel", "\"agg_pool_priorities\":[0],\"agg_pool_sel",
     "agg_pool_priorities length (1) does not match num_agg_pools (2)"},
    {AGG, "\"agg_pool_sel", "\"agg_pool_priorities\":[0,true],\"agg_pool_sel",
     "agg_pool_priorities[1] must be an integer, got a boolean"},
    {AGG, "\"agg_pool_sel", "\"agg_pool_priorities\":[0,\"1\"],\"agg_pool_sel",
     "agg_pool_priorities[1] must be an integer, got a string"},
    {AGG, "\"agg_pool_sel", "\"agg_pool_priorities\":[0.5,1],\"agg_pool_sel",
     "agg_pool_priorities[0] must be an integer, got a number"},
    {AGG, "\"agg_pool_sel", "\"agg_pool_priorities\":{},\"agg_pool_sel",
     "agg_pool_priorities must be an array of integers, got an object"},
    {AGG, "agg_pool_selection_strategy", "other", "agg_pool_selection_strategy required"},
    {"{\"mode\":\"agg\",\"num_agg_pools\":1,\"agg_pool_dynamo_namespaces\":[\"a\"],"
     "\"agg_pool_selection_strategy\":[]}",
     NULL, NULL, "agg_pool_selection_strategy must be an object, got an array"},
    {AGG, "\"ttft_min_ms\":10,", "", "ttft_min_ms required"},
    {AGG, "\"ttft_max_ms\":3000,", "", "ttft_max_ms required"},
    {AGG, "\"itl_min_ms\":5,", "", "itl_min_ms required"},
    {AGG, "\"itl_max_ms\":200,", "", "itl_max_ms required"},
    {AGG, "\"ttft_resolution\":2,", "", "ttft_resolution required"},
    {AGG, "\"itl_resolution\":2,", "", "itl_resolution required"},
    {AGG, "\"ttft_min_ms\":10", "\"ttft_min_ms\":\"10\"",
     "ttft_min_ms must be a number, got a string"},
    {AGG, "\"ttft_min_ms\":10", "\"ttft_min_ms\":null", "ttft_min_ms must be a number, got null"},
    {AGG, "\"ttft_min_ms\":10", "\"ttft_min\":false", "ttft_min must be a number, got a boolean"},
    {AGG, "\"ttft_resolution\":2", "\"ttft_resolution\":0",
     "ttft_resolution must be greater than 0, got 0"},
    {AGG, "\"ttft_resolution\":2", "\"ttft_resolution\":-1",
     "ttft_resolution must be greater than 0, got -1"},
    {AGG, "\"ttft_resolution\":2", "\"ttft_resolution\":2.5",
     "ttft_resolution must be an integer, got a number"},
    {AGG, "\"ttft_resolution\":2", "\"ttft_resolution\":999999999",
     "ttft_resolution must be at most 16777216, got 999999999"},
    {AGG, "\"ttft_min_ms\":10", "\"ttft_min_ms\":3000",
     "ttft_min_ms (3000) must be less than ttft_max_ms (3000)"},
    {AGG, "\"ttft_min_ms\":10", "\"ttft_min_ms\":4000",
     "ttft_min_ms (4000) must be less than ttft_max_ms (3000)"},
    {AGG, "\"itl_max_ms\":200", "\"itl_max_ms\":1",
     "itl_min_ms (5) must be less than itl_max_ms (1)"},
    {AGG, "\"agg_pool_mapping\":[[0,1],[1,1]]", "\"x\":1", "agg_pool_mapping required"},
    {AGG, "[[0,1],[1,1]]", "7", "agg_pool_mapping must be an array, got a number"},
    {AGG, "\"ttft_resolution\":2", "\"ttft_resolution\":3",
     "agg_pool_mapping rows (2) does not match ttft_resolution (3)"},
    {AGG, "\"itl_resolution\":2", "\"itl_resolution\":3",
     "agg_pool_mapping row 0 length (2) does not match itl_resolution (3)"},
    {AGG, "[[0,1],[1,1]]", "[[0,1],[1]]",
     "agg_pool_mapping row 1 length (1) does not match itl_resolution (2)"},
    {AGG, "[[0,1],[1,1]]", "[[0,1],1]", "agg_pool_mapping row 1 must be an array, got a number"},
    {AGG, "[[0,1],[1,1]]", "[[0,1],[1,5]]", "Invalid agg pool index 5 in mapping (must be 0 to 1)"},
    {AGG, "[[0,1],[1,1]]", "[[0,-1],[1,1]]",
     "Invalid agg pool index -1 in mapping (must be 0 to 1)"},
    {AGG, "[[0,1],[1,1]]", "[[0,\"1\"],[1,1]]",
     "agg_pool_mapping row 0 element 1 must be an integer, got a string"},
    {AGG, "[[0,1],[1,1]]", "[[0,1],[1,true]]",
     "agg_pool_mapping row 1 element 1 must be an integer, got a boolean"},
    {AGG, "\"agg_pool_mapping\"", "\"priority_overrides\":7,\"agg_pool_mapping\"",
     "priority_overrides must be an array, got a number"},
    {AGG, "\"agg_pool_mapping\"", "\"priority_overrides\":[7],\"agg_pool_mapping\"",
     "priority_overrides[0] must be an object, got a number"},
    {AGG, "\"agg_pool_mapping\"",
     "\"priority_overrides\":[{\"min_priority\":1,\"max_priority\":2,\"target_pool\":0,\"x\":1}],"
     "\"agg_pool_mapping\"",
     "agg priority_overrides[0]: priority_overrides[0] has an unknown key 'x'"},
    {AGG, "\"agg_pool_mapping\"",
     "\"priority_overrides\":[{\"max_priority\":2,\"target_pool\":0}],\"agg_pool_mapping\"",
     "agg priority_overrides[0]: min_priority required"},
    {AGG, "\"agg_pool_mapping\"",
     "\"priority_overrides\":[{\"min_priority\":2,\"target_pool\":0}],\"agg_pool_mapping\"",
     "agg priority_overrides[0]: max_priority required"},
    {AGG, "\"agg_pool_mapping\"",
     "\"priority_overrides\":[{\"min_priority\":2,\"max_priority\":2}],\"agg_pool_mapping\"",
     "agg priority_overrides[0]: target_pool required"},
    {AGG, "\"agg_pool_mapping\"",
     "\"priority_overrides\":[{\"min_priority\":3,\"max_priority\":2,\"target_pool\":0}],"
     "\"agg_pool_mapping\"",
     "priority_overrides[0]: min_priority (3) must be <= max_priority (2)"},
    {AGG, "\"agg_pool_mapping\"",
     "\"priority_overrides\":[{\"min_priority\":1,\"max_priority\":2,\"target_pool\":2}],"
     "\"agg_pool_mapping\"",
     "priority_overrides[0]: invalid target_pool 2 (must be 0 to 1)"},
    {DISAGG, "\"num_decode_pools\":2,", "", "num_decode_pools required"},
    {DISAGG, "\"num_prefill_pools\":2", "\"num_prefill_pools\":1",
     "num_prefill_pools (1) does not match prefill_pool_dynamo_namespaces length (2)"},
    {DISAGG, "\"isl_max\":32000", "\"isl_max\":0", "isl_min (0) must be less than isl_max (0)"},
    {DISAGG, "\"context_length_min\":0,", "", "context_length_min required"},
    {DISAGG, "\"decode_pool_mapping\":[[0,1],[0,1]]", "\"decode_pool_mapping\":[[0,1],[0,9]]",
     "Invalid decode pool index 9 in mapping (must be 0 to 1)"},
    {DISAGG, "\"num_prefill_pools\":2", "\"num_prefill_pools\":4097",
     "num_prefill_pools (4097) does not match prefill_pool_dynamo_namespaces length (2)"},
    {DISAGG, "\"prefill_pool_dynamo_namespaces\"", "\"x\"",
     "prefill_pool_dynamo_namespaces required"},
    {DISAGG, "[\"d0\",\"d1\"]", "[[\"d0\"],\"d1\"]",
     "decode_pool_dynamo_namespaces[0] must be a string"},
    {DISAGG, "\"decode_pool_sel", "\"decode_pool_priorities\":null,\"decode_pool_sel",
     "decode_pool_priorities must be an array of integers, got null"},
    {DISAGG, "decode_pool_selection_strategy", "other", "decode_pool_selection_strategy required"},
    {DISAGG, "\"isl_resolution\":2,", "", "isl_resolution required"},
    {DISAGG, "\"isl_min\":0", "\"isl_min\":\"0\"", "isl_min must be a number, got a string"},
    {DISAGG, "\"prefill_pool_mapping\":[[0,1],[0,1]]", "\"prefill_pool_mapping\":[[0,1]]",
     "prefill_pool_mapping rows (1) does not match isl_resolution (2)"},
    {DISAGG, "\"itl_resolution\":2", "\"itl_resolution\":[]",
     "itl_resolution must be an integer, got an array"},
    {AGG, "\"ttft_min_ms\"", "\"isl_resolution\":2,\"isl_min\":0,\"isl_max\":100,\"ttft_min_ms\"",
     "agg_pool_mapping row 0 0 must be an array, got a number"},
};

static void case_refusals(void) {
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        struct weir_pool_config c = {.enable_priority_retry = true};
        struct weir_err err = {0};
        enum weir_status st = parse_with(bads[i].base, bads[i].find, bads[i].replace, &c, &err);
        if (st != WEIR_INVALID || strcmp(err.text, bads[i].text) != 0)
            fprintf(stderr, "row %zu: got \"%s\", wanted \"%s\"\n", i, err.text, bads[i].text);
        CHECK(st == WEIR_INVALID && strcmp(err.text, bads[i].text) == 0);
        CHECK(c.enable_priority_retry); /* untouched on failure */
        weir_arena_reset(&arena);
    }
}

/* A grid of that many cells that their number wraps around, and a text that has a row of it: more
 * cells than there was room for were written. */
static void case_a_grid_of_too_many_cells(void) {
    enum { ISL = 2641016, TTFT = 2625207, ITL = 2660634 }; /* modulo 2^64: 26,192 */
    static const unsigned n[] = {ITL, TTFT, ISL};
    struct weir_arena big;
    struct weir_buf text;
    struct weir_pool_config c;
    struct weir_err err = {.text = ""};
    weir_arena_init(&big, (size_t)64 << 20);
    weir_buf_init(&text, (size_t)16 << 20);
    CHECK(weir_buf_printf(&text,
                          "{\"mode\":\"agg\",\"num_agg_pools\":1,\"agg_pool_dynamo_namespaces\":["
                          "\"p\"],\"agg_pool_selection_strategy\":{\"isl_min\":0,\"isl_max\":9,"
                          "\"isl_resolution\":%d,\"ttft_min_ms\":1,\"ttft_max_ms\":9,"
                          "\"ttft_resolution\":%d,\"itl_min_ms\":1,\"itl_max_ms\":9,"
                          "\"itl_resolution\":%d,\"agg_pool_mapping\":[[[0",
                          ISL, TTFT, ITL) == WEIR_OK);
    for (size_t level = 0; level < WEIR_ARRAY_LEN(n); level++) {
        enum weir_status st = WEIR_OK;
        for (unsigned i = 1; i < n[level] && st == WEIR_OK; i++)
            st = weir_buf_append(&text, ",0", 2);
        CHECK(st == WEIR_OK && weir_buf_append_c(&text, ']') == WEIR_OK);
    }
    CHECK(weir_buf_append_z(&text, "}}") == WEIR_OK);
    CHECK(weir_pool_config_parse(weir_buf_span(&text), &big, NULL, NULL, &c, &err) == WEIR_INVALID);
    CHECK_EQ_STR(err.text, strlen(err.text),
                 "agg_pool_mapping row 0 1 must be an array, got a number");
    weir_buf_fini(&text);
    weir_arena_fini(&big);
}

static void case_missing_file(void) {
    struct weir_pool_config c;
    struct weir_err err;
    CHECK(weir_pool_config_load("/nonexistent/pools.json", &arena, NULL, NULL, &c, &err) ==
          WEIR_NOT_FOUND);
    CHECK(strstr(err.text, "/nonexistent/pools.json") != NULL);
}

static void case_places(void) {
    struct weir_pool_config c;
    struct weir_err err;
    uint32_t pool = 9;
    CHECK(parse_with(DISAGG, NULL, NULL, &c, &err) == WEIR_OK);
    CHECK(weir_pool_config_set(&c, true) == &c.prefill &&
          weir_pool_config_set(&c, false) == &c.decode);
    CHECK(weir_pool_set_place(&c.prefill, WEIR_SPAN_LIT("p1"), &pool) && pool == 1);
    CHECK(!weir_pool_set_place(&c.prefill, WEIR_SPAN_LIT("d0"), &pool) && pool == 1);
    CHECK(!weir_pool_set_place(&c.prefill, WEIR_SPAN_LIT("p"), &pool));
    CHECK(weir_pool_config_distinct(&c, &err) == WEIR_OK);
    /* One namespace may hold prefill and decode workers, but no two pools of one kind. */
    CHECK(parse_with(DISAGG, "[\"d0\",\"d1\"]", "[\"p0\",\"p1\"]", &c, &err) == WEIR_OK);
    CHECK(weir_pool_config_distinct(&c, &err) == WEIR_OK);
    CHECK(parse_with(DISAGG, "[\"p0\",\"p1\"]", "[\"p0\",\"p0\"]", &c, &err) == WEIR_OK);
    CHECK(weir_pool_config_distinct(&c, &err) == WEIR_INVALID);
    CHECK(strcmp(err.text, "prefill pools 0 and 1 have the same namespace p0: a worker can be in "
                           "one only") == 0);
    CHECK(parse_with(AGG, NULL, NULL, &c, &err) == WEIR_OK);
    CHECK(weir_pool_config_set(&c, true) == NULL && weir_pool_config_set(&c, false) == &c.agg);
}

static void case_drawing(void) {
    struct weir_pool_config c;
    struct weir_err err;
    struct weir_buf out;
    weir_buf_init(&out, 1 << 16);
    CHECK(parse_with(AGG, NULL, NULL, &c, &err) == WEIR_OK);
    CHECK(weir_pool_set_draw(&c.agg, &out) == WEIR_OK);
    CHECK(weir_buf_append_c(&out, '\0') == WEIR_OK);
    CHECK(strstr(out.data, "ttft >= 1505") != NULL && strstr(out.data, "pool 1") != NULL);
    weir_buf_fini(&out);
}

int main(void) {
    weir_arena_init(&arena, (size_t)64 << 20);
    CHECK_RUN(case_disagg_vectors);
    CHECK_RUN(case_agg_vectors);
    CHECK_RUN(case_agg_three_by_three);
    CHECK_RUN(case_agg_with_isl_axis);
    CHECK_RUN(case_unit_names_win);
    CHECK_RUN(case_grid_equals_plain_arithmetic);
    CHECK_RUN(case_retry_order);
    CHECK_RUN(case_grid_builder);
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_a_grid_of_too_many_cells);
    CHECK_RUN(case_missing_file);
    CHECK_RUN(case_places);
    CHECK_RUN(case_drawing);
    weir_arena_fini(&arena);
    return check_finish();
}
