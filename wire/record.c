/*
 * Reading. Unknown members are skipped; a value that would mislead (an unknown codec, worker type
 * or device, an illegal slug) refuses the record. Writing is record_write.c, names are
 * record_names.c.
 */
#include "wire/record.h"

#include "wire/codec_priv.h"

#include <string.h>

/* A reader of one member: true when it was one of its keys (and then *ret_ok says how it went). */
static bool read_str(struct weir_dec *d, struct weir_span *ret) {
    struct weir_span s;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (!weir_dec_str(d, &s))
        return false;
    *ret = weir_arena_copy(d->arena, s);
    return ret->data != NULL || weir_dec_fail(d);
}

static bool read_u64(struct weir_dec *d, uint64_t *ret) {
    return weir_dec_is_null(d) ? weir_dec_skip(d, NULL) : weir_dec_u64(d, ret);
}

static bool read_u32(struct weir_dec *d, uint32_t *ret) {
    uint64_t v = *ret;
    if (!read_u64(d, &v) || v > UINT32_MAX)
        return weir_dec_fail(d);
    *ret = (uint32_t)v;
    return true;
}

static bool read_bool(struct weir_dec *d, bool *ret) {
    return weir_dec_is_null(d) ? weir_dec_skip(d, NULL) : weir_dec_bool(d, ret);
}

static bool read_codec(struct weir_dec *d, enum weir_codec *ret) {
    struct weir_span word = {NULL, 0};
    if (!read_str(d, &word))
        return false;
    *ret = weir_span_eqz(word, "msgpack") ? WEIR_CODEC_MSGPACK : WEIR_CODEC_JSON;
    return word.data == NULL || *ret == WEIR_CODEC_MSGPACK || weir_span_eqz(word, "json") ||
           weir_dec_fail(d);
}

/* {"tcp": "…"} or {"nats_tcp": "…"} */
static bool read_transport(struct weir_dec *d, struct weir_span *tcp, struct weir_span *nats) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key))
        if (!(weir_dec_is(d, &box, key, "tcp")        ? read_str(d, tcp)
              : weir_dec_is(d, &box, key, "nats_tcp") ? read_str(d, nats)
                                                      : weir_dec_skip(d, NULL)))
            return false;
    return !weir_dec_failed(d);
}

static bool read_file(struct weir_dec *d, struct weir_file_ref *f) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    f->size = -1;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok = weir_dec_is(d, &box, key, "path")       ? read_str(d, &f->path)
                  : weir_dec_is(d, &box, key, "checksum") ? read_str(d, &f->checksum)
                  : weir_dec_is_set(d, &box, key, "size") ? weir_dec_i64(d, &f->size)
                                                          : weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

/* {"hf_tokenizer_json": FILE}; a template has {"hf_chat_template": {"is_custom", "file": FILE}}.
 * Of two files neither is taken. */
