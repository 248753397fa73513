/* What the registry does with a worker's blocks: they go when nothing brings more of them; and with
 * names that somebody else has. */
#include "frontend/models.h"
#include "test/check.h"

static const struct weir_span KEY = WEIR_SPAN_LIT("ns/backend/generate/1");
static const struct weir_endpoint_id ENDPOINT = {WEIR_SPAN_LIT("ns"), WEIR_SPAN_LIT("backend"),
                                                 WEIR_SPAN_LIT("generate")};
enum { WORKER = 1 };

static struct weir_record card(uint64_t id, const char *name) {
    return (struct weir_record){.kind = WEIR_RECORD_MODEL,
                                .endpoint = ENDPOINT,
                                .instance_id = id,
                                .card = {.json = WEIR_SPAN_LIT("{}"),
                                         .display_name = weir_span_z(name),
                                         .slug = weir_span_z(name),
                                         .builtin_bytes_tokenizer = true,
                                         .kv_cache_block_size = 16,
                                         .completions = true,
                                         .input_tokens = true,
                                         .dp_size = 1}};
}

static void put_card(struct weir_models *m) {
    const struct weir_record r = card(WORKER, "m");
    weir_models_on_change(m, WEIR_DISCOVERY_PUT, WEIR_RECORD_MODEL, KEY, &r);
}

static void put_instance(struct weir_models *m) {
    const struct weir_record r = {.kind = WEIR_RECORD_ENDPOINT,
                                  .endpoint = ENDPOINT,
                                  .instance_id = WORKER,
                                  .tcp_address = WEIR_SPAN_LIT("127.0.0.1:1/a")};
    weir_models_on_change(m, WEIR_DISCOVERY_PUT, WEIR_RECORD_ENDPOINT, KEY, &r);
}

static void drop(struct weir_models *m, enum weir_record_kind kind) {
    weir_models_on_change(m, WEIR_DISCOVERY_DELETE, kind, KEY, NULL);
}

/* As the feed does it. False: nobody knows the worker. */
static bool event(struct weir_models *m, uint64_t block) {
    const struct weir_kv_block b = {block, block};
    const struct weir_kv_event e = {.worker_id = WORKER,
                                    .event_id = block,
                                    .kind = WEIR_KV_STORED,
                                    .blocks = &b,
                                    .n_blocks = 1};
    struct weir_model *model = weir_models_of_worker(m, WORKER);
    if (model == NULL)
        return false;
    weir_router_kv_event(weir_model_info(model)->router, &e);
    weir_model_unref(model);
    return true;
}

static uint64_t entries(struct weir_model *model) {
    struct weir_router_index_stats s;
    weir_router_index_stats(weir_model_info(model)->router, &s);
    return s.entries;
}

static struct weir_models *make(struct weir_front_metrics **ret_metrics) {
    struct weir_spread spreads[WEIR_N_SPREADS];
    struct weir_models *m = NULL;
    for (size_t i = 0; i < WEIR_N_SPREADS; i++)
        spreads[i] = (struct weir_spread){.min = 1, .max = 2, .count = 2};
    CHECK(weir_front_metrics_create("weir_test", spreads, ret_metrics) == WEIR_OK);
    struct weir_models_config config = {.bytes_tokenizer = true, .metrics = *ret_metrics};
    weir_router_config_init(&config.router);
    CHECK(weir_models_create(&config, &m) == WEIR_OK);
    return m;
}

/* (Failed before: an event between the end of the instance and that of the card stayed for ever.
 * The two are two files, or two keys.) */
static void case_events_until_the_card_goes(void) {
    struct weir_front_metrics *metrics = NULL;
    struct weir_models *m = make(&metrics);
    for (int instance_first = 0; instance_first < 2; instance_first++) {
        put_card(m);
        put_instance(m);
        struct weir_model *model = weir_models_of_worker(m, WORKER);
        CHECK(model != NULL && weir_model_ready(model));
        CHECK(event(m, 1) && entries(model) == 1);
        drop(m, instance_first ? WEIR_RECORD_ENDPOINT : WEIR_RECORD_MODEL);
        CHECK(!weir_model_ready(model));
        CHECK_EQ_U64(event(m, 2), instance_first);
        drop(m, instance_first ? WEIR_RECORD_MODEL : WEIR_RECORD_ENDPOINT);
        CHECK(!event(m, 3));
        CHECK_EQ_U64(entries(model), 0);
        weir_model_unref(model);
    }
    weir_models_destroy(m);
    weir_front_metrics_destroy(metrics);
}

