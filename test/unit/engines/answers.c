/* Specs of operators, and what engines answer about themselves (bodies as captured, shortened). */
#include "runtime/engine_answers.h"
#include "runtime/engine_spec.h"
#include "test/check.h"

static struct weir_arena arena;
static struct weir_err err;

static void case_specs(void) {
    struct weir_engine_spec s;
    CHECK(weir_engine_spec_parse(WEIR_SPAN_LIT("http://10.0.0.1:8000"), &arena, &s, &err) ==
          WEIR_OK);
    CHECK(weir_span_eqz(s.host, "10.0.0.1") && s.port == 8000 && s.literal && !s.tls);
    CHECK(weir_engine_spec_parse(WEIR_SPAN_LIT("https://gpu-1.example/,model=a,block-size=32,"
                                               "kv-events=tcp://h:5557,replay=tcp://h:5657,"
                                               "topic=kv@,ranks=2"),
                                 &arena, &s, &err) == WEIR_OK);
    CHECK(s.tls && s.port == 443 && !s.literal && s.block_size == 32 && s.n_ranks == 2);
    CHECK(weir_span_eqz(s.model, "a") && weir_span_eqz(s.events, "tcp://h:5557") &&
          weir_span_eqz(s.replay, "tcp://h:5657") && weir_span_eqz(s.topic, "kv@"));
    CHECK(weir_engine_spec_parse(WEIR_SPAN_LIT("http://[::1]:80"), &arena, &s, &err) == WEIR_OK);
    CHECK(weir_span_eqz(s.host, "::1") && s.literal && s.port == 80);
    static const char *const bad[] = {"10.0.0.1:8000",
                                      "http://",
                                      "http://h:0",
                                      "http://h:99999",
                                      "http://h:8000/v1",
                                      "http://a b:1",
                                      "http://h:1,color=red",
                                      "http://h:1,kv-events=5557",
                                      "http://h:1,block-size=0",
                                      "http://h:1,replay=tcp://h:1",
                                      "http://h:1,model=a,model=b",
                                      "http://h:1,role=decode,topic=,role=prefill"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++)
        CHECK_MSG(weir_engine_spec_parse(weir_span_z(bad[i]), &arena, &s, &err) == WEIR_INVALID &&
                      strlen(err.text) > 20,
                  "%s", bad[i]);
}

static void case_models(void) {
    struct weir_engine_model m[4];
    size_t n;
    CHECK(
        weir_engine_read_models(
            WEIR_SPAN_LIT("{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"root\":\"d\",\"parent\":"
                          "null,\"owned_by\":\"sglang\",\"max_model_len\":32768,\"permission\":[{"
                          "\"id\":\"p\"}]},"
                          "{\"id\":\"ad\",\"parent\":\"m\",\"max_model_len\":null}]}"),
            &arena, m, 4, &n) == WEIR_OK);
    CHECK(n == 2 && weir_span_eqz(m[0].id, "m") && m[0].max_model_len == 32768 && !m[0].adapter);
    CHECK(m[0].sglang && !m[1].sglang);
    CHECK(weir_span_eqz(m[1].id, "ad") && m[1].adapter && m[1].max_model_len == 0);
    CHECK(weir_span_eqz(m[1].lora, "ad"));
    /* SGLang takes an adapter as "base:adapter" only, and would answer to "ad" with the base. */
    CHECK(weir_engine_read_models(
              WEIR_SPAN_LIT("{\"data\":[{\"id\":\"m\",\"owned_by\":\"sglang\",\"parent\":null},"
                            "{\"parent\":\"m\",\"id\":\"ad\",\"owned_by\":\"sglang\"}]}"),
              &arena, m, 4, &n) == WEIR_OK);
    CHECK(n == 2 && weir_span_eqz(m[0].id, "m") && !m[0].adapter && m[1].adapter);
    CHECK(weir_span_eqz(m[1].id, "m:ad") && weir_span_eqz(m[1].lora, "ad"));
    static const char *const bad[] = {
        "", "[]", "{}", "{\"data\":3}", "{\"data\":[3]}", "{\"data\":[{\"id\":\"m\"}]"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++)
        CHECK_MSG(weir_engine_read_models(weir_span_z(bad[i]), &arena, m, 4, &n) == WEIR_INVALID,
                  "%s", bad[i]);
}

