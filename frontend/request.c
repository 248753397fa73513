/*
 * Happy path: parse and validate → model → load check → render → tokenize → hash → one leg a prompt
 * → items come back (leg.c, output.c) → last leg over → answer ends → on_done frees everything.
 * Failure modes: a refusal before the first byte becomes its HTTP status; a failure after it
 * becomes an error event and [DONE]. A client that leaves frees every leg at once. The request
 * lives in the exchange's user pointer; only on_done frees it.
 */
#include "base/blake3.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "frontend/request_priv.h"
#include "kvindex/kvi.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *weir_request_error_type(int http_status) {
    switch (http_status) {
    case 404:
        return "not_found";
    case 499:
        return "cancelled";
    case 501:
        return "not_implemented";
    case 503:
        return "unavailable";
    case 504:
        return "response_timeout";
    case 529:
        return "overload";
    default:
        return http_status < 500 ? "validation" : "internal";
    }
}

/* ---- gauges ------------------------------------------------------------------------------- */

static void count_in(struct weir_request *r) {
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    r->counted = r->queued = true;
    weir_metric_inc(m->inflight);
    weir_metric_inc(m->active);
    weir_metric_inc(m->queued);
    atomic_fetch_add_explicit(&r->fl->app->n_inference, 1, memory_order_relaxed);
}

static void leave_queue(struct weir_request *r) {
    if (r->queued)
        weir_metric_dec(weir_model_info(r->model)->metrics.queued);
    r->queued = false;
}

static void count_out(struct weir_request *r) {
    const struct weir_front_model_metrics *m = &weir_model_info(r->model)->metrics;
    uint64_t tokens = 0;
    leave_queue(r);
    weir_metric_dec(m->inflight);
    weir_metric_dec(m->active);
    weir_metric_observe(m->duration, (double)(weir_now_ns() - r->start_ns) / 1e9);
    for (size_t i = 0; i < r->n_legs; i++)
        tokens += r->legs[i].n_tokens;
    if (tokens > 0)
        weir_metric_observe(m->output_tokens, (double)tokens);
    atomic_fetch_sub_explicit(&r->fl->app->n_inference, 1, memory_order_relaxed);
}

/* ---- ending ------------------------------------------------------------------------------- */

void weir_request_fail(struct weir_request *r, int http_status, struct weir_span message,
                       const char *error_type) {
    if (r->answered)
        return;
    r->error_type = error_type;
    r->status = http_status;
    for (size_t i = 0; i < r->n_legs; i++)
        weir_leg_stop(&r->legs[i], false);
    r->answered = true;
    weir_timer_stop(&r->keep_alive);
    if (r->committed)
        weir_output_error(r, http_status, message);
    else
        weir_front_refuse(r->fl, r->x, http_status, message, r->details, r->retry_after_s);
}

void weir_request_leg_over(struct weir_request *r) {
    if (--r->n_open > 0 || r->answered)
        return;
    r->answered = true;
    r->error_type = "";
    r->status = 200;
    weir_timer_stop(&r->keep_alive);
    weir_output_finish(r);
}

void weir_request_abort(struct weir_request *r) {
    if (r->answered)
        return;
    r->answered = true;
    r->error_type = "cancelled";
    r->status = 499;
    for (size_t i = 0; i < r->n_legs; i++)
        weir_leg_stop(&r->legs[i], false);
    if (r->model != NULL)
        weir_front_count_cancelled(r->fl->app->metrics, weir_model_info(r->model)->name,
                                   r->endpoint, r->q.stream);
}

