/* The configuration dump (shared spec "deploy" 3): canonical form, content, redaction, delivery. */
#include "base/json.h"
#include "runtime/options_bench.h"
#include "runtime/options_frontend.h"
#include "test/unit/config/helpers.h"

#include <sys/stat.h>

static struct loaded l;
static struct weir_buf text;

static void dump(const struct weir_program *p, const char *const *args, const char *const *env) {
    unload(&l);
    load(&l, p, args, env);
    CHECK_MSG(l.outcome == WEIR_CONFIG_RUN, "%s", l.err);
    weir_buf_fini(&text);
    weir_buf_init(&text, 1 << 20);
    CHECK(weir_config_dump(p, l.config, &text) == WEIR_OK);
}

/* Raw value of a member of the JSON object `in`; data NULL when absent. */
static struct weir_span get(struct weir_span in, const char *name) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value = {NULL, 0}, found = {NULL, 0};
    weir_json_init(&j, in, 32);
    CHECK(weir_json_object_enter(&j));
    while (weir_json_object_next(&j, &key)) {
        CHECK(weir_json_skip(&j, &value));
        if (weir_json_str_eqz(key, name))
            found = value;
    }
    CHECK(weir_json_finish(&j));
    return found;
}

static void check_value(const char *section, const char *name, const char *want) {
    struct weir_span v = get(get(weir_buf_span(&text), section), name);
    CHECK_MSG(v.data != NULL, "no %s.%s", section, name);
    CHECK_EQ_STR(v.data, v.len, want);
}

/* Keys of this and all nested objects ascend. */
static void check_sorted(struct weir_span object) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value, last = {"", 0};
    weir_json_init(&j, object, 32);
    CHECK(weir_json_object_enter(&j));
    while (weir_json_object_next(&j, &key)) {
        size_t n = last.len < key.raw.len ? last.len : key.raw.len;
        int order = memcmp(last.data, key.raw.data, n);
        CHECK_MSG(order < 0 || (order == 0 && last.len < key.raw.len), "%.*s before %.*s",
                  WEIR_SPAN_ARG(last), WEIR_SPAN_ARG(key.raw));
        last = key.raw;
        bool nested = weir_json_peek(&j) == WEIR_JSON_OBJECT;
        CHECK(weir_json_skip(&j, &value));
        if (nested)
            check_sorted(value);
    }
    CHECK(weir_json_finish(&j));
}

static void case_canonical(void) {
    dump(&weir_frontend_program, ARGS("--http-port=1"),
         ARGS("DYN_B=1", "DYN_A=\"q\"\n", "HOME=/x"));
    struct weir_span all = weir_buf_span(&text);
    check_sorted(all);
    CHECK(memchr(all.data, '\n', all.len) == NULL);
    static const char *const keys[] = {"system_info",        "environment",    "config",
                                       "runtime_info",       "gpu_info",       "dynamo_version",
                                       "installed_packages", "config_sources", "weir_version"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(keys); i++)
        CHECK_MSG(get(all, keys[i]).data != NULL, "no %s", keys[i]);
    check_value("environment", "DYN_A", "\"\\\"q\\\"\\n\"");
    CHECK(get(get(all, "environment"), "HOME").data == NULL);
    check_value("runtime_info", "command_line_args", "[\"program\",\"--http-port=1\"]");
    check_value("system_info", "architecture", "[\"64bit\",\"ELF\"]");
}

