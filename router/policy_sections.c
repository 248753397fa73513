/*
 * The sections of the policy file that are not about classes. "router": settings that have flags
 * too; "worker_selection": which cost chooses a worker, by the kind of workers. Names, types,
 * ranges and messages as of Dynamo 1.6.1; what Weir has no counterpart of is refused by its name
 * unless it has the value that means "off".
 */
#include "router/policy_read_priv.h"

#include "base/utf8.h"
#include "router/router.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum kind { SHARE, SECONDS, FLAG, IGNORED, FALSE_ONLY, WORD_ONLY, NULL_ONLY };

static const struct setting {
    const char *name;
    enum kind kind;
    size_t at;        /* in struct weir_policy_settings */
    const char *word; /* of WORD_ONLY, the one that is taken */
} settings[] = {
#define AT(name) offsetof(struct weir_policy_settings, name)
    {"host_cache_hit_weight", SHARE, AT(host_cache_hit_weight), NULL},
    {"disk_cache_hit_weight", SHARE, AT(disk_cache_hit_weight), NULL},
    {"use_kv_events", FLAG, AT(use_kv_events), NULL},
    {"router_replica_sync", FLAG, AT(router_replica_sync), NULL},
    {"router_track_active_blocks", FLAG, AT(router_track_active_blocks), NULL},
    {"router_assume_kv_reuse", FLAG, AT(router_assume_kv_reuse), NULL},
    {"router_track_prefill_tokens", FLAG, AT(router_track_prefill_tokens), NULL},
    {"router_ttl_secs", SECONDS, AT(router_ttl_secs), NULL},
#undef AT
    {"router_event_threads", IGNORED, 0, NULL},
    {"router_track_output_blocks", FALSE_ONLY, 0, NULL},
    {"use_remote_indexer", FALSE_ONLY, 0, NULL},
    {"serve_indexer", FALSE_ONLY, 0, NULL},
    {"enable_session_prefix_index", FALSE_ONLY, 0, NULL},
    {"router_tracking_hash", WORD_ONLY, 0, "public-xxh3-v1"},
    {"router_prefill_load_model", WORD_ONLY, 0, "none"},
    {"router_approximate_cache_policy", WORD_ONLY, 0, "ttl"},
    {"shared_cache_type", WORD_ONLY, 0, "none"},
    {"router_tracking_key_file", NULL_ONLY, 0, NULL},
    {"router_tracking_key_id", NULL_ONLY, 0, NULL},
    {"router_predicted_ttl_secs", NULL_ONLY, 0, NULL},
};

void weir_policy_settings_init(struct weir_policy_settings *s) {
    *s = (struct weir_policy_settings){NAN, NAN, NAN, -1, -1, -1, -1, -1};
}

/* ---- router -------------------------------------------------------------------------------- */

static enum weir_status wrong_type(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                   const char *wanted) {
    char is[64];
    weir_yaml_describe(m, is, sizeof(is));
    return weir_policy_invalid(r, m, "router.%s: invalid type: %s, expected %s", m->key.data, is,
                               wanted);
}

static enum weir_status read_number(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                    const struct setting *row, double *ret) {
    double value, most = row->kind == SHARE ? 1 : 31536000;
    if (!weir_yaml_f64(m, &value))
        return wrong_type(r, m, "f64");
    if (!(value >= 0 && value <= most) || (row->kind == SECONDS && value < 0.001))
        return weir_policy_invalid(r, m, "router.%s must be between %s and %g", row->name,
                                   row->kind == SHARE ? "0" : "0.001", most);
    *ret = value;
    return WEIR_OK;
}

static enum weir_status not_here(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                 const char *only) {
    return weir_policy_invalid(r, m, "router.%s: Weir has only %s; leave it out", m->key.data,
                               only);
}

