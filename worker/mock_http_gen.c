/*
 * Inference of the simulated engine. Happy path: body → prompts as ids → one sequence a prompt and
 * choice on one rank → tokens come back → chunks, or one answer at the end. Failure modes: a
 * refusal in the engine's words before anything runs; a client that leaves ends its sequences.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "kvindex/kvi.h"
#include "tokenizer/request.h"
#include "wire/openai_answer.h"
#include "worker/mock_http_priv.h"
#include "worker/mock_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CHOICES = 128, ARENA_MAX = 1 << 30, ANSWER_MAX = 64 << 20 };

struct choice {
    struct weir_mock_gen *gen;
    struct weir_sequence *seq; /* NULL once it ended */
    struct weir_mock_text text;
    struct wtok_stream decoder;
    struct weir_buf out; /* unary: the whole text; streamed: of one piece */
    uint32_t index;
    bool role_sent, aborted;
};

struct weir_mock_gen {
    struct weir_list node;
    struct weir_mock_http *http; /* NULL: closed before this exchange */
    struct weir_http_exchange *x;
    struct weir_mock_rank *rank;
    struct weir_arena arena;
    struct weir_openai_request q;
    struct weir_answer_head head;
    char id[96];
    struct choice *choices; /* in the arena */
    uint32_t n_choices, n_running;
    struct weir_usage usage;
    bool holds;       /* vLLM, do_remote_decode: its KV blocks are for another engine */
    bool kv_received; /* another engine has computed the prompt */
};

void weir_mock_http_error(struct weir_mock_http *h, struct weir_http_exchange *x, int status,
                          const char *type, const char *param, const char *message) {
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, 64 << 10);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    if (weir_mock_http_vllm(h)) {
        weir_jsonw_key(&w, "error");
        weir_jsonw_object_begin(&w);
    } else {
        weir_jsonw_key(&w, "object");
        weir_jsonw_string_z(&w, "error");
    }
    weir_jsonw_key(&w, "message");
    weir_jsonw_string_z(&w, message);
    weir_jsonw_key(&w, "type");
    weir_jsonw_string_z(&w, type);
    weir_jsonw_key(&w, "param");
    if (param != NULL && weir_mock_http_vllm(h))
        weir_jsonw_string_z(&w, param);
    else
        weir_jsonw_null(&w);
    weir_jsonw_key(&w, "code");
    weir_jsonw_u64(&w, (uint64_t)status);
    if (weir_mock_http_vllm(h))
        weir_jsonw_object_end(&w);
    weir_jsonw_object_end(&w);
    weir_http_respond(x, status, "application/json", NULL, 0, weir_buf_span(&out));
    weir_buf_fini(&out);
}

static enum weir_status encode(const struct wtok *tok, struct weir_span text, unsigned flags,
                               struct weir_arena *arena, struct weir_ids *ret) {
    size_t room = wtok_encode_bound(tok, text.len), n = 0;
    uint32_t *ids = weir_arena_alloc(arena, (room + 1) * sizeof(*ids));
    if (ids == NULL)
        return WEIR_NOMEM;
    enum weir_status st = wtok_encode(tok, text, flags, ids, room, &n);
    *ret = (struct weir_ids){ids, n};
    return st;
}

static enum weir_status render(struct weir_mock_http *h, struct weir_span body, bool page,
                               struct weir_arena *arena, struct wtok_prompt *out,
                               unsigned *ret_flags) {
    struct wtok_chat chat;
    struct weir_err err;
    struct weir_span raw;
    bool vllm = weir_mock_http_vllm(h);
    /* SGLang's page takes the messages as they stand when it is told about the generation prompt;
     * its chats know no such field. */
    bool as_given = page && weir_json_member(body, "add_generation_prompt", &raw) &&
                    weir_span_eqz(raw, "false");
    enum wtok_flavour flavour = vllm       ? WTOK_FLAVOUR_VLLM
                                : as_given ? WTOK_FLAVOUR_PLAIN
                                           : WTOK_FLAVOUR_SGLANG;
    enum weir_status st = wtok_request_chat(body, flavour, arena, &chat, ret_flags, &err);
    return st == WEIR_OK ? wtok_render_prompt(h->config.tok, &chat, out, &err) : st;
}

