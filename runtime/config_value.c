/* Text to values of options, and back to words about what is allowed. */
#include "runtime/config_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

static const char *const true_words[] = {"1", "true", "yes", "on"};
static const char *const false_words[] = {"0", "false", "no", "off"};

bool config_next_name(struct weir_span *rest, struct weir_span *ret_name, bool *ret_deprecated) {
    while (rest->data != NULL) {
        struct weir_span name = weir_span_split(*rest, ' ', rest);
        if (name.len == 0)
            continue;
        *ret_deprecated = name.data[0] == '!';
        *ret_name = weir_span(name.data + *ret_deprecated, name.len - *ret_deprecated);
        return true;
    }
    return false;
}

struct weir_span config_choice(const char *choices, unsigned index, bool *ret_refused) {
    struct weir_span rest = weir_span_z(choices), word = weir_span(NULL, 0);
    for (unsigned i = 0; i <= index; i++) {
        if (rest.data == NULL)
            return weir_span(NULL, 0);
        word = weir_span_split(rest, '|', &rest);
    }
    bool refused = word.len > 0 && word.data[word.len - 1] == '!';
    if (ret_refused != NULL)
        *ret_refused = refused;
    return weir_span(word.data, word.len - refused);
}

static bool word_in(struct weir_span text, const char *const words[4]) {
    for (int i = 0; i < 4; i++)
        if (weir_span_ieq(text, weir_span_z(words[i])))
            return true;
    return false;
}

static enum weir_status parse_bool(struct weir_span text, bool *member, struct weir_err *err) {
    bool yes = word_in(text, true_words);
    if (!yes && !word_in(text, false_words))
        return weir_err_set(err, WEIR_INVALID,
                            "not a boolean; write 1, true, yes or on, or 0, false, no or off");
    *member = yes;
    return WEIR_OK;
}

/* Numbers in the text of tables and messages: whole ones without a fraction. */
static int format_number(char *out, size_t room, double v) {
    if (v == floor(v) && fabs(v) < 1e16)
        return snprintf(out, room, "%.0f", v);
    return snprintf(out, room, "%g", v);
}

static enum weir_status bad_number(const struct weir_option *o, const char *what,
                                   struct weir_err *err) {
    char lo[32], hi[32];
    format_number(lo, sizeof(lo), o->min);
    format_number(hi, sizeof(hi), o->max);
    return weir_err_set(err, WEIR_INVALID, "%s; give a %s from %s to %s%s", what,
                        o->type == WEIR_OPT_INT ? "whole number" : "number", lo, hi,
                        o->def == NULL ? ", or None" : "");
}

static enum weir_status parse_int(const struct weir_option *o, struct weir_span text,
                                  int64_t *member, struct weir_err *err) {
    int64_t v = 0;
    if (!weir_span_i64(text, &v)) {
        double d = 0;
        bool number = weir_span_f64(text, &d);
        return bad_number(o, number && d == floor(d) ? "out of range" : "not a whole number", err);
    }
    if ((double)v < o->min || (double)v > o->max)
        return bad_number(o, "out of range", err);
    *member = v;
    return WEIR_OK;
}

static enum weir_status parse_float(const struct weir_option *o, struct weir_span text,
                                    double *member, struct weir_err *err) {
    double v = 0;
    if (!weir_span_f64(text, &v))
        return bad_number(o, "not a finite number", err);
    if (v < o->min || v > o->max)
        return bad_number(o, "out of range", err);
    *member = v;
    return WEIR_OK;
}

static enum weir_status parse_choice(const struct weir_option *o, struct weir_span text,
                                     int *member, struct weir_err *err) {
    char words[192];
    size_t n = 0;
    struct weir_span word;
    bool refused = false;
    words[0] = '\0';
    for (unsigned i = 0; (word = config_choice(o->choices, i, &refused)).data != NULL; i++) {
        if (weir_span_eq(word, text) && refused)
            return weir_err_set(err, WEIR_UNSUPPORTED,
                                "known in Dynamo, not supported by this build of Weir");
        if (weir_span_eq(word, text)) {
            *member = (int)i;
            return WEIR_OK;
        }
        if (!refused && n < sizeof(words))
            n += (size_t)snprintf(words + n, sizeof(words) - n, "%s%.*s", n > 0 ? ", " : "",
                                  WEIR_SPAN_ARG(word));
    }
    return weir_err_set(err, WEIR_INVALID, "not a choice; give one of %s", words);
}

