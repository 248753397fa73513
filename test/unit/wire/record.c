/* Discovery records: what is refused alone so that it cannot poison the rest, names, keys, cards.
 */
#include "wire/record.h"

#include "test/check.h"

static struct weir_arena arena;
static struct weir_buf out;

static void fresh(void) {
    weir_arena_fini(&arena);
    weir_buf_fini(&out);
    weir_arena_init(&arena, 1 << 20);
    weir_buf_init(&out, 1 << 20);
}

#define WHERE "\"namespace\":\"n\",\"component\":\"c\",\"endpoint\":\"e\""
#define INSTANCE "{\"type\":\"Endpoint\"," WHERE ",\"instance_id\":1"
#define FILE_REF "{\"path\":\"/m/x.json\",\"checksum\":\"blake3:00\"}"
/* The nine members without which a real frontend does not serve a model. */
#define CARD_OF(name, slug, block)                                                                 \
    "\"display_name\":\"" name "\",\"slug\":\"" slug                                               \
    "\",\"model_info\":{\"hf_config_json\":" FILE_REF                                              \
    "},\"tokenizer\":{\"hf_tokenizer_json\":" FILE_REF                                             \
    "},\"prompt_formatter\":{\"hf_tokenizer_config_json\":" FILE_REF                               \
    "},\"kv_cache_block_size\":" block                                                             \
    ",\"migration_limit\":0,\"model_type\":\"Chat | Completions\",\"model_input\":\"Tokens\""
#define CARD CARD_OF("Org/M", "org_m", "16")
#define MODEL(card) "{\"type\":\"Model\"," WHERE ",\"instance_id\":1,\"card_json\":{" card "}}"

