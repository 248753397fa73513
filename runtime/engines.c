/*
 * The list of engines. Happy path: flags and file are read → each entry's host is an address, or a
 * name that is resolved (again every half minute) → one poll an address (engine_poll.c). The file
 * is read again when it changes: what is the same stays untouched. Failure modes: a broken file is
 * an error at the start; later it is logged and the engines that were known stay, as they do when
 * the resolver fails.
 */
#include "runtime/engines_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "runtime/resolve.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    FILE_ARENA = 64 << 20,
    SPEC_ARENA = 64 << 10,
    SETTLE_MS = 20,
    RESOLVE_MS = 30000,
    RETRY_MS = 1000
};

/* One line of the list. */
struct entry {
    struct weir_list node;
    struct weir_engines *engines;
    struct weir_arena arena; /* strings of the spec */
    struct weir_engine_spec spec;
    bool from_file;
    unsigned mark; /* file entries: of the last reading that held it */
    struct weir_list polls;
    struct weir_resolve *resolve;
    struct weir_timer again;
    unsigned n_answers;
    bool told;       /* that the name is not known */
    bool told_twice; /* that another entry leads to the same server */
};

#define ENTRY(n) WEIR_CONTAINER_OF(n, struct entry, node)
#define POLL(n) WEIR_CONTAINER_OF(n, struct weir_engine_poll, node)

static void drop_entry(struct entry *e, const char *why) {
    WEIR_LIST_FOREACH(it, &e->polls) {
        weir_engine_poll_stop(POLL(it), why);
    }
    weir_resolve_cancel(e->resolve);
    weir_timer_stop(&e->again);
    weir_list_remove(&e->node);
    weir_arena_fini(&e->arena);
    weir_free(e);
}

/* ---- names -------------------------------------------------------------------------------- */

static bool same_models(const struct weir_engine_spec *a, const struct weir_engine_spec *b) {
    return a->model.len == 0 || b->model.len == 0 || weir_span_eq(a->model, b->model);
}

/* Names are no proof: two may lead to one server, which would be two workers with half of its load
 * each. */
static bool is_served(struct entry *e, const char *ip) {
    WEIR_LIST_FOREACH(at, &e->engines->entries) {
        const struct entry *other = ENTRY(at);
        if (other == e || other->spec.port != e->spec.port || !same_models(&other->spec, &e->spec))
            continue;
        WEIR_LIST_FOREACH(it, &other->polls) {
            if (strcmp(POLL(it)->ip, ip) == 0)
                return true;
        }
    }
    return false;
}

/* False: another entry has it, now. */
static bool add_ip(struct entry *e, const char *ip) {
    WEIR_LIST_FOREACH(it, &e->polls) {
        if (strcmp(POLL(it)->ip, ip) == 0) {
            POLL(it)->mark = e->n_answers;
            return true;
        }
    }
    if (is_served(e, ip)) {
        if (!e->told_twice)
            WEIR_LOG(WEIR_LOG_WARN, "engines",
                     "worker %.*s port %u at %s: another entry leads to the same server, which is "
                     "served once: name it once, or with a model=NAME of its own each time",
                     WEIR_SPAN_ARG(e->spec.host), e->spec.port, ip);
        e->told_twice = true;
        return false;
    }
    enum weir_status st = weir_engine_poll_start(e->engines, &e->spec, ip, &e->polls);
    if (st != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "engines", "engine %s port %u is left out: %s", ip, e->spec.port,
                 weir_status_text(st));
    else
        POLL(e->polls.prev)->mark = e->n_answers;
    return true;
}