static void case_values_and_sources(void) {
    dump(&weir_frontend_program,
         ARGS("--router-mode=kv", "--discovery-backend=static", "--static-worker=a:1/x",
              "--router-ttl-secs=5"),
         ARGS("DYN_HTTP_PORT=9", "DYN_NAMESPACE=n\xff"));
    check_value("config", "http_port", "9");
    check_value("config", "router_mode", "\"kv\"");
    check_value("config", "static_worker", "[\"a:1/x\"]");
    check_value("config", "router_ttl_secs", "5.0");
    check_value("config", "router_kv_events", "true");
    check_value("config", "model_name", "null");
    check_value("config", "kv_cache_block_size", "null");
    check_value("config", "active_decode_blocks_threshold", "null");
    check_value("config", "event_plane", "null");
    check_value("config", "namespace", "\"n\xef\xbf\xbd\"");
    check_value("config_sources", "http_port", "\"environment\"");
    check_value("config_sources", "router_mode", "\"flag\"");
    CHECK(get(get(weir_buf_span(&text), "config_sources"), "http_host").data == NULL);
    for (size_t i = 0; i < weir_frontend_program.n_options; i++) {
        const char *name = weir_frontend_program.options[i].name;
        CHECK_MSG(get(get(weir_buf_span(&text), "config"), name).data != NULL, "no %s", name);
    }
}

/* "hunter2" is every secret here. */
static void case_redaction(void) {
    dump(&weir_frontend_program, NULL,
         ARGS("HF_TOKEN=hunter2", "DYN_MY_API_KEY=hunter2", "DYN_ACCESS_KEY_ID=hunter2",
              "DYN_secret_x=hunter2", "NATS_AUTH_PASSWORD=hunter2", "NATS_AUTH_TOKEN=hunter2",
              "NATS_AUTH_NKEY=hunter2", "ETCD_AUTH_PASSWORD=hunter2", "DYN_CREDENTIALS=hunter2",
              "DYN_AUTHOR=hunter2", "TOKENIZERS_PARALLELISM=hunter2",
              "NATS_SERVER=nats://me:hunter2@host:4222/x@y", "DYN_PROXY=http://a:hunter2@p?@"));
    struct weir_span all = weir_buf_span(&text);
    CHECK(memmem(all.data, all.len, "hunter2", 7) == NULL);
    check_value("environment", "HF_TOKEN", "\"<REDACTED>\"");
    check_value("environment", "DYN_secret_x", "\"<REDACTED>\"");
    check_value("config", "nats_auth_password", "\"<REDACTED>\"");
    check_value("config", "nats_server", "\"nats://<REDACTED>@host:4222/x@y\"");
    check_value("environment", "DYN_PROXY", "\"http://<REDACTED>@p?@\"");
    check_value("config", "etcd_auth_username", "null");
    dump(&weir_bench_program,
         ARGS("--header", "Authorization: Bearer hunter2", "--header=X: hunter2", "--label=a",
              "--url=http://u:hunter2@h"),
         NULL);
    all = weir_buf_span(&text);
    CHECK_MSG(memmem(all.data, all.len, "hunter2", 7) == NULL, "%.*s", WEIR_SPAN_ARG(all));
    check_value("runtime_info", "command_line_args",
                "[\"program\",\"--header\",\"<REDACTED>\",\"--header=<REDACTED>\",\"--label=a\","
                "\"--url=http://<REDACTED>@h\"]");
}

static void case_written_to_a_file(void) {
    char dir[] = "/tmp/weir-dump-XXXXXX", path[128], flag[160], part[128];
    struct weir_err err;
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/a/b/config.json", dir);
    snprintf(flag, sizeof(flag), "--dump-config-to=%s", path);
    unload(&l);
    load(&l, &weir_frontend_program, ARGS(flag), ARGS("DYN_LOG=warn"));
    CHECK(weir_config_begin(&weir_frontend_program, l.config, &err) == WEIR_OK);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    static char have[1 << 16];
    size_t n = fread(have, 1, sizeof(have), f);
    fclose(f);
    CHECK(n > 1000 && have[n - 1] == '\n');
    struct weir_span whole = weir_span(have, n - 1);
    CHECK(get(get(whole, "config"), "dump_config_to").data != NULL);
    CHECK(remove(path) == 0);
    snprintf(part, sizeof(part), "%s/a/b", dir);
    CHECK(remove(part) == 0);
    snprintf(part, sizeof(part), "%s/a", dir);
    CHECK(remove(part) == 0 && remove(dir) == 0);
}

