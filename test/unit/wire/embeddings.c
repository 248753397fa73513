/* Requests for embeddings as clients write them and workers get them, and what workers answer, in
 * both codecs. Texts: as a Dynamo 1.6.1 sent and answered them (test/e2e/interop_embeddings.py). */
#include "wire/embeddings.h"

#include "base/msgpack.h"
#include "test/check.h"
#include "wire/openai_embeddings.h"

#include <math.h>

static const enum weir_codec codecs[] = {WEIR_CODEC_JSON, WEIR_CODEC_MSGPACK};
static struct weir_arena arena;
static struct weir_buf out, text;

static void fresh(void) {
    weir_arena_fini(&arena);
    weir_buf_fini(&out);
    weir_buf_fini(&text);
    weir_arena_init(&arena, 1 << 24);
    weir_buf_init(&out, 1 << 20);
    weir_buf_init(&text, 1 << 20);
}

static void ok(enum weir_status st) {
    CHECK(st == WEIR_OK);
}

static struct weir_span in_codec(const char *json, enum weir_codec codec) {
    weir_buf_clear(&text);
    ok(codec == WEIR_CODEC_MSGPACK ? weir_mp_from_json(weir_span_z(json), &text)
                                   : weir_buf_append_z(&text, json));
    return weir_buf_span(&text);
}

/* What was written, as JSON. */
static void wrote(enum weir_codec codec, const char *wanted) {
    weir_buf_clear(&text);
    ok(codec == WEIR_CODEC_MSGPACK ? weir_mp_to_json(weir_buf_span(&out), &text)
                                   : weir_buf_append_span(&text, weir_buf_span(&out)));
    CHECK_EQ_STR(text.data, text.len, wanted);
}

static enum weir_status parse(const char *body, struct weir_openai_request *q,
                              struct weir_openai_error *e) {
    const struct weir_openai_rules rules = {0};
    *e = (struct weir_openai_error){0};
    return weir_openai_parse(WEIR_OPENAI_EMBEDDINGS, weir_span_z(body), &rules, &arena, q, e);
}

static void case_inputs(void) {
    static const struct {
        const char *input;
        size_t n;
        enum weir_prompt_kind kind;
        size_t first; /* bytes or ids of the first */
    } rows[] = {{"\"a\\u00fc\"", 1, WEIR_PROMPT_TEXT, 3},
                {"\"\"", 1, WEIR_PROMPT_TEXT, 0},
                {"[\"ab\",\"\"]", 2, WEIR_PROMPT_TEXT, 2},
                {"[1,2,4294967295]", 1, WEIR_PROMPT_IDS, 3},
                {"[[1,2],[],[3]]", 3, WEIR_PROMPT_IDS, 2},
                {"[[]]", 1, WEIR_PROMPT_IDS, 0},
                {"[]", 0, WEIR_PROMPT_TEXT, 0}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        char body[256];
        struct weir_openai_request q;
        struct weir_openai_error e;
        fresh();
        snprintf(body, sizeof(body), "{\"model\":\"m\",\"input\":%s}", rows[i].input);
        ok(parse(body, &q, &e));
        CHECK(q.kind == WEIR_OPENAI_EMBEDDINGS && q.n_prompts == rows[i].n && !q.stream);
        CHECK_EQ_STR(q.model.data, q.model.len, "m");
        if (q.n_prompts == 0)
            continue;
        CHECK(q.prompts[0].kind == rows[i].kind);
        CHECK_EQ_U64(rows[i].kind == WEIR_PROMPT_TEXT ? q.prompts[0].text.len : q.prompts[0].ids.n,
                     rows[i].first);
    }
}