static void log_access(const struct weir_request *r) {
    uint64_t tokens = 0;
    if (!weir_log_on(WEIR_LOG_INFO, "access"))
        return;
    for (size_t i = 0; i < r->n_legs; i++)
        tokens += r->legs[i].n_tokens;
    double ttft_ms = r->first_token_ns > 0 ? (double)(r->first_token_ns - r->start_ns) / 1e6 : -1;
    char worker[WEIR_U64_TEXT]; /* beyond what a double holds */
    size_t n_worker = weir_u64_text(r->n_legs > 0 ? r->legs[0].worker_id : 0, worker);
    struct weir_log_field fields[] = {
        WEIR_LOG_STR("request_id", weir_span_z(r->uuid)),
        WEIR_LOG_STR("model", r->model != NULL ? weir_span_z(weir_model_info(r->model)->name)
                                               : WEIR_SPAN_LIT("unknown")),
        WEIR_LOG_STR("endpoint", weir_span_z(r->endpoint == WEIR_FRONT_CHAT ? "chat_completions"
                                                                            : "completions")),
        WEIR_LOG_STR("request_type", weir_span_z(r->q.stream ? "stream" : "unary")),
        WEIR_LOG_NUM("status", r->status),
        WEIR_LOG_STR("error_type", weir_span_z(r->error_type)),
        WEIR_LOG_NUM("elapsed_ms", (double)(weir_now_ns() - r->start_ns) / 1e6),
        WEIR_LOG_NUM("input_tokens", r->prompt_tokens),
        WEIR_LOG_NUM("output_tokens", tokens),
        WEIR_LOG_NUM("ttft_ms", ttft_ms),
        WEIR_LOG_NUM("avg_itl_ms", r->itl_n > 0 ? r->itl_sum * 1e3 / (double)r->itl_n : -1),
        WEIR_LOG_STR("worker_id", weir_span(worker, n_worker)),
        WEIR_LOG_NUM("overlap_blocks", r->n_legs > 0 ? r->legs[0].overlap_blocks : 0)};
    WEIR_LOG_FIELDS(WEIR_LOG_INFO, "access", fields, "request completed");
}

void weir_request_done(struct weir_request *r) {
    for (size_t i = 0; i < r->n_legs; i++) {
        weir_leg_stop(&r->legs[i], false);
        weir_buf_fini(&r->legs[i].emitted);
        for (unsigned k = 0; k < r->legs[i].n_choices; k++)
            weir_output_destroy_choice(&r->legs[i].choices[k]);
    }
    weir_timer_stop(&r->keep_alive);
    if (r->counted) {
        count_out(r);
        if (*r->error_type == '\0')
            weir_metric_inc(weir_model_info(r->model)->metrics.succeeded[r->endpoint][r->q.stream]);
        else
            weir_front_count_failed(r->fl->app->metrics, weir_model_info(r->model)->name,
                                    r->endpoint, r->q.stream, r->error_type);
    } else {
        weir_front_count_failed(r->fl->app->metrics, NULL, r->endpoint, r->q.stream, r->error_type);
    }
    log_access(r);
    weir_model_unref(r->model);
    weir_buf_fini(&r->out);
    weir_arena_fini(&r->arena);
    weir_http_exchange_set_user(r->x, NULL);
    weir_free(r);
}

/* ---- keep-alive comments and back-pressure ------------------------------------------------- */

static void arm_keep_alive(struct weir_request *r) {
    if (weir_timer_start(&r->keep_alive, r->fl->app->keep_alive_ms) != WEIR_OK)
        WEIR_LOG(WEIR_LOG_WARN, "http", "out of memory: no more keep-alive comments for a stream");
}

/* Silence for so long that a proxy may give up: the head of the answer has to go out too. */
static void on_keep_alive(void *arg) {
    struct weir_request *r = arg;
    if (r->answered || weir_output_commit(r) != WEIR_OK ||
        weir_http_stream_write(r->x, WEIR_SPAN_LIT(":\n\n")) != WEIR_OK)
        return;
    arm_keep_alive(r);
}

void weir_request_writable(struct weir_request *r) {
    if (!r->paused)
        return;
    r->paused = false;
    for (size_t i = 0; i < r->n_legs; i++)
        if (r->legs[i].call != NULL)
            weir_plane_call_resume(r->legs[i].call);
    for (size_t i = 0; i < r->n_legs; i++)
        if (r->legs[i].relay != NULL)
            weir_relay_pause(r->legs[i].relay, false);
}

/* ---- routing headers (shared spec "frontend" 2.5) ------------------------------------------ */

static bool header_u64(const struct weir_http_request *h, const char *const *names, uint64_t *ret) {
    for (; *names != NULL; names++) {
        struct weir_span v = weir_http_header_get(h, *names);
        if (v.data != NULL && weir_span_u64(weir_span_trim(v), ret))
            return true;
    }
    return false;
}

