/* Table of `weir mocker` and its rules across options. */
#include "runtime/options_mocker.h"

#include "runtime/options_service.h"

#define OPTIONS_STRUCT struct weir_mocker_options
static const struct weir_option options[] = {
/* clang-format off */
#include "runtime/options_table_begin.def"
#include "runtime/options_mocker.def"
#include "runtime/options_end.def"
    /* clang-format on */
};

static enum weir_status check(const void *config, struct weir_err *err) {
    const struct weir_mocker_options *o = config;
    if ((o->tcp_tls_cert_path != NULL) != (o->tcp_tls_key_path != NULL))
        return weir_err_set(err, WEIR_INVALID,
                            "DYN_TCP_TLS_CERT_PATH and DYN_TCP_TLS_KEY_PATH: give both or neither");
    if ((o->tcp_tls_client_cert_path != NULL) != (o->tcp_tls_client_key_path != NULL))
        return weir_err_set(err, WEIR_INVALID,
                            "DYN_TCP_TLS_CLIENT_CERT_PATH and DYN_TCP_TLS_CLIENT_KEY_PATH: give "
                            "both or neither");
    if (o->tcp_tls_client_ca_cert_path != NULL && o->tcp_tls_cert_path == NULL)
        return weir_err_set(err, WEIR_INVALID,
                            "DYN_TCP_TLS_CLIENT_CA_CERT_PATH needs DYN_TCP_TLS_CERT_PATH and "
                            "DYN_TCP_TLS_KEY_PATH");
    if (o->discovery_backend == WEIR_OPT_DISCOVERY_KUBERNETES && o->num_workers > 1)
        return weir_err_set(err, WEIR_INVALID,
                            "--num-workers %lld: with --discovery-backend kubernetes a pod is one "
                            "worker; start more pods",
                            (long long)o->num_workers);
    if (o->engine != WEIR_OPT_MOCKER_ENGINE_UNSET && o->num_workers > 1)
        return weir_err_set(err, WEIR_INVALID,
                            "--num-workers %lld: with --engine a process is one server; start "
                            "more, each with a --port of its own",
                            (long long)o->num_workers);
    bool split = o->disaggregation_mode == WEIR_OPT_MOCKER_PREFILL ||
                 o->disaggregation_mode == WEIR_OPT_MOCKER_DECODE || o->is_prefill_worker ||
                 o->is_decode_worker;
    if (o->embedding != 0 && (split || o->engine != WEIR_OPT_MOCKER_ENGINE_UNSET))
        return weir_err_set(err, WEIR_INVALID,
                            split ? "--embedding: nothing is decoded, so leave out the part of a "
                                    "split deployment"
                                  : "--embedding: an HTTP engine answers both kinds of requests, "
                                    "leave it out");
    if (o->tokenizer == WEIR_OPT_MOCKER_TOKENIZER_MODEL && o->model_path == NULL)
        return weir_err_set(err, WEIR_INVALID, "--tokenizer model needs --model-path");
    if (o->is_prefill_worker && o->is_decode_worker)
        return weir_err_set(err, WEIR_INVALID,
                            "--is-prefill-worker and --is-decode-worker: give one of them");
    int64_t more = o->data_parallel_size != WEIR_CONFIG_NONE ? o->data_parallel_size - 1 : 0;
    if (o->kv_events_port + more > 65535 || o->kv_replay_port + more > 65535)
        return weir_err_set(err, WEIR_INVALID,
                            "--kv-events-port, --kv-replay-port: each of the %lld ranks of "
                            "--data-parallel-size has its own, one after the other, and the last "
                            "would be over 65535",
                            (long long)more + 1);
    if (o->fail_rate + o->hang_rate > 1)
        return weir_err_set(err, WEIR_INVALID,
                            "--fail-rate and --hang-rate are shares of all requests: together at "
                            "most 1");
    return WEIR_OK;
}

const struct weir_program weir_mocker_program = {
    .name = "mocker",
    .title = "simulated inference engines that join as real workers do",
    .description = "Serves requests as an engine with continuous batching, a paged KV cache and "
                   "prefix reuse would, without a GPU: timing comes from a model, text is "
                   "deterministic, KV events and load metrics are real.",
    .version_text = "Dynamo Mocker 1.6.1 (weir " WEIR_VERSION ")",
    .options = options,
    .n_options = WEIR_ARRAY_LEN(options),
    .struct_bytes = sizeof(struct weir_mocker_options),
    .check = check,
};