static void case_members(void) {
    struct weir_openai_request q;
    struct weir_openai_error e;
    fresh();
    ok(parse("{\"user\":\"u\",\"model\":\"m\",\"input\":\"x\",\"encoding_format\":\"base64\","
             "\"dimensions\":7,\"add_special_tokens\":false,\"truncate_prompt_tokens\":-1,"
             "\"nvext\":{\"annotations\":[\"a\",\"b\"],\"more\":1},\"more\":{}}",
             &q, &e));
    const struct weir_openai_embeddings *m = q.embeddings;
    CHECK(m->base64 && m->has_dimensions && m->n_dimensions == 7 && m->add_special == 0 &&
          m->has_truncate && m->truncate == -1 && m->has_nvext && m->annotation.n == 2);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(codecs); i++) {
        weir_buf_clear(&out);
        ok(weir_openai_embeddings_put(m, WEIR_SPAN_LIT("own"), codecs[i], &out));
        wrote(codecs[i],
              "{\"model\":\"own\",\"input\":\"x\",\"encoding_format\":\"base64\","
              "\"user\":\"u\",\"dimensions\":7,\"add_special_tokens\":false,"
              "\"truncate_prompt_tokens\":-1,\"nvext\":{\"annotations\":[\"a\",\"b\"]}}");
    }
    ok(parse("{\"model\":\"m\",\"input\":[[1]],\"encoding_format\":null,\"dimensions\":null,"
             "\"user\":null,\"nvext\":null,\"add_special_tokens\":null}",
             &q, &e));
    m = q.embeddings;
    CHECK(!m->base64 && !m->has_dimensions && m->add_special == -1 && !m->has_truncate &&
          !m->has_nvext && m->annotation.n == 0);
    weir_buf_clear(&out);
    ok(weir_openai_embeddings_put(m, WEIR_SPAN_LIT("m"), WEIR_CODEC_JSON, &out));
    wrote(WEIR_CODEC_JSON, "{\"model\":\"m\",\"input\":[[1]]}");
}

#define UNREAD "Failed to deserialize the JSON body into the target type: "
static void case_refusals(void) {
    static const struct {
        const char *body, *words;
    } rows[] = {{"{\"input\":\"a\"}", UNREAD "missing field `model` at line 1 column 13"},
                {"{\"model\":\"m\"}", UNREAD "missing field `input` at line 1 column 13"},
                {"[]", UNREAD
                 "invalid type: sequence, expected struct NvCreateEmbeddingRequest at line 1 "
                 "column 0"},
                {"{\"model\":\"m\",\"input\":null}", UNREAD
                 "data did not match any variant of untagged enum EmbeddingInput at line 1 column "
                 "26"},
                {"{\"model\":\"m\",\"input\":[1,\"a\"]}", UNREAD
                 "data did not match any variant of untagged enum EmbeddingInput at line 1 column "
                 "29"},
                {"{\"encoding_format\":\"x\",\"dimensions\":-1}",
                 UNREAD "unknown variant `x`, expected `float` or `base64` at line 1 column 39"},
                {"{\"encoding_format\":1}",
                 UNREAD "invalid type: integer `1`, expected string or map at line 1 column 21"},
                {"{\"dimensions\":-1,\"model\":1}",
                 UNREAD "invalid value: integer `-1`, expected u32 at line 1 column 27"},
                {"{\"nvext\":1,\"dimensions\":-1, \"input\":5}",
                 UNREAD "invalid type: integer `1`, expected struct NvExt at line 1 column 10"},
                {"{\"truncate_prompt_tokens\":\"x\",\"dimensions\":-1}",
                 UNREAD "invalid type: string \"x\", expected i64 at line 1 column 29"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_openai_request q;
        struct weir_openai_error e;
        fresh();
        CHECK(parse(rows[i].body, &q, &e) == WEIR_INVALID && e.http_status == 400);
        CHECK_EQ_STR(e.message.data, e.message.len, rows[i].words);
    }
}

static void case_request(void) {
    static const uint32_t a[] = {1, 70000}, b[] = {4294967295u};
    const struct weir_ids inputs[] = {{a, 2}, {NULL, 0}, {b, 1}};
    const struct weir_span note = WEIR_SPAN_LIT("n");
    struct weir_embeddings_request q = {.model = WEIR_SPAN_LIT("m"),
                                        .inputs = inputs,
                                        .n_inputs = 3,
                                        .annotations = {.set = true}},
                                   again;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(codecs); i++) {
        fresh();
        ok(weir_embeddings_request_encode(&q, codecs[i], &out));
        wrote(codecs[i], "{\"token_ids\":[[1,70000],[],[4294967295]],\"model\":\"m\","
                         "\"dimensions\":null,\"mdc_sum\":null,\"annotations\":[]}");
    }
    q.encoding_format = WEIR_SPAN_LIT("float");
    q.has_truncate = q.has_dimensions = true;
    q.truncate = -1;
    q.n_dimensions = 9;
    q.mdc_sum = WEIR_SPAN_LIT("s");
    q.annotations = (struct weir_strings){&note, 1, true};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(codecs); i++) {
        fresh();
        ok(weir_embeddings_request_encode(&q, codecs[i], &out));
        wrote(codecs[i],
              "{\"token_ids\":[[1,70000],[],[4294967295]],\"model\":\"m\",\"encoding_format\":"
              "\"float\",\"truncate_prompt_tokens\":-1,\"dimensions\":9,\"mdc_sum\":\"s\","
              "\"annotations\":[\"n\"]}");
        ok(weir_embeddings_request_decode(weir_buf_span(&out), codecs[i], 3, &arena, &again));
        CHECK(again.n_inputs == 3 && again.inputs[0].ids[1] == 70000 && again.inputs[1].n == 0 &&
              again.has_truncate && again.truncate == -1 && again.n_dimensions == 9);
        CHECK(weir_embeddings_request_decode(weir_buf_span(&out), codecs[i], 2, &arena, &again) ==
              WEIR_LIMIT);
        CHECK(weir_embeddings_request_decode(in_codec("{\"model\":\"m\"}", codecs[i]), codecs[i], 9,
                                             &arena, &again) == WEIR_INVALID);
        CHECK(weir_embeddings_request_decode(in_codec("{\"token_ids\":[[-1]]}", codecs[i]),
                                             codecs[i], 9, &arena, &again) == WEIR_INVALID);
    }
}