static bool put_salt(struct weir_request *r, struct weir_span tenant) {
    struct weir_buf out;
    struct weir_jsonw *w = &(struct weir_jsonw){0};
    weir_buf_init(&out, tenant.len * 6 + 64);
    weir_jsonw_init(w, &out);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "nvext");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "cache_salt");
    weir_jsonw_string(w, tenant);
    weir_jsonw_object_end(w);
    weir_jsonw_object_end(w);
    if (w->status == WEIR_OK)
        r->q.prep.extra_args = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    r->q.cache_salt = r->q.prep.routing.cache_salt = tenant;
    return r->q.prep.extra_args.data != NULL;
}

static void apply_priority(struct weir_routing_hints *k, struct weir_span value) {
    int64_t v = 0;
    if (value.data == NULL || !weir_span_i64(weir_span_trim(value), &v) || v < INT32_MIN ||
        v > INT32_MAX)
        return;
    k->set = k->has_priority = true;
    k->priority = (int32_t)v;
    k->priority_jump = v > 0 ? (double)v : 0;
}

/* Without configured classes the header is metadata like any other. */
static bool apply_class(struct weir_request *r, struct weir_span name) {
    const struct weir_queue_classes *c = &r->fl->app->queue_classes;
    if (!c->configured || name.data == NULL ||
        weir_queue_classes_find(c, weir_span_trim(name), &r->queue_class))
        return true;
    weir_request_fail(r, 400,
                      WEIR_SPAN_LIT("x-dynamo-meta-policy-class: there is no such policy class; "
                                    "--router-queue-class of the frontend names them"),
                      "validation");
    return false;
}

static void apply_session(struct weir_request *r, struct weir_span id) {
    struct weir_blake3 h;
    unsigned char hash[WEIR_BLAKE3_BYTES];
    if (id.len == 0 || r->fl->app->options.router_session_affinity_ttl_secs == WEIR_CONFIG_NONE)
        return;
    weir_blake3_init(&h);
    weir_blake3_update(&h, id);
    weir_blake3_final(&h, hash);
    memcpy(&r->session, hash, sizeof(r->session));
    r->has_session = true;
}

static bool apply_headers(struct weir_request *r) {
    static const char *const patience[] = {"x-weir-queue-timeout-ms", NULL};
    static const char *const strict[] = {"x-dynamo-request-strict-priority", NULL};
    static const char *const worker[] = {"x-dynamo-worker-instance-id", "x-worker-instance-id",
                                         NULL};
    static const char *const prefill[] = {"x-dynamo-prefill-instance-id", "x-prefill-instance-id",
                                          NULL};
    static const char *const rank[] = {"x-dynamo-dp-rank", "x-dp-rank", "x-data-parallel-rank",
                                       NULL};
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    struct weir_routing_hints *k = &r->q.prep.routing;
    uint64_t v = 0;
    if (header_u64(h, worker, &v)) {
        k->set = k->has_backend_instance_id = k->has_decode_worker_id = true;
        k->backend_instance_id = k->decode_worker_id = v;
    }
    if (header_u64(h, prefill, &v)) {
        k->set = k->has_prefill_worker_id = true;
        k->prefill_worker_id = v;
    }
    if (header_u64(h, rank, &v) && v <= UINT32_MAX) {
        k->set = true;
        k->dp_rank = (int64_t)v;
    }
    if (header_u64(h, strict, &v) && v <= UINT32_MAX) {
        k->set = true;
        k->strict_priority = (int64_t)v;
    }
    apply_priority(k, weir_http_header_get(h, "x-dynamo-request-priority"));
    apply_session(r, weir_http_header_get(h, "x-dynamo-session-id"));
    if (header_u64(h, patience, &v))
        r->queue_ms = v;
    if (!apply_class(r, weir_http_header_get(h, "x-dynamo-meta-policy-class")))
        return false;
    r->explain = weir_span_eqz(weir_http_header_get(h, "x-weir-explain"), "1");
    struct weir_span tenant = weir_http_header_get(h, "x-tenant-id");
    return tenant.len == 0 || put_salt(r, tenant);
}

