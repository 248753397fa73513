/*
 * A value is read once: its lists and members are looked at where the cursor passes, or out of the
 * table of an object's members (struct weir_shape_entries). A struct reads its members in the order
 * of the text, the first that does not fit is the fault; then those that are missing, in the order
 * of the table. Texts are bounded: nesting is what the JSON reader lets pass.
 */
#include "wire/shape.h"

#include "base/buf.h"
#include "base/number.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 128, SHOWN_BYTES = 1024, MAX_MEMBERS = 32, MAX_ENTRIES = 64 };

#define INTEGER(text, low, high)                                                                   \
    { .kind = WEIR_SHAPE_INT, .name = text, .min = low, .max = high }
const struct weir_shape weir_shape_any = {.kind = WEIR_SHAPE_ANY};
const struct weir_shape weir_shape_string = {.kind = WEIR_SHAPE_STRING};
const struct weir_shape weir_shape_bool = {.kind = WEIR_SHAPE_BOOL};
const struct weir_shape weir_shape_u8 = INTEGER("u8", 0, UINT8_MAX);
const struct weir_shape weir_shape_u32 = INTEGER("u32", 0, UINT32_MAX);
const struct weir_shape weir_shape_u64 = INTEGER("u64", 0, UINT64_MAX);
const struct weir_shape weir_shape_i32 = INTEGER("i32", INT32_MIN, INT32_MAX);
const struct weir_shape weir_shape_i64 = INTEGER("i64", INT64_MIN, INT64_MAX);
const struct weir_shape weir_shape_f32 = {.kind = WEIR_SHAPE_FLOAT, .name = "f32"};
const struct weir_shape weir_shape_f64 = {.kind = WEIR_SHAPE_FLOAT, .name = "f64"};
const struct weir_shape weir_shape_strings = {.kind = WEIR_SHAPE_LIST, .item = &weir_shape_string};
const struct weir_shape weir_shape_u32s = {.kind = WEIR_SHAPE_LIST, .item = &weir_shape_u32};

/* ---- faults ------------------------------------------------------------------------------- */

/* "-0" is a float to the reference. */
static bool is_integer(struct weir_span raw) {
    uint64_t u;
    int64_t i;
    return !weir_span_eqz(raw, "-0") && (weir_span_u64(raw, &u) || weir_span_i64(raw, &i));
}

/* A float as serde names it: always with a point or an exponent. */
static void show_float(struct weir_span raw, char *out, size_t room) {
    double d = 0;
    char text[WEIR_F64_TEXT];
    if (!weir_span_f64(raw, &d) || !isfinite(d))
        d = 0;
    size_t n = weir_f64_text(d, text);
    snprintf(out, room, "floating point `%.*s`", (int)n, text);
}

/* Text as Rust's Debug writes it: control characters and quotes escaped. */
static void show_text(struct weir_span text, struct weir_buf *out) {
    static const char plain[] = "\0000\tt\rr\nn\"\"\\\\";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        const char *p = memchr(plain, c, sizeof(plain) - 1);
        while (p != NULL && (p - plain) % 2 != 0)
            p = memchr(p + 1, c, sizeof(plain) - 1 - (size_t)(p + 1 - plain));
        enum weir_status st = p != NULL               ? weir_buf_printf(out, "\\%c", p[1])
                              : c < 0x20 || c == 0x7F ? weir_buf_printf(out, "\\u{%x}", c)
                                                      : weir_buf_append_c(out, (char)c);
        if (st != WEIR_OK)
            return;
    }
}

static void show_string(struct weir_span raw, char *out, size_t room) {
    struct weir_json j;
    struct weir_json_str s;
    struct weir_buf text, shown;
    weir_buf_init(&text, raw.len + 16);
    weir_buf_init(&shown, SHOWN_BYTES);
    weir_json_init(&j, raw, 2);
    if (weir_json_string(&j, &s) &&
        (s.escaped ? weir_json_unescape(s, &text) : weir_buf_append_span(&text, s.raw)) == WEIR_OK)
        show_text(weir_buf_span(&text), &shown);
    snprintf(out, room, "string \"%.*s\"", (int)shown.len, shown.data != NULL ? shown.data : "");
    weir_buf_fini(&text);
    weir_buf_fini(&shown);
}