/* What serves the name: "" nobody, "*" a model of its own, else the adapter. */
static void check_name(struct weir_models *m, const char *name, const char *lora) {
    struct weir_model *x = weir_models_find(m, weir_span_z(name));
    const char *is = x == NULL ? "" : weir_model_info(x)->lora.len == 0 ? "*" : name;
    CHECK_EQ_STR(is, strlen(is), lora);
    weir_model_unref(x);
}

/* (Failed before: the adapter came in when its worker told it again, or never.) */
static void case_an_adapter_whose_name_another_model_has(void) {
    static const struct weir_span other = WEIR_SPAN_LIT("ns/backend/generate/2"),
                                  third = WEIR_SPAN_LIT("ns/backend/generate/3"),
                                  adapter = WEIR_SPAN_LIT("ns/backend/generate/1/n"),
                                  same = WEIR_SPAN_LIT("ns/backend/generate/3/n");
    struct weir_front_metrics *metrics = NULL;
    struct weir_models *m = make(&metrics);
    struct weir_record n = card(2, "n"), x = card(3, "x"), a = card(WORKER, "n");
    put_card(m);
    weir_models_on_change(m, WEIR_DISCOVERY_PUT, WEIR_RECORD_MODEL, other, &n);
    a.suffix = a.card.lora_name = WEIR_SPAN_LIT("n");
    a.card.json = weir_span(NULL, 0); /* it is kept as it is written here */
    weir_models_on_change(m, WEIR_DISCOVERY_PUT, WEIR_RECORD_MODEL, adapter, &a);
    check_name(m, "n", "*");
    weir_models_on_change(m, WEIR_DISCOVERY_DELETE, WEIR_RECORD_MODEL, other, NULL);
    check_name(m, "n", "n");
    /* The same name of another base waits for this one's end. */
    weir_models_on_change(m, WEIR_DISCOVERY_PUT, WEIR_RECORD_MODEL, third, &x);
    a.instance_id = 3;
    weir_models_on_change(m, WEIR_DISCOVERY_PUT, WEIR_RECORD_MODEL, same, &a);
    weir_models_on_change(m, WEIR_DISCOVERY_DELETE, WEIR_RECORD_MODEL, adapter, NULL);
    check_name(m, "n", "n");
    weir_models_on_change(m, WEIR_DISCOVERY_DELETE, WEIR_RECORD_MODEL, third, NULL);
    check_name(m, "n", "");
    weir_models_destroy(m);
    weir_front_metrics_destroy(metrics);
}

static struct weir_models_engine engine(uint64_t id, const char *model) {
    return (struct weir_models_engine){.id = id,
                                       .address = "http://127.0.0.1:1/127.0.0.1:1",
                                       .model = weir_span_z(model),
                                       .block_size = 16,
                                       .n_ranks = 1};
}

/* Two entries of one server have a model each, and one address. (Failed before: the first that was
 * back let the other's model be forgotten.) */
static void case_models_of_one_server_that_are_missed(void) {
    struct weir_front_metrics *metrics = NULL;
    struct weir_models *m = make(&metrics);
    const struct weir_models_engine a = engine(1, "a"), b = engine(2, "b");
    weir_models_engine_put(m, &a);
    weir_models_engine_put(m, &b);
    weir_models_engine_remove(m, a.id, a.id, true);
    weir_models_engine_remove(m, b.id, b.id, true);
    CHECK(weir_models_missed(m, a.model) && weir_models_missed(m, b.model));
    weir_models_engine_forget(m, a.id);
    weir_models_engine_put(m, &a);
    CHECK(!weir_models_missed(m, a.model) && weir_models_missed(m, b.model));
    weir_models_engine_forget(m, b.id);
    CHECK(!weir_models_missed(m, b.model));
    weir_models_destroy(m);
    weir_front_metrics_destroy(metrics);
}

int main(void) {
    CHECK_RUN(case_events_until_the_card_goes);
    CHECK_RUN(case_an_adapter_whose_name_another_model_has);
    CHECK_RUN(case_models_of_one_server_that_are_missed);
    return check_finish();
}
