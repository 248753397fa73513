/*
 * Happy path: parse and validate → model → load check → render → tokenize → hash → one leg a prompt
 * → items come back (leg.c, output.c) → last leg over → answer ends → on_done frees everything.
 * Failure modes: a refusal before the first byte becomes its HTTP status; a failure after it
 * becomes an error event and [DONE]. A client that leaves frees every leg at once. The request
 * lives in the exchange's user pointer; only on_done frees it. What its headers say is
 * request_headers.c; render, tokenize and hash are request_prepare.c; what is counted is
 * request_figures.c.
 */
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "frontend/request_priv.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *weir_request_error_type(int http_status) {
    switch (http_status) {
    case 404:
        return "not_found";
    case 408:
        return "response_timeout";
    case 429:
        return "overload";
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
    if (r->warm != NULL)
        weir_warm_over(r);
    else if (r->committed)
        weir_output_error(r, http_status, message);
    else
        weir_front_refuse(r->fl, r->x, http_status, message, r->details, r->retry_after_s);
}

bool weir_request_fail_memory(struct weir_request *r) {
    weir_request_fail(r, 503, WEIR_SPAN_LIT("Service temporarily unavailable"), "unavailable");
    return false;
}

void weir_request_leg_over(struct weir_request *r) {
    if (--r->n_open > 0 || r->answered)
        return;
    r->answered = true;
    r->error_type = "";
    r->status = 200;
    weir_timer_stop(&r->keep_alive);
    if (r->warm != NULL)
        weir_warm_over(r);
    else if (r->embeddings != NULL)
        weir_embeddings_finish(r);
    else
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
    if (r->model != NULL && r->x != NULL)
        weir_front_count_cancelled(r->fl->app->metrics, weir_model_info(r->model)->name,
                                   r->endpoint, r->q.stream);
}

/* Requests that are over, with one block of their arena: the usual request allocates little. */
enum {
#if defined(__SANITIZE_ADDRESS__)
    SPARES = 0 /* so that the sanitizer sees what is used after its end */
#else
    SPARES = 64
#endif
};

static struct weir_request *take_spare(struct weir_front_loop *fl) {
    struct weir_request *r = fl->spares;
    if (r == NULL) {
        r = weir_calloc(1, sizeof(*r));
        if (r != NULL)
            weir_arena_init(&r->arena, WEIR_REQUEST_ARENA);
        return r;
    }
    fl->spares = r->next_spare;
    fl->n_spares--;
    struct weir_arena arena = r->arena;
    memset(r, 0, sizeof(*r));
    r->arena = arena;
    return r;
}

static void give_spare(struct weir_request *r) {
    struct weir_front_loop *fl = r->fl;
    if (fl->n_spares + 1 > SPARES) {
        weir_arena_fini(&r->arena);
        weir_free(r);
        return;
    }
    weir_arena_reset(&r->arena);
    r->next_spare = fl->spares;
    fl->spares = r;
    fl->n_spares++;
}

void weir_request_free_spares(struct weir_front_loop *fl) {
    while (fl->spares != NULL) {
        struct weir_request *r = fl->spares;
        fl->spares = r->next_spare;
        weir_arena_fini(&r->arena);
        weir_free(r);
    }
    fl->n_spares = 0;
}