void weir_shape_show(struct weir_span raw, char *out, size_t room) {
    switch (weir_json_type_of(raw)) {
    case WEIR_JSON_NULL:
        snprintf(out, room, "null");
        break;
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        snprintf(out, room, "boolean `%.*s`", WEIR_SPAN_ARG(raw));
        break;
    case WEIR_JSON_NUMBER:
        if (is_integer(raw))
            snprintf(out, room, "integer `%.*s`", WEIR_SPAN_ARG(raw));
        else
            show_float(raw, out, room);
        break;
    case WEIR_JSON_STRING:
        show_string(raw, out, room);
        break;
    case WEIR_JSON_ARRAY:
        snprintf(out, room, "sequence");
        break;
    default:
        snprintf(out, room, "map");
    }
}

bool weir_shape_fail(struct weir_shape_fault *fault, const char *at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(fault->text, sizeof(fault->text), fmt, ap);
    va_end(ap);
    fault->at = at;
    return false;
}

static bool is_container(struct weir_span raw) {
    enum weir_json_type type = weir_json_type_of(raw);
    return type == WEIR_JSON_ARRAY || type == WEIR_JSON_OBJECT;
}

static const char *stand(struct weir_span raw) {
    return raw.data + (is_container(raw) ? 0 : raw.len);
}

bool weir_shape_fail_type(struct weir_shape_fault *fault, struct weir_span raw,
                          const char *expected) {
    char shown[SHOWN_BYTES + 64];
    weir_shape_show(raw, shown, sizeof(shown));
    return weir_shape_fail(fault, stand(raw), "invalid type: %s, expected %s", shown, expected);
}

/* ---- plain values ------------------------------------------------------------------------- */

static bool check_int(const struct weir_shape *s, struct weir_span raw,
                      struct weir_shape_fault *fault) {
    int64_t i = 0;
    uint64_t u = 0;
    if (weir_json_type_of(raw) != WEIR_JSON_NUMBER || !is_integer(raw))
        return weir_shape_fail_type(fault, raw, s->name);
    bool fits = weir_span_i64(raw, &i) ? i >= s->min && (i < 0 || (uint64_t)i <= s->max)
                                       : weir_span_u64(raw, &u) && u <= s->max;
    return fits || weir_shape_fail(fault, stand(raw), "invalid value: integer `%.*s`, expected %s",
                                   WEIR_SPAN_ARG(raw), s->name);
}

static bool check_float(const struct weir_shape *s, struct weir_span raw,
                        struct weir_shape_fault *fault) {
    double d;
    if (weir_json_type_of(raw) != WEIR_JSON_NUMBER)
        return weir_shape_fail_type(fault, raw, s->name);
    return weir_span_f64(raw, &d) || weir_shape_fail(fault, stand(raw), "number out of range");
}

static bool check_map(const struct weir_shape *s, struct weir_span raw,
                      struct weir_shape_fault *fault) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span item;
    if (weir_json_type_of(raw) != WEIR_JSON_OBJECT)
        return weir_shape_fail_type(fault, raw, "a map");
    weir_json_init(&j, raw, DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &item))
        if (!weir_shape_check(s->item, item, fault))
            return false;
    return true;
}

/* ---- structs ------------------------------------------------------------------------------ */

static bool check_member(const struct weir_shape_member *m, struct weir_span raw,
                         struct weir_shape_fault *fault) {
    return (m->optional && weir_json_type_of(raw) == WEIR_JSON_NULL) ||
           weir_shape_check(m->shape, raw, fault);
}

static size_t count_members(const struct weir_shape *s) {
    size_t n = 0;
    while (s->members[n].name != NULL)
        n++;
    return n;
}

