/*
 * Breadth first over all schemas in the schema, so that the first fault is always the same one;
 * then the references, which may point forward. A schema's members are read once, into a sorted
 * table.
 */
#include "wire/strict_schema_priv.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NODES = 20000,
    MAX_OBJECT_DEPTH = 10,
    MAX_SHOWN_CHARS = 256,
    MAX_PROPERTIES = 5000,
    MAX_ENUMS = 1000,
    MAX_CHARACTERS = 120000,
    LONG_ENUM = 250,
    MAX_ENUM_CHARACTERS = 15000,
};

/* ---- faults ------------------------------------------------------------------------------- */

/* At most so many characters, with dots behind what is cut. */
static struct weir_span shown(struct weir_span text, bool *ret_cut) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (((unsigned char)text.data[i] & 0xC0) != 0x80 && n++ == MAX_SHOWN_CHARS) {
            *ret_cut = true;
            return weir_span(text.data, i);
        }
    }
    *ret_cut = false;
    return text;
}

bool weir_strict_fail(struct weir_strict_walk *w, struct weir_span path, const char *fmt, ...) {
    char detail[1536];
    bool cut;
    va_list ap;
    struct weir_span at = shown(path, &cut);
    if (w->failed)
        return false;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    w->failed = true;
    w->nomem = weir_buf_printf(w->out, "In context=#%.*s%s, %s", WEIR_SPAN_ARG(at),
                               cut ? "..." : "", detail) != WEIR_OK;
    return false;
}

bool weir_strict_nomem(struct weir_strict_walk *w) {
    w->failed = w->nomem = true;
    return false;
}

/* path/key, with the key's '~' and '/' escaped. data NULL: no memory. */
static struct weir_span below(struct weir_strict_walk *w, struct weir_span path,
                              struct weir_span key) {
    char *text = weir_arena_alloc(w->arena, path.len + key.len * 2 + 2);
    size_t n = path.len;
    if (text == NULL) {
        weir_strict_nomem(w);
        return weir_span(NULL, 0);
    }
    if (n > 0)
        memcpy(text, path.data, n);
    text[n++] = '/';
    for (size_t i = 0; i < key.len; i++) {
        if (key.data[i] == '~' || key.data[i] == '/') {
            text[n++] = '~';
            text[n++] = key.data[i] == '~' ? '0' : '1';
        } else {
            text[n++] = key.data[i];
        }
    }
    return weir_span(text, n);
}

struct weir_span weir_strict_below_z(struct weir_strict_walk *w, struct weir_span path,
                                     const char *key) {
    return below(w, path, weir_span_z(key));
}

static bool fail_at(struct weir_strict_walk *w, struct weir_span path, const char *key,
                    const char *detail) {
    return weir_strict_fail(w, weir_strict_below_z(w, path, key), "%s", detail);
}

/* ---- values ------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    const struct weir_strict_member *x = a, *y = b;
    size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = n > 0 ? memcmp(x->name.data, y->name.data, n) : 0;
    return order != 0 ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

/* The members of an object, sorted; of several with one name the last. False: no memory. */
bool weir_strict_members(struct weir_strict_walk *w, struct weir_span object,
                         struct weir_strict_member **ret, size_t *ret_n) {
    struct weir_json j;
    struct weir_json_str key;
    size_t n = 0, room = 1;
    weir_json_init(&j, object, WEIR_STRICT_JSON_DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, NULL))
        room++;
    struct weir_strict_member *m = weir_arena_alloc(w->arena, room * sizeof(*m));
    if (m == NULL)
        return weir_strict_nomem(w);
    weir_json_init(&j, object, WEIR_STRICT_JSON_DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &m[n].raw)) {
        m[n].name = weir_json_text(key, w->arena);
        if (m[n].name.data == NULL)
            return weir_strict_nomem(w);
        size_t same = 0;
        while (same < n && by_name(&m[same], &m[n]) != 0)
            same++;
        if (same < n)
            m[same].raw = m[n].raw;
        else
            n++;
    }
    qsort(m, n, sizeof(*m), by_name);
    *ret = m;
    *ret_n = n;
    return true;
}

bool weir_strict_find(const struct weir_strict_member *m, size_t n, struct weir_span name,
                      struct weir_span *ret) {
    struct weir_strict_member key = {.name = name};
    const struct weir_strict_member *found =
        n > 0 ? bsearch(&key, m, n, sizeof(*m), by_name) : NULL;
    if (found != NULL)
        *ret = found->raw;
    return found != NULL;
}

