/*
 * A request of our own is one without an exchange: the same render, hashes, routing, booking and
 * retries as those of clients, and nobody to answer. It is bounded in time and number, and a loop
 * that is asked for more leaves it: speculation must not hold up those who wait.
 */
#include "frontend/warm.h"

#include "base/json.h"
#include "base/log.h"
#include "frontend/request_priv.h"

#include <string.h>

enum { WARM_MS = 60000, WARM_MAX = 64 };

struct weir_warm {
    struct weir_list node; /* in the loop's list */
    struct weir_request *request;
    struct weir_timer timer;    /* until it begins; then until it is given up */
    struct weir_deferred freed; /* armed when it is over */
    bool begun;
};

bool weir_warm_wanted(const struct weir_request *r) {
    return r->q.speculative_prefill && r->q.kind == WEIR_OPENAI_CHAT && r->q.n == 1 &&
           !r->q.continue_final_message && !r->q.has_token_data && !weir_request_only_asks(r) &&
           r->q.prep.media.n == 0 && !weir_model_info(r->model)->engines &&
           !r->fl->app->options.disable_frontend_nvext;
}

static void count(const struct weir_request *r, const char *result) {
    weir_front_count_warmed(r->fl->app->metrics, weir_model_info(r->model)->name, result);
}

static void free_warm(struct weir_warm *w) {
    struct weir_front_loop *fl = w->request->fl;
    weir_timer_stop(&w->timer);
    weir_deferred_cancel(&w->freed);
    weir_list_remove(&w->node);
    fl->n_warm--;
    weir_request_done(w->request); /* and w with its arena */
}

static void on_freed(void *arg) {
    free_warm(arg);
}

void weir_warm_over(struct weir_request *r) {
    count(r, *r->error_type == '\0' ? "done" : "failed");
    if (*r->error_type != '\0')
        WEIR_LOG(WEIR_LOG_DEBUG, "request", "%s: speculative prefill failed: %s", r->uuid,
                 r->error_type);
    weir_loop_defer(r->fl->loop, &r->warm->freed);
}

static void give_up(struct weir_request *r) {
    weir_request_fail(r, 504, WEIR_SPAN_LIT("speculative prefill took too long"),
                      "response_timeout");
}

static void go(struct weir_request *r) {
    if (!weir_request_prepare_legs(r))
        return;
    weir_request_fill_prep(r);
    r->n_open = r->n_legs;
    weir_leg_start(&r->legs[0]);
}

static void on_timer(void *arg) {
    struct weir_warm *w = arg;
    if (w->request->answered)
        return;
    if (w->begun) {
        give_up(w->request);
    } else if (weir_timer_start(&w->timer, WARM_MS) != WEIR_OK) {
        weir_request_fail_memory(w->request);
    } else {
        w->begun = true;
        go(w->request);
    }
}

/* ---- what is sent -------------------------------------------------------------------------- */

/* The elements of `messages`, a JSON array that was validated. */
static struct weir_span elements(struct weir_span messages) {
    size_t from = 0, to = messages.len;
    while (from < to && messages.data[from] != '[')
        from++;
    while (to > from && messages.data[to - 1] != ']')
        to--;
    for (from++; from < to && strchr(" \t\r\n", messages.data[from]) != NULL;)
        from++;
    return from < to ? weir_span(messages.data + from, to - 1 - from) : weir_span(NULL, 0);
}

static enum weir_status write_body(const struct weir_request *from, struct weir_span text,
                                   struct weir_buf *out) {
    struct weir_jsonw w;
    struct weir_span turns = elements(from->q.messages);
    weir_jsonw_init(&w, out);
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "model", weir_model_info(from->model)->name);
    weir_jsonw_key(&w, "max_tokens");
    weir_jsonw_u64(&w, 1);
    weir_jsonw_key(&w, "messages");
    weir_jsonw_array_begin(&w);
    if (turns.len > 0)
        weir_jsonw_raw(&w, turns);
    weir_jsonw_object_begin(&w);
    weir_front_put_z(&w, "role", "assistant");
    weir_jsonw_key(&w, "content");
    weir_jsonw_string(&w, text);
    weir_jsonw_object_end(&w);
    weir_jsonw_array_end(&w);
    weir_jsonw_object_end(&w);
    return w.status;
}