static enum weir_status encode_prompt(const struct wtok *tok, struct wtok_prompt *p, unsigned flags,
                                      struct weir_arena *arena, struct weir_ids *ret) {
    size_t room = wtok_encode_bound(tok, wtok_prompt_bytes(p)), n = 0;
    uint32_t *ids = weir_arena_alloc(arena, (room + 1) * sizeof(*ids));
    if (ids == NULL)
        return WEIR_NOMEM;
    enum weir_status st = wtok_encode_prompt(tok, p, flags, ids, room, &n);
    *ret = (struct weir_ids){ids, n};
    return st;
}

enum weir_status weir_mock_http_tokens(struct weir_mock_http *h, struct weir_span body,
                                       const struct weir_prompt *prompt, bool page, bool special,
                                       struct weir_arena *arena, struct weir_ids *ret_ids) {
    struct wtok_prompt chat;
    unsigned flags;
    if (prompt != NULL && prompt->kind == WEIR_PROMPT_IDS) {
        *ret_ids = prompt->ids;
        return WEIR_OK;
    }
    if (prompt != NULL)
        return encode(h->config.tok, prompt->text, WTOK_SPECIAL | (special ? WTOK_ADD_SPECIAL : 0),
                      arena, ret_ids);
    wtok_prompt_init(&chat, ARENA_MAX);
    enum weir_status st = render(h, body, page, arena, &chat, &flags);
    if (st == WEIR_OK && (flags & WTOK_ADD_SPECIAL) != 0)
        st = wtok_prompt_join(&chat);
    if (st == WEIR_OK)
        st = encode_prompt(h->config.tok, &chat, flags, arena, ret_ids);
    wtok_prompt_fini(&chat);
    return st;
}

/* ---- answers ------------------------------------------------------------------------------ */

static void put_chunk(struct choice *c, const char *finish) {
    struct weir_mock_gen *g = c->gen;
    struct weir_buf frame;
    struct weir_answer_piece p = {.index = c->index,
                                  .role = g->q.kind == WEIR_OPENAI_CHAT && !c->role_sent,
                                  .has_text = c->out.len > 0,
                                  .text = weir_buf_span(&c->out),
                                  .finish_reason = finish};
    if (c->out.len == 0 && finish == NULL)
        return;
    c->role_sent = true;
    weir_buf_init(&frame, ANSWER_MAX);
    if (weir_answer_chunk(&g->head, &p, &frame) != WEIR_OK ||
        weir_http_stream_write(g->x, weir_buf_span(&frame)) != WEIR_OK)
        weir_http_abort(g->x, "the client reads too slowly");
    weir_buf_fini(&frame);
    weir_buf_clear(&c->out);
}

static void end_stream(struct weir_mock_gen *g) {
    struct weir_buf out;
    weir_buf_init(&out, 64 << 10);
    enum weir_status st =
        g->q.include_usage ? weir_answer_usage_chunk(&g->head, &g->usage, &out) : WEIR_OK;
    if (st == WEIR_OK)
        st = weir_buf_append_span(&out, weir_answer_done());
    if (st == WEIR_OK)
        st = weir_http_stream_write(g->x, weir_buf_span(&out));
    weir_buf_fini(&out);
    if (st == WEIR_OK)
        weir_http_stream_end(g->x);
    else
        weir_http_abort(g->x, "out of memory");
}

/* Where another engine gets the blocks, as vLLM's NIXL connector says it. `out` is an object. */
static enum weir_status put_params(struct weir_mock_gen *g, struct weir_buf *out) {
    char name[64];
    struct weir_jsonw w;
    snprintf(name, sizeof(name), "mock-%llx", (unsigned long long)g->http->config.name_seed);
    out->len--; /* the closing brace */
    weir_jsonw_init(&w, out);
    w.need_comma = true;
    weir_jsonw_key(&w, "kv_transfer_params");
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "do_remote_prefill");
    weir_jsonw_bool(&w, true);
    weir_jsonw_key(&w, "do_remote_decode");
    weir_jsonw_bool(&w, false);
    weir_jsonw_key(&w, "remote_block_ids");
    weir_jsonw_array_begin(&w);
    for (uint64_t i = 0; i < g->usage.prompt_tokens / g->http->config.engine.block_size; i++)
        weir_jsonw_u64(&w, i);
    weir_jsonw_array_end(&w);
    weir_jsonw_key(&w, "remote_engine_id");
    weir_jsonw_string_z(&w, name);
    weir_jsonw_key(&w, "remote_host");
    weir_jsonw_string_z(&w, g->http->config.ip);
    weir_jsonw_key(&w, "remote_port");
    weir_jsonw_u64(&w, weir_http_server_port(g->http->server));
    weir_jsonw_key(&w, "tp_size");
    weir_jsonw_u64(&w, 1);
    weir_jsonw_object_end(&w);
    return w.status == WEIR_OK ? weir_buf_append_c(out, '}') : w.status;
}

