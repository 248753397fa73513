/*
 * One pass over the tree for form (unknown keys, types), one for meaning. Messages about meaning
 * are the reference's, with the line behind; those about form begin as its own do.
 */
#include "router/policy_config.h"

#include "base/utf8.h"
#include "router/policy_read_priv.h"

#include <math.h>
#include <stdio.h>

enum { MAX_FILE_BYTES = 1 << 20 };

/* ---- form ------------------------------------------------------------------------------------ */

static enum weir_status check_list(const struct weir_policy_reader *r, const struct weir_yaml *list,
                                   const char *key) {
    char is[64];
    weir_yaml_describe(list, is, sizeof(is));
    if (list->type != WEIR_YAML_SEQUENCE)
        return weir_policy_malformed(r, list, "%s%s is %s, not a sequence", r->at, key, is);
    size_t i = 0;
    for (const struct weir_yaml *m = list->first; m != NULL; m = m->next, i++)
        if (m->type != WEIR_YAML_MAPPING)
            return weir_policy_malformed(r, m, "%s%s[%zu] is not a mapping", r->at, key, i);
    if (list->n > WEIR_POLICY_CLASSES)
        return weir_policy_invalid(r, list, "%s %s has more than %d members", r->where, key,
                                   WEIR_POLICY_CLASSES);
    return WEIR_OK;
}

/* ---- meaning --------------------------------------------------------------------------------- */

struct buckets {
    struct weir_span names[WEIR_POLICY_CLASSES];
    size_t n;
};

static enum weir_status read_buckets(const struct weir_policy_reader *r,
                                     const struct weir_yaml *list, struct weir_policy_profile *p,
                                     struct buckets *names) {
    static const char *const keys[] = {"min_tokens", "bucket"};
    static const char *const key = "uncached_isl_buckets";
    enum weir_status st = check_list(r, list, key);
    char at[160];
    if (st == WEIR_OK && list->n == 0)
        st = weir_policy_invalid(r, list, "%s uncached_isl_buckets must not be empty", r->where);
    for (const struct weir_yaml *m = list->first; m != NULL && st == WEIR_OK; m = m->next) {
        size_t i = names->n++;
        snprintf(at, sizeof(at), "%s%s[%zu]: ", r->at, key, i);
        st = weir_policy_check_keys(r, m, at, keys, 2);
        if (st == WEIR_OK)
            st = weir_policy_get_u64(r, m, at, "min_tokens", true, &p->bucket_from[i]);
        if (st == WEIR_OK)
            st = weir_policy_get_text(r, m, at, "bucket", true, &names->names[i]);
    }
    for (size_t i = 0; i < names->n && st == WEIR_OK; i++) {
        if (i == 0 && p->bucket_from[0] != 0)
            st = weir_policy_invalid(r, list, "%s uncached_isl_buckets must start at min_tokens 0",
                                     r->where);
        else if (i > 0 && p->bucket_from[i] <= p->bucket_from[i - 1])
            st = weir_policy_invalid(
                r, list, "%s uncached_isl_buckets min_tokens must be strictly increasing",
                r->where);
    }
    for (size_t i = 0; i < names->n && st == WEIR_OK; i++) {
        st = weir_policy_check_name(r, list, names->names[i], "cache bucket");
        for (size_t k = 0; k < i && st == WEIR_OK; k++)
            if (weir_span_eq(names->names[k], names->names[i]))
                st = weir_policy_invalid(r, list, "%s contains duplicate cache bucket \"%s\"",
                                         r->where, names->names[i].data);
    }
    p->n_buckets = names->n;
    return st;
}

/* Which cell of the matrix a class is; no family: it is explicit. */
struct binding {
    struct weir_span family, bucket;
    size_t family_at, bucket_at;
};

static enum weir_status read_policy(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                    const char *at, struct weir_policy_class *c) {
    static const char *const words[] = {"fcfs", "wspt", "lcfs"};
    struct weir_span word = WEIR_SPAN_LIT("fcfs");
    enum weir_status st = weir_policy_get_text(r, m, at, "queue_policy", false, &word);
    for (size_t i = 0; i < 3 && st == WEIR_OK; i++)
        if (weir_span_eqz(word, words[i])) {
            c->queue_policy = (enum weir_queue_policy)i;
            return WEIR_OK;
        }
    if (st != WEIR_OK)
        return st;
    return weir_policy_malformed(r, weir_yaml_get(m, "queue_policy"),
                                 "%squeue_policy: unknown variant `%.*s`, expected fcfs or wspt",
                                 at, WEIR_SPAN_ARG(weir_utf8_cut_z(word.data, 40)));
}