/* Runs weir_config_begin and returns what it wrote to stderr, in l.err. */
static enum weir_status begin_caught(struct weir_err *err) {
    fflush(stderr);
    int keep = dup(2), fd = temp_fd();
    dup2(fd, 2);
    enum weir_status st = weir_config_begin(&weir_frontend_program, l.config, err);
    fflush(stderr);
    dup2(keep, 2);
    close(keep);
    slurp(fd, l.err, sizeof(l.err));
    return st;
}

static void case_delivery_never_fails(void) {
    struct weir_err err;
    unload(&l);
    load(&l, &weir_frontend_program, ARGS("--dump-config-to=/dev/null/x/y"), NULL);
    CHECK(begin_caught(&err) == WEIR_OK);
    CHECK(strstr(l.err, "cannot write the configuration to /dev/null/x/y") != NULL);
    CHECK(strstr(l.err, "CONFIG_DUMP: {\"config\":{") != NULL);
    /* Without a path: only at debug level. */
    unload(&l);
    load(&l, &weir_frontend_program, NULL, ARGS("DYN_LOG=info"));
    CHECK(begin_caught(&err) == WEIR_OK && strstr(l.err, "CONFIG_DUMP") == NULL);
    unload(&l);
    load(&l, &weir_frontend_program, NULL, ARGS("DYN_LOG=debug"));
    CHECK(begin_caught(&err) == WEIR_OK && strstr(l.err, "CONFIG_DUMP: {") != NULL);
    unload(&l);
    load(&l, &weir_frontend_program, NULL, ARGS("DYN_LOG=loud"));
    CHECK(begin_caught(&err) == WEIR_INVALID && strstr(err.text, "DYN_LOG=loud: ") == err.text);
    unload(&l);
    load(&l, &weir_frontend_program, NULL, ARGS("DYN_LOG=warn"));
    CHECK(begin_caught(&err) == WEIR_OK);
}

/* gpu_info with a program of our own in place of nvidia-smi. */
static void with_tool(const char *script, const char *want) {
    char dir[] = "/tmp/weir-smi-XXXXXX", path[64], keep[4096];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/nvidia-smi", dir);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fputs(script, f) >= 0 && fclose(f) == 0 && chmod(path, 0700) == 0);
    snprintf(keep, sizeof(keep), "%s", getenv("PATH"));
    setenv("PATH", dir, 1);
    dump(&weir_frontend_program, NULL, NULL);
    setenv("PATH", keep, 1);
    CHECK(remove(path) == 0 && remove(dir) == 0);
    struct weir_span got = get(weir_buf_span(&text), "gpu_info");
    CHECK_EQ_STR(got.data, got.len, want);
}

static void case_gpu_info(void) {
    with_tool("#!/bin/sh\necho 'NVIDIA H200, 570.1, 143771 MiB'\necho 'B, 2, 3 MiB'\n",
              "{\"count\":2,\"gpus\":[{\"driver_version\":\"570.1\",\"memory_total\":\"143771 "
              "MiB\",\"name\":\"NVIDIA H200\"},{\"driver_version\":\"2\",\"memory_total\":\"3 "
              "MiB\",\"name\":\"B\"}]}");
    with_tool("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n", "null");
    with_tool("#!/bin/sh\n", "null");
    with_tool("not a program", "null");
}

int main(void) {
    weir_buf_init(&text, 1 << 20);
    CHECK_RUN(case_canonical);
    CHECK_RUN(case_values_and_sources);
    CHECK_RUN(case_redaction);
    CHECK_RUN(case_written_to_a_file);
    CHECK_RUN(case_delivery_never_fails);
    CHECK_RUN(case_gpu_info);
    unload(&l);
    weir_buf_fini(&text);
    return check_finish();
}