static void end_unary(struct weir_mock_gen *g) {
    struct weir_buf out;
    weir_buf_init(&out, ANSWER_MAX);
    struct weir_answer_choice *choices =
        weir_arena_zalloc(&g->arena, g->n_choices * sizeof(*choices));
    for (uint32_t i = 0; choices != NULL && i < g->n_choices; i++)
        choices[i] = (struct weir_answer_choice){
            .index = i,
            .text =
                g->choices[i].out.len > 0 ? weir_buf_span(&g->choices[i].out) : weir_span("", 0),
            .finish_reason = g->choices[i].aborted ? "abort" : "length"};
    enum weir_status st = choices == NULL ? WEIR_NOMEM
                                          : weir_answer_unary(&g->head, choices, g->n_choices,
                                                              &g->usage, weir_span(NULL, 0), &out);
    if (st == WEIR_OK && g->holds)
        st = put_params(g, &out);
    if (st != WEIR_OK)
        weir_mock_http_error(g->http, g->x, 500, "InternalServerError", NULL, "out of memory");
    else
        weir_http_respond(g->x, 200, "application/json", NULL, 0, weir_buf_span(&out));
    weir_buf_fini(&out);
}

static void end(struct weir_mock_gen *g) {
    if (g->q.stream)
        end_stream(g);
    else
        end_unary(g);
}

void weir_mock_gen_token(void *arg, void *user, uint32_t token, uint32_t cached_tokens,
                         enum weir_engine_finish finish) {
    struct choice *c = user;
    struct weir_mock_gen *g = c->gen;
    bool last = finish != WEIR_ENGINE_RUNNING;
    (void)arg;
    g->usage.completion_tokens++;
    if (wtok_stream_push(&c->decoder, token, &c->out) != WEIR_OK ||
        (last && wtok_stream_finish(&c->decoder, &c->out) != WEIR_OK))
        WEIR_LOG(WEIR_LOG_WARN, "mocker", "a token was not written");
    if (last) {
        c->seq = NULL;
        g->n_running--;
        if (c->index % g->q.n == 0)
            g->usage.cached_tokens += cached_tokens;
    }
    if (g->q.stream)
        put_chunk(c, last ? "length" : NULL);
    if (g->n_running == 0)
        end(g);
}

uint32_t weir_mock_gen_next(void *arg, void *user, uint32_t position) {
    const struct choice *c = user;
    (void)arg;
    return weir_mock_text_token(&c->text, position);
}

struct weir_span weir_mock_gen_salt(void *user) {
    const struct choice *c = user;
    return c->gen->q.cache_salt;
}

/* ---- start and end ------------------------------------------------------------------------ */

static bool refuse_param(struct weir_mock_gen *g, int status, const char *type, const char *param,
                         const char *message) {
    weir_mock_http_error(g->http, g->x, status, type, param, message);
    return false;
}

static bool refuse(struct weir_mock_gen *g, int status, const char *type, const char *message) {
    return refuse_param(g, status, type, NULL, message);
}

static bool pick_rank(struct weir_mock_gen *g) {
    struct weir_mock_http *h = g->http;
    struct weir_span text =
        weir_http_header_get(weir_http_exchange_request(g->x), "x-data-parallel-rank");
    uint64_t rank;
    if (text.data == NULL)
        rank = h->next_rank++ % h->n_ranks;
    else if (!weir_span_u64(text, &rank) || rank >= h->n_ranks)
        return refuse(g, 400, "BadRequestError", "X-data-parallel-rank is out of range");
    g->rank = h->ranks[rank].rank;
    return true;
}

