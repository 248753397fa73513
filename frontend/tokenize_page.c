/* /tokenize and /detokenize in the shape of vLLM. */
#include "base/json.h"
#include "base/mem.h"
#include "frontend/request_priv.h"
#include "tokenizer/request.h"

enum { DEPTH = 128, TEXT_MAX = 256 << 20 };

struct tokenize_request {
    struct weir_span model, prompt;
    struct weir_span tokens; /* raw array */
    bool has_prompt, has_messages, strings;
    bool special, says_special; /* add_special_tokens, when it is there */
};

static bool read_tokenize(struct weir_http_exchange *x, struct tokenize_request *t) {
    struct weir_json j;
    struct weir_json_str key, s;
    struct weir_arena *arena = weir_http_exchange_arena(x);
    weir_json_init(&j, weir_http_exchange_request(x)->body, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        enum weir_json_type type = weir_json_peek(&j);
        bool flag = false;
        if (weir_json_str_eqz(key, "model") && type == WEIR_JSON_STRING) {
            weir_json_string(&j, &s);
            t->model = weir_json_text(s, arena);
        } else if (weir_json_str_eqz(key, "prompt") && type == WEIR_JSON_STRING) {
            t->has_prompt = weir_json_string(&j, &s);
            t->prompt = weir_json_text(s, arena);
        } else if (weir_json_str_eqz(key, "messages") && type == WEIR_JSON_ARRAY) {
            t->has_messages = weir_json_skip(&j, NULL);
        } else if (weir_json_str_eqz(key, "tokens") && type == WEIR_JSON_ARRAY) {
            weir_json_skip(&j, &t->tokens);
        } else if (weir_json_str_eqz(key, "return_token_strs") && type == WEIR_JSON_TRUE) {
            t->strings = weir_json_bool(&j, &flag);
        } else if (weir_json_str_eqz(key, "add_special_tokens") &&
                   (type == WEIR_JSON_TRUE || type == WEIR_JSON_FALSE)) {
            t->says_special = weir_json_bool(&j, &t->special);
        } else {
            weir_json_skip(&j, NULL);
        }
    }
    return weir_json_finish(&j);
}

/* The named model, or the only one. */
struct only {
    struct weir_model *model; /* a reference: it may leave once the registry's lock is given up */
    unsigned n;
};

static void on_only(void *arg, struct weir_model *model, bool ready) {
    struct only *o = arg;
    (void)ready;
    if (o->n++ == 0)
        o->model = weir_model_ref(model);
}

static struct weir_model *only_model(struct weir_front_loop *fl) {
    struct only o = {0};
    weir_models_each_router(fl->app->models, on_only, &o);
    if (o.n == 1)
        return o.model;
    weir_model_unref(o.model);
    return NULL;
}

static struct weir_model *pick_model(struct weir_front_loop *fl, struct weir_span name) {
    struct weir_model *model =
        name.data != NULL ? weir_models_find(fl->app->models, name) : only_model(fl);
    /* Without a worker its tokenizer may not be loaded; that of engines may be with them alone. */
    if (model != NULL && (!weir_model_ready(model) || weir_model_info(model)->tok == NULL)) {
        weir_model_unref(model);
        model = NULL;
    }
    return model;
}

static void put_token_strings(struct weir_jsonw *w, const struct wtok *tok, const uint32_t *ids,
                              size_t n) {
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < n; i++) {
        struct weir_buf text;
        weir_buf_init(&text, 4096);
        enum weir_status st = wtok_id_piece(tok, ids[i], &text);
        weir_jsonw_string(w, st == WEIR_OK ? weir_buf_span(&text) : weir_span("", 0));
        weir_buf_fini(&text);
    }
    weir_jsonw_array_end(w);
}