static bool read_file_in(struct weir_dec *d, struct weir_file_ref *f, bool *ret_builtin) {
    struct weir_dec_box box, inner;
    struct weir_span key, word = {NULL, 0};
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    unsigned n_files = 0;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok, builtin = weir_dec_is(d, &box, key, "weir_builtin");
        if (!builtin && n_files++ > 0)
            return weir_dec_fail(d);
        if (builtin) {
            ok = read_str(d, &word);
            *ret_builtin = weir_span_eqz(word, "bytes");
        } else if (!weir_span_starts(key, WEIR_SPAN_LIT("hf_chat_template"))) {
            ok = read_file(d, f);
        } else {
            ok = weir_dec_map(d, &inner);
            while (ok && weir_dec_map_next(d, &inner, &key))
                ok = weir_dec_is(d, &inner, key, "file") ? read_file(d, f) : weir_dec_skip(d, NULL);
        }
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static void apply_model_type(struct weir_card *c) {
    struct weir_span rest = c->model_type;
    while (rest.data != NULL) {
        struct weir_span flag = weir_span_trim(weir_span_split(rest, '|', &rest));
        c->chat |= weir_span_eqz(flag, "Chat");
        c->completions |= weir_span_eqz(flag, "Completions");
        c->embeddings |= weir_span_eqz(flag, "Embedding");
    }
}

static bool read_worker_type(struct weir_dec *d, enum weir_worker_type *ret) {
    static const char *const names[] = {"", "aggregated", "prefill", "decode", "encode"};
    struct weir_span word = {NULL, 0};
    if (!read_str(d, &word) || word.data == NULL)
        return !weir_dec_failed(d);
    for (size_t i = 1; i < WEIR_ARRAY_LEN(names); i++)
        if (weir_span_eqz(word, names[i])) {
            *ret = (enum weir_worker_type)i;
            return true;
        }
    return weir_dec_fail(d);
}

/* {"bootstrap_host": …, "bootstrap_port": …} */
static bool read_meeting_point(struct weir_dec *d, struct weir_card *c) {
    struct weir_dec_box box;
    struct weir_span key;
    uint64_t port = 0;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key))
        if (!(weir_dec_is(d, &box, key, "bootstrap_host")   ? read_str(d, &c->bootstrap_host)
              : weir_dec_is(d, &box, key, "bootstrap_port") ? read_u64(d, &port)
                                                            : weir_dec_skip(d, NULL)))
            return false;
    if (port == 0 || port > UINT16_MAX)
        c->bootstrap_host = weir_span(NULL, 0);
    c->bootstrap_port = (uint16_t)port;
    return !weir_dec_failed(d);
}

static bool read_runtime_config(struct weir_dec *d, struct weir_card *c) {
    struct weir_dec_box box;
    struct weir_span key;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok =
            weir_dec_is(d, &box, key, "total_kv_blocks") ? read_u64(d, &c->total_kv_blocks)
            : weir_dec_is(d, &box, key, "max_num_seqs")  ? read_u64(d, &c->max_num_seqs)
            : weir_dec_is(d, &box, key, "max_num_batched_tokens")
                ? read_u64(d, &c->max_num_batched_tokens)
            : weir_dec_is(d, &box, key, "data_parallel_start_rank") ? read_u32(d, &c->dp_start_rank)
            : weir_dec_is(d, &box, key, "data_parallel_size")       ? read_u32(d, &c->dp_size)
            : weir_dec_is(d, &box, key, "enable_local_indexer")
                ? read_bool(d, &c->enable_local_indexer)
            : weir_dec_is(d, &box, key, "kv_event_publishing_enabled")
                ? read_bool(d, &c->kv_event_publishing)
            : weir_dec_is(d, &box, key, "disaggregated_endpoint") ? read_meeting_point(d, c)
            : weir_dec_is(d, &box, key, "enable_eagle")           ? read_bool(d, &c->enable_eagle)
            : weir_dec_is(d, &box, key, "tool_call_parser") ? read_str(d, &c->tool_call_parser)
            : weir_dec_is(d, &box, key, "reasoning_parser") ? read_str(d, &c->reasoning_parser)
                                                            : weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_lora(struct weir_dec *d, struct weir_card *c) {
    struct weir_dec_box box;
    struct weir_span key;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key))
        if (!(weir_dec_is(d, &box, key, "name") ? read_str(d, &c->lora_name)
                                                : weir_dec_skip(d, NULL)))
            return false;
    return !weir_dec_failed(d);
}

static bool read_aliases(struct weir_dec *d, struct weir_card *c) {
    enum { MAX_ALIASES = 64 };
    struct weir_dec_box box;
    if (weir_dec_is_null(d))
        return weir_dec_skip(d, NULL);
    struct weir_span *items = weir_arena_alloc(d->arena, MAX_ALIASES * sizeof(*items));
    size_t n = 0;
    if (items == NULL || !weir_dec_array(d, &box))
        return weir_dec_fail(d);
    while (weir_dec_array_next(d, &box))
        if (n == MAX_ALIASES || !read_str(d, &items[n++]))
            return weir_dec_fail(d);
    c->aliases.items = items;
    c->aliases.n = n;
    return !weir_dec_failed(d);
}

