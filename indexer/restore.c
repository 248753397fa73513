#include "indexer/restore.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "kvindex/kvi_persist.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    EVENT_WORDS = 1 << 17,
    LINE_BYTES = 64 << 20, /* of one record, over several pieces */
};

/* What the object's next token belongs to. */
enum at { BEGIN, GROUPS, MEMBERS, EVENTS, LATE_EVENTS, END };

struct weir_restore {
    struct weir_groups *groups;
    struct weir_err *err;
    uint64_t *scratch;     /* EVENT_WORDS */
    uint64_t n, left_out;  /* events so far, and those of them that the index did not take */
    struct weir_span text; /* lines: what is left of it */
    bool lines;
    struct weir_buf line; /* begun, when lines are fed */
    enum at at;
    struct weir_json object, late; /* the text; events that stood before their block_size */
    struct weir_span key, late_events;
    struct weir_buf key_text; /* of a key with escapes */
    uint64_t block_size;
    struct weir_timer timer;
    weir_restore_fn fn;
    void *arg;
};

/* ---- events ---------------------------------------------------------------------------------- */

static enum weir_status apply(struct weir_restore *r, struct weir_span key, uint64_t block_size,
                              struct weir_span event_text) {
    struct weir_span name, model = key;
    struct weir_group *g;
    struct kvi_event event;
    uint64_t id;
    /* "model:group"; a model's name may hold colons itself. */
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] == ':')
            colon = (ptrdiff_t)i;
    if (colon <= 0 || block_size == 0 || block_size > 65536)
        return weir_err_set(r->err, WEIR_INVALID,
                            "event %" PRIu64 ": it needs a key \"model:routing_group\" and a "
                            "block_size",
                            r->n);
    model.len = (size_t)colon;
    name = weir_span(key.data + colon + 1, key.len - (size_t)colon - 1);
    switch (kvi_event_from_json(event_text.data, event_text.len, r->scratch, EVENT_WORDS, &event,
                                &id)) {
    case KVI_JSON_OK:
        break;
    case KVI_JSON_UNSUPPORTED:
        return WEIR_OK;
    default:
        return weir_err_set(r->err, WEIR_INVALID, "event %" PRIu64 " is no router event", r->n);
    }
    enum weir_status st = weir_groups_get(r->groups, model, name, (uint32_t)block_size,
                                          "a dump that was restored", &g);
    if (st == WEIR_EXISTS)
        return weir_err_set(r->err, WEIR_INVALID,
                            "event %" PRIu64 ": group %.*s: it has another block size, %u, not %u; "
                            "restore into a model or routing group of its own",
                            r->n, WEIR_SPAN_ARG(weir_utf8_cut(key, 100)), g->block_size,
                            (unsigned)block_size);
    if (st != WEIR_OK)
        return weir_err_set(r->err, st, "event %" PRIu64 ": group %.*s: %s", r->n,
                            WEIR_SPAN_ARG(weir_utf8_cut(key, 100)), weir_status_text(st));
    enum kvi_result applied = weir_mirror_apply(g->mirror, &event);
    r->left_out += applied != KVI_OK && applied != KVI_BLOCK_NOT_FOUND;
    r->n++;
    if (applied != KVI_OK)
        weir_groups_drop_empty(g);
    return WEIR_OK;
}

/* Valid until the next one. */
static enum weir_status read_key(struct weir_restore *r, struct weir_json_str s,
                                 struct weir_span *ret_key) {
    weir_buf_clear(&r->key_text);
    if (s.escaped && weir_json_unescape(s, &r->key_text) != WEIR_OK)
        return weir_err_set(r->err, WEIR_NOMEM, "out of memory");
    if (s.escaped && memchr(r->key_text.data, '\0', r->key_text.len) != NULL)
        return weir_err_set(r->err, WEIR_INVALID, "a group's name must be without \\u0000");
    *ret_key = s.escaped ? weir_buf_span(&r->key_text) : s.raw;
    return WEIR_OK;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* One {key, block_size, event}. */
static enum weir_status apply_line(struct weir_restore *r, struct weir_span line) {
    struct weir_json j;
    struct weir_json_str k, s = {{NULL, 0}, false};
    struct weir_span event = {NULL, 0}, key;
    uint64_t block_size = 0;
    if (weir_span_trim(line).len == 0)
        return WEIR_OK;
    weir_json_init(&j, line, 32);
    if (weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &k)) {
            if (weir_json_str_eqz(k, "key") && weir_json_peek(&j) == WEIR_JSON_STRING)
                weir_json_string(&j, &s);
            else if (weir_json_str_eqz(k, "block_size") && weir_json_peek(&j) == WEIR_JSON_NUMBER)
                weir_json_u64(&j, &block_size);
            else if (weir_json_str_eqz(k, "event"))
                weir_json_skip(&j, &event);
            else
                weir_json_skip(&j, NULL);
        }
    if (!weir_json_finish(&j) || event.data == NULL)
        return weir_err_set(r->err, WEIR_INVALID,
                            "record %" PRIu64 " is no {\"key\", \"block_size\", \"event\"}", r->n);
    enum weir_status st = read_key(r, s, &key);
    return st == WEIR_OK ? apply(r, key, block_size, event) : st;
}

