/*
 * TOML: lines, keys, tables and arrays. Recursion happens only for nested values and is bounded by
 * MAX_DEPTH.
 *
 * How a table came to be decides who may add to it:
 *   IMPLICIT  named on the way to another header: [a.b] makes a. A header may claim it once.
 *   HEADER    its own [header]. Only its section and sub-headers add to it.
 *   DOTTED    made by a dotted key. More dotted keys and sub-headers add to it.
 *   FROZEN    an inline table: nobody adds to it once it is closed.
 * Arrays: PLAIN, or OF_TABLES (made by [[header]]), which only [[header]] extends.
 */
#include "base/file.h"
#include "base/utf8.h"
#include "runtime/toml_priv.h"

#include <stdio.h>

enum { MAX_DEPTH = 64, MAX_MEMBERS = 4096, MAX_VALUES = 65536 };
enum kind { KIND_IMPLICIT, KIND_HEADER, KIND_DOTTED, KIND_FROZEN, KIND_PLAIN, KIND_OF_TABLES };

static bool parse_value(struct toml_parser *p, struct weir_toml *value);

/* Counts from where it was asked last: once over the document altogether. */
unsigned toml_line(struct toml_parser *p) {
    for (; p->counted < p->at; p->counted++)
        p->line += *p->counted == '\n';
    return p->line;
}

bool toml_fail(struct toml_parser *p, enum weir_status status, const char *fmt, ...) {
    if (p->status != WEIR_OK)
        return false;
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    p->status = weir_err_set(p->err, status, "line %u: %s", toml_line(p), text);
    return false;
}

bool toml_eat_newline(struct toml_parser *p) {
    if (toml_eat(p, '\n'))
        return true;
    bool crlf = p->end - p->at >= 2 && p->at[0] == '\r' && p->at[1] == '\n';
    p->at += crlf ? 2 : 0;
    return crlf;
}

/* ---- white space and comments --------------------------------------------------------------- */

static void skip_blanks(struct toml_parser *p) {
    while (toml_eat(p, ' ') || toml_eat(p, '\t'))
        ;
}

/* Leaves the cursor at the end of the line. */
static bool skip_comment(struct toml_parser *p) {
    if (!toml_eat(p, '#'))
        return true;
    for (; p->at < p->end && *p->at != '\n'; p->at++) {
        unsigned char c = (unsigned char)*p->at;
        bool crlf = c == '\r' && p->at + 1 < p->end && p->at[1] == '\n';
        if (crlf)
            break;
        if ((c < ' ' && c != '\t') || c == 127)
            return toml_fail(p, WEIR_INVALID, "control byte 0x%02x in a comment", c);
    }
    return true;
}

static bool end_of_line(struct toml_parser *p) {
    skip_blanks(p);
    if (!skip_comment(p))
        return false;
    if (p->at >= p->end || toml_eat_newline(p))
        return true;
    return toml_fail(p, WEIR_INVALID, "unexpected text behind the value");
}

/* Blanks, comments and line breaks, as inside of brackets and braces. */
static bool skip_lines(struct toml_parser *p) {
    do {
        skip_blanks(p);
        if (!skip_comment(p))
            return false;
    } while (toml_eat_newline(p));
    return true;
}

/* ---- tree ----------------------------------------------------------------------------------- */

static struct weir_toml *new_value(struct toml_parser *p, enum weir_toml_type type,
                                   enum kind kind) {
    struct weir_toml *v = NULL;
    if (++p->n_values > MAX_VALUES) {
        toml_fail(p, WEIR_LIMIT, "more than %d values", MAX_VALUES);
        return NULL;
    }
    v = weir_arena_zalloc(p->arena, sizeof(*v));
    if (v == NULL) {
        toml_fail(p, WEIR_NOMEM, "out of memory");
        return NULL;
    }
    v->type = type;
    v->kind = (unsigned char)kind;
    return v;
}

static void append(struct weir_toml *list, struct weir_toml *v) {
    if (list->last != NULL)
        list->last->next = v;
    else
        list->first = v;
    list->last = v;
    list->n++;
}

static struct weir_toml *member(const struct weir_toml *table, struct weir_span key) {
    for (struct weir_toml *v = table->first; v != NULL; v = v->next)
        if (weir_span_eq(v->key, key))
            return v;
    return NULL;
}

