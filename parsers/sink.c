/* What is given out and when; what is held back meanwhile. */
#include "parsers/engine_priv.h"

static void emit(struct wprs *p, enum wprs_kind kind, const char *d, size_t n) {
    struct wprs_delta delta = {.kind = kind, .index = p->n_calls - 1, .text = {d, n}};
    if (kind == WPRS_CALL) {
        delta.id = weir_buf_span(&p->id);
        delta.name = weir_buf_span(&p->name);
    }
    if (!p->dry && p->status == WEIR_OK)
        p->fn(p->arg, &delta);
}

/* White space at the start of text waits for what follows: between calls, and behind reasoning, it
 * is layout. */
void wprs_content(struct wprs *p, const char *d, size_t n) {
    if (n == 0)
        return;
    if (p->gap != GAP_NONE) {
        size_t run = wprs_ws_run(d, n);
        if (run == n && p->ws_len + n <= GAP_MAX) {
            memcpy(p->ws + p->ws_len, d, n);
            p->ws_len += (unsigned char)n;
            return;
        }
        if (p->gap == GAP_REASON)
            d += run, n -= run;
        else if (p->ws_len > 0)
            emit(p, WPRS_CONTENT, p->ws, p->ws_len);
        p->ws_len = 0;
        if (n == 0)
            return;
        p->gap = GAP_NONE;
    }
    emit(p, WPRS_CONTENT, d, n);
}

void wprs_reason(struct wprs *p, const char *d, size_t n) {
    if (p->reason_gap && n > 0) {
        size_t run = wprs_ws_run(d, n);
        d += run, n -= run;
    }
    if (n == 0)
        return;
    p->reason_gap = false;
    if (p->reason_line)
        emit(p, WPRS_REASONING, "\n", 1);
    p->reason_line = false;
    p->reasoned = true;
    emit(p, WPRS_REASONING, d, n);
}

static bool check(struct wprs *p, enum weir_status st) {
    if (st == WEIR_TOO_LARGE)
        p->over = true;
    else if (st != WEIR_OK && p->status == WEIR_OK)
        p->status = st;
    return st == WEIR_OK;
}

void wprs_put(struct wprs *p, struct weir_buf *buf, const char *d, size_t n) {
    check(p, weir_buf_append(buf, d, n));
}

void wprs_put_z(struct wprs *p, struct weir_buf *buf, const char *z) {
    check(p, weir_buf_append_z(buf, z));
}

void wprs_put_escaped(struct wprs *p, struct weir_buf *buf, const char *d, size_t n) {
    check(p, wprs_escape(buf, d, n));
}

void wprs_take(struct wprs *p, struct cursor *c, size_t n) {
    size_t room = p->raw.max - p->raw.len;
    if (n > room) {
        n = room;
        p->over = true;
    }
    wprs_put(p, &p->raw, c->d, n);
    c->d += n;
    c->n -= n;
}

void wprs_take_ws(struct wprs *p, struct cursor *c) {
    wprs_take(p, c, wprs_ws_run(c->d, c->n));
}