bool weir_strict_get(const struct weir_strict_node *s, const char *name, struct weir_span *ret) {
    return weir_strict_find(s->members, s->n_members, weir_span_z(name), ret);
}

bool weir_strict_has(const struct weir_strict_node *s, const char *name) {
    struct weir_span ignored;
    return weir_strict_get(s, name, &ignored);
}

/* The text of a string value; data NULL when it is none. */
static struct weir_span text_of(struct weir_strict_walk *w, struct weir_span raw) {
    struct weir_json j;
    struct weir_json_str s;
    weir_json_init(&j, raw, 2);
    return weir_json_type_of(raw) == WEIR_JSON_STRING && weir_json_string(&j, &s)
               ? weir_json_text(s, w->arena)
               : weir_span(NULL, 0);
}

static size_t characters(struct weir_span text) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return n;
}

struct texts {
    struct weir_strict_member *items; /* names only, sorted */
    size_t n;
};

/* An array of strings, each once. */
static bool unique_strings(struct weir_strict_walk *w, struct weir_span raw, struct weir_span path,
                           struct texts *ret) {
    struct weir_json j;
    struct weir_span item;
    size_t room = 1;
    ret->n = 0;
    if (weir_json_type_of(raw) != WEIR_JSON_ARRAY)
        return weir_strict_fail(w, path, "must be an array of unique strings");
    for (size_t i = 0; i < raw.len; i++)
        room += raw.data[i] == ',';
    ret->items = weir_arena_alloc(w->arena, room * sizeof(*ret->items));
    if (ret->items == NULL)
        return weir_strict_nomem(w);
    weir_json_init(&j, raw, WEIR_STRICT_JSON_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &item)) {
        struct weir_span text = text_of(w, item);
        if (text.data == NULL)
            return weir_strict_fail(w, path, "must be an array of unique strings");
        ret->items[ret->n++] = (struct weir_strict_member){.name = text};
    }
    if (ret->n > 0)
        qsort(ret->items, ret->n, sizeof(*ret->items), by_name);
    for (size_t i = 1; i < ret->n; i++)
        if (by_name(&ret->items[i - 1], &ret->items[i]) == 0)
            return weir_strict_fail(w, path, "must be an array of unique strings");
    return true;
}

/* ---- one schema --------------------------------------------------------------------------- */

static bool is_type(struct weir_span name) {
    static const char *const types[] = {"null",   "boolean", "object", "array",
                                        "number", "integer", "string"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (weir_span_eqz(name, types[i]))
            return true;
    return false;
}

static bool check_type(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    struct weir_span raw, at;
    struct texts names;
    if (!weir_strict_get(s, "type", &raw))
        return true;
    at = weir_strict_below_z(w, s->path, "type");
    struct weir_span one = text_of(w, raw);
    bool ok = one.data != NULL && is_type(one);
    if (one.data == NULL) {
        if (!unique_strings(w, raw, at, &names))
            return false;
        ok = names.n > 0;
        for (size_t i = 0; i < names.n; i++)
            ok = ok && is_type(names.items[i].name);
    }
    return ok || weir_strict_fail(w, at, "must contain recognized, unique JSON Schema type names");
}

static bool check_numbers(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    static const char *const numbers[] = {"minimum", "maximum", "exclusiveMinimum",
                                          "exclusiveMaximum", "multipleOf"};
    static const char *const counts[] = {"minLength", "maxLength",     "minItems",
                                         "maxItems",  "minProperties", "maxProperties"};
    struct weir_span raw;
    double d = 0;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (!weir_strict_get(s, numbers[i], &raw))
            continue;
        if (weir_json_type_of(raw) != WEIR_JSON_NUMBER)
            return fail_at(w, s->path, numbers[i], "must be numeric");
        if (strcmp(numbers[i], "multipleOf") == 0 && !(weir_span_f64(raw, &d) && d > 0))
            return fail_at(w, s->path, numbers[i], "must be positive");
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        if (weir_strict_get(s, counts[i], &raw) &&
            !(weir_json_type_of(raw) == WEIR_JSON_NUMBER && weir_span_f64(raw, &d) && d >= 0 &&
              d == trunc(d)))
            return fail_at(w, s->path, counts[i], "must be a nonnegative integer");
    return true;
}

static bool check_values(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    static const char *const strings[] = {"$ref", "pattern", "format"};
    struct weir_span raw;
    struct texts ignored;
    if (!check_type(w, s))
        return false;
    if (weir_strict_get(s, "required", &raw) &&
        !unique_strings(w, raw, weir_strict_below_z(w, s->path, "required"), &ignored))
        return false;
    if (weir_strict_get(s, "enum", &raw) && weir_json_type_of(raw) != WEIR_JSON_ARRAY)
        return fail_at(w, s->path, "enum", "must be an array");
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
        if (weir_strict_get(s, strings[i], &raw) && weir_json_type_of(raw) != WEIR_JSON_STRING)
            return fail_at(w, s->path, strings[i], "must be a string");
    return check_numbers(w, s);
}

/* The type is, or may be, an object. */
bool weir_strict_says_object(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    struct weir_span raw, item;
    struct weir_json j;
    if (!weir_strict_get(s, "type", &raw))
        return false;
    if (weir_json_type_of(raw) != WEIR_JSON_ARRAY)
        return weir_span_eqz(text_of(w, raw), "object");
    weir_json_init(&j, raw, WEIR_STRICT_JSON_DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &item))
        if (weir_span_eqz(text_of(w, item), "object"))
            return true;
    return false;
}

