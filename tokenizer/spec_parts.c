/* tokenizer.json: normalizer, pre-tokenizer, post-processor and decoder. */
#include "tokenizer/spec_priv.h"
#include "tokenizer/wordpiece_priv.h"

#include <stdio.h>

#define MARK "\xE2\x96\x81" /* U+2581, a blank in SentencePiece vocabularies */

typedef enum weir_status (*part_fn)(struct wtok_spec *spec, struct weir_span json,
                                    struct weir_span type, struct weir_err *err);

/* Calls `fn` for an object, or for each of a Sequence's list under `list`, nested ones too. */
static enum weir_status each(struct wtok_spec *spec, struct weir_span json, const char *list,
                             const char *where, unsigned depth, part_fn fn, struct weir_err *err) {
    struct weir_span type = wtok_field_text(spec, json, "type");
    if (type.data == NULL)
        return weir_err_set(err, WEIR_INVALID, "%s.type is missing", where);
    if (!weir_span_eqz(type, "Sequence"))
        return fn(spec, json, type, err);
    struct weir_json j;
    struct weir_span item;
    enum weir_status st = WEIR_OK;
    if (depth == 0 || !wtok_array_begin(&j, wtok_field(json, list)))
        return weir_err_set(err, WEIR_INVALID, "%s.%s is no list", where, list);
    while (st == WEIR_OK && wtok_array_next(&j, &item))
        st = each(spec, item, list, where, depth - 1, fn, err);
    return st;
}

static enum weir_status add_step(struct wtok_spec_step *steps, size_t *n,
                                 struct wtok_spec_step step, struct weir_err *err) {
    if (*n == WTOK_MAX_STEPS)
        return weir_err_set(err, WEIR_UNSUPPORTED, "more than %d steps in a sequence",
                            WTOK_MAX_STEPS);
    steps[(*n)++] = step;
    return WEIR_OK;
}

/* ---- normalizer ------------------------------------------------------------------------------ */

static enum weir_status bert_normalizer(struct wtok_spec *spec, struct weir_span json,
                                        struct weir_err *err) {
    static const struct {
        const char *name;
        uint32_t flag;
    } fields[] = {{"clean_text", WTOK_BERT_CLEAN},
                  {"handle_chinese_chars", WTOK_BERT_IDEOGRAPHS},
                  {"lowercase", WTOK_BERT_LOWER}};
    struct wtok_spec_step step = {.kind = WTOK_STEP_BERT};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(fields); i++) {
        if (wtok_field(json, fields[i].name).data == NULL)
            return weir_err_set(err, WEIR_INVALID, "normalizer.%s is missing", fields[i].name);
        step.flags |= wtok_field_bool(json, fields[i].name, false) ? fields[i].flag : 0;
    }
    /* Unless it is said, accents go with upper case. */
    bool lower = (step.flags & WTOK_BERT_LOWER) != 0;
    step.flags |= wtok_field_bool(json, "strip_accents", lower) ? WTOK_BERT_ACCENTS : 0;
    return add_step(spec->normalizers, &spec->n_normalizers, step, err);
}

static enum weir_status one_normalizer(struct wtok_spec *spec, struct weir_span json,
                                       struct weir_span type, struct weir_err *err) {
    static const struct {
        const char *name;
        enum wtok_step_kind kind;
    } forms[] = {{"NFC", WTOK_STEP_NFC},
                 {"NFD", WTOK_STEP_NFD},
                 {"NFKC", WTOK_STEP_NFKC},
                 {"NFKD", WTOK_STEP_NFKD}};
    struct wtok_spec_step step = {0};
    size_t i = 0;
    while (i < WEIR_ARRAY_LEN(forms) && !weir_span_eqz(type, forms[i].name))
        i++;
    if (i < WEIR_ARRAY_LEN(forms)) {
        step.kind = forms[i].kind;
    } else if (weir_span_eqz(type, "Prepend")) {
        step.kind = WTOK_STEP_PREPEND;
        step.a = wtok_field_text(spec, json, "prepend");
    } else if (weir_span_eqz(type, "Replace")) {
        struct weir_span pattern = wtok_field(json, "pattern");
        step.kind = WTOK_STEP_REPLACE;
        step.a = wtok_field_text(spec, pattern, "String");
        step.b = wtok_field_text(spec, json, "content");
        if (step.a.len == 0 || step.b.data == NULL)
            return wtok_refuse(err, "normalizer.pattern", pattern);
    } else if (weir_span_eqz(type, "Strip")) {
        step.kind = WTOK_STEP_STRIP;
        step.flags = (wtok_field_bool(json, "strip_left", false) ? 1u : 0u) |
                     (wtok_field_bool(json, "strip_right", false) ? 2u : 0u);
    } else if (weir_span_eqz(type, "BertNormalizer")) {
        return bert_normalizer(spec, json, err);
    } else {
        return wtok_refuse(err, "normalizer.type", type);
    }
    return add_step(spec->normalizers, &spec->n_normalizers, step, err);
}