static const char *source(const char *endpoint, const char *replay, const char *host) {
    static char line[1024];
    struct weir_engine_source s[2];
    char body[512];
    size_t n;
    snprintf(body, sizeof(body),
             "{\"1\":{\"enable_kv_cache_events\":true,\"publisher\":\"zmq\",\"endpoint\":\"%s\","
             "\"replay_endpoint\":%s%s%s,\"topic\":\"t\"}}",
             endpoint, replay != NULL ? "\"" : "", replay != NULL ? replay : "null",
             replay != NULL ? "\"" : "");
    CHECK(weir_engine_read_sources(weir_span_z(body), host, &arena, s, 2, &n) == WEIR_OK);
    if (n == 0)
        return "none";
    CHECK(n == 1 && s[0].rank == 1 && weir_span_eqz(s[0].topic, "t"));
    snprintf(line, sizeof(line), "%.*s %.*s", WEIR_SPAN_ARG(s[0].events),
             WEIR_SPAN_ARG(s[0].replay));
    return line;
}

#define SOURCE(endpoint, replay, host, want)                                                       \
    do {                                                                                           \
        const char *got = source(endpoint, replay, host);                                          \
        CHECK_MSG(strcmp(got, want) == 0, "got %s, want %s", got, want);                           \
    } while (0)

static void case_sources(void) {
    SOURCE("tcp://*:5557", "tcp://*:5657", "10.0.0.1", "tcp://10.0.0.1:5557 tcp://10.0.0.1:5657");
    SOURCE("tcp://[::]:5557", NULL, "fd00::1", "tcp://[fd00::1]:5557 ");
    /* vLLM's way to bind one address */
    SOURCE("tcp://[::ffff:127.0.0.1]:9702", "tcp://127.0.0.1:9710", "127.0.0.1",
           "tcp://127.0.0.1:9702 tcp://127.0.0.1:9710");
    /* no star, no two colons: the engine connects out, and we bind */
    SOURCE("tcp://10.9.9.9:5557", "tcp://0.0.0.0:5657", "10.0.0.1",
           "tcp://*:5557 tcp://10.0.0.1:5657");
    SOURCE("ipc:///tmp/x", NULL, "10.0.0.1", "none");
    /* brackets that do not close: as it was given, for libzmq to refuse */
    SOURCE("tcp://[::ffff::5557", NULL, "10.0.0.1", "tcp://[::ffff::5557 ");
    SOURCE("tcp://[::ffff:127.0.0.1:5557", NULL, "10.0.0.1", "tcp://[::ffff:127.0.0.1:5557 ");
    struct weir_engine_source s[2];
    size_t n;
    CHECK(weir_engine_read_sources(WEIR_SPAN_LIT("{\"\\u0031\":{\"publisher\":\"zmq\","
                                                 "\"endpoint\":\"tcp://*:5557\"}}"),
                                   "h", &arena, s, 2, &n) == WEIR_OK);
    CHECK(n == 1 && s[0].rank == 1);
    CHECK(weir_engine_read_sources(WEIR_SPAN_LIT("{\"0\":{\"publisher\":\"null\"},\"x\":{}}"), "h",
                                   &arena, s, 2, &n) == WEIR_OK &&
          n == 0);
    CHECK(weir_engine_read_sources(WEIR_SPAN_LIT("{\"detail\":"), "h", &arena, s, 2, &n) ==
          WEIR_INVALID);
    struct weir_span e = weir_engine_rank_endpoint(WEIR_SPAN_LIT("tcp://h:5557"), 3, &arena);
    CHECK(weir_span_eqz(e, "tcp://h:5560"));
    CHECK(weir_engine_rank_endpoint(WEIR_SPAN_LIT("tcp://h:65535"), 1, &arena).data == NULL);
}