static void case_accepted_and_refused(void) {
    static const struct {
        const char *json;
        const char *error; /* NULL: accepted */
    } rows[] = {
        {INSTANCE ",\"transport\":{\"tcp\":\"1.2.3.4:5/p\"}}", NULL},
        {INSTANCE ",\"transport\":{\"nats_tcp\":\"s\"},\"future\":[1]}", NULL},
        {INSTANCE
         ",\"transport\":{\"tcp\":\"a\"},\"device_type\":null,\"request_plane_codec\":null}",
         NULL},
        {INSTANCE ",\"transport\":{\"tcp\":\"a\"},\"device_type\":\"cpu\"}", NULL},
        {"{" WHERE ",\"instance_id\":1,\"transport\":{\"tcp\":\"a\"},\"type\":\"Endpoint\"}", NULL},
        {INSTANCE ",\"transport\":{\"tcp\":\"a\"},\"device_type\":\"tpu\"}",
         "unreadable at member \"device_type\""},
        {INSTANCE ",\"transport\":{\"tcp\":\"a\"},\"request_plane_codec\":\"cbor\"}",
         "unreadable at member \"request_plane_codec\""},
        {INSTANCE "}", "the instance has no endpoint or no transport"},
        {INSTANCE ",\"transport\":{\"http\":\"http://x\"}}",
         "the instance has no endpoint or no transport"},
        {INSTANCE ",\"transport\":\"tcp\"}", "unreadable at member \"transport\""},
        {"{\"type\":\"Endpoint\",\"namespace\":\"n\",\"transport\":{\"tcp\":\"a\"}}",
         "the instance has no endpoint or no transport"},
        {"{\"type\":\"Endpoint\",\"endpoint\":\"e\",\"transport\":{\"tcp\":\"a\"}}",
         "the record has no namespace"},
        {"{\"type\":\"Endpoint\"," WHERE ",\"instance_id\":-1,\"transport\":{\"tcp\":\"a\"}}",
         "unreadable at member \"instance_id\""},
        {"{\"type\":\"Endpoint\"," WHERE
         ",\"instance_id\":18446744073709551616,\"transport\":{\"tcp\":\"a\"}}",
         "unreadable at member \"instance_id\""},
        {"{\"type\":\"Gadget\"," WHERE "}", "not a record: no known \"type\""},
        {"{" WHERE "}", "not a record: no known \"type\""},
        {"{\"type\":7}", "not a record: no known \"type\""},
        {"", "not a record: no known \"type\""},
        {"[]", "not a record: no known \"type\""},
        {INSTANCE ",\"transport\":{\"tcp\":\"a\"}", "unreadable at member \"transport\""},
        {INSTANCE ",\"transport\":{\"tcp\":\"a\"}} x", "unreadable at member \"transport\""},
        {MODEL(CARD), NULL},
        {MODEL(CARD ",\"worker_type\":\"prefill\",\"needs\":[[\"decode\"]],\"future\":{}"), NULL},
        /* Twice. */
        {MODEL(CARD ",\"slug\":\"other\""), "unreadable at member \"card_json\""},
        {MODEL(CARD ",\"chat_template_file\":{\"a\":" FILE_REF ",\"b\":" FILE_REF "}"),
         "unreadable at member \"card_json\""},
        {INSTANCE ",\"transport\":{\"tcp\":\"a\",\"tcp\":\"b\"}}",
         "unreadable at member \"transport\""},
        {MODEL(CARD ",\"worker_type\":\"drafter\""), "unreadable at member \"card_json\""},
        {MODEL(CARD_OF("Org/M", "org_m", "0")), "the card has no kv_cache_block_size"},
        {MODEL(CARD_OF("Org/M", "org_m", "4294967296")), "unreadable at member \"card_json\""},
        {MODEL(CARD_OF("Org/M", "Org/M", "16")),
         "the card has no display_name, or its slug \"Org/M\" holds an illegal byte"},
        {MODEL(CARD_OF("Org/M", "", "16")),
         "the card has no display_name, or its slug \"\" holds an illegal byte"},
        {MODEL(CARD_OF("", "org_m", "16")),
         "the card has no display_name, or its slug \"org_m\" holds an illegal byte"},
        {MODEL("\"display_name\":\"m\",\"slug\":\"m\",\"kv_cache_block_size\":16"),
         "the card lacks model_info, tokenizer or prompt_formatter"},
        {MODEL(CARD ",\"runtime_config\":{\"data_parallel_size\":0}"),
         "data_parallel_size 0 is out of range"},
        {MODEL(CARD ",\"runtime_config\":{\"data_parallel_size\":4097}"),
         "data_parallel_size 4097 is out of range"},
        {"{\"type\":\"Model\"," WHERE ",\"instance_id\":1}",
         "the card has no display_name, or its slug \"\" holds an illegal byte"},
        {"{\"type\":\"EventChannel\",\"scope\":{\"kind\":\"namespace\",\"name\":\"n\"},\"topic\":"
         "\"t\","
         "\"instance_id\":1,\"transport\":{\"kind\":\"ZmqBroker\",\"config\":{\"xsub_endpoints\":[]"
         "}}}",
         NULL},
        /* Up to 1.3: no scope. */
        {"{\"type\":\"EventChannel\",\"namespace\":\"n\",\"component\":\"c\",\"topic\":\"t\","
         "\"instance_id\":1,\"transport\":{\"kind\":\"Zmq\",\"config\":{\"endpoint\":\"tcp://"
         "a:1\"}}}",
         NULL},
        {"{\"type\":\"EventChannel\",\"topic\":\"t\"}", "the record has no namespace"},
        {"{\"type\":\"EventSource\",\"scope\":7}", "unreadable at member \"scope\""},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_record r;
        struct weir_err err = {.text = ""};
        fresh();
        enum weir_status st = weir_record_decode(weir_span_z(rows[i].json), &arena, &r, &err);
        CHECK_MSG((st == WEIR_OK) == (rows[i].error == NULL), "%s: %s", rows[i].json, err.text);
        if (st != WEIR_OK) {
            CHECK(st == WEIR_INVALID && err.status == WEIR_INVALID);
            CHECK_EQ_STR(err.text, strlen(err.text), rows[i].error);
        }
    }
}

