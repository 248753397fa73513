/*
 * Writing of records and cards: the members in the order in which the reference system has them. A
 * card that was read is written as it came, with the members that nobody here knows.
 */
#include "wire/record.h"

#include "base/json.h"
#include "base/number.h"

static void put_span(struct weir_jsonw *w, const char *key, struct weir_span v) {
    weir_jsonw_key(w, key);
    weir_jsonw_string(w, v);
}

static void put_num(struct weir_jsonw *w, const char *key, uint64_t v) {
    weir_jsonw_key(w, key);
    weir_jsonw_u64(w, v);
}

static void put_file_ref(struct weir_jsonw *w, const char *key, const struct weir_file_ref *f) {
    weir_jsonw_key(w, key);
    weir_jsonw_object_begin(w);
    put_span(w, "path", f->path);
    put_span(w, "checksum", f->checksum);
    if (f->size >= 0)
        put_num(w, "size", (uint64_t)f->size);
    weir_jsonw_object_end(w);
}

static void put_file(struct weir_jsonw *w, const char *member, const char *form,
                     const struct weir_file_ref *f) {
    if (f->path.data == NULL)
        return;
    weir_jsonw_key(w, member);
    weir_jsonw_object_begin(w);
    put_file_ref(w, form, f);
    weir_jsonw_object_end(w);
}

static void put_runtime_config(struct weir_jsonw *w, const struct weir_card *c) {
    weir_jsonw_key(w, "runtime_config");
    weir_jsonw_object_begin(w);
    put_num(w, "total_kv_blocks", c->total_kv_blocks);
    put_num(w, "max_num_seqs", c->max_num_seqs);
    put_num(w, "max_num_batched_tokens", c->max_num_batched_tokens);
    if (c->tool_call_parser.data != NULL)
        put_span(w, "tool_call_parser", c->tool_call_parser);
    if (c->reasoning_parser.data != NULL)
        put_span(w, "reasoning_parser", c->reasoning_parser);
    put_num(w, "data_parallel_start_rank", c->dp_start_rank);
    put_num(w, "data_parallel_size", c->dp_size);
    weir_jsonw_key(w, "enable_local_indexer");
    weir_jsonw_bool(w, c->enable_local_indexer);
    weir_jsonw_key(w, "kv_event_publishing_enabled");
    weir_jsonw_bool(w, c->kv_event_publishing);
    if (c->enable_eagle) {
        weir_jsonw_key(w, "enable_eagle");
        weir_jsonw_bool(w, true);
    }
    weir_jsonw_object_end(w);
}

static void put_card(struct weir_jsonw *w, const struct weir_card *c) {
    static const char *const types[] = {"", "aggregated", "prefill", "decode", "encode"};
    if (c->json.data != NULL) {
        weir_jsonw_raw(w, c->json);
        return;
    }
    weir_jsonw_object_begin(w);
    put_span(w, "display_name", c->display_name);
    put_span(w, "slug", c->slug);
    if (c->source_path.data != NULL)
        put_span(w, "source_path", c->source_path);
    put_file(w, "model_info", "hf_config_json", &c->model_info);
    if (c->builtin_bytes_tokenizer) {
        weir_jsonw_key(w, "tokenizer");
        weir_jsonw_raw(w, WEIR_SPAN_LIT("{\"weir_builtin\":\"bytes\"}"));
    } else {
        put_file(w, "tokenizer", "hf_tokenizer_json", &c->tokenizer);
    }
    put_file(w, "prompt_formatter", "hf_tokenizer_config_json", &c->prompt_formatter);
    if (c->chat_template.path.data != NULL) {
        weir_jsonw_key(w, "chat_template_file");
        weir_jsonw_object_begin(w);
        weir_jsonw_key(w, "hf_chat_template");
        weir_jsonw_object_begin(w);
        weir_jsonw_key(w, "is_custom");
        weir_jsonw_bool(w, false);
        put_file_ref(w, "file", &c->chat_template);
        weir_jsonw_object_end(w);
        weir_jsonw_object_end(w);
    }
    put_file(w, "gen_config", "hf_generation_config_json", &c->gen_config);
    put_num(w, "context_length", c->context_length);
    put_num(w, "kv_cache_block_size", c->kv_cache_block_size);
    put_num(w, "migration_limit", c->migration_limit);
    put_span(w, "model_type", c->model_type);
    weir_jsonw_key(w, "model_input");
    weir_jsonw_string_z(w, c->input_tokens ? "Tokens" : "Text");
    if (c->worker_type != WEIR_WORKER_UNSET) {
        weir_jsonw_key(w, "worker_type");
        weir_jsonw_string_z(w, types[c->worker_type]);
        weir_jsonw_key(w, "needs");
        weir_jsonw_raw(w, c->worker_type == WEIR_WORKER_PREFILL  ? WEIR_SPAN_LIT("[[\"decode\"]]")
                          : c->worker_type == WEIR_WORKER_DECODE ? WEIR_SPAN_LIT("[[\"prefill\"]]")
                                                                 : WEIR_SPAN_LIT("[]"));
    }
    if (c->lora_name.data != NULL) {
        weir_jsonw_key(w, "lora");
        weir_jsonw_object_begin(w);
        put_span(w, "name", c->lora_name);
        weir_jsonw_object_end(w);
    }
    if (c->aliases.n > 0) {
        weir_jsonw_key(w, "aliases");
        weir_jsonw_array_begin(w);
        for (size_t i = 0; i < c->aliases.n; i++)
            weir_jsonw_string(w, c->aliases.items[i]);
        weir_jsonw_array_end(w);
    }
    put_runtime_config(w, c);
    weir_jsonw_object_end(w);
}