static enum weir_status step_lines(struct weir_restore *r) {
    enum weir_status st = WEIR_OK;
    for (size_t left = WEIR_RESTORE_BYTES; st == WEIR_OK && left > 0 && r->text.len > 0;) {
        struct weir_span rest = {NULL, 0}, line = weir_span_split(r->text, '\n', &rest);
        left -= line.len + 1 < left ? line.len + 1 : left;
        st = apply_line(r, line);
        r->text = rest;
    }
    if (r->text.len == 0)
        r->at = END;
    return st;
}

static enum weir_status keep(struct weir_restore *r, struct weir_span bytes) {
    enum weir_status st = weir_buf_append_span(&r->line, bytes);
    if (st == WEIR_TOO_LARGE || st == WEIR_LIMIT)
        return weir_err_set(r->err, WEIR_INVALID, "record %" PRIu64 " is over %d MiB", r->n,
                            LINE_BYTES >> 20);
    return st == WEIR_OK ? st : weir_err_set(r->err, st, "out of memory");
}

enum weir_status weir_restore_feed(struct weir_restore *r, struct weir_span bytes, bool last,
                                   struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    r->err = err;
    while (st == WEIR_OK && bytes.len > 0) {
        const char *end = memchr(bytes.data, '\n', bytes.len);
        struct weir_span line =
            weir_span(bytes.data, end != NULL ? (size_t)(end - bytes.data) : bytes.len);
        bytes = end != NULL ? weir_span(end + 1, bytes.len - line.len - 1) : weir_span(NULL, 0);
        if (end == NULL || r->line.len > 0)
            st = keep(r, line);
        if (st != WEIR_OK || end == NULL)
            break;
        st = apply_line(r, r->line.len > 0 ? weir_buf_span(&r->line) : line);
        weir_buf_clear(&r->line);
    }
    return st == WEIR_OK && last ? apply_line(r, weir_buf_span(&r->line)) : st;
}

/* ---- the object ------------------------------------------------------------------------------ */

/* {"model:group": {"block_size": N, "events": […]}, …}; a group that has "error" instead is passed
 * over. Events that stand before their block_size wait for it. */
static enum weir_status next_group(struct weir_restore *r) {
    struct weir_json_str key;
    struct weir_json *j = &r->object;
    if (!weir_json_object_next(j, &key)) {
        r->at = END;
        return weir_json_finish(j) ? WEIR_OK
                                   : weir_err_set(r->err, WEIR_INVALID, "the dump is no JSON: %s",
                                                  weir_json_error_text(j->error));
    }
    if (weir_json_peek(j) != WEIR_JSON_OBJECT || !weir_json_object_enter(j))
        return weir_err_set(r->err, WEIR_INVALID, "each group must be an object");
    r->block_size = 0;
    r->late_events = weir_span(NULL, 0);
    r->at = MEMBERS;
    return read_key(r, key, &r->key);
}

static enum weir_status enter_events(struct weir_restore *r, struct weir_json *j, enum at at) {
    if (weir_json_peek(j) != WEIR_JSON_ARRAY || !weir_json_array_enter(j))
        return weir_err_set(r->err, WEIR_INVALID, "\"events\" must be an array");
    r->at = at;
    return WEIR_OK;
}

static enum weir_status next_member(struct weir_restore *r) {
    struct weir_json_str k;
    struct weir_json *j = &r->object;
    if (!weir_json_object_next(j, &k)) {
        r->at = GROUPS;
        if (j->error != WEIR_JSON_ERR_NONE || r->late_events.data == NULL)
            return WEIR_OK; /* an error is next_group's to tell */
        weir_json_init(&r->late, r->late_events, 32);
        return enter_events(r, &r->late, LATE_EVENTS);
    }
    if (weir_json_str_eqz(k, "block_size") && weir_json_peek(j) == WEIR_JSON_NUMBER)
        weir_json_u64(j, &r->block_size);
    else if (weir_json_str_eqz(k, "events") && r->block_size != 0)
        return enter_events(r, j, EVENTS);
    else
        weir_json_skip(j, weir_json_str_eqz(k, "events") ? &r->late_events : NULL);
    return WEIR_OK;
}