void weir_request_done(struct weir_request *r) {
    for (size_t i = 0; i < r->n_legs; i++) {
        weir_leg_stop(&r->legs[i], false);
        weir_buf_fini(&r->legs[i].emitted);
        for (unsigned k = 0; k < r->legs[i].n_choices; k++)
            weir_output_destroy_choice(&r->legs[i].choices[k]);
    }
    weir_timer_stop(&r->keep_alive);
    weir_request_count_end(r);
    weir_model_unref(r->model);
    weir_output_translated_fini(r);
    weir_embeddings_stop(r);
    weir_buf_fini(&r->out);
    weir_buf_fini(&r->said);
    if (r->x != NULL)
        weir_http_exchange_set_user(r->x, NULL);
    give_spare(r);
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

/* ---- admission ----------------------------------------------------------------------------- */

/* `before`, the name, however long it is, and `after`. */
static bool fail_named(struct weir_request *r, int http_status, const char *before,
                       struct weir_span name, const char *after) {
    struct weir_buf text;
    weir_buf_init(&text, WEIR_REQUEST_ARENA);
    enum weir_status st = weir_buf_append_z(&text, before);
    if (st == WEIR_OK)
        st = weir_buf_append_span(&text, name);
    if (st == WEIR_OK)
        st = weir_buf_append_z(&text, after);
    struct weir_span words =
        st == WEIR_OK ? weir_arena_copy(&r->arena, weir_buf_span(&text)) : weir_span(NULL, 0);
    weir_buf_fini(&text);
    if (words.data == NULL)
        return weir_request_fail_memory(r);
    weir_request_fail(r, http_status, words, weir_request_error_type(http_status));
    return false;
}

static bool fail_not_found(struct weir_request *r) {
    if (r->endpoint == WEIR_FRONT_MESSAGES)
        return fail_named(r, 404, "Model '", r->q.model, "' not found");
    weir_request_fail(r, 404, WEIR_SPAN_LIT("Model not found"), "not_found");
    return false;
}

void weir_request_fail_not_ready(struct weir_request *r) {
    (void)fail_named(r, 503, "Model `", weir_span_z(weir_model_info(r->model)->name),
                     "` is not ready to serve requests yet. The deployment may still be starting "
                     "up or is not fully provisioned. Please retry shortly.");
}

static bool find_model(struct weir_request *r) {
    struct weir_app *app = r->fl->app;
    r->model = weir_models_find(app->models, r->q.model);
    if (r->model == NULL && weir_models_missed(app->models, r->q.model)) {
        weir_request_fail(r, 503,
                          WEIR_SPAN_LIT("All engines of this model are down. They are looked for "
                                        "all the time; please retry shortly."),
                          "unavailable");
        return false;
    }
    if (r->model == NULL)
        return fail_not_found(r);
    const struct weir_model_info *info = weir_model_info(r->model);
    if (r->q.kind == WEIR_OPENAI_CHAT         ? !info->chat
        : r->q.kind == WEIR_OPENAI_EMBEDDINGS ? !info->embeddings
                                              : !info->completions)
        return fail_not_found(r);
    bool ready = weir_model_ready(r->model);
    if (!ready && weir_model_failed(r->model)) {
        r->retry_after_s = WEIR_RETRY_NEVER;
        (void)fail_named(r, 503, "Model `", weir_span_z(info->name),
                         "` is not served: " WEIR_MODEL_FAILED ".");
    } else if (!ready) {
        weir_request_fail_not_ready(r);
    }
    return ready;
}

/* What the request asks of its worker and no worker here can give. */
static bool can_serve(struct weir_request *r) {
    if (weir_model_info(r->model)->engines && weir_request_is_translated(r) &&
        weir_request_only_asks(r)) {
        weir_request_fail(r, 501,
                          WEIR_SPAN_LIT("nvext.annotations: query_instance_id is not answered "
                                        "before HTTP engines: see /v1/router/explain"),
                          "not_implemented");
        return false;
    }
    if (weir_model_info(r->model)->engines)
        return true;
    if (r->q.has_media && !weir_request_take_media(r))
        return false;
    if (r->q.has_required_taints) {
        weir_request_fail(r, 400,
                          WEIR_SPAN_LIT("nvext.routing_constraints.required_taints: no worker has "
                                        "the required taints"),
                          "validation");
        return false;
    }
    return true;
}

/* The largest number of a prompt of ids, or of a list of these, as engines read it: 1e5 is an id,
 * too, and a text of digits is one where not all of the list are texts. So what is negative, or
 * such a text, is infinite. j: at its value, which is read. */
static double largest_id(struct weir_json *j, bool list) {
    double largest = 0, value;
    bool texts = false, others = false;
    if (weir_json_peek(j) == WEIR_JSON_NUMBER)
        return !weir_json_f64(j, &value) || value < 0 ? INFINITY : value;
    if (!list || weir_json_peek(j) != WEIR_JSON_ARRAY || !weir_json_array_enter(j)) {
        bool text = weir_json_peek(j) == WEIR_JSON_STRING;
        weir_json_skip(j, NULL);
        return text && !list ? INFINITY : 0;
    }
    while (weir_json_array_next(j)) {
        if (weir_json_peek(j) == WEIR_JSON_STRING) {
            texts = true;
            weir_json_skip(j, NULL);
        } else if (weir_json_peek(j) == WEIR_JSON_ARRAY && weir_json_array_enter(j)) {
            others = true;
            while (weir_json_array_next(j))
                largest = fmax(largest, largest_id(j, false));
        } else {
            others |= weir_json_peek(j) != WEIR_JSON_OBJECT;
            largest = fmax(largest, largest_id(j, false));
        }
    }
    return texts && others ? INFINITY : largest;
}

/* A body that we would refuse may be fine for its engine, and if not, the engine says it better:
 * all that is needed is which model it is for. The prompt of a chat is made of the body itself.
 * Engines end at ids that they do not have: those above 32 bits are no engine's, and the largest is
 * held to the model's vocabulary (weir_request_prepare_relay). */
static bool peek(struct weir_request *r) {
    struct weir_json j;
    struct weir_json_str key, text;
    struct weir_openai_request q = {.kind = r->q.kind, .n = 1};
    double largest = 0;
    weir_json_init(&j, weir_http_exchange_request(r->x)->body, 128);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return false;
    while (weir_json_object_next(&j, &key)) {
        enum weir_json_type type = weir_json_peek(&j);
        if (weir_json_str_eqz(key, "model") && type == WEIR_JSON_STRING) {
            if (weir_json_string(&j, &text))
                q.model = weir_json_text(text, &r->arena);
        } else if (weir_json_str_eqz(key, "cache_salt") && type == WEIR_JSON_STRING) {
            if (weir_json_string(&j, &text))
                q.cache_salt = weir_json_text(text, &r->arena);
        } else if ((q.kind == WEIR_OPENAI_COMPLETION && weir_json_str_eqz(key, "prompt")) ||
                   (q.kind == WEIR_OPENAI_EMBEDDINGS && weir_json_str_eqz(key, "input"))) {
            largest = fmax(largest, largest_id(&j, true));
            if (largest > UINT32_MAX)
                return false;
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
    r->opaque_id = (uint32_t)largest;
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
        return weir_request_fail_memory(r);
    if (r->fl->app->engine_mode && !weir_request_is_translated(r) && peek(r))
        return true;
    weir_request_fail(r, error.http_status, error.message,
                      weir_request_error_type(error.http_status));
    return false;
}

static void make_ids(struct weir_request *r) {
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    struct weir_span own = weir_http_header_get(h, "x-dynamo-request-id");
    /* Engines name their answers after it: log, explained decisions and answer then agree. */
    if (own.data == NULL && r->fl->app->engine_mode)
        own = weir_http_header_get(h, "x-request-id");
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
    static const char *const kinds[] = {"chatcmpl-", "cmpl-", "resp_", "msg_", "embd-"};
    snprintf(r->id, sizeof(r->id), "%s%s", kinds[r->endpoint], r->uuid);
    r->traceparent = weir_http_header_get(h, "traceparent");
}

/* Nothing is counted yet. */
static bool is_servable(struct weir_request *r) {
    if (weir_front_draining(r->fl->app)) {
        weir_request_fail(r, 503, WEIR_SPAN_LIT("Service is not ready"), "unavailable");
        return false;
    }
    return parse(r) && weir_request_read_metadata(r) && find_model(r) && can_serve(r) &&
           (!weir_model_info(r->model)->engines || weir_relay_translated_body(r));
}

static bool admit(struct weir_request *r) {
    struct weir_app *app = r->fl->app;
    if (!is_servable(r))
        return false;
    weir_metric_inc(weir_model_info(r->model)->metrics.started[r->endpoint][r->q.stream]);
    weir_request_run_in(r);
    weir_request_count_in(r);
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

struct weir_request *weir_request_new(struct weir_front_loop *fl, struct weir_http_exchange *x,
                                      enum weir_openai_kind kind) {
    struct weir_request *r = take_spare(fl);
    if (r == NULL)
        return NULL;
    r->fl = fl;
    r->x = x;
    r->q.kind = kind;
    r->start_ns = weir_loop_event_ns(fl->loop);
    r->endpoint = kind == WEIR_OPENAI_CHAT         ? WEIR_FRONT_CHAT
                  : kind == WEIR_OPENAI_COMPLETION ? WEIR_FRONT_COMPLETIONS
                  : kind == WEIR_OPENAI_RESPONSES  ? WEIR_FRONT_RESPONSES
                  : kind == WEIR_OPENAI_EMBEDDINGS ? WEIR_FRONT_EMBEDDINGS
                                                   : WEIR_FRONT_MESSAGES;
    r->error_type = "internal";
    weir_buf_init(&r->out, WEIR_OUT_MAX);
    weir_buf_init(&r->said, WEIR_OUT_MAX);
    weir_timer_init(&r->keep_alive, fl->loop, on_keep_alive, r);
    return r;
}

void weir_request_answer_count(struct weir_request *r, size_t n_tokens) {
    struct weir_buf body;
    struct weir_jsonw w;
    r->prompt_tokens = n_tokens;
    r->answered = true;
    r->error_type = "";
    r->status = 200;
    weir_buf_init(&body, 4096);
    weir_jsonw_init(&w, &body);
    weir_jsonw_object_begin(&w);
    if (r->endpoint == WEIR_FRONT_RESPONSES)
        weir_front_put_z(&w, "object", "response.input_tokens");
    weir_jsonw_key(&w, "input_tokens");
    weir_jsonw_u64(&w, n_tokens);
    weir_jsonw_object_end(&w);
    weir_front_send(r->x, 200, &w, &body);
}

void weir_request_count_tokens(struct weir_front_loop *fl, struct weir_http_exchange *x,
                               enum weir_openai_kind kind) {
    struct weir_ids prompt;
    struct weir_request *r = weir_request_new(fl, x, kind);
    if (r == NULL) {
        weir_front_error(fl, x, 503, "Service temporarily unavailable");
        return;
    }
    weir_http_exchange_set_user(x, r);
    r->only_counts = true;
    make_ids(r);
    if (!is_servable(r))
        return;
    weir_request_run_in(r);
    if (weir_model_info(r->model)->engines && weir_relay_counts(r))
        weir_relay_count(r);
    else if (!r->answered && weir_request_chat_prompt(r, &prompt))
        weir_request_answer_count(r, prompt.n);
}

static void fill_head(struct weir_request *r) {
    r->head = (struct weir_answer_head){.kind = r->q.kind,
                                        .id = weir_span_z(r->id),
                                        .model = weir_span_z(weir_model_info(r->model)->name),
                                        .created_s = weir_wall_ms() / 1000,
                                        .reasoning_field = reasoning_field(r->fl->app)};
}

void weir_request_start(struct weir_front_loop *fl, struct weir_http_exchange *x,
                        enum weir_openai_kind kind) {
    struct weir_request *r = weir_request_new(fl, x, kind);
    if (r == NULL) {
        weir_front_error(fl, x, 503, "Service temporarily unavailable");
        return;
    }
    weir_http_exchange_set_user(x, r);
    make_ids(r);
    if (!admit(r) || !weir_request_apply_headers(r) ||
        !(weir_model_info(r->model)->engines    ? weir_request_prepare_relay(r)
          : r->q.kind == WEIR_OPENAI_EMBEDDINGS ? weir_embeddings_prepare(r)
                                                : weir_request_prepare_legs(r)))
        return;
    if (weir_model_info(r->model)->engines) {
        fill_head(r);
        if (weir_request_is_translated(r) && !weir_relay_translated_prepare(r))
            return;
        if (r->q.stream && fl->app->keep_alive_ms > 0)
            arm_keep_alive(r);
        weir_relay_start(&r->legs[0]);
        return;
    }
    if (r->embeddings != NULL) {
        weir_leg_start(&r->legs[0]);
        return;
    }
    if (!weir_guide_forced_call(r))
        return;
    if (weir_parsed_tell_worker(r) != WEIR_OK) {
        weir_request_fail_memory(r);
        return;
    }
    weir_request_fill_prep(r);
    r->warms = weir_warm_wanted(r);
    weir_metric_observe(weir_model_info(r->model)->metrics.input_tokens, (double)r->prompt_tokens);
    weir_request_count_media(r);
    if (fl->app->options.enable_force_include_usage)
        r->q.include_usage = r->q.include_usage || r->q.stream;
    fill_head(r);
    if (weir_request_is_translated(r) && !weir_output_translated_prepare(r))
        return;
    weir_front_observe_stage(fl->app->metrics, WEIR_FRONT_PREPROCESS,
                             (double)(weir_now_ns() - r->start_ns) / 1e9);
    if (r->q.stream && fl->app->keep_alive_ms > 0)
        arm_keep_alive(r);
    r->n_open = r->n_legs;
    for (size_t i = 0; i < r->n_legs && !r->answered; i++)
        weir_leg_start(&r->legs[i]);
}