bool weir_strict_is_object(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    return weir_strict_has(s, "properties") || weir_strict_has(s, "patternProperties") ||
           weir_strict_says_object(w, s);
}

bool weir_strict_has_constraints(const struct weir_strict_node *s) {
    return weir_strict_has(s, "properties") || weir_strict_has(s, "patternProperties") ||
           weir_strict_has(s, "required") || weir_strict_has(s, "additionalProperties");
}

bool weir_strict_is_closed(const struct weir_strict_node *s) {
    struct weir_span raw;
    return weir_strict_get(s, "additionalProperties", &raw) && weir_span_eqz(raw, "false");
}

static bool map_at(struct weir_strict_walk *w, const struct weir_strict_node *s, const char *key,
                   struct weir_strict_member **ret, size_t *ret_n, bool *ret_has) {
    struct weir_span raw;
    *ret_n = 0;
    *ret_has = weir_strict_get(s, key, &raw);
    if (!*ret_has)
        return true;
    return weir_json_type_of(raw) == WEIR_JSON_OBJECT
               ? weir_strict_members(w, raw, ret, ret_n)
               : fail_at(w, s->path, key, "must be a map of schemas");
}

static bool check_object(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    struct weir_strict_member *properties = NULL, *patterns = NULL;
    size_t n_properties, n_patterns;
    bool any;
    struct texts required = {.n = 0};
    struct weir_span raw, ignored;
    if (!(weir_strict_has(s, "$ref") ? weir_strict_has_constraints(s)
                                     : weir_strict_is_object(w, s)))
        return true;
    if (!weir_strict_is_closed(s))
        return weir_strict_fail(w, s->path, "object schemas require additionalProperties: false");
    if (!map_at(w, s, "properties", &properties, &n_properties, &any) ||
        !map_at(w, s, "patternProperties", &patterns, &n_patterns, &any))
        return false;
    struct weir_span at = weir_strict_below_z(w, s->path, "required");
    if (weir_strict_get(s, "required", &raw) && !unique_strings(w, raw, at, &required))
        return false;
    bool cut;
    for (size_t i = 0; i < n_properties; i++) {
        if (!weir_strict_find(required.items, required.n, properties[i].name, &ignored)) {
            struct weir_span name = shown(properties[i].name, &cut);
            return weir_strict_fail(w, at, "must include property '%.*s%s'", WEIR_SPAN_ARG(name),
                                    cut ? "..." : "");
        }
    }
    for (size_t i = 0; i < required.n && n_patterns == 0; i++) {
        if (!weir_strict_find(properties, n_properties, required.items[i].name, &ignored)) {
            struct weir_span name = shown(required.items[i].name, &cut);
            return weir_strict_fail(w, at, "unknown property '%.*s%s' in a closed object",
                                    WEIR_SPAN_ARG(name), cut ? "..." : "");
        }
    }
    return true;
}

