/*
 * Who asks: the session of an agent, named by Dynamo's own headers or by those that coding agents
 * send. It keeps a session with its worker and goes to the worker as `agent_context`. Which header
 * wins was seen on a live 1.6.1.
 */
#include "base/json.h"
#include "frontend/request_priv.h"

#include <string.h>
#include <strings.h>

bool weir_request_is_text(struct weir_span v) {
    for (size_t i = 0; i < v.len; i++)
        if ((unsigned char)v.data[i] < ' ' || (unsigned char)v.data[i] > '~')
            return false;
    return true;
}

/* A header's text, trimmed and not empty; else data NULL. */
static struct weir_span text_of(const struct weir_http_request *h, const char *name) {
    struct weir_span v = weir_span_trim(weir_http_header_get(h, name));
    return v.len > 0 && weir_request_is_text(v) ? v : weir_span(NULL, 0);
}

struct agent {
    struct weir_span session, parent;
    int final; /* -1: not said */
};

static int final_of(struct weir_span word) {
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no",
                                                                                "off"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(yes); i++) {
        if (weir_span_ieq(word, weir_span_z(yes[i])))
            return 1;
        if (weir_span_ieq(word, weir_span_z(no[i])))
            return 0;
    }
    return -1;
}

static struct agent agent_of(const struct weir_http_request *h) {
    struct agent a = {.final = final_of(text_of(h, "x-dynamo-session-final"))};
    a.session = text_of(h, "x-dynamo-session-id");
    if (a.session.data != NULL) {
        a.parent = text_of(h, "x-dynamo-parent-session-id");
        return a;
    }
    a.session = text_of(h, "x-claude-code-session-id");
    if (a.session.data != NULL) {
        struct weir_span sub = text_of(h, "x-claude-code-agent-id");
        a.parent = text_of(h, "x-claude-code-parent-agent-id");
        if (sub.data == NULL) {
            a.parent = weir_span(NULL, 0);
        } else {
            a.parent = a.parent.data != NULL ? a.parent : a.session;
            a.session = sub;
        }
        return a;
    }
    a.session = text_of(h, "thread-id");
    if (a.session.data != NULL) {
        a.parent = text_of(h, "x-codex-parent-thread-id");
        return a;
    }
    a.session = text_of(h, "x-session-id");
    a.parent = text_of(h, "x-parent-session-id");
    return a;
}

/* A header that agents send about themselves. */
static bool is_native(struct weir_span name) {
    static const char *const names[] = {"session-id", "thread-id", "x-session-id",
                                        "x-parent-session-id", "x-openai-subagent"};
    static const char *const prefixes[] = {"x-claude-code-", "x-codex-"};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++)
        if (weir_span_ieq(name, weir_span_z(names[i])))
            return true;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(prefixes); i++)
        if (name.len > strlen(prefixes[i]) &&
            strncasecmp(name.data, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static int compare(struct weir_span a, struct weir_span b) {
    int d = strncasecmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return d != 0 ? d : a.len < b.len ? -1 : a.len > b.len;
}

/* The next name behind `after` in the order of the alphabet; data NULL: none is left. */
static struct weir_span next_native(const struct weir_http_request *h, struct weir_span after) {
    struct weir_span best = {NULL, 0};
    for (size_t i = 0; i < h->n_headers; i++) {
        struct weir_span name = h->headers[i].name;
        if (is_native(name) && weir_request_is_text(h->headers[i].value) &&
            (after.data == NULL || compare(name, after) > 0) &&
            (best.data == NULL || compare(name, best) < 0))
            best = name;
    }
    return best;
}

static void put_native(struct weir_jsonw *w, const struct weir_http_request *h,
                       struct weir_span name) {
    char lower[64];
    size_t n = name.len < sizeof(lower) ? name.len : sizeof(lower);
    for (size_t i = 0; i < n; i++)
        lower[i] = name.data[i] >= 'A' && name.data[i] <= 'Z' ? (char)(name.data[i] + ('a' - 'A'))
                                                              : name.data[i];
    weir_jsonw_key_span(w, weir_span(lower, n));
    weir_jsonw_array_begin(w);
    for (size_t i = 0; i < h->n_headers; i++)
        if (compare(h->headers[i].name, name) == 0 && weir_request_is_text(h->headers[i].value))
            weir_jsonw_string(w, weir_span_trim(h->headers[i].value));
    weir_jsonw_array_end(w);
}

/* Why the agent asks: what the conversation ends with. */
static const char *trigger(const struct weir_request *r) {
    struct weir_json j;
    struct weir_json_str key, role;
    struct weir_span message, last = {NULL, 0};
    if (r->q.kind != WEIR_OPENAI_CHAT || r->q.messages.data == NULL)
        return "other";
    weir_json_init(&j, r->q.messages, 128);
    if (!weir_json_array_enter(&j))
        return "other";
    while (weir_json_array_next(&j) && weir_json_skip(&j, &message))
        last = message;
    if (last.data == NULL)
        return "other";
    weir_json_init(&j, last, 128);
    if (!weir_json_object_enter(&j))
        return "other";
    while (weir_json_object_next(&j, &key)) {
        if (!weir_json_str_eqz(key, "role")) {
            if (!weir_json_skip(&j, NULL))
                break;
            continue;
        }
        if (!weir_json_string(&j, &role))
            break;
        return weir_json_str_eqz(role, "user") ? "user_message"
               : weir_json_str_eqz(role, "tool") || weir_json_str_eqz(role, "function")
                   ? "tool_result"
                   : "other";
    }
    return "other";
}

static void put_context(struct weir_jsonw *w, const struct weir_request *r, const struct agent *a) {
    const struct weir_http_request *h = weir_http_exchange_request(r->x);
    weir_jsonw_object_begin(w);
    weir_jsonw_key(w, "session_id");
    weir_jsonw_string(w, a->session);
    if (a->parent.data != NULL) {
        weir_jsonw_key(w, "parent_session_id");
        weir_jsonw_string(w, a->parent);
    }
    if (a->final >= 0) {
        weir_jsonw_key(w, "session_final");
        weir_jsonw_bool(w, a->final != 0);
    }
    struct weir_span name = next_native(h, weir_span(NULL, 0));
    if (name.data != NULL) {
        weir_jsonw_key(w, "agent_headers");
        weir_jsonw_object_begin(w);
        for (; name.data != NULL; name = next_native(h, name))
            put_native(w, h, name);
        weir_jsonw_object_end(w);
    }
    weir_jsonw_key(w, "input_trigger");
    weir_jsonw_string_z(w, trigger(r));
    weir_jsonw_object_end(w);
}

enum weir_status weir_request_read_agent(struct weir_request *r, struct weir_span *ret_session) {
    enum { MAX = 4 << 20 };
    struct agent a = agent_of(weir_http_exchange_request(r->x));
    struct weir_buf out;
    struct weir_jsonw w;
    *ret_session = a.session;
    if (a.session.data == NULL)
        return WEIR_OK;
    weir_buf_init(&out, MAX);
    weir_jsonw_init(&w, &out);
    put_context(&w, r, &a);
    if (w.status == WEIR_OK)
        r->q.prep.agent_context = weir_arena_copy(&r->arena, weir_buf_span(&out));
    weir_buf_fini(&out);
    r->q.prep.image_cache_scope = a.session;
    return w.status != WEIR_OK                    ? w.status
           : r->q.prep.agent_context.data != NULL ? WEIR_OK
                                                  : WEIR_NOMEM;
}
