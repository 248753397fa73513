#include "parsers/schema_priv.h"

#include "base/json.h"
#include "parsers/jscan_priv.h"
#include "parsers/literal_priv.h"

enum { JSON_DEPTH = 128, REF_DEPTH = 8 };

/* The value of a member of the object that `json` is; NULL data when absent. */
static struct weir_span member(struct weir_span json, struct weir_span name) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value, found = {NULL, 0};
    weir_json_init(&j, json, JSON_DEPTH);
    if (json.data == NULL || weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return found;
    while (weir_json_object_next(&j, &key)) {
        if (!weir_json_skip(&j, &value))
            break;
        if (weir_json_str_eq(key, name))
            found = value;
    }
    return found;
}

static struct weir_span member_z(struct weir_span json, const char *name) {
    return member(json, weir_span_z(name));
}

struct weir_span wprs_schema_tool(struct weir_span tools, struct weir_span name) {
    struct weir_json j;
    struct weir_span tool;
    weir_json_init(&j, tools, JSON_DEPTH);
    if (tools.data == NULL || !weir_json_array_enter(&j))
        return weir_span(NULL, 0);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &tool)) {
        struct weir_span function = member_z(tool, "function");
        struct weir_span named = member_z(function, "name");
        if (weir_json_is_text(named, name))
            return member_z(function, "parameters");
    }
    return weir_span(NULL, 0);
}

/* "#/$defs/NAME" and the like; escapes of JSON pointers do not occur in names of types. */
static struct weir_span resolve(struct weir_span root, struct weir_span schema) {
    for (int i = 0; i < REF_DEPTH; i++) {
        struct weir_span ref = member_z(schema, "$ref");
        if (ref.len < 4 || ref.data[1] != '#')
            return schema;
        struct weir_span path = weir_span(ref.data + 2, ref.len - 3), at = root;
        weir_span_split(path, '/', &path); /* what stands before the first slash is empty */
        while (path.data != NULL)
            at = member(at, weir_span_split(path, '/', &path));
        schema = at;
    }
    return weir_span(NULL, 0);
}

/* Calls `fn` for each alternative of anyOf, oneOf, allOf until it finds something. */
typedef bool (*alternative_fn)(struct weir_span root, struct weir_span schema, void *arg,
                               int depth);
static bool alternatives(struct weir_span root, struct weir_span schema, alternative_fn fn,
                         void *arg, int depth) {
    static const char *const words[] = {"anyOf", "oneOf", "allOf"};
    for (size_t i = 0; depth < REF_DEPTH && i < WEIR_ARRAY_LEN(words); i++) {
        struct weir_span list = member_z(schema, words[i]), one;
        struct weir_json j;
        weir_json_init(&j, list, JSON_DEPTH);
        if (list.data == NULL || weir_json_peek(&j) != WEIR_JSON_ARRAY ||
            !weir_json_array_enter(&j))
            continue;
        while (weir_json_array_next(&j) && weir_json_skip(&j, &one))
            if (fn(root, one, arg, depth + 1))
                return true;
    }
    return false;
}

struct lookup {
    struct weir_span key; /* of a property; NULL data: items */
    struct weir_span found;
};

static bool find_child(struct weir_span root, struct weir_span schema, void *arg, int depth) {
    struct lookup *l = arg;
    schema = resolve(root, schema);
    l->found = l->key.data != NULL ? member(member_z(schema, "properties"), l->key)
                                   : member_z(schema, "items");
    if (l->found.data == NULL && l->key.data != NULL) {
        struct weir_span rest = member_z(schema, "additionalProperties");
        if (rest.len > 0 && rest.data[0] == '{')
            l->found = rest;
    }
    return l->found.data != NULL || alternatives(root, schema, find_child, l, depth);
}

struct weir_span wprs_schema_property(struct weir_span root, struct weir_span schema,
                                      struct weir_span key) {
    struct lookup l = {key, {NULL, 0}};
    return schema.data != NULL && find_child(root, schema, &l, 0) ? l.found : weir_span(NULL, 0);
}

struct weir_span wprs_schema_items(struct weir_span root, struct weir_span schema) {
    struct lookup l = {{NULL, 0}, {NULL, 0}};
    return schema.data != NULL && find_child(root, schema, &l, 0) ? l.found : weir_span(NULL, 0);
}

static unsigned type_of_word(struct weir_json_str word) {
    static const char *const words[] = {"string", "integer", "number", "boolean",
                                        "object", "array",   "null"};
    for (unsigned i = 0; i < WEIR_ARRAY_LEN(words); i++)
        if (weir_json_str_eqz(word, words[i]))
            return 1u << i;
    return 0;
}

static unsigned type_of_value(enum weir_json_type type) {
    switch (type) {
    case WEIR_JSON_STRING:
        return TYPE_STRING;
    case WEIR_JSON_NUMBER:
        return TYPE_NUMBER;
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        return TYPE_BOOLEAN;
    case WEIR_JSON_OBJECT:
        return TYPE_OBJECT;
    case WEIR_JSON_ARRAY:
        return TYPE_ARRAY;
    case WEIR_JSON_NULL:
        return TYPE_NULL;
    default:
        return 0;
    }
}