/* Metadata headers are bounded; what they carry is not passed on yet. */
static bool metadata_fits(struct weir_request *r) {
    enum { MAX_ENTRIES = 64, MAX_BYTES = 64 << 10 };
    const char *prefix = r->fl->app->options.metadata_header;
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    size_t n = 0, bytes = 0, len = prefix != NULL ? strlen(prefix) : 0;
    for (size_t i = 0; len > 0 && i < h->n_headers; i++)
        if (h->headers[i].name.len > len &&
            weir_span_ieq(weir_span(h->headers[i].name.data, len), weir_span_z(prefix))) {
            n++;
            bytes += h->headers[i].name.len - len + h->headers[i].value.len;
        }
    if (n <= MAX_ENTRIES && bytes <= MAX_BYTES)
        return true;
    weir_request_fail(r, 431,
                      n > MAX_ENTRIES
                          ? WEIR_SPAN_LIT("metadata headers exceed the limit of 64 entries")
                          : WEIR_SPAN_LIT("metadata headers exceed the limit of 65536 bytes"),
                      "validation");
    return false;
}

/* ---- preparation --------------------------------------------------------------------------- */

static bool fail_memory(struct weir_request *r) {
    weir_request_fail(r, 503, WEIR_SPAN_LIT("Service temporarily unavailable"), "unavailable");
    return false;
}

/* NUL bytes mean nothing to a model; the reference system drops them before it encodes. */
static bool without_nul(struct weir_request *r, struct weir_span *text) {
    if (text->len == 0 || memchr(text->data, '\0', text->len) == NULL)
        return true;
    char *copy = weir_arena_alloc(&r->arena, text->len);
    size_t n = 0;
    if (copy == NULL)
        return fail_memory(r);
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] != '\0')
            copy[n++] = text->data[i];
    *text = weir_span(copy, n);
    return true;
}

static bool encode(struct weir_request *r, struct weir_span text, unsigned flags,
                   struct weir_ids *ret) {
    if (!without_nul(r, &text))
        return false;
    const struct wtok *tok = weir_model_info(r->model)->tok;
    size_t room = wtok_encode_bound(tok, text.len), n = 0;
    uint64_t begin = weir_now_ns();
    uint32_t *ids = weir_arena_alloc(&r->arena, (room + 1) * sizeof(*ids));
    if (ids == NULL || wtok_encode(tok, text, flags, ids, room, &n) != WEIR_OK)
        return fail_memory(r);
    weir_front_observe_tokenize(r->fl->app->metrics, (double)(weir_now_ns() - begin) / 1e9);
    *ret = (struct weir_ids){ids, n};
    return true;
}

static void keep_tail(struct weir_request *r, struct weir_span text) {
    size_t n = text.len < sizeof(r->prompt_tail) ? text.len : sizeof(r->prompt_tail);
    if (n > 0)
        memcpy(r->prompt_tail, text.data + text.len - n, n);
    r->prompt_tail_len = n;
}

/* Tools that may not be called: an HTTP engine renders the request itself, vLLM with them and
 * SGLang without; for the request plane we render, and the operator says. */
static bool hides_tools(const struct weir_request *r, const struct weir_model_info *info) {
    if (info->engines)
        return info->flavour == WTOK_FLAVOUR_SGLANG;
    return r->fl->app->options.exclude_tools_when_tool_choice_none;
}

static enum weir_status render(struct weir_request *r, struct weir_buf *out, struct weir_err *err) {
    const struct weir_model_info *info = weir_model_info(r->model);
    bool hide_tools = r->q.tool_choice_none && hides_tools(r, info);
    struct wtok_chat chat = {.messages = r->q.messages,
                             .tools = hide_tools ? weir_span(NULL, 0) : r->q.tools,
                             .template_args = r->q.template_args,
                             .add_generation_prompt = r->q.add_generation_prompt,
                             .continue_final_message = r->q.continue_final_message,
                             .flavour = info->flavour};
    uint64_t begin = weir_now_ns();
    enum weir_status st = wtok_render_chat(info->tok, &chat, out, err);
    weir_front_observe_template(r->fl->app->metrics, (double)(weir_now_ns() - begin) / 1e9);
    return st;
}

