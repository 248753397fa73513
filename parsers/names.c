/* Names of parsers: look-up, the nearest known one for a wrong one, and the request's choice. */
#include "parsers/names_priv.h"

#include "base/json.h"
#include "base/utf8.h"
#include "parsers/wprs.h"

static const struct name_row *row_of(const struct name_row *table, struct weir_span name) {
    for (; table->name != NULL; table++)
        if (weir_span_eqz(name, table->name))
            return table;
    return NULL;
}

const char *wprs_name_row(const struct name_row *table, struct weir_span name) {
    const struct name_row *found = row_of(table, name);
    return found != NULL ? found->row : NULL;
}

bool wprs_keeps_special(struct weir_span tool_parser, struct weir_span reasoning_parser) {
    const struct name_row *tool = row_of(wprs_tool_names, tool_parser),
                          *reasoning = row_of(wprs_reasoning_names, reasoning_parser);
    return (tool != NULL && tool->special) || (reasoning != NULL && reasoning->special);
}

const char *wprs_tool_parser_name(size_t i) {
    for (size_t k = 0; k < i; k++)
        if (wprs_tool_names[k].name == NULL)
            return NULL;
    return wprs_tool_names[i].name;
}

const char *wprs_reasoning_parser_name(size_t i) {
    for (size_t k = 0; k < i; k++)
        if (wprs_reasoning_names[k].name == NULL)
            return NULL;
    return wprs_reasoning_names[i].name;
}

static unsigned min3(unsigned a, unsigned b, unsigned c) {
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edits (insert, delete, replace) between two names; both at most 63 bytes. */
static unsigned distance(struct weir_span a, struct weir_span b) {
    unsigned row[64];
    for (unsigned k = 0; k <= b.len; k++)
        row[k] = k;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned corner = row[0];
        row[0] = i;
        for (unsigned k = 1; k <= b.len; k++) {
            unsigned up = row[k];
            row[k] = min3(up + 1, row[k - 1] + 1, corner + (a.data[i - 1] != b.data[k - 1]));
            corner = up;
        }
    }
    return row[b.len];
}

static const char *nearest(const struct name_row *table, struct weir_span name) {
    const char *best = NULL;
    unsigned best_edits = 1 + (unsigned)name.len / 2;
    for (; name.len < 64 && table->name != NULL; table++) {
        unsigned edits = distance(name, weir_span_z(table->name));
        if (edits < best_edits) {
            best_edits = edits;
            best = table->name;
        }
    }
    return best;
}

static enum weir_status check(const struct name_row *table, const char *what, struct weir_span name,
                              struct weir_err *err) {
    if (name.len == 0 || wprs_name_row(table, name) != NULL)
        return WEIR_OK;
    const char *near = nearest(table, name);
    if (near != NULL)
        return weir_err_set(err, WEIR_NOT_FOUND, "unknown %s parser \"%.*s\"; did you mean \"%s\"?",
                            what, WEIR_SPAN_ARG(weir_utf8_cut(name, 64)), near);
    return weir_err_set(err, WEIR_NOT_FOUND,
                        "unknown %s parser \"%.*s\"; 'weir parse --list' shows all", what,
                        WEIR_SPAN_ARG(weir_utf8_cut(name, 64)));
}

enum weir_status wprs_check_names(struct weir_span tool_parser, struct weir_span reasoning_parser,
                                  struct weir_err *err) {
    enum weir_status st = check(wprs_tool_names, "tool-call", tool_parser, err);
    return st != WEIR_OK ? st : check(wprs_reasoning_names, "reasoning", reasoning_parser, err);
}

/* {"type": "function", "function": {"name": N}}, and the flat {"type": "function", "name": N}. */
static bool name_of(struct weir_json *j, struct weir_span *ret_name) {
    struct weir_json_str key, name = {{NULL, 0}, false};
    if (weir_json_object_enter(j))
        while (weir_json_object_next(j, &key)) {
            if (weir_json_str_eqz(key, "name"))
                weir_json_string(j, &name);
            else if (weir_json_str_eqz(key, "function") && weir_json_peek(j) == WEIR_JSON_OBJECT)
                name_of(j, &name.raw);
            else
                weir_json_skip(j, NULL);
        }
    if (name.raw.len == 0 || name.escaped)
        return false;
    *ret_name = name.raw;
    return true;
}

enum weir_status wprs_choice_of(struct weir_span json, enum wprs_choice *ret_choice,
                                struct weir_span *ret_name, struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str word;
    weir_json_init(&j, json, WPRS_MEMBER_DEPTH);
    enum weir_json_type type = json.data != NULL ? weir_json_peek(&j) : WEIR_JSON_NULL;
    if (type == WEIR_JSON_NULL) {
        *ret_choice = WPRS_CHOICE_AUTO;
        return WEIR_OK;
    }
    if (type == WEIR_JSON_STRING && weir_json_string(&j, &word)) {
        static const char *const words[] = {"auto", "none", "required"};
        for (unsigned i = 0; i < WEIR_ARRAY_LEN(words); i++)
            if (weir_json_str_eqz(word, words[i])) {
                *ret_choice = (enum wprs_choice)i;
                return WEIR_OK;
            }
    }
    if (type == WEIR_JSON_OBJECT && name_of(&j, ret_name) && weir_json_finish(&j)) {
        *ret_choice = WPRS_CHOICE_NAMED;
        return WEIR_OK;
    }
    return weir_err_set(err, WEIR_INVALID,
                        "tool_choice must be \"none\", \"auto\", \"required\" or "
                        "{\"type\": \"function\", \"function\": {\"name\": …}}");
}