static bool read_card_member(struct weir_dec *d, struct weir_dec_box *box, struct weir_span key,
                             struct weir_card *c) {
    bool ignored = false;
    struct weir_span word = {NULL, 0};
    if (weir_dec_is(d, box, key, "display_name"))
        return read_str(d, &c->display_name);
    if (weir_dec_is(d, box, key, "slug"))
        return read_str(d, &c->slug);
    if (weir_dec_is(d, box, key, "source_path"))
        return read_str(d, &c->source_path);
    if (weir_dec_is(d, box, key, "model_info"))
        return read_file_in(d, &c->model_info, &ignored);
    if (weir_dec_is(d, box, key, "tokenizer"))
        return read_file_in(d, &c->tokenizer, &c->builtin_bytes_tokenizer);
    if (weir_dec_is(d, box, key, "prompt_formatter"))
        return read_file_in(d, &c->prompt_formatter, &ignored);
    if (weir_dec_is(d, box, key, "chat_template_file"))
        return read_file_in(d, &c->chat_template, &ignored);
    if (weir_dec_is(d, box, key, "gen_config"))
        return read_file_in(d, &c->gen_config, &ignored);
    if (weir_dec_is(d, box, key, "context_length"))
        return read_u32(d, &c->context_length);
    if (weir_dec_is(d, box, key, "kv_cache_block_size"))
        return read_u32(d, &c->kv_cache_block_size);
    if (weir_dec_is(d, box, key, "migration_limit"))
        return read_u32(d, &c->migration_limit);
    if (weir_dec_is(d, box, key, "model_type"))
        return read_str(d, &c->model_type);
    if (weir_dec_is(d, box, key, "model_input")) {
        bool ok = read_str(d, &word);
        c->input_tokens = weir_span_eqz(word, "Tokens");
        return ok;
    }
    if (weir_dec_is(d, box, key, "worker_type"))
        return read_worker_type(d, &c->worker_type);
    if (weir_dec_is(d, box, key, "runtime_config"))
        return read_runtime_config(d, c);
    if (weir_dec_is(d, box, key, "lora"))
        return read_lora(d, c);
    if (weir_dec_is(d, box, key, "aliases"))
        return read_aliases(d, c);
    return weir_dec_skip(d, NULL);
}

static bool read_card(struct weir_dec *d, struct weir_card *c) {
    struct weir_dec_box box;
    struct weir_span key, raw;
    struct weir_dec whole = *d;
    *c = (struct weir_card){.dp_size = 1, .enable_local_indexer = true};
    if (!weir_dec_skip(&whole, &raw) || !weir_dec_map(d, &box))
        return weir_dec_fail(d);
    c->json = weir_arena_copy(d->arena, raw);
    while (weir_dec_map_next(d, &box, &key))
        if (!read_card_member(d, &box, key, c))
            return weir_dec_fail(d);
    apply_model_type(c);
    return !weir_dec_failed(d) && c->json.data != NULL;
}

/* {"kind":"endpoint","endpoint":{"namespace","component","name"}}; the widest scope is
 * {"kind":"namespace","name"}. */
static bool read_endpoint_id(struct weir_dec *d, struct weir_endpoint_id *e) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool object = weir_dec_type(d) == WEIR_JSON_OBJECT;
        bool ok = weir_dec_is(d, &box, key, "namespace")            ? read_str(d, &e->ns)
                  : weir_dec_is(d, &box, key, "component")          ? read_str(d, &e->component)
                  : weir_dec_is(d, &box, key, "endpoint") && object ? read_endpoint_id(d, e)
                  : weir_dec_is(d, &box, key, "name")               ? read_str(d, &e->name)
                                                                    : weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    if (e->ns.len == 0) {
        e->ns = e->name;
        e->name = weir_span(NULL, 0);
    }
    return !weir_dec_failed(d);
}

/* {"kind":"Zmq","config":{"endpoint":"tcp://…"}} or {"kind":"Nats","config":{"subject_prefix":"…"}}
 */