static bool prepare_chat(struct weir_request *r, struct weir_ids *ret) {
    struct weir_buf text;
    struct weir_err err = {.text = ""};
    if (r->q.has_token_data) {
        *ret = r->q.token_data;
        return true;
    }
    weir_buf_init(&text, WEIR_REQUEST_ARENA);
    enum weir_status st = render(r, &text, &err);
    bool ok = st == WEIR_OK && encode(r, weir_buf_span(&text), WTOK_SPECIAL, ret);
    keep_tail(r, weir_buf_span(&text));
    if (ok && (r->q.extras & WEIR_ANNOTATE_FORMATTED_PROMPT) != 0)
        r->formatted_prompt = weir_arena_copy(&r->arena, weir_buf_span(&text));
    weir_buf_fini(&text);
    if (st == WEIR_INVALID)
        weir_request_fail(r, 400, weir_span_z(err.text), "validation");
    else if (st != WEIR_OK)
        fail_memory(r);
    return ok;
}

static bool prepare_prompt(struct weir_request *r, const struct weir_prompt *p,
                           struct weir_ids *ret) {
    if (p->kind == WEIR_PROMPT_TEXT)
        return encode(r, p->text, 0, ret);
    uint32_t vocab = wtok_vocab_size(weir_model_info(r->model)->tok);
    for (size_t i = 0; i < p->ids.n; i++)
        if (p->ids.ids[i] >= vocab) {
            char text[128];
            int n = snprintf(text, sizeof(text),
                             "Prompt token id %u is outside of the model's vocabulary of %u",
                             p->ids.ids[i], vocab);
            weir_request_fail(r, 400, weir_arena_copy(&r->arena, weir_span(text, (size_t)n)),
                              "validation");
            return false;
        }
    *ret = p->ids;
    return true;
}

bool weir_request_hash_leg(struct weir_request *r, struct weir_leg *leg) {
    const struct weir_model_info *info = weir_model_info(r->model);
    size_t n = kvi_block_count(leg->prompt.n, info->block_size, info->eagle);
    struct weir_span salt = r->q.cache_salt;
    uint64_t seed = kvi_seed(NULL, 0, salt.data, salt.len);
    leg->local = weir_arena_alloc(&r->arena, (n + 1) * sizeof(*leg->local));
    leg->sequence = weir_arena_alloc(&r->arena, (n + 1) * sizeof(*leg->sequence));
    if (leg->local == NULL || leg->sequence == NULL)
        return fail_memory(r);
    uint64_t begin = weir_now_ns();
    leg->n_blocks = kvi_hash_and_chain(leg->prompt.ids, leg->prompt.n, info->block_size, seed,
                                       info->eagle, leg->local, leg->sequence, n);
    weir_front_observe_hashing(r->fl->app->metrics, (double)(weir_now_ns() - begin) / 1e6);
    return true;
}

static bool init_choices(struct weir_request *r, struct weir_leg *leg, size_t leg_index) {
    const struct weir_stop_conditions *stop = &r->q.prep.stop;
    leg->n_choices = leg->n_open = r->q.n;
    leg->choices = weir_arena_zalloc(&r->arena, leg->n_choices * sizeof(*leg->choices));
    if (leg->choices == NULL) {
        leg->n_choices = 0;
        return fail_memory(r);
    }
    for (unsigned k = 0; k < leg->n_choices; k++) {
        struct weir_choice *c = &leg->choices[k];
        c->index = (unsigned)leg_index * r->q.n + k;
        c->stop_index = -1;
        c->stop_id = -1;
        wtok_stream_init(&c->decoder, weir_model_info(r->model)->tok, r->q.skip_special_tokens);
        weir_buf_init(&c->text, WEIR_OUT_MAX);
        weir_buf_init(&c->logprobs, WEIR_OUT_MAX);
        weir_buf_init(&c->frame_bytes, WEIR_OUT_MAX);
        if (stop->stop.n > 0 && wtok_stop_create(stop->stop.items, stop->stop.n,
                                                 r->q.prep.sampling.include_stop_str_in_output == 1,
                                                 &c->stop) != WEIR_OK)
            return fail_memory(r);
        if (weir_parsed_create(r, &c->parsed) != WEIR_OK)
            return fail_memory(r);
    }
    return true;
}