static const char *server(const char *kv_events, const char *config) {
    static char line[1024];
    struct weir_engine_source s[4];
    char body[1024];
    size_t n;
    uint32_t block_size;
    snprintf(body, sizeof(body),
             "{\"model_path\":\"d\",\"kv_events\":%s,\"tp_size\":1,\"kv_events_config\":%s}",
             kv_events, config);
    CHECK(weir_engine_read_server_info(weir_span_z(body), "10.0.0.1", &arena, s, 4, &n,
                                       &block_size) == WEIR_OK);
    int at = snprintf(line, sizeof(line), "%u:", block_size);
    for (size_t i = 0; i < n; i++) {
        CHECK(s[i].rank == i && weir_span_eqz(s[i].topic, "kv"));
        at += snprintf(line + at, sizeof(line) - (size_t)at, " %.*s|%.*s",
                       WEIR_SPAN_ARG(s[i].events), WEIR_SPAN_ARG(s[i].replay));
    }
    return line;
}

#define SERVER(kv_events, config, want)                                                            \
    do {                                                                                           \
        const char *got = server(kv_events, config);                                               \
        CHECK_MSG(strcmp(got, want) == 0, "got %s, want %s", got, want);                           \
    } while (0)

/* What SGLang 0.5.23 told with two ranks, and its other ways to name a host. */
static void case_server_info(void) {
    SERVER("{\"publisher\":\"zmq\",\"endpoint_host\":\"[::ffff:127.0.0.1]\","
           "\"endpoint_port_base\":9701,\"topic\":\"kv\",\"block_size\":16,\"dp_size\":2,"
           "\"replay_endpoint_port_base\":9709}",
           "\"{\\\"publisher\\\":\\\"zmq\\\",\\\"topic\\\":\\\"kv\\\"}\"",
           "16: tcp://127.0.0.1:9701|tcp://10.0.0.1:9709 "
           "tcp://127.0.0.1:9702|tcp://10.0.0.1:9710");
    SERVER("{\"publisher\":\"zmq\",\"endpoint_host\":\"*\",\"endpoint_port_base\":5557,"
           "\"topic\":\"kv\",\"block_size\":64,\"dp_size\":1}",
           "null", "64: tcp://10.0.0.1:5557|");
    /* SGLang binds 0.0.0.0 too, and a host that is told to be bound; else it connects out. */
    SERVER("{\"publisher\":\"zmq\",\"endpoint_host\":\"0.0.0.0\",\"endpoint_port_base\":5557,"
           "\"topic\":\"kv\",\"dp_size\":1}",
           "null", "0: tcp://10.0.0.1:5557|");
    SERVER("{\"publisher\":\"zmq\",\"endpoint_host\":\"10.9.9.9\",\"endpoint_port_base\":5557,"
           "\"topic\":\"kv\",\"dp_size\":1}",
           "\"{\\\"bind\\\":true}\"", "0: tcp://10.9.9.9:5557|");
    SERVER("{\"publisher\":\"zmq\",\"endpoint_host\":\"10.9.9.9\",\"endpoint_port_base\":5557,"
           "\"topic\":\"kv\",\"dp_size\":1}",
           "\"{\\\"bind\\\":null}\"", "0: tcp://*:5557|");
    SERVER("null", "null", "0:");
    SERVER("{\"publisher\":\"null\",\"endpoint_port_base\":5557,\"dp_size\":1}", "\"{\"", "0:");
    SERVER("{\"publisher\":\"zmq\",\"endpoint_host\":\"*\",\"endpoint_port_base\":65535,"
           "\"topic\":\"kv\",\"dp_size\":2}",
           "3", "0: tcp://10.0.0.1:65535|");
    /* More ranks than there are ports, or places: those that can be. */
    SERVER("{\"publisher\":\"zmq\",\"endpoint_host\":\"*\",\"endpoint_port_base\":65535,"
           "\"topic\":\"kv\",\"dp_size\":99999999999}",
           "3", "0: tcp://10.0.0.1:65535|");
    struct weir_engine_source s[2];
    uint32_t block_size;
    size_t n;
    CHECK(weir_engine_read_server_info(WEIR_SPAN_LIT("{\"kv_events\":{"), "h", &arena, s, 2, &n,
                                       &block_size) == WEIR_INVALID);
}