/* A closing [Prepend U+2581,] Replace " " by U+2581 is the SentencePiece form: we mark blanks by
 * keeping them. */
static void recognise_marking(struct wtok_spec *spec) {
    size_t n = spec->n_normalizers;
    const struct wtok_spec_step *last = n > 0 ? &spec->normalizers[n - 1] : NULL;
    if (last == NULL || last->kind != WTOK_STEP_REPLACE || !weir_span_eqz(last->a, " ") ||
        !weir_span_eqz(last->b, MARK))
        return;
    spec->blanks_marked = true;
    spec->n_normalizers = --n;
    if (n > 0 && spec->normalizers[n - 1].kind == WTOK_STEP_PREPEND &&
        weir_span_eqz(spec->normalizers[n - 1].a, MARK)) {
        spec->prepend = WTOK_PREPEND_ALWAYS;
        spec->n_normalizers--;
    }
}

enum weir_status wtok_spec_normalizer(struct wtok_spec *spec, struct weir_span json,
                                      struct weir_err *err) {
    if (json.data == NULL)
        return WEIR_OK;
    enum weir_status st = each(spec, json, "normalizers", "normalizer", 4, one_normalizer, err);
    if (st == WEIR_OK)
        recognise_marking(spec);
    return st;
}

/* ---- pre-tokenizer --------------------------------------------------------------------------- */

static enum weir_status split(struct wtok_spec *spec, struct weir_span json, struct weir_err *err) {
    static const char *const behaviours[] = {"Isolated", "Removed", "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous"};
    struct weir_span pattern = wtok_field(json, "pattern");
    struct weir_span behaviour = wtok_field_text(spec, json, "behavior");
    struct wtok_spec_step step = {.kind = WTOK_STEP_REGEX,
                                  .a = wtok_field_text(spec, pattern, "Regex")};
    bool invert = wtok_field_bool(json, "invert", false);
    enum wtok_family family;
    while (step.arg < WEIR_ARRAY_LEN(behaviours) && !weir_span_eqz(behaviour, behaviours[step.arg]))
        step.arg++;
    if (step.arg == WEIR_ARRAY_LEN(behaviours))
        return wtok_refuse(err, "pre_tokenizer.behavior", behaviour);
    step.flags = invert ? 1 : 0;
    if (step.a.data == NULL) {
        step.kind = WTOK_STEP_STRING;
        step.a = wtok_field_text(spec, pattern, "String");
        if (step.a.len == 0)
            return wtok_refuse(err, "pre_tokenizer.pattern", pattern);
        if (spec->blanks_marked && weir_span_eqz(step.a, " "))
            return WEIR_OK; /* the normalizer has left no blank */
    } else if ((step.arg == WTOK_ISOLATED || (step.arg == WTOK_REMOVED && invert)) &&
               wtok_scan_known(step.a, &family)) {
        /* These patterns match every character, so both spellings mean the same. */
        step = (struct wtok_spec_step){.kind = WTOK_STEP_SCAN, .arg = family};
    }
    return add_step(spec->splitters, &spec->n_splitters, step, err);
}

static enum weir_status byte_level(struct wtok_spec *spec, struct weir_span json,
                                   struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    if (wtok_field_bool(json, "add_prefix_space", true))
        st = add_step(spec->splitters, &spec->n_splitters,
                      (struct wtok_spec_step){.kind = WTOK_STEP_PREFIX_SPACE}, err);
    if (st == WEIR_OK && wtok_field_bool(json, "use_regex", true))
        st = add_step(spec->splitters, &spec->n_splitters,
                      (struct wtok_spec_step){.kind = WTOK_STEP_SCAN, .arg = WTOK_GPT2}, err);
    spec->byte_level = true;
    return st;
}