static struct weir_toml *add_member(struct toml_parser *p, struct weir_toml *table,
                                    struct weir_span key, enum weir_toml_type type,
                                    enum kind kind) {
    if (table->n >= MAX_MEMBERS) {
        toml_fail(p, WEIR_LIMIT, "a table of more than %d keys", MAX_MEMBERS);
        return NULL;
    }
    struct weir_toml *v = new_value(p, type, kind);
    if (v == NULL)
        return NULL;
    v->key = key;
    v->line = toml_line(p);
    append(table, v);
    return v;
}

/* ---- keys ----------------------------------------------------------------------------------- */

struct key_path {
    struct weir_span parts[MAX_DEPTH];
    size_t n;
};

static bool is_bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static bool parse_simple_key(struct toml_parser *p, struct weir_span *ret_key) {
    char c = toml_peek(p);
    if (c == '"' || c == '\'')
        return toml_string(p, false, ret_key);
    const char *start = p->at;
    while (p->at < p->end && is_bare(*p->at))
        p->at++;
    if (p->at == start)
        return toml_fail(p, WEIR_INVALID, "a key is missing");
    *ret_key = weir_arena_copy(p->arena, weir_span(start, (size_t)(p->at - start)));
    return ret_key->data != NULL || toml_fail(p, WEIR_NOMEM, "out of memory");
}

static bool parse_key(struct toml_parser *p, struct key_path *path) {
    path->n = 0;
    do {
        skip_blanks(p);
        if (path->n >= MAX_DEPTH)
            return toml_fail(p, WEIR_LIMIT, "a key of more than %d parts", MAX_DEPTH);
        if (!parse_simple_key(p, &path->parts[path->n]))
            return false;
        path->n++;
        skip_blanks(p);
    } while (toml_eat(p, '.'));
    return true;
}

static bool clash(struct toml_parser *p, struct weir_span key) {
    return toml_fail(p, WEIR_INVALID, "%.*s is already there",
                     WEIR_SPAN_ARG(weir_utf8_cut(key, 80)));
}

/* From `table` down the parts of a dotted key but the last. */
static struct weir_toml *descend_dotted(struct toml_parser *p, struct weir_toml *table,
                                        const struct key_path *path) {
    for (size_t i = 0; i + 1 < path->n; i++) {
        struct weir_toml *next = member(table, path->parts[i]);
        if (next == NULL)
            next = add_member(p, table, path->parts[i], WEIR_TOML_TABLE, KIND_DOTTED);
        else if (next->type != WEIR_TOML_TABLE ||
                 (next->kind != KIND_DOTTED && next->kind != KIND_IMPLICIT))
            next = clash(p, path->parts[i]) ? next : NULL;
        if (next == NULL)
            return NULL;
        next->kind = KIND_DOTTED;
        table = next;
    }
    return table;
}

/* key = value, into `table`. */
static bool parse_pair(struct toml_parser *p, struct weir_toml *table) {
    struct key_path path;
    if (!parse_key(p, &path))
        return false;
    if (!toml_eat(p, '='))
        return toml_fail(p, WEIR_INVALID, "expected = behind a key");
    skip_blanks(p);
    struct weir_toml *parent = descend_dotted(p, table, &path);
    if (parent == NULL)
        return false;
    struct weir_span key = path.parts[path.n - 1];
    if (member(parent, key) != NULL)
        return clash(p, key);
    struct weir_toml *value = add_member(p, parent, key, WEIR_TOML_STRING, KIND_PLAIN);
    return value != NULL && parse_value(p, value);
}

/* ---- arrays and inline tables -----------------------------------------------------------------
 */

static bool parse_array(struct toml_parser *p, struct weir_toml *array) {
    p->at++;
    for (;;) {
        if (!skip_lines(p))
            return false;
        if (toml_eat(p, ']'))
            return true;
        struct weir_toml *item = new_value(p, WEIR_TOML_STRING, KIND_PLAIN);
        if (item == NULL)
            return false;
        item->line = toml_line(p);
        append(array, item);
        if (!parse_value(p, item) || !skip_lines(p))
            return false;
        if (!toml_eat(p, ',') && toml_peek(p) != ']')
            return toml_fail(p, WEIR_INVALID, "expected , or ] in an array");
    }
}

