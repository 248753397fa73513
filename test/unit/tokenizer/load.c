/* wtok_load(): what is refused and how, the cache file, ids at the end of a sequence, little
 * memory. */
#define XXH_INLINE_ALL
#include "base/mem.h"
#include "test/check.h"
#include "tokenizer/segments_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static char dir[256], cache[300];

static void path_of(char out[600], const char *folder, const char *name) {
    snprintf(out, 600, "%s/%s", folder, name);
}

static void write_file(const char *name, const char *data, size_t len) {
    char path[600];
    path_of(path, dir, name);
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(data, 1, len, f) == len);
    fclose(f);
}

static char *read_corpus(const char *name, size_t *ret_len) {
    char path[600];
    static char text[1 << 16];
    path_of(path, "test/fuzz/corpus/tokenizer_json", name);
    FILE *f = fopen(path, "rb");
    CHECK_MSG(f != NULL, "%s is missing", path);
    *ret_len = fread(text, 1, sizeof(text) - 1, f);
    text[*ret_len] = '\0';
    fclose(f);
    return text;
}

static void install(const char *name) {
    size_t len;
    char *text = read_corpus(name, &len);
    write_file("tokenizer.json", text, len);
}

static void forget(const char *name) {
    char path[600];
    path_of(path, dir, name);
    (void)unlink(path);
}

static struct wtok *load(const char *cache_dir) {
    struct wtok_config config = {.cache_dir = cache_dir, .segment_cache_bytes = 1 << 20};
    struct wtok *tok = NULL;
    struct weir_err err = {.text = ""};
    enum weir_status st = wtok_load(dir, &config, &tok, &err);
    CHECK_MSG(st == WEIR_OK, "%s", err.text);
    return tok;
}

static void case_byte_level(void) {
    static const uint32_t want[] = {259, 261}; /* "hello", " wo": see the file's merges */
    uint32_t ids[64];
    size_t n = 0;
    struct weir_buf out;
    install("byte_level.json");
    struct wtok *tok = load("");
    CHECK(strcmp(wtok_kind(tok), "gpt2") == 0);
    CHECK(wtok_encode(tok, WEIR_SPAN_LIT("hello wo<s>"), WTOK_SPECIAL | WTOK_ADD_SPECIAL, ids, 64,
                      &n) == WEIR_OK);
    CHECK_EQ_U64(n, 4);
    CHECK(ids[1] == want[0] && ids[2] == want[1] && ids[0] == ids[3]);
    CHECK(wtok_encode(tok, WEIR_SPAN_LIT("hello"), 0, ids, 0, &n) == WEIR_TOO_LARGE);
    CHECK(wtok_encode(tok, WEIR_SPAN_LIT("\xC3("), 0, ids, 64, &n) == WEIR_INVALID);
    CHECK(wtok_encode(tok, WEIR_SPAN_LIT(""), 0, ids, 64, &n) == WEIR_OK && n == 0);
    weir_buf_init(&out, 1024);
    CHECK(wtok_decode(tok, want, 2, false, &out) == WEIR_OK);
    CHECK_EQ_STR(out.data, out.len, "hello wo");
    uint32_t beyond = wtok_vocab_size(tok);
    CHECK(wtok_decode(tok, &beyond, 1, false, &out) == WEIR_INVALID);
    weir_buf_fini(&out);
    wtok_destroy(tok);
}

/* The file's truncation and padding are not applied; ids and texts are those of the official
 * package after no_truncation() and no_padding(). */
