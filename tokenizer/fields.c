/* Reading of the small objects in tokenizer files: each look-up walks the object, which is short.
 */
#include "base/utf8.h"
#include "tokenizer/spec_priv.h"

enum { DEPTH = 64 };

struct weir_span wtok_field_raw(struct weir_span object, const char *key) {
    struct weir_json j;
    struct weir_json_str name;
    struct weir_span raw;
    if (object.data == NULL)
        return (struct weir_span){NULL, 0};
    weir_json_init(&j, object, DEPTH);
    if (weir_json_peek(&j) == WEIR_JSON_OBJECT && weir_json_object_enter(&j))
        while (weir_json_object_next(&j, &name)) {
            bool found = weir_json_str_eqz(name, key);
            if (!weir_json_skip(&j, &raw))
                break;
            if (found)
                return raw;
        }
    return (struct weir_span){NULL, 0};
}

struct weir_span wtok_field(struct weir_span object, const char *key) {
    struct weir_span raw = wtok_field_raw(object, key);
    return raw.data != NULL && weir_span_eqz(raw, "null") ? (struct weir_span){NULL, 0} : raw;
}

enum weir_json_type wtok_type_of(struct weir_span json) {
    struct weir_json j;
    if (json.data == NULL)
        return WEIR_JSON_NULL;
    weir_json_init(&j, json, DEPTH);
    return weir_json_peek(&j);
}

bool wtok_field_bool(struct weir_span object, const char *key, bool def) {
    struct weir_span raw = wtok_field(object, key);
    return raw.data == NULL ? def : weir_span_eqz(raw, "true");
}

struct weir_span wtok_text_of(struct wtok_spec *spec, struct weir_span json_string) {
    struct weir_json j;
    struct weir_json_str s;
    if (wtok_type_of(json_string) != WEIR_JSON_STRING)
        return (struct weir_span){NULL, 0};
    weir_json_init(&j, json_string, DEPTH);
    if (!weir_json_string(&j, &s))
        return (struct weir_span){NULL, 0};
    return weir_json_text(s, &spec->arena);
}

struct weir_span wtok_field_text(struct wtok_spec *spec, struct weir_span object, const char *key) {
    return wtok_text_of(spec, wtok_field(object, key));
}

bool wtok_u64_of(struct weir_span json, uint64_t *ret) {
    struct weir_json j;
    uint64_t value;
    if (wtok_type_of(json) != WEIR_JSON_NUMBER)
        return false;
    weir_json_init(&j, json, DEPTH);
    if (!weir_json_u64(&j, &value))
        return false;
    *ret = value;
    return true;
}

bool wtok_array_begin(struct weir_json *j, struct weir_span array) {
    if (wtok_type_of(array) != WEIR_JSON_ARRAY)
        return false;
    weir_json_init(j, array, DEPTH);
    return weir_json_array_enter(j);
}

bool wtok_array_next(struct weir_json *j, struct weir_span *ret_element) {
    return weir_json_array_next(j) && weir_json_skip(j, ret_element);
}

enum weir_status wtok_only(struct weir_span object, const char *where, const char *const *names,
                           struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str name;
    weir_json_init(&j, object, DEPTH);
    if (!weir_json_object_enter(&j))
        return weir_err_set(err, WEIR_INVALID, "%s is not an object", where);
    while (weir_json_object_next(&j, &name)) {
        size_t i = 0;
        while (names[i] != NULL && !weir_json_str_eqz(name, names[i]))
            i++;
        if (names[i] == NULL)
            return weir_err_set(err, WEIR_UNSUPPORTED, "%s.%.*s is not understood", where,
                                WEIR_SPAN_ARG(name.raw));
        if (!weir_json_skip(&j, NULL))
            break;
    }
    return WEIR_OK;
}

enum weir_status wtok_refuse(struct weir_err *err, const char *field, struct weir_span value) {
    return weir_err_set(err, WEIR_UNSUPPORTED, "%s is not understood: %.*s", field,
                        WEIR_SPAN_ARG(weir_utf8_cut(value, 80)));
}