static void case_card_members(void) {
    struct weir_record r;
    struct weir_err err;
    fresh();
    CHECK(weir_record_decode(
              WEIR_SPAN_LIT(MODEL(
                  CARD
                  ",\"context_length\":4096,\"aliases\":[\"a\",\"b\"],\"lora\":{\"name\":\"x\"},"
                  "\"chat_template_file\":{\"hf_chat_template\":{\"is_custom\":true,\"file\":"
                  "{\"path\":\"/m/t.jinja\",\"checksum\":\"blake3:01\",\"size\":9}}},"
                  "\"runtime_config\":{\"total_kv_blocks\":16384,\"max_num_seqs\":256,"
                  "\"max_num_batched_tokens\":8192,\"data_parallel_start_rank\":4,"
                  "\"data_parallel_size\":2,\"enable_local_indexer\":false,\"enable_eagle\":true,"
                  "\"tool_call_parser\":\"hermes\",\"reasoning_parser\":null}")),
              &arena, &r, &err) == WEIR_OK);
    const struct weir_card *c = &r.card;
    CHECK(c->chat && c->completions && c->input_tokens && c->context_length == 4096);
    CHECK(c->aliases.n == 2 && weir_span_eqz(c->aliases.items[1], "b"));
    CHECK(weir_span_eqz(c->lora_name, "x") && c->total_kv_blocks == 16384);
    CHECK(weir_span_eqz(c->chat_template.path, "/m/t.jinja") && c->chat_template.size == 9);
    CHECK(c->tokenizer.size == -1 && weir_span_eqz(c->tokenizer.checksum, "blake3:00"));
    CHECK(c->dp_start_rank == 4 && c->dp_size == 2 && !c->enable_local_indexer && c->enable_eagle);
    CHECK(weir_span_eqz(c->tool_call_parser, "hermes") && c->reasoning_parser.data == NULL);
    CHECK(c->worker_type == WEIR_WORKER_UNSET);
    CHECK(c->bootstrap_host.data == NULL);
    /* Where a prefill worker is met; without a port it is not. */
    fresh();
    CHECK(
        weir_record_decode(
            WEIR_SPAN_LIT(MODEL(
                CARD ",\"worker_type\":\"prefill\",\"runtime_config\":{\"disaggregated_endpoint\":"
                     "{\"bootstrap_host\":\"10.0.0.1\",\"bootstrap_port\":9340}}")),
            &arena, &r, &err) == WEIR_OK);
    CHECK(weir_span_eqz(r.card.bootstrap_host, "10.0.0.1") && r.card.bootstrap_port == 9340);
    fresh();
    CHECK(
        weir_record_decode(
            WEIR_SPAN_LIT(MODEL(CARD ",\"runtime_config\":{\"disaggregated_endpoint\":"
                                     "{\"bootstrap_host\":\"10.0.0.1\",\"bootstrap_port\":null}}")),
            &arena, &r, &err) == WEIR_OK);
    CHECK(r.card.bootstrap_host.data == NULL);
    /* The defaults of what is not there. */
    fresh();
    CHECK(weir_record_decode(WEIR_SPAN_LIT(MODEL(CARD)), &arena, &r, &err) == WEIR_OK);
    CHECK(r.card.dp_size == 1 && r.card.dp_start_rank == 0 && r.card.enable_local_indexer);
    CHECK(r.card.total_kv_blocks == 0 && r.card.context_length == 0);
    /* A whole card is kept word by word, unknown members included. */
    CHECK(weir_record_encode(&r, &out) == WEIR_OK);
    CHECK(out.len > 100 && strstr(out.data, CARD) != NULL);
}

/* A card of our own reads back as it was meant. */
static void case_card_written(void) {
    static const struct weir_span aliases[] = {WEIR_SPAN_LIT("other")};
    struct weir_card c = {.display_name = WEIR_SPAN_LIT("m \"x\""),
                          .slug = WEIR_SPAN_LIT("m__x_"),
                          .builtin_bytes_tokenizer = true,
                          .chat_template = {WEIR_SPAN_LIT("/t"), WEIR_SPAN_LIT("blake3:1"), -1},
                          .context_length = 10,
                          .kv_cache_block_size = 4,
                          .model_type = WEIR_SPAN_LIT("Chat"),
                          .input_tokens = true,
                          .worker_type = WEIR_WORKER_DECODE,
                          .lora_name = WEIR_SPAN_LIT("ad"),
                          .aliases = {aliases, 1},
                          .total_kv_blocks = 5,
                          .dp_size = 3,
                          .enable_eagle = true,
                          .kv_event_publishing = true};
    struct weir_record r = {.kind = WEIR_RECORD_MODEL,
                            .endpoint = {WEIR_SPAN_LIT("n"), WEIR_SPAN_LIT("c"),
                                         WEIR_SPAN_LIT("e")},
                            .instance_id = UINT64_MAX,
                            .suffix = WEIR_SPAN_LIT("ad"),
                            .card = c},
                       got;
    struct weir_err err = {.text = ""};
    fresh();
    CHECK(weir_record_encode(&r, &out) == WEIR_OK);
    CHECK_MSG(weir_record_decode(weir_buf_span(&out), &arena, &got, &err) == WEIR_OK, "%s",
              err.text);
    CHECK(got.instance_id == UINT64_MAX && weir_span_eqz(got.suffix, "ad"));
    CHECK(weir_span_eq(got.card.display_name, c.display_name) && got.card.builtin_bytes_tokenizer);
    CHECK(weir_span_eqz(got.card.chat_template.path, "/t"));
    CHECK(weir_span_eqz(got.card.lora_name, "ad") && got.card.aliases.n == 1);
    CHECK(got.card.worker_type == WEIR_WORKER_DECODE && got.card.dp_size == 3);
    CHECK(got.card.enable_eagle && got.card.kv_event_publishing && !got.card.enable_local_indexer);
    CHECK(got.card.chat && !got.card.completions);
    CHECK(strstr(out.data, "\"needs\":[[\"prefill\"]]") != NULL);
}