static enum weir_status metaspace(struct wtok_spec *spec, struct weir_span json,
                                  struct weir_err *err) {
    struct weir_span replacement = wtok_field_text(spec, json, "replacement");
    struct weir_span scheme = wtok_field_text(spec, json, "prepend_scheme");
    if (!weir_span_eqz(replacement, MARK))
        return wtok_refuse(err, "pre_tokenizer.replacement", replacement);
    if (spec->blanks_marked || spec->n_splitters != 0)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "pre_tokenizer: Metaspace is understood as the only step");
    if (scheme.data == NULL)
        scheme = weir_span_z(wtok_field_bool(json, "add_prefix_space", true) ? "always" : "never");
    if (weir_span_eqz(scheme, "always"))
        spec->prepend = WTOK_PREPEND_MISSING;
    else if (weir_span_eqz(scheme, "first"))
        spec->prepend = WTOK_PREPEND_FIRST;
    else if (!weir_span_eqz(scheme, "never"))
        return wtok_refuse(err, "pre_tokenizer.prepend_scheme", scheme);
    spec->split_spaces = wtok_field_bool(json, "split", true);
    spec->blanks_marked = spec->metaspace = true;
    return WEIR_OK;
}

static enum weir_status one_pre_tokenizer(struct wtok_spec *spec, struct weir_span json,
                                          struct weir_span type, struct weir_err *err) {
    struct wtok_spec_step step = {0};
    if (spec->byte_level)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "pre_tokenizer: a step after ByteLevel is not understood");
    if (weir_span_eqz(type, "Split"))
        return split(spec, json, err);
    if (weir_span_eqz(type, "ByteLevel"))
        return byte_level(spec, json, err);
    if (weir_span_eqz(type, "Metaspace"))
        return metaspace(spec, json, err);
    if (weir_span_eqz(type, "BertPreTokenizer") && spec->wordpiece) {
        spec->bert_words = true;
        return WEIR_OK;
    }
    if (weir_span_eqz(type, "Digits")) {
        step.kind = WTOK_STEP_DIGITS;
        step.flags = wtok_field_bool(json, "individual_digits", false) ? 1 : 0;
    } else if (weir_span_eqz(type, "WhitespaceSplit")) {
        step.kind = WTOK_STEP_WHITESPACE_SPLIT;
    } else {
        return wtok_refuse(err, "pre_tokenizer.type", type);
    }
    return add_step(spec->splitters, &spec->n_splitters, step, err);
}

static bool is_deepseek(const struct wtok_spec *spec) {
    static const char *const patterns[] = {
        "\\p{N}{1,3}",
        "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",
        ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
         "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")};
    if (spec->n_splitters != 3)
        return false;
    for (size_t i = 0; i < 3; i++)
        if (spec->splitters[i].kind != WTOK_STEP_REGEX || spec->splitters[i].arg != WTOK_ISOLATED ||
            spec->splitters[i].flags != 0 || !weir_span_eqz(spec->splitters[i].a, patterns[i]))
            return false;
    return true;
}

enum weir_status wtok_spec_pre_tokenizer(struct wtok_spec *spec, struct weir_span json,
                                         struct weir_err *err) {
    enum weir_status st = WEIR_OK;
    if (json.data != NULL)
        st = each(spec, json, "pretokenizers", "pre_tokenizer", 4, one_pre_tokenizer, err);
    if (st != WEIR_OK)
        return st;
    if (spec->blanks_marked && (spec->byte_level || spec->n_splitters != 0))
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "pre_tokenizer: further steps beside blanks marked by U+2581 are not "
                            "understood");
    if (spec->wordpiece &&
        (!spec->bert_words || spec->byte_level || spec->blanks_marked || spec->n_splitters != 0))
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "pre_tokenizer: with model.type WordPiece, BertPreTokenizer alone is "
                            "understood, without blanks marked by U+2581");
    if (spec->wordpiece)
        spec->family = WTOK_WORDPIECE;
    else if (spec->n_splitters == 0 && !spec->byte_level)
        spec->family = WTOK_SPM;
    else if (spec->n_splitters == 1 && spec->splitters[0].kind == WTOK_STEP_SCAN)
        spec->family = (enum wtok_family)spec->splitters[0].arg;
    else
        spec->family = is_deepseek(spec) ? WTOK_DEEPSEEK : WTOK_GENERIC;
    return WEIR_OK;
}

