/*
 * Events of libyaml into a tree. A stack of open sequences and mappings stands for recursion, so
 * depth is bounded by its size.
 */
#include "runtime/yaml.h"

#include "base/file.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 32, MAX_MEMBERS = 1024, MAX_NODES = 16384 };

struct builder {
    struct weir_arena *arena;
    struct weir_err *err;
    struct weir_yaml *open[MAX_DEPTH]; /* borrowed: the arena's */
    struct weir_span key[MAX_DEPTH];   /* of the member to come; data NULL: none read yet */
    unsigned depth, nodes, documents;
    struct weir_yaml *root;
};

static enum weir_status fail(struct builder *b, const yaml_event_t *e, enum weir_status st,
                             const char *what) {
    return weir_err_set(b->err, st, "line %zu: %s", e->start_mark.line + 1, what);
}

/* ---- building -------------------------------------------------------------------------------- */

static const struct weir_yaml *member(const struct weir_yaml *mapping, struct weir_span key) {
    for (const struct weir_yaml *m = mapping->first; m != NULL; m = m->next)
        if (weir_span_eq(m->key, key))
            return m;
    return NULL;
}

static enum weir_status attach(struct builder *b, const yaml_event_t *e, struct weir_yaml *node) {
    if (b->depth == 0) {
        b->root = node;
        return WEIR_OK;
    }
    struct weir_yaml *parent = b->open[b->depth - 1];
    if (parent->n == MAX_MEMBERS)
        return fail(b, e, WEIR_LIMIT, "more than 1,024 members");
    if (parent->type == WEIR_YAML_MAPPING) {
        node->key = b->key[b->depth - 1];
        b->key[b->depth - 1] = weir_span(NULL, 0);
    }
    if (parent->last != NULL)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->n++;
    return WEIR_OK;
}

static struct weir_yaml *new_node(struct builder *b, const yaml_event_t *e,
                                  enum weir_yaml_type type) {
    struct weir_yaml *node = weir_arena_zalloc(b->arena, sizeof(*node));
    if (node == NULL)
        return NULL;
    node->type = type;
    node->line = (unsigned)e->start_mark.line + 1;
    return node;
}

/* True when a mapping's key is what comes next. */
static bool wants_key(const struct builder *b) {
    return b->depth > 0 && b->open[b->depth - 1]->type == WEIR_YAML_MAPPING &&
           b->key[b->depth - 1].data == NULL;
}

static enum weir_status no_memory(struct builder *b) {
    return weir_err_set(b->err, WEIR_NOMEM, "out of memory");
}

static enum weir_status on_scalar(struct builder *b, const yaml_event_t *e) {
    struct weir_span text = weir_arena_copy(
        b->arena, weir_span((const char *)e->data.scalar.value, e->data.scalar.length));
    if (text.data == NULL)
        return no_memory(b);
    if (memchr(text.data, '\0', text.len) != NULL)
        return fail(b, e, WEIR_INVALID, "a text has a NUL inside");
    if (wants_key(b)) {
        if (member(b->open[b->depth - 1], text) != NULL)
            return weir_err_set(b->err, WEIR_INVALID, "line %zu: key '%.*s' is there already",
                                e->start_mark.line + 1,
                                WEIR_SPAN_ARG(weir_utf8_cut_z(text.data, 60)));
        b->key[b->depth - 1] = text;
        return WEIR_OK;
    }
    struct weir_yaml *node = new_node(b, e, WEIR_YAML_SCALAR);
    if (node == NULL)
        return no_memory(b);
    node->text = text;
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return attach(b, e, node);
}

static enum weir_status on_open(struct builder *b, const yaml_event_t *e,
                                enum weir_yaml_type type) {
    if (wants_key(b))
        return fail(b, e, WEIR_INVALID, "a key must be a text or a number");
    if (b->depth == MAX_DEPTH)
        return fail(b, e, WEIR_LIMIT, "nested deeper than 32 levels");
    struct weir_yaml *node = new_node(b, e, type);
    if (node == NULL)
        return no_memory(b);
    enum weir_status st = attach(b, e, node);
    b->key[b->depth] = weir_span(NULL, 0);
    b->open[b->depth++] = node;
    return st;
}

