/* Create, feed, finish: drives the steps over what was fed and what was left undecided before. */
#include "base/json.h"
#include "base/mem.h"
#include "parsers/engine_priv.h"

static bool no_tools(struct weir_span tools) {
    struct weir_json j;
    if (tools.data == NULL)
        return true;
    weir_json_init(&j, tools, 128);
    return weir_json_peek(&j) != WEIR_JSON_ARRAY || !weir_json_array_enter(&j) ||
           !weir_json_array_next(&j);
}

static bool thinking_off(const struct reasoning *r, const struct wprs_options *o) {
    enum wprs_switch wish = r->effort_only ? o->effort : wprs_thinking_wish(o);
    return r->opt_in ? wish != WPRS_ON : r->switchable && wish == WPRS_OFF;
}

static bool ends_with(struct weir_span text, const char *z) {
    size_t n = strlen(z);
    return text.len >= n && memcmp(text.data + text.len - n, z, n) == 0;
}

static bool starts_inside(const struct reasoning *r, struct weir_span prompt_tail) {
    if (r->start == NULL || r->end == NULL)
        return false;
    struct weir_span tail = weir_span_trim(prompt_tail);
    if (r->forced)
        return !ends_with(tail, r->end);
    return r->prompted && ends_with(tail, r->start);
}

static void init_buffers(struct wprs *p, size_t max) {
    max = max > 0 ? max : WPRS_MAX_HELD_DEFAULT;
    weir_buf_init(&p->pend, SIZE_MAX / 2); /* what a piece leaves undecided: LOOK_MAX and less */
    weir_buf_init(&p->again, SIZE_MAX / 2);
    weir_buf_init(&p->raw, max);
    /* Escapes make text longer: `raw` is full first. */
    weir_buf_init(&p->args, 8 * max + ((size_t)1 << 20));
    weir_buf_init(&p->value, max);
    weir_buf_init(&p->held, max);
    weir_buf_init(&p->name, NAME_MAX);
    weir_buf_init(&p->id, (size_t)2 * NAME_MAX);
    weir_buf_init(&p->names, (size_t)DEPTH_MAX * NAME_MAX);
}