static void answer_tokens(struct weir_http_exchange *x, const struct weir_model_info *info,
                          const struct tokenize_request *t, const uint32_t *ids, size_t n) {
    struct weir_buf body;
    struct weir_jsonw w;
    weir_buf_init(&body, (size_t)1 << 30);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "count");
    weir_jsonw_u64(&w, n);
    weir_jsonw_key(&w, "max_model_len");
    weir_jsonw_u64(&w, info->context_length);
    weir_jsonw_key(&w, "tokens");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < n; i++)
        weir_jsonw_u64(&w, ids[i]);
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "token_strs");
    if (t->strings)
        put_token_strings(&w, info->tok, ids, n);
    else
        weir_jsonw_null(&w);
    weir_jsonw_object_end(&w);
    weir_front_send(x, 200, &w, &body);
}

/* The chat that the page is asked about: without the page's own members and what says nothing, and
 * with a model. */
static enum weir_status write_chat(struct weir_span body, const char *model,
                                   struct weir_arena *arena, struct weir_buf *out) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw;
    struct weir_jsonw w;
    weir_json_init(&j, body, DEPTH);
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "model", model);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &raw)) {
            if (weir_json_str_eqz(key, "model") || weir_json_str_eqz(key, "add_special_tokens") ||
                weir_json_str_eqz(key, "return_token_strs") ||
                weir_json_type_of(raw) == WEIR_JSON_NULL)
                continue;
            struct weir_span name = weir_json_text(key, arena);
            if (name.data == NULL)
                return WEIR_NOMEM;
            weir_jsonw_key_span(&w, name);
            weir_jsonw_raw(&w, raw);
        }
    weir_jsonw_object_end(&w);
    return w.status;
}

/* Read as a chat for workers of the request plane is: with its refusals. */
static enum weir_status plane_chat(struct weir_front_loop *fl, struct weir_http_exchange *x,
                                   const struct weir_model_info *info, struct wtok_chat *ret_chat,
                                   struct weir_err *err) {
    struct weir_arena *arena = weir_http_exchange_arena(x);
    struct weir_openai_request q;
    struct weir_openai_error error = {0};
    struct weir_buf body;
    weir_buf_init(&body, TEXT_MAX);
    enum weir_status st = write_chat(weir_http_exchange_request(x)->body, info->name, arena, &body);
    struct weir_span own =
        st == WEIR_OK ? weir_arena_copy(arena, weir_buf_span(&body)) : weir_span(NULL, 0);
    weir_buf_fini(&body);
    if (own.data == NULL)
        return WEIR_NOMEM;
    st = weir_openai_parse(WEIR_OPENAI_CHAT, own, &fl->app->rules, arena, &q, &error);
    if (st == WEIR_INVALID || st == WEIR_UNSUPPORTED)
        return weir_err_set(err, st, "%.*s", WEIR_SPAN_ARG(error.message));
    if (st == WEIR_OK && q.has_media)
        st = weir_request_media_of(fl->app, &q, arena, err);
    if (st == WEIR_OK)
        *ret_chat = weir_request_chat_of(fl->app, info, &q);
    return st;
}

/* HTTP engines read the body themselves; parts that are no text are theirs alone to count. */
static enum weir_status engine_chat(struct weir_http_exchange *x,
                                    const struct weir_model_info *info, struct wtok_chat *ret_chat,
                                    unsigned *ret_flags, struct weir_err *err) {
    enum weir_status st = wtok_request_chat(weir_http_exchange_request(x)->body, info->flavour,
                                            weir_http_exchange_arena(x), ret_chat, ret_flags, err);
    ret_chat->text_only = true;
    return st;
}

/* The prompt, and with which flags it becomes tokens: as those of a completion and of a chat do,
 * unless the client wants it else. */