static enum weir_status read_class_form(const struct weir_policy_reader *r,
                                        const struct weir_yaml *m, const char *at,
                                        struct weir_policy_class *c, struct binding *b) {
    static const char *const keys[] = {"name",
                                       "policy_family",
                                       "cache_bucket",
                                       "queue_policy",
                                       "quantum",
                                       "prefill_busy_threshold",
                                       "prefill_busy_threshold_frac",
                                       "request_queue_limit_per_worker",
                                       "raw_isl_token_queue_limit_per_worker",
                                       "cached_token_queue_limit_per_worker"};
    *c = (struct weir_policy_class){.busy_tokens = UINT64_MAX,
                                    .busy_frac = NAN,
                                    .requests_per_worker = UINT64_MAX,
                                    .raw_tokens_per_worker = UINT64_MAX,
                                    .cached_tokens_per_worker = UINT64_MAX};
    *b = (struct binding){.family_at = 0};
    const struct weir_yaml *frac = weir_yaml_get(m, "prefill_busy_threshold_frac");
    enum weir_status st = weir_policy_check_keys(r, m, at, keys, WEIR_ARRAY_LEN(keys));
    if (st == WEIR_OK)
        st = weir_policy_get_text(r, m, at, "name", true, &c->name);
    if (st == WEIR_OK)
        st = weir_policy_get_text(r, m, at, "policy_family", false, &b->family);
    if (st == WEIR_OK)
        st = weir_policy_get_text(r, m, at, "cache_bucket", false, &b->bucket);
    if (st == WEIR_OK)
        st = read_policy(r, m, at, c);
    if (st == WEIR_OK)
        st = weir_policy_get_u64(r, m, at, "quantum", true, &c->quantum);
    if (st == WEIR_OK)
        st = weir_policy_get_u64(r, m, at, "prefill_busy_threshold", false, &c->busy_tokens);
    if (st == WEIR_OK && !weir_yaml_is_null(frac)) {
        if (!weir_yaml_f64(frac, &c->busy_frac))
            st =
                weir_policy_malformed(r, frac, "%sprefill_busy_threshold_frac is not a number", at);
        else if (!isfinite(c->busy_frac) || c->busy_frac < 0)
            c->busy_frac = -1; /* refused below, by name */
    }
    if (st == WEIR_OK)
        st = weir_policy_get_u64(r, m, at, "request_queue_limit_per_worker", false,
                                 &c->requests_per_worker);
    if (st == WEIR_OK)
        st = weir_policy_get_u64(r, m, at, "raw_isl_token_queue_limit_per_worker", false,
                                 &c->raw_tokens_per_worker);
    if (st == WEIR_OK)
        st = weir_policy_get_u64(r, m, at, "cached_token_queue_limit_per_worker", false,
                                 &c->cached_tokens_per_worker);
    return st;
}

static enum weir_status check_class(const struct weir_policy_reader *r, const struct weir_yaml *m,
                                    const struct weir_policy_class *c, const struct buckets *names,
                                    struct binding *b) {
    enum weir_status st = weir_policy_check_name(r, m, c->name, "policy class");
    const char *name = c->name.data;
    if (st != WEIR_OK)
        return st;
    if (c->quantum == 0)
        return weir_policy_invalid(r, m, "%s policy class \"%s\" quantum must be greater than zero",
                                   r->where, name);
    if (c->queue_policy == WEIR_QUEUE_LCFS)
        return weir_policy_invalid(r, m, "%s policy class \"%s\" queue_policy must be fcfs or wspt",
                                   r->where, name);
    if (c->busy_frac < 0)
        return weir_policy_invalid(
            r, m,
            "%s policy class \"%s\" prefill_busy_threshold_frac must be finite and "
            "non-negative",
            r->where, name);
    if ((b->family.data == NULL) != (b->bucket.data == NULL))
        return weir_policy_invalid(
            r, m,
            "%s policy class \"%s\" must specify both policy_family and cache_bucket "
            "or neither for an explicit class",
            r->where, name);
    if (b->family.data == NULL)
        return WEIR_OK;
    st = weir_policy_check_name(r, m, b->family, "policy family");
    if (st == WEIR_OK)
        st = weir_policy_check_name(r, m, b->bucket, "cache bucket");
    if (st != WEIR_OK)
        return st;
    for (size_t i = 0; i < names->n; i++)
        if (weir_span_eq(names->names[i], b->bucket)) {
            b->bucket_at = i;
            return WEIR_OK;
        }
    return weir_policy_invalid(r, m,
                               "%s policy class \"%s\" references unknown cache bucket \"%s\"",
                               r->where, name, b->bucket.data);
}