static bool count_enum(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    struct weir_span raw, item, text;
    struct weir_json j;
    size_t n = 0, n_texts = 0, n_chars = 0;
    if (weir_strict_get(s, "enum", &raw)) {
        weir_json_init(&j, raw, WEIR_STRICT_JSON_DEPTH);
        weir_json_array_enter(&j);
        while (weir_json_array_next(&j) && weir_json_skip(&j, &item)) {
            n++;
            text = text_of(w, item);
            n_texts += text.data != NULL;
            n_chars += characters(text);
        }
        w->n_enums += n;
        w->n_characters += n_chars;
        if (n > LONG_ENUM && n_texts == n && n_chars > MAX_ENUM_CHARACTERS)
            return fail_at(w, s->path, "enum",
                           "exceeds 15000 characters in an all-string enum with more than 250 "
                           "entries");
    }
    if (weir_strict_get(s, "const", &raw))
        w->n_characters += characters(text_of(w, raw));
    return true;
}

/* ---- the schemas in a schema -------------------------------------------------------------- */

static bool add(struct weir_strict_walk *w, struct weir_span path, struct weir_span raw,
                unsigned depth) {
    if (path.data == NULL && path.len > 0)
        return weir_strict_nomem(w);
    if (w->n == MAX_NODES)
        return weir_strict_fail(w, path, "exceeds %d schemas", MAX_NODES);
    if (w->n == w->room) {
        size_t room = w->room * 2 + 16;
        struct weir_strict_node *more = weir_arena_alloc(w->arena, room * sizeof(*more));
        if (more == NULL)
            return weir_strict_nomem(w);
        if (w->n > 0)
            memcpy(more, w->nodes, w->n * sizeof(*more));
        w->nodes = more;
        w->room = room;
    }
    w->nodes[w->n++] = (struct weir_strict_node){
        .path = path, .raw = raw, .depth = depth, .target = -1, .closed = -1};
    return true;
}

static bool add_maps(struct weir_strict_walk *w, const struct weir_strict_node *s, unsigned depth) {
    static const char *const maps[] = {"properties", "patternProperties", "$defs", "definitions"};
    for (size_t k = 0; k < sizeof(maps) / sizeof(maps[0]); k++) {
        struct weir_strict_member *m;
        size_t n;
        bool any;
        if (!map_at(w, s, maps[k], &m, &n, &any))
            return false;
        if (k == 0)
            w->n_properties += n;
        struct weir_span at = any ? weir_strict_below_z(w, s->path, maps[k]) : weir_span(NULL, 0);
        for (size_t i = 0; i < n; i++) {
            if (k != 1)
                w->n_characters += characters(m[i].name);
            if (!add(w, below(w, at, m[i].name), m[i].raw, depth))
                return false;
        }
    }
    return true;
}

static bool add_lists(struct weir_strict_walk *w, const struct weir_strict_node *s,
                      unsigned depth) {
    static const char *const lists[] = {"anyOf", "prefixItems", "items"};
    for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++) {
        struct weir_span raw, item;
        struct weir_json j;
        if (!weir_strict_get(s, lists[k], &raw))
            continue;
        struct weir_span at = weir_strict_below_z(w, s->path, lists[k]);
        bool list = weir_json_type_of(raw) == WEIR_JSON_ARRAY;
        if (k == 2 && !list) {
            if (!add(w, at, raw, depth))
                return false;
            continue;
        }
        size_t n = 0;
        weir_json_init(&j, raw, WEIR_STRICT_JSON_DEPTH);
        if (list)
            weir_json_array_enter(&j);
        while (list && weir_json_array_next(&j) && weir_json_skip(&j, &item)) {
            char index[24];
            snprintf(index, sizeof(index), "%zu", n++);
            if (!add(w, weir_strict_below_z(w, at, index), item, depth))
                return false;
        }
        if (n == 0)
            return weir_strict_fail(w, at, "must be a nonempty array of schemas");
    }
    return true;
}

static bool add_single(struct weir_strict_walk *w, const struct weir_strict_node *s,
                       unsigned depth) {
    static const char *const keys[] = {"additionalProperties", "additionalItems", "propertyNames",
                                       "unevaluatedProperties", "contentSchema"};
    struct weir_span raw;
    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
        if (weir_strict_get(s, keys[k], &raw) &&
            !add(w, weir_strict_below_z(w, s->path, keys[k]), raw, depth))
            return false;
    return true;
}