static void case_metrics(void) {
    static struct weir_engine_metrics m;
    weir_engine_read_metrics(
        WEIR_SPAN_LIT("# HELP vllm:num_requests_running x\n"
                      "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n"
                      "vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 5.0\n"
                      "vllm:num_requests_waiting{engine=\"1\",model_name=\"m\"} 2.0\n"
                      "vllm:num_requests_waiting_by_reason{engine=\"1\",reason=\"x\"} 9.0\n"
                      "vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"m\"} 0.25\n"
                      "vllm:cache_config_info{_block_size_resolved=\"True\",block_size=\"32\","
                      "engine=\"0\",num_gpu_blocks=\"2200\",num_gpu_blocks_override=\"1100\","
                      "user_specified_block_size=\"True\"} 1.0\n"),
        &m);
    CHECK(m.n_ranks == 2 && m.block_size == 32 && m.n_kv_blocks == 1100);
    CHECK(m.ranks[0].running == 3 && m.ranks[1].running == 5 && m.ranks[1].waiting == 2 &&
          m.ranks[1].kv_usage == 0.25 && m.ranks[1].rank == 1);
    weir_engine_read_metrics(
        WEIR_SPAN_LIT("sglang:num_running_reqs{engine_type=\"unified\",model_name=\"m\"} 4.0\n"
                      "sglang:num_queue_reqs{model_name=\"m\"} 1.0\n"
                      "sglang:token_usage{model_name=\"m\"} 0.5\n"
                      "sglang:page_size{model_name=\"m\"} 16.0\n"
                      "sglang:num_pages{model_name=\"m\"} 1250.0"),
        &m);
    CHECK(m.n_ranks == 1 && m.block_size == 16 && m.n_kv_blocks == 1250 &&
          m.ranks[0].running == 4 && m.ranks[0].waiting == 1 && m.ranks[0].kv_usage == 0.5);
    weir_engine_read_metrics(WEIR_SPAN_LIT("vllm:num_requests_running{engine=\"999999\"} 1\n"
                                           "vllm:num_requests_running{engine=\"0\"} NaN\n{\n \n"),
                             &m);
    CHECK(m.n_ranks <= 1);
    /* Figures that no engine means: as if they were not told. */
    weir_engine_read_metrics(
        WEIR_SPAN_LIT("vllm:kv_cache_usage_perc{engine=\"0\"} 1e11\n"
                      "vllm:cache_config_info{num_gpu_blocks=\"18446744073709551615\"} 1.0\n"),
        &m);
    CHECK(m.n_ranks == 1 && m.ranks[0].kv_usage == 0 && m.n_kv_blocks == 0);
}

static void case_tokens(void) {
    const uint32_t *ids;
    size_t n;
    CHECK(weir_engine_read_tokens(WEIR_SPAN_LIT("{\"count\":3,\"tokens\":[71,68,4294967295]}"),
                                  &arena, &ids, &n) == WEIR_OK);
    CHECK(n == 3 && ids[0] == 71 && ids[2] == UINT32_MAX);
    CHECK(weir_engine_read_tokens(WEIR_SPAN_LIT("{\"tokens\":[4294967296]}"), &arena, &ids, &n) ==
          WEIR_INVALID);
    CHECK(weir_engine_read_tokens(WEIR_SPAN_LIT("{\"detail\":\"Not Found\"}"), &arena, &ids, &n) ==
          WEIR_INVALID);
}

int main(void) {
    weir_arena_init(&arena, 16 << 20);
    CHECK_RUN(case_specs);
    CHECK_RUN(case_models);
    CHECK_RUN(case_sources);
    CHECK_RUN(case_server_info);
    CHECK_RUN(case_metrics);
    CHECK_RUN(case_tokens);
    weir_arena_fini(&arena);
    return check_finish();
}