static void case_wordpiece(void) {
    static const struct {
        const char *text, *decoded, *without_special;
        uint32_t ids[16];
        size_t n;
    } rows[] = {
        {"Hello, Caf\u00e9 NOIR unbelievable worlds  [MASK] caf\u00e9!",
         "[CLS] hello, cafe noir unbelievable worlds [MASK] cafe! [SEP]",
         "hello, cafe noir unbelievable worlds cafe!",
         {2, 5, 32, 48, 39, 40, 41, 6, 7, 13, 4, 27, 34, 3},
         14},
        {"\u4f60\u597dHello\a it's 12345",
         "[CLS] \u4f60 \u597d hello it ' s 12345 [SEP]",
         "\u4f60 \u597d hello it ' s 12345",
         {2, 24, 25, 5, 10, 11, 12, 16, 17, 18, 19, 20, 3},
         13},
        {"aaaaaaaaaaaaaaaaaaaaa a", "[CLS] [UNK] a [SEP]", "a", {2, 1, 15, 3}, 4},
        {"", "[CLS] [SEP]", "", {2, 3}, 2},
    };
    install("wordpiece.json");
    struct wtok *tok = load("");
    CHECK(strcmp(wtok_kind(tok), "wordpiece") == 0);
    for (size_t i = 0; i < WEIR_ARRAY_LEN(rows); i++) {
        uint32_t ids[64];
        size_t n = 0;
        struct weir_buf out;
        struct weir_span text = weir_span_z(rows[i].text);
        CHECK(wtok_encode(tok, text, WTOK_SPECIAL | WTOK_ADD_SPECIAL, ids, 64, &n) == WEIR_OK);
        CHECK_EQ_U64(n, rows[i].n);
        CHECK(memcmp(ids, rows[i].ids, n * sizeof(*ids)) == 0);
        CHECK(wtok_encode(tok, text, WTOK_SPECIAL, ids, 64, &n) == WEIR_OK);
        CHECK(n == rows[i].n - 2 && memcmp(ids, rows[i].ids + 1, n * sizeof(*ids)) == 0);
        weir_buf_init(&out, 1024);
        CHECK(wtok_decode(tok, rows[i].ids, rows[i].n, false, &out) == WEIR_OK);
        CHECK_EQ_STR(out.data, out.len, rows[i].decoded);
        weir_buf_clear(&out);
        CHECK(wtok_decode(tok, rows[i].ids, rows[i].n, true, &out) == WEIR_OK);
        CHECK_EQ_STR(out.data, out.len, rows[i].without_special);
        weir_buf_fini(&out);
    }
    wtok_destroy(tok);
}

/* A change of the file, and what the error must name. */
static const struct {
    const char *file, *from, *to, *names;
    enum weir_status status;
} refusals[] = {
    {"byte_level.json", "\"type\":\"BPE\"", "\"type\":\"Unigram\"", "model.type", WEIR_UNSUPPORTED},
    {"byte_level.json", "\"dropout\":null", "\"dropout\":0.1", "model.dropout", WEIR_UNSUPPORTED},
    {"byte_level.json", "\"dropout\":null", "\"new_thing\":1", "model.new_thing", WEIR_UNSUPPORTED},
    {"byte_level.json", "\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"",
     "model.end_of_word_suffix", WEIR_UNSUPPORTED},
    {"byte_level.json", "{\"type\":\"NFC\"}", "{\"type\":\"Lowercase\"}", "normalizer.type",
     WEIR_UNSUPPORTED},
    {"byte_level.json", "\"h e\"", "\"h q\"", "model.merges[0]", WEIR_INVALID},
    {"byte_level.json", "\"h e\"", "\"h e l\"", "model.merges[0]", WEIR_INVALID},
    {"byte_level.json", "\"truncation\":null", "\"surprise\":{}", "surprise", WEIR_UNSUPPORTED},
    {"byte_level.json", "\"content\":\"</s>\"", "\"content\":\"hello\"", "added_tokens",
     WEIR_UNSUPPORTED},
    {"byte_level.json", "TemplateProcessing", "PairProcessing", "post_processor.type",
     WEIR_UNSUPPORTED},
    {"byte_level.json", "TemplateProcessing", "RobertaProcessing", "post_processor.cls",
     WEIR_UNSUPPORTED},
    {"byte_level.json", "\"type\":\"BPE\"", "\"type\":\"WordPiece\"", "model.", WEIR_UNSUPPORTED},
    {"byte_level.json", "{\"type\":\"NFC\"}", "{\"type\":\"BertNormalizer\"}",
     "normalizer.clean_text", WEIR_INVALID},
    {"wordpiece.json", "\"unk_token\":\"[UNK]\"", "\"unk_token\":\"Caf\u00e9 Noir\"",
     "model.unk_token", WEIR_INVALID},
    {"wordpiece.json", "\"max_input_chars_per_word\":20,", "", "max_input_chars_per_word",
     WEIR_INVALID},
    {"wordpiece.json", "\"type\":\"BertPreTokenizer\"", "\"type\":\"WhitespaceSplit\"",
     "pre_tokenizer", WEIR_UNSUPPORTED},
    {"wordpiece.json", "\"BertPreTokenizer\"", "\"CharDelimiterSplit\"", "pre_tokenizer.type",
     WEIR_UNSUPPORTED},
    {"wordpiece.json", "\"type\":\"WordPiece\",\"prefix\":\"##\"", "\"type\":\"Fuse\"",
     "decoder.type", WEIR_UNSUPPORTED},
    {"wordpiece.json", "\"lowercase\":true", "\"lower\":true", "normalizer.lowercase",
     WEIR_INVALID},
    {"wordpiece.json", "\"type\":\"WordPiece\",\"unk", "\"type\":\"WordLevel\",\"unk", "model.type",
     WEIR_UNSUPPORTED},
    {"text.json", "\"type\":\"Fuse\"", "\"type\":\"WordPiece\"", "decoder.type", WEIR_UNSUPPORTED},
    {"generic.json", "\"behavior\":\"MergedWithNext\"", "\"behavior\":\"Sideways\"",
     "pre_tokenizer.behavior", WEIR_UNSUPPORTED},
    {"generic.json", "\\\\p{Lu}|[\\\\s,]+", "[[:alpha:]]", "[:", WEIR_UNSUPPORTED},
    {"generic.json", "\\\\p{Lu}|[\\\\s,]+", "(unclosed", "pre_tokenizer.pattern.Regex",
     WEIR_UNSUPPORTED},
    {"generic.json", "\"type\":\"Digits\"", "\"type\":\"Whitespace\"", "pre_tokenizer.type",
     WEIR_UNSUPPORTED},
    {"text.json", "\"type\":\"Fuse\"", "\"type\":\"CTC\"", "decoder.type", WEIR_UNSUPPORTED},
    {"text.json", "\"<0x41>\"", "\"<0xQQ>\"", "byte_fallback", WEIR_UNSUPPORTED},
    {"text.json", "\"unk_token\":\"<unk>\"", "\"unk_token\":\"<none>\"", "unk_token", WEIR_INVALID},
    {"text.json", "{", "[", "JSON object", WEIR_INVALID},
};

