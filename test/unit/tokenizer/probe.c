/*
 * Lets a script ask the tokenizer in bulk. Records on standard input: operation (1 byte), flags
 * (1 byte), payload length (u32, this machine's order), payload; for each, on standard output, a
 * length and a payload. One operation:
 *   E text → ids            T text, flags byte = number of parts → ids of the parts, joined
 *   L text, flags byte = number of lent strings in it → ids of the prompt
 *   D ids → text (flag 1: skip special)
 *   P ids → each as the vocabulary writes it: u32 length and the text
 *   S ids → for each id and for the end: u32 length and the chunk (0xFFFFFFFF: no chunk)
 * usage: tok_probe MODEL-DIR [CACHE-DIR]
 */
#include "tokenizer/wtok.h"

#include <stdio.h>
#include <stdlib.h>

static bool put(struct weir_buf *out, const void *data, size_t n) {
    uint32_t len = (uint32_t)n;
    return weir_buf_append(out, &len, 4) == WEIR_OK && weir_buf_append(out, data, n) == WEIR_OK;
}

static bool encode(const struct wtok *tok, unsigned flags, struct weir_span text,
                   struct weir_buf *out) {
    static uint32_t *ids;
    static size_t room;
    size_t n = 0, need = wtok_encode_bound(tok, text.len);
    if (need > room) {
        free(ids);
        room = need * 2;
        ids = malloc(room * sizeof(*ids));
    }
    enum weir_status st = wtok_encode(tok, text, flags, ids, need, &n);
    if (st != WEIR_OK)
        fprintf(stderr, "tok_probe: encode: %s\n", weir_status_text(st));
    return st == WEIR_OK && put(out, ids, n * sizeof(*ids));
}

static bool encode_parts(const struct wtok *tok, size_t want, struct weir_span text,
                         struct weir_buf *out) {
    struct weir_span parts[256];
    uint32_t *ids = malloc((wtok_encode_bound(tok, text.len) + 256 * 8) * sizeof(*ids));
    size_t n = wtok_encode_parts(tok, text, want, parts), total = 0;
    bool ok = ids != NULL && n >= 1 && n <= want;
    for (size_t i = 0; i < n && ok; i++) {
        size_t k = 0;
        ok = wtok_encode(tok, parts[i], WTOK_SPECIAL | (i > 0 ? WTOK_CONTINUES : 0), ids + total,
                         wtok_encode_bound(tok, parts[i].len), &k) == WEIR_OK;
        total += k;
    }
    ok = ok && put(out, ids, total * sizeof(*ids));
    free(ids);
    return ok;
}

/* The text in so many parts of like length, of each the middle half lent. */
static bool encode_lent(const struct wtok *tok, size_t n_lent, struct weir_span text,
                        struct weir_buf *out) {
    struct wtok_prompt p;
    size_t each = n_lent > 0 ? text.len / n_lent : 0, n = 0, bytes = 0;
    uint32_t *ids = malloc((wtok_encode_bound(tok, text.len) + 8) * sizeof(*ids));
    wtok_prompt_init(&p, 1 << 28);
    bool ok = ids != NULL && n_lent <= WTOK_LENT;
    for (size_t i = 0; i < n_lent && ok && each / 2 >= (size_t)2 * WTOK_LENT_EDGE; i++) {
        const char *at = text.data + i * each + each / 4;
        struct weir_span s = weir_span(at, each / 2);
        ok = weir_buf_append(&p.text, text.data + bytes,
                             (size_t)(at + WTOK_LENT_EDGE - text.data) - bytes) == WEIR_OK;
        p.lent[p.n_lent++] = (struct wtok_lent){.at = p.text.len, .string = s};
        p.n_middle += s.len - (size_t)2 * WTOK_LENT_EDGE;
        bytes = (size_t)(at - text.data) + s.len - WTOK_LENT_EDGE;
    }
    ok = ok && weir_buf_append(&p.text, text.data + bytes, text.len - bytes) == WEIR_OK &&
         wtok_encode_prompt(tok, &p, WTOK_SPECIAL, ids, wtok_encode_bound(tok, text.len), &n) ==
             WEIR_OK &&
         put(out, ids, n * sizeof(*ids));
    wtok_prompt_fini(&p);
    free(ids);
    return ok;
}

