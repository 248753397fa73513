/* The policy file: 75 files and what a real Dynamo 1.6.1 said to each, and what requests become. */
#include "router/policy_config.h"

#include "router/router.h"

#include "test/check.h"

#include <math.h>

static struct weir_arena arena;
static struct weir_err err;

static enum weir_status parse(const char *text, struct weir_policy_config *ret) {
    return weir_policy_config_parse(weir_span_z(text), "FILE", &arena, ret, &err);
}

static void unescape(char *text) {
    char *to = text;
    for (const char *at = text; *at != '\0'; at++)
        if (at[0] == '\\' && (at[1] == 'n' || at[1] == 't'))
            *to++ = *++at == 'n' ? '\n' : '\t';
        else
            *to++ = *at;
    *to = '\0';
}

/* What the reference takes and Weir refuses, with words of its own; and what it says otherwise. */
static const char *refused_here(const char *name) {
    static const char *const rows[][2] = {
        {"tag", "tags are not supported"},
        {"alias", "anchors are not supported"},
        {"anchor", "anchors are not supported"},
        {"tab", "found character that cannot start any token"},
        {"dup_key", "key 'default_policy_family' is there already"},
        {"dup_class_key", "key 'name' is there already"},
        {"two_documents", "a second document begins"},
        {"router_bad", "router.router_ttl_secs: invalid type: the text \"five\", expected f64"},
        /* Theirs is read, and refused later: the next two. */
        {"worker_selection", "unknown worker-selection policy type \"b\""},
        {"request_classifier", "unknown request-classifier type \"b\""},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++)
        if (strcmp(rows[i][0], name) == 0)
            return rows[i][1];
    return NULL;
}

static void check_row(const char *name, char *text, const char *theirs) {
    struct weir_policy_config c;
    unescape(text);
    enum weir_status st = parse(text, &c);
    const char *ours = refused_here(name), *in = strstr(theirs, "policy_classes[");
    if (ours != NULL) {
        CHECK_MSG(st == WEIR_INVALID && strstr(err.text, ours) != NULL, "%s: %s", name, err.text);
        return;
    }
    if (strcmp(theirs, "ok") == 0) {
        CHECK_MSG(st == WEIR_OK, "%s: %s", name, err.text);
        return;
    }
    CHECK_MSG(st == WEIR_INVALID, "%s: accepted", name);
    bool meaning = strncmp(theirs, "invalid", 7) == 0;
    size_t same = meaning ? strlen(theirs) : strlen("failed to parse router policy config FILE");
    CHECK_MSG(strncmp(err.text, theirs, same) == 0, "%s: \"%s\", not \"%s\"", name, err.text,
              theirs);
    CHECK_MSG(strstr(err.text, "line ") != NULL, "%s: %s", name, err.text);
    CHECK_MSG(meaning || in == NULL || strstr(err.text, "policy_classes[0]") != NULL, "%s: %s",
              name, err.text);
}

static void case_as_the_reference(void) {
    static char line[4096];
    unsigned n = 0;
    FILE *f = fopen("test/data/policy-config-1.6.1.tsv", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *text = strchr(line, '\t'), *theirs = strrchr(line, '\t');
        CHECK(text != NULL && theirs > text);
        *text++ = '\0';
        *theirs++ = '\0';
        check_row(line, text, theirs);
        n++;
    }
    fclose(f);
    CHECK_EQ_U64(n, 75);
}

