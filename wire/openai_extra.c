/* `extra_args` of what a worker is sent: what the frontend passes on for engines to read. Source:
 * shared spec "frontend" 3.2. */
#include "base/json.h"
#include "wire/openai_priv.h"

static void put_raw(struct weir_jsonw *w, const char *key, struct weir_span raw) {
    if (raw.data == NULL)
        return;
    weir_jsonw_key(w, key);
    weir_jsonw_raw(w, raw);
}

/* What the client wants to be told; of Messages always the stop reason, which the answer has a
 * place for. */
static void put_extra_fields(struct weir_jsonw *w, const struct weir_openai_request *q) {
    struct weir_json j;
    struct weir_json_str s;
    bool there = false;
    if (!q->wants_stop_reason) {
        put_raw(w, "extra_fields", q->extra_fields);
        return;
    }
    weir_jsonw_key(w, "extra_fields");
    weir_jsonw_array_begin(w);
    if (q->extra_fields.data != NULL) {
        weir_json_init(&j, q->extra_fields, 2);
        weir_json_array_enter(&j);
        while (weir_json_array_next(&j) && weir_json_string(&j, &s)) {
            there |= weir_json_str_eqz(s, "stop_reason");
            weir_jsonw_raw(w, weir_span(s.raw.data - 1, s.raw.len + 2));
        }
    }
    if (!there)
        weir_jsonw_string_z(w, "stop_reason");
    weir_jsonw_array_end(w);
}

/* The salt travels twice: for the router and for the engine. */
static void put_nvext(struct weir_jsonw *w, const struct weir_openai_request *q) {
    weir_jsonw_key(w, "nvext");
    weir_jsonw_object_begin(w);
    put_extra_fields(w, q);
    put_raw(w, "metadata_upload", q->metadata_upload);
    if (q->cache_salt.data != NULL) {
        weir_jsonw_key(w, "cache_salt");
        weir_jsonw_string(w, q->cache_salt);
    }
    if (q->has_token_data) {
        weir_jsonw_key(w, "token_in");
        weir_jsonw_bool(w, true);
    }
    weir_jsonw_object_end(w);
}

static void put_sampling(struct weir_jsonw *w, const struct weir_openai_request *s) {
    weir_jsonw_key(w, "sampling_options");
    weir_jsonw_object_begin(w);
    if (s->detokenize >= 0) {
        weir_jsonw_key(w, "detokenize");
        weir_jsonw_bool(w, s->detokenize != 0);
    }
    if (s->allowed_token_ids.ids != NULL) {
        weir_jsonw_key(w, "allowed_token_ids");
        weir_jsonw_array_begin(w);
        for (size_t i = 0; i < s->allowed_token_ids.n; i++)
            weir_jsonw_u64(w, s->allowed_token_ids.ids[i]);
        weir_jsonw_array_end(w);
    }
    put_raw(w, "bad_words_token_ids", s->bad_words_token_ids);
    weir_jsonw_object_end(w);
}

/* By these the engine knows whether its grammar begins behind thoughts. */
static void put_parser(struct weir_jsonw *w, const struct weir_openai_request *q) {
    weir_jsonw_key(w, "reasoning_parser_kwargs");
    weir_jsonw_object_begin(w);
    put_raw(w, "chat_template_kwargs", q->template_args);
    weir_jsonw_object_end(w);
}

enum weir_status weir_openai_put_extra_args(struct weir_openai_request *q,
                                            struct weir_arena *arena) {
    enum { MAX = 64 << 20 };
    bool nvext = q->extra_fields.data != NULL || q->metadata_upload.data != NULL ||
                 q->cache_salt.data != NULL || q->has_token_data || q->wants_stop_reason;
    bool sampling = q->detokenize >= 0 || q->allowed_token_ids.ids != NULL ||
                    q->bad_words_token_ids.data != NULL;
    bool parser = q->passes_template_args && q->template_args.data != NULL;
    struct weir_buf out;
    struct weir_jsonw w;
    if (!nvext && !sampling && !parser && q->told_messages.data == NULL)
        return WEIR_OK;
    weir_buf_init(&out, MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    if (q->told_messages.data != NULL) {
        put_raw(&w, "messages", q->told_messages);
        weir_jsonw_key(&w, "formatted_prompt");
        weir_jsonw_string(&w, q->told_prompt);
        put_raw(&w, "mm_hashes", q->mm_hashes);
    }
    if (nvext)
        put_nvext(&w, q);
    if (sampling)
        put_sampling(&w, q);
    if (parser)
        put_parser(&w, q);
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        q->prep.extra_args = weir_arena_copy(arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return w.status != WEIR_OK ? w.status : q->prep.extra_args.data != NULL ? WEIR_OK : WEIR_NOMEM;
}
