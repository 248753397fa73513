/*
 * Checksums of cards: what a live Dynamo 1.6.1 logged for two cards of its mocker ("Rejected
 * incompatible workers"), the recorded vectors (shared data, mdcsum-vectors.json), and that each
 * member which counts makes another sum.
 */
#include "wire/card_sum.h"

#include "test/check.h"

#define FILE_OF(kind, hash)                                                                        \
    "{\"" kind "\":{\"path\":\"/m/" kind "\",\"checksum\":\"blake3:" hash "\",\"size\":7}}"
#define INFO                                                                                       \
    FILE_OF("hf_config_json", "318d18836d3ccee44b7a4ee27fae972acae1369c48c392112a5630748cfc038e")
#define TOKENIZER                                                                                  \
    FILE_OF("hf_tokenizer_json", "b0cb923fc505fdf0a53f0287654fa26577d3f333d4134350da0a97664b22873" \
                                 "9")
#define FORMATTER                                                                                  \
    FILE_OF("hf_tokenizer_config_json",                                                            \
            "462b64713e7a0c08d58f5da7fa54eb2e520172f25cb7b7c07b9d4ddb872aabe9")
#define GENERATION                                                                                 \
    FILE_OF("hf_generation_config_json",                                                           \
            "8bd28ea8302646596a8087db17d70a87fb14a5b7c712bb170ec413cb4a63613f")
#define FILES "\"model_info\":" INFO ",\"tokenizer\":" TOKENIZER ",\"prompt_formatter\":" FORMATTER
#define LIVE(length, runtime)                                                                      \
    "{\"display_name\":\"m\",\"slug\":\"m\",\"source_path\":\"/tmp/audit/model\"," FILES           \
    ",\"gen_config\":" GENERATION ",\"architectural_max_context_length\":131072,"                  \
    "\"context_length\":" length ",\"kv_cache_block_size\":16,\"migration_limit\":0,"              \
    "\"model_type\":\"Chat | Completions\",\"model_input\":\"Tokens\","                            \
    "\"worker_type\":\"aggregated\",\"needs\":[],\"runtime_config\":{" runtime                     \
    "\"total_kv_blocks\":16384},\"media_decoder\":null,\"media_fetcher\":null}"

static void case_of_dynamo(void) {
    static const struct {
        const char *card, *sum;
    } rows[] = {
        {LIVE("0", "\"context_length\":0,"),
         "7e16c743d66896dd90c66d9f970fd94d58a6070327de4924fec77fd75c3c2b68"},
        {LIVE("4096", "\"context_length\":4096,"),
         "a023f664dc5b6c2177979a612f02c8e09f6cb9c3e6d6cb04807f7d923e63710b"},
        /* These are by the order and the framing of dynamo-llm 1.6.1, hashed by Python's blake3. */
        {LIVE("4096", ""), "00042c652b06e8f86dd4cc671489ef1aa1272dd732da945eca7cb035dfeb1f35"},
        {LIVE("0", "\"context_length\":0,\"runtime_data\":{\"vllm_inference_v1_generate\":true,"
                   "\"vllm_enable_tower_connector_lora\":false,\"output_replay_consumer\":true},"),
         "5bf0ff45aa9d88231aad4a066441d186cc03f2e7c30f81b25b1403d1628295ff"},
        {LIVE("0", "\"context_length\":0,\"runtime_data\":{\"vllm_inference_v1_generate\":\"1\","
                   "\"vllm_enable_tower_connector_lora\":\" Yes\"},"),
         "a5ab8c1a72331064dfb8c30d1c065f0595dee28141b4006969e0c35be4927802"},
        {"{\"display_name\":\"m\",\"prompt_context\":[\"oai_chat\",\"llama3_date_time\"]}",
         "7143b6649d857070c1700046c06b56e820f2cf7871ee76b172f0d2d276f91643"},
        {"{\"display_name\":\"m\",\"indexer_identity\":{\"semantics\":{\"b\":\"2\",\"a\":\"one\"}}"
         "}",
         "e0e8dcc6b27d00d7a6b0f42c153fbdf792830a70ae48ba4a229515f000ff9131"},
        {"{\"display_name\":\"m\",\"indexer_identity\":{\"routing_scope\":{\"zone\":\"q\"}}}",
         "667342894f009636dc8593bd33149c7eac03e1979c9581e73035d38ac696d34b"},
        /* The recorded vectors. */
        {"{\"display_name\":\"f\"," FILES ",\"kv_cache_block_size\":16,"
         "\"worker_type\":\"aggregated\",\"needs\":[]}",
         "9526aa04dce98435e8ba616041006c097a4d0d8c3d73ac99a6c010d5f94f4237"},
        {"{\"display_name\":\"m\"," FILES ",\"gen_config\":" GENERATION
         ",\"context_length\":0,\"kv_cache_block_size\":16,\"worker_type\":\"aggregated\","
         "\"needs\":[]}",
         "eadc20d3898e72ddc4068119724597719dac420700e97b4fed2775e517cb7dda"},
        {"{\"display_name\":\"m\"," FILES ",\"gen_config\":" GENERATION
         ",\"context_length\":0,\"kv_cache_block_size\":16,\"worker_type\":\"decode\","
         "\"needs\":[[\"prefill\"]]}",
         "91901e4b39e27a70171aeacec95f12100001355de97ef5136ed8f38b69f0dc20"}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        char hex[WEIR_CARD_SUM_BYTES] = "";
        CHECK(weir_card_sum(weir_span_z(rows[i].card), true, hex) == WEIR_OK);
        CHECK_MSG(strcmp(hex, rows[i].sum) == 0, "card %zu: %s", i, hex);
    }
}