/* "type": a word or a list of them. */
static unsigned declared(struct weir_span schema) {
    struct weir_span type = member_z(schema, "type");
    struct weir_json j;
    struct weir_json_str word;
    unsigned types = 0;
    weir_json_init(&j, type, 4);
    if (type.data == NULL)
        return 0;
    if (weir_json_peek(&j) == WEIR_JSON_STRING)
        return weir_json_string(&j, &word) ? type_of_word(word) : 0;
    if (weir_json_peek(&j) == WEIR_JSON_ARRAY && weir_json_array_enter(&j))
        while (weir_json_array_next(&j) && weir_json_string(&j, &word))
            types |= type_of_word(word);
    return types;
}

/* Types of the values that "enum" or "const" allow. */
static unsigned listed(struct weir_span schema) {
    struct weir_json j;
    unsigned types = 0;
    struct weir_span list = member_z(schema, "enum"), only = member_z(schema, "const");
    weir_json_init(&j, list, JSON_DEPTH);
    if (list.data != NULL && weir_json_peek(&j) == WEIR_JSON_ARRAY && weir_json_array_enter(&j))
        while (weir_json_array_next(&j)) {
            types |= type_of_value(weir_json_peek(&j));
            if (!weir_json_skip(&j, NULL))
                break;
        }
    weir_json_init(&j, only, JSON_DEPTH);
    return only.data != NULL ? types | type_of_value(weir_json_peek(&j)) : types;
}

static bool add_types(struct weir_span root, struct weir_span schema, void *arg, int depth) {
    unsigned *types = arg, own;
    schema = resolve(root, schema);
    own = declared(schema);
    if (own == 0)
        own = listed(schema);
    if (own == 0 && member_z(schema, "properties").data != NULL)
        own = TYPE_OBJECT;
    if (own == 0 && member_z(schema, "items").data != NULL)
        own = TYPE_ARRAY;
    if (weir_span_eqz(member_z(schema, "nullable"), "true"))
        own |= TYPE_NULL;
    *types |= own;
    alternatives(root, schema, add_types, types, depth);
    return false;
}

unsigned wprs_schema_types(struct weir_span root, struct weir_span schema) {
    unsigned types = 0;
    if (schema.data != NULL)
        add_types(root, schema, &types, 0);
    return types;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool is_integer(struct weir_span t) {
    return jscan_whole(t.data, t.len, '\0') && t.len > 0 &&
           (t.data[0] == '-' || (t.data[0] >= '0' && t.data[0] <= '9')) &&
           memchr(t.data, '.', t.len) == NULL && memchr(t.data, 'e', t.len) == NULL &&
           memchr(t.data, 'E', t.len) == NULL;
}

static bool is_number(struct weir_span t) {
    return t.len > 0 && (t.data[0] == '-' || (t.data[0] >= '0' && t.data[0] <= '9')) &&
           jscan_whole(t.data, t.len, '\0');
}

/* The word that JSON has for the text of a simple value; NULL when it is none. */
static const char *simple(unsigned types, struct weir_span t) {
    if ((types & TYPE_NULL) != 0 &&
        (weir_span_ieq(t, WEIR_SPAN_LIT("null")) || weir_span_eqz(t, "None")))
        return "null";
    if ((types & TYPE_BOOLEAN) != 0 && weir_span_ieq(t, WEIR_SPAN_LIT("true")))
        return "true";
    if ((types & TYPE_BOOLEAN) != 0 && weir_span_ieq(t, WEIR_SPAN_LIT("false")))
        return "false";
    return NULL;
}

static bool passes(unsigned types, struct weir_span t) {
    if ((types & TYPE_NUMBER) != 0 && is_number(t))
        return true;
    if ((types & TYPE_INTEGER) != 0 && is_integer(t))
        return true;
    if ((types & TYPE_OBJECT) != 0 && jscan_whole(t.data, t.len, '{'))
        return true;
    return (types & TYPE_ARRAY) != 0 && jscan_whole(t.data, t.len, '[');
}

enum weir_status wprs_schema_value(unsigned types, struct weir_span text, bool guess,
                                   struct weir_buf *out) {
    struct weir_span t = weir_span_trim(text);
    if (types == 0 && guess)
        types = TYPE_STRING | TYPE_NUMBER | TYPE_BOOLEAN | TYPE_OBJECT | TYPE_ARRAY | TYPE_NULL;
    const char *word = simple(types, t);
    if (word != NULL)
        return weir_buf_append_z(out, word);
    if (passes(types, t))
        return weir_buf_append_span(out, t);
    if ((types & (TYPE_OBJECT | TYPE_ARRAY)) != 0 && t.len > 0 &&
        (t.data[0] == '{' || t.data[0] == '[')) {
        enum weir_status st = wprs_literal_value(t, out);
        if (st != WEIR_INVALID)
            return st;
    }
    /* "null" where neither null nor a string is allowed says that there is no value; None does
     * where Python's literals are read. */
    if (types != 0 && (types & TYPE_STRING) == 0 &&
        (weir_span_eqz(t, "null") ||
         ((types & (TYPE_OBJECT | TYPE_ARRAY)) != 0 && weir_span_eqz(t, "None"))))
        return weir_buf_append_z(out, "null");
    struct weir_jsonw w;
    weir_jsonw_init(&w, out);
    weir_jsonw_string(&w, text);
    return w.status;
}