static bool read_channel_transport(struct weir_dec *d, struct weir_record *r) {
    struct weir_dec_box box, inner;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        if (weir_dec_is(d, &box, key, "config") && weir_dec_type(d) == WEIR_JSON_OBJECT) {
            ok = weir_dec_map(d, &inner);
            while (ok && weir_dec_map_next(d, &inner, &key))
                ok = weir_dec_is(d, &inner, key, "endpoint") ? read_str(d, &r->zmq_endpoint)
                     : weir_dec_is(d, &inner, key, "subject_prefix")
                         ? read_str(d, &r->subject_prefix)
                         : weir_dec_skip(d, NULL);
        } else {
            ok = weir_dec_skip(d, NULL);
        }
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_device(struct weir_dec *d, struct weir_span *ret) {
    return read_str(d, ret) && (ret->data == NULL || weir_span_eqz(*ret, "cpu") ||
                                weir_span_eqz(*ret, "cuda") || weir_dec_fail(d));
}

static bool read_recovery(struct weir_dec *d, struct weir_record *r) {
    struct weir_dec_box box;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok = weir_dec_is(d, &box, key, "endpoint")      ? read_str(d, &r->recovery_endpoint)
                  : weir_dec_is(d, &box, key, "instance_id") ? read_u64(d, &r->recovery_instance_id)
                  : weir_dec_is(d, &box, key, "device_type") ? read_device(d, &r->recovery_device)
                  : weir_dec_is(d, &box, key, "transport")
                      ? read_transport(d, &r->recovery_address, &r->recovery_subject)
                  : weir_dec_is(d, &box, key, "request_plane_codec")
                      ? read_codec(d, &r->recovery_codec)
                      : weir_dec_skip(d, NULL);
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

/* metadata of an EventSource: worker {worker_id, dp_rank}, recovery_target. */
static bool read_metadata(struct weir_dec *d, struct weir_record *r) {
    struct weir_dec_box box, inner;
    struct weir_span key;
    if (!weir_dec_map(d, &box))
        return false;
    while (weir_dec_map_next(d, &box, &key)) {
        bool ok;
        if (weir_dec_is_set(d, &box, key, "recovery_target")) {
            ok = read_recovery(d, r);
        } else if (weir_dec_is(d, &box, key, "worker")) {
            ok = weir_dec_map(d, &inner);
            while (ok && weir_dec_map_next(d, &inner, &key))
                ok = weir_dec_is(d, &inner, key, "worker_id") ? read_u64(d, &r->worker_id)
                     : weir_dec_is(d, &inner, key, "dp_rank") ? read_u32(d, &r->dp_rank)
                                                              : weir_dec_skip(d, NULL);
        } else {
            ok = weir_dec_skip(d, NULL);
        }
        if (!ok)
            return false;
    }
    return !weir_dec_failed(d);
}

static bool read_record_member(struct weir_dec *d, struct weir_dec_box *box, struct weir_span key,
                               struct weir_record *r) {
    bool channel = r->kind == WEIR_RECORD_EVENT_CHANNEL;
    struct weir_endpoint_id *e = &r->endpoint;
    if (weir_dec_is(d, box, key, "namespace"))
        return read_str(d, &e->ns);
    if (weir_dec_is(d, box, key, "component"))
        return read_str(d, &e->component);
    if (weir_dec_is(d, box, key, "endpoint"))
        return read_str(d, &e->name);
    if (weir_dec_is(d, box, key, "instance_id") || weir_dec_is(d, box, key, "publisher_id"))
        return read_u64(d, &r->instance_id);
    if (weir_dec_is(d, box, key, "transport"))
        return channel ? read_channel_transport(d, r)
                       : read_transport(d, &r->tcp_address, &r->nats_subject);
    if (weir_dec_is(d, box, key, "request_plane_codec"))
        return read_codec(d, &r->codec);
    if (weir_dec_is(d, box, key, "device_type"))
        return read_device(d, &r->device_type);
    if (weir_dec_is(d, box, key, "model_suffix"))
        return read_str(d, &r->suffix);
    if (weir_dec_is(d, box, key, "card_json"))
        return read_card(d, &r->card);
    if (weir_dec_is(d, box, key, "topic"))
        return read_str(d, &r->topic);
    if (weir_dec_is(d, box, key, "scope")) {
        /* Replaces namespace and component of older readers, which may stand before it. */
        *e = (struct weir_endpoint_id){0};
        return read_endpoint_id(d, e);
    }
    if (weir_dec_is(d, box, key, "metadata"))
        return read_metadata(d, r);
    if (weir_dec_is(d, box, key, "type"))
        return weir_dec_skip(d, NULL); /* find_kind has read it */
    return weir_dec_skip(d, NULL);
}

/* The tag may stand anywhere; it decides how the rest is read. */
static bool find_kind(struct weir_span json, struct weir_arena *arena, enum weir_record_kind *ret) {
    static const char *const names[] = {"Endpoint", "Model", "EventChannel", "EventSource"};
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key, word;
    weir_dec_init(&d, WEIR_CODEC_JSON, json, arena);
    if (!weir_dec_map(&d, &box))
        return false;
    while (weir_dec_map_next(&d, &box, &key)) {
        if (!weir_span_eqz(key, "type")) {
            if (!weir_dec_skip(&d, NULL))
                return false;
            continue;
        }
        if (!weir_dec_str(&d, &word))
            return false;
        for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
            if (weir_span_eqz(word, names[i])) {
                *ret = (enum weir_record_kind)i;
                return true;
            }
        return false;
    }
    return false;
}

static bool slug_ok(struct weir_span slug) {
    for (size_t i = 0; i < slug.len; i++) {
        char c = slug.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return slug.len > 0;
}

static enum weir_status check_card(const struct weir_card *c, struct weir_err *err) {
    if (c->display_name.len == 0 || !slug_ok(c->slug))
        return weir_err_set(
            err, WEIR_INVALID,
            "the card has no display_name, or its slug \"%.*s\" holds an illegal byte",
            WEIR_SPAN_ARG(c->slug));
    if (c->kv_cache_block_size == 0 && !weir_card_only_embeds(c))
        return weir_err_set(err, WEIR_INVALID, "the card has no kv_cache_block_size");
    bool files = c->model_info.path.data != NULL && c->tokenizer.path.data != NULL &&
                 c->prompt_formatter.path.data != NULL;
    bool needs_files = c->input_tokens || !weir_card_only_embeds(c);
    if (needs_files && !c->builtin_bytes_tokenizer && !files)
        return weir_err_set(err, WEIR_INVALID,
                            "the card lacks model_info, tokenizer or prompt_formatter");
    if (c->dp_size == 0 || c->dp_size > 4096)
        return weir_err_set(err, WEIR_INVALID, "data_parallel_size %u is out of range", c->dp_size);
    return WEIR_OK;
}

enum weir_status weir_record_decode(struct weir_span json, struct weir_arena *arena,
                                    struct weir_record *ret_record, struct weir_err *err) {
    struct weir_record r = {0};
    struct weir_dec d;
    struct weir_dec_box box;
    struct weir_span key = {"", 0};
    if (!find_kind(json, arena, &r.kind))
        return weir_err_set(err, WEIR_INVALID, "not a record: no known \"type\"");
    weir_dec_init(&d, WEIR_CODEC_JSON, json, arena);
    bool ok = weir_dec_map(&d, &box);
    while (ok && weir_dec_map_next(&d, &box, &key))
        ok = read_record_member(&d, &box, key, &r);
    if (!ok || !weir_dec_finish(&d))
        return weir_err_set(err, WEIR_INVALID, "unreadable at member \"%.*s\"", WEIR_SPAN_ARG(key));
    if (r.endpoint.ns.len == 0)
        return weir_err_set(err, WEIR_INVALID, "the record has no namespace");
    bool has_address = r.tcp_address.data != NULL || r.nats_subject.data != NULL;
    if (r.kind == WEIR_RECORD_ENDPOINT && (!has_address || r.endpoint.name.len == 0))
        return weir_err_set(err, WEIR_INVALID, "the instance has no endpoint or no transport");
    if (r.kind == WEIR_RECORD_MODEL) {
        enum weir_status st = check_card(&r.card, err);
        if (st != WEIR_OK)
            return st;
    }
    *ret_record = r;
    return WEIR_OK;
}