/* ---- decoder --------------------------------------------------------------------------------- */

static enum weir_status wordpiece_decoder(struct wtok_spec *spec, struct weir_span json,
                                          struct weir_err *err) {
    spec->decoder_prefix = wtok_field_text(spec, json, "prefix");
    if (spec->decoder_prefix.data == NULL || wtok_field(json, "cleanup").data == NULL)
        return weir_err_set(err, WEIR_INVALID, "decoder: prefix or cleanup is missing");
    spec->decoder_cleanup = wtok_field_bool(json, "cleanup", false);
    spec->decoding = WTOK_DECODE_WORDS;
    return WEIR_OK;
}

static enum weir_status one_decoder(struct wtok_spec *spec, struct weir_span json,
                                    struct weir_span type, struct weir_err *err) {
    if (spec->wordpiece && spec->decoding != WTOK_DECODE_WORDS && weir_span_eqz(type, "WordPiece"))
        return wordpiece_decoder(spec, json, err);
    if (spec->wordpiece)
        return wtok_refuse(err, "decoder.type beside a WordPiece model", type);
    if (weir_span_eqz(type, "ByteLevel")) {
        if (!spec->byte_level)
            return weir_err_set(err, WEIR_UNSUPPORTED,
                                "decoder: ByteLevel without a ByteLevel pre_tokenizer");
        spec->decoding = WTOK_DECODE_BYTES;
        return WEIR_OK;
    }
    if (spec->byte_level)
        return wtok_refuse(err, "decoder.type beside a ByteLevel pre_tokenizer", type);
    spec->decoding = WTOK_DECODE_TEXT;
    if (weir_span_eqz(type, "Replace")) {
        struct weir_span a = wtok_field_text(spec, wtok_field(json, "pattern"), "String");
        if (!weir_span_eqz(a, MARK) || !weir_span_eqz(wtok_field_text(spec, json, "content"), " "))
            return wtok_refuse(err, "decoder.pattern", wtok_field(json, "pattern"));
        spec->decode_blanks = true;
    } else if (weir_span_eqz(type, "Strip")) {
        uint64_t start = 0, stop = 0;
        (void)wtok_u64_of(wtok_field(json, "start"), &start);
        (void)wtok_u64_of(wtok_field(json, "stop"), &stop);
        if (stop != 0 || start > 8 || !weir_span_eqz(wtok_field_text(spec, json, "content"), " "))
            return wtok_refuse(err, "decoder.Strip", json);
        spec->strip_start = (uint32_t)start;
    } else if (weir_span_eqz(type, "Metaspace")) {
        struct weir_span scheme = wtok_field_text(spec, json, "prepend_scheme");
        if (!weir_span_eqz(wtok_field_text(spec, json, "replacement"), MARK))
            return wtok_refuse(err, "decoder.replacement", wtok_field(json, "replacement"));
        spec->decode_blanks = true;
        spec->strip_first = scheme.data != NULL ? !weir_span_eqz(scheme, "never")
                                                : wtok_field_bool(json, "add_prefix_space", true);
    } else if (weir_span_eqz(type, "ByteFallback")) {
        spec->decode_bytes = true;
    } else if (!weir_span_eqz(type, "Fuse")) {
        return wtok_refuse(err, "decoder.type", type);
    }
    return WEIR_OK;
}

enum weir_status wtok_spec_decoder(struct wtok_spec *spec, struct weir_span json,
                                   struct weir_err *err) {
    if (json.data == NULL)
        return weir_err_set(err, WEIR_UNSUPPORTED, "decoder is null, which is not understood");
    enum weir_status st = each(spec, json, "decoders", "decoder", 4, one_decoder, err);
    if (st == WEIR_OK && spec->wordpiece && spec->decoding != WTOK_DECODE_WORDS)
        st = weir_err_set(err, WEIR_UNSUPPORTED,
                          "decoder: with model.type WordPiece, WordPiece "
                          "alone is understood");
    if (st == WEIR_OK && spec->blanks_marked != spec->decode_blanks)
        st = weir_err_set(err, WEIR_UNSUPPORTED,
                          "decoder: blanks that are marked by U+2581 and not unmarked, or the "
                          "reverse, are not understood");
    return st;
}

