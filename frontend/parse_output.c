#include "frontend/parse_output_priv.h"

#include "base/json.h"
#include "base/mem.h"
#include "frontend/request_priv.h"
#include "parsers/wprs.h"

#include <string.h>

struct weir_parsed {
    struct weir_request *request;   /* borrowed: outlives the choice */
    struct wprs *parser;            /* owned */
    struct weir_buf text;           /* gathered: the content; streamed: text not yet in a frame */
    struct weir_buf reasoning;      /* gathered */
    bool is_reasoning;              /* streamed: what `text` holds */
    struct weir_answer_call *calls; /* gathered: in the request's arena */
    size_t n_calls, room;
    bool open;                    /* reasoning was given out, and its block has not ended */
    uint64_t n_reasoning, n_seen; /* tokens of reasoning; tokens of the choice until now */
    uint64_t n_item;              /* of the item in work, not yet known to be reasoning */
    /* during weir_parsed_give */
    struct weir_leg *leg;
    struct weir_choice *choice;
    enum weir_status status;
};

/* ---- what is asked -------------------------------------------------------------------------- */

enum wprs_choice weir_parsed_choice(const struct weir_request *r, struct weir_span *ret_name) {
    enum wprs_choice choice = WPRS_CHOICE_AUTO;
    /* Shapes that the API knows and this does not (allowed_tools) leave the model free. */
    if (wprs_choice_of(r->q.tool_choice, &choice, ret_name, NULL) != WEIR_OK)
        return WPRS_CHOICE_AUTO;
    return choice;
}

/* A tool has to be called: the worker is given a grammar for that, with or without a parser. */
bool weir_parsed_must_call(const struct weir_request *r) {
    struct weir_span name;
    return r->q.tools.data != NULL && weir_parsed_choice(r, &name) >= WPRS_CHOICE_REQUIRED;
}

static enum wprs_calls delivery(const struct weir_request *r) {
    if (!r->q.stream)
        return WPRS_CALLS_WHOLE;
    switch (r->fl->app->options.tool_call_deltas) {
    case WEIR_OPT_DELTAS_PIECES:
        return WPRS_CALLS_PIECES;
    case WEIR_OPT_DELTAS_CHECKED:
        return WPRS_CALLS_CHECKED;
    default:
        return WPRS_CALLS_WHOLE;
    }
}

static struct wprs_options reasoning_of(const struct weir_request *r) {
    struct wprs_options o = WPRS_OPTIONS_INIT;
    o.reasoning_parser = weir_model_info(r->model)->reasoning_parser;
    wprs_thinking_of(r->q.template_args, weir_span(NULL, 0), &o);
    return o;
}

enum weir_status weir_parsed_think(struct weir_request *r) {
    const bool messages = r->q.wants_stop_reason;
    const struct weir_span parser = weir_model_info(r->model)->reasoning_parser;
    if (parser.len == 0 || (!messages && !wprs_tells_thinking(parser)))
        return WEIR_OK;
    struct wprs_options o = reasoning_of(r);
    struct weir_span args = r->q.template_args, value;
    if (o.thinking == WPRS_OFF || (!messages && o.thinking == WPRS_ON))
        return WEIR_OK;
    struct weir_buf out;
    struct weir_jsonw w;
    struct weir_json j;
    struct weir_json_str key;
    weir_buf_init(&out, args.len + 256);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_json_init(&j, args, 128);
    if (args.data != NULL && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value)) {
            struct weir_span name = weir_json_text(key, &r->arena);
            if (name.data == NULL)
                w.status = WEIR_NOMEM;
            if (o.thinking == WPRS_UNSET &&
                (weir_span_eqz(name, "thinking") || weir_span_eqz(name, "enable_thinking")))
                continue; /* null, or no flag: said below */
            weir_jsonw_key_span(&w, name);
            weir_jsonw_raw(&w, value);
        }
    if (o.thinking == WPRS_UNSET) {
        weir_jsonw_key(&w, "thinking");
        weir_jsonw_bool(&w, true);
        weir_jsonw_key(&w, "enable_thinking");
        weir_jsonw_bool(&w, true);
    }
    if (messages && !weir_json_member(args, "truncate_history_thinking", &value)) {
        weir_jsonw_key(&w, "truncate_history_thinking");
        weir_jsonw_bool(&w, false);
    }
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        r->q.template_args = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return w.status == WEIR_OK && r->q.template_args.data != NULL ? WEIR_OK : WEIR_NOMEM;
}