static bool prepare_legs(struct weir_request *r) {
    size_t n = r->q.kind == WEIR_OPENAI_CHAT ? 1 : r->q.n_prompts;
    const struct weir_model_info *info = weir_model_info(r->model);
    r->legs = weir_arena_zalloc(&r->arena, n * sizeof(*r->legs));
    if (r->legs == NULL)
        return fail_memory(r);
    for (size_t i = 0; i < n; i++) {
        struct weir_leg *leg = &r->legs[i];
        weir_leg_init(leg, r);
        r->n_legs = i + 1;
        if (!(r->q.kind == WEIR_OPENAI_CHAT ? prepare_chat(r, &leg->prompt)
                                            : prepare_prompt(r, &r->q.prompts[i], &leg->prompt)))
            return false;
        if (!weir_request_hash_leg(r, leg) || !init_choices(r, leg, i))
            return false;
        r->prompt_tokens += leg->prompt.n;
        if (info->context_length > 0 && leg->prompt.n >= info->context_length) {
            char text[256];
            int len = snprintf(text, sizeof(text),
                               "This model's maximum context length is %u tokens. However, your %s "
                               "resulted in %zu tokens. Please reduce the length of the %s.",
                               info->context_length,
                               r->q.kind == WEIR_OPENAI_CHAT ? "messages" : "prompt", leg->prompt.n,
                               r->q.kind == WEIR_OPENAI_CHAT ? "messages" : "prompt");
            weir_request_fail(r, 400, weir_arena_copy(&r->arena, weir_span(text, (size_t)len)),
                              "validation");
            return false;
        }
    }
    return true;
}

/* What routing wants to know of a request that an engine will read for itself. A prompt that cannot
 * be made here goes without: the engine says what is wrong with it. */
static bool prepare_relay(struct weir_request *r) {
    const struct wtok *tok = weir_model_info(r->model)->tok;
    struct weir_leg *leg = weir_arena_zalloc(&r->arena, sizeof(*leg));
    if (leg == NULL)
        return fail_memory(r);
    weir_leg_init(leg, r);
    r->legs = leg;
    r->n_legs = r->n_open = 1;
    int mode = r->fl->app->options.router_mode;
    bool blind = mode == WEIR_OPT_ROUTER_MODE_ROUND_ROBIN || mode == WEIR_OPT_ROUTER_MODE_RANDOM;
    if (r->opaque || r->q.has_media || blind)
        return true;
    if (r->q.kind == WEIR_OPENAI_COMPLETION && r->q.n_prompts > 0 &&
        r->q.prompts[0].kind == WEIR_PROMPT_IDS) {
        leg->prompt = r->q.prompts[0].ids;
    } else if (tok != NULL && r->q.kind == WEIR_OPENAI_COMPLETION && r->q.n_prompts > 0) {
        if (!encode(r, r->q.prompts[0].text, WTOK_SPECIAL | WTOK_ADD_SPECIAL, &leg->prompt))
            return false;
    } else if (tok != NULL && r->q.kind == WEIR_OPENAI_CHAT) {
        struct weir_err err = {.text = ""};
        struct weir_buf text;
        weir_buf_init(&text, WEIR_REQUEST_ARENA);
        bool ok = render(r, &text, &err) != WEIR_OK ||
                  encode(r, weir_buf_span(&text), WTOK_SPECIAL, &leg->prompt);
        weir_buf_fini(&text);
        if (!ok)
            return false;
    }
    r->prompt_tokens = leg->prompt.n;
    if (leg->prompt.n > 0)
        weir_metric_observe(weir_model_info(r->model)->metrics.input_tokens, (double)leg->prompt.n);
    return leg->prompt.n == 0 || weir_request_hash_leg(r, leg);
}

/* End-of-sequence ids go to the worker, unless the client wants to read on behind them. */
static void fill_prep(struct weir_request *r) {
    size_t n = 0;
    struct weir_prep_request *p = &r->q.prep;
    p->model = weir_span_z(weir_model_info(r->model)->name);
    const uint32_t *eos = wtok_eos_ids(weir_model_info(r->model)->tok, &n);
    if (p->stop.ignore_eos != 1) {
        p->eos_token_ids = (struct weir_ids){eos, n};
        p->stop.stop_token_ids_hidden = p->eos_token_ids;
    } else {
        p->eos_token_ids = p->stop.stop_token_ids_hidden = (struct weir_ids){eos, 0};
    }
}

/* ---- admission ----------------------------------------------------------------------------- */

