/* tokenizer_config.json, config.json, generation_config.json: what they add to tokenizer.json. */
#include "tokenizer/spec_priv.h"

#include <stdio.h>

/* A special token is a string or an object with `content`. */
static uint32_t token_id(struct wtok_spec *spec, struct weir_span config, const char *key) {
    struct weir_span raw = wtok_field(config, key);
    struct weir_span text = wtok_type_of(raw) == WEIR_JSON_OBJECT
                                ? wtok_field_text(spec, raw, "content")
                                : wtok_text_of(spec, raw);
    return text.data != NULL ? wtok_spec_find(spec, text) : WTOK_NO_ID;
}

static void add_eos(struct wtok_spec *spec, uint64_t id) {
    for (size_t i = 0; i < spec->n_eos; i++)
        if (spec->eos[i] == id)
            return;
    if (spec->n_eos < WTOK_MAX_EOS && id < WTOK_MAX_IDS)
        spec->eos[spec->n_eos++] = (uint32_t)id;
}

/* A number or a list of numbers. */
static void add_eos_field(struct wtok_spec *spec, struct weir_span value) {
    struct weir_json j;
    struct weir_span item;
    uint64_t id;
    if (wtok_u64_of(value, &id))
        add_eos(spec, id);
    else if (wtok_array_begin(&j, value))
        while (wtok_array_next(&j, &item))
            if (wtok_u64_of(item, &id))
                add_eos(spec, id);
}

/* These classes of the Python layer replace the post-processor of tokenizer.json by what
 * add_bos_token and add_eos_token say. */
static void replace_affixes(struct wtok_spec *spec, struct weir_span config) {
    static const char *const classes[] = {"LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer",
                                          "GemmaTokenizerFast"};
    struct weir_span name = wtok_field_text(spec, config, "tokenizer_class");
    size_t i = 0;
    while (i < WEIR_ARRAY_LEN(classes) && !weir_span_eqz(name, classes[i]))
        i++;
    bool given = wtok_field(config, "add_bos_token").data != NULL ||
                 wtok_field(config, "add_eos_token").data != NULL;
    if (i == WEIR_ARRAY_LEN(classes) || !given)
        return;
    uint32_t bos = token_id(spec, config, "bos_token"), eos = token_id(spec, config, "eos_token");
    spec->n_prefix = spec->n_suffix = 0;
    if (wtok_field_bool(config, "add_bos_token", true) && bos != WTOK_NO_ID)
        spec->prefix[spec->n_prefix++] = bos;
    if (wtok_field_bool(config, "add_eos_token", false) && eos != WTOK_NO_ID)
        spec->suffix[spec->n_suffix++] = eos;
}

enum weir_status wtok_spec_tokenizer_config(struct wtok_spec *spec, struct weir_span text,
                                            struct weir_err *err) {
    struct weir_json j;
    if (text.data == NULL)
        return WEIR_OK;
    weir_json_init(&j, text, 64);
    if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_skip(&j, NULL) ||
        !weir_json_finish(&j))
        return weir_err_set(err, WEIR_INVALID, "tokenizer_config.json: %s at byte %zu",
                            weir_json_error_text(j.error), j.error_pos);
    enum weir_status st =
        wtok_spec_added_overlay(spec, wtok_field(text, "added_tokens_decoder"), err);
    if (st != WEIR_OK)
        return st;
    replace_affixes(spec, text);
    uint32_t eos = token_id(spec, text, "eos_token");
    if (eos != WTOK_NO_ID)
        add_eos(spec, eos);
    uint64_t length;
    /* "No limit" is written as a huge number. */
    if (spec->context_length == 0 && wtok_u64_of(wtok_field(text, "model_max_length"), &length) &&
        length < 1000000000)
        spec->context_length = length;
    return WEIR_OK;
}

enum weir_status wtok_spec_model_config(struct wtok_spec *spec, struct weir_span config,
                                        struct weir_span generation, struct weir_err *err) {
    static const char *const lengths[] = {"max_position_embeddings", "n_positions",
                                          "max_sequence_length",     "seq_length",
                                          "model_max_length",        "max_seq_len"};
    struct weir_span files[] = {config, generation};
    static const char *const names[] = {"config.json", "generation_config.json"};
    for (size_t i = 0; i < 2; i++) {
        struct weir_json j;
        if (files[i].data == NULL)
            continue;
        weir_json_init(&j, files[i], 64);
        if (weir_json_peek(&j) != WEIR_JSON_OBJECT || !weir_json_skip(&j, NULL) ||
            !weir_json_finish(&j))
            return weir_err_set(err, WEIR_INVALID, "%s: %s at byte %zu", names[i],
                                weir_json_error_text(j.error), j.error_pos);
    }
    add_eos_field(spec, wtok_field(generation, "eos_token_id"));
    struct weir_span text_config = wtok_field(config, "text_config");
    for (size_t i = 0; i < WEIR_ARRAY_LEN(lengths); i++)
        if (wtok_u64_of(wtok_field(config, lengths[i]), &spec->context_length) ||
            wtok_u64_of(wtok_field(text_config, lengths[i]), &spec->context_length))
            break;
    if (!wtok_u64_of(wtok_field(config, "vocab_size"), &spec->model_vocab))
        (void)wtok_u64_of(wtok_field(text_config, "vocab_size"), &spec->model_vocab);
    if (spec->n_eos == 0 && config.data != NULL) {
        add_eos_field(spec, wtok_field(config, "eos_token_id"));
        if (spec->n_eos == 0)
            add_eos_field(spec, wtok_field(text_config, "eos_token_id"));
    }
    return WEIR_OK;
}