enum weir_status weir_parsed_tell_worker(struct weir_request *r) {
    const bool formed = r->q.formatted || weir_parsed_must_call(r);
    if (r->q.kind != WEIR_OPENAI_CHAT || weir_model_info(r->model)->reasoning_parser.len == 0)
        return WEIR_OK;
    struct wprs_options o = reasoning_of(r);
    r->q.prep.require_reasoning = formed && wprs_thinks_first(&o);
    r->q.passes_template_args = true;
    return weir_openai_put_extra_args(&r->q, &r->arena);
}

enum weir_status weir_parsed_create(struct weir_request *r, struct weir_parsed **ret) {
    const struct weir_model_info *info = weir_model_info(r->model);
    *ret = NULL;
    if (r->q.kind != WEIR_OPENAI_CHAT ||
        (info->tool_parser.len == 0 && info->reasoning_parser.len == 0 &&
         !weir_parsed_must_call(r)))
        return WEIR_OK;
    struct weir_parsed *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    struct wprs_options o = reasoning_of(r);
    o.tool_parser = info->tool_parser;
    o.tools = r->q.tools;
    o.choice = weir_parsed_choice(r, &o.choice_name);
    o.calls = delivery(r);
    o.single_call = !r->q.parallel_tool_calls;
    o.prompt_tail = weir_span(r->prompt_tail, r->prompt_tail_len);
    o.id_seed = weir_rng_u64(weir_loop_rng(r->fl->loop));
    enum weir_status st = wprs_create(&o, &p->parser, NULL);
    if (st != WEIR_OK) {
        weir_free(p);
        return st;
    }
    p->request = r;
    weir_buf_init(&p->text, WEIR_OUT_MAX);
    weir_buf_init(&p->reasoning, WEIR_OUT_MAX);
    *ret = p;
    return WEIR_OK;
}

void weir_parsed_destroy(struct weir_parsed *p) {
    if (p == NULL)
        return;
    wprs_destroy(p->parser);
    weir_buf_fini(&p->text);
    weir_buf_fini(&p->reasoning);
    weir_free(p);
}

/* ---- tokens of reasoning --------------------------------------------------------------------
 *
 * The text of a token cannot be told from its item's, so items count whole, as in the reference
 * system: one that gives reasoning out, and one that gives nothing while reasoning is open: it is
 * held back, or is the end of the block. The block's beginning does not count. */

static void note_delta(struct weir_parsed *p, const struct wprs_delta *d) {
    if (d->kind == WPRS_REASONING) {
        p->open = true;
        p->n_reasoning += p->n_item;
        p->n_item = 0;
    } else {
        p->open = false;
    }
}

static void note_item_end(struct weir_parsed *p) {
    if (p->open)
        p->n_reasoning += p->n_item;
    p->open = p->open && wprs_in_reasoning(p->parser);
}

bool weir_parsed_reasoning_tokens(const struct weir_parsed *p, uint64_t *ret_n) {
    *ret_n = p->n_reasoning;
    return wprs_separates(p->parser);
}

/* ---- gathered ------------------------------------------------------------------------------- */

static enum weir_status gather_call(struct weir_parsed *p, const struct wprs_delta *d) {
    struct weir_arena *arena = &p->request->arena;
    if (p->n_calls == p->room) {
        size_t room = p->room > 0 ? 2 * p->room : 4;
        struct weir_answer_call *calls = weir_arena_alloc(arena, room * sizeof(*calls));
        if (calls == NULL)
            return WEIR_NOMEM;
        if (p->n_calls > 0)
            memcpy(calls, p->calls, p->n_calls * sizeof(*calls));
        p->calls = calls;
        p->room = room;
    }
    struct weir_answer_call *c = &p->calls[p->n_calls++];
    *c = (struct weir_answer_call){.index = d->index,
                                   .id = weir_arena_copy(arena, d->id),
                                   .name = weir_arena_copy(arena, d->name),
                                   .arguments = weir_arena_copy(arena, d->text)};
    return c->id.data != NULL && c->name.data != NULL && c->arguments.data != NULL ? WEIR_OK
                                                                                   : WEIR_NOMEM;
}