static bool decode(const struct wtok *tok, bool skip, const uint32_t *ids, size_t n,
                   struct weir_buf *out) {
    struct weir_buf text;
    weir_buf_init(&text, 1 << 28);
    bool ok = wtok_decode(tok, ids, n, skip, &text) == WEIR_OK && put(out, text.data, text.len);
    weir_buf_fini(&text);
    return ok;
}

static bool pieces(const struct wtok *tok, const uint32_t *ids, size_t n, struct weir_buf *out) {
    struct weir_buf all, piece;
    bool ok = true;
    weir_buf_init(&all, 1 << 28);
    weir_buf_init(&piece, 1 << 20);
    for (size_t i = 0; i < n && ok; i++) {
        weir_buf_clear(&piece);
        ok = wtok_id_piece(tok, ids[i], &piece) == WEIR_OK && put(&all, piece.data, piece.len);
    }
    ok = ok && put(out, all.data, all.len);
    weir_buf_fini(&all);
    weir_buf_fini(&piece);
    return ok;
}

static bool stream(const struct wtok *tok, bool skip, const uint32_t *ids, size_t n,
                   struct weir_buf *out) {
    struct wtok_stream s;
    struct weir_buf all, chunk;
    bool ok = true;
    wtok_stream_init(&s, tok, skip);
    weir_buf_init(&all, 1 << 28);
    weir_buf_init(&chunk, 1 << 28);
    for (size_t i = 0; i <= n && ok; i++) {
        weir_buf_clear(&chunk);
        ok = (i < n ? wtok_stream_push(&s, ids[i], &chunk) : wtok_stream_finish(&s, &chunk)) ==
             WEIR_OK;
        uint32_t none = UINT32_MAX;
        ok = ok && (chunk.len > 0 ? put(&all, chunk.data, chunk.len)
                                  : weir_buf_append(&all, &none, 4) == WEIR_OK);
    }
    ok = ok && put(out, all.data, all.len);
    weir_buf_fini(&all);
    weir_buf_fini(&chunk);
    return ok;
}

int main(int argc, char **argv) {
    struct wtok *tok = NULL;
    struct weir_err err = {.text = ""};
    struct wtok_config config = {
        .cache_dir = argc > 2 ? argv[2] : "",
        .segment_cache_bytes =
            getenv("SEGMENT_CACHE") != NULL ? strtoull(getenv("SEGMENT_CACHE"), NULL, 10) : 0,
        .tiktoken_pattern = getenv("TIKTOKEN_PATTERN")};
    unsigned char head[6];
    struct weir_buf in, out;
    if (argc < 2 || wtok_load(argv[1], &config, &tok, &err) != WEIR_OK) {
        fprintf(stderr, "tok_probe: %s\n", err.text);
        return 1;
    }
    fprintf(stderr, "tok_probe: %s, %u ids\n", wtok_kind(tok), wtok_vocab_size(tok));
    weir_buf_init(&in, 1 << 28);
    weir_buf_init(&out, 1 << 28);
    while (fread(head, 1, 6, stdin) == 6) {
        uint32_t len;
        memcpy(&len, head + 2, 4);
        weir_buf_clear(&in);
        weir_buf_clear(&out);
        if (weir_buf_reserve(&in, len + 1) != WEIR_OK || fread(in.data, 1, len, stdin) != len)
            return 1;
        struct weir_span text = weir_span(in.data, len);
        const uint32_t *ids = (const uint32_t *)(const void *)in.data;
        bool ok = head[0] == 'E'   ? encode(tok, head[1], text, &out)
                  : head[0] == 'T' ? encode_parts(tok, head[1], text, &out)
                  : head[0] == 'L' ? encode_lent(tok, head[1], text, &out)
                  : head[0] == 'D' ? decode(tok, head[1] != 0, ids, len / 4, &out)
                  : head[0] == 'P' ? pieces(tok, ids, len / 4, &out)
                  : head[0] == 'S' ? stream(tok, head[1] != 0, ids, len / 4, &out)
                                   : false;
        if (!ok || fwrite(out.data, 1, out.len, stdout) != out.len)
            return 1;
    }
    weir_buf_fini(&in);
    weir_buf_fini(&out);
    wtok_destroy(tok);
    return 0;
}
