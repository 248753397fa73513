/* Table of `weir frontend`, its rules across options and its presets. */
#include "runtime/options_frontend.h"

#include "base/utf8.h"
#include "net/stream.h"
#include "runtime/options_router_rules.h"

#define OPTIONS_STRUCT struct weir_frontend_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_frontend.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

static enum weir_status pair(const char *a, const char *a_name, const char *b, const char *b_name,
                             struct weir_err *err) {
    if ((a != NULL) == (b != NULL))
        return WEIR_OK;
    return weir_err_set(err, WEIR_INVALID, "%s needs %s: give both or neither",
                        a != NULL ? a_name : b_name, a != NULL ? b_name : a_name);
}

static enum weir_status needs(const char *a, const char *a_name, const char *b, const char *b_name,
                              struct weir_err *err) {
    if (a == NULL || b != NULL)
        return WEIR_OK;
    return weir_err_set(err, WEIR_INVALID, "%s needs %s", a_name, b_name);
}

/* Pure: no name is looked up. */
static enum weir_status check_host(const struct weir_frontend_options *o, struct weir_err *err) {
    char ip[WEIR_LISTEN_IP_BYTES];
    if (weir_listen_ip(o->http_host, ip))
        return WEIR_OK;
    return weir_err_set(err, WEIR_INVALID,
                        "--http-host %.*s: not an IP address; give one such as 127.0.0.1, "
                        "0.0.0.0 or :: (no name, no port)",
                        WEIR_SPAN_ARG(weir_utf8_cut_z(o->http_host, 80)));
}

static enum weir_status check_tls(const struct weir_frontend_options *o, struct weir_err *err) {
    enum weir_status st =
        pair(o->tls_cert_path, "--tls-cert-path", o->tls_key_path, "--tls-key-path", err);
    if (st == WEIR_OK)
        st = needs(o->tls_client_ca_cert_path, "--tls-client-ca-cert-path", o->tls_cert_path,
                   "--tls-cert-path and --tls-key-path", err);
    if (st == WEIR_OK)
        st = pair(o->tcp_tls_cert_path, "--tcp-tls-cert-path", o->tcp_tls_key_path,
                  "--tcp-tls-key-path", err);
    if (st == WEIR_OK)
        st = pair(o->tcp_tls_client_cert_path, "--tcp-tls-client-cert-path",
                  o->tcp_tls_client_key_path, "--tcp-tls-client-key-path", err);
    if (st == WEIR_OK)
        st = needs(o->tcp_tls_client_ca_cert_path, "--tcp-tls-client-ca-cert-path",
                   o->tcp_tls_cert_path, "--tcp-tls-cert-path and --tcp-tls-key-path", err);
    return st;
}

static enum weir_status check_static(const struct weir_frontend_options *o, struct weir_err *err) {
    bool any = o->static_worker.n > 0 || o->static_workers_file != NULL;
    bool chosen = o->discovery_backend == WEIR_OPT_DISCOVERY_STATIC;
    if (any && !chosen)
        return weir_err_set(err, WEIR_INVALID,
                            "--static-worker and --static-workers-file need --discovery-backend "
                            "static");
    if (chosen && !any)
        return weir_err_set(err, WEIR_INVALID,
                            "--discovery-backend static needs --static-worker or "
                            "--static-workers-file");
    return WEIR_OK;
}

static enum weir_status check_buckets(const char *name, double lo, double hi,
                                      struct weir_err *err) {
    if (lo < hi)
        return WEIR_OK;
    return weir_err_set(err, WEIR_INVALID,
                        "DYN_METRICS_%s_MIN (%g) must be less than DYN_METRICS_%s_MAX (%g)", name,
                        lo, name, hi);
}