static bool add_sequence(struct weir_mock_gen *g, struct choice *c, struct weir_ids prompt,
                         uint32_t max_tokens) {
    struct weir_span salt = g->q.cache_salt;
    struct weir_sequence_config sc = {.prompt = prompt.ids,
                                      .n_prompt = (uint32_t)prompt.n,
                                      .max_tokens = max_tokens,
                                      .hash_seed = kvi_seed(NULL, 0, salt.data, salt.len),
                                      .kv_received = g->kv_received,
                                      .user = c};
    enum weir_status st = weir_mock_rank_add(g->rank, &sc, &c->seq);
    if (st == WEIR_OK) {
        g->n_running++;
        return true;
    }
    return refuse(g, st == WEIR_LIMIT ? 503 : 400,
                  st == WEIR_LIMIT ? "ServiceUnavailableError" : "BadRequestError",
                  st == WEIR_TOO_LARGE ? "the prompt is longer than the model allows"
                                       : weir_status_text(st));
}

/* vLLM refuses an answer that is longer than its model by itself, SGLang one that is with its
 * prompt. */
static bool fits(struct weir_mock_gen *g, size_t n_prompt, int64_t max_tokens) {
    bool vllm = weir_mock_http_vllm(g->http);
    int64_t room = weir_mock_http_model_len(g->http), all = (int64_t)n_prompt;
    char text[256];
    if (max_tokens <= (vllm || all > room ? room : room - all))
        return true;
    if (vllm)
        snprintf(text, sizeof(text),
                 "max_tokens=%" PRIi64 " cannot be greater than max_model_len=%" PRIi64
                 ". Please request fewer output tokens.",
                 max_tokens, room);
    else
        snprintf(text, sizeof(text),
                 "Requested token count exceeds the model's maximum context length of %" PRIi64
                 " tokens: %" PRIi64 " of the prompt and %" PRIi64 " for the completion.",
                 room, all, max_tokens);
    return refuse_param(g, 400, "BadRequestError", "max_tokens", text);
}

static bool add_sequences(struct weir_mock_gen *g) {
    struct weir_mock_http *h = g->http;
    bool chat = g->q.kind == WEIR_OPENAI_CHAT;
    size_t n_prompts = chat ? 1 : g->q.n_prompts;
    int64_t max = g->q.prep.stop.max_tokens;
    uint32_t max_tokens =
        max > 0 && max < UINT32_MAX / 4 ? (uint32_t)max : h->config.default_max_tokens;
    if (h->config.prefill && !weir_mock_http_vllm(h))
        max_tokens = 1;
    if (n_prompts * g->q.n > MAX_CHOICES)
        return refuse(g, 400, "BadRequestError", "too many choices");
    g->choices = weir_arena_zalloc(&g->arena, n_prompts * g->q.n * sizeof(*g->choices));
    if (g->choices == NULL)
        return refuse(g, 500, "InternalServerError", "out of memory");
    for (size_t p = 0; p < n_prompts; p++) {
        struct weir_ids ids;
        if (weir_mock_http_tokens(h, weir_http_exchange_request(g->x)->body,
                                  chat ? NULL : &g->q.prompts[p], false, true, &g->arena,
                                  &ids) != WEIR_OK)
            return refuse(g, 400, "BadRequestError", "the prompt cannot be made");
        if (!fits(g, ids.n, max))
            return false;
        g->usage.prompt_tokens += ids.n;
        for (unsigned k = 0; k < g->q.n; k++) {
            struct choice *c = &g->choices[g->n_choices];
            c->gen = g;
            c->index = g->n_choices++;
            c->text = (struct weir_mock_text){
                .vocab = wtok_vocab_size(h->config.tok),
                .bytes = h->config.bytes_text,
                .seed = (g->q.prep.sampling.has_seed ? (uint64_t)g->q.prep.sampling.seed : 0) +
                        c->index * 37};
            wtok_stream_init(&c->decoder, h->config.tok, g->q.prep.output.skip_special_tokens == 1);
            weir_buf_init(&c->out, ANSWER_MAX);
            if (!add_sequence(g, c, ids, max_tokens))
                return false;
        }
    }
    return true;
}

