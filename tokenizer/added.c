/*
 * Finding added tokens in a text as the reference does: leftmost, then longest; a found token that
 * its own conditions reject still uses up its text.
 */
#include "tokenizer/encode_priv.h"
#include "tokenizer/unicode.h"

typedef unsigned char u8;

static unsigned class_before(const u8 *text, size_t at) {
    size_t from = at - 1;
    unsigned n;
    while (from > 0 && (text[from] & 0xC0) == 0x80)
        from--;
    return wtok_class_of(wtok_char(text + from, &n));
}

static bool word_at(const u8 *text, size_t len, size_t at) {
    unsigned n;
    return at < len && (wtok_class_of(wtok_char(text + at, &n)) & WTOK_WORD) != 0;
}

static size_t blanks_before(const u8 *text, size_t at, size_t least) {
    while (at > least && (class_before(text, at) & WTOK_WS) != 0)
        for (at--; at > 0 && (text[at] & 0xC0) == 0x80;)
            at--;
    return at;
}

static size_t blanks_behind(const u8 *text, size_t len, size_t at) {
    unsigned n;
    while (at < len && (wtok_class_of(wtok_char(text + at, &n)) & WTOK_WS) != 0)
        at += n;
    return at;
}

/* Place of the next byte that begins a token. */
static size_t next_root(const struct wtok_finder *f, size_t at) {
    unsigned w = f->which;
    if (f->m->n_roots[w] == 1) {
        const u8 *p = memchr(f->text + at, f->m->scan_byte[w], f->len - at);
        return p != NULL ? (size_t)(p - f->text) : f->len;
    }
    const bool *roots = f->m->roots[w];
    while (at < f->len && !roots[f->text[at]])
        at++;
    return at;
}

/* The longest token at `at`: its index + 1, and its end. */
static uint32_t longest(const struct wtok_finder *f, size_t at, size_t *ret_end) {
    const struct wtok_trie_node *trie = f->which == 0 ? f->m->raw_trie : f->m->normal_trie;
    uint32_t node = f->m->root_nodes[f->which][f->text[at]], best = trie[node].added;
    *ret_end = at + 1;
    for (size_t i = at + 1; i < f->len; i++) {
        uint32_t next = trie[node].child;
        while (next != 0 && trie[next].byte != f->text[i])
            next = trie[next].sibling;
        if (next == 0)
            break;
        node = next;
        if (trie[node].added != 0) {
            best = trie[node].added;
            *ret_end = i + 1;
        }
    }
    return best;
}

bool wtok_find_added(struct wtok_finder *f, size_t *ret_from, size_t *ret_to, uint32_t *ret_id) {
    if (f->m->n_roots[f->which] == 0)
        return false;
    for (;;) {
        size_t from = next_root(f, f->at), to;
        if (from >= f->len)
            return false;
        uint32_t found = longest(f, from, &to);
        f->at = found != 0 ? to : from + 1;
        if (found == 0)
            continue;
        const struct wtok_added *a = &f->m->added[found - 1];
        if (a->special && !f->special)
            continue;
        if (a->single_word && ((from > 0 && (class_before(f->text, from) & WTOK_WORD) != 0) ||
                               word_at(f->text, f->len, to)))
            continue;
        if (a->lstrip)
            from = blanks_before(f->text, from, f->done);
        if (a->rstrip)
            to = blanks_behind(f->text, f->len, to);
        *ret_from = from;
        *ret_to = to;
        *ret_id = a->id;
        f->done = to;
        return true;
    }
}
