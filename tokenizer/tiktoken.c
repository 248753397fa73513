/*
 * tiktoken rank files: a line per token, its bytes in base64, a blank, its rank, which is also its
 * id. The format has neither pattern nor special tokens: the pattern is named by the caller,
 * special tokens come from tokenizer_config.json.
 *
 * There two neighbours merge when their bytes together are a token, lowest rank first; so every way
 * to cut a token in two tokens is a merge with the token's rank.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/spec_priv.h"

#include <stdio.h>

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool decode64(struct weir_span in, unsigned char *out, size_t room, size_t *ret_n) {
    size_t n = 0, pads = 0;
    uint32_t bits = 0;
    if (in.len == 0 || in.len % 4 != 0)
        return false;
    for (size_t i = 0; i < in.len; i++) {
        int d = base64_digit(in.data[i]);
        if (in.data[i] == '=' && i + 2 >= in.len)
            pads++;
        else if (d < 0 || pads > 0)
            return false;
        bits = bits << 6 | (uint32_t)(d < 0 ? 0 : d);
        if (i % 4 != 3)
            continue;
        if (n + 3 > room)
            return false;
        out[n++] = (unsigned char)(bits >> 16);
        out[n++] = (unsigned char)(bits >> 8);
        out[n++] = (unsigned char)bits;
    }
    *ret_n = n - pads;
    return *ret_n > 0;
}

/* The byte's character in the alphabet of byte-level vocabularies. */
static unsigned alphabet(unsigned char b) {
    if ((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE)
        return b;
    return b <= 0x20 ? 0x100u + b : b <= 0xA0 ? 0x121u + (b - 0x7Fu) : 0x143;
}

static enum weir_status read_line(struct wtok_spec *spec, struct weir_span line, size_t number,
                                  struct weir_err *err) {
    unsigned char bytes[512];
    char text[1024];
    size_t n, len = 0;
    uint64_t rank;
    struct weir_span rest, word = weir_span_split(line, ' ', &rest);
    if (rest.data == NULL || !weir_span_u64(rest, &rank) || rank >= WTOK_MAX_RANKS ||
        !decode64(word, bytes, sizeof(bytes), &n))
        return weir_err_set(err, WEIR_INVALID, "line %zu is not \"base64 rank\"", number);
    for (size_t i = 0; i < n; i++)
        len += weir_utf8_encode(alphabet(bytes[i]), text + len);
    struct weir_span kept = weir_arena_copy(&spec->arena, weir_span(text, len));
    if (kept.data == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory while loading the tokenizer");
    enum weir_status st = wtok_spec_put(spec, (uint32_t)rank, kept, err);
    if (st == WEIR_OK) {
        spec->tokens[rank].in_vocab = true;
        spec->n_vocab++;
    }
    return st;
}

static bool add_merge(struct wtok_spec *spec, size_t *cap, uint32_t left, uint32_t right,
                      uint32_t id) {
    if (spec->n_merges == *cap) {
        *cap = *cap == 0 ? 4096 : *cap * 2;
        void *merges = weir_realloc(spec->merges, *cap * sizeof(*spec->merges));
        if (merges == NULL)
            return false;
        spec->merges = merges;
        void *ranks = weir_realloc(spec->ranks, *cap * sizeof(*spec->ranks));
        if (ranks == NULL)
            return false;
        spec->ranks = ranks;
    }
    spec->ranks[spec->n_merges] = id;
    spec->merges[spec->n_merges++] = (struct wtok_spec_merge){left, right, id};
    return true;
}

static enum weir_status all_merges(struct wtok_spec *spec, struct weir_err *err) {
    size_t cap = 0;
    for (size_t id = 0; id < spec->n_ids; id++) {
        struct weir_span t = spec->tokens[id].text;
        for (size_t at = 1; at < t.len; at++) {
            if (((unsigned char)t.data[at] & 0xC0) == 0x80)
                continue;
            uint32_t left = wtok_spec_find(spec, weir_span(t.data, at));
            uint32_t right = wtok_spec_find(spec, weir_span(t.data + at, t.len - at));
            if (left != WTOK_NO_ID && right != WTOK_NO_ID &&
                !add_merge(spec, &cap, left, right, (uint32_t)id))
                return weir_err_set(err, WEIR_NOMEM, "out of memory while loading the tokenizer");
        }
    }
    return WEIR_OK;
}

/* That of Moonshot's Kimi models: o200k with runs of Han apart. It stands in their Python code
 * only. */
#define NOT_HAN "\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define UPPER "[\\p{Lu}\\p{Lt}" NOT_HAN
#define LOWER "[\\p{Ll}" NOT_HAN
#define AROUND(word) "[^\\r\\n\\p{L}\\p{N}]?" word "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
static const char kimi[] = "[\\p{Han}]+|" AROUND(UPPER "*" LOWER "+") "|" AROUND(
    UPPER "+" LOWER
          "*") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static enum weir_status choose_pattern(struct wtok_spec *spec, const char *pattern,
                                       struct weir_err *err) {
    static const struct {
        const char *name;
        enum wtok_family family;
    } patterns[] = {{"gpt2", WTOK_GPT2},
                    {"cl100k", WTOK_CL100K},
                    {"qwen2", WTOK_QWEN2},
                    {"o200k", WTOK_O200K},
                    {"tekken", WTOK_TEKKEN}};
    if (pattern == NULL)
        return weir_err_set(err, WEIR_UNSUPPORTED,
                            "a tiktoken file does not name its splitting pattern: say which one it "
                            "is (gpt2, cl100k, qwen2, o200k, tekken or kimi), or give "
                            "tokenizer.json");
    if (strcmp(pattern, "kimi") == 0) {
        spec->family = WTOK_GENERIC;
        spec->splitters[0] = (struct wtok_spec_step){
            .kind = WTOK_STEP_REGEX, .arg = WTOK_ISOLATED, .a = weir_span_z(kimi)};
        spec->n_splitters = 1;
        return WEIR_OK;
    }
    for (size_t i = 0; i < WEIR_ARRAY_LEN(patterns); i++)
        if (strcmp(pattern, patterns[i].name) == 0) {
            spec->family = patterns[i].family;
            spec->splitters[0] =
                (struct wtok_spec_step){.kind = WTOK_STEP_SCAN, .arg = patterns[i].family};
            spec->n_splitters = 1;
            return WEIR_OK;
        }
    return weir_err_set(err, WEIR_UNSUPPORTED, "the tiktoken pattern \"%s\" is not known", pattern);
}

enum weir_status wtok_spec_tiktoken(struct wtok_spec *spec, struct weir_span text,
                                    const char *pattern, struct weir_err *err) {
    enum weir_status st = choose_pattern(spec, pattern, err);
    size_t number = 0;
    while (st == WEIR_OK && text.len > 0) {
        struct weir_span rest, line = weir_span_split(text, '\n', &rest);
        line = weir_span_trim(line);
        text = rest.data != NULL ? rest : weir_span(NULL, 0);
        number++;
        if (line.len > 0)
            st = read_line(spec, line, number, err);
    }
    if (st != WEIR_OK)
        return st;
    spec->byte_level = true;
    spec->ignore_merges = true; /* tiktoken looks a whole word up first */
    spec->decoding = WTOK_DECODE_BYTES;
    return all_merges(spec, err);
}

/* Kimi: the 256 ids behind those of the file are tokens, named in tokenizer_config.json or not. */
enum weir_status wtok_spec_kimi_added(struct wtok_spec *spec, struct weir_span config,
                                      struct weir_err *err) {
    enum { RESERVED = 256 };
    struct weir_span named = wtok_field(config, "added_tokens_decoder");
    struct weir_buf all;
    weir_buf_init(&all, 1 << 20);
    enum weir_status st = weir_buf_append_c(&all, '{');
    for (size_t i = 0; i < RESERVED && st == WEIR_OK; i++) {
        char id[24];
        size_t number = spec->n_vocab + i;
        snprintf(id, sizeof(id), "%zu", number);
        struct weir_span is = named.data != NULL ? wtok_field(named, id) : named;
        const char *comma = i > 0 ? "," : "";
        st = is.data != NULL
                 ? weir_buf_printf(&all, "%s\"%s\":%.*s", comma, id, WEIR_SPAN_ARG(is))
                 : weir_buf_printf(&all, "%s\"%s\":{\"content\":\"<|reserved_token_%s|>\"}", comma,
                                   id, id);
    }
    if (st == WEIR_OK)
        st = weir_buf_append_c(&all, '}');
    struct weir_span json =
        st == WEIR_OK ? weir_arena_copy(&spec->arena, weir_buf_span(&all)) : weir_span(NULL, 0);
    weir_buf_fini(&all);
    if (json.data == NULL)
        return weir_err_set(err, WEIR_NOMEM, "out of memory while loading the tokenizer");
    return wtok_spec_added_overlay(spec, json, err);
}