static void case_refused_by_name(void) {
    for (size_t i = 0; i < WEIR_ARRAY_LEN(refusals); i++) {
        static char changed[1 << 16];
        size_t len;
        struct wtok *tok = NULL;
        struct weir_err err = {.text = ""};
        struct wtok_config config = {.cache_dir = ""};
        char *text = read_corpus(refusals[i].file, &len);
        char *at = strstr(text, refusals[i].from);
        CHECK_MSG(at != NULL, "%s is not in the file", refusals[i].from);
        int n = snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text,
                         refusals[i].to, at + strlen(refusals[i].from));
        write_file("tokenizer.json", changed, (size_t)n);
        enum weir_status st = wtok_load(dir, &config, &tok, &err);
        CHECK_MSG(st == refusals[i].status && strstr(err.text, refusals[i].names) != NULL,
                  "%s: status %s, \"%s\", which should name %s", refusals[i].to,
                  weir_status_name(st), err.text, refusals[i].names);
        CHECK(tok == NULL);
    }
}

static void case_no_tokenizer(void) {
    struct wtok *tok = NULL;
    struct weir_err err = {.text = ""};
    forget("tokenizer.json");
    CHECK(wtok_load(dir, NULL, &tok, &err) == WEIR_NOT_FOUND && err.text[0] != '\0');
    write_file("a.tiktoken", "aGk= 0\n", 7);
    CHECK(wtok_load(dir, NULL, &tok, &err) == WEIR_UNSUPPORTED);
    CHECK(strstr(err.text, "pattern") != NULL);
    forget("a.tiktoken");
}

static void case_ends_and_length(void) {
    static const char generation[] = "{\"eos_token_id\":[258,257]}";
    static const char model[] =
        "{\"eos_token_id\":7,\"text_config\":{\"max_position_embeddings\":4096}}";
    static const char config[] = "{\"eos_token\":{\"content\":\"</s>\"},\"model_max_length\":99}";
    size_t n;
    install("byte_level.json");
    write_file("config.json", model, sizeof(model) - 1);
    struct wtok *tok = load("");
    CHECK(wtok_eos_ids(tok, &n)[0] == 7 && n == 1);
    CHECK_EQ_U64(wtok_context_length(tok), 4096);
    wtok_destroy(tok);
    write_file("generation_config.json", generation, sizeof(generation) - 1);
    write_file("tokenizer_config.json", config, sizeof(config) - 1);
    tok = load("");
    const uint32_t *eos = wtok_eos_ids(tok, &n);
    CHECK_EQ_U64(n, 3);
    CHECK(eos[0] == 258 && eos[1] == 257 && eos[2] == wtok_vocab_size(tok) - 1);
    CHECK_EQ_U64(wtok_context_length(tok), 4096);
    CHECK_EQ_STR(wtok_chat_files(tok).tokenizer_config.data,
                 wtok_chat_files(tok).tokenizer_config.len, config);
    CHECK(wtok_chat_files(tok).chat_template_jinja.data == NULL);
    wtok_destroy(tok);
    forget("config.json");
    forget("generation_config.json");
    forget("tokenizer_config.json");
}

