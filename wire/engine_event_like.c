/*
 * An engine tells the blocks that it removed one by one, each in the same words. What differs from
 * the last such event in the bytes of its name alone means the same of another block; all else is
 * read as ever.
 */
#include "wire/engine_event_priv.h"

#include <string.h>

/* Of a name that only another name of the same length could stand for: 8 bytes of an integer, or
 * a byte string. Shorter integers have several lengths. */
static bool plain_name(struct weir_mp m, size_t at, size_t *ret_from, size_t *ret_to) {
    struct weir_span bytes = weir_span((const char *)m.buf + at + 1, sizeof(uint64_t));
    m.pos = at;
    if (m.buf[at] != 0xcf && m.buf[at] != 0xd3 && !weir_mp_bin(&m, &bytes))
        return false;
    *ret_from = (size_t)((const unsigned char *)bytes.data - m.buf);
    *ret_to = *ret_from + bytes.len;
    return true;
}

void weir_engine_like_keep(struct weir_engine_like *like, const struct weir_mp *m, size_t start,
                           size_t name_at, const struct weir_engine_event *e) {
    size_t from, to;
    if (e->kind != WEIR_ENGINE_REMOVED || e->n_hashes != 1 || !plain_name(*m, name_at, &from, &to))
        return;
    like->bytes = m->buf + start;
    like->len = m->pos - start;
    like->name_from = from - start;
    like->name_to = to - start;
    like->event = *e;
    like->event.hashes = &like->hash;
}

bool weir_engine_like_next(struct weir_engine_like *like, struct weir_mp *m) {
    const unsigned char *p = m->buf + m->pos;
    size_t from = like->name_from, to = like->name_to;
    uint64_t hash = 0;
    if (like->bytes == NULL || m->len - m->pos < like->len || memcmp(p, like->bytes, from) != 0 ||
        memcmp(p + to, like->bytes + to, like->len - to) != 0)
        return false;
    for (size_t i = to - sizeof(hash); i < to; i++)
        hash = hash << 8 | p[i];
    like->hash = hash;
    m->pos += like->len;
    return true;
}
