/* Sources, precedence, parsing, messages, rules and presets of the configuration loader. */
#include "base/mem.h"
#include "runtime/options_bench.h"
#include "runtime/options_frontend.h"
#include "runtime/options_mocker.h"
#include "test/unit/config/helpers.h"

#include <sys/stat.h>

static struct loaded l;
static const struct weir_frontend_options *const o = (const void *)l.config;

static void run_program(const struct weir_program *p, const char *const *args,
                        const char *const *env) {
    unload(&l);
    load(&l, p, args, env);
}

static void run(const char *const *args, const char *const *env) {
    run_program(&weir_frontend_program, args, env);
}

/* The run is in order and prints nothing but `warning` (NULL = nothing at all). */
static void expect_run(const char *warning) {
    CHECK_MSG(l.outcome == WEIR_CONFIG_RUN, "refused: %s", l.err);
    if (warning == NULL)
        CHECK_MSG(l.err[0] == '\0', "unexpected: %s", l.err);
    else
        CHECK_EQ_STR(l.err, strlen(l.err), warning);
}

static void expect_error(const char *text) {
    CHECK_MSG(l.outcome == WEIR_CONFIG_EXIT_USAGE, "accepted; wanted: %s", text);
    CHECK_MSG(strstr(l.err, text) != NULL, "wanted \"%s\", got \"%s\"", text, l.err);
}

static void case_defaults(void) {
    run(NULL, NULL);
    expect_run(NULL);
    CHECK(strcmp(o->http_host, "0.0.0.0") == 0);
    CHECK_EQ_U64(o->http_port, 8000);
    CHECK(o->discovery_backend == WEIR_OPT_DISCOVERY_FILE);
    CHECK(o->router_mode == WEIR_OPT_ROUTER_MODE_ROUND_ROBIN);
    CHECK(o->event_plane == -1 && o->model_name == NULL && o->static_worker.n == 0);
    CHECK(o->kv_cache_block_size == WEIR_CONFIG_NONE);
    CHECK(isnan(o->active_decode_blocks_threshold));
    CHECK(o->router_kv_events && !o->interactive);
    CHECK(o->router_host_cache_hit_weight == 0.75);
    CHECK_EQ_U64(o->http_body_limit_mb, 45);
    CHECK_EQ_U64(o->http_overload_status_code, 529);
    CHECK_EQ_U64(o->meta->argc, 1);
    run_program(&weir_mocker_program, NULL, NULL);
    expect_run(NULL);
    run_program(&weir_bench_program, NULL, NULL);
    expect_run(NULL);
}

static void case_forms_of_values(void) {
    run(ARGS("--http-port", "1", "--http-host=127.0.0.1", "--no-router-kv-events",
             "--enforce-disagg=false", "--router-replica-sync=NO", "--router-ttl-secs", "1e1"),
        NULL);
    expect_run(
        "weir frontend: warning: --enforce-disagg is deprecated in Dynamo; Weir still honours "
        "it\n");
    CHECK(o->http_port == 1 && strcmp(o->http_host, "127.0.0.1") == 0);
    CHECK(!o->router_kv_events && !o->enforce_disagg && !o->router_replica_sync);
    CHECK(o->router_ttl_secs == 10.0);
    /* The last one wins; a list keeps all. */
    run(ARGS("--http-port=1", "--http-port=2", "--discovery-backend=static", "--static-worker",
             "1.2.3.4:5/a,model=m", "--static-worker=6.7.8.9:1/b"),
        NULL);
    expect_run(NULL);
    CHECK_EQ_U64(o->http_port, 2);
    CHECK(o->static_worker.n == 2);
    CHECK(strcmp(o->static_worker.items[0], "1.2.3.4:5/a,model=m") == 0);
    CHECK(strcmp(o->static_worker.items[1], "6.7.8.9:1/b") == 0);
    run(ARGS("--active-decode-blocks-threshold", "None", "--active-prefill-tokens-threshold=none"),
        NULL);
    expect_run(NULL);
    CHECK(isnan(o->active_decode_blocks_threshold));
    CHECK(o->active_prefill_tokens_threshold == WEIR_CONFIG_NONE);
    run(ARGS("--namespace=", "--metrics-prefix", "a=b"), NULL);
    expect_run(NULL);
    CHECK(strcmp(o->namespace, "") == 0 && strcmp(o->metrics_prefix, "a=b") == 0);
    run_program(&weir_mocker_program,
                ARGS("--default-max-tokens", "-1", "--sglang-chunked-prefill-size=None"), NULL);
    expect_run(NULL);
}

