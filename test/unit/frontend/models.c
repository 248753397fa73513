/* What the registry does with a worker's blocks: they go when nothing brings more of them. */
#include "frontend/models.h"
#include "test/check.h"

static const struct weir_span KEY = WEIR_SPAN_LIT("ns/backend/generate/1");
static const struct weir_endpoint_id ENDPOINT = {WEIR_SPAN_LIT("ns"), WEIR_SPAN_LIT("backend"),
                                                 WEIR_SPAN_LIT("generate")};
enum { WORKER = 1 };

static void put_card(struct weir_models *m) {
    const struct weir_record r = {.kind = WEIR_RECORD_MODEL,
                                  .endpoint = ENDPOINT,
                                  .instance_id = WORKER,
                                  .card = {.json = WEIR_SPAN_LIT("{}"),
                                           .display_name = WEIR_SPAN_LIT("m"),
                                           .slug = WEIR_SPAN_LIT("m"),
                                           .builtin_bytes_tokenizer = true,
                                           .kv_cache_block_size = 16,
                                           .completions = true,
                                           .input_tokens = true,
                                           .dp_size = 1}};
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

/* (Failed before: an event between the end of the instance and that of the card stayed for ever.
 * The two are two files, or two keys.) */
static void case_events_until_the_card_goes(void) {
    struct weir_spread spreads[WEIR_N_SPREADS];
    struct weir_front_metrics *metrics = NULL;
    struct weir_models *m = NULL;
    for (size_t i = 0; i < WEIR_N_SPREADS; i++)
        spreads[i] = (struct weir_spread){.min = 1, .max = 2, .count = 2};
    CHECK(weir_front_metrics_create("weir_test", spreads, &metrics) == WEIR_OK);
    struct weir_models_config config = {.bytes_tokenizer = true, .metrics = metrics};
    weir_router_config_init(&config.router);
    CHECK(weir_models_create(&config, &m) == WEIR_OK);
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

int main(void) {
    CHECK_RUN(case_events_until_the_card_goes);
    return check_finish();
}
