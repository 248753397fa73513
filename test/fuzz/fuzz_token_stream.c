/*
 * Token ids in any order through the incremental decoder and the stop matcher, in a small byte
 * model and a small text model: however the text is cut, what comes out in pieces is what comes out
 * whole.
 */
#include "tokenizer/spec_priv.h"
#include "tokenizer/wtok_priv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ids: 0 to 255 the bytes, then a few pieces with broken characters at their ends. */
static const char text_model[] =
    "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_unk\":true,\"vocab\":{%s"
    "\"\xE2\x96\x81\":256,\"a\":257,\"\xE2\x96\x81"
    "a\":258,\"\xEF\xBF\xBD\":259,\"b\xEF\xBF\xBD\":260},"
    "\"merges\":[\"\xE2\x96\x81 a\"]},\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{"
    "\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{"
    "\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}]},\"decoder\":{\"type\":\"Sequence\","
    "\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},\"content\":\" "
    "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \","
    "\"start\":1,\"stop\":0}]},\"added_tokens\":[{\"id\":261,\"content\":\"<s>\",\"special\":true,"
    "\"normalized\":false,\"single_word\":false,\"lstrip\":false,\"rstrip\":false}]}";

static struct wtok *load_text_model(void) {
    static const uint64_t source[2];
    static const struct wtok_config config;
    static struct wtok tok;
    struct wtok_spec spec;
    struct wtok_image *image = NULL;
    struct weir_buf json, bytes;
    size_t n = 0;
    weir_buf_init(&json, 1 << 20);
    weir_buf_init(&bytes, 1 << 16);
    for (unsigned b = 0; b < 256; b++)
        if (weir_buf_printf(&bytes, "\"<0x%02X>\":%u,", b, b) != WEIR_OK)
            abort();
    if (weir_buf_printf(&json, text_model, bytes.data) != WEIR_OK)
        abort();
    wtok_spec_init(&spec);
    struct weir_err err = {.text = ""};
    if (wtok_spec_tokenizer_json(&spec, weir_buf_span(&json), &err) != WEIR_OK ||
        wtok_compile(&spec, source, &image, &n, &err) != WEIR_OK ||
        wtok_model_open(image, n, false, &config, &tok.model, &err) != WEIR_OK)
        abort();
    tok.vocab = tok.model->image->n_ids;
    wtok_spec_fini(&spec);
    weir_buf_fini(&json);
    weir_buf_fini(&bytes);
    return &tok;
}

static void check(bool ok) {
    if (!ok)
        abort();
}

static uint32_t id_of(uint8_t byte) {
    return byte % 8 == 7 ? 256 + byte / 8 % 7u : byte;
}

static void through_stream(const struct wtok *tok, const uint8_t *data, size_t size, bool skip,
                           struct weir_buf *out) {
    struct wtok_stream s;
    wtok_stream_init(&s, tok, skip);
    for (size_t i = 0; i < size; i++) {
        uint32_t id = id_of(data[i]);
        enum weir_status st = wtok_stream_push(&s, id, out);
        check(st == WEIR_OK || (st == WEIR_INVALID && id >= tok->vocab));
    }
    check(wtok_stream_finish(&s, out) == WEIR_OK);
}

/* Runs of any length have the text of their ids one by one, each where it ends there. */
static void through_runs(const struct wtok *tok, const uint8_t *data, size_t size, bool skip) {
    struct wtok_stream one, many;
    struct weir_buf a, b;
    uint32_t ids[64];
    size_t ends[64], went = 0;
    weir_buf_init(&a, 1 << 26);
    weir_buf_init(&b, 1 << 26);
    wtok_stream_init(&one, tok, skip);
    wtok_stream_init(&many, tok, skip);
    for (size_t at = 0, n; at < size; at += n) {
        n = data[at] % 64 + 1u;
        n = n < size - at ? n : size - at;
        for (size_t i = 0; i < n; i++)
            ids[i] = id_of(data[at + i]);
        check(wtok_stream_push_many(&many, ids, n, &b, ends, &went) == WEIR_OK && went == n);
        for (size_t i = 0; i < n; i++) {
            check(ids[i] >= tok->vocab || wtok_stream_push(&one, ids[i], &a) == WEIR_OK);
            check(ends[i] == a.len);
        }
    }
    check(wtok_stream_finish(&one, &a) == WEIR_OK && wtok_stream_finish(&many, &b) == WEIR_OK);
    check(weir_span_eq(weir_buf_span(&a), weir_buf_span(&b)));
    weir_buf_fini(&a);
    weir_buf_fini(&b);
}

/* The text in pieces through a stop matcher equals the text at once. */
static void through_stop(struct weir_span text, const uint8_t *cuts, size_t n_cuts, bool include) {
    static const struct weir_span stops[] = {WEIR_SPAN_LIT("aa"), WEIR_SPAN_LIT("\xEF\xBF\xBD "),
                                             WEIR_SPAN_LIT("abab"), WEIR_SPAN_LIT("b")};
    struct wtok_stop *whole = NULL, *pieces = NULL;
    struct weir_buf a, b;
    int matched_a = -1, matched_b = -1;
    weir_buf_init(&a, 1 << 26);
    weir_buf_init(&b, 1 << 26);
    check(wtok_stop_create(stops, 4, include, &whole) == WEIR_OK);
    check(wtok_stop_create(stops, 4, include, &pieces) == WEIR_OK);
    check(wtok_stop_push(whole, text, &a, &matched_a) == WEIR_OK);
    if (matched_a < 0)
        check(wtok_stop_finish(whole, &a) == WEIR_OK);
    for (size_t at = 0, k = 0; at < text.len && matched_b < 0; k++) {
        size_t n = n_cuts > 0 ? cuts[k % n_cuts] % 7 + 1u : 1;
        n = n < text.len - at ? n : text.len - at;
        check(wtok_stop_push(pieces, weir_span(text.data + at, n), &b, &matched_b) == WEIR_OK);
        at += n;
    }
    if (matched_b < 0)
        check(wtok_stop_finish(pieces, &b) == WEIR_OK);
    check(matched_a == matched_b && weir_span_eq(weir_buf_span(&a), weir_buf_span(&b)));
    weir_buf_fini(&a);
    weir_buf_fini(&b);
    wtok_stop_destroy(whole);
    wtok_stop_destroy(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct wtok *tok;
    struct weir_buf text;
    if (size == 0)
        return 0;
    if (tok == NULL)
        tok = load_text_model();
    weir_buf_init(&text, 1 << 26);
    through_stream(tok, data, size, (data[0] & 1) != 0, &text);
    through_runs(tok, data, size, (data[0] & 1) != 0);
    through_stop(weir_buf_span(&text), data, size, (data[0] & 2) != 0);
    weir_buf_fini(&text);
    return 0;
}
