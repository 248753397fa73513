/* Sources, precedence, parsing and messages of the configuration loader. */
#include "runtime/options_bench.h"
#include "runtime/options_frontend.h"
#include "runtime/options_mocker.h"
#include "test/unit/config/helpers.h"

static struct loaded l;
static const struct weir_frontend_options *const o = (const void *)l.config;

static void run(const char *const *args, const char *const *env) {
    load(&l, &weir_frontend_program, args, env);
    unload(&l);
}

static void case_defaults(void) {
    load(&l, &weir_frontend_program, NULL, NULL);
    CHECK_MSG(l.outcome == WEIR_CONFIG_RUN && l.err[0] == '\0', "%s", l.err);
    CHECK(strcmp(o->http_host, "0.0.0.0") == 0);
    CHECK_EQ_U64(o->http_port, 8000);
    CHECK(o->discovery_backend == WEIR_OPT_DISCOVERY_FILE);
    CHECK(o->router_mode == WEIR_OPT_ROUTER_MODE_ROUND_ROBIN);
    CHECK(o->event_plane == -1 && o->model_name == NULL && o->static_worker.n == 0);
    CHECK(o->kv_cache_block_size == WEIR_CONFIG_NONE);
    CHECK(isnan(o->active_decode_blocks_threshold));
    CHECK(o->router_kv_events && !o->interactive);
    CHECK(o->router_host_cache_hit_weight == 0.75);
    unload(&l);
}

static void case_precedence(void) {
    run(ARGS("--http-port", "1"), ARGS("DYN_HTTP_PORT=2"));
    CHECK(l.outcome == WEIR_CONFIG_RUN && o->http_port == 1);
    run(NULL, ARGS("DYN_HTTP_PORT=2"));
    CHECK(l.outcome == WEIR_CONFIG_RUN && o->http_port == 2);
    run(NULL, ARGS("DYN_HTTP_PORT="));
    CHECK(l.outcome == WEIR_CONFIG_RUN && o->http_port == 8000);
}

int main(void) {
    CHECK_RUN(case_defaults);
    CHECK_RUN(case_precedence);
    return check_finish();
}
