/* tokenizer.json: the top level, the vocabulary, the merges and the added tokens. */
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/spec_priv.h"

#include <stdio.h>

enum { DEPTH = 64, ARENA_MAX = 1 << 30 };

void wtok_spec_init(struct wtok_spec *spec) {
    memset(spec, 0, sizeof(*spec));
    weir_arena_init(&spec->arena, ARENA_MAX);
}

void wtok_spec_fini(struct wtok_spec *spec) {
    weir_arena_fini(&spec->arena);
    weir_free(spec->tokens);
    weir_free(spec->by_text);
    weir_free(spec->merges);
    weir_free(spec->ranks);
    weir_free(spec->added);
}

static enum weir_status no_memory(struct weir_err *err) {
    return weir_err_set(err, WEIR_NOMEM, "out of memory while loading the tokenizer");
}

/* ---- tokens by id and by text ---------------------------------------------------------------- */

static uint64_t hash_text(struct weir_span text) {
    return text.len > 0 ? wtok_hash_long((const unsigned char *)text.data, text.len) : 0;
}

uint32_t wtok_spec_find(const struct wtok_spec *spec, struct weir_span text) {
    if (spec->by_text == NULL)
        return WTOK_NO_ID;
    for (size_t i = hash_text(text) & spec->by_text_mask;; i = (i + 1) & spec->by_text_mask) {
        uint32_t id = spec->by_text[i];
        if (id == WTOK_NO_ID || weir_span_eq(spec->tokens[id].text, text))
            return id;
    }
}

static void index_text(struct wtok_spec *spec, uint32_t id) {
    size_t i = hash_text(spec->tokens[id].text) & spec->by_text_mask;
    while (spec->by_text[i] != WTOK_NO_ID)
        i = (i + 1) & spec->by_text_mask;
    spec->by_text[i] = id;
}

/* Room for ids up to n_ids, and an index at most half full. */
static bool grow(struct wtok_spec *spec, size_t n_ids) {
    size_t old = spec->by_text != NULL ? spec->by_text_mask + 1 : 0;
    if (n_ids <= spec->n_ids)
        return true;
    if (n_ids * 2 > old) {
        size_t cap = 1024;
        while (cap < n_ids * 2)
            cap *= 2;
        struct wtok_spec_token *tokens =
            weir_realloc(spec->tokens, cap / 2 * sizeof(*spec->tokens));
        if (tokens == NULL)
            return false;
        spec->tokens = tokens;
        uint32_t *index = weir_malloc(cap * sizeof(*index));
        if (index == NULL)
            return false;
        memset(index, 0xFF, cap * sizeof(*index));
        weir_free(spec->by_text);
        spec->by_text = index;
        spec->by_text_mask = cap - 1;
        for (size_t id = 0; id < spec->n_ids; id++)
            if (tokens[id].text.data != NULL)
                index_text(spec, (uint32_t)id);
    }
    memset(spec->tokens + spec->n_ids, 0, (n_ids - spec->n_ids) * sizeof(*spec->tokens));
    spec->n_ids = n_ids;
    return true;
}

enum weir_status wtok_spec_put(struct wtok_spec *spec, uint32_t id, struct weir_span text,
                               struct weir_err *err) {
    if (id >= WTOK_MAX_IDS)
        return weir_err_set(err, WEIR_UNSUPPORTED, "token id %u is above the limit of %u", id,
                            WTOK_MAX_IDS - 1);
    if (!grow(spec, (size_t)id + 1))
        return no_memory(err);
    if (spec->tokens[id].text.data != NULL)
        return weir_err_set(err, WEIR_INVALID, "token id %u is given twice: %.*s and %.*s", id,
                            WEIR_SPAN_ARG(weir_utf8_cut(spec->tokens[id].text, 40)),
                            WEIR_SPAN_ARG(weir_utf8_cut(text, 40)));
    if (wtok_spec_find(spec, text) != WTOK_NO_ID)
        return weir_err_set(err, WEIR_INVALID, "two token ids have the text %.*s",
                            WEIR_SPAN_ARG(weir_utf8_cut(text, 40)));
    spec->tokens[id].text = text;
    index_text(spec, id);
    return WEIR_OK;
}

/* ---- model ----------------------------------------------------------------------------------- */