/* The only file in the cache directory. */
static unsigned cache_files(char path[600]) {
    unsigned n = 0;
    struct dirent *e;
    DIR *d = opendir(cache);
    while (d != NULL && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.') {
            path_of(path, cache, e->d_name);
            n++;
        }
    if (d != NULL)
        closedir(d);
    return n;
}

static void check_hello(struct wtok *tok) {
    uint32_t ids[16];
    size_t n = 0;
    CHECK(wtok_encode(tok, WEIR_SPAN_LIT("hello wo"), 0, ids, 16, &n) == WEIR_OK);
    CHECK(n == 2 && ids[0] == 259 && ids[1] == 261);
    wtok_destroy(tok);
}

/* With the ids of both sides around them the plain ones are those of WTOK_ADD_SPECIAL. */
static void case_what_stands_around(void) {
    static const char *const names[] = {"byte_level.json", "generic.json", "metaspace.json"};
    const struct weir_span text = WEIR_SPAN_LIT("hello wo");
    size_t around = 0;
    for (size_t i = 0; i < WEIR_ARRAY_LEN(names); i++) {
        uint32_t whole[64], ids[64];
        size_t n_whole, n, n_prefix, n_suffix;
        install(names[i]);
        struct wtok *tok = load("");
        const uint32_t *prefix = wtok_prefix_ids(tok, &n_prefix);
        const uint32_t *suffix = wtok_suffix_ids(tok, &n_suffix);
        CHECK(n_prefix + n_suffix < 16);
        if (n_prefix > 0)
            memcpy(ids, prefix, n_prefix * sizeof(*ids));
        CHECK(wtok_encode(tok, text, 0, ids + n_prefix, 32, &n) == WEIR_OK);
        n += n_prefix;
        if (n_suffix > 0)
            memcpy(ids + n, suffix, n_suffix * sizeof(*ids));
        n += n_suffix;
        CHECK(wtok_encode(tok, text, WTOK_ADD_SPECIAL, whole, 64, &n_whole) == WEIR_OK);
        CHECK_EQ_U64(n, n_whole);
        CHECK(memcmp(ids, whole, n * sizeof(*ids)) == 0);
        around += n_prefix + n_suffix;
        wtok_destroy(tok);
    }
    CHECK(around > 0); /* one of them has some */
}

static void case_cache_file(void) {
    char path[600];
    install("byte_level.json");
    check_hello(load(cache));
    CHECK_EQ_U64(cache_files(path), 1);
    check_hello(load(cache));
    /* Every kind of damage is noticed, and mended. */
    for (int kind = 0; kind < 3; kind++) {
        FILE *f = fopen(path, "r+b");
        CHECK(f != NULL);
        if (kind < 2) {
            fseek(f, kind == 0 ? 3 : 5000, SEEK_SET);
            fputc('#', f);
        } else {
            CHECK(ftruncate(fileno(f), 6000) == 0);
        }
        fclose(f);
        check_hello(load(cache));
        struct stat s;
        CHECK(stat(path, &s) == 0 && s.st_size > 6000);
    }
    CHECK_EQ_U64(cache_files(path), 1);
    /* Another source is another file; the old one is not used for it. */
    install("text.json");
    struct wtok *tok = load(cache);
    CHECK(strcmp(wtok_kind(tok), "sentencepiece") == 0);
    wtok_destroy(tok);
    CHECK_EQ_U64(cache_files(path), 2);
    (void)unlink(path);
    (void)cache_files(path);
    (void)unlink(path);
}