static enum weir_status check_metrics(const struct weir_frontend_options *o, struct weir_err *err) {
    const struct {
        const char *name;
        double lo, hi;
    } rows[] = {
        {"REQUEST_DURATION", o->metrics_request_duration_min, o->metrics_request_duration_max},
        {"INPUT_SEQUENCE", o->metrics_input_sequence_min, o->metrics_input_sequence_max},
        {"OUTPUT_SEQUENCE", o->metrics_output_sequence_min, o->metrics_output_sequence_max},
        {"TTFT", o->metrics_ttft_min, o->metrics_ttft_max},
        {"ITL", o->metrics_itl_min, o->metrics_itl_max},
        {"EMBEDDING_LATENCY", o->metrics_embedding_latency_min, o->metrics_embedding_latency_max},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        enum weir_status st = check_buckets(rows[i].name, rows[i].lo, rows[i].hi, err);
        if (st != WEIR_OK)
            return st;
    }
    return WEIR_OK;
}

static enum weir_status check_pools(const struct weir_frontend_options *o, struct weir_err *err) {
    if (o->pools == NULL)
        return isnan(o->default_ttft_target_ms) && isnan(o->default_itl_target_ms)
                   ? WEIR_OK
                   : weir_err_set(err, WEIR_INVALID,
                                  "--default-ttft-target-ms and --default-itl-target-ms need "
                                  "--pools");
    if (o->namespace != NULL || o->namespace_prefix != NULL)
        return weir_err_set(err, WEIR_INVALID, "--pools names the namespaces itself: leave %s out",
                            o->namespace != NULL ? "--namespace" : "--namespace-prefix");
    if (o->worker.n > 0 || o->workers_file != NULL)
        return weir_err_set(err, WEIR_INVALID,
                            "--pools is for workers that discovery shows: leave %s out",
                            o->worker.n > 0 ? "--worker" : "--workers-file");
    return WEIR_OK;
}

/* The rules themselves are read by whoever applies them. */
static enum weir_status check_split(const struct weir_frontend_options *o, struct weir_err *err) {
    if (!o->router_conditional_disagg)
        return o->router_conditional_disagg_config == NULL
                   ? WEIR_OK
                   : weir_err_set(err, WEIR_INVALID,
                                  "--router-conditional-disagg-config needs "
                                  "--router-conditional-disagg");
    if (o->router_mode == WEIR_OPT_ROUTER_MODE_KV && o->router_kv_events && !o->load_aware)
        return WEIR_OK;
    return weir_err_set(err, WEIR_INVALID,
                        "--router-conditional-disagg needs --router-mode kv and "
                        "--router-kv-events: it goes by what decode workers hold");
}

static enum weir_status check(const void *config, struct weir_err *err) {
    const struct weir_frontend_options *o = config;
    enum weir_status st = check_host(o, err);
    if (st == WEIR_OK)
        st = check_tls(o, err);
    if (st == WEIR_OK)
        st = check_static(o, err);
    if (st == WEIR_OK)
        st = check_metrics(o, err);
    if (st == WEIR_OK)
        st = check_split(o, err);
    if (st == WEIR_OK)
        st = check_pools(o, err);
    if (st == WEIR_OK && WEIR_ROUTER_RULES_FAULT(o) != NULL)
        st = weir_err_set(err, WEIR_INVALID, "%s", WEIR_ROUTER_RULES_FAULT(o));
    return st;
}

/* Presets and legacy names: shared spec "frontend" 1.3, "kvrouter" 5. */
static void resolve(void *config) {
    struct weir_frontend_options *o = config;
    if (o->load_aware)
        o->router_mode = WEIR_OPT_ROUTER_MODE_KV;
    WEIR_ROUTER_RULES_RESOLVE(o);
}

const struct weir_program weir_frontend_program = {
    .name = "frontend",
    .title = "OpenAI HTTP server with an embedded KV-cache-aware router",
    .description =
        "Serves the OpenAI HTTP API, turns prompts into tokens, chooses the worker whose KV cache "
        "holds most of the prompt, and streams the answer back. It takes the flags and variables "
        "of Dynamo's frontend.",
    .version_text = "Dynamo Frontend 1.6.1 (weir " WEIR_VERSION ")",
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_frontend_options),
    .check = check,
    .resolve = resolve,
};