/* ---- post-processor -------------------------------------------------------------------------- */

static enum weir_status affix_id(struct wtok_spec *spec, bool *seen_text, uint32_t id,
                                 struct weir_err *err) {
    uint32_t *ids = *seen_text ? spec->suffix : spec->prefix;
    size_t *n = *seen_text ? &spec->n_suffix : &spec->n_prefix;
    if (*n == WTOK_MAX_AFFIX)
        return weir_err_set(err, WEIR_UNSUPPORTED, "post_processor adds more than %d tokens",
                            WTOK_MAX_AFFIX);
    ids[(*n)++] = id;
    return WEIR_OK;
}

static enum weir_status template_item(struct wtok_spec *spec, struct weir_span json,
                                      struct weir_span item, bool *seen_text,
                                      struct weir_err *err) {
    struct weir_span special = wtok_field(item, "SpecialToken");
    if (special.data == NULL) {
        *seen_text = true;
        return WEIR_OK;
    }
    struct weir_span name = wtok_field_text(spec, special, "id");
    struct weir_json j;
    struct weir_span ids, id;
    char key[256];
    snprintf(key, sizeof(key), "%.*s", WEIR_SPAN_ARG(name));
    ids = wtok_field(wtok_field(wtok_field(json, "special_tokens"), key), "ids");
    if (!wtok_array_begin(&j, ids))
        return wtok_refuse(err, "post_processor.special_tokens", name);
    enum weir_status st = WEIR_OK;
    while (st == WEIR_OK && wtok_array_next(&j, &id)) {
        uint64_t value;
        if (!wtok_u64_of(id, &value) || value >= spec->n_ids)
            return wtok_refuse(err, "post_processor.special_tokens.ids", id);
        st = affix_id(spec, seen_text, (uint32_t)value, err);
    }
    return st;
}

/* ["text", id] of BERT's and RoBERTa's post-processors. */
static enum weir_status named_id(struct wtok_spec *spec, struct weir_span json, const char *key,
                                 bool behind, struct weir_err *err) {
    struct weir_json j;
    struct weir_span pair = wtok_field(json, key), text, id;
    uint64_t value;
    if (!wtok_array_begin(&j, pair) || !wtok_array_next(&j, &text) || !wtok_array_next(&j, &id) ||
        !wtok_u64_of(id, &value) || value >= spec->n_ids) {
        char field[64];
        snprintf(field, sizeof(field), "post_processor.%s", key);
        return wtok_refuse(err, field, pair);
    }
    return affix_id(spec, &behind, (uint32_t)value, err);
}

static enum weir_status one_post_processor(struct wtok_spec *spec, struct weir_span json,
                                           struct weir_span type, struct weir_err *err) {
    struct weir_json j;
    struct weir_span item;
    bool seen_text = false;
    enum weir_status st = WEIR_OK;
    if (weir_span_eqz(type, "ByteLevel")) /* moves offsets only */
        return WEIR_OK;
    /* RoBERTa's also moves offsets, which nobody asks for. */
    bool bert = weir_span_eqz(type, "BertProcessing") || weir_span_eqz(type, "RobertaProcessing");
    if (!bert && !weir_span_eqz(type, "TemplateProcessing"))
        return wtok_refuse(err, "post_processor.type", type);
    if (spec->n_prefix + spec->n_suffix != 0)
        return weir_err_set(err, WEIR_UNSUPPORTED, "post_processor has two templates");
    if (bert) {
        st = named_id(spec, json, "cls", false, err);
        return st != WEIR_OK ? st : named_id(spec, json, "sep", true, err);
    }
    if (!wtok_array_begin(&j, wtok_field(json, "single")))
        return wtok_refuse(err, "post_processor.single", wtok_field(json, "single"));
    while (st == WEIR_OK && wtok_array_next(&j, &item))
        st = template_item(spec, json, item, &seen_text, err);
    return st;
}

enum weir_status wtok_spec_post_processor(struct wtok_spec *spec, struct weir_span json,
                                          struct weir_err *err) {
    if (json.data == NULL)
        return WEIR_OK;
    return each(spec, json, "processors", "post_processor", 4, one_post_processor, err);
}
