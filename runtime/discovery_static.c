/*
 * The static backend: workers named by flag, "ip:port/path[,key=value…]", or by [[worker]] tables
 * of a TOML file (`address` and the same keys). Each becomes an instance and a card. Keys: model
 * (default "default"), block_size (16), context_length, id (default: from the address), namespace,
 * component, endpoint, tokenizer (only "bytes" so far).
 *
 * Happy path: read everything → watch the folder of the file → when anything in it changes, read
 * again a little later; what is the same stays untouched. Failure modes: a broken file is an error
 * at the start; later it is reported, and the workers that were known stay.
 */
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "base/utf8.h"
#include "runtime/address.h"
#include "runtime/discovery_priv.h"
#include "runtime/toml.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { FILE_MAX = 16 << 20, FILE_ARENA = 256 << 20, SETTLE_MS = 20 };

struct static_backend {
    const char *const *flags; /* borrowed: outlive the discovery, as the configuration does */
    size_t n_flags;
    char *path;           /* owned; NULL without a file */
    struct weir_map keys; /* of the workers read so far, while they are checked */
    int fd;               /* inotify */
    struct weir_poll *poll;
    struct weir_timer timer;
};

struct static_worker {
    struct weir_span address;
    struct weir_record instance, model;
};

/* The same text gives the same id in every run. Below 2^53. */
static uint64_t id_of(struct weir_span text) {
    return weir_hash_span(text) & ((1ull << 53) - 1);
}

static enum weir_status apply(struct static_worker *w, struct weir_span key, struct weir_span value,
                              struct weir_err *err) {
    struct weir_card *c = &w->model.card;
    uint64_t n = 0;
    bool number = weir_span_u64(value, &n);
    if (weir_span_eqz(key, "model"))
        c->display_name = value;
    else if (weir_span_eqz(key, "namespace"))
        w->instance.endpoint.ns = value;
    else if (weir_span_eqz(key, "component"))
        w->instance.endpoint.component = value;
    else if (weir_span_eqz(key, "endpoint"))
        w->instance.endpoint.name = value;
    else if (weir_span_eqz(key, "tokenizer") && weir_span_eqz(value, "bytes"))
        c->builtin_bytes_tokenizer = true;
    else if (weir_span_eqz(key, "block_size") && number && n > 0 && n <= UINT32_MAX)
        c->kv_cache_block_size = (uint32_t)n;
    else if (weir_span_eqz(key, "context_length") && number && n <= UINT32_MAX)
        c->context_length = (uint32_t)n;
    else if (weir_span_eqz(key, "id") && number)
        w->instance.instance_id = n;
    else
        return weir_err_set(err, WEIR_INVALID,
                            "\"%.*s=%.*s\": known are model, block_size, context_length, id, "
                            "namespace, component, endpoint, tokenizer=bytes",
                            WEIR_SPAN_ARG(key), WEIR_SPAN_ARG(value));
    return WEIR_OK;
}

static enum weir_status begin(struct weir_span address_text, struct static_worker *w,
                              struct weir_err *err) {
    *w = (struct static_worker){.address = address_text};
    w->instance = (struct weir_record){
        .kind = WEIR_RECORD_ENDPOINT,
        .endpoint = {WEIR_SPAN_LIT("dynamo"), WEIR_SPAN_LIT("backend"), WEIR_SPAN_LIT("generate")},
        .instance_id = id_of(w->address),
        .tcp_address = w->address};
    w->model = (struct weir_record){.kind = WEIR_RECORD_MODEL,
                                    .card = {.display_name = WEIR_SPAN_LIT("default"),
                                             .builtin_bytes_tokenizer = true,
                                             .kv_cache_block_size = 16,
                                             .model_type = WEIR_SPAN_LIT("Chat | Completions"),
                                             .input_tokens = true,
                                             .worker_type = WEIR_WORKER_AGGREGATED,
                                             .dp_size = 1}};
    struct weir_address address;
    struct weir_span path;
    if (weir_address_parse(w->address, &address, &path) != WEIR_OK || path.data == NULL)
        return weir_err_set(err, WEIR_INVALID,
                            "static worker \"%.*s\": write ip:port/path, with a literal address",
                            WEIR_SPAN_ARG(address_text));
    return WEIR_OK;
}

static enum weir_status parse(struct weir_span text, struct static_worker *w,
                              struct weir_err *err) {
    struct weir_span rest, address = weir_span_split(text, ',', &rest);
    enum weir_status st = begin(address, w, err);
    if (st != WEIR_OK)
        return st;
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span value, key = weir_span_split(rest, ',', &rest);
        key = weir_span_split(key, '=', &value);
        st = apply(w, key, value.data != NULL ? value : WEIR_SPAN_LIT(""), err);
        if (st != WEIR_OK)
            return weir_err_prefix(err, "static worker %.*s", WEIR_SPAN_ARG(w->address));
    }
    return WEIR_OK;
}