static enum weir_status parse_str(const struct weir_option *o, struct weir_span text,
                                  struct weir_arena *arena, const char **member,
                                  struct weir_err *err) {
    if (text.len == 0 && (o->flags & (WEIR_OPT_NONEMPTY | WEIR_OPT_DIRECTORY)) != 0)
        return weir_err_set(err, WEIR_INVALID, "empty; give some text, or leave the option out");
    const char *copy = weir_arena_copy(arena, text).data;
    if (copy == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory");
    struct stat st;
    if ((o->flags & WEIR_OPT_DIRECTORY) != 0 && (stat(copy, &st) != 0 || !S_ISDIR(st.st_mode)))
        return weir_err_set(err, WEIR_NOT_FOUND, "not a directory; give one that exists");
    *member = copy;
    return WEIR_OK;
}

/* What "none" is for a type; LIST: empty. */
static void store_none(const struct weir_option *o, void *member) {
    switch (o->type) {
    case WEIR_OPT_BOOL:
        *(bool *)member = false;
        break;
    case WEIR_OPT_INT:
        *(int64_t *)member = WEIR_CONFIG_NONE;
        break;
    case WEIR_OPT_FLOAT:
        *(double *)member = NAN;
        break;
    case WEIR_OPT_STR:
        *(const char **)member = NULL;
        break;
    case WEIR_OPT_CHOICE:
        *(int *)member = -1;
        break;
    case WEIR_OPT_LIST:
        *(struct weir_config_list *)member = (struct weir_config_list){NULL, 0};
        break;
    }
}

enum weir_status config_parse(const struct weir_option *option, struct weir_span text,
                              struct weir_arena *arena, void *member, struct weir_err *err) {
    if (option->type != WEIR_OPT_STR)
        text = weir_span_trim(text);
    bool number = option->type == WEIR_OPT_INT || option->type == WEIR_OPT_FLOAT;
    if (number && option->def == NULL && weir_span_ieq(text, WEIR_SPAN_LIT("none"))) {
        store_none(option, member);
        return WEIR_OK;
    }
    switch (option->type) {
    case WEIR_OPT_BOOL:
        return parse_bool(text, member, err);
    case WEIR_OPT_INT:
        return parse_int(option, text, member, err);
    case WEIR_OPT_FLOAT:
        return parse_float(option, text, member, err);
    case WEIR_OPT_CHOICE:
        return parse_choice(option, text, member, err);
    case WEIR_OPT_STR:
        return parse_str(option, text, arena, member, err);
    case WEIR_OPT_LIST:
        break;
    }
    return weir_err_set(err, WEIR_INTERNAL, "a list is set item by item");
}

enum weir_status config_parse_default(const struct weir_option *option, struct weir_arena *arena,
                                      void *member) {
    struct weir_err err;
    if (option->def != NULL)
        return config_parse(option, weir_span_z(option->def), arena, member, &err);
    store_none(option, member);
    return WEIR_OK;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool config_is_default(const struct weir_option *option, const void *member) {
    union {
        bool b;
        int64_t i;
        double f;
        int c;
    } def = {0};
    struct weir_err err;
    if (option->type == WEIR_OPT_STR)
        return same_text(*(const char *const *)member, option->def);
    if (option->type == WEIR_OPT_LIST)
        return ((const struct weir_config_list *)member)->n == 0;
    if (option->def == NULL)
        store_none(option, &def);
    else if (config_parse(option, weir_span_z(option->def), NULL, &def, &err) != WEIR_OK)
        return false;
    switch (option->type) {
    case WEIR_OPT_BOOL:
        return *(const bool *)member == def.b;
    case WEIR_OPT_INT:
        return *(const int64_t *)member == def.i;
    case WEIR_OPT_FLOAT: {
        double v = *(const double *)member;
        return v == def.f || (isnan(v) && isnan(def.f));
    }
    default:
        return *(const int *)member == def.c;
    }
}

static enum weir_status allowed_choices(const char *choices, struct weir_buf *out) {
    struct weir_span word;
    bool refused = false;
    for (unsigned i = 0; (word = config_choice(choices, i, &refused)).data != NULL; i++) {
        enum weir_status st = weir_buf_printf(out, "%s%.*s%s", i > 0 ? "|" : "",
                                              WEIR_SPAN_ARG(word), refused ? " (refused)" : "");
        if (st != WEIR_OK)
            return st;
    }
    return WEIR_OK;
}

enum weir_status config_allowed(const struct weir_option *option, struct weir_buf *out) {
    char lo[32], hi[32];
    format_number(lo, sizeof(lo), option->min);
    format_number(hi, sizeof(hi), option->max);
    switch (option->type) {
    case WEIR_OPT_BOOL:
        return weir_buf_append_z(out, "boolean");
    case WEIR_OPT_INT:
        return weir_buf_printf(out, "whole number, %s to %s", lo, hi);
    case WEIR_OPT_FLOAT:
        return weir_buf_printf(out, "number, %s to %s", lo, hi);
    case WEIR_OPT_STR:
        return weir_buf_append_z(out,
                                 (option->flags & WEIR_OPT_DIRECTORY) != 0 ? "directory" : "text");
    case WEIR_OPT_CHOICE:
        return allowed_choices(option->choices, out);
    case WEIR_OPT_LIST:
        return weir_buf_append_z(out, "list of texts");
    }
    return WEIR_OK;
}
