/*
 * From the description of a tokenizer to its image. The order matters: texts and merges first, then
 * what is derived by running the merges (which words are one token).
 */
#include "tokenizer/compile_priv.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/encode_priv.h"
#include "tokenizer/unicode.h"

#include <stdlib.h>

typedef unsigned char u8;
#define MARK "\xE2\x96\x81"
enum { PAD = 16 };

enum weir_status wtok_compile_no_memory(struct weir_err *err) {
    return weir_err_set(err, WEIR_NOMEM, "out of memory while compiling the tokenizer");
}

struct wtok_image *wtok_compile_head(struct wtok_compiler *c) {
    return (struct wtok_image *)(void *)c->out.data;
}

bool wtok_compile_put(struct wtok_compiler *c, enum wtok_section section, const void *data,
                      size_t n, size_t size) {
    static const char zeros[64];
    size_t pad = (64 - c->out.len % 64) % 64;
    if (weir_buf_append(&c->out, zeros, pad) != WEIR_OK)
        return false;
    wtok_compile_head(c)->sections[section].at = c->out.len;
    wtok_compile_head(c)->sections[section].n = n;
    return n == 0 || weir_buf_append(&c->out, data, n * size) == WEIR_OK;
}

const u8 *wtok_compile_text(const struct wtok_compiler *c, size_t id, size_t *ret_n) {
    *ret_n = c->offsets[id + 1] - c->offsets[id];
    return (const u8 *)c->bytes.data + c->offsets[id];
}

/* ---- texts of tokens ------------------------------------------------------------------------- */

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 and up. */
static void byte_alphabet(int16_t byte_of[0x144]) {
    int next = 0x100;
    for (int i = 0; i < 0x144; i++)
        byte_of[i] = -1;
    for (int b = 0; b < 256; b++) {
        bool plain = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        byte_of[plain ? b : next++] = (int16_t)b;
    }
}

/* The bytes that a token of the byte alphabet stands for; false when it holds another character. */
static bool to_bytes(const int16_t byte_of[0x144], struct weir_span text, struct weir_buf *out,
                     enum weir_status *st) {
    size_t from = out->len;
    unsigned n;
    for (size_t at = 0; at < text.len && *st == WEIR_OK; at += n) {
        uint32_t ch = wtok_char((const u8 *)text.data + at, &n);
        if (ch >= 0x144 || byte_of[ch] < 0) {
            out->len = from;
            return false;
        }
        *st = weir_buf_append_c(out, (char)byte_of[ch]);
    }
    return true;
}