static enum weir_status read_classes(const struct weir_policy_reader *r,
                                     const struct weir_yaml *list, const struct buckets *names,
                                     struct weir_policy_profile *p, struct binding *bindings) {
    for (const struct weir_yaml *m = list->first; m != NULL; m = m->next) {
        size_t i = p->n_classes++;
        enum weir_status st = check_class(r, m, &p->classes[i], names, &bindings[i]);
        if (st != WEIR_OK)
            return st;
        for (size_t k = 0; k < i; k++)
            if (weir_span_eq(p->classes[k].name, p->classes[i].name))
                return weir_policy_invalid(r, m, "%s contains duplicate policy class \"%s\"",
                                           r->where, p->classes[i].name.data);
    }
    return WEIR_OK;
}

static bool find_family(const struct weir_policy_profile *p, struct weir_span name, size_t *ret) {
    for (size_t i = 0; i < p->n_families; i++)
        if (weir_span_eq(p->families[i], name)) {
            *ret = i;
            return true;
        }
    return false;
}

/* Every family has one class for each bucket. */
static enum weir_status fill_matrix(const struct weir_policy_reader *r,
                                    const struct weir_yaml *list, const struct buckets *names,
                                    struct weir_policy_profile *p, struct binding *bindings,
                                    struct weir_span default_family) {
    for (size_t i = 0; i < p->n_classes; i++) {
        p->is_explicit[i] = bindings[i].family.data == NULL;
        if (!p->is_explicit[i] && !find_family(p, bindings[i].family, &bindings[i].family_at)) {
            bindings[i].family_at = p->n_families;
            p->families[p->n_families++] = bindings[i].family;
        }
    }
    if (!find_family(p, default_family, &p->default_family))
        return weir_policy_invalid(
            r, list, "%s default_policy_family \"%s\" does not name a configured family", r->where,
            default_family.data);
    for (size_t i = 0; i < p->n_classes; i++) {
        size_t family;
        if (p->is_explicit[i] && find_family(p, p->classes[i].name, &family))
            return weir_policy_invalid(
                r, list, "%s explicit policy class \"%s\" collides with a policy family", r->where,
                p->classes[i].name.data);
        for (size_t k = 0; k < i && !p->is_explicit[i]; k++)
            if (!p->is_explicit[k] && bindings[k].family_at == bindings[i].family_at &&
                bindings[k].bucket_at == bindings[i].bucket_at)
                return weir_policy_invalid(
                    r, list,
                    "%s contains duplicate policy classes for family \"%s\" and bucket "
                    "\"%s\"",
                    r->where, bindings[i].family.data, bindings[i].bucket.data);
    }
    for (size_t f = 0; f < p->n_families; f++)
        for (size_t b = 0; b < p->n_buckets; b++) {
            size_t i = 0;
            while (i < p->n_classes &&
                   (p->is_explicit[i] || bindings[i].family_at != f || bindings[i].bucket_at != b))
                i++;
            if (i == p->n_classes)
                return weir_policy_invalid(
                    r, list, "%s is missing a policy class for family \"%s\" and bucket \"%s\"",
                    r->where, p->families[f].data, names->names[b].data);
            p->class_of[f * p->n_buckets + b] = (uint8_t)i; /* as many cells as classes at most */
        }
    return WEIR_OK;
}

