/* tokenizer.json of any content: it is refused with words, or it encodes and decodes without harm,
 * and the bound on the number of ids holds. What is in the vocabulary is told as it stands there.
 */
#include "base/mem.h"
#include "tokenizer/spec_priv.h"
#include "tokenizer/wtok_priv.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct weir_span texts[] = {
    /* Nothing is left of it where such things vanish; the first, before any memory is kept. */
    WEIR_SPAN_LIT("\x01\xC2\xAD\xEF\xBF\xBD"),
    WEIR_SPAN_LIT("Hello world, it's 12345 \n\n  tabs\there <s> </s>"),
    WEIR_SPAN_LIT("\xE4\xBD\xA0\xE5\xA5\xBD e\xCC\x81 \xF0\x9F\x98\x80\xE2\x96\x81\xE2\x96\x81"),
    WEIR_SPAN_LIT(
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
};

static void use(struct wtok_model *model) {
    struct wtok tok = {.model = model, .vocab = model->image->n_ids};
    for (size_t i = 0; i < WEIR_ARRAY_LEN(texts); i++) {
        size_t room = wtok_encode_bound(&tok, texts[i].len), n = 0;
        uint32_t *ids = weir_malloc(room * sizeof(*ids));
        struct weir_buf out;
        weir_buf_init(&out, 1 << 24);
        enum weir_status st =
            wtok_encode(&tok, texts[i], WTOK_SPECIAL | WTOK_ADD_SPECIAL, ids, room, &n);
        if (st == WEIR_TOO_LARGE)
            abort();
        if (st == WEIR_OK && wtok_decode(&tok, ids, n, false, &out) != WEIR_OK)
            abort();
        weir_buf_fini(&out);
        weir_free(ids);
    }
}

static void compare(struct wtok_model *model, const struct wtok_spec *spec) {
    struct wtok tok = {.model = model, .vocab = model->image->n_ids};
    struct weir_buf piece;
    weir_buf_init(&piece, 1 << 24);
    for (uint32_t id = 0; id < tok.vocab; id++) {
        struct weir_span text = spec->tokens[id].text;
        weir_buf_clear(&piece);
        if (wtok_id_piece(&tok, id, &piece) != WEIR_OK)
            abort();
        /* Where U+2581 stands for a blank, a token with one itself is not kept apart. */
        bool odd = spec->blanks_marked && text.len > 0 && memchr(text.data, ' ', text.len) != NULL;
        if (spec->tokens[id].in_vocab && !odd && !weir_span_eq(weir_buf_span(&piece), text))
            abort();
    }
    weir_buf_fini(&piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint64_t source[2];
    static const struct wtok_config config = {.segment_cache_bytes = 1 << 16};
    struct wtok_spec spec;
    struct wtok_image *image = NULL;
    struct wtok_model *model = NULL;
    struct weir_err err = {.text = ""};
    size_t bytes = 0;
    wtok_spec_init(&spec);
    enum weir_status st =
        wtok_spec_tokenizer_json(&spec, weir_span((const char *)data, size), &err);
    /* Ids may be spread far; a fuzzer has no use for tables of many megabytes. */
    if (st == WEIR_OK && spec.n_ids <= 1 << 16)
        st = wtok_compile(&spec, source, &image, &bytes, &err);
    if (st == WEIR_OK && image != NULL)
        st = wtok_model_open(image, bytes, false, &config, &model, &err);
    if (st != WEIR_OK && err.text[0] == '\0')
        abort();
    if (st == WEIR_OK && model != NULL) {
        use(model);
        compare(model, &spec);
    }
    wtok_model_close(model);
    wtok_spec_fini(&spec);
    return 0;
}