static void case_keys(void) {
    static const struct {
        struct weir_record record;
        const char *bucket, *key, *file;
    } rows[] = {
        {{.kind = WEIR_RECORD_ENDPOINT,
          .endpoint = {WEIR_SPAN_LIT("my-ns"), WEIR_SPAN_LIT("back_end"), WEIR_SPAN_LIT("gen.x")},
          .instance_id = 1},
         "v1/instances",
         "my-ns/back_end/gen.x/1",
         "my%2Dns%2Fback%5Fend%2Fgen%2Ex%2F1"},
        {{.kind = WEIR_RECORD_MODEL,
          .endpoint = {WEIR_SPAN_LIT("n"), WEIR_SPAN_LIT("c"), WEIR_SPAN_LIT("e")},
          .instance_id = 0x694d9b96e24ab707,
          .suffix = WEIR_SPAN_LIT("adapter-a")},
         "v1/mdc",
         "n/c/e/694d9b96e24ab707/adapter-a",
         "n%2Fc%2Fe%2F694d9b96e24ab707%2Fadapter%2Da"},
        /* Scopes are escaped first, and the whole again. */
        {{.kind = WEIR_RECORD_EVENT_CHANNEL,
          .endpoint = {WEIR_SPAN_LIT("n.x"), WEIR_SPAN_LIT("c"), {NULL, 0}},
          .instance_id = 0xff,
          .topic = WEIR_SPAN_LIT("kv_metrics")},
         "v1/event_channels",
         "namespace/n%2Ex/component/c/topic/kv_metrics/ff",
         "namespace%2Fn%252Ex%2Fcomponent%2Fc%2Ftopic%2Fkv%5Fmetrics%2Fff"},
        {{.kind = WEIR_RECORD_EVENT_SOURCE,
          .endpoint = {WEIR_SPAN_LIT("n"), {NULL, 0}, {NULL, 0}},
          .instance_id = 1,
          .topic = WEIR_SPAN_LIT("a/b")},
         "v1/event_sources",
         "namespace/n/topic/a%2Fb/1",
         "namespace%2Fn%2Ftopic%2Fa%252Fb%2F1"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        struct weir_buf name, back;
        fresh();
        weir_buf_init(&name, 4096);
        weir_buf_init(&back, 4096);
        CHECK(strcmp(weir_record_bucket(rows[i].record.kind), rows[i].bucket) == 0);
        CHECK(weir_record_key(&rows[i].record, &out) == WEIR_OK);
        CHECK_EQ_STR(out.data, out.len, rows[i].key);
        CHECK(weir_file_name_encode(weir_buf_span(&out), &name) == WEIR_OK);
        CHECK_EQ_STR(name.data, name.len, rows[i].file);
        CHECK(weir_file_name_decode(weir_buf_span(&name), &back) == WEIR_OK);
        CHECK_EQ_STR(back.data, back.len, rows[i].key);
        weir_buf_fini(&name);
        weir_buf_fini(&back);
    }
}

/* Any bytes come back from a file name; names of other writers are read where they are clear. */
static void case_file_names(void) {
    char all[255];
    struct weir_buf name;
    for (unsigned i = 0; i < sizeof(all); i++)
        all[i] = (char)(i + 1);
    fresh();
    weir_buf_init(&name, 4096);
    CHECK(weir_file_name_encode(weir_span(all, sizeof(all)), &name) == WEIR_OK);
    CHECK(weir_file_name_decode(weir_buf_span(&name), &out) == WEIR_OK);
    CHECK(weir_span_eq(weir_buf_span(&out), weir_span(all, sizeof(all))));
    weir_buf_fini(&name);
    weir_buf_clear(&out);
    CHECK(weir_file_name_decode(WEIR_SPAN_LIT("my-ns%2fback_end%2Fe%2F1"), &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "my-ns/back_end/e/1");
    static const char *const broken[] = {"a%", "a%2", "a%2G", "%%20", "%-1"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(broken); i++)
        CHECK(weir_file_name_decode(weir_span_z(broken[i]), &out) == WEIR_INVALID);
}

static void case_slugs(void) {
    static const struct {
        const char *name, *slug;
    } rows[] = {{"Org/My Model.v1_X-y", "org_my_model_v1_x-y"},
                {"m", "m"},
                {"caf\xc3\xa9 \xf0\x9f\x98\x80", "caf___"},
                {"", ""}};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        fresh();
        CHECK(weir_slug(weir_span_z(rows[i].name), &out) == WEIR_OK);
        CHECK_EQ_STR(out.data, out.len, rows[i].slug);
    }
}

int main(void) {
    CHECK_RUN(case_accepted_and_refused);
    CHECK_RUN(case_card_members);
    CHECK_RUN(case_card_written);
    CHECK_RUN(case_keys);
    CHECK_RUN(case_file_names);
    CHECK_RUN(case_slugs);
    fresh();
    return check_finish();
}
