#include "frontend/relay_body.h"

enum { DEPTH = 128, MAX_EDITS = 10 };

/* A root member that is written anew, behind the others; value NULL: left out. */
struct edit {
    const char *key;
    struct weir_span value;
    bool only_where_present;
};

static struct edit *find(struct edit *edits, size_t n, struct weir_json_str key) {
    for (size_t i = 0; i < n; i++)
        if (weir_json_str_eqz(key, edits[i].key))
            return &edits[i];
    return NULL;
}

/* A key goes out as it came, escapes and all. */
static void put_raw_member(struct weir_jsonw *w, struct weir_json_str key, struct weir_span raw) {
    if (w->need_comma && w->status == WEIR_OK)
        w->status = weir_buf_append_c(w->buf, ',');
    if (w->status == WEIR_OK)
        w->status = weir_buf_printf(w->buf, "\"%.*s\":", WEIR_SPAN_ARG(key.raw));
    if (w->status == WEIR_OK)
        w->status = weir_buf_append_span(w->buf, raw);
    w->need_comma = true;
}

static enum weir_status rewrite(struct weir_span body, struct edit *edits, size_t n,
                                struct weir_buf *out) {
    bool present[MAX_EDITS] = {false};
    struct weir_json j;
    struct weir_json_str key;
    struct weir_jsonw w;
    struct weir_span raw;
    weir_json_init(&j, body, DEPTH);
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            struct edit *e = find(edits, n, key);
            if (!weir_json_skip(&j, &raw))
                break;
            if (e != NULL)
                present[e - edits] = true;
            else
                put_raw_member(&w, key, raw);
        }
    if (!weir_json_finish(&j))
        return WEIR_INVALID;
    for (size_t i = 0; i < n; i++) {
        if (edits[i].value.data == NULL || (edits[i].only_where_present && !present[i]))
            continue;
        weir_jsonw_key(&w, edits[i].key);
        weir_jsonw_raw(&w, edits[i].value);
    }
    weir_jsonw_object_end(&w);
    return w.status;
}

enum weir_status weir_relay_body_prefill(struct weir_span body, struct weir_buf *out) {
    const struct weir_span one = WEIR_SPAN_LIT("1"), none = {NULL, 0};
    struct edit edits[] = {
        {"stream", WEIR_SPAN_LIT("false"), false},
        {"stream_options", none, false},
        {"min_tokens", none, false},
        {"max_tokens", one, false},
        {"max_completion_tokens", one, true},
        {"n", one, true},
        {"best_of", one, true},
        {"kv_transfer_params",
         WEIR_SPAN_LIT("{\"do_remote_decode\":true,\"do_remote_prefill\":false,"
                       "\"remote_engine_id\":null,\"remote_block_ids\":null,\"remote_host\":null,"
                       "\"remote_port\":null}"),
         false}};
    return rewrite(body, edits, WEIR_ARRAY_LEN(edits), out);
}

enum weir_status weir_relay_body_unstreamed(struct weir_span body, struct weir_buf *out) {
    const struct weir_span none = {NULL, 0};
    struct edit edits[] = {{"stream", none, false}, {"stream_options", none, false}};
    return rewrite(body, edits, WEIR_ARRAY_LEN(edits), out);
}

enum weir_status weir_relay_body_template(struct weir_span body, struct weir_span args,
                                          struct weir_buf *out) {
    const struct weir_span none = {NULL, 0};
    struct edit edits[] = {{"thinking", none, false},
                           {"chat_template_args", none, false},
                           {"chat_template_kwargs", args, false}};
    return rewrite(body, edits, WEIR_ARRAY_LEN(edits), out);
}

enum weir_status weir_relay_body_decode(struct weir_span body, struct weir_span params,
                                        struct weir_buf *out) {
    struct edit edits[] = {{"kv_transfer_params", params, false}};
    return rewrite(body, edits, WEIR_ARRAY_LEN(edits), out);
}

/* One value, or a list of so many where the prompts are a list. */
static struct weir_span put_each(struct weir_buf *text, size_t n_prompts, struct weir_span host,
                                 uint16_t port, const uint64_t *rooms) {
    struct weir_jsonw w;
    size_t from = text->len, n = n_prompts > 0 ? n_prompts : 1;
    weir_jsonw_init(&w, text);
    if (n_prompts > 0)
        weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < n; i++)
        if (rooms != NULL)
            weir_jsonw_u64(&w, rooms[i]);
        else if (host.data != NULL)
            weir_jsonw_string(&w, host);
        else
            weir_jsonw_u64(&w, port);
    if (n_prompts > 0)
        weir_jsonw_array_end(&w);
    return w.status == WEIR_OK ? weir_span(text->data + from, text->len - from)
                               : weir_span(NULL, 0);
}

enum weir_status weir_relay_body_bootstrap(struct weir_span body, struct weir_span host,
                                           uint16_t port, const uint64_t *rooms, size_t n_prompts,
                                           struct weir_buf *out) {
    struct weir_buf text[3];
    struct weir_span none = weir_span(NULL, 0);
    for (size_t i = 0; i < 3; i++)
        weir_buf_init(&text[i], out->max);
    struct edit edits[] = {
        {"bootstrap_host", put_each(&text[0], n_prompts, host, 0, NULL), false},
        {"bootstrap_port", put_each(&text[1], n_prompts, none, port, NULL), false},
        {"bootstrap_room", put_each(&text[2], n_prompts, none, 0, rooms), false}};
    enum weir_status st = WEIR_NOMEM;
    if (edits[0].value.data != NULL && edits[1].value.data != NULL && edits[2].value.data != NULL)
        st = rewrite(body, edits, WEIR_ARRAY_LEN(edits), out);
    for (size_t i = 0; i < 3; i++)
        weir_buf_fini(&text[i]);
    return st;
}

struct weir_span weir_relay_params(struct weir_span answer) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span raw, found = {NULL, 0};
    weir_json_init(&j, answer, DEPTH);
    if (weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key)) {
            bool ours = weir_json_str_eqz(key, "kv_transfer_params") &&
                        weir_json_peek(&j) == WEIR_JSON_OBJECT;
            if (!weir_json_skip(&j, &raw))
                break;
            if (ours)
                found = raw;
        }
    return weir_json_finish(&j) ? found : weir_span(NULL, 0);
}