void wprs_take_args(struct wprs *p, struct cursor *c, size_t n) {
    if (p->started) {
        if (!p->dropped_call && n > 0)
            emit(p, WPRS_ARGUMENTS, c->d, n);
        c->d += n;
        c->n -= n;
        return;
    }
    if (p->args_len == 0)
        p->args_off = p->raw.len;
    p->args_len += n;
    wprs_take(p, c, n);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

void wprs_call_reset(struct wprs *p) {
    p->have_name = p->have_args = p->args_rewritten = p->started = false;
    p->args_off = p->args_len = 0;
    p->dropped_call = p->single_call && p->n_calls > 0;
    p->depth = 0;
    p->doubt = (struct doubt){0};
    p->schema = weir_span(NULL, 0);
    weir_buf_clear(&p->name);
    weir_buf_clear(&p->id);
    weir_buf_clear(&p->args);
    weir_buf_clear(&p->value);
    weir_buf_clear(&p->names);
}

static void make_id(struct wprs *p) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const bool nine = p->tool_any != NULL && p->tool_any->id == ID_NINE;
    char text[24];
    size_t n = nine ? 9 : sizeof(text);
    for (size_t i = 0; i < n; i++) { /* splitmix64 */
        uint64_t z = (p->id_state += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        text[i] = letters[(z ^ (z >> 31)) % 62];
    }
    if (!nine)
        wprs_put_z(p, &p->id, "call_");
    wprs_put(p, &p->id, text, n);
}

/* Kimi writes functions.NAME:INDEX; that is the id which it wants to see again. */
static struct weir_span kimi_name(struct wprs *p, struct weir_span text) {
    struct weir_span name = text;
    size_t digits = 0;
    while (digits < name.len && name.data[name.len - 1 - digits] >= '0' &&
           name.data[name.len - 1 - digits] <= '9')
        digits++;
    if (digits > 0 && digits + 1 < name.len && name.data[name.len - 1 - digits] == ':') {
        name.len -= digits + 1;
        wprs_put(p, &p->id, text.data, text.len);
    }
    return name;
}

bool wprs_call_name(struct wprs *p, struct weir_span name) {
    static const char prefix[] = "functions.";
    name = weir_span_trim(name);
    weir_buf_clear(&p->id);
    if (p->fmt->id == ID_KIMI)
        name = kimi_name(p, name);
    if ((p->fmt->id == ID_KIMI || p->fmt->envelope == ENVELOPE_HARMONY) &&
        weir_span_starts(name, WEIR_SPAN_LIT(prefix)) && name.len > sizeof(prefix) - 1)
        name = weir_span(name.data + sizeof(prefix) - 1, name.len - (sizeof(prefix) - 1));
    if (p->id.len == 0)
        make_id(p);
    weir_buf_clear(&p->name);
    wprs_put(p, &p->name, name.data, name.len);
    p->have_name = name.len > 0;
    return p->have_name;
}

/* Room is made for a call: white space before it was layout. */
static void open_call(struct wprs *p, const char *args, size_t n) {
    p->ws_len = 0;
    p->gap = GAP_CALL;
    if (p->dry || p->dropped_call)
        return;
    p->n_calls++;
    emit(p, WPRS_CALL, args, n);
}

void wprs_call_start(struct wprs *p) {
    if (p->calls != WPRS_CALLS_PIECES || p->started || p->dry)
        return;
    p->started = true;
    open_call(p, NULL, 0);
    if (p->args_len > 0 && !p->dropped_call)
        emit(p, WPRS_ARGUMENTS, p->raw.data + p->args_off, p->args_len);
    weir_buf_clear(&p->raw);
}

void wprs_flush_args(struct wprs *p) {
    const size_t n = p->doubt.set ? p->doubt.args : p->args.len;
    if (!p->started || n == 0)
        return;
    if (!p->dropped_call)
        emit(p, WPRS_ARGUMENTS, p->args.data, n);
    weir_buf_consume(&p->args, n);
    p->doubt.args = 0;
}

void wprs_take_given(struct wprs *p, struct cursor *c, size_t n) {
    if (!p->started) {
        wprs_take(p, c, n);
        return;
    }
    weir_buf_clear(&p->raw);
    c->d += n;
    c->n -= n;
}

static struct weir_span whole_args(const struct wprs *p) {
    if (p->args_rewritten)
        return weir_buf_span(&p->args);
    if (p->args_len > 0)
        return weir_span(p->raw.data + p->args_off, p->args_len);
    return WEIR_SPAN_LIT("{}");
}

void wprs_call_done(struct wprs *p) {
    if (p->over || p->status != WEIR_OK)
        return;
    if (p->dry) {
        p->dry_calls++;
    } else {
        if (p->started) {
            wprs_flush_args(p);
        } else {
            struct weir_span args = whole_args(p);
            bool whole = p->calls == WPRS_CALLS_WHOLE;
            open_call(p, whole ? args.data : NULL, whole ? args.len : 0);
            if (!whole && !p->dropped_call)
                emit(p, WPRS_ARGUMENTS, args.data, args.len);
        }
        if (!p->dropped_call) {
            emit(p, WPRS_CALL_END, NULL, 0);
            p->n_done++;
        }
    }
    p->started = false;
    p->block_calls++;
    weir_buf_clear(&p->raw);
    weir_buf_clear(&p->args);
}

void wprs_give_back(struct wprs *p) {
    if (p->started) {
        wprs_flush_args(p);
        if (!p->dropped_call)
            emit(p, WPRS_CALL_CUT, NULL, 0);
        p->started = false;
    }
    wprs_content(p, p->raw.data, p->raw.len);
    weir_buf_clear(&p->raw);
    weir_buf_clear(&p->args);
}