static enum weir_status read_vocab(struct wtok_spec *spec, struct weir_span json,
                                   struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str key;
    weir_json_init(&j, json, DEPTH);
    if (!weir_json_object_enter(&j))
        return weir_err_set(err, WEIR_INVALID, "model.vocab is not an object");
    while (weir_json_object_next(&j, &key)) {
        uint64_t id;
        if (!weir_json_u64(&j, &id))
            break;
        struct weir_span text = weir_json_text(key, &spec->arena);
        if (text.data == NULL)
            return no_memory(err);
        enum weir_status st =
            wtok_spec_put(spec, id < UINT32_MAX ? (uint32_t)id : UINT32_MAX, text, err);
        if (st != WEIR_OK)
            return weir_err_prefix(err, "model.vocab");
        spec->tokens[id].in_vocab = true;
        spec->n_vocab++;
    }
    if (!weir_json_finish(&j))
        return weir_err_set(err, WEIR_INVALID, "model.vocab: %s", weir_json_error_text(j.error));
    return WEIR_OK;
}

/* One merge in either spelling: "a b" or ["a","b"]. */
static bool read_pair(struct wtok_spec *spec, struct weir_json *j, struct weir_span *a,
                      struct weir_span *b) {
    struct weir_json_str s;
    if (weir_json_peek(j) == WEIR_JSON_ARRAY) {
        struct weir_json_str t;
        if (!weir_json_array_enter(j) || !weir_json_array_next(j) || !weir_json_string(j, &s) ||
            !weir_json_array_next(j) || !weir_json_string(j, &t) || weir_json_array_next(j))
            return false;
        *a = weir_json_text(s, &spec->arena);
        *b = weir_json_text(t, &spec->arena);
        return j->error == WEIR_JSON_ERR_NONE;
    }
    if (!weir_json_string(j, &s))
        return false;
    *a = weir_span_split(weir_json_text(s, &spec->arena), ' ', b);
    return b->data != NULL && weir_span_find(*b, ' ') < 0;
}

static enum weir_status add_merge(struct wtok_spec *spec, struct weir_span a, struct weir_span b,
                                  struct weir_buf *scratch, struct weir_err *err) {
    uint32_t left = wtok_spec_find(spec, a), right = wtok_spec_find(spec, b);
    weir_buf_clear(scratch);
    if (weir_buf_append_span(scratch, a) != WEIR_OK || weir_buf_append_span(scratch, b) != WEIR_OK)
        return no_memory(err);
    uint32_t id = wtok_spec_find(spec, weir_buf_span(scratch));
    if (left == WTOK_NO_ID || right == WTOK_NO_ID || id == WTOK_NO_ID)
        return weir_err_set(err, WEIR_INVALID,
                            "model.merges[%zu]: \"%.*s\" or one of its parts is not in the "
                            "vocabulary",
                            spec->n_merges, (int)(scratch->len < 60 ? scratch->len : 60),
                            scratch->data);
    spec->merges[spec->n_merges++] = (struct wtok_spec_merge){left, right, id};
    return WEIR_OK;
}

static enum weir_status read_merges(struct wtok_spec *spec, struct weir_span json,
                                    struct weir_err *err) {
    struct weir_json j;
    struct weir_buf scratch;
    size_t cap = 0;
    enum weir_status st = WEIR_OK;
    weir_json_init(&j, json, DEPTH);
    if (!weir_json_array_enter(&j))
        return weir_err_set(err, WEIR_INVALID, "model.merges is not an array");
    weir_buf_init(&scratch, 1 << 24);
    while (st == WEIR_OK && weir_json_array_next(&j)) {
        struct weir_span a, b = {NULL, 0};
        if (spec->n_merges == cap) {
            cap = cap == 0 ? 4096 : cap * 2;
            struct wtok_spec_merge *more = weir_realloc(spec->merges, cap * sizeof(*more));
            if (more == NULL) {
                st = no_memory(err);
                break;
            }
            spec->merges = more;
        }
        if (spec->n_merges == WTOK_MAX_RANKS)
            st = weir_err_set(err, WEIR_UNSUPPORTED, "model.merges has more than %u entries",
                              WTOK_MAX_RANKS);
        else if (!read_pair(spec, &j, &a, &b))
            st = weir_err_set(err, WEIR_INVALID, "model.merges[%zu] is no pair", spec->n_merges);
        else
            st = add_merge(spec, a, b, &scratch, err);
    }
    weir_buf_fini(&scratch);
    if (st == WEIR_OK && !weir_json_finish(&j))
        st = weir_err_set(err, WEIR_INVALID, "model.merges: %s", weir_json_error_text(j.error));
    return st;
}

static enum weir_status no_affix(struct wtok_spec *spec, struct weir_span json, const char *key,
                                 struct weir_err *err) {
    struct weir_span value = wtok_field(json, key);
    if (value.data == NULL || wtok_text_of(spec, value).len == 0)
        return WEIR_OK;
    char field[64];
    snprintf(field, sizeof(field), "model.%s", key);
    return wtok_refuse(err, field, value);
}