static void case_environment(void) {
    run(ARGS("--http-port", "1"), ARGS("DYN_HTTP_PORT=2"));
    expect_run(NULL);
    CHECK_EQ_U64(o->http_port, 1);
    run(NULL, ARGS("DYN_HTTP_PORT= 2\n", "DYN_ROUTER_MODE=kv", "DYN_HTTP_BODY_LIMIT_MB=7"));
    expect_run(NULL);
    CHECK(o->http_port == 2 && o->router_mode == WEIR_OPT_ROUTER_MODE_KV);
    CHECK_EQ_U64(o->http_body_limit_mb, 7);
    run(NULL, ARGS("DYN_HTTP_PORT=", "DYN_INTERACTIVE="));
    expect_run(NULL);
    CHECK_EQ_U64(o->http_port, 8000);
    run(NULL, ARGS("DYN_DISCOVERY_BACKEND=static", "WEIR_STATIC_WORKERS= a:1/x  b:2/y "));
    expect_run(NULL);
    CHECK(o->static_worker.n == 2 && strcmp(o->static_worker.items[1], "b:2/y") == 0);
    /* A list on the command line takes the place of the variable's. */
    run(ARGS("--static-worker", "c:3/z"),
        ARGS("DYN_DISCOVERY_BACKEND=static", "WEIR_STATIC_WORKERS=a:1/x b:2/y"));
    expect_run(NULL);
    CHECK(o->static_worker.n == 1 && strcmp(o->static_worker.items[0], "c:3/z") == 0);
    /* Two names of one option: the first that is set wins. */
    run(NULL, ARGS("DYN_RUNTIME_NUM_WORKER_THREADS=3"));
    CHECK_EQ_U64(o->loops, 3);
    run(NULL, ARGS("DYN_RUNTIME_NUM_WORKER_THREADS=3", "WEIR_LOOPS=4"));
    CHECK_EQ_U64(o->loops, 4);
}

static void case_boolean_words(void) {
    static const char *const yes[] = {"1", "true", "TRUE", "Yes", "on", " on "};
    static const char *const no[] = {"0", "false", "False", "NO", "off"};
    static const char *const bad[] = {"2", "y", "maybe", "tru", "truee"};
    char entry[64];
    for (size_t i = 0; i < WEIR_ARRAY_LEN(yes); i++) {
        snprintf(entry, sizeof(entry), "DYN_DISABLE_FRONTEND_NVEXT=%s", yes[i]);
        run(NULL, ARGS(entry));
        expect_run(NULL);
        CHECK_MSG(o->disable_frontend_nvext, "%s", entry);
    }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(no); i++) {
        snprintf(entry, sizeof(entry), "DYN_ROUTER_USE_KV_EVENTS=%s", no[i]);
        run(NULL, ARGS(entry));
        expect_run(NULL);
        CHECK_MSG(!o->router_kv_events, "%s", entry);
    }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(bad); i++) {
        char want[200];
        snprintf(entry, sizeof(entry), "DYN_INTERACTIVE=%s", bad[i]);
        snprintf(want, sizeof(want),
                 "error: %s: not a boolean; write 1, true, yes or on, or 0, "
                 "false, no or off\n",
                 entry);
        run(NULL, ARGS(entry));
        expect_error(want);
    }
}