static enum weir_status read_profile(const struct weir_policy_reader *r,
                                     const struct weir_yaml *map, struct weir_policy_profile *p) {
    struct buckets names = {.n = 0};
    struct binding bindings[WEIR_POLICY_CLASSES];
    struct weir_span family;
    const struct weir_yaml *classes = weir_yaml_get(map, "policy_classes");
    const struct weir_yaml *buckets = weir_yaml_get(map, "uncached_isl_buckets");
    size_t i = 0;
    char at[160];
    enum weir_status st =
        weir_policy_get_text(r, map, r->at, "default_policy_family", true, &family);
    if (st == WEIR_OK && classes == NULL)
        st = weir_policy_malformed(r, map, "%smissing field `policy_classes`", r->at);
    if (st == WEIR_OK && buckets == NULL)
        st = weir_policy_malformed(r, map, "%smissing field `uncached_isl_buckets`", r->at);
    if (st == WEIR_OK)
        st = check_list(r, classes, "policy_classes");
    for (const struct weir_yaml *m = st == WEIR_OK ? classes->first : NULL;
         m != NULL && st == WEIR_OK; m = m->next, i++) {
        snprintf(at, sizeof(at), "%spolicy_classes[%zu]: ", r->at, i);
        st = read_class_form(r, m, at, &p->classes[i], &bindings[i]);
    }
    if (st == WEIR_OK)
        st = weir_policy_check_name(r, map, family, "policy family");
    if (st == WEIR_OK && classes->n == 0)
        st = weir_policy_invalid(r, classes, "%s policy_classes must not be empty", r->where);
    if (st == WEIR_OK)
        st = read_buckets(r, buckets, p, &names);
    if (st == WEIR_OK)
        st = read_classes(r, classes, &names, p, bindings);
    if (st == WEIR_OK)
        st = fill_matrix(r, classes, &names, p, bindings, family);
    return st;
}

/* ---- the document ---------------------------------------------------------------------------- */

static enum weir_status read_models(struct weir_policy_reader *r, const struct weir_yaml *models,
                                    struct weir_policy_config *ret) {
    static const char *const keys[] = {"default_policy_family", "policy_classes",
                                       "uncached_isl_buckets"};
    if (models->type != WEIR_YAML_MAPPING)
        return weir_policy_malformed(r, models,
                                     "models is not a mapping of model names to profiles");
    struct weir_policy_profile *all =
        weir_arena_zalloc(r->arena, (models->n + 1) * sizeof(struct weir_policy_profile));
    if (all == NULL)
        return weir_err_set(r->err, WEIR_NOMEM, "out of memory");
    size_t n = 0;
    for (const struct weir_yaml *m = models->first; m != NULL; m = m->next) {
        snprintf(r->where, sizeof(r->where), "model \"%.*s\"",
                 WEIR_SPAN_ARG(weir_utf8_cut_z(m->key.data, 60)));
        snprintf(r->at, sizeof(r->at), "models.%.*s.",
                 WEIR_SPAN_ARG(weir_utf8_cut_z(m->key.data, 60)));
        if (m->type != WEIR_YAML_MAPPING)
            return weir_policy_malformed(r, m, "models.%.*s is not a profile",
                                         WEIR_SPAN_ARG(weir_utf8_cut_z(m->key.data, 60)));
        if (m->key.len == 0)
            return weir_policy_invalid(r, m, "model profile name must not be empty");
        all[n].model = m->key;
        enum weir_status st = weir_policy_check_keys(r, m, r->at, keys, WEIR_ARRAY_LEN(keys));
        if (st == WEIR_OK)
            st = read_profile(r, m, &all[n++]);
        if (st != WEIR_OK)
            return st;
    }
    ret->models = all;
    ret->n_models = n;
    return WEIR_OK;
}