/* "`a`", "`a` or `b`", "one of `a`, `b`, `c`" */
static const char *list_words(const char *(*word)(const struct weir_shape *s, size_t i),
                              const struct weir_shape *s, char *room, size_t n_room) {
    size_t n = 0, at = 0;
    while (word(s, n) != NULL)
        n++;
    at += (size_t)snprintf(room, n_room, "%s", n > 2 ? "one of " : "");
    for (size_t i = 0; i < n && at < n_room; i++)
        at += (size_t)snprintf(room + at, n_room - at, "%s`%s`",
                               i == 0   ? ""
                               : n == 2 ? " or "
                                        : ", ",
                               word(s, i));
    return room;
}

static const char *member_word(const struct weir_shape *s, size_t i) {
    return s->members[i].name;
}

static const char *variant_word(const struct weir_shape *s, size_t i) {
    return s->variants[i].word;
}

static bool fail_unknown(const struct weir_shape *s, struct weir_json_str key,
                         struct weir_shape_fault *fault) {
    char names[1024], raw[SHOWN_BYTES];
    struct weir_buf text;
    weir_buf_init(&text, key.raw.len + 16);
    bool ok = weir_json_unescape(key, &text) == WEIR_OK;
    snprintf(raw, sizeof(raw), "%.*s", ok ? (int)text.len : 0, text.data != NULL ? text.data : "");
    weir_buf_fini(&text);
    return weir_shape_fail(fault, key.raw.data + key.raw.len + 1, "unknown field `%s`, expected %s",
                           raw, list_words(member_word, s, names, sizeof(names)));
}

static int find_member(const struct weir_shape *s, struct weir_json_str key) {
    for (int i = 0; s->members[i].name != NULL; i++)
        if (weir_json_str_eqz(key, s->members[i].name) ||
            (s->members[i].alias != NULL && weir_json_str_eqz(key, s->members[i].alias)))
            return i;
    return -1;
}

/* The members of one object, in the order of the text. */
struct weir_shape_entries {
    struct {
        struct weir_json_str key;
        struct weir_span value;
    } at[MAX_ENTRIES];
    size_t n;
    const char *end; /* behind the object */
};

/* The cursor is on an object; it is read once, however often its members are looked at. */
static bool collect(struct weir_json *j, struct weir_shape_entries *ret,
                    struct weir_shape_fault *fault) {
    ret->n = 0;
    weir_json_object_enter(j);
    while (ret->n < MAX_ENTRIES && weir_json_object_next(j, &ret->at[ret->n].key)) {
        if (!weir_json_skip(j, &ret->at[ret->n].value))
            return weir_shape_fail(fault, j->buf + j->pos, "%s", weir_json_error_text(j->error));
        ret->n++;
    }
    ret->end = j->buf + j->pos;
    return ret->n < MAX_ENTRIES ||
           weir_shape_fail(fault, ret->end, "an object with %d members or more", MAX_ENTRIES);
}

bool weir_shape_entry(const struct weir_shape_entries *e, const char *key, struct weir_span *ret) {
    for (size_t k = 0; k < e->n; k++) {
        if (weir_json_str_eqz(e->at[k].key, key)) {
            *ret = e->at[k].value;
            return true;
        }
    }
    return false;
}

/* `except`: the tag of the enum whose content this is, or NULL. */
static bool check_entries(const struct weir_shape *s, const struct weir_shape_entries *e,
                          const char *except, struct weir_shape_fault *fault) {
    bool seen[MAX_MEMBERS] = {false};
    for (size_t k = 0; k < e->n; k++) {
        struct weir_json_str key = e->at[k].key;
        if (except != NULL && weir_json_str_eqz(key, except))
            continue;
        int i = find_member(s, key);
        if (i < 0 && s->closed)
            return fail_unknown(s, key, fault);
        if (i < 0)
            continue;
        if (seen[i])
            return weir_shape_fail(fault, key.raw.data + key.raw.len + 1, "duplicate field `%s`",
                                   s->members[i].name);
        if (!check_member(&s->members[i], e->at[k].value, fault))
            return false;
        seen[i] = true;
    }
    for (size_t i = 0; s->members[i].name != NULL; i++)
        if (!seen[i] && !s->members[i].optional && !s->members[i].defaulted)
            return weir_shape_fail(fault, e->end, "missing field `%s`", s->members[i].name);
    return true;
}