/* The byte-level file, but no token looks at what stands beside it: then a text may be cut. */
static struct wtok *load_with_cuts(void) {
    static const char *const beside = "\"lstrip\":true,\"rstrip\":true";
    static const char *const alone = "\"lstrip\":false,\"rstrip\":false";
    size_t len;
    char *text = read_corpus("byte_level.json", &len), *at = strstr(text, beside);
    CHECK(at != NULL);
    memmove(at + strlen(alone), at + strlen(beside), strlen(at + strlen(beside)) + 1);
    memcpy(at, alone, strlen(alone));
    write_file("tokenizer.json", text, strlen(text));
    return load("");
}

/* Two long prompts that begin alike, no added token in either: the second finds the beginning of
 * the first, and its ids are those of a tokenizer that remembers nothing. */
static void case_shared_beginning(void) {
    enum { SHARED = 20000, ROOM = 4 * SHARED };
    static char prompt[SHARED + 16];
    static uint32_t ids[ROOM], want[ROOM];
    size_t n = 0, n_want = 0;
    struct wtok_stats stats;
    struct wtok *tok = load_with_cuts();
    for (size_t i = 0; i < SHARED; i++)
        prompt[i] = i % 7 == 6 ? ' ' : (char)('a' + i * i % 11 + i / 4096);
    for (unsigned last = 0; last < 4; last++) {
        memset(prompt + SHARED, (int)('x' - last), 8);
        struct weir_span whole = weir_span(prompt, SHARED + 8);
        CHECK(wtok_encode(tok, whole, WTOK_NO_CACHE, want, ROOM, &n_want) == WEIR_OK);
        CHECK(wtok_encode(tok, whole, 0, ids, ROOM, &n) == WEIR_OK);
        CHECK_EQ_U64(n, n_want);
        CHECK(memcmp(ids, want, n * sizeof(*ids)) == 0);
        wtok_stats(tok, &stats);
        CHECK_MSG(stats.segment_hits >= last * 4 && stats.segment_misses <= 5 + last,
                  "prompt %u: %u found, %u not", last, (unsigned)stats.segment_hits,
                  (unsigned)stats.segment_misses);
    }
    wtok_destroy(tok);
}

/* What is no UTF-8 is refused wherever it stands, though a text is checked section by section, and
 * only the sections that the cache does not hold. */
static void case_checked_by_section(void) {
    enum { SECTION = 6000, TEXT = 3 * SECTION, ROOM = 2 * TEXT };
    static const char token[] = "<s>", letter[] = "\xC3\xA9", place[] = "\xE4\xB8\x80\xE3\x80\x82";
    static const unsigned char bad[] = {0xC0, 0xC3, 0xF5, 0xFF};
    static char text[TEXT], changed[TEXT];
    static uint32_t want[ROOM], ids[ROOM];
    size_t n_want, n, len = 0;
    struct wtok *tok = load_with_cuts();
    for (unsigned i = 0; len + 32 < TEXT; i++) {
        const char *add = len % SECTION > SECTION - 16 ? token : i % 5 == 0 ? letter : place;
        memcpy(text + len, add, strlen(add));
        len += strlen(add);
    }
    CHECK(wtok_encode(tok, weir_span(text, len), WTOK_SPECIAL | WTOK_NO_CACHE, want, ROOM,
                      &n_want) == WEIR_OK);
    for (unsigned turn = 0; turn < 2; turn++) {
        CHECK(wtok_encode(tok, weir_span(text, len), WTOK_SPECIAL, ids, ROOM, &n) == WEIR_OK);
        CHECK(n == n_want && memcmp(ids, want, n * sizeof(*ids)) == 0);
    }
    for (size_t at = 0; at<len; at += at % SECTION> SECTION - 40 || at < 8 ? 1 : 61) {
        memcpy(changed, text, len);
        changed[at] =
            (char)(bad[at % sizeof(bad)] == (unsigned char)text[at] ? 0xFE : bad[at % sizeof(bad)]);
        CHECK_MSG(wtok_encode(tok, weir_span(changed, len), WTOK_SPECIAL, ids, ROOM, &n) ==
                      WEIR_INVALID,
                  "byte %u", (unsigned)at);
    }
    /* A token inside of a character does not make two of it. */
    CHECK(wtok_encode(tok, WEIR_SPAN_LIT("\xC3<s>\xA9"), WTOK_SPECIAL, ids, ROOM, &n) ==
          WEIR_INVALID);
    wtok_destroy(tok);
}

/* A blank goes in front of each section, so one that begins with a part must begin with it in the
 * whole text, too. (Failed before: a token that ends with a letter had a place to cut behind it.)
 */