static bool add_dependencies(struct weir_strict_walk *w, const struct weir_strict_node *s,
                             unsigned depth) {
    struct weir_span raw;
    struct weir_strict_member *m;
    struct texts ignored;
    size_t n;
    if (!weir_strict_get(s, "dependencies", &raw))
        return true;
    struct weir_span at = weir_strict_below_z(w, s->path, "dependencies");
    if (weir_json_type_of(raw) != WEIR_JSON_OBJECT)
        return weir_strict_fail(w, at, "must be a map of schemas or property dependencies");
    if (!weir_strict_members(w, raw, &m, &n))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct weir_span place = below(w, at, m[i].name);
        bool ok = weir_json_type_of(m[i].raw) == WEIR_JSON_ARRAY
                      ? unique_strings(w, m[i].raw, place, &ignored)
                      : add(w, place, m[i].raw, depth);
        if (!ok)
            return false;
    }
    return true;
}

static bool check_keywords(struct weir_strict_walk *w, const struct weir_strict_node *s) {
    static const char *const refused[] = {"allOf",
                                          "oneOf",
                                          "not",
                                          "dependentRequired",
                                          "dependentSchemas",
                                          "if",
                                          "then",
                                          "else",
                                          "uniqueItems",
                                          "contains",
                                          "minContains",
                                          "maxContains",
                                          "unevaluatedItems"};
    static const char *const references[] = {"$dynamicRef", "$recursiveRef"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (weir_strict_has(s, refused[i]))
            return fail_at(w, s->path, refused[i], "keyword is not supported in strict schemas");
    for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++)
        if (weir_strict_has(s, references[i]))
            return fail_at(w, s->path, references[i],
                           "Dynamo does not support this reference mechanism");
    return true;
}

static bool check_budgets(struct weir_strict_walk *w, struct weir_span path) {
    if (w->n_properties > MAX_PROPERTIES)
        return weir_strict_fail(w, path, "exceeds %d declared properties", MAX_PROPERTIES);
    if (w->n_enums > MAX_ENUMS)
        return weir_strict_fail(w, path, "exceeds %d enum entries", MAX_ENUMS);
    return w->n_characters <= MAX_CHARACTERS ||
           weir_strict_fail(w, path, "exceeds %d name and value characters", MAX_CHARACTERS);
}

static bool visit(struct weir_strict_walk *w, size_t index) {
    struct weir_strict_node *at = &w->nodes[index];
    enum weir_json_type type = weir_json_type_of(at->raw);
    struct weir_span raw;
    if (type == WEIR_JSON_TRUE || type == WEIR_JSON_FALSE)
        return true;
    if (type != WEIR_JSON_OBJECT)
        return weir_strict_fail(w, at->path, "schema must be an object or boolean");
    if (!weir_strict_members(w, at->raw, &at->members, &at->n_members))
        return false;
    struct weir_strict_node s = *at; /* the table may move while schemas are added */
    if (!check_keywords(w, &s))
        return false;
    if (index > 0 && (weir_strict_has(&s, "$id") || weir_strict_has(&s, "id")) &&
        w->nested_id.data == NULL)
        w->nested_id = s.path;
    if (!check_values(w, &s))
        return false;
    bool object = weir_strict_is_object(w, &s);
    if (object && s.depth > MAX_OBJECT_DEPTH)
        return weir_strict_fail(w, s.path, "exceeds %d levels of object nesting", MAX_OBJECT_DEPTH);
    if (!check_object(w, &s))
        return false;
    if (weir_strict_get(&s, "$ref", &raw))
        at->ref = text_of(w, raw);
    unsigned depth = s.depth + object;
    return count_enum(w, &s) && add_maps(w, &s, depth) && add_lists(w, &s, depth) &&
           add_single(w, &s, depth) && add_dependencies(w, &s, depth) && check_budgets(w, s.path);
}

static bool walk(struct weir_strict_walk *w, struct weir_span schema) {
    bool references = false;
    if (!add(w, weir_span("", 0), schema, 0))
        return false;
    for (size_t i = 0; i < w->n; i++) {
        if (!visit(w, i))
            return false;
        references |= w->nodes[i].ref.data != NULL;
    }
    if (references && w->nested_id.data != NULL)
        return weir_strict_fail(w, w->nested_id,
                                "Dynamo does not support references with nested identifier scopes");
    return weir_strict_check_references(w);
}

enum weir_status weir_strict_schema_check(struct weir_span schema, struct weir_arena *arena,
                                          struct weir_buf *out) {
    struct weir_strict_walk w = {.arena = arena, .out = out};
    if (walk(&w, schema))
        return WEIR_OK;
    return w.nomem ? WEIR_NOMEM : WEIR_INVALID;
}
