/* Members of the body, each of its shape → values → inputs as prompts. Members that nobody knows
 * pass, as in the reference system. */
#include "wire/openai_embeddings.h"

#include "wire/codec_priv.h"
#include "wire/openai_embeddings_priv.h"
#include "wire/openai_translate_priv.h"
#include "wire/shape_table_priv.h"

#include <stddef.h>
#include <string.h>

static const struct weir_shape id_lists = LIST(&weir_shape_u32s);
static const struct weir_shape *const input_kinds[] = {&weir_shape_string, &weir_shape_strings,
                                                       &weir_shape_u32s, &id_lists, NULL};
static const struct weir_shape input = UNTAGGED("EmbeddingInput", input_kinds);
static const struct weir_shape_variant format_words[] = {
    {"float", NULL}, {"base64", NULL}, {NULL, NULL}};
static const struct weir_shape words = WORDS(format_words);
static bool check_format(struct weir_span raw, struct weir_shape_fault *fault) {
    return weir_json_type_of(raw) == WEIR_JSON_STRING
               ? weir_shape_check(&words, raw, fault)
               : weir_shape_fail_type(fault, raw, "string or map");
}
static const struct weir_shape format = CHECKED(check_format);
static const struct weir_shape_member nvext_members[] = {MAY("annotations", &weir_shape_strings),
                                                         END};
static const struct weir_shape nvext = STRUCT("NvExt", nvext_members);

/* Raw values of the members that are there and not null. */
struct members {
    struct weir_span model, nvext;
    struct weir_openai_embeddings e;
};

#define ROW(name, shape, early, never_null)                                                        \
    { #name, shape, offsetof(struct members, e.name), early, never_null }
/* The first of them belong to the reference's own struct inside of another one, which buffers its
 * members. */
static const struct weir_translate_row rows[] = {
    {"model", &weir_shape_string, offsetof(struct members, model), false, true},
    ROW(input, &input, false, true),
    ROW(encoding_format, &format, false, false),
    ROW(user, &weir_shape_string, false, false),
    ROW(dimensions, &weir_shape_u32, false, false),
    ROW(add_special_tokens, &weir_shape_bool, true, false),
    ROW(truncate_prompt_tokens, &weir_shape_i64, true, false),
    {"nvext", &nvext, offsetof(struct members, nvext), true, false},
};
static const struct weir_translate_table table = {"struct NvCreateEmbeddingRequest", rows,
                                                  WEIR_ARRAY_LEN(rows), false};

static bool read_members(struct weir_openai_reading *r, struct members *m) {
    struct weir_json j;
    if (!weir_translate_read(r, &table, m, &j))
        return false;
    const char *missing = m->model.data == NULL     ? "model"
                          : m->e.input.data == NULL ? "input"
                                                    : NULL;
    if (missing != NULL)
        return weir_openai_fail_at(r, r->end, "missing field `%s`", missing);
    return weir_translate_end(r, &j);
}

/* ---- inputs -------------------------------------------------------------------------------- */

static bool read_one(struct weir_openai_reading *r, struct weir_span raw, struct weir_prompt *p) {
    p->kind = weir_json_type_of(raw) == WEIR_JSON_STRING ? WEIR_PROMPT_TEXT : WEIR_PROMPT_IDS;
    return p->kind == WEIR_PROMPT_TEXT ? weir_raw_string(r, raw, &p->text)
                                       : weir_raw_ids(r, raw, &p->ids);
}

/* Items of a list, which has the right shape. */
static size_t count(struct weir_span list) {
    struct weir_json j;
    size_t n = 0;
    weir_json_init(&j, list, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, NULL))
        n++;
    return n;
}

static bool is_list_of_ids(struct weir_span list) {
    struct weir_json j;
    weir_json_init(&j, list, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    return weir_json_array_next(&j) && weir_json_peek(&j) == WEIR_JSON_NUMBER;
}

static bool read_inputs(struct weir_openai_reading *r, struct weir_span raw) {
    bool one = weir_json_type_of(raw) == WEIR_JSON_STRING || is_list_of_ids(raw);
    size_t n = one ? 1 : count(raw), i = 0;
    struct weir_prompt *prompts = n > WEIR_EMBEDDINGS_MAX_INPUTS
                                      ? NULL
                                      : weir_arena_zalloc(r->arena, (n + 1) * sizeof(*prompts));
    struct weir_json j;
    struct weir_span item;
    if (n > WEIR_EMBEDDINGS_MAX_INPUTS)
        return weir_openai_fail(r, 400, "Validation: input has %zu items, and %d are allowed", n,
                                WEIR_EMBEDDINGS_MAX_INPUTS);
    if (prompts == NULL)
        return weir_openai_nomem(r);
    r->req->prompts = prompts;
    r->req->n_prompts = n;
    if (one)
        return read_one(r, raw, prompts);
    weir_json_init(&j, raw, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &item))
        if (!read_one(r, item, &prompts[i++]))
            return false;
    return true;
}

