/*
 * Generated conversations in every format: parse(render(x)) is x, gathered or streamed, for every
 * cut; and of a text that breaks off anywhere no word is lost and no call is made up.
 * WEIR_PARSERS_ROUNDS: conversations per format (6).
 */
#include "base/json.h"
#include "base/rng.h"
#include "test/check.h"
#include "test/unit/parsers/collect.h"
#include "test/unit/parsers/render.h"

enum { VALUES_MAX = 512, WORDS_MAX = 256 };

static struct weir_rng rng;
static struct value values[VALUES_MAX];
static unsigned n_values, n_words;
static char words[WORDS_MAX][12]; /* each occurs once in the conversation */
static const struct dialect *dialect;

static unsigned below(unsigned n) {
    return (unsigned)weir_rng_below(&rng, n);
}

static const char *word(void) {
    char *w = words[n_words % WORDS_MAX];
    snprintf(w, sizeof(words[0]), "Zq%uqZ", 1000 + n_words++ % WORDS_MAX);
    return w;
}

/* Words with what is near markup between them. */
static void make_text(char *out, size_t room, bool in_string) {
    static const char *const plain[] = {"a < b",           " ",     "{x}",   "f(x) = [1]", ", ",
                                        "naïve 港 🛥", "<b>",   ".\n",   "x>y ",       "</",
                                        "tool_call",       "it's ", "\"q\"", "\\n"};
    size_t n = (size_t)snprintf(out, room, "%s", word());
    for (unsigned parts = below(4); parts > 0 && n + 80 < room; parts--) {
        bool trap = in_string && below(4) == 0;
        n += (size_t)snprintf(out + n, room - n, "%s%s",
                              trap ? dialect->trap : plain[below(WEIR_ARRAY_LEN(plain))],
                              below(2) == 0 ? "" : word());
    }
    snprintf(out + n, room - n, ".");
}

static struct value *make_value(unsigned depth, int kind) {
    static const char *const numbers[] = {"0",        "-1",  "3", "12345678901234567890",
                                          "-0.00125", "1e9", "7", "2.50"};
    static const char *const simple[] = {"true", "false", "null"};
    struct value *v = &values[n_values++];
    memset(v, 0, sizeof(*v));
    v->kind = kind >= 0    ? (enum value_kind)kind
              : depth == 0 ? (enum value_kind)below(3)
                           : (enum value_kind)below(5);
    if (v->kind == VALUE_STRING)
        make_text(v->text, sizeof(v->text), true);
    else if (v->kind == VALUE_NUMBER)
        snprintf(v->text, sizeof(v->text), "%s", numbers[below(WEIR_ARRAY_LEN(numbers))]);
    else if (v->kind == VALUE_WORD)
        snprintf(v->text, sizeof(v->text), "%s", simple[below(2)]);
    else
        for (v->n = below(VALUE_MEMBERS); depth > 0 && v->n > 0;) {
            unsigned n = v->n;
            for (unsigned i = 0; i < n; i++) {
                snprintf(v->keys[i], sizeof(v->keys[0]), "k%u", i);
                v->members[i] = make_value(depth - 1, -1);
            }
            return v;
        }
    return v;
}

/* The tools' schema: text number flag object list, of which the last two hold numbers only where a
 * format writes nested values as text. */
static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"do_it\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"text\":{\"type\":\"string\"},\"number\":{\"type\":\"number\"},"
    "\"flag\":{\"type\":[\"boolean\",\"null\"]},\"list\":{\"type\":\"array\",\"items\":{\"type\":"
    "\"string\"}}}}}},{\"type\":\"function\",\"function\":{\"name\":\"other-tool.v2\","
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"text\":{\"type\":\"string\"},"
    "\"number\":{\"type\":\"number\"},\"flag\":{\"type\":\"boolean\"},\"list\":{\"type\":\"array\","
    "\"items\":{\"type\":\"string\"}},\"deep\":{\"type\":\"object\"}}}}}]";