static enum weir_status check(struct builder *b, const yaml_event_t *e, const yaml_char_t *anchor,
                              const yaml_char_t *tag) {
    if (++b->nodes > MAX_NODES)
        return fail(b, e, WEIR_LIMIT, "more than 16,384 keys and values");
    if (anchor != NULL)
        return fail(b, e, WEIR_INVALID, "anchors are not supported: write the value out");
    if (tag != NULL)
        return fail(b, e, WEIR_INVALID, "tags are not supported: leave the ! word out");
    return WEIR_OK;
}

static enum weir_status on_event(struct builder *b, const yaml_event_t *e) {
    enum weir_status st = WEIR_OK;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++b->documents > 1)
            return fail(b, e, WEIR_INVALID, "a second document begins: one is allowed");
        return WEIR_OK;
    case YAML_ALIAS_EVENT:
        return fail(b, e, WEIR_INVALID, "aliases are not supported: write the value out");
    case YAML_SCALAR_EVENT:
        st = check(b, e, e->data.scalar.anchor, e->data.scalar.tag);
        return st == WEIR_OK ? on_scalar(b, e) : st;
    case YAML_SEQUENCE_START_EVENT:
        st = check(b, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
        return st == WEIR_OK ? on_open(b, e, WEIR_YAML_SEQUENCE) : st;
    case YAML_MAPPING_START_EVENT:
        st = check(b, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
        return st == WEIR_OK ? on_open(b, e, WEIR_YAML_MAPPING) : st;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return WEIR_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return WEIR_OK;
}

static enum weir_status run(struct builder *b, yaml_parser_t *parser) {
    for (bool more = true; more;) {
        yaml_event_t e;
        if (!yaml_parser_parse(parser, &e)) {
            if (parser->error == YAML_MEMORY_ERROR)
                return no_memory(b);
            size_t line =
                parser->error == YAML_READER_ERROR ? parser->mark.line : parser->problem_mark.line;
            return weir_err_set(b->err, WEIR_INVALID, "line %zu: %s", line + 1,
                                parser->problem != NULL ? parser->problem : "not YAML");
        }
        more = e.type != YAML_STREAM_END_EVENT;
        enum weir_status st = on_event(b, &e);
        yaml_event_delete(&e);
        if (st != WEIR_OK)
            return st;
    }
    return WEIR_OK;
}

enum weir_status weir_yaml_parse(struct weir_span text, struct weir_arena *arena,
                                 const struct weir_yaml **ret_root, struct weir_err *err) {
    yaml_parser_t parser;
    struct builder b = {.arena = arena, .err = err};
    if (!yaml_parser_initialize(&parser))
        return no_memory(&b);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);
    enum weir_status st = run(&b, &parser);
    yaml_parser_delete(&parser);
    if (st == WEIR_OK && b.root == NULL) {
        b.root = weir_arena_zalloc(arena, sizeof(*b.root));
        if (b.root == NULL)
            return no_memory(&b);
        *b.root = (struct weir_yaml){.line = 1, .text = WEIR_SPAN_LIT(""), .plain = true};
    }
    if (st == WEIR_OK)
        *ret_root = b.root;
    return st;
}

enum weir_status weir_yaml_read(const char *path, size_t max_bytes, struct weir_arena *arena,
                                const struct weir_yaml **ret_root, struct weir_err *err) {
    struct weir_buf text;
    weir_buf_init(&text, max_bytes);
    enum weir_status st = weir_file_read(path, WEIR_FILE_PLAIN, &text, err);
    if (st == WEIR_OK) {
        st = weir_yaml_parse(weir_buf_span(&text), arena, ret_root, err);
        if (st != WEIR_OK)
            weir_err_prefix(err, "%s", path);
    }
    weir_buf_fini(&text);
    return st;
}