static bool fail_struct(const struct weir_shape *s, struct weir_span raw,
                        struct weir_shape_fault *fault) {
    char expected[256];
    snprintf(expected, sizeof(expected), "struct %s", s->name);
    return weir_shape_fail_type(fault, raw, expected);
}

/* A list in the place of a struct: values in the order of the members. `skip`: elements before
 * them. */
static bool check_sequence(const struct weir_shape *s, struct weir_span raw, size_t skip,
                           struct weir_shape_fault *fault) {
    struct weir_json j;
    struct weir_span item;
    size_t n_members = count_members(s), n = 0, n_skipped = 0;
    weir_json_init(&j, raw, DEPTH);
    weir_json_array_enter(&j);
    while (weir_json_array_next(&j) && weir_json_skip(&j, &item)) {
        if (n_skipped < skip)
            n_skipped++;
        else if (n++ < n_members && !check_member(&s->members[n - 1], item, fault))
            return false;
    }
    if (n > n_members)
        return weir_shape_fail(fault, raw.data + raw.len,
                               "invalid length %zu, expected %zu element%s in sequence", n,
                               n_members, n_members == 1 ? "" : "s");
    for (size_t i = n; i < n_members; i++)
        if (!s->members[i].defaulted)
            return weir_shape_fail(fault, raw.data + raw.len,
                                   "invalid length %zu, expected struct %s with %zu element%s", i,
                                   s->name, n_members, n_members == 1 ? "" : "s");
    return fail_struct(s, raw, fault);
}

/* ---- enums -------------------------------------------------------------------------------- */

static bool fail_variant(const struct weir_shape *s, struct weir_span word, const char *at,
                         struct weir_shape_fault *fault) {
    char names[1024];
    return weir_shape_fail(fault, at, "unknown variant `%.*s`, expected %s",
                           WEIR_SPAN_ARG(weir_utf8_cut(word, SHOWN_BYTES)),
                           list_words(variant_word, s, names, sizeof(names)));
}

/* The variant that a string names; -1 with a fault. */
static int named_variant(const struct weir_shape *s, struct weir_json_str text,
                         struct weir_shape_fault *fault) {
    struct weir_buf word;
    int found = -1;
    for (int i = 0; s->variants[i].word != NULL && found < 0; i++)
        if (weir_json_str_eqz(text, s->variants[i].word))
            found = i;
    if (found >= 0)
        return found;
    weir_buf_init(&word, text.raw.len + 16);
    if (weir_json_unescape(text, &word) != WEIR_OK)
        weir_buf_clear(&word);
    fail_variant(s, weir_buf_span(&word), text.raw.data + text.raw.len + 1, fault);
    weir_buf_fini(&word);
    return -1;
}

/* A variant by its name; serde takes an index too. */
static int tagged_variant(const struct weir_shape *s, struct weir_span tag,
                          struct weir_shape_fault *fault) {
    struct weir_json j;
    struct weir_json_str text;
    uint64_t index, n = 0;
    if (weir_json_type_of(tag) == WEIR_JSON_STRING) {
        weir_json_init(&j, tag, 2);
        return weir_json_string(&j, &text) ? named_variant(s, text, fault) : -1;
    }
    if (weir_json_type_of(tag) != WEIR_JSON_NUMBER || !weir_span_u64(tag, &index)) {
        weir_shape_fail_type(fault, tag, "variant identifier");
        return -1;
    }
    while (s->variants[n].word != NULL)
        n++;
    if (index < n)
        weir_shape_fail_type(fault, tag, "variant identifier");
    else
        weir_shape_fail(fault, stand(tag),
                        "invalid value: integer `%.*s`, expected variant index 0 <= i < %llu",
                        WEIR_SPAN_ARG(tag), (unsigned long long)n);
    return -1;
}