static enum weir_status put(struct weir_discovery *d, const struct weir_record *record) {
    struct weir_buf key, json;
    weir_buf_init(&key, 4096);
    weir_buf_init(&json, WEIR_RECORD_MAX_BYTES);
    enum weir_status st = weir_record_key(record, &key);
    if (st == WEIR_OK)
        st = weir_record_encode(record, &json);
    if (st == WEIR_OK)
        weir_discovery_put(d, record->kind, weir_buf_span(&key), weir_buf_span(&json));
    weir_buf_fini(&key);
    weir_buf_fini(&json);
    return st;
}

/* Two with one key would be one worker, the later of them. */
static enum weir_status check_key(struct static_backend *b, const struct static_worker *w,
                                  struct weir_err *err) {
    struct weir_buf key;
    uint64_t other;
    weir_buf_init(&key, 4096);
    enum weir_status st = weir_record_key(&w->instance, &key);
    uint64_t hash = st == WEIR_OK ? weir_hash_span(weir_buf_span(&key)) : 0;
    if (st != WEIR_OK)
        weir_err_set(err, st, "static worker %.*s: %s", WEIR_SPAN_ARG(w->address),
                     weir_status_text(st));
    else if (weir_map_get(&b->keys, hash, &other))
        st = weir_err_set(err, WEIR_EXISTS,
                          "static worker %.*s: another one is %.*s too: name it once, or give each "
                          "an id=N of its own",
                          WEIR_SPAN_ARG(w->address),
                          WEIR_SPAN_ARG(weir_utf8_cut(weir_buf_span(&key), 100)));
    else if ((st = weir_map_put(&b->keys, hash, 1)) != WEIR_OK)
        weir_err_set(err, st, "out of memory");
    weir_buf_fini(&key);
    return st;
}

/* All workers are read before the first is put, so that a mistake changes nothing: d is NULL then.
 */
static enum weir_status add(struct static_backend *b, struct weir_discovery *d,
                            struct static_worker *w, struct weir_err *err) {
    struct weir_buf slug;
    weir_buf_init(&slug, 1024);
    w->model.endpoint = w->instance.endpoint;
    w->model.instance_id = w->instance.instance_id;
    enum weir_status st = weir_slug(w->model.card.display_name, &slug);
    if (st == WEIR_OK && slug.len == 0)
        st = WEIR_INVALID;
    if (st != WEIR_OK)
        weir_err_set(err, st, "static worker %.*s: the model's name is empty or too long",
                     WEIR_SPAN_ARG(w->address));
    w->model.card.slug = weir_buf_span(&slug);
    if (st == WEIR_OK && d == NULL)
        st = check_key(b, w, err);
    if (st == WEIR_OK && d != NULL)
        st = put(d, &w->instance);
    if (st == WEIR_OK && d != NULL)
        st = put(d, &w->model);
    weir_buf_fini(&slug);
    return st;
}

static enum weir_status add_flags(struct static_backend *b, struct weir_discovery *d,
                                  struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < b->n_flags && st == WEIR_OK; i++) {
        struct static_worker w;
        st = parse(weir_span_z(b->flags[i]), &w, err);
        if (st == WEIR_OK)
            st = add(b, d, &w, err);
    }
    return st;
}

/* ---- the file ----------------------------------------------------------------------------- */

static enum weir_status apply_member(struct static_worker *w, const struct weir_toml *m,
                                     struct weir_err *err) {
    char digits[WEIR_U64_TEXT];
    if (weir_span_eqz(m->key, "address"))
        return WEIR_OK;
    if (m->type == WEIR_TOML_STRING)
        return apply(w, m->key, m->text, err);
    if (m->type != WEIR_TOML_INTEGER || m->integer < 0)
        return weir_err_set(err, WEIR_INVALID, "line %u: \"%.*s\" is no text and no number from 0",
                            m->line, WEIR_SPAN_ARG(m->key));
    return apply(w, m->key, weir_span(digits, weir_u64_text((uint64_t)m->integer, digits)), err);
}

static enum weir_status add_table(struct static_backend *b, struct weir_discovery *d,
                                  const struct weir_toml *table, struct weir_err *err) {
    struct static_worker w;
    const struct weir_toml *address = weir_toml_get(table, "address");
    if (table->type != WEIR_TOML_TABLE || address == NULL || address->type != WEIR_TOML_STRING)
        return weir_err_set(err, WEIR_INVALID, "line %u: a worker needs address = \"ip:port/path\"",
                            table->line);
    enum weir_status st = begin(address->text, &w, err);
    for (const struct weir_toml *m = table->first; m != NULL && st == WEIR_OK; m = m->next)
        st = apply_member(&w, m, err);
    return st == WEIR_OK ? add(b, d, &w, err) : st;
}