static enum weir_status take(const char *json, enum weir_codec codec, bool base64,
                             struct weir_embeddings_answer *a) {
    weir_embeddings_answer_init(a, base64, 1 << 20);
    return weir_embeddings_answer_take(a, in_codec(json, codec), codec, &arena);
}

#define ITEM(s) "{\"data\":{\"data\":" s "},\"complete_final\":false}"
/* 1, -0.5 and 0.1 as floats. */
#define PACKED "\"AACAPwAAAL/NzMw9\""
#define HEAD "{\"object\":\"list\",\"model\":\"m\",\"data\":[{\"index\":0,\"object\":"
#define TAIL "}],\"usage\":{\"prompt_tokens\":2,\"total_tokens\":3}}"
static void case_answers(void) {
    static const char *const items[] = {
        ITEM("{\"embeddings\":[" PACKED "],\"prompt_tokens\":2,\"total_tokens\":3}"),
        ITEM("{\"total_tokens\":3,\"prompt_tokens\":2,\"embeddings\":[[1,-0.5,0.1]],\"x\":{}}"),
        ITEM("{\"object\":\"list\",\"data\":[{\"embedding\":" PACKED ",\"index\":0}],\"usage\":"
             "{\"prompt_tokens\":2,\"total_tokens\":3}}"),
        ITEM("{\"data\":[{\"index\":0,\"x\":[],\"embedding\":[1.0,-5e-1,0.1]}],\"usage\":"
             "{\"prompt_tokens\":2,\"total_tokens\":3}}")};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(items); i++)
        for (size_t k = 0; k < 2 * WEIR_ARRAY_LEN(codecs); k++) {
            struct weir_embeddings_answer a;
            fresh();
            ok(take(items[i], codecs[k / 2], k % 2 == 1, &a));
            CHECK(a.n == 1 && a.n_values == 3);
            ok(weir_embeddings_answer_put(&a, WEIR_SPAN_LIT("m"), &out));
            CHECK_EQ_STR(out.data, out.len,
                         k % 2 == 1 ? HEAD "\"embedding\",\"embedding\":" PACKED TAIL
                                    : HEAD "\"embedding\",\"embedding\":[1.0,-0.5,0.1]" TAIL);
            weir_embeddings_answer_fini(&a);
        }
}