static enum weir_status read_setting(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                     const struct setting *row, struct weir_policy_settings *ret) {
    char *to = (char *)ret + row->at;
    bool on = false;
    double number;
    switch (row->kind) {
    case SHARE:
    case SECONDS:
        return read_number(r, m, row, (double *)(void *)to);
    case IGNORED:
        return weir_yaml_f64(m, &number) ? WEIR_OK : wrong_type(r, m, "u32");
    case FLAG:
    case FALSE_ONLY:
        if (!weir_yaml_bool(m, &on))
            return wrong_type(r, m, "a boolean");
        if (row->kind == FLAG)
            *(int *)(void *)to = on;
        return row->kind == FALSE_ONLY && on ? not_here(r, m, "false") : WEIR_OK;
    case WORD_ONLY:
        if (m->type != WEIR_YAML_SCALAR || weir_yaml_is_null(m))
            return wrong_type(r, m, "a text");
        return weir_span_eqz(m->text, row->word) ? WEIR_OK : not_here(r, m, row->word);
    case NULL_ONLY:
        return weir_yaml_is_null(m) ? WEIR_OK : not_here(r, m, "null");
    }
    return WEIR_OK;
}

static enum weir_status read_router(const struct weir_policy_reader *r,
                                    const struct weir_yaml *section,
                                    struct weir_policy_settings *ret) {
    if (section->type != WEIR_YAML_MAPPING)
        return weir_policy_malformed(r, section, "router is not a mapping of settings");
    for (const struct weir_yaml *m = section->first; m != NULL; m = m->next) {
        size_t i = 0;
        while (i < WEIR_ARRAY_LEN(settings) && !weir_span_eqz(m->key, settings[i].name))
            i++;
        if (i == WEIR_ARRAY_LEN(settings))
            return weir_policy_invalid(r, m, "unknown router setting: %.*s",
                                       WEIR_SPAN_ARG(weir_utf8_cut_z(m->key.data, 40)));
        enum weir_status st = read_setting(r, m, &settings[i], ret);
        if (st != WEIR_OK)
            return st;
    }
    return WEIR_OK;
}

/* ---- worker_selection ---------------------------------------------------------------------- */

/* X(member of both structs, member of struct weir_router_config) */
#define COSTS(X)                                                                                   \
    X(overlap_score_credit, overlap_score_credit)                                                  \
    X(overlap_score_credit_decay, overlap_credit_decay)                                            \
    X(prefill_load_scale, prefill_load_scale)                                                      \
    X(decode_active_request_weight, decode_active_request_weight)                                  \
    X(host_cache_hit_weight, host_cache_hit_weight)                                                \
    X(disk_cache_hit_weight, disk_cache_hit_weight)                                                \
    X(router_temperature, temperature)

void weir_policy_costs_init(struct weir_policy_costs *c) {
#define X(name, there) c->name = NAN;
    COSTS(X)
#undef X
}

void weir_policy_costs_apply(const struct weir_policy_costs *c, struct weir_router_config *ret) {
#define X(name, there)                                                                             \
    if (!isnan(c->name))                                                                           \
        ret->there = c->name;
    COSTS(X)
#undef X
}

struct instance {
    struct weir_span name, type;
    const struct weir_yaml *node;
    struct weir_policy_costs costs;
};
enum { MAX_INSTANCES = 16 };
struct selection {
    struct instance instances[MAX_INSTANCES];
    size_t n;
};