static bool find_model(struct weir_request *r) {
    struct weir_app *app = r->fl->app;
    r->model = weir_models_find(app->models, r->q.model);
    if (r->model == NULL) {
        weir_request_fail(r, 404, WEIR_SPAN_LIT("Model not found"), "not_found");
        return false;
    }
    const struct weir_model_info *info = weir_model_info(r->model);
    if (r->q.kind == WEIR_OPENAI_CHAT ? !info->chat : !info->completions) {
        weir_request_fail(r, 404, WEIR_SPAN_LIT("Model not found"), "not_found");
        return false;
    }
    if (!weir_model_ready(r->model)) {
        char text[512];
        int n =
            snprintf(text, sizeof(text),
                     "Model `%s` is not ready to serve requests yet. The deployment may still be "
                     "starting up or is not fully provisioned. Please retry shortly.",
                     info->name);
        weir_request_fail(r, 503,
                          weir_arena_copy(&r->arena, weir_span(text, n < 0 ? 0 : (size_t)n)),
                          "unavailable");
        return false;
    }
    return true;
}

/* What the request asks of its worker and no worker here can give. */
static bool can_serve(struct weir_request *r) {
    if (weir_model_info(r->model)->engines)
        return true;
    if (r->q.has_media) {
        weir_request_fail(r, 400,
                          WEIR_SPAN_LIT("This model takes text only: message parts of type "
                                        "image_url, video_url, audio_url or input_audio are not "
                                        "supported"),
                          "validation");
        return false;
    }
    if (r->q.has_required_taints) {
        weir_request_fail(r, 400,
                          WEIR_SPAN_LIT("nvext.routing_constraints.required_taints: no worker has "
                                        "the required taints"),
                          "validation");
        return false;
    }
    return true;
}

/* A body that we would refuse may be fine for its engine, and if not, the engine says it better:
 * all that is needed is which model it is for. */
static bool peek(struct weir_request *r) {
    struct weir_json j;
    struct weir_json_str key, model;
    struct weir_openai_request q = {.kind = r->q.kind, .n = 1};
    weir_json_init(&j, weir_http_exchange_request(r->x)->body, 128);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        enum weir_json_type type = weir_json_peek(&j);
        if (weir_json_str_eqz(key, "model") && type == WEIR_JSON_STRING) {
            if (weir_json_string(&j, &model))
                q.model = weir_json_text(model, &r->arena);
        } else {
            if (weir_json_str_eqz(key, "stream"))
                q.stream = type == WEIR_JSON_TRUE;
            weir_json_skip(&j, NULL);
        }
    }
    if (!weir_json_finish(&j) || q.model.len == 0)
        return false;
    struct weir_model *model_found = weir_models_find(r->fl->app->models, q.model);
    bool engines = model_found != NULL && weir_model_info(model_found)->engines;
    weir_model_unref(model_found);
    if (!engines)
        return false;
    q.prep.routing.dp_rank = -1;
    r->q = q;
    r->opaque = true;
    return true;
}

static bool parse(struct weir_request *r) {
    struct weir_openai_error error = {0};
    enum weir_status st = weir_openai_parse(r->q.kind, weir_http_exchange_request(r->x)->body,
                                            &r->fl->app->rules, &r->arena, &r->q, &error);
    if (st == WEIR_OK) {
        if (r->q.repaired)
            WEIR_LOG(WEIR_LOG_WARN, "http",
                     "a request body held raw control characters or broken UTF-8 "
                     "and was mended");
        return true;
    }
    if (st == WEIR_NOMEM)
        return fail_memory(r);
    if (r->fl->app->engine_mode && peek(r))
        return true;
    weir_request_fail(r, error.http_status, error.message,
                      weir_request_error_type(error.http_status));
    return false;
}

static void make_ids(struct weir_request *r) {
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    struct weir_span own = weir_http_header_get(h, "x-dynamo-request-id");
    weir_rng_uuid(weir_loop_rng(r->fl->loop), r->uuid);
    bool uuid = own.len == 36;
    for (size_t i = 0; uuid && i < own.len; i++) {
        uint64_t ignored;
        uuid = i == 8 || i == 13 || i == 18 || i == 23
                   ? own.data[i] == '-'
                   : weir_span_hex64(weir_span(own.data + i, 1), &ignored);
    }
    if (uuid)
        memcpy(r->uuid, own.data, 36);
    struct weir_span kind =
        r->q.kind == WEIR_OPENAI_CHAT ? WEIR_SPAN_LIT("chatcmpl-") : WEIR_SPAN_LIT("cmpl-");
    memcpy(r->id, kind.data, kind.len);
    memcpy(r->id + kind.len, r->uuid, sizeof(r->uuid));
    r->traceparent = weir_http_header_get(h, "traceparent");
}