/* ---- reading --------------------------------------------------------------------------------- */

const struct weir_yaml *weir_yaml_get(const struct weir_yaml *mapping, const char *key) {
    if (mapping == NULL || mapping->type != WEIR_YAML_MAPPING)
        return NULL;
    return member(mapping, weir_span_z(key));
}

static bool plain_is(const struct weir_yaml *node, const char *const *words, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (weir_span_eqz(node->text, words[i]))
            return true;
    return false;
}

static bool is_plain(const struct weir_yaml *node) {
    return node != NULL && node->type == WEIR_YAML_SCALAR && node->plain;
}

bool weir_yaml_is_null(const struct weir_yaml *node) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    return node == NULL || (is_plain(node) && plain_is(node, nulls, WEIR_ARRAY_LEN(nulls)));
}

bool weir_yaml_bool(const struct weir_yaml *node, bool *ret) {
    static const char *const on[] = {"true", "True", "TRUE"};
    static const char *const off[] = {"false", "False", "FALSE"};
    if (!is_plain(node))
        return false;
    bool is_on = plain_is(node, on, 3);
    if (!is_on && !plain_is(node, off, 3))
        return false;
    *ret = is_on;
    return true;
}

bool weir_yaml_u64(const struct weir_yaml *node, uint64_t *ret) {
    if (!is_plain(node))
        return false;
    struct weir_span t = node->text;
    bool hex = weir_span_starts(t, WEIR_SPAN_LIT("0x"));
    if (!hex && !weir_span_starts(t, WEIR_SPAN_LIT("0o"))) {
        if (t.len > 1 && t.data[0] == '+')
            t = weir_span(t.data + 1, t.len - 1);
        return weir_span_u64(t, ret);
    }
    uint64_t base = hex ? 16 : 8, value = 0;
    for (size_t i = 2; i < t.len; i++) {
        char c = t.data[i];
        uint64_t digit = c >= '0' && c <= '9'   ? (uint64_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint64_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint64_t)(c - 'A') + 10
                                                : 99;
        if (digit >= base || value > (UINT64_MAX - digit) / base)
            return false;
        value = value * base + digit;
    }
    if (t.len > 2)
        *ret = value;
    return t.len > 2;
}

bool weir_yaml_f64(const struct weir_yaml *node, double *ret) {
    static const char *const nans[] = {".nan", ".NaN", ".NAN"};
    static const char *const infs[] = {".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf",
                                       "+.INF", "-.inf", "-.Inf", "-.INF"};
    uint64_t whole;
    if (!is_plain(node))
        return false;
    struct weir_span t = node->text;
    if (plain_is(node, nans, 3)) {
        *ret = NAN;
    } else if (plain_is(node, infs, 9)) {
        *ret = t.data[0] == '-' ? -INFINITY : INFINITY;
    } else if (weir_yaml_u64(node, &whole)) {
        *ret = (double)whole;
    } else {
        if (t.len > 1 && t.data[0] == '+')
            t = weir_span(t.data + 1, t.len - 1);
        return weir_span_f64(t, ret);
    }
    return true;
}

void weir_yaml_describe(const struct weir_yaml *node, char *ret, size_t cap) {
    double number;
    bool flag;
    if (node == NULL || weir_yaml_is_null(node))
        snprintf(ret, cap, "nothing");
    else if (node->type != WEIR_YAML_SCALAR)
        snprintf(ret, cap, node->type == WEIR_YAML_SEQUENCE ? "a sequence" : "a mapping");
    else if (weir_yaml_bool(node, &flag) || weir_yaml_f64(node, &number))
        snprintf(ret, cap, "%.*s", WEIR_SPAN_ARG(weir_utf8_cut_z(node->text.data, 40)));
    else
        snprintf(ret, cap, "the text \"%.*s\"",
                 WEIR_SPAN_ARG(weir_utf8_cut_z(node->text.data, 40)));
}