/* What is in force. Messages without "Weir" begin as those of a real Dynamo 1.6.1. */
static void case_sections(void) {
#define COST(text)                                                                                 \
    "worker_selection: {aggregated: a, instances: [{name: a, type: dynamo-default-cost-fn, "       \
    "parameters: {" text "}}]}\n"
    static const char bad_cost[] = "invalid parameters for worker-selection policy type "
                                   "\"dynamo-default-cost-fn\": ";
    static const struct {
        const char *text, *prefix, *want;
    } rows[] = {
        {"router: 3\n", "", "router is not a mapping of settings"},
        {"router: {host_cache_hit_weight: 2}\n", "",
         "router.host_cache_hit_weight must be between 0 and 1"},
        {"router: {router_ttl_secs: -1}\n", "",
         "router.router_ttl_secs must be between 0.001 and 3.1536e+07"},
        {"router: {use_kv_events: 1}\n", "",
         "router.use_kv_events: invalid type: 1, expected a boolean"},
        {"router: {serve_indexer: true}\n", "",
         "router.serve_indexer: Weir has only false; leave it out"},
        {"router: {router_tracking_hash: keyed-xxh3-v1}\n", "",
         "router.router_tracking_hash: Weir has only public-xxh3-v1; leave it out"},
        {"router: {router_predicted_ttl_secs: 5}\n", "",
         "router.router_predicted_ttl_secs: Weir has only null; leave it out"},
        {"router: {router_event_threads: many}\n", "",
         "router.router_event_threads: invalid type: the text \"many\", expected u32"},
        {"worker_selection: 3\n", "", "worker_selection is not a mapping"},
        {"worker_selection: {x: 1}\n", "", "worker_selection: unknown field `x`"},
        {"worker_selection: {aggregated: b}\n", "",
         "worker_selection aggregated \"b\" does not name a configured instance"},
        {"worker_selection: {instances: [{name: default, type: dynamo-default-cost-fn}]}\n", "",
         "worker_selection instance name 'default' is reserved for the built-in selector"},
        {"worker_selection: {instances: [{name: a, type: b}, {name: a, type: b}]}\n", "",
         "unknown worker-selection policy type \"b\""},
        {"worker_selection: {instances: [{name: a, type: thunderagent}]}\n", "",
         "unknown worker-selection policy type \"thunderagent\"; Weir has only"},
        {"worker_selection: {instances: [{type: b}]}\n", "", "missing field `name`"},
        {"worker_selection: {instances: {a: 1}}\n", "",
         "worker_selection.instances is no list of up to 16"},
        {COST("overlap_score_credit: -1"), bad_cost,
         "overlap_score_credit must be finite and non-negative"},
        {COST("prefill_load_scale: .nan"), bad_cost,
         "prefill_load_scale must be finite and non-negative"},
        {COST("x: 1"), bad_cost, "unknown field x"},
        {COST("router_temperature: abc"), bad_cost, "router_temperature is not a number"},
        {COST("shared_cache_multiplier: 0.5"), bad_cost, "shared_cache_multiplier must be 0"},
        {"worker_selection: {aggregated: a, decode: default, instances: [{name: a, type: "
         "dynamo-default-cost-fn}]}\n",
         "", "worker_selection decode and aggregated differ: Weir has one cost"},
        {"worker_selection: {encode: a, instances: [{name: a, type: dynamo-default-cost-fn}]}\n",
         "", "worker_selection encode: Weir has no encode workers"},
        {"request_classifier: {type: thunderagent}\n", "",
         "unknown request-classifier type \"thunderagent\": Weir has none"},
        {"request_classifier: {}\n", "", "missing field `type`"},
    };
    struct weir_policy_config c;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        enum weir_status st = parse(rows[i].text, &c);
        CHECK_MSG(st == WEIR_INVALID && strstr(err.text, rows[i].prefix) != NULL &&
                      strstr(err.text, rows[i].want) != NULL,
                  "row %zu: %s", i, st == WEIR_OK ? "accepted" : err.text);
    }
    CHECK_MSG(
        parse("router: {host_cache_hit_weight: 0.5, use_kv_events: false, router_ttl_secs: 7, "
              "router_tracking_hash: public-xxh3-v1, serve_indexer: false, "
              "router_event_threads: 8, router_predicted_ttl_secs: null}\n"
              "worker_selection:\n"
              "  aggregated: cost\n"
              "  prefill: default\n"
              "  decode: cost\n"
              "  instances:\n"
              "    - name: cost\n"
              "      type: dynamo-default-cost-fn\n"
              "      parameters: {prefill_load_scale: 2, overlap_score_credit_decay: 0.25}\n",
              &c) == WEIR_OK,
        "%s", err.text);
    CHECK(c.root == NULL && c.n_models == 0);
    CHECK(c.settings.host_cache_hit_weight == 0.5 && isnan(c.settings.disk_cache_hit_weight));
    CHECK(c.settings.use_kv_events == 0 && c.settings.router_replica_sync == -1);
    CHECK(c.settings.router_ttl_secs == 7);
    struct weir_router_config r;
    weir_router_config_init(&r);
    weir_policy_costs_apply(&c.prefill, &r);
    CHECK(r.prefill_load_scale == 1 && r.overlap_credit_decay == 0);
    weir_policy_costs_apply(&c.serve, &r);
    CHECK(r.prefill_load_scale == 2 && r.overlap_credit_decay == 0.25 &&
          r.overlap_score_credit == 1);
}