static bool admit(struct weir_request *r) {
    struct weir_app *app = r->fl->app;
    if (weir_front_draining(app)) {
        weir_request_fail(r, 503, WEIR_SPAN_LIT("Service is not ready"), "unavailable");
        return false;
    }
    enum weir_openai_kind kind = r->q.kind;
    if (!parse(r))
        return false;
    r->q.kind = kind;
    if (!metadata_fits(r) || !find_model(r) || !can_serve(r))
        return false;
    weir_metric_inc(weir_model_info(r->model)->metrics.started[r->endpoint][r->q.stream]);
    count_in(r);
    /* Nothing below needs tokens to be refused for load, so it is asked before they are made. */
    if (weir_router_all_busy(weir_model_info(r->model)->router)) {
        weir_front_count_rejected(app->metrics, weir_model_info(r->model)->name, r->endpoint);
        weir_request_fail(r, app->overload_status, WEIR_SPAN_LIT("Service temporarily overloaded"),
                          "overload");
        return false;
    }
    return true;
}

static struct weir_span reasoning_field(const struct weir_app *app) {
    return app->options.reasoning_field_name == WEIR_OPT_REASONING_FIELD_REASONING
               ? WEIR_SPAN_LIT("reasoning")
               : WEIR_SPAN_LIT("reasoning_content");
}

void weir_request_start(struct weir_front_loop *fl, struct weir_http_exchange *x,
                        enum weir_openai_kind kind) {
    struct weir_request *r = weir_calloc(1, sizeof(*r));
    if (r == NULL) {
        weir_front_error(fl, x, 503, "Service temporarily unavailable");
        return;
    }
    r->fl = fl;
    r->x = x;
    r->q.kind = kind;
    r->start_ns = weir_now_ns();
    r->endpoint = kind == WEIR_OPENAI_CHAT ? WEIR_FRONT_CHAT : WEIR_FRONT_COMPLETIONS;
    r->error_type = "internal";
    weir_arena_init(&r->arena, WEIR_REQUEST_ARENA);
    weir_buf_init(&r->out, WEIR_OUT_MAX);
    weir_timer_init(&r->keep_alive, fl->loop, on_keep_alive, r);
    weir_http_exchange_set_user(x, r);
    make_ids(r);
    if (!admit(r) || (!fl->app->options.disable_frontend_nvext && !apply_headers(r)) ||
        !(weir_model_info(r->model)->engines ? prepare_relay(r) : prepare_legs(r)))
        return;
    if (weir_model_info(r->model)->engines) {
        if (r->q.stream && fl->app->keep_alive_ms > 0)
            arm_keep_alive(r);
        weir_relay_start(&r->legs[0]);
        return;
    }
    if (weir_parsed_guide(r) != WEIR_OK) {
        fail_memory(r);
        return;
    }
    fill_prep(r);
    weir_metric_observe(weir_model_info(r->model)->metrics.input_tokens, (double)r->prompt_tokens);
    if (fl->app->options.enable_force_include_usage)
        r->q.include_usage = r->q.include_usage || r->q.stream;
    r->head = (struct weir_answer_head){.kind = kind,
                                        .id = weir_span_z(r->id),
                                        .model = weir_span_z(weir_model_info(r->model)->name),
                                        .created_s = weir_wall_ms() / 1000,
                                        .reasoning_field = reasoning_field(fl->app)};
    weir_front_observe_stage(fl->app->metrics, WEIR_FRONT_PREPROCESS,
                             (double)(weir_now_ns() - r->start_ns) / 1e9);
    if (r->q.stream && fl->app->keep_alive_ms > 0)
        arm_keep_alive(r);
    r->n_open = r->n_legs;
    for (size_t i = 0; i < r->n_legs && !r->answered; i++)
        weir_leg_start(&r->legs[i]);
}