/* ---- the rest ------------------------------------------------------------------------------ */

static bool read_annotations(struct weir_openai_reading *r, struct weir_openai_embeddings *e) {
    struct weir_json j;
    struct weir_span raw;
    size_t n = e->annotations.data != NULL ? count(e->annotations) : 0, i = 0;
    struct weir_span *items = weir_arena_alloc(r->arena, (n + 1) * sizeof(*items));
    if (items == NULL)
        return weir_openai_nomem(r);
    e->annotation = (struct weir_strings){items, n, true};
    if (n == 0)
        return true;
    weir_json_init(&j, e->annotations, WEIR_OPENAI_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &raw))
        if (!weir_raw_string(r, raw, &items[i++]))
            return false;
    return true;
}

bool weir_openai_read_embeddings(struct weir_openai_reading *r,
                                 const struct weir_openai_rules *rules) {
    struct members m;
    uint64_t dimensions = 0;
    memset(&m, 0, sizeof(m));
    if (!read_members(r, &m) || !weir_raw_string(r, m.model, &r->req->model) ||
        !read_inputs(r, m.e.input))
        return false;
    struct weir_openai_embeddings *e = weir_arena_alloc(r->arena, sizeof(*e));
    if (e == NULL)
        return weir_openai_nomem(r);
    *e = m.e;
    e->base64 = weir_json_is(e->encoding_format, "base64");
    e->add_special =
        e->add_special_tokens.data == NULL ? -1 : weir_span_eqz(e->add_special_tokens, "true");
    e->has_dimensions = e->dimensions.data != NULL && weir_span_u64(e->dimensions, &dimensions);
    e->n_dimensions = (uint32_t)dimensions;
    e->has_truncate = e->truncate_prompt_tokens.data != NULL &&
                      weir_span_i64(e->truncate_prompt_tokens, &e->truncate);
    e->has_nvext = m.nvext.data != NULL && !rules->drop_nvext;
    struct weir_span list;
    if (e->has_nvext && weir_json_member(m.nvext, "annotations", &list) &&
        weir_json_type_of(list) == WEIR_JSON_ARRAY)
        e->annotations = list;
    r->req->embeddings = e;
    r->req->n = 1;
    return read_annotations(r, e);
}

/* ---- as a worker gets it -------------------------------------------------------------------- */

static void put(struct weir_enc *e, struct weir_enc_box *b, const char *key,
                struct weir_span json) {
    if (json.data == NULL)
        return;
    weir_enc_key(e, b, key);
    weir_enc_json(e, json);
}

enum weir_status weir_openai_embeddings_put(const struct weir_openai_embeddings *e,
                                            struct weir_span model, enum weir_codec codec,
                                            struct weir_buf *out) {
    struct weir_enc enc;
    struct weir_enc_box b, inner;
    weir_enc_init(&enc, codec, out);
    weir_enc_map(&enc, &b);
    weir_enc_key(&enc, &b, "model");
    weir_enc_str(&enc, model);
    put(&enc, &b, "input", e->input);
    put(&enc, &b, "encoding_format", e->encoding_format);
    put(&enc, &b, "user", e->user);
    put(&enc, &b, "dimensions", e->dimensions);
    put(&enc, &b, "add_special_tokens", e->add_special_tokens);
    put(&enc, &b, "truncate_prompt_tokens", e->truncate_prompt_tokens);
    if (e->has_nvext) {
        weir_enc_key(&enc, &b, "nvext");
        weir_enc_map(&enc, &inner);
        put(&enc, &inner, "annotations", e->annotations);
        weir_enc_map_end(&enc, &inner);
    }
    weir_enc_map_end(&enc, &b);
    return weir_enc_status(&enc);
}