static enum weir_status wordpiece_model(struct wtok_spec *spec, struct weir_span json,
                                        struct weir_err *err) {
    static const char *const names[] = {
        "type", "vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word",
        NULL};
    uint64_t most;
    enum weir_status st = wtok_only(json, "model", names, err);
    if (st != WEIR_OK)
        return st;
    spec->wordpiece = true;
    spec->ignore_merges = true; /* each entry is what a word of its text becomes */
    spec->unk = wtok_field_text(spec, json, "unk_token");
    spec->subword_prefix = wtok_field_text(spec, json, "continuing_subword_prefix");
    if (spec->subword_prefix.data == NULL || spec->unk.data == NULL ||
        !wtok_u64_of(wtok_field(json, "max_input_chars_per_word"), &most))
        return weir_err_set(err, WEIR_INVALID,
                            "model: unk_token, continuing_subword_prefix or "
                            "max_input_chars_per_word is missing");
    spec->max_word_chars = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
    st = read_vocab(spec, wtok_field_raw(json, "vocab"), err);
    if (st == WEIR_OK && wtok_spec_find(spec, spec->unk) == WTOK_NO_ID)
        st = weir_err_set(err, WEIR_INVALID, "model.unk_token is not in model.vocab");
    return st;
}

enum weir_status wtok_spec_model(struct wtok_spec *spec, struct weir_span json,
                                 struct weir_err *err) {
    static const char *const names[] = {"type",
                                        "vocab",
                                        "merges",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        NULL};
    struct weir_span type = wtok_field(json, "type");
    if (type.data != NULL && weir_json_is(type, "WordPiece"))
        return wordpiece_model(spec, json, err);
    if (type.data != NULL && !weir_json_is(type, "BPE"))
        return wtok_refuse(err, "model.type", type);
    enum weir_status st = wtok_only(json, "model", names, err);
    struct weir_span dropout = wtok_field(json, "dropout");
    if (st == WEIR_OK && dropout.data != NULL && !weir_span_eqz(dropout, "0.0"))
        st = wtok_refuse(err, "model.dropout", dropout);
    if (st == WEIR_OK)
        st = no_affix(spec, json, "continuing_subword_prefix", err);
    if (st == WEIR_OK)
        st = no_affix(spec, json, "end_of_word_suffix", err);
    if (st != WEIR_OK)
        return st;
    spec->fuse_unk = wtok_field_bool(json, "fuse_unk", false);
    spec->byte_fallback = wtok_field_bool(json, "byte_fallback", false);
    spec->ignore_merges = wtok_field_bool(json, "ignore_merges", false);
    spec->unk = wtok_field_text(spec, json, "unk_token");
    st = read_vocab(spec, wtok_field_raw(json, "vocab"), err);
    return st != WEIR_OK ? st : read_merges(spec, wtok_field_raw(json, "merges"), err);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

/* The id that the reference gives to a text that is not in the vocabulary: one more than the
 * highest. It does not look at the id in the file, so another one there is refused. */
static uint32_t next_added_id(const struct wtok_spec *spec) {
    uint32_t next = (uint32_t)spec->n_vocab;
    for (size_t i = 0; i < spec->n_added; i++)
        if (spec->added[i].id >= next)
            next = spec->added[i].id + 1;
    return next;
}

static enum weir_status enter_added(struct wtok_spec *spec, const struct wtok_spec_added *a,
                                    struct weir_err *err) {
    for (size_t i = 0; i < spec->n_added; i++)
        if (spec->added[i].id == a->id && weir_span_eq(spec->added[i].text, a->text)) {
            spec->added[i] = *a;
            spec->tokens[a->id].special = a->special;
            return WEIR_OK;
        }
    uint32_t id = wtok_spec_find(spec, a->text);
    uint32_t want = id != WTOK_NO_ID ? id : next_added_id(spec);
    if (want != a->id)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "added_tokens: \"%.*s\" has id %u in the file but the reference would "
                            "give it %u",
                            WEIR_SPAN_ARG(weir_utf8_cut(a->text, 60)), a->id, want);
    if (id == WTOK_NO_ID) {
        enum weir_status st = wtok_spec_put(spec, a->id, a->text, err);
        if (st != WEIR_OK)
            return weir_err_prefix(err, "added_tokens");
    }
    if ((spec->n_added & (spec->n_added + 1)) == 0) { /* full at 0, 1, 3, 7, … */
        void *more = weir_realloc(spec->added, (spec->n_added + 1) * 2 * sizeof(*spec->added));
        if (more == NULL)
            return no_memory(err);
        spec->added = more;
    }
    spec->added[spec->n_added++] = *a;
    spec->tokens[a->id].special = a->special;
    return WEIR_OK;
}

