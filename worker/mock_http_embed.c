/* POST /v1/embeddings of a simulated engine: every one of them is an embedding model too. */
#include "wire/embeddings.h"
#include "wire/openai_embeddings.h"
#include "worker/mock_embed.h"
#include "worker/mock_http_priv.h"

#include <stdio.h>

enum { ARENA_MAX = 512 << 20, ANSWER_MAX = 256 << 20 };

static enum weir_status tokens_of(const struct weir_mock_http *h,
                                  const struct weir_openai_request *q, struct weir_arena *arena,
                                  struct weir_ids **ret_inputs) {
    struct weir_ids *inputs = weir_arena_zalloc(arena, (q->n_prompts + 1) * sizeof(*inputs));
    enum weir_status st = inputs == NULL ? WEIR_NOMEM : WEIR_OK;
    for (size_t i = 0; i < q->n_prompts && st == WEIR_OK; i++) {
        const struct weir_prompt *p = &q->prompts[i];
        size_t room = wtok_encode_bound(h->config.tok, p->text.len);
        inputs[i] = p->ids;
        if (p->kind == WEIR_PROMPT_IDS)
            continue;
        uint32_t *ids = weir_arena_alloc(arena, (room + 1) * sizeof(*ids));
        unsigned flags = WTOK_SPECIAL | (q->embeddings->add_special != 0 ? WTOK_ADD_SPECIAL : 0);
        st = ids == NULL ? WEIR_NOMEM
                         : wtok_encode(h->config.tok, p->text, flags, ids, room, &inputs[i].n);
        inputs[i].ids = ids;
    }
    *ret_inputs = inputs;
    return st;
}

/* What vLLM names beside what OpenAI's answers have. */
static void put_head(const struct weir_mock_http *h, struct weir_jsonw *w) {
    char uuid[37], id[48];
    weir_rng_uuid(weir_loop_rng(h->loop), uuid);
    snprintf(id, sizeof(id), "embd-%s", uuid);
    weir_mock_put_z(w, "id", id);
    weir_mock_put_u64(w, "created", weir_wall_ms() / 1000);
}

static enum weir_status put_answer(const struct weir_mock_http *h,
                                   const struct weir_openai_request *q, const float *values,
                                   size_t n_values, uint64_t n_tokens, struct weir_buf *out) {
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    if (weir_mock_http_vllm(h))
        put_head(h, &w);
    weir_mock_put_z(&w, "object", "list");
    weir_mock_put_z(&w, "model", h->config.model);
    weir_jsonw_key(&w, "data");
    weir_jsonw_array_begin(&w);
    for (size_t i = 0; i < q->n_prompts && w.status == WEIR_OK; i++) {
        struct weir_buf vector;
        weir_buf_init(&vector, ANSWER_MAX);
        weir_jsonw_object_begin(&w);
        weir_mock_put_u64(&w, "index", i);
        weir_mock_put_z(&w, "object", "embedding");
        weir_jsonw_key(&w, "embedding");
        if (weir_embeddings_put_vector(values + i * n_values, n_values, q->embeddings->base64,
                                       &vector) != WEIR_OK)
            w.status = WEIR_NOMEM;
        weir_jsonw_raw(&w, weir_buf_span(&vector));
        weir_jsonw_object_end(&w);
        weir_buf_fini(&vector);
    }
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "usage");
    weir_jsonw_object_begin(&w);
    weir_mock_put_u64(&w, "prompt_tokens", n_tokens);
    weir_mock_put_u64(&w, "total_tokens", n_tokens);
    if (weir_mock_http_vllm(h)) {
        weir_mock_put_u64(&w, "completion_tokens", 0);
        weir_mock_put_null(&w, "prompt_tokens_details");
        weir_mock_put_null(&w, "completion_tokens_details");
    }
    weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    return w.status;
}

static void answer(struct weir_mock_http *h, struct weir_http_exchange *x,
                   struct weir_arena *arena) {
    const struct weir_openai_rules rules = {.ignore_unknown_fields = true};
    const struct weir_mock_embed_config config = {.n_values = h->config.n_values,
                                                  .max_input = h->config.engine.max_model_len};
    struct weir_openai_request q;
    struct weir_openai_error error = {0};
    struct weir_ids *inputs;
    struct weir_buf out;
    const char *why = "the input cannot be read";
    float *values;
    size_t n_values;
    uint64_t n_tokens;
    enum weir_status st = weir_openai_parse(
        WEIR_OPENAI_EMBEDDINGS, weir_http_exchange_request(x)->body, &rules, arena, &q, &error);
    if (st == WEIR_OK && !weir_span_eqz(q.model, h->config.model)) {
        weir_mock_http_error(h, x, 404, "NotFoundError", "model", "The model does not exist.");
        return;
    }
    if (st == WEIR_OK)
        st = tokens_of(h, &q, arena, &inputs);
    if (st == WEIR_OK)
        st = weir_mock_embed_all(&config, inputs, q.n_prompts, q.embeddings->has_dimensions,
                                 q.embeddings->n_dimensions, arena, &values, &n_values, &n_tokens,
                                 &why);
    weir_buf_init(&out, ANSWER_MAX);
    if (st == WEIR_OK && put_answer(h, &q, values, n_values, n_tokens, &out) == WEIR_OK)
        weir_http_respond(x, 200, "application/json", NULL, 0, weir_buf_span(&out));
    else if (st == WEIR_INVALID)
        weir_mock_http_error(h, x, 400, "BadRequestError", NULL, why);
    else
        weir_mock_http_error(h, x, 500, "InternalServerError", NULL, "out of memory");
    weir_buf_fini(&out);
}

void weir_mock_embed_start(struct weir_mock_http *h, struct weir_http_exchange *x) {
    struct weir_arena arena;
    enum weir_mock_fault fault = weir_mock_fault(h->config.faults);
    if (fault == WEIR_MOCK_FAULT_HANG)
        return;
    if (fault == WEIR_MOCK_FAULT_FAIL) {
        weir_mock_http_error(h, x, 500, "InternalServerError", NULL,
                             "injected failure (--fail-rate)");
        return;
    }
    weir_arena_init(&arena, ARENA_MAX);
    answer(h, x, &arena);
    weir_arena_fini(&arena);
}
