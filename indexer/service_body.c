/* Bodies of the pages: what they may hold, and answers as JSON. */
#include "base/json.h"
#include "indexer/service_priv.h"

#include <stdio.h>

const struct weir_span weir_indexer_default_group = WEIR_SPAN_LIT("default");

/* ---- answers ----------------------------------------------------------------------------------
 */

void weir_indexer_send(struct weir_http_exchange *x, int status, struct weir_jsonw *w) {
    struct weir_span body = w->status == WEIR_OK ? weir_buf_span(w->buf) : WEIR_SPAN_LIT("{}");
    weir_http_respond(x, w->status == WEIR_OK ? status : 503, "application/json", NULL, 0, body);
    weir_buf_fini(w->buf);
}

void weir_indexer_begin(struct weir_jsonw *w, struct weir_buf *body) {
    weir_buf_init(body, WEIR_INDEXER_OUT_MAX);
    weir_jsonw_init(w, body);
}

void weir_indexer_say(struct weir_http_exchange *x, int status, const char *key, const char *text) {
    struct weir_buf body;
    struct weir_jsonw w;
    weir_indexer_begin(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, key);
    weir_jsonw_string_z(&w, text);
    weir_jsonw_object_end(&w);
    weir_indexer_send(x, status, &w);
}

void weir_indexer_refuse(struct weir_http_exchange *x, int status, const char *text) {
    weir_indexer_say(x, status, "error", text);
}

void weir_indexer_refuse_for_now(struct weir_http_exchange *x, const char *text) {
    const struct weir_http_header later = {WEIR_SPAN_LIT("retry-after"), WEIR_SPAN_LIT("1")};
    struct weir_buf body;
    struct weir_jsonw w;
    weir_indexer_begin(&w, &body);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "error");
    weir_jsonw_string_z(&w, text);
    weir_jsonw_object_end(&w);
    weir_http_respond(x, 503, "application/json", &later, 1,
                      w.status == WEIR_OK ? weir_buf_span(&body) : WEIR_SPAN_LIT("{}"));
    weir_buf_fini(&body);
}

/* ---- bodies -----------------------------------------------------------------------------------
 */

static struct weir_span text_of(struct weir_json *j, struct weir_arena *arena,
                                struct weir_indexer_fields *f, const char *wrong) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_NULL) {
        weir_json_skip(j, NULL);
        return weir_span(NULL, 0);
    }
    if (weir_json_peek(j) == WEIR_JSON_STRING && weir_json_string(j, &s))
        return weir_json_text(s, arena);
    weir_json_skip(j, NULL);
    f->wrong = wrong;
    return weir_span(NULL, 0);
}

static void number_of(struct weir_json *j, struct weir_indexer_fields *f, uint64_t *ret,
                      bool *ret_has, const char *wrong) {
    if (weir_json_peek(j) == WEIR_JSON_NULL) {
        weir_json_skip(j, NULL);
        return;
    }
    *ret_has = weir_json_peek(j) == WEIR_JSON_NUMBER && weir_json_u64(j, ret);
    if (!*ret_has)
        f->wrong = wrong;
}

static void read_member(struct weir_json *j, struct weir_json_str key, struct weir_arena *arena,
                        struct weir_indexer_fields *f) {
    if (weir_json_str_eqz(key, "model_name")) {
        f->model = text_of(j, arena, f, "model_name must be a string");
    } else if (weir_json_str_eqz(key, "routing_group")) {
        f->group = text_of(j, arena, f, "routing_group must be a string");
        f->has_group = true;
    } else if (weir_json_str_eqz(key, "tenant_id")) {
        /* The Conductor's name for it; Dynamo 1.6.1 reads it and goes by routing_group. */
        struct weir_span tenant = text_of(j, arena, f, "tenant_id must be a string");
        if (!f->has_group && tenant.data != NULL)
            f->group = tenant;
    } else if (weir_json_str_eqz(key, "endpoint")) {
        f->endpoint = text_of(j, arena, f, "endpoint must be a string");
    } else if (weir_json_str_eqz(key, "replay_endpoint")) {
        f->replay = text_of(j, arena, f, "replay_endpoint must be a string");
    } else if (weir_json_str_eqz(key, "lora_name")) {
        f->lora = text_of(j, arena, f, "lora_name must be a string");
    } else if (weir_json_str_eqz(key, "cache_salt")) {
        f->salt = text_of(j, arena, f, "cache_salt must be a string");
    } else if (weir_json_str_eqz(key, "url")) {
        f->url = text_of(j, arena, f, "url must be a string");
    } else if (weir_json_str_eqz(key, "instance_id")) {
        number_of(j, f, &f->instance, &f->has_instance,
                  "instance_id must be an unsigned 64-bit integer");
    } else if (weir_json_str_eqz(key, "dp_rank")) {
        number_of(j, f, &f->dp_rank, &f->has_dp_rank, "dp_rank must be an unsigned integer");
    } else if (weir_json_str_eqz(key, "block_size")) {
        number_of(j, f, &f->block_size, &f->has_block_size,
                  "block_size must be an unsigned integer");
    } else if (weir_json_str_eqz(key, "token_ids")) {
        weir_json_skip(j, &f->tokens);
    } else if (weir_json_str_eqz(key, "block_hashes")) {
        weir_json_skip(j, &f->hashes);
    } else {
        weir_json_skip(j, NULL); /* additional_salt and whatever comes later */
    }
}

bool weir_indexer_read(struct weir_http_exchange *x, struct weir_indexer_fields *f) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span body = weir_http_exchange_request(x)->body;
    char text[256];
    *f = (struct weir_indexer_fields){.group = weir_indexer_default_group};
    weir_json_init(&j, body, 32);
    bool object = weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j);
    while (object && weir_json_object_next(&j, &key))
        read_member(&j, key, weir_http_exchange_arena(x), f);
    if (object)
        weir_json_finish(&j);
    if (j.error != WEIR_JSON_ERR_NONE) {
        unsigned line, column;
        weir_json_line_column(body, j.error_pos, &line, &column);
        snprintf(text, sizeof(text), "the body is no JSON: %s at line %u column %u",
                 weir_json_error_text(j.error), line, column);
        weir_indexer_refuse(x, 400, text);
        return false;
    }
    if (!object || f->wrong != NULL) {
        weir_indexer_refuse(x, 400, object ? f->wrong : "the body must be a JSON object");
        return false;
    }
    return true;
}