static void on_gathered(void *arg, const struct wprs_delta *d) {
    struct weir_parsed *p = arg;
    note_delta(p, d);
    if (p->status != WEIR_OK)
        return;
    if (d->kind == WPRS_CONTENT)
        p->status = weir_buf_append_span(&p->text, d->text);
    else if (d->kind == WPRS_REASONING)
        p->status = weir_buf_append_span(&p->reasoning, d->text);
    else if (d->kind == WPRS_CALL)
        p->status = gather_call(p, d);
}

void weir_parsed_fill(const struct weir_parsed *p, struct weir_answer_choice *choice) {
    choice->text = weir_buf_span(&p->text); /* NULL data when empty: null, as clients expect */
    choice->reasoning = weir_buf_span(&p->reasoning);
    choice->calls = p->calls;
    choice->n_calls = p->n_calls;
}

/* ---- streamed ------------------------------------------------------------------------------- */

/* Text is joined until something else comes, so that a piece makes one frame. */
static void flush_text(struct weir_parsed *p, const char *finish) {
    if (p->status != WEIR_OK || (p->text.len == 0 && finish == NULL))
        return;
    struct weir_span text = weir_buf_span(&p->text);
    struct weir_answer_piece piece = {.finish_reason = finish};
    if (text.len > 0 && p->is_reasoning) {
        piece.reasoning = text;
    } else if (text.len > 0) {
        piece.has_text = true;
        piece.text = text;
    }
    p->status = weir_output_put(p->leg, p->choice, &piece);
    weir_buf_clear(&p->text);
}

static void put_call(struct weir_parsed *p, const struct wprs_delta *d) {
    struct weir_answer_call call = {.index = d->index, .arguments = d->text};
    if (d->kind == WPRS_CALL) {
        call.id = d->id;
        call.name = d->name;
    }
    struct weir_answer_piece piece = {.call = &call};
    if (p->status == WEIR_OK)
        p->status = weir_output_put(p->leg, p->choice, &piece);
}

static void on_streamed(void *arg, const struct wprs_delta *d) {
    struct weir_parsed *p = arg;
    const bool reasoning = d->kind == WPRS_REASONING;
    note_delta(p, d);
    if (d->kind == WPRS_CALL_END || d->kind == WPRS_CALL_CUT)
        return;
    if (d->kind == WPRS_CALL || d->kind == WPRS_ARGUMENTS || reasoning != p->is_reasoning)
        flush_text(p, NULL);
    if (d->kind == WPRS_CALL || d->kind == WPRS_ARGUMENTS) {
        put_call(p, d);
        return;
    }
    p->is_reasoning = reasoning;
    if (p->status == WEIR_OK)
        p->status = weir_buf_append_span(&p->text, d->text);
}

/* ---- both ----------------------------------------------------------------------------------- */

static enum wprs_finish finish_of(const char *word) {
    if (word != NULL && strcmp(word, "stop") == 0)
        return WPRS_FINISH_STOP;
    return word != NULL && strcmp(word, "length") == 0 ? WPRS_FINISH_LENGTH : WPRS_FINISH_OTHER;
}

enum weir_status weir_parsed_give(struct weir_leg *leg, struct weir_choice *c, bool over) {
    struct weir_parsed *p = c->parsed;
    const bool stream = p->request->q.stream;
    wprs_delta_fn fn = stream ? on_streamed : on_gathered;
    enum wprs_finish finish = WPRS_FINISH_OTHER;
    p->leg = leg;
    p->choice = c;
    p->n_item = c->n_tokens - p->n_seen;
    p->n_seen = c->n_tokens;
    enum weir_status st = wprs_feed(p->parser, weir_buf_span(&c->text), fn, p);
    weir_buf_clear(&c->text);
    if (st == WEIR_OK && over)
        st = wprs_finish(p->parser, finish_of(c->finish), fn, p, &finish);
    note_item_end(p);
    if (finish == WPRS_FINISH_TOOL_CALLS)
        c->finish = "tool_calls";
    if (stream)
        flush_text(p, over ? c->finish : NULL);
    return st != WEIR_OK ? st : p->status;
}