static struct value *make_list(void) {
    struct value *v = &values[n_values++];
    memset(v, 0, sizeof(*v));
    v->kind = VALUE_ARRAY;
    v->n = 1 + below(VALUE_MEMBERS - 1);
    for (unsigned i = 0; i < v->n; i++)
        v->members[i] = make_value(0, VALUE_STRING);
    return v;
}

static struct value *make_args(bool deep) {
    static const char *const keys[] = {"text", "number", "flag"};
    static const int kinds[] = {VALUE_STRING, VALUE_NUMBER, VALUE_WORD};
    struct value *v = &values[n_values++];
    memset(v, 0, sizeof(*v));
    v->kind = VALUE_OBJECT;
    for (unsigned i = 0; i < WEIR_ARRAY_LEN(keys); i++) {
        if (below(3) == 0)
            continue;
        snprintf(v->keys[v->n], sizeof(v->keys[0]), "%s", keys[i]);
        v->members[v->n++] = make_value(0, kinds[i]);
    }
    if (below(2) == 0) {
        snprintf(v->keys[v->n], sizeof(v->keys[0]), "%s", deep ? "deep" : "list");
        v->members[v->n++] = deep ? make_value(3, VALUE_OBJECT) : make_list();
    }
    return v;
}

static void make_turn(struct turn *t) {
    /* Elements named after keys have no types below the schema: lists of strings only. */
    const bool tree = strcmp(dialect->parser, "minimax_m3") == 0;
    memset(t, 0, sizeof(*t));
    n_values = n_words = 0;
    if (dialect->reasoning != NULL && below(2) == 0)
        make_text(t->reasoning, sizeof(t->reasoning), false);
    t->n = 1 + below(5);
    for (unsigned i = 0; i < t->n; i++) {
        struct part *p = &t->parts[i];
        p->kind = (enum part_kind)(below(3) > 0);
        /* Two texts that touch would be one. */
        if (i > 0 && p->kind == PART_TEXT && t->parts[i - 1].kind == PART_TEXT)
            p->kind = PART_CALL;
        if (p->kind == PART_TEXT) {
            make_text(p->text, sizeof(p->text), false);
        } else {
            bool second = below(2) == 0;
            snprintf(p->text, sizeof(p->text), "%s", second ? "other-tool.v2" : "do_it");
            p->args = make_args(second && !tree && below(2) == 0);
        }
    }
}

/* ---- what must come out --------------------------------------------------------------------- */

static void expected(const struct turn *t, struct collected *want) {
    collected_clear(want);
    CHECK(weir_buf_append_z(&want->reasoning, t->reasoning) == WEIR_OK);
    for (unsigned i = 0; i < t->n; i++) {
        if (t->parts[i].kind == PART_TEXT) {
            CHECK(weir_buf_append_z(&want->content, t->parts[i].text) == WEIR_OK);
            continue;
        }
        CHECK(weir_buf_append_z(&want->names[want->n_calls], t->parts[i].text) == WEIR_OK);
        put_json(t->parts[i].args, &want->args[want->n_calls++]);
    }
}

static void check_same(const struct collected *want, const struct collected *got,
                       struct weir_span text) {
    bool same = got->n_calls == want->n_calls && !got->broken_order &&
                text_equal(weir_buf_span(&want->content), weir_buf_span(&got->content), true) &&
                text_equal(weir_buf_span(&want->reasoning), weir_buf_span(&got->reasoning), true);
    for (unsigned i = 0; same && i < want->n_calls; i++)
        same = weir_span_eq(weir_buf_span(&want->names[i]), weir_buf_span(&got->names[i])) &&
               got->done[i] &&
               json_equal(weir_buf_span(&want->args[i]), weir_buf_span(&got->args[i]));
    CHECK_MSG(same, "%s: %.*s\n got %s\nwant %s", dialect->parser, WEIR_SPAN_ARG(text),
              collected_text(got), collected_text(want));
}