/* "word", or {"word": null}. */
static bool check_words(const struct weir_shape *s, struct weir_span raw,
                        struct weir_shape_fault *fault) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span value = {NULL, 0};
    weir_json_init(&j, raw, DEPTH);
    switch (weir_json_type_of(raw)) {
    case WEIR_JSON_STRING:
        return weir_json_string(&j, &key) && named_variant(s, key, fault) >= 0;
    case WEIR_JSON_OBJECT:
        weir_json_object_enter(&j);
        bool one = weir_json_object_next(&j, &key) && weir_json_skip(&j, &value);
        struct weir_json_str other;
        if (!one || weir_json_object_next(&j, &other))
            return weir_shape_fail(fault, raw.data,
                                   "invalid value: map, expected map with a single key");
        if (named_variant(s, key, fault) < 0)
            return false;
        return weir_json_type_of(value) == WEIR_JSON_NULL ||
               weir_shape_fail_type(fault, value, "unit");
    default:
        return weir_shape_fail_type(fault, raw, "string or map");
    }
}

static bool fail_enum(const struct weir_shape *s, struct weir_span raw, const char *how,
                      struct weir_shape_fault *fault) {
    char expected[256];
    snprintf(expected, sizeof(expected), "%s tagged enum %s", how, s->name);
    return weir_shape_fail_type(fault, raw, expected);
}

/* A list in the place of a tagged value: its first element is the tag. */
static bool check_tagged_list(const struct weir_shape *s, struct weir_span raw,
                              struct weir_shape_fault *fault) {
    struct weir_json j;
    struct weir_span tag;
    weir_json_init(&j, raw, DEPTH);
    weir_json_array_enter(&j);
    if (!weir_json_array_next(&j) || !weir_json_skip(&j, &tag))
        return weir_shape_fail(fault, raw.data + raw.len, "missing field `%s`", s->tag);
    int i = tagged_variant(s, tag, fault);
    if (i < 0)
        return false;
    const struct weir_shape *content = s->variants[i].shape;
    if (content == NULL)
        return fail_enum(s, raw, "internally", fault);
    return content->flat ? fail_struct(content, raw, fault)
                         : check_sequence(content, raw, 1, fault);
}

/* The cursor is on an object. */
static bool check_tagged(const struct weir_shape *s, struct weir_json *j,
                         struct weir_shape_fault *fault) {
    struct weir_shape_entries e;
    bool tagged = false;
    int found = -1;
    if (!collect(j, &e, fault))
        return false;
    for (size_t k = 0; k < e.n; k++) {
        struct weir_json_str key = e.at[k].key;
        if (!weir_json_str_eqz(key, s->tag))
            continue;
        if (tagged)
            return weir_shape_fail(fault, key.raw.data + key.raw.len + 1, "duplicate field `%s`",
                                   s->tag);
        tagged = true;
        found = tagged_variant(s, e.at[k].value, fault);
        if (found < 0)
            return false;
    }
    if (!tagged)
        return weir_shape_fail(fault, e.end, "missing field `%s`", s->tag);
    const struct weir_shape *content = s->variants[found].shape;
    return (content == NULL || check_entries(content, &e, s->tag, fault)) &&
           (s->after == NULL || s->after(&e, fault));
}

/* {tag: word, content: value} */
static bool check_adjacent(const struct weir_shape *s, struct weir_span raw,
                           struct weir_shape_fault *fault) {
    struct weir_json j;
    struct weir_json_str key;
    struct weir_span tag = {NULL, 0}, content = {NULL, 0}, value;
    if (weir_json_type_of(raw) != WEIR_JSON_OBJECT)
        return fail_enum(s, raw, "adjacently", fault);
    weir_json_init(&j, raw, DEPTH);
    weir_json_object_enter(&j);
    while (weir_json_object_next(&j, &key) && weir_json_skip(&j, &value)) {
        struct weir_span *to = weir_json_str_eqz(key, s->tag)       ? &tag
                               : weir_json_str_eqz(key, s->content) ? &content
                                                                    : NULL;
        if (to != NULL && to->data != NULL)
            return weir_shape_fail(fault, raw.data + raw.len, "duplicate field `%s`",
                                   to == &tag ? s->tag : s->content);
        if (to == &tag && tagged_variant(s, value, fault) < 0)
            return false;
        if (to != NULL)
            *to = value;
    }
    if (tag.data == NULL || content.data == NULL)
        return weir_shape_fail(fault, raw.data + raw.len, "missing field `%s`",
                               tag.data == NULL ? s->tag : s->content);
    int i = tagged_variant(s, tag, fault);
    return i >= 0 && weir_shape_check(s->variants[i].shape, content, fault);
}