static void case_answers_that_are_none(void) {
    static const char *const items[] = {ITEM("{}"),
                                        ITEM("7"),
                                        ITEM("{\"embeddings\":{}}"),
                                        ITEM("{\"embeddings\":[\"????\"]}"),
                                        ITEM("{\"embeddings\":[\"AACAPwA=\"]}"),
                                        ITEM("{\"embeddings\":[[null]]}"),
                                        ITEM("{\"embeddings\":[1]}"),
                                        ITEM("{\"data\":[{\"index\":0}]}"),
                                        ITEM("{\"data\":[{\"embedding\":[1]}]}"),
                                        ITEM("{\"data\":[{\"index\":-1,\"embedding\":[1]}]}"),
                                        ITEM("{\"data\":[{\"index\":1,\"embedding\":[1]},"
                                             "{\"index\":1,\"embedding\":[2]}]}"),
                                        ITEM("{\"embeddings\":[[1]],"
                                             "\"data\":[{\"index\":0,\"embedding\":[1]}]}"),
                                        ITEM("{\"data\":[{\"index\":65536,\"embedding\":[1]}]}"),
                                        ITEM("{\"embeddings\":[[1]],\"prompt_tokens\":-1}"),
                                        ITEM("{\"data\":[],\"usage\":[]}")};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(items); i++)
        for (size_t k = 0; k < WEIR_ARRAY_LEN(codecs); k++) {
            struct weir_embeddings_answer a;
            fresh();
            CHECK(take(items[i], codecs[k], false, &a) == WEIR_PROTOCOL);
            weir_embeddings_answer_fini(&a);
        }
}

/* What our own workers send is read. */
static void case_items(void) {
    const float values[] = {1, -0.5f, 0.1f, NAN, INFINITY, -0.0f};
    for (size_t k = 0; k < 2 * WEIR_ARRAY_LEN(codecs); k++) {
        struct weir_embeddings_answer a;
        struct weir_embeddings_item item = {.values = values, .n = 2, .n_values = 3, .n_tokens = 5};
        fresh();
        if (k % 2 == 1)
            item.model = WEIR_SPAN_LIT("m");
        ok(weir_embeddings_item_encode(&item, codecs[k / 2], &out));
        weir_embeddings_answer_init(&a, false, 1 << 20);
        ok(weir_embeddings_answer_take(&a, weir_buf_span(&out), codecs[k / 2], &arena));
        CHECK_EQ_STR(a.data.data, a.data.len,
                     "{\"index\":0,\"object\":\"embedding\",\"embedding\":[1.0,-0.5,0.1]},"
                     "{\"index\":1,\"object\":\"embedding\",\"embedding\":[null,null,-0.0]}");
        CHECK(a.prompt_tokens == 5 && a.total_tokens == 5 && a.n == 2);
        weir_embeddings_answer_fini(&a);
    }
}

/* The order is the worker's; whether each index came once, and none is missing, is known at the
 * end. (Failed before: an index that came twice passed.) */
static void case_order(void) {
    struct weir_embeddings_answer a;
    fresh();
    ok(take(ITEM("{\"data\":[{\"index\":9,\"embedding\":[1]},{\"index\":0,\"embedding\":[2]}]}"),
            WEIR_CODEC_JSON, false, &a));
    CHECK(a.n == 2 && a.last == 9);
    ok(weir_embeddings_answer_take(
        &a, WEIR_SPAN_LIT(ITEM("{\"data\":[{\"index\":8,\"embedding\":[3]}]}")), WEIR_CODEC_JSON,
        &arena));
    CHECK(weir_embeddings_answer_take(
              &a, WEIR_SPAN_LIT(ITEM("{\"data\":[{\"index\":9,\"embedding\":[3]}]}")),
              WEIR_CODEC_JSON, &arena) == WEIR_PROTOCOL);
    weir_embeddings_answer_fini(&a);
}

/* An answer that is too long fails, and is not cut. */
static void case_bounds(void) {
    struct weir_embeddings_answer a;
    fresh();
    weir_embeddings_answer_init(&a, false, 32);
    CHECK(weir_embeddings_answer_take(&a, WEIR_SPAN_LIT(ITEM("{\"embeddings\":[" PACKED "]}")),
                                      WEIR_CODEC_JSON, &arena) != WEIR_OK);
    weir_embeddings_answer_fini(&a);
}

int main(void) {
    CHECK_RUN(case_inputs);
    CHECK_RUN(case_members);
    CHECK_RUN(case_refusals);
    CHECK_RUN(case_request);
    CHECK_RUN(case_answers);
    CHECK_RUN(case_answers_that_are_none);
    CHECK_RUN(case_order);
    CHECK_RUN(case_items);
    CHECK_RUN(case_bounds);
    fresh();
    weir_arena_fini(&arena);
    return check_finish();
}