static bool has_word(const struct weir_buf *buf, const char *w) {
    return buf->len > 0 && memmem(buf->data, buf->len, w, strlen(w)) != NULL;
}

/* Of the beginning of the text: calls are the first ones, whole; every word of it is somewhere. */
static void check_beginning(const struct wprs_options *o, const struct collected *want,
                            struct weir_span part, struct collected *got) {
    collect(o, part, NULL, 0, 0, WPRS_FINISH_LENGTH, got);
    CHECK_MSG(got->n_calls <= want->n_calls && !got->broken_order, "%s: %.*s: %s", dialect->parser,
              WEIR_SPAN_ARG(part), collected_text(got));
    for (unsigned i = 0; i < got->n_calls; i++)
        CHECK_MSG(got->done[i] &&
                      json_equal(weir_buf_span(&want->args[i]), weir_buf_span(&got->args[i])),
                  "%s: %.*s: call %u of %s", dialect->parser, WEIR_SPAN_ARG(part), i,
                  collected_text(got));
    for (unsigned i = 0; i < n_words && i < WORDS_MAX; i++) {
        if (memmem(part.data, part.len, words[i], strlen(words[i])) == NULL)
            continue;
        bool found = has_word(&got->content, words[i]) || has_word(&got->reasoning, words[i]);
        for (unsigned k = 0; k < got->n_calls; k++)
            found |= has_word(&got->args[k], words[i]);
        CHECK_MSG(found, "%s: %s is lost of %.*s: %s", dialect->parser, words[i],
                  WEIR_SPAN_ARG(part), collected_text(got));
    }
}

static void check_turn(const struct turn *t) {
    struct weir_buf text;
    struct collected want, got;
    struct wprs_options o = WPRS_OPTIONS_INIT;
    o.tool_parser = weir_span_z(dialect->parser);
    o.reasoning_parser = weir_span_z(dialect->reasoning);
    o.tools = WEIR_SPAN_LIT(tools);
    if (dialect->reasoning != NULL && t->reasoning[0] == '\0')
        o.prompt_tail = WEIR_SPAN_LIT("</think>"); /* for parsers that start inside */
    weir_buf_init(&text, (size_t)1 << 20);
    collected_init(&want);
    collected_init(&got);
    dialect->render(t, &text);
    expected(t, &want);
    struct weir_span all = weir_buf_span(&text);
    for (int calls = WPRS_CALLS_CHECKED; calls <= WPRS_CALLS_PIECES; calls++) {
        o.calls = (enum wprs_calls)calls;
        for (size_t cut = 0; cut <= all.len; cut++) {
            collect(&o, all, &cut, 1, 0, WPRS_FINISH_STOP, &got);
            check_same(&want, &got, all);
        }
        for (size_t step = 1; step < 8; step++) {
            collect(&o, all, NULL, 0, step, WPRS_FINISH_STOP, &got);
            check_same(&want, &got, all);
        }
    }
    o.calls = WPRS_CALLS_CHECKED;
    for (size_t n = 0; n < all.len; n++)
        check_beginning(&o, &want, weir_span(all.data, n), &got);
    weir_buf_fini(&text);
    collected_fini(&want);
    collected_fini(&got);
}

static void case_dialect(void) {
    const char *text = getenv("WEIR_PARSERS_ROUNDS");
    for (int rounds = text != NULL ? (int)strtol(text, NULL, 10) : 6; rounds > 0; rounds--) {
        struct turn t;
        make_turn(&t);
        check_turn(&t);
    }
}

int main(void) {
    weir_rng_seed(&rng, check_seed());
    for (unsigned i = 0; i < n_dialects; i++) {
        dialect = &dialects[i];
        check_run(dialect->parser, case_dialect);
    }
    return check_finish();
}