static bool check_untagged(const struct weir_shape *s, struct weir_span raw,
                           struct weir_shape_fault *fault) {
    for (size_t i = 0; s->items[i] != NULL; i++)
        if (weir_shape_check(s->items[i], raw, fault))
            return true;
    return weir_shape_fail(fault, stand(raw), "data did not match any variant of untagged enum %s",
                           s->name);
}

/* The value at the cursor, which is read once for all that is in lists, structs and tagged enums.
 */
bool weir_shape_check_at(const struct weir_shape *s, struct weir_json *j,
                         struct weir_shape_fault *fault) {
    struct weir_shape_entries e;
    struct weir_span raw;
    enum weir_json_type type = weir_json_peek(j);
    if (s->kind == WEIR_SHAPE_LIST && type == WEIR_JSON_ARRAY) {
        weir_json_array_enter(j);
        while (weir_json_array_next(j))
            if (!weir_shape_check_at(s->item, j, fault))
                return false;
        return true;
    }
    if (s->kind == WEIR_SHAPE_STRUCT && type == WEIR_JSON_OBJECT)
        return collect(j, &e, fault) && check_entries(s, &e, NULL, fault);
    if (s->kind == WEIR_SHAPE_TAGGED && type == WEIR_JSON_OBJECT)
        return check_tagged(s, j, fault);
    return weir_json_skip(j, &raw) && weir_shape_check(s, raw, fault);
}

static bool check_container(const struct weir_shape *s, struct weir_span raw,
                            struct weir_shape_fault *fault) {
    struct weir_json j;
    enum weir_json_type type = weir_json_type_of(raw);
    bool fits = type == (s->kind == WEIR_SHAPE_LIST ? WEIR_JSON_ARRAY : WEIR_JSON_OBJECT);
    if (fits) {
        weir_json_init(&j, raw, DEPTH);
        return weir_shape_check_at(s, &j, fault);
    }
    switch (s->kind) {
    case WEIR_SHAPE_STRUCT:
        return type == WEIR_JSON_ARRAY && !s->flat ? check_sequence(s, raw, 0, fault)
                                                   : fail_struct(s, raw, fault);
    case WEIR_SHAPE_TAGGED:
        return type == WEIR_JSON_ARRAY ? check_tagged_list(s, raw, fault)
                                       : fail_enum(s, raw, "internally", fault);
    default:
        return weir_shape_fail_type(fault, raw, "a sequence");
    }
}

bool weir_shape_check(const struct weir_shape *shape, struct weir_span raw,
                      struct weir_shape_fault *ret_fault) {
    enum weir_json_type type;
    switch (shape->kind) {
    case WEIR_SHAPE_ANY:
        return true;
    case WEIR_SHAPE_STRING:
        return weir_json_type_of(raw) == WEIR_JSON_STRING ||
               weir_shape_fail_type(ret_fault, raw, "a string");
    case WEIR_SHAPE_BOOL:
        type = weir_json_type_of(raw);
        return type == WEIR_JSON_TRUE || type == WEIR_JSON_FALSE ||
               weir_shape_fail_type(ret_fault, raw, "a boolean");
    case WEIR_SHAPE_INT:
        return check_int(shape, raw, ret_fault);
    case WEIR_SHAPE_FLOAT:
        return check_float(shape, raw, ret_fault);
    case WEIR_SHAPE_MAP:
        return check_map(shape, raw, ret_fault);
    case WEIR_SHAPE_WORDS:
        return check_words(shape, raw, ret_fault);
    case WEIR_SHAPE_LIST:
    case WEIR_SHAPE_STRUCT:
    case WEIR_SHAPE_TAGGED:
        return check_container(shape, raw, ret_fault);
    case WEIR_SHAPE_ADJACENT:
        return check_adjacent(shape, raw, ret_fault);
    case WEIR_SHAPE_UNTAGGED:
        return check_untagged(shape, raw, ret_fault);
    case WEIR_SHAPE_CHECKED:
        return shape->check(raw, ret_fault);
    }
    return true;
}
