#include "base/utf8.h"
#include "router/policy_read_priv.h"

#include <stdarg.h>
#include <stdio.h>

/* As many bytes of the text as leave room for the line behind it. */
static enum weir_status refuse(const struct weir_policy_reader *r, const struct weir_yaml *node,
                               bool malformed, const char *fmt, va_list args) {
    char text[200];
    vsnprintf(text, malformed ? 160 : sizeof(text), fmt, args);
    if (malformed)
        return weir_err_set(r->err, WEIR_INVALID,
                            "failed to parse router policy config %s: %s at line %u", r->path, text,
                            node->line);
    return weir_err_set(r->err, WEIR_INVALID, "invalid router policy config: %s (%s, line %u)",
                        text, r->path, node->line);
}

enum weir_status weir_policy_malformed(const struct weir_policy_reader *r,
                                       const struct weir_yaml *node, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    enum weir_status st = refuse(r, node, true, fmt, args);
    va_end(args);
    return st;
}

enum weir_status weir_policy_invalid(const struct weir_policy_reader *r,
                                     const struct weir_yaml *node, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    enum weir_status st = refuse(r, node, false, fmt, args);
    va_end(args);
    return st;
}

enum weir_status weir_policy_check_keys(const struct weir_policy_reader *r,
                                        const struct weir_yaml *map, const char *at,
                                        const char *const *keys, size_t n) {
    for (const struct weir_yaml *m = map->first; m != NULL; m = m->next) {
        bool known = false;
        for (size_t i = 0; i < n && !known; i++)
            known = weir_span_eqz(m->key, keys[i]);
        if (!known)
            return weir_policy_malformed(
                r, m, "%sunknown field `%.*s`: see docs/pools.md for those that are", at,
                WEIR_SPAN_ARG(weir_utf8_cut_z(m->key.data, 40)));
    }
    return WEIR_OK;
}

/* *ret stays where the member is left out, or null and may be. */
static enum weir_status find(const struct weir_policy_reader *r, const struct weir_yaml *map,
                             const char *at, const char *key, bool must,
                             const struct weir_yaml **ret) {
    const struct weir_yaml *m = weir_yaml_get(map, key);
    if (m == NULL && must)
        return weir_policy_malformed(r, map, "%smissing field `%s`", at, key);
    if (must || !weir_yaml_is_null(m))
        *ret = m;
    return WEIR_OK;
}

enum weir_status weir_policy_get_text(const struct weir_policy_reader *r,
                                      const struct weir_yaml *map, const char *at, const char *key,
                                      bool must, struct weir_span *ret) {
    const struct weir_yaml *m = NULL;
    char is[64];
    enum weir_status st = find(r, map, at, key, must, &m);
    if (m == NULL)
        return st;
    weir_yaml_describe(m, is, sizeof(is));
    if (m->type != WEIR_YAML_SCALAR || weir_yaml_is_null(m))
        return weir_policy_malformed(r, m, "%s%s is %s, not a text", at, key, is);
    *ret = m->text;
    return WEIR_OK;
}

enum weir_status weir_policy_get_u64(const struct weir_policy_reader *r,
                                     const struct weir_yaml *map, const char *at, const char *key,
                                     bool must, uint64_t *ret) {
    const struct weir_yaml *m = NULL;
    char is[64];
    enum weir_status st = find(r, map, at, key, must, &m);
    if (m == NULL)
        return st;
    weir_yaml_describe(m, is, sizeof(is));
    if (!weir_yaml_u64(m, ret))
        return weir_policy_malformed(r, m, "%s%s is %s, not a whole number from 0 on", at, key, is);
    return WEIR_OK;
}

enum weir_status weir_policy_check_name(const struct weir_policy_reader *r,
                                        const struct weir_yaml *node, struct weir_span name,
                                        const char *kind) {
    bool good = name.len > 0;
    for (size_t i = 0; i < name.len && good; i++) {
        char c = name.data[i];
        good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '.' || c == '-';
    }
    if (good)
        return WEIR_OK;
    return weir_policy_invalid(r, node, "%s %s name \"%.*s\" must match [A-Za-z0-9_.-]+", r->where,
                               kind, WEIR_SPAN_ARG(weir_utf8_cut_z(name.data, 60)));
}