static void on_resolved(void *arg, const char (*ips)[WEIR_IP_BYTES], size_t n,
                        const struct weir_err *err) {
    struct entry *e = arg;
    e->resolve = NULL;
    if (n == 0 && !e->told)
        WEIR_LOG(WEIR_LOG_WARN, "engines", "%s; asked again each second", err->text);
    e->told = n == 0;
    if (n > 0) {
        e->n_answers++;
        for (size_t i = 0; i < n; i++)
            (void)add_ip(e, ips[i]);
        WEIR_LIST_FOREACH(it, &e->polls) {
            if (POLL(it)->mark != e->n_answers)
                weir_engine_poll_stop(POLL(it), "its name no longer leads to this address");
        }
    }
    if (weir_timer_start(&e->again, n > 0 ? RESOLVE_MS : RETRY_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "engines", "out of memory: a name is not resolved again");
}

static void on_again(void *arg) {
    struct entry *e = arg;
    char host[WEIR_HOST_BYTES];
    snprintf(host, sizeof(host), "%.*s", WEIR_SPAN_ARG(e->spec.host));
    if (e->spec.literal) {
        if (!add_ip(e, host) && weir_timer_start(&e->again, RESOLVE_MS) != WEIR_OK)
            WEIR_LOG(WEIR_LOG_ERROR, "engines", "out of memory: %s is left out", host);
        return;
    }
    enum weir_status st = weir_resolve_start(e->engines->loop, host, on_resolved, e, &e->resolve);
    if (st == WEIR_OK)
        return;
    e->resolve = NULL;
    if (weir_timer_start(&e->again, RETRY_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "engines", "out of memory: %s is not resolved", host);
}

/* ---- entries ------------------------------------------------------------------------------ */

static bool copy_spec(struct entry *e, const struct weir_engine_spec *s) {
    struct weir_span *spans[] = {&e->spec.host, &e->spec.model, &e->spec.events, &e->spec.replay,
                                 &e->spec.topic};
    e->spec = *s;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(spans); i++) {
        if (spans[i]->data == NULL)
            continue;
        *spans[i] = weir_arena_copy(&e->arena, *spans[i]);
        if (spans[i]->data == NULL)
            return false;
    }
    return true;
}

static enum weir_status add_entry(struct weir_engines *g, const struct weir_engine_spec *spec,
                                  bool from_file, unsigned mark) {
    struct entry *e = weir_calloc(1, sizeof(*e));
    if (e == NULL)
        return WEIR_NOMEM;
    e->engines = g;
    e->from_file = from_file;
    e->mark = mark;
    weir_list_init(&e->node);
    weir_list_init(&e->polls);
    weir_arena_init(&e->arena, SPEC_ARENA);
    weir_timer_init(&e->again, g->loop, on_again, e);
    if (!copy_spec(e, spec) || weir_timer_start(&e->again, 0) != WEIR_OK) {
        drop_entry(e, NULL);
        return WEIR_NOMEM;
    }
    weir_list_push_back(&g->entries, &e->node);
    return WEIR_OK;
}

static enum weir_status check_spec(const struct weir_engines *g, const struct weir_engine_spec *s,
                                   struct weir_err *err) {
    if (!s->tls || g->config.tls != NULL)
        return WEIR_OK;
    return weir_err_set(err, WEIR_UNSUPPORTED, "worker https://%.*s: no TLS is set up for engines",
                        WEIR_SPAN_ARG(s->host));
}

/* A server that is two workers would be taken for one with half of its load. */
static bool same_server(const struct weir_engine_spec *a, const struct weir_engine_spec *b) {
    return a->port == b->port && weir_span_ieq(a->host, b->host) && same_models(a, b);
}

static enum weir_status named_twice(const struct weir_engine_spec *s, struct weir_err *err) {
    return weir_err_set(err, WEIR_EXISTS,
                        "worker %.*s port %u is named twice: name it once, or with a model=NAME of "
                        "its own each time",
                        WEIR_SPAN_ARG(s->host), s->port);
}

/* Among the entries that are not the file's. */
static enum weir_status check_new(const struct weir_engines *g, const struct weir_engine_spec *s,
                                  struct weir_err *err) {
    WEIR_LIST_FOREACH(it, &g->entries) {
        if (!ENTRY(it)->from_file && same_server(&ENTRY(it)->spec, s))
            return named_twice(s, err);
    }
    return WEIR_OK;
}

static enum weir_status add_flags(struct weir_engines *g, struct weir_err *err) {
    struct weir_arena arena;
    enum weir_status st = WEIR_OK;
    weir_arena_init(&arena, FILE_ARENA);
    for (size_t i = 0; i < g->config.n_workers && st == WEIR_OK; i++) {
        struct weir_engine_spec s;
        st = weir_engine_spec_parse(weir_span_z(g->config.workers[i]), &arena, &s, err);
        if (st == WEIR_OK)
            st = check_spec(g, &s, err);
        if (st == WEIR_OK)
            st = check_new(g, &s, err);
        if (st == WEIR_OK && (st = add_entry(g, &s, false, 0)) != WEIR_OK)
            weir_err_set(err, st, "out of memory");
    }
    weir_arena_fini(&arena);
    return st;
}

/* ---- the file ----------------------------------------------------------------------------- */

static enum weir_status take_specs(struct weir_engines *g, const struct weir_engine_spec *specs,
                                   size_t n) {
    static unsigned reading; /* only this loop counts it */
    enum weir_status st = WEIR_OK;
    reading++;
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        bool known = false;
        WEIR_LIST_FOREACH(it, &g->entries) {
            struct entry *e = ENTRY(it);
            if (e->from_file && e->mark != reading && weir_engine_spec_eq(&e->spec, &specs[i])) {
                e->mark = reading;
                known = true;
                break;
            }
        }
        if (!known)
            st = add_entry(g, &specs[i], true, reading);
    }
    WEIR_LIST_FOREACH(it, &g->entries) {
        if (st == WEIR_OK && ENTRY(it)->from_file && ENTRY(it)->mark != reading)
            drop_entry(ENTRY(it), "it was taken from the list");
    }
    return st;
}