static const char two[] =
    "default_policy_family: standard\n"
    "uncached_isl_buckets:\n"
    "  - {min_tokens: 0, bucket: cached}\n"
    "  - {min_tokens: 32, bucket: uncached}\n"
    "policy_classes:\n"
    "  - {name: sc, policy_family: standard, cache_bucket: cached, quantum: 1}\n"
    "  - {name: su, policy_family: standard, cache_bucket: uncached, quantum: 2,\n"
    "     queue_policy: wspt, prefill_busy_threshold: 9,\n"
    "     prefill_busy_threshold_frac: 0, request_queue_limit_per_worker: 3}\n"
    "  - {name: bu, policy_family: batch, cache_bucket: uncached, quantum: 3}\n"
    "  - {name: bc, policy_family: batch, cache_bucket: cached, quantum: 4}\n"
    "  - {name: direct, quantum: 5}\n"
    "models:\n"
    "  m:\n"
    "    default_policy_family: a\n"
    "    uncached_isl_buckets: [{min_tokens: 0, bucket: all}]\n"
    "    policy_classes: [{name: x, policy_family: a, cache_bucket: all, "
    "quantum: 7}]\n";

static const char *class_of(const struct weir_policy_profile *p, const char *name,
                            uint64_t tokens) {
    return p->classes[weir_policy_classify(p, weir_span_z(name), tokens)].name.data;
}

static void case_classes_of_requests(void) {
    static const struct {
        const char *name;
        uint64_t uncached;
        const char *want;
    } rows[] = {{"", 0, "sc"},
                {"", 31, "sc"},
                {"", 32, "su"},
                {"batch", 31, "bc"},
                {"batch", 1u << 30, "bu"},
                {"direct", 5, "direct"},
                {"nobody", 99, "su"},
                {"bc", 99, "su"} /* a cell cannot be named directly */};
    struct weir_policy_config c;
    CHECK_MSG(parse(two, &c) == WEIR_OK, "%s", err.text);
    const struct weir_policy_profile *p = weir_policy_profile_of(&c, weir_span_z("other"));
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        const char *got = class_of(p, rows[i].name, rows[i].uncached);
        CHECK_EQ_STR(got, strlen(got), rows[i].want);
    }
    const struct weir_policy_class *su = &p->classes[1];
    CHECK(su->queue_policy == WEIR_QUEUE_WSPT && su->quantum == 2 && su->busy_tokens == 9);
    CHECK(su->busy_frac == 0 && su->requests_per_worker == 3);
    CHECK(su->raw_tokens_per_worker == UINT64_MAX && isnan(p->classes[0].busy_frac));
    p = weir_policy_profile_of(&c, weir_span_z("m"));
    CHECK(p != c.root && p->n_classes == 1 && strcmp(class_of(p, "batch", 99), "x") == 0);
}

static void case_bounds(void) {
    static char text[8192];
    struct weir_policy_config c;
    size_t at =
        (size_t)snprintf(text, sizeof(text),
                         "default_policy_family: s\n"
                         "uncached_isl_buckets: [{min_tokens: 0, bucket: all}]\n"
                         "policy_classes:\n"
                         "  - {name: a, policy_family: s, cache_bucket: all, quantum: 1}\n");
    for (int i = 1; i < 64; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "  - {name: c%d, quantum: 1}\n", i);
    CHECK_MSG(parse(text, &c) == WEIR_OK, "%s", err.text);
    snprintf(text + at, sizeof(text) - at, "  - {name: c64, quantum: 1}\n");
    CHECK(parse(text, &c) == WEIR_INVALID && strstr(err.text, "more than 64") != NULL);
    CHECK(weir_policy_config_read("/nowhere.yaml", &arena, &c, &err) == WEIR_NOT_FOUND);
    CHECK(strncmp(err.text, "failed to read router policy config", 35) == 0);
}

int main(void) {
    weir_arena_init(&arena, (size_t)64 << 20);
    CHECK_RUN(case_as_the_reference);
    CHECK_RUN(case_sections);
    CHECK_RUN(case_classes_of_requests);
    CHECK_RUN(case_bounds);
    weir_arena_fini(&arena);
    return check_finish();
}
