/* Happy path: each $ref → a JSON Pointer (RFC 6901) → the schema there; then chains of references
 * end, close their objects, and the root's is an object. */
#include "wire/strict_schema_priv.h"

#include <stdio.h>

static int hex(char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

static bool is_utf8(struct weir_span text) {
    struct weir_buf quoted;
    struct weir_json j;
    struct weir_json_str s;
    weir_buf_init(&quoted, text.len * 6 + 8);
    bool ok = weir_buf_append_c(&quoted, '"') == WEIR_OK;
    for (size_t i = 0; i < text.len && ok; i++)
        if ((unsigned char)text.data[i] >= 0x80)
            ok = weir_buf_append_c(&quoted, text.data[i]) == WEIR_OK;
    ok = ok && weir_buf_append_c(&quoted, '"') == WEIR_OK;
    weir_json_init(&j, weir_buf_span(&quoted), 2);
    ok = ok && weir_json_string(&j, &s) && weir_json_finish(&j);
    weir_buf_fini(&quoted);
    return ok;
}

/* "#/a/b" to "/a/b", percent signs resolved. */
static bool pointer_of(struct weir_strict_walk *w, struct weir_span ref, struct weir_span path,
                       struct weir_span *ret) {
    if (ref.len == 0 || ref.data[0] != '#')
        return weir_strict_fail(w, path, "Dynamo supports only document-local references");
    char *text = weir_arena_alloc(w->arena, ref.len);
    size_t n = 0;
    if (text == NULL)
        return weir_strict_nomem(w);
    for (size_t i = 1; i < ref.len; i++) {
        if (ref.data[i] != '%') {
            text[n++] = ref.data[i];
            continue;
        }
        int high = i + 2 < ref.len ? hex(ref.data[i + 1]) : -1;
        int low = high >= 0 ? hex(ref.data[i + 2]) : -1;
        if (low < 0)
            return weir_strict_fail(w, path, "invalid URI-fragment escape");
        text[n++] = (char)(high * 16 + low);
        i += 2;
    }
    *ret = weir_span(text, n);
    if (!is_utf8(*ret))
        return weir_strict_fail(w, path, "reference fragment must decode to UTF-8");
    if (n > 0 && text[0] != '/')
        return weir_strict_fail(w, path, "Dynamo does not support named-anchor references");
    for (size_t i = 0; i < n; i++)
        if (text[i] == '~' && (i + 1 == n || (text[i + 1] != '0' && text[i + 1] != '1')))
            return weir_strict_fail(w, path, "invalid JSON Pointer escape");
    return true;
}

/* A JSON Pointer's target is there, schema or not (RFC 6901). */
static bool exists(struct weir_strict_walk *w, struct weir_span at, struct weir_span pointer) {
    while (pointer.len > 0) {
        char *name = weir_arena_alloc(w->arena, pointer.len + 1);
        size_t n = 0, i = 1;
        struct weir_json j;
        struct weir_span found = {NULL, 0};
        struct weir_strict_member *m;
        size_t n_members;
        if (name == NULL)
            return !weir_strict_nomem(w);
        for (; i < pointer.len && pointer.data[i] != '/'; i++) {
            bool escaped = pointer.data[i] == '~';
            name[n++] = !escaped ? pointer.data[i] : pointer.data[++i] == '0' ? '~' : '/';
        }
        struct weir_span key = weir_span(name, n);
        uint64_t index;
        if (weir_json_type_of(at) == WEIR_JSON_OBJECT) {
            if (!weir_strict_members(w, at, &m, &n_members) ||
                !weir_strict_find(m, n_members, key, &found))
                return false;
        } else if (weir_json_type_of(at) == WEIR_JSON_ARRAY && weir_span_u64(key, &index) &&
                   (n == 1 || name[0] != '0')) {
            struct weir_span item;
            weir_json_init(&j, at, WEIR_STRICT_JSON_DEPTH);
            weir_json_array_enter(&j);
            while (weir_json_array_next(&j) && weir_json_skip(&j, &item))
                if (index-- == 0)
                    found = item;
        }
        if (found.data == NULL)
            return false;
        at = found;
        pointer = weir_span(pointer.data + i, pointer.len - i);
    }
    return true;
}

static bool resolve(struct weir_strict_walk *w) {
    for (size_t i = 0; i < w->n; i++) {
        struct weir_strict_node *s = &w->nodes[i];
        struct weir_span pointer = {NULL, 0}, at;
        if (s->ref.data == NULL)
            continue;
        at = weir_strict_below_z(w, s->path, "$ref");
        if (!pointer_of(w, s->ref, at, &pointer))
            return false;
        if (!exists(w, w->nodes[0].raw, pointer))
            return w->failed ? false : weir_strict_fail(w, at, "reference target does not exist");
        for (size_t k = 0; k < w->n && s->target < 0; k++)
            if (weir_span_eq(w->nodes[k].path, pointer))
                s->target = (long)k;
        if (s->target < 0)
            return weir_strict_fail(w, at, "reference target is not a recognized schema location");
    }
    return true;
}

/* Following references alone comes to an end from everywhere. */
static bool check_cycles(struct weir_strict_walk *w) {
    size_t *chain = weir_arena_alloc(w->arena, (w->n + 1) * sizeof(*chain));
    unsigned char *state = weir_arena_zalloc(w->arena, w->n + 1); /* 1 in the chain, 2 done */
    if (chain == NULL || state == NULL)
        return weir_strict_nomem(w);
    for (size_t i = 0; i < w->n; i++) {
        size_t n = 0, at = i;
        while (state[at] != 2) {
            if (state[at] == 1)
                return weir_strict_fail(w, w->nodes[at].path,
                                        "Dynamo does not support direct reference cycles");
            state[at] = 1;
            chain[n++] = at;
            if (w->nodes[at].target < 0)
                break;
            at = (size_t)w->nodes[at].target;
        }
        while (n > 0)
            state[chain[--n]] = 2;
    }
    return true;
}

/* One that says "object" beside a reference and closes nothing itself must end at one that does. */
static bool check_closure(struct weir_strict_walk *w) {
    for (size_t i = 0; i < w->n; i++) {
        const struct weir_strict_node *s = &w->nodes[i];
        if (s->members == NULL || s->target < 0 || !weir_strict_is_object(w, s) ||
            weir_strict_has_constraints(s))
            continue;
        const struct weir_strict_node *at = s;
        while (at->members != NULL && !weir_strict_has_constraints(at) && at->target >= 0)
            at = &w->nodes[at->target];
        if (at->members == NULL || !weir_strict_has_constraints(at) || !weir_strict_is_closed(at))
            return weir_strict_fail(
                w, s->path,
                "reference target must close the object with additionalProperties: false");
    }
    return true;
}

static bool check_root(struct weir_strict_walk *w) {
    bool object = false;
    const struct weir_strict_node *s = &w->nodes[0];
    for (size_t n = 0; n <= w->n; n++) {
        struct weir_span raw;
        if (weir_strict_has(s, "anyOf"))
            return weir_strict_fail(w, s->path, "root must not use anyOf");
        if (weir_strict_get(s, "type", &raw)) {
            struct weir_json j;
            weir_json_init(&j, raw, WEIR_STRICT_JSON_DEPTH);
            bool list = weir_json_type_of(raw) == WEIR_JSON_ARRAY;
            size_t n_types = 0;
            if (list)
                weir_json_array_enter(&j);
            while (list && weir_json_array_next(&j) && weir_json_skip(&j, NULL))
                n_types++;
            if (!weir_strict_says_object(w, s) || (list && n_types != 1))
                return weir_strict_fail(w, s->path, "root must have object-only type");
            object = true;
        }
        if (s->target < 0)
            break;
        s = &w->nodes[s->target];
    }
    return object || weir_strict_fail(
                         w, weir_span("", 0),
                         "unsupported root representation: Dynamo requires an object-only type or "
                         "local-reference chain");
}

bool weir_strict_check_references(struct weir_strict_walk *w) {
    return resolve(w) && check_cycles(w) && check_closure(w) && check_root(w);
}