static enum weir_status add_file(struct static_backend *b, struct weir_discovery *d,
                                 struct weir_arena *arena, struct weir_err *err) {
    const struct weir_toml *root, *workers;
    enum weir_status st = weir_toml_read(b->path, FILE_MAX, arena, &root, err);
    if (st != WEIR_OK)
        return st;
    workers = weir_toml_get(root, "worker");
    if (workers != NULL && workers->type != WEIR_TOML_ARRAY)
        return weir_err_set(err, WEIR_INVALID, "%s: line %u: write [[worker]]", b->path,
                            workers->line);
    for (const struct weir_toml *t = workers != NULL ? workers->first : NULL;
         t != NULL && st == WEIR_OK; t = t->next)
        st = add_table(b, d, t, err);
    return st == WEIR_OK ? st : weir_err_prefix(err, "%s", b->path);
}

static enum weir_status read_all(struct weir_discovery *d, struct weir_discovery *into,
                                 struct weir_err *err) {
    struct static_backend *b = d->backend;
    struct weir_arena arena;
    weir_arena_init(&arena, FILE_ARENA);
    weir_map_init(&b->keys, SIZE_MAX);
    enum weir_status st = add_flags(b, into, err);
    if (st == WEIR_OK && b->path != NULL)
        st = add_file(b, into, &arena, err);
    weir_map_fini(&b->keys);
    weir_arena_fini(&arena);
    return st;
}

static enum weir_status reload(struct weir_discovery *d, struct weir_err *err) {
    enum weir_status st = read_all(d, NULL, err);
    if (st != WEIR_OK)
        return st;
    weir_discovery_scan_begin(d);
    st = read_all(d, d, err);
    if (st == WEIR_OK) {
        weir_discovery_scan_end(d, WEIR_RECORD_ENDPOINT);
        weir_discovery_scan_end(d, WEIR_RECORD_MODEL);
    }
    return st;
}

static void on_timer(void *arg) {
    struct weir_err err;
    if (reload(arg, &err) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "discovery", "%s; the workers stay as they were", err.text);
}

/* Editors and mounted volumes replace files in many ways: any event of the folder is a reason. */
static void on_readable(void *arg) {
    struct weir_discovery *d = arg;
    struct static_backend *b = d->backend;
    char room[16384];
    bool any = false;
    while (read(b->fd, room, sizeof(room)) > 0)
        any = true;
    if (any && !weir_timer_active(&b->timer) && weir_timer_start(&b->timer, SETTLE_MS) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_ERROR, "discovery", "out of memory: %s is not read again", b->path);
}

static enum weir_status watch_file(struct weir_discovery *d, struct weir_err *err) {
    struct static_backend *b = d->backend;
    char folder[PATH_MAX];
    const char *slash = strrchr(b->path, '/');
    int n = slash == NULL
                ? snprintf(folder, sizeof(folder), ".")
                : snprintf(folder, sizeof(folder), "%.*s", (int)(slash - b->path) + 1, b->path);
    b->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (n >= PATH_MAX || b->fd < 0 ||
        inotify_add_watch(b->fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE) < 0)
        return weir_err_set(err, WEIR_IO, "cannot watch %s: %s", b->path, strerror(errno));
    return weir_poll_open(d->loop, b->fd, on_readable, d, &b->poll);
}

static enum weir_status static_publish(struct weir_discovery *disc, struct weir_discovery_own *own,
                                       struct weir_err *err) {
    (void)disc;
    return weir_err_set(err, WEIR_UNSUPPORTED, "static discovery takes no records (%s)", own->key);
}

static void static_unpublish(struct weir_discovery *disc, struct weir_discovery_own *own) {
    (void)disc;
    (void)own;
}

static void static_close(struct weir_discovery *disc) {
    struct static_backend *b = disc->backend;
    if (b == NULL)
        return;
    weir_timer_stop(&b->timer);
    weir_poll_close(b->poll);
    if (b->fd >= 0)
        close(b->fd);
    weir_free(b->path);
    weir_free(b);
    disc->backend = NULL;
}

enum weir_status weir_discovery_static_open(struct weir_discovery *disc,
                                            const struct weir_discovery_config *config,
                                            struct weir_err *err) {
    static const struct weir_discovery_backend_ops ops = {static_publish, static_unpublish,
                                                          static_close, NULL, NULL};
    disc->ops = &ops;
    struct static_backend *b = weir_calloc(1, sizeof(*b));
    if (b == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    disc->backend = b;
    *b = (struct static_backend){
        .flags = config->static_workers, .n_flags = config->n_static_workers, .fd = -1};
    weir_timer_init(&b->timer, disc->loop, on_timer, disc);
    if (config->static_path != NULL) {
        b->path = weir_strdup(config->static_path);
        enum weir_status st = b->path != NULL ? watch_file(disc, err)
                                              : weir_err_set(err, WEIR_NOMEM, "out of memory");
        if (st != WEIR_OK)
            return st;
    }
    return reload(disc, err);
}
