#include "runtime/engine_spec.h"

#include "base/number.h"
#include "base/utf8.h"
#include "runtime/address.h"
#include "runtime/toml.h"

#include <string.h>

enum { FILE_MAX = 16 << 20 };

static bool is_literal(struct weir_span host) {
    char text[WEIR_IP_BYTES];
    if (host.len >= sizeof(text))
        return false;
    memcpy(text, host.data, host.len);
    text[host.len] = '\0';
    return weir_address_is_literal(text);
}

static bool is_name(struct weir_span host) {
    for (size_t i = 0; i < host.len; i++) {
        char c = host.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '-' || c == '_'))
            return false;
    }
    return host.len > 0 && host.len < WEIR_HOST_BYTES;
}

static enum weir_status bad_url(struct weir_span url, const char *why, struct weir_err *err) {
    return weir_err_set(err, WEIR_INVALID, "worker \"%.*s\": %s; write http://host:port",
                        WEIR_SPAN_ARG(weir_utf8_cut(url, 100)), why);
}

static enum weir_status apply_url(struct weir_engine_spec *s, struct weir_span url,
                                  struct weir_err *err) {
    struct weir_span rest = url;
    if (weir_span_starts(rest, WEIR_SPAN_LIT("https://"))) {
        s->tls = true;
        rest = weir_span(rest.data + 8, rest.len - 8);
    } else if (weir_span_starts(rest, WEIR_SPAN_LIT("http://"))) {
        rest = weir_span(rest.data + 7, rest.len - 7);
    } else {
        return bad_url(url, "no http:// or https:// in front", err);
    }
    if (rest.len > 0 && rest.data[rest.len - 1] == '/')
        rest.len--;
    if (weir_span_find(rest, '/') >= 0)
        return bad_url(url, "an engine answers at the root, without a path", err);
    uint64_t port = s->tls ? 443 : 80;
    ptrdiff_t close = weir_span_find(rest, ']');
    struct weir_span tail = rest;
    if (rest.len > 0 && rest.data[0] == '[' && close > 0) {
        s->host = weir_span(rest.data + 1, (size_t)close - 1);
        tail = weir_span(rest.data + close + 1, rest.len - (size_t)close - 1);
    } else {
        ptrdiff_t colon = weir_span_find(rest, ':');
        size_t n = colon >= 0 ? (size_t)colon : rest.len;
        s->host = weir_span(rest.data, n);
        tail = weir_span(rest.data + n, rest.len - n);
    }
    s->literal = is_literal(s->host);
    if (!s->literal && !is_name(s->host))
        return bad_url(url, "the host is no address and no name", err);
    if (tail.len > 0 &&
        (tail.data[0] != ':' || !weir_span_u64(weir_span(tail.data + 1, tail.len - 1), &port) ||
         port == 0 || port > UINT16_MAX))
        return bad_url(url, "no port behind the host", err);
    s->port = (uint16_t)port;
    return WEIR_OK;
}

static bool tcp_url(struct weir_span v) {
    return weir_span_starts(v, WEIR_SPAN_LIT("tcp://")) && v.len > 6 && v.len < WEIR_HOST_BYTES;
}

static enum weir_status apply(struct weir_engine_spec *s, struct weir_span key,
                              struct weir_span value, struct weir_err *err) {
    uint64_t n = 0;
    bool number = weir_span_u64(value, &n) && n > 0;
    if (weir_span_eqz(key, "model") && value.len > 0)
        s->model = value;
    else if (weir_span_eqz(key, "kv-events") && tcp_url(value))
        s->events = value;
    else if (weir_span_eqz(key, "replay") && tcp_url(value))
        s->replay = value;
    else if (weir_span_eqz(key, "topic"))
        s->topic = value;
    else if (weir_span_eqz(key, "block-size") && number && n <= 1 << 20)
        s->block_size = (uint32_t)n;
    else if (weir_span_eqz(key, "ranks") && number && n <= 256)
        s->n_ranks = (uint32_t)n;
    else if (weir_span_eqz(key, "role") && weir_span_eqz(value, "prefill"))
        s->role = WEIR_ENGINE_PREFILL;
    else if (weir_span_eqz(key, "role") && weir_span_eqz(value, "decode"))
        s->role = WEIR_ENGINE_DECODE;
    else if (weir_span_eqz(key, "bootstrap-port") && number && n <= UINT16_MAX)
        s->bootstrap_port = (uint16_t)n;
    else
        return weir_err_set(err, WEIR_INVALID,
                            "\"%.*s=%.*s\": known are model=NAME, kv-events=tcp://host:port, "
                            "replay=tcp://host:port, topic=TEXT, block-size=N, ranks=N, "
                            "role=prefill, role=decode, bootstrap-port=N",
                            WEIR_SPAN_ARG(key), WEIR_SPAN_ARG(value));
    return WEIR_OK;
}

/* Whether the list of "key=value" before `key`, which is a part of it, has that key. */
static bool said_before(struct weir_span list, struct weir_span key) {
    while (list.data != NULL && list.data < key.data) {
        struct weir_span value, other = weir_span_split(list, ',', &list);
        other = weir_span_split(other, '=', &value);
        if (other.data < key.data && weir_span_eq(other, key))
            return true;
    }
    return false;
}