static bool parse_inline_table(struct toml_parser *p, struct weir_toml *table) {
    p->at++;
    table->kind = KIND_DOTTED;
    for (;;) {
        if (!skip_lines(p))
            return false;
        if (toml_eat(p, '}'))
            break;
        if (!parse_pair(p, table) || !skip_lines(p))
            return false;
        if (!toml_eat(p, ',') && toml_peek(p) != '}')
            return toml_fail(p, WEIR_INVALID, "expected , or } in an inline table");
    }
    table->kind = KIND_FROZEN;
    return true;
}

static bool parse_nested(struct toml_parser *p, struct weir_toml *value, bool array) {
    if (p->depth >= MAX_DEPTH)
        return toml_fail(p, WEIR_LIMIT, "values nested more than %d deep", MAX_DEPTH);
    p->depth++;
    value->type = array ? WEIR_TOML_ARRAY : WEIR_TOML_TABLE;
    bool ok = array ? parse_array(p, value) : parse_inline_table(p, value);
    p->depth--;
    return ok;
}

static bool parse_value(struct toml_parser *p, struct weir_toml *value) {
    switch (toml_peek(p)) {
    case '"':
    case '\'':
        value->type = WEIR_TOML_STRING;
        return toml_string(p, true, &value->text);
    case '[':
        return parse_nested(p, value, true);
    case '{':
        return parse_nested(p, value, false);
    default:
        return toml_bare_value(p, value);
    }
}

/* ---- headers ----------------------------------------------------------------------------------
 */

/* Down the parts of a header but the last; an array of tables means its newest table. */
static struct weir_toml *descend_header(struct toml_parser *p, struct weir_toml *table,
                                        const struct key_path *path) {
    for (size_t i = 0; i + 1 < path->n; i++) {
        struct weir_toml *next = member(table, path->parts[i]);
        if (next == NULL)
            next = add_member(p, table, path->parts[i], WEIR_TOML_TABLE, KIND_IMPLICIT);
        else if (next->type == WEIR_TOML_ARRAY && next->kind == KIND_OF_TABLES)
            next = next->last;
        else if (next->type != WEIR_TOML_TABLE || next->kind == KIND_FROZEN)
            next = clash(p, path->parts[i]) ? next : NULL;
        if (next == NULL)
            return NULL;
        table = next;
    }
    return table;
}

static struct weir_toml *claim_table(struct toml_parser *p, struct weir_toml *parent,
                                     struct weir_span key) {
    struct weir_toml *table = member(parent, key);
    if (table == NULL)
        return add_member(p, parent, key, WEIR_TOML_TABLE, KIND_HEADER);
    if (table->type != WEIR_TOML_TABLE || table->kind != KIND_IMPLICIT) {
        clash(p, key);
        return NULL;
    }
    table->kind = KIND_HEADER;
    return table;
}

static struct weir_toml *claim_array_item(struct toml_parser *p, struct weir_toml *parent,
                                          struct weir_span key) {
    struct weir_toml *array = member(parent, key);
    if (array == NULL)
        array = add_member(p, parent, key, WEIR_TOML_ARRAY, KIND_OF_TABLES);
    else if (array->type != WEIR_TOML_ARRAY || array->kind != KIND_OF_TABLES)
        array = clash(p, key) ? array : NULL;
    if (array == NULL)
        return NULL;
    struct weir_toml *table = new_value(p, WEIR_TOML_TABLE, KIND_HEADER);
    if (table == NULL)
        return NULL;
    table->line = toml_line(p);
    append(array, table);
    return table;
}

/* [key] or [[key]]: the table that the following pairs belong to. */
static struct weir_toml *parse_header(struct toml_parser *p, struct weir_toml *root) {
    struct key_path path;
    p->at++;
    bool array = toml_eat(p, '[');
    if (!parse_key(p, &path))
        return NULL;
    if (!toml_eat(p, ']') || (array && !toml_eat(p, ']'))) {
        toml_fail(p, WEIR_INVALID, "expected %s behind a table's name", array ? "]]" : "]");
        return NULL;
    }
    struct weir_toml *parent = descend_header(p, root, &path);
    if (parent == NULL)
        return NULL;
    struct weir_span key = path.parts[path.n - 1];
    return array ? claim_array_item(p, parent, key) : claim_table(p, parent, key);
}