static double *cost_named(struct weir_policy_costs *c, struct weir_span key) {
#define X(name, there)                                                                             \
    if (weir_span_eqz(key, #name))                                                                 \
        return &c->name;
    COSTS(X)
#undef X
    return NULL;
}

static const char cost_fn[] = "dynamo-default-cost-fn";

static enum weir_status bad_parameter(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                      const char *key, const char *text) {
    return weir_policy_invalid(r, m,
                               "invalid parameters for worker-selection policy type \"%s\": "
                               "%.*s %s",
                               cost_fn, WEIR_SPAN_ARG(weir_utf8_cut_z(key, 40)), text);
}

static enum weir_status read_parameters(const struct weir_policy_reader *r,
                                        const struct weir_yaml *map,
                                        struct weir_policy_costs *ret) {
    for (const struct weir_yaml *m = map->first; m != NULL; m = m->next) {
        double number = 0, *to = cost_named(ret, m->key);
        bool shared = weir_span_eqz(m->key, "shared_cache_multiplier");
        if (to == NULL && !shared)
            return bad_parameter(r, m, "unknown field", m->key.data);
        if (!weir_yaml_f64(m, &number))
            return bad_parameter(r, m, m->key.data, "is not a number");
        if (!isfinite(number) || number < 0)
            return bad_parameter(r, m, m->key.data, "must be finite and non-negative");
        if (shared && number > 0)
            return bad_parameter(r, m, m->key.data, "must be 0: Weir knows of no shared cache");
        if (to != NULL)
            *to = number;
    }
    return WEIR_OK;
}

static enum weir_status read_instance(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                      struct selection *s) {
    static const char *const keys[] = {"name", "type", "parameters"};
    static const char at[] = "worker_selection.instances: ";
    struct instance *x = &s->instances[s->n];
    struct weir_policy_reader here = *r;
    snprintf(here.where, sizeof(here.where), "worker_selection");
    if (m->type != WEIR_YAML_MAPPING)
        return weir_policy_malformed(r, m, "worker_selection.instances[%zu] is not a mapping",
                                     s->n);
    enum weir_status st = weir_policy_check_keys(r, m, at, keys, WEIR_ARRAY_LEN(keys));
    if (st == WEIR_OK)
        st = weir_policy_get_text(r, m, at, "name", true, &x->name);
    if (st == WEIR_OK)
        st = weir_policy_get_text(r, m, at, "type", true, &x->type);
    if (st == WEIR_OK)
        st = weir_policy_check_name(&here, m, x->name, "instance");
    if (st == WEIR_OK && weir_span_eqz(x->name, "default"))
        st = weir_policy_invalid(r, m,
                                 "worker_selection instance name 'default' is reserved for the "
                                 "built-in selector");
    if (st == WEIR_OK)
        st = weir_policy_check_name(&here, m, x->type, "policy type");
    const struct weir_yaml *p = weir_yaml_get(m, "parameters");
    if (st == WEIR_OK && p != NULL && p->type != WEIR_YAML_MAPPING)
        st = weir_policy_invalid(
            r, p, "worker_selection instance \"%.*s\" parameters must be a YAML mapping",
            WEIR_SPAN_ARG(weir_utf8_cut_z(x->name.data, 60)));
    for (size_t i = 0; i < s->n && st == WEIR_OK; i++)
        if (weir_span_eq(s->instances[i].name, x->name))
            st = weir_policy_invalid(r, m, "worker_selection contains duplicate instance \"%.*s\"",
                                     WEIR_SPAN_ARG(weir_utf8_cut_z(x->name.data, 60)));
    if (st == WEIR_OK && !weir_span_eqz(x->type, cost_fn))
        st = weir_policy_invalid(r, m,
                                 "unknown worker-selection policy type \"%.*s\"; Weir has only %s",
                                 WEIR_SPAN_ARG(weir_utf8_cut_z(x->type.data, 60)), cost_fn);
    weir_policy_costs_init(&x->costs);
    x->node = m;
    s->n++;
    return st == WEIR_OK && p != NULL ? read_parameters(r, p, &x->costs) : st;
}

/* *ret: NULL for "default", or when the stage is not named. */
static enum weir_status pick(const struct weir_policy_reader *r, const struct weir_yaml *section,
                             const struct selection *s, const char *stage,
                             const struct instance **ret) {
    struct weir_span name = {NULL, 0};
    *ret = NULL;
    enum weir_status st =
        weir_policy_get_text(r, section, "worker_selection.", stage, false, &name);
    if (st != WEIR_OK || name.data == NULL || weir_span_eqz(name, "default"))
        return st;
    for (size_t i = 0; i < s->n; i++)
        if (weir_span_eq(s->instances[i].name, name))
            *ret = &s->instances[i];
    if (*ret != NULL)
        return WEIR_OK;
    return weir_policy_invalid(r, weir_yaml_get(section, stage),
                               "worker_selection %s \"%.*s\" does not name a configured instance",
                               stage, WEIR_SPAN_ARG(weir_utf8_cut_z(name.data, 60)));
}

static enum weir_status read_selection(const struct weir_policy_reader *r,
                                       const struct weir_yaml *section,
                                       struct weir_policy_config *ret) {
    static const char *const keys[] = {"aggregated", "prefill", "decode", "encode", "instances"};
    const struct instance *of[4];
    struct selection s = {.n = 0};
    if (section->type != WEIR_YAML_MAPPING)
        return weir_policy_malformed(r, section, "worker_selection is not a mapping");
    enum weir_status st =
        weir_policy_check_keys(r, section, "worker_selection: ", keys, WEIR_ARRAY_LEN(keys));
    const struct weir_yaml *list = weir_yaml_get(section, "instances");
    if (st == WEIR_OK && section->first == NULL)
        st = weir_policy_invalid(r, section,
                                 "worker_selection must define an instance or an aggregated, "
                                 "prefill, decode, or encode selection");
    if (st == WEIR_OK && list != NULL &&
        (list->type != WEIR_YAML_SEQUENCE || list->n > MAX_INSTANCES))
        st = weir_policy_malformed(r, list, "worker_selection.instances is no list of up to %d",
                                   MAX_INSTANCES);
    for (const struct weir_yaml *m = st == WEIR_OK && list != NULL ? list->first : NULL;
         m != NULL && st == WEIR_OK; m = m->next)
        st = read_instance(r, m, &s);
    for (size_t i = 0; i < 4 && st == WEIR_OK; i++)
        st = pick(r, section, &s, keys[i], &of[i]);
    if (st != WEIR_OK)
        return st;
    bool both =
        weir_yaml_get(section, "aggregated") != NULL && weir_yaml_get(section, "decode") != NULL;
    if (both && of[0] != of[2])
        return weir_policy_invalid(r, weir_yaml_get(section, "decode"),
                                   "worker_selection decode and aggregated differ: Weir has one "
                                   "cost for workers that serve and that decode; name one instance "
                                   "for both");
    if (of[3] != NULL)
        return weir_policy_invalid(r, weir_yaml_get(section, "encode"),
                                   "worker_selection encode: Weir has no encode workers; leave it "
                                   "out");
    const struct instance *serve = of[0] != NULL ? of[0] : of[2];
    if (serve != NULL)
        ret->serve = serve->costs;
    if (of[1] != NULL)
        ret->prefill = of[1]->costs;
    return WEIR_OK;
}

/* ---- all of them --------------------------------------------------------------------------- */

static enum weir_status refuse_classifier(const struct weir_policy_reader *r,
                                          const struct weir_yaml *section) {
    struct weir_span type = {"", 0};
    if (section->type == WEIR_YAML_MAPPING &&
        weir_policy_get_text(r, section, "request_classifier.", "type", true, &type) != WEIR_OK)
        return WEIR_INVALID;
    return weir_policy_invalid(r, section,
                               "unknown request-classifier type \"%.*s\": Weir has none; requests "
                               "name their class in x-dynamo-meta-policy-class. Leave the section "
                               "out",
                               WEIR_SPAN_ARG(weir_utf8_cut_z(type.data, 60)));
}

enum weir_status weir_policy_read_sections(struct weir_policy_reader *r,
                                           const struct weir_yaml *doc,
                                           struct weir_policy_config *ret, bool *ret_any) {
    const struct weir_yaml *router = weir_yaml_get(doc, "router"),
                           *selection = weir_yaml_get(doc, "worker_selection"),
                           *classifier = weir_yaml_get(doc, "request_classifier");
    enum weir_status st = WEIR_OK;
    *ret_any = !weir_yaml_is_null(router) || !weir_yaml_is_null(selection);
    if (!weir_yaml_is_null(router))
        st = read_router(r, router, &ret->settings);
    if (st == WEIR_OK && !weir_yaml_is_null(selection))
        st = read_selection(r, selection, ret);
    if (st == WEIR_OK && !weir_yaml_is_null(classifier))
        st = refuse_classifier(r, classifier);
    return st;
}