static enum weir_status check(const struct weir_engine_spec *s, struct weir_err *err) {
    if (s->replay.len > 0 && s->events.len == 0)
        return weir_err_set(err, WEIR_INVALID, "replay= needs kv-events=");
    if (s->bootstrap_port > 0 && s->role != WEIR_ENGINE_PREFILL)
        return weir_err_set(err, WEIR_INVALID, "bootstrap-port= needs role=prefill");
    return WEIR_OK;
}

enum weir_status weir_engine_spec_parse(struct weir_span text, struct weir_arena *arena,
                                        struct weir_engine_spec *ret_spec, struct weir_err *err) {
    struct weir_engine_spec s = {0};
    struct weir_span rest = weir_arena_copy(arena, text);
    if (rest.data == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    struct weir_span url = weir_span_split(rest, ',', &rest);
    enum weir_status st = apply_url(&s, url, err);
    if (st != WEIR_OK)
        return st;
    struct weir_span list = rest;
    while (st == WEIR_OK && rest.data != NULL && rest.len > 0) {
        struct weir_span value, key = weir_span_split(rest, ',', &rest);
        key = weir_span_split(key, '=', &value);
        st = apply(&s, key, value.data != NULL ? value : WEIR_SPAN_LIT(""), err);
        if (st == WEIR_OK && said_before(list, key))
            st = weir_err_set(err, WEIR_INVALID, "\"%.*s\" is given twice", WEIR_SPAN_ARG(key));
    }
    if (st == WEIR_OK)
        st = check(&s, err);
    if (st != WEIR_OK)
        return weir_err_prefix(err, "worker %.*s", WEIR_SPAN_ARG(url));
    *ret_spec = s;
    return WEIR_OK;
}

/* ---- the file ----------------------------------------------------------------------------- */

static enum weir_status apply_member(struct weir_engine_spec *s, const struct weir_toml *m,
                                     struct weir_err *err) {
    char digits[WEIR_U64_TEXT];
    if (weir_span_eqz(m->key, "url"))
        return WEIR_OK;
    if (m->type == WEIR_TOML_STRING)
        return apply(s, m->key, m->text, err);
    if (m->type != WEIR_TOML_INTEGER || m->integer < 0)
        return weir_err_set(err, WEIR_INVALID, "\"%.*s\" is no text and no number from 0",
                            WEIR_SPAN_ARG(m->key));
    return apply(s, m->key, weir_span(digits, weir_u64_text((uint64_t)m->integer, digits)), err);
}

static enum weir_status read_table(const struct weir_toml *t, struct weir_engine_spec *s,
                                   struct weir_err *err) {
    const struct weir_toml *url = weir_toml_get(t, "url");
    *s = (struct weir_engine_spec){0};
    if (t->type != WEIR_TOML_TABLE || url == NULL || url->type != WEIR_TOML_STRING)
        return weir_err_set(err, WEIR_INVALID, "a worker needs url = \"http://host:port\"");
    enum weir_status st = apply_url(s, url->text, err);
    for (const struct weir_toml *m = t->first; m != NULL && st == WEIR_OK; m = m->next)
        st = apply_member(s, m, err);
    return st == WEIR_OK ? check(s, err) : st;
}

enum weir_status weir_engine_specs_read(const char *path, size_t max, struct weir_arena *arena,
                                        struct weir_engine_spec **ret_specs, size_t *ret_n,
                                        struct weir_err *err) {
    const struct weir_toml *root;
    enum weir_status st = weir_toml_read(path, FILE_MAX, arena, &root, err);
    if (st != WEIR_OK)
        return st;
    const struct weir_toml *list = weir_toml_get(root, "worker");
    if (list != NULL && list->type != WEIR_TOML_ARRAY)
        return weir_err_set(err, WEIR_INVALID, "%s: line %u: write [[worker]]", path, list->line);
    size_t n = list != NULL ? list->n : 0, i = 0;
    if (n > max)
        return weir_err_set(err, WEIR_LIMIT, "%s: %zu workers; at most %zu", path, n, max);
    struct weir_engine_spec *specs = weir_arena_alloc(arena, (n + 1) * sizeof(*specs));
    if (specs == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    for (const struct weir_toml *t = n > 0 ? list->first : NULL; t != NULL; t = t->next) {
        st = read_table(t, &specs[i++], err);
        if (st != WEIR_OK)
            return weir_err_prefix(err, "%s: line %u", path, t->line);
    }
    *ret_specs = specs;
    *ret_n = n;
    return WEIR_OK;
}

bool weir_engine_spec_eq(const struct weir_engine_spec *a, const struct weir_engine_spec *b) {
    return a->tls == b->tls && a->port == b->port && weir_span_eq(a->host, b->host) &&
           weir_span_eq(a->model, b->model) && weir_span_eq(a->events, b->events) &&
           weir_span_eq(a->replay, b->replay) && weir_span_eq(a->topic, b->topic) &&
           a->block_size == b->block_size && a->n_ranks == b->n_ranks && a->role == b->role &&
           a->bootstrap_port == b->bootstrap_port;
}