enum weir_status weir_card_encode(const struct weir_card *card, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    put_card(&w, card);
    return w.status;
}

static const char *codec_name(enum weir_codec codec) {
    return codec == WEIR_CODEC_MSGPACK ? "msgpack" : "json";
}

static void put_scope_json(struct weir_jsonw *w, const struct weir_endpoint_id *e) {
    weir_jsonw_key(w, "scope");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "kind");
    if (e->name.len > 0) {
        weir_jsonw_string_z(w, "endpoint");
        weir_jsonw_key(w, "endpoint");
        weir_jsonw_object_begin(w);
        put_span(w, "namespace", e->ns);
        put_span(w, "component", e->component);
        put_span(w, "name", e->name);
        weir_jsonw_object_end(w);
    } else if (e->component.len > 0) {
        weir_jsonw_string_z(w, "component");
        put_span(w, "namespace", e->ns);
        put_span(w, "component", e->component);
    } else {
        weir_jsonw_string_z(w, "namespace");
        put_span(w, "name", e->ns);
    }
    weir_jsonw_object_end(w);
}

static void put_instance(struct weir_jsonw *w, const struct weir_record *r) {
    put_span(w, "component", r->endpoint.component);
    put_span(w, "endpoint", r->endpoint.name);
    put_span(w, "namespace", r->endpoint.ns);
    put_num(w, "instance_id", r->instance_id);
    weir_jsonw_key(w, "transport");
    weir_jsonw_object_begin(w);
    put_span(w, r->tcp_address.data != NULL ? "tcp" : "nats_tcp",
             r->tcp_address.data != NULL ? r->tcp_address : r->nats_subject);
    weir_jsonw_object_end(w);
    if (r->device_type.data != NULL)
        put_span(w, "device_type", r->device_type);
    weir_jsonw_key(w, "request_plane_codec");
    weir_jsonw_string_z(w, codec_name(r->codec));
}

static void put_source_metadata(struct weir_jsonw *w, const struct weir_record *r) {
    weir_jsonw_key(w, "metadata");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "kv_state_endpoint");
    weir_jsonw_object_begin(w);
    put_span(w, "namespace", r->endpoint.ns);
    put_span(w, "component", r->endpoint.component);
    put_span(w, "name", r->endpoint.name);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "worker");
    weir_jsonw_object_begin(w);
    put_num(w, "worker_id", r->worker_id);
    put_num(w, "dp_rank", r->dp_rank);
    weir_jsonw_object_end(w);
    put_num(w, "publisher_id", r->instance_id);
    if (r->recovery_address.data != NULL || r->recovery_subject.data != NULL) {
        struct weir_record target = {
            .endpoint = {r->endpoint.ns, r->endpoint.component, r->recovery_endpoint},
            .instance_id = r->recovery_instance_id,
            .tcp_address = r->recovery_address,
            .nats_subject = r->recovery_subject,
            .device_type = r->recovery_device,
            .codec = r->recovery_codec};
        weir_jsonw_key(w, "recovery_target");
        weir_jsonw_object_begin(w);
        put_instance(w, &target);
        weir_jsonw_object_end(w);
    }
    weir_jsonw_object_end(w);
}

enum weir_status weir_record_encode(const struct weir_record *record, struct weir_buf *out) {
    static const char *const types[] = {"Endpoint", "Model", "EventChannel", "EventSource"};
    const struct weir_record *r = record;
    struct weir_jsonw writer, *w = &writer;
    weir_jsonw_init(w, out);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, types[r->kind]);
    switch (r->kind) {
    case WEIR_RECORD_ENDPOINT:
        put_instance(w, r);
        break;
    case WEIR_RECORD_MODEL:
        put_span(w, "namespace", r->endpoint.ns);
        put_span(w, "component", r->endpoint.component);
        put_span(w, "endpoint", r->endpoint.name);
        put_num(w, "instance_id", r->instance_id);
        weir_jsonw_key(w, "card_json");
        put_card(w, &r->card);
        if (r->suffix.len > 0)
            put_span(w, "model_suffix", r->suffix);
        break;
    case WEIR_RECORD_EVENT_CHANNEL:
        put_scope_json(w, &r->endpoint);
        put_span(w, "topic", r->topic);
        put_num(w, "instance_id", r->instance_id);
        weir_jsonw_key(w, "transport");
        weir_jsonw_object_begin(w);
        weir_jsonw_key(w, "kind");
        weir_jsonw_string_z(w, r->subject_prefix.data != NULL ? "Nats" : "Zmq");
        weir_jsonw_key(w, "config");
        weir_jsonw_object_begin(w);
        if (r->subject_prefix.data != NULL)
            put_span(w, "subject_prefix", r->subject_prefix);
        else
            put_span(w, "endpoint", r->zmq_endpoint);
        weir_jsonw_object_end(w);
        weir_jsonw_object_end(w);
        break;
    case WEIR_RECORD_EVENT_SOURCE:
        put_scope_json(w, &r->endpoint);
        put_span(w, "topic", r->topic);
        put_num(w, "publisher_id", r->instance_id);
        put_source_metadata(w, r);
        break;
    }
    weir_jsonw_object_end(w);
    return w->status;
}

struct weir_worker_text weir_worker_text(uint64_t id) {
    struct weir_worker_text text;
    text.s[weir_u64_text(id, text.s)] = '\0';
    return text;
}
