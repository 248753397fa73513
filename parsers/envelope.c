/* Headers of formats in which an answer is a row of messages. */
#include "parsers/engine_priv.h"

enum { HEADER_MAX = 512 };

static bool has(struct weir_span text, const char *part, const char **ret_behind) {
    const char *at = memmem(text.data, text.len, part, strlen(part));
    if (at != NULL)
        *ret_behind = at + strlen(part);
    return at != NULL;
}

/* A literal at d: its length, or 0. */
static enum match literal(const char *z, const char *d, size_t n, bool final, size_t *ret_len) {
    struct slots s = {0};
    enum match m = wprs_match(z, d, n, final, &s);
    if (m == MATCH_FULL)
        *ret_len = s.len;
    return m;
}

struct fixed {
    const char *text;
    enum header kind;
};

static enum match one_of(const struct fixed *rows, size_t n_rows, const char *d, size_t n,
                         bool final, size_t *ret_len, enum header *ret_kind) {
    enum match best = MATCH_NO;
    for (size_t i = 0; i < n_rows; i++) {
        enum match m = literal(rows[i].text, d, n, final, ret_len);
        if (m > best) {
            best = m;
            *ret_kind = rows[i].kind;
        }
        if (m == MATCH_FULL)
            break;
    }
    return best;
}

/* The text between an opening marker at d and <|message|>. */
static enum match up_to_message(const char *d, size_t n, bool final, size_t *ret_len,
                                struct weir_span *ret_text) {
    static const char stop[] = "<|message|>";
    size_t look = n < HEADER_MAX ? n : HEADER_MAX;
    const char *line = memchr(d, '\n', look);
    look = line != NULL ? (size_t)(line - d) : look;
    const char *at = memmem(d, look, stop, sizeof(stop) - 1);
    if (at == NULL)
        return look == HEADER_MAX || line != NULL || final ? MATCH_NO : MATCH_PART;
    *ret_text = weir_span(d, (size_t)(at - d));
    *ret_len = ret_text->len + sizeof(stop) - 1;
    return MATCH_FULL;
}

static struct weir_span word_at(const char *d, const char *end) {
    const char *from = d;
    while (d < end && *d != ' ' && *d != '<' && *d != '\n')
        d++;
    return weir_span(from, (size_t)(d - from));
}

static enum match harmony(const char *d, size_t n, bool final, size_t *ret_len,
                          enum header *ret_kind, struct weir_span *ret_name) {
    static const struct fixed ends[] = {
        {"<|end|>", HEADER_END}, {"<|call|>", HEADER_END}, {"<|return|>", HEADER_END}};
    static const struct fixed starts[] = {{"<|start|>assistant", HEADER_CONTENT},
                                          {"<|channel|>", HEADER_CONTENT}};
    enum match end = one_of(ends, WEIR_ARRAY_LEN(ends), d, n, final, ret_len, ret_kind);
    if (end == MATCH_FULL)
        return MATCH_FULL;
    size_t len;
    enum match m = one_of(starts, WEIR_ARRAY_LEN(starts), d, n, final, &len, ret_kind);
    struct weir_span text;
    if (m == MATCH_FULL)
        m = up_to_message(d, n, final, ret_len, &text);
    if (m != MATCH_FULL)
        return m > end ? m : end;
    const char *at = NULL;
    *ret_kind = HEADER_CONTENT;
    if (has(text, " to=", &at)) {
        *ret_name = word_at(at, text.data + text.len);
        if (ret_name->len > 0)
            *ret_kind = HEADER_CALL;
    } else if (has(text, "<|channel|>analysis", &at)) {
        *ret_kind = HEADER_REASON;
    }
    return MATCH_FULL;
}

static enum match inkling(const char *d, size_t n, bool final, size_t *ret_len,
                          enum header *ret_kind) {
#define MODEL "<|message_model|>"
    static const struct fixed rows[] = {
        {MODEL "<|content_text|>", HEADER_CONTENT},
        {MODEL "<|content_thinking|>", HEADER_REASON},
        {MODEL "<|content_invoke_tool_json|>", HEADER_CALL},
        {"<|content_text|>", HEADER_CONTENT},
        {"<|content_thinking|>", HEADER_REASON},
        {"<|content_invoke_tool_json|>", HEADER_CALL},
        {"<|end_message|>", HEADER_END},
    };
    return one_of(rows, WEIR_ARRAY_LEN(rows), d, n, final, ret_len, ret_kind);
}

static enum match kimi3(const char *d, size_t n, bool final, size_t *ret_len,
                        enum header *ret_kind) {
    static const struct fixed rows[] = {
        {"<|open|>response<|sep|>", HEADER_CONTENT}, {"<|open|>think<|sep|>", HEADER_REASON},
        {"<|open|>tools<|sep|>", HEADER_CALL},       {"<|close|>response<|sep|>", HEADER_END},
        {"<|close|>think<|sep|>", HEADER_END},       {"<|close|>tools<|sep|>", HEADER_END},
    };
    return one_of(rows, WEIR_ARRAY_LEN(rows), d, n, final, ret_len, ret_kind);
}

static enum match muse(const char *d, size_t n, bool final, size_t *ret_len,
                       enum header *ret_kind) {
    static const struct fixed rows[] = {{"<|eom|>", HEADER_END},
                                        {"<|eot|>", HEADER_END},
                                        {"<|start|>assistant", HEADER_CONTENT},
                                        {"<atem:function_calls>", HEADER_CALL}};
    enum match m = one_of(rows, WEIR_ARRAY_LEN(rows), d, n, final, ret_len, ret_kind);
    if (m != MATCH_FULL || *ret_kind != HEADER_CONTENT)
        return m;
    struct weir_span text;
    const char *at = NULL;
    m = up_to_message(d, n, final, ret_len, &text);
    if (m != MATCH_FULL || !has(text, " to=", &at))
        return m;
    struct weir_span to = word_at(at, text.data + text.len);
    if (weir_span_eqz(to, "self")) {
        *ret_kind = HEADER_REASON;
    } else if (!weir_span_eqz(to, "user")) { /* a tool's name: the call block follows */
        size_t block = 0;
        *ret_kind = HEADER_CALL;
        m = literal("%s<atem:function_calls>", d + *ret_len, n - *ret_len, final, &block);
        if (m == MATCH_NO)
            *ret_kind = HEADER_CONTENT;
        else
            *ret_len += block;
        return m == MATCH_PART ? MATCH_PART : MATCH_FULL;
    }
    return MATCH_FULL;
}

enum match wprs_envelope(enum envelope envelope, const char *d, size_t n, bool final,
                         size_t *ret_len, enum header *ret_kind, struct weir_span *ret_name) {
    *ret_name = weir_span(NULL, 0);
    switch (envelope) {
    case ENVELOPE_HARMONY:
        return harmony(d, n, final, ret_len, ret_kind, ret_name);
    case ENVELOPE_INKLING:
        return inkling(d, n, final, ret_len, ret_kind);
    case ENVELOPE_KIMI3:
        return kimi3(d, n, final, ret_len, ret_kind);
    case ENVELOPE_MUSE:
        return muse(d, n, final, ret_len, ret_kind);
    default:
        return MATCH_NO;
    }
}
