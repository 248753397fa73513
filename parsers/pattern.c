#include "parsers/pattern_priv.h"

#include "parsers/engine_priv.h"

static bool word_char(char ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           ch == '_' || ch == '-' || ch == '.' || ch == ':' || ch == '/';
}

/* Length of a slot that ends before `stop` (0: at the first byte that is no word's). */
static enum match slot(const char *d, size_t n, char stop, bool final, size_t *ret_len) {
    size_t i = 0;
    if (stop == '\0') {
        while (i < n && word_char(d[i]))
            i++;
    } else {
        while (i < n && d[i] != stop && d[i] != '\n' && d[i] != '<')
            i++;
        if (i < n && d[i] != stop)
            return MATCH_NO;
    }
    if (i > NAME_MAX)
        return MATCH_NO;
    if (i == n && !(final && stop == '\0'))
        return final ? MATCH_NO : MATCH_PART;
    *ret_len = i;
    return MATCH_FULL;
}

enum match wprs_match(const char *pattern, const char *d, size_t n, bool final,
                      struct slots *slots) {
    size_t at = 0;
    const enum match part = final ? MATCH_NO : MATCH_PART;
    for (const char *q = pattern; *q != '\0'; q++) {
        if (*q != '%') {
            if (at == n)
                return part;
            if (d[at] != *q)
                return MATCH_NO;
            at++;
            continue;
        }
        char kind = *++q;
        if (kind == 's') {
            at += wprs_ws_run(d + at, n - at);
            if (at == n && q[1] != '\0')
                return part;
            continue;
        }
        size_t len = 0;
        enum match m = slot(d + at, n - at, kind == 'w' ? '\0' : q[1], final, &len);
        if (m != MATCH_FULL)
            return m;
        if (len == 0 && kind != 'a')
            return MATCH_NO;
        *(kind == 'a' ? &slots->attr : &slots->name) = weir_span(d + at, len);
        at += len;
    }
    slots->len = at;
    return MATCH_FULL;
}

enum match wprs_match_any(const char *const *patterns, size_t n_patterns, const struct cursor *c,
                          struct slots *slots) {
    for (size_t i = 0; i < n_patterns && patterns[i] != NULL; i++) {
        *slots = (struct slots){0};
        enum match m = wprs_match(patterns[i], c->d, c->n, c->final, slots);
        if (m != MATCH_NO)
            return m;
    }
    return MATCH_NO;
}