static enum weir_status next_event(struct weir_restore *r, struct weir_json *j, enum at behind,
                                   size_t *left) {
    struct weir_span event = {NULL, 0};
    if (!weir_json_array_next(j)) {
        r->at = behind;
        return WEIR_OK;
    }
    if (!weir_json_skip(j, &event))
        return WEIR_OK;
    *left -= event.len < *left ? event.len : *left;
    return apply(r, r->key, r->block_size, event);
}

static enum weir_status step_object(struct weir_restore *r) {
    enum weir_status st = WEIR_OK;
    for (size_t left = WEIR_RESTORE_BYTES; st == WEIR_OK && left > 0 && r->at != END; left--) {
        switch (r->at) {
        case BEGIN:
            weir_json_init(&r->object, r->text, 32);
            r->at = GROUPS;
            if (weir_json_peek(&r->object) != WEIR_JSON_OBJECT ||
                !weir_json_object_enter(&r->object))
                st = weir_err_set(r->err, WEIR_INVALID, "the dump must be a JSON object or NDJSON");
            break;
        case GROUPS:
            st = next_group(r);
            break;
        case MEMBERS:
            st = next_member(r);
            break;
        case EVENTS:
            st = next_event(r, &r->object, MEMBERS, &left);
            break;
        case LATE_EVENTS:
            st = next_event(r, &r->late, GROUPS, &left);
            break;
        case END:
            break;
        }
        if (left == 0)
            break;
    }
    return st;
}

/* ---- interface ------------------------------------------------------------------------------- */

enum weir_status weir_restore_step(struct weir_restore *r, bool *ret_more, struct weir_err *err) {
    r->err = err;
    enum weir_status st = r->lines ? step_lines(r) : step_object(r);
    *ret_more = st == WEIR_OK && r->at != END;
    return st;
}

static void on_turn(void *arg) {
    struct weir_restore *r = arg;
    struct weir_err err = {.text = ""};
    bool more;
    enum weir_status st = weir_restore_step(r, &more, &err);
    if (more && weir_timer_start(&r->timer, 0) != WEIR_OK)
        st = weir_err_set(&err, WEIR_NOMEM, "out of memory");
    if (!more || st != WEIR_OK)
        r->fn(r->arg, st, &err);
}

void weir_restore_run(struct weir_restore *r, struct weir_loop *loop, weir_restore_fn fn,
                      void *arg) {
    r->fn = fn;
    r->arg = arg;
    weir_timer_init(&r->timer, loop, on_turn, r);
    on_turn(r);
}

bool weir_restore_is_lines(struct weir_span text) {
    return weir_span_starts(text, weir_span("{\"key\":", WEIR_RESTORE_LINES_BEGIN));
}

enum weir_status weir_restore_open(struct weir_groups *groups, struct weir_span text,
                                   struct weir_restore **ret_restore) {
    struct weir_restore *r = weir_calloc(1, sizeof(*r));
    if (r == NULL)
        return WEIR_NOMEM;
    r->groups = groups;
    r->text = text;
    r->lines = weir_restore_is_lines(text);
    weir_timer_init(&r->timer, NULL, on_turn, r);
    weir_buf_init(&r->line, LINE_BYTES);
    weir_buf_init(&r->key_text, LINE_BYTES);
    r->scratch = weir_calloc(EVENT_WORDS, sizeof(*r->scratch));
    if (r->scratch == NULL) {
        weir_restore_close(r);
        return WEIR_NOMEM;
    }
    *ret_restore = r;
    return WEIR_OK;
}

void weir_restore_close(struct weir_restore *r) {
    if (r == NULL)
        return;
    weir_timer_stop(&r->timer);
    weir_buf_fini(&r->line);
    weir_buf_fini(&r->key_text);
    weir_free(r->scratch);
    weir_free(r);
}

void weir_restore_tell_left(const struct weir_restore *r) {
    WEIR_LOG(WEIR_LOG_WARN, "indexer",
             "a restore ends before its end: its client has left, or this process is stopped; the "
             "%" PRIu64 " events that were applied stay, send it again for the rest",
             r != NULL ? r->n - r->left_out : 0);
}

uint64_t weir_restore_events(const struct weir_restore *r) {
    return r->n - r->left_out;
}

void weir_restore_say(const struct weir_restore *r, char ret_text[WEIR_RESTORE_SAYS]) {
    int n =
        snprintf(ret_text, WEIR_RESTORE_SAYS, "%" PRIu64 " events applied", weir_restore_events(r));
    if (r->left_out > 0)
        snprintf(ret_text + n, (size_t)(WEIR_RESTORE_SAYS - n),
                 ", %" PRIu64 " not: their parents are not there, or the index is full",
                 r->left_out);
}