static bool read_body(struct weir_mock_gen *g) {
    static const struct weir_openai_rules rules = {.ignore_unknown_fields = true,
                                                   .any_strict_tool = true};
    struct weir_openai_error error = {0};
    enum weir_openai_kind kind = g->q.kind;
    char text[512];
    enum weir_status st = weir_openai_parse(kind, weir_http_exchange_request(g->x)->body, &rules,
                                            &g->arena, &g->q, &error);
    g->q.kind = kind;
    if (st == WEIR_NOMEM)
        return refuse(g, 500, "InternalServerError", "out of memory");
    if (st != WEIR_OK) {
        snprintf(text, sizeof(text), "%.*s", WEIR_SPAN_ARG(error.message));
        return refuse(g, error.http_status, "BadRequestError", text);
    }
    /* SGLang takes any name. */
    if (!weir_mock_http_vllm(g->http) || weir_span_eqz(g->q.model, g->http->config.model))
        return true;
    snprintf(text, sizeof(text), "The model `%.*s` does not exist.", WEIR_SPAN_ARG(g->q.model));
    return refuse_param(g, 404, "NotFoundError", "model", text);
}

static void read_params(struct weir_json *j, bool *remote_decode, bool *remote_prefill) {
    struct weir_json_str key;
    if (weir_json_peek(j) != WEIR_JSON_OBJECT) {
        weir_json_skip(j, NULL);
        return;
    }
    weir_json_object_enter(j);
    while (weir_json_object_next(j, &key)) {
        bool *to = weir_json_str_eqz(key, "do_remote_decode")    ? remote_decode
                   : weir_json_str_eqz(key, "do_remote_prefill") ? remote_prefill
                                                                 : NULL;
        if (to == NULL || weir_json_peek(j) == WEIR_JSON_NULL)
            weir_json_skip(j, NULL);
        else
            weir_json_bool(j, to);
    }
}

/* SGLang's answers have the caller's id when there is one; one longer than ours is not taken. */
static void read_rid(struct weir_mock_gen *g, struct weir_json *j) {
    struct weir_json_str text;
    if (weir_json_peek(j) != WEIR_JSON_STRING) {
        weir_json_skip(j, NULL);
        return;
    }
    struct weir_span rid =
        weir_json_string(j, &text) ? weir_json_text(text, &g->arena) : weir_span(NULL, 0);
    if (rid.len < sizeof(g->id))
        snprintf(g->id, sizeof(g->id), "%.*s", WEIR_SPAN_ARG(rid));
}

/* The members by which two engines find each other, in either engine's words, and the request's
 * id. */
static bool read_split(struct weir_mock_gen *g) {
    const struct weir_mock_http_config *c = &g->http->config;
    bool vllm = weir_mock_http_vllm(g->http), decode = false, prefill = false, room = false;
    struct weir_json j;
    struct weir_json_str key;
    weir_json_init(&j, weir_http_exchange_request(g->x)->body, 128);
    if (!weir_json_object_enter(&j))
        return true;
    while (weir_json_object_next(&j, &key)) {
        if (vllm && weir_json_str_eqz(key, "kv_transfer_params")) {
            read_params(&j, &decode, &prefill);
            continue;
        }
        if (!vllm && weir_json_str_eqz(key, "rid")) {
            read_rid(g, &j);
            continue;
        }
        room |= weir_json_str_eqz(key, "bootstrap_room") && weir_json_peek(&j) != WEIR_JSON_NULL;
        weir_json_skip(&j, NULL);
    }
    g->holds = vllm && decode;
    g->kv_received = vllm ? prefill : c->decode;
    if (!vllm && (c->prefill || c->decode) && !room)
        return refuse(g, 400, "BadRequestError",
                      "Disaggregated request received without bootstrap room id");
    return true;
}

/* True when a fault took the request. */
static bool inject_fault(struct weir_mock_gen *g) {
    enum weir_mock_fault fault = weir_mock_fault(g->http->config.faults);
    if (fault == WEIR_MOCK_FAULT_FAIL)
        (void)refuse(g, 500, "InternalServerError", "injected failure (--fail-rate)");
    return fault != WEIR_MOCK_FAULT_NONE;
}

