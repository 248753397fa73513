/*
 * The static backend: workers named by flag, "ip:port/path[,key=value…]". Each becomes an instance
 * and a card. Keys: model (default "default"), block_size (16), context_length, id (default: from
 * the text), namespace, component, endpoint, tokenizer (only "bytes" so far).
 */
#include "base/mem.h"
#include "runtime/address.h"
#include "runtime/discovery_priv.h"

#include <string.h>

struct static_worker {
    struct weir_span address;
    struct weir_record instance, model;
};

/* FNV-1a: the same text gives the same id in every run. Below 2^53. */
static uint64_t id_of(struct weir_span text) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ (unsigned char)text.data[i]) * 0x100000001b3u;
    return h & ((1ull << 53) - 1);
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

static enum weir_status parse(struct weir_span text, struct static_worker *w,
                              struct weir_err *err) {
    struct weir_span rest;
    *w = (struct static_worker){.address = weir_span_split(text, ',', &rest)};
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
                            WEIR_SPAN_ARG(text));
    while (rest.data != NULL && rest.len > 0) {
        struct weir_span value, key = weir_span_split(rest, ',', &rest);
        key = weir_span_split(key, '=', &value);
        enum weir_status st = apply(w, key, value.data != NULL ? value : WEIR_SPAN_LIT(""), err);
        if (st != WEIR_OK)
            return weir_err_prefix(err, "static worker %.*s", WEIR_SPAN_ARG(w->address));
    }
    w->model.endpoint = w->instance.endpoint;
    w->model.instance_id = w->instance.instance_id;
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

static enum weir_status add(struct weir_discovery *d, const char *text, struct weir_err *err) {
    struct static_worker w;
    enum weir_status st = parse(weir_span_z(text), &w, err);
    struct weir_buf slug;
    weir_buf_init(&slug, 1024);
    if (st == WEIR_OK)
        st = weir_slug(w.model.card.display_name, &slug);
    if (st == WEIR_OK) {
        w.model.card.slug = weir_buf_span(&slug);
        st = put(d, &w.instance);
    }
    if (st == WEIR_OK)
        st = put(d, &w.model);
    weir_buf_fini(&slug);
    return st;
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
    (void)disc;
}

enum weir_status weir_discovery_static_open(struct weir_discovery *disc,
                                            const struct weir_discovery_config *config,
                                            struct weir_err *err) {
    static const struct weir_discovery_backend_ops ops = {static_publish, static_unpublish,
                                                          static_close};
    disc->ops = &ops;
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < config->n_static_workers && st == WEIR_OK; i++)
        st = add(disc, config->static_workers[i], err);
    return st;
}