static bool parse_document(struct toml_parser *p, struct weir_toml *root) {
    struct weir_toml *table = root;
    for (;;) {
        if (!skip_lines(p))
            return false;
        if (p->at >= p->end)
            return true;
        if (*p->at == '[')
            table = parse_header(p, root);
        else if (!parse_pair(p, table))
            return false;
        if (table == NULL || !end_of_line(p))
            return false;
    }
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* Length of the UTF-8 character at c, 0 when it is none (RFC 3629). */
static size_t utf8_len(const unsigned char *c, size_t room) {
    static const struct {
        unsigned char first, last, low, high;
        size_t len;
    } rows[] = {
        {0x00, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        if (c[0] < rows[i].first || c[0] > rows[i].last)
            continue;
        size_t len = rows[i].len;
        if (room < len || (len > 1 && (c[1] < rows[i].low || c[1] > rows[i].high)))
            return 0;
        for (size_t k = 2; k < len; k++)
            if (c[k] < 0x80 || c[k] > 0xbf)
                return 0;
        return len;
    }
    return 0;
}

static bool check_bytes(struct toml_parser *p) {
    const char *start = p->at;
    while (p->at < p->end) {
        size_t n = utf8_len((const unsigned char *)p->at, (size_t)(p->end - p->at));
        if (n == 0 || *p->at == '\0')
            return toml_fail(p, WEIR_INVALID, "%s", n == 0 ? "not UTF-8" : "a NUL byte");
        p->at += n;
    }
    p->at = start;
    return true;
}

static enum weir_status parse(struct weir_span text, bool no_nul, struct weir_arena *arena,
                              const struct weir_toml **ret_root, struct weir_err *err) {
    const struct weir_span bom = WEIR_SPAN_LIT("\xef\xbb\xbf");
    size_t skip = weir_span_starts(text, bom) ? bom.len : 0;
    const char *data = text.data != NULL ? text.data : "";
    struct toml_parser p = {.begin = data,
                            .counted = data,
                            .line = 1,
                            .at = data + skip,
                            .end = data + text.len,
                            .no_nul = no_nul,
                            .arena = arena,
                            .err = err};
    struct weir_toml *root = new_value(&p, WEIR_TOML_TABLE, KIND_HEADER);
    if (root == NULL || !check_bytes(&p) || !parse_document(&p, root))
        return p.status;
    root->line = 1;
    *ret_root = root;
    return WEIR_OK;
}

enum weir_status weir_toml_parse(struct weir_span text, struct weir_arena *arena,
                                 const struct weir_toml **ret_root, struct weir_err *err) {
    return parse(text, false, arena, ret_root, err);
}

enum weir_status weir_toml_read(const char *path, size_t max_bytes, struct weir_arena *arena,
                                const struct weir_toml **ret_root, struct weir_err *err) {
    struct weir_buf text;
    weir_buf_init(&text, max_bytes);
    enum weir_status st = weir_file_read(path, WEIR_FILE_PLAIN, &text, err);
    if (st == WEIR_OK) {
        st = parse(weir_buf_span(&text), true, arena, ret_root, err);
        if (st != WEIR_OK)
            weir_err_prefix(err, "%s", path);
    }
    weir_buf_fini(&text);
    return st;
}

const struct weir_toml *weir_toml_get(const struct weir_toml *table, const char *key) {
    if (table == NULL || table->type != WEIR_TOML_TABLE)
        return NULL;
    return member(table, weir_span_z(key));
}

const char *weir_toml_type_name(enum weir_toml_type type) {
    static const char *const names[] = {
        [WEIR_TOML_STRING] = "string",
        [WEIR_TOML_INTEGER] = "integer",
        [WEIR_TOML_FLOAT] = "float",
        [WEIR_TOML_BOOL] = "boolean",
        [WEIR_TOML_OFFSET_DATETIME] = "date-time",
        [WEIR_TOML_LOCAL_DATETIME] = "local date-time",
        [WEIR_TOML_LOCAL_DATE] = "local date",
        [WEIR_TOML_LOCAL_TIME] = "local time",
        [WEIR_TOML_ARRAY] = "array",
        [WEIR_TOML_TABLE] = "table",
    };
    return (size_t)type < WEIR_ARRAY_LEN(names) ? names[type] : "unknown";
}