/* Text with U+2581 as a blank. */
static enum weir_status to_blanks(struct weir_span text, struct weir_buf *out) {
    enum weir_status st = WEIR_OK;
    for (size_t i = 0; i < text.len && st == WEIR_OK;) {
        bool mark = weir_span_starts(weir_span(text.data + i, text.len - i), WEIR_SPAN_LIT(MARK));
        st = weir_buf_append_c(out, mark ? ' ' : text.data[i]);
        i += mark ? 3 : 1;
    }
    return st;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "<0x0A>" → 10; -1 otherwise. */
static int fallback_byte(struct weir_span t) {
    if (t.len != 6 || memcmp(t.data, "<0x", 3) != 0 || t.data[5] != '>')
        return -1;
    int hi = hex_digit(t.data[3]), lo = hex_digit(t.data[4]);
    return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

static enum weir_status token_text(struct wtok_compiler *c, const int16_t byte_of[0x144],
                                   size_t id) {
    const struct wtok_spec *s = c->spec;
    struct weir_span text = s->tokens[id].text;
    enum weir_status st = WEIR_OK;
    u8 flags = WTOK_TOKEN_PRESENT | (s->tokens[id].special ? WTOK_TOKEN_SPECIAL : 0);
    if (s->byte_level) {
        if (to_bytes(byte_of, text, &c->bytes, &st))
            flags |= s->tokens[id].in_vocab ? WTOK_TOKEN_WORD : 0;
        else if (st == WEIR_OK)
            st = weir_buf_append_span(&c->bytes, text);
    } else if (s->decode_bytes && fallback_byte(text) >= 0) {
        flags |= WTOK_TOKEN_BYTE;
        st = weir_buf_append_c(&c->bytes, (char)fallback_byte(text));
    } else {
        bool blank = memchr(text.data, ' ', text.len) != NULL;
        bool word = s->tokens[id].in_vocab && !(s->blanks_marked && blank);
        flags |= word ? WTOK_TOKEN_WORD : 0;
        st = s->blanks_marked ? to_blanks(text, &c->bytes) : weir_buf_append_span(&c->bytes, text);
    }
    c->flags[id] = flags;
    return st;
}

/* An added token with `normalized` is decoded as the normalizers make it (and then is not the text
 * that counts as special). The new text replaces the last one of `bytes`. */
static enum weir_status normalized_text(struct wtok_compiler *c, const int16_t byte_of[0x144],
                                        const struct wtok_spec_added *a) {
    struct wtok_model view = {0};
    struct weir_buf form;
    size_t from = c->offsets[a->id];
    weir_buf_init(&form, 1 << 24);
    wtok_model_view(&view, wtok_compile_head(c));
    enum weir_status st = wtok_normalize_section(&view, a->text, true, &form);
    struct weir_span now = weir_buf_span(&form);
    struct weir_span was = weir_span(c->bytes.data + from, c->bytes.len - from);
    if (st == WEIR_OK && !weir_span_eq(now, was) && !weir_span_eq(now, a->text)) {
        if (c->spec->tokens[a->id].in_vocab) {
            st = weir_err_set(c->err, WEIR_UNSUPPORTED,
                              "added_tokens: \"%.*s\" is in model.vocab and normalized to another "
                              "text, which is not understood",
                              WEIR_SPAN_ARG(weir_utf8_cut(a->text, 60)));
        } else {
            c->bytes.len = from;
            c->flags[a->id] &= (u8) ~(WTOK_TOKEN_SPECIAL | WTOK_TOKEN_WORD);
            if (!c->spec->byte_level || !to_bytes(byte_of, now, &c->bytes, &st))
                st = st == WEIR_OK ? weir_buf_append_span(&c->bytes, now) : st;
        }
    }
    weir_buf_fini(&form);
    return st;
}

/* The added token of each id, or NULL. */
static const struct wtok_spec_added **added_by_id(const struct wtok_spec *s) {
    const struct wtok_spec_added **by_id = weir_calloc(s->n_ids + 1, sizeof(*by_id));
    for (size_t i = 0; by_id != NULL && i < s->n_added; i++)
        by_id[s->added[i].id] = &s->added[i];
    return by_id;
}

static enum weir_status texts(struct wtok_compiler *c) {
    int16_t byte_of[0x144];
    size_t n = c->spec->n_ids;
    const struct wtok_spec_added **added_of = added_by_id(c->spec);
    enum weir_status st = WEIR_OK;
    byte_alphabet(byte_of);
    c->offsets = weir_malloc((n + 1) * sizeof(*c->offsets));
    c->flags = weir_calloc(n + 1, 1);
    if (c->offsets == NULL || c->flags == NULL || added_of == NULL) {
        weir_free(added_of);
        return wtok_compile_no_memory(c->err);
    }
    for (size_t id = 0; id < n && st == WEIR_OK; id++) {
        c->offsets[id] = (uint32_t)c->bytes.len;
        if (c->spec->tokens[id].text.data != NULL)
            st = token_text(c, byte_of, id);
        if (st == WEIR_OK && added_of[id] != NULL && added_of[id]->normalized)
            st = normalized_text(c, byte_of, added_of[id]);
    }
    weir_free(added_of);
    if (st != WEIR_OK)
        return st == WEIR_NOMEM ? wtok_compile_no_memory(c->err) : st;
    c->offsets[n] = (uint32_t)c->bytes.len;
    for (size_t id = 0; id < n; id++) {
        struct weir_span t =
            weir_span(c->bytes.data + c->offsets[id], c->offsets[id + 1] - c->offsets[id]);
        bool open = t.len >= 3 && memcmp(t.data + t.len - 3, "\xEF\xBF\xBD", 3) == 0;
        bool words = c->spec->decoding == WTOK_DECODE_WORDS; /* not only the text itself */
        if ((c->flags[id] & WTOK_TOKEN_BYTE) == 0 && !open && !words && weir_utf8_valid(t))
            c->flags[id] |= WTOK_TOKEN_WHOLE;
    }
    static const char pad[PAD];
    if (weir_buf_append(&c->bytes, pad, sizeof(pad)) != WEIR_OK)
        return wtok_compile_no_memory(c->err);
    bool ok = wtok_compile_put(c, WTOK_SECTION_BYTES, c->bytes.data, c->bytes.len, 1) &&
              wtok_compile_put(c, WTOK_SECTION_OFFSETS, c->offsets, n + 1, sizeof(*c->offsets)) &&
              wtok_compile_put(c, WTOK_SECTION_TOKEN_FLAGS, c->flags, n, 1);
    return ok ? WEIR_OK : wtok_compile_no_memory(c->err);
}

/* ---- tokens of single bytes ------------------------------------------------------------------ */

static enum weir_status byte_ids(struct wtok_compiler *c) {
    struct wtok_image *h = wtok_compile_head(c);
    bool all = true;
    memset(h->byte_ids, 0xFF, sizeof(h->byte_ids));
    for (size_t id = 0; id < c->spec->n_ids; id++) {
        size_t n;
        const u8 *p = wtok_compile_text(c, id, &n);
        if (!c->spec->tokens[id].in_vocab)
            continue;
        int byte = c->spec->byte_level ? -1 : fallback_byte(c->spec->tokens[id].text);
        if (c->spec->byte_level && (c->flags[id] & WTOK_TOKEN_WORD) != 0 && n == 1)
            byte = *p;
        if (byte >= 0)
            h->byte_ids[byte] = (uint32_t)id;
    }
    for (unsigned b = 0; b < 256; b++)
        all = all && h->byte_ids[b] != WTOK_NO_ID;
    if (c->spec->byte_fallback && !c->spec->byte_level && !all)
        return weir_err_set(c->err, WEIR_UNSUPPORTED,
                            "model.byte_fallback without all 256 byte tokens is not understood");
    return WEIR_OK;
}

/* ---- steps and texts ------------------------------------------------------------------------- */

static struct wtok_text keep(struct wtok_compiler *c, struct weir_span text, bool *ok) {
    struct wtok_text t = {(uint32_t)c->text.len, (uint32_t)text.len};
    if (text.len > 0 && weir_buf_append_span(&c->text, text) != WEIR_OK)
        *ok = false;
    return t;
}

static bool put_steps(struct wtok_compiler *c, enum wtok_section section,
                      const struct wtok_spec_step *steps, size_t n) {
    struct wtok_step out[WTOK_MAX_STEPS];
    bool ok = true;
    memset(out, 0, sizeof(out));
    for (size_t i = 0; i < n; i++)
        out[i] = (struct wtok_step){.kind = steps[i].kind,
                                    .arg = steps[i].arg,
                                    .flags = steps[i].flags,
                                    .a = keep(c, steps[i].a, &ok),
                                    .b = keep(c, steps[i].b, &ok)};
    return wtok_compile_put(c, section, out, n, sizeof(out[0])) && ok;
}

/* ---- added tokens ---------------------------------------------------------------------------- */

struct trie {
    struct wtok_trie_node *nodes; /* owned */
    size_t n, cap;
};

/* Siblings stay in the order of coming: what a vocabulary names first is asked for most. */
static bool trie_insert(struct trie *t, struct weir_span text, uint32_t index) {
    uint32_t at = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint32_t byte = (u8)text.data[i], next = t->nodes[at].child, last = 0;
        while (next != 0 && t->nodes[next].byte != byte) {
            last = next;
            next = t->nodes[next].sibling;
        }
        if (next == 0) {
            if (t->n == t->cap) {
                size_t cap = t->cap * 2;
                void *more = weir_realloc(t->nodes, cap * sizeof(*t->nodes));
                if (more == NULL)
                    return false;
                t->nodes = more;
                t->cap = cap;
            }
            next = (uint32_t)t->n++;
            t->nodes[next] = (struct wtok_trie_node){.byte = byte};
            *(last != 0 ? &t->nodes[last].sibling : &t->nodes[at].child) = next;
        }
        at = next;
    }
    t->nodes[at].added = index + 1;
    return true;
}

static enum weir_status put_trie(struct wtok_compiler *c, enum wtok_section section,
                                 bool normalized) {
    const struct wtok_spec *s = c->spec;
    struct trie t = {.nodes = weir_calloc(64, sizeof(*t.nodes)), .n = 1, .cap = 64};
    struct wtok_model view = {0};
    struct weir_buf text;
    bool ok = t.nodes != NULL;
    weir_buf_init(&text, 1 << 24);
    wtok_model_view(&view, wtok_compile_head(c));
    for (size_t i = 0; i < s->n_added && ok; i++) {
        if (s->added[i].normalized != normalized)
            continue;
        struct weir_span spelt = s->added[i].text;
        weir_buf_clear(&text);
        if (normalized) {
            ok = wtok_normalize_section(&view, spelt, true, &text) == WEIR_OK;
            spelt = weir_buf_span(&text);
        }
        ok = ok && trie_insert(&t, spelt, (uint32_t)i);
    }
    ok = ok && wtok_compile_put(c, section, t.nodes, t.n, sizeof(*t.nodes));
    weir_free(t.nodes);
    weir_buf_fini(&text);
    return ok ? WEIR_OK : wtok_compile_no_memory(c->err);
}

static enum weir_status added(struct wtok_compiler *c) {
    const struct wtok_spec *s = c->spec;
    struct wtok_added *list = weir_calloc(s->n_added + 1, sizeof(*list));
    if (list == NULL)
        return wtok_compile_no_memory(c->err);
    for (size_t i = 0; i < s->n_added; i++)
        list[i] = (struct wtok_added){.id = s->added[i].id,
                                      .special = s->added[i].special,
                                      .lstrip = s->added[i].lstrip,
                                      .rstrip = s->added[i].rstrip,
                                      .single_word = s->added[i].single_word};
    bool ok = wtok_compile_put(c, WTOK_SECTION_ADDED, list, s->n_added, sizeof(*list));
    weir_free(list);
    if (!ok)
        return wtok_compile_no_memory(c->err);
    enum weir_status st = put_trie(c, WTOK_SECTION_RAW_TRIE, false);
    return st != WEIR_OK ? st : put_trie(c, WTOK_SECTION_NORMAL_TRIE, true);
}

/* ---- all together ---------------------------------------------------------------------------- */

static void scalars(struct wtok_compiler *c, const uint64_t source[2]) {
    const struct wtok_spec *s = c->spec;
    struct wtok_image *h = wtok_compile_head(c);
    memcpy(h->magic, WTOK_IMAGE_MAGIC, 8);
    h->version = WTOK_IMAGE_VERSION;
    h->source[0] = source[0];
    h->source[1] = source[1];
    h->n_ids = (uint32_t)s->n_ids;
    h->family = s->family;
    h->prepend = s->prepend;
    h->split_spaces = s->split_spaces;
    h->decoding = s->decoding;
    h->byte_level = s->byte_level;
    h->blanks_marked = s->blanks_marked;
    h->metaspace = s->metaspace;
    h->byte_fallback = s->byte_fallback && !s->byte_level;
    h->fuse_unk = s->fuse_unk;
    h->ignore_merges = s->ignore_merges;
    h->unk_id = s->unk.data != NULL ? wtok_spec_find(s, s->unk) : WTOK_NO_ID;
    h->max_word_chars = s->max_word_chars;
    for (size_t id = 0; id < s->n_ids; id++)
        if (s->tokens[id].in_vocab && s->tokens[id].text.len > h->longest_entry)
            h->longest_entry = (uint32_t)s->tokens[id].text.len;
    h->decoder_cleanup = s->decoder_cleanup;
    h->strip_start = s->strip_start;
    h->strip_first = s->strip_first;
    h->context_length = s->context_length;
    h->model_vocab = s->model_vocab;
}

static enum weir_status small_sections(struct wtok_compiler *c) {
    const struct wtok_spec *s = c->spec;
    bool ok = true;
    struct wtok_text chat = keep(c, s->chat_template, &ok);
    struct wtok_text config = keep(c, s->tokenizer_config, &ok);
    struct wtok_text subword = keep(c, s->subword_prefix, &ok);
    struct wtok_text decoder = keep(c, s->decoder_prefix, &ok);
    ok = ok && put_steps(c, WTOK_SECTION_NORMALIZERS, s->normalizers, s->n_normalizers) &&
         put_steps(c, WTOK_SECTION_SPLITTERS, s->splitters, s->n_splitters) &&
         wtok_compile_put(c, WTOK_SECTION_PREFIX, s->prefix, s->n_prefix, sizeof(uint32_t)) &&
         wtok_compile_put(c, WTOK_SECTION_SUFFIX, s->suffix, s->n_suffix, sizeof(uint32_t)) &&
         wtok_compile_put(c, WTOK_SECTION_EOS, s->eos, s->n_eos, sizeof(uint32_t)) &&
         wtok_compile_put(c, WTOK_SECTION_TEXT, c->text.data, c->text.len, 1);
    wtok_compile_head(c)->chat_template = chat;
    wtok_compile_head(c)->tokenizer_config = config;
    wtok_compile_head(c)->subword_prefix = subword;
    wtok_compile_head(c)->decoder_prefix = decoder;
    return ok ? WEIR_OK : wtok_compile_no_memory(c->err);
}

enum weir_status wtok_compile(const struct wtok_spec *spec, const uint64_t source[2],
                              struct wtok_image **ret_image, size_t *ret_bytes,
                              struct weir_err *err) {
    struct wtok_compiler c = {.spec = spec, .err = err};
    static const struct wtok_image empty;
    weir_buf_init(&c.out, WTOK_IMAGE_MAX);
    weir_buf_init(&c.text, 1 << 28);
    weir_buf_init(&c.bytes, 1 << 28);
    enum weir_status st = weir_buf_append(&c.out, &empty, sizeof(empty));
    if (st == WEIR_OK)
        scalars(&c, source);
    if (st == WEIR_OK && spec->unk.len != 0 && wtok_compile_head(&c)->unk_id == WTOK_NO_ID)
        st = weir_err_set(err, WEIR_INVALID, "model.unk_token is not in the vocabulary");
    if (st == WEIR_OK)
        st = small_sections(&c);
    if (st == WEIR_OK)
        st = texts(&c);
    if (st == WEIR_OK)
        st = byte_ids(&c);
    if (st == WEIR_OK)
        st = wtok_compile_tables(&c);
    if (st == WEIR_OK)
        st = added(&c);
    if (st == WEIR_OK) {
        wtok_compile_head(&c)->total = c.out.len;
        *ret_bytes = c.out.len;
        *ret_image = (struct wtok_image *)(void *)c.out.data;
        c.out.data = NULL; /* taken */
        c.out.len = c.out.cap = 0;
    }
    weir_buf_fini(&c.out);
    weir_buf_fini(&c.text);
    weir_buf_fini(&c.bytes);
    weir_free(c.offsets);
    weir_free(c.flags);
    return st;
}