static enum weir_status read_file(struct weir_engines *g, struct weir_err *err) {
    struct weir_arena arena;
    struct weir_engine_spec *specs;
    size_t n;
    weir_arena_init(&arena, FILE_ARENA);
    enum weir_status st =
        weir_engine_specs_read(g->config.path, WEIR_ENGINE_MAX, &arena, &specs, &n, err);
    for (size_t i = 0; st == WEIR_OK && i < n; i++) {
        st = check_spec(g, &specs[i], err);
        for (size_t k = 0; st == WEIR_OK && k < i; k++)
            st = same_server(&specs[k], &specs[i]) ? named_twice(&specs[i], err) : WEIR_OK;
        if (st == WEIR_OK)
            st = check_new(g, &specs[i], err);
        if (st != WEIR_OK)
            weir_err_prefix(err, "%s", g->config.path);
    }
    if (st == WEIR_OK && (st = take_specs(g, specs, n)) != WEIR_OK)
        weir_err_set(err, st, "%s: out of memory", g->config.path);
    weir_arena_fini(&arena);
    return st;
}

static void on_reload(void *arg) {
    struct weir_engines *g = arg;
    struct weir_err err;
    if (read_file(g, &err) == WEIR_OK)
        WEIR_LOG(WEIR_LOG_INFO, "engines", "%s was read again", g->config.path);
    else
        WEIR_LOG(WEIR_LOG_ERROR, "engines", "the list of engines stays as it was: %s", err.text);
}

static void on_changed(void *arg) {
    struct weir_engines *g = arg;
    char events[4096];
    while (read(g->fd, events, sizeof(events)) > 0) {
    }
    /* An editor writes in steps; what matters is how the file looks when it rests. */
    if (weir_timer_start(&g->reload, SETTLE_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "engines", "out of memory: %s is not read again", g->config.path);
}

static enum weir_status watch_file(struct weir_engines *g, struct weir_err *err) {
    char folder[PATH_MAX];
    const char *path = g->config.path, *slash = strrchr(path, '/');
    int n = slash == NULL ? snprintf(folder, sizeof(folder), ".")
                          : snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path) + 1, path);
    g->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (n >= PATH_MAX || g->fd < 0 ||
        inotify_add_watch(g->fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO) < 0)
        return weir_err_set(err, WEIR_IO, "cannot watch %s: %s", path, strerror(errno));
    return weir_poll_open(g->loop, g->fd, on_changed, g, &g->watch);
}

/* ---- life --------------------------------------------------------------------------------- */

/* A secret that comes from a file ends in a line break, which no header can have. */
static enum weir_status make_bearer(struct weir_engines *g, struct weir_err *err) {
    static const char scheme[] = "Bearer ";
    struct weir_span key = weir_span_trim(weir_span_z(g->config.api_key));
    for (size_t i = 0; i < key.len; i++)
        if ((unsigned char)key.data[i] < 0x20 || key.data[i] == 0x7f)
            return weir_err_set(err, WEIR_INVALID,
                                "the engines' API key has a line break or another control "
                                "character inside");
    if (key.len == 0)
        return WEIR_OK;
    size_t room = sizeof(scheme) + key.len;
    g->bearer = weir_malloc(room);
    if (g->bearer == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    snprintf(g->bearer, room, "%s%.*s", scheme, WEIR_SPAN_ARG(key));
    return WEIR_OK;
}

const char *weir_engines_bearer(const struct weir_engines *engines) {
    return engines->bearer;
}

enum weir_status weir_engines_open(struct weir_loop *loop, const struct weir_engines_config *config,
                                   const struct weir_engines_ops *ops, void *arg,
                                   struct weir_engines **ret_engines, struct weir_err *err) {
    struct weir_engines *g = weir_calloc(1, sizeof(*g));
    if (g == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    g->loop = loop;
    g->config = *config;
    if (g->config.poll_ms == 0)
        g->config.poll_ms = 1000;
    if (g->config.answer_ms == 0)
        g->config.answer_ms = 10000;
    g->ops = *ops;
    g->arg = arg;
    g->fd = -1;
    weir_list_init(&g->entries);
    weir_timer_init(&g->reload, loop, on_reload, g);
    enum weir_status st = config->api_key != NULL ? make_bearer(g, err) : WEIR_OK;
    if (st == WEIR_OK)
        st = add_flags(g, err);
    if (st == WEIR_OK && config->path != NULL)
        st = watch_file(g, err);
    if (st == WEIR_OK && config->path != NULL)
        st = read_file(g, err);
    if (st != WEIR_OK) {
        weir_engines_close(g);
        return st;
    }
    *ret_engines = g;
    return WEIR_OK;
}

void weir_engines_close(struct weir_engines *engines) {
    if (engines == NULL)
        return;
    WEIR_LIST_FOREACH(it, &engines->entries) {
        drop_entry(ENTRY(it), NULL);
    }
    weir_timer_stop(&engines->reload);
    weir_poll_close(engines->watch);
    if (engines->fd >= 0)
        close(engines->fd);
    weir_free(engines->bearer);
    weir_free(engines);
}