static struct weir_span copy(struct weir_request *r, struct weir_span text, bool *ok) {
    if (text.data == NULL)
        return text;
    struct weir_span own = weir_arena_copy(&r->arena, text);
    *ok = *ok && own.data != NULL;
    return own;
}

/* The conversation with its answer as a request of its own. What shapes the prompt (tools, the
 * template's arguments, the form of answers) and the names of its blocks (the salt) is the
 * client's. */
static bool fill(struct weir_request *r, const struct weir_request *from, struct weir_span text) {
    struct weir_buf body;
    struct weir_openai_error error;
    weir_buf_init(&body, WEIR_REQUEST_ARENA);
    bool ok = write_body(from, text, &body) == WEIR_OK;
    struct weir_span own =
        ok ? weir_arena_copy(&r->arena, weir_buf_span(&body)) : weir_span(NULL, 0);
    weir_buf_fini(&body);
    ok = ok && own.data != NULL &&
         weir_openai_parse(WEIR_OPENAI_CHAT, own, &r->fl->app->rules, &r->arena, &r->q, &error) ==
             WEIR_OK;
    r->q.kind = WEIR_OPENAI_CHAT;
    r->q.add_generation_prompt = false;
    r->q.tools = copy(r, from->q.tools, &ok);
    r->q.tool_choice = copy(r, from->q.tool_choice, &ok);
    r->q.tool_choice_none = from->q.tool_choice_none;
    r->q.template_args = copy(r, from->q.template_args, &ok);
    r->q.response_format = copy(r, from->q.response_format, &ok);
    r->q.cache_salt = r->q.prep.routing.cache_salt = copy(r, from->q.cache_salt, &ok);
    return ok && weir_openai_put_extra_args(&r->q, &r->arena) == WEIR_OK;
}

void weir_warm_begin(const struct weir_request *from, struct weir_span text) {
    struct weir_front_loop *fl = from->fl;
    const char *finish = from->legs[0].choices[0].finish;
    /* How its client will write down a call is not known. */
    if (finish != NULL && strcmp(finish, "tool_calls") == 0)
        return;
    struct weir_request *r = NULL;
    if (fl->n_warm < WARM_MAX && !weir_front_draining(fl->app) &&
        !weir_router_all_busy(weir_model_info(from->model)->router))
        r = weir_request_new(fl, NULL, WEIR_OPENAI_CHAT);
    if (r == NULL) {
        count(from, "skipped");
        return;
    }
    r->model = weir_model_ref(from->model);
    r->has_session = from->has_session;
    r->session = from->session;
    struct weir_warm *w = weir_arena_zalloc(&r->arena, sizeof(*w));
    if (w != NULL) {
        weir_rng_uuid(weir_loop_rng(fl->loop), r->uuid);
        weir_timer_init(&w->timer, fl->loop, on_timer, w);
        weir_deferred_init(&w->freed, on_freed, w);
        w->request = r;
    }
    r->warm = w;
    if (w == NULL || !fill(r, from, text) || weir_timer_start(&w->timer, 1) != WEIR_OK) {
        count(from, "failed");
        weir_request_done(r);
        return;
    }
    weir_list_push_back(&fl->warm, &w->node);
    fl->n_warm++;
}

void weir_warm_stop(struct weir_front_loop *fl) {
    while (!weir_list_empty(&fl->warm)) {
        struct weir_warm *w = WEIR_CONTAINER_OF(fl->warm.next, struct weir_warm, node);
        weir_request_abort(w->request);
        free_warm(w);
    }
}