static void case_parts_behind_a_token(void) {
    enum { TEXT = 4000, PARTS = 8 };
    static const char *const tokens[] = {"<s>", "sys"};
    static char text[TEXT];
    static uint32_t ids[2 * TEXT], want[2 * TEXT];
    for (size_t t = 0; t < WEIR_ARRAY_LEN(tokens); t++) {
        struct weir_span parts[PARTS];
        size_t len, n = 0, n_want = 0, parts_n;
        char *json = read_corpus("text.json", &len);
        for (char *at = json; (at = strstr(at, "\"<s>\"")) != NULL; at++)
            memcpy(at + 1, tokens[t], 3);
        write_file("tokenizer.json", json, len);
        struct wtok *tok = load("");
        for (size_t i = 0; i + 16 <= TEXT; i += 16)
            memcpy(text + i, t == 0 ? "hello <s> hello " : "hello sys hello ", 16);
        struct weir_span whole = weir_span(text, TEXT);
        CHECK(wtok_encode(tok, whole, WTOK_SPECIAL, want, 2 * (size_t)TEXT, &n_want) == WEIR_OK);
        for (size_t want_parts = 2; want_parts <= PARTS; want_parts++) {
            size_t made = 0;
            parts_n = wtok_encode_parts(tok, whole, want_parts, parts);
            CHECK(parts_n == want_parts || t > 0);
            for (size_t i = 0; i < parts_n; i++, made += n)
                CHECK(wtok_encode(tok, parts[i], WTOK_SPECIAL | (i > 0 ? WTOK_CONTINUES : 0),
                                  ids + made, 2 * (size_t)TEXT - made, &n) == WEIR_OK);
            CHECK_EQ_U64(made, n_want);
            CHECK(memcmp(ids, want, made * sizeof(*ids)) == 0);
        }
        wtok_destroy(tok);
    }
}

/* XXH3 as it is published, whatever the vectors. */
static void case_hash_of_text(void) {
    static char text[5000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * i >> 3);
    CHECK(wtok_text_hash(weir_span(text, 0), 0) == 0x2D06800538D394C2u);
    for (size_t n = 0; n < sizeof(text); n += n < 600 ? 1 : 97)
        CHECK_MSG(wtok_text_hash(weir_span(text, n), n * 77) ==
                      XXH3_64bits_withSeed(text, n, n * 77),
                  "%u bytes", (unsigned)n);
}

/* Each allocation of a load and an encoding fails once. */
static void case_little_memory(void) {
    static const char *const files[] = {"byte_level.json", "generic.json", "text.json",
                                        "metaspace.json"};
    for (size_t f = 0; f < WEIR_ARRAY_LEN(files); f++) {
        bool done = false;
        install(files[f]);
        for (uint64_t k = 1; !done; k++) {
            struct wtok *tok = NULL;
            struct wtok_config config = {.cache_dir = "", .segment_cache_bytes = 1 << 18};
            uint32_t ids[512];
            size_t n = 0;
            weir_mem_fail_at(k);
            enum weir_status st = wtok_load(dir, &config, &tok, NULL);
            if (st == WEIR_OK)
                st = wtok_encode(tok, WEIR_SPAN_LIT("hello e\xCC\x81 <s> 12 llll"), WTOK_SPECIAL,
                                 ids, 512, &n);
            done = weir_mem_count() < k;
            weir_mem_fail_at(0);
            CHECK_MSG(st == WEIR_OK || st == WEIR_NOMEM, "%s, allocation %u: %s", files[f],
                      (unsigned)k, weir_status_name(st));
            wtok_destroy(tok);
        }
    }
}

int main(void) {
    snprintf(dir, sizeof(dir), "/tmp/weir-load-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(cache, sizeof(cache), "%s/cache", dir);
    CHECK_RUN(case_byte_level);
    CHECK_RUN(case_shared_beginning);
    CHECK_RUN(case_wordpiece);
    CHECK_RUN(case_refused_by_name);
    CHECK_RUN(case_no_tokenizer);
    CHECK_RUN(case_ends_and_length);
    CHECK_RUN(case_what_stands_around);
    CHECK_RUN(case_cache_file);
    CHECK_RUN(case_checked_by_section);
    CHECK_RUN(case_parts_behind_a_token);
    CHECK_RUN(case_hash_of_text);
    CHECK_RUN(case_little_memory);
    forget("tokenizer.json");
    (void)rmdir(cache);
    (void)rmdir(dir);
    return check_finish();
}
