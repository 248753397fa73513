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
    /* during weir_parsed_give */
    struct weir_leg *leg;
    struct weir_choice *choice;
    enum weir_status status;
};

/* ---- what is asked -------------------------------------------------------------------------- */

static enum wprs_choice choice_of(const struct weir_request *r, struct weir_span *ret_name) {
    enum wprs_choice choice = WPRS_CHOICE_AUTO;
    /* Shapes that the API knows and this does not (allowed_tools) leave the model free. */
    if (wprs_choice_of(r->q.tool_choice, &choice, ret_name, NULL) != WEIR_OK)
        return WPRS_CHOICE_AUTO;
    return choice;
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

enum weir_status weir_parsed_create(struct weir_request *r, struct weir_parsed **ret) {
    const struct weir_model_info *info = weir_model_info(r->model);
    *ret = NULL;
    if (r->q.kind != WEIR_OPENAI_CHAT ||
        (info->tool_parser.len == 0 && info->reasoning_parser.len == 0))
        return WEIR_OK;
    struct weir_parsed *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return WEIR_NOMEM;
    struct wprs_options o = WPRS_OPTIONS_INIT;
    o.tool_parser = info->tool_parser;
    o.reasoning_parser = info->reasoning_parser;
    o.tools = r->q.tools;
    o.choice = choice_of(r, &o.choice_name);
    o.calls = delivery(r);
    o.single_call = !r->q.parallel_tool_calls;
    o.prompt_tail = weir_span(r->prompt_tail, r->prompt_tail_len);
    o.id_seed = weir_rng_u64(weir_loop_rng(r->fl->loop));
    wprs_thinking_of(r->q.template_args, weir_span(NULL, 0), &o.thinking, &o.effort);
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
    enum weir_status st = wprs_feed(p->parser, weir_buf_span(&c->text), fn, p);
    weir_buf_clear(&c->text);
    if (st == WEIR_OK && over)
        st = wprs_finish(p->parser, finish_of(c->finish), fn, p, &finish);
    if (finish == WPRS_FINISH_TOOL_CALLS)
        c->finish = "tool_calls";
    if (stream)
        flush_text(p, over ? c->finish : NULL);
    return st != WEIR_OK ? st : p->status;
}

/* ---- guided decoding ------------------------------------------------------------------------ */

static struct weir_span member(struct weir_span json, const char *name) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value;
    weir_json_init(&j, json, 128);
    if (json.data != NULL && weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value))
            if (weir_json_str_eqz(key, name))
                return value;
    return weir_span(NULL, 0);
}

static bool is_object(struct weir_span json) {
    return json.len > 0 && json.data[0] == '{';
}

static void put_parameters(struct weir_jsonw *w, struct weir_span function) {
    struct weir_span parameters = member(function, "parameters");
    weir_jsonw_raw(w, is_object(parameters) ? parameters : WEIR_SPAN_LIT("{\"type\":\"object\"}"));
}

static void put_one(struct weir_jsonw *w, struct weir_span function) {
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "properties");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "name");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "string");
    weir_jsonw_key(w, "enum");
    weir_jsonw_array_begin(w);
    weir_jsonw_raw(w, member(function, "name"));
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "parameters");
    put_parameters(w, function);
    weir_jsonw_object_end(w);
    weir_jsonw_key(w, "required");
    weir_jsonw_raw(w, WEIR_SPAN_LIT("[\"name\",\"parameters\"]"));
    weir_jsonw_object_end(w);
}

/* "$ref": "#/$defs/…" counts from the schema's root, where the definitions of all tools must stand;
 * of two with one name the first holds. */
static void put_definitions(struct weir_jsonw *w, struct weir_span tools) {
    enum { NAMES_MAX = 256 };
    struct weir_span names[NAMES_MAX], tool, value;
    size_t n = 0;
    struct weir_json j, d;
    weir_json_init(&j, tools, 128);
    weir_jsonw_key(w, "$defs");
    weir_jsonw_object_begin(w);
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j) && weir_json_skip(&j, &tool)) {
            struct weir_json_str key;
            struct weir_span defs = member(member(member(tool, "function"), "parameters"), "$defs");
            weir_json_init(&d, defs, 128);
            if (!is_object(defs) || !weir_json_object_enter(&d))
                continue;
            while (weir_json_object_next(&d, &key) && weir_json_skip(&d, &value)) {
                bool known = n == NAMES_MAX;
                for (size_t i = 0; i < n && !known; i++)
                    known = weir_span_eq(names[i], key.raw);
                if (known)
                    continue;
                names[n++] = key.raw;
                weir_jsonw_key_span(w, key.raw);
                weir_jsonw_raw(w, value);
            }
        }
    weir_jsonw_object_end(w);
}

static void put_list(struct weir_jsonw *w, const struct weir_request *r) {
    struct weir_json j;
    struct weir_span tool;
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "array");
    weir_jsonw_key(w, "minItems");
    weir_jsonw_u64(w, 1);
    if (!r->q.parallel_tool_calls) {
        weir_jsonw_key(w, "maxItems");
        weir_jsonw_u64(w, 1);
    }
    weir_jsonw_key(w, "items");
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "type");
    weir_jsonw_string_z(w, "object");
    weir_jsonw_key(w, "anyOf");
    weir_jsonw_array_begin(w);
    weir_json_init(&j, r->q.tools, 128);
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j) && weir_json_skip(&j, &tool))
            put_one(w, member(tool, "function"));
    weir_jsonw_array_end(w);
    weir_jsonw_object_end(w);
    put_definitions(w, r->q.tools);
    weir_jsonw_object_end(w);
}

static void put_named(struct weir_jsonw *w, const struct weir_request *r, struct weir_span name) {
    struct weir_json j;
    struct weir_span tool;
    weir_json_init(&j, r->q.tools, 128);
    if (weir_json_array_enter(&j))
        while (weir_json_array_next(&j) && weir_json_skip(&j, &tool)) {
            struct weir_span function = member(tool, "function"), own = member(function, "name");
            if (own.len == name.len + 2 && memcmp(own.data + 1, name.data, name.len) == 0) {
                put_parameters(w, function);
                return;
            }
        }
    weir_jsonw_raw(w, WEIR_SPAN_LIT("{\"type\":\"object\"}"));
}

enum weir_status weir_parsed_guide(struct weir_request *r) {
    struct weir_span name = {NULL, 0}, *guided = &r->q.prep.sampling.guided_decoding;
    if (r->q.kind != WEIR_OPENAI_CHAT || weir_model_info(r->model)->tool_parser.len == 0 ||
        r->q.tools.data == NULL || guided->data != NULL)
        return WEIR_OK;
    enum wprs_choice choice = choice_of(r, &name);
    if (choice != WPRS_CHOICE_REQUIRED && choice != WPRS_CHOICE_NAMED)
        return WEIR_OK;
    struct weir_buf out;
    struct weir_jsonw w;
    weir_buf_init(&out, WEIR_OUT_MAX);
    weir_jsonw_init(&w, &out);
    weir_jsonw_object_begin(&w);
    weir_jsonw_key(&w, "json");
    if (choice == WPRS_CHOICE_NAMED)
        put_named(&w, r, name);
    else
        put_list(&w, r);
    weir_jsonw_object_end(&w);
    if (w.status == WEIR_OK)
        *guided = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    return w.status != WEIR_OK ? w.status : guided->data != NULL ? WEIR_OK : WEIR_NOMEM;
}