/* What was given, what is allowed. */
static void case_bad_values(void) {
    static const struct {
        const char *arg, *message;
    } rows[] = {
        {"--http-port=65536",
         "--http-port 65536: out of range; give a whole number from 0 to 65535\n"},
        {"--http-port=-1", "--http-port -1: out of range; give a whole number from 0 to 65535\n"},
        {"--http-port=80a",
         "--http-port 80a: not a whole number; give a whole number from 0 to 65535\n"},
        {"--http-port=1.5", "not a whole number"},
        {"--http-port=99999999999999999999", "out of range"},
        {"--http-port=", "not a whole number"},
        {"--http-port=None", "not a whole number"},
        {"--active-decode-blocks-threshold=1.01",
         "out of range; give a number from 0 to 1, or None\n"},
        {"--active-decode-blocks-threshold=nan", "not a finite number"},
        {"--active-decode-blocks-threshold=inf", "not a finite number"},
        {"--router-ttl-secs=0x10", "not a finite number"},
        {"--router-mode=best", "--router-mode best: not a choice; give one of round-robin, random, "
                               "power-of-two, kv, direct, least-loaded\n"},
        {"--router-mode=KV", "not a choice"},
        {"--router-mode=device-aware-weighted", "known in Dynamo, not supported by this build"},
        {"--response-plane=quic", "known in Dynamo, not supported by this build"},
        {"--model-name=", "--model-name : empty; give some text, or leave the option out\n"},
        {"--model-path=/nowhere/at/all",
         "--model-path /nowhere/at/all: not a directory; give one that exists\n"},
        {"--interactive=perhaps", "not a boolean"},
        {"--no-interactive=1", "--no-interactive takes no value\n"},
        {"--http-host=localhost", "--http-host localhost: not an IP address"},
        {"--http-host=127.0.0.1:80", "not an IP address"},
        {"--router-session-affinity-ttl-secs=0",
         "out of range; give a whole number from 1 to 31536000, or None"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        run(ARGS(rows[i].arg), NULL);
        expect_error(rows[i].message);
    }
    run(NULL, ARGS("DYN_HTTP_PORT=http"));
    expect_error(
        "weir frontend: error: DYN_HTTP_PORT=http: not a whole number; give a whole number "
        "from 0 to 65535\n");
    /* A bad value of a weaker source does not matter. */
    run(ARGS("--http-port=1"), ARGS("DYN_HTTP_PORT=http"));
    expect_run(NULL);
    /* Lenient: the reference system falls back to 529. */
    run(NULL, ARGS("DYN_HTTP_OVERLOAD_STATUS_CODE=abc"));
    CHECK(l.outcome == WEIR_CONFIG_RUN && strstr(l.err, "the default stays") != NULL);
    CHECK_EQ_U64(o->http_overload_status_code, 529);
    run(NULL, ARGS("DYN_HTTP_OVERLOAD_STATUS_CODE=503"));
    CHECK_EQ_U64(o->http_overload_status_code, 503);
}

/* Characters of three bytes; 120 bytes are shown. */
static void case_a_long_value_is_cut_at_a_character(void) {
    char value[1 + 3 * 60 + 1] = "x", shown[200];
    for (size_t i = 1; i < sizeof(value) - 1; i += 3)
        memcpy(value + i, "\xE2\x82\xAC", 3);
    value[sizeof(value) - 1] = '\0';
    run(ARGS("--http-port", value), NULL);
    snprintf(shown, sizeof(shown), "--http-port %.118s…: ", value);
    expect_error(shown);
}

static void case_bad_command_lines(void) {
    run(ARGS("--http-prot", "80"), NULL);
    expect_error("weir frontend: error: unknown option --http-prot; did you mean --http-port?\n"
                 "Try 'weir frontend --help'.\n");
    run(ARGS("--qqqqqqqqqqqqqqqqqqqqqqqqqqq=3"), NULL);
    expect_error("error: unknown option --qqqqqqqqqqqqqqqqqqqqqqqqqqq\n");
    run(ARGS("--no-http-port"), NULL);
    expect_error("unknown option --no-http-port; did you mean --http-port?");
    run(ARGS("-x"), NULL);
    expect_error("unknown option -x");
    run(ARGS("serve"), NULL);
    expect_error("unexpected argument serve; options begin with --");
    run(ARGS("--", "--http-port"), NULL);
    expect_error("unexpected argument");
    run(ARGS("--http-port"), NULL);
    expect_error("--http-port needs a value; write --http-port=VALUE or --http-port VALUE\n");
    run(ARGS("--http-port", "--http-host", "::"), NULL);
    expect_error("--http-port needs a value");
    CHECK(strstr(l.err, "--http-host") == NULL);
    /* Every problem is told, not only the first. */
    run(ARGS("--http-port=x", "--router-mode=y", "--zzzz-top"), ARGS("DYN_TOKENIZER=q"));
    expect_error("--http-port x");
    expect_error("--router-mode y");
    expect_error("--zzzz-top");
    expect_error("DYN_TOKENIZER=q");
    /* Bytes of others do not reach the terminal raw. */
    run(ARGS("--http-port=\033[31m"), NULL);
    expect_error("--http-port ?[31m");
}

static void case_older_names(void) {
    run(ARGS("--no-kv-events", "--kv-overlap-score-weight=0.5"), NULL);
    CHECK(l.outcome == WEIR_CONFIG_RUN && !o->router_kv_events);
    CHECK(strstr(l.err, "warning: --no-kv-events is a deprecated name of --router-kv-events\n"));
    CHECK(strstr(l.err, "warning: --kv-overlap-score-weight is a deprecated name of "
                        "--router-kv-overlap-score-weight\n"));
    run(NULL, ARGS("DYN_OVERLAP_SCORE_WEIGHT=0.5"));
    CHECK(l.outcome == WEIR_CONFIG_RUN && o->router_prefill_load_scale == 0.5);
    CHECK(strstr(l.err, "DYN_OVERLAP_SCORE_WEIGHT is a deprecated name of "
                        "DYN_ROUTER_KV_OVERLAP_SCORE_WEIGHT\n"));
    run(NULL, ARGS("DYN_HISTOGRAM_DYN_METRICS_TTFT_COUNT=9"));
    CHECK(l.outcome == WEIR_CONFIG_RUN && o->metrics_ttft_count == 9);
    run(ARGS("--router-temperature=0.5"), NULL);
    expect_run("weir frontend: warning: --router-temperature is deprecated in Dynamo; Weir still "
               "honours it\n");
    CHECK(o->router_temperature == 0.5);
}

/* Flags of older releases in manifests: a warning each, whatever their value. */
static void case_removed(void) {
    static const char *const rows[] = {
        "--router-max-tree-size=1024",
        "--router-prune-target-ratio=0.8",
        "--no-admission-control",
        "--enable-cache-control",
        "--decode-fallback",
        "--store-kv=etcd",
        "--custom-backend-metrics-endpoint=x",
        "--custom-backend-metrics-polling-interval=3",
        "--router-conditional-prefill",
        "--admission-control=token-capacity",
        "--router-max-tree-size=nonsense",
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        run(ARGS(rows[i]), NULL);
        CHECK_MSG(l.outcome == WEIR_CONFIG_RUN, "%s refused: %s", rows[i], l.err);
        CHECK_MSG(strstr(l.err, "weir frontend: warning: --") == l.err, "%s: %s", rows[i], l.err);
        CHECK_MSG(strchr(l.err, '\n')[1] == '\0', "%s: more than a line", rows[i]);
    }
    run(NULL, ARGS("DYN_STORE_KV=etcd", "DYN_ENABLE_CACHE_CONTROL=1"));
    CHECK(l.outcome == WEIR_CONFIG_RUN && strstr(l.err, "DYN_STORE_KV has been removed") != NULL);
}

static void case_unsupported(void) {
    run(ARGS("--interactive"), NULL);
    expect_error(
        "--interactive: known in Dynamo, not supported by this build of Weir; leave it out");
    run(ARGS("-i"), NULL);
    expect_error("-i: known in Dynamo");
    run(ARGS("--no-interactive", "--no-kserve-grpc-server", "--migration-limit=0"), NULL);
    expect_run(NULL);
    run(NULL, ARGS("DYN_ENABLE_STREAMING_TOOL_DISPATCH=true"));
    expect_error("DYN_ENABLE_STREAMING_TOOL_DISPATCH=true: known in Dynamo");
    run(ARGS("--ais-tp-size", "2"), NULL);
    expect_error("--ais-tp-size 2: known in Dynamo");
    run(ARGS("--router-queue-threshold", "None"), NULL);
    CHECK(l.outcome == WEIR_CONFIG_RUN);
    run(ARGS("--trust-remote-code"), NULL);
    CHECK(l.outcome == WEIR_CONFIG_RUN && strstr(l.err, "has no effect here") != NULL);
    run_program(&weir_mocker_program, NULL, ARGS("DYN_ROUTER_MODE=kv", "DYN_ROUTER_TEMPERATURE=1"));
    CHECK(l.outcome == WEIR_CONFIG_RUN && strstr(l.err, "DYN_ROUTER_MODE has no effect") != NULL);
    run_program(&weir_mocker_program, ARGS("--engine-type=sglang"), NULL);
    expect_error("known in Dynamo");
}

static void case_misspelt_variables(void) {
    run(NULL, ARGS("WEIR_HTTP_HEADER_BYTE=4096", "WEIR_TEST_SEED=1", "DYN_HTTP_PORTT=1",
                   "DYN_HTTP_RPC_HOST=x", "DYN_HTTP_HOST_NAME=x"));
    expect_run("weir frontend: warning: unknown variable WEIR_HTTP_HEADER_BYTE; did you mean "
               "WEIR_HTTP_HEADER_BYTES?\nweir frontend: warning: unknown variable DYN_HTTP_PORTT; "
               "did you mean DYN_HTTP_PORT?\n");
}

static void case_rules(void) {
    static const struct {
        const char *const args[4];
        const char *message;
    } rows[] = {
        {{"--tls-cert-path=c"}, "--tls-cert-path needs --tls-key-path: give both or neither"},
        {{"--tls-key-path=k"}, "--tls-key-path needs --tls-cert-path: give both or neither"},
        {{"--tls-client-ca-cert-path=a"}, "--tls-client-ca-cert-path needs --tls-cert-path and"},
        {{"--tcp-tls-cert-path=c"}, "--tcp-tls-cert-path needs --tcp-tls-key-path"},
        {{"--tcp-tls-client-key-path=k"}, "--tcp-tls-client-key-path needs"},
        {{"--tcp-tls-client-ca-cert-path=k"}, "--tcp-tls-client-ca-cert-path needs"},
        {{"--static-worker=x"}, "need --discovery-backend static"},
        {{"--discovery-backend=static"}, "needs --static-worker or"},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        run(rows[i].args, NULL);
        expect_error(rows[i].message);
    }
    run(NULL, ARGS("DYN_METRICS_TTFT_MIN=5", "DYN_METRICS_TTFT_MAX=5"));
    expect_error("DYN_METRICS_TTFT_MIN (5) must be less than DYN_METRICS_TTFT_MAX (5)");
    run(ARGS("--tls-cert-path=c", "--tls-key-path=k", "--tls-client-ca-cert-path=a",
             "--http-host=::1"),
        NULL);
    expect_run(NULL);
    run_program(&weir_mocker_program, ARGS("--fail-rate=0.6", "--hang-rate=0.6"), NULL);
    expect_error("together at most 1");
    /* They wrapped around: the second rank took any free port. */
    run_program(&weir_mocker_program,
                ARGS("--engine=vllm", "--kv-events-port=65535", "--data-parallel-size=2"), NULL);
    expect_error("over 65535");
    run_program(&weir_mocker_program,
                ARGS("--engine=vllm", "--kv-replay-port=65530", "--data-parallel-size=7"), NULL);
    expect_error("over 65535");
    run_program(&weir_bench_program, ARGS("--trace=t", "--rate=1"), NULL);
    expect_error("--trace brings its own arrival times");
    run_program(&weir_bench_program, ARGS("--prefix-groups=4"), NULL);
    expect_error("give both or neither");
}

static void case_presets(void) {
    run(ARGS("--load-aware"), NULL);
    CHECK(l.outcome == WEIR_CONFIG_RUN && o->router_mode == WEIR_OPT_ROUTER_MODE_KV);
    CHECK(o->router_kv_overlap_score_credit == 0 && !o->router_kv_events);
    CHECK(!o->router_assume_kv_reuse && o->router_track_prefill_tokens);
    run(ARGS("--router-kv-overlap-score-weight=0"), NULL);
    CHECK(o->router_prefill_load_scale == 0 && o->router_kv_overlap_score_credit == 0);
    run(ARGS("--router-kv-overlap-score-weight=2"), NULL);
    CHECK(o->router_prefill_load_scale == 2 && o->router_kv_overlap_score_credit == 1);
}

static void case_help_and_version(void) {
    run(ARGS("--nonsense", "--help"), ARGS("DYN_HTTP_PORT=x"));
    CHECK(l.outcome == WEIR_CONFIG_EXIT_OK && l.err[0] == '\0');
    CHECK(strstr(l.out, "Usage: weir frontend") == l.out && strstr(l.out, "--http-port N") != NULL);
    CHECK(strstr(l.out, "DYN_HTTP_BODY_LIMIT_MB") != NULL && strstr(l.out, "--store-kv") == NULL);
    run(ARGS("-h"), NULL);
    CHECK(l.outcome == WEIR_CONFIG_EXIT_OK);
    run(ARGS("--version"), NULL);
    CHECK(l.outcome == WEIR_CONFIG_EXIT_OK);
    CHECK_EQ_STR(l.out, strlen(l.out), "Dynamo Frontend 1.6.1 (weir " WEIR_VERSION ")\n");
}

/* ---- runtime.toml --------------------------------------------------------------------------- */

static char toml_root[64], toml_env[128];

static void write_toml(const char *name, const char *text) {
    static const char *const folders[] = {"/opt", "/opt/dynamo", "/opt/dynamo/etc",
                                          "/opt/dynamo/defaults"};
    char path[256];
    for (size_t i = 0; i < WEIR_ARRAY_LEN(folders); i++) {
        snprintf(path, sizeof(path), "%s%s", toml_root, folders[i]);
        (void)mkdir(path, 0700);
    }
    snprintf(path, sizeof(path), "%s/opt/dynamo/%s/runtime.toml", toml_root, name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void remove_toml(void) {
    static const char *const paths[] = {"/opt/dynamo/etc/runtime.toml",
                                        "/opt/dynamo/defaults/runtime.toml",
                                        "/opt/dynamo/etc",
                                        "/opt/dynamo/defaults",
                                        "/opt/dynamo",
                                        "/opt",
                                        ""};
    char path[256];
    for (size_t i = 0; i < WEIR_ARRAY_LEN(paths); i++) {
        snprintf(path, sizeof(path), "%s%s", toml_root, paths[i]);
        (void)remove(path);
    }
}

static void case_toml_precedence(void) {
    write_toml("defaults", "num_worker_threads = 3\nsystem_port = 9000\nsystem_host = \"1.1.1.1\"\n"
                           "[frontend]\nhttp_port = 1111\nnamespace = 'from-defaults'\n");
    write_toml("etc", "system_port = 9001\nhealth_check_enabled = false\n"
                      "use_endpoint_health_status = []\n[frontend]\nhttp_port = 2222\n"
                      "router_mode = 'kv'\nrouter_ttl_secs = 7\n[mocker]\nblock_size = 32\n");
    run(NULL, ARGS(toml_env));
    expect_run(NULL);
    CHECK(o->loops == 3 && o->system_port == 9001 && strcmp(o->system_host, "1.1.1.1") == 0);
    CHECK(o->http_port == 2222 && o->router_mode == WEIR_OPT_ROUTER_MODE_KV);
    CHECK(strcmp(o->namespace, "from-defaults") == 0 && o->router_ttl_secs == 7.0);
    const struct weir_program *p = &weir_frontend_program;
    CHECK(weir_config_source_of(p, o, weir_config_find(p, "--http-port")) ==
          WEIR_CONFIG_FROM_ETC_TOML);
    CHECK(weir_config_source_of(p, o, weir_config_find(p, "--namespace")) ==
          WEIR_CONFIG_FROM_DEFAULTS_TOML);
    CHECK(weir_config_source_of(p, o, weir_config_find(p, "--http-host")) ==
          WEIR_CONFIG_FROM_DEFAULT);
    run(ARGS("--namespace=flag"), ARGS(toml_env, "DYN_HTTP_PORT=3333"));
    expect_run(NULL);
    CHECK(o->http_port == 3333 && strcmp(o->namespace, "flag") == 0);
    run_program(&weir_mocker_program, NULL, ARGS(toml_env));
    const struct weir_mocker_options *m = (const void *)l.config;
    CHECK(m->block_size == 32);
}

static void case_toml_lists(void) {
    write_toml("defaults", "");
    write_toml("etc",
               "[frontend]\ndiscovery_backend = 'static'\nstatic_worker = ['a:1/x', 'b:2/y']\n");
    run(NULL, ARGS(toml_env));
    expect_run(NULL);
    CHECK(o->static_worker.n == 2 && strcmp(o->static_worker.items[1], "b:2/y") == 0);
}

static void case_toml_errors(void) {
    write_toml("defaults", "");
    write_toml("etc", "unheard_of = 1\n");
    run(NULL, ARGS(toml_env));
    CHECK(l.outcome == WEIR_CONFIG_RUN);
    CHECK(strstr(l.err, "etc/runtime.toml:1: unknown key unheard_of has no effect\n") != NULL);
    write_toml("etc", "\n[frontend]\nhttp_prot = 1\n");
    run(NULL, ARGS(toml_env));
    expect_error(
        "etc/runtime.toml:3: unknown key http_prot in [frontend]; did you mean http_port?\n");
    write_toml("etc", "system_port = 70000\n");
    run(NULL, ARGS(toml_env));
    expect_error("etc/runtime.toml: system_port = 70000: out of range; give a whole number from -1 "
                 "to 65535\n");
    write_toml("etc", "system_port = {a = 1}\n");
    run(NULL, ARGS(toml_env));
    expect_error("etc/runtime.toml:1: system_port: a table does not fit\n");
    /* (Failed before: the value ended there without a word.) */
    write_toml("etc", "system_host = \"1.1.1.1\\u0000.2\"\n");
    run(NULL, ARGS(toml_env));
    expect_error("etc/runtime.toml: line 1: a text has a NUL inside\n");
    write_toml("etc", "system_port = \n");
    run(NULL, ARGS(toml_env));
    expect_error("etc/runtime.toml: line 1: a value is missing\n");
    run(NULL, ARGS("WEIR_CONFIG_ROOT=/nowhere"));
    expect_run(NULL);
}

/* Each allocation fails once: the load ends with an error, or in order when it did not matter. */
static void case_out_of_memory(void) {
    for (uint64_t k = 1; k < 12; k++) {
        weir_mem_fail_at(k);
        run(ARGS("--discovery-backend=static", "--static-worker=a", "--http-host=127.0.0.1"), NULL);
        weir_mem_fail_at(0);
        CHECK_MSG(l.outcome == WEIR_CONFIG_RUN || strstr(l.err, "out of memory") != NULL, "%s",
                  l.err);
    }
}

int main(void) {
    snprintf(toml_root, sizeof(toml_root), "/tmp/weir-config-XXXXXX");
    if (mkdtemp(toml_root) == NULL)
        return 1;
    snprintf(toml_env, sizeof(toml_env), "WEIR_CONFIG_ROOT=%s", toml_root);
    CHECK_RUN(case_defaults);
    CHECK_RUN(case_forms_of_values);
    CHECK_RUN(case_environment);
    CHECK_RUN(case_boolean_words);
    CHECK_RUN(case_bad_values);
    CHECK_RUN(case_a_long_value_is_cut_at_a_character);
    CHECK_RUN(case_bad_command_lines);
    CHECK_RUN(case_older_names);
    CHECK_RUN(case_removed);
    CHECK_RUN(case_unsupported);
    CHECK_RUN(case_misspelt_variables);
    CHECK_RUN(case_rules);
    CHECK_RUN(case_presets);
    CHECK_RUN(case_help_and_version);
    CHECK_RUN(case_toml_precedence);
    CHECK_RUN(case_toml_lists);
    CHECK_RUN(case_toml_errors);
    CHECK_RUN(case_out_of_memory);
    unload(&l);
    remove_toml();
    return check_finish();
}