enum weir_status wprs_create(const struct wprs_options *o, struct wprs **ret,
                             struct weir_err *err) {
    enum weir_status st = wprs_check_names(o->tool_parser, o->reasoning_parser, err);
    if (st != WEIR_OK)
        return st;
    struct wprs *p = weir_calloc(1, sizeof(*p));
    if (p == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    init_buffers(p, o->max_held_bytes);
    p->tool_any = wprs_format_find(o->tool_parser);
    /* Guided decoding has a form of its own, whatever the model's. */
    if (o->tool_parser.len == 0 && o->choice >= WPRS_CHOICE_REQUIRED)
        p->tool_any = &wprs_format_guided;
    p->tool = o->choice != WPRS_CHOICE_NONE && !no_tools(o->tools) ? p->tool_any : NULL;
    p->tools = o->tools;
    p->choice = o->choice;
    p->choice_name = o->choice_name;
    p->calls = o->calls;
    p->single_call = o->single_call;
    p->id_state = o->id_seed;
    const struct reasoning *r = wprs_reasoning_find(o->reasoning_parser);
    p->envelope = p->tool_any != NULL ? p->tool_any->envelope : ENVELOPE_NONE;
    if (r != NULL && r->envelope != ENVELOPE_NONE)
        p->envelope = r->envelope;
    if (r != NULL && r->append_start)
        p->prefix = r->start;
    else if (r != NULL && !thinking_off(r, o))
        p->reasoning = r;
    p->gap = GAP_START;
    bool inside = p->reasoning != NULL && starts_inside(r, o->prompt_tail);
    wprs_enter(p, inside ? STATE_REASON : STATE_TEXT);
    *ret = p;
    return WEIR_OK;
}

void wprs_destroy(struct wprs *p) {
    if (p == NULL)
        return;
    weir_buf_fini(&p->pend);
    weir_buf_fini(&p->again);
    weir_buf_fini(&p->raw);
    weir_buf_fini(&p->args);
    weir_buf_fini(&p->value);
    weir_buf_fini(&p->held);
    weir_buf_fini(&p->name);
    weir_buf_fini(&p->id);
    weir_buf_fini(&p->names);
    weir_free(p);
}

static void break_block(struct wprs *p) {
    p->over = false;
    wprs_give_back(p);
    p->in_section = p->block_calls > 0 && p->fmt == p->tool && p->tool->end[0] != NULL;
    wprs_enter(p, STATE_TEXT);
}

static enum step step(struct wprs *p, struct cursor *c) {
    switch (p->state) {
    case STATE_TEXT:
        return wprs_step_text(p, c);
    case STATE_REASON:
        return wprs_step_reason(p, c);
    case STATE_HOLD:
        return wprs_step_hold(p, c);
    case STATE_MESSAGE:
        return wprs_step_message(p, c);
    default:
        return p->step(p, c);
    }
}

void wprs_settle(struct wprs *p, struct cursor *c) {
    struct weir_buf again;
    const struct doubt d = p->doubt;
    weir_buf_init(&again, SIZE_MAX / 2);
    p->status = weir_buf_append(&again, p->raw.data + d.raw, p->raw.len - d.raw);
    if (p->status == WEIR_OK)
        p->status = weir_buf_append(&again, c->d, c->n);
    weir_buf_fini(&p->again);
    p->again = again;
    p->raw.len = d.raw;
    p->args.len = d.args;
    p->value.len = d.value;
    p->over = false;
    p->doubt = (struct doubt){.settled = true};
    *c = (struct cursor){again.data, p->status == WEIR_OK ? again.len : 0, c->final};
}

void wprs_run(struct wprs *p, struct cursor *c) {
    while (p->status == WEIR_OK) {
        enum step s = step(p, c);
        if (p->over)
            s = STEP_BREAK;
        if (s == STEP_MORE && !(c->final && p->state == STATE_BLOCK))
            return;
        if (s != STEP_GO && p->doubt.set) {
            wprs_settle(p, c);
            continue;
        }
        if (s == STEP_MORE) /* cut off: nothing of what is left is looked at again */
            wprs_take(p, c, c->n);
        if (s != STEP_GO)
            break_block(p);
    }
}

void wprs_replay(struct wprs *p) {
    struct weir_buf held = p->held, again = p->again; /* the caller's cursor may stand there */
    weir_buf_init(&p->held, held.max);
    weir_buf_init(&p->again, again.max);
    const uint64_t id_state = p->id_state;
    p->replay = true;
    for (int pass = 0; pass < 2 && p->status == WEIR_OK; pass++) {
        p->dry = pass == 0;
        p->dry_calls = p->dry ? 0 : p->dry_calls;
        if (!p->dry && p->dry_calls == 0) {
            wprs_reason(p, held.data, held.len);
            break;
        }
        struct cursor c = {held.data, held.len, true}; /* never empty: a call's start is in it */
        p->id_state = id_state;
        p->gap = GAP_REASON;
        p->ws_len = 0;
        p->in_section = false;
        wprs_enter(p, STATE_TEXT);
        wprs_run(p, &c);
    }
    p->replay = false;
    wprs_enter(p, STATE_TEXT);
    weir_buf_fini(&held);
    weir_buf_fini(&p->again);
    p->again = again;
}

enum weir_status wprs_feed(struct wprs *p, struct weir_span text, wprs_delta_fn fn, void *arg) {
    p->fn = fn;
    p->arg = arg;
    if (text.len == 0)
        return p->status;
    if (p->prefix != NULL) {
        wprs_content(p, p->prefix, strlen(p->prefix));
        p->prefix = NULL;
    }
    const bool joined = p->pend.len > 0;
    if (joined && weir_buf_append_span(&p->pend, text) != WEIR_OK)
        return p->status = WEIR_NOMEM;
    struct cursor c = {joined ? p->pend.data : text.data, joined ? p->pend.len : text.len, false};
    wprs_run(p, &c);
    wprs_flush_args(p);
    const bool again = p->again.data != NULL; /* the rest lies there */
    if (joined && !again)
        weir_buf_consume(&p->pend, p->pend.len - c.n);
    if (again)
        weir_buf_clear(&p->pend);
    if ((!joined || again) && c.n > 0 && weir_buf_append(&p->pend, c.d, c.n) != WEIR_OK)
        p->status = WEIR_NOMEM;
    weir_buf_fini(&p->again);
    return p->status;
}

enum weir_status wprs_finish(struct wprs *p, enum wprs_finish finish, wprs_delta_fn fn, void *arg,
                             enum wprs_finish *ret_finish) {
    p->fn = fn;
    p->arg = arg;
    struct cursor c = {p->pend.data != NULL ? p->pend.data : "", p->pend.len, true};
    wprs_run(p, &c);
    if (p->state == STATE_HOLD && p->status == WEIR_OK)
        wprs_replay(p);
    if (p->gap == GAP_START && p->ws_len > 0) {
        p->gap = GAP_NONE;
        unsigned char n = p->ws_len;
        p->ws_len = 0;
        wprs_content(p, p->ws, n);
    }
    weir_buf_clear(&p->pend);
    if (ret_finish != NULL)
        *ret_finish = finish == WPRS_FINISH_STOP && p->n_done > 0 ? WPRS_FINISH_TOOL_CALLS : finish;
    return p->status;
}

bool wprs_separates(const struct wprs *p) {
    return p->reasoning != NULL;
}

bool wprs_in_reasoning(const struct wprs *p) {
    return p->state == STATE_REASON || p->state == STATE_HOLD;
}