static enum weir_status read_added(struct wtok_spec *spec, struct weir_span json, uint64_t id,
                                   struct weir_err *err) {
    struct wtok_spec_added a = {.text = wtok_field_text(spec, json, "content"),
                                .special = wtok_field_bool(json, "special", false),
                                .lstrip = wtok_field_bool(json, "lstrip", false),
                                .rstrip = wtok_field_bool(json, "rstrip", false),
                                .single_word = wtok_field_bool(json, "single_word", false)};
    a.normalized = wtok_field_bool(json, "normalized", !a.special);
    if (a.text.data == NULL || id >= WTOK_MAX_IDS)
        return weir_err_set(err, WEIR_INVALID, "added_tokens: an entry without content or id");
    if (a.text.len == 0) /* the reference ignores it as well */
        return WEIR_OK;
    a.id = (uint32_t)id;
    return enter_added(spec, &a, err);
}

enum weir_status wtok_spec_added_tokens(struct wtok_spec *spec, struct weir_span json,
                                        struct weir_err *err) {
    static const char *const names[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    struct weir_json j;
    struct weir_span item;
    enum weir_status st = WEIR_OK;
    if (json.data == NULL)
        return WEIR_OK;
    if (!wtok_array_begin(&j, json))
        return weir_err_set(err, WEIR_INVALID, "added_tokens is not an array");
    while (st == WEIR_OK && wtok_array_next(&j, &item)) {
        uint64_t id = UINT64_MAX;
        (void)wtok_u64_of(wtok_field(item, "id"), &id);
        st = wtok_only(item, "added_tokens[]", names, err);
        if (st == WEIR_OK)
            st = read_added(spec, item, id, err);
    }
    return st;
}

/* added_tokens_decoder of tokenizer_config.json is laid over the added tokens: {"7": {…}, …}. */
enum weir_status wtok_spec_added_overlay(struct wtok_spec *spec, struct weir_span json,
                                         struct weir_err *err) {
    struct weir_json j;
    struct weir_json_str key;
    weir_json_init(&j, json, DEPTH);
    if (wtok_type_of(json) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return WEIR_OK;
    while (weir_json_object_next(&j, &key)) {
        struct weir_span item;
        uint64_t id = UINT64_MAX;
        if (!weir_json_skip(&j, &item))
            break;
        char room[24];
        (void)weir_span_u64(weir_json_short_text(key, room, sizeof(room)), &id);
        enum weir_status st = read_added(spec, item, id, err);
        if (st != WEIR_OK)
            return weir_err_prefix(err, "tokenizer_config.json: added_tokens_decoder");
    }
    return WEIR_OK;
}

/* ---- the whole file -------------------------------------------------------------------------- */

enum weir_status wtok_spec_tokenizer_json(struct wtok_spec *spec, struct weir_span text,
                                          struct weir_err *err) {
    /* Truncation and padding are settings of a call, which no server uses: Dynamo 1.6.1 turns both
     * off when it reads the file, and says so in its log. */
    static const char *const names[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    struct weir_span parts[9] = {{NULL, 0}};
    struct weir_json j;
    struct weir_json_str key;
    weir_json_init(&j, text, DEPTH);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_object_enter(&j))
        return weir_err_set(err, WEIR_INVALID, "it is not a JSON object");
    while (weir_json_object_next(&j, &key)) {
        size_t i = 0;
        while (names[i] != NULL && !weir_json_str_eqz(key, names[i]))
            i++;
        if (names[i] == NULL)
            return weir_err_set(err, WEIR_UNSUPPORTED, "%.*s is not understood",
                                WEIR_SPAN_ARG(key.raw));
        if (!weir_json_skip(&j, &parts[i]))
            break;
        if (weir_span_eqz(parts[i], "null"))
            parts[i].data = NULL;
    }
    if (!weir_json_finish(&j))
        return weir_err_set(err, WEIR_INVALID, "%s at byte %zu", weir_json_error_text(j.error),
                            j.error_pos);
    if (parts[8].data == NULL)
        return weir_err_set(err, WEIR_INVALID, "model is missing");
    enum weir_status st = wtok_spec_model(spec, parts[8], err);
    if (st == WEIR_OK)
        st = wtok_spec_normalizer(spec, parts[4], err);
    if (st == WEIR_OK)
        st = wtok_spec_pre_tokenizer(spec, parts[5], err);
    if (st == WEIR_OK)
        st = wtok_spec_added_tokens(spec, parts[3], err);
    if (st == WEIR_OK)
        st = wtok_spec_post_processor(spec, parts[6], err);
    return st != WEIR_OK ? st : wtok_spec_decoder(spec, parts[7], err);
}