static enum weir_status make_prompt(struct weir_front_loop *fl, struct weir_http_exchange *x,
                                    const struct weir_model_info *info,
                                    const struct tokenize_request *t, struct wtok_prompt *out,
                                    unsigned *ret_flags, struct weir_err *err) {
    struct wtok_chat chat;
    enum weir_status st;
    *ret_flags = WTOK_SPECIAL;
    if (t->has_prompt) {
        st = wtok_request_completion(weir_http_exchange_request(x)->body, info->flavour, ret_flags,
                                     err);
        if (st == WEIR_OK)
            st = weir_buf_append_span(&out->text, t->prompt);
    } else {
        st = info->engines ? engine_chat(x, info, &chat, ret_flags, err)
                           : plane_chat(fl, x, info, &chat, err);
        if (st == WEIR_OK)
            st = wtok_render_prompt(info->tok, &chat, out, err);
        if (st == WEIR_OK)
            st = wtok_prompt_join(out);
    }
    if (!info->engines)
        out->text.len = weir_request_drop_nul(weir_buf_span(&out->text), out->text.data);
    if (t->says_special)
        *ret_flags = WTOK_SPECIAL | (t->special ? WTOK_ADD_SPECIAL : 0);
    return st;
}

void weir_front_tokenize(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct tokenize_request t = {0};
    struct weir_err err = {.text = "out of memory"};
    if (!read_tokenize(x, &t) || t.has_prompt == t.has_messages) {
        weir_front_error(fl, x, 400,
                         "a JSON object with either `prompt` or `messages` is expected");
        return;
    }
    struct weir_model *model = pick_model(fl, t.model);
    if (model == NULL) {
        weir_front_error(fl, x, 404, "Model not found");
        return;
    }
    const struct weir_model_info *info = weir_model_info(model);
    struct wtok_prompt prompt;
    unsigned flags;
    wtok_prompt_init(&prompt, TEXT_MAX);
    enum weir_status st = make_prompt(fl, x, info, &t, &prompt, &flags, &err);
    size_t n = 0, room = wtok_encode_bound(info->tok, wtok_prompt_bytes(&prompt));
    uint32_t *ids = st == WEIR_OK ? weir_malloc((room + 1) * sizeof(*ids)) : NULL;
    if (ids != NULL)
        st = wtok_encode_prompt(info->tok, &prompt, flags, ids, room, &n);
    if (ids != NULL && st == WEIR_OK)
        answer_tokens(x, info, &t, ids, n);
    else
        weir_front_error(fl, x,
                         st == WEIR_INVALID       ? 400
                         : st == WEIR_UNSUPPORTED ? 501
                                                  : 503,
                         err.text);
    weir_free(ids);
    wtok_prompt_fini(&prompt);
    weir_model_unref(model);
}

void weir_front_detokenize(struct weir_front_loop *fl, struct weir_http_exchange *x) {
    struct tokenize_request t = {0};
    if (!read_tokenize(x, &t) || t.tokens.data == NULL) {
        weir_front_error(fl, x, 400, "a JSON object with `tokens` is expected");
        return;
    }
    struct weir_model *model = pick_model(fl, t.model);
    if (model == NULL) {
        weir_front_error(fl, x, 404, "Model not found");
        return;
    }
    struct weir_buf text, body;
    struct weir_json j;
    struct wtok_stream s;
    uint64_t id = 0;
    enum weir_status st = WEIR_OK;
    weir_buf_init(&text, TEXT_MAX);
    wtok_stream_init(&s, weir_model_info(model)->tok, false);
    weir_json_init(&j, t.tokens, DEPTH);
    weir_json_array_enter(&j);
    while (st == WEIR_OK && weir_json_array_next(&j))
        st = weir_json_u64(&j, &id) && id <= UINT32_MAX ? wtok_stream_push(&s, (uint32_t)id, &text)
                                                        : WEIR_INVALID;
    if (st == WEIR_OK)
        st = wtok_stream_finish(&s, &text);
    if (st == WEIR_OK) {
        struct weir_jsonw w;
        weir_buf_init(&body, (size_t)1 << 30);
        weir_jsonw_init(&w, &body);
        weir_jsonw_object_begin(&w);
        weir_jsonw_key(&w, "prompt");
        weir_jsonw_string(&w, weir_buf_span(&text));
        weir_jsonw_object_end(&w);
        weir_front_send(x, 200, &w, &body);
    } else {
        weir_front_error(fl, x, 400, "`tokens` must be an array of ids of this model's vocabulary");
    }
    weir_buf_fini(&text);
    weir_model_unref(model);
}
