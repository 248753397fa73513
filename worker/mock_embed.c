#include "worker/mock_embed.h"

#include "base/msgpack.h"
#include "base/rng.h"
#include "wire/embeddings.h"
#include "wire/openai_embeddings.h"

#include <math.h>

enum { ARENA_MAX = 512 << 20, BODY_MAX = 256 << 20 };

/* Each token has a direction of its own; an input has the sum of its tokens'. */
void weir_mock_embed(struct weir_ids ids, size_t n_values, float *ret_values) {
    double length = 0;
    for (size_t k = 0; k < n_values; k++)
        ret_values[k] = 0;
    for (size_t i = 0; i < ids.n; i++) {
        struct weir_rng rng;
        weir_rng_seed(&rng, ids.ids[i]);
        for (size_t k = 0; k < n_values; k++)
            ret_values[k] += (float)(weir_rng_unit(&rng) - 0.5);
    }
    for (size_t k = 0; k < n_values; k++)
        length += (double)ret_values[k] * ret_values[k];
    for (size_t k = 0; k < n_values && length > 0; k++)
        ret_values[k] = (float)(ret_values[k] / sqrt(length));
}

enum weir_status weir_mock_embed_all(const struct weir_mock_embed_config *config,
                                     const struct weir_ids *inputs, size_t n, bool has_dimensions,
                                     uint32_t n_dimensions, struct weir_arena *arena,
                                     float **ret_values, size_t *ret_n_values, uint64_t *ret_tokens,
                                     const char **ret_why) {
    size_t n_values = has_dimensions ? n_dimensions : config->n_values;
    uint64_t tokens = 0;
    *ret_why = n_values == 0 || n_values > config->n_values
                   ? "dimensions must be at least 1 and at most those of the model"
               : n == 0 ? "there is no input"
                        : NULL;
    for (size_t i = 0; i < n && *ret_why == NULL; i++) {
        tokens += inputs[i].n;
        if (inputs[i].n == 0)
            *ret_why = "an input is empty";
        else if (config->max_input > 0 && inputs[i].n > config->max_input)
            *ret_why = "an input is longer than the model allows";
    }
    if (*ret_why != NULL)
        return WEIR_INVALID;
    float *values = weir_arena_alloc(arena, n * n_values * sizeof(*values));
    if (values == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; i < n; i++)
        weir_mock_embed(inputs[i], n_values, values + i * n_values);
    *ret_values = values;
    *ret_n_values = n_values;
    *ret_tokens = tokens;
    return WEIR_OK;
}

/* A byte of a text is a token, as with the built-in tokenizer. */
static bool bytes_of(struct weir_span text, struct weir_arena *arena, struct weir_ids *ret) {
    uint32_t *ids = weir_arena_alloc(arena, (text.len + 1) * sizeof(*ids));
    if (ids == NULL)
        return false;
    for (size_t i = 0; i < text.len; i++)
        ids[i] = (unsigned char)text.data[i];
    *ret = (struct weir_ids){ids, text.len};
    return true;
}

/* The client's own request. */
static enum weir_status read_text(struct weir_span json, struct weir_arena *arena,
                                  struct weir_embeddings_request *ret) {
    const struct weir_openai_rules rules = {0};
    struct weir_openai_request q;
    struct weir_openai_error error = {0};
    enum weir_status st =
        weir_openai_parse(WEIR_OPENAI_EMBEDDINGS, json, &rules, arena, &q, &error);
    if (st != WEIR_OK)
        return st;
    struct weir_ids *inputs = weir_arena_zalloc(arena, (q.n_prompts + 1) * sizeof(*inputs));
    if (inputs == NULL)
        return WEIR_NOMEM;
    for (size_t i = 0; i < q.n_prompts; i++) {
        inputs[i] = q.prompts[i].ids;
        if (q.prompts[i].kind == WEIR_PROMPT_TEXT &&
            !bytes_of(q.prompts[i].text, arena, &inputs[i]))
            return WEIR_NOMEM;
    }
    *ret = (struct weir_embeddings_request){.model = q.model,
                                            .inputs = inputs,
                                            .n_inputs = q.n_prompts,
                                            .has_dimensions = q.embeddings->has_dimensions,
                                            .n_dimensions = q.embeddings->n_dimensions};
    return WEIR_OK;
}

static enum weir_status read_request(const struct weir_mock_embed_config *config,
                                     struct weir_span body, enum weir_codec codec,
                                     struct weir_arena *arena,
                                     struct weir_embeddings_request *ret) {
    struct weir_buf json;
    struct weir_span text = body;
    if (config->form == WEIR_MOCK_EMBED_TOKENS)
        return weir_embeddings_request_decode(body, codec, config->max_ids, arena, ret);
    weir_buf_init(&json, BODY_MAX);
    enum weir_status st = WEIR_OK;
    if (codec == WEIR_CODEC_MSGPACK) {
        st = weir_mp_to_json(body, &json);
        text = weir_arena_copy(arena, weir_buf_span(&json));
    }
    weir_buf_fini(&json);
    if (st == WEIR_OK && text.data == NULL)
        st = WEIR_NOMEM;
    return st == WEIR_OK ? read_text(text, arena, ret) : st;
}

enum weir_status weir_mock_embed_answer(const struct weir_mock_embed_config *config,
                                        struct weir_span body, enum weir_codec codec,
                                        struct weir_buf *out, const char **ret_why) {
    struct weir_embeddings_request q;
    struct weir_embeddings_item item = {0};
    struct weir_arena arena;
    float *values;
    *ret_why = "the request cannot be read";
    weir_arena_init(&arena, ARENA_MAX);
    enum weir_status st = read_request(config, body, codec, &arena, &q);
    if (st == WEIR_OK)
        st = weir_mock_embed_all(config, q.inputs, q.n_inputs, q.has_dimensions, q.n_dimensions,
                                 &arena, &values, &item.n_values, &item.n_tokens, ret_why);
    if (st == WEIR_OK) {
        item.values = values;
        item.n = q.n_inputs;
        if (config->form == WEIR_MOCK_EMBED_TEXT)
            item.model = q.model;
        st = weir_embeddings_item_encode(&item, codec, out);
    }
    weir_arena_fini(&arena);
    return st;
}