static void cancel(struct weir_mock_gen *g) {
    for (uint32_t i = 0; i < g->n_choices; i++) {
        if (g->choices[i].seq != NULL)
            weir_mock_rank_cancel(g->rank, g->choices[i].seq);
        g->choices[i].seq = NULL;
    }
    g->n_running = 0;
}

/* vLLM puts the caller's id, or a random one, behind a word; SGLang's own have 32 hex digits. */
static void make_id(struct weir_mock_gen *g) {
    struct weir_span own = weir_http_header_get(weir_http_exchange_request(g->x), "x-request-id");
    const char *word = g->q.kind == WEIR_OPENAI_CHAT ? "chatcmpl-" : "cmpl-";
    char uuid[37];
    if (g->id[0] != '\0')
        return;
    weir_rng_uuid(weir_loop_rng(g->http->loop), uuid);
    if (!weir_mock_http_vllm(g->http)) {
        size_t n = 0;
        for (const char *c = uuid; *c != '\0'; c++)
            if (*c != '-')
                g->id[n++] = *c;
        g->id[n] = '\0';
        return;
    }
    if (own.data == NULL || own.len > 64)
        own = weir_span(uuid, 36);
    snprintf(g->id, sizeof(g->id), "%s%.*s", word, WEIR_SPAN_ARG(own));
}

static void fill_head(struct weir_mock_gen *g) {
    make_id(g);
    g->head = (struct weir_answer_head){.kind = g->q.kind,
                                        .id = weir_span_z(g->id),
                                        .model = g->q.model,
                                        .created_s = weir_wall_ms() / 1000};
}

void weir_mock_gen_start(struct weir_mock_http *h, struct weir_http_exchange *x,
                         enum weir_openai_kind kind) {
    struct weir_mock_gen *g = weir_calloc(1, sizeof(*g));
    if (g == NULL) {
        weir_mock_http_error(h, x, 500, "InternalServerError", NULL, "out of memory");
        return;
    }
    g->http = h;
    g->x = x;
    g->q.kind = kind;
    weir_arena_init(&g->arena, ARENA_MAX);
    weir_list_push_back(&h->requests, &g->node);
    h->n_requests++;
    weir_http_exchange_set_user(x, g);
    if (inject_fault(g) || !read_body(g) || !read_split(g) || !pick_rank(g))
        return;
    fill_head(g);
    if (!add_sequences(g)) {
        cancel(g);
        return;
    }
    if (g->q.stream)
        weir_http_stream_begin(x, 200, "text/event-stream; charset=utf-8", NULL, 0);
}

static bool is_named(const struct weir_mock_gen *g, struct weir_span id) {
    const char *own = weir_mock_http_vllm(g->http) ? strchr(g->id, '-') : NULL;
    return weir_span_eqz(id, g->id) || (own != NULL && weir_span_eqz(id, own + 1));
}

void weir_mock_gen_abort(struct weir_mock_http *h, struct weir_span id, bool all) {
    WEIR_LIST_FOREACH(it, &h->requests) {
        struct weir_mock_gen *g = WEIR_CONTAINER_OF(it, struct weir_mock_gen, node);
        if (g->n_running == 0 || (!all && !is_named(g, id)))
            continue;
        for (uint32_t i = 0; i < g->n_choices; i++) {
            struct choice *c = &g->choices[i];
            if (c->seq == NULL)
                continue;
            weir_mock_rank_cancel(g->rank, c->seq);
            c->seq = NULL;
            c->aborted = true;
            if (g->q.stream)
                put_chunk(c, "abort");
        }
        g->n_running = 0;
        end(g);
    }
}

void weir_mock_gen_leave(struct weir_mock_http *h) {
    WEIR_LIST_FOREACH(it, &h->requests) {
        struct weir_mock_gen *g = WEIR_CONTAINER_OF(it, struct weir_mock_gen, node);
        cancel(g);
        weir_list_remove(&g->node);
        g->http = NULL;
    }
}

void weir_mock_gen_done(struct weir_mock_gen *g) {
    cancel(g);
    for (uint32_t i = 0; i < g->n_choices; i++)
        weir_buf_fini(&g->choices[i].out);
    if (g->http != NULL) {
        weir_list_remove(&g->node);
        g->http->n_requests--;
    }
    weir_arena_fini(&g->arena);
    weir_free(g);
}