static enum weir_status read_root(struct weir_policy_reader *r, const struct weir_yaml *doc,
                                  struct weir_policy_config *ret) {
    unsigned there = !weir_yaml_is_null(weir_yaml_get(doc, "default_policy_family"));
    there += !weir_yaml_is_null(weir_yaml_get(doc, "policy_classes"));
    there += !weir_yaml_is_null(weir_yaml_get(doc, "uncached_isl_buckets"));
    if (there == 0)
        return WEIR_OK;
    if (there < 3)
        return weir_policy_invalid(
            r, doc,
            "root profile must specify default_policy_family, uncached_isl_buckets, "
            "and policy_classes when any root profile field is present");
    struct weir_policy_profile *root = weir_arena_zalloc(r->arena, sizeof(*root));
    if (root == NULL)
        return weir_err_set(r->err, WEIR_NOMEM, "out of memory");
    ret->root = root;
    return read_profile(r, doc, root);
}

static enum weir_status read_document(struct weir_policy_reader *r, const struct weir_yaml *doc,
                                      struct weir_policy_config *ret) {
    static const char *const keys[] = {
        "router", "default_policy_family", "policy_classes",    "uncached_isl_buckets",
        "models", "worker_selection",      "request_classifier"};
    struct weir_policy_config config = {.root = NULL};
    const struct weir_yaml *models = weir_yaml_get(doc, "models");
    bool empty = weir_yaml_is_null(doc) && doc->text.len == 0, any = false;
    weir_policy_settings_init(&config.settings);
    weir_policy_costs_init(&config.serve);
    weir_policy_costs_init(&config.prefill);
    if (doc->type != WEIR_YAML_MAPPING && !empty)
        return weir_policy_malformed(r, doc, "the document is not a mapping");
    enum weir_status st = weir_policy_check_keys(r, doc, "", keys, WEIR_ARRAY_LEN(keys));
    if (st == WEIR_OK)
        st = read_root(r, doc, &config);
    if (st == WEIR_OK && models != NULL)
        st = read_models(r, models, &config);
    if (st == WEIR_OK)
        st = weir_policy_read_sections(r, doc, &config, &any);
    if (st == WEIR_OK && config.root == NULL && config.n_models == 0 && !any)
        st = weir_policy_invalid(r, doc,
                                 "router policy config must define router settings, a root "
                                 "profile, at least one model profile, worker_selection, or "
                                 "request_classifier");
    if (st == WEIR_OK)
        *ret = config;
    return st;
}

static enum weir_status parse_failed(const char *path, enum weir_status st, struct weir_err *err) {
    weir_err_prefix(err, "failed to parse router policy config %s", path);
    return st;
}

enum weir_status weir_policy_config_parse(struct weir_span text, const char *path,
                                          struct weir_arena *arena, struct weir_policy_config *ret,
                                          struct weir_err *err) {
    struct weir_policy_reader r = {.path = path, .arena = arena, .err = err, .where = "root"};
    const struct weir_yaml *doc;
    enum weir_status st = weir_yaml_parse(text, arena, &doc, err);
    return st == WEIR_OK ? read_document(&r, doc, ret) : parse_failed(path, st, err);
}

enum weir_status weir_policy_config_read(const char *path, struct weir_arena *arena,
                                         struct weir_policy_config *ret, struct weir_err *err) {
    struct weir_policy_reader r = {.path = path, .arena = arena, .err = err, .where = "root"};
    const struct weir_yaml *doc;
    enum weir_status st = weir_yaml_read(path, MAX_FILE_BYTES, arena, &doc, err);
    if (st != WEIR_OK) {
        weir_err_prefix(err, "failed to read router policy config");
        return st;
    }
    return read_document(&r, doc, ret);
}

/* ---- use ------------------------------------------------------------------------------------- */

const struct weir_policy_profile *weir_policy_profile_of(const struct weir_policy_config *config,
                                                         struct weir_span model) {
    for (size_t i = 0; i < config->n_models; i++)
        if (weir_span_eq(config->models[i].model, model))
            return &config->models[i];
    return config->root;
}

size_t weir_policy_classify(const struct weir_policy_profile *p, struct weir_span name,
                            uint64_t uncached_tokens) {
    size_t family = p->default_family, bucket = p->n_buckets - 1;
    for (size_t i = 0; i < p->n_classes; i++)
        if (p->is_explicit[i] && weir_span_eq(p->classes[i].name, name))
            return i;
    find_family(p, name, &family);
    while (p->bucket_from[bucket] > uncached_tokens)
        bucket--;
    return p->class_of[family * p->n_buckets + bucket];
}