static void sum_of(const char *card, char ret[WEIR_CARD_SUM_BYTES]) {
    CHECK_MSG(weir_card_sum(weir_span_z(card), true, ret) == WEIR_OK, "%s", card);
}

#define FILE_REF(path, hash) "{\"path\":\"" path "\",\"checksum\":\"blake3:" hash "\"}"

static void case_what_counts(void) {
    static const char plain[] = "{\"display_name\":\"m\"}";
    /* Each is another card than the plain one and than all others here. */
    static const char *const other[] = {
        "{\"display_name\":\"n\"}",
        "{\"display_name\":\"m\",\"source_path\":\"x\"}",
        "{\"display_name\":\"m\",\"kv_cache_block_size\":1}",
        "{\"display_name\":\"m\",\"context_length\":1}",
        "{\"display_name\":\"m\",\"worker_type\":\"encode\"}",
        "{\"display_name\":\"m\",\"needs\":[[\"prefill\",\"decode\"]]}",
        "{\"display_name\":\"m\",\"needs\":[[\"prefill\"],[\"decode\"]]}",
        "{\"display_name\":\"m\",\"aliases\":[\"a\",\"bc\"]}",
        "{\"display_name\":\"m\",\"aliases\":[\"ab\",\"c\"]}",
        "{\"display_name\":\"m\",\"chat_template_file\":{\"hf_chat_template\":{\"is_custom\":true,"
        "\"file\":" FILE_REF("/t", "aa") "}}}",
        "{\"display_name\":\"m\",\"extra_files\":[" FILE_REF("/d/x", "aa") "]}",
        "{\"display_name\":\"m\",\"extra_files\":[" FILE_REF("/d/y", "aa") "]}",
        "{\"display_name\":\"m\",\"router_config\":{\"a\":1}}",
        "{\"display_name\":\"m\",\"indexer_identity\":{\"a\":1}}",
        "{\"display_name\":\"m\",\"prompt_context\":[\"a\"]}"};
    char sums[WEIR_ARRAY_LEN(other) + 1][WEIR_CARD_SUM_BYTES], again[WEIR_CARD_SUM_BYTES];
    for (size_t i = 0; i <= WEIR_ARRAY_LEN(other); i++) {
        sum_of(i < WEIR_ARRAY_LEN(other) ? other[i] : plain, sums[i]);
        for (size_t k = 0; k < i; k++)
            CHECK_MSG(strcmp(sums[i], sums[k]) != 0, "cards %zu and %zu", i, k);
    }
    /* And these are the plain one. */
    static const char *const same[] = {
        "{ \"display_name\" : \"\\u006d\" }",
        "{\"display_name\":\"m\",\"aliases\":[],\"extra_files\":[],\"needs\":null,\"slug\":\"q\"}",
        "{\"migration_limit\":3,\"display_name\":\"m\",\"runtime_config\":{\"max_num_seqs\":9}}"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(same); i++) {
        sum_of(same[i], again);
        CHECK_MSG(strcmp(again, sums[WEIR_ARRAY_LEN(other)]) == 0, "card %zu", i);
    }
    /* Whatever the order in which the files were found, and wherever they are. */
    char two[WEIR_CARD_SUM_BYTES];
    sum_of("{\"extra_files\":[" FILE_REF("/d/x", "aa") "," FILE_REF("/d/y", "bb") "]}", two);
    sum_of("{\"extra_files\":[" FILE_REF("http://h/e/y", "bb") "," FILE_REF("x", "aa") "]}", again);
    CHECK(strcmp(two, again) == 0);
    /* Without its source. */
    CHECK(weir_card_sum(weir_span_z(other[1]), false, again) == WEIR_OK);
    CHECK(strcmp(again, sums[WEIR_ARRAY_LEN(other)]) == 0);
}

static void case_no_cards(void) {
    static const char *const rows[] = {"", "[]", "{", "{\"a\":1}x", "{\"runtime_config\":[1]}"};
    char hex[WEIR_CARD_SUM_BYTES] = "untouched";
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        CHECK_MSG(weir_card_sum(weir_span_z(rows[i]), true, hex) == WEIR_INVALID, "%s", rows[i]);
    CHECK(strcmp(hex, "untouched") == 0);
}

int main(void) {
    CHECK_RUN(case_of_dynamo);
    CHECK_RUN(case_what_counts);
    CHECK_RUN(case_no_cards);
    return check_finish();
}
